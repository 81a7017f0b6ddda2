//! Functions of rows on a CUDA device: rows in memory by warps or blocks that hold them in registers where they
//! fit, axes before others by a thread each.

use super::{Softmax, spans};
use crate::cuda::rows::Rows;
use crate::cuda::source::{BLOCK, ROWS, c_type, c_working, kernel};
use crate::cuda::{Launch, Place, Plan};
use crate::error::Result;
use crate::op::Spec;
use crate::op::fused::compute_dtype;
use crate::tensor::Value;

pub(super) fn plan(op: Softmax, inputs: &[&Value], output: &Spec) -> Result<Plan> {
    let (first, count) = op.axes();
    let (outer, axis, inner) = spans(inputs[0].shape(), first, count);
    let mut plan = Plan::new();
    if output.shape.contains(&0) {
        return Ok(plan);
    }
    let dtype = output.dtype;
    let x = plan.contiguous(inputs, 0)?;
    let g = if inputs.len() > 1 { Some(plan.contiguous(inputs, 1)?) } else { None };
    let places: Vec<Place> = [Some(x), g].into_iter().flatten().collect();
    let rows = Rows::new(axis, compute_dtype(dtype), &places);
    let kind = match op {
        Softmax::Softmax { .. } => "SOFTMAX",
        Softmax::LogSoftmax { .. } => "LOG_SOFTMAX",
        Softmax::SoftmaxGradient { .. } => "SOFTMAX_GRADIENT",
        Softmax::LogSoftmaxGradient { .. } => "LOG_SOFTMAX_GRADIENT",
        Softmax::LogSumExp { .. } => "LOG_SUM_EXP",
    };
    // The strided kernel is the same for all cuts.
    let rows = if inner == 1 { rows } else { Rows { group: 32, vector: 1, packs: 1 } };
    let cut = rows.macros();
    let mut macros = vec![("S", c_type(dtype)), ("T", c_working(dtype)), ("KIND", kind)];
    macros.extend(cut.iter().map(|(name, value)| (*name, value.as_str())));
    let source = kernel("softmax", &[BLOCK], &[ROWS, include_str!("softmax.cu")], &macros);
    let launch = if inner == 1 {
        rows.launch(source, "softmax_rows", outer)?.with(x).with(g).with(Place::output(0)).with(outer).with(axis)
    } else {
        let launch = Launch::over(source, "softmax_strided", outer * inner)?;
        launch.with(x).with(g).with(Place::output(0)).with(outer).with(axis).with(inner)
    };
    plan.launch(launch);
    Ok(plan)
}
