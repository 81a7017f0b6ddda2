//! Rules that go by the sign of a gradient: Rprop and Lion.

use super::{At, Definition, common};
use crate::cpu::optimize::Element;
use crate::cpu::optimize::Field;
use crate::error::{Error, Result};
use crate::optim::leaf::{First, Form, Kept, Slot, Slots, Spec, zeros_like};
use crate::optim::pass::{fused_kept, numbers};
use crate::optim::settings::{Rate, settings};
use crate::tensor::Tensor;

/// -1, 0 or 1; NaN stays.
#[inline(always)]
fn sign<T: Field>(value: T) -> T {
    let up = if value > T::ZERO { T::ONE } else { value };
    if value < T::ZERO { -T::ONE } else { up }
}

settings! {
    /// Resilient propagation (Riedmiller and Braun 1993), PyTorch's formula.
    Rprop {
        /// The first step size of every element.
        lr: Rate = 1e-2,
        /// By how much a step size shrinks and grows.
        etas: (f64, f64) = (0.5, 1.2),
        /// The smallest and the largest step size.
        step_sizes: (f64, f64) = (1e-6, 50.0),
        /// Whether to climb.
        maximize: bool = false,
    }
}

numbers! {
    /// One step of Rprop.
    RpropNumbers { shrink, grow, least, most, } {}
}

impl<T: Field> Element<T, 2> for RpropNumbers<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [previous, size]: [T; 2]) -> (T, [T; 2]) {
        let agreement = gradient * previous;
        let factor = if agreement > T::ZERO { self.grow } else { T::ONE };
        let turned = agreement < T::ZERO;
        let size = size * if turned { self.shrink } else { factor };
        let size = if size < self.least { self.least } else { size };
        let size = if size > self.most { self.most } else { size };
        // After a change of sign nothing moves, and the next step has nothing to agree with.
        let gradient = if turned { T::ZERO } else { gradient };
        (parameter - sign(gradient) * size, [gradient, size])
    }
}

impl Definition for Rprop {
    common!("Rprop", maximize);

    fn slots(&self, spec: &Spec) -> Slots {
        let mut slots = zeros_like(&["prev"], spec);
        let first = First::Filled(self.lr.at(0).unwrap_or(f64::NAN));
        let form = Form::Tensor { shape: spec.shape, dtype: spec.dtype, first };
        slots.push(Slot { name: "step_size", form });
        slots
    }

    fn check(&self) -> Result<()> {
        if !(self.etas.0 > 0.0 && self.etas.0 < 1.0 && self.etas.1 > 1.0) {
            return Err(Error::value("Rprop", "etas must be below and above 1"));
        }
        Ok(())
    }

    fn update(&self, _at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let (shrink, grow) = self.etas;
        let (least, most) = self.step_sizes;
        fused_kept::<_, 2>(&RpropNumbers { shrink, grow, least, most }, parameter, gradient, kept)
    }
}

settings! {
    /// Lion (Chen et al. 2023), Optax's formula.
    Lion {
        /// The learning rate.
        lr: Rate = 1e-4,
        /// Decay rates of the momentum: in the step, and as it is kept.
        betas: (f64, f64) = (0.9, 0.99),
        /// Decay that shrinks the parameter.
        weight_decay: f64 = 1e-3,
    }
}

numbers! {
    /// One step of Lion.
    LionNumbers { lr, shrink, keep_now, take_now, keep, take, } {}
}

impl<T: Field> Element<T, 1> for LionNumbers<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [average]: [T; 1]) -> (T, [T; 1]) {
        let direction = self.keep_now * average + self.take_now * gradient;
        let average = self.keep * average + self.take * gradient;
        (parameter * self.shrink - self.lr * sign(direction), [average])
    }
}

impl Definition for Lion {
    common!("Lion");

    fn slots(&self, spec: &Spec) -> Slots {
        zeros_like(&["exp_avg"], spec)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let (now, later) = self.betas;
        let numbers = LionNumbers {
            lr: at.lr,
            shrink: 1.0 - at.lr * self.weight_decay,
            keep_now: now,
            take_now: 1.0 - now,
            keep: later,
            take: 1.0 - later,
        };
        fused_kept::<_, 1>(&numbers, parameter, gradient, kept)
    }
}
