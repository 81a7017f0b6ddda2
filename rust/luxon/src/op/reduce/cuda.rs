//! Reductions on a CUDA device.
//!
//! The axes are merged as far as memory allows. Where a reduced axis is the densest in memory, neighbouring
//! threads (a warp, or a block for long rows) walk along it; else neighbouring threads have neighbouring
//! results. Few results of much are cut into chunks, whose parts a second kernel combines in a fixed order: the
//! cuts follow from sizes alone. Positions of extrema are carried along, so every kind is one pass; a variance
//! carries count, mean and squared deviations, never sums of squares.

use crate::cpu::reduce::Reduction;
use crate::cuda::copy::place;
use crate::cuda::source::{BLOCK, c_type, c_working, kernel};
use crate::cuda::{Launch, Place, Plan};
use crate::dtype::DType;
use crate::error::Result;
use crate::layout::MAX_RANK;
use crate::op::Spec;
use crate::op::reduce::Reduce;
use crate::tensor::Value;

/// Threads of a block.
const THREADS: usize = 256;
/// Blocks that keep a device busy.
const BUSY: usize = 1024;
/// The least elements of a chunk.
const CHUNK: usize = 8192;
/// Bytes of the largest accumulator.
const PART: usize = 24;

/// The macros that stand for kinds: the preprocessor compares numbers alone.
const KINDS: [(&str, &str); 12] = [
    ("SUM", "0"),
    ("MEAN", "1"),
    ("SQUARES", "2"),
    ("PRODUCT", "3"),
    ("ANY", "4"),
    ("ALL", "5"),
    ("COUNT", "6"),
    ("VARIANCE", "7"),
    ("MAX", "8"),
    ("MIN", "9"),
    ("ARGMAX", "10"),
    ("ARGMIN", "11"),
];

/// The macro of a kind.
fn kind(reduction: Reduction) -> &'static str {
    match reduction {
        Reduction::Sum => "SUM",
        Reduction::Mean => "MEAN",
        Reduction::SumSquares => "SQUARES",
        Reduction::Product => "PRODUCT",
        Reduction::Any => "ANY",
        Reduction::All => "ALL",
        Reduction::CountNonzero => "COUNT",
        Reduction::Variance { .. } => "VARIANCE",
        Reduction::Max => "MAX",
        Reduction::Min => "MIN",
        Reduction::ArgMax => "ARGMAX",
        Reduction::ArgMin => "ARGMIN",
    }
}

/// Axes as (size, stride), neighbours merged; at least one.
fn merged(axes: impl Iterator<Item = (usize, isize)>) -> Vec<(usize, isize)> {
    let mut merged: Vec<(usize, isize)> = Vec::new();
    for (size, stride) in axes.filter(|&(size, _)| size != 1) {
        match merged.last_mut() {
            Some(last) if last.1 == stride * size as isize => *last = (last.0 * size, stride),
            _ => merged.push((size, stride)),
        }
    }
    if merged.is_empty() {
        merged.push((1, 0));
    }
    merged
}

/// The type that elements are combined in.
fn working(reduction: Reduction, dtype: DType) -> &'static str {
    match reduction {
        Reduction::Sum | Reduction::Product | Reduction::SumSquares if !dtype.is_float() => "i64",
        _ => c_working(dtype),
    }
}

pub(super) fn plan(op: &Reduce, input: &Value, output: &Spec) -> Result<Plan> {
    let (shape, strides, dtype) = (input.shape(), &input.layout().strides, input.dtype());
    let outputs: usize = output.shape.iter().product();
    if outputs == 0 {
        return Ok(Plan::new());
    }
    let axes = |reduced: bool| {
        let chosen = (0..shape.len()).filter(move |axis| op.axes.contains(axis) == reduced);
        merged(chosen.map(|axis| (shape[axis], strides[axis])))
    };
    let (kept, gone) = (axes(false), axes(true));
    let depth: usize = gone.iter().map(|axis| axis.0).product();
    let count = op.count(shape);
    let divisor = match op.kind {
        Reduction::Variance { correction } => (count - correction).max(0.0),
        _ => count,
    };
    let densest = |axes: &[(usize, isize)]| axes.iter().map(|axis| axis.1.unsigned_abs()).min().unwrap_or(0);
    let rows = outputs == 1 || depth >= 16 && densest(&gone) < densest(&kept);
    let mut vector = 1;
    if rows && gone.len() == 1 && gone[0].1 == 1 {
        vector = 16 / dtype.size();
        let fits = |vector: usize| {
            input.layout().offset.is_multiple_of(vector) && kept.iter().all(|axis| axis.1 % vector as isize == 0)
        };
        while vector > 1 && !fits(vector) {
            vector /= 2;
        }
    }
    let group = if rows && depth < 4 * THREADS * vector { 32 } else { THREADS };
    // Chunks, where there are few results of much.
    let units = if rows { outputs } else { outputs.div_ceil(32) };
    let chunks = (BUSY / units).min(depth / CHUNK).clamp(1, 65535);
    let chunk = depth.div_ceil(chunks).next_multiple_of(64).max(64);
    let chunks = depth.div_ceil(chunk).max(1);

    let mut plan = Plan::new();
    let partial = (chunks > 1).then(|| plan.scratch(outputs * chunks * PART));
    let [kept_rank, reduced, lanes, threads] = [kept.len(), gone.len(), vector, group].map(|number| number.to_string());
    let mut macros = vec![
        ("S", c_type(dtype)),
        ("O", c_type(output.dtype)),
        ("W", working(op.kind, dtype)),
        ("KIND", kind(op.kind)),
        ("KEPT", &kept_rank),
        ("REDUCED", &reduced),
        ("VECTOR", &lanes),
        ("GROUP", &threads),
    ];
    macros.extend(KINDS);
    let source = kernel("reduce", &[BLOCK], &[include_str!("reduce.cu")], &macros);
    let mut numbers = [0i64; 4 * MAX_RANK];
    for (index, axes) in [&kept, &gone].into_iter().enumerate() {
        for (axis, &(size, stride)) in axes.iter().enumerate() {
            numbers[2 * index * MAX_RANK + axis] = size as i64;
            numbers[(2 * index + 1) * MAX_RANK + axis] = stride as i64;
        }
    }
    let launch = if rows {
        Launch::new(source.clone(), "reduce_rows", (outputs * chunks).div_ceil(THREADS / group), THREADS as u32)?
    } else {
        let mut launch = Launch::new(source.clone(), "reduce_columns", outputs.div_ceil(32), 32)?;
        (launch.grid[1], launch.block[1]) = (chunks as u32, 8);
        launch
    };
    let launch = launch.with(place(input, 0)).with(Place::output(0)).with(partial).with(&numbers[..]);
    plan.launch(launch.with(outputs).with(depth).with(chunks).with(chunk).with(divisor));
    if let Some(partial) = partial {
        let launch = Launch::new(source, "reduce_chunks", outputs.div_ceil(THREADS / 32), THREADS as u32)?;
        plan.launch(launch.with(partial).with(Place::output(0)).with(outputs).with(chunks).with(divisor));
    }
    Ok(plan)
}
