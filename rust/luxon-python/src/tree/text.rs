//! How a tree prints: one line a leaf, indented by depth, with dtype and shape instead of elements.

use std::fmt::Write;

use luxon::layout::show as show_shape;
use luxon::tree::{Kind, Tree};
use pyo3::intern;
use pyo3::prelude::*;

use crate::tensor::PyTensor;
use crate::tree::nest::Leaf;

/// Texts of other leaves are cut to this many characters.
const WIDEST: usize = 60;

/// The tree as text.
pub fn show(tree: &Tree<Leaf>, py: Python<'_>) -> PyResult<String> {
    if tree.structure().children().is_empty() {
        return Ok("Tree()".into());
    }
    let paths = tree.structure().paths();
    let mut first = vec![None; tree.structure().slots()];
    for (path, slot) in &paths {
        first[*slot].get_or_insert(path.as_str());
    }
    let mut out = String::from("Tree(\n");
    let mut places = paths.iter();
    let mut line = |path: &str, leaf: &Leaf| {
        let Some((_, slot)) = places.next() else { return Ok(String::new()) };
        match first[*slot] {
            Some(origin) if origin != path => Ok(format!("= {origin}")),
            _ => describe(leaf.object(py)?),
        }
    };
    lines(tree, "", 1, &mut line, &mut out)?;
    out.push(')');
    Ok(out)
}

fn lines(
    tree: &Tree<Leaf>,
    path: &str,
    depth: usize,
    line: &mut dyn FnMut(&str, &Leaf) -> PyResult<String>,
    out: &mut String,
) -> PyResult<()> {
    let structure = tree.structure();
    for position in 0..structure.children().len() {
        let Some(child) = tree.child(position) else { continue };
        let name = structure.name(position);
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let _ = write!(out, "{:width$}{name}:", "", width = depth * 2);
        match child.value() {
            Some(leaf) => {
                let _ = writeln!(out, " {}", line(&path, leaf)?);
            }
            None if child.structure().children().is_empty() => {
                out.push_str(if child.structure().kind() == Kind::Mapping { " Tree()\n" } else { " ()\n" });
            }
            None => {
                out.push('\n');
                lines(&child, &path, depth + 1, line, out)?;
            }
        }
    }
    Ok(())
}

fn describe(leaf: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = leaf.py();
    if let Ok(tensor) = leaf.cast_exact::<PyTensor>() {
        let tensor = &tensor.get().0;
        return Ok(format!("{} {}", tensor.dtype(), show_shape(tensor.shape())));
    }
    if let (Ok(dtype), Ok(shape)) = (leaf.getattr(intern!(py, "dtype")), leaf.getattr(intern!(py, "shape"))) {
        return Ok(format!("{} {} {}", leaf.get_type().name()?, dtype, shape));
    }
    let text = leaf.repr()?.to_string();
    let short: String =
        text.chars().take(WIDEST).map(|character| if character == '\n' { ' ' } else { character }).collect();
    Ok(if short.len() < text.len() { short + "..." } else { short })
}
