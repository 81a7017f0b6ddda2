//! The functions of `luxon.tree`, over Trees and any nest of dict, list, tuple and namedtuple.

use std::sync::Arc;

use luxon::tree::{Alignment, Pattern, Structure, Tree, align, edit, near};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::convert::Argument;
use crate::dtype::DTypeArg;
use crate::error::raise;
use crate::tensor::PyTensor;
use crate::tree::nest::{self, Containers, Leaf};
use crate::tree::{PyTree, compare, missing, pickle};

/// Names, nesting and ties of a nest, without its leaves. Equal structures are one object inside, so
/// comparing and hashing them costs nothing.
#[pyclass(frozen, name = "Structure", module = "luxon.tree", eq, hash)]
pub struct PyStructure(pub Arc<Structure>);

impl PartialEq for PyStructure {
    fn eq(&self, other: &PyStructure) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::hash::Hash for PyStructure {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

#[pymethods]
impl PyStructure {
    /// The dotted path of every leaf, a tied one at each of its places.
    fn paths(&self) -> Vec<String> {
        self.0.paths().into_iter().map(|(path, _)| path).collect()
    }

    /// The groups of paths that share a leaf.
    fn ties(&self) -> Vec<Vec<String>> {
        ties_of(&self.0)
    }

    /// The number of leaves, a tied one counted once.
    fn __len__(&self) -> usize {
        self.0.slots()
    }

    fn __repr__(&self) -> String {
        format!("Structure({:?})", self.0)
    }

    fn __reduce__<'py>(slf: &Bound<'py, PyStructure>) -> PyResult<Bound<'py, PyTuple>> {
        pickle::reduce_structure(slf.py(), &slf.get().0)
    }
}

fn ties_of(structure: &Structure) -> Vec<Vec<String>> {
    if !structure.has_ties() {
        return Vec::new();
    }
    let mut groups = vec![Vec::new(); structure.slots()];
    for (path, slot) in structure.paths() {
        groups[slot].push(path);
    }
    groups.retain(|group| group.len() > 1);
    groups
}

fn tree_of(nest: &Bound<'_, PyAny>) -> PyResult<Tree<Leaf>> {
    nest::to_tree(nest, Containers::Kept)
}

fn structure_of(nest: &Bound<'_, PyAny>) -> PyResult<Arc<Structure>> {
    Ok(Arc::clone(tree_of(nest)?.structure()))
}

/// The leaves as objects, one a slot.
pub fn objects<'py>(py: Python<'py>, tree: &Tree<Leaf>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    tree.leaves().map(|leaf| leaf.object(py).cloned()).collect()
}

/// The first tree, and the others with how they correspond to it.
type Matched = (Tree<Leaf>, Vec<(Tree<Leaf>, Alignment)>);

fn matched(what: &str, tree: &Bound<'_, PyAny>, rest: &Bound<'_, PyTuple>) -> PyResult<Matched> {
    let first = tree_of(tree)?;
    let mut others = Vec::with_capacity(rest.len());
    for (index, other) in rest.iter().enumerate() {
        let other = tree_of(&other)?;
        let alignment = align(first.structure(), other.structure()).map_err(|mismatch| {
            PyValueError::new_err(format!("{what}: the structures of trees 1 and {} differ: {mismatch}", index + 2))
        })?;
        others.push((other, alignment));
    }
    Ok((first, others))
}

/// `function` on each leaf and its partners; the given nest where nothing changed.
fn mapped<'py>(
    nest: &Bound<'py, PyAny>,
    (first, others): Matched,
    mut function: impl FnMut(usize, Vec<Bound<'py, PyAny>>) -> PyResult<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    let py = nest.py();
    let mut changed = false;
    let mut leaves = Vec::with_capacity(first.structure().slots());
    for (slot, leaf) in first.leaves().enumerate() {
        let mut arguments = Vec::with_capacity(1 + others.len());
        let leaf = leaf.object(py)?;
        arguments.push(leaf.clone());
        for (other, alignment) in &others {
            arguments.push(other.at(alignment.at(slot)).object(py)?.clone());
        }
        let result = function(slot, arguments)?;
        changed |= !result.is(leaf);
        leaves.push(Leaf::Object(result));
    }
    if !changed && nest.is_exact_instance_of::<PyTree>() {
        return Ok(nest.clone().unbind());
    }
    nest::unflatten(py, first.structure(), leaves)
}

/// `function` on every leaf (and on the leaves at the same place of the other trees), each tied leaf once.
#[pyfunction]
#[pyo3(signature = (function, tree, /, *rest))]
fn tree_map(function: &Bound<'_, PyAny>, tree: &Bound<'_, PyAny>, rest: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = tree.py();
    mapped(tree, matched("tree.map", tree, rest)?, |_, arguments| {
        Ok(function.call1(PyTuple::new(py, arguments)?)?.unbind())
    })
}

/// Like `tree_map`, with the leaf's first path before the leaves.
#[pyfunction]
#[pyo3(signature = (function, tree, /, *rest))]
fn tree_map_with_path(
    function: &Bound<'_, PyAny>,
    tree: &Bound<'_, PyAny>,
    rest: &Bound<'_, PyTuple>,
) -> PyResult<Py<PyAny>> {
    let py = tree.py();
    let matched = matched("tree.map_with_path", tree, rest)?;
    let paths = first_paths(matched.0.structure());
    mapped(tree, matched, |slot, mut arguments| {
        arguments.insert(0, PyString::new(py, &paths[slot]).into_any());
        Ok(function.call1(PyTuple::new(py, arguments)?)?.unbind())
    })
}

/// By slot, the first path to it.
pub fn first_paths(structure: &Structure) -> Vec<String> {
    let mut first = vec![String::new(); structure.slots()];
    for (path, slot) in structure.paths().into_iter().rev() {
        first[slot] = path;
    }
    first
}

/// The leaves, each once.
#[pyfunction]
fn tree_leaves<'py>(tree: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    let py = tree.py();
    PyList::new(py, objects(py, &tree_of(tree)?)?)
}

/// The dotted path of every leaf; a tied one at each of its places, or with `unique` at its first.
#[pyfunction]
#[pyo3(signature = (tree, unique = false))]
fn tree_paths(tree: &Bound<'_, PyAny>, unique: bool) -> PyResult<Vec<String>> {
    let structure = structure_of(tree)?;
    Ok(if unique { first_paths(&structure) } else { structure.paths().into_iter().map(|(path, _)| path).collect() })
}

/// The groups of paths that share a leaf.
#[pyfunction]
fn tree_ties(tree: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<String>>> {
    Ok(ties_of(&*structure_of(tree)?))
}

/// The leaves, each once, and the structure that puts them together again.
#[pyfunction]
fn tree_flatten<'py>(tree: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyList>, PyStructure)> {
    let contents = tree_of(tree)?;
    let leaves = PyList::new(tree.py(), objects(tree.py(), &contents)?)?;
    Ok((leaves, PyStructure(Arc::clone(contents.structure()))))
}

/// The nest of this structure with these leaves.
#[pyfunction]
fn tree_unflatten(
    py: Python<'_>,
    structure: &Bound<'_, PyStructure>,
    leaves: &Bound<'_, PyAny>,
) -> PyResult<Py<PyAny>> {
    let leaves = leaves.try_iter()?.map(|leaf| Ok(Leaf::Object(leaf?.unbind()))).collect::<PyResult<Vec<_>>>()?;
    let structure = &structure.get().0;
    if leaves.len() != structure.slots() {
        return Err(PyValueError::new_err(format!(
            "unflatten: {} leaves for a structure of {}",
            leaves.len(),
            structure.slots()
        )));
    }
    nest::unflatten(py, structure, leaves)
}

/// Names, nesting and ties.
#[pyfunction]
fn tree_structure(tree: &Bound<'_, PyAny>) -> PyResult<PyStructure> {
    Ok(PyStructure(structure_of(tree)?))
}

/// Whether all array leaves are close and all others equal.
#[pyfunction]
#[pyo3(signature = (left, right, rtol = 1e-5, atol = 1e-8))]
fn tree_all_close(left: &Bound<'_, PyAny>, right: &Bound<'_, PyAny>, rtol: f64, atol: f64) -> PyResult<bool> {
    compare::all_close(&tree_of(left)?, &tree_of(right)?, rtol, atol, left.py())
}

/// The number of leaves, a tied one counted once.
#[pyfunction]
fn tree_count(tree: &Bound<'_, PyAny>) -> PyResult<usize> {
    Ok(structure_of(tree)?.slots())
}

/// The number of elements in all array leaves, those of a tied one counted once.
#[pyfunction]
fn tree_size(tree: &Bound<'_, PyAny>) -> PyResult<usize> {
    let py = tree.py();
    let mut size = 0;
    for leaf in tree_of(tree)?.leaves() {
        let (tensor, leaf) = (leaf.tensor(py), leaf.object(py)?);
        size += match tensor {
            Some(tensor) => tensor.count(),
            None => match leaf.getattr("dtype").and_then(|_| leaf.getattr("size")) {
                Ok(size) => size.extract()?,
                Err(_) => 0,
            },
        };
    }
    Ok(size)
}

/// Floating tensors and arrays in another dtype; other leaves as they are.
#[pyfunction]
fn tree_cast(tree: &Bound<'_, PyAny>, dtype: DTypeArg) -> PyResult<Py<PyAny>> {
    let py = tree.py();
    mapped(tree, (tree_of(tree)?, Vec::new()), |_, arguments| {
        let leaf = &arguments[0];
        let tensor = match Argument::of(leaf)? {
            Some(Argument::Borrowed(tensor)) => tensor.clone(),
            Some(Argument::Owned(tensor)) => tensor,
            _ => return Ok(leaf.clone().unbind()),
        };
        if !tensor.dtype().is_float() || (tensor.dtype() == dtype.0 && leaf.is_exact_instance_of::<PyTensor>()) {
            return Ok(leaf.clone().unbind());
        }
        Ok(Py::new(py, PyTensor(tensor.cast(dtype.0).map_err(raise)?))?.into_any())
    })
}

/// A Tree from dotted paths: `{"layer_1.weight": w}`.
#[pyfunction]
fn tree_from_paths(mapping: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = mapping.py();
    let root = PyDict::new(py);
    for item in mapping.cast::<pyo3::types::PyMapping>()?.items()?.iter() {
        let (path, value): (String, Bound<'_, PyAny>) = item.extract()?;
        let mut place = root.clone();
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let known = place.get_item(name)?;
            match (names.peek(), known) {
                (None, None) => place.set_item(name, &value)?,
                (Some(_), None) => {
                    let inner = PyDict::new(py);
                    place.set_item(name, &inner)?;
                    place = inner;
                }
                (Some(_), Some(inner)) if inner.is_exact_instance_of::<PyDict>() => {
                    place = inner.cast_into::<PyDict>()?
                }
                _ => {
                    return Err(PyValueError::new_err(format!(
                        "from_paths: {path} is listed twice, or lies inside another path"
                    )));
                }
            }
        }
    }
    nest::to_python(py, nest::to_tree(root.as_any(), Containers::Frozen)?)
}

/// Compiles one pattern or several.
fn patterns_of(which: &Bound<'_, PyAny>) -> PyResult<Vec<Pattern>> {
    let texts: Vec<String> = match which.extract::<String>() {
        Ok(one) => vec![one],
        Err(_) => which.try_iter()?.map(|text| text?.extract()).collect::<PyResult<_>>()?,
    };
    texts.iter().map(|text| Pattern::new(text)).collect::<luxon::Result<_>>().map_err(raise)
}

/// For every place whether a pattern covers it; an error for a pattern that covers none.
fn covered(structure: &Structure, which: &Bound<'_, PyAny>) -> PyResult<Vec<bool>> {
    let paths = structure.paths();
    let mut chosen = vec![false; paths.len()];
    for pattern in patterns_of(which)? {
        let mut found = structure.all_paths().iter().any(|path| pattern.matches(path));
        for (place, (path, _)) in paths.iter().enumerate() {
            if pattern.covers(path) {
                chosen[place] = true;
                found = true;
            }
        }
        if !found {
            let near = near(pattern.text(), structure.all_paths());
            return Err(PyValueError::new_err(format!("{:?} matches nothing in the tree; {near}", pattern.text())));
        }
    }
    Ok(chosen)
}

/// The paths of the leaves that patterns cover.
#[pyfunction]
fn tree_match(tree: &Bound<'_, PyAny>, patterns: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let structure = structure_of(tree)?;
    let chosen = covered(&structure, patterns)?;
    Ok(structure.paths().into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|((path, _), _)| path).collect())
}

/// The part of a tree that patterns (or a function of path and leaf) choose, and the rest.
#[pyfunction]
fn tree_partition(tree: &Bound<'_, PyAny>, which: &Bound<'_, PyAny>) -> PyResult<(Py<PyAny>, Py<PyAny>)> {
    let py = tree.py();
    let contents = nest::to_tree(tree, Containers::Frozen)?;
    let chosen = if which.is_callable() {
        let places = contents.places().map(|(path, leaf)| which.call1((path, leaf.object(py)?))?.is_truthy());
        places.collect::<PyResult<Vec<_>>>()?
    } else {
        covered(contents.structure(), which)?
    };
    let (taken, left) = edit::partition(contents.structure(), &chosen).map_err(raise)?;
    let take = |(structure, sources): edit::Edited| {
        let leaves = sources.into_iter().map(|slot| contents.at(slot as usize).copy(py)).collect::<PyResult<_>>()?;
        nest::to_python(py, Tree::new(structure, leaves).map_err(raise)?)
    };
    Ok((take(taken)?, take(left)?))
}

/// Two trees without common leaves in one, ordered as `like` where it is given.
#[pyfunction]
#[pyo3(signature = (left, right, like = None))]
fn tree_merge(
    left: &Bound<'_, PyAny>,
    right: &Bound<'_, PyAny>,
    like: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let like = match like {
        Some(like) => Some(match like.cast_exact::<PyStructure>() {
            Ok(structure) => Arc::clone(&structure.get().0),
            Err(_) => structure_of(like)?,
        }),
        None => None,
    };
    let frozen = |nest| nest::to_tree(nest, Containers::Frozen);
    let merged = frozen(left)?.merge(&frozen(right)?, like.as_ref()).map_err(raise)?;
    nest::to_python(left.py(), merged)
}

/// Each list's places as one leaf (or subtree); see `luxon.tree.tie`.
#[pyfunction]
#[pyo3(signature = (tree, sharing, values = None))]
fn tree_tie(
    tree: &Bound<'_, PyAny>,
    sharing: &Bound<'_, PyAny>,
    values: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let py = tree.py();
    let mut contents = nest::to_tree(tree, Containers::Frozen)?;
    let mut groups: Vec<Vec<String>> = Vec::new();
    for group in sharing.try_iter()? {
        let group = group?;
        if group.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("tie: takes a list of lists of paths, got a list of strings"));
        }
        groups.push(group.try_iter()?.map(|path| path?.extract()).collect::<PyResult<_>>()?);
    }
    for path in groups.iter().flatten() {
        if path.is_empty() || contents.structure().find(path).is_none() {
            return Err(missing(contents.structure(), path));
        }
    }
    edit::check_apart(&groups).map_err(|error| PyValueError::new_err(format!("tie: {error}")))?;
    for group in &groups {
        let Some((first, others)) = group.split_first() else { continue };
        for path in others {
            same_kinds(py, &contents, first, path)?;
        }
    }
    let tied = contents.tie(&groups).map_err(|error| PyValueError::new_err(format!("tie: {error}")))?;
    let before = std::mem::replace(&mut contents, tied);
    if let Some(values) = values {
        let values = values.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        if values.len() != groups.len() {
            return Err(PyValueError::new_err(format!(
                "tie: {} values for {} lists of paths",
                values.len(),
                groups.len()
            )));
        }
        let mut parts = Vec::with_capacity(values.len());
        for (group, value) in groups.iter().zip(&values) {
            let Some(first) = group.first() else { continue };
            let value = nest::to_tree(value, Containers::Frozen)?;
            let (place, current) = (contents.find(first), before.find(first));
            let (Some(place), Some(current)) = (place, current) else { continue };
            let alignment = align(place.structure(), value.structure()).map_err(|mismatch| {
                PyValueError::new_err(format!("tie: the new value for {first} has another structure: {mismatch}"))
            })?;
            for (path, leaf) in value.places() {
                let old = if path.is_empty() { Some(current.clone()) } else { current.find(&path) };
                if let Some(old) = old.as_ref().and_then(Tree::value) {
                    same_kind(old, leaf, first, "its new value", &path, py)?;
                }
            }
            // The value in the order and with the ties of its place.
            let leaves = (0..place.structure().slots()).map(|slot| value.at(alignment.at(slot)).copy(py));
            let leaves = leaves.collect::<PyResult<_>>()?;
            parts.push((first.as_str(), Tree::new(Arc::clone(place.structure()), leaves).map_err(raise)?));
        }
        contents = contents.replace(&parts).map_err(raise)?;
    }
    nest::to_python(py, contents)
}

/// Refuses to tie subtrees whose leaves differ in shape or dtype.
fn same_kinds(py: Python<'_>, tree: &Tree<Leaf>, first: &str, other: &str) -> PyResult<()> {
    let (Some(left), Some(right)) = (tree.find(first), tree.find(other)) else { return Ok(()) };
    let Ok(alignment) = align(left.structure(), right.structure()) else { return Ok(()) };
    let paths = first_paths(left.structure());
    for slot in 0..left.structure().slots() {
        same_kind(left.at(slot), right.at(alignment.at(slot)), first, other, &paths[slot], py)?;
    }
    Ok(())
}

fn same_kind(left: &Leaf, right: &Leaf, first: &str, other: &str, path: &str, py: Python<'_>) -> PyResult<()> {
    let kind = |leaf: &Leaf| -> PyResult<Option<String>> {
        let leaf = leaf.object(py)?;
        Ok(match (leaf.getattr("dtype"), leaf.getattr("shape")) {
            (Ok(dtype), Ok(shape)) => Some(format!("{dtype} {shape}")),
            _ => None,
        })
    };
    let (mine, theirs) = (kind(left)?, kind(right)?);
    if mine != theirs {
        let show = |kind: Option<String>| kind.unwrap_or_else(|| "not an array".into());
        let inside = if path.is_empty() { String::new() } else { format!(" at {path}") };
        return Err(PyValueError::new_err(format!(
            "tie: {first} and {other} differ{inside}: {} and {}",
            show(mine),
            show(theirs)
        )));
    }
    Ok(())
}

/// The tree with a leaf of its own at every place.
#[pyfunction]
fn tree_untie(tree: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let contents = tree_of(tree)?;
    if !contents.structure().has_ties() {
        return Ok(tree.clone().unbind());
    }
    nest::to_python(tree.py(), contents.untie().map_err(raise)?)
}

/// Adds the classes and functions of this module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyTree>()?;
    module.add_class::<PyStructure>()?;
    let tree = module.py().get_type::<PyTree>();
    module.py().import("collections.abc")?.getattr("Mapping")?.call_method1("register", (tree,))?;
    module.add_function(wrap_pyfunction!(tree_map, module)?)?;
    module.add_function(wrap_pyfunction!(tree_map_with_path, module)?)?;
    module.add_function(wrap_pyfunction!(tree_leaves, module)?)?;
    module.add_function(wrap_pyfunction!(tree_paths, module)?)?;
    module.add_function(wrap_pyfunction!(tree_ties, module)?)?;
    module.add_function(wrap_pyfunction!(tree_flatten, module)?)?;
    module.add_function(wrap_pyfunction!(tree_unflatten, module)?)?;
    module.add_function(wrap_pyfunction!(tree_structure, module)?)?;
    module.add_function(wrap_pyfunction!(tree_all_close, module)?)?;
    module.add_function(wrap_pyfunction!(tree_count, module)?)?;
    module.add_function(wrap_pyfunction!(tree_size, module)?)?;
    module.add_function(wrap_pyfunction!(tree_cast, module)?)?;
    module.add_function(wrap_pyfunction!(tree_from_paths, module)?)?;
    module.add_function(wrap_pyfunction!(tree_match, module)?)?;
    module.add_function(wrap_pyfunction!(tree_partition, module)?)?;
    module.add_function(wrap_pyfunction!(tree_merge, module)?)?;
    module.add_function(wrap_pyfunction!(tree_tie, module)?)?;
    module.add_function(wrap_pyfunction!(tree_untie, module)?)?;
    module.add_function(wrap_pyfunction!(pickle::_tree_from_outline, module)?)?;
    module.add_function(wrap_pyfunction!(pickle::_structure_from_outline, module)?)?;
    Ok(())
}
