"""The largest element, the mean or the p-norm of windows of the spatial axes.

Everywhere `window`, `stride`, `dilation` and `output` are an int or one int per spatial axis. With a list the
last so many axes are pooled, whatever stands before them; with ints x is (batch, channels, spatial...).
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import _core
from .._core import Tensor
from .._typing import Padding


def max_pool(
    x: Tensor,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest element of every window; padding is no element, and NaN wins.

    An axis of n elements has floor((n + padding - dilation * (window - 1) - 1) / stride) + 1 windows; with
    `ceil_mode` one more where elements are left over. Of equal elements the first gets the gradient.

    Args:
        x: (batch, channels, spatial...), floating.
        window: the number of elements of a window.
        stride: the distance between windows; None is the window.
        padding: on both sides of each axis, or pairs (before, after), or "same" or "valid"; at most half of
            a window.
        dilation: the distance between elements of a window.
        ceil_mode: whether a last window that reaches beyond the end counts.

    Raises:
        ValueError: windows do not fit, sizes are 0, or the padding is more than half of a window.
        TypeError: a dtype that is not floating.
    """
    return _core.max_pool(x, window, stride, padding, dilation, ceil_mode)


def mean_pool(
    x: Tensor,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of every window; windows and shapes are those of `max_pool`.

    Args:
        count_include_pad: whether padding counts as zeros, or not at all.

    Raises:
        ValueError: windows do not fit, sizes are 0, or the padding is more than half of a window.
        TypeError: a dtype that is not floating.
    """
    return _core.mean_pool(x, window, stride, padding, ceil_mode, count_include_pad)


def lp_pool(
    x: Tensor,
    window: int | Sequence[int],
    p: float = 2.0,
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """(mean of x^p over every window * elements of a window)^(1/p), as PyTorch has it.

    Where a sum is 0 the gradient is 0. With an odd p, elements are to be non-negative.

    Raises:
        ValueError: windows do not fit, or p is 0 or not finite.
        TypeError: a dtype that is not floating.
    """
    return _core.lp_pool(x, window, p, stride, ceil_mode)


def adaptive_max_pool(x: Tensor, output: int | Sequence[int]) -> Tensor:
    """The largest element of `output` windows on each axis, window o from floor(o * n / output) to
    ceil((o + 1) * n / output).

    Raises:
        ValueError: an axis or an output without elements.
        TypeError: a dtype that is not floating.
    """
    return _core.adaptive_max_pool(x, output)


def adaptive_mean_pool(x: Tensor, output: int | Sequence[int]) -> Tensor:
    """The mean of the windows of `adaptive_max_pool`.

    Raises:
        ValueError: an axis or an output without elements.
        TypeError: a dtype that is not floating.
    """
    return _core.adaptive_mean_pool(x, output)


def adaptive_lp_pool(x: Tensor, output: int | Sequence[int], p: float = 2.0) -> Tensor:
    """(sum of x^p)^(1/p) over the windows of `adaptive_max_pool`; where the sum is 0 the gradient is 0.

    Raises:
        ValueError: an axis or an output without elements, or p is 0 or not finite.
        TypeError: a dtype that is not floating.
    """
    return _core.adaptive_lp_pool(x, output, p)
