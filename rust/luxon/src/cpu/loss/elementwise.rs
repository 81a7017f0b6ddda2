//! Losses of single elements: binary cross entropy of logits, squared distance.
//!
//! Binary cross entropy is `(1 - t) x + (1 + (p - 1) t) softplus(-x)`, finite wherever the result is, with
//! a factor `p` of positive targets per column. The squared distance is one number: partial sums over a
//! fixed division of the elements, added in order.

use super::super::lanes::{LANES, Simd};
use super::super::real::Real;
use super::super::rows::{Input, Job, Output, chunks, rows_each, run, totals};

/// Binary cross entropy of logits, elementwise over (rows, columns):
/// `(1 - t) x + (1 + (p - 1) t) ln(1 + exp(-x))`, `p` the factor of positive targets (per column, or null for 1).
///
/// # Safety
/// `logits`, `targets` and `losses` hold rows * columns elements, `positive` `columns`; `losses` may be one
/// of the first two and does not overlap them otherwise.
pub unsafe fn binary_cross_entropy<T: Real>(
    logits: *const T,
    targets: *const T,
    positive: *const T,
    losses: *mut T,
    rows: usize,
    columns: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { binary::<T, false>(logits, targets, positive, std::ptr::null(), 0, losses, rows, columns) }
}

/// The gradient of [`binary_cross_entropy`] with respect to the logits; the gradient of element `i`'s loss
/// is at `upstream + i * stride`, where a stride of 0 is one number for all.
///
/// # Safety
/// As there; `stride` is 0 or 1.
pub unsafe fn binary_cross_entropy_gradient<T: Real>(
    logits: *const T,
    targets: *const T,
    positive: *const T,
    upstream: *const T,
    stride: usize,
    gradient: *mut T,
    rows: usize,
    columns: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { binary::<T, true>(logits, targets, positive, upstream, stride, gradient, rows, columns) }
}

unsafe fn binary<T: Real, const GRADIENT: bool>(
    logits: *const T,
    targets: *const T,
    positive: *const T,
    upstream: *const T,
    stride: usize,
    result: *mut T,
    rows: usize,
    columns: usize,
) {
    let job = Binary::<T, GRADIENT> {
        logits: Input::new(logits),
        targets: Input::new(targets),
        positive: Input::new(positive),
        upstream: Input::new(upstream),
        stride,
        result: Output::new(result),
        columns,
    };
    // Without factors the elements are all alike, whatever the shape.
    // SAFETY: the caller's promise.
    unsafe {
        if positive.is_null() {
            run(&job, rows * columns, 32768, 1.0)
        } else {
            run(&job, rows, rows_each(columns), 5.0 + columns as f64)
        }
    }
}

struct Binary<T, const GRADIENT: bool> {
    logits: Input<T>,
    targets: Input<T>,
    positive: Input<T>,
    upstream: Input<T>,
    stride: usize,
    result: Output<T>,
    columns: usize,
}

impl<T: Real, const GRADIENT: bool> Binary<T, GRADIENT> {
    /// The elements `start .. start + length`: a row where there are factors.
    #[inline(always)]
    unsafe fn span<S: Simd>(&self, start: usize, length: usize) {
        chunks!(LANES, length, |at, lanes| {
            // SAFETY: the caller's promise: the chunk is inside the arrays.
            unsafe {
                let mut x: [T; LANES] = S::load_some(self.logits.at(start + at), lanes, T::ZERO);
                let target: [T; LANES] = S::load_some(self.targets.at(start + at), lanes, T::ZERO);
                let mut factor = [T::ONE; LANES];
                if self.positive.is_some() {
                    factor = S::load_some(self.positive.at(at), lanes, T::ONE);
                }
                for i in 0..LANES {
                    let slope = T::ONE + (factor[i] - T::ONE) * target[i];
                    x[i] = if GRADIENT {
                        x[i].sigmoid() * slope - factor[i] * target[i]
                    } else {
                        (T::ONE - target[i]) * x[i] + slope * (-x[i]).softplus()
                    };
                }
                if GRADIENT {
                    let mut upstream = [T::ZERO; LANES];
                    if self.stride == 0 {
                        upstream = [self.upstream.at(0).read(); LANES];
                    } else {
                        upstream = S::load_some(self.upstream.at(start + at), lanes, upstream[0]);
                    }
                    for i in 0..LANES {
                        x[i] *= upstream[i];
                    }
                }
                S::store_some(self.result.at(start + at), &x, lanes);
            }
        });
    }
}

impl<T: Real, const GRADIENT: bool> Job for Binary<T, GRADIENT> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.positive.is_some() {
                for row in first..first + count {
                    self.span::<S>(row * self.columns, self.columns);
                }
            } else {
                self.span::<S>(first, count);
            }
        }
    }
}

/// The most partial sums of a total over all elements.
const PARTS: usize = 256;

/// `factor sum((a - b)^2)`.
///
/// # Safety
/// `a` and `b` hold `length` elements.
pub unsafe fn squared_distance<T: Real>(a: *const T, b: *const T, length: usize, factor: f64) -> T {
    let each = length.div_ceil(PARTS).max(32768);
    let mut parts = [0.0f64; PARTS];
    let job = SquaredDistance { a: Input::new(a), b: Input::new(b), parts: Output::new(parts.as_mut_ptr()) };
    // SAFETY: the caller's promise; there are at most `PARTS` tasks.
    unsafe { run(&job, length, each, 0.15) }
    // The order is that of the parts, which depend on the length alone.
    T::from_f64(factor * parts[..length.div_ceil(each)].iter().sum::<f64>())
}

/// `factor (a - b)`: the gradient of [`squared_distance`] with respect to `a`, for twice its factor.
///
/// # Safety
/// All hold `length` elements; `result` may be `a` or `b` and does not overlap them otherwise.
pub unsafe fn scaled_difference<T: Real>(a: *const T, b: *const T, factor: T, result: *mut T, length: usize) {
    let job = ScaledDifference { a: Input::new(a), b: Input::new(b), factor, result: Output::new(result) };
    // SAFETY: the caller's promise.
    unsafe { run(&job, length, 32768, 0.2) }
}

struct ScaledDifference<T> {
    a: Input<T>,
    b: Input<T>,
    factor: T,
    result: Output<T>,
}

impl<T: Real> Job for ScaledDifference<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        chunks!(LANES, count, |at, lanes| {
            // SAFETY: the caller's promise: the chunk is inside the arrays.
            unsafe {
                let mut a: [T; LANES] = S::load_some(self.a.at(first + at), lanes, T::ZERO);
                let b: [T; LANES] = S::load_some(self.b.at(first + at), lanes, T::ZERO);
                for i in 0..LANES {
                    a[i] = self.factor * (a[i] - b[i]);
                }
                S::store_some(self.result.at(first + at), &a, lanes);
            }
        });
    }
}

struct SquaredDistance<T> {
    a: Input<T>,
    b: Input<T>,
    parts: Output<f64>,
}

impl<T: Real> Job for SquaredDistance<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, task: usize, first: usize, count: usize) {
        // SAFETY: the caller's promise: `count` elements, and a part per task.
        unsafe {
            let (a, b) = (self.a.at(first), self.b.at(first));
            let [total] = totals!(T, LANES, 1, count, |at, length, sums| {
                let left: [T; LANES] = S::load_some(a.add(at), length, T::ZERO);
                let right: [T; LANES] = S::load_some(b.add(at), length, T::ZERO);
                for i in 0..LANES {
                    let difference = left[i] - right[i];
                    sums[0][i] += difference * difference;
                }
            });
            self.parts.at(task).write(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::rows::testing::{assert_close, assert_reproducible, numbers, slope};
    use super::*;
    use std::ptr::null;

    #[test]
    fn binary_cross_entropy_is_stable_and_its_gradient_right() {
        let (rows, columns) = (3, 67);
        let mut x = numbers::<f64>(rows * columns, 1, 0.0);
        x[..4].copy_from_slice(&[800.0, -800.0, 40.0, -40.0]);
        let targets: Vec<f64> = numbers::<f64>(rows * columns, 2, 2.0).iter().map(|t| t / 4.0).collect();
        let factors = numbers::<f64>(columns, 3, 3.0);
        let upstream = numbers::<f64>(rows * columns, 4, 0.0);
        for positive in [null(), factors.as_ptr()] {
            let factor = |i: usize| if positive.is_null() { 1.0 } else { factors[i % columns] };
            let (mut losses, mut gradient) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let (t, u) = (targets.as_ptr(), upstream.as_ptr());
            // SAFETY: all arrays have their sizes.
            unsafe {
                binary_cross_entropy(x.as_ptr(), t, positive, losses.as_mut_ptr(), rows, columns);
                binary_cross_entropy_gradient(x.as_ptr(), t, positive, u, 1, gradient.as_mut_ptr(), rows, columns);
            }
            let loss = |i: usize, x: f64| {
                let soft = |x: f64| if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() };
                (1.0 - targets[i]) * soft(x) + factor(i) * targets[i] * soft(-x)
            };
            for i in 0..x.len() {
                assert_close(&losses[i..=i], &[loss(i, x[i])], 1e-12, "loss");
                let numeric = slope(&x, i, |x| loss(i, x[i])) * upstream[i];
                assert_close(&gradient[i..=i], &[numeric], 1e-6, "gradient");
            }
        }
    }

    #[test]
    fn squared_distance_is_accurate_and_reproducible() {
        let (a, b) = (numbers::<f32>(1_000_001, 1, 0.0), numbers::<f32>(1_000_001, 2, 0.0));
        let expected: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        // SAFETY: both have this length.
        let compute = || unsafe { squared_distance(a.as_ptr(), b.as_ptr(), a.len(), 0.5) };
        assert!((f64::from(compute()) / (0.5 * expected) - 1.0).abs() < 1e-6);
        assert_reproducible(|| vec![compute()]);
        // SAFETY: nothing is read.
        assert_eq!(unsafe { squared_distance(a.as_ptr(), b.as_ptr(), 0, 0.5) }, 0.0);
    }
}
