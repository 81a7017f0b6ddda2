//! Softmax and its relatives along an axis that is not the last.
//!
//! Lanes run along the axes behind it: each is a row of its own, and a chunk is `N` rows at once. A step
//! along the axis is a stride, but reads whole cache lines.

use super::super::lanes::Simd;
use super::super::real::{Real, larger};
use super::super::rows::{Input, Job, Output};
use super::{differentiate, finite_shift};

/// Steps along the axis that a lane sums in the working precision before the sum moves to `f64`.
const STEPS: usize = 256;

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
unsafe fn lane_maximum<S: Simd, T: Real, const N: usize>(
    x: *const T,
    axis: usize,
    inner: usize,
    length: usize,
) -> [T; N] {
    let mut largest = [T::NEGATIVE_INFINITY; N];
    for step in 0..axis {
        // SAFETY: the caller's promise: `length` elements at every step.
        let lanes: [T; N] = unsafe { S::load_some(x.add(step * inner), length, T::ZERO) };
        for i in 0..N {
            largest[i] = larger(lanes[i], largest[i]);
        }
    }
    largest
}

/// Per lane, the sum of `exp(x - shift)` along the axis.
#[inline(always)]
unsafe fn lane_exponentials<S: Simd, T: Real, const N: usize>(
    x: *const T,
    axis: usize,
    inner: usize,
    length: usize,
    shift: &[T; N],
) -> [f64; N] {
    lane_totals!(T, N, axis, |step, sums| {
        // SAFETY: the caller's promise: `length` elements at every step.
        let lanes: [T; N] = unsafe { S::load_some(x.add(step * inner), length, T::ZERO) };
        for i in 0..N {
            sums[i] += (lanes[i] - shift[i]).exp();
        }
    })
}

pub(super) struct LaneForward<T, const N: usize, const LOG: bool> {
    pub(super) x: Input<T>,
    pub(super) y: Output<T>,
    pub(super) axis: usize,
    pub(super) inner: usize,
}

impl<T: Real, const N: usize, const LOG: bool> Job for LaneForward<T, N, LOG> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let (axis, inner) = (self.axis, self.inner);
        for item in first..first + count {
            let (start, _, length) = lane_group::<N>(item, axis, inner);
            // SAFETY: the group has `length` lanes at each of `axis` steps of both arrays.
            unsafe {
                let (x, y) = (self.x.at(start), self.y.at(start));
                let maximum = lane_maximum::<S, T, N>(x, axis, inner, length);
                let mut factor = [T::ZERO; N];
                if LOG {
                    let sums = lane_exponentials::<S, T, N>(x, axis, inner, length, &maximum);
                    for i in 0..N {
                        factor[i] = T::from_f64(sums[i]).ln();
                    }
                } else {
                    let sums = lane_totals!(T, N, axis, |step, sums| {
                        let mut lanes: [T; N] = S::load_some(x.add(step * inner), length, T::ZERO);
                        for i in 0..N {
                            lanes[i] = (lanes[i] - maximum[i]).exp();
                        }
                        for i in 0..N {
                            sums[i] += lanes[i];
                        }
                        S::store_some(y.add(step * inner), &lanes, length);
                    });
                    for i in 0..N {
                        factor[i] = T::from_f64(1.0 / sums[i]);
                    }
                }
                for step in 0..axis {
                    let from = if LOG { x.add(step * inner) } else { y.add(step * inner).cast_const() };
                    let mut lanes: [T; N] = S::load_some(from, length, T::ZERO);
                    for i in 0..N {
                        lanes[i] = if LOG { (lanes[i] - maximum[i]) - factor[i] } else { lanes[i] * factor[i] };
                    }
                    S::store_some(y.add(step * inner), &lanes, length);
                }
            }
        }
    }
}

pub(super) struct LaneLogSumExp<T, const N: usize> {
    pub(super) x: Input<T>,
    pub(super) y: Output<T>,
    pub(super) axis: usize,
    pub(super) inner: usize,
}

impl<T: Real, const N: usize> Job for LaneLogSumExp<T, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let (axis, inner) = (self.axis, self.inner);
        for item in first..first + count {
            let (start, result, length) = lane_group::<N>(item, axis, inner);
            // SAFETY: the group has `length` lanes at each of `axis` steps, and in the result.
            unsafe {
                let x = self.x.at(start);
                let mut shift = lane_maximum::<S, T, N>(x, axis, inner, length);
                for i in 0..N {
                    shift[i] = finite_shift(shift[i]);
                }
                let sums = lane_exponentials::<S, T, N>(x, axis, inner, length, &shift);
                for i in 0..N {
                    shift[i] += T::from_f64(sums[i]).ln();
                }
                S::store_some(self.y.at(result), &shift, length);
            }
        }
    }
}

pub(super) struct LaneBackward<T, const N: usize, const LOG: bool> {
    pub(super) y: Input<T>,
    pub(super) dy: Input<T>,
    pub(super) dx: Output<T>,
    pub(super) axis: usize,
    pub(super) inner: usize,
}

impl<T: Real, const N: usize, const LOG: bool> Job for LaneBackward<T, N, LOG> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let (axis, inner) = (self.axis, self.inner);
        for item in first..first + count {
            let (start, _, length) = lane_group::<N>(item, axis, inner);
            // SAFETY: the group has `length` lanes at each of `axis` steps of all arrays.
            unsafe {
                let (y, dy, dx) = (self.y.at(start), self.dy.at(start), self.dx.at(start));
                let sums = lane_totals!(T, N, axis, |step, sums| {
                    let upstream: [T; N] = S::load_some(dy.add(step * inner), length, T::ZERO);
                    if LOG {
                        for i in 0..N {
                            sums[i] += upstream[i];
                        }
                    } else {
                        let result: [T; N] = S::load_some(y.add(step * inner), length, T::ZERO);
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
                    let mut lanes: [T; N] = S::load_some(dy.add(step * inner), length, T::ZERO);
                    let result: [T; N] = S::load_some(y.add(step * inner), length, T::ZERO);
                    differentiate::<T, N, LOG>(&mut lanes, &result, &total);
                    S::store_some(dx.add(step * inner), &lanes, length);
                }
            }
        }
    }
}
