//! What an optimiser sees of one leaf: the parameter, its gradient, and what is kept between steps.
//!
//! Members of an optimiser run one after the other over all leaves. Each takes its own share of what is kept
//! from the front and puts the new share at the back, so that nobody but the member knows what is in it.
//! [`Slot`]s describe a share beforehand: names for files and people, forms for checks and the first state.

use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Shape, show};
use crate::runtime::threads;
use crate::tensor::{Tensor, Value};

/// Something that is kept of a leaf between steps.
///
/// ```
/// use luxon::{DType, Tensor};
/// use luxon::optim::{Kept, Optimizer, rules::Adam};
/// let state = Optimizer::from(Adam::default()).start("x", &Tensor::zeros(&[2], DType::F32)?)?;
/// assert!(state.kept.iter().all(|kept| matches!(kept, Kept::Tensor(tensor) if tensor.shape()[..] == [2])));
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Kept {
    /// Nothing: the rule has no use for it on this leaf.
    Nothing,
    /// A number.
    Number(f64),
    /// A tensor.
    Tensor(Tensor),
}

impl Kept {
    /// The number; 0 where there is none, which [`Slot::accepts`] has ruled out.
    ///
    /// ```
    /// use luxon::optim::Kept;
    /// assert_eq!(Kept::Number(3.0).number(), 3.0);
    /// ```
    pub fn number(&self) -> f64 {
        if let Kept::Number(number) = self { *number } else { 0.0 }
    }

    /// The tensor.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// use luxon::optim::Kept;
    /// assert_eq!(Kept::from(Tensor::zeros(&[3], DType::F32)?).tensor()?.count(), 3);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where there is none.
    pub fn tensor(self) -> Result<Tensor> {
        match self {
            Kept::Tensor(tensor) => Ok(tensor),
            _ => Err(Error::value("optim", "the optimiser's state lacks a tensor")),
        }
    }
}

impl From<Tensor> for Kept {
    fn from(tensor: Tensor) -> Kept {
        Kept::Tensor(tensor)
    }
}

/// The parameter, as far as what is kept depends on it.
///
/// ```
/// use luxon::{DType, Tensor};
/// use luxon::optim::Spec;
/// let spec = Spec::of(&Tensor::zeros(&[2, 3], DType::F32)?);
/// assert_eq!((&spec.shape[..], spec.dtype), (&[2, 3][..], DType::F32));
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its shape.
    pub shape: Shape,
    /// Its type.
    pub dtype: DType,
}

impl Spec {
    /// What a tensor is like.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// use luxon::optim::Spec;
    /// assert_eq!(Spec::of(&Tensor::zeros(&[2, 3], DType::BF16)?).dtype, DType::BF16);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn of(tensor: &Tensor) -> Spec {
        Spec { shape: *tensor.shape(), dtype: tensor.dtype() }
    }

    /// Zeros of this type and of another shape.
    #[doc(hidden)]
    pub fn zeros_of(&self, shape: Shape) -> Form {
        Form::Tensor { shape, dtype: self.dtype, first: First::Filled(0.0) }
    }
}

/// What a tensor starts as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum First {
    /// The same number everywhere.
    Filled(f64),
    /// The parameter.
    Parameter,
}

/// What is kept.
#[derive(Clone, Debug)]
pub enum Form {
    /// Nothing on this leaf.
    Nothing,
    /// A number that starts as this one.
    Number(f64),
    /// A tensor.
    Tensor {
        /// Its shape.
        shape: Shape,
        /// Its type.
        dtype: DType,
        /// What it starts as.
        first: First,
    },
    /// Any number of tensors of this shape and type, stacked; none at first.
    Stack(Spec),
}

/// One thing that a member keeps of a leaf.
#[derive(Clone, Debug)]
pub struct Slot {
    /// What files and people call it.
    pub name: &'static str,
    /// What it is.
    pub form: Form,
}

/// The slots of a member.
pub type Slots = SmallVec<[Slot; 3]>;

/// Slots like the parameter, zero at first.
pub fn zeros_like(names: &[&'static str], spec: &Spec) -> Slots {
    filled_like(names, spec, 0.0)
}

/// Slots like the parameter, filled with `value` at first.
pub fn filled_like(names: &[&'static str], spec: &Spec, value: f64) -> Slots {
    let form = Form::Tensor { shape: spec.shape, dtype: spec.dtype, first: First::Filled(value) };
    names.iter().map(|&name| Slot { name, form: form.clone() }).collect()
}

/// One value everywhere, where the parameter is.
fn filled(parameter: &Tensor, dtype: DType, shape: &Shape, value: f64) -> Result<Kept> {
    Ok(match parameter.device() {
        Some(device) => Tensor::from(Value::filled_on(device, dtype, shape, value.into())?),
        None => Tensor::full(shape, value, dtype)?,
    }
    .into())
}

impl Slot {
    /// What is kept before the first step.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn start(&self, parameter: &Tensor) -> Result<Kept> {
        Ok(match &self.form {
            Form::Nothing => Kept::Nothing,
            Form::Number(number) => Kept::Number(*number),
            Form::Tensor { dtype, first: First::Parameter, .. } => parameter.detach().cast(*dtype)?.into(),
            Form::Tensor { shape, dtype, first: First::Filled(value) } => filled(parameter, *dtype, shape, *value)?,
            Form::Stack(spec) => {
                let shape = Shape::collect(std::iter::once(0).chain(spec.shape.iter().copied()))?;
                filled(parameter, spec.dtype, &shape, 0.0)?
            }
        })
    }

    /// Refuses what cannot be this slot's.
    ///
    /// # Errors
    /// [`Error::Value`] saying what differs.
    pub fn accepts(&self, kept: &Kept) -> Result<()> {
        match (&self.form, kept) {
            (_, Kept::Tensor(tensor)) => self.accepts_tensor(tensor),
            (Form::Nothing, _) | (Form::Number(_), Kept::Number(_)) => Ok(()),
            (Form::Number(_), _) => self.lacks("number"),
            (Form::Tensor { .. } | Form::Stack(_), _) => self.lacks("tensor"),
        }
    }

    /// The same for a tensor.
    ///
    /// # Errors
    /// As [`Slot::accepts`].
    pub fn accepts_tensor(&self, tensor: &Tensor) -> Result<()> {
        let (fits, expected) = match &self.form {
            Form::Nothing => return Ok(()),
            Form::Number(_) => return self.lacks("number"),
            Form::Tensor { shape, dtype, .. } => (tensor.dtype() == *dtype && tensor.shape() == shape, (shape, dtype)),
            Form::Stack(Spec { shape, dtype }) => {
                let fits = tensor.rank() > 0 && tensor.shape()[1..] == shape[..] && tensor.dtype() == *dtype;
                (fits, (shape, dtype))
            }
        };
        if fits { Ok(()) } else { self.refuse(tensor, expected) }
    }

    #[cold]
    fn refuse(&self, tensor: &Tensor, (shape, dtype): (&Shape, &DType)) -> Result<()> {
        let (name, has) = (self.name, show(tensor.shape()));
        Err(Error::Value(match self.form {
            Form::Stack(_) => format!("{name} has shape {has}, of {}", show(shape)),
            _ => format!("{name} has shape {has} and dtype {}, expected {} and {dtype}", tensor.dtype(), show(shape)),
        }))
    }

    #[cold]
    fn lacks(&self, what: &str) -> Result<()> {
        Err(Error::Value(format!("the optimiser's state has no {what} {}", self.name)))
    }
}

/// What an optimiser keeps of one leaf between steps.
///
/// ```
/// use luxon::{DType, Tensor};
/// use luxon::optim::{Kept, State};
/// let state = State { step: 10, kept: vec![Kept::from(Tensor::zeros(&[3], DType::F32)?)] };
/// assert_eq!(state.step, 10); // Put together from a file, say.
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct State {
    /// Updates of this leaf so far.
    pub step: u64,
    /// In the order of the optimiser's slots.
    pub kept: Vec<Kept>,
}

/// A leaf on its way through an optimiser.
#[derive(Debug)]
pub struct Leaf {
    /// Its place among the leaves, and its path.
    pub index: usize,
    /// For messages and patterns.
    pub path: Arc<str>,
    /// Updates so far.
    pub step: u64,
    /// The parameter; moved out and back by whoever changes it.
    pub parameter: Option<Tensor>,
    /// The gradient, or what has become of it; none where this leaf is left alone.
    pub gradient: Option<Tensor>,
    /// What members that did not run yet kept, and what those that did keep now.
    pub before: std::vec::IntoIter<Kept>,
    /// See `before`.
    pub after: Vec<Kept>,
    /// Whether one member alone keeps something: all there is.
    pub alone: bool,
}

impl Leaf {
    /// A leaf at the start of its way.
    pub fn new(index: usize, path: Arc<str>, parameter: Tensor, gradient: Tensor, state: State) -> Leaf {
        let (before, after) = (state.kept.into_iter(), Vec::new());
        let (parameter, gradient) = (Some(parameter), Some(gradient));
        Leaf { index, path, step: state.step, parameter, gradient, before, after, alone: false }
    }

    /// Whether an update can overwrite all memory that it replaces, and so allocates nothing that lasts.
    fn is_replaceable(&mut self) -> bool {
        let own = |tensor: &mut Tensor| Arc::get_mut(&mut tensor.value).is_some_and(Value::is_replaceable);
        self.parameter.as_mut().is_some_and(own)
            && self.before.as_mut_slice().iter_mut().all(|kept| match kept {
                Kept::Tensor(tensor) => own(tensor),
                Kept::Nothing | Kept::Number(_) => true,
            })
    }

    /// What the parameter is like.
    pub fn spec(&self) -> Spec {
        self.parameter.as_ref().map_or(Spec { shape: Shape::new(), dtype: DType::F32 }, Spec::of)
    }

    /// The share of a member that keeps `count` things. What remains is handed over as the list that it is.
    pub fn take(&mut self, count: usize) -> Vec<Kept> {
        if self.before.len() == count {
            return std::mem::take(&mut self.before).collect();
        }
        self.before.by_ref().take(count).collect()
    }

    /// Puts a member's new share behind those of the members before it.
    pub fn give(&mut self, kept: Vec<Kept>) {
        if self.after.is_empty() {
            self.after = kept;
        } else {
            self.after.extend(kept);
        }
    }

    /// Leaves a member's share as it is.
    pub fn pass(&mut self, count: usize) {
        self.after.extend(self.before.by_ref().take(count));
    }

    /// The parameter, to be changed.
    ///
    /// # Errors
    /// [`Error::Value`] where someone else has it.
    pub fn take_parameter(&mut self) -> Result<Tensor> {
        self.parameter.take().ok_or_else(|| Error::value("optim", "a parameter is being updated twice"))
    }

    /// What remains at the end.
    ///
    /// # Errors
    /// As [`Leaf::take_parameter`].
    pub fn finish(mut self) -> Result<(Tensor, State)> {
        self.after.extend(self.before.by_ref());
        Ok((self.take_parameter()?, State { step: self.step, kept: self.after }))
    }
}

/// Serial work (ns) of an update for each element that is read or written, and for the leaf.
const PER_ELEMENT: f64 = 0.1;
const PER_LEAF: f64 = 200.0;
/// The most that counts as a short job.
const SHORT: f64 = 90_000.0;

/// Calls `update` with every leaf.
///
/// Leaves too short to be cut are dealt to threads as they are, but only where nothing is allocated for them: what
/// a worker allocates would come back to another thread, whose cache of memory grows while the worker's is empty.
///
/// # Errors
/// An error of `update`; the other leaves may have been updated.
pub fn for_each(leaves: &mut [Leaf], update: &(dyn Fn(&mut Leaf) -> Result<()> + Sync)) -> Result<()> {
    let work = |leaf: &Leaf| {
        let elements = leaf.parameter.as_ref().map_or(0, Tensor::count) * (3 + 2 * leaf.before.len());
        elements as f64 * PER_ELEMENT + PER_LEAF
    };
    let all: f64 = leaves.iter().map(work).sum();
    // They are many short jobs, shared where those are: gradients that one core has found are slow to come to another.
    let total = all.min(SHORT);
    let even = leaves.iter().all(|leaf| work(leaf) * (2 * threads::threads()) as f64 <= all);
    if !even || !threads::worth_splitting(total) || !leaves.iter_mut().all(Leaf::is_replaceable) {
        return leaves.iter_mut().try_for_each(update);
    }
    let leaves: Vec<Mutex<&mut Leaf>> = leaves.iter_mut().map(Mutex::new).collect();
    threads::try_parallel(leaves.len(), total, &|index| {
        update(&mut leaves[index].lock().unwrap_or_else(PoisonError::into_inner))
    })
}
