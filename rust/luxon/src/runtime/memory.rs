//! The buffer cache: memory for tensors, 64-byte aligned, kept for the next tensor of its size class.
//!
//! Fresh memory costs page faults (a 40 MB result is seven times slower to write), so freed blocks go
//! into lists by size class: a list per thread without locks for blocks up to `LOCAL_LIMIT`, one
//! shared list for larger ones. Four classes per power of two waste at most a fifth. Both lists are
//! capped; `LUXON_CACHE_BYTES` sets the shared cap (default 2 GiB). A failed allocation empties the
//! shared list and tries once more before it becomes [`Error::Memory`].

use std::alloc::{Layout, alloc, dealloc};
use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, TryLockError};

use crate::error::{Error, Result};

/// The alignment of every block: a cache line, and a 512-bit vector.
pub const ALIGNMENT: usize = 64;
/// The largest block that a thread keeps for itself.
const LOCAL_LIMIT: usize = 1 << 20;
/// The bytes that a thread keeps at most.
const LOCAL_CAPACITY: usize = 64 << 20;
/// From this size on, huge pages are asked for.
const HUGE: usize = 4 << 20;
const SMALLEST_SHIFT: usize = 7;
const CLASSES: usize = 4 * (usize::BITS as usize - SMALLEST_SHIFT);

static SYSTEM_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

/// What the cache has done so far.
///
/// ```
/// use luxon::{DType, Tensor};
/// let before = luxon::runtime::memory::statistics();
/// let x = Tensor::zeros(&[1 << 20], DType::F32)?;
/// assert!(luxon::runtime::memory::statistics().peak_bytes >= 4 << 20);
/// # assert!(before.held_bytes <= before.peak_bytes); drop(x);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Blocks that came from the system rather than from the cache.
    pub system_allocations: usize,
    /// Bytes held from the system: in tensors and in the cache.
    pub held_bytes: usize,
    /// The most bytes ever held.
    pub peak_bytes: usize,
}

/// Reads the counters.
///
/// ```
/// use luxon::{DType, Tensor};
/// use luxon::runtime::memory;
/// drop(Tensor::zeros(&[1 << 20], DType::F32)?);
/// // The second tensor of a size takes the memory of the first.
/// let before = memory::statistics().held_bytes;
/// let x = Tensor::zeros(&[1 << 20], DType::F32)?;
/// assert!(memory::statistics().held_bytes >= before.min(4 << 20));
/// # drop(x);
/// # Ok::<(), luxon::Error>(())
/// ```
pub fn statistics() -> Statistics {
    Statistics {
        system_allocations: SYSTEM_ALLOCATIONS.load(Ordering::Relaxed),
        held_bytes: LIVE_BYTES.load(Ordering::Relaxed),
        peak_bytes: PEAK_BYTES.load(Ordering::Relaxed),
    }
}

/// The size class that holds `bytes`, and its size.
#[inline]
fn class_of(bytes: usize) -> Option<(usize, usize)> {
    let bytes = bytes.max(1 << SMALLEST_SHIFT);
    // Quarters of a power of two: the two bits below the leading one, rounded up.
    let shift = (usize::BITS - 1 - bytes.leading_zeros()) as usize;
    let quarter = 1usize << (shift - 2);
    let size = bytes.checked_add(quarter - 1)? & !(quarter - 1);
    let shift = (usize::BITS - 1 - size.leading_zeros()) as usize;
    let class = (shift - SMALLEST_SHIFT) * 4 + ((size >> (shift - 2)) & 3);
    (size <= isize::MAX as usize - ALIGNMENT).then_some((class, size))
}

/// Free blocks by class, with a cap on their bytes.
struct Lists {
    blocks: Vec<Vec<NonNull<u8>>>,
    bytes: usize,
    capacity: usize,
}

// SAFETY: the blocks are plain memory that nobody else refers to.
unsafe impl Send for Lists {}

impl Lists {
    const fn new(capacity: usize) -> Lists {
        Lists { blocks: Vec::new(), bytes: 0, capacity }
    }

    #[inline]
    fn take(&mut self, class: usize, size: usize) -> Option<NonNull<u8>> {
        let block = self.blocks.get_mut(class)?.pop()?;
        self.bytes -= size;
        Some(block)
    }

    #[inline]
    fn put(&mut self, class: usize, size: usize, block: NonNull<u8>) -> bool {
        if self.bytes + size > self.capacity {
            return false;
        }
        if self.blocks.is_empty() {
            self.blocks.resize_with(CLASSES, Vec::new);
        }
        self.bytes += size;
        self.blocks[class].push(block);
        true
    }

    fn clear(&mut self) {
        for (class, blocks) in self.blocks.iter_mut().enumerate() {
            for block in blocks.drain(..) {
                // SAFETY: blocks of this list came from `from_system` with this size.
                unsafe { to_system(block, size_of_class(class)) };
            }
        }
        self.bytes = 0;
    }
}

impl Drop for Lists {
    fn drop(&mut self) {
        self.clear();
    }
}

fn size_of_class(class: usize) -> usize {
    let shift = class / 4 + SMALLEST_SHIFT;
    (4 + class % 4) << (shift - 2)
}

thread_local! {
    static LOCAL: RefCell<Lists> = const { RefCell::new(Lists::new(LOCAL_CAPACITY)) };
}

fn shared() -> Option<std::sync::MutexGuard<'static, Lists>> {
    static SHARED: OnceLock<Mutex<Lists>> = OnceLock::new();
    let lists = SHARED.get_or_init(|| {
        let asked = std::env::var("LUXON_CACHE_BYTES").ok().and_then(|text| text.parse().ok());
        Mutex::new(Lists::new(asked.unwrap_or(2 << 30)))
    });
    // Never waits: a thread that held the lock while the process forked is gone in the child, and a
    // busy lock is no reason to stall, the system can serve this one block.
    match lists.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn from_system(size: usize) -> Option<NonNull<u8>> {
    let layout = Layout::from_size_align(size, if size >= HUGE { 2 << 20 } else { ALIGNMENT }).ok()?;
    // SAFETY: the size is not zero.
    let block = NonNull::new(unsafe { alloc(layout) })?;
    #[cfg(target_os = "linux")]
    if size >= HUGE {
        // SAFETY: the range is ours; advice cannot change what it holds.
        unsafe { libc::madvise(block.as_ptr().cast(), size, libc::MADV_HUGEPAGE) };
    }
    SYSTEM_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    let live = LIVE_BYTES.fetch_add(size, Ordering::Relaxed) + size;
    PEAK_BYTES.fetch_max(live, Ordering::Relaxed);
    Some(block)
}

/// # Safety
/// `block` came from [`from_system`] with this size and is not used again.
unsafe fn to_system(block: NonNull<u8>, size: usize) {
    LIVE_BYTES.fetch_sub(size, Ordering::Relaxed);
    if let Ok(layout) = Layout::from_size_align(size, if size >= HUGE { 2 << 20 } else { ALIGNMENT }) {
        // SAFETY: as the caller promises.
        unsafe { dealloc(block.as_ptr(), layout) };
    }
}

/// A block of at least `bytes` bytes with arbitrary contents.
#[doc(hidden)]
pub fn allocate(bytes: usize) -> Result<NonNull<u8>> {
    let (class, size) = class_of(bytes).ok_or(Error::Memory(bytes))?;
    let cached = if size <= LOCAL_LIMIT {
        LOCAL.try_with(|lists| lists.try_borrow_mut().ok()?.take(class, size)).ok().flatten()
    } else {
        shared().and_then(|mut lists| lists.take(class, size))
    };
    if let Some(block) = cached.or_else(|| from_system(size)) {
        return Ok(block);
    }
    release_cache();
    from_system(size).ok_or(Error::Memory(bytes))
}

/// Gives a block back.
///
/// # Safety
/// `block` came from [`allocate`] with the same `bytes` and is not used again.
#[doc(hidden)]
pub unsafe fn release(block: NonNull<u8>, bytes: usize) {
    let Some((class, size)) = class_of(bytes) else { return };
    let kept = if size <= LOCAL_LIMIT {
        LOCAL
            .try_with(|lists| lists.try_borrow_mut().is_ok_and(|mut lists| lists.put(class, size, block)))
            .unwrap_or(false)
    } else {
        shared().is_some_and(|mut lists| lists.put(class, size, block))
    };
    if !kept {
        // SAFETY: as the caller promises; the class gives the size it was made with.
        unsafe { to_system(block, size) };
    }
}

/// Gives the cached blocks of this thread and of the shared list back to the system.
///
/// ```
/// use luxon::{DType, Tensor};
/// drop(Tensor::zeros(&[1 << 20], DType::F32)?);
/// luxon::runtime::memory::release_cache(); // The system has it again.
/// # Ok::<(), luxon::Error>(())
/// ```
pub fn release_cache() {
    let _ = LOCAL.try_with(|lists| {
        if let Ok(mut lists) = lists.try_borrow_mut() {
            lists.clear();
        }
    });
    if let Some(mut lists) = shared() {
        lists.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_promise() {
        for bytes in (1..5000).chain([1 << 20, (1 << 20) + 1, 3 << 30, (1 << 40) + 7]) {
            let (class, size) = class_of(bytes).unwrap();
            assert!(size >= bytes, "{bytes} in {size}");
            assert!(bytes <= 128 || size <= bytes + bytes / 4 + 1, "{bytes} in {size}");
            assert_eq!(size_of_class(class), size);
        }
        assert!(class_of(usize::MAX).is_none());
    }

    #[test]
    fn a_freed_block_serves_the_next() {
        for bytes in [1000, 3 << 20] {
            let first = allocate(bytes).unwrap();
            assert_eq!(first.as_ptr() as usize % ALIGNMENT, 0);
            // SAFETY: allocated above, used no more.
            unsafe { release(first, bytes) };
            let second = allocate(bytes - 1).unwrap();
            assert_eq!(first, second);
            // SAFETY: the same class as the block came from.
            unsafe { release(second, bytes - 1) };
        }
    }

    #[test]
    fn an_impossible_request_is_an_error() {
        assert!(matches!(allocate(1 << 60), Err(Error::Memory(_))));
    }
}
