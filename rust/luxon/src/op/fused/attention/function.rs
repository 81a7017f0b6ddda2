//! The attention that users call: checks, dtypes, and any number of leading axes.

use smallvec::SmallVec;

use super::Attention;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Shape, broadcast_shapes, count, show};
use crate::op::apply;
use crate::op::fused::{compute_dtype, joined_float};
use crate::tensor::Tensor;

const NAME: &str = "scaled_dot_product_attention";

/// How scores are made and masked.
///
/// ```
/// use luxon::{AttentionOptions, DType, Key, random, scaled_dot_product_attention};
/// let x = random::normal(Key::new(0), &[1, 2, 4, 8], DType::F32)?;
/// let options = AttentionOptions { causal: true, ..Default::default() };
/// let y = scaled_dot_product_attention(&x, &x, &x, options)?;
/// // The first query meets the first key alone.
/// assert!(y.narrow(2, 0, 1)?.allclose(&x.narrow(2, 0, 1)?, 1e-6, 1e-6, false)?);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Default)]
pub struct AttentionOptions<'a> {
    /// True where a query meets a key; broadcasts to the scores, (..., heads, queries, keys).
    pub mask: Option<&'a Tensor>,
    /// Added to the scores; broadcasts to them.
    pub bias: Option<&'a Tensor>,
    /// Whether query i meets keys 0 to i only.
    pub causal: bool,
    /// What the products are multiplied by; none is `1 / sqrt(dim)`.
    pub scale: Option<f64>,
    /// Whether the axes are (..., time, heads, dim), not (..., heads, time, dim).
    pub time_first: bool,
}

/// `softmax(q k^T scale + bias) v` for each head (Vaswani et al. 2017), zeros for queries that meet no key.
///
/// q is (..., heads, queries, dim), k (..., heads, keys, dim) and v (..., heads, keys, any), where k and v may have
/// fewer heads: neighbouring heads of q share one (Ainslie et al. 2023). The leading axes broadcast.
///
/// ```
/// use luxon::{AttentionOptions, DType, Tensor, scaled_dot_product_attention};
/// let (q, k) = (Tensor::zeros(&[1, 1, 2, 4], DType::F64)?, Tensor::ones(&[1, 1, 3, 4], DType::F64)?);
/// let v = Tensor::new(&[1.0, 2.0, 6.0], &[1, 1, 3, 1])?;
/// // All scores are equal, so each query gets the mean.
/// let y = scaled_dot_product_attention(&q, &k, &v, AttentionOptions::default())?;
/// assert!(y.allclose(&Tensor::full(&[1, 1, 2, 1], 3.0, DType::F64)?, 1e-12, 0.0, false)?);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where shapes do not fit, [`Error::Type`] for operands that are not floating or a mask
/// that is not of bool.
pub fn scaled_dot_product_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: AttentionOptions<'_>,
) -> Result<Tensor> {
    let refuse = |what: &str| {
        let mut named = vec![("q", q), ("k", k), ("v", v)];
        named.extend(options.mask.map(|mask| ("mask", mask)));
        named.extend(options.bias.map(|bias| ("bias", bias)));
        let texts: Vec<String> =
            named.iter().map(|(name, tensor)| format!("{name} {}", show(tensor.shape()))).collect();
        Error::shape(NAME, format_args!("{} do not fit: {what}", texts.join(", ")))
    };
    if [q, k, v].iter().any(|tensor| tensor.rank() < 3) {
        return Err(refuse("expected (..., heads, time, dim) for each of q, k and v"));
    }
    let mut leading = Shape::new();
    for tensor in [q, k, v] {
        leading = broadcast_shapes(NAME, &leading, &tensor.shape()[..tensor.rank() - 3])
            .map_err(|_| refuse("the axes before the heads do not broadcast"))?;
    }
    if let Some(mask) = options.mask.filter(|mask| mask.dtype() != DType::Bool) {
        return Err(Error::dtype(
            NAME,
            format_args!("the mask is of {}, expected bool (true = attend); give numbers to add as bias", mask.dtype()),
        ));
    }
    if options.scale.is_some_and(f64::is_nan) {
        return Err(Error::value(NAME, "the scale is not a number"));
    }
    let mut floats: SmallVec<[&Tensor; 4]> = [q, k, v].into_iter().collect();
    floats.extend(options.bias);
    let dtype = joined_float(NAME, &floats)?;
    let compute = compute_dtype(dtype);

    let batch = count(&leading)?;
    let folded = |tensor: &Tensor| {
        let (mut whole, mut shape) = (leading, Shape::from_slice(&[batch])?);
        for &size in &tensor.shape()[tensor.rank() - 3..] {
            whole.push(size)?;
            shape.push(size)?;
        }
        tensor.cast(compute)?.broadcast_to(&whole)?.reshape_to(&shape)
    };
    // Counted from the last axis.
    let (heads, time) = if options.time_first { (2, 3) } else { (3, 2) };
    let size = |tensor: &Tensor, axis: usize| tensor.shape()[tensor.rank() - axis];
    let mut scores = leading;
    for size in [size(q, heads), size(q, time), size(k, time)] {
        scores.push(size)?;
    }
    // A mask or bias keeps its axes of size 1, but for the leading ones where it varies along some.
    let spread = |tensor: &Tensor| {
        let fits = broadcast_shapes(NAME, tensor.shape(), &scores).is_ok_and(|shape| shape == scores);
        if !fits {
            return Err(refuse(&format!("mask and bias broadcast to the scores, {}", show(&scores))));
        }
        let own = tensor.rank().min(3);
        let mut shape = Shape::new();
        if tensor.shape()[..tensor.rank() - own].iter().all(|&size| size == 1) {
            shape.push(1)?;
        } else {
            let mut whole = leading;
            for &size in &tensor.shape()[tensor.rank() - own..] {
                whole.push(size)?;
            }
            shape.push(batch)?;
            return finish(&tensor.broadcast_to(&whole)?, shape);
        }
        finish(tensor, shape)
    };
    let mut inputs: SmallVec<[Tensor; 5]> = [folded(q)?, folded(k)?, folded(v)?].into_iter().collect();
    inputs.extend(options.mask.map(spread).transpose()?);
    inputs.extend(options.bias.map(|bias| spread(&bias.cast(compute)?)).transpose()?);
    let op = Attention {
        scale: options.scale.unwrap_or_else(|| 1.0 / (size(q, 1) as f64).sqrt()),
        causal: options.causal,
        heads_first: !options.time_first,
        mask: options.mask.is_some(),
        bias: options.bias.is_some(),
    };
    let y = apply(op, &inputs.iter().collect::<SmallVec<[&Tensor; 5]>>())?;
    let mut shape = leading;
    for &size in &y.shape()[1..] {
        shape.push(size)?;
    }
    y.reshape_to(&shape)?.cast(dtype)
}

/// The tensor with the given first size and then its last three axes, of size 1 where it has fewer.
fn finish(tensor: &Tensor, mut shape: Shape) -> Result<Tensor> {
    let own = tensor.rank().min(3);
    for _ in own..3 {
        shape.push(1)?;
    }
    for &size in &tensor.shape()[tensor.rank() - own..] {
        shape.push(size)?;
    }
    tensor.reshape_to(&shape)
}
