//! The settings of rules: named fields with defaults, set by name and checked by name.
//!
//! `settings!` declares a rule's struct with its defaults. A binding that knows a rule only by name fills it
//! through [`Settings::set`]; a Rust program writes `Adam { lr: 0.01.into(), ..Adam::default() }`. Bounds go
//! by the name of a field, so the same setting has the same bounds in every rule.

use crate::error::{Error, Result};
use crate::optim::schedule::Schedule;

/// A learning rate: a number or a schedule.
///
/// ```
/// use luxon::optim::{Rate, Schedule};
/// let (fixed, falling): (Rate, Rate) = (0.1.into(), Schedule::Exponential { lr: 0.1, gamma: 0.9 }.into());
/// assert!(fixed.at(1)? > falling.at(1)?);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Rate {
    /// The same at every step.
    Fixed(f64),
    /// A function of the step.
    Schedule(Schedule),
}

impl Rate {
    /// The rate of a step, counted from 0.
    ///
    /// ```
    /// use luxon::optim::Rate;
    /// assert_eq!(Rate::from(0.1).at(1000)?, 0.1);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// Whatever a function of the user's fails with.
    pub fn at(&self, step: u64) -> Result<f64> {
        match self {
            Rate::Fixed(rate) => Ok(*rate),
            Rate::Schedule(schedule) => schedule.at(step),
        }
    }
}

impl Rate {
    /// Whether a function of the user's is asked, which may fail.
    #[doc(hidden)]
    pub fn is_custom(&self) -> bool {
        matches!(self, Rate::Schedule(schedule) if schedule.is_custom())
    }
}

impl From<f64> for Rate {
    fn from(rate: f64) -> Rate {
        Rate::Fixed(rate)
    }
}

impl From<Schedule> for Rate {
    fn from(schedule: Schedule) -> Rate {
        Rate::Schedule(schedule)
    }
}

/// A value for a setting, of whatever type.
///
/// ```
/// use luxon::optim::{Setting, rules};
/// let betas = Setting::Several(vec![Some(0.9), Some(0.99)]);
/// assert!(rules::rule("AdamW", &[("betas".into(), betas), ("amsgrad".into(), Setting::Flag(true))]).is_ok());
/// ```
#[derive(Clone, Debug)]
pub enum Setting {
    /// Nothing: the rule decides.
    Missing,
    /// A truth value.
    Flag(bool),
    /// A number.
    Number(f64),
    /// Several, some of which may be missing.
    Several(Vec<Option<f64>>),
    /// A word.
    Text(String),
    /// A schedule, for a learning rate.
    Schedule(Schedule),
}

/// A type that a setting can have.
pub trait Field: Sized {
    /// The value, if the setting is one of this type.
    fn of(setting: &Setting) -> Option<Self>;

    /// The numbers in it that have bounds.
    fn numbers(&self) -> Vec<f64> {
        Vec::new()
    }
}

impl Field for f64 {
    fn of(setting: &Setting) -> Option<f64> {
        if let Setting::Number(number) = setting { Some(*number) } else { None }
    }

    fn numbers(&self) -> Vec<f64> {
        vec![*self]
    }
}

impl Field for u64 {
    fn of(setting: &Setting) -> Option<u64> {
        f64::of(setting).filter(|number| *number >= 0.0 && number.fract() == 0.0).map(|number| number as u64)
    }

    fn numbers(&self) -> Vec<f64> {
        vec![*self as f64]
    }
}

impl Field for bool {
    fn of(setting: &Setting) -> Option<bool> {
        if let Setting::Flag(flag) = setting { Some(*flag) } else { None }
    }
}

impl Field for Rate {
    fn of(setting: &Setting) -> Option<Rate> {
        match setting {
            Setting::Number(rate) => Some(Rate::Fixed(*rate)),
            Setting::Schedule(schedule) => Some(Rate::Schedule(schedule.clone())),
            _ => None,
        }
    }

    fn numbers(&self) -> Vec<f64> {
        if let Rate::Fixed(rate) = self { vec![*rate] } else { Vec::new() }
    }
}

impl Field for String {
    fn of(setting: &Setting) -> Option<String> {
        if let Setting::Text(text) = setting { Some(text.clone()) } else { None }
    }
}

impl<T: Field> Field for Option<T> {
    fn of(setting: &Setting) -> Option<Option<T>> {
        if matches!(setting, Setting::Missing) { Some(None) } else { T::of(setting).map(Some) }
    }

    fn numbers(&self) -> Vec<f64> {
        self.as_ref().map_or_else(Vec::new, T::numbers)
    }
}

impl Field for (f64, f64) {
    fn of(setting: &Setting) -> Option<(f64, f64)> {
        match setting {
            Setting::Several(several) if several.len() == 2 => Some((several[0]?, several[1]?)),
            _ => None,
        }
    }

    fn numbers(&self) -> Vec<f64> {
        vec![self.0, self.1]
    }
}

impl Field for (Option<f64>, f64) {
    fn of(setting: &Setting) -> Option<(Option<f64>, f64)> {
        match setting {
            Setting::Several(several) if several.len() == 2 => Some((several[0], several[1]?)),
            _ => None,
        }
    }

    fn numbers(&self) -> Vec<f64> {
        self.0.into_iter().chain([self.1]).collect()
    }
}

impl Field for (f64, f64, f64) {
    fn of(setting: &Setting) -> Option<(f64, f64, f64)> {
        match setting {
            Setting::Several(several) if several.len() == 3 => Some((several[0]?, several[1]?, several[2]?)),
            _ => None,
        }
    }
}

/// Fields that can be set by name.
pub trait Settings {
    /// Sets a field.
    ///
    /// # Errors
    /// [`Error::Value`] for a name that is not there or a value of another type.
    fn set(&mut self, name: &str, setting: &Setting) -> Result<()>;

    /// Refuses numbers out of their bounds.
    ///
    /// # Errors
    /// [`Error::Value`] naming the field.
    fn bounds(&self) -> Result<()>;
}

/// Refuses a number outside the bounds of its name.
pub(super) fn bound(rule: &str, name: &str, numbers: &[f64]) -> Result<()> {
    let holds = |number: f64| match name {
        "betas" => (0.0..1.0).contains(&number),
        "alpha" | "beta" if rule == "OAdam" => number.is_finite(),
        "rho" => (0.0..=1.0).contains(&number),
        "history_size" | "max_iter" => number >= 1.0,
        "dampening" | "ns_steps" | "max_eval" => !number.is_nan(),
        "beta2_decay" => number <= 0.0,
        "d" if rule == "Adafactor" => number >= 1.0,
        _ => number >= 0.0,
    };
    match numbers.iter().find(|number| !holds(**number)) {
        Some(number) => Err(Error::value(rule, format_args!("{name} is out of range: {number}"))),
        None => Ok(()),
    }
}

/// Declares the struct of a rule's settings: a documented field, its type and its default a line.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        ///
        /// ```
        /// # use luxon::{Tensor, tree::Tree};
        #[doc = concat!("use luxon::optim::{Stepper, rules::", stringify!($name), "};")]
        /// let mut ps = Tree::leaf(Tensor::new(&[3.0, -4.0, 1.0, 2.0], &[2, 2])?);
        #[doc = concat!("let rule = ", stringify!($name), " { lr: 0.01.into(), ..", stringify!($name), "::default() };")]
        /// let mut stepper = Stepper::new(rule, &ps)?;
        /// let half_square = |ps: &Tree<Tensor>| ps.tensor()?.square()?.sum(None, false)?.mul(0.5);
        /// let (before, slope) = ps.value_and_grad(half_square)?;
        /// stepper.step(&mut ps, slope)?;
        /// assert!(half_square(&ps)?.less(&before)?.to_vec::<bool>()?[0]);
        /// # Ok::<(), luxon::Error>(())
        /// ```
        #[derive(Clone, Debug)]
        pub struct $name {
            $($(#[$about])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default.into(),)* }
            }
        }

        impl $crate::optim::settings::Settings for $name {
            fn set(&mut self, name: &str, setting: &$crate::optim::settings::Setting) -> $crate::error::Result<()> {
                match name {
                    $(stringify!($field) => match <$type as $crate::optim::settings::Field>::of(setting) {
                        Some(value) => self.$field = value,
                        None => return Err($crate::error::Error::dtype(stringify!($name), format_args!(
                            "{name} cannot be {setting:?}"
                        ))),
                    },)*
                    _ => return Err($crate::error::Error::value(stringify!($name), format_args!(
                        "there is no setting {name}"
                    ))),
                }
                Ok(())
            }

            fn bounds(&self) -> $crate::error::Result<()> {
                $($crate::optim::settings::bound(
                    stringify!($name),
                    stringify!($field),
                    &<$type as $crate::optim::settings::Field>::numbers(&self.$field),
                )?;)*
                Ok(())
            }
        }
    };
}
pub(super) use settings;
