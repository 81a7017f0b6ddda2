//! New structures from old ones: ties made and undone, parts taken apart and put together.
//!
//! Each function works on structures alone and says, for every slot of a result, where its leaf comes
//! from; moving the leaves is left to the caller. Structures change rarely and leaves often, so the one
//! edit that stands on a hot path, [`merge`], remembers its answers.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::tree::align::{Alignment, align, describe, join};
use crate::tree::pattern::near;
use crate::tree::structure::{Draft, Kind, Structure};

/// A new structure with, for each of its slots, the old slot whose leaf it gets.
pub type Edited = (Arc<Structure>, Vec<u32>);

/// Makes each group of paths one value: that of the group's first path. Ties that a place already has
/// are kept, so its partners join in.
///
/// # Errors
/// [`Error::Value`] for paths that do not exist, that lie within one another, or whose parts differ.
pub fn tie(structure: &Arc<Structure>, groups: &[Vec<String>]) -> Result<Edited> {
    check_apart(groups)?;
    let mut leader: Vec<u32> = (0..structure.slots() as u32).collect();
    fn root(leader: &[u32], mut slot: usize) -> usize {
        while leader[slot] as usize != slot {
            slot = leader[slot] as usize;
        }
        slot
    }
    for group in groups {
        let Some((first_path, others)) = group.split_first() else { continue };
        let (first, view) = find(structure, first_path)?;
        for path in others {
            let (other, other_view) = find(structure, path)?;
            let alignment = align(&first, &other).map_err(|mismatch| {
                Error::Value(format!("cannot tie {path} to {first_path}: the structures differ: {mismatch}"))
            })?;
            // Slot by slot of the follower, so that ties inside it that the leader lacks are met too.
            let back = align(&other, &first).unwrap_or(Alignment::Same);
            let pairs = (0..first.slots())
                .map(|slot| (slot, alignment.at(slot)))
                .chain((0..other.slots()).map(|slot| (back.at(slot), slot)));
            for (mine, theirs) in pairs {
                let (mine, theirs) = (root(&leader, view.at(mine)), root(&leader, other_view.at(theirs)));
                leader[theirs] = mine as u32;
            }
        }
    }
    let identities: Vec<u32> =
        structure.place_slots().into_iter().map(|slot| root(&leader, slot as usize) as u32).collect();
    Structure::build(&structure.draft(&mut identities.into_iter()))
}

/// Refuses paths that are listed twice or lie within one another.
pub fn check_apart(groups: &[Vec<String>]) -> Result<()> {
    let mut all: Vec<Vec<&str>> = groups.iter().flatten().map(|path| path.split('.').collect()).collect();
    all.sort();
    for pair in all.windows(2) {
        if pair[1].starts_with(&pair[0]) {
            let (outer, inner) = (pair[0].join("."), pair[1].join("."));
            return Err(Error::Value(if outer == inner {
                format!("the path {outer} is listed twice")
            } else {
                format!("the path {inner} lies inside {outer}")
            }));
        }
    }
    Ok(())
}

fn find(structure: &Arc<Structure>, path: &str) -> Result<(Arc<Structure>, crate::tree::View)> {
    structure.find(path).ok_or_else(|| no_path(structure, path))
}

/// The error for a path that is nowhere.
#[cold]
pub fn no_path(structure: &Structure, path: &str) -> Error {
    Error::Value(format!("no entry {path:?} in the tree; {}", near(path, structure.all_paths())))
}

/// Gives every place a slot of its own.
pub fn untie(structure: &Arc<Structure>) -> Result<Edited> {
    let slots = structure.place_slots();
    let (untied, identities) = Structure::build(&structure.draft(&mut (0..slots.len() as u32)))?;
    Ok((untied, identities.into_iter().map(|place| slots[place as usize]).collect()))
}

/// Two trees with the same nesting: the chosen places in one, the others in the other. A child without
/// leaves on a side is an empty mapping there.
///
/// # Errors
/// [`Error::Value`] where a tie or a sequence's leaves would be on both sides.
pub fn partition(structure: &Arc<Structure>, chosen: &[bool]) -> Result<(Edited, Edited)> {
    let paths = structure.paths();
    let mut side: Vec<Option<usize>> = vec![None; structure.slots()];
    for (place, &(ref path, slot)) in paths.iter().enumerate() {
        match side[slot] {
            Some(first) if chosen[first] != chosen[place] => {
                let first = &paths[first].0;
                return Err(Error::Value(format!(
                    "{first} and {path} are tied: choose both or neither, or undo the tie first"
                )));
            }
            _ => side[slot] = Some(place),
        }
    }
    let half = |wanted: bool| {
        let mut places = paths.iter().zip(chosen).map(|((_, slot), &chosen)| (*slot as u32, chosen == wanted));
        let draft = keep(structure, &mut places, "")?;
        Structure::build(&draft.unwrap_or_else(empty))
    };
    Ok((half(true)?, half(false)?))
}

fn empty() -> Draft {
    Draft::Node { kind: Kind::Mapping, tag: 0, names: Vec::new(), children: Vec::new() }
}

/// The part of a structure whose places are wanted; none for a leaf that is not.
fn keep(structure: &Structure, places: &mut dyn Iterator<Item = (u32, bool)>, path: &str) -> Result<Option<Draft>> {
    if structure.is_leaf() {
        return Ok(places.next().and_then(|(slot, wanted)| wanted.then_some(Draft::Leaf(slot))));
    }
    let (mut names, mut children, mut dropped) = (Vec::new(), Vec::new(), 0);
    for (position, child) in structure.children().iter().enumerate() {
        let name = structure.name(position);
        match keep(&child.structure, places, &join(path, &name))? {
            Some(child) => {
                names.push(name);
                children.push(child);
            }
            None => dropped += 1,
        }
    }
    if structure.kind() == Kind::Sequence {
        if dropped > 0 {
            let rest_is_empty =
                children.iter().all(|child| matches!(child, Draft::Node { children, .. } if children.is_empty()));
            return if rest_is_empty {
                Ok(Some(empty()))
            } else {
                Err(Error::Value(format!("{path} is a sequence: choose all of it or nothing")))
            };
        }
        if !structure.is_named() {
            names.clear();
        }
    }
    Ok(Some(Draft::Node { kind: structure.kind(), tag: structure.tag(), names, children }))
}

/// How two trees make one: for each slot whether it comes from the second tree, and its slot there.
#[derive(Debug)]
pub struct Merge {
    /// The structure of both together.
    pub structure: Arc<Structure>,
    /// By slot.
    pub sources: Vec<(bool, u32)>,
}

type Merges = HashMap<[usize; 3], ([Option<Arc<Structure>>; 3], Arc<Merge>)>;

/// Answers of [`merge`]; they keep their structures alive, so that an address stands for one structure.
static MERGES: LazyLock<Mutex<Merges>> = LazyLock::new(Default::default);

/// More remembered answers than this are forgotten all at once.
const REMEMBERED: usize = 256;

/// Both trees in one, each place from the one that has it; mappings are ordered as in `like` where it is
/// given. Trees may share containers, but no leaf.
///
/// # Errors
/// [`Error::Value`] where both trees have a leaf, or parts that do not go together.
pub fn merge(left: &Arc<Structure>, right: &Arc<Structure>, like: Option<&Arc<Structure>>) -> Result<Arc<Merge>> {
    let owners = [Some(Arc::clone(left)), Some(Arc::clone(right)), like.cloned()];
    let key = [0, 1, 2].map(|index| owners[index].as_ref().map_or(0, |owner| Arc::as_ptr(owner) as usize));
    let remembered = |merges: &Merges| merges.get(&key).map(|(_, merge)| Arc::clone(merge));
    if let Some(known) = remembered(&MERGES.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(known);
    }
    let offset = left.slots() as u32;
    let first = left.draft(&mut left.place_slots().into_iter());
    let second = right.draft(&mut right.place_slots().into_iter().map(|slot| slot + offset));
    let (structure, identities) = Structure::build(&union(first, second, like.map(|like| &**like), "")?)?;
    let sources = identities.into_iter().map(|slot| if slot < offset { (false, slot) } else { (true, slot - offset) });
    let merge = Arc::new(Merge { structure, sources: sources.collect() });
    let mut merges = MERGES.lock().unwrap_or_else(PoisonError::into_inner);
    let forgotten = if merges.len() >= REMEMBERED { std::mem::take(&mut *merges) } else { HashMap::new() };
    merges.insert(key, (owners, Arc::clone(&merge)));
    drop(merges);
    drop(forgotten);
    Ok(merge)
}

fn union(left: Draft, right: Draft, like: Option<&Structure>, path: &str) -> Result<Draft> {
    let clash = |left: &Draft, right: &Draft| {
        let place = if path.is_empty() { "the root" } else { path };
        Err(Error::Value(format!("cannot merge: at {place} one tree has {}, the other {}", what(left), what(right))))
    };
    match (left, right) {
        (
            Draft::Node { kind: left_kind, tag, names, children },
            Draft::Node { kind: right_kind, tag: right_tag, names: right_names, children: right_children },
        ) => {
            let is_empty = |kind: Kind, children: &[Draft]| kind == Kind::Mapping && children.is_empty();
            let left = Draft::Node { kind: left_kind, tag, names, children };
            let right = Draft::Node { kind: right_kind, tag: right_tag, names: right_names, children: right_children };
            let (Draft::Node { children: mine, .. }, Draft::Node { children: theirs, .. }) = (&left, &right) else {
                return Ok(left);
            };
            if left_kind != right_kind && is_empty(right_kind, theirs) {
                return Ok(left);
            }
            if left_kind != right_kind && is_empty(left_kind, mine) {
                return Ok(right);
            }
            if left_kind != right_kind || (left_kind == Kind::Sequence && mine.len() != theirs.len()) {
                return clash(&left, &right);
            }
            union_of_nodes(left, right, like, path)
        }
        (left, right) => clash(&left, &right),
    }
}

fn union_of_nodes(left: Draft, right: Draft, like: Option<&Structure>, path: &str) -> Result<Draft> {
    let (
        Draft::Node { kind, tag, mut names, children },
        Draft::Node { names: right_names, children: right_children, .. },
    ) = (left, right)
    else {
        return Ok(empty());
    };
    let named = kind == Kind::Mapping;
    let mut merged: Vec<Option<Draft>> = children.into_iter().map(Some).collect();
    for (index, theirs) in right_children.into_iter().enumerate() {
        let position = if named { names.iter().position(|name| *name == right_names[index]) } else { Some(index) };
        let Some(position) = position else {
            names.push(right_names[index].clone());
            merged.push(Some(theirs));
            continue;
        };
        let name = names.get(position).cloned().unwrap_or_else(|| position.to_string());
        let like = like.and_then(|like| like.position(&name).map(|position| &*like.children()[position].structure));
        if let Some(mine) = merged[position].take() {
            merged[position] = Some(union(mine, theirs, like, &join(path, &name))?);
        }
    }
    let mut all: Vec<(String, Draft)> = Vec::new();
    let mut labels = names.into_iter();
    for child in merged.into_iter().flatten() {
        all.push((labels.next().unwrap_or_default(), child));
    }
    if let (true, Some(like)) = (named, like) {
        all.sort_by_key(|(name, _)| like.position(name).unwrap_or(usize::MAX));
    }
    let keeps_names = named || all.iter().any(|(name, _)| !name.is_empty());
    let (names, children): (Vec<String>, Vec<Draft>) = all.into_iter().unzip();
    Ok(Draft::Node { kind, tag, names: if keeps_names { names } else { Vec::new() }, children })
}

fn what(draft: &Draft) -> String {
    match draft {
        Draft::Leaf(_) => describe(Structure::leaf()),
        Draft::Node { kind: Kind::Sequence, children, .. } => format!("a sequence of {}", children.len()),
        Draft::Node { .. } => "a tree".into(),
    }
}
