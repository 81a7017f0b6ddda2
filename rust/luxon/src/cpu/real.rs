//! The floating-point types that row kernels compute in.
//!
//! [`Real`] is `f32` or `f64`: the functions of [`Math`] plus arithmetic and conversions, enough to write
//! a kernel once. Half-precision tensors are converted by whoever calls a kernel. Totals are kept in
//! `f64` whatever the type, so the conversions to and from it are part of the trait.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use super::math::Math;

/// `f32` or `f64`.
pub trait Real:
    Math
    + Debug
    + Default
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Minus infinity.
    const NEGATIVE_INFINITY: Self;
    /// The nearest value to `value`.
    fn from_f64(value: f64) -> Self;
    /// The same value in double precision.
    fn to_f64(self) -> f64;
    /// The value, 0 where it is subnormal.
    fn normal_or_zero(self) -> Self;
}

macro_rules! real {
    ($float:ty, $exponent:literal) => {
        impl Real for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEGATIVE_INFINITY: Self = <$float>::NEG_INFINITY;
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $float
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn normal_or_zero(self) -> Self {
                // All bits of the exponent: one instruction tests them, where a comparison of sizes takes two.
                if self.to_bits() & $exponent == 0 { 0.0 } else { self }
            }
        }
    };
}

real!(f32, 0x7f80_0000);
real!(f64, 0x7ff0_0000_0000_0000);

/// The larger of two; where `value` is NaN, `other`. One vector instruction.
#[inline(always)]
pub fn larger<T: Real>(value: T, other: T) -> T {
    if value > other { value } else { other }
}

/// Whether the value is not a number.
#[inline(always)]
#[allow(clippy::eq_op)]
pub fn is_nan<T: Real>(value: T) -> bool {
    value != value
}
