//! `gelu`: `x Phi(x)` with the normal distribution function `Phi`, and its approximation with `tanh`.
//!
//! For negative `x` the tail itself, `x exp(-x^2/2) R(-x)`; for positive `x` the same quantity subtracted from `x`.
//! Either way the relative error stays small until the result underflows, where `1 + erf` would cancel. In f32 `R`
//! is one rational function with positive coefficients: a third cheaper than the accurate form of `normal.rs`,
//! which serves f64, at the price of two more ULPs far out, where each step of Horner's rule rounds all there is.
//! The approximation is `x sigmoid(2 u)`, with `2 u` formed as a sum of two numbers.

use super::activation::{logistic_f32, logistic_f64};
use super::exp::{LN_2_F32, reduce_exactly_f32, split_scale_down_f32, tail_f32};
use super::normal::times_tail_f64;

/// `factor Phi(-y) exp(y^2 / 2)` for `y` between 0 and 14.6.
///
/// The reciprocal of `R` is `sqrt(2 pi) y` plus a small quotient `n / d`: rounding errors of `d` cancel, those of
/// `n` hardly count.
#[inline(always)]
fn times_mills_f32(factor: f32, y: f32) -> f32 {
    let n = polynomial!(y, 0.005611658, 0.067183636, 0.37428105, 1.1336505, 1.8);
    let d = polynomial!(y, 0.0022385058, 0.02681356, 0.1535493, 0.50900567, 0.9767119, 0.9);
    factor * d / (y * 2.506_628_3).mul_add(d, n)
}

/// `factor * exp(low - square)` for a square below 150.
#[inline(always)]
fn times_exp_f32(factor: f32, square: f32, low: f32) -> f32 {
    let (n, high, t) = reduce_exactly_f32(-square);
    let low = n.mul_add(-LN_2_F32.1, low);
    let r = high + low;
    let p = high + (r * r).mul_add(tail_f32(r), low);
    let (s1, s2) = split_scale_down_f32(t);
    factor.mul_add(p, factor) * s1 * s2
}

#[inline(always)]
pub(super) fn gelu_f32(x: f32) -> f32 {
    let bounded = x.clamp(-14.6, 14.6);
    let y = bounded.abs();
    let half = 0.5 * y;
    let square = half * y;
    let lost = times_exp_f32(times_mills_f32(bounded, y), square, -half.mul_add(y, -square));
    (if x > 0.0 { x - lost } else { lost }).copysign(x)
}

#[inline(always)]
pub(super) fn gelu_f64(x: f64) -> f64 {
    let bounded = x.clamp(-38.7, 38.7);
    let lost = times_tail_f64(bounded, bounded.abs());
    (if x > 0.0 { x - lost } else { lost }).copysign(x)
}

// 0.5 x (1 + tanh(u)) is x sigmoid(2 u), 2 u = x (a + b x^2) with a = sqrt(8 / pi), b = 0.044715 a. The exponential
// turns the absolute error of 2 u into a relative one, so 2 u is formed as a sum of two numbers.

macro_rules! gelu_tanh {
    ($name:ident, $float:ident, $logistic:ident, $limit:literal, $a:expr, $b:expr) => {
        #[inline(always)]
        pub(super) fn $name(x: $float) -> $float {
            const A: ($float, $float) = $a;
            const B: ($float, $float) = $b;
            let y = x.abs();
            let y = if y > $limit { $limit } else { y };
            let s = y * y;
            let s_low = y.mul_add(y, -s);
            let cubic = s * B.0;
            let cubic_low = s.mul_add(B.0, -cubic) + s_low.mul_add(B.0, s.mul_add(B.1, A.1));
            let g = cubic + A.0;
            let part = g - cubic;
            let g_low = (cubic - (g - part)) + (A.0 - part) + cubic_low;
            let v = y * g;
            let v_low = y.mul_add(g, -v) + y * g_low;
            $logistic(v, v_low, x < 0.0, if x < 0.0 { -y } else { x })
        }
    };
}

gelu_tanh!(gelu_tanh_f32, f32, logistic_f32, 11.0, (1.5957692, -4.534068e-08), (0.071354814, 2.3988325e-09));
gelu_tanh!(
    gelu_tanh_f64,
    f64,
    logistic_f64,
    22.0,
    (1.5957691216057308, -9.96930880911092e-17),
    (0.07135481627260025, -6.175149918155315e-19)
);

#[cfg(test)]
mod tests {
    use super::super::reference::{exact, measure};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("gelu", unary: gelu 3.8 1.8, gelu_tanh 2.1 1.6);

    #[test]
    fn exceptional_values() {
        exact!(gelu: 0.0 => 0.0, -0.0 => -0.0, INF => INF, -INF => -0.0, -1000.0 => -0.0, 1000.0 => 1000.0, NAN => NAN);
        exact!(gelu_tanh: 0.0 => 0.0, -0.0 => -0.0, INF => INF, -INF => -0.0, -1000.0 => -0.0, NAN => NAN);
    }
}
