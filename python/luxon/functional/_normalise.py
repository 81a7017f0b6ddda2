"""Normalisation."""

from __future__ import annotations

from .. import _core
from .._core import Tensor


def layer_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, axes: int = 1, eps: float = 1e-5
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last `axes` axes (Ba et al. 2016).

    Args:
        x: any shape with at least `axes` axes.
        weight, bias: of the sizes of those axes, or None.
        eps: added to the biased variance.

    Raises:
        ValueError: shapes do not fit.
    """
    return _core.layer_norm(x, weight, bias, eps, axes)


def rms_norm(x: Tensor, weight: Tensor | None = None, axes: int = 1, eps: float = 1e-5) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last `axes` axes (Zhang and Sennrich 2019).

    Args:
        x: any shape with at least `axes` axes.
        weight: of the sizes of those axes, or None.
        eps: added to the mean square.

    Raises:
        ValueError: shapes do not fit.
    """
    return _core.rms_norm(x, weight, eps, axes)


def batch_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mean: Tensor | None = None,
    var: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalisation per channel (axis 1), by the given statistics or the batch's own (Ioffe and Szegedy 2015).

    Args:
        x: (batch, channels, ...).
        weight, bias: (channels,) or None.
        mean, var: (channels,) statistics; None takes the batch's mean and biased variance.
        eps: added to the variance.

    Raises:
        ValueError: shapes do not fit, only one of mean and var is given, or a batch of one value per channel.
    """
    if (mean is None) != (var is None):
        raise ValueError("batch_norm: give both mean and var, or neither")
    if mean is None or var is None:
        return _core.batch_norm(x, weight, bias, eps)[0]
    return _core.batch_norm_inference(x, mean, var, weight, bias, eps)


def group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalisation per sample over groups of channels (Wu and He 2018).

    Args:
        x: (batch, channels, ...), channels a multiple of `groups`.
        weight, bias: (channels,) or None.
        eps: added to the biased variance.

    Raises:
        ValueError: shapes do not fit.
    """
    return _core.group_norm(x, groups, weight, bias, eps)


def instance_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalisation per sample and channel over the spatial axes (Ulyanov et al. 2016).

    Args:
        x: (batch, channels, ...).
        weight, bias: (channels,) or None.
        eps: added to the biased variance.

    Raises:
        ValueError: shapes do not fit.
    """
    if x.ndim < 2:
        raise ValueError(f"instance_norm: got shape {tuple(x.shape)}, expected (batch, channels, ...)")
    return _core.group_norm(x, x.shape[1], weight, bias, eps)
