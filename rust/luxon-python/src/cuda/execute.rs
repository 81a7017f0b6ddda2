//! Plans carried out: addresses for places, compiled functions for sources, one Python call a step.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use luxon::buffer::Storage;
use luxon::cuda::library::{Laid, Prepared};
use luxon::cuda::plan::Memory;
use luxon::cuda::{Argument, Convolution, Gemm, Launch, Matrix, Place, Plan, Source, Step};
use luxon::device::{Device, DeviceBuffer};
use luxon::{Error, Value};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyTuple};
use smallvec::SmallVec;

use super::buffer::{Block, CudaBuffer, Pool, address, class};
use super::failed;
use crate::error::carry;

/// A device behind a table of Python functions.
pub struct Cuda {
    name: String,
    table: Py<PyAny>,
    /// Whether freed blocks are kept; an emulated device frees them, so that their contents can be poisoned.
    keeps: bool,
    pool: Pool,
    /// Handles of compiled kernels. A source is kept with its handles, so that its address names it.
    functions: Mutex<HashMap<(usize, &'static str), (Arc<Source>, u64)>>,
    /// What is arranged with other libraries, from the first of them on.
    pub(super) exchange: PyOnceLock<Py<PyAny>>,
}

/// The memory of a plan while it runs.
struct Addresses<'a> {
    inputs: &'a [&'a Value],
    outputs: &'a [&'a Value],
    kept: &'a [Arc<dyn DeviceBuffer>],
    scratch: SmallVec<[Block; 4]>,
}

impl Addresses<'_> {
    fn of(&self, place: Place) -> Result<u64, Error> {
        let start = match place.memory {
            Memory::Input(index) => self.inputs.get(index).and_then(|value| start(value)),
            Memory::Output(index) => self.outputs.get(index).and_then(|value| start(value)),
            Memory::Kept(index) => self.kept.get(index).and_then(|buffer| address(buffer.as_ref())),
            Memory::Scratch(index) => self.scratch.get(index).map(|block| block.address),
        };
        let start = start.ok_or_else(|| Error::Device("a plan names memory that is not there".into()))?;
        Ok(start + place.offset as u64)
    }
}

fn start(value: &Value) -> Option<u64> {
    match value.storage() {
        Storage::Device(buffer) => address(buffer.as_ref()),
        _ => None,
    }
}

impl Cuda {
    /// A device behind a table.
    pub fn new(name: String, table: &Bound<'_, PyAny>) -> PyResult<Cuda> {
        let keeps = table.getattr("keeps_blocks")?.extract()?;
        let table = table.clone().unbind();
        Ok(Cuda { name, table, keeps, pool: Pool::default(), functions: Mutex::default(), exchange: PyOnceLock::new() })
    }

    /// The table.
    pub(super) fn table(&self) -> &Py<PyAny> {
        &self.table
    }

    /// A block of at least `bytes` bytes.
    fn block(&self, bytes: usize) -> Result<Block, Error> {
        let class = class(bytes);
        if let Some(block) = self.pool.take(class) {
            return Ok(block);
        }
        Python::attach(|py| {
            let ask = || -> PyResult<(u64, Py<PyAny>)> {
                self.table.bind(py).call_method1(intern!(py, "allocate"), (class,))?.extract()
            };
            let made = ask().or_else(|error| {
                // What is kept free may be what is missing, and what waits to be given back.
                self.settle(py)?;
                let kept = self.pool.drain();
                if kept.is_empty() {
                    return Err(error);
                }
                drop(kept);
                ask()
            });
            let (address, owner) = made.map_err(|error| failed(py, error, bytes))?;
            Ok(Block { address, bytes: class, _owner: owner })
        })
    }

    /// Takes a block back.
    pub fn recycle(&self, block: Block) {
        if self.keeps {
            self.pool.give(block);
        }
    }

    /// The handle of a kernel, compiled at its first use.
    fn function(&self, py: Python<'_>, launch: &Launch) -> PyResult<u64> {
        let key = (Arc::as_ptr(&launch.source) as usize, launch.name);
        let known = || self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, handle)) = known().get(&key) {
            return Ok(*handle);
        }
        let table = self.table.bind(py);
        let handle = table.call_method1(intern!(py, "function"), (&launch.source.text, launch.name))?.extract()?;
        known().insert(key, (Arc::clone(&launch.source), handle));
        Ok(handle)
    }

    fn launch(&self, py: Python<'_>, launch: &Launch, memory: &Addresses<'_>) -> Result<(), Error> {
        let function = self.function(py, launch).map_err(carry)?;
        // The arguments one after the other, each at a multiple of 8 bytes, and the list of their addresses.
        let mut words = SmallVec::<[u64; 48]>::new();
        let mut starts = SmallVec::<[usize; 16]>::new();
        for argument in &launch.arguments {
            starts.push(words.len());
            match argument {
                Argument::Place(place) => words.push(memory.of(*place)?),
                Argument::Null => words.push(0),
                Argument::Bytes(bytes) => words.extend(bytes.chunks(8).map(|chunk| {
                    let mut word = [0; 8];
                    word[..chunk.len()].copy_from_slice(chunk);
                    u64::from_ne_bytes(word)
                })),
            }
        }
        let parameters: SmallVec<[*const u64; 16]> = starts.iter().map(|&start| &raw const words[start]).collect();
        let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
        let arguments = (function, (gx, gy, gz), (bx, by, bz), launch.shared, parameters.as_ptr() as usize);
        self.table.bind(py).call_method1(intern!(py, "launch"), arguments).map_err(carry)?;
        Ok(())
    }

    fn gemm(&self, py: Python<'_>, gemm: &Gemm, memory: &Addresses<'_>) -> Result<(), Error> {
        let matrix = |matrix: &Matrix| -> Result<(u64, usize, usize, bool), Error> {
            Ok((memory.of(matrix.place)?, matrix.stride, matrix.batch_stride, matrix.transposed))
        };
        let sizes = (gemm.rows, gemm.columns, gemm.inner, gemm.batch);
        let (a, b, c) = (matrix(&gemm.a)?, matrix(&gemm.b)?, matrix(&gemm.c)?);
        let arguments = (gemm.dtype.name(), sizes, a, b, c, (gemm.alpha, gemm.beta));
        self.table.bind(py).call_method1(intern!(py, "gemm"), arguments).map_err(carry)?;
        Ok(())
    }

    fn step(&self, py: Python<'_>, step: &Step, memory: &Addresses<'_>) -> Result<(), Error> {
        let table = self.table.bind(py);
        let done = match step {
            Step::Launch(launch) => return self.launch(py, launch, memory),
            Step::Gemm(gemm) => return self.gemm(py, gemm, memory),
            Step::Library { prepared, places } => return library(py, prepared, places, memory),
            Step::Zero { place, bytes } => table.call_method1(intern!(py, "zero"), (memory.of(*place)?, *bytes)),
            Step::Copy { from, to, bytes } => {
                table.call_method1(intern!(py, "copy"), (memory.of(*to)?, memory.of(*from)?, *bytes))
            }
            Step::Write { to, bytes } => {
                table.call_method1(intern!(py, "write"), (memory.of(*to)?, PyBytes::new(py, bytes)))
            }
        };
        done.map(|_| ()).map_err(carry)
    }
}

/// Calls what the table gave for a convolution.
fn library(py: Python<'_>, prepared: &Prepared, places: &[Place], memory: &Addresses<'_>) -> Result<(), Error> {
    let unknown = || Error::Device("a plan names another device's library".into());
    let call = prepared.call.downcast_ref::<Py<PyAny>>().ok_or_else(unknown)?;
    let addresses = places.iter().map(|place| memory.of(*place)).collect::<Result<SmallVec<[u64; 4]>, Error>>()?;
    let arguments = PyTuple::new(py, addresses).map_err(carry)?;
    call.bind(py).call1(arguments).map(|_| ()).map_err(carry)
}

/// The address of one of this kind's buffers.
fn own(buffer: &dyn DeviceBuffer) -> Result<u64, Error> {
    address(buffer).ok_or_else(|| Error::Device("the memory is another device's".into()))
}

impl Device for Cuda {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn allocate(self: Arc<Self>, bytes: usize) -> Result<Arc<dyn DeviceBuffer>, Error> {
        let block = self.block(bytes)?;
        Ok(Arc::new(CudaBuffer::new(self, block, bytes)))
    }

    fn upload(&self, source: &[u8], destination: &dyn DeviceBuffer) -> Result<(), Error> {
        if source.is_empty() {
            return Ok(());
        }
        let to = own(destination)?;
        Python::attach(|py| {
            let arguments = (to, source.as_ptr() as usize, source.len());
            self.table.bind(py).call_method1(intern!(py, "upload"), arguments).map(|_| ()).map_err(carry)
        })
    }

    fn download(&self, source: &dyn DeviceBuffer, start: usize, destination: &mut [u8]) -> Result<(), Error> {
        if destination.is_empty() {
            return Ok(());
        }
        let from = own(source)? + start as u64;
        Python::attach(|py| {
            let arguments = (destination.as_mut_ptr() as usize, from, destination.len());
            self.table.bind(py).call_method1(intern!(py, "download"), arguments).map_err(carry)?;
            self.settle(py).map_err(carry)
        })
    }

    fn convolution(&self, convolution: &Convolution) -> Result<Option<Prepared>, Error> {
        Python::attach(|py| {
            let ask = || -> PyResult<Option<Prepared>> {
                let numbers = |numbers: &[i64]| PyTuple::new(py, numbers);
                let laid = |laid: &Laid| Ok::<_, PyErr>((numbers(&laid.shape)?, numbers(&laid.strides)?));
                let [x, w, y] = &convolution.operands;
                let motions = convolution.motions.iter();
                let motions =
                    PyTuple::new(py, motions.map(|m| (m.before, m.after, m.stride, m.dilation)).collect::<Vec<_>>())?;
                let arguments = (convolution.product, convolution.dtype.name(), laid(x)?, laid(w)?, laid(y)?, motions);
                let found = self.table.bind(py).call_method1(intern!(py, "convolution"), arguments)?;
                let found: Option<(Py<PyAny>, usize)> = found.extract()?;
                Ok(found.map(|(call, workspace)| Prepared { call: Arc::new(call), workspace }))
            };
            ask().map_err(carry)
        })
    }

    fn execute(&self, plan: &Plan, inputs: &[&Value], outputs: &[&Value]) -> Result<(), Error> {
        let mut memory = Addresses { inputs, outputs, kept: &plan.kept, scratch: SmallVec::new() };
        let mut run = || {
            for &bytes in &plan.scratch {
                memory.scratch.push(self.block(bytes)?);
            }
            Python::attach(|py| plan.steps.iter().try_for_each(|step| self.step(py, step, &memory)))
        };
        let done = run();
        for block in memory.scratch {
            self.recycle(block);
        }
        done
    }

    fn synchronize(&self) -> Result<(), Error> {
        Python::attach(|py| {
            self.table.bind(py).call_method0(intern!(py, "synchronize")).map_err(carry)?;
            self.settle(py).map_err(carry)
        })
    }
}
