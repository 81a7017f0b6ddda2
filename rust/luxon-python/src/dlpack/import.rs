//! What luxon takes. A capsule is checked before anything in it is believed: its name, version, device, dtype,
//! rank, sizes, the span of its strides, and on a CUDA device the owner of the addresses. Its deleter runs
//! once, when the last tensor over the memory is gone and, on a device, what was asked of the memory is done.

use std::ffi::c_int;

use luxon::layout::{MAX_RANK, Strides};
use luxon::{DType, Shape, Tensor};
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{
    Array, CPU, CUDA, CUDA_HOST, CUDA_MANAGED, DTYPES, DataType, IS_COPIED, Managed, ManagedVersioned, PLAIN,
    PLAIN_USED, VERSION, VERSIONED, VERSIONED_USED,
};
use crate::cuda::exchange::Opened;
use crate::error::raise;
use crate::function::create::duplicate;
use crate::memory;
use crate::tensor::PyTensor;

/// A tensor over a producer's memory.
pub struct Imported {
    /// The tensor, in the producer's memory unless that had to be copied.
    pub tensor: Tensor,
    /// Whether nobody else can change the memory.
    pub is_constant: bool,
}

/// A consumed capsule: tells the producer when the memory is no longer needed.
enum Consumed {
    Plain(*mut Managed),
    Versioned(*mut ManagedVersioned),
}

// SAFETY: only the deleter is called, and DLPack lets any thread call it.
unsafe impl Send for Consumed {}
// SAFETY: as above.
unsafe impl Sync for Consumed {}

impl Drop for Consumed {
    fn drop(&mut self) {
        // Producers written in Python need the interpreter; after its end the memory is the system's.
        Python::try_attach(|_| {
            // SAFETY: taken over from a capsule, which was renamed so that nobody else deletes it.
            unsafe {
                match *self {
                    Consumed::Plain(managed) => {
                        if let Some(deleter) = (*managed).deleter {
                            deleter(managed);
                        }
                    }
                    Consumed::Versioned(managed) => {
                        if let Some(deleter) = (*managed).deleter {
                            deleter(managed);
                        }
                    }
                }
            }
        });
    }
}

/// The tensor of an object with `__dlpack__`, on the object's device; it shares the producer's memory unless
/// `copy` says otherwise.
pub fn import(object: &Bound<'_, PyAny>, copy: Option<bool>) -> PyResult<Imported> {
    let py = object.py();
    if let Ok(tensor) = object.cast::<PyTensor>() {
        let tensor = &tensor.get().0;
        let tensor = if copy == Some(true) { duplicate(py, tensor).map_err(raise)? } else { tensor.clone() };
        return Ok(Imported { tensor, is_constant: true });
    }
    let (kind, id): (c_int, c_int) = object.call_method0(intern!(py, "__dlpack_device__"))?.extract()?;
    let cuda = match kind {
        CPU | CUDA_HOST => None,
        CUDA | CUDA_MANAGED => Some(Opened::by_producer(py, id)?),
        _ => {
            return Err(PyBufferError::new_err(format!(
                "from_dlpack: the producer's memory is on DLPack device type {kind}, neither on the CPU nor on CUDA"
            )));
        }
    };
    let options = PyDict::new(py);
    if let Some(cuda) = &cuda {
        // What the producer has yet to do to the memory comes before what is asked on this stream.
        options.set_item("stream", cuda.stream(py)?)?;
    }
    let oldest = options.copy()?;
    options.set_item("max_version", (VERSION.major, VERSION.minor))?;
    if let Some(copy) = copy {
        options.set_item("copy", copy)?;
    }
    let name = intern!(py, "__dlpack__");
    let capsule = match object.call_method(name, (), Some(&options)) {
        // A producer from before version 1 knows none of the newer arguments.
        Err(error) if error.is_instance_of::<PyTypeError>(py) => object.call_method(name, (), Some(&oldest))?,
        other => other?,
    };
    let (consumed, array, flags) = consume(&capsule)?;
    // SAFETY: the producer keeps the description alive until the deleter is called, which `consumed` does.
    let array = unsafe { &*array };
    let (dtype, shape, strides, pointer) = checked(array, (kind, id))?;
    let owned = flags & IS_COPIED != 0;
    let read_as = if dtype == DType::Bool { DType::U8 } else { dtype };
    if !(pointer as usize).is_multiple_of(dtype.size()) {
        return Err(PyBufferError::new_err(format!("from_dlpack: the memory is not aligned for {dtype}")));
    }
    let tensor = match &cuda {
        // SAFETY: checked above as far as it can be; the producer promises the rest.
        None => unsafe { memory::from_pointer(read_as, shape, strides, pointer, Box::new(consumed)) },
        Some(cuda) => cuda.adopt(py, read_as, shape, strides, pointer, Box::new(consumed))?,
    };
    if dtype == DType::Bool && copy == Some(false) {
        return Err(PyValueError::new_err("from_dlpack: memory of dtype bool cannot be shared, only copied"));
    }
    let tensor = if dtype == DType::Bool {
        tensor.cast(DType::Bool)
    } else if copy == Some(true) && !owned {
        memory::copied(py, &tensor)
    } else {
        return Ok(Imported { tensor, is_constant: owned });
    };
    Ok(Imported { tensor: finished(py, tensor.map_err(raise)?)?, is_constant: true })
}

impl Imported {
    /// The tensor, copied where somebody else could change its memory.
    pub fn into_constant(self, py: Python<'_>) -> PyResult<Tensor> {
        if self.is_constant {
            return Ok(self.tensor);
        }
        finished(py, memory::copied(py, &self.tensor).map_err(raise)?)
    }
}

/// A copy of a producer's memory once it is made: the producer may write to the memory as soon as this returns.
fn finished(py: Python<'_>, copy: Tensor) -> PyResult<Tensor> {
    if let Some(device) = copy.value().device() {
        py.detach(|| device.synchronize()).map_err(raise)?;
    }
    Ok(copy)
}

/// Takes the tensor out of a capsule, so that its destructor will not free it.
fn consume(capsule: &Bound<'_, PyAny>) -> PyResult<(Consumed, *const Array, u64)> {
    let py = capsule.py();
    let object = capsule.as_ptr();
    // SAFETY: the calls check that the object is a capsule of that name with a non-null pointer.
    unsafe {
        if ffi::PyCapsule_IsValid(object, VERSIONED.as_ptr()) != 0 {
            let managed = ffi::PyCapsule_GetPointer(object, VERSIONED.as_ptr()).cast::<ManagedVersioned>();
            let version = (*managed).version;
            // Another major version may lay out everything after the version differently.
            if version.major != VERSION.major {
                return Err(PyBufferError::new_err(format!(
                    "from_dlpack: version {}.{} is not known",
                    version.major, version.minor
                )));
            }
            if ffi::PyCapsule_SetName(object, VERSIONED_USED.as_ptr()) != 0 {
                return Err(PyErr::fetch(py));
            }
            return Ok((Consumed::Versioned(managed), &raw const (*managed).array, (*managed).flags));
        }
        if ffi::PyCapsule_IsValid(object, PLAIN.as_ptr()) != 0 {
            let managed = ffi::PyCapsule_GetPointer(object, PLAIN.as_ptr()).cast::<Managed>();
            if ffi::PyCapsule_SetName(object, PLAIN_USED.as_ptr()) != 0 {
                return Err(PyErr::fetch(py));
            }
            return Ok((Consumed::Plain(managed), &raw const (*managed).array, 0));
        }
    }
    Err(PyTypeError::new_err("from_dlpack: __dlpack__ did not return an unused DLPack capsule"))
}

/// What a description says, if it can be true.
///
/// `device` is what the producer's `__dlpack_device__` said.
fn checked(array: &Array, device: (c_int, c_int)) -> PyResult<(DType, Shape, Strides, *const u8)> {
    let refuse = |text: String| PyBufferError::new_err(format!("from_dlpack: {text}"));
    let found = (array.device.kind, array.device.id);
    let on_host = |kind| matches!(kind, CPU | CUDA_HOST);
    if found != device && !(on_host(found.0) && on_host(device.0)) {
        return Err(refuse(format!("the memory is on DLPack device {found:?}, the producer said {device:?}")));
    }
    let DataType { code, bits, lanes } = array.dtype;
    let Some((dtype, _)) = DTYPES.iter().find(|(_, known)| *known == array.dtype) else {
        return Err(refuse(format!("a dtype of code {code}, {bits} bits and {lanes} lanes is not supported")));
    };
    let rank = usize::try_from(array.rank).unwrap_or(usize::MAX);
    if rank > MAX_RANK {
        return Err(refuse(format!("{} axes are not supported (at most {MAX_RANK})", array.rank)));
    }
    if rank > 0 && array.shape.is_null() {
        return Err(refuse("the shape is missing".into()));
    }
    // SAFETY: a description with `rank` axes has as many sizes.
    let sizes = if rank == 0 { &[][..] } else { unsafe { std::slice::from_raw_parts(array.shape, rank) } };
    let mut shape = Shape::new();
    for &size in sizes {
        let size = usize::try_from(size).map_err(|_| refuse(format!("an axis has size {size}")))?;
        shape.push(size).map_err(raise)?;
    }
    let count = luxon::layout::count(&shape).map_err(raise)?;
    let strides = if rank == 0 || array.strides.is_null() {
        luxon::layout::contiguous_strides(&shape)
    } else {
        // SAFETY: as for the sizes.
        let given = unsafe { std::slice::from_raw_parts(array.strides, rank) };
        Strides::collect(given.iter().map(|&stride| stride as isize)).map_err(raise)?
    };
    if count > 0 {
        let limit = isize::MAX as usize / 16;
        let mut span = 0usize;
        for (&size, &stride) in shape.iter().zip(strides.iter()) {
            let reach = stride.unsigned_abs().checked_mul(size - 1);
            let total = reach.and_then(|reach| span.checked_add(reach)).filter(|&total| total < limit);
            span = total.ok_or_else(|| refuse("the strides leave the address space".into()))?;
        }
        if array.data.is_null() {
            return Err(refuse("the memory is missing".into()));
        }
    }
    let offset = usize::try_from(array.byte_offset).ok().filter(|&offset| offset < isize::MAX as usize);
    let offset = offset.ok_or_else(|| refuse("the offset leaves the address space".into()))?;
    // Where there are no elements the pointer may be anything; one that every dtype can have takes its place.
    let pointer = if count == 0 {
        std::ptr::dangling::<u64>().cast::<u8>()
    } else {
        array.data.cast::<u8>().cast_const().wrapping_add(offset)
    };
    Ok((*dtype, shape, strides, pointer))
}
