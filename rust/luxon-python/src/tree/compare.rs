//! When trees are equal, and when they are close.
//!
//! Equality is that of dicts: the same names in any order, and equal leaves. Tensors are equal where
//! dtype, shape and every element are; NaN equals nothing but the very same object.

use luxon::tree::{Tree, align};
use luxon::{DType, Tensor};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::convert::{Argument, to_tensor};
use crate::error::raise;
use crate::tensor::PyTensor;
use crate::tree::nest::Leaf;

/// Whether two trees have the same names and equal leaves.
pub fn equal(left: &Tree<Leaf>, right: &Tree<Leaf>, py: Python<'_>) -> PyResult<bool> {
    // Both ways round, so that every place of either is compared whatever its ties.
    let (Ok(there), Ok(back)) =
        (align(left.structure(), right.structure()), align(right.structure(), left.structure()))
    else {
        return Ok(false);
    };
    for slot in 0..left.structure().slots() {
        if !leaves_equal(left.at(slot).object(py)?, right.at(there.at(slot)).object(py)?)? {
            return Ok(false);
        }
    }
    if left.structure().slots() != right.structure().slots() {
        for slot in 0..right.structure().slots() {
            if !leaves_equal(left.at(back.at(slot)).object(py)?, right.at(slot).object(py)?)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn leaves_equal(left: &Bound<'_, PyAny>, right: &Bound<'_, PyAny>) -> PyResult<bool> {
    if left.is(right) {
        return Ok(true);
    }
    if left.is_exact_instance_of::<PyTensor>() || right.is_exact_instance_of::<PyTensor>() {
        let (Some(left), Some(right)) = (Argument::of(left)?, Argument::of(right)?) else { return Ok(false) };
        let (left, right) = (left.into_tensor(), right.into_tensor());
        return if left.dtype() != right.dtype() || left.shape() != right.shape() {
            Ok(false)
        } else {
            everywhere(&left.equal(&right).map_err(raise)?)
        };
    }
    let same = left.eq_or_array(right)?;
    same.is_truthy()
}

/// `==` of objects that may be NumPy arrays.
trait EqualOrArray<'py> {
    fn eq_or_array(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>;
}

impl<'py> EqualOrArray<'py> for Bound<'py, PyAny> {
    fn eq_or_array(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        if !self.hasattr(intern!(py, "__array__"))? {
            return self.rich_compare(other, pyo3::basic::CompareOp::Eq);
        }
        py.import(intern!(py, "numpy"))?.call_method1(intern!(py, "array_equal"), (self, other))
    }
}

fn everywhere(condition: &Tensor) -> PyResult<bool> {
    let all = condition.all(None, false).and_then(|all| all.item()).map_err(raise)?;
    Ok(all == luxon::Scalar::Bool(true))
}

/// Whether every array leaf of `left` is within `absolute + relative * |right|` of its partner; other
/// leaves must be equal.
pub fn all_close(
    left: &Tree<Leaf>,
    right: &Tree<Leaf>,
    relative: f64,
    absolute: f64,
    py: Python<'_>,
) -> PyResult<bool> {
    let alignment = align(left.structure(), right.structure()).map_err(|mismatch| {
        PyValueError::new_err(format!("all_close: the structures of the trees differ: {mismatch}"))
    })?;
    for slot in 0..left.structure().slots() {
        let (mine, theirs) = (left.at(slot).object(py)?, right.at(alignment.at(slot)).object(py)?);
        if !leaves_close(mine, theirs, relative, absolute)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn leaves_close(left: &Bound<'_, PyAny>, right: &Bound<'_, PyAny>, relative: f64, absolute: f64) -> PyResult<bool> {
    if left.is_none() || right.is_none() || Argument::of(left)?.is_none() || Argument::of(right)?.is_none() {
        return leaves_equal(left, right);
    }
    let (left, right) = (to_tensor(left)?.detach(), to_tensor(right)?.detach());
    if left.shape() != right.shape() {
        return Ok(false);
    }
    let near = || {
        let (left, right) = (left.cast(DType::F64)?, right.cast(DType::F64)?);
        let bound = right.abs()?.mul(relative)?.add(absolute)?;
        // Equal infinities have no difference, unequal ones an infinite one that no bound admits.
        let within = left.sub(&right)?.abs()?.less_equal(&bound)?.logical_and(&bound.isfinite()?)?;
        within.logical_or(&left.equal(&right)?)
    };
    everywhere(&near().map_err(raise)?)
}
