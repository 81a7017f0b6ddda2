//! What sorting makes possible: sets, quantiles, membership, and the places of what is not zero.
//!
//! The sizes of some results depend on the data (`nonzero`, the `unique_*` functions): those read their
//! input, so they do not run on abstract tensors, and are not differentiated. Quantiles are definitions
//! over `sort` and inherit its derivatives.

use crate::cpu::scan::Cumulative;
use crate::dtype::{DType, Scalar};
use crate::error::{Error, Result};
use crate::layout::{Axes, Shape, resolve_axes, show};
use crate::op::apply;
use crate::op::elementwise::{Kernel, map};
use crate::op::index::nd::flat_nonzero;
use crate::op::index::{Gather, beside};
use crate::op::linear::concat;
use crate::tensor::Tensor;

/// The distinct elements of a tensor, ascending, and where they are; each NaN is distinct.
///
/// ```
/// use luxon::Tensor;
/// let unique = Tensor::new(&[3, 1, 3], &[3])?.unique_all()?;
/// assert_eq!((unique.values.to_vec::<i32>()?, unique.counts.to_vec::<i64>()?), (vec![1, 3], vec![1, 2]));
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Unique {
    /// The distinct elements.
    pub values: Tensor,
    /// Where each occurs first in the flattened tensor.
    pub indices: Tensor,
    /// For each element of the tensor (in its shape), which of the values it is.
    pub inverse: Tensor,
    /// How often each occurs.
    pub counts: Tensor,
}

/// What a quantile is that falls between two elements.
///
/// ```
/// use luxon::{Quantile, Tensor};
/// let (x, half) = (Tensor::new(&[1.0, 2.0, 3.0, 4.0], &[4])?, Tensor::new(&[0.5], &[1])?);
/// assert_eq!(x.quantile(&half, Quantile::Linear, None, false)?.to_vec::<f64>()?, [2.5]);
/// assert_eq!(x.quantile(&half, Quantile::Lower, None, false)?.to_vec::<f64>()?, [2.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quantile {
    /// The point between them on a line.
    #[default]
    Linear,
    /// The lower of the two.
    Lower,
    /// The higher of the two.
    Higher,
    /// Their mean.
    Midpoint,
    /// The nearer of the two, the one with even position when it falls in the middle.
    Nearest,
}

impl Quantile {
    /// The positions of the two elements, and the share of the second, for fractional positions (f64).
    fn between(self, place: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        let (low, high) = (place.floor()?, place.ceil()?);
        let at = |position: &Tensor| position.detach().cast(DType::I64);
        Ok(match self {
            Quantile::Linear => (at(&low)?, at(&high)?, place.sub(&low)?),
            Quantile::Lower => (at(&low)?, at(&low)?, place.zeros_like()?),
            Quantile::Higher => (at(&high)?, at(&high)?, place.zeros_like()?),
            Quantile::Midpoint => (at(&low)?, at(&high)?, low.not_equal(&high)?.cast(DType::F64)?.mul(0.5)?),
            Quantile::Nearest => (at(&place.round()?)?, at(&place.round()?)?, place.zeros_like()?),
        })
    }
}

/// The sorted elements of a flattened tensor with their positions, and where runs of equal ones start.
fn runs(x: &Tensor) -> Result<(Tensor, Tensor, Tensor, Tensor)> {
    let count = x.count();
    let (sorted, places) = x.detach().reshape(&[count as isize])?.sort_with_positions(0, false)?;
    let first = beside(Tensor::ones(&[count.min(1)], DType::Bool)?, x)?;
    let fresh = sorted.narrow(0, count.min(1), count.saturating_sub(1))?.not_equal(&sorted.narrow(
        0,
        0,
        count.saturating_sub(1),
    )?)?;
    let fresh = concat(&[&first, &fresh], 0)?;
    let starts = flat_nonzero(&fresh)?;
    Ok((sorted, places, fresh, starts))
}

impl Tensor {
    /// The distinct elements with their first positions, their counts, and the inverse mapping.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let unique = Tensor::new(&[3, 1, 3], &[3])?.unique_all()?;
    /// assert_eq!((unique.indices.to_vec::<i64>()?, unique.inverse.to_vec::<i64>()?), (vec![1, 0], vec![1, 0, 1]));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for an abstract tensor: the data decides the sizes.
    pub fn unique_all(&self) -> Result<Unique> {
        let count = self.count();
        let (sorted, places, fresh, starts) = runs(self)?;
        let number = fresh.cumulative(Cumulative::Sum, 0, false, false)?.sub(1i64)?;
        let zeros = number.zeros_like()?;
        let labels = Axes::from_slice(&[0])?;
        let inverse = apply(Gather::Set { axis: 0, labels }, &[&zeros, &number, &places])?;
        let end = beside(Tensor::new(&[count as i64], &[1])?, self)?;
        let bounds = concat(&[&starts, &end], 0)?;
        let groups = starts.count();
        Ok(Unique {
            values: sorted.take(&starts, 0)?,
            indices: places.take(&starts, 0)?,
            inverse: inverse.reshape_to(self.shape())?,
            counts: bounds.narrow(0, 1, groups)?.sub(&bounds.narrow(0, 0, groups)?)?,
        })
    }

    /// The distinct elements, ascending.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[3, 1, 3], &[3])?.unique_values()?.to_vec::<i32>()?, [1, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::unique_all`].
    pub fn unique_values(&self) -> Result<Tensor> {
        let (sorted, _, _, starts) = runs(self)?;
        sorted.take(&starts, 0)
    }

    /// The distinct elements and how often each occurs.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let (values, counts) = Tensor::new(&[3, 1, 3], &[3])?.unique_counts()?;
    /// assert_eq!((values.to_vec::<i32>()?, counts.to_vec::<i64>()?), (vec![1, 3], vec![1, 2]));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::unique_all`].
    pub fn unique_counts(&self) -> Result<(Tensor, Tensor)> {
        let unique = self.unique_all()?;
        Ok((unique.values, unique.counts))
    }

    /// The distinct elements and, for each element, which of them it is.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let (values, inverse) = Tensor::new(&[3, 1, 3], &[3])?.unique_inverse()?;
    /// assert_eq!(values.take(&inverse, 0)?.to_vec::<i32>()?, [3, 1, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::unique_all`].
    pub fn unique_inverse(&self) -> Result<(Tensor, Tensor)> {
        let unique = self.unique_all()?;
        Ok((unique.values, unique.inverse))
    }

    /// The indices of the elements that are not zero, one tensor for each axis, in row-major order.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let places = Tensor::new(&[0, 5, 7, 0], &[2, 2])?.nonzero()?; // One list for each axis.
    /// assert_eq!((places[0].to_vec::<i64>()?, places[1].to_vec::<i64>()?), (vec![0, 1], vec![1, 0]));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for a 0-d tensor, [`Error::Value`] for an abstract one.
    pub fn nonzero(&self) -> Result<Vec<Tensor>> {
        if self.rank() == 0 {
            return Err(Error::shape("nonzero", "a 0-d tensor has no axes to index"));
        }
        let mask = if self.dtype() == DType::Bool { self.detach() } else { self.detach().not_equal(0i64)? };
        let flat = flat_nonzero(&mask)?.to_host()?.to_vec::<i64>()?;
        let mut stride = 1i64;
        let mut out = Vec::with_capacity(self.rank());
        for &size in self.shape().iter().rev() {
            let size = size.max(1) as i64;
            let numbers: Vec<i64> = flat.iter().map(|position| position / stride % size).collect();
            out.push(beside(Tensor::new(&numbers, &[numbers.len()])?, self)?);
            stride *= size;
        }
        out.reverse();
        Ok(out)
    }

    /// The number of elements that are not zero.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[0, 5, 7], &[3])?.count_nonzero(None, false)?.to_vec::<i64>()?, [2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::reduce`].
    pub fn count_nonzero(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        self.reduce(crate::cpu::reduce::Reduction::CountNonzero, axes, keepdims)
    }

    /// Whether each element occurs in `others`; NaN never does.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2, 3], &[3])?;
    /// assert_eq!(x.isin(&Tensor::new(&[3, 1], &[2])?)?.to_vec::<bool>()?, [true, false, true]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn isin(&self, others: &Tensor) -> Result<Tensor> {
        let count = others.count();
        let dtype = self.dtype().promote(others.dtype());
        let x = self.detach().cast(dtype)?;
        if count == 0 {
            return x.equal(&x)?.zeros_like();
        }
        let sorted = others.detach().cast(dtype)?.reshape(&[count as isize])?.sort(0, false)?;
        let place = sorted.searchsorted(&x, false, None)?.minimum(count as i64 - 1)?;
        sorted.take(&place, 0)?.equal(&x)
    }

    /// The quantiles `q` (a list, each in \[0, 1\]) over `axes` (none for all), between two elements by
    /// `method`; the result has one more axis, the first, for `q`. NaN where any element is NaN. The slope in
    /// `q` is that of the line between the two elements.
    ///
    /// ```
    /// use luxon::{Quantile, Tensor};
    /// let (x, q) = (Tensor::new(&[0.0, 10.0], &[2])?, Tensor::new(&[0.1, 0.5], &[2])?);
    /// assert_eq!(x.quantile(&q, Quantile::Linear, None, false)?.to_vec::<f64>()?, [1.0, 5.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for a q outside \[0, 1\] or for no elements, [`Error::Shape`] for a q that is no list,
    /// [`Error::Index`] for an axis that is not there.
    pub fn quantile(&self, q: &Tensor, method: Quantile, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        let axes = match axes {
            Some(axes) => resolve_axes("quantile", axes, self.rank())?,
            None => Axes::collect(0..self.rank())?,
        };
        if q.rank() != 1 {
            return Err(Error::shape(
                "quantile",
                format_args!("q must be a number or a list, its shape is {}", show(q.shape())),
            ));
        }
        let q = q.cast(DType::F64)?;
        if !q.value().is_abstract() {
            let levels = q.detach().to_host()?.to_vec::<f64>()?;
            if let Some(wrong) = levels.iter().find(|q| !(0.0..=1.0).contains(*q)) {
                return Err(Error::value("quantile", format_args!("{wrong} is not in [0, 1]")));
            }
        }
        let kept: Vec<usize> = (0..self.rank()).filter(|axis| !axes.contains(axis)).collect();
        let length: usize = axes.iter().map(|&axis| self.shape()[axis]).product();
        if length == 0 {
            return Err(Error::value(
                "quantile",
                format_args!("shape {} has no elements along the axes", show(self.shape())),
            ));
        }
        let order: Vec<isize> = kept.iter().chain(axes.iter()).map(|&axis| axis as isize).collect();
        let outer = Shape::collect(kept.iter().map(|&axis| self.shape()[axis]))?;
        let mut lines = outer;
        lines.push(length)?;
        let x = self.cast(self.dtype().to_float())?.permute(&order)?.reshape_to(&lines)?.sort(-1, false)?;

        let (low, high, part) = method.between(&beside(q, &x)?.mul((length - 1) as f64)?)?;
        let (a, b, part) = (x.take(&low, -1)?, x.take(&high, -1)?, part.cast(x.dtype())?);
        // The difference of equal infinities would be NaN.
        let same = map(Kernel::LogicalAnd, &[(&a.equal(&b)?).into(), (&a.isinf()?).into()])?;
        let gap = map(Kernel::Where, &[(&same).into(), Scalar::Float(0.0).into(), (&b.sub(&a)?).into()])?;
        // Beside an infinity, which the sum would turn into NaN, the weighted mean is taken.
        let weighted = a.mul(&part.neg()?.add(1.0)?)?.add(&b.mul(&part)?)?;
        let between =
            map(Kernel::Where, &[(&gap.isinf()?).into(), (&weighted).into(), (&a.add(&gap.mul(&part)?)?).into()])?;
        let last = x.narrow(lines.len() - 1, length - 1, 1)?;
        let y = map(Kernel::Where, &[(&last.isnan()?).into(), (&last).into(), (&between).into()])?;
        let mut front: Vec<isize> = vec![lines.len() as isize - 1];
        front.extend(0..lines.len() as isize - 1);
        let y = y.permute(&front)?;
        if !keepdims {
            return Ok(y);
        }
        let mut shape = Shape::from_slice(&y.shape()[..1])?;
        for axis in 0..self.rank() {
            shape.push(if axes.contains(&axis) { 1 } else { self.shape()[axis] })?;
        }
        y.reshape_to(&shape)
    }

    /// The median over `axes` (none for all): the middle element, or the mean of the two middle ones.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[5.0, 1.0, 3.0], &[3])?.median(None, false)?.to_vec::<f64>()?, [3.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::quantile`].
    pub fn median(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        let y = self.quantile(&Tensor::new(&[0.5], &[1])?, Quantile::Linear, axes, keepdims)?;
        y.squeeze(&[0])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::testing::{check_gradients, sample};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::slice::from_ref;

    fn levels(q: &[f64]) -> Tensor {
        Tensor::new(q, &[q.len()]).unwrap()
    }

    proptest! {
        #[test]
        fn sets_equal_the_naive_ones(list in prop::collection::vec(-3i64..4, 0..20), others in prop::collection::vec(-3i64..4, 0..4)) {
            let x = Tensor::new(&list, &[list.len(), 1]).unwrap();
            let mut groups: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            for (at, value) in list.iter().enumerate() {
                groups.entry(*value).or_default().push(at as i64);
            }
            for dtype in [DType::I64, DType::F32, DType::BF16] {
                let unique = x.cast(dtype).unwrap().unique_all().unwrap();
                let values = unique.values.cast(DType::I64).unwrap().to_vec::<i64>().unwrap();
                prop_assert_eq!(&values, &groups.keys().copied().collect::<Vec<_>>());
                prop_assert_eq!(unique.indices.to_vec::<i64>().unwrap(), groups.values().map(|at| at[0]).collect::<Vec<_>>());
                prop_assert_eq!(unique.counts.to_vec::<i64>().unwrap(), groups.values().map(|at| at.len() as i64).collect::<Vec<_>>());
                prop_assert_eq!(unique.inverse.shape(), x.shape());
                let back: Vec<i64> = unique.inverse.to_vec::<i64>().unwrap().iter().map(|&at| values[at as usize]).collect();
                prop_assert_eq!(&back, &list);
            }
            let found = x.isin(&Tensor::new(&others, &[others.len()]).unwrap().cast(DType::F64).unwrap()).unwrap();
            let expected: Vec<bool> = list.iter().map(|value| others.contains(value)).collect();
            prop_assert_eq!(found.to_vec::<bool>().unwrap(), expected);
            let places: Vec<i64> = (0..list.len() as i64).filter(|&at| list[at as usize] != 0).collect();
            let found = x.nonzero().unwrap();
            prop_assert_eq!(found[0].to_vec::<i64>().unwrap(), places.clone());
            prop_assert_eq!(found[1].to_vec::<i64>().unwrap(), vec![0; places.len()]);
            prop_assert_eq!(x.count_nonzero(None, false).unwrap().to_vec::<i64>().unwrap(), [places.len() as i64]);
        }
    }

    #[test]
    fn quantiles_are_numpys() {
        let x = Tensor::new(&[3.0f64, 1.0, 4.0, 1.0, 5.0, 9.0], &[2, 3]).unwrap();
        let y = x.quantile(&levels(&[0.0, 0.25, 1.0]), Quantile::Linear, Some(&[1]), false).unwrap();
        assert_eq!(y.shape()[..], [3, 2]);
        assert_eq!(y.to_vec::<f64>().unwrap(), [1.0, 1.0, 2.0, 3.0, 4.0, 9.0]);
        assert_eq!(x.median(None, true).unwrap().shape()[..], [1, 1]);
        assert_eq!(x.median(None, false).unwrap().to_vec::<f64>().unwrap(), [3.5]);
        assert_eq!(
            x.cast(DType::I32).unwrap().median(Some(&[0]), false).unwrap().to_vec::<f32>().unwrap(),
            [2.0, 3.0, 6.5]
        );
        assert!(x.quantile(&levels(&[1.1]), Quantile::Linear, None, false).is_err());
        assert!(x.quantile(&levels(&[f64::NAN]), Quantile::Linear, None, false).is_err());
        assert!(Tensor::zeros(&[0], DType::F32).unwrap().median(None, false).is_err());
        let x = Tensor::new(&[f32::INFINITY, f32::INFINITY, 1.0, f32::NAN], &[2, 2]).unwrap();
        let y = x.median(Some(&[1]), false).unwrap().to_vec::<f32>().unwrap();
        assert!(y[0] == f32::INFINITY && y[1].is_nan());
    }

    #[test]
    fn derivatives_of_quantiles() {
        let x = sample(&[3, 4], -1.0, 1.0, 4);
        check_gradients(
            |x| x[0].quantile(&levels(&[0.2, 0.5]), Quantile::Linear, Some(&[0]), false)?.square(),
            from_ref(&x),
        );
        check_gradients(|x| x[0].median(None, false)?.sin(), &[x]);
    }

    #[test]
    fn each_nan_is_distinct() {
        let x = Tensor::new(&[f32::NAN, 1.0, f32::NAN, 0.0, -0.0], &[5]).unwrap();
        let unique = x.unique_all().unwrap();
        assert_eq!(unique.counts.to_vec::<i64>().unwrap(), [2, 1, 1, 1]);
        assert!(Tensor::scalar(1.0, DType::F32).nonzero().is_err());
    }
}
