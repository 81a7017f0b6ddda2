//! Products of matrices and vectors, norms and ranks.

use luxon::{Error, MatrixNorm, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple};

use crate::convert::{AxesArg, TensorArg, index_list};
use crate::dtype::DTypeArg;
use crate::error::Out;
use crate::gil::{elements, released};
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

/// The sum of products along an axis; other axes broadcast.
#[pyfunction]
#[pyo3(signature = (x1, x2, /, *, axis=-1), text_signature = "(x1, x2, /, *, axis=-1)")]
fn vecdot(py: Python<'_>, x1: TensorArg, x2: TensorArg, axis: isize) -> Out<PyTensor> {
    Ok(released(py, elements(x1.count().max(x2.count())), || luxon::vecdot(&x1, &x2, axis))?.into())
}

/// All products of an element of one 1-d tensor with one of the other.
#[pyfunction]
#[pyo3(signature = (x1, x2, /))]
fn outer(py: Python<'_>, x1: TensorArg, x2: TensorArg) -> Out<PyTensor> {
    Ok(released(py, elements(x1.count()) * elements(x2.count()), || luxon::outer(&x1, &x2))?.into())
}

/// The cross product of vectors of three elements along an axis.
#[pyfunction]
#[pyo3(signature = (x1, x2, /, *, axis=-1), text_signature = "(x1, x2, /, *, axis=-1)")]
fn cross(py: Python<'_>, x1: TensorArg, x2: TensorArg, axis: isize) -> Out<PyTensor> {
    Ok(released(py, 6.0 * elements(x1.count()), || luxon::cross(&x1, &x2, axis))?.into())
}

/// Sums of products over pairs of axes: `axes` is how many (the last of x1 with the first of x2), or two lists.
#[pyfunction]
#[pyo3(signature = (x1, x2, /, *, axes=None))]
fn tensordot(py: Python<'_>, x1: TensorArg, x2: TensorArg, axes: Option<&Bound<'_, PyAny>>) -> Out<PyTensor> {
    let refuse = || Error::value("tensordot", "axes must be an int or a pair of lists of ints");
    let count = match axes {
        None => Some(2),
        Some(axes) if axes.is_instance_of::<PyInt>() => Some(axes.extract::<isize>()?),
        Some(_) => None,
    };
    let (first, second): (Vec<isize>, Vec<isize>) = match (count, axes) {
        (Some(count), _) => {
            if count < 0 || count as usize > x1.rank().min(x2.rank()) {
                return Err(Error::value("tensordot", format_args!("{count} axes are more than an operand has")).into());
            }
            ((-count..0).collect(), (0..count).collect())
        }
        (None, Some(axes)) => {
            let pair = axes.try_iter()?.collect::<PyResult<Vec<_>>>()?;
            let [first, second] = pair.as_slice() else { return Err(refuse().into()) };
            (index_list(first, "axes")?, index_list(second, "axes")?)
        }
        (None, None) => return Err(refuse().into()),
    };
    let nanoseconds = elements(x1.count()) * elements(x2.count()).sqrt() / 10.0;
    Ok(released(py, nanoseconds, || luxon::tensordot(&x1, &x2, &first, &second))?.into())
}

/// Sums of products by an equation: `einsum("ij,jk->ik", a, b)`; `...` stands for axes that broadcast.
#[pyfunction]
#[pyo3(signature = (equation, /, *operands))]
fn einsum(py: Python<'_>, equation: &str, operands: &Bound<'_, PyTuple>) -> Out<PyTensor> {
    let operands = super::manipulate::tensors(operands)?;
    let references: Vec<&Tensor> = operands.iter().collect();
    let largest = operands.iter().map(Tensor::count).max().unwrap_or(0);
    Ok(released(py, elements(largest), || luxon::einsum(equation, &references))?.into())
}

/// Diagonal `offset` of the matrices in the last two axes (or those named), as the last axis of a view.
#[pyfunction]
#[pyo3(signature = (x, /, *, offset=0, axis1=-2, axis2=-1), text_signature = "(x, /, *, offset=0, axis1=-2, axis2=-1)")]
fn diagonal(x: TensorArg, offset: isize, axis1: isize, axis2: isize) -> Out<PyTensor> {
    Ok(x.diagonal(offset, axis1, axis2)?.into())
}

/// The sum of diagonal `offset` of each matrix; of integers in int64 unless a dtype is given.
#[pyfunction]
#[pyo3(signature = (x, /, *, offset=0, dtype=None))]
fn trace(x: TensorArg, offset: isize, dtype: Option<DTypeArg>) -> Out<PyTensor> {
    let x = dtype.map_or(Ok(x.0.clone()), |dtype| x.cast(dtype.0))?;
    let sum = x.trace(offset)?;
    Ok(dtype.map_or(Ok(sum.clone()), |dtype| sum.cast(dtype.0))?.into())
}

/// The norm of the vectors along an axis (of all elements for None): the root of the sum of |x|^ord.
#[pyfunction]
#[pyo3(signature = (x, /, *, axis=None, keepdims=false, ord=2.0))]
fn vector_norm(py: Python<'_>, x: TensorArg, axis: Option<AxesArg>, keepdims: bool, ord: f64) -> Out<PyTensor> {
    let axes = axis.map(|axis| axis.0);
    Ok(released(py, elements(x.count()), || luxon::vector_norm(&x, axes.as_deref(), keepdims, ord))?.into())
}

/// The norm of the matrices in the last two axes: `ord` is "fro", "nuc", 1, -1, 2, -2, inf or -inf.
///
/// "nuc", 2 and -2 are made of singular values and have first derivatives only.
#[pyfunction]
#[pyo3(signature = (x, /, *, keepdims=false, ord=None))]
fn matrix_norm(py: Python<'_>, x: TensorArg, keepdims: bool, ord: Option<&Bound<'_, PyAny>>) -> Out<PyTensor> {
    let refuse = || Error::value("matrix_norm", "ord must be \"fro\", \"nuc\", 1, -1, 2, -2, inf or -inf");
    let norm = match ord {
        None => MatrixNorm::Frobenius,
        Some(ord) => match (ord.extract::<&str>(), ord.extract::<f64>()) {
            (Ok("fro"), _) => MatrixNorm::Frobenius,
            (Ok("nuc"), _) => MatrixNorm::Nuclear,
            (_, Ok(1.0)) => MatrixNorm::LargestColumn,
            (_, Ok(-1.0)) => MatrixNorm::SmallestColumn,
            (_, Ok(2.0)) => MatrixNorm::LargestSingular,
            (_, Ok(-2.0)) => MatrixNorm::SmallestSingular,
            (_, Ok(f64::INFINITY)) => MatrixNorm::LargestRow,
            (_, Ok(f64::NEG_INFINITY)) => MatrixNorm::SmallestRow,
            _ => return Err(refuse().into()),
        },
    };
    Ok(released(py, elements(x.count()), || luxon::matrix_norm(&x, norm, keepdims))?.into())
}

/// The n-th power of the square matrices in the last two axes; `n` is not negative, as there are no inverses here.
#[pyfunction]
#[pyo3(signature = (x, n, /))]
fn matrix_power(py: Python<'_>, x: TensorArg, n: i64) -> Out<PyTensor> {
    let n = u64::try_from(n).map_err(|_| {
        Error::value("matrix_power", format_args!("n must not be negative, got {n}: there are no inverses"))
    })?;
    Ok(released(py, elements(x.count()), || luxon::matrix_power(&x, n))?.into())
}

/// How many singular values of the matrices in the last two axes exceed `rtol` times their largest.
///
/// By default rtol is the larger size times the dtype's epsilon.
#[pyfunction]
#[pyo3(signature = (x, /, *, rtol=None))]
fn matrix_rank(py: Python<'_>, x: TensorArg, rtol: Option<TensorArg>) -> Out<PyTensor> {
    Ok(released(py, 50.0 * elements(x.count()), || luxon::matrix_rank(&x, rtol.as_deref()))?.into())
}

/// The singular values of the matrices in the last two axes, largest first; first derivatives only.
#[pyfunction]
#[pyo3(signature = (x, /))]
fn svdvals(py: Python<'_>, x: TensorArg) -> Out<PyTensor> {
    Ok(released(py, 50.0 * elements(x.count()), || x.singular_values())?.into())
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    macro_rules! add {
        ($($name:ident),* $(,)?) => { $(module.add_function(wrap_pyfunction!($name, module)?)?;)* };
    }
    add!(
        matmul,
        matrix_transpose,
        vecdot,
        outer,
        cross,
        tensordot,
        einsum,
        diagonal,
        trace,
        vector_norm,
        matrix_norm,
        matrix_power,
        matrix_rank,
        svdvals
    );
    Ok(())
}
