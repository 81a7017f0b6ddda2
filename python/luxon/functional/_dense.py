"""Products with weights, and tables of vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import _core
from .._core import Tensor


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: Callable[[Any], Any] | None = None
) -> Tensor:
    """activation(x W^T + b), in one pass where the activation is one of luxon's.

    Args:
        x: (..., in).
        weight: (out, in), of the same floating dtype.
        bias: (out,) or None.
        activation: an elementwise function or None.

    Returns:
        A tensor (..., out).

    Raises:
        ValueError: shapes do not fit.
        TypeError: dtypes differ or are not floating.
    """
    return _core.linear(x, weight, bias, activation)


def embedding(weight: Tensor, indices: Tensor) -> Tensor:
    """Rows of a table.

    Args:
        weight: (n, dim).
        indices: integers of any shape, in [0, n).

    Returns:
        A tensor of the indices' shape with one more axis, dim.

    Raises:
        IndexError: an index outside the table.
    """
    return _core.embedding(weight, indices)
