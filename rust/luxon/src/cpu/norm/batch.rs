//! Batch norm: every channel of (batch, channels, spatial) over batch and space.
//!
//! The array is seen as a matrix (batch, channels * spatial). A task owns a group of channels: as many as
//! fill a tile of columns, or one channel with long planes. In a tile sums run down the columns, lanes
//! along them, and are folded to channels at the end; long planes are summed along. Numbers per channel
//! are spread over the columns before use. So images, whose planes are long, and feature vectors, whose
//! planes are single numbers, take the same code, and no sum crosses tasks.

use super::super::lanes::{LANES, Simd, load, store, sum_lanes};
use super::super::real::Real;
use super::super::rows::{Input, Job, Output, chunks, run, totals};
use super::{reciprocal_deviation, spread};

/// Columns of a tile, unless the whole row is short.
const TILE: usize = 512;

/// Rows that are summed in the working precision before the sum moves to `f64`.
const STEPS: usize = 256;

/// Evaluates an expression with the constant number of columns that tiles of this shape have.
macro_rules! by_tile {
    ($shape:expr, |$columns:ident| $body:expr) => {{
        if $shape.row() <= LANES {
            const $columns: usize = LANES;
            $body
        } else {
            const $columns: usize = TILE;
            $body
        }
    }};
}

/// Normalises by the statistics of the batch, then scales and shifts: `mean`, `variance` (biased) and
/// `rstd` are stored per channel where not null.
///
/// # Safety
/// `x` and `y` hold batch * channels * spatial elements and are the same memory or do not overlap; the
/// others hold `channels`.
pub unsafe fn batch_norm<T: Real>(
    x: *const T,
    weight: *const T,
    bias: *const T,
    eps: f64,
    y: *mut T,
    mean: *mut T,
    variance: *mut T,
    rstd: *mut T,
    (batch, channels, spatial): (usize, usize, usize),
) {
    let shape = Shape { batch, channels, spatial };
    by_tile!(shape, |W| {
        let job = Forward::<T, W> {
            x: Input::new(x),
            weight: Input::new(weight),
            bias: Input::new(bias),
            eps,
            y: Output::new(y),
            mean: Output::new(mean),
            variance: Output::new(variance),
            rstd: Output::new(rstd),
            shape,
        };
        // SAFETY: the caller's promise.
        unsafe { run(&job, channels, shape.group(), 0.4 * (batch * spatial) as f64) }
    });
}

/// Normalises by the statistics given, then scales and shifts.
///
/// # Safety
/// As [`batch_norm`].
pub unsafe fn batch_norm_inference<T: Real>(
    x: *const T,
    weight: *const T,
    bias: *const T,
    mean: *const T,
    variance: *const T,
    eps: f64,
    y: *mut T,
    (batch, channels, spatial): (usize, usize, usize),
) {
    let shape = Shape { batch, channels, spatial };
    by_tile!(shape, |W| {
        let job = Inference::<T, W> {
            x: Input::new(x),
            weight: Input::new(weight),
            bias: Input::new(bias),
            mean: Input::new(mean),
            variance: Input::new(variance),
            eps,
            y: Output::new(y),
            shape,
        };
        // SAFETY: the caller's promise.
        unsafe { run(&job, channels, shape.group(), 0.2 * (batch * spatial) as f64) }
    });
}

/// The gradients of [`batch_norm`] (`training`: the statistics depend on `x`) or
/// [`batch_norm_inference`] (they do not); each of `dx`, `dweight` and `dbias` may be null.
///
/// # Safety
/// As [`batch_norm`]; `dx` may be `dy` or `x`.
pub unsafe fn batch_norm_gradient<T: Real>(
    dy: *const T,
    x: *const T,
    mean: *const T,
    rstd: *const T,
    weight: *const T,
    dx: *mut T,
    dweight: *mut T,
    dbias: *mut T,
    (batch, channels, spatial): (usize, usize, usize),
    training: bool,
) {
    let shape = Shape { batch, channels, spatial };
    by_tile!(shape, |W| {
        let job = Backward::<T, W> {
            dy: Input::new(dy),
            x: Input::new(x),
            mean: Input::new(mean),
            rstd: Input::new(rstd),
            weight: Input::new(weight),
            dx: Output::new(dx),
            dweight: Output::new(dweight),
            dbias: Output::new(dbias),
            shape,
            training,
        };
        // SAFETY: the caller's promise.
        unsafe { run(&job, channels, shape.group(), 0.6 * (batch * spatial) as f64) }
    });
}

#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    channels: usize,
    spatial: usize,
}

impl Shape {
    /// Elements from one example to the next.
    fn row(&self) -> usize {
        self.channels * self.spatial
    }

    /// Elements per channel.
    fn count(&self) -> f64 {
        (self.batch * self.spatial) as f64
    }

    /// Channels of a task: they fill a tile, or an eighth of the work where that is enough for a task.
    fn group(&self) -> usize {
        let spatial = self.spatial.max(1);
        let fill = TILE / spatial;
        let enough = (32768 / (self.batch * spatial).max(1)).max(self.channels.div_ceil(8)).max(LANES / spatial);
        fill.min(enough).max(1)
    }
}

/// The channels `first .. first + count` of an array: the columns that a task works on.
#[derive(Clone, Copy)]
struct Columns {
    /// The first column, and how many there are: no more than a tile's unless the channel is long.
    start: usize,
    columns: usize,
    channels: usize,
    spatial: usize,
}

impl Columns {
    #[inline(always)]
    fn new(shape: Shape, first: usize, count: usize) -> Self {
        let Shape { spatial, .. } = shape;
        Columns { start: first * spatial, columns: count * spatial, channels: count, spatial }
    }

    /// Whether this is a single channel, whose planes are long enough to be summed along.
    #[inline(always)]
    fn is_long(&self) -> bool {
        self.spatial > TILE / 2
    }

    /// Column totals as totals per channel.
    #[inline(always)]
    fn fold<const W: usize>(&self, columns: [f64; W]) -> [f64; W] {
        if self.spatial == 1 {
            return columns;
        }
        let mut channels = [0.0; W];
        for channel in 0..self.channels {
            channels[channel] = sum(&columns[channel * self.spatial..(channel + 1) * self.spatial]);
        }
        channels
    }

    /// Numbers per channel as numbers per column; those of a long channel repeat after `W` columns.
    #[inline(always)]
    fn spread<T: Real, const W: usize>(&self, channels: &[T; W]) -> [T; W] {
        if self.is_long() {
            return [channels[0]; W];
        }
        if self.spatial == 1 {
            return *channels;
        }
        let mut columns = [T::ZERO; W];
        for channel in 0..self.channels {
            columns[channel * self.spatial..(channel + 1) * self.spatial].fill(channels[channel]);
        }
        columns
    }
}

/// The numbers of a chunk of columns, from what [`Columns::spread`] made.
#[inline(always)]
fn chunk<T: Real, const W: usize>(columns: &[T; W], at: usize) -> [T; LANES] {
    // SAFETY: `W` is a multiple of `LANES`, and so is `at`.
    unsafe { load(columns.as_ptr().add(at % W)) }
}

/// The sum of a slice by eight partial sums.
#[inline(always)]
fn sum(values: &[f64]) -> f64 {
    let mut partial = [0.0; 8];
    let chunks = values.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        for i in 0..8 {
            partial[i] += chunk[i];
        }
    }
    for i in 0..rest.len() {
        partial[i] += rest[i];
    }
    sum_lanes(partial)
}

/// The totals per channel of `K` terms over all rows, as `[[f64; W]; K]`: a block adds the terms of one
/// chunk of one row to `K` arrays of lanes.
macro_rules! channel_totals {
    ($real:ty, $terms:literal, $rows:expr, $task:expr, |$row:ident, $at:ident, $length:ident, $sums:ident| $body:block) => {{
        let (rows, task): (usize, Columns) = ($rows, $task);
        let mut totals = [[0.0f64; W]; $terms];
        if task.is_long() {
            for $row in 0..rows {
                let parts = totals!($real, LANES, $terms, task.columns, |$at, $length, $sums| $body);
                for term in 0..$terms {
                    totals[term][0] += parts[term];
                }
            }
        } else {
            let mut partial = [[<$real>::ZERO; W]; $terms];
            let mut first = 0;
            while first < rows {
                let flush = (first + STEPS).min(rows);
                // Four rows per visit of the partial sums, which would otherwise cost more than the data.
                while first < flush {
                    let last = (first + 4).min(flush);
                    chunks!(LANES, task.columns, |$at, $length| {
                        let mut $sums = [[<$real>::ZERO; LANES]; $terms];
                        for $row in first..last $body
                        for term in 0..$terms {
                            let partial = partial[term].as_mut_ptr().add($at);
                            let mut lanes: [$real; LANES] = load(partial);
                            for i in 0..LANES {
                                lanes[i] += $sums[term][i];
                            }
                            store(partial, &lanes);
                        }
                    });
                    first = last;
                }
                for term in 0..$terms {
                    for i in 0..W {
                        totals[term][i] += partial[term][i].to_f64();
                        partial[term][i] = <$real>::ZERO;
                    }
                }
            }
            for term in 0..$terms {
                totals[term] = task.fold(totals[term]);
            }
        }
        totals
    }};
}

/// `y = (x - mean) * scale + shift` for the columns of a task, numbers per column.
///
/// # Safety
/// `x` and `y` hold the columns in every row.
#[inline(always)]
unsafe fn apply<S: Simd, T: Real, const W: usize>(
    x: Input<T>,
    y: Output<T>,
    shape: Shape,
    task: Columns,
    mean: &[T; W],
    scale: &[T; W],
    shift: &[T; W],
) {
    for row in 0..shape.batch {
        let start = row * shape.row() + task.start;
        chunks!(LANES, task.columns, |at, length| {
            // SAFETY: the chunk is inside the row.
            unsafe {
                let mut lanes: [T; LANES] = S::load_some(x.at(start + at), length, T::ZERO);
                let (mean, scale, shift) = (chunk(mean, at), chunk(scale, at), chunk(shift, at));
                for i in 0..LANES {
                    lanes[i] = (lanes[i] - mean[i]) * scale[i] + shift[i];
                }
                S::store_some(y.at(start + at), &lanes, length);
            }
        });
    }
}

/// Element `index` of an optional operand.
#[inline(always)]
unsafe fn optional<T: Real>(operand: Input<T>, index: usize, default: T) -> f64 {
    if operand.is_some() {
        // SAFETY: the caller's promise: an element per channel.
        unsafe { operand.at(index).read() }.to_f64()
    } else {
        default.to_f64()
    }
}

/// Stores element `index` of an optional result.
#[inline(always)]
unsafe fn store_optional<T: Real>(result: Output<T>, index: usize, value: f64) {
    if result.is_some() {
        // SAFETY: the caller's promise: an element per channel.
        unsafe { result.at(index).write(T::from_f64(value)) }
    }
}

struct Forward<T, const W: usize> {
    x: Input<T>,
    weight: Input<T>,
    bias: Input<T>,
    eps: f64,
    y: Output<T>,
    mean: Output<T>,
    variance: Output<T>,
    rstd: Output<T>,
    shape: Shape,
}

impl<T: Real, const W: usize> Job for Forward<T, W> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let shape = self.shape;
        let task = Columns::new(shape, first, count);
        let row = shape.row();
        // SAFETY: the caller's promise: the task's columns are inside the arrays.
        unsafe {
            let x = self.x.at(task.start);
            let [sums] = channel_totals!(T, 1, shape.batch, task, |r, c, length, sums| {
                let lanes: [T; LANES] = S::load_some(x.add(r * row + c), length, T::ZERO);
                for i in 0..LANES {
                    sums[0][i] += lanes[i];
                }
            });
            let mut means = [T::ZERO; W];
            for channel in 0..count {
                means[channel] = T::from_f64(sums[channel] / shape.count());
            }
            let mean = task.spread(&means);
            let moments = channel_totals!(T, 2, shape.batch, task, |r, c, length, sums| {
                let mean = chunk(&mean, c);
                // Lanes beyond the end hold the mean, so that they add nothing.
                let lanes: [T; LANES] = S::load_some(x.add(r * row + c), length, mean[0]);
                for i in 0..LANES {
                    let centred = lanes[i] - mean[i];
                    sums[0][i] += centred;
                    sums[1][i] += centred * centred;
                }
            });
            let (mut scales, mut shifts) = ([T::ZERO; W], [T::ZERO; W]);
            for channel in 0..count {
                let index = first + channel;
                let (correction, variance) = spread(moments[0][channel], moments[1][channel], shape.count());
                let rstd = reciprocal_deviation(variance, self.eps);
                let scale = rstd * optional(self.weight, index, T::ONE);
                scales[channel] = T::from_f64(scale);
                shifts[channel] = T::from_f64(optional(self.bias, index, T::ZERO) - correction * scale);
                store_optional(self.mean, index, means[channel].to_f64() + correction);
                store_optional(self.variance, index, variance);
                store_optional(self.rstd, index, rstd);
            }
            let (scale, shift) = (task.spread(&scales), task.spread(&shifts));
            apply::<S, T, W>(self.x, self.y, shape, task, &mean, &scale, &shift);
        }
    }
}

struct Inference<T, const W: usize> {
    x: Input<T>,
    weight: Input<T>,
    bias: Input<T>,
    mean: Input<T>,
    variance: Input<T>,
    eps: f64,
    y: Output<T>,
    shape: Shape,
}

impl<T: Real, const W: usize> Job for Inference<T, W> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let task = Columns::new(self.shape, first, count);
        let (mut means, mut scales, mut shifts) = ([T::ZERO; W], [T::ZERO; W], [T::ZERO; W]);
        // SAFETY: the caller's promise: the task's columns are inside the arrays.
        unsafe {
            for channel in 0..count {
                let index = first + channel;
                let rstd = reciprocal_deviation(self.variance.at(index).read().to_f64(), self.eps);
                means[channel] = self.mean.at(index).read();
                scales[channel] = T::from_f64(rstd * optional(self.weight, index, T::ONE));
                shifts[channel] = T::from_f64(optional(self.bias, index, T::ZERO));
            }
            let (mean, scale, shift) = (task.spread(&means), task.spread(&scales), task.spread(&shifts));
            apply::<S, T, W>(self.x, self.y, self.shape, task, &mean, &scale, &shift);
        }
    }
}

struct Backward<T, const W: usize> {
    dy: Input<T>,
    x: Input<T>,
    mean: Input<T>,
    rstd: Input<T>,
    weight: Input<T>,
    dx: Output<T>,
    dweight: Output<T>,
    dbias: Output<T>,
    shape: Shape,
    training: bool,
}

impl<T: Real, const W: usize> Job for Backward<T, W> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let (shape, training) = (self.shape, self.training);
        let task = Columns::new(shape, first, count);
        let row = shape.row();
        // SAFETY: the caller's promise: the task's columns are inside the arrays.
        unsafe {
            let mut means = [T::ZERO; W];
            for channel in 0..count {
                means[channel] = self.mean.at(first + channel).read();
            }
            let mean = task.spread(&means);
            // Sums of the upstream gradient, of that times `x - mean`, and of `x - mean`, which is what
            // the rounding of the mean left.
            let mut sums = [[0.0; W]; 3];
            if training || self.dweight.is_some() || self.dbias.is_some() {
                let (dy, x) = (self.dy.at(task.start), self.x.at(task.start));
                sums = channel_totals!(T, 3, shape.batch, task, |r, c, length, sums| {
                    let mean = chunk(&mean, c);
                    let upstream: [T; LANES] = S::load_some(dy.add(r * row + c), length, T::ZERO);
                    let lanes: [T; LANES] = S::load_some(x.add(r * row + c), length, mean[0]);
                    for i in 0..LANES {
                        let centred = lanes[i] - mean[i];
                        sums[0][i] += upstream[i];
                        sums[1][i] += upstream[i] * centred;
                        sums[2][i] += centred;
                    }
                });
            }
            let (mut scales, mut slopes, mut offsets) = ([T::ZERO; W], [T::ZERO; W], [T::ZERO; W]);
            for channel in 0..count {
                let index = first + channel;
                let n = shape.count();
                let rstd = self.rstd.at(index).read().to_f64();
                let correction = if training { sums[2][channel] / n } else { 0.0 };
                let product = sums[1][channel] - correction * sums[0][channel];
                store_optional(self.dweight, index, rstd * product);
                store_optional(self.dbias, index, sums[0][channel]);
                let scale = rstd * optional(self.weight, index, T::ONE);
                let slope = -scale * rstd * rstd * product / n;
                scales[channel] = T::from_f64(scale);
                slopes[channel] = T::from_f64(slope);
                offsets[channel] = T::from_f64(-scale * sums[0][channel] / n - slope * correction);
            }
            if !self.dx.is_some() {
                return;
            }
            let (scale, slope, offset) = (task.spread(&scales), task.spread(&slopes), task.spread(&offsets));
            for r in 0..shape.batch {
                let start = task.start + r * row;
                chunks!(LANES, task.columns, |c, length| {
                    let mut lanes: [T; LANES] = S::load_some(self.dy.at(start + c), length, T::ZERO);
                    let scale = chunk(&scale, c);
                    for i in 0..LANES {
                        lanes[i] *= scale[i];
                    }
                    if training {
                        let centred: [T; LANES] = S::load_some(self.x.at(start + c), length, T::ZERO);
                        let (mean, slope, offset) = (chunk(&mean, c), chunk(&slope, c), chunk(&offset, c));
                        for i in 0..LANES {
                            lanes[i] += (centred[i] - mean[i]) * slope[i] + offset[i];
                        }
                    }
                    S::store_some(self.dx.at(start + c), &lanes, length);
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
