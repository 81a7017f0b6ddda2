//! `vjp`, `jvp` and `linearize`: a function's derivative as a linear map.

use std::sync::Arc;

use luxon::Tensor;
use luxon::op::custom::Recorded;
use luxon::transform::{Level, Mode, Scope, split_tangent, vjp_through};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::raise;
use crate::transform::argument::{Nest, Tensors, Unused, lowered, several};
use crate::transform::check_depth;
use crate::transform::gradient::{split_aux, with_tagged};

/// A function run once and recorded, ready to be pulled back.
pub struct Recording {
    pub recorded: Recorded,
    pub primals: Vec<Nest>,
    /// The result below the level.
    pub result: Nest,
    pub aux: Option<Py<PyAny>>,
}

/// Runs `function` on arguments of which `positions` are differentiated, and keeps the recording open.
pub fn record(
    function: &Bound<'_, PyAny>,
    arguments: &Bound<'_, PyTuple>,
    keywords: Option<&Bound<'_, pyo3::types::PyDict>>,
    positions: &[usize],
    has_aux: bool,
    what: &str,
) -> PyResult<Recording> {
    let mut primals = Vec::with_capacity(positions.len());
    for &position in positions {
        primals.push(Nest::differentiated(&*arguments.get_borrowed_item(position)?, what, position)?);
    }
    check_depth()?;
    let level = Level::open(Mode::Reverse);
    // Until the recording owns the level, an error closes it.
    let close = Guard(Some(&level));
    let tagged = primals.iter().flat_map(|primal| &primal.tensors).map(|tensor| level.tag(tensor));
    let tagged = tagged.collect::<luxon::Result<Vec<_>>>().map_err(raise)?;
    let result = function.call(with_tagged(arguments, positions, &primals, &tagged)?, keywords)?;
    let (result, aux) = split_aux(result, has_aux, what)?;
    let aux = aux.map(|aux| lowered(aux, level.stamp())).transpose()?;
    let outputs = Nest::traced(&result)?.tensors.into_vec();
    let result = Nest::traced(lowered(result, level.stamp())?.bind(function.py()))?;
    close.keep();
    Ok(Recording { recorded: Recorded::new(level, outputs, tagged), primals, result, aux })
}

struct Guard<'a>(Option<&'a Arc<Level>>);

impl Guard<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(level) = self.0 {
            level.close();
        }
    }
}

impl Recording {
    /// The result as Python sees it.
    pub fn value(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.result.with(py, self.result.tensors.iter().cloned())
    }

    /// The gradients of the primals, each in its own structure.
    fn pull(&self, py: Python<'_>, cotangents: &[Option<Tensor>], unused: Unused) -> PyResult<Vec<Py<PyAny>>> {
        let mut gradients = py.detach(|| self.recorded.pull(cotangents)).map_err(raise)?.into_iter();
        let primals = self.primals.iter();
        primals.map(|primal| primal.derivative(py, gradients.by_ref().take(primal.tensors.len()), unused)).collect()
    }
}

/// The map from a cotangent of a result to those of the arguments: a tuple, one entry an argument.
#[pyclass(frozen, weakref, name = "Pullback", module = "luxon")]
pub struct PyPullback {
    recording: Recording,
    unused: Unused,
}

#[pymethods]
impl PyPullback {
    #[pyo3(signature = (cotangent, /))]
    fn __call__<'py>(&self, cotangent: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
        let py = cotangent.py();
        let cotangents = self.recording.result.read(cotangent, "vjp: the cotangent")?;
        PyTuple::new(py, self.recording.pull(py, &cotangents, self.unused)?)
    }
}

/// The result of a function, and its derivative transposed: `(result, pullback)` (and `aux`).
///
/// `pullback(cotangent)` takes a cotangent in the structure of the result (`None` stands for zeros) and
/// gives a tuple, one entry per primal. It may be called any number of times.
///
/// Raises:
///     TypeError: a primal has a leaf that is not floating.
///     ValueError: a cotangent does not fit its result.
///
/// Example:
///     >>> import luxon as lx
///     >>> y, pullback = lx.vjp(lambda a, b: a * b, lx.asarray(2.0), lx.asarray(3.0))
///     >>> [float(g) for g in pullback(1.0)]
///     [3.0, 2.0]
#[pyfunction]
#[pyo3(signature = (function, /, *primals, has_aux = false, unused = Unused::Zeros))]
pub fn vjp<'py>(
    function: &Bound<'py, PyAny>,
    primals: &Bound<'py, PyTuple>,
    has_aux: bool,
    unused: Unused,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = function.py();
    let positions: Vec<usize> = (0..primals.len()).collect();
    let mut recording = record(function, primals, None, &positions, has_aux, "vjp")?;
    let (value, aux) = (recording.value(py)?, recording.aux.take());
    let pullback = Py::new(py, PyPullback { recording, unused })?.into_any();
    PyTuple::new(py, [Some(value), Some(pullback), aux].into_iter().flatten().collect::<Vec<_>>())
}

/// The linear map from tangents of the arguments to the tangent of the result.
#[pyclass(frozen, weakref, name = "Pushforward", module = "luxon")]
pub struct PyPushforward(Recording);

#[pymethods]
impl PyPushforward {
    #[pyo3(signature = (*tangents))]
    fn __call__(&self, tangents: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        let py = tangents.py();
        let Recording { recorded, primals, result, .. } = &self.0;
        let given = read_tangents(primals, &tangents.iter().collect::<Vec<_>>(), "linearize")?;
        // The pullback is linear in the cotangent: its own pullback is the derivative.
        let push = || {
            let zeros = result.tensors.iter().map(Tensor::zeros_like).collect::<luxon::Result<Vec<_>>>()?;
            let pull = |cotangents: &[Tensor]| recorded.pull(&cotangents.iter().cloned().map(Some).collect::<Vec<_>>());
            vjp_through(pull, &zeros, &given)
        };
        let pushed = py.detach(push).map_err(raise)?;
        result.derivative(py, pushed, Unused::Zeros)
    }
}

/// The result of a function, and its derivative there: `push(*tangents)` gives the result's tangent.
///
/// The function is run once, however often `push` is called.
///
/// Example:
///     >>> import luxon as lx
///     >>> y, push = lx.linearize(lambda x: x * x, lx.asarray(3.0))
///     >>> float(push(1.0)), float(push(0.5))
///     (6.0, 3.0)
#[pyfunction]
#[pyo3(signature = (function, /, *primals))]
pub fn linearize<'py>(
    function: &Bound<'py, PyAny>,
    primals: &Bound<'py, PyTuple>,
) -> PyResult<(Py<PyAny>, PyPushforward)> {
    let positions: Vec<usize> = (0..primals.len()).collect();
    let recording = record(function, primals, None, &positions, false, "linearize")?;
    Ok((recording.value(function.py())?, PyPushforward(recording)))
}

/// The tangents of all tensors in the primals.
pub fn read_tangents(primals: &[Nest], tangents: &[Bound<'_, PyAny>], what: &str) -> PyResult<Vec<Option<Tensor>>> {
    if tangents.len() != primals.len() {
        return Err(PyValueError::new_err(format!(
            "{what}: {} tangents for {} arguments",
            tangents.len(),
            primals.len()
        )));
    }
    let mut all = Vec::new();
    for (position, (primal, tangent)) in primals.iter().zip(tangents).enumerate() {
        all.extend(primal.read(tangent, &format!("{what}: the tangent of argument {position}"))?);
    }
    Ok(all)
}

/// A result and its tangents.
pub struct Pushed {
    pub result: Nest,
    pub tangents: Vec<Option<Tensor>>,
    pub aux: Option<Py<PyAny>>,
}

/// Runs `function` once on arguments whose tensors at `positions` carry these tangents.
pub fn push(
    function: &Bound<'_, PyAny>,
    arguments: &Bound<'_, PyTuple>,
    keywords: Option<&Bound<'_, pyo3::types::PyDict>>,
    positions: &[usize],
    primals: &[Nest],
    tangents: &[Option<Tensor>],
    has_aux: bool,
) -> PyResult<Pushed> {
    check_depth()?;
    let level = Level::open(Mode::Forward);
    let scope = Scope(Arc::clone(&level));
    let mut tagged = Tensors::new();
    for (tensor, tangent) in primals.iter().flat_map(|primal| &primal.tensors).zip(tangents) {
        tagged.push(match tangent {
            Some(tangent) => level.tag_tangent(tensor, tangent).map_err(raise)?,
            None => tensor.clone(),
        });
    }
    let result = function.call(with_tagged(arguments, positions, primals, &tagged)?, keywords)?;
    let (result, aux) = split_aux(result, has_aux, "jvp")?;
    let aux = aux.map(|aux| lowered(aux, level.stamp())).transpose()?;
    let mut result = Nest::traced(&result)?;
    let (values, tangents): (Tensors, Vec<_>) =
        result.tensors.iter().map(|output| split_tangent(&level, output)).unzip();
    result.tensors = values;
    drop(scope);
    Ok(Pushed { result, tangents, aux })
}

/// The result of a function and its directional derivative: `(result, tangent)` (and `aux`).
///
/// Args:
///     function: any function of tensors and trees.
///     primals: the tuple of its arguments (a single tensor or Tree may stand for itself).
///     tangents: the tuple of directions, in the structure of the primals; `None` stands for zeros.
///     has_aux: the function returns a pair whose second entry is passed through.
///     unused: zeros, or `None`, for results that depend on no primal.
///
/// Example:
///     >>> import luxon as lx
///     >>> y, dy = lx.jvp(lx.sin, (lx.asarray(0.0),), (lx.asarray(2.0),))
///     >>> float(y), float(dy)
///     (0.0, 2.0)
#[pyfunction]
#[pyo3(signature = (function, primals, tangents, has_aux = false, unused = Unused::Zeros))]
pub fn jvp<'py>(
    function: &Bound<'py, PyAny>,
    primals: &Bound<'py, PyAny>,
    tangents: &Bound<'py, PyAny>,
    has_aux: bool,
    unused: Unused,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = function.py();
    let (objects, alone) = several(primals)?;
    let tangents = if alone { vec![tangents.clone()] } else { several(tangents)?.0 };
    let mut nests = Vec::with_capacity(objects.len());
    for (position, object) in objects.iter().enumerate() {
        nests.push(Nest::differentiated(object, "jvp", position)?);
    }
    let given = read_tangents(&nests, &tangents, "jvp")?;
    let positions: Vec<usize> = (0..objects.len()).collect();
    let Pushed { result, tangents, aux } =
        push(function, &PyTuple::new(py, objects)?, None, &positions, &nests, &given, has_aux)?;
    let value = result.with(py, result.tensors.iter().cloned())?;
    let tangent = result.derivative(py, tangents, unused)?;
    PyTuple::new(py, [Some(value), Some(tangent), aux].into_iter().flatten().collect::<Vec<_>>())
}
