//! The same elements under other axes: reshapes, permutations and repetition.

use super::Linear;
use crate::error::{Error, Result};
use crate::layout::{self, Axes, Shape, resolve_axes, resolve_axis, show};
use crate::op::apply;
use crate::tensor::Tensor;

impl Tensor {
    /// The same elements under another shape; one size may be -1 and is worked out.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let x = Tensor::zeros(&[2, 6], DType::F32)?;
    /// assert_eq!(x.reshape(&[3, -1])?.shape()[..], [3, 4]);
    /// assert!(x.reshape(&[5, -1]).is_err());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the counts differ.
    pub fn reshape(&self, shape: &[isize]) -> Result<Tensor> {
        let total = self.count();
        let refuse = || {
            let asked: Vec<String> = shape.iter().map(ToString::to_string).collect();
            Error::shape(
                "reshape",
                format_args!("cannot view shape {} ({total} elements) as ({})", show(self.shape()), asked.join(", ")),
            )
        };
        let mut sizes = Shape::new();
        let mut unknown = None;
        let mut known = 1usize;
        for (axis, &size) in shape.iter().enumerate() {
            if size == -1 && unknown.is_none() {
                unknown = Some(axis);
                sizes.push(0)?;
            } else if size < 0 {
                return Err(refuse());
            } else {
                known = known.checked_mul(size as usize).ok_or_else(refuse)?;
                sizes.push(size as usize)?;
            }
        }
        if let Some(axis) = unknown {
            if known == 0 || !total.is_multiple_of(known) {
                return Err(refuse());
            }
            sizes[axis] = total / known;
        } else if known != total {
            return Err(refuse());
        }
        self.reshape_to(&sizes)
    }

    /// Reshape to sizes that are known to fit.
    #[inline]
    pub(crate) fn reshape_to(&self, shape: &Shape) -> Result<Tensor> {
        if self.shape() == shape {
            return Ok(self.clone());
        }
        apply(Linear::Reshape(*shape), &[self])
    }

    /// The tensor repeated to `shape` by the broadcasting rules, as a view.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2], &[2, 1])?.broadcast_to(&[2, 3])?;
    /// assert_eq!(x.to_vec::<i32>()?, [1, 1, 1, 2, 2, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where it does not broadcast to it.
    #[inline]
    pub fn broadcast_to(&self, shape: &[usize]) -> Result<Tensor> {
        if self.shape()[..] == *shape {
            return Ok(self.clone());
        }
        let shape = Shape::from_slice(shape)?;
        layout::count(&shape)?;
        self.value.layout().broadcast("broadcast_to", &shape)?;
        apply(Linear::Broadcast(shape), &[self])
    }

    /// The tensor with its axes in another order: axis `i` of the result is axis `order[i]`.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[2, 3, 4], DType::F32)?.permute(&[2, 0, 1])?.shape()[..], [4, 2, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where `order` is not a permutation of the axes.
    pub fn permute(&self, order: &[isize]) -> Result<Tensor> {
        let mut axes = Axes::new();
        for &axis in order {
            let axis = resolve_axis("permute_dims", axis, self.rank())?;
            if axes.contains(&axis) {
                return Err(Error::value("permute_dims", format_args!("axis {axis} is given twice")));
            }
            axes.push(axis)?;
        }
        if axes.len() != self.rank() {
            return Err(Error::value(
                "permute_dims",
                format_args!("{} axes given for a tensor with {} axes", axes.len(), self.rank()),
            ));
        }
        if axes.iter().enumerate().all(|(to, &from)| to == from) {
            return Ok(self.clone());
        }
        apply(Linear::Permute(axes), &[self])
    }

    /// The last two axes swapped.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2, 3, 4, 5, 6], &[2, 3])?;
    /// assert_eq!(x.matrix_transpose()?.to_vec::<i32>()?, [1, 4, 2, 5, 3, 6]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for fewer than two axes.
    pub fn matrix_transpose(&self) -> Result<Tensor> {
        if self.rank() < 2 {
            return Err(Error::shape(
                "matrix_transpose",
                format_args!("needs two axes, shape is {}", show(self.shape())),
            ));
        }
        self.swap_axes(-1, -2)
    }

    /// Two axes swapped.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[2, 3, 4], DType::F32)?.swap_axes(0, -1)?.shape()[..], [4, 3, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn swap_axes(&self, a: isize, b: isize) -> Result<Tensor> {
        let (a, b) = (resolve_axis("swapaxes", a, self.rank())?, resolve_axis("swapaxes", b, self.rank())?);
        if a == b {
            return Ok(self.clone());
        }
        let mut order = Axes::collect(0..self.rank())?;
        order.swap(a, b);
        apply(Linear::Permute(order), &[self])
    }

    /// The tensor with a new axis of size 1 before `axis` (counted in the result).
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let x = Tensor::zeros(&[2, 3], DType::F32)?;
    /// assert_eq!(x.expand_dims(1)?.shape()[..], [2, 1, 3]);
    /// assert_eq!(x.expand_dims(-1)?.shape()[..], [2, 3, 1]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn expand_dims(&self, axis: isize) -> Result<Tensor> {
        let axis = resolve_axis("expand_dims", axis, self.rank() + 1)?;
        let mut shape = *self.shape();
        shape.insert(axis, 1)?;
        self.reshape_to(&shape)
    }

    /// The tensor without the given axes, each of size 1.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let x = Tensor::zeros(&[1, 3, 1], DType::F32)?;
    /// assert_eq!(x.squeeze(&[0])?.shape()[..], [3, 1]);
    /// assert!(x.squeeze(&[1]).is_err());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where one of them is longer.
    pub fn squeeze(&self, axes: &[isize]) -> Result<Tensor> {
        let axes = resolve_axes("squeeze", axes, self.rank())?;
        if let Some(&axis) = axes.iter().find(|&&axis| self.shape()[axis] != 1) {
            return Err(Error::shape(
                "squeeze",
                format_args!("axis {axis} of shape {} is not of size 1", show(self.shape())),
            ));
        }
        let kept = (0..self.rank()).filter(|axis| !axes.contains(axis)).map(|axis| self.shape()[axis]);
        self.reshape_to(&Shape::collect(kept)?)
    }
}
