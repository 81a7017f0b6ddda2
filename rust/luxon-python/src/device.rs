//! Devices as Python objects.

use std::sync::Arc;

use luxon::Error;
use luxon::device::Device;
use pyo3::prelude::*;

use crate::error::{Out, raise};

/// A place where tensors live: `luxon.cpu()`.
#[pyclass(frozen, name = "Device", module = "luxon", from_py_object)]
#[derive(Clone)]
pub struct PyDevice(pub Option<Arc<dyn Device>>);

#[pymethods]
impl PyDevice {
    fn __repr__(&self) -> String {
        self.0.as_ref().map_or_else(|| "cpu".to_owned(), |device| device.name())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        let mine = self.__repr__();
        match other.cast::<PyDevice>() {
            Ok(other) => other.get().__repr__() == mine,
            Err(_) => other.extract::<String>().is_ok_and(|name| name == mine),
        }
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.__repr__().into_pyobject(py)?.hash()
    }
}

/// The host.
#[pyfunction]
pub fn cpu() -> PyDevice {
    PyDevice(None)
}

/// The number of threads that kernels use, the caller's included.
#[pyfunction]
pub fn threads() -> usize {
    luxon::runtime::threads::threads()
}

/// Sets the number of threads that kernels use; 1 keeps all work on the calling thread.
///
/// Results have the same bits for any number.
#[pyfunction]
#[pyo3(signature = (count, /))]
pub fn set_threads(count: usize) -> Out<()> {
    if count == 0 {
        return Err(Error::value("set_threads", "at least one thread is needed").into());
    }
    luxon::runtime::threads::set_threads(count);
    Ok(())
}

/// A device argument: a device or the name of one.
pub struct DeviceArg(pub PyDevice);

impl<'py> FromPyObject<'_, 'py> for DeviceArg {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(device) = object.cast::<PyDevice>() {
            return Ok(DeviceArg(device.get().clone()));
        }
        let name = object.str()?.to_string();
        if name == "cpu" {
            return Ok(DeviceArg(PyDevice(None)));
        }
        Err(raise(Error::Device(format!("there is no device {name:?}; use luxon.cpu() or \"cpu\""))))
    }
}

/// The tensor on the device that was asked for.
pub fn moved(tensor: luxon::Tensor, device: Option<DeviceArg>) -> Out<luxon::Tensor> {
    Ok(match device.map(|device| device.0.0) {
        None => tensor,
        Some(None) => tensor.to_host()?,
        Some(Some(device)) => tensor.to_device(&device)?,
    })
}
