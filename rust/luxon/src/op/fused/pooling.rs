//! The poolings that users call: windows from their arguments, checks, dtypes, and the operation behind each.
//!
//! Sizes, divisors and adaptive windows are PyTorch's. Half types are computed in f32 and rounded once.

use super::pool::{Axis, Pool, Take, Windows};
use super::resample::along;
use super::{compute_dtype, joined_float, taken_dtype};
use crate::error::{Error, Result};
use crate::layout::show;
use crate::op::apply;
use crate::op::elementwise::pow;
use crate::op::manipulate::where_;
use crate::tensor::Tensor;

/// What is added around the pooled axes.
///
/// ```
/// use luxon::{PoolPadding, PoolWindow, Tensor, max_pool};
/// let x = Tensor::new(&[1.0, 2.0, 3.0], &[1, 1, 3])?;
/// let window = PoolWindow { stride: Some(&[1]), padding: PoolPadding::Same, ..PoolWindow::new(&[3]) };
/// assert_eq!(max_pool(&x, &window)?.to_vec::<f64>()?, [2.0, 3.0, 3.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum PoolPadding<'a> {
    /// So much before and after each of them.
    Pairs(&'a [(usize, usize)]),
    /// What gives an output per stride of the input; of an odd amount, more after than before.
    Same,
}

/// The windows of a pooling: an entry for each of the last axes of the input.
///
/// ```
/// use luxon::{PoolWindow, Tensor, max_pool};
/// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0], &[1, 1, 4])?;
/// let window = PoolWindow { stride: Some(&[1]), ..PoolWindow::new(&[2]) };
/// assert_eq!(max_pool(&x, &window)?.to_vec::<f64>()?, [2.0, 3.0, 4.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PoolWindow<'a> {
    /// Elements of a window.
    pub sizes: &'a [usize],
    /// The distance between windows; none is the window's size.
    pub stride: Option<&'a [usize]>,
    /// What is added around.
    pub padding: PoolPadding<'a>,
    /// The distance between elements of a window; none is 1.
    pub dilation: Option<&'a [usize]>,
    /// Whether a last window that reaches beyond the padded input counts.
    pub ceil: bool,
}

impl<'a> PoolWindow<'a> {
    /// Windows of these sizes, side by side.
    ///
    /// ```
    /// use luxon::{DType, PoolWindow, Tensor, max_pool};
    /// let x = Tensor::zeros(&[8, 3, 32, 32], DType::F32)?;
    /// assert_eq!(max_pool(&x, &PoolWindow::new(&[2, 2]))?.shape()[..], [8, 3, 16, 16]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn new(sizes: &'a [usize]) -> PoolWindow<'a> {
        PoolWindow { sizes, stride: None, padding: PoolPadding::Pairs(&[]), dilation: None, ceil: false }
    }

    /// The windows on an input, checked.
    fn on(&self, op: &str, x: &Tensor) -> Result<[Windows; 3]> {
        let rank = self.sizes.len();
        let pairs = match self.padding {
            PoolPadding::Pairs([]) => None,
            PoolPadding::Pairs(pairs) => Some(pairs),
            PoolPadding::Same => None,
        };
        let lengths = [self.stride.map(<[_]>::len), self.dilation.map(<[_]>::len), pairs.map(<[_]>::len)];
        if lengths.into_iter().flatten().any(|length| length != rank) {
            let text = format!("stride, padding and dilation must have an entry for each of the window's {rank} axes");
            return Err(Error::value(op, text));
        }
        let first = pooled(op, x, rank)?;
        let mut windows = [Windows::Even(Axis::UNIT); 3];
        for axis in 0..rank {
            let (input, window) = (x.shape()[first + axis], self.sizes[axis]);
            let stride = self.stride.map_or(window, |stride| stride[axis]);
            let dilation = self.dilation.map_or(1, |dilation| dilation[axis]);
            if window == 0 || stride == 0 || dilation == 0 {
                let text = format!("window {window}, stride {stride} and dilation {dilation} must be at least 1");
                return Err(Error::value(op, text));
            }
            let overflow = || Error::Overflow(format!("{op}: a window of {window} taps {dilation} apart is too long"));
            let gaps = (window - 1).checked_mul(dilation).filter(|&gaps| gaps < isize::MAX as usize);
            let gaps = gaps.ok_or_else(overflow)?;
            let (before, after) = match (self.padding, pairs) {
                (PoolPadding::Same, _) => (gaps / 2, gaps - gaps / 2),
                (_, Some(pairs)) => pairs[axis],
                _ => (0, 0),
            };
            if before.max(after) > gaps.div_ceil(2) {
                let text = format!(
                    "padding ({before}, {after}) is more than half of a window that reaches over {} elements",
                    gaps + 1
                );
                return Err(Error::value(op, text));
            }
            let padded = input + before + after;
            let refuse = || {
                Error::shape(
                    op,
                    format_args!(
                        "windows of {} elements do not fit axis {} of shape {}, padded to {padded}",
                        gaps + 1,
                        first + axis,
                        show(x.shape())
                    ),
                )
            };
            let room = padded.checked_sub(gaps + 1).filter(|_| input > 0).ok_or_else(refuse)?;
            let mut output = if self.ceil { room.div_ceil(stride) } else { room / stride } + 1;
            // A window that would begin behind the input and the padding before it does not count.
            if self.ceil && (output - 1) * stride >= input + before {
                output -= 1;
            }
            let made = Axis { input, output, window, stride, dilation, before, after };
            if made.is_padded() && (0..output).any(|window| made.first_tap(window).is_none()) {
                return Err(Error::value(op, "some windows would cover padding alone; use less padding"));
            }
            windows[3 - rank + axis] = Windows::Even(made);
        }
        Ok(windows)
    }
}

/// The first of the last `rank` axes, where there are one to three of them.
fn pooled(op: &str, x: &Tensor, rank: usize) -> Result<usize> {
    if !(1..=3).contains(&rank) || x.rank() < rank {
        return Err(Error::shape(
            op,
            format_args!("cannot pool the last {rank} axes of shape {}; it takes 1 to 3", show(x.shape())),
        ));
    }
    Ok(x.rank() - rank)
}

/// Windows that divide the last axes of `x` into so many parts each.
fn adaptive(op: &str, x: &Tensor, output: &[usize]) -> Result<[Windows; 3]> {
    let first = pooled(op, x, output.len())?;
    let mut windows = [Windows::Even(Axis::UNIT); 3];
    for (axis, &output) in output.iter().enumerate() {
        let input = x.shape()[first + axis];
        if output == 0 || input == 0 {
            return Err(Error::shape(
                op,
                format_args!(
                    "axis {} of shape {} cannot be divided into {output} windows",
                    first + axis,
                    show(x.shape())
                ),
            ));
        }
        windows[3 + axis + first - x.rank()] = Windows::Adaptive { input, output };
    }
    Ok(windows)
}

fn max_over(op: &str, x: &Tensor, axes: [Windows; 3], rank: usize) -> Result<Tensor> {
    let dtype = joined_float(op, &[x])?;
    let plane = axes.iter().try_fold(1usize, |plane, axis| plane.checked_mul(axis.input()));
    if plane.is_none_or(|plane| plane > i32::MAX as usize) {
        return Err(Error::Overflow(format!("{op}: a plane of shape {} has more than 2^31 elements", show(x.shape()))));
    }
    apply(Pool { take: Take::Max, axes, rank }, &[&x.cast(taken_dtype(x, dtype))?])?.cast(dtype)
}

/// The means of windows, or their sums.
fn mean_over(op: &str, x: &Tensor, axes: [Windows; 3], rank: usize, with_padding: bool, mean: bool) -> Result<Tensor> {
    let dtype = joined_float(op, &[x])?;
    let pool = Pool { take: Take::Mean { with_padding }, axes, rank };
    if mean && pool.runs().is_some() {
        return apply(pool, &[&x.cast(taken_dtype(x, dtype))?])?.cast(dtype);
    }
    let mut y = x.cast(compute_dtype(dtype))?;
    let first = y.rank() - rank;
    for (axis, windows) in axes[3 - rank..].iter().enumerate() {
        y = along(&y, first + axis, windows.averages(with_padding, mean)?)?;
    }
    y.cast(dtype)
}

/// The root of `sum`, a sum of powers, with the slope 0 where the sum is 0, at which it has none.
fn root(sum: &Tensor, p: f64) -> Result<Tensor> {
    let none = sum.equal(0.0)?;
    where_(&none, 0.0, &pow(&where_(&none, 1.0, sum)?, 1.0 / p)?)
}

fn check_power(op: &str, p: f64) -> Result<()> {
    if p.is_finite() && p != 0.0 {
        return Ok(());
    }
    Err(Error::value(op, format_args!("p must be finite and not 0, got {p}")))
}

/// The largest element of every window of the last axes of `x`. Padding is no element; NaN wins.
///
/// Of equal elements the first in row-major order gets the gradient.
///
/// ```
/// use luxon::{PoolWindow, Tensor, max_pool};
/// let x = Tensor::new(&[1.0, 5.0, 3.0, 2.0], &[1, 1, 2, 2])?;
/// assert_eq!(max_pool(&x, &PoolWindow::new(&[2, 2]))?.to_vec::<f64>()?, [5.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where windows do not fit, [`Error::Value`] for sizes and steps of 0 and for padding of more
/// than half a window, [`Error::Type`] for a dtype that is not floating.
pub fn max_pool(x: &Tensor, window: &PoolWindow<'_>) -> Result<Tensor> {
    max_over("max_pool", x, window.on("max_pool", x)?, window.sizes.len())
}

/// The mean of every window of the last axes of `x`; padding counts as zeros, or not at all.
///
/// ```
/// use luxon::{PoolWindow, Tensor, mean_pool};
/// let x = Tensor::new(&[1.0, 3.0, 5.0, 7.0], &[1, 1, 4])?;
/// assert_eq!(mean_pool(&x, &PoolWindow::new(&[2]), true)?.to_vec::<f64>()?, [2.0, 6.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`max_pool`], and [`Error::Value`] for a dilation.
pub fn mean_pool(x: &Tensor, window: &PoolWindow<'_>, count_include_pad: bool) -> Result<Tensor> {
    if window.dilation.is_some_and(|dilation| dilation.iter().any(|&step| step != 1)) {
        return Err(Error::value("mean_pool", "windows with gaps have no mean here; use dilation 1"));
    }
    mean_over("mean_pool", x, window.on("mean_pool", x)?, window.sizes.len(), count_include_pad, true)
}

/// `(mean of x^p over every window * elements of a window)^(1/p)`, as PyTorch has it: without padding it is the
/// p-norm of non-negative elements. Where the sum is 0 the gradient is 0.
///
/// ```
/// use luxon::{PoolWindow, Tensor, lp_pool};
/// let y = lp_pool(&Tensor::new(&[3.0, 4.0], &[1, 1, 2])?, &PoolWindow::new(&[2]), 2.0)?;
/// assert!((y.to_vec::<f64>()?[0] - 5.0).abs() < 1e-12);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`mean_pool`], and [`Error::Value`] for a p that is 0 or not finite.
pub fn lp_pool(x: &Tensor, window: &PoolWindow<'_>, p: f64) -> Result<Tensor> {
    check_power("lp_pool", p)?;
    let elements: f64 = window.sizes.iter().map(|&size| size as f64).product();
    root(&mean_pool(&pow(x, p)?, window, true)?.mul(elements)?, p)
}

/// The largest element of each of `output` windows on each of the last axes; see [`Windows::Adaptive`].
///
/// ```
/// use luxon::{Tensor, adaptive_max_pool};
/// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0, 5.0], &[1, 1, 5])?;
/// assert_eq!(adaptive_max_pool(&x, &[2])?.to_vec::<f64>()?, [3.0, 5.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for an axis without elements or 0 windows, [`Error::Type`] for a dtype that is not floating.
pub fn adaptive_max_pool(x: &Tensor, output: &[usize]) -> Result<Tensor> {
    max_over("adaptive_max_pool", x, adaptive("adaptive_max_pool", x, output)?, output.len())
}

/// The mean of each of `output` windows on each of the last axes; see [`Windows::Adaptive`].
///
/// ```
/// use luxon::{DType, Tensor, adaptive_mean_pool};
/// let x = Tensor::ones(&[2, 3, 7, 9], DType::F32)?;
/// assert_eq!(adaptive_mean_pool(&x, &[1, 1])?.shape()[..], [2, 3, 1, 1]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`adaptive_max_pool`].
pub fn adaptive_mean_pool(x: &Tensor, output: &[usize]) -> Result<Tensor> {
    let windows = adaptive("adaptive_mean_pool", x, output)?;
    mean_over("adaptive_mean_pool", x, windows, output.len(), true, true)
}

/// The root of the sum of powers of each of `output` windows on each of the last axes.
///
/// ```
/// use luxon::{Tensor, adaptive_lp_pool};
/// let y = adaptive_lp_pool(&Tensor::new(&[3.0, 4.0], &[1, 1, 2])?, &[1], 2.0)?;
/// assert!((y.to_vec::<f64>()?[0] - 5.0).abs() < 1e-12);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`adaptive_max_pool`], and [`Error::Value`] for a p that is 0 or not finite.
pub fn adaptive_lp_pool(x: &Tensor, output: &[usize], p: f64) -> Result<Tensor> {
    check_power("adaptive_lp_pool", p)?;
    let windows = adaptive("adaptive_lp_pool", x, output)?;
    root(&mean_over("adaptive_lp_pool", &pow(x, p)?, windows, output.len(), true, false)?, p)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
