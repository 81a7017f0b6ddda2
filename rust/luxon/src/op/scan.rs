//! Cumulative sums, products and extrema along an axis, and the linear recurrence behind their derivatives.
//!
//! A cumulative sum is linear; its transpose runs from the other end. The derivative of a cumulative
//! product needs no division, so zeros in the input do no harm: the gradient at `j` is the product before
//! `j` times `s[j] = dy[j] + x[j + 1] s[j + 1]`, a linear recurrence, whose own derivatives are recurrences
//! again. Everything is linear in the length, at any order. Extrema select: the gradient goes to the
//! latest element that attains them.

use smallvec::smallvec;

use crate::cpu;
pub use crate::cpu::scan::Cumulative;
use crate::dtype::{DType, Kind, Scalar};
use crate::error::{Error, Result};
use crate::layout::{Shape, resolve_axis, show};
use crate::op::elementwise::{Kernel, map};
use crate::op::index::{Gather, beside};
use crate::op::{Family, Gradients, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

mod cuda;

/// An operation that runs along an axis.
#[derive(Clone, Debug, PartialEq)]
pub enum Scan {
    /// A cumulative operation.
    Cumulative {
        /// What is accumulated.
        kind: Cumulative,
        /// The axis.
        axis: usize,
        /// Whether it starts from the end.
        reverse: bool,
        /// Whether each result leaves its own element out (sums and products only).
        exclusive: bool,
    },
    /// (u, a): `h[k] = u[k] + a[k] h[k - 1]`, with 0 before the first.
    Recurrence {
        /// The axis.
        axis: usize,
        /// Whether it starts from the end: then `h[k] = u[k] + a[k] h[k + 1]`.
        reverse: bool,
    },
}

/// The numbers of elements before, along and after an axis.
fn around(shape: &Shape, axis: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}

/// The tensor moved by one place along an axis, towards its end or (`back`) its start; zero moves in.
fn shifted(x: &Tensor, axis: usize, back: bool) -> Result<Tensor> {
    let length = x.shape()[axis];
    let kept = x.narrow(axis, usize::from(back).min(length), length.saturating_sub(1))?;
    let mut widths = [(0, 0); crate::layout::MAX_RANK];
    widths[axis] = if back { (0, length.min(1)) } else { (length.min(1), 0) };
    kept.pad_constant(&widths[..x.rank()], 0i64)
}

/// See [`Scan::Recurrence`].
pub(crate) fn recurrence(u: &Tensor, a: &Tensor, axis: usize, reverse: bool) -> Result<Tensor> {
    let dtype = u.dtype();
    if dtype.is_half() {
        let wide = recurrence(&u.cast(DType::F32)?, &a.cast(DType::F32)?, axis, reverse)?;
        return wide.cast(dtype);
    }
    apply(Scan::Recurrence { axis, reverse }, &[u, a])
}

impl Family for Scan {
    fn name(&self) -> &'static str {
        match self {
            Scan::Cumulative { kind: Cumulative::Sum, .. } => "cumulative_sum",
            Scan::Cumulative { kind: Cumulative::Product, .. } => "cumulative_prod",
            Scan::Cumulative { kind: Cumulative::Max, .. } => "cumulative_max",
            Scan::Cumulative { kind: Cumulative::Min, .. } => "cumulative_min",
            Scan::Recurrence { .. } => "recurrence",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let (dtype, shape) = (inputs[0].dtype(), *inputs[0].shape());
        let dtype = match self {
            Scan::Cumulative { kind, .. } => kind.output(dtype),
            Scan::Recurrence { .. } => {
                if inputs[1].shape() != inputs[0].shape() || inputs[1].dtype() != dtype {
                    let (a, b) = (show(&shape), show(inputs[1].shape()));
                    return Err(Error::shape(
                        "recurrence",
                        format_args!("inputs of shapes {a} and {b}, or of two dtypes"),
                    ));
                }
                dtype
            }
        };
        Ok(smallvec![Spec { dtype, shape }])
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let (x, out) = (inputs[0].to_contiguous()?, &mut outputs[0]);
        match *self {
            Scan::Cumulative { kind, axis, reverse, exclusive } => {
                let (rows, length, inner) = around(x.shape(), axis);
                let (dtype, to) = (x.dtype(), out.pointer_mut());
                // SAFETY: both are contiguous with these sizes, the output in the kind's dtype and fresh.
                unsafe {
                    cpu::scan::cumulative(kind, dtype, rows, length, inner, x.pointer(), to, reverse, exclusive);
                }
            }
            Scan::Recurrence { axis, reverse } => {
                let a = inputs[1].to_contiguous()?;
                let (rows, length, inner) = around(x.shape(), axis);
                macro_rules! run {
                    ($T:ty) => {{
                        let (u, a, h) =
                            (x.pointer().cast::<$T>(), a.pointer().cast::<$T>(), out.pointer_mut().cast::<$T>());
                        // SAFETY: three contiguous values of this dtype and of these sizes, the output fresh.
                        unsafe { cpu::recurrence::recurrence(rows, length, inner, u, a, h, reverse) }
                    }};
                }
                match x.dtype() {
                    DType::F32 => run!(f32),
                    DType::F64 => run!(f64),
                    other => return Err(Error::unsupported("recurrence", other, "float32 and float64")),
                }
            }
        }
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<crate::cuda::Plan>> {
        Some(self.plan(inputs, &outputs[0]))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        match self {
            Scan::Cumulative { kind: Cumulative::Sum, .. } => Saves::NOTHING,
            Scan::Cumulative { kind: Cumulative::Product, .. } => Saves::INPUTS,
            Scan::Cumulative { .. } => Saves::ALL,
            Scan::Recurrence { .. } => Saves { inputs: 2, output: true },
        }
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        match *self {
            Scan::Cumulative { kind: Cumulative::Sum, axis, reverse, exclusive } => {
                let transpose = Scan::Cumulative { kind: Cumulative::Sum, axis, reverse: !reverse, exclusive };
                Ok(smallvec![Some(apply(transpose, &[dy])?)])
            }
            Scan::Cumulative { kind: Cumulative::Product, axis, reverse, exclusive } => {
                let x = saved.input(0)?;
                let before =
                    apply(Scan::Cumulative { kind: Cumulative::Product, axis, reverse, exclusive: true }, &[x])?;
                let next = shifted(x, axis, !reverse)?;
                let arrived = if exclusive { &shifted(dy, axis, !reverse)? } else { dy };
                let after = recurrence(arrived, &next, axis, !reverse)?;
                Ok(smallvec![Some(before.mul(&after)?)])
            }
            Scan::Cumulative { axis, .. } => {
                let places = self.places(saved.input(0)?, saved.output()?)?;
                let length = dy.shape()[axis];
                Ok(smallvec![Some(apply(Gather::PutAlong { axis, length }, &[dy, &places])?)])
            }
            Scan::Recurrence { axis, reverse } => {
                let next = shifted(saved.input(1)?, axis, !reverse)?;
                let du = recurrence(dy, &next, axis, !reverse)?;
                let da = match saved.wants(1) {
                    true => Some(du.mul(&shifted(saved.output()?, axis, reverse)?)?),
                    false => None,
                };
                Ok(smallvec![Some(du), da])
            }
        }
    }

    fn jvp(&self, inputs: &[Tensor], outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        match *self {
            Scan::Cumulative { kind, axis, reverse, exclusive } => {
                let Some(tangent) = &tangents[0] else { return Ok(None) };
                let x = &inputs[0];
                match kind {
                    Cumulative::Sum => apply(self.clone(), &[tangent]).map(Some),
                    Cumulative::Product => {
                        let before = Scan::Cumulative { kind, axis, reverse, exclusive: true };
                        let part = tangent.mul(&apply(before, &[x])?)?;
                        if exclusive {
                            recurrence(&shifted(&part, axis, reverse)?, &shifted(x, axis, reverse)?, axis, reverse)
                                .map(Some)
                        } else {
                            recurrence(&part, x, axis, reverse).map(Some)
                        }
                    }
                    Cumulative::Max | Cumulative::Min => {
                        let places = self.places(x, &outputs[0])?;
                        apply(Gather::TakeAlong { axis }, &[tangent, &places]).map(Some)
                    }
                }
            }
            Scan::Recurrence { axis, reverse } => {
                let through = match &tangents[1] {
                    Some(tangent) => Some(tangent.mul(&shifted(&outputs[0], axis, reverse)?)?),
                    None => None,
                };
                let part = match (&tangents[0], through) {
                    (Some(tangent), Some(through)) => tangent.add(&through)?,
                    (Some(tangent), None) => tangent.clone(),
                    (None, Some(through)) => through,
                    (None, None) => return Ok(None),
                };
                recurrence(&part, &inputs[1], axis, reverse).map(Some)
            }
        }
    }
}

impl Scan {
    /// Where each extremum so far was attained last.
    fn places(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let Scan::Cumulative { axis, reverse, .. } = *self else { return x.zeros_like() };
        let (x, y) = (x.detach(), y.detach());
        let length = x.shape()[axis];
        let numbers: Vec<i64> = (0..length as i64).collect();
        let mut sizes = Shape::filled(1, x.rank())?;
        sizes[axis] = length;
        let numbers = beside(Tensor::new(&numbers, &sizes)?, &x)?;
        let hit = map(Kernel::LogicalOr, &[(&x.equal(&y)?).into(), (&x.isnan()?).into()])?;
        let far = if reverse { length.saturating_sub(1) } else { 0 };
        let marked = map(Kernel::Where, &[(&hit).into(), (&numbers).into(), Scalar::Int(far as i64).into()])?;
        let kind = if reverse { Cumulative::Min } else { Cumulative::Max };
        apply(Scan::Cumulative { kind, axis, reverse, exclusive: false }, &[&marked])
    }
}

impl Tensor {
    /// A cumulative operation along `axis`, from its end where `reverse`. With `include_initial` the
    /// neutral element (of sums and products) comes first in that direction, and the axis is one longer.
    ///
    /// # Errors
    /// [`Error::Index`] for an axis that is not there, [`Error::Value`] for an initial extremum.
    #[doc(hidden)]
    pub fn cumulative(&self, kind: Cumulative, axis: isize, include_initial: bool, reverse: bool) -> Result<Tensor> {
        let probe = Scan::Cumulative { kind, axis: 0, reverse, exclusive: false };
        let axis = resolve_axis(probe.name(), axis, self.rank())?;
        let initial = match kind {
            Cumulative::Sum => 0i64,
            Cumulative::Product => 1,
            _ if include_initial => return Err(Error::value(probe.name(), "an extremum has no initial value")),
            _ => 0,
        };
        let result = apply(Scan::Cumulative { kind, axis, reverse, exclusive: false }, &[self])?;
        if !include_initial {
            return Ok(result);
        }
        let mut widths = [(0, 0); crate::layout::MAX_RANK];
        widths[axis] = if reverse { (0, 1) } else { (1, 0) };
        result.pad_constant(&widths[..self.rank()], initial)
    }

    /// The sums of the elements up to each one; of integers and truth values in i64.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1.0, 2.0, 3.0], &[3])?;
    /// assert_eq!(x.cumulative_sum(0, false, false)?.to_vec::<f64>()?, [1.0, 3.0, 6.0]);
    /// assert_eq!(x.cumulative_sum(0, true, false)?.to_vec::<f64>()?, [0.0, 1.0, 3.0, 6.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::cumulative`].
    pub fn cumulative_sum(&self, axis: isize, include_initial: bool, reverse: bool) -> Result<Tensor> {
        self.cumulative(Cumulative::Sum, axis, include_initial, reverse)
    }

    /// The products of the elements up to each one; of integers and truth values in i64. Its derivatives
    /// are right at zeros, too.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1.0, 2.0, 3.0], &[3])?.cumulative_prod(0)?.to_vec::<f64>()?, [1.0, 2.0, 6.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::cumulative`].
    pub fn cumulative_prod(&self, axis: isize) -> Result<Tensor> {
        self.cumulative(Cumulative::Product, axis, false, false)
    }

    /// The largest element up to each one; NaN from the first NaN on.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1, 3, 2], &[3])?.cumulative_max(0)?.to_vec::<i32>()?, [1, 3, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::cumulative`].
    pub fn cumulative_max(&self, axis: isize) -> Result<Tensor> {
        self.cumulative(Cumulative::Max, axis, false, false)
    }

    /// The smallest element up to each one; NaN from the first NaN on.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[3, 1, 2], &[3])?.cumulative_min(0)?.to_vec::<i32>()?, [3, 1, 1]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::cumulative`].
    pub fn cumulative_min(&self, axis: isize) -> Result<Tensor> {
        self.cumulative(Cumulative::Min, axis, false, false)
    }

    /// The logarithm of the sums of exponentials up to each element, without overflow.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let y = Tensor::zeros(&[3], DType::F64)?.cumulative_logsumexp(0)?.exp()?;
    /// assert!(y.allclose(&Tensor::new(&[1.0, 2.0, 3.0], &[3])?, 1e-12, 0.0, false)?);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tensor::cumulative`].
    pub fn cumulative_logsumexp(&self, axis: isize) -> Result<Tensor> {
        let axis = resolve_axis("cumulative_logsumexp", axis, self.rank())?;
        let x = if self.dtype().kind() == Kind::Float { self.clone() } else { self.cast(DType::DEFAULT_FLOAT)? };
        // Doubling: after round r each place holds the sum over the 2^r elements up to it.
        let (mut sums, mut reach) = (x, 1);
        let length = self.shape()[axis];
        while reach < length {
            let head = sums.narrow(axis, 0, reach)?;
            let late = sums.narrow(axis, reach, length - reach)?;
            let early = sums.narrow(axis, 0, length - reach)?;
            sums = crate::op::linear::concat(&[&head, &late.logaddexp(&early)?], axis as isize)?;
            reach *= 2;
        }
        Ok(sums)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::testing::{check_gradients, sample};
    use std::slice::from_ref;

    #[test]
    fn initial_elements_and_directions() {
        let x = Tensor::new(&[1i32, 2, 3, 4], &[2, 2]).unwrap();
        let list = |x: Result<Tensor>| x.unwrap().to_vec::<i64>().unwrap();
        assert_eq!(list(x.cumulative_sum(0, false, false)), [1, 2, 4, 6]);
        assert_eq!(list(x.cumulative_sum(-1, true, false)), [0, 1, 3, 0, 3, 7]);
        assert_eq!(list(x.cumulative_sum(1, true, true)), [3, 2, 0, 7, 4, 0]);
        assert_eq!(list(x.cumulative(Cumulative::Product, 0, true, false)), [1, 1, 1, 2, 3, 8]);
        assert_eq!(x.cumulative_max(0).unwrap().to_vec::<i32>().unwrap(), [1, 2, 3, 4]);
        assert!(x.cumulative_sum(2, false, false).is_err());
        assert!(x.cumulative(Cumulative::Max, 0, true, false).is_err());
        let empty = Tensor::zeros(&[0, 3], DType::F32).unwrap();
        assert_eq!(empty.cumulative_prod(0).unwrap().shape()[..], [0, 3]);
        assert_eq!(empty.cumulative_sum(0, true, false).unwrap().to_vec::<f32>().unwrap(), [0.0; 3]);
    }

    #[test]
    fn derivatives_of_sums_and_extrema() {
        let x = sample(&[3, 4], -1.0, 1.0, 3);
        for reverse in [false, true] {
            check_gradients(|x| x[0].cumulative_sum(1, true, reverse)?.square(), from_ref(&x));
            check_gradients(|x| x[0].cumulative(Cumulative::Max, 0, false, reverse)?.square(), from_ref(&x));
            check_gradients(|x| x[0].cumulative(Cumulative::Min, 1, false, reverse)?.square(), from_ref(&x));
        }
        check_gradients(|x| x[0].cumulative_logsumexp(1)?.square(), &[x]);
    }

    #[test]
    fn derivatives_of_products_survive_zeros() {
        let plain = sample(&[2, 4], -1.5, 1.5, 3);
        let zeros = Tensor::new(&[0.7, 0.0, -1.2, 0.9, 1.1, 0.0, 0.0, -0.8], &[2, 4]).unwrap();
        for x in [plain, zeros] {
            for reverse in [false, true] {
                for axis in [0, 1] {
                    check_gradients(
                        |x| x[0].cumulative(Cumulative::Product, axis, false, reverse)?.sin(),
                        from_ref(&x),
                    );
                    let op =
                        Scan::Cumulative { kind: Cumulative::Product, axis: axis as usize, reverse, exclusive: true };
                    check_gradients(|x| apply(op.clone(), &[&x[0]])?.sin(), from_ref(&x));
                }
            }
            check_gradients(|x| x[0].prod(None, false)?.sin(), from_ref(&x));
        }
    }

    #[test]
    fn derivatives_of_recurrences() {
        let inputs = [sample(&[3, 2], -1.0, 1.0, 1), sample(&[3, 2], -1.0, 1.0, 2)];
        for reverse in [false, true] {
            check_gradients(|x| recurrence(&x[0], &x[1], 0, reverse)?.sin(), &inputs);
        }
    }

    #[test]
    fn halves_and_large_exponents() {
        let x = Tensor::ones(&[300], DType::BF16).unwrap();
        let slope = crate::grad(|x| x[0].cumulative_prod(0)?.cast(DType::F32)?.sum(None, false), &[x]).unwrap();
        assert_eq!(slope[0].dtype(), DType::BF16);
        let x = Tensor::new(&[-1000.0f32, 1000.0, 1000.0], &[3]).unwrap();
        let sums = x.cumulative_logsumexp(0).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(sums[..2], [-1000.0, 1000.0]);
        assert!((sums[2] - 1000.693).abs() < 1e-3);
    }
}
