//! Convolution and transposed convolution as users call them.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Conv, MOST_AXES, Motion, Product};
use crate::error::{Error, Result};
use crate::layout::{Shape, show};
use crate::op::apply;
use crate::op::elementwise::Map;
use crate::op::fused::activation::Activation;
use crate::op::fused::{joined_float, taken_dtype};
use crate::tensor::Tensor;

/// Zeros around the image.
///
/// ```
/// use luxon::{ConvOptions, DType, Margins, Tensor, conv};
/// let (x, weight) = (Tensor::ones(&[1, 1, 5], DType::F32)?, Tensor::ones(&[1, 1, 3], DType::F32)?);
/// let same = ConvOptions { padding: Margins::Same, ..Default::default() };
/// assert_eq!(conv(&x, &weight, None, &same)?.to_vec::<f32>()?, [2.0, 3.0, 3.0, 3.0, 2.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Margins {
    /// (before, after) for each spatial axis; one pair serves all.
    Pairs(Vec<(usize, usize)>),
    /// As many as give as many outputs as there are inputs at stride 1, the odd one after.
    Same,
}

/// How the kernel moves. Lists have one entry for each spatial axis, or one for all.
///
/// ```
/// use luxon::{ConvOptions, DType, Tensor, conv};
/// let (x, weight) = (Tensor::ones(&[1, 4, 9, 9], DType::F32)?, Tensor::ones(&[8, 2, 3, 3], DType::F32)?);
/// let options = ConvOptions { stride: vec![2], groups: 2, ..Default::default() };
/// assert_eq!(conv(&x, &weight, None, &options)?.shape()[..], [1, 8, 4, 4]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConvOptions {
    /// From one output to the next.
    pub stride: Vec<usize>,
    /// Zeros around the image.
    pub padding: Margins,
    /// From one tap to the next.
    pub dilation: Vec<usize>,
    /// Groups of channels that do not see one another.
    pub groups: usize,
    /// Applied to the result.
    pub activation: Option<Map>,
}

impl Default for ConvOptions {
    fn default() -> Self {
        ConvOptions {
            stride: vec![1],
            padding: Margins::Pairs(vec![(0, 0)]),
            dilation: vec![1],
            groups: 1,
            activation: None,
        }
    }
}

/// The entry for an axis of a list with one entry for each, or one for all.
fn entry<T: Copy>(op: &str, what: &str, list: &[T], axis: usize, axes: usize) -> Result<T> {
    match list {
        [one] => Ok(*one),
        _ if list.len() == axes => Ok(list[axis]),
        _ => Err(Error::value(op, format_args!("{what} has {} entries for {axes} spatial axes", list.len()))),
    }
}

impl ConvOptions {
    fn motions(&self, op: &str, kernel: &[usize]) -> Result<Vec<Motion>> {
        let axes = kernel.len();
        let too_large = |what: &str| Error::Overflow(format!("{op}: the {what} is too large"));
        (0..axes)
            .map(|axis| {
                let stride = entry(op, "stride", &self.stride, axis, axes)?;
                let dilation = entry(op, "dilation", &self.dilation, axis, axes)?;
                if stride == 0 || dilation == 0 {
                    return Err(Error::value(
                        op,
                        format_args!("stride and dilation must be positive, got {stride} and {dilation}"),
                    ));
                }
                let reach =
                    kernel[axis].saturating_sub(1).checked_mul(dilation).ok_or_else(|| too_large("dilation"))?;
                let (before, after) = match &self.padding {
                    Margins::Pairs(pairs) => entry(op, "padding", pairs, axis, axes)?,
                    Margins::Same if stride == 1 => (reach / 2, reach - reach / 2),
                    Margins::Same => {
                        return Err(Error::value(op, format_args!("padding \"same\" needs stride 1, got {stride}")));
                    }
                };
                let signed = |size: usize| isize::try_from(size).map_err(|_| too_large("padding"));
                // Sums of a few of these stay in range.
                for size in [stride, reach, before, after] {
                    if size > isize::MAX as usize / 8 {
                        return Err(too_large("stride, dilation or padding"));
                    }
                }
                Ok(Motion { stride, dilation, padding: (signed(before)?, signed(after)?) })
            })
            .collect()
    }
}

/// The spatial axes of the operands.
fn spatial<'a>(op: &str, x: &Tensor, weight: &'a Tensor) -> Result<&'a [usize]> {
    if x.rank() != weight.rank() || x.rank() < 3 || x.rank() > MOST_AXES + 2 {
        return Err(Error::shape(
            op,
            format_args!(
                "x {}, weight {} do not fit: expected (batch, channels, spatial...) and a weight with as many axes, \
                 one to three of them spatial",
                show(x.shape()),
                show(weight.shape())
            ),
        ));
    }
    Ok(&weight.shape()[2..])
}

/// Applies a product in the dtype that kernels take.
fn run(op: Conv, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let cast: SmallVec<[Tensor; 3]>;
    let mut operands: SmallVec<[&Tensor; 3]> = smallvec::smallvec![x, weight];
    operands.extend(bias);
    let name = if op.product == Product::Forward { "conv" } else { "conv_transpose" };
    let dtype = joined_float(name, &operands)?;
    let compute = taken_dtype(x, dtype);
    if operands.iter().any(|operand| operand.dtype() != compute) {
        cast = operands.iter().map(|operand| operand.cast(compute)).collect::<Result<_>>()?;
        operands = cast.iter().collect();
    }
    let tracked = operands.iter().any(|operand| operand.is_tracked());
    let y = if op.activation.reads_argument() && tracked {
        // The rule reads the activation's argument, which recording the two apart keeps anyway.
        op.activation.check(name)?;
        op.activation.apply(apply(op.plain(), &operands)?)?
    } else {
        apply(op, &operands)?
    };
    if dtype == compute { Ok(y) } else { y.cast(dtype) }
}

/// The convolution (cross-correlation) of x (batch, channels, spatial...) by weight (filters, channels / groups,
/// kernel...), plus bias (filters,), with one, two or three spatial axes.
///
/// ```
/// use luxon::{ConvOptions, Tensor, conv};
/// let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], &[1, 1, 4])?;
/// let weight = Tensor::new(&[1.0f32, -1.0], &[1, 1, 2])?;
/// assert_eq!(conv(&x, &weight, None, &ConvOptions::default())?.to_vec::<f32>()?, [-1.0, -1.0, -1.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit, [`Error::Value`] for options out of range, [`Error::Type`] for
/// operands that are not floating.
pub fn conv(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, options: &ConvOptions) -> Result<Tensor> {
    let motions: Arc<[Motion]> = options.motions("conv", spatial("conv", x, weight)?)?.into();
    let activation = Activation(options.activation);
    run(Conv { product: Product::Forward, motions, groups: options.groups, activation }, x, weight, bias)
}

/// The transposed convolution: what [`conv`] with the same options does to cotangents. x is (batch, channels,
/// spatial...), weight (channels, filters / groups, kernel...), bias (filters,).
///
/// The spatial sizes are `(size - 1) * stride - padding + dilation * (kernel - 1) + 1 + output_padding`.
///
/// ```
/// use luxon::{ConvOptions, DType, Tensor, conv_transpose};
/// let (x, weight) = (Tensor::new(&[1.0, 2.0], &[1, 1, 2])?, Tensor::ones(&[1, 1, 2], DType::F64)?);
/// let options = ConvOptions { stride: vec![2], ..Default::default() };
/// assert_eq!(conv_transpose(&x, &weight, None, &[0], &options)?.to_vec::<f64>()?, [1.0, 1.0, 2.0, 2.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As for [`conv`]; also where `output_padding` is not smaller than stride or dilation.
pub fn conv_transpose(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    output_padding: &[usize],
    options: &ConvOptions,
) -> Result<Tensor> {
    let op = "conv_transpose";
    let kernel = spatial(op, x, weight)?;
    if options.padding == Margins::Same {
        return Err(Error::value(op, "padding \"same\" is not defined; give numbers"));
    }
    let mut motions = options.motions(op, kernel)?;
    let mut sizes = Shape::new();
    for (axis, motion) in motions.iter_mut().enumerate() {
        let more = entry(op, "output_padding", output_padding, axis, kernel.len())?;
        if more >= motion.stride.max(motion.dilation) && more > 0 {
            return Err(Error::value(
                op,
                format_args!(
                    "output_padding {more} must be smaller than stride {} or dilation {}",
                    motion.stride, motion.dilation
                ),
            ));
        }
        let (size, taps) = (x.shape()[axis + 2], kernel[axis]);
        let whole = || {
            let steps = isize::try_from(size).ok()?.checked_sub(1)?.checked_mul(motion.stride as isize)?;
            let reach = isize::try_from(taps).ok()?.checked_sub(1)?.checked_mul(motion.dilation as isize)?;
            let sum = steps.checked_add(reach)?.checked_add(1 + more as isize)?;
            sum.checked_sub(motion.padding.0)?.checked_sub(motion.padding.1)
        };
        match whole() {
            Some(whole) if whole > 0 && size > 0 => sizes.push(whole as usize)?,
            _ => {
                return Err(Error::shape(
                    op,
                    format_args!(
                        "x {}, weight {} do not fit: padding {} and {} leaves nothing of axis {}",
                        show(x.shape()),
                        show(weight.shape()),
                        motion.padding.0,
                        motion.padding.1,
                        axis + 2
                    ),
                ));
            }
        }
        // What is added behind has no counterpart in the convolution.
        motion.padding.1 -= more as isize;
    }
    let product = Product::Data(sizes);
    let conv =
        Conv { product, motions: motions.into(), groups: options.groups, activation: Activation(options.activation) };
    run(conv, x, weight, bias)
}
