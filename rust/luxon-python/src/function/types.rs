//! Dtypes: their rules of combination, their limits, and shapes without data.

use luxon::dtype::Kind;
use luxon::layout::show;
use luxon::{DType, Shape, Tensor, Value};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::convert::{Argument, ShapeArg};
use crate::dtype::{DTypeArg, from_python, to_python};
use crate::error::Out;
use crate::tensor::PyTensor;

/// The dtype that an operation on these tensors, dtypes and numbers computes in; numbers are weak.
#[pyfunction]
#[pyo3(signature = (*arrays_and_dtypes))]
fn result_type(py: Python<'_>, arrays_and_dtypes: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let (mut strong, mut weak) = (None, Vec::new());
    for entry in arrays_and_dtypes.iter() {
        let dtype = match Argument::of(&entry)? {
            Some(Argument::Scalar(scalar)) => {
                weak.push(scalar);
                continue;
            }
            Some(tensor) => tensor.into_tensor().dtype(),
            None => from_python(&entry)?,
        };
        strong = Some(strong.map_or(dtype, |strong: DType| strong.promote(dtype)));
    }
    let result = match strong {
        Some(strong) => weak.into_iter().fold(strong, DType::promote_scalar),
        None => {
            let joined = weak.into_iter().map(luxon::Scalar::dtype).reduce(DType::promote);
            joined.ok_or_else(|| PyValueError::new_err("result_type: needs at least one tensor, dtype or number"))?
        }
    };
    to_python(py, result)
}

/// Whether a cast from one dtype to another is one that promotion could make.
#[pyfunction]
#[pyo3(signature = (from_, to, /))]
fn can_cast(from_: &Bound<'_, PyAny>, to: DTypeArg) -> PyResult<bool> {
    let from = match from_.cast::<PyTensor>() {
        Ok(tensor) => tensor.get().0.dtype(),
        Err(_) => from_python(from_)?,
    };
    Ok(from.promote(to.0) == to.0)
}

/// Whether a dtype is of a kind: "bool", "integral", "real floating", "numeric", a dtype, or a tuple of those.
#[pyfunction]
#[pyo3(signature = (dtype, kind))]
fn isdtype(dtype: DTypeArg, kind: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Ok(kinds) = kind.cast::<PyTuple>() {
        for kind in kinds.iter() {
            if isdtype(dtype, &kind)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if let Ok(name) = kind.cast::<PyString>() {
        return Ok(match &*name.to_cow()? {
            "bool" => dtype.0.kind() == Kind::Bool,
            "signed integer" => matches!(dtype.0, DType::I32 | DType::I64),
            "unsigned integer" => dtype.0 == DType::U8,
            "integral" => dtype.0.kind() == Kind::Int,
            "real floating" => dtype.0.kind() == Kind::Float,
            "complex floating" => false,
            "numeric" => dtype.0.kind() != Kind::Bool,
            other => return Err(PyValueError::new_err(format!("isdtype: {other:?} is no kind of dtype"))),
        });
    }
    Ok(from_python(kind)? == dtype.0)
}

fn dtype_of(object: &Bound<'_, PyAny>) -> PyResult<DType> {
    match object.cast::<PyTensor>() {
        Ok(tensor) => Ok(tensor.get().0.dtype()),
        Err(_) => from_python(object),
    }
}

/// The limits of a floating dtype: bits, eps, max, min, smallest_normal and dtype.
#[pyfunction]
#[pyo3(signature = (r#type, /))]
fn finfo<'py>(py: Python<'py>, r#type: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let dtype = dtype_of(r#type)?;
    if !dtype.is_float() {
        return Err(PyTypeError::new_err(format!("finfo: {dtype} is no floating dtype")));
    }
    let module = if dtype == DType::BF16 { "ml_dtypes" } else { "numpy" };
    let object = to_python(py, dtype)?;
    let limits = py.import(module)?.call_method1("finfo", (object.clone_ref(py),))?;
    let float = |name: &str| limits.getattr(name)?.extract::<f64>();
    let floats = (float("eps")?, float("max")?, float("min")?, float("smallest_normal")?);
    let class = py.import("luxon._results")?.getattr("FloatInfo")?;
    class.call1((limits.getattr("bits")?, floats.0, floats.1, floats.2, floats.3, object))
}

/// The limits of an integer dtype: bits, max, min.
#[pyfunction]
#[pyo3(signature = (r#type, /))]
fn iinfo<'py>(py: Python<'py>, r#type: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let dtype = dtype_of(r#type)?;
    if !dtype.is_int() {
        return Err(PyTypeError::new_err(format!("iinfo: {dtype} is no integer dtype")));
    }
    py.import("numpy")?.call_method1("iinfo", (to_python(py, dtype)?,))
}

/// A shape and a dtype without data.
///
/// `spec.abstract()` is a tensor of which only these are known: functions of it compute shapes and dtypes only.
#[pyclass(frozen, eq, hash, name = "ShapeDtype", module = "luxon", from_py_object)]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ShapeDtype {
    shape: Shape,
    dtype: DType,
}

#[pymethods]
impl ShapeDtype {
    #[new]
    #[pyo3(signature = (shape, dtype=None))]
    fn new(shape: ShapeArg, dtype: Option<DTypeArg>) -> Out<ShapeDtype> {
        let shape = Shape::from_slice(&shape.sizes()?)?;
        luxon::layout::count(&shape)?;
        Ok(ShapeDtype { shape, dtype: dtype.map_or(DType::DEFAULT_FLOAT, |dtype| dtype.0) })
    }

    /// The sizes of the axes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.shape.iter())
    }

    /// The element type, a `numpy.dtype`.
    #[getter]
    fn dtype(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        to_python(py, self.dtype)
    }

    /// The number of axes.
    #[getter]
    fn ndim(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    #[getter]
    fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// A tensor of this shape and dtype that has no elements in memory.
    fn r#abstract(&self) -> Out<PyTensor> {
        Ok(PyTensor(Tensor::from(Value::abstract_of(self.dtype, &self.shape)?)))
    }

    fn __repr__(&self) -> String {
        format!("ShapeDtype({}, {})", show(&self.shape), self.dtype)
    }
}

/// Adds the functions and classes to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ShapeDtype>()?;
    module.add_function(wrap_pyfunction!(result_type, module)?)?;
    module.add_function(wrap_pyfunction!(can_cast, module)?)?;
    module.add_function(wrap_pyfunction!(isdtype, module)?)?;
    module.add_function(wrap_pyfunction!(finfo, module)?)?;
    module.add_function(wrap_pyfunction!(iinfo, module)?)
}
