//! Random integers: raw bits, ranges and permutations, equal to `jax.random`'s bit for bit.
//!
//! A range is drawn as JAX draws it: two words, remainders by the span of the range, combined as the remainder of
//! one number of twice the width. That is slightly biased where the span is not a power of two, by at most
//! `span / 2^64` for 32-bit integers, and it needs no rejection loop, so an element is still a function of its index.
//! A permutation is JAX's too: sort by random keys, often enough that keys that collide do not matter.

use std::collections::TryReserveError;
use std::marker::PhantomData;

use super::{CHUNK, Fill, Key, fill, words};

/// An unsigned integer type that raw bits come in: `u8`, `u16`, `u32` or `u64`.
pub trait Bits: Copy + Default + Send + Sync + 'static {
    /// The bits that an element's two words give. The narrow types take the low bits of `u32`'s.
    fn from_words(words: (u32, u32)) -> Self;
}

macro_rules! narrow_bits {
    ($($word:ty),*) => {$(
        impl Bits for $word {
            #[inline(always)]
            fn from_words(words: (u32, u32)) -> Self {
                (words.0 ^ words.1) as $word
            }
        }
    )*};
}
narrow_bits!(u8, u16, u32);

impl Bits for u64 {
    #[inline(always)]
    fn from_words(words: (u32, u32)) -> Self {
        u64::from(words.0) << 32 | u64::from(words.1)
    }
}

/// `jax.random.bits`: uniform random bits.
pub fn bits<T: Bits>(key: Key, out: &mut [T]) {
    fill(&RawBits::<T> { key, marker: PhantomData }, out);
}

struct RawBits<T> {
    key: Key,
    marker: PhantomData<fn() -> T>,
}

impl<T: Bits> Fill for RawBits<T> {
    type Out = T;
    const NANOSECONDS: f64 = 1.0;

    #[inline(always)]
    fn chunk(&self, first: u64, out: &mut [T; CHUNK]) {
        for offset in 0..CHUNK {
            out[offset] = T::from_words(words(self.key, first, offset));
        }
    }
}

/// An integer type that ranges are drawn in: `u8`, `i32` or `i64`.
pub trait Integer: Copy + Default + Send + Sync + 'static {
    /// Fills `out` as [`randint`] does.
    fn randint(key: Key, low: i64, high: i64, out: &mut [Self]);
}

/// `jax.random.randint`: integers in `[low, high)`, after both ends are clipped to the type; one past the largest
/// value is a valid `high` for `u8` and `i32`. Where `high <= low` every element is `low`.
pub fn randint<T: Integer>(key: Key, low: i64, high: i64, out: &mut [T]) {
    T::randint(key, low, high, out);
}

impl Integer for u8 {
    fn randint(key: Key, low: i64, high: i64, out: &mut [u8]) {
        fill(&Range32::<u8>::new(key, low.clamp(0, 255), high.clamp(0, 256)), out);
    }
}

impl Integer for i32 {
    fn randint(key: Key, low: i64, high: i64, out: &mut [i32]) {
        const LEAST: i64 = i32::MIN as i64;
        const MOST: i64 = i32::MAX as i64;
        fill(&Range32::<i32>::new(key, low.clamp(LEAST, MOST), high.clamp(LEAST, MOST + 1)), out);
    }
}

impl Integer for i64 {
    fn randint(key: Key, low: i64, high: i64, out: &mut [i64]) {
        let span = if high <= low { 1 } else { high.wrapping_sub(low) as u64 };
        let [for_high, for_low] = [key.child(0), key.child(1)];
        let divisor = Divisor::<u64>::new(span);
        let half = divisor.remainder(1 << 32);
        let multiplier = divisor.remainder(half.wrapping_mul(half));
        fill(&Range64 { for_high, for_low, low, multiplier, divisor }, out);
    }
}

/// A range of up to 2^32 values, drawn in 32 bits.
struct Range32<T> {
    for_high: Key,
    for_low: Key,
    low: i32,
    multiplier: u32,
    /// `None` for all 2^32 values, where the low bits are the answer.
    divisor: Option<Divisor<u32>>,
    marker: PhantomData<fn() -> T>,
}

impl<T> Range32<T> {
    /// Ends that `i32` holds, but for `high`, which may be 2^31.
    fn new(key: Key, low: i64, high: i64) -> Self {
        let span = if high <= low { 1 } else { high - low };
        let divisor = u32::try_from(span).ok().map(Divisor::<u32>::new);
        let multiplier = divisor.map_or(0, |divisor| {
            let half = divisor.remainder(1 << 16);
            divisor.remainder(half.wrapping_mul(half))
        });
        let [for_high, for_low] = [key.child(0), key.child(1)];
        Range32 { for_high, for_low, low: low as i32, multiplier, divisor, marker: PhantomData }
    }

    #[inline(always)]
    fn values(&self, first: u64, out: &mut [i32; CHUNK]) {
        match self.divisor {
            None => {
                for offset in 0..CHUNK {
                    let low = u32::from_words(words(self.for_low, first, offset));
                    out[offset] = self.low.wrapping_add(low as i32);
                }
            }
            Some(divisor) => {
                for offset in 0..CHUNK {
                    let high = divisor.remainder(u32::from_words(words(self.for_high, first, offset)));
                    let low = divisor.remainder(u32::from_words(words(self.for_low, first, offset)));
                    let value = divisor.remainder(high.wrapping_mul(self.multiplier).wrapping_add(low));
                    out[offset] = self.low.wrapping_add(value as i32);
                }
            }
        }
    }
}

impl Fill for Range32<i32> {
    type Out = i32;
    const NANOSECONDS: f64 = 2.8;

    #[inline(always)]
    fn chunk(&self, first: u64, out: &mut [i32; CHUNK]) {
        self.values(first, out);
    }
}

impl Fill for Range32<u8> {
    type Out = u8;
    const NANOSECONDS: f64 = 2.8;

    #[inline(always)]
    fn chunk(&self, first: u64, out: &mut [u8; CHUNK]) {
        let mut values = [0; CHUNK];
        self.values(first, &mut values);
        for offset in 0..CHUNK {
            out[offset] = values[offset] as u8;
        }
    }
}

struct Range64 {
    for_high: Key,
    for_low: Key,
    low: i64,
    multiplier: u64,
    divisor: Divisor<u64>,
}

impl Fill for Range64 {
    type Out = i64;
    const NANOSECONDS: f64 = 5.0;

    #[inline(always)]
    fn chunk(&self, first: u64, out: &mut [i64; CHUNK]) {
        // Remainders of 64 bits do not vectorise, so the bits are made before them.
        let (mut high, mut low) = ([0; CHUNK], [0; CHUNK]);
        for offset in 0..CHUNK {
            high[offset] = u64::from_words(words(self.for_high, first, offset));
            low[offset] = u64::from_words(words(self.for_low, first, offset));
        }
        for offset in 0..CHUNK {
            let (high, low) = (self.divisor.remainder(high[offset]), self.divisor.remainder(low[offset]));
            let value = self.divisor.remainder(high.wrapping_mul(self.multiplier).wrapping_add(low));
            out[offset] = self.low.wrapping_add(value as i64);
        }
    }
}

/// Remainders by a divisor fixed in advance, without a division: a multiplication and two shifts that vectorise.
/// Granlund and Montgomery, "Division by invariant integers using multiplication" (1994), figure 4.1.
#[derive(Clone, Copy)]
struct Divisor<T> {
    divisor: T,
    multiplier: T,
    first_shift: u32,
    second_shift: u32,
}

macro_rules! divisor {
    ($word:ident, $wide:ident) => {
        impl Divisor<$word> {
            /// `divisor` is not 0.
            fn new(divisor: $word) -> Self {
                let bits = $word::BITS - (divisor - 1).leading_zeros();
                let excess = (1 << bits) - $wide::from(divisor);
                let multiplier = ((excess << $word::BITS) / $wide::from(divisor) + 1) as $word;
                Divisor { divisor, multiplier, first_shift: bits.min(1), second_shift: bits.saturating_sub(1) }
            }

            #[inline(always)]
            fn remainder(self, value: $word) -> $word {
                let product = $wide::from(self.multiplier) * $wide::from(value);
                let upper = (product >> $word::BITS) as $word;
                let quotient = (upper + ((value - upper) >> self.first_shift)) >> self.second_shift;
                value.wrapping_sub(quotient.wrapping_mul(self.divisor))
            }
        }
    };
}
divisor!(u32, u64);
divisor!(u64, u128);

/// `jax.random.permutation(key, out.len())`: the numbers from 0 in random order. Fails where there is no memory for
/// the sort.
pub fn permutation(key: Key, out: &mut [i64]) -> Result<(), TryReserveError> {
    for (index, value) in out.iter_mut().enumerate() {
        *value = index as i64;
    }
    // JAX's rule: as many sorts as make 3 log2(n) random bits.
    let rounds = (3.0 * (out.len().max(1) as f64).ln() / f64::from(u32::MAX).ln()).ceil() as usize;
    let length = if rounds == 0 { 0 } else { out.len() };
    let mut keys = filled(length, 0u32)?;
    let mut pairs = filled(length, (0u32, 0i64))?;
    let mut spare = filled(length, (0u32, 0i64))?;
    let mut key = key;
    for _ in 0..rounds {
        bits(key.child(1), &mut keys);
        key = key.child(0);
        for ((pair, &sort_key), &value) in pairs.iter_mut().zip(&keys).zip(out.iter()) {
            *pair = (sort_key, value);
        }
        sort_by_key(&mut pairs, &mut spare);
        for (value, pair) in out.iter_mut().zip(&pairs) {
            *value = pair.1;
        }
    }
    Ok(())
}

/// A vector of `length` copies of `value`, or an error where there is no memory.
fn filled<T: Copy>(length: usize, value: T) -> Result<Vec<T>, TryReserveError> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(length)?;
    vector.resize(length, value);
    Ok(vector)
}

/// Sorts by the first member, stably: where there are many, four passes that each distribute by eight bits of it.
fn sort_by_key(pairs: &mut [(u32, i64)], spare: &mut [(u32, i64)]) {
    if pairs.len() < 256 {
        pairs.sort_by_key(|pair| pair.0);
        return;
    }
    let mut counts = [[0usize; 256]; 4];
    for pair in pairs.iter() {
        for (pass, byte) in pair.0.to_le_bytes().into_iter().enumerate() {
            counts[pass][byte as usize] += 1;
        }
    }
    let (mut from, mut to) = (pairs, spare);
    for (pass, counts) in counts.iter_mut().enumerate() {
        let mut start = 0;
        for count in counts.iter_mut() {
            start += std::mem::replace(count, start);
        }
        for pair in from.iter() {
            let place = &mut counts[(pair.0 >> (8 * pass)) as usize & 0xFF];
            to[*place] = *pair;
            *place += 1;
        }
        std::mem::swap(&mut from, &mut to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_divisor_divides() {
        let divisors = (1..2000u64).chain((11..64).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]));
        for divisor in divisors.chain([u64::MAX, u64::MAX - 1, 123_456_789, 0x9E37_79B9_7F4A_7C15]) {
            let near = [0, 1, divisor - 1, divisor, divisor.wrapping_add(1), 1 << 16, 1 << 32, u64::MAX - 1, u64::MAX];
            let spread = (0..200u64).map(|step| step.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            for value in near.into_iter().chain(spread) {
                assert_eq!(Divisor::<u64>::new(divisor).remainder(value), value % divisor, "{value} % {divisor}");
                if let Ok(divisor) = u32::try_from(divisor) {
                    let value = value as u32;
                    assert_eq!(Divisor::<u32>::new(divisor).remainder(value), value % divisor, "{value} % {divisor}");
                }
            }
        }
    }

    #[test]
    fn sorting_is_stable() {
        for length in [0, 1, 2, 255, 256, 257, 5000] {
            let mut pairs: Vec<(u32, i64)> =
                (0..length).map(|index| ((index as u32).wrapping_mul(0x9E37_79B9) >> 20, index)).collect();
            let mut expected = pairs.clone();
            expected.sort_by_key(|pair| pair.0);
            let mut spare = pairs.clone();
            sort_by_key(&mut pairs, &mut spare);
            assert_eq!(pairs, expected, "{length}");
        }
    }
}
