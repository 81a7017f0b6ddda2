//! Group norm: a row is a group of channels of one example, the affine part goes by channel.
//!
//! The array is (batch, channels, spatial) with `channels` in `groups` equal groups, so a row of
//! `channels / groups * spatial` elements is contiguous. Instance norm is `groups == channels`.
//! Where channels are narrow, rows are those of layer norm with weights that repeat after `groups` rows.
//! Otherwise a row is taken channel by channel, and backward writes each (example, channel)'s share of
//! the gradients of weight and bias to a small table, which is then summed over the batch in order.

use super::super::lanes::Simd;
use super::super::real::Real;
use super::super::rows::{Input, Job, Output, Scratch, by_width, chunks, rows_each, run, totals};
use super::layer::{AddPortions, backward, forward, row_statistics};
use crate::error::Result;

/// Channels of fewer elements than this do not fill a chunk of their own.
const NARROW: usize = 64;

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
) -> Result<()> {
    let shape = Shape { groups, channels: channels / groups, spatial };
    if spatial < NARROW {
        let (weight, bias) = (Expanded::new(weight, channels, spatial)?, Expanded::new(bias, channels, spatial)?);
        let (rows, columns, [w, b]) = (batch * groups, shape.row(), [weight.pointer, bias.pointer]);
        // SAFETY: the caller's promise.
        unsafe { forward::<T, true>(x, w, b, eps, y, mean, rstd, rows, columns, groups) }
        return Ok(());
    }
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
    Ok(())
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
    if spatial < NARROW {
        let weight = Expanded::new(weight, channels, spatial)?;
        let sums = Scratch::<T>::zeroed(2 * channels * spatial)?;
        let (rows, columns, w) = (batch * groups, shape.row(), weight.pointer);
        let wanted = |result: *mut T, part: usize| {
            // SAFETY: both parts are inside the scratch memory.
            if result.is_null() { result } else { unsafe { sums.pointer().add(part * channels * spatial) } }
        };
        let (dw, db) = (wanted(dweight, 0), wanted(dbias, 1));
        // SAFETY: the caller's promise; `dw` and `db` have an element per column of an example.
        unsafe {
            backward::<T, true>(dy, x, mean, rstd, w, dx, dw, db, rows, columns, groups)?;
            fold(dw, dweight, channels, spatial);
            fold(db, dbias, channels, spatial);
        }
        return Ok(());
    }
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

/// The numbers of a channel, once for each of its elements; the given ones where it has just one.
struct Expanded<T: Real> {
    pointer: *const T,
    _memory: Option<Scratch<T>>,
}

impl<T: Real> Expanded<T> {
    /// `values` is null or holds `channels` elements.
    fn new(values: *const T, channels: usize, spatial: usize) -> Result<Self> {
        if values.is_null() || spatial == 1 {
            return Ok(Expanded { pointer: values, _memory: None });
        }
        let memory = Scratch::<T>::zeroed(channels * spatial)?;
        for i in 0..channels * spatial {
            // SAFETY: both indices are below the lengths.
            unsafe { memory.pointer().add(i).write(values.add(i / spatial).read()) }
        }
        Ok(Expanded { pointer: memory.pointer(), _memory: Some(memory) })
    }
}

/// Adds the elements of every channel, unless the result is not wanted.
///
/// # Safety
/// `columns` holds channels * spatial elements, `result` is null or holds `channels`.
unsafe fn fold<T: Real>(columns: *const T, result: *mut T, channels: usize, spatial: usize) {
    if result.is_null() {
        return;
    }
    for channel in 0..channels {
        let mut total = 0.0;
        for i in channel * spatial..(channel + 1) * spatial {
            // SAFETY: the caller's promise.
            total += unsafe { columns.add(i).read() }.to_f64();
        }
        // SAFETY: the caller's promise.
        unsafe { result.add(channel).write(T::from_f64(total)) }
    }
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
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let Shape { groups, channels, spatial } = self.shape;
        let columns = channels * spatial;
        for row in first..first + count {
            // SAFETY: the row is inside all arrays.
            unsafe {
                let (x, y) = (self.x.at(row * columns), self.y.at(row * columns));
                let (mean, correction, deviation) = row_statistics::<S, T, N, true>(x, columns, self.eps);
                for channel in 0..channels {
                    let index = row % groups * channels + channel;
                    let weight = if self.weight.is_some() { self.weight.at(index).read() } else { T::ONE };
                    let bias = if self.bias.is_some() { self.bias.at(index).read() } else { T::ZERO };
                    let scale = T::from_f64(deviation * weight.to_f64());
                    let shift = T::from_f64(bias.to_f64() - correction * deviation * weight.to_f64());
                    let (x, y) = (x.add(channel * spatial), y.add(channel * spatial));
                    chunks!(N, spatial, |at, length| {
                        let mut lanes: [T; N] = S::load_some(x.add(at), length, mean);
                        for i in 0..N {
                            lanes[i] = (lanes[i] - mean) * scale + shift;
                        }
                        S::store_some(y.add(at), &lanes, length);
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
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
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
                        let lanes: [T; N] = S::load_some(dy.add(at), length, T::ZERO);
                        let centred: [T; N] = S::load_some(x.add(at), length, mean);
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
                        let mut lanes: [T; N] = S::load_some(dy.add(start + at), length, T::ZERO);
                        let centred: [T; N] = S::load_some(x.add(start + at), length, mean);
                        for i in 0..N {
                            lanes[i] = lanes[i] * scale + ((centred[i] - mean) * slope + offset);
                        }
                        S::store_some(self.dx.at(row * columns + start + at), &lanes, length);
                    });
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::rows::testing::{assert_close, assert_reproducible, assert_slopes, numbers, wide};
    use super::*;

    const SHAPES: [((usize, usize, usize), usize); 8] = [
        ((2, 4, 1), 2),
        ((3, 6, 5), 3),
        ((2, 4, 30), 4),
        ((2, 6, 100), 1),
        ((2, 4, 70), 2),
        ((0, 2, 3), 1),
        ((3, 3, 1), 1),
        ((300, 4, 1), 2),
    ];

    fn definition(x: &[f64], weight: &[f64], bias: &[f64], spatial: usize, groups: usize) -> [Vec<f64>; 3] {
        let channels = weight.len();
        let mut results = [vec![], vec![], vec![]];
        for (row, values) in x.chunks_exact(channels / groups * spatial).enumerate() {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let rstd = 1.0 / (variance + 1e-5).sqrt();
            for (i, x) in values.iter().enumerate() {
                let channel = (row * values.len() + i) / spatial % channels;
                results[0].push((x - mean) * rstd * weight[channel] + bias[channel]);
            }
            results[1].push(mean);
            results[2].push(rstd);
        }
        results
    }

    fn forward<T: Real>(x: &[T], weight: &[T], bias: &[T], shape: (usize, usize, usize), groups: usize) -> [Vec<T>; 3] {
        let rows = shape.0 * groups;
        let mut results = [vec![T::ZERO; x.len()], vec![T::ZERO; rows], vec![T::ZERO; rows]];
        let [y, mean, rstd] = &mut results;
        let [y, mean, rstd] = [y.as_mut_ptr(), mean.as_mut_ptr(), rstd.as_mut_ptr()];
        // SAFETY: the arrays have their sizes.
        unsafe { group_norm(x.as_ptr(), weight.as_ptr(), bias.as_ptr(), 1e-5, y, mean, rstd, shape, groups) }.unwrap();
        results
    }

    #[test]
    fn forward_agrees_with_the_definition() {
        for (shape, groups) in SHAPES {
            for offset in [0.0, 1e6] {
                let (batch, channels, spatial) = shape;
                let x = numbers::<f32>(batch * channels * spatial, 1, offset);
                let (weight, bias) = (numbers::<f32>(channels, 2, 0.0), numbers::<f32>(channels, 3, 0.0));
                let actual = forward(&x, &weight, &bias, shape, groups);
                let expected = definition(&wide(&x), &wide(&weight), &wide(&bias), spatial, groups);
                for (actual, expected) in actual.iter().zip(&expected) {
                    assert_close(actual, expected, 3e-6, "group_norm");
                }
            }
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for (shape, groups) in SHAPES {
            let (batch, channels, spatial) = shape;
            let x = numbers::<f64>(batch * channels * spatial, 1, 0.5);
            let (weight, bias) = (numbers::<f64>(channels, 2, 0.0), numbers::<f64>(channels, 3, 0.0));
            let dy = numbers::<f64>(x.len(), 4, 0.0);
            let [_, mean, rstd] = forward(&x, &weight, &bias, shape, groups);
            let (mut dx, mut dweight, mut dbias) = (dy.clone(), vec![0.0; channels], vec![0.0; channels]);
            let (g, w, m, r) = (dx.as_mut_ptr(), weight.as_ptr(), mean.as_ptr(), rstd.as_ptr());
            let (dw, db) = (dweight.as_mut_ptr(), dbias.as_mut_ptr());
            // SAFETY: the arrays have their sizes; `dx` may be `dy`.
            unsafe { group_norm_gradient(g.cast_const(), x.as_ptr(), m, r, w, g, dw, db, shape, groups) }.unwrap();
            let objective = |x: &[f64], w: &[f64], b: &[f64]| -> f64 {
                definition(x, w, b, spatial, groups)[0].iter().zip(&dy).map(|(y, dy)| y * dy).sum()
            };
            assert_slopes(&dx, &x, 1 + x.len() / 40, "dx", |x| objective(x, &weight, &bias));
            assert_slopes(&dweight, &weight, 1, "dweight", |w| objective(&x, w, &bias));
            assert_slopes(&dbias, &bias, 1, "dbias", |b| objective(&x, &weight, b));
        }
    }

    #[test]
    fn bits_depend_on_nothing_but_the_input() {
        let shape = (40, 12, 100);
        let x = numbers::<f32>(40 * 12 * 100, 1, 0.0);
        let weight = numbers::<f32>(12, 2, 0.0);
        assert_reproducible(|| forward(&x, &weight, &weight, shape, 3).concat());
    }
}
