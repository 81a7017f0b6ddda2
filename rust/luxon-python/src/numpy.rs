//! NumPy arrays in and out.
//!
//! A tensor never changes, so an array's memory is shared only where it cannot change either: it is
//! read-only up to its owner, or was made for this call. Otherwise it is copied, unless the caller insists
//! (`copy=False`) and answers for it. Arrays that go out without a copy are read-only.

use luxon::{DType, Tensor};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyType};

use crate::cuda::exchange;
use crate::error::raise;
use crate::tensor::PyTensor;
use crate::{dlpack, dtype, memory};

/// Whether the object is a `numpy.ndarray`.
#[inline]
pub fn is_array(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    static ARRAY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    object.is_instance(ARRAY.import(object.py(), "numpy", "ndarray")?)
}

/// The tensor of an array, cast to `wanted` if given; `copy` is none for "as needed".
pub fn from_array(array: &Bound<'_, PyAny>, wanted: Option<DType>, copy: Option<bool>) -> PyResult<Tensor> {
    let py = array.py();
    let kind = array.getattr(intern!(py, "dtype"))?;
    let (array, held, fresh) = match dtype::known(&kind)? {
        Some(held) => (array.clone(), held, false),
        None => foreign_dtype(array, &kind)?,
    };
    let converts = wanted.is_some_and(|wanted| wanted != held);
    if copy == Some(false) && (fresh || converts || held == DType::Bool) {
        let text =
            format!("asarray: memory of dtype {kind} cannot be shared as {}, only copied", wanted.unwrap_or(held));
        return Err(PyValueError::new_err(text));
    }
    let sharing = match copy {
        // What is cast right away need not be copied before.
        _ if converts => Sharing::Borrow,
        _ if fresh => Sharing::Borrow,
        Some(true) => Sharing::Never,
        Some(false) => Sharing::Insist,
        None => Sharing::IfConstant,
    };
    let tensor = share_or_copy(&array, held, sharing)?;
    match wanted {
        Some(wanted) => tensor.cast(wanted).map_err(raise),
        None => Ok(tensor),
    }
}

/// An array of a dtype that is not exactly one of ours, as one that is: (array, dtype, whether it is new).
#[cold]
fn foreign_dtype<'py>(
    array: &Bound<'py, PyAny>,
    kind: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, DType, bool)> {
    let py = array.py();
    let name: String = kind.getattr(intern!(py, "name"))?.extract()?;
    let native: bool = kind.getattr(intern!(py, "isnative"))?.extract()?;
    let astype = |dtype: DType| -> PyResult<_> {
        Ok((array.call_method1(intern!(py, "astype"), (dtype::to_python(py, dtype)?,))?, dtype, true))
    };
    match (name.as_str(), DType::from_name(&name)) {
        ("bfloat16", _) if native => Ok((array.call_method1(intern!(py, "view"), ("uint16",))?, DType::BF16, false)),
        // The other byte order, or a dtype object that is equal to ours without being it.
        (_, Some(dtype)) if dtype != DType::BF16 => astype(dtype),
        // Integers that one of ours holds without loss.
        ("int8" | "int16" | "uint16", _) => astype(DType::I32),
        ("uint32", _) => astype(DType::I64),
        _ => Err(dtype::unsupported(&name)),
    }
}

/// When an array's memory is used as it is.
#[derive(Clone, Copy, PartialEq)]
enum Sharing {
    /// Never.
    Never,
    /// Where nobody can change it.
    IfConstant,
    /// Nobody else sees it, or only until it is cast.
    Borrow,
    /// Always, or an error.
    Insist,
}

fn share_or_copy(array: &Bound<'_, PyAny>, held: DType, sharing: Sharing) -> PyResult<Tensor> {
    let py = array.py();
    // Any byte but 0 is true in NumPy's eyes, and only 0 and 1 are in the core's.
    let read_as = if held == DType::Bool { DType::U8 } else { held };
    let exported =
        if held == DType::Bool { array.call_method1(intern!(py, "view"), ("uint8",))? } else { array.clone() };
    let (shared, sharing) = match memory::from_buffer(&exported, read_as)? {
        Some(shared) => (shared, sharing),
        None if sharing == Sharing::Insist => {
            return Err(PyValueError::new_err("asarray: misaligned memory cannot be shared, only copied"));
        }
        None => {
            let moved = exported.call_method0(intern!(py, "copy"))?;
            let shared = memory::from_buffer(&moved, read_as)?;
            (shared.ok_or_else(|| PyValueError::new_err("asarray: NumPy gave a misaligned copy"))?, Sharing::Borrow)
        }
    };
    if held == DType::Bool {
        return shared.cast(DType::Bool).map_err(raise);
    }
    let bytes = shared.count() * held.size();
    let share = match sharing {
        Sharing::Never => false,
        Sharing::IfConstant => bytes > luxon::buffer::INLINE_BYTES && is_constant(array)?,
        Sharing::Borrow | Sharing::Insist => true,
    };
    if share { Ok(shared) } else { memory::copied(py, &shared).map_err(raise) }
}

/// Whether an array's memory is read-only all the way up to its owner.
fn is_constant(array: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = array.py();
    let mut array = array.clone();
    loop {
        if array.getattr(intern!(py, "flags"))?.getattr(intern!(py, "writeable"))?.extract()? {
            return Ok(false);
        }
        let base = array.getattr(intern!(py, "base"))?;
        if base.is_none() {
            return Ok(true);
        }
        if !is_array(&base)? {
            return is_constant_owner(&base);
        }
        array = base;
    }
}

/// Whether the object that owns an array's memory never changes it.
fn is_constant_owner(owner: &Bound<'_, PyAny>) -> PyResult<bool> {
    if owner.is_instance_of::<PyBytes>()
        || owner.is_instance_of::<PyTensor>()
        || owner.is_instance_of::<crate::tensor::Bits>()
    {
        return Ok(true);
    }
    if let Ok(view) = owner.cast::<pyo3::types::PyMemoryView>() {
        let inner = view.getattr(intern!(owner.py(), "obj"))?;
        return Ok(!inner.is_none()
            && !is_array(&inner)?
            && !inner.is_instance_of::<pyo3::types::PyMemoryView>()
            && is_constant_owner(&inner)?);
    }
    // A file mapped for reading (numpy.load(mmap_mode="r")): the array over it is read-only as well.
    let class = owner.get_type();
    Ok(class.module()?.to_cow()? == "mmap" && memory_is_readonly(owner)?)
}

fn memory_is_readonly(owner: &Bound<'_, PyAny>) -> PyResult<bool> {
    let view = pyo3::types::PyMemoryView::from(owner)?;
    view.getattr("readonly")?.extract()
}

/// The tensor of an object that is no tensor, array, number or list: by DLPack, or as NumPy reads it.
pub fn from_foreign(object: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let py = object.py();
    let refuse = || -> PyErr {
        let name = object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("cannot make a tensor of a {name}"))
    };
    if object.is_none() || object.is_instance_of::<PyString>() || object.is_instance_of::<PyType>() {
        return Err(refuse());
    }
    if object.hasattr(intern!(py, "__dlpack__"))? {
        return dlpack::import(object, None)?.into_constant(py);
    }
    if object.hasattr(intern!(py, "__cuda_array_interface__"))? {
        return dlpack::import(&exchange::view(object)?, None)?.into_constant(py);
    }
    let array = py.import("numpy")?.call_method1("asarray", (object,))?;
    let kind: String = array.getattr(intern!(py, "dtype"))?.getattr(intern!(py, "kind"))?.extract()?;
    if !matches!(kind.as_str(), "b" | "i" | "u" | "f" | "V") {
        return Err(refuse());
    }
    from_array(&array, None, None)
}

/// A tensor that shares the memory of an object with `__dlpack__` or `__array__`, at the caller's word.
pub fn shared(object: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let py = object.py();
    if object.hasattr(intern!(py, "__dlpack__"))? {
        return Ok(dlpack::import(object, Some(false))?.tensor);
    }
    if object.hasattr(intern!(py, "__cuda_array_interface__"))? {
        return Ok(dlpack::import(&exchange::view(object)?, Some(false))?.tensor);
    }
    from_array(&py.import("numpy")?.call_method1("asarray", (object,))?, None, Some(false))
}

/// The elements as a read-only array that shares the tensor's memory.
pub fn to_array<'py>(tensor: &Bound<'py, PyTensor>) -> PyResult<Bound<'py, PyAny>> {
    let py = tensor.py();
    let held = tensor.get().untracked("NumPy")?;
    let asarray = py.import("numpy")?.getattr(intern!(py, "asarray"))?;
    let host = held.to_host().map_err(raise)?;
    if host.dtype() == DType::BF16 {
        let kind = dtype::to_python(py, DType::BF16)?;
        let bits = Bound::new(py, crate::tensor::Bits(host))?;
        return asarray.call1((bits,))?.call_method1(intern!(py, "view"), (kind,));
    }
    if held.value().is_host() {
        return asarray.call1((tensor,));
    }
    asarray.call1((Bound::new(py, PyTensor(host))?,))
}
