"""Attention."""

from __future__ import annotations

from .. import _core
from .._core import Tensor


def scaled_dot_product_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(q k^T scale + bias) v for each head (Vaswani et al. 2017), in blocks that never hold all scores.

    Args:
        q: (..., heads, queries, dim); the axes before the heads broadcast.
        k: (..., heads, keys, dim); of k and v there may be fewer heads, a divisor of those of q: neighbouring
            heads of q share one (grouped queries, Ainslie et al. 2023).
        v: (..., heads, keys, any).
        mask: bool, True where a query attends to a key; broadcasts to (..., heads, queries, keys).
        bias: numbers added to the scores, of the same shapes.
        causal: whether query i attends to keys 0 to i only.
        scale: 1 / sqrt(dim) by default.

    Returns:
        A tensor (..., heads, queries, any); zeros for a query that attends to nothing.

    Memory: proportional to queries + keys, forward and backward; only the gradient of a bias, and derivatives
    beyond the first, need all scores at once.

    Raises:
        ValueError: shapes do not fit.
        TypeError: a mask that is not bool; operands that are not floating.

    Example:
        >>> import luxon as lx
        >>> from luxon import functional
        >>> q = lx.random.normal(lx.random.key(0), (2, 4, 10, 8))
        >>> functional.scaled_dot_product_attention(q, q, q, causal=True).shape
        (2, 4, 10, 8)
    """
    return _core.scaled_dot_product_attention(q, k, v, mask, bias, causal, scale)
