//! The loop of a chain of layers.

use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::dense::DenseCall;
use crate::tree::{PyTree, children};

/// Calls layers one after the other: (y, the states that changed by name or None, None).
///
/// `calls` holds what computes a layer in its place, which has no states, or None; what that refuses, the layer
/// itself is asked. Where a layer raises: (None, its position, what it raised), for the chain to say where that was.
#[pyfunction]
pub(super) fn run_chain<'py>(
    names: &Bound<'py, PyTuple>,
    layers: &Bound<'py, PyTuple>,
    calls: &Bound<'py, PyTuple>,
    x: Bound<'py, PyAny>,
    ps: &Bound<'py, PyAny>,
    st: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = names.py();
    let states = children(st, names)?;
    // The parameters of each layer, as soon as one asks for them.
    let mut parameters: Option<Bound<'py, PyTuple>> = None;
    let (mut x, mut changed) = (x, None::<Bound<'py, PyDict>>);
    for (position, layer) in layers.iter_borrowed().enumerate() {
        if let Ok(call) = calls.get_borrowed_item(position)?.cast_exact::<DenseCall>() {
            match in_core(call.get(), &x, ps, names, position) {
                Some(Ok(y)) => {
                    x = y;
                    continue;
                }
                Some(Err(error)) if !error.is_instance_of::<PyException>(py) => return Err(error),
                _ => {}
            }
        }
        let parameters = match &parameters {
            Some(parameters) => parameters,
            None => parameters.insert(children(ps, names)?),
        };
        let (own, state) = (parameters.get_borrowed_item(position)?, states.get_borrowed_item(position)?);
        let (y, after) = match called(&layer, x, &own, &state) {
            Ok(results) => results,
            Err(error) if error.is_instance_of::<PyException>(py) => {
                return (py.None(), position, error.into_value(py)).into_pyobject(py);
            }
            Err(error) => return Err(error),
        };
        if !after.is(&*state) {
            let changed = changed.get_or_insert_with(|| PyDict::new(py));
            changed.set_item(names.get_borrowed_item(position)?, after)?;
        }
        x = y;
    }
    (x, changed, py.None()).into_pyobject(py)
}

/// The result of a layer that the core computes, if its parameters are part of a tree.
#[inline]
fn in_core<'py>(
    call: &DenseCall,
    x: &Bound<'py, PyAny>,
    ps: &Bound<'py, PyAny>,
    names: &Bound<'py, PyTuple>,
    position: usize,
) -> Option<PyResult<Bound<'py, PyAny>>> {
    let tree = ps.cast_exact::<PyTree>().ok()?.get();
    let name = names.get_borrowed_item(position).ok()?;
    let part = tree.part(position, name.cast::<PyString>().ok()?.to_str().ok()?)?;
    Some(call.run_within(x, &part)?.map_err(PyErr::from))
}

/// The result and the new states of one layer.
fn called<'py>(
    layer: &Bound<'py, PyAny>,
    x: Bound<'py, PyAny>,
    own: &Bound<'py, PyAny>,
    state: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let results = layer.call1((x, own, state))?;
    match results.cast::<PyTuple>() {
        Ok(pair) if pair.len() == 2 => Ok((pair.get_item(0)?, pair.get_item(1)?)),
        _ => Err(PyTypeError::new_err(format!(
            "{} returned a {}; a layer returns (y, st), its result and its states",
            layer.call_method0("describe")?,
            results.get_type().name()?
        ))),
    }
}
