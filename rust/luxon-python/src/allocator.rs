//! The memory of small objects: mimalloc.
//!
//! Asked for memory of a given alignment, as the crate `mimalloc` always does, it takes several times as long as
//! where its natural alignment will do, which is nearly always: like any `malloc`, it aligns to 16 bytes what has as
//! many, and what is smaller to its size rounded down to a power of two.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

use libmimalloc_sys as mi;

/// The alignment that every block of at least this size has.
const NATURAL: usize = 16;

/// See the module.
pub struct Allocator;

#[inline]
fn is_natural(layout: Layout) -> bool {
    layout.align() <= NATURAL && layout.align() <= layout.size()
}

/// A block by one of two functions: of its size, or of its size and alignment.
#[inline(always)]
fn block(
    layout: Layout,
    plain: unsafe extern "C" fn(usize) -> *mut c_void,
    aligned: unsafe extern "C" fn(usize, usize) -> *mut c_void,
) -> *mut u8 {
    // SAFETY: mimalloc takes any size, and as the alignment any power of two.
    let block = unsafe {
        match is_natural(layout) {
            true => plain(layout.size()),
            false => aligned(layout.size(), layout.align()),
        }
    };
    block.cast()
}

// SAFETY: blocks come from mimalloc alone, aligned as asked, and go back to it; it never unwinds.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        block(layout, mi::mi_malloc, mi::mi_malloc_aligned)
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        block(layout, mi::mi_zalloc, mi::mi_zalloc_aligned)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller's block is one of the above.
        unsafe { mi::mi_free(block.cast()) };
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let natural = is_natural(layout) && layout.align() <= size;
        // SAFETY: the caller's block is one of the above.
        let block = unsafe {
            match natural {
                true => mi::mi_realloc(block.cast(), size),
                false => mi::mi_realloc_aligned(block.cast(), size, layout.align()),
            }
        };
        block.cast()
    }
}
