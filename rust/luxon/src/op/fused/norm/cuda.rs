//! Normalisation on a CUDA device.
//!
//! Layer, RMS and group norm are by rows: a warp or a block takes one and holds it in registers where it fits.
//! Batch norm is by channel: statistics of chunks of each channel, then one elementwise pass. The gradients of
//! weight and bias are sums by channel (or column) of chunks too, joined in a fixed order, and the same sums give
//! batch norm's gradient.

use std::sync::Arc;

use super::{Norm, NormGradient, Over, Sizes};
use crate::cuda::rows::Rows;
use crate::cuda::source::{BLOCK, ROWS, c_type, c_working, kernel};
use crate::cuda::{Launch, Place, Plan, Source};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::Spec;
use crate::op::fused::compute_dtype;
use crate::tensor::Value;

/// Threads of a block.
const THREADS: usize = 256;
/// Blocks of the largest launch.
const MOST_BLOCKS: usize = 1 << 14;
/// Blocks that keep a device busy.
const BUSY: usize = 1024;
/// The least elements of a chunk.
const CHUNK: usize = 256;

/// x as rows, and how weights go along them.
struct Lines {
    rows: usize,
    length: usize,
    groups: usize,
    affine: usize,
    spread: usize,
}

impl Norm {
    fn lines(&self, sizes: &Sizes) -> Lines {
        match self.over {
            Over::Group { groups } => {
                let affine = sizes.middle / groups;
                let length = affine * sizes.inner;
                Lines { rows: sizes.outer * groups, length, groups, affine, spread: sizes.inner }
            }
            _ => Lines { rows: sizes.outer, length: sizes.middle, groups: 1, affine: sizes.middle, spread: 1 },
        }
    }

    fn by_channel(&self) -> bool {
        matches!(self.over, Over::Batch | Over::Given)
    }

    fn rows_source(&self, rows: &Rows, dtype: DType) -> Arc<Source> {
        let cut = rows.macros();
        let centred = if matches!(self.over, Over::Rms { .. }) { "0" } else { "1" };
        let own = if matches!(self.over, Over::Group { .. }) { "0" } else { "1" };
        let mut macros = vec![("S", c_type(dtype)), ("T", c_working(dtype)), ("CENTRED", centred), ("OWN", own)];
        macros.extend(cut.iter().map(|(name, value)| (*name, value.as_str())));
        kernel("norm_rows", &[BLOCK], &[ROWS, include_str!("rows.cu")], &macros)
    }

    /// The kernels by channel; `vector` elements are taken at once.
    fn channels_source(&self, dtype: DType, sizes: &Sizes, vector: usize) -> Arc<Source> {
        let flag = |on: bool| if on { "1" } else { "0" };
        let statistic = match self.over {
            Over::Layer { .. } | Over::Rms { .. } => "0",
            Over::Batch | Over::Given => "1",
            Over::Group { .. } => "2",
        };
        let vector = vector.to_string();
        let macros = [
            ("S", c_type(dtype)),
            ("T", c_working(dtype)),
            ("INNER", if sizes.inner == 1 { "1" } else { "2" }),
            ("GIVEN", flag(self.over == Over::Given)),
            ("STATISTIC", statistic),
            ("VECTOR", vector.as_str()),
        ];
        kernel("norm_channels", &[BLOCK], &[include_str!("channels.cu")], &macros)
    }
}

/// Elements that a thread takes at once of (outer, channels, inner).
fn vector(dtype: DType, sizes: &Sizes, places: &[Place]) -> usize {
    let mut vector = 16 / dtype.size();
    let run = if sizes.inner == 1 { sizes.middle } else { sizes.inner };
    while vector > 1 && (run % vector != 0 || places.iter().any(|place| place.offset % (vector * dtype.size()) != 0)) {
        vector /= 2;
    }
    vector
}

/// The elements of each channel in chunks.
struct Chunks {
    /// Elements of a channel.
    count: usize,
    /// Whether a block takes one channel; else its threads take neighbouring ones.
    long: bool,
    chunks: usize,
    chunk: usize,
}

impl Chunks {
    fn new(sizes: &Sizes) -> Chunks {
        let count = sizes.outer * sizes.inner;
        let long = sizes.inner >= 32 || sizes.middle < 8;
        let units = if long { sizes.middle } else { sizes.middle.div_ceil(32) };
        let chunks = (BUSY / units.max(1)).min(count / CHUNK).clamp(1, 1024);
        let chunk = count.div_ceil(chunks).max(1);
        Chunks { count, long, chunks: count.div_ceil(chunk).max(1), chunk }
    }

    fn launch(&self, source: &Arc<Source>, names: [&'static str; 2], channels: usize) -> Result<Launch> {
        if self.long {
            return Launch::new(source.clone(), names[0], channels * self.chunks, THREADS as u32);
        }
        let mut launch = Launch::new(source.clone(), names[1], channels.div_ceil(32), 32)?;
        (launch.grid[1], launch.block[1]) = (self.chunks as u32, 8);
        Ok(launch)
    }
}

/// A launch over packs of elements.
fn over_packs(source: Arc<Source>, name: &'static str, packs: usize) -> Result<Launch> {
    Launch::new(source, name, packs.div_ceil(THREADS).min(MOST_BLOCKS), THREADS as u32)
}

/// The plan of a normalisation.
pub(super) fn plan(norm: &Norm, inputs: &[&Value], outputs: &[Spec]) -> Result<Plan> {
    let mut plan = Plan::new();
    let (dtype, shape) = (outputs[0].dtype, inputs[0].shape());
    let working = compute_dtype(dtype);
    let sizes = norm.sizes(shape);
    if outputs[0].shape.contains(&0) && outputs[1..].iter().all(|output| output.shape.contains(&0)) {
        return Ok(plan);
    }
    let places = (0..inputs.len()).map(|index| plan.contiguous(inputs, index)).collect::<Result<Vec<Place>>>()?;
    let (weight, bias) = norm.affine_inputs();
    let (weight, bias) = (weight.map(|index| places[index]), bias.map(|index| places[index]));
    let (x, y) = (places[0], Place::output(0));
    if !norm.by_channel() {
        let Lines { rows, length, groups, affine, spread } = norm.lines(&sizes);
        let read: Vec<Place> = [Some(x), weight, bias].into_iter().flatten().collect();
        let cut = Rows::new(length, working, &read);
        let centred = !matches!(norm.over, Over::Rms { .. });
        let (means, deviations) = (centred.then(|| Place::output(1)), Place::output(1 + usize::from(centred)));
        let launch = cut.launch(norm.rows_source(&cut, dtype), "norm_rows", rows)?;
        let launch = launch.with(x).with(weight).with(bias).with(y).with(means).with(deviations);
        let launch = launch.with(rows).with(length).with(groups).with(affine).with(spread);
        plan.launch(launch.with(norm.eps));
        return Ok(plan);
    }
    let vector = vector(working, &sizes, &[x]);
    let source = norm.channels_source(dtype, &sizes, vector);
    let (channels, inner) = (sizes.middle, sizes.inner);
    let (means, deviations) = match norm.over {
        Over::Given => (places[1], places[2]),
        _ => {
            let chunks = Chunks::new(&sizes);
            let partial = plan.scratch(3 * working.size() * channels * chunks.chunks);
            let launch = chunks.launch(&source, ["moments_long", "moments_wide"], channels)?;
            let launch = launch.with(x).with(partial).with(channels).with(inner);
            plan.launch(launch.with(chunks.count).with(chunks.chunks).with(chunks.chunk));
            let launch = Launch::over(source.clone(), "finish_moments", channels)?.with(partial);
            let launch = launch.with(Place::output(1)).with(Place::output(2)).with(Place::output(3));
            plan.launch(launch.with(channels).with(chunks.chunks).with(norm.eps));
            (Place::output(1), Place::output(3))
        }
    };
    let packs = sizes.outer * channels * inner / vector;
    let launch = over_packs(source, "norm_channels", packs)?.with(x).with(means).with(deviations);
    let launch = launch.with(weight).with(bias).with(y).with(packs).with(channels).with(inner);
    plan.launch(launch.with(norm.eps));
    Ok(plan)
}

/// The plan of a normalisation's gradients.
pub(super) fn gradient(op: &NormGradient, inputs: &[&Value]) -> Result<Plan> {
    let mut plan = Plan::new();
    let norm = &op.norm;
    let (dtype, shape) = (inputs[1].dtype(), inputs[1].shape());
    let working = compute_dtype(dtype);
    let sizes = norm.sizes(shape);
    if sizes.middle == 0 {
        return Ok(plan);
    }
    let places = (0..inputs.len()).map(|index| plan.contiguous(inputs, index)).collect::<Result<Vec<Place>>>()?;
    let [dy, x, means, deviations] = [places[0], places[1], places[2], places[3]];
    let weight = places.get(4).copied();
    let centred = !matches!(norm.over, Over::Rms { .. });
    let [wants_x, wants_weight, wants_bias] = op.wanted;
    let empty = shape.contains(&0);
    let wants_x = wants_x && !empty;
    if wants_x && !norm.by_channel() {
        let Lines { rows, length, groups, affine, spread } = norm.lines(&sizes);
        let read: Vec<Place> = [Some(dy), Some(x), weight].into_iter().flatten().collect();
        let cut = Rows::new(length, working, &read);
        let launch = cut.launch(norm.rows_source(&cut, dtype), "norm_rows_gradient", rows)?;
        let launch = launch.with(dy).with(x).with(centred.then_some(means)).with(deviations).with(weight);
        let launch = launch.with(Place::output(0)).with(rows).with(length);
        plan.launch(launch.with(groups).with(affine).with(spread));
    }
    let vector = vector(working, &sizes, &[dy, x]);
    let source = norm.channels_source(dtype, &sizes, vector);
    let (channels, inner) = (sizes.middle, sizes.inner);
    let needs_sums = wants_x && norm.over == Over::Batch;
    let both = needs_sums.then(|| plan.scratch(2 * channels * working.size()));
    if needs_sums || wants_weight || wants_bias {
        let chunks = Chunks::new(&sizes);
        let partial = plan.scratch(2 * channels * chunks.chunks * working.size());
        let groups = if let Over::Group { groups } = norm.over { groups } else { 1 };
        let launch = chunks.launch(&source, ["sums_long", "sums_wide"], channels)?.with(dy).with(x);
        let launch = launch.with(centred.then_some(means)).with(deviations).with(partial);
        let launch = launch.with(channels).with(inner).with(groups);
        plan.launch(launch.with(chunks.count).with(chunks.chunks).with(chunks.chunk));
        let launch = Launch::over(source.clone(), "finish_sums", channels)?.with(partial);
        let launch = launch.with(wants_bias.then(|| Place::output(2))).with(wants_weight.then(|| Place::output(1)));
        plan.launch(launch.with(both).with(channels).with(chunks.chunks));
    }
    if wants_x && norm.by_channel() {
        let packs = sizes.outer * channels * inner / vector;
        let launch = over_packs(source, "norm_channels_gradient", packs)?.with(dy).with(x).with(means);
        let launch = launch.with(deviations).with(weight).with(both).with(Place::output(0));
        let launch = launch.with(packs).with(channels).with(inner);
        plan.launch(launch.with((sizes.outer * inner) as f64));
    }
    Ok(plan)
}
