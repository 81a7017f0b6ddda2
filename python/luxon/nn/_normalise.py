"""Normalisation layers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from .. import _core, random
from .._core import Tree
from ._containers import updated
from ._dense import check_floating, check_input, check_tensor, identity
from ._layer import EMPTY, Layer, Params, States, describe_value


def _affine(affine: bool, shape: tuple[int, ...], use_bias: bool = True) -> Tree:
    if not affine:
        return EMPTY
    weight = _core.ones(shape)
    return Tree({"weight": weight, "bias": _core.zeros(shape)} if use_bias else {"weight": weight})


def _check_channels(layer: Layer, channels: int | None) -> None:
    if channels is not None and (not isinstance(channels, int) or isinstance(channels, bool) or channels < 1):
        raise ValueError(f"{type(layer).__name__}: channels must be a positive integer, got {channels!r}")


def _check_numbers(layer: Layer, eps: float, momentum: float = 0.0) -> None:
    if not eps >= 0.0:
        raise ValueError(f"{type(layer).__name__}: eps must not be negative, got {eps}")
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"{type(layer).__name__}: momentum must lie in [0, 1], got {momentum}")


def _known_channels(layer: Layer, channels: int | None) -> int:
    if channels is None:
        raise ValueError(f"{layer.describe()}: channels is None; give setup an x_spec to infer it from")
    return channels


def _initial_statistics(channels: int) -> Tree:
    return Tree(
        {"running_mean": _core.zeros(channels), "running_var": _core.ones(channels), "training": True}
    )


def moved_statistics(st: States, mean: Any, var: Any, momentum: float) -> States:
    """The state with running statistics moved to those of a batch; they keep their dtype."""
    changed = {}
    for name, new in (("running_mean", mean), ("running_var", var)):
        old = st[name]
        value = old * (1.0 - momentum) + new * momentum
        changed[name] = value if value.dtype == old.dtype else _core.astype(value, old.dtype)
    return updated(st, changed)


class _Norm(Layer):
    """What the normalisation layers share."""

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        """Floating-point operations of one call: sums, squares, scaling and shifting of every element."""
        del y_shape
        return 8 * math.prod(x_shape)


class _ChannelNorm(_Norm):
    """A normalisation whose number of channels may be taken from its input."""

    channels: int | None

    def with_input(self, shape: tuple[int, ...]) -> Layer:
        """The layer with its number of channels taken from an input's shape."""
        if self.channels is not None or len(shape) < 2:
            return self
        return dataclasses.replace(self, channels=shape[1])  # type: ignore[type-var]


def _by_channel(layer: Layer, x: Any, ps: Params, channels: int | None, affine: bool) -> tuple[Any, Any, Any]:
    """The input, checked and in the parameters' dtype, with weight and bias where there are any."""
    if not hasattr(x, "dtype") or x.ndim < 2 or x.shape[1] != (channels or x.shape[1]):
        expected = f"(batch, {channels}, ...)"
        check_tensor(layer, x, expected)
        raise ValueError(f"{layer.describe()} got {tuple(x.shape)}, expected {expected}")
    if not affine:
        check_floating(layer, x)
        return x, None, None
    weight, bias = ps["weight"], ps["bias"]
    return check_input(layer, x, weight, "(batch, channels, ...)"), weight, bias


@dataclasses.dataclass(frozen=True, repr=False)
class BatchNorm(_ChannelNorm):
    """Normalisation over the batch and all spatial axes, per channel (Ioffe and Szegedy 2015).

    y = activation((x - mean) / sqrt(var + eps) * weight + bias), with the batch's mean and biased variance in
    training, the running ones in testing.

    Args:
        channels: size of axis 1.
        activation: an elementwise function.
        affine: whether there are weight and bias.
        track_stats: whether running statistics are kept.
        eps: added to the variance.
        momentum: how far running statistics move to the batch's (the variance unbiased), in [0, 1].

    Shapes: (batch, channels, ...) to the same. FLOPs: about 8 per element.

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

    def __post_init__(self) -> None:
        _check_channels(self, self.channels)
        _check_numbers(self, self.eps, self.momentum)

    def initial_parameters(self, key: random.Key) -> Tree:
        return _affine(self.affine, (_known_channels(self, self.channels),))

    def initial_states(self, key: random.Key) -> Tree:
        if not self.track_stats:
            return Tree({"training": True})
        return _initial_statistics(_known_channels(self, self.channels))

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        x, weight, bias = _by_channel(self, x, ps, self.channels, self.affine)
        channels = x.shape[1]
        if self.track_stats and not st["training"]:
            y = _core.batch_norm_inference(x, st["running_mean"], st["running_var"], weight, bias, self.eps)
            return self.activation(y), st
        count = x.size // channels if channels else 0
        if count <= 1 and st["training"]:
            raise ValueError(
                f"{self.describe()} got {tuple(x.shape)}: one value per channel has no variance; train with "
                "larger batches or switch with nn.testmode(st)"
            )
        y, mean, var = _core.batch_norm(x, weight, bias, self.eps)
        if self.track_stats:
            st = moved_statistics(st, mean, var * (count / max(count - 1, 1)), self.momentum)
        return self.activation(y), st

    def describe(self) -> str:
        activation = "" if self.activation is identity else f", {describe_value(self.activation)}"
        options = "".join(
            f", {name}={getattr(self, name)}" for name in ("affine", "track_stats") if not getattr(self, name)
        )
        return f"BatchNorm({self.channels}{activation}{options})"


@dataclasses.dataclass(frozen=True, repr=False)
class GroupNorm(_ChannelNorm):
    """Normalisation per example over groups of channels and all spatial axes (Wu and He 2018).

    y = activation((x - mean) / sqrt(var + eps) * weight + bias), the same in training and testing.

    Args:
        channels: size of axis 1; None is inferred by `setup(rng, model, x_spec=...)`.
        groups: how many groups of neighbouring channels there are; divides the channels.
        affine: whether there are weight and bias.
        eps: added to the biased variance.
        activation: an elementwise function.

    Shapes: (batch, channels, ...) to the same. FLOPs: about 8 per element.

    Parameters: weight (ones), bias (zeros), both (channels,). States: none.

    Raises:
        ValueError: another number of channels, or groups that do not divide it.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.GroupNorm(4, 2)
        >>> ps, st = nn.setup(0, layer)
        >>> y, st = layer(lx.random.normal(lx.random.key(0), (3, 4, 5)), ps, st)
        >>> bool(lx.all(lx.abs(lx.mean(y.reshape((3, 2, 10)), axis=2)) < 1e-6))
        True
    """

    channels: int | None
    groups: int
    affine: bool = True
    eps: float = 1e-5
    activation: Callable[[Any], Any] = identity

    def __post_init__(self) -> None:
        _check_channels(self, self.channels)
        _check_numbers(self, self.eps)
        if not isinstance(self.groups, int) or self.groups < 1 or (self.channels or 0) % self.groups:
            raise ValueError(
                f"GroupNorm: {self.groups!r} groups do not divide {self.channels} channels"
                if isinstance(self.groups, int) and self.groups > 0
                else f"GroupNorm: groups must be a positive integer, got {self.groups!r}"
            )

    def initial_parameters(self, key: random.Key) -> Tree:
        return _affine(self.affine, (_known_channels(self, self.channels),))

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        x, weight, bias = _by_channel(self, x, ps, self.channels, self.affine)
        return self.activation(_core.group_norm(x, self.groups, weight, bias, self.eps)), st


@dataclasses.dataclass(frozen=True, repr=False)
class InstanceNorm(_ChannelNorm):
    """Normalisation per example and channel over the spatial axes (Ulyanov et al. 2016).

    y = activation((x - mean) / sqrt(var + eps) * weight + bias), with the statistics of each example; with
    `track_stats`, running ones in testing.

    Args:
        channels: size of axis 1; None is inferred by `setup(rng, model, x_spec=...)`.
        affine: whether there are weight and bias.
        track_stats: whether running statistics are kept: the means over the batch of the examples' means and
            unbiased variances.
        eps: added to the biased variance.
        momentum: how far running statistics move to the batch's, in [0, 1].
        activation: an elementwise function.

    Shapes: (batch, channels, ...) to the same, with at least one spatial axis. FLOPs: about 8 per element.

    Parameters: weight (ones), bias (zeros), both (channels,), where affine. States: running_mean (zeros),
    running_var (ones), training, where tracked; else none.

    Raises:
        ValueError: another number of channels, or one value per example and channel to take statistics of.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.InstanceNorm(2)
        >>> ps, st = nn.setup(0, layer)
        >>> lx.round(layer(lx.asarray([[[1.0, 3.0], [0.0, 8.0]]]), ps, st)[0], 3).tolist()
        [[[-1.0, 1.0], [-1.0, 1.0]]]
    """

    channels: int | None
    affine: bool = False
    track_stats: bool = False
    eps: float = 1e-5
    momentum: float = 0.1
    activation: Callable[[Any], Any] = identity

    def __post_init__(self) -> None:
        _check_channels(self, self.channels)
        _check_numbers(self, self.eps, self.momentum)

    def initial_parameters(self, key: random.Key) -> Tree:
        return _affine(self.affine, (_known_channels(self, self.channels),))

    def initial_states(self, key: random.Key) -> Tree:
        return _initial_statistics(_known_channels(self, self.channels)) if self.track_stats else EMPTY

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        x, weight, bias = _by_channel(self, x, ps, self.channels, self.affine)
        if self.track_stats and not st["training"]:
            y = _core.batch_norm_inference(x, st["running_mean"], st["running_var"], weight, bias, self.eps)
            return self.activation(y), st
        count = math.prod(x.shape[2:])
        if count <= 1 and x.size:
            raise ValueError(
                f"{self.describe()} got {tuple(x.shape)}: one value per example and channel has no variance; "
                "it needs spatial axes (batch, channels, ...)"
            )
        y = _core.group_norm(x, x.shape[1], weight, bias, self.eps) if x.size else x
        if self.track_stats and x.size:
            axes, values = tuple(range(2, x.ndim)), _core.stop_gradient(x)
            mean = _core.mean(_core.mean(values, axis=axes), axis=0)
            var = _core.mean(_core.var(values, axis=axes, correction=1), axis=0)
            st = moved_statistics(st, mean, var, self.momentum)
        return self.activation(y), st


@dataclasses.dataclass(frozen=True, repr=False)
class LayerNorm(_Norm):
    """Normalisation over the trailing axes of each sample (Ba et al. 2016).

    y = (x - mean) / sqrt(var + eps) * weight + bias with mean and biased variance over the trailing axes.

    Args:
        shape: the sizes of the trailing axes.
        affine: whether there is a weight (and a bias).
        use_bias: whether there is a bias beside the weight.

    Shapes: (..., *shape) to the same. FLOPs: about 8 per element.

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
class RMSNorm(_Norm):
    """x / sqrt(mean(x^2) + eps) * weight over the trailing axes (Zhang and Sennrich 2019).

    Args:
        shape: the sizes of the trailing axes.

    Shapes: (..., *shape) to the same. FLOPs: about 8 per element.

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
    if not hasattr(x, "dtype") or tuple(x.shape[-len(shape) :]) != shape:
        expected = f"(..., {', '.join(str(size) for size in shape)})"
        check_tensor(layer, x, expected)
        raise ValueError(f"{layer.describe()} got {tuple(x.shape)}, expected {expected}")
    if weight is None:
        check_floating(layer, x)
        return x
    return check_input(layer, x, weight, "(..., *shape)")
