//! Forward and data gradient: channels by positions over a table of offsets.
//!
//! One image and group is a unit of work. Where there are many small units, a task takes some of them, with
//! buffers of its own; else each unit's image is laid out, computed and put back together by all threads.

use std::sync::OnceLock;

use super::image::{Image, Phases, Side};
use super::tile::{Correlate, Element, Panels, Piece, Set, set};
use super::{Axis, Finish, Problem, checked, nanoseconds};
use crate::cpu::gemm::pack::Strip;
use crate::cpu::gemm::sealed::Sealed;
use crate::cpu::isa::isa;
use crate::cpu::rows::{Input, Output as Shared, Scratch};
use crate::error::Result;
use crate::runtime::threads::parallel;

/// Packed weights of at most so many bytes are walked for each tile of positions; larger ones once per image.
const NEAR: usize = 512 << 10;
/// A task is worth at most this many nanoseconds, so that an interruption is noticed.
pub(super) const LONGEST_TASK: f64 = 20e6;
/// And about this many where there are enough of them.
pub(super) const GOOD_TASK: f64 = 100e3;

/// A correlation at stride 1: some taps of the kernel.
struct Stage {
    /// By term (source channel and tap), into the buffer.
    offsets: Vec<u32>,
    /// Where its packed weights begin.
    weights: usize,
    /// Where its results begin, in a channel of the target.
    target: usize,
}

/// What is to be computed for every unit, whichever the direction.
struct Plan<T: 'static> {
    set: &'static Set<T>,
    problem: Problem,
    image: Image,
    /// Channels that are read and written in a unit.
    sources: usize,
    rows: usize,
    stages: Vec<Stage>,
    pieces: Vec<Piece>,
    /// Where the phases of a stride have to be joined.
    phases: Option<Phases>,
    /// Elements of a result's channel.
    out: usize,
    panels: Panels,
    /// Packed weights of a group.
    packed: usize,
    from: *const T,
    bias: *const T,
    to: *mut T,
    finish: Finish<'static>,
}

// SAFETY: units write disjoint parts of the result and only read the rest.
unsafe impl<T: Sync> Sync for Plan<T> {}

/// The vectors that cover the positions of an output of sizes `out` in a buffer of the given pitches: each begins at
/// the first position that is not covered yet.
pub(super) fn pieces(out: [usize; 3], pitch: [usize; 3], lanes: usize) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut to = 0u32;
    for outer in 0..out[0] {
        for middle in 0..out[1] {
            let row = (outer * pitch[0] + middle * pitch[1]) as u32;
            let mut column = 0;
            while column < out[2] {
                let from = row + column as u32;
                let lanes = lanes as u32;
                let (last, shift) = match pieces.last_mut() {
                    Some(piece) if from - piece.from < lanes => {
                        let shift = from - piece.from;
                        (piece, shift)
                    }
                    _ => {
                        pieces.push(Piece { from, to, lanes: 0 });
                        let end = pieces.len() - 1;
                        (&mut pieces[end], 0)
                    }
                };
                let count = (lanes - shift).min((out[2] - column) as u32);
                last.lanes |= (((1u64 << count) - 1) << shift) as u32;
                to += count;
                column += count as usize;
            }
        }
    }
    pieces
}

/// The convolution of `x` by `weight`, plus a bias per output channel where it is not null.
///
/// # Safety
/// `x`, `weight`, `bias` and `y` are contiguous with the sizes of the problem; `y` overlaps nothing.
pub unsafe fn forward<T: Element>(
    problem: &Problem,
    x: *const T,
    weight: *const T,
    bias: *const T,
    y: *mut T,
    finish: Finish<'_>,
) -> Result<()> {
    let set = set::<T>(isa());
    let image = Image::new::<T>(problem.axes.map(|axis| Side::forward(&axis)), problem.channels)?;
    let taps = problem.taps();
    let terms = checked(&[problem.channels, taps])?;
    let stage = Stage { offsets: offsets(problem, &image, problem.channels), weights: 0, target: 0 };
    let panels = Panels::new(problem.filters, set.correlate.len());
    let packed = Scratch::<T>::zeroed(checked(&[problem.groups, problem.filters, terms])?)?;
    let (memory, weight) = (Shared::new(packed.pointer()), Input::new(weight));
    parallel(problem.groups * panels.count, (problem.groups * problem.filters * terms) as f64, &|task| {
        let (group, panel) = (task / panels.count, task % panels.count);
        let (start, end) = (panels.start(panel), panels.start(panel + 1));
        let first = (group * problem.filters + start) * terms;
        // SAFETY: rows `start .. end` of the weights and of the packed copy.
        unsafe {
            let strip = Strip {
                panel: memory.at(first),
                width: end - start,
                source: weight.at(first),
                count: end - start,
                k: terms,
                lane_stride: terms as isize,
                k_stride: 1,
            };
            (<T as Sealed>::set(isa()).pack)(&strip);
        }
    });
    let pieces = pieces(problem.axes.map(|axis| axis.out), image.pitch, set.lanes);
    let plan = Plan {
        set,
        problem: *problem,
        sources: problem.channels,
        rows: problem.filters,
        stages: vec![stage],
        pieces,
        phases: None,
        out: problem.out(),
        panels,
        packed: problem.filters * terms,
        from: x,
        bias,
        to: y,
        // SAFETY: the plan ends with this call.
        finish: unsafe { std::mem::transmute::<Finish<'_>, Finish<'static>>(finish) },
        image,
    };
    // SAFETY: passed on.
    unsafe { plan.run(packed.pointer()) }
}

/// By channel and tap, the offsets into the buffer of a forward pass.
pub(super) fn offsets(problem: &Problem, image: &Image, channels: usize) -> Vec<u32> {
    let mut taps = Vec::with_capacity(problem.taps());
    let [outer, middle, inner] = &problem.axes;
    for tap0 in 0..outer.kernel {
        for tap1 in 0..middle.kernel {
            for tap2 in 0..inner.kernel {
                let position = [tap0 * outer.dilation, tap1 * middle.dilation, tap2 * inner.dilation];
                taps.extend(image.offset(position));
            }
        }
    }
    (0..channels).flat_map(|channel| taps.iter().map(move |tap| (channel * image.plane + tap) as u32)).collect()
}

/// The image's gradient from the output's, or the transposed convolution; plus a bias per image channel where it is
/// not null.
///
/// # Safety
/// As for [`forward`], with the roles of `x` and `y` exchanged.
pub unsafe fn data<T: Element>(
    problem: &Problem,
    y: *const T,
    weight: *const T,
    bias: *const T,
    x: *mut T,
    finish: Finish<'_>,
) -> Result<()> {
    let set = set::<T>(isa());
    let image = Image::new::<T>(problem.axes.map(|axis| Side::backward(&axis)), problem.filters)?;
    let phases = Phases::new(&problem.axes)?;
    let joined = problem.axes.iter().any(|axis| axis.stride != 1);
    let (taps, channels) = (problem.taps(), problem.channels);
    let panels = Panels::new(channels, set.correlate.len());
    let group = checked(&[problem.filters, channels, taps])?;
    let packed = Scratch::<T>::zeroed(checked(&[problem.groups, group])?)?;
    let (memory, weight) = (Shared::new(packed.pointer()), Input::new(weight));
    let mut stages = Vec::new();
    let mut start = 0;
    let [outer, middle, inner] = &problem.axes;
    for index in 0..outer.stride * middle.stride * inner.stride {
        let phase = [index / inner.stride / middle.stride, index / inner.stride % middle.stride, index % inner.stride];
        // The taps that read this phase: their index in the weights, and their offset.
        let read = [0, 1, 2].map(|axis| {
            let Problem { axes, .. } = problem;
            let Axis { kernel, stride, dilation, .. } = axes[axis];
            let reach = (kernel - 1) * dilation / stride;
            (0..kernel)
                .filter(|tap| tap * dilation % stride == phase[axis])
                .map(|tap| (tap, reach - tap * dilation / stride))
                .collect::<Vec<_>>()
        });
        let mut found = Vec::new();
        for &(tap0, place0) in &read[0] {
            for &(tap1, place1) in &read[1] {
                for &(tap2, place2) in &read[2] {
                    let tap = (tap0 * middle.kernel + tap1) * inner.kernel + tap2;
                    found.extend(image.offset([place0, place1, place2]).map(|offset| (tap, offset)));
                }
            }
        }
        let plane = image.plane;
        let offsets: Vec<u32> = (0..problem.filters)
            .flat_map(|filter| found.iter().map(move |(_, offset)| (filter * plane + offset) as u32))
            .collect();
        let terms = offsets.len();
        parallel(problem.groups * panels.count, (problem.groups * channels * terms) as f64, &|task| {
            let (index, panel) = (task / panels.count, task % panels.count);
            let (low, high) = (panels.start(panel), panels.start(panel + 1));
            // SAFETY: channels `low .. high` of the group's weights and of the packed copy.
            unsafe {
                let mut to = memory.at(index * group + start + low * terms);
                for filter in 0..problem.filters {
                    for &(tap, _) in &found {
                        let at = ((index * problem.filters + filter) * channels + low) * taps + tap;
                        let from = weight.at(at);
                        for channel in 0..high - low {
                            *to = *from.wrapping_add(channel * taps);
                            to = to.wrapping_add(1);
                        }
                    }
                }
            }
        });
        stages.push(Stage { offsets, weights: start, target: index * phases.phase });
        start += channels * terms;
    }
    let plan = Plan {
        set,
        problem: *problem,
        sources: problem.filters,
        rows: channels,
        stages,
        pieces: pieces(phases.places, image.pitch, set.lanes),
        phases: joined.then_some(phases),
        out: problem.size(),
        panels,
        packed: group,
        from: y,
        bias,
        to: x,
        // SAFETY: the plan ends with this call.
        finish: unsafe { std::mem::transmute::<Finish<'_>, Finish<'static>>(finish) },
        image,
    };
    // SAFETY: passed on.
    unsafe { plan.run(packed.pointer()) }
}

/// How many units a task takes, so that it is worth its while; of the problem alone.
pub(super) fn portion(units: usize, each: f64) -> usize {
    ((GOOD_TASK / each) as usize).clamp(1, units.div_ceil(16))
}

impl<T: Element> Plan<T> {
    unsafe fn run(&self, packed: *const T) -> Result<()> {
        let units = self.problem.batch * self.problem.groups;
        let each = nanoseconds::<T>(self.problem.work())
            + (self.image.total as f64 + self.rows as f64 * self.out as f64) / 4.0;
        let packed = Shared::new(packed.cast_mut());
        if units < 8 || each > LONGEST_TASK {
            // SAFETY: passed on.
            return unsafe { self.run_one_by_one(packed, each) };
        }
        let portion = portion(units, each);
        let failure = OnceLock::new();
        parallel(units.div_ceil(portion), units as f64 * each, &|task| {
            // SAFETY: the units of this task, whose results nobody else writes.
            let run = || unsafe {
                let buffers = self.buffers()?;
                for unit in task * portion..((task + 1) * portion).min(units) {
                    self.lay_out(unit, 0..self.sources, &buffers);
                    self.compute(unit, packed, 0..self.pieces.len(), 0..self.panels.count, &buffers);
                    self.put_together(unit, 0..self.rows, &buffers);
                }
                Ok(())
            };
            if let Err(error) = run() {
                let _ = failure.set(error);
            }
        });
        failure.into_inner().map_or(Ok(()), Err)
    }

    /// Each unit by all threads.
    unsafe fn run_one_by_one(&self, packed: Shared<T>, each: f64) -> Result<()> {
        let buffers = self.buffers()?;
        // Tiles of positions first; where those are few, panels of channels as well.
        let parts = ((each / GOOD_TASK) as usize).clamp(1, (each / LONGEST_TASK * 64.0) as usize + 64);
        let across = parts.min(self.pieces.len().div_ceil(8));
        let down = parts.div_ceil(across).min(self.panels.count);
        for unit in 0..self.problem.batch * self.problem.groups {
            // SAFETY: tasks write disjoint parts of buffers and result, and phases wait for one another.
            unsafe {
                if buffers.image.is_some() {
                    parallel(self.sources, self.image.total as f64 / 4.0, &|channel| {
                        self.lay_out(unit, channel..channel + 1, &buffers);
                    });
                }
                parallel(across * down, each, &|task| {
                    let part = |count: usize, parts: usize, index: usize| {
                        (count * index / parts)..(count * (index + 1) / parts)
                    };
                    let pieces = part(self.pieces.len(), across, task % across);
                    self.compute(unit, packed, pieces, part(self.panels.count, down, task / across), &buffers);
                });
                parallel(self.rows, self.rows as f64 * self.out as f64 / 4.0, &|row| {
                    self.put_together(unit, row..row + 1, &buffers);
                });
            }
            if crate::runtime::interrupt::pending() {
                break;
            }
        }
        Ok(())
    }

    fn buffers(&self) -> Result<Buffers<T>> {
        let image = if self.is_in_place() { None } else { Some(Scratch::zeroed(self.image.total)?) };
        let phases = match &self.phases {
            Some(phases) => Some(Scratch::zeroed(checked(&[phases.plane, self.rows])?)?),
            None => None,
        };
        Ok(Buffers { image, phases })
    }

    /// Whether the image is read where it is: vectors end with its rows then.
    fn is_in_place(&self) -> bool {
        self.image.is_plain() && self.image.source % self.set.lanes == 0 && self.pieces_fill()
    }

    fn pieces_fill(&self) -> bool {
        self.pieces.len() * self.set.lanes == self.image.source
    }

    fn image_of(&self, unit: usize) -> *const T {
        self.from.wrapping_add(unit * self.sources * self.image.source)
    }

    /// Copies some channels of a unit's image into the buffer.
    unsafe fn lay_out(&self, unit: usize, channels: std::ops::Range<usize>, buffers: &Buffers<T>) {
        let Some(buffer) = &buffers.image else { return };
        for channel in channels {
            let from = self.image_of(unit).wrapping_add(channel * self.image.source);
            // SAFETY: a channel of the image and its place.
            unsafe { self.image.fill(from, buffer.pointer().add(channel * self.image.plane)) };
        }
    }

    /// Computes some positions of some panels of channels.
    unsafe fn compute(
        &self,
        unit: usize,
        packed: Shared<T>,
        pieces: std::ops::Range<usize>,
        panels: std::ops::Range<usize>,
        buffers: &Buffers<T>,
    ) {
        let group = unit % self.problem.groups;
        let source = buffers.image.as_ref().map_or_else(|| self.image_of(unit), |buffer| buffer.pointer().cast_const());
        let result = self.to.wrapping_add(unit * self.rows * self.out);
        let (target, target_row) = match (&buffers.phases, &self.phases) {
            (Some(buffer), Some(phases)) => (buffer.pointer(), phases.plane),
            _ => (result, self.out),
        };
        for stage in &self.stages {
            let terms = stage.offsets.len();
            let tile = |panel: usize, first: usize, wide: usize| {
                let (low, high) = (self.panels.start(panel), self.panels.start(panel + 1));
                // SAFETY: the packed weights of this group and stage, the rows of this panel.
                let weights = unsafe { packed.at(group * self.packed + stage.weights + low * terms) };
                let call = Correlate {
                    terms,
                    weights,
                    offsets: stage.offsets.as_ptr(),
                    source,
                    pieces: self.pieces[first..].as_ptr(),
                    out: target.wrapping_add(stage.target + low * target_row),
                    out_row: target_row,
                    bias: match self.bias.is_null() {
                        true => self.bias,
                        false => self.bias.wrapping_add(group * self.rows + low),
                    },
                };
                // SAFETY: offsets and pieces lie in the buffer, and results in the target.
                unsafe { self.set.correlate[high - low - 1][wide](&call) };
            };
            // The widest tiles that every panel has a kernel for; what remains gets narrower ones.
            let widest = |panel: usize| {
                self.set.correlate[self.panels.start(panel + 1) - self.panels.start(panel) - 1].len() - 1
            };
            let most = panels.clone().map(widest).min().unwrap_or(0);
            let walk = |panels: std::ops::Range<usize>| {
                let mut first = pieces.start;
                while first < pieces.end {
                    let wide = most.min((pieces.end - first).ilog2() as usize);
                    panels.clone().for_each(|panel| tile(panel, first, wide));
                    first += 1 << wide;
                }
            };
            if self.rows * terms * size_of::<T>() <= NEAR {
                walk(panels.clone());
            } else {
                panels.clone().for_each(|panel| walk(panel..panel + 1));
            }
        }
    }

    /// Joins the phases of some channels, and hands over what is finished.
    unsafe fn put_together(&self, unit: usize, rows: std::ops::Range<usize>, buffers: &Buffers<T>) {
        let first = (unit * self.rows + rows.start) * self.out;
        if let (Some(buffer), Some(phases)) = (&buffers.phases, &self.phases) {
            for row in rows.clone() {
                let to = self.to.wrapping_add((unit * self.rows + row) * self.out);
                // SAFETY: a channel of the buffer and its place in the result.
                unsafe { phases.join(buffer.pointer().add(row * phases.plane).cast_const(), to) };
            }
        }
        if let Some(finish) = self.finish {
            finish(first, rows.len() * self.out);
        }
    }
}

/// Memory of a unit: its image, and its results by phase, where they are needed.
struct Buffers<T: crate::cpu::real::Real> {
    image: Option<Scratch<T>>,
    phases: Option<Scratch<T>>,
}

// SAFETY: tasks write disjoint parts.
unsafe impl<T: crate::cpu::real::Real> Sync for Buffers<T> {}
