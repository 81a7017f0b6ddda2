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

/// The memory of a tensor.
pub struct CudaBuffer {
    /// The device, as tensors know it.
    device: Arc<dyn Device>,
    /// The same device.
    cuda: Arc<Cuda>,
    /// None only while it is dropped.
    block: Option<Block>,
    bytes: usize,
}

impl CudaBuffer {
    /// A buffer over a block of the device.
    pub fn new(cuda: Arc<Cuda>, block: Block, bytes: usize) -> CudaBuffer {
        CudaBuffer { device: Arc::clone(&cuda) as Arc<dyn Device>, cuda, block: Some(block), bytes }
    }

    /// The first byte.
    pub fn address(&self) -> u64 {
        self.block.as_ref().map_or(0, |block| block.address)
    }
}

impl Drop for CudaBuffer {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.cuda.recycle(block);
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

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The address of a buffer's first byte; none for another kind of device.
pub fn address(buffer: &dyn DeviceBuffer) -> Option<u64> {
    buffer.as_any().downcast_ref::<CudaBuffer>().map(CudaBuffer::address)
}
