//! Running values along an axis on a CUDA device.

use super::{Cumulative, Scan, around};
use crate::cuda::source::{c_type, c_working, file};
use crate::cuda::{Argument, Launch, Place, Plan};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::Spec;
use crate::tensor::Value;

/// Lines up to this long are left to one thread each.
const SHORT: usize = 64;

impl Scan {
    pub(super) fn plan(&self, inputs: &[&Value], output: &Spec) -> Result<Plan> {
        let mut plan = Plan::new();
        let dtype = inputs[0].dtype();
        let (axis, reverse, exclusive, kind) = match *self {
            Scan::Cumulative { kind, axis, reverse, exclusive } => (axis, reverse, exclusive, Some(kind)),
            Scan::Recurrence { axis, reverse } => (axis, reverse, false, None),
        };
        let (rows, length, inner) = around(inputs[0].shape(), axis);
        let lines = rows * inner;
        if lines * length == 0 {
            return Ok(plan);
        }
        let x = plan.contiguous(inputs, 0)?;
        let factors = if kind.is_none() { Some(plan.contiguous(inputs, 1)?) } else { None };
        // Sums, products and recurrences run in double width, as on the CPU; extrema as they are.
        let wide = if dtype.is_float() { "f64" } else { "i64" };
        let own = if dtype == DType::Bool { "u8" } else { c_working(dtype) };
        let lowest = match dtype {
            DType::Bool | DType::U8 => ("0", "255"),
            DType::I32 => ("(i32)0x80000000u", "2147483647"),
            DType::I64 => ("(i64)(1ull << 63)", "(i64)~(1ull << 63)"),
            _ => ("-INFINITY", "INFINITY"),
        };
        let (number, running, least) = match kind {
            Some(Cumulative::Sum) => ("0", wide, "0"),
            Some(Cumulative::Product) => ("1", wide, "0"),
            Some(Cumulative::Max) => ("2", own, lowest.0),
            Some(Cumulative::Min) => ("3", own, lowest.1),
            None => ("4", wide, "0"),
        };
        let macros =
            [("KIND", number), ("T", c_type(dtype)), ("S", running), ("O", c_type(output.dtype)), ("LEAST", least)];
        let source = file("scan", include_str!("scan.cu"), &macros);
        let chunk = if length <= SHORT { length } else { length.isqrt().next_multiple_of(16) };
        let chunks = length.div_ceil(chunk);
        let count = lines * chunks;
        let sizes =
            [length, inner, chunk, chunks, usize::from(reverse), usize::from(exclusive)].map(|size| size as i64);
        let factors = Argument::from(factors);
        let before = if chunks > 1 {
            let totals = plan.scratch(count * 16);
            let launch = Launch::over(source.clone(), "chunk_totals", count)?.with(x);
            plan.launch(launch.with(factors.clone()).with(totals).with(&sizes[..]).with(count));
            plan.launch(Launch::over(source.clone(), "carry", lines)?.with(totals).with(chunks).with(lines));
            Argument::from(totals)
        } else {
            Argument::Null
        };
        let launch = Launch::over(source, "finish", count)?.with(x).with(factors).with(before);
        plan.launch(launch.with(Place::output(0)).with(&sizes[..]).with(count));
        Ok(plan)
    }
}
