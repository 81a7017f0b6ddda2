"""Convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from .. import _core
from .._core import Tensor

PerAxis: TypeAlias = int | Sequence[int]
"""One number for every spatial axis, or one for each."""
Padding: TypeAlias = PerAxis | Sequence[tuple[int, int]] | str
"""As `PerAxis`, or a pair (before, after) for each spatial axis, "same" or "valid"."""


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Tensor:
    """The convolution of images by kernels, as neural networks define it: the kernel is not flipped.

    y[n, f, t] = bias[f] + sum over c, k of weight[f, c, k] x[n, c, t * stride + k * dilation - padding], with
    zeros outside the image; channels and filters are cut in `groups` that do not see one another.

    Args:
        x: (batch, channels, spatial...), one to three spatial axes.
        weight: (filters, channels / groups, kernel...).
        bias: (filters,) or None.
        stride, dilation: an int, or one for each spatial axis.
        padding: an int, one for each spatial axis, a pair (before, after) for each, "valid" (none) or "same"
            (as many outputs as inputs; stride 1 only, the odd zero after).
        groups: divides channels and filters.

    Returns:
        A tensor (batch, filters, spatial...) of sizes
        floor((size + before + after - dilation * (kernel - 1) - 1) / stride) + 1.

    Raises:
        ValueError: shapes or settings do not fit, or the kernel is larger than the padded image.
        TypeError: dtypes that are not floating.

    Example:
        >>> import luxon as lx
        >>> from luxon import functional
        >>> functional.conv(lx.ones((1, 1, 3, 3)), lx.ones((1, 1, 2, 2)), padding="same").tolist()
        [[[[4.0, 4.0, 2.0], [4.0, 4.0, 2.0], [2.0, 2.0, 1.0]]]]
    """
    return _core.conv(x, weight, bias, stride, padding, dilation, groups)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Tensor:
    """The transpose of a convolution with the same settings: every input adds a scaled kernel to the output.

    Args:
        x: (batch, channels, spatial...), one to three spatial axes.
        weight: (channels, filters / groups, kernel...).
        bias: (filters,) or None.
        stride, dilation, groups: as for `conv`.
        padding: how much of the whole result is left out on either side; as for `conv`, but not "same".
        output_padding: how much longer the result is at its end, less than stride or dilation.

    Returns:
        A tensor (batch, filters, spatial...) of sizes
        (size - 1) * stride - before - after + dilation * (kernel - 1) + 1 + output_padding.

    Raises:
        ValueError: shapes or settings do not fit, or nothing is left of an axis.
        TypeError: dtypes that are not floating.

    Example:
        >>> import luxon as lx
        >>> from luxon import functional
        >>> x, weight = lx.asarray([[[1.0, 2.0]]]), lx.asarray([[[1.0, 1.0, 1.0]]])
        >>> functional.conv_transpose(x, weight, stride=2).tolist()
        [[[1.0, 1.0, 3.0, 2.0, 2.0]]]
    """
    return _core.conv_transpose(x, weight, bias, stride, padding, output_padding, dilation, groups)
