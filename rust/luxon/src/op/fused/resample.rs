//! A linear map along one axis, given by a sparse matrix: interpolation, and means over uneven windows.
//!
//! The transpose of the operation is the operation with the transposed matrix, so it serves both modes of
//! differentiation and any order. The functions that users call are in [`super::upsample`] and
//! [`super::pooling`].

use std::sync::Arc;

use smallvec::smallvec;

use super::with_real;
use crate::cpu::real::Real;
use crate::cpu::resample::{Rows, along_axis};
use crate::cuda::source::{c_type, file};
use crate::cuda::{Launch, Place, Plan};
use crate::dtype::Scalar;
use crate::error::{Error, Result};
use crate::op::index::beside;
use crate::op::{Family, Gradients, Outputs, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

/// A sparse matrix by rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// The number of columns, at most 2^32.
    columns: usize,
    /// Where the terms of each row begin, and the end of the last row's.
    starts: Vec<usize>,
    /// The column of each term.
    places: Vec<u32>,
    /// The weight of each term.
    weights: Vec<f64>,
}

impl Matrix {
    /// A matrix of `columns` columns and `rows` rows, whose terms (column, weight) `row` lists: `terms` in all.
    ///
    /// # Errors
    /// [`Error::Memory`] where there are too many.
    pub fn new<I: IntoIterator<Item = (usize, f64)>>(
        columns: usize,
        rows: usize,
        terms: usize,
        row: impl Fn(usize) -> I,
    ) -> Result<Matrix> {
        let mut matrix = Matrix { columns, starts: Vec::new(), places: Vec::new(), weights: Vec::new() };
        let reserved = matrix
            .starts
            .try_reserve_exact(rows.saturating_add(1))
            .and_then(|()| matrix.places.try_reserve_exact(terms))
            .and_then(|()| matrix.weights.try_reserve_exact(terms));
        if reserved.is_err() || columns > u32::MAX as usize {
            return Err(Error::Memory(terms.saturating_add(rows).saturating_mul(8)));
        }
        matrix.starts.push(0);
        for number in 0..rows {
            for (column, weight) in row(number) {
                matrix.places.push(column as u32);
                matrix.weights.push(weight);
            }
            matrix.starts.push(matrix.places.len());
        }
        Ok(matrix)
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// The terms (row, column, weight), row by row.
    fn terms(&self) -> impl Iterator<Item = (usize, usize, f64)> {
        (0..self.rows()).flat_map(move |row| {
            (self.starts[row]..self.starts[row + 1]).map(move |at| (row, self.places[at] as usize, self.weights[at]))
        })
    }

    /// Its transpose.
    pub fn transposed(&self) -> Matrix {
        let mut starts = vec![0usize; self.columns + 1];
        for &column in &self.places {
            starts[column as usize + 1] += 1;
        }
        for column in 0..self.columns {
            starts[column + 1] += starts[column];
        }
        let mut next = starts.clone();
        let (mut places, mut weights) = (vec![0u32; self.places.len()], vec![0.0; self.places.len()]);
        for (row, column, weight) in self.terms() {
            let at = next[column];
            next[column] += 1;
            (places[at], weights[at]) = (row as u32, weight);
        }
        Matrix { columns: self.rows(), starts, places, weights }
    }

    /// All its elements, row by row.
    fn dense(&self) -> Result<Tensor> {
        let mut elements = vec![0.0f64; self.rows() * self.columns];
        for (row, column, weight) in self.terms() {
            elements[row * self.columns + column] += weight;
        }
        Tensor::new(&elements, &[self.rows(), self.columns])
    }
}

/// The product of a matrix with every line of an input along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Resample {
    /// The axis, of as many elements as the matrix has columns.
    axis: usize,
    matrix: Arc<Matrix>,
}

/// `matrix` applied to every line of `x` along `axis`; the sizes fit, and `x` is f32 or f64.
pub(super) fn along(x: &Tensor, axis: usize, matrix: Matrix) -> Result<Tensor> {
    apply(Resample { axis, matrix: Arc::new(matrix) }, &[x])
}

impl Resample {
    fn transposed(&self) -> Resample {
        Resample { axis: self.axis, matrix: Arc::new(self.matrix.transposed()) }
    }

    /// The product on a CUDA device, where the matrix goes along.
    fn plan(&self, inputs: &[&Value], output: &Spec) -> Result<Plan> {
        let mut plan = Plan::new();
        let count: usize = output.shape.iter().product();
        if count == 0 {
            return Ok(plan);
        }
        let (matrix, dtype) = (&*self.matrix, output.dtype);
        let x = plan.contiguous(inputs, 0)?;
        let starts = matrix.starts.iter().flat_map(|&start| (start as i64).to_ne_bytes());
        let weight = |weight: &f64| Scalar::Float(*weight).to_bytes(dtype).into_iter().take(dtype.size());
        let places = matrix.places.iter().flat_map(|place| place.to_ne_bytes());
        let bytes: Vec<u8> = starts.chain(matrix.weights.iter().flat_map(weight)).chain(places).collect();
        let starts = match inputs[0].device() {
            Some(device) => plan.table(device, bytes)?,
            None => plan.write(bytes),
        };
        let weights = starts.after(8 * matrix.starts.len());
        let places = weights.after(dtype.size() * matrix.weights.len());
        let source = file("resample", include_str!("resample/resample.cu"), &[("T", c_type(dtype))]);
        let launch = Launch::over(source, "resample", count)?.with(x).with(Place::output(0));
        let launch = launch.with(starts).with(places).with(weights);
        let inner: usize = output.shape[self.axis + 1..].iter().product();
        plan.launch(launch.with(matrix.columns).with(matrix.rows()).with(inner).with(count));
        Ok(plan)
    }
}

/// Runs the kernel with the weights in the working precision.
///
/// # Safety
/// As [`along_axis`].
unsafe fn run<T: Real>(matrix: &Matrix, x: &Value, y: &mut Value, outer: usize, inner: usize) {
    let weights: Vec<T> = matrix.weights.iter().map(|&weight| T::from_f64(weight)).collect();
    let rows = Rows { starts: &matrix.starts, columns: &matrix.places, weights: &weights };
    // SAFETY: the caller's promise.
    unsafe { along_axis::<T>(x.pointer().cast(), y.pointer_mut().cast(), rows, outer, matrix.columns, inner) }
}

impl Family for Resample {
    fn name(&self) -> &'static str {
        "resample"
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let mut shape = *inputs[0].shape();
        shape[self.axis] = self.matrix.rows();
        Ok(smallvec![Spec { dtype: inputs[0].dtype(), shape }])
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let x = inputs[0].to_contiguous()?;
        let outer = x.shape()[..self.axis].iter().product();
        let inner = x.shape()[self.axis + 1..].iter().product();
        if outputs[0].count() == 0 {
            return Ok(());
        }
        // SAFETY: contiguous tensors whose sizes the matrix fits.
        with_real!(x.dtype(), T => unsafe { run::<T>(&self.matrix, &x, outputs[0], outer, inner) });
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        Some(self.plan(inputs, &outputs[0]))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, _saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        Ok(smallvec![Some(apply(self.transposed(), &[dy])?)])
    }

    fn jvp(&self, _inputs: &[Tensor], _outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        tangents[0].as_ref().map(|tangent| apply(self.clone(), &[tangent])).transpose()
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        let define = || {
            let x = &inputs[0];
            let matrix = beside(self.matrix.transposed().dense()?.cast(x.dtype())?, x)?;
            let last = x.swap_axes(self.axis as isize, -1)?;
            let y = crate::op::matmul::matmul(&last, &matrix)?;
            Ok(smallvec![y.swap_axes(self.axis as isize, -1)?])
        };
        Some(define())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::op::testing::{check_gradients, sample};

    fn matrix(columns: usize) -> Matrix {
        // Rows of no term, one, several, and the same column twice.
        let rows = [vec![], vec![(columns - 1, 2.0)], vec![(0, 0.5), (columns / 2, -1.5), (0, 0.25)], vec![(0, 1.0)]];
        Matrix::new(columns, rows.len(), 5, |row| rows[row].clone()).unwrap()
    }

    #[test]
    fn kernels_equal_their_definition() {
        for (shape, axis) in
            [(vec![5], 0), (vec![3, 7], 1), (vec![2, 3, 4, 9], 2), (vec![2, 5, 70], 1), (vec![1, 2, 0], 1)]
        {
            let op = Resample { axis, matrix: Arc::new(matrix(shape[axis])) };
            for (dtype, bound) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
                let x = sample(&shape, -1.0, 1.0, 3).cast(dtype).unwrap();
                for op in [op.clone(), op.transposed()] {
                    let x = if op == op.transposed().transposed() && op.matrix.columns == shape[axis] {
                        x.clone()
                    } else {
                        let mut of = shape.clone();
                        of[axis] = op.matrix.columns;
                        sample(&of, -1.0, 1.0, 4).cast(dtype).unwrap()
                    };
                    let y = apply(op.clone(), &[&x]).unwrap();
                    let expected = op.expand(&[x]).unwrap().unwrap().swap_remove(0);
                    let error = y.sub(&expected).unwrap().abs().unwrap().cast(DType::F64).unwrap();
                    assert_eq!(y.shape(), expected.shape());
                    assert!(error.to_vec::<f64>().unwrap().iter().all(|&error| error < bound), "{shape:?} {axis}");
                }
            }
        }
    }

    #[test]
    fn gradients_are_right_to_second_order() {
        let x = sample(&[2, 4, 3], -1.0, 1.0, 1);
        check_gradients(|x| along(&x[0].square()?, 1, matrix(4)), std::slice::from_ref(&x));
        check_gradients(|x| along(&x[0].square()?, 2, matrix(3)), std::slice::from_ref(&x));
    }
}
