//! Memory of CUDA devices shared with other libraries: whose it is, and who waits for whom.
//!
//! Other libraries work on streams of their own. What luxon gives out, a consumer's stream waits for; before
//! luxon uses such memory again, its own stream waits for the consumer's. What luxon takes, the producer
//! makes its stream wait for; before the producer has it back, what was asked of it is done. The waiting
//! itself is `luxon._exchange`. An emulated device has no streams, and its memory is the host's.

use std::any::Any;
use std::ffi::c_int;
use std::sync::Arc;

use luxon::buffer::Storage;
use luxon::device::Device;
use luxon::layout::{Layout, Strides, contiguous_strides};
use luxon::{DType, Shape, Tensor, Value};
use pyo3::exceptions::{PyAttributeError, PyBufferError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::buffer::{CudaBuffer, own};
use super::execute::Cuda;
use crate::error::raise;
use crate::memory;

/// Blocks of a device begin at a multiple of this many bytes, and kernels go by that.
const ALIGNMENT: u64 = 256;

fn buffer(value: &Value) -> Option<&CudaBuffer> {
    match value.storage() {
        Storage::Device(buffer) => own(buffer.as_ref()),
        _ => None,
    }
}

/// The number of the CUDA device that holds a value; none for the host and for emulated devices.
pub fn index_of(value: &Value) -> Option<usize> {
    buffer(value)?.cuda().index()
}

/// The address of the element at index (0, ..., 0), wherever it is.
pub fn pointer(value: &Value) -> *const u8 {
    match buffer(value) {
        None => value.pointer(),
        Some(buffer) => (buffer.address() as usize + value.layout().offset * value.dtype().size()) as *const u8,
    }
}

/// An object with `__cuda_array_interface__` as one with `__dlpack__` over the same memory.
pub fn view<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    object.py().import("luxon._exchange")?.call_method1("view", (object,))
}

/// The stream on which a consumer will use what it is given, as it says.
#[derive(Clone, Copy)]
pub struct Stream(i64);

impl Stream {
    /// What a consumer passed to `__dlpack__`: nothing means the legacy default stream.
    pub fn of_consumer(stream: Option<&Bound<'_, PyAny>>) -> PyResult<Stream> {
        let Some(given) = stream else { return Ok(Stream(1)) };
        let Ok(number) = given.extract::<i64>() else {
            return Err(PyTypeError::new_err("a CUDA stream is None or an int: -1, 1, 2 or a handle"));
        };
        match number {
            0 => Err(PyValueError::new_err("stream 0 can mean 1 (the legacy default) or 2 (the default per thread)")),
            -1 | 1.. => Ok(Stream(number)),
            _ => Err(PyValueError::new_err(format!("stream {number} is none of -1, 1, 2 and a handle"))),
        }
    }
}

/// Memory in a consumer's hands; when it is given back, the device's stream waits for the consumer's.
pub struct Loan {
    cuda: Arc<Cuda>,
    stream: Stream,
}

/// Makes a consumer's stream wait for what was asked of the value's device; none where there are no streams.
pub fn lend(py: Python<'_>, value: &Value, stream: Stream) -> PyResult<Option<Loan>> {
    let Some(cuda) = buffer(value).map(CudaBuffer::cuda).filter(|cuda| cuda.index().is_some()) else {
        return Ok(None);
    };
    cuda.exchange(py)?.call_method1(intern!(py, "lend"), (stream.0,))?;
    Ok(Some(Loan { cuda: Arc::clone(cuda), stream }))
}

impl Drop for Loan {
    fn drop(&mut self) {
        // Consumers give memory back from any thread; after the interpreter's end nobody uses it again.
        Python::try_attach(|py| {
            let regained = self
                .cuda
                .exchange(py)
                .and_then(|exchange| exchange.call_method1(intern!(py, "regain"), (self.stream.0,)));
            if let Err(error) = regained {
                error.write_unraisable(py, None);
            }
        });
    }
}

/// A producer's device.
pub struct Opened(Arc<Cuda>);

impl Opened {
    /// The CUDA device of that number.
    pub fn by_producer(py: Python<'_>, index: c_int) -> PyResult<Opened> {
        let refuse = |text: String| PyBufferError::new_err(format!("from_dlpack: {text}"));
        if index < 0 {
            return Err(refuse(format!("there is no CUDA device {index}")));
        }
        super::opened(py, "cuda", index as usize).map(Opened).map_err(|cause| {
            let error = refuse(format!("the producer's memory is on a CUDA device: {}", cause.value(py)));
            error.set_cause(py, Some(cause));
            error
        })
    }

    /// The handle of the stream on which all of luxon's work on the device is done.
    pub fn stream(&self, py: Python<'_>) -> PyResult<u64> {
        self.0.exchange(py)?.getattr(intern!(py, "stream"))?.extract()
    }

    /// A tensor over memory of the device that stays readable and constant until `owner` is dropped.
    pub fn adopt(
        &self,
        py: Python<'_>,
        dtype: DType,
        shape: Shape,
        strides: Strides,
        pointer: *const u8,
        owner: Box<dyn Any + Send + Sync>,
    ) -> PyResult<Tensor> {
        if shape.contains(&0) {
            let device: Arc<dyn Device> = Arc::clone(&self.0) as _;
            return Ok(Value::empty_on(&device, dtype, &shape).map_err(raise)?.into());
        }
        let (below, above) = memory::span(&shape, &strides);
        let size = dtype.size();
        let lowest = (pointer as u64).wrapping_sub((below * size) as u64);
        let bytes = (below + above + 1) * size;
        let last = lowest.checked_add(bytes as u64 - 1);
        let last = last.ok_or_else(|| PyBufferError::new_err("from_dlpack: the memory leaves the address space"))?;
        self.0.exchange(py)?.call_method1(intern!(py, "examine"), (lowest, last))?;
        // The buffer begins at a multiple that an allocation begins at too, so that offsets tell what is aligned.
        let before = lowest % ALIGNMENT;
        let layout = Layout { shape, strides, offset: before as usize / size + below };
        let buffer = CudaBuffer::foreign(Arc::clone(&self.0), lowest - before, before as usize + bytes, owner);
        Ok(Value::from_parts(dtype, layout, Storage::Device(Arc::new(buffer))).into())
    }
}

/// What keeps a producer's memory, as Python can hold it.
#[pyclass(frozen, module = "luxon._core")]
struct Owner {
    _owner: Box<dyn Any + Send + Sync>,
}

impl Cuda {
    /// The number of a real device; none for an emulated one.
    fn index(&self) -> Option<usize> {
        super::parse(&self.name()).filter(|(kind, _)| *kind == "cuda").map(|(_, index)| index)
    }

    /// What arranges the waiting.
    fn exchange<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let make = || py.import("luxon._exchange")?.call_method1("Exchange", (self.table(),)).map(Bound::unbind);
        Ok(self.exchange.get_or_try_init(py, make)?.bind(py))
    }

    /// Drops the owner of foreign memory as soon as what was asked of the memory is done.
    pub fn retire(&self, owner: Box<dyn Any + Send + Sync>) {
        Python::try_attach(|py| {
            let retired = Bound::new(py, Owner { _owner: owner })
                .and_then(|owner| self.exchange(py)?.call_method1(intern!(py, "retire"), (owner,)));
            if let Err(error) = retired {
                error.write_unraisable(py, None);
            }
        });
    }

    /// Drops the owners of foreign memory that is not in use any more.
    pub fn settle(&self, py: Python<'_>) -> PyResult<()> {
        match self.exchange.get(py) {
            None => Ok(()),
            Some(exchange) => exchange.bind(py).call_method0(intern!(py, "settle")).map(|_| ()),
        }
    }
}

/// The entries of `__cuda_array_interface__`, version 3.
pub fn interface<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyDict>> {
    let value = tensor.value();
    let Some(buffer) = buffer(value).filter(|buffer| buffer.cuda().index().is_some()) else {
        return Err(PyAttributeError::new_err("only a tensor on a CUDA device has __cuda_array_interface__"));
    };
    let kind = match value.dtype() {
        DType::Bool => "|b1",
        DType::U8 => "|u1",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::BF16 => return Err(PyAttributeError::new_err("__cuda_array_interface__ has no name for bfloat16")),
    };
    let (shape, strides, size) = (value.shape(), &value.layout().strides, value.dtype().size() as isize);
    let entries = PyDict::new(py);
    entries.set_item("version", 3)?;
    entries.set_item("shape", PyTuple::new(py, shape.iter())?)?;
    entries.set_item("typestr", kind)?;
    let address = if value.count() == 0 { 0 } else { pointer(value) as usize };
    entries.set_item("data", (address, true))?;
    if strides[..] == contiguous_strides(shape)[..] {
        entries.set_item("strides", py.None())?;
    } else {
        entries.set_item("strides", PyTuple::new(py, strides.iter().map(|stride| stride * size))?)?;
    }
    entries.set_item("stream", buffer.cuda().exchange(py)?.getattr(intern!(py, "stream"))?)?;
    Ok(entries)
}
