//! The loop of a chain of layers.

use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use luxon::Tensor;

use super::dense::DenseCall;
use crate::convert::{Argument, from_tensor};
use crate::tree::{PyTree, children};

/// The layers of a chain, in the order in which they run.
///
/// `calls` holds what computes a layer in its place, which has no states, or None; what that refuses, the layer
/// itself is asked.
#[pyclass(frozen, module = "luxon._core")]
pub struct ChainLoop {
    names: Py<PyTuple>,
    layers: Py<PyTuple>,
    calls: Py<PyTuple>,
}

/// What one layer gives to the next: no object of Python where the core computes both.
enum Flow<'py> {
    Object(Bound<'py, PyAny>),
    Tensor(Tensor),
}

impl<'py> Flow<'py> {
    fn into_object(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Flow::Object(object) => Ok(object),
            Flow::Tensor(tensor) => Ok(from_tensor(py, tensor)?.into_bound(py).into_any()),
        }
    }
}

#[pymethods]
impl ChainLoop {
    #[new]
    #[pyo3(signature = (names, layers, calls, /))]
    fn new(names: Py<PyTuple>, layers: Py<PyTuple>, calls: Py<PyTuple>) -> ChainLoop {
        ChainLoop { names, layers, calls }
    }

    /// Calls the layers one after the other: (y, st), or where states changed (y, these by name, None).
    ///
    /// Where a layer raises: (None, its position, what it raised), for the chain to say where that was.
    #[pyo3(signature = (x, ps, st, /))]
    fn run<'py>(
        &self,
        x: Bound<'py, PyAny>,
        ps: &Bound<'py, PyAny>,
        st: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = ps.py();
        let (names, calls) = (self.names.bind(py), self.calls.bind(py));
        let states = children(st, names)?;
        // The parameters of each layer, as soon as one asks for them.
        let mut parameters: Option<Bound<'py, PyTuple>> = None;
        let (mut x, mut changed) = (Flow::Object(x), None::<Bound<'py, PyDict>>);
        for (position, layer) in self.layers.bind(py).iter_borrowed().enumerate() {
            if let Ok(call) = calls.get_borrowed_item(position)?.cast_exact::<DenseCall>() {
                match in_core(call.get(), &x, ps, names, position) {
                    Some(Ok(y)) => {
                        x = Flow::Tensor(y);
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
            let (y, after) = match called(&layer, x.into_object(py)?, &own, &state) {
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
            x = Flow::Object(y);
        }
        let y = x.into_object(py)?;
        match changed {
            None => (y, st).into_pyobject(py),
            Some(changed) => (y, changed, py.None()).into_pyobject(py),
        }
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.names)?;
        visit.call(&self.layers)?;
        visit.call(&self.calls)
    }
}

/// The result of a layer that the core computes, if its parameters are part of a tree.
#[inline]
fn in_core<'py>(
    call: &DenseCall,
    x: &Flow<'py>,
    ps: &Bound<'py, PyAny>,
    names: &Bound<'py, PyTuple>,
    position: usize,
) -> Option<PyResult<Tensor>> {
    let tree = ps.cast_exact::<PyTree>().ok()?.get();
    let name = names.get_borrowed_item(position).ok()?;
    let part = tree.part(position, name.cast::<PyString>().ok()?.to_str().ok()?)?;
    let y = match x {
        Flow::Tensor(tensor) => call.run_within(ps.py(), tensor, &part)?,
        Flow::Object(object) => call.run_within(ps.py(), &Argument::any(object).ok()?.tensor(), &part)?,
    };
    Some(y.map_err(PyErr::from))
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
