//! What row kernels share: chunks of lanes, reductions with a fixed tree, and the split over threads.
//!
//! A kernel is a small `Copy` struct of pointers and numbers that implements [`Job`]; [`run`] compiles
//! it for every instruction set and deals its items (rows, channels, elements) to threads. Inside, data
//! moves in chunks of `N` lanes held in local arrays: LLVM turns a loop over a local array into vector
//! code without an alias check, which also makes it legal for an output to be one of the inputs.
//!
//! The last chunk of a row is padded; lanes beyond its length are never stored. Sums keep `N` partial sums
//! over at most [`BLOCK`] elements, fold them pairwise and add the blocks in `f64`: accurate for
//! rows of any length, and a function of the row alone, not of vector width or thread count.

use std::mem::size_of;
use std::ptr::NonNull;

#[cfg(all(target_arch = "x86_64", not(target_feature = "avx512vl")))]
use super::isa::Isa;
#[cfg(all(target_arch = "x86_64", any(feature = "avx512", target_feature = "avx512vl")))]
use super::lanes::Avx512;
use super::lanes::Simd;
use super::real::Real;
#[cfg(not(target_feature = "avx512vl"))]
use super::{isa::isa, lanes::Portable};
use crate::error::{Error, Result};
use crate::runtime::memory;
use crate::runtime::threads::parallel;

/// Elements that are summed in the working precision before the sum moves to `f64`.
pub const BLOCK: usize = 4096;

/// A kernel: what to do with the items `first .. first + count`, as the `task`-th portion of the work.
pub trait Job: Sync {
    /// Runs one portion; to be `#[inline(always)]`.
    ///
    /// # Safety
    /// The pointers of the job are valid for these items, and nothing else writes them meanwhile.
    unsafe fn run<S: Simd>(&self, task: usize, first: usize, count: usize);
}

/// Runs a portion with the instruction set in use. What [`per_isa!`] does, plus the token of the set.
///
/// [`per_isa!`]: super::isa::per_isa
unsafe fn portion<J: Job>(job: &J, task: usize, first: usize, count: usize) {
    #[cfg(all(target_arch = "x86_64", feature = "avx2", not(target_feature = "avx512vl")))]
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,f16c")]
    unsafe fn avx2<J: Job>(job: &J, task: usize, first: usize, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { job.run::<Portable>(task, first, count) }
    }
    #[cfg(all(target_arch = "x86_64", any(feature = "avx512", target_feature = "avx512vl")))]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt,f16c")]
    unsafe fn avx512<J: Job>(job: &J, task: usize, first: usize, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { job.run::<Avx512>(task, first, count) }
    }
    // SAFETY: the caller's promise; `isa()` names only sets that the machine has.
    unsafe {
        #[cfg(target_feature = "avx512vl")]
        avx512(job, task, first, count);
        #[cfg(not(target_feature = "avx512vl"))]
        match isa() {
            #[cfg(all(target_arch = "x86_64", any(feature = "avx512", target_feature = "avx512vl")))]
            Isa::Avx512 => avx512(job, task, first, count),
            #[cfg(all(target_arch = "x86_64", feature = "avx2", not(target_feature = "avx512vl")))]
            Isa::Avx2 => avx2(job, task, first, count),
            _ => job.run::<Portable>(task, first, count),
        }
    }
}

/// Runs `job` over `items`, `each` of them to a task (more than 0), `nanoseconds` being a guess of the cost of one.
///
/// # Safety
/// As [`Job::run`], for all items; portions of different tasks write different memory.
pub unsafe fn run<J: Job>(job: &J, items: usize, each: usize, nanoseconds: f64) {
    if items <= each {
        if items > 0 {
            // SAFETY: the caller's promise.
            unsafe { portion(job, 0, 0, items) }
        }
        return;
    }
    parallel(items.div_ceil(each), nanoseconds * items as f64, &|task| {
        let first = task * each;
        // SAFETY: the caller's promise; tasks cover disjoint items.
        unsafe { portion(job, task, first, each.min(items - first)) }
    });
}

/// Rows of `columns` elements that make one task of about 32 Ki elements.
pub fn rows_each(columns: usize) -> usize {
    (32768 / columns.max(1)).max(1)
}

/// A pointer to read from that may be sent to another thread; null where an operand is absent.
#[derive(Clone, Copy, Debug)]
pub struct Input<T>(*const T);

/// A pointer to write to that may be sent to another thread; null where a result is not wanted.
#[derive(Clone, Copy, Debug)]
pub struct Output<T>(*mut T);

// SAFETY: plain addresses; who dereferences them promises that no other thread interferes.
unsafe impl<T> Sync for Input<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Input<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Output<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Output<T> {}

impl<T> Input<T> {
    /// Wraps a pointer.
    pub fn new(pointer: *const T) -> Self {
        Input(pointer)
    }

    /// Whether the operand is there.
    #[inline(always)]
    pub fn is_some(self) -> bool {
        !self.0.is_null()
    }

    /// The address of element `index`.
    ///
    /// # Safety
    /// Not null, and `index` is inside the allocation or just behind it.
    #[inline(always)]
    pub unsafe fn at(self, index: usize) -> *const T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index) }
    }
}

impl<T> Output<T> {
    /// Wraps a pointer.
    pub fn new(pointer: *mut T) -> Self {
        Output(pointer)
    }

    /// Whether the result is wanted.
    #[inline(always)]
    pub fn is_some(self) -> bool {
        !self.0.is_null()
    }

    /// The address of element `index`.
    ///
    /// # Safety
    /// Not null, and `index` is inside the allocation or just behind it.
    #[inline(always)]
    pub unsafe fn at(self, index: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index) }
    }
}

/// Zeroed working memory of a kernel, from the buffer cache.
pub struct Scratch<T> {
    block: NonNull<u8>,
    length: usize,
    kind: std::marker::PhantomData<T>,
}

impl<T: Real> Scratch<T> {
    /// `length` zeros.
    pub fn zeroed(length: usize) -> Result<Self> {
        let scratch = Scratch::unwritten(length)?;
        // SAFETY: the block has that many bytes, and zero bits are the number 0.
        unsafe { scratch.block.as_ptr().write_bytes(0, length * size_of::<T>()) };
        Ok(scratch)
    }

    /// Room for `length` numbers, to be written before they are read.
    pub fn unwritten(length: usize) -> Result<Self> {
        let bytes = length.checked_mul(size_of::<T>()).ok_or(Error::Memory(usize::MAX))?;
        let block = memory::allocate(bytes)?;
        Ok(Scratch { block, length, kind: std::marker::PhantomData })
    }

    /// The first element.
    pub fn pointer(&self) -> *mut T {
        self.block.as_ptr().cast()
    }
}

impl<T> Drop for Scratch<T> {
    fn drop(&mut self) {
        // SAFETY: the block came from `allocate` with this size, and is not used after this.
        unsafe { memory::release(self.block, self.length * size_of::<T>()) };
    }
}

/// Runs a block once per chunk of a range of columns: `at` is the chunk's first column, `length` its
/// number of columns, the constant `lanes` for all but the last.
macro_rules! chunks {
    ($lanes:expr, $columns:expr, |$at:ident, $length:ident| $body:block) => {{
        let chunk_end: usize = $columns;
        let mut $at: usize = 0;
        while $at + $lanes <= chunk_end {
            let $length: usize = $lanes;
            $body
            $at += $lanes;
        }
        if $at < chunk_end {
            let $length: usize = chunk_end - $at;
            $body
        }
    }};
}

/// Runs a block once per group of a range of rows: `row` is the group's first, `rows` how many it has.
macro_rules! groups {
    ($first:expr, $count:expr, |$row:ident, $rows:ident| $body:block) => {{
        let (first, end): (usize, usize) = ($first, $first + $count);
        for $row in (first..end).step_by($crate::cpu::lanes::GROUP) {
            let $rows = (end - $row).min($crate::cpu::lanes::GROUP);
            $body
        }
    }};
}

/// The `K` totals, as `[f64; K]`, of terms that a block adds to `K` arrays of lanes, chunk by chunk.
macro_rules! totals {
    ($real:ty, $lanes:expr, $terms:literal, $columns:expr, |$at:ident, $length:ident, $sums:ident| $body:block) => {{
        let columns: usize = $columns;
        let mut totals = [0.0f64; $terms];
        let mut block = 0;
        while block < columns {
            let block_columns = (columns - block).min($crate::cpu::rows::BLOCK);
            let mut $sums = [[<$real>::ZERO; $lanes]; $terms];
            $crate::cpu::rows::chunks!($lanes, block_columns, |inside, $length| {
                let $at = block + inside;
                $body
            });
            for term in 0..$terms {
                totals[term] += $crate::cpu::lanes::sum_lanes($sums[term]).to_f64();
            }
            block += block_columns;
        }
        totals
    }};
}

/// Evaluates an expression with the constant `lanes` that suits rows of `columns` elements: short rows
/// would waste most of a long chunk.
macro_rules! by_width {
    ($columns:expr, |$lanes:ident| $body:expr) => {{
        if $columns <= $crate::cpu::lanes::SHORT {
            const $lanes: usize = $crate::cpu::lanes::SHORT;
            $body
        } else {
            const $lanes: usize = $crate::cpu::lanes::LANES;
            $body
        }
    }};
}

pub(crate) use {by_width, chunks, groups, totals};

/// What the tests of row kernels share.
#[cfg(test)]
pub(crate) mod testing {
    use super::Real;
    use crate::cpu::isa::with_each_isa;

    /// `length` numbers in [-2, 2) around `offset`, the same for the same `seed`.
    pub fn numbers<T: Real>(length: usize, seed: u64, offset: f64) -> Vec<T> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                T::from_f64((state >> 11) as f64 / (1u64 << 51) as f64 - 2.0 + offset)
            })
            .collect()
    }

    /// The same numbers in double precision.
    pub fn wide<T: Real>(values: &[T]) -> Vec<f64> {
        values.iter().map(|value| value.to_f64()).collect()
    }

    /// Fails unless every element is within `tolerance` of the expected, relative to 1 or the expected.
    #[track_caller]
    pub fn assert_close<T: Real>(actual: &[T], expected: &[f64], tolerance: f64, what: &str) {
        assert_eq!(actual.len(), expected.len(), "{what}");
        for (i, (a, &e)) in actual.iter().zip(expected).enumerate() {
            let a = a.to_f64();
            let same = a == e || (a.is_nan() && e.is_nan());
            assert!(same || (a - e).abs() <= tolerance * e.abs().max(1.0), "{what} [{i}]: {a} instead of {e}");
        }
    }

    /// Fails unless `compute` gives the same bits with every instruction set and several thread counts.
    pub fn assert_reproducible<T: Real>(compute: impl Fn() -> Vec<T>) {
        let expected: Vec<u64> = compute().iter().map(|value| value.to_f64().to_bits()).collect();
        for threads in [1, 2, 5] {
            with_each_isa(threads, |set| {
                let actual: Vec<u64> = compute().iter().map(|value| value.to_f64().to_bits()).collect();
                assert_eq!(actual, expected, "{} with {threads} threads", set.name());
            });
        }
    }

    /// The derivative of `f` by element `index` of `x`, by central differences of fourth order: those of
    /// second order are too coarse for the sharp bends of a normalised row of two close numbers.
    pub fn slope(x: &[f64], index: usize, f: impl Fn(&[f64]) -> f64) -> f64 {
        let h = 1e-4;
        let at = |step: f64| {
            let mut x = x.to_vec();
            x[index] += step * h;
            f(&x)
        };
        (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * h)
    }

    /// Fails unless the gradient holds the derivatives of `f` at `x`, of which every `step`-th is compared.
    #[track_caller]
    pub fn assert_slopes(gradient: &[f64], x: &[f64], step: usize, what: &str, f: impl Fn(&[f64]) -> f64) {
        for i in (0..x.len()).step_by(step) {
            assert_close(&gradient[i..=i], &[slope(x, i, &f)], 1e-7, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::{LANES, Portable};
    use super::*;

    #[test]
    fn totals_of_long_rows_are_accurate() {
        let x = vec![0.1f32; 1_000_003];
        let [total] = totals!(f32, LANES, 1, x.len(), |at, length, sums| {
            // SAFETY: the chunk is inside `x`.
            let lanes: [f32; LANES] = unsafe { Portable::load_some(x.as_ptr().add(at), length, 0.0) };
            for i in 0..LANES {
                sums[0][i] += lanes[i];
            }
        });
        let error = (total / (f64::from(0.1f32) * 1_000_003.0) - 1.0).abs();
        // Equal terms round the same way in every lane: half an ULP for each of a lane's additions in a
        // block and of the folds, however long the row.
        let bound = (BLOCK / LANES + 6) as f64 * f64::from(f32::EPSILON) / 2.0;
        assert!(error < bound, "{error:e}");
    }
}
