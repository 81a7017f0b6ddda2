//! Connectionist temporal classification: the loss of a label sequence given probabilities per time step.
//!
//! The kernel's rows of alpha are an untracked output, from which the gradient's kernel runs the backward
//! recursion; they are kept only where something is differentiated. The definition goes through time with one
//! row of all samples per step and writes impossible states as `IMPOSSIBLE`, a finite number, so that its
//! derivatives of any order have no infinities to meet. The gradient is that of the log probabilities as they
//! are given, without any assumption that they come from a softmax.

use smallvec::smallvec;

use super::loss::upstream;
use super::losses::LossReduction;
use super::{compute_dtype, joined_float, pull_expansion, push_expansion, with_real};
use crate::cpu::loss as kernel;
use crate::cpu::real::Real;
use crate::dtype::{DType, Kind};
use crate::error::{Error, Result};
use crate::layout::{Shape, show};
use crate::op::create::arange;
use crate::op::linear::{concat, stack};
use crate::op::manipulate::where_;
use crate::op::{Family, Gradients, Outputs, Saved, Saves, Spec, Specs, apply, apply_all};
use crate::tensor::{Tensor, Value};
use crate::transform::vjp_through;

const NAME: &str = "ctc";

/// The logarithm of a probability that stands for 0 in the definition; half of it is still impossible.
const IMPOSSIBLE: f64 = -1e30;

/// A CTC loss, or its gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ctc {
    /// Of log probabilities (time, batch, classes), targets (batch, width), the lengths of inputs and of targets
    /// (batch,): the losses (batch,), and alpha, all rows of it where it is kept.
    Losses(Labels, bool),
    /// Of the losses' cotangent, all rows of alpha, and the operands of the loss.
    Gradient(Labels),
}

/// How labels are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The class of no label.
    pub blank: usize,
    /// Whether a sample without any possible path counts nothing.
    pub zero_infinity: bool,
}

/// The operands in the form that the kernels read.
struct Operands {
    log_probabilities: Value,
    integers: [Value; 3],
}

impl Operands {
    /// The operands, checked: lengths that fit, labels that are classes and not the blank.
    fn new(labels: Labels, inputs: &[&Value]) -> Result<Operands> {
        let log_probabilities = inputs[0].to_contiguous()?;
        let integers = [inputs[1].to_contiguous()?, inputs[2].to_contiguous()?, inputs[3].to_contiguous()?];
        let [targets, input_lengths, target_lengths] =
            [0, 1, 2].map(|i| integers[i].as_slice::<i64>().unwrap_or_default());
        let (time, classes, width) = (inputs[0].shape()[0], inputs[0].shape()[2], inputs[1].shape()[1]);
        for (sample, (&steps, &count)) in input_lengths.iter().zip(target_lengths).enumerate() {
            if steps < 0 || steps as usize > time || count < 0 || count as usize > width {
                return Err(Error::value(
                    NAME,
                    format_args!(
                        "sample {sample} has input length {steps} and target length {count}; there are {time} time \
                         steps and at most {width} labels"
                    ),
                ));
            }
            let own = &targets[sample * width..][..count as usize];
            if let Some(label) = own.iter().find(|&&label| label < 0 || label as usize >= classes) {
                return Err(Error::index(
                    NAME,
                    format_args!("label {label} of sample {sample} is not one of {classes} classes"),
                ));
            }
            if own.contains(&(labels.blank as i64)) {
                return Err(Error::value(
                    NAME,
                    format_args!("the targets of sample {sample} hold the blank {}, which is no label", labels.blank),
                ));
            }
        }
        Ok(Operands { log_probabilities, integers })
    }

    fn describe<T: Real>(&self, labels: Labels) -> kernel::Ctc<T> {
        let (shape, width) = (self.log_probabilities.shape(), self.integers[0].shape()[1]);
        let [targets, input_lengths, target_lengths] = [0, 1, 2].map(|i| self.integers[i].pointer().cast::<i64>());
        kernel::Ctc {
            log_probabilities: self.log_probabilities.pointer().cast(),
            targets,
            input_lengths,
            target_lengths,
            blank: labels.blank,
            zero_infinity: labels.zero_infinity,
            sizes: (shape[0], shape[1], shape[2], width),
        }
    }
}

/// Where a column of numbers is above the position along a last axis of `length` positions.
fn below(length: usize, like: &Tensor, bound: &Tensor) -> Result<Tensor> {
    on_device(arange(0i64, length as i64, 1i64, None)?, like)?.less(&bound.expand_dims(-1)?)
}

fn on_device(tensor: Tensor, like: &Tensor) -> Result<Tensor> {
    like.device().map_or(Ok(tensor.clone()), |device| tensor.to_device(device))
}

/// A row of states moved by `by`, impossible ones moving in.
fn moved(states: &Tensor, by: usize) -> Result<Tensor> {
    let length = states.shape()[1];
    states.pad_constant(&[(0, 0), (by, 0)], IMPOSSIBLE)?.narrow(1, 0, length)
}

/// The losses in other operations.
fn define(labels: Labels, inputs: &[Tensor]) -> Result<Tensor> {
    let [lines, targets, input_lengths, target_lengths] = [&inputs[0], &inputs[1], &inputs[2], &inputs[3]];
    let (time, batch, width) = (lines.shape()[0], lines.shape()[1], targets.shape()[1]);
    let (blank, states) = (labels.blank as i64, 2 * width + 1);
    // The class of every state; what lies behind a sample's labels is not read.
    let own = below(width, lines, target_lengths)?;
    let targets = where_(&own, targets, blank)?;
    let blanks = targets.filled_like(blank.into())?;
    let pairs = stack(&[&blanks, &targets], 2)?.reshape(&[batch as isize, 2 * width as isize])?;
    let last = on_device(Tensor::full(&[batch, 1], blank, DType::I64)?, lines)?;
    let classes = concat(&[&pairs, &last], 1)?;
    // What entering a state from two states before adds.
    let before = classes.pad_constant(&[(0, 0), (2, 0)], blank)?.narrow(1, 0, states)?;
    let allowed = classes.not_equal(blank)?.logical_and(&classes.not_equal(&before)?)?;
    let zero = on_device(Tensor::zeros(&[batch, states], lines.dtype())?, lines)?;
    let skips = where_(&allowed, &zero, IMPOSSIBLE)?;
    let emissions = lines.take_along_axis(&classes.expand_dims(0)?, 2)?.maximum(IMPOSSIBLE)?;
    let positions = on_device(arange(0i64, states as i64, 1i64, None)?, lines)?;
    let mut alpha = where_(&positions.equal(0i64)?.broadcast_to(&[batch, states])?, &zero, IMPOSSIBLE)?;
    for step in 0..time {
        let leap = moved(&alpha, 2)?.add(&skips)?;
        let next = stack(&[&alpha, &moved(&alpha, 1)?, &leap], 0)?.logsumexp(Some(&[0]), false)?;
        let next = next.add(&emissions.narrow(0, step, 1)?.squeeze(&[0])?)?;
        alpha = where_(&input_lengths.greater(step as i64)?.expand_dims(-1)?, &next, &alpha)?;
    }
    let end = target_lengths.mul(2i64)?.expand_dims(-1)?;
    let ends = positions.equal(&end)?.logical_or(&positions.equal(&end.sub(1i64)?)?)?;
    let total = where_(&ends, &alpha, IMPOSSIBLE)?.logsumexp(Some(&[1]), false)?;
    let nothing = if labels.zero_infinity { 0.0 } else { f64::INFINITY };
    where_(&total.less(0.5 * IMPOSSIBLE)?, nothing, &total.neg()?)
}

/// The shape of alpha for operands of these shapes.
fn alpha_shape(lines: &Shape, targets: &Shape, kept: bool) -> Result<Shape> {
    let overflow =
        || Error::Overflow(format!("{NAME}: the recursion over {} and {} is too large", show(lines), show(targets)));
    let row = targets[1].checked_mul(2).and_then(|row| row.checked_add(3)).ok_or_else(overflow)?;
    Shape::from_slice(&[lines[1], if kept { lines[0].checked_add(1).ok_or_else(overflow)? } else { 2 }, row])
}

impl Family for Ctc {
    fn name(&self) -> &'static str {
        match self {
            Ctc::Losses(..) => NAME,
            Ctc::Gradient(_) => "ctc_gradient",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        Ok(match self {
            Ctc::Losses(_, kept) => {
                let lines = inputs[0];
                let losses = Spec { dtype: lines.dtype(), shape: Shape::from_slice(&lines.shape()[1..2])? };
                let alpha = alpha_shape(lines.shape(), inputs[1].shape(), *kept)?;
                smallvec![losses, Spec { dtype: DType::F64, shape: alpha }]
            }
            Ctc::Gradient(_) => smallvec![Spec { dtype: inputs[2].dtype(), shape: *inputs[2].shape() }],
        })
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let dtype = outputs[0].dtype();
        match self {
            Ctc::Losses(labels, kept) => {
                let operands = Operands::new(*labels, inputs)?;
                let rows = if *kept { inputs[0].shape()[0] + 1 } else { 2 };
                let [losses, alpha] = outputs else { return Ok(()) };
                with_real!(dtype, T => {
                    // SAFETY: contiguous and checked operands; the fresh outputs have the sizes that `outputs` gave.
                    unsafe { kernel::ctc::<T>(&operands.describe(*labels), rows, losses.pointer_mut().cast(), alpha.pointer_mut().cast()) }
                })
            }
            Ctc::Gradient(labels) => {
                let (dy, stride) = upstream(inputs[0])?;
                let alpha = inputs[1].to_contiguous()?;
                let operands = Operands::new(*labels, &inputs[2..])?;
                with_real!(dtype, T => {
                    let gradient = outputs[0].pointer_mut().cast();
                    // SAFETY: as above; all rows of alpha were kept, the upstream has an element per sample or one for all.
                    unsafe { kernel::ctc_gradient::<T>(&operands.describe(*labels), alpha.pointer().cast(), dy.pointer().cast(), stride, gradient) }
                })
            }
        }
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let Ctc::Losses(labels, _) = *self else { return pull_expansion(self, saved, dy) };
        let operands = [dy, saved.extra(0)?, saved.input(0)?, saved.input(1)?, saved.input(2)?, saved.input(3)?];
        Ok(smallvec![Some(apply(Ctc::Gradient(labels), &operands)?), None, None, None])
    }

    fn jvp(&self, inputs: &[Tensor], outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        let Ctc::Losses(labels, _) = *self else { return push_expansion(self, inputs, tangents) };
        let Some(tangent) = &tangents[0] else { return Ok(None) };
        let ones = outputs[0].detach().ones_like()?;
        let operands = [&ones, &outputs[1], &inputs[0], &inputs[1], &inputs[2], &inputs[3]];
        let slopes = apply(Ctc::Gradient(labels), &operands)?;
        slopes.mul(tangent)?.sum(Some(&[0, 2]), false).map(Some)
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        let expanded = || {
            Ok(match *self {
                Ctc::Losses(labels, kept) => {
                    let losses = define(labels, inputs)?;
                    // The definition of the gradient has no use for alpha.
                    let shape = alpha_shape(inputs[0].shape(), inputs[1].shape(), kept)?;
                    let alpha = on_device(Tensor::scalar(0.0, DType::F64), &inputs[0])?.broadcast_to(&shape)?;
                    smallvec![losses, alpha]
                }
                Ctc::Gradient(labels) => {
                    let lines = &inputs[2];
                    let loss = |x: &[Tensor]| {
                        let operands = [x[0].clone(), inputs[3].clone(), inputs[4].clone(), inputs[5].clone()];
                        Ok(vec![define(labels, &operands)?])
                    };
                    let pulled = vjp_through(loss, std::slice::from_ref(lines), &[Some(inputs[0].clone())])?;
                    smallvec![pulled.into_iter().next().flatten().map_or_else(|| lines.zeros_like(), Ok)?]
                }
            })
        };
        Some(expanded())
    }
}

/// What a CTC loss takes besides its four operands.
///
/// ```
/// use luxon::{CtcOptions, LossReduction};
/// let options = CtcOptions { reduction: LossReduction::Sum, ..Default::default() };
/// assert_eq!(options.blank, 0);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CtcOptions {
    /// The class of no label.
    pub blank: usize,
    /// Whether samples without any possible path count nothing, instead of infinity.
    pub zero_infinity: bool,
    /// How samples are reduced; the mean divides each loss by its number of labels first, as in PyTorch.
    pub reduction: LossReduction,
}

/// One row of labels per sample, from rows or from all labels one after the other.
fn rows(targets: &Tensor, lengths: &Tensor) -> Result<Tensor> {
    if targets.rank() == 2 {
        return targets.cast(DType::I64);
    }
    let all = targets.cast(DType::I64)?.detach().to_host()?.to_vec::<i64>()?;
    let lengths = lengths.cast(DType::I64)?.detach().to_host()?.to_vec::<i64>()?;
    let total = lengths.iter().try_fold(0i64, |sum, &length| if length < 0 { None } else { sum.checked_add(length) });
    if total != i64::try_from(all.len()).ok() {
        return Err(Error::value(
            NAME,
            format_args!("{} labels one after the other do not add up to the target lengths {lengths:?}", all.len()),
        ));
    }
    let width = lengths.iter().copied().max().unwrap_or(0) as usize;
    let (mut padded, mut first) = (Vec::new(), 0);
    for &length in &lengths {
        let length = length as usize;
        padded.extend_from_slice(&all[first..first + length]);
        padded.resize(padded.len() + width - length, 0);
        first += length;
    }
    on_device(Tensor::new(&padded, &[lengths.len(), width])?, targets)
}

/// Minus the logarithm of the probability that the labels come out, summed over all alignments with time
/// (Graves et al. 2006).
///
/// `log_probabilities` are (time, batch, classes), `targets` (batch, labels), or all labels one after the other;
/// the lengths are (batch,).
///
/// ```
/// use luxon::{CtcOptions, DType, Tensor, ctc};
/// // Two steps of blank or "1", each as likely: "1" is written by 11, -1 and 1-, three of four paths.
/// let log_probabilities = Tensor::full(&[2, 1, 2], 0.5f64.ln(), DType::F64)?;
/// let (targets, steps) = (Tensor::new(&[1i64], &[1, 1])?, Tensor::new(&[2i64], &[1])?);
/// let loss = ctc(&log_probabilities, &targets, &steps, &Tensor::new(&[1i64], &[1])?, &CtcOptions::default())?;
/// assert!((loss.to_vec::<f64>()?[0] + 0.75f64.ln()).abs() < 1e-12);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for shapes that do not fit, [`Error::Type`] for probabilities that are not floating or
/// labels that are not integers, [`Error::Index`] for labels that are no classes, [`Error::Value`] for a blank
/// that is no class or among the labels, and lengths beyond the sizes.
pub fn ctc(
    log_probabilities: &Tensor,
    targets: &Tensor,
    input_lengths: &Tensor,
    target_lengths: &Tensor,
    options: &CtcOptions,
) -> Result<Tensor> {
    let dtype = joined_float(NAME, &[log_probabilities])?;
    for integers in [targets, input_lengths, target_lengths] {
        if integers.dtype().kind() != Kind::Int {
            return Err(Error::unsupported(NAME, integers.dtype(), "integers as targets and lengths"));
        }
    }
    let shape = log_probabilities.shape();
    let fits = shape.len() == 3
        && [input_lengths, target_lengths].iter().all(|lengths| lengths.shape()[..] == shape[1..2])
        && (targets.rank() == 1 || targets.rank() == 2 && targets.shape()[0] == shape[1]);
    if !fits {
        return Err(Error::shape(
            NAME,
            format_args!(
                "log probabilities {}, targets {}, input lengths {}, target lengths {}; expected (time, batch, \
                 classes), (batch, labels), (batch,), (batch,)",
                show(shape),
                show(targets.shape()),
                show(input_lengths.shape()),
                show(target_lengths.shape())
            ),
        ));
    }
    if options.blank >= shape[2] {
        return Err(Error::value(NAME, format_args!("the blank {} is not one of {} classes", options.blank, shape[2])));
    }
    let labels = Labels { blank: options.blank, zero_infinity: options.zero_infinity };
    let lines = log_probabilities.cast(compute_dtype(dtype))?;
    let targets = rows(targets, target_lengths)?;
    let (inputs, lengths) = (input_lengths.cast(DType::I64)?, target_lengths.cast(DType::I64)?);
    let op = Ctc::Losses(labels, lines.is_tracked());
    let losses = apply_all(op.into(), &[&lines, &targets, &inputs, &lengths])?.swap_remove(0);
    let losses = match options.reduction {
        LossReduction::Mean => losses.div(&lengths.maximum(1i64)?.cast(losses.dtype())?)?,
        _ => losses,
    };
    options.reduction.apply(&losses)?.cast(dtype)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::testing::{check_gradients, sample};

    fn operands(dtype: DType) -> Vec<Tensor> {
        let lines = sample(&[6, 4, 3], -2.0, 1.0, 1).log_softmax(-1).unwrap().cast(dtype).unwrap();
        let targets = Tensor::new(&[1i64, 2, 1, 1, 1, 0, -7, 99, 0, 2, 2, 2], &[4, 3]).unwrap();
        let inputs = Tensor::new(&[6i64, 5, 4, 4], &[4]).unwrap();
        vec![lines, targets, inputs, Tensor::new(&[3i64, 2, 0, 3], &[4]).unwrap()]
    }

    fn wide(tensor: &Tensor) -> Vec<f64> {
        tensor.cast(DType::F64).unwrap().to_vec().unwrap()
    }

    #[test]
    fn kernels_equal_the_definition() {
        for (dtype, bound) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
            for zero_infinity in [false, true] {
                let labels = Labels { blank: 0, zero_infinity };
                let inputs = operands(dtype);
                let op = Ctc::Losses(labels, true);
                let outputs = apply_all(op.into(), &inputs.iter().collect::<Vec<_>>()).unwrap();
                let defined = op.expand(&inputs).unwrap().unwrap();
                assert_eq!(outputs[1].shape(), defined[1].shape());
                for (x, y) in wide(&outputs[0]).iter().zip(wide(&defined[0])) {
                    assert!(*x == y || (x - y).abs() <= bound * (1.0 + y.abs()), "{x} {y}");
                }
                assert_eq!(wide(&outputs[0])[3], if zero_infinity { 0.0 } else { f64::INFINITY });
                let mut given = vec![Tensor::new(&[1.0, -0.5, 2.0, 1.0], &[4]).unwrap().cast(dtype).unwrap()];
                given.push(outputs[1].clone());
                given.extend(inputs);
                let op = Ctc::Gradient(labels);
                let slopes = apply(op, &given.iter().collect::<Vec<_>>()).unwrap();
                let defined = op.expand(&given).unwrap().unwrap();
                for (x, y) in wide(&slopes).iter().zip(wide(&defined[0])) {
                    assert!(x.is_nan() != zero_infinity && x.is_nan() || (x - y).abs() <= bound, "{x} {y}");
                }
            }
        }
    }

    #[test]
    fn gradients_are_right_to_second_order() {
        let all = operands(DType::F64);
        let options = CtcOptions { zero_infinity: true, reduction: LossReduction::None, ..Default::default() };
        check_gradients(|x| ctc(&x[0], &all[1], &all[2], &all[3], &options), &all[..1]);
    }

    #[test]
    fn labels_may_come_one_after_the_other() {
        let all = operands(DType::F64);
        let flat = Tensor::new(&[1i64, 2, 1, 1, 1, 2, 2, 2], &[8]).unwrap();
        for reduction in [LossReduction::Mean, LossReduction::Sum, LossReduction::None] {
            let options = CtcOptions { zero_infinity: true, reduction, ..Default::default() };
            let rows = ctc(&all[0], &all[1], &all[2], &all[3], &options).unwrap();
            assert_eq!(wide(&rows), wide(&ctc(&all[0], &flat, &all[2], &all[3], &options).unwrap()));
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let all = operands(DType::F64);
        let options = CtcOptions::default();
        let run =
            |targets: &Tensor, inputs: &Tensor, options: &CtcOptions| ctc(&all[0], targets, inputs, &all[3], options);
        let int = |values: &[i64], shape: &[usize]| Tensor::new(values, shape).unwrap();
        assert!(matches!(run(&int(&[3; 12], &[4, 3]), &all[2], &options), Err(Error::Index(_))));
        assert!(matches!(run(&int(&[0; 12], &[4, 3]), &all[2], &options), Err(Error::Value(_))));
        assert!(matches!(run(&int(&[1; 9], &[9]), &all[2], &options), Err(Error::Value(_))));
        assert!(matches!(run(&int(&[1; 9], &[3, 3]), &all[2], &options), Err(Error::Shape(_))));
        assert!(matches!(run(&all[1], &int(&[7; 4], &[4]), &options), Err(Error::Value(_))));
        assert!(matches!(run(&all[1], &all[0], &options), Err(Error::Type(_))));
        let outside = CtcOptions { blank: 3, ..options };
        assert!(matches!(run(&all[1], &all[2], &outside), Err(Error::Value(_))));
    }
}
