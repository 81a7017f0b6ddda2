//! Images with their padding, split into the phases of a stride, and back.
//!
//! The position `p` of an axis, counted with the padding before it, has phase `p % stride` and place
//! `p / stride`. Positions of one phase lie side by side in the buffer, so a kernel that moves by the stride
//! reads each phase contiguously. Phases that no tap reads are left out.

use super::{Axis, checked};
use crate::cpu::isa::per_isa;
use crate::cpu::lanes::{SHORT, load, store};
use crate::cpu::real::Real;
use crate::error::Result;

/// One axis of a buffer.
#[derive(Clone, Debug)]
pub struct Side {
    /// Size of the image.
    pub size: usize,
    /// The number of phases that positions are dealt to.
    pub stride: usize,
    /// Zeros before the image.
    pub before: isize,
    /// Places of each phase.
    pub places: usize,
    /// The phases that are kept.
    pub phases: Vec<usize>,
}

impl Side {
    /// The image as the taps of a forward pass read it.
    pub fn forward(axis: &Axis) -> Side {
        let mut phases: Vec<usize> =
            (0..axis.kernel.min(axis.stride)).map(|tap| tap * axis.dilation % axis.stride).collect();
        phases.sort_unstable();
        phases.dedup();
        let reach = (axis.kernel - 1) * axis.dilation / axis.stride;
        Side { size: axis.size, stride: axis.stride, before: axis.before, places: axis.out + reach, phases }
    }

    /// The output's cotangent as the taps of a data gradient read it.
    pub fn backward(axis: &Axis) -> Side {
        let reach = (axis.kernel - 1) * axis.dilation / axis.stride;
        let (first, count) = Side::gradient_places(axis);
        Side { size: axis.out, stride: 1, before: reach as isize - first, places: count + reach, phases: vec![0] }
    }

    /// The first place of the image's positions under the stride, and how many there are.
    pub fn gradient_places(axis: &Axis) -> (isize, usize) {
        let stride = axis.stride as isize;
        let first = axis.before.div_euclid(stride);
        let last = (axis.size as isize - 1 + axis.before).div_euclid(stride);
        (first, (last - first + 1) as usize)
    }

    /// Which of the kept phases a tap reads, and its distance in places.
    pub fn find(&self, position: usize) -> Option<(usize, usize)> {
        let phase = self.phases.binary_search(&(position % self.stride)).ok()?;
        Some((phase, position / self.stride))
    }

    /// The places of a phase that hold elements of the image, and the element of the first one.
    fn inside(&self, phase: usize) -> (usize, usize, usize) {
        let (stride, shift) = (self.stride as isize, self.before - phase as isize);
        let low = -(-shift).div_euclid(stride);
        let high = (self.size as isize - 1 + shift).div_euclid(stride) + 1;
        let low = low.clamp(0, self.places as isize);
        let high = high.clamp(low, self.places as isize);
        (low as usize, high as usize, (low * stride - shift).max(0) as usize)
    }
}

/// The buffer of one image's channels.
#[derive(Clone, Debug)]
pub struct Image {
    sides: [Side; 3],
    /// From a place to the next, by axis.
    pub pitch: [usize; 3],
    /// Elements of a phase.
    pub phase: usize,
    /// From a channel to the next.
    pub plane: usize,
    /// From a channel of the image itself to the next.
    pub source: usize,
    /// Elements of all channels, with room for a vector that begins at the last one.
    pub total: usize,
}

/// Room behind the last element.
const SLACK: usize = 32;

impl Image {
    /// The buffer for `channels` channels.
    pub fn new<T>(sides: [Side; 3], channels: usize) -> Result<Image> {
        let pitch = [checked(&[sides[1].places, sides[2].places])?, sides[2].places, 1];
        let phase = checked(&[sides[0].places, pitch[0]])?;
        let mut plane = checked(&[phase, sides[0].phases.len(), sides[1].phases.len(), sides[2].phases.len()])?;
        // Channels a multiple of a page apart would share one set of the cache.
        if (plane * size_of::<T>()).is_multiple_of(4096) {
            plane += 64 / size_of::<T>();
        }
        let total = checked(&[plane, channels])? + SLACK;
        let source = sides.iter().map(|side| side.size).product();
        Ok(Image { sides, pitch, phase, plane, source, total })
    }

    /// Whether the image itself lies as the buffer would: nothing is padded, split or moved.
    pub fn is_plain(&self) -> bool {
        let plain = |side: &Side| side.stride == 1 && side.before == 0 && side.places == side.size;
        self.sides.iter().all(plain) && self.plane == self.source
    }

    /// The offset of a position (counted with the padding, by axis) of channel 0; none where its phase is not kept.
    pub fn offset(&self, position: [usize; 3]) -> Option<usize> {
        let mut at = 0;
        let mut index = 0;
        for axis in 0..3 {
            let (phase, place) = self.sides[axis].find(position[axis])?;
            index = index * self.sides[axis].phases.len() + phase;
            at += place * self.pitch[axis];
        }
        Some(index * self.phase + at)
    }

    /// Copies one channel; what the image does not reach keeps its value, which must be zero.
    ///
    /// # Safety
    /// `from` is a channel of the image, `to` its place in the buffer.
    pub unsafe fn fill<T: Real>(&self, from: *const T, to: *mut T) {
        let [outer, middle, inner] = &self.sides;
        let mut base = to;
        for &phase0 in &outer.phases {
            let (low0, high0, first0) = outer.inside(phase0);
            for &phase1 in &middle.phases {
                let (low1, high1, first1) = middle.inside(phase1);
                for &phase2 in &inner.phases {
                    let (low2, high2, first2) = inner.inside(phase2);
                    for place0 in low0..high0 {
                        let slab = first0 + (place0 - low0) * outer.stride;
                        let rows = Rows {
                            from: from.wrapping_add((slab * middle.size + first1) * inner.size + first2),
                            from_row: middle.stride * inner.size,
                            to: base.wrapping_add(place0 * self.pitch[0] + low1 * self.pitch[1] + low2),
                            to_row: self.pitch[1],
                            rows: high1 - low1,
                            count: high2 - low2,
                        };
                        // SAFETY: `inside` gives only places of the image.
                        unsafe { gather(rows, inner.stride) };
                    }
                    base = base.wrapping_add(self.phase);
                }
            }
        }
    }
}

/// The buffer of a data gradient under a stride: a plane of places for each phase of the image.
pub struct Phases {
    axes: [Axis; 3],
    first: [isize; 3],
    /// Places, by axis.
    pub places: [usize; 3],
    /// Elements of a phase.
    pub phase: usize,
    /// From a channel to the next: all phases, row-major.
    pub plane: usize,
}

impl Phases {
    /// The phases of an image's axes.
    pub fn new(axes: &[Axis; 3]) -> Result<Phases> {
        let found = axes.map(|axis| Side::gradient_places(&axis));
        let places = found.map(|(_, places)| places);
        let phase = checked(&places)?;
        let plane = checked(&[phase, axes[0].stride, axes[1].stride, axes[2].stride])?;
        Ok(Phases { axes: *axes, first: found.map(|(first, _)| first), places, phase, plane })
    }

    /// Phase and place of an element of the image on an axis.
    fn locate(&self, axis: usize, index: usize) -> (usize, usize) {
        let (position, stride) = (index as isize + self.axes[axis].before, self.axes[axis].stride as isize);
        (position.rem_euclid(stride) as usize, (position.div_euclid(stride) - self.first[axis]) as usize)
    }

    /// Puts one channel together.
    ///
    /// # Safety
    /// `from` is a channel of the buffer, `to` one of the image.
    pub unsafe fn join<T: Real>(&self, from: *const T, to: *mut T) {
        let [outer, middle, inner] = &self.axes;
        for index0 in 0..outer.size {
            let (phase0, place0) = self.locate(0, index0);
            for index1 in 0..middle.size {
                let (phase1, place1) = self.locate(1, index1);
                let plane = (phase0 * middle.stride + phase1) * inner.stride * self.phase;
                let row = from.wrapping_add(plane + (place0 * self.places[1] + place1) * self.places[2]);
                let to = to.wrapping_add((index0 * middle.size + index1) * inner.size);
                let part = |start: usize| {
                    let (phase2, place2) = self.locate(2, start);
                    row.wrapping_add(phase2 * self.phase + place2)
                };
                if inner.stride == 2 && inner.size > 1 {
                    // SAFETY: elements `2 * i` and `2 * i + 1` lie `i` places from the first two.
                    unsafe { interleave(part(0), part(1), to, inner.size) };
                    continue;
                }
                for start in 0..inner.stride.min(inner.size) {
                    let count = (inner.size - start).div_ceil(inner.stride);
                    // SAFETY: element `start + i * stride` lies `i` places from element `start`.
                    unsafe { scatter(part(start), to.add(start), count, inner.stride) };
                }
            }
        }
    }
}

/// Rows of elements a stride apart, to be laid side by side.
struct Rows<T> {
    from: *const T,
    from_row: usize,
    to: *mut T,
    to_row: usize,
    rows: usize,
    count: usize,
}

per_isa! {
    unsafe fn gather<T: Real>(rows: Rows<T>, stride: usize) {
        for row in 0..rows.rows {
            let (from, to) = (rows.from.wrapping_add(row * rows.from_row), rows.to.wrapping_add(row * rows.to_row));
            match stride {
                1 => std::ptr::copy_nonoverlapping(from, to, rows.count),
                2 if rows.count >= 16 => every_other::<T, 16>(from, to, rows.count),
                2 if rows.count >= 8 => every_other::<T, 8>(from, to, rows.count),
                _ => {
                    for i in 0..rows.count {
                        *to.add(i) = *from.add(stride * i);
                    }
                }
            }
        }
    }
}

/// Copies every other of the elements from `from` on, `count` in all, at least `N`; the last chunk may overlap the one
/// before.
#[inline(always)]
unsafe fn every_other<T: Real, const N: usize>(from: *const T, to: *mut T, count: usize) {
    let mut at = 0;
    loop {
        // SAFETY: the second half ends with the last element that is wanted.
        unsafe {
            let (first, second): ([T; N], [T; N]) = (load(from.add(2 * at)), load(from.add(2 * at + N - 1)));
            let mut chosen = [T::ZERO; N];
            for i in 0..N / 2 {
                chosen[i] = first[2 * i];
                chosen[N / 2 + i] = second[2 * i + 1];
            }
            store(to.add(at), &chosen);
        }
        if at + N == count {
            return;
        }
        at = (at + N).min(count - N);
    }
}

per_isa! {
    unsafe fn interleave<T: Real>(even: *const T, odd: *const T, to: *mut T, size: usize) {
        let mut at = 0;
        while 2 * (at + SHORT) <= size {
            let (first, second): ([T; SHORT], [T; SHORT]) = (load(even.add(at)), load(odd.add(at)));
            let mut both = [T::ZERO; 2 * SHORT];
            for i in 0..SHORT {
                both[2 * i] = first[i];
                both[2 * i + 1] = second[i];
            }
            store(to.add(2 * at), &both);
            at += SHORT;
        }
        for i in 2 * at..size {
            *to.add(i) = if i % 2 == 0 { *even.add(i / 2) } else { *odd.add(i / 2) };
        }
    }
}

per_isa! {
    unsafe fn scatter<T: Real>(from: *const T, to: *mut T, count: usize, stride: usize) {
        if stride == 1 {
            return std::ptr::copy_nonoverlapping(from, to, count);
        }
        for i in 0..count {
            *to.add(stride * i) = *from.add(i);
        }
    }
}
