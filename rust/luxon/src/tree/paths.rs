//! Trees from dotted paths, as files name what they hold.

use std::collections::HashMap;

use super::Tree;
use super::structure::{Draft, Kind, MAX_DEPTH, Structure};
use crate::error::{Error, Result};

/// A mapping under construction: names in the order of their first appearance.
#[derive(Default)]
struct Nest<'a> {
    places: HashMap<&'a str, usize>,
    names: Vec<&'a str>,
    children: Vec<Entry<'a>>,
}

enum Entry<'a> {
    Leaf(u32),
    Nest(Nest<'a>),
}

impl<'a> Nest<'a> {
    /// Puts a leaf at a path; false where something is there or on the way.
    fn put(&mut self, path: &'a str, leaf: u32) -> bool {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        match (self.places.get(name), rest) {
            (None, _) => {
                let child = match rest {
                    None => Entry::Leaf(leaf),
                    Some(rest) => {
                        let mut inner = Nest::default();
                        inner.put(rest, leaf);
                        Entry::Nest(inner)
                    }
                };
                self.places.insert(name, self.names.len());
                self.names.push(name);
                self.children.push(child);
                true
            }
            (Some(&place), Some(rest)) => match &mut self.children[place] {
                Entry::Nest(inner) => inner.put(rest, leaf),
                Entry::Leaf(_) => false,
            },
            (Some(_), None) => false,
        }
    }

    fn draft(self) -> Draft {
        let children = self.children.into_iter().map(|child| match child {
            Entry::Leaf(leaf) => Draft::Leaf(leaf),
            Entry::Nest(inner) => inner.draft(),
        });
        let names = self.names.iter().map(|name| name.to_string()).collect();
        Draft::Node { kind: Kind::Mapping, tag: 0, names, children: children.collect() }
    }
}

impl<L: Clone> Tree<L> {
    /// The mapping with these leaves at these dotted paths.
    ///
    /// ```
    /// use luxon::tree::Tree;
    /// let tree = Tree::from_paths([("layer_1.weight", 3), ("layer_1.bias", 1), ("scale", 7)])?;
    /// assert_eq!(tree.get("layer_1.bias")?.value(), Some(&1));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for a path that is listed twice, lies inside another, has an empty name, or is too deep.
    pub fn from_paths<'a>(leaves: impl IntoIterator<Item = (&'a str, L)>) -> Result<Tree<L>> {
        let (paths, leaves): (Vec<&str>, Vec<L>) = leaves.into_iter().unzip();
        let mut root = Nest::default();
        for (number, path) in paths.iter().enumerate() {
            let mut depth = 0;
            for name in path.split('.') {
                depth += 1;
                if name.is_empty() || depth > MAX_DEPTH {
                    let what = if name.is_empty() { "has an empty name" } else { "is too deep" };
                    return Err(Error::value("from_paths", format_args!("the path {path:?} {what}")));
                }
            }
            if !root.put(path, number as u32) {
                let what = "is listed twice, or lies inside another path";
                return Err(Error::value("from_paths", format_args!("{path:?} {what}")));
            }
        }
        let (structure, sources) = Structure::build(&root.draft())?;
        Tree::new(structure, sources.into_iter().map(|source| leaves[source as usize].clone()).collect())
    }
}
