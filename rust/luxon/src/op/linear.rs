//! Operations that move elements: each is linear in its argument, and its transpose is another of them.
//!
//! Reshapes, permutations, broadcasts and slices are views wherever strides can express them. From the
//! transpose the family derives both differentiation modes; nothing is saved.

use smallvec::smallvec;

use crate::cpu::{self, cast, copy_into};
use crate::cuda::Plan;
use crate::dtype::{DType, Scalar};
use crate::error::{Error, Result};
use crate::layout::{self, Axes, Layout, Shape, Strides};
use crate::op::{Family, Gradients, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

mod copies;
mod cuda;
mod join;
mod shape;
mod window;

pub use join::{broadcast_tensors, concat, stack};

/// The elements `start + i * step` for `i` below `size`, on every axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// First index on each axis.
    pub start: Axes,
    /// Distance between indices; may be negative, never 0.
    pub step: Strides,
    /// The number of elements.
    pub size: Shape,
}

/// A linear operation that moves elements.
#[derive(Clone, Debug, PartialEq)]
pub enum Linear {
    /// Conversion to another dtype.
    Cast(DType),
    /// The same elements in row-major order under another shape.
    Reshape(Shape),
    /// Repetition along new and size-1 axes.
    Broadcast(Shape),
    /// Axis `i` of the result is axis `order[i]` of the input.
    Permute(Axes),
    /// The elements of a window.
    Slice(Box<Window>),
    /// The transpose of a slice: a tensor of `shape` with the input in the window and `fill` elsewhere.
    Embed {
        /// The result's sizes.
        shape: Shape,
        /// Where the input goes.
        window: Box<Window>,
        /// What stands elsewhere (0 for a tangent).
        fill: Scalar,
    },
    /// Several tensors one after the other along an axis, with their sizes along it.
    Concat {
        /// The axis.
        axis: usize,
        /// The size of each along the axis.
        sizes: Box<[usize]>,
    },
}

pub(super) fn slice_layout(layout: &Layout, window: &Window) -> Layout {
    let mut view = *layout;
    for axis in 0..layout.rank() {
        view = view.slice(axis, window.start[axis], window.step[axis], window.size[axis]);
    }
    view
}

impl Family for Linear {
    fn name(&self) -> &'static str {
        match self {
            Linear::Cast(_) => "astype",
            Linear::Reshape(_) => "reshape",
            Linear::Broadcast(_) => "broadcast_to",
            Linear::Permute(_) => "permute_dims",
            Linear::Slice(_) => "slice",
            Linear::Embed { .. } => "pad",
            Linear::Concat { .. } => "concat",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let (dtype, shape) = (inputs[0].dtype(), inputs[0].shape());
        let spec = match self {
            Linear::Cast(to) => Spec { dtype: *to, shape: *shape },
            Linear::Reshape(to) | Linear::Broadcast(to) | Linear::Embed { shape: to, .. } => Spec { dtype, shape: *to },
            Linear::Permute(order) => Spec { dtype, shape: Shape::collect(order.iter().map(|&axis| shape[axis]))? },
            Linear::Slice(window) => Spec { dtype, shape: window.size },
            Linear::Concat { axis, sizes } => {
                let mut total = *shape;
                total[*axis] = 0;
                for size in sizes {
                    total[*axis] = total[*axis]
                        .checked_add(*size)
                        .ok_or_else(|| Error::Overflow("concat: the axis is too long".into()))?;
                }
                Spec { dtype, shape: total }
            }
        };
        Ok(smallvec![spec])
    }

    fn view(&self, inputs: &[&Value]) -> Result<Option<Value>> {
        let layout = inputs[0].layout();
        let view = match self {
            Linear::Reshape(shape) => layout.reshape(shape),
            Linear::Broadcast(shape) => Some(layout.broadcast("broadcast_to", shape)?),
            Linear::Permute(order) => Some(layout.permute(order)),
            Linear::Slice(window) => Some(slice_layout(layout, window)),
            _ => None,
        };
        Ok(view.map(|view| inputs[0].view(view)))
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let (input, output) = (inputs[0], &mut outputs[0]);
        match self {
            Linear::Cast(to) => {
                let source = input.to_contiguous()?;
                // SAFETY: both contiguous, of one count and of these dtypes.
                unsafe { cast::cast(input.dtype(), *to, source.count(), source.pointer(), output.pointer_mut()) };
            }
            Linear::Embed { window, fill, .. } => {
                let (dtype, count) = (output.dtype(), output.count());
                // SAFETY: the output is contiguous.
                unsafe { cast::fill(dtype.size(), fill.to_bytes(dtype), count, output.pointer_mut()) };
                let place = slice_layout(output.layout(), window);
                copy_into(input, output, place.offset, &place.strides);
            }
            Linear::Concat { axis, .. } => {
                let strides = output.layout().strides;
                let mut start = 0usize;
                for input in inputs {
                    copy_into(input, output, start * strides[*axis] as usize, &strides);
                    start += input.shape()[*axis];
                }
            }
            // A reshape of strides that no view can express.
            Linear::Reshape(_) => {
                let flat = layout::contiguous_strides(input.shape());
                copy_into(input, output, 0, &flat);
            }
            Linear::Broadcast(_) | Linear::Permute(_) | Linear::Slice(_) => cpu::copy_value(input, output),
        }
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        Some(self.plan(inputs, &outputs[0]))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        if let Linear::Concat { axis, sizes } = self {
            let mut start = 0usize;
            let mut gradients = Gradients::new();
            for (input, &size) in sizes.iter().enumerate() {
                gradients.push(match saved.wants(input) {
                    true => Some(dy.narrow(*axis, start, size)?),
                    false => None,
                });
                start += size;
            }
            return Ok(gradients);
        }
        let shape = saved.shape(0);
        let gradient = match self {
            Linear::Cast(_) => dy.cast(saved.dtype(0))?,
            Linear::Reshape(_) => apply(Linear::Reshape(*shape), &[dy])?,
            Linear::Broadcast(_) => sum_to(dy, shape)?,
            Linear::Permute(order) => {
                let mut inverse = *order;
                for (to, &from) in order.iter().enumerate() {
                    inverse[from] = to;
                }
                apply(Linear::Permute(inverse), &[dy])?
            }
            Linear::Slice(window) => {
                apply(Linear::Embed { shape: *shape, window: window.clone(), fill: Scalar::Int(0) }, &[dy])?
            }
            Linear::Embed { window, .. } => apply(Linear::Slice(window.clone()), &[dy])?,
            Linear::Concat { .. } => return Ok(Gradients::new()),
        };
        Ok(smallvec![Some(gradient)])
    }

    fn jvp(&self, inputs: &[Tensor], _outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        let op = match self {
            Linear::Embed { shape, window, .. } => {
                Linear::Embed { shape: *shape, window: window.clone(), fill: Scalar::Int(0) }
            }
            other => other.clone(),
        };
        if tangents.iter().all(Option::is_none) {
            return Ok(None);
        }
        let filled = inputs.iter().zip(tangents).map(|(input, tangent)| match tangent {
            Some(tangent) => Ok(tangent.clone()),
            None => input.zeros_like(),
        });
        let filled = filled.collect::<Result<Vec<_>>>()?;
        apply(op, &filled.iter().collect::<Vec<_>>()).map(Some)
    }
}

/// Sums a tensor down to a shape that broadcasts to its own: the transpose of broadcasting.
pub fn sum_to(tensor: &Tensor, shape: &Shape) -> Result<Tensor> {
    if tensor.shape() == shape {
        return Ok(tensor.clone());
    }
    let lead = tensor.rank() - shape.len();
    let mut axes = Axes::new();
    for axis in 0..tensor.rank() {
        if axis < lead || (shape[axis - lead] == 1 && tensor.shape()[axis] != 1) {
            axes.push(axis)?;
        }
    }
    let summed = crate::op::reduce::sum_axes(tensor, &axes)?;
    summed.reshape_to(shape)
}
