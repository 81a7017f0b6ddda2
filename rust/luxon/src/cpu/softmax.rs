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

use super::real::{Real, larger};
use super::rows::{
    GROUP, Group, Input, Job, Output, SHORT, by_width, chunks, groups, largest_lane, load_some, rows_each, run,
    store_some, sum_lanes, totals,
};

/// Steps along the axis that a lane sums in the working precision before the sum moves to `f64`.
const STEPS: usize = 256;

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

/// The largest element of a row, NaN left out; minus infinity for an empty one.
///
/// # Safety
/// `x` holds `columns` elements.
#[inline(always)]
pub(super) unsafe fn row_maximum<T: Real, const N: usize>(x: *const T, columns: usize) -> T {
    let mut largest = [T::NEGATIVE_INFINITY; N];
    chunks!(N, columns, |at, length| {
        // SAFETY: the chunk is inside the row.
        let lanes: [T; N] = unsafe { load_some(x.add(at), length, T::NEGATIVE_INFINITY) };
        for i in 0..N {
            largest[i] = larger(lanes[i], largest[i]);
        }
    });
    largest_lane(largest)
}

/// The sum of `exp(x - shift)` over a row.
///
/// # Safety
/// As [`row_maximum`].
#[inline(always)]
pub(super) unsafe fn row_exponentials<T: Real, const N: usize>(
    x: *const T,
    columns: usize,
    shift: T,
) -> T {
    let [total] = totals!(T, N, 1, columns, |at, length, sums| {
        // SAFETY: the chunk is inside the row.
        let lanes: [T; N] = unsafe { load_some(x.add(at), length, T::NEGATIVE_INFINITY) };
        for i in 0..N {
            sums[0][i] += (lanes[i] - shift).exp();
        }
    });
    T::from_f64(total)
}

/// As [`row_exponentials`], and writes the exponentials to `y`, which may be `x`.
///
/// # Safety
/// As [`row_maximum`]; `y` is writable for `columns` elements.
#[inline(always)]
pub(super) unsafe fn row_store_exponentials<T: Real, const N: usize>(
    x: *const T,
    y: *mut T,
    columns: usize,
    shift: T,
) -> T {
    let [total] = totals!(T, N, 1, columns, |at, length, sums| {
        // SAFETY: the chunk is inside the row.
        unsafe {
            let mut lanes: [T; N] = load_some(x.add(at), length, T::NEGATIVE_INFINITY);
            for i in 0..N {
                lanes[i] = (lanes[i] - shift).exp();
            }
            for i in 0..N {
                sums[0][i] += lanes[i];
            }
            store_some(y.add(at), &lanes, length);
        }
    });
    T::from_f64(total)
}

/// What to subtract in log-sum-exp: the maximum, unless that is infinite.
#[inline(always)]
fn finite_shift<T: Real>(maximum: T) -> T {
    if maximum - maximum == T::ZERO { maximum } else { T::ZERO }
}

struct RowForward<T, const N: usize, const LOG: bool> {
    x: Input<T>,
    y: Output<T>,
    columns: usize,
}

impl<T: Real, const N: usize, const LOG: bool> Job for RowForward<T, N, LOG> {
    #[inline(always)]
    unsafe fn run(&self, _task: usize, first: usize, count: usize) {
        let columns = self.columns;
        // SAFETY: the caller's promise: the rows are inside both arrays.
        unsafe {
            if N == SHORT {
                groups!(first, count, |row, rows| {
                    let (x, y) = (self.x.at(row * columns), self.y.at(row * columns));
                    short_rows::<T, N, LOG>(x, y, rows, columns);
                });
            } else {
                for row in first..first + count {
                    let (x, y) = (self.x.at(row * columns), self.y.at(row * columns));
                    if LOG {
                        log_softmax_row::<T, N>(x, y, columns);
                    } else {
                        softmax_row::<T, N>(x, y, columns);
                    }
                }
            }
        }
    }
}

/// Softmax or its logarithm of a group of short rows.
#[inline(always)]
unsafe fn short_rows<T: Real, const N: usize, const LOG: bool>(x: *const T, y: *mut T, rows: usize, columns: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut group = Group::<T, N>::read(x, rows, columns, T::NEGATIVE_INFINITY);
        let mut sums = [T::ONE; GROUP];
        for row in 0..rows {
            let mut lanes = *group.row(row);
            let maximum = largest_lane(lanes);
            subtract(&mut lanes, maximum);
            if LOG {
                *group.row(row) = lanes;
            }
            exponentials(&mut lanes);
            sums[row] = sum_lanes(lanes);
            if !LOG {
                *group.row(row) = lanes;
            }
        }
        for i in 0..GROUP {
            sums[i] = if LOG { sums[i].ln() } else { T::ONE / sums[i] };
        }
        for row in 0..rows {
            let mut lanes = *group.row(row);
            for i in 0..N {
                lanes[i] = if LOG { lanes[i] - sums[row] } else { lanes[i] * sums[row] };
            }
            *group.row(row) = lanes;
        }
        group.write(y, rows, columns);
    }
}

#[inline(always)]
pub(super) fn subtract<T: Real, const N: usize>(lanes: &mut [T; N], shift: T) {
    for i in 0..N {
        lanes[i] -= shift;
    }
}

#[inline(always)]
pub(super) fn exponentials<T: Real, const N: usize>(lanes: &mut [T; N]) {
    for i in 0..N {
        lanes[i] = lanes[i].exp();
    }
}

#[inline(always)]
unsafe fn softmax_row<T: Real, const N: usize>(x: *const T, y: *mut T, columns: usize) {
    // SAFETY: the caller's promise; chunks are inside the row.
    unsafe {
        let maximum = row_maximum::<T, N>(x, columns);
        let scale = T::ONE / row_store_exponentials::<T, N>(x, y, columns, maximum);
        chunks!(N, columns, |at, length| {
            let mut lanes: [T; N] = load_some(y.add(at), length, T::ZERO);
            for i in 0..N {
                lanes[i] *= scale;
            }
            store_some(y.add(at), &lanes, length);
        });
    }
}

#[inline(always)]
unsafe fn log_softmax_row<T: Real, const N: usize>(x: *const T, y: *mut T, columns: usize) {
    // SAFETY: the caller's promise; chunks are inside the row.
    unsafe {
        let maximum = row_maximum::<T, N>(x, columns);
        let logarithm = row_exponentials::<T, N>(x, columns, maximum).ln();
        chunks!(N, columns, |at, length| {
            let mut lanes: [T; N] = load_some(x.add(at), length, T::ZERO);
            for i in 0..N {
                // The first difference is nearly exact; `x - (maximum + logarithm)` would lose the
                // logarithm where the maximum is large.
                lanes[i] = (lanes[i] - maximum) - logarithm;
            }
            store_some(y.add(at), &lanes, length);
        });
    }
}

struct RowLogSumExp<T, const N: usize> {
    x: Input<T>,
    y: Output<T>,
    columns: usize,
}

impl<T: Real, const N: usize> Job for RowLogSumExp<T, N> {
    #[inline(always)]
    unsafe fn run(&self, _task: usize, first: usize, count: usize) {
        let columns = self.columns;
        // SAFETY: the caller's promise: the rows are inside the array, and their results inside the other.
        unsafe {
            groups!(first, count, |row, rows| {
                let (mut shifts, mut sums) = ([T::ZERO; GROUP], [T::ONE; GROUP]);
                if N == SHORT {
                    let x = self.x.at(row * columns);
                    let mut group = Group::<T, N>::read(x, rows, columns, T::NEGATIVE_INFINITY);
                    for i in 0..rows {
                        let mut lanes = *group.row(i);
                        shifts[i] = finite_shift(largest_lane(lanes));
                        subtract(&mut lanes, shifts[i]);
                        exponentials(&mut lanes);
                        sums[i] = sum_lanes(lanes);
                    }
                } else {
                    for i in 0..rows {
                        let x = self.x.at((row + i) * columns);
                        shifts[i] = finite_shift(row_maximum::<T, N>(x, columns));
                        sums[i] = row_exponentials::<T, N>(x, columns, shifts[i]);
                    }
                }
                for i in 0..GROUP {
                    shifts[i] += sums[i].ln();
                }
                store_some(self.y.at(row), &shifts, rows);
            });
        }
    }
}

struct RowBackward<T, const N: usize, const LOG: bool> {
    y: Input<T>,
    dy: Input<T>,
    dx: Output<T>,
    columns: usize,
}

impl<T: Real, const N: usize, const LOG: bool> Job for RowBackward<T, N, LOG> {
    #[inline(always)]
    unsafe fn run(&self, _task: usize, first: usize, count: usize) {
        let columns = self.columns;
        // SAFETY: the caller's promise: the rows are inside the arrays.
        unsafe {
            if N == SHORT {
                groups!(first, count, |row, rows| {
                    let mut results = Group::<T, N>::read(self.y.at(row * columns), rows, columns, T::ZERO);
                    let mut upstream = Group::<T, N>::read(self.dy.at(row * columns), rows, columns, T::ZERO);
                    for i in 0..rows {
                        let (result, mut lanes) = (*results.row(i), *upstream.row(i));
                        let mut terms = lanes;
                        if !LOG {
                            for i in 0..N {
                                terms[i] *= result[i];
                            }
                        }
                        differentiate::<T, N, LOG>(&mut lanes, &result, &[sum_lanes(terms); N]);
                        *upstream.row(i) = lanes;
                    }
                    upstream.write(self.dx.at(row * columns), rows, columns);
                });
            } else {
                for row in first..first + count {
                    let (y, dy) = (self.y.at(row * columns), self.dy.at(row * columns));
                    gradient_row::<T, N, LOG>(y, dy, self.dx.at(row * columns), columns);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn gradient_row<T: Real, const N: usize, const LOG: bool>(
    y: *const T,
    dy: *const T,
    dx: *mut T,
    columns: usize,
) {
    // SAFETY: the caller's promise; chunks are inside the row.
    unsafe {
        let [total] = totals!(T, N, 1, columns, |at, length, sums| {
            let upstream: [T; N] = load_some(dy.add(at), length, T::ZERO);
            if LOG {
                for i in 0..N {
                    sums[0][i] += upstream[i];
                }
            } else {
                let result: [T; N] = load_some(y.add(at), length, T::ZERO);
                for i in 0..N {
                    sums[0][i] += upstream[i] * result[i];
                }
            }
        });
        let total = T::from_f64(total);
        chunks!(N, columns, |at, length| {
            let mut lanes: [T; N] = load_some(dy.add(at), length, T::ZERO);
            let result: [T; N] = load_some(y.add(at), length, T::ZERO);
            differentiate::<T, N, LOG>(&mut lanes, &result, &[total; N]);
            store_some(dx.add(at), &lanes, length);
        });
    }
}

/// Turns the upstream gradient of a chunk into that of its input.
#[inline(always)]
fn differentiate<T: Real, const N: usize, const LOG: bool>(upstream: &mut [T; N], result: &[T; N], totals: &[T; N]) {
    for i in 0..N {
        upstream[i] = if LOG {
            upstream[i] - result[i].exp() * totals[i]
        } else {
            result[i] * (upstream[i] - totals[i])
        };
    }
}

/// The part of item `item` in an array (outer, axis, inner): first element, and lanes in use.
#[inline(always)]
fn lane_group<const N: usize>(item: usize, axis: usize, inner: usize) -> (usize, usize, usize) {
    let groups = inner.div_ceil(N);
    let (outer, lane) = (item / groups, item % groups * N);
    (outer * axis * inner + lane, outer * inner + lane, (inner - lane).min(N))
}

/// Per lane, the sum over `steps` of what a block adds to the array it is given.
macro_rules! lane_totals {
    ($real:ty, $lanes:expr, $steps:expr, |$step:ident, $sums:ident| $body:block) => {{
        let steps: usize = $steps;
        let mut totals = [0.0f64; $lanes];
        let mut done = 0;
        while done < steps {
            let until = (done + STEPS).min(steps);
            let mut $sums = [<$real>::ZERO; $lanes];
            for $step in done..until $body
            for i in 0..$lanes {
                totals[i] += $sums[i].to_f64();
            }
            done = until;
        }
        totals
    }};
}

/// Per lane, the largest element along the axis.
#[inline(always)]
unsafe fn lane_maximum<T: Real, const N: usize>(x: *const T, axis: usize, inner: usize, length: usize) -> [T; N] {
    let mut largest = [T::NEGATIVE_INFINITY; N];
    for step in 0..axis {
        // SAFETY: the caller's promise: `length` elements at every step.
        let lanes: [T; N] = unsafe { load_some(x.add(step * inner), length, T::ZERO) };
        for i in 0..N {
            largest[i] = larger(lanes[i], largest[i]);
        }
    }
    largest
}

/// Per lane, the sum of `exp(x - shift)` along the axis.
#[inline(always)]
unsafe fn lane_exponentials<T: Real, const N: usize>(
    x: *const T,
    axis: usize,
    inner: usize,
    length: usize,
    shift: &[T; N],
) -> [f64; N] {
    lane_totals!(T, N, axis, |step, sums| {
        // SAFETY: the caller's promise: `length` elements at every step.
        let lanes: [T; N] = unsafe { load_some(x.add(step * inner), length, T::ZERO) };
        for i in 0..N {
            sums[i] += (lanes[i] - shift[i]).exp();
        }
    })
}

struct LaneForward<T, const N: usize, const LOG: bool> {
    x: Input<T>,
    y: Output<T>,
    axis: usize,
    inner: usize,
}

impl<T: Real, const N: usize, const LOG: bool> Job for LaneForward<T, N, LOG> {
    #[inline(always)]
    unsafe fn run(&self, _task: usize, first: usize, count: usize) {
        let (axis, inner) = (self.axis, self.inner);
        for item in first..first + count {
            let (start, _, length) = lane_group::<N>(item, axis, inner);
            // SAFETY: the group has `length` lanes at each of `axis` steps of both arrays.
            unsafe {
                let (x, y) = (self.x.at(start), self.y.at(start));
                let maximum = lane_maximum::<T, N>(x, axis, inner, length);
                let mut factor = [T::ZERO; N];
                if LOG {
                    let sums = lane_exponentials(x, axis, inner, length, &maximum);
                    for i in 0..N {
                        factor[i] = T::from_f64(sums[i]).ln();
                    }
                } else {
                    let sums = lane_totals!(T, N, axis, |step, sums| {
                        let mut lanes: [T; N] = load_some(x.add(step * inner), length, T::ZERO);
                        for i in 0..N {
                            lanes[i] = (lanes[i] - maximum[i]).exp();
                        }
                        for i in 0..N {
                            sums[i] += lanes[i];
                        }
                        store_some(y.add(step * inner), &lanes, length);
                    });
                    for i in 0..N {
                        factor[i] = T::from_f64(1.0 / sums[i]);
                    }
                }
                for step in 0..axis {
                    let from = if LOG { x.add(step * inner) } else { y.add(step * inner).cast_const() };
                    let mut lanes: [T; N] = load_some(from, length, T::ZERO);
                    for i in 0..N {
                        lanes[i] = if LOG { (lanes[i] - maximum[i]) - factor[i] } else { lanes[i] * factor[i] };
                    }
                    store_some(y.add(step * inner), &lanes, length);
                }
            }
        }
    }
}

struct LaneLogSumExp<T, const N: usize> {
    x: Input<T>,
    y: Output<T>,
    axis: usize,
    inner: usize,
}

impl<T: Real, const N: usize> Job for LaneLogSumExp<T, N> {
    #[inline(always)]
    unsafe fn run(&self, _task: usize, first: usize, count: usize) {
        let (axis, inner) = (self.axis, self.inner);
        for item in first..first + count {
            let (start, result, length) = lane_group::<N>(item, axis, inner);
            // SAFETY: the group has `length` lanes at each of `axis` steps, and in the result.
            unsafe {
                let x = self.x.at(start);
                let mut shift = lane_maximum::<T, N>(x, axis, inner, length);
                for i in 0..N {
                    shift[i] = finite_shift(shift[i]);
                }
                let sums = lane_exponentials(x, axis, inner, length, &shift);
                for i in 0..N {
                    shift[i] += T::from_f64(sums[i]).ln();
                }
                store_some(self.y.at(result), &shift, length);
            }
        }
    }
}

struct LaneBackward<T, const N: usize, const LOG: bool> {
    y: Input<T>,
    dy: Input<T>,
    dx: Output<T>,
    axis: usize,
    inner: usize,
}

impl<T: Real, const N: usize, const LOG: bool> Job for LaneBackward<T, N, LOG> {
    #[inline(always)]
    unsafe fn run(&self, _task: usize, first: usize, count: usize) {
        let (axis, inner) = (self.axis, self.inner);
        for item in first..first + count {
            let (start, _, length) = lane_group::<N>(item, axis, inner);
            // SAFETY: the group has `length` lanes at each of `axis` steps of all arrays.
            unsafe {
                let (y, dy, dx) = (self.y.at(start), self.dy.at(start), self.dx.at(start));
                let sums = lane_totals!(T, N, axis, |step, sums| {
                    let upstream: [T; N] = load_some(dy.add(step * inner), length, T::ZERO);
                    if LOG {
                        for i in 0..N {
                            sums[i] += upstream[i];
                        }
                    } else {
                        let result: [T; N] = load_some(y.add(step * inner), length, T::ZERO);
                        for i in 0..N {
                            sums[i] += upstream[i] * result[i];
                        }
                    }
                });
                let mut total = [T::ZERO; N];
                for i in 0..N {
                    total[i] = T::from_f64(sums[i]);
                }
                for step in 0..axis {
                    let mut lanes: [T; N] = load_some(dy.add(step * inner), length, T::ZERO);
                    let result: [T; N] = load_some(y.add(step * inner), length, T::ZERO);
                    differentiate::<T, N, LOG>(&mut lanes, &result, &total);
                    store_some(dx.add(step * inner), &lanes, length);
                }
            }
        }
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

    fn apply<T: Real>(kernel: Kernel<T>, x: &[T], (outer, axis, inner): (usize, usize, usize), length: usize) -> Vec<T> {
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
                    let expected = slope(&x, index, |x| {
                        apply(kernel, x, shape, size).iter().zip(&dy).map(|(y, dy)| y * dy).sum()
                    });
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
