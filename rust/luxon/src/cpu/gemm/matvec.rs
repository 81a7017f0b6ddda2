//! Products that the register tiles are wrong for: vectors, few rows against a transposed matrix, k = 1.
//!
//! A row of C (m = 1) and a column of C (n = 1) are the same problem with the matrix transposed. Where
//! the matrix is contiguous along k each result is an inner product (`inner`); where it is contiguous
//! along the results, scaled columns are added (`columns`). A few rows against a matrix that is contiguous
//! along k are inner products too. Which kernel runs depends on shape and strides only.

use std::ops::Range;

use super::columns::{Columns, STREAMS, Scaled};
use super::inner::{BLOCK, Inner};
use super::tile::Set;
use super::{Element, Finish, Gemm};
use crate::cpu::cast::Shared;
use crate::runtime::threads;

/// Up to so many rows of A are multiplied with a transposed B by inner products.
const FEW_ROWS: usize = 64;
/// Up to so many columns of B are multiplied with a row-major A by inner products.
const FEW_COLUMNS: usize = 12;
/// Inner products are worth their final sums from so many terms on,
const TERMS: usize = 48;
/// and so many per row of the smaller operand, because packing the other one pays for those, too.
const TERMS_PER_ROW: usize = 8;
/// The rows that are read again and again must stay in the second-level cache (elements).
const KEPT: usize = 1 << 17;

/// Up to so much serial work (ns) each thread gets one task: the same rows each time, which its cache may have.
const SHORT: f64 = 100_000.0;
/// What a task is worth at least.
const SHORTEST_TASK: f64 = 2000.0;

/// Matrices of so many bytes are cut across the terms of their sums,
const CUT_ACROSS: usize = 32 << 10;
/// into parts of about so many bytes,
const PART: usize = 64 << 10;
/// so many of them at most,
const MOST_PARTS: usize = 16;
/// where no more results than this have to be added up.
const MOST_SUMS: usize = 1024;

/// Results per task when a product is shared between threads.
fn cut(results: usize, nanoseconds: f64) -> usize {
    let interruptible = (nanoseconds / 20e6).ceil() as usize;
    let shared = match threads::worth_splitting(nanoseconds) {
        true if nanoseconds < SHORT => threads::threads().min((nanoseconds / SHORTEST_TASK) as usize),
        true => 2 * threads::threads(),
        false => 1,
    };
    results.div_ceil(shared.max(interruptible).max(1)).next_multiple_of(16)
}

/// A matrix whose rows are contiguous: some of an operand's, or copies of them.
struct Rows<T> {
    start: *const T,
    stride: isize,
    /// Keeps copies alive.
    _copy: Vec<T>,
}

impl<T: Element> Rows<T> {
    /// `count` rows of `k` elements, copied unless they are contiguous already.
    unsafe fn new(start: *const T, count: usize, k: usize, stride: isize, along_k: isize) -> Rows<T> {
        if along_k == 1 || k == 1 {
            return Rows { start, stride, _copy: Vec::new() };
        }
        let mut copy = Vec::with_capacity(count * k);
        for row in 0..count as isize {
            let start = start.wrapping_offset(row * stride);
            // SAFETY: element `p` of an existing row.
            copy.extend((0..k as isize).map(|p| unsafe { *start.wrapping_offset(p * along_k) }));
        }
        Rows { start: copy.as_ptr(), stride: k as isize, _copy: copy }
    }
}

/// A product that is better not cut into tiles; false, having done nothing, for all others.
///
/// # Safety
/// As for [`super::gemm`], with m, n, k > 0.
pub unsafe fn thin<T: Element>(set: &Set<T>, p: &Gemm<T>, finish: Finish<'_>) -> bool {
    let (row, column) = (p.m == 1, p.n == 1);
    // SAFETY: passed on.
    unsafe {
        if row && p.n > 1 && p.b_column == 1 {
            let x = Rows::new(p.a, 1, p.k, 0, p.a_column);
            let call = Columns {
                rows: p.n,
                k: p.k,
                matrix: p.b,
                stride: p.b_row,
                x: x.start,
                y: p.c,
                y_stride: 1,
                accumulate: p.accumulate,
                bias: p.bias,
                bias_stride: 1,
            };
            columns(set, &call, &|results| finish.into_iter().for_each(|f| f(0..1, results.clone())));
            return true;
        }
        if column && p.m > 1 && p.a_row == 1 {
            let x = Rows::new(p.b, 1, p.k, 0, p.b_row);
            let call = Columns {
                rows: p.m,
                k: p.k,
                matrix: p.a,
                stride: p.a_column,
                x: x.start,
                y: p.c,
                y_stride: p.c_row,
                accumulate: p.accumulate,
                bias: p.bias,
                bias_stride: 0,
            };
            columns(set, &call, &|results| finish.into_iter().for_each(|f| f(results.clone(), 0..1)));
            return true;
        }
        let long = |rows: usize| p.k >= TERMS.max(TERMS_PER_ROW * rows) && p.k * rows <= KEPT;
        let few_rows = row || (p.m <= FEW_ROWS && p.b_column != 1 && long(p.m));
        if few_rows && (p.b_row == 1 || p.k == 1) {
            let x = Rows::new(p.a, p.m, p.k, p.a_row, p.a_column);
            let call = Inner {
                x_rows: p.m,
                y_rows: p.n,
                k: p.k,
                x: x.start,
                x_stride: x.stride,
                y: p.b,
                y_stride: p.b_column,
                c: p.c,
                c_x: p.c_row,
                c_y: 1,
                accumulate: p.accumulate,
                bias: p.bias,
                bias_x: 0,
                bias_y: 1,
            };
            inner(set, &call, &|ys| finish.into_iter().for_each(|f| f(0..p.m, ys.clone())));
            return true;
        }
        let few_columns = column || (p.n <= FEW_COLUMNS && long(p.n));
        if few_columns && (p.a_column == 1 || p.k == 1) {
            let x = Rows::new(p.b, p.n, p.k, p.b_column, p.b_row);
            let call = Inner {
                x_rows: p.n,
                y_rows: p.m,
                k: p.k,
                x: x.start,
                x_stride: x.stride,
                y: p.a,
                y_stride: p.a_row,
                c: p.c,
                c_x: 1,
                c_y: p.c_row,
                accumulate: p.accumulate,
                bias: p.bias,
                bias_x: 1,
                bias_y: 0,
            };
            inner(set, &call, &|ys| finish.into_iter().for_each(|f| f(ys.clone(), 0..p.n)));
            return true;
        }
    }
    false
}

/// Nanoseconds for reading a matrix from memory, at about 16 GB/s.
fn reading<T>(rows: usize, k: usize) -> f64 {
    rows as f64 * k as f64 * size_of::<T>() as f64 / 16.0
}

/// What to do with results that are done.
type Done<'a> = &'a (dyn Fn(&Range<usize>) + Sync);

unsafe fn columns<T: Element>(set: &Set<T>, call: &Columns<T>, done: Done<'_>) {
    let bytes = call.rows * call.k * size_of::<T>();
    // SAFETY: passed on.
    unsafe {
        if bytes >= CUT_ACROSS && call.rows <= MOST_SUMS && call.k >= 2 * STREAMS {
            by_terms(set, call, (bytes / PART).clamp(2, MOST_PARTS));
            done(&(0..call.rows));
        } else {
            by_results(set, call, done);
        }
    }
}

/// Each task has some of the results.
unsafe fn by_results<T: Element>(set: &Set<T>, call: &Columns<T>, done: Done<'_>) {
    let nanoseconds = reading::<T>(call.rows, call.k);
    let size = cut(call.rows, nanoseconds);
    threads::parallel(call.rows.div_ceil(size), nanoseconds, &|task| {
        let results = task * size..(task * size + size).min(call.rows);
        let shift = results.start as isize;
        let part = Columns {
            rows: results.len(),
            matrix: call.matrix.wrapping_offset(shift),
            y: call.y.wrapping_offset(shift * call.y_stride),
            bias: shifted(call.bias, shift * call.bias_stride),
            ..*call
        };
        // SAFETY: tasks own disjoint results; the rest is the caller's promise.
        unsafe { (set.columns)(&part) };
        done(&results);
    });
}

/// Each task has some of the terms, which are whole columns: those that the same core meets in an inner product
/// with this matrix, in its gradient and in its update. Cut by results, the matrix would be read by all cores, and
/// to write to a line that another core has read since costs twice what Adam's arithmetic on it takes. The cuts
/// follow from the shape, so that the bits do not depend on threads.
unsafe fn by_terms<T: Element>(set: &Set<T>, call: &Columns<T>, parts: usize) {
    let terms = call.k.div_ceil(parts).next_multiple_of(STREAMS);
    let parts = call.k.div_ceil(terms);
    let mut sums = vec![T::default(); parts * call.rows];
    let start = Shared::new(sums.as_mut_ptr());
    threads::parallel(parts, reading::<T>(call.rows, call.k), &|task| {
        let first = task * terms;
        let part = Columns {
            k: terms.min(call.k - first),
            matrix: call.matrix.wrapping_offset(first as isize * call.stride),
            x: call.x.wrapping_add(first),
            y: start.get().wrapping_add(task * call.rows),
            y_stride: 1,
            accumulate: false,
            bias: std::ptr::null(),
            ..*call
        };
        // SAFETY: tasks have a row of sums each; the rest is the caller's promise.
        unsafe { (set.columns)(&part) };
    });
    for result in 0..call.rows {
        let sum = (1..parts).fold(sums[result], |sum, part| sum + sums[part * call.rows + result]);
        // SAFETY: the caller's promise.
        unsafe { call.put(result, sum) };
    }
}

unsafe fn inner<T: Element>(set: &Set<T>, call: &Inner<T>, done: Done<'_>) {
    let nanoseconds = reading::<T>(call.y_rows, call.k) * (call.x_rows as f64 / 4.0).max(1.0);
    let size = cut(call.y_rows, nanoseconds);
    threads::parallel(call.y_rows.div_ceil(size), nanoseconds, &|task| {
        let results = task * size..(task * size + size).min(call.y_rows);
        let shift = results.start as isize;
        let part = Inner {
            y_rows: results.len(),
            y: call.y.wrapping_offset(shift * call.y_stride),
            c: call.c.wrapping_offset(shift * call.c_y),
            bias: shifted(call.bias, shift * call.bias_y),
            ..*call
        };
        // SAFETY: tasks own disjoint results; the rest is the caller's promise.
        unsafe { blocks(set, &part) };
        done(&results);
    });
}

/// All inner products of a call: blocks of `y` that stay in cache meet all `x`, four at a time.
unsafe fn blocks<T: Element>(set: &Set<T>, call: &Inner<T>) {
    let block = if call.x_rows <= 4 { call.y_rows } else { BLOCK };
    for j in (0..call.y_rows).step_by(block) {
        for i in (0..call.x_rows).step_by(4) {
            let (row, column) = (i as isize, j as isize);
            let part = Inner {
                x_rows: (call.x_rows - i).min(4),
                y_rows: (call.y_rows - j).min(block),
                x: call.x.wrapping_offset(row * call.x_stride),
                y: call.y.wrapping_offset(column * call.y_stride),
                c: call.c.wrapping_offset(row * call.c_x + column * call.c_y),
                bias: shifted(call.bias, row * call.bias_x + column * call.bias_y),
                ..*call
            };
            // SAFETY: rows of the call, at most as many as the kernel takes.
            unsafe { (set.inner[(part.x_rows - 1).min(2)])(&part) };
        }
    }
}

/// A pointer moved by some elements, null staying null.
fn shifted<T>(pointer: *const T, by: isize) -> *const T {
    if pointer.is_null() { pointer } else { pointer.wrapping_offset(by) }
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
        zeros = (0..p.n).map(|j| unsafe { *p.b.wrapping_offset(j as isize * p.b_column) }).collect();
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
                let factor = if p.k > 0 { *p.a.wrapping_offset(i as isize * p.a_row) } else { T::default() };
                (set.scaled)(&Scaled {
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
