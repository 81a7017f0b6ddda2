//! Rules of a user's own (`custom_vjp`, `custom_jvp`) and recomputation (`checkpoint`).
//!
//! The core calls a rule with tensors; here they are put back into the structure of the user's arguments,
//! and the results are taken apart again. Exceptions travel through the core as they are.

use std::sync::{Arc, Mutex, PoisonError};

use luxon::Tensor;
use luxon::op::custom::{self, CustomRule, Forward, Pullback, Pushed};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::error::{carry, raise};
use crate::transform::argument::{Nest, Unused};
use crate::transform::check_depth;

/// The result of the latest run of a rule, to put the core's tensors back into.
#[derive(Default)]
struct Latest(Mutex<Option<Nest>>);

impl Latest {
    /// Takes a result apart and remembers all of it but the tensors.
    fn keep(&self, result: &Bound<'_, PyAny>) -> PyResult<Vec<Tensor>> {
        let mut nest = Nest::traced(result)?;
        let tensors = std::mem::take(&mut nest.tensors).into_vec();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(nest);
        Ok(tensors)
    }

    /// The result with these tensors.
    fn with(&self, py: Python<'_>, tensors: Vec<Tensor>) -> PyResult<Py<PyAny>> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(nest) => nest.with(py, tensors),
            None => Err(PyValueError::new_err("the function was never run (a defect of luxon)")),
        }
    }
}

/// The user's arguments, each taken apart.
struct Arguments(Vec<Nest>);

impl Arguments {
    fn new(arguments: &Bound<'_, PyTuple>) -> PyResult<Arguments> {
        arguments.iter().map(|argument| Nest::traced(&argument)).collect::<PyResult<_>>().map(Arguments)
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.0.iter().flat_map(|nest| nest.tensors.iter().cloned()).collect()
    }

    /// The arguments with other tensors.
    fn with<'py>(&self, py: Python<'py>, tensors: &[Tensor]) -> PyResult<Bound<'py, PyTuple>> {
        let mut tensors = tensors.iter().cloned();
        let objects = self.0.iter().map(|nest| nest.with(py, tensors.by_ref().take(nest.tensors.len())));
        PyTuple::new(py, objects.collect::<PyResult<Vec<_>>>()?)
    }
}

/// The arguments of a call by position, as the function's signature binds them.
fn by_position<'py>(
    function: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = function.py();
    let Some(keywords) = keywords.filter(|keywords| !keywords.is_empty()) else { return Ok(arguments.clone()) };
    let signature = py.import("inspect")?.call_method1("signature", (function,))?;
    let bound = signature.call_method(intern!(py, "bind"), arguments.clone(), Some(keywords))?;
    bound.call_method0(intern!(py, "apply_defaults"))?;
    if !bound.getattr(intern!(py, "kwargs"))?.cast::<PyDict>()?.is_empty() {
        return Err(PyTypeError::new_err("a function with a rule of its own cannot have keyword-only arguments"));
    }
    Ok(bound.getattr(intern!(py, "args"))?.cast_into::<PyTuple>()?)
}

/// A function's name for error messages.
fn name_of(function: &Bound<'_, PyAny>) -> String {
    function.getattr("__name__").and_then(|name| name.extract()).unwrap_or_else(|_| "custom rule".into())
}

/// One call of a function with a rule: what the core asks of it.
struct Call {
    name: String,
    function: Py<PyAny>,
    rule: Rule,
    arguments: Arc<Arguments>,
    latest: Latest,
}

enum Rule {
    None,
    Reverse { forward: Py<PyAny>, backward: Arc<Py<PyAny>> },
    Forward(Py<PyAny>),
}

impl CustomRule for Call {
    fn name(&self) -> &str {
        &self.name
    }

    fn primal(&self, inputs: &[Tensor]) -> luxon::Result<Vec<Tensor>> {
        let run = |py: Python<'_>| self.latest.keep(&self.function.bind(py).call1(self.arguments.with(py, inputs)?)?);
        Python::attach(run).map_err(carry)
    }

    fn vjp(&self, inputs: &[Tensor]) -> Option<luxon::Result<Forward>> {
        let Rule::Reverse { forward, backward } = &self.rule else { return None };
        let run = |py: Python<'_>| {
            check_depth()?;
            let pair = forward.bind(py).call1(self.arguments.with(py, inputs)?)?;
            let Ok((result, residuals)) = pair.extract::<(Bound<'_, PyAny>, Py<PyAny>)>() else {
                let name = pair.get_type().name()?;
                return Err(PyTypeError::new_err(format!(
                    "{}: the forward rule must return a pair (result, residuals), got {name}",
                    self.name
                )));
            };
            let pullback = Backward {
                name: self.name.clone(),
                backward: Arc::clone(backward),
                residuals,
                arguments: Arc::clone(&self.arguments),
                result: Nest::traced(&result)?.detached(),
            };
            Ok((self.latest.keep(&result)?, Arc::new(pullback) as Arc<dyn Pullback>))
        };
        Some(Python::attach(run).map_err(carry))
    }

    fn jvp(&self, inputs: &[Tensor], tangents: &[Option<Tensor>]) -> Option<luxon::Result<Pushed>> {
        let Rule::Forward(rule) = &self.rule else { return None };
        let run = |py: Python<'_>| {
            check_depth()?;
            let mut rest = tangents.iter().cloned();
            let given = self
                .arguments
                .0
                .iter()
                .map(|nest| nest.derivative(py, rest.by_ref().take(nest.tensors.len()), Unused::Zeros));
            let given = PyTuple::new(py, given.collect::<PyResult<Vec<_>>>()?)?;
            let pair = rule.bind(py).call1((self.arguments.with(py, inputs)?, given))?;
            let Ok((result, tangent)) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>() else {
                let name = pair.get_type().name()?;
                return Err(PyTypeError::new_err(format!(
                    "{}: the forward-mode rule must return a pair (result, tangent), got {name}",
                    self.name
                )));
            };
            let tangents =
                Nest::traced(&result)?.read(&tangent, &format!("{}: the tangent of the result", self.name))?;
            Ok((self.latest.keep(&result)?, tangents.into_vec()))
        };
        Some(Python::attach(run).map_err(carry))
    }
}

/// A user's backward rule with what its forward rule left for it.
struct Backward {
    name: String,
    backward: Arc<Py<PyAny>>,
    residuals: Py<PyAny>,
    arguments: Arc<Arguments>,
    result: Nest,
}

impl Pullback for Backward {
    fn name(&self) -> &str {
        &self.name
    }

    fn pull(&self, cotangents: &[Option<Tensor>]) -> luxon::Result<Vec<Option<Tensor>>> {
        let run = |py: Python<'_>| {
            check_depth()?;
            let cotangent = self.result.derivative(py, cotangents.iter().cloned(), Unused::Zeros)?;
            let gradients = self.backward.bind(py).call1((&self.residuals, cotangent))?;
            let gradients: Vec<Bound<'_, PyAny>> = match (gradients.cast::<PyTuple>(), gradients.cast::<PyList>()) {
                (Ok(tuple), _) => tuple.iter().collect(),
                (_, Ok(list)) => list.iter().collect(),
                _ => {
                    let (name, count) = (gradients.get_type().name()?, self.arguments.0.len());
                    return Err(PyTypeError::new_err(format!(
                        "{}: the backward rule must return a tuple with one entry per argument ({count}), got {name}",
                        self.name
                    )));
                }
            };
            if gradients.len() != self.arguments.0.len() {
                return Err(PyValueError::new_err(format!(
                    "{}: the backward rule gave {} gradients for {} arguments",
                    self.name,
                    gradients.len(),
                    self.arguments.0.len()
                )));
            }
            let mut all = Vec::new();
            for (position, (nest, gradient)) in self.arguments.0.iter().zip(&gradients).enumerate() {
                if !nest.tensors.is_empty() {
                    all.extend(nest.read(gradient, &format!("{}: the gradient of argument {position}", self.name))?);
                }
            }
            Ok(all)
        };
        Python::attach(run).map_err(carry)
    }
}

fn call_with_rule(
    function: &Bound<'_, PyAny>,
    rule: Rule,
    arguments: &Bound<'_, PyTuple>,
    keywords: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let py = function.py();
    let given = by_position(function, arguments, keywords)?;
    let arguments = Arc::new(Arguments::new(&given)?);
    let tensors = arguments.tensors();
    if !tensors.iter().any(Tensor::is_tracked) {
        return Ok(function.call1(given)?.unbind());
    }
    let call = Arc::new(Call {
        name: name_of(function),
        function: function.clone().unbind(),
        rule,
        arguments,
        latest: Latest::default(),
    });
    let outputs = custom::call(&(Arc::clone(&call) as Arc<dyn CustomRule>), &tensors).map_err(raise)?;
    call.latest.with(py, outputs)
}

/// A function with a backward rule of its own.
///
/// `f = luxon.custom_vjp(f); f.defvjp(forward, backward)`: `forward(*arguments)` returns the result and
/// whatever `backward` needs; `backward(residuals, cotangent)` returns a tuple with one entry per argument:
/// a gradient in the argument's structure, or `None` for zeros (and for arguments that are not
/// differentiated). The rule also serves forward mode, where its transpose is taken, and is differentiable
/// again. Outside differentiation `f` itself runs. Every tensor to be differentiated has to be an argument:
/// one that the function closes over is an error.
///
/// Example:
///     >>> import luxon as lx
///     >>> @lx.custom_vjp
///     ... def clipped(x):
///     ...     return x * 1.0
///     >>> clipped.defvjp(lambda x: (x * 1.0, None), lambda _, dy: (lx.clip(dy, -1, 1),))
///     >>> float(lx.grad(lambda x: clipped(x) * 5.0)(2.0))
///     1.0
#[pyclass(frozen, weakref, name = "custom_vjp", module = "luxon")]
pub struct PyCustomVjp {
    function: Py<PyAny>,
    rules: Mutex<Option<(Py<PyAny>, Arc<Py<PyAny>>)>>,
}

#[pymethods]
impl PyCustomVjp {
    #[new]
    #[pyo3(signature = (function, /))]
    fn create(function: Py<PyAny>) -> PyCustomVjp {
        PyCustomVjp { function, rules: Mutex::new(None) }
    }

    /// Sets the rule: `forward(*arguments) -> (result, residuals)` and
    /// `backward(residuals, cotangent) -> (one gradient per argument)`.
    fn defvjp(&self, forward: Py<PyAny>, backward: Py<PyAny>) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = Some((forward, Arc::new(backward)));
    }

    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__(
        &self,
        py: Python<'_>,
        arguments: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let rule = match &*self.rules.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((forward, backward)) => {
                Rule::Reverse { forward: forward.clone_ref(py), backward: Arc::clone(backward) }
            }
            None => Rule::None,
        };
        call_with_rule(self.function.bind(py), rule, arguments, keywords)
    }
}

super::looks_like_its_function!(PyCustomVjp);

impl PyCustomVjp {
    /// Rules often refer to the function that they belong to. Where they are in use, nothing is garbage.
    fn visit_rules(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(Some((forward, backward))) = self.rules.try_lock().as_deref() {
            visit.call(forward)?;
            if Arc::strong_count(backward) == 1 {
                visit.call(&**backward)?;
            }
        }
        Ok(())
    }
}

/// A function with a forward-mode rule of its own.
///
/// `f = luxon.custom_jvp(f); f.defjvp(rule)`: `rule(primals, tangents)` gets two tuples and returns the result
/// and its tangent, which must be linear in the tangents; leaves that are not floating tensors have `None` for
/// a tangent. The rule also serves reverse mode, where its transpose is taken, and is differentiable again.
/// Every tensor to be differentiated has to be an argument: one that the function closes over is an error.
///
/// Example:
///     >>> import luxon as lx
///     >>> @lx.custom_jvp
///     ... def cube(x):
///     ...     return x * x * x
///     >>> _ = cube.defjvp(lambda primals, tangents: (cube(*primals), 3 * primals[0] ** 2 * tangents[0]))
///     >>> float(lx.grad(cube)(2.0))
///     12.0
#[pyclass(frozen, weakref, name = "custom_jvp", module = "luxon")]
pub struct PyCustomJvp {
    function: Py<PyAny>,
    rule: Mutex<Option<Py<PyAny>>>,
}

#[pymethods]
impl PyCustomJvp {
    #[new]
    #[pyo3(signature = (function, /))]
    fn create(function: Py<PyAny>) -> PyCustomJvp {
        PyCustomJvp { function, rule: Mutex::new(None) }
    }

    /// Sets the rule `rule(primals, tangents) -> (result, tangent)`, linear in the tangents; returns it, so
    /// that it serves as a decorator.
    fn defjvp(&self, py: Python<'_>, rule: Py<PyAny>) -> Py<PyAny> {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = Some(rule.clone_ref(py));
        rule
    }

    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__(
        &self,
        py: Python<'_>,
        arguments: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let rule = match &*self.rule.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(rule) => Rule::Forward(rule.clone_ref(py)),
            None => Rule::None,
        };
        call_with_rule(self.function.bind(py), rule, arguments, keywords)
    }
}

super::looks_like_its_function!(PyCustomJvp);

impl PyCustomJvp {
    /// The rule often refers to the function that it belongs to.
    fn visit_rules(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.rule.try_lock().as_deref() {
            Ok(Some(rule)) => visit.call(rule),
            _ => Ok(()),
        }
    }
}

/// Runs a function keeping only its arguments; the backward pass runs it again.
pub fn call_checkpoint(
    function: &Bound<'_, PyAny>,
    arguments: &Bound<'_, PyTuple>,
    keywords: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let py = function.py();
    let positional = Nest::traced(arguments.as_any())?;
    let named = keywords.map(|keywords| Nest::traced(keywords.as_any())).transpose()?;
    let mut tensors = positional.tensors.to_vec();
    tensors.extend(named.iter().flat_map(|named| named.tensors.iter().cloned()));
    let latest = Arc::new(Latest::default());
    let (kept, function) = (Arc::clone(&latest), function.clone().unbind());
    let run = move |inputs: &[Tensor]| -> luxon::Result<Vec<Tensor>> {
        let run = |py: Python<'_>| {
            let (first, second) = inputs.split_at(positional.tensors.len());
            let arguments = positional.with(py, first.iter().cloned())?;
            let keywords = named.as_ref().map(|named| named.with(py, second.iter().cloned())).transpose()?;
            let keywords = keywords.as_ref().map(|keywords| keywords.bind(py).cast::<PyDict>()).transpose()?;
            kept.keep(&function.bind(py).call(arguments.bind(py).cast::<PyTuple>()?, keywords)?)
        };
        Python::attach(run).map_err(carry)
    };
    let function: custom::Function = Arc::new(run);
    let outputs = custom::checkpoint(&function, &tensors).map_err(raise)?;
    latest.with(py, outputs)
}
