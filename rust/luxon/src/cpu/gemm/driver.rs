//! Cutting a product into tiles, blocks and tasks.
//!
//! What may change bits is decided by [`Plan`] from the whole problem: which operands are packed and
//! where k is cut (sums are rounded to memory there). How rows and columns are cut into tasks changes
//! no bits, because every tile computes an element by the same chain of operations; so that may depend
//! on the threads at hand. Packed operands are shared by all tasks of a phase: pack B, pack A, multiply.

use std::ops::Range;

use super::pack::{Buffer, Strip};
use super::tile::{Set, Tile};
use super::{Element, Finish, Gemm};
use crate::runtime::threads;

/// k is cut into pieces of at most this size where operands are packed.
const MOST_TERMS: usize = 512;
/// And at most this where none is.
const MOST_TERMS_UNPACKED: usize = 1024;
/// Rows of A that stay in the second-level cache while they meet all columns.
const BLOCK_ROWS: usize = 168;
/// Columns of C between two calls of `finish`.
const BLOCK_COLUMNS: usize = 256;
/// Columns of B that are packed at once, in bytes of one row.
const PACKED_ROW: usize = 16 << 10;
/// Rows of A that are packed at once when several threads share them.
const SHARED_ROWS: usize = 2048;
/// An operand of more bytes is packed: it would not stay in the second-level cache.
const LARGE: usize = 4 << 20;
/// A task is worth at most this many nanoseconds, so that an interruption is noticed.
const LONGEST_TASK: f64 = 20e6;

/// What is decided from the whole problem.
pub struct Plan {
    pack_a: bool,
    pack_b: bool,
    /// Pieces of k.
    pieces: usize,
}

impl Plan {
    fn new<T>(p: &Gemm<T>) -> Plan {
        let page = 4096 / size_of::<T>() as isize;
        let aliases = |stride: isize| stride != 0 && stride % page == 0;
        let large = LARGE / size_of::<T>();
        let pack_b = p.b_column != 1 || (p.m > 64 && (p.k * p.n > large || (aliases(p.b_row) && p.k >= 256)));
        let pack_a = p.n > 64 && (p.m * p.k > large || ((aliases(p.a_row) || aliases(p.a_column)) && p.k > 64));
        let most = if pack_a || pack_b { MOST_TERMS } else { MOST_TERMS_UNPACKED };
        Plan { pack_a, pack_b, pieces: p.k.div_ceil(most) }
    }

    fn piece(&self, k: usize, index: usize) -> Range<usize> {
        k * index / self.pieces..k * (index + 1) / self.pieces
    }
}

/// Serial time of a product, for gating only.
pub fn estimate<T>(m: usize, n: usize, k: usize) -> f64 {
    2.0 * m as f64 * n as f64 * k as f64 * size_of::<T>() as f64 / 4.0 / 90.0 + 20.0
}

/// One phase of multiplication: some rows and columns of C and a piece of k.
struct Phase<'a, T: 'static> {
    set: &'static Set<T>,
    problem: &'a Gemm<T>,
    rows: Range<usize>,
    columns: Range<usize>,
    terms: Range<usize>,
    /// Null when A is read in place; else the packed rows of this phase.
    packed_a: *const T,
    /// Null when B is read in place; else the packed columns of this phase.
    packed_b: *const T,
    panels: Panels,
    width: usize,
    finish: Finish<'a>,
}

// SAFETY: the tasks of a phase write disjoint parts of C and only read the rest.
unsafe impl<T: Sync> Sync for Phase<'_, T> {}

/// Rows cut into panels of nearly equal height: the first `taller` ones have a row more.
#[derive(Clone, Copy)]
struct Panels {
    count: usize,
    height: usize,
    taller: usize,
}

impl Panels {
    fn new(rows: usize, count: usize) -> Panels {
        Panels { count, height: rows / count, taller: rows % count }
    }

    /// The first row of a panel.
    #[inline(always)]
    fn start(&self, index: usize) -> usize {
        index * self.height + index.min(self.taller)
    }
}

fn part(total: usize, parts: usize, index: usize) -> Range<usize> {
    total * index / parts..total * (index + 1) / parts
}

/// How many ways to cut rows and columns so that about `parts` blocks come out, nearly square.
fn grid(rows: usize, columns: usize, height: usize, width: usize, parts: usize) -> (usize, usize) {
    let (mut across, mut down) = (1, 1);
    while across * down < parts {
        let (tall, wide) = (rows / down, columns / across);
        let (can_down, can_across) = (tall >= 2 * height, wide >= 2 * width);
        if can_down && (tall >= wide || !can_across) {
            down *= 2;
        } else if can_across {
            across *= 2;
        } else {
            break;
        }
    }
    (down, across)
}

impl<T: Element> Phase<'_, T> {
    fn height(&self) -> usize {
        if self.width > self.set.lanes { self.set.wide.len() } else { self.set.narrow.len() }
    }

    /// Multiplies in parallel.
    unsafe fn run(&mut self) {
        let (rows, columns) = (self.rows.len(), self.columns.len());
        let nanoseconds = estimate::<T>(rows, columns, self.terms.len());
        let parts = parts(nanoseconds);
        let (down, across) = grid(rows, columns, self.height(), self.width, parts);
        if self.packed_a.is_null() {
            let count = rows.div_ceil(self.height()).next_multiple_of(down);
            self.panels = Panels::new(rows, count);
        }
        let strips = columns.div_ceil(self.width);
        let this = &*self;
        threads::parallel(down * across, nanoseconds, &|task| {
            let panels = part(this.panels.count, down, task / across);
            let strips = part(strips, across, task % across);
            // SAFETY: the contract of the product; tasks own disjoint blocks of C.
            unsafe { this.block(panels, strips) }
        });
    }

    /// Multiplies some panels of rows with some strips of columns.
    unsafe fn block(&self, panels: Range<usize>, strips: Range<usize>) {
        let high = (BLOCK_ROWS / self.height()).max(1);
        let wide = (BLOCK_COLUMNS / self.width).max(1);
        let mut top = panels.start;
        while top < panels.end {
            let bottom = (top + high).min(panels.end);
            let mut left = strips.start;
            while left < strips.end {
                let right = (left + wide).min(strips.end);
                // SAFETY: parts of the ranges given.
                unsafe { self.tiles(top..bottom, left..right) }
                left = right;
            }
            top = bottom;
        }
    }

    unsafe fn tiles(&self, panels: Range<usize>, strips: Range<usize>) {
        let p = self.problem;
        let whole = self.packed_a.is_null() && self.packed_b.is_null();
        // In place, all of k is done while the block is warm; packed, a phase has one piece of it.
        let pieces = if whole { p.k.div_ceil(MOST_TERMS_UNPACKED) } else { 1 };
        for piece in 0..pieces {
            let terms = if whole { part(p.k, pieces, piece) } else { self.terms.clone() };
            for strip in strips.clone() {
                for panel in panels.clone() {
                    // SAFETY: panel and strip are inside the phase.
                    unsafe { self.tile(panel, strip, &terms) }
                }
            }
        }
        if let Some(finish) = self.finish
            && (whole || self.terms.end == p.k)
        {
            let top = self.rows.start + self.panels.start(panels.start);
            let bottom = self.rows.start + self.panels.start(panels.end);
            let left = self.columns.start + strips.start * self.width;
            let right = (self.columns.start + strips.end * self.width).min(self.columns.end);
            finish(top..bottom, left..right);
        }
    }

    #[inline]
    unsafe fn tile(&self, panel: usize, strip: usize, terms: &Range<usize>) {
        let p = self.problem;
        let (k, first) = (terms.len(), terms.start as isize);
        let (top, bottom) = (self.panels.start(panel), self.panels.start(panel + 1));
        let height = bottom - top;
        let row = (self.rows.start + top) as isize;
        let left = strip * self.width;
        let column = (self.columns.start + left) as isize;
        let columns = self.width.min(self.columns.len() - left);
        let (a, a_row, a_column) = if self.packed_a.is_null() {
            (p.a.wrapping_offset(row * p.a_row + first * p.a_column), p.a_row, p.a_column)
        } else {
            (self.packed_a.wrapping_add(top * k), 1, height as isize)
        };
        let (b, b_row) = if self.packed_b.is_null() {
            (p.b.wrapping_offset(first * p.b_row + column), p.b_row)
        } else {
            (self.packed_b.wrapping_add(left * k), self.width as isize)
        };
        let last = terms.end == p.k;
        let tile = Tile {
            k,
            a,
            a_row,
            a_column,
            b,
            b_row,
            c: p.c.wrapping_offset(row * p.c_row + column),
            c_row: p.c_row,
            columns,
            accumulate: p.accumulate || first > 0,
            bias: if last && !p.bias.is_null() { p.bias.wrapping_offset(column) } else { std::ptr::null() },
        };
        let kernel = if columns <= self.set.lanes && height <= self.set.narrow.len() {
            self.set.narrow[height - 1]
        } else {
            self.set.wide[height - 1][usize::from(!self.packed_a.is_null())]
        };
        // SAFETY: the tile lies inside the operands, which the caller of the product promised valid.
        unsafe { kernel(&tile) }
    }

    /// Packs the columns of B of this phase, in parallel.
    unsafe fn pack_b(&self, to: *mut T) {
        let p = self.problem;
        let (k, first, n) = (self.terms.len(), self.terms.start as isize, self.columns.len());
        let to = Shared(to);
        copy_panels(n.div_ceil(self.width), n * k, &|strip| {
            let left = strip * self.width;
            let column = (self.columns.start + left) as isize;
            let strip = Strip {
                panel: to.at(left * k),
                width: self.width,
                source: p.b.wrapping_offset(first * p.b_row + column * p.b_column),
                count: self.width.min(n - left),
                k,
                lane_stride: p.b_column,
                k_stride: p.b_row,
            };
            // SAFETY: strips are disjoint parts of the buffer, which was sized for all of them.
            unsafe { (self.set.pack)(&strip) }
        });
    }

    /// Packs the rows of A of this phase, in parallel.
    unsafe fn pack_a(&self, to: *mut T) {
        let p = self.problem;
        let (k, first) = (self.terms.len(), self.terms.start as isize);
        let to = Shared(to);
        copy_panels(self.panels.count, self.rows.len() * k, &|panel| {
            let (top, bottom) = (self.panels.start(panel), self.panels.start(panel + 1));
            let row = (self.rows.start + top) as isize;
            let strip = Strip {
                panel: to.at(top * k),
                width: bottom - top,
                source: p.a.wrapping_offset(row * p.a_row + first * p.a_column),
                count: bottom - top,
                k,
                lane_stride: p.a_row,
                k_stride: p.a_column,
            };
            // SAFETY: panels are disjoint parts of the buffer, which was sized for all of them.
            unsafe { (self.set.pack)(&strip) }
        });
    }
}

/// A pointer whose users write disjoint parts.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: see the type; it is private to the packing above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

fn copy_panels(panels: usize, elements: usize, body: &(dyn Fn(usize) + Sync)) {
    threads::parallel(panels, elements as f64 * 0.5, body);
}

/// How many tasks to cut so much work into; no bits depend on it.
fn parts(nanoseconds: f64) -> usize {
    if nanoseconds < 2000.0 {
        return 1;
    }
    let interruptible = (nanoseconds / LONGEST_TASK).ceil() as usize;
    let shared = match threads::worth_splitting(nanoseconds) {
        true => (threads::threads() * 4).min((nanoseconds / 1000.0) as usize),
        false => 1,
    };
    shared.max(interruptible)
}

/// Multiplies by tiles; `k` is not 0 and `m`, `n` neither.
///
/// # Safety
/// As for [`super::gemm`].
pub unsafe fn multiply<T: Element>(set: &'static Set<T>, problem: &Gemm<T>, finish: Finish<'_>) {
    let plan = Plan::new(problem);
    let (m, n, k) = (problem.m, problem.n, problem.k);
    let width = if n <= set.lanes { set.lanes } else { 2 * set.lanes };
    let mut phase = Phase {
        set,
        problem,
        rows: 0..m,
        columns: 0..n,
        terms: 0..k,
        packed_a: std::ptr::null(),
        packed_b: std::ptr::null(),
        panels: Panels::new(m, 1),
        width,
        finish,
    };
    if !plan.pack_a && !plan.pack_b {
        // SAFETY: the contract of this function.
        unsafe { phase.run() };
        return;
    }
    let most_columns = if plan.pack_b { (PACKED_ROW / size_of::<T>()).next_multiple_of(width) } else { n };
    let split = threads::worth_splitting(estimate::<T>(m, n, k));
    let most_rows = match (plan.pack_a, split) {
        (false, _) => m,
        (true, false) => BLOCK_ROWS,
        (true, true) => SHARED_ROWS,
    };
    let most_terms = k.div_ceil(plan.pieces);
    let b_size = if plan.pack_b { most_terms * most_columns.min(n.next_multiple_of(width)) } else { 0 };
    let a_size = if plan.pack_a { most_terms * most_rows.min(m) } else { 0 };
    let Some(buffer) = Buffer::take((a_size + b_size) * size_of::<T>()) else {
        std::alloc::handle_alloc_error(std::alloc::Layout::new::<T>());
    };
    let b_buffer = buffer.start().cast::<T>();
    let a_buffer = b_buffer.wrapping_add(b_size);
    for left in (0..n).step_by(most_columns) {
        phase.columns = left..(left + most_columns).min(n);
        for piece in 0..plan.pieces {
            phase.terms = plan.piece(k, piece);
            if plan.pack_b {
                // SAFETY: the buffer has room for every strip of these columns.
                unsafe { phase.pack_b(b_buffer) };
                phase.packed_b = b_buffer;
            }
            let slabs = m.div_ceil(most_rows);
            for slab in 0..slabs {
                phase.rows = part(m, slabs, slab);
                if plan.pack_a {
                    let rows = phase.rows.len();
                    phase.panels = Panels::new(rows, rows.div_ceil(phase.height()));
                    // SAFETY: the buffer has room for the rows of a slab.
                    unsafe { phase.pack_a(a_buffer) };
                    phase.packed_a = a_buffer;
                }
                // SAFETY: the contract of this function, and the packed parts are complete.
                unsafe { phase.run() };
            }
        }
    }
    buffer.give_back();
}
