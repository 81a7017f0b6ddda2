//! Random numbers: kernels that fill slices, each element a function of (key, index of the element).
//!
//! Bits, uniform numbers, integers, coin flips and permutations equal `jax.random`'s (Threefry, partitionable: its
//! default) bit for bit on the CPU; what goes through `erfinv` or `ln` agrees to rounding. Nothing depends on the
//! number of threads, on the instruction set or on how the slice is cut. A kernel works on [`CHUNK`] elements at a
//! time, so that the hash and the mathematics behind it vectorise together; a shorter tail is computed as a whole
//! chunk and cut. Half-precision floats follow JAX for `uniform` and `bernoulli`; the shaped distributions (`normal`
//! and so on) are drawn in `f32` and rounded, because JAX's 7 to 10 random bits give them no tails at all.

mod integer;
mod sample;
mod threefry;

#[cfg(test)]
mod tests;

pub use integer::{Bits, Integer, bits, permutation, randint};
pub use sample::{Sample, Wide};
pub use threefry::{Key, words_at};

use crate::cpu::isa::per_isa;
use crate::cpu::math::Math;
use crate::cpu::real::Real;
use crate::runtime::threads::parallel;

/// Elements that a kernel computes at once.
pub const CHUNK: usize = 64;

/// Elements in one task of a large slice; a multiple of [`CHUNK`].
const BLOCK: usize = 16 * 1024;

/// A kernel: the elements of a chunk as a function of the index of its first element.
trait Fill: Sync {
    /// What the kernel makes.
    type Out: Copy + Default + Send;
    /// Roughly what an element costs on one core.
    const NANOSECONDS: f64;
    /// Computes the elements `first..first + CHUNK`. Implementations are `#[inline(always)]`.
    fn chunk(&self, first: u64, out: &mut [Self::Out; CHUNK]);
}

per_isa! {
    /// Fills `out`, whose first element has the index `first`. Unsafe by its dispatch alone: it takes no pointers.
    #[allow(unused_unsafe)]
    unsafe fn fill_serial<F: Fill>(kernel: &F, first: u64, out: &mut [F::Out]) {
        let (chunks, tail) = out.as_chunks_mut::<CHUNK>();
        let mut index = first;
        for chunk in chunks {
            kernel.chunk(index, chunk);
            index = index.wrapping_add(CHUNK as u64);
        }
        if !tail.is_empty() {
            let mut whole = [F::Out::default(); CHUNK];
            kernel.chunk(index, &mut whole);
            tail.copy_from_slice(&whole[..tail.len()]);
        }
    }
}

/// Fills `out` from index 0, in parallel where that pays.
fn fill<F: Fill>(kernel: &F, out: &mut [F::Out]) {
    each_block(out, BLOCK, F::NANOSECONDS, &|start, block: &mut [F::Out]| {
        // SAFETY: the kernel is safe code; the function is unsafe only because of how it is dispatched.
        unsafe { fill_serial(kernel, start as u64, block) }
    });
}

/// Calls `body(start, block)` for consecutive blocks of `size` elements of `out`, in parallel where that pays.
fn each_block<T: Send>(out: &mut [T], size: usize, nanoseconds_each: f64, body: &(dyn Fn(usize, &mut [T]) + Sync)) {
    let length = out.len();
    if length <= size {
        if length > 0 {
            body(0, out);
        }
        return;
    }
    let base = Base(out.as_mut_ptr());
    parallel(length.div_ceil(size), length as f64 * nanoseconds_each, &|task| {
        let base = &base;
        let start = task * size;
        let count = size.min(length - start);
        // SAFETY: tasks are distinct, so blocks are disjoint parts of `out`, which outlives the call.
        body(start, unsafe { std::slice::from_raw_parts_mut(base.0.add(start), count) });
    });
}

/// The start of a slice whose disjoint blocks go to different threads.
struct Base<T>(*mut T);
// SAFETY: only `each_block` reads the pointer, to hand each thread a part of its own of a slice of `Send` elements.
unsafe impl<T: Send> Sync for Base<T> {}

/// The two words of the element `offset` places after `first`. The upper word of the counter takes the carry, so a
/// chunk may start anywhere.
#[inline(always)]
fn words(key: Key, first: u64, offset: usize) -> (u32, u32) {
    let start = first as u32;
    let low = start.wrapping_add(offset as u32);
    let high = ((first >> 32) as u32).wrapping_add(u32::from(low < start));
    threefry::hash(key, high, low)
}

/// `jax.random.uniform`: numbers in `[low, high)`, of which rounding may reach `high` where the range is not 1.
pub fn uniform<T: Sample>(key: Key, low: T, high: T, out: &mut [T]) {
    fill(&Uniform::new(key, low, high), out);
}

struct Uniform<T: Sample> {
    key: Key,
    low: T::Wide,
    range: T::Wide,
    is_unit: bool,
}

impl<T: Sample> Uniform<T> {
    fn new(key: Key, low: T, high: T) -> Self {
        let low = low.widen();
        let range = T::rounded(high.widen() - low);
        Uniform { key, low, range, is_unit: low == T::Wide::ZERO && range == T::Wide::ONE }
    }

    #[inline(always)]
    fn wide(&self, first: u64, out: &mut [T::Wide; CHUNK]) {
        for offset in 0..CHUNK {
            out[offset] = T::unit(words(self.key, first, offset));
        }
        if self.is_unit {
            return;
        }
        for value in out.iter_mut() {
            let scaled = if T::ROUNDS_EACH_STEP {
                T::rounded(*value * self.range) + self.low
            } else {
                value.fused(self.range, self.low)
            };
            *value = if scaled < self.low { self.low } else { scaled };
        }
    }
}

impl<T: Sample> Fill for Uniform<T> {
    type Out = T;
    const NANOSECONDS: f64 = 1.2;

    #[inline(always)]
    fn chunk(&self, first: u64, out: &mut [T; CHUNK]) {
        let mut wide = [T::Wide::ZERO; CHUNK];
        self.wide(first, &mut wide);
        T::narrow(&wide, out);
    }
}

/// A distribution that is a function of one number uniform in `[0, 1)`.
trait Shape<W: Wide>: Copy + Sync {
    /// The distribution's number. Implementations are `#[inline(always)]`.
    fn shape(unit: W) -> W;
}

struct Shaped<T, S> {
    key: Key,
    marker: std::marker::PhantomData<fn() -> (T, S)>,
}

impl<T: Sample, S: Shape<T::Wide>> Shaped<T, S> {
    fn new(key: Key, _shape: S) -> Self {
        Shaped { key, marker: std::marker::PhantomData }
    }
}

impl<T: Sample, S: Shape<T::Wide>> Fill for Shaped<T, S> {
    type Out = T;
    const NANOSECONDS: f64 = 2.0;

    #[inline(always)]
    fn chunk(&self, first: u64, out: &mut [T; CHUNK]) {
        let mut wide = [T::Wide::ZERO; CHUNK];
        for offset in 0..CHUNK {
            wide[offset] = T::Wide::unit(words(self.key, first, offset));
        }
        // A loop of its own: the hash and the mathematics together need more registers than there are.
        for value in &mut wide {
            *value = S::shape(*value);
        }
        T::narrow(&wide, out);
    }
}

/// `jax.random.normal`: the standard normal distribution, as `sqrt(2) erfinv(u)` with `u` uniform in `(-1, 1)`.
pub fn normal<T: Sample>(key: Key, out: &mut [T]) {
    fill(&Shaped::<T, Normal>::new(key, Normal), out);
}

#[derive(Clone, Copy)]
struct Normal;

impl<W: Wide> Shape<W> for Normal {
    #[inline(always)]
    fn shape(unit: W) -> W {
        // Doubling is exact, so this rounds once, as a fused multiply-add would.
        let symmetric = (unit + unit) + W::ABOVE_MINUS_ONE;
        W::SQRT_2 * symmetric.erfinv()
    }
}

/// `jax.random.exponential`: the exponential distribution of rate 1, as `-ln(1 - u)`.
pub fn exponential<T: Sample>(key: Key, out: &mut [T]) {
    fill(&Shaped::<T, Exponential>::new(key, Exponential), out);
}

#[derive(Clone, Copy)]
struct Exponential;

impl<W: Wide> Shape<W> for Exponential {
    #[inline(always)]
    fn shape(unit: W) -> W {
        // 1 - u is exact, so `ln` loses nothing against `ln_1p`; 0 - x rather than -x, for a positive zero.
        W::ZERO - (W::ONE - unit).ln()
    }
}

/// `jax.random.gumbel`: the standard Gumbel distribution, as `-ln(-ln(u))` with `u` in `[smallest normal, 1)`.
pub fn gumbel<T: Sample>(key: Key, out: &mut [T]) {
    fill(&Shaped::<T, Gumbel>::new(key, Gumbel), out);
}

#[derive(Clone, Copy)]
struct Gumbel;

impl<W: Wide> Shape<W> for Gumbel {
    #[inline(always)]
    fn shape(unit: W) -> W {
        // Every u but 0 swallows the smallest normal number that JAX adds to it.
        let positive = if unit < W::SMALLEST_NORMAL { W::SMALLEST_NORMAL } else { unit };
        -(-positive.ln()).ln()
    }
}

/// `jax.random.truncated_normal`: the standard normal distribution within the open interval `(lower, upper)`.
pub fn truncated_normal<T: Sample>(key: Key, lower: T, upper: T, out: &mut [T]) {
    let (lower, upper) = (lower.widen(), upper.widen());
    let (from, to) = ((lower / T::Wide::SQRT_2).erf(), (upper / T::Wide::SQRT_2).erf());
    let kernel = TruncatedNormal::<T> {
        uniform: Uniform::new(key, from, to),
        least: T::inside(lower, -T::Wide::NEGATIVE_INFINITY),
        most: T::inside(upper, T::Wide::NEGATIVE_INFINITY),
    };
    fill(&kernel, out);
}

struct TruncatedNormal<T: Sample> {
    uniform: Uniform<T::Wide>,
    least: T::Wide,
    most: T::Wide,
}

impl<T: Sample> Fill for TruncatedNormal<T> {
    type Out = T;
    const NANOSECONDS: f64 = 2.0;

    #[inline(always)]
    fn chunk(&self, first: u64, out: &mut [T; CHUNK]) {
        let mut wide = [T::Wide::ZERO; CHUNK];
        self.uniform.wide(first, &mut wide);
        for value in &mut wide {
            // Rounding, or an end of the interval itself, must not leave the interval.
            let normal = T::Wide::SQRT_2 * value.erfinv();
            let normal = if normal < self.least { self.least } else { normal };
            *value = if normal > self.most { self.most } else { normal };
        }
        T::narrow(&wide, out);
    }
}

/// `jax.random.bernoulli`: 1 with the given probability, otherwise 0. The type of `probability` says how many bits
/// decide, as in JAX; [`dropout`] keeps where `f32` gives 1.
pub fn bernoulli<T: Sample>(key: Key, probability: T, out: &mut [u8]) {
    fill(&Bernoulli::<T> { key, probability: probability.widen() }, out);
}

struct Bernoulli<T: Sample> {
    key: Key,
    probability: T::Wide,
}

impl<T: Sample> Fill for Bernoulli<T> {
    type Out = u8;
    const NANOSECONDS: f64 = 1.2;

    #[inline(always)]
    fn chunk(&self, first: u64, out: &mut [u8; CHUNK]) {
        for offset in 0..CHUNK {
            out[offset] = u8::from(T::unit(words(self.key, first, offset)) < self.probability);
        }
    }
}

/// Dropout: `input / keep` where a coin of probability `keep` shows 1, exactly 0 elsewhere, even over NaN.
///
/// The coins are those of `bernoulli(key, keep as f32)` whatever `T` is, so a model drops the same elements in every
/// precision; the derivative is the same call on the cotangent. Fills the common length of `input` and `out`.
pub fn dropout<T: Sample>(key: Key, keep: f64, input: &[T], out: &mut [T]) {
    let length = input.len().min(out.len());
    let (input, out) = (&input[..length], &mut out[..length]);
    if keep >= 1.0 {
        out.copy_from_slice(input);
        return;
    }
    fill(&Dropout { key, keep: keep as f32, scale: T::Wide::from_f64(1.0 / keep), input }, out);
}

struct Dropout<'a, T: Sample> {
    key: Key,
    keep: f32,
    scale: T::Wide,
    input: &'a [T],
}

impl<T: Sample> Fill for Dropout<'_, T> {
    type Out = T;
    const NANOSECONDS: f64 = 1.2;

    #[inline(always)]
    fn chunk(&self, first: u64, out: &mut [T; CHUNK]) {
        let mut wide = [T::Wide::ZERO; CHUNK];
        // A slice is never longer than `usize`, so the index is one too.
        let rest = &self.input[first as usize..];
        if let Some(chunk) = rest.first_chunk::<CHUNK>() {
            T::widen_chunk(chunk, &mut wide);
        } else {
            for (to, from) in wide.iter_mut().zip(rest) {
                *to = from.widen();
            }
        }
        for offset in 0..CHUNK {
            let kept = f32::unit(words(self.key, first, offset)) < self.keep;
            wide[offset] = if kept { wide[offset] * self.scale } else { T::Wide::ZERO };
        }
        T::narrow(&wide, out);
    }
}

/// `jax.random.categorical` over the last axis: for each element of `out` the class drawn with the probabilities
/// `softmax(logits)`, by the largest of logit plus Gumbel noise; the first of equals, the first NaN before all.
///
/// `logits` holds rows of `classes`; `out` may hold several times as many elements as there are rows, and then starts
/// again at the first row. Does nothing where there are no logits.
pub fn categorical<T: Sample>(key: Key, logits: &[T], classes: usize, out: &mut [i64]) {
    let rows = logits.len().checked_div(classes).unwrap_or(0);
    if rows == 0 {
        return;
    }
    let noise = Shaped::<T::Wide, Gumbel>::new(key, Gumbel);
    let cost = 2.0 * classes as f64;
    each_block(out, (BLOCK / classes).max(1), cost, &|start, block: &mut [i64]| {
        let mut buffer = [T::Wide::ZERO; CHUNK];
        let mut index = start as u64 * classes as u64;
        let mut used = CHUNK;
        for (offset, drawn) in block.iter_mut().enumerate() {
            let row = (start + offset) % rows;
            let (mut best, mut largest) = (0, T::Wide::NEGATIVE_INFINITY);
            for (class, logit) in logits[row * classes..(row + 1) * classes].iter().enumerate() {
                if used == CHUNK {
                    // SAFETY: as in `fill`: the function is unsafe only because of how it is dispatched.
                    unsafe { fill_serial(&noise, index, &mut buffer) };
                    index += CHUNK as u64;
                    used = 0;
                }
                let value = buffer[used] + logit.widen();
                used += 1;
                // The negation makes NaN win; once NaN leads, only `largest == largest` can let another in.
                #[allow(clippy::eq_op, clippy::neg_cmp_op_on_partial_ord)]
                if !(value <= largest) && largest == largest {
                    (best, largest) = (class as i64, value);
                }
            }
            *drawn = best;
        }
    });
}
