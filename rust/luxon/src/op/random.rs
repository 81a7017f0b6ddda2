//! Random tensors from explicit keys: the same key gives the same numbers, whatever runs beside it.
//!
//! The bits are those of `jax.random` (Threefry, counters by element index); see [`crate::cpu::random`].
//! None of these is differentiated: a sample is a constant. (Reparametrise: `mean + std * normal(..)`.)

use std::sync::Arc;

use half::{bf16, f16};

pub use crate::cpu::random::Key;
use crate::cpu::random::{self, Sample};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::runtime::{interrupt, shapes};
use crate::tensor::{Tensor, Value};

mod cuda;

/// A fresh tensor filled by `fill`.
fn filled<T: Copy>(dtype: DType, shape: &[usize], fill: impl FnOnce(&mut [T])) -> Result<Tensor> {
    let shape = Shape::from_slice(shape)?;
    if shapes::is_on() {
        return Ok(Value::abstract_of(dtype, &shape)?.into());
    }
    let mut value = Value::empty(dtype, &shape)?;
    let count = value.count();
    // SAFETY: a fresh contiguous value of `count` plain numbers of this size, which `fill` writes before
    // anybody reads them.
    let elements = unsafe { std::slice::from_raw_parts_mut(value.pointer_mut().cast::<T>(), count) };
    fill(elements);
    if interrupt::take() { Err(Error::Interrupted) } else { Ok(value.into()) }
}

/// Runs `$body` with `$T` bound to the float type of a dtype.
macro_rules! with_float {
    ($op:literal, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            DType::F16 => {
                type $T = f16;
                $body
            }
            DType::BF16 => {
                type $T = bf16;
                $body
            }
            other => Err(Error::unsupported($op, other, "floating types")),
        }
    };
}

/// A bound or probability in a sample's type.
trait FromF64: Sample {
    fn of(value: f64) -> Self;
}
macro_rules! from_f64 {
    ($($T:ty: $convert:expr),*) => { $(impl FromF64 for $T { fn of(value: f64) -> Self { $convert(value) } })* };
}
from_f64!(f32: |value| value as f32, f64: |value| value, f16: f16::from_f64, bf16: bf16::from_f64);

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
#[doc(hidden)]
pub enum Distribution {
    /// Random bits, of u8, i32 or i64.
    Bits,
    /// Uniform numbers in `[low, high)`.
    Uniform {
        /// The least.
        low: f64,
        /// What none reaches.
        high: f64,
    },
    /// The standard normal distribution.
    Normal,
    /// The standard normal distribution cut to `(lower, upper)`.
    TruncatedNormal {
        /// The lower end.
        lower: f64,
        /// The upper end.
        upper: f64,
    },
    /// The exponential distribution of rate 1.
    Exponential,
    /// The standard Gumbel distribution.
    Gumbel,
    /// Truth values that hold with a probability.
    Bernoulli {
        /// The probability.
        probability: f64,
    },
    /// Integers in `[low, high)`.
    Integers {
        /// The least.
        low: i64,
        /// One more than the largest.
        high: i64,
    },
}

impl Distribution {
    /// Refuses parameters and dtypes that do not fit.
    fn check(self, dtype: DType) -> Result<()> {
        let (name, fits, expected) = match self {
            Distribution::Bits => {
                ("random.bits", matches!(dtype, DType::U8 | DType::I32 | DType::I64), "uint8, int32 and int64")
            }
            Distribution::Uniform { .. } => ("random.uniform", dtype.is_float(), "floating types"),
            Distribution::Normal => ("random.normal", dtype.is_float(), "floating types"),
            Distribution::TruncatedNormal { lower, upper } => {
                if lower.is_nan() || upper.is_nan() || lower >= upper {
                    let text = format_args!("needs lower < upper, got {lower} and {upper}");
                    return Err(Error::value("random.truncated_normal", text));
                }
                ("random.truncated_normal", dtype.is_float(), "floating types")
            }
            Distribution::Exponential => ("random.exponential", dtype.is_float(), "floating types"),
            Distribution::Gumbel => ("random.gumbel", dtype.is_float(), "floating types"),
            Distribution::Bernoulli { probability } => {
                if !(0.0..=1.0).contains(&probability) {
                    let text = format_args!("the probability is {probability}, outside [0, 1]");
                    return Err(Error::value("random.bernoulli", text));
                }
                ("random.bernoulli", dtype == DType::Bool, "bool")
            }
            Distribution::Integers { low, high } => {
                if low >= high {
                    return Err(Error::value("random.randint", format_args!("needs low < high, got {low} and {high}")));
                }
                crate::Scalar::Int(low).check_fits(dtype)?;
                crate::Scalar::Int(high - 1).check_fits(dtype)?;
                ("random.randint", matches!(dtype, DType::U8 | DType::I32 | DType::I64), "integer types")
            }
        };
        if fits { Ok(()) } else { Err(Error::unsupported(name, dtype, expected)) }
    }
}

/// Random numbers on a device, or on the host for none; the same on both, as far as their mathematics agrees.
///
/// # Errors
/// Those of the functions that are named after the distributions, and the device's.
#[doc(hidden)]
pub fn draw(
    device: Option<&Arc<dyn Device>>,
    key: Key,
    shape: &[usize],
    distribution: Distribution,
    dtype: DType,
) -> Result<Tensor> {
    distribution.check(dtype)?;
    if let Some(device) = device.filter(|_| !shapes::is_on()) {
        return cuda::draw(device, key, shape, distribution, dtype);
    }
    match distribution {
        Distribution::Bits => match dtype {
            DType::U8 => filled::<u8>(dtype, shape, |out| random::bits(key, out)),
            DType::I32 => filled::<u32>(dtype, shape, |out| random::bits(key, out)),
            _ => filled::<u64>(dtype, shape, |out| random::bits(key, out)),
        },
        Distribution::Uniform { low, high } => {
            with_float!("random.uniform", dtype, T => filled::<T>(dtype, shape, |out| random::uniform(key, T::of(low), T::of(high), out)))
        }
        Distribution::Normal => {
            with_float!("random.normal", dtype, T => filled::<T>(dtype, shape, |out| random::normal(key, out)))
        }
        Distribution::TruncatedNormal { lower, upper } => with_float!("random.truncated_normal", dtype, T => {
            filled::<T>(dtype, shape, |out| random::truncated_normal(key, T::of(lower), T::of(upper), out))
        }),
        Distribution::Exponential => {
            with_float!("random.exponential", dtype, T => filled::<T>(dtype, shape, |out| random::exponential(key, out)))
        }
        Distribution::Gumbel => {
            with_float!("random.gumbel", dtype, T => filled::<T>(dtype, shape, |out| random::gumbel(key, out)))
        }
        Distribution::Bernoulli { probability } => {
            filled::<u8>(dtype, shape, |out| random::bernoulli(key, probability as f32, out))
        }
        Distribution::Integers { low, high } => match dtype {
            DType::U8 => filled::<u8>(dtype, shape, |out| random::randint(key, low, high, out)),
            DType::I32 => filled::<i32>(dtype, shape, |out| random::randint(key, low, high, out)),
            _ => filled::<i64>(dtype, shape, |out| random::randint(key, low, high, out)),
        },
    }
}

/// Random bits as unsigned integers of the dtype's width (u8), or as the bits of i32 and i64.
///
/// ```
/// use luxon::{DType, Key, random};
/// assert_eq!(random::bits(Key::new(0), &[3], DType::U8)?.dtype(), DType::U8);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Type`] for other dtypes.
pub fn bits(key: Key, shape: &[usize], dtype: DType) -> Result<Tensor> {
    draw(None, key, shape, Distribution::Bits, dtype)
}

/// Uniform numbers in `[low, high)`.
///
/// ```
/// use luxon::{DType, Key, random};
/// let x = random::uniform(Key::new(0), &[1000], -1.0, 1.0, DType::F32)?;
/// assert!(x.abs()?.max(None, false)?.item()?.as_f64() <= 1.0);
/// assert!(x.mean(None, false)?.item()?.as_f64().abs() < 0.1);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Type`] for a dtype that is not floating.
pub fn uniform(key: Key, shape: &[usize], low: f64, high: f64, dtype: DType) -> Result<Tensor> {
    draw(None, key, shape, Distribution::Uniform { low, high }, dtype)
}

/// Numbers from the standard normal distribution.
///
/// ```
/// use luxon::{DType, Key, random};
/// let x = random::normal(Key::new(0), &[10_000], DType::F32)?;
/// assert!((x.std(None, 0.0, false)?.item()?.as_f64() - 1.0).abs() < 0.05);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Type`] for a dtype that is not floating.
pub fn normal(key: Key, shape: &[usize], dtype: DType) -> Result<Tensor> {
    draw(None, key, shape, Distribution::Normal, dtype)
}

/// Numbers from the standard normal distribution cut to `(lower, upper)`.
///
/// ```
/// use luxon::{DType, Key, random};
/// let x = random::truncated_normal(Key::new(0), &[1000], -2.0, 2.0, DType::F32)?;
/// assert!(x.abs()?.max(None, false)?.item()?.as_f64() <= 2.0);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] unless `lower < upper`, [`Error::Type`] for a dtype that is not floating.
pub fn truncated_normal(key: Key, shape: &[usize], lower: f64, upper: f64, dtype: DType) -> Result<Tensor> {
    draw(None, key, shape, Distribution::TruncatedNormal { lower, upper }, dtype)
}

/// Numbers from the exponential distribution of rate 1.
///
/// ```
/// use luxon::{DType, Key, random};
/// let x = random::exponential(Key::new(0), &[10_000], DType::F64)?;
/// assert!((x.mean(None, false)?.item()?.as_f64() - 1.0).abs() < 0.05);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Type`] for a dtype that is not floating.
pub fn exponential(key: Key, shape: &[usize], dtype: DType) -> Result<Tensor> {
    draw(None, key, shape, Distribution::Exponential, dtype)
}

/// Numbers from the standard Gumbel distribution.
///
/// ```
/// use luxon::{DType, Key, random};
/// let x = random::gumbel(Key::new(0), &[10_000], DType::F64)?;
/// assert!((x.mean(None, false)?.item()?.as_f64() - 0.577).abs() < 0.05);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Type`] for a dtype that is not floating.
pub fn gumbel(key: Key, shape: &[usize], dtype: DType) -> Result<Tensor> {
    draw(None, key, shape, Distribution::Gumbel, dtype)
}

/// Truth values that hold with `probability`.
///
/// ```
/// use luxon::{DType, Key, random};
/// let x = random::bernoulli(Key::new(0), &[10_000], 0.2)?.cast(DType::F64)?;
/// assert!((x.mean(None, false)?.item()?.as_f64() - 0.2).abs() < 0.02);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for a probability outside [0, 1].
pub fn bernoulli(key: Key, shape: &[usize], probability: f64) -> Result<Tensor> {
    draw(None, key, shape, Distribution::Bernoulli { probability }, DType::Bool)
}

/// Integers in `[low, high)`.
///
/// ```
/// use luxon::{DType, Key, random};
/// let x = random::randint(Key::new(0), &[1000], 1, 7, DType::I32)?;
/// assert_eq!(x.unique_values()?.to_vec::<i32>()?, [1, 2, 3, 4, 5, 6]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] unless `low < high`, [`Error::Overflow`] for bounds that the dtype cannot hold,
/// [`Error::Type`] for a dtype that is not an integer.
pub fn randint(key: Key, shape: &[usize], low: i64, high: i64, dtype: DType) -> Result<Tensor> {
    draw(None, key, shape, Distribution::Integers { low, high }, dtype)
}

/// The integers below `count` in random order.
///
/// ```
/// use luxon::{Key, random};
/// let order = random::permutation(Key::new(0), 100)?;
/// assert_eq!(order.sort(0, false)?.to_vec::<i64>()?, (0..100).collect::<Vec<_>>());
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Memory`].
pub fn permutation(key: Key, count: usize) -> Result<Tensor> {
    let mut failed = false;
    let result = filled::<i64>(DType::I64, &[count], |out| failed = random::permutation(key, out).is_err())?;
    if failed { Err(Error::Memory(count.saturating_mul(16))) } else { Ok(result) }
}

/// Positions of classes drawn with the probabilities softmax(logits) along the last axis.
///
/// ```
/// use luxon::{Key, Tensor, random};
/// let logits = Tensor::new(&[0.0, 100.0, 0.0], &[3])?;
/// assert_eq!(random::categorical(Key::new(0), &logits)?.to_vec::<i64>()?, [1]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for logits without classes, [`Error::Type`] for a dtype that is not floating.
pub fn categorical(key: Key, logits: &Tensor) -> Result<Tensor> {
    let Some((&classes, rows)) = logits.shape().split_last().filter(|(classes, _)| **classes > 0) else {
        return Err(Error::shape(
            "random.categorical",
            format_args!("logits of shape {} have no classes", crate::layout::show(logits.shape())),
        ));
    };
    if let Some(device) = logits.device() {
        // The same choice in other operations, where the logits are.
        let wide = if logits.dtype().is_half() { DType::F32 } else { logits.dtype() };
        let noise = draw(Some(device), key, logits.shape(), Distribution::Gumbel, wide)?;
        return noise.add(&logits.detach().cast(wide)?)?.argmax(Some(-1), false);
    }
    let logits = logits.detach();
    let value = logits.value().to_contiguous()?;
    let dtype = logits.dtype();
    with_float!("random.categorical", dtype, T => {
        let elements = value.as_slice::<T>().unwrap_or_default();
        filled::<i64>(DType::I64, rows, |out| random::categorical(key, elements, classes, out))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_decide_everything() {
        let key = Key::new(7);
        let a = uniform(key, &[3, 5], -1.0, 2.0, DType::F64).unwrap();
        let b = uniform(key, &[15], -1.0, 2.0, DType::F64).unwrap();
        assert_eq!(a.to_vec::<f64>().unwrap(), b.to_vec::<f64>().unwrap());
        assert!(a.to_vec::<f64>().unwrap().iter().all(|x| (-1.0..2.0).contains(x)));
        let mut order = permutation(key, 100).unwrap().to_vec::<i64>().unwrap();
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert_eq!(bernoulli(key, &[50], 1.0).unwrap().to_vec::<bool>().unwrap(), [true; 50]);
    }

    #[test]
    fn bad_arguments_are_refused() {
        let key = Key::new(0);
        assert!(bernoulli(key, &[2], 1.5).is_err());
        assert!(randint(key, &[2], 3, 3, DType::I32).is_err());
        assert!(randint(key, &[2], 0, 300, DType::U8).is_err());
        assert!(uniform(key, &[2], 0.0, 1.0, DType::I64).is_err());
        assert!(normal(key, &[1 << 40, 1 << 30], DType::F32).is_err());
    }
}
