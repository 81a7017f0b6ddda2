//! The functions over one indexed axis: `take`, `take_along_axis`, and what adds or writes.
//!
//! They resolve axes and dtypes and broadcast; the operations themselves check every index.

use crate::dtype::Kind;
use crate::error::{Error, Result};
use crate::layout::{Axes, Shape, broadcast_shapes, resolve_axis, show};
use crate::op::apply;
use crate::op::index::{Gather, fitting, no_truth_values, replaced};
use crate::op::linear::Window;
use crate::tensor::Tensor;

fn one_label(axis: usize) -> Result<Axes> {
    Axes::from_slice(&[axis])
}

impl Tensor {
    /// The entries of an axis at integer `indices` of any shape, whose axes take its place; negative ones
    /// count from the end.
    ///
    /// ```
    /// let x = luxon::Tensor::new(&[10i32, 20, 30], &[3])?;
    /// let i = luxon::Tensor::new(&[2i64, 0, -1], &[3])?;
    /// assert_eq!(x.take(&i, 0)?.to_vec::<i32>()?, [30, 10, 30]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Index`] for an axis or an index that is out of range, [`Error::Type`] for indices that are
    /// not integers.
    pub fn take(&self, indices: &Tensor, axis: isize) -> Result<Tensor> {
        let axis = resolve_axis("take", axis, self.rank())?;
        apply(Gather::Take { axis, labels: one_label(axis)? }, &[self, indices])
    }

    /// [`Tensor::take`] for a list of indices.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2, 3, 4], &[2, 2])?;
    /// assert_eq!(x.index_select(&Tensor::new(&[1i64], &[1])?, 1)?.to_vec::<i32>()?, [2, 4]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `take`, and [`Error::Shape`] for indices that are not 1-d.
    pub fn index_select(&self, indices: &Tensor, axis: isize) -> Result<Tensor> {
        if indices.rank() != 1 {
            return Err(Error::shape(
                "index_select",
                format_args!("indices must be 1-d, got shape {}", show(indices.shape())),
            ));
        }
        self.take(indices, axis)
    }

    /// For each element of `indices`, the element of the same place with the index in `axis`; other axes broadcast.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2, 3, 4], &[2, 2])?;
    /// let positions = Tensor::new(&[1i64, 0], &[2, 1])?; // One for each row.
    /// assert_eq!(x.take_along_axis(&positions, 1)?.to_vec::<i32>()?, [2, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for shapes that do not broadcast outside the axis, and those of [`Tensor::take`].
    pub fn take_along_axis(&self, indices: &Tensor, axis: isize) -> Result<Tensor> {
        let axis = resolve_axis("take_along_axis", axis, self.rank())?;
        let (x_shape, index_shape) = along("take_along_axis", self.shape(), indices.shape(), axis)?;
        apply(Gather::TakeAlong { axis }, &[&self.broadcast_to(&x_shape)?, &indices.broadcast_to(&index_shape)?])
    }

    /// The tensor with `updates` added to the entries of an axis at `indices`; equal indices add up. The
    /// updates broadcast to the shape of `take(indices, axis)`, of which this is the transpose.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let (indices, updates) = (Tensor::new(&[0i64, 2, 0], &[3])?, Tensor::new(&[1, 2, 3], &[3])?);
    /// assert_eq!(Tensor::zeros(&[3], DType::I32)?.scatter_add(&indices, &updates, 0)?.to_vec::<i32>()?, [4, 0, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Tensor::take`], [`Error::Shape`] for updates that do not fit, [`Error::Type`] for truth values.
    pub fn scatter_add(&self, indices: &Tensor, updates: &Tensor, axis: isize) -> Result<Tensor> {
        let axis = resolve_axis("scatter_add", axis, self.rank())?;
        no_truth_values("scatter_add", self.dtype())?;
        let shape = replaced(self.shape(), axis, 1, indices.shape())?;
        let updates = fitting("scatter_add", updates, self.dtype())?.broadcast_to(&shape)?;
        apply(Gather::Add { axis, labels: one_label(axis)? }, &[self, &updates, indices])
    }

    /// The tensor with each element of `updates` added at the same place with the index in `axis`: the
    /// transpose of [`Tensor::take_along_axis`].
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let (places, updates) = (Tensor::new(&[1i64, 0], &[2, 1])?, Tensor::new(&[5, 6], &[2, 1])?);
    /// let y = Tensor::zeros(&[2, 2], DType::I32)?.scatter_add_along(&places, &updates, 1)?;
    /// assert_eq!(y.to_vec::<i32>()?, [0, 5, 6, 0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Tensor::scatter_add`].
    pub fn scatter_add_along(&self, indices: &Tensor, updates: &Tensor, axis: isize) -> Result<Tensor> {
        let name = "scatter_add_along";
        let axis = resolve_axis(name, axis, self.rank())?;
        no_truth_values(name, self.dtype())?;
        let (shape, index_shape) = along(name, self.shape(), indices.shape(), axis)?;
        if shape != *self.shape() {
            return Err(Error::shape(
                name,
                format_args!("indices of shape {} do not fit {}", show(indices.shape()), show(self.shape())),
            ));
        }
        let indices = indices.broadcast_to(&index_shape)?;
        let updates = fitting(name, updates, self.dtype())?.broadcast_to(&index_shape)?;
        self.add(&apply(Gather::PutAlong { axis, length: shape[axis] }, &[&updates, &indices])?)
    }

    /// The tensor with `updates` (of the window's size) in place of the elements of a window that lies within it.
    ///
    /// # Errors
    /// [`Error::Shape`] where the updates do not have the window's size.
    #[doc(hidden)]
    pub fn overwrite(&self, window: Window, updates: &Tensor) -> Result<Tensor> {
        let whole = window.size == *self.shape() && window.step.iter().all(|&step| step == 1);
        if whole && updates.shape() == self.shape() && updates.dtype() == self.dtype() {
            return Ok(updates.clone());
        }
        apply(Gather::Overwrite(Box::new(window)), &[self, &fitting("overwrite", updates, self.dtype())?])
    }
}

/// The shapes of a tensor and of indices along `axis`, broadcast outside it.
fn along(op: &str, shape: &Shape, indices: &Shape, axis: usize) -> Result<(Shape, Shape)> {
    if shape.len() != indices.len() {
        return Err(Error::shape(
            op,
            format_args!("shapes {} and {} differ in their number of axes", show(shape), show(indices)),
        ));
    }
    let (mut x, mut index) = (*shape, *indices);
    (x[axis], index[axis]) = (1, 1);
    let common = broadcast_shapes(op, &x, &index)?;
    (x, index) = (common, common);
    (x[axis], index[axis]) = (shape[axis], indices[axis]);
    Ok((x, index))
}

/// Rows of a table `weight` of shape (n, dim) at integer `indices` of any shape: shape `indices.shape + (dim,)`.
///
/// ```
/// use luxon::{Tensor, embedding};
/// let table = Tensor::new(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?;
/// let words = Tensor::new(&[1i64, 0, 1], &[3])?;
/// assert_eq!(embedding(&table, &words)?.to_vec::<f64>()?, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for a table that is not 2-d, [`Error::Index`] for an index outside `0..n`, and those of
/// [`Tensor::take`].
pub fn embedding(weight: &Tensor, indices: &Tensor) -> Result<Tensor> {
    if weight.rank() != 2 {
        return Err(Error::shape(
            "embedding",
            format_args!("the table must have shape (n, dim), got {}", show(weight.shape())),
        ));
    }
    // `take` counts negative positions from the end; a -1 among class numbers is a marker that was forgotten.
    let readable = !indices.value().is_abstract() && indices.value().device().is_none();
    if readable && indices.dtype().kind() == Kind::Int && indices.value().count() > 0 {
        let lowest = indices.min(None, false)?.item()?.as_i64();
        if lowest < 0 {
            let rows = weight.shape()[0];
            return Err(Error::index("embedding", format_args!("index {lowest} is out of bounds for {rows} rows")));
        }
    }
    weight.take(indices, 0)
}
