//! Arguments and results of a transformed function: nests taken apart into tensors and the rest.
//!
//! Differentiation sees slices of tensors; what structure they came in, and which leaves are no floating
//! tensors at all, is kept here. A tied leaf is one tensor, so its gradient is the sum over its places and
//! comes back as one leaf.

use std::sync::Arc;

use luxon::layout::show;
use luxon::tree::{Structure, Tree, align};
use luxon::{Scalar, Tensor};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use smallvec::{SmallVec, smallvec};

use crate::convert::{self, from_tensor};
use crate::error::raise;
use crate::tensor::PyTensor;
use crate::tree::nest::{self, Containers, Leaf};

/// A few tensors.
pub type Tensors = SmallVec<[Tensor; 2]>;

/// A nest: its floating tensors, and everything else to put it together again.
pub struct Nest {
    structure: Arc<Structure>,
    /// By slot; none where a tensor stands.
    others: SmallVec<[Option<Leaf>; 1]>,
    /// The slots of the tensors.
    slots: SmallVec<[u32; 1]>,
    /// The tensors.
    pub tensors: Tensors,
}

impl Nest {
    /// A nest whose every number is to be differentiated; `None` leaves are passed over.
    ///
    /// Python floats and NumPy arrays become tensors; anything that is not floating is refused with its path.
    #[inline]
    pub fn differentiated(object: &Bound<'_, PyAny>, what: &str, position: usize) -> PyResult<Nest> {
        if let Some(lone) = Nest::lone(object) {
            return Ok(lone);
        }
        let tree = nest::to_tree(object, Containers::Kept)?;
        let (py, mut parts) = (object.py(), Nest::with_room(&tree));
        for (slot, leaf) in tree.leaves().enumerate() {
            let tensor = match leaf.tensor(py) {
                Some(tensor) => tensor.clone(),
                None => {
                    let leaf = leaf.object(py)?;
                    if leaf.is_none() {
                        parts.others.push(Some(Leaf::Object(py.None())));
                        continue;
                    }
                    match convert::Argument::of(leaf)? {
                        Some(argument) => argument.into_tensor(),
                        None => return Err(parts.refused(&leaf.get_type().name()?.to_string(), what, position, slot)),
                    }
                }
            };
            if !tensor.dtype().is_float() {
                return Err(parts.refused(&format!("dtype {}", tensor.dtype()), what, position, slot));
            }
            parts.push(slot, tensor);
        }
        Ok(parts)
    }

    /// A nest whose floating tensors may be under differentiation, whatever else there is.
    #[inline]
    pub fn traced(object: &Bound<'_, PyAny>) -> PyResult<Nest> {
        if let Some(lone) = Nest::lone(object) {
            return Ok(lone);
        }
        let tree = nest::to_tree(object, Containers::Kept)?;
        let (py, mut parts) = (object.py(), Nest::with_room(&tree));
        for (slot, leaf) in tree.leaves().enumerate() {
            match leaf.tensor(py) {
                Some(tensor) if tensor.dtype().is_float() => parts.push(slot, tensor.clone()),
                _ => parts.others.push(Some(leaf.copy(py)?)),
            }
        }
        Ok(parts)
    }

    /// A nest of this structure that is still empty.
    fn with_room(tree: &Tree<Leaf>) -> Nest {
        let count = tree.structure().slots();
        Nest {
            structure: Arc::clone(tree.structure()),
            others: SmallVec::with_capacity(count),
            slots: SmallVec::with_capacity(count),
            tensors: Tensors::with_capacity(count),
        }
    }

    /// The nest that is a floating tensor.
    fn lone(object: &Bound<'_, PyAny>) -> Option<Nest> {
        let tensor = &object.cast_exact::<PyTensor>().ok()?.get().0;
        tensor.dtype().is_float().then(|| Nest {
            structure: Arc::clone(Structure::leaf()),
            others: smallvec![None],
            slots: smallvec![0],
            tensors: smallvec![tensor.clone()],
        })
    }

    fn push(&mut self, slot: usize, tensor: Tensor) {
        self.others.push(None);
        self.slots.push(slot as u32);
        self.tensors.push(tensor);
    }

    #[cold]
    fn refused(&self, kind: &str, what: &str, position: usize, slot: usize) -> PyErr {
        let path = self.structure.path_of(slot);
        let place = if path.is_empty() { String::new() } else { format!(" at {path}") };
        PyTypeError::new_err(format!(
            "{what}: argument {position}{place} is of {kind}, which cannot be differentiated (only floating tensors can); \
             pass it as an argument that is not differentiated"
        ))
    }

    /// The nest outside every differentiation: shapes and dtypes for zeros.
    pub fn detached(mut self) -> Nest {
        self.tensors.iter_mut().for_each(|tensor| *tensor = tensor.detach());
        self
    }

    /// The path of a tensor within the nest.
    pub fn path(&self, index: usize) -> String {
        self.structure.path_of(self.slots[index] as usize)
    }

    /// The nest with other tensors in the places of its own.
    #[inline]
    pub fn with(&self, py: Python<'_>, tensors: impl IntoIterator<Item = Tensor>) -> PyResult<Py<PyAny>> {
        let mut tensors = tensors.into_iter();
        let leaves = self.others.iter().map(|other| match other {
            Some(other) => other.copy(py),
            None => Ok(tensors.next().map_or_else(|| Leaf::Object(py.None()), Leaf::of)),
        });
        nest::unflatten(py, &self.structure, leaves.collect::<PyResult<_>>()?)
    }

    /// A nest of the same structure with these leaves in the places of the tensors, and `None` elsewhere.
    #[inline]
    pub fn filled(&self, py: Python<'_>, given: impl IntoIterator<Item = PyResult<Leaf>>) -> PyResult<Py<PyAny>> {
        let mut given = given.into_iter();
        let leaves = self.others.iter().map(|other| match other {
            Some(_) => Ok(Leaf::Object(py.None())),
            None => given.next().unwrap_or_else(|| Ok(Leaf::Object(py.None()))),
        });
        nest::unflatten(py, &self.structure, leaves.collect::<PyResult<_>>()?)
    }

    /// Gradients (or tangents) in the places of the tensors.
    #[inline]
    pub fn derivative(
        &self,
        py: Python<'_>,
        derivatives: impl IntoIterator<Item = Option<Tensor>>,
        unused: Unused,
    ) -> PyResult<Py<PyAny>> {
        self.filled(
            py,
            derivatives.into_iter().zip(&self.tensors).map(|(derivative, tensor)| {
                let derivative = match (derivative, unused) {
                    (Some(derivative), _) => derivative,
                    (None, Unused::Zeros) => tensor.zeros_like().map_err(raise)?,
                    (None, Unused::Nothing) => return Ok(Leaf::Object(py.None())),
                };
                Ok(Leaf::of(derivative))
            }),
        )
    }

    /// A user's cotangents or tangents for the tensors of this nest: a nest of the same structure, with
    /// `None` for zeros. `what` names them in errors.
    pub fn read(&self, object: &Bound<'_, PyAny>, what: &str) -> PyResult<SmallVec<[Option<Tensor>; 2]>> {
        if object.is_none() {
            return Ok(smallvec![None; self.tensors.len()]);
        }
        let (py, tree) = (object.py(), nest::to_tree(object, Containers::Kept)?);
        let alignment = align(&self.structure, tree.structure()).map_err(|mismatch| {
            PyValueError::new_err(format!("{what} has another structure than what it belongs to: {mismatch}"))
        })?;
        let parts = self.tensors.iter().zip(&self.slots).enumerate().map(|(index, (tensor, &slot))| {
            let leaf = tree.at(alignment.at(slot as usize)).object(py)?;
            if leaf.is_none() {
                return Ok(None);
            }
            let given = match convert::Argument::of(leaf)? {
                Some(convert::Argument::Scalar(scalar)) if tensor.rank() == 0 && !matches!(scalar, Scalar::Bool(_)) => {
                    Tensor::scalar(scalar, tensor.dtype())
                }
                Some(argument) => argument.into_tensor(),
                None => convert::to_tensor(leaf)?,
            };
            if given.shape() != tensor.shape() || given.dtype() != tensor.dtype() {
                let path = self.path(index);
                let place = if path.is_empty() { String::new() } else { format!(" at {path}") };
                return Err(PyValueError::new_err(format!(
                    "{what}{place} has shape {} and dtype {}, what it belongs to has shape {} and dtype {}",
                    show(given.shape()),
                    given.dtype(),
                    show(tensor.shape()),
                    tensor.dtype()
                )));
            }
            Ok(Some(given))
        });
        parts.collect()
    }
}

/// What stands for the derivative of something that plays no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unused {
    /// Zeros of its shape.
    Zeros,
    /// `None`.
    Nothing,
}

impl<'py> FromPyObject<'_, 'py> for Unused {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match object.extract::<String>().as_deref() {
            Ok("zeros") => Ok(Unused::Zeros),
            Ok("none") => Ok(Unused::Nothing),
            _ => Err(PyValueError::new_err(format!("unused must be \"zeros\" or \"none\", not {}", object.repr()?))),
        }
    }
}

/// Which positional arguments a transformation differentiates.
pub struct Argnums {
    positions: SmallVec<[isize; 2]>,
    single: bool,
}

impl<'py> FromPyObject<'_, 'py> for Argnums {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let single = !(object.is_instance_of::<PyTuple>() || object.is_instance_of::<PyList>());
        let positions: SmallVec<[isize; 2]> = convert::index_list(&object, "argnums")?.into();
        if positions.is_empty() {
            return Err(PyValueError::new_err("argnums must name at least one argument"));
        }
        Ok(Argnums { positions, single })
    }
}

impl Argnums {
    /// The first argument.
    pub fn first() -> Argnums {
        Argnums { positions: smallvec![0], single: true }
    }

    /// The positions in a call with `count` positional arguments.
    #[inline]
    pub fn resolve(&self, count: usize, what: &str) -> PyResult<SmallVec<[usize; 2]>> {
        let mut resolved: SmallVec<[usize; 2]> = SmallVec::new();
        for &position in &self.positions {
            let index = if position < 0 { position + count as isize } else { position };
            if index < 0 || index as usize >= count {
                return Err(PyTypeError::new_err(format!(
                    "{what}: argnums is {position}, but the call has {count} positional arguments"
                )));
            }
            if resolved.contains(&(index as usize)) {
                return Err(PyValueError::new_err(format!("{what}: argnums names argument {index} twice")));
            }
            resolved.push(index as usize);
        }
        Ok(resolved)
    }

    /// One object for one position, a tuple for several.
    #[inline]
    pub fn pack(&self, py: Python<'_>, mut objects: SmallVec<[Py<PyAny>; 2]>) -> PyResult<Py<PyAny>> {
        match objects.pop() {
            Some(object) if self.single => Ok(object),
            last => Ok(PyTuple::new(py, objects.into_iter().chain(last).collect::<Vec<_>>())?.into_any().unbind()),
        }
    }
}

/// The objects of a tuple or list; anything else stands for itself alone, as the flag says.
pub fn several<'py>(object: &Bound<'py, PyAny>) -> PyResult<(Vec<Bound<'py, PyAny>>, bool)> {
    if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        return Ok((tuple.iter().collect(), false));
    }
    if let Ok(list) = object.cast_exact::<PyList>() {
        return Ok((list.iter().collect(), false));
    }
    Ok((vec![object.clone()], true))
}

/// A nest as the levels below `stamp` see it; the very same object where that changes nothing.
pub fn lowered(object: Bound<'_, PyAny>, stamp: u64) -> PyResult<Py<PyAny>> {
    let py = object.py();
    if let Ok(tensor) = object.cast_exact::<PyTensor>() {
        let tensor = &tensor.get().0;
        return if tensor.reaches(stamp) {
            Ok(from_tensor(py, tensor.lower(stamp))?.into_any())
        } else {
            Ok(object.unbind())
        };
    }
    map_tensors(object, |tensor| tensor.reaches(stamp), |tensor| tensor.lower(stamp))
}

/// A nest with some tensors replaced; the very same object where there are none.
pub fn map_tensors(
    object: Bound<'_, PyAny>,
    concerns: impl Fn(&Tensor) -> bool,
    change: impl Fn(&Tensor) -> Tensor,
) -> PyResult<Py<PyAny>> {
    let py = object.py();
    if !nest::may_have(&object, &concerns, 0) {
        return Ok(object.unbind());
    }
    let tree = nest::to_tree(&object, Containers::Kept)?;
    let leaves = tree.leaves().map(|leaf| match leaf.tensor(py) {
        Some(tensor) if concerns(tensor) => Ok(Leaf::of(change(tensor))),
        _ => leaf.copy(py),
    });
    let leaves = leaves.collect::<PyResult<Vec<_>>>()?;
    nest::to_python(py, Tree::new(Arc::clone(tree.structure()), leaves).map_err(raise)?)
}
