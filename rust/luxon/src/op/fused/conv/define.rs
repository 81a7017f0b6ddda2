//! The definition of convolution in other operations.

use smallvec::{SmallVec, smallvec};

use super::{Conv, Product};
use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::op::linear::Window;
use crate::op::{Outputs, apply, matmul::matmul};
use crate::tensor::Tensor;
use crate::transform::vjp_through;

/// A tensor by channel, shaped to broadcast against (batch, channels, spatial).
pub(super) fn per_channel(tensor: &Tensor, rank: usize) -> Result<Tensor> {
    let mut shape = Shape::filled(1, rank)?;
    shape[1] = tensor.shape()[0];
    tensor.reshape_to(&shape)
}

impl Conv {
    pub(super) fn define(&self, inputs: &[Tensor]) -> Result<Outputs> {
        if self.activation.0.is_some() {
            let y = apply(self.plain(), &inputs.iter().collect::<SmallVec<[&Tensor; 3]>>())?;
            return Ok(smallvec![self.activation.apply(y)?]);
        }
        let values: Vec<_> = inputs.iter().map(|input| &**input.value()).collect();
        let [x_shape, w_shape, _] = self.shapes(&values)?;
        let missing = || Error::value("conv", "its definition has no gradient (a defect of luxon)");
        let mut y = match &self.product {
            Product::Forward => self.forward(&inputs[0], &inputs[1])?,
            Product::Data(_) => {
                let x = inputs[0].zeros_like()?.sum(None, false)?.broadcast_to(&x_shape)?;
                let function = |x: &[Tensor]| Ok(vec![self.forward(&x[0], &inputs[1])?]);
                vjp_through(function, &[x], &[Some(inputs[0].clone())])?.swap_remove(0).ok_or_else(missing)?
            }
            Product::Weight(_) => {
                let w = inputs[0].zeros_like()?.sum(None, false)?.broadcast_to(&w_shape)?;
                let function = |w: &[Tensor]| Ok(vec![self.forward(&inputs[0], &w[0])?]);
                vjp_through(function, &[w], &[Some(inputs[1].clone())])?.swap_remove(0).ok_or_else(missing)?
            }
        };
        if let Some(bias) = inputs.get(2) {
            y = y.add(&per_channel(bias, y.rank())?)?;
        }
        Ok(smallvec![y])
    }

    /// The sum over taps of (filters, channels) by (channels, positions).
    fn forward(&self, x: &Tensor, w: &Tensor) -> Result<Tensor> {
        let (rank, groups) = (x.rank(), self.groups);
        let mut widths = vec![(0, 0); 2];
        let mut window = x.full_window()?;
        for (axis, motion) in self.motions.iter().enumerate() {
            // What negative padding leaves out.
            let crop = |padding: isize| padding.min(0).unsigned_abs();
            let (before, after) = motion.padding;
            window.start[axis + 2] = crop(before);
            window.size[axis + 2] = x.shape()[axis + 2].saturating_sub(crop(before)).saturating_sub(crop(after));
            widths.push((before.max(0) as usize, after.max(0) as usize));
        }
        let cropped = self.motions.iter().any(|motion| motion.padding.0 < 0 || motion.padding.1 < 0);
        let x = if cropped { x.window(window)? } else { x.clone() };
        let padded = x.pad_constant(&widths, 0)?;
        let (batch, channels, filters) = (x.shape()[0], w.shape()[1], w.shape()[0] / groups);
        let mut out = Shape::from_slice(&[batch, w.shape()[0]])?;
        for (axis, motion) in self.motions.iter().enumerate() {
            let reach = (w.shape()[axis + 2] - 1) * motion.dilation + 1;
            out.push((padded.shape()[axis + 2] - reach) / motion.stride + 1)?;
        }
        let positions: usize = out[2..].iter().product();
        let taps: usize = w.shape()[2..].iter().product();
        let weights = w.reshape_to(&Shape::from_slice(&[groups, filters, channels, taps])?)?;
        let mut sum: Option<Tensor> = None;
        for tap in 0..taps {
            let mut window: Window = padded.full_window()?;
            let mut index = tap;
            for axis in (2..rank).rev() {
                let motion = &self.motions[axis - 2];
                window.start[axis] = index % w.shape()[axis] * motion.dilation;
                window.step[axis] = motion.stride as isize;
                window.size[axis] = out[axis];
                index /= w.shape()[axis];
            }
            let seen = Shape::from_slice(&[batch, groups, channels, positions])?;
            let part = matmul(&weights.narrow(3, tap, 1)?.squeeze(&[3])?, &padded.window(window)?.reshape_to(&seen)?)?;
            sum = Some(match sum {
                Some(sum) => sum.add(&part)?,
                None => part,
            });
        }
        let sum = sum.ok_or_else(|| Error::shape("conv", "a kernel without taps"))?;
        sum.reshape_to(&out)
    }
}
