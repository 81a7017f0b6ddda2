//! Bands and diagonals on a CUDA device.

use super::{Band, diagonal_layout};
use crate::cuda::copy::{Elements, moved, place};
use crate::cuda::source::file;
use crate::cuda::{Launch, Place, Plan};
use crate::error::Result;
use crate::layout::Layout;
use crate::op::Spec;
use crate::tensor::Value;

impl Band {
    pub(super) fn plan(&self, inputs: &[&Value], output: &Spec) -> Result<Plan> {
        let mut plan = Plan::new();
        let (x, shape) = (inputs[0], &output.shape);
        let count: usize = shape.iter().product();
        if count == 0 {
            return Ok(plan);
        }
        let target = Elements::dense(Place::output(0), output.dtype, shape);
        match *self {
            Band::Keep { low, high } => {
                let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
                let from = plan.contiguous(inputs, 0)?;
                let source = file("band", include_str!("band.cu"), &[("T", moved(output.dtype))]);
                let launch = Launch::over(source, "keep_band", count)?.with(from).with(Place::output(0));
                let launch = launch.with(rows).with(columns).with(low as i64).with(high as i64);
                plan.launch(launch.with(count));
            }
            Band::Read { offset } => {
                let layout = diagonal_layout(x.layout(), offset)?;
                let view = x.view(layout);
                let source = Elements { place: place(&view, 0), dtype: x.dtype(), strides: layout.strides };
                plan.copy(shape, &source, &target)?;
            }
            Band::Write { offset, .. } => {
                plan.zero(target.place, count * output.dtype.size());
                let layout = diagonal_layout(&Layout::contiguous(*shape), offset)?;
                let to = target.place.after(layout.offset * output.dtype.size());
                plan.copy(
                    x.shape(),
                    &Elements::input(inputs, 0),
                    &Elements { place: to, strides: layout.strides, ..target },
                )?;
            }
        }
        Ok(plan)
    }
}
