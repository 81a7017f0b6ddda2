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
    check_depth()?;
    let level = Level::open(Mode::Reverse);
    let scope = Scope(Arc::clone(&level));
    let mut tagged = Tensors::new();
    for tensor in primals.iter().flat_map(|primal| &primal.tensors) {
        tagged.push(level.tag(tensor).map_err(raise)?);
    }
    let result = function.call(with_tagged(arguments, &positions, &primals, &tagged)?, keywords)?;
    let long = level.size() > MANY_NODES || tagged.iter().any(|tensor| tensor.count() > MANY_ELEMENTS);
    let (result, aux) = split_aux(result, has_aux, what)?;
    let aux = aux.map(|aux| lowered(aux, level.stamp())).transpose()?;
    let output = scalar(&result, what)?;
    // The walk frees what nobody else holds.
    drop(result);
    let value = output.lower(level.stamp());
    let outputs = vec![(output, seed(&value).map_err(raise)?)];
    let gradients =
        if long { py.detach(|| pull_back(&level, outputs, &tagged)) } else { pull_back(&level, outputs, &tagged) };
    let mut gradients = gradients.map_err(raise)?.into_iter();
    drop(scope);
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
