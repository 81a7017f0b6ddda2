//! Products and sums with logarithms: `entr`, `xlogy`, `xlog1py`, `logaddexp`.
//!
//! Zero times a logarithm is 0 here, whatever the logarithm, unless it is the logarithm of NaN; that is the limit
//! which entropies and likelihoods need. Near its zeros `logaddexp` cancels, as any formula of two rounded
//! arguments must: its error is bounded in ULPs of the larger argument.

use super::activation::{softplus_f32, softplus_f64};
use super::log::{ln_1p_f32, ln_1p_f64, ln_f32, ln_f64};

#[inline(always)]
pub(super) fn entr_f32(x: f32) -> f32 {
    let value = if x == 0.0 { 0.0 } else { -x * ln_f32(x) };
    if x < 0.0 { f32::NEG_INFINITY } else { value }
}

#[inline(always)]
pub(super) fn entr_f64(x: f64) -> f64 {
    let value = if x == 0.0 { 0.0 } else { -x * ln_f64(x) };
    if x < 0.0 { f64::NEG_INFINITY } else { value }
}

#[inline(always)]
pub(super) fn xlogy_f32(x: f32, y: f32) -> f32 {
    let product = x * ln_f32(y);
    if x == 0.0 && !y.is_nan() { 0.0 } else { product }
}

#[inline(always)]
pub(super) fn xlogy_f64(x: f64, y: f64) -> f64 {
    let product = x * ln_f64(y);
    if x == 0.0 && !y.is_nan() { 0.0 } else { product }
}

#[inline(always)]
pub(super) fn xlog1py_f32(x: f32, y: f32) -> f32 {
    let product = x * ln_1p_f32(y);
    if x == 0.0 && !y.is_nan() { 0.0 } else { product }
}

#[inline(always)]
pub(super) fn xlog1py_f64(x: f64, y: f64) -> f64 {
    let product = x * ln_1p_f64(y);
    if x == 0.0 && !y.is_nan() { 0.0 } else { product }
}

// max + softplus(min - max). Equal arguments, infinite ones included, differ by 0.

#[inline(always)]
pub(super) fn logaddexp_f32(x: f32, y: f32) -> f32 {
    let (high, low) = if x > y { (x, y) } else { (y, x) };
    let difference = if high == low { 0.0 } else { low - high };
    high + softplus_f32(difference)
}

#[inline(always)]
pub(super) fn logaddexp_f64(x: f64, y: f64) -> f64 {
    let (high, low) = if x > y { (x, y) } else { (y, x) };
    let difference = if high == low { 0.0 } else { low - high };
    high + softplus_f64(difference)
}

#[cfg(test)]
mod tests {
    use super::super::reference::{exact, measure};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("information", unary: entr 1.7 1.5);
    measure!("information", binary: logaddexp 2.2 1.4, xlogy 1.9 1.5, xlog1py 2.0 1.7);

    #[test]
    fn exceptional_values() {
        exact!(entr: 0.0 => 0.0, 1.0 => -0.0, -1.0 => -INF, INF => -INF, NAN => NAN);
        exact!(xlogy: (0.0, 0.0) => 0.0, (0.0, -1.0) => 0.0, (0.0, NAN) => NAN, (2.0, 0.0) => -INF, (NAN, 1.0) => NAN);
        exact!(xlog1py: (0.0, -1.0) => 0.0, (0.0, -5.0) => 0.0, (0.0, NAN) => NAN, (2.0, -1.0) => -INF, (NAN, 1.0) => NAN);
        exact!(logaddexp: (-INF, -INF) => -INF, (INF, -INF) => INF, (INF, INF) => INF, (-INF, 3.0) => 3.0);
        exact!(logaddexp: (NAN, 1.0) => NAN, (1.0, NAN) => NAN, (1000.0, -1000.0) => 1000.0);
    }
}
