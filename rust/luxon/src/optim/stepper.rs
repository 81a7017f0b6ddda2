//! An optimiser at work on a tree of parameters.
//!
//! [`Optimizer`] is a value and works on lists of leaves; a [`Stepper`] holds what it keeps of each leaf of one tree
//! and counts the steps, so that a training loop is a gradient and a call.

use std::sync::Arc;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::show;
use crate::optim::{Given, Optimizer, Spec, State};
use crate::tensor::Tensor;
use crate::tree::Tree;

/// An optimiser with its state for the leaves of one tree.
///
/// ```
/// use luxon::optim::{Stepper, rules::Sgd};
/// use luxon::tree::Tree;
/// use luxon::{DType, Tensor};
/// let mut ps = Tree::mapping([("x", Tree::leaf(Tensor::scalar(4.0, DType::F64)))])?;
/// let mut stepper = Stepper::new(Sgd { lr: 0.25.into(), ..Sgd::default() }, &ps)?;
/// for _ in 0..3 {
///     let slope = ps.grad(|ps| ps.get("x")?.tensor()?.square())?;
///     stepper.step(&mut ps, slope)?;
/// }
/// assert_eq!(ps.get("x")?.tensor()?.to_vec::<f64>()?, [0.5]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stepper {
    optimizer: Optimizer,
    leaves: Vec<(Arc<str>, Spec)>,
    states: Vec<State>,
    steps: u64,
}

impl Stepper {
    /// An optimiser before its first step on these parameters.
    ///
    /// ```
    /// use luxon::optim::{Optimizer, Stepper, Transform, rules::AdamW};
    /// # use luxon::{DType, Tensor, tree::Tree};
    /// # let ps = Tree::mapping([("x", Tree::leaf(Tensor::scalar(4.0, DType::F64)))])?;
    /// let clip = Transform::ClipGlobalNorm { c: 1.0, p: 2.0 };
    /// let chain = Optimizer::chain(vec![clip.into(), AdamW::default().into()])?;
    /// assert_eq!(Stepper::new(chain, &ps)?.steps(), 0);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for settings out of their bounds and for patterns that cover no parameter, [`Error::Type`]
    /// for parameters that are not floating.
    pub fn new(optimizer: impl Into<Optimizer>, ps: &Tree<Tensor>) -> Result<Stepper> {
        let optimizer = optimizer.into();
        optimizer.check()?;
        // A tied leaf goes by its first place.
        let paths: Vec<String> = (0..ps.structure().slots()).map(|slot| ps.structure().path_of(slot)).collect();
        optimizer.check_paths(&paths)?;
        let states = paths.iter().zip(ps.leaves()).map(|(path, leaf)| match leaf.dtype().is_float() {
            true => optimizer.start(path, leaf),
            false => Err(Error::dtype("optim", format_args!("{path} is of {}, which is not trained", leaf.dtype()))),
        });
        let states = states.collect::<Result<_>>()?;
        let leaves = paths.into_iter().zip(ps.leaves()).map(|(path, leaf)| (path.into(), Spec::of(leaf))).collect();
        Ok(Stepper { optimizer, leaves, states, steps: 0 })
    }

    /// Moves the parameters by one step. Where nobody else holds them they are overwritten in place.
    /// Trees that do not fit and gradients that a rule refuses change nothing; [`Error::Memory`] and
    /// [`Error::Interrupted`] may lose parameters on their way.
    ///
    /// ```
    /// use luxon::optim::{Stepper, rules::Adam};
    /// # use luxon::{DType, Tensor, tree::Tree};
    /// # let mut ps = Tree::mapping([("x", Tree::leaf(Tensor::scalar(4.0, DType::F64)))])?;
    /// let mut stepper = Stepper::new(Adam { lr: 0.1.into(), ..Adam::default() }, &ps)?;
    /// let (loss, slope) = ps.value_and_grad(|ps| ps.get("x")?.tensor()?.square())?;
    /// stepper.step(&mut ps, slope)?;
    /// assert!((ps.get("x")?.tensor()?.to_vec::<f64>()?[0] - 3.9).abs() < 1e-6);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] and [`Error::Shape`] where the trees do not fit the one that the stepper was made for.
    pub fn step(&mut self, ps: &mut Tree<Tensor>, slope: Tree<Tensor>) -> Result<()> {
        if ps.structure().slots() != self.leaves.len() {
            let (have, want) = (ps.structure().slots(), self.leaves.len());
            return Err(Error::Value(format!("step: {have} leaves, the optimiser keeps the state of {want}")));
        }
        let slope = ps.zip_map(&slope, |_, slope| Ok(slope.clone()))?;
        for ((path, spec), (leaf, slope)) in self.leaves.iter().zip(ps.leaves().zip(slope.leaves())) {
            if let Some(other) = [leaf, slope].into_iter().find(|other| Spec::of(other) != *spec) {
                let (shape, dtype) = (show(&spec.shape), spec.dtype);
                let text = format!(
                    "{path}: expected shape {shape} and dtype {dtype}, got {} and {}",
                    show(other.shape()),
                    other.dtype()
                );
                return Err(Error::shape("step", text));
            }
        }
        // What may be refused is given copies, so that what is moved is never lost.
        if self.optimizer.can_fail() || ps.leaves_mut().is_none() {
            let given = self.given(ps.leaves().cloned().collect(), &slope, self.states.clone());
            let (moved, states) = self.optimizer.update(self.steps, given)?.into_iter().unzip();
            (*ps, self.states) = (Tree::new(Arc::clone(ps.structure()), moved)?, states);
        } else if let Some(leaves) = ps.leaves_mut() {
            let taken = leaves.iter_mut().map(|leaf| std::mem::replace(leaf, Tensor::scalar(0, DType::Bool))).collect();
            let states = std::mem::take(&mut self.states);
            let given = self.given(taken, &slope, states);
            for (leaf, (moved, state)) in leaves.iter_mut().zip(self.optimizer.update(self.steps, given)?) {
                *leaf = moved;
                self.states.push(state);
            }
        }
        self.steps += 1;
        Ok(())
    }

    fn given(&self, leaves: Vec<Tensor>, slope: &Tree<Tensor>, states: Vec<State>) -> Vec<Given> {
        let all = self.leaves.iter().zip(leaves).zip(slope.leaves()).zip(states);
        all.map(|((((path, _), leaf), slope), state)| (Arc::clone(path), leaf, slope.clone(), state)).collect()
    }

    /// The steps so far: schedules go by them.
    ///
    /// ```
    /// # use luxon::{DType, Tensor, optim::{Stepper, rules::Sgd}, tree::Tree};
    /// let mut ps = Tree::leaf(Tensor::scalar(1.0, DType::F32));
    /// let mut stepper = Stepper::new(Sgd::default(), &ps)?;
    /// let slope = ps.clone();
    /// stepper.step(&mut ps, slope)?;
    /// assert_eq!(stepper.steps(), 1);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What the optimiser keeps of each leaf, by slot: for files of one's own.
    ///
    /// ```
    /// # use luxon::{DType, Tensor, optim::{Stepper, rules::Adam}, tree::Tree};
    /// let ps = Tree::leaf(Tensor::zeros(&[3], DType::F32)?);
    /// assert_eq!(Stepper::new(Adam::default(), &ps)?.states()[0].kept.len(), 2); // Two moments.
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn states(&self) -> &[State] {
        &self.states
    }
}
