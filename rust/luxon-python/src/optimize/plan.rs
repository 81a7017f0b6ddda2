//! Where in a state the values of each parameter are.
//!
//! Structures are interned, so a training loop meets the same two again and again: the plan of the last call is
//! kept, and a step looks up no name.

use std::sync::Arc;

use luxon::optim::Optimizer;
use luxon::optim::leaf::{Slot, Spec};
use luxon::tree::{Structure, Tree, align};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::raise;
use crate::tree::nest::Leaf;

/// A parameter that can be trained.
pub struct Place {
    pub path: Arc<str>,
    spec: Spec,
    /// Where its steps are counted, among all leaves of the state.
    pub step: usize,
    /// What is kept of it, and where.
    pub slots: Vec<(Slot, usize)>,
}

/// Where everything is, for one structure of parameters and one of states.
#[derive(Clone)]
pub struct Plan {
    ps: Arc<Structure>,
    state: Arc<Structure>,
    /// By slot of the parameters; none where there is no floating tensor.
    pub places: Arc<Vec<Option<Place>>>,
}

/// The first path of every slot.
pub fn first_paths(structure: &Structure) -> Vec<Arc<str>> {
    let mut paths: Vec<Arc<str>> = vec![Arc::from(""); structure.slots()];
    // Later places of a tied leaf are overwritten by earlier ones.
    for (path, slot) in structure.paths().into_iter().rev() {
        paths[slot] = path.into();
    }
    paths
}

fn spec_of(py: Python<'_>, leaf: &Leaf) -> Option<Spec> {
    leaf.tensor(py).map(Spec::of).filter(|spec| spec.dtype.is_float())
}

impl Plan {
    /// Whether this is the plan of these trees.
    pub fn fits(&self, py: Python<'_>, ps: &Tree<Leaf>, state: &Tree<Leaf>) -> bool {
        let known = Arc::ptr_eq(&self.ps, ps.structure()) && Arc::ptr_eq(&self.state, state.structure());
        known
            && ps.leaves().zip(self.places.iter()).all(|(leaf, place)| {
                let Some(tensor) = leaf.tensor(py) else { return place.is_none() };
                match place {
                    Some(place) => tensor.dtype() == place.spec.dtype && *tensor.shape() == place.spec.shape,
                    None => !tensor.dtype().is_float(),
                }
            })
    }

    /// The plan of these trees.
    pub fn new(py: Python<'_>, optimizer: &Optimizer, ps: &Tree<Leaf>, state: &Tree<Leaf>) -> PyResult<Plan> {
        optimizer.check().map_err(raise)?;
        let entry = |name: &str| -> PyResult<Box<dyn Fn(usize) -> usize>> {
            let Some(position) = state.structure().position(name) else {
                return Err(PyValueError::new_err(format!(
                    "optim: the optimiser's state has no entry {name:?}; it is another rule's"
                )));
            };
            let child = &state.structure().children()[position];
            let alignment = align(ps.structure(), &child.structure).map_err(|mismatch| {
                PyValueError::new_err(format!(
                    "optim: the optimiser's state ({name}) does not fit the parameters: {mismatch}"
                ))
            })?;
            let view = child.view.clone();
            Ok(Box::new(move |slot| view.at(alignment.at(slot))))
        };
        let steps = entry("step")?;
        let names = optimizer.names();
        let entries = names.iter().map(|name| entry(name)).collect::<PyResult<Vec<_>>>()?;
        let mut places = Vec::with_capacity(ps.structure().slots());
        for (slot, path) in first_paths(ps.structure()).into_iter().enumerate() {
            let Some(spec) = spec_of(py, ps.at(slot)) else {
                places.push(None);
                continue;
            };
            let mut slots = Vec::new();
            for (name, form) in optimizer.slots(&path, &spec).map_err(raise)? {
                if let Some(position) = names.iter().position(|known| *known == name) {
                    slots.push((form, entries[position](slot)));
                }
            }
            places.push(Some(Place { path, spec, step: steps(slot), slots }));
        }
        let (ps, state) = (Arc::clone(ps.structure()), Arc::clone(state.structure()));
        Ok(Plan { ps, state, places: Arc::new(places) })
    }
}
