//! From Python objects to tensors, and back.
//!
//! A Python number (and a NumPy scalar) beside a tensor is a *weak* scalar: a parameter of the operation
//! that takes the tensor's dtype. A NumPy array of any rank is a tensor with a dtype of its own. The
//! order of the checks is the order of likelihood: an operator's usual operand is recognised by one
//! comparison of type pointers.

use std::borrow::Cow;
use std::fmt::Display;

use luxon::op::elementwise::Operand;
use luxon::{DType, Error, Scalar, Tensor};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyFloat, PyInt, PyList, PyTuple, PyType};

use crate::error::{Out, raise};
use crate::numpy;
use crate::tensor::PyTensor;

/// The tensor of a Python object: a tensor, an array, a number, or a nested list of those.
///
/// Memory of others is copied unless it can never change.
pub fn to_tensor(object: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    match Argument::of(object)? {
        Some(argument) => Ok(argument.into_tensor()),
        None => other_to_tensor(object),
    }
}

/// The Python object of a tensor.
#[inline]
pub fn from_tensor(py: Python<'_>, tensor: Tensor) -> PyResult<Py<PyTensor>> {
    Py::new(py, PyTensor(tensor))
}

/// An argument of an operation, as cheaply as it can be had.
pub enum Argument<'a> {
    /// A tensor that Python holds.
    Borrowed(&'a Tensor),
    /// A tensor made for this call.
    Owned(Tensor),
    /// A weak scalar.
    Scalar(Scalar),
}

impl<'a> Argument<'a> {
    /// Recognises tensors, numbers and NumPy arrays; none for anything else.
    #[inline]
    pub fn of(object: &'a Bound<'_, PyAny>) -> PyResult<Option<Argument<'a>>> {
        if let Ok(tensor) = object.cast_exact::<PyTensor>() {
            return Ok(Some(Argument::Borrowed(&tensor.get().0)));
        }
        if let Ok(value) = object.cast_exact::<PyFloat>() {
            return Ok(Some(Argument::Scalar(Scalar::Float(value.value()))));
        }
        if object.is_exact_instance_of::<PyInt>() {
            return Ok(Some(Argument::Scalar(Scalar::Int(object.extract()?))));
        }
        Argument::of_rare(object)
    }

    #[cold]
    fn of_rare(object: &'a Bound<'_, PyAny>) -> PyResult<Option<Argument<'a>>> {
        if let Some(scalar) = rare_scalar(object)? {
            return Ok(Some(Argument::Scalar(scalar)));
        }
        if numpy::is_array(object)? {
            return Ok(Some(Argument::Owned(numpy::from_array(object, None, None)?)));
        }
        Ok(None)
    }

    /// Whatever a function (not an operator) takes: nested lists and foreign arrays as well.
    #[inline]
    pub fn any(object: &'a Bound<'_, PyAny>) -> PyResult<Argument<'a>> {
        match Argument::of(object)? {
            Some(argument) => Ok(argument),
            None => Ok(Argument::Owned(other_to_tensor(object)?)),
        }
    }

    /// The core's view of it.
    #[inline]
    pub fn operand(&self) -> Operand<'_> {
        match self {
            Argument::Borrowed(tensor) => Operand::Tensor(tensor),
            Argument::Owned(tensor) => Operand::Tensor(tensor),
            Argument::Scalar(scalar) => Operand::Scalar(*scalar),
        }
    }

    /// The number of elements.
    #[inline]
    pub fn count(&self) -> usize {
        match self {
            Argument::Borrowed(tensor) => tensor.count(),
            Argument::Owned(tensor) => tensor.count(),
            Argument::Scalar(_) => 1,
        }
    }

    /// The tensor, borrowed where there is one; a scalar in its default dtype.
    #[inline]
    pub fn tensor(&self) -> Cow<'_, Tensor> {
        match self {
            Argument::Borrowed(tensor) => Cow::Borrowed(tensor),
            Argument::Owned(tensor) => Cow::Borrowed(tensor),
            Argument::Scalar(scalar) => Cow::Owned(Tensor::scalar(*scalar, scalar.dtype())),
        }
    }

    /// A tensor; a scalar in its default dtype.
    #[inline]
    pub fn into_tensor(self) -> Tensor {
        match self {
            Argument::Borrowed(tensor) => tensor.clone(),
            Argument::Owned(tensor) => tensor,
            Argument::Scalar(scalar) => Tensor::scalar(scalar, scalar.dtype()),
        }
    }
}

/// The number that a Python object is, if it is one: bool, int, float or a NumPy scalar.
pub fn scalar_of(object: &Bound<'_, PyAny>) -> PyResult<Option<Scalar>> {
    if let Ok(value) = object.cast_exact::<PyFloat>() {
        return Ok(Some(Scalar::Float(value.value())));
    }
    if object.is_exact_instance_of::<PyInt>() {
        return Ok(Some(Scalar::Int(object.extract()?)));
    }
    rare_scalar(object)
}

/// Like [`scalar_of`], for what is neither an exact float nor an exact int.
fn rare_scalar(object: &Bound<'_, PyAny>) -> PyResult<Option<Scalar>> {
    if let Ok(value) = object.cast::<PyBool>() {
        return Ok(Some(Scalar::Bool(value.is_true())));
    }
    if let Ok(value) = object.cast::<PyFloat>() {
        return Ok(Some(Scalar::Float(value.value())));
    }
    if object.is_instance_of::<PyInt>() {
        return Ok(Some(Scalar::Int(object.extract()?)));
    }
    if !object.is_instance(generic(object.py())?)? {
        return Ok(None);
    }
    let py = object.py();
    let item = object.call_method0(intern!(py, "item"))?;
    if let Ok(value) = item.cast::<PyBool>() {
        return Ok(Some(Scalar::Bool(value.is_true())));
    }
    if item.is_instance_of::<PyInt>() {
        return Ok(Some(Scalar::Int(item.extract()?)));
    }
    // The 16-bit scalars of ml_dtypes are their own items.
    let kind: String = object.getattr(intern!(py, "dtype"))?.getattr(intern!(py, "kind"))?.extract()?;
    if item.is_instance_of::<PyFloat>() || kind == "V" {
        if let Ok(value) = item.extract::<f64>() {
            return Ok(Some(Scalar::Float(value)));
        }
    }
    let name = object.get_type().name()?;
    Err(PyTypeError::new_err(format!("a NumPy scalar of type {name} has no counterpart among the tensor dtypes")))
}

/// `numpy.generic`, the base of NumPy's scalars.
fn generic(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static GENERIC: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    GENERIC.import(py, "numpy", "generic")
}

#[cold]
fn other_to_tensor(object: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    if is_list(object) {
        return from_nested(object, None);
    }
    numpy::from_foreign(object)
}

/// Whether the object is a list or a tuple.
pub fn is_list(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>()
}

/// Flat elements of a nested list and the sizes of its nesting.
struct Nest {
    shape: Vec<usize>,
    leaves: Vec<Leaf>,
}

enum Leaf {
    Scalar(Scalar),
    Tensor(Tensor),
}

impl Nest {
    /// Adds the elements of `object`, which lies `depth` lists deep.
    fn add(&mut self, object: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
        let open = |nest: &mut Nest, size: usize| -> PyResult<()> {
            if depth >= luxon::layout::MAX_RANK {
                let limit = luxon::layout::MAX_RANK;
                return Err(raise(Error::Shape(format!("asarray: lists are nested more than {limit} deep"))));
            }
            // The first path down to a leaf fixes the sizes; every other must agree.
            if nest.leaves.is_empty() && nest.shape.len() == depth {
                nest.shape.push(size);
            } else if nest.shape.get(depth) != Some(&size) {
                return Err(ragged());
            }
            Ok(())
        };
        if let Ok(list) = object.cast::<PyList>() {
            open(self, list.len())?;
            return list.iter().try_for_each(|item| self.add(&item, depth + 1));
        }
        if let Ok(tuple) = object.cast::<PyTuple>() {
            open(self, tuple.len())?;
            return tuple.iter().try_for_each(|item| self.add(&item, depth + 1));
        }
        if depth != self.shape.len() {
            return Err(ragged());
        }
        self.leaves.push(match scalar_of(object)? {
            Some(scalar) => Leaf::Scalar(scalar),
            None => Leaf::Tensor(to_tensor(object)?),
        });
        Ok(())
    }

    /// The dtype of all elements together: tensors decide, scalars are weak beside them.
    fn dtype(&self) -> DType {
        let strong = self.leaves.iter().filter_map(|leaf| match leaf {
            Leaf::Tensor(tensor) => Some(tensor.dtype()),
            Leaf::Scalar(_) => None,
        });
        let strong = strong.reduce(DType::promote);
        let scalars = self.leaves.iter().filter_map(|leaf| match leaf {
            Leaf::Scalar(scalar) => Some(*scalar),
            Leaf::Tensor(_) => None,
        });
        match strong {
            Some(dtype) => scalars.fold(dtype, DType::promote_scalar),
            None => scalars.map(Scalar::dtype).reduce(DType::promote).unwrap_or(DType::DEFAULT_FLOAT),
        }
    }
}

#[cold]
fn ragged() -> PyErr {
    raise(Error::Shape("asarray: the nested lists are ragged: parts at the same depth differ in length".into()))
}

/// The tensor of a nested list of numbers, tensors and arrays, in a dtype that fits all of them unless one is given.
pub fn from_nested(object: &Bound<'_, PyAny>, dtype: Option<DType>) -> PyResult<Tensor> {
    let mut nest = Nest { shape: Vec::new(), leaves: Vec::new() };
    nest.add(object, 0)?;
    let dtype = dtype.unwrap_or_else(|| nest.dtype());
    stack_leaves(&nest, dtype).map_err(raise)
}

fn stack_leaves(nest: &Nest, dtype: DType) -> luxon::Result<Tensor> {
    let scalars: Option<Vec<Scalar>> = nest
        .leaves
        .iter()
        .map(|leaf| match leaf {
            Leaf::Scalar(scalar) => Some(*scalar),
            Leaf::Tensor(_) => None,
        })
        .collect();
    if let Some(scalars) = scalars {
        return crate::memory::from_scalars(&scalars, &nest.shape, dtype);
    }
    let parts = nest.leaves.iter().map(|leaf| match leaf {
        Leaf::Scalar(scalar) => scalar.check_fits(dtype).map(|()| Tensor::scalar(*scalar, dtype)),
        Leaf::Tensor(tensor) => tensor.cast(dtype),
    });
    let parts = parts.collect::<luxon::Result<Vec<_>>>()?;
    let stacked = luxon::stack(&parts.iter().collect::<Vec<_>>(), 0)?;
    let inner = parts.first().map(|part| part.shape().to_vec()).unwrap_or_default();
    let shape: Vec<isize> = nest.shape.iter().chain(&inner).map(|&size| size as isize).collect();
    stacked.reshape(&shape)
}

/// A tensor argument of a function: anything that [`to_tensor`] takes.
pub struct TensorArg(pub Tensor);

impl<'py> FromPyObject<'_, 'py> for TensorArg {
    type Error = PyErr;

    #[inline]
    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        to_tensor(&object).map(TensorArg)
    }
}

impl std::ops::Deref for TensorArg {
    type Target = Tensor;
    fn deref(&self) -> &Tensor {
        &self.0
    }
}

/// One axis or several: `axis=1`, `axis=(0, -1)`.
pub struct AxesArg(pub Vec<isize>);

impl<'py> FromPyObject<'_, 'py> for AxesArg {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        index_list(&object, "axis").map(AxesArg)
    }
}

/// A shape: an int or a tuple of ints (sizes may be -1 where a function says so).
pub struct ShapeArg(pub Vec<isize>);

impl<'py> FromPyObject<'_, 'py> for ShapeArg {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        index_list(&object, "shape").map(ShapeArg)
    }
}

impl ShapeArg {
    /// The sizes, none of them negative.
    pub fn sizes(&self) -> Out<Vec<usize>> {
        let convert = |&size: &isize| {
            usize::try_from(size).map_err(|_| Error::Value(format!("sizes must not be negative, got {size}")))
        };
        Ok(self.0.iter().map(convert).collect::<luxon::Result<_>>()?)
    }
}

/// A number of things: an int that must not be negative, or the name of the type that was given instead. What is
/// wrong is said by `of`, which knows the operation.
pub struct Count(Result<isize, String>);

impl<'py> FromPyObject<'_, 'py> for Count {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match integer(&object, "a count") {
            Err(error) if error.is_instance_of::<PyTypeError>(object.py()) => {
                Ok(Count(Err(object.get_type().name()?.to_string())))
            }
            value => Ok(Count(Ok(value?))),
        }
    }
}

impl Count {
    /// The number of a default argument.
    pub const fn new(count: isize) -> Count {
        Count(Ok(count))
    }

    /// The number, for parameter `name` of operation `op`.
    pub fn of(&self, op: &str, name: &str) -> luxon::Result<usize> {
        match &self.0 {
            Ok(count) => usize::try_from(*count)
                .map_err(|_| Error::value(op, format_args!("{name} must not be negative, got {count}"))),
            Err(kind) => Err(Error::dtype(op, format_args!("{name} must be an int, not {kind}"))),
        }
    }
}

/// One int, or a tuple or list of ints; `what` is named when it is neither.
pub fn index_list(object: &Bound<'_, PyAny>, what: impl Display + Copy) -> PyResult<Vec<isize>> {
    if is_list(object) {
        return object.try_iter()?.map(|item| integer(&item?, what)).collect();
    }
    Ok(vec![integer(object, what)?])
}

/// An int (anything with `__index__`, but no bool).
pub fn integer(object: &Bound<'_, PyAny>, what: impl Display) -> PyResult<isize> {
    if !object.is_instance_of::<PyBool>() {
        match object.extract::<isize>() {
            Ok(value) => return Ok(value),
            Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => {
                return Err(PyValueError::new_err(format!("{what} is too large: {object}")));
            }
            Err(error) if !error.is_instance_of::<PyTypeError>(object.py()) => return Err(error),
            Err(_) => {}
        }
    }
    let name = object.get_type().name()?;
    Err(PyTypeError::new_err(format!("{what} must be an int or a tuple of ints, not {name}")))
}
