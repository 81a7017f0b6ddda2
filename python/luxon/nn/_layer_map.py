"""Model surgery: a function applied to every leaf layer with its trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import tree
from .._core import Tensor, Tree
from ._layer import Children, Layer, Params, States, abstract_parameters, as_tree
from ._setup import check_parameters

LayerFunction = Callable[[Layer, Tree, Tree, str], tuple[Layer, Params, States]]
"""`f(layer, ps, st, path) -> (layer, ps, st)`."""


def layer_map(
    f: LayerFunction, model: Layer, ps: Params, st: States, name: str = "model"
) -> tuple[Layer, Tree, Tree]:
    """The model with every leaf layer and its trees put through `f`.

    Args:
        f: `f(layer, ps, st, path) -> (layer, ps, st)`, called on every leaf layer once per place, in
            declaration order, depth first, layers without parameters included. A `FrozenLayer` is a leaf. It
            may return another layer with other trees.
        model: the model; containers and wrappers are descended into.
        ps, st: its trees, which stay as they are.
        name: the root of the paths: `model.chain.dense_1`.

    Returns:
        The new model, parameters and states. A tie stays where its places keep their structure; a new value
        for one place is then the value of all.

    Raises:
        ValueError: trees that do not fit the layers, those that `f` returns included; it names the first path
            that differs.
        TypeError: `f` does not return three things, a layer first.

    Example:
        >>> from luxon import nn
        >>> model = nn.Chain(body=nn.Dense(2, 3), head=nn.Dense(3, 1))
        >>> ps, st = nn.setup(0, model)
        >>> def freeze_body(layer, ps, st, path):
        ...     return nn.freeze(layer, ps, st) if path == "model.body" else (layer, ps, st)
        >>> model, ps, st = nn.layer_map(freeze_body, model, ps, st)
        >>> list(ps.paths())
        ['head.weight', 'head.bias']
    """
    if not isinstance(model, Layer):
        raise TypeError(f"layer_map needs a layer, got {type(model).__name__}")
    ps, st = as_tree(ps), as_tree(st)
    check_parameters(model, ps)
    return _one(f, model, ps, st, name)


def _one(f: LayerFunction, layer: Layer, ps: Tree, st: Tree, path: str) -> tuple[Layer, Tree, Tree]:
    inner = layer.inner()
    if inner is None:
        return _leaf(f, layer, ps, st, path)
    if isinstance(inner, Layer):
        before = as_tree(layer.inner_states(st))
        new, ps, after = _one(f, inner, ps, before, path)
        if after is not before:
            st = as_tree(layer.with_inner_states(st, after))
        return (layer if new is inner else layer.with_inner(new)), ps, st
    children, ps, st, changed = _several(f, inner, ps, st, path)
    return (layer.with_inner(children) if changed else layer), ps, st


def _several(
    f: LayerFunction, children: Children, ps: Tree, st: Tree, path: str
) -> tuple[dict[str, Any], Tree, Tree, bool]:
    new: dict[str, Any] = {}
    new_ps: dict[str, Any] = {}
    new_st: dict[str, Any] = {}
    changed = False
    for name, child in children.items():
        where = f"{path}.{name}"
        child_ps, child_st = _entry(ps, name, where, "parameters"), _entry(st, name, where, "states")
        if isinstance(child, Layer):
            new[name], after_ps, after_st = _one(f, child, child_ps, child_st, where)
            changed |= new[name] is not child
        else:
            new[name], after_ps, after_st, inside = _several(f, child, child_ps, child_st, where)
            changed |= inside
        if after_ps is not child_ps:
            new_ps[name] = after_ps
        if after_st is not child_st:
            new_st[name] = after_st
    return new, (ps.replace(new_ps) if new_ps else ps), (st.replace(new_st) if new_st else st), changed


def _entry(trees: Tree, name: str, where: str, what: str) -> Tree:
    if name not in trees:
        raise ValueError(f"layer_map: the {what} do not fit the model: there is no entry for {where}")
    return as_tree(trees[name])


def _leaf(f: LayerFunction, layer: Layer, ps: Tree, st: Tree, path: str) -> tuple[Layer, Tree, Tree]:
    result = f(layer, ps, st, path)
    if not isinstance(result, tuple) or len(result) != 3 or not isinstance(result[0], Layer):
        raise TypeError(f"layer_map: f must return (layer, ps, st); at {path} it returned {_kind(result)}")
    new, new_ps, new_st = result[0], as_tree(result[1]), as_tree(result[2])
    if new is not layer or new_ps is not ps:
        _check_fit(new, new_ps, path)
    return new, new_ps, new_st


def _kind(result: Any) -> str:
    return f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__


def _check_fit(layer: Layer, ps: Tree, path: str) -> None:
    """Refuses parameters of other paths or shapes than those of the layer."""
    try:
        wanted = abstract_parameters(layer)
    except ValueError:
        return  # A size is still open.
    names, have = tree.paths(wanted), set(ps.paths())
    for name in (*names, *ps.paths()):
        if (name in have) != (name in names):
            state = "is missing" if name in names else "is not one of its parameters"
            raise ValueError(
                f"layer_map: the parameters returned for {path} do not fit {layer.describe()}: {name} {state}"
            )
    for name in names:
        leaf, expected = ps[name], wanted[name]
        if isinstance(leaf, Tensor) and isinstance(expected, Tensor) and leaf.shape != expected.shape:
            raise ValueError(
                f"layer_map: the parameters returned for {path} do not fit {layer.describe()}: {name} has "
                f"shape {tuple(leaf.shape)}, expected {tuple(expected.shape)}"
            )
