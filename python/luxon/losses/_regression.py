"""Losses of numbers against numbers."""

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
    outputs,
    reduce,
    result_dtype,
    tensors,
)


def mse(prediction: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """The squared error (prediction - target)^2.

    Args:
        prediction, target: tensors of one shape.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> losses.mse(lx.asarray([1.0, 2.0]), lx.asarray([1.0, 4.0])).item()
        2.0
    """
    return by_core(_core.mse, reduction, prediction, target)


def mae(prediction: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """The absolute error |prediction - target|.

    Args:
        prediction, target: tensors of one shape.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> losses.mae(lx.asarray([1.0, 2.0]), lx.asarray([1.0, 4.0])).item()
        1.0
    """
    return by_core(_core.mae, reduction, prediction, target)


def huber(prediction: Tensor, target: Tensor, delta: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = prediction - target (Huber 1964).

    Args:
        prediction, target: tensors of one shape.
        delta: where the square turns into a line, positive.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ, or delta is not positive.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> losses.huber(lx.asarray([1.0, 2.0]), lx.asarray([1.5, 4.0]), reduction="none").tolist()
        [0.125, 1.5]
    """
    return by_core(_core.huber, reduction, prediction, target, delta)


def smooth_l1(prediction: Tensor, target: Tensor, beta: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """d^2 / (2 beta) where |d| <= beta, else |d| - beta / 2: the Huber loss over beta; |d| for beta 0.

    Args:
        prediction, target: tensors of one shape.
        beta: where the square turns into a line, not negative.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ, or beta is negative.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> losses.smooth_l1(lx.asarray([1.0, 2.0]), lx.asarray([1.5, 4.0]), beta=0.5, reduction="none").tolist()
        [0.25, 1.75]
    """
    check_not_negative("smooth_l1", beta=beta)
    if beta == 0:
        return mae(prediction, target, reduction)
    return by_core(lambda *arguments: _core.huber(*arguments) / beta, reduction, prediction, target, beta)


def msle(prediction: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """(log(prediction + e) - log(target + e))^2 with e the dtype's machine epsilon, as in Lux.

    Args:
        prediction, target: tensors of one shape, not negative.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> round(losses.msle(lx.asarray([1.1, 2.2, 3.3]), lx.asarray([1, 2, 3])).item(), 6)
        0.009084
    """
    p, t = tensors("msle", prediction, target)
    eps = machine_epsilon(p)
    values = _core.square(_core.log(p + eps) - _core.log(t + eps))
    return reduce("msle", values, reduction, result_dtype(prediction, target))


def log_cosh(prediction: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """log(cosh(prediction - target)), without overflow.

    Args:
        prediction, target: tensors of one shape.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> round(losses.log_cosh(lx.asarray([1000.0]), lx.asarray([0.0])).item(), 3)
        999.307
    """
    p, t = tensors("log_cosh", prediction, target)
    return reduce("log_cosh", _core.log_cosh(p - t), reduction, result_dtype(prediction, target))


def poisson_nll(
    prediction: Tensor,
    target: Tensor,
    log_prediction: bool = False,
    full: bool = False,
    reduction: Reduction = "mean",
    *,
    eps: float = 1e-8,
) -> Tensor:
    """prediction - target log(prediction + eps): counts with a Poisson distribution of the predicted mean.

    Args:
        prediction: the mean, or its logarithm with `log_prediction`: then exp(prediction) - target prediction.
        target: counts of the same shape.
        full: adds Stirling's approximation of log(target!) where target > 1.
        reduction: how values are joined.
        eps: keeps the logarithm finite.

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> losses.poisson_nll(lx.asarray([1.0, 1.0]), lx.asarray([3, 0])).item()
        1.0
    """
    p, t = tensors("poisson_nll", prediction, target)
    values = _core.exp(p) - t * p if log_prediction else p - t * _core.log(p + eps)
    if full:
        large = t > 1.0
        # Where it is not wanted the formula sees 1, so that no derivative meets a logarithm of 0.
        n = _core.where(large, t, 1.0)
        stirling = n * _core.log(n) - n + 0.5 * _core.log(2.0 * math.pi * n)
        values = values + _core.where(large, stirling, 0.0)
    return reduce("poisson_nll", values, reduction, result_dtype(prediction, target))


def gaussian_nll(
    mean: Tensor,
    target: Tensor,
    variance: Tensor,
    full: bool = False,
    reduction: Reduction = "mean",
    *,
    eps: float = 1e-6,
) -> Tensor:
    """(log v + (mean - target)^2 / v) / 2 with v = max(variance, eps) (Nix and Weigend 1994).

    Gradients pass the bound on the variance, as in PyTorch, so that a variance below it can grow again.

    Args:
        mean, target, variance: tensors of one shape.
        full: adds the constant log(2 pi) / 2.
        reduction: how values are joined.
        eps: the least variance, positive.

    Raises:
        ValueError: shapes differ, a variance is negative, or eps is not positive.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> losses.gaussian_nll(lx.asarray([1.0]), lx.asarray([3.0]), lx.asarray([1.0])).item()
        2.0
    """
    if not eps > 0:
        raise ValueError(f"gaussian_nll: eps must be positive, got {eps}")
    m, t, v = tensors("gaussian_nll", mean, target, variance, names=("mean", "target", "variance"))
    # A device is not waited for: there a negative variance is one below the bound.
    if not v.is_abstract and v.device == _core.cpu() and bool(_core.any(v < 0.0)):
        raise ValueError("gaussian_nll: a variance is negative; predict its logarithm or use softplus")
    v = v + _core.stop_gradient(_core.maximum(v, eps) - v)
    values = 0.5 * (_core.log(v) + _core.square(m - t) / v)
    if full:
        values = values + 0.5 * math.log(2.0 * math.pi)
    return reduce("gaussian_nll", values, reduction, result_dtype(mean, target, variance))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MSELoss(Loss):
    """`mse` with its settings."""

    _function = staticmethod(mse)

    def _in_core(self, reduction: str) -> Callable[[Any, Any], Tensor]:
        return lambda prediction, target: _core.mse(prediction, target, reduction)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAELoss(Loss):
    """`mae` with its settings."""

    _function = staticmethod(mae)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HuberLoss(Loss):
    """`huber` with its settings."""

    delta: float = 1.0
    _function = staticmethod(huber)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmoothL1Loss(Loss):
    """`smooth_l1` with its settings."""

    beta: float = 1.0
    _function = staticmethod(smooth_l1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MSLELoss(Loss):
    """`msle` with its settings."""

    _function = staticmethod(msle)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogCoshLoss(Loss):
    """`log_cosh` with its settings."""

    _function = staticmethod(log_cosh)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoissonNLLLoss(Loss):
    """`poisson_nll` with its settings."""

    log_prediction: bool = False
    full: bool = False
    eps: float = 1e-8
    _function = staticmethod(poisson_nll)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianNLLLoss(Loss):
    """`gaussian_nll` with its settings; as an objective the model gives (mean, variance)."""

    full: bool = False
    eps: float = 1e-6
    _function = staticmethod(gaussian_nll)

    def _of_model(self, prediction: Any, target: Any) -> Tensor:
        mean, variance = outputs(self, prediction, "mean", "variance")
        return self._value(mean, target, variance)
