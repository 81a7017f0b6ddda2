//! Sorting on a CUDA device: stable merges of positions, and searches.

use std::sync::Arc;

use super::{Order, rows_of};
use crate::cuda::source::{c_type, c_working, file};
use crate::cuda::{Argument, Launch, Place, Plan, Source};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::Spec;
use crate::tensor::Value;

/// The width of the runs that are sorted at once; as in the kernels.
const RUN: usize = 32;

fn kernels(dtype: DType, descending: bool) -> Arc<Source> {
    let (stored, compared) = (c_type(dtype), if dtype == DType::Bool { "u8" } else { c_working(dtype) });
    let descending = if descending { "true" } else { "false" };
    file("sort", include_str!("sort.cu"), &[("T", stored), ("W", compared), ("DESCENDING", descending)])
}

/// Writes the positions that sort every row of contiguous elements.
pub(crate) fn argsort(
    plan: &mut Plan,
    x: Place,
    dtype: DType,
    rows: usize,
    length: usize,
    descending: bool,
    to: Place,
) -> Result<()> {
    let count = rows * length;
    if count == 0 {
        return Ok(());
    }
    let source = kernels(dtype, descending);
    let mut merges = 0;
    while RUN << merges < length {
        merges += 1;
    }
    let other = if merges > 0 { plan.scratch(count * 8) } else { to };
    // The passes change sides, and the last one writes to where the result belongs.
    let side = |pass: usize| if (merges - pass).is_multiple_of(2) { to } else { other };
    plan.launch(Launch::over(source.clone(), "sort_runs", count)?.with(x).with(side(0)).with(length).with(count));
    for pass in 0..merges {
        let launch = Launch::over(source.clone(), "merge_runs", count)?.with(x).with(side(pass)).with(side(pass + 1));
        plan.launch(launch.with(length).with(RUN << pass).with(count));
    }
    Ok(())
}

impl Order {
    pub(super) fn plan(&self, inputs: &[&Value], outputs: &[Spec]) -> Result<Plan> {
        let mut plan = Plan::new();
        let (dtype, (rows, length)) = (inputs[0].dtype(), rows_of(inputs[0].shape()));
        let count: usize = outputs[0].shape.iter().product();
        if count == 0 {
            return Ok(plan);
        }
        let x = plan.contiguous(inputs, 0)?;
        let mut pick = |descending: bool, kept: usize, values: bool, places: Option<Place>| -> Result<()> {
            let positions = plan.scratch(rows * length * 8);
            argsort(&mut plan, x, dtype, rows, length, descending, positions)?;
            let values = if values { Argument::from(Place::output(0)) } else { Argument::Null };
            let launch = Launch::over(kernels(dtype, descending), "pick", rows * kept)?.with(x).with(positions);
            plan.launch(launch.with(values).with(places).with(length).with(kept).with(rows * kept));
            Ok(())
        };
        match *self {
            Order::Sort { descending, positions } => {
                pick(descending, length, true, positions.then(|| Place::output(1)))?;
            }
            Order::ArgSort { descending } => {
                argsort(&mut plan, x, dtype, rows, length, descending, Place::output(0))?;
            }
            Order::TopK { k, largest } => pick(largest, k, true, Some(Place::output(1)))?,
            Order::SearchSorted { right } => {
                let asked = plan.contiguous(inputs, 1)?;
                let launch = Launch::over(kernels(dtype, false), "search", count)?.with(x).with(asked);
                let sorted = inputs[0].count();
                plan.launch(launch.with(Place::output(0)).with(sorted).with(i32::from(right)).with(count));
            }
        }
        Ok(plan)
    }
}
