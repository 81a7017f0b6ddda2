//! The transposes of gathering: rows or elements added, or written, where indices say.

use super::{PIECE, move_bytes};
use crate::cpu::cast::{Arithmetic, Number, Shared, in_pieces};
use crate::cpu::isa::per_isa;
use crate::dtype::{DType, with_element};
use crate::runtime::threads::parallel;

/// Bytes of a row from which a scatter splits columns between tasks.
const COLUMNS: usize = 512;

/// The inverse of [`gather_nd`](super::gather_nd): writes rows of `updates` at the offsets; the last of equal ones wins.
/// Different offsets are at least `inner` apart.
///
/// # Safety
/// As for [`gather_nd`](super::gather_nd), with the roles of source and destination exchanged.
pub unsafe fn scatter_nd_set(
    element_size: usize,
    inner: usize,
    updates: *const u8,
    offsets: &[isize],
    destination: *mut u8,
) {
    let (updates, destination) = (Shared::new(updates), Shared::new(destination));
    let row = inner * element_size;
    by_columns(inner, element_size, offsets.len(), |start, width| {
        let (start, width) = (start * element_size, width * element_size);
        for (index, &offset) in offsets.iter().enumerate() {
            // SAFETY: the caller vouches for the offsets and the updates; columns are this task's own.
            unsafe {
                let to = destination.get().offset(offset * element_size as isize).add(start);
                move_bytes(updates.get().add(index * row + start), to, width);
            }
        }
    });
}

/// Adds rows of `inner` elements of `updates` at the offsets, in their order. Different offsets are at
/// least `inner` apart.
///
/// # Safety
/// The destination is valid and initialised for `inner` elements at each offset, the updates for all; all
/// are aligned for `dtype` and do not overlap.
pub unsafe fn scatter_nd_add(dtype: DType, inner: usize, updates: *const u8, offsets: &[isize], destination: *mut u8) {
    let size = dtype.size();
    let (updates, destination) = (Shared::new(updates), Shared::new(destination));
    if !dtype.is_half() {
        by_columns(inner, size, offsets.len(), |start, width| {
            with_element!(dtype, T => {
                let (updates, destination) = (updates.get().cast::<T>(), destination.get().cast::<T>());
                // SAFETY: the caller vouches for the offsets and the updates; columns are this task's own.
                unsafe { add_rows::<T>(destination, offsets, updates, inner, start, width) };
            });
        });
        return;
    }
    // All updates of one place together: sums are rounded once.
    let mut order: Vec<(isize, usize)> = offsets.iter().copied().zip(0..).collect();
    order.sort_unstable();
    let groups: Vec<&[(isize, usize)]> = order.chunk_by(|a, b| a.0 == b.0).collect();
    let nanoseconds = offsets.len() as f64 * (5.0 + inner as f64);
    in_pieces(groups.len(), (1 << 14) / inner.max(1), nanoseconds, |range| {
        with_element!(dtype, T => {
            let mut line = vec![<T as Number>::Wide::ZERO; inner];
            for group in &groups[range] {
                // SAFETY: the caller vouches for the offsets and the updates; groups have places of their own.
                unsafe {
                    let place = destination.get().cast::<T>().offset(group[0].0);
                    for lane in 0..inner {
                        line[lane] = (*place.add(lane)).widen();
                    }
                    for &(_, index) in group.iter() {
                        let row = updates.get().cast::<T>().add(index * inner);
                        for lane in 0..inner {
                            line[lane] = line[lane].add((*row.add(lane)).widen());
                        }
                    }
                    for lane in 0..inner {
                        *place.add(lane) = T::narrow(line[lane]);
                    }
                }
            }
        });
    });
}

/// Runs `body(first column, columns)` for strips of rows that are long enough to share.
fn by_columns(inner: usize, element_size: usize, rows: usize, body: impl Fn(usize, usize) + Sync) {
    let bytes = inner * element_size;
    let strips = if rows * bytes < 2 * PIECE { 1 } else { (bytes / COLUMNS).clamp(1, 16) };
    let width = inner.div_ceil(strips).next_multiple_of(64 / element_size);
    let strips = inner.div_ceil(width.max(1));
    parallel(strips, rows as f64 * (2.0 + bytes as f64 * 0.15), &|strip| {
        body(strip * width, width.min(inner - strip * width));
    });
}

per_isa! {
    unsafe fn add_rows<T: Number>(destination: *mut T, offsets: &[isize], updates: *const T, inner: usize, start: usize, width: usize) {
        for (index, &offset) in offsets.iter().enumerate() {
            let to = destination.offset(offset).add(start);
            let from = updates.add(index * inner + start);
            for lane in 0..width {
                *to.add(lane) = T::narrow((*to.add(lane)).widen().add((*from.add(lane)).widen()));
            }
        }
    }
}

/// Element offsets of rows picked by `indices` in each outer block.
pub(super) fn row_offsets(outer: usize, axis_length: usize, inner: usize, indices: &[i64]) -> Vec<isize> {
    let block = |outer: usize| outer * axis_length;
    let offset = |outer: usize, index: i64| ((block(outer) + index as usize) * inner) as isize;
    (0..outer).flat_map(|outer| indices.iter().map(move |&index| offset(outer, index))).collect()
}

/// `destination[o, indices[j], i] += updates[o, j, i]`: the transpose of [`take`](super::take).
///
/// # Safety
/// As for [`take`](super::take), with the destination of (`outer`, `axis_length`, `inner`) initialised; all pointers are
/// aligned for `dtype`.
pub unsafe fn scatter_add(
    dtype: DType,
    outer: usize,
    axis_length: usize,
    inner: usize,
    indices: &[i64],
    updates: *const u8,
    destination: *mut u8,
) {
    let (updates, destination, size) = (Shared::new(updates), Shared::new(destination), dtype.size());
    over_blocks(outer, axis_length, inner, indices, |offsets, from, to| {
        // SAFETY: the offsets lie in the blocks that begin at `to`.
        unsafe {
            scatter_nd_add(dtype, inner, updates.get().add(from * size), offsets, destination.get().add(to * size));
        }
    });
}

/// `destination[o, indices[j], i] = updates[o, j, i]`; the last of equal indices wins.
///
/// # Safety
/// As for [`scatter_add`].
pub unsafe fn scatter_set(
    element_size: usize,
    outer: usize,
    axis_length: usize,
    inner: usize,
    indices: &[i64],
    updates: *const u8,
    destination: *mut u8,
) {
    let (updates, destination, size) = (Shared::new(updates), Shared::new(destination), element_size);
    over_blocks(outer, axis_length, inner, indices, |offsets, from, to| {
        // SAFETY: the offsets lie in the blocks that begin at `to`.
        unsafe {
            scatter_nd_set(size, inner, updates.get().add(from * size), offsets, destination.get().add(to * size));
        }
    });
}

/// Splits the outer blocks between tasks where there are enough, and is one call for all of them otherwise. The body is
/// given offsets of rows, and the elements where updates and destination of its blocks begin.
fn over_blocks(
    outer: usize,
    axis_length: usize,
    inner: usize,
    indices: &[i64],
    body: impl Fn(&[isize], usize, usize) + Sync,
) {
    let elements = indices.len() * inner;
    let blocks = |first: usize, count: usize| {
        let offsets = row_offsets(count, axis_length, inner, indices);
        body(&offsets, first * elements, first * axis_length * inner);
    };
    if outer == 0 || elements == 0 {
        return;
    }
    if outer < 4 {
        return blocks(0, outer);
    }
    in_pieces(outer, (1 << 14) / elements, (outer * elements) as f64, |range| blocks(range.start, range.len()));
}

/// `destination[o, indices[o, j, i], i] += updates[o, j, i]`: the transpose of [`take_along`](super::take_along).
///
/// # Safety
/// As for [`take_along`](super::take_along), with the destination of (`outer`, `axis_length`, `inner`) initialised; all pointers
/// are aligned for `dtype`.
pub unsafe fn scatter_add_along(
    dtype: DType,
    outer: usize,
    axis_length: usize,
    index_length: usize,
    inner: usize,
    indices: *const i64,
    updates: *const u8,
    destination: *mut u8,
) {
    let (updates, destination, indices) = (Shared::new(updates), Shared::new(destination), Shared::new(indices));
    // A unit is a strip of columns of one outer block; no other unit touches its elements.
    const STRIP: usize = 64;
    let strips = inner.div_ceil(STRIP);
    let cost = (index_length + axis_length) * inner.min(STRIP);
    let nanoseconds = (outer * index_length * inner) as f64 * 2.0;
    in_pieces(outer * strips, (1 << 14) / cost.max(1), nanoseconds, |range| {
        with_element!(dtype, T => {
            let mut wide = Vec::new();
            for unit in range {
                let (block, start) = (unit / strips, unit % strips * STRIP);
                let width = STRIP.min(inner - start);
                let to = block * axis_length * inner + start;
                let from = block * index_length * inner + start;
                // SAFETY: the caller vouches for the tensors and the indices.
                unsafe {
                    let destination = destination.get().cast::<T>().add(to);
                    let updates = updates.get().cast::<T>().add(from);
                    let indices = indices.get().add(from);
                    if dtype.is_half() {
                        wide.clear();
                        wide.extend((0..axis_length * width).map(|at| (*destination.add(at / width * inner + at % width)).widen()));
                    }
                    for row in 0..index_length {
                        for lane in 0..width {
                            let at = row * inner + lane;
                            let (index, update) = (*indices.add(at) as usize, (*updates.add(at)).widen());
                            if dtype.is_half() {
                                let place = &mut wide[index * width + lane];
                                *place = place.add(update);
                            } else {
                                let place = destination.add(index * inner + lane);
                                *place = T::narrow((*place).widen().add(update));
                            }
                        }
                    }
                    for (at, &value) in wide.iter().enumerate() {
                        *destination.add(at / width * inner + at % width) = T::narrow(value);
                    }
                }
            }
        });
    });
}

/// `destination[o, indices[o, j, i], i] = updates[o, j, i]`; the last of equal indices wins.
///
/// # Safety
/// As for [`scatter_add_along`].
pub unsafe fn scatter_set_along(
    element_size: usize,
    outer: usize,
    axis_length: usize,
    index_length: usize,
    inner: usize,
    indices: *const i64,
    updates: *const u8,
    destination: *mut u8,
) {
    let (updates, destination, indices) = (Shared::new(updates), Shared::new(destination), Shared::new(indices));
    let elements = index_length * inner;
    in_pieces(outer, (1 << 15) / elements.max(1), (outer * elements) as f64 * 2.0, |range| {
        with_size!(element_size, T => {
            let (updates, destination) = (updates.get().cast::<T>(), destination.get().cast::<T>());
            for line in range.start * index_length..range.end * index_length {
                let base = line / index_length * axis_length * inner;
                for lane in 0..inner {
                    let at = line * inner + lane;
                    // SAFETY: the caller vouches for the tensors and the indices; blocks are this task's own.
                    unsafe { *destination.add(base + *indices.get().add(at) as usize * inner + lane) = *updates.add(at) };
                }
            }
        });
    });
}
