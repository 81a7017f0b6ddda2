"""What functions with several results return: named tuples, as the array API has them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._core import Tensor


class FloatInfo(NamedTuple):
    """The limits of a floating dtype; `eps` is the distance from 1 to the next number."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype[Any]


class TopK(NamedTuple):
    """The k best elements along an axis, and where they stand."""

    values: Tensor
    indices: Tensor


class UniqueAll(NamedTuple):
    """Distinct elements, their first positions, the element that each position has, and their counts."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """Distinct elements and their counts."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """Distinct elements, and for each position which of them it has."""

    values: Tensor
    inverse_indices: Tensor
