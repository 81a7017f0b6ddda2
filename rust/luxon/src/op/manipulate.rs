//! Rearranging and elementwise conveniences, as definitions in other operations.
//!
//! Nothing here has a kernel or a derivative of its own: views, concatenation and gathers carry both.

use crate::dtype::{DType, Scalar};
use crate::error::{Error, Result};
use crate::layout::{self, Shape, resolve_axes, resolve_axis, show};
use crate::op::elementwise::{Kernel, Operand, map};
use crate::op::index::beside;
use crate::op::linear::concat;
use crate::tensor::Tensor;

/// Where to cut an axis.
///
/// ```
/// use luxon::{Sections, arange};
/// let x = arange(0, 6, 1, None)?;
/// assert_eq!(x.split(Sections::Equal(3), 0)?[1].to_vec::<i64>()?, [2, 3]);
/// assert_eq!(x.split(Sections::At(&[1, -1]), 0)?[1].to_vec::<i64>()?, [1, 2, 3, 4]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Sections<'a> {
    /// Into so many equal parts.
    Equal(usize),
    /// Before these indices, with Python's rules for slices.
    At(&'a [isize]),
}

/// How often elements are repeated.
///
/// ```
/// use luxon::{Repeats, Tensor};
/// let x = Tensor::new(&[1, 2], &[2])?;
/// assert_eq!(x.repeat(Repeats::Each(2), None)?.to_vec::<i32>()?, [1, 1, 2, 2]);
/// assert_eq!(x.repeat(Repeats::List(&Tensor::new(&[3i64, 0], &[2])?), None)?.to_vec::<i32>()?, [1, 1, 1]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Repeats<'a> {
    /// Each so often.
    Each(usize),
    /// Element i of the axis as often as entry i of a list of integers.
    List(&'a Tensor),
}

/// What stands around a tensor that is padded.
///
/// ```
/// use luxon::{Padding, Tensor};
/// let x = Tensor::new(&[1, 2, 3], &[3])?;
/// assert_eq!(x.pad(&[(1, 1)], Padding::Constant(0.into()))?.to_vec::<i32>()?, [0, 1, 2, 3, 0]);
/// assert_eq!(x.pad(&[(1, 1)], Padding::Reflect)?.to_vec::<i32>()?, [2, 1, 2, 3, 2]);
/// assert_eq!(x.pad(&[(1, 1)], Padding::Edge)?.to_vec::<i32>()?, [1, 1, 2, 3, 3]);
/// assert_eq!(x.pad(&[(1, 1)], Padding::Wrap)?.to_vec::<i32>()?, [3, 1, 2, 3, 1]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Padding {
    /// One value.
    Constant(Scalar),
    /// The tensor mirrored at its first and last elements, which are not repeated.
    Reflect,
    /// The nearest element.
    Edge,
    /// The tensor again.
    Wrap,
}

fn too_large(op: &str) -> Error {
    Error::Overflow(format!("{op}: the result is too large"))
}

/// `count` numbers by their position, as an index tensor beside `like`.
fn indices(like: &Tensor, count: usize, number: impl Fn(usize) -> usize) -> Result<Tensor> {
    let mut numbers = Vec::new();
    numbers.try_reserve_exact(count).map_err(|_| Error::Memory(count.saturating_mul(size_of::<i64>())))?;
    numbers.extend((0..count).map(|position| number(position) as i64));
    beside(Tensor::new(&numbers, &[count])?, like)
}

impl Tensor {
    /// The elements in row-major order along one axis.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[2, 3], DType::F32)?.ravel()?.shape()[..], [6]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of a copy, where strides cannot express it.
    pub fn ravel(&self) -> Result<Tensor> {
        self.reshape(&[self.count() as isize])
    }

    /// The tensor with its elements moved by `shifts` places along `axes`, those that leave at one end
    /// coming in at the other; without axes the flattened tensor is moved.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1, 2, 3], &[3])?.roll(&[1], Some(&[0]))?.to_vec::<i32>()?, [3, 1, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where there are not as many shifts as axes, [`Error::Index`] for an axis that is not there.
    pub fn roll(&self, shifts: &[isize], axes: Option<&[isize]>) -> Result<Tensor> {
        let Some(axes) = axes else {
            let total =
                shifts.iter().fold(0isize, |sum, &shift| sum.wrapping_add(shift % self.count().max(1) as isize));
            return self.ravel()?.roll(&[total], Some(&[0]))?.reshape_to(self.shape());
        };
        if shifts.len() != axes.len() {
            return Err(Error::value("roll", format_args!("{} shifts for {} axes", shifts.len(), axes.len())));
        }
        let mut rolled = self.clone();
        for (&shift, &axis) in shifts.iter().zip(axes) {
            let axis = resolve_axis("roll", axis, self.rank())?;
            let size = self.shape()[axis];
            let shift = if size == 0 { 0 } else { shift.rem_euclid(size as isize) as usize };
            if shift > 0 {
                let (tail, head) = (rolled.narrow(axis, size - shift, shift)?, rolled.narrow(axis, 0, size - shift)?);
                rolled = concat(&[&tail, &head], axis as isize)?;
            }
        }
        Ok(rolled)
    }

    /// The elements along `axis` (of the flattened tensor without one) each repeated.
    ///
    /// ```
    /// use luxon::{Repeats, Tensor};
    /// let x = Tensor::new(&[1, 2, 3, 4], &[2, 2])?;
    /// assert_eq!(x.repeat(Repeats::Each(2), Some(1))?.to_vec::<i32>()?, [1, 1, 2, 2, 3, 3, 4, 4]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for negative repeats, [`Error::Shape`] for a list of another length,
    /// [`Error::Type`] for one that does not hold integers, [`Error::Overflow`] for a result that is too large.
    pub fn repeat(&self, repeats: Repeats<'_>, axis: Option<isize>) -> Result<Tensor> {
        let Some(axis) = axis else { return self.ravel()?.repeat(repeats, Some(0)) };
        let axis = resolve_axis("repeat", axis, self.rank())?;
        let size = self.shape()[axis];
        match repeats {
            Repeats::Each(1) => Ok(self.clone()),
            Repeats::Each(count) => self.spread(axis, count, false),
            Repeats::List(list) => {
                if !list.dtype().is_int() {
                    return Err(Error::unsupported("repeat", list.dtype(), "integers"));
                }
                if list.rank() > 1 || (list.count() != 1 && list.count() != size) {
                    let list = show(list.shape());
                    return Err(Error::shape(
                        "repeat",
                        format_args!("repeats of shape {list} for an axis of size {size}"),
                    ));
                }
                let counts = list.detach().to_host()?.cast(DType::I64)?.to_vec::<i64>()?;
                if let Some(count) = counts.iter().find(|count| **count < 0) {
                    return Err(Error::value("repeat", format_args!("{count} repeats are fewer than 0")));
                }
                if let [count] = counts[..] {
                    return self.repeat(Repeats::Each(count as usize), Some(axis as isize));
                }
                let total = counts.iter().try_fold(0usize, |sum, &count| sum.checked_add(count as usize));
                let mut shape = *self.shape();
                shape[axis] = total.ok_or_else(|| too_large("repeat"))?;
                layout::count(&shape)?;
                let mut numbers: Vec<i64> = Vec::new();
                numbers.try_reserve_exact(shape[axis]).map_err(|_| Error::Memory(shape[axis].saturating_mul(8)))?;
                for (position, &count) in counts.iter().enumerate() {
                    numbers.extend(std::iter::repeat_n(position as i64, count as usize));
                }
                self.take(&beside(Tensor::new(&numbers, &[numbers.len()])?, self)?, axis as isize)
            }
        }
    }

    /// An axis `count` times as long: the whole of it again and again, or each element.
    fn spread(&self, axis: usize, count: usize, whole: bool) -> Result<Tensor> {
        let (shape, size) = (self.shape(), self.shape()[axis]);
        let mut result = *shape;
        result[axis] = size.checked_mul(count).ok_or_else(|| too_large(if whole { "tile" } else { "repeat" }))?;
        layout::count(&result)?;
        let before: usize = shape[..axis].iter().product();
        let after: usize = shape[axis + 1..].iter().product();
        let (split, wide) = match whole {
            true => ([before, 1, size, after], [before, count, size, after]),
            false => ([before, size, 1, after], [before, size, count, after]),
        };
        self.reshape_to(&Shape::from_slice(&split)?)?.broadcast_to(&wide)?.reshape_to(&result)
    }

    /// The tensor repeated as a whole `repeats[i]` times along axis i; the shorter of shape and repeats is
    /// filled up with ones in front.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1, 2], &[2])?.tile(&[2, 2])?.to_vec::<i32>()?, [1, 2, 1, 2, 1, 2, 1, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Overflow`] or [`Error::Memory`] for a result that is too large.
    pub fn tile(&self, repeats: &[usize]) -> Result<Tensor> {
        let mut tiled = self.atleast(repeats.len())?;
        let lead = tiled.rank() - repeats.len();
        for (axis, &count) in repeats.iter().enumerate() {
            if count != 1 {
                tiled = tiled.spread(lead + axis, count, true)?;
            }
        }
        Ok(tiled)
    }

    /// The tensor with axes of size 1 in front until it has `rank` axes.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[3], DType::F32)?.atleast(2)?.shape()[..], [1, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for more axes than a tensor can have.
    pub fn atleast(&self, rank: usize) -> Result<Tensor> {
        let mut shape = Shape::filled(1, rank.saturating_sub(self.rank()))?;
        self.shape().iter().try_for_each(|&size| shape.push(size))?;
        self.reshape_to(&shape)
    }

    /// The parts of the tensor along `axis`, as views.
    ///
    /// ```
    /// use luxon::{DType, Sections, Tensor};
    /// let parts = Tensor::zeros(&[6, 2], DType::F32)?.split(Sections::Equal(3), 0)?;
    /// assert!(parts.len() == 3 && parts[0].shape()[..] == [2, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for an axis that equal parts do not divide, [`Error::Index`] for one that is not there.
    pub fn split(&self, sections: Sections<'_>, axis: isize) -> Result<Vec<Tensor>> {
        let axis = resolve_axis("split", axis, self.rank())?;
        let size = self.shape()[axis];
        match sections {
            Sections::Equal(count) => {
                if count == 0 || !size.is_multiple_of(count) {
                    return Err(Error::value(
                        "split",
                        format_args!("{count} equal parts do not divide axis {axis} of size {size}"),
                    ));
                }
                let part = size / count;
                (0..count).map(|number| self.narrow(axis, number * part, part)).collect()
            }
            Sections::At(cuts) => {
                let cut = |cut: isize| if cut < 0 { cut.saturating_add(size as isize).max(0) } else { cut.min(size as isize) } as usize;
                let bounds: Vec<usize> =
                    std::iter::once(0).chain(cuts.iter().map(|&at| cut(at))).chain([size]).collect();
                bounds
                    .windows(2)
                    .map(|ends| self.narrow(axis, ends[0].min(size), ends[1].saturating_sub(ends[0])))
                    .collect()
            }
        }
    }

    /// The entries of an axis, which disappears, as views.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let rows = Tensor::new(&[1, 2, 3, 4], &[2, 2])?.unstack(0)?;
    /// assert_eq!(rows[1].to_vec::<i32>()?, [3, 4]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Index`] for an axis that is not there.
    pub fn unstack(&self, axis: isize) -> Result<Vec<Tensor>> {
        let axis = resolve_axis("unstack", axis, self.rank())?;
        (0..self.shape()[axis]).map(|at| self.narrow(axis, at, 1)?.squeeze(&[axis as isize])).collect()
    }

    /// The tensor with some axes moved to new positions and the others in their order, as a view.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[2, 3, 4], DType::F32)?.moveaxis(&[-1], &[0])?.shape()[..], [4, 2, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for lists of two lengths or an axis given twice, [`Error::Index`] for one that is not there.
    pub fn moveaxis(&self, from: &[isize], to: &[isize]) -> Result<Tensor> {
        if from.len() != to.len() {
            return Err(Error::value("moveaxis", format_args!("{} axes to {} positions", from.len(), to.len())));
        }
        let moved = resolve_axes("moveaxis", from, self.rank())?;
        resolve_axes("moveaxis", to, self.rank())?;
        let mut order: Vec<Option<isize>> = vec![None; self.rank()];
        for (&from, &to) in from.iter().zip(to) {
            order[resolve_axis("moveaxis", to, self.rank())?] =
                Some(resolve_axis("moveaxis", from, self.rank())? as isize);
        }
        let mut others = (0..self.rank()).filter(|axis| !moved.contains(axis));
        let order: Vec<isize> =
            order.iter().filter_map(|axis| axis.or_else(|| others.next().map(|axis| axis as isize))).collect();
        self.permute(&order)
    }

    /// The tensor turned `times` times by 90 degrees in the plane of two axes, from the first towards the second.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2, 3, 4], &[2, 2])?;
    /// assert_eq!(x.rot90(1, (0, 1))?.to_vec::<i32>()?, [2, 4, 1, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for the same axis twice, [`Error::Index`] for one that is not there.
    pub fn rot90(&self, times: isize, axes: (isize, isize)) -> Result<Tensor> {
        resolve_axes("rot90", &[axes.0, axes.1], self.rank())?;
        match times.rem_euclid(4) {
            0 => Ok(self.clone()),
            1 => self.flip(&[axes.1])?.swap_axes(axes.0, axes.1),
            2 => self.flip(&[axes.0, axes.1]),
            _ => self.swap_axes(axes.0, axes.1)?.flip(&[axes.1]),
        }
    }

    /// The tensor with `before` and `after` elements added on each axis; see [`Padding`]. Mirrors and
    /// repetitions go on where one is not enough.
    ///
    /// ```
    /// use luxon::{Padding, Tensor};
    /// let x = Tensor::new(&[1, 2, 3, 4], &[2, 2])?;
    /// assert_eq!(x.pad(&[(0, 1), (0, 0)], Padding::Edge)?.to_vec::<i32>()?, [1, 2, 3, 4, 3, 4]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where there is not one pair per axis, or to continue an axis without elements;
    /// [`Error::Overflow`] for a result that is too large.
    pub fn pad(&self, widths: &[(usize, usize)], padding: Padding) -> Result<Tensor> {
        if let Padding::Constant(value) = padding {
            return self.pad_constant(widths, value);
        }
        if widths.len() != self.rank() {
            return Err(Error::value(
                "pad",
                format_args!("{} pairs given for a tensor with {} axes", widths.len(), self.rank()),
            ));
        }
        let mut shape = *self.shape();
        for (size, &(before, after)) in shape.iter_mut().zip(widths) {
            if *size == 0 && before.max(after) > 0 {
                return Err(Error::value(
                    "pad",
                    format_args!("shape {} has an axis without elements to continue", show(self.shape())),
                ));
            }
            *size =
                size.checked_add(before).and_then(|size| size.checked_add(after)).ok_or_else(|| too_large("pad"))?;
        }
        layout::count(&shape)?;
        let mut padded = self.clone();
        for (axis, &(before, after)) in widths.iter().enumerate() {
            if before + after == 0 {
                continue;
            }
            let size = self.shape()[axis];
            let source = |position: usize| {
                // The distance from the first element, counted modulo the period.
                let around = |period: usize| (position + period - before % period) % period;
                match padding {
                    Padding::Edge | Padding::Constant(_) => position.saturating_sub(before).min(size - 1),
                    Padding::Wrap => around(size),
                    Padding::Reflect => {
                        let period = (2 * size - 2).max(1);
                        let at = around(period);
                        at.min(period - at)
                    }
                }
            };
            padded = padded.take(&indices(self, shape[axis], source)?, axis as isize)?;
        }
        Ok(padded)
    }

    /// The tensor with NaN and the infinities replaced; by default infinities become the largest finite
    /// numbers of the dtype.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[f64::NAN, f64::INFINITY], &[2])?;
    /// assert_eq!(x.nan_to_num(0.0, Some(9.0), None)?.to_vec::<f64>()?, [0.0, 9.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn nan_to_num(&self, nan: f64, positive: Option<f64>, negative: Option<f64>) -> Result<Tensor> {
        let largest = match self.dtype() {
            DType::F64 => f64::MAX,
            DType::F32 => f64::from(f32::MAX),
            DType::F16 => half::f16::MAX.to_f64(),
            DType::BF16 => half::bf16::MAX.to_f64(),
            _ => return Ok(self.clone()),
        };
        let replace = |x: &Tensor, at: &Tensor, value: f64| map(Kernel::Where, &[at.into(), value.into(), x.into()]);
        let x = replace(self, &self.isnan()?, nan)?;
        let x = replace(&x, &self.equal(f64::INFINITY)?, positive.unwrap_or(largest))?;
        replace(&x, &self.equal(f64::NEG_INFINITY)?, negative.unwrap_or(-largest))
    }

    /// The differences of neighbours along `axis`, taken `times` times; of truth values, whether they differ.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1, 4, 9], &[3])?.diff(1, 0)?.to_vec::<i32>()?, [3, 5]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Index`] for an axis that is not there.
    pub fn diff(&self, times: usize, axis: isize) -> Result<Tensor> {
        let axis = resolve_axis("diff", axis, self.rank())?;
        let mut x = self.clone();
        for _ in 0..times {
            let left = x.shape()[axis].saturating_sub(1);
            let (late, early) = (x.narrow(axis, x.shape()[axis].min(1), left)?, x.narrow(axis, 0, left)?);
            x = if x.dtype() == DType::Bool { late.not_equal(&early)? } else { late.sub(&early)? };
            if left == 0 {
                break;
            }
        }
        Ok(x)
    }

    /// The elements limited to `[min, max]`, either of which may be missing; NaN stays, and the gradient
    /// passes inside and at the bounds.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[-2.0, 0.5, 2.0], &[3])?;
    /// assert_eq!(x.clip(Some((-1.0).into()), Some(1.0.into()))?.to_vec::<f64>()?, [-1.0, 0.5, 1.0]);
    /// assert_eq!(x.clip(None, Some(1.0.into()))?.to_vec::<f64>()?, [-2.0, 0.5, 1.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`map`].
    pub fn clip<'a>(&'a self, min: Option<Operand<'a>>, max: Option<Operand<'a>>) -> Result<Tensor> {
        let float = |bound: &Operand<'_>| match bound {
            Operand::Tensor(tensor) => tensor.dtype().is_float(),
            Operand::Scalar(scalar) => matches!(scalar, Scalar::Float(_)),
        };
        match (min, max) {
            (None, None) => Ok(self.clone()),
            (Some(min), Some(max)) => map(Kernel::Clip, &[self.into(), min, max]),
            (Some(min), None) if self.dtype().is_float() || float(&min) => {
                map(Kernel::Clip, &[self.into(), min, f64::INFINITY.into()])
            }
            (None, Some(max)) if self.dtype().is_float() || float(&max) => {
                map(Kernel::Clip, &[self.into(), f64::NEG_INFINITY.into(), max])
            }
            (Some(min), None) => map(Kernel::Maximum, &[self.into(), min]),
            (None, Some(max)) => map(Kernel::Minimum, &[self.into(), max]),
        }
    }

    /// Whether elements are within `atol + rtol * |other|` of those of `other`; infinities are close to
    /// themselves only, NaN to NaN with `equal_nan`.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let (a, b) = (Tensor::new(&[1.0, 2.0], &[2])?, Tensor::new(&[1.001, 2.1], &[2])?);
    /// assert_eq!(a.isclose(&b, 0.01, 0.0, false)?.to_vec::<bool>()?, [true, false]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for shapes that do not broadcast, [`Error::Value`] for negative tolerances.
    pub fn isclose(&self, other: &Tensor, rtol: f64, atol: f64, equal_nan: bool) -> Result<Tensor> {
        if !(rtol >= 0.0 && atol >= 0.0) {
            return Err(Error::value(
                "isclose",
                format_args!("tolerances must not be negative, got rtol {rtol} and atol {atol}"),
            ));
        }
        let joined = self.dtype().promote(other.dtype());
        let wide = if joined.is_float() && !joined.is_half() { joined } else { DType::F64 };
        let (a, b) = (self.detach().cast(wide)?, other.detach().cast(wide)?);
        let near = a.sub(&b)?.abs()?.less_equal(&b.abs()?.mul(rtol)?.add(atol)?)?;
        let near = near.logical_and(&b.isfinite()?)?.logical_or(&a.equal(&b)?)?;
        if equal_nan { near.logical_or(&a.isnan()?.logical_and(&b.isnan()?)?) } else { Ok(near) }
    }

    /// Whether all elements are close; see [`Tensor::isclose`].
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1.0, f64::NAN], &[2])?;
    /// assert!(x.allclose(&x, 0.0, 0.0, true)? && !x.allclose(&x, 0.0, 0.0, false)?);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::isclose`].
    pub fn allclose(&self, other: &Tensor, rtol: f64, atol: f64, equal_nan: bool) -> Result<bool> {
        let all = self.isclose(other, rtol, atol, equal_nan)?.all(None, false)?;
        Ok(all.item()? == Scalar::Bool(true))
    }
}

/// The elements of `x` where the condition holds, else those of `y`.
///
/// ```
/// use luxon::{Tensor, where_};
/// let x = Tensor::new(&[-1.0, 2.0], &[2])?;
/// assert_eq!(where_(&x.greater(0.0)?, &x, 0.0)?.to_vec::<f64>()?, [0.0, 2.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for shapes that do not broadcast.
pub fn where_<'a>(condition: &'a Tensor, x: impl Into<Operand<'a>>, y: impl Into<Operand<'a>>) -> Result<Tensor> {
    map(Kernel::Where, &[condition.into(), x.into(), y.into()])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
