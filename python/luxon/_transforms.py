"""Second derivatives, and the backends that choose how derivatives are computed.

What can be said in terms of the core's transformations (`grad`, `vjp`, `jvp`, ...) is said here. All of it
takes tensors and trees, runs ordinary Python, and nests in any mix and to any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from luxon import _core
from luxon._core import Tensor

__all__ = [
    "AutoFiniteDiff",
    "AutoForward",
    "AutoTape",
    "Backend",
    "batched_jacobian",
    "hessian",
    "hvp",
    "jacobian_vector_product",
    "vector_jacobian_product",
]

Function = Callable[..., Any]


def hessian(function: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The second derivatives of a function that returns a 0-d tensor: forward over reverse.

    Example:
        >>> import luxon as lx
        >>> lx.hessian(lambda x: (x * x * x).sum())(lx.asarray([1.0, 2.0])).tolist()
        [[6.0, 0.0], [0.0, 12.0]]
    """
    return _core.jacobian(_core.grad(function, argnums), argnums, "forward")


def hvp(function: Function, primals: Any, tangents: Any) -> Any:
    """The Hessian of a scalar function times a direction, without the Hessian.

    `primals` is the tuple of arguments and `tangents` that of directions, and so is the result; a single
    tensor or Tree may stand for itself.

    Example:
        >>> import luxon as lx
        >>> x = lx.asarray([1.0, 2.0])
        >>> lx.hvp(lambda x: (x * x * x).sum(), x, lx.asarray([1.0, 1.0])).tolist()
        [6.0, 12.0]
    """
    several = isinstance(primals, (tuple, list))
    argnums = tuple(range(len(primals))) if several else 0
    return _core.jvp(_core.grad(function, argnums), primals, tangents)[1]


@runtime_checkable
class Backend(Protocol):
    """How derivatives are computed; a user's own is a class with these three methods."""

    def value_and_grad(self, function: Function, argument: Any) -> tuple[tuple[Any, Any], Any]:
        """`((value, aux), gradient)` of a function that returns the pair `(value, aux)`; the gradient is
        `None` at a leaf on which the value does not depend, where the backend can know."""

    def vjp(self, function: Function, argument: Any, cotangent: Any) -> Any:
        """The cotangent of the argument."""

    def jvp(self, function: Function, argument: Any, tangent: Any) -> Any:
        """The tangent of the result."""


@dataclass(frozen=True, slots=True)
class AutoTape:
    """Reverse mode: one run, recorded and walked back.

    Example:
        >>> import luxon as lx
        >>> float(lx.vector_jacobian_product(lx.sin, lx.AutoTape(), lx.asarray(0.0), lx.asarray(2.0)))
        2.0
    """

    def value_and_grad(self, function: Function, argument: Any) -> tuple[tuple[Any, Any], Any]:
        answer: tuple[tuple[Any, Any], Any] = _core.value_and_grad(function, 0, True, "none")(argument)
        return answer

    def vjp(self, function: Function, argument: Any, cotangent: Any) -> Any:
        return _core.vjp(function, argument)[1](cotangent)[0]

    def jvp(self, function: Function, argument: Any, tangent: Any) -> Any:
        return _core.linearize(function, argument)[1](tangent)


@dataclass(frozen=True, slots=True)
class AutoForward:
    """Forward mode: one run per element of what is differentiated, with the same numbers.

    Example:
        >>> import luxon as lx
        >>> float(lx.jacobian_vector_product(lx.sin, lx.AutoForward(), lx.asarray(0.0), lx.asarray(2.0)))
        2.0
    """

    def value_and_grad(self, function: Function, argument: Any) -> tuple[tuple[Any, Any], Any]:
        first: tuple[Any, Any] | None = None

        def slope(tangent: Any) -> Any:
            nonlocal first
            value, derivative, aux = _core.jvp(function, (argument,), (tangent,), True, "none")
            if first is None:
                first = value, aux
            return derivative

        gradient = _by_element(argument, slope)
        return (function(argument) if first is None else first), gradient

    def vjp(self, function: Function, argument: Any, cotangent: Any) -> Any:
        def slope(tangent: Any) -> Any:
            pushed = _core.jvp(function, (argument,), (tangent,))[1]
            return _inner(pushed, cotangent)

        return _by_element(argument, slope)

    def jvp(self, function: Function, argument: Any, tangent: Any) -> Any:
        return _core.jvp(function, (argument,), (tangent,))[1]


@dataclass(frozen=True, slots=True)
class AutoFiniteDiff:
    """Central differences, for checking: two runs per element. It cannot know what the result does not
    depend on, and gives zeros there.

    Attributes:
        step: the change of an element, relative to the larger of 1 and its size; by default the cube root
            of the dtype's resolution.

    Example:
        >>> import luxon as lx
        >>> x = lx.asarray(2.0, dtype="float64")
        >>> round(float(lx.vector_jacobian_product(lambda x: x * x, lx.AutoFiniteDiff(), x, 1.0)), 6)
        4.0
    """

    step: float | None = None

    def value_and_grad(self, function: Function, argument: Any) -> tuple[tuple[Any, Any], Any]:
        first = function(argument)
        return first, self._differences(lambda x: function(x)[0], argument)

    def vjp(self, function: Function, argument: Any, cotangent: Any) -> Any:
        return self._differences(lambda x: _inner(function(x), cotangent), argument)

    def jvp(self, function: Function, argument: Any, tangent: Any) -> Any:
        lengths = [_step(leaf.dtype) for leaf in _floats(argument)]
        step = self.step if self.step is not None else max(lengths, default=1e-6)

        def moved(sign: float) -> Any:
            def shifted(x: Any, d: Any) -> Any:
                return x if d is None else x + d * (sign * step)

            return function(_core.tree_map(shifted, argument, tangent))

        return _core.tree_map(lambda up, down: (up - down) / (2 * step), moved(1.0), moved(-1.0))

    def _differences(self, function: Callable[[Any], Any], argument: Any) -> Any:
        leaves, structure = _core.tree_flatten(argument)
        gradients: list[Any] = []
        for place, leaf in enumerate(leaves):
            if leaf is None:
                gradients.append(None)
                continue
            tensor = _core.asarray(leaf)
            if not _core.isdtype(tensor.dtype, "real floating"):
                raise TypeError(
                    f"finite differences: {tensor.dtype} cannot be differentiated, only floating tensors can"
                )
            base = np.array(_core.stop_gradient(tensor))
            slopes: list[Any] = []
            for index in np.ndindex(base.shape):
                center = float(base[index])
                length = (self.step if self.step is not None else _step(tensor.dtype)) * max(1.0, abs(center))
                ends, values = [], []
                for sign in (1.0, -1.0):
                    moved = base.copy()
                    moved[index] = center + sign * length
                    # A tensor under another differentiation stays under it.
                    point = (
                        tensor + _core.asarray(moved - base) if tensor.is_tracked else _core.asarray(moved)
                    )
                    changed = [*leaves[:place], point, *leaves[place + 1 :]]
                    ends.append(float(moved[index]))
                    value = function(_core.tree_unflatten(structure, changed))
                    values.append(_core.astype(_core.asarray(value), "float64"))
                slopes.append((values[0] - values[1]) / (ends[0] - ends[1]))
            whole = _core.stack(slopes) if slopes else _core.zeros(0)
            gradients.append(_core.reshape(_core.astype(whole, tensor.dtype), base.shape))
        return _core.tree_unflatten(structure, gradients)


def _step(dtype: Any) -> float:
    return float(np.cbrt(np.finfo(dtype).eps))


def _floats(tree: Any) -> list[Tensor]:
    return [_core.asarray(leaf) for leaf in _core.tree_leaves(tree) if leaf is not None]


def _inner(result: Any, cotangent: Any) -> Any:
    """The sum of products of two trees."""
    total: Any = 0.0

    def add(x: Any, u: Any) -> None:
        nonlocal total
        if x is not None and u is not None:
            total = total + _core.sum(x * u)

    _core.tree_map(add, result, cotangent)
    return total


def _by_element(argument: Any, slope: Callable[[Any], Any]) -> Any:
    """The tree of `slope(unit direction)` over all elements; `None` where a leaf has no slope anywhere."""
    leaves, structure = _core.tree_flatten(argument)
    gradients: list[Any] = []
    for place, leaf in enumerate(leaves):
        if leaf is None:
            gradients.append(None)
            continue
        tensor = _core.asarray(leaf)
        slopes: list[Any] = []
        for element in range(tensor.size):
            unit = np.zeros(tensor.size, np.float64)
            unit[element] = 1.0
            direction = _core.astype(_core.asarray(unit.reshape(tensor.shape)), tensor.dtype)
            tangents = [direction if other == place else None for other in range(len(leaves))]
            slopes.append(slope(_core.tree_unflatten(structure, tangents)))
        if all(s is None for s in slopes):
            gradients.append(None)
        else:
            whole = _core.stack([_core.asarray(0.0, dtype=tensor.dtype) if s is None else s for s in slopes])
            gradients.append(_core.reshape(whole, tensor.shape))
    return _core.tree_unflatten(structure, gradients)


def vector_jacobian_product(function: Function, ad: Backend, x: Any, u: Any) -> Any:
    """The transposed Jacobian of `function` at `x` times `u`: a tree like `x`; `u` is like the result.

    Example:
        >>> import luxon as lx
        >>> x = lx.asarray([1.0, 2.0])
        >>> lx.vector_jacobian_product(lambda x: x * x, lx.AutoTape(), x, lx.asarray([1.0, 10.0])).tolist()
        [2.0, 40.0]
    """
    return ad.vjp(function, x, u)


def jacobian_vector_product(function: Function, ad: Backend, x: Any, u: Any) -> Any:
    """The Jacobian of `function` at `x` times `u`: a tree like the result; `u` is like `x`.

    Example:
        >>> import luxon as lx
        >>> x = lx.asarray([1.0, 2.0])
        >>> lx.jacobian_vector_product(lambda x: x * x, lx.AutoForward(), x, lx.asarray([1.0, 0.0])).tolist()
        [2.0, 0.0]
    """
    return ad.jvp(function, x, u)


def batched_jacobian(function: Function, ad: Backend, x: Tensor) -> Tensor:
    """The Jacobian of each row: (batch, *out, *in) for x (batch, *in) and function(x) (batch, *out).

    Row i of the result must depend on row i of `x` only; that is what makes one product per column (or per
    row, whichever are fewer) enough for the whole batch.

    Raises:
        ValueError: the result has another batch size, or `x` no batch axis.

    Example:
        >>> import luxon as lx
        >>> x = lx.asarray([[1.0, 2.0], [3.0, 4.0]])
        >>> lx.batched_jacobian(lambda x: x * x, lx.AutoTape(), x).tolist()
        [[[2.0, 0.0], [0.0, 4.0]], [[6.0, 0.0], [0.0, 8.0]]]
    """
    y = _core.stop_gradient(function(x))
    if x.ndim == 0 or y.ndim == 0 or x.shape[0] != y.shape[0]:
        raise ValueError(
            f"batched_jacobian: x of shape {tuple(x.shape)} and result of shape {tuple(y.shape)} "
            "do not have the same batch axis in front"
        )
    batch, inner, outer = x.shape[0], tuple(x.shape[1:]), tuple(y.shape[1:])
    width, height = int(np.prod(inner)), int(np.prod(outer))
    rows = isinstance(ad, AutoTape)

    def unit(like: Tensor, shape: tuple[int, ...], count: int, element: int) -> Tensor:
        one = np.zeros((batch, count), np.float64)
        one[:, element] = 1.0
        return _core.astype(_core.asarray(one.reshape((batch, *shape))), like.dtype)

    if rows:
        parts = [ad.vjp(function, x, unit(y, outer, height, element)) for element in range(height)]
        axis = 1
    else:
        parts = [ad.jvp(function, x, unit(x, inner, width, element)) for element in range(width)]
        axis = y.ndim
    if not parts:
        return _core.zeros((batch, *outer, *inner), dtype=x.dtype)
    return _core.reshape(_core.stack(parts, axis=axis), (batch, *outer, *inner))
