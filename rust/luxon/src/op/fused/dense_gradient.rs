//! The gradients of a dense layer straight from the kernels.
//!
//! The rule of [`Dense`](super::dense::Dense) is written in tensor operations, which serve every device, every
//! type and higher derivatives. In the common case, a plain backward pass over host values, small layers would
//! spend longer in those operations than in their kernels; here the same kernels run on the same memory without
//! them. So the bits are those of the rule, and where anything is out of the ordinary the rule is left to it.

use super::activation::Activation;
use super::with_real;
use crate::cpu::gemm::{Element, Gemm, gemm};
use crate::cpu::reduce::{Reduction, reduce};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::op::{Gradients, Saved};
use crate::runtime::interrupt;
use crate::tensor::{Tensor, Value};

/// Whether a kernel reads the tensor as it is, and nothing records what becomes of it.
fn is_plain(tensor: &Tensor) -> bool {
    !tensor.is_tracked() && tensor.value().is_host() && matches!(tensor.dtype(), DType::F32 | DType::F64)
}

/// A matrix in memory: its first element and the steps to the next row and the next column.
#[derive(Clone, Copy)]
struct Matrix {
    start: *const u8,
    row: isize,
    column: isize,
}

impl Matrix {
    fn transposed(self) -> Matrix {
        Matrix { row: self.column, column: self.row, ..self }
    }
}

/// A value of any rank as rows of its last axis; none where its layout is not that of a matrix.
fn as_rows(value: &Value, rows: usize, columns: usize) -> Option<Matrix> {
    let layout = value.layout();
    let (row, column) = match layout.rank() {
        2 => (layout.strides[0], layout.strides[1]),
        _ => {
            let layout = layout.reshape(&Shape::from_slice(&[rows, columns]).ok()?)?;
            (layout.strides[0], layout.strides[1])
        }
    };
    Some(Matrix { start: value.pointer(), row, column })
}

/// `a b` in a new tensor of some shape; the sizes are rows, columns and terms.
///
/// # Safety
/// The matrices have these sizes and elements of type `T`, and the shape has as many elements as the product.
unsafe fn product<T: Element>(
    (m, n, k): (usize, usize, usize),
    a: Matrix,
    b: Matrix,
    dtype: DType,
    shape: &Shape,
) -> Result<Tensor> {
    filled(dtype, shape, |c| {
        let problem = Gemm::<T> {
            m,
            n,
            k,
            a: a.start.cast(),
            a_row: a.row,
            a_column: a.column,
            b: b.start.cast(),
            b_row: b.row,
            b_column: b.column,
            c: c.cast(),
            c_row: n as isize,
            accumulate: false,
            bias: std::ptr::null(),
        };
        // SAFETY: the caller's promise; C is fresh and contiguous.
        unsafe { gemm(&problem, None) };
    })
}

/// A new tensor that a kernel fills.
fn filled(dtype: DType, shape: &Shape, fill: impl FnOnce(*mut u8)) -> Result<Tensor> {
    let mut tensor = Tensor::empty(dtype, shape)?;
    if let Some(value) = std::sync::Arc::get_mut(&mut tensor.value) {
        fill(value.pointer_mut());
    }
    Ok(tensor)
}

/// The gradients of what is wanted from the cotangent `dy`; none where the rule has to find them.
pub(super) fn by_kernels(activation: Activation, saved: &Saved<'_>, dy: &Tensor) -> Result<Option<Gradients>> {
    let read = [Some(dy), saved.find_output(), saved.find_input(0), saved.find_input(1)];
    if activation.reads_argument() || dy.count() == 0 || !read.into_iter().flatten().all(is_plain) {
        return Ok(None);
    }
    let n = dy.shape()[dy.rank() - 1];
    let m = dy.count() / n;
    let rows_of = |index: usize| {
        let value = saved.find_input(index)?.value();
        let columns = value.shape()[value.shape().len() - 1];
        Some((as_rows(value, value.count() / columns.max(1), columns)?, columns))
    };
    let (weight, x) = (rows_of(1), rows_of(0));
    if (saved.wants(0) && weight.is_none()) || (saved.wants(1) && x.is_none()) {
        return Ok(None);
    }
    // Rules that do not read the output are given the cotangent in its place.
    let Some(dz) = activation.slope(None, saved.find_output().unwrap_or(dy), dy)? else { return Ok(None) };
    let dz = dz.contiguous()?;
    let rows = Matrix { start: dz.value().pointer(), row: n as isize, column: 1 };
    let dtype = dz.dtype();
    let mut gradients: Gradients = (0..saved.arity()).map(|_| None).collect();
    // SAFETY: the forward operation has checked that dz is m x n, the weight n x k and x m x k, all of one type.
    unsafe {
        if let (true, Some((weight, k))) = (saved.wants(0), weight) {
            let shape = saved.shape(0);
            gradients[0] = Some(with_real!(dtype, T => product::<T>((m, k, n), rows, weight, dtype, shape))?);
        }
        if let (true, Some((x, k))) = (saved.wants(1), x) {
            let shape = saved.shape(1);
            let (sizes, rows) = ((n, k, m), rows.transposed());
            gradients[1] = Some(with_real!(dtype, T => product::<T>(sizes, rows, x, dtype, shape))?);
        }
    }
    if saved.arity() > 2 && saved.wants(2) {
        gradients[2] = Some(filled(dtype, saved.shape(2), |sums| {
            // SAFETY: dz has m rows of n contiguous elements, there is room for n sums.
            unsafe {
                reduce(Reduction::Sum, dtype, &[m, n], rows.start, &[n as isize, 1], &[true, false], sums);
            }
        })?);
    }
    if interrupt::take() { Err(Error::Interrupted) } else { Ok(Some(gradients)) }
}
