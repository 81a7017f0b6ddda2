//! Differentiation: `grad`, `value_and_grad`, `vjp` and `jvp`, nested in any mix and to any order.
//!
//! Each opens a [`level::Level`], tags the inputs, runs the function once, and reads the answer off the
//! result. The functions below take and return slices of tensors; the structure of a user's arguments
//! (trees, tuples) is the caller's business.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::layout::show;
use crate::op::custom::Recorded;
use crate::tensor::Tensor;

pub mod level;
pub mod reverse;

pub use level::{Level, Mode, Scope};
pub use reverse::pull_back;

/// The value of a scalar function and its gradient with respect to each input, zeros included.
///
/// ```
/// use luxon::{Tensor, value_and_grad};
/// let x = Tensor::new(&[1.0f32, 2.0, 3.0], &[3])?;
/// let (y, dx) = value_and_grad(|x| x[0].square()?.sum(None, false), &[x])?;
/// assert_eq!(y.to_vec::<f32>()?, [14.0]);
/// assert_eq!(dx[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// Whatever the function returns; [`Error::Shape`] where its result is not 0-d, [`Error::Type`] where
/// it is not floating or an input is not.
pub fn value_and_grad(function: impl FnOnce(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
    let (value, gradients) = value_and_optional_grad(function, inputs)?;
    let gradients = gradients.into_iter().zip(inputs).map(|(gradient, input)| gradient.map_or_else(|| input.zeros_like(), Ok));
    Ok((value, gradients.collect::<Result<_>>()?))
}

/// Like [`value_and_grad`], with none for inputs on which the value does not depend.
pub fn value_and_optional_grad(
    function: impl FnOnce(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
) -> Result<(Tensor, Vec<Option<Tensor>>)> {
    let level = Level::open(Mode::Reverse);
    let scope = Scope(Arc::clone(&level));
    let tagged = inputs.iter().map(|input| level.tag(input)).collect::<Result<Vec<_>>>()?;
    let output = function(&tagged)?;
    let value = output.lower(level.stamp());
    let seed = seed(&value)?;
    let gradients = pull_back(&level, vec![(output, seed)], &tagged)?;
    drop(scope);
    Ok((value, gradients))
}

/// The cotangent 1 of a scalar result.
pub fn seed(value: &Tensor) -> Result<Tensor> {
    if value.rank() != 0 {
        return Err(Error::shape(
            "grad",
            format_args!("the function must return a 0-d tensor, got shape {}; reduce it with sum or mean", show(value.shape())),
        ));
    }
    if !value.dtype().is_float() {
        return Err(Error::dtype("grad", format_args!("the function returned dtype {}, which cannot be differentiated", value.dtype())));
    }
    value.ones_like()
}

/// The gradient of a scalar function with respect to each input.
///
/// # Errors
/// As [`value_and_grad`].
pub fn grad(function: impl FnOnce(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    Ok(value_and_grad(function, inputs)?.1)
}

/// The outputs of a function and the map from their cotangents to those of the inputs.
///
/// # Errors
/// Whatever the function returns; [`Error::Type`] for inputs that are not floating.
pub fn vjp(function: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>, inputs: &[Tensor]) -> Result<(Vec<Tensor>, Recorded)> {
    let level = Level::open(Mode::Reverse);
    let run = || {
        let tagged = inputs.iter().map(|input| level.tag(input)).collect::<Result<Vec<_>>>()?;
        let outputs = function(&tagged)?;
        Ok((tagged, outputs))
    };
    match run() {
        Ok((tagged, outputs)) => {
            let values = outputs.iter().map(|output| output.lower(level.stamp())).collect();
            Ok((values, Recorded::new(level, outputs, tagged)))
        }
        Err(error) => {
            level.close();
            Err(error)
        }
    }
}

/// The outputs of a function and their tangents for the given tangents of the inputs, zeros included.
///
/// # Errors
/// Whatever the function returns; [`Error::Shape`] where a tangent does not have its primal's shape.
pub fn jvp(
    function: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    tangents: &[Tensor],
) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
    let tangents: Vec<Option<Tensor>> = tangents.iter().cloned().map(Some).collect();
    let (outputs, pushed) = jvp_through(function, inputs, &tangents)?;
    let zeros = outputs.iter().zip(pushed).map(|(output, tangent)| tangent.map_or_else(|| output.zeros_like(), Ok));
    let tangents = zeros.collect::<Result<_>>()?;
    Ok((outputs, tangents))
}

/// Tangents of a function's outputs; none stands for zeros on both sides.
pub fn jvp_through(
    function: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    tangents: &[Option<Tensor>],
) -> Result<(Vec<Tensor>, Vec<Option<Tensor>>)> {
    let level = Level::open(Mode::Forward);
    let scope = Scope(Arc::clone(&level));
    let tagged = inputs.iter().zip(tangents).map(|(input, tangent)| match tangent {
        Some(tangent) => level.tag_tangent(input, tangent),
        None => Ok(input.clone()),
    });
    let outputs = function(&tagged.collect::<Result<Vec<_>>>()?)?;
    let answer = outputs.iter().map(|output| split_tangent(&level, output)).unzip();
    drop(scope);
    Ok(answer)
}

/// The value of `output` below a forward level, and the tangent that it carries there.
pub fn split_tangent(level: &Level, output: &Tensor) -> (Tensor, Option<Tensor>) {
    let tangent = output.node_at(level.stamp()).and_then(|node| match &node.trace {
        level::Trace::Tangent(tangent) => Some(tangent.clone()),
        _ => None,
    });
    (output.lower(level.stamp()), tangent)
}

/// Cotangents of a function's inputs by recording it once; none stands for zeros on both sides.
pub fn vjp_through<O: IntoOptional>(
    function: impl FnOnce(&[Tensor]) -> Result<Vec<O>>,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
) -> Result<Vec<Option<Tensor>>> {
    let level = Level::open(Mode::Reverse);
    let scope = Scope(Arc::clone(&level));
    let tagged = inputs.iter().map(|input| level.tag(input)).collect::<Result<Vec<_>>>()?;
    let outputs = function(&tagged)?;
    let pairs = outputs.into_iter().zip(cotangents).filter_map(|(output, dy)| Some((output.into_optional()?, dy.clone()?)));
    let gradients = pull_back(&level, pairs.collect(), &tagged)?;
    drop(scope);
    Ok(gradients)
}

/// A result that may be an exact zero.
pub trait IntoOptional {
    /// The tensor, none for zero.
    fn into_optional(self) -> Option<Tensor>;
}

impl IntoOptional for Tensor {
    fn into_optional(self) -> Option<Tensor> {
        Some(self)
    }
}

impl IntoOptional for Option<Tensor> {
    fn into_optional(self) -> Option<Tensor> {
        self
    }
}
