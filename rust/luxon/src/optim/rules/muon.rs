//! Muon (Jordan et al. 2024): momentum made orthogonal by a Newton-Schulz iteration, PyTorch's formula.
//!
//! The iteration runs in the working precision of the leaf, where PyTorch rounds to bfloat16: the result is
//! nearer to the definition, and reproducible on every machine.

use super::{At, Definition, common};
use crate::error::{Error, Result};
use crate::layout::show;
use crate::op::matmul::matmul;
use crate::optim::leaf::{Kept, Slots, Spec, zeros_like};
use crate::optim::pass::{blend, norm, working};
use crate::optim::settings::{Rate, settings};
use crate::tensor::Tensor;

settings! {
    /// Momentum made orthogonal; for matrices only.
    Muon {
        /// The learning rate.
        lr: Rate = 1e-3,
        /// Decay that shrinks the parameter.
        weight_decay: f64 = 0.1,
        /// What is kept of the momentum.
        momentum: f64 = 0.95,
        /// Whether to look ahead along the momentum.
        nesterov: bool = true,
        /// The coefficients of the iteration's polynomial.
        ns_coefficients: (f64, f64, f64) = (3.4445, -4.775, 2.0315),
        /// The least length that a momentum is divided by.
        eps: f64 = 1e-7,
        /// Steps of the iteration.
        ns_steps: u64 = 5u64,
        /// How the rate depends on the shape: "original" (the default), "match_rms_adamw", "spectral_unclamped".
        adjust_lr_fn: Option<String> = None::<String>,
    }
}

impl Muon {
    /// A matrix with the singular vectors of this one and singular values near 1.
    fn orthogonal(&self, matrix: &Tensor) -> Result<Tensor> {
        let (a, b, c) = self.ns_coefficients;
        let tall = matrix.shape()[0] > matrix.shape()[1];
        let mut x = if tall { matrix.matrix_transpose()? } else { matrix.clone() };
        x = x.div(norm(&x)?.max(self.eps))?;
        for _ in 0..self.ns_steps {
            let gram = matmul(&x, &x.matrix_transpose()?)?;
            let square = matmul(&gram, &gram)?;
            let change = blend(b, gram, c, &square)?;
            let next = matmul(&change, &x)?;
            x = blend(a, x, 1.0, &next)?;
        }
        if tall { x.matrix_transpose() } else { Ok(x) }
    }
}

impl Definition for Muon {
    common!("Muon");

    fn slots(&self, spec: &Spec) -> Slots {
        zeros_like(&["momentum_buffer"], spec)
    }

    fn can_fail(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        match self.adjust_lr_fn.as_deref() {
            None | Some("original" | "match_rms_adamw" | "spectral_unclamped") => Ok(()),
            Some(other) => Err(Error::value(
                "Muon",
                format_args!(
                    "adjust_lr_fn is \"original\", \"match_rms_adamw\" or \"spectral_unclamped\", got {other:?}"
                ),
            )),
        }
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, mut kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        if parameter.rank() != 2 {
            return Err(Error::value(
                "Muon",
                format_args!(
                    "trains matrices only, got a parameter of shape {}; give the others another rule with \
                     optim.partition",
                    show(parameter.shape())
                ),
            ));
        }
        let buffer = kept.pop().unwrap_or(Kept::Nothing).tensor()?;
        let buffer = blend(self.momentum, buffer, 1.0 - self.momentum, gradient)?;
        let ahead = if self.nesterov {
            blend(self.momentum, buffer.clone(), 1.0 - self.momentum, gradient)?
        } else {
            buffer.clone()
        };
        let direction = self.orthogonal(&ahead.cast(working(parameter.dtype()))?)?.cast(parameter.dtype())?;
        let (rows, columns) = (parameter.shape()[0] as f64, parameter.shape()[1] as f64);
        let ratio = match self.adjust_lr_fn.as_deref() {
            Some("match_rms_adamw") => 0.2 * rows.max(columns).sqrt(),
            Some("spectral_unclamped") => (rows / columns).sqrt(),
            _ => (rows / columns).max(1.0).sqrt(),
        };
        let shrink = 1.0 - at.lr * self.weight_decay;
        Ok((blend(shrink, parameter, -at.lr * ratio, &direction)?, vec![buffer.into()]))
    }
}
