//! Sorting and selecting along the last axis of contiguous rows.
//!
//! Elements are mapped to unsigned keys whose order is the wanted one (zeros equal, NaN the largest, so
//! last in ascending and first in descending order, all keys inverted for the latter). A key and its
//! position in one word make equal elements keep their order under any sorting method: short rows use
//! the standard library's, long ones a radix sort whose passes are cut into pieces by length alone.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::{bf16, f16};

use crate::cpu::cast::{Number, Shared, in_pieces};
use crate::dtype::{DType, with_element};
use crate::error::{Error, Result};
use crate::runtime::threads::parallel;

/// Rows shorter than this are left to the standard library.
const SHORT: usize = 512;
/// Elements of a piece of a radix pass.
const PIECE: usize = 1 << 16;
/// Bits of a digit.
const DIGIT: u32 = 8;
const RADIX: usize = 1 << DIGIT;

/// An unsigned integer that holds a key, or a key above a position.
trait Word: Copy + Ord + Default + Send + Sync + 'static {
    const MAX: Self;
    /// The key in the upper half, the position in the lower.
    fn pack(key: u64, position: usize) -> Self;
    /// The lower half.
    fn position(self) -> usize;
    /// A word that is a key alone.
    fn from_key(key: u64) -> Self;
    fn to_key(self) -> u64;
    /// The digit that starts at a bit.
    fn digit(self, bit: u32) -> usize;
}

macro_rules! word {
    ($($word:ty),*) => { $(impl Word for $word {
        const MAX: Self = <$word>::MAX;
        #[inline(always)]
        fn pack(key: u64, position: usize) -> Self { ((key as $word) << (<$word>::BITS / 2)) | position as $word }
        #[inline(always)]
        fn position(self) -> usize { (self & (<$word>::MAX >> (<$word>::BITS / 2))) as usize }
        #[inline(always)]
        fn from_key(key: u64) -> Self { key as $word }
        #[inline(always)]
        fn to_key(self) -> u64 { self as u64 }
        #[inline(always)]
        fn digit(self, bit: u32) -> usize { (self >> bit) as usize & (RADIX - 1) }
    })* };
}
word!(u32, u64, u128);

/// A stored type with an order-preserving map to unsigned integers.
trait Ordered: Number {
    /// The bits of a key.
    const KEY_BITS: u32;
    /// The key; zeros of both signs are equal where `merge`, else the map can be undone.
    fn key(self, merge: bool) -> u64;
    /// What has this key.
    fn from_key(key: u64) -> Self;
}

macro_rules! ordered_integer {
    ($($integer:ty, $unsigned:ty);*) => { $(impl Ordered for $integer {
        const KEY_BITS: u32 = <$integer>::BITS;
        #[inline(always)]
        fn key(self, _merge: bool) -> u64 { u64::from((self ^ <$integer>::MIN) as $unsigned) }
        #[inline(always)]
        fn from_key(key: u64) -> Self { key as $unsigned as $integer ^ <$integer>::MIN }
    })* };
}
ordered_integer!(u8, u8; i32, u32; i64, u64);

macro_rules! ordered_float {
    ($($float:ty, $unsigned:ty, $bits:literal, $infinity:literal);*) => { $(impl Ordered for $float {
        const KEY_BITS: u32 = $bits;
        #[inline(always)]
        fn key(self, merge: bool) -> u64 {
            const SIGN: $unsigned = 1 << ($bits - 1);
            let bits = self.to_bits();
            let size = bits & !SIGN;
            let bits = if merge && size == 0 { 0 } else { bits };
            let key = if bits & SIGN == 0 { bits | SIGN } else { !bits };
            u64::from(if size > $infinity { <$unsigned>::MAX } else { key })
        }
        #[inline(always)]
        fn from_key(key: u64) -> Self {
            const SIGN: $unsigned = 1 << ($bits - 1);
            let key = key as $unsigned;
            <$float>::from_bits(if key == <$unsigned>::MAX {
                $infinity | ($infinity >> 1)
            } else if key & SIGN == 0 {
                !key
            } else {
                key & !SIGN
            })
        }
    })* };
}
ordered_float!(bf16, u16, 16, 0x7f80; f16, u16, 16, 0x7c00; f32, u32, 32, 0x7f80_0000; f64, u64, 64, 0x7ff0_0000_0000_0000);

/// Sorts words by the bits `bits`; stable.
fn radix_sort<W: Word>(words: &mut [W], scratch: &mut [W], bits: Range<u32>) {
    let count = words.len();
    let length = count.div_ceil(16).max(PIECE);
    let pieces = count.div_ceil(length);
    let part = |piece: usize| piece * length..((piece + 1) * length).min(count);
    let nanoseconds = count as f64 * 2.0;
    let (mut from, mut to) = (Shared::new(words.as_mut_ptr()), Shared::new(scratch.as_mut_ptr()));
    let mut counts = vec![[0usize; RADIX]; pieces];
    let mut bit = bits.start;
    while bit < bits.end {
        let table = Shared::new(counts.as_mut_ptr());
        parallel(pieces, nanoseconds * 0.3, &|piece| {
            let mut own = [0; RADIX];
            for index in part(piece) {
                // SAFETY: a part of the words, and a row of counts for each piece.
                own[unsafe { *from.get().add(index) }.digit(bit)] += 1;
            }
            // SAFETY: as above.
            unsafe { *table.get().add(piece) = own };
        });
        let mut total = 0;
        let mut single = false;
        for digit in 0..RADIX {
            let start = total;
            for row in &mut counts {
                let own = row[digit];
                row[digit] = total;
                total += own;
            }
            single |= total - start == count;
        }
        bit += DIGIT;
        if single {
            continue;
        }
        let table = Shared::new(counts.as_mut_ptr());
        parallel(pieces, nanoseconds, &|piece| {
            // SAFETY: the counts give every word of every piece a place of its own.
            unsafe {
                let places = &mut *table.get().add(piece);
                for index in part(piece) {
                    let word = *from.get().add(index);
                    let place = &mut places[word.digit(bit - DIGIT)];
                    *to.get().add(*place) = word;
                    *place += 1;
                }
            }
        });
        (from, to) = (to, from);
    }
    if !std::ptr::eq(from.get(), words.as_ptr()) {
        words.copy_from_slice(scratch);
    }
}

/// `count` zeroed words, or the bytes that were refused.
fn zeroed<W: Word>(count: usize) -> Result<Vec<W>, usize> {
    let mut words = Vec::new();
    words.try_reserve_exact(count).map_err(|_| count.saturating_mul(size_of::<W>()))?;
    words.resize(count, W::default());
    Ok(words)
}

/// What [`sort_words`] needs besides so many words.
fn scratch<W: Word>(count: usize) -> Result<Vec<W>, usize> {
    zeroed(if count < SHORT { 0 } else { count })
}

/// Sorts words that, by the bits below `bits`, already are in order.
fn sort_words<W: Word>(words: &mut [W], scratch: &mut [W], bits: Range<u32>) {
    if words.len() < SHORT {
        words.sort_unstable();
    } else {
        radix_sort(words, scratch, bits);
    }
}

/// Runs `body` over pieces of the rows; the first refusal of memory becomes the error.
fn over_rows(
    rows: usize,
    length: usize,
    cost: f64,
    body: impl Fn(Range<usize>) -> Result<(), usize> + Sync,
) -> Result<()> {
    let refused = AtomicUsize::new(0);
    in_pieces(rows, (1 << 14) / length.max(1), (rows * length) as f64 * cost, |range| {
        if let Err(bytes) = body(range) {
            refused.store(bytes, Ordering::Relaxed);
        }
    });
    match refused.into_inner() {
        0 => Ok(()),
        bytes => Err(Error::Memory(bytes)),
    }
}

/// Sorts each of `rows` contiguous rows, stably; `values` or `indices` (positions in the row) may be null.
/// NaN counts as the largest.
///
/// # Safety
/// Every pointer that is not null is aligned and valid for `rows * length` elements; the source does not
/// overlap the others.
pub unsafe fn sort_rows(
    dtype: DType,
    rows: usize,
    length: usize,
    source: *const u8,
    values: *mut u8,
    indices: *mut i64,
    descending: bool,
) -> Result<()> {
    if rows == 0 || length == 0 {
        return Ok(());
    }
    let (source, values, indices) = (Shared::new(source), Shared::new(values), Shared::new(indices));
    over_rows(rows, length, 20.0, |range| {
        // SAFETY: rows of their own within what the caller vouches for.
        unsafe {
            with_element!(dtype, T => {
                let (source, values) = (Shared::new(source.get().cast::<T>()), Shared::new(values.get().cast::<T>()));
                if indices.get().is_null() {
                    match T::KEY_BITS {
                        64 => sort_values::<T, u64>(range, length, source, values, descending),
                        _ => sort_values::<T, u32>(range, length, source, values, descending),
                    }
                } else {
                    match u32::try_from(length) {
                        Ok(_) if T::KEY_BITS <= 32 => sort_indices::<T, u64>(range, length, source, values, indices, descending),
                        _ => sort_indices::<T, u128>(range, length, source, values, indices, descending),
                    }
                }
            })
        }
    })
}

/// What is xor-ed to keys: nothing, or all their bits to reverse the order.
fn inversion<T: Ordered>(descending: bool) -> u64 {
    if descending { u64::MAX >> (64 - T::KEY_BITS) } else { 0 }
}

unsafe fn sort_values<T: Ordered, W: Word>(
    rows: Range<usize>,
    length: usize,
    source: Shared<T>,
    values: Shared<T>,
    descending: bool,
) -> Result<(), usize> {
    let (mut words, mut scratch) = (zeroed::<W>(length)?, scratch::<W>(length)?);
    let flip = inversion::<T>(descending);
    for row in rows {
        let start = row * length;
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: an element of the row.
            *word = W::from_key(unsafe { *source.get().add(start + index) }.key(false) ^ flip);
        }
        sort_words(&mut words, &mut scratch, 0..T::KEY_BITS);
        for (index, word) in words.iter().enumerate() {
            // SAFETY: as above.
            unsafe { *values.get().add(start + index) = T::from_key(word.to_key() ^ flip) };
        }
    }
    Ok(())
}

unsafe fn sort_indices<T: Ordered, W: Word>(
    rows: Range<usize>,
    length: usize,
    source: Shared<T>,
    values: Shared<T>,
    indices: Shared<i64>,
    descending: bool,
) -> Result<(), usize> {
    let (mut words, mut scratch) = (zeroed::<W>(length)?, scratch::<W>(length)?);
    let flip = inversion::<T>(descending);
    let half = size_of::<W>() as u32 * 4;
    for row in rows {
        let start = row * length;
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: an element of the row.
            *word = W::pack(unsafe { *source.get().add(start + index) }.key(true) ^ flip, index);
        }
        sort_words(&mut words, &mut scratch, half..half + T::KEY_BITS);
        // SAFETY: positions lie within the row.
        unsafe { write(&words, source.get().add(start), values, indices, start) };
    }
    Ok(())
}

/// Writes what the positions of `words` select, from element `start` on.
unsafe fn write<T: Copy, W: Word>(
    words: &[W],
    source: *const T,
    values: Shared<T>,
    indices: Shared<i64>,
    start: usize,
) {
    for (index, word) in words.iter().enumerate() {
        // SAFETY: the caller vouches for the results and for the positions.
        unsafe {
            if !indices.get().is_null() {
                *indices.get().add(start + index) = word.position() as i64;
            }
            if !values.get().is_null() {
                *values.get().add(start + index) = *source.add(word.position());
            }
        }
    }
}

/// The `k` largest (or smallest) elements of each row, the best first and equal ones in their order;
/// `values` or `indices` may be null. NaN counts as the largest.
///
/// # Safety
/// `k <= length`; the source is aligned and valid for `rows * length` elements, the others for `rows * k`
/// and apart from it.
pub unsafe fn top_k_rows(
    dtype: DType,
    rows: usize,
    length: usize,
    k: usize,
    largest: bool,
    source: *const u8,
    values: *mut u8,
    indices: *mut i64,
) -> Result<()> {
    let k = k.min(length);
    if k == 0 {
        return Ok(());
    }
    let (source, values, indices) = (Shared::new(source), Shared::new(values), Shared::new(indices));
    over_rows(rows, length, 1.0 + 20.0 * k as f64 / length as f64, |range| {
        // SAFETY: rows of their own within what the caller vouches for.
        unsafe {
            with_element!(dtype, T => {
                let (source, values) = (Shared::new(source.get().cast::<T>()), Shared::new(values.get().cast::<T>()));
                match u32::try_from(length) {
                    Ok(_) if T::KEY_BITS <= 32 => top_k::<T, u64>(range, length, k, largest, source, values, indices),
                    _ => top_k::<T, u128>(range, length, k, largest, source, values, indices),
                }
            })
        }
    })
}

unsafe fn top_k<T: Ordered, W: Word>(
    rows: Range<usize>,
    length: usize,
    k: usize,
    largest: bool,
    source: Shared<T>,
    values: Shared<T>,
    indices: Shared<i64>,
) -> Result<(), usize> {
    let flip = inversion::<T>(largest);
    // Candidates below the worst of the best k so far; once the buffer is full they are thinned out.
    let room = k.saturating_mul(4).max(256).min(length.max(k));
    let mut best = zeroed::<W>(room)?;
    for row in rows {
        best.clear();
        let mut worst = W::MAX;
        for index in 0..length {
            // SAFETY: an element of the row.
            let word = W::pack(unsafe { *source.get().add(row * length + index) }.key(true) ^ flip, index);
            if word < worst {
                if best.len() == room {
                    worst = *best.select_nth_unstable(k - 1).1;
                    best.truncate(k);
                    if word > worst {
                        continue;
                    }
                }
                best.push(word);
            }
        }
        if best.len() > k {
            best.select_nth_unstable(k - 1);
            best.truncate(k);
        }
        best.sort_unstable();
        // SAFETY: positions lie within the row.
        unsafe { write(&best, source.get().add(row * length), values, indices, row * k) };
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cpu::copy::tests::Random;
    use crate::dtype::Scalar;
    use proptest::prelude::*;
    use std::cmp::Ordering::{self, Equal, Greater, Less};

    fn order(a: f64, b: f64) -> Ordering {
        match (a.is_nan(), b.is_nan()) {
            (true, true) => Equal,
            (true, false) => Greater,
            (false, true) => Less,
            _ => a.partial_cmp(&b).unwrap(),
        }
    }

    fn check(seed: u64) {
        let mut random = Random(seed);
        let dtype = DType::ALL[random.below(8)];
        let rows = random.below(4);
        let length = [0, 1, 2, 7, 100, 511, 513, 3000, 70_000][random.below(if rows < 2 { 9 } else { 8 })];
        let (descending, k) = (random.below(2) == 0, random.below(length.min(600) + 1));
        let size = dtype.size();
        let count = rows * length;
        let (mut source, mut values) = (vec![0u64; count], vec![0.0; count]);
        for index in 0..count {
            let value = match random.below(20) {
                0 if dtype.is_float() => {
                    Scalar::Float([f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY][random.below(4)])
                }
                1 if dtype.is_float() => Scalar::Float([0.0, -0.0][random.below(2)]),
                2..10 => Scalar::Int(random.below(9) as i64 - 4),
                _ if dtype == DType::I64 => Scalar::Int((random.real() * 1e12) as i64),
                _ => Scalar::Float(random.real() * 100.0),
            };
            // SAFETY: eight bytes for each element.
            unsafe {
                let place = source.as_mut_ptr().cast::<u8>().add(index * size);
                place.copy_from_nonoverlapping(value.to_bytes(dtype).as_ptr(), size);
                values[index] = Scalar::read(dtype, place).as_f64();
            }
        }
        let read = |buffer: &[u64], index: usize| {
            // SAFETY: as above.
            unsafe { Scalar::read(dtype, buffer.as_ptr().cast::<u8>().add(index * size)).as_f64() }
        };
        let same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
        let (mut sorted, mut alone, mut indices) = (vec![0u64; count], vec![0u64; count], vec![0i64; count]);
        let (mut top, mut places) = (vec![0u64; rows * k], vec![0i64; rows * k]);
        // SAFETY: the buffers have eight bytes for each element.
        unsafe {
            let from = source.as_ptr().cast();
            let null = std::ptr::null_mut();
            sort_rows(dtype, rows, length, from, sorted.as_mut_ptr().cast(), indices.as_mut_ptr(), descending).unwrap();
            sort_rows(dtype, rows, length, from, alone.as_mut_ptr().cast(), null, descending).unwrap();
            let to = top.as_mut_ptr().cast();
            top_k_rows(dtype, rows, length, k, descending, from, to, places.as_mut_ptr()).unwrap();
        }
        for row in 0..rows {
            let own = &values[row * length..(row + 1) * length];
            let mut expected: Vec<usize> = (0..length).collect();
            expected.sort_by(|&a, &b| if descending { order(own[b], own[a]) } else { order(own[a], own[b]) });
            for (rank, &position) in expected.iter().enumerate() {
                let at = row * length + rank;
                assert_eq!(indices[at], position as i64, "{dtype} {length} {descending}");
                assert!(same(read(&sorted, at), own[position]) && same(read(&alone, at), own[position]));
                if rank < k {
                    assert_eq!(places[row * k + rank], position as i64);
                    assert!(same(read(&top, row * k + rank), own[position]));
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn any_rows(seed in any::<u64>()) {
            check(seed);
        }
    }
}
