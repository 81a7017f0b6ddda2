//! Optimisers: rules, transforms of gradients, and their composition.
//!
//! An [`Optimizer`] is an immutable value. [`Optimizer::start`] gives what is kept of a leaf before the first
//! step, [`Optimizer::update`] moves all leaves that have a gradient by one step. What it is given by value and
//! nobody else holds is overwritten, so a training loop that moves its state through needs no second copy.
//! Formulas, names and defaults are PyTorch's where it has the rule, else Optax's.
//!
//! - [`rules`]: one small definition each;
//! - [`Schedule`]: learning rates as functions of the step;
//! - [`Transform`]: what happens to gradients before (or to steps after) a rule;
//! - [`Optimizer`]: chains, partitions, look-ahead, mixed precision of these;
//! - [`Stepper`]: an optimiser with what it keeps of a tree of parameters.
//!
//! ```
//! use luxon::optim::{Optimizer, Schedule, Transform, rules};
//! use luxon::{DType, Tensor};
//! let rate = Schedule::Cosine { lr: 0.1, total_steps: 100, end: 0.0 };
//! let rule = Optimizer::from(rules::Adam { lr: rate.into(), ..Default::default() });
//! let optimizer = Optimizer::chain(vec![Transform::ClipGlobalNorm { c: 1.0, p: 2.0 }.into(), rule])?;
//! let weight = Tensor::ones(&[3], DType::F32)?;
//! let state = optimizer.start("weight", &weight)?;
//! let gradient = Tensor::ones(&[3], DType::F32)?;
//! let mut moved = optimizer.update(0, vec![("weight".into(), weight, gradient, state)])?;
//! let (weight, state) = moved.remove(0);
//! assert!((weight.to_vec::<f32>()?[0] - 0.9).abs() < 1e-6 && state.step == 1);
//! # Ok::<(), luxon::Error>(())
//! ```

#[doc(hidden)]
pub mod compose;
#[doc(hidden)]
pub mod leaf;
mod pass;
pub mod rules;
mod schedule;
mod search;
#[doc(hidden)]
pub mod settings;
mod stepper;
mod transform;

pub use compose::{Given, Optimizer};
pub use leaf::{Kept, Slots, Spec, State};
pub use rules::Definition;
pub use schedule::{Anneal, Custom, Height, Schedule};
pub use settings::{Rate, Setting};
pub use stepper::Stepper;
pub use transform::{Mask, Transform};

#[cfg(test)]
mod tests;
