//! Optimisers made of optimisers.
//!
//! Every member of a chain turns gradients into what the next member takes for gradients; a rule that is not the
//! last one passes on the step that it would make. The last rule makes its step itself, in one pass.

use std::sync::Arc;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::show;
use crate::optim::leaf::{First, Form, Kept, Leaf, Slot, Spec, State};
use crate::optim::pass::blend;
use crate::optim::rules::{Definition, validate};
use crate::optim::transform::{Transform, master};
use crate::runtime::interrupt::uninterrupted;
use crate::tensor::Tensor;
use crate::tree::{Pattern, near};

/// How parameters follow their gradients; see the module.
///
/// ```
/// use luxon::{DType, Tensor};
/// use luxon::optim::{Optimizer, rules::{AdamW, Sgd}};
/// use luxon::tree::Pattern;
/// let parts = vec![(Pattern::new("head")?, AdamW::default().into()), (Pattern::new("**")?, Sgd::default().into())];
/// let optimizer = Optimizer::Partition(parts); // AdamW for the head, SGD for the rest.
/// let head = optimizer.start("head.weight", &Tensor::zeros(&[3], DType::F32)?)?;
/// assert_eq!(head.kept.len(), 2);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Optimizer {
    /// A rule.
    Rule(Arc<dyn Definition>),
    /// A transform; of use in a chain.
    Transform(Transform),
    /// One after the other; see [`Optimizer::chain`].
    Chain(Vec<Optimizer>),
    /// Each leaf to the first whose pattern covers it.
    Partition(Vec<(Pattern, Optimizer)>),
    /// Every `sync_period` steps back towards where the last ones began.
    Lookahead {
        /// What moves the parameters in between.
        inner: Box<Optimizer>,
        /// Steps in between.
        sync_period: u64,
        /// The share of the way that is gone.
        slow_step_size: f64,
        /// Whether `inner` starts afresh then.
        reset_state: bool,
    },
    /// With parameters kept in a wider type.
    MixedPrecision {
        /// What moves them.
        inner: Box<Optimizer>,
        /// The wider type.
        dtype: DType,
    },
}

impl<D: Definition + 'static> From<D> for Optimizer {
    fn from(rule: D) -> Optimizer {
        Optimizer::Rule(Arc::new(rule))
    }
}

impl From<Transform> for Optimizer {
    fn from(transform: Transform) -> Optimizer {
        Optimizer::Transform(transform)
    }
}

/// A leaf, as it is given to [`Optimizer::update`]: path, parameter, gradient and state.
pub type Given = (Arc<str>, Tensor, Tensor, State);

impl Optimizer {
    /// One after the other; chains in chains are opened up.
    ///
    /// ```
    /// use luxon::optim::{Optimizer, Transform, rules::Sgd};
    /// let clip = Transform::ClipValue { c: 1.0 };
    /// assert!(Optimizer::chain(vec![clip.into(), Sgd::default().into()]).is_ok());
    /// assert!(Optimizer::chain(vec![]).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for an empty chain.
    pub fn chain(members: Vec<Optimizer>) -> Result<Optimizer> {
        let mut flat = Vec::with_capacity(members.len());
        for member in members {
            match member {
                Optimizer::Chain(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.is_empty() {
            return Err(Error::value("chain", "needs at least one rule"));
        }
        Ok(Optimizer::Chain(flat))
    }

    /// Whether this moves parameters, as a lone transform does not.
    #[doc(hidden)]
    pub fn moves(&self) -> bool {
        match self {
            Optimizer::Transform(_) => false,
            Optimizer::Chain(members) => members.iter().any(Optimizer::moves),
            _ => true,
        }
    }

    /// Whether a step may be refused for what is in its gradients: then nothing must be overwritten.
    #[doc(hidden)]
    pub fn can_fail(&self) -> bool {
        match self {
            Optimizer::Rule(rule) => rule.can_fail() || rule.rate().is_custom(),
            Optimizer::Transform(transform) => transform.can_fail(),
            Optimizer::Chain(members) => members.iter().any(Optimizer::can_fail),
            Optimizer::Partition(parts) => parts.iter().any(|(_, part)| part.can_fail()),
            Optimizer::Lookahead { inner, .. } | Optimizer::MixedPrecision { inner, .. } => inner.can_fail(),
        }
    }

    /// Refuses settings out of their bounds, and what moves no parameter.
    ///
    /// # Errors
    /// [`Error::Value`] saying what is wrong.
    #[doc(hidden)]
    pub fn check(&self) -> Result<()> {
        if !self.moves() {
            return Err(Error::value(
                "optim",
                "transforms alone move no parameter; chain them with a rule such as SGD",
            ));
        }
        self.check_parts()
    }

    fn check_parts(&self) -> Result<()> {
        match self {
            Optimizer::Rule(rule) => validate(&**rule),
            Optimizer::Transform(transform) => transform.check(),
            Optimizer::Chain(members) => members.iter().try_for_each(Optimizer::check_parts),
            Optimizer::Partition(parts) if parts.is_empty() => {
                Err(Error::value("partition", "needs at least one rule"))
            }
            Optimizer::Partition(parts) => parts.iter().try_for_each(|(_, part)| part.check()),
            Optimizer::Lookahead { inner, sync_period, slow_step_size, .. } => {
                if *sync_period == 0 || !(0.0..=1.0).contains(slow_step_size) {
                    let need = "sync_period must be positive and slow_step_size between 0 and 1";
                    return Err(Error::value("lookahead", need));
                }
                inner.check()
            }
            Optimizer::MixedPrecision { inner, dtype } => {
                if !dtype.is_float() {
                    return Err(Error::value("mixed_precision", format_args!("{dtype} is no floating type")));
                }
                inner.check()
            }
        }
    }

    /// Refuses patterns that cover none of the paths, and paths that no pattern of a partition covers.
    ///
    /// # Errors
    /// [`Error::Value`] naming what is nearest.
    #[doc(hidden)]
    pub fn check_paths(&self, paths: &[String]) -> Result<()> {
        let covers = |name: &str, pattern: &Pattern| {
            if paths.iter().any(|path| pattern.covers(path)) {
                return Ok(());
            }
            let near = near(pattern.text(), paths.iter().cloned());
            Err(Error::value(name, format_args!("the pattern {:?} covers no parameter; {near}", pattern.text())))
        };
        match self {
            Optimizer::Rule(_) => Ok(()),
            Optimizer::Transform(transform) => match transform.mask() {
                Some((name, mask)) => mask.patterns().iter().try_for_each(|pattern| covers(name, pattern)),
                None => Ok(()),
            },
            Optimizer::Chain(members) => members.iter().try_for_each(|member| member.check_paths(paths)),
            Optimizer::Lookahead { inner, .. } | Optimizer::MixedPrecision { inner, .. } => inner.check_paths(paths),
            Optimizer::Partition(parts) => {
                parts.iter().try_for_each(|(pattern, _)| covers("partition", pattern))?;
                let mut groups: Vec<Vec<String>> = vec![Vec::new(); parts.len()];
                for path in paths {
                    groups[part_of(parts, path)?].push(path.clone());
                }
                let pairs = parts.iter().zip(groups);
                pairs
                    .into_iter()
                    .filter(|(_, group)| !group.is_empty())
                    .try_for_each(|((_, part), group)| part.check_paths(&group))
            }
        }
    }

    /// What is kept of a leaf, with the names that files use: a name that comes again is numbered.
    ///
    /// # Errors
    /// [`Error::Value`] for a path that no part of a partition covers.
    #[doc(hidden)]
    pub fn slots(&self, path: &str, spec: &Spec) -> Result<Vec<(String, Slot)>> {
        let mut slots = Vec::new();
        self.collect(path, spec, &mut slots)?;
        Ok(named(slots))
    }

    fn collect(&self, path: &str, spec: &Spec, slots: &mut Vec<Slot>) -> Result<()> {
        match self {
            Optimizer::Rule(rule) => slots.extend(rule.slots(spec)),
            Optimizer::Transform(transform) => slots.extend(transform.slots(spec)),
            Optimizer::Chain(members) => members.iter().try_for_each(|member| member.collect(path, spec, slots))?,
            Optimizer::Partition(parts) => parts[part_of(parts, path)?].1.collect(path, spec, slots)?,
            Optimizer::Lookahead { inner, .. } => {
                inner.collect(path, spec, slots)?;
                slots.push(copied("slow", spec, spec.dtype));
            }
            Optimizer::MixedPrecision { inner, dtype } => {
                let wide = Spec { shape: spec.shape, dtype: *dtype };
                inner.collect(path, &wide, slots)?;
                slots.push(match master(spec, *dtype) {
                    Some(dtype) => copied("master", spec, dtype),
                    None => Slot { name: "master", form: Form::Nothing },
                });
            }
        }
        Ok(())
    }

    /// The names of everything that may be kept of any leaf, in order.
    #[doc(hidden)]
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let spec = Spec { shape: crate::layout::Shape::new(), dtype: DType::F32 };
        for alternative in self.alternatives() {
            let slots = alternative.into_iter().flat_map(|name| {
                let slots = match name {
                    Part::Rule(rule) => rule.slots(&spec),
                    Part::Transform(transform) => transform.slots(&spec),
                    Part::Own(name) => [Slot { name, form: Form::Nothing }].into_iter().collect(),
                };
                slots.into_iter()
            });
            for (name, _) in named(slots.collect()) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The members that a leaf may meet, for each way through partitions.
    fn alternatives(&self) -> Vec<Vec<Part<'_>>> {
        fn with<'a>(inner: &'a Optimizer, name: &'static str) -> Vec<Vec<Part<'a>>> {
            let mut all = inner.alternatives();
            all.iter_mut().for_each(|parts| parts.push(Part::Own(name)));
            all
        }
        match self {
            Optimizer::Rule(rule) => vec![vec![Part::Rule(&**rule)]],
            Optimizer::Transform(transform) => vec![vec![Part::Transform(transform)]],
            Optimizer::Chain(members) => {
                let mut all: Vec<Vec<Part<'_>>> = vec![Vec::new()];
                for member in members {
                    let ways = member.alternatives();
                    all = all
                        .iter()
                        .flat_map(|before| ways.iter().map(|way| before.iter().chain(way).copied().collect()))
                        .collect();
                }
                all
            }
            Optimizer::Partition(parts) => parts.iter().flat_map(|(_, part)| part.alternatives()).collect(),
            Optimizer::Lookahead { inner, .. } => with(inner, "slow"),
            Optimizer::MixedPrecision { inner, .. } => with(inner, "master"),
        }
    }

    /// The state of a leaf before the first step.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// use luxon::optim::{Optimizer, rules::Sgd};
    /// let optimizer = Optimizer::from(Sgd { momentum: 0.9, ..Sgd::default() });
    /// let state = optimizer.start("weight", &Tensor::zeros(&[3], DType::F32)?)?;
    /// assert!(state.step == 0 && state.kept.len() == 1);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Memory`], and as [`Optimizer::slots`].
    pub fn start(&self, path: &str, parameter: &Tensor) -> Result<State> {
        let slots = self.slots(path, &Spec::of(parameter))?;
        Ok(State { step: 0, kept: slots.iter().map(|(_, slot)| slot.start(parameter)).collect::<Result<_>>()? })
    }

    /// The parameters and their states after one step. `step` counts the updates before this one; schedules go
    /// by it.
    ///
    /// ```
    /// use luxon::Tensor;
    /// use luxon::optim::{Optimizer, rules::Sgd};
    /// let optimizer = Optimizer::from(Sgd { lr: 0.5.into(), ..Sgd::default() });
    /// let (x, slope) = (Tensor::new(&[1.0, 2.0], &[2])?, Tensor::new(&[1.0, 1.0], &[2])?);
    /// let state = optimizer.start("x", &x)?;
    /// let (x, state) = optimizer.update(0, vec![("x".into(), x, slope, state)])?.swap_remove(0);
    /// assert_eq!((x.to_vec::<f64>()?, state.step), (vec![0.5, 1.5], 1));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Value`] where gradients or states do not fit the parameters.
    pub fn update(&self, step: u64, leaves: Vec<Given>) -> Result<Vec<(Tensor, State)>> {
        let mut moving = self.enter(leaves)?;
        // What is overwritten in place cannot be given back half done.
        uninterrupted(|| self.run(step, &mut moving))?;
        moving.into_iter().map(Leaf::finish).collect()
    }

    /// One step of a rule that evaluates the objective itself: the objective and its gradient before the step,
    /// and the leaves after it. The gradients that are given are not read.
    ///
    /// ```
    /// use luxon::{Tensor, value_and_grad};
    /// use luxon::optim::{Optimizer, rules::Lbfgs};
    /// let search = Some("strong_wolfe".into());
    /// let optimizer = Optimizer::from(Lbfgs { line_search_fn: search, max_iter: 50, ..Lbfgs::default() });
    /// let x = Tensor::new(&[5.0, -3.0], &[2])?;
    /// let state = optimizer.start("x", &x)?;
    /// let mut bowl = |x: &[Tensor]| {
    ///     let (value, slope) = value_and_grad(|x| x[0].square()?.sum(None, false), x)?;
    ///     Ok((value.item()?.as_f64(), slope))
    /// };
    /// let (first, _, moved) = optimizer.minimize(0, vec![("x".into(), x.clone(), x, state)], &mut bowl)?;
    /// assert!(first == 34.0 && moved[0].0.abs()?.max(None, false)?.item()?.as_f64() < 1e-6);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where the optimiser is no such rule; what `evaluate` fails with.
    pub fn minimize(
        &self,
        step: u64,
        leaves: Vec<Given>,
        evaluate: &mut dyn FnMut(&[Tensor]) -> Result<(f64, Vec<Tensor>)>,
    ) -> Result<(f64, Vec<Tensor>, Vec<(Tensor, State)>)> {
        let rule = match self {
            Optimizer::Rule(rule) => rule.as_lbfgs(),
            _ => None,
        };
        let Some(rule) = rule else {
            return Err(Error::value("minimize", "only LBFGS evaluates an objective; other rules take gradients"));
        };
        let mut moving = self.enter(leaves)?;
        let (value, gradient) = rule.minimize(step, &mut moving, evaluate)?;
        let moved = moving.into_iter().map(|mut leaf| {
            leaf.step += 1;
            leaf.finish()
        });
        Ok((value, gradient, moved.collect::<Result<_>>()?))
    }

    /// Leaves on their way, found to fit.
    fn enter(&self, leaves: Vec<Given>) -> Result<Vec<Leaf>> {
        let mut moving = Vec::with_capacity(leaves.len());
        for (index, (path, parameter, gradient, state)) in leaves.into_iter().enumerate() {
            if gradient.shape() != parameter.shape() || gradient.dtype() != parameter.dtype() {
                return Err(Error::shape(
                    "optim",
                    format_args!(
                        "{path}: a gradient of shape {} and dtype {} does not fit a parameter of shape {} and dtype {}",
                        show(gradient.shape()),
                        gradient.dtype(),
                        show(parameter.shape()),
                        parameter.dtype()
                    ),
                ));
            }
            if !parameter.dtype().is_float() {
                let takes = "floating types; integer leaves are not trained";
                return Err(Error::unsupported("optim", parameter.dtype(), takes));
            }
            let alone = matches!(self, Optimizer::Rule(_));
            moving.push(Leaf { alone, ..Leaf::new(index, path, parameter, gradient, state) });
        }
        Ok(moving)
    }

    /// Refuses a state that is not of this leaf.
    ///
    /// # Errors
    /// [`Error::Value`] saying what differs.
    #[doc(hidden)]
    pub fn accepts(&self, path: &str, parameter: &Tensor, state: &State) -> Result<()> {
        let slots = self.slots(path, &Spec::of(parameter))?;
        if slots.len() != state.kept.len() {
            return Err(Error::Value("the optimiser's state is another rule's".into()));
        }
        slots.iter().zip(&state.kept).try_for_each(|((_, slot), kept)| slot.accepts(kept))
    }

    /// Moves the leaves, and counts the step of those that were moved.
    fn run(&self, step: u64, leaves: &mut Vec<Leaf>) -> Result<()> {
        let due = self.advance(step, leaves)?;
        for leaf in leaves {
            leaf.step += u64::from(due[leaf.index]);
        }
        Ok(())
    }

    /// Moves the leaves; says for each index whether its leaf was moved.
    fn advance(&self, step: u64, leaves: &mut Vec<Leaf>) -> Result<Vec<bool>> {
        let length = leaves.iter().map(|leaf| leaf.index + 1).max().unwrap_or(0);
        let mut due = vec![false; length];
        match self {
            Optimizer::Rule(rule) => {
                leaves.iter().for_each(|leaf| due[leaf.index] = leaf.gradient.is_some());
                rule.update_all(step, leaves)?;
            }
            Optimizer::Transform(transform) => {
                transform.run(leaves)?;
            }
            Optimizer::Chain(members) => return chained(members, step, leaves, due),
            Optimizer::Partition(parts) => {
                let mut groups: Vec<Vec<Leaf>> = parts.iter().map(|_| Vec::new()).collect();
                for leaf in leaves.drain(..) {
                    groups[part_of(parts, &leaf.path)?].push(leaf);
                }
                for ((_, part), mut group) in parts.iter().zip(groups) {
                    let moved = part.advance(step, &mut group)?;
                    for leaf in group {
                        due[leaf.index] = moved[leaf.index];
                        leaves.push(leaf);
                    }
                }
                leaves.sort_by_key(|leaf| leaf.index);
            }
            Optimizer::Lookahead { inner, sync_period, slow_step_size, reset_state } => {
                return looked_ahead(inner, (*sync_period, *slow_step_size, *reset_state), step, leaves);
            }
            Optimizer::MixedPrecision { inner, dtype } => return widened(inner, *dtype, step, leaves),
        }
        Ok(due)
    }
}

/// What a leaf may meet.
#[derive(Clone, Copy)]
enum Part<'a> {
    Rule(&'a dyn Definition),
    Transform(&'a Transform),
    Own(&'static str),
}

/// Slots with distinct names.
fn named(slots: Vec<Slot>) -> Vec<(String, Slot)> {
    let mut named: Vec<(String, Slot)> = Vec::with_capacity(slots.len());
    for slot in slots {
        let again = named.iter().filter(|(_, other)| other.name == slot.name).count();
        let name = if again == 0 { slot.name.to_string() } else { format!("{}_{}", slot.name, again + 1) };
        named.push((name, slot));
    }
    named
}

/// A slot that starts as the parameter.
fn copied(name: &'static str, spec: &Spec, dtype: DType) -> Slot {
    Slot { name, form: Form::Tensor { shape: spec.shape, dtype, first: First::Parameter } }
}

/// The first part that covers a path.
fn part_of(parts: &[(Pattern, Optimizer)], path: &str) -> Result<usize> {
    parts.iter().position(|(pattern, _)| pattern.covers(path)).ok_or_else(|| {
        let patterns: Vec<String> = parts.iter().map(|(pattern, _)| format!("{:?}", pattern.text())).collect();
        Error::value(
            "partition",
            format_args!(
                "no pattern covers {path} (there are {}); \"**\" as the last one covers the rest",
                patterns.join(", ")
            ),
        )
    })
}

fn chained(members: &[Optimizer], step: u64, leaves: &mut Vec<Leaf>, mut due: Vec<bool>) -> Result<Vec<bool>> {
    let (last, before) = match members.split_last() {
        Some((last, before)) if last.moves() => (Some(last), before),
        _ => (None, members),
    };
    for member in before {
        if !member.moves() {
            member.advance(step, leaves)?;
            continue;
        }
        // The step that the rule would make is what the next member takes for a gradient.
        let old: Vec<Option<Tensor>> = leaves.iter().map(|leaf| leaf.parameter.clone()).collect();
        let moved = member.advance(step, leaves)?;
        for (leaf, old) in leaves.iter_mut().zip(old) {
            let new = leaf.take_parameter()?;
            leaf.gradient = match &old {
                Some(old) if moved[leaf.index] => Some(blend(1.0, old.clone(), -1.0, &new)?),
                _ => None,
            };
            leaf.parameter = old;
        }
    }
    if let Some(last) = last {
        return last.advance(step, leaves);
    }
    for leaf in leaves {
        let Some(direction) = leaf.gradient.take() else { continue };
        let parameter = leaf.take_parameter()?;
        leaf.parameter = Some(blend(1.0, parameter, -1.0, &direction)?);
        due[leaf.index] = true;
    }
    Ok(due)
}

fn looked_ahead(
    inner: &Optimizer,
    (sync_period, slow_step_size, reset_state): (u64, f64, bool),
    step: u64,
    leaves: &mut Vec<Leaf>,
) -> Result<Vec<bool>> {
    let steps: Vec<u64> = leaves.iter().map(|leaf| leaf.step).collect();
    let lengths: Vec<usize> = leaves.iter().map(|leaf| leaf.after.len()).collect();
    if reset_state {
        // A fresh state counts its own steps.
        leaves.iter_mut().for_each(|leaf| leaf.step %= sync_period);
    }
    let moved = inner.advance(step, leaves)?;
    for ((leaf, steps), length) in leaves.iter_mut().zip(steps).zip(lengths) {
        leaf.step = steps;
        if !moved[leaf.index] || (steps + 1) % sync_period != 0 {
            leaf.pass(1);
            continue;
        }
        let slow = leaf.take(1).pop().unwrap_or(Kept::Nothing).tensor()?;
        let fast = leaf.take_parameter()?;
        let slow = blend(1.0 - slow_step_size, slow, slow_step_size, &fast)?;
        if reset_state {
            let fresh = inner.start(&leaf.path, &slow)?;
            leaf.after.truncate(length);
            leaf.after.extend(fresh.kept);
        }
        // The next step may write over the parameter, so that both need memory of their own.
        leaf.parameter = Some(slow.clone());
        leaf.after.push(slow.into());
    }
    Ok(moved)
}

fn widened(inner: &Optimizer, dtype: DType, step: u64, leaves: &mut Vec<Leaf>) -> Result<Vec<bool>> {
    // The master copy stands behind what the inner optimiser keeps.
    let mut narrow = Vec::with_capacity(leaves.len());
    for leaf in leaves.iter_mut() {
        let spec = leaf.spec();
        let wide = Spec { shape: spec.shape, dtype };
        let count = inner.slots(&leaf.path, &wide)?.len();
        let mut kept = leaf.take(count + 1);
        let master_copy = kept.pop().unwrap_or(Kept::Nothing);
        let rest = std::mem::replace(&mut leaf.before, kept.into_iter());
        let own = leaf.take_parameter()?;
        leaf.parameter = Some(match (master(&spec, dtype), master_copy) {
            (Some(_), Kept::Tensor(master)) => master,
            (Some(dtype), _) => own.cast(dtype)?,
            (None, _) => own.clone(),
        });
        leaf.gradient = leaf.gradient.take().map(|gradient| gradient.cast(dtype)).transpose()?;
        narrow.push((own, spec.dtype, rest));
    }
    let moved = inner.advance(step, leaves)?;
    for (leaf, (own, narrow, rest)) in leaves.iter_mut().zip(narrow) {
        leaf.before = rest;
        let wide = leaf.take_parameter()?;
        if narrow == dtype {
            leaf.parameter = Some(wide);
            leaf.after.push(Kept::Nothing);
            continue;
        }
        leaf.parameter = Some(if moved[leaf.index] { wide.cast(narrow)? } else { own });
        leaf.after.push(wide.into());
    }
    Ok(moved)
}
