//! Moving elements on a CUDA device.

use super::{Linear, slice_layout};
use crate::cuda::copy::{Elements, place};
use crate::cuda::{Place, Plan};
use crate::error::Result;
use crate::layout::Layout;
use crate::op::{Family, Spec};
use crate::tensor::Value;

impl Linear {
    /// Every member is strided copies.
    pub(super) fn plan(&self, inputs: &[&Value], output: &Spec) -> Result<Plan> {
        let mut plan = Plan::new();
        let (input, whole) = (Elements::input(inputs, 0), Layout::contiguous(output.shape));
        let mut target = Elements::dense(Place::output(0), output.dtype, &output.shape);
        let shape = inputs[0].shape();
        match self {
            Linear::Cast(_) => plan.copy(shape, &input, &target)?,
            Linear::Embed { window, fill, .. } => {
                if window.size != output.shape {
                    plan.fill(target.place, output.dtype, *fill, whole.count())?;
                }
                let place = slice_layout(&whole, window);
                target.place = target.place.after(place.offset * output.dtype.size());
                target.strides = place.strides;
                plan.copy(shape, &input, &target)?;
            }
            Linear::Concat { axis, .. } => {
                let mut start = 0usize;
                for index in 0..inputs.len() {
                    let place = target.place.after(start * target.strides[*axis] as usize * output.dtype.size());
                    plan.copy(inputs[index].shape(), &Elements::input(inputs, index), &Elements { place, ..target })?;
                    start += inputs[index].shape()[*axis];
                }
            }
            Linear::Reshape(_) => plan.copy(shape, &input, &Elements::dense(target.place, output.dtype, shape))?,
            // These are always views.
            Linear::Broadcast(_) | Linear::Permute(_) | Linear::Slice(_) => {
                if let Some(view) = self.view(inputs)? {
                    let source =
                        Elements { place: place(&view, 0), dtype: view.dtype(), strides: view.layout().strides };
                    plan.copy(&output.shape, &source, &target)?;
                }
            }
        }
        Ok(plan)
    }
}
