//! One step of an optimiser over whole trees: `_core.optim_update`.
//!
//! A state is a tree with an entry `step` (an int per leaf) and one entry per name of the optimiser, each in the
//! structure of the parameters; a tied leaf has one place everywhere, so it is updated once. All leaves are
//! checked before the first one is touched. With [`optim_update_donated`] the caller hands over its only
//! references, and what then belongs to nobody else is overwritten in place.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError};

use luxon::Tensor;
use luxon::layout::show;
use luxon::optim::compose::Given;
use luxon::optim::leaf::Form;
use luxon::optim::{Kept, State};
use luxon::tree::{Tree, align};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyList};

use super::PyOptimizer;
use super::plan::{Place, Plan};
use crate::convert::to_tensor;
use crate::error::raise;
use crate::gil::released;
use crate::tensor::PyTensor;
use crate::tree::PyTree;
use crate::tree::nest::{self, Containers, Leaf};

/// About what a rule takes for one element.
const NANOSECONDS: f64 = 0.5;

/// The leaf of what is kept.
pub fn to_leaf(py: Python<'_>, kept: Kept) -> Leaf {
    match kept {
        Kept::Nothing => Leaf::Object(py.None()),
        Kept::Number(number) => Leaf::Object(PyFloat::new(py, number).into_any().unbind()),
        Kept::Tensor(tensor) => Leaf::of(tensor),
    }
}

/// What is kept, moved out of its leaf.
fn into_kept(py: Python<'_>, leaf: &mut Leaf) -> Kept {
    match std::mem::replace(leaf, Leaf::Object(py.None())) {
        Leaf::Tensor(tensor, _) => Kept::Tensor(tensor),
        Leaf::Object(object) => match object.bind(py) {
            object if object.is_none() => Kept::Nothing,
            object => match object.cast_exact::<PyTensor>() {
                Ok(tensor) => Kept::Tensor(tensor.get().0.clone()),
                Err(_) => object.extract().map_or(Kept::Nothing, Kept::Number),
            },
        },
    }
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
    /// The gradient of each job's leaf.
    gradients: Vec<Tensor>,
    elements: usize,
    /// Updates before this one.
    step: u64,
}

/// What an update has moved, on its way back into trees.
pub struct Moved {
    /// The trees, with nothing in the places of what moves.
    ps: Tree<Leaf>,
    state: Tree<Leaf>,
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
        let (mut jobs, mut gradients, mut elements) = (Vec::with_capacity(slots), Vec::with_capacity(slots), 0);
        let count = |place: &Place| state.at(place.step).object(py)?.extract::<u64>();
        for slot in 0..slots {
            let gradient = match &grads {
                Some((grads, alignment)) => grads.at(alignment.at(slot)),
                None if plan.places[slot].is_some() => ps.at(slot),
                None => continue,
            };
            let gradient = match gradient.tensor(py) {
                Some(tensor) => Cow::Borrowed(tensor),
                None => match gradient.object(py)? {
                    nothing if nothing.is_none() => continue,
                    other => Cow::Owned(to_tensor(other)?),
                },
            };
            let refuse = |what: String| {
                let path = ps.structure().path_of(slot);
                let path = if path.is_empty() { "the parameter" } else { &path };
                Err(PyValueError::new_err(format!("optim: {path}: {what}")))
            };
            let Some(parameter) = ps.at(slot).tensor(py) else {
                let kind = ps.at(slot).object(py)?.get_type().name()?;
                return refuse(format!("a {kind} is no tensor and cannot be trained"));
            };
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
            for (slot, at) in &place.slots {
                let leaf = state.at(*at);
                let fits = match (leaf.tensor(py), &slot.form) {
                    (Some(tensor), _) => slot.accepts_tensor(tensor),
                    (None, Form::Number(_)) if leaf.object(py)?.extract::<f64>().is_ok() => Ok(()),
                    (None, _) => slot.accepts(&Kept::Nothing),
                };
                if let Err(error) = fits {
                    return refuse(error.to_string());
                }
            }
            let Ok(step) = count(place) else {
                return refuse("the optimiser's state has no step count".into());
            };
            elements += parameter.count();
            jobs.push(Job { slot, step });
            gradients.push(gradient.into_owned());
        }
        let step = match step {
            Some(step) => step,
            // The leaf that was updated most often has seen every update.
            None => {
                let steps = plan.places.iter().flatten().filter_map(|place| count(place).ok());
                steps.max().unwrap_or(0)
            }
        };
        Ok(Update { optimizer, ps, state, plan, jobs, gradients, elements, step })
    }

    /// The slots of the leaves that take part.
    pub fn slots(&self) -> Vec<usize> {
        self.jobs.iter().map(|job| job.slot).collect()
    }

    /// The leaves as the core takes them, and what remains to be put together again. Where the trees are nobody
    /// else's, and that is asked for, they are taken apart, so that a tensor without another owner has none.
    pub fn take(mut self, py: Python<'_>, exclusive: bool) -> PyResult<(Vec<Given>, Moved, u64)> {
        let exclusive = exclusive && self.ps.leaves_mut().is_some() && self.state.leaves_mut().is_some();
        if !exclusive {
            let mut moves = (vec![false; self.ps.structure().slots()], vec![false; self.state.structure().slots()]);
            for (slot, place) in
                self.jobs.iter().filter_map(|job| Some((job.slot, self.plan.places[job.slot].as_ref()?)))
            {
                moves.0[slot] = true;
                place.slots.iter().for_each(|(_, at)| moves.1[*at] = true);
            }
            self.ps = copied(py, &self.ps, &moves.0)?;
            self.state = copied(py, &self.state, &moves.1)?;
        }
        let (Some(ps), Some(state)) = (self.ps.leaves_mut(), self.state.leaves_mut()) else {
            return Err(PyRuntimeError::new_err(
                "optim: the trees of an update have another owner (a defect of luxon)",
            ));
        };
        let mut given = Vec::with_capacity(self.jobs.len());
        for (job, gradient) in self.jobs.iter().zip(self.gradients) {
            let Some(place) = &self.plan.places[job.slot] else { continue };
            let Kept::Tensor(parameter) = into_kept(py, &mut ps[job.slot]) else { continue };
            let mut kept = Vec::with_capacity(place.slots.len());
            for (_, at) in &place.slots {
                kept.push(into_kept(py, &mut state[*at]));
            }
            given.push((Arc::clone(&place.path), parameter, gradient, State { step: job.step, kept }));
        }
        Ok((given, Moved { ps: self.ps, state: self.state, plan: self.plan, jobs: self.jobs }, self.step))
    }

    /// New parameters and state, and whether any leaf was moved.
    fn run(self, py: Python<'_>, exclusive: bool) -> PyResult<(Py<PyAny>, Py<PyAny>, bool)> {
        let (optimizer, elements) = (self.optimizer, self.elements);
        let (given, moved, step) = self.take(py, exclusive)?;
        let results =
            released(py, NANOSECONDS * elements as f64, || optimizer.optimizer.update(step, given)).map_err(raise)?;
        moved.finish(py, results)
    }
}

impl Moved {
    /// The trees with what has moved.
    pub fn finish(mut self, py: Python<'_>, results: Vec<(Tensor, State)>) -> PyResult<(Py<PyAny>, Py<PyAny>, bool)> {
        let (Some(ps), Some(kept)) = (self.ps.leaves_mut(), self.state.leaves_mut()) else {
            return Err(PyRuntimeError::new_err(
                "optim: the trees of an update have another owner (a defect of luxon)",
            ));
        };
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
            ps[job.slot] = Leaf::of(parameter);
            kept[place.step] = Leaf::Object(count);
            for ((_, at), new) in place.slots.iter().zip(state.kept) {
                kept[*at] = to_leaf(py, new);
            }
        }
        Ok((nest::to_python(py, self.ps)?, nest::to_python(py, self.state)?, any))
    }
}

/// A tree that nobody else holds, of the same objects, but for what moves.
fn copied(py: Python<'_>, tree: &Tree<Leaf>, moves: &[bool]) -> PyResult<Tree<Leaf>> {
    let leaves = tree.leaves().zip(moves).map(|(leaf, moves)| match leaf {
        Leaf::Tensor(tensor, _) if *moves => Ok(Leaf::of(tensor.clone())),
        leaf => leaf.copy(py),
    });
    Tree::new(Arc::clone(tree.structure()), leaves.collect::<PyResult<_>>()?).map_err(raise)
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

/// Like `optim_update` for `[ps, state]`, a list that has None in their places afterwards; what was held by it alone
/// is overwritten.
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
    let take = || (0..2).try_for_each(|index| given.set_item(index, py.None()));
    if optimizer.get().optimizer.can_fail() {
        // What may still be refused must find everything as it was.
        let results = update.run(py, false)?;
        take()?;
        return Ok(results);
    }
    take()?;
    update.run(py, exclusive)
}
