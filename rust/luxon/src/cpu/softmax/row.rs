//! Softmax and its relatives where a row is contiguous.
//!
//! Short rows go through a [`Group`], others make three passes over a row that is in cache.

use super::super::lanes::{GROUP, Group, Simd, largest_lane, sum_lanes};
use super::super::real::{Real, larger};
use super::super::rows::{Input, Job, Output, chunks, groups, totals};
use super::{differentiate, finite_shift};

/// The largest element of a row, NaN left out; minus infinity for an empty one.
///
/// # Safety
/// `x` holds `columns` elements.
#[inline(always)]
pub(in super::super) unsafe fn row_maximum<S: Simd, T: Real, const N: usize>(x: *const T, columns: usize) -> T {
    let mut largest = [T::NEGATIVE_INFINITY; N];
    chunks!(N, columns, |at, length| {
        // SAFETY: the chunk is inside the row.
        let lanes: [T; N] = unsafe { S::load_some(x.add(at), length, T::NEGATIVE_INFINITY) };
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
pub(in super::super) unsafe fn row_exponentials<S: Simd, T: Real, const N: usize>(
    x: *const T,
    columns: usize,
    shift: T,
) -> T {
    let [total] = totals!(T, N, 1, columns, |at, length, sums| {
        // SAFETY: the chunk is inside the row.
        let lanes: [T; N] = unsafe { S::load_some(x.add(at), length, T::NEGATIVE_INFINITY) };
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
pub(in super::super) unsafe fn row_store_exponentials<S: Simd, T: Real, const N: usize>(
    x: *const T,
    y: *mut T,
    columns: usize,
    shift: T,
) -> T {
    let [total] = totals!(T, N, 1, columns, |at, length, sums| {
        // SAFETY: the chunk is inside the row.
        unsafe {
            let mut lanes: [T; N] = S::load_some(x.add(at), length, T::NEGATIVE_INFINITY);
            for i in 0..N {
                lanes[i] = (lanes[i] - shift).exp();
            }
            for i in 0..N {
                sums[0][i] += lanes[i];
            }
            S::store_some(y.add(at), &lanes, length);
        }
    });
    T::from_f64(total)
}

pub(super) struct RowForward<T, const N: usize, const LOG: bool> {
    pub(super) x: Input<T>,
    pub(super) y: Output<T>,
    pub(super) columns: usize,
}

impl<T: Real, const N: usize, const LOG: bool> Job for RowForward<T, N, LOG> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let columns = self.columns;
        // SAFETY: the caller's promise: the rows are inside both arrays.
        unsafe {
            if columns <= N {
                groups!(first, count, |row, rows| {
                    let (x, y) = (self.x.at(row * columns), self.y.at(row * columns));
                    short_rows::<S, T, N, LOG>(x, y, rows, columns);
                });
            } else {
                for row in first..first + count {
                    let (x, y) = (self.x.at(row * columns), self.y.at(row * columns));
                    if LOG {
                        log_softmax_row::<S, T, N>(x, y, columns);
                    } else {
                        softmax_row::<S, T, N>(x, y, columns);
                    }
                }
            }
        }
    }
}

/// Softmax or its logarithm of a group of short rows.
#[inline(always)]
unsafe fn short_rows<S: Simd, T: Real, const N: usize, const LOG: bool>(
    x: *const T,
    y: *mut T,
    rows: usize,
    columns: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut group = Group::<T, N>::new();
        group.read::<S>(x, rows, columns, T::NEGATIVE_INFINITY);
        let maxima = group.reduce(rows, largest_lane);
        group.each(rows, |row, lanes| subtract(lanes, maxima[row]));
        let mut factors = if LOG {
            let mut powers = group;
            powers.each(rows, |_, lanes| exponentials(lanes));
            powers.reduce(rows, sum_lanes)
        } else {
            group.each(rows, |_, lanes| exponentials(lanes));
            group.reduce(rows, sum_lanes)
        };
        for i in 0..GROUP {
            factors[i] = if LOG { factors[i].ln() } else { T::ONE / factors[i] };
        }
        group.each(rows, |row, lanes| {
            for i in 0..N {
                lanes[i] = if LOG { lanes[i] - factors[row] } else { lanes[i] * factors[row] };
            }
        });
        group.write::<S>(y, rows, columns);
    }
}

#[inline(always)]
pub(in super::super) fn subtract<T: Real, const N: usize>(lanes: &mut [T; N], shift: T) {
    for i in 0..N {
        lanes[i] -= shift;
    }
}

#[inline(always)]
pub(in super::super) fn exponentials<T: Real, const N: usize>(lanes: &mut [T; N]) {
    for i in 0..N {
        lanes[i] = lanes[i].exp();
    }
}

#[inline(always)]
unsafe fn softmax_row<S: Simd, T: Real, const N: usize>(x: *const T, y: *mut T, columns: usize) {
    // SAFETY: the caller's promise; chunks are inside the row.
    unsafe {
        let maximum = row_maximum::<S, T, N>(x, columns);
        let scale = T::ONE / row_store_exponentials::<S, T, N>(x, y, columns, maximum);
        chunks!(N, columns, |at, length| {
            let mut lanes: [T; N] = S::load_some(y.add(at), length, T::ZERO);
            for i in 0..N {
                lanes[i] *= scale;
            }
            S::store_some(y.add(at), &lanes, length);
        });
    }
}

#[inline(always)]
unsafe fn log_softmax_row<S: Simd, T: Real, const N: usize>(x: *const T, y: *mut T, columns: usize) {
    // SAFETY: the caller's promise; chunks are inside the row.
    unsafe {
        let maximum = row_maximum::<S, T, N>(x, columns);
        let logarithm = row_exponentials::<S, T, N>(x, columns, maximum).ln();
        chunks!(N, columns, |at, length| {
            let mut lanes: [T; N] = S::load_some(x.add(at), length, T::ZERO);
            for i in 0..N {
                // The first difference is nearly exact; `x - (maximum + logarithm)` would lose the
                // logarithm where the maximum is large.
                lanes[i] = (lanes[i] - maximum) - logarithm;
            }
            S::store_some(y.add(at), &lanes, length);
        });
    }
}

pub(super) struct RowLogSumExp<T, const N: usize> {
    pub(super) x: Input<T>,
    pub(super) y: Output<T>,
    pub(super) columns: usize,
}

impl<T: Real, const N: usize> Job for RowLogSumExp<T, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let columns = self.columns;
        // SAFETY: the caller's promise: the rows are inside the array, and their results inside the other.
        unsafe {
            groups!(first, count, |row, rows| {
                let (mut shifts, mut sums) = ([T::ZERO; GROUP], [T::ONE; GROUP]);
                if columns <= N {
                    let x = self.x.at(row * columns);
                    let mut group = Group::<T, N>::new();
                    group.read::<S>(x, rows, columns, T::NEGATIVE_INFINITY);
                    shifts = group.reduce(rows, |lanes| finite_shift(largest_lane(lanes)));
                    group.each(rows, |row, lanes| subtract(lanes, shifts[row]));
                    group.each(rows, |_, lanes| exponentials(lanes));
                    sums = group.reduce(rows, sum_lanes);
                } else {
                    for i in 0..rows {
                        let x = self.x.at((row + i) * columns);
                        shifts[i] = finite_shift(row_maximum::<S, T, N>(x, columns));
                        sums[i] = row_exponentials::<S, T, N>(x, columns, shifts[i]);
                    }
                }
                for i in 0..GROUP {
                    shifts[i] += sums[i].ln();
                }
                S::store_some(self.y.at(row), &shifts, rows);
            });
        }
    }
}

pub(super) struct RowBackward<T, const N: usize, const LOG: bool> {
    pub(super) y: Input<T>,
    pub(super) dy: Input<T>,
    pub(super) dx: Output<T>,
    pub(super) columns: usize,
}

impl<T: Real, const N: usize, const LOG: bool> Job for RowBackward<T, N, LOG> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let columns = self.columns;
        // SAFETY: the caller's promise: the rows are inside the arrays.
        unsafe {
            if columns <= N {
                groups!(first, count, |row, rows| {
                    let (y, dy) = (self.y.at(row * columns), self.dy.at(row * columns));
                    let mut results = Group::<T, N>::new();
                    results.read::<S>(y, rows, columns, T::ZERO);
                    let mut upstream = Group::<T, N>::new();
                    upstream.read::<S>(dy, rows, columns, T::ZERO);
                    let mut terms = upstream;
                    if !LOG {
                        terms.each(rows, |row, lanes| {
                            for i in 0..N {
                                lanes[i] *= results.lanes[row][i];
                            }
                        });
                    }
                    let totals = terms.reduce(rows, sum_lanes);
                    upstream.each(rows, |row, lanes| {
                        differentiate::<T, N, LOG>(lanes, &results.lanes[row], &[totals[row]; N]);
                    });
                    upstream.write::<S>(self.dx.at(row * columns), rows, columns);
                });
            } else {
                for row in first..first + count {
                    let (y, dy) = (self.y.at(row * columns), self.dy.at(row * columns));
                    gradient_row::<S, T, N, LOG>(y, dy, self.dx.at(row * columns), columns);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn gradient_row<S: Simd, T: Real, const N: usize, const LOG: bool>(
    y: *const T,
    dy: *const T,
    dx: *mut T,
    columns: usize,
) {
    // SAFETY: the caller's promise; chunks are inside the row.
    unsafe {
        let [total] = totals!(T, N, 1, columns, |at, length, sums| {
            let upstream: [T; N] = S::load_some(dy.add(at), length, T::ZERO);
            if LOG {
                for i in 0..N {
                    sums[0][i] += upstream[i];
                }
            } else {
                let result: [T; N] = S::load_some(y.add(at), length, T::ZERO);
                for i in 0..N {
                    sums[0][i] += upstream[i] * result[i];
                }
            }
        });
        let total = T::from_f64(total);
        chunks!(N, columns, |at, length| {
            let mut lanes: [T; N] = S::load_some(dy.add(at), length, T::ZERO);
            let result: [T; N] = S::load_some(y.add(at), length, T::ZERO);
            differentiate::<T, N, LOG>(&mut lanes, &result, &[total; N]);
            S::store_some(dx.add(at), &lanes, length);
        });
    }
}
