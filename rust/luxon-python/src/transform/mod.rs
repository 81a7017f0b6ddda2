//! Transformations of Python functions: gradients, Jacobians, rules of one's own, recomputation.
//!
//! A transformed function is an object that keeps the function and what was asked; a call opens a level
//! of the core, runs the function on tagged tensors, and reads the answer off. An exception that the
//! function raises passes through untouched, and leaves no level open.

use luxon::transform::Level;
use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

mod argument;
mod custom;
mod gradient;
mod jacobian;
mod jet;
mod linear;
mod watch;

use argument::{Argnums, Unused};

/// What a transformed function does when it is called.
enum Transform {
    Gradient { argnums: Argnums, has_aux: bool, unused: Unused, value: bool },
    Jacobian { argnums: Argnums, mode: jacobian::JacobianMode },
    Checkpoint,
}

/// A function made from a function: it has the other's name, documentation and signature.
#[pyclass(frozen, weakref, name = "Transformed", module = "luxon")]
pub struct PyTransformed {
    function: Py<PyAny>,
    transform: Transform,
}

#[pymethods]
impl PyTransformed {
    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__(
        &self,
        py: Python<'_>,
        arguments: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let function = self.function.bind(py);
        match &self.transform {
            Transform::Gradient { argnums, has_aux, unused, value } => {
                gradient::call(function, arguments, keywords, argnums, *has_aux, *unused, *value)
            }
            Transform::Jacobian { argnums, mode } => jacobian::call(function, arguments, keywords, argnums, *mode),
            Transform::Checkpoint => custom::call_checkpoint(function, arguments, keywords),
        }
    }
}

/// Differentiations may be nested this deep; beyond it a function most likely differentiates itself.
const DEEPEST: usize = 64;

/// Ends a recursion through differentiations before it exhausts the stack.
#[inline]
fn check_depth() -> PyResult<()> {
    if Level::depth() < DEEPEST {
        return Ok(());
    }
    Err(PyRecursionError::new_err(format!("more than {DEEPEST} differentiations are nested")))
}

/// What makes an object with a field `function` look like that function.
macro_rules! looks_like_its_function {
    ($class:ty) => {
        #[pymethods]
        impl $class {
            /// The function that this one was made from.
            #[getter]
            fn __wrapped__(&self, py: Python<'_>) -> Py<PyAny> {
                self.function.clone_ref(py)
            }

            /// A class's own documentation would hide the function's.
            fn __getattribute__(slf: &Bound<'_, Self>, name: &Bound<'_, pyo3::types::PyString>) -> PyResult<Py<PyAny>> {
                let py = slf.py();
                if name.to_str()? == "__doc__" {
                    return slf.get().function.getattr(py, name);
                }
                // SAFETY: both are live objects of this thread; the result is an owned reference or an exception.
                let found = unsafe {
                    Bound::from_owned_ptr_or_err(py, pyo3::ffi::PyObject_GenericGetAttr(slf.as_ptr(), name.as_ptr()))
                };
                found.map(Bound::unbind)
            }

            /// Whatever else the function has: its name and module, and what its author put on it.
            fn __getattr__(&self, py: Python<'_>, name: &Bound<'_, pyo3::types::PyString>) -> PyResult<Py<PyAny>> {
                self.function.getattr(py, name)
            }

            fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
                visit.call(&self.function)?;
                self.visit_rules(&visit)
            }

            /// As an attribute of a class it is a method.
            fn __get__<'py>(
                slf: &Bound<'py, Self>,
                instance: &Bound<'py, PyAny>,
                _owner: Option<&Bound<'py, PyAny>>,
            ) -> PyResult<Bound<'py, PyAny>> {
                if instance.is_none() {
                    return Ok(slf.clone().into_any());
                }
                slf.py().import("types")?.getattr("MethodType")?.call1((slf, instance))
            }
        }
    };
}
pub(crate) use looks_like_its_function;

looks_like_its_function!(PyTransformed);

impl PyTransformed {
    /// It has no rules of its own that could be part of a reference cycle.
    fn visit_rules(&self, _visit: &pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        Ok(())
    }
}

/// The gradient of a function that returns a 0-d tensor.
///
/// Args:
///     function: takes tensors, trees and anything else; returns a 0-d floating tensor, or with `has_aux` a
///         pair of it and anything.
///     argnums: the positional argument (or arguments) to differentiate: tensors or trees of floating
///         tensors, NumPy arrays and Python floats. `None` leaves are passed over.
///     has_aux: the gradient comes as a pair with the function's second result.
///     unused: zeros, or `None`, for what the result does not depend on.
///
/// Returns:
///     A function of the same arguments that returns the gradient, in the structure of the argument; a
///     tuple of gradients where `argnums` is a sequence. A tied leaf gets the sum over its places.
///
/// Raises:
///     TypeError: an argument to be differentiated has an integer, bool or other leaf (its path is named).
///     ValueError: the result is not 0-d.
///
/// Example:
///     >>> import luxon as lx
///     >>> lx.grad(lambda x: (x * x).sum())(lx.asarray([1.0, 2.0])).tolist()
///     [2.0, 4.0]
#[pyfunction]
#[pyo3(signature = (function, argnums = Argnums::first(), has_aux = false, unused = Unused::Zeros), text_signature = "(function, argnums=0, has_aux=False, unused='zeros')")]
fn grad(function: Py<PyAny>, argnums: Argnums, has_aux: bool, unused: Unused) -> PyTransformed {
    PyTransformed { function, transform: Transform::Gradient { argnums, has_aux, unused, value: false } }
}

/// Like `grad`, with the value: `(value, gradient)`, or `((value, aux), gradient)` with `has_aux`.
///
/// Example:
///     >>> import luxon as lx
///     >>> value, slope = lx.value_and_grad(lambda x: x * x)(lx.asarray(3.0))
///     >>> float(value), float(slope)
///     (9.0, 6.0)
#[pyfunction]
#[pyo3(signature = (function, argnums = Argnums::first(), has_aux = false, unused = Unused::Zeros), text_signature = "(function, argnums=0, has_aux=False, unused='zeros')")]
fn value_and_grad(function: Py<PyAny>, argnums: Argnums, has_aux: bool, unused: Unused) -> PyTransformed {
    PyTransformed { function, transform: Transform::Gradient { argnums, has_aux, unused, value: true } }
}

/// All partial derivatives: for each tensor of the result and of the argument a tensor with the axes of
/// the first followed by those of the second, nested as result, then argument.
///
/// `mode` is by rows, by columns, or whichever are fewer.
///
/// Example:
///     >>> import luxon as lx
///     >>> lx.jacobian(lambda x: x * x)(lx.asarray([1.0, 2.0])).tolist()
///     [[2.0, 0.0], [0.0, 4.0]]
#[pyfunction]
#[pyo3(name = "jacobian", signature = (function, argnums = Argnums::first(), mode = jacobian::JacobianMode::Auto))]
fn jacobian_of(function: Py<PyAny>, argnums: Argnums, mode: jacobian::JacobianMode) -> PyTransformed {
    PyTransformed { function, transform: Transform::Jacobian { argnums, mode } }
}

/// The function, run again in the backward pass instead of keeping what it computed on the way.
///
/// Tensors that it closes over are differentiated too. It must compute the same when it is run again.
///
/// Example:
///     >>> import luxon as lx
///     >>> float(lx.grad(lx.checkpoint(lambda x: lx.sin(x) * x))(lx.asarray(0.0)))
///     0.0
#[pyfunction]
fn checkpoint(function: Py<PyAny>) -> PyTransformed {
    PyTransformed { function, transform: Transform::Checkpoint }
}

/// The same values as constants: no differentiation under way goes through them.
///
/// Example:
///     >>> import luxon as lx
///     >>> float(lx.grad(lambda x: x * lx.stop_gradient(x))(lx.asarray(3.0)))
///     3.0
#[pyfunction]
#[pyo3(signature = (tree, /))]
fn stop_gradient(tree: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    argument::map_tensors(tree, |tensor| tensor.reaches(0), luxon::Tensor::detach)
}

/// Adds the classes and functions of this module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyTransformed>()?;
    module.add_class::<linear::PyPullback>()?;
    module.add_class::<linear::PyPushforward>()?;
    module.add_class::<custom::PyCustomVjp>()?;
    module.add_class::<custom::PyCustomJvp>()?;
    module.add_function(wrap_pyfunction!(grad, module)?)?;
    module.add_function(wrap_pyfunction!(value_and_grad, module)?)?;
    module.add_function(wrap_pyfunction!(gradient::differentiate_objective, module)?)?;
    module.add_function(wrap_pyfunction!(jacobian_of, module)?)?;
    module.add_function(wrap_pyfunction!(checkpoint, module)?)?;
    module.add_function(wrap_pyfunction!(stop_gradient, module)?)?;
    module.add_function(wrap_pyfunction!(watch::watch, module)?)?;
    module.add_function(wrap_pyfunction!(linear::vjp, module)?)?;
    module.add_function(wrap_pyfunction!(linear::jvp, module)?)?;
    module.add_function(wrap_pyfunction!(jet::jet, module)?)?;
    module.add_function(wrap_pyfunction!(linear::linearize, module)?)?;
    Ok(())
}
