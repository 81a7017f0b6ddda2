//! The rules, one small definition each.
//!
//! A [`Definition`] has settings, says what it keeps of a leaf, and makes one step. Most rules are the numbers
//! of a step and one expression per element; rules that need norms, factored moments or matrix products of a
//! whole leaf use tensor operations around such passes; L-BFGS sees all leaves at once.

mod adagrad;
mod adam;
mod factored;
pub(super) mod lbfgs;
mod muon;
mod norms;
mod sgd;
mod signs;

use std::fmt::Debug;

pub use adagrad::{AdaDelta, AdaGrad, Asgd, RmsProp};
pub use adam::{AdaBelief, AdaMax, Adam, AdamW, AmsGrad, Lamb, NAdam, OAdam, RAdam, Yogi};
pub use factored::{Adafactor, Sm3};
pub use lbfgs::Lbfgs;
pub use muon::Muon;
pub use norms::{Fromage, Lars, NovoGrad};
pub use sgd::Sgd;
pub use signs::{Lion, Rprop};

use crate::error::{Error, Result};
use crate::optim::leaf::{Kept, Leaf, Slots, Spec, for_each};
use crate::optim::settings::{Rate, Setting, Settings};
use crate::tensor::Tensor;

/// Where a step is.
///
/// ```
/// use luxon::optim::rules::At;
/// let at = At { lr: 0.1, step: 1 }; // The first step of a leaf.
/// assert_eq!(at.step, 1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// The learning rate in force.
    pub lr: f64,
    /// This leaf's steps, this one included.
    pub step: u64,
}

impl At {
    /// The step as an exponent.
    #[doc(hidden)]
    pub fn power(&self) -> i32 {
        super::schedule::power(self.step)
    }

    /// `1 - beta^(step + ahead)`, by which a moving average that started at 0 is too small.
    #[doc(hidden)]
    pub fn correction(&self, beta: f64, ahead: u64) -> f64 {
        1.0 - beta.powi(super::schedule::power(self.step + ahead))
    }
}

/// A rule: how parameters follow their gradients.
///
/// ```
/// use luxon::Tensor;
/// use luxon::optim::{Definition, Kept, Rate, Slots, Spec, Stepper, rules::At};
/// use luxon::tree::Tree;
///
/// /// A step of the same length along every axis.
/// #[derive(Debug)]
/// struct SignDescent {
///     lr: Rate,
/// }
///
/// impl Definition for SignDescent {
///     fn name(&self) -> &'static str { "SignDescent" }
///     fn rate(&self) -> &Rate { &self.lr }
///     fn slots(&self, _: &Spec) -> Slots { Slots::new() } // It keeps nothing.
///     fn update(&self, at: At, x: Tensor, slope: &Tensor, kept: Vec<Kept>) -> luxon::Result<(Tensor, Vec<Kept>)> {
///         Ok((x.sub(&slope.sign()?.mul(at.lr)?)?, kept))
///     }
/// }
///
/// let mut ps = Tree::leaf(Tensor::new(&[3.0, -4.0], &[2])?);
/// let mut stepper = Stepper::new(SignDescent { lr: 0.5.into() }, &ps)?;
/// let slope = ps.clone();
/// stepper.step(&mut ps, slope)?;
/// assert_eq!(ps.tensor()?.to_vec::<f64>()?, [2.5, -3.5]);
/// # Ok::<(), luxon::Error>(())
/// ```
pub trait Definition: Debug + Send + Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// The learning rate.
    fn rate(&self) -> &Rate;

    /// What it keeps of a leaf.
    fn slots(&self, spec: &Spec) -> Slots;

    /// One step of one leaf.
    ///
    /// # Errors
    /// [`Error::Type`] and [`Error::Value`] for leaves that the rule cannot train.
    fn update(&self, at: At, parameter: Tensor, gradient: &Tensor, kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)>;

    /// Whether to climb instead of descend.
    fn maximize(&self) -> bool {
        false
    }

    /// Whether a step may be refused for the leaf that it is given.
    fn can_fail(&self) -> bool {
        false
    }

    /// Refuses numbers out of the bounds that go with their names.
    ///
    /// # Errors
    /// [`Error::Value`] naming the setting.
    fn in_bounds(&self) -> Result<()> {
        Ok(())
    }

    /// Refuses settings that do not go together.
    ///
    /// # Errors
    /// [`Error::Value`] naming the setting.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// One step of all leaves that have a gradient, at the global step `step`.
    ///
    /// # Errors
    /// As [`Definition::update`].
    fn update_all(&self, step: u64, leaves: &mut [Leaf]) -> Result<()> {
        let lr = self.rate().at(step)?;
        for_each(leaves, &|leaf| {
            let count = if leaf.alone { leaf.before.len() } else { self.slots(&leaf.spec()).len() };
            let Some(gradient) = leaf.gradient.take() else {
                leaf.pass(count);
                return Ok(());
            };
            let gradient = if self.maximize() { gradient.neg()? } else { gradient };
            let kept = leaf.take(count);
            let at = At { lr, step: leaf.step + 1 };
            let (parameter, kept) = self.update(at, leaf.take_parameter()?, &gradient, kept)?;
            leaf.parameter = Some(parameter);
            leaf.give(kept);
            // Its memory belongs to the calling thread, which is to free it.
            leaf.gradient = Some(gradient);
            Ok(())
        })
    }

    /// L-BFGS, which can evaluate an objective; none for any other rule.
    fn as_lbfgs(&self) -> Option<&Lbfgs> {
        None
    }
}

/// Refuses settings with which a rule cannot work.
///
/// # Errors
/// [`Error::Value`] naming the setting.
#[doc(hidden)]
pub fn validate(rule: &dyn Definition) -> Result<()> {
    rule.in_bounds()?;
    if let Rate::Schedule(schedule) = rule.rate() {
        schedule.check()?;
    }
    rule.check()
}

/// The rule of a name, with the default settings except for these.
///
/// ```
/// use luxon::optim::{Setting, rules};
/// let adam = rules::rule("Adam", &[("lr".into(), Setting::Number(0.1))])?;
/// assert_eq!(adam.rate().at(0)?, 0.1);
/// assert!(rules::rule("Adam", &[("lr".into(), Setting::Number(-1.0))]).is_err());
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for a name or a setting that is not there or out of its bounds.
pub fn rule(name: &str, settings: &[(String, Setting)]) -> Result<std::sync::Arc<dyn Definition>> {
    macro_rules! known {
        ($($text:literal => $rule:ident,)*) => {
            match name {
                $($text => {
                    let mut rule = $rule::default();
                    for (name, setting) in settings {
                        rule.set(name, setting)?;
                    }
                    validate(&rule)?;
                    Ok(std::sync::Arc::new(rule))
                })*
                _ => Err(Error::value("optim", format_args!("there is no rule {name:?}"))),
            }
        };
    }
    known! {
        "SGD" => Sgd, "Rprop" => Rprop, "RMSProp" => RmsProp, "Adam" => Adam, "AdamW" => AdamW, "NAdam" => NAdam,
        "RAdam" => RAdam, "AdaMax" => AdaMax, "AMSGrad" => AmsGrad, "AdaGrad" => AdaGrad, "AdaDelta" => AdaDelta,
        "ASGD" => Asgd, "AdaBelief" => AdaBelief, "OAdam" => OAdam, "Yogi" => Yogi, "Lion" => Lion, "Lamb" => Lamb,
        "Lars" => Lars, "NovoGrad" => NovoGrad, "Adafactor" => Adafactor, "Muon" => Muon, "LBFGS" => Lbfgs,
        "SM3" => Sm3, "Fromage" => Fromage,
    }
}

/// The methods that every rule has alike: name, rate, and perhaps whether to maximise.
macro_rules! common {
    ($name:literal) => {
        fn name(&self) -> &'static str {
            $name
        }

        fn rate(&self) -> &$crate::optim::settings::Rate {
            &self.lr
        }

        fn in_bounds(&self) -> $crate::error::Result<()> {
            $crate::optim::settings::Settings::bounds(self)
        }
    };
    ($name:literal, maximize) => {
        crate::optim::rules::common!($name);

        fn maximize(&self) -> bool {
            self.maximize
        }
    };
}
use common;
