"""Pooling layers: windows of the spatial axes of (batch, channels, spatial...)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from .. import _core
from .._typing import Padding
from ._dense import check_tensor
from ._layer import Layer, Params, States


def tuples(value: Any) -> Any:
    """A list as a tuple, so that the layer that keeps it can be hashed."""
    return tuple(tuples(entry) for entry in value) if isinstance(value, list | tuple) else value


def _freeze(layer: Any, *names: str) -> None:
    for name in names:
        object.__setattr__(layer, name, tuples(getattr(layer, name)))


def spatial(layer: Layer, x: Any, sizes: Any = None) -> tuple[int, ...]:
    """The spatial axes of an input, as many as there are `sizes` where that is a tuple."""
    axes = len(sizes) if isinstance(sizes, tuple) else None
    if not hasattr(x, "ndim") or x.ndim < 3 or (axes is not None and x.ndim != axes + 2):
        expected = "(batch, channels, spatial...)" if axes is None else f"(batch, channels{', size' * axes})"
        check_tensor(layer, x, expected)
        raise ValueError(f"{layer.describe()} got {tuple(x.shape)}, expected {expected}")
    return tuple(range(2, x.ndim))


@dataclasses.dataclass(frozen=True, repr=False)
class MaxPool(Layer):
    """The largest element of every window; see `luxon.functional.max_pool`.

    Args:
        window: elements of a window; an int, or one per spatial axis.
        stride: the distance between windows; None is the window.
        padding: on both sides, or pairs (before, after), or "same" or "valid"; it is never chosen.
        dilation: the distance between elements of a window.
        ceil_mode: whether a last window that reaches beyond the end counts.

    Shapes: (batch, channels, n...) to (batch, channels, m...) with m = floor((n + padding - dilation *
    (window - 1) - 1) / stride) + 1. FLOPs: one comparison per element of every window.

    Raises:
        ValueError: windows do not fit, or the padding is more than half of a window.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.MaxPool(2)(lx.reshape(lx.arange(16.0), (1, 1, 4, 4)), {}, {})[0].tolist()
        [[[[5.0, 7.0], [13.0, 15.0]]]]
    """

    window: int | tuple[int, ...]
    stride: int | tuple[int, ...] | None = None
    padding: Padding = 0
    dilation: int | tuple[int, ...] = 1
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        _freeze(self, "window", "stride", "padding", "dilation")

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        spatial(self, x, self.window)
        return _core.max_pool(x, self.window, self.stride, self.padding, self.dilation, self.ceil_mode), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return _window_flops(self.window, y_shape)


@dataclasses.dataclass(frozen=True, repr=False)
class MeanPool(Layer):
    """The mean of every window; see `luxon.functional.mean_pool`.

    Args:
        window: elements of a window; an int, or one per spatial axis.
        stride: the distance between windows; None is the window.
        padding: zeros on both sides, or pairs (before, after), or "same" or "valid".
        ceil_mode: whether a last window that reaches beyond the end counts.
        count_include_pad: whether padding counts in the mean.

    Shapes: those of MaxPool. FLOPs: one addition per element of every window.

    Raises:
        ValueError: windows do not fit, or the padding is more than half of a window.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.MeanPool(2)(lx.reshape(lx.arange(16.0), (1, 1, 4, 4)), {}, {})[0].tolist()
        [[[[2.5, 4.5], [10.5, 12.5]]]]
    """

    window: int | tuple[int, ...]
    stride: int | tuple[int, ...] | None = None
    padding: Padding = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def __post_init__(self) -> None:
        _freeze(self, "window", "stride", "padding")

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        spatial(self, x, self.window)
        y = _core.mean_pool(x, self.window, self.stride, self.padding, self.ceil_mode, self.count_include_pad)
        return y, st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return _window_flops(self.window, y_shape)


@dataclasses.dataclass(frozen=True, repr=False)
class LPPool(Layer):
    """(sum of x^p)^(1/p) over every window, as PyTorch has it; see `luxon.functional.lp_pool`.

    Args:
        window: elements of a window; an int, or one per spatial axis.
        p: the exponent, not 0.
        stride: the distance between windows; None is the window.
        ceil_mode: whether a last window that reaches beyond the end counts, scaled to a whole one.

    Shapes: those of MaxPool. FLOPs: two per element of every window.

    Raises:
        ValueError: windows do not fit, or p is 0 or not finite.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.LPPool(2)(lx.asarray([[[3.0, 4.0, 0.0, 0.0]]]), {}, {})[0].tolist()
        [[[5.0, 0.0]]]
    """

    window: int | tuple[int, ...]
    p: float = 2
    stride: int | tuple[int, ...] | None = None
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        _freeze(self, "window", "stride")

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        spatial(self, x, self.window)
        return _core.lp_pool(x, self.window, self.p, self.stride, self.ceil_mode), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 2 * _window_flops(self.window, y_shape)


@dataclasses.dataclass(frozen=True, repr=False)
class GlobalMaxPool(Layer):
    """The largest element of every channel: (batch, channels, n...) to (batch, channels, 1...).

    Equal largest elements share the gradient. FLOPs: one comparison per element.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.GlobalMaxPool()(lx.asarray([[[1.0, 3.0, 2.0]]]), {}, {})[0].tolist()
        [[[3.0]]]
    """

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        return _core.max(x, axis=spatial(self, x), keepdims=True), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return math.prod(x_shape)


@dataclasses.dataclass(frozen=True, repr=False)
class GlobalMeanPool(Layer):
    """The mean of every channel: (batch, channels, n...) to (batch, channels, 1...). FLOPs: one per element.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.GlobalMeanPool()(lx.asarray([[[1.0, 3.0, 2.0]]]), {}, {})[0].tolist()
        [[[2.0]]]
    """

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        return _core.mean(x, axis=spatial(self, x), keepdims=True), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return math.prod(x_shape)


@dataclasses.dataclass(frozen=True, repr=False)
class GlobalLPPool(Layer):
    """(sum of x^p)^(1/p) of every channel: (batch, channels, n...) to (batch, channels, 1...).

    Args:
        p: the exponent, not 0. Where the sum is 0 the gradient is 0.

    FLOPs: two per element.

    Raises:
        ValueError: p is 0 or not finite.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.GlobalLPPool()(lx.asarray([[[3.0, 4.0]]]), {}, {})[0].tolist()
        [[[5.0]]]
    """

    p: float = 2

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        return _core.adaptive_lp_pool(x, (1,) * len(spatial(self, x)), self.p), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 2 * math.prod(x_shape)


@dataclasses.dataclass(frozen=True, repr=False)
class AdaptiveMaxPool(Layer):
    """The largest element of `output` windows on each spatial axis, whatever its size.

    Window o of an axis of n elements is floor(o * n / output) to ceil((o + 1) * n / output): windows overlap
    where the output does not divide n. Of equal elements the first gets the gradient.

    Args:
        output: the number of windows; an int, or one per spatial axis.

    FLOPs: one comparison per element of every window.

    Raises:
        ValueError: an axis or an output without elements.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.AdaptiveMaxPool(2)(lx.asarray([[[1.0, 5.0, 2.0]]]), {}, {})[0].tolist()
        [[[5.0, 5.0]]]
    """

    output: int | tuple[int, ...]

    def __post_init__(self) -> None:
        _freeze(self, "output")

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        spatial(self, x, self.output)
        return _core.adaptive_max_pool(x, self.output), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return _adaptive_flops(x_shape, y_shape)


@dataclasses.dataclass(frozen=True, repr=False)
class AdaptiveMeanPool(Layer):
    """The mean of `output` windows on each spatial axis; windows are those of AdaptiveMaxPool.

    Args:
        output: the number of windows; an int, or one per spatial axis.

    FLOPs: one addition per element of every window.

    Raises:
        ValueError: an axis or an output without elements.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.AdaptiveMeanPool(2)(lx.asarray([[[1.0, 5.0, 2.0]]]), {}, {})[0].tolist()
        [[[3.0, 3.5]]]
    """

    output: int | tuple[int, ...]

    def __post_init__(self) -> None:
        _freeze(self, "output")

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        spatial(self, x, self.output)
        return _core.adaptive_mean_pool(x, self.output), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return _adaptive_flops(x_shape, y_shape)


@dataclasses.dataclass(frozen=True, repr=False)
class AdaptiveLPPool(Layer):
    """(sum of x^p)^(1/p) of `output` windows on each spatial axis; windows are those of AdaptiveMaxPool.

    Args:
        output: the number of windows; an int, or one per spatial axis.
        p: the exponent, not 0. Where the sum is 0 the gradient is 0.

    FLOPs: two per element of every window.

    Raises:
        ValueError: an axis or an output without elements, or p is 0 or not finite.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.AdaptiveLPPool(1)(lx.asarray([[[3.0, 4.0]]]), {}, {})[0].tolist()
        [[[5.0]]]
    """

    output: int | tuple[int, ...]
    p: float = 2

    def __post_init__(self) -> None:
        _freeze(self, "output")

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        spatial(self, x, self.output)
        return _core.adaptive_lp_pool(x, self.output, self.p), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 2 * _adaptive_flops(x_shape, y_shape)


def _window_flops(window: int | tuple[int, ...], y_shape: tuple[int, ...]) -> int:
    sizes = (window,) * (len(y_shape) - 2) if isinstance(window, int) else window
    return math.prod(sizes) * math.prod(y_shape)


def _adaptive_flops(x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
    covered = math.prod(x_shape[:2])
    for size, windows in zip(x_shape[2:], y_shape[2:], strict=True):
        covered *= sum(-(-(o + 1) * size // windows) - o * size // windows for o in range(windows))
    return covered
