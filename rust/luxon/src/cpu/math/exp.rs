//! Exponentials: `exp`, `exp2`, `expm1`, and the pieces that other files build on.
//!
//! `x = n ln 2 + r` with `|r| <= ln 2 / 2`: `n` comes from adding `1.5 * 2^(mantissa bits)`, which rounds
//! to an integer and leaves it in the low bits of the sum (Cody and Waite, *Software Manual for the
//! Elementary Functions*, 1980). The first step of the reduction is exact thanks to the fused
//! multiply-add, the second rounds once. `exp(r) = 1 + r + r^2 q(r)`, `q` a minimax polynomial with
//! rounded coefficients. `2^n` is applied as two factors, so that overflow and gradual underflow are
//! those of the hardware, with one rounding, and no special case is left.
//!
//! Clamps are written as compare and select because that keeps NaN.

/// `1.5 * 2^23`: adding it rounds to an integer.
pub(super) const MAGIC_F32: f32 = 12_582_912.0;
/// `1.5 * 2^52`.
pub(super) const MAGIC_F64: f64 = 6_755_399_441_055_744.0;

const LOG2_E_F32: f32 = std::f32::consts::LOG2_E;
const LOG2_E_F64: f64 = std::f64::consts::LOG2_E;
/// `ln 2` in two parts; the first is the nearest number, the second what it misses.
pub(super) const LN_2_F32: (f32, f32) = (std::f32::consts::LN_2, -1.904_654_3e-9);
pub(super) const LN_2_F64: (f64, f64) = (std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17);

/// `(r, t)`: the remainder of `x` by `ln 2`, and the rounded quotient in the low bits of `t`.
/// `(n, r, t)`: as [`reduce_f32`], less the second part of `ln 2`, which leaves `r` exact.
#[inline(always)]
pub(super) fn reduce_exactly_f32(x: f32) -> (f32, f32, f32) {
    let t = x.mul_add(LOG2_E_F32, MAGIC_F32);
    let n = t - MAGIC_F32;
    (n, n.mul_add(-LN_2_F32.0, x), t)
}

#[inline(always)]
pub(super) fn reduce_f32(x: f32) -> (f32, f32) {
    let t = x.mul_add(LOG2_E_F32, MAGIC_F32);
    let n = t - MAGIC_F32;
    (n.mul_add(-LN_2_F32.1, n.mul_add(-LN_2_F32.0, x)), t)
}

/// `(n, r, t)`: as [`reduce_f64`], less the second part of `ln 2`, which leaves `r` exact.
#[inline(always)]
pub(super) fn reduce_exactly_f64(x: f64) -> (f64, f64, f64) {
    let t = x.mul_add(LOG2_E_F64, MAGIC_F64);
    let n = t - MAGIC_F64;
    (n, n.mul_add(-LN_2_F64.0, x), t)
}

#[inline(always)]
pub(super) fn reduce_f64(x: f64) -> (f64, f64) {
    let t = x.mul_add(LOG2_E_F64, MAGIC_F64);
    let n = t - MAGIC_F64;
    (n.mul_add(-LN_2_F64.1, n.mul_add(-LN_2_F64.0, x)), t)
}

/// `(exp(r) - 1 - r) / r^2` for `|r| <= 0.3467`, relative to `exp(r)` good to `2^-28`.
#[inline(always)]
pub(super) fn tail_f32(r: f32) -> f32 {
    polynomial!(r, 1.358706e-3, 8.360272e-3, 4.1670214e-2, 1.666661e-1, 0.5)
}

/// As [`tail_f32`], to `2^-57`.
#[inline(always)]
pub(super) fn tail_f64(r: f64) -> f64 {
    polynomial!(
        r,
        2.5018354671954506e-8,
        2.7630788297818976e-7,
        2.75575350443366e-6,
        2.4801491700667367e-5,
        0.00019841269556134027,
        0.0013888888944889092,
        0.008333333333475652,
        0.041666666666525735,
        0.16666666666666435,
        0.5000000000000011
    )
}

/// Two factors of `2^n`, `n` in the low bits of `t`, for any `n` from -252 to 254.
#[inline(always)]
pub(super) fn split_scale_f32(t: f32) -> (f32, f32) {
    const ONE: u32 = 1.0_f32.to_bits();
    let half = (t.to_bits() << 22) & 0xff80_0000;
    let rest = (t.to_bits() << 23).wrapping_sub(half);
    (f32::from_bits(half.wrapping_add(ONE)), f32::from_bits(rest.wrapping_add(ONE)))
}

/// Two factors of `2^n`, `n` in the low bits of `t`, for any `n` from -2044 to 2046.
#[inline(always)]
pub(super) fn split_scale_f64(t: f64) -> (f64, f64) {
    const ONE: u64 = 1.0_f64.to_bits();
    let half = (t.to_bits() << 51) & 0xfff0_0000_0000_0000;
    let rest = (t.to_bits() << 52).wrapping_sub(half);
    (f64::from_bits(half.wrapping_add(ONE)), f64::from_bits(rest.wrapping_add(ONE)))
}

/// `p * 2^n`, one rounding at most.
#[inline(always)]
pub(super) fn scale_f32(p: f32, t: f32) -> f32 {
    let (first, second) = split_scale_f32(t);
    p * first * second
}

#[inline(always)]
pub(super) fn scale_f64(p: f64, t: f64) -> f64 {
    let (first, second) = split_scale_f64(t);
    p * first * second
}

/// `2^(n + 64)` and `2^-64`, `n` in the low bits of `t`, for `n` from -190 to 63: cheaper than [`split_scale_f32`].
#[inline(always)]
pub(super) fn split_scale_down_f32(t: f32) -> (f32, f32) {
    let first = f32::from_bits((t.to_bits() << 23).wrapping_add((127 + 64) << 23));
    (first, 5.421_010_9e-20)
}

/// `2^(n + 512)` and `2^-512`, `n` in the low bits of `t`, for `n` from -1534 to 511.
#[inline(always)]
pub(super) fn split_scale_down_f64(t: f64) -> (f64, f64) {
    let first = f64::from_bits((t.to_bits() << 52).wrapping_add((1023 + 512) << 52));
    (first, 7.458_340_731_200_207e-155)
}

/// `2^n`, `n` in the low bits of `t`, for `n` from -126 to 127.
#[inline(always)]
pub(super) fn power_of_two_f32(t: f32) -> f32 {
    f32::from_bits((t.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

#[inline(always)]
pub(super) fn power_of_two_f64(t: f64) -> f64 {
    f64::from_bits((t.to_bits() << 52).wrapping_add(1.0_f64.to_bits()))
}

macro_rules! exp {
    (
        $t:ident, $exp:ident, underflow $underflow:literal, overflow $overflow:literal, $reduce_exactly:ident,
        $ln_2:ident, $tail:ident, $scale:ident
    ) => {
        #[inline(always)]
        pub(super) fn $exp(x: $t) -> $t {
            let x = x.clamp(-$underflow, $overflow);
            let (n, high, t) = $reduce_exactly(x);
            let low = n * -$ln_2.1;
            let r = high + low;
            let p = high + (r * r).mul_add($tail(r), low);
            $scale(1.0 + p, t)
        }
    };
}
exp!(f32, exp_f32, underflow 104.0, overflow 89.0, reduce_exactly_f32, LN_2_F32, tail_f32, scale_f32);
exp!(f64, exp_f64, underflow 746.0, overflow 710.0, reduce_exactly_f64, LN_2_F64, tail_f64, scale_f64);

#[inline(always)]
pub(super) fn exp2_f32(x: f32) -> f32 {
    let x = x.clamp(-151.0, 129.0);
    let t = x + MAGIC_F32;
    let r = x - (t - MAGIC_F32);
    let p = polynomial!(r, 1.33314e-4, 1.3387839e-3, 9.625439e-3, 5.5503663e-2, 2.4022594e-1, 6.931472e-1);
    scale_f32(r.mul_add(p, 1.0), t)
}

#[inline(always)]
pub(super) fn exp2_f64(x: f64) -> f64 {
    let x = x.clamp(-1077.0, 1025.0);
    let t = x + MAGIC_F64;
    let r = x - (t - MAGIC_F64);
    let p = polynomial!(
        r,
        4.5178421049103675e-10,
        7.075572970619625e-9,
        1.0177662939352432e-7,
        1.3215424669747624e-6,
        1.525273472767116e-5,
        0.00015403530478611777,
        0.001333355814557295,
        0.009618129107577164,
        0.05550410866482457,
        0.24022650695910172,
        std::f64::consts::LN_2
    );
    scale_f64(r.mul_add(p, 1.0), t)
}

// `2^n (1 + r + r^2 q) - 1` as `(2^n r + (2^n - 1)) + 2^n r^2 q`: the first bracket is exact for n = 0 and
// n = 1, where the sum is smallest. The sign of the result is the sign of x, -0 included.

macro_rules! expm1 {
    (
        $t:ident, $expm1:ident, lowest $lowest:literal, overflow $overflow:literal, $reduce:ident,
        $magic:ident, most $most:literal, $power_of_two:ident, $tail:ident
    ) => {
        #[inline(always)]
        pub(super) fn $expm1(x: $t) -> $t {
            let y = x.clamp(-$lowest, $overflow);
            let (r, t) = $reduce(y);
            // 2^128 is not representable: 2^127 doubled at the end.
            let doubled = t > $magic + $most;
            let s = $power_of_two(if doubled { $magic + $most } else { t });
            let high = s.mul_add(r, s - 1.0);
            let sum = (s * (r * r)).mul_add($tail(r), high);
            (if doubled { sum + sum } else { sum }).copysign(x)
        }
    };
}
expm1!(f32, expm1_f32, lowest 18.0, overflow 89.0, reduce_f32, MAGIC_F32, most 127.0, power_of_two_f32, tail_f32);
expm1!(f64, expm1_f64, lowest 38.0, overflow 710.0, reduce_f64, MAGIC_F64, most 1023.0, power_of_two_f64, tail_f64);

#[cfg(test)]
mod tests {
    use super::super::reference::{exact, measure};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("exp", unary: exp 0.9 0.9, exp2 1.0 0.8, expm1 1.4 1.4);

    #[test]
    fn exceptional_values() {
        exact!(exp: 0.0 => 1.0, -0.0 => 1.0, INF => INF, -INF => 0.0, NAN => NAN, 1000.0 => INF, -1000.0 => 0.0);
        exact!(exp2: 0.0 => 1.0, 3.0 => 8.0, -2.0 => 0.25, INF => INF, -INF => 0.0, NAN => NAN);
        exact!(expm1: 0.0 => 0.0, -0.0 => -0.0, INF => INF, -INF => -1.0, NAN => NAN, 1000.0 => INF);
    }
}
