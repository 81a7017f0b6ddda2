//! DLPack, versions 0 and 1, both ways.
//!
//! A capsule that comes in is checked before anything in it is believed: its name, version, device, dtype,
//! rank, sizes and the span of its strides. Its deleter runs once, when the last tensor over the memory is
//! gone. What goes out is flagged read-only where the protocol's version can say so, and copied where not.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use luxon::layout::{MAX_RANK, Strides};
use luxon::{DType, Shape, Tensor};
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::raise;
use crate::memory;
use crate::tensor::PyTensor;

const CPU: c_int = 1;
const READ_ONLY: u64 = 1;
const IS_COPIED: u64 = 2;
const VERSION: Version = Version { major: 1, minor: 1 };

const PLAIN: &CStr = c"dltensor";
const PLAIN_USED: &CStr = c"used_dltensor";
const VERSIONED: &CStr = c"dltensor_versioned";
const VERSIONED_USED: &CStr = c"used_dltensor_versioned";

#[repr(C)]
#[derive(Clone, Copy)]
struct Device {
    kind: c_int,
    id: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

#[repr(C)]
struct Array {
    data: *mut c_void,
    device: Device,
    rank: c_int,
    dtype: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

#[repr(C)]
struct Managed {
    array: Array,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Version {
    major: u32,
    minor: u32,
}

#[repr(C)]
struct ManagedVersioned {
    version: Version,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut ManagedVersioned)>,
    flags: u64,
    array: Array,
}

/// DLPack's description of each dtype.
const DTYPES: [(DType, DataType); 8] = [
    (DType::Bool, DataType { code: 6, bits: 8, lanes: 1 }),
    (DType::U8, DataType { code: 1, bits: 8, lanes: 1 }),
    (DType::I32, DataType { code: 0, bits: 32, lanes: 1 }),
    (DType::I64, DataType { code: 0, bits: 64, lanes: 1 }),
    (DType::BF16, DataType { code: 4, bits: 16, lanes: 1 }),
    (DType::F16, DataType { code: 2, bits: 16, lanes: 1 }),
    (DType::F32, DataType { code: 2, bits: 32, lanes: 1 }),
    (DType::F64, DataType { code: 2, bits: 64, lanes: 1 }),
];

/// The DLPack device of a tensor.
pub fn device_of(tensor: &Tensor) -> PyResult<(c_int, c_int)> {
    if tensor.value().is_host() {
        return Ok((CPU, 0));
    }
    Err(PyBufferError::new_err("only a tensor in host memory is handed out by DLPack"))
}

/// What an exported capsule keeps alive, and points into.
struct Exported<M> {
    managed: M,
    shape: [i64; MAX_RANK],
    strides: [i64; MAX_RANK],
    _tensor: Tensor,
}

/// The tensor as a capsule for a consumer that knows `max_version`.
pub fn export<'py>(
    py: Python<'py>,
    tensor: &Tensor,
    max_version: Option<(u32, u32)>,
    device: Option<(c_int, c_int)>,
    copy: Option<bool>,
) -> PyResult<Bound<'py, PyAny>> {
    device_of(tensor)?;
    if device.is_some_and(|device| device != (CPU, 0)) {
        return Err(PyBufferError::new_err("a tensor in host memory is handed out on the CPU only, device (1, 0)"));
    }
    let versioned = max_version.is_some_and(|(major, _)| major >= 1);
    if !versioned && copy == Some(false) {
        return Err(PyBufferError::new_err(
            "a tensor's memory is read-only, which DLPack can say from version 1 on only; allow a copy",
        ));
    }
    let copied = copy == Some(true) || !versioned;
    let tensor = if copied { memory::copied(py, tensor).map_err(raise)? } else { tensor.detach() };
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
            tensor,
            managed,
            |managed| &mut managed.array,
            |managed| &mut managed.context,
            VERSIONED,
            discard_versioned,
        )
    } else {
        let managed = |array, context| Managed { array, context, deleter: Some(delete::<Managed>) };
        capsule(py, tensor, managed, |managed| &mut managed.array, |managed| &mut managed.context, PLAIN, discard_plain)
    }
}

fn capsule<'py, M>(
    py: Python<'py>,
    tensor: Tensor,
    make: impl FnOnce(Array, *mut c_void) -> M,
    array_of: fn(&mut M) -> &mut Array,
    context_of: fn(&mut M) -> &mut *mut c_void,
    name: &'static CStr,
    discard: unsafe extern "C" fn(*mut ffi::PyObject),
) -> PyResult<Bound<'py, PyAny>> {
    let value = tensor.value();
    let layout = *value.layout();
    let dtype = DTYPES[value.dtype() as usize].1;
    let array = Array {
        data: value.pointer().cast_mut().cast(),
        device: Device { kind: CPU, id: 0 },
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
    let exported = Box::new(Exported { managed: make(array, ptr::null_mut()), shape, strides, _tensor: tensor });
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

/// The tensor of an object with `__dlpack__`; it shares the producer's memory unless `copy` says otherwise.
pub fn import(object: &Bound<'_, PyAny>, device: Option<(c_int, c_int)>, copy: Option<bool>) -> PyResult<Imported> {
    let py = object.py();
    if let Ok(tensor) = object.cast::<PyTensor>() {
        return Ok(Imported { tensor: tensor.get().0.clone(), is_constant: true });
    }
    let (kind, _): (c_int, c_int) = object.call_method0(intern!(py, "__dlpack_device__"))?.extract()?;
    if kind != CPU && device.is_none() {
        return Err(PyBufferError::new_err(format!(
            "from_dlpack: the producer's memory is on DLPack device type {kind}, not on the CPU"
        )));
    }
    let options = PyDict::new(py);
    options.set_item("max_version", (VERSION.major, VERSION.minor))?;
    if let Some(device) = device {
        options.set_item("dl_device", device)?;
    }
    if let Some(copy) = copy {
        options.set_item("copy", copy)?;
    }
    let name = intern!(py, "__dlpack__");
    let capsule = match object.call_method(name, (), Some(&options)) {
        // A producer from before version 1 knows none of the arguments.
        Err(error) if error.is_instance_of::<PyTypeError>(py) => object.call_method0(name)?,
        other => other?,
    };
    let (consumed, array, flags) = consume(&capsule)?;
    // SAFETY: the producer keeps the description alive until the deleter is called, which `consumed` does.
    let array = unsafe { &*array };
    let (dtype, shape, strides, pointer) = checked(array)?;
    let owned = flags & IS_COPIED != 0;
    let read_as = if dtype == DType::Bool { DType::U8 } else { dtype };
    if !(pointer as usize).is_multiple_of(dtype.size()) {
        return Err(PyBufferError::new_err(format!("from_dlpack: the memory is not aligned for {dtype}")));
    }
    // SAFETY: checked above as far as it can be; the producer promises the rest.
    let tensor = unsafe { memory::from_pointer(read_as, shape, strides, pointer, Box::new(consumed)) };
    if dtype == DType::Bool {
        if copy == Some(false) {
            return Err(PyValueError::new_err("from_dlpack: memory of dtype bool cannot be shared, only copied"));
        }
        return Ok(Imported { tensor: tensor.cast(DType::Bool).map_err(raise)?, is_constant: true });
    }
    if copy == Some(true) && !owned {
        return Ok(Imported { tensor: memory::copied(py, &tensor).map_err(raise)?, is_constant: true });
    }
    Ok(Imported { tensor, is_constant: owned })
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
fn checked(array: &Array) -> PyResult<(DType, Shape, Strides, *const u8)> {
    let refuse = |text: String| PyBufferError::new_err(format!("from_dlpack: {text}"));
    if array.device.kind != CPU {
        return Err(refuse(format!("the memory is on DLPack device type {}, not on the CPU", array.device.kind)));
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
