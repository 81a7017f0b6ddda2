"""Containers: layers that call further layers in a fixed pattern.

All take children by position (named `layer_1`, `layer_2`, ...) or by keyword, and wrap bare functions in
`WrappedFunction`. A layer as connection or fusion is one more child, `connection` or `fusion`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .. import _core
from .._core import Tree
from ._basic import WrappedFunction
from ._errors import add_path
from ._fit import explain
from ._layer import Children, Container, Layer, Params, States, Wrapper, describe_value


def as_layer(value: Any) -> Layer:
    """A layer as it is, a function as a `WrappedFunction`; anything else is a TypeError."""
    if isinstance(value, Layer):
        return value
    if isinstance(value, type) and issubclass(value, Layer):
        raise TypeError(f"expected a layer or a function, got the class {value.__name__}; make one of it")
    if callable(value):
        return WrappedFunction(value)
    raise TypeError(f"expected a layer or a function, got {type(value).__name__}: {value!r}")


def _flat(layers: tuple[Any, ...]) -> Iterator[Any]:
    for layer in layers:
        if isinstance(layer, list | tuple):
            yield from _flat(tuple(layer))
        else:
            yield layer


def name_layers(layers: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Layer]:
    """Children by name: positional ones as layer_1, layer_2, ..., keywords under their own names."""
    if layers and named:
        raise TypeError("give layers by position or by keyword, not both")
    if len(layers) == 1 and isinstance(layers[0], Mapping):
        named, layers = layers[0], ()
    if named:
        for name in named:
            if not name.isidentifier():
                raise ValueError(f"a layer's name must be an identifier, got {name!r}")
        return {name: as_layer(layer) for name, layer in named.items()}
    return {f"layer_{position}": as_layer(layer) for position, layer in enumerate(_flat(layers), 1)}


class NamedLayers(Container):
    """A container whose children are a mapping fixed at construction; immutable and hashable."""

    __slots__ = ("_children", "_loop", "_steps", "name")
    _children: dict[str, Layer]
    _loop: _core.ChainLoop
    _steps: tuple[tuple[str, Layer], ...]
    name: str | None

    def _set(self, children: dict[str, Layer], name: str | None = None) -> None:
        object.__setattr__(self, "_children", children)
        object.__setattr__(self, "_loop", _loop_over(children))
        object.__setattr__(self, "_steps", tuple(children.items()))
        object.__setattr__(self, "name", name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable; build a new one (attribute {name!r})")

    def children(self) -> Children:
        return self._children

    def with_inner(self, inner: Any) -> Layer:
        new = _restore(type(self), _slots_of(self))
        new._set(dict(inner), self.name)
        return new

    def _identity(self) -> tuple[Any, ...]:
        return (self._steps,)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._identity() == self._identity()

    def __hash__(self) -> int:
        return hash((type(self), self._identity()))

    def __getattr__(self, name: str) -> Layer:
        if not name.startswith("_"):
            child = self._children.get(name)
            if child is not None:
                return child
        raise AttributeError(f"{type(self).__name__} has no attribute or child {name!r}")

    def __reduce__(self) -> Any:
        return (_restore, (type(self), _slots_of(self)))

    def describe(self) -> str:
        return f"{type(self).__name__} {self.name}" if self.name else type(self).__name__


def _loop_over(children: dict[str, Layer]) -> _core.ChainLoop:
    layers = tuple(children.values())
    return _core.ChainLoop(tuple(children), layers, tuple(layer._in_core() for layer in layers))


def _slots_of(layer: NamedLayers) -> dict[str, Any]:
    slots = (slot for base in type(layer).__mro__ for slot in getattr(base, "__slots__", ()))
    return {slot: getattr(layer, slot) for slot in slots if slot != "_loop"}


def _restore(kind: type[NamedLayers], slots: dict[str, Any]) -> NamedLayers:
    new = object.__new__(kind)
    for slot, value in slots.items():
        object.__setattr__(new, slot, value)
    object.__setattr__(new, "_loop", _loop_over(new._children))
    return new


class Chain(NamedLayers):
    """Layers one after the other.

    Args:
        layers: layers or functions; nested lists are flattened. Or keywords that name them.
        name: shown when the model is printed.

    An integer index gives a layer, a slice a `Chain` with the original names, an attribute a layer by name.
    `Chain()` is the identity.

    Parameters and states: one entry per layer, `layer_1`, `layer_2`, ... or the given names.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.Chain(nn.Dense(2, 8, lx.tanh), nn.Dense(8, 1))
        >>> ps, st = nn.setup(0, model)
        >>> y, st = model(lx.ones((5, 2)), ps, st)
        >>> y.shape
        (5, 1)
        >>> nn.Chain(body=nn.Dense(2, 2), head=lx.relu).head
        WrappedFunction(relu)
    """

    __slots__ = ()

    def __init__(self, *layers: Any, name: str | None = None, **named: Any) -> None:
        self._set(name_layers(layers, named), name)

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        try:
            results = self._loop.run(x, ps, st)
        except Exception as error:
            for name in self._children:
                explain(error, self, name, ps, st)
            raise
        if len(results) == 2:
            return results
        y, changed, failure = results
        if failure is not None:
            add_path(failure, *self._steps[changed])
            raise failure
        return y, updated(st, changed)

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._children.values())

    def __getitem__(self, index: int | slice | str) -> Layer:
        if isinstance(index, str):
            return self._children[index]
        if isinstance(index, slice):
            chain = Chain(name=self.name)
            chain._set(dict(self._steps[index]), self.name)
            return chain
        return self._steps[index][1]


def updated(st: States, changed: dict[str, Any]) -> States:
    """`st` with some entries replaced; of the kind that was given."""
    return st.replace(changed) if isinstance(st, Tree) else {**st, **changed}


def call_child(
    name: str,
    layer: Layer,
    x: Any,
    ps: Params,
    st: States,
    changed: dict[str, Any],
    parent: Layer | None = None,
) -> Any:
    """Calls one child of `parent`; its new state goes into `changed` where it is another object than before."""
    try:
        state = st[name]
        y, after = layer(x, ps[name], state)
    except Exception as error:
        if parent is not None:
            explain(error, parent, name, ps, st)
        add_path(error, name, layer)
        raise
    if after is not state:
        changed[name] = after
    return y


class _Joining(NamedLayers):
    """Children whose outputs meet in a function or layer, the connection or fusion."""

    __slots__ = ("_joiner", "_joiner_name", "_members")
    _joiner: Callable[..., Any] | None
    _joiner_name: str
    _members: tuple[tuple[str, Layer], ...]

    def _set_joining(
        self, joiner: Any, joiner_name: str, members: dict[str, Layer], name: str | None
    ) -> None:
        if joiner is not None and not callable(joiner):
            raise TypeError(f"{joiner_name} must be a function, a layer or None, got {type(joiner).__name__}")
        if joiner_name in members:
            raise ValueError(f"a child cannot be called {joiner_name!r} here")
        object.__setattr__(self, "_joiner", joiner)
        object.__setattr__(self, "_joiner_name", joiner_name)
        children = dict(members)
        if isinstance(joiner, Layer):
            children[joiner_name] = joiner
        self._set(children, name)

    def _set(self, children: dict[str, Layer], name: str | None = None) -> None:
        super()._set(children, name)
        if isinstance(self._joiner, Layer):
            object.__setattr__(self, "_joiner", children[self._joiner_name])
        members = tuple((key, layer) for key, layer in children.items() if key != self._joiner_name)
        object.__setattr__(self, "_members", members)

    def _identity(self) -> tuple[Any, ...]:
        return (self._joiner, self._steps)

    def describe(self) -> str:
        joiner = self._joiner
        shown = (
            "" if joiner is None or isinstance(joiner, Layer) else f"({getattr(joiner, '__name__', joiner)})"
        )
        return super().describe() + shown

    def _join(self, outputs: tuple[Any, ...], ps: Params, st: States, changed: dict[str, Any]) -> Any:
        joiner = self._joiner
        if joiner is None:
            return outputs
        if isinstance(joiner, Layer):
            return call_child(self._joiner_name, joiner, outputs, ps, st, changed, self)
        return joiner(*outputs)


class Parallel(_Joining):
    """Layers side by side, their outputs joined by a connection.

    Args:
        connection: a function of N arguments, a layer that gets one tuple, or None for the tuple of outputs.
        layers: as for `Chain`.

    A tuple input gives each layer its own element; anything else goes to all.

    Raises:
        ValueError: a tuple input of another length than there are layers.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.Parallel(lx.add, nn.Dense(2, 3), nn.Dense(4, 3))
        >>> ps, st = nn.setup(0, model)
        >>> y, st = model((lx.ones((5, 2)), lx.ones((5, 4))), ps, st)
        >>> y.shape
        (5, 3)
    """

    __slots__ = ()

    def __init__(self, connection: Any, /, *layers: Any, name: str | None = None, **named: Any) -> None:
        self._set_joining(connection, "connection", name_layers(layers, named), name)

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        changed: dict[str, Any] = {}
        members = self._members
        if isinstance(x, tuple):
            if len(x) != len(members):
                raise ValueError(
                    f"{self.describe()} got a tuple of {len(x)} inputs for {len(members)} layers; give one per layer, "
                    "or anything but a tuple to feed all"
                )
            inputs = x
        else:
            inputs = (x,) * len(members)
        outputs = tuple(
            call_child(name, layer, part, ps, st, changed, self)
            for (name, layer), part in zip(members, inputs, strict=True)
        )
        y = self._join(outputs, ps, st, changed)
        return y, (updated(st, changed) if changed else st)


class BranchLayer(_Joining):
    """The same input to every layer; a tuple of outputs, or their fusion.

    Args:
        layers: as for `Chain`.
        fusion: a function of N arguments, a layer that gets one tuple, or None.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.BranchLayer(nn.Dense(2, 3), nn.Dense(2, 4))
        >>> ps, st = nn.setup(0, model)
        >>> y, st = model(lx.ones((5, 2)), ps, st)
        >>> [part.shape for part in y]
        [(5, 3), (5, 4)]
    """

    __slots__ = ()

    def __init__(self, *layers: Any, fusion: Any = None, name: str | None = None, **named: Any) -> None:
        self._set_joining(fusion, "fusion", name_layers(layers, named), name)

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        changed: dict[str, Any] = {}
        outputs = tuple(call_child(name, layer, x, ps, st, changed, self) for name, layer in self._members)
        y = self._join(outputs, ps, st, changed)
        return y, (updated(st, changed) if changed else st)


class PairwiseFusion(_Joining):
    """y = x1; then y = connection(layer_i(y), x_{i+1}) for each layer in turn.

    Args:
        connection: a function of two arguments, or a layer that gets a pair.
        layers: as for `Chain`.

    The input is a tuple with one element more than there are layers; anything else is re-used for each.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.PairwiseFusion(lx.add, nn.Dense(2, 2), nn.Dense(2, 2))
        >>> ps, st = nn.setup(0, model)
        >>> y, st = model(lx.ones((5, 2)), ps, st)
        >>> y.shape
        (5, 2)
    """

    __slots__ = ()

    def __init__(self, connection: Any, /, *layers: Any, name: str | None = None, **named: Any) -> None:
        if connection is None:
            raise TypeError("PairwiseFusion needs a connection: a function of two arguments or a layer")
        self._set_joining(connection, "connection", name_layers(layers, named), name)

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        changed: dict[str, Any] = {}
        members = self._members
        if isinstance(x, tuple):
            if len(x) != len(members) + 1:
                raise ValueError(
                    f"{self.describe()} with {len(members)} layers needs {len(members) + 1} inputs, got a tuple of {len(x)}"
                )
            y, rest = x[0], x[1:]
        else:
            y, rest = x, (x,) * len(members)
        joiner_state = st
        for (name, layer), other in zip(members, rest, strict=True):
            y = self._join(
                (call_child(name, layer, y, ps, st, changed, self), other), ps, joiner_state, changed
            )
            if self._joiner_name in changed:
                joiner_state = {self._joiner_name: changed[self._joiner_name]}
        return y, (updated(st, changed) if changed else st)


class Maxout(NamedLayers):
    """The elementwise maximum of several layers of one input (Goodfellow et al. 2013).

    Args:
        layers: as for `Chain`; or a function without arguments that makes a layer, and their number.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.Maxout(lambda: nn.Dense(4, 2), 3)
        >>> ps, st = nn.setup(0, model)
        >>> model(lx.ones((5, 4)), ps, st)[0].shape
        (5, 2)
    """

    __slots__ = ()

    def __init__(self, *layers: Any, name: str | None = None, **named: Any) -> None:
        if len(layers) == 2 and callable(layers[0]) and isinstance(layers[1], int):
            layers = tuple(layers[0]() for _ in range(layers[1]))
        children = name_layers(layers, named)
        if not children:
            raise ValueError("Maxout needs at least one layer")
        self._set(children, name)

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        changed: dict[str, Any] = {}
        largest = None
        for name, layer in self._steps:
            y = call_child(name, layer, x, ps, st, changed, self)
            largest = y if largest is None else _core.maximum(largest, y)
        return largest, (updated(st, changed) if changed else st)


@dataclasses.dataclass(frozen=True, repr=False)
class SkipConnection(Layer):
    """connection(layer(x), x).

    Args:
        layer: the inner layer (or function).
        connection: a function of two arguments, or a layer that gets a pair.

    Parameters and states: the inner layer's own, with no extra level; with a layer as connection they have
    two entries, `layer` and `connection`.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.SkipConnection(nn.Dense(4, 4, lx.relu), lx.add)
        >>> ps, st = nn.setup(0, model)
        >>> list(ps.paths())
        ['weight', 'bias']
        >>> model(lx.ones((2, 4)), ps, st)[0].shape
        (2, 4)
    """

    layer: Layer
    connection: Callable[..., Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", as_layer(self.layer))
        if not callable(self.connection):
            raise TypeError(
                f"the connection must be a function or a layer, got {type(self.connection).__name__}"
            )

    def inner(self) -> Layer | Children | None:
        if isinstance(self.connection, Layer):
            return {"layer": self.layer, "connection": self.connection}
        return self.layer

    def with_inner(self, inner: Any) -> Layer:
        if isinstance(self.connection, Layer):
            return dataclasses.replace(self, **inner)
        return dataclasses.replace(self, layer=inner)

    def describe(self) -> str:
        shown = "" if isinstance(self.connection, Layer) else f"({describe_value(self.connection)})"
        return f"SkipConnection{shown}"

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        if isinstance(self.connection, Layer):
            changed: dict[str, Any] = {}
            y = call_child("layer", self.layer, x, ps, st, changed, self)
            z = call_child("connection", self.connection, (y, x), ps, st, changed, self)
            return z, (updated(st, changed) if changed else st)
        y, st = self.layer(x, ps, st)
        return self.connection(y, x), st


@dataclasses.dataclass(frozen=True, repr=False)
class RepeatedLayer(Wrapper):
    """One layer applied several times with shared parameters, its state threaded through.

    Args:
        layer: the inner layer (or function).
        repeats: how often, at least 0.
        input_injection: give the layer the pair (y, x) instead of y, with y = x at first.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.RepeatedLayer(nn.Dense(4, 4, lx.tanh), repeats=3)
        >>> ps, st = nn.setup(0, model)
        >>> model(lx.ones((2, 4)), ps, st)[0].shape
        (2, 4)
    """

    layer: Layer
    repeats: int = 10
    input_injection: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", as_layer(self.layer))
        if self.repeats < 0:
            raise ValueError(f"repeats must not be negative, got {self.repeats}")

    def describe(self) -> str:
        return (
            f"RepeatedLayer(repeats={self.repeats}{', input_injection=True' if self.input_injection else ''})"
        )

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        y = x
        for _ in range(self.repeats):
            y, st = self.layer((y, x) if self.input_injection else y, ps, st)
        return y, st
