//! Memory that Python and the core share.
//!
//! What comes in is either copied or kept alive by an owner (a `Py_buffer`, a DLPack tensor) inside the
//! core's buffer. What goes out by the buffer protocol is read-only and kept alive by the tensor object.

use std::ffi::{CStr, c_int, c_void};

use luxon::cuda::copy::Elements;
use luxon::cuda::{Place, Plan};
use luxon::layout::{Layout, Strides, contiguous_strides};
use luxon::{DType, Scalar, Shape, Tensor, Value};
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::error::raise;

/// A view that some exporter granted; released when the last tensor over it is dropped.
struct Granted(Box<ffi::Py_buffer>);

// SAFETY: the view is only read, and released with the interpreter lock held.
unsafe impl Send for Granted {}
// SAFETY: as above.
unsafe impl Sync for Granted {}

impl Drop for Granted {
    fn drop(&mut self) {
        // After the interpreter has gone there is nobody left to tell.
        Python::try_attach(|_| {
            // SAFETY: filled by a successful PyObject_GetBuffer, released once.
            unsafe { ffi::PyBuffer_Release(&mut *self.0) };
        });
    }
}

/// A tensor over the memory that `object` exports by the buffer protocol, read as `dtype`; none where the
/// memory is misaligned or its strides are no multiples of the element size.
///
/// The caller sees to it that `dtype` has the exporter's element size and that the memory stays constant.
pub fn from_buffer(object: &Bound<'_, PyAny>, dtype: DType) -> PyResult<Option<Tensor>> {
    let mut view = Box::new(ffi::Py_buffer::new());
    // SAFETY: a fresh view; on failure it stays empty.
    if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &mut *view, ffi::PyBUF_STRIDES) } != 0 {
        return Err(PyErr::fetch(object.py()));
    }
    let granted = Granted(view);
    let view = &granted.0;
    let size = dtype.size();
    let rank = usize::try_from(view.ndim).unwrap_or(0);
    // SAFETY: an exporter that grants PyBUF_STRIDES fills shape and strides with `ndim` entries.
    let (sizes, steps) = unsafe { (entries(view.shape, rank), entries(view.strides, rank)) };
    let (Some(sizes), Some(steps)) = (sizes, steps) else {
        return Err(PyBufferError::new_err("the exporter gave no shape or no strides"));
    };
    let shape = Shape::collect(sizes.iter().map(|&size| size.max(0) as usize)).map_err(raise)?;
    luxon::layout::count(&shape).map_err(raise)?;
    if view.itemsize != size as isize || !(view.buf as usize).is_multiple_of(size) {
        return Ok(None);
    }
    if steps.iter().zip(sizes).any(|(step, &length)| length > 1 && step % size as isize != 0) {
        return Ok(None);
    }
    let strides = Strides::collect(steps.iter().map(|step| step / size as isize)).map_err(raise)?;
    let pointer = view.buf.cast::<u8>().cast_const();
    // SAFETY: the exporter keeps the memory alive as long as the view, which the tensor owns.
    Ok(Some(unsafe { from_pointer(dtype, shape, strides, pointer, Box::new(granted)) }))
}

unsafe fn entries<'a>(pointer: *const isize, rank: usize) -> Option<&'a [isize]> {
    match (rank, pointer.is_null()) {
        (0, _) => Some(&[]),
        (_, true) => None,
        // SAFETY: as the caller promises.
        _ => Some(unsafe { std::slice::from_raw_parts(pointer, rank) }),
    }
}

/// A tensor over foreign memory whose element (0, ..., 0) lies at `pointer`.
///
/// # Safety
/// The elements stay readable and constant until `owner` is dropped.
pub unsafe fn from_pointer(
    dtype: DType,
    shape: Shape,
    strides: Strides,
    pointer: *const u8,
    owner: Box<dyn std::any::Any + Send + Sync>,
) -> Tensor {
    let size = dtype.size();
    let (below, above) = span(&shape, &strides);
    let layout = Layout { shape, strides, offset: below };
    let start = pointer.wrapping_sub(below * size);
    // SAFETY: the layout touches exactly the bytes from the lowest to the highest element.
    unsafe { Tensor::from_foreign(dtype, layout, start, (below + above + 1) * size, owner) }
}

/// How many elements lie below and above that of index (0, ..., 0), from the lowest to the highest.
pub fn span(shape: &Shape, strides: &Strides) -> (usize, usize) {
    let (mut below, mut above) = (0isize, 0isize);
    if !shape.contains(&0) {
        for (&size, &stride) in shape.iter().zip(strides.iter()) {
            let reach = (size as isize - 1).wrapping_mul(stride);
            if reach < 0 { below = below.wrapping_sub(reach) } else { above = above.wrapping_add(reach) }
        }
    }
    (below as usize, above as usize)
}

/// A contiguous copy of the elements in memory of the core's own, on the tensor's device.
pub fn copied(py: Python<'_>, tensor: &Tensor) -> luxon::Result<Tensor> {
    let source = tensor.value();
    if let Some(device) = source.device() {
        let target = Value::empty_on(device, source.dtype(), source.shape())?;
        let mut plan = Plan::new();
        let to = Elements::dense(Place::output(0), source.dtype(), source.shape());
        plan.copy(source.shape(), &Elements::input(&[source], 0), &to)?;
        device.execute(&plan, &[source], &[&target])?;
        return Ok(target.into());
    }
    let mut target = Value::empty(source.dtype(), source.shape())?;
    let size = source.dtype().size();
    let strides = contiguous_strides(source.shape());
    let count = source.count();
    if count > 0 {
        crate::gil::released(py, count as f64 * size as f64 * 0.1, || {
            // SAFETY: the source's layout lies in its memory; the target is fresh and contiguous.
            unsafe {
                luxon::cpu::copy::copy(
                    size,
                    source.shape(),
                    source.pointer(),
                    &source.layout().strides,
                    target.pointer_mut(),
                    &strides,
                )
            };
        });
    }
    Ok(target.into())
}

/// The tensor of numbers in row-major order.
pub fn from_scalars(scalars: &[Scalar], shape: &[usize], dtype: DType) -> luxon::Result<Tensor> {
    let shape = Shape::from_slice(shape)?;
    if luxon::layout::count(&shape)? != scalars.len() {
        return Err(luxon::Error::Shape("asarray: the nested lists are ragged".into()));
    }
    let mut value = Value::empty(dtype, &shape)?;
    let (size, start) = (dtype.size(), value.pointer_mut());
    for (index, scalar) in scalars.iter().enumerate() {
        scalar.check_fits(dtype)?;
        let bytes = scalar.to_bytes(dtype);
        // SAFETY: the value has one element per scalar.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.add(index * size), size) };
    }
    Ok(value.into())
}

/// The struct-module format of a dtype, none for bfloat16.
fn format(dtype: DType) -> Option<&'static CStr> {
    Some(match dtype {
        DType::Bool => c"?",
        DType::U8 => c"B",
        DType::I32 => c"i",
        DType::I64 => c"q",
        DType::F16 => c"e",
        DType::F32 => c"f",
        DType::F64 => c"d",
        DType::BF16 => return None,
    })
}

/// What an exported view points to besides the elements.
struct Exported {
    shape: [isize; luxon::layout::MAX_RANK],
    strides: [isize; luxon::layout::MAX_RANK],
}

/// Fills `view` with the memory of `value`, which `owner` keeps alive; bfloat16 goes out as `H` bits if `as_bits`.
///
/// # Safety
/// `view` is valid for writes, and `owner` keeps `value` alive.
pub unsafe fn export(
    owner: Bound<'_, PyAny>,
    value: &Value,
    as_bits: bool,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    if view.is_null() {
        return Err(PyBufferError::new_err("no view to fill"));
    }
    // SAFETY: valid for writes; the protocol asks for a null owner on failure.
    unsafe { (*view).obj = std::ptr::null_mut() };
    let asked = |flag: c_int| flags & flag == flag;
    if asked(ffi::PyBUF_WRITABLE) {
        return Err(PyBufferError::new_err("a tensor's memory is read-only"));
    }
    if !value.is_host() {
        return Err(PyBufferError::new_err("the tensor is not in host memory"));
    }
    let Some(format) = format(value.dtype()).or(as_bits.then_some(c"H")) else {
        return Err(PyBufferError::new_err("the buffer protocol has no format for bfloat16"));
    };
    let layout = value.layout();
    let (rank, size) = (layout.rank(), value.dtype().size());
    let rows = layout.is_contiguous();
    let mut reversed = *layout;
    reversed.shape.reverse();
    reversed.strides.reverse();
    let columns = reversed.is_contiguous();
    let fits = if asked(ffi::PyBUF_C_CONTIGUOUS) {
        rows
    } else if asked(ffi::PyBUF_F_CONTIGUOUS) {
        columns
    } else if asked(ffi::PyBUF_ANY_CONTIGUOUS) {
        rows || columns
    } else {
        rows || asked(ffi::PyBUF_STRIDES)
    };
    if !fits {
        return Err(PyBufferError::new_err("the tensor's elements do not lie as asked; make it contiguous first"));
    }
    let mut parts = Box::new(Exported { shape: [0; luxon::layout::MAX_RANK], strides: [0; luxon::layout::MAX_RANK] });
    for axis in 0..rank {
        parts.shape[axis] = layout.shape[axis] as isize;
        parts.strides[axis] = layout.strides[axis].wrapping_mul(size as isize);
    }
    let parts = Box::into_raw(parts);
    // SAFETY: `view` is valid for writes; `parts` lives until `release`, the memory as long as `owner`.
    unsafe {
        (*view).buf = value.pointer().cast_mut().cast::<c_void>();
        (*view).len = (value.count() * size) as isize;
        (*view).itemsize = size as isize;
        (*view).readonly = 1;
        (*view).ndim = rank as c_int;
        (*view).format = if asked(ffi::PyBUF_FORMAT) { format.as_ptr().cast_mut() } else { std::ptr::null_mut() };
        (*view).shape = if asked(ffi::PyBUF_ND) { (*parts).shape.as_mut_ptr() } else { std::ptr::null_mut() };
        (*view).strides = if asked(ffi::PyBUF_STRIDES) { (*parts).strides.as_mut_ptr() } else { std::ptr::null_mut() };
        (*view).suboffsets = std::ptr::null_mut();
        (*view).internal = parts.cast();
        (*view).obj = owner.into_ptr();
    }
    Ok(())
}

/// Frees what [`export`] made for a view.
///
/// # Safety
/// `view` was filled by [`export`] and is released once.
pub unsafe fn release(view: *mut ffi::Py_buffer) {
    // SAFETY: as the caller promises.
    unsafe {
        let parts = (*view).internal.cast::<Exported>();
        if !parts.is_null() {
            (*view).internal = std::ptr::null_mut();
            drop(Box::from_raw(parts));
        }
    }
}
