"""Losses of classes and probabilities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from .. import _core
from .._core import Tensor
from ._base import (
    Loss,
    Reduction,
    by_core,
    check_not_negative,
    machine_epsilon,
    reduce,
    result_dtype,
    tensors,
)


def cross_entropy(
    prediction: Tensor,
    target: Tensor,
    axis: int = -1,
    from_logits: bool = True,
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """-log of the target class's probability, or -sum(target * log probability) for probability targets.

    Args:
        prediction: logits (or probabilities with `from_logits=False`), classes along `axis`.
        target: class numbers of the prediction's shape without `axis`, or probabilities of its shape.
        axis: the classes' axis.
        from_logits: whether the prediction still needs a softmax; probabilities are normalised.
        label_smoothing: mixes the target with the uniform distribution, in [0, 1].
        weight: one factor per class; the mean is then weighted, as in PyTorch.
        ignore_index: a class number that counts nothing.
        reduction: how values are joined.

    Raises:
        ValueError: shapes that do not fit, label_smoothing outside [0, 1].
        IndexError: a class number outside the classes.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> round(losses.cross_entropy(lx.zeros((2, 4)), lx.asarray([0, 3])).item(), 4)
        1.3863
    """
    if not from_logits:
        prediction = _log_probability(_core.asarray(prediction), axis)
    return by_core(
        _core.cross_entropy, reduction, prediction, target, axis, label_smoothing, weight, ignore_index
    )


def _log_probability(probability: Tensor, axis: int) -> Tensor:
    """The logarithm of probabilities that sum to one, so that a softmax of it gives them back.

    A probability of 0 counts as the smallest normal number, whose logarithm and derivatives are finite.
    """
    probability = probability / _core.sum(probability, axis=axis, keepdims=True)
    least = float(_core.finfo(probability.dtype).smallest_normal)
    return _core.log(_core.where(probability < least, least, probability))


def binary_cross_entropy(
    prediction: Tensor,
    target: Tensor,
    from_logits: bool = True,
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
    pos_weight: Tensor | float | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)) with p = sigmoid(prediction), computed without overflow.

    Args:
        prediction: logits (or probabilities with `from_logits=False`).
        target: probabilities of the same shape.
        from_logits: whether the prediction still needs a sigmoid.
        label_smoothing: moves targets towards 1/2, in [0, 1].
        weight: a factor per element.
        pos_weight: a factor of the positive part.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ, label_smoothing outside [0, 1].

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> round(losses.binary_cross_entropy(lx.asarray([0.0, 1000.0]), lx.asarray([1, 1])).item(), 4)
        0.3466
    """
    if from_logits:
        settings = (label_smoothing, weight, pos_weight)
        return by_core(_core.binary_cross_entropy, reduction, prediction, target, *settings)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"binary_cross_entropy: label_smoothing must lie in [0, 1], got {label_smoothing}")
    p, t = tensors("binary_cross_entropy", prediction, target)
    if label_smoothing:
        t = t * (1.0 - label_smoothing) + 0.5 * label_smoothing
    # PyTorch bounds the logarithms at -100, so that a certain and wrong prediction stays finite. The argument
    # is replaced there as well: the derivative of log(0) would be infinite.
    low, high = (p >= 0.0) & (p <= math.exp(-100.0)), p == 1.0
    positive = _core.where(low, -100.0, _core.log(_core.where(low, 1.0, p)))
    negative = _core.where(high, -100.0, _core.log1p(-_core.where(high, 0.0, p)))
    if pos_weight is not None:
        positive = positive * pos_weight
    values = -(t * positive + (1.0 - t) * negative)
    return reduce(
        "binary_cross_entropy",
        values if weight is None else values * weight,
        reduction,
        result_dtype(prediction),
    )


def focal(
    prediction: Tensor, target: Tensor, gamma: float = 2.0, axis: int = -1, reduction: Reduction = "mean"
) -> Tensor:
    """-sum(t (1 - q)^gamma log q) over the classes, q = p + e with e the dtype's machine epsilon, as in Lux.

    Cross entropy that counts easy examples less (Lin et al. 2017); the same with gamma 0.

    Args:
        prediction: probabilities, as a softmax gives them, classes along `axis`.
        target: probabilities (one 1 a row, as a rule) of the same shape.
        gamma: how much less easy examples count, not negative.
        axis: the classes' axis.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ, or gamma is negative.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> round(losses.focal(lx.asarray([[0.75, 0.25]]), lx.asarray([[1, 0]])).item(), 6)
        0.01798
    """
    check_not_negative("focal", gamma=gamma)
    p, t = tensors("focal", prediction, target)
    q = p + machine_epsilon(p)
    values = -_core.sum(t * _modulation(q, gamma) * _core.log(q), axis=axis)
    return reduce("focal", values, reduction, result_dtype(prediction))


def _modulation(q: Tensor, gamma: float) -> Tensor | float:
    """(1 - q)^gamma, 0 where rounding has carried q beyond 1."""
    if gamma == 0:
        return 1.0
    rest = 1.0 - q
    return _core.pow(_core.where(rest < 0.0, 0.0, rest), gamma)


def binary_focal(
    prediction: Tensor, target: Tensor, gamma: float = 2.0, reduction: Reduction = "mean"
) -> Tensor:
    """-(1 - q)^gamma log q with q = t (p + e) + (1 - t) (1 - p - e), as in Lux.

    Binary cross entropy that counts easy examples less (Lin et al. 2017); e is the dtype's machine epsilon.

    Args:
        prediction: probabilities.
        target: probabilities of the same shape, 0 or 1 as a rule.
        gamma: how much less easy examples count, not negative.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ, or gamma is negative.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> round(losses.binary_focal(lx.asarray([0.75, 0.25]), lx.asarray([1, 0])).item(), 6)
        0.01798
    """
    check_not_negative("binary_focal", gamma=gamma)
    p, t = tensors("binary_focal", prediction, target)
    eps = machine_epsilon(p)
    p = p + eps
    q = t * p + (1.0 - t) * (1.0 - p)
    # A certain and wrong prediction would leave less than nothing.
    q = _core.where(q < eps, eps, q)
    return reduce(
        "binary_focal", -(_modulation(q, gamma) * _core.log(q)), reduction, result_dtype(prediction)
    )


def kl_divergence(
    prediction: Tensor,
    target: Tensor,
    axis: int = -1,
    log_prediction: bool = False,
    log_target: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """sum(t (log t - log p)) along the axis: how far the prediction p is from the target t.

    What a target of 0 meets counts nothing. The mean is that over distributions ("batchmean" in PyTorch).

    Args:
        prediction, target: probabilities of one shape, or their logarithms.
        axis: along which they sum to one.
        log_prediction, log_target: whether they are logarithms.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> round(losses.kl_divergence(lx.asarray([[0.5, 0.5]]), lx.asarray([[1.0, 0.0]])).item(), 5)
        0.69315
    """
    p, t = tensors("kl_divergence", prediction, target)
    live = t != (-math.inf if log_target else 0.0)
    # Where the target is 0 the formula sees 1, so that no derivative meets a logarithm of 0.
    neutral = {True: 0.0, False: 1.0}
    p = _core.where(live, p, neutral[log_prediction])
    safe = _core.where(live, t, neutral[log_target])
    logs = (safe if log_target else _core.log(safe)) - (p if log_prediction else _core.log(p))
    weight = _core.exp(safe) if log_target else safe
    values = _core.sum(_core.where(live, weight * logs, 0.0), axis=axis)
    return reduce("kl_divergence", values, reduction, result_dtype(prediction, target))


def hinge(prediction: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """max(0, 1 - target prediction), with targets 1 or -1, as in Lux.

    Args:
        prediction, target: tensors of one shape.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> round(losses.hinge(lx.asarray([0.1, 0.3, 1, 1.5]), lx.asarray([1, -1, 1, 1])).item(), 4)
        0.55
    """
    p, t = tensors("hinge", prediction, target)
    return reduce("hinge", _core.relu(1.0 - t * p), reduction, result_dtype(prediction))


def squared_hinge(prediction: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """max(0, 1 - target prediction)^2, with targets 1 or -1.

    Args:
        prediction, target: tensors of one shape.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> round(losses.squared_hinge(lx.asarray([0.1, 0.3, 1, 1.5]), lx.asarray([1, -1, 1, 1])).item(), 4)
        0.625
    """
    p, t = tensors("squared_hinge", prediction, target)
    return reduce("squared_hinge", _core.square(_core.relu(1.0 - t * p)), reduction, result_dtype(prediction))


def dice(prediction: Tensor, target: Tensor, smooth: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """1 - (2 sum(p t) + smooth) / (sum(p^2) + sum(t^2) + smooth) per example (Milletari et al. 2016), as in Lux.

    Args:
        prediction, target: (batch, ...) of one shape; a vector is one example.
        smooth: keeps the quotient of empty masks finite.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> round(losses.dice(lx.asarray([1.1, 2.1, 3.1]), lx.asarray([1, 2, 3])).item(), 6)
        0.000992
    """
    p, t = tensors("dice", prediction, target)
    axes = tuple(range(1, p.ndim)) if p.ndim > 1 else None

    def total(values: Tensor) -> Tensor:
        return _core.sum(values, axis=axes)

    overlap = 2.0 * total(p * t) + smooth
    values = 1.0 - overlap / (total(p * p) + total(t * t) + smooth)
    return reduce("dice", values, reduction, result_dtype(prediction))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CrossEntropyLoss(Loss):
    """`cross_entropy` with its settings."""

    axis: int = -1
    from_logits: bool = True
    label_smoothing: float = 0.0
    weight: Tensor | None = None
    ignore_index: int | None = None
    _function = staticmethod(cross_entropy)

    def _in_core(self, reduction: str) -> Callable[[Any, Any], Tensor] | None:
        axis, smoothing = self.axis, self.label_smoothing
        weight, ignore = self.weight, self.ignore_index

        def of_logits(prediction: Any, target: Any) -> Tensor:
            return _core.cross_entropy(prediction, target, axis, smoothing, weight, ignore, reduction)

        return of_logits if self.from_logits else None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BinaryCrossEntropyLoss(Loss):
    """`binary_cross_entropy` with its settings."""

    from_logits: bool = True
    label_smoothing: float = 0.0
    weight: Tensor | None = None
    pos_weight: Tensor | float | None = None
    _function = staticmethod(binary_cross_entropy)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FocalLoss(Loss):
    """`focal` with its settings."""

    gamma: float = 2.0
    axis: int = -1
    _function = staticmethod(focal)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BinaryFocalLoss(Loss):
    """`binary_focal` with its settings."""

    gamma: float = 2.0
    _function = staticmethod(binary_focal)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KLDivergenceLoss(Loss):
    """`kl_divergence` with its settings."""

    axis: int = -1
    log_prediction: bool = False
    log_target: bool = False
    _function = staticmethod(kl_divergence)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HingeLoss(Loss):
    """`hinge` with its settings."""

    _function = staticmethod(hinge)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SquaredHingeLoss(Loss):
    """`squared_hinge` with its settings."""

    _function = staticmethod(squared_hinge)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiceLoss(Loss):
    """`dice` with its settings."""

    smooth: float = 1.0
    _function = staticmethod(dice)
