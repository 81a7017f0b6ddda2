//! Limited-memory BFGS, PyTorch's algorithm, over all leaves at once.
//!
//! Used like any rule, one update is one iteration with the fixed step `lr` and no line search. With an
//! objective that can be evaluated again, [`Lbfgs::minimize`] makes up to `max_iter` iterations, with the line
//! search of `search` where that is asked for. Every vector is kept as its pieces, one a leaf, so that the state
//! follows the leaves; numbers that belong to all leaves stand at each of them.

use super::{At, Definition, common};
use crate::error::{Error, Result};
use crate::op::linear::stack;
use crate::optim::leaf::{Form, Kept, Leaf, Slot, Slots, Spec, zeros_like};
use crate::optim::pass::{blend, dot, norm_of_order};
use crate::optim::search::{Point, strong_wolfe};
use crate::optim::settings::{Rate, settings};
use crate::tensor::Tensor;

settings! {
    /// Limited-memory BFGS.
    Lbfgs {
        /// The step along a direction, and the first that a line search tries.
        lr: Rate = 1.0,
        /// Iterations of one step with an objective.
        max_iter: u64 = 20u64,
        /// Evaluations of one step with an objective; 5/4 of `max_iter` by default.
        max_eval: Option<u64> = None::<u64>,
        /// A step ends where no gradient is larger.
        tolerance_grad: f64 = 1e-7,
        /// A step ends where neither parameters nor objective change more.
        tolerance_change: f64 = 1e-9,
        /// Pairs of differences that are remembered.
        history_size: u64 = 100u64,
        /// "strong_wolfe", or none for the fixed step.
        line_search_fn: Option<String> = None::<String>,
        /// Whether to climb.
        maximize: bool = false,
    }
}

/// Differences of gradients shorter than this along the step are not remembered.
const CURVATURE: f64 = 1e-10;

/// A vector in pieces, one a leaf.
pub type Vector = Vec<Tensor>;

/// The objective and its gradient.
pub type Evaluate<'a> = dyn FnMut(&[Tensor]) -> Result<(f64, Vector)> + 'a;

/// The scalar product.
pub fn product(a: &[Tensor], b: &[Tensor]) -> Result<f64> {
    a.iter().zip(b).map(|(a, b)| dot(a, b)).sum()
}

/// The largest magnitude; NaN where there is one.
pub fn largest(a: &[Tensor]) -> Result<f64> {
    let sizes = a.iter().map(|a| norm_of_order(a, f64::INFINITY)).collect::<Result<Vec<f64>>>()?;
    Ok(sizes.into_iter().fold(0.0, |most, size| if most > size { most } else { size }))
}

/// `a * x + b * y`.
pub fn combine(a: f64, x: Vector, b: f64, y: &[Tensor]) -> Result<Vector> {
    x.into_iter().zip(y).map(|(x, y)| blend(a, x, b, y)).collect()
}

/// What is known from earlier iterations.
#[derive(Default)]
struct Memory {
    /// Iterations so far.
    iterations: u64,
    /// Differences of gradients and the steps that belong to them, oldest first.
    history: Vec<(Vector, Vector)>,
    direction: Vector,
    gradient: Vector,
    step: f64,
    scale: f64,
}

/// Names of what is kept, in the order of [`Memory::store`].
const STACKS: [&str; 2] = ["old_dirs", "old_stps"];
const VECTORS: [&str; 2] = ["d", "prev_grad"];
const NUMBERS: [&str; 3] = ["n_iter", "t", "H_diag"];

impl Memory {
    /// What the leaves that take part have kept; nothing where they have not kept the same.
    fn load(leaves: &mut [&mut Leaf]) -> Result<Memory> {
        let mut memory = Memory { scale: 1.0, ..Memory::default() };
        let mut known: Option<(u64, usize)> = None;
        let mut stacks: Vec<(Tensor, Tensor)> = Vec::new();
        for leaf in leaves {
            let mut kept = leaf.take(SLOTS).into_iter();
            let mut next = || kept.next().unwrap_or(Kept::Nothing);
            let (gradients, steps) = (next().tensor()?, next().tensor()?);
            memory.direction.push(next().tensor()?);
            memory.gradient.push(next().tensor()?);
            let iterations = next().number() as u64;
            (memory.step, memory.scale) = (next().number(), next().number());
            let mine = (iterations, gradients.shape()[0]);
            if gradients.shape()[0] != steps.shape()[0] || known.is_some_and(|known| known != mine) {
                known = Some((0, 0));
            } else {
                known.get_or_insert(mine);
            }
            stacks.push((gradients, steps));
        }
        let (iterations, length) = known.unwrap_or((0, 0));
        memory.iterations = iterations;
        for at in 0..length {
            let row = |tensor: &Tensor| tensor.narrow(0, at, 1)?.squeeze(&[0]);
            let gradients = stacks.iter().map(|(gradients, _)| row(gradients)).collect::<Result<_>>()?;
            let steps = stacks.iter().map(|(_, steps)| row(steps)).collect::<Result<_>>()?;
            memory.history.push((gradients, steps));
        }
        Ok(memory)
    }

    fn store(self, leaves: &mut [&mut Leaf]) -> Result<()> {
        for (at, leaf) in leaves.iter_mut().enumerate() {
            let stacked = |which: fn(&(Vector, Vector)) -> &Vector| -> Result<Tensor> {
                let rows: Vec<&Tensor> = self.history.iter().map(|pair| &which(pair)[at]).collect();
                if rows.is_empty() {
                    let like = self.gradient[at].expand_dims(0)?;
                    return like.narrow(0, 0, 0)?.contiguous();
                }
                stack(&rows, 0)
            };
            leaf.after.push(stacked(|pair| &pair.0)?.into());
            leaf.after.push(stacked(|pair| &pair.1)?.into());
            leaf.after.push(self.direction[at].clone().into());
            leaf.after.push(self.gradient[at].clone().into());
            leaf.after.extend([self.iterations as f64, self.step, self.scale].map(Kept::Number));
        }
        Ok(())
    }

    /// The direction of an iteration, by the two loops over the history.
    fn next_direction(&mut self, gradient: &[Tensor], history_size: usize) -> Result<()> {
        self.iterations += 1;
        if self.iterations == 1 {
            self.history.clear();
            self.scale = 1.0;
            self.direction = gradient.iter().map(Tensor::neg).collect::<Result<_>>()?;
            self.gradient = gradient.to_vec();
            return Ok(());
        }
        let change = combine(-1.0, std::mem::take(&mut self.gradient), 1.0, gradient)?;
        let step = self.direction.iter().map(|d| d.mul(self.step)).collect::<Result<Vector>>()?;
        let curvature = product(&change, &step)?;
        if curvature > CURVATURE {
            if self.history.len() >= history_size {
                self.history.remove(0);
            }
            self.scale = curvature / product(&change, &change)?;
            self.history.push((change, step));
        }
        let mut q = gradient.iter().map(Tensor::neg).collect::<Result<Vector>>()?;
        let mut weights = Vec::with_capacity(self.history.len());
        for (change, step) in self.history.iter().rev() {
            let inverse = 1.0 / product(change, step)?;
            let weight = product(step, &q)? * inverse;
            q = combine(1.0, q, -weight, change)?;
            weights.push((weight, inverse));
        }
        let mut r = q.iter().map(|q| q.mul(self.scale)).collect::<Result<Vector>>()?;
        for ((change, step), (weight, inverse)) in self.history.iter().zip(weights.iter().rev()) {
            let correction = product(change, &r)? * inverse;
            r = combine(1.0, r, weight - correction, step)?;
        }
        self.direction = r;
        self.gradient = gradient.to_vec();
        Ok(())
    }

    /// The first guess of the step's size.
    fn guess(&self, lr: f64) -> Result<f64> {
        if self.iterations > 1 {
            return Ok(lr);
        }
        let total: f64 = self.gradient.iter().map(|g| norm_of_order(g, 1.0)).sum::<Result<f64>>()?;
        Ok((1.0 / total).min(1.0) * lr)
    }
}

/// What is kept of a leaf.
const SLOTS: usize = 7;

impl Lbfgs {
    /// One step: up to `max_iter` iterations that evaluate the objective as often as they need.
    ///
    /// Gives the objective and its gradient where the step began. Every leaf takes part.
    ///
    /// # Errors
    /// What `evaluate` fails with; [`Error::Value`] for a gradient that is not a number.
    #[doc(hidden)]
    pub fn minimize(&self, step: u64, leaves: &mut [Leaf], evaluate: &mut Evaluate<'_>) -> Result<(f64, Vector)> {
        let lr = self.lr.at(step)?;
        let sign = if self.maximize { -1.0 } else { 1.0 };
        let mut evaluate = |parameters: &[Tensor]| -> Result<(f64, Vector)> {
            let (value, gradient) = evaluate(parameters)?;
            Ok((sign * value, if self.maximize { negated(&gradient)? } else { gradient }))
        };
        let max_eval = self.max_eval.unwrap_or(self.max_iter * 5 / 4);
        let mut parameters = leaves.iter_mut().map(Leaf::take_parameter).collect::<Result<Vector>>()?;
        let (first, first_gradient) = evaluate(&parameters)?;
        let (mut value, mut gradient) = (first, first_gradient.clone());
        let mut every: Vec<&mut Leaf> = leaves.iter_mut().collect();
        let mut memory = Memory::load(&mut every)?;
        let mut evaluations = 1;
        let mut converged = finite(largest(&gradient)?)? <= self.tolerance_grad;
        let mut iteration = 0;
        while !converged && iteration < self.max_iter {
            iteration += 1;
            memory.next_direction(&gradient, self.history_size as usize)?;
            let before = value;
            let slope = product(&gradient, &memory.direction)?;
            memory.step = memory.guess(lr)?;
            if slope > -self.tolerance_change {
                break;
            }
            if self.line_search_fn.is_some() {
                let start = Point { step: 0.0, value, slope, gradient };
                let tries = max_eval.saturating_sub(evaluations);
                let mut probe = |size: f64| -> Result<Point> {
                    let moved = combine(1.0, parameters.clone(), size, &memory.direction)?;
                    let (value, gradient) = evaluate(&moved)?;
                    Ok(Point { step: size, value, slope: product(&gradient, &memory.direction)?, gradient })
                };
                let reach = largest(&memory.direction)?;
                let (found, calls) = strong_wolfe(&mut probe, start, memory.step, reach, self.tolerance_change, tries)?;
                evaluations += calls;
                memory.step = found.step;
                parameters = combine(1.0, parameters, found.step, &memory.direction)?;
                (value, gradient) = (found.value, found.gradient);
            } else {
                parameters = combine(1.0, parameters, memory.step, &memory.direction)?;
                if iteration == self.max_iter {
                    break;
                }
                (value, gradient) = evaluate(&parameters)?;
                evaluations += 1;
            }
            converged = finite(largest(&gradient)?)? <= self.tolerance_grad
                || evaluations >= max_eval
                || largest(&memory.direction)? * memory.step.abs() <= self.tolerance_change
                || (value - before).abs() < self.tolerance_change;
        }
        if memory.gradient.is_empty() || memory.iterations == 0 {
            memory.gradient = first_gradient.iter().map(Tensor::zeros_like).collect::<Result<_>>()?;
            memory.direction = memory.gradient.clone();
        }
        memory.store(&mut every)?;
        for (leaf, parameter) in leaves.iter_mut().zip(parameters) {
            leaf.parameter = Some(parameter);
        }
        Ok((sign * first, if self.maximize { negated(&first_gradient)? } else { first_gradient }))
    }
}

fn negated(vector: &[Tensor]) -> Result<Vector> {
    vector.iter().map(Tensor::neg).collect()
}

fn finite(size: f64) -> Result<f64> {
    if size.is_nan() { Err(Error::value("LBFGS", "the gradient has a NaN")) } else { Ok(size) }
}

impl Definition for Lbfgs {
    common!("LBFGS", maximize);

    fn slots(&self, spec: &Spec) -> Slots {
        let mut slots = Slots::new();
        slots.extend(STACKS.map(|name| Slot { name, form: Form::Stack(spec.clone()) }));
        slots.extend(zeros_like(&VECTORS, spec));
        slots.extend(NUMBERS.map(|name| Slot { name, form: Form::Number(0.0) }));
        slots
    }

    fn can_fail(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        match self.line_search_fn.as_deref() {
            None | Some("strong_wolfe") => Ok(()),
            Some(other) => {
                Err(Error::value("LBFGS", format_args!("line_search_fn is \"strong_wolfe\" or None, got {other:?}")))
            }
        }
    }

    fn as_lbfgs(&self) -> Option<&Lbfgs> {
        Some(self)
    }

    fn update(&self, _at: At, _: Tensor, _: &Tensor, _: Vec<Kept>) -> Result<(Tensor, Vec<Kept>)> {
        Err(Error::value("LBFGS", "works on all leaves at once"))
    }

    fn update_all(&self, step: u64, leaves: &mut [Leaf]) -> Result<()> {
        if self.line_search_fn.is_some() {
            return Err(Error::value(
                "LBFGS",
                "a line search evaluates the objective again: use training.single_train_step or optim.minimize, \
                 or line_search_fn=None",
            ));
        }
        for leaf in leaves.iter_mut().filter(|leaf| leaf.gradient.is_none()) {
            leaf.pass(SLOTS);
        }
        let mut active: Vec<&mut Leaf> = leaves.iter_mut().filter(|leaf| leaf.gradient.is_some()).collect();
        let gradient: Vector = active.iter_mut().filter_map(|leaf| leaf.gradient.take()).collect();
        let gradient = if self.maximize { negated(&gradient)? } else { gradient };
        let lr = self.lr.at(step)?;
        let mut memory = Memory::load(&mut active)?;
        memory.next_direction(&gradient, self.history_size as usize)?;
        memory.step = memory.guess(lr)?;
        let slope = product(&gradient, &memory.direction)?;
        // A direction that does not descend is not followed.
        if finite(slope)? <= -self.tolerance_change {
            for (leaf, direction) in active.iter_mut().zip(&memory.direction) {
                let parameter = leaf.take_parameter()?;
                leaf.parameter = Some(blend(1.0, parameter, memory.step, direction)?);
            }
        }
        memory.store(&mut active)
    }
}
