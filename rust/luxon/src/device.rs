//! The seam that another device implements.
//!
//! The core allocates outputs and asks the device to fill them; a device never allocates results by
//! itself. An operation that a device does not support runs through its expansion in other operations,
//! so a device starts with few kernels and is complete all the same. The CPU is called statically and
//! does not go through this trait.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::op::Op;
use crate::tensor::Value;

/// Memory on a device; freed when the last tensor over it is dropped.
pub trait DeviceBuffer: Send + Sync {
    /// The device that owns the memory.
    fn device(&self) -> &Arc<dyn Device>;
    /// The size in bytes.
    fn bytes(&self) -> usize;
    /// For the device's own use: its concrete buffer.
    fn as_any(&self) -> &dyn Any;
}

/// A place other than the host where tensors live and operations run.
pub trait Device: Send + Sync {
    /// How the device is printed: `cuda:0`.
    fn name(&self) -> String;
    /// Uninitialised memory of `bytes` bytes.
    fn allocate(self: Arc<Self>, bytes: usize) -> Result<Arc<dyn DeviceBuffer>>;
    /// Copies host bytes into a buffer of this device.
    fn upload(&self, source: &[u8], destination: &dyn DeviceBuffer) -> Result<()>;
    /// Copies a whole buffer of this device to the host.
    fn download(&self, source: &dyn DeviceBuffer, destination: &mut [u8]) -> Result<()>;
    /// Whether [`Device::execute`] has a kernel for the operation on these inputs.
    fn supports(&self, op: &Op, inputs: &[&Value]) -> bool;
    /// Fills `outputs`, all on this device, contiguous and of the right dtypes and shapes.
    fn execute(&self, op: &Op, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()>;
}

impl fmt::Debug for dyn Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name())
    }
}
