//! Inner products of contiguous rows: `C[i, j] = x_i . y_j` for few `x` and any number of `y`.
//!
//! Matrix times vector, and products of a few rows with a transposed matrix, where packing would cost as
//! much as the arithmetic. Sums run in vector lanes along k and are added in a fixed tree at the end, so
//! a result depends on its two rows only. Each `y` is read from memory once.

use super::vector::{Scalar, Vector};

/// Rows of `y` that meet all `x` while they are in cache; a multiple of what one step takes.
pub const BLOCK: usize = 16;

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
    /// Writes the results of row `i` of `x` with the rows of `y` from `j` on: `count` of the `W` sums.
    #[inline(always)]
    unsafe fn put<const W: usize>(&self, i: usize, j: usize, sums: *const T, count: usize) {
        let (row, column) = (i as isize, j as isize);
        let to = self.c.wrapping_offset(row * self.c_x + column * self.c_y);
        // SAFETY: the caller has `i < x_rows`, `j + count <= y_rows` and `W >= count` sums.
        unsafe {
            if count == W && self.c_y == 1 && !self.accumulate && self.bias.is_null() {
                std::ptr::copy_nonoverlapping(sums, to, W);
                return;
            }
            for t in 0..count {
                let to = to.wrapping_offset(t as isize * self.c_y);
                let mut value = *sums.add(t);
                if self.accumulate {
                    value = value + *to;
                }
                if !self.bias.is_null() {
                    let column = column + t as isize;
                    value = value + *self.bias.wrapping_offset(row * self.bias_x + column * self.bias_y);
                }
                *to = value;
            }
        }
    }
}

/// All products of a call, which has at most `M` rows of `x`; `N` rows of `y` meet them at once.
///
/// # Safety
/// The instruction set of `V` must be there and the operands of the call valid.
#[inline(always)]
pub unsafe fn products<V: Vector, const M: usize, const N: usize>(call: &Inner<V::Item>) {
    let passes = (V::LANES / (M * N)).max(1);
    let mut j = 0;
    while j < call.y_rows {
        let mut lanes = [V::Item::default(); 16];
        // SAFETY: rows beyond the last are replaced by it, and their results dropped.
        unsafe {
            let mut flat = [V::zero(); 16];
            for pass in 0..passes {
                let mut x = [call.x; M];
                for r in 0..M {
                    let row = r.min(call.x_rows - 1);
                    x[r] = call.x.wrapping_offset(row as isize * call.x_stride);
                }
                let mut y = [call.y; N];
                for r in 0..N {
                    let row = (j + pass * N + r).min(call.y_rows - 1);
                    y[r] = call.y.wrapping_offset(row as isize * call.y_stride);
                }
                let sums = sums::<V, M, N>(x, y, call.k);
                for r in 0..M * N {
                    flat[(r / N) * passes * N + pass * N + r % N] = sums[r / N][r % N];
                }
            }
            let mut group = 0;
            while group < passes * M * N {
                let mut square = [V::zero(); 16];
                square[..V::LANES].copy_from_slice(&flat[group..group + V::LANES]);
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
            let count = (call.y_rows - j).min(passes * N);
            for r in 0..M.min(call.x_rows) {
                let sums = lanes.as_ptr().add(r * passes * N);
                match passes * N {
                    16 => call.put::<16>(r, j, sums, count),
                    8 => call.put::<8>(r, j, sums, count),
                    4 => call.put::<4>(r, j, sums, count),
                    _ => call.put::<2>(r, j, sums, count),
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
