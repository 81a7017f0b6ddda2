//! A step of a rule that evaluates the objective itself: `_core.optim_minimize`.

use std::sync::Arc;

use luxon::{Error, Tensor};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::PyOptimizer;
use super::update::Update;
use crate::convert::to_tensor;
use crate::error::{carry, raise};
use crate::tree::nest::{self, Containers, Leaf};

/// The parameters and the state after one step, and the objective before it.
///
/// `evaluate(ps)` gives `(value, grads)`; it is asked for as often as the rule needs it.
#[pyfunction]
#[pyo3(signature = (optimizer, evaluate, ps, state, step=None, /))]
pub fn optim_minimize(
    py: Python<'_>,
    optimizer: &Bound<'_, PyOptimizer>,
    evaluate: &Bound<'_, PyAny>,
    ps: &Bound<'_, PyAny>,
    state: &Bound<'_, PyAny>,
    step: Option<u64>,
) -> PyResult<(Py<PyAny>, Py<PyAny>, f64)> {
    let (ps, state) = (nest::to_tree(ps, Containers::Kept)?, nest::to_tree(state, Containers::Kept)?);
    let structure = Arc::clone(ps.structure());
    let fixed: Vec<Leaf> = ps.leaves().cloned().collect();
    let update = Update::new(py, optimizer.get(), ps, None, state, step)?;
    let slots = update.slots();
    let (given, moved, step) = update.take(py, false)?;
    let function = |parameters: &[Tensor]| -> PyResult<(f64, Vec<Tensor>)> {
        let mut leaves = fixed.clone();
        for (&slot, parameter) in slots.iter().zip(parameters) {
            leaves[slot] = Leaf::of(parameter.clone());
        }
        let (value, grads) =
            evaluate.call1((nest::unflatten(py, &structure, leaves)?,))?.extract::<(f64, Bound<'_, PyAny>)>()?;
        let grads = nest::to_tree(&grads, Containers::Kept)?;
        let alignment = luxon::tree::align(&structure, grads.structure()).map_err(|mismatch| {
            PyValueError::new_err(format!("optim: the gradients do not fit the parameters: {mismatch}"))
        })?;
        let mut gradient = Vec::with_capacity(slots.len());
        for (&slot, parameter) in slots.iter().zip(parameters) {
            let leaf = grads.at(alignment.at(slot)).object(py)?;
            // A leaf that the objective does not read has the gradient 0.
            let leaf = if leaf.is_none() { parameter.zeros_like().map_err(raise)? } else { to_tensor(leaf)? };
            if leaf.shape() != parameter.shape() || leaf.dtype() != parameter.dtype() {
                return Err(PyValueError::new_err("optim: a gradient does not fit its parameter"));
            }
            gradient.push(leaf);
        }
        Ok((value, gradient))
    };
    let mut evaluate =
        |parameters: &[Tensor]| -> Result<(f64, Vec<Tensor>), Error> { function(parameters).map_err(carry) };
    let (value, _, results) = optimizer.get().optimizer.minimize(step, given, &mut evaluate).map_err(raise)?;
    let (ps, state, _) = moved.finish(py, results)?;
    Ok((ps, state, value))
}
