//! What a device is asked to do for one operation.
//!
//! Steps run in order on one stream. Memory is named, not held: the inputs and outputs of the operation, and
//! scratch blocks that live as long as the plan runs. A plan depends on the dtypes and layouts of the inputs
//! alone, never on an element, so that it can be made while the device works on something else.

use std::sync::Arc;

use smallvec::SmallVec;

use super::library::Prepared;
use super::source::Source;
use super::tables::table;
use crate::device::{Device, DeviceBuffer};
use crate::dtype::DType;
use crate::error::{Error, Result};

/// Which memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The whole memory under an input, before its layout's offset.
    Input(usize),
    /// An output: contiguous from its first byte.
    Output(usize),
    /// A scratch block: aligned to 256 bytes, with arbitrary contents.
    Scratch(usize),
    /// A table that the plan keeps.
    Kept(usize),
}

/// An address: some memory and bytes into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which memory.
    pub memory: Memory,
    /// Bytes from its start.
    pub offset: usize,
}

impl Place {
    /// The first byte of output `index`.
    pub fn output(index: usize) -> Place {
        Place { memory: Memory::Output(index), offset: 0 }
    }

    /// The address `bytes` further on.
    pub fn after(self, bytes: usize) -> Place {
        Place { offset: self.offset + bytes, ..self }
    }
}

/// An argument of a kernel: an address, or a value given by its bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// A pointer.
    Place(Place),
    /// A null pointer.
    Null,
    /// A number or a struct, as it lies in memory.
    Bytes(SmallVec<[u8; 8]>),
}

impl From<Place> for Argument {
    fn from(place: Place) -> Argument {
        Argument::Place(place)
    }
}

impl From<Option<Place>> for Argument {
    fn from(place: Option<Place>) -> Argument {
        place.map_or(Argument::Null, Argument::Place)
    }
}

macro_rules! argument {
    ($($type:ty),*) => {
        $(impl From<$type> for Argument {
            fn from(value: $type) -> Argument {
                Argument::Bytes(SmallVec::from_slice(&value.to_ne_bytes()))
            }
        })*
    };
}
argument!(u8, i32, u32, i64, u64, f32, f64);

impl From<usize> for Argument {
    /// A C `i64`.
    fn from(value: usize) -> Argument {
        Argument::from(value as i64)
    }
}

/// Numbers as a C array or struct of `i64`.
impl From<&[i64]> for Argument {
    fn from(values: &[i64]) -> Argument {
        Argument::Bytes(values.iter().flat_map(|value| value.to_ne_bytes()).collect())
    }
}

/// A kernel launch.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The text that defines the kernel.
    pub source: Arc<Source>,
    /// The kernel's name in the text, declared `extern "C" __global__ void`.
    pub name: &'static str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// The kernel's arguments.
    pub arguments: SmallVec<[Argument; 8]>,
}

/// The most blocks along the first axis of a grid.
const MOST_BLOCKS: usize = (1 << 31) - 1;

impl Launch {
    /// `blocks` blocks of `threads` threads.
    ///
    /// # Errors
    /// [`Error::Overflow`] for more blocks than a grid holds.
    pub fn new(source: Arc<Source>, name: &'static str, blocks: usize, threads: u32) -> Result<Launch> {
        if blocks > MOST_BLOCKS {
            return Err(Error::Overflow(format!("{name}: {blocks} blocks are more than a CUDA grid holds")));
        }
        let grid = [blocks.max(1) as u32, 1, 1];
        Ok(Launch { source, name, grid, block: [threads, 1, 1], shared: 0, arguments: SmallVec::new() })
    }

    /// At least one thread for each of `count` elements, in blocks of 256.
    ///
    /// # Errors
    /// As [`Launch::new`].
    pub fn over(source: Arc<Source>, name: &'static str, count: usize) -> Result<Launch> {
        Launch::new(source, name, count.div_ceil(256), 256)
    }

    /// With one more argument.
    pub fn with(mut self, argument: impl Into<Argument>) -> Launch {
        self.arguments.push(argument.into());
        self
    }

    /// With so many bytes of dynamic shared memory.
    pub fn shared(mut self, bytes: usize) -> Launch {
        self.shared = bytes as u32;
        self
    }
}

/// A matrix operand, row-major; a transposed one lies with its columns as rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix {
    /// Its first element.
    pub place: Place,
    /// Elements from one stored row to the next.
    pub stride: usize,
    /// Elements from one matrix of the batch to the next; 0 repeats one.
    pub batch_stride: usize,
    /// Whether the stored rows are the columns.
    pub transposed: bool,
}

/// `c = alpha a b + beta c` for every matrix of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemm {
    /// The element type of all three: a floating one. Half types are summed in f32.
    pub dtype: DType,
    /// Rows of `c`.
    pub rows: usize,
    /// Columns of `c`.
    pub columns: usize,
    /// Columns of `a`.
    pub inner: usize,
    /// The number of products.
    pub batch: usize,
    /// The left factor.
    pub a: Matrix,
    /// The right factor.
    pub b: Matrix,
    /// The result, not transposed.
    pub c: Matrix,
    /// Factor of the product.
    pub alpha: f64,
    /// Factor of what stands in `c`; with 0 it is not read.
    pub beta: f64,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Step {
    /// Launches a kernel.
    Launch(Launch),
    /// Multiplies matrices.
    Gemm(Gemm),
    /// Sets bytes to 0.
    Zero {
        /// The first byte.
        place: Place,
        /// How many.
        bytes: usize,
    },
    /// Copies bytes; the two do not overlap.
    Copy {
        /// Where they are.
        from: Place,
        /// Where they go.
        to: Place,
        /// How many.
        bytes: usize,
    },
    /// Runs what a library of the device prepared.
    Library {
        /// What the device calls.
        prepared: Prepared,
        /// The addresses that it is given, in order.
        places: SmallVec<[Place; 4]>,
    },
    /// Writes bytes that the host knows: small tables, and numbers that change from step to step.
    Write {
        /// Where they go.
        to: Place,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// Everything that a device does for one operation.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Sizes of the scratch blocks in bytes.
    pub scratch: Vec<usize>,
    /// Tables that lie on the device already; see [`super::tables`].
    pub kept: Vec<Arc<dyn DeviceBuffer>>,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Nothing yet: what results without elements need.
    pub fn new() -> Plan {
        Plan::default()
    }

    /// A new scratch block.
    pub fn scratch(&mut self, bytes: usize) -> Place {
        self.scratch.push(bytes);
        Place { memory: Memory::Scratch(self.scratch.len() - 1), offset: 0 }
    }

    /// Bytes that never change, as the plan's device keeps them.
    ///
    /// # Errors
    /// As [`table`].
    pub fn table(&mut self, device: &Arc<dyn Device>, bytes: Vec<u8>) -> Result<Place> {
        self.kept.push(table(device, bytes)?);
        Ok(Place { memory: Memory::Kept(self.kept.len() - 1), offset: 0 })
    }

    /// Bytes that the host knows, in a new scratch block: numbers that change from step to step are given so
    /// and read by kernels, never passed by value, and a recorded plan runs again with others.
    pub fn write(&mut self, bytes: Vec<u8>) -> Place {
        let to = self.scratch(bytes.len());
        self.steps.push(Step::Write { to, bytes });
        to
    }

    /// Launches a kernel next.
    pub fn launch(&mut self, launch: Launch) {
        self.steps.push(Step::Launch(launch));
    }

    /// Multiplies matrices next.
    pub fn gemm(&mut self, gemm: Gemm) {
        self.steps.push(Step::Gemm(gemm));
    }

    /// Sets bytes to 0 next.
    pub fn zero(&mut self, place: Place, bytes: usize) {
        self.steps.push(Step::Zero { place, bytes });
    }

    /// Runs what a library prepared next, on these addresses and behind them that of its workspace.
    pub fn library(&mut self, prepared: Prepared, places: &[Place]) {
        let mut places = SmallVec::from_slice(places);
        places.push(self.scratch(prepared.workspace));
        self.steps.push(Step::Library { prepared, places });
    }

    /// A plan of one launch.
    pub fn single(launch: Launch) -> Plan {
        Plan { steps: vec![Step::Launch(launch)], ..Plan::new() }
    }
}
