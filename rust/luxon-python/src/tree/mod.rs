//! The class `Tree` and the functions of `luxon.tree`.
//!
//! A `Tree` holds a tree of the core whose leaves are Python objects. Layers read one child a call, so
//! that is what is fast: a leaf is handed out directly, a sub-tree is made at the first access and kept.
//! Children win over nothing but missing attributes: a child whose name is a method's is reached as
//! `tree["keys"]`.

use std::sync::Arc;

use luxon::Tensor;
use luxon::tree::{Child, Structure, Tree, near, no_path};
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyAttributeError, PyKeyError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyMapping, PyString, PyTuple, PyType};

use crate::error::raise;

mod compare;
mod function;
pub mod nest;
mod pickle;
mod text;

pub use function::register;
use nest::{Containers, Leaf};

/// A nest of names to leaves that never changes: parameters, states, gradients.
///
/// `Tree({"layer": {"weight": w}})` or `Tree(layer=...)`; dicts inside become Trees, lists tuples. Read it
/// as `t.layer.weight`, `t["layer"]["weight"]` or `t["layer.weight"]`; `t.replace("layer.weight", v)`
/// makes a changed copy. Leaves are any objects. A leaf may be tied to several places (`luxon.tree.tie`);
/// then it is one leaf to everything that goes through leaves.
#[pyclass(frozen, mapping, weakref, name = "Tree", module = "luxon")]
pub struct PyTree {
    pub tree: Tree<Leaf>,
    /// Children that are not leaves, as they were handed out before.
    made: PyOnceLock<Box<[PyOnceLock<Py<PyAny>>]>>,
    /// The names that a container asked for first, and the children of these names.
    asked: PyOnceLock<(Py<PyTuple>, Py<PyTuple>)>,
}

/// A child of a tree, of which no object is made.
pub struct Part<'a> {
    tree: &'a Tree<Leaf>,
    child: &'a Child,
}

impl<'a> Part<'a> {
    /// The part's own child of this name, if it is a tensor.
    #[inline]
    pub fn tensor(&self, py: Python<'a>, name: &str) -> Option<&'a Tensor> {
        let structure = &self.child.structure;
        let child = &structure.children()[structure.position(name)?];
        if !child.structure.is_leaf() {
            return None;
        }
        self.tree.at(self.child.view.at(child.view.at(0))).tensor(py)
    }
}

/// Methods that a child of the same name does not hide.
fn is_method(name: &str) -> bool {
    matches!(name, "get" | "items" | "keys" | "paths" | "replace" | "values" | "with_values") || name.starts_with("__")
}

impl PyTree {
    /// The Python object's contents; `tree` is a mapping.
    #[inline]
    pub fn new(tree: Tree<Leaf>) -> PyTree {
        PyTree { tree, made: PyOnceLock::new(), asked: PyOnceLock::new() }
    }

    /// The child at a position.
    #[inline]
    pub fn child(&self, py: Python<'_>, position: usize) -> PyResult<Py<PyAny>> {
        let child = &self.tree.structure().children()[position];
        if child.structure.is_leaf() {
            return Ok(self.tree.at(child.view.at(0)).object(py)?.clone().unbind());
        }
        let made = self.slot(py, position);
        match made.get(py) {
            Some(object) => Ok(object.clone_ref(py)),
            None => {
                let Some(tree) = self.tree.child(position) else { return Ok(py.None()) };
                let object = nest::to_python(py, tree)?;
                Ok(made.get_or_init(py, || object).clone_ref(py))
            }
        }
    }

    /// The child of this name, if it is a tensor.
    #[inline]
    pub fn tensor<'a>(&'a self, py: Python<'a>, name: &str) -> Option<&'a Tensor> {
        let child = &self.structure().children()[self.structure().position(name)?];
        if child.structure.is_leaf() { self.tree.at(child.view.at(0)).tensor(py) } else { None }
    }

    /// The child of this name, which is probably at this position.
    #[inline]
    pub fn part(&self, position: usize, name: &str) -> Option<Part<'_>> {
        let structure = self.structure();
        let known = structure.names().get(position).is_some_and(|known| **known == *name);
        let position = if known { position } else { structure.position(name)? };
        Some(Part { tree: &self.tree, child: &structure.children()[position] })
    }

    #[inline]
    fn slot(&self, py: Python<'_>, position: usize) -> &PyOnceLock<Py<PyAny>> {
        let made =
            self.made.get_or_init(py, || self.tree.structure().children().iter().map(|_| PyOnceLock::new()).collect());
        &made[position]
    }

    /// The children of these names. A container asks with the same tuple at every call.
    pub fn several<'py>(&self, names: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyTuple>> {
        let py = names.py();
        if let Some((_, children)) = self.asked.get(py).filter(|(known, _)| known.is(names)) {
            return Ok(children.bind(py).clone());
        }
        let mut children = Vec::with_capacity(names.len());
        for name in names {
            let name = name.cast::<PyString>()?;
            let text = name.to_str()?;
            let Some(position) = self.structure().position(text) else { return Err(missing(self.structure(), text)) };
            children.push(self.child(py, position)?);
        }
        let children = PyTuple::new(py, children)?;
        let _ = self.asked.set(py, (names.clone().unbind(), children.clone().unbind()));
        Ok(children)
    }

    /// The part at a dotted path.
    pub fn find(&self, py: Python<'_>, path: &str) -> PyResult<Option<Py<PyAny>>> {
        if let Some(position) = self.tree.structure().position(path) {
            return self.child(py, position).map(Some);
        }
        match path.split_once('.') {
            Some(_) if !path.ends_with('.') => self.tree.find(path).map(|part| nest::to_python(py, part)).transpose(),
            _ => Ok(None),
        }
    }

    fn structure(&self) -> &Arc<Structure> {
        self.tree.structure()
    }
}

/// The children of a mapping that have these names, in their order.
pub fn children<'py>(tree: &Bound<'py, PyAny>, names: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyTuple>> {
    if let Ok(tree) = tree.cast_exact::<PyTree>() {
        return tree.get().several(names);
    }
    let children: Vec<Bound<'py, PyAny>> = names.iter().map(|name| tree.get_item(name)).collect::<PyResult<_>>()?;
    PyTuple::new(tree.py(), children)
}

/// The error for a path that is nowhere in a tree.
#[cold]
pub fn missing(structure: &Structure, path: &str) -> PyErr {
    PyKeyError::new_err(no_path(structure, path).to_string())
}

/// `collections.abc.<name>(tree)`.
fn view_of<'py>(
    tree: &Bound<'py, PyTree>,
    class: &'static PyOnceLock<Py<PyType>>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    class.import(tree.py(), "collections.abc", name)?.call1((tree,))
}

/// The tree of a mapping's and keywords' entries, or what a Tree wraps already.
fn gather(
    py: Python<'_>,
    mapping: Option<&Bound<'_, PyAny>>,
    names: Option<&Bound<'_, PyDict>>,
) -> PyResult<Tree<Leaf>> {
    let frozen = |nest: &Bound<'_, PyAny>| nest::to_tree(nest, Containers::Frozen);
    let Some(mapping) = mapping else {
        return match names {
            Some(names) => frozen(names.as_any()),
            None => frozen(PyDict::new(py).as_any()),
        };
    };
    if names.is_none_or(|names| names.is_empty()) {
        if mapping.is_exact_instance_of::<PyTree>() || mapping.is_instance_of::<PyDict>() {
            return frozen(mapping);
        }
    }
    let all = PyDict::new(py);
    if let Ok(tuple) = mapping.cast::<PyTuple>() {
        if !tuple.is_empty() {
            return Err(PyTypeError::new_err("Tree: a tuple of values has no names; only the empty one makes a Tree"));
        }
    } else if let Ok(mapping) = mapping.cast::<PyMapping>() {
        all.update(mapping)?;
    } else {
        let name = mapping.get_type().name()?;
        return Err(PyTypeError::new_err(format!("Tree: takes a mapping of names to values, not {name}")));
    }
    if let Some(names) = names {
        all.update(names.as_mapping())?;
    }
    frozen(all.as_any())
}

#[pymethods]
impl PyTree {
    #[new]
    #[pyo3(signature = (mapping = None, /, **names))]
    fn create(
        py: Python<'_>,
        mapping: Option<&Bound<'_, PyAny>>,
        names: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyTree> {
        Ok(PyTree::new(gather(py, mapping, names)?))
    }

    fn __getattribute__(slf: &Bound<'_, PyTree>, name: &Bound<'_, PyString>) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let text = name.to_str()?;
        if let Some(position) = this.structure().position(text) {
            if !is_method(text) {
                return this.child(py, position);
            }
        }
        // SAFETY: both are live objects of this thread; the result is an owned reference or an exception.
        let found = unsafe {
            Bound::from_owned_ptr_or_err(py, pyo3::ffi::PyObject_GenericGetAttr(slf.as_ptr(), name.as_ptr()))
        };
        found.map(Bound::unbind)
    }

    /// Asked when neither a child nor a method has the name.
    fn __getattr__(&self, name: &Bound<'_, PyString>) -> PyResult<Py<PyAny>> {
        let text = name.to_str()?;
        if text.starts_with("__") {
            return Err(PyAttributeError::new_err(format!("'Tree' object has no attribute {text:?}")));
        }
        let names = self.structure().names().iter().map(|name| name.to_string());
        Err(PyAttributeError::new_err(format!("the tree has no entry {text:?}; {}", near(text, names))))
    }

    fn __getitem__(&self, path: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let Ok(path) = path.cast::<PyString>() else {
            let name = path.get_type().name()?;
            return Err(PyTypeError::new_err(format!("a Tree is indexed by names and dotted paths, not by {name}")));
        };
        let text = path.to_str()?;
        self.find(path.py(), text)?.ok_or_else(|| missing(self.structure(), text))
    }

    fn __contains__(&self, path: &Bound<'_, PyAny>) -> PyResult<bool> {
        match path.cast::<PyString>() {
            Ok(path) => {
                let path = path.to_str()?;
                let known = self.structure().position(path).is_some();
                Ok(known || (!path.is_empty() && self.structure().find(path).is_some()))
            }
            Err(_) => Ok(false),
        }
    }

    fn __len__(&self) -> usize {
        self.structure().children().len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let names = self.structure().names().iter().map(|name| PyString::intern(py, name));
        Ok(PyList::new(py, names)?.try_iter()?.into_any())
    }

    fn __reversed__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let names = self.structure().names().iter().rev().map(|name| PyString::intern(py, name));
        Ok(PyList::new(py, names)?.try_iter()?.into_any())
    }

    /// The part at a name or dotted path, `default` where there is none.
    #[pyo3(signature = (path, default = None, /))]
    fn get(&self, path: &Bound<'_, PyString>, default: Option<Py<PyAny>>) -> PyResult<Py<PyAny>> {
        let py = path.py();
        Ok(self.find(py, path.to_str()?)?.unwrap_or_else(|| default.unwrap_or_else(|| py.None())))
    }

    /// The names of the children.
    fn keys<'py>(slf: &Bound<'py, PyTree>) -> PyResult<Bound<'py, PyAny>> {
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        view_of(slf, &CLASS, "KeysView")
    }

    /// The children.
    fn values<'py>(slf: &Bound<'py, PyTree>) -> PyResult<Bound<'py, PyAny>> {
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        view_of(slf, &CLASS, "ValuesView")
    }

    /// The children with their names.
    fn items<'py>(slf: &Bound<'py, PyTree>) -> PyResult<Bound<'py, PyAny>> {
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        view_of(slf, &CLASS, "ItemsView")
    }

    /// The dotted path of every leaf, a tied one at each of its places.
    fn paths(&self) -> Vec<String> {
        self.structure().paths().into_iter().map(|(path, _)| path).collect()
    }

    /// A copy with other values at some paths: `replace(path, value)`, `replace({path: value})` or
    /// `replace(name=value)`.
    ///
    /// A value of the structure that it replaces keeps ties: the places tied to it follow. Any other value
    /// takes the place of what was there, and what was tied to that keeps its own.
    ///
    /// # Errors
    /// KeyError, with the nearest paths, for a path that is not in the tree.
    #[pyo3(signature = (*arguments, **names))]
    fn replace(
        slf: &Bound<'_, PyTree>,
        arguments: &Bound<'_, PyTuple>,
        names: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let mut parts: Vec<(String, Bound<'_, PyAny>)> = Vec::new();
        match arguments.len() {
            0 => {}
            1 => {
                let Ok(mapping) = arguments.get_item(0)?.cast_into::<PyMapping>() else {
                    return Err(PyTypeError::new_err(
                        "replace: takes a path and a value, or a mapping of paths to values",
                    ));
                };
                for item in mapping.items()?.iter() {
                    parts.push(item.extract()?);
                }
            }
            2 => parts.push((arguments.get_item(0)?.extract()?, arguments.get_item(1)?)),
            count => {
                return Err(PyTypeError::new_err(format!(
                    "replace: takes at most 2 positional arguments, got {count}"
                )));
            }
        }
        for (name, value) in names.into_iter().flat_map(|names| names.iter()) {
            parts.push((name.extract()?, value));
        }
        let tree = &slf.get().tree;
        let mut trees = Vec::with_capacity(parts.len());
        for (path, value) in &parts {
            if path.is_empty() || tree.structure().find(path).is_none() {
                return Err(missing(tree.structure(), path));
            }
            trees.push((path.as_str(), nest::to_tree(value, Containers::Frozen)?));
        }
        nest::to_python(py, tree.replace(&trees).map_err(raise)?)
    }

    /// A Tree with the same names and the given values in their order; the very same Tree where every
    /// value is what it has already.
    fn with_values(slf: &Bound<'_, PyTree>, values: &Bound<'_, PyAny>) -> PyResult<Py<PyTree>> {
        let (py, this) = (slf.py(), slf.get());
        let values = values.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        let children = this.structure().children();
        if values.len() != children.len() {
            return Err(PyValueError::new_err(format!(
                "with_values: {} values for {} names",
                values.len(),
                children.len()
            )));
        }
        let same = children.iter().zip(&values).enumerate().all(|(position, (child, value))| {
            if child.structure.is_leaf() {
                return this.tree.at(child.view.at(0)).object(py).is_ok_and(|leaf| leaf.is(value));
            }
            let made = this.made.get(py).and_then(|made| made[position].get(py));
            made.is_some_and(|made| made.is(value))
        });
        if same {
            return Ok(slf.clone().unbind());
        }
        let parts =
            values.iter().map(|value| nest::to_tree(value, Containers::Frozen)).collect::<PyResult<Vec<_>>>()?;
        // Without ties across children their leaves follow one another.
        let apart = children.iter().map(|child| child.structure.slots()).sum::<usize>() == this.structure().slots();
        let fits =
            apart && children.iter().zip(&parts).all(|(child, part)| Arc::ptr_eq(&child.structure, part.structure()));
        let tree = if fits {
            let leaves = parts.iter().flat_map(Tree::leaves).map(|leaf| leaf.copy(py)).collect::<PyResult<_>>()?;
            Tree::new(Arc::clone(this.structure()), leaves)
        } else {
            let names: Vec<&str> = this.structure().names().iter().map(|name| &**name).collect();
            if this.structure().has_ties() {
                this.tree.replace(&names.into_iter().zip(parts).collect::<Vec<_>>())
            } else {
                Tree::mapping(names.into_iter().zip(parts))
            }
        };
        Py::new(py, PyTree::new(tree.map_err(raise)?))
    }

    fn __or__<'py>(slf: &Bound<'py, PyTree>, other: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        join(slf.as_any(), other)
    }

    fn __ror__<'py>(slf: &Bound<'py, PyTree>, other: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        join(other, slf.as_any())
    }

    fn __richcmp__(slf: &Bound<'_, PyTree>, other: &Bound<'_, PyAny>, operation: CompareOp) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let wanted = match operation {
            CompareOp::Eq => true,
            CompareOp::Ne => false,
            _ => return Ok(py.NotImplemented()),
        };
        if !other.is_exact_instance_of::<PyTree>() && !other.is_instance_of::<PyDict>() {
            return Ok(py.NotImplemented());
        }
        let equal = slf.is(other) || compare::equal(&slf.get().tree, &nest::to_tree(other, Containers::Kept)?, py)?;
        Ok((equal == wanted).into_pyobject(py)?.to_owned().into_any().unbind())
    }

    fn __hash__(slf: &Bound<'_, PyTree>) -> isize {
        (slf.as_ptr() as isize) >> 4
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        text::show(&self.tree, py)
    }

    /// The printed tree with parts that fold, for notebooks.
    fn _repr_html_<'py>(slf: &Bound<'py, PyTree>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import(intern!(slf.py(), "luxon._html"))?.call_method1(intern!(slf.py(), "folded"), (slf.repr()?,))
    }

    /// The names and their values, for the printing of `rich`.
    fn __rich_repr__<'py>(slf: &Bound<'py, PyTree>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import(intern!(slf.py(), "luxon._show"))?.call_method1(intern!(slf.py(), "rich_tree"), (slf,))
    }

    fn __dir__<'py>(slf: &Bound<'py, PyTree>) -> PyResult<Bound<'py, PyAny>> {
        let names = slf.py().get_type::<PyTree>().call_method1(intern!(slf.py(), "__dir__"), (slf.get_type(),));
        let all = match names {
            Ok(names) => names.try_iter()?.collect::<PyResult<Vec<_>>>()?,
            Err(_) => slf.get_type().dir()?.iter().collect(),
        };
        let children = slf.get().structure().names().iter().map(|name| PyString::new(slf.py(), name).into_any());
        Ok(PyList::new(slf.py(), all.into_iter().chain(children))?.into_any())
    }

    fn __copy__(slf: &Bound<'_, PyTree>) -> Py<PyTree> {
        slf.clone().unbind()
    }

    fn __deepcopy__(slf: &Bound<'_, PyTree>, memo: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let copy = py.import("copy")?.getattr("deepcopy")?;
        let tree = slf
            .get()
            .tree
            .try_map(|leaf| PyResult::Ok(Leaf::Object(copy.call1((leaf.object(py)?, memo))?.unbind())))?;
        nest::to_python(py, tree)
    }

    fn __reduce__<'py>(slf: &Bound<'py, PyTree>) -> PyResult<Bound<'py, PyTuple>> {
        pickle::reduce(slf)
    }
}

/// The children of both, the right one's where both have a name, as dicts do it.
fn join(left: &Bound<'_, PyAny>, right: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = left.py();
    let both = |side: &Bound<'_, PyAny>| side.is_exact_instance_of::<PyTree>() || side.is_instance_of::<PyDict>();
    if !both(left) || !both(right) {
        return Ok(py.NotImplemented());
    }
    let all = PyDict::new(py);
    all.update(left.cast::<PyMapping>()?)?;
    all.update(right.cast::<PyMapping>()?)?;
    Ok(Py::new(py, PyTree::new(nest::to_tree(all.as_any(), Containers::Frozen)?))?.into_any())
}
