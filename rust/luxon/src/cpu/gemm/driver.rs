//! Cutting a product into tiles, blocks and tasks.
//!
//! What may change bits is decided by [`Plan`] from the whole problem: which operands are packed and
//! where k is cut (sums are rounded to memory there). How rows and columns are cut into tasks changes
//! no bits, because every tile computes an element by the same chain of operations; so that may depend
//! on the threads at hand. A task packs its rows of A block by block, right before it multiplies them, and
//! B too where that is tiny: what one core has written, another is slow to read. A larger packed B is
//! shared by all tasks of a phase.

use std::ops::Range;

use super::pack::{Buffer, Place, Strip};
use super::tile::{Set, Tile};
use super::{Element, Finish, Gemm};
use crate::runtime::threads;

/// k is cut into pieces of at most so many bytes of a row of A where operands are packed.
const MOST_TERMS_PACKED: usize = 4096;
/// And at most this where none is.
const MOST_TERMS_UNPACKED: usize = 1024;
/// Bytes of A that stay in the second-level cache while they meet all columns.
const BLOCK: usize = 352 << 10;
/// Columns of C between two calls of `finish`.
const BLOCK_COLUMNS: usize = 256;
/// Columns of B that are packed at once, in bytes of one row.
const PACKED_ROW: usize = 16 << 10;
/// A packed B of at most this many bytes is made by every task for itself.
const TINY: usize = 32 << 10;
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
        let most = if pack_a || pack_b { MOST_TERMS_PACKED / size_of::<T>() } else { MOST_TERMS_UNPACKED };
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

/// One phase of multiplication: all rows of C, some columns, and a piece of k.
struct Phase<'a, T: 'static> {
    set: &'static Set<T>,
    problem: &'a Gemm<T>,
    columns: Range<usize>,
    terms: Range<usize>,
    pack_a: bool,
    pack_b: PackB,
    /// The packed columns of this phase where they are shared.
    shared_b: *const T,
    panels: Panels,
    width: usize,
    finish: Finish<'a>,
}

// SAFETY: the tasks of a phase write disjoint parts of C and only read the rest.
unsafe impl<T: Sync> Sync for Phase<'_, T> {}

/// Who packs B.
#[derive(Clone, Copy, PartialEq)]
enum PackB {
    /// Nobody: it is read in place.
    None,
    /// Each task, its own strips.
    Task,
    /// All tasks together, before they multiply.
    Phase,
}

/// What a task has packed: null where an operand is read in place, and the panel and the strip that come first.
#[derive(Clone, Copy)]
struct Packed<T> {
    a: *const T,
    panel: usize,
    b: *const T,
    strip: usize,
}

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

/// How many ways to cut rows and columns so that about `parts` blocks come out: nearly square, or as wide as
/// possible where rows are packed by each block.
fn grid(rows: usize, columns: usize, height: usize, width: usize, parts: usize, broad: bool) -> (usize, usize) {
    let (mut across, mut down) = (1, 1);
    while across * down < parts {
        let (tall, wide) = (rows / down, columns / across);
        let (can_down, can_across) = (tall >= 2 * height, wide >= 2 * width);
        if can_down && (broad || tall >= wide || !can_across) {
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
        let (rows, columns) = (self.problem.m, self.columns.len());
        let nanoseconds = estimate::<T>(rows, columns, self.terms.len());
        let (down, across) = grid(
            rows,
            columns,
            self.height(),
            self.width,
            parts(nanoseconds),
            self.pack_a || self.pack_b == PackB::Task,
        );
        self.panels = Panels::new(rows, rows.div_ceil(self.height()).next_multiple_of(down));
        let strips = columns.div_ceil(self.width);
        let this = &*self;
        threads::parallel(down * across, nanoseconds, &|task| {
            let panels = part(this.panels.count, down, task / across);
            let strips = part(strips, across, task % across);
            // SAFETY: the contract of the product; tasks own disjoint blocks of C.
            unsafe { this.task(panels, strips) }
        });
    }

    /// Packs what a task packs for itself, and multiplies some panels of rows with some strips of columns.
    unsafe fn task(&self, panels: Range<usize>, strips: Range<usize>) {
        let k = self.terms.len();
        let high = (BLOCK / size_of::<T>() / self.height() / k).max(1);
        let a_size = if self.pack_a { high.min(panels.len()) * self.height() * k } else { 0 };
        let b_size = if self.pack_b == PackB::Task { strips.len() * self.width * k } else { 0 };
        let buffer = (a_size + b_size > 0).then(|| Buffer::take::<T>(Place::Task, a_size + b_size));
        let own = buffer.as_ref().map_or(std::ptr::null_mut(), |buffer| buffer.start().cast::<T>());
        let mut packed = Packed { a: std::ptr::null(), panel: 0, b: self.shared_b, strip: 0 };
        // SAFETY: the buffer has room for these strips and for the panels of a block; both lie in the phase.
        unsafe {
            if self.pack_b == PackB::Task {
                packed = Packed { b: own.wrapping_add(a_size), strip: strips.start, ..packed };
                for strip in strips.clone() {
                    self.pack_strip(strip, own.wrapping_add(a_size + (strip - strips.start) * self.width * k));
                }
            }
            for top in panels.clone().step_by(high) {
                let block = top..(top + high).min(panels.end);
                if self.pack_a {
                    packed = Packed { a: own, panel: top, ..packed };
                    for panel in block.clone() {
                        let rows = self.panels.start(panel) - self.panels.start(top);
                        self.pack_panel(panel, own.wrapping_add(rows * k));
                    }
                }
                let wide = (BLOCK_COLUMNS / self.width).max(1);
                for left in strips.clone().step_by(wide) {
                    self.tiles(block.clone(), left..(left + wide).min(strips.end), packed);
                }
            }
        }
        if let Some(buffer) = buffer {
            buffer.give_back(Place::Task);
        }
    }

    unsafe fn tiles(&self, panels: Range<usize>, strips: Range<usize>, packed: Packed<T>) {
        let p = self.problem;
        let whole = packed.a.is_null() && packed.b.is_null();
        // In place, all of k is done while the block is warm; packed, a phase has one piece of it.
        let pieces = if whole { p.k.div_ceil(MOST_TERMS_UNPACKED) } else { 1 };
        for piece in 0..pieces {
            let terms = if whole { part(p.k, pieces, piece) } else { self.terms.clone() };
            for strip in strips.clone() {
                for panel in panels.clone() {
                    // SAFETY: panel and strip are inside the phase.
                    unsafe { self.tile(panel, strip, &terms, packed) }
                }
            }
        }
        if let Some(finish) = self.finish
            && (whole || self.terms.end == p.k)
        {
            let (top, bottom) = (self.panels.start(panels.start), self.panels.start(panels.end));
            let left = self.columns.start + strips.start * self.width;
            let right = (self.columns.start + strips.end * self.width).min(self.columns.end);
            finish(top..bottom, left..right);
        }
    }

    #[inline]
    unsafe fn tile(&self, panel: usize, strip: usize, terms: &Range<usize>, packed: Packed<T>) {
        let p = self.problem;
        let (k, first) = (terms.len(), terms.start as isize);
        let (top, bottom) = (self.panels.start(panel), self.panels.start(panel + 1));
        let (height, row) = (bottom - top, top as isize);
        let left = strip * self.width;
        let column = (self.columns.start + left) as isize;
        let columns = self.width.min(self.columns.len() - left);
        let (a, a_row, a_column) = if packed.a.is_null() {
            (p.a.wrapping_offset(row * p.a_row + first * p.a_column), p.a_row, p.a_column)
        } else {
            (packed.a.wrapping_add((top - self.panels.start(packed.panel)) * k), 1, height as isize)
        };
        let (b, b_row) = if packed.b.is_null() {
            (p.b.wrapping_offset(first * p.b_row + column), p.b_row)
        } else {
            (packed.b.wrapping_add((strip - packed.strip) * self.width * k), self.width as isize)
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
            self.set.wide[height - 1][usize::from(!packed.a.is_null())]
        };
        // SAFETY: the tile lies inside the operands, which the caller of the product promised valid.
        unsafe { kernel(&tile) }
    }

    /// Packs the columns of B of this phase for all tasks, in parallel.
    unsafe fn pack_columns(&self, to: *mut T) {
        let (k, n) = (self.terms.len(), self.columns.len());
        let to = Shared(to);
        threads::parallel(n.div_ceil(self.width), (n * k) as f64 * 0.5, &|strip| {
            // SAFETY: strips are disjoint parts of the buffer, which was sized for all of them.
            unsafe { self.pack_strip(strip, to.at(strip * self.width * k)) }
        });
    }

    /// Packs one strip of columns.
    unsafe fn pack_strip(&self, strip: usize, to: *mut T) {
        let p = self.problem;
        let left = strip * self.width;
        let column = (self.columns.start + left) as isize;
        let strip = Strip {
            panel: to,
            width: self.width,
            source: p.b.wrapping_offset(self.terms.start as isize * p.b_row + column * p.b_column),
            count: self.width.min(self.columns.len() - left),
            k: self.terms.len(),
            lane_stride: p.b_column,
            k_stride: p.b_row,
        };
        // SAFETY: the strip lies in B, and the caller has room for it.
        unsafe { (self.set.pack)(&strip) }
    }

    /// Packs one panel of rows.
    unsafe fn pack_panel(&self, panel: usize, to: *mut T) {
        let p = self.problem;
        let (top, bottom) = (self.panels.start(panel), self.panels.start(panel + 1));
        let strip = Strip {
            panel: to,
            width: bottom - top,
            source: p.a.wrapping_offset(top as isize * p.a_row + self.terms.start as isize * p.a_column),
            count: bottom - top,
            k: self.terms.len(),
            lane_stride: p.a_row,
            k_stride: p.a_column,
        };
        // SAFETY: the panel lies in A, and the caller has room for it.
        unsafe { (self.set.pack)(&strip) }
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
    let tiny = plan.pieces == 1 && k * n.next_multiple_of(width) * size_of::<T>() <= TINY;
    let pack_b = match plan.pack_b {
        false => PackB::None,
        true if tiny => PackB::Task,
        true => PackB::Phase,
    };
    let mut phase = Phase {
        set,
        problem,
        columns: 0..n,
        terms: 0..k,
        pack_a: plan.pack_a,
        pack_b,
        shared_b: std::ptr::null(),
        panels: Panels::new(m, 1),
        width,
        finish,
    };
    if !plan.pack_a && pack_b != PackB::Phase {
        // SAFETY: the contract of this function.
        unsafe { phase.run() };
        return;
    }
    let shared = pack_b == PackB::Phase;
    let most_columns = if shared { (PACKED_ROW / size_of::<T>()).next_multiple_of(width) } else { n };
    let size = k.div_ceil(plan.pieces) * most_columns.min(n.next_multiple_of(width));
    let buffer = shared.then(|| Buffer::take::<T>(Place::Phase, size));
    for left in (0..n).step_by(most_columns) {
        phase.columns = left..(left + most_columns).min(n);
        for piece in 0..plan.pieces {
            phase.terms = plan.piece(k, piece);
            if let Some(buffer) = &buffer {
                // SAFETY: the buffer has room for every strip of these columns.
                unsafe { phase.pack_columns(buffer.start().cast()) };
                phase.shared_b = buffer.start().cast();
            }
            // SAFETY: the contract of this function, and the packed part is complete.
            unsafe { phase.run() };
        }
    }
    if let Some(buffer) = buffer {
        buffer.give_back(Place::Phase);
    }
}
