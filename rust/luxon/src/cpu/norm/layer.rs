//! Layer norm and RMS norm: every row of (rows, columns) on its own.
//!
//! Forward takes three passes over a row in cache: its sum, the moments around that first mean, the
//! result. Backward takes two: the sums that the gradient needs, then the gradient together with the
//! row's share of the weight's and bias's gradient, which goes to an accumulator of its portion of rows.
//! RMS norm is the same without a mean.

use super::super::lanes::{LANES, Simd, load, store};
use super::super::real::Real;
use super::super::rows::{Input, Job, Output, Scratch, by_width, chunks, rows_each, run, totals};
use super::{reciprocal_deviation, spread};
use crate::error::Result;

/// `(x - mean) / sqrt(variance + eps) * weight + bias` per row, with `mean` and `rstd` (one a row; not
/// stored where null).
///
/// # Safety
/// `x` and `y` hold rows * columns elements and are the same memory or do not overlap; `weight` and `bias`
/// hold `columns`, `mean` and `rstd` `rows`.
pub unsafe fn layer_norm<T: Real>(
    x: *const T,
    weight: *const T,
    bias: *const T,
    eps: f64,
    y: *mut T,
    mean: *mut T,
    rstd: *mut T,
    rows: usize,
    columns: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { forward::<T, true>(x, weight, bias, eps, y, mean, rstd, rows, columns, 1) }
}

/// `x / sqrt(mean(x^2) + eps) * weight` per row, with `rstd` (not stored where null).
///
/// # Safety
/// As [`layer_norm`].
pub unsafe fn rms_norm<T: Real>(
    x: *const T,
    weight: *const T,
    eps: f64,
    y: *mut T,
    rstd: *mut T,
    rows: usize,
    columns: usize,
) {
    let none = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    unsafe { forward::<T, false>(x, weight, none, eps, y, none, rstd, rows, columns, 1) }
}

/// The gradients of [`layer_norm`]; each of `dx`, `dweight` and `dbias` may be null.
///
/// # Safety
/// As [`layer_norm`]; `dx` may be `dy` or `x`; `dweight` and `dbias` hold `columns`.
pub unsafe fn layer_norm_gradient<T: Real>(
    dy: *const T,
    x: *const T,
    mean: *const T,
    rstd: *const T,
    weight: *const T,
    dx: *mut T,
    dweight: *mut T,
    dbias: *mut T,
    rows: usize,
    columns: usize,
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { backward::<T, true>(dy, x, mean, rstd, weight, dx, dweight, dbias, rows, columns, 1) }
}

/// The gradients of [`rms_norm`]; `dx` and `dweight` may be null.
///
/// # Safety
/// As [`layer_norm_gradient`].
pub unsafe fn rms_norm_gradient<T: Real>(
    dy: *const T,
    x: *const T,
    rstd: *const T,
    weight: *const T,
    dx: *mut T,
    dweight: *mut T,
    rows: usize,
    columns: usize,
) -> Result<()> {
    let none = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    unsafe { backward::<T, false>(dy, x, none, rstd, weight, dx, dweight, none, rows, columns, 1) }
}

/// Layer norm where row `r` has the weights and biases that start at `r % groups * columns`.
///
/// # Safety
/// As [`layer_norm`], with `groups` times as many weights and biases.
pub(super) unsafe fn forward<T: Real, const CENTRED: bool>(
    x: *const T,
    weight: *const T,
    bias: *const T,
    eps: f64,
    y: *mut T,
    mean: *mut T,
    rstd: *mut T,
    rows: usize,
    columns: usize,
    groups: usize,
) {
    by_width!(columns, |N| {
        let job = Forward::<T, N, CENTRED> {
            x: Input::new(x),
            weight: Input::new(weight),
            bias: Input::new(bias),
            eps,
            y: Output::new(y),
            mean: Output::new(mean),
            rstd: Output::new(rstd),
            columns,
            groups,
        };
        // SAFETY: the caller's promise.
        unsafe { run(&job, rows, rows_each(columns), 15.0 + 0.25 * columns as f64) }
    });
}

struct Forward<T, const N: usize, const CENTRED: bool> {
    x: Input<T>,
    weight: Input<T>,
    bias: Input<T>,
    eps: f64,
    y: Output<T>,
    mean: Output<T>,
    rstd: Output<T>,
    columns: usize,
    groups: usize,
}

/// The first weight of a row. A division per row would show where rows are short.
#[inline(always)]
fn weight_start(row: usize, columns: usize, groups: usize) -> usize {
    if groups == 1 { 0 } else { row % groups * columns }
}

/// `(first mean, correction of it, reciprocal deviation)` of a row; no mean unless `CENTRED`.
///
/// # Safety
/// `x` holds `columns` elements.
#[inline(always)]
pub(super) unsafe fn row_statistics<S: Simd, T: Real, const N: usize, const CENTRED: bool>(
    x: *const T,
    columns: usize,
    eps: f64,
) -> (T, f64, f64) {
    // SAFETY: the caller's promise; chunks are inside the row.
    unsafe {
        let mut mean = T::ZERO;
        if CENTRED {
            let [sum] = totals!(T, N, 1, columns, |at, length, sums| {
                let lanes: [T; N] = S::load_some(x.add(at), length, T::ZERO);
                for i in 0..N {
                    sums[0][i] += lanes[i];
                }
            });
            mean = T::from_f64(sum / columns as f64);
        }
        let [sum, squares] = totals!(T, N, 2, columns, |at, length, sums| {
            let mut lanes: [T; N] = S::load_some(x.add(at), length, mean);
            for i in 0..N {
                lanes[i] -= mean;
                if CENTRED {
                    sums[0][i] += lanes[i];
                }
                sums[1][i] += lanes[i] * lanes[i];
            }
        });
        let (correction, variance) = spread(sum, squares, columns as f64);
        (mean, correction, reciprocal_deviation(variance, eps))
    }
}

impl<T: Real, const N: usize, const CENTRED: bool> Job for Forward<T, N, CENTRED> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let Forward { weight, bias, columns, .. } = *self;
        for row in first..first + count {
            let own = weight_start(row, columns, self.groups);
            // SAFETY: the row is inside all arrays.
            unsafe {
                let (x, y) = (self.x.at(row * columns), self.y.at(row * columns));
                let (mean, correction, deviation) = row_statistics::<S, T, N, CENTRED>(x, columns, self.eps);
                let (scale, shift) = (T::from_f64(deviation), T::from_f64(-correction * deviation));
                chunks!(N, columns, |at, length| {
                    let mut lanes: [T; N] = S::load_some(x.add(at), length, mean);
                    for i in 0..N {
                        lanes[i] = (lanes[i] - mean) * scale + shift;
                    }
                    if weight.is_some() {
                        let weight: [T; N] = S::load_some(weight.at(own + at), length, T::ZERO);
                        for i in 0..N {
                            lanes[i] *= weight[i];
                        }
                    }
                    if bias.is_some() {
                        let bias: [T; N] = S::load_some(bias.at(own + at), length, T::ZERO);
                        for i in 0..N {
                            lanes[i] += bias[i];
                        }
                    }
                    S::store_some(y.add(at), &lanes, length);
                });
                if self.mean.is_some() {
                    self.mean.at(row).write(T::from_f64(mean.to_f64() + correction));
                }
                if self.rstd.is_some() {
                    self.rstd.at(row).write(scale);
                }
            }
        }
    }
}

/// The gradients of [`forward`]: `dweight` and `dbias` are as long as the weights.
///
/// # Safety
/// As [`layer_norm_gradient`], with `groups` times as many weights and biases.
pub(super) unsafe fn backward<T: Real, const CENTRED: bool>(
    dy: *const T,
    x: *const T,
    mean: *const T,
    rstd: *const T,
    weight: *const T,
    dx: *mut T,
    dweight: *mut T,
    dbias: *mut T,
    rows: usize,
    columns: usize,
    groups: usize,
) -> Result<()> {
    // Portions are long enough to pay for their accumulator and short enough for plain sums in it.
    let shortest = (4096 / columns.max(1)).max(8 * groups);
    let each = (rows / 16).clamp(shortest, shortest.max(128 * groups));
    let portions = rows.div_ceil(each);
    let wants_sums = !(dweight.is_null() && dbias.is_null());
    by_width!(columns, |N| {
        let padded = columns.next_multiple_of(N);
        let stride = if wants_sums { 2 * groups * padded } else { 0 };
        let sums = Scratch::<T>::zeroed(portions * stride)?;
        let job = Backward::<T, N, CENTRED> {
            dy: Input::new(dy),
            x: Input::new(x),
            mean: Input::new(mean),
            rstd: Input::new(rstd),
            weight: Input::new(weight),
            dx: Output::new(dx),
            sums: Output::new(sums.pointer()),
            stride,
            columns,
            groups,
        };
        // SAFETY: the caller's promise; there is an accumulator per portion.
        unsafe { run(&job, rows, each, 15.0 + 0.5 * columns as f64) }
        for (part, result) in [dweight, dbias].into_iter().enumerate() {
            if result.is_null() {
                continue;
            }
            for group in 0..groups {
                // SAFETY: the part of the group is inside every accumulator, and inside the result.
                unsafe {
                    let first = sums.pointer().add(part * stride / 2 + group * padded);
                    let result = Output::new(result.add(group * columns));
                    let job = AddPortions { sums: Input::new(first), stride, portions, result };
                    run(&job, columns, 1024, 0.1 * portions as f64)
                }
            }
        }
    });
    Ok(())
}

struct Backward<T, const N: usize, const CENTRED: bool> {
    dy: Input<T>,
    x: Input<T>,
    mean: Input<T>,
    rstd: Input<T>,
    weight: Input<T>,
    dx: Output<T>,
    /// Per portion, the sums for the weights and those for the biases, every group's padded to whole chunks;
    /// unused where `stride` is 0.
    sums: Output<T>,
    stride: usize,
    columns: usize,
    groups: usize,
}

impl<T: Real, const N: usize, const CENTRED: bool> Job for Backward<T, N, CENTRED> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, task: usize, first: usize, count: usize) {
        let Backward { weight, columns, stride, .. } = *self;
        for row in first..first + count {
            let own = weight_start(row, columns, self.groups);
            // SAFETY: the row is inside all arrays, and the accumulator belongs to this task.
            unsafe {
                let (dy, x) = (self.dy.at(row * columns), self.x.at(row * columns));
                let mean = if CENTRED { self.mean.at(row).read() } else { T::ZERO };
                let scale = self.rstd.at(row).read();
                // Sums of the upstream gradient times weight, of that times `x - mean`, and of `x - mean`,
                // which is what the rounding of the mean left.
                let [upstream, product, rest] = totals!(T, N, 3, columns, |at, length, sums| {
                    let mut lanes: [T; N] = S::load_some(dy.add(at), length, T::ZERO);
                    let centred: [T; N] = S::load_some(x.add(at), length, mean);
                    if weight.is_some() {
                        let weight: [T; N] = S::load_some(weight.at(own + at), length, T::ZERO);
                        for i in 0..N {
                            lanes[i] *= weight[i];
                        }
                    }
                    for i in 0..N {
                        let centred = centred[i] - mean;
                        sums[1][i] += lanes[i] * centred;
                        if CENTRED {
                            sums[0][i] += lanes[i];
                            sums[2][i] += centred;
                        }
                    }
                });
                let (n, r) = (columns as f64, scale.to_f64());
                let correction = rest / n;
                let slope = -r * r * r * (product - correction * upstream) / n;
                let offset = -r * upstream / n - slope * correction;
                let (slope, offset) = (T::from_f64(slope), T::from_f64(offset));
                let shift = T::from_f64(-correction * r);
                let accumulator =
                    self.sums.at(task * stride + weight_start(row, columns.next_multiple_of(N), self.groups));
                chunks!(N, columns, |at, length| {
                    let upstream: [T; N] = S::load_some(dy.add(at), length, T::ZERO);
                    let mut centred: [T; N] = S::load_some(x.add(at), length, mean);
                    for i in 0..N {
                        centred[i] -= mean;
                    }
                    if self.dx.is_some() {
                        let mut lanes = upstream;
                        if weight.is_some() {
                            let weight: [T; N] = S::load_some(weight.at(own + at), length, T::ZERO);
                            for i in 0..N {
                                lanes[i] *= weight[i];
                            }
                        }
                        for i in 0..N {
                            lanes[i] = lanes[i] * scale + (centred[i] * slope + offset);
                        }
                        S::store_some(self.dx.at(row * columns + at), &lanes, length);
                    }
                    if stride > 0 {
                        // Accumulators are padded to whole chunks.
                        let (for_weight, for_bias) = (accumulator.add(at), accumulator.add(stride / 2 + at));
                        let mut sums: [T; N] = load(for_weight);
                        for i in 0..N {
                            sums[i] += upstream[i] * (centred[i] * scale + shift);
                        }
                        store(for_weight, &sums);
                        if CENTRED {
                            let mut sums: [T; N] = load(for_bias);
                            for i in 0..N {
                                sums[i] += upstream[i];
                            }
                            store(for_bias, &sums);
                        }
                    }
                });
            }
        }
    }
}

/// Adds the accumulators of all portions, in order.
pub(super) struct AddPortions<T> {
    pub sums: Input<T>,
    pub stride: usize,
    pub portions: usize,
    pub result: Output<T>,
}

impl<T: Real> Job for AddPortions<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        chunks!(LANES, count, |at, length| {
            // SAFETY: the caller's promise: these columns of every portion.
            unsafe {
                let mut totals = [0.0f64; LANES];
                for portion in 0..self.portions {
                    let from = self.sums.at(portion * self.stride + first + at);
                    let lanes: [T; LANES] = S::load_some(from, length, T::ZERO);
                    for i in 0..LANES {
                        totals[i] += lanes[i].to_f64();
                    }
                }
                let mut lanes = [T::ZERO; LANES];
                for i in 0..LANES {
                    lanes[i] = T::from_f64(totals[i]);
                }
                S::store_some(self.result.at(first + at), &lanes, length);
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::rows::testing::{assert_close, assert_reproducible, assert_slopes, numbers, wide};
    use super::*;
    use std::ptr::{null, null_mut};

    const SHAPES: [(usize, usize); 10] =
        [(0, 4), (2, 0), (3, 1), (5, 3), (4, 16), (3, 17), (2, 64), (3, 100), (300, 5), (2, 5000)];

    /// Layer norm (or RMS norm, if not `centred`) in double precision: (y, mean, rstd).
    fn definition(x: &[f64], weight: &[f64], bias: &[f64], centred: bool) -> [Vec<f64>; 3] {
        let (mut y, mut means, mut rstds) = (vec![], vec![], vec![]);
        for row in x.chunks_exact(weight.len()) {
            let n = row.len() as f64;
            // Around an element, as the mean itself could not be held exactly enough beside an offset.
            let origin = if centred { row[0] } else { 0.0 };
            let mean = if centred { row.iter().map(|x| x - origin).sum::<f64>() / n } else { 0.0 };
            let variance = row.iter().map(|x| (x - origin - mean).powi(2)).sum::<f64>() / n;
            let rstd = 1.0 / (variance + 1e-5).sqrt();
            y.extend(row.iter().zip(weight).zip(bias).map(|((x, w), b)| (x - origin - mean) * rstd * w + b));
            means.push(origin + mean);
            rstds.push(rstd);
        }
        [y, means, rstds]
    }

    fn forward_agrees<T: Real>(tolerance: f64) {
        for (seed, (rows, columns)) in SHAPES.into_iter().enumerate() {
            for offset in [0.0, 1e6] {
                let x = numbers::<T>(rows * columns, seed as u64, offset);
                let weight = numbers::<T>(columns, 90, 0.0);
                let bias = numbers::<T>(columns, 91, 0.0);
                let mut y = x.clone();
                let (mut mean, mut rstd) = (vec![T::ZERO; rows], vec![T::ZERO; rows]);
                let (p, w, b) = (y.as_mut_ptr(), weight.as_ptr(), bias.as_ptr());
                let (m, r) = (mean.as_mut_ptr(), rstd.as_mut_ptr());
                // SAFETY: the arrays have their sizes; `y` may be `x`.
                unsafe { layer_norm(p.cast_const(), w, b, 1e-5, p, m, r, rows, columns) };
                if columns == 0 {
                    continue;
                }
                let [ey, em, er] = definition(&wide(&x), &wide(&weight), &wide(&bias), true);
                assert_close(&y, &ey, tolerance, "layer_norm");
                assert_close(&mean, &em, tolerance, "mean");
                assert_close(&rstd, &er, tolerance, "rstd");
                // SAFETY: as above.
                unsafe { rms_norm(x.as_ptr(), w, 1e-5, p, r, rows, columns) };
                let [ey, _, er] = definition(&wide(&x), &wide(&weight), &vec![0.0; columns], false);
                assert_close(&y, &ey, tolerance, "rms_norm");
                assert_close(&rstd, &er, tolerance, "rstd");
            }
        }
    }

    #[test]
    fn forward_agrees_with_the_definition() {
        forward_agrees::<f32>(3e-6);
        forward_agrees::<f64>(1e-13);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for (seed, (rows, columns)) in [(3, 1), (5, 3), (4, 17), (3, 70), (40, 6)].into_iter().enumerate() {
            for centred in [true, false] {
                let x = numbers::<f64>(rows * columns, seed as u64, 0.5);
                let weight = numbers::<f64>(columns, 90, 0.0);
                let bias = vec![0.25; columns];
                let dy = numbers::<f64>(rows * columns, 92, 0.0);
                let [_, mean, rstd] = definition(&x, &weight, &bias, centred);
                let (mut dx, mut dweight, mut dbias) = (dy.clone(), vec![0.0; columns], vec![0.0; columns]);
                let (g, w, r) = (dx.as_mut_ptr(), weight.as_ptr(), rstd.as_ptr());
                let (m, dw, db) = (mean.as_ptr(), dweight.as_mut_ptr(), dbias.as_mut_ptr());
                // SAFETY: the arrays have their sizes; `dx` may be `dy`.
                unsafe {
                    if centred {
                        layer_norm_gradient(g, x.as_ptr(), m, r, w, g, dw, db, rows, columns).unwrap();
                    } else {
                        rms_norm_gradient(g, x.as_ptr(), r, w, g, dw, rows, columns).unwrap();
                    }
                }
                let objective = |x: &[f64], w: &[f64], b: &[f64]| -> f64 {
                    definition(x, w, b, centred)[0].iter().zip(&dy).map(|(y, dy)| y * dy).sum()
                };
                assert_slopes(&dx, &x, 1 + x.len() / 40, "dx", |x| objective(x, &weight, &bias));
                assert_slopes(&dweight, &weight, 1, "dweight", |w| objective(&x, w, &bias));
                if centred {
                    assert_slopes(&dbias, &bias, 1, "dbias", |b| objective(&x, &weight, b));
                }
            }
        }
    }

    #[test]
    fn single_precision_gradients_survive_a_large_offset() {
        let (rows, columns) = (64, 100);
        let x = numbers::<f32>(rows * columns, 1, 1e6);
        let dy = numbers::<f32>(rows * columns, 2, 0.0);
        let gradients = |x: &[f64], dy: &[f64]| {
            let [_, mean, rstd] = definition(x, &vec![1.0; columns], &vec![0.0; columns], true);
            let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; columns], vec![0.0; columns]);
            let [gx, gw, gb] = [dx.as_mut_ptr(), dw.as_mut_ptr(), db.as_mut_ptr()];
            let (m, r) = (mean.as_ptr(), rstd.as_ptr());
            // SAFETY: the arrays have their sizes.
            unsafe {
                layer_norm_gradient(dy.as_ptr(), x.as_ptr(), m, r, null(), gx, gw, gb, rows, columns).unwrap();
            }
            [dx, dw, db]
        };
        let expected = gradients(&wide(&x), &wide(&dy));
        let (mut mean, mut rstd, mut y) = (vec![0.0f32; rows], vec![0.0f32; rows], vec![0.0f32; x.len()]);
        let (mut dx, mut dw, mut db) = (vec![0.0f32; x.len()], vec![0.0f32; columns], vec![0.0f32; columns]);
        let [m, r, gx] = [mean.as_mut_ptr(), rstd.as_mut_ptr(), dx.as_mut_ptr()];
        let [gw, gb] = [dw.as_mut_ptr(), db.as_mut_ptr()];
        // SAFETY: the arrays have their sizes.
        unsafe {
            layer_norm(x.as_ptr(), null(), null(), 1e-5, y.as_mut_ptr(), m, r, rows, columns);
            layer_norm_gradient(dy.as_ptr(), x.as_ptr(), m, r, null(), gx, gw, gb, rows, columns).unwrap();
        }
        for (actual, expected) in [dx, dw, db].iter().zip(&expected) {
            assert_close(actual, expected, 2e-5, "gradient");
        }
    }

    #[test]
    fn bits_depend_on_nothing_but_the_input() {
        let (rows, columns) = (2000, 130);
        let (x, dy) = (numbers::<f32>(rows * columns, 1, 0.0), numbers::<f32>(rows * columns, 2, 0.0));
        let weight = numbers::<f32>(columns, 3, 0.0);
        assert_reproducible(|| {
            let mut result = vec![0.0f32; rows * columns + 2 * columns + 2 * rows];
            let (dx, rest) = result.split_at_mut(rows * columns);
            let (dw, rest) = rest.split_at_mut(columns);
            let (db, rest) = rest.split_at_mut(columns);
            let (m, r) = rest.split_at_mut(rows);
            let (m, r, w, gx) = (m.as_mut_ptr(), r.as_mut_ptr(), weight.as_ptr(), dx.as_mut_ptr());
            let (gw, gb) = (dw.as_mut_ptr(), db.as_mut_ptr());
            // SAFETY: the arrays have their sizes.
            unsafe {
                layer_norm(x.as_ptr(), w, null(), 1e-5, gx, m, r, rows, columns);
                layer_norm_gradient(dy.as_ptr(), x.as_ptr(), m, r, w, gx, gw, gb, rows, columns).unwrap();
            }
            result
        });
    }

    #[test]
    fn nan_reaches_its_row_only() {
        let mut x = numbers::<f32>(2 * 70, 1, 0.0);
        x[3] = f32::NAN;
        let mut y = vec![0.0f32; 140];
        // SAFETY: the arrays have their sizes; results may be absent.
        unsafe { layer_norm(x.as_ptr(), null(), null(), 1e-5, y.as_mut_ptr(), null_mut(), null_mut(), 2, 70) };
        assert!(y[..70].iter().all(|y| y.is_nan()) && y[70..].iter().all(|y| y.is_finite()));
    }
}
