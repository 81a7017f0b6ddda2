//! The one error type of the crate.
//!
//! Each kind is one that a caller can act on, and maps to one exception class in Python. Messages are
//! lower case and name the operation, the shapes or dtypes that it met and, where there is one, the
//! likely fix. No path that a user can reach panics: what can go wrong comes back as an [`Error`].

use std::fmt;
use std::sync::Arc;

use crate::dtype::DType;

/// What the crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation was refused or could not be finished.
///
/// ```
/// use luxon::{DType, Error, Tensor};
/// let (a, b) = (Tensor::zeros(&[2, 3], DType::F32)?, Tensor::zeros(&[4], DType::F32)?);
/// match a.add(&b) {
///     Err(Error::Shape(text)) => assert_eq!(text, "add: shapes (2, 3) and (4,) do not broadcast"),
///     _ => unreachable!(),
/// }
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Error {
    /// Shapes that do not fit each other or the operation.
    Shape(String),
    /// A dtype that the operation does not take, or dtypes without a common one.
    Type(String),
    /// An argument out of its domain.
    Value(String),
    /// A position outside an axis.
    Index(String),
    /// A value that its dtype cannot hold, or a size beyond the address space.
    Overflow(String),
    /// Memory that the system would not give, with the bytes asked for.
    Memory(usize),
    /// The user asked to stop (Ctrl-C) while a kernel ran.
    Interrupted,
    /// A device that cannot do what was asked.
    Device(String),
    /// A file that is malformed or could not be read or written.
    File(String),
    /// An error of a user's own rule, carried through unchanged.
    Foreign(Arc<dyn std::error::Error + Send + Sync + 'static>),
}

impl Error {
    /// A shape error of the operation `op`.
    #[cold]
    #[doc(hidden)]
    pub fn shape(op: &str, message: impl fmt::Display) -> Error {
        Error::Shape(format!("{op}: {message}"))
    }

    /// A dtype error of the operation `op`.
    #[cold]
    #[doc(hidden)]
    pub fn dtype(op: &str, message: impl fmt::Display) -> Error {
        Error::Type(format!("{op}: {message}"))
    }

    /// An argument error of the operation `op`.
    #[cold]
    #[doc(hidden)]
    pub fn value(op: &str, message: impl fmt::Display) -> Error {
        Error::Value(format!("{op}: {message}"))
    }

    /// An index error of the operation `op`.
    #[cold]
    #[doc(hidden)]
    pub fn index(op: &str, message: impl fmt::Display) -> Error {
        Error::Index(format!("{op}: {message}"))
    }

    /// The operation `op` does not take `dtype`.
    #[cold]
    #[doc(hidden)]
    pub fn unsupported(op: &str, dtype: DType, takes: &str) -> Error {
        Error::Type(format!("{op}: dtype {dtype} is not supported (takes {takes})"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Shape(text)
            | Error::Type(text)
            | Error::Value(text)
            | Error::Index(text)
            | Error::Overflow(text)
            | Error::Device(text)
            | Error::File(text) => out.write_str(text),
            Error::Memory(bytes) => write!(out, "could not allocate {bytes} bytes"),
            Error::Interrupted => out.write_str("interrupted"),
            Error::Foreign(inner) => inner.fmt(out),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Foreign(inner) => Some(inner.as_ref()),
            _ => None,
        }
    }
}
