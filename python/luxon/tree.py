"""Functions over trees: nests of names to leaves, such as parameters, states and gradients.

A tree is a `luxon.Tree` or any nest of dict, list, tuple and namedtuple; all of them are accepted
everywhere, and a result has the types of the first tree. Everything else is a leaf, `None` included. Two
trees correspond when their mappings have the same names, in any order, and their sequences the same
lengths.

A `luxon.Tree` is immutable all the way down: dicts inside it become Trees and lists tuples; tuples and
namedtuples keep their type. Paths are dotted names (`encoder.layer_2.weight`), positions in a sequence
count as names, the fields of a namedtuple go by theirs. A leaf may be tied to several places: then every
function here sees it once, and whatever becomes of it is at all of its places.

A pattern stands for paths: `*` for any part of one name, `**` for any number of names, `[0-12]` for a
number, `[abc]` for a character, `{a,b}` for either. A pattern that stands for a subtree covers all of it.

JAX, optree and PyTorch know a Tree as soon as they are imported: one node, with the leaves that `leaves` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from luxon import _core
from luxon._core import Structure, Tree

__all__ = [
    "Structure",
    "Tree",
    "all_close",
    "cast",
    "count",
    "flatten",
    "from_paths",
    "leaves",
    "map",
    "map_with_path",
    "match",
    "merge",
    "partition",
    "paths",
    "size",
    "structure",
    "tie",
    "ties",
    "unflatten",
    "untie",
]


def map(function: Callable[..., Any], tree: Any, /, *rest: Any) -> Any:
    """`function` on every leaf, and on the leaves at the same place of the other trees.

    A tied leaf is passed once, and its result is at all its places; of the other trees it gets the leaf at
    its first place. Where every result is the leaf itself, a Tree is returned as it is.

    Raises:
        ValueError: the structures differ; the missing, extra and differing paths are named.

    Example:
        >>> from luxon import tree
        >>> tree.map(lambda a, b: a + b, {"x": 1, "y": [2, 3]}, {"x": 10, "y": [20, 30]})
        {'x': 11, 'y': [22, 33]}
    """
    return _core.tree_map(function, tree, *rest)


def map_with_path(function: Callable[..., Any], tree: Any, /, *rest: Any) -> Any:
    """Like `map`, with the leaf's (first) path as the first argument.

    Raises:
        ValueError: the structures differ.

    Example:
        >>> from luxon import tree
        >>> tree.map_with_path(lambda path, leaf: f"{path}={leaf}", {"x": 1, "y": [2]})
        {'x': 'x=1', 'y': ['y.0=2']}
    """
    return _core.tree_map_with_path(function, tree, *rest)


def leaves(tree: Any) -> list[Any]:
    """The leaves in order, a tied one once.

    Example:
        >>> from luxon import tree
        >>> tree.leaves({"x": 1, "y": (2, None)})
        [1, 2, None]
    """
    return _core.tree_leaves(tree)


def paths(tree: Any, unique: bool = False) -> list[str]:
    """The path of every leaf; a tied one at each of its places, or with `unique` at its first only.

    With `unique` the paths go along with `leaves(tree)`.

    Example:
        >>> from luxon import tree
        >>> tree.paths({"x": 1, "y": (2, 3)})
        ['x', 'y.0', 'y.1']
    """
    return _core.tree_paths(tree, unique)


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves, a tied one once, and the structure that puts them together again.

    Example:
        >>> from luxon import tree
        >>> values, structure = tree.flatten({"x": 1, "y": [2, 3]})
        >>> tree.unflatten(structure, [v * 10 for v in values])
        {'x': 10, 'y': [20, 30]}
    """
    return _core.tree_flatten(tree)


def unflatten(structure: Structure, leaves: Iterable[Any]) -> Any:
    """The tree of this structure with these leaves, as `flatten` gave them.

    Raises:
        ValueError: there are more or fewer leaves than the structure has.
    """
    return _core.tree_unflatten(structure, leaves)


def structure(tree: Any) -> Structure:
    """Names, nesting and ties, without the leaves. Equal structures are equal and hash alike.

    Example:
        >>> from luxon import tree
        >>> tree.structure({"x": 1}) == tree.structure({"x": 2})
        True
    """
    return _core.tree_structure(tree)


def all_close(left: Any, right: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether all numbers and arrays satisfy `|left - right| <= atol + rtol * |right|`, computed in
    float64, and all other leaves are equal. NaN is close to nothing.

    Raises:
        ValueError: the structures differ.

    Example:
        >>> from luxon import tree
        >>> tree.all_close({"x": 1.0}, {"x": 1.0 + 1e-7})
        True
    """
    return _core.tree_all_close(left, right, rtol, atol)


def count(tree: Any) -> int:
    """The number of leaves, a tied one counted once.

    Example:
        >>> from luxon import tree
        >>> tree.count({"x": 1, "y": (2, 3)})
        3
    """
    return _core.tree_count(tree)


def size(tree: Any) -> int:
    """The number of elements in all tensors and arrays, those of a tied leaf counted once.

    Example:
        >>> import numpy as np
        >>> from luxon import tree
        >>> tree.size({"x": np.zeros((2, 3)), "step": 1})
        6
    """
    return _core.tree_size(tree)


def cast(tree: Any, dtype: Any) -> Any:
    """Floating tensors and arrays as tensors of `dtype`; every other leaf as it is. Ties are kept.

    Example:
        >>> import luxon as lx
        >>> from luxon import tree
        >>> tree.cast({"x": lx.ones(2), "n": lx.arange(2)}, "float64")["x"].dtype
        dtype('float64')
    """
    return _core.tree_cast(tree, dtype)


def from_paths(mapping: Mapping[str, Any]) -> Tree:
    """The Tree with these leaves (or subtrees) at these dotted paths.

    Raises:
        ValueError: a path is listed twice, or lies inside another.

    Example:
        >>> from luxon import tree
        >>> tree.from_paths({"a.weight": 1, "a.bias": 2}).a.bias
        2
    """
    return _core.tree_from_paths(mapping)


def match(tree: Any, patterns: str | Iterable[str]) -> list[str]:
    """The paths of the leaves that the patterns cover, in the tree's order.

    Raises:
        ValueError: a pattern matches nothing; the nearest paths are named.

    Example:
        >>> from luxon import tree
        >>> tree.match({"layer_1": {"w": 1, "b": 2}, "layer_2": {"w": 3}}, "**.w")
        ['layer_1.w', 'layer_2.w']
    """
    return _core.tree_match(tree, patterns)


def partition(tree: Any, which: str | Iterable[str] | Callable[[str, Any], bool]) -> tuple[Tree, Tree]:
    """The leaves that patterns (or a function of path and leaf) choose, and the others, as two Trees.

    Both keep the nesting; a child without leaves on a side is an empty Tree there.

    Raises:
        ValueError: a pattern matches nothing, or a tie or a sequence would be on both sides.

    Example:
        >>> from luxon import tree
        >>> chosen, rest = tree.partition({"a": {"w": 1, "b": 2}, "c": 3}, ["a.w", "c"])
        >>> tree.paths(chosen), tree.paths(rest)
        (['a.w', 'c'], ['a.b'])
    """
    return _core.tree_partition(tree, which)


def merge(left: Any, right: Any, like: Any = None) -> Tree:
    """Both trees in one Tree: the inverse of `partition`. `like`, a tree or a structure, gives the order.

    Raises:
        ValueError: both trees have a leaf at the same place, or parts that do not go together.

    Example:
        >>> from luxon import tree
        >>> tree.paths(tree.merge({"a": {"w": 1}}, {"a": {"b": 2}}))
        ['a.w', 'a.b']
    """
    return _core.tree_merge(left, right, like)


def tie(tree: Any, sharing: Iterable[Sequence[str]], values: Iterable[Any] | None = None) -> Tree:
    """The Tree in which each list's places (leaves or subtrees) are one.

    Their value is the first place's, or the list's entry of `values`. A place that was tied before brings
    its partners along.

    Raises:
        KeyError: a path is nowhere; the nearest paths are named.
        ValueError: paths overlap, places differ in structure, shape or dtype, or `values` has another length.

    Example:
        >>> from luxon import Tree, tree
        >>> t = tree.tie(Tree(a=Tree(w=1), b=Tree(w=2)), [["a.w", "b.w"]])
        >>> t.b.w, tree.count(t)
        (1, 1)
    """
    return _core.tree_tie(tree, sharing, values)


def ties(tree: Any) -> list[list[str]]:
    """The groups of paths that share a leaf.

    Example:
        >>> from luxon import Tree, tree
        >>> tree.ties(tree.tie(Tree(a=1, b=2), [["a", "b"]]))
        [['a', 'b']]
    """
    return _core.tree_ties(tree)


def untie(tree: Any) -> Any:
    """The tree with a leaf of its own at every place (the leaves are the same objects).

    Example:
        >>> from luxon import Tree, tree
        >>> tree.count(tree.untie(tree.tie(Tree(a=1, b=2), [["a", "b"]])))
        2
    """
    return _core.tree_untie(tree)
