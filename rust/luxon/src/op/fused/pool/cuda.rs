//! Pooling on a CUDA device: a thread for each window, or for each element that windows cover.
//!
//! Gradients are gathered: an element adds up what the windows over it give it, always in one order.

use super::{Pool, Take, Windows};
use crate::cuda::source::{c_type, c_working, file};
use crate::cuda::{Launch, Place, Plan};
use crate::error::Result;
use crate::op::Spec;
use crate::tensor::Value;

pub(super) fn plan(op: &Pool, inputs: &[&Value], output: &Spec) -> Result<Plan> {
    let mut plan = Plan::new();
    let count: usize = output.shape.iter().product();
    if count == 0 {
        return Ok(plan);
    }
    let mut numbers = [0i64; 24];
    for (windows, numbers) in op.axes.iter().zip(numbers.chunks_exact_mut(8)) {
        let fields = match *windows {
            Windows::Even(axis) => {
                [axis.input, axis.output, axis.window, axis.stride, axis.dilation, axis.before, axis.after, 0]
            }
            Windows::Adaptive { input, output } => [input, output, 1, 1, 1, 0, 0, 1],
        };
        numbers.iter_mut().zip(fields).for_each(|(number, field)| *number = field as i64);
    }
    let (name, with_padding) = match op.take {
        Take::Max => ("max_pool", false),
        Take::Mean { with_padding } => ("mean_pool", with_padding),
        Take::Spread { with_padding } => ("spread", with_padding),
        Take::Pick => ("pick", false),
        Take::Put => ("put", false),
    };
    let macros = [
        ("S", c_type(output.dtype)),
        ("T", c_working(output.dtype)),
        ("I", if count <= i32::MAX as usize { "u32" } else { "u64" }),
        ("WITH_PADDING", if with_padding { "1" } else { "0" }),
    ];
    let x = plan.contiguous(inputs, 0)?;
    let places = match op.take {
        Take::Max => Some(Place::output(1)),
        Take::Pick | Take::Put => Some(plan.contiguous(inputs, 1)?),
        _ => None,
    };
    let launch = Launch::over(file("pool", include_str!("pool.cu"), &macros), name, count)?.with(x);
    let launch = match (op.take, places) {
        (Take::Max, Some(places)) => launch.with(Place::output(0)).with(places),
        (_, Some(places)) => launch.with(places).with(Place::output(0)),
        _ => launch.with(Place::output(0)),
    };
    plan.launch(launch.with(&numbers[..]).with(count));
    Ok(plan)
}
