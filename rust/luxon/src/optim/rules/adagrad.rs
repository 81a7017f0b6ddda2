//! Rules that divide by the root of accumulated squares: AdaGrad, RMSProp, AdaDelta; and averaged descent.

use super::{At, Definition, common};
use crate::cpu::optimize::Element;
use crate::cpu::optimize::Field;
use crate::error::Result;
use crate::optim::leaf::{Kept, Slots, Spec, filled_like, zeros_like};
use crate::optim::pass::{fused_kept, numbers};
use crate::optim::settings::{Rate, settings};
use crate::tensor::Tensor;

/// `eps` as it is added inside and outside of the root.
fn inside_and_outside(eps: f64, in_sqrt: bool) -> (f64, f64) {
    if in_sqrt { (eps, 0.0) } else { (0.0, eps) }
}

settings! {
    /// AdaGrad (Duchi et al. 2011), PyTorch's formula.
    AdaGrad {
        /// The learning rate.
        lr: Rate = 1e-2,
        /// The rate is divided by `1 + lr_decay * step`.
        lr_decay: f64 = 0.0,
        /// Decay added to the gradient.
        weight_decay: f64 = 0.0,
        /// What the sums start from.
        initial_accumulator_value: f64 = 0.0,
        /// Added to the root.
        eps: f64 = 1e-10,
        /// Whether `eps` is added inside the root, as Optax does.
        eps_in_sqrt: bool = false,
        /// Whether to climb.
        maximize: bool = false,
    }
}

numbers! {
    /// One step of AdaGrad.
    AdaGradNumbers { lr, weight_decay, inside, outside, } {}
}

impl<T: Field> Element<T, 1> for AdaGradNumbers<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [sum]: [T; 1]) -> (T, [T; 1]) {
        let gradient = gradient + self.weight_decay * parameter;
        let sum = sum + gradient * gradient;
        (parameter - self.lr * gradient / ((sum + self.inside).sqrt() + self.outside), [sum])
    }
}

impl Definition for AdaGrad {
    common!("AdaGrad", maximize);

    fn slots(&self, spec: &Spec) -> Slots {
        filled_like(&["sum"], spec, self.initial_accumulator_value)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let (inside, outside) = inside_and_outside(self.eps, self.eps_in_sqrt);
        let lr = at.lr / (1.0 + (at.step - 1) as f64 * self.lr_decay);
        let numbers = AdaGradNumbers { lr, weight_decay: self.weight_decay, inside, outside };
        fused_kept::<_, 1>(&numbers, parameter, gradient, kept)
    }
}

settings! {
    /// RMSProp (Hinton 2012), PyTorch's formula.
    RmsProp {
        /// The learning rate.
        lr: Rate = 1e-2,
        /// What is kept of the mean square.
        alpha: f64 = 0.99,
        /// Added to the root.
        eps: f64 = 1e-8,
        /// Decay added to the gradient.
        weight_decay: f64 = 0.0,
        /// What is kept of the momentum buffer; 0 for no buffer.
        momentum: f64 = 0.0,
        /// Whether to divide by the standard deviation.
        centered: bool = false,
        /// Whether `eps` is added inside the root, as Optax does.
        eps_in_sqrt: bool = false,
        /// Whether to climb.
        maximize: bool = false,
    }
}

numbers! {
    /// One step of RMSProp.
    RmsPropNumbers { lr, keep, take, inside, outside, weight_decay, momentum, } { centered, }
}

impl<T: Field> RmsPropNumbers<T> {
    #[inline(always)]
    fn decayed(&self, parameter: T, gradient: T) -> T {
        gradient + self.weight_decay * parameter
    }

    #[inline(always)]
    fn mean_square(&self, mean: T, gradient: T) -> T {
        self.keep * mean + self.take * gradient * gradient
    }

    #[inline(always)]
    fn scaled(&self, gradient: T, variance: T) -> T {
        gradient / ((variance + self.inside).sqrt() + self.outside)
    }
}

impl<T: Field> Element<T, 1> for RmsPropNumbers<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [square]: [T; 1]) -> (T, [T; 1]) {
        let gradient = self.decayed(parameter, gradient);
        let square = self.mean_square(square, gradient);
        (parameter - self.lr * self.scaled(gradient, square), [square])
    }
}

impl<T: Field> Element<T, 2> for RmsPropNumbers<T> {
    /// The second slot is the mean gradient where `centered`, else the momentum buffer.
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [square, second]: [T; 2]) -> (T, [T; 2]) {
        let gradient = self.decayed(parameter, gradient);
        let square = self.mean_square(square, gradient);
        if self.centered {
            let mean = second + (gradient - second) * self.take;
            (parameter - self.lr * self.scaled(gradient, square - mean * mean), [square, mean])
        } else {
            let buffer = self.momentum * second + self.scaled(gradient, square);
            (parameter - self.lr * buffer, [square, buffer])
        }
    }
}

impl<T: Field> Element<T, 3> for RmsPropNumbers<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [square, mean, buffer]: [T; 3]) -> (T, [T; 3]) {
        let gradient = self.decayed(parameter, gradient);
        let square = self.mean_square(square, gradient);
        let mean = mean + (gradient - mean) * self.take;
        let buffer = self.momentum * buffer + self.scaled(gradient, square - mean * mean);
        (parameter - self.lr * buffer, [square, mean, buffer])
    }
}

impl Definition for RmsProp {
    common!("RMSProp", maximize);

    fn slots(&self, spec: &Spec) -> Slots {
        let names: &[&str] = match (self.centered, self.momentum > 0.0) {
            (false, false) => &["square_avg"],
            (true, false) => &["square_avg", "grad_avg"],
            (false, true) => &["square_avg", "momentum_buffer"],
            (true, true) => &["square_avg", "grad_avg", "momentum_buffer"],
        };
        zeros_like(names, spec)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let (inside, outside) = inside_and_outside(self.eps, self.eps_in_sqrt);
        let numbers = RmsPropNumbers {
            lr: at.lr,
            keep: self.alpha,
            take: 1.0 - self.alpha,
            inside,
            outside,
            weight_decay: self.weight_decay,
            momentum: self.momentum,
            centered: self.centered,
        };
        match (self.centered, self.momentum > 0.0) {
            (false, false) => fused_kept::<_, 1>(&numbers, parameter, gradient, kept),
            (true, true) => fused_kept::<_, 3>(&numbers, parameter, gradient, kept),
            _ => fused_kept::<_, 2>(&numbers, parameter, gradient, kept),
        }
    }
}

settings! {
    /// AdaDelta (Zeiler 2012), PyTorch's formula.
    AdaDelta {
        /// The learning rate.
        lr: Rate = 1.0,
        /// What is kept of the mean squares.
        rho: f64 = 0.9,
        /// Added inside both roots.
        eps: f64 = 1e-6,
        /// Decay added to the gradient.
        weight_decay: f64 = 0.0,
        /// Whether to climb.
        maximize: bool = false,
    }
}

numbers! {
    /// One step of AdaDelta.
    AdaDeltaNumbers { lr, keep, take, eps, weight_decay, } {}
}

impl<T: Field> Element<T, 2> for AdaDeltaNumbers<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [square, moved]: [T; 2]) -> (T, [T; 2]) {
        let gradient = gradient + self.weight_decay * parameter;
        let square = self.keep * square + self.take * gradient * gradient;
        let delta = (moved + self.eps).sqrt() / (square + self.eps).sqrt() * gradient;
        let moved = self.keep * moved + self.take * delta * delta;
        (parameter - self.lr * delta, [square, moved])
    }
}

impl Definition for AdaDelta {
    common!("AdaDelta", maximize);

    fn slots(&self, spec: &Spec) -> Slots {
        zeros_like(&["square_avg", "acc_delta"], spec)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let (eps, weight_decay) = (self.eps, self.weight_decay);
        let numbers = AdaDeltaNumbers { lr: at.lr, keep: self.rho, take: 1.0 - self.rho, eps, weight_decay };
        fused_kept::<_, 2>(&numbers, parameter, gradient, kept)
    }
}

settings! {
    /// Averaged stochastic gradient descent (Polyak and Juditsky 1992), PyTorch's formula.
    Asgd {
        /// The first learning rate.
        lr: Rate = 1e-2,
        /// Decay of the parameter and of the rate.
        lambd: f64 = 1e-4,
        /// The exponent of the rate's decay.
        alpha: f64 = 0.75,
        /// The step at which averaging begins.
        t0: f64 = 1e6,
        /// Decay added to the gradient.
        weight_decay: f64 = 0.0,
        /// Whether to climb.
        maximize: bool = false,
    }
}

numbers! {
    /// One step of ASGD.
    AsgdNumbers { eta, shrink, mu, weight_decay, } { averaging, }
}

impl<T: Field> Element<T, 1> for AsgdNumbers<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [average]: [T; 1]) -> (T, [T; 1]) {
        let gradient = gradient + self.weight_decay * parameter;
        let parameter = parameter * self.shrink - self.eta * gradient;
        let average = if self.averaging { average + (parameter - average) * self.mu } else { parameter };
        (parameter, [average])
    }
}

impl Definition for Asgd {
    common!("ASGD", maximize);

    fn slots(&self, spec: &Spec) -> Slots {
        zeros_like(&["ax"], spec)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let before = (at.step - 1) as f64;
        // PyTorch keeps both in single precision.
        let single = |value: f64| f64::from(value as f32);
        let eta = single(at.lr / (1.0 + self.lambd * at.lr * before).powf(self.alpha));
        let mu = single(1.0 / (before - self.t0).max(1.0));
        let numbers = AsgdNumbers {
            eta,
            shrink: 1.0 - self.lambd * eta,
            mu,
            weight_decay: self.weight_decay,
            averaging: mu != 1.0,
        };
        fused_kept::<_, 1>(&numbers, parameter, gradient, kept)
    }
}
