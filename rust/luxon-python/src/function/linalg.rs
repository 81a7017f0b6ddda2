//! Products of matrices and vectors.

use luxon::Tensor;
use pyo3::prelude::*;

use crate::convert::TensorArg;
use crate::error::Out;
use crate::gil::released;
use crate::tensor::PyTensor;

/// A matrix product; the interpreter lock is released where the multiplications take long.
#[inline]
pub fn product(py: Python<'_>, a: &Tensor, b: &Tensor) -> luxon::Result<Tensor> {
    let columns = if b.rank() >= 2 { b.shape()[b.rank() - 1] } else { 1 };
    // About 20 multiplications in a nanosecond.
    let nanoseconds = a.count() as f64 * columns as f64 / 20.0;
    released(py, nanoseconds, || luxon::matmul(a, b))
}

/// The matrix product over the last two axes; other axes broadcast, and a 1-d tensor is a row or a column.
#[pyfunction]
#[pyo3(signature = (x1, x2, /))]
fn matmul(py: Python<'_>, x1: TensorArg, x2: TensorArg) -> Out<PyTensor> {
    Ok(product(py, &x1, &x2)?.into())
}

/// The last two axes swapped.
#[pyfunction]
#[pyo3(signature = (x, /))]
fn matrix_transpose(x: TensorArg) -> Out<PyTensor> {
    Ok(x.matrix_transpose()?.into())
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(matmul, module)?)?;
    module.add_function(wrap_pyfunction!(matrix_transpose, module)?)
}
