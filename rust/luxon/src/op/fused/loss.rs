//! Losses in one pass: cross entropy, binary cross entropy, squared distance.
//!
//! Cross entropy keeps each row's maximum and log-sum as untracked outputs, from which the gradient's
//! kernel makes the probabilities again. Targets and class weights may be differentiated too; those
//! gradients come from the definition. A sum or mean over all rows on the host is part of the operation, for the
//! sake of small losses; any other reduction stands outside, and the cotangent of a mean reaches the kernels as one
//! number for all rows, read through a stride of 0.

use smallvec::{SmallVec, smallvec};

use super::{compute_dtype, pull_expansion, push_expansion, widened, with_real};
use crate::cpu::loss as kernel;
use crate::cpu::real::Real;
use crate::cuda::Plan;
use crate::dtype::Kind;
use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::op::elementwise::{Kernel, map};
use crate::op::{Family, Gradients, Outputs, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

mod cuda;

/// A loss, or the gradient of one with respect to its prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Of logits (..., classes), targets and optionally a weight per class: the losses (...), the rows'
    /// weights (...) and what the gradient reads (..., 2); or their sum () and the last.
    CrossEntropy(Smoothing),
    /// Of the losses' cotangent, what was kept, and the operands of [`Loss::CrossEntropy`].
    CrossEntropyGradient(Smoothing),
    /// Of logits, targets of their shape and optionally a factor of positive targets per column.
    BinaryCrossEntropy,
    /// Of the losses' cotangent and the operands of [`Loss::BinaryCrossEntropy`].
    BinaryCrossEntropyGradient,
    /// `factor sum((a - b)^2)`.
    SquaredDistance(f64),
    /// Of the cotangent of [`Loss::SquaredDistance`], a and b: `2 factor dy (a - b)`.
    SquaredDistanceGradient(f64),
}

/// How targets of a cross entropy are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smoothing {
    /// The share of the uniform distribution that is mixed into each target.
    pub label_smoothing: f64,
    /// The class that marks rows to leave out.
    pub ignore_index: Option<i64>,
    /// What the sum of the rows' losses is multiplied by; none where they are not added up.
    pub factor: Option<f64>,
}

/// The sum of some numbers, in an order that depends on their count alone.
fn total<T: Real>(numbers: &[T]) -> f64 {
    let (eights, rest) = numbers.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for eight in eights {
        for (sum, number) in sums.iter_mut().zip(eight) {
            *sum += number.to_f64();
        }
    }
    sums.into_iter().chain(rest.iter().map(|number| number.to_f64())).sum()
}

/// The classes of the rows as i64, checked to be in range.
fn classes_of(targets: &Value, classes: usize, ignore: Option<i64>) -> Result<Value> {
    let targets = targets.to_contiguous()?;
    let rows = targets.as_slice::<i64>().unwrap_or_default();
    let outside = rows.iter().position(|&class| (class < 0 || class >= classes as i64) && Some(class) != ignore);
    if let Some(row) = outside {
        let class = rows[row];
        return Err(Error::index(
            "cross_entropy",
            format_args!("target {class} in row {row} is not one of {classes} classes"),
        ));
    }
    Ok(targets)
}

/// The operands of a cross entropy in the form that the kernels read.
struct Operands {
    logits: Value,
    targets: Value,
    weight: Option<Value>,
}

impl Operands {
    fn new(smoothing: &Smoothing, inputs: &[&Value]) -> Result<Operands> {
        let logits = inputs[0].to_contiguous()?;
        let classes = logits.shape()[logits.shape().len() - 1];
        let targets = match inputs[1].dtype().kind() {
            Kind::Float => inputs[1].to_contiguous()?,
            _ => classes_of(inputs[1], classes, smoothing.ignore_index)?,
        };
        let weight = inputs.get(2).map(|weight| weight.to_contiguous()).transpose()?;
        Ok(Operands { logits, targets, weight })
    }

    fn describe<T: Real>(&self, smoothing: &Smoothing) -> kernel::CrossEntropy<T> {
        let classes = self.logits.shape()[self.logits.shape().len() - 1];
        kernel::CrossEntropy {
            logits: self.logits.pointer().cast(),
            targets: match self.targets.dtype().kind() {
                Kind::Float => kernel::Targets::Probabilities(self.targets.pointer().cast()),
                _ => kernel::Targets::Classes { index: self.targets.pointer().cast(), ignore: smoothing.ignore_index },
            },
            weight: self.weight.as_ref().map_or(std::ptr::null(), |weight| weight.pointer().cast()),
            label_smoothing: smoothing.label_smoothing,
            rows: self.logits.shape()[..self.logits.shape().len() - 1].iter().product(),
            classes,
        }
    }
}

/// One number for all elements of a cotangent as (value, 0), or its contiguous elements and 1.
pub(super) fn upstream(dy: &Value) -> Result<(Value, usize)> {
    let repeated = dy.shape().iter().zip(dy.layout().strides.iter()).all(|(&size, &stride)| size == 1 || stride == 0);
    if repeated { Ok((dy.clone(), 0)) } else { Ok((dy.to_contiguous()?, 1)) }
}

/// Rows and columns of a binary cross entropy, whose factors go by column.
fn matrix(shape: &Shape) -> (usize, usize) {
    let columns = shape.last().copied().unwrap_or(1);
    (shape[..shape.len().saturating_sub(1)].iter().product(), columns)
}

/// The targets as weighted, smoothed distributions (..., classes), zeros in rows that are left out.
pub(super) fn distributions(
    smoothing: &Smoothing,
    logits: &Tensor,
    targets: &Tensor,
    weight: Option<&Tensor>,
) -> Result<Tensor> {
    let classes = logits.shape()[logits.rank() - 1];
    let share = smoothing.label_smoothing;
    let kept = if targets.dtype().is_float() {
        targets.clone()
    } else {
        let numbers: Vec<i64> = (0..classes as i64).collect();
        let mut numbers = Tensor::new(&numbers, &[classes])?;
        if let Some(device) = logits.device() {
            numbers = numbers.to_device(device)?;
        }
        targets.expand_dims(-1)?.equal(&numbers)?.cast(logits.dtype())?
    };
    let mut smooth = if share == 0.0 { kept } else { kept.mul(1.0 - share)?.add(share / classes.max(1) as f64)? };
    if let Some(weight) = weight {
        smooth = smooth.mul(weight)?;
    }
    match smoothing.ignore_index {
        Some(ignore) if !targets.dtype().is_float() => {
            let out = targets.equal(ignore)?.expand_dims(-1)?;
            map(Kernel::Where, &[(&out).into(), 0.0.into(), (&smooth).into()])
        }
        _ => Ok(smooth),
    }
}

/// The weight of each row in a mean.
fn row_weights(smoothing: &Smoothing, logits: &Tensor, targets: &Tensor, weight: Option<&Tensor>) -> Result<Tensor> {
    if targets.dtype().is_float() {
        return logits.detach().narrow(logits.rank() - 1, 0, 0)?.sum(Some(&[-1]), false)?.add(1.0);
    }
    let plain = Smoothing { label_smoothing: 0.0, ..*smoothing };
    distributions(&plain, &logits.detach(), targets, weight.map(Tensor::detach).as_ref())?.sum(Some(&[-1]), false)
}

/// The logarithms of the probabilities, 0 where both they are minus infinity and no weight asks for them.
fn log_probabilities(logits: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let logs = logits.log_softmax(-1)?;
    let unread = logs.detach().equal(f64::NEG_INFINITY)?.logical_and(&weights.detach().equal(0.0)?)?;
    map(Kernel::Where, &[(&unread).into(), 0.0.into(), (&logs).into()])
}

impl Family for Loss {
    fn name(&self) -> &'static str {
        match self {
            Loss::CrossEntropy(_) => "cross_entropy",
            Loss::CrossEntropyGradient(_) => "cross_entropy_gradient",
            Loss::BinaryCrossEntropy => "binary_cross_entropy",
            Loss::BinaryCrossEntropyGradient => "binary_cross_entropy_gradient",
            Loss::SquaredDistance(_) => "squared_distance",
            Loss::SquaredDistanceGradient(_) => "squared_distance_gradient",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let spec = |value: &Value| Spec { dtype: value.dtype(), shape: *value.shape() };
        Ok(match self {
            Loss::CrossEntropy(smoothing) => {
                let mut rows = spec(inputs[0]);
                rows.shape.remove(rows.shape.len() - 1);
                rows.dtype = compute_dtype(rows.dtype);
                let mut kept = rows;
                kept.shape.push(2)?;
                match smoothing.factor {
                    Some(_) => smallvec![Spec { shape: Shape::new(), ..rows }, kept],
                    None => smallvec![rows, rows, kept],
                }
            }
            Loss::CrossEntropyGradient(_) => smallvec![spec(inputs[2])],
            Loss::BinaryCrossEntropy => smallvec![spec(inputs[0])],
            Loss::BinaryCrossEntropyGradient => smallvec![spec(inputs[1])],
            Loss::SquaredDistance(_) => smallvec![Spec { dtype: inputs[0].dtype(), shape: Shape::new() }],
            Loss::SquaredDistanceGradient(_) => smallvec![spec(inputs[1])],
        })
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let dtype = outputs[0].dtype();
        match self {
            Loss::CrossEntropy(smoothing) => {
                let operands = Operands::new(smoothing, inputs)?;
                let [losses, weights @ .., kept] = outputs else { return Ok(()) };
                with_real!(dtype, T => {
                    let described = operands.describe::<T>(smoothing);
                    let weights = weights.first_mut().map_or(std::ptr::null_mut(), |weights| weights.pointer_mut().cast());
                    let (result, kept) = (losses.pointer_mut().cast::<T>(), kept.pointer_mut().cast());
                    let mut rows: SmallVec<[T; 64]> = smallvec![T::ZERO; smoothing.factor.map_or(0, |_| described.rows)];
                    let losses = if smoothing.factor.is_some() { rows.as_mut_ptr() } else { result };
                    // SAFETY: operands are contiguous, classes were checked, outputs are fresh and sized by the rows.
                    unsafe { kernel::cross_entropy::<T>(&described, losses, weights, kept, std::ptr::null_mut()) };
                    if let Some(factor) = smoothing.factor {
                        // SAFETY: the output has one element.
                        unsafe { result.write(T::from_f64(factor * total(&rows))) };
                    }
                });
            }
            Loss::CrossEntropyGradient(smoothing) => {
                let (dy, stride) = upstream(inputs[0])?;
                let kept = inputs[1].to_contiguous()?;
                let operands = Operands::new(smoothing, &inputs[2..])?;
                with_real!(dtype, T => {
                    let gradient = outputs[0].pointer_mut().cast();
                    let mut upstream = dy.pointer().cast::<T>();
                    let scaled;
                    if let Some(factor) = smoothing.factor {
                        // SAFETY: the cotangent of a sum has one element.
                        scaled = unsafe { upstream.read() } * T::from_f64(factor);
                        upstream = &scaled;
                    }
                    // SAFETY: as above; the upstream has an element per row, or one for all at stride 0.
                    unsafe { kernel::cross_entropy_gradient::<T>(&operands.describe(smoothing), kept.pointer().cast(), upstream, stride, gradient) }
                });
            }
            Loss::BinaryCrossEntropy | Loss::BinaryCrossEntropyGradient => {
                let gradient = matches!(self, Loss::BinaryCrossEntropyGradient);
                let (dy, stride) = if gradient { upstream(inputs[0])? } else { (inputs[0].clone(), 0) };
                let operands = &inputs[usize::from(gradient)..];
                let (logits, targets) = (operands[0].to_contiguous()?, operands[1].to_contiguous()?);
                let positive = operands.get(2).map(|positive| positive.to_contiguous()).transpose()?;
                let (rows, columns) = matrix(logits.shape());
                with_real!(dtype, T => {
                    let (logits, targets) = (logits.pointer().cast::<T>(), targets.pointer().cast::<T>());
                    let positive = positive.as_ref().map_or(std::ptr::null(), |positive| positive.pointer().cast());
                    let result = outputs[0].pointer_mut().cast();
                    // SAFETY: all contiguous and of the logits' shape, the factors one per column; the result is fresh.
                    unsafe {
                        if gradient {
                            kernel::binary_cross_entropy_gradient::<T>(logits, targets, positive, dy.pointer().cast(), stride, result, rows, columns);
                        } else {
                            kernel::binary_cross_entropy::<T>(logits, targets, positive, result, rows, columns);
                        }
                    }
                });
            }
            Loss::SquaredDistance(factor) => {
                let (a, b) = (inputs[0].to_contiguous()?, inputs[1].to_contiguous()?);
                with_real!(dtype, T => {
                    // SAFETY: both contiguous and of one shape; the output has one element.
                    unsafe { outputs[0].pointer_mut().cast::<T>().write(kernel::squared_distance::<T>(a.pointer().cast(), b.pointer().cast(), a.count(), *factor)) }
                });
            }
            Loss::SquaredDistanceGradient(factor) => {
                let (a, b) = (inputs[1].to_contiguous()?, inputs[2].to_contiguous()?);
                with_real!(dtype, T => {
                    // SAFETY: the cotangent has one element, the others are contiguous and of one shape; the result is fresh.
                    unsafe {
                        let factor = T::from_f64(2.0 * factor) * inputs[0].pointer().cast::<T>().read();
                        kernel::scaled_difference::<T>(a.pointer().cast(), b.pointer().cast(), factor, outputs[0].pointer_mut().cast(), a.count());
                    }
                });
            }
        }
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        cuda::plan(self, inputs, &outputs[0])
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let only_logits = (1..saved.arity()).all(|index| !saved.wants(index));
        match *self {
            Loss::CrossEntropy(smoothing) if only_logits => {
                let kept = if smoothing.factor.is_some() { 0 } else { 1 };
                let mut operands: SmallVec<[&Tensor; 5]> = smallvec![dy, saved.extra(kept)?];
                for index in 0..saved.arity() {
                    operands.push(saved.input(index)?);
                }
                let mut gradients: Gradients = operands[2..].iter().map(|_| None).collect();
                gradients[0] = Some(apply(Loss::CrossEntropyGradient(smoothing), &operands)?);
                Ok(gradients)
            }
            Loss::BinaryCrossEntropy if only_logits => {
                let mut operands = vec![dy];
                for index in 0..saved.arity() {
                    operands.push(saved.input(index)?);
                }
                let mut gradients: Gradients = operands[1..].iter().map(|_| None).collect();
                gradients[0] = Some(apply(Loss::BinaryCrossEntropyGradient, &operands)?);
                Ok(gradients)
            }
            Loss::SquaredDistance(factor) => {
                let slope = apply(Loss::SquaredDistanceGradient(factor), &[dy, saved.input(0)?, saved.input(1)?])?;
                let by_b = saved.wants(1).then(|| slope.neg()).transpose()?;
                Ok(smallvec![saved.wants(0).then_some(slope), by_b])
            }
            _ => pull_expansion(self, saved, dy),
        }
    }

    fn jvp(&self, inputs: &[Tensor], _outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        push_expansion(self, inputs, tangents)
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        let define = |inputs: &[Tensor]| {
            Ok(match self {
                Loss::CrossEntropy(smoothing) => {
                    let (logits, targets, weight) = (&inputs[0], &inputs[1], inputs.get(2));
                    let wanted = distributions(smoothing, logits, targets, weight)?;
                    let losses = wanted.mul(&log_probabilities(logits, &wanted)?)?.sum(Some(&[-1]), false)?.neg()?;
                    let weights = row_weights(smoothing, logits, targets, weight)?;
                    // The definition of the gradient has no use for what the kernel keeps.
                    let mut kept = *losses.shape();
                    kept.push(2)?;
                    let kept = losses.zeros_like()?.expand_dims(-1)?.broadcast_to(&kept)?;
                    match smoothing.factor {
                        Some(factor) => smallvec![losses.sum(None, false)?.mul(factor)?, kept],
                        None => smallvec![losses, weights, kept],
                    }
                }
                Loss::CrossEntropyGradient(smoothing) => {
                    let logits = &inputs[2];
                    let dy = match smoothing.factor {
                        Some(factor) => inputs[0].mul(factor)?,
                        None => inputs[0].expand_dims(-1)?,
                    };
                    let wanted = distributions(smoothing, logits, &inputs[3], inputs.get(4))?;
                    let total = wanted.sum(Some(&[-1]), true)?;
                    smallvec![logits.softmax(-1)?.mul(&total)?.sub(&wanted)?.mul(&dy)?]
                }
                Loss::BinaryCrossEntropy => {
                    let (x, t) = (&inputs[0], &inputs[1]);
                    let tail = x.neg()?.log_one_plus_exp()?;
                    let tail = match inputs.get(2) {
                        Some(positive) => t.mul(&positive.sub(1.0)?)?.add(1.0)?.mul(&tail)?,
                        None => tail,
                    };
                    smallvec![x.sub(&t.mul(x)?)?.add(&tail)?]
                }
                Loss::BinaryCrossEntropyGradient => {
                    let (dy, x, t) = (&inputs[0], &inputs[1], &inputs[2]);
                    let tail = x.neg()?.sigmoid()?;
                    let tail = match inputs.get(3) {
                        Some(positive) => t.mul(&positive.sub(1.0)?)?.add(1.0)?.mul(&tail)?,
                        None => tail,
                    };
                    smallvec![t.neg()?.add(1.0)?.sub(&tail)?.mul(dy)?]
                }
                Loss::SquaredDistance(factor) => {
                    smallvec![inputs[0].sub(&inputs[1])?.square()?.sum(None, false)?.mul(*factor)?]
                }
                Loss::SquaredDistanceGradient(factor) => {
                    smallvec![inputs[1].sub(&inputs[2])?.mul(&inputs[0].mul(2.0 * factor)?)?]
                }
            })
        };
        Some(widened(self, inputs, define))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::op::apply_all;
    use crate::op::testing::{assert_close, check_gradients, sample};

    /// Logits, targets and possibly weights of a cross entropy of `rows` x `classes`.
    fn operands(rows: &[usize], classes: usize, by_class: bool, weighted: bool) -> Vec<Tensor> {
        let shape: Vec<usize> = rows.iter().copied().chain([classes]).collect();
        let logits = sample(&shape, -3.0, 3.0, 1);
        let count: usize = rows.iter().product();
        let targets = if by_class {
            let numbers: Vec<i64> = (0..count).map(|row| (row * 7 % classes) as i64).collect();
            Tensor::new(&numbers, rows).unwrap()
        } else {
            sample(&shape, -1.0, 1.0, 2).softmax(-1).unwrap()
        };
        let mut operands = vec![logits, targets];
        operands.extend(weighted.then(|| sample(&[classes], 0.2, 2.0, 3)));
        operands
    }

    fn smoothings() -> [Smoothing; 5] {
        let plain = Smoothing { label_smoothing: 0.0, ignore_index: None, factor: None };
        let ignoring = Smoothing { label_smoothing: 0.2, ignore_index: Some(0), factor: None };
        let added = |smoothing| Smoothing { factor: Some(0.3), ..smoothing };
        [plain, Smoothing { label_smoothing: 0.1, ..plain }, ignoring, added(plain), added(ignoring)]
    }

    #[test]
    fn cross_entropy_equals_its_definition() {
        for (rows, classes) in [(&[5][..], 3), (&[], 4), (&[2, 3], 17), (&[40], 130), (&[0], 3), (&[3], 1)] {
            for by_class in [true, false] {
                for weighted in [true, false] {
                    for smoothing in smoothings() {
                        for (dtype, bound) in [(DType::F64, 1e-12), (DType::F32, 5e-6)] {
                            let what = format!("{smoothing:?} {rows:?} {classes} {by_class} {weighted} {dtype}");
                            let cast = |tensor: Tensor| {
                                if tensor.dtype().is_float() { tensor.cast(dtype).unwrap() } else { tensor }
                            };
                            let inputs: Vec<Tensor> =
                                operands(rows, classes, by_class, weighted).into_iter().map(cast).collect();
                            let op = Loss::CrossEntropy(smoothing);
                            let outputs = apply_all(op.into(), &inputs.iter().collect::<Vec<_>>()).unwrap();
                            let expected = op.expand(&inputs).unwrap().unwrap();
                            assert_close(&outputs[0], &expected[0], bound, &what);
                            assert_eq!(outputs.len(), expected.len());
                            if smoothing.factor.is_none() {
                                assert_close(&outputs[1], &expected[1], bound, &what);
                            }
                            let one = Tensor::scalar(0.7, dtype).broadcast_to(outputs[0].shape()).unwrap();
                            for dy in [sample(outputs[0].shape(), -1.0, 1.0, 9).cast(dtype).unwrap(), one] {
                                let mut given = vec![dy, outputs[outputs.len() - 1].clone()];
                                given.extend(inputs.iter().cloned());
                                let op = Loss::CrossEntropyGradient(smoothing);
                                let dx = apply(op, &given.iter().collect::<Vec<_>>()).unwrap();
                                assert_close(&dx, &op.expand(&given).unwrap().unwrap()[0], bound, &what);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn binary_cross_entropy_and_squared_distance_equal_their_definitions() {
        for shape in [&[7][..], &[], &[3, 5], &[2, 2, 33], &[0, 3]] {
            for (dtype, bound) in [(DType::F64, 1e-12), (DType::F32, 5e-6)] {
                let columns = &shape[shape.len().saturating_sub(1)..];
                let all = [sample(shape, -3.0, 3.0, 1), sample(shape, 0.0, 1.0, 2), sample(columns, 0.5, 2.0, 3)];
                let all: Vec<Tensor> = all.iter().map(|tensor| tensor.cast(dtype).unwrap()).collect();
                let one = Tensor::scalar(0.7, dtype).broadcast_to(shape).unwrap();
                for count in [2, 3] {
                    let inputs: Vec<&Tensor> = all[..count].iter().collect();
                    let op = Loss::BinaryCrossEntropy;
                    assert_close(
                        &apply(op, &inputs).unwrap(),
                        &op.expand(&all[..count]).unwrap().unwrap()[0],
                        bound,
                        "binary",
                    );
                    for dy in [sample(shape, -1.0, 1.0, 9).cast(dtype).unwrap(), one.clone()] {
                        let mut given = vec![dy];
                        given.extend(all[..count].iter().cloned());
                        let op = Loss::BinaryCrossEntropyGradient;
                        let dx = apply(op, &given.iter().collect::<Vec<_>>()).unwrap();
                        assert_close(&dx, &op.expand(&given).unwrap().unwrap()[0], bound, "binary gradient");
                    }
                }
                let op = Loss::SquaredDistance(0.3);
                assert_close(
                    &apply(op, &[&all[0], &all[1]]).unwrap(),
                    &op.expand(&all[..2]).unwrap().unwrap()[0],
                    10.0 * bound,
                    "squares",
                );
            }
        }
    }

    #[test]
    fn gradients_are_right_to_second_order() {
        for smoothing in smoothings() {
            let by_class = operands(&[3], 3, true, false);
            let targets = by_class[1].clone();
            check_gradients(|x| apply(Loss::CrossEntropy(smoothing), &[&x[0], &targets]), &by_class[..1]);
            let weight = sample(&[3], 0.2, 2.0, 3);
            check_gradients(|x| apply(Loss::CrossEntropy(smoothing), &[&x[0], &targets, &weight]), &by_class[..1]);
            let all = operands(&[2], 3, false, true);
            check_gradients(|x| apply(Loss::CrossEntropy(smoothing), &[&x[0], &x[1], &x[2]]), &all);
            let rows: &[usize] = if smoothing.factor.is_some() { &[] } else { &[3] };
            let dy = sample(rows, -1.0, 1.0, 4);
            let kept = Tensor::zeros(&[3, 2], DType::F64).unwrap();
            let kept = apply_all(Loss::CrossEntropy(smoothing).into(), &[&by_class[0], &targets])
                .map_or(kept, |outputs| outputs[outputs.len() - 1].clone());
            let op = Loss::CrossEntropyGradient(smoothing);
            let exact = |x: &[Tensor]| {
                // What was kept belongs to the logits, so a bumped one needs its own.
                let kept = if x[1].is_tracked() {
                    kept.clone()
                } else {
                    apply_all(Loss::CrossEntropy(smoothing).into(), &[&x[1], &targets])?.pop().unwrap()
                };
                apply(op, &[&x[0], &kept, &x[1], &targets])
            };
            check_gradients(exact, &[dy, by_class[0].clone()]);
        }
        let pair = [sample(&[2, 2], -2.0, 2.0, 1), sample(&[2, 2], 0.1, 0.9, 2), sample(&[2], 0.5, 2.0, 3)];
        check_gradients(|x| apply(Loss::BinaryCrossEntropy, &[&x[0], &pair[1]]), &pair[..1]);
        check_gradients(|x| apply(Loss::BinaryCrossEntropy, &[&x[0], &x[1], &x[2]]), &pair);
        check_gradients(
            |x| apply(Loss::BinaryCrossEntropyGradient, &[&x[0], &x[1], &pair[1]]),
            &[pair[1].clone(), pair[0].clone()],
        );
        check_gradients(|x| apply(Loss::SquaredDistance(0.3), &[&x[0], &x[1]]), &pair[..2]);
        let dy = sample(&[], 0.5, 2.0, 5);
        check_gradients(
            |x| apply(Loss::SquaredDistanceGradient(0.3), &[&x[0], &x[1], &x[2]]),
            &[dy, pair[0].clone(), pair[1].clone()],
        );
    }
}
