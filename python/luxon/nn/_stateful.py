"""The mutable convenience around a model."""

from __future__ import annotations

from typing import Any

from ._layer import Layer, Params, States


class StatefulLayer:
    """A model with its parameters and states: `m(x)` gives y only and keeps the new states.

    Args:
        model: the layer.
        ps, st: its trees.

    Attributes:
        model, ps, st: what it was made of; `st` is replaced by every call.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.Chain(nn.Dense(2, 3), nn.BatchNorm(3))
        >>> m = nn.StatefulLayer(model, *nn.setup(0, model))
        >>> m(lx.ones((4, 2))).shape
        (4, 3)
    """

    __slots__ = ("model", "ps", "st")

    def __init__(self, model: Layer, ps: Params, st: States) -> None:
        self.model, self.ps, self.st = model, ps, st

    def __call__(self, x: Any, ps: Params | None = None) -> Any:
        """The output for `x`, with other parameters where they are given."""
        y, self.st = self.model(x, self.ps if ps is None else ps, self.st)
        return y

    def __repr__(self) -> str:
        return f"StatefulLayer({self.model!r})"
