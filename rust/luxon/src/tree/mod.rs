//! Trees: nested, named containers of leaves, with ties.
//!
//! A [`Tree`] is an interned [`Structure`] and a shared vector of leaves, one entry a slot. Everything
//! about names is in the structure, so mapping over leaves touches no name, trees of equal structure are
//! walked side by side without a look-up, and a part of a tree shares its leaves with the whole: taking
//! it costs a reference count, and keeps the whole's leaves alive.
//!
//! ```
//! use luxon::tree::Tree;
//! let layer = Tree::mapping([("weight", Tree::leaf(3)), ("bias", Tree::leaf(1))])?;
//! let model = Tree::mapping([("layer_1", layer.clone()), ("layer_2", layer)])?;
//! assert_eq!(model.get("layer_2.bias")?.value(), Some(&1));
//! let tied = model.tie(&[vec!["layer_1.weight".into(), "layer_2.weight".into()]])?;
//! assert_eq!(tied.map(|size| size * 2).leaves().sum::<i32>(), 10);
//! # Ok::<(), luxon::Error>(())
//! ```

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

#[doc(hidden)]
pub mod align;
#[doc(hidden)]
pub mod edit;
mod gradient;
mod paths;
#[doc(hidden)]
pub mod pattern;
#[doc(hidden)]
pub mod structure;

#[doc(hidden)]
pub use align::{Alignment, Mismatch, align};
#[doc(hidden)]
pub use edit::no_path;
pub use pattern::Pattern;
#[doc(hidden)]
pub use pattern::{near, nearest};
#[doc(hidden)]
pub use structure::{Child, Draft, View};
pub use structure::{Kind, MAX_DEPTH, Structure};

/// A nest of named leaves; see the module.
///
/// ```
/// use luxon::tree::Tree;
/// let layer = Tree::mapping([("weight", Tree::leaf(3)), ("bias", Tree::leaf(1))])?;
/// let model = Tree::mapping([("layer_1", layer.clone()), ("layer_2", layer)])?;
/// assert_eq!(format!("{:?}", model.structure()), "{layer_1: {weight: *, bias: *}, layer_2: {weight: *, bias: *}}");
/// # Ok::<(), luxon::Error>(())
/// ```
pub struct Tree<L> {
    structure: Arc<Structure>,
    leaves: Arc<[L]>,
    view: View,
}

impl<L> Clone for Tree<L> {
    fn clone(&self) -> Tree<L> {
        Tree { structure: Arc::clone(&self.structure), leaves: Arc::clone(&self.leaves), view: self.view.clone() }
    }
}

/// Paths and leaves.
impl<L: fmt::Debug> fmt::Debug for Tree<L> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.places()).finish()
    }
}

impl<L> Tree<L> {
    /// The tree of these leaves, one a slot.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// use std::sync::Arc;
    /// let tree = Tree::sequence([Tree::leaf(1), Tree::leaf(2)])?;
    /// let squares = Tree::new(Arc::clone(tree.structure()), vec![1, 4])?;
    /// assert_eq!(squares.get("1")?.value(), Some(&4));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where their number is not that of the slots.
    pub fn new(structure: Arc<Structure>, leaves: Vec<L>) -> Result<Tree<L>> {
        if structure.slots() != leaves.len() {
            return Err(Error::Value(format!(
                "tree: {} leaves for a structure of {}",
                leaves.len(),
                structure.slots()
            )));
        }
        Ok(Tree { structure, leaves: leaves.into(), view: View::Range(0) })
    }

    /// A lone leaf.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// assert_eq!(Tree::leaf("a").value(), Some(&"a"));
    /// ```
    pub fn leaf(value: L) -> Tree<L> {
        Tree { structure: Arc::clone(Structure::leaf()), leaves: Arc::new([value]), view: View::Range(0) }
    }

    /// Names, nesting and ties.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let (a, b) = (Tree::sequence([Tree::leaf(1)])?, Tree::sequence([Tree::leaf("x")])?);
    /// assert!(std::sync::Arc::ptr_eq(a.structure(), b.structure())); // Equal structures are one.
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn structure(&self) -> &Arc<Structure> {
        &self.structure
    }

    /// The leaf of a slot.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// assert_eq!(Tree::sequence([Tree::leaf(5), Tree::leaf(6)])?.at(1), &6);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn at(&self, slot: usize) -> &L {
        &self.leaves[self.view.at(slot)]
    }

    /// The leaves, each once, by slot.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("a.x", 1), ("a.y", 2), ("b", 3)])?;
    /// assert_eq!(tree.leaves().sum::<i32>(), 6);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn leaves(&self) -> impl ExactSizeIterator<Item = &L> + '_ {
        (0..self.structure.slots()).map(|slot| self.at(slot))
    }

    /// The leaves by slot, to be changed in place; none where another tree shares them or holds more of them.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let mut tree = Tree::from_paths([("a", 1), ("b", 2)])?;
    /// if let Some(leaves) = tree.leaves_mut() {
    ///     leaves[0] = 10;
    /// }
    /// assert_eq!(tree.get("a")?.value(), Some(&10));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn leaves_mut(&mut self) -> Option<&mut [L]> {
        if self.view != View::Range(0) || self.leaves.len() != self.structure.slots() {
            return None;
        }
        Arc::get_mut(&mut self.leaves)
    }

    /// The leaves with their paths, a tied one at each of its places.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("a.x", 1), ("b", 2)])?;
    /// assert!(tree.places().eq([("a.x".to_string(), &1), ("b".to_string(), &2)]));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn places(&self) -> impl Iterator<Item = (String, &L)> + '_ {
        self.structure.paths().into_iter().map(|(path, slot)| (path, self.at(slot)))
    }

    /// The value, if this is a lone leaf.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("a", 1)])?;
    /// assert!(tree.value().is_none() && tree.get("a")?.value() == Some(&1));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn value(&self) -> Option<&L> {
        self.structure.is_leaf().then(|| self.at(0))
    }

    /// The child at a position.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("a", 1), ("b", 2)])?;
    /// assert_eq!(tree.child(1).and_then(|b| b.value().copied()), Some(2));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn child(&self, position: usize) -> Option<Tree<L>> {
        let child = self.structure.children().get(position)?;
        Some(Tree {
            structure: Arc::clone(&child.structure),
            leaves: Arc::clone(&self.leaves),
            view: self.view.through(&child.view, child.structure.slots()),
        })
    }

    /// The part at a dotted path, if there is one.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("a.x", 1)])?;
    /// assert!(tree.find("a.x").is_some() && tree.find("a.y").is_none());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn find(&self, path: &str) -> Option<Tree<L>> {
        let (structure, view) = self.structure.find(path)?;
        let view = self.view.through(&view, structure.slots());
        Some(Tree { structure, leaves: Arc::clone(&self.leaves), view })
    }

    /// The part at a dotted path.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("layer_1.weight", 1)])?;
    /// assert_eq!(tree.get("layer_1")?.get("weight")?.value(), Some(&1));
    /// assert!(tree.get("layer_1.wieght").unwrap_err().to_string().contains("layer_1.weight"));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] that lists the nearest paths.
    pub fn get(&self, path: &str) -> Result<Tree<L>> {
        self.find(path).ok_or_else(|| no_path(&self.structure, path))
    }

    /// The same structure with each leaf put through `function` once.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let lengths = Tree::from_paths([("a", "one"), ("b", "three")])?.map(|text| text.len());
    /// assert_eq!(lengths.get("b")?.value(), Some(&5));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn map<M>(&self, function: impl FnMut(&L) -> M) -> Tree<M> {
        let leaves = self.leaves().map(function).collect();
        Tree { structure: Arc::clone(&self.structure), leaves, view: View::Range(0) }
    }

    /// Like [`Tree::map`], ended by the first error.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("a", "1"), ("b", "two")])?;
    /// assert!(tree.try_map(|text| text.parse::<i32>()).is_err());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn try_map<M, E>(
        &self,
        function: impl FnMut(&L) -> std::result::Result<M, E>,
    ) -> std::result::Result<Tree<M>, E> {
        let leaves = self.leaves().map(function).collect::<std::result::Result<_, E>>()?;
        Ok(Tree { structure: Arc::clone(&self.structure), leaves, view: View::Range(0) })
    }

    /// Each leaf with the one at the same place of `other`, put through `function` once.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let (a, b) = (Tree::from_paths([("x", 1), ("y", 2)])?, Tree::from_paths([("y", 20), ("x", 10)])?);
    /// let sums = a.zip_map(&b, |a, b| Ok(a + b))?; // By name.
    /// assert_eq!(sums.get("y")?.value(), Some(&22));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] naming missing, extra and differing paths, and the function's own.
    pub fn zip_map<M, N>(&self, other: &Tree<M>, mut function: impl FnMut(&L, &M) -> Result<N>) -> Result<Tree<N>> {
        let alignment = align(&self.structure, &other.structure)
            .map_err(|mismatch| Error::Value(format!("the structures of the trees differ: {mismatch}")))?;
        let leaves = self.leaves().enumerate().map(|(slot, leaf)| function(leaf, other.at(alignment.at(slot))));
        let leaves = leaves.collect::<Result<_>>()?;
        Ok(Tree { structure: Arc::clone(&self.structure), leaves, view: View::Range(0) })
    }
}

impl<L: Clone> Tree<L> {
    /// A mapping of names to trees.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::mapping([("weight", Tree::leaf(3)), ("bias", Tree::leaf(1))])?;
    /// assert_eq!(tree.get("bias")?.value(), Some(&1));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for a name that occurs twice, contains a dot or is empty, and for nesting too deep.
    pub fn mapping<'a>(children: impl IntoIterator<Item = (&'a str, Tree<L>)>) -> Result<Tree<L>> {
        let (names, children): (Vec<&str>, Vec<Tree<L>>) = children.into_iter().unzip();
        if let Some(name) = names.iter().find(|name| name.is_empty() || name.contains('.')) {
            return Err(Error::Value(format!("tree: {name:?} cannot be a name: names are not empty and have no dot")));
        }
        Tree::container(Kind::Mapping, 0, &names, &children)
    }

    /// A sequence of trees, named by position.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// assert_eq!(Tree::sequence([Tree::leaf(5), Tree::leaf(6)])?.get("1")?.value(), Some(&6));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for nesting too deep.
    pub fn sequence(children: impl IntoIterator<Item = Tree<L>>) -> Result<Tree<L>> {
        Tree::container(Kind::Sequence, 0, &[], &children.into_iter().collect::<Vec<_>>())
    }

    fn container(kind: Kind, tag: u32, names: &[&str], children: &[Tree<L>]) -> Result<Tree<L>> {
        let structures: Vec<Arc<Structure>> = children.iter().map(|child| Arc::clone(&child.structure)).collect();
        let structure = Structure::node(kind, tag, names, &structures)?;
        Tree::new(structure, children.iter().flat_map(Tree::leaves).cloned().collect())
    }

    fn edited(&self, (structure, sources): edit::Edited) -> Tree<L> {
        let leaves = sources.into_iter().map(|slot| self.at(slot as usize).clone()).collect();
        Tree { structure, leaves, view: View::Range(0) }
    }

    /// The tree with other parts at the given paths. What has the structure that it replaces goes into
    /// the slots, so that tied places follow; anything else takes the place of what was there, and places
    /// that were tied to it keep their leaf.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("a.x", 1), ("b", 2)])?;
    /// let other = tree.replace(&[("a.x", Tree::leaf(10))])?;
    /// assert_eq!((tree.get("a.x")?.value(), other.get("a.x")?.value()), (Some(&1), Some(&10)));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for a path that does not exist.
    pub fn replace(&self, parts: &[(&str, Tree<L>)]) -> Result<Tree<L>> {
        let mut leaves: Vec<L> = self.leaves().cloned().collect();
        let mut draft = None;
        for (path, part) in parts {
            let (structure, view) = self.structure.find(path).ok_or_else(|| no_path(&self.structure, path))?;
            if Arc::ptr_eq(&structure, &part.structure) {
                part.leaves().enumerate().for_each(|(slot, leaf)| leaves[view.at(slot)] = leaf.clone());
                continue;
            }
            let draft =
                draft.get_or_insert_with(|| self.structure.draft(&mut self.structure.place_slots().into_iter()));
            let offset = leaves.len() as u32;
            let fresh = part.structure.draft(&mut part.structure.place_slots().into_iter().map(|slot| slot + offset));
            leaves.extend(part.leaves().cloned());
            match draft.at(path) {
                Some(place) => *place = fresh,
                None => return Err(no_path(&self.structure, path)),
            }
        }
        let Some(draft) = draft else { return Tree::new(Arc::clone(&self.structure), leaves) };
        let (structure, sources) = Structure::build(&draft)?;
        Tree::new(structure, sources.into_iter().map(|slot| leaves[slot as usize].clone()).collect())
    }

    /// Ties each group of paths to its first; see [`edit::tie`].
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("embed", 1), ("head", 2)])?;
    /// let tied = tree.tie(&[vec!["embed".into(), "head".into()]])?;
    /// assert!(tied.leaves().len() == 1 && tied.get("head")?.value() == Some(&1));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`edit::tie`].
    pub fn tie(&self, groups: &[Vec<String>]) -> Result<Tree<L>> {
        Ok(self.edited(edit::tie(&self.structure, groups)?))
    }

    /// Gives every place a leaf of its own.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tied = Tree::from_paths([("a", 1), ("b", 2)])?.tie(&[vec!["a".into(), "b".into()]])?;
    /// assert_eq!(tied.untie()?.leaves().len(), 2);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// None in practice: the structure exists already.
    pub fn untie(&self) -> Result<Tree<L>> {
        Ok(self.edited(edit::untie(&self.structure)?))
    }

    /// The places for which `choose` holds, and the others; see [`edit::partition`].
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("a.weight", 1), ("a.bias", 2)])?;
    /// let (biases, others) = tree.partition(|path, _| path.ends_with("bias"))?;
    /// assert!(biases.leaves().eq(&[2]) && others.leaves().eq(&[1]));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`edit::partition`].
    pub fn partition(&self, mut choose: impl FnMut(&str, &L) -> bool) -> Result<(Tree<L>, Tree<L>)> {
        let chosen: Vec<bool> = self.places().map(|(path, leaf)| choose(&path, leaf)).collect();
        let (taken, left) = edit::partition(&self.structure, &chosen)?;
        Ok((self.edited(taken), self.edited(left)))
    }

    /// Both trees in one; see [`edit::merge`].
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let (a, b) = (Tree::from_paths([("x.a", 1)])?, Tree::from_paths([("x.b", 2)])?);
    /// assert_eq!(a.merge(&b, None)?.leaves().sum::<i32>(), 3);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`edit::merge`].
    pub fn merge(&self, other: &Tree<L>, like: Option<&Arc<Structure>>) -> Result<Tree<L>> {
        let merge = edit::merge(&self.structure, &other.structure, like)?;
        let leaf =
            |&(second, slot): &(bool, u32)| if second { other.at(slot as usize) } else { self.at(slot as usize) };
        let leaves = merge.sources.iter().map(|source| leaf(source).clone()).collect();
        Ok(Tree { structure: Arc::clone(&merge.structure), leaves, view: View::Range(0) })
    }
}

impl Draft {
    /// The part at a dotted path; the empty path is the whole.
    fn at(&mut self, path: &str) -> Option<&mut Draft> {
        let mut place = self;
        for name in path.split('.').filter(|name| !name.is_empty()) {
            let Draft::Node { names, children, .. } = place else { return None };
            let position = match names.is_empty() {
                true => name.parse().ok()?,
                false => names.iter().position(|known| known == name)?,
            };
            place = children.get_mut(position)?;
        }
        Some(place)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
