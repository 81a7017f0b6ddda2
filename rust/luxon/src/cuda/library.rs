//! What a device may have a library for: convolutions, described as such libraries want to be told of them.
//!
//! A family asks the device while it plans. What comes back is opaque to the core: how much memory it takes
//! to work in, and what the device calls to run it, as a step of a plan. Where nothing comes back the plan is
//! made of kernels and products, which are always there.

use std::any::Any;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::dtype::DType;

/// Sizes or strides of the axes (batch, channels, spatial).
pub type Numbers = SmallVec<[i64; 5]>;

/// An operand of a convolution: every axis has elements and a positive stride.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Laid {
    /// Its sizes.
    pub shape: Numbers,
    /// Elements from one index to the next.
    pub strides: Numbers,
}

/// How a convolution goes along one spatial axis. The sizes of all operands follow from one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Motion {
    /// Zeros before the image.
    pub before: i64,
    /// Zeros behind it.
    pub after: i64,
    /// From one output to the next.
    pub stride: i64,
    /// From one tap to the next.
    pub dilation: i64,
}

/// One of the three products of a convolution in two or three spatial axes. Groups are how many times the
/// channels of w go into those of x. All operands begin at multiples of 16 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// What is computed: "forward" gives y from x and w, "data" x from y and w, "weight" w from x and y.
    pub product: &'static str,
    /// The element type of all three; half types are summed in f32.
    pub dtype: DType,
    /// x, w and y, the one that is computed included.
    pub operands: [Laid; 3],
    /// One for each spatial axis.
    pub motions: SmallVec<[Motion; 3]>,
}

/// What a library runs.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What the device calls, with the addresses of a step in their order.
    pub call: Arc<dyn Any + Send + Sync>,
    /// Bytes of memory to work in.
    pub workspace: usize,
}
