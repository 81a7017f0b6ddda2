//! Vectors of one instruction set, as the matrix kernels need them.
//!
//! Kernels are written once against [`Vector`] and instantiated with the types below inside functions
//! that enable the instruction set; every method is `#[inline(always)]`, so nothing is compiled for the
//! baseline by accident. Masked loads and stores never touch memory outside the mask: that is what
//! makes the edges of a matrix safe without copies. The portable vector is a plain array which LLVM
//! maps to whatever the target has (SSE2, NEON).

/// A vector of elements in registers.
///
/// # Safety
/// Every method needs the instruction set of the implementing type; loads and stores need memory that
/// is valid for the lanes that they touch, and no alignment.
pub unsafe trait Vector: Copy {
    /// The type of a lane.
    type Item: Scalar;
    /// Which of the first lanes take part in a masked access.
    type Mask: Copy;
    /// The number of lanes.
    const LANES: usize;
    /// All lanes zero.
    unsafe fn zero() -> Self;
    /// All lanes equal.
    unsafe fn splat(value: Self::Item) -> Self;
    /// `self * b + c`, rounded once where the set has such an instruction.
    unsafe fn multiply_add(self, b: Self, c: Self) -> Self;
    /// Sum of lanes.
    unsafe fn add(self, b: Self) -> Self;
    /// A mask of the first `count` lanes, or of all if there are fewer.
    unsafe fn mask(count: usize) -> Self::Mask;
    /// Reads all lanes.
    unsafe fn load(from: *const Self::Item) -> Self;
    /// Writes all lanes.
    unsafe fn store(self, to: *mut Self::Item);
    /// Reads the lanes of the mask, zero for the others.
    unsafe fn load_masked(from: *const Self::Item, mask: Self::Mask) -> Self;
    /// Writes the lanes of the mask.
    unsafe fn store_masked(self, to: *mut Self::Item, mask: Self::Mask);
    /// Writes the lanes whose bits are set, one after the other.
    #[inline(always)]
    unsafe fn store_selected(self, to: *mut Self::Item, lanes: u32) {
        // SAFETY: a vector holds `LANES` items and no more than 16; the caller gives room for the selected ones.
        unsafe {
            let mut all = [Self::Item::default(); 16];
            self.store(all.as_mut_ptr());
            let mut next = to;
            for lane in 0..Self::LANES {
                if lanes >> lane & 1 == 1 {
                    *next = all[lane];
                    next = next.add(1);
                }
            }
        }
    }
    /// Swaps rows and columns of the square that the first `LANES` vectors form.
    unsafe fn transpose(square: &mut [Self; 16]);
}

/// What the kernels need of a single lane.
pub trait Scalar: Copy + Default + std::ops::Add<Output = Self> {}
impl Scalar for f32 {}
impl Scalar for f64 {}

/// Asks for a cache line that is about to be written or read again.
#[inline(always)]
pub fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// `L` lanes as an array.
#[derive(Clone, Copy)]
pub struct Lanes<T, const L: usize>([T; L]);

macro_rules! portable {
    ($item:ty) => {
        // SAFETY: plain Rust; loads and stores touch the lanes that they name.
        unsafe impl<const L: usize> Vector for Lanes<$item, L> {
            type Item = $item;
            type Mask = usize;
            const LANES: usize = L;
            #[inline(always)]
            unsafe fn zero() -> Self {
                Lanes([0.0; L])
            }
            #[inline(always)]
            unsafe fn splat(value: $item) -> Self {
                Lanes([value; L])
            }
            #[inline(always)]
            unsafe fn multiply_add(self, b: Self, c: Self) -> Self {
                let mut sum = c.0;
                for i in 0..L {
                    // Without the instruction, `mul_add` would be a library call per lane.
                    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                        sum[i] = self.0[i].mul_add(b.0[i], sum[i]);
                    } else {
                        sum[i] += self.0[i] * b.0[i];
                    }
                }
                Lanes(sum)
            }
            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                let mut sum = self.0;
                for i in 0..L {
                    sum[i] += b.0[i];
                }
                Lanes(sum)
            }
            #[inline(always)]
            unsafe fn mask(count: usize) -> usize {
                count.min(L)
            }
            #[inline(always)]
            unsafe fn load(from: *const $item) -> Self {
                // SAFETY: the caller gives `L` readable elements.
                Lanes(unsafe { from.cast::<[$item; L]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $item) {
                // SAFETY: the caller gives `L` writable elements.
                unsafe { to.cast::<[$item; L]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn load_masked(from: *const $item, mask: usize) -> Self {
                let mut lanes = [0.0; L];
                for i in 0..mask {
                    // SAFETY: the caller gives `mask` readable elements.
                    lanes[i] = unsafe { *from.add(i) };
                }
                Lanes(lanes)
            }
            #[inline(always)]
            unsafe fn store_masked(self, to: *mut $item, mask: usize) {
                for i in 0..mask {
                    // SAFETY: the caller gives `mask` writable elements.
                    unsafe { *to.add(i) = self.0[i] };
                }
            }
            #[inline(always)]
            unsafe fn transpose(square: &mut [Self; 16]) {
                let from = *square;
                for i in 0..L {
                    for j in 0..L {
                        square[i].0[j] = from[j].0[i];
                    }
                }
            }
        }
    };
}

portable!(f32);
portable!(f64);
