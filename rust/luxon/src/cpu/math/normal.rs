//! The tail of the normal distribution and what is made of it: `erfc`, `ndtr`, `log_ndtr`, `gelu`.
//!
//! For `y >= 0` the distribution function is `Phi(-y) = exp(-y^2/2) R(y)` with a slow and smooth `R` (the Mills ratio, or half the
//! scaled complementary error function of `y / sqrt(2)`). One rational function with positive coefficients covers all `y` for which
//! the result does not underflow (in the manner of Cody, *Math. Comp.* 23, 1969; the fits are our own):
//! no coefficient cancels another, and near 0 hardly anything is rounded. The square in the exponent is kept as a sum
//! of two numbers and the exponential multiplies `R` before it is scaled by its power of two, so relative
//! accuracy holds until the result underflows. `gelu` for positive `x` is `x - x Phi(-x)`, for negative `x` the tail itself.

use super::exp::{
    LN_2_F32, LN_2_F64, reduce_exactly_f32, reduce_exactly_f64, split_scale_down_f32, split_scale_down_f64, tail_f32,
    tail_f64,
};
use super::log::{ln_1p_f64, ln_f64};

/// `Phi(-y) exp(y^2 / 2)` for `y` between 0 and 14.6.
#[inline(always)]
fn mills_f32(y: f32) -> f32 {
    let n = polynomial!(y, 4.124198e-3, 4.0686466e-2, 1.8339317e-1, 4.385084e-1, 5.0e-1);
    let d = polynomial!(y, 1.0337714e-2, 1.0199222e-1, 4.6988776e-1, 1.2031597, 1.6749017, 1.0);
    n / d
}

/// `erfc(y) exp(y^2)` for `y` between 0 and 10.3.
#[inline(always)]
fn scaled_erfc_f32(y: f32) -> f32 {
    let n = polynomial!(y, 3.299037e-2, 2.3014207e-1, 7.335405e-1, 1.2402583, 1.0);
    let d = polynomial!(y, 5.847324e-2, 4.0794173e-1, 1.3289833, 2.4062526, 2.368638, 1.0);
    n / d
}

/// `factor * exp(-(square + low))` for a square below 150.
#[inline(always)]
fn times_exp_f32(factor: f32, square: f32, low: f32) -> f32 {
    let (n, high, t) = reduce_exactly_f32(-square);
    let low = n.mul_add(-LN_2_F32.1, -low);
    let r = high + low;
    let p = high + (r * r).mul_add(tail_f32(r), low);
    let (s1, s2) = split_scale_down_f32(t);
    factor.mul_add(p, factor) * s1 * s2
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
    times_exp_f32(factor * mills_f32(y), square, half.mul_add(y, -square))
}

#[inline(always)]
pub(super) fn ndtr_f32(x: f32) -> f32 {
    let y = x.abs();
    let tail = times_tail_f32(1.0, if y > 14.6 { 14.6 } else { y });
    if x > 0.0 { 1.0 - tail } else { tail }
}

#[inline(always)]
pub(super) fn gelu_f32(x: f32) -> f32 {
    let bounded = x.clamp(-14.6, 14.6);
    let lost = times_tail_f32(bounded, bounded.abs());
    (if x > 0.0 { x - lost } else { lost }).copysign(x)
}

/// Rarely used: the f64 result, rounded.
#[inline(always)]
pub(super) fn log_ndtr_f32(x: f32) -> f32 {
    log_ndtr_f64(f64::from(x)) as f32
}

/// `Phi(-y) exp(y^2 / 2)` for `y` between 0 and 38.7.
#[inline(always)]
fn mills_f64(y: f64) -> f64 {
    let n = polynomial!(
        y,
        2.2374653838278932e-07,
        6.96441734389068e-06,
        0.00010642247405595427,
        0.0010384743214301826,
        0.007115753986490149,
        0.035638476645293515,
        0.1319595677683468,
        0.3571673753237441,
        0.6793778146361501,
        0.8277757916970808,
        0.5
    );
    let d = polynomial!(
        y,
        5.608493994609782e-07,
        1.745720543055746e-05,
        0.000267322431921071,
        0.0026205263022134385,
        0.01810219001241729,
        0.09190056820548147,
        0.34808221184099564,
        0.9795868307423529,
        2.0006720165527283,
        2.816314449642813,
        2.453436144197027,
        1.0
    );
    n / d
}

/// `erfc(y) exp(y^2)` for `y` between 0 and 27.3.
#[inline(always)]
fn scaled_erfc_f64(y: f64) -> f64 {
    let n = polynomial!(
        y,
        1.4326718590473273e-05,
        0.0003153033934846688,
        0.0034067132466226034,
        0.023504962629330273,
        0.11388029991633179,
        0.4032853061684422,
        1.0558470584768875,
        2.0206898236857898,
        2.717736844535511,
        2.341405779257283,
        1.0
    );
    let d = polynomial!(
        y,
        2.5393447536518063e-05,
        0.0005588607139864513,
        0.0060509387366025555,
        0.04194089188805229,
        0.2048540003083018,
        0.7353558966999468,
        1.9693765524139815,
        3.9188501681301715,
        5.659283530746379,
        5.632969892301611,
        3.469784946352796,
        1.0
    );
    n / d
}

/// `factor * exp(-(square + low))` for a square below 1000.
#[inline(always)]
fn times_exp_f64(factor: f64, square: f64, low: f64) -> f64 {
    let (n, high, t) = reduce_exactly_f64(-square);
    let low = n.mul_add(-LN_2_F64.1, -low);
    let r = high + low;
    let p = high + (r * r).mul_add(tail_f64(r), low);
    let (s1, s2) = split_scale_down_f64(t);
    factor.mul_add(p, factor) * s1 * s2
}

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
fn times_tail_f64(factor: f64, y: f64) -> f64 {
    let half = 0.5 * y;
    let square = half * y;
    times_exp_f64(factor * mills_f64(y), square, half.mul_add(y, -square))
}

#[inline(always)]
pub(super) fn ndtr_f64(x: f64) -> f64 {
    let y = x.abs();
    let tail = times_tail_f64(1.0, if y > 38.7 { 38.7 } else { y });
    if x > 0.0 { 1.0 - tail } else { tail }
}

#[inline(always)]
pub(super) fn gelu_f64(x: f64) -> f64 {
    let bounded = x.clamp(-38.7, 38.7);
    let lost = times_tail_f64(bounded, bounded.abs());
    (if x > 0.0 { x - lost } else { lost }).copysign(x)
}

#[inline(always)]
pub(super) fn log_ndtr_f64(x: f64) -> f64 {
    let y = x.abs();
    let inside = if y > 38.7 { 38.7 } else { y };
    let upper = ln_1p_f64(-times_tail_f64(1.0, inside));
    // Far out R(y) = (1 - y^-2 + 3 y^-4 - ...) / (y sqrt(2 pi)), and y^2 / 2 dwarfs its logarithm.
    let z = 1.0 / (y * y);
    let far = polynomial!(z, 10395.0, -945.0, 105.0, -15.0, 3.0, -1.0, 1.0) / (y * 2.506_628_274_631_000_7);
    let lower = ln_f64(if y > 38.7 { far } else { mills_f64(inside) }) - 0.5 * y * y;
    if x > 0.0 { upper } else { lower }
}
