//! Tensors as Python objects: length, iteration, truth, conversion to numbers, copying, pickling.
//!
//! A tensor of one element converts to the number that it holds; under differentiation that is its value.
//! Two tensors are hashed by identity, since `==` compares elements.

use std::sync::atomic::{AtomicUsize, Ordering};

use luxon::layout::show;
use luxon::op::elementwise::{Kernel, map};
use luxon::{Error, Scalar, Tensor};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::PyTensor;
use crate::convert::Argument;
use crate::error::{Out, raise};

/// The Python number of a scalar.
pub fn number(py: Python<'_>, scalar: Scalar) -> PyResult<Py<PyAny>> {
    Ok(match scalar {
        Scalar::Bool(value) => value.into_pyobject(py)?.to_owned().into_any().unbind(),
        Scalar::Int(value) => value.into_pyobject(py)?.into_any().unbind(),
        Scalar::Float(value) => value.into_pyobject(py)?.into_any().unbind(),
    })
}

/// The only element, for a conversion called `what`.
fn only(tensor: &Tensor, what: &str) -> PyResult<Scalar> {
    if tensor.count() != 1 {
        let shape = show(tensor.shape());
        return Err(PyTypeError::new_err(format!("only a tensor of one element converts to {what}, shape is {shape}")));
    }
    tensor.item().map_err(raise)
}

/// An iterator over the first axis.
#[pyclass(frozen, module = "luxon._core")]
pub struct Elements {
    tensor: Tensor,
    next: AtomicUsize,
}

#[pymethods]
impl Elements {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self) -> Out<Option<PyTensor>> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if index >= self.tensor.shape()[0] {
            self.next.store(self.tensor.shape()[0], Ordering::Relaxed);
            return Ok(None);
        }
        Ok(Some(row(&self.tensor, index)?.into()))
    }

    fn __length_hint__(&self) -> usize {
        self.tensor.shape()[0].saturating_sub(self.next.load(Ordering::Relaxed))
    }
}

/// The part of a tensor at one index of its first axis, which is there.
pub fn row(tensor: &Tensor, index: usize) -> luxon::Result<Tensor> {
    if tensor.is_tracked() {
        return tensor.narrow(0, index, 1)?.squeeze(&[0]);
    }
    // Nothing to record: the view alone.
    let mut layout = tensor.value().layout().slice(0, index, 1, 1);
    layout.shape.remove(0);
    layout.strides.remove(0);
    Ok(tensor.value().view(layout).into())
}

#[pymethods]
impl PyTensor {
    fn __len__(&self) -> PyResult<usize> {
        self.0.shape().first().copied().ok_or_else(|| PyTypeError::new_err("a 0-d tensor has no length"))
    }

    fn __iter__(&self) -> PyResult<Elements> {
        if self.0.rank() == 0 {
            return Err(PyTypeError::new_err("a 0-d tensor cannot be iterated over"));
        }
        Ok(Elements { tensor: self.0.clone(), next: AtomicUsize::new(0) })
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> Out<bool> {
        let argument = Argument::any(value)?;
        let equal = map(Kernel::Equal, &[(&self.0).into(), argument.operand()])?;
        Ok(equal.any(None, false)?.item()?.as_f64() != 0.0)
    }

    fn __bool__(&self) -> Out<bool> {
        if self.0.count() != 1 {
            let shape = show(self.0.shape());
            return Err(Error::Value(format!(
                "the truth value of a tensor of shape {shape} is ambiguous; use luxon.any or luxon.all"
            ))
            .into());
        }
        Ok(match self.0.item()? {
            Scalar::Bool(value) => value,
            Scalar::Int(value) => value != 0,
            Scalar::Float(value) => value != 0.0,
        })
    }

    fn __float__(&self) -> PyResult<f64> {
        only(&self.0, "a float").map(Scalar::as_f64)
    }

    fn __int__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match only(&self.0, "an int")? {
            // Python's own float knows about nan, inf and numbers beyond 64 bits.
            Scalar::Float(value) => Ok(value.into_pyobject(py)?.call_method0("__int__")?.unbind()),
            scalar => number(py, Scalar::Int(scalar.as_i64())),
        }
    }

    fn __index__(&self) -> PyResult<i64> {
        if self.0.rank() != 0 || !self.0.dtype().is_int() {
            let (shape, dtype) = (show(self.0.shape()), self.0.dtype());
            return Err(PyTypeError::new_err(format!(
                "only a 0-d tensor of integers is an index, not one of shape {shape} and dtype {dtype}"
            )));
        }
        only(&self.0, "an index").map(Scalar::as_i64)
    }

    fn __complex__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyComplex>> {
        Ok(pyo3::types::PyComplex::from_doubles(py, only(&self.0, "a complex number")?.as_f64(), 0.0))
    }

    fn __hash__(slf: &Bound<'_, Self>) -> usize {
        slf.as_ptr() as usize >> 4
    }

    fn __format__(slf: &Bound<'_, Self>, spec: &str) -> PyResult<String> {
        let py = slf.py();
        if spec.is_empty() {
            return Ok(slf.str()?.to_string());
        }
        let number = number(py, only(&slf.get().0, "formatted text")?)?;
        number.bind(py).call_method1("__format__", (spec,))?.extract()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        super::text::repr(slf)
    }

    fn __str__(slf: &Bound<'_, Self>) -> PyResult<String> {
        super::text::plain(slf.py(), &slf.get().0)
    }

    fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: Bound<'py, Self>, _memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
        slf
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Py<PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let host = slf.get().untracked("pickle")?.to_host().map_err(raise)?;
        let value = host.value().to_contiguous().map_err(raise)?;
        let count = value.count() * value.dtype().size();
        // SAFETY: a contiguous host value has this many bytes at its address (any address where it has none).
        let bytes = unsafe {
            std::slice::from_raw_parts(if count == 0 { std::ptr::dangling() } else { value.pointer() }, count)
        };
        let shape = PyTuple::new(py, value.shape().iter())?;
        let rebuild = py.import("luxon._core")?.getattr("_from_bytes")?.unbind();
        Ok((rebuild, (value.dtype().name(), shape, PyBytes::new(py, bytes)).into_pyobject(py)?))
    }

    /// The only element, as a Python number; with indices, the element at them.
    #[pyo3(signature = (*indices))]
    fn item(slf: &Bound<'_, Self>, indices: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let scalar = if indices.is_empty() {
            slf.get().0.item().map_err(raise)?
        } else {
            super::getitem(py, &slf.get().0, indices)?.item().map_err(raise)?
        };
        number(py, scalar)
    }

    /// The elements as nested lists of Python numbers; a number for a 0-d tensor.
    fn tolist(&self, py: Python<'_>) -> Out<Py<PyAny>> {
        let host = self.0.to_host()?;
        let value = host.value().to_contiguous()?;
        let size = value.dtype().size();
        let mut offset = 0;
        let mut read = || {
            // SAFETY: called once per element of a contiguous value, in order.
            let scalar = unsafe { Scalar::read(value.dtype(), value.pointer().add(offset)) };
            offset += size;
            number(py, scalar)
        };
        Ok(nested(py, value.shape(), &mut read)?)
    }
}

fn nested(py: Python<'_>, shape: &[usize], read: &mut impl FnMut() -> PyResult<Py<PyAny>>) -> PyResult<Py<PyAny>> {
    let Some((&size, rest)) = shape.split_first() else { return read() };
    let list = PyList::empty(py);
    for _ in 0..size {
        list.append(nested(py, rest, read)?)?;
    }
    Ok(list.into_any().unbind())
}

/// Rebuilds a pickled tensor.
#[pyfunction]
pub fn _from_bytes(dtype: &str, shape: Vec<usize>, bytes: &[u8]) -> Out<PyTensor> {
    let refuse = || PyValueError::new_err("a pickled tensor is malformed");
    let dtype = luxon::DType::from_name(dtype).ok_or_else(refuse)?;
    let shape = luxon::Shape::from_slice(&shape)?;
    let mut value = luxon::Value::empty(dtype, &shape)?;
    let wrong_bool = dtype == luxon::DType::Bool && bytes.iter().any(|&byte| byte > 1);
    if bytes.len() != value.count() * dtype.size() || wrong_bool {
        return Err(refuse().into());
    }
    // SAFETY: fresh and contiguous, and it has as many bytes as are given.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), value.pointer_mut(), bytes.len()) };
    Ok(PyTensor(value.into()))
}
