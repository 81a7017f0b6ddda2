//! Pooling over windows of planes: the largest element with its place, the mean, and the mean's transpose.
//!
//! An array is `planes` planes of (depth, height, width); fewer axes have leading ones of size 1. A plane is
//! first laid out so that every tap of all windows is one contiguous run (see `layout`): rows padded, and
//! with strides taken apart by their remainder. Then a row of outputs is an elementwise maximum or sum of
//! runs, whatever window, stride, dilation and padding are, and whole planes go through full vectors.
//!
//! Windows that differ in length (adaptive ones) are walked one by one in `ragged`; those of 2 by 2 side by side,
//! the commonest, need no layout (`halves`).

mod halves;
mod layout;
mod max;
mod mean;
mod places;
mod ragged;

pub use max::max_pool;
pub use mean::{mean_pool, spread};
pub use places::{pick, put, put_back};
pub use ragged::{Span, max_spans};

/// Windows along one axis: output `o` covers the positions `o * stride + k * dilation - before`, `k < window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Positions of the input.
    pub input: usize,
    /// The number of windows, above 0.
    pub output: usize,
    /// Taps of a window, above 0.
    pub window: usize,
    /// The distance between windows, above 0.
    pub stride: usize,
    /// The distance between taps, above 0.
    pub dilation: usize,
    /// Padding before the first position.
    pub before: usize,
    /// Padding after the last position.
    pub after: usize,
}

impl Axis {
    /// An axis of one position under one window of one tap.
    pub const UNIT: Axis = Axis { input: 1, output: 1, window: 1, stride: 1, dilation: 1, before: 0, after: 0 };

    /// From the first tap of the first window to the last of the last one.
    pub fn reach(&self) -> usize {
        (self.output - 1) * self.stride + (self.window - 1) * self.dilation + 1
    }

    /// Whether a tap of some window lies on padding.
    pub fn is_padded(&self) -> bool {
        self.before > 0 || self.reach() > self.before + self.input
    }

    /// The first tap of window `output` that lies on the input, if any does.
    pub fn first_tap(&self, output: usize) -> Option<usize> {
        let start = output * self.stride;
        let tap = self.before.saturating_sub(start).div_ceil(self.dilation);
        (tap < self.window && start + tap * self.dilation < self.before + self.input).then_some(tap)
    }

    /// What the mean of window `output` divides by: its positions within the padded input (or the input alone).
    pub fn divisor(&self, output: usize, with_padding: bool) -> usize {
        let start = output * self.stride;
        let end = (start + self.window).min(self.before + self.input + self.after);
        if with_padding {
            return end - start;
        }
        end.min(self.before + self.input).saturating_sub(start.max(self.before))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
