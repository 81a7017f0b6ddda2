//! The windows of a pooling along one axis: which positions each covers, and the matrix of their means.
//!
//! Even windows have one length and distance, with padding and gaps; adaptive ones divide the axis, whatever
//! its size. What the kernels need beyond that they work out from [`Axis`].

use super::resample::Matrix;
pub use crate::cpu::pool::Axis;
use crate::cpu::pool::Span;
use crate::error::{Error, Result};

/// Windows along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Of one length, at equal distances.
    Even(Axis),
    /// Window `o` of so many covers the positions from `floor(o * input / output)` to `ceil((o + 1) * input /
    /// output)`.
    Adaptive {
        /// Positions of the axis, above 0.
        input: usize,
        /// The number of windows, above 0.
        output: usize,
    },
}

impl Windows {
    /// Positions of the input.
    pub fn input(&self) -> usize {
        match self {
            Windows::Even(axis) => axis.input,
            Windows::Adaptive { input, .. } => *input,
        }
    }

    /// The number of windows.
    pub fn output(&self) -> usize {
        match self {
            Windows::Even(axis) => axis.output,
            Windows::Adaptive { output, .. } => *output,
        }
    }

    /// The positions of a window without padding, where they are next to each other.
    fn span(&self, window: usize) -> Span {
        match self {
            Windows::Even(axis) => {
                let end = (window * axis.stride + axis.window).saturating_sub(axis.before);
                Span { start: (window * axis.stride).saturating_sub(axis.before), end: end.min(axis.input) }
            }
            Windows::Adaptive { input, output } => {
                // In 128 bits, where no product of two sizes overflows.
                let (input, output, window) = (*input as u128, *output as u128, window as u128);
                let start = (window * input / output) as usize;
                Span { start, end: ((window + 1) * input).div_ceil(output) as usize }
            }
        }
    }

    /// The positions of every window without padding, where they are next to each other.
    ///
    /// # Errors
    /// [`Error::Memory`] for more windows than memory has room for.
    pub fn spans(&self) -> Result<Option<Vec<Span>>> {
        if matches!(self, Windows::Even(axis) if axis.dilation > 1 && axis.window > 1) {
            return Ok(None);
        }
        let (mut spans, count) = (Vec::new(), self.output());
        spans.try_reserve_exact(count).map_err(|_| Error::Memory(count.saturating_mul(size_of::<Span>())))?;
        spans.extend((0..count).map(|window| self.span(window)));
        Ok(Some(spans))
    }

    /// The positions of the taps of every window, as many for each: those on padding are those of the first
    /// that is not.
    pub(super) fn positions(&self) -> Vec<Vec<usize>> {
        match self {
            Windows::Even(axis) => (0..axis.output)
                .map(|window| {
                    let at = |tap: usize| (window * axis.stride + tap * axis.dilation).checked_sub(axis.before);
                    let inside = |tap: usize| at(tap).filter(|&position| position < axis.input);
                    let first = axis.first_tap(window).and_then(inside).unwrap_or(0);
                    (0..axis.window).map(|tap| inside(tap).unwrap_or(first)).collect()
                })
                .collect(),
            Windows::Adaptive { .. } => {
                let spans = || (0..self.output()).map(|window| self.span(window));
                let most = spans().map(|span| span.end - span.start).max().unwrap_or(0);
                let at =
                    |span: &Span, tap: usize| if span.start + tap < span.end { span.start + tap } else { span.start };
                spans().map(|span| (0..most).map(|tap| at(&span, tap)).collect()).collect()
            }
        }
    }

    /// The matrix that takes the mean (or the sum) of every window, whose positions are next to each other.
    ///
    /// # Errors
    /// [`Error::Memory`] for a matrix that is too large.
    pub fn averages(&self, with_padding: bool, mean: bool) -> Result<Matrix> {
        let row = |window: usize| {
            let span = self.span(window);
            let divisor = match self {
                Windows::Even(axis) => axis.divisor(window, with_padding),
                Windows::Adaptive { .. } => span.end - span.start,
            };
            let weight = if mean { 1.0 / divisor as f64 } else { 1.0 };
            (span.start..span.end).map(move |position| (position, weight))
        };
        let terms = match self {
            Windows::Even(_) => {
                let terms = (0..self.output()).map(|window| self.span(window)).map(|span| span.end - span.start);
                terms.fold(0usize, usize::saturating_add)
            }
            // Neighbours share one position at most.
            Windows::Adaptive { input, output } => input.saturating_add(*output),
        };
        Matrix::new(self.input(), self.output(), terms, row)
    }
}
