//! Scaled dot-product attention as one operation, whose kernels never hold the (time, time) matrix.
//!
//! [`Attention`] gives back, untracked, a logarithm per query; from it and the result,
//! [`AttentionGradient`] computes all gradients in one pass. A bias has a gradient as large as that matrix
//! anyway: where it is wanted, and under a further differentiation, the definition is recorded instead.
//!
//! Axes are (batch, heads, time, dim), or (batch, time, heads, dim) as projections leave them, so that neither
//! operands nor result are copied between the two.

mod define;
mod function;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use smallvec::{SmallVec, smallvec};

use super::{pull_expansion, push_expansion, with_real};
use crate::cpu::attention::{self as kernel, Array, Operands, Sizes};
use crate::error::{Error, Result};
use crate::layout::{Layout, Shape, show};
use crate::op::{Family, Gradients, Outputs, Saved, Saves, Spec, Specs, apply_all};
use crate::tensor::{Tensor, Value};

pub use function::{AttentionOptions, scaled_dot_product_attention};

/// Attention of q, k and v, then a mask and a bias where there are any; four axes each.
///
/// A mask is of bool, true where a query meets a key; mask and bias are (batch, heads, queries, keys) with
/// any of these 1. Outputs: the result and, (batch, heads, queries), the logarithm of the sum of
/// exponentials of each query's scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// What the products of queries and keys are multiplied by.
    pub scale: f64,
    /// Whether query i meets keys 0 to i only.
    pub causal: bool,
    /// Whether heads come before time among the axes.
    pub heads_first: bool,
    /// Whether there is a mask.
    pub mask: bool,
    /// Whether there is a bias.
    pub bias: bool,
}

/// The gradients of q, k and v from dy, the inputs of an [`Attention`], and its outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionGradient {
    /// The operation.
    pub of: Attention,
}

impl Attention {
    /// The axes of heads and of time.
    fn axes(&self) -> (usize, usize) {
        if self.heads_first { (1, 2) } else { (2, 1) }
    }

    fn bias_input(&self) -> Option<usize> {
        self.bias.then_some(3 + usize::from(self.mask))
    }

    fn inputs(&self) -> usize {
        3 + usize::from(self.mask) + usize::from(self.bias)
    }

    fn sizes(&self, q: &Shape, k: &Shape, v: &Shape) -> Sizes {
        let (heads, time) = self.axes();
        Sizes {
            batch: q[0],
            heads: q[heads],
            kv_heads: k[heads],
            queries: q[time],
            keys: k[time],
            dim: q[3],
            value_dim: v[3],
            causal: self.causal,
            scale: self.scale,
        }
    }

    /// Where the elements of an operand lie.
    fn array<T>(&self, value: &Value) -> Array<*const T> {
        let (heads, time) = self.axes();
        let strides = &value.layout().strides;
        let first = value.pointer().cast();
        Array { first, batch: strides[0], head: strides[heads], row: strides[time], column: 1 }
    }

    fn array_mut<T>(&self, value: &mut Value) -> Array<*mut T> {
        let first = value.pointer_mut().cast();
        let Array { batch, head, row, column, .. } = self.array::<T>(value);
        Array { first, batch, head, row, column }
    }

    /// What the kernels read, of values whose rows are contiguous.
    fn operands<T>(&self, sizes: &Sizes, values: &[Value]) -> Result<Operands<T>> {
        Ok(Operands {
            q: self.array(&values[0]),
            k: self.array(&values[1]),
            v: self.array(&values[2]),
            mask: spread(sizes, values.get(3).filter(|_| self.mask))?,
            bias: spread(sizes, self.bias_input().map(|bias| &values[bias]))?,
        })
    }
}

/// A mask or bias repeated along the axes where its size is 1.
fn spread<T>(sizes: &Sizes, value: Option<&Value>) -> Result<Array<*const T>> {
    let Some(value) = value else {
        return Ok(Array { first: std::ptr::null(), batch: 0, head: 0, row: 0, column: 0 });
    };
    let shape = Shape::from_slice(&[sizes.batch, sizes.heads, sizes.queries, sizes.keys])?;
    let strides = value.layout().broadcast("attention", &shape)?.strides;
    let [batch, head, row, column] = [strides[0], strides[1], strides[2], strides[3]];
    Ok(Array { first: value.pointer().cast(), batch, head, row, column })
}

/// The value with contiguous rows: itself where it has them.
fn by_rows(value: &Value) -> Result<Value> {
    let Layout { shape, strides, .. } = value.layout();
    // A row that repeats cannot be told from one that is read once more by its stride: both are fine.
    if shape[3] == 1 || strides[3] == 1 { Ok(value.clone()) } else { value.to_contiguous() }
}

/// The values that kernels read; masks and biases as they are.
fn read(inputs: &[&Value], matrices: usize) -> Result<SmallVec<[Value; 8]>> {
    let ready = |(index, value): (usize, &&Value)| if index < matrices { by_rows(value) } else { Ok((*value).clone()) };
    inputs.iter().enumerate().map(ready).collect()
}

impl Family for Attention {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention"
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let refuse = |what: &str| {
            let names =
                ["q", "k", "v"].into_iter().chain(self.mask.then_some("mask")).chain(self.bias.then_some("bias"));
            let shapes: Vec<String> =
                names.zip(inputs).map(|(name, input)| format!("{name} {}", show(input.shape()))).collect();
            Error::shape(self.name(), format_args!("{} do not fit: {what}", shapes.join(", ")))
        };
        if inputs.iter().any(|input| input.shape().len() != 4) {
            return Err(refuse("four axes are needed here"));
        }
        let (heads, time) = self.axes();
        let (q, k, v) = (inputs[0].shape(), inputs[1].shape(), inputs[2].shape());
        if q[0] != k[0] || q[0] != v[0] {
            return Err(refuse("the batch axes differ"));
        }
        if q[3] != k[3] {
            return Err(refuse("queries and keys have different sizes"));
        }
        if k[time] != v[time] || k[heads] != v[heads] {
            return Err(refuse("there is one value for each key"));
        }
        if q[heads] != k[heads] && (k[heads] == 0 || q[heads] % k[heads] != 0) {
            return Err(refuse("the heads of q are no multiple of those of k and v"));
        }
        let scores = [q[0], q[heads], q[time], k[time]];
        for input in &inputs[3..] {
            if input.shape().iter().zip(scores).any(|(&size, full)| size != 1 && size != full) {
                return Err(refuse(&format!("mask and bias broadcast to the scores, {}", show(&scores))));
            }
        }
        let mut shape = *q;
        shape[3] = v[3];
        let dtype = inputs[0].dtype();
        Ok(smallvec![Spec { dtype, shape }, Spec { dtype, shape: Shape::from_slice(&scores[..3])? }])
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let sizes = self.sizes(inputs[0].shape(), inputs[1].shape(), inputs[2].shape());
        if outputs[0].count() == 0 && outputs[1].count() == 0 {
            return Ok(());
        }
        let values = read(inputs, 3)?;
        with_real!(inputs[0].dtype(), T => {
            let operands = self.operands::<T>(&sizes, &values)?;
            let y = self.array_mut(outputs[0]);
            // SAFETY: values with contiguous rows and the sizes that `outputs` checked; the outputs are fresh.
            unsafe { kernel::forward(&sizes, &operands, y, outputs[1].pointer_mut().cast()) }
        })
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::ALL
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let tracked = (0..saved.arity()).any(|index| saved.input(index).is_ok_and(Tensor::is_tracked));
        if tracked || dy.is_tracked() || self.bias_input().is_some_and(|bias| saved.wants(bias)) {
            return pull_expansion(self, saved, dy);
        }
        let mut operands: SmallVec<[&Tensor; 8]> = smallvec![dy];
        for index in 0..saved.arity() {
            operands.push(saved.input(index)?);
        }
        operands.push(saved.output()?);
        operands.push(saved.extra(0)?);
        let outputs = apply_all(AttentionGradient { of: *self }.into(), &operands)?;
        let mut gradients: Gradients = (0..saved.arity()).map(|_| None).collect();
        for (index, output) in outputs.into_iter().enumerate().filter(|&(index, _)| saved.wants(index)) {
            gradients[index] = Some(output);
        }
        Ok(gradients)
    }

    fn jvp(&self, inputs: &[Tensor], _outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        push_expansion(self, inputs, tangents)
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        Some(self.define(inputs))
    }
}

impl Family for AttentionGradient {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention_gradient"
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        Ok(inputs[1..4].iter().map(|input| Spec { dtype: input.dtype(), shape: *input.shape() }).collect())
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let of = &self.of;
        let count = of.inputs();
        let sizes = of.sizes(inputs[1].shape(), inputs[2].shape(), inputs[3].shape());
        let values = read(&inputs[1..1 + count], 3)?;
        let (dy, y) = (by_rows(inputs[0])?, by_rows(inputs[1 + count])?);
        let logsums = inputs[2 + count].to_contiguous()?;
        with_real!(inputs[1].dtype(), T => {
            let operands = of.operands::<T>(&sizes, &values)?;
            let mut results = outputs.iter_mut().map(|output| of.array_mut(output));
            let mut result = || results.next().unwrap_or(Array { first: std::ptr::null_mut(), batch: 0, head: 0, row: 0, column: 0 });
            let call = kernel::Backward::<T> {
                y: of.array(&y),
                dy: of.array(&dy),
                logsums: logsums.pointer().cast(),
                dq: result(),
                dk: result(),
                dv: result(),
            };
            // SAFETY: values with contiguous rows and the sizes of the operation; the outputs are fresh.
            unsafe { kernel::backward(&sizes, &operands, &call) }
        })
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
        Some(self.of.define_gradient(inputs))
    }
}
