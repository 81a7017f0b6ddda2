//! Products of matrices: one operation with transpose flags and broadcast batch axes.
//!
//! Operands are read through their strides, so a transposed, sliced or broadcast view needs no copy; the
//! flags spare the derivatives even the view. Batch axes of the first operand are folded into its rows
//! where the second repeats: `(batch, time, in) @ (in, out)` is one large product. The transpose of a
//! broadcast, a sum over the batch, is a flag too, and folds into the inner dimension the same way.
//! Half types are widened to f32 for the product and rounded once at its end.

use std::borrow::Cow;

use smallvec::{SmallVec, smallvec};

use crate::cpu::cast;
use crate::cpu::gemm::{Gemm, gemm, gemm_batched, gemm_integer};
use crate::dtype::{DType, Kind};
use crate::error::{Error, Result};
use crate::layout::{Shape, Strides, broadcast_shapes, show};
use crate::op::elementwise::accumulate;
use crate::op::linear::sum_to;
use crate::op::{Family, Gradients, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

mod cuda;

/// `A B` over the last two axes of operands with one dtype and at least two axes each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matmul {
    /// The first operand holds A with its last two axes swapped.
    pub transpose_a: bool,
    /// The second operand holds B with its last two axes swapped.
    pub transpose_b: bool,
    /// The products are summed over the batch axes, which both operands then have alike.
    pub sum_batch: bool,
}

/// Sizes of a product: rows, columns, and what is summed over.
struct Sizes {
    m: usize,
    n: usize,
    k: usize,
    batch: Shape,
}

impl Matmul {
    fn sizes(self, a: &Shape, b: &Shape) -> Result<Sizes> {
        let refuse = |what: String| {
            Error::shape("matmul", format_args!("shapes {} and {} do not fit: {what}", show(a), show(b)))
        };
        if a.len() < 2 || b.len() < 2 {
            return Err(refuse("each operand needs at least two axes here".into()));
        }
        let last_two = |shape: &Shape, swap: bool| {
            let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
            if swap { (columns, rows) } else { (rows, columns) }
        };
        let ((m, k), (other, n)) = (last_two(a, self.transpose_a), last_two(b, self.transpose_b));
        if k != other {
            return Err(refuse(format!("{k} against {other}")));
        }
        let (a_batch, b_batch) = (&a[..a.len() - 2], &b[..b.len() - 2]);
        if self.sum_batch && a_batch != b_batch {
            return Err(refuse("the batch axes of a summed product must be the same".into()));
        }
        let batch = broadcast_shapes("matmul", a_batch, b_batch)
            .map_err(|_| refuse(format!("batch axes {} against {}", show(a_batch), show(b_batch))))?;
        Ok(Sizes { m, n, k, batch })
    }
}

/// Batch axes that both operands walk evenly, merged: size and the operands' strides.
type Batch = SmallVec<[(usize, isize, isize); 4]>;

fn merged_batch(batch: &Shape, a: &Value, b: &Value) -> Batch {
    let stride = |value: &Value, axis: usize| {
        let own = value.shape().len() - 2;
        match (axis + own).checked_sub(batch.len()) {
            Some(axis) if value.shape()[axis] != 1 => value.layout().strides[axis],
            _ => 0,
        }
    };
    let mut merged = Batch::new();
    for (axis, &size) in batch.iter().enumerate() {
        let (by_a, by_b) = (stride(a, axis), stride(b, axis));
        match merged.last_mut() {
            _ if size == 1 => {}
            Some(last) if last.1 == by_a * size as isize && last.2 == by_b * size as isize => {
                *last = (last.0 * size, by_a, by_b)
            }
            _ => merged.push((size, by_a, by_b)),
        }
    }
    merged
}

/// Element strides of the last two axes of a matrix operand, in the order (row, column).
fn matrix_strides(strides: &Strides, swap: bool) -> (isize, isize) {
    let (row, column) = (strides[strides.len() - 2], strides[strides.len() - 1]);
    if swap { (column, row) } else { (row, column) }
}

/// A product whose operands and result are described, for elements of any type.
struct Plan<T> {
    problem: Gemm<T>,
    batch: Batch,
    sum_batch: bool,
}

impl<T> Plan<T> {
    fn new(op: Matmul, sizes: &Sizes, a: &Value, b: &Value, c: *mut T) -> Plan<T> {
        let (a_row, a_column) = matrix_strides(&a.layout().strides, op.transpose_a);
        let (b_row, b_column) = matrix_strides(&b.layout().strides, op.transpose_b);
        let (mut m, n, mut k) = (sizes.m, sizes.n, sizes.k);
        let (mut a_row, mut a_column, mut b_row) = (a_row, a_column, b_row);
        let mut batch = merged_batch(&sizes.batch, a, b);
        if op.sum_batch && batch.iter().any(|axis| axis.0 == 0) {
            // A sum of no products is the product over an empty inner dimension.
            k = 0;
            batch.clear();
        }
        if let Some(&(size, by_a, by_b)) = batch.last() {
            if op.sum_batch {
                // Entries that follow on each other along both inner dimensions are one longer sum.
                if k == 1 || (by_a == k as isize * a_column && by_b == k as isize * b_row) {
                    if k == 1 {
                        (a_column, b_row) = (by_a, by_b);
                    }
                    k *= size;
                    batch.pop();
                }
            } else if by_b == 0 && (m == 1 || by_a == m as isize * a_row) {
                // Entries that differ only in A are further rows of it.
                if m == 1 {
                    a_row = by_a;
                }
                m *= size;
                batch.pop();
            }
        }
        let problem = Gemm {
            m,
            n,
            k,
            a: a.pointer().cast(),
            a_row,
            a_column,
            b: b.pointer().cast(),
            b_row,
            b_column,
            c,
            c_row: n as isize,
            accumulate: false,
            bias: std::ptr::null(),
        };
        Plan { problem, batch, sum_batch: op.sum_batch }
    }

    /// The offsets of every batch entry, row-major; entries of C lie one after the other.
    fn offsets(&self) -> Vec<(isize, isize, isize)> {
        let step = if self.sum_batch { 0 } else { self.problem.m * self.problem.n };
        let mut offsets = vec![(0, 0, 0)];
        for &(size, by_a, by_b) in &self.batch {
            let entries = offsets
                .iter()
                .flat_map(|&(a, b, _)| (0..size as isize).map(move |index| (a + index * by_a, b + index * by_b, 0)));
            offsets = entries.collect();
        }
        for (index, offset) in offsets.iter_mut().enumerate() {
            offset.2 = (index * step) as isize;
        }
        offsets
    }

    /// Calls `one` for every batch entry in order.
    fn each(&self, one: impl Fn(&Gemm<T>)) {
        for (index, (a, b, c)) in self.offsets().into_iter().enumerate() {
            one(&Gemm {
                a: self.problem.a.wrapping_offset(a),
                b: self.problem.b.wrapping_offset(b),
                c: self.problem.c.wrapping_offset(c),
                accumulate: self.sum_batch && index > 0,
                ..self.problem
            });
        }
    }

    /// # Safety
    /// As for [`gemm`], for every batch entry.
    unsafe fn run_float(&self)
    where
        T: crate::cpu::gemm::Element,
    {
        // SAFETY: passed on.
        unsafe {
            if self.batch.is_empty() {
                gemm(&self.problem, None);
            } else if self.sum_batch {
                self.each(|problem| gemm(problem, None));
            } else {
                gemm_batched(&self.problem, &self.offsets());
            }
        }
    }

    /// # Safety
    /// As for [`gemm_integer`], for every batch entry.
    unsafe fn run_integer(&self)
    where
        T: crate::cpu::gemm::Integer,
    {
        // SAFETY: passed on.
        self.each(|problem| unsafe { gemm_integer(problem) });
    }
}

/// The value in a dtype that kernels compute in: itself, or a contiguous converted copy.
pub(crate) fn converted(value: &Value, dtype: DType) -> Result<Cow<'_, Value>> {
    if value.dtype() == dtype {
        return Ok(Cow::Borrowed(value));
    }
    let source = value.to_contiguous()?;
    let mut copy = Value::empty(dtype, value.shape())?;
    // SAFETY: both contiguous, of one count and of these dtypes.
    unsafe { cast::cast(source.dtype(), dtype, source.count(), source.pointer(), copy.pointer_mut()) };
    Ok(Cow::Owned(copy))
}

/// The same, contiguous in any case.
pub(crate) fn laid_out(value: &Value, dtype: DType) -> Result<Cow<'_, Value>> {
    if value.is_contiguous() {
        converted(value, dtype)
    } else {
        Ok(Cow::Owned(converted(value, dtype)?.to_contiguous()?))
    }
}

/// Runs `fill` on an output in the dtype that kernels compute in, and rounds the result to the output's.
pub(crate) fn filled_in(output: &mut Value, dtype: DType, fill: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
    if output.dtype() == dtype {
        return fill(output);
    }
    let mut wide = Value::empty(dtype, output.shape())?;
    fill(&mut wide)?;
    // SAFETY: both contiguous, of one count and of these dtypes.
    unsafe { cast::cast(dtype, output.dtype(), wide.count(), wide.pointer(), output.pointer_mut()) };
    Ok(())
}

impl Family for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let sizes = self.sizes(inputs[0].shape(), inputs[1].shape())?;
        let mut shape = if self.sum_batch { Shape::new() } else { sizes.batch };
        shape.push(sizes.m)?;
        shape.push(sizes.n)?;
        Ok(smallvec![Spec { dtype: inputs[0].dtype(), shape }])
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let sizes = self.sizes(inputs[0].shape(), inputs[1].shape())?;
        if outputs[0].count() == 0 {
            return Ok(());
        }
        let stored = inputs[0].dtype();
        let compute = match stored {
            half if half.is_half() => DType::F32,
            DType::Bool | DType::U8 => DType::I32,
            other => other,
        };
        let (a, b) = (converted(inputs[0], compute)?, converted(inputs[1], compute)?);
        filled_in(outputs[0], compute, |c| {
            let c = c.pointer_mut();
            // SAFETY: the layouts lie within their storages, C is fresh, contiguous and has the product's shape.
            unsafe {
                match compute {
                    DType::F64 => Plan::<f64>::new(*self, &sizes, &a, &b, c.cast()).run_float(),
                    DType::I32 => Plan::<i32>::new(*self, &sizes, &a, &b, c.cast()).run_integer(),
                    DType::I64 => Plan::<i64>::new(*self, &sizes, &a, &b, c.cast()).run_integer(),
                    _ => Plan::<f32>::new(*self, &sizes, &a, &b, c.cast()).run_float(),
                }
            }
            Ok(())
        })
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<crate::cuda::Plan>> {
        Some(Matmul::plan(self, inputs, &outputs[0]))
    }

    fn saves(&self, wanted: u32) -> Saves {
        // Each operand's gradient reads the other operand.
        Saves { inputs: (wanted & 1) << 1 | (wanted >> 1 & 1), output: false }
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let mut gradients: Gradients = smallvec![None, None];
        if saved.wants(0) {
            let b = saved.input(1)?;
            // dA = dY B^T; of a transposed A, (dY B^T)^T = B dY^T.
            gradients[0] = Some(match self.transpose_a {
                false => onto(dy, b, false, !self.transpose_b, saved.shape(0))?,
                true => onto(b, dy, self.transpose_b, true, saved.shape(0))?,
            });
        }
        if saved.wants(1) {
            let a = saved.input(0)?;
            // dB = A^T dY; of a transposed B, (A^T dY)^T = dY^T A.
            gradients[1] = Some(match self.transpose_b {
                false => onto(a, dy, !self.transpose_a, false, saved.shape(1))?,
                true => onto(dy, a, true, self.transpose_a, saved.shape(1))?,
            });
        }
        Ok(gradients)
    }

    fn jvp(&self, inputs: &[Tensor], _outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        let by_a = tangents[0].as_ref().map(|tangent| apply(*self, &[tangent, &inputs[1]])).transpose()?;
        let by_b = tangents[1].as_ref().map(|tangent| apply(*self, &[&inputs[0], tangent])).transpose()?;
        match (by_a, by_b) {
            (Some(a), Some(b)) => accumulate(a, &b).map(Some),
            (a, b) => Ok(a.or(b)),
        }
    }
}

/// The product, summed or repeated over batch axes as the operand of shape `target` was repeated or summed.
fn onto(a: &Tensor, b: &Tensor, transpose_a: bool, transpose_b: bool, target: &Shape) -> Result<Tensor> {
    let batch = broadcast_shapes("matmul", &a.shape()[..a.rank() - 2], &b.shape()[..b.rank() - 2])?;
    let wanted = &target[..target.len() - 2];
    let plain = Matmul { transpose_a, transpose_b, sum_batch: false };
    if batch[..] == *wanted {
        return apply(plain, &[a, b]);
    }
    let over = |tensor: &Tensor| {
        let mut shape = batch;
        shape.push(tensor.shape()[tensor.rank() - 2])?;
        shape.push(tensor.shape()[tensor.rank() - 1])?;
        tensor.broadcast_to(&shape)
    };
    if wanted.iter().all(|&size| size == 1) {
        let summed = apply(Matmul { sum_batch: true, ..plain }, &[&over(a)?, &over(b)?])?;
        return summed.reshape_to(target);
    }
    let product = apply(plain, &[a, b])?;
    if batch.len() < wanted.len() { product.broadcast_to(target) } else { sum_to(&product, target) }
}

/// The product of two tensors that have at least two axes each and whose dtypes may differ.
fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let dtype = a.dtype().promote(b.dtype());
    if dtype.kind() == Kind::Bool {
        return Err(Error::unsupported("matmul", dtype, "numbers; cast with astype"));
    }
    if a.dtype() == b.dtype() {
        return apply(Matmul::default(), &[a, b]);
    }
    apply(Matmul::default(), &[&a.cast(dtype)?, &b.cast(dtype)?])
}

/// The matrix product over the last two axes, broadcast over the others.
///
/// A vector as first operand is a row and as second a column, and that axis is left out of the result.
///
/// ```
/// use luxon::{Tensor, matmul};
/// let a = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
/// let x = Tensor::new(&[1.0f32, -1.0], &[2])?;
/// assert_eq!(matmul(&a, &x)?.to_vec::<f32>()?, [-1.0, -1.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for an operand without axes, inner sizes that differ, or batch axes that do not
/// broadcast; [`Error::Type`] for truth values.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.rank() >= 2 && b.rank() >= 2 {
        return product(a, b);
    }
    let refuse = |what: String| {
        Error::shape("matmul", format_args!("shapes {} and {} do not fit: {what}", show(a.shape()), show(b.shape())))
    };
    if a.rank() == 0 || b.rank() == 0 {
        return Err(refuse("an operand has no axes; use multiply".into()));
    }
    let inner = (a.shape()[a.rank() - 1], b.shape()[b.rank().saturating_sub(2)]);
    if inner.0 != inner.1 {
        return Err(refuse(format!("{} against {}", inner.0, inner.1)));
    }
    let rows = if a.rank() == 1 { a.expand_dims(0)? } else { a.clone() };
    let columns = if b.rank() == 1 { b.expand_dims(1)? } else { b.clone() };
    let product = product(&rows, &columns)?;
    let mut shape = *product.shape();
    if a.rank() == 1 {
        shape.remove(shape.len() - 2);
    }
    if b.rank() == 1 {
        shape.remove(shape.len() - 1);
    }
    product.reshape_to(&shape)
}

impl Tensor {
    /// The matrix product with another tensor; see [`matmul`].
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2, 3, 4], &[2, 2])?;
    /// assert_eq!(x.matmul(&Tensor::new(&[1, 1], &[2])?)?.to_vec::<i32>()?, [3, 7]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        matmul(self, other)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::testing::{check_gradients, sample};

    /// The product from its definition, after broadcasting, in f64.
    fn reference(a: &Tensor, b: &Tensor) -> Vec<f64> {
        let left = a.expand_dims(-1).unwrap();
        let right = b.expand_dims(-3).unwrap();
        left.mul(&right).unwrap().sum(Some(&[-2]), false).unwrap().to_vec().unwrap()
    }

    fn assert_close(actual: &[f64], expected: &[f64]) {
        assert_eq!(actual.len(), expected.len());
        for (x, y) in actual.iter().zip(expected) {
            assert!((x - y).abs() <= 1e-12 * (1.0 + y.abs()), "{x} against {y}");
        }
    }

    #[test]
    fn any_layout_and_batch_equals_the_definition() {
        let shapes: [(&[usize], &[usize]); 12] = [
            (&[3, 4], &[4, 5]),
            (&[2, 3, 4], &[4, 5]),
            (&[7, 2, 3, 4], &[4, 5]),
            (&[4, 5], &[2, 5, 3]),
            (&[2, 3, 4], &[2, 4, 5]),
            (&[3, 1, 2, 4], &[2, 4, 5]),
            (&[1, 1, 4], &[6, 4, 2]),
            (&[0, 3, 4], &[4, 5]),
            (&[3, 0], &[0, 2]),
            (&[5, 1, 4], &[4, 3]),
            (&[2, 3, 4], &[2, 4, 1]),
            (&[2, 3, 2, 5], &[3, 5, 4]),
        ];
        for (left, right) in shapes {
            let (a, b) = (sample(left, -1.0, 1.0, 1), sample(right, -1.0, 1.0, 2));
            let y = matmul(&a, &b).unwrap();
            assert_close(&y.to_vec().unwrap(), &reference(&a, &b));
            // The same operands as views: transposed in memory, flipped, and broadcast.
            let turned = |t: &Tensor| t.matrix_transpose().unwrap().contiguous().unwrap();
            let views =
                matmul(&turned(&a).matrix_transpose().unwrap(), &turned(&b).matrix_transpose().unwrap()).unwrap();
            assert_close(&views.to_vec().unwrap(), &reference(&a, &b));
            let flipped = a.flip(&[-1, -2]).unwrap();
            assert_close(&matmul(&flipped, &b).unwrap().to_vec().unwrap(), &reference(&flipped, &b));
            // Flags read transposed operands in place.
            for (transpose_a, transpose_b) in [(true, false), (false, true), (true, true)] {
                let left = if transpose_a { turned(&a) } else { a.clone() };
                let right = if transpose_b { turned(&b) } else { b.clone() };
                let op = Matmul { transpose_a, transpose_b, sum_batch: false };
                assert_close(&apply(op, &[&left, &right]).unwrap().to_vec().unwrap(), &reference(&a, &b));
            }
        }
    }

    #[test]
    fn sums_over_the_batch_fold_or_accumulate() {
        for shape in [&[3usize, 4][..], &[2, 3, 4], &[2, 3, 4, 5], &[0, 3, 4], &[5, 1, 3], &[5, 3, 1]] {
            let other: Vec<usize> = shape[..shape.len() - 1].iter().copied().chain([2]).collect();
            let (a, b) = (sample(shape, -1.0, 1.0, 3), sample(&other, -1.0, 1.0, 4));
            for views in [false, true] {
                let place = |t: &Tensor| if views { t.flip(&[0]).unwrap() } else { t.clone() };
                let op = Matmul { transpose_a: true, transpose_b: false, sum_batch: true };
                let y = apply(op, &[&place(&a), &place(&b)]).unwrap();
                let batches: Vec<isize> = (0..shape.len() as isize - 2).collect();
                let each = matmul(&a.matrix_transpose().unwrap(), &b).unwrap();
                let expected = if batches.is_empty() { each } else { each.sum(Some(&batches), false).unwrap() };
                if shape.len() > 2 || !views {
                    assert_close(&y.to_vec().unwrap(), &expected.to_vec::<f64>().unwrap());
                }
            }
            let op = Matmul { transpose_a: true, transpose_b: false, sum_batch: true };
            check_gradients(|x| apply(op, &[&x[0], &x[1]]), &[a, b]);
        }
    }

    #[test]
    fn gradients_are_right_for_every_pair_of_shapes() {
        let shapes: [(&[usize], &[usize]); 11] = [
            (&[2, 3], &[3, 2]),
            (&[2, 2, 3], &[3, 2]),
            (&[2, 3], &[2, 3, 2]),
            (&[2, 1, 2, 3], &[3, 3, 2]),
            (&[1, 2, 3], &[2, 3, 2]),
            (&[3], &[3]),
            (&[3], &[3, 2]),
            (&[2, 3], &[3]),
            (&[3], &[2, 3, 2]),
            (&[2, 2, 3], &[3]),
            (&[2, 0], &[0, 2]),
        ];
        for (left, right) in shapes {
            let inputs = [sample(left, -1.0, 1.0, 5), sample(right, -1.0, 1.0, 6)];
            check_gradients(|x| matmul(&x[0], &x[1]), &inputs);
        }
        let inputs = [sample(&[2, 3, 2], -1.0, 1.0, 5), sample(&[4, 3], -1.0, 1.0, 6)];
        let op = Matmul { transpose_a: true, transpose_b: true, sum_batch: false };
        check_gradients(|x| apply(op, &[&x[0], &x[1]]), &inputs);
    }

    #[test]
    fn dtypes_promote_and_integers_wrap() {
        let a = Tensor::new(&[200u8, 2, 3, 4], &[2, 2]).unwrap();
        assert_eq!(
            matmul(&a, &a).unwrap().to_vec::<u8>().unwrap(),
            [(200u32 * 200 + 6) as u8, (200u32 * 2 + 8) as u8, (600u32 + 12) as u8, 22]
        );
        let b = Tensor::new(&[1i64, -1, 2, 1], &[2, 2]).unwrap();
        assert_eq!(matmul(&a, &b).unwrap().to_vec::<i64>().unwrap(), [204, -198, 11, 1]);
        let half = Tensor::new(&[half::f16::from_f32(0.5); 4], &[2, 2]).unwrap();
        let y = matmul(&half, &half).unwrap();
        assert_eq!(y.to_vec::<half::f16>().unwrap(), [half::f16::from_f32(0.5); 4]);
        let truth = Tensor::new(&[true], &[1, 1]).unwrap();
        assert!(matches!(matmul(&truth, &truth), Err(Error::Type(_))));
    }

    #[test]
    fn refusals_say_what_does_not_fit() {
        let text = |left: &[usize], right: &[usize]| {
            let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32).unwrap();
            matmul(&zeros(left), &zeros(right)).unwrap_err().to_string()
        };
        assert_eq!(text(&[2, 3], &[4, 5]), "matmul: shapes (2, 3) and (4, 5) do not fit: 3 against 4");
        assert_eq!(text(&[3], &[4]), "matmul: shapes (3,) and (4,) do not fit: 3 against 4");
        assert_eq!(text(&[], &[4]), "matmul: shapes () and (4,) do not fit: an operand has no axes; use multiply");
        assert_eq!(
            text(&[2, 2, 3], &[3, 3, 5]),
            "matmul: shapes (2, 2, 3) and (3, 3, 5) do not fit: batch axes (2,) against (3,)"
        );
    }
}
