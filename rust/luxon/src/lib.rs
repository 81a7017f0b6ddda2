//! luxon: tensors, differentiation and CPU kernels for explicit-parameter neural networks.
//!
//! - [`Tensor`] is an n-dimensional array; its methods and the functions here are the Array API's, and what layers
//!   need besides. Every operation gives a [`Result`]: nothing that a caller can do wrong panics.
//! - [`grad`], [`value_and_grad`], [`vjp`] and [`jvp`] differentiate functions, nested in any mix and to any order;
//!   [`custom`] has rules of one's own.
//! - [`Tree`](tree::Tree) holds a network's parameters by name, and is differentiated as a whole.
//! - Layers are functions of inputs and parameters: [`linear`], [`conv`], [`layer_norm`], [`recurrent`],
//!   [`scaled_dot_product_attention`], [`dropout`], ...; losses are [`cross_entropy`], [`mse`], [`ctc`], ...
//! - [`optim`] has the optimisers with their schedules, [`random`] the numbers that come of a [`Key`], [`io`] the
//!   files, [`runtime`] threads and memory, and [`device`] the seam for other devices than the CPU.
//!
//! # A network, trained
//!
//! ```
//! use luxon::optim::{Schedule, Stepper, rules::Adam};
//! use luxon::tree::Tree;
//! use luxon::{DType, Kernel, Key, LossReduction, Result, Tensor, activation, linear, mse, random};
//!
//! /// A dense layer's parameters, drawn by the key that belongs to its name.
//! fn dense(key: Key, name: &str, inputs: usize, outputs: usize) -> Result<Tree<Tensor>> {
//!     let bound = (6.0 / (inputs + outputs) as f64).sqrt();
//!     let weight = random::uniform(key.fold_in_str(name), &[outputs, inputs], -bound, bound, DType::F32)?;
//!     Tree::mapping([("weight", Tree::leaf(weight)), ("bias", Tree::leaf(Tensor::zeros(&[outputs], DType::F32)?))])
//! }
//!
//! fn forward(ps: &Tree<Tensor>, x: &Tensor) -> Result<Tensor> {
//!     let weights = |name: &str| Ok::<_, luxon::Error>((ps.get(&format!("{name}.weight"))?, ps.get(&format!("{name}.bias"))?));
//!     let (weight, bias) = weights("hidden")?;
//!     let hidden = linear(x, weight.tensor()?, Some(bias.tensor()?), Some(activation(Kernel::Tanh, &[])?))?;
//!     let (weight, bias) = weights("head")?;
//!     linear(&hidden, weight.tensor()?, Some(bias.tensor()?), None)
//! }
//!
//! let key = Key::new(0);
//! let mut ps = Tree::mapping([("hidden", dense(key, "hidden", 1, 16)?), ("head", dense(key, "head", 16, 1)?)])?;
//! let x = random::uniform(key.fold_in_str("x"), &[128, 1], -2.0, 2.0, DType::F32)?;
//! let y = x.square()?;
//!
//! let rate = Schedule::Cosine { lr: 0.03, total_steps: 1000, end: 0.0 };
//! let mut stepper = Stepper::new(Adam { lr: rate.into(), ..Adam::default() }, &ps)?;
//! let mut last = f64::INFINITY;
//! for _ in 0..1000 {
//!     let (loss, slope) = ps.value_and_grad(|ps| mse(&forward(ps, &x)?, &y, LossReduction::Mean))?;
//!     stepper.step(&mut ps, slope)?;
//!     last = loss.item()?.as_f64();
//! }
//! assert!(last < 0.01, "{last}");
//! # Ok::<(), luxon::Error>(())
//! ```
//!
//! The same parameters as a file, which `lx.io.load` of the Python package reads too:
//!
//! ```
//! use luxon::io::safetensors::{self, Metadata};
//! use luxon::tree::Tree;
//! # use luxon::{DType, Tensor};
//! # let ps = Tree::mapping([("bias", Tree::leaf(Tensor::zeros(&[3], DType::F32)?))])?;
//! # let path = std::env::temp_dir().join(format!("luxon-crate-{}.safetensors", std::process::id()));
//! let named: Vec<_> = ps.places().map(|(name, tensor)| (name, tensor.clone())).collect();
//! safetensors::write(&path, &named, &Metadata::new())?;
//! let (loaded, _) = safetensors::read(&path)?;
//! let again = Tree::from_paths(loaded.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())))?;
//! assert!(again.get("bias")?.tensor()?.allclose(ps.get("bias")?.tensor()?, 0.0, 0.0, false)?);
//! # std::fs::remove_file(&path).ok();
//! # Ok::<(), luxon::Error>(())
//! ```
//!
//! # How the crate is built
//!
//! What is not in this documentation is public for the Python binding and the benchmarks alone, and changes without
//! notice. In the order of dependence: what a tensor is (`dtype`, `layout`, `buffer`, `tensor`, `error`); what can be
//! done with it (`op`, one file a family); how it is differentiated (`transform`, a stack of levels); where it runs
//! (`cpu` by kernels, others through `device`, CUDA's by the plans of `cuda`); what kernels need of the process (`runtime`).

// A build for one instruction set leaves the means of the others unused.
#![cfg_attr(
    any(target_feature = "avx512vl", not(feature = "avx2"), not(feature = "avx512")),
    allow(dead_code, unused_imports)
)]

#[doc(hidden)]
pub mod buffer;
#[doc(hidden)]
pub mod cpu;
#[doc(hidden)]
pub mod cuda;
pub mod device;
#[doc(hidden)]
pub mod dtype;
#[doc(hidden)]
pub mod error;
pub mod io;
#[doc(hidden)]
pub mod layout;
#[doc(hidden)]
pub mod op;
pub mod optim;
pub mod runtime;
#[doc(hidden)]
pub mod tensor;
#[doc(hidden)]
pub mod transform;
pub mod tree;

pub use dtype::{DType, Element, Kind, Scalar};
pub use error::{Error, Result};
pub use layout::{Layout, PerAxis, Shape};
pub use op::band::eye;
pub use op::create::{Indexing, arange, linspace, meshgrid, one_hot};
pub use op::custom;
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
pub use op::fused::recurrent::{Carry, Cell, Options as RecurrentOptions, Weights as RecurrentWeights, recurrent};
pub use op::fused::upsample::{Interpolation, UpsampleTo, pixel_shuffle, pixel_unshuffle, upsample};
pub use op::index::{Index, Update, embedding};
pub use op::linalg::{MatrixNorm, cross, matrix_norm, matrix_power, matrix_rank, outer, vecdot, vector_norm};
pub use op::linear::{broadcast_tensors, concat, stack};
pub use op::manipulate::{Padding, Repeats, Sections, where_};
pub use op::matmul::matmul;
pub use op::random::{self, Key};
#[doc(hidden)]
pub use op::scan::Cumulative;
pub use op::search::{Quantile, Unique};
pub use tensor::{Tensor, Value};
pub use transform::{grad, jet, jvp, value_and_grad, value_and_optional_grad, vjp};

/// The pages of the documentation whose programs are tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../docs/rust_apps.md")]
    mod rust_apps {}
}
