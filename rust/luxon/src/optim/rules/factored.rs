//! Rules that keep less than a number per element: Adafactor and SM3.

use super::{At, Definition, common};
use crate::dtype::DType;
use crate::error::Result;
use crate::layout::Shape;
use crate::op::elementwise::{Kernel, map};
use crate::op::linalg::vector_norm;
use crate::op::linear::concat;
use crate::op::matmul::matmul;
use crate::optim::leaf::{Form, Kept, Slot, Slots, Spec, zeros_like};
use crate::optim::pass::{blend, norm, working};
use crate::optim::settings::{Rate, settings};
use crate::tensor::Tensor;

settings! {
    /// Adafactor (Shazeer and Stern 2018), PyTorch's formula: the second moment of a matrix is kept as its row
    /// and column means.
    Adafactor {
        /// The learning rate.
        lr: Rate = 1e-2,
        /// The exponent of the second moment's decay.
        beta2_decay: f64 = -0.8,
        /// The least second moment (none for the type's precision) and the least size of a parameter.
        eps: (Option<f64>, f64) = (None, 1e-3),
        /// Longer steps are shortened to this root mean square.
        d: f64 = 1.0,
        /// Decay that shrinks the parameter.
        weight_decay: f64 = 0.0,
        /// Whether to climb.
        maximize: bool = false,
    }
}

/// `old + (new - old) * share`.
fn lerp(old: Tensor, new: &Tensor, share: f64) -> Result<Tensor> {
    blend(1.0 - share, old, share, new)
}

/// The distance from 1 to the next number.
fn precision(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => f64::from(f32::EPSILON),
    }
}

/// The root of the mean square.
fn root_mean_square(tensor: &Tensor) -> Result<f64> {
    Ok(norm(tensor)? / (tensor.count() as f64).sqrt().max(1.0))
}

impl Definition for Adafactor {
    common!("Adafactor", maximize);

    fn slots(&self, spec: &Spec) -> Slots {
        let rank = spec.shape.len();
        let dtype = working(spec.dtype);
        let spec = Spec { shape: spec.shape, dtype };
        let factor = |axis: usize| {
            if rank < 2 {
                return Form::Nothing;
            }
            let mut shape = spec.shape;
            shape[axis] = 1;
            spec.zeros_of(shape)
        };
        let whole = if rank < 2 { spec.zeros_of(spec.shape) } else { Form::Nothing };
        let (rows, columns) = (factor(rank.wrapping_sub(1)), factor(rank.wrapping_sub(2)));
        [("row_var", rows), ("col_var", columns), ("variance", whole)]
            .map(|(name, form)| Slot { name, form })
            .into_iter()
            .collect()
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, mut kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let dtype = working(parameter.dtype());
        let least = self.eps.0.unwrap_or_else(|| precision(parameter.dtype()));
        let step = at.step as f64;
        let share = step.powf(self.beta2_decay);
        let alpha = self.eps.1.max(root_mean_square(&parameter)?) * at.lr.min(1.0 / step.sqrt());
        let gradient = gradient.cast(dtype)?;
        let mut take = |slot: usize| std::mem::replace(&mut kept[slot], Kept::Nothing).tensor();
        let estimate = if parameter.rank() < 2 {
            let variance = lerp(take(2)?, &gradient.mul(&gradient)?, share)?;
            kept[2] = variance.clone().into();
            variance
        } else {
            let mean_square = |axis: isize| {
                let norms = vector_norm(&gradient, Some(&[axis]), true, 2.0)?;
                norms.mul(&norms)?.div(gradient.shape()[(gradient.rank() as isize + axis) as usize] as f64)
            };
            let rows = lerp(take(0)?, &mean_square(-1)?, share)?;
            let columns = lerp(take(1)?, &mean_square(-2)?, share)?;
            let scale = rows.mean(Some(&[-2]), true)?.clip(Some(least.into()), None)?;
            let estimate = matmul(&rows, &columns)?.div(&scale)?;
            (kept[0], kept[1]) = (rows.into(), columns.into());
            estimate
        };
        let root = estimate.clip(Some((least * least).into()), None)?.sqrt()?;
        let direction = gradient.div(&root)?;
        let shorten = (root_mean_square(&direction)? / self.d).max(1.0);
        let direction = direction.cast(parameter.dtype())?;
        let shrink = 1.0 - at.lr * self.weight_decay;
        Ok((blend(shrink, parameter, -alpha / shorten, &direction)?, kept))
    }
}

settings! {
    /// SM3 (Anil et al. 2019), Optax's formula: of squared gradients only the largest along each axis are kept.
    Sm3 {
        /// The learning rate.
        lr: Rate = 1e-3,
        /// What is kept of the momentum.
        momentum: f64 = 0.9,
    }
}

/// Added to the accumulated squares under the root.
const SM3_EPS: f64 = 1e-8;

impl Definition for Sm3 {
    common!("SM3");

    fn slots(&self, spec: &Spec) -> Slots {
        let spec = Spec { shape: spec.shape, dtype: working(spec.dtype) };
        let mut slots = zeros_like(&["momentum_buffer"], &spec);
        // One number per index of each axis, one axis after the other.
        let count = if spec.shape.is_empty() { 1 } else { spec.shape.iter().sum() };
        let shape = Shape::from_slice(&[count]).unwrap_or_default();
        slots.push(Slot { name: "accumulators", form: spec.zeros_of(shape) });
        slots
    }

    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, mut kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        let gradient = gradient.cast(working(parameter.dtype()))?;
        let (shape, rank) = (*parameter.shape(), parameter.rank());
        let old = kept.pop().unwrap_or(Kept::Nothing).tensor()?;
        let buffer = kept.pop().unwrap_or(Kept::Nothing).tensor()?;
        let mut offset = 0;
        let mut least: Option<Tensor> = None;
        for axis in 0..rank {
            let mut wide: Vec<isize> = vec![1; rank];
            wide[axis] = shape[axis] as isize;
            let along = old.narrow(0, offset, shape[axis])?.reshape(&wide)?;
            offset += shape[axis];
            least = Some(match least {
                Some(least) => least.minimum(&along)?,
                None => along,
            });
        }
        let least = match least {
            Some(least) => least,
            None => old.reshape(&[])?,
        };
        let sums = gradient.mul(&gradient)?.add(&least)?;
        let scaled = gradient.div(&sums.add(SM3_EPS)?.sqrt()?)?;
        let moved = sums.greater(0.0)?;
        let scaled = map(Kernel::Where, &[(&moved).into(), (&scaled).into(), 0.0.into()])?;
        let buffer = blend(self.momentum, buffer, 1.0 - self.momentum, &scaled)?;
        let parameter = blend(1.0, parameter.clone(), -at.lr, &buffer.cast(parameter.dtype())?)?;
        let mut largest = Vec::with_capacity(rank.max(1));
        for axis in 0..rank {
            let others: Vec<isize> = (0..rank).filter(|&other| other != axis).map(|other| other as isize).collect();
            largest.push(if others.is_empty() || sums.count() == 0 {
                if others.is_empty() { sums.clone() } else { Tensor::zeros(&[shape[axis]], sums.dtype())? }
            } else {
                sums.max(Some(&others), false)?
            });
        }
        if rank == 0 {
            largest.push(sums.reshape(&[1])?);
        }
        let parts: Vec<&Tensor> = largest.iter().collect();
        Ok((parameter, vec![buffer.into(), concat(&parts, 0)?.into()]))
    }
}
