//! Inner products of contiguous rows: `C[i, j] = x_i . y_j` for few `x` and any number of `y`.
//!
//! Matrix times vector, and products of a few rows with a transposed matrix, where packing would cost as
//! much as the arithmetic. Sums run in vector lanes along k and are added in a fixed tree at the end, so
//! a result depends on its two rows only. Each `y` is read from memory once.

use super::vector::{Scalar, Vector};

/// Rows of `y` that meet all `x` while they are in cache; a multiple of what a pass takes.
const BLOCK: usize = 16;

/// One set of inner products; strides in elements.
pub struct Inner<T> {
    /// The number of rows of `x`, at least 1.
    pub x_rows: usize,
    /// The number of rows of `y`, at least 1.
    pub y_rows: usize,
    /// Terms of each sum.
    pub k: usize,
    /// First row, contiguous.
    pub x: *const T,
    /// From a row to the next.
    pub x_stride: isize,
    /// First row, contiguous.
    pub y: *const T,
    /// From a row to the next.
    pub y_stride: isize,
    /// First result.
    pub c: *mut T,
    /// From the result of a row of `x` to that of the next.
    pub c_x: isize,
    /// From the result of a row of `y` to that of the next.
    pub c_y: isize,
    /// Whether the products are added to what the results hold.
    pub accumulate: bool,
    /// Added to the results; null for none.
    pub bias: *const T,
    /// From the bias of a row of `x` to that of the next.
    pub bias_x: isize,
    /// From the bias of a row of `y` to that of the next.
    pub bias_y: isize,
}

// SAFETY: tasks only read through a call, and write disjoint results.
unsafe impl<T: Sync> Sync for Inner<T> {}

impl<T: Scalar> Inner<T> {
    /// Writes the result of rows `i` and `j`.
    #[inline(always)]
    unsafe fn put(&self, i: usize, j: usize, sum: T) {
        let (i, j) = (i as isize, j as isize);
        // SAFETY: the caller has `i < x_rows` and `j < y_rows`.
        unsafe {
            let to = self.c.wrapping_offset(i * self.c_x + j * self.c_y);
            let mut value = sum;
            if self.accumulate {
                value = value + *to;
            }
            if !self.bias.is_null() {
                value = value + *self.bias.wrapping_offset(i * self.bias_x + j * self.bias_y);
            }
            *to = value;
        }
    }
}

/// All products of a call; `N` rows of `y` meet four of `x` at once.
///
/// # Safety
/// The instruction set of `V` must be there and the operands of the call valid.
#[inline(always)]
pub unsafe fn products<V: Vector, const N: usize>(call: &Inner<V::Item>) {
    for first in (0..call.y_rows).step_by(BLOCK) {
        let last = (first + BLOCK).min(call.y_rows);
        let mut i = 0;
        while i < call.x_rows {
            // SAFETY: rows below `x_rows` and `y_rows`.
            unsafe {
                match call.x_rows - i {
                    1 => some::<V, 1, 8>(call, i, first, last),
                    2 => some::<V, 2, 4>(call, i, first, last),
                    _ => some::<V, 4, N>(call, i, first, last),
                }
            }
            i += 4;
        }
    }
}

/// The products of `M` rows of `x` from `i` on (fewer at the end) with the rows `first .. last` of `y`.
#[inline(always)]
unsafe fn some<V: Vector, const M: usize, const N: usize>(
    call: &Inner<V::Item>,
    i: usize,
    first: usize,
    last: usize,
) {
    let passes = (V::LANES / (M * N)).max(1);
    let mut j = first;
    while j < last {
        let mut lanes = [V::Item::default(); 16];
        // SAFETY: rows beyond the last are replaced by it, and their results dropped.
        unsafe {
            let mut flat = [V::zero(); 16];
            for pass in 0..passes {
                let mut x = [call.x; M];
                for r in 0..M {
                    let row = (i + r).min(call.x_rows - 1);
                    x[r] = call.x.wrapping_offset(row as isize * call.x_stride);
                }
                let mut y = [call.y; N];
                for r in 0..N {
                    let row = (j + pass * N + r).min(call.y_rows - 1);
                    y[r] = call.y.wrapping_offset(row as isize * call.y_stride);
                }
                let sums = sums::<V, M, N>(x, y, call.k);
                for r in 0..M * N {
                    flat[pass * M * N + r] = sums[r % M][r / M];
                }
            }
            let mut group = 0;
            while group < passes * M * N {
                let mut square = [V::zero(); 16];
                for l in 0..V::LANES {
                    square[l] = flat[group + l];
                }
                V::transpose(&mut square);
                let mut width = V::LANES;
                while width > 1 {
                    width /= 2;
                    for l in 0..width {
                        square[l] = square[l].add(square[l + width]);
                    }
                }
                square[0].store(lanes.as_mut_ptr().add(group));
                group += V::LANES;
            }
            for (at, &sum) in lanes.iter().enumerate().take(passes * M * N) {
                let (row, column) = (i + at % M, j + at / M);
                if row < call.x_rows && column < last {
                    call.put(row, column, sum);
                }
            }
        }
        j += passes * N;
    }
}

/// Unreduced inner products of `k` terms.
#[inline(always)]
unsafe fn sums<V: Vector, const M: usize, const N: usize>(
    x: [*const V::Item; M],
    y: [*const V::Item; N],
    k: usize,
) -> [[V; N]; M] {
    // SAFETY: each row has `k` elements.
    unsafe {
        let mut sums = [[V::zero(); N]; M];
        let mut p = 0;
        while p + V::LANES <= k {
            let mut left = [V::zero(); M];
            for r in 0..M {
                left[r] = V::load(x[r].add(p));
            }
            for s in 0..N {
                let right = V::load(y[s].add(p));
                for r in 0..M {
                    sums[r][s] = left[r].multiply_add(right, sums[r][s]);
                }
            }
            p += V::LANES;
        }
        if p < k {
            let mask = V::mask(k - p);
            let mut left = [V::zero(); M];
            for r in 0..M {
                left[r] = V::load_masked(x[r].add(p), mask);
            }
            for s in 0..N {
                let right = V::load_masked(y[s].add(p), mask);
                for r in 0..M {
                    sums[r][s] = left[r].multiply_add(right, sums[r][s]);
                }
            }
        }
        sums
    }
}
