//! Optimiser rules over tensors.
//!
//! A [`Rule`] is an immutable value; [`Rule::update`] takes a parameter, its gradient and its state, and
//! gives the new parameter and state, in one pass over the leaf. What it is given by value and nobody
//! else holds is overwritten, so a training loop that moves its state through needs no second copy.
//! Formulas, names and defaults are PyTorch's.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::buffer::Storage;
use crate::cpu::optimize::{Adam, Leaf, Sgd, update};
use crate::cpu::real::Real;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::show;
use crate::tensor::{Tensor, Value};

/// How parameters follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd {
        /// The learning rate.
        lr: f64,
        /// What is kept of the momentum buffer; 0 for no buffer.
        momentum: f64,
        /// What of the gradient does not enter the buffer.
        dampening: f64,
        /// Decay added to the gradient.
        weight_decay: f64,
        /// Whether to look ahead along the buffer.
        nesterov: bool,
    },
    /// Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019).
    Adam {
        /// The learning rate.
        lr: f64,
        /// Decay rates of the two moments.
        betas: (f64, f64),
        /// Added to the root of the second moment.
        eps: f64,
        /// Weight decay.
        weight_decay: f64,
        /// Whether decay shrinks the parameter (AdamW) or is added to the gradient (Adam).
        decoupled: bool,
        /// Whether to divide by the largest second moment so far.
        amsgrad: bool,
    },
}

/// What a rule keeps of one leaf between steps.
#[derive(Clone, Debug)]
pub struct State {
    /// Updates of this leaf so far.
    pub step: u64,
    /// Tensors of the leaf's shape, in the order of [`Rule::slots`].
    pub slots: Vec<Tensor>,
}

impl Rule {
    /// The names of the tensors that the rule keeps per leaf, those of PyTorch.
    pub fn slots(&self) -> &'static [&'static str] {
        match self {
            Rule::Sgd { momentum, .. } if *momentum == 0.0 => &[],
            Rule::Sgd { .. } => &["momentum_buffer"],
            Rule::Adam { amsgrad: false, .. } => &["exp_avg", "exp_avg_sq"],
            Rule::Adam { amsgrad: true, .. } => &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
        }
    }

    /// The state before the first step.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn start(&self, parameter: &Tensor) -> Result<State> {
        let slots = self.slots().iter().map(|_| parameter.detach().zeros_like()).collect::<Result<_>>()?;
        Ok(State { step: 0, slots })
    }

    /// The parameter and its state after one step.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Type`] where the gradient or the state do not fit the parameter.
    pub fn update(&self, parameter: Tensor, gradient: &Tensor, state: State) -> Result<(Tensor, State)> {
        let fits = |tensor: &Tensor| tensor.shape() == parameter.shape() && tensor.dtype() == parameter.dtype();
        if !fits(gradient) || !state.slots.iter().all(fits) {
            return Err(Error::shape(
                "optim",
                format_args!(
                    "a gradient of shape {} and dtype {} (or its state) does not fit a parameter of shape {} and dtype {}",
                    show(gradient.shape()),
                    gradient.dtype(),
                    show(parameter.shape()),
                    parameter.dtype()
                ),
            ));
        }
        if state.slots.len() != self.slots().len() {
            return Err(Error::value(
                "optim",
                format_args!("the state has {} tensors, the rule keeps {}", state.slots.len(), self.slots().len()),
            ));
        }
        match parameter.dtype() {
            DType::F32 => self.run::<f32>(parameter, gradient, state),
            DType::F64 => self.run::<f64>(parameter, gradient, state),
            dtype if dtype.is_half() => {
                // Half types keep their state in half as well; the arithmetic is in f32.
                let widen = |tensor: &Tensor| tensor.detach().cast(DType::F32);
                let slots = state.slots.iter().map(widen).collect::<Result<_>>()?;
                let wide = State { step: state.step, slots };
                let (new, state) = self.run::<f32>(widen(&parameter)?, &widen(gradient)?, wide)?;
                let slots = state.slots.iter().map(|slot| slot.cast(dtype)).collect::<Result<_>>()?;
                Ok((new.cast(dtype)?, State { step: state.step, slots }))
            }
            dtype => Err(Error::unsupported("optim", dtype, "floating types; integer leaves are not trained")),
        }
    }

    fn run<T: Real>(&self, parameter: Tensor, gradient: &Tensor, state: State) -> Result<(Tensor, State)> {
        let step = state.step + 1;
        match *self {
            Rule::Sgd { lr, momentum, dampening, weight_decay, nesterov } => {
                let rule = Sgd::<T>::new(lr, momentum, dampening, weight_decay, nesterov, step == 1);
                if self.slots().is_empty() {
                    pass::<T, Sgd<T>, 0>(&rule, parameter, gradient, state.slots, step)
                } else {
                    pass::<T, Sgd<T>, 1>(&rule, parameter, gradient, state.slots, step)
                }
            }
            Rule::Adam { lr, betas, eps, weight_decay, decoupled, amsgrad } => {
                let power = i32::try_from(step).unwrap_or(i32::MAX);
                let corrections = (1.0 - betas.0.powi(power), 1.0 - betas.1.powi(power));
                let rule = Adam::<T>::new(lr, betas, eps, weight_decay, decoupled, corrections);
                if amsgrad {
                    pass::<T, Adam<T>, 3>(&rule, parameter, gradient, state.slots, step)
                } else {
                    pass::<T, Adam<T>, 2>(&rule, parameter, gradient, state.slots, step)
                }
            }
        }
    }
}

/// A source and where its successor goes: the same memory where nobody else sees it.
fn destination(tensor: Tensor) -> Result<(Arc<Value>, Value)> {
    let source = match Arc::try_unwrap(tensor.value) {
        Ok(value) => {
            let mut value = if value.is_contiguous() { value } else { value.to_contiguous()? };
            if value.is_unique() && !matches!(value.storage(), Storage::Inline(_)) {
                return Ok((Arc::new(value.view(*value.layout())), value));
            }
            Arc::new(value)
        }
        Err(shared) if shared.is_contiguous() => shared,
        Err(shared) => Arc::new(shared.to_contiguous()?),
    };
    let fresh = Value::empty(source.dtype(), source.shape())?;
    Ok((source, fresh))
}

fn pass<T: Real, R: crate::cpu::optimize::Rule<T, SLOTS>, const SLOTS: usize>(
    rule: &R,
    parameter: Tensor,
    gradient: &Tensor,
    slots: Vec<Tensor>,
    step: u64,
) -> Result<(Tensor, State)> {
    let copy;
    let gradient = if gradient.value().is_contiguous() {
        &**gradient.value()
    } else {
        copy = gradient.value().to_contiguous()?;
        &copy
    };
    let (parameter, mut new_parameter) = destination(parameter)?;
    let mut kept: SmallVec<[(Arc<Value>, Value); 3]> = SmallVec::new();
    for slot in slots {
        kept.push(destination(slot)?);
    }
    let mut leaf = Leaf::<T, SLOTS> {
        parameter: parameter.pointer().cast(),
        gradient: gradient.pointer().cast(),
        state: [std::ptr::null(); SLOTS],
        new_parameter: new_parameter.pointer_mut().cast(),
        new_state: [std::ptr::null_mut(); SLOTS],
        length: parameter.count(),
    };
    for (index, (old, new)) in kept.iter_mut().enumerate() {
        leaf.state[index] = old.pointer().cast();
        leaf.new_state[index] = new.pointer_mut().cast();
    }
    // SAFETY: every value is contiguous, of this type and count; a destination is its own source or fresh.
    unsafe { update(rule, &leaf) };
    Ok((new_parameter.into(), State { step, slots: kept.into_iter().map(|(_, new)| Tensor::from(new)).collect() }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn moved_state_is_overwritten_and_shared_state_is_not() {
        let rule =
            Rule::Adam { lr: 0.1, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, decoupled: false, amsgrad: false };
        let p = Tensor::ones(&[100], DType::F32).unwrap();
        let g = Tensor::full(&[100], 0.5, DType::F32).unwrap();
        let address = p.value().pointer();
        let state = rule.start(&p).unwrap();
        let kept = p.clone();
        let (q, state) = rule.update(p, &g, state).unwrap();
        assert_ne!(q.value().pointer(), address);
        assert_eq!(kept.to_vec::<f32>().unwrap(), [1.0; 100]);
        assert!((q.to_vec::<f32>().unwrap()[3] - 0.9).abs() < 1e-6);
        let address = q.value().pointer();
        let (r, state) = rule.update(q, &g, state).unwrap();
        assert_eq!(r.value().pointer(), address);
        assert_eq!(state.step, 2);
        assert!(rule.update(r, &Tensor::ones(&[3], DType::F32).unwrap(), state).is_err());
    }
}
