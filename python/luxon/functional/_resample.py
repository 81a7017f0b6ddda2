"""The spatial axes at another resolution."""

from __future__ import annotations

from collections.abc import Sequence

from .. import _core
from .._core import Tensor


def upsample(
    x: Tensor,
    scale: float | Sequence[float] | None = None,
    size: int | Sequence[int] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Tensor:
    """The spatial axes interpolated to `scale` times their size, rounded down, or to `size`.

    Output o stands at (o + 0.5) / scale - 0.5 of the input; with `align_corners` at o * (n - 1) / (size - 1), so
    that the first and last elements stay where they are. Positions before the first element count as it.

    Args:
        x: (batch, channels, spatial...), floating.
        scale: a number, or one per spatial axis.
        size: an int, or one per spatial axis; either this or `scale`.
        mode: "nearest", "linear" along any number of axes, also called "bilinear" along two and "trilinear"
            along three, or "bicubic" along two (Keys 1981, a = -0.75).
        align_corners: see above; not with "nearest".

    Raises:
        ValueError: neither or both of scale and size, one that is not positive, or a mode that does not fit.
        TypeError: a dtype that is not floating.
    """
    return _core.upsample(x, scale, size, mode, align_corners)


def pixel_shuffle(x: Tensor, r: int) -> Tensor:
    """(batch, channels * r^n, spatial...) to (batch, channels, spatial * r...) (Shi et al. 2016).

    y[b, c, h * r + i, w * r + j] = x[b, (c * r + i) * r + j, h, w], and so for one and three spatial axes.

    Raises:
        ValueError: the channels are no multiple of r^n.
    """
    return _core.pixel_shuffle(x, r)


def pixel_unshuffle(x: Tensor, r: int) -> Tensor:
    """The inverse of `pixel_shuffle`: (batch, channels, spatial * r...) to (batch, channels * r^n, spatial...).

    Raises:
        ValueError: a spatial axis is no multiple of r.
    """
    return _core.pixel_unshuffle(x, r)
