//! Convolution on a CUDA device: patches of the images as a matrix, and one product per group.
//!
//! With (channel, tap) as rows and (image, position) as columns, the three products are `w c`, `w^T y` and
//! `y c^T` for matrices y with (image, position) as columns too. Images are taken in portions, so that the
//! patches stay small; the weights' gradient is added up over them. Where the device has a library of
//! convolutions (`library`) that is asked first.

use std::sync::Arc;

use super::{Conv, Product};
use crate::cpu::conv::Problem;
use crate::cuda::copy::Elements;
use crate::cuda::source::{c_type, c_working, file};
use crate::cuda::{Argument, Gemm, Launch, Matrix, Place, Plan, Source};
use crate::dtype::DType;
use crate::error::Result;
use crate::layout::{Shape, Strides};
use crate::op::Spec;
use crate::tensor::Value;

/// Bytes that the patches may take, unless those of a single image take more.
const MOST_BYTES: usize = 256 << 20;

/// The sizes of the matrices.
struct Matrices {
    problem: Problem,
    /// Elements of x in an image and a channel.
    plane: usize,
}

impl Matrices {
    /// What the kernels call `Sizes`, for a portion of the images.
    fn argument(&self, images: usize) -> Vec<i64> {
        let mut numbers = vec![(self.problem.groups * self.problem.channels) as i64, images as i64];
        for axis in &self.problem.axes {
            let sizes = [axis.size, axis.kernel, axis.out, axis.stride, axis.dilation].map(|size| size as i64);
            numbers.extend(sizes.into_iter().chain([axis.before as i64]));
        }
        numbers
    }
}

/// The text of the kernels for a dtype.
pub(super) fn source(dtype: DType) -> Arc<Source> {
    file("conv", include_str!("conv.cu"), &[("T", c_type(dtype)), ("A", c_working(dtype))])
}

impl Conv {
    pub(super) fn plan(&self, inputs: &[&Value], output: &Spec) -> Result<Plan> {
        let mut plan = Plan::new();
        let (dtype, size) = (output.dtype, output.dtype.size());
        let shapes = self.shapes(inputs)?;
        let problem = self.problem(&shapes);
        let product = |of: fn(&crate::cpu::conv::Axis) -> usize| problem.axes.iter().map(of).product::<usize>();
        let (taps, positions, plane) =
            (product(|axis| axis.kernel), product(|axis| axis.out), product(|axis| axis.size));
        let sizes = Matrices { problem, plane };
        let Problem { batch, groups, channels, filters, .. } = sizes.problem;
        let count: usize = output.shape.iter().product();
        if count == 0 {
            return Ok(plan);
        }
        if let Some(plan) = self.through_library(&shapes, &sizes.problem, inputs, output)? {
            return Ok(plan);
        }
        let (all_channels, all_filters) = (groups * channels, groups * filters);
        let inner = channels * taps;
        let to = Place::output(0);
        let per_image = groups * inner * positions * size;
        let portion = (MOST_BYTES / per_image.max(1)).clamp(1, batch.max(1));
        let source = source(dtype);
        let bias = if inputs.len() > 2 { Some(plan.contiguous(inputs, 2)?) } else { None };
        let (first, second) = (plan.contiguous(inputs, 0)?, plan.contiguous(inputs, 1)?);
        let columns = plan.scratch(per_image * portion);
        let rows = plan.scratch(all_filters * portion * positions * size);
        if matches!(self.product, Product::Weight(_)) && batch * positions == 0 {
            plan.zero(to, count * size);
        }
        let mut done = 0;
        while done < batch {
            let images = portion.min(batch - done);
            let width = images * positions;
            // y of this portion in its own layout (image, filter, position) and as a matrix (filter, image, position).
            let portion_shape = Shape::from_slice(&[all_filters, images, positions])?;
            let matrix = Elements::dense(rows, dtype, &portion_shape);
            let own = |place: Place| {
                let strides = Strides::from_slice(&[positions as isize, (all_filters * positions) as isize, 1])?;
                Ok::<_, crate::Error>(Elements {
                    place: place.after(done * all_filters * positions * size),
                    dtype,
                    strides,
                })
            };
            let operand = |place, stride, batch_stride, transposed| Matrix { place, stride, batch_stride, transposed };
            let patches = operand(columns, width, inner * width, false);
            let results = operand(rows, width, filters * width, false);
            let gather = |plan: &mut Plan, x: Place| -> Result<()> {
                let elements = groups * inner * width;
                let from = x.after(done * all_channels * sizes.plane * size);
                let launch = Launch::over(source.clone(), "patches", elements)?.with(from).with(columns);
                plan.launch(launch.with(&sizes.argument(images)[..]).with(elements));
                Ok(())
            };
            let gemm = |rows, columns, inner, a, b, c, beta| Gemm {
                dtype,
                rows,
                columns,
                inner,
                batch: groups,
                a,
                b,
                c,
                alpha: 1.0,
                beta,
            };
            match self.product {
                _ if width == 0 => {}
                Product::Forward => {
                    gather(&mut plan, first)?;
                    if let Some(bias) = bias {
                        let strides = Strides::from_slice(&[1, 0, 0])?;
                        plan.copy(&portion_shape, &Elements { place: bias, dtype, strides }, &matrix)?;
                    }
                    let w = operand(second, inner, filters * inner, false);
                    let beta = if bias.is_some() { 1.0 } else { 0.0 };
                    plan.gemm(gemm(filters, width, inner, w, patches, results, beta));
                    plan.copy(&portion_shape, &matrix, &own(to)?)?;
                }
                Product::Data(_) => {
                    plan.copy(&portion_shape, &own(first)?, &matrix)?;
                    let w = operand(second, inner, filters * inner, true);
                    plan.gemm(gemm(inner, width, filters, w, results, patches, 0.0));
                }
                Product::Weight(_) => {
                    gather(&mut plan, first)?;
                    plan.copy(&portion_shape, &own(second)?, &matrix)?;
                    let w = operand(to, inner, filters * inner, false);
                    let beta = if done > 0 { 1.0 } else { 0.0 };
                    let patches = Matrix { transposed: true, ..patches };
                    plan.gemm(gemm(filters, inner, width, results, patches, w, beta));
                }
            }
            if matches!(self.product, Product::Data(_)) {
                let elements = images * all_channels * sizes.plane;
                if elements > 0 {
                    let part = to.after(done * all_channels * sizes.plane * size);
                    let launch =
                        Launch::over(source.clone(), "images", elements)?.with(columns).with(Argument::from(bias));
                    plan.launch(launch.with(part).with(&sizes.argument(images)[..]).with(elements));
                }
            }
            done += images;
        }
        Ok(plan)
    }
}
