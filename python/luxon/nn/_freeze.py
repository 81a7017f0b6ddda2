"""Freezing: parameters moved to the states, where nothing trains them."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, overload

from .. import random, tree
from .._core import Tree
from ._errors import stack_level
from ._layer import Layer, Params, States, parameter_structure, settled

Which = str | Iterable[str] | None
"""Names or patterns of what to freeze, relative to the layer; None is everything."""

FROZEN_PARAMETERS = "frozen_params"
INNER_STATES = "states"


def _part(layer: FrozenLayer, st: States, name: str) -> Any:
    """One of the two entries of a frozen layer's states."""
    try:
        return st[name]
    except (KeyError, TypeError, IndexError):
        have = ", ".join(map(str, st)) if isinstance(st, Mapping) else type(st).__name__
        raise ValueError(
            f"{layer.describe()}: its states have the entries {FROZEN_PARAMETERS} and {INNER_STATES}, these "
            f"have: {have or 'none'}; freeze(layer, ps, st, which) and setup make them"
        ) from None


def _names(which: Which) -> tuple[str, ...] | None:
    if which is None:
        return None
    names = (which,) if isinstance(which, str) else which
    if isinstance(names, Mapping) or not isinstance(names, Iterable):
        raise TypeError(
            f"which must be a name, names or None, got {type(which).__name__}; "
            "with values the call is freeze(layer, ps, st, which)"
        )
    names = tuple(names)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"which must hold names, got {name!r}")
    return names


def split(ps: Params, which: tuple[str, ...] | None) -> tuple[Tree, Tree]:
    """The parts of a tree that `which` names, and the rest; both keep the nesting."""
    return tree.partition(ps, _everything if which is None else which)


def _everything(path: str, leaf: Any) -> bool:
    return True


@dataclasses.dataclass(frozen=True, repr=False)
class FrozenLayer(Layer):
    """A layer, some (or all) of whose parameters are in the states instead.

    Outputs are the layer's own, bit for bit, and gradients flow through to the input. Frozen leaves get no
    gradient, no optimiser slot and no work in the backward pass, and count as non-trainable.

    Args:
        layer: the layer.
        which: names or patterns relative to the layer, such as "encoder" (all below it), "**.bias" or
            "layer_[1-3].weight"; None freezes everything.

    Parameters: the layer's without the frozen ones; a child that keeps none is an empty tree. States:
    `frozen_params`, and `states`, which are the layer's own.

    Raises:
        ValueError: a name or pattern that matches nothing, listing the nearest that exist; nothing to freeze.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.FrozenLayer(nn.Dense(2, 3), "bias")
        >>> ps, st = nn.setup(0, layer)
        >>> list(ps.paths()), list(st.paths())
        (['weight'], ['frozen_params.bias'])
        >>> layer(lx.ones((4, 2)), ps, st)[0].shape
        (4, 3)
    """

    layer: Layer
    which: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.layer, Layer):
            raise TypeError(f"FrozenLayer needs a layer, got {type(self.layer).__name__}")
        object.__setattr__(self, "which", _names(self.which))
        if self.which is None:
            return
        if not self.which:
            raise ValueError(
                "FrozenLayer: which is empty, so there is nothing to freeze; None freezes everything"
            )
        if self._order is not None:
            split(tree.unflatten(self._order, range(len(self._order))), self.which)

    @functools.cached_property
    def _order(self) -> Any:
        """The structure of the layer's own parameters; None where a size is still open and decides about it."""
        return parameter_structure(self.layer)

    def with_layer(self, layer: Layer) -> FrozenLayer:
        """The same freezing of another layer with the same parameters."""
        new = object.__new__(FrozenLayer)
        object.__setattr__(new, "layer", layer)
        object.__setattr__(new, "which", self.which)
        return new

    def with_input(self, shape: tuple[int, ...]) -> FrozenLayer:
        """The layer with the open size of its inner layer taken from an input's shape."""
        settle = getattr(self.layer, "with_input", None)
        return self.with_layer(settled(self.layer) if settle is None else settle(shape))

    def merged(self, ps: Params, st: States) -> Any:
        """The layer's own parameters."""
        frozen = _part(self, st, FROZEN_PARAMETERS)
        return frozen if self.which is None else tree.merge(ps, frozen, like=self._order)

    def initial_parameters(self, key: random.Key) -> Tree:
        return split(self.layer.initial_parameters(key), self.which)[1]

    def initial_states(self, key: random.Key) -> Tree:
        frozen = split(self.layer.initial_parameters(key), self.which)[0]
        return Tree({FROZEN_PARAMETERS: frozen, INNER_STATES: self.layer.initial_states(key)})

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        before = _part(self, st, INNER_STATES)
        y, after = self.layer(x, self.merged(ps, st), before)
        if after is before:
            return y, st
        return y, type(st)({FROZEN_PARAMETERS: st[FROZEN_PARAMETERS], INNER_STATES: after})

    def describe(self) -> str:
        which = "" if self.which is None else f", which={', '.join(self.which)}"
        return f"FrozenLayer({self.layer.describe()}{which})"


@overload
def freeze(layer: Layer, which: Which = None, /) -> Layer: ...
@overload
def freeze(layer: Layer, /, *, which: Which) -> Layer: ...
@overload
def freeze(layer: Layer, ps: Params, st: States, which: Which = None) -> tuple[Layer, Tree, Tree]: ...
def freeze(layer: Layer, *arguments: Any, **keywords: Any) -> Any:
    """A layer with parameters frozen: `freeze(layer, which)`, or with values `freeze(layer, ps, st, which)`.

    Args:
        layer: the layer. Freezing a frozen layer nests.
        ps, st: its trees; with them, the current values are frozen.
        which: names or patterns relative to the layer; None is everything. An empty one changes nothing,
            with a warning.

    Returns:
        The frozen layer, with the new parameters and states where trees were given.

    Raises:
        TypeError: `which` holds no names.
        ValueError: a name or pattern that matches nothing, listing the nearest that exist; a tie of which
            only a part is named; trees of another model.

    Example:
        >>> from luxon import nn
        >>> model = nn.Chain(body=nn.Dense(2, 3), head=nn.Dense(3, 1))
        >>> ps, st = nn.setup(0, model)
        >>> frozen, ps, st = nn.freeze(model, ps, st, "body")
        >>> list(ps.paths())
        ['head.weight', 'head.bias']
        >>> model is nn.unfreeze(frozen)
        True
    """
    ps, st, which, given = _arguments("freeze", arguments, keywords)
    names = _names(which)
    if names == ():
        warnings.warn(
            "freeze: which is empty, so nothing was frozen; None freezes everything",
            stacklevel=stack_level(),
        )
        return (layer, ps, st) if given else layer
    new = FrozenLayer(layer, names)
    if not given:
        return new
    from ._fit import check_parameters, check_states

    check_parameters(layer, ps, "freeze: the parameters do not fit the model")
    check_states(layer, st, "freeze: the states do not fit the model")
    frozen, left = split(ps, names)
    return new, left, Tree({FROZEN_PARAMETERS: frozen, INNER_STATES: st})


def _arguments(what: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, Any, Any, bool]:
    """ps, st and which, however they were given, and whether there are trees."""
    names = (
        ("which",) if len(arguments) == 1 and not {"ps", "st"} & keywords.keys() else ("ps", "st", "which")
    )
    if len(arguments) > 3:
        raise TypeError(f"{what} takes at most 4 arguments: a layer, ps, st and which")
    given = dict(zip(names, arguments, strict=False))
    for name, value in keywords.items():
        if name not in ("ps", "st", "which"):
            raise TypeError(f"{what} has no argument {name!r}")
        if name in given:
            raise TypeError(f"{what} got the argument {name!r} twice")
        given[name] = value
    trees = "ps" in given or "st" in given
    if trees and not ("ps" in given and "st" in given):
        raise TypeError(f"{what} needs both ps and st, or neither")
    for name in ("ps", "st"):
        if trees and not isinstance(given[name], Mapping | tuple):
            raise TypeError(f"{what}: {name} must be a tree, got {type(given[name]).__name__}")
    return given.get("ps"), given.get("st"), given.get("which"), trees


@overload
def unfreeze(layer: Layer) -> Layer: ...
@overload
def unfreeze(layer: Layer, ps: Params, st: States) -> tuple[Layer, Tree, Tree]: ...
def unfreeze(layer: Layer, *arguments: Any, **keywords: Any) -> Any:
    """What `freeze` was given: the very inner layer, its merged parameters in their order, and its states.

    Args:
        layer: a `FrozenLayer`; one that was frozen twice is unfrozen once.
        ps, st: its trees.

    Raises:
        TypeError: the layer is not frozen.

    Example:
        >>> from luxon import nn
        >>> model = nn.Dense(2, 3)
        >>> frozen, ps, st = nn.freeze(model, *nn.setup(0, model), "weight")
        >>> model, ps, st = nn.unfreeze(frozen, ps, st)
        >>> list(ps.paths())
        ['weight', 'bias']
    """
    if not isinstance(layer, FrozenLayer):
        raise TypeError(
            f"unfreeze needs a frozen layer, got {type(layer).__name__}; layer_map reaches layers inside"
        )
    if not arguments and not keywords:
        return layer.layer
    ps, st, which, _ = _arguments("unfreeze", arguments, keywords)
    if which is not None:
        raise TypeError("unfreeze takes a layer, or a layer with ps and st")
    merged, inner = layer.merged(ps, st), _part(layer, st, INNER_STATES)
    return (
        layer.layer,
        merged if isinstance(merged, Tree) else Tree(merged),
        inner if isinstance(inner, Tree) else Tree(inner),
    )
