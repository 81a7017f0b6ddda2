//! Products of matrices on a CUDA device: cuBLAS for floating types, a plain kernel for integers.
//!
//! cuBLAS reads matrices whose rows, or columns, lie without gaps; other operands are copied first. Batch
//! axes that are evenly spaced are one strided batch, several become one product each, or copies where that
//! would be many. A sum over the batch is one product with a longer inner side.

use super::{Batch, Matmul, Sizes, matrix_strides, merged_batch};
use crate::cuda::copy::{Elements, place};
use crate::cuda::source::{c_type, file};
use crate::cuda::{Gemm, Launch, Matrix, Place, Plan};
use crate::dtype::DType;
use crate::error::Result;
use crate::layout::Shape;
use crate::op::Spec;
use crate::tensor::Value;

/// From how many single products on operands are rather copied.
const MANY: usize = 16;

/// An operand: where it is and how it is walked.
#[derive(Clone, Copy)]
struct Operand {
    place: Place,
    row: isize,
    column: isize,
}

impl Operand {
    /// The operand as cuBLAS reads it; none where it cannot.
    fn matrix(self, rows: usize, columns: usize, batch_stride: isize) -> Option<Matrix> {
        let batch_stride = usize::try_from(batch_stride).ok()?;
        let fits = |across: isize, along: isize, outer: usize, inner: usize| {
            let even = inner <= 1 || along == 1;
            let stride = if outer <= 1 { inner.max(1) } else { usize::try_from(across).ok()? };
            (even && stride >= inner.max(1)).then_some(stride)
        };
        let matrix = |stride, transposed| Matrix { place: self.place, stride, batch_stride, transposed };
        match fits(self.row, self.column, rows, columns) {
            Some(stride) => Some(matrix(stride, false)),
            None => fits(self.column, self.row, columns, rows).map(|stride| matrix(stride, true)),
        }
    }
}

/// An input copied row-major to the full batch, with the batch and its own rows in front: one evenly spaced batch.
fn spread(plan: &mut Plan, inputs: &[&Value], index: usize, batch: &Shape) -> Result<Operand> {
    let value = inputs[index];
    let (rows, columns) = (value.shape()[value.shape().len() - 2], value.shape()[value.shape().len() - 1]);
    let mut shape = *batch;
    shape.push(rows)?;
    shape.push(columns)?;
    let layout = value.layout().broadcast("matmul", &shape)?;
    let to = plan.scratch(layout.count() * value.dtype().size());
    let source = Elements { place: place(value, index), dtype: value.dtype(), strides: layout.strides };
    plan.copy(&shape, &source, &Elements::dense(to, value.dtype(), &shape))?;
    Ok(Operand { place: to, row: columns as isize, column: 1 })
}

impl Matmul {
    pub(super) fn plan(&self, inputs: &[&Value], output: &Spec) -> Result<Plan> {
        let sizes = self.sizes(inputs[0].shape(), inputs[1].shape())?;
        let (c, count) = (Place::output(0), output.shape.iter().product::<usize>());
        let mut plan = Plan::new();
        if count == 0 {
            return Ok(plan);
        }
        let entries: usize = sizes.batch.iter().product();
        if sizes.k == 0 || entries == 0 {
            plan.zero(c, count * output.dtype.size());
        } else if !output.dtype.is_float() {
            self.integers(&mut plan, inputs, output, &sizes)?;
        } else if self.sum_batch {
            self.summed(&mut plan, inputs, output.dtype, &sizes, entries)?;
        } else {
            self.batched(&mut plan, inputs, output.dtype, &sizes)?;
        }
        Ok(plan)
    }

    fn operand(&self, inputs: &[&Value], index: usize) -> Operand {
        let swap = if index == 0 { self.transpose_a } else { self.transpose_b };
        let (row, column) = matrix_strides(&inputs[index].layout().strides, swap);
        Operand { place: place(inputs[index], index), row, column }
    }

    /// An operand copied to the full batch.
    fn spread(&self, plan: &mut Plan, inputs: &[&Value], index: usize, batch: &Shape) -> Result<Operand> {
        let copy = spread(plan, inputs, index, batch)?;
        let swap = if index == 0 { self.transpose_a } else { self.transpose_b };
        Ok(if swap { Operand { row: copy.column, column: copy.row, ..copy } } else { copy })
    }

    fn batched(&self, plan: &mut Plan, inputs: &[&Value], dtype: DType, sizes: &Sizes) -> Result<()> {
        let Sizes { mut m, n, k, batch } = *sizes;
        let mut axes: Batch = merged_batch(&batch, inputs[0], inputs[1]);
        let (mut a, mut b) = (self.operand(inputs, 0), self.operand(inputs, 1));
        let readable = |a: Operand, b: Operand, axes: &Batch, m: usize| {
            let (by_a, by_b) = axes.last().map_or((0, 0), |axis| (axis.1, axis.2));
            let singles: usize = axes.iter().rev().skip(1).map(|axis| axis.0).product();
            let negative = axes.iter().any(|axis| axis.1 < 0 || axis.2 < 0);
            let matrices = (a.matrix(m, k, by_a), b.matrix(k, n, by_b));
            matrices.0.is_some() && matrices.1.is_some() && singles <= MANY && !negative
        };
        if !readable(a, b, &axes, m) {
            // Copies of both share one evenly spaced batch; an operand without batch stays one matrix.
            let mut copied = |operand: &mut Operand, index: usize| -> Result<isize> {
                let alone = inputs[index].shape().len() == 2;
                *operand = self.spread(plan, inputs, index, &if alone { Shape::new() } else { batch })?;
                Ok(if alone { 0 } else { if index == 0 { m * k } else { k * n } } as isize)
            };
            let (by_a, by_b) = (copied(&mut a, 0)?, copied(&mut b, 1)?);
            axes = [(batch.iter().product(), by_a, by_b)].into_iter().filter(|axis| axis.0 != 1).collect();
        }
        let mut last = axes.pop().unwrap_or((1, 0, 0));
        if last.2 == 0 && (m == 1 || last.1 == m as isize * a.row) && a.column == 1 {
            // Entries that differ only in A are further rows of it.
            if m == 1 {
                a.row = last.1;
            }
            m *= last.0;
            last = (1, 0, 0);
        }
        let size = dtype.size();
        let mut offsets = vec![(0isize, 0isize)];
        for (steps, by_a, by_b) in axes {
            let entries = |&(a, b): &(isize, isize)| (0..steps as isize).map(move |i| (a + i * by_a, b + i * by_b));
            offsets = offsets.iter().flat_map(entries).collect();
        }
        for (number, (to_a, to_b)) in offsets.into_iter().enumerate() {
            let moved =
                |operand: Operand, by: isize| Operand { place: operand.place.after(by as usize * size), ..operand };
            let (Some(a), Some(b)) = (moved(a, to_a).matrix(m, k, last.1), moved(b, to_b).matrix(k, n, last.2)) else {
                continue;
            };
            let first = Place::output(0).after(number * last.0 * m * n * size);
            let c = Matrix { place: first, stride: n, batch_stride: m * n, transposed: false };
            let (rows, columns, inner, batch) = (m, n, k, last.0);
            plan.gemm(Gemm { dtype, rows, columns, inner, batch, a, b, c, alpha: 1.0, beta: 0.0 });
        }
        Ok(())
    }

    /// The sum over the batch: A with (batch, inner) as its columns times B with (batch, inner) as its rows.
    fn summed(&self, plan: &mut Plan, inputs: &[&Value], dtype: DType, sizes: &Sizes, entries: usize) -> Result<()> {
        let (m, n, k) = (sizes.m, sizes.n, sizes.k);
        let axes = merged_batch(&sizes.batch, inputs[0], inputs[1]);
        let mut operands = [self.operand(inputs, 0), self.operand(inputs, 1)];
        let even = |operand: Operand, along: isize, by: isize| {
            (k == 1 || axes.is_empty() || by == k as isize * along).then_some(operand)
        };
        for index in 0..2 {
            let (operand, outer) = (operands[index], if index == 0 { m } else { n });
            let along = if index == 0 { operand.column } else { operand.row };
            let by = axes.last().map_or(0, |axis| if index == 0 { axis.1 } else { axis.2 });
            let merged = if axes.len() <= 1 { even(operand, along, by) } else { None };
            let step = if k == 1 && !axes.is_empty() { by } else { along };
            let whole = merged.map(|operand| match index {
                0 => Operand { column: step, ..operand },
                _ => Operand { row: step, ..operand },
            });
            let shape = if index == 0 { (m, entries * k) } else { (entries * k, n) };
            operands[index] = match whole.filter(|whole| whole.matrix(shape.0, shape.1, 0).is_some()) {
                Some(whole) => whole,
                None => {
                    // Copied with (batch, inner) in front of the other side.
                    let value = inputs[index];
                    let swap = if index == 0 { !self.transpose_a } else { self.transpose_b };
                    let (mut sizes, mut strides) = (*value.shape(), value.layout().strides);
                    let rank = sizes.len();
                    if swap {
                        sizes.swap(rank - 1, rank - 2);
                        strides.swap(rank - 1, rank - 2);
                    }
                    let to = plan.scratch(entries * k * outer * dtype.size());
                    let source = Elements { place: place(value, index), dtype, strides };
                    plan.copy(&sizes, &source, &Elements::dense(to, dtype, &sizes))?;
                    match index {
                        0 => Operand { place: to, row: 1, column: outer as isize },
                        _ => Operand { place: to, row: outer as isize, column: 1 },
                    }
                }
            };
        }
        let inner = entries * k;
        if let (Some(a), Some(b)) = (operands[0].matrix(m, inner, 0), operands[1].matrix(inner, n, 0)) {
            let c = Matrix { place: Place::output(0), stride: n, batch_stride: m * n, transposed: false };
            plan.gemm(Gemm { dtype, rows: m, columns: n, inner, batch: 1, a, b, c, alpha: 1.0, beta: 0.0 });
        }
        Ok(())
    }

    fn integers(&self, plan: &mut Plan, inputs: &[&Value], output: &Spec, sizes: &Sizes) -> Result<()> {
        let (a, b) = (self.spread(plan, inputs, 0, &sizes.batch)?, self.spread(plan, inputs, 1, &sizes.batch)?);
        let count: usize = output.shape.iter().product();
        let entries: usize = sizes.batch.iter().product();
        // Truth values are multiplied and added as numbers, and are true where the sum is not 0.
        let sum = if output.dtype == DType::I64 { "i64" } else { "i32" };
        let source = file("matmul", include_str!("matmul.cu"), &[("T", c_type(output.dtype)), ("A", sum)]);
        let launch = Launch::over(source, "multiply", count)?.with(a.place).with(b.place).with(Place::output(0));
        let strides = |operand: Operand| [operand.row as i64, operand.column as i64];
        let [[a_row, a_column], [b_row, b_column]] = [strides(a), strides(b)];
        let summed = if self.sum_batch { entries } else { 1 };
        plan.launch(
            launch
                .with(&[sizes.m as i64, sizes.n as i64, sizes.k as i64, summed as i64][..])
                .with(&[a_row, a_column, b_row, b_column][..])
                .with(count),
        );
        Ok(())
    }
}
