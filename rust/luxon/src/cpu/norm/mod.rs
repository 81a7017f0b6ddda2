//! Normalisation: layer and RMS norm over rows, batch norm over channels, group norm between the two.
//!
//! Forward kernels return what backward needs (mean and reciprocal standard deviation). A variance is
//! taken in two passes, around a first estimate of the mean whose own error is then corrected for, so an
//! offset that is large against the spread costs no accuracy. Gradients of weight and bias are sums over
//! the batch: a fixed number of partial sums, added in order in `f64`.
//!
//! `weight` and `bias` may be null (1 and 0), and so may results that are not wanted, in pairs as each
//! function says. A result of the shape of an input may be its memory.

mod batch;
mod group;
mod layer;

pub use batch::{batch_norm, batch_norm_gradient, batch_norm_inference};
pub use group::{group_norm, group_norm_gradient};
pub use layer::{layer_norm, layer_norm_gradient, rms_norm, rms_norm_gradient};

/// `1 / sqrt(variance + eps)`.
#[inline(always)]
fn reciprocal_deviation(variance: f64, eps: f64) -> f64 {
    1.0 / (variance + eps).sqrt()
}

/// The mean correction and the variance from the sums of `d` and `d * d` over `count` elements.
#[inline(always)]
fn spread(sum: f64, squares: f64, count: f64) -> (f64, f64) {
    let correction = sum / count;
    let variance = squares / count - correction * correction;
    // Not `max`, which would drop a NaN.
    (correction, if variance < 0.0 { 0.0 } else { variance })
}
