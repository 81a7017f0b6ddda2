//! Chunks of lanes: what row kernels hold in registers.
//!
//! A chunk is an ordinary array `[T; N]`, `N` a power of two of at most 64, and loops over it become vector
//! code. What LLVM does badly is done here: the end of a row, where fewer than `N` elements are
//! left. [`Simd`] is the token of an instruction set: AVX-512 has masked moves for it, elsewhere two copies
//! that overlap do. Results do not depend on the token.

use std::sync::atomic::{Ordering, compiler_fence};

use super::real::{Real, larger};

/// Lanes of a chunk where rows are not short: four 512-bit vectors of `f32`, enough to hide latency.
pub const LANES: usize = 64;

/// Lanes of a chunk where rows are no longer than that.
pub const SHORT: usize = 16;

/// `N` lanes at `from`.
///
/// # Safety
/// `from` is valid for reading `N` elements.
#[inline(always)]
pub unsafe fn load<T: Real, const N: usize>(from: *const T) -> [T; N] {
    // SAFETY: the caller's promise; an array has the alignment of its element.
    unsafe { from.cast::<[T; N]>().read() }
}

/// Moves `length` elements, at most 64, as two copies that overlap, of the largest power of two that
/// fits: a copy of a run-time size would be a call of `memcpy`.
///
/// # Safety
/// `from` is valid for reading `length` elements, `to` for writing them; they do not overlap.
#[inline(always)]
unsafe fn move_some<T: Real>(from: *const T, to: *mut T, length: usize) {
    macro_rules! halves {
        ($($width:literal)*) => {
            $(if length >= $width {
                // SAFETY: both copies are inside `length`.
                unsafe {
                    let head = from.cast::<[T; $width]>().read();
                    let tail = from.add(length - $width).cast::<[T; $width]>().read();
                    to.cast::<[T; $width]>().write(head);
                    to.add(length - $width).cast::<[T; $width]>().write(tail);
                }
                return;
            })*
        };
    }
    halves!(32 16 8 4 2 1);
}

/// How an instruction set moves a chunk that may be cut short; the functions are compiled as part of a
/// kernel for that set.
pub trait Simd: Copy + 'static {
    /// `length` lanes (at most `N`) at `from`, the rest `pad`.
    ///
    /// # Safety
    /// `from` is valid for reading `length` elements, and the machine has the instruction set.
    unsafe fn load_some<T: Real, const N: usize>(from: *const T, length: usize, pad: T) -> [T; N];

    /// Writes the first `length` of `N` lanes.
    ///
    /// # Safety
    /// `to` is valid for writing `length` elements, and the machine has the instruction set.
    unsafe fn store_some<T: Real, const N: usize>(to: *mut T, lanes: &[T; N], length: usize);
}

/// Writes `N` lanes.
///
/// # Safety
/// `to` is valid for writing `N` elements.
#[inline(always)]
pub unsafe fn store<T: Real, const N: usize>(to: *mut T, lanes: &[T; N]) {
    // SAFETY: the caller's promise.
    unsafe { to.cast::<[T; N]>().write(*lanes) }
}

/// The token of every set without one of its own.
#[derive(Clone, Copy)]
pub struct Portable;

impl Simd for Portable {
    #[inline(always)]
    unsafe fn load_some<T: Real, const N: usize>(from: *const T, length: usize, pad: T) -> [T; N] {
        if length == N {
            // SAFETY: the caller's promise.
            return unsafe { load(from) };
        }
        let mut lanes = [pad; N];
        // SAFETY: the caller's promise; `length` is below `N`.
        unsafe { move_some(from, lanes.as_mut_ptr(), length) }
        lanes
    }

    #[inline(always)]
    unsafe fn store_some<T: Real, const N: usize>(to: *mut T, lanes: &[T; N], length: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if length == N {
                store(to, lanes);
            } else {
                move_some(lanes.as_ptr(), to, length);
            }
        }
    }
}

/// The token of AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx512;

#[cfg(target_arch = "x86_64")]
impl Simd for Avx512 {
    #[inline(always)]
    unsafe fn load_some<T: Real, const N: usize>(from: *const T, length: usize, pad: T) -> [T; N] {
        use std::arch::x86_64::*;
        if length == N {
            // SAFETY: the caller's promise.
            return unsafe { load(from) };
        }
        let mut lanes = [pad; N];
        let width = 64 / size_of::<T>();
        for part in 0..N / width {
            let mask = low_bits(length.saturating_sub(part * width).min(width));
            // SAFETY: masked lanes are not accessed; `N` is a multiple of `width`; `T` is `f32` or `f64`
            // by its size.
            unsafe {
                let (from, to) = (from.wrapping_add(part * width), lanes.as_mut_ptr().add(part * width));
                if size_of::<T>() == 4 {
                    let pad = _mm512_set1_ps(pad.to_f64() as f32);
                    _mm512_storeu_ps(to.cast(), _mm512_mask_loadu_ps(pad, mask as __mmask16, from.cast()));
                } else {
                    let pad = _mm512_set1_pd(pad.to_f64());
                    _mm512_storeu_pd(to.cast(), _mm512_mask_loadu_pd(pad, mask as __mmask8, from.cast()));
                }
            }
        }
        lanes
    }

    #[inline(always)]
    unsafe fn store_some<T: Real, const N: usize>(to: *mut T, lanes: &[T; N], length: usize) {
        use std::arch::x86_64::*;
        if length == N {
            // SAFETY: the caller's promise.
            return unsafe { store(to, lanes) };
        }
        let width = 64 / size_of::<T>();
        for part in 0..N / width {
            let mask = low_bits(length.saturating_sub(part * width).min(width));
            // SAFETY: as in `load_some`.
            unsafe {
                let (from, to) = (lanes.as_ptr().add(part * width), to.wrapping_add(part * width));
                if size_of::<T>() == 4 {
                    _mm512_mask_storeu_ps(to.cast(), mask as __mmask16, _mm512_loadu_ps(from.cast()));
                } else {
                    _mm512_mask_storeu_pd(to.cast(), mask as __mmask8, _mm512_loadu_pd(from.cast()));
                }
            }
        }
    }
}

/// The lowest `count` bits, at most 16.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn low_bits(count: usize) -> u32 {
    (1u32 << count) - 1
}

/// The sum of all lanes: halves are added until one is left (`N` is a power of two).
#[inline(always)]
pub fn sum_lanes<T: Real, const N: usize>(mut lanes: [T; N]) -> T {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The largest lane, NaN left out.
#[inline(always)]
pub fn largest_lane<T: Real, const N: usize>(mut lanes: [T; N]) -> T {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = larger(lanes[i + half], lanes[i]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Rows that a [`Group`] holds.
pub const GROUP: usize = 16;

/// Short rows, each padded to `N` lanes. Going through a group in several simple passes keeps many rows
/// in flight, where one row after the other would wait for its own reductions.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Group<T, const N: usize> {
    /// The rows, padding included.
    pub lanes: [[T; N]; GROUP],
}

impl<T: Real, const N: usize> Group<T, N> {
    /// A group of zeros.
    #[inline(always)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Group { lanes: [[T::ZERO; N]; GROUP] }
    }

    /// Takes `rows` (at most `GROUP`) rows of `columns` (at most `N`) elements each, padded with `pad`.
    ///
    /// # Safety
    /// `from` is valid for reading rows * columns elements, and the machine has the instruction set.
    #[inline(always)]
    pub unsafe fn read<S: Simd>(&mut self, from: *const T, rows: usize, columns: usize, pad: T) {
        for row in 0..rows {
            // SAFETY: the caller's promise.
            self.lanes[row] = unsafe { S::load_some(from.add(row * columns), columns, pad) };
        }
    }

    /// Writes the rows back to back.
    ///
    /// # Safety
    /// `to` is valid for writing rows * columns elements; the machine has the instruction set.
    #[inline(always)]
    pub unsafe fn write<S: Simd>(&self, to: *mut T, rows: usize, columns: usize) {
        for row in 0..rows {
            // SAFETY: the caller's promise.
            unsafe { S::store_some(to.add(row * columns), &self.lanes[row], columns) }
        }
    }

    /// Changes every row, padding included.
    #[inline(always)]
    pub fn each(&mut self, rows: usize, change: impl Fn(usize, &mut [T; N])) {
        for row in 0..rows {
            // Without the fence LLVM turns the loop over lanes inside out and gathers across rows.
            compiler_fence(Ordering::SeqCst);
            let mut lanes = self.lanes[row];
            change(row, &mut lanes);
            self.lanes[row] = lanes;
        }
    }

    /// A number per row; 1 for rows that are not there.
    #[inline(always)]
    pub fn reduce(&self, rows: usize, reduction: impl Fn([T; N]) -> T) -> [T; GROUP] {
        let mut results = [T::ONE; GROUP];
        for row in 0..rows {
            compiler_fence(Ordering::SeqCst);
            results[row] = reduction(self.lanes[row]);
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use super::super::isa::Isa;
    use super::*;

    fn moves_exactly_the_length<S: Simd, T: Real>() {
        let source: Vec<T> = (0..64).map(|i| T::from_f64(f64::from(i) + 1.0)).collect();
        let pad = T::from_f64(-1.0);
        for length in 0..=64 {
            let exact = source[..length].to_vec();
            let mut target = vec![T::ZERO; length + 1];
            // SAFETY: `exact` has `length` elements, `target` one more; the caller knows the set.
            let lanes: [T; 64] = unsafe { S::load_some(exact.as_ptr(), length, pad) };
            // SAFETY: as above.
            unsafe { S::store_some(target.as_mut_ptr(), &lanes, length) };
            assert_eq!(target[..length], source[..length]);
            assert_eq!(target[length], T::ZERO);
            assert!(lanes[length..].iter().all(|&x| x == pad));
            assert_eq!(largest_lane(lanes), if length == 0 { pad } else { source[length - 1] });
        }
    }

    #[test]
    fn partial_chunks_move_exactly_their_length() {
        moves_exactly_the_length::<Portable, f32>();
        moves_exactly_the_length::<Portable, f64>();
        #[cfg(target_arch = "x86_64")]
        if Isa::available().contains(&Isa::Avx512) {
            moves_exactly_the_length::<Avx512, f32>();
            moves_exactly_the_length::<Avx512, f64>();
        }
    }

    #[test]
    fn groups_pad_and_restore_their_rows() {
        for columns in 0..=16 {
            for rows in 0..=GROUP {
                let source: Vec<f64> = (0..rows * columns).map(|i| i as f64 + 1.0).collect();
                let mut target = vec![0.0; rows * columns];
                // SAFETY: both have rows * columns elements.
                unsafe {
                    let mut group = Group::<f64, SHORT>::new();
                    group.read::<Portable>(source.as_ptr(), rows, columns, -1.0);
                    for row in 0..rows {
                        assert_eq!(group.lanes[row][..columns], source[row * columns..(row + 1) * columns]);
                        assert!(group.lanes[row][columns..].iter().all(|&x| x == -1.0));
                    }
                    group.write::<Portable>(target.as_mut_ptr(), rows, columns);
                }
                assert_eq!(target, source);
            }
        }
    }
}
