//! `tanh`, `sinh`, `cosh` and the logarithm of `cosh`.
//!
//! `tanh`, f32: below 0.65 an odd minimax polynomial, above it `1 - 2 / (exp(2|x|) + 1)`, which does not
//! cancel there; both are computed and one selected. f64: `m / (m + 2)` with `m = expm1(2|x|)` kept
//! as an unevaluated sum and the quotient corrected once, which costs less than a second
//! polynomial. `sinh` and `cosh` add and subtract `exp(|x|) / 2` and its reciprocal, scaled so that
//! they overflow only where the result does; `sinh` is a polynomial below 1.

use super::exp::{
    LN_2_F32, LN_2_F64, MAGIC_F32, exp_f32, exp_f64, power_of_two_f64, reduce_f32, reduce_f64, scale_f32, scale_f64,
    tail_f32, tail_f64,
};
use super::log::{ln_1p_unit_f32, ln_1p_unit_f64};

#[inline(always)]
pub(super) fn tanh_f32(x: f32) -> f32 {
    let y = x.abs();
    let s = x * x;
    let odd = polynomial!(s, -5.493238e-3, 2.0448955e-2, -5.368152e-2, 1.333075e-1, -3.3333257e-1);
    let small = (y * s).mul_add(odd, y);
    let z = if y > 10.0 { 10.0 } else { y };
    let t = z.mul_add(2.0 * std::f32::consts::LOG2_E, MAGIC_F32);
    let r = z.mul_add(2.0 * std::f32::consts::LOG2_E, MAGIC_F32 - t);
    let p = polynomial!(r, 1.33314e-4, 1.3387839e-3, 9.625439e-3, 5.5503663e-2, 2.4022594e-1, 6.931472e-1);
    let e = f32::from_bits(r.mul_add(p, 1.0).to_bits().wrapping_add(t.to_bits() << 23));
    let large = 1.0 - 2.0 / (e + 1.0);
    // A NaN takes the polynomial.
    (if y >= 0.65 { large } else { small }).copysign(x)
}

#[inline(always)]
pub(super) fn tanh_f64(x: f64) -> f64 {
    let y = x.abs();
    let twice = if y > 20.0 { 40.0 } else { y + y };
    let (r, t) = reduce_f64(twice);
    let s = power_of_two_f64(t);
    let high = s.mul_add(r, s - 1.0);
    let low = s * (r * r) * tail_f64(r);
    // m = expm1(2|x|) = m + m_low, d = m + 2 = d + d_low, both sums exact.
    let m = high + low;
    let m_low = low - (m - high);
    let d = m + 2.0;
    let d_low = (m - (d - 2.0)) + m_low;
    let inverse = 1.0 / d;
    let q = m * inverse;
    let rest = q.mul_add(-d, m) + q.mul_add(-d_low, m_low);
    rest.mul_add(inverse, q).copysign(x)
}

/// `exp(y) / 2` for `y >= 0`, overflowing only where `sinh` does.
#[inline(always)]
fn half_exp_f32(y: f32) -> f32 {
    let y = if y > 90.0 { 90.0 } else { y };
    let (r, t) = reduce_f32(y);
    scale_f32(1.0 + (r * r).mul_add(tail_f32(r), r), t - 1.0)
}

#[inline(always)]
fn half_exp_f64(y: f64) -> f64 {
    let y = if y > 711.0 { 711.0 } else { y };
    let (r, t) = reduce_f64(y);
    scale_f64(1.0 + (r * r).mul_add(tail_f64(r), r), t - 1.0)
}

#[inline(always)]
pub(super) fn sinh_f32(x: f32) -> f32 {
    let y = x.abs();
    let s = x * x;
    let odd = polynomial!(s, 2.784349e-6, 1.9842603e-4, 8.333311e-3, 1.6666667e-1);
    let small = (y * s).mul_add(odd, y);
    let u = half_exp_f32(y);
    (if y < 1.0 { small } else { u - 0.25 / u }).copysign(x)
}

#[inline(always)]
pub(super) fn sinh_f64(x: f64) -> f64 {
    let y = x.abs();
    let s = x * x;
    let odd = polynomial!(
        s,
        7.776527897029677e-13,
        1.6056661011024866e-10,
        2.5052130981942727e-8,
        2.7557319106820475e-6,
        0.00019841269841593327,
        0.008333333333332912,
        0.16666666666666669
    );
    let small = (y * s).mul_add(odd, y);
    let u = half_exp_f64(y);
    (if y < 1.0 { small } else { u - 0.25 / u }).copysign(x)
}

#[inline(always)]
pub(super) fn cosh_f32(x: f32) -> f32 {
    let u = half_exp_f32(x.abs());
    u + 0.25 / u
}

#[inline(always)]
pub(super) fn cosh_f64(x: f64) -> f64 {
    let u = half_exp_f64(x.abs());
    u + 0.25 / u
}

#[inline(always)]
pub(super) fn log_cosh_f32(x: f32) -> f32 {
    let y = x.abs();
    let s = x * x;
    let p = polynomial!(
        s,
        -2.5291973e-5,
        1.7534205e-4,
        -6.786749e-4,
        2.1611508e-3,
        -6.7399116e-3,
        2.2221522e-2,
        -8.3333306e-2,
        0.5
    );
    let far = (y - LN_2_F32.0) + (ln_1p_unit_f32(exp_f32(-2.0 * y)) - LN_2_F32.1);
    if y < 1.0 { s * p } else { far }
}

#[inline(always)]
pub(super) fn log_cosh_f64(x: f64) -> f64 {
    let y = x.abs();
    let s = x * x;
    let p = polynomial!(
        s,
        -2.254709117291545e-9,
        2.4121896101757267e-8,
        -1.3024718475573595e-7,
        4.917069143869975e-7,
        -1.5273686582394173e-6,
        4.330821883228589e-6,
        -1.1918428733564477e-5,
        3.276484152842505e-5,
        -9.098561496163866e-5,
        0.0002565797674891516,
        -0.0007386028493710898,
        0.0021869488435488746,
        -0.006746031745488725,
        0.02222222222220734,
        -0.08333333333333319,
        0.5
    );
    let far = (y - LN_2_F64.0) + (ln_1p_unit_f64(exp_f64(-2.0 * y)) - LN_2_F64.1);
    if y < 1.0 { s * p } else { far }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{exact, measure};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("hyperbolic", unary: sinh 1.7 1.4, cosh 1.5 1.3, tanh 1.5 1.2, log_cosh 2.0 1.7);

    #[test]
    fn exceptional_values() {
        exact!(sinh: 0.0 => 0.0, -0.0 => -0.0, INF => INF, -INF => -INF, NAN => NAN);
        exact!(cosh: 0.0 => 1.0, INF => INF, -INF => INF, NAN => NAN);
        exact!(tanh: 0.0 => 0.0, -0.0 => -0.0, INF => 1.0, -INF => -1.0, NAN => NAN);
        exact!(log_cosh: 0.0 => 0.0, INF => INF, -INF => INF, NAN => NAN);
    }
}
