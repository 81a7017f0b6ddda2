//! Learning rates as functions of the step.
//!
//! A [`Schedule`] is a value; [`Schedule::at`] gives the rate of a step, counted from 0. Formulas are the
//! closed forms of PyTorch's schedulers where it has one. Schedules are made of schedules: [`Schedule::Warmup`]
//! and [`Schedule::Join`] count the steps of their parts from 0.

use std::f64::consts::PI;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// A function of the step that a user wrote.
pub type Custom = Arc<dyn Fn(u64) -> Result<f64> + Send + Sync>;

/// How one end of a phase becomes the other.
///
/// ```
/// use luxon::optim::{Anneal, Schedule};
/// let cycle = Schedule::OneCycle {
///     max_lr: 1.0, total_steps: 100, pct_start: 0.3, anneal: Anneal::Cosine, div_factor: 25.0,
///     final_div_factor: 1e4, three_phase: false,
/// };
/// assert!((cycle.at(0)? - 0.04).abs() < 1e-12 && cycle.at(29)? > 0.99);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anneal {
    /// Half a period of the cosine.
    Cosine,
    /// A straight line.
    Linear,
}

/// How the height of the triangles changes.
///
/// ```
/// use luxon::optim::{Height, Schedule};
/// let waves = Schedule::Triangular { low: 0.1, high: 1.1, up: 10, down: 10, height: Height::Constant };
/// assert!((waves.at(10)? - 1.1).abs() < 1e-12 && (waves.at(20)? - 0.1).abs() < 1e-12);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Height {
    /// It stays.
    Constant,
    /// It halves with each cycle.
    Halved,
    /// It is multiplied by this with each step.
    Exponential(f64),
}

/// A learning rate as a function of the step.
///
/// ```
/// use luxon::optim::Schedule;
/// let decay = Schedule::Cosine { lr: 0.1, total_steps: 90, end: 0.0 };
/// let rate = Schedule::Warmup { schedule: Box::new(decay), steps: 10, start: 0.0 };
/// assert!((rate.at(5)? - 0.05).abs() < 1e-12);
/// assert!((rate.at(10)? - 0.1).abs() < 1e-12 && rate.at(99)? < 1e-3);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone)]
pub enum Schedule {
    /// Always the same.
    Constant(f64),
    /// `lr * gamma^(step / step_size)`, the quotient rounded down.
    Step {
        /// The first rate.
        lr: f64,
        /// Steps at one rate.
        step_size: u64,
        /// The factor from one rate to the next.
        gamma: f64,
    },
    /// `lr * gamma^k` after `k` milestones.
    MultiStep {
        /// The first rate.
        lr: f64,
        /// The steps at which the rate changes, ascending.
        milestones: Vec<u64>,
        /// The factor from one rate to the next.
        gamma: f64,
    },
    /// `lr * gamma^step`.
    Exponential {
        /// The first rate.
        lr: f64,
        /// The factor from one step to the next.
        gamma: f64,
    },
    /// `end + (lr - end) * (1 - step / total_steps)^power`, then `end`.
    Polynomial {
        /// The first rate.
        lr: f64,
        /// Steps until the end.
        total_steps: u64,
        /// The exponent.
        power: f64,
        /// The last rate.
        end: f64,
    },
    /// A straight line from `start` to `end`, then `end`.
    Linear {
        /// The first rate.
        start: f64,
        /// The last rate.
        end: f64,
        /// Steps until the end.
        total_steps: u64,
    },
    /// `end + (lr - end) * (1 + cos(pi * step / total_steps)) / 2`, which rises again after `total_steps`.
    Cosine {
        /// The first rate.
        lr: f64,
        /// Half a period.
        total_steps: u64,
        /// The lowest rate.
        end: f64,
    },
    /// Half periods of the cosine, each `multiplier` times as long as the one before.
    CosineRestarts {
        /// The rate at each start.
        lr: f64,
        /// The length of the first.
        period: u64,
        /// The growth of the length.
        multiplier: u64,
        /// The lowest rate.
        end: f64,
    },
    /// Up to `max_lr`, and down again to almost nothing.
    OneCycle {
        /// The highest rate.
        max_lr: f64,
        /// Steps in all.
        total_steps: u64,
        /// The share of the rise.
        pct_start: f64,
        /// The shape of each phase.
        anneal: Anneal,
        /// `max_lr` over the first rate.
        div_factor: f64,
        /// The first rate over the last.
        final_div_factor: f64,
        /// Whether to fall back to the first rate before falling to the last.
        three_phase: bool,
    },
    /// A straight line from `start` to the first rate of `schedule`, then `schedule`.
    Warmup {
        /// What follows.
        schedule: Box<Schedule>,
        /// Steps of the line.
        steps: u64,
        /// The first rate.
        start: f64,
    },
    /// One schedule after the other.
    Join {
        /// The parts.
        schedules: Vec<Schedule>,
        /// The first step of each part but the first.
        boundaries: Vec<u64>,
    },
    /// Up and down between two rates.
    Triangular {
        /// The lower rate.
        low: f64,
        /// The upper rate.
        high: f64,
        /// Steps upwards.
        up: u64,
        /// Steps downwards.
        down: u64,
        /// How the height changes.
        height: Height,
    },
    /// `lr * min(step / warmup_steps, sqrt(warmup_steps / step))`.
    InverseSqrt {
        /// The highest rate.
        lr: f64,
        /// Steps up to it.
        warmup_steps: u64,
    },
    /// `values[k]` after `k` boundaries.
    Piecewise {
        /// The steps at which the rate changes, ascending.
        boundaries: Vec<u64>,
        /// The rates, one more than boundaries.
        values: Vec<f64>,
    },
    /// A function of the user's.
    Custom(Custom),
}

impl fmt::Debug for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Schedule({:e} at first)", self.at(0).unwrap_or(f64::NAN))
    }
}

fn line(start: f64, end: f64, share: f64) -> f64 {
    start + (end - start) * share
}

fn half_cosine(start: f64, end: f64, share: f64) -> f64 {
    end + (start - end) * (1.0 + (PI * share).cos()) / 2.0
}

/// The number of `boundaries` that are not after `step`.
fn passed(boundaries: &[u64], step: u64) -> usize {
    boundaries.partition_point(|&boundary| boundary <= step)
}

/// An exponent for `powi`.
pub(super) fn power(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl Schedule {
    /// The rate of a step, counted from 0.
    ///
    /// ```
    /// use luxon::optim::Schedule;
    /// let rate = Schedule::Step { lr: 0.1, step_size: 30, gamma: 0.1 };
    /// assert!((rate.at(29)? - 0.1).abs() < 1e-12 && (rate.at(30)? - 0.01).abs() < 1e-12);
    /// let own = Schedule::Custom(std::sync::Arc::new(|step| Ok(1.0 / (1.0 + step as f64))));
    /// assert_eq!(own.at(1)?, 0.5);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// Whatever a function of the user's fails with.
    pub fn at(&self, step: u64) -> Result<f64> {
        let t = step as f64;
        Ok(match self {
            Schedule::Constant(lr) => *lr,
            Schedule::Step { lr, step_size, gamma } => lr * gamma.powi(power(step / step_size)),
            Schedule::MultiStep { lr, milestones, gamma } => lr * gamma.powi(passed(milestones, step) as i32),
            Schedule::Exponential { lr, gamma } => lr * gamma.powi(power(step)),
            Schedule::Polynomial { lr, total_steps, power, end } => {
                let left = 1.0 - step.min(*total_steps) as f64 / *total_steps as f64;
                end + (lr - end) * left.powf(*power)
            }
            Schedule::Linear { start, end, total_steps } => {
                line(*start, *end, step.min(*total_steps) as f64 / *total_steps as f64)
            }
            Schedule::Cosine { lr, total_steps, end } => half_cosine(*lr, *end, t / *total_steps as f64),
            Schedule::CosineRestarts { lr, period, multiplier, end } => {
                let (since, length) = restart(step, *period, *multiplier);
                half_cosine(*lr, *end, since as f64 / length as f64)
            }
            Schedule::OneCycle {
                max_lr,
                total_steps,
                pct_start,
                anneal,
                div_factor,
                final_div_factor,
                three_phase,
            } => {
                let first = max_lr / div_factor;
                let (last, total) = (first / final_div_factor, *total_steps as f64);
                let rise = pct_start * total - 1.0;
                let fall = 2.0 * pct_start * total - 2.0;
                let phases: &[(f64, f64, f64)] = if *three_phase {
                    &[(rise, first, *max_lr), (fall, *max_lr, first), (total - 1.0, first, last)]
                } else {
                    &[(rise, first, *max_lr), (total - 1.0, *max_lr, last)]
                };
                let (mut since, t) = (0.0, t.min(total - 1.0));
                let mut rate = last;
                for &(until, from, to) in phases {
                    if t <= until {
                        let share = if until > since { (t - since) / (until - since) } else { 1.0 };
                        rate = match anneal {
                            Anneal::Cosine => half_cosine(from, to, share),
                            Anneal::Linear => line(from, to, share),
                        };
                        break;
                    }
                    since = until;
                }
                rate
            }
            Schedule::Warmup { schedule, steps, start } => match step.checked_sub(*steps) {
                Some(after) => schedule.at(after)?,
                None => line(*start, schedule.at(0)?, t / *steps as f64),
            },
            Schedule::Join { schedules, boundaries } => {
                let part = passed(boundaries, step);
                let since = if part == 0 { 0 } else { boundaries[part - 1] };
                schedules[part].at(step - since)?
            }
            Schedule::Triangular { low, high, up, down, height } => {
                let length = up + down;
                let (cycle, within) = (step / length, step % length);
                let share =
                    if within <= *up { within as f64 / *up as f64 } else { (length - within) as f64 / *down as f64 };
                let scale = match height {
                    Height::Constant => 1.0,
                    Height::Halved => 0.5f64.powi(power(cycle)),
                    Height::Exponential(gamma) => gamma.powi(power(step)),
                };
                low + (high - low) * share * scale
            }
            Schedule::InverseSqrt { lr, warmup_steps } => {
                let warmup = (*warmup_steps).max(1) as f64;
                if step < *warmup_steps { lr * t / warmup } else { lr * (warmup / t.max(1.0)).sqrt() }
            }
            Schedule::Piecewise { boundaries, values } => values[passed(boundaries, step)],
            Schedule::Custom(function) => function(step)?,
        })
    }

    /// Whether a function of the user's is part of it.
    #[doc(hidden)]
    pub fn is_custom(&self) -> bool {
        match self {
            Schedule::Custom(_) => true,
            Schedule::Warmup { schedule, .. } => schedule.is_custom(),
            Schedule::Join { schedules, .. } => schedules.iter().any(Schedule::is_custom),
            _ => false,
        }
    }

    /// Refuses settings with which there is no rate.
    ///
    /// # Errors
    /// [`Error::Value`] saying which setting.
    #[doc(hidden)]
    pub fn check(&self) -> Result<()> {
        let need = |holds: bool, name: &str, what: &str| {
            if holds { Ok(()) } else { Err(Error::value(&format!("schedules.{name}"), what)) }
        };
        let ascending = |steps: &[u64]| steps.windows(2).all(|pair| pair[0] < pair[1]);
        match self {
            Schedule::Step { step_size, .. } => need(*step_size > 0, "step", "step_size must be positive"),
            Schedule::MultiStep { milestones, .. } => {
                need(ascending(milestones), "multi_step", "milestones must ascend")
            }
            Schedule::Polynomial { total_steps, power, .. } => {
                need(*total_steps > 0, "polynomial", "total_steps must be positive")?;
                need(*power >= 0.0, "polynomial", "power must not be negative")
            }
            Schedule::Linear { total_steps, .. } => need(*total_steps > 0, "linear", "total_steps must be positive"),
            Schedule::Cosine { total_steps, .. } => need(*total_steps > 0, "cosine", "total_steps must be positive"),
            Schedule::CosineRestarts { period, multiplier, .. } => {
                need(*period > 0 && *multiplier > 0, "cosine_restarts", "period and multiplier must be positive")
            }
            Schedule::OneCycle { total_steps, pct_start, div_factor, final_div_factor, .. } => {
                need(*total_steps > 0, "one_cycle", "total_steps must be positive")?;
                need((0.0..=1.0).contains(pct_start), "one_cycle", "pct_start must be between 0 and 1")?;
                let factors = *div_factor > 0.0 && *final_div_factor > 0.0;
                need(factors, "one_cycle", "div_factor and final_div_factor must be positive")
            }
            Schedule::Warmup { schedule, .. } => schedule.check(),
            Schedule::Join { schedules, boundaries } => {
                let fits = schedules.len() == boundaries.len() + 1;
                need(fits, "join", "needs one schedule more than boundaries")?;
                need(ascending(boundaries), "join", "boundaries must ascend")?;
                schedules.iter().try_for_each(Schedule::check)
            }
            Schedule::Triangular { up, down, .. } => {
                need(*up > 0 && *down > 0, "triangular", "the half periods must be positive")
            }
            Schedule::Piecewise { boundaries, values } => {
                let fits = values.len() == boundaries.len() + 1;
                need(fits, "piecewise", "needs one value more than boundaries")?;
                need(ascending(boundaries), "piecewise", "boundaries must ascend")
            }
            _ => Ok(()),
        }
    }
}

/// Steps since the last restart, and until the next one from there.
fn restart(step: u64, period: u64, multiplier: u64) -> (u64, u64) {
    if multiplier == 1 {
        return (step % period, period);
    }
    let (mut since, mut length) = (step, period);
    while since >= length {
        since -= length;
        length = length.saturating_mul(multiplier);
    }
    (since, length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parts_count_from_zero() {
        let fall = Schedule::Linear { start: 1.0, end: 0.0, total_steps: 4 };
        let warm = Schedule::Warmup { schedule: Box::new(fall.clone()), steps: 2, start: 0.0 };
        let rates: Vec<f64> = (0..8).map(|step| warm.at(step).unwrap()).collect();
        assert_eq!(rates, [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
        let both = Schedule::Join { schedules: vec![Schedule::Constant(3.0), fall], boundaries: vec![2] };
        assert_eq!((0..4).map(|step| both.at(step).unwrap()).collect::<Vec<_>>(), [3.0, 3.0, 1.0, 0.75]);
        assert!(Schedule::Join { schedules: vec![], boundaries: vec![] }.check().is_err());
    }

    #[test]
    fn restarts_lengthen() {
        assert_eq!(restart(9, 10, 2), (9, 10));
        assert_eq!(restart(10, 10, 2), (0, 20));
        assert_eq!(restart(31, 10, 2), (1, 40));
        assert_eq!(restart(31, 10, 1), (1, 10));
    }
}
