//! The floating-point types that random numbers are made of, and how bits become a number in `[0, 1)`.
//!
//! A number keeps as many random bits as its mantissa has: they become the mantissa of a number in `[1, 2)`, from
//! which 1 is taken. Half-precision types compute in `f32` and round where JAX rounds. Conversions go by whole chunks,
//! because the machine has instructions for those.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::CHUNK;
use crate::cpu::real::Real;

/// A type that random numbers are computed in: `f32` or `f64`.
pub trait Wide: Real + Sample<Wide = Self> {
    /// The square root of 2.
    const SQRT_2: Self;
    /// The number next to -1 on the side of 0.
    const ABOVE_MINUS_ONE: Self;
    /// The smallest positive number of full precision.
    const SMALLEST_NORMAL: Self;
    /// `self * factor + term`, rounded once.
    fn fused(self, factor: Self, term: Self) -> Self;
}

/// A floating-point type that can be drawn.
pub trait Sample: Copy + Default + PartialOrd + Send + Sync + 'static {
    /// The type that its numbers are computed in.
    type Wide: Wide;
    /// Whether each step of an expression rounds to this type; otherwise a multiply-add is fused.
    const ROUNDS_EACH_STEP: bool;
    /// The number in `[0, 1)` that an element's two words stand for.
    fn unit(words: (u32, u32)) -> Self::Wide;
    /// Itself, as a wide number.
    fn widen(self) -> Self::Wide;
    /// The wide number rounded to this type's precision.
    fn rounded(wide: Self::Wide) -> Self::Wide;
    /// The number of this type next to `bound` in the direction of `toward`, which is an infinity.
    fn inside(bound: Self::Wide, toward: Self::Wide) -> Self::Wide;
    /// Converts a chunk to this type.
    fn narrow(wide: &[Self::Wide; CHUNK], out: &mut [Self; CHUNK]);
    /// Converts a chunk from this type.
    fn widen_chunk(chunk: &[Self; CHUNK], out: &mut [Self::Wide; CHUNK]);
}

macro_rules! wide_sample {
    ($float:ident, $one_bits:expr, |$words:ident| $mantissa:expr) => {
        impl Wide for $float {
            const SQRT_2: Self = std::$float::consts::SQRT_2;
            const ABOVE_MINUS_ONE: Self = (-1.0 as $float).next_up();
            const SMALLEST_NORMAL: Self = $float::MIN_POSITIVE;

            #[inline(always)]
            fn fused(self, factor: Self, term: Self) -> Self {
                $float::mul_add(self, factor, term)
            }
        }

        impl Sample for $float {
            type Wide = $float;
            const ROUNDS_EACH_STEP: bool = false;

            #[inline(always)]
            fn unit($words: (u32, u32)) -> $float {
                $float::from_bits($mantissa | $one_bits) - 1.0
            }

            #[inline(always)]
            fn widen(self) -> $float {
                self
            }

            #[inline(always)]
            fn rounded(wide: $float) -> $float {
                wide
            }

            fn inside(bound: $float, toward: $float) -> $float {
                if toward > bound {
                    bound.next_up()
                } else if toward < bound {
                    bound.next_down()
                } else {
                    bound
                }
            }

            #[inline(always)]
            fn narrow(wide: &[$float; CHUNK], out: &mut [$float; CHUNK]) {
                *out = *wide;
            }

            #[inline(always)]
            fn widen_chunk(chunk: &[$float; CHUNK], out: &mut [$float; CHUNK]) {
                *out = *chunk;
            }
        }
    };
}

wide_sample!(f32, 1.0f32.to_bits(), |words| (words.0 ^ words.1) >> 9);
wide_sample!(f64, 1.0f64.to_bits(), |words| (u64::from(words.0) << 32 | u64::from(words.1)) >> 12);

macro_rules! half_sample {
    ($half:ident, |$words:ident| $mantissa:expr, $scale:expr) => {
        impl Sample for $half {
            type Wide = f32;
            const ROUNDS_EACH_STEP: bool = true;

            #[inline(always)]
            fn unit($words: (u32, u32)) -> f32 {
                $mantissa as f32 * $scale
            }

            #[inline(always)]
            fn widen(self) -> f32 {
                self.to_f32()
            }

            #[inline(always)]
            fn rounded(wide: f32) -> f32 {
                $half::from_f32(wide).to_f32()
            }

            fn inside(bound: f32, toward: f32) -> f32 {
                let start = $half::from_f32(bound);
                let bits = start.to_bits();
                if start.is_nan() || start.to_f32() == toward {
                    return bound;
                }
                // Away from zero the bits grow, toward it they shrink; either zero steps to the smallest number.
                let next = match (bits << 1 == 0, (toward > 0.0) == (bits >> 15 == 0)) {
                    (true, _) => u16::from(toward < 0.0) << 15 | 1,
                    (false, true) => bits + 1,
                    (false, false) => bits - 1,
                };
                $half::from_bits(next).to_f32()
            }

            #[inline(always)]
            fn narrow(wide: &[f32; CHUNK], out: &mut [$half; CHUNK]) {
                out.convert_from_f32_slice(wide);
            }

            #[inline(always)]
            fn widen_chunk(chunk: &[$half; CHUNK], out: &mut [f32; CHUNK]) {
                chunk.convert_to_f32_slice(out);
            }
        }
    };
}

// JAX draws 16 bits for `f16` and keeps 10; for `bf16` it draws 8 and keeps 7.
half_sample!(f16, |words| (((words.0 ^ words.1) as u16) >> 6), 1.0 / 1024.0);
half_sample!(bf16, |words| (((words.0 ^ words.1) as u8) >> 1), 1.0 / 128.0);
