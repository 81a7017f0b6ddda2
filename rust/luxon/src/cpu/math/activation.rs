//! Activations made of one exponential: `sigmoid`, `silu`, `softplus`, `log_sigmoid`, `mish`, `logit`.
//!
//! Everything is written in `z = exp(-|x|)`, which cannot overflow: `sigmoid(x)` is `1 / (1 + z)` or `z / (1 + z)`,
//! `softplus(x)` is `max(x, 0) + ln_1p(z)`. A factor such as the `x` of `silu` multiplies `z` before the second half
//! of its power of two does, so that products that are normal numbers do not inherit the rounding of
//! a denormal `z`.

use super::exp::{
    exp_f32, exp_f64, reduce_f32, reduce_f64, split_scale_down_f32, split_scale_down_f64, tail_f32, tail_f64,
};
use super::log::{ln_1p_unit_f32, ln_1p_unit_f64, ln_sum_f32, ln_sum_f64};

macro_rules! logistic {
    ($t:ident, $decay:ident, $reduce:ident, $split_scale_down:ident, $tail:ident, $logistic:ident) => {
        /// `exp(-y)` for `0 <= y <= 112.0` as `(p, s1, s2, z)`: `z = (1 + p) s1 s2`, the first product a normal number.
        #[inline(always)]
        fn $decay(y: $t, low: $t) -> ($t, $t, $t, $t) {
            let (r, t) = $reduce(-y);
            let r = r - low;
            let (s1, s2) = $split_scale_down(t);
            let p = (r * r).mul_add($tail(r), r);
            (p, s1, s2, (1.0 + p) * s1 * s2)
        }

        /// `positive / (1 + z)` where `x` is not negative, `negative * z / (1 + z)` where it is, `z = exp(-(y + low))`; 1.5
        /// ULP.
        ///
        /// The rounding errors of `1 + z` and of its reciprocal are put back in the last multiply-add.
        #[inline(always)]
        pub(super) fn $logistic(y: $t, low: $t, is_negative: bool, factor: $t) -> $t {
            let (p, s1, s2, z) = $decay(y, low);
            let d = 1.0 + z;
            let inverse = 1.0 / d;
            let error = inverse.mul_add(d - 1.0 - z, inverse.mul_add(-d, 1.0));
            let (p, s1, s2) = if is_negative { (p, s1, s2) } else { (0.0, 1.0, 1.0) };
            let near = inverse * s1;
            let sum = near.mul_add(error.mul_add(1.0 + p, p), near);
            factor * sum * s2
        }
    };
}
logistic!(f32, decay_f32, reduce_f32, split_scale_down_f32, tail_f32, logistic_f32);
logistic!(f64, decay_f64, reduce_f64, split_scale_down_f64, tail_f64, logistic_f64);

#[inline(always)]
pub(super) fn sigmoid_f32(x: f32) -> f32 {
    let y = x.abs();
    let (p, s1, s2, z) = decay_f32(if y > 112.0 { 112.0 } else { y }, 0.0);
    let d = 1.0 + z;
    let inverse = 1.0 / d;
    let (p, s1, s2) = if x < 0.0 { (p, s1, s2) } else { (0.0, 1.0, 1.0) };
    let q = inverse * s1;
    q.mul_add(inverse.mul_add(d - 1.0 - z, p), q) * s2
}

#[inline(always)]
pub(super) fn sigmoid_f64(x: f64) -> f64 {
    let y = x.abs();
    logistic_f64(if y > 760.0 { 760.0 } else { y }, 0.0, x < 0.0, 1.0)
}

#[inline(always)]
pub(super) fn silu_f32(x: f32) -> f32 {
    let y = x.abs();
    let y = if y > 112.0 { 112.0 } else { y };
    logistic_f32(y, 0.0, x < 0.0, if x < 0.0 { -y } else { x })
}

#[inline(always)]
pub(super) fn silu_f64(x: f64) -> f64 {
    let y = x.abs();
    let y = if y > 760.0 { 760.0 } else { y };
    logistic_f64(y, 0.0, x < 0.0, if x < 0.0 { -y } else { x })
}

#[inline(always)]
pub(super) fn softplus_f32(x: f32) -> f32 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + ln_1p_unit_f32(exp_f32(-x.abs()))
}

#[inline(always)]
pub(super) fn softplus_f64(x: f64) -> f64 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + ln_1p_unit_f64(exp_f64(-x.abs()))
}

#[inline(always)]
pub(super) fn log_sigmoid_f32(x: f32) -> f32 {
    -softplus_f32(-x)
}

#[inline(always)]
pub(super) fn log_sigmoid_f64(x: f64) -> f64 {
    -softplus_f64(-x)
}

// With e = exp(x) and d = e^2 + 2 e + 2, tanh(softplus(x)) is 1 - 2 / d and also e (1 - e (1 + e) / d). The first
// serves positive arguments, the second negative ones, where e multiplies x as exactly as e is known.

#[inline(always)]
pub(super) fn mish_f32(x: f32) -> f32 {
    let positive = x > 0.0;
    let y = if x > 24.0 { 24.0 } else { x };
    let y = if y < -112.0 { -112.0 } else { y };
    let (p, s1, s2, e) = decay_f32(-y, 0.0);
    let above = e + 2.0;
    let d = e.mul_add(above, 2.0);
    let d_low = e.mul_add(above, 2.0 - d) + e * (e - (above - 2.0));
    let inverse = 1.0 / d;
    let n = if positive { 2.0 } else { e.mul_add(e, e) };
    let u = n * inverse;
    let u_low = u.mul_add(-d_low, u.mul_add(-d, n)) * inverse;
    let near = if positive { y } else { y * s1 };
    let scaled = near.mul_add(if positive { 0.0 } else { p }, near);
    let sum = scaled.mul_add(-(u + u_low), scaled);
    let value = (if positive { sum } else { sum * s2 }).copysign(x);
    if x > 24.0 { x } else { value }
}

#[inline(always)]
pub(super) fn mish_f64(x: f64) -> f64 {
    let positive = x > 0.0;
    let y = if x > 50.0 { 50.0 } else { x };
    let y = if y < -760.0 { -760.0 } else { y };
    let (p, s1, s2, e) = decay_f64(-y, 0.0);
    let d = e.mul_add(e + 2.0, 2.0);
    let u = (if positive { 2.0 } else { e.mul_add(e, e) }) / d;
    let near = if positive { y } else { y * s1 };
    let scaled = near.mul_add(if positive { 0.0 } else { p }, near);
    let sum = scaled.mul_add(-u, scaled);
    let value = (if positive { sum } else { sum * s2 }).copysign(x);
    if x > 50.0 { x } else { value }
}

// The quotient x / (1 - x) is corrected by what its two roundings lost: near 1/2, where it is close to 1 and its
// logarithm close to 0, that is all there is.

#[inline(always)]
pub(super) fn logit_f32(x: f32) -> f32 {
    let complement = 1.0 - x;
    let complement_low = (1.0 - complement) - x;
    let q = x / complement;
    let lost = q.mul_add(-complement_low, q.mul_add(-complement, x)) / x;
    ln_sum_f32(q, lost)
}

#[inline(always)]
pub(super) fn logit_f64(x: f64) -> f64 {
    let complement = 1.0 - x;
    let complement_low = (1.0 - complement) - x;
    let q = x / complement;
    let lost = q.mul_add(-complement_low, q.mul_add(-complement, x)) / x;
    ln_sum_f64(q, lost)
}

#[cfg(test)]
mod tests {
    use super::super::reference::{exact, measure};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("activation", unary: sigmoid 1.6 1.2, silu 1.9 1.6, softplus 1.8 1.4, log_sigmoid 1.8 1.4, mish 2.0 1.9, logit 1.0 0.8);

    #[test]
    fn exceptional_values() {
        exact!(sigmoid: 0.0 => 0.5, INF => 1.0, -INF => 0.0, NAN => NAN);
        exact!(silu: 0.0 => 0.0, -0.0 => -0.0, INF => INF, -INF => -0.0, NAN => NAN);
        exact!(softplus: INF => INF, -INF => 0.0, 1000.0 => 1000.0, NAN => NAN);
        exact!(log_sigmoid: INF => -0.0, -INF => -INF, -1000.0 => -1000.0, NAN => NAN);
        exact!(mish: 0.0 => 0.0, -0.0 => -0.0, INF => INF, -INF => -0.0, 1000.0 => 1000.0, NAN => NAN);
        exact!(logit: 0.5 => 0.0, 0.0 => -INF, 1.0 => INF, -0.5 => NAN, 1.5 => NAN, NAN => NAN);
    }
}
