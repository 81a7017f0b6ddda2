"""Initialisers: `init(key, shape, dtype=float32)` gives a tensor.

Called with keywords only, an initialiser returns another one with those settings. Fans are counted as PyTorch
counts them: for a weight (out, in, kernel...) fan_in is in times the kernel's size, fan_out is out times it.

Example:
    >>> import luxon as lx
    >>> from luxon import init
    >>> init.glorot_uniform(lx.random.key(0), (3, 4)).shape
    (3, 4)
    >>> init.normal(std=0.02)(lx.random.key(0), (3, 4)).shape
    (3, 4)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from . import _core, random
from ._core import Tensor

float32 = np.dtype("float32")


class Initializer(Protocol):
    """What fills a parameter: a function of a key, a shape and a dtype."""

    def __call__(self, key: random.Key, shape: tuple[int, ...], dtype: Any = ..., /) -> Tensor: ...


def _initializer(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """Makes `function(key, shape, dtype, **settings)` give an initialiser when called with settings alone."""

    @functools.wraps(function)
    def call(*args: Any, **settings: Any) -> Any:
        if not args:
            return functools.partial(function, **settings)
        return function(*args, **settings)

    return call


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """fan_in and fan_out of a weight (out, in, kernel...); a vector counts as its own fans."""
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def _fan(shape: tuple[int, ...], mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return max(fans(shape)[mode == "fan_out"], 1)


@_initializer
def zeros(key: random.Key, shape: tuple[int, ...], dtype: Any = float32) -> Tensor:
    """All zeros."""
    return _core.zeros(shape, dtype=dtype)


@_initializer
def ones(key: random.Key, shape: tuple[int, ...], dtype: Any = float32) -> Tensor:
    """All ones."""
    return _core.ones(shape, dtype=dtype)


@_initializer
def constant(key: random.Key, shape: tuple[int, ...], dtype: Any = float32, value: float = 0.0) -> Tensor:
    """One value everywhere."""
    return _core.full(shape, value, dtype=dtype)


@_initializer
def uniform(
    key: random.Key, shape: tuple[int, ...], dtype: Any = float32, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Uniform in [low, high)."""
    return random.uniform(key, shape, low, high, dtype=dtype)


@_initializer
def normal(
    key: random.Key, shape: tuple[int, ...], dtype: Any = float32, mean: float = 0.0, std: float = 1.0
) -> Tensor:
    """Normal with the given mean and standard deviation."""
    return random.normal(key, shape, dtype=dtype) * std + mean


@_initializer
def truncated_normal(
    key: random.Key,
    shape: tuple[int, ...],
    dtype: Any = float32,
    mean: float = 0.0,
    std: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
) -> Tensor:
    """Normal, cut to [low, high] (absolute bounds, as in PyTorch)."""
    if not std > 0.0 or not low < high:
        raise ValueError(f"init.truncated_normal: needs std > 0 and low < high, got {std}, {low}, {high}")
    sample = random.truncated_normal(key, (low - mean) / std, (high - mean) / std, shape, dtype=dtype)
    return sample * std + mean


def _variance_scaled(
    key: random.Key, shape: tuple[int, ...], dtype: Any, variance: float, distribution: str
) -> Tensor:
    if distribution == "uniform":
        bound = math.sqrt(3.0 * variance)
        return random.uniform(key, shape, -bound, bound, dtype=dtype)
    return random.normal(key, shape, dtype=dtype) * math.sqrt(variance)


@_initializer
def glorot_uniform(
    key: random.Key, shape: tuple[int, ...], dtype: Any = float32, gain: float = 1.0
) -> Tensor:
    """Uniform with variance 2 gain^2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    return _variance_scaled(key, shape, dtype, 2.0 * gain**2 / max(sum(fans(shape)), 1), "uniform")


@_initializer
def glorot_normal(key: random.Key, shape: tuple[int, ...], dtype: Any = float32, gain: float = 1.0) -> Tensor:
    """Normal with variance 2 gain^2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    return _variance_scaled(key, shape, dtype, 2.0 * gain**2 / max(sum(fans(shape)), 1), "normal")


@_initializer
def kaiming_uniform(
    key: random.Key,
    shape: tuple[int, ...],
    dtype: Any = float32,
    gain: float = math.sqrt(2.0),
    mode: str = "fan_in",
) -> Tensor:
    """Uniform with variance gain^2 / fan_in, or fan_out (He et al. 2015); the gain is that of relu."""
    return _variance_scaled(key, shape, dtype, gain**2 / _fan(shape, mode), "uniform")


@_initializer
def kaiming_normal(
    key: random.Key,
    shape: tuple[int, ...],
    dtype: Any = float32,
    gain: float = math.sqrt(2.0),
    mode: str = "fan_in",
) -> Tensor:
    """Normal with variance gain^2 / fan_in, or fan_out (He et al. 2015); the gain is that of relu."""
    return _variance_scaled(key, shape, dtype, gain**2 / _fan(shape, mode), "normal")


@_initializer
def lecun_uniform(key: random.Key, shape: tuple[int, ...], dtype: Any = float32) -> Tensor:
    """Uniform with variance 1 / fan_in (LeCun et al. 1998)."""
    return _variance_scaled(key, shape, dtype, 1.0 / max(fans(shape)[0], 1), "uniform")


@_initializer
def lecun_normal(key: random.Key, shape: tuple[int, ...], dtype: Any = float32) -> Tensor:
    """Normal with variance 1 / fan_in (LeCun et al. 1998)."""
    return _variance_scaled(key, shape, dtype, 1.0 / max(fans(shape)[0], 1), "normal")


@_initializer
def torch_default(
    key: random.Key, shape: tuple[int, ...], dtype: Any = float32, fan_in: int | None = None
) -> Tensor:
    """Uniform in +-1/sqrt(fan_in): what PyTorch's layers start with; a bias takes its weight's fan_in."""
    bound = 1.0 / math.sqrt(max(fan_in if fan_in is not None else fans(shape)[0], 1))
    return random.uniform(key, shape, -bound, bound, dtype=dtype)


@_initializer
def identity(key: random.Key, shape: tuple[int, ...], dtype: Any = float32, gain: float = 1.0) -> Tensor:
    """The identity matrix times the gain; the shape has two axes."""
    if len(shape) != 2:
        raise ValueError(f"init.identity: needs a shape of two axes, got {tuple(shape)}")
    return _core.eye(shape[0], shape[1], dtype=dtype) * gain


@_initializer
def orthogonal(key: random.Key, shape: tuple[int, ...], dtype: Any = float32, gain: float = 1.0) -> Tensor:
    """Rows (or columns, whichever are fewer) orthonormal, times the gain (Saxe et al. 2014).

    The Q of a normal matrix's QR decomposition with the signs of R's diagonal, by NumPy in float64.
    """
    if len(shape) < 2:
        raise ValueError(f"init.orthogonal: needs a shape of at least two axes, got {tuple(shape)}")
    rows, columns = shape[0], math.prod(shape[1:])
    sample = np.asarray(random.normal(key, (rows, columns), dtype="float64"))
    q, r = np.linalg.qr(sample.T if rows < columns else sample)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    matrix = q.T if rows < columns else q
    return _core.astype(_core.asarray(np.ascontiguousarray(matrix.reshape(shape)) * gain), dtype)


@_initializer
def sparse(
    key: random.Key,
    shape: tuple[int, ...],
    dtype: Any = float32,
    sparsity: float = 0.1,
    std: float = 0.01,
) -> Tensor:
    """Normal, with the fraction `sparsity` of each column set to zero (Martens 2010)."""
    if not 0.0 <= sparsity <= 1.0:
        raise ValueError(f"init.sparse: sparsity must lie in [0, 1], got {sparsity}")
    if len(shape) != 2:
        raise ValueError(f"init.sparse: needs a shape of two axes, got {tuple(shape)}")
    values_key, order_key = key.split(2)
    values = random.normal(values_key, shape, dtype=dtype) * std
    order = _core.argsort(_core.argsort(random.uniform(order_key, shape), axis=0), axis=0)
    return _core.where(order < math.ceil(sparsity * shape[0]), 0.0, values)
