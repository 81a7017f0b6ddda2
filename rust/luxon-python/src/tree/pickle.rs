//! Structures as plain Python values, for pickling.
//!
//! The outline of a structure is a nest of tuples `(kind, children)` with the slot number at each place, so ties
//! come back as ties; namedtuples carry their class, which pickles by name.

use std::sync::Arc;

use luxon::tree::{Draft, Kind, MAX_DEPTH, Structure, Tree};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

use crate::error::raise;
use crate::tree::PyTree;
use crate::tree::function::{PyStructure, objects};
use crate::tree::nest::{self, DICT, LIST, Leaf, TREE, TUPLE};

/// What `pickle` calls to make the Tree again.
pub fn reduce<'py>(tree: &Bound<'py, PyTree>) -> PyResult<Bound<'py, PyTuple>> {
    let py = tree.py();
    let contents = &tree.get().tree;
    let leaves = PyList::new(py, objects(py, contents)?)?;
    let arguments = (outline(py, contents.structure())?, leaves).into_pyobject(py)?;
    (py.import("luxon._core")?.getattr("_tree_from_outline")?, arguments).into_pyobject(py)
}

/// What `pickle` calls to make the structure again.
pub fn reduce_structure<'py>(py: Python<'py>, structure: &Structure) -> PyResult<Bound<'py, PyTuple>> {
    let arguments = (outline(py, structure)?,).into_pyobject(py)?;
    (py.import("luxon._core")?.getattr("_structure_from_outline")?, arguments).into_pyobject(py)
}

fn outline<'py>(py: Python<'py>, structure: &Structure) -> PyResult<Bound<'py, PyAny>> {
    part(py, structure, &mut structure.place_slots().into_iter())
}

fn part<'py>(
    py: Python<'py>,
    structure: &Structure,
    slots: &mut dyn Iterator<Item = u32>,
) -> PyResult<Bound<'py, PyAny>> {
    if structure.is_leaf() {
        return Ok(slots.next().unwrap_or_default().into_pyobject(py)?.into_any());
    }
    let children = structure.children().iter().map(|child| part(py, &child.structure, slots));
    let children = children.collect::<PyResult<Vec<_>>>()?;
    let kind = match (structure.kind(), structure.tag()) {
        (Kind::Mapping, TREE) => "tree".into_pyobject(py)?.into_any(),
        (Kind::Mapping, _) => "dict".into_pyobject(py)?.into_any(),
        (_, LIST) => "list".into_pyobject(py)?.into_any(),
        (_, tag) => match nest::class_of(py, tag) {
            Some(class) => class.into_any(),
            None => "tuple".into_pyobject(py)?.into_any(),
        },
    };
    let contents = if structure.kind() == Kind::Mapping {
        let dict = PyDict::new(py);
        for (name, child) in structure.names().iter().zip(children) {
            dict.set_item(&**name, child)?;
        }
        dict.into_any()
    } else {
        PyTuple::new(py, children)?.into_any()
    };
    Ok((kind, contents).into_pyobject(py)?.into_any())
}

fn draft(outline: &Bound<'_, PyAny>, depth: u32) -> PyResult<Draft> {
    let Ok(node) = outline.cast::<PyTuple>() else { return Ok(Draft::Leaf(outline.extract()?)) };
    if depth > MAX_DEPTH {
        return Err(PyValueError::new_err(format!("tree: nested more than {MAX_DEPTH} levels deep")));
    }
    let (kind, contents) = (node.get_item(0)?, node.get_item(1)?);
    if let Ok(dict) = contents.cast::<PyDict>() {
        let tag = if kind.eq("tree")? { TREE } else { DICT };
        let mut names = Vec::new();
        let mut children = Vec::new();
        for (name, child) in dict.iter() {
            names.push(name.extract()?);
            children.push(draft(&child, depth + 1)?);
        }
        return Ok(Draft::Node { kind: Kind::Mapping, tag, names, children });
    }
    let children = contents.try_iter()?.map(|child| draft(&child?, depth + 1)).collect::<PyResult<_>>()?;
    let (tag, names) = match kind.cast::<PyType>() {
        Ok(class) => (nest::tag_of(class), class.getattr("_fields")?.extract()?),
        Err(_) => (if kind.eq("list")? { LIST } else { TUPLE }, Vec::new()),
    };
    Ok(Draft::Node { kind: Kind::Sequence, tag, names, children })
}

/// The structure of an outline and, by slot, the slot numbers in it.
fn build(outline: &Bound<'_, PyAny>) -> PyResult<(Arc<Structure>, Vec<u32>)> {
    Structure::build(&draft(outline, 0)?).map_err(raise)
}

/// The Tree with this outline and these leaves.
#[pyfunction]
pub fn _tree_from_outline(
    py: Python<'_>,
    outline: &Bound<'_, PyAny>,
    leaves: &Bound<'_, PyList>,
) -> PyResult<Py<PyAny>> {
    let (structure, slots) = build(outline)?;
    let leaves = slots.into_iter().map(|slot| Ok(Leaf::Object(leaves.get_item(slot as usize)?.unbind())));
    let leaves = leaves.collect::<PyResult<Vec<_>>>()?;
    nest::to_python(py, Tree::new(structure, leaves).map_err(raise)?)
}

/// The structure with this outline.
#[pyfunction]
pub fn _structure_from_outline(outline: &Bound<'_, PyAny>) -> PyResult<PyStructure> {
    Ok(PyStructure(build(outline)?.0))
}
