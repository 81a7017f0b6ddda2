//! Group norm: a row is a group of channels of one example, the affine part goes by channel.
//!
//! The array is (batch, channels, spatial) with `channels` in `groups` equal groups, so a row of
//! `channels / groups * spatial` elements is contiguous. Instance norm is `groups == channels`.
//! Backward writes each (example, channel)'s share of the gradients of weight and bias to a small
//! table, which is then summed over the batch in order.

use super::super::real::Real;
use super::super::rows::{
    Input, Job, Output, Scratch, by_width, chunks, load_some, rows_each, run, store_some, totals,
};
use super::layer::{AddPortions, row_statistics};
use crate::error::Result;

/// Normalises every group of every example, then scales and shifts by channel; `mean` and `rstd` (not
/// stored where null) are (batch, groups).
///
/// # Safety
/// `x` and `y` hold batch * channels * spatial elements and are the same memory or do not overlap; `weight`
/// and `bias` hold `channels`; `groups` is above 0 and divides `channels`.
pub unsafe fn group_norm<T: Real>(
    x: *const T,
    weight: *const T,
    bias: *const T,
    eps: f64,
    y: *mut T,
    mean: *mut T,
    rstd: *mut T,
    (batch, channels, spatial): (usize, usize, usize),
    groups: usize,
) {
    let shape = Shape { groups, channels: channels / groups, spatial };
    by_width!(spatial, |N| {
        let job = Forward::<T, N> {
            x: Input::new(x),
            weight: Input::new(weight),
            bias: Input::new(bias),
            eps,
            y: Output::new(y),
            mean: Output::new(mean),
            rstd: Output::new(rstd),
            shape,
        };
        // SAFETY: the caller's promise.
        unsafe { run(&job, batch * groups, rows_each(shape.row()), shape.nanoseconds()) }
    });
}

/// The gradients of [`group_norm`]; each of `dx`, `dweight` and `dbias` may be null.
///
/// # Safety
/// As [`group_norm`]; `dx` may be `dy` or `x`; `dweight` and `dbias` hold `channels`.
pub unsafe fn group_norm_gradient<T: Real>(
    dy: *const T,
    x: *const T,
    mean: *const T,
    rstd: *const T,
    weight: *const T,
    dx: *mut T,
    dweight: *mut T,
    dbias: *mut T,
    (batch, channels, spatial): (usize, usize, usize),
    groups: usize,
) -> Result<()> {
    let shape = Shape { groups, channels: channels / groups, spatial };
    let table = Scratch::<f64>::zeroed(2 * batch * channels)?;
    // SAFETY: the second half of the table.
    let halves = unsafe { [table.pointer(), table.pointer().add(batch * channels)] };
    by_width!(spatial, |N| {
        let job = Backward::<T, N> {
            dy: Input::new(dy),
            x: Input::new(x),
            mean: Input::new(mean),
            rstd: Input::new(rstd),
            weight: Input::new(weight),
            dx: Output::new(dx),
            for_weight: Output::new(halves[0]),
            for_bias: Output::new(halves[1]),
            shape,
        };
        // SAFETY: the caller's promise.
        unsafe { run(&job, batch * groups, rows_each(shape.row()), 2.0 * shape.nanoseconds()) }
    });
    for (result, half) in [dweight, dbias].into_iter().zip(halves) {
        if !result.is_null() {
            let sums = Scratch::<f64>::zeroed(channels)?;
            let total = Output::new(sums.pointer());
            let job = AddPortions { sums: Input::new(half), stride: channels, portions: batch, result: total };
            // SAFETY: the table has `batch` rows of `channels`.
            unsafe { run(&job, channels, 1024, 0.1 * batch as f64) }
            for channel in 0..channels {
                // SAFETY: the caller's promise: an element per channel.
                unsafe { result.add(channel).write(T::from_f64(total.at(channel).read())) }
            }
        }
    }
    Ok(())
}

/// How a row is made up.
#[derive(Clone, Copy)]
struct Shape {
    groups: usize,
    /// Channels of a group.
    channels: usize,
    spatial: usize,
}

impl Shape {
    fn row(&self) -> usize {
        self.channels * self.spatial
    }

    fn nanoseconds(&self) -> f64 {
        15.0 + self.channels as f64 * (10.0 + 0.3 * self.spatial as f64)
    }
}

struct Forward<T, const N: usize> {
    x: Input<T>,
    weight: Input<T>,
    bias: Input<T>,
    eps: f64,
    y: Output<T>,
    mean: Output<T>,
    rstd: Output<T>,
    shape: Shape,
}

impl<T: Real, const N: usize> Job for Forward<T, N> {
    #[inline(always)]
    unsafe fn run(&self, _task: usize, first: usize, count: usize) {
        let Shape { groups, channels, spatial } = self.shape;
        let columns = channels * spatial;
        for row in first..first + count {
            // SAFETY: the row is inside all arrays.
            unsafe {
                let (x, y) = (self.x.at(row * columns), self.y.at(row * columns));
                let (mean, correction, deviation) = row_statistics::<T, N, true>(x, columns, self.eps);
                for channel in 0..channels {
                    let index = row % groups * channels + channel;
                    let weight = if self.weight.is_some() { self.weight.at(index).read() } else { T::ONE };
                    let bias = if self.bias.is_some() { self.bias.at(index).read() } else { T::ZERO };
                    let scale = T::from_f64(deviation * weight.to_f64());
                    let shift = T::from_f64(bias.to_f64() - correction * deviation * weight.to_f64());
                    let (x, y) = (x.add(channel * spatial), y.add(channel * spatial));
                    chunks!(N, spatial, |at, length| {
                        let mut lanes: [T; N] = load_some(x.add(at), length, mean);
                        for i in 0..N {
                            lanes[i] = (lanes[i] - mean) * scale + shift;
                        }
                        store_some(y.add(at), &lanes, length);
                    });
                }
                if self.mean.is_some() {
                    self.mean.at(row).write(T::from_f64(mean.to_f64() + correction));
                }
                if self.rstd.is_some() {
                    self.rstd.at(row).write(T::from_f64(deviation));
                }
            }
        }
    }
}

struct Backward<T, const N: usize> {
    dy: Input<T>,
    x: Input<T>,
    mean: Input<T>,
    rstd: Input<T>,
    weight: Input<T>,
    dx: Output<T>,
    for_weight: Output<f64>,
    for_bias: Output<f64>,
    shape: Shape,
}

impl<T: Real, const N: usize> Job for Backward<T, N> {
    #[inline(always)]
    unsafe fn run(&self, _task: usize, first: usize, count: usize) {
        let Shape { groups, channels, spatial } = self.shape;
        let columns = channels * spatial;
        for row in first..first + count {
            // SAFETY: the row is inside all arrays, and its channels of the table belong to this task.
            unsafe {
                let (dy, x) = (self.dy.at(row * columns), self.x.at(row * columns));
                let (mean, deviation) = (self.mean.at(row).read(), self.rstd.at(row).read().to_f64());
                let (mut upstream, mut product, mut rest) = (0.0, 0.0, 0.0);
                for channel in 0..channels {
                    let index = row % groups * channels + channel;
                    let weight = if self.weight.is_some() { self.weight.at(index).read().to_f64() } else { 1.0 };
                    let (dy, x) = (dy.add(channel * spatial), x.add(channel * spatial));
                    let sums = totals!(T, N, 3, spatial, |at, length, sums| {
                        let lanes: [T; N] = load_some(dy.add(at), length, T::ZERO);
                        let centred: [T; N] = load_some(x.add(at), length, mean);
                        for i in 0..N {
                            let centred = centred[i] - mean;
                            sums[0][i] += lanes[i];
                            sums[1][i] += lanes[i] * centred;
                            sums[2][i] += centred;
                        }
                    });
                    self.for_bias.at(row * channels + channel).write(sums[0]);
                    self.for_weight.at(row * channels + channel).write(sums[1]);
                    upstream += sums[0] * weight;
                    product += sums[1] * weight;
                    rest += sums[2];
                }
                let n = columns as f64;
                let correction = rest / n;
                for channel in row * channels..(row + 1) * channels {
                    let entry = self.for_weight.at(channel);
                    entry.write(deviation * (entry.read() - correction * self.for_bias.at(channel).read()));
                }
                if !self.dx.is_some() {
                    continue;
                }
                let slope = -deviation * deviation * deviation * (product - correction * upstream) / n;
                let offset = T::from_f64(-deviation * upstream / n - slope * correction);
                let slope = T::from_f64(slope);
                for channel in 0..channels {
                    let index = row % groups * channels + channel;
                    let weight = if self.weight.is_some() { self.weight.at(index).read().to_f64() } else { 1.0 };
                    let scale = T::from_f64(deviation * weight);
                    let start = channel * spatial;
                    chunks!(N, spatial, |at, length| {
                        let mut lanes: [T; N] = load_some(dy.add(start + at), length, T::ZERO);
                        let centred: [T; N] = load_some(x.add(start + at), length, mean);
                        for i in 0..N {
                            lanes[i] = lanes[i] * scale + ((centred[i] - mean) * slope + offset);
                        }
                        store_some(self.dx.at(row * columns + start + at), &lanes, length);
                    });
                }
            }
        }
    }
}
