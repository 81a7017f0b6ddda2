"""Random numbers from explicit keys.

A `Key` is a value: the same key gives the same numbers, on any device and with any number of threads. Use a
key once; `split` or `fold_in` give further ones. Keys, bits, uniform numbers and integers are those of
`jax.random` for the same seed; normal numbers agree to 2e-5.

Example:
    >>> import luxon as lx
    >>> key = lx.random.key(0)
    >>> first, second = lx.random.split(key)
    >>> lx.random.uniform(first, (2,)).shape
    (2,)
"""

from __future__ import annotations

from ._core.random import (
    Key,
    bernoulli,
    bits,
    categorical,
    exponential,
    gumbel,
    key,
    normal,
    permutation,
    randint,
    truncated_normal,
    uniform,
)

__all__ = [
    "Key",
    "bernoulli",
    "bits",
    "categorical",
    "exponential",
    "fold_in",
    "gumbel",
    "key",
    "normal",
    "permutation",
    "randint",
    "split",
    "truncated_normal",
    "uniform",
]


def split(key: Key, count: int = 2) -> list[Key]:
    """`count` independent keys."""
    return key.split(count)


def fold_in(key: Key, data: int | str) -> Key:
    """A key that depends on `key` and on a number (such as a step) or a name (such as a path)."""
    return key.fold_in(data)
