"""Layers that change the resolution or the margins of the spatial axes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from .. import _core
from ._layer import Layer, Params, States
from ._pool import spatial, tuples


@dataclasses.dataclass(frozen=True, repr=False)
class Upsample(Layer):
    """The spatial axes interpolated to another size; see `luxon.functional.upsample`.

    Args:
        scale: how many times larger, rounded down; a number, or one per spatial axis.
        size: the size; an int, or one per spatial axis; either this or `scale`.
        mode: "nearest", "linear" (two axes: also "bilinear", three: "trilinear"), or "bicubic".
        align_corners: whether the first and last elements stay at the ends.

    Shapes: (batch, channels, n...) to (batch, channels, floor(n * scale)...) or (batch, channels, size...).
    FLOPs: none with "nearest"; else two per tap (two taps, four with "bicubic") of each output of each axis in
    turn, about.

    Raises:
        ValueError: neither or both of scale and size, or a mode that does not fit the number of axes.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.Upsample(2)(lx.asarray([[[1.0, 2.0]]]), {}, {})[0].tolist()
        [[[1.0, 1.0, 2.0, 2.0]]]
    """

    scale: float | tuple[float, ...] | None = None
    size: int | tuple[int, ...] | None = None
    mode: str = "nearest"
    align_corners: bool = False

    def __post_init__(self) -> None:
        if (self.scale is None) == (self.size is None):
            raise ValueError("Upsample: give either scale or size")
        for name in ("scale", "size"):
            object.__setattr__(self, name, tuples(getattr(self, name)))

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        spatial(self, x, self.size if self.scale is None else self.scale)
        return _core.upsample(x, self.scale, self.size, self.mode, self.align_corners), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        if self.mode == "nearest":
            return 0
        taps, sizes, total = 4 if self.mode == "bicubic" else 2, list(x_shape), 0
        for axis in range(2, len(sizes)):
            sizes[axis] = y_shape[axis]
            total += 2 * taps * math.prod(sizes)
        return total


@dataclasses.dataclass(frozen=True, repr=False)
class PixelShuffle(Layer):
    """Blocks of r^n channels as r by r pixels (Shi et al. 2016); see `luxon.functional.pixel_shuffle`.

    Shapes: (batch, channels * r^n, spatial...) to (batch, channels, spatial * r...). FLOPs: none.

    Args:
        r: the factor.

    Raises:
        ValueError: the channels are no multiple of r^n.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.PixelShuffle(2)(lx.reshape(lx.arange(4.0), (1, 4, 1, 1)), {}, {})[0].tolist()
        [[[[0.0, 1.0], [2.0, 3.0]]]]
    """

    r: int

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        return _core.pixel_shuffle(x, self.r), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 0


@dataclasses.dataclass(frozen=True, repr=False)
class PixelUnshuffle(Layer):
    """The inverse of PixelShuffle: r by r pixels as blocks of r^n channels.

    Shapes: (batch, channels, spatial * r...) to (batch, channels * r^n, spatial...). FLOPs: none.

    Args:
        r: the factor.

    Raises:
        ValueError: a spatial axis is no multiple of r.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.PixelUnshuffle(2)(lx.reshape(lx.arange(4.0), (1, 1, 2, 2)), {}, {})[0].shape
        (1, 4, 1, 1)
    """

    r: int

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        return _core.pixel_unshuffle(x, self.r), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 0


@dataclasses.dataclass(frozen=True, repr=False)
class Pad(Layer):
    """The spatial axes continued on both sides; see `luxon.pad`.

    Args:
        pad_width: an int for all sides, or a pair (before, after) per spatial axis, first axis first.
        mode: "constant" (zeros), "reflect", "edge" or "wrap".

    Shapes: (batch, channels, n...) to (batch, channels, before + n + after...). FLOPs: none.

    Raises:
        ValueError: not one pair per spatial axis, or an unknown mode.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.Pad([(1, 2)], "edge")(lx.asarray([[[1.0, 2.0]]]), {}, {})[0].tolist()
        [[[1.0, 1.0, 2.0, 2.0, 2.0]]]
    """

    pad_width: int | tuple[tuple[int, int], ...]
    mode: Literal["constant", "reflect", "edge", "wrap"] = "constant"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pad_width", tuples(self.pad_width))

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        axes = len(spatial(self, x))
        width = self.pad_width
        pairs = ((width, width),) * axes if isinstance(width, int) else width
        if len(pairs) != axes or any(not isinstance(pair, tuple) or len(pair) != 2 for pair in pairs):
            raise ValueError(
                f"{self.describe()} got {tuple(x.shape)}, expected a pair (before, after) for each of "
                f"its {axes} spatial axes"
            )
        return _core.pad(x, ((0, 0), (0, 0), *pairs), mode=self.mode), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 0
