//! The backward walk: cotangents from outputs to the inputs of one level.
//!
//! Nodes of a level are numbered as they are made, so decreasing numbers are a topological order: one
//! pass over a dense table, no sorting and no recursion. A node is released as soon as its rule has run,
//! and with it the values that it saved. The first cotangent of a node is moved into its slot; further
//! ones are added, in place where the sum's memory belongs to nobody else.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::layout::show;
use crate::op::{Saved, elementwise};
use crate::runtime::interrupt;
use crate::runtime::threads::{self, Aside};
use crate::tensor::Tensor;
use crate::transform::level::{Level, Node, Trace};

/// What has arrived at a node so far.
enum Slot {
    Empty,
    One(Tensor),
    /// For a call: one entry per output.
    Many(Vec<Option<Tensor>>),
}

/// The nodes between the outputs and the inputs, by their number counted from `floor`.
struct Walk {
    floor: u32,
    nodes: Vec<Option<Arc<Node>>>,
    slots: Vec<Slot>,
    /// Nodes from before `floor`, with what arrived at them.
    boundary: Vec<(Arc<Node>, Option<Tensor>)>,
}

fn add_to(slot: &mut Slot, gradient: Tensor) -> Result<()> {
    *slot = match std::mem::replace(slot, Slot::Empty) {
        Slot::One(sum) => {
            // Either may have been put aside.
            threads::settle();
            Slot::One(elementwise::accumulate(sum, &gradient)?)
        }
        _ => Slot::One(gradient),
    };
    Ok(())
}

impl Walk {
    fn new(floor: u32) -> Walk {
        Walk { floor, nodes: Vec::new(), slots: Vec::new(), boundary: Vec::new() }
    }

    /// Notes a node that the walk reaches; true where its inputs are still to be explored.
    fn note(&mut self, node: &Arc<Node>) -> bool {
        let Some(index) = node.index.checked_sub(self.floor) else {
            if !self.boundary.iter().any(|(known, _)| Arc::ptr_eq(known, node)) {
                self.boundary.push((Arc::clone(node), None));
            }
            return false;
        };
        let index = index as usize;
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, None);
        }
        if self.nodes[index].is_some() {
            return false;
        }
        self.nodes[index] = Some(Arc::clone(node));
        !matches!(node.trace, Trace::Input)
    }

    /// Collects everything that can be reached from `root`.
    fn explore(&mut self, root: &Arc<Node>) {
        let mut pending = Vec::new();
        if self.note(root) {
            pending.push(Arc::clone(root));
        }
        while let Some(node) = pending.pop() {
            let mut visit = |input: &Arc<Node>| {
                if self.note(input) {
                    pending.push(Arc::clone(input));
                }
            };
            match &node.trace {
                Trace::Input | Trace::Tangent(_) | Trace::Jet(_) => {}
                Trace::Op(record) => record.inputs.iter().filter_map(|input| input.node.as_ref()).for_each(&mut visit),
                Trace::Call { inputs, .. } => inputs.iter().flatten().for_each(&mut visit),
                Trace::Part { call, .. } => visit(call),
                Trace::Watch { input, .. } => visit(input),
            }
        }
    }

    /// Adds a cotangent to what has arrived at `node`.
    fn deliver(&mut self, node: &Arc<Node>, gradient: Tensor) -> Result<()> {
        if gradient.shape() != &node.shape || gradient.dtype() != node.dtype {
            return Err(Error::Shape(format!(
                "a gradient of shape {} and dtype {} does not fit its value of shape {} and dtype {}",
                show(gradient.shape()),
                gradient.dtype(),
                show(&node.shape),
                node.dtype
            )));
        }
        let mut node = node;
        while let Trace::Watch { input, watcher } = &node.trace {
            if node.index < self.floor {
                break;
            }
            watcher.cotangent(&gradient)?;
            node = input;
        }
        match node.index.checked_sub(self.floor) {
            Some(index) => add_to(&mut self.slots[index as usize], gradient),
            None => {
                let Some((_, sum)) = self.boundary.iter_mut().find(|(known, _)| Arc::ptr_eq(known, node)) else {
                    return Err(Error::Value("checkpoint: the function touched other tensors when it was run again; it must be deterministic".into()));
                };
                let mut slot = sum.take().map_or(Slot::Empty, Slot::One);
                add_to(&mut slot, gradient)?;
                if let Slot::One(total) = slot {
                    *sum = Some(total);
                }
                Ok(())
            }
        }
    }

    /// Runs every rule, last node first. Inputs keep their slots.
    fn run(&mut self) -> Result<()> {
        // Rules may put the gradients of inputs aside: nobody reads those before the end.
        let aside = Aside::open();
        for index in (0..self.nodes.len()).rev() {
            let Some(node) = self.nodes[index].take() else { continue };
            if matches!(node.trace, Trace::Input) {
                continue;
            }
            let slot = std::mem::replace(&mut self.slots[index], Slot::Empty);
            self.step(&node, slot)?;
            // Long kernels ask by themselves; the clock is read for the sake of many short ones.
            if index % 16 == 0 && interrupt::poll() {
                return Err(Error::Interrupted);
            }
        }
        aside.settle();
        if interrupt::take() { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn step(&mut self, node: &Arc<Node>, slot: Slot) -> Result<()> {
        match (&node.trace, slot) {
            (Trace::Op(record), Slot::One(dy)) => {
                let gradients = record.op.vjp(&Saved::new(record), &dy)?;
                drop(dy);
                for (input, gradient) in record.inputs.iter().zip(gradients) {
                    if let (Some(target), Some(gradient)) = (&input.node, gradient) {
                        self.deliver(target, gradient)?;
                    }
                }
            }
            (Trace::Part { call, slot: part }, Slot::One(dy)) => {
                let Trace::Call { outputs, .. } = &call.trace else { return Ok(()) };
                let Some(index) = call.index.checked_sub(self.floor) else { return Ok(()) };
                let slot = &mut self.slots[index as usize];
                if matches!(slot, Slot::Empty) {
                    *slot = Slot::Many(vec![None; outputs.len()]);
                }
                if let Slot::Many(parts) = slot {
                    parts[*part] = Some(match parts[*part].take() {
                        Some(sum) => elementwise::accumulate(sum, &dy)?,
                        None => dy,
                    });
                }
            }
            (Trace::Call { inputs, pullback, .. }, Slot::Many(cotangents)) => {
                let gradients = pullback.pull(&cotangents)?;
                if gradients.len() != inputs.len() {
                    return Err(Error::Value(format!(
                        "{}: the backward rule gave {} gradients for {} inputs",
                        pullback.name(),
                        gradients.len(),
                        inputs.len()
                    )));
                }
                for (input, gradient) in inputs.iter().zip(gradients) {
                    if let (Some(target), Some(gradient)) = (input, gradient) {
                        self.deliver(target, gradient)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The cotangents of the tagged tensors `inputs` from those of `outputs`; none where no output depends on an input.
///
/// Outputs are consumed: where nobody else holds them, each node's memory is free once its rule has run.
/// Outputs that the level did not record are passed over.
pub fn pull_back(level: &Level, outputs: Vec<(Tensor, Tensor)>, inputs: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
    let mut walk = Walk::new(0);
    let stamp = level.stamp();
    let mut seeds = Vec::with_capacity(outputs.len());
    for (output, cotangent) in outputs {
        if let Some(node) = output.node_at(stamp) {
            walk.explore(node);
            // A cotangent may be tracked by a level opened later: the pullback is then differentiated itself.
            let own = cotangent.node_at(stamp).is_some();
            seeds.push((Arc::clone(node), if own { cotangent.lower(stamp) } else { cotangent }));
        }
    }
    walk.slots.resize_with(walk.nodes.len(), || Slot::Empty);
    for (node, cotangent) in seeds {
        walk.deliver(&node, cotangent)?;
    }
    walk.run()?;
    Ok(inputs
        .iter()
        .map(|input| {
            let index = input.node_at(stamp)?.index as usize;
            match std::mem::replace(walk.slots.get_mut(index)?, Slot::Empty) {
                Slot::One(gradient) => Some(gradient),
                _ => None,
            }
        })
        .collect())
}

/// The nodes of `level` made before `floor` that `outputs` depend on.
pub(crate) fn boundary(level: &Level, floor: u32, outputs: &[Tensor]) -> Vec<Arc<Node>> {
    let mut walk = Walk::new(floor);
    for output in outputs {
        if let Some(node) = output.node_at(level.stamp()) {
            walk.explore(node);
        }
    }
    walk.boundary.into_iter().map(|(node, _)| node).collect()
}

/// Cotangents at the nodes `targets`, all made before `floor`, walking only what was recorded since.
pub(crate) fn pull_back_to(
    level: &Level,
    floor: u32,
    outputs: Vec<(Tensor, Tensor)>,
    targets: &[Option<Arc<Node>>],
) -> Result<Vec<Option<Tensor>>> {
    let mut walk = Walk::new(floor);
    walk.boundary.extend(targets.iter().flatten().map(|node| (Arc::clone(node), None)));
    let mut seeds = Vec::with_capacity(outputs.len());
    for (output, cotangent) in outputs {
        if let Some(node) = output.node_at(level.stamp()) {
            walk.explore(node);
            seeds.push((Arc::clone(node), cotangent));
        }
    }
    walk.slots.resize_with(walk.nodes.len(), || Slot::Empty);
    for (node, cotangent) in seeds {
        walk.deliver(&node, cotangent)?;
    }
    walk.run()?;
    Ok(targets
        .iter()
        .map(|target| {
            let target = target.as_ref()?;
            walk.boundary.iter_mut().find(|(node, _)| Arc::ptr_eq(node, target))?.1.take()
        })
        .collect())
}
