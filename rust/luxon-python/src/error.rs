//! The core's errors as Python exceptions, and back.
//!
//! Every kind has one class. An exception raised in a user's Python function travels through the core as
//! [`luxon::Error::Foreign`] and comes out as the very same object, traceback included. Functions of this
//! crate return [`Out`], so that `?` works on the core's results and on Python's alike.

use std::cell::RefCell;
use std::sync::Arc;

use luxon::Error;
use pyo3::exceptions::{
    PyIndexError, PyKeyboardInterrupt, PyMemoryError, PyOSError, PyOverflowError, PyRuntimeError, PyTypeError,
    PyValueError,
};
use pyo3::prelude::*;

thread_local! {
    /// The exception that a signal handler raised while a kernel of this thread ran.
    static SIGNALLED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// The Python exception for an error of the core.
#[cold]
pub fn raise(error: Error) -> PyErr {
    match error {
        Error::Shape(text) | Error::Value(text) => PyValueError::new_err(text),
        Error::Type(text) => PyTypeError::new_err(text),
        Error::Index(text) => PyIndexError::new_err(text),
        Error::Overflow(text) => PyOverflowError::new_err(text),
        Error::Memory(_) => PyMemoryError::new_err(error.to_string()),
        Error::Interrupted => SIGNALLED.take().unwrap_or_else(|| PyKeyboardInterrupt::new_err(())),
        Error::Device(text) => PyRuntimeError::new_err(text),
        Error::File(text) => PyOSError::new_err(text),
        Error::Foreign(inner) => match inner.downcast_ref::<PyErr>() {
            Some(carried) => Python::attach(|py| carried.clone_ref(py)),
            None => PyRuntimeError::new_err(inner.to_string()),
        },
    }
}

/// A Python exception as an error that the core carries through unchanged.
#[cold]
pub fn carry(exception: PyErr) -> Error {
    Error::Foreign(Arc::new(exception))
}

/// What a function of this crate may end with; turns into a `PyErr`.
pub struct Failure(PyErr);

/// The result of a function that Python calls.
pub type Out<T> = Result<T, Failure>;

impl From<Error> for Failure {
    #[cold]
    fn from(error: Error) -> Failure {
        Failure(raise(error))
    }
}

impl From<PyErr> for Failure {
    #[cold]
    fn from(exception: PyErr) -> Failure {
        Failure(exception)
    }
}

impl From<pyo3::CastError<'_, '_>> for Failure {
    #[cold]
    fn from(error: pyo3::CastError<'_, '_>) -> Failure {
        Failure(error.into())
    }
}

impl From<Failure> for PyErr {
    #[cold]
    fn from(failure: Failure) -> PyErr {
        failure.0
    }
}

/// Asked by the core now and then while a long kernel runs: whether a signal handler raised.
///
/// Python runs signal handlers on the main thread only; elsewhere this does nothing.
pub fn check_signals() -> bool {
    let checked = Python::try_attach(|py| match py.check_signals() {
        Ok(()) => false,
        Err(exception) => {
            SIGNALLED.replace(Some(exception));
            true
        }
    });
    checked.unwrap_or(false)
}
