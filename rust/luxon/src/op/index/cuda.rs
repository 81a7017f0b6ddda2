//! Gathering and scattering on a CUDA device.
//!
//! The host does not see the indices, so it cannot refuse them: an index outside its axis reads NaN (0 for
//! integers) and writes nothing. Scatters sort the rows first, stably, so that equal ones are added in their
//! order: the same bits in every run, and the CPU's.

use super::{Gather, split};
use crate::cuda::copy::{Elements, moved};
use crate::cuda::source::{c_type, c_working, file};
use crate::cuda::{Argument, Launch, Place, Plan};
use crate::dtype::{DType, Scalar};
use crate::error::Result;
use crate::layout::Layout;
use crate::op::Spec;
use crate::op::linear::slice_layout;
use crate::op::sort::argsort;
use crate::tensor::Value;

/// What the kernels call `Sizes`: numbers of elements before, along (in the larger tensor, in the smaller) and
/// after the indexed axes.
#[derive(Clone, Copy)]
struct Sizes {
    outer: usize,
    length: usize,
    picked: usize,
    inner: usize,
}

impl Sizes {
    fn argument(self) -> [i64; 4] {
        [self.outer, self.length, self.picked, self.inner].map(|size| size as i64)
    }
}

fn kernels(element: &str, sum: &str) -> std::sync::Arc<crate::cuda::Source> {
    file("gather", include_str!("gather.cu"), &[("T", element), ("A", sum)])
}

/// What is read outside an axis.
fn missing(dtype: DType) -> Argument {
    let value = if dtype.is_float() { Scalar::Float(f64::NAN) } else { Scalar::Int(0) };
    Argument::Bytes(value.to_bytes(dtype)[..dtype.size()].into())
}

impl Gather {
    pub(super) fn plan(&self, inputs: &[&Value], output: &Spec) -> Result<Plan> {
        let mut plan = Plan::new();
        let (x, dtype, to) = (inputs[0], output.dtype, Place::output(0));
        let count: usize = output.shape.iter().product();
        if count == 0 {
            return Ok(plan);
        }
        let target = Elements::dense(to, dtype, &output.shape);
        match self {
            Gather::Take { axis, labels } => {
                let (outer, length, inner) = split(x.shape(), *axis, labels.len());
                let rows = self.rows(&mut plan, inputs, &x.shape()[*axis..*axis + labels.len()])?;
                let sizes = Sizes { outer, length, picked: inputs[1].count(), inner };
                let from = plan.contiguous(inputs, 0)?;
                self.take(&mut plan, from, rows, dtype, sizes, count)?;
            }
            Gather::TakeAlong { axis } => {
                let rows = self.along(&mut plan, inputs, x.shape(), *axis)?;
                let from = plan.contiguous(inputs, 0)?;
                let sizes = Sizes { outer: 1, length: x.count(), picked: count, inner: 1 };
                self.take(&mut plan, from, rows, dtype, sizes, count)?;
            }
            Gather::Put { axis, labels, .. } | Gather::Add { axis, labels } | Gather::Set { axis, labels } => {
                match self {
                    Gather::Put { .. } => plan.zero(to, count * dtype.size()),
                    _ => plan.copy(x.shape(), &Elements::input(inputs, 0), &target)?,
                }
                let (outer, length, inner) = split(&output.shape, *axis, labels.len());
                let rows = self.rows(&mut plan, inputs, &output.shape[*axis..*axis + labels.len()])?;
                let updates = plan.contiguous(inputs, self.operands() - 1)?;
                let sizes = Sizes { outer, length, picked: inputs[self.operands()].count(), inner };
                self.write(&mut plan, updates, rows, dtype, sizes)?;
            }
            Gather::PutAlong { axis, .. } => {
                plan.zero(to, count * dtype.size());
                let rows = self.along(&mut plan, inputs, &output.shape, *axis)?;
                let updates = plan.contiguous(inputs, 0)?;
                let sizes = Sizes { outer: 1, length: count, picked: x.count(), inner: 1 };
                self.write(&mut plan, updates, rows, dtype, sizes)?;
            }
            Gather::Overwrite(window) => {
                plan.copy(x.shape(), &Elements::input(inputs, 0), &target)?;
                let part = slice_layout(&Layout::contiguous(output.shape), window);
                let place = to.after(part.offset * dtype.size());
                let window = Elements { place, strides: part.strides, ..target };
                plan.copy(inputs[1].shape(), &Elements::input(inputs, 1), &window)?;
            }
        }
        Ok(plan)
    }

    /// The row-major positions that the index tensors name in axes of these sizes.
    fn rows(&self, plan: &mut Plan, inputs: &[&Value], axes: &[usize]) -> Result<Place> {
        let count = inputs[self.operands()].count();
        let rows = plan.scratch(count * 8);
        for (number, &size) in axes.iter().enumerate() {
            let index = plan.converted(inputs, self.operands() + number, DType::I64)?;
            let launch = Launch::over(kernels("u32", "u32"), "positions", count)?.with(index).with(rows);
            plan.launch(launch.with(size).with(i32::from(number == 0)).with(count));
        }
        Ok(rows)
    }

    /// The positions in all of a tensor of this shape that indices along an axis name.
    fn along(&self, plan: &mut Plan, inputs: &[&Value], whole: &[usize], axis: usize) -> Result<Place> {
        let (outer, length, inner) = split(whole, axis, 1);
        let (index, count) = (plan.converted(inputs, 1, DType::I64)?, inputs[1].count());
        let rows = plan.scratch(count * 8);
        let sizes = Sizes { outer, length, picked: inputs[1].shape()[axis], inner };
        let launch = Launch::over(kernels("u32", "u32"), "along", count)?.with(index).with(rows);
        plan.launch(launch.with(&sizes.argument()[..]).with(count));
        Ok(rows)
    }

    fn take(&self, plan: &mut Plan, x: Place, rows: Place, dtype: DType, sizes: Sizes, count: usize) -> Result<()> {
        let element = moved(dtype);
        let launch = Launch::over(kernels(element, element), "take", count)?.with(x).with(rows).with(Place::output(0));
        plan.launch(launch.with(&sizes.argument()[..]).with(missing(dtype)).with(count));
        Ok(())
    }

    fn write(&self, plan: &mut Plan, updates: Place, rows: Place, dtype: DType, sizes: Sizes) -> Result<()> {
        let count = sizes.outer * sizes.picked * sizes.inner;
        if count == 0 {
            return Ok(());
        }
        let order = plan.scratch(sizes.picked * 8);
        argsort(plan, rows, DType::I64, 1, sizes.picked, false, order)?;
        let (source, name) = match self {
            Gather::Set { .. } => (kernels(moved(dtype), moved(dtype)), "scatter_set"),
            _ => (kernels(c_type(dtype), c_working(dtype)), "scatter_add"),
        };
        let launch = Launch::over(source, name, count)?.with(updates).with(rows).with(order).with(Place::output(0));
        plan.launch(launch.with(&sizes.argument()[..]).with(count));
        Ok(())
    }
}
