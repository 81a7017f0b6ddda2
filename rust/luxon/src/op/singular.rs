//! The singular values of matrices, for norms.
//!
//! The values are differentiated, the vectors are extras that the rules read: `dA = U diag(ds) V^T`. The vectors
//! themselves have no derivative, so there is no second one; asking for it is an error, not a wrong number.
//! Where values coincide or vanish the gradient is one of the subgradients.

use smallvec::smallvec;

use crate::cpu::singular::decompose;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Shape, show};
use crate::op::matmul::matmul;
use crate::op::{Family, Gradients, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

/// Singular values, largest first, with left and right vectors as columns, of the matrices in the last two axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Singular;

fn refuse_tracked(tensors: &[&Tensor]) -> Result<()> {
    if tensors.iter().any(|tensor| tensor.is_tracked()) {
        return Err(Error::value("singular_values", "second derivatives are not available"));
    }
    Ok(())
}

/// `diag(U^T A V)`: the derivative of the values in the direction `A`.
fn along(direction: &Tensor, u: &Tensor, v: &Tensor) -> Result<Tensor> {
    matmul(direction, v)?.mul(u)?.sum(Some(&[-2]), false)
}

impl Family for Singular {
    fn name(&self) -> &'static str {
        "singular_values"
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let (dtype, shape) = (inputs[0].dtype(), inputs[0].shape());
        let (stack, matrix) = shape.split_at(shape.len() - 2);
        let count = matrix[0].min(matrix[1]);
        let with = |last: &[usize]| -> Result<Spec> {
            Ok(Spec { dtype, shape: Shape::collect(stack.iter().chain(last).copied())? })
        };
        Ok(smallvec![with(&[count])?, with(&[matrix[0], count])?, with(&[matrix[1], count])?])
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let x = inputs[0].to_contiguous()?;
        match x.dtype() {
            // SAFETY: contiguous elements of the dtype in the input and the fresh outputs.
            DType::F32 => unsafe { run::<f32>(&x, outputs, f64::from, |value| value as f32) },
            // SAFETY: as above.
            _ => unsafe { run::<f64>(&x, outputs, |value| value, |value| value) },
        }
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        refuse_tracked(&[saved.input(0)?])?;
        let (u, v) = (saved.extra(0)?, saved.extra(1)?);
        Ok(smallvec![Some(matmul(&u.mul(&dy.expand_dims(-2)?)?, &v.matrix_transpose()?)?)])
    }

    fn jvp(&self, inputs: &[Tensor], outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        let Some(tangent) = &tangents[0] else { return Ok(None) };
        refuse_tracked(&[&inputs[0]])?;
        along(tangent, &outputs[1], &outputs[2]).map(Some)
    }
}

/// Decomposes matrix by matrix.
///
/// # Safety
/// The input and the outputs are contiguous host values with elements of type `T`.
unsafe fn run<T: Copy>(
    x: &Value,
    outputs: &mut [&mut Value],
    widen: impl Fn(T) -> f64,
    narrow: impl Fn(f64) -> T,
) -> Result<()> {
    let shape = x.shape();
    let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let count = rows.min(columns);
    if x.count() == 0 {
        return Ok(());
    }
    let (values, left, right): (*mut T, *mut T, *mut T) =
        (outputs[0].pointer_mut().cast(), outputs[1].pointer_mut().cast(), outputs[2].pointer_mut().cast());
    let elements = x.pointer().cast::<T>();
    for matrix in 0..x.count() / (rows * columns) {
        // SAFETY: the elements of matrix `matrix` in each of the values.
        unsafe {
            let given = std::slice::from_raw_parts(elements.add(matrix * rows * columns), rows * columns);
            let given: Vec<f64> = given.iter().map(|&element| widen(element)).collect();
            let Some(found) = decompose(&given, rows, columns) else { return Err(Error::Interrupted) };
            for k in 0..count {
                values.add(matrix * count + k).write(narrow(found.values[k]));
                for (i, &element) in found.left[k].iter().enumerate() {
                    left.add((matrix * rows + i) * count + k).write(narrow(element));
                }
                for (j, &element) in found.right[k].iter().enumerate() {
                    right.add((matrix * columns + j) * count + k).write(narrow(element));
                }
            }
        }
    }
    Ok(())
}

impl Tensor {
    /// The singular values of the matrices in the last two axes, largest first. NaN where an element is not finite.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let values = Tensor::new(&[3.0, 0.0, 0.0, -4.0], &[2, 2])?.singular_values()?;
    /// assert!(values.allclose(&Tensor::new(&[4.0, 3.0], &[2])?, 1e-12, 0.0, false)?);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for fewer than two axes.
    pub fn singular_values(&self) -> Result<Tensor> {
        if self.rank() < 2 {
            return Err(Error::shape(
                "singular_values",
                format_args!("needs two axes, shape is {}", show(self.shape())),
            ));
        }
        let dtype = self.dtype().to_float();
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        apply(Singular, &[&self.cast(wide)?])?.cast(dtype)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::testing::sample;
    use crate::transform::{grad, jvp};

    #[test]
    fn slopes_equal_differences() {
        for shape in [[2usize, 3, 3], [1, 4, 2], [2, 2, 5]] {
            let x = sample(&shape, -1.0, 1.0, 7);
            let weights = sample(&[shape[0], shape[1].min(shape[2])], 0.5, 1.0, 8);
            let f = |x: &Tensor| x.singular_values()?.mul(&weights)?.sum(None, false);
            let slope = grad(|x| f(&x[0]), &[x.clone()]).unwrap();
            let direction = sample(&shape, -1.0, 1.0, 9);
            let step = direction.mul(1e-6).unwrap();
            let (up, down) = (f(&x.add(&step).unwrap()).unwrap(), f(&x.sub(&step).unwrap()).unwrap());
            let difference = up.sub(&down).unwrap().to_vec::<f64>().unwrap()[0] / 2e-6;
            let product = slope[0].mul(&direction).unwrap().sum(None, false).unwrap().to_vec::<f64>().unwrap()[0];
            assert!((difference - product).abs() < 1e-8, "{difference} {product}");
            let (_, tangents) = jvp(|x| Ok(vec![f(&x[0])?]), &[x], &[direction]).unwrap();
            assert!((tangents[0].to_vec::<f64>().unwrap()[0] - product).abs() < 1e-12);
        }
    }

    #[test]
    fn second_derivatives_are_refused() {
        let x = sample(&[2, 2], -1.0, 1.0, 1);
        let norm = |x: &[Tensor]| x[0].singular_values()?.sum(None, false);
        let twice = grad(|x| grad(norm, x)?[0].sum(None, false), &[x.clone()]);
        assert_eq!(twice.unwrap_err().to_string(), "singular_values: second derivatives are not available");
        let vector = x.reshape(&[4]).unwrap().singular_values();
        assert_eq!(vector.unwrap_err().to_string(), "singular_values: needs two axes, shape is (4,)");
    }
}
