//! The weight gradient: sums over positions and images.
//!
//! With many output channels in a group, a tile holds terms (input channel and tap) by vectors of output
//! channels: an element of the image, read wherever the tap's offset says, times a row of the cotangent,
//! which is transposed once per image. With few, a tile holds output channels by terms, each a vector of
//! partial sums over positions, which are folded at the end. Images are dealt to a fixed number of portions with
//! sums of their own, added in order.

use super::correlate::{LONGEST_TASK, offsets};
use super::image::{Image, Side};
use super::tile::{Element, Inner, Panels, Piece, Set, Spread, set};
use super::{Problem, checked, nanoseconds, winograd};
use crate::cpu::gemm::pack::Strip;
use crate::cpu::gemm::sealed::Sealed;
use crate::cpu::isa::{isa, per_isa};
use crate::cpu::real::Real;
use crate::cpu::rows::{Output as Shared, Scratch};
use crate::error::Result;
use crate::runtime::threads::{parallel, try_parallel};

/// Sums of all portions take at most so many bytes.
const SUMS: usize = 16 << 20;
/// Images are dealt to at most so many portions.
const PORTIONS: usize = 16;
/// Elements of the sums that a task adds up.
const FOLDED: usize = 4096;

/// How the sums of a group are laid out and computed.
enum Method {
    /// Strips of output channels, each (terms, channels of a strip).
    Spread {
        /// Channels of a strip, the last one's rest zero.
        width: usize,
        strips: usize,
        panels: Panels,
        /// Where rows of positions begin, in the buffer.
        rows: Vec<u32>,
    },
    /// (output channels, terms, lanes).
    Inner { channels: Panels, terms: Panels, pieces: Vec<Piece> },
}

struct Plan<T: 'static> {
    set: &'static Set<T>,
    problem: Problem,
    image: Image,
    offsets: Vec<u32>,
    method: Method,
    /// Elements of a group's sums.
    sums: usize,
    /// Elements of an image's transposed cotangent.
    filters: usize,
    x: *const T,
    y: *const T,
}

// SAFETY: operands are only read; every task has sums of its own.
unsafe impl<T: Sync> Sync for Plan<T> {}

/// The gradient of the weights from images `x` and the output's cotangent `y`.
///
/// # Safety
/// `x`, `y` and `weight` are contiguous with the sizes of the problem; `weight` overlaps neither.
pub unsafe fn weight<T: Element>(problem: &Problem, x: *const T, y: *const T, weight: *mut T) -> Result<()> {
    if let Some(portions) = winograd::portions::<T>(problem) {
        // SAFETY: passed on.
        return unsafe { winograd::weight(problem, portions, x, y, weight) };
    }
    let plan = Plan::new(problem, x, y)?;
    // SAFETY: passed on.
    unsafe { plan.run(weight) }
}

impl<T: Element> Plan<T> {
    fn new(problem: &Problem, x: *const T, y: *const T) -> Result<Self> {
        let set = set::<T>(isa());
        let image = Image::new::<T>(problem.axes.map(|axis| Side::forward(&axis)), problem.channels)?;
        let offsets = offsets(problem, &image, problem.channels);
        let (terms, filters, out) = (offsets.len(), problem.filters, problem.axes.map(|axis| axis.out));
        let width = if filters > set.lanes { 2 * set.lanes } else { set.lanes };
        // Vectors per position and filter either way; partial sums cost a little more.
        let wasted = filters.next_multiple_of(set.lanes) as f64 / filters as f64;
        let vectors = out[2].div_ceil(set.lanes);
        let (method, sums, filters) = if wasted < 1.15 * (vectors * set.lanes) as f64 / out[2] as f64 {
            let strips = filters.div_ceil(width);
            let kernels = set.spread[width / set.lanes - 1];
            let rows = (0..out[0] * out[1])
                .map(|row| (row / out[1] * image.pitch[0] + row % out[1] * image.pitch[1]) as u32)
                .collect();
            let method = Method::Spread { width, strips, panels: Panels::new(terms, kernels.len()), rows };
            (method, checked(&[strips, width, terms])?, checked(&[strips, width, problem.out()])?)
        } else {
            // More channels or more terms, whichever fits: as many as the tile for all channels has.
            let channels = Panels::new(filters, set.inner.len());
            let terms_panels = Panels::new(terms, set.inner[filters.div_ceil(channels.count) - 1].len());
            let pieces = row_pieces(out, image.pitch, set.lanes);
            (Method::Inner { channels, terms: terms_panels, pieces }, checked(&[filters, terms, set.lanes])?, 0)
        };
        Ok(Plan { set, problem: *problem, image, offsets, method, sums, filters, x, y })
    }

    unsafe fn run(&self, weight: *mut T) -> Result<()> {
        let Problem { batch, groups, .. } = self.problem;
        let each = nanoseconds::<T>(self.problem.work()) + (self.image.total + self.filters) as f64 / 4.0;
        let bytes = self.sums * groups * size_of::<T>();
        let portions =
            if groups >= PORTIONS { 1 } else { PORTIONS.div_ceil(groups).min(batch).min(SUMS / bytes.max(1)) };
        let memory = Scratch::<T>::zeroed(checked(&[portions.max(1), groups, self.sums])?)?;
        let sums = Shared::new(memory.pointer());
        let images = batch.div_ceil(portions.max(1));
        if portions * groups < 8 || each * images as f64 > 4.0 * LONGEST_TASK {
            // SAFETY: passed on.
            unsafe { self.run_one_by_one(sums, each)? };
            // SAFETY: as above; there is one portion.
            unsafe { self.fold(sums, 1, weight) };
            return Ok(());
        }
        try_parallel(portions * groups, (batch * groups) as f64 * each, &|task| {
            let (portion, group) = (task / groups, task % groups);
            let (image, filters) = self.buffers()?;
            for entry in batch * portion / portions..batch * (portion + 1) / portions {
                // SAFETY: the sums of this portion and group.
                unsafe {
                    self.lay_out(entry, group, 0..self.problem.channels, &image);
                    self.transpose(entry, group, None, &filters);
                    self.add(entry, group, None, &image, &filters, sums.at(task * self.sums));
                }
            }
            Ok(())
        })?;
        // SAFETY: as above.
        unsafe { self.fold(sums, portions, weight) };
        Ok(())
    }

    /// Each image and group by all threads, into one set of sums.
    unsafe fn run_one_by_one(&self, sums: Shared<T>, each: f64) -> Result<()> {
        let (image, filters) = self.buffers()?;
        let (image, filters) = (&image, &filters);
        let tasks = match &self.method {
            Method::Spread { strips, panels, .. } => strips * panels.count,
            Method::Inner { channels, terms, .. } => channels.count * terms.count,
        };
        for unit in 0..self.problem.batch * self.problem.groups {
            let (entry, group) = (unit / self.problem.groups, unit % self.problem.groups);
            // SAFETY: tasks write disjoint parts of buffers and sums, and phases wait for one another.
            unsafe {
                parallel(self.problem.channels, self.image.total as f64 / 4.0, &|channel| {
                    self.lay_out(entry, group, channel..channel + 1, image);
                });
                if let Method::Spread { strips, .. } = self.method {
                    parallel(strips, self.filters as f64 / 4.0, &|strip| {
                        self.transpose(entry, group, Some(strip), filters);
                    });
                }
                parallel(tasks, each, &|task| {
                    self.add(entry, group, Some(task), image, filters, sums.at(group * self.sums));
                });
            }
            if crate::runtime::interrupt::pending() {
                break;
            }
        }
        Ok(())
    }

    fn buffers(&self) -> Result<(Memory<T>, Memory<T>)> {
        Ok((Memory(Scratch::zeroed(self.image.total)?), Memory(Scratch::zeroed(self.filters)?)))
    }

    unsafe fn lay_out(&self, entry: usize, group: usize, channels: std::ops::Range<usize>, to: &Memory<T>) {
        let first = (entry * self.problem.groups + group) * self.problem.channels;
        for channel in channels {
            let from = self.x.wrapping_add((first + channel) * self.image.source);
            // SAFETY: a channel of the image and its place.
            unsafe { self.image.fill(from, to.0.pointer().add(channel * self.image.plane)) };
        }
    }

    fn cotangent(&self, entry: usize, group: usize) -> *const T {
        self.y.wrapping_add((entry * self.problem.groups + group) * self.problem.filters * self.problem.out())
    }

    /// Transposes one strip of the cotangent, or all.
    unsafe fn transpose(&self, entry: usize, group: usize, only: Option<usize>, to: &Memory<T>) {
        let Method::Spread { width, strips, .. } = self.method else { return };
        let out = self.problem.out();
        for strip in only.map_or(0..strips, |strip| strip..strip + 1) {
            let first = strip * width;
            // SAFETY: channels from `first` on, and their place.
            unsafe {
                let strip = Strip {
                    panel: to.0.pointer().add(first * out),
                    width,
                    source: self.cotangent(entry, group).wrapping_add(first * out),
                    count: width.min(self.problem.filters - first),
                    k: out,
                    lane_stride: out as isize,
                    k_stride: 1,
                };
                (<T as Sealed>::set(isa()).pack)(&strip);
            }
        }
    }

    /// Adds one image to the sums: one tile of them, or all.
    unsafe fn add(
        &self,
        entry: usize,
        group: usize,
        only: Option<usize>,
        image: &Memory<T>,
        filters: &Memory<T>,
        sums: *mut T,
    ) {
        let source = image.0.pointer().cast_const();
        match &self.method {
            Method::Spread { width, strips, panels, rows } => {
                let kernels = self.set.spread[width / self.set.lanes - 1];
                for task in only.map_or(0..strips * panels.count, |task| task..task + 1) {
                    let (strip, panel) = (task / panels.count, task % panels.count);
                    let (low, high) = (panels.start(panel), panels.start(panel + 1));
                    let call = Spread {
                        offsets: self.offsets[low..].as_ptr(),
                        source,
                        rows: rows.as_ptr(),
                        row_count: rows.len(),
                        columns: self.problem.axes[2].out,
                        filters: filters.0.pointer().wrapping_add(strip * width * self.problem.out()),
                        sums: sums.wrapping_add((strip * self.offsets.len() + low) * width),
                    };
                    // SAFETY: offsets and rows lie in the buffer; the strip has all positions.
                    unsafe { kernels[high - low - 1](&call) };
                }
            }
            Method::Inner { channels, terms, pieces } => {
                let out = self.problem.out();
                for task in only.map_or(0..channels.count * terms.count, |task| task..task + 1) {
                    let (panel, part) = (task / terms.count, task % terms.count);
                    let (low, high) = (channels.start(panel), channels.start(panel + 1));
                    let (first, last) = (terms.start(part), terms.start(part + 1));
                    let call = Inner {
                        offsets: self.offsets[first..].as_ptr(),
                        source,
                        pieces: pieces.as_ptr(),
                        count: pieces.len(),
                        filters: self.cotangent(entry, group).wrapping_add(low * out),
                        filter_row: out,
                        sums: sums.wrapping_add((low * self.offsets.len() + first) * self.set.lanes),
                        sums_row: self.offsets.len(),
                    };
                    // SAFETY: offsets and pieces lie in the buffer and in the cotangent.
                    unsafe { self.set.inner[high - low - 1][last - first - 1](&call) };
                }
            }
        }
    }

    /// Adds the portions in order and writes the gradient.
    unsafe fn fold(&self, sums: Shared<T>, portions: usize, weight: *mut T) {
        let Problem { groups, filters, .. } = self.problem;
        let (terms, lanes) = (self.offsets.len(), self.set.lanes);
        let weight = Shared::new(weight);
        let all = self.sums * groups;
        let nanoseconds = (all * portions) as f64 / 4.0;
        if portions > 1 {
            parallel(all.div_ceil(FOLDED), nanoseconds, &|task| {
                let first = task * FOLDED;
                // SAFETY: these elements of every portion, which no other task touches.
                unsafe { add_up(sums.at(first), portions, all, FOLDED.min(all - first)) };
            });
        }
        let parts = match &self.method {
            Method::Spread { strips, .. } => *strips,
            Method::Inner { .. } => filters,
        };
        parallel(groups * parts, all as f64 / 4.0, &|task| {
            let (group, part) = (task / parts, task % parts);
            // SAFETY: the sums of this part of the group, and its rows of the gradient.
            unsafe {
                match &self.method {
                    Method::Spread { width, .. } => {
                        let first = part * width;
                        let strip = Strip {
                            panel: weight.at((group * filters + first) * terms),
                            width: terms,
                            source: sums.at(group * self.sums + first * terms).cast_const(),
                            count: terms,
                            k: (filters - first).min(*width),
                            lane_stride: *width as isize,
                            k_stride: 1,
                        };
                        (<T as Sealed>::set(isa()).pack)(&strip);
                    }
                    Method::Inner { .. } => {
                        let from = sums.at(group * self.sums + part * terms * lanes).cast_const();
                        sum_lanes(from, lanes, weight.at((group * filters + part) * terms), terms);
                    }
                }
            }
        });
    }
}

per_isa! {
    /// Adds `count` elements of further portions, `next` elements apart, to those of the first.
    pub(super) unsafe fn add_up<T: Real>(first: *mut T, portions: usize, next: usize, count: usize) {
        for portion in 1..portions {
            for i in 0..count {
                *first.add(i) += *first.add(portion * next + i);
            }
        }
    }
}

per_isa! {
    /// Writes the sum of each of `count` rows of `lanes` elements.
    unsafe fn sum_lanes<T: Real>(from: *const T, lanes: usize, to: *mut T, count: usize) {
        for row in 0..count {
            let mut sum = T::ZERO;
            for lane in 0..lanes {
                sum += *from.add(row * lanes + lane);
            }
            *to.add(row) = sum;
        }
    }
}

/// Memory whose disjoint parts tasks write.
struct Memory<T: Real>(Scratch<T>);

// SAFETY: as it says.
unsafe impl<T: Real> Sync for Memory<T> {}

/// Vectors of one row each; of the last one of a row, the first lanes.
fn row_pieces(out: [usize; 3], pitch: [usize; 3], lanes: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for row in 0..out[0] * out[1] {
        let from = row / out[1] * pitch[0] + row % out[1] * pitch[1];
        for column in (0..out[2]).step_by(lanes) {
            let count = lanes.min(out[2] - column);
            let selected = ((1u64 << count) - 1) as u32;
            pieces.push(Piece { from: (from + column) as u32, to: (row * out[2] + column) as u32, lanes: selected });
        }
    }
    pieces
}
