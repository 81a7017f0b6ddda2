//! Optimiser updates: one pass over a parameter, its gradient and its state.
//!
//! A [`Rule`] says what happens to one element; [`update`] is the only driver: it moves chunks of lanes
//! through the rule, so every rule is vector code at the speed of memory, and splits long leaves over
//! threads. Whatever depends on the step but not on the element (bias corrections, a scheduled rate) is
//! a field of the rule, computed in `f64` by its constructor.
//!
//! Results may overwrite their sources. Formulas are PyTorch's; products and sums are rounded
//! separately, so every instruction set gives the same bits at the speed of memory.

use super::lanes::{LANES, Simd};
use super::real::Real;
use super::rows::{Input, Job, Output, run};

/// The update of one element, given `SLOTS` numbers of state.
pub trait Rule<T: Real, const SLOTS: usize>: Copy + Sync {
    /// The new parameter and the new state; to be `#[inline(always)]` and free of branches.
    fn element(&self, parameter: T, gradient: T, state: [T; SLOTS]) -> (T, [T; SLOTS]);
}

/// The memory of one leaf: sources and destinations of `length` elements each.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<T, const SLOTS: usize> {
    /// The parameter.
    pub parameter: *const T,
    /// Its gradient.
    pub gradient: *const T,
    /// The state of the rule.
    pub state: [*const T; SLOTS],
    /// Where the new parameter goes; may be `parameter`.
    pub new_parameter: *mut T,
    /// Where the new state goes; may be `state`.
    pub new_state: [*mut T; SLOTS],
    /// Elements.
    pub length: usize,
}

/// Elements that make one task.
const EACH: usize = 32768;

/// Applies `rule` to a leaf.
///
/// # Safety
/// Every pointer holds `leaf.length` elements; a destination is one of the sources or overlaps none, and
/// destinations do not overlap each other.
pub unsafe fn update<T: Real, R: Rule<T, SLOTS>, const SLOTS: usize>(rule: &R, leaf: &Leaf<T, SLOTS>) {
    let job = Update {
        rule: *rule,
        parameter: Input::new(leaf.parameter),
        gradient: Input::new(leaf.gradient),
        state: leaf.state.map(Input::new),
        new_parameter: Output::new(leaf.new_parameter),
        new_state: leaf.new_state.map(Output::new),
    };
    let nanoseconds = (3 + 2 * SLOTS) as f64 * 0.1;
    // SAFETY: the caller's promise.
    unsafe { run(&job, leaf.length, EACH, nanoseconds) }
}

struct Update<T, R, const SLOTS: usize> {
    rule: R,
    parameter: Input<T>,
    gradient: Input<T>,
    state: [Input<T>; SLOTS],
    new_parameter: Output<T>,
    new_state: [Output<T>; SLOTS],
}

impl<T: Real, R: Rule<T, SLOTS>, const SLOTS: usize> Job for Update<T, R, SLOTS> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let rule = self.rule;
        let mut at = first;
        let end = first + count;
        while at < end {
            // SAFETY: the chunk ends before `first + count`.
            unsafe {
                // Two calls, so that full chunks are compiled for a constant length.
                if end - at >= LANES {
                    self.chunk::<S>(&rule, at, LANES);
                } else {
                    self.chunk::<S>(&rule, at, end - at);
                }
            }
            at += LANES;
        }
    }
}

impl<T: Real, R: Rule<T, SLOTS>, const SLOTS: usize> Update<T, R, SLOTS> {
    #[inline(always)]
    unsafe fn chunk<S: Simd>(&self, rule: &R, at: usize, length: usize) {
        // SAFETY: the caller's promise: `length` elements at `at` of every array.
        unsafe {
            let mut parameter: [T; LANES] = S::load_some(self.parameter.at(at), length, T::ZERO);
            let gradient: [T; LANES] = S::load_some(self.gradient.at(at), length, T::ZERO);
            let mut state = [[T::ZERO; LANES]; SLOTS];
            for slot in 0..SLOTS {
                state[slot] = S::load_some(self.state[slot].at(at), length, T::ZERO);
            }
            for i in 0..LANES {
                let mut before = [T::ZERO; SLOTS];
                for slot in 0..SLOTS {
                    before[slot] = state[slot][i];
                }
                let (new, after) = rule.element(parameter[i], gradient[i], before);
                parameter[i] = new;
                for slot in 0..SLOTS {
                    state[slot][i] = after[slot];
                }
            }
            S::store_some(self.new_parameter.at(at), &parameter, length);
            for slot in 0..SLOTS {
                S::store_some(self.new_state[slot].at(at), &state[slot], length);
            }
        }
    }
}

/// Stochastic gradient descent; without state, or with the momentum buffer as its only slot.
#[derive(Clone, Copy, Debug)]
pub struct Sgd<T> {
    learning_rate: T,
    momentum: T,
    /// What is kept of the buffer, and what is taken of the gradient.
    keep: T,
    take: T,
    weight_decay: T,
    nesterov: bool,
}

impl<T: Real> Sgd<T> {
    /// The rule of one step; on the first one the buffer starts as the gradient, undamped.
    pub fn new(
        learning_rate: f64,
        momentum: f64,
        dampening: f64,
        weight_decay: f64,
        nesterov: bool,
        first_step: bool,
    ) -> Self {
        Sgd {
            learning_rate: T::from_f64(learning_rate),
            momentum: T::from_f64(momentum),
            keep: T::from_f64(if first_step { 0.0 } else { momentum }),
            take: T::from_f64(if first_step { 1.0 } else { 1.0 - dampening }),
            weight_decay: T::from_f64(weight_decay),
            nesterov,
        }
    }
}

impl<T: Real> Rule<T, 0> for Sgd<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, _state: [T; 0]) -> (T, [T; 0]) {
        let gradient = gradient + self.weight_decay * parameter;
        (parameter - self.learning_rate * gradient, [])
    }
}

impl<T: Real> Rule<T, 1> for Sgd<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [buffer]: [T; 1]) -> (T, [T; 1]) {
        let gradient = gradient + self.weight_decay * parameter;
        let buffer = self.keep * buffer + self.take * gradient;
        let step = if self.nesterov { gradient + self.momentum * buffer } else { buffer };
        (parameter - self.learning_rate * step, [buffer])
    }
}

/// Adam and AdamW: slots are the first and the second moment and, with a third, AMSGrad's largest
/// second moment.
#[derive(Clone, Copy, Debug)]
pub struct Adam<T> {
    /// The learning rate over the first moment's bias correction.
    step_size: T,
    take_first: T,
    keep_second: T,
    take_second: T,
    /// One over the root of the second moment's bias correction.
    root_correction: T,
    eps: T,
    weight_decay: T,
    /// What decoupled weight decay leaves of the parameter.
    shrink: T,
}

impl<T: Real> Adam<T> {
    /// The rule of one step. `corrections` are `1 - beta^t` of the two moments; `decoupled` decay
    /// shrinks the parameter (AdamW), otherwise decay is added to the gradient (Adam).
    pub fn new(
        learning_rate: f64,
        (beta1, beta2): (f64, f64),
        eps: f64,
        weight_decay: f64,
        decoupled: bool,
        corrections: (f64, f64),
    ) -> Self {
        Adam {
            step_size: T::from_f64(learning_rate / corrections.0),
            take_first: T::from_f64(1.0 - beta1),
            keep_second: T::from_f64(beta2),
            take_second: T::from_f64(1.0 - beta2),
            root_correction: T::from_f64(1.0 / corrections.1.sqrt()),
            eps: T::from_f64(eps),
            weight_decay: T::from_f64(if decoupled { 0.0 } else { weight_decay }),
            shrink: T::from_f64(if decoupled { 1.0 - learning_rate * weight_decay } else { 1.0 }),
        }
    }

    /// The decayed parameter, and the new moments.
    #[inline(always)]
    fn moments(&self, parameter: T, gradient: T, first: T, second: T) -> (T, T, T) {
        let gradient = gradient + self.weight_decay * parameter;
        let first = first + (gradient - first) * self.take_first;
        let second = self.keep_second * second + self.take_second * gradient * gradient;
        (parameter * self.shrink, first, second)
    }

    #[inline(always)]
    fn step(&self, parameter: T, first: T, second: T) -> T {
        parameter - self.step_size * first / (second.sqrt() * self.root_correction + self.eps)
    }
}

impl<T: Real> Rule<T, 2> for Adam<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [first, second]: [T; 2]) -> (T, [T; 2]) {
        let (parameter, first, second) = self.moments(parameter, gradient, first, second);
        (self.step(parameter, first, second), [first, second])
    }
}

impl<T: Real> Rule<T, 3> for Adam<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [first, second, largest]: [T; 3]) -> (T, [T; 3]) {
        let (parameter, first, second) = self.moments(parameter, gradient, first, second);
        // The comparison keeps a NaN of `second`.
        let largest = if largest > second { largest } else { second };
        (self.step(parameter, first, largest), [first, second, largest])
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::testing::{assert_close, assert_reproducible, numbers, wide};
    use super::*;

    fn in_place<T: Real, R: Rule<T, SLOTS>, const SLOTS: usize>(
        rule: &R,
        parameter: &mut [T],
        gradient: &[T],
        state: &mut [Vec<T>; SLOTS],
    ) {
        let length = parameter.len();
        let mut slots = [std::ptr::null_mut(); SLOTS];
        for (slot, values) in slots.iter_mut().zip(state.iter_mut()) {
            assert_eq!(values.len(), length);
            *slot = values.as_mut_ptr();
        }
        let new_parameter = parameter.as_mut_ptr();
        let leaf = Leaf {
            parameter: new_parameter.cast_const(),
            gradient: gradient.as_ptr(),
            state: slots.map(|slot| slot.cast_const()),
            new_parameter,
            new_state: slots,
            length,
        };
        // SAFETY: all have `length` elements; destinations are sources.
        unsafe { update(rule, &leaf) };
    }

    /// PyTorch's loop, written out in double precision.
    fn adam(
        p: &mut [f64],
        g: &[f64],
        state: &mut [Vec<f64>; 3],
        step: i32,
        decay: f64,
        decoupled: bool,
        amsgrad: bool,
    ) {
        for i in 0..p.len() {
            let mut gradient = g[i];
            if decoupled {
                p[i] *= 1.0 - 0.01 * decay;
            } else {
                gradient += decay * p[i];
            }
            state[0][i] = 0.9 * state[0][i] + 0.1 * gradient;
            state[1][i] = 0.999 * state[1][i] + 0.001 * gradient * gradient;
            state[2][i] = state[2][i].max(state[1][i]);
            let second = if amsgrad { state[2][i] } else { state[1][i] };
            let root = second.sqrt() / (1.0 - 0.999f64.powi(step)).sqrt();
            p[i] -= 0.01 / (1.0 - 0.9f64.powi(step)) * state[0][i] / (root + 1e-8);
        }
    }

    fn adam_agrees<T: Real>(tolerance: f64) {
        for length in [0, 1, 63, 64, 65, 1000] {
            for (decoupled, amsgrad) in [(false, false), (true, false), (false, true), (true, true)] {
                let mut p = numbers::<T>(length, 1, 0.0);
                let mut state: [Vec<T>; 3] = std::array::from_fn(|_| vec![T::ZERO; length]);
                let mut expected = wide(&p);
                let mut expected_state: [Vec<f64>; 3] = std::array::from_fn(|_| vec![0.0; length]);
                for step in 1..6 {
                    let g = numbers::<T>(length, 7 + step as u64, 0.0);
                    let corrections = (1.0 - 0.9f64.powi(step), 1.0 - 0.999f64.powi(step));
                    let rule = Adam::<T>::new(0.01, (0.9, 0.999), 1e-8, 0.1, decoupled, corrections);
                    if amsgrad {
                        in_place::<T, _, 3>(&rule, &mut p, &g, &mut state);
                    } else {
                        let [first, second, _] = &mut state;
                        let mut two = [std::mem::take(first), std::mem::take(second)];
                        in_place::<T, _, 2>(&rule, &mut p, &g, &mut two);
                        [*first, *second] = two;
                    }
                    adam(&mut expected, &wide(&g), &mut expected_state, step, 0.1, decoupled, amsgrad);
                }
                assert_close(&p, &expected, tolerance, "parameter");
                assert_close(&state[1], &expected_state[1], tolerance, "second moment");
            }
        }
    }

    #[test]
    fn adam_is_torchs() {
        adam_agrees::<f32>(2e-5);
        adam_agrees::<f64>(1e-12);
    }

    #[test]
    fn sgd_is_torchs() {
        for (momentum, dampening, decay, nesterov) in
            [(0.0, 0.0, 0.1, false), (0.9, 0.2, 0.1, false), (0.9, 0.0, 0.0, true)]
        {
            let mut p = numbers::<f64>(100, 3, 0.0);
            let mut buffer = [vec![0.0; 100]];
            let (mut expected, mut expected_buffer) = (p.clone(), vec![0.0; 100]);
            for step in 0..4 {
                let g = numbers::<f64>(100, 20 + step, 0.0);
                let rule = Sgd::<f64>::new(0.1, momentum, dampening, decay, nesterov, step == 0);
                if momentum == 0.0 {
                    in_place::<f64, _, 0>(&rule, &mut p, &g, &mut []);
                } else {
                    in_place::<f64, _, 1>(&rule, &mut p, &g, &mut buffer);
                }
                for i in 0..100 {
                    let mut d = g[i] + decay * expected[i];
                    if momentum != 0.0 {
                        expected_buffer[i] =
                            if step == 0 { d } else { momentum * expected_buffer[i] + (1.0 - dampening) * d };
                        d = if nesterov { d + momentum * expected_buffer[i] } else { expected_buffer[i] };
                    }
                    expected[i] -= 0.1 * d;
                }
            }
            assert_close(&p, &expected, 1e-14, "parameter");
        }
    }

    #[test]
    fn bits_depend_on_nothing_but_the_input() {
        let g = numbers::<f32>(100_001, 1, 0.0);
        assert_reproducible(|| {
            let mut p = numbers::<f32>(100_001, 2, 0.0);
            let mut state = [vec![0.5; 100_001], vec![0.5; 100_001]];
            let rule = Adam::<f32>::new(0.01, (0.9, 0.999), 1e-8, 0.1, false, (0.1, 0.001));
            in_place::<f32, _, 2>(&rule, &mut p, &g, &mut state);
            p
        });
    }
}
