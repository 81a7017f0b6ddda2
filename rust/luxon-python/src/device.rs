//! Devices as Python objects, and what the host gives to kernels: threads and memory.

use std::sync::Arc;

use luxon::Error;
use luxon::device::Device;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

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

/// What the cache of tensors' memory has done: how many blocks came from the system so far rather than from the
/// cache, the bytes held from the system (in tensors and in the cache), and the most ever held.
///
/// A loop that goes on as it began takes no further blocks. Blocks are kept for the next tensors, up to
/// `LUXON_CACHE_BYTES` bytes of large ones (2 GiB by default).
///
/// Example:
///     >>> import luxon as lx
///     >>> before = lx.memory_statistics()["system_allocations"]
///     >>> for _ in range(100):
///     ...     y = lx.exp(lx.ones(1000))
///     >>> lx.memory_statistics()["system_allocations"] - before <= 2
///     True
#[pyfunction]
pub fn memory_statistics(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let now = luxon::runtime::memory::statistics();
    let entries = [
        ("system_allocations", now.system_allocations),
        ("held_bytes", now.held_bytes),
        ("peak_bytes", now.peak_bytes),
    ];
    entries.into_py_dict(py)
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
        if let Some(device) = crate::cuda::find(object.py(), &name)? {
            return Ok(DeviceArg(PyDevice(Some(device))));
        }
        Err(raise(Error::Device(format!("there is no device {name:?}; use \"cpu\", or \"cuda:0\" for a CUDA device"))))
    }
}

/// The tensor on the device that was asked for.
pub fn moved(tensor: luxon::Tensor, device: Option<DeviceArg>) -> Out<luxon::Tensor> {
    Ok(match device.map(|device| device.0.0) {
        None => tensor,
        Some(None) if tensor.value().is_abstract() => tensor,
        Some(None) => tensor.to_host()?,
        Some(Some(device)) => tensor.to_device(&device)?,
    })
}
