//! Gathering by index tensors and the transposes of it.
//!
//! Each operation is linear in the tensors whose elements it moves; index tensors are inputs that are
//! never differentiated, and the only ones that a backward rule keeps. Every index is checked before a
//! kernel trusts it, in gathers and in scatters alike; negative ones count from the end of their axis.
//! Equal indices add up in their order where a scatter adds, and the last of them wins where it writes.
//!
//! [`nd`] resolves NumPy's index expressions into views and at most one of these operations, and
//! [`update`] builds the functional updates `x.at[index]` from them.

use smallvec::{SmallVec, smallvec};

use crate::cpu::{self, cast, copy_into, copy_value};
use crate::dtype::{DType, Scalar};
use crate::error::{Error, Result};
use crate::layout::{Axes, Layout, Shape, show};
use crate::op::linear::{Linear, Window, slice_layout};
use crate::op::{Family, Gradients, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

mod cuda;
mod methods;
pub mod nd;
pub mod update;

pub use methods::embedding;
pub use nd::Index;
pub use update::Update;

/// An operation that moves elements to or from the places that index tensors name.
///
/// Those with several index tensors (of one shape, the last inputs) index as many neighbouring axes, from
/// `axis` on; the axes of the index tensors stand in their place. `labels` are the users' numbers of the
/// indexed axes, for messages.
#[derive(Clone, Debug, PartialEq)]
pub enum Gather {
    /// (x, indices..): the elements of x at the indices.
    Take {
        /// The first indexed axis.
        axis: usize,
        /// The indexed axes as users know them.
        labels: Axes,
    },
    /// (updates, indices..): zeros with the updates added at the indices; the transpose of [`Gather::Take`].
    Put {
        /// The first indexed axis.
        axis: usize,
        /// The sizes of the indexed axes.
        sizes: Shape,
        /// The indexed axes as users know them.
        labels: Axes,
    },
    /// (x, updates, indices..): x with the updates added at the indices.
    Add {
        /// The first indexed axis.
        axis: usize,
        /// The indexed axes as users know them.
        labels: Axes,
    },
    /// (x, updates, indices..): x with the updates written at the indices.
    Set {
        /// The first indexed axis.
        axis: usize,
        /// The indexed axes as users know them.
        labels: Axes,
    },
    /// (x, indices): along one axis, an index for each element of the result.
    TakeAlong {
        /// The axis.
        axis: usize,
    },
    /// (updates, indices): zeros with the updates added; the transpose of [`Gather::TakeAlong`].
    PutAlong {
        /// The axis.
        axis: usize,
        /// Its size in the result.
        length: usize,
    },
    /// (x, updates): x with the updates in a window.
    Overwrite(Box<Window>),
}

/// The numbers of elements before, on and after `count` axes from `axis` on.
fn split(shape: &[usize], axis: usize, count: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis..axis + count].iter().product(), shape[axis + count..].iter().product())
}

/// `shape` with `count` axes from `axis` on replaced by `sizes`.
fn replaced(shape: &[usize], axis: usize, count: usize, sizes: &[usize]) -> Result<Shape> {
    Shape::collect(shape[..axis].iter().chain(sizes).chain(&shape[axis + count..]).copied())
}

/// The indices as numbers in `0..size`.
fn checked(op: &str, indices: &Value, size: usize, label: usize) -> Result<Vec<i64>> {
    let indices = indices.to_contiguous()?;
    // SAFETY: contiguous elements of an integer dtype.
    let numbers = unsafe { cpu::index::check_indices(indices.dtype(), indices.pointer(), indices.count(), size) };
    numbers.map_err(|(_, index)| out_of_bounds(op, index, label, size))
}

#[cold]
fn out_of_bounds(op: &str, index: i64, axis: usize, size: usize) -> Error {
    Error::index(op, format_args!("index {index} is out of bounds for axis {axis} with size {size}"))
}

/// The indices of several axes as row-major positions in all of them.
fn positions(op: &str, indices: &[&Value], sizes: &[usize], labels: &[usize]) -> Result<Vec<i64>> {
    let mut total: Option<Vec<i64>> = None;
    for ((index, &size), &label) in indices.iter().zip(sizes).zip(labels) {
        let numbers = checked(op, index, size, label)?;
        total = Some(match total {
            None => numbers,
            Some(mut total) => {
                for (position, number) in total.iter_mut().zip(numbers) {
                    *position = *position * size as i64 + number;
                }
                total
            }
        });
    }
    Ok(total.unwrap_or_default())
}

/// The element offsets of every index of a strided block, in row-major order.
fn offsets(sizes: &[usize], strides: &[isize]) -> Vec<isize> {
    let mut out = vec![0];
    for (&size, &stride) in sizes.iter().zip(strides) {
        out = out.iter().flat_map(|&base| (0..size as isize).map(move |index| base + index * stride)).collect();
    }
    out
}

/// Gathers from a source with gaps, without making it contiguous: for few elements of a large view.
fn take_strided(
    layout: &Layout,
    source: &Value,
    axis: usize,
    count: usize,
    rows: &[i64],
    out: &mut Value,
) -> Result<()> {
    let (shape, strides) = (&layout.shape, &layout.strides);
    let end = axis + count;
    let mut run_start = shape.len();
    let mut run = 1usize;
    while run_start > end && (strides[run_start - 1] == run as isize || shape[run_start - 1] == 1) {
        run_start -= 1;
        run *= shape[run_start];
    }
    let before = offsets(&shape[..axis], &strides[..axis]);
    let after = offsets(&shape[end..run_start], &strides[end..run_start]);
    let place = |row: i64| {
        let (mut rest, mut offset) = (row as usize, 0);
        for axis in (axis..end).rev() {
            offset += (rest % shape[axis]) as isize * strides[axis];
            rest /= shape[axis];
        }
        offset
    };
    let picked: Vec<isize> = rows.iter().map(|&row| place(row)).collect();
    let mut all = Vec::new();
    let total = before.len() * picked.len() * after.len();
    all.try_reserve_exact(total).map_err(|_| Error::Memory(total.saturating_mul(size_of::<isize>())))?;
    for outer in &before {
        for row in &picked {
            all.extend(after.iter().map(|inner| outer + row + inner));
        }
    }
    // SAFETY: the offsets are those of elements of the source's layout, with `run` contiguous ones each.
    unsafe { cpu::index::gather_nd(source.dtype().size(), run, source.pointer(), &all, out.pointer_mut()) };
    Ok(())
}

fn fill_zero(out: &mut Value) {
    // SAFETY: a fresh contiguous value; all bits zero is 0 in every dtype.
    unsafe { cast::fill(out.dtype().size(), [0; 8], out.count(), out.pointer_mut()) };
}

impl Gather {
    /// The number of inputs before the index tensors.
    fn operands(&self) -> usize {
        match self {
            Gather::Add { .. } | Gather::Set { .. } | Gather::Overwrite(_) => 2,
            _ => 1,
        }
    }

    /// Adds or writes rows of `updates` into `out`.
    fn scatter(&self, axis: usize, labels: &Axes, updates: &Value, indices: &[&Value], out: &mut Value) -> Result<()> {
        let shape = *out.shape();
        let rows = positions(self.name(), indices, &shape[axis..axis + labels.len()], labels)?;
        let (outer, length, inner) = split(&shape, axis, labels.len());
        let updates = updates.to_contiguous()?;
        let (dtype, to) = (out.dtype(), out.pointer_mut());
        // SAFETY: the indices are checked; both tensors are contiguous with these sizes, the output fresh.
        unsafe {
            match self {
                Gather::Set { .. } => {
                    cpu::index::scatter_set(dtype.size(), outer, length, inner, &rows, updates.pointer(), to);
                }
                _ => cpu::index::scatter_add(dtype, outer, length, inner, &rows, updates.pointer(), to),
            }
        }
        Ok(())
    }

    /// The transpose that takes the gradient at the indices.
    fn take_of(axis: usize, labels: &Axes, from: &Tensor, indices: &[&Tensor]) -> Result<Tensor> {
        let mut inputs: SmallVec<[&Tensor; 4]> = smallvec![from];
        inputs.extend_from_slice(indices);
        apply(Gather::Take { axis, labels: *labels }, &inputs)
    }
}

/// The shape that updates have for indices of the shape `picked` into `shape`.
fn check_updates(op: &str, updates: &Value, expected: &Shape) -> Result<()> {
    if updates.shape() != expected {
        let (got, expected) = (show(updates.shape()), show(expected));
        return Err(Error::shape(
            op,
            format_args!("updates of shape {got}, the indexed elements have shape {expected}"),
        ));
    }
    Ok(())
}

impl Family for Gather {
    fn name(&self) -> &'static str {
        match self {
            Gather::Take { .. } => "take",
            Gather::Put { .. } | Gather::Add { .. } => "scatter_add",
            Gather::Set { .. } => "scatter_set",
            Gather::TakeAlong { .. } => "take_along_axis",
            Gather::PutAlong { .. } => "scatter_add_along",
            Gather::Overwrite(_) => "overwrite",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let (dtype, shape) = (inputs[0].dtype(), inputs[0].shape());
        let indices = &inputs[self.operands()..];
        if let Some(wrong) = indices.iter().find(|index| !index.dtype().is_int()) {
            return Err(Error::dtype(self.name(), format_args!("indices must be integers, got {}", wrong.dtype())));
        }
        let picked = indices.first().map_or(Shape::EMPTY, |index| *index.shape());
        let shape = match self {
            Gather::Take { axis, labels } => replaced(shape, *axis, labels.len(), &picked)?,
            Gather::Put { axis, sizes, .. } => replaced(shape, *axis, picked.len(), sizes)?,
            Gather::Add { axis, labels } | Gather::Set { axis, labels } => {
                check_updates(self.name(), inputs[1], &replaced(shape, *axis, labels.len(), &picked)?)?;
                *shape
            }
            Gather::TakeAlong { axis } => replaced(shape, *axis, 1, &picked[*axis..=*axis])?,
            Gather::PutAlong { axis, length } => replaced(shape, *axis, 1, &[*length])?,
            Gather::Overwrite(window) => {
                check_updates(self.name(), inputs[1], &window.size)?;
                *shape
            }
        };
        Ok(smallvec![Spec { dtype, shape }])
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let (x, out) = (inputs[0], &mut outputs[0]);
        let indices = &inputs[self.operands()..];
        let size = x.dtype().size();
        match self {
            Gather::Take { axis, labels } => {
                let (outer, length, inner) = split(x.shape(), *axis, labels.len());
                let rows = positions(self.name(), indices, &x.shape()[*axis..*axis + labels.len()], labels)?;
                if out.count() == 0 {
                    return Ok(());
                }
                if !x.is_contiguous() && out.count() < x.count() / 2 {
                    return take_strided(x.layout(), x, *axis, labels.len(), &rows, out);
                }
                let x = x.to_contiguous()?;
                // SAFETY: the indices are checked; both tensors are contiguous with these sizes.
                unsafe { cpu::index::take(size, outer, length, inner, x.pointer(), &rows, out.pointer_mut()) };
            }
            Gather::Put { axis, labels, .. } => {
                fill_zero(out);
                self.scatter(*axis, labels, x, indices, out)?;
            }
            Gather::Add { axis, labels } | Gather::Set { axis, labels } => {
                copy_value(x, out);
                self.scatter(*axis, labels, inputs[1], indices, out)?;
            }
            Gather::TakeAlong { axis } => {
                let (outer, length, inner) = split(x.shape(), *axis, 1);
                let picked = indices[0].shape()[*axis];
                let rows = checked(self.name(), indices[0], length, *axis)?;
                let x = x.to_contiguous()?;
                let (from, to) = (x.pointer(), out.pointer_mut());
                // SAFETY: the indices are checked; the tensors are contiguous with these sizes.
                unsafe { cpu::index::take_along(size, outer, length, picked, inner, from, rows.as_ptr(), to) };
            }
            Gather::PutAlong { axis, length } => {
                fill_zero(out);
                let (outer, picked, inner) = split(x.shape(), *axis, 1);
                let rows = checked(self.name(), indices[0], *length, *axis)?;
                let (dtype, x) = (x.dtype(), x.to_contiguous()?);
                let (rows, from, to) = (rows.as_ptr(), x.pointer(), out.pointer_mut());
                // SAFETY: the indices are checked; the tensors are contiguous with these sizes.
                unsafe { cpu::index::scatter_add_along(dtype, outer, *length, picked, inner, rows, from, to) };
            }
            Gather::Overwrite(window) => {
                copy_value(x, out);
                let place = slice_layout(out.layout(), window);
                copy_into(inputs[1], out, place.offset, &place.strides);
            }
        }
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<crate::cuda::Plan>> {
        Some(self.plan(inputs, &outputs[0]))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves { inputs: u32::MAX << self.operands(), output: false }
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let operands = self.operands();
        let indices =
            (operands..saved.arity()).map(|input| saved.input(input)).collect::<Result<SmallVec<[&Tensor; 4]>>>()?;
        let mut gradients: Gradients = smallvec![None; saved.arity()];
        match self {
            Gather::Take { axis, labels } => {
                let sizes = Shape::from_slice(&saved.shape(0)[*axis..*axis + labels.len()])?;
                let mut inputs: SmallVec<[&Tensor; 4]> = smallvec![dy];
                inputs.extend_from_slice(&indices);
                gradients[0] = Some(apply(Gather::Put { axis: *axis, sizes, labels: *labels }, &inputs)?);
            }
            Gather::Put { axis, labels, .. } => gradients[0] = Some(Gather::take_of(*axis, labels, dy, &indices)?),
            Gather::Add { axis, labels } => {
                gradients[0] = saved.wants(0).then(|| dy.clone());
                if saved.wants(1) {
                    gradients[1] = Some(Gather::take_of(*axis, labels, dy, &indices)?);
                }
            }
            Gather::Set { axis, labels } => {
                if saved.wants(0) {
                    let shape = replaced(dy.shape(), *axis, labels.len(), indices[0].shape())?;
                    let zeros = zeros_beside(dy, dy.dtype())?.broadcast_to(&shape)?;
                    let mut inputs: SmallVec<[&Tensor; 4]> = smallvec![dy, &zeros];
                    inputs.extend_from_slice(&indices);
                    gradients[0] = Some(apply(self.clone(), &inputs)?);
                }
                if saved.wants(1) {
                    let gradient = Gather::take_of(*axis, labels, dy, &indices)?;
                    let sizes = &dy.shape()[*axis..*axis + labels.len()];
                    let after = dy.rank() - axis - labels.len();
                    let kept = survivors(&indices, sizes)?.cast(dy.dtype())?;
                    let mut shape = *kept.shape();
                    (0..after).try_for_each(|_| shape.push(1))?;
                    gradients[1] = Some(gradient.mul(&kept.reshape_to(&shape)?)?);
                }
            }
            Gather::TakeAlong { axis } => {
                let op = Gather::PutAlong { axis: *axis, length: saved.shape(0)[*axis] };
                gradients[0] = Some(apply(op, &[dy, indices[0]])?);
            }
            Gather::PutAlong { axis, .. } => {
                gradients[0] = Some(apply(Gather::TakeAlong { axis: *axis }, &[dy, indices[0]])?);
            }
            Gather::Overwrite(window) => {
                if saved.wants(0) {
                    let zeros = zeros_beside(dy, dy.dtype())?.broadcast_to(&window.size)?;
                    gradients[0] = Some(apply(self.clone(), &[dy, &zeros])?);
                }
                if saved.wants(1) {
                    gradients[1] = Some(apply(Linear::Slice(window.clone()), &[dy])?);
                }
            }
        }
        Ok(gradients)
    }

    fn jvp(&self, inputs: &[Tensor], _outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        let operands = self.operands();
        if tangents[..operands].iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut moved = inputs.to_vec();
        for (input, tangent) in moved[..operands].iter_mut().zip(tangents) {
            *input = match tangent {
                Some(tangent) => tangent.clone(),
                None => input.zeros_like()?,
            };
        }
        apply(self.clone(), &moved.iter().collect::<SmallVec<[&Tensor; 4]>>()).map(Some)
    }
}

/// Which of the positions that `indices` name are not overwritten by a later, equal one.
fn survivors(indices: &[&Tensor], sizes: &[usize]) -> Result<Tensor> {
    let like = indices[0];
    let count = like.count();
    let numbers: Vec<i64> = (0..count as i64).collect();
    let numbers = beside(Tensor::new(&numbers, like.shape())?, like)?;
    let table = zeros_beside(like, DType::I64)?.broadcast_to(sizes)?;
    let labels = Axes::collect(0..sizes.len())?;
    let mut inputs: SmallVec<[&Tensor; 4]> = smallvec![&table, &numbers];
    inputs.extend_from_slice(indices);
    let table = apply(Gather::Set { axis: 0, labels }, &inputs)?;
    Gather::take_of(0, &labels, &table, indices)?.equal(&numbers)
}

/// A host tensor moved to where `like` lies.
pub(crate) fn beside(tensor: Tensor, like: &Tensor) -> Result<Tensor> {
    if like.value().is_abstract() {
        return Ok(Value::abstract_of(tensor.dtype(), tensor.shape())?.into());
    }
    match like.device() {
        Some(device) => tensor.to_device(device),
        None => Ok(tensor),
    }
}

/// A 0-d zero where `like` lies.
fn zeros_beside(like: &Tensor, dtype: DType) -> Result<Tensor> {
    beside(Tensor::scalar(Scalar::Int(0), dtype), like)
}

/// `value` in `dtype`, refused where that is of a lower kind: a float does not silently become an integer.
pub(crate) fn fitting(op: &str, value: &Tensor, dtype: DType) -> Result<Tensor> {
    if value.dtype().kind() > dtype.kind() {
        return Err(Error::dtype(
            op,
            format_args!(
                "a value of dtype {} does not go into a tensor of dtype {dtype}; cast it with astype",
                value.dtype()
            ),
        ));
    }
    value.cast(dtype)
}

fn no_truth_values(op: &str, dtype: DType) -> Result<()> {
    match dtype {
        DType::Bool => Err(Error::unsupported(op, dtype, "numbers")),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
