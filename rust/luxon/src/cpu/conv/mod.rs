//! Convolutions, directly: no matrix of patches is ever built.
//!
//! Each image is copied once into a buffer with its padding (`image`), for a stride as one plane per phase,
//! so that every tap of the kernel is a fixed offset from a position of the output. Forward and data
//! gradient are then one loop (`correlate`): a register tile of output channels by vectors of positions,
//! over a table of offsets. The data gradient of a stride is one such loop per phase of the image; that
//! of a small map goes tap by tap (`taps`). The weight gradient (`weight`) sums over positions instead.
//!
//! Everything has three spatial axes here; missing ones have size 1. How the work is cut depends on the
//! problem alone and every output is one chain of operations, so bits do not depend on the threads.

use crate::error::{Error, Result};

mod correlate;
mod cut;
mod image;
mod taps;
#[cfg(test)]
mod tests;
mod tile;
mod weight;
mod winograd;

pub use correlate::{data, forward};
pub use tile::Element;
pub use weight::weight;

/// One spatial axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Size of the image.
    pub size: usize,
    /// Size of the kernel.
    pub kernel: usize,
    /// Size of the output.
    pub out: usize,
    /// From an output position to the next, in the image.
    pub stride: usize,
    /// From a tap to the next, in the image.
    pub dilation: usize,
    /// Zeros before the image; negative leaves elements out.
    pub before: isize,
}

impl Axis {
    /// An axis that is not there.
    pub const NONE: Axis = Axis { size: 1, kernel: 1, out: 1, stride: 1, dilation: 1, before: 0 };
}

/// A convolution of contiguous images (batch, groups * channels, spatial) by weights
/// (groups * filters, channels, kernel) into outputs (batch, groups * filters, out); sizes are not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Images.
    pub batch: usize,
    /// Groups of channels that do not see one another.
    pub groups: usize,
    /// Input channels of a group.
    pub channels: usize,
    /// Output channels of a group.
    pub filters: usize,
    /// The spatial axes, outermost first.
    pub axes: [Axis; 3],
}

/// Called on the thread that finished them, with the first and the number of consecutive outputs.
pub type Finish<'a> = Option<&'a (dyn Fn(usize, usize) + Sync)>;

/// What a convolution or an image's gradient works on: contiguous memory with the sizes of a [`Problem`].
#[derive(Clone, Copy)]
pub struct Operands<'a, T> {
    /// Images, or the output's cotangents.
    pub from: *const T,
    /// Weights.
    pub weight: *const T,
    /// One element a channel of the result, to be added to it; null where there is none.
    pub bias: *const T,
    /// The result, which overlaps nothing.
    pub to: *mut T,
    /// What is told of finished outputs.
    pub finish: Finish<'a>,
}

// SAFETY: tasks write disjoint parts of the result and only read the rest.
unsafe impl<T: Sync> Sync for Operands<'_, T> {}

impl Problem {
    fn taps(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }

    fn size(&self) -> usize {
        self.axes.iter().map(|axis| axis.size).product()
    }

    fn out(&self) -> usize {
        self.axes.iter().map(|axis| axis.out).product()
    }

    /// Multiply-adds of one image and group.
    fn work(&self) -> f64 {
        [self.channels, self.filters, self.taps(), self.out()].into_iter().map(|size| size as f64).product()
    }
}

/// Serial time of so many multiply-adds, for gating and for the size of tasks only.
fn nanoseconds<T>(work: f64) -> f64 {
    work * size_of::<T>() as f64 / 4.0 / 40.0 + 50.0
}

fn too_large() -> Error {
    Error::Overflow("conv: the padded image is too large".into())
}

/// The product of sizes that index one image's buffer: offsets are kept in 32 bits.
fn checked(sizes: &[usize]) -> Result<usize> {
    let product = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size)).ok_or_else(too_large)?;
    if product > u32::MAX as usize / 2 { Err(too_large()) } else { Ok(product) }
}
