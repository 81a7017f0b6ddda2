//! Logarithms: `ln`, `log2`, `log10`, `ln_1p`, and the parts that other files build on.
//!
//! `x = 2^e (1 + f)` with `1 + f` between 2/3 and 4/3 (f32) or `sqrt(1/2)` and `sqrt(2)` (f64), split by
//! integer arithmetic on the bits; `ln(1 + f) = f + tail(f)`. In f32 the tail is `f^2` times a
//! minimax polynomial; in f64 the series in `s = f / (2 + f)` (Tang 1990; Muller, *Elementary
//! Functions*, 2016) is worth its division, because it needs a third of the terms.
//! `ln_1p` takes `e` from the rounded `1 + x` and recovers `f = (1 + x) 2^-e - 1` from `x` itself with
//! one fused multiply-add, so nothing of a small `x` is lost.

use super::exp::{LN_2_F32, LN_2_F64};

const LOG2_E_F32: (f32, f32) = (std::f32::consts::LOG2_E, 1.925_963e-8);
const LOG2_E_F64: (f64, f64) = (std::f64::consts::LOG2_E, 2.035_527_374_093_103_3e-17);
const LOG10_E_F32: (f32, f32) = (std::f32::consts::LOG10_E, -1.010_305e-8);
const LOG10_E_F64: (f64, f64) = (std::f64::consts::LOG10_E, 1.098_319_650_216_765e-17);
const LOG10_2_F32: (f32, f32) = (std::f32::consts::LOG10_2, -1.432_098_9e-8);
const LOG10_2_F64: (f64, f64) = (std::f64::consts::LOG10_2, -2.803_728_127_785_170_3e-18);

/// `(e, f)` with `x = 2^e (1 + f)`, for positive finite `x`, denormals included.
#[inline(always)]
pub(super) fn split_f32(x: f32) -> (f32, f32) {
    const LOW: u32 = 0x3f2a_aaab; // 2/3
    let tiny = x < f32::MIN_POSITIVE;
    let y = if tiny { x * 8_388_608.0 } else { x };
    let offset = y.to_bits().wrapping_sub(LOW);
    let exponent = (offset as i32 >> 23) as f32;
    let m = f32::from_bits((offset & 0x007f_ffff) + LOW);
    (if tiny { exponent - 23.0 } else { exponent }, m - 1.0)
}

#[inline(always)]
pub(super) fn split_f64(x: f64) -> (f64, f64) {
    const LOW: u64 = 0x3fe6_a09e_667f_3bcd; // sqrt(1/2)
    let tiny = x < f64::MIN_POSITIVE;
    let y = if tiny { x * 18_014_398_509_481_984.0 } else { x };
    let offset = y.to_bits().wrapping_add(1.0_f64.to_bits() - LOW);
    // The biased exponent becomes the low bits of a number near 2^52: AVX2 converts no 64-bit integers.
    let biased = f64::from_bits((offset >> 52) | 0x4330_0000_0000_0000);
    let m = f64::from_bits((offset & 0x000f_ffff_ffff_ffff) + LOW);
    let exponent = biased - if tiny { 4_503_599_627_370_496.0 + 1077.0 } else { 4_503_599_627_370_496.0 + 1023.0 };
    (exponent, m - 1.0)
}

/// `ln(1 + f) - f` for `f` between -1/3 and 1/3, relative to the logarithm good to `2^-27`.
#[inline(always)]
pub(super) fn tail_f32(f: f32) -> f32 {
    let q = polynomial!(
        f,
        -1.2485335e-1,
        1.406021e-1,
        -1.22740045e-1,
        1.3989586e-1,
        -1.667443e-1,
        2.0011438e-1,
        -2.499992e-1,
        3.3333197e-1,
        -0.5
    );
    f * f * q
}

/// `ln(1 + f) - f` for `f` between `sqrt(1/2) - 1` and `sqrt(2) - 1`, good to `2^-59`.
#[inline(always)]
pub(super) fn tail_f64(f: f64) -> f64 {
    let s = f / (2.0 + f);
    let z = s * s;
    let series = z * polynomial!(
        z,
        0.14798222148584783,
        0.15313835437297607,
        0.18183572244482493,
        0.2222219843071713,
        0.2857142874367386,
        0.39999999999409386,
        0.6666666666666735
    );
    let half_square = 0.5 * f * f;
    s.mul_add(half_square + series, -half_square)
}

/// What a logarithm is outside the positive finite numbers, `value` inside.
#[inline(always)]
fn guard_f32(x: f32, value: f32) -> f32 {
    let outside = if x < 0.0 { f32::NAN } else { x };
    let outside = if x == 0.0 { f32::NEG_INFINITY } else { outside };
    if x > 0.0 && x < f32::INFINITY { value } else { outside }
}

#[inline(always)]
fn guard_f64(x: f64, value: f64) -> f64 {
    let outside = if x < 0.0 { f64::NAN } else { x };
    let outside = if x == 0.0 { f64::NEG_INFINITY } else { outside };
    if x > 0.0 && x < f64::INFINITY { value } else { outside }
}

#[inline(always)]
pub(super) fn ln_f32(x: f32) -> f32 {
    let (e, f) = split_f32(x);
    guard_f32(x, e.mul_add(LN_2_F32.0, f + tail_f32(f)))
}

#[inline(always)]
pub(super) fn ln_f64(x: f64) -> f64 {
    let (e, f) = split_f64(x);
    guard_f64(x, e.mul_add(LN_2_F64.0, f + e.mul_add(LN_2_F64.1, tail_f64(f))))
}

/// `ln(x (1 + low))` for a relative correction `low` of an ULP or two.
#[inline(always)]
pub(super) fn ln_sum_f32(x: f32, low: f32) -> f32 {
    let (e, f) = split_f32(x);
    guard_f32(x, e.mul_add(LN_2_F32.0, f + (tail_f32(f) + low)))
}

/// `ln(x (1 + low))` for a relative correction `low` of an ULP or two.
#[inline(always)]
pub(super) fn ln_sum_f64(x: f64, low: f64) -> f64 {
    let (e, f) = split_f64(x);
    guard_f64(x, e.mul_add(LN_2_F64.0, f + e.mul_add(LN_2_F64.1, tail_f64(f) + low)))
}

#[inline(always)]
pub(super) fn log2_f32(x: f32) -> f32 {
    let (e, f) = split_f32(x);
    let low = f.mul_add(LOG2_E_F32.1, tail_f32(f) * LOG2_E_F32.0);
    guard_f32(x, e + f.mul_add(LOG2_E_F32.0, low))
}

#[inline(always)]
pub(super) fn log2_f64(x: f64) -> f64 {
    let (e, f) = split_f64(x);
    let low = f.mul_add(LOG2_E_F64.1, tail_f64(f) * LOG2_E_F64.0);
    guard_f64(x, e + f.mul_add(LOG2_E_F64.0, low))
}

#[inline(always)]
pub(super) fn log10_f32(x: f32) -> f32 {
    let (e, f) = split_f32(x);
    let low = f.mul_add(LOG10_E_F32.1, tail_f32(f) * LOG10_E_F32.0);
    let low = e.mul_add(LOG10_2_F32.1, low);
    guard_f32(x, e.mul_add(LOG10_2_F32.0, f.mul_add(LOG10_E_F32.0, low)))
}

#[inline(always)]
pub(super) fn log10_f64(x: f64) -> f64 {
    let (e, f) = split_f64(x);
    let low = f.mul_add(LOG10_E_F64.1, tail_f64(f) * LOG10_E_F64.0);
    let low = e.mul_add(LOG10_2_F64.1, low);
    guard_f64(x, e.mul_add(LOG10_2_F64.0, f.mul_add(LOG10_E_F64.0, low)))
}

/// `(e, f, low)` with `1 + x = 2^e (1 + f + low)`, for finite `x > -1`; `low` is what the rounding of `f` lost.
#[inline(always)]
pub(super) fn split_1p_f32(x: f32) -> (f32, f32, f32) {
    const LOW: u32 = 0x3f2a_aaab;
    // Beyond 2^60 the 1 does not matter, and 2^-e would leave the normal numbers.
    let huge = x > 1.0e18;
    let (y, one, shift) = if huge { (x * 5.421_011e-20, 0.0, 64.0) } else { (x, 1.0, 0.0) };
    let offset = (y + one).to_bits().wrapping_sub(LOW);
    let scale = f32::from_bits(1.0_f32.to_bits().wrapping_sub(offset & 0xff80_0000));
    let exponent = (offset as i32 >> 23) as f32;
    let base = one.mul_add(scale, -1.0);
    let f = y.mul_add(scale, base);
    (exponent + shift, f, y.mul_add(scale, base - f))
}

#[inline(always)]
pub(super) fn split_1p_f64(x: f64) -> (f64, f64, f64) {
    const LOW: u64 = 0x3fe6_a09e_667f_3bcd;
    let huge = x > 1.0e18;
    let (y, one, bias) = if huge { (x * 5.421_010_862_427_522e-20, 0.0, 959.0) } else { (x, 1.0, 1023.0) };
    let offset = (y + one).to_bits().wrapping_add(1.0_f64.to_bits() - LOW);
    let biased = offset >> 52;
    let scale = f64::from_bits(2046_u64.wrapping_sub(biased) << 52);
    let exponent = f64::from_bits(biased | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + bias);
    let base = one.mul_add(scale, -1.0);
    let f = y.mul_add(scale, base);
    (exponent, f, y.mul_add(scale, base - f))
}

/// What `ln_1p` is outside the finite numbers above -1, `value` inside (and `x` itself for zeros).
#[inline(always)]
fn guard_1p_f32(x: f32, value: f32) -> f32 {
    let outside = if x < -1.0 { f32::NAN } else { x };
    let outside = if x == -1.0 { f32::NEG_INFINITY } else { outside };
    if x > -1.0 && x < f32::INFINITY && x != 0.0 { value } else { outside }
}

#[inline(always)]
fn guard_1p_f64(x: f64, value: f64) -> f64 {
    let outside = if x < -1.0 { f64::NAN } else { x };
    let outside = if x == -1.0 { f64::NEG_INFINITY } else { outside };
    if x > -1.0 && x < f64::INFINITY && x != 0.0 { value } else { outside }
}

#[inline(always)]
pub(super) fn ln_1p_f32(x: f32) -> f32 {
    let (e, f, low) = split_1p_f32(x);
    guard_1p_f32(x, e.mul_add(LN_2_F32.0, f + (tail_f32(f) + low)))
}

#[inline(always)]
pub(super) fn ln_1p_f64(x: f64) -> f64 {
    let (e, f, low) = split_1p_f64(x);
    guard_1p_f64(x, e.mul_add(LN_2_F64.0, f + e.mul_add(LN_2_F64.1, tail_f64(f) + low)))
}

/// `ln_1p` for arguments from 0 to 1.
#[inline(always)]
pub(super) fn ln_1p_unit_f32(x: f32) -> f32 {
    let q = polynomial!(
        x,
        -3.2903922e-3,
        2.0085964e-2,
        -5.745683e-2,
        1.0661099e-1,
        -1.534487e-1,
        1.96921e-1,
        -2.4958019e-1,
        3.3330464e-1,
        -4.999993e-1
    );
    (x * x).mul_add(q, x)
}

/// `ln_1p` for arguments from 0 to 1.
#[inline(always)]
pub(super) fn ln_1p_unit_f64(x: f64) -> f64 {
    let (e, f, low) = split_1p_f64(x);
    e.mul_add(LN_2_F64.0, f + e.mul_add(LN_2_F64.1, tail_f64(f) + low))
}

/// `ln((1 + x + low) 2^doublings)` for finite positive `x` and a correction `low` of an ULP or two.
#[inline(always)]
pub(super) fn ln_1p_sum_f32(x: f32, low: f32, doublings: f32) -> f32 {
    let (e, f, lost) = split_1p_f32(x);
    let low = lost + low / (1.0 + x);
    let e = e + doublings;
    e.mul_add(LN_2_F32.0, f + (tail_f32(f) + low))
}

/// `ln((1 + x + low) 2^doublings)` for finite positive `x` and a correction `low` of an ULP or two.
#[inline(always)]
pub(super) fn ln_1p_sum_f64(x: f64, low: f64, doublings: f64) -> f64 {
    let (e, f, lost) = split_1p_f64(x);
    let low = lost + low / (1.0 + x);
    let e = e + doublings;
    e.mul_add(LN_2_F64.0, f + e.mul_add(LN_2_F64.1, tail_f64(f) + low))
}

#[cfg(test)]
mod tests {
    use super::super::reference::{exact, measure};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("log", unary: ln 1.0 0.8, log2 1.6 1.0, log10 1.5 0.9, ln_1p 1.2 0.9);

    #[test]
    fn exceptional_values() {
        exact!(ln: 1.0 => 0.0, 0.0 => -INF, -0.0 => -INF, INF => INF, -1.0 => NAN, -INF => NAN, NAN => NAN);
        exact!(log2: 1.0 => 0.0, 8.0 => 3.0, 0.5 => -1.0, 0.0 => -INF, INF => INF, -1.0 => NAN, NAN => NAN);
        exact!(log10: 1.0 => 0.0, 0.0 => -INF, INF => INF, -1.0 => NAN, NAN => NAN);
        exact!(ln_1p: 0.0 => 0.0, -0.0 => -0.0, -1.0 => -INF, INF => INF, -2.0 => NAN, -INF => NAN, NAN => NAN);
    }
}
