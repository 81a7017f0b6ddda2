//! The tail of the normal distribution and what is made of it: `erfc`, `ndtr`, `log_ndtr`.
//!
//! For `y >= 0` the distribution function is `Phi(-y) = exp(-y^2/2) R(y)`. `R` (half the scaled complementary
//! error function of `y / sqrt(2)`) is slow and smooth: `R(y) = P(t) / (y + k)` with `t = (y - k) / (y + k)` and a
//! minimax polynomial `P` (the transformation of Shepherd and Laframboise, *Math. Comp.* 36, 1981); `k` is chosen so
//! that the leading coefficient of `P` is close to a number of the type. The square in the exponent is kept
//! as a sum of two numbers and the exponential multiplies `R` before it is scaled by its power of two, so
//! relative accuracy holds until the result underflows.
//!
//! `1 / (y + k)` is rounded twice, which amounts to a slightly different `y`. That difference is known, and so, to
//! a few percent, is the logarithmic derivative of `R`: their product goes into the small part of a sum that stands
//! for `R`, with the other rounding errors that are known. That is cheaper than longer arithmetic for `t`.

use super::exp::{
    LN_2_F32, LN_2_F64, reduce_exactly_f32, reduce_exactly_f64, split_scale_down_f32, split_scale_down_f64, tail_f32,
    tail_f64,
};
use super::log::{ln_1p_f64, ln_f64};

/// `(1 / (y + k), c)`: a rounded reciprocal and the relative error `c` of `y + k` as its inverse.
#[inline(always)]
fn reciprocal_f32(y: f32, k: f32) -> (f32, f32) {
    let d = y + k;
    let d_low = y - (d - k);
    let inverse = 1.0 / d;
    (inverse, inverse.mul_add(-d_low, inverse.mul_add(-d, 1.0)))
}

/// `Phi(-y) exp(y^2 / 2)` for `y` between 0 and 14.6, as a sum of a large and a small number.
#[inline(always)]
fn mills_f32(y: f32) -> (f32, f32) {
    const K: f32 = 3.53125;
    const LEADING: f32 = 7.4520606e-1;
    let (inverse, error) = reciprocal_f32(y, K);
    let part = inverse * (2.0 * K);
    let t = 1.0 - part;
    let t_low = inverse.mul_add(-2.0 * K, part);
    let q = polynomial!(
        t,
        1.00126505e-4,
        4.394125e-4,
        -3.863561e-4,
        -3.3688305e-3,
        6.0237236e-3,
        1.973015e-2,
        -1.20487295e-1,
        3.2030156e-1,
        -5.6856686e-1
    );
    let p = t.mul_add(q, LEADING);
    let p_low = t.mul_add(q, LEADING - p);
    let high = p * inverse;
    let relative = t_low.mul_add(-0.8, error * inverse.mul_add(7.14, 0.78));
    (high, high.mul_add(relative, p.mul_add(inverse, -high)) + p_low * inverse)
}

/// `erfc(y) exp(y^2)` for `y` between 0 and 10.3, as a sum of a large and a small number.
#[inline(always)]
fn scaled_erfc_f32(y: f32) -> (f32, f32) {
    const K: f32 = 2.3125;
    const LEADING: f32 = 1.0437663;
    let (inverse, error) = reciprocal_f32(y, K);
    let part = inverse * (2.0 * K);
    let t = 1.0 - part;
    let t_low = inverse.mul_add(-2.0 * K, part);
    let q = polynomial!(
        t,
        1.9503542e-4,
        2.6259033e-4,
        -1.4571388e-3,
        -1.9197307e-3,
        1.1710011e-2,
        3.201656e-3,
        -1.1843856e-1,
        3.9304176e-1,
        -7.661568e-1
    );
    let p = t.mul_add(q, LEADING);
    let p_low = t.mul_add(q, LEADING - p);
    let high = p * inverse;
    let relative = t_low.mul_add(-0.8, error * inverse.mul_add(4.15, 0.85));
    (high, high.mul_add(relative, p.mul_add(inverse, -high)) + p_low * inverse)
}

#[inline(always)]
pub(super) fn erfc_f32(x: f32) -> f32 {
    let y = x.abs();
    let y = if y > 10.3 { 10.3 } else { y };
    let square = y * y;
    let tail = times_exp_f32(scaled_erfc_f32(y), square, y.mul_add(y, -square));
    if x < 0.0 { 2.0 - tail } else { tail }
}

/// `factor * Phi(-y)` for `y` between 0 and 14.6.
#[inline(always)]
fn times_tail_f32(factor: f32, y: f32) -> f32 {
    let half = 0.5 * y;
    let square = half * y;
    let (high, low) = mills_f32(y);
    let product = factor * high;
    let product_low = factor.mul_add(low, factor.mul_add(high, -product));
    times_exp_f32((product, product_low), square, half.mul_add(y, -square))
}

#[inline(always)]
pub(super) fn ndtr_f32(x: f32) -> f32 {
    let y = x.abs();
    let tail = times_tail_f32(1.0, if y > 14.6 { 14.6 } else { y });
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// Rarely used: the f64 result, rounded.
#[inline(always)]
pub(super) fn log_ndtr_f32(x: f32) -> f32 {
    log_ndtr_f64(f64::from(x)) as f32
}

/// `(1 / (y + k), c)`: a rounded reciprocal and the relative error `c` of `y + k` as its inverse.
#[inline(always)]
fn reciprocal_f64(y: f64, k: f64) -> (f64, f64) {
    let d = y + k;
    let d_low = y - (d - k);
    let inverse = 1.0 / d;
    (inverse, inverse.mul_add(-d_low, inverse.mul_add(-d, 1.0)))
}

/// `Phi(-y) exp(y^2 / 2)` for `y` between 0 and 38.7, as a sum of a large and a small number.
#[inline(always)]
fn mills_f64(y: f64) -> (f64, f64) {
    const K: f64 = 5.96875;
    const LEADING: f64 = 0.7771515406810234;
    const LAST: f64 = -0.7001166371801388;
    let (inverse, error) = reciprocal_f64(y, K);
    let part = inverse * (2.0 * K);
    let t = 1.0 - part;
    let t_low = inverse.mul_add(-2.0 * K, part);
    let q = polynomial!(
        t,
        1.1310559313719778e-9,
        5.3318926510132846e-9,
        -2.5400303865652233e-9,
        -4.3745175344823836e-8,
        2.5503338626950546e-8,
        2.898530231313664e-7,
        -5.114174691917571e-7,
        -1.5097419704609224e-6,
        6.839150201679901e-6,
        -1.271438137424947e-6,
        -5.88749982986093e-5,
        0.00018292015937989447,
        -2.495103558022587e-5,
        -0.0018979868875628827,
        0.009417452933182541,
        -0.029753591951765825,
        0.07316268611221856,
        -0.1499683957567613,
        0.2649455831489636,
        -0.4111601383985205,
        0.5670588515756572
    );
    // The last steps of Horner's rule round the most where `t` is near -1: what they lose is kept.
    let product = t * q;
    let q_high = product + LAST;
    let q_low = t.mul_add(q, -product) + (product - (q_high - LAST)) + (LAST - (q_high - (q_high - LAST)));
    let p = t.mul_add(q_high, LEADING);
    let p_low = t.mul_add(q_low, t.mul_add(q_high, LEADING - p));
    let high = p * inverse;
    let relative = t_low.mul_add(t.mul_add(0.8, -0.95), error * inverse.mul_add(26.49, -0.22));
    (high, high.mul_add(relative, p.mul_add(inverse, -high)) + p_low * inverse)
}

/// `erfc(y) exp(y^2)` for `y` between 0 and 27.3, as a sum of a large and a small number.
#[inline(always)]
fn scaled_erfc_f64(y: f64) -> (f64, f64) {
    const K: f64 = 3.953125;
    const LEADING: f64 = 1.0952845400902893;
    let (inverse, error) = reciprocal_f64(y, K);
    let part = inverse * (2.0 * K);
    let t = 1.0 - part;
    let t_low = inverse.mul_add(-2.0 * K, part);
    let q = polynomial!(
        t,
        5.20699888752124e-10,
        -2.2179813836314835e-9,
        -1.2995296409395763e-8,
        1.778770649793017e-8,
        1.077939776654872e-7,
        -1.6702053274440235e-7,
        -6.735437171921712e-7,
        1.8278379978864744e-6,
        2.9631776032625857e-6,
        -1.883841249806189e-5,
        9.209202169198484e-6,
        0.00014556436016909734,
        -0.0004695926820603717,
        3.890065326269476e-5,
        0.004912080251154252,
        -0.023443860668296405,
        0.07096263701897151,
        -0.16600447495398563,
        0.3212953994403455,
        -0.5317661571320811,
        0.7666606334782958,
        -0.9734205184813284
    );
    let p = t.mul_add(q, LEADING);
    let p_low = t.mul_add(q, LEADING - p);
    let high = p * inverse;
    let relative = t_low.mul_add(t.mul_add(0.8, -0.95), error * inverse.mul_add(16.2, -0.07));
    (high, high.mul_add(relative, p.mul_add(inverse, -high)) + p_low * inverse)
}

macro_rules! times_exp {
    ($t:ident, $times_exp:ident, $reduce_exactly:ident, $ln_2:ident, $tail:ident, $split_scale_down:ident) => {
        /// `(high + low) exp(-(square + square_low))` for a square below 150.
        #[inline(always)]
        fn $times_exp((high, low): ($t, $t), square: $t, square_low: $t) -> $t {
            let (n, r_high, t) = $reduce_exactly(-square);
            let r_low = n.mul_add(-$ln_2.1, -square_low);
            let r = r_high + r_low;
            let p = r_high + (r * r).mul_add($tail(r), r_low);
            let (s1, s2) = $split_scale_down(t);
            (high + high.mul_add(p, low.mul_add(p, low))) * s1 * s2
        }
    };
}
times_exp!(f32, times_exp_f32, reduce_exactly_f32, LN_2_F32, tail_f32, split_scale_down_f32);
times_exp!(f64, times_exp_f64, reduce_exactly_f64, LN_2_F64, tail_f64, split_scale_down_f64);

#[inline(always)]
pub(super) fn erfc_f64(x: f64) -> f64 {
    let y = x.abs();
    let y = if y > 27.3 { 27.3 } else { y };
    let square = y * y;
    let tail = times_exp_f64(scaled_erfc_f64(y), square, y.mul_add(y, -square));
    if x < 0.0 { 2.0 - tail } else { tail }
}

/// `factor * Phi(-y)` for `y` between 0 and 38.7.
#[inline(always)]
pub(super) fn times_tail_f64(factor: f64, y: f64) -> f64 {
    let half = 0.5 * y;
    let square = half * y;
    let (high, low) = mills_f64(y);
    let product = factor * high;
    let product_low = factor.mul_add(low, factor.mul_add(high, -product));
    times_exp_f64((product, product_low), square, half.mul_add(y, -square))
}

#[inline(always)]
pub(super) fn ndtr_f64(x: f64) -> f64 {
    let y = x.abs();
    let tail = times_tail_f64(1.0, if y > 38.7 { 38.7 } else { y });
    if x > 0.0 { 1.0 - tail } else { tail }
}

#[inline(always)]
pub(super) fn log_ndtr_f64(x: f64) -> f64 {
    let y = x.abs();
    let inside = if y > 38.7 { 38.7 } else { y };
    let upper = ln_1p_f64(-times_tail_f64(1.0, inside));
    // Far out R(y) = (1 - y^-2 + 3 y^-4 - ...) / (y sqrt(2 pi)), and y^2 / 2 dwarfs its logarithm.
    let z = 1.0 / (y * y);
    let far = polynomial!(z, 10395.0, -945.0, 105.0, -15.0, 3.0, -1.0, 1.0) / (y * 2.506_628_274_631_000_7);
    let (high, low) = mills_f64(inside);
    let lower = ln_f64(if y > 38.7 { far } else { high }) + (low / high - 0.5 * y * y);
    if x > 0.0 { upper } else { lower }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{exact, measure};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("normal", unary: erfc 1.8 1.8, ndtr 2.1 2.2, log_ndtr 0.6 2.3);

    #[test]
    fn exceptional_values() {
        exact!(erfc: INF => 0.0, -INF => 2.0, NAN => NAN);
        exact!(ndtr: INF => 1.0, -INF => 0.0, NAN => NAN);
        exact!(log_ndtr: INF => -0.0, -INF => -INF, NAN => NAN);
    }
}
