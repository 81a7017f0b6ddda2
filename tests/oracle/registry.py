"""The table of operators, and what the functions of PyTorch's names are made with.

`ops` maps an operator's name to a function with PyTorch's arguments over luxon tensors; `tensor`, `array` and `vjp` go
between NumPy and luxon. Where PyTorch takes an axis of a 0-d tensor, the tensor is seen as one of shape (1,), and an
empty tuple of axes means all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import luxon as lx

ops: dict[str, Callable[..., Any]] = {}


def tensor(array: np.ndarray) -> lx.Tensor:
    return lx.asarray(array)


def array(value: Any) -> np.ndarray:
    return np.asarray(lx.stop_gradient(value) if isinstance(value, lx.Tensor) else value)


def vjp(fun: Callable[..., list[Any]], leaves: Sequence[lx.Tensor], cots: Sequence[lx.Tensor]) -> Any:
    """The outputs of a function of the leaves, and the pullback of the cotangents of its floating outputs."""
    outputs: list[Any] = []

    def floating(*leaves: lx.Tensor) -> tuple[lx.Tensor, ...]:
        outputs[:] = fun(*leaves)
        found = [
            out for out in outputs if isinstance(out, lx.Tensor) and lx.isdtype(out.dtype, "real floating")
        ]
        return tuple(found[: len(cots)])

    _, pullback = lx.vjp(floating, *leaves)
    return outputs, list(pullback(tuple(cots)))


def op(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            ops[name] = function
        return function

    return register


def axes_of(input, dim):
    """PyTorch's axes as luxon's: an empty tuple, and any axis of a 0-d tensor, is all."""
    if input.ndim == 0 or (isinstance(dim, (list, tuple)) and not dim):
        return None
    return dim


def lift(function):
    """For functions along one axis: a 0-d tensor is taken as one of one element."""

    @functools.wraps(function)
    def lifted(input, *args, **kwargs):
        if input.ndim:
            return function(input, *args, **kwargs)
        result = function(lx.reshape(input, (1,)), *args, **kwargs)
        parts = [lx.reshape(part, ()) for part in (result if isinstance(result, tuple) else (result,))]
        return tuple(parts) if isinstance(result, tuple) else parts[0]

    return lifted


def reduction(function):
    def reduce(input, dim=None, keepdim=False, **kwargs):
        return function(input, axes_of(input, dim), keepdims=keepdim, **kwargs)

    return reduce
