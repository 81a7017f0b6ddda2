//! The definition of a recurrence: a loop of tensor operations.

use smallvec::smallvec;

use super::{Cell, Recurrent};
use crate::error::Result;
use crate::op::Outputs;
use crate::op::index::beside;
use crate::op::linear::{concat, stack};
use crate::op::matmul::matmul;
use crate::tensor::Tensor;
use crate::transform::vjp_through;

/// One step: the new state, and what a backward pass reads.
struct Step {
    hidden: Tensor,
    memory: Option<Tensor>,
    kept: Vec<Tensor>,
}

impl Recurrent {
    /// The states after a step of `z` and the product with the hidden state.
    fn step(&self, z: &Tensor, product: &Tensor, hidden: &Tensor, memory: Option<&Tensor>) -> Result<Step> {
        let units = hidden.shape()[1];
        let part = |of: &Tensor, index: usize| of.narrow(1, index * units, units);
        let gate = |index: usize| part(z, index)?.add(&part(product, index)?);
        match (self.cell, memory) {
            (Cell::Lstm, Some(memory)) => {
                let (i, f) = (gate(0)?.sigmoid()?, gate(1)?.sigmoid()?);
                let (g, o) = (gate(2)?.tanh()?, gate(3)?.sigmoid()?);
                let memory = f.mul(memory)?.add(&i.mul(&g)?)?;
                Ok(Step { hidden: o.mul(&memory.tanh()?)?, memory: Some(memory), kept: vec![i, f, g, o] })
            }
            (Cell::Gru, _) => {
                let (reset, update) = (gate(0)?.sigmoid()?, gate(1)?.sigmoid()?);
                let inner = part(product, 2)?;
                let new = part(z, 2)?.add(&reset.mul(&inner)?)?.tanh()?;
                let after = new.add(&update.mul(&hidden.sub(&new)?)?)?;
                Ok(Step { hidden: after, memory: None, kept: vec![reset, update, new, inner] })
            }
            (cell, _) => {
                let sum = gate(0)?;
                let hidden = if cell == Cell::Relu { sum.relu()? } else { sum.tanh()? };
                Ok(Step { kept: vec![hidden.clone()], hidden, memory: None })
            }
        }
    }

    /// All outputs; `offset`, of the shape of z, is added to the product with the hidden state of each step.
    pub(super) fn define(&self, inputs: &[Tensor], offset: Option<&Tensor>) -> Result<Outputs> {
        let (z, weight) = (&inputs[0], &inputs[1]);
        let time = self.time();
        let steps = z.shape()[time];
        let at = |of: &Tensor, step: usize| of.narrow(time, step, 1)?.squeeze(&[time as isize]);
        let turned = weight.matrix_transpose()?;
        let (mut hidden, mut memory) = (inputs[2].clone(), self.is_lstm().then(|| inputs[3].clone()));
        let mut states = Vec::with_capacity(steps);
        let (mut kept, mut before, mut memory_before) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..steps {
            let position = if self.reverse { steps - 1 - index } else { index };
            let mut product = matmul(&hidden, &turned)?;
            if let Some(bias) = self.bias_input() {
                product = product.add(&inputs[bias])?;
            }
            if let Some(offset) = offset {
                product = product.add(&at(offset, position)?)?;
            }
            let after = self.step(&at(z, position)?, &product, &hidden, memory.as_ref())?;
            if self.kept {
                kept.push(concat(&after.kept.iter().collect::<Vec<_>>(), 1)?.detach());
                before.push(hidden.detach());
                memory_before.extend(memory.as_ref().map(Tensor::detach));
            }
            (hidden, memory) = (after.hidden, after.memory);
            states.push(hidden.clone());
        }
        let along_time = |mut list: Vec<Tensor>| {
            if self.reverse {
                list.reverse();
            }
            stack(&list.iter().collect::<Vec<_>>(), time as isize)
        };
        let mut parts = vec![if self.sequence { along_time(states)? } else { hidden.expand_dims(time as isize)? }];
        if let Some(memory) = memory.filter(|_| self.memory) {
            parts.push(memory.expand_dims(time as isize)?);
        }
        let mut outputs: Outputs = smallvec![concat(&parts.iter().collect::<Vec<_>>(), time as isize)?];
        if self.kept {
            outputs.push(along_time(kept)?);
            outputs.push(along_time(before)?);
            if self.is_lstm() {
                outputs.push(along_time(memory_before)?);
            }
        }
        Ok(outputs)
    }

    /// The outputs of the gradient operation, by recording the definition.
    pub(super) fn define_gradient(&self, inputs: &[Tensor]) -> Result<Outputs> {
        let plain = Recurrent { kept: false, ..*self };
        let count = self.inputs();
        let mut operands = inputs[1..1 + count].to_vec();
        if self.cell == Cell::Gru {
            operands.push(inputs[1].zeros_like()?);
        }
        let function =
            |x: &[Tensor]| Ok(vec![plain.define(&x[..count], x.get(count)).map(|mut all| all.swap_remove(0))?]);
        let mut pulled = vjp_through(function, &operands, &[Some(inputs[0].clone())])?;
        let mut part = |index: usize| pulled[index].take().map_or_else(|| operands[index].zeros_like(), Ok);
        let product = if self.cell == Cell::Gru {
            part(count)?
        } else {
            beside(Tensor::zeros(&[0], inputs[1].dtype())?, &inputs[1])?
        };
        let mut outputs: Outputs = smallvec![part(0)?, product, part(2)?];
        if self.is_lstm() {
            outputs.push(part(3)?);
        }
        Ok(outputs)
    }
}
