//! A product with a sparse matrix along one axis: what resampling is, and its transpose.
//!
//! The array is (outer, input, inner). Where `inner` is long, a row of the result is a weighted sum of rows;
//! along the last axis it is a number at a time. Either way the terms of a result are added in the order in
//! which the matrix lists them.

use super::lanes::{Simd, load};
use super::real::Real;
use super::rows::{Input, Job, Output, by_width, chunks, rows_each, run};

/// The rows of a sparse matrix: row `r` has the terms `starts[r] .. starts[r + 1]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// Where the terms of each row begin, and the end of the last row's.
    pub starts: &'a [usize],
    /// The column of each term.
    pub columns: &'a [u32],
    /// The weight of each term.
    pub weights: &'a [T],
}

/// `y[o, r, i] = sum over terms of weight * x[o, column, i]`; 0 for a row without terms.
///
/// # Safety
/// `x` holds outer * input * inner elements, `y` outer * (rows of the matrix) * inner; they do not overlap.
/// Columns are below `input`, `starts` does not decrease and ends with the number of terms.
pub unsafe fn along_axis<T: Real>(
    x: *const T,
    y: *mut T,
    matrix: Rows<'_, T>,
    outer: usize,
    input: usize,
    inner: usize,
) {
    let rows = matrix.starts.len() - 1;
    let terms = matrix.columns.len() as f64;
    let (x, y) = (Input::new(x), Output::new(y));
    if inner == 1 {
        let job = Last { x, y, matrix, input };
        // SAFETY: the caller's promise.
        return unsafe { run(&job, outer, rows_each(rows.max(input)), 5.0 + terms) };
    }
    let each = rows_each(inner);
    let nanoseconds = 5.0 + 0.2 * inner as f64 * (1.0 + terms / rows.max(1) as f64);
    by_width!(inner, |N| {
        let job = Middle::<T, N> { x, y, matrix, input, inner };
        // SAFETY: the caller's promise.
        unsafe { run(&job, outer * rows, each, nanoseconds) }
    });
}

struct Last<'a, T> {
    x: Input<T>,
    y: Output<T>,
    matrix: Rows<'a, T>,
    input: usize,
}

impl<T: Real> Job for Last<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let Rows { starts, columns, weights } = self.matrix;
        let rows = starts.len() - 1;
        for line in first..first + count {
            // SAFETY: the line is inside both arrays; the matrix keeps its promises.
            unsafe {
                let (x, y) = (self.x.at(line * self.input), self.y.at(line * rows));
                for row in 0..rows {
                    let (start, end) = (*starts.get_unchecked(row), *starts.get_unchecked(row + 1));
                    let term =
                        |at: usize| *weights.get_unchecked(at) * x.add(*columns.get_unchecked(at) as usize).read();
                    let mut sum = if start < end { term(start) } else { T::ZERO };
                    for at in start + 1..end {
                        sum += term(at);
                    }
                    y.add(row).write(sum);
                }
            }
        }
    }
}

struct Middle<'a, T, const N: usize> {
    x: Input<T>,
    y: Output<T>,
    matrix: Rows<'a, T>,
    input: usize,
    inner: usize,
}

impl<T: Real, const N: usize> Job for Middle<'_, T, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let Rows { starts, columns, weights } = self.matrix;
        let (rows, inner) = (starts.len() - 1, self.inner);
        for line in first..first + count {
            let (block, row) = (line / rows, line % rows);
            let terms = starts[row]..starts[row + 1];
            // SAFETY: the rows are inside both arrays.
            unsafe {
                let (x, y) = (self.x.at(block * self.input * inner), self.y.at(line * inner));
                chunks!(N, inner, |at, length| {
                    let mut sum = [T::ZERO; N];
                    for term in terms.clone() {
                        let from = x.add(columns[term] as usize * inner + at);
                        let value: [T; N] = if length == N { load(from) } else { S::load_some(from, length, T::ZERO) };
                        let weight = weights[term];
                        if term == terms.start {
                            for i in 0..N {
                                sum[i] = weight * value[i];
                            }
                            continue;
                        }
                        for i in 0..N {
                            sum[i] += weight * value[i];
                        }
                    }
                    S::store_some(y.add(at), &sum, length);
                });
            }
        }
    }
}
