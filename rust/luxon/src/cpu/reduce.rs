//! Reductions over any axes of any strided layout.
//!
//! The axes are merged and split in three roles: the *lane* is the kept axis along which memory is
//! densest, the *run* the reduced axis along which it is densest, the others are walked. A *unit* is a
//! piece of the lane for one index of the other kept axes; units go to threads. Where there are few
//! units and much to reduce, the reduced positions are cut into chunks as well, whose accumulators are
//! combined pairwise. All cuts follow from shape and strides, so results do not depend on threads.
//!
//! Variances take a second pass over the deviations from the mean; positions of extrema are searched for
//! once their value is known.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::cpu::cast::{Shared, in_pieces};
use crate::cpu::copy::{Axes, Axis, for_runs, offsets_of};
pub use crate::cpu::fold::Reduction;
use crate::cpu::fold::{BLOCK, Kernels, Second, WIDENING, tables, widens};
use crate::dtype::DType;
use crate::runtime::threads::parallel;

/// Lanes of one unit, at most: rows this long are read as a stream.
const TILE: usize = 4096;
/// Lanes for which a small buffer does.
const FEW: usize = 64;
/// The centers of folds that are not about a mean.
static ZEROS: [u64; TILE] = [0; TILE];
/// Elements that are worth a task.
const GRAIN: usize = 1 << 16;
/// Tasks to cut large problems into.
const TASKS: usize = 16;
/// Rows that are added to accumulators before pairwise combination takes over.
const ROWS: usize = 128;

/// The work on one layout, ready to run.
struct Plan {
    element: usize,
    kept: Axes,
    lane: Axis,
    /// The reduced axes, the run last; one axis of one element where nothing is reduced.
    reduced: Axes,
    /// Whether lanes are denser in memory than runs.
    columns: bool,
    /// Lanes of a unit.
    tile: usize,
    /// Reduced positions that are folded without a buffer.
    block: usize,
    /// Reduced positions.
    depth: usize,
    first: &'static Kernels,
    second: Second,
    divisors: (f64, f64),
}

/// Reduces the axes marked in `reduced`. The destination is contiguous over the kept axes in their
/// order and has the dtype that [`Reduction::output`] tells. Strides are in elements, of any sign.
///
/// An empty sum is 0, product 1, any false, all true, mean and variance NaN; extrema of nothing are the
/// caller's to refuse.
///
/// # Safety
/// `source` points at the element of index (0, .., 0) and every element is valid; the destination is
/// valid for the results and does not overlap the source; both are aligned for their dtypes.
pub unsafe fn reduce(
    kind: Reduction,
    dtype: DType,
    shape: &[usize],
    source: *const u8,
    strides: &[isize],
    reduced: &[bool],
    destination: *mut u8,
) {
    let (first, second) = tables(kind, dtype);
    let ordered = matches!(second, Second::Search(..));
    let (mut kept_count, mut depth) = (1, 1);
    for (&size, &gone) in shape.iter().zip(reduced) {
        if gone { depth *= size } else { kept_count *= size }
    }
    let count = depth as f64;
    let divisors = match kind {
        Reduction::Variance { correction } => (count, (count - correction).max(0.0)),
        _ => (count, 0.0),
    };
    if kept_count == 0 || depth == 0 {
        let (last, divisor) = match second {
            Second::Spread(last) => (last, divisors.1),
            _ => (first, divisors.0),
        };
        if !ordered {
            // SAFETY: the caller vouches for `kept_count` results.
            unsafe { (last.finish)(std::ptr::null(), kept_count, divisor, destination, 1) };
        }
        return;
    }
    let (plan, source) = Plan::new(dtype, shape, source, strides, reduced, ordered, first, second, divisors, depth);
    // SAFETY: the caller's elements and results.
    unsafe { plan.run(source, destination, kept_count) };
}

impl Plan {
    #[inline(always)]
    fn new(
        dtype: DType,
        shape: &[usize],
        mut source: *const u8,
        strides: &[isize],
        reduced: &[bool],
        ordered: bool,
        first: &'static Kernels,
        second: Second,
        divisors: (f64, f64),
        depth: usize,
    ) -> (Plan, *const u8) {
        let element = dtype.size();
        let (mut kept, mut gone) = (Axes::default(), Axes::default());
        let mut stride_out = 1isize;
        for axis in (0..shape.len()).rev() {
            let (size, stride) = (shape[axis], strides[axis]);
            let mut entry = Axis { size, source: stride, destination: 0 };
            if !reduced[axis] {
                entry.destination = stride_out;
                stride_out *= size as isize;
            }
            if size == 1 {
                continue;
            }
            // Only the order of a search matters; anything else runs forwards.
            if stride < 0 && !(ordered && reduced[axis]) {
                source = source.wrapping_offset((size as isize - 1) * stride * element as isize);
                entry.source = -stride;
                // The lane's results are then written backwards: the base moves with the sign below.
                entry.destination = -entry.destination;
            }
            if !reduced[axis] {
                kept.insert_by(entry, |axis| axis.source);
            } else if ordered {
                gone.push(entry);
            } else {
                gone.insert_by(entry, |axis| axis.source);
            }
        }
        if ordered {
            gone.reverse();
        }
        kept.merge();
        gone.merge();
        let lane = kept.pop().unwrap_or(Axis { size: 1, source: 0, destination: 1 });
        if gone.is_empty() {
            gone.push(Axis { size: 1, source: isize::MAX, destination: 0 });
        }
        let run = gone[gone.len() - 1];
        let columns = lane.size > 1 && lane.source.unsigned_abs() < run.source.unsigned_abs();
        let (tile, block) = if columns {
            // Each run's end adds single rows, so several runs to a block would make long chains.
            let wide = lane.source == 1 && widens(run.size, run.source, lane.size) && gone.len() == 1;
            (TILE, if wide { ROWS * WIDENING } else { ROWS })
        } else {
            // Runs are cut by the kernels; what is cut here is the number of runs.
            ((GRAIN / depth).clamp(1, TILE), if gone.len() > 1 { 8 * run.size } else { usize::MAX })
        };
        let tile = tile.min(lane.size);
        let plan = Plan { element, kept, lane, reduced: gone, columns, tile, block, depth, first, second, divisors };
        (plan, source)
    }

    /// The offsets, in elements, and the lanes of a unit.
    #[inline]
    fn locate(&self, unit: usize) -> (isize, isize, usize) {
        let across = self.lane.size.div_ceil(self.tile);
        let (outer, start) = if across == 1 { (unit, 0) } else { (unit / across, unit % across * self.tile) };
        let (source, destination) = offsets_of(&self.kept, outer);
        let lanes = self.tile.min(self.lane.size - start);
        let start = start as isize;
        (source + start * self.lane.source, destination + start * self.lane.destination, lanes)
    }

    unsafe fn run(&self, source: *const u8, destination: *mut u8, kept_count: usize) {
        let mut origin = 0;
        for axis in self.kept.iter().chain([&self.lane]) {
            origin += if axis.destination < 0 { -(axis.size as isize - 1) * axis.destination } else { 0 };
        }
        let output = if matches!(self.second, Second::Search(..)) { size_of::<i64>() } else { self.last().output };
        let destination = destination.wrapping_offset(origin * output as isize);
        let (source, destination) = (Shared::new(source), Shared::new(destination));
        let units = self.kept.count() * self.lane.size.div_ceil(self.tile);
        let total = kept_count * self.depth;
        let nanoseconds = total as f64 * (0.05 + 0.05 * self.element as f64);
        let step = if self.columns { ROWS } else { BLOCK };
        let chunks = (TASKS / units).min(total / GRAIN).min(self.depth / step);
        if chunks > 1 {
            // SAFETY: the caller's elements and results.
            unsafe { self.run_chunks(source, destination, units, chunks, step, nanoseconds) };
            return;
        }
        in_pieces(units, (GRAIN / (self.tile * self.depth)).max(1), nanoseconds, |range| {
            for unit in range {
                // SAFETY: units have results of their own, and no more lanes than there is room for.
                unsafe {
                    if self.tile <= FEW {
                        self.unit::<FEW>(unit, source.get(), destination.get(), output);
                    } else {
                        self.unit::<TILE>(unit, source.get(), destination.get(), output);
                    }
                }
            }
        });
    }

    /// The table that writes the results of all but searches.
    fn last(&self) -> &'static Kernels {
        match self.second {
            Second::Spread(last) => last,
            _ => self.first,
        }
    }

    /// One unit from start to end, with room for `ROOM` lanes.
    #[inline(never)]
    unsafe fn unit<const ROOM: usize>(&self, unit: usize, source: *const u8, destination: *mut u8, output: usize) {
        let (from, to, lanes) = self.locate(unit);
        let mut accumulators = [const { MaybeUninit::<u64>::uninit() }; ROOM];
        let accumulators = accumulators.as_mut_ptr().cast::<u8>();
        let none = ZEROS.as_ptr().cast();
        let (all, stride) = (0..self.depth, self.lane.destination);
        // SAFETY: a unit has at most ROOM lanes and accumulators at most 8 bytes.
        unsafe {
            let source = source.offset(from * self.element as isize);
            let destination = destination.offset(to * output as isize);
            self.fold(self.first, source, lanes, all.clone(), none, accumulators);
            match self.second {
                Second::Nothing => (self.first.finish)(accumulators, lanes, self.divisors.0, destination, stride),
                Second::Spread(last) => {
                    let mut centers = [const { MaybeUninit::<u64>::uninit() }; ROOM];
                    let centers = centers.as_mut_ptr().cast::<u8>();
                    (self.first.finish)(accumulators, lanes, self.divisors.0, centers, 1);
                    self.fold(last, source, lanes, all, centers, accumulators);
                    (last.finish)(accumulators, lanes, self.divisors.1, destination, stride);
                }
                Second::Search(..) => {
                    let mut positions = [-1i64; ROOM];
                    self.search(source, lanes, all, accumulators, positions.as_mut_ptr());
                    for (lane, &position) in positions[..lanes].iter().enumerate() {
                        *destination.cast::<i64>().offset(lane as isize * stride) = position;
                    }
                }
            }
        }
    }

    /// Folds the reduced positions `range` of some lanes.
    unsafe fn fold(
        &self,
        kernels: &Kernels,
        source: *const u8,
        lanes: usize,
        range: Range<usize>,
        centers: *const u8,
        accumulators: *mut u8,
    ) {
        let mut buffer = Vec::<u64>::new();
        if range.len() > self.block {
            let levels = (range.len() / self.block).ilog2() as usize + 2;
            buffer = vec![0; levels * lanes * kernels.accumulator / 8 + 1];
        }
        // SAFETY: one line of accumulators for each halving.
        unsafe { self.halve(kernels, source, lanes, range, centers, accumulators, buffer.as_mut_ptr().cast()) };
    }

    unsafe fn halve(
        &self,
        kernels: &Kernels,
        source: *const u8,
        lanes: usize,
        range: Range<usize>,
        centers: *const u8,
        accumulators: *mut u8,
        buffer: *mut u8,
    ) {
        // SAFETY: the caller of `fold` vouches for the elements, `fold` for the buffer.
        unsafe {
            if range.len() > self.block {
                let half = (range.len() / self.block).div_ceil(2) * self.block;
                let half = if half < range.len() { half } else { self.block };
                let middle = range.start + half;
                let rest = buffer.add(lanes * kernels.accumulator);
                self.halve(kernels, source, lanes, range.start..middle, centers, accumulators, buffer);
                self.halve(kernels, source, lanes, middle..range.end, centers, buffer, rest);
                (kernels.merge)(accumulators, buffer, lanes);
                return;
            }
            let kernel = if self.columns { kernels.columns } else { kernels.rows };
            let stride = self.reduced[self.reduced.len() - 1].source;
            let mut first = true;
            for_runs(&self.reduced, range, |offset, _, _, length| {
                let source = source.offset(offset * self.element as isize);
                kernel(source, length, stride, lanes, self.lane.source, centers, accumulators, first);
                first = false;
            });
        }
    }

    /// Finds the first of the reduced positions `range` at which each lane has its extremum.
    unsafe fn search(
        &self,
        source: *const u8,
        lanes: usize,
        range: Range<usize>,
        extrema: *const u8,
        positions: *mut i64,
    ) {
        let Second::Search(rows, columns) = self.second else { return };
        let kernel = if self.columns { columns } else { rows };
        let stride = self.reduced[self.reduced.len() - 1].source;
        for_runs(&self.reduced, range, |offset, _, position, length| {
            // SAFETY: the caller vouches for the elements, `unit` and `run_chunks` for the rest.
            unsafe {
                let source = source.offset(offset * self.element as isize);
                kernel(source, length, stride, lanes, self.lane.source, extrema, positions, position as i64);
            }
        });
    }

    /// All units, with the reduced positions cut into chunks.
    unsafe fn run_chunks(
        &self,
        source: Shared<u8>,
        destination: Shared<u8>,
        units: usize,
        chunks: usize,
        step: usize,
        nanoseconds: f64,
    ) {
        let length = self.depth.div_ceil(chunks).div_ceil(step) * step;
        let chunks = self.depth.div_ceil(length);
        let line = units * self.tile;
        let part = |chunk: usize| chunk * length..((chunk + 1) * length).min(self.depth);
        let origin = |unit: usize| {
            let (from, to, lanes) = self.locate(unit);
            (source.get().wrapping_offset(from * self.element as isize).cast_const(), to, lanes)
        };
        // The folded values of all chunks, combined into the first line.
        let fold = |kernels: &Kernels, centers: Option<&[u64]>| {
            let size = kernels.accumulator;
            let mut lines = vec![0u64; (chunks * line * size).div_ceil(8)];
            let shared = Shared::new(lines.as_mut_ptr().cast::<u8>());
            parallel(chunks * units, nanoseconds, &|task| {
                let (unit, chunk) = (task % units, task / units);
                let (source, _, lanes) = origin(unit);
                let at = unit * self.tile * size;
                let centers =
                    centers.map_or(ZEROS.as_ptr().cast(), |centers| centers.as_ptr().cast::<u8>().wrapping_add(at));
                // SAFETY: each task has a part of a line to itself.
                unsafe {
                    let place = shared.get().add(chunk * line * size + at);
                    self.fold(kernels, source, lanes, part(chunk), centers, place);
                }
            });
            let mut distance = 1;
            while distance < chunks {
                for chunk in (0..chunks - distance).step_by(2 * distance) {
                    let place = shared.get().wrapping_add(chunk * line * size);
                    // SAFETY: both are lines of the buffer.
                    unsafe { (kernels.merge)(place, place.add(distance * line * size), line) };
                }
                distance *= 2;
            }
            lines
        };
        let finish = |kernels: &Kernels, lines: &[u64], divisor: f64| {
            for unit in 0..units {
                let (_, to, lanes) = origin(unit);
                let from = lines.as_ptr().cast::<u8>().wrapping_add(unit * self.tile * kernels.accumulator);
                let to = destination.get().wrapping_offset(to * kernels.output as isize);
                // SAFETY: the unit's accumulators and results.
                unsafe { (kernels.finish)(from, lanes, divisor, to, self.lane.destination) };
            }
        };
        let lines = fold(self.first, None);
        match self.second {
            Second::Nothing => finish(self.first, &lines, self.divisors.0),
            Second::Spread(last) => {
                let mut centers = vec![0u64; line];
                // SAFETY: centers are accumulators of 4 or 8 bytes, one for each in the first line.
                unsafe {
                    (self.first.finish)(lines.as_ptr().cast(), line, self.divisors.0, centers.as_mut_ptr().cast(), 1);
                }
                finish(last, &fold(last, Some(&centers)), self.divisors.1);
            }
            Second::Search(..) => {
                let mut positions = vec![-1i64; chunks * line];
                let shared = Shared::new(positions.as_mut_ptr());
                parallel(chunks * units, nanoseconds * 0.5, &|task| {
                    let (unit, chunk) = (task % units, task / units);
                    let (source, _, lanes) = origin(unit);
                    let extrema = lines.as_ptr().cast::<u8>().wrapping_add(unit * self.tile * self.first.accumulator);
                    // SAFETY: each task has positions of its own.
                    unsafe {
                        let place = shared.get().add(chunk * line + unit * self.tile);
                        self.search(source, lanes, part(chunk), extrema, place);
                    }
                });
                for unit in 0..units {
                    let (_, to, lanes) = origin(unit);
                    for lane in 0..lanes {
                        let at = unit * self.tile + lane;
                        let found = (0..chunks).map(|chunk| positions[chunk * line + at]).find(|&place| place >= 0);
                        let to = to + lane as isize * self.lane.destination;
                        // SAFETY: the lane's result.
                        unsafe { *destination.get().cast::<i64>().offset(to) = found.unwrap_or(0) };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
