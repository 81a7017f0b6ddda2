//! `_core.watch`: Python functions that see the derivatives of a tensor on their way.

use std::sync::Arc;

use luxon::Tensor;
use luxon::transform::{self, Watcher};
use pyo3::prelude::*;

use crate::convert::from_tensor;
use crate::error::{Out, carry};
use crate::tensor::PyTensor;

struct Functions {
    cotangent: Py<PyAny>,
    tangent: Py<PyAny>,
}

fn show(function: &Py<PyAny>, derivative: &Tensor) -> luxon::Result<()> {
    Python::attach(|py| function.call1(py, (from_tensor(py, derivative.clone())?,)).map(|_| ())).map_err(carry)
}

impl Watcher for Functions {
    fn cotangent(&self, cotangent: &Tensor) -> luxon::Result<()> {
        show(&self.cotangent, cotangent)
    }

    fn tangent(&self, tangent: &Tensor) -> luxon::Result<()> {
        show(&self.tangent, tangent)
    }
}

/// The same tensor; every cotangent that arrives through it is shown to one function, its tangent to the other.
///
/// An exception that a function raises ends the differentiation.
#[pyfunction]
#[pyo3(signature = (x, cotangent, tangent, /))]
pub fn watch(x: &Bound<'_, PyTensor>, cotangent: Py<PyAny>, tangent: Py<PyAny>) -> Out<PyTensor> {
    let watcher: Arc<dyn Watcher> = Arc::new(Functions { cotangent, tangent });
    Ok(PyTensor(transform::watch(&x.get().0, &watcher)?))
}
