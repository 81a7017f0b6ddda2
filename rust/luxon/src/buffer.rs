//! The memory behind tensors.
//!
//! A [`Storage`] is inline for up to 64 bytes (scalars and short vectors need one allocation, the
//! tensor's own), a shared host [`Buffer`] above that, or memory of another device. A host buffer is
//! either a block of the cache or foreign memory kept alive by its owner (a NumPy array, a mapped file).

use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::device::DeviceBuffer;
use crate::error::Result;
use crate::runtime::memory;

/// The most bytes that a tensor holds without a buffer.
pub const INLINE_BYTES: usize = 64;

/// Host memory, shared by the tensors that view it.
///
/// ```
/// use luxon::device::Buffer;
/// assert_eq!(Buffer::allocate(1000)?.bytes(), 1000);
/// # Ok::<(), luxon::Error>(())
/// ```
pub struct Buffer {
    pointer: NonNull<u8>,
    bytes: usize,
    /// The owner of foreign memory; none for a block of the cache.
    owner: Option<Box<dyn Any + Send + Sync>>,
}

// SAFETY: a buffer is written only while it has a single owner, and read after that.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A block of the cache with arbitrary contents.
    ///
    /// ```
    /// use luxon::device::Buffer;
    /// assert!(!Buffer::allocate(1000)?.is_foreign());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn allocate(bytes: usize) -> Result<Buffer> {
        Ok(Buffer { pointer: memory::allocate(bytes)?, bytes, owner: None })
    }

    /// Memory of somebody else, alive and unchanged as long as `owner` lives.
    ///
    /// ```
    /// use luxon::device::Buffer;
    /// let owner = vec![7u8; 100];
    /// // SAFETY: the bytes stay where they are when the vector moves into the box, and nobody writes to them.
    /// let buffer = unsafe { Buffer::foreign(owner.as_ptr(), 100, Box::new(owner)) };
    /// assert!(buffer.is_foreign());
    /// ```
    ///
    /// # Safety
    /// `bytes` bytes at `pointer` stay readable and constant until `owner` is dropped.
    pub unsafe fn foreign(pointer: *const u8, bytes: usize, owner: Box<dyn Any + Send + Sync>) -> Buffer {
        let pointer = NonNull::new(pointer.cast_mut()).unwrap_or(NonNull::dangling());
        Buffer { pointer, bytes, owner: Some(owner) }
    }

    /// The first byte.
    ///
    /// ```
    /// use luxon::device::Buffer;
    /// assert_eq!(Buffer::allocate(1000)?.pointer() as usize % 64, 0); // Blocks begin at a cache line.
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn pointer(&self) -> *mut u8 {
        self.pointer.as_ptr()
    }

    /// The size in bytes.
    ///
    /// ```
    /// use luxon::device::Buffer;
    /// assert_eq!(Buffer::allocate(1000)?.bytes(), 1000);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the memory belongs to somebody else, and so is never written.
    ///
    /// ```
    /// use luxon::device::Buffer;
    /// assert!(!Buffer::allocate(8)?.is_foreign());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn is_foreign(&self) -> bool {
        self.owner.is_some()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.owner.is_none() {
            // SAFETY: the block came from `allocate` with these bytes, and this is its last owner.
            unsafe { memory::release(self.pointer, self.bytes) };
        }
    }
}

/// Where a tensor's bytes are.
///
/// ```
/// use luxon::{DType, Tensor};
/// use luxon::device::Storage;
/// let (small, large) = (Tensor::zeros(&[4], DType::F32)?, Tensor::zeros(&[400], DType::F32)?);
/// assert!(matches!(small.value().storage(), Storage::Inline(_)));
/// assert!(matches!(large.value().storage(), Storage::Host(buffer) if buffer.bytes() == 1600));
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone)]
pub enum Storage {
    /// In the tensor itself.
    Inline([u64; INLINE_BYTES / 8]),
    /// In host memory.
    Host(Arc<Buffer>),
    /// On another device.
    Device(Arc<dyn DeviceBuffer>),
    /// Nowhere: an abstract value, of which only dtype and shape are known.
    Abstract,
}

impl Storage {
    /// Host storage for `bytes` bytes with arbitrary contents.
    #[inline]
    #[doc(hidden)]
    pub fn host(bytes: usize) -> Result<Storage> {
        if bytes <= INLINE_BYTES {
            return Ok(Storage::Inline([0; INLINE_BYTES / 8]));
        }
        Ok(Storage::Host(Arc::new(Buffer::allocate(bytes)?)))
    }
}
