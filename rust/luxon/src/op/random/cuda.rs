//! Random numbers made on a CUDA device: the bits of the CPU, since an element belongs to (key, index).

use std::sync::Arc;

use half::{bf16, f16};

use super::Distribution;
use crate::cpu::math::Math;
use crate::cpu::random::{Key, Sample};
use crate::cuda::source::{MATH, THREEFRY, c_type, c_working, kernel};
use crate::cuda::{Launch, Place, Plan};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::layout::Shape;
use crate::tensor::{Tensor, Value};

/// A bound in an element type, as that type holds it.
fn held(dtype: DType, value: f64) -> f64 {
    match dtype {
        DType::F64 => value,
        DType::F16 => f16::from_f64(value).to_f64(),
        DType::BF16 => bf16::from_f64(value).to_f64(),
        _ => f64::from(value as f32),
    }
}

/// What a truncated normal distribution is drawn with: where the uniform numbers begin, their range, and the
/// least and the largest result.
fn truncated(dtype: DType, lower: f64, upper: f64) -> [f64; 4] {
    macro_rules! ends {
        ($T:ty, $of:expr, $wide:ty) => {{
            let [lower, upper] = [$of(lower), $of(upper)].map(|bound: $T| <$T as Sample>::widen(bound));
            let root = std::f64::consts::SQRT_2 as $wide;
            let (from, to) = (Math::erf(lower / root), Math::erf(upper / root));
            let least = <$T as Sample>::inside(lower, <$wide>::INFINITY);
            let most = <$T as Sample>::inside(upper, <$wide>::NEG_INFINITY);
            [from, to - from, least, most].map(f64::from)
        }};
    }
    match dtype {
        DType::F64 => ends!(f64, |bound| bound, f64),
        DType::F16 => ends!(f16, f16::from_f64, f32),
        DType::BF16 => ends!(bf16, bf16::from_f64, f32),
        _ => ends!(f32, |bound| bound as f32, f32),
    }
}

/// The range of integers as low, span (0 for 2^32 in 32 bits) and the multiplier of the upper word.
fn range(dtype: DType, low: i64, high: i64) -> (u64, u64) {
    if dtype == DType::I64 {
        let span = if high <= low { 1 } else { high.wrapping_sub(low) as u64 };
        let half = (1u64 << 32) % span;
        return (span, half.wrapping_mul(half) % span);
    }
    let span = (high - low).max(1) as u64;
    let Ok(narrow) = u32::try_from(span) else { return (0, 0) };
    let half = (1u32 << 16) % narrow;
    (span, u64::from(half.wrapping_mul(half) % narrow))
}

fn plan(key: Key, distribution: Distribution, dtype: DType, count: usize) -> Result<Plan> {
    if count == 0 {
        return Ok(Plan::new());
    }
    let text = if dtype.is_float() {
        let macros = [("S", c_type(dtype)), ("T", c_working(dtype))];
        kernel("random_floats", &[MATH, THREEFRY], &[include_str!("floats.cu")], &macros)
    } else {
        let macros = [("S", c_type(dtype)), ("WIDE", if dtype == DType::I64 { "1" } else { "0" })];
        kernel("random_integers", &[THREEFRY], &[include_str!("integers.cu")], &macros)
    };
    let begin = |name: &'static str, key: Key| -> Result<Launch> {
        Ok(Launch::over(text, name, count)?.with(Place::output(0)).with(key.0).with(key.1))
    };
    let double = dtype == DType::F64;
    let launch = match distribution {
        Distribution::Bits => begin("random_words", key)?,
        Distribution::Uniform { low, high } => {
            let low = held(dtype, low);
            // The difference is rounded as the CPU rounds it: in the type computed in, then to the element type.
            let apart = held(dtype, high) - low;
            let range = held(dtype, if double { apart } else { f64::from(held(dtype, high) as f32 - low as f32) });
            begin("random_uniform", key)?.with(low).with(range)
        }
        Distribution::Normal => {
            let above = if double { (-1.0f64).next_up() } else { f64::from((-1.0f32).next_up()) };
            begin("random_normal", key)?.with(above)
        }
        Distribution::TruncatedNormal { lower, upper } => {
            let mut launch = begin("random_truncated", key)?;
            for number in truncated(dtype, lower, upper) {
                launch = launch.with(number);
            }
            launch
        }
        Distribution::Exponential => begin("random_exponential", key)?,
        Distribution::Gumbel => {
            let smallest = if double { f64::MIN_POSITIVE } else { f64::from(f32::MIN_POSITIVE) };
            begin("random_gumbel", key)?.with(smallest)
        }
        Distribution::Bernoulli { probability } => begin("random_bernoulli", key)?.with(probability as f32),
        Distribution::Integers { low, high } => {
            let (span, multiplier) = range(dtype, low, high);
            let (upper, lower) = (key.child(0), key.child(1));
            begin("random_range", upper)?.with(lower.0).with(lower.1).with(low).with(span).with(multiplier)
        }
    };
    Ok(Plan::single(launch.with(count)))
}

/// A fresh tensor of random numbers on a device.
pub(super) fn draw(
    device: &Arc<dyn Device>,
    key: Key,
    shape: &[usize],
    distribution: Distribution,
    dtype: DType,
) -> Result<Tensor> {
    let value = Value::empty_on(device, dtype, &Shape::from_slice(shape)?)?;
    device.execute(&plan(key, distribution, dtype, value.count())?, &[], &[&value])?;
    Ok(value.into())
}
