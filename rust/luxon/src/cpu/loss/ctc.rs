//! Connectionist temporal classification: the forward-backward recursions in log space (Graves et al. 2006).
//!
//! A target of `k` labels has `2 k + 1` states: the labels with blanks around and between them. `alpha[t][s]`
//! is the logarithm of the probability of all paths that end in state `s` at time `t`, emissions included;
//! it starts from a virtual row before time 0 in which only state 0 has been reached. `beta` is the same of what
//! follows, without the emission at `t`; both are kept in f64 whatever the type of the probabilities, because over
//! a thousand steps the rounding errors of numbers of size 1000 would reach the result.
//!
//! States go in lanes: their rows have two impossible states in front (alpha) or behind (beta), so that a row's
//! neighbours are plain loads. A sample is one task.

use super::super::lanes::{SHORT, Simd};
use super::super::math::Math;
use super::super::real::{Real, larger};
use super::super::rows::{Input, Job, Output, Scratch, chunks, run};
use crate::error::Result;

/// The operands of a CTC loss; lengths and labels were checked.
#[derive(Clone, Copy, Debug)]
pub struct Ctc<T> {
    /// Logarithms of probabilities (time, batch, classes).
    pub log_probabilities: *const T,
    /// Labels (batch, width).
    pub targets: *const i64,
    /// The time steps of each sample (batch,), at most `time`.
    pub input_lengths: *const i64,
    /// The labels of each sample (batch,), at most `width`.
    pub target_lengths: *const i64,
    /// The class of no label.
    pub blank: usize,
    /// Whether a sample without any possible path counts nothing.
    pub zero_infinity: bool,
    /// The sizes (time, batch, classes, width).
    pub sizes: (usize, usize, usize, usize),
}

/// Elements of a row of states with its two impossible ones, for targets of `width` labels.
pub fn row_length(width: usize) -> usize {
    2 * width + 3
}

/// The losses (batch,), and the rows of alpha (batch, rows, [`row_length`]): all `time + 1` of them, or the last
/// two where `rows` is 2.
///
/// # Errors
/// Memory for a few rows per sample.
///
/// # Safety
/// The operands and results have these sizes; no operand is written meanwhile.
pub unsafe fn ctc<T: Real>(operands: &Ctc<T>, rows: usize, losses: *mut T, alphas: *mut f64) -> Result<()> {
    let (time, batch, _, width) = operands.sizes;
    let row = row_length(width);
    let scratch = Scratch::<f64>::zeroed(batch.saturating_mul(2 * row))?;
    let job = Forward {
        problem: Problem::new(operands),
        rows,
        losses: Output::new(losses),
        alphas: Output::new(alphas),
        scratch: Output::new(scratch.pointer()),
    };
    // SAFETY: the caller's promise; samples write different memory.
    unsafe { run(&job, batch, 1, 8.0 * (time * row) as f64) };
    Ok(())
}

/// The gradient (time, batch, classes) with respect to the log probabilities, from all rows of alpha and the
/// losses' cotangent, of which sample `n` has the element at `n * stride`.
///
/// # Errors
/// As [`ctc`].
///
/// # Safety
/// As [`ctc`]; `stride` is 0 or 1.
pub unsafe fn ctc_gradient<T: Real>(
    operands: &Ctc<T>,
    alphas: *const f64,
    upstream: *const T,
    stride: usize,
    gradient: *mut T,
) -> Result<()> {
    let (time, batch, _, width) = operands.sizes;
    let row = row_length(width);
    let scratch = Scratch::<f64>::zeroed(batch.saturating_mul(4 * row))?;
    let job = Backward {
        problem: Problem::new(operands),
        alphas: Input::new(alphas),
        upstream: Input::new(upstream),
        stride,
        gradient: Output::new(gradient),
        scratch: Output::new(scratch.pointer()),
    };
    // SAFETY: the caller's promise; samples write different memory.
    unsafe { run(&job, batch, 1, 16.0 * (time * row) as f64) };
    Ok(())
}

/// [`Ctc`] in a form that other threads may hold.
struct Problem<T> {
    log_probabilities: Input<T>,
    targets: Input<i64>,
    input_lengths: Input<i64>,
    target_lengths: Input<i64>,
    blank: usize,
    zero_infinity: bool,
    sizes: (usize, usize, usize, usize),
}

impl<T: Real> Problem<T> {
    fn new(operands: &Ctc<T>) -> Problem<T> {
        Problem {
            log_probabilities: Input::new(operands.log_probabilities),
            targets: Input::new(operands.targets),
            input_lengths: Input::new(operands.input_lengths),
            target_lengths: Input::new(operands.target_lengths),
            blank: operands.blank,
            zero_infinity: operands.zero_infinity,
            sizes: operands.sizes,
        }
    }

    /// The time steps and states of a sample.
    unsafe fn lengths(&self, sample: usize) -> (usize, usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let labels = self.target_lengths.at(sample).read() as usize;
            (self.input_lengths.at(sample).read() as usize, 2 * labels + 1)
        }
    }

    /// The class of a state.
    #[inline(always)]
    unsafe fn class(&self, sample: usize, state: usize) -> usize {
        if state.is_multiple_of(2) {
            return self.blank;
        }
        // SAFETY: the caller's promise: odd states belong to the sample's labels.
        unsafe { self.targets.at(sample * self.sizes.3 + state / 2).read() as usize }
    }

    /// What entering a state from two states before adds: 0 where that is allowed.
    unsafe fn write_skips(&self, sample: usize, states: usize, row: usize, skips: *mut f64) {
        for state in 0..row {
            // SAFETY: the caller's promise: a row's worth of memory; labels exist for odd states below `states`.
            unsafe {
                let allowed = state < states
                    && state % 2 == 1
                    && state >= 3
                    && self.class(sample, state) != self.class(sample, state - 2);
                skips.add(state).write(if allowed { 0.0 } else { f64::NEG_INFINITY });
            }
        }
    }

    /// The emissions of a sample's states at a time.
    #[inline(always)]
    unsafe fn write_emissions(&self, time: usize, sample: usize, states: usize, emissions: *mut f64) {
        let (_, batch, classes, _) = self.sizes;
        // SAFETY: the caller's promise; labels are classes.
        unsafe {
            let line = self.log_probabilities.at((time * batch + sample) * classes);
            for state in 0..states {
                emissions.add(state).write(line.add(self.class(sample, state)).read().to_f64());
            }
        }
    }

    /// The logarithm of a sample's probability from the last row of alpha, which begins with two impossible states.
    unsafe fn total(&self, last: *const f64, states: usize) -> f64 {
        // SAFETY: the caller's promise; before state 0 there is an impossible one.
        let (end, label) = unsafe { (last.add(states + 1).read(), last.add(states).read()) };
        Math::logaddexp(end, label)
    }
}

/// `ln(exp(a) + exp(b) + exp(c))` for lanes.
#[inline(always)]
fn join(a: &[f64; SHORT], b: &[f64; SHORT], c: &[f64; SHORT]) -> [f64; SHORT] {
    let mut result = [0.0; SHORT];
    for i in 0..SHORT {
        let most = larger(larger(a[i], b[i]), c[i]);
        let shift = if most > f64::NEG_INFINITY { most } else { 0.0 };
        let sum = Math::exp(a[i] - shift) + Math::exp(b[i] - shift) + Math::exp(c[i] - shift);
        result[i] = shift + Math::ln(sum);
    }
    result
}

struct Forward<T> {
    problem: Problem<T>,
    rows: usize,
    losses: Output<T>,
    alphas: Output<f64>,
    scratch: Output<f64>,
}

impl<T: Real> Job for Forward<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let row = row_length(self.problem.sizes.3);
        for sample in first..first + count {
            // SAFETY: the caller's promise; every row is inside the sample's part.
            unsafe {
                let (steps, states) = self.problem.lengths(sample);
                let skips = self.scratch.at(2 * sample * row);
                let emissions = skips.add(row);
                self.problem.write_skips(sample, states, row, skips);
                let alphas = self.alphas.at(sample * self.rows * row);
                let at = |time: usize| alphas.add(time % self.rows * row);
                // Every row begins impossible, so that states beyond the sample's, and the two in front, stay so.
                for index in 0..self.rows * row {
                    alphas.add(index).write(f64::NEG_INFINITY);
                }
                at(0).add(2).write(0.0);
                for time in 0..steps {
                    self.problem.write_emissions(time, sample, states, emissions);
                    let (from, to) = (at(time), at(time + 1));
                    chunks!(SHORT, states, |state, length| {
                        let stay: [f64; SHORT] = S::load_some(from.add(state + 2), length, f64::NEG_INFINITY);
                        let step: [f64; SHORT] = S::load_some(from.add(state + 1), length, f64::NEG_INFINITY);
                        let mut leap: [f64; SHORT] = S::load_some(from.add(state), length, f64::NEG_INFINITY);
                        let skip: [f64; SHORT] = S::load_some(skips.add(state), length, f64::NEG_INFINITY);
                        let emission: [f64; SHORT] = S::load_some(emissions.add(state), length, 0.0);
                        for i in 0..SHORT {
                            leap[i] += skip[i];
                        }
                        let mut next = join(&stay, &step, &leap);
                        for i in 0..SHORT {
                            next[i] += emission[i];
                        }
                        S::store_some(to.add(state + 2), &next, length);
                    });
                }
                let total = self.problem.total(at(steps), states);
                let impossible = total == f64::NEG_INFINITY && self.problem.zero_infinity;
                self.losses.at(sample).write(T::from_f64(if impossible { 0.0 } else { -total }));
            }
        }
    }
}

struct Backward<T> {
    problem: Problem<T>,
    alphas: Input<f64>,
    upstream: Input<T>,
    stride: usize,
    gradient: Output<T>,
    scratch: Output<f64>,
}

impl<T: Real> Backward<T> {
    /// The gradient's line of a sample at a time.
    #[inline(always)]
    unsafe fn line(&self, time: usize, sample: usize) -> *mut T {
        let (_, batch, classes, _) = self.problem.sizes;
        // SAFETY: the caller's promise.
        unsafe { self.gradient.at((time * batch + sample) * classes) }
    }

    /// Fills a sample's gradient from time `first` on.
    unsafe fn fill(&self, first: usize, end: usize, sample: usize, value: f64) {
        for time in first..end {
            for class in 0..self.problem.sizes.2 {
                // SAFETY: the caller's promise.
                unsafe { self.line(time, sample).add(class).write(T::from_f64(value)) };
            }
        }
    }
}

impl<T: Real> Job for Backward<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let (time, _, _, width) = self.problem.sizes;
        let row = row_length(width);
        for sample in first..first + count {
            // SAFETY: the caller's promise; every row is inside the sample's part.
            unsafe {
                let (steps, states) = self.problem.lengths(sample);
                let [skips, emissions, betas, weights] =
                    [0, 1, 2, 3].map(|index| self.scratch.at((4 * sample + index) * row));
                let alphas = self.alphas.at(sample * (time + 1) * row);
                let total = self.problem.total(alphas.add(steps * row), states);
                self.fill(0, time, sample, 0.0);
                if total == f64::NEG_INFINITY {
                    if !self.problem.zero_infinity {
                        self.fill(0, steps, sample, f64::NAN);
                    }
                    continue;
                }
                self.problem.write_skips(sample, states, row, skips);
                for state in 0..row {
                    let ends = state + 1 == states || state + 2 == states;
                    betas.add(state).write(if ends { 0.0 } else { f64::NEG_INFINITY });
                }
                let upstream = self.upstream.at(sample * self.stride).read().to_f64();
                for time in (0..steps).rev() {
                    let alpha = alphas.add((time + 1) * row + 2);
                    self.problem.write_emissions(time, sample, states, emissions);
                    chunks!(SHORT, states, |state, length| {
                        let before: [f64; SHORT] = S::load_some(alpha.add(state), length, f64::NEG_INFINITY);
                        let mut after: [f64; SHORT] = S::load_some(betas.add(state), length, f64::NEG_INFINITY);
                        let emission: [f64; SHORT] = S::load_some(emissions.add(state), length, 0.0);
                        let mut weight = [0.0; SHORT];
                        for i in 0..SHORT {
                            weight[i] = Math::exp(before[i] + after[i] - total);
                            after[i] += emission[i];
                        }
                        S::store_some(weights.add(state), &weight, length);
                        S::store_some(betas.add(state), &after, length);
                    });
                    let line = self.line(time, sample);
                    let mut blanks = 0.0;
                    for state in 0..states {
                        let weight = weights.add(state).read();
                        if state.is_multiple_of(2) {
                            blanks += weight;
                        } else {
                            *line.add(self.problem.class(sample, state)) += T::from_f64(-upstream * weight);
                        }
                    }
                    *line.add(self.problem.blank) += T::from_f64(-upstream * blanks);
                    // In place: a state reads itself and later ones, which are written afterwards.
                    chunks!(SHORT, states, |state, length| {
                        let stay: [f64; SHORT] = S::load_some(betas.add(state), length, f64::NEG_INFINITY);
                        let step: [f64; SHORT] = S::load_some(betas.add(state + 1), length, f64::NEG_INFINITY);
                        let mut leap: [f64; SHORT] = S::load_some(betas.add(state + 2), length, f64::NEG_INFINITY);
                        let skip: [f64; SHORT] = S::load_some(skips.add(state + 2), length, f64::NEG_INFINITY);
                        for i in 0..SHORT {
                            leap[i] += skip[i];
                        }
                        S::store_some(betas.add(state), &join(&stay, &step, &leap), length);
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::rows::testing::{assert_close, assert_reproducible, numbers, slope};
    use super::*;

    /// The probability of a target by going through all paths.
    fn by_paths(lines: &[Vec<f64>], target: &[i64], blank: usize) -> f64 {
        let classes = lines.first().map_or(0, Vec::len);
        let mut sum = 0.0;
        for code in 0..classes.pow(lines.len() as u32) {
            let mut rest = code;
            let path: Vec<usize> = lines
                .iter()
                .map(|_| {
                    let class = rest % classes;
                    rest /= classes;
                    class
                })
                .collect();
            let mut labels: Vec<i64> = Vec::new();
            for (time, &class) in path.iter().enumerate() {
                if class != blank && (time == 0 || path[time - 1] != class) {
                    labels.push(class as i64);
                }
            }
            if labels == target {
                sum += path.iter().zip(lines).map(|(&class, line)| line[class]).sum::<f64>().exp();
            }
        }
        -sum.ln()
    }

    fn run_ctc<T: Real>(
        x: &[T],
        targets: &[i64],
        lengths: (&[i64], &[i64]),
        sizes: (usize, usize, usize, usize),
        zero_infinity: bool,
    ) -> (Vec<T>, Vec<T>) {
        let (time, batch, _, width) = sizes;
        let operands = Ctc {
            log_probabilities: x.as_ptr(),
            targets: targets.as_ptr(),
            input_lengths: lengths.0.as_ptr(),
            target_lengths: lengths.1.as_ptr(),
            blank: 0,
            zero_infinity,
            sizes,
        };
        let (mut losses, mut short) = (vec![T::ZERO; batch], vec![T::ZERO; batch]);
        let mut alphas = vec![0.0; batch * (time + 1) * row_length(width)];
        let mut two = vec![0.0; batch * 2 * row_length(width)];
        let mut gradient = vec![T::ONE; x.len()];
        // SAFETY: all arrays have their sizes.
        let done = unsafe {
            ctc(&operands, time + 1, losses.as_mut_ptr(), alphas.as_mut_ptr())
                .and_then(|()| ctc(&operands, 2, short.as_mut_ptr(), two.as_mut_ptr()))
                .and_then(|()| ctc_gradient(&operands, alphas.as_ptr(), [T::ONE].as_ptr(), 0, gradient.as_mut_ptr()))
        };
        assert!(done.is_ok());
        assert_eq!(losses, short);
        (losses, gradient)
    }

    #[test]
    fn it_agrees_with_all_paths() {
        let sizes = (5, 6, 3, 3);
        let x = numbers::<f64>(5 * 6 * 3, 3, -1.5);
        let targets = [1, 2, 1, 1, 1, 0, 2, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 0];
        let (inputs, lengths) = ([5, 4, 5, 3, 5, 2], [3, 2, 1, 0, 3, 2]);
        let (losses, gradient) = run_ctc(&x, &targets, (&inputs, &lengths), sizes, false);
        let loss = |x: &[f64], sample: usize| {
            let lines: Vec<Vec<f64>> =
                (0..inputs[sample] as usize).map(|t| x[(t * 6 + sample) * 3..][..3].to_vec()).collect();
            by_paths(&lines, &targets[sample * 3..][..lengths[sample] as usize], 0)
        };
        for sample in 0..5 {
            assert_close(&losses[sample..=sample], &[loss(&x, sample)], 1e-12, "loss");
            for time in 0..5 {
                for class in 0..3 {
                    let index = (time * 6 + sample) * 3 + class;
                    assert_close(&gradient[index..=index], &[slope(&x, index, |x| loss(x, sample))], 1e-7, "slope");
                }
            }
        }
        // The labels 2, 2 need a blank between them, for which two steps are too short.
        assert_eq!(losses[5], f64::INFINITY);
        assert!(gradient[5 * 3].is_nan());
        let (losses, gradient) = run_ctc(&x, &targets, (&inputs, &lengths), sizes, true);
        assert!(losses[5] == 0.0 && gradient[5 * 3] == 0.0);
    }

    #[test]
    fn long_sequences_are_accurate_and_reproducible() {
        let sizes = (600, 2, 20, 70);
        let wide = numbers::<f64>(600 * 2 * 20, 3, -3.0);
        let x: Vec<f32> = wide.iter().map(|&x| x as f32).collect();
        let same: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let targets: Vec<i64> = (0..140).map(|i| 1 + (i * i) % 19).collect();
        let lengths: (&[i64], &[i64]) = (&[600, 500], &[70, 64]);
        let (losses, gradient) = run_ctc(&x, &targets, lengths, sizes, false);
        let (expected, slopes) = run_ctc(&same, &targets, lengths, sizes, false);
        assert_close(&losses, &expected, 1e-7, "loss");
        assert_close(&gradient, &slopes, 1e-6, "gradient");
        assert_reproducible(|| run_ctc(&x, &targets, lengths, sizes, false).1);
    }
}
