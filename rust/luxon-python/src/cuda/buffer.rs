//! Device memory: blocks that are given back to their device when the last tensor over them is gone.
//!
//! All work of a device runs in one order, so a block may be used again as soon as it is free, whatever the
//! device still does with it: the next use comes later in that order. Free blocks wait in lists by size
//! class, four classes to a power of two, and a training loop asks the allocator for nothing after its
//! second step.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use luxon::device::{Device, DeviceBuffer};
use pyo3::prelude::*;

use super::execute::Cuda;

/// Memory and the Python object that keeps it.
pub struct Block {
    /// The first byte.
    pub address: u64,
    /// The size class.
    pub bytes: usize,
    /// Frees the memory when it is dropped.
    pub _owner: Py<PyAny>,
}

/// The size class of a size.
pub fn class(bytes: usize) -> usize {
    let bytes = bytes.max(256);
    let step = (bytes.next_power_of_two() / 8).max(256);
    bytes.div_ceil(step) * step
}

/// Free blocks by size class.
#[derive(Default)]
pub struct Pool {
    free: Mutex<HashMap<usize, Vec<Block>>>,
}

impl Pool {
    /// A free block of a class.
    pub fn take(&self, class: usize) -> Option<Block> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&class)?.pop()
    }

    /// Keeps a block for later.
    pub fn give(&self, block: Block) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).entry(block.bytes).or_default().push(block);
    }

    /// Every free block, to be freed.
    pub fn drain(&self) -> HashMap<usize, Vec<Block>> {
        std::mem::take(&mut *self.free.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What keeps the memory of a buffer.
enum Held {
    /// A block of the device's own.
    Block(Block),
    /// Memory of somebody else, whose owner waits for what the device still does with it.
    Foreign(Box<dyn Any + Send + Sync>),
}

/// The memory of a tensor.
pub struct CudaBuffer {
    /// The device, as tensors know it.
    device: Arc<dyn Device>,
    /// The same device.
    cuda: Arc<Cuda>,
    address: u64,
    /// None only while it is dropped.
    held: Option<Held>,
    bytes: usize,
}

impl CudaBuffer {
    /// A buffer over a block of the device.
    pub fn new(cuda: Arc<Cuda>, block: Block, bytes: usize) -> CudaBuffer {
        CudaBuffer::over(cuda, block.address, Held::Block(block), bytes)
    }

    /// A buffer over memory that stays as it is until `owner` is dropped.
    pub fn foreign(cuda: Arc<Cuda>, address: u64, bytes: usize, owner: Box<dyn Any + Send + Sync>) -> CudaBuffer {
        CudaBuffer::over(cuda, address, Held::Foreign(owner), bytes)
    }

    fn over(cuda: Arc<Cuda>, address: u64, held: Held, bytes: usize) -> CudaBuffer {
        CudaBuffer { device: Arc::clone(&cuda) as Arc<dyn Device>, cuda, address, held: Some(held), bytes }
    }

    /// The first byte.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The device.
    pub fn cuda(&self) -> &Arc<Cuda> {
        &self.cuda
    }
}

impl Drop for CudaBuffer {
    fn drop(&mut self) {
        match self.held.take() {
            Some(Held::Block(block)) => self.cuda.recycle(block),
            Some(Held::Foreign(owner)) => self.cuda.retire(owner),
            None => (),
        }
    }
}

impl DeviceBuffer for CudaBuffer {
    fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_foreign(&self) -> bool {
        matches!(self.held, Some(Held::Foreign(_)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A buffer of this kind; none for another kind of device.
pub fn own(buffer: &dyn DeviceBuffer) -> Option<&CudaBuffer> {
    buffer.as_any().downcast_ref()
}

/// The address of a buffer's first byte; none for another kind of device.
pub fn address(buffer: &dyn DeviceBuffer) -> Option<u64> {
    own(buffer).map(CudaBuffer::address)
}
