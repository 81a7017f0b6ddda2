//! Optimiser updates: one pass over a parameter, its gradient and its state.
//!
//! An [`Element`] says what happens to one element; [`update`] is the only driver: it moves chunks of lanes
//! through the rule, so every rule is vector code at the speed of memory, and splits long leaves over
//! threads. Whatever depends on the step but not on the element (bias corrections, a scheduled rate) is
//! a field of the rule, computed in `f64`. The rules themselves are in `optim/rules`.
//!
//! What is kept of the state of an element is never subnormal. The mean of a gradient that has become zero, as that
//! below a rectifier which no longer opens, shrinks with each step and would end among the subnormal numbers, where
//! rounding holds it for good and where processors are slow: Adam took half as long again. A rule with an `eps` of 0
//! then divides 0 by 0, as it does for an element that never had a gradient.
//!
//! Results may overwrite their sources. Products and sums are rounded separately, so every instruction set
//! gives the same bits at the speed of memory.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::lanes::{LANES, Simd};
use super::math::Math;
use super::real::Real;
use super::rows::{Input, Job, Output, run};

/// What rules compute with: `f32` and `f64`, and the symbols from which a device's kernel is printed.
pub trait Field:
    Copy
    + PartialOrd
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Sync
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The nearest value to `value`.
    fn from_f64(value: f64) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
}

macro_rules! field {
    ($($float:ty),*) => { $(impl Field for $float {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        #[inline(always)]
        fn from_f64(value: f64) -> Self {
            value as $float
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            Math::sqrt(self)
        }
        #[inline(always)]
        fn abs(self) -> Self {
            Math::abs(self)
        }
    })* };
}
field!(f32, f64);

/// The update of one element, given `SLOTS` numbers of state.
pub trait Element<T: Field, const SLOTS: usize>: Copy + Sync {
    /// The new parameter and the new state; to be `#[inline(always)]` and free of branches.
    fn element(&self, parameter: T, gradient: T, state: [T; SLOTS]) -> (T, [T; SLOTS]);
}

/// The memory of one leaf: sources and destinations of `length` elements each.
#[derive(Clone, Copy, Debug)]
pub struct Memory<T, const SLOTS: usize> {
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

/// Elements that make one task: a few microseconds.
const EACH: usize = 4096;

/// Applies `rule` to a leaf.
///
/// # Safety
/// Every pointer holds `leaf.length` elements; a destination is one of the sources or overlaps none, and
/// destinations do not overlap each other.
pub unsafe fn update<T: Real + Field, R: Element<T, SLOTS>, const SLOTS: usize>(rule: &R, leaf: &Memory<T, SLOTS>) {
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

impl<T: Real + Field, R: Element<T, SLOTS>, const SLOTS: usize> Job for Update<T, R, SLOTS> {
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

impl<T: Real + Field, R: Element<T, SLOTS>, const SLOTS: usize> Update<T, R, SLOTS> {
    #[inline(always)]
    unsafe fn chunk<S: Simd>(&self, rule: &R, at: usize, length: usize) {
        // SAFETY: the caller's promise: `length` elements at `at` of every array.
        unsafe {
            let mut parameter: [T; LANES] = S::load_some(self.parameter.at(at), length, <T as Field>::ZERO);
            let gradient: [T; LANES] = S::load_some(self.gradient.at(at), length, <T as Field>::ZERO);
            let mut state = [[<T as Field>::ZERO; LANES]; SLOTS];
            for slot in 0..SLOTS {
                state[slot] = S::load_some(self.state[slot].at(at), length, <T as Field>::ZERO);
            }
            for i in 0..LANES {
                let mut before = [<T as Field>::ZERO; SLOTS];
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
                // A loop of its own: within the other one, compilers give up vectors.
                for i in 0..LANES {
                    state[slot][i] = state[slot][i].normal_or_zero();
                }
                S::store_some(self.new_state[slot].at(at), &state[slot], length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::testing::{assert_reproducible, numbers};
    use super::*;

    /// Momentum with a root and a division, to have an expression worth rounding.
    #[derive(Clone, Copy)]
    struct Momentum;

    impl<T: Real + Field> Element<T, 1> for Momentum {
        #[inline(always)]
        fn element(&self, parameter: T, gradient: T, [kept]: [T; 1]) -> (T, [T; 1]) {
            let kept = <T as Field>::from_f64(0.9) * kept + gradient * gradient;
            (parameter - gradient / (Field::sqrt(kept) + <T as Field>::ONE), [kept])
        }
    }

    fn in_place<T: Real + Field>(parameter: &mut [T], gradient: &[T], kept: &mut [T]) {
        let (parameter_at, kept_at) = (parameter.as_mut_ptr(), kept.as_mut_ptr());
        let memory = Memory {
            parameter: parameter_at.cast_const(),
            gradient: gradient.as_ptr(),
            state: [kept_at.cast_const()],
            new_parameter: parameter_at,
            new_state: [kept_at],
            length: parameter.len(),
        };
        // SAFETY: all have as many elements; destinations are sources.
        unsafe { update(&Momentum, &memory) };
    }

    #[test]
    fn every_element_is_updated_once() {
        for length in [0, 1, 63, 64, 65, 1000] {
            let (mut p, g) = (numbers::<f64>(length, 1, 0.0), numbers::<f64>(length, 2, 0.0));
            let mut kept = vec![0.5; length];
            let expected: Vec<f64> =
                p.iter().zip(&g).map(|(p, g)| p - g / ((0.9f64 * 0.5 + g * g).sqrt() + 1.0)).collect();
            in_place(&mut p, &g, &mut kept);
            assert_eq!(p, expected);
            assert!(kept.iter().zip(&g).all(|(kept, g)| *kept == 0.9 * 0.5 + g * g));
        }
    }

    #[test]
    fn state_that_fades_ends_at_zero() {
        const LEAST: f64 = f64::MIN_POSITIVE;
        let mut kept = [1.0, LEAST, 2.0 * LEAST, f64::NAN];
        in_place(&mut [0.0; 4], &[0.0; 4], &mut kept);
        assert_eq!(kept[..3], [0.9, 0.0, 0.9 * 2.0 * LEAST]);
        assert!(kept[3].is_nan());
        let mut kept = [1.0, f32::MIN_POSITIVE];
        in_place(&mut [0.0; 2], &[0.0; 2], &mut kept);
        assert_eq!(kept, [0.9, 0.0]);
    }

    #[test]
    fn bits_depend_on_nothing_but_the_input() {
        let g = numbers::<f32>(100_001, 1, 0.0);
        assert_reproducible(|| {
            let (mut p, mut kept) = (numbers::<f32>(100_001, 2, 0.0), vec![0.5; 100_001]);
            in_place(&mut p, &g, &mut kept);
            p
        });
    }
}
