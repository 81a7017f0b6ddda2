//! Stochastic gradient descent with momentum.

use super::{At, Definition, common};
use crate::cpu::optimize::Element;
use crate::cpu::optimize::Field;
use crate::error::{Error, Result};
use crate::optim::leaf::{Kept, Slots, Spec, zeros_like};
use crate::optim::pass::{fused_kept, numbers};
use crate::optim::settings::{Rate, settings};
use crate::tensor::Tensor;

settings! {
    /// Stochastic gradient descent, PyTorch's formula.
    Sgd {
        /// The learning rate.
        lr: Rate = 1e-3,
        /// What is kept of the momentum buffer; 0 for no buffer.
        momentum: f64 = 0.0,
        /// What of the gradient does not enter the buffer.
        dampening: f64 = 0.0,
        /// Decay added to the gradient.
        weight_decay: f64 = 0.0,
        /// Whether to look ahead along the buffer.
        nesterov: bool = false,
        /// Whether to climb.
        maximize: bool = false,
    }
}

numbers! {
    /// One step; the first one keeps nothing of the buffer and takes the gradient undamped.
    Numbers { lr, momentum, keep, take, weight_decay, } { nesterov, }
}

impl<T: Field> Element<T, 0> for Numbers<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, _state: [T; 0]) -> (T, [T; 0]) {
        let gradient = gradient + self.weight_decay * parameter;
        (parameter - self.lr * gradient, [])
    }
}

impl<T: Field> Element<T, 1> for Numbers<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [buffer]: [T; 1]) -> (T, [T; 1]) {
        let gradient = gradient + self.weight_decay * parameter;
        let buffer = self.keep * buffer + self.take * gradient;
        let step = if self.nesterov { gradient + self.momentum * buffer } else { buffer };
        (parameter - self.lr * step, [buffer])
    }
}

impl Definition for Sgd {
    common!("SGD", maximize);

    fn slots(&self, spec: &Spec) -> Slots {
        if self.momentum == 0.0 { Slots::new() } else { zeros_like(&["momentum_buffer"], spec) }
    }

    fn check(&self) -> Result<()> {
        if self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0) {
            return Err(Error::value("SGD", "nesterov needs a momentum and no dampening"));
        }
        Ok(())
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let first = at.step == 1;
        let numbers = Numbers {
            lr: at.lr,
            momentum: self.momentum,
            keep: if first { 0.0 } else { self.momentum },
            take: if first { 1.0 } else { 1.0 - self.dampening },
            weight_decay: self.weight_decay,
            nesterov: self.nesterov,
        };
        if self.momentum == 0.0 {
            fused_kept::<_, 0>(&numbers, parameter, gradient, kept)
        } else {
            fused_kept::<_, 1>(&numbers, parameter, gradient, kept)
        }
    }
}
