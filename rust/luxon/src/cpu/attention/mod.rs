//! Attention without the (time, time) matrix: blocks of queries meet blocks of keys one after the other.
//!
//! Forward keeps, for each query, the largest score so far, the sum of exponentials and the weighted sum of
//! values, and rescales the latter two when the maximum grows (Milakov and Gimelshein 2018; Dao et al. 2022).
//! Backward computes the scores again, and the weights from them by the saved logarithm of the sum. Keys
//! (and, backward, values) are transposed once, block by block, so that every product reads its operands in
//! place. With a causal mask, blocks and columns above the diagonal are left out of all products.
//!
//! Work is cut by the sizes alone: forward by blocks of queries, backward by blocks of keys, as the
//! gradients of keys and values are sums over queries. Where there are few heads and many keys, parts of the
//! keys have a sum each for the gradient of the queries, which are added in order.

mod backward;
mod block;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::gemm::vector::prefetch;
use super::gemm::{Element, Gemm, gemm};
use super::real::Real;
use super::rows::{Output, Scratch, run};
use crate::error::{Error, Result};
use crate::runtime::{interrupt, threads};
pub use backward::{Backward, backward};
use block::{Finish, Scale, Scores};

/// Queries of a block.
const QUERIES: usize = 32;
/// Keys of a block.
const KEYS: usize = 128;
/// Blocks of queries of a task.
const BLOCKS: usize = 8;

/// Sizes, and what is masked.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Examples.
    pub batch: usize,
    /// Heads of the queries, a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values; `heads / kv_heads` neighbouring heads of queries share one.
    pub kv_heads: usize,
    /// Queries.
    pub queries: usize,
    /// Keys and values.
    pub keys: usize,
    /// Numbers of a query and of a key.
    pub dim: usize,
    /// Numbers of a value.
    pub value_dim: usize,
    /// Whether query i meets keys 0 to i only.
    pub causal: bool,
    /// What the products of queries and keys are multiplied by.
    pub scale: f64,
}

/// An array (batch, head, row, column) in memory; strides in elements, 0 where it repeats.
#[derive(Clone, Copy, Debug)]
pub struct Array<P> {
    /// The first element.
    pub first: P,
    /// From an example to the next.
    pub batch: isize,
    /// From a head to the next.
    pub head: isize,
    /// From a row to the next.
    pub row: isize,
    /// From a column to the next; 1 for all but masks and biases.
    pub column: isize,
}

// SAFETY: plain addresses; tasks write disjoint parts.
unsafe impl<P> Sync for Array<P> {}
// SAFETY: as above.
unsafe impl<P> Send for Array<P> {}

impl<P> Array<P> {
    fn offset(&self, batch: usize, head: usize, row: usize) -> isize {
        batch as isize * self.batch + head as isize * self.head + row as isize * self.row
    }
}

impl<T> Array<*const T> {
    /// The address of a row.
    fn at(&self, batch: usize, head: usize, row: usize) -> *const T {
        self.first.wrapping_offset(self.offset(batch, head, row))
    }
}

impl<T> Array<*mut T> {
    /// The address of a row.
    fn at(&self, batch: usize, head: usize, row: usize) -> *mut T {
        self.first.wrapping_offset(self.offset(batch, head, row))
    }
}

/// What queries, keys and values are, and what is done to the scores.
#[derive(Clone, Copy)]
pub struct Operands<T> {
    /// Queries, (queries, dim) each.
    pub q: Array<*const T>,
    /// Keys, (keys, dim) each.
    pub k: Array<*const T>,
    /// Values, (keys, value_dim) each.
    pub v: Array<*const T>,
    /// A byte per score, 0 where a query does not meet a key; null for none.
    pub mask: Array<*const u8>,
    /// Added to the scores; null for none.
    pub bias: Array<*const T>,
}

impl Sizes {
    fn key_blocks(&self) -> usize {
        self.keys.div_ceil(KEYS)
    }

    /// Columns of the block of keys from `first` on that any of the queries up to `last` meets.
    fn columns(&self, first: usize, last: usize) -> usize {
        let all = KEYS.min(self.keys - first);
        if self.causal { all.min((last + 1).saturating_sub(first)) } else { all }
    }

    /// A guess of the time of a pass that multiplies every query with every key `products` times.
    fn nanoseconds<T>(&self, queries: usize, products: f64) -> f64 {
        let pairs = (queries * self.keys) as f64 * if self.causal { 0.6 } else { 1.0 };
        pairs * (products * (self.dim + self.value_dim) as f64 / 80.0 + 0.5) * size_of::<T>() as f64 / 4.0
    }
}

/// The product of an (m, k) and a (k, n) matrix; strides from row to row, and of the first from column to column.
struct Product<T> {
    sizes: (usize, usize, usize),
    a: (*const T, isize, isize),
    b: (*const T, isize),
    c: (*mut T, isize),
    accumulate: bool,
}

impl<T: Element> Product<T> {
    /// # Safety
    /// As for [`gemm`].
    unsafe fn run(self) {
        let (m, n, k) = self.sizes;
        let problem = Gemm {
            m,
            n,
            k,
            a: self.a.0,
            a_row: self.a.1,
            a_column: self.a.2,
            b: self.b.0,
            b_row: self.b.1,
            b_column: 1,
            c: self.c.0,
            c_row: self.c.1,
            accumulate: self.accumulate,
            bias: std::ptr::null(),
        };
        // SAFETY: the caller's promise.
        unsafe { gemm(&problem, None) }
    }
}

/// The transposes of blocks of keys (or values) of all examples and heads, (dim, KEYS) each.
struct Turned<T> {
    memory: Scratch<T>,
    heads: usize,
    blocks: usize,
    dim: usize,
}

// SAFETY: shared by tasks for reading once it is filled.
unsafe impl<T> Sync for Turned<T> {}

impl<T: Real> Turned<T> {
    /// # Safety
    /// The array has the sizes that `sizes` says, rows of `dim` numbers.
    unsafe fn new(sizes: &Sizes, of: Array<*const T>, dim: usize) -> Result<Turned<T>> {
        let (heads, blocks) = (sizes.kv_heads, sizes.key_blocks());
        let each = KEYS.checked_mul(dim).ok_or(Error::Memory(usize::MAX))?;
        let count = each.checked_mul(sizes.batch * heads * blocks).ok_or(Error::Memory(usize::MAX))?;
        // Columns without a key are never read.
        let memory = Scratch::<T>::unwritten(count)?;
        let turned = Turned { memory, heads, blocks, dim };
        let tasks = sizes.batch * heads * blocks;
        threads::parallel(tasks, 0.5 * (tasks * each) as f64, &|task| {
            let (pair, block) = (task / blocks, task % blocks);
            let (batch, head) = (pair / heads, pair % heads);
            let from = of.at(batch, head, block * KEYS);
            let rows = KEYS.min(sizes.keys - block * KEYS);
            let to = turned.at(batch, head, block).cast_mut();
            // SAFETY: rows of the array, and a block of its own.
            unsafe {
                let strides = [1, of.row];
                super::copy::copy(size_of::<T>(), &[dim, rows], from.cast(), &strides, to.cast(), &[KEYS as isize, 1]);
            }
        });
        Ok(turned)
    }

    fn at(&self, batch: usize, head: usize, block: usize) -> *const T {
        let index = (batch * self.heads + head) * self.blocks + block;
        self.memory.pointer().wrapping_add(index * KEYS * self.dim).cast_const()
    }
}

impl<T> Array<*const T> {
    /// Asks for the rows of a block of queries, so that they arrive while the block before it is worked on: they are
    /// short and far apart, which the hardware does not foresee.
    fn fetch(&self, (batch, head): (usize, usize), rows: Range<usize>, columns: usize) {
        for row in rows {
            let row = self.at(batch, head, row);
            for column in (0..columns).step_by(64 / size_of::<T>()) {
                prefetch(row.wrapping_add(column));
            }
        }
    }
}

/// Memory of one task, cut into parts; notes where there is none.
struct Parts<T> {
    memory: Scratch<T>,
    used: usize,
}

impl<T: Real> Parts<T> {
    fn new(count: usize, failed: &AtomicBool) -> Option<Parts<T>> {
        let memory = Scratch::zeroed(count);
        if memory.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
        Some(Parts { memory: memory.ok()?, used: 0 })
    }

    fn take(&mut self, count: usize) -> *mut T {
        let part = self.memory.pointer().wrapping_add(self.used);
        self.used += count;
        part
    }
}

/// The weighted sums of values, and for each query the logarithm of the sum of exponentials of its scores:
/// plus infinity where it meets no key, and its result is zeros.
///
/// # Safety
/// The arrays have the sizes that `sizes` says; `y` is (queries, value_dim) each, `logsums` null or
/// (batch, heads, queries); they do not overlap anything.
pub unsafe fn forward<T: Real + Element>(
    sizes: &Sizes,
    operands: &Operands<T>,
    y: Array<*mut T>,
    logsums: *mut T,
) -> Result<()> {
    let Sizes { heads, queries, dim, value_dim, .. } = *sizes;
    // SAFETY: the caller's promise.
    let turned = unsafe { Turned::new(sizes, operands.k, dim)? };
    let stretch = QUERIES * BLOCKS;
    let stretches = queries.div_ceil(stretch);
    let tasks = sizes.batch * heads * stretches;
    let (logsums, failed) = (Output::new(logsums), AtomicBool::new(false));
    let task = |task: usize| {
        let (pair, part) = (task / stretches, task % stretches);
        let (batch, head) = (pair / heads, pair % heads);
        let kv_head = head / (heads / sizes.kv_heads);
        let Some(mut memory) = Parts::new(QUERIES * (dim + KEYS + value_dim + 2), &failed) else { return };
        let (query, scores) = (memory.take(QUERIES * dim), memory.take(QUERIES * KEYS));
        let (sums, maxima, totals) = (memory.take(QUERIES * value_dim), memory.take(QUERIES), memory.take(QUERIES));
        let end = queries.min((part + 1) * stretch);
        for first in (part * stretch..end).step_by(QUERIES) {
            let count = QUERIES.min(end - first);
            operands.q.fetch((batch, head), first + count..end.min(first + count + QUERIES), dim);
            // SAFETY: rows and columns inside the arrays, and memory of this task's own.
            unsafe {
                let q = (operands.q.at(batch, head, first), operands.q.row);
                let scale = Scale {
                    from: q.0,
                    from_row: q.1,
                    to: query,
                    to_row: dim as isize,
                    columns: dim,
                    by: T::from_f64(sizes.scale),
                };
                run(&scale, count, count, 1.0);
                for i in 0..count {
                    *maxima.add(i) = T::NEGATIVE_INFINITY;
                    *totals.add(i) = T::ZERO;
                }
                let mut met = false;
                for block in 0..sizes.key_blocks() {
                    let key = block * KEYS;
                    let columns = sizes.columns(key, first + count - 1);
                    if columns == 0 || interrupt::pending() {
                        break;
                    }
                    Product {
                        sizes: (count, columns, dim),
                        a: (query, dim as isize, 1),
                        b: (turned.at(batch, kv_head, block), KEYS as isize),
                        c: (scores, KEYS as isize),
                        accumulate: false,
                    }
                    .run();
                    let job = Scores {
                        sizes: *sizes,
                        operands: *operands,
                        place: (batch, head, first, key),
                        columns,
                        scores,
                        maxima,
                        totals,
                        sums: if met { sums } else { std::ptr::null_mut() },
                    };
                    run(&job, count, count, 1.0);
                    Product {
                        sizes: (count, value_dim, columns),
                        a: (scores, KEYS as isize, 1),
                        b: (operands.v.at(batch, kv_head, key), operands.v.row),
                        c: (sums, value_dim as isize),
                        accumulate: met,
                    }
                    .run();
                    met = true;
                }
                let logsums = if logsums.is_some() { logsums.at(pair * queries + first) } else { std::ptr::null_mut() };
                let job = Finish {
                    sums: if met { sums } else { std::ptr::null_mut() },
                    maxima,
                    totals,
                    columns: value_dim,
                    y: y.at(batch, head, first),
                    y_row: y.row,
                    logsums,
                };
                run(&job, count, count, 1.0);
            }
        }
    };
    threads::parallel(tasks, sizes.nanoseconds::<T>(sizes.batch * heads * queries, 1.0), &task);
    if failed.into_inner() { Err(Error::Memory(QUERIES * (dim + KEYS + value_dim) * size_of::<T>())) } else { Ok(()) }
}
