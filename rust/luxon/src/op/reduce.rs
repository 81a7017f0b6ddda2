//! Reductions over axes: sums and means (linear), extrema (selecting), products, counts, positions.
//!
//! Sums are pairwise with a tree that depends on the shape alone; a variance is the mean of squared
//! deviations, never E\[x²\] - E\[x\]².

use smallvec::smallvec;

use crate::cpu::reduce::{Reduction, reduce};
use crate::cuda::Plan;
use crate::dtype::{DType, Kind};
use crate::error::{Error, Result};
use crate::layout::{Axes, Shape, resolve_axes, show};
use crate::op::elementwise::{Kernel, map};
use crate::op::{Family, Gradients, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

mod cuda;

/// A reduction of some axes, which disappear from the shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduce {
    /// What is computed.
    pub kind: Reduction,
    /// The axes, ascending.
    pub axes: Axes,
}

impl Reduce {
    /// The shape in which the reduced axes stand as 1.
    fn kept_shape(&self, shape: &Shape) -> Shape {
        let mut kept = *shape;
        for &axis in self.axes.iter() {
            kept[axis] = 1;
        }
        kept
    }

    fn count(&self, shape: &Shape) -> f64 {
        self.axes.iter().map(|&axis| shape[axis] as f64).product()
    }
}

impl Family for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            Reduction::Sum => "sum",
            Reduction::Mean => "mean",
            Reduction::Product => "prod",
            Reduction::Max => "max",
            Reduction::Min => "min",
            Reduction::Any => "any",
            Reduction::All => "all",
            Reduction::CountNonzero => "count_nonzero",
            Reduction::ArgMax => "argmax",
            Reduction::ArgMin => "argmin",
            Reduction::SumSquares => "sum_squares",
            Reduction::Variance { .. } => "var",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let shape = inputs[0].shape();
        let empty = self.axes.iter().any(|&axis| shape[axis] == 0);
        if empty && matches!(self.kind, Reduction::Max | Reduction::Min | Reduction::ArgMax | Reduction::ArgMin) {
            return Err(Error::value(
                self.name(),
                format_args!("shape {} has no elements along the reduced axes", show(shape)),
            ));
        }
        let kept = (0..shape.len()).filter(|axis| !self.axes.contains(axis)).map(|axis| shape[axis]);
        Ok(smallvec![Spec { dtype: self.kind.output(inputs[0].dtype()), shape: Shape::collect(kept)? }])
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let input = inputs[0];
        let mut reduced = [false; crate::layout::MAX_RANK];
        for &axis in self.axes.iter() {
            reduced[axis] = true;
        }
        let shape = input.shape();
        // SAFETY: the layout lies within the input, the output has one element per kept index.
        unsafe {
            reduce(
                self.kind,
                input.dtype(),
                shape,
                input.pointer(),
                &input.layout().strides,
                &reduced[..shape.len()],
                outputs[0].pointer_mut(),
            );
        }
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        Some(cuda::plan(self, inputs[0], &outputs[0]))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        match self.kind {
            Reduction::Sum | Reduction::Mean => Saves::NOTHING,
            Reduction::Max | Reduction::Min => Saves::ALL,
            _ => Saves::INPUTS,
        }
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let shape = saved.shape(0);
        let kept = self.kept_shape(shape);
        let spread = |gradient: &Tensor| gradient.reshape_to(&kept)?.broadcast_to(shape);
        let gradient = match self.kind {
            Reduction::Sum => spread(dy)?,
            Reduction::Mean => spread(&dy.mul(1.0 / self.count(shape))?)?,
            Reduction::Max | Reduction::Min => {
                let share = self.share(saved.input(0)?, saved.output()?)?;
                share.mul(&dy.reshape_to(&kept)?)?
            }
            Reduction::Product => self.others(saved.input(0)?)?.mul(&dy.reshape_to(&kept)?)?,
            Reduction::SumSquares => saved.input(0)?.mul(2.0)?.mul(&dy.reshape_to(&kept)?)?,
            Reduction::Variance { .. } => self.deviations(saved.input(0)?)?.mul(&dy.reshape_to(&kept)?)?,
            _ => return Ok(smallvec![None]),
        };
        Ok(smallvec![Some(gradient)])
    }

    fn jvp(&self, inputs: &[Tensor], outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        let Some(tangent) = &tangents[0] else { return Ok(None) };
        let x = &inputs[0];
        let weighted = match self.kind {
            Reduction::Sum | Reduction::Mean => return apply(self.clone(), &[tangent]).map(Some),
            Reduction::Max | Reduction::Min => self.share(x, &outputs[0])?.mul(tangent)?,
            Reduction::Product => self.others(x)?.mul(tangent)?,
            Reduction::SumSquares => x.mul(2.0)?.mul(tangent)?,
            Reduction::Variance { .. } => self.deviations(x)?.mul(tangent)?,
            _ => return Ok(None),
        };
        sum_axes(&weighted, &self.axes).map(Some)
    }
}

impl Reduce {
    /// 1 / ties where an element equals the extremum, else 0; NaN matches NaN.
    fn share(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let y = y.detach().reshape_to(&self.kept_shape(x.shape()))?;
        let x = x.detach();
        let both_nan = map(Kernel::LogicalAnd, &[(&x.isnan()?).into(), (&y.isnan()?).into()])?;
        let hit = map(Kernel::LogicalOr, &[(&x.equal(&y)?).into(), (&both_nan).into()])?.cast(x.dtype())?;
        let ties = sum_axes(&hit, &self.axes)?.reshape_to(&self.kept_shape(x.shape()))?;
        hit.div(&ties)
    }

    /// At each element, the product of all others along the reduced axes.
    fn others(&self, x: &Tensor) -> Result<Tensor> {
        // The reduced axes go last and become one; the product of the others is the product of those
        // before times the product of those after, which needs no division and survives zeros.
        let kept: Vec<usize> = (0..x.rank()).filter(|axis| !self.axes.contains(axis)).collect();
        let order: Vec<isize> = kept.iter().chain(self.axes.iter()).map(|&axis| axis as isize).collect();
        let moved = x.permute(&order)?;
        let mut flat: Vec<isize> = kept.iter().map(|&axis| x.shape()[axis] as isize).collect();
        flat.push(self.axes.iter().map(|&axis| x.shape()[axis] as isize).product());
        let line = moved.reshape(&flat)?;
        let length = flat[flat.len() - 1] as usize;
        let axis = kept.len();
        let shifted = |reverse: bool| -> Result<Tensor> {
            let mut widths = vec![(0, 0); axis + 1];
            let part = match reverse {
                false => line.narrow(axis, 0, length.saturating_sub(1))?,
                true => line.narrow(axis, length.min(1), length.saturating_sub(1))?,
            };
            widths[axis] = if reverse { (0, length.min(1)) } else { (length.min(1), 0) };
            let part = part.pad_constant(&widths, 1i64)?;
            if reverse { part.flip(&[-1])?.cumulative_prod(-1)?.flip(&[-1]) } else { part.cumulative_prod(-1) }
        };
        let product = shifted(false)?.mul(&shifted(true)?)?;
        let mut inverse = vec![0isize; order.len()];
        for (to, &from) in order.iter().enumerate() {
            inverse[from as usize] = to as isize;
        }
        product.reshape_to(moved.shape())?.permute(&inverse)
    }

    /// 2 (x - mean) / (count - correction): the derivative of the variance.
    fn deviations(&self, x: &Tensor) -> Result<Tensor> {
        let Reduction::Variance { correction } = self.kind else { return x.zeros_like() };
        let mean = apply(Reduce { kind: Reduction::Mean, axes: self.axes }, &[x])?;
        let mean = mean.reshape_to(&self.kept_shape(x.shape()))?;
        x.sub(&mean)?.mul(2.0 / (self.count(x.shape()) - correction).max(0.0))
    }
}

/// The sum over some axes, none of which stays.
pub(crate) fn sum_axes(tensor: &Tensor, axes: &Axes) -> Result<Tensor> {
    if axes.is_empty() && tensor.dtype().is_float() {
        return Ok(tensor.clone());
    }
    apply(Reduce { kind: Reduction::Sum, axes: *axes }, &[tensor])
}

impl Tensor {
    /// A reduction over `axes` (none for all), whose axes stay as 1 with `keepdims`.
    ///
    /// # Errors
    /// [`Error::Index`] for an axis that is not there, [`Error::Value`] for one given twice or for an
    /// extremum of no elements, [`Error::Type`] for a dtype that the reduction does not take.
    #[doc(hidden)]
    pub fn reduce(&self, kind: Reduction, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        let probe = Reduce { kind, axes: Axes::new() };
        let axes = match axes {
            Some(axes) => resolve_axes(probe.name(), axes, self.rank())?,
            None => Axes::collect(0..self.rank())?,
        };
        let op = Reduce { kind, axes };
        let result = match (kind, self.dtype().kind()) {
            (Reduction::Mean | Reduction::Variance { .. }, Kind::Int | Kind::Bool) => {
                apply(op.clone(), &[&self.cast(DType::DEFAULT_FLOAT)?])?
            }
            (Reduction::Max | Reduction::Min, Kind::Bool) => {
                apply(op.clone(), &[&self.cast(DType::U8)?])?.cast(DType::Bool)?
            }
            _ => apply(op.clone(), &[self])?,
        };
        if keepdims { result.reshape_to(&op.kept_shape(self.shape())) } else { Ok(result) }
    }

    /// The sum; of integers and truth values in i64.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?;
    /// assert_eq!(x.sum(None, false)?.to_vec::<f64>()?, [10.0]);
    /// assert_eq!(x.sum(Some(&[0]), false)?.to_vec::<f64>()?, [4.0, 6.0]);
    /// assert_eq!(x.sum(Some(&[-1]), true)?.shape()[..], [2, 1]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn sum(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        self.reduce(Reduction::Sum, axes, keepdims)
    }

    /// The mean.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1.0, 2.0, 6.0], &[3])?.mean(None, false)?.to_vec::<f64>()?, [3.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn mean(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        self.reduce(Reduction::Mean, axes, keepdims)
    }

    /// The variance: squared deviations over `count - correction`.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1.0, 3.0], &[2])?;
    /// assert_eq!(x.var(None, 0.0, false)?.to_vec::<f64>()?, [1.0]);
    /// assert_eq!(x.var(None, 1.0, false)?.to_vec::<f64>()?, [2.0]); // Divided by n - 1.
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn var(&self, axes: Option<&[isize]>, correction: f64, keepdims: bool) -> Result<Tensor> {
        self.reduce(Reduction::Variance { correction }, axes, keepdims)
    }

    /// The standard deviation: the root of [`Tensor::var`].
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1.0, 5.0], &[2])?.std(None, 0.0, false)?.to_vec::<f64>()?, [2.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn std(&self, axes: Option<&[isize]>, correction: f64, keepdims: bool) -> Result<Tensor> {
        self.var(axes, correction, keepdims)?.sqrt()
    }

    /// The product; of integers and truth values in i64.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[2.0, 3.0, 4.0], &[3])?.prod(None, false)?.to_vec::<f64>()?, [24.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn prod(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        self.reduce(Reduction::Product, axes, keepdims)
    }

    /// The largest element; NaN where any is. Ties share the gradient.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 5, 3, 2], &[2, 2])?;
    /// assert_eq!(x.max(Some(&[1]), false)?.to_vec::<i32>()?, [5, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn max(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        self.reduce(Reduction::Max, axes, keepdims)
    }

    /// The smallest element; NaN where any is. Ties share the gradient.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 5, 3, 2], &[2, 2])?;
    /// assert_eq!(x.min(Some(&[1]), false)?.to_vec::<i32>()?, [1, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn min(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        self.reduce(Reduction::Min, axes, keepdims)
    }

    /// Whether any element is not zero.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[0.0, 2.0], &[2])?.any(None, false)?.to_vec::<bool>()?, [true]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn any(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        self.reduce(Reduction::Any, axes, keepdims)
    }

    /// Whether every element is not zero.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[0.0, 2.0], &[2])?.all(None, false)?.to_vec::<bool>()?, [false]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn all(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        self.reduce(Reduction::All, axes, keepdims)
    }

    /// The first position of the largest element along an axis, or in the flattened tensor.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let logits = Tensor::new(&[0.1, 0.9, 0.7, 0.2], &[2, 2])?;
    /// assert_eq!(logits.argmax(Some(1), false)?.to_vec::<i64>()?, [1, 0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn argmax(&self, axis: Option<isize>, keepdims: bool) -> Result<Tensor> {
        self.reduce(Reduction::ArgMax, axis.as_ref().map(std::slice::from_ref), keepdims)
    }

    /// The first position of the smallest element along an axis, or in the flattened tensor.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[3, 1, 2], &[3])?.argmin(None, false)?.to_vec::<i64>()?, [1]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn argmin(&self, axis: Option<isize>, keepdims: bool) -> Result<Tensor> {
        self.reduce(Reduction::ArgMin, axis.as_ref().map(std::slice::from_ref), keepdims)
    }
}
