//! The data gradient of small maps: every tap adds to the image what it read there.
//!
//! Over the padded cotangent (`correlate`) each position of the image takes all taps, though near the edge many of them
//! read zeros: where the kernel is nearly as large as the map, that is most of the work. Here the products are
//! over the cotangent's own positions. Results lie by channel and tap along a row, in planes as wide as the
//! cotangent, so that a tap across rows moves whole vectors; at the end planes are added up, moved along the rows.

use super::correlate::{LONGEST_TASK, by_portions};
use super::tile::{Correlate, Element, Panels, Piece, Set, set};
use super::{Axis, Operands, Problem, checked, nanoseconds};
use crate::cpu::isa::{isa, per_isa};
use crate::cpu::lanes::{SHORT, load, store};
use crate::cpu::real::Real;
use crate::cpu::rows::{Input, Output as Shared, Scratch};
use crate::error::Result;
use crate::runtime::threads::parallel;

/// Vectors that are multiplied and moved for one image and group; none where this is no way to do it.
pub(super) fn cost<T: Element>(problem: &Problem) -> Option<f64> {
    let set = set::<T>(isa());
    let [outer, middle, inner] = &problem.axes;
    let units = problem.batch * problem.groups;
    let flat = (outer.size, outer.kernel, outer.out) == (1, 1, 1);
    if !flat || middle.stride != 1 || inner.stride != 1 || units < 8 || nanoseconds::<T>(problem.work()) > LONGEST_TASK
    {
        return None;
    }
    let rows = (problem.channels * inner.kernel) as f64;
    let vectors = (middle.out * inner.out).div_ceil(set.lanes) as f64;
    let added = (middle.size * inner.size.div_ceil(set.lanes)) as f64;
    // Loading, adding and storing counts as three.
    Some(vectors * rows * middle.kernel as f64 * (problem.filters as f64 + 3.0) + 3.0 * added * rows)
}

struct Plan<'a, T: 'static> {
    set: &'static Set<T>,
    problem: Problem,
    /// Channels and taps along a row.
    rows: Panels,
    /// Elements of a plane, with what vectors of its last row reach.
    plane: usize,
    /// Elements before the first plane.
    front: usize,
    /// Elements of a channel of the cotangent, whole vectors.
    pitch: usize,
    offsets: Vec<u32>,
    pieces: Vec<Piece>,
    /// By tap along a row, which elements of an image's row it reaches: 1 or 0, with room for a chunk.
    reached: Vec<T>,
    operands: Operands<'a, T>,
}

/// The image's gradient from the output's, plus a bias per image channel.
///
/// # Safety
/// The operands are what they say, for this problem, for which there is a [`cost`].
pub unsafe fn data<T: Element>(problem: &Problem, operands: Operands<'_, T>) -> Result<()> {
    let set = set::<T>(isa());
    let Problem { groups, channels, filters, axes: [_, middle, inner], .. } = *problem;
    let rows = Panels::new(checked(&[channels, inner.kernel])?, set.correlate.len());
    let total = rows.start(rows.count);
    let pitch = checked(&[middle.out, inner.out])?.next_multiple_of(set.lanes);
    checked(&[pitch, filters])?;
    let reach = (inner.kernel - 1) * inner.dilation;
    let after = (inner.out + reach) as isize - inner.size as isize - inner.before;
    let front = reach + inner.before.unsigned_abs();
    let height = middle.out + (middle.kernel - 1) * middle.dilation;
    let plane = checked(&[height, inner.out])? + set.lanes.max(SHORT) + reach + after.unsigned_abs();
    checked(&[plane, total])?;
    let packed = checked(&[middle.kernel, filters, total])?;
    let weights = Scratch::<T>::unwritten(checked(&[groups, packed])?)?;
    let (memory, weight) = (Shared::new(weights.pointer()), Input::new(operands.weight));
    parallel(groups * middle.kernel, (groups * packed) as f64, &|task| {
        let (group, tap) = (task / middle.kernel, task % middle.kernel);
        // SAFETY: the weights of this group, and the place of this tap's in the packed copy.
        unsafe {
            let mut to = memory.at(task * filters * total);
            for panel in 0..rows.count {
                for filter in 0..filters {
                    for row in rows.start(panel)..rows.start(panel + 1) {
                        let (channel, column) = (row / inner.kernel, row % inner.kernel);
                        let channel = ((group * filters + filter) * channels + channel) * middle.kernel;
                        *to = *weight.at((channel + tap) * inner.kernel + column);
                        to = to.add(1);
                    }
                }
            }
        }
    });
    let all = ((1u64 << set.lanes) - 1) as u32;
    let pieces = (0..pitch).step_by(set.lanes).map(|at| Piece { from: at as u32, to: at as u32, lanes: all });
    let mut reached = vec![T::ZERO; checked(&[inner.kernel, inner.size.next_multiple_of(SHORT)])?];
    for (tap, row) in reached.chunks_mut(inner.size.next_multiple_of(SHORT)).enumerate() {
        for (at, reached) in row.iter_mut().enumerate().take(inner.size) {
            let from = at as isize + inner.before - (tap * inner.dilation) as isize;
            if (0..inner.out as isize).contains(&from) {
                *reached = T::ONE;
            }
        }
    }
    let plan = Plan {
        set,
        problem: *problem,
        rows,
        plane,
        front,
        pitch,
        offsets: (0..filters).map(|filter| (filter * pitch) as u32).collect(),
        pieces: pieces.collect(),
        reached,
        operands,
    };
    // SAFETY: passed on.
    unsafe { plan.run(memory) }
}

impl<T: Element> Plan<'_, T> {
    unsafe fn run(&self, weights: Shared<T>) -> Result<()> {
        let units = self.problem.batch * self.problem.groups;
        let each = nanoseconds::<T>(self.problem.work());
        let rows = self.rows.start(self.rows.count);
        let out = self.problem.out();
        by_portions(units, each, &|units| {
            // Vectors that end with the channel can be read where they are.
            let copied = match self.pitch == out {
                true => None,
                false => Some(Scratch::<T>::zeroed(self.pitch * self.problem.filters)?),
            };
            let planes = Scratch::<T>::unwritten(self.front + self.plane * rows)?;
            for unit in units {
                // SAFETY: the units of this task, whose results nobody else writes.
                unsafe {
                    let mut y = self.operands.from.wrapping_add(unit * self.problem.filters * out);
                    if let Some(copied) = &copied {
                        for filter in 0..self.problem.filters {
                            let to = copied.pointer().add(filter * self.pitch);
                            std::ptr::copy_nonoverlapping(y.add(filter * out), to, out);
                        }
                        y = copied.pointer();
                    }
                    planes.pointer().write_bytes(0, self.front + self.plane * rows);
                    self.multiply(unit % self.problem.groups, y, weights, planes.pointer().add(self.front));
                    self.add_up(unit, planes.pointer().add(self.front));
                }
            }
            Ok(())
        })
    }

    /// Adds the products of every tap across rows to the planes.
    unsafe fn multiply(&self, group: usize, y: *const T, weights: Shared<T>, planes: *mut T) {
        let [_, middle, inner] = &self.problem.axes;
        let terms = self.problem.filters;
        let rows = self.rows.start(self.rows.count);
        for tap in 0..middle.kernel {
            let to = planes.wrapping_add(tap * middle.dilation * inner.out);
            for panel in 0..self.rows.count {
                let (low, high) = (self.rows.start(panel), self.rows.start(panel + 1));
                let kernels = self.set.correlate[high - low - 1];
                let mut first = 0;
                while first < self.pieces.len() {
                    let wide = (kernels.len() - 1).min((self.pieces.len() - first).ilog2() as usize);
                    // SAFETY: the weights of this panel; vectors lie in the cotangent and in the planes.
                    unsafe {
                        let call = Correlate {
                            terms,
                            weights: weights.at(((group * middle.kernel + tap) * rows + low) * terms).cast_const(),
                            offsets: self.offsets.as_ptr(),
                            source: y,
                            pieces: self.pieces[first..].as_ptr(),
                            out: to.wrapping_add(low * self.plane),
                            out_row: self.plane,
                            bias: std::ptr::null(),
                            add: true,
                        };
                        kernels[wide](&call);
                    }
                    first += 1 << wide;
                }
            }
        }
    }

    /// Adds up the planes of each channel of the image.
    unsafe fn add_up(&self, unit: usize, planes: *const T) {
        let Problem { groups, channels, axes: [_, middle, inner], .. } = self.problem;
        let (size, group) = (self.problem.size(), unit % groups);
        for channel in 0..channels {
            let first = (unit * channels + channel) * size;
            // SAFETY: the planes of this channel, and its place in the image.
            unsafe {
                let call = Sum {
                    planes: planes.wrapping_add(channel * inner.kernel * self.plane),
                    plane: self.plane,
                    axes: [middle, inner],
                    reached: self.reached.as_ptr(),
                    bias: if self.operands.bias.is_null() {
                        T::ZERO
                    } else {
                        *self.operands.bias.add(group * channels + channel)
                    },
                    to: self.operands.to.wrapping_add(first),
                };
                sum_planes(call);
            }
        }
        if let Some(finish) = self.operands.finish {
            finish(unit * channels * size, channels * size);
        }
    }
}

/// A channel of the image and the planes of its taps.
struct Sum<T> {
    planes: *const T,
    plane: usize,
    axes: [Axis; 2],
    reached: *const T,
    bias: T,
    to: *mut T,
}

per_isa! {
    unsafe fn sum_planes<T: Real>(call: Sum<T>) {
        let [middle, inner] = call.axes;
        let height = (middle.out + (middle.kernel - 1) * middle.dilation) as isize;
        let (chunks, size) = (inner.size.div_ceil(SHORT), middle.size * inner.size);
        for row in 0..middle.size {
            let place = row as isize + middle.before;
            let inside = place >= 0 && place < height;
            for chunk in 0..chunks {
                let at = chunk * SHORT;
                let mut sum = [call.bias; SHORT];
                if inside {
                    for tap in 0..inner.kernel {
                        // Where a tap does not reach, the element is another row's, or lies around the plane.
                        let start = place * inner.out as isize + at as isize + inner.before;
                        let start = start - (tap * inner.dilation) as isize;
                        let value: [T; SHORT] = load(call.planes.wrapping_add(tap * call.plane).wrapping_offset(start));
                        let reached: [T; SHORT] = load(call.reached.add((tap * chunks) * SHORT + at));
                        for i in 0..SHORT {
                            sum[i] += if reached[i] == T::ONE { value[i] } else { T::ZERO };
                        }
                    }
                }
                // A chunk that ends behind its row is written over by the next one, except for the last.
                let to = row * inner.size + at;
                if to + SHORT <= size && (at + SHORT <= inner.size || row + 1 < middle.size) {
                    store(call.to.add(to), &sum);
                } else {
                    std::ptr::copy_nonoverlapping(sum.as_ptr(), call.to.add(to), SHORT.min(inner.size - at));
                }
            }
        }
    }
}
