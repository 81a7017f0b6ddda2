//! Safetensors files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use luxon::io::safetensors::{self, Reader};
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
    metadata: BTreeMap<String, String>,
) -> Out<()> {
    let tensors: Vec<_> = tensors.into_iter().map(|(name, tensor)| (name, tensor.0)).collect();
    Ok(py.detach(|| safetensors::write(&path, &tensors, &metadata))?)
}

/// An open file whose header has been read and found to be sound.
#[pyclass(name = "SafetensorsFile", module = "luxon._core", frozen)]
struct PyFile {
    reader: Mutex<Reader<File>>,
}

impl PyFile {
    fn with<T>(&self, use_it: impl FnOnce(&mut Reader<File>) -> T) -> T {
        // A reader is as good after a panic as before: it holds no half-done work.
        use_it(&mut self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl PyFile {
    #[new]
    #[pyo3(signature = (path, /))]
    fn new(py: Python<'_>, path: PathBuf) -> Out<PyFile> {
        Ok(PyFile { reader: Mutex::new(py.detach(|| Reader::open(&path))?) })
    }

    /// The text.
    #[getter]
    fn metadata(&self) -> BTreeMap<String, String> {
        self.with(|reader| reader.metadata().clone())
    }

    /// The tensors' names, in the file's order.
    #[getter]
    fn names(&self) -> Vec<String> {
        self.with(|reader| reader.names().map(str::to_string).collect())
    }

    /// The tensors of these names.
    #[pyo3(signature = (names, /))]
    fn read(&self, py: Python<'_>, names: Vec<String>) -> Out<Vec<PyTensor>> {
        let read = |reader: &mut Reader<File>| -> luxon::Result<Vec<PyTensor>> {
            names.iter().map(|name| reader.read(name).map(PyTensor)).collect()
        };
        Ok(py.detach(|| self.with(read))?)
    }
}

/// Adds what is here to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyFile>()?;
    module.add_function(wrap_pyfunction!(write_safetensors, module)?)
}
