//! The CPU: kernels over raw memory, and what hands tensors to them.
//!
//! Kernels know pointers, sizes and strides, never tensors or operations; each is an optimisation of a
//! definition elsewhere. This module holds the glue that several op families need.

use crate::tensor::Value;

pub mod attention;
pub mod cast;
pub mod conv;
pub mod copy;
pub(crate) mod fold;
pub mod gemm;
pub mod index;
pub mod isa;
pub(crate) mod lanes;
pub mod loss;
pub(crate) mod map;
pub mod math;
pub mod norm;
pub mod optimize;
pub mod pool;
pub mod random;
pub mod real;
pub mod recurrence;
pub mod recurrent;
pub mod reduce;
pub mod resample;
pub(crate) mod rows;
pub mod scan;
pub mod singular;
pub mod softmax;
pub mod sort;
pub(crate) mod special;

/// Copies the elements of `source` into `target`, both host values of one shape and dtype.
pub(crate) fn copy_value(source: &Value, target: &mut Value) {
    copy_into(source, target, 0, &target.layout().strides.clone());
}

/// Copies the elements of `source` into those of `target` that lie at `strides` from element `offset` on.
pub(crate) fn copy_into(source: &Value, target: &mut Value, offset: usize, strides: &[isize]) {
    if source.count() == 0 {
        return;
    }
    let size = source.dtype().size();
    let to = target.pointer_mut().wrapping_add(offset * size);
    // SAFETY: the source's layout lies within its storage, the caller places the elements within the
    // target, and the target is fresh, so the two do not overlap.
    unsafe { copy::copy(size, source.shape(), source.pointer(), &source.layout().strides, to, strides) };
}
