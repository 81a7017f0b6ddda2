//! The definition of attention: products of matrices, a softmax, and zeros for queries that meet no key.

use smallvec::smallvec;

use super::Attention;
use crate::dtype::{DType, Scalar};
use crate::error::Result;
use crate::layout::Shape;
use crate::op::elementwise::{Kernel, map};
use crate::op::index::beside;
use crate::op::matmul::matmul;
use crate::op::{Outputs, linear};
use crate::tensor::Tensor;
use crate::transform::vjp_through;

impl Attention {
    /// The operand, or the result, with the axes of heads and time in the other order where time comes first.
    fn ordered(&self, tensor: &Tensor) -> Result<Tensor> {
        if self.heads_first { Ok(tensor.clone()) } else { tensor.permute(&[0, 2, 1, 3]) }
    }

    pub(super) fn define(&self, inputs: &[Tensor]) -> Result<Outputs> {
        let (q, k, v) = (self.ordered(&inputs[0])?, self.ordered(&inputs[1])?, self.ordered(&inputs[2])?);
        let [batch, heads, queries, dim] = [q.shape()[0], q.shape()[1], q.shape()[2], q.shape()[3]];
        let (kv_heads, keys, value_dim) = (k.shape()[1], k.shape()[2], v.shape()[3]);
        let group = heads.checked_div(kv_heads).unwrap_or(1);
        // Neighbouring heads of queries go with one head of keys: (batch, kv heads, group, time, dim).
        let grouped = q.reshape_to(&Shape::from_slice(&[batch, kv_heads, group, queries, dim])?)?;
        let products = matmul(&grouped, &k.expand_dims(2)?.matrix_transpose()?)?.mul(self.scale)?;
        let mut scores = products.reshape_to(&Shape::from_slice(&[batch, heads, queries, keys])?)?;
        if let Some(bias) = self.bias_input() {
            scores = scores.add(&inputs[bias])?;
        }
        let least = Scalar::Float(f64::NEG_INFINITY);
        let mut hide = |mask: &Tensor| -> Result<()> {
            scores = map(Kernel::Where, &[mask.into(), (&scores).into(), least.into()])?;
            Ok(())
        };
        if self.causal {
            hide(&beside(Tensor::ones(&[queries, keys], DType::Bool)?, &inputs[0])?.tril(0)?)?;
        }
        if self.mask {
            hide(&inputs[3])?;
        }
        let maximum = match keys {
            0 => beside(Tensor::full(&[batch, heads, queries, 1], least, scores.dtype())?, &inputs[0])?,
            _ => scores.detach().max(Some(&[-1]), true)?,
        };
        // A query without keys: its scores are minus infinity, and their exponentials zero.
        let none = maximum.equal(least)?;
        let shift = map(Kernel::Where, &[(&none).into(), Scalar::Float(0.0).into(), (&maximum).into()])?;
        let powers = scores.sub(&shift)?.exp()?;
        let total = powers.sum(Some(&[-1]), true)?;
        let divisor = map(Kernel::Where, &[(&none).into(), Scalar::Float(1.0).into(), (&total).into()])?;
        let weights =
            powers.div(&divisor)?.reshape_to(&Shape::from_slice(&[batch, kv_heads, group, queries, keys])?)?;
        let y = matmul(&weights, &v.expand_dims(2)?)?
            .reshape_to(&Shape::from_slice(&[batch, heads, queries, value_dim])?)?;
        let logsums = shift.add(&total.detach().log()?)?;
        let logsums = map(Kernel::Where, &[(&none).into(), Scalar::Float(f64::INFINITY).into(), (&logsums).into()])?;
        Ok(smallvec![self.ordered(&y)?, logsums.detach().squeeze(&[-1])?])
    }

    /// The outputs of the gradient operation, by recording the definition.
    pub(super) fn define_gradient(&self, inputs: &[Tensor]) -> Result<Outputs> {
        let rest = &inputs[4..1 + self.inputs()];
        let function = |x: &[Tensor]| {
            let operands: Vec<Tensor> = x.iter().chain(rest).cloned().collect();
            Ok(vec![self.define(&operands)?.swap_remove(0)])
        };
        let pulled = vjp_through(function, &inputs[1..4], &[Some(inputs[0].clone())])?;
        let each = pulled.into_iter().zip(&inputs[1..4]);
        each.map(|(gradient, input)| match gradient {
            Some(gradient) => linear::sum_to(&gradient, input.shape()),
            None => input.zeros_like(),
        })
        .collect()
    }
}
