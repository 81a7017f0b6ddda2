"""Layers without parameters that change shapes or call functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from .. import _core
from ._dense import check_tensor
from ._layer import Layer, Params, States, Wrapper, describe_value


@dataclasses.dataclass(frozen=True, repr=False)
class WrappedFunction(Layer):
    """A function as a layer: y = f(x).

    FLOPs: unknown.

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
    """The identity: y = x, whatever x is. FLOPs: none.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.NoOpLayer()(lx.ones(2), {}, {})[0].tolist()
        [1.0, 1.0]
    """

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        return x, st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 0


@dataclasses.dataclass(frozen=True, repr=False)
class ReshapeLayer(Layer):
    """Every sample reshaped: (batch, ...) to (batch, *shape). FLOPs: none.

    Args:
        shape: sizes without the batch axis; one may be -1.

    Raises:
        ValueError: the number of elements differs, or there is no batch axis.

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
        expected = "(batch, ...)"
        check_tensor(self, x, expected)
        if x.ndim == 0:
            raise ValueError(f"{self.describe()} got (), expected {expected}")
        return _core.reshape(x, (x.shape[0], *self.shape)), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 0


@dataclasses.dataclass(frozen=True, repr=False)
class FlattenLayer(Layer):
    """All axes from `start` on made one: (batch, a, b) to (batch, a * b) by default. FLOPs: none.

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
        check_tensor(self, x, "(batch, ...)")
        if x.ndim < self.start:
            raise ValueError(
                f"{self.describe()} got {tuple(x.shape)}, expected at least {self.start} axes before those made one"
            )
        return _core.reshape(x, (*x.shape[: self.start], math.prod(x.shape[self.start :]))), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 0


@dataclasses.dataclass(frozen=True, repr=False)
class SelectDim(Layer):
    """One index of one axis, which disappears. FLOPs: none.

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
        check_tensor(self, x, "(...)")
        axis = self.axis + x.ndim if self.axis < 0 else self.axis
        if not 0 <= axis < x.ndim:
            raise IndexError(f"{self.describe()} got {tuple(x.shape)}, which has no axis {self.axis}")
        if not -x.shape[axis] <= self.index < x.shape[axis]:
            raise IndexError(
                f"{self.describe()} got {tuple(x.shape)}, whose axis {self.axis} has no index {self.index}"
            )
        return x[(slice(None),) * axis + (self.index,)], st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 0


@dataclasses.dataclass(frozen=True, repr=False)
class ReverseSequence(Layer):
    """The input with one axis reversed, time by default. FLOPs: none.

    Raises:
        IndexError: no such axis.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.ReverseSequence()(lx.asarray([[1.0, 2.0, 3.0]]), {}, {})[0].tolist()
        [[3.0, 2.0, 1.0]]
    """

    axis: int = 1

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        check_tensor(self, x, "(...)")
        if not -x.ndim <= self.axis < x.ndim:
            raise IndexError(f"{self.describe()} got {tuple(x.shape)}, which has no axis {self.axis}")
        return _core.flip(x, axis=self.axis), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 0


@dataclasses.dataclass(frozen=True, repr=False)
class AlternatePrecision(Wrapper):
    """The inner layer computed in another floating type; input and output keep the outer one.

    Args:
        dtype: what the inner layer's input and parameters are cast to.
        layer: the inner layer (or function), whose trees are this one's.

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
        from ._containers import as_layer
        from ._setup import floating

        object.__setattr__(self, "layer", as_layer(self.layer))
        object.__setattr__(self, "dtype", floating("AlternatePrecision", self.dtype))

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        from ._setup import cast

        y, st = self.layer(cast(x, self.dtype), cast(ps, self.dtype), st)
        return cast(y, x.dtype), st
