//! Functions that rearrange elements: views wherever layouts can express the result.

use luxon::layout::{resolve_axis, show};
use luxon::{Error, Tensor};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{AxesArg, ShapeArg, TensorArg, index_list, to_tensor};
use crate::error::Out;
use crate::gil::{elements, released};
use crate::tensor::PyTensor;

/// The tensors of a list or tuple (or of the first axis of a tensor).
pub fn tensors(object: &Bound<'_, PyAny>) -> PyResult<Vec<Tensor>> {
    object.try_iter()?.map(|item| to_tensor(&item?)).collect()
}

/// The same elements in row-major order under another shape; one size may be -1.
#[pyfunction]
#[pyo3(signature = (x, /, shape, *, copy=None))]
fn reshape(x: TensorArg, shape: ShapeArg, copy: Option<bool>) -> Out<PyTensor> {
    let reshaped = x.reshape(&shape.0)?;
    let moved = !x.value().is_abstract() && x.count() > 0 && reshaped.value().pointer() != x.value().pointer();
    if copy == Some(false) && moved && x.count() * x.dtype().size() > luxon::buffer::INLINE_BYTES {
        return Err(Error::value("reshape", "these strides cannot be reshaped without a copy").into());
    }
    Ok(reshaped.into())
}

/// The axes in another order: axis i of the result is axis axes[i] of x.
#[pyfunction]
#[pyo3(signature = (x, /, axes))]
fn permute_dims(x: TensorArg, axes: AxesArg) -> Out<PyTensor> {
    Ok(x.permute(&axes.0)?.into())
}

/// Two axes swapped.
#[pyfunction]
#[pyo3(signature = (x, axis1, axis2, /))]
fn swapaxes(x: TensorArg, axis1: isize, axis2: isize) -> Out<PyTensor> {
    Ok(x.swap_axes(axis1, axis2)?.into())
}

/// Axes moved to other places; the others keep their order.
#[pyfunction]
#[pyo3(signature = (x, source, destination, /))]
fn moveaxis(x: TensorArg, source: AxesArg, destination: AxesArg) -> Out<PyTensor> {
    let (from, to) = (source.0, destination.0);
    if from.len() != to.len() {
        return Err(Error::value("moveaxis", format_args!("{} axes are to go to {} places", from.len(), to.len())).into());
    }
    let resolve = |axes: &[isize]| axes.iter().map(|&axis| resolve_axis("moveaxis", axis, x.rank())).collect::<luxon::Result<Vec<_>>>();
    let (from, to) = (resolve(&from)?, resolve(&to)?);
    let mut places = vec![None; x.rank()];
    for (&source, &place) in from.iter().zip(&to) {
        if places[place].replace(source as isize).is_some() {
            return Err(Error::value("moveaxis", format_args!("place {place} is given twice")).into());
        }
    }
    let mut rest = (0..x.rank()).filter(|axis| !from.contains(axis));
    let order: Vec<isize> = places.into_iter().filter_map(|place| place.or_else(|| rest.next().map(|axis| axis as isize))).collect();
    Ok(x.permute(&order)?.into())
}

/// A new axis of size 1 at each given place of the result.
#[pyfunction]
#[pyo3(signature = (x, /, axis=None))]
fn expand_dims(x: TensorArg, axis: Option<AxesArg>) -> Out<PyTensor> {
    let axes = axis.map_or_else(|| vec![0], |axis| axis.0);
    let rank = x.rank() + axes.len();
    let places = luxon::layout::resolve_axes("expand_dims", &axes, rank)?;
    let mut sizes = x.shape().iter();
    let shape: Vec<isize> =
        (0..rank).map(|place| if places.contains(&place) { 1 } else { sizes.next().map_or(1, |&size| size as isize) }).collect();
    Ok(x.reshape(&shape)?.into())
}

/// Without the given axes, which have size 1; without any axis of size 1 for None.
#[pyfunction]
#[pyo3(signature = (x, /, axis=None))]
fn squeeze(x: TensorArg, axis: Option<AxesArg>) -> Out<PyTensor> {
    let axes = axis.map_or_else(
        || x.shape().iter().enumerate().filter(|&(_, &size)| size == 1).map(|(axis, _)| axis as isize).collect(),
        |axis| axis.0,
    );
    Ok(x.squeeze(&axes)?.into())
}

/// Repeated to a shape by the rules of broadcasting, as a view.
#[pyfunction]
#[pyo3(signature = (x, /, shape))]
fn broadcast_to(x: TensorArg, shape: ShapeArg) -> Out<PyTensor> {
    Ok(x.broadcast_to(&shape.sizes()?)?.into())
}

/// The tensors broadcast to their common shape.
#[pyfunction]
#[pyo3(signature = (*arrays))]
fn broadcast_arrays(arrays: &Bound<'_, PyTuple>) -> Out<Vec<PyTensor>> {
    let tensors = tensors(arrays)?;
    let broadcast = luxon::broadcast_tensors(&tensors.iter().collect::<Vec<_>>())?;
    Ok(broadcast.into_iter().map(PyTensor).collect())
}

/// The shape that the shapes broadcast to together.
#[pyfunction]
#[pyo3(signature = (*shapes))]
fn broadcast_shapes<'py>(py: Python<'py>, shapes: &Bound<'py, PyTuple>) -> Out<Bound<'py, PyTuple>> {
    let mut common = luxon::Shape::new();
    for shape in shapes.iter() {
        let sizes = ShapeArg(index_list(&shape, "shape")?).sizes()?;
        common = luxon::layout::broadcast_shapes("broadcast_shapes", &common, &sizes)?;
    }
    Ok(PyTuple::new(py, common.iter())?)
}

/// The tensors one after the other along an axis; flattened first for axis=None.
#[pyfunction]
#[pyo3(signature = (arrays, /, axis=Some(0)))]
fn concat(py: Python<'_>, arrays: &Bound<'_, PyAny>, axis: Option<isize>) -> Out<PyTensor> {
    let mut parts = tensors(arrays)?;
    if axis.is_none() {
        for part in &mut parts {
            *part = part.reshape(&[-1])?;
        }
    }
    let total = parts.iter().map(Tensor::count).sum();
    Ok(released(py, elements(total), || luxon::concat(&parts.iter().collect::<Vec<_>>(), axis.unwrap_or(0)))?.into())
}

/// The tensors side by side along a new axis.
#[pyfunction]
#[pyo3(signature = (arrays, /, axis=0))]
fn stack(py: Python<'_>, arrays: &Bound<'_, PyAny>, axis: isize) -> Out<PyTensor> {
    let parts = tensors(arrays)?;
    let total = parts.iter().map(Tensor::count).sum();
    Ok(released(py, elements(total), || luxon::stack(&parts.iter().collect::<Vec<_>>(), axis))?.into())
}

/// The parts along an axis, which disappears.
#[pyfunction]
#[pyo3(signature = (x, /, axis=0))]
fn unstack<'py>(py: Python<'py>, x: TensorArg, axis: isize) -> Out<Bound<'py, PyTuple>> {
    let axis = resolve_axis("unstack", axis, x.rank())?;
    let part = |index| -> luxon::Result<PyTensor> { Ok(x.narrow(axis, index, 1)?.squeeze(&[axis as isize])?.into()) };
    let parts = (0..x.shape()[axis]).map(part).collect::<luxon::Result<Vec<_>>>()?;
    Ok(PyTuple::new(py, parts)?)
}

/// The elements along the given axes in reverse order; along all for None.
#[pyfunction]
#[pyo3(signature = (x, /, axis=None))]
fn flip(x: TensorArg, axis: Option<AxesArg>) -> Out<PyTensor> {
    let axes = axis.map_or_else(|| (0..x.rank() as isize).collect(), |axis| axis.0);
    Ok(x.flip(&axes)?.into())
}

/// The elements in row-major order along one axis.
#[pyfunction]
#[pyo3(signature = (x, /))]
fn ravel(x: TensorArg) -> Out<PyTensor> {
    Ok(x.reshape(&[-1])?.into())
}

/// The parts of x along an axis: as many equal ones as an int says, or cut before the given positions.
#[pyfunction]
#[pyo3(signature = (x, /, indices_or_sections, axis=0))]
fn split(x: TensorArg, indices_or_sections: &Bound<'_, PyAny>, axis: isize) -> Out<Vec<PyTensor>> {
    let axis = resolve_axis("split", axis, x.rank())?;
    let size = x.shape()[axis];
    let cuts: Vec<usize> = if indices_or_sections.is_instance_of::<pyo3::types::PyInt>() {
        let sections = indices_or_sections.extract::<usize>().unwrap_or(0);
        if sections == 0 || size % sections != 0 {
            let shape = show(x.shape());
            return Err(Error::value("split", format_args!("axis {axis} of shape {shape} has no {indices_or_sections} equal parts")).into());
        }
        (1..sections).map(|section| section * (size / sections)).collect()
    } else {
        let end = size as isize;
        let clamp = |cut: isize| (if cut < 0 { cut.saturating_add(end) } else { cut }).clamp(0, end) as usize;
        index_list(indices_or_sections, "indices_or_sections")?.into_iter().map(clamp).collect()
    };
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain(std::iter::once(size));
    let parts = starts.zip(ends).map(|(start, end)| Ok(x.narrow(axis, start, end.saturating_sub(start))?.into()));
    Ok(parts.collect::<luxon::Result<_>>()?)
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(reshape, module)?)?;
    module.add_function(wrap_pyfunction!(permute_dims, module)?)?;
    module.add_function(wrap_pyfunction!(swapaxes, module)?)?;
    module.add_function(wrap_pyfunction!(moveaxis, module)?)?;
    module.add_function(wrap_pyfunction!(expand_dims, module)?)?;
    module.add_function(wrap_pyfunction!(squeeze, module)?)?;
    module.add_function(wrap_pyfunction!(broadcast_to, module)?)?;
    module.add_function(wrap_pyfunction!(broadcast_arrays, module)?)?;
    module.add_function(wrap_pyfunction!(broadcast_shapes, module)?)?;
    module.add_function(wrap_pyfunction!(concat, module)?)?;
    module.add_function(wrap_pyfunction!(stack, module)?)?;
    module.add_function(wrap_pyfunction!(unstack, module)?)?;
    module.add_function(wrap_pyfunction!(split, module)?)?;
    module.add_function(wrap_pyfunction!(flip, module)?)?;
    module.add_function(wrap_pyfunction!(ravel, module)?)
}
