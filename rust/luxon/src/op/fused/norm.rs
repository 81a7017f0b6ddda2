//! Normalisation: layer, RMS, batch (in training and with given statistics) and group norm.
//!
//! Every kind is `(x - mean) / sqrt(variance + eps) * weight + bias` and differs in what the statistics
//! are taken over and how weight and bias are laid out. The kernel gives the statistics back as untracked
//! outputs: backward reads them, and a layer updates its running ones with them. One operation computes
//! all gradients that are wanted, for untracked cotangents; under a further differentiation the definition
//! is recorded instead.

use smallvec::{SmallVec, smallvec};

use super::{compute_dtype, pull_expansion, push_expansion, widened, with_real};
use crate::cpu::norm as kernel;
use crate::cuda::Plan;
use crate::error::Result;
use crate::layout::Shape;
use crate::op::index::beside;
use crate::op::{Family, Gradients, Outputs, Saved, Saves, Spec, Specs, apply_all};
use crate::tensor::{Tensor, Value};
use crate::transform::vjp_through;

mod cuda;

/// What the statistics are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The axes from `first` on; weight and bias have their sizes.
    Layer {
        /// The first of them.
        first: usize,
    },
    /// The same without a mean (and without a bias).
    Rms {
        /// The first axis.
        first: usize,
    },
    /// All axes but 1, the channels; weight and bias go by channel.
    Batch,
    /// Nothing: mean and variance per channel are further inputs, after x.
    Given,
    /// Each of so many groups of channels of each example, and all axes after the channels.
    Group {
        /// The number of groups.
        groups: usize,
    },
}

/// A normalisation of x, then (for [`Over::Given`]) mean and variance, then weight and bias where it has them.
///
/// Outputs besides y: mean and reciprocal deviation (layer, group), the latter (RMS), mean, biased variance
/// and reciprocal deviation (batch), none (given).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// What the statistics are taken over.
    pub over: Over,
    /// What is added to the variance.
    pub eps: f64,
    /// Whether there is a weight.
    pub weight: bool,
    /// Whether there is a bias.
    pub bias: bool,
}

/// The gradients of a [`Norm`] from dy, x, mean, reciprocal deviation and the weight, if there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormGradient {
    /// The normalisation.
    pub norm: Norm,
    /// Which gradients are computed: of x, weight and bias; the others come out empty.
    pub wanted: [bool; 3],
}

/// x as a matrix of rows, or as (batch, channels, spatial).
struct Sizes {
    outer: usize,
    middle: usize,
    inner: usize,
}

fn product(sizes: &[usize]) -> usize {
    sizes.iter().product()
}

impl Norm {
    /// Rows and columns (the latter as `middle`) for layer and RMS norm; batch, channels and the rest else.
    fn sizes(&self, x: &Shape) -> Sizes {
        match self.over {
            Over::Layer { first } | Over::Rms { first } => {
                Sizes { outer: product(&x[..first]), middle: product(&x[first..]), inner: 1 }
            }
            _ => Sizes { outer: x[0], middle: x[1], inner: product(&x[2..]) },
        }
    }

    /// The shape of weight and bias.
    pub(super) fn affine_shape(&self, x: &Shape) -> Result<Shape> {
        match self.over {
            Over::Layer { first } | Over::Rms { first } => Shape::from_slice(&x[first..]),
            _ => Shape::from_slice(&x[1..2]),
        }
    }

    /// The shape of the statistics.
    fn statistics_shape(&self, x: &Shape) -> Result<Shape> {
        match self.over {
            Over::Layer { first } | Over::Rms { first } => Shape::from_slice(&x[..first]),
            Over::Batch | Over::Given => Shape::from_slice(&x[1..2]),
            Over::Group { groups } => Shape::from_slice(&[x[0], groups]),
        }
    }

    /// Positions of weight and bias among the inputs.
    fn affine_inputs(&self) -> (Option<usize>, Option<usize>) {
        let first = if self.over == Over::Given { 3 } else { 1 };
        let weight = self.weight.then_some(first);
        (weight, self.bias.then_some(first + usize::from(self.weight)))
    }

    /// A per-channel tensor shaped to broadcast against x; one over trailing axes is so already.
    fn spread(&self, tensor: &Tensor, x: &Tensor) -> Result<Tensor> {
        if matches!(self.over, Over::Layer { .. } | Over::Rms { .. }) {
            return Ok(tensor.clone());
        }
        let mut shape = Shape::filled(1, x.rank())?;
        shape[1] = x.shape()[1];
        tensor.reshape_to(&shape)
    }

    /// `x - mean`, `1 / sqrt(variance + eps)` and, where there are any, mean and variance themselves.
    fn moments(&self, x: &Tensor) -> Result<(Tensor, Tensor, Option<(Tensor, Tensor)>)> {
        let axes: Vec<isize> = match self.over {
            Over::Layer { first } | Over::Rms { first } => (first as isize..x.rank() as isize).collect(),
            Over::Group { .. } => (2..x.rank() as isize).collect(),
            _ => std::iter::once(0).chain(2..x.rank() as isize).collect(),
        };
        if let Over::Rms { .. } = self.over {
            let deviation = x.square()?.mean(Some(&axes), true)?.add(self.eps)?.rsqrt()?;
            return Ok((x.clone(), deviation, None));
        }
        let mean = x.mean(Some(&axes), true)?;
        let centred = x.sub(&mean)?;
        let variance = centred.square()?.mean(Some(&axes), true)?;
        let deviation = variance.add(self.eps)?.rsqrt()?;
        Ok((centred, deviation, Some((mean, variance))))
    }

    fn define(&self, inputs: &[Tensor]) -> Result<Outputs> {
        let x = &inputs[0];
        let statistics = self.statistics_shape(x.shape())?;
        let (mut y, extra): (Tensor, SmallVec<[Tensor; 3]>) = match self.over {
            Over::Given => {
                let deviation = self.spread(&inputs[2], x)?.add(self.eps)?.rsqrt()?;
                (x.sub(&self.spread(&inputs[1], x)?)?.mul(&deviation)?, smallvec![])
            }
            Over::Group { groups } => {
                // Groups are rows: (batch, groups, channels in a group * spatial).
                let row = x.count().checked_div(x.shape()[0] * groups).unwrap_or(0);
                let rows = x.reshape_to(&Shape::from_slice(&[x.shape()[0], groups, row])?)?;
                let (centred, deviation, moments) = self.moments(&rows)?;
                let y = centred.mul(&deviation)?.reshape_to(x.shape())?;
                (y, moments.into_iter().map(|(mean, _)| mean).chain([deviation]).collect())
            }
            _ => {
                let (centred, deviation, moments) = self.moments(x)?;
                let y = centred.mul(&deviation)?;
                let moments = moments
                    .map(|(mean, variance)| if self.over == Over::Batch { vec![mean, variance] } else { vec![mean] });
                (y, moments.into_iter().flatten().chain([deviation]).collect())
            }
        };
        let (weight, bias) = self.affine_inputs();
        if let Some(weight) = weight {
            y = y.mul(&self.spread(&inputs[weight], x)?)?;
        }
        if let Some(bias) = bias {
            y = y.add(&self.spread(&inputs[bias], x)?)?;
        }
        let mut outputs: Outputs = smallvec![y];
        for statistic in extra {
            outputs.push(statistic.detach().reshape_to(&statistics)?);
        }
        Ok(outputs)
    }
}

/// The address of an optional operand.
fn address<T>(value: Option<&Value>) -> *const T {
    value.map_or(std::ptr::null(), |value| value.pointer().cast())
}

impl Family for Norm {
    fn name(&self) -> &'static str {
        match self.over {
            Over::Layer { .. } => "layer_norm",
            Over::Rms { .. } => "rms_norm",
            Over::Batch | Over::Given => "batch_norm",
            Over::Group { .. } => "group_norm",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let (dtype, shape) = (inputs[0].dtype(), *inputs[0].shape());
        let statistics = Spec { dtype: compute_dtype(dtype), shape: self.statistics_shape(&shape)? };
        let mut specs: Specs = smallvec![Spec { dtype, shape }];
        let extra = match self.over {
            Over::Layer { .. } | Over::Group { .. } => 2,
            Over::Rms { .. } => 1,
            Over::Batch => 3,
            Over::Given => 0,
        };
        specs.extend((0..extra).map(|_| statistics));
        Ok(specs)
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let contiguous = inputs.iter().map(|input| input.to_contiguous()).collect::<Result<SmallVec<[Value; 5]>>>()?;
        let Sizes { outer, middle, inner } = self.sizes(inputs[0].shape());
        let (weight, bias) = self.affine_inputs();
        let eps = self.eps;
        with_real!(inputs[0].dtype(), T => {
            let input = |index: Option<usize>| address::<T>(index.map(|index| &contiguous[index]));
            let (x, weight, bias) = (input(Some(0)), input(weight), input(bias));
            let mut results = outputs.iter_mut().map(|output| output.pointer_mut().cast::<T>());
            let mut result = || results.next().unwrap_or(std::ptr::null_mut());
            let y = result();
            // SAFETY: everything is contiguous and sized by x as the shapes say; the outputs are fresh.
            unsafe {
                match self.over {
                    Over::Layer { .. } => kernel::layer_norm(x, weight, bias, eps, y, result(), result(), outer, middle),
                    Over::Rms { .. } => kernel::rms_norm(x, weight, eps, y, result(), outer, middle),
                    Over::Batch => kernel::batch_norm(x, weight, bias, eps, y, result(), result(), result(), (outer, middle, inner)),
                    Over::Given => kernel::batch_norm_inference(x, weight, bias, input(Some(1)), input(Some(2)), eps, y, (outer, middle, inner)),
                    Over::Group { groups } => kernel::group_norm(x, weight, bias, eps, y, result(), result(), (outer, middle, inner), groups)?,
                }
            }
        });
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        Some(cuda::plan(self, inputs, outputs))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let (weight, bias) = self.affine_inputs();
        let tracked = (0..saved.arity()).any(|index| saved.input(index).is_ok_and(Tensor::is_tracked));
        let statistics = self.over == Over::Given && (saved.wants(1) || saved.wants(2));
        if tracked || dy.is_tracked() || statistics {
            return pull_expansion(self, saved, dy);
        }
        let deviation;
        let (mean, deviation) = match self.over {
            Over::Layer { .. } | Over::Group { .. } => (saved.extra(0)?, saved.extra(1)?),
            Over::Rms { .. } => (saved.extra(0)?, saved.extra(0)?),
            Over::Batch => (saved.extra(0)?, saved.extra(2)?),
            Over::Given => {
                deviation = saved.input(2)?.add(self.eps)?.rsqrt()?;
                (saved.input(1)?, &deviation)
            }
        };
        let wants = |index: Option<usize>| index.is_some_and(|index| saved.wants(index));
        let op = NormGradient { norm: *self, wanted: [saved.wants(0), wants(weight), wants(bias)] };
        let mut operands: SmallVec<[&Tensor; 5]> = smallvec![dy, saved.input(0)?, mean, deviation];
        if let Some(weight) = weight {
            operands.push(saved.input(weight)?);
        }
        let outputs = apply_all(op.into(), &operands)?;
        let mut gradients: Gradients = (0..saved.arity()).map(|_| None).collect();
        for ((index, output), wanted) in [Some(0), weight, bias].into_iter().zip(outputs).zip(op.wanted) {
            if let Some(index) = index.filter(|_| wanted) {
                gradients[index] = Some(output);
            }
        }
        Ok(gradients)
    }

    fn jvp(&self, inputs: &[Tensor], _outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        push_expansion(self, inputs, tangents)
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        Some(widened(self, inputs, |inputs| self.define(inputs)))
    }
}

impl Family for NormGradient {
    fn name(&self) -> &'static str {
        match self.norm.over {
            Over::Layer { .. } => "layer_norm_gradient",
            Over::Rms { .. } => "rms_norm_gradient",
            Over::Batch | Over::Given => "batch_norm_gradient",
            Over::Group { .. } => "group_norm_gradient",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let (dtype, x) = (inputs[1].dtype(), *inputs[1].shape());
        let nothing = Shape::from_slice(&[0])?;
        let affine = self.norm.affine_shape(&x)?;
        let shapes = [x, affine, affine].into_iter().zip(self.wanted);
        let dtypes = [dtype, compute_dtype(dtype), compute_dtype(dtype)];
        let specs = shapes.zip(dtypes);
        Ok(specs.map(|((shape, wanted), dtype)| Spec { dtype, shape: if wanted { shape } else { nothing } }).collect())
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let contiguous = inputs.iter().map(|input| input.to_contiguous()).collect::<Result<SmallVec<[Value; 5]>>>()?;
        let Sizes { outer, middle, inner } = self.norm.sizes(inputs[1].shape());
        with_real!(inputs[1].dtype(), T => {
            let input = |index: usize| address::<T>(contiguous.get(index));
            let (dy, x, mean, deviation, weight) = (input(0), input(1), input(2), input(3), input(4));
            let mut results = outputs.iter_mut().zip(self.wanted).map(|(output, wanted)| if wanted { output.pointer_mut().cast::<T>() } else { std::ptr::null_mut() });
            let mut result = || results.next().unwrap_or(std::ptr::null_mut());
            let (dx, dweight, dbias) = (result(), result(), result());
            // SAFETY: everything is contiguous and sized by x as the shapes say; the outputs are fresh.
            unsafe {
                match self.norm.over {
                    Over::Layer { .. } => kernel::layer_norm_gradient(dy, x, mean, deviation, weight, dx, dweight, dbias, outer, middle)?,
                    Over::Rms { .. } => kernel::rms_norm_gradient(dy, x, deviation, weight, dx, dweight, outer, middle)?,
                    Over::Batch | Over::Given => {
                        let training = self.norm.over == Over::Batch;
                        kernel::batch_norm_gradient(dy, x, mean, deviation, weight, dx, dweight, dbias, (outer, middle, inner), training);
                    }
                    Over::Group { groups } => {
                        kernel::group_norm_gradient(dy, x, mean, deviation, weight, dx, dweight, dbias, (outer, middle, inner), groups)?;
                    }
                }
            }
        });
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], _outputs: &[Spec]) -> Option<Result<Plan>> {
        Some(cuda::gradient(self, inputs))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        pull_expansion(self, saved, dy)
    }

    fn jvp(&self, inputs: &[Tensor], _outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        push_expansion(self, inputs, tangents)
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        let define = || {
            let x = &inputs[1];
            let mut operands = vec![x.clone()];
            if self.norm.over == Over::Given {
                // The variance that gave the reciprocal deviation.
                let variance = inputs[3].square()?.reciprocal()?.sub(self.norm.eps)?;
                operands.extend([inputs[2].clone(), variance]);
            }
            operands.extend(inputs.get(4).cloned());
            if self.norm.bias {
                let zero = x.zeros_like()?.sum(Some(&(0..x.rank() as isize).collect::<Vec<_>>()), false)?;
                operands.push(zero.broadcast_to(&self.norm.affine_shape(x.shape())?)?);
            }
            let (weight, bias) = self.norm.affine_inputs();
            let mut pulled = vjp_through(
                |operands| Ok(vec![self.norm.define(operands)?.swap_remove(0)]),
                &operands,
                &[Some(inputs[0].clone())],
            )?;
            let nothing = || beside(Tensor::zeros(&[0], x.dtype())?, x);
            let mut outputs = Outputs::new();
            for (index, wanted) in [Some(0), weight, bias].into_iter().zip(self.wanted) {
                outputs.push(match index.filter(|_| wanted) {
                    Some(index) => pulled[index].take().map_or_else(|| operands[index].zeros_like(), Ok)?,
                    None => nothing()?,
                });
            }
            Ok(outputs)
        };
        Some(define())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::op::apply;
    use crate::op::testing::{assert_close, sample};

    fn cases() -> Vec<(Over, &'static [usize])> {
        vec![
            (Over::Layer { first: 1 }, &[3, 5]),
            (Over::Layer { first: 1 }, &[2, 3, 17]),
            (Over::Layer { first: 2 }, &[2, 3, 130]),
            (Over::Layer { first: 1 }, &[0, 3]),
            (Over::Layer { first: 0 }, &[7]),
            (Over::Rms { first: 1 }, &[3, 5]),
            (Over::Rms { first: 2 }, &[2, 1, 33]),
            (Over::Rms { first: 1 }, &[0, 4]),
            (Over::Batch, &[6, 3]),
            (Over::Batch, &[2, 3, 5, 2]),
            (Over::Batch, &[3, 20, 7]),
            (Over::Given, &[6, 3]),
            (Over::Given, &[2, 3, 5]),
            (Over::Given, &[0, 3, 5]),
            (Over::Group { groups: 2 }, &[3, 4]),
            (Over::Group { groups: 2 }, &[2, 6, 3, 3]),
            (Over::Group { groups: 4 }, &[2, 4, 19]),
        ]
    }

    fn operands(norm: &Norm, shape: &[usize]) -> Vec<Tensor> {
        let x = sample(shape, -2.0, 3.0, 1);
        let affine = norm.affine_shape(x.shape()).unwrap();
        let mut operands = vec![x];
        if norm.over == Over::Given {
            operands.extend([sample(&affine, -1.0, 1.0, 4), sample(&affine, 0.5, 2.0, 5)]);
        }
        operands.extend(norm.weight.then(|| sample(&affine, 0.5, 1.5, 2)));
        operands.extend(norm.bias.then(|| sample(&affine, -1.0, 1.0, 3)));
        operands
    }

    #[test]
    fn kernels_equal_their_definitions() {
        for (over, shape) in cases() {
            for (weight, bias) in [(false, false), (true, false), (true, true), (false, true)] {
                if bias && matches!(over, Over::Rms { .. }) {
                    continue;
                }
                let norm = Norm { over, eps: 1e-5, weight, bias };
                let wide = operands(&norm, shape);
                for (dtype, bound) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
                    let what = format!("{norm:?} of {shape:?} in {dtype}");
                    let inputs: Vec<Tensor> = wide.iter().map(|input| input.cast(dtype).unwrap()).collect();
                    let outputs = apply_all(norm.into(), &inputs.iter().collect::<Vec<_>>()).unwrap();
                    let expected = norm.expand(&inputs).unwrap().unwrap();
                    assert_eq!(outputs.len(), expected.len());
                    for (output, expected) in outputs.iter().zip(&expected) {
                        assert_close(output, expected, bound, &what);
                    }
                    // The gradients, by the kernel and by the definition.
                    let dy = sample(shape, -1.0, 1.0, 9).cast(dtype).unwrap();
                    let (mean, deviation) = match over {
                        Over::Given => (inputs[1].clone(), inputs[2].add(norm.eps).unwrap().rsqrt().unwrap()),
                        Over::Rms { .. } => (outputs[1].clone(), outputs[1].clone()),
                        Over::Batch => (outputs[1].clone(), outputs[3].clone()),
                        _ => (outputs[1].clone(), outputs[2].clone()),
                    };
                    let mut given = vec![dy, inputs[0].clone(), mean, deviation];
                    given.extend(norm.affine_inputs().0.map(|index| inputs[index].clone()));
                    for wanted in [[true, weight, bias], [true, false, false], [false, weight, bias]] {
                        let op = NormGradient { norm, wanted };
                        let outputs = apply_all(op.into(), &given.iter().collect::<Vec<_>>()).unwrap();
                        let expected = op.expand(&given).unwrap().unwrap();
                        for (output, expected) in outputs.iter().zip(&expected) {
                            assert_close(output, expected, 5.0 * bound, &format!("gradient {wanted:?} of {what}"));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn gradients_are_right_to_second_order() {
        for (over, shape) in cases() {
            if shape.iter().product::<usize>() > 24 {
                continue;
            }
            for (weight, bias) in [(true, true), (false, false)] {
                let norm = Norm { over, eps: 0.1, weight, bias: bias && !matches!(over, Over::Rms { .. }) };
                let inputs = operands(&norm, shape);
                crate::op::testing::check_gradients(|x| apply(norm, &x.iter().collect::<Vec<_>>()), &inputs);
            }
        }
    }
}
