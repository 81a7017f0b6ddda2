//! Safetensors files.

use std::collections::HashMap;
use std::path::PathBuf;

use luxon::io::safetensors;
use pyo3::prelude::*;

use crate::convert::TensorArg;
use crate::error::Out;
use crate::tensor::PyTensor;

/// Writes named tensors and text into one file, atomically.
#[pyfunction]
#[pyo3(signature = (path, tensors, metadata))]
fn write_safetensors(
    py: Python<'_>,
    path: PathBuf,
    tensors: Vec<(String, TensorArg)>,
    metadata: HashMap<String, String>,
) -> Out<()> {
    let tensors: Vec<_> = tensors.into_iter().map(|(name, tensor)| (name, tensor.0)).collect();
    Ok(py.detach(|| safetensors::write(&path, &tensors, &metadata))?)
}

/// The named tensors of a file, in its order, and its text.
#[pyfunction]
#[pyo3(signature = (path))]
fn read_safetensors(py: Python<'_>, path: PathBuf) -> Out<(Vec<(String, PyTensor)>, HashMap<String, String>)> {
    let (tensors, metadata) = py.detach(|| safetensors::read(&path))?;
    Ok((tensors.into_iter().map(|(name, tensor)| (name, PyTensor(tensor))).collect(), metadata))
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(write_safetensors, module)?)?;
    module.add_function(wrap_pyfunction!(read_safetensors, module)?)
}
