//! `pow`, as the exponential of a product.
//!
//! f64: the logarithm is computed as a sum of two numbers with about 65 correct bits, since an error in it is
//! multiplied by as much as 700: the series in `s = f / (2 + f)` with the division corrected, its first two terms
//! in double length arithmetic (Dekker 1971), the others in single. The product with `y` keeps its rounding error,
//! which the exponential takes as a correction. f32 gets those bits by computing in f64, which is cheaper than a
//! double length f32 logarithm. Special cases are C's and are selected at the end.

use super::exp::{LN_2_F64, exp_f64, reduce_exactly_f64, scale_f64, tail_f64};
use super::log::{ln_f64, split_f64};

/// `ln 2` cut after 42 bits, so that its product with an exponent is exact, and the rest.
const LN_2_SHORT: (f64, f64) = (0.6931471805598903, 5.497923018708371e-14);
const THIRD: (f64, f64) = (0.333_333_333_333_333_3, 1.850_371_707_708_594_2e-17);

/// `(high, low)` with `high + low = ln(x)`, for positive finite `x`; relative error about `2^-65`.
#[inline(always)]
fn ln_extended(x: f64) -> (f64, f64) {
    let (e, f) = split_f64(x);
    let d = 2.0 + f;
    let d_low = f - (d - 2.0);
    let inverse = 1.0 / d;
    let s = f * inverse;
    let s_low = s.mul_add(-d_low, s.mul_add(-d, f)) * inverse;
    // ln(1 + f) = 2 s (1 + z / 3 + z^2 / 5 + ...), z = s^2.
    let z = s * s;
    let z_low = s.mul_add(s, -z) + 2.0 * s * s_low;
    let further = z
        * z
        * polynomial!(
            z,
            0.0659896230153962,
            0.06628325493583727,
            0.07693382126869239,
            0.09090892111221892,
            0.11111111260753323,
            0.14285714285045567,
            0.20000000000001136
        );
    let third = z * THIRD.0;
    let third_low = z.mul_add(THIRD.0, -third) + z_low.mul_add(THIRD.0, z * THIRD.1);
    let v = third + further;
    let v_low = (further - (v - third)) + third_low;
    let twice = s + s;
    let product = twice * v;
    let product_low = twice.mul_add(v, -product) + twice.mul_add(v_low, 2.0 * s_low * v);
    // e ln 2 + 2 s + product, the largest first; 2 s dominates where e is 0.
    let base = e * LN_2_SHORT.0;
    let sum = base + twice;
    let part = sum - base;
    let sum_low = (base - (sum - part)) + (twice - part);
    let high = sum + product;
    let high_low = product - (high - sum);
    let low = sum_low + (high_low + (product_low + e.mul_add(LN_2_SHORT.1, 2.0 * s_low)));
    let total = high + low;
    (total, low - (total - high))
}

/// `exp(x + low)`, `low` a correction of an ULP or two of `x`.
#[inline(always)]
fn exp_extended(x: f64, low: f64) -> f64 {
    let x = x.clamp(-746.0, 710.0);
    let (n, high, t) = reduce_exactly_f64(x);
    let low = n.mul_add(-LN_2_F64.1, low);
    let r = high + low;
    let p = high + (r * r).mul_add(tail_f64(r), low);
    scale_f64(1.0 + p, t)
}

/// The result for magnitudes, corrected for the sign of the base and for what has no logarithm.
#[inline(always)]
fn finish(x: f64, y: f64, magnitude: f64) -> f64 {
    let a = x.abs();
    let integer = y == y.trunc();
    let odd = integer && y.abs() < 9_007_199_254_740_992.0 && 0.5 * y != (0.5 * y).trunc();
    let value = if x.is_sign_negative() && odd { -magnitude } else { magnitude };
    let value = if x < 0.0 && a < f64::INFINITY && !integer { f64::NAN } else { value };
    let value = if x.is_nan() || y.is_nan() { x + y } else { value };
    if x == 1.0 || y == 0.0 || (x == -1.0 && y.abs() == f64::INFINITY) { 1.0 } else { value }
}

#[inline(always)]
pub(super) fn pow_f64(x: f64, y: f64) -> f64 {
    let a = x.abs();
    let (high, low) = ln_extended(a);
    let product = y * high;
    let product_low = y.mul_add(high, -product) + y * low;
    let regular = exp_extended(product, if product.abs() < 800.0 { product_low } else { 0.0 });
    // Zero and infinity to a power: the logarithm is infinite, only the sign of y counts.
    let extreme = if (a == 0.0) == (y < 0.0) { f64::INFINITY } else { 0.0 };
    finish(x, y, if a == 0.0 || a == f64::INFINITY { extreme } else { regular })
}

#[inline(always)]
pub(super) fn pow_f32(x: f32, y: f32) -> f32 {
    let (x, y) = (f64::from(x), f64::from(y));
    finish(x, y, exp_f64(y * ln_f64(x.abs()))) as f32
}

#[cfg(test)]
mod tests {
    use super::super::Math;
    use super::super::reference::{exact, measure, same};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("power", binary: pow 0.6 0.9);

    #[test]
    fn exceptional_values_are_those_of_c() {
        exact!(pow: (1.0, NAN) => 1.0, (NAN, 0.0) => 1.0, (-1.0, INF) => 1.0, (-1.0, -INF) => 1.0, (NAN, 1.0) => NAN, (2.0, NAN) => NAN);
        let values = [0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 1.0e6, INF];
        for x in values.into_iter().flat_map(|x| [x, -x]) {
            for y in values.into_iter().flat_map(|y| [y, -y]) {
                let (got, want) = (Math::pow(x, y), f64::powf(x, y));
                let close = (got - want).abs() <= 1e-15 * want.abs();
                assert!(same(got, want) || (close && want != 0.0), "pow({x}, {y}) = {got}, not {want}");
                let (got, want) = (f64::from(Math::pow(x as f32, y as f32)), f64::from(f32::powf(x as f32, y as f32)));
                let close = (got - want).abs() <= 1e-6 * want.abs();
                assert!(same(got, want) || (close && want != 0.0), "pow({x}, {y}) = {got}, not {want} in f32");
            }
        }
    }
}
