//! Softmax, log-softmax, log-sum-exp and their derivatives along one axis of a contiguous array.
//!
//! The array is (outer, axis, inner). With `inner == 1` a row is contiguous: its maximum, one pass of
//! `exp(x - maximum)` with a running sum, and a scaling pass, all on a row that sits in the nearest
//! cache. Otherwise lanes run along `inner` and every lane is a row of its own.
//!
//! Infinities behave as in PyTorch: a row of minus infinities gives NaN (log-sum-exp: minus infinity), a
//! plus infinity gives NaN (log-sum-exp: plus infinity), NaN reaches all of its row. The maximum ignores
//! NaN, which is sound because the sum does not.
//!
//! Every output may be the memory of an input of the same shape.

mod row;
mod strided;

use super::real::Real;
use super::rows::{Input, Output, by_width, rows_each, run};
use row::{RowBackward, RowForward, RowLogSumExp};
pub(super) use row::{exponentials, row_exponentials, row_maximum, row_store_exponentials, subtract};
use strided::{LaneBackward, LaneForward, LaneLogSumExp};

/// `exp(x) / sum(exp(x))` along the axis.
///
/// # Safety
/// `x` and `y` hold `outer * axis * inner` elements and are the same memory or do not overlap.
pub unsafe fn softmax<T: Real>(x: *const T, y: *mut T, outer: usize, axis: usize, inner: usize) {
    // SAFETY: the caller's promise.
    unsafe { forward::<T, false>(x, y, outer, axis, inner) }
}

/// `x - ln(sum(exp(x)))` along the axis.
///
/// # Safety
/// `x` and `y` hold `outer * axis * inner` elements and are the same memory or do not overlap.
pub unsafe fn log_softmax<T: Real>(x: *const T, y: *mut T, outer: usize, axis: usize, inner: usize) {
    // SAFETY: the caller's promise.
    unsafe { forward::<T, true>(x, y, outer, axis, inner) }
}

/// `ln(sum(exp(x)))` along the axis, minus infinity for an empty axis.
///
/// # Safety
/// `x` holds `outer * axis * inner` elements, `y` `outer * inner`; they do not overlap.
pub unsafe fn logsumexp<T: Real>(x: *const T, y: *mut T, outer: usize, axis: usize, inner: usize) {
    let (x, y) = (Input::new(x), Output::new(y));
    // SAFETY: the caller's promise.
    unsafe {
        if inner == 1 {
            by_width!(axis, |N| {
                let job = RowLogSumExp::<T, N> { x, y, columns: axis };
                run(&job, outer, rows_each(axis), 8.0 + 0.3 * axis as f64)
            });
        } else {
            by_width!(inner, |N| {
                let job = LaneLogSumExp::<T, N> { x, y, axis, inner };
                run(&job, outer * inner.div_ceil(N), rows_each(axis * N), 0.4 * (axis * N) as f64)
            });
        }
    }
}

/// The gradient of [`softmax`] from its result: `y * (dy - sum(y * dy))`.
///
/// # Safety
/// All hold `outer * axis * inner` elements; `dx` may be `y` or `dy` but not overlap them otherwise.
pub unsafe fn softmax_gradient<T: Real>(
    y: *const T,
    dy: *const T,
    dx: *mut T,
    outer: usize,
    axis: usize,
    inner: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { backward::<T, false>(y, dy, dx, outer, axis, inner) }
}

/// The gradient of [`log_softmax`] from its result: `dy - exp(y) * sum(dy)`.
///
/// # Safety
/// All hold `outer * axis * inner` elements; `dx` may be `y` or `dy` but not overlap them otherwise.
pub unsafe fn log_softmax_gradient<T: Real>(
    y: *const T,
    dy: *const T,
    dx: *mut T,
    outer: usize,
    axis: usize,
    inner: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { backward::<T, true>(y, dy, dx, outer, axis, inner) }
}

unsafe fn forward<T: Real, const LOG: bool>(x: *const T, y: *mut T, outer: usize, axis: usize, inner: usize) {
    let (x, y) = (Input::new(x), Output::new(y));
    // SAFETY: the caller's promise.
    unsafe {
        if inner == 1 {
            by_width!(axis, |N| {
                let job = RowForward::<T, N, LOG> { x, y, columns: axis };
                run(&job, outer, rows_each(axis), 8.0 + 0.4 * axis as f64)
            });
        } else {
            by_width!(inner, |N| {
                let job = LaneForward::<T, N, LOG> { x, y, axis, inner };
                run(&job, outer * inner.div_ceil(N), rows_each(axis * N), 0.5 * (axis * N) as f64)
            });
        }
    }
}

unsafe fn backward<T: Real, const LOG: bool>(
    y: *const T,
    dy: *const T,
    dx: *mut T,
    outer: usize,
    axis: usize,
    inner: usize,
) {
    let (y, dy, dx) = (Input::new(y), Input::new(dy), Output::new(dx));
    // SAFETY: the caller's promise.
    unsafe {
        if inner == 1 {
            by_width!(axis, |N| {
                let job = RowBackward::<T, N, LOG> { y, dy, dx, columns: axis };
                run(&job, outer, rows_each(axis), 8.0 + 0.3 * axis as f64)
            });
        } else {
            by_width!(inner, |N| {
                let job = LaneBackward::<T, N, LOG> { y, dy, dx, axis, inner };
                run(&job, outer * inner.div_ceil(N), rows_each(axis * N), 0.4 * (axis * N) as f64)
            });
        }
    }
}

/// What to subtract in log-sum-exp: the maximum, unless that is infinite.
#[inline(always)]
fn finite_shift<T: Real>(maximum: T) -> T {
    if maximum.abs() < T::from_f64(f64::INFINITY) { maximum } else { T::ZERO }
}

/// Turns the upstream gradient of a chunk into that of its input.
#[inline(always)]
fn differentiate<T: Real, const N: usize, const LOG: bool>(upstream: &mut [T; N], result: &[T; N], totals: &[T; N]) {
    for i in 0..N {
        upstream[i] =
            if LOG { upstream[i] - result[i].exp() * totals[i] } else { result[i] * (upstream[i] - totals[i]) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::testing::{assert_close, assert_reproducible, numbers, slope, wide};
    use super::*;

    type Kernel<T> = unsafe fn(*const T, *mut T, usize, usize, usize);

    const SHAPES: [(usize, usize, usize); 16] = [
        (0, 5, 1),
        (3, 0, 1),
        (1, 1, 1),
        (7, 1, 1),
        (5, 10, 1),
        (128, 10, 1),
        (3, 16, 1),
        (3, 17, 1),
        (9, 64, 1),
        (4, 65, 1),
        (3, 1000, 1),
        (2, 9001, 1),
        (2, 7, 3),
        (3, 5, 16),
        (2, 300, 17),
        (2, 4, 130),
    ];

    fn apply<T: Real>(
        kernel: Kernel<T>,
        x: &[T],
        (outer, axis, inner): (usize, usize, usize),
        length: usize,
    ) -> Vec<T> {
        let mut y = vec![T::ZERO; length];
        // SAFETY: the arrays have the shape's sizes.
        unsafe { kernel(x.as_ptr(), y.as_mut_ptr(), outer, axis, inner) };
        y
    }

    /// Softmax, its logarithm and log-sum-exp in double precision, straight from the definition.
    fn definition(x: &[f64], (outer, axis, inner): (usize, usize, usize)) -> [Vec<f64>; 3] {
        let (mut y, mut log_y, mut total) = (x.to_vec(), x.to_vec(), vec![0.0; outer * inner]);
        for row in 0..outer * inner {
            let at = |step: usize| (row / inner * axis + step) * inner + row % inner;
            let maximum = (0..axis).map(|step| x[at(step)]).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..axis).map(|step| (x[at(step)] - maximum).exp()).sum();
            for step in 0..axis {
                y[at(step)] = (x[at(step)] - maximum).exp() / sum;
                log_y[at(step)] = x[at(step)] - maximum - sum.ln();
            }
            total[row] = if axis == 0 { f64::NEG_INFINITY } else { maximum + sum.ln() };
        }
        [y, log_y, total]
    }

    fn agrees_with_the_definition<T: Real>(tolerance: f64) {
        for (seed, shape) in SHAPES.into_iter().enumerate() {
            for offset in [0.0, 1e6] {
                let (outer, axis, inner) = shape;
                let size = outer * axis * inner;
                let x = numbers::<T>(size, seed as u64, offset);
                let [y, log_y, total] = definition(&wide(&x), shape);
                assert_close(&apply(softmax, &x, shape, size), &y, tolerance, "softmax");
                assert_close(&apply(log_softmax, &x, shape, size), &log_y, tolerance, "log_softmax");
                assert_close(&apply(logsumexp, &x, shape, outer * inner), &total, tolerance, "logsumexp");
                let mut in_place = x.clone();
                // SAFETY: an output may be the input.
                unsafe { softmax(in_place.as_ptr(), in_place.as_mut_ptr(), outer, axis, inner) };
                assert_eq!(in_place, apply(softmax, &x, shape, size));
            }
        }
    }

    #[test]
    fn all_agree_with_the_definition() {
        agrees_with_the_definition::<f32>(2e-6);
        agrees_with_the_definition::<f64>(1e-14);
    }

    #[test]
    fn infinities_and_nan() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for columns in [3, 40, 200] {
            let row = |special: [f32; 2]| {
                let mut row = vec![0.5; columns];
                row[..2].copy_from_slice(&special);
                row
            };
            let shape = (1, columns, 1);
            let all = vec![-inf; columns];
            assert!(apply(softmax, &all, shape, columns).iter().all(|y| y.is_nan()));
            assert!(apply(log_softmax, &all, shape, columns).iter().all(|y| y.is_nan()));
            assert_eq!(apply(logsumexp, &all, shape, 1), [-inf]);
            let plus = row([inf, -1.0]);
            assert!(apply(softmax, &plus, shape, columns).iter().all(|y| y.is_nan()));
            assert_eq!(apply(logsumexp, &plus, shape, 1), [inf]);
            let bad = row([nan, inf]);
            assert!(apply(softmax, &bad, shape, columns).iter().all(|y| y.is_nan()));
            assert!(apply(logsumexp, &bad, shape, 1)[0].is_nan());
            let minus = row([-inf, -inf]);
            assert_eq!(apply(softmax, &minus, shape, columns)[..2], [0.0, 0.0]);
            assert_eq!(apply(log_softmax, &minus, shape, columns)[..2], [-inf, -inf]);
            // The same along a strided axis, where the row stands beside an ordinary one.
            let mut pair = vec![0.25; 2 * columns];
            for step in 0..columns {
                pair[2 * step] = plus[step];
            }
            let total = apply(logsumexp, &pair, (1, columns, 2), 2);
            assert_eq!(total[0], inf);
            assert!((total[1] - 0.25 - (columns as f32).ln()).abs() < 1e-5);
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for (seed, shape) in [(2, 1, 1), (3, 7, 1), (2, 70, 1), (2, 5, 3), (1, 4, 70)].into_iter().enumerate() {
            let (outer, axis, inner) = shape;
            let size = outer * axis * inner;
            let x = numbers::<f64>(size, seed as u64, 0.0);
            let dy = numbers::<f64>(size, seed as u64 + 50, 0.0);
            for log in [false, true] {
                let kernel: Kernel<f64> = if log { log_softmax } else { softmax };
                let gradient = if log { log_softmax_gradient } else { softmax_gradient };
                let y = apply(kernel, &x, shape, size);
                let mut dx = dy.clone();
                // SAFETY: the arrays have the shape's sizes; `dx` may be `dy`.
                unsafe { gradient(y.as_ptr(), dx.as_ptr(), dx.as_mut_ptr(), outer, axis, inner) };
                for index in (0..size).step_by(1 + size / 30) {
                    let expected =
                        slope(&x, index, |x| apply(kernel, x, shape, size).iter().zip(&dy).map(|(y, dy)| y * dy).sum());
                    assert_close(&dx[index..=index], &[expected], 1e-8, "gradient");
                }
            }
        }
    }

    #[test]
    fn bits_depend_on_nothing_but_the_input() {
        let x = numbers::<f32>(3000 * 100, 1, 0.0);
        for shape in [(3000, 100, 1), (300, 10, 100), (30000, 10, 1)] {
            assert_reproducible(|| apply(softmax, &x, shape, x.len()));
            assert_reproducible(|| apply(log_softmax, &x, shape, x.len()));
        }
    }
}
