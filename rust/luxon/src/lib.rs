//! luxon: tensors, differentiation and CPU kernels for explicit-parameter neural networks.
//!
//! The crate in the order of dependence:
//!
//! - what a tensor is: [`dtype`], [`layout`], [`buffer`], [`tensor`], and [`error`];
//! - what can be done with it: [`op`], one file a family;
//! - how it is differentiated: [`transform`], a stack of levels;
//! - where it runs: [`cpu`] by kernels, other devices through the seam [`device`];
//! - what kernels need of the process: [`runtime`] (threads, memory, interruption).
//!
//! ```
//! use luxon::{Tensor, grad};
//! let x = Tensor::new(&[0.0f64, 1.0], &[2])?;
//! let slope = grad(|x| x[0].sin()?.sum(None, false), &[x])?;
//! let cosines = slope[0].to_vec::<f64>()?;
//! assert!((cosines[1] - 1.0f64.cos()).abs() < 1e-15);
//! # Ok::<(), luxon::Error>(())
//! ```

// A build for one instruction set leaves the means of the others unused.
#![cfg_attr(target_feature = "avx512vl", allow(dead_code, unused_imports))]

pub mod buffer;
pub mod cpu;
pub mod device;
pub mod dtype;
pub mod error;
pub mod io;
pub mod layout;
pub mod op;
pub mod optim;
pub mod runtime;
pub mod tensor;
pub mod transform;
pub mod tree;

pub use dtype::{DType, Element, Scalar};
pub use error::{Error, Result};
pub use layout::Shape;
pub use op::band::eye;
pub use op::create::{Indexing, arange, linspace, meshgrid, one_hot};
pub use op::einsum::{einsum, tensordot};
pub use op::elementwise::{Kernel, Operand, pow};
pub use op::fused::activation::activation;
pub use op::fused::attention::{AttentionOptions, scaled_dot_product_attention};
pub use op::fused::conv::{ConvOptions, Margins, conv, conv_transpose};
pub use op::fused::ctc::{CtcOptions, ctc};
pub use op::fused::dense::linear;
pub use op::fused::dropout::dropout;
pub use op::fused::losses::{
    BinaryCrossEntropyOptions, CrossEntropyOptions, LossReduction, binary_cross_entropy, cross_entropy, huber, mae, mse,
};
pub use op::fused::normalise::{batch_norm, batch_norm_inference, group_norm, instance_norm, layer_norm, rms_norm};
pub use op::fused::pooling::{
    PoolPadding, PoolWindow, adaptive_lp_pool, adaptive_max_pool, adaptive_mean_pool, lp_pool, max_pool, mean_pool,
};
pub use op::fused::recurrent::{Carry, Cell, recurrent};
pub use op::fused::upsample::{Interpolation, UpsampleTo, pixel_shuffle, pixel_unshuffle, upsample};
pub use op::index::{Index, Update, embedding};
pub use op::linalg::{MatrixNorm, cross, matrix_norm, matrix_power, matrix_rank, outer, vecdot, vector_norm};
pub use op::linear::{broadcast_tensors, concat, stack};
pub use op::manipulate::{Padding, Repeats, Sections, where_};
pub use op::matmul::matmul;
pub use op::random::Key;
pub use op::scan::Cumulative;
pub use op::search::{Quantile, Unique};
pub use tensor::{Tensor, Value};
pub use transform::{grad, jvp, value_and_grad, vjp};
