//! Sums of scaled contiguous columns: matrix times vector where the results are contiguous in the matrix.
//!
//! Bound by memory, not by arithmetic: several columns are added in one pass over a block of results
//! that stays in the first-level cache, so the matrix is read once, in long runs. A result of a call is one
//! chain of multiply-adds in ascending k. The outer product is the other memory-bound extreme and lives here too.

use std::mem::MaybeUninit;

use super::vector::{Scalar, Vector};

/// Results per block: 8 KiB of f64.
const BLOCK: usize = 1024;
/// Columns that are added in one pass over the block.
pub const STREAMS: usize = 8;

/// `y[i] = sum_p x[p] matrix[i + p stride] (+ y[i]) (+ bias[i])`.
pub struct Columns<T> {
    /// The number of results.
    pub rows: usize,
    /// Terms of each sum.
    pub k: usize,
    /// First element of the matrix.
    pub matrix: *const T,
    /// From a column of the matrix to the next.
    pub stride: isize,
    /// The factors, contiguous.
    pub x: *const T,
    /// First result.
    pub y: *mut T,
    /// From a result to the next.
    pub y_stride: isize,
    /// Whether the products are added to what the results hold.
    pub accumulate: bool,
    /// Added to the results; null for none.
    pub bias: *const T,
    /// From the bias of a result to that of the next.
    pub bias_stride: isize,
}

// SAFETY: tasks only read through a call, and write disjoint results.
unsafe impl<T: Sync> Sync for Columns<T> {}

/// `c[j] = factor b[j] (+ c[j]) (+ bias[j])`, all contiguous.
pub struct Scaled<T> {
    /// The number of elements.
    pub columns: usize,
    /// What each element of `b` is multiplied by.
    pub factor: T,
    /// What is scaled.
    pub b: *const T,
    /// The results.
    pub c: *mut T,
    /// Whether to add to what `c` holds.
    pub accumulate: bool,
    /// Added to the results; null for none.
    pub bias: *const T,
}

impl<T: Scalar> Columns<T> {
    /// Writes result `i`.
    ///
    /// # Safety
    /// `i < rows`, and the results and biases are valid.
    #[inline(always)]
    pub unsafe fn put(&self, i: usize, sum: T) {
        // SAFETY: the caller has `i < rows`.
        unsafe {
            let to = self.y.wrapping_offset(i as isize * self.y_stride);
            let mut value = sum;
            if self.accumulate {
                value = value + *to;
            }
            if !self.bias.is_null() {
                value = value + *self.bias.wrapping_offset(i as isize * self.bias_stride);
            }
            *to = value;
        }
    }
}

/// Results as sums of scaled contiguous columns.
///
/// # Safety
/// The instruction set of `V` must be there and the operands of the call valid.
#[inline(always)]
pub unsafe fn sums<V: Vector>(call: &Columns<V::Item>) {
    let mut first = 0;
    while first < call.rows {
        let count = (call.rows - first).min(BLOCK);
        let mut block = [const { MaybeUninit::<V::Item>::uninit() }; BLOCK];
        // A single row of few columns would spend longer on clearing the whole block than on its sums.
        for sum in &mut block[..count] {
            sum.write(V::Item::default());
        }
        let sums = block.as_mut_ptr().cast::<V::Item>();
        // SAFETY: `count` results from `first` on exist, and so many sums are initialised and used.
        unsafe {
            let matrix = call.matrix.wrapping_add(first);
            let mut p = 0;
            while p + STREAMS <= call.k {
                add_columns::<V, STREAMS>(call, matrix, p, count, sums);
                p += STREAMS;
            }
            while p < call.k {
                add_columns::<V, 1>(call, matrix, p, count, sums);
                p += 1;
            }
            for i in 0..count {
                call.put(first + i, *sums.add(i));
            }
        }
        first += count;
    }
}

#[inline(always)]
unsafe fn add_columns<V: Vector, const S: usize>(
    call: &Columns<V::Item>,
    matrix: *const V::Item,
    p: usize,
    count: usize,
    sums: *mut V::Item,
) {
    // SAFETY: reads `count` elements of columns `p .. p + S`; `sums` has a whole block.
    unsafe {
        let mut from = [matrix; S];
        let mut factors = [V::zero(); S];
        for s in 0..S {
            from[s] = matrix.wrapping_offset((p + s) as isize * call.stride);
            factors[s] = V::splat(*call.x.add(p + s));
        }
        let mut i = 0;
        while i + 2 * V::LANES <= count {
            let (low, high) = (sums.add(i), sums.add(i + V::LANES));
            let (mut x, mut y) = (V::load(low), V::load(high));
            for s in 0..S {
                x = V::load(from[s].add(i)).multiply_add(factors[s], x);
                y = V::load(from[s].add(i + V::LANES)).multiply_add(factors[s], y);
            }
            x.store(low);
            y.store(high);
            i += 2 * V::LANES;
        }
        while i < count {
            let mask = V::mask(count - i);
            let mut x = V::load_masked(sums.add(i), mask);
            for s in 0..S {
                x = V::load_masked(from[s].add(i), mask).multiply_add(factors[s], x);
            }
            x.store_masked(sums.add(i), mask);
            i += V::LANES;
        }
    }
}

/// One row of an outer product.
///
/// # Safety
/// The instruction set of `V` must be there and the operands of the call valid.
#[inline(always)]
pub unsafe fn scaled<V: Vector>(row: &Scaled<V::Item>) {
    // SAFETY: all accesses are to elements below `row.columns`.
    unsafe {
        let factor = V::splat(row.factor);
        let mut j = 0;
        while j < row.columns {
            let mask = V::mask(row.columns - j);
            let whole = j + V::LANES <= row.columns;
            let load = |from: *const V::Item| {
                if whole { V::load(from.add(j)) } else { V::load_masked(from.add(j), mask) }
            };
            let mut value = load(row.b).multiply_add(factor, V::zero());
            if row.accumulate {
                value = value.add(load(row.c));
            }
            if !row.bias.is_null() {
                value = value.add(load(row.bias));
            }
            let to = row.c.add(j);
            if whole {
                value.store(to)
            } else {
                value.store_masked(to, mask)
            }
            j += V::LANES;
        }
    }
}
