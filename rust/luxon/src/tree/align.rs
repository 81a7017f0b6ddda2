//! How the leaves of one tree correspond to those of another.
//!
//! Mappings correspond by name whatever their order, sequences by position; what a container is to the
//! caller (a dict or a tree, a list or a tuple) plays no part. Ties may differ: where the first tree has
//! one slot in several places, its first place says which leaf of the other belongs to it.

use std::fmt;
use std::sync::Arc;

use crate::tree::structure::{Kind, Structure, View};

/// For each slot of the first structure the slot of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// The same slots.
    Same,
    /// By slot of the first.
    Table(Vec<u32>),
}

impl Alignment {
    /// The other's slot.
    #[inline]
    pub fn at(&self, slot: usize) -> usize {
        match self {
            Alignment::Same => slot,
            Alignment::Table(table) => table[slot] as usize,
        }
    }
}

/// What keeps two structures from corresponding, as paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// In the first and not in the other.
    pub missing: Vec<String>,
    /// In the other and not in the first.
    pub extra: Vec<String>,
    /// In both, with the kind that each has there.
    pub differing: Vec<String>,
}

/// Lists no more paths than this.
const SHOWN: usize = 6;

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (what, paths) in [("missing", &self.missing), ("extra", &self.extra), ("differing", &self.differing)] {
            if paths.is_empty() {
                continue;
            }
            write!(out, "{separator}{what} {}", paths[..paths.len().min(SHOWN)].join(", "))?;
            if paths.len() > SHOWN {
                write!(out, " and {} more", paths.len() - SHOWN)?;
            }
            separator = "; ";
        }
        Ok(())
    }
}

/// How `other` corresponds to `first`, or what is in the way.
pub fn align(first: &Arc<Structure>, other: &Arc<Structure>) -> Result<Alignment, Mismatch> {
    if Arc::ptr_eq(first, other) {
        return Ok(Alignment::Same);
    }
    let mut walk = Walk { table: vec![u32::MAX; first.slots()], mismatch: Mismatch::default() };
    walk.compare(first, &View::Range(0), other, &View::Range(0), "");
    if walk.mismatch == Mismatch::default() { Ok(Alignment::Table(walk.table)) } else { Err(walk.mismatch) }
}

struct Walk {
    table: Vec<u32>,
    mismatch: Mismatch,
}

pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

/// What a node is, for messages.
pub(crate) fn describe(structure: &Structure) -> String {
    match structure.kind() {
        Kind::Leaf => "a leaf".into(),
        Kind::Mapping => "a tree".into(),
        Kind::Sequence => format!("a sequence of {}", structure.children().len()),
    }
}

impl Walk {
    fn compare(&mut self, first: &Structure, view: &View, other: &Structure, other_view: &View, path: &str) {
        if first.kind() != other.kind() {
            self.differ(first, other, path);
        } else if first.is_leaf() {
            let slot = &mut self.table[view.at(0)];
            if *slot == u32::MAX {
                *slot = other_view.at(0) as u32;
            }
        } else {
            let ordered = first.kind() == Kind::Sequence;
            if ordered && first.children().len() != other.children().len() {
                return self.differ(first, other, path);
            }
            for (position, child) in first.children().iter().enumerate() {
                let name = first.name(position);
                let found = if ordered { Some(position) } else { other.position(&name) };
                let path = join(path, &name);
                let Some(partner) = found.map(|position| &other.children()[position]) else {
                    self.mismatch.missing.push(path);
                    continue;
                };
                let (left, right) = (&child.structure, &partner.structure);
                let view = view.through(&child.view, left.slots());
                self.compare(left, &view, right, &other_view.through(&partner.view, right.slots()), &path);
            }
            if !ordered {
                let names = other.names().iter().filter(|name| first.position(name).is_none());
                self.mismatch.extra.extend(names.map(|name| join(path, name)));
            }
        }
    }

    fn differ(&mut self, first: &Structure, other: &Structure, path: &str) {
        let place = if path.is_empty() { "the root" } else { path };
        self.mismatch.differing.push(format!("{place} ({} and {})", describe(first), describe(other)));
    }
}
