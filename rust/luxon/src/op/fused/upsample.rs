//! Changing the resolution of the last axes: interpolation, and moving channels into space and back.
//!
//! Interpolation goes one axis after the other, each a product with a sparse matrix whose rows are the
//! weights of an output. Positions and weights are PyTorch's: `scale` is used as it was given, an output
//! stands at `(o + 0.5) / scale - 0.5` or, with aligned corners, at `o * (input - 1) / (output - 1)`.

use super::resample::{Matrix, along};
use super::{compute_dtype, joined_float};
use crate::error::{Error, Result};
use crate::layout::{self, Shape, show};
use crate::tensor::Tensor;

/// How values between elements are found.
///
/// ```
/// use luxon::{Interpolation, Tensor, UpsampleTo, upsample};
/// let x = Tensor::new(&[0.0, 4.0], &[1, 1, 2])?;
/// let to = UpsampleTo::Size(&[4]);
/// assert_eq!(upsample(&x, to, Interpolation::Nearest, false)?.to_vec::<f64>()?, [0.0, 0.0, 4.0, 4.0]);
/// assert_eq!(upsample(&x, to, Interpolation::Linear, false)?.to_vec::<f64>()?, [0.0, 1.0, 3.0, 4.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The element at or before the position.
    Nearest,
    /// A straight line between neighbours; over several axes bilinear and trilinear.
    Linear,
    /// Cubic convolution with a = -0.75 (Keys 1981).
    Cubic,
}

/// What the resolution becomes.
///
/// ```
/// use luxon::{DType, Interpolation, Tensor, UpsampleTo, upsample};
/// let x = Tensor::zeros(&[1, 3, 8, 8], DType::F32)?;
/// let doubled = upsample(&x, UpsampleTo::Scale(&[2.0, 2.0]), Interpolation::Linear, false)?;
/// assert_eq!(doubled.shape()[..], [1, 3, 16, 16]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum UpsampleTo<'a> {
    /// A multiple, rounded down, for each of the last axes.
    Scale(&'a [f64]),
    /// So many elements on each of the last axes.
    Size(&'a [usize]),
}

/// One axis to be resampled.
#[derive(Clone, Copy)]
struct Resampled {
    input: usize,
    output: usize,
    scale: Option<f64>,
}

impl Resampled {
    /// Where output `at` stands on the input; before the first element only if `outside` allows it.
    fn position(&self, at: usize, align_corners: bool, outside: bool) -> f64 {
        let (input, output, at) = (self.input as f64, self.output as f64, at as f64);
        if align_corners {
            return if self.output > 1 { at * ((input - 1.0) / (output - 1.0)) } else { 0.0 };
        }
        let step = self.scale.map_or(input / output, |scale| 1.0 / scale);
        let position = step * (at + 0.5) - 0.5;
        if outside { position } else { position.max(0.0) }
    }

    /// The element that stands for output `at`; computed in f32, as PyTorch does.
    fn nearest(&self, at: usize) -> usize {
        let step = self.scale.map_or(self.input as f32 / self.output as f32, |scale| (1.0 / scale) as f32);
        ((at as f32 * step) as usize).min(self.input - 1)
    }

    /// Elements and weights for output `at`.
    fn weights(&self, at: usize, mode: Interpolation, align_corners: bool) -> Vec<(usize, f64)> {
        let last = self.input - 1;
        match mode {
            Interpolation::Nearest => vec![(self.nearest(at), 1.0)],
            Interpolation::Linear => {
                let position = self.position(at, align_corners, false);
                let low = (position as usize).min(last);
                let share = (position - low as f64).clamp(0.0, 1.0);
                if low == last { vec![(low, 1.0)] } else { vec![(low, 1.0 - share), (low + 1, share)] }
            }
            Interpolation::Cubic => {
                let position = self.position(at, align_corners, true);
                let low = position.floor();
                let share = position - low;
                let weight = |tap: usize| cubic((share + 1.0 - tap as f64).abs());
                let place = |tap: usize| (low + tap as f64 - 1.0).clamp(0.0, last as f64) as usize;
                (0..4).map(|tap| (place(tap), weight(tap))).collect()
            }
        }
    }
}

/// The cubic convolution kernel at a distance below 2.
fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.75;
    let d = distance;
    if d <= 1.0 { ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0 } else { ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A }
}

/// The last axes of `x` at another resolution, by interpolation.
///
/// ```
/// use luxon::{Interpolation, Tensor, UpsampleTo, upsample};
/// let x = Tensor::new(&[0.0, 3.0], &[1, 1, 2])?;
/// let y = upsample(&x, UpsampleTo::Size(&[4]), Interpolation::Linear, true)?;
/// assert!(y.allclose(&Tensor::new(&[0.0, 1.0, 2.0, 3.0], &[1, 1, 4])?, 1e-6, 1e-6, false)?);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for scales and sizes that are not positive, and for aligned corners of the nearest element;
/// [`Error::Shape`] for axes without elements or fewer axes than scales; [`Error::Type`] for a dtype that is not
/// floating; [`Error::Overflow`] for a result that is too large.
pub fn upsample(x: &Tensor, to: UpsampleTo<'_>, mode: Interpolation, align_corners: bool) -> Result<Tensor> {
    let dtype = joined_float("upsample", &[x])?;
    let count = match to {
        UpsampleTo::Scale(scales) => scales.len(),
        UpsampleTo::Size(sizes) => sizes.len(),
    };
    if count == 0 || x.rank() < count {
        let text = format!("{count} scales or sizes for an input of shape {}", show(x.shape()));
        return Err(Error::shape("upsample", text));
    }
    if align_corners && mode == Interpolation::Nearest {
        return Err(Error::value("upsample", "align_corners has no meaning with the nearest element"));
    }
    let first = x.rank() - count;
    let mut shape = *x.shape();
    let mut axes = Vec::with_capacity(count);
    for axis in 0..count {
        let input = x.shape()[first + axis];
        let (output, scale) = match to {
            UpsampleTo::Size(sizes) => (sizes[axis], None),
            UpsampleTo::Scale(scales) => {
                let scale = scales[axis];
                if !(scale > 0.0 && scale.is_finite()) {
                    return Err(Error::value("upsample", format_args!("a scale must be positive, got {scale}")));
                }
                ((input as f64 * scale) as usize, Some(scale))
            }
        };
        if input == 0 || output == 0 {
            let text = format!("cannot make {output} elements of axis {} of shape {}", first + axis, show(x.shape()));
            return Err(Error::shape("upsample", text));
        }
        shape[first + axis] = output;
        axes.push(Resampled { input, output, scale });
    }
    layout::count(&shape)?;
    let mut y = x.cast(compute_dtype(dtype))?;
    for (axis, resampled) in axes.into_iter().enumerate() {
        let terms = match mode {
            Interpolation::Nearest => 1,
            Interpolation::Linear => 2,
            Interpolation::Cubic => 4,
        };
        let row = |at: usize| resampled.weights(at, mode, align_corners);
        let matrix = Matrix::new(resampled.input, resampled.output, terms * resampled.output, row)?;
        y = along(&y, first + axis, matrix)?;
    }
    y.cast(dtype)
}

/// (N, C * r^n, spatial...) to (N, C, spatial * r...): blocks of channels become r by r pixels (Shi et al. 2016).
///
/// ```
/// use luxon::{DType, Tensor, pixel_shuffle};
/// let y = pixel_shuffle(&Tensor::new(&[1, 2, 3, 4], &[1, 4, 1, 1])?.cast(DType::F32)?, 2)?;
/// assert_eq!((&y.shape()[..], y.to_vec::<f32>()?), (&[1, 1, 2, 2][..], vec![1.0, 2.0, 3.0, 4.0]));
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where the channels are no multiple of r^n, for fewer than three axes, or more than three
/// spatial ones; [`Error::Value`] for an r of 0.
pub fn pixel_shuffle(x: &Tensor, r: usize) -> Result<Tensor> {
    let (rank, block) = shuffled("pixel_shuffle", x, r)?;
    let (channels, spatial) = (x.shape()[1], &x.shape()[2..]);
    if !channels.is_multiple_of(block) {
        let text = format!("{channels} channels of shape {} are no multiple of {r}^{rank}", show(x.shape()));
        return Err(Error::shape("pixel_shuffle", text));
    }
    // (N, C, r..., spatial...) to (N, C, spatial and r in turn), each pair one axis.
    let factors = std::iter::repeat_n(r, rank);
    let parts = [x.shape()[0], channels / block].into_iter().chain(factors).chain(spatial.iter().copied());
    let order: Vec<isize> = (0..rank).flat_map(|axis| [2 + rank + axis, 2 + axis]).map(|axis| axis as isize).collect();
    let order: Vec<isize> = [0, 1].into_iter().chain(order).collect();
    let moved = x.reshape_to(&Shape::collect(parts)?)?.permute(&order)?;
    let shape = [x.shape()[0], channels / block].into_iter().chain(spatial.iter().map(|size| size.saturating_mul(r)));
    moved.reshape_to(&Shape::collect(shape)?)
}

/// The inverse of [`pixel_shuffle`]: r by r pixels become blocks of channels.
///
/// ```
/// use luxon::{DType, Tensor, pixel_unshuffle};
/// assert_eq!(pixel_unshuffle(&Tensor::zeros(&[1, 3, 8, 8], DType::F32)?, 2)?.shape()[..], [1, 12, 4, 4]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where a spatial axis is no multiple of r, for fewer than three axes, or more than three
/// spatial ones; [`Error::Value`] for an r of 0.
pub fn pixel_unshuffle(x: &Tensor, r: usize) -> Result<Tensor> {
    let (rank, block) = shuffled("pixel_unshuffle", x, r)?;
    let (channels, spatial) = (x.shape()[1], &x.shape()[2..]);
    if spatial.iter().any(|size| !size.is_multiple_of(r)) {
        let text = format!("the spatial axes of shape {} are no multiples of {r}", show(x.shape()));
        return Err(Error::shape("pixel_unshuffle", text));
    }
    let parts = [x.shape()[0], channels].into_iter().chain(spatial.iter().flat_map(|size| [size / r, r]));
    let order = [0, 1].into_iter().chain((0..rank).map(|axis| 3 + 2 * axis)).chain((0..rank).map(|axis| 2 + 2 * axis));
    let order: Vec<isize> = order.map(|axis| axis as isize).collect();
    let moved = x.reshape_to(&Shape::collect(parts)?)?.permute(&order)?;
    let channels =
        channels.checked_mul(block).ok_or_else(|| Error::Overflow("pixel_unshuffle: too many channels".into()))?;
    let shape = [x.shape()[0], channels].into_iter().chain(spatial.iter().map(|size| size / r));
    moved.reshape_to(&Shape::collect(shape)?)
}

/// The number of spatial axes and r to its power.
fn shuffled(op: &str, x: &Tensor, r: usize) -> Result<(usize, usize)> {
    if r == 0 {
        return Err(Error::value(op, "the factor must be at least 1"));
    }
    if !(3..=5).contains(&x.rank()) {
        let text = format!("got shape {}, expected (batch, channels, 1 to 3 spatial axes)", show(x.shape()));
        return Err(Error::shape(op, text));
    }
    let rank = x.rank() - 2;
    let block = (0..rank).try_fold(1usize, |block, _| block.checked_mul(r));
    let block = block.filter(|&block| block < isize::MAX as usize);
    Ok((rank, block.ok_or_else(|| Error::Overflow(format!("{op}: a factor of {r} is too large")))?))
}
