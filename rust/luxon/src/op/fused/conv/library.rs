//! Convolution by a library of the device, as it is described there.
//!
//! Operands are given as they lie where that is dense, with channels before or behind the spatial axes, and
//! copied elsewhere. Libraries know two and three spatial axes and no negative padding. How many zeros are
//! behind an image says nothing but how many outputs there are, so the fewest are given that give as many.

use super::cuda::source;
use super::{Conv, Product};
use crate::cpu::conv::Problem;
use crate::cuda::copy::place;
use crate::cuda::library::{Convolution, Laid, Motion, Numbers};
use crate::cuda::{Launch, Place, Plan};
use crate::error::Result;
use crate::layout::Shape;
use crate::op::Spec;
use crate::tensor::Value;

/// What libraries want addresses to be multiples of.
const ALIGNMENT: usize = 16;

/// An operand's axes with at least two spatial ones, and its strides with channels before or behind those.
fn laid(shape: &Shape, last: bool) -> Laid {
    let mut sizes: Numbers = shape.iter().map(|&size| size as i64).collect();
    if sizes.len() == 3 {
        sizes.insert(2, 1);
    }
    let mut strides: Numbers = sizes.iter().map(|_| 1).collect();
    let mut next = 1;
    let mut step = |axis: usize| {
        strides[axis] = next;
        next *= sizes[axis];
    };
    if last {
        step(1);
    }
    (2..sizes.len()).rev().for_each(&mut step);
    if !last {
        step(1);
    }
    step(0);
    Laid { shape: sizes, strides }
}

/// Whether elements lie densely with the channels behind the spatial axes.
fn channels_last(value: &Value) -> bool {
    let rank = value.layout().rank();
    let mut next = 1;
    std::iter::once(1).chain((2..rank).rev()).chain([0]).all(|axis| {
        let (size, stride) = (value.shape()[axis], value.layout().strides[axis]);
        let fits = size == 1 || stride == next;
        next *= size as isize;
        fits
    })
}

impl Conv {
    /// The product in a library's terms; none where it has none for it.
    fn described(
        &self,
        [x, w, y]: &[Shape; 3],
        problem: &Problem,
        spec: &Spec,
        last: [bool; 3],
    ) -> Option<Convolution> {
        let motions = problem.axes[3 - self.motions.len().max(2)..].iter().map(|axis| {
            let reach = (axis.kernel - 1) * axis.dilation + 1;
            let seen = (axis.out - 1) * axis.stride + reach;
            let before = usize::try_from(axis.before).ok()?;
            let after = seen.saturating_sub(axis.size + before);
            // More than is seen may leave room for another output.
            let outputs = (axis.size + before + after - reach) / axis.stride + 1;
            let [before, after, stride, dilation] = [before, after, axis.stride, axis.dilation].map(|size| size as i64);
            (outputs == axis.out).then_some(Motion { before, after, stride, dilation })
        });
        let motions = motions.collect::<Option<_>>()?;
        let product = match self.product {
            Product::Forward => "forward",
            Product::Data(_) => "data",
            Product::Weight(_) => "weight",
        };
        let operands = [laid(x, last[0]), laid(w, last[1]), laid(y, last[2])];
        Some(Convolution { product, dtype: spec.dtype, operands, motions })
    }

    /// The plan where a library of the device computes the product.
    pub(super) fn through_library(
        &self,
        shapes: &[Shape; 3],
        problem: &Problem,
        inputs: &[&Value],
        output: &Spec,
    ) -> Result<Option<Plan>> {
        let empty = shapes.iter().flat_map(|shape| shape.iter()).any(|&size| size == 0);
        let Some(device) = inputs[0].device().filter(|_| !empty) else { return Ok(None) };
        let roles = match self.product {
            Product::Forward => [0, 1],
            Product::Data(_) => [2, 1],
            Product::Weight(_) => [0, 2],
        };
        let mut last = [false; 3];
        let aligned = |value: &Value| (value.layout().offset * value.dtype().size()).is_multiple_of(ALIGNMENT);
        for (index, role) in roles.into_iter().enumerate() {
            let value = inputs[index];
            last[role] = !value.is_contiguous() && aligned(value) && channels_last(value);
        }
        let Some(convolution) = self.described(shapes, problem, output, last) else { return Ok(None) };
        let Some(prepared) = device.convolution(&convolution)? else { return Ok(None) };
        let (mut plan, to) = (Plan::new(), Place::output(0));
        let mut operand = |index: usize| {
            let value = inputs[index];
            if last[roles[index]] {
                return Ok(place(value, index));
            }
            if aligned(value) { plan.contiguous(inputs, index) } else { plan.copied(inputs, index, value.dtype()) }
        };
        let places = [operand(0)?, operand(1)?, to];
        plan.library(prepared, &places);
        if inputs.len() > 2 {
            let bias = plan.contiguous(inputs, 2)?;
            let (count, plane) = (output.shape.iter().product::<usize>(), output.shape[2..].iter().product::<usize>());
            let launch = Launch::over(source(output.dtype), "add_bias", count)?.with(to).with(bias);
            plan.launch(launch.with(plane).with(output.shape[1]).with(count));
        }
        Ok(Some(plan))
    }
}
