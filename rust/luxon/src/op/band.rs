//! Bands and diagonals of matrices, in the last two axes of any batch.
//!
//! Three linear operations: keeping a band (its own transpose), reading a diagonal (a view with the sum of
//! two strides), and its transpose, a matrix with that diagonal. Triangles, `eye`, `diag` and `trace`
//! follow, and so do all derivatives.

use smallvec::smallvec;

use crate::cpu::cast::{self, Shared, in_pieces};
use crate::cpu::{copy_into, copy_value};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Layout, Shape, resolve_axes, resolve_axis, show};
use crate::op::{Family, Gradients, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

mod cuda;

/// An operation on the last two axes, rows and columns. Diagonal `d` holds the elements whose column is
/// their row plus `d`.
#[derive(Clone, Debug, PartialEq)]
pub enum Band {
    /// Zeros outside the diagonals `low` to `high`.
    Keep {
        /// The first diagonal that stays.
        low: isize,
        /// The last one.
        high: isize,
    },
    /// The elements of a diagonal.
    Read {
        /// Which.
        offset: isize,
    },
    /// A matrix of zeros with the input as a diagonal.
    Write {
        /// Which.
        offset: isize,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        columns: usize,
    },
}

/// The number of elements of a diagonal.
fn diagonal_length(rows: usize, columns: usize, offset: isize) -> usize {
    let shift = offset.unsigned_abs();
    if offset >= 0 { rows.min(columns.saturating_sub(shift)) } else { columns.min(rows.saturating_sub(shift)) }
}

fn diagonal_layout(layout: &Layout, offset: isize) -> Result<Layout> {
    let rank = layout.rank();
    let (rows, columns) = (layout.shape[rank - 2], layout.shape[rank - 1]);
    let length = diagonal_length(rows, columns, offset);
    let mut view = *layout;
    if length > 0 {
        let along = if offset >= 0 { layout.strides[rank - 1] } else { layout.strides[rank - 2] };
        view.offset = (layout.offset as isize + offset.unsigned_abs() as isize * along) as usize;
    }
    view.shape.remove(rank - 1);
    view.shape[rank - 2] = length;
    view.strides.remove(rank - 1);
    view.strides[rank - 2] = layout.strides[rank - 2].wrapping_add(layout.strides[rank - 1]);
    Ok(view)
}

impl Family for Band {
    fn name(&self) -> &'static str {
        match self {
            Band::Keep { low: isize::MIN, .. } => "tril",
            Band::Keep { .. } => "triu",
            Band::Read { .. } => "diagonal",
            Band::Write { .. } => "diag",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let (dtype, mut shape) = (inputs[0].dtype(), *inputs[0].shape());
        match *self {
            Band::Keep { .. } => {}
            Band::Read { offset } => shape = diagonal_layout(inputs[0].layout(), offset)?.shape,
            Band::Write { rows, columns, .. } => {
                if let Some(last) = shape.last_mut() {
                    *last = rows;
                }
                shape.push(columns)?;
            }
        }
        Ok(smallvec![Spec { dtype, shape }])
    }

    fn view(&self, inputs: &[&Value]) -> Result<Option<Value>> {
        match self {
            Band::Read { offset } => Ok(Some(inputs[0].view(diagonal_layout(inputs[0].layout(), *offset)?))),
            _ => Ok(None),
        }
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let (x, out) = (inputs[0], &mut outputs[0]);
        match *self {
            Band::Keep { low, high } => {
                copy_value(x, out);
                let &[.., rows, columns] = &out.shape()[..] else { return Ok(()) };
                let (size, count) = (out.dtype().size(), out.count());
                if count == 0 {
                    return Ok(());
                }
                let to = Shared::new(out.pointer_mut());
                in_pieces(count / columns, (1 << 14) / columns, count as f64 * 0.1, |range| {
                    for line in range {
                        let row = (line % rows) as isize;
                        let first = row.saturating_add(low).clamp(0, columns as isize) as usize;
                        let end =
                            row.saturating_add(high).saturating_add(1).clamp(first as isize, columns as isize) as usize;
                        // SAFETY: a row of the fresh, contiguous output, which no other task has.
                        unsafe {
                            let start = to.get().add(line * columns * size);
                            start.write_bytes(0, first * size);
                            start.add(end * size).write_bytes(0, (columns - end) * size);
                        }
                    }
                });
            }
            Band::Read { offset } => copy_value(&x.view(diagonal_layout(x.layout(), offset)?), out),
            Band::Write { offset, .. } => {
                // SAFETY: a fresh contiguous value; all bits zero is 0 in every dtype.
                unsafe { cast::fill(out.dtype().size(), [0; 8], out.count(), out.pointer_mut()) };
                let place = diagonal_layout(out.layout(), offset)?;
                copy_into(x, out, place.offset, &place.strides);
            }
        }
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<crate::cuda::Plan>> {
        Some(self.plan(inputs, &outputs[0]))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let transpose = match *self {
            Band::Keep { .. } => self.clone(),
            Band::Write { offset, .. } => Band::Read { offset },
            Band::Read { offset } => {
                let &[.., rows, columns] = &saved.shape(0)[..] else { return Ok(smallvec![None]) };
                Band::Write { offset, rows, columns }
            }
        };
        Ok(smallvec![Some(apply(transpose, &[dy])?)])
    }

    fn jvp(&self, _inputs: &[Tensor], _outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        tangents[0].as_ref().map(|tangent| apply(self.clone(), &[tangent])).transpose()
    }
}

fn matrices(op: &str, x: &Tensor) -> Result<()> {
    match x.rank() {
        0 | 1 => Err(Error::shape(op, format_args!("needs two axes, shape is {}", show(x.shape())))),
        _ => Ok(()),
    }
}

impl Tensor {
    /// The lower triangle of each matrix: zeros above diagonal `k`.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2, 3, 4], &[2, 2])?;
    /// assert_eq!(x.tril(0)?.to_vec::<i32>()?, [1, 0, 3, 4]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for fewer than two axes.
    pub fn tril(&self, k: isize) -> Result<Tensor> {
        matrices("tril", self)?;
        apply(Band::Keep { low: isize::MIN, high: k }, &[self])
    }

    /// The upper triangle of each matrix: zeros below diagonal `k`.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2, 3, 4], &[2, 2])?;
    /// assert_eq!(x.triu(1)?.to_vec::<i32>()?, [0, 2, 0, 0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for fewer than two axes.
    pub fn triu(&self, k: isize) -> Result<Tensor> {
        matrices("triu", self)?;
        apply(Band::Keep { low: k, high: isize::MAX }, &[self])
    }

    /// Diagonal `offset` of the matrices in two axes, as the last axis of a view.
    ///
    /// ```
    /// let x = luxon::Tensor::new(&[1i32, 2, 3, 4], &[2, 2])?;
    /// assert_eq!(x.diagonal(0, -2, -1)?.to_vec::<i32>()?, [1, 4]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Index`] for an axis that is not there, [`Error::Value`] for the same one twice.
    pub fn diagonal(&self, offset: isize, axis1: isize, axis2: isize) -> Result<Tensor> {
        matrices("diagonal", self)?;
        resolve_axes("diagonal", &[axis1, axis2], self.rank())?;
        let rows = resolve_axis("diagonal", axis1, self.rank())?;
        let columns = resolve_axis("diagonal", axis2, self.rank())?;
        let mut order: Vec<isize> =
            (0..self.rank()).filter(|&axis| axis != rows && axis != columns).map(|axis| axis as isize).collect();
        order.extend([rows as isize, columns as isize]);
        apply(Band::Read { offset }, &[&self.permute(&order)?])
    }

    /// The sum of diagonal `offset` of each matrix; of integers in i64.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1, 2, 3, 4], &[2, 2])?.trace(0)?.to_vec::<i64>()?, [5]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for fewer than two axes.
    pub fn trace(&self, offset: isize) -> Result<Tensor> {
        self.diagonal(offset, -2, -1)?.sum(Some(&[-1]), false)
    }

    /// A matrix with a 1-d tensor as diagonal `k`, or diagonal `k` of a matrix.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2], &[2])?.diag(0)?;
    /// assert_eq!(x.to_vec::<i32>()?, [1, 0, 0, 2]);
    /// assert_eq!(x.diag(0)?.to_vec::<i32>()?, [1, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of axes, [`Error::Overflow`] where the matrix is too large.
    pub fn diag(&self, k: isize) -> Result<Tensor> {
        match self.rank() {
            1 => {
                let side = self.count().checked_add(k.unsigned_abs());
                let side = side.ok_or_else(|| Error::Overflow("diag: the matrix is too large".into()))?;
                apply(Band::Write { offset: k, rows: side, columns: side }, &[self])
            }
            2 => self.diagonal(k, 0, 1),
            _ => Err(Error::shape("diag", format_args!("takes a list or a matrix, shape is {}", show(self.shape())))),
        }
    }
}

/// A matrix of `rows` by `columns` with ones on diagonal `k` and zeros elsewhere.
///
/// ```
/// use luxon::{DType, eye};
/// assert_eq!(eye(2, 3, 1, DType::I32)?.to_vec::<i32>()?, [0, 1, 0, 0, 0, 1]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Overflow`] or [`Error::Memory`] where it is too large.
pub fn eye(rows: usize, columns: usize, k: isize, dtype: DType) -> Result<Tensor> {
    crate::layout::count(&[rows, columns])?;
    let one = Tensor::scalar(1i64, dtype);
    let length = Shape::from_slice(&[diagonal_length(rows, columns, k)])?;
    apply(Band::Write { offset: k, rows, columns }, &[&one.broadcast_to(&length)?])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::testing::{check_gradients, sample};
    use proptest::prelude::*;
    use std::slice::from_ref;

    proptest! {
        #[test]
        fn bands_equal_the_naive_ones(a in 0usize..3, b in 0usize..5, c in 0usize..5, k in -6isize..7, turned: bool, dtype in 0usize..8) {
            let numbers: Vec<i64> = (1..=(a * b * c) as i64).collect();
            let x = Tensor::new(&numbers, &[a, b, c]).unwrap().cast(DType::ALL[dtype]).unwrap();
            let x = if turned { x.swap_axes(-1, -2).unwrap() } else { x };
            let (rows, columns) = (x.shape()[1], x.shape()[2]);
            let read = |x: Tensor| x.cast(DType::I64).unwrap().to_vec::<i64>().unwrap();
            let all = read(x.clone());
            let keep = |low: isize, high: isize| -> Vec<i64> {
                (0..all.len())
                    .map(|at| {
                        let d = (at % columns) as isize - (at / columns % rows) as isize;
                        if d >= low && d <= high { all[at] } else { 0 }
                    })
                    .collect()
            };
            prop_assert_eq!(read(x.tril(k).unwrap()), keep(isize::MIN, k));
            prop_assert_eq!(read(x.triu(k).unwrap()), keep(k, isize::MAX));
            let on = |at: usize| (at % columns) as isize - (at / columns % rows) as isize == k;
            let expected: Vec<i64> = (0..all.len()).filter(|&at| on(at)).map(|at| all[at]).collect();
            let diagonal = x.diagonal(k, 1, 2).unwrap();
            prop_assert_eq!(diagonal.shape()[..].to_vec(), vec![a, diagonal_length(rows, columns, k)]);
            prop_assert_eq!(read(diagonal), expected);
            let eye = eye(rows, columns, k, DType::ALL[dtype]).unwrap();
            let expected: Vec<i64> = (0..rows * columns).map(|at| i64::from(on(at))).collect();
            prop_assert_eq!(read(eye), expected);
        }
    }

    #[test]
    fn diagonals_are_views_and_matrices() {
        let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]).unwrap();
        assert_eq!(x.diag(1).unwrap().to_vec::<f32>().unwrap(), [2.0, 6.0]);
        assert_eq!(x.trace(0).unwrap().to_vec::<f32>().unwrap(), [6.0]);
        assert_eq!(x.trace(-9).unwrap().to_vec::<f32>().unwrap(), [0.0]);
        assert_eq!(
            x.diag(1).unwrap().diag(-1).unwrap().to_vec::<f32>().unwrap(),
            [0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 6.0, 0.0]
        );
        assert!(x.diagonal(0, 1, 1).is_err());
        assert!(x.diag(0).unwrap().tril(0).is_err());
        assert_eq!(x.tril(isize::MAX).unwrap().to_vec::<f32>().unwrap()[5], 6.0);
        assert_eq!(x.triu(isize::MAX).unwrap().to_vec::<f32>().unwrap(), [0.0; 6]);
    }

    #[test]
    fn large_ones_are_refused() {
        assert!(matches!(eye(1 << 40, 1 << 40, 0, DType::F32), Err(Error::Overflow(_))));
        assert!(eye(1 << 50, 4, 0, DType::F32).is_err());
        assert!(Tensor::ones(&[2], DType::F32).unwrap().diag(isize::MIN).is_err());
        assert!(Tensor::ones(&[2], DType::F32).unwrap().diag(isize::MAX).is_err());
    }

    #[test]
    fn derivatives() {
        let x = sample(&[2, 3, 4], -1.0, 1.0, 1);
        check_gradients(|x| x[0].tril(-1)?.square(), from_ref(&x));
        check_gradients(|x| x[0].triu(1)?.square(), from_ref(&x));
        check_gradients(|x| x[0].diagonal(-1, 2, 0)?.square(), from_ref(&x));
        check_gradients(|x| x[0].trace(0)?.square(), &[x]);
        check_gradients(|x| x[0].diag(2)?.square(), &[sample(&[3], -1.0, 1.0, 2)]);
    }
}
