"""Layers that turn indices, positions and periodic quantities into vectors."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from .. import _core, init, random
from .._core import Tree
from ._dense import check_floating, check_size, check_tensor
from ._layer import Layer, Params, States


@dataclasses.dataclass(frozen=True, repr=False)
class Embedding(Layer):
    """Rows of a table: integers (...) to vectors (..., dim).

    Args:
        n: the number of rows.
        dim: their length.
        padding_index: a row that starts as zeros and gets no gradient.

    Shapes: (...) to (..., dim). FLOPs: none.

    Parameters: weight (n, dim), standard normal. States: none.

    Raises:
        IndexError: an index outside [0, n).
        TypeError: an input that is not of an integer type.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.Embedding(10, 4)
        >>> ps, st = nn.setup(0, layer)
        >>> layer(lx.asarray([[1, 2], [3, 9]]), ps, st)[0].shape
        (2, 2, 4)
    """

    n: int
    dim: int
    padding_index: int | None = None
    init_weight: init.Initializer | None = None

    def __post_init__(self) -> None:
        check_size(self, "n", self.n)
        check_size(self, "dim", self.dim)
        if self.padding_index is not None and not -self.n <= self.padding_index < self.n:
            raise ValueError(f"Embedding: padding_index {self.padding_index} is outside the {self.n} rows")

    def initial_parameters(self, key: random.Key) -> Tree:
        weight = (self.init_weight or init.normal)(key.fold_in("weight"), (self.n, self.dim))
        if self.padding_index is not None:
            weight = weight.at[self.padding_index].set(0.0)
        return Tree({"weight": weight})

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        check_tensor(self, x, "(...), of integers")
        if not _core.isdtype(x.dtype, "integral"):
            raise TypeError(f"{self.describe()} got {x.dtype} input of shape {x.shape}, expected integers")
        weight = ps["weight"]
        if self.padding_index is not None:
            weight = weight.at[self.padding_index].set(_core.stop_gradient(weight[self.padding_index]))
        return _core.embedding(weight, x), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 0

    def describe(self) -> str:
        return f"Embedding({self.n} => {self.dim})"


@dataclasses.dataclass(frozen=True, repr=False)
class SinusoidalPositionalEmbedding(Layer):
    """Sines and cosines of a position at geometrically spaced frequencies (Vaswani et al. 2017, as in Lux.jl).

    y = scale * (sin(x * f), cos(x * f)) with dim / 2 frequencies f from max_freq down to min_freq.

    Args:
        dim: the length of the vectors, even.
        min_freq, max_freq: the lowest and the highest frequency, above 0.
        scale: what the vectors are multiplied by; None is sqrt(2 / dim).
        full_turns: whether frequencies count turns: they are multiplied by 2 pi.

    Shapes: (...) to (..., dim), of positions in any dtype; integers give float32. FLOPs: two per element.

    States: sigmas, the frequencies, (dim / 2,).

    Raises:
        ValueError: a dim that is odd or not positive, or frequencies that are not positive.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.SinusoidalPositionalEmbedding(4, scale=1.0)
        >>> ps, st = nn.setup(0, layer)
        >>> layer(lx.asarray([0.0, 1.0]), ps, st)[0].shape
        (2, 4)
    """

    dim: int
    min_freq: float = 1e-4
    max_freq: float = 1.0
    scale: float | None = None
    full_turns: bool = False

    def __post_init__(self) -> None:
        _check_even(self, self.dim)
        if not (self.min_freq > 0 and self.max_freq > 0):
            raise ValueError(
                f"{type(self).__name__}: frequencies must be positive, got {self.min_freq} and {self.max_freq}"
            )

    def initial_states(self, key: random.Key) -> Tree:
        log_min, log_max = math.log(self.min_freq), math.log(self.max_freq)
        sigmas = np.exp(np.linspace(1.0, 0.0, self.dim // 2) * (log_max - log_min) + log_min)
        if self.full_turns:
            sigmas *= 2 * math.pi
        return Tree({"sigmas": _core.asarray(sigmas, dtype="float32")})

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        angles = _core.expand_dims(_floating(self, x), axis=-1) * st["sigmas"]
        scale = math.sqrt(2 / self.dim) if self.scale is None else self.scale
        return _core.concat([_core.sin(angles), _core.cos(angles)], axis=-1) * scale, st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 2 * math.prod(y_shape)


@dataclasses.dataclass(frozen=True, repr=False)
class RotaryPositionalEmbedding(Layer):
    """Pairs of features turned by an angle that grows with the position (Su et al. 2024, as in Lux.jl).

    Feature i < dim / 2 is paired with feature i + dim / 2; at position t the pair is turned by
    t * base^(-2 i / dim).

    Args:
        dim: the number of features, even.
        max_sequence_length: the number of positions that are prepared.
        base: what the frequencies are powers of, above 0.

    Shapes: (..., time, dim) to the same, for instance (batch, heads, time, dim); or a pair of such an x and
    integer positions (time,), which else are 0 to time - 1. FLOPs: three per element.

    States: cos_cache and sin_cache, (max_sequence_length, dim / 2).

    Raises:
        ValueError: another number of features, or a longer sequence.
        IndexError: a position that is not prepared.
        TypeError: an integer input.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.RotaryPositionalEmbedding(4, max_sequence_length=16)
        >>> ps, st = nn.setup(0, layer)
        >>> layer(lx.ones((2, 3, 8, 4)), ps, st)[0].shape
        (2, 3, 8, 4)
    """

    dim: int
    max_sequence_length: int = 4096
    base: float = 10000

    def __post_init__(self) -> None:
        _check_even(self, self.dim)
        check_size(self, "max_sequence_length", self.max_sequence_length)
        if not self.base > 0:
            raise ValueError(f"{type(self).__name__}: base must be positive, got {self.base}")

    def initial_states(self, key: random.Key) -> Tree:
        frequencies = float(self.base) ** (-np.arange(0, self.dim, 2) / self.dim)
        angles = np.outer(np.arange(self.max_sequence_length), frequencies)
        caches = {"cos_cache": np.cos(angles), "sin_cache": np.sin(angles)}
        return Tree({name: _core.asarray(cache, dtype="float32") for name, cache in caches.items()})

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        x, positions = x if isinstance(x, tuple) else (x, None)
        check_floating(self, x)
        if x.ndim < 2 or x.shape[-1] != self.dim:
            raise ValueError(f"{self.describe()} got {tuple(x.shape)}, expected (..., time, {self.dim})")
        time = x.shape[-2]
        cos, sin = st["cos_cache"], st["sin_cache"]
        if positions is None:
            if time > cos.shape[0]:
                raise ValueError(
                    f"{self.describe()} got {tuple(x.shape)}: {time} positions, {cos.shape[0]} are prepared; "
                    "raise max_sequence_length"
                )
            cos, sin = cos[:time], sin[:time]
        else:
            if tuple(positions.shape) != (time,):
                raise ValueError(
                    f"{self.describe()} got {tuple(x.shape)} and positions {tuple(positions.shape)}, expected ({time},)"
                )
            cos, sin = _core.take(cos, positions, axis=0), _core.take(sin, positions, axis=0)
        cos, sin = _core.astype(cos, x.dtype), _core.astype(sin, x.dtype)
        low, high = x[..., : self.dim // 2], x[..., self.dim // 2 :]
        return _core.concat([low * cos - high * sin, high * cos + low * sin], axis=-1), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 3 * math.prod(y_shape)


@dataclasses.dataclass(frozen=True, repr=False)
class PeriodicEmbedding(Layer):
    """Some features replaced by their sines and cosines over given periods (as in Lux.jl).

    The features that are not in `indices` come first, unchanged, then sin(2 pi x_i / period_i) of the others,
    then their cosines.

    Args:
        indices: which entries of the last axis are periodic.
        periods: their periods, one each.

    Shapes: (..., features) to (..., features + number of indices). FLOPs: two per periodic element.

    States: k, 2 / period of each.

    Raises:
        ValueError: not as many periods as indices, or an index twice.
        IndexError: an index that is not there.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.PeriodicEmbedding((1,), (4.0,))
        >>> ps, st = nn.setup(0, layer)
        >>> layer(lx.asarray([7.0, 0.0]), ps, st)[0].tolist()
        [7.0, 0.0, 1.0]
    """

    indices: tuple[int, ...]
    periods: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", tuple(int(index) for index in self.indices))
        object.__setattr__(self, "periods", tuple(float(period) for period in self.periods))
        if len(self.indices) != len(self.periods):
            raise ValueError(
                f"PeriodicEmbedding: {len(self.periods)} periods for {len(self.indices)} indices"
            )

    def initial_states(self, key: random.Key) -> Tree:
        return Tree({"k": _core.asarray([2.0 / period for period in self.periods], dtype="float32")})

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        x = _floating(self, x)
        features = x.shape[-1] if x.ndim else 0
        if any(not -features <= index < features for index in self.indices):
            raise IndexError(f"{self.describe()} got {tuple(x.shape)}, which lacks some of these features")
        chosen = [index % features for index in self.indices]
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"{self.describe()} got {tuple(x.shape)}: a feature is named twice")
        rest = [index for index in range(features) if index not in chosen]
        kept = _core.take(x, _core.asarray(rest, dtype="int64", device=x.device), axis=-1)
        angles = _core.take(x, _core.asarray(chosen, dtype="int64", device=x.device), axis=-1)
        angles = angles * _core.astype(st["k"], x.dtype) * math.pi
        return _core.concat([kept, _core.sin(angles), _core.cos(angles)], axis=-1), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 2 * math.prod(x_shape[:-1]) * len(self.indices)


def _floating(layer: Layer, x: Any) -> Any:
    """Positions as numbers that sines can be taken of."""
    check_tensor(layer, x, "(...)")
    return x if _core.isdtype(x.dtype, "real floating") else _core.astype(x, "float32")


def _check_even(layer: Layer, dim: int) -> None:
    check_size(layer, "dim", dim)
    if dim % 2:
        raise ValueError(f"{type(layer).__name__}: dim must be even, got {dim}")
