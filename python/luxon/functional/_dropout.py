"""Random noise that regularises."""

from __future__ import annotations

from .. import _core, random
from .._core import Tensor


def dropout(key: random.Key, x: Tensor, p: float, axes: tuple[int, ...] | None = None) -> Tensor:
    """Each element zero with probability p, the others divided by 1 - p; the key decides which.

    Args:
        key: the source of randomness.
        x: any shape.
        p: in [0, 1]; 1 gives exact zeros.
        axes: the axes along which the mask varies; None is all.

    Raises:
        ValueError: p outside [0, 1].
    """
    return _core.dropout(key, x, p, axes)
