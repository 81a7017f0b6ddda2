//! Cross entropy of a row, `sum_c w_c t_c (ln(sum(exp x)) - x_c)`, and its gradient.
//!
//! A row's target is a class or a distribution; both may be smoothed. What the gradient needs later is
//! saved as the row's maximum and the logarithm of its sum of exponentials, kept apart because their sum
//! would lose the logarithm where the maximum is large; or the gradient for an upstream of 1 is written at
//! once, while the row is in cache.
//!
//! Losses are per row, reductions are the caller's. Written gradients may overwrite the logits.

use super::super::lanes::{GROUP, Group, Simd, largest_lane, sum_lanes};
use super::super::real::Real;
use super::super::rows::{Input, Job, Output, by_width, chunks, groups, rows_each, run, totals};
use super::super::softmax::{exponentials, row_exponentials, row_maximum, row_store_exponentials, subtract};

/// What the rows of a cross entropy are compared with.
#[derive(Clone, Copy, Debug)]
pub enum Targets<T> {
    /// A class per row, already checked to be in range or `ignore`; a row of `ignore` gives zeros.
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
    unsafe fn target<S: Simd, const N: usize>(&self, row: usize, at: usize, length: usize) -> [T; N] {
        // SAFETY: the caller's promise: the chunk is inside the row.
        unsafe {
            let mut lanes = [self.spread; N];
            if self.probabilities.is_some() {
                let given: [T; N] = S::load_some(self.probabilities.at(row * self.classes + at), length, T::ZERO);
                for i in 0..N {
                    lanes[i] = given[i] * self.keep + self.spread;
                }
            }
            if self.weight.is_some() {
                let weight: [T; N] = S::load_some(self.weight.at(at), length, T::ZERO);
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
    unsafe fn dense<S: Simd, const N: usize>(&self, row: usize, maximum: T) -> (T, T) {
        // SAFETY: the caller's promise: the row exists.
        unsafe {
            let x = self.logits.at(row * self.classes);
            let [distance, mass] = totals!(T, N, 2, self.classes, |at, length, sums| {
                let lanes: [T; N] = S::load_some(x.add(at), length, maximum);
                let target = self.target::<S, N>(row, at, length);
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

/// What the rows of a group are to be compared with, reduced to numbers.
struct Compared<T> {
    /// The class of an index row; `usize::MAX` where the row is ignored.
    class: [usize; GROUP],
    /// The weight of that class, and its part in the target.
    weight: [T; GROUP],
    hit: [T; GROUP],
    /// `sum_c t_c (maximum - x_c)` and `sum_c t_c`.
    distance: [T; GROUP],
    mass: [T; GROUP],
}

impl<T: Real, const N: usize> Forward<T, N> {
    /// Everything about the targets of a group; the logits are not needed for it again.
    #[inline(always)]
    unsafe fn compare<S: Simd>(&self, row: usize, rows: usize, maxima: &[T; GROUP]) -> Compared<T> {
        let shared = &self.shared;
        let mut compared = Compared {
            class: [0; GROUP],
            weight: [T::ONE; GROUP],
            hit: [T::ZERO; GROUP],
            distance: [T::ZERO; GROUP],
            mass: [T::ZERO; GROUP],
        };
        for i in 0..rows {
            // SAFETY: the caller's promise: the rows exist.
            unsafe {
                let sparse = if shared.index.is_some() { shared.class(row + i) } else { None };
                if shared.index.is_some() && sparse.is_none() {
                    compared.class[i] = usize::MAX;
                    compared.weight[i] = T::ZERO;
                    continue;
                }
                if shared.is_dense() {
                    (compared.distance[i], compared.mass[i]) = shared.dense::<S, N>(row + i, maxima[i]);
                }
                if let Some((class, weight)) = sparse {
                    let hit = shared.keep * weight;
                    let x = shared.logits.at((row + i) * shared.classes + class).read();
                    compared.class[i] = class;
                    compared.weight[i] = weight;
                    compared.hit[i] = hit;
                    compared.distance[i] += (maxima[i] - x) * hit;
                    compared.mass[i] += hit;
                }
            }
        }
        compared
    }

    /// Short rows go through a [`Group`], long ones through memory.
    #[inline(always)]
    unsafe fn group<S: Simd>(&self, row: usize, rows: usize) {
        let shared = &self.shared;
        let classes = shared.classes;
        let ignored = |i: usize, compared: &Compared<T>| compared.class[i] == usize::MAX;
        // SAFETY: the caller's promise: the rows exist.
        unsafe {
            let x = shared.logits.at(row * classes);
            let short = classes <= N;
            let mut group = Group::<T, N>::new();
            let (mut maxima, mut sums) = ([T::ZERO; GROUP], [T::ONE; GROUP]);
            let compared;
            if short {
                group.read::<S>(x, rows, classes, T::NEGATIVE_INFINITY);
                maxima = group.reduce(rows, largest_lane);
                compared = self.compare::<S>(row, rows, &maxima);
                group.each(rows, |i, lanes| subtract(lanes, maxima[i]));
                group.each(rows, |_, lanes| exponentials(lanes));
                sums = group.reduce(rows, sum_lanes);
            } else {
                for i in 0..rows {
                    if !(shared.index.is_some() && shared.class(row + i).is_none()) {
                        maxima[i] = row_maximum::<S, T, N>(x.add(i * classes), classes);
                    }
                }
                compared = self.compare::<S>(row, rows, &maxima);
                for i in 0..rows {
                    let x = x.add(i * classes);
                    if ignored(i, &compared) {
                        continue;
                    }
                    sums[i] = if self.gradient.is_some() {
                        let powers = self.gradient.at((row + i) * classes);
                        row_store_exponentials::<S, T, N>(x, powers, classes, maxima[i])
                    } else {
                        row_exponentials::<S, T, N>(x, classes, maxima[i])
                    };
                }
            }
            let (mut logarithms, mut losses) = (sums, [T::ZERO; GROUP]);
            for i in 0..GROUP {
                logarithms[i] = sums[i].ln();
                losses[i] = compared.distance[i] + compared.mass[i] * logarithms[i];
            }
            for i in 0..rows {
                if ignored(i, &compared) {
                    losses[i] = T::ZERO;
                }
            }
            S::store_some(self.losses.at(row), &losses, rows);
            if self.weights.is_some() {
                S::store_some(self.weights.at(row), &compared.weight, rows);
            }
            if self.saved.is_some() {
                for i in 0..rows {
                    self.saved.at(2 * (row + i)).write(maxima[i]);
                    self.saved.at(2 * (row + i) + 1).write(logarithms[i]);
                }
            }
            if !self.gradient.is_some() {
                return;
            }
            let mut scale = compared.mass;
            for i in 0..GROUP {
                scale[i] = compared.mass[i] / sums[i];
            }
            if short {
                group.each(rows, |i, lanes| self.finish::<S>(row + i, 0, classes, scale[i], lanes));
                group.write::<S>(self.gradient.at(row * classes), rows, classes);
            }
            for i in 0..rows {
                let gradient = self.gradient.at((row + i) * classes);
                if ignored(i, &compared) {
                    gradient.write_bytes(0, classes);
                    continue;
                }
                if !short {
                    chunks!(N, classes, |at, length| {
                        let mut lanes: [T; N] = S::load_some(gradient.add(at), length, T::ZERO);
                        self.finish::<S>(row + i, at, length, scale[i], &mut lanes);
                        S::store_some(gradient.add(at), &lanes, length);
                    });
                }
                if shared.index.is_some() {
                    *gradient.add(compared.class[i]) -= compared.hit[i];
                }
            }
        }
    }

    /// Turns exponentials into the gradient, but for the class of an index row.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, row: usize, at: usize, length: usize, scale: T, lanes: &mut [T; N]) {
        for i in 0..N {
            lanes[i] *= scale;
        }
        if self.shared.is_dense() {
            // SAFETY: the caller's promise: the chunk is inside the row.
            let target = unsafe { self.shared.target::<S, N>(row, at, length) };
            for i in 0..N {
                lanes[i] -= target[i];
            }
        }
    }
}

impl<T: Real, const N: usize> Job for Forward<T, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        groups!(first, count, |row, rows| {
            // SAFETY: the caller's promise.
            unsafe { self.group::<S>(row, rows) }
        });
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
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
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
                    shared.dense::<S, N>(row, maximum).1
                } else {
                    shared.total_spread
                };
                if let Some((_, class_weight)) = sparse {
                    mass += shared.keep * class_weight;
                }
                let scale = mass * upstream;
                chunks!(N, classes, |at, length| {
                    let mut lanes: [T; N] = S::load_some(x.add(at), length, T::NEGATIVE_INFINITY);
                    for i in 0..N {
                        lanes[i] = ((lanes[i] - maximum) - logarithm).exp() * scale;
                    }
                    if shared.is_dense() {
                        let target = shared.target::<S, N>(row, at, length);
                        for i in 0..N {
                            lanes[i] -= target[i] * upstream;
                        }
                    }
                    S::store_some(gradient.add(at), &lanes, length);
                });
                if let Some((class, class_weight)) = sparse {
                    *gradient.add(class) -= shared.keep * class_weight * upstream;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
