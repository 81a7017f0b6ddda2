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

#[doc(hidden)]
pub use crate::cuda::{Convolution, Plan, Prepared};
#[doc(hidden)]
pub use crate::op::Spec;

pub use crate::buffer::{Buffer, Storage};
pub use crate::op::Op;
pub use crate::tensor::Value;

/// Memory on a device; freed when the last tensor over it is dropped.
///
/// ```
/// use luxon::device::DeviceBuffer;
/// fn describe(block: &dyn DeviceBuffer) -> String {
///     format!("{} bytes on {}", block.bytes(), block.device().name())
/// }
/// ```
pub trait DeviceBuffer: Send + Sync {
    /// The device that owns the memory.
    fn device(&self) -> &Arc<dyn Device>;
    /// The size in bytes.
    fn bytes(&self) -> usize;
    /// Whether others than this library may see the memory, so that it is never overwritten.
    fn is_foreign(&self) -> bool {
        false
    }
    /// For the device's own use: its concrete buffer.
    fn as_any(&self) -> &dyn Any;
}

/// A place other than the host where tensors live and operations run.
///
/// ```
/// use luxon::{Error, Tensor, Value};
/// use std::any::Any;
/// use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
/// use luxon::device::{Device, DeviceBuffer, Op, Plan, Spec};
///
/// /// A device with memory and without kernels.
/// struct Store;
///
/// struct Block {
///     device: Arc<dyn Device>,
///     bytes: usize,
///     memory: Mutex<Vec<u8>>,
/// }
///
/// impl DeviceBuffer for Block {
///     fn device(&self) -> &Arc<dyn Device> { &self.device }
///     fn bytes(&self) -> usize { self.bytes }
///     fn as_any(&self) -> &dyn Any { self }
/// }
///
/// fn memory(buffer: &dyn DeviceBuffer) -> luxon::Result<MutexGuard<'_, Vec<u8>>> {
///     let block = buffer.as_any().downcast_ref::<Block>().ok_or_else(|| Error::Device("foreign memory".into()))?;
///     Ok(block.memory.lock().unwrap_or_else(PoisonError::into_inner))
/// }
///
/// impl Device for Store {
///     fn name(&self) -> String { "store".into() }
///     fn allocate(self: Arc<Self>, bytes: usize) -> luxon::Result<Arc<dyn DeviceBuffer>> {
///         Ok(Arc::new(Block { device: self, bytes, memory: Mutex::new(vec![0; bytes]) }))
///     }
///     fn upload(&self, source: &[u8], destination: &dyn DeviceBuffer) -> luxon::Result<()> {
///         memory(destination)?[..source.len()].copy_from_slice(source);
///         Ok(())
///     }
///     fn download(&self, source: &dyn DeviceBuffer, start: usize, destination: &mut [u8]) -> luxon::Result<()> {
///         destination.copy_from_slice(&memory(source)?[start..start + destination.len()]);
///         Ok(())
///     }
///     fn plan(&self, _: &Op, _: &[&Value], _: &[Spec]) -> Option<luxon::Result<Plan>> { None }
///     fn execute(&self, _: &Plan, _: &[&Value], _: &[&Value]) -> luxon::Result<()> {
///         Err(Error::Device("there are no kernels".into()))
///     }
///     fn synchronize(&self) -> luxon::Result<()> { Ok(()) }
/// }
///
/// let store: Arc<dyn Device> = Arc::new(Store);
/// let x = Tensor::new(&[1.0, 2.0, 3.0], &[3])?.to_device(&store)?;
/// assert_eq!(x.flip(&[0])?.to_vec::<f64>()?, [3.0, 2.0, 1.0]); // A view needs no kernel.
/// let y = x.square()?; // What has neither a plan nor an expansion runs on the host.
/// assert_eq!(y.device().map(|device| device.name()).as_deref(), Some("store"));
/// assert_eq!(y.to_vec::<f64>()?, [1.0, 4.0, 9.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
pub trait Device: Send + Sync {
    /// How the device is printed: `cuda:0`.
    fn name(&self) -> String;
    /// Uninitialised memory of `bytes` bytes.
    fn allocate(self: Arc<Self>, bytes: usize) -> Result<Arc<dyn DeviceBuffer>>;
    /// Copies host bytes into a buffer of this device.
    fn upload(&self, source: &[u8], destination: &dyn DeviceBuffer) -> Result<()>;
    /// Copies bytes of a buffer of this device, from byte `start` on, to the host.
    fn download(&self, source: &dyn DeviceBuffer, start: usize, destination: &mut [u8]) -> Result<()>;
    /// What to do for the operation; none where it is to be expanded.
    fn plan(&self, op: &Op, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        op.cuda(inputs, outputs)
    }
    /// What a library of the device has for a convolution; none where kernels and products are to compute it.
    fn convolution(&self, _convolution: &Convolution) -> Result<Option<Prepared>> {
        Ok(None)
    }
    /// Carries a plan out: fills `outputs`, all on this device, contiguous and just made; or inputs, where every
    /// element is read before it is written and nobody else sees them.
    fn execute(&self, plan: &Plan, inputs: &[&Value], outputs: &[&Value]) -> Result<()>;
    /// Waits until everything that was asked for is done.
    fn synchronize(&self) -> Result<()>;
}

impl fmt::Debug for dyn DeviceBuffer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bytes on {}", self.bytes(), self.device().name())
    }
}

impl fmt::Debug for dyn Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name())
    }
}

/// Which way operations went on devices: for tests, and for whoever asks why something is slow.
#[doc(hidden)]
pub mod report {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, PoisonError};

    use crate::op::Op;

    /// How a device carried an operation out.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Way {
        /// By its plan.
        Kernel,
        /// In other operations.
        Expansion,
        /// On the host, which waited for its inputs.
        Host,
    }

    static ON: AtomicBool = AtomicBool::new(false);
    static COUNTS: Mutex<BTreeMap<(&'static str, Way), usize>> = Mutex::new(BTreeMap::new());

    /// Starts counting from nothing.
    pub fn start() {
        COUNTS.lock().unwrap_or_else(PoisonError::into_inner).clear();
        ON.store(true, Ordering::Relaxed);
    }

    /// Stops counting: how often each operation went each way.
    pub fn stop() -> BTreeMap<(&'static str, Way), usize> {
        ON.store(false, Ordering::Relaxed);
        std::mem::take(&mut *COUNTS.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn note(op: &Op, way: Way) {
        if ON.load(Ordering::Relaxed) {
            *COUNTS.lock().unwrap_or_else(PoisonError::into_inner).entry((op.name(), way)).or_default() += 1;
        }
    }
}
