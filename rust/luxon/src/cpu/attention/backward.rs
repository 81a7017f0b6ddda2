//! The gradients of attention.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use super::super::gemm::Element;
use super::super::real::Real;
use super::super::rows::{Input, Output, Scratch, run};
use super::block::{Delta, Scale, Weights};
use super::{Array, KEYS, Operands, Parts, Product, QUERIES, Sizes, Turned};
use crate::error::{Error, Result};
use crate::runtime::{interrupt, threads};

/// From so many pairs of example and head on, keys are not cut.
const ENOUGH: usize = 16;
/// Blocks of keys of a part, at least.
const LEAST_BLOCKS: usize = 4;

/// Pointers of a backward pass.
pub struct Backward<T> {
    /// The result.
    pub y: Array<*const T>,
    /// Its cotangent.
    pub dy: Array<*const T>,
    /// The logarithms that came with it, (batch, heads, queries).
    pub logsums: *const T,
    /// The gradient of the queries.
    pub dq: Array<*mut T>,
    /// That of the keys.
    pub dk: Array<*mut T>,
    /// That of the values.
    pub dv: Array<*mut T>,
}

/// Parts of the keys, each with a sum of its own for the gradient of the queries.
fn parts(sizes: &Sizes) -> usize {
    let pairs = (sizes.batch * sizes.kv_heads).max(1);
    ENOUGH.div_ceil(pairs).min(sizes.key_blocks() / LEAST_BLOCKS).max(1)
}

/// One task: an example, a head of keys, and a part of its keys.
struct Task<'a, T> {
    sizes: &'a Sizes,
    operands: &'a Operands<T>,
    call: &'a Backward<T>,
    turned_keys: &'a Turned<T>,
    turned_values: &'a Turned<T>,
    batch: usize,
    kv_head: usize,
    blocks: Range<usize>,
    /// Where this part's gradient of the queries goes.
    dq: Array<*mut T>,
}

/// Memory of a task.
struct Memory<T> {
    query: *mut T,
    scores: *mut T,
    slopes: *mut T,
    dq: *mut T,
    deltas: *mut T,
}

impl<T: Real + Element> Task<'_, T> {
    /// # Safety
    /// The arrays have their sizes, and no other task has this part.
    unsafe fn run(&self, failed: &AtomicBool) {
        let Sizes { heads, kv_heads, queries, keys, dim, value_dim, .. } = *self.sizes;
        let Some(mut parts) = Parts::new(QUERIES * (2 * dim + 2 * KEYS + 1), failed) else { return };
        let memory = Memory {
            query: parts.take(QUERIES * dim),
            scores: parts.take(QUERIES * KEYS),
            slopes: parts.take(QUERIES * KEYS),
            dq: parts.take(QUERIES * dim),
            deltas: parts.take(QUERIES),
        };
        for key in self.blocks.start * KEYS..keys.min(self.blocks.end * KEYS) {
            // SAFETY: rows of this part.
            unsafe {
                std::slice::from_raw_parts_mut(self.call.dk.at(self.batch, self.kv_head, key), dim).fill(T::ZERO);
                std::slice::from_raw_parts_mut(self.call.dv.at(self.batch, self.kv_head, key), value_dim).fill(T::ZERO);
            }
        }
        let group = heads / kv_heads;
        for head in self.kv_head * group..(self.kv_head + 1) * group {
            for first in (0..queries).step_by(QUERIES) {
                if interrupt::pending() {
                    return;
                }
                // SAFETY: the caller's promise.
                unsafe { self.queries(&memory, head, first, QUERIES.min(queries - first)) }
            }
        }
    }

    /// What a block of queries adds to the gradients.
    unsafe fn queries(&self, memory: &Memory<T>, head: usize, first: usize, count: usize) {
        let Sizes { heads, queries, dim, value_dim, .. } = *self.sizes;
        let (batch, kv_head, operands) = (self.batch, self.kv_head, self.operands);
        let (dy, scale) = (self.call.dy.at(batch, head, first), T::from_f64(self.sizes.scale));
        let (dim_row, keys_row, dy_row) = (dim as isize, KEYS as isize, self.call.dy.row);
        let logsums = self.call.logsums.wrapping_add((batch * heads + head) * queries + first);
        let mut met = false;
        // SAFETY: the caller's promise: rows and columns inside the arrays.
        unsafe {
            for block in self.blocks.clone() {
                let key = block * KEYS;
                let columns = self.sizes.columns(key, first + count - 1);
                if columns == 0 {
                    break;
                }
                if !met {
                    let next = first + count..queries.min(first + count + QUERIES);
                    for (array, columns) in [(operands.q, dim), (self.call.y, value_dim), (self.call.dy, value_dim)] {
                        array.fetch((batch, head), next.clone(), columns);
                    }
                    let from = operands.q.at(batch, head, first);
                    let (from_row, to_row) = (operands.q.row, dim_row);
                    run(
                        &Scale { from, from_row, to: memory.query, to_row, columns: dim, by: scale },
                        count,
                        count,
                        1.0,
                    );
                    let (a, a_row) = (self.call.y.at(batch, head, first), self.call.y.row);
                    let delta = Delta { a, a_row, b: dy, b_row: dy_row, columns: value_dim, to: memory.deltas };
                    run(&delta, count, count, 1.0);
                }
                Product {
                    sizes: (count, columns, dim),
                    a: (memory.query, dim_row, 1),
                    b: (self.turned_keys.at(batch, kv_head, block), keys_row),
                    c: (memory.scores, keys_row),
                    accumulate: false,
                }
                .run();
                Product {
                    sizes: (count, columns, value_dim),
                    a: (dy, dy_row, 1),
                    b: (self.turned_values.at(batch, kv_head, block), keys_row),
                    c: (memory.slopes, keys_row),
                    accumulate: false,
                }
                .run();
                let job = Weights {
                    sizes: *self.sizes,
                    operands: *operands,
                    place: (batch, head, first, key),
                    columns,
                    scores: memory.scores,
                    slopes: memory.slopes,
                    logsums,
                    deltas: memory.deltas,
                };
                run(&job, count, count, 1.0);
                Product {
                    sizes: (columns, value_dim, count),
                    a: (memory.scores, 1, keys_row),
                    b: (dy, dy_row),
                    c: (self.call.dv.at(batch, kv_head, key), self.call.dv.row),
                    accumulate: true,
                }
                .run();
                Product {
                    sizes: (columns, dim, count),
                    a: (memory.slopes, 1, keys_row),
                    b: (memory.query, dim_row),
                    c: (self.call.dk.at(batch, kv_head, key), self.call.dk.row),
                    accumulate: true,
                }
                .run();
                Product {
                    sizes: (count, dim, columns),
                    a: (memory.slopes, keys_row, 1),
                    b: (operands.k.at(batch, kv_head, key), operands.k.row),
                    c: (memory.dq, dim_row),
                    accumulate: met,
                }
                .run();
                met = true;
            }
            // Where no key was met, what is left there does not count.
            let by = if met { scale } else { T::ZERO };
            if !met {
                std::slice::from_raw_parts_mut(memory.dq, count * dim).fill(T::ZERO);
            }
            let (to, to_row) = (self.dq.at(batch, head, first), self.dq.row);
            run(&Scale { from: memory.dq, from_row: dim_row, to, to_row, columns: dim, by }, count, count, 1.0);
        }
    }
}

/// The gradients of queries, keys and values.
///
/// # Safety
/// The arrays have the sizes that `sizes` says; the gradients do not overlap anything.
pub unsafe fn backward<T: Real + Element>(sizes: &Sizes, operands: &Operands<T>, call: &Backward<T>) -> Result<()> {
    let Sizes { batch, heads, kv_heads, queries, dim, .. } = *sizes;
    // SAFETY: the caller's promise.
    let (turned_keys, turned_values) =
        unsafe { (Turned::new(sizes, operands.k, dim)?, Turned::new(sizes, operands.v, sizes.value_dim)?) };
    let parts = parts(sizes);
    let each = batch * heads * queries * dim;
    let sums = Scratch::<T>::zeroed(each.checked_mul(parts - 1).ok_or(Error::Memory(usize::MAX))?)?;
    let (more, failed, call) = (Output::new(sums.pointer()), AtomicBool::new(false), Shared(call));
    let blocks = sizes.key_blocks();
    threads::parallel(batch * kv_heads * parts, sizes.nanoseconds::<T>(batch * heads * queries, 2.5), &|task| {
        let (pair, part) = (task / parts, task % parts);
        let call = call.get();
        let dq = match part.checked_sub(1) {
            None => call.dq,
            Some(index) => Array {
                // SAFETY: the sums have room for all parts but the first.
                first: unsafe { more.at(index * each) },
                batch: (heads * queries * dim) as isize,
                head: (queries * dim) as isize,
                row: dim as isize,
                column: 1,
            },
        };
        let task = Task {
            sizes,
            operands,
            call,
            turned_keys: &turned_keys,
            turned_values: &turned_values,
            batch: pair / kv_heads,
            kv_head: pair % kv_heads,
            blocks: blocks * part / parts..blocks * (part + 1) / parts,
            dq,
        };
        // SAFETY: the caller's promise; tasks have parts of their own.
        unsafe { task.run(&failed) }
    });
    if failed.into_inner() {
        return Err(Error::Memory(QUERIES * (2 * dim + 2 * KEYS + 1) * size_of::<T>()));
    }
    if parts > 1 {
        let sums = Input::new(sums.pointer().cast_const());
        let dq = call.get().dq;
        threads::parallel(batch * heads, (each * parts) as f64, &|pair| {
            for row in 0..queries {
                // SAFETY: a row of the gradient, and of every further sum.
                let target = unsafe { std::slice::from_raw_parts_mut(dq.at(pair / heads, pair % heads, row), dim) };
                for part in 0..parts - 1 {
                    // SAFETY: as above.
                    let from =
                        unsafe { std::slice::from_raw_parts(sums.at(part * each + (pair * queries + row) * dim), dim) };
                    for (target, &from) in target.iter_mut().zip(from) {
                        *target += from;
                    }
                }
            }
        });
    }
    Ok(())
}

/// What tasks share: addresses.
struct Shared<'a, T>(&'a Backward<T>);

// SAFETY: tasks read through it, and write disjoint parts.
unsafe impl<T> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    fn get(&self) -> &'a Backward<T> {
        self.0
    }
}
