//! Copies of operands in the order in which the kernels read them, and the memory for them.
//!
//! A panel is a strip of `width` lanes (rows of A or columns of B) by k: element `(lane, p)` lies at
//! `p * width + lane`. Packing exists to cure strides (rows a multiple of 4 KiB apart share one cache
//! set), non-contiguous columns of B and TLB misses; operands that are already readable stay in place.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ptr::NonNull;

use super::vector::{Scalar, Vector};

/// Buffers above this size are returned to the system after use.
const KEPT: usize = 16 << 20;
/// Alignment of buffers: a page, so that panels begin at cache lines.
const ALIGNMENT: usize = 4096;

/// One panel to be filled: `count` lanes and `k` terms, zeros in the lanes from `count` to `width`.
pub struct Strip<T> {
    /// Where it goes: `width * k` elements.
    pub panel: *mut T,
    /// Lanes of the panel.
    pub width: usize,
    /// The first element to copy.
    pub source: *const T,
    /// Lanes to copy.
    pub count: usize,
    /// Terms to copy.
    pub k: usize,
    /// From a lane of the source to the next.
    pub lane_stride: isize,
    /// From a term of the source to the next.
    pub k_stride: isize,
}

/// Fills a panel.
///
/// # Safety
/// The instruction set of `V` must be there, the source readable for every lane and term that is to be
/// copied, and the panel writable.
#[inline(always)]
pub unsafe fn panel<V: Vector>(strip: &Strip<V::Item>) {
    // SAFETY: passed on.
    unsafe {
        match (strip.lane_stride, strip.k_stride) {
            (1, _) if strip.width == 2 * V::LANES => rows::<V, 2>(strip),
            (1, _) if strip.width <= V::LANES => rows::<V, 1>(strip),
            (_, 1) => transposed::<V>(strip),
            _ => scattered(strip),
        }
    }
}

/// Lanes are contiguous in the source and fill at most `N` vectors.
#[inline(always)]
unsafe fn rows<V: Vector, const N: usize>(strip: &Strip<V::Item>) {
    // SAFETY: the masks keep every access inside source and panel.
    unsafe {
        let mut from = [V::mask(0); N];
        let mut to = [V::mask(0); N];
        for j in 0..N {
            from[j] = V::mask(strip.count.saturating_sub(j * V::LANES));
            to[j] = V::mask(strip.width.saturating_sub(j * V::LANES));
        }
        let whole = strip.width == N * V::LANES;
        let whole_source = whole && strip.count == strip.width;
        let mut source = strip.source;
        for p in 0..strip.k {
            for j in 0..N {
                let at = source.wrapping_add(j * V::LANES);
                let lanes = if whole_source { V::load(at) } else { V::load_masked(at, from[j]) };
                let at = strip.panel.add(p * strip.width + j * V::LANES);
                if whole { lanes.store(at) } else { lanes.store_masked(at, to[j]) }
            }
            source = source.wrapping_offset(strip.k_stride);
        }
    }
}

/// Terms are contiguous in the source: squares are transposed in registers.
#[inline(always)]
unsafe fn transposed<V: Vector>(strip: &Strip<V::Item>) {
    let Strip { width, count, k, .. } = *strip;
    // A whole vector may be stored over the lanes that follow where those are written later.
    let overlap = width <= V::LANES || width % V::LANES == 0;
    let mut group = 0;
    while group < width {
        let lanes = count.saturating_sub(group).min(V::LANES);
        let source = strip.source.wrapping_offset(group as isize * strip.lane_stride);
        // SAFETY: terms below `k` of lanes below `count` are read; stores stay below `width * k`.
        unsafe {
            let to = V::mask(width - group);
            let mut p = 0;
            while p < k {
                let terms = (k - p).min(V::LANES);
                let from = V::mask(terms);
                let mut square = [V::zero(); 16];
                for lane in 0..V::LANES {
                    if lane < lanes {
                        let at = source.wrapping_offset(lane as isize * strip.lane_stride).wrapping_add(p);
                        square[lane] = if terms == V::LANES { V::load(at) } else { V::load_masked(at, from) };
                    }
                }
                V::transpose(&mut square);
                for term in 0..V::LANES {
                    let at = strip.panel.wrapping_add((p + term) * width + group);
                    if overlap && (p + term) * width + group + V::LANES <= width * k {
                        square[term].store(at);
                    } else if term < terms {
                        square[term].store_masked(at, to);
                    }
                }
                p += V::LANES;
            }
        }
        group += V::LANES;
    }
}

/// No stride is 1.
unsafe fn scattered<T: Scalar>(strip: &Strip<T>) {
    for p in 0..strip.k {
        let source = strip.source.wrapping_offset(p as isize * strip.k_stride);
        for lane in 0..strip.width {
            // SAFETY: lanes below `count` are read, and the whole panel is written.
            unsafe {
                let value = if lane < strip.count {
                    *source.wrapping_offset(lane as isize * strip.lane_stride)
                } else {
                    T::default()
                };
                *strip.panel.add(p * strip.width + lane) = value;
            }
        }
    }
}

/// Memory for packed operands, kept by its thread between products.
pub struct Buffer {
    start: NonNull<u8>,
    bytes: usize,
}

/// What a buffer is for: a thread keeps one of each kind.
#[derive(Clone, Copy)]
pub enum Place {
    /// What a product's tasks share.
    Phase,
    /// What one task packs for itself.
    Task,
}

thread_local! {
    static SPARE: [Cell<Option<Buffer>>; 2] = const { [Cell::new(None), Cell::new(None)] };
}

impl Buffer {
    fn layout(bytes: usize) -> Layout {
        // SAFETY: the alignment is a power of two, and sizes come from matrices that exist.
        unsafe { Layout::from_size_align_unchecked(bytes, ALIGNMENT) }
    }

    /// At least `count` elements, uninitialised; the process ends when the system has no memory.
    pub fn take<T>(place: Place, count: usize) -> Buffer {
        let bytes = (count * size_of::<T>()).max(1).next_multiple_of(ALIGNMENT);
        if let Some(spare) = SPARE.with(|spare| spare[place as usize].take())
            && spare.bytes >= bytes
        {
            return spare;
        }
        // SAFETY: the size is not zero.
        match NonNull::new(unsafe { alloc(Self::layout(bytes)) }) {
            Some(start) => Buffer { start, bytes },
            None => std::alloc::handle_alloc_error(Self::layout(bytes)),
        }
    }

    /// Keeps the memory for the next product of this thread.
    pub fn give_back(self, place: Place) {
        if self.bytes <= KEPT {
            // A thread that is ending has no place for it any more, and frees it.
            let _ = SPARE.try_with(|spare| spare[place as usize].set(Some(self)));
        }
    }

    /// The first byte.
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout by `take`.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.bytes)) }
    }
}
