//! Gathering by index and its transposes.
//!
//! Indices are validated once ([`check_indices`]) and the kernels trust them. Scattering never uses
//! atomics: work is split over parts of the destination that no two tasks share (outer index, columns),
//! and each part meets its updates in their order, so results do not depend on threads. Halves are added
//! in f32 and rounded once: all updates of one place are brought together first.

use crate::cpu::cast::{Shared, in_pieces};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::runtime::threads::parallel;

/// Bytes of a piece of work.
const PIECE: usize = 1 << 17;

/// Runs `$body` with `$T` bound to an unsigned type of the size.
macro_rules! with_size {
    ($size:expr, $T:ident => $body:expr) => {
        match $size {
            1 => {
                type $T = u8;
                $body
            }
            2 => {
                type $T = u16;
                $body
            }
            4 => {
                type $T = u32;
                $body
            }
            _ => {
                type $T = u64;
                $body
            }
        }
    };
}

mod scatter;

pub use scatter::{scatter_add, scatter_add_along, scatter_nd_add, scatter_nd_set, scatter_set, scatter_set_along};

/// Copies `bytes` bytes; those of one element by one move.
#[inline(always)]
unsafe fn move_bytes(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: the caller vouches for both.
    unsafe {
        match bytes {
            4 => to.cast::<[u8; 4]>().write(from.cast::<[u8; 4]>().read()),
            8 => to.cast::<[u8; 8]>().write(from.cast::<[u8; 8]>().read()),
            16 => to.cast::<[u8; 16]>().write(from.cast::<[u8; 16]>().read()),
            _ => to.copy_from_nonoverlapping(from, bytes),
        }
    }
}

/// Reads `count` indices of an integer dtype for an axis of `length`, counting negative ones from its
/// end; the first that is out of range comes back as (position, value).
///
/// # Safety
/// `indices` is aligned for `dtype` (u8, i32 or i64) and valid for `count` elements.
pub unsafe fn check_indices(
    dtype: DType,
    indices: *const u8,
    count: usize,
    length: usize,
) -> Result<Vec<i64>, (usize, i64)> {
    let length = length as i64;
    let mut out = Vec::with_capacity(count);
    macro_rules! check {
        ($integer:ty) => {{
            // SAFETY: the caller vouches for `count` indices.
            let indices =
                if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(indices.cast::<$integer>(), count) } };
            let mut outside = false;
            out.extend(indices.iter().map(|&index| {
                let index = index as i64;
                let index = if index < 0 { index.wrapping_add(length) } else { index };
                outside |= (index < 0) | (index >= length);
                index
            }));
            if outside {
                let position = out.iter().position(|&index| index < 0 || index >= length).unwrap_or(0);
                return Err((position, indices[position] as i64));
            }
        }};
    }
    match dtype {
        DType::I64 => check!(i64),
        DType::I32 => check!(i32),
        _ => check!(u8),
    }
    Ok(out)
}

/// `destination[o, j, i] = source[o, indices[j], i]` for contiguous tensors of (`outer`, `axis_length`,
/// `inner`) and (`outer`, indices, `inner`).
///
/// # Safety
/// The pointers are valid for those tensors and do not overlap; every index is in 0..`axis_length`.
pub unsafe fn take(
    element_size: usize,
    outer: usize,
    axis_length: usize,
    inner: usize,
    source: *const u8,
    indices: &[i64],
    destination: *mut u8,
) {
    let (row, count) = (inner * element_size, indices.len());
    if row == 0 || count == 0 {
        return;
    }
    let (source, destination) = (Shared::new(source), Shared::new(destination));
    let nanoseconds = (outer * count) as f64 * (1.0 + row as f64 * 0.1);
    in_pieces(outer * count, PIECE / row.max(16), nanoseconds, |range| {
        let mut at = range.start;
        while at < range.end {
            let (block, first) = (at / count, at % count);
            let last = count.min(first + range.end - at);
            // SAFETY: the caller vouches for the indices and both tensors.
            unsafe {
                let source = source.get().add(block * axis_length * row);
                let destination = destination.get().add((block * count) * row);
                for index in first..last {
                    let from = source.add(*indices.get_unchecked(index) as usize * row);
                    move_bytes(from, destination.add(index * row), row);
                }
            }
            at += last - first;
        }
    });
}

/// `destination[o, j, i] = source[o, indices[o, j, i], i]` for contiguous tensors.
///
/// # Safety
/// The pointers are valid for tensors of (`outer`, `axis_length` or `index_length`, `inner`) and do not
/// overlap; every index is in 0..`axis_length`.
pub unsafe fn take_along(
    element_size: usize,
    outer: usize,
    axis_length: usize,
    index_length: usize,
    inner: usize,
    source: *const u8,
    indices: *const i64,
    destination: *mut u8,
) {
    let (source, destination, indices) = (Shared::new(source), Shared::new(destination), Shared::new(indices));
    let lines = outer * index_length;
    in_pieces(lines, (1 << 15) / inner.max(1), (lines * inner) as f64 * 1.5, |range| {
        with_size!(element_size, T => {
            let (source, destination) = (source.get().cast::<T>(), destination.get().cast::<T>());
            for line in range {
                let base = line / index_length * axis_length * inner;
                for lane in 0..inner {
                    let at = line * inner + lane;
                    // SAFETY: the caller vouches for the indices and the tensors.
                    unsafe { *destination.add(at) = *source.add(base + *indices.get().add(at) as usize * inner + lane) };
                }
            }
        });
    });
}

/// Copies, for each offset (in elements), `inner` elements of the source to the next place of the destination.
///
/// # Safety
/// The source is valid for `inner` elements at each offset, the destination for all; they do not overlap.
pub unsafe fn gather_nd(element_size: usize, inner: usize, source: *const u8, offsets: &[isize], destination: *mut u8) {
    let row = inner * element_size;
    let (source, destination) = (Shared::new(source), Shared::new(destination));
    let nanoseconds = offsets.len() as f64 * (1.0 + row as f64 * 0.1);
    in_pieces(offsets.len(), PIECE / row.max(16), nanoseconds, |range| {
        for index in range {
            // SAFETY: the caller vouches for the offsets and the destination.
            unsafe {
                let from = source.get().offset(offsets[index] * element_size as isize);
                move_bytes(from, destination.get().add(index * row), row);
            }
        }
    });
}

/// The flat positions of the true elements among `count`, in order.
///
/// # Safety
/// `mask` is valid for `count` bytes.
pub unsafe fn mask_to_indices(mask: *const u8, count: usize) -> Result<Vec<i64>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the caller vouches for `count` bytes.
    let mask = unsafe { std::slice::from_raw_parts(mask, count) };
    let length = count.div_ceil(16).max(1 << 16);
    let pieces: Vec<&[u8]> = mask.chunks(length).collect();
    let mut starts = vec![0usize; pieces.len()];
    let places = Shared::new(starts.as_mut_ptr());
    parallel(pieces.len(), count as f64 * 0.05, &|piece| {
        // SAFETY: one number for each piece.
        unsafe { *places.get().add(piece) = count_true(pieces[piece]) };
    });
    let mut total = 0;
    for start in &mut starts {
        total += std::mem::replace(start, total);
    }
    let mut out = Vec::new();
    out.try_reserve_exact(total).map_err(|_| Error::Memory(total.saturating_mul(size_of::<i64>())))?;
    out.resize(total, 0i64);
    let results = Shared::new(out.as_mut_ptr());
    parallel(pieces.len(), count as f64, &|piece| {
        let mut place = starts[piece];
        let base = piece * length;
        for (index, &byte) in pieces[piece].iter().enumerate() {
            if byte != 0 {
                // SAFETY: the counts give every true element a place.
                unsafe { *results.get().add(place) = (base + index) as i64 };
                place += 1;
            }
        }
    });
    Ok(out)
}

fn count_true(mask: &[u8]) -> usize {
    mask.chunks(255).map(|part| usize::from(part.iter().map(|&byte| u8::from(byte != 0)).sum::<u8>())).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::scatter::row_offsets;
    use super::*;
    use crate::cpu::copy::tests::Random;
    use crate::dtype::Scalar;
    use half::bf16;
    use proptest::prelude::*;

    struct Problem {
        outer: usize,
        axis: usize,
        count: usize,
        inner: usize,
        indices: Vec<i64>,
        along: Vec<i64>,
        updates: Vec<i64>,
        base: Vec<i64>,
    }

    fn problem(random: &mut Random) -> Problem {
        let outer = [1, 1, 2, 9, 40][random.below(5)];
        let inner = [1, 1, 2, 3, 16, 65, 130][random.below(7)];
        let (axis, count) = (1 + random.below(12), random.below(30));
        let mut many = |count: usize, bound: usize| (0..count).map(|_| random.below(bound) as i64).collect::<Vec<_>>();
        Problem {
            outer,
            axis,
            count,
            inner,
            indices: many(count, axis),
            along: many(outer * count * inner, axis),
            updates: many(outer * count * inner, 50),
            base: many(outer * axis * inner, 50),
        }
    }

    impl Problem {
        /// The places (flat in updates, flat in base) that correspond, in order.
        fn pairs(&self, along: bool) -> Vec<(usize, usize)> {
            let mut out = Vec::new();
            for at in 0..self.outer * self.count * self.inner {
                let (block, row, lane) =
                    (at / (self.count * self.inner), at / self.inner % self.count, at % self.inner);
                let index = if along { self.along[at] } else { self.indices[row] } as usize;
                out.push((at, (block * self.axis + index) * self.inner + lane));
            }
            out
        }
    }

    fn stored(dtype: DType, values: &[i64]) -> Vec<u64> {
        let mut out = vec![0u64; values.len()];
        for (index, &value) in values.iter().enumerate() {
            // SAFETY: eight bytes for each element.
            unsafe {
                let place = out.as_mut_ptr().cast::<u8>().add(index * dtype.size());
                place.copy_from_nonoverlapping(Scalar::Int(value).to_bytes(dtype).as_ptr(), dtype.size());
            }
        }
        out
    }

    fn check(seed: u64) {
        let mut random = Random(seed);
        let problem = problem(&mut random);
        let Problem { outer, axis, count, inner, ref indices, ref along, ref updates, ref base } = problem;
        let dtype = DType::ALL[1 + random.below(7)];
        let size = dtype.size();
        let (from, source) = (stored(dtype, updates), stored(dtype, base));
        let offsets: Vec<isize> = row_offsets(outer, axis, inner, indices);
        for is_along in [false, true] {
            let pairs = problem.pairs(is_along);
            let (mut gathered, mut added, mut set) = (updates.clone(), base.clone(), base.clone());
            for &(update, place) in &pairs {
                gathered[update] = base[place];
                added[place] += updates[update];
                set[place] = updates[update];
            }
            if dtype == DType::U8 {
                added.iter_mut().for_each(|value| *value = i64::from(*value as u8));
            }
            let mut got = [vec![0u64; updates.len()], source.clone(), source.clone()];
            let mut general = got.clone();
            let [a, b, c] = got.each_mut().map(|out| out.as_mut_ptr().cast::<u8>());
            let [d, e, f] = general.each_mut().map(|out| out.as_mut_ptr().cast::<u8>());
            let (from, source, places) = (from.as_ptr().cast(), source.as_ptr().cast(), along.as_ptr());
            // SAFETY: the buffers have eight bytes for each element.
            unsafe {
                if is_along {
                    take_along(size, outer, axis, count, inner, source, places, a);
                    scatter_add_along(dtype, outer, axis, count, inner, places, from, b);
                    scatter_set_along(size, outer, axis, count, inner, places, from, c);
                } else {
                    take(size, outer, axis, inner, source, indices, a);
                    scatter_add(dtype, outer, axis, inner, indices, from, b);
                    scatter_set(size, outer, axis, inner, indices, from, c);
                    gather_nd(size, inner, source, &offsets, d);
                    scatter_nd_add(dtype, inner, from, &offsets, e);
                    scatter_nd_set(size, inner, from, &offsets, f);
                    assert!(got == general);
                }
            }
            for (got, expected) in got.iter().zip([gathered, added, set]) {
                assert!(*got == stored(dtype, &expected), "{dtype} {outer} {axis} {count} {inner} {is_along}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn gathers_and_scatters(seed in any::<u64>()) {
            check(seed);
        }
    }

    #[test]
    fn wide_rows_are_shared() {
        let (axis, inner, count) = (50, 2048, 300);
        let mut random = Random(5);
        let indices: Vec<i64> = (0..count).map(|_| random.below(axis) as i64).collect();
        let updates: Vec<f32> = (0..count * inner).map(|_| random.real() as f32).collect();
        let mut expected = vec![0f32; axis * inner];
        for (row, &index) in indices.iter().enumerate() {
            for lane in 0..inner {
                expected[index as usize * inner + lane] += updates[row * inner + lane];
            }
        }
        let mut out = vec![0f32; axis * inner];
        // SAFETY: the buffers hold both tensors.
        unsafe {
            let from = updates.as_ptr().cast();
            scatter_add(DType::F32, 1, axis, inner, &indices, from, out.as_mut_ptr().cast());
        }
        assert!(out == expected);
    }

    #[test]
    fn halves_are_rounded_once() {
        let indices = vec![0i64; 1000];
        let updates = vec![bf16::from_f32(0.01); 1000];
        let mut out = [bf16::ZERO];
        // SAFETY: the buffers hold both tensors.
        unsafe { scatter_add(DType::BF16, 1, 1, 1, &indices, updates.as_ptr().cast(), out.as_mut_ptr().cast()) };
        assert!((out[0].to_f32() - 10.0).abs() < 0.05);
        // SAFETY: as above.
        unsafe {
            let (from, places) = (updates.as_ptr().cast(), indices.as_ptr());
            scatter_add_along(DType::BF16, 1, 1, 1000, 1, places, from, out.as_mut_ptr().cast());
        }
        assert!((out[0].to_f32() - 20.0).abs() < 0.1);
    }

    #[test]
    fn indices_are_checked() {
        let check = |values: &[i32], length| {
            // SAFETY: a slice of i32.
            unsafe { check_indices(DType::I32, values.as_ptr().cast(), values.len(), length) }
        };
        assert_eq!(check(&[0, -1, 2, -3], 3), Ok(vec![0, 2, 2, 0]));
        assert_eq!(check(&[0, 3, -4], 3), Err((1, 3)));
        assert_eq!(check(&[0, -4, 3], 3), Err((1, -4)));
        assert_eq!(check(&[], 0), Ok(vec![]));
        assert_eq!(check(&[0], 0), Err((0, 0)));
        // SAFETY: one i64.
        let least = unsafe { check_indices(DType::I64, [i64::MIN].as_ptr().cast(), 1, 5) };
        assert_eq!(least, Err((0, i64::MIN)));
    }

    #[test]
    fn masks_become_positions() {
        let mut random = Random(11);
        for count in [0, 1, 300, 200_000, 2_000_001] {
            let mask: Vec<u8> = (0..count).map(|_| u8::from(random.below(3) == 0)).collect();
            let expected: Vec<i64> = (0..count).filter(|&index| mask[index] != 0).map(|index| index as i64).collect();
            // SAFETY: `count` bytes.
            assert!(unsafe { mask_to_indices(mask.as_ptr(), count) }.unwrap() == expected);
        }
    }
}
