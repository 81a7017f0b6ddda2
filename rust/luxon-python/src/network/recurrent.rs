//! Recurrent cells along sequences.

use luxon::op::fused::recurrent::{Carry, Cell, Options, Weights, recurrent as run};
use luxon::{Error, Tensor};
use pyo3::prelude::*;

use super::optional;
use crate::convert::TensorArg;
use crate::error::Out;
use crate::gil::released;
use crate::tensor::PyTensor;

/// The result with, where it was wanted, the hidden state and the memory after the last step.
type Parts = (PyTensor, Option<PyTensor>, Option<PyTensor>);

fn cell_of(name: &str) -> luxon::Result<Cell> {
    match name {
        "tanh" => Ok(Cell::Tanh),
        "relu" => Ok(Cell::Relu),
        "lstm" => Ok(Cell::Lstm),
        "gru" => Ok(Cell::Gru),
        other => {
            Err(Error::value("recurrent", format_args!("the cell is 'tanh', 'relu', 'lstm' or 'gru', got {other:?}")))
        }
    }
}

/// A recurrent cell along x (batch, time, in), or for one step of x (batch, in): (y, hidden, memory).
///
/// y has the hidden states of all steps where `sequence`, else the last; hidden and memory are given where
/// `carry`.
#[pyfunction]
#[pyo3(signature = (
    cell, x, weight_ih, weight_hh, bias_ih = None, bias_hh = None, hidden = None, memory = None, *,
    time_major = false, reverse = false, sequence = false, carry = false
))]
fn recurrent(
    py: Python<'_>,
    cell: &str,
    x: TensorArg,
    weight_ih: TensorArg,
    weight_hh: TensorArg,
    bias_ih: Option<TensorArg>,
    bias_hh: Option<TensorArg>,
    hidden: Option<TensorArg>,
    memory: Option<TensorArg>,
    time_major: bool,
    reverse: bool,
    sequence: bool,
    carry: bool,
) -> Out<Parts> {
    let cell = cell_of(cell)?;
    let weights = Weights {
        input: &weight_ih.0,
        hidden: &weight_hh.0,
        input_bias: optional(&bias_ih),
        hidden_bias: optional(&bias_hh),
    };
    let memory: Option<&Tensor> = optional(&memory);
    let first = optional(&hidden).map(|hidden| Carry { hidden: hidden.clone(), memory: memory.cloned() });
    if first.is_none() && memory.is_some() {
        return Err(Error::value("recurrent", "a memory without a hidden state").into());
    }
    let options = Options { time_major, reverse, sequence, carry };
    let nanoseconds = x.0.count() as f64 * weight_hh.0.shape().first().copied().unwrap_or(1) as f64 * 0.02;
    let (y, carry) = released(py, nanoseconds, || run(cell, &x.0, &weights, first.as_ref(), options))?;
    let (hidden, memory) = carry.map_or((None, None), |carry| (Some(PyTensor(carry.hidden)), carry.memory));
    Ok((PyTensor(y), hidden, memory.map(PyTensor)))
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(recurrent, module)?)
}
