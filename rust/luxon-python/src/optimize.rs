//! One step of an optimiser over whole trees: `_core.optim_update`.
//!
//! A state is a tree with an entry `step` (an int per leaf) and one entry per slot of the rule, each in
//! the structure of the parameters; a tied leaf has one slot everywhere, so it is updated once. All
//! leaves are checked before the first one is touched. With [`optim_update_donated`] the caller hands
//! over its only references, and what then belongs to nobody else is overwritten in place.

use luxon::Tensor;
use luxon::layout::show;
use luxon::optim::{Rule, State};
use luxon::tree::{Alignment, Tree, align};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyTuple};

use crate::convert::{from_tensor, to_tensor};
use crate::error::raise;
use crate::gil::released;
use crate::tensor::PyTensor;
use crate::tree::PyTree;
use crate::tree::nest::{self, Containers, Leaf};

/// The rule that a settings tuple of `luxon.optim` stands for.
fn rule_of(settings: &Bound<'_, PyTuple>) -> PyResult<Rule> {
    let name: String = settings.get_item(0)?.extract()?;
    match name.as_str() {
        "sgd" => {
            let (_, lr, momentum, dampening, weight_decay, nesterov): (String, f64, f64, f64, f64, bool) =
                settings.extract()?;
            Ok(Rule::Sgd { lr, momentum, dampening, weight_decay, nesterov })
        }
        "adam" => {
            let (_, lr, first, second, eps, weight_decay, decoupled, amsgrad): (
                String,
                f64,
                f64,
                f64,
                f64,
                f64,
                bool,
                bool,
            ) = settings.extract()?;
            Ok(Rule::Adam { lr, betas: (first, second), eps, weight_decay, decoupled, amsgrad })
        }
        other => Err(PyValueError::new_err(format!("optim: there is no rule {other:?}"))),
    }
}

/// One entry of the state, and where its leaves are.
struct Part {
    tree: Tree<Leaf>,
    alignment: Alignment,
    position: usize,
}

impl Part {
    fn leaf(&self, slot: usize) -> &Leaf {
        self.tree.at(self.alignment.at(slot))
    }

    /// The leaf's place among all leaves of the state.
    fn place(&self, state: &Tree<Leaf>, slot: usize) -> usize {
        state.structure().children()[self.position].view.at(self.alignment.at(slot))
    }
}

/// A leaf that has a gradient.
struct Job {
    slot: usize,
    gradient: Tensor,
    step: u64,
}

/// Parameters, gradients and state, found to fit one another.
struct Update {
    rule: Rule,
    ps: Tree<Leaf>,
    state: Tree<Leaf>,
    steps: Part,
    slots: Vec<Part>,
    jobs: Vec<Job>,
    elements: usize,
}

impl Update {
    fn new(
        py: Python<'_>,
        rule: Rule,
        ps: Tree<Leaf>,
        grads: &Bound<'_, PyAny>,
        state: Tree<Leaf>,
    ) -> PyResult<Update> {
        let grads = nest::to_tree(grads, Containers::Kept)?;
        let alignment = align(ps.structure(), grads.structure()).map_err(|mismatch| {
            PyValueError::new_err(format!("optim: the gradients do not fit the parameters: {mismatch}"))
        })?;
        let part = |name: &str| -> PyResult<Part> {
            let found = state.structure().position(name).and_then(|position| Some((position, state.child(position)?)));
            let Some((position, tree)) = found else {
                return Err(PyValueError::new_err(format!(
                    "optim: the optimiser's state has no entry {name:?}; it is another rule's"
                )));
            };
            let alignment = align(ps.structure(), tree.structure()).map_err(|mismatch| {
                PyValueError::new_err(format!(
                    "optim: the optimiser's state ({name}) does not fit the parameters: {mismatch}"
                ))
            })?;
            Ok(Part { tree, alignment, position })
        };
        let steps = part("step")?;
        let slots = rule.slots().iter().map(|name| part(name)).collect::<PyResult<Vec<_>>>()?;
        let (mut jobs, mut elements) = (Vec::with_capacity(ps.structure().slots()), 0);
        for slot in 0..ps.structure().slots() {
            let gradient = grads.at(alignment.at(slot)).0.bind(py);
            if gradient.is_none() {
                continue;
            }
            let refuse = |what: String| {
                let path = ps.structure().path_of(slot);
                Err(PyValueError::new_err(format!(
                    "optim: {}: {what}",
                    if path.is_empty() { "the parameter" } else { &path }
                )))
            };
            let Ok(parameter) = ps.at(slot).0.bind(py).cast_exact::<PyTensor>() else {
                return refuse(format!(
                    "a {} is no tensor and cannot be trained",
                    ps.at(slot).0.bind(py).get_type().name()?
                ));
            };
            let parameter = &parameter.get().0;
            let gradient = to_tensor(gradient)?;
            if parameter.is_tracked() || gradient.is_tracked() {
                return Err(PyTypeError::new_err(
                    "optim: an update is not differentiable, and a parameter or gradient is under differentiation; \
                     use luxon.stop_gradient if its derivative is not wanted",
                ));
            }
            if !parameter.dtype().is_float() {
                return refuse(format!("{} leaves are not trained; give None as the gradient", parameter.dtype()));
            }
            if !fits(&gradient, parameter) {
                return refuse(differ("the gradient", &gradient, parameter));
            }
            for (part, name) in slots.iter().zip(rule.slots()) {
                match part.leaf(slot).0.bind(py).cast_exact::<PyTensor>() {
                    Ok(kept) if fits(&kept.get().0, parameter) => {}
                    Ok(kept) => return refuse(differ(name, &kept.get().0, parameter)),
                    Err(_) => return refuse(format!("the optimiser's state has no tensor {name}")),
                }
            }
            let Ok(step) = steps.leaf(slot).0.bind(py).extract::<u64>() else {
                return refuse("the optimiser's state has no step count".into());
            };
            elements += parameter.count();
            jobs.push(Job { slot, gradient, step });
        }
        Ok(Update { rule, ps, state, steps, slots, jobs, elements })
    }

    /// New parameters and state.
    fn run(self, py: Python<'_>, exclusive: bool) -> PyResult<(Py<PyAny>, Py<PyAny>)> {
        let places: Vec<(usize, Vec<usize>)> = self
            .jobs
            .iter()
            .map(|job| {
                let kept = self.slots.iter().map(|part| part.place(&self.state, job.slot)).collect();
                (self.steps.place(&self.state, job.slot), kept)
            })
            .collect();
        let (ps_structure, state_structure) = (self.ps.structure().clone(), self.state.structure().clone());
        drop((self.steps, self.slots));
        let mut ps_leaves = owned(py, self.ps, exclusive);
        let mut state_leaves = owned(py, self.state, exclusive);
        let mut inputs = Vec::with_capacity(self.jobs.len());
        for (job, (_, kept)) in self.jobs.iter().zip(&places) {
            let parameter = take(py, &mut ps_leaves[job.slot])?;
            let slots = kept.iter().map(|&place| take(py, &mut state_leaves[place])).collect::<PyResult<_>>()?;
            inputs.push((parameter, State { step: job.step, slots }));
        }
        let (rule, jobs) = (self.rule, self.jobs);
        let update = || {
            let pairs = inputs.into_iter().zip(&jobs);
            pairs
                .map(|((parameter, state), job)| rule.update(parameter, &job.gradient, state))
                .collect::<luxon::Result<Vec<_>>>()
        };
        let results = released(py, self.elements as f64, update).map_err(raise)?;
        for ((job, (step, kept)), (parameter, state)) in jobs.iter().zip(&places).zip(results) {
            ps_leaves[job.slot] = leaf(py, parameter)?;
            state_leaves[*step] = Leaf(PyInt::new(py, state.step).into_any().unbind());
            for (&place, tensor) in kept.iter().zip(state.slots) {
                state_leaves[place] = leaf(py, tensor)?;
            }
        }
        Ok((nest::unflatten(py, &ps_structure, ps_leaves)?, nest::unflatten(py, &state_structure, state_leaves)?))
    }
}

fn fits(tensor: &Tensor, parameter: &Tensor) -> bool {
    tensor.shape() == parameter.shape() && tensor.dtype() == parameter.dtype()
}

#[cold]
fn differ(what: &str, tensor: &Tensor, parameter: &Tensor) -> String {
    let (shape, expected) = (show(tensor.shape()), show(parameter.shape()));
    format!("{what} has shape {shape} and dtype {}, the parameter {expected} and {}", tensor.dtype(), parameter.dtype())
}

fn leaf(py: Python<'_>, tensor: Tensor) -> PyResult<Leaf> {
    Ok(Leaf(from_tensor(py, tensor)?.into_any()))
}

/// The leaves of a tree, moved out where nobody else holds the tree and that is asked for.
fn owned(py: Python<'_>, mut tree: Tree<Leaf>, exclusive: bool) -> Vec<Leaf> {
    match tree.leaves_mut().filter(|_| exclusive) {
        Some(leaves) => leaves.iter_mut().map(|leaf| std::mem::replace(leaf, Leaf(py.None()))).collect(),
        None => tree.leaves().map(|leaf| Leaf(leaf.0.clone_ref(py))).collect(),
    }
}

/// The tensor of a leaf; the object that held it is let go, so that a tensor without another owner has none.
fn take(py: Python<'_>, leaf: &mut Leaf) -> PyResult<Tensor> {
    let object = std::mem::replace(leaf, Leaf(py.None()));
    Ok(object.0.bind(py).cast_exact::<PyTensor>()?.get().0.clone())
}

/// The parameters and the state after one step; a leaf whose gradient is None stays as it is.
#[pyfunction]
#[pyo3(signature = (settings, ps, grads, state, /))]
fn optim_update(
    py: Python<'_>,
    settings: &Bound<'_, PyTuple>,
    ps: &Bound<'_, PyAny>,
    grads: &Bound<'_, PyAny>,
    state: &Bound<'_, PyAny>,
) -> PyResult<(Py<PyAny>, Py<PyAny>)> {
    let (ps, state) = (nest::to_tree(ps, Containers::Kept)?, nest::to_tree(state, Containers::Kept)?);
    Update::new(py, rule_of(settings)?, ps, grads, state)?.run(py, false)
}

/// Like `optim_update` for `[ps, state]`, a list that is emptied; what was held by it alone is overwritten.
#[pyfunction]
#[pyo3(signature = (settings, given, grads, /))]
fn optim_update_donated(
    py: Python<'_>,
    settings: &Bound<'_, PyTuple>,
    given: &Bound<'_, PyList>,
    grads: &Bound<'_, PyAny>,
) -> PyResult<(Py<PyAny>, Py<PyAny>)> {
    let tree_at = |index| nest::to_tree(&given.get_item(index)?, Containers::Kept);
    let (ps, state) = (tree_at(0)?, tree_at(1)?);
    let update = Update::new(py, rule_of(settings)?, ps, grads, state)?;
    // A tree that someone else can still reach must keep its leaves.
    let alone = |index| -> PyResult<bool> {
        let object = given.get_item(index)?;
        // SAFETY: the object is alive; its owners are the list and this reference.
        Ok(object.is_exact_instance_of::<PyTree>() && unsafe { pyo3::ffi::Py_REFCNT(object.as_ptr()) } == 2)
    };
    let exclusive = alone(0)? && alone(1)?;
    given.del_slice(0, given.len())?;
    update.run(py, exclusive)
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(optim_update, module)?)?;
    module.add_function(wrap_pyfunction!(optim_update_donated, module)?)
}
