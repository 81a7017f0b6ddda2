//! The CUDA device: the core's plans carried out through a table of Python functions.
//!
//! The table is a `luxon._cupy.Table`: over CuPy on a real device, over host memory where a device is
//! emulated. It is asked for memory, copies, compiled kernels, launches and matrix products, all by address;
//! what is launched on which bytes is decided in the core. A device is opened once and lives as long as the
//! process, so that two tensors are on the same device exactly where they point to the same object.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use luxon::Error;
use luxon::device::Device;
use luxon::device::report::Way;
use pyo3::prelude::*;

use crate::error::{carry, raise};

mod buffer;
pub mod exchange;
mod execute;

use execute::Cuda;

/// Splits `cuda:1` into kind and number; none where it names no such device.
fn parse(name: &str) -> Option<(&str, usize)> {
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => (kind, index.parse().ok()?),
        None => (name, 0),
    };
    matches!(kind, "cuda" | "cuda-emulated").then_some((kind, index))
}

/// The device of a name such as `cuda:0`, opened at its first use; none where no CUDA device is called so.
pub fn find(py: Python<'_>, name: &str) -> PyResult<Option<Arc<dyn Device>>> {
    let Some((kind, index)) = parse(name) else { return Ok(None) };
    Ok(Some(opened(py, kind, index)?))
}

/// The device of a kind and a number.
fn opened(py: Python<'_>, kind: &str, index: usize) -> PyResult<Arc<Cuda>> {
    static OPEN: Mutex<Option<HashMap<String, Arc<Cuda>>>> = Mutex::new(None);
    let name = format!("{kind}:{index}");
    let known = || OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = known().get_or_insert_default().get(&name) {
        return Ok(Arc::clone(device));
    }
    // Opening runs Python code, which may let other threads in: the first to finish is kept.
    let table = py.import("luxon._cupy")?.call_method1("open", (kind, index))?;
    let device = Arc::new(Cuda::new(name.clone(), &table)?);
    Ok(Arc::clone(known().get_or_insert_default().entry(name).or_insert(device)))
}

/// Waits for everything that the device was asked to do.
#[pyfunction]
#[pyo3(signature = (device, /))]
pub fn synchronize(py: Python<'_>, device: crate::device::DeviceArg) -> PyResult<()> {
    match &device.0.0 {
        None => Ok(()),
        Some(device) => py.detach(|| device.synchronize()).map_err(raise),
    }
}

/// Starts counting which way operations go on devices.
#[pyfunction]
pub fn _start_device_report() {
    luxon::device::report::start();
}

/// Stops counting: (operation, "kernel", "expansion" or "host", how often).
#[pyfunction]
pub fn _stop_device_report() -> Vec<(&'static str, &'static str, usize)> {
    let name = |way| match way {
        Way::Kernel => "kernel",
        Way::Expansion => "expansion",
        Way::Host => "host",
    };
    luxon::device::report::stop().into_iter().map(|((op, way), count)| (op, name(way), count)).collect()
}

/// A Python call's failure as an error of the core: memory that ran out is told apart.
fn failed(py: Python<'_>, error: PyErr, bytes: usize) -> Error {
    if error.is_instance_of::<pyo3::exceptions::PyMemoryError>(py) { Error::Memory(bytes) } else { carry(error) }
}
