//! The shape of a tree: names, nesting and ties, without the leaves.
//!
//! A [`Structure`] is interned: building the same one twice gives the same `Arc`, so equal structures
//! compare by pointer and flattening against one costs nothing. Leaves are numbered by *slot* in the
//! order in which they are first met, depth first; a *place* is a path. A tie is two places with one
//! slot, which makes it part of the structure and not of the values. A child numbers its own slots from
//! zero; its [`View`] says which slots of the parent those are: a range, or a table where a tie reaches
//! across children. Structures die with their last owner; the table of interned ones holds them weakly.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use smallvec::SmallVec;

use crate::error::{Error, Result};

/// Trees nest no deeper than this, so that walking them recursively is safe.
pub const MAX_DEPTH: u32 = 200;

/// What a node of a tree is.
///
/// ```
/// use luxon::tree::{Kind, Tree};
/// assert_eq!(Tree::leaf(1).structure().kind(), Kind::Leaf);
/// assert_eq!(Tree::sequence([Tree::leaf(1)])?.structure().kind(), Kind::Sequence);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One value.
    Leaf,
    /// Named children; two mappings correspond by name.
    Mapping,
    /// Children in order, named by position unless they have names; two sequences correspond by position.
    Sequence,
}

/// Which slots of a parent the slots of a child are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum View {
    /// Consecutive ones from here.
    Range(usize),
    /// Listed ones.
    Table(Arc<[u32]>),
}

impl View {
    /// The parent's slot for the child's slot.
    #[inline]
    pub fn at(&self, slot: usize) -> usize {
        match self {
            View::Range(start) => start + slot,
            View::Table(table) => table[slot] as usize,
        }
    }

    /// The view of a grandchild with `slots` slots whose view of the child is `inner`.
    pub(crate) fn through(&self, inner: &View, slots: usize) -> View {
        match (self, inner) {
            (View::Range(outer), View::Range(inner)) => View::Range(outer + inner),
            _ => View::of((0..slots).map(|slot| self.at(inner.at(slot)) as u32).collect()),
        }
    }

    fn of(table: Vec<u32>) -> View {
        let start = table.first().copied().unwrap_or(0);
        if table.iter().zip(start..).all(|(&slot, expected)| slot == expected) {
            View::Range(start as usize)
        } else {
            View::Table(table.into())
        }
    }
}

/// A child of a structure.
#[derive(Clone, Debug)]
#[doc(hidden)]
pub struct Child {
    /// Its own structure.
    pub structure: Arc<Structure>,
    /// Where its leaves are among the parent's.
    pub view: View,
}

/// Names, nesting and ties of a tree; see the module.
///
/// ```
/// use luxon::tree::Tree;
/// let tree = Tree::from_paths([("a.x", 1), ("a.y", 2), ("b", 3)])?;
/// assert_eq!(format!("{:?}", tree.structure()), "{a: {x: *, y: *}, b: *}");
/// # Ok::<(), luxon::Error>(())
/// ```
pub struct Structure {
    kind: Kind,
    tag: u32,
    hash: u64,
    slots: usize,
    places: usize,
    depth: u32,
    branches: bool,
    /// Empty for a sequence whose children go by position.
    names: Box<[Box<str>]>,
    children: Box<[Child]>,
    /// Open-addressed positions by name, for more names than a scan is good for.
    index: Box<[u32]>,
}

/// A structure in the making: leaves carry an identity, and equal identities are tied.
#[derive(Clone, Debug)]
#[doc(hidden)]
pub enum Draft {
    /// A leaf.
    Leaf(u32),
    /// A container.
    Node {
        /// Mapping or sequence.
        kind: Kind,
        /// What the container is to the caller; see [`Structure::tag`].
        tag: u32,
        /// The children's names; empty for a sequence by position.
        names: Vec<String>,
        /// The children.
        children: Vec<Draft>,
    },
}

/// Interned structures by hash. A bucket holds the few that share a hash, dead ones included until their
/// drop has removed them.
static INTERNED: LazyLock<Mutex<Interned>> = LazyLock::new(Default::default);

static LEAF: LazyLock<Arc<Structure>> = LazyLock::new(|| {
    Arc::new(Structure {
        kind: Kind::Leaf,
        tag: 0,
        hash: 1,
        slots: 1,
        places: 1,
        depth: 0,
        branches: false,
        names: Box::default(),
        children: Box::default(),
        index: Box::default(),
    })
});

/// More names than this are looked up through a table.
const SCANNED: usize = 8;

#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}

fn hash_text(text: &str) -> u64 {
    let mut hash = text.len() as u64;
    for chunk in text.as_bytes().chunks(8) {
        let mut word = [0u8; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    hash ^ hash >> 29
}

impl Structure {
    /// The structure of a lone leaf.
    #[inline]
    #[doc(hidden)]
    pub fn leaf() -> &'static Arc<Structure> {
        &LEAF
    }

    /// A container of the given children, with no tie across them.
    ///
    /// # Errors
    /// [`Error::Value`] for a mapping's name that occurs twice, and for nesting beyond [`MAX_DEPTH`].
    #[doc(hidden)]
    pub fn node(kind: Kind, tag: u32, names: &[&str], children: &[Arc<Structure>]) -> Result<Arc<Structure>> {
        let mut start = 0;
        let children = children.iter().map(|structure| {
            let child = Child { structure: Arc::clone(structure), view: View::Range(start) };
            start += structure.slots;
            child
        });
        let children: SmallVec<[Child; 8]> = children.collect();
        intern(kind, tag, names, children, start)
    }

    /// The structure that a draft describes, and the identities of its slots.
    ///
    /// # Errors
    /// As [`Structure::node`].
    #[doc(hidden)]
    pub fn build(draft: &Draft) -> Result<(Arc<Structure>, Vec<u32>)> {
        let Draft::Node { kind, tag, names, children } = draft else {
            let Draft::Leaf(identity) = draft else { return Ok((Arc::clone(Structure::leaf()), Vec::new())) };
            return Ok((Arc::clone(Structure::leaf()), vec![*identity]));
        };
        let mut identities: Vec<u32> = Vec::new();
        let mut slot_of: HashMap<u32, u32> = HashMap::new();
        let mut built: SmallVec<[Child; 8]> = SmallVec::new();
        for child in children {
            let (structure, inner) = Structure::build(child)?;
            let table = inner.into_iter().map(|identity| {
                *slot_of.entry(identity).or_insert_with(|| {
                    identities.push(identity);
                    identities.len() as u32 - 1
                })
            });
            built.push(Child { structure, view: View::of(table.collect()) });
        }
        let names: SmallVec<[&str; 8]> = names.iter().map(String::as_str).collect();
        Ok((intern(*kind, *tag, &names, built, identities.len())?, identities))
    }

    /// The draft of this structure whose places, in order, have the given identities.
    #[doc(hidden)]
    pub fn draft(&self, identities: &mut dyn Iterator<Item = u32>) -> Draft {
        if self.kind == Kind::Leaf {
            return Draft::Leaf(identities.next().unwrap_or(u32::MAX));
        }
        Draft::Node {
            kind: self.kind,
            tag: self.tag,
            names: self.names.iter().map(|name| name.to_string()).collect(),
            children: self.children.iter().map(|child| child.structure.draft(identities)).collect(),
        }
    }

    /// Leaf, mapping or sequence.
    ///
    /// ```
    /// use luxon::tree::{Kind, Tree};
    /// assert_eq!(Tree::from_paths([("a", 1)])?.structure().kind(), Kind::Mapping);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the container is to the caller: the core only keeps it and tells structures apart by it.
    #[inline]
    #[doc(hidden)]
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// Whether this is a lone leaf.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// assert!(Tree::leaf(1).structure().is_leaf());
    /// ```
    #[inline]
    pub fn is_leaf(&self) -> bool {
        self.kind == Kind::Leaf
    }

    /// The number of distinct leaves: a tied one counts once.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tied = Tree::from_paths([("a", 1), ("b", 2)])?.tie(&[vec!["a".into(), "b".into()]])?;
    /// assert_eq!((tied.structure().slots(), tied.structure().places()), (1, 2));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The number of paths that end in a leaf.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// assert_eq!(Tree::from_paths([("a", 1), ("b", 2)])?.structure().places(), 2);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn places(&self) -> usize {
        self.places
    }

    /// Whether two places share a slot.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("a", 1), ("b", 2)])?;
    /// assert!(!tree.structure().has_ties() && tree.tie(&[vec!["a".into(), "b".into()]])?.structure().has_ties());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn has_ties(&self) -> bool {
        self.places != self.slots
    }

    /// The levels of nesting; 0 for a leaf.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// assert_eq!(Tree::from_paths([("a.b.c", 1)])?.structure().depth(), 3);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Whether a child is more than a leaf.
    #[inline]
    #[doc(hidden)]
    pub fn has_branches(&self) -> bool {
        self.branches
    }

    /// The children in order.
    #[inline]
    #[doc(hidden)]
    pub fn children(&self) -> &[Child] {
        &self.children
    }

    /// Whether the children have names of their own (a sequence's may go by position).
    #[inline]
    #[doc(hidden)]
    pub fn is_named(&self) -> bool {
        !self.names.is_empty()
    }

    /// The names of the children; empty where they go by position.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// assert_eq!(*Tree::from_paths([("a", 1), ("b", 2)])?.structure().names(), ["a".into(), "b".into()]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// The name of a child, its position where it has no other.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// assert_eq!(Tree::sequence([Tree::leaf(1)])?.structure().name(0), "0");
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn name(&self, position: usize) -> String {
        self.names.get(position).map_or_else(|| position.to_string(), |name| name.to_string())
    }

    /// The position of the child called `name`.
    #[inline]
    #[doc(hidden)]
    pub fn position(&self, name: &str) -> Option<usize> {
        if self.names.is_empty() {
            let position = name.parse::<usize>().ok().filter(|&position| position < self.children.len())?;
            return (name.len() == 1 || !name.starts_with(['0', '+'])).then_some(position);
        }
        if self.index.is_empty() {
            return self.names.iter().position(|known| &**known == name);
        }
        let mask = self.index.len() - 1;
        let mut entry = hash_text(name) as usize & mask;
        loop {
            match self.index[entry] {
                u32::MAX => return None,
                position if &*self.names[position as usize] == name => return Some(position as usize),
                _ => entry = (entry + 1) & mask,
            }
        }
    }

    /// The part at a dotted path and where its leaves are; the empty path is the whole.
    #[doc(hidden)]
    pub fn find(self: &Arc<Structure>, path: &str) -> Option<(Arc<Structure>, View)> {
        let mut found = (self, View::Range(0));
        if !path.is_empty() {
            for name in path.split('.') {
                let child = &found.0.children[found.0.position(name)?];
                found = (&child.structure, found.1.through(&child.view, child.structure.slots));
            }
        }
        Some((Arc::clone(found.0), found.1))
    }

    /// Every place with its slot, in order.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("a.x", 1), ("b", 2)])?;
    /// assert_eq!(tree.structure().paths(), [("a.x".to_string(), 0), ("b".to_string(), 1)]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn paths(&self) -> Vec<(String, usize)> {
        let mut all = Vec::with_capacity(self.places);
        self.collect(&mut String::new(), &View::Range(0), &mut all);
        all
    }

    fn collect(&self, path: &mut String, view: &View, all: &mut Vec<(String, usize)>) {
        if self.is_leaf() {
            all.push((path.clone(), view.at(0)));
            return;
        }
        let length = path.len();
        for (position, child) in self.children.iter().enumerate() {
            if length > 0 {
                path.push('.');
            }
            match self.names.get(position) {
                Some(name) => path.push_str(name),
                None => path.push_str(&position.to_string()),
            }
            child.structure.collect(path, &view.through(&child.view, child.structure.slots), all);
            path.truncate(length);
        }
    }

    /// Every path that names something: containers and leaves, the root left out.
    #[doc(hidden)]
    pub fn all_paths(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut pending = vec![(self, String::new())];
        while let Some((structure, path)) = pending.pop() {
            let children = structure.children.iter().enumerate().map(|(position, child)| {
                let name = structure.name(position);
                (&*child.structure, if path.is_empty() { name } else { format!("{path}.{name}") })
            });
            pending.extend(children.rev());
            if !path.is_empty() {
                all.push(path);
            }
        }
        all
    }

    /// The first place of a slot.
    #[doc(hidden)]
    pub fn path_of(&self, slot: usize) -> String {
        self.paths().into_iter().find(|&(_, known)| known == slot).map(|(path, _)| path).unwrap_or_default()
    }

    /// The slots of all places, in order.
    #[doc(hidden)]
    pub fn place_slots(&self) -> Vec<u32> {
        if !self.has_ties() {
            return (0..self.slots as u32).collect();
        }
        self.paths().into_iter().map(|(_, slot)| slot as u32).collect()
    }
}

/// The interned structure with these parts.
fn intern(
    kind: Kind,
    tag: u32,
    names: &[&str],
    children: SmallVec<[Child; 8]>,
    slots: usize,
) -> Result<Arc<Structure>> {
    let mut hash = mix(mix(names.len() as u64, kind as u64 + 2), u64::from(tag));
    for name in names {
        hash = mix(hash, hash_text(name));
    }
    for child in &children {
        hash = mix(hash, Arc::as_ptr(&child.structure) as u64);
        match &child.view {
            View::Range(start) => hash = mix(hash, *start as u64),
            View::Table(table) => hash = table.iter().fold(hash, |hash, &slot| mix(hash, u64::from(slot) + 7)),
        }
    }
    let same = |known: &Structure| {
        known.kind == kind
            && known.tag == tag
            && known.names.len() == names.len()
            && known.children.len() == children.len()
            && known.names.iter().zip(names).all(|(left, right)| **left == **right)
            && known
                .children
                .iter()
                .zip(&children)
                .all(|(left, right)| Arc::ptr_eq(&left.structure, &right.structure) && left.view == right.view)
    };
    let candidates = living(&table(), hash);
    if let Some(known) = candidates.into_iter().find(|known| same(known)) {
        return Ok(known);
    }
    let fresh = Arc::new(fresh(kind, tag, names, &children, slots, hash)?);
    let mut table = table();
    let candidates = living(&table, hash);
    let faster = candidates.iter().find(|known| same(known)).cloned();
    if faster.is_none() {
        table.entry(hash).or_default().push(Arc::downgrade(&fresh));
    }
    drop(table);
    Ok(faster.unwrap_or(fresh))
}

type Interned = HashMap<u64, SmallVec<[Weak<Structure>; 1]>>;

fn table() -> MutexGuard<'static, Interned> {
    INTERNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The structures of this hash. They are to be dropped without the lock: the drop of a last owner takes it.
fn living(table: &Interned, hash: u64) -> SmallVec<[Arc<Structure>; 1]> {
    table.get(&hash).into_iter().flatten().filter_map(Weak::upgrade).collect()
}

#[cold]
fn fresh(kind: Kind, tag: u32, names: &[&str], children: &[Child], slots: usize, hash: u64) -> Result<Structure> {
    let depth = 1 + children.iter().map(|child| child.structure.depth).max().unwrap_or(0);
    if depth > MAX_DEPTH {
        return Err(Error::Value(format!("tree: nested more than {MAX_DEPTH} levels deep")));
    }
    if !names.is_empty() && names.len() != children.len() {
        return Err(Error::Value(format!("tree: {} names for {} children", names.len(), children.len())));
    }
    let mut index: Box<[u32]> = Box::default();
    if names.len() > SCANNED {
        let mask = (names.len() * 2).next_power_of_two() - 1;
        index = vec![u32::MAX; mask + 1].into();
        for (position, name) in names.iter().enumerate() {
            let mut entry = hash_text(name) as usize & mask;
            while index[entry] != u32::MAX {
                if names[index[entry] as usize] == *name {
                    return Err(twice(name));
                }
                entry = (entry + 1) & mask;
            }
            index[entry] = position as u32;
        }
    } else if let Some((_, name)) = names.iter().enumerate().find(|(position, name)| names[..*position].contains(name))
    {
        return Err(twice(name));
    }
    Ok(Structure {
        kind,
        tag,
        hash,
        slots,
        places: children.iter().map(|child| child.structure.places).sum(),
        depth,
        branches: children.iter().any(|child| !child.structure.is_leaf()),
        names: names.iter().map(|name| Box::from(*name)).collect(),
        children: children.into(),
        index,
    })
}

#[cold]
fn twice(name: &str) -> Error {
    Error::Value(format!("tree: the name {name:?} occurs twice"))
}

impl Drop for Structure {
    fn drop(&mut self) {
        if self.kind == Kind::Leaf {
            return;
        }
        let mut table = INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = table.get_mut(&self.hash) {
            bucket.retain(|known| known.strong_count() > 0);
            if bucket.is_empty() {
                table.remove(&self.hash);
            }
        }
    }
}

impl fmt::Debug for Structure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = &mut Vec::new();
        show(self, &View::Range(0), seen, out)
    }
}

/// `{a: *, b: (*, *), c: =a}`: a star is a leaf, `=` marks the further places of a tie.
fn show(structure: &Structure, view: &View, seen: &mut Vec<usize>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    if structure.is_leaf() {
        let slot = view.at(0);
        return match seen.contains(&slot) {
            true => write!(out, "={slot}"),
            false => {
                seen.push(slot);
                out.write_str("*")
            }
        };
    }
    let (open, close) = if structure.kind == Kind::Mapping { ("{", "}") } else { ("(", ")") };
    out.write_str(open)?;
    for (position, child) in structure.children.iter().enumerate() {
        if position > 0 {
            out.write_str(", ")?;
        }
        if let Some(name) = structure.names.get(position) {
            write!(out, "{name}: ")?;
        }
        show(&child.structure, &view.through(&child.view, child.structure.slots), seen, out)?;
    }
    out.write_str(close)
}
