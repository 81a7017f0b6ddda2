"""Losses of distances and orders between examples."""

from __future__ import annotations

import dataclasses
from typing import Any

from .. import _core
from .._core import Tensor
from ._base import Loss, Reduction, check_not_negative, outputs, reduce, result_dtype, tensors


def siamese_contrastive(
    prediction: Tensor, target: Tensor, margin: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """(1 - t) d^2 + t max(0, margin - d)^2 for distances d of pairs (Hadsell et al. 2006), as in Lux.

    Args:
        prediction: distances.
        target: 0 for a pair that belongs together, 1 for one that does not, of the same shape.
        margin: how far apart the latter are to be, not negative.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ, or margin is negative.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> losses.siamese_contrastive(lx.asarray([0.5, 0.5]), lx.asarray([0, 1]), margin=2, reduction="none").tolist()
        [0.25, 2.25]
    """
    check_not_negative("siamese_contrastive", margin=margin)
    d, t = tensors("siamese_contrastive", prediction, target)
    values = (1.0 - t) * _core.square(d) + t * _core.square(_core.relu(margin - d))
    return reduce("siamese_contrastive", values, reduction, result_dtype(prediction, target))


def cosine_embedding(
    x1: Tensor, x2: Tensor, target: Tensor, margin: float = 0.0, reduction: Reduction = "mean"
) -> Tensor:
    """1 - cos(x1, x2) where the target is 1, max(0, cos(x1, x2) - margin) where it is -1.

    Args:
        x1, x2: vectors (..., features) of one shape.
        target: 1 or -1, of their shape without the last axis.
        margin: the cosine that is let pass for a target of -1.
        reduction: how values are joined.

    Raises:
        ValueError: shapes do not fit.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> x = lx.asarray([[1.0, 0.0], [1.0, 0.0]])
        >>> losses.cosine_embedding(x, lx.asarray([[2.0, 0.0], [0.0, 1.0]]), lx.asarray([1, -1])).item()
        0.0
    """
    a, b = tensors("cosine_embedding", x1, x2, names=("x1", "x2"))
    target = _core.asarray(target)
    if a.ndim == 0 or target.shape != a.shape[:-1]:
        raise ValueError(
            f"cosine_embedding: x1 and x2 {tuple(a.shape)} need a target of the shape without the last axis, "
            f"got {tuple(target.shape)}"
        )
    # PyTorch's bound, which keeps the cosine of a zero vector finite.
    eps = 1e-12
    squares = (_core.sum(a * a, axis=-1) + eps) * (_core.sum(b * b, axis=-1) + eps)
    cosine = _core.sum(a * b, axis=-1) / _core.sqrt(squares)
    apart = _core.where(target == -1, _core.relu(cosine - margin), 0.0)
    values = _core.where(target == 1, 1.0 - cosine, apart)
    return reduce("cosine_embedding", values, reduction, result_dtype(x1, x2))


def margin_ranking(
    x1: Tensor, x2: Tensor, target: Tensor, margin: float = 0.0, reduction: Reduction = "mean"
) -> Tensor:
    """max(0, margin - target (x1 - x2)): x1 is to rank above x2 where the target is 1, below where it is -1.

    Args:
        x1, x2, target: tensors of one shape.
        margin: by how much.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> losses.margin_ranking(lx.asarray([3.0]), lx.asarray([1.0]), lx.asarray([-1])).item()
        2.0
    """
    a, b, t = tensors("margin_ranking", x1, x2, target, names=("x1", "x2", "target"))
    values = _core.relu(margin - t * (a - b))
    return reduce("margin_ranking", values, reduction, result_dtype(x1, x2))


def triplet_margin(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    swap: bool = False,
    reduction: Reduction = "mean",
    *,
    eps: float = 1e-6,
) -> Tensor:
    """max(0, margin + |anchor - positive| - |anchor - negative|) (Balntas et al. 2016).

    Args:
        anchor, positive, negative: vectors (..., features) of one shape.
        margin: by how much the positive is to be nearer.
        p: the norm.
        swap: takes the positive in place of the anchor where it is nearer to the negative.
        reduction: how values are joined.
        eps: added to differences, which keeps the norm's derivative finite.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> a, near, far = (lx.asarray([[x, 0.0]]) for x in (0.0, 1.0, 3.0))
        >>> losses.triplet_margin(a, near, far).item(), round(losses.triplet_margin(a, far, near).item(), 4)
        (0.0, 3.0)
    """
    names = ("anchor", "positive", "negative")
    a, b, c = tensors("triplet_margin", anchor, positive, negative, names=names)
    if a.ndim == 0:
        raise ValueError("triplet_margin: needs vectors (..., features), got numbers")

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return _core.vector_norm(x - y + eps, axis=-1, ord=p)

    far = distance(a, c)
    if swap:
        far = _core.minimum(far, distance(b, c))
    values = _core.relu(margin + distance(a, b) - far)
    return reduce("triplet_margin", values, reduction, result_dtype(anchor, positive, negative))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiameseContrastiveLoss(Loss):
    """`siamese_contrastive` with its settings."""

    margin: float = 1.0
    _function = staticmethod(siamese_contrastive)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CosineEmbeddingLoss(Loss):
    """`cosine_embedding` with its settings; as an objective the model gives (x1, x2)."""

    margin: float = 0.0
    _function = staticmethod(cosine_embedding)

    def _of_model(self, prediction: Any, target: Any) -> Tensor:
        return self._value(*outputs(self, prediction, "x1", "x2"), target)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MarginRankingLoss(Loss):
    """`margin_ranking` with its settings; as an objective the model gives (x1, x2)."""

    margin: float = 0.0
    _function = staticmethod(margin_ranking)

    def _of_model(self, prediction: Any, target: Any) -> Tensor:
        return self._value(*outputs(self, prediction, "x1", "x2"), target)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TripletMarginLoss(Loss):
    """`triplet_margin` with its settings; as an objective the model gives all three, and y is not read."""

    margin: float = 1.0
    p: float = 2.0
    swap: bool = False
    eps: float = 1e-6
    _function = staticmethod(triplet_margin)

    def _of_model(self, prediction: Any, target: Any) -> Tensor:
        return self._value(*outputs(self, prediction, "anchor", "positive", "negative"))
