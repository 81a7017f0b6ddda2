//! Losses in one pass over the predictions.
//!
//! Cross entropy of a row is `sum_c w_c t_c (ln(sum(exp x)) - x_c)`. A row's target is a class or a
//! distribution; both may be smoothed. What the gradient needs later is saved as the row's maximum and the
//! logarithm of its sum of exponentials, kept apart because their sum would lose the logarithm where the
//! maximum is large; or the gradient for an upstream of 1 is written at once, when the row is in cache.
//!
//! Losses are per row, reductions are the caller's. Written gradients may overwrite the logits.

use super::real::Real;
use super::rows::{Input, Job, LANES, Output, by_width, chunks, load_some, rows_each, run, store_some, totals};
use super::softmax::{row_exponentials, row_maximum, row_store_exponentials};

/// What the rows of a cross entropy are compared with.
#[derive(Clone, Copy, Debug)]
pub enum Targets<T> {
    /// A class per row, already checked to be in range or `ignore`; a row of `ignore` costs nothing.
    Classes {
        /// The classes.
        index: *const i64,
        /// The class that marks rows to leave out.
        ignore: Option<i64>,
    },
    /// A distribution per row, of the shape of the logits.
    Probabilities(*const T),
}

/// A cross entropy: its operands, without the results.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<T> {
    /// Unnormalised logarithms of probabilities, (rows, classes).
    pub logits: *const T,
    /// What they should be.
    pub targets: Targets<T>,
    /// A factor per class, or null.
    pub weight: *const T,
    /// The share of the uniform distribution that is mixed into the target.
    pub label_smoothing: f64,
    /// Rows.
    pub rows: usize,
    /// Classes.
    pub classes: usize,
}

/// The loss of every row, and on demand (where not null) its weight (that of the target class, 0 where
/// ignored, 1 for distributions), what [`cross_entropy_gradient`] needs, and the gradient for an upstream of 1.
///
/// # Safety
/// `losses` and `weights` hold `rows` elements, `saved` twice as many, `gradient` rows * classes; no
/// result overlaps another or an operand, but `gradient` may be `logits`. Classes are in range.
pub unsafe fn cross_entropy<T: Real>(
    operands: &CrossEntropy<T>,
    losses: *mut T,
    weights: *mut T,
    saved: *mut T,
    gradient: *mut T,
) {
    by_width!(operands.classes, |N| {
        let job = Forward::<T, N> {
            shared: Shared::new(operands),
            losses: Output::new(losses),
            weights: Output::new(weights),
            saved: Output::new(saved),
            gradient: Output::new(gradient),
        };
        let nanoseconds = 15.0 + 0.4 * operands.classes as f64;
        // SAFETY: the caller's promise.
        unsafe { run(&job, operands.rows, rows_each(operands.classes), nanoseconds) }
    });
}

/// The gradient of [`cross_entropy`] with respect to the logits, from what it saved. `upstream` holds the
/// gradient of row `r`'s loss at `r * stride`: a stride of 0 is one number for all.
///
/// # Safety
/// As for [`cross_entropy`]; `saved` is what it wrote, `gradient` may be `logits`.
pub unsafe fn cross_entropy_gradient<T: Real>(
    operands: &CrossEntropy<T>,
    saved: *const T,
    upstream: *const T,
    stride: usize,
    gradient: *mut T,
) {
    by_width!(operands.classes, |N| {
        let job = Backward::<T, N> {
            shared: Shared::new(operands),
            saved: Input::new(saved),
            upstream: Input::new(upstream),
            stride,
            gradient: Output::new(gradient),
        };
        let nanoseconds = 10.0 + 0.35 * operands.classes as f64;
        // SAFETY: the caller's promise.
        unsafe { run(&job, operands.rows, rows_each(operands.classes), nanoseconds) }
    });
}

/// The operands in the form that the kernels use.
#[derive(Clone, Copy)]
struct Shared<T> {
    logits: Input<T>,
    index: Input<i64>,
    ignore: Option<i64>,
    probabilities: Input<T>,
    weight: Input<T>,
    /// What smoothing leaves of the target, what it adds to every class, and that times all weights.
    keep: T,
    spread: T,
    total_spread: T,
    classes: usize,
}

impl<T: Real> Shared<T> {
    fn new(operands: &CrossEntropy<T>) -> Self {
        let (index, ignore, probabilities) = match operands.targets {
            Targets::Classes { index, ignore } => (index, ignore, std::ptr::null()),
            Targets::Probabilities(probabilities) => (std::ptr::null(), None, probabilities),
        };
        let weight = Input::new(operands.weight);
        let spread = operands.label_smoothing / operands.classes.max(1) as f64;
        let mut total = operands.classes as f64;
        if weight.is_some() && spread != 0.0 {
            total = 0.0;
            for class in 0..operands.classes {
                // SAFETY: there is a weight per class.
                total += unsafe { weight.at(class).read() }.to_f64();
            }
        }
        Shared {
            logits: Input::new(operands.logits),
            index: Input::new(index),
            ignore,
            probabilities: Input::new(probabilities),
            weight,
            keep: T::from_f64(1.0 - operands.label_smoothing),
            spread: T::from_f64(spread),
            total_spread: T::from_f64(spread * total),
            classes: operands.classes,
        }
    }

    /// The class of a row and its weight; none where the row is ignored.
    #[inline(always)]
    unsafe fn class(&self, row: usize) -> Option<(usize, T)> {
        // SAFETY: the caller's promise: the row exists and its class is in range.
        unsafe {
            let class = self.index.at(row).read();
            if self.ignore == Some(class) {
                return None;
            }
            let class = class as usize;
            Some((class, if self.weight.is_some() { self.weight.at(class).read() } else { T::ONE }))
        }
    }

    /// The weighted, smoothed target of a chunk, 0 beyond `length`; the class of an index row not included.
    #[inline(always)]
    unsafe fn target<const N: usize>(&self, row: usize, at: usize, length: usize) -> [T; N] {
        // SAFETY: the caller's promise: the chunk is inside the row.
        unsafe {
            let mut lanes = [self.spread; N];
            if self.probabilities.is_some() {
                let given: [T; N] = load_some(self.probabilities.at(row * self.classes + at), length, T::ZERO);
                for i in 0..N {
                    lanes[i] = given[i] * self.keep + self.spread;
                }
            }
            if self.weight.is_some() {
                let weight: [T; N] = load_some(self.weight.at(at), length, T::ZERO);
                for i in 0..N {
                    lanes[i] *= weight[i];
                }
            } else if length < N {
                for i in 0..N {
                    lanes[i] = if i < length { lanes[i] } else { T::ZERO };
                }
            }
            lanes
        }
    }

    /// `(sum_c t_c (maximum - x_c), sum_c t_c)` over the dense part of a row's target.
    #[inline(always)]
    unsafe fn dense<const N: usize>(&self, row: usize, maximum: T) -> (T, T) {
        // SAFETY: the caller's promise: the row exists.
        unsafe {
            let x = self.logits.at(row * self.classes);
            let [distance, mass] = totals!(T, N, 2, self.classes, |at, length, sums| {
                let lanes: [T; N] = load_some(x.add(at), length, maximum);
                let target = self.target::<N>(row, at, length);
                for i in 0..N {
                    sums[0][i] += (maximum - lanes[i]) * target[i];
                    sums[1][i] += target[i];
                }
            });
            (T::from_f64(distance), T::from_f64(mass))
        }
    }

    /// Whether every class has a target, and not just one.
    #[inline(always)]
    fn is_dense(&self) -> bool {
        self.probabilities.is_some() || self.spread != T::ZERO
    }
}

struct Forward<T, const N: usize> {
    shared: Shared<T>,
    losses: Output<T>,
    weights: Output<T>,
    saved: Output<T>,
    gradient: Output<T>,
}

impl<T: Real, const N: usize> Forward<T, N> {
    #[inline(always)]
    unsafe fn row(&self, row: usize) {
        let shared = &self.shared;
        let classes = shared.classes;
        // SAFETY: the caller's promise: the row exists.
        unsafe {
            let x = shared.logits.at(row * classes);
            let sparse = if shared.index.is_some() { shared.class(row) } else { None };
            if shared.index.is_some() && sparse.is_none() {
                self.leave_out(row);
                return;
            }
            let maximum = row_maximum::<T, N>(x, classes);
            // The dense part and the target's logit are read before the gradient may overwrite them.
            let (mut distance, mut mass) = (T::ZERO, T::ZERO);
            if shared.is_dense() {
                (distance, mass) = shared.dense::<N>(row, maximum);
            }
            let mut weight = T::ONE;
            if let Some((class, class_weight)) = sparse {
                weight = class_weight;
                let hit = shared.keep * class_weight;
                distance += (maximum - x.add(class).read()) * hit;
                mass += hit;
            }
            let sum = if self.gradient.is_some() {
                row_store_exponentials::<T, N>(x, self.gradient.at(row * classes), classes, maximum)
            } else {
                row_exponentials::<T, N>(x, classes, maximum)
            };
            let logarithm = sum.ln();
            self.losses.at(row).write(distance + mass * logarithm);
            if self.weights.is_some() {
                self.weights.at(row).write(weight);
            }
            if self.saved.is_some() {
                self.saved.at(2 * row).write(maximum);
                self.saved.at(2 * row + 1).write(logarithm);
            }
            if self.gradient.is_some() {
                let gradient = self.gradient.at(row * classes);
                let scale = mass / sum;
                chunks!(N, classes, |at, length| {
                    let mut lanes: [T; N] = load_some(gradient.add(at), length, T::ZERO);
                    for i in 0..N {
                        lanes[i] *= scale;
                    }
                    if shared.is_dense() {
                        let target = shared.target::<N>(row, at, length);
                        for i in 0..N {
                            lanes[i] -= target[i];
                        }
                    }
                    store_some(gradient.add(at), &lanes, length);
                });
                if let Some((class, class_weight)) = sparse {
                    *gradient.add(class) -= shared.keep * class_weight;
                }
            }
        }
    }

    /// Writes what an ignored row gives: zeros.
    #[inline(always)]
    unsafe fn leave_out(&self, row: usize) {
        let classes = self.shared.classes;
        // SAFETY: the caller's promise: the row exists.
        unsafe {
            self.losses.at(row).write(T::ZERO);
            if self.weights.is_some() {
                self.weights.at(row).write(T::ZERO);
            }
            if self.saved.is_some() {
                self.saved.at(2 * row).write(T::ZERO);
                self.saved.at(2 * row + 1).write(T::ZERO);
            }
            if self.gradient.is_some() {
                self.gradient.at(row * classes).write_bytes(0, classes);
            }
        }
    }
}

impl<T: Real, const N: usize> Job for Forward<T, N> {
    #[inline(always)]
    unsafe fn run(&self, _task: usize, first: usize, count: usize) {
        for row in first..first + count {
            // SAFETY: the caller's promise.
            unsafe { self.row(row) }
        }
    }
}

struct Backward<T, const N: usize> {
    shared: Shared<T>,
    saved: Input<T>,
    upstream: Input<T>,
    stride: usize,
    gradient: Output<T>,
}

impl<T: Real, const N: usize> Job for Backward<T, N> {
    #[inline(always)]
    unsafe fn run(&self, _task: usize, first: usize, count: usize) {
        let shared = &self.shared;
        let classes = shared.classes;
        for row in first..first + count {
            // SAFETY: the caller's promise: the row is inside all arrays.
            unsafe {
                let gradient = self.gradient.at(row * classes);
                let sparse = if shared.index.is_some() { shared.class(row) } else { None };
                if shared.index.is_some() && sparse.is_none() {
                    gradient.write_bytes(0, classes);
                    continue;
                }
                let x = shared.logits.at(row * classes);
                let upstream = self.upstream.at(row * self.stride).read();
                let (maximum, logarithm) = (self.saved.at(2 * row).read(), self.saved.at(2 * row + 1).read());
                let mut mass = if shared.probabilities.is_some() {
                    shared.dense::<N>(row, maximum).1
                } else {
                    shared.total_spread
                };
                if let Some((_, class_weight)) = sparse {
                    mass += shared.keep * class_weight;
                }
                let scale = mass * upstream;
                chunks!(N, classes, |at, length| {
                    let mut lanes: [T; N] = load_some(x.add(at), length, T::NEGATIVE_INFINITY);
                    for i in 0..N {
                        lanes[i] = ((lanes[i] - maximum) - logarithm).exp() * scale;
                    }
                    if shared.is_dense() {
                        let target = shared.target::<N>(row, at, length);
                        for i in 0..N {
                            lanes[i] -= target[i] * upstream;
                        }
                    }
                    store_some(gradient.add(at), &lanes, length);
                });
                if let Some((class, class_weight)) = sparse {
                    *gradient.add(class) -= shared.keep * class_weight * upstream;
                }
            }
        }
    }
}

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
    unsafe fn span(&self, start: usize, length: usize) {
        chunks!(LANES, length, |at, lanes| {
            // SAFETY: the caller's promise: the chunk is inside the arrays.
            unsafe {
                let mut x: [T; LANES] = load_some(self.logits.at(start + at), lanes, T::ZERO);
                let target: [T; LANES] = load_some(self.targets.at(start + at), lanes, T::ZERO);
                let mut factor = [T::ONE; LANES];
                if self.positive.is_some() {
                    factor = load_some(self.positive.at(at), lanes, T::ONE);
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
                        upstream = load_some(self.upstream.at(start + at), lanes, upstream[0]);
                    }
                    for i in 0..LANES {
                        x[i] *= upstream[i];
                    }
                }
                store_some(self.result.at(start + at), &x, lanes);
            }
        });
    }
}

impl<T: Real, const GRADIENT: bool> Job for Binary<T, GRADIENT> {
    #[inline(always)]
    unsafe fn run(&self, _task: usize, first: usize, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.positive.is_some() {
                for row in first..first + count {
                    self.span(row * self.columns, self.columns);
                }
            } else {
                self.span(first, count);
            }
        }
    }
}

/// The most partial sums of a total over all elements.
const PARTS: usize = 256;

/// `sum((a - b)^2)`.
///
/// # Safety
/// `a` and `b` hold `length` elements.
pub unsafe fn squared_distance<T: Real>(a: *const T, b: *const T, length: usize) -> T {
    let each = length.div_ceil(PARTS).max(32768);
    let mut parts = [0.0f64; PARTS];
    let job = SquaredDistance { a: Input::new(a), b: Input::new(b), parts: Output::new(parts.as_mut_ptr()) };
    // SAFETY: the caller's promise; there are at most `PARTS` tasks.
    unsafe { run(&job, length, each, 0.15) }
    // The order is that of the parts, which depend on the length alone.
    T::from_f64(parts.iter().sum())
}

struct SquaredDistance<T> {
    a: Input<T>,
    b: Input<T>,
    parts: Output<f64>,
}

impl<T: Real> Job for SquaredDistance<T> {
    #[inline(always)]
    unsafe fn run(&self, task: usize, first: usize, count: usize) {
        // SAFETY: the caller's promise: `count` elements, and a part per task.
        unsafe {
            let (a, b) = (self.a.at(first), self.b.at(first));
            let [total] = totals!(T, LANES, 1, count, |at, length, sums| {
                let left: [T; LANES] = load_some(a.add(at), length, T::ZERO);
                let right: [T; LANES] = load_some(b.add(at), length, T::ZERO);
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
    use super::super::rows::testing::{assert_close, assert_reproducible, numbers, slope, wide};
    use super::*;
    use std::ptr::{null, null_mut};

    /// The losses of all rows for dense targets (weights and smoothing applied), from the definition.
    fn definition(x: &[f64], dense: &[f64], classes: usize) -> Vec<f64> {
        let rows = x.chunks_exact(classes).zip(dense.chunks_exact(classes));
        rows.map(|(x, t)| {
            let maximum = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total = x.iter().map(|x| (x - maximum).exp()).sum::<f64>().ln() + maximum;
            x.iter().zip(t).map(|(x, t)| t * (total - x)).sum()
        })
        .collect()
    }

    /// What a cross entropy compares with, dense: classes or probabilities smoothed and weighted.
    fn dense(targets: &[f64], weight: &[f64], smoothing: f64) -> Vec<f64> {
        let classes = weight.len();
        let smooth = |(i, t): (usize, &f64)| (t * (1.0 - smoothing) + smoothing / classes as f64) * weight[i % classes];
        targets.iter().enumerate().map(smooth).collect()
    }

    fn cross_entropy_agrees<T: Real>(tolerance: f64) {
        for (rows, classes) in [(0, 3), (1, 1), (6, 10), (128, 10), (5, 17), (4, 64), (3, 1001)] {
            for (case, smoothing) in [0.0, 0.1, 0.0, 0.1, 0.0, 0.1].into_iter().enumerate() {
                let x = numbers::<T>(rows * classes, case as u64, 3.0);
                let index: Vec<i64> = (0..rows).map(|row| if row % 5 == 4 { -100 } else { (row * 7 % classes) as i64 }).collect();
                // Rows that sum to about 1: the oracle's difference quotients lose digits to a large loss.
                let share = T::from_f64(0.5 / classes as f64);
                let given: Vec<T> = numbers::<T>(rows * classes, 31, 2.0).into_iter().map(|t| t * share).collect();
                let weighted = case % 3 > 0;
                let weight = if weighted { numbers::<T>(classes, 9, 2.5) } else { vec![T::ONE; classes] };
                let (targets, hot) = if case < 3 {
                    let mut hot = vec![0.0; rows * classes];
                    for row in 0..rows {
                        if index[row] >= 0 {
                            hot[row * classes + index[row] as usize] = 1.0;
                        }
                    }
                    (Targets::Classes { index: index.as_ptr(), ignore: Some(-100) }, hot)
                } else {
                    (Targets::Probabilities(given.as_ptr()), wide(&given))
                };
                let mut compared = dense(&hot, &wide(&weight), smoothing);
                for row in (0..rows).filter(|&row| case < 3 && index[row] < 0) {
                    compared[row * classes..(row + 1) * classes].fill(0.0);
                }
                let operands = CrossEntropy {
                    logits: x.as_ptr(),
                    targets,
                    weight: if weighted { weight.as_ptr() } else { null() },
                    label_smoothing: smoothing,
                    rows,
                    classes,
                };
                let (mut losses, mut weights) = (vec![T::ONE; rows], vec![T::ONE; rows]);
                let (mut saved, mut gradient) = (vec![T::ONE; 2 * rows], vec![T::ONE; rows * classes]);
                let [l, w, s] = [losses.as_mut_ptr(), weights.as_mut_ptr(), saved.as_mut_ptr()];
                // SAFETY: all arrays have their sizes.
                unsafe { cross_entropy(&operands, l, w, s, gradient.as_mut_ptr()) };
                let expected = definition(&wide(&x), &compared, classes);
                assert_close(&losses, &expected, tolerance, "loss");
                let mut slopes = vec![0.0; rows * classes];
                for row in 0..rows {
                    let range = row * classes..(row + 1) * classes;
                    let (x, t) = (&wide(&x[range.clone()]), &compared[range.clone()]);
                    let (mass, maximum) = (t.iter().sum::<f64>(), x.iter().copied().fold(f64::MIN, f64::max));
                    let total: f64 = x.iter().map(|x| (x - maximum).exp()).sum();
                    for (i, slope) in slopes[range].iter_mut().enumerate() {
                        *slope = mass * (x[i] - maximum).exp() / total - t[i];
                    }
                    let ignored = case < 3 && index[row] < 0;
                    let own = if ignored { 0.0 } else if case < 3 { weight[index[row] as usize].to_f64() } else { 1.0 };
                    assert_eq!(weights[row].to_f64(), own);
                }
                assert_close(&gradient, &slopes, tolerance, "gradient at once");
                let half = [T::from_f64(0.5)];
                // SAFETY: all arrays have their sizes; a stride of 0 reads one number.
                unsafe { cross_entropy_gradient(&operands, saved.as_ptr(), half.as_ptr(), 0, gradient.as_mut_ptr()) };
                slopes.iter_mut().for_each(|slope| *slope *= 0.5);
                assert_close(&gradient, &slopes, tolerance, "gradient from what was saved");
                for i in (0..rows * classes).step_by(1 + rows * classes / 7) {
                    let range = i / classes * classes..(i / classes + 1) * classes;
                    let (x, t) = (wide(&x[range.clone()]), &compared[range]);
                    let numeric = slope(&x, i % classes, |x| definition(x, t, classes)[0]);
                    assert_close(&[0.5 * numeric], &slopes[i..=i], 1e-8, "finite difference");
                }
            }
        }
    }

    #[test]
    fn cross_entropy_agrees_with_the_definition() {
        cross_entropy_agrees::<f32>(1e-4);
        cross_entropy_agrees::<f64>(1e-12);
    }

    #[test]
    fn a_large_offset_keeps_loss_and_gradient() {
        let (rows, classes) = (4, 10);
        let x = numbers::<f32>(rows * classes, 5, 1e6);
        let index = vec![3i64; rows];
        let operands = CrossEntropy {
            logits: x.as_ptr(),
            targets: Targets::Classes { index: index.as_ptr(), ignore: None },
            weight: null(),
            label_smoothing: 0.0,
            rows,
            classes,
        };
        let hot: Vec<f64> = (0..rows * classes).map(|i| f64::from(u8::from(i % classes == 3))).collect();
        let (mut losses, mut saved) = (vec![0.0; rows], vec![0.0; 2 * rows]);
        let mut gradient = vec![0.0f32; rows * classes];
        // SAFETY: all arrays have their sizes.
        unsafe {
            cross_entropy(&operands, losses.as_mut_ptr(), null_mut(), saved.as_mut_ptr(), null_mut());
            cross_entropy_gradient(&operands, saved.as_ptr(), [1.0].as_ptr(), 0, gradient.as_mut_ptr());
        }
        assert_close(&losses, &definition(&wide(&x), &hot, classes), 1e-6, "loss");
        assert!(gradient.chunks_exact(classes).all(|row| row.iter().sum::<f32>().abs() < 1e-6));
    }

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
        let compute = || unsafe { squared_distance(a.as_ptr(), b.as_ptr(), a.len()) };
        assert!((f64::from(compute()) / expected - 1.0).abs() < 1e-6);
        assert_reproducible(|| vec![compute()]);
        // SAFETY: nothing is read.
        assert_eq!(unsafe { squared_distance(a.as_ptr(), b.as_ptr(), 0) }, 0.0);
    }
}
