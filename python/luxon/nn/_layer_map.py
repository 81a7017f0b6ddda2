"""Model surgery: a function applied to every leaf layer with its trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._core import Tree
from ._fit import check_parameters, check_states, entry
from ._layer import Children, Layer, Params, States, as_tree, nest_items

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
    check_parameters(model, ps, "layer_map: the parameters do not fit the model")
    check_states(model, st, "layer_map: the states do not fit the model")
    ps, st = as_tree(ps), as_tree(st)
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
    f: LayerFunction, children: Children, ps: Any, st: Any, path: str
) -> tuple[dict[str, Any], Any, Any, bool]:
    new: dict[str, Any] = {}
    new_ps: dict[str, Any] = {}
    new_st: dict[str, Any] = {}
    changed = False
    for name, child in children.items():
        where = f"{path}.{name}"
        child_ps, child_st = entry(ps, name), entry(st, name)
        if isinstance(child, Layer):
            child_ps, child_st = as_tree(child_ps), as_tree(child_st)
            new[name], after_ps, after_st = _one(f, child, child_ps, child_st, where)
            changed |= new[name] is not child
        else:
            new[name], after_ps, after_st, inside = _several(f, child, child_ps, child_st, where)
            changed |= inside
        if after_ps is not child_ps:
            new_ps[name] = after_ps
        if after_st is not child_st:
            new_st[name] = after_st
    return new, _replaced(ps, new_ps), _replaced(st, new_st), changed


def _replaced(trees: Any, new: dict[str, Any]) -> Any:
    """The Tree (or tuple, where a list of layers has a list of trees) with other entries."""
    if not new or isinstance(trees, Tree):
        return trees.replace(new) if new else trees
    items = [new.get(name, item) for name, item in nest_items(trees)]
    return type(trees)(*items) if hasattr(trees, "_fields") else type(trees)(items)


def _leaf(f: LayerFunction, layer: Layer, ps: Tree, st: Tree, path: str) -> tuple[Layer, Tree, Tree]:
    try:
        result = f(layer, ps, st, path)
    except Exception as error:
        error.add_note(f"layer_map: at {path}, {layer.describe()}")
        raise
    if not isinstance(result, tuple) or len(result) != 3 or not isinstance(result[0], Layer):
        raise TypeError(f"layer_map: f must return (layer, ps, st); at {path} it returned {_kind(result)}")
    new, new_ps, new_st = result[0], as_tree(result[1]), as_tree(result[2])
    if new is not layer or new_ps is not ps or new_st is not st:
        returned = f"returned for {path} do not fit {new.describe()}"
        check_parameters(new, new_ps, f"layer_map: the parameters {returned}")
        check_states(new, new_st, f"layer_map: the states {returned}")
    return new, new_ps, new_st


def _kind(result: Any) -> str:
    return f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
