//! Forward and data gradient: channels by positions over a table of offsets.
//!
//! Tiles are channels by vectors of positions, which lie side by side in the buffer. Where rows are so narrow that
//! many lanes would lie between them, and channels are many, tiles are positions by vectors of channels
//! instead, and the result is transposed.
//!
//! One image and group is a unit of work. Where there are many small units, a task takes some of them, with
//! buffers of its own; else each unit's image is laid out, computed and put back together by all threads.

use std::ops::Range;

use super::cut::Cut;
use super::image::{Image, Phases, Side};
use super::tile::{Correlate, Element, Panels, Piece, Set, Spread, set};
use super::{Axis, Operands, Problem, checked, nanoseconds, taps, winograd};
use crate::cpu::gemm::pack::Strip;
use crate::cpu::gemm::sealed::Sealed;
use crate::cpu::isa::isa;
use crate::cpu::rows::{Input, Output as Shared, Scratch};
use crate::error::Result;
use crate::runtime::threads::{parallel, try_parallel};

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
    /// So many terms at a time have offsets that follow one another.
    run: usize,
    /// Where its packed weights begin.
    weights: usize,
    /// Where its results begin, in a channel of the target.
    target: usize,
}

impl Stage {
    /// `taps` is the number of taps along the innermost axis.
    fn new(offsets: Vec<u32>, taps: usize, weights: usize, target: usize) -> Stage {
        let follow = |run: &[u32]| run.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let run = if taps > 0 && offsets.chunks(taps).all(follow) { taps } else { 1 };
        Stage { offsets, run, weights, target }
    }
}

/// What is to be computed for every unit, whichever the direction.
struct Plan<'a, T: 'static> {
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
    cut: Cut,
    /// Packed weights of a group.
    packed: usize,
    operands: Operands<'a, T>,
}

/// The convolution of images by weights, plus a bias per output channel.
///
/// # Safety
/// The operands are what they say, for this problem.
pub unsafe fn forward<T: Element>(problem: &Problem, operands: Operands<'_, T>) -> Result<()> {
    if winograd::applies::<T>(problem, [problem.axes[1].out, problem.axes[2].out]) {
        // SAFETY: passed on.
        return unsafe { winograd::forward(problem, operands) };
    }
    let set = set::<T>(isa());
    let image = Image::new::<T>(problem.axes.map(|axis| Side::forward(&axis)), problem.channels)?;
    let taps = problem.taps();
    let terms = checked(&[problem.channels, taps])?;
    let stage = Stage::new(offsets(problem, &image, problem.channels), problem.axes[2].kernel, 0, 0);
    let (cut, pieces) = Cut::new(set, problem.filters, problem.axes.map(|axis| axis.out), image.pitch, true);
    let group_size = checked(&[cut.total(), terms])?;
    let packed = Scratch::<T>::zeroed(checked(&[problem.groups, group_size])?)?;
    let (memory, weight) = (Shared::new(packed.pointer()), Input::new(operands.weight));
    parallel(problem.groups * cut.count(), problem.groups as f64 * group_size as f64, &|task| {
        let (group, part) = (task / cut.count(), task % cut.count());
        let channels = cut.channels(part);
        // SAFETY: rows `channels` of the group's weights, and their place in the packed copy.
        unsafe {
            let strip = Strip {
                panel: memory.at(group * group_size + channels.start * terms),
                width: cut.width(part),
                source: weight.at((group * problem.filters + channels.start) * terms),
                count: channels.len(),
                k: terms,
                lane_stride: terms as isize,
                k_stride: 1,
            };
            (<T as Sealed>::set(isa()).pack)(&strip);
        }
    });
    let plan = Plan {
        set,
        problem: *problem,
        sources: problem.channels,
        rows: problem.filters,
        stages: vec![stage],
        pieces,
        phases: None,
        out: problem.out(),
        cut,
        packed: group_size,
        operands,
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

/// The image's gradient from the output's, or the transposed convolution; plus a bias per image channel.
///
/// # Safety
/// As for [`forward`].
pub unsafe fn data<T: Element>(problem: &Problem, operands: Operands<'_, T>) -> Result<()> {
    if winograd::applies::<T>(problem, [problem.axes[1].size, problem.axes[2].size]) {
        // SAFETY: passed on.
        return unsafe { winograd::data(problem, operands) };
    }
    let set = set::<T>(isa());
    let image = Image::new::<T>(problem.axes.map(|axis| Side::backward(&axis)), problem.filters)?;
    let phases = Phases::new(&problem.axes)?;
    let joined = problem.axes.iter().any(|axis| axis.stride != 1);
    let (taps, channels) = (problem.taps(), problem.channels);
    let (cut, pieces) = Cut::new(set, channels, phases.places, image.pitch, !joined);
    let terms = (problem.filters * taps) as f64;
    if taps::cost::<T>(problem).is_some_and(|cost| cost < 0.8 * terms * cut.vectors(pieces.len(), set.lanes)) {
        // SAFETY: passed on.
        return unsafe { taps::data(problem, operands) };
    }
    let group = checked(&[problem.filters, cut.total(), taps])?;
    let packed = Scratch::<T>::zeroed(checked(&[problem.groups, group])?)?;
    let (memory, weight) = (Shared::new(packed.pointer()), Input::new(operands.weight));
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
                .rev()
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
        parallel(problem.groups * cut.count(), (problem.groups * channels) as f64 * terms as f64, &|task| {
            let (index, part) = (task / cut.count(), task % cut.count());
            let rows = cut.channels(part);
            // SAFETY: channels `rows` of the group's weights, and their place in the packed copy.
            unsafe {
                let mut to = memory.at(index * group + start + rows.start * terms);
                for filter in 0..problem.filters {
                    for &(tap, _) in &found {
                        let at = ((index * problem.filters + filter) * channels + rows.start) * taps + tap;
                        let from = weight.at(at);
                        for channel in 0..rows.len() {
                            *to.add(channel) = *from.wrapping_add(channel * taps);
                        }
                        to = to.add(cut.width(part));
                    }
                }
            }
        });
        stages.push(Stage::new(offsets, read[2].len(), start, index * phases.phase));
        start += cut.total() * terms;
    }
    let plan = Plan {
        set,
        problem: *problem,
        sources: problem.filters,
        rows: channels,
        stages,
        pieces,
        phases: joined.then_some(phases),
        out: problem.size(),
        cut,
        packed: group,
        operands,
        image,
    };
    // SAFETY: passed on.
    unsafe { plan.run(packed.pointer()) }
}

/// Runs some units to a task, so many that it is worth its while; of the problem alone. A unit takes `each` nanoseconds.
pub(super) fn by_portions(units: usize, each: f64, body: &(dyn Fn(Range<usize>) -> Result<()> + Sync)) -> Result<()> {
    let portion = ((GOOD_TASK / each) as usize).clamp(1, units.div_ceil(16));
    try_parallel(units.div_ceil(portion), units as f64 * each, &|task| {
        body(task * portion..((task + 1) * portion).min(units))
    })
}

impl<T: Element> Plan<'_, T> {
    unsafe fn run(&self, packed: *const T) -> Result<()> {
        let units = self.problem.batch * self.problem.groups;
        let each = nanoseconds::<T>(self.problem.work())
            + (self.image.total as f64 + self.rows as f64 * self.out as f64) / 4.0;
        let packed = Shared::new(packed.cast_mut());
        if units < 8 || each > LONGEST_TASK {
            // SAFETY: passed on.
            return unsafe { self.run_one_by_one(packed, each) };
        }
        by_portions(units, each, &|units| {
            let buffers = self.buffers()?;
            for unit in units {
                // SAFETY: the units of this task, whose results nobody else writes.
                unsafe {
                    self.lay_out(unit, 0..self.sources, &buffers);
                    self.compute(unit, packed, 0..self.tiles(), 0..self.cut.count(), &buffers);
                    self.put_together(unit, 0..self.cut.count(), &buffers);
                }
            }
            Ok(())
        })
    }

    /// Each unit by all threads.
    unsafe fn run_one_by_one(&self, packed: Shared<T>, each: f64) -> Result<()> {
        let buffers = self.buffers()?;
        // Tiles of positions first; where those are few, panels of channels as well.
        let parts = ((each / GOOD_TASK) as usize).clamp(1, (each / LONGEST_TASK * 64.0) as usize + 64);
        let across = parts.min(self.tiles().div_ceil(8));
        let down = parts.div_ceil(across).min(self.cut.count());
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
                    let tiles = part(self.tiles(), across, task % across);
                    self.compute(unit, packed, tiles, part(self.cut.count(), down, task / across), &buffers);
                });
                parallel(self.cut.count(), self.rows as f64 * self.out as f64 / 4.0, &|part| {
                    self.put_together(unit, part..part + 1, &buffers);
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
        let size = match (&self.phases, &self.cut) {
            (Some(phases), _) => checked(&[phases.plane, self.rows])?,
            (None, Cut::Strips { .. }) => checked(&[self.cut.total(), self.out])?,
            _ => return Ok(Buffers { image, results: None }),
        };
        Ok(Buffers { image, results: Some(Scratch::zeroed(size)?) })
    }

    /// Vectors of positions, or panels of them.
    fn tiles(&self) -> usize {
        match &self.cut {
            Cut::Panels(_) => self.pieces.len(),
            Cut::Strips { positions, .. } => positions.count,
        }
    }

    /// Whether the image is read where it is: vectors end with its rows then.
    fn is_in_place(&self) -> bool {
        self.image.is_plain() && self.image.source.is_multiple_of(self.set.lanes) && self.pieces_fill()
    }

    fn pieces_fill(&self) -> bool {
        self.pieces.len() * self.set.lanes == self.image.source
    }

    fn image_of(&self, unit: usize) -> *const T {
        self.operands.from.wrapping_add(unit * self.sources * self.image.source)
    }

    /// Copies some channels of a unit's image into the buffer.
    unsafe fn lay_out(&self, unit: usize, channels: Range<usize>, buffers: &Buffers<T>) {
        let Some(buffer) = &buffers.image else { return };
        for channel in channels {
            let from = self.image_of(unit).wrapping_add(channel * self.image.source);
            // SAFETY: a channel of the image and its place.
            unsafe { self.image.fill(from, buffer.pointer().add(channel * self.image.plane)) };
        }
    }

    /// Computes some positions of some parts of the channels.
    unsafe fn compute(
        &self,
        unit: usize,
        packed: Shared<T>,
        tiles: Range<usize>,
        parts: Range<usize>,
        buffers: &Buffers<T>,
    ) {
        let group = unit % self.problem.groups;
        let source = buffers.image.as_ref().map_or_else(|| self.image_of(unit), |buffer| buffer.pointer().cast_const());
        let result = self.operands.to.wrapping_add(unit * self.rows * self.out);
        // SAFETY: passed on.
        unsafe {
            match (&self.cut, &buffers.results, &self.phases) {
                (Cut::Strips { width, positions, places, .. }, Some(results), _) => {
                    for part in parts {
                        let target = results.pointer().add(part * width * self.out);
                        let call = StripCall { group, part, width: *width, positions, places };
                        self.strip(call, source, packed, tiles.clone(), target);
                    }
                }
                (_, Some(results), Some(phases)) => {
                    self.panels(group, source, packed, tiles, parts, results.pointer(), phases.plane);
                }
                _ => self.panels(group, source, packed, tiles, parts, result, self.out),
            }
        }
    }

    /// A strip of channels at some positions: first the bias, then all terms.
    unsafe fn strip(&self, call: StripCall<'_>, source: *const T, packed: Shared<T>, tiles: Range<usize>, to: *mut T) {
        let StripCall { group, part, width, positions, places } = call;
        let channels = self.cut.channels(part);
        let positions_of = positions.start(tiles.start)..positions.start(tiles.end);
        for position in positions_of {
            for lane in 0..width {
                let bias = match self.operands.bias.is_null() || lane >= channels.len() {
                    true => T::ZERO,
                    // SAFETY: a channel of this group.
                    false => unsafe { *self.operands.bias.add(group * self.rows + channels.start + lane) },
                };
                // SAFETY: a position of this strip.
                unsafe { *to.add(position * width + lane) = bias };
            }
        }
        let kernels = self.set.spread[width / self.set.lanes - 1];
        for stage in &self.stages {
            let rows: Vec<u32> = stage.offsets.iter().copied().step_by(stage.run).collect();
            for tile in tiles.clone() {
                let (low, high) = (positions.start(tile), positions.start(tile + 1));
                // SAFETY: positions are the kernel's terms here and terms its positions; both lie in the buffer.
                unsafe {
                    let call = Spread {
                        offsets: places[low..].as_ptr(),
                        source,
                        rows: rows.as_ptr(),
                        row_count: rows.len(),
                        columns: stage.run,
                        filters: packed
                            .at(group * self.packed + stage.weights + channels.start * stage.offsets.len())
                            .cast_const(),
                        sums: to.add(low * width),
                    };
                    kernels[high - low - 1](&call);
                }
            }
        }
    }

    /// Panels of channels at some vectors of positions.
    unsafe fn panels(
        &self,
        group: usize,
        source: *const T,
        packed: Shared<T>,
        pieces: Range<usize>,
        panels: Range<usize>,
        target: *mut T,
        target_row: usize,
    ) {
        for stage in &self.stages {
            let terms = stage.offsets.len();
            let tile = |panel: usize, first: usize, wide: usize| {
                let Range { start: low, end: high } = self.cut.channels(panel);
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
                    bias: match self.operands.bias.is_null() {
                        true => self.operands.bias,
                        false => self.operands.bias.wrapping_add(group * self.rows + low),
                    },
                    add: false,
                };
                // SAFETY: offsets and pieces lie in the buffer, and results in the target.
                unsafe { self.set.correlate[high - low - 1][wide](&call) };
            };
            // The widest tiles that every panel has a kernel for; what remains gets narrower ones.
            let widest = |panel: usize| self.set.correlate[self.cut.width(panel) - 1].len() - 1;
            let most = panels.clone().map(widest).min().unwrap_or(0);
            let walk = |panels: Range<usize>| {
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

    /// Joins the phases or transposes the strips of some parts of the channels, and hands over what is finished.
    unsafe fn put_together(&self, unit: usize, parts: Range<usize>, buffers: &Buffers<T>) {
        for part in parts {
            let rows = self.cut.channels(part);
            let first = (unit * self.rows + rows.start) * self.out;
            let to = self.operands.to.wrapping_add(first);
            // SAFETY: channels of the buffer and their place in the result.
            unsafe {
                match (&buffers.results, &self.phases, &self.cut) {
                    (Some(results), Some(phases), _) => {
                        for row in rows.clone() {
                            let from = results.pointer().add(row * phases.plane).cast_const();
                            phases.join(from, to.add((row - rows.start) * self.out));
                        }
                    }
                    (Some(results), None, Cut::Strips { width, .. }) => {
                        let strip = Strip {
                            panel: to,
                            width: self.out,
                            source: results.pointer().add(rows.start * self.out).cast_const(),
                            count: self.out,
                            k: rows.len(),
                            lane_stride: *width as isize,
                            k_stride: 1,
                        };
                        (<T as Sealed>::set(isa()).pack)(&strip);
                    }
                    _ => {}
                }
            }
            if let Some(finish) = self.operands.finish {
                finish(first, rows.len() * self.out);
            }
        }
    }
}

/// A strip of channels and how positions are cut.
struct StripCall<'a> {
    group: usize,
    part: usize,
    width: usize,
    positions: &'a Panels,
    places: &'a [u32],
}

/// Memory of a unit: its image, and its results by phase or in strips, where they are needed.
struct Buffers<T: crate::cpu::real::Real> {
    image: Option<Scratch<T>>,
    results: Option<Scratch<T>>,
}

// SAFETY: tasks write disjoint parts.
unsafe impl<T: crate::cpu::real::Real> Sync for Buffers<T> {}
