//! Tensors from rules: ranges, grids, one-hot codes.
//!
//! Sizes and values are checked before memory is asked for: a range that is too long, or an integer that
//! its dtype cannot hold, is an error and never a wrap. Elements of floating ranges are computed from their
//! index (`start + i * step`, in f64), so errors do not accumulate.

use crate::dtype::{DType, Kind, Scalar, with_element};
use crate::error::{Error, Result};
use crate::layout::{self, Shape, show};
use crate::op::index::beside;
use crate::tensor::{Tensor, Value};

/// A stored number made from a double or a 64-bit integer.
trait Made: Copy {
    fn from_real(value: f64) -> Self;
    fn from_integer(value: i64) -> Self;
}

macro_rules! made {
    ($($T:ty: |$real:ident| $from_real:expr, |$integer:ident| $from_integer:expr;)*) => { $(impl Made for $T {
        #[inline(always)]
        fn from_real($real: f64) -> Self { $from_real }
        #[inline(always)]
        fn from_integer($integer: i64) -> Self { $from_integer }
    })* };
}
made! {
    u8: |x| x as u8, |x| x as u8;
    i32: |x| x as i32, |x| x as i32;
    i64: |x| x as i64, |x| x;
    half::bf16: |x| Self::from_f64(x), |x| Self::from_f64(x as f64);
    half::f16: |x| Self::from_f64(x), |x| Self::from_f64(x as f64);
    f32: |x| x as f32, |x| x as f32;
    f64: |x| x, |x| x as f64;
}

/// A 1-d tensor whose element `i` is `element(i)`.
fn generate<T: Made>(value: &mut Value, count: usize, element: impl Fn(usize) -> T) {
    let pointer = value.pointer_mut().cast::<T>();
    for index in 0..count {
        // SAFETY: a fresh contiguous value of this many elements of `T`.
        unsafe { pointer.add(index).write(element(index)) };
    }
}

fn empty_list(op: &str, count: f64, dtype: DType) -> Result<(Value, usize)> {
    // Beyond 2^60 elements even bytes cannot be addressed; the comparison also catches NaN.
    if !(0.0..1.15e18).contains(&count) {
        return Err(Error::Overflow(format!("{op}: {count} elements are too many")));
    }
    let shape = Shape::from_slice(&[count as usize])?;
    Ok((Value::empty(dtype, &shape)?, count as usize))
}

/// The numbers from `start` in steps of `step` up to, but not including, `stop`. Without a dtype: i64 where
/// all three are integers, else the default float.
///
/// ```
/// let x = luxon::arange(2, 8, 3, None)?;
/// assert_eq!(x.to_vec::<i64>()?, [2, 5]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for a step of 0 or bounds that are not finite, [`Error::Overflow`] for too many
/// elements or integers that the dtype cannot hold, [`Error::Type`] for bool.
pub fn arange(
    start: impl Into<Scalar>,
    stop: impl Into<Scalar>,
    step: impl Into<Scalar>,
    dtype: Option<DType>,
) -> Result<Tensor> {
    let (start, stop, step) = (start.into(), stop.into(), step.into());
    let integral = [start, stop, step].iter().all(|scalar| !matches!(scalar, Scalar::Float(_)));
    let dtype = dtype.unwrap_or(if integral { DType::DEFAULT_INT } else { DType::DEFAULT_FLOAT });
    if dtype == DType::Bool {
        return Err(Error::unsupported("arange", dtype, "numbers"));
    }
    if integral {
        let (first, end, step) = (start.as_i64(), stop.as_i64(), step.as_i64());
        if step == 0 {
            return Err(Error::value("arange", "the step is 0"));
        }
        let reach = if step > 0 { i128::from(end) - i128::from(first) } else { i128::from(first) - i128::from(end) };
        let length = if reach > 0 { (reach - 1) / i128::from(step.unsigned_abs()) + 1 } else { 0 };
        let (mut value, count) = empty_list("arange", length as f64, dtype)?;
        if count > 0 {
            let last = first.wrapping_add((count as i64 - 1).wrapping_mul(step));
            Scalar::Int(first).check_fits(dtype)?;
            Scalar::Int(last).check_fits(dtype)?;
        }
        // Every element fits in i64, so what a wrapped product leaves out comes back in the wrapped sum.
        let element = |index: usize| first.wrapping_add((index as i64).wrapping_mul(step));
        with_element!(dtype, T => generate::<T>(&mut value, count, |index| T::from_integer(element(index))));
        return Ok(value.into());
    }
    let (first, end, step) = (start.as_f64(), stop.as_f64(), step.as_f64());
    if step == 0.0 {
        return Err(Error::value("arange", "the step is 0"));
    }
    if !(first.is_finite() && end.is_finite() && step.is_finite()) {
        return Err(Error::value("arange", format_args!("{first}, {end} and {step} are not all finite")));
    }
    let (mut value, count) = empty_list("arange", ((end - first) / step).ceil().max(0.0), dtype)?;
    if count > 0 {
        let last = first + (count - 1) as f64 * step;
        check_real(first, dtype)?;
        check_real(last, dtype)?;
    }
    with_element!(dtype, T => generate::<T>(&mut value, count, |index| T::from_real(first + index as f64 * step)));
    Ok(value.into())
}

/// Refuses a real number whose integer part `dtype` cannot hold.
fn check_real(value: f64, dtype: DType) -> Result<()> {
    match dtype.kind() {
        Kind::Float => Ok(()),
        _ if value.abs() < 9.2e18 => Scalar::Int(value as i64).check_fits(dtype),
        _ => Err(Error::Overflow(format!("arange: {value} is out of bounds for {dtype}"))),
    }
}

/// `count` evenly spaced numbers from `start` to `stop`, which is the last of them with `endpoint` and the
/// one after the last without.
///
/// ```
/// use luxon::{DType, linspace};
/// assert_eq!(linspace(0.0, 1.0, 5, true, DType::F64)?.to_vec::<f64>()?, [0.0, 0.25, 0.5, 0.75, 1.0]);
/// assert_eq!(linspace(0.0, 1.0, 4, false, DType::F64)?.to_vec::<f64>()?, [0.0, 0.25, 0.5, 0.75]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Type`] for a dtype that is not floating, [`Error::Overflow`] or [`Error::Memory`] for too many.
pub fn linspace(start: f64, stop: f64, count: usize, endpoint: bool, dtype: DType) -> Result<Tensor> {
    if !dtype.is_float() {
        return Err(Error::unsupported("linspace", dtype, "floating types"));
    }
    let gaps = if endpoint { count.saturating_sub(1) } else { count };
    let (mut value, count) = empty_list("linspace", count as f64, dtype)?;
    let step = (stop - start) / gaps.max(1) as f64;
    let place = |index: usize| match index {
        0 => start,
        _ if index == gaps => stop,
        // Bounds whose difference overflows still have finite numbers between them.
        _ if step.is_infinite() && start.is_finite() && stop.is_finite() => {
            let part = index as f64 / gaps as f64;
            start * (1.0 - part) + stop * part
        }
        _ => start + index as f64 * step,
    };
    with_element!(dtype, T => generate::<T>(&mut value, count, |index| T::from_real(place(index))));
    Ok(value.into())
}

/// How [`meshgrid`] orders its axes.
///
/// ```
/// use luxon::{Indexing, arange, meshgrid};
/// let (x, y) = (arange(0, 2, 1, None)?, arange(0, 3, 1, None)?);
/// assert_eq!(meshgrid(&[&x, &y], Indexing::Xy)?[0].shape()[..], [3, 2]);
/// assert_eq!(meshgrid(&[&x, &y], Indexing::Ij)?[0].shape()[..], [2, 3]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Indexing {
    /// The first list varies along the second axis: columns by rows, as in a plot.
    Xy,
    /// List i varies along axis i.
    Ij,
}

/// The coordinates of the grid that lists span: one view of the grid's shape for each.
///
/// ```
/// use luxon::{Indexing, arange, meshgrid};
/// let grid = meshgrid(&[&arange(0, 2, 1, None)?, &arange(0, 2, 1, None)?], Indexing::Ij)?;
/// assert_eq!(grid[0].to_vec::<i64>()?, [0, 0, 1, 1]);
/// assert_eq!(grid[1].to_vec::<i64>()?, [0, 1, 0, 1]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for lists that are not 1-d (or 0-d), or more of them than a tensor has axes.
pub fn meshgrid(lists: &[&Tensor], indexing: Indexing) -> Result<Vec<Tensor>> {
    if let Some(list) = lists.iter().find(|list| list.rank() > 1) {
        return Err(Error::shape("meshgrid", format_args!("takes 1-d lists, got shape {}", show(list.shape()))));
    }
    let swap = |axis: usize| match (indexing, axis) {
        (Indexing::Xy, 0) if lists.len() > 1 => 1,
        (Indexing::Xy, 1) => 0,
        _ => axis,
    };
    let mut grid = Shape::filled(1, lists.len())?;
    for (number, list) in lists.iter().enumerate() {
        grid[swap(number)] = list.count();
    }
    let views = lists.iter().enumerate().map(|(number, list)| {
        let mut shape = Shape::filled(1, lists.len())?;
        shape[swap(number)] = list.count();
        list.reshape_to(&shape)?.broadcast_to(&grid)
    });
    views.collect()
}

/// For each integer a new last axis of size `n` with 1 at its place and 0 elsewhere.
///
/// ```
/// use luxon::{DType, Tensor, one_hot};
/// let classes = Tensor::new(&[2i64, 0], &[2])?;
/// assert_eq!(one_hot(&classes, 3, DType::F32)?.to_vec::<f32>()?, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Type`] for a tensor that does not hold integers, [`Error::Index`] for one below 0 or not below `n`.
pub fn one_hot(indices: &Tensor, n: usize, dtype: DType) -> Result<Tensor> {
    if !indices.dtype().is_int() {
        return Err(Error::unsupported("one_hot", indices.dtype(), "integers"));
    }
    let mut shape = *indices.shape();
    shape.push(n)?;
    layout::count(&shape)?;
    let indices = indices.cast(DType::I64)?;
    // A device is not waited for: there a class that is none has a row of zeros.
    if indices.count() > 0 && indices.value().is_host() {
        for extreme in [indices.min(None, false)?, indices.max(None, false)?] {
            let index = extreme.item()?.as_i64();
            if index < 0 || index >= n as i64 {
                return Err(Error::index("one_hot", format_args!("{index} is not one of {n} classes")));
            }
        }
    }
    let classes = beside(arange(0i64, n, 1i64, None)?, &indices)?;
    indices.expand_dims(-1)?.equal(&classes)?.cast(dtype)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integer_ranges_equal_the_naive_ones(start in -20i64..20, stop in -20i64..20, step in -7i64..8, dtype in 2usize..8) {
            prop_assume!(step != 0);
            let mut expected = Vec::new();
            let mut next = start;
            while if step > 0 { next < stop } else { next > stop } {
                expected.push(next);
                next += step;
            }
            let read = |x: Tensor| x.cast(DType::I64).unwrap().to_vec::<i64>().unwrap();
            prop_assert_eq!(&read(arange(start, stop, step, Some(DType::ALL[dtype])).unwrap()), &expected);
            let float = arange(start as f64, stop as f64, step as f64, None).unwrap();
            prop_assert_eq!(float.dtype(), DType::F32);
            prop_assert_eq!(&read(float), &expected);
        }
    }

    #[test]
    fn ranges_are_checked() {
        assert!(matches!(arange(0, 1e30, 1, None), Err(Error::Overflow(_))));
        assert!(matches!(arange(0, i64::MAX, 1, None), Err(Error::Overflow(_))));
        assert!(arange(0, 1i64 << 55, 1, None).is_err());
        assert!(matches!(arange(0, 300, 1, Some(DType::U8)), Err(Error::Overflow(_))));
        assert!(matches!(arange(-1.5, 300.0, 1.0, Some(DType::U8)), Err(Error::Overflow(_))));
        assert!(matches!(arange(0, 10, 0, None), Err(Error::Value(_))));
        assert!(matches!(arange(0.0, f64::NAN, 1.0, None), Err(Error::Value(_))));
        assert!(matches!(arange(0, 2, 1, Some(DType::Bool)), Err(Error::Type(_))));
        assert_eq!(
            arange(i64::MIN, i64::MAX, i64::MAX, None).unwrap().to_vec::<i64>().unwrap(),
            [i64::MIN, -1, i64::MAX - 1]
        );
        assert_eq!(arange(1.0, 0.0, 1.0, None).unwrap().count(), 0);
        assert_eq!(arange(0.0, 1.0, 0.25, Some(DType::F64)).unwrap().to_vec::<f64>().unwrap(), [0.0, 0.25, 0.5, 0.75]);
    }

    #[test]
    fn spaces_hit_their_ends() {
        let x = linspace(0.1, 0.7, 7, true, DType::F64).unwrap().to_vec::<f64>().unwrap();
        assert_eq!((x[0], x[6]), (0.1, 0.7));
        assert_eq!(linspace(0.0, 1.0, 4, false, DType::F32).unwrap().to_vec::<f32>().unwrap(), [0.0, 0.25, 0.5, 0.75]);
        assert_eq!(linspace(3.0, 9.0, 1, true, DType::F32).unwrap().to_vec::<f32>().unwrap(), [3.0]);
        assert_eq!(linspace(3.0, 9.0, 0, true, DType::F16).unwrap().count(), 0);
        assert_eq!(
            linspace(f64::MIN, f64::MAX, 3, true, DType::F64).unwrap().to_vec::<f64>().unwrap(),
            [f64::MIN, 0.0, f64::MAX]
        );
        assert!(linspace(0.0, 1.0, usize::MAX, true, DType::F32).is_err());
        assert!(linspace(0.0, 1.0, 3, true, DType::I64).is_err());
    }

    #[test]
    fn grids_and_codes() {
        let (a, b) = (arange(0, 2, 1, None).unwrap(), arange(0, 3, 1, None).unwrap());
        let grid = meshgrid(&[&a, &b], Indexing::Xy).unwrap();
        assert_eq!(grid[0].shape()[..], [3, 2]);
        assert_eq!(grid[0].to_vec::<i64>().unwrap(), [0, 1, 0, 1, 0, 1]);
        let grid = meshgrid(&[&a, &b], Indexing::Ij).unwrap();
        assert_eq!(grid[1].to_vec::<i64>().unwrap(), [0, 1, 2, 0, 1, 2]);
        assert!(meshgrid(&[], Indexing::Xy).unwrap().is_empty());
        assert!(meshgrid(&[&grid[0]], Indexing::Xy).is_err());
        let codes = one_hot(&Tensor::new(&[2u8, 0], &[2]).unwrap(), 3, DType::F32).unwrap();
        assert_eq!(codes.to_vec::<f32>().unwrap(), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(one_hot(&a, 2, DType::BF16).unwrap().dtype(), DType::BF16);
        assert!(matches!(one_hot(&b, 2, DType::F32), Err(Error::Index(_))));
        assert!(matches!(one_hot(&a.sub(1i64).unwrap(), 2, DType::F32), Err(Error::Index(_))));
        assert!(one_hot(&a, usize::MAX, DType::F32).is_err());
        assert_eq!(one_hot(&Tensor::zeros(&[0], DType::I32).unwrap(), 3, DType::F32).unwrap().shape()[..], [0, 3]);
    }
}
