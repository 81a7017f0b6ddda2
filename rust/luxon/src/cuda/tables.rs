//! Tables that kernels read and that do not change: uploaded once to each device, kept for the next plan.
//!
//! Known by their bytes, so that whoever makes the same table again finds it there. Those used last are kept. A plan
//! that reads a kept table uploads nothing, so it can be captured and replayed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::device::{Device, DeviceBuffer};
use crate::error::Result;

/// How many bytes of tables are kept, of all devices together.
const MOST_BYTES: usize = 64 << 20;

/// A table on its device, and what it was made of.
struct Kept {
    bytes: Vec<u8>,
    buffer: Arc<dyn DeviceBuffer>,
}

/// The table of these bytes on a device.
///
/// # Errors
/// What allocating and uploading raise, where the table is new.
pub fn table(device: &Arc<dyn Device>, bytes: Vec<u8>) -> Result<Arc<dyn DeviceBuffer>> {
    static KEPT: Mutex<VecDeque<Kept>> = Mutex::new(VecDeque::new());
    let lock = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let matches = |kept: &Kept| Arc::ptr_eq(kept.buffer.device(), device) && kept.bytes == bytes;
    {
        let mut tables = lock();
        let known = tables.iter().position(matches).and_then(|at| tables.remove(at));
        if let Some(kept) = known {
            let buffer = Arc::clone(&kept.buffer);
            tables.push_back(kept);
            return Ok(buffer);
        }
    }
    // The device may call Python, which lets other threads in: nothing is locked meanwhile.
    let buffer = Arc::clone(device).allocate(bytes.len())?;
    device.upload(&bytes, buffer.as_ref())?;
    let mut dropped = Vec::new();
    let mut tables = lock();
    tables.push_back(Kept { bytes, buffer: Arc::clone(&buffer) });
    let mut held: usize = tables.iter().map(|kept| kept.bytes.len()).sum();
    while held > MOST_BYTES {
        let Some(kept) = tables.pop_front() else { break };
        held -= kept.bytes.len();
        dropped.push(kept);
    }
    drop(tables);
    Ok(buffer)
}
