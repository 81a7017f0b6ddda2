//! One step of an optimiser over whole trees: `_core.optim_update`.
//!
//! A state is a tree with an entry `step` (an int per leaf) and one entry per name of the optimiser, each in the
//! structure of the parameters; a tied leaf has one place everywhere, so it is updated once. All leaves are
//! checked before the first one is touched. With [`optim_update_donated`] the caller hands over its only
//! references, and what then belongs to nobody else is overwritten in place.

use std::sync::{Arc, PoisonError};

use luxon::Tensor;
use luxon::layout::show;
use luxon::optim::compose::Given;
use luxon::optim::{Kept, State};
use luxon::tree::{Structure, Tree, align};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyList};

use super::plan::Plan;
use super::{PyOptimizer, object};
use crate::convert::to_tensor;
use crate::error::raise;
use crate::gil::released;
use crate::tensor::PyTensor;
use crate::tree::PyTree;
use crate::tree::nest::{self, Containers, Leaf};

/// The Python object of what is kept.
pub fn to_python(py: Python<'_>, kept: Kept) -> PyResult<Py<PyAny>> {
    match kept {
        Kept::Nothing => Ok(py.None()),
        Kept::Number(number) => Ok(PyFloat::new(py, number).into_any().unbind()),
        Kept::Tensor(tensor) => object(py, tensor),
    }
}

/// What is kept, of its Python object.
fn from_python(py: Python<'_>, leaf: &Leaf) -> PyResult<Kept> {
    let leaf = leaf.0.bind(py);
    if let Ok(tensor) = leaf.cast_exact::<PyTensor>() {
        return Ok(Kept::Tensor(tensor.get().0.clone()));
    }
    if leaf.is_none() {
        return Ok(Kept::Nothing);
    }
    Ok(Kept::Number(leaf.extract()?))
}

/// A leaf that has a gradient: where it is, and how often it was updated.
#[derive(Clone, Copy)]
struct Job {
    slot: usize,
    step: u64,
}

/// Parameters, gradients and state, found to fit one another.
pub struct Update<'a> {
    optimizer: &'a PyOptimizer,
    ps: Tree<Leaf>,
    state: Tree<Leaf>,
    plan: Plan,
    jobs: Vec<Job>,
    /// What the core is given of each job's leaf.
    given: Vec<Given>,
    elements: usize,
    /// Updates before this one.
    step: u64,
}

/// What an update has moved, on its way back into trees.
pub struct Moved {
    ps: (Arc<Structure>, Vec<Leaf>),
    state: (Arc<Structure>, Vec<Leaf>),
    plan: Plan,
    jobs: Vec<Job>,
}

impl<'a> Update<'a> {
    /// Checks everything. Without gradients every leaf that can be trained takes part.
    pub fn new(
        py: Python<'_>,
        optimizer: &'a PyOptimizer,
        ps: Tree<Leaf>,
        grads: Option<&Bound<'_, PyAny>>,
        state: Tree<Leaf>,
        step: Option<u64>,
    ) -> PyResult<Update<'a>> {
        let grads = match grads {
            Some(grads) => {
                let grads = nest::to_tree(grads, Containers::Kept)?;
                let alignment = align(ps.structure(), grads.structure()).map_err(|mismatch| {
                    PyValueError::new_err(format!("optim: the gradients do not fit the parameters: {mismatch}"))
                })?;
                Some((grads, alignment))
            }
            None => None,
        };
        let plan = {
            let mut known = optimizer.plan.lock().unwrap_or_else(PoisonError::into_inner);
            match &*known {
                Some(plan) if plan.fits(py, &ps, &state) => plan.clone(),
                _ => known.insert(Plan::new(py, &optimizer.optimizer, &ps, &state)?).clone(),
            }
        };
        let slots = ps.structure().slots();
        let (mut jobs, mut given, mut elements) = (Vec::with_capacity(slots), Vec::with_capacity(slots), 0);
        let state_leaf = |place: usize| state.at(place).0.bind(py);
        for slot in 0..slots {
            let gradient = match &grads {
                Some((grads, alignment)) => grads.at(alignment.at(slot)).0.bind(py).clone(),
                None if plan.places[slot].is_some() => ps.at(slot).0.bind(py).clone(),
                None => continue,
            };
            if gradient.is_none() {
                continue;
            }
            let refuse = |what: String| {
                let path = ps.structure().path_of(slot);
                let path = if path.is_empty() { "the parameter" } else { &path };
                Err(PyValueError::new_err(format!("optim: {path}: {what}")))
            };
            let Ok(parameter) = ps.at(slot).0.bind(py).cast_exact::<PyTensor>() else {
                let kind = ps.at(slot).0.bind(py).get_type().name()?;
                return refuse(format!("a {kind} is no tensor and cannot be trained"));
            };
            let parameter = &parameter.get().0;
            let gradient = to_tensor(&gradient)?;
            if parameter.is_tracked() || gradient.is_tracked() {
                return Err(PyTypeError::new_err(
                    "optim: an update is not differentiable, and a parameter or gradient is under differentiation; \
                     use luxon.stop_gradient if its derivative is not wanted",
                ));
            }
            let Some(place) = &plan.places[slot] else {
                return refuse(format!("{} leaves are not trained; give None as the gradient", parameter.dtype()));
            };
            if gradient.shape() != parameter.shape() || gradient.dtype() != parameter.dtype() {
                let (shape, expected) = (show(gradient.shape()), show(parameter.shape()));
                return refuse(format!(
                    "the gradient has shape {shape} and dtype {}, the parameter {expected} and {}",
                    gradient.dtype(),
                    parameter.dtype()
                ));
            }
            let mut kept = Vec::with_capacity(place.slots.len());
            for (slot, at) in &place.slots {
                let found = from_python(py, state.at(*at)).unwrap_or(Kept::Nothing);
                if let Err(error) = slot.accepts(&found) {
                    return refuse(error.to_string());
                }
                kept.push(found);
            }
            let Ok(step) = state_leaf(place.step).extract::<u64>() else {
                return refuse("the optimiser's state has no step count".into());
            };
            elements += parameter.count();
            jobs.push(Job { slot, step });
            given.push((Arc::clone(&place.path), parameter.clone(), gradient, State { step, kept }));
        }
        let step = match step {
            Some(step) => step,
            // The leaf that was updated most often has seen every update.
            None => {
                let steps = plan.places.iter().flatten().filter_map(|place| state_leaf(place.step).extract().ok());
                steps.max().unwrap_or(0)
            }
        };
        Ok(Update { optimizer, ps, state, plan, jobs, given, elements, step })
    }

    /// The slots of the leaves that take part.
    pub fn slots(&self) -> Vec<usize> {
        self.jobs.iter().map(|job| job.slot).collect()
    }

    /// The leaves as the core takes them, and what remains to be put together again. Where the trees are nobody
    /// else's, their objects are let go of, so that a tensor without another owner has none.
    pub fn take(self, py: Python<'_>, exclusive: bool) -> (Vec<Given>, Moved, u64) {
        let (ps_structure, state_structure) = (self.ps.structure().clone(), self.state.structure().clone());
        let mut ps_leaves = owned(py, self.ps, exclusive);
        let mut state_leaves = owned(py, self.state, exclusive);
        for job in &self.jobs {
            let Some(place) = &self.plan.places[job.slot] else { continue };
            ps_leaves[job.slot] = Leaf(py.None());
            for (_, at) in &place.slots {
                state_leaves[*at] = Leaf(py.None());
            }
        }
        let (ps, state) = ((ps_structure, ps_leaves), (state_structure, state_leaves));
        (self.given, Moved { ps, state, plan: self.plan, jobs: self.jobs }, self.step)
    }

    /// New parameters and state, and whether any leaf was moved.
    fn run(self, py: Python<'_>, exclusive: bool) -> PyResult<(Py<PyAny>, Py<PyAny>, bool)> {
        let (optimizer, elements) = (self.optimizer, self.elements);
        let (given, moved, step) = self.take(py, exclusive);
        let results = released(py, elements as f64, || optimizer.optimizer.update(step, given)).map_err(raise)?;
        moved.finish(py, results)
    }
}

impl Moved {
    /// The trees with what has moved.
    pub fn finish(mut self, py: Python<'_>, results: Vec<(Tensor, State)>) -> PyResult<(Py<PyAny>, Py<PyAny>, bool)> {
        let mut any = self.jobs.is_empty();
        // Leaves are mostly of one age, so that one number serves them all.
        let mut count: Option<(u64, Py<PyAny>)> = None;
        for (job, (parameter, state)) in self.jobs.iter().zip(results) {
            let Some(place) = &self.plan.places[job.slot] else { continue };
            any |= state.step != job.step;
            let count = match &count {
                Some((step, object)) if *step == state.step => object.clone_ref(py),
                _ => count.insert((state.step, PyInt::new(py, state.step).into_any().unbind())).1.clone_ref(py),
            };
            self.ps.1[job.slot] = Leaf(object(py, parameter)?);
            self.state.1[place.step] = Leaf(count);
            for ((_, at), kept) in place.slots.iter().zip(state.kept) {
                self.state.1[*at] = Leaf(to_python(py, kept)?);
            }
        }
        Ok((nest::unflatten(py, &self.ps.0, self.ps.1)?, nest::unflatten(py, &self.state.0, self.state.1)?, any))
    }
}

/// The leaves of a tree, moved out where nobody else holds the tree and that is asked for.
fn owned(py: Python<'_>, mut tree: Tree<Leaf>, exclusive: bool) -> Vec<Leaf> {
    match tree.leaves_mut().filter(|_| exclusive) {
        Some(leaves) => leaves.iter_mut().map(|leaf| std::mem::replace(leaf, Leaf(py.None()))).collect(),
        None => tree.leaves().map(|leaf| Leaf(leaf.0.clone_ref(py))).collect(),
    }
}

/// The parameters and the state after one step, and whether any parameter was updated; a leaf whose gradient is
/// None stays as it is. `step` counts the updates before this one, by default those that the state has seen.
#[pyfunction]
#[pyo3(signature = (optimizer, ps, grads, state, step=None, /))]
pub fn optim_update(
    py: Python<'_>,
    optimizer: &Bound<'_, PyOptimizer>,
    ps: &Bound<'_, PyAny>,
    grads: &Bound<'_, PyAny>,
    state: &Bound<'_, PyAny>,
    step: Option<u64>,
) -> PyResult<(Py<PyAny>, Py<PyAny>, bool)> {
    let (ps, state) = (nest::to_tree(ps, Containers::Kept)?, nest::to_tree(state, Containers::Kept)?);
    Update::new(py, optimizer.get(), ps, Some(grads), state, step)?.run(py, false)
}

/// Like `optim_update` for `[ps, state]`, a list that is emptied; what was held by it alone is overwritten.
#[pyfunction]
#[pyo3(signature = (optimizer, given, grads, step=None, /))]
pub fn optim_update_donated(
    py: Python<'_>,
    optimizer: &Bound<'_, PyOptimizer>,
    given: &Bound<'_, PyList>,
    grads: &Bound<'_, PyAny>,
    step: Option<u64>,
) -> PyResult<(Py<PyAny>, Py<PyAny>, bool)> {
    let tree_at = |index| nest::to_tree(&given.get_item(index)?, Containers::Kept);
    let (ps, state) = (tree_at(0)?, tree_at(1)?);
    let update = Update::new(py, optimizer.get(), ps, Some(grads), state, step)?;
    // A tree that someone else can still reach must keep its leaves.
    let alone = |index| -> PyResult<bool> {
        let object = given.get_item(index)?;
        // SAFETY: the object is alive; its owners are the list and this reference.
        Ok(object.is_exact_instance_of::<PyTree>() && unsafe { pyo3::ffi::Py_REFCNT(object.as_ptr()) } == 2)
    };
    let exclusive = alone(0)? && alone(1)?;
    if optimizer.get().optimizer.can_fail() {
        // What may still be refused must find everything as it was.
        let results = update.run(py, false)?;
        given.del_slice(0, given.len())?;
        return Ok(results);
    }
    given.del_slice(0, given.len())?;
    update.run(py, exclusive)
}
