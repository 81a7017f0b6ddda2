//! The gradients of a dense layer straight from the kernels.
//!
//! The rule of [`Dense`](super::dense::Dense) is written in tensor operations, which serve every device, every
//! type and higher derivatives. In the common case, a plain backward pass over host values, small layers would
//! spend longer in those operations than in their kernels; here the same kernels run on the same memory without
//! them. So the bits are those of the rule, and where anything is out of the ordinary the rule is left to it.
//! The layers before wait for the gradient of the input only, so those of weight and bias are put aside for a
//! thread that has nothing else to do.

use std::sync::Arc;

use super::activation::Activation;
use super::with_real;
use crate::cpu::gemm::{Gemm, estimate, gemm};
use crate::cpu::reduce::{Reduction, reduce};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::op::{Gradients, Saved};
use crate::runtime::interrupt;
use crate::runtime::threads::{put_aside, takes_aside};
use crate::tensor::{Tensor, Value};

/// A product of more serial work (ns) is cut into tasks for all threads instead of being put aside as a whole.
const LONG: f64 = 100_000.0;
/// A product of fewer terms is not put aside either: its elements cost less than the way from the worker's cache to
/// that of whoever updates the parameters. Cut by rows, each core gets those of the weight that are its own.
const FEW_TERMS: usize = 4;

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
unsafe impl Send for Product {}

impl Product {
    /// The serial work (ns).
    fn estimate(&self) -> f64 {
        with_real!(self.dtype, T => estimate::<T>(self.m, self.n, self.k))
    }

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

/// The sums of the columns of contiguous rows.
struct Sums {
    m: usize,
    n: usize,
    rows: Matrix,
    dtype: DType,
    result: *mut u8,
}

// SAFETY: as for products.
unsafe impl Send for Sums {}

impl Sums {
    /// # Safety
    /// There are m rows of n elements of the dtype, and the result has room for n of them.
    unsafe fn run(&self) {
        if self.m == 1 {
            with_real!(self.dtype, T => {
                let (row, result) = (self.rows.start.cast::<T>(), self.result.cast::<T>());
                for column in 0..self.n {
                    // SAFETY: the caller's promise. A sum of one number is 0 plus it, which makes 0 of -0.
                    unsafe { result.add(column).write(0.0 + row.add(column).read()) };
                }
            });
            return;
        }
        let (start, steps) = (self.rows.start, [self.n as isize, 1]);
        // SAFETY: the caller's promise.
        unsafe { reduce(Reduction::Sum, self.dtype, &[self.m, self.n], start, &steps, &[true, false], self.result) };
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
    let sums = (saved.arity() > 2 && saved.wants(2)).then(|| fresh(dtype, saved.shape(2))).transpose()?;
    let by_bias = sums.as_ref().map(|(_, result)| Sums { m, n, rows, dtype, result: *result });
    if let Some((tensor, _)) = sums {
        gradients[2] = Some(tensor);
    }
    let aside = by_x.is_some() && is_put_aside(saved, &gradients, by_weight.as_ref());
    // SAFETY: the forward operation has checked that dz is m x n, the weight n x k and x m x k, all of one type; what
    // is read and written is held until the end.
    let parameters = move || unsafe {
        by_weight.iter().for_each(|product| product.run());
        by_bias.iter().for_each(|sums| sums.run());
    };
    if aside {
        let results = [1, 2].map(|index| gradients.get(index).cloned().flatten());
        let held = (dz.clone(), saved.find_input(0).cloned(), results);
        put_aside(Box::new(move || {
            let _held = &held;
            parameters();
        }));
    } else {
        parameters();
    }
    if let Some(by_x) = by_x {
        // SAFETY: as above.
        unsafe { by_x.run() };
    }
    if interrupt::take() { Err(Error::Interrupted) } else { Ok(Some(gradients)) }
}

/// Whether the gradients of weight and bias are worth being put aside, and nobody reads them soon.
fn is_put_aside(saved: &Saved<'_>, gradients: &Gradients, by_weight: Option<&Product>) -> bool {
    let Some(product) = by_weight else { return false };
    let nanoseconds = product.estimate();
    let results = (1..gradients.len()).all(|index| gradients[index].is_none() || saved.is_result(index));
    results && product.k >= FEW_TERMS && nanoseconds < LONG && takes_aside(nanoseconds)
}
