//! Linear algebra by other operations: dot, outer and cross products, powers, norms, ranks.

use crate::cpu::reduce::Reduction;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{resolve_axis, show};
use crate::op::band::eye;
use crate::op::elementwise::{Kernel, map, pow};
use crate::op::linear::{broadcast_tensors, stack};
use crate::op::matmul::matmul;
use crate::tensor::Tensor;

/// The tensor with one axis moved to the end.
fn with_last(tensor: &Tensor, axis: usize) -> Result<Tensor> {
    let mut order: Vec<isize> = (0..tensor.rank() as isize).collect();
    order.remove(axis);
    order.push(axis as isize);
    tensor.permute(&order)
}

/// Both tensors with `axis` last, where they have the same size.
fn paired(op: &str, a: &Tensor, b: &Tensor, axis: isize) -> Result<(Tensor, Tensor)> {
    let (by_a, by_b) = (resolve_axis(op, axis, a.rank())?, resolve_axis(op, axis, b.rank())?);
    if a.shape()[by_a] != b.shape()[by_b] {
        return Err(Error::shape(
            op,
            format_args!(
                "shapes {} and {} do not fit: {} against {} on axis {axis}",
                show(a.shape()),
                show(b.shape()),
                a.shape()[by_a],
                b.shape()[by_b]
            ),
        ));
    }
    Ok((with_last(a, by_a)?, with_last(b, by_b)?))
}

/// The dot products along an axis, broadcast over the others.
///
/// ```
/// use luxon::{Tensor, vecdot};
/// let (a, b) = (Tensor::new(&[1, 2, 3, 4], &[2, 2])?, Tensor::new(&[1, 10], &[2])?);
/// assert_eq!(vecdot(&a, &b, -1)?.to_vec::<i32>()?, [21, 43]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where the axis differs in size or the others do not broadcast, [`Error::Index`] where
/// it is not there.
pub fn vecdot(a: &Tensor, b: &Tensor, axis: isize) -> Result<Tensor> {
    let (a, b) = paired("vecdot", a, b, axis)?;
    if a.rank() == 1 && b.rank() == 1 {
        return matmul(&a, &b);
    }
    let product = a.mul(&b)?;
    product.sum(Some(&[-1]), false)?.cast(product.dtype())
}

/// Every product of an element of one vector and one of another.
///
/// ```
/// use luxon::{Tensor, outer};
/// let (a, b) = (Tensor::new(&[1, 2], &[2])?, Tensor::new(&[3, 4], &[2])?);
/// assert_eq!(outer(&a, &b)?.to_vec::<i32>()?, [3, 4, 6, 8]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for operands that are not vectors.
pub fn outer(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.rank() != 1 || b.rank() != 1 {
        return Err(Error::shape(
            "outer",
            format_args!("expected two vectors, got shapes {} and {}", show(a.shape()), show(b.shape())),
        ));
    }
    a.expand_dims(1)?.mul(&b.expand_dims(0)?)
}

/// The vector product along an axis of size 3, broadcast over the others.
///
/// ```
/// use luxon::{Tensor, cross};
/// let (x, y) = (Tensor::new(&[1, 0, 0], &[3])?, Tensor::new(&[0, 1, 0], &[3])?);
/// assert_eq!(cross(&x, &y, -1)?.to_vec::<i32>()?, [0, 0, 1]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where the axis is not of size 3 or the others do not broadcast.
pub fn cross(a: &Tensor, b: &Tensor, axis: isize) -> Result<Tensor> {
    let (first, second) = paired("cross", a, b, axis)?;
    if first.shape()[first.rank() - 1] != 3 {
        return Err(Error::shape(
            "cross",
            format_args!("axis {axis} must be of size 3, shapes are {} and {}", show(a.shape()), show(b.shape())),
        ));
    }
    let both = broadcast_tensors(&[&first, &second])?;
    let last = both[0].rank() - 1;
    let part = |which: usize, index: usize| both[which].narrow(last, index % 3, 1)?.squeeze(&[-1]);
    let entry = |index: usize| {
        part(0, index + 1)?.mul(&part(1, index + 2)?)?.sub(&part(0, index + 2)?.mul(&part(1, index + 1)?)?)
    };
    let entries = [entry(0)?, entry(1)?, entry(2)?];
    stack(
        &entries.iter().collect::<Vec<_>>(),
        if axis < 0 { axis } else { resolve_axis("cross", axis, both[0].rank())? as isize },
    )
}

/// The root of a sum of squares, with slope 0 where it is 0.
fn euclidean(x: &Tensor, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    let squares = x.reduce(Reduction::SumSquares, axes, keepdims)?;
    let nothing = squares.detach().equal(0.0)?;
    let safe = map(Kernel::Where, &[(&nothing).into(), 1.0.into(), (&squares).into()])?;
    map(Kernel::Where, &[(&nothing).into(), 0.0.into(), (&safe.sqrt()?).into()])
}

/// The `order`-norm of the elements along `axes` (none for all): `sum(|x|^p)^(1/p)`, the largest or smallest
/// magnitude for an infinite order, the count of nonzero elements for 0.
///
/// ```
/// use luxon::{Tensor, vector_norm};
/// let x = Tensor::new(&[3.0, -4.0], &[2])?;
/// assert_eq!(vector_norm(&x, None, false, 2.0)?.to_vec::<f64>()?, [5.0]);
/// assert_eq!(vector_norm(&x, None, false, f64::INFINITY)?.to_vec::<f64>()?, [4.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Index`] for an axis that is not there, [`Error::Value`] for one given twice, for NaN as order,
/// or for an extremum of no elements.
pub fn vector_norm(x: &Tensor, axes: Option<&[isize]>, keepdims: bool, order: f64) -> Result<Tensor> {
    let x = x.cast(x.dtype().to_float())?;
    if order.is_nan() {
        return Err(Error::value("vector_norm", "the order must be a number, got nan"));
    }
    if order == 2.0 {
        return euclidean(&x, axes, keepdims);
    }
    let magnitude = x.abs()?;
    let fixed = |where_: &Tensor, value: f64, x: &Tensor| map(Kernel::Where, &[where_.into(), value.into(), x.into()]);
    if order == f64::INFINITY {
        magnitude.max(axes, keepdims)
    } else if order == f64::NEG_INFINITY {
        magnitude.min(axes, keepdims)
    } else if order == 1.0 {
        magnitude.sum(axes, keepdims)
    } else if order == 0.0 {
        x.not_equal(0.0)?.cast(x.dtype())?.sum(axes, keepdims)
    } else {
        // The powers of 0 are constants: their slopes would be infinite, or 0 times infinity.
        let zero = magnitude.detach().equal(0.0)?;
        let power = if order > 0.0 { 0.0 } else { f64::INFINITY };
        let powers = fixed(&zero, power, &pow(&fixed(&zero, 1.0, &magnitude)?, order)?)?;
        let total = powers.sum(axes, keepdims)?;
        let nothing = total.detach().equal(power)?;
        fixed(&nothing, 0.0, &pow(&fixed(&nothing, 1.0, &total)?, 1.0 / order)?)
    }
}

/// Which norm of a matrix.
///
/// ```
/// use luxon::{MatrixNorm, Tensor, matrix_norm};
/// let x = Tensor::new(&[1.0, -2.0, 3.0, 4.0], &[2, 2])?;
/// assert_eq!(matrix_norm(&x, MatrixNorm::LargestRow, false)?.to_vec::<f64>()?, [7.0]);
/// assert_eq!(matrix_norm(&x, MatrixNorm::LargestColumn, false)?.to_vec::<f64>()?, [6.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MatrixNorm {
    /// The root of the sum of squares.
    #[default]
    Frobenius,
    /// The largest sum of magnitudes of a column (order 1).
    LargestColumn,
    /// The smallest sum of magnitudes of a column (order -1).
    SmallestColumn,
    /// The largest sum of magnitudes of a row (order infinity).
    LargestRow,
    /// The smallest sum of magnitudes of a row (order minus infinity).
    SmallestRow,
    /// The largest singular value (order 2).
    LargestSingular,
    /// The smallest singular value (order -2).
    SmallestSingular,
    /// The sum of the singular values.
    Nuclear,
}

/// The norm of the matrices in the last two axes.
///
/// ```
/// use luxon::{MatrixNorm, Tensor, matrix_norm};
/// let x = Tensor::new(&[3.0, 0.0, 0.0, 4.0], &[2, 2])?;
/// assert_eq!(matrix_norm(&x, MatrixNorm::Frobenius, false)?.to_vec::<f64>()?, [5.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for fewer than two axes, [`Error::Value`] for an extremum of no elements.
pub fn matrix_norm(x: &Tensor, norm: MatrixNorm, keepdims: bool) -> Result<Tensor> {
    if x.rank() < 2 {
        return Err(Error::shape("matrix_norm", format_args!("needs two axes, shape is {}", show(x.shape()))));
    }
    let x = x.cast(x.dtype().to_float())?;
    let axes: &[isize] = &[-2, -1];
    if let MatrixNorm::LargestSingular | MatrixNorm::SmallestSingular | MatrixNorm::Nuclear = norm {
        let values = x.singular_values()?;
        let values = if keepdims { values.expand_dims(-1)? } else { values };
        let axes: &[isize] = if keepdims { axes } else { &[-1] };
        return match norm {
            MatrixNorm::LargestSingular => values.max(Some(axes), keepdims),
            MatrixNorm::SmallestSingular => values.min(Some(axes), keepdims),
            _ => values.sum(Some(axes), keepdims),
        };
    }
    let (summed, largest) = match norm {
        MatrixNorm::Frobenius => return euclidean(&x, Some(axes), keepdims),
        MatrixNorm::LargestColumn => (-2, true),
        MatrixNorm::SmallestColumn => (-2, false),
        MatrixNorm::LargestRow => (-1, true),
        _ => (-1, false),
    };
    let sums = x.abs()?.sum(Some(&[summed]), true)?;
    if largest { sums.max(Some(axes), keepdims) } else { sums.min(Some(axes), keepdims) }
}

/// The `n`-th power of the square matrices in the last two axes; the identity for 0.
///
/// ```
/// # use luxon::Tensor;
/// let step = Tensor::new(&[1.0, 1.0, 0.0, 1.0], &[2, 2])?;
/// assert_eq!(luxon::matrix_power(&step, 5)?.to_vec::<f64>()?, [1.0, 5.0, 0.0, 1.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where the last two axes are not there or differ.
pub fn matrix_power(x: &Tensor, n: u64) -> Result<Tensor> {
    let shape = x.shape();
    let [.., rows, columns] = shape[..] else {
        return Err(Error::shape("matrix_power", format_args!("needs two axes, shape is {}", show(shape))));
    };
    if rows != columns {
        return Err(Error::shape("matrix_power", format_args!("the matrices of shape {} are not square", show(shape))));
    }
    if n == 0 {
        let one = eye(rows, rows, 0, x.dtype())?;
        return x.device().map_or(Ok(one.clone()), |device| one.to_device(device))?.broadcast_to(shape);
    }
    // The squares of x, of which those are multiplied whose bits n has.
    let (mut square, mut left, mut power) = (x.clone(), n, None);
    loop {
        if left & 1 == 1 {
            power = Some(match power {
                None => square.clone(),
                Some(power) => matmul(&power, &square)?,
            });
        }
        left >>= 1;
        if left == 0 {
            return Ok(power.unwrap_or(square));
        }
        square = matmul(&square, &square)?;
    }
}

/// How many singular values of the matrices in the last two axes exceed `tolerance` times their largest; by default
/// the dtype's epsilon times the larger size.
///
/// ```
/// # use luxon::Tensor;
/// let x = Tensor::new(&[1.0, 2.0, 2.0, 4.0], &[2, 2])?;
/// assert_eq!(luxon::matrix_rank(&x, None)?.to_vec::<i64>()?, [1]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for fewer than two axes, or a tolerance that does not broadcast against the stack of matrices.
pub fn matrix_rank(x: &Tensor, tolerance: Option<&Tensor>) -> Result<Tensor> {
    if x.rank() < 2 {
        return Err(Error::shape("matrix_rank", format_args!("needs two axes, shape is {}", show(x.shape()))));
    }
    let values = x.detach().singular_values()?;
    if values.shape()[values.rank() - 1] == 0 {
        return values.not_equal(0.0)?.cast(DType::I64)?.sum(Some(&[-1]), false);
    }
    let largest = values.max(Some(&[-1]), true)?;
    let least = match tolerance {
        Some(tolerance) => largest.mul(&tolerance.detach().expand_dims(-1)?)?,
        None => {
            let size = x.shape()[x.rank() - 2..].iter().copied().max().unwrap_or(0);
            let epsilon = match values.dtype() {
                DType::F64 => f64::EPSILON,
                DType::F16 => 2f64.powi(-10),
                DType::BF16 => 2f64.powi(-7),
                _ => f64::from(f32::EPSILON),
            };
            largest.mul(epsilon * size as f64)?
        }
    };
    values.greater(&least)?.cast(DType::I64)?.sum(Some(&[-1]), false)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::testing::{check_gradients, sample};

    fn tensor(elements: &[f64], shape: &[usize]) -> Tensor {
        Tensor::new(elements, shape).unwrap()
    }

    #[test]
    fn products_of_vectors() {
        let (a, b) = (tensor(&[1.0, 2.0, 3.0], &[3]), tensor(&[4.0, 5.0, 6.0], &[3]));
        assert_eq!(vecdot(&a, &b, -1).unwrap().to_vec::<f64>().unwrap(), [32.0]);
        assert_eq!(cross(&a, &b, -1).unwrap().to_vec::<f64>().unwrap(), [-3.0, 6.0, -3.0]);
        assert_eq!(outer(&a, &b).unwrap().to_vec::<f64>().unwrap(), [4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 12.0, 15.0, 18.0]);
        let columns = tensor(&[1.0, 0.0, 0.0, 1.0, 0.0, 0.0], &[3, 2]);
        let turned = cross(&columns, &a.expand_dims(1).unwrap(), 0).unwrap();
        assert_eq!(turned.shape()[..], [3, 2]);
        assert_eq!(turned.to_vec::<f64>().unwrap(), [0.0, 3.0, -3.0, 0.0, 2.0, -1.0]);
        let pair = [sample(&[2, 3], -1.0, 1.0, 1), sample(&[3], -1.0, 1.0, 2)];
        check_gradients(|x| vecdot(&x[0], &x[1], -1), &pair);
        check_gradients(|x| cross(&x[0], &x[1], -1), &pair);
        let whole = Tensor::new(&[1i32, 2, 3, 4], &[2, 2]).unwrap();
        assert_eq!(vecdot(&whole, &whole, -1).unwrap().to_vec::<i32>().unwrap(), [5, 25]);
        assert_eq!(
            vecdot(&a, &pair[0].matrix_transpose().unwrap(), -1).unwrap_err().to_string(),
            "vecdot: shapes (3,) and (3, 2) do not fit: 3 against 2 on axis -1"
        );
        assert!(cross(&whole, &whole, -1).is_err());
        assert!(outer(&whole, &a).is_err());
    }

    #[test]
    fn powers_and_ranks() {
        let x = tensor(&[1.0, 1.0, 1.0, 0.0], &[2, 2]);
        let power = |n: u64| matrix_power(&x, n).unwrap().to_vec::<f64>().unwrap();
        assert_eq!(power(0), [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(power(1), [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(power(10), [89.0, 55.0, 55.0, 34.0]);
        check_gradients(|x| matrix_power(&x[0], 5), &[sample(&[2, 3, 3], -0.5, 0.5, 1)]);
        assert!(matrix_power(&sample(&[2, 3], 0.0, 1.0, 1), 2).is_err());
        assert!(matrix_power(&sample(&[2], 0.0, 1.0, 1), 2).is_err());
        let stack = tensor(&[1.0, 2.0, 2.0, 4.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1e-3], &[3, 2, 2]);
        let rank = |tolerance: Option<&Tensor>| matrix_rank(&stack, tolerance).unwrap().to_vec::<i64>().unwrap();
        assert_eq!(rank(None), [1, 0, 2]);
        assert_eq!(rank(Some(&tensor(&[0.1], &[]))), [1, 0, 1]);
        assert_eq!(rank(Some(&tensor(&[0.1, 0.1, 1e-4], &[3]))), [1, 0, 2]);
        assert_eq!(matrix_rank(&tensor(&[], &[2, 0, 3]), None).unwrap().to_vec::<i64>().unwrap(), [0, 0]);
        assert!(matrix_rank(&tensor(&[1.0], &[1]), None).is_err());
    }

    #[test]
    fn norms() {
        let x = tensor(&[3.0, -4.0, 0.0, 0.0], &[2, 2]);
        let rows = |order: f64| vector_norm(&x, Some(&[1]), false, order).unwrap().to_vec::<f64>().unwrap();
        assert_eq!(rows(2.0), [5.0, 0.0]);
        assert_eq!(rows(1.0), [7.0, 0.0]);
        assert_eq!(rows(0.0), [2.0, 0.0]);
        assert_eq!(rows(f64::INFINITY), [4.0, 0.0]);
        assert_eq!(rows(f64::NEG_INFINITY), [3.0, 0.0]);
        assert!((rows(3.0)[0] - 91.0f64.cbrt()).abs() < 1e-12);
        let slope =
            crate::grad(|x| vector_norm(&x[0], Some(&[1]), false, 2.0)?.sum(None, false), &[x.clone()]).unwrap();
        for (x, y) in slope[0].to_vec::<f64>().unwrap().iter().zip([0.6, -0.8, 0.0, 0.0]) {
            assert!((x - y).abs() < 1e-15);
        }
        let matrix = |norm| matrix_norm(&x, norm, true).unwrap().to_vec::<f64>().unwrap()[0];
        assert_eq!(matrix(MatrixNorm::Frobenius), 5.0);
        assert_eq!(matrix(MatrixNorm::LargestColumn), 4.0);
        assert_eq!(matrix(MatrixNorm::SmallestColumn), 3.0);
        assert_eq!(matrix(MatrixNorm::LargestRow), 7.0);
        assert_eq!(matrix(MatrixNorm::SmallestRow), 0.0);
        assert_eq!(matrix(MatrixNorm::LargestSingular), 5.0);
        assert_eq!(matrix(MatrixNorm::SmallestSingular), 0.0);
        assert_eq!(matrix(MatrixNorm::Nuclear), 5.0);
        let slope = crate::grad(|x| vector_norm(&x[0], Some(&[1]), false, 0.5)?.sum(None, false), &[x.clone()]);
        assert!(slope.unwrap()[0].to_vec::<f64>().unwrap().iter().all(|slope| slope.is_finite()));
        check_gradients(|x| vector_norm(&x[0], None, false, 3.0), &[sample(&[2, 2], 0.5, 1.0, 1)]);
        check_gradients(|x| matrix_norm(&x[0], MatrixNorm::LargestRow, false), &[sample(&[2, 2, 2], 0.5, 1.0, 1)]);
        assert_eq!(
            vector_norm(&Tensor::ones(&[4], DType::I64).unwrap(), None, false, 2.0).unwrap().dtype(),
            DType::F32
        );
        assert!(vector_norm(&x, None, false, f64::NAN).is_err());
    }
}
