"""Random noise that regularises."""

from __future__ import annotations

import math

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


# What selu tends to for large negative inputs: minus its scale times its alpha.
_SELU_LIMIT = -1.0507009873554805 * 1.6732632423543772


def alpha_dropout(key: random.Key, x: Tensor, p: float) -> Tensor:
    """Elements set to the negative limit of selu with probability p, then scaled and shifted.

    The scale and shift restore mean 0 and variance 1 for inputs that have them (Klambauer et al. 2017).

    Args:
        key: the source of randomness.
        x: any shape, of a floating dtype.
        p: in [0, 1]; 1 gives exact zeros.

    Raises:
        ValueError: p outside [0, 1].
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"alpha_dropout: p must lie in [0, 1], got {p}")
    kept = random.bernoulli(key, 1.0 - p, x.shape).to_device(x.device)
    if p == 1.0:
        return _core.where(kept, x, 0.0)
    scale = 1.0 / math.sqrt((1.0 - p) * (1.0 + p * _SELU_LIMIT**2))
    shift = -scale * p * _SELU_LIMIT
    return _core.where(kept, x * scale + shift, scale * _SELU_LIMIT + shift)
