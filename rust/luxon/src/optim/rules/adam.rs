//! Adam and its relatives: a first moment over the root of a second.
//!
//! One expression, [`Moments`], serves Adam, AdamW, NAdam, RAdam, AMSGrad, AdaBelief, Yogi and Lamb: they differ
//! in the second moment (a const parameter) and in the numbers of a step.

use super::{At, Definition, common};
use crate::cpu::optimize::Element;
use crate::cpu::optimize::Field;
use crate::error::Result;
use crate::optim::leaf::{Form, Kept, Slot, Slots, Spec, filled_like, zeros_like};
use crate::optim::pass::{Numbers, blend, fused_kept, norm, numbers};
use crate::optim::settings::{Rate, settings};
use crate::tensor::Tensor;

const FIRST: &str = "exp_avg";
const SECOND: &str = "exp_avg_sq";
const LARGEST: &str = "max_exp_avg_sq";

/// The mean of squared gradients.
const SQUARE: u8 = 0;
/// The mean of squared distances from the first moment.
const BELIEF: u8 = 1;
/// Yogi's additive change towards the squared gradient.
const YOGI: u8 = 2;

/// The numbers of one step: with the first moment `m` and the second `v`, of which `inner * v` may first be
/// replaced by the largest so far, the parameter becomes
/// `shrink * p - (m_step * m + g_step * g) / (sqrt(outer * v + eps_root) * root + eps)`.
#[derive(Clone, Copy, Debug)]
struct Moments<T, const KIND: u8> {
    take_first: T,
    keep_second: T,
    take_second: T,
    /// Added to the second moment itself.
    add_second: T,
    m_step: T,
    g_step: T,
    inner: T,
    outer: T,
    eps_root: T,
    root: T,
    eps: T,
    /// Decay added to the gradient.
    weight_decay: T,
    shrink: T,
    /// Whether the gradient itself takes part in the step.
    nesterov: bool,
}

impl<const KIND: u8> Numbers for Moments<f64, KIND> {
    type At<T: Field> = Moments<T, KIND>;

    fn at<T: Field>(&self) -> Moments<T, KIND> {
        Moments {
            take_first: T::from_f64(self.take_first),
            keep_second: T::from_f64(self.keep_second),
            take_second: T::from_f64(self.take_second),
            add_second: T::from_f64(self.add_second),
            m_step: T::from_f64(self.m_step),
            g_step: T::from_f64(self.g_step),
            inner: T::from_f64(self.inner),
            outer: T::from_f64(self.outer),
            eps_root: T::from_f64(self.eps_root),
            root: T::from_f64(self.root),
            eps: T::from_f64(self.eps),
            weight_decay: T::from_f64(self.weight_decay),
            shrink: T::from_f64(self.shrink),
            nesterov: self.nesterov,
        }
    }
}

impl<const KIND: u8> Moments<f64, KIND> {
    /// Adam's step: both moments corrected for their start at 0, and with `nesterov` the first one a step ahead.
    fn corrected(at: At, betas: (f64, f64), eps: f64, nesterov: bool) -> Self {
        let now = at.correction(betas.0, 0);
        Moments {
            take_first: 1.0 - betas.0,
            keep_second: betas.1,
            take_second: 1.0 - betas.1,
            add_second: 0.0,
            m_step: if nesterov { at.lr * betas.0 / at.correction(betas.0, 1) } else { at.lr / now },
            g_step: if nesterov { at.lr * (1.0 - betas.0) / now } else { 0.0 },
            inner: 1.0,
            outer: 1.0 / at.correction(betas.1, 0),
            eps_root: 0.0,
            root: 1.0,
            eps,
            weight_decay: 0.0,
            shrink: 1.0,
            nesterov,
        }
    }

    /// The same with weight decay, added to the gradient or shrinking the parameter.
    fn decayed(self, lr: f64, weight_decay: f64, decoupled: bool) -> Self {
        if decoupled { Moments { shrink: 1.0 - lr * weight_decay, ..self } } else { Moments { weight_decay, ..self } }
    }
}

impl<T: Field, const KIND: u8> Moments<T, KIND> {
    #[inline(always)]
    fn moments(&self, gradient: T, first: T, second: T) -> (T, T) {
        let first = first + (gradient - first) * self.take_first;
        let second = match KIND {
            BELIEF => {
                let surprise = gradient - first;
                self.keep_second * second + self.take_second * surprise * surprise + self.add_second
            }
            YOGI => {
                let square = gradient * gradient;
                let up = if second < square { self.take_second } else { T::ZERO };
                let change = if second > square { -self.take_second } else { up };
                second + change * square
            }
            _ => self.keep_second * second + self.take_second * gradient * gradient,
        };
        (first, second)
    }

    #[inline(always)]
    fn step(&self, parameter: T, gradient: T, first: T, second: T) -> T {
        let along = self.m_step * first;
        let along = if self.nesterov { along + self.g_step * gradient } else { along };
        parameter * self.shrink - along / ((second * self.outer + self.eps_root).sqrt() * self.root + self.eps)
    }
}

impl<T: Field, const KIND: u8> Element<T, 2> for Moments<T, KIND> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [first, second]: [T; 2]) -> (T, [T; 2]) {
        let gradient = gradient + self.weight_decay * parameter;
        let (first, second) = self.moments(gradient, first, second);
        (self.step(parameter, gradient, first, second), [first, second])
    }
}

impl<T: Field, const KIND: u8> Element<T, 3> for Moments<T, KIND> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [first, second, largest]: [T; 3]) -> (T, [T; 3]) {
        let gradient = gradient + self.weight_decay * parameter;
        let (first, second) = self.moments(gradient, first, second);
        let candidate = second * self.inner;
        // The comparison keeps a NaN of `second`.
        let largest = if largest > candidate { largest } else { candidate };
        (self.step(parameter, gradient, first, largest), [first, second, largest])
    }
}

settings! {
    /// Adam (Kingma and Ba 2015), PyTorch's formula; `nesterov` and `eps_root` are Optax's.
    Adam {
        /// The learning rate.
        lr: Rate = 1e-3,
        /// Decay rates of the two moments.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root.
        eps: f64 = 1e-8,
        /// Decay added to the gradient.
        weight_decay: f64 = 0.0,
        /// Whether to divide by the largest second moment so far.
        amsgrad: bool = false,
        /// Whether to look a step ahead (Dozat 2016).
        nesterov: bool = false,
        /// Added inside the root.
        eps_root: f64 = 0.0,
        /// Whether to climb.
        maximize: bool = false,
    }
}

settings! {
    /// Adam with decay that shrinks the parameter (Loshchilov and Hutter 2019), PyTorch's formula.
    AdamW {
        /// The learning rate.
        lr: Rate = 1e-3,
        /// Decay rates of the two moments.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root.
        eps: f64 = 1e-8,
        /// Decay that shrinks the parameter.
        weight_decay: f64 = 1e-2,
        /// Whether to divide by the largest second moment so far.
        amsgrad: bool = false,
        /// Whether to look a step ahead (Dozat 2016).
        nesterov: bool = false,
        /// Added inside the root.
        eps_root: f64 = 0.0,
        /// Whether to climb.
        maximize: bool = false,
    }
}

macro_rules! adam {
    ($rule:ident, $name:literal, $decoupled:literal) => {
        impl Definition for $rule {
            common!($name, maximize);

            fn slots(&self, spec: &Spec) -> Slots {
                zeros_like(if self.amsgrad { &[FIRST, SECOND, LARGEST] } else { &[FIRST, SECOND] }, spec)
            }

            fn update(
                &self,
                at: At,
                parameter: Tensor,
                gradient: &Tensor,
                kept: Vec<Kept>,
            ) -> Result<(Tensor, Vec<Kept>)> {
                let numbers = Moments::<f64, SQUARE>::corrected(at, self.betas, self.eps, self.nesterov);
                let numbers = Moments { eps_root: self.eps_root, ..numbers };
                let numbers = numbers.decayed(at.lr, self.weight_decay, $decoupled);
                if self.amsgrad {
                    fused_kept::<_, 3>(&numbers, parameter, gradient, kept)
                } else {
                    fused_kept::<_, 2>(&numbers, parameter, gradient, kept)
                }
            }
        }
    };
}

adam!(Adam, "Adam", false);
adam!(AdamW, "AdamW", true);

settings! {
    /// Adam over the largest corrected second moment (Reddi et al. 2018), Optax's formula.
    AmsGrad {
        /// The learning rate.
        lr: Rate = 1e-3,
        /// Decay rates of the two moments.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root.
        eps: f64 = 1e-8,
        /// Added inside the root.
        eps_root: f64 = 0.0,
        /// Whether the first moment is corrected for its start at 0.
        bias_correction_mu: bool = true,
        /// Whether the second moment is corrected for its start at 0.
        bias_correction_nu: bool = true,
    }
}

impl Definition for AmsGrad {
    common!("AMSGrad");

    fn slots(&self, spec: &Spec) -> Slots {
        zeros_like(&[FIRST, SECOND, LARGEST], spec)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let numbers = Moments::<f64, SQUARE>::corrected(at, self.betas, self.eps, false);
        let numbers = Moments {
            m_step: if self.bias_correction_mu { numbers.m_step } else { at.lr },
            inner: if self.bias_correction_nu { numbers.outer } else { 1.0 },
            outer: 1.0,
            eps_root: self.eps_root,
            ..numbers
        };
        fused_kept::<_, 3>(&numbers, parameter, gradient, kept)
    }
}

settings! {
    /// Adam with Nesterov's momentum (Dozat 2016), PyTorch's formula.
    NAdam {
        /// The learning rate.
        lr: Rate = 2e-3,
        /// Decay rates of the two moments.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root.
        eps: f64 = 1e-8,
        /// Weight decay.
        weight_decay: f64 = 0.0,
        /// How fast the momentum grows to its full size.
        momentum_decay: f64 = 4e-3,
        /// Whether decay shrinks the parameter.
        decoupled_weight_decay: bool = false,
        /// Whether to climb.
        maximize: bool = false,
    }
}

impl Definition for NAdam {
    common!("NAdam", maximize);

    fn slots(&self, spec: &Spec) -> Slots {
        let mut slots = zeros_like(&[FIRST, SECOND], spec);
        slots.push(Slot { name: "mu_product", form: Form::Number(1.0) });
        slots
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, mut kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let before = kept.pop().map_or(1.0, |kept| kept.number());
        let momentum = |step: f64| self.betas.0 * (1.0 - 0.5 * 0.96f64.powf(step * self.momentum_decay));
        let (now, next) = (momentum(at.step as f64), momentum((at.step + 1) as f64));
        // PyTorch keeps the product in single precision.
        let product = f64::from(before as f32 * now as f32);
        let numbers = Moments::<f64, SQUARE>::corrected(at, self.betas, self.eps, true);
        let numbers = Moments {
            m_step: at.lr * next / (1.0 - product * next),
            g_step: at.lr * (1.0 - now) / (1.0 - product),
            ..numbers
        };
        let numbers = numbers.decayed(at.lr, self.weight_decay, self.decoupled_weight_decay);
        let (parameter, mut kept) = fused_kept::<_, 2>(&numbers, parameter, gradient, kept)?;
        kept.push(Kept::Number(product));
        Ok((parameter, kept))
    }
}

settings! {
    /// Rectified Adam (Liu et al. 2020), PyTorch's formula.
    RAdam {
        /// The learning rate.
        lr: Rate = 1e-3,
        /// Decay rates of the two moments.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root.
        eps: f64 = 1e-8,
        /// Weight decay.
        weight_decay: f64 = 0.0,
        /// Whether decay shrinks the parameter.
        decoupled_weight_decay: bool = false,
        /// Whether `eps` is added to the corrected root, as Optax does, instead of the root itself.
        corrected_eps: bool = false,
        /// Whether to look a step ahead (Dozat 2016).
        nesterov: bool = false,
        /// Above this length of the average the variance is trusted.
        threshold: f64 = 5.0,
        /// Whether to climb.
        maximize: bool = false,
    }
}

impl Definition for RAdam {
    common!("RAdam", maximize);

    fn slots(&self, spec: &Spec) -> Slots {
        zeros_like(&[FIRST, SECOND], spec)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let correction = at.correction(self.betas.1, 0);
        let longest = 2.0 / (1.0 - self.betas.1) - 1.0;
        let length = longest - 2.0 * at.step as f64 * self.betas.1.powi(at.power()) / correction;
        let numbers = Moments::<f64, SQUARE>::corrected(at, self.betas, self.eps, self.nesterov);
        let numbers = if length > self.threshold {
            let rectified =
                ((length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)).sqrt();
            let (outer, factor) =
                if self.corrected_eps { (1.0 / correction, rectified) } else { (1.0, rectified * correction.sqrt()) };
            Moments { outer, m_step: numbers.m_step * factor, g_step: numbers.g_step * factor, ..numbers }
        } else {
            Moments { root: 0.0, eps: 1.0, ..numbers }
        };
        let numbers = numbers.decayed(at.lr, self.weight_decay, self.decoupled_weight_decay);
        fused_kept::<_, 2>(&numbers, parameter, gradient, kept)
    }
}

settings! {
    /// Adam by belief in the gradient (Zhuang et al. 2020), Optax's formula.
    AdaBelief {
        /// The learning rate.
        lr: Rate = 1e-3,
        /// Decay rates of the two moments.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root.
        eps: f64 = 1e-16,
        /// Added to the second moment at each step.
        eps_root: f64 = 1e-16,
        /// Whether to look a step ahead (Dozat 2016).
        nesterov: bool = false,
    }
}

impl Definition for AdaBelief {
    common!("AdaBelief");

    fn slots(&self, spec: &Spec) -> Slots {
        zeros_like(&[FIRST, SECOND], spec)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let numbers = Moments::<f64, BELIEF>::corrected(at, self.betas, self.eps, self.nesterov);
        fused_kept::<_, 2>(&Moments { add_second: self.eps_root, ..numbers }, parameter, gradient, kept)
    }
}

settings! {
    /// Yogi (Zaheer et al. 2018), Optax's formula.
    Yogi {
        /// The learning rate.
        lr: Rate = 1e-2,
        /// Decay rates of the two moments.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root.
        eps: f64 = 1e-3,
        /// Added inside the root.
        eps_root: f64 = 0.0,
        /// What both moments start from.
        initial_accumulator_value: f64 = 1e-6,
    }
}

impl Definition for Yogi {
    common!("Yogi");

    fn slots(&self, spec: &Spec) -> Slots {
        filled_like(&[FIRST, SECOND], spec, self.initial_accumulator_value)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let numbers = Moments::<f64, YOGI>::corrected(at, self.betas, self.eps, false);
        fused_kept::<_, 2>(&Moments { eps_root: self.eps_root, ..numbers }, parameter, gradient, kept)
    }
}

settings! {
    /// Adam's step, as long as the parameter (You et al. 2020), Optax's formula.
    Lamb {
        /// The learning rate.
        lr: Rate = 1e-3,
        /// Decay rates of the two moments.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root.
        eps: f64 = 1e-6,
        /// Added inside the root.
        eps_root: f64 = 0.0,
        /// Decay added to the step before it is scaled.
        weight_decay: f64 = 0.0,
    }
}

impl Definition for Lamb {
    common!("Lamb");

    fn slots(&self, spec: &Spec) -> Slots {
        zeros_like(&[FIRST, SECOND], spec)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        // A rate of -1 and a parameter shrunk to its decay leave the direction where the parameter would be.
        let numbers = Moments::<f64, SQUARE>::corrected(At { lr: -1.0, ..at }, self.betas, self.eps, false);
        let numbers = Moments { eps_root: self.eps_root, shrink: self.weight_decay, ..numbers };
        let (direction, kept) = fused_kept::<_, 2>(&numbers, parameter.clone(), gradient, kept)?;
        let ratio = trust(norm(&parameter)?, norm(&direction)?, 1.0, 0.0);
        Ok((blend(1.0, parameter, -at.lr * ratio, &direction)?, kept))
    }
}

/// The length of a parameter over that of its step; 1 where either is 0.
pub(super) fn trust(parameter: f64, step: f64, coefficient: f64, eps: f64) -> f64 {
    if parameter == 0.0 || step == 0.0 { 1.0 } else { coefficient * parameter / (step + eps) }
}

settings! {
    /// Adam over the largest gradient (Kingma and Ba 2015), PyTorch's formula.
    AdaMax {
        /// The learning rate.
        lr: Rate = 2e-3,
        /// Decay rates of the moment and of the maximum.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the magnitude of the gradient.
        eps: f64 = 1e-8,
        /// Decay added to the gradient.
        weight_decay: f64 = 0.0,
        /// Whether to climb.
        maximize: bool = false,
    }
}

numbers! {
    /// One step of AdaMax.
    AdaMaxNumbers { step, take, keep_largest, eps, weight_decay, } {}
}

impl<T: Field> Element<T, 2> for AdaMaxNumbers<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [first, largest]: [T; 2]) -> (T, [T; 2]) {
        let gradient = gradient + self.weight_decay * parameter;
        let first = first + (gradient - first) * self.take;
        let (faded, size) = (self.keep_largest * largest, gradient.abs() + self.eps);
        // The comparison keeps a NaN of the gradient.
        let largest = if faded > size { faded } else { size };
        (parameter - self.step * first / largest, [first, largest])
    }
}

impl Definition for AdaMax {
    common!("AdaMax", maximize);

    fn slots(&self, spec: &Spec) -> Slots {
        zeros_like(&[FIRST, "exp_inf"], spec)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let numbers = AdaMaxNumbers {
            step: at.lr / at.correction(self.betas.0, 0),
            take: 1.0 - self.betas.0,
            keep_largest: self.betas.1,
            eps: self.eps,
            weight_decay: self.weight_decay,
        };
        fused_kept::<_, 2>(&numbers, parameter, gradient, kept)
    }
}

settings! {
    /// Optimistic Adam (Daskalakis et al. 2018), Optax's formula.
    OAdam {
        /// The learning rate.
        lr: Rate = 1e-3,
        /// Decay rates of the two moments.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root.
        eps: f64 = 1e-8,
        /// The weight of the step.
        alpha: f64 = 1.0,
        /// The weight of the difference from the step before.
        beta: f64 = 1.0,
        /// Added inside the root.
        eps_root: f64 = 0.0,
        /// Whether to look a step ahead (Dozat 2016).
        nesterov: bool = true,
    }
}

#[derive(Clone, Copy, Debug)]
struct Optimistic<T> {
    adam: Moments<T, SQUARE>,
    lr: T,
    now: T,
    before: T,
}

impl Numbers for Optimistic<f64> {
    type At<T: Field> = Optimistic<T>;

    fn at<T: Field>(&self) -> Optimistic<T> {
        let (lr, now, before) = (T::from_f64(self.lr), T::from_f64(self.now), T::from_f64(self.before));
        Optimistic { adam: self.adam.at(), lr, now, before }
    }
}

impl<T: Field> Element<T, 3> for Optimistic<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, [first, second, previous]: [T; 3]) -> (T, [T; 3]) {
        let (direction, [first, second]) = self.adam.element(T::ZERO, gradient, [first, second]);
        (parameter - self.lr * (self.now * direction - self.before * previous), [first, second, direction])
    }
}

impl Definition for OAdam {
    common!("OAdam");

    fn slots(&self, spec: &Spec) -> Slots {
        zeros_like(&[FIRST, SECOND, "previous"], spec)
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let adam = Moments::corrected(At { lr: -1.0, ..at }, self.betas, self.eps, self.nesterov);
        let adam = Moments { eps_root: self.eps_root, ..adam };
        // The first step has no predecessor and is its own.
        let (now, before) = if at.step == 1 { (self.alpha, 0.0) } else { (self.alpha + self.beta, self.beta) };
        fused_kept::<_, 3>(&Optimistic { adam, lr: at.lr, now, before }, parameter, gradient, kept)
    }
}
