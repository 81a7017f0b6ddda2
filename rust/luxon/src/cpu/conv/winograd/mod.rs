//! Kernels of 3 by 3 through products of transformed tiles (Winograd 1980, Lavin and Gray 2016).
//!
//! Four outputs of a channel take 16 products, where the direct sum takes 36: those of a tile of 4 by 4 elements of
//! the image, transformed, with the transformed kernel. Products are summed over channels before the
//! transformation back, so with many channels on both sides little is left of the transforms. Data gradients are
//! the same with kernels turned around; weight gradients (`weight`) sum products over tiles and images.
//!
//! Only for f32. Rounding errors are small multiples of the direct sum's, but they go by the largest element of a
//! tile, and an infinity makes NaNs of all four outputs. Whether an output is computed so depends on the kernel, the
//! channels and the size of the image, never on the batch.

use std::ops::Range;

use super::correlate::by_portions;
use super::image::{Image, Side};
use super::tile::{Correlate, Element, Panels, Piece, Set, set};
use super::{Operands, Problem, checked, nanoseconds};
use crate::cpu::isa::isa;
use crate::cpu::lanes::SHORT;
use crate::cpu::real::Real;
use crate::cpu::rows::{Input, Output as Shared, Scratch};
use crate::error::Result;
use crate::runtime::threads::{parallel, try_parallel};

mod tiles;
mod weight;

pub(super) use weight::{portions, weight};

use tiles::{Images, Kernels, Outputs, PRODUCTS, Tiles, transform_images, transform_kernels, transform_outputs};

/// The fewest channels on either side for which it is done.
const CHANNELS: usize = 24;
/// The fewest tiles of an image.
const TILES: usize = 16;
/// Transformed tiles of at most about so many bytes are worked on at a time, so that they stay in cache.
const NEAR: usize = 256 << 10;

/// Whether the products of this problem are computed here; `sizes` are those of the result's last two axes.
pub(super) fn applies<T>(problem: &Problem, sizes: [usize; 2]) -> bool {
    let [outer, middle, inner] = &problem.axes;
    let square = [middle, inner].iter().all(|axis| (axis.kernel, axis.stride, axis.dilation) == (3, 1, 1));
    let flat = (outer.size, outer.kernel, outer.out) == (1, 1, 1);
    let tiles: usize = sizes.iter().map(|size| size.div_ceil(2)).product();
    let many = problem.channels >= CHANNELS && problem.filters >= CHANNELS && tiles >= TILES;
    size_of::<T>() == 4 && square && flat && many
}

/// An image, padded and split, whose tiles belong to results of these sizes.
fn tiled<T>(sizes: [usize; 2], sources: [usize; 2], before: [isize; 2], channels: usize) -> Result<Image> {
    let side = |axis: usize| Side {
        size: sources[axis],
        stride: 2,
        before: before[axis],
        places: sizes[axis].div_ceil(2) + 1,
        phases: vec![0, 1],
    };
    let outer = Side { size: 1, stride: 1, before: 0, places: 1, phases: vec![0] };
    Image::new::<T>([outer, side(0), side(1)], channels)
}

struct Plan<'a, T: 'static> {
    set: &'static Set<T>,
    units: usize,
    groups: usize,
    image: Image,
    /// Channels that are read and written in a unit.
    sources: usize,
    rows: usize,
    panels: Panels,
    /// Height and width of the results.
    sizes: [usize; 2],
    /// Tiles in a row, and in all.
    columns: usize,
    tiles: usize,
    /// Tiles worked on at a time.
    block: usize,
    pieces: Vec<Piece>,
    offsets: Vec<u32>,
    operands: Operands<'a, T>,
}

/// The convolution, plus a bias per output channel.
///
/// # Safety
/// As for the direct one; the problem is one to which this [`applies`].
pub unsafe fn forward<T: Element>(problem: &Problem, operands: Operands<'_, T>) -> Result<()> {
    let [_, middle, inner] = &problem.axes;
    let sizes = [middle.out, inner.out];
    let image = tiled::<T>(sizes, [middle.size, inner.size], [middle.before, inner.before], problem.channels)?;
    let counts = [problem.filters, problem.channels];
    let plan = Plan::new(problem, image, sizes, counts, operands)?;
    // SAFETY: passed on.
    unsafe { plan.run([9 * problem.channels, 9], false) }
}

/// The image's gradient from the output's, plus a bias per image channel.
///
/// # Safety
/// As for the direct one; the problem is one to which this [`applies`].
pub unsafe fn data<T: Element>(problem: &Problem, operands: Operands<'_, T>) -> Result<()> {
    let [_, middle, inner] = &problem.axes;
    let sizes = [middle.size, inner.size];
    let before = [2 - middle.before, 2 - inner.before];
    let image = tiled::<T>(sizes, [middle.out, inner.out], before, problem.filters)?;
    let counts = [problem.channels, problem.filters];
    let plan = Plan::new(problem, image, sizes, counts, operands)?;
    // SAFETY: passed on.
    unsafe { plan.run([9, 9 * problem.channels], true) }
}

/// Memory of a task.
struct Buffers<T> {
    /// Transformed tiles: by product and source.
    tiles: Scratch<T>,
    /// Products of a panel: by product and row.
    products: Scratch<T>,
    /// Two rows of outputs.
    between: Scratch<T>,
}

impl<'a, T: Element> Plan<'a, T> {
    fn new(
        problem: &Problem,
        image: Image,
        sizes: [usize; 2],
        [rows, sources]: [usize; 2],
        operands: Operands<'a, T>,
    ) -> Result<Self> {
        let set = set::<T>(isa());
        let [lines, columns] = sizes.map(|size| size.div_ceil(2));
        let tiles = checked(&[lines, columns])?;
        let block = (NEAR / (PRODUCTS * sources * size_of::<T>())).clamp(2 * SHORT, 16 * SHORT) / SHORT * SHORT;
        let block = block.min(tiles.next_multiple_of(SHORT));
        let pitch = block + SHORT;
        checked(&[PRODUCTS, sources.max(rows), pitch])?;
        checked(&[rows, sizes[0], sizes[1]])?;
        let all = ((1u64 << set.lanes) - 1) as u32;
        let pieces = (0..block).step_by(set.lanes).map(|at| Piece { from: at as u32, to: at as u32, lanes: all });
        Ok(Plan {
            set,
            units: problem.batch * problem.groups,
            groups: problem.groups,
            image,
            sources,
            rows,
            panels: Panels::new(rows, set.correlate.len()),
            sizes,
            columns,
            tiles,
            block,
            pieces: pieces.collect(),
            offsets: (0..sources).map(|source| (source * pitch) as u32).collect(),
            operands,
        })
    }

    /// From a channel's tiles to the next.
    fn pitch(&self) -> usize {
        self.block + SHORT
    }

    /// From a product of all sources to the next: not a multiple of a page, as a tile's products are written together.
    fn product(&self) -> usize {
        self.sources * self.pitch() + SHORT
    }

    unsafe fn run(&self, strides: [usize; 2], turned: bool) -> Result<()> {
        let group = checked(&[PRODUCTS, self.rows, self.sources])?;
        let kernels = Scratch::<T>::unwritten(checked(&[self.groups, group])?)?;
        let (memory, weight) = (Shared::new(kernels.pointer()), Input::new(self.operands.weight));
        let panels = self.panels.count;
        parallel(self.groups * panels, (self.groups * group) as f64, &|task| {
            let (index, panel) = (task / panels, task % panels);
            let (low, high) = (self.panels.start(panel), self.panels.start(panel + 1));
            // SAFETY: kernels of this group, rows of this panel.
            unsafe {
                transform_kernels(Kernels {
                    from: weight.at(index * self.rows * self.sources * 9 + low * strides[0]),
                    strides,
                    counts: [high - low, self.sources],
                    turned,
                    to: memory.at(index * group + low * self.sources),
                    product: self.rows * self.sources,
                });
            }
        });
        let work = (PRODUCTS * self.tiles * self.rows) as f64 * self.sources as f64;
        let each = 1.2 * nanoseconds::<T>(work) + (self.image.total + self.rows * self.tiles * 4) as f64 / 4.0;
        // SAFETY: passed on.
        unsafe {
            match self.units < 8 {
                true => self.run_one_by_one(memory, each),
                false => self.run_units(memory, each),
            }
        }
    }

    /// Some units to a task.
    unsafe fn run_units(&self, kernels: Shared<T>, each: f64) -> Result<()> {
        by_portions(self.units, each, &|units| {
            let (buffers, image) = (self.buffers()?, Memory(Scratch::zeroed(self.image.total)?));
            for unit in units {
                // SAFETY: the units of this task, whose results nobody else writes.
                unsafe {
                    self.lay_out(unit, 0..self.sources, &image);
                    for first in (0..self.tiles).step_by(self.block) {
                        self.compute(unit, first, kernels, &image, &buffers);
                    }
                }
                self.hand_over(unit, 0..self.rows);
            }
            Ok(())
        })
    }

    /// Each unit by all threads.
    unsafe fn run_one_by_one(&self, kernels: Shared<T>, each: f64) -> Result<()> {
        let image = Memory(Scratch::zeroed(self.image.total)?);
        for unit in 0..self.units {
            // SAFETY: tasks write disjoint parts of buffer and result, and phases wait for one another.
            unsafe {
                parallel(self.sources, self.image.total as f64 / 4.0, &|source| {
                    self.lay_out(unit, source..source + 1, &image);
                });
                try_parallel(self.tiles.div_ceil(self.block), each, &|block| {
                    self.compute(unit, block * self.block, kernels, &image, &self.buffers()?);
                    Ok(())
                })?;
            }
            let outputs = self.rows * self.sizes[0] * self.sizes[1];
            parallel(self.rows, outputs as f64 / 4.0, &|row| self.hand_over(unit, row..row + 1));
            if crate::runtime::interrupt::pending() {
                break;
            }
        }
        Ok(())
    }

    fn buffers(&self) -> Result<Buffers<T>> {
        let highest = self.rows.div_ceil(self.panels.count);
        Ok(Buffers {
            tiles: Scratch::zeroed(PRODUCTS * self.product())?,
            products: Scratch::zeroed(PRODUCTS * highest * self.pitch())?,
            between: Scratch::zeroed(4 * self.pitch())?,
        })
    }

    unsafe fn lay_out(&self, unit: usize, sources: Range<usize>, image: &Memory<T>) {
        for source in sources {
            let from = self.operands.from.wrapping_add((unit * self.sources + source) * self.image.source);
            // SAFETY: a channel of the image and its place.
            unsafe { self.image.fill(from, image.0.pointer().add(source * self.image.plane)) };
        }
    }

    /// All channels of the block of tiles from `first` on.
    unsafe fn compute(&self, unit: usize, first: usize, kernels: Shared<T>, image: &Memory<T>, buffers: &Buffers<T>) {
        let tiles = Tiles { first, count: self.block.min(self.tiles - first), columns: self.columns };
        let (group, pitch) = (unit % self.groups, self.pitch());
        let size = self.sizes[0] * self.sizes[1];
        // SAFETY: tiles of the image; buffers are made for a block.
        unsafe {
            transform_images(Images {
                from: image.0.pointer(),
                strides: [self.image.plane, self.image.phase, self.image.pitch[1]],
                channels: self.sources,
                tiles,
                to: buffers.tiles.pointer(),
                pitches: [self.product(), pitch],
            });
            for panel in 0..self.panels.count {
                let (low, high) = (self.panels.start(panel), self.panels.start(panel + 1));
                let height = high - low;
                for product in 0..PRODUCTS {
                    let kernels = kernels.at(((group * PRODUCTS + product) * self.rows + low) * self.sources);
                    let tiles_of = buffers.tiles.pointer().add(product * self.product());
                    let to = buffers.products.pointer().add(product * height * pitch);
                    self.multiply(tiles.count, height, kernels, tiles_of, to);
                }
                for row in low..high {
                    transform_outputs(Outputs {
                        from: buffers.products.pointer().add((row - low) * pitch),
                        product: height * pitch,
                        tiles,
                        bias: if self.operands.bias.is_null() {
                            T::ZERO
                        } else {
                            *self.operands.bias.add(group * self.rows + row)
                        },
                        between: buffers.between.pointer(),
                        between_row: 2 * pitch,
                        to: self.operands.to.add((unit * self.rows + row) * size),
                        sizes: self.sizes,
                    });
                }
            }
        }
    }

    /// One product of some tiles, of the rows of a panel, summed over the sources.
    unsafe fn multiply(&self, count: usize, height: usize, kernels: *const T, tiles: *const T, to: *mut T) {
        let widths = self.set.correlate[height - 1];
        let end = count.div_ceil(self.set.lanes);
        let mut first = 0;
        while first < end {
            let wide = (widths.len() - 1).min((end - first).ilog2() as usize);
            let call = Correlate {
                terms: self.sources,
                weights: kernels,
                offsets: self.offsets.as_ptr(),
                source: tiles,
                pieces: self.pieces[first..].as_ptr(),
                out: to,
                out_row: self.pitch(),
                bias: std::ptr::null(),
                add: false,
            };
            // SAFETY: the caller's promise: pieces lie in the buffers.
            unsafe { widths[wide](&call) };
            first += 1 << wide;
        }
    }

    fn hand_over(&self, unit: usize, rows: Range<usize>) {
        if let Some(finish) = self.operands.finish {
            let size = self.sizes[0] * self.sizes[1];
            finish((unit * self.rows + rows.start) * size, rows.len() * size);
        }
    }
}

/// Memory whose disjoint parts tasks write.
struct Memory<T: Real>(Scratch<T>);

// SAFETY: as it says.
unsafe impl<T: Real> Sync for Memory<T> {}
