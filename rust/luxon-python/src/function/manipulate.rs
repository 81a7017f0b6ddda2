//! Functions that rearrange elements: views wherever layouts can express the result.

use luxon::{Error, Padding, Repeats, Scalar, Sections, Tensor};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{AxesArg, Count, ShapeArg, TensorArg, index_list, integer, is_list, scalar_of, to_tensor};
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
    Ok(x.moveaxis(&source.0, &destination.0)?.into())
}

/// A new axis of size 1 at each given place of the result.
#[pyfunction]
#[pyo3(signature = (x, /, axis=None))]
fn expand_dims(x: TensorArg, axis: Option<AxesArg>) -> Out<PyTensor> {
    let axes = axis.map_or_else(|| vec![0], |axis| axis.0);
    let rank = x.rank() + axes.len();
    let places = luxon::layout::resolve_axes("expand_dims", &axes, rank)?;
    let mut sizes = x.shape().iter();
    let shape: Vec<isize> = (0..rank)
        .map(|place| if places.contains(&place) { 1 } else { sizes.next().map_or(1, |&size| size as isize) })
        .collect();
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
fn broadcast_arrays<'py>(py: Python<'py>, arrays: &Bound<'py, PyTuple>) -> Out<Bound<'py, PyTuple>> {
    let tensors = tensors(arrays)?;
    let broadcast = luxon::broadcast_tensors(&tensors.iter().collect::<Vec<_>>())?;
    Ok(PyTuple::new(py, broadcast.into_iter().map(PyTensor))?)
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
#[pyo3(signature = (arrays, /, axis=Some(0)), text_signature = "(arrays, /, axis=0)")]
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
    Ok(PyTuple::new(py, x.unstack(axis)?.into_iter().map(PyTensor))?)
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
    let parts = if is_list(indices_or_sections) {
        x.split(Sections::At(&index_list(indices_or_sections, "split: indices_or_sections")?), axis)?
    } else {
        let count = integer(indices_or_sections, "split: indices_or_sections")?;
        let count =
            usize::try_from(count).map_err(|_| Error::value("split", format_args!("there are no {count} parts")))?;
        x.split(Sections::Equal(count), axis)?
    };
    Ok(parts.into_iter().map(PyTensor).collect())
}

/// The elements moved by `shift` places along an axis, those that leave at one end coming in at the other.
#[pyfunction]
#[pyo3(signature = (x, /, shift, *, axis=None))]
fn roll(py: Python<'_>, x: TensorArg, shift: AxesArg, axis: Option<AxesArg>) -> Out<PyTensor> {
    let mut shifts = shift.0;
    let axes = axis.map(|axis| axis.0);
    if let (Some(axes), [one]) = (&axes, shifts.as_slice()) {
        shifts = vec![*one; axes.len()];
    }
    Ok(released(py, elements(x.count()), || x.roll(&shifts, axes.as_deref()))?.into())
}

/// The elements along an axis (of the flattened tensor for None) each repeated so many times.
#[pyfunction]
#[pyo3(signature = (x, repeats, /, *, axis=None))]
fn repeat(py: Python<'_>, x: TensorArg, repeats: &Bound<'_, PyAny>, axis: Option<isize>) -> Out<PyTensor> {
    if let Some(Scalar::Int(count)) = scalar_of(repeats)? {
        let count = usize::try_from(count).map_err(|_| Error::value("repeat", "repeats must not be negative"))?;
        let total = elements(x.count()) * count as f64;
        return Ok(released(py, total, || x.repeat(Repeats::Each(count), axis))?.into());
    }
    let list = to_tensor(repeats)?;
    Ok(released(py, elements(x.count()), || x.repeat(Repeats::List(&list), axis))?.into())
}

/// The tensor repeated as a whole, so many times along each axis.
#[pyfunction]
#[pyo3(signature = (x, repetitions, /))]
fn tile(py: Python<'_>, x: TensorArg, repetitions: ShapeArg) -> Out<PyTensor> {
    let times = repetitions.sizes()?;
    let total = times.iter().fold(elements(x.count()), |total, &times| total * times as f64);
    Ok(released(py, total, || x.tile(&times))?.into())
}

/// The tensor turned k times by 90 degrees in the plane of two axes, from the first towards the second.
#[pyfunction]
#[pyo3(signature = (x, k=1, axes=None), text_signature = "(x, k=1, axes=(0, 1))")]
fn rot90(x: TensorArg, k: isize, axes: Option<&Bound<'_, PyAny>>) -> Out<PyTensor> {
    let axes = match axes.map(|axes| index_list(axes, "rot90: axes")).transpose()?.as_deref() {
        None => (0, 1),
        Some(&[first, second]) => (first, second),
        Some(given) => return Err(Error::value("rot90", format_args!("axes must be two, got {given:?}")).into()),
    };
    Ok(x.rot90(k, axes)?.into())
}

/// One (before, after) pair for each axis, from NumPy's forms: n, (before, after), or a pair an axis.
fn widths(object: &Bound<'_, PyAny>, rank: usize) -> Out<Vec<(usize, usize)>> {
    let width = |entry: &Bound<'_, PyAny>| -> Out<usize> {
        let width = integer(entry, "pad_width")?;
        Ok(usize::try_from(width).map_err(|_| Error::value("pad", format_args!("a width of {width} is negative")))?)
    };
    if !is_list(object) {
        let both = width(object)?;
        return Ok(vec![(both, both); rank]);
    }
    let entries = object.try_iter()?.collect::<PyResult<Vec<_>>>()?;
    if entries.len() == 2 && !is_list(&entries[0]) {
        return Ok(vec![(width(&entries[0])?, width(&entries[1])?); rank]);
    }
    let mut pairs = Vec::new();
    for entry in &entries {
        let pair = if is_list(entry) { entry.try_iter()?.collect::<PyResult<Vec<_>>>()? } else { Vec::new() };
        match pair.as_slice() {
            [both] => pairs.push((width(both)?, width(both)?)),
            [before, after] => pairs.push((width(before)?, width(after)?)),
            _ => return Err(Error::value("pad", "pad_width must be an int, a pair, or a pair for each axis").into()),
        }
    }
    if let [pair] = pairs.as_slice() {
        pairs = vec![*pair; rank];
    }
    Ok(pairs)
}

/// The tensor with elements added around it: `mode` is "constant", "reflect", "edge" or "wrap".
#[pyfunction]
#[pyo3(signature = (x, /, pad_width, mode="constant", constant_values=None))]
fn pad(
    py: Python<'_>,
    x: TensorArg,
    pad_width: &Bound<'_, PyAny>,
    mode: &str,
    constant_values: Option<&Bound<'_, PyAny>>,
) -> Out<PyTensor> {
    let widths = widths(pad_width, x.rank())?;
    let value = match constant_values {
        Some(value) => scalar_of(value)?.ok_or_else(|| Error::dtype("pad", "constant_values must be a number"))?,
        None => Scalar::Int(0),
    };
    let padding = match mode {
        "constant" => Padding::Constant(value),
        "reflect" => Padding::Reflect,
        "edge" => Padding::Edge,
        "wrap" => Padding::Wrap,
        other => {
            let text = format!("mode must be \"constant\", \"reflect\", \"edge\" or \"wrap\", not {other:?}");
            return Err(Error::value("pad", text).into());
        }
    };
    Ok(released(py, 2.0 * elements(x.count()), || x.pad(&widths, padding))?.into())
}

/// The differences of neighbours along an axis, taken n times; `prepend` and `append` are joined on before.
#[pyfunction]
#[pyo3(signature = (x, /, *, axis=-1, n=Count::new(1), prepend=None, append=None), text_signature = "(x, /, *, axis=-1, n=1, prepend=None, append=None)")]
fn diff(
    py: Python<'_>,
    x: TensorArg,
    axis: isize,
    n: Count,
    prepend: Option<TensorArg>,
    append: Option<TensorArg>,
) -> Out<PyTensor> {
    let n = n.of("diff", "n")?;
    if n == 0 {
        return Ok(x.0.into());
    }
    let parts: Vec<&Tensor> =
        [prepend.as_ref(), Some(&x), append.as_ref()].into_iter().flatten().map(|part| &part.0).collect();
    let joined = luxon::concat(&parts, axis)?;
    Ok(released(py, elements(x.count()), || joined.diff(n, axis))?.into())
}

/// NaN and the infinities replaced; infinities by the largest finite numbers unless given.
#[pyfunction]
#[pyo3(signature = (x, /, nan=0.0, posinf=None, neginf=None))]
fn nan_to_num(py: Python<'_>, x: TensorArg, nan: f64, posinf: Option<f64>, neginf: Option<f64>) -> Out<PyTensor> {
    Ok(released(py, elements(x.count()), || x.nan_to_num(nan, posinf, neginf))?.into())
}

/// Whether elements are within atol + rtol * |x2| of each other.
#[pyfunction]
#[pyo3(signature = (x1, x2, /, rtol=1e-5, atol=1e-8, equal_nan=false))]
fn isclose(x1: TensorArg, x2: TensorArg, rtol: f64, atol: f64, equal_nan: bool) -> Out<PyTensor> {
    Ok(x1.isclose(&x2, rtol, atol, equal_nan)?.into())
}

/// Whether all elements are within atol + rtol * |x2| of each other.
#[pyfunction]
#[pyo3(signature = (x1, x2, /, rtol=1e-5, atol=1e-8, equal_nan=false))]
fn allclose(x1: TensorArg, x2: TensorArg, rtol: f64, atol: f64, equal_nan: bool) -> Out<bool> {
    Ok(x1.allclose(&x2, rtol, atol, equal_nan)?)
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    macro_rules! add {
        ($($name:ident),* $(,)?) => { $(module.add_function(wrap_pyfunction!($name, module)?)?;)* };
    }
    add!(
        reshape,
        permute_dims,
        swapaxes,
        moveaxis,
        expand_dims,
        squeeze,
        broadcast_to,
        broadcast_arrays,
        broadcast_shapes,
        concat,
        stack,
        unstack,
        split,
        flip,
        ravel,
        roll,
        repeat,
        tile,
        rot90,
        pad,
        diff,
        nan_to_num,
        isclose,
        allclose,
    );
    Ok(())
}
