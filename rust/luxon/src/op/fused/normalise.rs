//! The normalisations that users call: checks, dtypes, and the operation behind each.
//!
//! Operands of different floating dtypes are promoted; half types are computed in f32 and rounded once.

use smallvec::{SmallVec, smallvec};

use super::norm::{Norm, Over};
use super::{compute_dtype, joined_float, taken_dtype};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::show;
use crate::op::{Family, Outputs, apply_all};
use crate::tensor::Tensor;

/// The operands of a norm in the dtype that kernels compute in, checked against each other.
fn run(
    norm: Norm,
    x: &Tensor,
    statistics: &[&Tensor],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Result<(Outputs, DType)> {
    let norm = Norm { weight: weight.is_some(), bias: bias.is_some(), ..norm };
    let mut operands: SmallVec<[&Tensor; 5]> = smallvec![x];
    operands.extend(statistics.iter().copied());
    operands.extend(weight);
    operands.extend(bias);
    let affine = norm.affine_shape(x.shape())?;
    if operands[1..].iter().any(|operand| *operand.shape() != affine) {
        let names = ["mean", "variance"].into_iter().take(statistics.len());
        let names = names.chain(weight.map(|_| "weight")).chain(bias.map(|_| "bias"));
        let shapes: Vec<String> =
            names.zip(&operands[1..]).map(|(name, operand)| format!("{name} {}", show(operand.shape()))).collect();
        return Err(Error::shape(
            norm.name(),
            format_args!(
                "x {}, {} do not fit: expected {} for each after x",
                show(x.shape()),
                shapes.join(", "),
                show(&affine)
            ),
        ));
    }
    let dtype = joined_float(norm.name(), &operands)?;
    let compute = compute_dtype(dtype);
    let dtypes = std::iter::once(taken_dtype(x, dtype)).chain(std::iter::repeat(compute));
    let cast = operands.iter().zip(dtypes).map(|(operand, dtype)| operand.cast(dtype));
    let cast = cast.collect::<Result<SmallVec<[Tensor; 5]>>>()?;
    Ok((apply_all(norm.into(), &cast.iter().collect::<SmallVec<[&Tensor; 5]>>())?, dtype))
}

fn check_eps(op: &str, eps: f64) -> Result<()> {
    if eps >= 0.0 {
        return Ok(());
    }
    Err(Error::value(op, format_args!("eps must not be negative, got {eps}")))
}

/// The first of `axes` trailing axes.
fn trailing(op: &str, x: &Tensor, axes: usize) -> Result<usize> {
    match x.rank().checked_sub(axes) {
        Some(first) if axes > 0 => Ok(first),
        _ => Err(Error::shape(
            op,
            format_args!("cannot normalise over {axes} trailing axes of shape {}", show(x.shape())),
        )),
    }
}

/// Normalises over the last `axes` axes; weight and bias have their sizes (Ba, Kiros and Hinton 2016).
///
/// ```
/// use luxon::{Tensor, layer_norm};
/// let x = Tensor::new(&[1.0, 3.0, 10.0, 30.0], &[2, 2])?;
/// let y = layer_norm(&x, None, None, 1, 0.0)?; // Over the last axis.
/// assert!(y.allclose(&Tensor::new(&[-1.0, 1.0, -1.0, 1.0], &[2, 2])?, 1e-12, 0.0, false)?);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where shapes do not fit, [`Error::Type`] for operands that are not floating,
/// [`Error::Value`] for a negative eps.
pub fn layer_norm(x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>, axes: usize, eps: f64) -> Result<Tensor> {
    check_eps("layer_norm", eps)?;
    let over = Over::Layer { first: trailing("layer_norm", x, axes)? };
    let (mut outputs, dtype) = run(Norm { over, eps, weight: false, bias: false }, x, &[], weight, bias)?;
    outputs.swap_remove(0).cast(dtype)
}

/// `x / sqrt(mean(x^2) + eps) * weight` over the last `axes` axes (Zhang and Sennrich 2019).
///
/// ```
/// use luxon::{Tensor, rms_norm};
/// let y = rms_norm(&Tensor::new(&[3.0, 4.0], &[1, 2])?, None, 1, 0.0)?;
/// assert!((y.square()?.mean(None, false)?.to_vec::<f64>()?[0] - 1.0).abs() < 1e-12);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`layer_norm`].
pub fn rms_norm(x: &Tensor, weight: Option<&Tensor>, axes: usize, eps: f64) -> Result<Tensor> {
    check_eps("rms_norm", eps)?;
    let over = Over::Rms { first: trailing("rms_norm", x, axes)? };
    let (mut outputs, dtype) = run(Norm { over, eps, weight: false, bias: false }, x, &[], weight, None)?;
    outputs.swap_remove(0).cast(dtype)
}

fn check_channels(op: &str, x: &Tensor) -> Result<usize> {
    if x.rank() < 2 {
        return Err(Error::shape(op, format_args!("expected (batch, channels, ...), got {}", show(x.shape()))));
    }
    Ok(x.shape()[1])
}

/// Normalises each channel (axis 1) over all other axes, and returns the result with the batch's mean and
/// biased variance per channel, both outside differentiation (Ioffe and Szegedy 2015).
///
/// ```
/// use luxon::{Tensor, batch_norm};
/// let x = Tensor::new(&[1.0, 10.0, 3.0, 30.0], &[2, 2])?;
/// let (y, mean, variance) = batch_norm(&x, None, None, 0.0)?;
/// assert!(y.allclose(&Tensor::new(&[-1.0, -1.0, 1.0, 1.0], &[2, 2])?, 1e-12, 0.0, false)?);
/// assert_eq!((mean.to_vec::<f64>()?, variance.to_vec::<f64>()?), (vec![2.0, 20.0], vec![1.0, 100.0]));
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`layer_norm`]; [`Error::Value`] where there are fewer than two values per channel.
pub fn batch_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<(Tensor, Tensor, Tensor)> {
    check_eps("batch_norm", eps)?;
    let channels = check_channels("batch_norm", x)?;
    let values = x.shape().iter().enumerate().filter(|&(axis, _)| axis != 1).map(|(_, &size)| size).product::<usize>();
    if values < 2 && channels > 0 {
        return Err(Error::value(
            "batch_norm",
            format_args!("needs more than one value per channel in training, got shape {}", show(x.shape())),
        ));
    }
    let (mut outputs, dtype) = run(Norm { over: Over::Batch, eps, weight: false, bias: false }, x, &[], weight, bias)?;
    let y = outputs.swap_remove(0).cast(dtype)?;
    Ok((y, outputs[1].clone(), outputs[2].clone()))
}

/// Normalises each channel (axis 1) by the given mean and variance.
///
/// ```
/// use luxon::{Tensor, batch_norm_inference};
/// let (mean, variance) = (Tensor::new(&[2.0], &[1])?, Tensor::new(&[4.0], &[1])?);
/// let y = batch_norm_inference(&Tensor::new(&[2.0, 6.0], &[2, 1])?, &mean, &variance, None, None, 0.0)?;
/// assert!(y.allclose(&Tensor::new(&[0.0, 2.0], &[2, 1])?, 1e-12, 0.0, false)?);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`layer_norm`].
pub fn batch_norm_inference(
    x: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    check_eps("batch_norm", eps)?;
    check_channels("batch_norm", x)?;
    let (mut outputs, dtype) =
        run(Norm { over: Over::Given, eps, weight: false, bias: false }, x, &[mean, variance], weight, bias)?;
    outputs.swap_remove(0).cast(dtype)
}

/// Normalises each of `groups` groups of channels (axis 1) of each example (Wu and He 2018); weight and
/// bias go by channel. Instance norm is one group per channel.
///
/// ```
/// use luxon::{DType, Key, Tensor, group_norm, random};
/// let x = random::normal(Key::new(0), &[2, 6, 5, 5], DType::F64)?;
/// let y = group_norm(&x, 3, None, None, 1e-5)?;
/// let mean = y.reshape(&[2, 3, -1])?.mean(Some(&[-1]), false)?;
/// assert!(mean.allclose(&Tensor::zeros(&[2, 3], DType::F64)?, 0.0, 1e-12, false)?);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`layer_norm`]; [`Error::Value`] where the groups do not divide the channels.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    check_eps("group_norm", eps)?;
    let channels = check_channels("group_norm", x)?;
    if groups == 0 || channels % groups != 0 {
        return Err(Error::value(
            "group_norm",
            format_args!("{groups} groups do not divide {channels} channels of shape {}", show(x.shape())),
        ));
    }
    let (mut outputs, dtype) =
        run(Norm { over: Over::Group { groups }, eps, weight: false, bias: false }, x, &[], weight, bias)?;
    outputs.swap_remove(0).cast(dtype)
}

/// Normalises each channel (axis 1) of each example over the axes after it.
///
/// ```
/// use luxon::{DType, Key, Tensor, instance_norm, random};
/// let x = random::normal(Key::new(0), &[2, 3, 5, 5], DType::F64)?;
/// let mean = instance_norm(&x, None, None, 1e-5)?.mean(Some(&[2, 3]), false)?;
/// assert!(mean.allclose(&Tensor::zeros(&[2, 3], DType::F64)?, 0.0, 1e-12, false)?);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`layer_norm`].
pub fn instance_norm(x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let channels = check_channels("instance_norm", x)?;
    if channels == 0 {
        return Ok(x.clone());
    }
    group_norm(x, channels, weight, bias, eps)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::testing::sample;

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::zeros(shape, DType::F32).unwrap()
    }

    #[test]
    fn statistics_come_back_outside_differentiation() {
        let x = sample(&[4, 2, 3], -1.0, 1.0, 1);
        let (y, mean, variance) = batch_norm(&x, None, None, 1e-5).unwrap();
        let expected = x.var(Some(&[0, 2]), 0.0, false).unwrap();
        for (a, b) in variance.to_vec::<f64>().unwrap().iter().zip(expected.to_vec::<f64>().unwrap()) {
            assert!((a - b).abs() < 1e-12);
        }
        let given = batch_norm_inference(&x, &mean, &variance, None, None, 1e-5).unwrap();
        for (a, b) in y.to_vec::<f64>().unwrap().iter().zip(given.to_vec::<f64>().unwrap()) {
            assert!((a - b).abs() < 1e-12);
        }
        let slope = crate::grad(|x| batch_norm(&x[0], None, None, 1e-5)?.1.sum(None, false), &[x]);
        assert!(slope.unwrap()[0].to_vec::<f64>().unwrap().iter().all(|&value| value == 0.0));
    }

    #[test]
    fn half_types_are_computed_in_single_precision() {
        let x = sample(&[3, 8], -1.0, 1.0, 1).cast(DType::BF16).unwrap();
        let y = layer_norm(&x, None, None, 1, 1e-5).unwrap();
        assert_eq!(y.dtype(), DType::BF16);
        let wide = layer_norm(&x.cast(DType::F32).unwrap(), None, None, 1, 1e-5).unwrap().cast(DType::BF16).unwrap();
        assert_eq!(y.to_vec::<half::bf16>().unwrap(), wide.to_vec::<half::bf16>().unwrap());
        assert_eq!(instance_norm(&zeros(&[2, 0, 3]), None, None, 1e-5).unwrap().shape()[..], [2, 0, 3]);
    }

    #[test]
    fn refusals_name_every_shape() {
        let text = |result: Result<Tensor>| result.unwrap_err().to_string();
        assert_eq!(
            text(layer_norm(&zeros(&[4, 8]), Some(&zeros(&[7])), Some(&zeros(&[8])), 1, 1e-5)),
            "layer_norm: x (4, 8), weight (7,), bias (8,) do not fit: expected (8,) for each after x"
        );
        assert_eq!(
            text(layer_norm(&zeros(&[4]), None, None, 2, 1e-5)),
            "layer_norm: cannot normalise over 2 trailing axes of shape (4,)"
        );
        assert_eq!(
            text(group_norm(&zeros(&[2, 6, 4]), 4, None, None, 1e-5)),
            "group_norm: 4 groups do not divide 6 channels of shape (2, 6, 4)"
        );
        assert_eq!(text(rms_norm(&zeros(&[2]), None, 1, -1.0)), "rms_norm: eps must not be negative, got -1");
        assert_eq!(
            text(batch_norm(&zeros(&[1, 3]), None, None, 1e-5).map(|outputs| outputs.0)),
            "batch_norm: needs more than one value per channel in training, got shape (1, 3)"
        );
        assert_eq!(
            text(instance_norm(&zeros(&[3]), None, None, 1e-5)),
            "instance_norm: expected (batch, channels, ...), got (3,)"
        );
    }
}
