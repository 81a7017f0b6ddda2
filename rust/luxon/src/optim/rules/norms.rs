//! Rules that need the length of a whole leaf: Lars, NovoGrad and Fromage.

use super::adam::trust;
use super::{At, Definition, common};
use crate::cpu::optimize::Element;
use crate::cpu::optimize::Field;
use crate::error::Result;
use crate::optim::leaf::{Form, Kept, Slot, Slots, Spec, zeros_like};
use crate::optim::pass::{blend, fused_kept, norm, numbers};
use crate::optim::settings::{Rate, settings};
use crate::tensor::Tensor;

settings! {
    /// Steps as long as the parameter (You et al. 2017), Optax's formula.
    Lars {
        /// The learning rate.
        lr: Rate = 1e-3,
        /// Decay added to the gradient.
        weight_decay: f64 = 0.0,
        /// The length of a step over that of the parameter.
        trust_coefficient: f64 = 1e-3,
        /// Added to the length of the gradient.
        eps: f64 = 0.0,
        /// What is kept of the momentum buffer.
        momentum: f64 = 0.9,
        /// Whether to look ahead along the buffer.
        nesterov: bool = false,
    }
}

numbers! {
    /// A step of momentum whose buffer holds steps, not gradients.
    Momentum { scale, keep, decay, lr, } { nesterov, }
}

impl<T: Field> Element<T, 1> for Momentum<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [buffer]: [T; 1]) -> (T, [T; 1]) {
        let step = self.scale * gradient + self.decay * parameter;
        let buffer = step + self.keep * buffer;
        let step = if self.nesterov { step + self.keep * buffer } else { buffer };
        (parameter - self.lr * step, [buffer])
    }
}

impl Definition for Lars {
    common!("Lars");

    fn slots(&self, spec: &Spec) -> Slots {
        zeros_like(&["momentum_buffer"], spec)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let decayed = if self.weight_decay == 0.0 {
            gradient.clone()
        } else {
            blend(self.weight_decay, parameter.clone(), 1.0, gradient)?
        };
        let ratio = trust(norm(&parameter)?, norm(&decayed)?, self.trust_coefficient, self.eps);
        let scale = at.lr * ratio;
        let numbers = Momentum { scale, keep: self.momentum, decay: 0.0, lr: 1.0, nesterov: self.nesterov };
        fused_kept::<_, 1>(&numbers, parameter, &decayed, kept)
    }
}

settings! {
    /// Gradients divided by their length (Ginsburg et al. 2019), Optax's formula.
    NovoGrad {
        /// The learning rate.
        lr: Rate = 1e-3,
        /// Decay rates of the moment and of the squared length.
        betas: (f64, f64) = (0.9, 0.25),
        /// Added to the length.
        eps: f64 = 1e-6,
        /// Added to the squared length.
        eps_root: f64 = 0.0,
        /// Decay added to the scaled gradient.
        weight_decay: f64 = 0.0,
    }
}

impl Definition for NovoGrad {
    common!("NovoGrad");

    fn slots(&self, spec: &Spec) -> Slots {
        let mut slots = zeros_like(&["exp_avg"], spec);
        slots.push(Slot { name: "norm_avg_sq", form: Form::Number(0.0) });
        slots
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, mut kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let before = kept.pop().map_or(0.0, |kept| kept.number());
        let square = norm(gradient)?.powi(2);
        let (keep, beta) = self.betas;
        let average = if at.step == 1 { square } else { beta * before + (1.0 - beta) * square };
        let scale = 1.0 / ((average + self.eps_root).sqrt() + self.eps);
        let numbers = Momentum { scale, keep, decay: self.weight_decay, lr: at.lr, nesterov: false };
        let (parameter, mut kept) = fused_kept::<_, 1>(&numbers, parameter, gradient, kept)?;
        kept.push(Kept::Number(average));
        Ok((parameter, kept))
    }
}

settings! {
    /// Steps as long as the parameter, without growth (Bernstein et al. 2020), Optax's formula.
    Fromage {
        /// The learning rate.
        lr: Rate = 1e-2,
        /// Shorter parameters and gradients count as this long.
        min_norm: f64 = 1e-6,
    }
}

impl Definition for Fromage {
    common!("Fromage");

    fn slots(&self, _spec: &Spec) -> Slots {
        Slots::new()
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let shrink = 1.0 / (1.0 + at.lr * at.lr).sqrt();
        // A NaN length stays one.
        let at_least = |length: f64| if length <= self.min_norm { self.min_norm } else { length };
        let ratio = trust(at_least(norm(&parameter)?), at_least(norm(gradient)?), 1.0, 0.0);
        Ok((blend(shrink, parameter, -shrink * at.lr * ratio, gradient)?, kept))
    }
}
