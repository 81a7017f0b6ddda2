//! Softmax and its relatives along axes: softmax, log-softmax, log-sum-exp.
//!
//! The gradients of the first two are operations on the output and its cotangent, with kernels and
//! definitions of their own; softmax's Jacobian is symmetric, so the same one pushes tangents forward.
//! The largest element is subtracted first. As a shift that cancels, it takes no part in derivatives.

use smallvec::smallvec;

use super::{compute_dtype, pull_expansion, push_expansion, taken_dtype, widened, with_real};
use crate::cpu::softmax as kernel;
use crate::cuda::Plan;
use crate::error::Result;
use crate::layout::{Shape, resolve_axes, resolve_axis};
use crate::op::elementwise::{Kernel, map};
use crate::op::{Family, Gradients, Outputs, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

mod cuda;

/// A function of whole rows along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Softmax {
    /// `exp(x) / sum(exp(x))`.
    Softmax {
        /// The axis of the sum.
        axis: usize,
    },
    /// `x - log(sum(exp(x)))`.
    LogSoftmax {
        /// The axis of the sum.
        axis: usize,
    },
    /// `y (g - sum(y g))` of y and g: the derivative of softmax, both ways.
    SoftmaxGradient {
        /// The axis of the sum.
        axis: usize,
    },
    /// `g - exp(y) sum(g)` of y and g: the derivative of log-softmax, backwards.
    LogSoftmaxGradient {
        /// The axis of the sum.
        axis: usize,
    },
    /// `log(sum(exp(x)))` over neighbouring axes, which disappear.
    LogSumExp {
        /// The first axis of the sum.
        first: usize,
        /// The number of axes.
        count: usize,
    },
}

/// Sizes before, along and after the axes `first .. first + count`.
fn spans(shape: &Shape, first: usize, count: usize) -> (usize, usize, usize) {
    let along = |axes: &[usize]| axes.iter().product();
    (along(&shape[..first]), along(&shape[first..first + count]), along(&shape[first + count..]))
}

impl Softmax {
    fn axes(self) -> (usize, usize) {
        match self {
            Softmax::Softmax { axis }
            | Softmax::LogSoftmax { axis }
            | Softmax::SoftmaxGradient { axis }
            | Softmax::LogSoftmaxGradient { axis } => (axis, 1),
            Softmax::LogSumExp { first, count } => (first, count),
        }
    }

    /// A sum over the axes, which stay as 1.
    fn sum(self, tensor: &Tensor) -> Result<Tensor> {
        let (first, count) = self.axes();
        let axes: Vec<isize> = (first..first + count).map(|axis| axis as isize).collect();
        tensor.sum(Some(&axes), true)
    }

    /// The largest element, 0 where it is infinite or where there is none, without a trace; axes stay as 1.
    fn shift(self, x: &Tensor, keep_infinite: bool) -> Result<Tensor> {
        let (first, count) = self.axes();
        let axes: Vec<isize> = (first..first + count).map(|axis| axis as isize).collect();
        if spans(x.shape(), first, count).1 == 0 {
            return self.sum(&x.detach());
        }
        let largest = x.detach().max(Some(&axes), true)?;
        if keep_infinite {
            return Ok(largest);
        }
        map(Kernel::Where, &[(&largest.isinf()?).into(), 0.0.into(), (&largest).into()])
    }

    /// exp(x - y), where y (axes kept) is the log-sum-exp: the probabilities, 0 in a row of minus infinities.
    fn probabilities(self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let (first, count) = self.axes();
        let mut kept = *x.shape();
        kept[first..first + count].fill(1);
        let y = y.reshape_to(&kept)?;
        let nothing = y.detach().equal(f64::NEG_INFINITY)?;
        let y = map(Kernel::Where, &[(&nothing).into(), 0.0.into(), (&y).into()])?;
        x.sub(&y)?.exp()
    }
}

impl Family for Softmax {
    fn name(&self) -> &'static str {
        match self {
            Softmax::Softmax { .. } => "softmax",
            Softmax::LogSoftmax { .. } => "log_softmax",
            Softmax::SoftmaxGradient { .. } => "softmax_gradient",
            Softmax::LogSoftmaxGradient { .. } => "log_softmax_gradient",
            Softmax::LogSumExp { .. } => "logsumexp",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let mut shape = *inputs[0].shape();
        if let Softmax::LogSumExp { first, count } = *self {
            (0..count).for_each(|_| shape.remove(first));
        }
        Ok(smallvec![Spec { dtype: inputs[0].dtype(), shape }])
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let (first, count) = self.axes();
        let (outer, axis, inner) = spans(inputs[0].shape(), first, count);
        let x = inputs[0].to_contiguous()?;
        let g = inputs.get(1).map(|g| g.to_contiguous()).transpose()?;
        let g = g.as_ref().map_or(std::ptr::null(), Value::pointer);
        with_real!(outputs[0].dtype(), T => {
            let (x, g, y) = (x.pointer().cast::<T>(), g.cast::<T>(), outputs[0].pointer_mut().cast::<T>());
            // SAFETY: all contiguous, with as many elements as the sizes say; the output is fresh.
            unsafe {
                match self {
                    Softmax::Softmax { .. } => kernel::softmax(x, y, outer, axis, inner),
                    Softmax::LogSoftmax { .. } => kernel::log_softmax(x, y, outer, axis, inner),
                    Softmax::SoftmaxGradient { .. } => kernel::softmax_gradient(x, g, y, outer, axis, inner),
                    Softmax::LogSoftmaxGradient { .. } => kernel::log_softmax_gradient(x, g, y, outer, axis, inner),
                    Softmax::LogSumExp { .. } => kernel::logsumexp(x, y, outer, axis, inner),
                }
            }
        });
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        Some(cuda::plan(*self, inputs, &outputs[0]))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        match self {
            Softmax::Softmax { .. } | Softmax::LogSoftmax { .. } => Saves::OUTPUT,
            Softmax::SoftmaxGradient { .. } | Softmax::LogSoftmaxGradient { .. } => Saves::INPUTS,
            Softmax::LogSumExp { .. } => Saves::ALL,
        }
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let gradient = match *self {
            Softmax::Softmax { axis } => apply(Softmax::SoftmaxGradient { axis }, &[saved.output()?, dy])?,
            Softmax::LogSoftmax { axis } => apply(Softmax::LogSoftmaxGradient { axis }, &[saved.output()?, dy])?,
            Softmax::SoftmaxGradient { .. } | Softmax::LogSoftmaxGradient { .. } => {
                return pull_expansion(self, saved, dy);
            }
            Softmax::LogSumExp { first, count } => {
                let x = saved.input(0)?;
                let mut kept = *x.shape();
                kept[first..first + count].fill(1);
                self.probabilities(x, saved.output()?)?.mul(&dy.reshape_to(&kept)?)?
            }
        };
        Ok(smallvec![Some(gradient)])
    }

    fn jvp(&self, inputs: &[Tensor], outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        let Some(tangent) = &tangents[0] else { return push_expansion(self, inputs, tangents) };
        let y = &outputs[0];
        match *self {
            Softmax::Softmax { axis } => apply(Softmax::SoftmaxGradient { axis }, &[y, tangent]).map(Some),
            Softmax::LogSoftmax { .. } => tangent.sub(&self.sum(&y.exp()?.mul(tangent)?)?).map(Some),
            Softmax::SoftmaxGradient { .. } | Softmax::LogSoftmaxGradient { .. } => {
                push_expansion(self, inputs, tangents)
            }
            Softmax::LogSumExp { .. } => {
                self.sum(&self.probabilities(&inputs[0], y)?.mul(tangent)?)?.reshape_to(y.shape()).map(Some)
            }
        }
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        let define = |inputs: &[Tensor]| {
            let x = &inputs[0];
            let y = match self {
                Softmax::Softmax { .. } => {
                    let weights = x.sub(&self.shift(x, true)?)?.exp()?;
                    weights.div(&self.sum(&weights)?)?
                }
                Softmax::LogSoftmax { .. } => {
                    let shifted = x.sub(&self.shift(x, true)?)?;
                    shifted.sub(&self.sum(&shifted.exp()?)?.log()?)?
                }
                Softmax::SoftmaxGradient { .. } => x.mul(&inputs[1].sub(&self.sum(&x.mul(&inputs[1])?)?)?)?,
                Softmax::LogSoftmaxGradient { .. } => inputs[1].sub(&x.exp()?.mul(&self.sum(&inputs[1])?)?)?,
                Softmax::LogSumExp { first, count } => {
                    let shift = self.shift(x, false)?;
                    let mut shape = *x.shape();
                    (0..*count).for_each(|_| shape.remove(*first));
                    self.sum(&x.sub(&shift)?.exp()?)?.log()?.add(&shift)?.reshape_to(&shape)?
                }
            };
            Ok(smallvec![y])
        };
        Some(widened(self, inputs, define))
    }
}

impl Tensor {
    /// Runs a row function in the dtype that kernels take; logarithms in f32 everywhere, for their gradients' sake.
    fn by_rows(&self, op: Softmax) -> Result<Tensor> {
        let dtype = self.dtype().to_float();
        let of = if matches!(op, Softmax::Softmax { .. }) { taken_dtype(self, dtype) } else { compute_dtype(dtype) };
        apply(op, &[&self.cast(of)?])?.cast(dtype)
    }

    /// `exp(x) / sum(exp(x))` along an axis, without overflow; integers become the default float.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let y = Tensor::new(&[0.0, 0.0, 1000.0], &[3])?.softmax(-1)?;
    /// assert_eq!(y.to_vec::<f64>()?, [0.0, 0.0, 1.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`crate::Error::Index`] for an axis that is not there.
    pub fn softmax(&self, axis: isize) -> Result<Tensor> {
        let axis = resolve_axis("softmax", axis, self.rank())?;
        self.by_rows(Softmax::Softmax { axis })
    }

    /// The logarithm of [`Tensor::softmax`], accurate also where that underflows.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let y = Tensor::zeros(&[4], DType::F64)?.log_softmax(0)?;
    /// assert!((y.to_vec::<f64>()?[0] + 4.0f64.ln()).abs() < 1e-12);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`crate::Error::Index`] for an axis that is not there.
    pub fn log_softmax(&self, axis: isize) -> Result<Tensor> {
        let axis = resolve_axis("log_softmax", axis, self.rank())?;
        self.by_rows(Softmax::LogSoftmax { axis })
    }

    /// `log(sum(exp(x)))` over `axes` (none for all) without overflow; they stay as 1 with `keepdims`.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let y = Tensor::full(&[2, 4], 1000.0, DType::F64)?.logsumexp(Some(&[1]), false)?;
    /// assert!((y.to_vec::<f64>()?[0] - 1000.0 - 4.0f64.ln()).abs() < 1e-12);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`crate::Error::Index`] for an axis that is not there, [`crate::Error::Value`] for one given twice.
    pub fn logsumexp(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        let rank = self.rank();
        let axes = match axes {
            Some(axes) => resolve_axes("logsumexp", axes, rank)?,
            None => resolve_axes("logsumexp", &(0..rank as isize).collect::<Vec<_>>(), rank)?,
        };
        let count = axes.len();
        if count == 0 {
            return self.cast(self.dtype().to_float());
        }
        let neighbours = axes[count - 1] - axes[0] + 1 == count;
        let y = if neighbours {
            self.by_rows(Softmax::LogSumExp { first: axes[0], count })?
        } else {
            let kept = (0..rank).filter(|axis| !axes.contains(axis));
            let order: Vec<isize> = kept.chain(axes.iter().copied()).map(|axis| axis as isize).collect();
            self.permute(&order)?.by_rows(Softmax::LogSumExp { first: rank - count, count })?
        };
        if !keepdims {
            return Ok(y);
        }
        let mut kept = *self.shape();
        axes.iter().for_each(|&axis| kept[axis] = 1);
        y.reshape_to(&kept)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::op::testing::{assert_close, check_gradients, sample};

    #[test]
    fn kernels_equal_their_definitions() {
        for shape in [&[5][..], &[3, 4], &[2, 3, 17], &[1, 130], &[0, 3], &[3, 0], &[70, 2]] {
            for axis in 0..shape.len() {
                let x = sample(shape, -4.0, 4.0, 1);
                let g = sample(shape, -1.0, 1.0, 2);
                let mut ops = vec![
                    Softmax::Softmax { axis },
                    Softmax::LogSoftmax { axis },
                    Softmax::SoftmaxGradient { axis },
                    Softmax::LogSoftmaxGradient { axis },
                ];
                ops.extend((1..=shape.len() - axis).map(|count| Softmax::LogSumExp { first: axis, count }));
                for op in ops {
                    let binary = matches!(op, Softmax::SoftmaxGradient { .. } | Softmax::LogSoftmaxGradient { .. });
                    for (dtype, bound) in [(DType::F64, 1e-13), (DType::F32, 3e-6)] {
                        let inputs = [x.cast(dtype).unwrap(), g.cast(dtype).unwrap()];
                        let inputs = &inputs[..1 + usize::from(binary)];
                        let y = apply(op, &inputs.iter().collect::<Vec<_>>()).unwrap();
                        let expected = op.expand(inputs).unwrap().unwrap().swap_remove(0);
                        assert_close(&y, &expected, bound, &format!("{op:?} of {shape:?} in {dtype}"));
                    }
                }
            }
        }
    }

    #[test]
    fn gradients_are_right_to_second_order() {
        for axis in [0, 1] {
            check_gradients(|x| x[0].softmax(axis), &[sample(&[2, 3], -2.0, 2.0, 1)]);
            check_gradients(|x| x[0].log_softmax(axis), &[sample(&[2, 3], -2.0, 2.0, 1)]);
            check_gradients(|x| x[0].logsumexp(Some(&[axis]), true), &[sample(&[2, 3], -2.0, 2.0, 1)]);
            let pair = [sample(&[2, 2], -1.0, 1.0, 1), sample(&[2, 2], -1.0, 1.0, 2)];
            for op in
                [Softmax::SoftmaxGradient { axis: axis as usize }, Softmax::LogSoftmaxGradient { axis: axis as usize }]
            {
                check_gradients(|x| apply(op, &[&x[0], &x[1]]), &pair);
            }
        }
        check_gradients(|x| x[0].logsumexp(Some(&[0, 2]), false), &[sample(&[2, 2, 2], -2.0, 2.0, 1)]);
        check_gradients(|x| x[0].logsumexp(None, false), &[sample(&[2, 3], -2.0, 2.0, 1)]);
    }

    #[test]
    fn infinities_and_half_types() {
        let low = f64::NEG_INFINITY;
        let x = Tensor::new(&[low, low, 0.0, low], &[2, 2]).unwrap();
        let y = x.logsumexp(Some(&[1]), false).unwrap();
        assert_eq!(y.to_vec::<f64>().unwrap(), [low, 0.0]);
        let slope = crate::grad(|x| x[0].logsumexp(Some(&[1]), false)?.narrow(0, 1, 1)?.sum(None, false), &[x.clone()])
            .unwrap();
        assert_eq!(slope[0].to_vec::<f64>().unwrap(), [0.0, 0.0, 1.0, 0.0]);
        let half = sample(&[2, 5], -1.0, 1.0, 3).cast(DType::BF16).unwrap();
        let y = half.softmax(-1).unwrap();
        assert_eq!(y.dtype(), DType::BF16);
        assert_close(&y, &half.cast(DType::F64).unwrap().softmax(-1).unwrap(), 5e-3, "bfloat16");
        assert_eq!(
            half.softmax(2).unwrap_err().to_string(),
            "softmax: axis 2 is out of range for a tensor with 2 axes"
        );
    }
}
