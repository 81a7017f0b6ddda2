//! Python nests as trees of the core, and back.
//!
//! A nest is a `luxon.Tree`, dict, list, tuple or namedtuple of nests; everything else, `None` included,
//! is a leaf. The tag of a structure's node says which of these a container was, so that what comes back
//! is of the same type. Inside a `luxon.Tree` everything is immutable: dicts become Trees and lists
//! tuples ([`Containers::Frozen`]).

use std::sync::{Arc, Mutex, PoisonError};

use luxon::Tensor;
use luxon::tree::{Kind, MAX_DEPTH, Structure, Tree};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};
use smallvec::SmallVec;

use crate::convert::from_tensor;
use crate::error::raise;
use crate::tensor::PyTensor;
use crate::tree::PyTree;

/// A leaf of a tree of the core: an object of Python, or a tensor whose object nobody has asked for yet. Trees
/// that go from one function of the core to the next, as in a training loop, make no objects.
pub enum Leaf {
    Object(Py<PyAny>),
    Tensor(Tensor, PyOnceLock<Py<PyAny>>),
}

impl Clone for Leaf {
    fn clone(&self) -> Leaf {
        Python::attach(|py| match (self.copy(py), self) {
            (Err(_), Leaf::Tensor(tensor, _)) => Leaf::of(tensor.clone()),
            (Err(_), Leaf::Object(object)) => Leaf::Object(object.clone_ref(py)),
            (Ok(leaf), _) => leaf,
        })
    }
}

impl Leaf {
    /// A tensor's leaf.
    #[inline]
    pub fn of(tensor: Tensor) -> Leaf {
        Leaf::Tensor(tensor, PyOnceLock::new())
    }

    /// The object, the same one each time.
    #[inline]
    pub fn object<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        match self {
            Leaf::Object(object) => Ok(object.bind(py)),
            Leaf::Tensor(tensor, made) => {
                let made = made.get_or_try_init(py, || from_tensor(py, tensor.clone()).map(Py::into_any))?;
                Ok(made.bind(py))
            }
        }
    }

    /// The tensor, if it is one.
    #[inline]
    pub fn tensor<'a>(&'a self, py: Python<'a>) -> Option<&'a Tensor> {
        match self {
            Leaf::Object(object) => object.bind(py).cast_exact::<PyTensor>().ok().map(|tensor| &tensor.get().0),
            Leaf::Tensor(tensor, _) => Some(tensor),
        }
    }

    /// Another leaf with the same object.
    pub fn copy(&self, py: Python<'_>) -> PyResult<Leaf> {
        Ok(Leaf::Object(self.object(py)?.clone().unbind()))
    }
}

/// The tag of a mapping that is a `luxon.Tree`.
pub const TREE: u32 = 0;
/// The tag of a mapping that is a dict.
pub const DICT: u32 = 1;
/// The tag of a sequence that is a tuple.
pub const TUPLE: u32 = 0;
/// The tag of a sequence that is a list.
pub const LIST: u32 = 1;
/// The first of the tags of namedtuples, in the order in which their classes were met.
const NAMED: u32 = 2;

static NAMED_CLASSES: Mutex<Vec<Py<PyType>>> = Mutex::new(Vec::new());

/// What becomes of dicts and lists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Containers {
    /// They stay what they are.
    Kept,
    /// They become Trees and tuples, and names are checked to be usable in dotted paths.
    Frozen,
}

/// The nest as a tree of the core.
pub fn to_tree(nest: &Bound<'_, PyAny>, containers: Containers) -> PyResult<Tree<Leaf>> {
    if let Ok(tree) = nest.cast_exact::<PyTree>() {
        return Ok(tree.get().tree.clone());
    }
    let mut leaves = Vec::new();
    let structure = add(nest, containers, &mut leaves, 0)?;
    Tree::new(structure, leaves).map_err(raise)
}

/// Whether a nest may hold a tensor of some kind, found out without making anything. What is no proper nest is
/// left to [`to_tree`], which says what is wrong.
pub fn may_have(nest: &Bound<'_, PyAny>, concerns: &impl Fn(&Tensor) -> bool, depth: u32) -> bool {
    let py = nest.py();
    if let Ok(tensor) = nest.cast_exact::<PyTensor>() {
        return concerns(&tensor.get().0);
    }
    if let Ok(tree) = nest.cast_exact::<PyTree>() {
        return tree.get().tree.leaves().any(|leaf| leaf.tensor(py).is_some_and(concerns));
    }
    let inner = |child: &Bound<'_, PyAny>| may_have(child, concerns, depth + 1);
    if depth > MAX_DEPTH {
        return true;
    }
    if let Ok(dict) = nest.cast::<PyDict>() {
        return dict.iter().any(|(name, child)| !name.is_instance_of::<PyString>() || inner(&child));
    }
    if let Ok(tuple) = nest.cast::<PyTuple>() {
        return tuple.iter_borrowed().any(|child| inner(&child));
    }
    nest.cast::<PyList>().is_ok_and(|list| list.iter().any(|child| inner(&child)))
}

fn add<'py>(
    nest: &Bound<'py, PyAny>,
    containers: Containers,
    leaves: &mut Vec<Leaf>,
    depth: u32,
) -> PyResult<Arc<Structure>> {
    if nest.is_exact_instance_of::<PyTensor>() {
        leaves.push(Leaf::Object(nest.clone().unbind()));
        return Ok(Arc::clone(Structure::leaf()));
    }
    if let Ok(tree) = nest.cast_exact::<PyTree>() {
        let tree = &tree.get().tree;
        for leaf in tree.leaves() {
            leaves.push(leaf.copy(nest.py())?);
        }
        return Ok(Arc::clone(tree.structure()));
    }
    if depth > MAX_DEPTH {
        return Err(PyValueError::new_err(format!("tree: nested more than {MAX_DEPTH} levels deep")));
    }
    if let Ok(dict) = nest.cast::<PyDict>() {
        return add_dict(dict, containers, leaves, depth);
    }
    if let Ok(tuple) = nest.cast::<PyTuple>() {
        let children = tuple.iter_borrowed().map(|child| add(&child, containers, leaves, depth + 1));
        let children = children.collect::<PyResult<SmallVec<[Arc<Structure>; 8]>>>()?;
        if !nest.is_exact_instance_of::<PyTuple>() {
            if let Some((tag, fields)) = named_class(nest)? {
                let fields: SmallVec<[&str; 8]> = fields.iter().map(String::as_str).collect();
                return Structure::node(Kind::Sequence, tag, &fields, &children).map_err(raise);
            }
        }
        return Structure::node(Kind::Sequence, TUPLE, &[], &children).map_err(raise);
    }
    if let Ok(list) = nest.cast::<PyList>() {
        let children = list.iter().map(|child| add(&child, containers, leaves, depth + 1));
        let children = children.collect::<PyResult<SmallVec<[Arc<Structure>; 8]>>>()?;
        let tag = if containers == Containers::Frozen { TUPLE } else { LIST };
        return Structure::node(Kind::Sequence, tag, &[], &children).map_err(raise);
    }
    leaves.push(Leaf::Object(nest.clone().unbind()));
    Ok(Arc::clone(Structure::leaf()))
}

fn add_dict<'py>(
    dict: &Bound<'py, PyDict>,
    containers: Containers,
    leaves: &mut Vec<Leaf>,
    depth: u32,
) -> PyResult<Arc<Structure>> {
    let mut names: SmallVec<[Bound<'py, PyString>; 8]> = SmallVec::new();
    let mut children: SmallVec<[Arc<Structure>; 8]> = SmallVec::new();
    for (name, child) in dict.iter() {
        let Ok(name) = name.cast_into::<PyString>() else {
            return Err(PyTypeError::new_err("the names in a tree are strings; a dict has another key"));
        };
        if containers == Containers::Frozen {
            check_name(name.to_str()?)?;
        }
        names.push(name);
        children.push(add(&child, containers, leaves, depth + 1)?);
    }
    let names = names.iter().map(|name| name.to_str()).collect::<PyResult<SmallVec<[&str; 8]>>>()?;
    let tag = if containers == Containers::Frozen { TREE } else { DICT };
    Structure::node(Kind::Mapping, tag, &names, &children).map_err(raise)
}

/// Refuses names that dotted paths could not reach.
pub fn check_name(name: &str) -> PyResult<()> {
    if name.is_empty() || name.contains('.') {
        let advice = "luxon.tree.from_paths takes a mapping of dotted paths";
        return Err(PyValueError::new_err(format!(
            "{name:?} cannot be a name in a Tree: names are not empty and have no dot; {advice}"
        )));
    }
    Ok(())
}

/// The tag and the field names, if a tuple is a namedtuple.
fn named_class(tuple: &Bound<'_, PyAny>) -> PyResult<Option<(u32, Vec<String>)>> {
    let Ok(fields) = tuple.getattr(intern!(tuple.py(), "_fields")) else { return Ok(None) };
    let fields: Vec<String> = fields.extract()?;
    Ok(Some((tag_of(&tuple.get_type()), fields)))
}

/// The tag of a namedtuple's class.
pub fn tag_of(class: &Bound<'_, PyType>) -> u32 {
    let mut classes = NAMED_CLASSES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = classes.iter().position(|known| known.is(class));
    let index = known.unwrap_or_else(|| {
        classes.push(class.clone().unbind());
        classes.len() - 1
    });
    NAMED + index as u32
}

/// The class behind the tag of a sequence; none for tuples and lists.
pub fn class_of<'py>(py: Python<'py>, tag: u32) -> Option<Bound<'py, PyType>> {
    let classes = NAMED_CLASSES.lock().unwrap_or_else(PoisonError::into_inner);
    classes.get(tag.checked_sub(NAMED)? as usize).map(|class| class.bind(py).clone())
}

/// The Python object of a tree of the core.
pub fn to_python(py: Python<'_>, tree: Tree<Leaf>) -> PyResult<Py<PyAny>> {
    let structure = Arc::clone(tree.structure());
    let children = || {
        let count = structure.children().len();
        (0..count)
            .filter_map(|position| tree.child(position))
            .map(|child| to_python(py, child))
            .collect::<PyResult<Vec<_>>>()
    };
    match (structure.kind(), structure.tag()) {
        (Kind::Leaf, _) => Ok(tree.at(0).object(py)?.clone().unbind()),
        (Kind::Mapping, TREE) => Ok(Py::new(py, PyTree::new(tree))?.into_any()),
        (Kind::Mapping, _) => {
            let dict = PyDict::new(py);
            for (name, child) in structure.names().iter().zip(children()?) {
                dict.set_item(PyString::intern(py, name), child)?;
            }
            Ok(dict.into_any().unbind())
        }
        (Kind::Sequence, LIST) => Ok(PyList::new(py, children()?)?.into_any().unbind()),
        (Kind::Sequence, tag) => {
            let tuple = PyTuple::new(py, children()?)?;
            match class_of(py, tag) {
                Some(class) => Ok(class.call_method1(intern!(py, "_make"), (tuple,))?.unbind()),
                None => Ok(tuple.into_any().unbind()),
            }
        }
    }
}

/// The nest of this structure with the given leaves, one a slot.
#[inline]
pub fn unflatten(py: Python<'_>, structure: &Arc<Structure>, mut leaves: Vec<Leaf>) -> PyResult<Py<PyAny>> {
    if structure.is_leaf() {
        if let Some(leaf) = leaves.pop() {
            return Ok(leaf.object(py)?.clone().unbind());
        }
    }
    to_python(py, Tree::new(Arc::clone(structure), leaves).map_err(raise)?)
}
