"""Attention layers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from .. import _core
from ._containers import call_child, updated
from ._dense import Dense, check_size, check_tensor
from ._dropout import Dropout
from ._layer import Container, Layer, Params, States


@dataclasses.dataclass(frozen=True, repr=False)
class MultiHeadAttention(Container):
    """Several heads of attention between projections (Vaswani et al. 2017).

    Queries, keys and values are projected and cut in heads; each head is softmax(q k^T / sqrt(dim / heads)) v;
    the heads' results, side by side, are projected once more.

    Args:
        dim: size of queries, of the output, and of keys and values.
        heads: the number of heads, a divisor of `dim`.
        dropout: the probability that a weight is dropped in training.
        causal: whether query i attends to keys 0 to i only.
        use_bias: whether the projections have biases.
        kv_heads: the number of heads of keys and values, a divisor of `heads`; None is as many.
        return_weights: whether the output is the pair (y, weights).

    Input: x for self-attention, (q, kv), (q, k, v), or (q, k, v, mask) with a mask of bool, True = attend, that
    broadcasts to (batch, heads, queries, keys).

    Shapes: (batch, time, dim) each, to (batch, queries, dim); weights are (batch, heads, queries, keys), after
    dropout. A query that attends to nothing gets the zero vector before the last projection.

    FLOPs: 4 * dim for each pair of a query and a key, causal or not, and the projections' own.

    Parameters: children q_proj, k_proj, v_proj, out_proj, each a Dense; k_proj and v_proj have
    kv_heads * dim / heads rows. States: the children's; with dropout there is one more, attention_dropout.

    Without dropout and weights the attention is one fused operation that never holds all scores.

    Raises:
        ValueError: sizes that do not divide; inputs of another size.
        TypeError: a mask that is not bool.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.MultiHeadAttention(8, 2, causal=True)
        >>> ps, st = nn.setup(0, layer)
        >>> list(ps.paths())
        ['q_proj.weight', 'k_proj.weight', 'v_proj.weight', 'out_proj.weight']
        >>> layer(lx.ones((3, 5, 8)), ps, st)[0].shape
        (3, 5, 8)
    """

    dim: int
    heads: int
    dropout: float = 0.0
    causal: bool = False
    use_bias: bool = False
    kv_heads: int | None = None
    return_weights: bool = False
    q_proj: Layer | None = dataclasses.field(default=None, kw_only=True)
    k_proj: Layer | None = dataclasses.field(default=None, kw_only=True)
    v_proj: Layer | None = dataclasses.field(default=None, kw_only=True)
    out_proj: Layer | None = dataclasses.field(default=None, kw_only=True)
    attention_dropout: Layer | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_size(self, "dim", self.dim)
        check_size(self, "heads", self.heads)
        check_size(self, "kv_heads", self.kv_heads, optional=True)
        if self.dim % self.heads:
            raise ValueError(f"MultiHeadAttention: dim {self.dim} is no multiple of heads {self.heads}")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(
                f"MultiHeadAttention: heads {self.heads} is no multiple of kv_heads {self.kv_heads}"
            )
        narrow = self.dim // self.heads * (self.kv_heads or self.heads)
        widths = {"q_proj": self.dim, "k_proj": narrow, "v_proj": narrow, "out_proj": self.dim}
        for name, width in widths.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, Dense(self.dim, width, use_bias=self.use_bias))
        noise = Dropout(self.dropout)  # Refuses what is no probability.
        if self.dropout and self.attention_dropout is None:
            object.__setattr__(self, "attention_dropout", noise)

    def describe(self) -> str:
        plain = {
            "dropout": 0.0,
            "causal": False,
            "use_bias": False,
            "kv_heads": None,
            "return_weights": False,
        }
        options = "".join(
            f", {name}={getattr(self, name)}"
            for name, default in plain.items()
            if getattr(self, name) != default
        )
        return f"MultiHeadAttention({self.dim}, heads={self.heads}{options})"

    def _inputs(self, x: Any) -> tuple[Any, Any, Any, Any]:
        """q, k, v and mask of an input."""
        parts = tuple(x) if isinstance(x, tuple | list) else (x,)
        if len(parts) not in (1, 2, 3, 4):
            raise ValueError(
                f"{self.describe()} takes x, (q, kv), (q, k, v) or (q, k, v, mask), got {len(parts)}"
            )
        q, k = parts[0], parts[min(len(parts), 2) - 1]
        v = parts[2] if len(parts) > 2 else k
        for part in (q, k, v):
            if getattr(part, "ndim", 0) < 3:
                expected = f"(batch, time, {self.dim})"
                check_tensor(self, part, expected)
                raise ValueError(f"{self.describe()} got {tuple(part.shape)}, expected {expected}")
        return q, k, v, parts[3] if len(parts) == 4 else None

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """Floating-point operations of self-attention, without those of the projections."""
        del y_shape
        return self._pairs(x_shape, x_shape[-2])

    def flops_of_call(self, x: Any, y: Any) -> int:
        q, k, _, _ = self._inputs(x)
        return self._pairs(tuple(q.shape), k.shape[-2])

    def _pairs(self, q_shape: tuple[int, ...], keys: int) -> int:
        """Scores and weighted sums of values: a product of a query with a key, and one of a weight with a value."""
        return 4 * self.dim * math.prod(q_shape[:-1]) * keys

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        q, k, v, mask = self._inputs(x)
        changed: dict[str, Any] = {}

        def project(name: str, part: Any) -> Any:
            return call_child(name, getattr(self, name), part, ps, st, changed)

        q, k, v = project("q_proj", q), project("k_proj", k), project("v_proj", v)
        size = self.dim // self.heads
        q = _core.reshape(q, (*q.shape[:-1], self.heads, size))
        k, v = (_core.reshape(part, (*part.shape[:-1], self.kv_heads or self.heads, size)) for part in (k, v))
        noisy = self.attention_dropout is not None and _training(st["attention_dropout"])
        if noisy or self.return_weights:
            weights = _weights(q, k, mask, self.causal)
            if self.attention_dropout is not None:
                weights = call_child("attention_dropout", self.attention_dropout, weights, ps, st, changed)
            y = _weighted(weights, v)
        else:
            y, weights = (
                _core.scaled_dot_product_attention(q, k, v, mask, None, self.causal, None, True),
                None,
            )
        y = project("out_proj", _core.reshape(y, (*y.shape[:-2], self.dim)))
        return ((y, weights) if self.return_weights else y), (updated(st, changed) if changed else st)


def _training(st: Any) -> bool:
    return bool(st["training"]) if "training" in st else True


def _grouped(part: Any, groups: int) -> Any:
    """(..., time, heads, size) as (..., groups, heads / groups, time, size)."""
    part = _core.swapaxes(part, -3, -2)
    return _core.reshape(part, (*part.shape[:-3], groups, part.shape[-3] // groups, *part.shape[-2:]))


def _weights(q: Any, k: Any, mask: Any, causal: bool) -> Any:
    """The weights (..., heads, queries, keys) of heads (..., time, heads, size); zeros where nothing is met."""
    groups, queries, keys = k.shape[-2], q.shape[-3], k.shape[-3]
    scores = _core.matmul(
        _grouped(q, groups) * q.shape[-1] ** -0.5, _core.matrix_transpose(_grouped(k, groups))
    )
    scores = _core.reshape(scores, (*q.shape[:-3], q.shape[-2], queries, keys))
    met = mask
    if causal:
        below = _core.tril(_core.ones((queries, keys), dtype="bool", device=scores.device))
        met = below if met is None else met & below
    if met is None:
        return _core.softmax(scores)
    if met.dtype != bool:
        raise TypeError(f"the mask is of {met.dtype}, expected bool (True = attend)")
    # A query that meets nothing: equal scores, so that no derivative is NaN, and then no weights.
    hidden = _core.where(met, scores, float("-inf"))
    hidden = _core.where(_core.any(met, axis=-1, keepdims=True), hidden, 0.0)
    return _core.where(met, _core.softmax(hidden), 0.0)


def _weighted(weights: Any, v: Any) -> Any:
    """(..., time, heads, size) from weights (..., heads, queries, keys) and values (..., time, heads, size)."""
    groups = v.shape[-2]
    heads, queries, keys = weights.shape[-3:]
    weights = _core.reshape(weights, (*weights.shape[:-3], groups, heads // groups, queries, keys))
    y = _core.matmul(weights, _grouped(v, groups))
    return _core.swapaxes(_core.reshape(y, (*y.shape[:-4], heads, queries, v.shape[-1])), -3, -2)
