//! Reductions: `axis` is an int, a tuple of ints, or None for all axes.
//!
//! The methods of `Tensor` of the same names call the functions of this file.

use luxon::Tensor;
use luxon::cpu::reduce::Reduction;
use pyo3::prelude::*;

use crate::convert::{AxesArg, TensorArg};
use crate::dtype::DTypeArg;
use crate::error::Out;
use crate::gil::{elements, released};
use crate::tensor::PyTensor;

/// A reduction on parsed arguments.
#[inline]
pub fn reduce(py: Python<'_>, x: &Tensor, kind: Reduction, axis: Option<AxesArg>, keepdims: bool) -> Out<PyTensor> {
    let axes = axis.as_ref().map(|axis| axis.0.as_slice());
    Ok(released(py, elements(x.count()), || x.reduce(kind, axes, keepdims))?.into())
}

/// A sum or a product, computed in `dtype` if given.
pub fn accumulate(
    py: Python<'_>,
    x: &Tensor,
    kind: Reduction,
    axis: Option<AxesArg>,
    dtype: Option<DTypeArg>,
    keepdims: bool,
) -> Out<PyTensor> {
    match dtype.map(|dtype| dtype.0) {
        Some(dtype) if dtype != x.dtype() => {
            let cast = x.cast(dtype)?;
            let total = reduce(py, &cast, kind, axis, keepdims)?;
            Ok(total.0.cast(dtype)?.into())
        }
        Some(dtype) => Ok(reduce(py, x, kind, axis, keepdims)?.0.cast(dtype)?.into()),
        None => reduce(py, x, kind, axis, keepdims),
    }
}

/// The root of a variance.
pub fn deviation(py: Python<'_>, x: &Tensor, axis: Option<AxesArg>, correction: f64, keepdims: bool) -> Out<PyTensor> {
    Ok(reduce(py, x, Reduction::Variance { correction }, axis, keepdims)?.0.sqrt()?.into())
}

/// The position of an extremum, in an axis or in the flattened tensor.
pub fn position(py: Python<'_>, x: &Tensor, kind: Reduction, axis: Option<isize>, keepdims: bool) -> Out<PyTensor> {
    reduce(py, x, kind, axis.map(|axis| AxesArg(vec![axis])), keepdims)
}

macro_rules! plain {
    ($($name:ident $kind:ident $doc:literal;)*) => {
        $(
            #[doc = $doc]
            #[pyfunction]
            #[pyo3(signature = (x, /, axis=None, *, keepdims=false))]
            fn $name(py: Python<'_>, x: TensorArg, axis: Option<AxesArg>, keepdims: bool) -> Out<PyTensor> {
                reduce(py, &x, Reduction::$kind, axis, keepdims)
            }
        )*

        fn register_plain(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $(module.add_function(wrap_pyfunction!($name, module)?)?;)*
            Ok(())
        }
    };
}

plain! {
    mean Mean "The mean; of integers in float32.";
    max Max "The largest element; NaN where any is, ties share the gradient.";
    min Min "The smallest element; NaN where any is, ties share the gradient.";
    any Any "Whether any element is not zero.";
    all All "Whether every element is not zero.";
    count_nonzero CountNonzero "The number of elements that are not zero.";
}

/// The sum; of integers and truth values in int64 unless a dtype is given.
#[pyfunction]
#[pyo3(signature = (x, /, axis=None, *, dtype=None, keepdims=false))]
fn sum(py: Python<'_>, x: TensorArg, axis: Option<AxesArg>, dtype: Option<DTypeArg>, keepdims: bool) -> Out<PyTensor> {
    accumulate(py, &x, Reduction::Sum, axis, dtype, keepdims)
}

/// The product; of integers and truth values in int64 unless a dtype is given.
#[pyfunction]
#[pyo3(signature = (x, /, axis=None, *, dtype=None, keepdims=false))]
fn prod(py: Python<'_>, x: TensorArg, axis: Option<AxesArg>, dtype: Option<DTypeArg>, keepdims: bool) -> Out<PyTensor> {
    accumulate(py, &x, Reduction::Product, axis, dtype, keepdims)
}

/// The variance: squared deviations over (count - correction).
#[pyfunction]
#[pyo3(signature = (x, /, axis=None, *, correction=0.0, keepdims=false))]
fn var(py: Python<'_>, x: TensorArg, axis: Option<AxesArg>, correction: f64, keepdims: bool) -> Out<PyTensor> {
    reduce(py, &x, Reduction::Variance { correction }, axis, keepdims)
}

/// The standard deviation: the root of the variance.
#[pyfunction(name = "std")]
#[pyo3(signature = (x, /, axis=None, *, correction=0.0, keepdims=false))]
fn standard_deviation(
    py: Python<'_>,
    x: TensorArg,
    axis: Option<AxesArg>,
    correction: f64,
    keepdims: bool,
) -> Out<PyTensor> {
    deviation(py, &x, axis, correction, keepdims)
}

/// The first position of the largest element along an axis, or in the flattened tensor.
#[pyfunction]
#[pyo3(signature = (x, /, axis=None, *, keepdims=false))]
fn argmax(py: Python<'_>, x: TensorArg, axis: Option<isize>, keepdims: bool) -> Out<PyTensor> {
    position(py, &x, Reduction::ArgMax, axis, keepdims)
}

/// The first position of the smallest element along an axis, or in the flattened tensor.
#[pyfunction]
#[pyo3(signature = (x, /, axis=None, *, keepdims=false))]
fn argmin(py: Python<'_>, x: TensorArg, axis: Option<isize>, keepdims: bool) -> Out<PyTensor> {
    position(py, &x, Reduction::ArgMin, axis, keepdims)
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    register_plain(module)?;
    module.add_function(wrap_pyfunction!(sum, module)?)?;
    module.add_function(wrap_pyfunction!(prod, module)?)?;
    module.add_function(wrap_pyfunction!(var, module)?)?;
    module.add_function(wrap_pyfunction!(standard_deviation, module)?)?;
    module.add_function(wrap_pyfunction!(argmax, module)?)?;
    module.add_function(wrap_pyfunction!(argmin, module)?)
}
