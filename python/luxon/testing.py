"""Checks for functions that are to be differentiated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from luxon import _core

__all__ = ["check_gradients"]


def check_gradients(
    function: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    *,
    step: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> None:
    """Compares a function's derivatives with central differences, in float64, forward and reverse.

    Args:
        function: takes tensors and trees, returns a tensor or a tree of tensors.
        args: its arguments; every floating tensor, array and number in them is checked, in float64.
        order: 1 checks the derivative, 2 the derivative of the derivative as well, and so on.
        step: the change of an element, relative to the larger of 1 and its size.
        rtol, atol: the error that is let pass, relative and absolute.

    Raises:
        AssertionError: a derivative is wrong; the argument, the path in it and the index are named.

    Example:
        >>> import luxon as lx
        >>> from luxon.testing import check_gradients
        >>> check_gradients(lambda x, y: lx.sin(x) * y, (lx.asarray([0.1, 0.2]), lx.asarray([1.0, 2.0])))
    """
    if order < 1:
        raise ValueError(f"check_gradients: order must be at least 1, got {order}")
    args = tuple(_core.tree_cast(_core.tree_map(_as_double, argument), "float64") for argument in args)
    places = [
        (position, index)
        for position, argument in enumerate(args)
        for index, leaf in enumerate(_core.tree_leaves(argument))
        if _is_float(leaf)
    ]
    flat = [_core.tree_flatten(argument) for argument in args]
    points = [flat[position][0][index] for position, index in places]
    names = [_name(args[position], position, index) for position, index in places]

    def of_points(*tensors: Any) -> Any:
        leaves = [list(values) for values, _ in flat]
        for (position, index), tensor in zip(places, tensors, strict=True):
            leaves[position][index] = tensor
        filled = [_core.tree_unflatten(s, values) for values, (_, s) in zip(leaves, flat, strict=True)]
        return _scalar(function(*filled))

    _check(of_points, points, names, order, step, rtol, atol, "")


def _as_double(leaf: Any) -> Any:
    return _core.asarray(leaf) if isinstance(leaf, (float, np.ndarray)) else leaf


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, _core.Tensor) and np.issubdtype(leaf.dtype, np.floating)


def _name(argument: Any, position: int, index: int) -> str:
    path = _core.tree_paths(argument, True)[index]
    return f"argument {position}" + (f" at {path}" if path else "")


def _weights(shape: tuple[int, ...], seed: int) -> Any:
    return _core.asarray(np.random.default_rng(seed).uniform(0.5, 1.5, shape))


def _scalar(result: Any) -> Any:
    """A weighted sum of all floating results, so that errors do not cancel."""
    total: Any = 0.0
    for seed, leaf in enumerate(_core.tree_leaves(result)):
        if _is_float(leaf):
            total = total + _core.sum(leaf * _weights(leaf.shape, seed))
    return total


def _check(
    function: Callable[..., Any],
    points: list[Any],
    names: list[str],
    order: int,
    step: float,
    rtol: float,
    atol: float,
    what: str,
) -> None:
    argnums = tuple(range(len(points)))
    gradients = _core.grad(function, argnums)(*points)
    for place, (name, point, gradient) in enumerate(zip(names, points, gradients, strict=True)):
        base, reverse = np.array(point), np.array(gradient)
        for index in np.ndindex(base.shape):
            length = step * max(1.0, abs(float(base[index])))
            values = []
            for sign in (1.0, -1.0):
                moved = base.copy()
                moved[index] += sign * length
                values.append(float(function(*points[:place], _core.asarray(moved), *points[place + 1 :])))
            expected = (values[0] - values[1]) / (2 * length)
            _compare(float(reverse[index]), expected, "reverse mode", what, name, index, rtol, atol)
            unit = np.zeros_like(base)
            unit[index] = 1.0
            tangents = [None] * place + [_core.asarray(unit)] + [None] * (len(points) - place - 1)
            pushed = float(_core.jvp(function, tuple(points), tuple(tangents))[1])
            _compare(pushed, float(reverse[index]), "forward mode", what, name, index, rtol, atol)
    if order > 1:

        def slope(*tensors: Any) -> Any:
            return _scalar(_core.grad(function, argnums)(*tensors))

        _check(slope, points, names, order - 1, step, rtol, atol, what + "derivative of the ")


def _compare(
    got: float,
    expected: float,
    mode: str,
    what: str,
    name: str,
    index: tuple[int, ...],
    rtol: float,
    atol: float,
) -> None:
    if not abs(got - expected) <= atol + rtol * abs(expected):
        raise AssertionError(
            f"{what}derivative with respect to {name}, index {index}: {mode} gives {got}, expected {expected}"
        )
