//! `jacobian`: every partial derivative, by pulling rows back or pushing columns forward.
//!
//! The result has the structure of the function's result with the structure of the arguments in the place
//! of each tensor; a tensor in it has the result's axes first and the argument's after them. All of it is
//! tensor operations, so a Jacobian can be differentiated again.

use luxon::{Error, Tensor, stack};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use smallvec::SmallVec;

use crate::error::raise;
use crate::transform::argument::{Argnums, Nest};
use crate::transform::linear::{Pushed, Recording, push, record};
use crate::tree::nest::Leaf;

/// The direction in which a Jacobian is computed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum JacobianMode {
    /// Reverse unless there are fewer arguments than results.
    Auto,
    /// Row by row.
    Reverse,
    /// Column by column.
    Forward,
}

impl<'py> FromPyObject<'_, 'py> for JacobianMode {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match object.extract::<String>().as_deref() {
            Ok("auto") => Ok(JacobianMode::Auto),
            Ok("reverse") => Ok(JacobianMode::Reverse),
            Ok("forward") => Ok(JacobianMode::Forward),
            _ => Err(PyValueError::new_err(format!(
                "mode must be \"auto\", \"reverse\" or \"forward\", not {}",
                object.repr()?
            ))),
        }
    }
}

/// The derivative of each result tensor (outer) by each argument tensor (inner).
type Blocks = Vec<Vec<Tensor>>;

/// The Jacobian of `function` at these arguments.
pub fn call(
    function: &Bound<'_, PyAny>,
    arguments: &Bound<'_, PyTuple>,
    keywords: Option<&Bound<'_, PyDict>>,
    argnums: &Argnums,
    mode: JacobianMode,
) -> PyResult<Py<PyAny>> {
    let py = function.py();
    let positions = argnums.resolve(arguments.len(), "jacobian")?;
    let size = |nests: &[Nest]| nests.iter().flat_map(|nest| &nest.tensors).map(Tensor::count).sum::<usize>();
    let mut primals = Vec::new();
    for &position in &positions {
        primals.push(Nest::differentiated(&*arguments.get_borrowed_item(position)?, "jacobian", position)?);
    }
    let (result, blocks) = match mode {
        JacobianMode::Forward => forward(function, arguments, keywords, &positions, &primals)?,
        _ => {
            let recording = record(function, arguments, keywords, &positions, false, "jacobian")?;
            if mode == JacobianMode::Auto && size(&primals) < size(std::slice::from_ref(&recording.result)) {
                drop(recording);
                forward(function, arguments, keywords, &positions, &primals)?
            } else {
                let blocks = py.detach(|| rows(&recording)).map_err(raise)?;
                (recording.result, blocks)
            }
        }
    };
    let entries = blocks.into_iter().map(|row| {
        let mut row = row.into_iter().map(|block| Ok(Leaf::of(block)));
        let mut packed: SmallVec<[Py<PyAny>; 2]> = SmallVec::new();
        for primal in &primals {
            packed.push(primal.filled(py, row.by_ref().take(primal.tensors.len()))?);
        }
        argnums.pack(py, packed).map(Leaf::Object)
    });
    result.filled(py, entries)
}

/// The tensor of the shape of `like` that is 1 at one element and 0 elsewhere.
fn one_hot(like: &Tensor, element: usize) -> luxon::Result<Tensor> {
    let count = like.count();
    let one = like.detach().ones_like()?.reshape(&[-1])?.narrow(0, 0, 1)?;
    let hot = one.pad_constant(&[(element, count - 1 - element)], 0.0)?;
    hot.reshape(&like.shape().iter().map(|&size| size as isize).collect::<Vec<_>>())
}

/// The shape of a block: the result's axes, then the argument's.
fn block_shape(result: &Tensor, argument: &Tensor) -> Vec<isize> {
    result.shape().iter().chain(argument.shape().iter()).map(|&size| size as isize).collect()
}

fn zero_block(result: &Tensor, argument: &Tensor) -> luxon::Result<Tensor> {
    let shape: Vec<usize> = block_shape(result, argument).into_iter().map(|size| size as usize).collect();
    Tensor::zeros(&shape, argument.dtype())
}

fn rows(recording: &Recording) -> luxon::Result<Blocks> {
    let arguments: Vec<&Tensor> = recording.primals.iter().flat_map(|primal| &primal.tensors).collect();
    let results = &recording.result.tensors;
    let mut blocks = Vec::with_capacity(results.len());
    for (index, result) in results.iter().enumerate() {
        let mut parts: Vec<Vec<Tensor>> = vec![Vec::with_capacity(result.count()); arguments.len()];
        for element in 0..result.count() {
            let mut cotangents = vec![None; results.len()];
            cotangents[index] = Some(one_hot(result, element)?);
            for ((part, gradient), argument) in
                parts.iter_mut().zip(recording.recorded.pull(&cotangents)?).zip(&arguments)
            {
                part.push(gradient.map_or_else(|| argument.zeros_like(), Ok)?);
            }
        }
        let row = parts.iter().zip(&arguments).map(|(part, argument)| {
            if part.is_empty() {
                return zero_block(result, argument);
            }
            stack(&part.iter().collect::<Vec<_>>(), 0)?.reshape(&block_shape(result, argument))
        });
        blocks.push(row.collect::<luxon::Result<_>>()?);
    }
    Ok(blocks)
}

fn forward(
    function: &Bound<'_, PyAny>,
    arguments: &Bound<'_, PyTuple>,
    keywords: Option<&Bound<'_, PyDict>>,
    positions: &[usize],
    primals: &[Nest],
) -> PyResult<(Nest, Blocks)> {
    let tensors: Vec<&Tensor> = primals.iter().flat_map(|primal| &primal.tensors).collect();
    let mut last: Option<Nest> = None;
    // By argument tensor, by result tensor: the columns.
    let mut columns: Vec<Vec<Vec<Tensor>>> = Vec::with_capacity(tensors.len());
    for (index, tensor) in tensors.iter().enumerate() {
        let mut parts: Vec<Vec<Tensor>> = Vec::new();
        for element in 0..tensor.count() {
            let mut tangents = vec![None; tensors.len()];
            tangents[index] = Some(one_hot(tensor, element).map_err(raise)?);
            let Pushed { result, tangents, .. } =
                push(function, arguments, keywords, positions, primals, &tangents, false)?;
            parts.resize_with(result.tensors.len(), Vec::new);
            for ((part, tangent), output) in parts.iter_mut().zip(tangents).zip(&result.tensors) {
                part.push(tangent.map_or_else(|| output.zeros_like(), Ok).map_err(raise)?);
            }
            last = Some(result);
        }
        columns.push(parts);
    }
    let result = match last {
        Some(result) => result,
        None => push(function, arguments, keywords, positions, primals, &vec![None; tensors.len()], false)?.result,
    };
    let assemble = |output: usize, argument: usize| -> luxon::Result<Tensor> {
        let (result, tensor) = (&result.tensors[output], tensors[argument]);
        match columns[argument].get(output) {
            Some(part) if !part.is_empty() => {
                let axis = result.rank() as isize;
                stack(&part.iter().collect::<Vec<_>>(), axis)?.reshape(&block_shape(result, tensor))
            }
            _ => zero_block(result, tensor),
        }
    };
    let blocks =
        (0..result.tensors.len()).map(|output| (0..tensors.len()).map(|argument| assemble(output, argument)).collect());
    let blocks = blocks.collect::<Result<Blocks, Error>>().map_err(raise)?;
    Ok((result, blocks))
}
