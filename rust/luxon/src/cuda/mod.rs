//! How an operation runs on a CUDA device, as data: no CUDA is linked here.
//!
//! A family's [`Family::cuda`](crate::op) says in a [`Plan`] which kernels to launch, which products to
//! compute and which scratch memory that takes; whoever owns a device carries plans out (the Python binding
//! does, over CuPy). Plans hold the text of their kernels, not compiled code: a [`Source`] is written once
//! and compiled once by its key. `.cu` files stand beside the definitions of what they compute, and are put
//! behind [`source::PRELUDE`], which names the element types and stands in for the headers that CUDA's
//! run-time compiler lacks.

pub mod copy;
pub mod library;
pub mod plan;
pub mod rows;
pub mod source;
pub mod tables;
pub mod trace;

pub use library::{Convolution, Prepared};
pub use plan::{Argument, Gemm, Launch, Matrix, Place, Plan, Step};
pub use source::{Source, c_type};
