//! Recurrences over whole sequences: simple cells, LSTM and GRU.
//!
//! [`Recurrent`] takes what the input contributes to every gate at every step, the weight of the hidden
//! state and the first state, and runs the loop in one kernel. Where a backward pass may follow it gives
//! back, untracked, the gates and the states before each step; [`RecurrentGradient`] reads them in one loop
//! from the end, after which the weight's gradient is a single product over all steps. Under a further
//! differentiation the definition, a loop of tensor operations, is recorded instead.

mod define;
mod function;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use smallvec::{SmallVec, smallvec};

use super::{pull_expansion, push_expansion, with_real};
use crate::cpu::recurrent::{self as kernel, Sizes};
use crate::error::{Error, Result};
use crate::layout::{Shape, show};
use crate::op::matmul::Matmul;
use crate::op::reduce::sum_axes;
use crate::op::{Family, Gradients, Outputs, Saved, Saves, Spec, Specs, apply, apply_all};
use crate::tensor::{Tensor, Value};

pub use crate::cpu::recurrent::Cell;
pub use function::{Carry, Options, Weights, recurrent};

/// A recurrence of z, the weight of the hidden state, the first hidden state, then (LSTM) the first memory
/// and, where there is one, the bias of the product with the hidden state.
///
/// z is (time, batch, gates * hidden), or (batch, time, ...). The result has the hidden states, of all steps
/// or the last, along the same axis, and after them (`memory`) the LSTM's last memory. Outputs besides,
/// where `kept`: the gates, hidden states before each step, and (LSTM) memories before each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recurrent {
    /// The cell.
    pub cell: Cell,
    /// Whether time is the first axis, before the batch.
    pub time_major: bool,
    /// Whether the last element of a sequence comes first.
    pub reverse: bool,
    /// Whether the result has the hidden states of all steps.
    pub sequence: bool,
    /// Whether the last memory follows in the result.
    pub memory: bool,
    /// Whether the product with the hidden state has a bias.
    pub bias: bool,
    /// Whether the outputs for a backward pass are computed.
    pub kept: bool,
}

/// The cotangents of z, of the product with the hidden state at every step (GRU; else empty), of the first
/// hidden state and (LSTM) of the first memory, from dy, the inputs of a [`Recurrent`] and its outputs for
/// a backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecurrentGradient {
    /// The recurrence.
    pub of: Recurrent,
}

impl Recurrent {
    fn is_lstm(&self) -> bool {
        self.cell == Cell::Lstm
    }

    /// The position of the bias among the inputs.
    fn bias_input(&self) -> Option<usize> {
        self.bias.then_some(3 + usize::from(self.is_lstm()))
    }

    fn inputs(&self) -> usize {
        3 + usize::from(self.is_lstm()) + usize::from(self.bias)
    }

    /// The axis of time.
    fn time(&self) -> usize {
        usize::from(!self.time_major)
    }

    fn sizes(&self, z: &Shape, weight: &Shape) -> Sizes {
        Sizes {
            cell: self.cell,
            steps: z[self.time()],
            batch: z[1 - self.time()],
            hidden: weight[1],
            time_major: self.time_major,
            reverse: self.reverse,
            sequence: self.sequence,
            memory: self.memory,
        }
    }

    /// The shape of an array over time.
    fn over_time(&self, sizes: &Sizes, times: usize, width: usize) -> Result<Shape> {
        match self.time_major {
            true => Shape::from_slice(&[times, sizes.batch, width]),
            false => Shape::from_slice(&[sizes.batch, times, width]),
        }
    }
}

/// The address of an operand that may be absent.
fn address<T>(value: Option<&Value>) -> *const T {
    value.map_or(std::ptr::null(), |value| value.pointer().cast())
}

impl Family for Recurrent {
    fn name(&self) -> &'static str {
        match self.cell {
            Cell::Tanh | Cell::Relu => "rnn",
            Cell::Lstm => "lstm",
            Cell::Gru => "gru",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let (z, weight) = (inputs[0].shape(), inputs[1].shape());
        let refuse = |what: &str| {
            let shapes: Vec<String> = inputs.iter().map(|input| show(input.shape())).collect();
            Error::shape(self.name(), format_args!("{} do not fit: {what}", shapes.join(", ")))
        };
        if z.len() != 3 || weight.len() != 2 {
            return Err(refuse("expected (time, batch, gates) and a matrix"));
        }
        let sizes = self.sizes(z, weight);
        let width = self.cell.gates().checked_mul(sizes.hidden);
        if width != Some(z[2]) || width != Some(weight[0]) {
            return Err(refuse("the gates' sizes differ"));
        }
        let states = 3 + usize::from(self.is_lstm());
        if inputs[2..states].iter().any(|state| state.shape()[..] != [sizes.batch, sizes.hidden]) {
            return Err(refuse("a state is (batch, hidden)"));
        }
        if self.bias_input().is_some_and(|bias| inputs[bias].shape().first().copied() != width) {
            return Err(refuse("the bias has one number per gate and unit"));
        }
        if sizes.steps == 0 {
            return Err(Error::value(self.name(), "the sequence has no steps"));
        }
        let spec = |times, width| Ok(Spec { dtype: inputs[0].dtype(), shape: self.over_time(&sizes, times, width)? });
        let mut specs: Specs = smallvec![spec(sizes.results(), sizes.hidden)?];
        if self.kept {
            specs.push(spec(sizes.steps, self.cell.kept() * sizes.hidden)?);
            specs.push(spec(sizes.steps, sizes.hidden)?);
            if self.is_lstm() {
                specs.push(spec(sizes.steps, sizes.hidden)?);
            }
        }
        Ok(specs)
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let sizes = self.sizes(inputs[0].shape(), inputs[1].shape());
        let values = inputs.iter().map(|input| input.to_contiguous()).collect::<Result<SmallVec<[Value; 5]>>>()?;
        with_real!(inputs[0].dtype(), T => {
            let input = |index: usize| address::<T>(values.get(index));
            let mut results = outputs.iter_mut().map(|output| output.pointer_mut().cast::<T>());
            let mut result = || results.next().unwrap_or(std::ptr::null_mut());
            let call = kernel::Forward::<T> {
                z: input(0),
                weight: input(1),
                bias: address(self.bias_input().map(|bias| &values[bias])),
                hidden: input(2),
                memory: if self.is_lstm() { input(3) } else { std::ptr::null() },
                y: result(),
                kept: result(),
                before: result(),
                memory_before: result(),
            };
            // SAFETY: contiguous values with the sizes that `outputs` checked and gave; the outputs are fresh.
            unsafe { kernel::forward(&sizes, &call) }
        })
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let tracked = (0..saved.arity()).any(|index| saved.input(index).is_ok_and(Tensor::is_tracked));
        if tracked || dy.is_tracked() || !self.kept {
            return pull_expansion(self, saved, dy);
        }
        let mut operands: SmallVec<[&Tensor; 9]> = smallvec![dy];
        for index in 0..saved.arity() {
            operands.push(saved.input(index)?);
        }
        for index in 0..2 + usize::from(self.is_lstm()) {
            operands.push(saved.extra(index)?);
        }
        let parts = apply_all(RecurrentGradient { of: *self }.into(), &operands)?;
        let mut gradients: Gradients = (0..saved.arity()).map(|_| None).collect();
        let product = if self.cell == Cell::Gru { &parts[1] } else { &parts[0] };
        if saved.wants(1) {
            let over_steps = Matmul { transpose_a: true, transpose_b: false, sum_batch: true };
            gradients[1] = Some(apply(over_steps, &[product, saved.extra(1)?])?);
        }
        if let Some(bias) = self.bias_input().filter(|&bias| saved.wants(bias)) {
            gradients[bias] = Some(sum_axes(product, &crate::layout::Axes::from_slice(&[0, 1])?)?);
        }
        for (input, part) in [(0, 0), (2, 2), (3, 3)] {
            if (input < 3 || self.is_lstm()) && saved.wants(input) {
                gradients[input] = Some(parts[part].clone());
            }
        }
        Ok(gradients)
    }

    fn jvp(&self, inputs: &[Tensor], _outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        push_expansion(self, inputs, tangents)
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        Some(self.define(inputs, None))
    }
}

impl Family for RecurrentGradient {
    fn name(&self) -> &'static str {
        match self.of.cell {
            Cell::Tanh | Cell::Relu => "rnn_gradient",
            Cell::Lstm => "lstm_gradient",
            Cell::Gru => "gru_gradient",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let (z, hidden) = (*inputs[1].shape(), *inputs[3].shape());
        let product = if self.of.cell == Cell::Gru { z } else { Shape::from_slice(&[0])? };
        let mut shapes: SmallVec<[Shape; 4]> = smallvec![z, product, hidden];
        if self.of.is_lstm() {
            shapes.push(hidden);
        }
        Ok(shapes.into_iter().map(|shape| Spec { dtype: inputs[1].dtype(), shape }).collect())
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let sizes = self.of.sizes(inputs[1].shape(), inputs[2].shape());
        let values = inputs.iter().map(|input| input.to_contiguous()).collect::<Result<SmallVec<[Value; 9]>>>()?;
        let extra = 1 + self.of.inputs();
        let gru = self.of.cell == Cell::Gru;
        with_real!(inputs[1].dtype(), T => {
            let input = |index: usize| address::<T>(values.get(index));
            let mut results = outputs.iter_mut().map(|output| output.pointer_mut().cast::<T>());
            let mut result = || results.next().unwrap_or(std::ptr::null_mut());
            let (dz, dproduct, dhidden, dmemory) = (result(), result(), result(), result());
            let call = kernel::Backward::<T> {
                dy: input(0),
                weight: input(2),
                kept: input(extra),
                before: input(extra + 1),
                memory_before: input(extra + 2),
                dz,
                dproduct: if gru { dproduct } else { std::ptr::null_mut() },
                dhidden,
                dmemory,
            };
            // SAFETY: contiguous values with the sizes of the recurrence; the outputs are fresh.
            unsafe { kernel::backward(&sizes, &call) }
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
