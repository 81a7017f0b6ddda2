//! Copies between any two strided layouts of one shape.
//!
//! Axes are first put in the order of the destination, made to run forwards and merged, so that most
//! copies become one of three: whole runs (`memcpy`), a transpose, or a strided loop. A transpose goes
//! through register tiles inside blocks of 128x128, which keep both sides in the caches and use every
//! byte of each page and line that is touched; that order, not the shuffles, is what makes it fast.
//!
//! The invariant of `for_runs`: it visits row-major positions in increasing order, each exactly once.

use std::ops::{Deref, Range};

use crate::cpu::cast::{Shared, in_pieces};
use crate::layout::MAX_RANK;

mod tiles;

/// One axis of two layouts: its size and the distance of neighbours in each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Axis {
    /// Its size.
    pub size: usize,
    /// The stride in the first layout.
    pub source: isize,
    /// The stride in the second.
    pub destination: isize,
}

impl Axis {
    /// Whether the axis, just outside `inner`, goes on evenly where `inner` ends in both layouts.
    #[inline]
    pub(crate) fn continues(&self, inner: &Axis) -> bool {
        let size = inner.size as isize;
        self.source == inner.source * size && self.destination == inner.destination * size
    }
}

/// A list of axes, the outermost first.
#[derive(Clone, Copy, Default)]
pub(crate) struct Axes {
    list: [Axis; MAX_RANK],
    length: usize,
}

impl Axes {
    /// Appends an axis; shapes have at most [`MAX_RANK`].
    #[inline]
    pub(crate) fn push(&mut self, axis: Axis) {
        self.list[self.length] = axis;
        self.length += 1;
    }

    /// Inserts an axis before those whose key is smaller.
    #[inline]
    pub(crate) fn insert_by(&mut self, axis: Axis, key: impl Fn(&Axis) -> isize) {
        let mut at = self.length;
        self.push(axis);
        while at > 0 && key(&self.list[at - 1]) < key(&axis) {
            self.list[at] = self.list[at - 1];
            at -= 1;
        }
        self.list[at] = axis;
    }

    /// Reverses the order.
    #[inline]
    pub(crate) fn reverse(&mut self) {
        self.list[..self.length].reverse();
    }

    /// Removes the innermost axis.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Axis> {
        self.length = self.length.checked_sub(1)?;
        Some(self.list[self.length])
    }

    /// Removes one axis.
    #[inline]
    pub(crate) fn remove(&mut self, at: usize) {
        self.list.copy_within(at + 1..self.length, at);
        self.length -= 1;
    }

    /// Makes one axis of neighbours that go on evenly.
    #[inline]
    pub(crate) fn merge(&mut self) {
        let mut kept = 0;
        for at in 1..self.length {
            let axis = self.list[at];
            if self.list[kept].continues(&axis) {
                self.list[kept] = Axis { size: self.list[kept].size * axis.size, ..axis };
            } else {
                kept += 1;
                self.list[kept] = axis;
            }
        }
        self.length = self.length.min(kept + 1);
    }

    /// The number of positions.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.iter().map(|axis| axis.size).product()
    }
}

impl Deref for Axes {
    type Target = [Axis];
    #[inline]
    fn deref(&self) -> &[Axis] {
        &self.list[..self.length]
    }
}

/// Calls `body(source offset, destination offset, position, length)` for each piece of the last axis
/// that the row-major positions `range` cover; offsets are in elements, of the piece's first.
#[inline(always)]
pub(crate) fn for_runs(axes: &[Axis], range: Range<usize>, mut body: impl FnMut(isize, isize, usize, usize)) {
    if range.is_empty() {
        return;
    }
    let Some((run, outer)) = axes.split_last() else {
        body(0, 0, 0, 1);
        return;
    };
    let (mut source, mut destination) = (0, 0);
    let mut index = [0; MAX_RANK];
    let (mut rest, mut within) = (0, range.start);
    if within >= run.size {
        (rest, within) = (range.start / run.size, range.start % run.size);
    }
    for axis in (0..outer.len()).rev() {
        if rest == 0 {
            break;
        }
        index[axis] = rest % outer[axis].size;
        rest /= outer[axis].size;
        source += index[axis] as isize * outer[axis].source;
        destination += index[axis] as isize * outer[axis].destination;
    }
    let mut position = range.start;
    loop {
        let length = (run.size - within).min(range.end - position);
        let step = within as isize;
        body(source + step * run.source, destination + step * run.destination, position, length);
        position += length;
        within = 0;
        if position >= range.end {
            return;
        }
        for axis in (0..outer.len()).rev() {
            let Axis { size, source: from, destination: to } = outer[axis];
            index[axis] += 1;
            source += from;
            destination += to;
            if index[axis] < size {
                break;
            }
            index[axis] = 0;
            source -= size as isize * from;
            destination -= size as isize * to;
        }
    }
}

/// The offsets of one position, as [`for_runs`] would give them.
#[inline]
pub(crate) fn offsets_of(axes: &[Axis], position: usize) -> (isize, isize) {
    let (mut source, mut destination, mut rest) = (0, 0, position);
    for axis in axes.iter().rev() {
        if rest == 0 {
            break;
        }
        let index = (rest % axis.size) as isize;
        rest /= axis.size;
        source += index * axis.source;
        destination += index * axis.destination;
    }
    (source, destination)
}

/// Bytes of a piece of work.
const PIECE: usize = 1 << 18;
/// The side of the blocks that a transpose goes through.
const BLOCK: usize = 128;

/// Copies every element of a strided source to the same index of a strided destination. Strides are in
/// elements, of any sign; those of the source may be 0. The two do not overlap.
///
/// # Safety
/// Both pointers point at the element of index (0, .., 0), every element reached is valid and aligned
/// for `element_size` (1, 2, 4 or 8), and no two indices reach the same element of the destination.
pub unsafe fn copy(
    element_size: usize,
    shape: &[usize],
    source: *const u8,
    source_strides: &[isize],
    destination: *mut u8,
    destination_strides: &[isize],
) {
    let (mut from, mut to) = (source, destination);
    let mut axes = Axes::default();
    for (axis, &size) in shape.iter().enumerate() {
        if size == 0 {
            return;
        }
        if size == 1 {
            continue;
        }
        let mut entry = Axis { size, source: source_strides[axis], destination: destination_strides[axis] };
        if entry.destination < 0 {
            let reach = (size as isize - 1) * element_size as isize;
            // SAFETY: the last element of the axis is one that the caller vouches for.
            unsafe {
                from = from.offset(reach * entry.source);
                to = to.offset(reach * entry.destination);
            }
            (entry.source, entry.destination) = (-entry.source, -entry.destination);
        }
        axes.insert_by(entry, |axis| axis.destination);
    }
    axes.merge();
    // SAFETY: the same elements as the caller's.
    unsafe {
        match element_size {
            1 => copy_axes::<u8>(&axes, from, to),
            2 => copy_axes::<u16>(&axes, from, to),
            4 => copy_axes::<u32>(&axes, from, to),
            _ => copy_axes::<u64>(&axes, from, to),
        }
    }
}

unsafe fn copy_axes<T: Copy + 'static>(axes: &Axes, source: *const u8, destination: *mut u8) {
    let size = size_of::<T>();
    let (from, to) = (Shared::new(source.cast::<T>()), Shared::new(destination.cast::<T>()));
    let count = axes.count();
    let nanoseconds = (count * size) as f64 * 0.2;
    let mut outer = *axes;
    let Some(inner) = outer.pop() else {
        // SAFETY: one element, which the caller vouches for.
        unsafe { *to.get() = *from.get() };
        return;
    };
    if inner.source == 1 && inner.destination == 1 && (outer.is_empty() || inner.size * size >= 32) {
        if outer.is_empty() {
            in_pieces(count, 2 * PIECE / size, nanoseconds, |range| {
                // SAFETY: a piece of the one run.
                unsafe { to.get().add(range.start).copy_from_nonoverlapping(from.get().add(range.start), range.len()) }
            });
            return;
        }
        in_pieces(count / inner.size, PIECE / (inner.size * size), nanoseconds, |range| {
            let row = outer[outer.len() - 1];
            for_runs(&outer, range, |a, b, _, length| {
                for index in 0..length as isize {
                    // SAFETY: one run of elements that the caller vouches for.
                    unsafe {
                        let from = from.get().offset(a + index * row.source);
                        to.get().offset(b + index * row.destination).copy_from_nonoverlapping(from, inner.size);
                    }
                }
            });
        });
        return;
    }
    // The axis along which the source is densest: reading along it pays for itself.
    let dense = (0..outer.len())
        .filter(|&axis| outer[axis].source != 0 && outer[axis].size >= 4)
        .min_by_key(|&axis| outer[axis].source.unsigned_abs());
    match dense {
        Some(dense) if outer[dense].source.unsigned_abs() < inner.source.unsigned_abs() && inner.size >= 4 => {
            // SAFETY: the caller's elements.
            unsafe { transpose(outer, dense, inner, from, to, nanoseconds) }
        }
        _ if outer.is_empty() => in_pieces(count, PIECE / size, nanoseconds, |range| {
            let start = range.start as isize;
            let piece = Axis { size: range.len(), ..inner };
            // SAFETY: a piece of the one row.
            unsafe {
                let (from, to) = (from.get().offset(start * inner.source), to.get().offset(start * inner.destination));
                rows(from, to, 1, Axis::default(), piece);
            }
        }),
        _ => in_pieces(count / inner.size, PIECE / (inner.size * size), nanoseconds, |range| {
            let row = outer[outer.len() - 1];
            for_runs(&outer, range, |a, b, _, length| {
                // SAFETY: rows of elements that the caller vouches for.
                unsafe { rows(from.get().offset(a), to.get().offset(b), length, row, inner) }
            });
        }),
    }
}

/// The strided loop over two axes.
#[inline(always)]
unsafe fn rows<T: Copy>(source: *const T, destination: *mut T, length: usize, row: Axis, inner: Axis) {
    for index in 0..length as isize {
        // SAFETY: the caller vouches for every element of the rows.
        unsafe {
            let from = source.offset(index * row.source);
            let to = destination.offset(index * row.destination);
            match (inner.source, inner.destination) {
                (0, 1) => std::slice::from_raw_parts_mut(to, inner.size).fill(*from),
                (-1, 1) => {
                    for column in 0..inner.size as isize {
                        *to.offset(column) = *from.offset(-column);
                    }
                }
                (step, 1) => {
                    for column in 0..inner.size as isize {
                        *to.offset(column) = *from.offset(column * step);
                    }
                }
                (step, stride) => {
                    for column in 0..inner.size as isize {
                        *to.offset(column * stride) = *from.offset(column * step);
                    }
                }
            }
        }
    }
}

/// Copies blocks of the axes `outer[dense]` and `inner`, for each index of the others.
unsafe fn transpose<T: Copy + 'static>(
    mut others: Axes,
    dense: usize,
    inner: Axis,
    from: Shared<T>,
    to: Shared<T>,
    nanoseconds: f64,
) {
    let across = others[dense];
    others.remove(dense);
    let repeats = others.count();
    let (high, wide) = (across.size.div_ceil(BLOCK), inner.size.div_ceil(BLOCK));
    let block = across.size.min(BLOCK) * inner.size.min(BLOCK) * size_of::<T>();
    let tiles = (across.source == 1 && inner.destination == 1).then(tile_kernel::<T>).flatten();
    in_pieces(repeats * high * wide, PIECE / block, nanoseconds, |range| {
        for unit in range {
            let (a, b) = offsets_of(&others, unit / (high * wide));
            let (row, column) = ((unit / wide % high) * BLOCK, (unit % wide) * BLOCK);
            let (r, c) = (row as isize, column as isize);
            let (height, width) = (BLOCK.min(across.size - row), BLOCK.min(inner.size - column));
            // SAFETY: the block lies within both layouts.
            unsafe {
                let source = from.get().offset(a + r * across.source + c * inner.source);
                let destination = to.get().offset(b + r * across.destination + c * inner.destination);
                let (mut done_rows, mut done_columns) = (0, 0);
                if let Some((side, kernel)) = tiles {
                    (done_rows, done_columns) = (height / side * side, width / side * side);
                    kernel(
                        source.cast(),
                        inner.source,
                        destination.cast(),
                        across.destination,
                        done_rows,
                        done_columns,
                    );
                }
                let edge = |rows: Range<usize>, columns: Range<usize>| {
                    for row in rows {
                        for column in columns.clone() {
                            let (row, column) = (row as isize, column as isize);
                            *destination.offset(row * across.destination + column * inner.destination) =
                                *source.offset(row * across.source + column * inner.source);
                        }
                    }
                };
                edge(0..done_rows, done_columns..width);
                edge(done_rows..height, 0..width);
            }
        }
    });
}

/// Transposes a block: `rows` and `columns` are multiples of the tile's side, rows of the destination
/// lie unit-stride along columns, rows of the source along the destination's rows.
type TileKernel = unsafe fn(*const u8, isize, *mut u8, isize, usize, usize);

/// The side of the tiles and the kernel for elements of this size, where this machine has one.
fn tile_kernel<T>() -> Option<(usize, TileKernel)> {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::cpu::isa::{Isa, isa};
        Some(match (size_of::<T>(), isa()) {
            (1, _) => (16, tiles::bytes),
            (2, _) => (8, tiles::halves),
            (4, Isa::Avx512) => (16, tiles::words_512),
            (4, Isa::Avx2) => (8, tiles::words_256),
            (4, _) => (4, tiles::words_128),
            (8, Isa::Avx512) => (8, tiles::doubles_512),
            (8, Isa::Avx2) => (4, tiles::doubles_256),
            _ => (2, tiles::doubles_128),
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        Some((8, tiles::portable::<T>))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::cpu::isa::with_each_isa;
    use proptest::prelude::*;

    /// A small generator for layouts and values.
    pub(crate) struct Random(pub u64);

    impl Random {
        pub(crate) fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 33) as usize) % bound
        }

        pub(crate) fn real(&mut self) -> f64 {
            self.below(1 << 20) as f64 / f64::from(1 << 19) - 1.0
        }
    }

    /// A strided layout inside a buffer.
    #[derive(Debug)]
    pub(crate) struct View {
        pub shape: Vec<usize>,
        pub strides: Vec<isize>,
        pub offset: usize,
        pub length: usize,
    }

    impl View {
        /// A random one; without broadcast axes where `distinct`.
        pub(crate) fn random(random: &mut Random, shape: &[usize], distinct: bool) -> View {
            let mut order: Vec<usize> = (0..shape.len()).collect();
            if random.below(3) > 0 {
                for index in 1..order.len() {
                    order.swap(index, random.below(index + 1));
                }
            }
            let mut strides = vec![0isize; shape.len()];
            let (mut next, mut offset) = (1usize, 0usize);
            for &axis in order.iter().rev() {
                let step = [1, 1, 1, 1, -1, 2, -2, 0][random.below(if distinct { 7 } else { 8 })];
                strides[axis] = step * next as isize;
                let reach = shape[axis].saturating_sub(1) * strides[axis].unsigned_abs();
                offset += if step < 0 { reach } else { 0 };
                next = (next * shape[axis].max(1) * (step.unsigned_abs().max(1))).max(1);
            }
            View { shape: shape.to_vec(), strides, offset, length: next + 1 }
        }

        pub(crate) fn positions(&self) -> Vec<usize> {
            let mut out = vec![self.offset as isize];
            for (axis, &size) in self.shape.iter().enumerate() {
                let step = |index: usize| index as isize * self.strides[axis];
                out = out.iter().flat_map(|&base| (0..size).map(move |index| base + step(index))).collect();
            }
            out.into_iter().map(|position| position as usize).collect()
        }
    }

    /// A shape of up to five axes and some thousands of elements.
    pub(crate) fn random_shape(random: &mut Random) -> Vec<usize> {
        let mut shape = Vec::new();
        let mut count = 1;
        for _ in 0..random.below(6) {
            let choices = if random.below(8) == 0 { 12 } else { 11 };
            let size = [1, 2, 3, 4, 5, 8, 17, 33, 70, 130, 300, 0][random.below(choices)];
            if count * size <= 50_000 {
                shape.push(size);
                count *= size.max(1);
            }
        }
        shape
    }

    fn check<T: Copy + PartialEq + std::fmt::Debug + Default>(seed: u64, value: impl Fn(usize) -> T) {
        let mut random = Random(seed);
        let shape = random_shape(&mut random);
        let (from, to) = (View::random(&mut random, &shape, false), View::random(&mut random, &shape, true));
        let source: Vec<T> = (0..from.length).map(value).collect();
        let mut out = vec![T::default(); to.length];
        let mut expected = out.clone();
        for (a, b) in from.positions().into_iter().zip(to.positions()) {
            expected[b] = source[a];
        }
        // SAFETY: the buffers hold what the views reach.
        unsafe {
            let (a, b) = (source.as_ptr().add(from.offset), out.as_mut_ptr().add(to.offset));
            copy(size_of::<T>(), &shape, a.cast(), &from.strides, b.cast(), &to.strides);
        }
        assert!(out == expected, "{from:?} {to:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn any_layout(seed in any::<u64>()) {
            with_each_isa(1, |_| {
                check(seed, |index| index as u8);
                check(seed, |index| index as u16);
                check(seed, |index| index as u32);
                check(seed, |index| index as u64);
            });
        }
    }

    #[test]
    fn large_transposes() {
        for (rows, columns) in [(700, 1030), (2000, 130), (4096, 64)] {
            let source: Vec<u32> = (0..(rows * columns) as u32).collect();
            let mut out = vec![0u32; rows * columns];
            // SAFETY: both hold all elements.
            unsafe {
                let strides = [1, columns as isize];
                copy(
                    4,
                    &[columns, rows],
                    source.as_ptr().cast(),
                    &strides,
                    out.as_mut_ptr().cast(),
                    &[rows as isize, 1],
                );
            }
            assert!((0..rows * columns).all(|at| out[at] == source[at % rows * columns + at / rows]));
        }
    }
}
