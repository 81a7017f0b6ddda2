//! Products that are bound by memory, not by arithmetic: matrix times vector, and outer products.
//!
//! A row of C (m = 1) and a column of C (n = 1) are the same problem with the matrix transposed. Where
//! the matrix is contiguous along k each result is a dot product with several running sums; where it is
//! contiguous along the results, scaled columns are added to a block of results that stays in L1.
//! In both, the order of the sum for one result depends on k only, not on how the results are cut.

use super::tile::Set;
use super::vector::{Scalar, Vector};
use super::{Element, Finish, Gemm};
use crate::runtime::threads;

/// Results per block of [`columns`]: 8 KiB of f64.
const BLOCK: usize = 1024;
/// Columns that are added in one pass over the block.
const STREAMS: usize = 8;
/// Running sums of a dot product.
const SUMS: usize = 4;

/// `y[i] = sum_p matrix[i, p] x[p]`; strides in elements.
pub struct Call<T> {
    /// The number of results.
    pub rows: usize,
    /// Terms of each sum.
    pub k: usize,
    /// First element of the matrix.
    pub matrix: *const T,
    /// For [`dots`] from a row to the next, the columns having unit stride; for [`columns`] the reverse.
    pub stride: isize,
    /// The vector, contiguous.
    pub x: *const T,
    /// First result.
    pub y: *mut T,
    /// From a result to the next.
    pub y_stride: isize,
    /// Whether the products are added to what the results hold.
    pub accumulate: bool,
    /// Added to the results; null for none.
    pub bias: *const T,
    /// From the bias of a result to that of the next: 0 or 1.
    pub bias_stride: isize,
}

// SAFETY: tasks only read through a call, and write disjoint results.
unsafe impl<T: Sync> Sync for Call<T> {}

/// `c[j] = factor b[j] (+ c[j]) (+ bias[j])`.
pub struct Row<T> {
    /// The number of elements.
    pub columns: usize,
    /// What each element of `b` is multiplied by.
    pub factor: T,
    /// Contiguous.
    pub b: *const T,
    /// Contiguous.
    pub c: *mut T,
    /// Whether to add to what `c` holds.
    pub accumulate: bool,
    /// Contiguous; null for none.
    pub bias: *const T,
}

/// The type of [`dots`] for one instruction set.
pub type Dots<T> = unsafe fn(&Call<T>);
/// The type of [`columns`] for one instruction set.
pub type Columns<T> = unsafe fn(&Call<T>);
/// The type of [`scaled`] for one instruction set.
pub type Scaled<T> = unsafe fn(&Row<T>);

impl<T: Scalar> Call<T> {
    /// Writes result `i`.
    #[inline(always)]
    unsafe fn put(&self, i: usize, sum: T) {
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

/// Results as dot products of contiguous rows with `x`, `R` rows at a time.
///
/// # Safety
/// The instruction set of `V` must be there and the operands of the call valid.
#[inline(always)]
pub unsafe fn dots<V: Vector, const R: usize>(call: &Call<V::Item>) {
    let mut i = 0;
    // SAFETY: rows `i .. i + R` (then single rows) are below `call.rows`.
    unsafe {
        while i + R <= call.rows {
            some_dots::<V, R>(call, i);
            i += R;
        }
        while i < call.rows {
            some_dots::<V, 1>(call, i);
            i += 1;
        }
    }
}

#[inline(always)]
unsafe fn some_dots<V: Vector, const R: usize>(call: &Call<V::Item>, first: usize) {
    // SAFETY: reads `k` elements of `x` and of each of the rows.
    unsafe {
        let mut rows = [call.matrix; R];
        for r in 0..R {
            rows[r] = call
                .matrix
                .wrapping_offset((first + r) as isize * call.stride);
        }
        let mut sums = [[V::zero(); SUMS]; R];
        let mut p = 0;
        while p + SUMS * V::LANES <= call.k {
            for s in 0..SUMS {
                let at = p + s * V::LANES;
                let x = V::load(call.x.add(at));
                for r in 0..R {
                    sums[r][s] = V::load(rows[r].add(at)).multiply_add(x, sums[r][s]);
                }
            }
            p += SUMS * V::LANES;
        }
        while p < call.k {
            let mask = V::mask(call.k - p);
            let x = V::load_masked(call.x.add(p), mask);
            for r in 0..R {
                sums[r][0] = V::load_masked(rows[r].add(p), mask).multiply_add(x, sums[r][0]);
            }
            p += V::LANES;
        }
        for r in 0..R {
            let sum = sums[r][0].add(sums[r][1]).add(sums[r][2].add(sums[r][3]));
            let mut lanes = [V::Item::default(); 16];
            sum.store(lanes.as_mut_ptr());
            let mut width = V::LANES;
            while width > 1 {
                width /= 2;
                for l in 0..width {
                    lanes[l] = lanes[l] + lanes[l + width];
                }
            }
            call.put(first + r, lanes[0]);
        }
    }
}

/// Results as sums of scaled contiguous columns.
///
/// # Safety
/// The instruction set of `V` must be there and the operands of the call valid.
#[inline(always)]
pub unsafe fn columns<V: Vector>(call: &Call<V::Item>) {
    let mut first = 0;
    while first < call.rows {
        let count = (call.rows - first).min(BLOCK);
        let mut sums = [V::Item::default(); BLOCK];
        // SAFETY: `count` results from `first` on exist, and so many fit the block.
        unsafe {
            let matrix = call.matrix.wrapping_add(first);
            let mut p = 0;
            while p + STREAMS <= call.k {
                add_columns::<V, STREAMS>(call, matrix, p, count, sums.as_mut_ptr());
                p += STREAMS;
            }
            while p < call.k {
                add_columns::<V, 1>(call, matrix, p, count, sums.as_mut_ptr());
                p += 1;
            }
            for i in 0..count {
                call.put(first + i, sums[i]);
            }
        }
        first += count;
    }
}

#[inline(always)]
unsafe fn add_columns<V: Vector, const S: usize>(
    call: &Call<V::Item>,
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
pub unsafe fn scaled<V: Vector>(row: &Row<V::Item>) {
    // SAFETY: all accesses are to elements below `row.columns`.
    unsafe {
        let factor = V::splat(row.factor);
        let mut j = 0;
        while j < row.columns {
            let mask = V::mask(row.columns - j);
            let whole = j + V::LANES <= row.columns;
            let load = |from: *const V::Item| {
                if whole {
                    V::load(from.add(j))
                } else {
                    V::load_masked(from.add(j), mask)
                }
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

/// Results per task when a product is shared between threads.
fn cut(results: usize, nanoseconds: f64) -> usize {
    let interruptible = (nanoseconds / 20e6).ceil() as usize;
    let shared = match threads::worth_splitting(nanoseconds) {
        true => (2 * threads::threads()).min((nanoseconds / 1000.0) as usize),
        false => 1,
    };
    results
        .div_ceil(shared.max(interruptible).max(1))
        .next_multiple_of(16)
}

/// A product with m = 1 or n = 1; false, having done nothing, where no stride of the matrix is 1.
///
/// # Safety
/// As for [`super::gemm`], with k > 0.
pub unsafe fn vector<T: Element>(set: &Set<T>, p: &Gemm<T>, finish: Finish<'_>) -> bool {
    let row = p.m == 1;
    let (results, matrix, along_results, along_k) = if row {
        (p.n, p.b, p.b_column, p.b_row)
    } else {
        (p.m, p.a, p.a_row, p.a_column)
    };
    let (x, x_stride) = if row {
        (p.a, p.a_column)
    } else {
        (p.b, p.b_row)
    };
    let by_columns = along_results == 1 && results > 1;
    if !by_columns && along_k != 1 && p.k > 1 {
        return false;
    }
    let gathered: Vec<T>;
    let x = if x_stride == 1 || p.k == 1 {
        x
    } else {
        // SAFETY: the k elements of the vector.
        gathered = (0..p.k)
            .map(|q| unsafe { *x.wrapping_offset(q as isize * x_stride) })
            .collect();
        gathered.as_ptr()
    };
    let call = Call {
        rows: results,
        k: p.k,
        matrix,
        stride: if by_columns { along_k } else { along_results },
        x,
        y: p.c,
        y_stride: if row { 1 } else { p.c_row },
        accumulate: p.accumulate,
        bias: p.bias,
        bias_stride: isize::from(row),
    };
    // About 16 GB/s, where the matrix comes from.
    let nanoseconds = results as f64 * p.k as f64 * size_of::<T>() as f64 / 16.0;
    let size = cut(results, nanoseconds);
    let call = &call;
    threads::parallel(results.div_ceil(size), nanoseconds, &|task| {
        let first = task * size;
        let last = (first + size).min(results);
        let shift = first as isize;
        let part = Call {
            rows: last - first,
            matrix: call.matrix.wrapping_offset(shift * along_results),
            y: call.y.wrapping_offset(shift * call.y_stride),
            bias: if call.bias.is_null() {
                call.bias
            } else {
                call.bias.wrapping_offset(shift * call.bias_stride)
            },
            ..*call
        };
        // SAFETY: tasks own disjoint results; the rest is the caller's promise.
        unsafe {
            if by_columns {
                (set.columns)(&part)
            } else {
                (set.dots)(&part)
            }
        }
        if let Some(finish) = finish {
            if row {
                finish(0..1, first..last)
            } else {
                finish(first..last, 0..1)
            }
        }
    });
    true
}

/// A product with k = 1, or k = 0 (zeros, what C holds, or the bias).
///
/// # Safety
/// As for [`super::gemm`].
pub unsafe fn outer<T: Element>(set: &Set<T>, p: &Gemm<T>, finish: Finish<'_>) {
    let zeros: Vec<T>;
    let b = if p.k > 0 && p.b_column == 1 {
        p.b
    } else if p.k > 0 {
        // SAFETY: the n elements of the only row of B.
        zeros = (0..p.n)
            .map(|j| unsafe { *p.b.wrapping_offset(j as isize * p.b_column) })
            .collect();
        zeros.as_ptr()
    } else {
        zeros = vec![T::default(); p.n];
        zeros.as_ptr()
    };
    let b = Operand(b);
    let nanoseconds = p.m as f64 * p.n as f64 * size_of::<T>() as f64 / 8.0;
    let size = cut(p.m, nanoseconds);
    threads::parallel(p.m.div_ceil(size), nanoseconds, &|task| {
        let (first, last) = (task * size, (task * size + size).min(p.m));
        for i in first..last {
            // SAFETY: row `i` of A and C, and all of B and the bias.
            unsafe {
                let factor = if p.k > 0 {
                    *p.a.wrapping_offset(i as isize * p.a_row)
                } else {
                    T::default()
                };
                (set.scaled)(&Row {
                    columns: p.n,
                    factor,
                    b: b.start(),
                    c: p.c.wrapping_offset(i as isize * p.c_row),
                    accumulate: p.accumulate,
                    bias: p.bias,
                });
            }
        }
        if let Some(finish) = finish {
            finish(first..last, 0..p.n);
        }
    });
}

/// A pointer that tasks only read through.
struct Operand<T>(*const T);
// SAFETY: see the type.
unsafe impl<T: Sync> Sync for Operand<T> {}

impl<T> Operand<T> {
    fn start(&self) -> *const T {
        self.0
    }
}
