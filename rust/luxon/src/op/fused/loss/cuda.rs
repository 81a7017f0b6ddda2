//! Losses on a CUDA device. Classes are not checked there, since that would wait for the device: the loss of a
//! class that is not there, and its gradient, are NaN.

use super::{Loss, Smoothing, matrix};
use crate::cuda::copy::place;
use crate::cuda::rows::Rows;
use crate::cuda::source::{BLOCK, ROWS, c_type, c_working, kernel};
use crate::cuda::{Launch, Place, Plan};
use crate::error::Result;
use crate::op::Spec;
use crate::op::fused::compute_dtype;
use crate::tensor::Value;

/// Threads of a block.
const THREADS: usize = 256;
/// Blocks of the largest launch.
const MOST_BLOCKS: usize = 1 << 14;
/// Blocks among which a sum over all elements is divided.
const PARTS: usize = 1024;

/// A cotangent and the distance of its elements: 0 where one number serves all.
fn upstream(plan: &mut Plan, inputs: &[&Value]) -> Result<(Place, usize)> {
    let dy = inputs[0];
    let repeated = dy.shape().iter().zip(dy.layout().strides.iter()).all(|(&size, &stride)| size == 1 || stride == 0);
    if repeated { Ok((place(dy, 0), 0)) } else { Ok((plan.contiguous(inputs, 0)?, 1)) }
}

fn cross_entropy(smoothing: &Smoothing, inputs: &[&Value], gradient: bool) -> Result<Plan> {
    let mut plan = Plan::new();
    let operands = if gradient { 2 } else { 0 };
    let shape = inputs[operands].shape();
    let classes = shape[shape.len() - 1];
    let rows: usize = shape[..shape.len() - 1].iter().product();
    if rows == 0 || (gradient && classes == 0) {
        return Ok(plan);
    }
    let upstream = if gradient { Some(upstream(&mut plan, inputs)?) } else { None };
    let kept = if gradient { Some(plan.contiguous(inputs, 1)?) } else { None };
    let (x, targets) = (plan.contiguous(inputs, operands)?, plan.contiguous(inputs, operands + 1)?);
    let weight = if inputs.len() > operands + 2 { Some(plan.contiguous(inputs, operands + 2)?) } else { None };
    let by_class = !inputs[operands + 1].dtype().is_float();
    let spread = smoothing.label_smoothing / classes.max(1) as f64;
    let dtype = inputs[operands].dtype();
    let cut = Rows::new(classes, compute_dtype(dtype), &[x]);
    let numbers = cut.macros();
    let flag = |on: bool| if on { "1" } else { "0" };
    let ignore = smoothing.ignore_index.filter(|_| by_class);
    let mut macros = vec![
        ("S", c_type(dtype)),
        ("T", c_working(dtype)),
        ("CLASSES", flag(by_class)),
        ("SMOOTH", flag(spread != 0.0)),
        ("WEIGHT", flag(weight.is_some())),
        ("IGNORE", flag(ignore.is_some())),
    ];
    macros.extend(numbers.iter().map(|(name, value)| (*name, value.as_str())));
    let source = kernel("cross_entropy", &[BLOCK], &[ROWS, include_str!("cross_entropy.cu")], &macros);
    let launch = match (upstream, kept) {
        (Some((dy, stride)), Some(kept)) => {
            let launch = cut.launch(source, "cross_entropy_gradient", rows)?.with(dy).with(kept);
            let launch = launch.with(x).with(targets).with(weight).with(Place::output(0));
            launch.with(rows).with(classes).with(stride)
        }
        _ => {
            let launch = cut.launch(source, "cross_entropy", rows)?.with(x).with(targets).with(weight);
            let launch = launch.with(Place::output(0)).with(Place::output(1)).with(Place::output(2));
            launch.with(rows).with(classes)
        }
    };
    plan.launch(launch.with(1.0 - smoothing.label_smoothing).with(spread).with(ignore.unwrap_or(0)));
    Ok(plan)
}

fn binary_cross_entropy(inputs: &[&Value], output: &Spec, gradient: bool) -> Result<Plan> {
    let mut plan = Plan::new();
    let count: usize = output.shape.iter().product();
    if count == 0 {
        return Ok(plan);
    }
    let first = usize::from(gradient);
    let (dy, stride) = if gradient {
        let (dy, stride) = upstream(&mut plan, inputs)?;
        (Some(dy), stride)
    } else {
        (None, 0)
    };
    let (x, targets) = (plan.contiguous(inputs, first)?, plan.contiguous(inputs, first + 1)?);
    let positive = if inputs.len() > first + 2 { Some(plan.contiguous(inputs, first + 2)?) } else { None };
    let (_, columns) = matrix(&output.shape);
    let source = kernel("loss", &[BLOCK], &[include_str!("elementwise.cu")], &[("T", c_type(output.dtype))]);
    let blocks = count.div_ceil(THREADS).min(MOST_BLOCKS);
    let launch = Launch::new(source, "binary_cross_entropy", blocks, THREADS as u32)?.with(dy).with(x).with(targets);
    plan.launch(launch.with(positive).with(Place::output(0)).with(count).with(columns).with(stride));
    Ok(plan)
}

fn squared_distance(inputs: &[&Value], output: &Spec, factor: f64) -> Result<Plan> {
    let mut plan = Plan::new();
    let (a, b) = (plan.contiguous(inputs, 0)?, plan.contiguous(inputs, 1)?);
    let count = inputs[0].count();
    let source = kernel("loss", &[BLOCK], &[include_str!("elementwise.cu")], &[("T", c_type(output.dtype))]);
    let blocks = count.div_ceil(8 * THREADS).clamp(1, PARTS);
    let parts = plan.scratch(blocks * output.dtype.size());
    let launch = Launch::new(source.clone(), "squared_distance", blocks, THREADS as u32)?;
    plan.launch(launch.with(a).with(b).with(parts).with(count));
    let launch = Launch::new(source, "sum_parts", 1, THREADS as u32)?;
    plan.launch(launch.with(parts).with(Place::output(0)).with(blocks).with(factor));
    Ok(plan)
}

fn squared_distance_gradient(inputs: &[&Value], output: &Spec, factor: f64) -> Result<Plan> {
    let mut plan = Plan::new();
    let count: usize = output.shape.iter().product();
    if count == 0 {
        return Ok(plan);
    }
    let (a, b) = (plan.contiguous(inputs, 1)?, plan.contiguous(inputs, 2)?);
    let source = kernel("loss", &[BLOCK], &[include_str!("elementwise.cu")], &[("T", c_type(output.dtype))]);
    let blocks = count.div_ceil(THREADS).min(MOST_BLOCKS);
    let launch = Launch::new(source, "scaled_difference", blocks, THREADS as u32)?.with(place(inputs[0], 0));
    plan.launch(launch.with(a).with(b).with(Place::output(0)).with(count).with(2.0 * factor));
    Ok(plan)
}

pub(super) fn plan(op: &Loss, inputs: &[&Value], output: &Spec) -> Option<Result<Plan>> {
    Some(match op {
        Loss::CrossEntropy(smoothing) if smoothing.factor.is_none() => cross_entropy(smoothing, inputs, false),
        Loss::CrossEntropyGradient(smoothing) if smoothing.factor.is_none() => cross_entropy(smoothing, inputs, true),
        Loss::BinaryCrossEntropy => binary_cross_entropy(inputs, output, false),
        Loss::BinaryCrossEntropyGradient => binary_cross_entropy(inputs, output, true),
        Loss::SquaredDistance(factor) => squared_distance(inputs, output, *factor),
        Loss::SquaredDistanceGradient(factor) => squared_distance_gradient(inputs, output, *factor),
        _ => return None,
    })
}
