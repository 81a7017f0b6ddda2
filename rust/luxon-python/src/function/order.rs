//! Sorting, searching, sets, running totals, and picking elements by position.

use luxon::{DType, Error, Quantile, Tensor};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{Argument, AxesArg, Count, TensorArg, from_nested, is_list, to_tensor};
use crate::dtype::DTypeArg;
use crate::error::Out;
use crate::gil::{elements, released};
use crate::tensor::PyTensor;

/// The estimate for sorting.
fn sorting(x: &Tensor) -> f64 {
    20.0 * x.count() as f64
}

/// A named tuple of tensors, as the array API asks of functions with several results.
fn named<'py>(py: Python<'py>, name: &str, tensors: Vec<Tensor>) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("luxon._results")?.getattr(name)?;
    let tensors = tensors.into_iter().map(|tensor| Py::new(py, PyTensor(tensor))).collect::<PyResult<Vec<_>>>()?;
    class.call1(PyTuple::new(py, tensors)?)
}

/// The elements in order along an axis; NaN comes last.
#[pyfunction]
#[pyo3(signature = (x, /, *, axis=-1, descending=false, stable=true), text_signature = "(x, /, *, axis=-1, descending=False, stable=True)")]
fn sort(py: Python<'_>, x: TensorArg, axis: isize, descending: bool, stable: bool) -> Out<PyTensor> {
    let _ = stable;
    Ok(released(py, sorting(&x), || x.sort(axis, descending))?.into())
}

/// The positions of the elements in order along an axis; equal ones keep their order, NaN comes last.
#[pyfunction]
#[pyo3(signature = (x, /, *, axis=-1, descending=false, stable=true), text_signature = "(x, /, *, axis=-1, descending=False, stable=True)")]
fn argsort(py: Python<'_>, x: TensorArg, axis: isize, descending: bool, stable: bool) -> Out<PyTensor> {
    let _ = stable;
    Ok(released(py, sorting(&x), || x.argsort(axis, descending))?.into())
}

/// The k largest (or smallest) elements along an axis, the best first, and their positions.
#[pyfunction]
#[pyo3(signature = (x, k, /, axis=-1, largest=true), text_signature = "(x, k, /, axis=-1, largest=True)")]
fn top_k<'py>(py: Python<'py>, x: TensorArg, k: Count, axis: isize, largest: bool) -> Out<Bound<'py, PyAny>> {
    let k = k.of("top_k", "k")?;
    let (values, indices) = released(py, sorting(&x), || x.top_k(k, axis, largest))?;
    Ok(named(py, "TopK", vec![values, indices])?)
}

/// Before ("left") or after ("right") which element of the sorted list x1 each element of x2 goes.
#[pyfunction]
#[pyo3(signature = (x1, x2, /, *, side="left", sorter=None))]
fn searchsorted(py: Python<'_>, x1: TensorArg, x2: TensorArg, side: &str, sorter: Option<TensorArg>) -> Out<PyTensor> {
    let right = match side {
        "left" => false,
        "right" => true,
        other => {
            return Err(Error::value(
                "searchsorted",
                format_args!("side must be \"left\" or \"right\", not {other:?}"),
            )
            .into());
        }
    };
    let sorter = sorter.as_ref().map(|sorter| &sorter.0);
    Ok(released(py, sorting(&x2), || x1.searchsorted(&x2, right, sorter))?.into())
}

/// The positions of the elements that are not zero: one tensor for each axis.
#[pyfunction]
#[pyo3(signature = (x, /))]
fn nonzero<'py>(py: Python<'py>, x: TensorArg) -> Out<Bound<'py, PyTuple>> {
    let positions = released(py, elements(x.count()), || x.nonzero())?;
    Ok(PyTuple::new(py, positions.into_iter().map(PyTensor))?)
}

/// The distinct elements, sorted, with first positions, inverse positions and counts.
#[pyfunction]
#[pyo3(signature = (x, /))]
fn unique_all<'py>(py: Python<'py>, x: TensorArg) -> Out<Bound<'py, PyAny>> {
    let unique = released(py, sorting(&x), || x.unique_all())?;
    Ok(named(py, "UniqueAll", vec![unique.values, unique.indices, unique.inverse, unique.counts])?)
}

/// The distinct elements, sorted, with their counts.
#[pyfunction]
#[pyo3(signature = (x, /))]
fn unique_counts<'py>(py: Python<'py>, x: TensorArg) -> Out<Bound<'py, PyAny>> {
    let (values, counts) = released(py, sorting(&x), || x.unique_counts())?;
    Ok(named(py, "UniqueCounts", vec![values, counts])?)
}

/// The distinct elements, sorted, and for each element of x which of them it is.
#[pyfunction]
#[pyo3(signature = (x, /))]
fn unique_inverse<'py>(py: Python<'py>, x: TensorArg) -> Out<Bound<'py, PyAny>> {
    let (values, inverse) = released(py, sorting(&x), || x.unique_inverse())?;
    Ok(named(py, "UniqueInverse", vec![values, inverse])?)
}

/// The distinct elements, sorted.
#[pyfunction]
#[pyo3(signature = (x, /))]
fn unique_values(py: Python<'_>, x: TensorArg) -> Out<PyTensor> {
    Ok(released(py, sorting(&x), || x.unique_values())?.into())
}

/// Whether each element of x1 is (with `invert`: is not) one of those of x2.
#[pyfunction]
#[pyo3(signature = (x1, x2, /, *, invert=false))]
fn isin(py: Python<'_>, x1: TensorArg, x2: TensorArg, invert: bool) -> Out<PyTensor> {
    let found = released(py, sorting(&x1), || x1.isin(&x2))?;
    Ok(if invert { found.logical_not()? } else { found }.into())
}

/// The median over axes: the middle element, or the mean of the two middle ones.
#[pyfunction]
#[pyo3(signature = (x, /, axis=None, *, keepdims=false))]
fn median(py: Python<'_>, x: TensorArg, axis: Option<AxesArg>, keepdims: bool) -> Out<PyTensor> {
    let axes = axis.map(|axis| axis.0);
    Ok(released(py, sorting(&x), || x.median(axes.as_deref(), keepdims))?.into())
}

/// The quantiles q, each in [0, 1], over axes; an axis for q comes first unless q is a number.
///
/// A quantile between two elements is by `method` the point on the line between them ("linear"), the
/// "lower", the "higher" or the "nearest" of them, or their "midpoint".
#[pyfunction]
#[pyo3(signature = (x, q, /, axis=None, *, keepdims=false, method="linear"))]
fn quantile(
    py: Python<'_>,
    x: TensorArg,
    q: &Bound<'_, PyAny>,
    axis: Option<AxesArg>,
    keepdims: bool,
    method: &str,
) -> Out<PyTensor> {
    let method = match method {
        "linear" => Quantile::Linear,
        "lower" => Quantile::Lower,
        "higher" => Quantile::Higher,
        "midpoint" => Quantile::Midpoint,
        "nearest" => Quantile::Nearest,
        other => {
            let known = "\"linear\", \"lower\", \"higher\", \"midpoint\" or \"nearest\"";
            return Err(Error::value("quantile", format_args!("method must be {known}, not {other:?}")).into());
        }
    };
    let axes = axis.map(|axis| axis.0);
    let q = match Argument::of(q)? {
        Some(Argument::Scalar(scalar)) => Tensor::scalar(scalar, DType::F64),
        Some(tensor) => tensor.into_tensor(),
        None if is_list(q) => from_nested(q, Some(DType::F64))?,
        None => to_tensor(q)?,
    };
    let list = if q.rank() == 0 { q.expand_dims(0)? } else { q.clone() };
    let result = released(py, sorting(&x), || x.quantile(&list, method, axes.as_deref(), keepdims))?;
    Ok(if q.rank() == 0 { result.squeeze(&[0])? } else { result }.into())
}

/// The entries of an axis at integer indices; negative ones count from the end.
#[pyfunction]
#[pyo3(signature = (x, indices, /, axis=None))]
fn take(py: Python<'_>, x: TensorArg, indices: TensorArg, axis: Option<isize>) -> Out<PyTensor> {
    let axis = match axis {
        Some(axis) => axis,
        None if x.rank() == 1 => 0,
        None => {
            return Err(
                Error::value("take", format_args!("axis must be given for a tensor with {} axes", x.rank())).into()
            );
        }
    };
    let row = x.count() / x.shape().first().copied().unwrap_or(1).max(1);
    Ok(released(py, elements(indices.count()) * row as f64, || x.take(&indices, axis))?.into())
}

/// For each element of `indices`, the element of x at the same place with that index in the axis.
#[pyfunction]
#[pyo3(signature = (x, indices, /, axis=-1), text_signature = "(x, indices, /, axis=-1)")]
fn take_along_axis(py: Python<'_>, x: TensorArg, indices: TensorArg, axis: isize) -> Out<PyTensor> {
    Ok(released(py, elements(indices.count()), || x.take_along_axis(&indices, axis))?.into())
}

/// x with `updates` added to the entries of an axis at `indices`; equal indices add up.
#[pyfunction]
#[pyo3(signature = (x, indices, updates, /, axis=0))]
fn scatter_add(
    py: Python<'_>,
    x: TensorArg,
    indices: TensorArg,
    updates: &Bound<'_, PyAny>,
    axis: isize,
) -> Out<PyTensor> {
    let updates = to_tensor(updates)?;
    let updates =
        if updates.dtype().is_float() && !x.dtype().is_float() { updates } else { updates.cast(x.dtype())? };
    Ok(released(py, elements(x.count() + updates.count()), || x.scatter_add(&indices, &updates, axis))?.into())
}

/// The axis of a running total: the only one unless given.
fn only_axis(x: &Tensor, axis: Option<isize>, what: &str) -> Out<isize> {
    match axis {
        Some(axis) => Ok(axis),
        None if x.rank() == 1 => Ok(0),
        None => Err(Error::value(what, format_args!("axis must be given for a tensor with {} axes", x.rank())).into()),
    }
}

/// The sums of the elements up to each one along an axis; with `include_initial` a 0 comes first.
#[pyfunction]
#[pyo3(signature = (x, /, *, axis=None, dtype=None, include_initial=false, reverse=false))]
fn cumulative_sum(
    py: Python<'_>,
    x: TensorArg,
    axis: Option<isize>,
    dtype: Option<DTypeArg>,
    include_initial: bool,
    reverse: bool,
) -> Out<PyTensor> {
    let axis = only_axis(&x, axis, "cumulative_sum")?;
    let x = dtype.map_or(Ok(x.0.clone()), |dtype| x.cast(dtype.0))?;
    let sums = released(py, elements(x.count()), || x.cumulative_sum(axis, include_initial, reverse))?;
    Ok(dtype.map_or(Ok(sums.clone()), |dtype| sums.cast(dtype.0))?.into())
}

/// The products of the elements up to each one along an axis; with `include_initial` a 1 comes first.
#[pyfunction]
#[pyo3(signature = (x, /, *, axis=None, dtype=None, include_initial=false))]
fn cumulative_prod(
    py: Python<'_>,
    x: TensorArg,
    axis: Option<isize>,
    dtype: Option<DTypeArg>,
    include_initial: bool,
) -> Out<PyTensor> {
    let axis = only_axis(&x, axis, "cumulative_prod")?;
    let x = dtype.map_or(Ok(x.0.clone()), |dtype| x.cast(dtype.0))?;
    let run = || x.cumulative(luxon::Cumulative::Product, axis, include_initial, false);
    let products = released(py, elements(x.count()), run)?;
    Ok(dtype.map_or(Ok(products.clone()), |dtype| products.cast(dtype.0))?.into())
}

macro_rules! running {
    ($($name:ident $doc:literal;)*) => {
        $(
            #[doc = $doc]
            #[pyfunction]
            #[pyo3(signature = (x, /, *, axis=None))]
            fn $name(py: Python<'_>, x: TensorArg, axis: Option<isize>) -> Out<PyTensor> {
                let axis = only_axis(&x, axis, stringify!($name))?;
                Ok(released(py, elements(x.count()), || x.$name(axis))?.into())
            }
        )*
    };
}

running! {
    cumulative_max "The largest element up to each one along an axis.";
    cumulative_min "The smallest element up to each one along an axis.";
    cumulative_logsumexp "The log-sum-exp of the elements up to each one along an axis.";
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    macro_rules! add {
        ($($name:ident),* $(,)?) => { $(module.add_function(wrap_pyfunction!($name, module)?)?;)* };
    }
    add!(
        sort,
        argsort,
        top_k,
        searchsorted,
        nonzero,
        unique_all,
        unique_counts,
        unique_inverse,
        unique_values,
        isin,
        median,
        quantile,
        take,
        take_along_axis,
        scatter_add,
        cumulative_sum,
        cumulative_prod,
        cumulative_max,
        cumulative_min,
        cumulative_logsumexp,
    );
    Ok(())
}
