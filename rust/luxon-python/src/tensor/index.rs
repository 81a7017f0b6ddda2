//! `x[...]` and `x.at[...]`: index expressions as Python writes them.
//!
//! The core gives them NumPy's meaning; here they are only translated. One int and one slice, the usual
//! cases, take a shorter way.

use luxon::{DType, Index, Tensor, Update};
use pyo3::exceptions::{PyIndexError, PyOverflowError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyInt, PyList, PySlice, PyTuple};

use super::PyTensor;
use super::protocol::row;
use crate::convert::{Argument, to_tensor};
use crate::error::{Out, raise};
use crate::gil::{elements, released};

/// A bound of a slice; Python lets bounds of any size stand for the ends.
fn bound(slice: &Bound<'_, PySlice>, name: &Bound<'_, pyo3::types::PyString>) -> PyResult<Option<i64>> {
    let value = slice.getattr(name)?;
    if value.is_none() {
        return Ok(None);
    }
    match value.extract::<i64>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(slice.py()) => {
            Ok(Some(if value.lt(0)? { i64::MIN } else { i64::MAX }))
        }
        Err(error) if error.is_instance_of::<PyTypeError>(slice.py()) => {
            Err(PyTypeError::new_err("the bounds of a slice must be ints or None"))
        }
        other => other.map(Some),
    }
}

/// One part of an index into `tensor`. Lists have no device of their own and go to the tensor's.
fn part(entry: &Bound<'_, PyAny>, tensor: &Tensor) -> PyResult<Index> {
    let py = entry.py();
    if entry.is_exact_instance_of::<PyInt>() {
        return integer(entry).map(Index::Int);
    }
    if let Ok(slice) = entry.cast::<PySlice>() {
        let (start, stop) = (bound(slice, intern!(py, "start"))?, bound(slice, intern!(py, "stop"))?);
        return Ok(Index::Slice { start, stop, step: bound(slice, intern!(py, "step"))? });
    }
    if entry.is_none() {
        return Ok(Index::NewAxis);
    }
    if entry.is_instance_of::<PyEllipsis>() {
        return Ok(Index::Ellipsis);
    }
    if !entry.is_instance_of::<PyBool>() && entry.is_instance_of::<PyInt>() {
        return integer(entry).map(Index::Int);
    }
    let list = entry.cast::<PyList>();
    let mut array = match &list {
        // An empty list has no dtype of its own.
        Ok(list) if list.is_empty() => Tensor::new::<i64>(&[], &[0]).map_err(raise)?,
        _ => to_tensor(entry).map_err(|error| match error.is_instance_of::<PyTypeError>(py) {
            true => refused(entry),
            false => error,
        })?,
    };
    if let (Ok(_), Some(device)) = (list, tensor.device()) {
        array = array.to_device(device).map_err(raise)?;
    }
    match array.dtype() {
        DType::Bool => Ok(Index::Mask(array)),
        dtype if dtype.is_int() && array.rank() == 0 && entry.is_instance_of::<PyTensor>() => {
            Ok(Index::Int(array.item().map_err(raise)?.as_i64()))
        }
        dtype if dtype.is_int() => Ok(Index::Array(array)),
        _ => Err(refused(entry)),
    }
}

fn integer(entry: &Bound<'_, PyAny>) -> PyResult<i64> {
    entry.extract::<i64>().map_err(|_| PyIndexError::new_err("an index does not fit into 64 bits"))
}

#[cold]
fn refused(entry: &Bound<'_, PyAny>) -> PyErr {
    let what = match entry.cast::<PyTensor>() {
        Ok(tensor) => format!("a tensor of dtype {}", tensor.get().0.dtype()),
        Err(_) => entry.get_type().name().map_or_else(|_| "this".to_owned(), |name| name.to_string()),
    };
    PyIndexError::new_err(format!(
        "index: an index is made of ints, slices, None, ... and tensors of ints or bools, not {what}"
    ))
}

/// The core's expression for a Python index into `tensor`.
fn expression(index: &Bound<'_, PyAny>, tensor: &Tensor) -> PyResult<Vec<Index>> {
    match index.cast::<PyTuple>() {
        Ok(tuple) => tuple.iter_borrowed().map(|entry| part(&entry, tensor)).collect(),
        Err(_) => Ok(vec![part(index, tensor)?]),
    }
}

/// `tensor[index]`.
pub fn getitem(py: Python<'_>, tensor: &Tensor, index: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    if let Some(&size) = tensor.shape().first() {
        if index.is_exact_instance_of::<PyInt>() {
            let asked = integer(index)?;
            let at = if asked < 0 { asked.wrapping_add(size as i64) } else { asked };
            if at < 0 || at >= size as i64 {
                return Err(PyIndexError::new_err(format!(
                    "index: index {asked} is out of bounds for axis 0 with size {size}"
                )));
            }
            return row(tensor, at as usize).map_err(raise);
        }
        if let Ok(slice) = index.cast::<PySlice>() {
            let bounds = slice.indices(size as isize)?;
            let count = bounds.slicelength;
            let start = if count > 0 { bounds.start as usize } else { 0 };
            // A step that no second element follows is of no account, however large.
            let step = if count > 1 { bounds.step } else { 1 };
            if !tensor.is_tracked() {
                // Nothing to record: the view alone.
                let value = tensor.value();
                return Ok(value.view(value.layout().slice(0, start, step, count)).into());
            }
            let mut window = tensor.full_window().map_err(raise)?;
            (window.start[0], window.step[0], window.size[0]) = (start, step, count);
            return tensor.window(window).map_err(raise);
        }
    }
    let expression = expression(index, tensor)?;
    let gathers = expression.iter().any(|part| matches!(part, Index::Array(_) | Index::Mask(_)));
    let nanoseconds = if gathers { elements(tensor.count()) } else { 0.0 };
    released(py, nanoseconds, || tensor.index_nd(&expression)).map_err(raise)
}

#[pymethods]
impl PyTensor {
    fn __getitem__(&self, index: &Bound<'_, PyAny>) -> PyResult<PyTensor> {
        Ok(PyTensor(getitem(index.py(), &self.0, index)?))
    }

    fn __setitem__(&self, _index: &Bound<'_, PyAny>, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("a tensor never changes; use y = x.at[index].set(value)"))
    }

    fn __delitem__(&self, _index: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("a tensor never changes"))
    }
}

/// `x.at`: waits for an index.
#[pyclass(frozen, name = "At", module = "luxon._core")]
pub struct PyAt(pub Tensor);

#[pymethods]
impl PyAt {
    fn __getitem__(&self, index: &Bound<'_, PyAny>) -> PyResult<PyAtIndex> {
        Ok(PyAtIndex { tensor: self.0.clone(), expression: expression(index, &self.0)? })
    }
}

/// `x.at[index]`: new tensors in which the elements at the index are replaced.
#[pyclass(frozen, name = "AtIndex", module = "luxon._core")]
pub struct PyAtIndex {
    tensor: Tensor,
    expression: Vec<Index>,
}

impl PyAtIndex {
    fn update(&self, value: &Bound<'_, PyAny>, update: Update) -> Out<PyTensor> {
        let argument = Argument::any(value)?;
        let operand = argument.operand();
        let run = || self.tensor.index_update(&self.expression, operand, update);
        Ok(released(value.py(), elements(self.tensor.count()), run)?.into())
    }
}

#[pymethods]
impl PyAtIndex {
    /// The elements at the index themselves.
    fn get(&self, py: Python<'_>) -> Out<PyTensor> {
        Ok(released(py, elements(self.tensor.count()), || self.tensor.index_nd(&self.expression))?.into())
    }

    /// A tensor with `value` there; of equal indices the last wins.
    fn set(&self, value: &Bound<'_, PyAny>) -> Out<PyTensor> {
        self.update(value, Update::Set)
    }

    /// A tensor with `value` added there; equal indices add up.
    fn add(&self, value: &Bound<'_, PyAny>) -> Out<PyTensor> {
        self.update(value, Update::Add)
    }

    /// A tensor multiplied by `value` there.
    fn multiply(&self, value: &Bound<'_, PyAny>) -> Out<PyTensor> {
        self.update(value, Update::Multiply)
    }

    /// A tensor with the smaller of what is there and `value`.
    fn min(&self, value: &Bound<'_, PyAny>) -> Out<PyTensor> {
        self.update(value, Update::Min)
    }

    /// A tensor with the larger of what is there and `value`.
    fn max(&self, value: &Bound<'_, PyAny>) -> Out<PyTensor> {
        self.update(value, Update::Max)
    }
}
