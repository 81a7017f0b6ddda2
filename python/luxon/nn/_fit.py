"""Whether trees fit a layer, and what to say where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import tree
from .._core import Tensor
from ._layer import (
    Layer,
    Params,
    States,
    abstract_parameters,
    abstract_states,
    nest_items,
    parameter_structure,
)

SHOWN = 8
"""How many paths a message lists."""


def check_parameters(model: Layer, ps: Params, subject: str = "the parameters do not fit the model") -> None:
    """Refuses parameters whose paths or shapes are not those of the model; ties and dtypes are free.

    Raises:
        TypeError: no tree.
        ValueError: naming the missing and the extra paths, or the shapes that differ.
    """
    _check_tree(ps, "parameters")
    wanted = parameter_structure(model)
    if wanted is None:
        return  # A size is still open.
    same = tree.structure(ps) == wanted
    if not same:
        missing, extra = _difference(tree.unflatten(wanted, range(len(wanted))), ps)
        if missing or extra:
            raise ValueError(f"{subject}: {_listed(missing, extra)}{_swapped(model, ps)}")
    try:
        expected = abstract_parameters(model)
    except ValueError:
        return
    leaves = tree.leaves(ps)
    if not same:  # Names in another order, or ties.
        at = dict(zip(tree.paths(ps), tree.leaves(tree.untie(ps)), strict=True))
        leaves = [at[path] for path in tree.paths(expected, unique=True)]
    differing = [
        place
        for place, (given, leaf) in enumerate(zip(leaves, tree.leaves(expected), strict=True))
        if isinstance(given, Tensor) and isinstance(leaf, Tensor) and given.shape != leaf.shape
    ]
    if differing:
        paths, wants = tree.paths(expected, unique=True), tree.leaves(expected)
        listed = [
            f"{paths[place]} has shape {tuple(leaves[place].shape)}, expected {tuple(wants[place].shape)}"
            for place in differing[:SHOWN]
        ]
        more = f"; and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise ValueError(f"{subject}: {'; '.join(listed)}{more}")


def check_states(model: Layer, st: States, subject: str = "the states do not fit the model") -> None:
    """Refuses states whose paths are not those of the model.

    What starts as None or as an empty entry below the root, such as a carry, may hold anything.

    Raises:
        TypeError: no tree.
        ValueError: naming the missing and the extra paths.
    """
    _check_tree(st, "states")
    try:
        wanted = abstract_states(model)
    except ValueError:
        return
    if tree.structure(st) == tree.structure(wanted):
        return
    missing, extra = _difference(wanted, st, open_entries=True)
    if missing or extra:
        raise ValueError(f"{subject}: {_listed(missing, extra)}")


def explain(error: Exception, layer: Layer, name: str, ps: Params, st: States) -> None:
    """Raises what is wrong with the trees of a container, where that is why its child `name` failed.

    Called while `error` is handled; where the trees have the entry, it returns.
    """
    for trees, check in ((ps, check_parameters), (st, check_states)):
        if not isinstance(trees, Mapping) or name not in trees:
            what = "parameters" if trees is ps else "states"
            check(layer, trees, f"the {what} do not fit {layer.describe()}")


def path_difference(wanted: Any, given: Any) -> str:
    """The paths that `given` lacks or has too many, for a message; empty where they are the same."""
    return _listed(*_difference(wanted, given))


def tree_at(trees: Any, path: str) -> Any:
    """The entry at a dotted path in any nest."""
    for name in path.split("."):
        trees = entry(trees, name)
    return trees


def entry(trees: Any, name: str) -> Any:
    """An entry by name: of a mapping, a NamedTuple, or a position in a list or tuple."""
    if isinstance(trees, list | tuple):
        return getattr(trees, name) if hasattr(trees, "_fields") else trees[int(name)]
    return trees[name]


def _check_tree(trees: Any, what: str) -> None:
    if not _is_nest(trees):
        raise TypeError(
            f"the {what} must be a tree, got {type(trees).__name__}; a model is called as model(x, ps, st)"
        )


def _difference(wanted: Any, given: Any, open_entries: bool = False) -> tuple[list[str], list[str]]:
    """The paths that `given` lacks, and those that it has too many."""
    missing: list[str] = []
    extra: list[str] = []

    def paths(value: Any, path: str) -> list[str]:
        below = [f"{path}.{name}" for name in tree.paths(value)] if _is_nest(value) else []
        return below or [path]

    def walk(wanted: Any, given: Any, path: str) -> None:
        if open_entries and path and (wanted is None or (_is_nest(wanted) and not len(wanted))):
            return
        if not _is_nest(wanted) or not _is_nest(given):
            if _is_nest(wanted) or _is_nest(given):
                missing.extend(paths(wanted, path))
                extra.extend(paths(given, path))
            return
        known, have = dict(nest_items(wanted)), dict(nest_items(given))
        for name, entry in known.items():
            where = f"{path}.{name}" if path else name
            if name in have:
                walk(entry, have[name], where)
            else:
                missing.extend(paths(entry, where))
        for name in have:
            if name not in known:
                extra.extend(paths(have[name], f"{path}.{name}" if path else name))

    walk(wanted, given, "")
    return missing, extra


def _is_nest(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _listed(missing: list[str], extra: list[str]) -> str:
    parts = []
    for what, paths in (("missing", missing), ("extra", extra)):
        if paths:
            more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
            parts.append(f"{what} {', '.join(paths[:SHOWN])}{more}")
    return "; ".join(parts)


def _swapped(model: Layer, ps: Params) -> str:
    """A hint where the parameters look like the model's states."""
    try:
        states = tree.paths(abstract_states(model))
    except ValueError:
        return ""
    return "; these are its states: the order is ps, st" if states and tree.paths(ps) == states else ""
