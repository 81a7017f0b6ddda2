//! The gradients of a dense layer straight from the kernels.
//!
//! The rule of [`Dense`](super::dense::Dense) is written in tensor operations, which serve every device, every
//! type and higher derivatives. In the common case, a plain backward pass over host values, small layers would
//! spend longer in those operations than in their kernels; here the same kernels run on the same memory without
//! them. So the bits are those of the rule, and where anything is out of the ordinary the rule is left to it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::activation::Activation;
use super::with_real;
use crate::cpu::gemm::{Gemm, estimate, gemm};
use crate::cpu::reduce::{Reduction, reduce};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::op::{Gradients, Saved};
use crate::runtime::interrupt;
use crate::runtime::threads::parallel;
use crate::tensor::{Tensor, Value};

/// Both products of so little serial work (ns) run beside each other, a thread each, rather than cut into tasks
/// one after the other: the threads meet once, and nothing is packed twice.
const SHORT: f64 = 100_000.0;
/// From so much on: what less work gains is lost on the way to the other core.
const WORTH_SHARING: f64 = 5_000.0;

/// Whether a kernel reads the tensor as it is, and nothing records what becomes of it.
fn is_plain(tensor: &Tensor) -> bool {
    !tensor.is_tracked() && tensor.value().is_host() && matches!(tensor.dtype(), DType::F32 | DType::F64)
}

/// A matrix in memory: its first element and the steps to the next row and the next column.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    pub(super) start: *const u8,
    pub(super) row: isize,
    pub(super) column: isize,
}

impl Matrix {
    fn transposed(self) -> Matrix {
        Matrix { row: self.column, column: self.row, ..self }
    }
}

/// A value of any rank as rows of its last axis; none where its layout is not that of a matrix.
pub(super) fn as_rows(value: &Value, rows: usize, columns: usize) -> Option<Matrix> {
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

/// `a b` of matrices with m x k and k x n elements into a new tensor.
struct Product {
    m: usize,
    n: usize,
    k: usize,
    a: Matrix,
    b: Matrix,
    dtype: DType,
    result: *mut u8,
}

// SAFETY: products read tensors that nobody writes meanwhile, and each writes a result of its own.
unsafe impl Sync for Product {}

impl Product {
    /// # Safety
    /// The matrices have these sizes and elements of the dtype, and the result has room for m x n of them.
    unsafe fn run(&self) {
        with_real!(self.dtype, T => {
            let problem = Gemm::<T> {
                m: self.m,
                n: self.n,
                k: self.k,
                a: self.a.start.cast(),
                a_row: self.a.row,
                a_column: self.a.column,
                b: self.b.start.cast(),
                b_row: self.b.row,
                b_column: self.b.column,
                c: self.result.cast(),
                c_row: self.n as isize,
                accumulate: false,
                bias: std::ptr::null(),
            };
            // SAFETY: the caller's promise; the result is fresh and contiguous.
            unsafe { gemm(&problem, None) };
        });
    }
}

/// A new tensor, and where its elements are to be written.
fn fresh(dtype: DType, shape: &Shape) -> Result<(Tensor, *mut u8)> {
    let mut tensor = Tensor::empty(dtype, shape)?;
    let start = Arc::get_mut(&mut tensor.value).map_or(std::ptr::null_mut(), Value::pointer_mut);
    Ok((tensor, start))
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
    let mut product = |index: usize, (m, n, k): (usize, usize, usize), a: Matrix, b: Matrix| -> Result<Product> {
        let (tensor, result) = fresh(dtype, saved.shape(index))?;
        gradients[index] = Some(tensor);
        Ok(Product { m, n, k, a, b, dtype, result })
    };
    let by_x = weight.filter(|_| saved.wants(0)).map(|(weight, k)| product(0, (m, k, n), rows, weight)).transpose()?;
    let by_weight =
        x.filter(|_| saved.wants(1)).map(|(x, k)| product(1, (n, k, m), rows.transposed(), x)).transpose()?;
    let products: SmallVec<[Product; 2]> = by_x.into_iter().chain(by_weight).collect();
    let nanoseconds: f64 = products.iter().map(|product| estimate::<f32>(product.m, product.n, product.k)).sum();
    // SAFETY: the forward operation has checked that dz is m x n, the weight n x k and x m x k, all of one type.
    let run = |index: usize| unsafe { products[index].run() };
    if (WORTH_SHARING..SHORT).contains(&nanoseconds) {
        parallel(products.len(), nanoseconds, &run);
    } else {
        (0..products.len()).for_each(run);
    }
    if saved.arity() > 2 && saved.wants(2) {
        let (tensor, sums) = fresh(dtype, saved.shape(2))?;
        // SAFETY: dz has m rows of n contiguous elements, there is room for n sums.
        unsafe {
            reduce(Reduction::Sum, dtype, &[m, n], rows.start, &[n as isize, 1], &[true, false], sums);
        }
        gradients[2] = Some(tensor);
    }
    if interrupt::take() { Err(Error::Interrupted) } else { Ok(Some(gradients)) }
}
