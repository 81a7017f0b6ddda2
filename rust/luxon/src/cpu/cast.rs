//! Element types as kernels compute with them, and the conversions between any two.
//!
//! `Number` says what each stored type is computed in (halves in f32, the others as they are) and
//! `Arithmetic` what can be done there, with integer overflow wrapping. The half conversions are
//! branch-free bit arithmetic, so that loops over them vectorise on every instruction set; they round
//! to nearest even and keep NaN.
//!
//! [`cast`] follows NumPy where NumPy is defined: floats truncate towards zero, integers wrap, anything
//! but zero is true (NaN too). What C leaves undefined saturates, and NaN becomes integer 0.

use std::ops::Range;

use half::{bf16, f16};

use crate::cpu::isa::per_isa;
use crate::dtype::{DType, with_element};
use crate::runtime::threads::parallel;

/// A type that kernels compute in.
pub(crate) trait Arithmetic: Copy + PartialOrd + Send + Sync + 'static {
    /// Neutral in sums.
    const ZERO: Self;
    /// Neutral in products.
    const ONE: Self;
    /// Neutral in maxima.
    const LOWEST: Self;
    /// Neutral in minima.
    const HIGHEST: Self;
    /// Whether sums and products are the same in any order.
    const EXACT: bool;
    /// The sum; integers wrap.
    fn add(self, other: Self) -> Self;
    /// The product; integers wrap.
    fn multiply(self, other: Self) -> Self;
    /// The difference; integers wrap.
    fn subtract(self, other: Self) -> Self;
    /// The quotient by a count.
    fn divide(self, by: f64) -> Self;
    /// Whether it is not a number.
    fn is_nan(self) -> bool;
}

macro_rules! float_arithmetic {
    ($($float:ty),*) => { $(impl Arithmetic for $float {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        const LOWEST: Self = <$float>::NEG_INFINITY;
        const HIGHEST: Self = <$float>::INFINITY;
        const EXACT: bool = false;
        #[inline(always)]
        fn add(self, other: Self) -> Self { self + other }
        #[inline(always)]
        fn multiply(self, other: Self) -> Self { self * other }
        #[inline(always)]
        fn subtract(self, other: Self) -> Self { self - other }
        #[inline(always)]
        fn divide(self, by: f64) -> Self { self / by as $float }
        #[inline(always)]
        #[allow(clippy::eq_op)]
        fn is_nan(self) -> bool { self != self }
    })* };
}
float_arithmetic!(f32, f64);

macro_rules! integer_arithmetic {
    ($($integer:ty),*) => { $(impl Arithmetic for $integer {
        const ZERO: Self = 0;
        const ONE: Self = 1;
        const LOWEST: Self = <$integer>::MIN;
        const HIGHEST: Self = <$integer>::MAX;
        const EXACT: bool = true;
        #[inline(always)]
        fn add(self, other: Self) -> Self { self.wrapping_add(other) }
        #[inline(always)]
        fn multiply(self, other: Self) -> Self { self.wrapping_mul(other) }
        #[inline(always)]
        fn subtract(self, other: Self) -> Self { self.wrapping_sub(other) }
        #[inline(always)]
        fn divide(self, by: f64) -> Self { (self as f64 / by) as $integer }
        #[inline(always)]
        fn is_nan(self) -> bool { false }
    })* };
}
integer_arithmetic!(u8, i32, i64);

/// A stored element type; truth values are stored, and read, as `u8`.
pub(crate) trait Number: Copy + Send + Sync + 'static {
    /// What one element is computed in.
    type Wide: Arithmetic;
    /// What sums and products are accumulated in.
    type Total: Arithmetic;
    /// What sums and products are stored in.
    type Sum: Copy + Send + Sync + 'static;
    /// The value to compute with.
    fn widen(self) -> Self::Wide;
    /// The nearest stored value.
    fn narrow(wide: Self::Wide) -> Self;
    /// The value to accumulate.
    fn total(self) -> Self::Total;
    /// The stored value of a total.
    fn from_total(total: Self::Total) -> Self::Sum;
    /// Whether it is anything but zero.
    fn is_true(self) -> bool;
}

macro_rules! plain_number {
    ($($number:ty => $total:ty),*) => { $(impl Number for $number {
        type Wide = $number;
        type Total = $total;
        type Sum = $total;
        #[inline(always)]
        fn widen(self) -> $number { self }
        #[inline(always)]
        fn narrow(wide: $number) -> $number { wide }
        #[inline(always)]
        fn total(self) -> $total { self as $total }
        #[inline(always)]
        fn from_total(total: $total) -> $total { total }
        #[inline(always)]
        fn is_true(self) -> bool { self != 0 as $number }
    })* };
}
plain_number!(u8 => i64, i32 => i64, i64 => i64, f32 => f32, f64 => f64);

macro_rules! half_number {
    ($($half:ty, $widen:ident, $narrow:ident);*) => { $(impl Number for $half {
        type Wide = f32;
        type Total = f32;
        type Sum = $half;
        #[inline(always)]
        fn widen(self) -> f32 { $widen(self) }
        #[inline(always)]
        fn narrow(wide: f32) -> $half { $narrow(wide) }
        #[inline(always)]
        fn total(self) -> f32 { $widen(self) }
        #[inline(always)]
        fn from_total(total: f32) -> $half { $narrow(total) }
        #[inline(always)]
        fn is_true(self) -> bool { self.to_bits() & 0x7fff != 0 }
    })* };
}
half_number!(bf16, widen_bf16, narrow_bf16; f16, widen_f16, narrow_f16);

/// The f32 of equal value.
#[inline(always)]
pub(crate) fn widen_bf16(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}

/// The nearest bf16, ties to even.
#[inline(always)]
pub(crate) fn narrow_bf16(value: f32) -> bf16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    bf16::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded } as u16)
}

/// The f32 of equal value.
#[inline(always)]
pub(crate) fn widen_f16(value: f16) -> f32 {
    let bits = u32::from(value.to_bits());
    let sign = (bits & 0x8000) << 16;
    let shifted = (bits & 0x7fff) << 13;
    // 2^112 moves the exponent from the bias of f16 to that of f32, subnormal numbers included.
    let scaled = (f32::from_bits(shifted) * f32::from_bits(0x7780_0000)).to_bits();
    let special = shifted | 0x7f80_0000;
    f32::from_bits(sign | if shifted >= 0x0f80_0000 { special } else { scaled })
}

/// The nearest f16, ties to even.
#[inline(always)]
pub(crate) fn narrow_f16(value: f32) -> f16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let size = bits & 0x7fff_ffff;
    let normal = size.wrapping_sub(0x3800_0000 - 0xfff).wrapping_add((size >> 13) & 1) >> 13;
    // The spacing of floats in [0.5, 1) is that of subnormal f16, so the addition rounds.
    let subnormal = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let finite = if size < 0x3880_0000 { subnormal } else { normal };
    let bounded = if size >= 0x477f_f000 { 0x7c00 } else { finite };
    let magnitude = if size > 0x7f80_0000 { 0x7e00 | ((size >> 13) & 0x1ff) } else { bounded };
    f16::from_bits((sign | magnitude) as u16)
}

/// The f32 that a second rounding to a half type takes to where one rounding of `value` goes:
/// truncated, with the lowest bit set where anything was lost.
#[inline(always)]
fn round_to_odd(value: f64) -> f32 {
    let near = value as f32;
    let back = f64::from(near);
    let bits = near.to_bits();
    let truncated = if back.abs() > value.abs() { bits.wrapping_sub(1) } else { bits };
    f32::from_bits(if back == value { bits } else { truncated | 1 })
}

/// A truth value as it is stored.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Truth(#[allow(dead_code)] u8);

/// The conversion of one element.
trait CastTo<Target>: Copy {
    /// The converted value.
    fn cast_to(self) -> Target;
}

macro_rules! cast_plain {
    ($source:ty => $($target:ty),*) => { $(impl CastTo<$target> for $source {
        #[inline(always)]
        #[allow(clippy::unnecessary_cast)]
        fn cast_to(self) -> $target { self as $target }
    })* };
}
cast_plain!(u8 => u8, i32, i64, f32, f64);
cast_plain!(i32 => u8, i32, i64, f32, f64);
cast_plain!(i64 => u8, i32, i64, f32, f64);
cast_plain!(f32 => i32, i64, f32, f64);
cast_plain!(f64 => i32, i64, f32, f64);

macro_rules! cast_to_byte {
    ($($float:ty),*) => { $(impl CastTo<u8> for $float {
        /// What `as` does, in steps that vectorise: compare-select maps NaN to 0.
        #[inline(always)]
        fn cast_to(self) -> u8 {
            let low = if self > 0.0 { self } else { 0.0 };
            let bounded = if low < 255.0 { low } else { 255.0 };
            // SAFETY: the value lies in 0..=255.
            unsafe { bounded.to_int_unchecked::<i32>() as u8 }
        }
    })* };
}
cast_to_byte!(f32, f64);

macro_rules! cast_from_half {
    ($source:ty => $($target:ty),*) => { $(impl CastTo<$target> for $source {
        #[inline(always)]
        fn cast_to(self) -> $target { CastTo::<$target>::cast_to(self.widen()) }
    })* };
}
cast_from_half!(bf16 => u8, i32, i64, f32, f64, f16);
cast_from_half!(f16 => u8, i32, i64, f32, f64, bf16);

macro_rules! cast_to_half {
    ($target:ty, $narrow:ident) => {
        cast_to_half!($target, $narrow, u8 as |value| f32::from(value));
        cast_to_half!($target, $narrow, i32 as |value| value as f32);
        cast_to_half!($target, $narrow, i64 as |value| value as f32);
        cast_to_half!($target, $narrow, f32 as |value| value);
        cast_to_half!($target, $narrow, f64 as |value| round_to_odd(value));
        impl CastTo<$target> for $target {
            #[inline(always)]
            fn cast_to(self) -> $target { self }
        }
    };
    ($target:ty, $narrow:ident, $source:ty as |$value:ident| $single:expr) => {
        impl CastTo<$target> for $source {
            #[inline(always)]
            fn cast_to(self) -> $target {
                let $value = self;
                $narrow($single)
            }
        }
    };
}
cast_to_half!(bf16, narrow_bf16);
cast_to_half!(f16, narrow_f16);

impl<Source: Number> CastTo<Truth> for Source {
    #[inline(always)]
    fn cast_to(self) -> Truth {
        Truth(u8::from(self.is_true()))
    }
}

per_isa! {
    unsafe fn convert<Target: Copy, Source: CastTo<Target>>(source: *const Source, target: *mut Target, count: usize) {
        for index in 0..count {
            *target.add(index) = (*source.add(index)).cast_to();
        }
    }
}

/// A pointer that tasks on several threads may use; each keeps to its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: only an address; who dereferences it promises that no other task touches that part.
unsafe impl<T> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Shared<T> {}

impl<T> Shared<T> {
    /// Wraps the address of memory that tasks read.
    #[inline(always)]
    pub(crate) fn new(pointer: *const T) -> Self {
        Shared(pointer.cast_mut())
    }

    /// The address.
    #[inline(always)]
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

/// Runs `body` over 0..count in pieces that depend on `count` and `grain` only: one below two grains,
/// else at most 64 (more where a piece would be longer than 64 grains).
#[inline]
pub(crate) fn in_pieces(count: usize, grain: usize, nanoseconds: f64, body: impl Fn(Range<usize>) + Sync) {
    let grain = grain.max(1);
    if count < 2 * grain {
        if count > 0 {
            body(0..count);
        }
        return;
    }
    let pieces = (count / grain).min(64).max(count.div_ceil(64 * grain));
    let length = count.div_ceil(pieces);
    parallel(count.div_ceil(length), nanoseconds, &|piece| {
        body(piece * length..((piece + 1) * length).min(count));
    });
}

/// Elements of a piece of streaming work.
const GRAIN: usize = 1 << 16;

/// Converts `count` contiguous elements; the two ranges do not overlap unless they are the same memory
/// of two dtypes of equal size.
///
/// # Safety
/// `source` and `destination` are aligned for their dtypes and valid for `count` elements.
pub unsafe fn cast(from: DType, to: DType, count: usize, source: *const u8, destination: *mut u8) {
    let (source, destination) = (Shared::new(source), Shared::new(destination));
    let nanoseconds = count as f64 * 0.1 * (from.size() + to.size()) as f64;
    in_pieces(count, GRAIN, nanoseconds, |range| {
        let count = range.len();
        // SAFETY: the piece lies within the ranges that the caller vouches for.
        unsafe {
            let source = source.get().add(range.start * from.size());
            let destination = destination.get().add(range.start * to.size());
            if from == to || (from == DType::Bool && to == DType::U8) {
                std::ptr::copy(source, destination, count * from.size());
            } else if to == DType::Bool {
                with_element!(from, Source => convert::<Truth, Source>(source.cast(), destination.cast(), count));
            } else {
                with_element!(from, Source => with_element!(to, Target => {
                    convert::<Target, Source>(source.cast::<Source>(), destination.cast::<Target>(), count)
                }));
            }
        }
    });
}

/// Writes the first `element_size` (1, 2, 4 or 8) of `bytes` to each of `count` contiguous elements.
///
/// # Safety
/// `destination` is aligned for such elements and valid for `count` of them.
pub unsafe fn fill(element_size: usize, bytes: [u8; 8], count: usize, destination: *mut u8) {
    let destination = Shared::new(destination);
    let word = u64::from_le_bytes(bytes);
    in_pieces(count, 4 * GRAIN, count as f64 * 0.05 * element_size as f64, |range| {
        let (start, count) = (range.start, range.len());
        macro_rules! set {
            ($element:ty) => {{
                let value = <$element>::from_le_bytes(std::array::from_fn(|index| bytes[index]));
                // SAFETY: the piece lies within the range that the caller vouches for.
                unsafe { std::slice::from_raw_parts_mut(destination.get().cast::<$element>().add(start), count) }
                    .fill(value);
            }};
        }
        match element_size {
            _ if word == 0 => {
                // SAFETY: as above.
                unsafe { destination.get().add(start * element_size).write_bytes(0, count * element_size) };
            }
            1 => set!(u8),
            2 => set!(u16),
            4 => set!(u32),
            _ => set!(u64),
        }
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cpu::isa::with_each_isa;

    /// Checks one rounding against both neighbours.
    fn nearest(bits: u16, value: f64, widen: fn(u16) -> f64) {
        let distance = |bits: u16| (widen(bits) - value).abs();
        if widen(bits).is_finite() && bits & 0x7fff != 0 {
            for other in [distance(bits - 1), distance(bits + 1)] {
                let own = distance(bits);
                assert!(own < other || own == other && bits.is_multiple_of(2), "{value:e}");
            }
        }
    }

    #[test]
    fn halves_round_as_the_reference_does() {
        for bits in 0..=u16::MAX {
            let (a, b) = (f16::from_bits(bits), bf16::from_bits(bits));
            assert!(widen_f16(a).to_bits() == a.to_f32().to_bits() || a.is_nan() && widen_f16(a).is_nan());
            assert!(widen_bf16(b).to_bits() == b.to_f32().to_bits() || b.is_nan());
        }
        let mut state = 1u64;
        for step in 0..2_000_000u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut bits = (state >> 32) as u32;
            if step % 4 == 0 {
                bits &= 0xffff_f000; // Ties of f16.
            }
            if step % 4 == 1 {
                bits &= 0xffff_8000; // Ties of bf16.
            }
            if step % 2 == 0 {
                bits = (bits & 0x87ff_ffff) | 0x3000_0000; // Near the range of f16.
            }
            let value = f32::from_bits(bits);
            if value.is_nan() {
                assert!(narrow_f16(value).is_nan() && narrow_bf16(value).is_nan());
                continue;
            }
            assert_eq!(narrow_f16(value).to_bits(), f16::from_f32_const(value).to_bits(), "{value:e}");
            assert_eq!(narrow_bf16(value).to_bits(), bf16::from_f32(value).to_bits(), "{value:e}");
            let double = f64::from(value) * (1.0 + f64::EPSILON * ((step % 3) as f64 - 1.0));
            let bits = narrow_f16(round_to_odd(double)).to_bits();
            nearest(bits, double, |bits| f16::from_bits(bits).to_f64());
            let bits = narrow_bf16(round_to_odd(double)).to_bits();
            nearest(bits, double, |bits| bf16::from_bits(bits).to_f64());
        }
        assert!(narrow_f16(round_to_odd(f64::NAN)).is_nan());
        assert_eq!(narrow_bf16(round_to_odd(1e300)), bf16::INFINITY);
    }

    #[test]
    fn every_pair_on_every_set() {
        let values =
            [0.0, -0.0, 1.0, -1.5, 2.5, 300.0, -7e4, 3e9, -1e19, 1e39, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let count = 1000;
        with_each_isa(1, |_| {
            for from in DType::ALL {
                let mut source = vec![0u64; count];
                let mut single = vec![0f64; count];
                for index in 0..count {
                    let value = values[index % values.len()];
                    let bytes = crate::dtype::Scalar::Float(value).to_bytes(from);
                    // SAFETY: `source` has eight bytes for each element.
                    unsafe {
                        let place = source.as_mut_ptr().cast::<u8>().add(index * from.size());
                        std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, from.size());
                        single[index] = crate::dtype::Scalar::read(from, place).as_f64();
                    }
                }
                for to in DType::ALL {
                    let mut out = vec![0u64; count];
                    // SAFETY: both have eight bytes for each element.
                    unsafe { cast(from, to, count, source.as_ptr().cast(), out.as_mut_ptr().cast()) };
                    for index in 0..count {
                        let value = single[index];
                        // SAFETY: as above.
                        let got =
                            unsafe { crate::dtype::Scalar::read(to, out.as_ptr().cast::<u8>().add(index * to.size())) };
                        let expected = match to {
                            DType::Bool => f64::from(u8::from(value != 0.0)),
                            DType::U8 if from.is_int() => f64::from(value as i64 as u8),
                            DType::U8 => f64::from(value as u8),
                            DType::I32 if from.is_int() => f64::from(value as i64 as i32),
                            DType::I32 => f64::from(value as i32),
                            DType::I64 => (value as i64) as f64,
                            DType::BF16 => bf16::from_f64(value).to_f64(),
                            DType::F16 => f16::from_f64_const(value).to_f64(),
                            DType::F32 => f64::from(value as f32),
                            DType::F64 => value,
                        };
                        let got = got.as_f64();
                        assert!(
                            got.to_bits() == expected.to_bits() || got == expected || got.is_nan() && expected.is_nan(),
                            "{from} -> {to}: {value} gave {got}, not {expected}"
                        );
                    }
                }
            }
        });
    }
}
