//! Several tensors as one, or in one shape.

use super::Linear;
use crate::error::{Error, Result};
use crate::layout::{Shape, broadcast_shapes, resolve_axis, show};
use crate::op::apply;
use crate::tensor::Tensor;

/// The tensors one after the other along `axis`, promoted to one dtype.
///
/// ```
/// use luxon::{Tensor, concat};
/// let (a, b) = (Tensor::new(&[1, 2], &[1, 2])?, Tensor::new(&[3, 4], &[1, 2])?);
/// assert_eq!(concat(&[&a, &b], 0)?.shape()[..], [2, 2]);
/// assert_eq!(concat(&[&a, &b], 1)?.to_vec::<i32>()?, [1, 2, 3, 4]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for no tensors, [`Error::Shape`] where other axes differ.
pub fn concat(tensors: &[&Tensor], axis: isize) -> Result<Tensor> {
    let Some(first) = tensors.first() else {
        return Err(Error::value("concat", "needs at least one tensor"));
    };
    let axis = resolve_axis("concat", axis, first.rank())?;
    let mut dtype = first.dtype();
    for tensor in tensors {
        dtype = dtype.promote(tensor.dtype());
        let fits = tensor.rank() == first.rank()
            && (0..first.rank()).all(|other| other == axis || tensor.shape()[other] == first.shape()[other]);
        if !fits {
            return Err(Error::shape(
                "concat",
                format_args!("shapes {} and {} differ outside axis {axis}", show(first.shape()), show(tensor.shape())),
            ));
        }
    }
    if tensors.len() == 1 {
        return Ok((*first).clone());
    }
    let cast = tensors.iter().map(|tensor| tensor.cast(dtype)).collect::<Result<Vec<_>>>()?;
    // An op records at most 31 differentiated inputs by a bit each; longer lists are joined in a tree.
    if cast.len() > 31 {
        let parts = cast.chunks(31).map(|chunk| concat(&chunk.iter().collect::<Vec<_>>(), axis as isize));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        return concat(&parts.iter().collect::<Vec<_>>(), axis as isize);
    }
    let sizes = cast.iter().map(|tensor| tensor.shape()[axis]).collect();
    apply(Linear::Concat { axis, sizes }, &cast.iter().collect::<Vec<_>>())
}

/// The tensors side by side along a new axis.
///
/// ```
/// use luxon::{Tensor, stack};
/// let (a, b) = (Tensor::new(&[1, 2], &[2])?, Tensor::new(&[3, 4], &[2])?);
/// assert_eq!(stack(&[&a, &b], 0)?.to_vec::<i32>()?, [1, 2, 3, 4]);
/// assert_eq!(stack(&[&a, &b], 1)?.to_vec::<i32>()?, [1, 3, 2, 4]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`concat()`].
pub fn stack(tensors: &[&Tensor], axis: isize) -> Result<Tensor> {
    let Some(first) = tensors.first() else {
        return Err(Error::value("stack", "needs at least one tensor"));
    };
    if let Some(other) = tensors.iter().find(|tensor| tensor.shape() != first.shape()) {
        return Err(Error::shape(
            "stack",
            format_args!("shapes {} and {} differ", show(first.shape()), show(other.shape())),
        ));
    }
    let axis = resolve_axis("stack", axis, first.rank() + 1)? as isize;
    let expanded = tensors.iter().map(|tensor| tensor.expand_dims(axis)).collect::<Result<Vec<_>>>()?;
    concat(&expanded.iter().collect::<Vec<_>>(), axis)
}

/// The tensors broadcast to their common shape.
///
/// ```
/// use luxon::{DType, Tensor, broadcast_tensors};
/// let (column, row) = (Tensor::zeros(&[3, 1], DType::F32)?, Tensor::zeros(&[4], DType::F32)?);
/// for tensor in broadcast_tensors(&[&column, &row])? {
///     assert_eq!(tensor.shape()[..], [3, 4]);
/// }
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where there is none.
pub fn broadcast_tensors(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    let mut shape = Shape::new();
    for tensor in tensors {
        shape = broadcast_shapes("broadcast_arrays", &shape, tensor.shape())?;
    }
    tensors.iter().map(|tensor| tensor.broadcast_to(&shape)).collect()
}
