//! What luxon gives: capsules over a tensor's memory, flagged read-only where the protocol's version can say so,
//! and over a copy where not.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use luxon::Tensor;
use luxon::layout::MAX_RANK;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::{
    Array, CPU, CUDA, DTYPES, Device, IS_COPIED, Managed, ManagedVersioned, PLAIN, READ_ONLY, VERSION, VERSIONED,
};
use crate::cuda::exchange::{self, Loan, Stream};
use crate::error::raise;
use crate::memory;

/// The DLPack device of a tensor: an emulated device's memory is the host's.
pub fn device_of(tensor: &Tensor) -> PyResult<(c_int, c_int)> {
    if tensor.value().is_abstract() {
        return Err(PyBufferError::new_err("an abstract tensor has no memory to hand out by DLPack"));
    }
    Ok(exchange::index_of(tensor.value()).map_or((CPU, 0), |index| (CUDA, index as c_int)))
}

/// What an exported capsule keeps alive, and points into.
struct Exported<M> {
    managed: M,
    shape: [i64; MAX_RANK],
    strides: [i64; MAX_RANK],
    /// Dropped before the tensor: the device waits for the consumer before it uses the memory again.
    _loan: Option<Loan>,
    _tensor: Tensor,
}

/// The tensor as a capsule for a consumer that knows `max_version`, for use on its `stream`.
pub fn export<'py>(
    py: Python<'py>,
    tensor: &Tensor,
    stream: Option<&Bound<'py, PyAny>>,
    max_version: Option<(u32, u32)>,
    device: Option<(c_int, c_int)>,
    copy: Option<bool>,
) -> PyResult<Bound<'py, PyAny>> {
    let own = device_of(tensor)?;
    let wanted = device.unwrap_or(own);
    let stream = match own.0 {
        CPU if stream.is_some() => return Err(PyTypeError::new_err("a tensor on the CPU has no stream")),
        CPU => None,
        _ => Some(Stream::of_consumer(stream)?),
    };
    if wanted != own && wanted != (CPU, 0) {
        return Err(PyBufferError::new_err(format!(
            "a tensor on DLPack device {own:?} is handed out there, or as a copy on the CPU, device (1, 0)"
        )));
    }
    let moved = wanted != own;
    if moved && copy == Some(false) {
        return Err(PyBufferError::new_err("a tensor on a CUDA device reaches the CPU by a copy only; allow one"));
    }
    let versioned = max_version.is_some_and(|(major, _)| major >= 1);
    if !versioned && copy == Some(false) {
        return Err(PyBufferError::new_err(
            "a tensor's memory is read-only, which DLPack can say from version 1 on only; allow a copy",
        ));
    }
    let copied = moved || copy == Some(true) || !versioned;
    let tensor = if moved {
        // Downloading waits, so that no stream is concerned.
        tensor.detach().to_host().map_err(raise)?
    } else if copied {
        memory::copied(py, tensor).map_err(raise)?
    } else {
        tensor.detach()
    };
    let loan =
        if moved { None } else { stream.map(|stream| exchange::lend(py, tensor.value(), stream)).transpose()? };
    let source = Source { tensor, device: Device { kind: wanted.0, id: wanted.1 }, loan: loan.flatten() };
    if versioned {
        let flags = if copied { IS_COPIED } else { READ_ONLY };
        let managed = |array, context| ManagedVersioned {
            version: VERSION,
            context,
            deleter: Some(delete::<ManagedVersioned>),
            flags,
            array,
        };
        capsule(
            py,
            source,
            managed,
            |managed| &mut managed.array,
            |managed| &mut managed.context,
            VERSIONED,
            discard_versioned,
        )
    } else {
        let managed = |array, context| Managed { array, context, deleter: Some(delete::<Managed>) };
        capsule(py, source, managed, |managed| &mut managed.array, |managed| &mut managed.context, PLAIN, discard_plain)
    }
}

/// What a capsule is made of.
struct Source {
    tensor: Tensor,
    device: Device,
    loan: Option<Loan>,
}

fn capsule<'py, M>(
    py: Python<'py>,
    source: Source,
    make: impl FnOnce(Array, *mut c_void) -> M,
    array_of: fn(&mut M) -> &mut Array,
    context_of: fn(&mut M) -> &mut *mut c_void,
    name: &'static CStr,
    discard: unsafe extern "C" fn(*mut ffi::PyObject),
) -> PyResult<Bound<'py, PyAny>> {
    let Source { tensor, device, loan } = source;
    let value = tensor.value();
    let layout = *value.layout();
    let dtype = DTYPES[value.dtype() as usize].1;
    let array = Array {
        data: exchange::pointer(value).cast_mut().cast(),
        device,
        rank: layout.rank() as c_int,
        dtype,
        shape: ptr::null_mut(),
        strides: ptr::null_mut(),
        byte_offset: 0,
    };
    let mut shape = [0; MAX_RANK];
    let mut strides = [0; MAX_RANK];
    for axis in 0..layout.rank() {
        shape[axis] = layout.shape[axis] as i64;
        strides[axis] = layout.strides[axis] as i64;
    }
    let exported =
        Box::new(Exported { managed: make(array, ptr::null_mut()), shape, strides, _loan: loan, _tensor: tensor });
    let exported = Box::into_raw(exported);
    // SAFETY: just allocated; `managed` is what consumers see, and its context leads back to the whole.
    unsafe {
        let whole = &mut *exported;
        let array = array_of(&mut whole.managed);
        array.shape = whole.shape.as_mut_ptr();
        array.strides = whole.strides.as_mut_ptr();
        *context_of(&mut whole.managed) = exported.cast();
        let object = ffi::PyCapsule_New((&raw mut whole.managed).cast(), name.as_ptr(), Some(discard));
        if object.is_null() {
            drop(Box::from_raw(exported));
            return Err(PyErr::fetch(py));
        }
        Ok(Bound::from_owned_ptr(py, object))
    }
}

/// Something that leads to its [`Exported`].
trait Handed {
    fn context(&self) -> *mut c_void;
}

impl Handed for Managed {
    fn context(&self) -> *mut c_void {
        self.context
    }
}

impl Handed for ManagedVersioned {
    fn context(&self) -> *mut c_void {
        self.context
    }
}

/// Called by the consumer, once, from any thread.
unsafe extern "C" fn delete<M: Handed>(managed: *mut M) {
    if managed.is_null() {
        return;
    }
    // SAFETY: made by `capsule` with the same `M`, deleted once.
    unsafe { drop(Box::from_raw((*managed).context().cast::<Exported<M>>())) };
}

/// Frees an exported capsule that nobody consumed.
unsafe extern "C" fn discard_plain(capsule: *mut ffi::PyObject) {
    // SAFETY: Python passes the capsule; a consumed one has another name.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, PLAIN.as_ptr()) != 0 {
            delete(ffi::PyCapsule_GetPointer(capsule, PLAIN.as_ptr()).cast::<Managed>());
        }
    }
}

/// As [`discard_plain`], for version 1.
unsafe extern "C" fn discard_versioned(capsule: *mut ffi::PyObject) {
    // SAFETY: as above.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, VERSIONED.as_ptr()) != 0 {
            delete(ffi::PyCapsule_GetPointer(capsule, VERSIONED.as_ptr()).cast::<ManagedVersioned>());
        }
    }
}
