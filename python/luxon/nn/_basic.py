"""Layers without parameters that change shapes or call functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from .. import _core
from ._layer import Layer, Params, States, Wrapper, describe_value


@dataclasses.dataclass(frozen=True, repr=False)
class WrappedFunction(Layer):
    """A function as a layer: y = f(x).

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.WrappedFunction(lx.relu)
        >>> ps, st = nn.setup(0, layer)
        >>> layer(lx.asarray([-1.0, 2.0]), ps, st)[0].tolist()
        [0.0, 2.0]
    """

    f: Callable[[Any], Any]

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        return self.f(x), st

    def describe(self) -> str:
        return f"WrappedFunction({describe_value(self.f)})"


@dataclasses.dataclass(frozen=True, repr=False)
class NoOpLayer(Layer):
    """The identity."""

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        return x, st


@dataclasses.dataclass(frozen=True, repr=False)
class ReshapeLayer(Layer):
    """Every sample reshaped: (batch, ...) to (batch, *shape).

    Args:
        shape: sizes without the batch axis; one may be -1.

    Raises:
        ValueError: the number of elements differs.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.ReshapeLayer((2, 3))(lx.ones((5, 6)), {}, {})[0].shape
        (5, 2, 3)
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        return _core.reshape(x, (x.shape[0], *self.shape)), st


@dataclasses.dataclass(frozen=True, repr=False)
class FlattenLayer(Layer):
    """All axes from `start` on made one: (batch, a, b) to (batch, a * b) by default.

    Raises:
        ValueError: the input has fewer than `start` axes.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.FlattenLayer()(lx.ones((5, 2, 3)), {}, {})[0].shape
        (5, 6)
    """

    start: int = 1

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        if x.ndim < self.start:
            raise ValueError(f"FlattenLayer(start={self.start}) got shape {x.shape}, with too few axes")
        kept = x.shape[: self.start]
        size = 1
        for length in x.shape[self.start :]:
            size *= length
        return _core.reshape(x, (*kept, size)), st


@dataclasses.dataclass(frozen=True, repr=False)
class SelectDim(Layer):
    """One index of one axis, which disappears.

    Raises:
        IndexError: no such axis or index.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.SelectDim(1, -1)(lx.ones((5, 2, 3)), {}, {})[0].shape
        (5, 3)
    """

    axis: int
    index: int

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        axis = self.axis + x.ndim if self.axis < 0 else self.axis
        if not 0 <= axis < x.ndim:
            raise IndexError(f"SelectDim(axis={self.axis}) got shape {x.shape}, which has no such axis")
        return x[(slice(None),) * axis + (self.index,)], st


@dataclasses.dataclass(frozen=True, repr=False)
class ReverseSequence(Layer):
    """The input with one axis reversed, time by default."""

    axis: int = 1

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        return _core.flip(x, axis=self.axis), st


@dataclasses.dataclass(frozen=True, repr=False)
class AlternatePrecision(Wrapper):
    """The inner layer computed in another floating type; input and output keep the outer one.

    Args:
        dtype: what the inner layer's input and parameters are cast to.
        layer: the inner layer, whose trees are this one's.

    Raises:
        TypeError: `dtype` is not a floating type.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.AlternatePrecision(lx.float64, nn.Dense(2, 2))
        >>> ps, st = nn.setup(0, model)
        >>> model(lx.ones((1, 2)), ps, st)[0].dtype
        dtype('float32')
    """

    dtype: Any
    layer: Layer

    def __post_init__(self) -> None:
        from ._setup import floating

        object.__setattr__(self, "dtype", floating("AlternatePrecision", self.dtype))

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        from ._setup import cast

        y, st = self.layer(cast(x, self.dtype), cast(ps, self.dtype), st)
        return cast(y, x.dtype), st
