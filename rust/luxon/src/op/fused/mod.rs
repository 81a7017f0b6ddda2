//! Fused operations: a kernel of their own for what other operations define.
//!
//! Each states its definition in `Family::expand`, and a test holds the kernel to it. Where a rule has a
//! kernel too, it is a fused operation again, with its own definition: so derivatives of any order, forward
//! mode, and devices without the kernels need nothing further. Kernels take f32 and f64, contiguous; the
//! functions that users call widen half types before and round after, where a device's kernels do not.

use crate::dtype::{DType, Kind};
use crate::error::{Error, Result};
use crate::op::{Family, Gradients, Outputs, Saved};
use crate::tensor::Tensor;
use crate::transform::{jvp_through, vjp_through};

pub mod activation;
pub mod attention;
pub mod conv;
pub mod ctc;
pub mod dense;
mod dense_gradient;
pub mod dropout;
pub mod loss;
pub mod losses;
pub mod norm;
pub mod normalise;
pub mod pool;
pub mod pooling;
pub mod recurrent;
pub mod resample;
pub mod softmax;
pub mod upsample;
pub mod windows;

/// Runs an expression with `$T` bound to f64 for that dtype, else to f32.
macro_rules! with_real {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::F64 => {
                type $T = f64;
                $body
            }
            _ => {
                type $T = f32;
                $body
            }
        }
    };
}
pub(crate) use with_real;

/// The definition's results.
fn expanded(family: &dyn Family, inputs: &[Tensor]) -> Result<Outputs> {
    family.expand(inputs).unwrap_or_else(|| {
        Err(Error::Value(format!("{}: has no definition in other operations (a defect of luxon)", family.name())))
    })
}

/// A definition with half operands widened before and results rounded after: as kernels compute that take them.
pub(crate) fn widened(
    family: &dyn Family,
    inputs: &[Tensor],
    define: impl FnOnce(&[Tensor]) -> Result<Outputs>,
) -> Result<Outputs> {
    if !inputs.iter().any(|input| input.dtype().is_half()) {
        return define(inputs);
    }
    let specs = family.outputs(&inputs.iter().map(|input| &**input.value()).collect::<Vec<_>>())?;
    let wide = inputs.iter().map(|input| match input.dtype().is_half() {
        true => input.cast(DType::F32),
        false => Ok(input.clone()),
    });
    let results = define(&wide.collect::<Result<Vec<_>>>()?)?;
    results.into_iter().zip(specs).map(|(result, spec)| result.cast(spec.dtype)).collect()
}

/// Gradients of the wanted inputs by recording the definition; every input was saved.
pub(crate) fn pull_expansion(family: &dyn Family, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
    let inputs = (0..saved.arity()).map(|index| saved.input(index).cloned()).collect::<Result<Vec<_>>>()?;
    let wanted: Vec<usize> = (0..inputs.len()).filter(|&index| saved.wants(index)).collect();
    let chosen: Vec<Tensor> = wanted.iter().map(|&index| inputs[index].clone()).collect();
    let function = |tagged: &[Tensor]| {
        let mut inputs = inputs.clone();
        for (&index, tensor) in wanted.iter().zip(tagged) {
            inputs[index] = tensor.clone();
        }
        Ok(vec![expanded(family, &inputs)?.swap_remove(0)])
    };
    let pulled = vjp_through(function, &chosen, &[Some(dy.clone())])?;
    let mut gradients: Gradients = inputs.iter().map(|_| None).collect();
    for (index, gradient) in wanted.into_iter().zip(pulled) {
        gradients[index] = gradient;
    }
    Ok(gradients)
}

/// The tangent of the first output through the definition.
pub(crate) fn push_expansion(
    family: &dyn Family,
    inputs: &[Tensor],
    tangents: &[Option<Tensor>],
) -> Result<Option<Tensor>> {
    let function = |inputs: &[Tensor]| Ok(vec![expanded(family, inputs)?.swap_remove(0)]);
    let (_, mut pushed) = jvp_through(function, inputs, tangents)?;
    Ok(pushed.swap_remove(0))
}

/// The dtype that kernels compute a floating dtype in.
pub(crate) fn compute_dtype(dtype: DType) -> DType {
    if dtype.is_half() { DType::F32 } else { dtype }
}

/// The dtype in which kernels take the elements of `x` as a floating dtype: those of a device widen half types
/// themselves, in registers.
pub(crate) fn taken_dtype(x: &Tensor, dtype: DType) -> DType {
    if x.device().is_some() { dtype } else { compute_dtype(dtype) }
}

/// The join of the tensors' dtypes, which must be floating.
pub(crate) fn joined_float(op: &str, tensors: &[&Tensor]) -> Result<DType> {
    let mut joined: Option<DType> = None;
    for tensor in tensors {
        if tensor.dtype().kind() != Kind::Float {
            return Err(Error::unsupported(op, tensor.dtype(), "floating types; cast with astype"));
        }
        joined = Some(joined.map_or(tensor.dtype(), |dtype| dtype.promote(tensor.dtype())));
    }
    Ok(joined.unwrap_or(DType::DEFAULT_FLOAT))
}
