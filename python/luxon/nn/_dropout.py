"""Dropout layers: random masks from the key in their state."""

from __future__ import annotations

import dataclasses
from typing import Any

from .. import _core, random
from .._core import Tree
from ._containers import updated
from ._layer import Layer, Params, States


@dataclasses.dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """Elements set to zero with probability p in training, the others scaled by 1 / (1 - p).

    Args:
        p: the probability, in [0, 1]; 1 gives exact zeros.
        axes: the axes along which the mask varies; it is shared along the others. None is all.

    States: key, training. The same state gives the same mask; the returned state has the next key. With
    p = 0, and in testing, the input passes and the state stays.

    Raises:
        ValueError: p outside [0, 1].

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.Dropout(0.5)
        >>> ps, st = nn.setup(0, layer)
        >>> y, after = layer(lx.ones((2, 3)), ps, st)
        >>> bool(lx.all((y == 0) | (y == 2)))
        True
        >>> layer(lx.ones(2), ps, nn.testmode(st))[0].tolist()
        [1.0, 1.0]
    """

    p: float
    axes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"{type(self).__name__}: p must lie in [0, 1], got {self.p}")
        if self.axes is not None:
            axes = (self.axes,) if isinstance(self.axes, int) else tuple(self.axes)
            object.__setattr__(self, "axes", axes)

    def initial_states(self, key: random.Key) -> Tree:
        return Tree({"key": key.fold_in("key"), "training": True})

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        if self.p == 0.0 or not st["training"]:
            return x, st
        key, following = st["key"].split(2)
        return _core.dropout(key, x, self.p, self.axes), updated(st, {"key": following})
