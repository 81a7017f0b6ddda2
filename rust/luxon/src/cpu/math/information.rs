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
