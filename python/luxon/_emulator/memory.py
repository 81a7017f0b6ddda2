"""Memory of the host seen as the arrays of a device, and products over it: what the emulations share.

bfloat16 is kept as 16 bits and widened to float32; half types are computed in float32 and rounded once, as a GPU
does.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def strided(address: int, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """The elements of `shape` from an address, `strides` elements apart; a view."""
    kind = np.dtype("uint16" if dtype == "bfloat16" else dtype)
    span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    memory: Any = (ctypes.c_char * (span * kind.itemsize)).from_address(address)
    steps = tuple(stride * kind.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(np.frombuffer(memory, kind), shape, steps)


def wide(array: Array, dtype: str) -> Array:
    """The elements in the type that they are computed in."""
    if dtype == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if dtype == "float16" else array


def store(target: Array, result: Array, dtype: str) -> None:
    """Rounds results to where they belong."""
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(result, np.float32).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        target[...] = np.where(np.isnan(result), 0x7FC0, rounded).astype(np.uint16)
    else:
        target[...] = result


def multiply(dtype: str, a: Array, b: Array, c: Array, alpha: float, beta: float) -> None:
    """`c = alpha a b + beta c` on views of stored elements; with beta 0, c is not read."""
    with np.errstate(all="ignore"):
        result = alpha * (wide(a, dtype) @ wide(b, dtype))
        if beta != 0.0:
            result = result + beta * wide(c, dtype)
        store(c, result, dtype)
