//! Tensors as numbers: the operators.
//!
//! Each operator is one kernel of the core's table. A Python number on the other side is a weak scalar; an
//! object that is no tensor, number or NumPy array is left to its own operators.
// PyO3 writes its slot functions with the spans of the macro below, so the lint takes them for ours.
#![allow(unsafe_op_in_unsafe_fn)]

use luxon::op::elementwise::{Kernel, Operand, map};
use luxon::{DType, Tensor};
use pyo3::basic::CompareOp;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::PyTensor;
use crate::convert::Argument;
use crate::error::{Out, raise};
use crate::gil::released;

/// The elements of the larger operand times the cost of the kernel, in nanoseconds.
#[inline]
fn estimate(kernel: Kernel, a: &Operand<'_>, b: &Operand<'_>) -> f64 {
    let count = |operand: &Operand<'_>| match operand {
        Operand::Tensor(tensor) => tensor.count(),
        Operand::Scalar(_) => 1,
    };
    count(a).max(count(b)) as f64 * f64::from(kernel.cost())
}

/// A kernel of two arguments on operands as Python gave them.
#[inline]
pub fn binary(py: Python<'_>, kernel: Kernel, a: Operand<'_>, b: Operand<'_>) -> luxon::Result<Tensor> {
    let nanoseconds = estimate(kernel, &a, &b);
    released(py, nanoseconds, || match kernel {
        Kernel::Pow => luxon::pow(a, b),
        _ => map(kernel, &[a, b]),
    })
}

/// `self (kernel) other`, or the other way round; `NotImplemented` for operands that are not ours.
#[inline]
fn operator(slf: &PyTensor, other: &Bound<'_, PyAny>, kernel: Kernel, reflected: bool) -> PyResult<Py<PyAny>> {
    let py = other.py();
    let Some(argument) = Argument::of(other)? else {
        return Ok(py.NotImplemented());
    };
    let (a, b) = if reflected { (argument.operand(), (&slf.0).into()) } else { ((&slf.0).into(), argument.operand()) };
    let result = binary(py, kernel, a, b).map_err(raise)?;
    Ok(Py::new(py, PyTensor(result))?.into_any())
}

#[inline]
fn unary(py: Python<'_>, slf: &PyTensor, kernel: Kernel) -> Out<PyTensor> {
    let nanoseconds = slf.0.count() as f64 * f64::from(kernel.cost());
    Ok(released(py, nanoseconds, || map(kernel, &[(&slf.0).into()]))?.into())
}

#[cold]
fn no_modulus(other: &Bound<'_, PyAny>) -> PyErr {
    let name = other.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("pow() of tensors takes no modulus, got {name}"))
}

/// A matrix product operator.
fn matmul(slf: &PyTensor, other: &Bound<'_, PyAny>, reflected: bool) -> PyResult<Py<PyAny>> {
    let py = other.py();
    let Some(argument) = Argument::of(other)? else {
        return Ok(py.NotImplemented());
    };
    let other = match argument {
        Argument::Scalar(_) => {
            return Err(raise(luxon::Error::shape(
                "matmul",
                "a number is no matrix; use * for products with a number",
            )));
        }
        tensor => tensor.into_tensor(),
    };
    let (a, b) = if reflected { (&other, &slf.0) } else { (&slf.0, &other) };
    let product = crate::function::linalg::product(py, a, b).map_err(raise)?;
    Ok(Py::new(py, PyTensor(product))?.into_any())
}

macro_rules! operators {
    ($($name:ident $reflected:ident $kernel:ident),* $(,)?) => {
        #[pymethods]
        impl PyTensor {
            $(
                fn $name(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
                    operator(self, other, Kernel::$kernel, false)
                }

                fn $reflected(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
                    operator(self, other, Kernel::$kernel, true)
                }
            )*

            fn __pow__(&self, other: &Bound<'_, PyAny>, modulus: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
                if !modulus.is_none() {
                    return Err(no_modulus(modulus));
                }
                operator(self, other, Kernel::Pow, false)
            }

            fn __rpow__(&self, other: &Bound<'_, PyAny>, modulus: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
                if !modulus.is_none() {
                    return Err(no_modulus(modulus));
                }
                operator(self, other, Kernel::Pow, true)
            }

            fn __matmul__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
                matmul(self, other, false)
            }

            fn __rmatmul__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
                matmul(self, other, true)
            }

            fn __richcmp__(&self, other: &Bound<'_, PyAny>, comparison: CompareOp) -> PyResult<Py<PyAny>> {
                let kernel = match comparison {
                    CompareOp::Lt => Kernel::Less,
                    CompareOp::Le => Kernel::LessEqual,
                    CompareOp::Eq => Kernel::Equal,
                    CompareOp::Ne => Kernel::NotEqual,
                    CompareOp::Gt => Kernel::Greater,
                    CompareOp::Ge => Kernel::GreaterEqual,
                };
                operator(self, other, kernel, false)
            }

            fn __neg__(&self, py: Python<'_>) -> Out<PyTensor> {
                unary(py, self, Kernel::Negative)
            }

            fn __pos__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
                if slf.get().0.dtype() == DType::Bool {
                    return Err(PyTypeError::new_err("+: dtype bool is not supported (takes numbers)"));
                }
                Ok(slf)
            }

            fn __abs__(&self, py: Python<'_>) -> Out<PyTensor> {
                unary(py, self, Kernel::Abs)
            }

            fn __invert__(&self, py: Python<'_>) -> Out<PyTensor> {
                unary(py, self, Kernel::BitwiseInvert)
            }
        }
    };
}

operators! {
    __add__ __radd__ Add,
    __sub__ __rsub__ Subtract,
    __mul__ __rmul__ Multiply,
    __truediv__ __rtruediv__ Divide,
    __floordiv__ __rfloordiv__ FloorDivide,
    __mod__ __rmod__ Remainder,
    __and__ __rand__ BitwiseAnd,
    __or__ __ror__ BitwiseOr,
    __xor__ __rxor__ BitwiseXor,
    __lshift__ __rlshift__ BitwiseLeftShift,
    __rshift__ __rrshift__ BitwiseRightShift,
}
