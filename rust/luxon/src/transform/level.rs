//! Levels of differentiation and the trace that they leave on tensors.
//!
//! Each differentiation opens a [`Level`] with a fresh, ever-growing stamp and tags its inputs with it.
//! An operation on tagged tensors is carried out on the tensors *lowered below* its highest level, so
//! whatever the rules compute is recorded by the outer levels only; then one [`Node`] of that level is
//! laid on top. A tensor thus carries a short stack of nodes, the highest level first, and every mix of
//! forward and reverse mode nests. A closed level records nothing more.
//!
//! A reverse level keeps a graph of nodes, owned by the tensors: it dies with its last tensor. A forward
//! level keeps the tangent itself. Drops are iterative: a chain of a million nodes does not recurse.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use smallvec::SmallVec;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::op::Op;
use crate::op::custom::Pullback;
use crate::tensor::Tensor;
use crate::transform::jet::Series;
use crate::transform::watch::Watcher;

/// The direction in which a level differentiates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Records a graph, to be walked backwards from an output.
    Reverse,
    /// Carries a tangent along with each value.
    Forward,
}

/// One differentiation in progress.
#[derive(Debug)]
pub struct Level {
    stamp: u64,
    mode: Mode,
    next: AtomicU32,
    closed: AtomicBool,
}

static STAMPS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The levels that this thread has open, outermost first.
    static OPEN: RefCell<Vec<Arc<Level>>> = const { RefCell::new(Vec::new()) };
}

impl Level {
    /// Opens a level above all others.
    pub fn open(mode: Mode) -> Arc<Level> {
        let stamp = STAMPS.fetch_add(1, Ordering::Relaxed);
        let level = Arc::new(Level { stamp, mode, next: AtomicU32::new(0), closed: AtomicBool::new(false) });
        let _ = OPEN.try_with(|open| open.borrow_mut().push(Arc::clone(&level)));
        level
    }

    /// Ends the recording: tensors that escaped the level count as untracked by it from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.leave();
    }

    /// Takes the level off this thread's list while it stays recordable: a pullback that lives on.
    pub fn leave(&self) {
        let _ = OPEN.try_with(|open| open.borrow_mut().retain(|level| level.stamp != self.stamp));
    }

    /// The levels open on this thread, each with the number of nodes that it has so far.
    pub fn snapshot() -> Vec<(Arc<Level>, u32)> {
        OPEN.try_with(|open| open.borrow().iter().map(|level| (Arc::clone(level), level.size())).collect())
            .unwrap_or_default()
    }

    /// The number of levels open on this thread.
    pub fn depth() -> usize {
        OPEN.try_with(|open| open.borrow().len()).unwrap_or(0)
    }

    /// The order of opening.
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// The direction.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The number of nodes made so far.
    pub fn size(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// A tagged copy of `tensor`: an input of this (reverse) level.
    ///
    /// # Errors
    /// [`Error::Type`] for integer and bool tensors: they are never differentiated.
    pub fn tag(self: &Arc<Level>, tensor: &Tensor) -> Result<Tensor> {
        differentiable(tensor)?;
        Ok(self.record(tensor, Trace::Input))
    }

    /// A copy of `tensor` that carries `tangent` on this (forward) level.
    ///
    /// # Errors
    /// [`Error::Type`] for integer and bool tensors, [`Error::Shape`] where the shapes differ.
    pub fn tag_tangent(self: &Arc<Level>, tensor: &Tensor, tangent: &Tensor) -> Result<Tensor> {
        self.check_tangent(tensor, tangent)?;
        Ok(self.record(tensor, Trace::Tangent(tangent.clone())))
    }

    /// Refuses a tangent that does not fit its tensor, and tensors that have none.
    ///
    /// # Errors
    /// As [`Level::tag_tangent`].
    pub(crate) fn check_tangent(&self, tensor: &Tensor, tangent: &Tensor) -> Result<()> {
        if tensor.shape() != tangent.shape() || tensor.dtype() != tangent.dtype() {
            return Err(Error::shape(
                "jvp",
                format_args!("tangent {tangent:?} does not have the shape and dtype of its primal {tensor:?}"),
            ));
        }
        differentiable(tensor)
    }

    /// `tensor` with a node of this level on top.
    #[inline]
    pub(crate) fn record(self: &Arc<Level>, tensor: &Tensor, trace: Trace) -> Tensor {
        let node = self.node(tensor, || trace);
        Tensor { value: Arc::clone(&tensor.value), node: Some(node) }
    }

    /// A node of this level for a value. Its fields are written in place: moving the whole of it costs as much
    /// as a small operation.
    #[inline(always)]
    pub(crate) fn node(self: &Arc<Level>, tensor: &Tensor, trace: impl FnOnce() -> Trace) -> Arc<Node> {
        let mut node = Arc::<Node>::new_uninit();
        // SAFETY: the allocation is not shared yet, and every field is written.
        unsafe {
            let place = Arc::get_mut(&mut node).map_or(std::ptr::null_mut(), std::mem::MaybeUninit::as_mut_ptr);
            (&raw mut (*place).level).write(Arc::clone(self));
            (&raw mut (*place).index).write(self.next.fetch_add(1, Ordering::Relaxed));
            (&raw mut (*place).shape).write(*tensor.shape());
            (&raw mut (*place).dtype).write(tensor.dtype());
            (&raw mut (*place).below).write(tensor.node.clone());
            (&raw mut (*place).trace).write(trace());
            node.assume_init()
        }
    }
}

fn differentiable(tensor: &Tensor) -> Result<()> {
    match tensor.dtype().is_float() {
        true => Ok(()),
        false => Err(Error::Type(format!("cannot differentiate with respect to a tensor of dtype {}", tensor.dtype()))),
    }
}

/// Closes a level when it goes out of scope, so that an error on the way leaves no level open.
pub struct Scope(pub Arc<Level>);

impl Drop for Scope {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// One operation as one level saw it; see the module.
pub struct Node {
    pub(crate) level: Arc<Level>,
    /// Position in the level: inputs of a node have smaller indices than the node.
    pub(crate) index: u32,
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
    /// The trace of the same value on lower levels.
    pub(crate) below: Option<Arc<Node>>,
    pub(crate) trace: Trace,
}

/// How a level came by a value.
pub(crate) enum Trace {
    /// It was given.
    Input,
    /// By an operation (reverse mode).
    Op(Record),
    /// By a call with a rule of its own (reverse mode); the outputs are [`Trace::Part`]s of it.
    Call { inputs: Vec<Option<Arc<Node>>>, outputs: Vec<(Shape, DType)>, pullback: Arc<dyn Pullback> },
    /// One output of a call.
    Part { call: Arc<Node>, slot: usize },
    /// It is the input, and the watcher sees the cotangents that pass (reverse mode).
    Watch { input: Arc<Node>, watcher: Arc<dyn Watcher> },
    /// With this tangent (forward mode).
    Tangent(Tensor),
    /// With these derivatives along several directions (forward mode).
    Jet(Vec<Series>),
}

/// What the backward rule of an operation needs.
pub(crate) struct Record {
    pub(crate) op: Op,
    pub(crate) inputs: SmallVec<[InputRecord; 2]>,
    pub(crate) output: Option<Tensor>,
    /// Further results of the kernel that only the rule reads.
    pub(crate) extra: SmallVec<[Tensor; 1]>,
}

/// An input of a recorded operation: its node where it is differentiated, its value where the rule reads it.
pub(crate) struct InputRecord {
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) saved: Option<Tensor>,
}

impl Tensor {
    /// The node of the highest open level.
    #[inline]
    pub(crate) fn active_node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref().and_then(first_open)
    }

    /// The node of exactly the level `stamp`, if the tensor takes part in it.
    #[inline]
    pub(crate) fn node_at(&self, stamp: u64) -> Option<&Arc<Node>> {
        let mut node = self.node.as_ref()?;
        while node.level.stamp > stamp {
            node = node.below.as_ref()?;
        }
        (node.level.stamp == stamp && !node.level.closed.load(Ordering::Relaxed)).then_some(node)
    }

    /// Whether the tensor has a trace of the level `stamp` or one above it.
    #[inline]
    #[doc(hidden)]
    pub fn reaches(&self, stamp: u64) -> bool {
        self.node.as_ref().is_some_and(|node| node.level.stamp >= stamp)
    }

    /// The tensor as the levels below `stamp` see it.
    #[inline]
    #[doc(hidden)]
    pub fn lower(&self, stamp: u64) -> Tensor {
        let mut node = self.node.as_ref();
        while let Some(top) = node {
            if top.level.stamp < stamp {
                break;
            }
            node = top.below.as_ref();
        }
        Tensor { value: Arc::clone(&self.value), node: node.cloned() }
    }
}

#[inline]
fn first_open(node: &Arc<Node>) -> Option<&Arc<Node>> {
    let mut node = node;
    while node.level.closed.load(Ordering::Relaxed) {
        node = node.below.as_ref()?;
    }
    Some(node)
}

thread_local! {
    /// Nodes whose drop is pending; the outermost drop on the thread works the list off.
    static GRAVEYARD: RefCell<(bool, Vec<Arc<Node>>)> = const { RefCell::new((false, Vec::new())) };
}

#[inline]
fn same(a: &Option<Arc<Node>>, b: &Option<Arc<Node>>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if Arc::ptr_eq(a, b))
}

impl Node {
    /// Whether this node may be the last owner of another, whose drop would recurse. The common operations of
    /// one level are told apart exactly; everything else is looked at closely in [`Node::bury`].
    #[inline]
    fn may_own_alone(&self) -> bool {
        let alone = |input: &InputRecord| {
            input.node.as_ref().is_some_and(|node| Arc::strong_count(node) == 1)
                || input.saved.as_ref().is_some_and(|saved| saved.node.is_some())
        };
        let Trace::Op(record) = &self.trace else {
            return self.below.is_some() || !matches!(self.trace, Trace::Input);
        };
        let inputs = match &record.inputs[..] {
            [only] => alone(only),
            // The same node twice is owned by nobody else where its count is 2.
            [a, b] => alone(a) || alone(b) || same(&a.node, &b.node),
            _ => true,
        };
        inputs
            || self.below.is_some()
            || record.output.as_ref().is_some_and(|output| output.node.is_some())
            || !record.extra.is_empty()
    }

    /// Moves what this node owns alone out of it, so that dropping it does not recurse.
    #[cold]
    fn bury(&mut self) {
        let mut owned: SmallVec<[Arc<Node>; 4]> = SmallVec::new();
        let mut release = |node: Option<Arc<Node>>| {
            if let Some(node) = node
                && Arc::strong_count(&node) == 1
            {
                owned.push(node);
            }
        };
        release(self.below.take());
        match &mut self.trace {
            Trace::Input => {}
            Trace::Op(record) => {
                for input in &mut record.inputs {
                    release(input.node.take());
                    release(input.saved.as_mut().and_then(|saved| saved.node.take()));
                }
                release(record.output.as_mut().and_then(|output| output.node.take()));
                for extra in &mut record.extra {
                    release(extra.node.take());
                }
            }
            Trace::Call { inputs, .. } => inputs.iter_mut().for_each(|input| release(input.take())),
            Trace::Tangent(tangent) => release(tangent.node.take()),
            Trace::Jet(jets) => jets.iter_mut().flatten().flatten().for_each(|tensor| release(tensor.node.take())),
            Trace::Part { .. } | Trace::Watch { .. } => match std::mem::replace(&mut self.trace, Trace::Input) {
                Trace::Part { call: node, .. } | Trace::Watch { input: node, .. } => release(Some(node)),
                _ => {}
            },
        }
        if owned.is_empty() {
            return;
        }
        let outermost = GRAVEYARD.try_with(|yard| {
            let (busy, list) = &mut *yard.borrow_mut();
            list.extend(owned.drain(..));
            !std::mem::replace(busy, true)
        });
        if outermost == Ok(true) {
            while let Ok(Some(node)) = GRAVEYARD.try_with(|yard| yard.borrow_mut().1.pop()) {
                drop(node);
            }
            let _ = GRAVEYARD.try_with(|yard| yard.borrow_mut().0 = false);
        }
    }
}

impl Drop for Node {
    #[inline]
    fn drop(&mut self) {
        if self.may_own_alone() {
            self.bury();
        }
    }
}
