//! The weight gradient: products of transformed tiles of image and cotangent, summed over tiles and images.
//!
//! Sums are those of `A dy A'` (rows, along vectors, transposed for it) and `B' d B` (sources) for each of the 16
//! products. Images are dealt to a fixed number of portions with sums of their own, which are added in order.

use super::super::tile::{Element, Panels, Set, Spread, set};
use super::super::weight::add_up;
use super::super::{Problem, checked, nanoseconds};
use super::tiles::{Gradients, Images, PRODUCTS, Tiles, transform_cotangents, transform_gradients, transform_images};
use super::{applies, tiled};
use crate::cpu::conv::correlate::LONGEST_TASK;
use crate::cpu::conv::image::Image;
use crate::cpu::gemm::pack::Strip;
use crate::cpu::gemm::sealed::Sealed;
use crate::cpu::isa::isa;
use crate::cpu::lanes::SHORT;
use crate::cpu::rows::{Output as Shared, Scratch};
use crate::error::Result;
use crate::runtime::threads::{parallel, try_parallel};

/// Sums of all portions take about so many bytes, those of one at most half of it.
const SUMS: usize = 8 << 20;
/// The fewest and the most portions that images are dealt to, times groups.
const PORTIONS: [usize; 2] = [8, 16];
/// Tiles worked on at a time.
const BLOCK: usize = 4 * SHORT;
/// From a channel's transformed tiles to the next.
const PITCH: usize = BLOCK + SHORT;
/// Elements of the sums that a task adds up.
const FOLDED: usize = 4096;

/// From a product of some channels to the next: not a multiple of a page, as a tile's products are written together.
fn pitch(channels: usize) -> usize {
    channels * PITCH + SHORT
}

struct Plan<T: 'static> {
    set: &'static Set<T>,
    problem: Problem,
    portions: usize,
    image: Image,
    cotangent: Image,
    columns: usize,
    tiles: usize,
    /// Rows of a strip, and strips; the last one's rest is zero.
    width: usize,
    strips: usize,
    panels: Panels,
    offsets: Vec<u32>,
    x: *const T,
    y: *const T,
}

// SAFETY: operands are only read; every task has sums of its own.
unsafe impl<T: Sync> Sync for Plan<T> {}

/// Into how many portions the images of the problem are dealt; none where it is not done this way.
pub fn portions<T>(problem: &Problem) -> Option<usize> {
    let Problem { batch, groups, channels, filters, axes } = *problem;
    let sizes = [axes[1].out, axes[2].out];
    if !applies::<T>(problem, sizes) {
        return None;
    }
    let bytes = checked(&[PRODUCTS, groups, channels, filters.next_multiple_of(32)]).ok()? * size_of::<T>();
    let portions = PORTIONS[1].div_ceil(groups).min(batch).min((SUMS / bytes).max(PORTIONS[0].div_ceil(groups)));
    let task = nanoseconds::<T>(problem.work()) * batch.div_ceil(portions.max(1)) as f64;
    (portions * groups >= PORTIONS[0] && task <= 4.0 * LONGEST_TASK && 2 * bytes <= SUMS).then_some(portions)
}

/// The gradient of the weights from images `x` and the output's cotangent `y`, in so many [`portions`].
///
/// # Safety
/// As for the direct one.
pub unsafe fn weight<T: Element>(
    problem: &Problem,
    portions: usize,
    x: *const T,
    y: *const T,
    weight: *mut T,
) -> Result<()> {
    let set = set::<T>(isa());
    let [_, middle, inner] = &problem.axes;
    let sizes = [middle.out, inner.out];
    let image = tiled::<T>(sizes, [middle.size, inner.size], [middle.before, inner.before], problem.channels)?;
    let cotangent = tiled::<T>(sizes, sizes, [0, 0], problem.filters)?;
    let width = if problem.filters > set.lanes { 2 * set.lanes } else { set.lanes };
    checked(&[PRODUCTS, problem.filters.max(problem.channels), PITCH])?;
    let plan = Plan {
        set,
        problem: *problem,
        portions,
        image,
        cotangent,
        columns: sizes[1].div_ceil(2),
        tiles: sizes[0].div_ceil(2) * sizes[1].div_ceil(2),
        width,
        strips: problem.filters.div_ceil(width),
        panels: Panels::new(problem.channels, set.spread[width / set.lanes - 1].len()),
        offsets: (0..problem.channels).map(|channel| (channel * PITCH) as u32).collect(),
        x,
        y,
    };
    // SAFETY: passed on.
    unsafe { plan.run(weight) }
}

impl<T: Element> Plan<T> {
    /// Sums of a product: by strip, source and row.
    fn product(&self) -> usize {
        self.strips * self.width * self.problem.channels
    }

    unsafe fn run(&self, weight: *mut T) -> Result<()> {
        let Problem { batch, groups, channels, filters, .. } = self.problem;
        let group = PRODUCTS * self.product();
        let all = groups * group;
        // With room for a chunk of rows behind the end.
        let memory = Scratch::<T>::zeroed(checked(&[self.portions, all])? + SHORT)?;
        let (sums, weight) = (Shared::new(memory.pointer()), Shared::new(weight));
        let work = (PRODUCTS * self.tiles * filters) as f64 * channels as f64;
        let each = 1.3 * nanoseconds::<T>(work) + (self.image.total + self.cotangent.total) as f64 / 4.0;
        try_parallel(self.portions * groups, (batch * groups) as f64 * each, &|task| {
            let (portion, index) = (task / groups, task % groups);
            let entries = batch * portion / self.portions..batch * (portion + 1) / self.portions;
            // SAFETY: the sums of this portion and group.
            unsafe { self.add(entries, index, sums.at(task * group)) }
        })?;
        parallel(all.div_ceil(FOLDED), (all * self.portions) as f64 / 4.0, &|task| {
            let first = task * FOLDED;
            // SAFETY: these elements of every portion, which no other task touches.
            unsafe { add_up(sums.at(first), self.portions, all, FOLDED.min(all - first)) };
        });
        parallel(groups * self.strips, all as f64 / 4.0, &|task| {
            let (index, strip) = (task / self.strips, task % self.strips);
            let first = strip * self.width;
            // SAFETY: the sums of this strip, and its rows of the gradient.
            unsafe {
                transform_gradients(Gradients {
                    from: sums.at(index * group + first * channels),
                    strides: [self.product(), self.width],
                    counts: [self.width.min(filters - first), channels],
                    to: weight.at((index * filters + first) * channels * 9),
                    row: channels * 9,
                });
            }
        });
        Ok(())
    }

    /// Adds some images of a group to the sums.
    unsafe fn add(&self, entries: std::ops::Range<usize>, group: usize, sums: *mut T) -> Result<()> {
        let Problem { groups, channels, filters, .. } = self.problem;
        let image = Scratch::<T>::zeroed(self.image.total)?;
        let cotangent = Scratch::<T>::zeroed(self.cotangent.total)?;
        let sources = Scratch::<T>::zeroed(PRODUCTS * pitch(channels))?;
        let rows = Scratch::<T>::zeroed(PRODUCTS * pitch(filters))?;
        let strip = Scratch::<T>::zeroed(BLOCK * self.width)?;
        for entry in entries {
            let unit = entry * groups + group;
            // SAFETY: images and cotangents of this unit; buffers are made for a block.
            unsafe {
                for (operand, count, layout, buffer) in
                    [(self.x, channels, &self.image, &image), (self.y, filters, &self.cotangent, &cotangent)]
                {
                    for channel in 0..count {
                        let from = operand.wrapping_add((unit * count + channel) * layout.source);
                        layout.fill(from, buffer.pointer().add(channel * layout.plane));
                    }
                }
                for first in (0..self.tiles).step_by(BLOCK) {
                    let tiles = Tiles { first, count: BLOCK.min(self.tiles - first), columns: self.columns };
                    let operand = |layout: &Image, from: &Scratch<T>, channels: usize, to: &Scratch<T>| Images {
                        from: from.pointer().cast_const(),
                        strides: [layout.plane, layout.phase, layout.pitch[1]],
                        channels,
                        tiles,
                        to: to.pointer(),
                        pitches: [pitch(channels), PITCH],
                    };
                    transform_images(operand(&self.image, &image, channels, &sources));
                    transform_cotangents(operand(&self.cotangent, &cotangent, filters, &rows));
                    self.multiply(tiles.count, sources.pointer(), rows.pointer(), strip.pointer(), sums);
                }
            }
        }
        Ok(())
    }

    /// Adds the products of some tiles to the sums.
    unsafe fn multiply(&self, count: usize, sources: *const T, rows: *const T, strip: *mut T, sums: *mut T) {
        let Problem { channels, filters, .. } = self.problem;
        let kernels = self.set.spread[self.width / self.set.lanes - 1];
        for product in 0..PRODUCTS {
            for index in 0..self.strips {
                let first = index * self.width;
                let packed = Strip {
                    panel: strip,
                    width: self.width,
                    source: rows.wrapping_add(product * pitch(filters) + first * PITCH),
                    count: self.width.min(filters - first),
                    k: count,
                    lane_stride: PITCH as isize,
                    k_stride: 1,
                };
                // SAFETY: rows of this strip, and memory for a block of them.
                unsafe { (<T as Sealed>::set(isa()).pack)(&packed) };
                for panel in 0..self.panels.count {
                    let (low, high) = (self.panels.start(panel), self.panels.start(panel + 1));
                    let call = Spread {
                        offsets: self.offsets[low..].as_ptr(),
                        source: sources.wrapping_add(product * pitch(channels)),
                        rows: &0,
                        row_count: 1,
                        columns: count,
                        filters: strip,
                        sums: sums.wrapping_add(product * self.product() + first * channels + low * self.width),
                    };
                    // SAFETY: sources of this panel, and their sums.
                    unsafe { kernels[high - low - 1](&call) };
                }
            }
        }
    }
}
