"""Normalisation layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from .. import _core, random
from .._core import Tree
from ._containers import updated
from ._dense import check_input, identity
from ._layer import EMPTY, Layer, Params, States, describe_value


def _affine(affine: bool, shape: tuple[int, ...], use_bias: bool = True) -> Tree:
    if not affine:
        return EMPTY
    weight = _core.ones(shape)
    return Tree({"weight": weight, "bias": _core.zeros(shape)} if use_bias else {"weight": weight})


@dataclasses.dataclass(frozen=True, repr=False)
class BatchNorm(Layer):
    """Normalisation over the batch and all spatial axes, per channel (Ioffe and Szegedy 2015).

    y = activation((x - mean) / sqrt(var + eps) * weight + bias), with the batch's mean and biased variance in
    training, the running ones in testing.

    Args:
        channels: size of axis 1.
        activation: an elementwise function.
        affine: whether there are weight and bias.
        track_stats: whether running statistics are kept.
        eps: added to the variance.
        momentum: how far running statistics move to the batch's (the variance unbiased), in (0, 1].

    Shapes: (batch, channels, ...) to the same.

    Parameters: weight (ones), bias (zeros), both (channels,). States: running_mean (zeros), running_var
    (ones), training; without `track_stats` only training.

    Raises:
        ValueError: another number of channels, or one value per channel in training.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.BatchNorm(3)
        >>> ps, st = nn.setup(0, layer)
        >>> y, st = layer(lx.random.normal(lx.random.key(0), (8, 3)), ps, st)
        >>> bool(lx.all(lx.abs(lx.mean(y, axis=0)) < 1e-6))
        True
    """

    channels: int | None
    activation: Callable[[Any], Any] = identity
    affine: bool = True
    track_stats: bool = True
    eps: float = 1e-5
    momentum: float = 0.1

    def with_input(self, shape: tuple[int, ...]) -> BatchNorm:
        """The layer with its number of channels taken from an input's shape."""
        return self if self.channels is not None else dataclasses.replace(self, channels=shape[1])

    def _channels(self) -> int:
        if self.channels is None:
            raise ValueError(f"{self.describe()}: channels is None; give setup an x_spec to infer it from")
        return self.channels

    def initial_parameters(self, key: random.Key) -> Tree:
        return _affine(self.affine, (self._channels(),))

    def initial_states(self, key: random.Key) -> Tree:
        if not self.track_stats:
            return Tree({"training": True})
        channels = self._channels()
        return Tree(
            {"running_mean": _core.zeros(channels), "running_var": _core.ones(channels), "training": True}
        )

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        if x.ndim < 2 or x.shape[1] != (self.channels or x.shape[1]):
            raise ValueError(
                f"{self.describe()} got {tuple(x.shape)}, expected (batch, {self.channels}, ...)"
            )
        channels = x.shape[1]
        weight = bias = None
        if self.affine:
            weight, bias = ps["weight"], ps["bias"]
            if x.dtype != weight.dtype:
                x = check_input(self, x, weight, f"(batch, {channels}, ...)")
        if not (st["training"] or not self.track_stats):
            y = _core.batch_norm_inference(x, st["running_mean"], st["running_var"], weight, bias, self.eps)
            return self.activation(y), st
        count = x.size // channels
        if count <= 1 and st["training"]:
            raise ValueError(
                f"{self.describe()} got {tuple(x.shape)}: one value per channel has no variance; train with "
                "larger batches or switch with nn.testmode(st)"
            )
        y, mean, var = _core.batch_norm(x, weight, bias, self.eps)
        if self.track_stats:
            keep = 1.0 - self.momentum
            unbias = self.momentum * count / (count - 1)
            st = updated(
                st,
                {
                    "running_mean": st["running_mean"] * keep + mean * self.momentum,
                    "running_var": st["running_var"] * keep + var * unbias,
                },
            )
        return self.activation(y), st

    def describe(self) -> str:
        activation = "" if self.activation is identity else f", {describe_value(self.activation)}"
        options = "".join(
            f", {name}={getattr(self, name)}" for name in ("affine", "track_stats") if not getattr(self, name)
        )
        return f"BatchNorm({self.channels}{activation}{options})"


@dataclasses.dataclass(frozen=True, repr=False)
class LayerNorm(Layer):
    """Normalisation over the trailing axes of each sample (Ba et al. 2016).

    y = (x - mean) / sqrt(var + eps) * weight + bias with mean and biased variance over the trailing axes.

    Args:
        shape: the sizes of the trailing axes.
        affine: whether there is a weight (and a bias).
        use_bias: whether there is a bias beside the weight.

    Parameters: weight (ones), bias (zeros), both of `shape`. States: none.

    Raises:
        ValueError: the input does not end in `shape`.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.LayerNorm(4)
        >>> ps, st = nn.setup(0, layer)
        >>> layer(lx.arange(8, dtype=lx.float32).reshape((2, 4)), ps, st)[0].shape
        (2, 4)
    """

    shape: tuple[int, ...]
    affine: bool = True
    use_bias: bool = True
    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (self.shape,) if isinstance(self.shape, int) else tuple(self.shape))

    def initial_parameters(self, key: random.Key) -> Tree:
        return _affine(self.affine, self.shape, self.use_bias)

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        x = _trailing(self, x, self.shape, ps["weight"] if self.affine else None)
        weight = ps["weight"] if self.affine else None
        bias = ps["bias"] if self.affine and self.use_bias else None
        return _core.layer_norm(x, weight, bias, self.eps, len(self.shape)), st


@dataclasses.dataclass(frozen=True, repr=False)
class RMSNorm(Layer):
    """x / sqrt(mean(x^2) + eps) * weight over the trailing axes (Zhang and Sennrich 2019).

    Args:
        shape: the sizes of the trailing axes.

    Parameters: weight (ones) of `shape`. States: none.

    Raises:
        ValueError: the input does not end in `shape`.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.RMSNorm(4)
        >>> ps, st = nn.setup(0, layer)
        >>> layer(lx.ones((2, 4)), ps, st)[0].shape
        (2, 4)
    """

    shape: tuple[int, ...]
    affine: bool = True
    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (self.shape,) if isinstance(self.shape, int) else tuple(self.shape))

    def initial_parameters(self, key: random.Key) -> Tree:
        return _affine(self.affine, self.shape, use_bias=False)

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        weight = ps["weight"] if self.affine else None
        x = _trailing(self, x, self.shape, weight)
        return _core.rms_norm(x, weight, self.eps, len(self.shape)), st


def _trailing(layer: Layer, x: Any, shape: tuple[int, ...], weight: Any) -> Any:
    if tuple(x.shape[-len(shape) :]) != shape:
        expected = ", ".join(str(size) for size in shape)
        raise ValueError(f"{layer.describe()} got {tuple(x.shape)}, expected (..., {expected})")
    if weight is not None and x.dtype != weight.dtype:
        return check_input(layer, x, weight, f"(..., {', '.join(str(size) for size in shape)})")
    return x
