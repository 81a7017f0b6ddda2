//! Where a tensor's elements lie: shape, signed strides and offset, all counted in elements.
//!
//! Views are new layouts over the same memory and never copy. Every size is computed with checked
//! arithmetic: an overflow is an [`Error`], never a wrap. Shapes and strides are inline arrays
//! (at most [`MAX_RANK`] axes), so that making a tensor needs no allocation for them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

use crate::error::{Error, Result};

/// The largest number of axes.
pub const MAX_RANK: usize = 8;

/// A short inline list, one entry per axis. Entries beyond the length are always the default, so that two
/// lists are compared as a whole.
///
/// ```
/// use luxon::{DType, Tensor};
/// let shape = *Tensor::zeros(&[2, 3], DType::F32)?.shape();
/// assert_eq!(shape[..], [2, 3]);
/// assert_eq!(shape.iter().product::<usize>(), 6);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct PerAxis<T: Copy + Default> {
    length: u8,
    entries: [T; MAX_RANK],
}

/// Sizes, one per axis.
pub type Shape = PerAxis<usize>;
/// Signed element strides, one per axis.
pub type Strides = PerAxis<isize>;
/// Axis numbers.
pub type Axes = PerAxis<usize>;

impl Shape {
    /// The shape of a 0-d tensor.
    pub const EMPTY: Shape = PerAxis { length: 0, entries: [0; MAX_RANK] };
}

impl<T: Copy + Default> PerAxis<T> {
    /// The list of a 0-d tensor.
    #[inline]
    #[doc(hidden)]
    pub fn new() -> Self {
        PerAxis { length: 0, entries: [T::default(); MAX_RANK] }
    }

    /// The list with the given entries, or an error where they are too many.
    ///
    /// ```
    /// use luxon::Shape;
    /// assert_eq!(Shape::from_slice(&[2, 3])?.len(), 2);
    /// assert!(Shape::from_slice(&[1; 9]).is_err()); // Tensors have at most eight axes.
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn from_slice(entries: &[T]) -> Result<Self> {
        if entries.len() > MAX_RANK {
            return Err(rank_error(entries.len()));
        }
        let mut list = Self::new();
        list.entries[..entries.len()].copy_from_slice(entries);
        list.length = entries.len() as u8;
        Ok(list)
    }

    /// `rank` entries of one value.
    #[inline]
    #[doc(hidden)]
    pub fn filled(value: T, rank: usize) -> Result<Self> {
        if rank > MAX_RANK {
            return Err(rank_error(rank));
        }
        let mut list = Self::new();
        list.entries[..rank].fill(value);
        list.length = rank as u8;
        Ok(list)
    }

    /// Appends an entry.
    #[inline]
    #[doc(hidden)]
    pub fn push(&mut self, entry: T) -> Result<()> {
        if self.length as usize == MAX_RANK {
            return Err(rank_error(MAX_RANK + 1));
        }
        self.entries[self.length as usize] = entry;
        self.length += 1;
        Ok(())
    }

    /// Inserts an entry before position `at`.
    #[doc(hidden)]
    pub fn insert(&mut self, at: usize, entry: T) -> Result<()> {
        self.push(entry)?;
        let length = self.len();
        self.entries[at..length].rotate_right(1);
        Ok(())
    }

    /// Removes the entry at position `at`.
    #[doc(hidden)]
    pub fn remove(&mut self, at: usize) {
        let length = self.len();
        self.entries[at..length].rotate_left(1);
        self.entries[length - 1] = T::default();
        self.length -= 1;
    }

    /// Collects entries, or an error where they are too many.
    #[doc(hidden)]
    pub fn collect(entries: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut list = Self::new();
        for entry in entries {
            list.push(entry)?;
        }
        Ok(list)
    }
}

#[cold]
fn rank_error(rank: usize) -> Error {
    Error::Shape(format!("{rank} axes are more than the {MAX_RANK} that a tensor can have"))
}

impl<T: Copy + Default> Default for PerAxis<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy + Default> Deref for PerAxis<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        &self.entries[..self.length as usize]
    }
}

impl<T: Copy + Default> DerefMut for PerAxis<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.entries[..self.length as usize]
    }
}

impl<T: Copy + Default + PartialEq> PartialEq for PerAxis<T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        // Without a branch per entry: this is a few vector comparisons.
        let equal = self.entries.iter().zip(&other.entries).fold(true, |equal, (a, b)| equal & (a == b));
        equal & (self.length == other.length)
    }
}

impl<T: Copy + Default + Eq> Eq for PerAxis<T> {}

impl<T: Copy + Default + Hash> Hash for PerAxis<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: Copy + Default + fmt::Debug> fmt::Debug for PerAxis<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(out)
    }
}

/// Prints a shape as Python prints a tuple.
#[doc(hidden)]
pub fn show(shape: &[usize]) -> String {
    match shape {
        [only] => format!("({only},)"),
        _ => format!("({})", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// The number of elements of `shape`, or an error where it (or its bytes at 8 an element) overflows.
#[inline]
#[doc(hidden)]
pub fn count(shape: &[usize]) -> Result<usize> {
    if shape.contains(&0) {
        return Ok(0);
    }
    let mut total: usize = 1;
    for &size in shape {
        total = match total.checked_mul(size) {
            Some(total) if total <= (isize::MAX as usize) / 8 => total,
            _ => return Err(Error::Overflow(format!("a tensor of shape {} has too many elements", show(shape)))),
        };
    }
    Ok(total)
}

/// The shape that both broadcast to, or an error that shows both.
#[inline]
#[doc(hidden)]
pub fn broadcast_shapes(op: &str, a: &[usize], b: &[usize]) -> Result<Shape> {
    if a == b {
        return Shape::from_slice(a);
    }
    let rank = a.len().max(b.len());
    let mut shape = Shape::filled(1, rank)?;
    for axis in 0..rank {
        let from = |other: &[usize]| (axis + other.len()).checked_sub(rank).map_or(1, |index| other[index]);
        shape[axis] = match (from(a), from(b)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => return Err(Error::shape(op, format_args!("shapes {} and {} do not broadcast", show(a), show(b)))),
        };
    }
    Ok(shape)
}

/// Resolves a possibly negative axis of a tensor with `rank` axes.
#[inline]
#[doc(hidden)]
pub fn resolve_axis(op: &str, axis: isize, rank: usize) -> Result<usize> {
    let resolved = if axis < 0 { axis + rank as isize } else { axis };
    if resolved < 0 || resolved >= rank as isize {
        return Err(Error::index(op, format_args!("axis {axis} is out of range for a tensor with {rank} axes")));
    }
    Ok(resolved as usize)
}

/// Resolves a list of axes, refusing repeats; the result is sorted.
#[doc(hidden)]
pub fn resolve_axes(op: &str, axes: &[isize], rank: usize) -> Result<Axes> {
    let mut resolved = Axes::new();
    for &axis in axes {
        let axis_index = resolve_axis(op, axis, rank)?;
        if resolved.contains(&axis_index) {
            return Err(Error::value(op, format_args!("axis {axis} is given twice")));
        }
        resolved.push(axis_index)?;
    }
    resolved.sort_unstable();
    Ok(resolved)
}

/// Shape, strides and offset of a view of some memory.
///
/// ```
/// use luxon::{DType, Tensor};
/// let x = Tensor::zeros(&[2, 3], DType::F32)?.matrix_transpose()?;
/// let layout = x.value().layout();
/// assert_eq!((&layout.shape[..], &layout.strides[..], layout.offset), (&[3, 2][..], &[1, 3][..], 0));
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Sizes.
    pub shape: Shape,
    /// Element strides; any sign, 0 where broadcast.
    pub strides: Strides,
    /// The element at which index (0, ..., 0) lies.
    pub offset: usize,
}

/// Row-major strides of `shape`.
#[inline]
#[doc(hidden)]
pub fn contiguous_strides(shape: &Shape) -> Strides {
    let mut strides = Strides::new();
    strides.length = shape.length;
    let mut stride: isize = 1;
    for axis in (0..shape.len()).rev() {
        strides.entries[axis] = stride;
        stride = stride.wrapping_mul(shape.entries[axis].max(1) as isize);
    }
    strides
}

impl Layout {
    /// The row-major layout of `shape` at offset 0.
    ///
    /// ```
    /// use luxon::{Layout, Shape};
    /// assert_eq!(Layout::contiguous(Shape::from_slice(&[2, 3])?).strides[..], [3, 1]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn contiguous(shape: Shape) -> Layout {
        Layout { shape, strides: contiguous_strides(&shape), offset: 0 }
    }

    /// The number of axes.
    ///
    /// ```
    /// use luxon::{Layout, Shape};
    /// assert_eq!(Layout::contiguous(Shape::from_slice(&[2, 3])?).rank(), 2);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements (the shape was checked when it was made).
    ///
    /// ```
    /// use luxon::{Layout, Shape};
    /// assert_eq!(Layout::contiguous(Shape::from_slice(&[2, 3])?).count(), 6);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the elements lie row-major without gaps (at any offset).
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let x = Tensor::zeros(&[4, 3], DType::F32)?;
    /// assert!(x.narrow(0, 1, 2)?.value().layout().is_contiguous());
    /// assert!(!x.narrow(1, 1, 2)?.value().layout().is_contiguous());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        let mut expected: isize = 1;
        for axis in (0..self.rank()).rev() {
            let size = self.shape[axis];
            if size != 1 && self.strides[axis] != expected {
                return size == 0 || self.shape.contains(&0);
            }
            expected *= size as isize;
        }
        true
    }

    /// The lowest and highest element that the view touches, relative to the buffer (both inclusive); none where empty.
    #[doc(hidden)]
    pub fn span(&self) -> Option<(usize, usize)> {
        if self.shape.contains(&0) {
            return None;
        }
        let (mut low, mut high) = (self.offset as isize, self.offset as isize);
        for (&size, &stride) in self.shape.iter().zip(self.strides.iter()) {
            let reach = (size as isize - 1) * stride;
            if reach < 0 { low += reach } else { high += reach }
        }
        Some((low as usize, high as usize))
    }

    /// The view with axes in the order `order`, a permutation of 0..rank.
    #[doc(hidden)]
    pub fn permute(&self, order: &[usize]) -> Layout {
        let mut view = *self;
        for (to, &from) in order.iter().enumerate() {
            view.shape[to] = self.shape[from];
            view.strides[to] = self.strides[from];
        }
        view
    }

    /// The view broadcast to `shape`.
    #[doc(hidden)]
    pub fn broadcast(&self, op: &str, shape: &Shape) -> Result<Layout> {
        let refuse =
            || Error::shape(op, format_args!("shape {} does not broadcast to {}", show(&self.shape), show(shape)));
        let lead = shape.len().checked_sub(self.rank()).ok_or_else(refuse)?;
        let mut strides = Strides::filled(0, shape.len())?;
        for axis in 0..self.rank() {
            if self.shape[axis] == shape[lead + axis] {
                strides[lead + axis] = self.strides[axis];
            } else if self.shape[axis] != 1 {
                return Err(refuse());
            }
        }
        Ok(Layout { shape: *shape, strides, offset: self.offset })
    }

    /// The view of every `step`-th element of `axis` from `start`, `size` of them; the caller has checked the range.
    #[doc(hidden)]
    pub fn slice(&self, axis: usize, start: usize, step: isize, size: usize) -> Layout {
        let mut view = *self;
        if size > 0 {
            view.offset = (self.offset as isize + start as isize * self.strides[axis]) as usize;
        }
        view.shape[axis] = size;
        view.strides[axis] = self.strides[axis].wrapping_mul(step);
        view
    }

    /// The view with the same elements in row-major order under another shape of equal count, where strides can express it.
    #[doc(hidden)]
    pub fn reshape(&self, shape: &Shape) -> Option<Layout> {
        if self.shape.contains(&0) || self.is_contiguous() {
            return Some(Layout { shape: *shape, strides: contiguous_strides(shape), offset: self.offset });
        }
        // Axes of size 1 carry no information; the others are merged into runs that lie evenly, and
        // each run must be cut up by whole new axes.
        let mut old = Shape::new();
        let mut old_strides = Strides::new();
        for axis in 0..self.rank() {
            if self.shape[axis] != 1 {
                old.push(self.shape[axis]).ok()?;
                old_strides.push(self.strides[axis]).ok()?;
            }
        }
        let mut strides = Strides::filled(0, shape.len()).ok()?;
        let (mut old_start, mut new_start) = (0, 0);
        while old_start < old.len() {
            let (mut old_end, mut new_end) = (old_start + 1, new_start + 1);
            let mut old_count = old[old_start];
            let mut new_count = *shape.get(new_start)?;
            while old_count != new_count {
                if new_count < old_count {
                    new_count *= *shape.get(new_end)?;
                    new_end += 1;
                } else {
                    old_count *= *old.get(old_end)?;
                    old_end += 1;
                }
            }
            for axis in old_start..old_end - 1 {
                if old_strides[axis] != old[axis + 1] as isize * old_strides[axis + 1] {
                    return None;
                }
            }
            let mut stride = old_strides[old_end - 1];
            for axis in (new_start..new_end).rev() {
                strides[axis] = stride;
                stride *= shape[axis] as isize;
            }
            old_start = old_end;
            new_start = new_end;
        }
        Some(Layout { shape: *shape, strides, offset: self.offset })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn positions(layout: &Layout) -> Vec<isize> {
        let mut out = vec![layout.offset as isize];
        for axis in 0..layout.rank() {
            out = out
                .iter()
                .flat_map(|&base| (0..layout.shape[axis]).map(move |i| (base, i)))
                .map(|(base, i)| base + i as isize * layout.strides[axis])
                .collect();
        }
        out
    }

    proptest! {
        #[test]
        fn reshape_keeps_order(sizes in prop::collection::vec(1usize..4, 0..5), seed in 0usize..1000, split in 1usize..4) {
            let shape = Shape::from_slice(&sizes).unwrap();
            let mut order: Vec<usize> = (0..sizes.len()).collect();
            if !order.is_empty() { let by = seed % order.len(); order.rotate_left(by); }
            let mut view = Layout::contiguous(shape).permute(&order);
            if view.rank() > 0 && view.shape[0] > 1 {
                view = view.slice(0, view.shape[0] - 1, -1, view.shape[0]);
            }
            let total = view.count();
            for target in [vec![total], vec![1, total], vec![total / split.min(total), split.min(total)]] {
                if target.iter().product::<usize>() == total {
                    if let Some(new) = view.reshape(&Shape::from_slice(&target).unwrap()) {
                        prop_assert_eq!(positions(&new), positions(&view));
                    }
                }
            }
            let same = view.reshape(&view.shape).unwrap();
            prop_assert_eq!(positions(&same), positions(&view));
        }
    }

    #[test]
    fn sizes_are_checked() {
        assert!(count(&[usize::MAX, 2]).is_err());
        assert!(count(&[1 << 40, 1 << 30]).is_err());
        assert_eq!(count(&[usize::MAX, 0]).unwrap(), 0);
        assert!(Shape::filled(1, 9).is_err());
        let text = broadcast_shapes("add", &[2, 3], &[4]).unwrap_err().to_string();
        assert_eq!(text, "add: shapes (2, 3) and (4,) do not broadcast");
    }
}
