//! Some of the elements, or more around them: windows, slices and padding.

use super::{Linear, Window};
use crate::dtype::Scalar;
use crate::error::{Error, Result};
use crate::layout::{self, Axes, Strides, resolve_axes};
use crate::op::apply;
use crate::tensor::Tensor;

impl Tensor {
    /// The elements of a window, as a view; the window lies within the tensor.
    #[doc(hidden)]
    pub fn window(&self, window: Window) -> Result<Tensor> {
        for axis in 0..self.rank() {
            let (size, limit) = (window.size[axis], self.shape()[axis] as isize);
            let first = window.start[axis] as isize;
            let last = first + (size as isize - 1) * window.step[axis];
            if size > 0 && (first >= limit || last < 0 || last >= limit) {
                return Err(Error::index(
                    "slice",
                    format_args!("indices {first} to {last} leave axis {axis} of size {limit}"),
                ));
            }
        }
        if window.size == *self.shape() && window.step.iter().all(|&step| step == 1) {
            return Ok(self.clone());
        }
        apply(Linear::Slice(Box::new(window)), &[self])
    }

    /// The whole tensor as a window, to be narrowed axis by axis.
    #[doc(hidden)]
    pub fn full_window(&self) -> Result<Window> {
        Ok(Window { start: Axes::filled(0, self.rank())?, step: Strides::filled(1, self.rank())?, size: *self.shape() })
    }

    /// `size` elements of an axis from `start`, as a view.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2, 3, 4], &[4])?;
    /// assert_eq!(x.narrow(0, 1, 2)?.to_vec::<i32>()?, [2, 3]);
    /// assert!(x.narrow(0, 3, 2).is_err() && x.narrow(1, 0, 1).is_err());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Index`] where they leave the axis.
    pub fn narrow(&self, axis: usize, start: usize, size: usize) -> Result<Tensor> {
        let limit = *self.shape().get(axis).ok_or_else(|| {
            Error::index("narrow", format_args!("axis {axis} is out of range for a tensor with {} axes", self.rank()))
        })?;
        if start.checked_add(size).is_none_or(|end| end > limit) {
            return Err(Error::index(
                "narrow",
                format_args!("{size} elements from {start} leave axis {axis} of size {limit}"),
            ));
        }
        let mut window = self.full_window()?;
        window.start[axis] = start;
        window.size[axis] = size;
        self.window(window)
    }

    /// The elements along the given axes in reverse, as a view.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1, 2, 3], &[3])?.flip(&[0])?.to_vec::<i32>()?, [3, 2, 1]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn flip(&self, axes: &[isize]) -> Result<Tensor> {
        let mut window = self.full_window()?;
        for &axis in resolve_axes("flip", axes, self.rank())?.iter() {
            window.start[axis] = self.shape()[axis].saturating_sub(1);
            window.step[axis] = -1;
        }
        self.window(window)
    }

    /// The tensor with `before` and `after` copies of `value` added on each axis.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2], &[2])?;
    /// assert_eq!(x.pad_constant(&[(1, 2)], 9)?.to_vec::<i32>()?, [9, 1, 2, 9, 9]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where there is not one pair per axis, [`Error::Overflow`] where sizes overflow.
    pub fn pad_constant(&self, widths: &[(usize, usize)], value: impl Into<Scalar>) -> Result<Tensor> {
        if widths.len() != self.rank() {
            return Err(Error::value(
                "pad",
                format_args!("{} pairs given for a tensor with {} axes", widths.len(), self.rank()),
            ));
        }
        let mut window = self.full_window()?;
        let mut shape = *self.shape();
        for (axis, &(before, after)) in widths.iter().enumerate() {
            window.start[axis] = before;
            shape[axis] = shape[axis]
                .checked_add(before)
                .and_then(|size| size.checked_add(after))
                .ok_or_else(|| Error::Overflow("pad: the padded size overflows".into()))?;
        }
        layout::count(&shape)?;
        if shape == *self.shape() {
            return Ok(self.clone());
        }
        let fill = value.into();
        fill.check_fits(self.dtype())?;
        apply(Linear::Embed { shape, window: Box::new(window), fill }, &[self])
    }
}
