//! Optimisers: `_core.Schedule` and `_core.Optimizer`, made of descriptions that `luxon.optim` gives.
//!
//! Names and defaults are said once more in Python, for signatures and documentation; what a rule does is in
//! the core alone. A learning rate that is any other callable is asked for its value at each step.

mod describe;
mod minimize;
mod plan;
mod update;

use std::sync::Mutex;

use luxon::optim;
use luxon::optim::leaf::Spec;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::dtype;
use crate::error::{Out, raise};
use crate::tree::nest::{self, Containers};
use plan::Plan;

/// A learning rate as a function of the step.
#[pyclass(frozen, name = "Schedule", module = "luxon._core")]
pub struct PySchedule(pub optim::Schedule);

#[pymethods]
impl PySchedule {
    #[new]
    #[pyo3(signature = (kind, settings, /))]
    fn new(kind: &str, settings: &Bound<'_, PyDict>) -> PyResult<PySchedule> {
        Ok(PySchedule(describe::schedule(kind, settings)?))
    }

    /// The rate of a step, counted from 0.
    #[pyo3(signature = (step, /))]
    fn at(&self, step: u64) -> PyResult<f64> {
        self.0.at(step).map_err(raise)
    }
}

/// How parameters follow their gradients.
#[pyclass(frozen, name = "Optimizer", module = "luxon._core")]
pub struct PyOptimizer {
    pub optimizer: optim::Optimizer,
    plan: Mutex<Option<Plan>>,
}

impl From<optim::Optimizer> for PyOptimizer {
    fn from(optimizer: optim::Optimizer) -> PyOptimizer {
        PyOptimizer { optimizer, plan: Mutex::new(None) }
    }
}

#[pymethods]
impl PyOptimizer {
    /// A rule by its name.
    #[staticmethod]
    #[pyo3(signature = (name, settings, /))]
    fn rule(name: &str, settings: &Bound<'_, PyDict>) -> PyResult<PyOptimizer> {
        let settings = describe::settings(settings)?;
        Ok(optim::Optimizer::Rule(optim::rules::rule(name, &settings).map_err(raise)?).into())
    }

    /// A transform by its name.
    #[staticmethod]
    #[pyo3(signature = (name, settings, /))]
    fn transform(name: &str, settings: &Bound<'_, PyDict>) -> PyResult<PyOptimizer> {
        let transform = describe::transform(name, settings)?;
        transform.check().map_err(raise)?;
        Ok(optim::Optimizer::Transform(transform).into())
    }

    /// One after the other.
    #[staticmethod]
    #[pyo3(signature = (members, /))]
    fn chain(members: Vec<Bound<'_, PyOptimizer>>) -> PyResult<PyOptimizer> {
        let members = members.iter().map(|member| member.get().optimizer.clone()).collect();
        let chain = optim::Optimizer::chain(members).map_err(raise)?;
        Ok(chain.into())
    }

    /// Each leaf to the first whose pattern covers it.
    #[staticmethod]
    #[pyo3(signature = (parts, /))]
    fn partition(parts: Vec<(String, Bound<'_, PyOptimizer>)>) -> PyResult<PyOptimizer> {
        let parts = parts.iter().map(|(pattern, part)| {
            Ok((luxon::tree::Pattern::new(pattern).map_err(raise)?, part.get().optimizer.clone()))
        });
        Self::checked(optim::Optimizer::Partition(parts.collect::<PyResult<_>>()?))
    }

    /// Every `sync_period` steps back towards where the last ones began.
    #[staticmethod]
    #[pyo3(signature = (inner, sync_period, slow_step_size, reset_state, /))]
    fn lookahead(
        inner: &PyOptimizer,
        sync_period: u64,
        slow_step_size: f64,
        reset_state: bool,
    ) -> PyResult<PyOptimizer> {
        let inner = Box::new(inner.optimizer.clone());
        Self::checked(optim::Optimizer::Lookahead { inner, sync_period, slow_step_size, reset_state })
    }

    /// With parameters kept in a wider type.
    #[staticmethod]
    #[pyo3(signature = (inner, dtype, /))]
    fn mixed_precision(inner: &PyOptimizer, dtype: &Bound<'_, PyAny>) -> PyResult<PyOptimizer> {
        let (inner, dtype) = (Box::new(inner.optimizer.clone()), dtype::from_python(dtype)?);
        Self::checked(optim::Optimizer::MixedPrecision { inner, dtype })
    }

    /// Whether this moves parameters, as a lone transform does not.
    fn moves(&self) -> bool {
        self.optimizer.moves()
    }

    /// The names of what may be kept of a leaf.
    fn names(&self) -> Vec<String> {
        self.optimizer.names()
    }

    /// For each name the values of all leaves before the first step; with `strict`, patterns must cover something.
    #[pyo3(signature = (ps, strict, /))]
    fn start(&self, py: Python<'_>, ps: &Bound<'_, PyAny>, strict: bool) -> Out<Vec<(String, Py<PyList>)>> {
        self.optimizer.check()?;
        let ps = nest::to_tree(ps, Containers::Kept)?;
        let trained =
            |slot: usize| ps.at(slot).tensor(py).filter(|leaf| leaf.dtype().is_float()).map(luxon::Tensor::detach);
        let paths = plan::first_paths(ps.structure());
        if strict {
            let trained = paths.iter().enumerate().filter(|&(slot, _)| trained(slot).is_some());
            let trained: Vec<String> = trained.map(|(_, path)| path.to_string()).collect();
            if !trained.is_empty() {
                self.optimizer.check_paths(&trained)?;
            }
        }
        let names = self.optimizer.names();
        let entries: Vec<_> = names.iter().map(|_| PyList::empty(py)).collect();
        for (slot, path) in paths.iter().enumerate() {
            let mut values: Vec<Py<PyAny>> = names.iter().map(|_| py.None()).collect();
            if let Some(parameter) = trained(slot) {
                for (name, slot) in self.optimizer.slots(path, &Spec::of(&parameter))? {
                    if let Some(position) = names.iter().position(|known| *known == name) {
                        values[position] = update::to_leaf(py, slot.start(&parameter)?).object(py)?.clone().unbind();
                    }
                }
            }
            for (entry, value) in entries.iter().zip(values) {
                entry.append(value)?;
            }
        }
        Ok(names.into_iter().zip(entries.into_iter().map(Bound::unbind)).collect())
    }
}

impl PyOptimizer {
    fn checked(optimizer: optim::Optimizer) -> PyResult<PyOptimizer> {
        optimizer.check().map_err(raise)?;
        Ok(optimizer.into())
    }
}

/// Adds the classes and functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PySchedule>()?;
    module.add_class::<PyOptimizer>()?;
    module.add_function(wrap_pyfunction!(update::optim_update, module)?)?;
    module.add_function(wrap_pyfunction!(update::optim_update_donated, module)?)?;
    module.add_function(wrap_pyfunction!(minimize::optim_minimize, module)?)
}
