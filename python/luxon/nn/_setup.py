"""Making a model's trees, calling it, and switching its states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import _core, random, tree
from .._core import ShapeDtype, Tree
from ._fit import check_parameters
from ._freeze import FROZEN_PARAMETERS, INNER_STATES, FrozenLayer
from ._layer import Layer, Params, States, abstract_parameters, abstract_states, as_tree, rebuild_leaves


def as_key(rng: int | random.Key | np.random.Generator) -> random.Key:
    """A key from a seed, a key, or one draw of a NumPy generator.

    Raises:
        TypeError: anything else.
    """
    if isinstance(rng, random.Key):
        return rng
    if isinstance(rng, bool):
        raise TypeError("rng must be an int seed, a luxon key or a numpy Generator, got a bool")
    if isinstance(rng, int | np.integer):
        return random.key(int(rng))
    if isinstance(rng, np.random.Generator):
        return random.key(int(rng.integers(0, 2**63)))
    raise TypeError(f"rng must be an int seed, a luxon key or a numpy Generator, got {type(rng).__name__}")


def setup(
    rng: int | random.Key | np.random.Generator,
    model: Layer,
    dtype: Any = None,
    *,
    x_spec: Any = None,
) -> tuple[Tree, Tree]:
    """The initial parameters and states of a model.

    Args:
        rng: an int seed, a key, or a `numpy.random.Generator` (one draw).
        model: the layer to make trees for.
        dtype: the type of all float leaves, float32 by default.
        x_spec: the input's shape with its batch axis, a `luxon.ShapeDtype`, or a nest of those; only needed
            where a layer's input size is None.

    Returns:
        ps, st: the parameters, and the states in training mode. Every leaf's key comes from its path, so
        inserting, removing or freezing a layer changes no other layer's initial values.

    Raises:
        TypeError: `model` is no layer, `rng` none of the three kinds, or `dtype` not a floating type.
        ValueError: a size is None and no `x_spec` tells it.

    Example:
        >>> from luxon import nn
        >>> ps, st = nn.setup(0, nn.Dense(2, 3))
        >>> ps.weight.shape
        (3, 2)
        >>> ps, st = nn.setup(0, nn.Chain(nn.Dense(None, 4), nn.Dense(None, 1)), x_spec=(8, 2))
        >>> ps.layer_2.weight.shape
        (1, 4)
    """
    if not isinstance(model, Layer):
        raise TypeError(f"setup needs a layer, got {type(model).__name__}")
    key = as_key(rng)
    if x_spec is not None:
        from ._display import resolve_sizes

        model = resolve_sizes(model, x_spec)
    wanted = floating("setup", "float32" if dtype is None else dtype)
    ps = as_tree(model.initial_parameters(key))
    st = as_tree(model.initial_states(key))
    return cast(ps, wanted), cast(st, wanted)


def floating(what: str, dtype: Any) -> np.dtype[Any]:
    """A floating dtype, from whatever names one.

    Raises:
        TypeError: another kind of dtype.
    """
    wanted = _core.abstract((), dtype).dtype
    if not _core.isdtype(wanted, "real floating"):
        raise TypeError(f"{what}: dtype must be a floating type, got {wanted}")
    return wanted


def cast(value: Any, dtype: Any) -> Any:
    """A tree (or tensor) with every float leaf in another floating type; ties and other leaves stay.

    Raises:
        TypeError: `dtype` is not a floating type.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.cast(lx.Tree({"a": lx.ones(2), "n": 3}), lx.float64).a.dtype
        dtype('float64')
    """
    dtype = floating("cast", dtype)

    def one(leaf: Any) -> Any:
        if (
            isinstance(leaf, _core.Tensor)
            and leaf.dtype != dtype
            and _core.isdtype(leaf.dtype, "real floating")
        ):
            return _core.astype(leaf, dtype)
        return leaf

    if isinstance(value, _core.Tensor):
        return one(value)
    return tree.map(one, value)


def apply(model: Layer, x: Any, ps: Params, st: States) -> tuple[Any, States]:
    """The same as `model(x, ps, st)`, with a check of the parameters first.

    Raises:
        TypeError: `ps` is no tree.
        ValueError: `ps` was made for another model: the missing and the extra paths, or the first shape that
            differs.
    """
    check_parameters(model, ps)
    return model(x, ps, st)


def stateless_apply(model: Layer, x: Any, ps: Params) -> Any:
    """The output of a model without states.

    Raises:
        ValueError: `ps` was made for another model; the model has states: use `nn.apply` or `nn.StatefulLayer`.
    """
    st = as_tree(model.initial_states(random.key(0)))
    names = st.paths()
    if names:
        raise ValueError(f"stateless_apply: the model has states ({', '.join(names[:5])}); use nn.apply")
    check_parameters(model, ps)
    return model(x, ps, st)[0]


def _switch(st: States, training: bool) -> Any:
    return set_entries(st, "training", training)


def trainmode(st: States) -> Any:
    """The states with every `training` flag on. A frozen parameter of that name is not touched.

    Example:
        >>> from luxon import nn
        >>> ps, st = nn.setup(0, nn.Dropout(0.5))
        >>> nn.trainmode(nn.testmode(st)).training
        True
    """
    return _switch(st, True)


def testmode(st: States) -> Any:
    """The states with every `training` flag off. A frozen parameter of that name is not touched.

    Example:
        >>> from luxon import nn
        >>> ps, st = nn.setup(0, nn.Dropout(0.5))
        >>> nn.testmode(st).training
        False
    """
    return _switch(st, False)


testmode.__test__ = False  # type: ignore[attr-defined]  # not a pytest function


def update_state(st: States, name: str, value: Any) -> Any:
    """The states with every entry called `name`, at any depth, set to `value`.

    Raises:
        KeyError: no entry has that name.

    Example:
        >>> from luxon import nn
        >>> ps, st = nn.setup(0, nn.Chain(nn.Dropout(0.5), nn.Dropout(0.1)))
        >>> nn.update_state(st, "training", False).layer_2.training
        False
    """
    found: list[str] = []
    new = set_entries(st, name, value, found)
    if not found:
        names = sorted({path.rsplit(".", 1)[-1] for path in tree.paths(st)})
        raise KeyError(f"update_state: no state is called {name!r}; there are: {', '.join(names) or 'none'}")
    return new


def _like(st: Any, entries: dict[str, Any]) -> Any:
    """Entries in a mapping of the kind of `st`."""
    return type(st)(entries)


def set_entries(st: Any, name: str, value: Any, found: list[str] | None = None) -> Any:
    """Replaces entries called `name` in a nest, outside frozen parameters."""
    if isinstance(st, list | tuple):
        items = [set_entries(item, name, value, found) for item in st]
        if all(new is old for new, old in zip(items, st, strict=True)):
            return st
        return type(st)(*items) if hasattr(st, "_fields") else type(st)(items)
    if not isinstance(st, Mapping):
        return st
    if set(st) == {FROZEN_PARAMETERS, INNER_STATES}:
        inner = set_entries(st[INNER_STATES], name, value, found)
        return st if inner is st[INNER_STATES] else _like(st, {**st, INNER_STATES: inner})
    changed: dict[str, Any] = {}
    for key, entry in st.items():
        if key == name and not (isinstance(entry, Mapping) and isinstance(value, bool)):
            changed[key] = value
            if found is not None:
                found.append(key)
        else:
            new = set_entries(entry, name, value, found)
            if new is not entry:
                changed[key] = new
    if not changed:
        return st
    return _like(st, {**st, **changed})


def _count(value: Any) -> int:
    total = 0
    for leaf in tree.leaves(value):
        if isinstance(leaf, _core.Tensor | np.ndarray | ShapeDtype):
            total += int(np.prod(leaf.shape, dtype=np.int64))
        elif isinstance(leaf, float | int) and not isinstance(leaf, bool):
            total += 1
    return total


def parameter_length(model_or_ps: Layer | Params) -> int:
    """The number of trainable numbers in a model or a parameter tree; a tied leaf counts once.

    Example:
        >>> from luxon import nn
        >>> nn.parameter_length(nn.Dense(2, 3))
        9
    """
    if isinstance(model_or_ps, Layer):
        return _count(abstract_parameters(model_or_ps))
    return _count(model_or_ps)


def state_length(model_or_st: Layer | States) -> int:
    """The number of numbers in a model's states or a state tree; flags and keys do not count.

    Example:
        >>> from luxon import nn
        >>> nn.state_length(nn.BatchNorm(3))
        6
    """
    if isinstance(model_or_st, Layer):
        return _count(abstract_states(model_or_st))
    return _count(model_or_st)


def rebuild(
    layer: Layer,
    change: Callable[[Layer, str], Layer],
    path: str = "",
    thawed: Callable[[FrozenLayer, Layer], Layer] | None = None,
    around: Callable[[Layer, str], Layer] | None = None,
) -> Layer:
    """The model with every leaf layer replaced by `change(leaf, path)`, every container by `around` of it.

    A frozen layer is a leaf, unless `thawed(frozen, inner)` says how to put its rebuilt inner layer back.
    """

    def one(leaf: Layer, where: str) -> Layer:
        if thawed is not None and isinstance(leaf, FrozenLayer):
            return thawed(leaf, rebuild(leaf.layer, change, where, thawed, around))
        return change(leaf, where)

    return rebuild_leaves(layer, one, path, around)
