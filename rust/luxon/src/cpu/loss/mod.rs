//! Losses in one pass over the predictions, with their gradients.

mod cross_entropy;
mod ctc;
mod elementwise;

pub use cross_entropy::{CrossEntropy, Targets, cross_entropy, cross_entropy_gradient};
pub use ctc::{Ctc, ctc, ctc_gradient, row_length};
pub use elementwise::{binary_cross_entropy, binary_cross_entropy_gradient, scaled_difference, squared_distance};
