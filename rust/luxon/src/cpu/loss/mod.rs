//! Losses in one pass over the predictions, with their gradients.

mod cross_entropy;
mod elementwise;

pub use cross_entropy::{CrossEntropy, Targets, cross_entropy, cross_entropy_gradient};
pub use elementwise::{binary_cross_entropy, binary_cross_entropy_gradient, squared_distance};
