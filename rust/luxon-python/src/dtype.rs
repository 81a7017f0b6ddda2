//! Dtypes as Python sees them: `numpy.dtype` objects.
//!
//! NumPy's own dtypes are singletons, so a dtype that comes back is recognised by its address. bfloat16
//! is not NumPy's: its dtype object is that of the package `ml_dtypes`, which is imported only when such
//! an object is asked for; everywhere else the name `"bfloat16"` does.

use luxon::DType;
use pyo3::exceptions::{PyImportError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString, PyType};

static NATIVE: PyOnceLock<[Option<Py<PyAny>>; 8]> = PyOnceLock::new();
static BFLOAT16: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The dtype objects by [`DType`], all but bfloat16.
fn native(py: Python<'_>) -> PyResult<&[Option<Py<PyAny>>; 8]> {
    NATIVE.get_or_try_init(py, || {
        let make = py.import("numpy")?.getattr("dtype")?;
        let mut objects = [const { None }; 8];
        for dtype in DType::ALL {
            if dtype != DType::BF16 {
                objects[dtype as usize] = Some(make.call1((dtype.name(),))?.unbind());
            }
        }
        Ok(objects)
    })
}

/// The `numpy.dtype` object.
#[inline]
pub fn to_python(py: Python<'_>, dtype: DType) -> PyResult<Py<PyAny>> {
    match &native(py)?[dtype as usize] {
        Some(object) => Ok(object.clone_ref(py)),
        None => bfloat16(py),
    }
}

#[cold]
fn bfloat16(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let object = BFLOAT16.get_or_try_init(py, || {
        let module = py.import("ml_dtypes").map_err(|_| {
            PyImportError::new_err(
                "NumPy has no bfloat16 of its own: install the package ml_dtypes, or cast with astype(\"float32\") first",
            )
        })?;
        let make = py.import("numpy")?.getattr("dtype")?;
        PyResult::Ok(make.call1((module.getattr("bfloat16")?,))?.unbind())
    })?;
    Ok(object.clone_ref(py))
}

/// The tensor dtype of a `numpy.dtype` object that is one of the native ones.
#[inline]
pub fn known(object: &Bound<'_, PyAny>) -> PyResult<Option<DType>> {
    let objects = native(object.py())?;
    let found = objects.iter().position(|known| known.as_ref().is_some_and(|known| known.is(object)));
    Ok(found.map(|index| DType::ALL[index]))
}

/// The tensor dtype that a Python object names: a `numpy.dtype`, a NumPy scalar type, a string, or `bool`,
/// `int`, `float` for the default of that kind.
pub fn from_python(object: &Bound<'_, PyAny>) -> PyResult<DType> {
    if let Some(dtype) = known(object)? {
        return Ok(dtype);
    }
    let py = object.py();
    if let Ok(text) = object.cast::<PyString>() {
        if let Some(dtype) = DType::from_name(&text.to_cow()?) {
            return Ok(dtype);
        }
    } else if object.is_none() {
        return Err(PyTypeError::new_err("dtype must not be None here"));
    } else if let Ok(class) = object.cast::<PyType>() {
        if class.is(py.get_type::<PyFloat>()) {
            return Ok(DType::DEFAULT_FLOAT);
        } else if class.is(py.get_type::<PyInt>()) {
            return Ok(DType::DEFAULT_INT);
        } else if class.is(py.get_type::<PyBool>()) {
            return Ok(DType::Bool);
        }
    }
    let name = match py.import("numpy")?.getattr("dtype")?.call1((object,)) {
        Ok(dtype) => dtype.getattr(intern!(py, "name"))?.extract::<String>()?,
        Err(_) => object.repr()?.to_string(),
    };
    DType::from_name(&name).ok_or_else(|| unsupported(&name))
}

/// The error for a dtype that tensors cannot have.
#[cold]
pub fn unsupported(name: &str) -> PyErr {
    let names: Vec<&str> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
    PyTypeError::new_err(format!("dtype {name} is not supported; tensors have one of {}", names.join(", ")))
}

/// A dtype argument.
#[derive(Clone, Copy)]
pub struct DTypeArg(pub DType);

impl<'py> FromPyObject<'_, 'py> for DTypeArg {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        from_python(&object).map(DTypeArg)
    }
}
