//! `asinh`, `acosh`, `atanh` as logarithms of `1 + a`.
//!
//! `asinh(y) = ln_1p(y + y^2 / (1 + sqrt(1 + y^2)))` and `acosh(x) = ln_1p(t + sqrt(t (x + 1)))` with `t = x - 1`,
//! which keep small results accurate; the argument is passed on as a sum of two numbers, so that its rounding does
//! not add to the logarithm's. Huge arguments would overflow in the square: there the result is `ln(2 x)`. `atanh`
//! is an odd polynomial up to 1/2, `ln_1p(2 y / (1 - y)) / 2` with a corrected quotient beyond.

use super::log::{ln_1p_sum_f32, ln_1p_sum_f64};

macro_rules! area {
    ($t:ident, $asinh:ident, huge $huge:literal, $ln_1p_sum:ident, tiny $tiny:literal, $acosh:ident) => {
        #[inline(always)]
        pub(super) fn $asinh(x: $t) -> $t {
            let y = x.abs();
            let huge = y > $huge;
            let square = y * y;
            let rest = square / (1.0 + (1.0 + square).sqrt());
            let sum = y + rest;
            let (a, low, doublings) = if huge { (y, 0.0, 1.0) } else { (sum, rest - (sum - y), 0.0) };
            let value = $ln_1p_sum(a, low, doublings);
            (if y < $t::INFINITY && y > $tiny { value } else { y }).copysign(x)
        }

        #[inline(always)]
        pub(super) fn $acosh(x: $t) -> $t {
            let huge = x > $huge;
            let t = x - 1.0;
            let s = x + 1.0;
            let s_low = 1.0 - (s - x);
            let product = t * s;
            let product_low = t.mul_add(s, -product) + t * s_low;
            let root = product.sqrt();
            let root_low = (root.mul_add(-root, product) + product_low) / (root + root);
            let sum = root + t;
            let low = (t - (sum - root)) + root_low;
            let (a, low, doublings) = if huge { (x, 0.0, 1.0) } else { (sum, low, 0.0) };
            let value = $ln_1p_sum(a, low, doublings);
            let outside = if x == 1.0 {
                0.0
            } else if x < 1.0 {
                $t::NAN
            } else {
                x
            };
            if x > 1.0 && x < $t::INFINITY { value } else { outside }
        }
    };
}
area!(f32, asinh_f32, huge 1.0e9, ln_1p_sum_f32, tiny 1.0e-18, acosh_f32);
area!(f64, asinh_f64, huge 1.0e18, ln_1p_sum_f64, tiny 1.0e-150, acosh_f64);

#[inline(always)]
pub(super) fn atanh_f32(x: f32) -> f32 {
    let y = x.abs();
    let s = x * x;
    let odd = polynomial!(s, 1.7772114e-1, 5.0656404e-2, 1.1841381e-1, 1.4220767e-1, 2.0002615e-1, 3.33333e-1);
    let small = (y * s).mul_add(odd, y);
    let d = 1.0 - y;
    let n = y + y;
    let q = n / d;
    let low = q.mul_add(-d, n) / d;
    let large = 0.5 * ln_1p_sum_f32(q, low, 0.0);
    let outside = if y == 1.0 { f32::INFINITY } else { f32::NAN };
    let value = if y < 0.5 { small } else { large };
    (if y < 1.0 { value } else { outside }).copysign(x)
}

#[inline(always)]
pub(super) fn atanh_f64(x: f64) -> f64 {
    let y = x.abs();
    let s = x * x;
    let odd = polynomial!(
        s,
        0.23835333658637292,
        -0.1910699231506695,
        0.17082592816314457,
        -0.0033537675977005107,
        0.05893822997450413,
        0.05071702914274702,
        0.05905317257994495,
        0.06664718466676241,
        0.07692422589207651,
        0.09090904540188113,
        0.11111111225134236,
        0.14285714284086798,
        0.2000000000001075,
        0.33333333333333315
    );
    let small = (y * s).mul_add(odd, y);
    let d = 1.0 - y;
    let n = y + y;
    let q = n / d;
    let low = q.mul_add(-d, n) / d;
    let large = 0.5 * ln_1p_sum_f64(q, low, 0.0);
    let outside = if y == 1.0 { f64::INFINITY } else { f64::NAN };
    let value = if y < 0.5 { small } else { large };
    (if y < 1.0 { value } else { outside }).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::super::reference::{exact, measure};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("inverse_hyperbolic", unary: asinh 1.3 1.1, acosh 1.1 0.9, atanh 0.8 0.7);

    #[test]
    fn exceptional_values() {
        exact!(asinh: 0.0 => 0.0, -0.0 => -0.0, INF => INF, -INF => -INF, NAN => NAN);
        exact!(acosh: 1.0 => 0.0, 0.5 => NAN, -3.0 => NAN, INF => INF, -INF => NAN, NAN => NAN);
        exact!(atanh: 0.0 => 0.0, -0.0 => -0.0, 1.0 => INF, -1.0 => -INF, 2.0 => NAN, INF => NAN, NAN => NAN);
    }
}
