"""Activations that are made of other functions."""

from __future__ import annotations

from . import _core
from ._core import Tensor
from ._core.random import Key, uniform


def rrelu(key: Key, x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3) -> Tensor:
    """x for x > 0, else x times a slope drawn for each element from [lower, upper).

    Shapes: any. Dtypes: floating.

    Example:
        >>> import luxon as lx
        >>> lx.rrelu(lx.random.key(0), lx.asarray([1.0, 2.0]))
        Tensor([1., 2.], dtype=float32)
    """
    slope = uniform(key, x.shape, lower, upper, dtype=x.dtype).to_device(x.device)
    return _core.where(x > 0, x, slope * x)
