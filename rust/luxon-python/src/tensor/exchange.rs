//! Tensors handed to other libraries: the buffer protocol, NumPy, DLPack.
//!
//! Memory goes out read-only or as a copy. A tensor under differentiation is refused: a silent detach is
//! the classic bug.

use std::ffi::c_int;

use luxon::Tensor;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi::Py_buffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::PyTensor;
use crate::error::raise;
use crate::{dlpack, memory, numpy};

/// The elements of a bfloat16 tensor as the 16-bit integers that the buffer protocol can say.
#[pyclass(frozen, module = "luxon._core")]
pub struct Bits(pub Tensor);

#[pymethods]
impl Bits {
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut Py_buffer, flags: c_int) -> PyResult<()> {
        let tensor = slf.get().0.clone();
        // SAFETY: Python passes a view to fill; the object keeps the value alive.
        unsafe { memory::export(slf.into_any(), tensor.value(), true, view, flags) }
    }

    unsafe fn __releasebuffer__(&self, view: *mut Py_buffer) {
        // SAFETY: Python releases each view once.
        unsafe { memory::release(view) };
    }
}

#[pymethods]
impl PyTensor {
    /// NumPy leaves operators with an array on the left to the tensor.
    #[classattr]
    #[pyo3(name = "__array_ufunc__")]
    fn array_ufunc() -> Option<bool> {
        None
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut Py_buffer, flags: c_int) -> PyResult<()> {
        if !view.is_null() {
            // SAFETY: valid for writes; the protocol asks for a null owner on failure.
            unsafe { (*view).obj = std::ptr::null_mut() };
        }
        let tensor = match slf.get().untracked("the buffer protocol") {
            Ok(tensor) => tensor.clone(),
            Err(error) => return Err(PyBufferError::new_err(error.value(slf.py()).to_string())),
        };
        // SAFETY: Python passes a view to fill; the object keeps the value alive.
        unsafe { memory::export(slf.into_any(), tensor.value(), false, view, flags) }
    }

    unsafe fn __releasebuffer__(&self, view: *mut Py_buffer) {
        // SAFETY: Python releases each view once.
        unsafe { memory::release(view) };
    }

    /// The elements as a NumPy array: read-only where the memory is shared.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let array = numpy::to_array(slf)?;
        let converted = match &dtype {
            Some(dtype) if !array.getattr(intern!(py, "dtype"))?.eq(dtype)? => {
                if copy == Some(false) {
                    return Err(PyValueError::new_err("the memory cannot be shared under another dtype, only copied"));
                }
                return array.call_method1(intern!(py, "astype"), (dtype,));
            }
            _ => array,
        };
        if copy == Some(true) { converted.call_method0(intern!(py, "copy")) } else { Ok(converted) }
    }

    /// The elements as a read-only NumPy array over the tensor's memory.
    fn numpy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        numpy::to_array(slf)
    }

    /// The memory of a tensor on a CUDA device, read-only, with the stream on which it is written.
    #[getter]
    fn __cuda_array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = crate::cuda::exchange::interface(py, &self.0)?;
        self.untracked("__cuda_array_interface__")?;
        Ok(interface)
    }

    /// The DLPack device: (type, id).
    fn __dlpack_device__(&self) -> PyResult<(i32, i32)> {
        dlpack::device_of(&self.0)
    }

    /// The elements as a DLPack capsule; version 1 and read-only where the consumer knows it, else a copy.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let tensor = self.untracked("DLPack").map_err(|error| PyBufferError::new_err(error.value(py).to_string()))?;
        dlpack::export(py, tensor, stream.as_ref(), max_version, dl_device, copy)
    }

    /// The module of the Python array API that tensors follow.
    #[pyo3(signature = (*, api_version=None))]
    fn __array_namespace__<'py>(&self, py: Python<'py>, api_version: Option<&str>) -> PyResult<Bound<'py, PyModule>> {
        if let Some(version) = api_version {
            if !matches!(version, "2021.12" | "2022.12" | "2023.12" | "2024.12" | "2025.12") {
                return Err(PyValueError::new_err(format!("array API version {version:?} is not known")));
            }
        }
        py.import("luxon")
    }

    /// The tensor on another device; there are no streams to choose from.
    #[pyo3(signature = (device, /, *, stream=None))]
    fn to_device(&self, device: crate::device::DeviceArg, stream: Option<&Bound<'_, PyAny>>) -> PyResult<PyTensor> {
        if stream.is_some() {
            return Err(PyValueError::new_err("to_device: stream must be None"));
        }
        if self.0.is_tracked() && device.0.0.is_some() {
            return Err(raise(luxon::Error::Device("a move to another device is not differentiated".into())));
        }
        Ok(crate::device::moved(self.0.clone(), Some(device))?.into())
    }
}
