//! The class `Tensor`: the core's tensor under Python's protocols.
//!
//! The object holds a core tensor and nothing else, and is frozen: whatever changes makes a new object.
//! The files beside this one are its faces: numbers, containers and text, indexing, interchange, methods.

use luxon::Error;
use luxon::layout::show;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::device::PyDevice;
use crate::dtype;
use crate::error::{Out, raise};

mod exchange;
mod index;
mod methods;
mod number;
pub mod protocol;
mod text;

pub use exchange::Bits;
pub use index::{PyAt, PyAtIndex, getitem};
pub use number::binary;

/// An n-dimensional array that never changes.
///
/// Made by `luxon.asarray` and the other creation functions; operations on it are recorded where a
/// differentiation (`luxon.grad`, `luxon.jvp`, ...) is under way.
#[pyclass(frozen, freelist = 256, name = "Tensor", module = "luxon", from_py_object)]
#[derive(Clone)]
pub struct PyTensor(pub luxon::Tensor);

impl PyTensor {
    /// The tensor outside differentiation, to be handed to `whom`; refused while it is differentiated.
    pub fn untracked(&self, whom: &str) -> PyResult<&luxon::Tensor> {
        if self.0.is_tracked() {
            return Err(raise(Error::Type(format!(
                "a tensor under differentiation cannot be handed to {whom}, where its derivative would be lost; \
                 use luxon.stop_gradient(x) if that is meant"
            ))));
        }
        Ok(&self.0)
    }
}

impl From<luxon::Tensor> for PyTensor {
    #[inline]
    fn from(tensor: luxon::Tensor) -> PyTensor {
        PyTensor(tensor)
    }
}

#[pymethods]
impl PyTensor {
    /// The sizes of the axes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.shape().iter())
    }

    /// The element type, a `numpy.dtype`.
    #[getter]
    fn dtype(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        dtype::to_python(py, self.0.dtype())
    }

    /// The number of axes.
    #[getter]
    fn ndim(&self) -> usize {
        self.0.rank()
    }

    /// The number of elements.
    #[getter]
    fn size(&self) -> usize {
        self.0.count()
    }

    /// The bytes of one element.
    #[getter]
    fn itemsize(&self) -> usize {
        self.0.dtype().size()
    }

    /// The bytes of all elements.
    #[getter]
    fn nbytes(&self) -> usize {
        self.0.count() * self.0.dtype().size()
    }

    /// Where the elements are.
    #[getter]
    fn device(&self) -> PyDevice {
        PyDevice(self.0.device().cloned())
    }

    /// The transpose of a matrix (two axes exactly).
    #[getter(T)]
    fn transposed(&self) -> Out<PyTensor> {
        if self.0.rank() != 2 {
            let shape = show(self.0.shape());
            return Err(
                Error::shape("T", format_args!("needs two axes, shape is {shape}; use mT or permute_dims")).into()
            );
        }
        Ok(self.0.swap_axes(0, 1)?.into())
    }

    /// The last two axes swapped.
    #[getter(mT)]
    fn matrices_transposed(&self) -> Out<PyTensor> {
        Ok(self.0.matrix_transpose()?.into())
    }

    /// Whether a differentiation that is under way records this tensor.
    #[getter]
    fn is_tracked(&self) -> bool {
        self.0.is_tracked()
    }

    /// Whether only shape and dtype are known (in `luxon.nn.output_shape` and its like).
    #[getter]
    fn is_abstract(&self) -> bool {
        self.0.value().is_abstract()
    }

    /// Functional updates: `x.at[index].set(value)`, `.add`, `.multiply`, `.min`, `.max`.
    #[getter]
    fn at(&self) -> PyAt {
        PyAt(self.0.clone())
    }
}
