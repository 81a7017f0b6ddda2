//! `grad` and `value_and_grad`.

use std::sync::Arc;

use luxon::Tensor;
use luxon::transform::{Level, Mode, Scope, pull_back, seed};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use smallvec::SmallVec;

use crate::convert::{Argument, from_tensor};
use crate::error::raise;
use crate::tensor::PyTensor;
use crate::transform::argument::{Argnums, Nest, Tensors, Unused, lowered};
use crate::transform::check_depth;

/// A backward pass over this many nodes, or towards a tensor of this many elements, is long enough for
/// other threads to run meanwhile.
const MANY_NODES: u32 = 64;
const MANY_ELEMENTS: usize = 4096;

/// A recording under way of what is computed from some tensors.
struct Tape {
    level: Arc<Level>,
    /// The tensors as the recorded function is to be given them.
    tagged: Tensors,
    scope: Scope,
}

impl Tape {
    fn open<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> PyResult<Tape> {
        check_depth()?;
        let level = Level::open(Mode::Reverse);
        let scope = Scope(Arc::clone(&level));
        let mut tagged = Tensors::with_capacity(tensors.size_hint().0);
        for tensor in tensors {
            tagged.push(level.tag(tensor).map_err(raise)?);
        }
        Ok(Tape { level, tagged, scope })
    }

    /// What was computed beside the output, outside the recording.
    fn lowered(&self, object: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        lowered(object, self.level.stamp())
    }

    /// The output's value, and its gradients with respect to the tensors.
    fn pull_back(self, py: Python<'_>, output: Tensor) -> PyResult<(Tensor, Vec<Option<Tensor>>)> {
        let Tape { level, tagged, scope } = self;
        let long = level.size() > MANY_NODES || tagged.iter().any(|tensor| tensor.count() > MANY_ELEMENTS);
        let value = output.lower(level.stamp());
        let outputs = vec![(output, seed(&value).map_err(raise)?)];
        let gradients =
            if long { py.detach(|| pull_back(&level, outputs, &tagged)) } else { pull_back(&level, outputs, &tagged) };
        drop(scope);
        Ok((value, gradients.map_err(raise)?))
    }
}

/// What `luxon.training` asks at each step: `(grads, loss, states, stats)` of an objective that gives
/// `(loss, states, stats)`, with None at leaves on which the loss does not depend.
///
/// `check(result, states)` is asked about what is not as usual, a result that is no such triple and states that are
/// not the given ones; it gives the triple, or raises.
#[pyfunction]
#[pyo3(signature = (objective, model, ps, states, data, check, /))]
pub fn differentiate_objective<'py>(
    objective: &Bound<'py, PyAny>,
    model: &Bound<'py, PyAny>,
    ps: &Bound<'py, PyAny>,
    states: &Bound<'py, PyAny>,
    data: &Bound<'py, PyAny>,
    check: &Bound<'py, PyAny>,
) -> PyResult<(Py<PyAny>, Py<PyAny>, Py<PyAny>, Py<PyAny>)> {
    let py = ps.py();
    let primal = Nest::differentiated(ps, "value_and_grad", 0)?;
    let tape = Tape::open(primal.tensors.iter())?;
    let tagged = primal.with(py, tape.tagged.iter().cloned())?;
    let mut result = objective.call1((model, tagged, states, data))?;
    if !is_usual(&result, states) {
        result = check.call1((result, states))?;
    }
    let (loss, after, stats) = result.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
    let output = scalar(&loss, "value_and_grad")?;
    // The walk frees what nobody else holds.
    drop((result, loss));
    let (after, stats) = (tape.lowered(after)?, tape.lowered(stats)?);
    let (value, gradients) = tape.pull_back(py, output)?;
    Ok((primal.derivative(py, gradients, Unused::Nothing)?, from_tensor(py, value)?.into_any(), after, stats))
}

/// Whether an objective's result is a scalar tensor, the very states that it was given, and anything.
fn is_usual(result: &Bound<'_, PyAny>, states: &Bound<'_, PyAny>) -> bool {
    let usual = |triple: &Bound<'_, PyTuple>| -> PyResult<bool> {
        let loss = triple.get_borrowed_item(0)?;
        let is_scalar = loss.cast_exact::<PyTensor>().is_ok_and(|loss| loss.get().0.rank() == 0);
        Ok(is_scalar && triple.len() == 3 && triple.get_borrowed_item(1)?.is(states))
    };
    result.cast_exact::<PyTuple>().is_ok_and(|triple| usual(triple).unwrap_or(false))
}

/// The gradient of `function` at these arguments, with the value if it is wanted.
pub fn call(
    function: &Bound<'_, PyAny>,
    arguments: &Bound<'_, PyTuple>,
    keywords: Option<&Bound<'_, PyDict>>,
    argnums: &Argnums,
    has_aux: bool,
    unused: Unused,
    wants_value: bool,
) -> PyResult<Py<PyAny>> {
    let py = function.py();
    let what = if wants_value { "value_and_grad" } else { "grad" };
    let positions = argnums.resolve(arguments.len(), what)?;
    let mut primals: SmallVec<[Nest; 1]> = SmallVec::new();
    for &position in &positions {
        primals.push(Nest::differentiated(&*arguments.get_borrowed_item(position)?, what, position)?);
    }
    let tape = Tape::open(primals.iter().flat_map(|primal| &primal.tensors))?;
    let result = function.call(with_tagged(arguments, &positions, &primals, &tape.tagged)?, keywords)?;
    let (result, aux) = split_aux(result, has_aux, what)?;
    let aux = aux.map(|aux| tape.lowered(aux)).transpose()?;
    let output = scalar(&result, what)?;
    // The walk frees what nobody else holds.
    drop(result);
    let (value, gradients) = tape.pull_back(py, output)?;
    let mut gradients = gradients.into_iter();
    let mut packed: SmallVec<[Py<PyAny>; 2]> = SmallVec::new();
    for primal in &primals {
        packed.push(primal.derivative(py, gradients.by_ref().take(primal.tensors.len()), unused)?);
    }
    let gradients = argnums.pack(py, packed)?;
    if !wants_value {
        return match aux {
            Some(aux) => Ok((gradients, aux).into_pyobject(py)?.into_any().unbind()),
            None => Ok(gradients),
        };
    }
    let value = from_tensor(py, value)?.into_any();
    let first = match aux {
        Some(aux) => (value, aux).into_pyobject(py)?.into_any().unbind(),
        None => value,
    };
    Ok((first, gradients).into_pyobject(py)?.into_any().unbind())
}

/// The arguments with the tagged tensors in the places of those that are differentiated.
pub fn with_tagged<'py>(
    arguments: &Bound<'py, PyTuple>,
    positions: &[usize],
    primals: &[Nest],
    tagged: &[Tensor],
) -> PyResult<Bound<'py, PyTuple>> {
    let py = arguments.py();
    let mut rest = tagged;
    let mut objects: SmallVec<[Bound<'py, PyAny>; 4]> = arguments.iter().collect();
    for (&position, primal) in positions.iter().zip(primals) {
        let (own, others) = rest.split_at(primal.tensors.len());
        rest = others;
        objects[position] = primal.with(py, own.iter().cloned())?.into_bound(py);
    }
    PyTuple::new(py, objects)
}

/// Result and auxiliary output of a function.
pub fn split_aux<'py>(
    result: Bound<'py, PyAny>,
    has_aux: bool,
    what: &str,
) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
    if !has_aux {
        return Ok((result, None));
    }
    match result.cast::<PyTuple>() {
        Ok(pair) if pair.len() == 2 => Ok((pair.get_item(0)?, Some(pair.get_item(1)?))),
        _ => {
            let name = result.get_type().name()?;
            Err(PyTypeError::new_err(format!(
                "{what}: with has_aux the function must return a pair (result, aux), got {name}"
            )))
        }
    }
}

fn scalar(result: &Bound<'_, PyAny>, what: &str) -> PyResult<Tensor> {
    if let Ok(tensor) = result.cast_exact::<PyTensor>() {
        return Ok(tensor.get().0.clone());
    }
    match Argument::of(result)? {
        Some(argument) => Ok(argument.into_tensor()),
        None => {
            let name = result.get_type().name()?;
            Err(PyTypeError::new_err(format!(
                "{what}: the function must return a 0-d tensor, got {name} (return a pair and set has_aux for more)"
            )))
        }
    }
}
