//! Tensors as text, in NumPy's layout and under its print options.

use luxon::layout::show;
use luxon::{DType, Tensor};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::PyTensor;
use crate::error::raise;
use crate::numpy;

/// The elements as a NumPy array to print; bfloat16 as float32, which holds them exactly.
fn printable<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    let detached = tensor.detach().to_host().map_err(raise)?;
    let shown = if detached.dtype() == DType::BF16 { detached.cast(DType::F32).map_err(raise)? } else { detached };
    numpy::to_array(&Bound::new(py, PyTensor(shown))?)
}

/// `str(x)`: the elements alone.
pub fn plain(py: Python<'_>, tensor: &Tensor) -> PyResult<String> {
    if tensor.value().is_abstract() {
        return Ok(description(tensor));
    }
    Ok(printable(py, tensor)?.str()?.to_string())
}

/// `repr(x)`: `Tensor([1., 2.], dtype=float32)`.
pub fn repr(tensor: &Bound<'_, PyTensor>) -> PyResult<String> {
    let py = tensor.py();
    let inner = &tensor.get().0;
    if inner.value().is_abstract() {
        return Ok(description(inner));
    }
    let numpy = py.import("numpy")?;
    let array = printable(py, inner)?;
    let options = PyDict::new(py);
    options.set_item("separator", ", ")?;
    options.set_item("prefix", "Tensor(")?;
    let body: String = if inner.count() == 0 {
        "[]".to_owned()
    } else {
        numpy.call_method(intern!(py, "array2string"), (array,), Some(&options))?.extract()?
    };
    let threshold: usize = numpy.call_method0("get_printoptions")?.get_item("threshold")?.extract()?;
    let mut end = String::new();
    // What the text does not show is said.
    if inner.count() > threshold || (inner.count() == 0 && inner.shape()[..] != [0]) {
        end.push_str(&format!(", shape={}", show(inner.shape())));
    }
    end.push_str(&format!(", dtype={}", inner.dtype()));
    if let Some(device) = inner.device() {
        end.push_str(&format!(", device={}", device.name()));
    }
    if inner.is_tracked() {
        end.push_str(", tracked");
    }
    Ok(format!("Tensor({body}{end})"))
}

/// A tensor without elements.
fn description(tensor: &Tensor) -> String {
    format!("Tensor(shape={}, dtype={}, abstract)", show(tensor.shape()), tensor.dtype())
}
