//! Convolution in one, two and three spatial axes: three products that are each other's derivatives.
//!
//! `<y, conv(x, w)>` is linear in x, w and y. [`Product::Forward`] gives y from x and w, [`Product::Data`] x from y
//! and w (the data gradient, which is the transposed convolution), [`Product::Weight`] w from x and y.
//! The derivative of each in either operand is one of the other two, so every order of differentiation runs
//! on the kernels. Forward and data add a bias per channel, and forward an activation, in the same pass.
//!
//! The definition is a sum over the kernel's taps of a matrix product with a strided slice of the padded
//! image; the other two products are defined as its transposes.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::activation::{Activation, Epilogue};
use super::with_real;
use crate::cpu::conv as kernel;
use crate::error::{Error, Result};
use crate::layout::{Axes, Shape, show};
use crate::op::elementwise::accumulate;
use crate::op::reduce::sum_axes;
use crate::op::{Family, Gradients, Outputs, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

mod cuda;
mod define;
mod function;
mod library;
#[cfg(test)]
mod tests;

pub use function::{ConvOptions, Margins, conv, conv_transpose};

/// The most spatial axes.
pub const MOST_AXES: usize = 3;

/// How the kernel moves along one spatial axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Motion {
    /// From one output to the next.
    pub stride: usize,
    /// From one tap to the next.
    pub dilation: usize,
    /// Zeros before and after the image; negative leaves elements out.
    pub padding: (isize, isize),
}

/// Which of the three is computed from the other two.
#[derive(Clone, Debug, PartialEq)]
pub enum Product {
    /// y from x and w (and a bias per output channel).
    Forward,
    /// x, of these spatial sizes, from y and w (and a bias per channel of x).
    Data(Shape),
    /// w, of this kernel, from x and y.
    Weight(Shape),
}

/// A convolution of x (batch, groups * channels, spatial) by w (groups * filters, channels, kernel) to y
/// (batch, groups * filters, spatial).
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// What is computed.
    pub product: Product,
    /// One for each spatial axis.
    pub motions: Arc<[Motion]>,
    /// Groups of channels that do not see one another.
    pub groups: usize,
    /// Applied to the results of [`Product::Forward`].
    pub activation: Activation,
}

/// The product's operands by role.
const OPERANDS: [[&str; 2]; 3] = [["x", "weight"], ["y", "weight"], ["x", "y"]];

impl Conv {
    /// Another product of the same convolution.
    fn other(&self, product: Product) -> Conv {
        Conv { product, activation: Activation::NONE, ..self.clone() }
    }

    /// The product without its activation.
    fn plain(&self) -> Conv {
        self.other(self.product.clone())
    }

    fn refuse(&self, inputs: &[&Value], what: impl std::fmt::Display) -> Error {
        let mut names = SmallVec::<[&str; 3]>::from_slice(
            &OPERANDS[match self.product {
                Product::Forward => 0,
                Product::Data(_) => 1,
                Product::Weight(_) => 2,
            }],
        );
        names.push("bias");
        let shapes: Vec<String> =
            names.iter().zip(inputs).map(|(name, input)| format!("{name} {}", show(input.shape()))).collect();
        Error::shape(self.name(), format_args!("{} do not fit: {what}", shapes.join(", ")))
    }

    /// The output's size on one axis; none where the kernel does not fit.
    fn out(motion: &Motion, size: usize, kernel: usize) -> Option<usize> {
        let reach = kernel.checked_sub(1)?.checked_mul(motion.dilation)?.checked_add(1)?;
        let padded = isize::try_from(size).ok()?.checked_add(motion.padding.0)?.checked_add(motion.padding.1)?;
        Some(usize::try_from(padded).ok()?.checked_sub(reach)? / motion.stride + 1)
    }

    /// x, w and y, the one that is computed included.
    fn shapes(&self, inputs: &[&Value]) -> Result<[Shape; 3]> {
        let spatial = self.motions.len();
        let refuse = |what: String| self.refuse(inputs, what);
        let wrong = inputs[..2].iter().any(|input| input.layout().rank() != spatial + 2);
        if wrong || spatial == 0 || spatial > MOST_AXES {
            return Err(refuse(format!("expected {} axes each", spatial + 2)));
        }
        if self.groups == 0 {
            return Err(refuse("groups must be positive".into()));
        }
        let (first, second) = (*inputs[0].shape(), *inputs[1].shape());
        let per_group = |count: usize, what: &str| {
            if count.is_multiple_of(self.groups) {
                return Ok(count / self.groups);
            }
            Err(refuse(format!("{count} {what} in {} groups", self.groups)))
        };
        let (mut x, mut w, mut y) = (first, second, first);
        match &self.product {
            Product::Forward => {
                per_group(w[0], "output channels")?;
                if per_group(x[1], "channels")? != w[1] {
                    let channels = w[1].saturating_mul(self.groups);
                    return Err(refuse(format!("{} channels against {channels}", x[1])));
                }
                y[1] = w[0];
            }
            Product::Data(size) => {
                per_group(w[0], "channels")?;
                if y[1] != w[0] {
                    return Err(refuse(format!("{} channels against {}", y[1], w[0])));
                }
                x[1] = w[1].checked_mul(self.groups).ok_or_else(|| refuse("too many channels".into()))?;
                x[2..].copy_from_slice(size);
            }
            Product::Weight(kernel) => {
                y = second;
                w = first;
                w[0] = y[1];
                w[1] = per_group(x[1], "channels")?;
                per_group(y[1], "output channels")?;
                w[2..].copy_from_slice(kernel);
                if x[0] != y[0] {
                    return Err(refuse(format!("{} images against {}", x[0], y[0])));
                }
            }
        }
        for (axis, motion) in self.motions.iter().enumerate() {
            let (size, kernel) = (x[axis + 2], w[axis + 2]);
            if motion.stride == 0 || motion.dilation == 0 || kernel == 0 {
                return Err(refuse(format!("kernel, stride and dilation of axis {} must be positive", axis + 2)));
            }
            let Some(out) = Conv::out(motion, size, kernel) else {
                let padded = size as i128 + motion.padding.0 as i128 + motion.padding.1 as i128;
                let reach = (kernel as u128 - 1) * motion.dilation as u128 + 1;
                return Err(refuse(format!("a kernel that spans {reach} on a padded axis of {padded}")));
            };
            if matches!(self.product, Product::Forward) {
                y[axis + 2] = out;
            } else if y[axis + 2] != out {
                return Err(refuse(format!("axis {} has {} outputs, expected {out}", axis + 2, y[axis + 2])));
            }
        }
        if let Some(bias) = inputs.get(2) {
            let channels = if matches!(self.product, Product::Forward) { y[1] } else { x[1] };
            if bias.shape()[..] != [channels] {
                return Err(refuse(format!("expected bias ({channels},)")));
            }
        }
        Ok([x, w, y])
    }

    /// The kernels' view of the sizes; none where there is nothing to sum.
    fn problem(&self, [x, w, y]: &[Shape; 3]) -> kernel::Problem {
        let mut axes = [kernel::Axis::NONE; MOST_AXES];
        let first = MOST_AXES - self.motions.len();
        for (axis, motion) in self.motions.iter().enumerate() {
            let out = y[axis + 2];
            axes[first + axis] = kernel::Axis {
                size: x[axis + 2],
                kernel: w[axis + 2],
                out,
                // A single output does not move.
                stride: if out == 1 { 1 } else { motion.stride },
                dilation: motion.dilation,
                before: motion.padding.0,
            };
        }
        kernel::Problem { batch: x[0], groups: self.groups, channels: w[1], filters: w[0] / self.groups, axes }
    }

    /// The gradient of an operand, from the cotangent of the result and the other operand (by position).
    fn transpose(&self, index: usize, dy: &Tensor, other: &Tensor, shape: &Shape) -> Result<Tensor> {
        let sizes = || Shape::from_slice(&shape[2..]);
        match (&self.product, index) {
            (Product::Forward, 0) => apply(self.other(Product::Data(sizes()?)), &[dy, other]),
            (Product::Forward, _) => apply(self.other(Product::Weight(sizes()?)), &[other, dy]),
            (Product::Data(_), 0) => apply(self.other(Product::Forward), &[dy, other]),
            (Product::Data(_), _) => apply(self.other(Product::Weight(sizes()?)), &[dy, other]),
            (Product::Weight(_), 0) => apply(self.other(Product::Data(sizes()?)), &[other, dy]),
            (Product::Weight(_), _) => apply(self.other(Product::Forward), &[other, dy]),
        }
    }
}

impl Family for Conv {
    fn name(&self) -> &'static str {
        match self.product {
            Product::Forward => "conv",
            Product::Data(_) => "conv_transpose",
            Product::Weight(_) => "conv_weight_gradient",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let [x, w, y] = self.shapes(inputs)?;
        self.activation.check(self.name())?;
        let shape = match self.product {
            Product::Forward => y,
            Product::Data(_) => x,
            Product::Weight(_) => w,
        };
        Ok(smallvec![Spec { dtype: inputs[0].dtype(), shape }])
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        if outputs[0].count() == 0 {
            return Ok(());
        }
        let shapes = self.shapes(inputs)?;
        let problem = self.problem(&shapes);
        let contiguous = inputs.iter().map(|input| input.to_contiguous()).collect::<Result<SmallVec<[Value; 3]>>>()?;
        let dtype = outputs[0].dtype();
        let result = outputs[0].pointer_mut();
        let epilogue = Epilogue::new(self.activation, dtype, result)?;
        let run = epilogue.as_ref().map(|epilogue| move |first: usize, count: usize| epilogue.run(first, count));
        let finish: kernel::Finish<'_> = run.as_ref().map(|run| run as &(dyn Fn(usize, usize) + Sync));
        with_real!(dtype, T => {
            let input = |index: usize| contiguous.get(index).map_or(std::ptr::null(), |value| value.pointer().cast::<T>());
            let (from, weight, bias, to) = (input(0), input(1), input(2), result.cast::<T>());
            let operands = kernel::Operands { from, weight, bias, to, finish };
            // SAFETY: contiguous, of the sizes that `shapes` found; the result is fresh.
            unsafe {
                match self.product {
                    Product::Forward => kernel::forward(&problem, operands),
                    Product::Data(_) => kernel::data(&problem, operands),
                    Product::Weight(_) => kernel::weight(&problem, from, weight, to),
                }
            }
        })
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<crate::cuda::Plan>> {
        // The activation is an operation of its own there.
        self.activation.0.is_none().then(|| self.plan(inputs, &outputs[0]))
    }

    fn saves(&self, wanted: u32) -> Saves {
        let all = if self.activation.reads_argument() { u32::MAX } else { 0 };
        Saves { inputs: all | (wanted & 1) << 1 | (wanted >> 1 & 1), output: self.activation.reads_output() }
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let mut gradients: Gradients = (0..saved.arity()).map(|_| None).collect();
        let z = match self.activation.reads_argument() {
            false => None,
            true => {
                let inputs =
                    (0..saved.arity()).map(|index| saved.input(index)).collect::<Result<SmallVec<[&Tensor; 3]>>>()?;
                Some(apply(self.plain(), &inputs)?)
            }
        };
        // Rules that do not read the output are given the cotangent in its place.
        let Some(dz) = self.activation.slope(z.as_ref(), saved.output().unwrap_or(dy), dy)? else {
            return Ok(gradients);
        };
        for index in 0..2 {
            if saved.wants(index) {
                gradients[index] = Some(self.transpose(index, &dz, saved.input(1 - index)?, saved.shape(index))?);
            }
        }
        if saved.arity() > 2 && saved.wants(2) {
            gradients[2] = Some(sum_axes(&dz, &Axes::collect(std::iter::once(0).chain(2..dz.rank()))?)?);
        }
        Ok(gradients)
    }

    fn jvp(&self, inputs: &[Tensor], outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        let plain = self.plain();
        let dbias = tangents.get(2).and_then(Option::as_ref);
        let by_first = match (&tangents[0], dbias) {
            (Some(first), Some(dbias)) => Some(apply(plain.clone(), &[first, &inputs[1], dbias])?),
            (Some(first), None) => Some(apply(plain.clone(), &[first, &inputs[1]])?),
            (None, Some(dbias)) => {
                Some(define::per_channel(dbias, outputs[0].rank())?.broadcast_to(outputs[0].shape())?)
            }
            (None, None) => None,
        };
        let by_second = tangents[1].as_ref().map(|second| apply(plain.clone(), &[&inputs[0], second])).transpose()?;
        let dz = match (by_first, by_second) {
            (Some(first), Some(second)) => accumulate(second, &first)?,
            (Some(dz), None) | (None, Some(dz)) => dz,
            (None, None) => return Ok(None),
        };
        let z = match self.activation.reads_argument() {
            false => None,
            true => Some(apply(plain, &inputs.iter().collect::<SmallVec<[&Tensor; 3]>>())?),
        };
        self.activation.slope(z.as_ref(), &outputs[0], &dz)
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        Some(self.define(inputs))
    }
}
