"""Layers written as one function: `nn.compact`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import _core, random
from .._core import Tensor, Tree
from ._errors import add_path
from ._fit import explain, tree_at
from ._layer import (
    Children,
    Layer,
    Params,
    States,
    as_tree,
    initial_trees,
    is_nest,
    nest_children,
    nest_items,
    rebuild_nest,
)


@dataclasses.dataclass(frozen=True)
class Param:
    """A parameter of a `compact` layer that an initialiser makes; see `param`."""

    init: Callable[..., Tensor]
    shape: tuple[int, ...]
    dtype: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """A state of a `compact` layer; see `state`."""

    value: Any


def param(init: Callable[..., Tensor], shape: int | tuple[int, ...], dtype: Any = None) -> Param:
    """A parameter of a `compact` layer: `init(key, shape, dtype)` at setup.

    Args:
        init: an initialiser, such as those of `luxon.init`.
        shape: the parameter's shape.
        dtype: float32 by default.
    """
    return Param(init, (shape,) if isinstance(shape, int) else tuple(shape), dtype)


def state(value: Any) -> State:
    """A state of a `compact` layer that starts as `value`, an array included."""
    return State(value)


@dataclasses.dataclass(frozen=True, eq=False)
class _Given:
    """An array given as a parameter: the same object is the same value."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Given) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


class CompactLayer(Layer):
    """What `compact` makes."""

    __slots__ = ("_children", "_fields", "_function", "_parameters", "_states")
    _function: Callable[[Any, Any], Any]
    _fields: dict[str, Any]
    _children: dict[str, Any]
    _parameters: dict[str, Param | _Given]
    _states: dict[str, Any]

    def __init__(self, function: Callable[[Any, Any], Any], fields: Mapping[str, Any]) -> None:
        children: dict[str, Any] = {}
        parameters: dict[str, Param | _Given] = {}
        states: dict[str, Any] = {}
        for name, value in fields.items():
            if name.startswith("_"):
                raise ValueError(f"compact: a field's name must not start with an underscore, got {name!r}")
            if isinstance(value, Layer) or is_nest(value):
                children[name] = nest_children(value)
            elif isinstance(value, Param):
                parameters[name] = value
            elif isinstance(value, Tensor | np.ndarray):
                parameters[name] = _Given(value)
            else:
                states[name] = value.value if isinstance(value, State) else value
        for slot, part in zip(
            self.__slots__, (children, dict(fields), function, parameters, states), strict=True
        ):
            object.__setattr__(self, slot, part)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a compact layer is immutable; build a new one (attribute {name!r})")

    def __reduce__(self) -> Any:
        return (CompactLayer, (self._function, self._fields))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in self._children:
            return self._fields[name]
        raise AttributeError(f"{self.describe()} has no attribute or child {name!r}")

    def _identity(self) -> tuple[Any, ...]:
        layers = tuple(_flat_children(self._children, ""))
        given = tuple((name, _Given(value)) for name, value in self._states.items())
        return (self._function, layers, tuple(self._parameters.items()), given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CompactLayer) and other._identity() == self._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def inner(self) -> Layer | Children | None:
        return self._children or None

    def with_inner(self, inner: Any) -> Layer:
        changed = {name: rebuild_nest(self._fields[name], inner[name]) for name in self._children}
        return CompactLayer(self._function, {**self._fields, **changed})

    def initial_parameters(self, key: random.Key) -> Tree:
        trees = initial_trees(self._children, key, "initial_parameters")
        for name, wanted in self._parameters.items():
            if isinstance(wanted, _Given):
                trees[name] = _core.asarray(wanted.value)
            else:
                trees[name] = wanted.init(key.fold_in(name), wanted.shape, wanted.dtype or "float32")
        return Tree({name: trees[name] for name in self._fields if name in trees})

    def initial_states(self, key: random.Key) -> Tree:
        trees = initial_trees(self._children, key, "initial_states") | self._states
        return Tree({name: trees[name] for name in self._fields if name in trees})

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        st = as_tree(st)
        body = Body(self, ps, st)
        y = self._function(body, x)
        changed = object.__getattribute__(body, "_changed")
        return y, (st.replace(changed) if changed else st)

    def describe(self) -> str:
        return str(getattr(self._function, "__name__", "compact"))


def _flat_children(children: Any, path: str) -> Iterator[tuple[str, Layer]]:
    for name, child in children.items():
        if isinstance(child, Layer):
            yield path + name, child
        else:
            yield from _flat_children(child, f"{path}{name}.")


class Body:
    """What a `compact` function sees as `m`: children to call, parameters to read, states to read and set."""

    __slots__ = ("_changed", "_layer", "_ps", "_st")
    _changed: dict[str, Any]
    _layer: CompactLayer
    _ps: Params
    _st: Tree

    def __init__(self, layer: CompactLayer, ps: Params, st: Tree) -> None:
        for name, value in (("_changed", {}), ("_layer", layer), ("_ps", ps), ("_st", st)):
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        layer = self._layer
        if name in layer._children:
            return _bound(self, layer._fields[name], name)
        try:
            if name in layer._parameters:
                return self._ps[name]
            if name in layer._states:
                return self._changed[name] if name in self._changed else self._st[name]
        except KeyError as error:
            explain(error, layer, name, self._ps, self._st)
            raise
        known = ", ".join(layer._fields)
        raise AttributeError(f"{layer.describe()} has no field {name!r}; it has: {known or 'none'}")

    def __setattr__(self, name: str, value: Any) -> None:
        layer = self._layer
        if name in layer._states:
            self._changed[name] = value
        elif name in layer._parameters:
            raise AttributeError(
                f"{layer.describe()}: {name} is a parameter, which a call cannot change; make it an nn.state"
            )
        elif name in layer._children:
            raise AttributeError(f"{layer.describe()}: {name} is a layer, which a call cannot change")
        else:
            raise AttributeError(
                f"{layer.describe()} has no state {name!r}; declare it as a field of nn.compact"
            )


def _bound(body: Body, value: Any, path: str) -> Any:
    """A child as a function of x; a nest of children as the same nest of such functions."""
    if isinstance(value, Layer):
        return _BoundLayer(body, value, path)
    if isinstance(value, Mapping):
        return {name: _bound(body, item, f"{path}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_bound(body, item, f"{path}.{name}") for name, item in nest_items(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


class _BoundLayer:
    """A child within a call: its parameters are at hand, its state is threaded from call to call."""

    __slots__ = ("_body", "_path", "layer")

    def __init__(self, body: Body, layer: Layer, path: str) -> None:
        self._body, self.layer, self._path = body, layer, path

    def __call__(self, x: Any) -> Any:
        body, path = self._body, self._path
        changed = body._changed
        try:
            before = changed[path] if path in changed else tree_at(body._st, path)
            y, after = self.layer(x, tree_at(body._ps, path), before)
        except Exception as error:
            explain(error, body._layer, path.split(".")[0], body._ps, body._st)
            add_path(error, path, self.layer)
            raise
        if after is not before:
            changed[path] = after
        return y


def compact(function: Callable[[Any, Any], Any] | None = None, /, **fields: Any) -> Any:
    """A layer from one function `(m, x)` and its fields; as a decorator, or `compact(function, **fields)`.

    Fields that are layers (or lists, tuples and dicts of layers) are children. Arrays and `nn.param(init,
    shape)` are parameters. `nn.state(value)` and everything else are states. In the body `m.child(x)` calls a
    child and threads its state, `m.name` reads a parameter or state, and `m.name = value` sets a state for
    the returned `st`.

    Raises:
        TypeError: `function` is none.
        AttributeError: in a call, for a field that does not exist, and for setting a parameter or a layer.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> @nn.compact(dense=nn.Dense(2, 3), scale=nn.param(lx.init.ones, (3,)), calls=0)
        ... def model(m, x):
        ...     m.calls = m.calls + 1
        ...     return m.dense(x) * m.scale
        >>> ps, st = nn.setup(0, model)
        >>> y, st = model(lx.ones((4, 2)), ps, st)
        >>> y.shape, st.calls
        ((4, 3), 1)
    """
    if function is None:
        return lambda function: compact(function, **fields)
    if isinstance(function, Layer | type) or not callable(function):
        raise TypeError(
            f"compact takes a function (m, x), got {function!r}; layers are given as fields, by keyword"
        )
    return CompactLayer(function, fields)
