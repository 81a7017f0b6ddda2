//! Pooling: the largest element or the mean of every window of the last one to three axes.
//!
//! The largest element comes with its place in the plane, an untracked output: the gradient then puts
//! cotangents at these places and the tangent picks them, operations of the same family that are linear and
//! each other's transpose. So are the mean and what spreads a cotangent over the windows. Checks, dtypes and
//! the choice of windows are in [`super::pooling`].

use smallvec::smallvec;

use super::resample::along;
pub use super::windows::{Axis, Windows};
use super::{widened, with_real};
use crate::cpu::pool::{self as kernel, Span};
use crate::cuda::Plan;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::op::index::{Gather, beside};
use crate::op::{Family, Gradients, Outputs, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

mod cuda;

/// Where windows are further apart than this along a row, runs of their taps are too short to be worth
/// laying a plane out for them: windows are then taken one by one, and means by a product with a matrix.
pub(super) const LONG: usize = 4;

/// What is taken of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The largest element; a further output holds its index within the plane, in i32.
    Max,
    /// The mean, over windows that are all even and not dilated.
    Mean {
        /// Whether padding counts as elements.
        with_padding: bool,
    },
    /// The transpose of the mean.
    Spread {
        /// As for the mean.
        with_padding: bool,
    },
    /// Of two inputs, the elements of the first at the places that the second holds.
    Pick,
    /// The transpose of that: the first input added up at the places.
    Put,
}

/// How the kernels go over the windows.
enum Way {
    /// All windows at once, tap by tap.
    Runs([Axis; 3]),
    /// One window after the other.
    Spans([Vec<Span>; 3]),
}

/// Whether the planes with their padding are of a size that the planes account for.
fn fits(axes: &[Axis; 3]) -> bool {
    let plane: usize = axes.iter().map(|axis| axis.input).product();
    let reach = axes.iter().try_fold(1usize, |reach, axis| reach.checked_mul(axis.reach()));
    reach.is_some_and(|reach| reach <= plane.saturating_mul(16).saturating_add(1 << 16))
}

#[cold]
fn padding_alone(op: &str) -> Error {
    Error::value(op, "windows are many times larger than the input that they cover; use smaller ones")
}

/// A pooling of the last `rank` axes of f32 or f64 tensors; the axes before them are untouched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    /// What is taken of a window.
    pub take: Take,
    /// Depth, height and width; the first `3 - rank` are [`Axis::UNIT`].
    pub axes: [Windows; 3],
    /// The number of axes.
    pub rank: usize,
}

impl Pool {
    /// Whether it goes from windows to elements.
    fn is_transposed(&self) -> bool {
        matches!(self.take, Take::Spread { .. } | Take::Put)
    }

    fn outer<'a>(&self, shape: &'a Shape) -> &'a [usize] {
        &shape[..shape.len() - self.rank]
    }

    /// The shape with other sizes of the pooled axes.
    fn with_sizes(&self, shape: &Shape, size: impl Fn(&Windows) -> usize) -> Result<Shape> {
        let pooled = self.axes[3 - self.rank..].iter().map(size);
        Shape::collect(self.outer(shape).iter().copied().chain(pooled))
    }

    /// The axes before the pooled ones and the pooled ones, each as one.
    fn flat(&self, shape: &Shape, size: impl Fn(&Windows) -> usize) -> Result<Shape> {
        Shape::from_slice(&[self.outer(shape).iter().product(), self.axes.iter().map(size).product()])
    }

    /// The axes, where runs of taps are worth laying planes out for: windows are even, their steps short, and
    /// the padding is not many times the plane.
    pub(super) fn runs(&self) -> Option<[Axis; 3]> {
        self.even().filter(|axes| axes[2].stride <= LONG && fits(axes))
    }

    /// How the kernels go over the windows.
    fn way(&self) -> Result<Way> {
        if let Some(axes) = self.runs() {
            return Ok(Way::Runs(axes));
        }
        let [a, b, c] = &self.axes;
        if let (Some(a), Some(b), Some(c)) = (a.spans()?, b.spans()?, c.spans()?) {
            return Ok(Way::Spans([a, b, c]));
        }
        self.even().filter(fits).map(Way::Runs).ok_or_else(|| padding_alone(self.name()))
    }

    /// The axes as even windows; none where some are not.
    fn even(&self) -> Option<[Axis; 3]> {
        let mut axes = [Axis::UNIT; 3];
        for (axis, windows) in axes.iter_mut().zip(&self.axes) {
            *axis = match *windows {
                Windows::Even(even) => even,
                Windows::Adaptive { input, output } if input % output == 0 => {
                    let step = input / output;
                    Axis { input, output, window: step, stride: step, ..Axis::UNIT }
                }
                Windows::Adaptive { .. } => return None,
            };
        }
        Some(axes)
    }

    fn transposed(&self) -> Pool {
        let take = match self.take {
            Take::Mean { with_padding } => Take::Spread { with_padding },
            Take::Spread { with_padding } => Take::Mean { with_padding },
            Take::Pick => Take::Put,
            Take::Put | Take::Max => Take::Pick,
        };
        self.with(take)
    }

    fn with(&self, take: Take) -> Pool {
        Pool { take, ..*self }
    }

    /// The index within the plane of every tap of every window, row by row.
    fn table(&self) -> Result<Tensor> {
        let (outputs, mut table) = (self.axes.iter().map(Windows::output).product::<usize>(), vec![0usize]);
        // One axis after the other: (windows so far, taps so far) become (windows, window, taps, tap).
        let (mut windows, mut taps) = (1usize, 1usize);
        for axis in &self.axes {
            let positions = axis.positions();
            let each = positions.first().map_or(0, Vec::len);
            let mut next = Vec::with_capacity(table.len() * positions.len() * each);
            for window in 0..windows {
                for list in &positions {
                    for before in &table[window * taps..(window + 1) * taps] {
                        next.extend(list.iter().map(|position| before * axis.input() + position));
                    }
                }
            }
            (table, windows, taps) = (next, windows * positions.len(), taps * each);
        }
        let table: Vec<i32> = table.into_iter().map(|place| place as i32).collect();
        Tensor::new(&table, &[outputs, taps])
    }

    /// The mean or its transpose as matrices, one axis after the other.
    fn matrices(&self, x: &Tensor, with_padding: bool) -> Result<Tensor> {
        let first = x.rank() - self.rank;
        let mut y = x.clone();
        for (axis, windows) in self.axes[3 - self.rank..].iter().enumerate() {
            let matrix = windows.averages(with_padding, true)?;
            y = along(&y, first + axis, if self.is_transposed() { matrix.transposed() } else { matrix })?;
        }
        Ok(y)
    }

    fn define(&self, inputs: &[Tensor]) -> Result<Outputs> {
        let x = &inputs[0];
        let outputs = |shape: &Shape| self.flat(shape, Windows::output);
        Ok(match self.take {
            Take::Max => {
                let table = beside(self.table()?, x)?;
                let flat = x.reshape_to(&self.flat(x.shape(), Windows::input)?)?;
                let best = flat.detach().take(&table, 1)?.argmax(Some(2), true)?;
                let shape = self.with_sizes(x.shape(), Windows::output)?;
                let places = table.expand_dims(0)?.take_along_axis(&best, 2)?.reshape_to(&shape)?;
                let y = self.with(Take::Pick).define(&[x.clone(), places.clone()])?.swap_remove(0);
                smallvec![y, places]
            }
            Take::Mean { with_padding } | Take::Spread { with_padding } => smallvec![self.matrices(x, with_padding)?],
            Take::Pick => {
                let flat = x.reshape_to(&self.flat(x.shape(), Windows::input)?)?;
                let at = inputs[1].reshape_to(&outputs(x.shape())?)?;
                let y = apply(Gather::TakeAlong { axis: 1 }, &[&flat, &at])?;
                smallvec![y.reshape_to(inputs[1].shape())?]
            }
            Take::Put => {
                let flat = x.reshape_to(&outputs(x.shape())?)?;
                let length = self.axes.iter().map(Windows::input).product();
                let at = inputs[1].reshape_to(flat.shape())?;
                let dx = apply(Gather::PutAlong { axis: 1, length }, &[&flat, &at])?;
                smallvec![dx.reshape_to(&self.with_sizes(x.shape(), Windows::input)?)?]
            }
        })
    }
}

impl Family for Pool {
    fn name(&self) -> &'static str {
        match self.take {
            Take::Max => "max_pool",
            Take::Mean { .. } => "mean_pool",
            Take::Spread { .. } => "mean_pool_gradient",
            Take::Pick => "max_pool_pick",
            Take::Put => "max_pool_gradient",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let size = if self.is_transposed() { Windows::input } else { Windows::output };
        let (dtype, shape) = (inputs[0].dtype(), self.with_sizes(inputs[0].shape(), size)?);
        let mut specs: Specs = smallvec![Spec { dtype, shape }];
        if let [_, places] = inputs {
            let expected = self.with_sizes(inputs[0].shape(), Windows::output)?;
            if places.dtype() != DType::I32 || *places.shape() != expected {
                return Err(Error::shape(self.name(), "places must be i32, one for each window"));
            }
        }
        if self.take == Take::Max {
            specs.push(Spec { dtype: DType::I32, shape });
        }
        Ok(specs)
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        if outputs[0].count() == 0 {
            return Ok(());
        }
        let x = inputs[0].to_contiguous()?;
        let planes = self.outer(x.shape()).iter().product();
        if let Some(places) = inputs.get(1) {
            let places = places.to_contiguous()?;
            let [plane, windows] = [Windows::input, Windows::output].map(|size| self.axes.iter().map(size).product());
            with_real!(x.dtype(), T => {
                let (from, places) = (x.pointer().cast::<T>(), places.pointer().cast());
                let to = outputs[0].pointer_mut().cast();
                // SAFETY: contiguous tensors of these sizes, as `outputs` checked; the output is fresh.
                unsafe {
                    match (self.take, self.runs()) {
                        (Take::Put, Some(axes)) => kernel::put_back(from, places, to, planes, axes),
                        (Take::Put, None) => kernel::put(from, places, to, planes, plane, windows),
                        _ => kernel::pick(from, places, to, planes, plane, windows),
                    }
                }
            });
            return Ok(());
        }
        let way = self.way()?;
        let mut results = outputs.iter_mut().map(|output| output.pointer_mut());
        let mut result = || results.next().unwrap_or(std::ptr::null_mut());
        let (to, places) = (result(), result().cast::<i32>());
        with_real!(x.dtype(), T => {
            let (from, to) = (x.pointer().cast::<T>(), to.cast::<T>());
            // SAFETY: contiguous tensors of the sizes that the axes say; the outputs are fresh.
            unsafe {
                match (self.take, way) {
                    (Take::Max, Way::Runs(axes)) => kernel::max_pool(from, to, places, planes, axes)?,
                    (Take::Max, Way::Spans([depth, height, width])) => {
                        let sizes = self.axes.map(|windows| windows.input());
                        kernel::max_spans(from, to, places, planes, sizes, [&depth, &height, &width]);
                    }
                    (Take::Mean { with_padding }, Way::Runs(axes)) => {
                        kernel::mean_pool(from, to, planes, axes, with_padding)?;
                    }
                    (Take::Spread { with_padding }, Way::Runs(axes)) => {
                        kernel::spread(from, to, planes, axes, with_padding)?;
                    }
                    _ => return Err(padding_alone(self.name())),
                }
            }
        });
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        Some(cuda::plan(self, inputs, &outputs[0]))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        // The places, where they are an input.
        Saves { inputs: 0b10, output: false }
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        Ok(match self.take {
            Take::Max => smallvec![Some(apply(self.with(Take::Put), &[dy, saved.extra(0)?])?)],
            Take::Mean { .. } | Take::Spread { .. } => smallvec![Some(apply(self.transposed(), &[dy])?)],
            Take::Pick | Take::Put => smallvec![Some(apply(self.transposed(), &[dy, saved.input(1)?])?), None],
        })
    }

    fn jvp(&self, inputs: &[Tensor], outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        let Some(tangent) = &tangents[0] else { return Ok(None) };
        match self.take {
            Take::Max => apply(self.with(Take::Pick), &[tangent, &outputs[1]]),
            Take::Mean { .. } | Take::Spread { .. } => apply(*self, &[tangent]),
            Take::Pick | Take::Put => apply(*self, &[tangent, &inputs[1]]),
        }
        .map(Some)
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        Some(widened(self, inputs, |inputs| self.define(inputs)))
    }
}
