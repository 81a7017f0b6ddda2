"""Dropout layers: random masks from the key in their state."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from .. import _core, functional, random
from .._core import Tree
from ._containers import updated
from ._dense import check_floating
from ._layer import Layer, Params, States


def _check_probability(layer: Layer, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{type(layer).__name__}: p must lie in [0, 1], got {p}")


def _initial_states(key: random.Key, **more: Any) -> Tree:
    return Tree({"key": key.fold_in("key"), "training": True, **more})


@dataclasses.dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """Elements set to zero with probability p in training, the others scaled by 1 / (1 - p).

    Args:
        p: the probability, in [0, 1]; 1 gives exact zeros.
        axes: the axes along which the mask varies; it is shared along the others. None is all.

    Shapes: any to the same. FLOPs: one per element.

    States: key, training. The same state gives the same mask; the returned state has the next key. With
    p = 0, and in testing, the input passes and the state stays.

    Raises:
        ValueError: p outside [0, 1].
        TypeError: an integer input, in training.
        IndexError: an axis that is not there, in training.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.Dropout(0.5)
        >>> ps, st = nn.setup(0, layer)
        >>> y, after = layer(lx.ones((2, 3)), ps, st)
        >>> bool(lx.all((y == 0) | (y == 2)))
        True
        >>> layer(lx.ones(2), ps, nn.testmode(st))[0].tolist()
        [1.0, 1.0]
    """

    p: float
    axes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check_probability(self, self.p)
        if self.axes is not None:
            axes = (self.axes,) if isinstance(self.axes, int) else tuple(self.axes)
            object.__setattr__(self, "axes", axes)

    def initial_states(self, key: random.Key) -> Tree:
        return _initial_states(key)

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        if self.p == 0.0 or not st["training"]:
            return x, st
        check_floating(self, x)
        key, following = st["key"].split(2)
        return _core.dropout(key, x, self.p, self.axes), updated(st, {"key": following})

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return math.prod(x_shape)


@dataclasses.dataclass(frozen=True, repr=False)
class AlphaDropout(Layer):
    """Elements set to the negative limit of selu with probability p in training, then scaled and shifted.

    Mean and variance of the elements stay those of the input (Klambauer et al. 2017); for networks of selu.

    Args:
        p: the probability, in [0, 1]; 1 gives exact zeros.

    Shapes: any to the same. FLOPs: two per element.

    States: key, training. The same state gives the same mask; the returned state has the next key. With
    p = 0, and in testing, the input passes and the state stays.

    Raises:
        ValueError: p outside [0, 1].
        TypeError: an integer input, in training.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.AlphaDropout(0.5)
        >>> ps, st = nn.setup(0, layer)
        >>> y, after = layer(lx.zeros(1000), ps, st)
        >>> sorted({round(value, 4) for value in y.tolist()})
        [-0.7792, 0.7792]
    """

    p: float

    def __post_init__(self) -> None:
        _check_probability(self, self.p)

    def initial_states(self, key: random.Key) -> Tree:
        return _initial_states(key)

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        if self.p == 0.0 or not st["training"]:
            return x, st
        check_floating(self, x)
        key, following = st["key"].split(2)
        return functional.alpha_dropout(key, x, self.p), updated(st, {"key": following})

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return 2 * math.prod(x_shape)


@dataclasses.dataclass(frozen=True, repr=False)
class VariationalHiddenDropout(Layer):
    """Dropout with a mask that is kept from call to call, as for the steps of a sequence (Gal and Ghahramani 2016).

    Args:
        p: the probability, in [0, 1]; 1 gives exact zeros.
        axes: the axes along which the mask varies; it is shared along the others. None is all.

    Shapes: any to the same. FLOPs: one per element.

    States: key, training, mask (None at first), update_mask. Where `update_mask` is true or there is no mask
    yet, a new one is drawn: the returned state has it, the next key, and update_mask false. Otherwise the mask
    and the state stay. `nn.update_state(st, "update_mask", True)` asks for a new mask.

    Raises:
        ValueError: p outside [0, 1], or an input that the kept mask does not fit.
        TypeError: an integer input, in training.
        IndexError: an axis that is not there, in training.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.VariationalHiddenDropout(0.5)
        >>> ps, st = nn.setup(0, layer)
        >>> first, st = layer(lx.ones((2, 8)), ps, st)
        >>> second, st = layer(lx.ones((2, 8)), ps, st)
        >>> bool(lx.all(first == second))
        True
    """

    p: float
    axes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check_probability(self, self.p)
        if self.axes is not None:
            axes = (self.axes,) if isinstance(self.axes, int) else tuple(self.axes)
            object.__setattr__(self, "axes", axes)

    def initial_states(self, key: random.Key) -> Tree:
        return _initial_states(key, mask=None, update_mask=True)

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        if self.p == 0.0 or not st["training"]:
            return x, st
        check_floating(self, x)
        mask = st["mask"]
        if mask is None or st["update_mask"]:
            key, following = st["key"].split(2)
            mask = self._new_mask(key, x)
            st = updated(st, {"key": following, "mask": mask, "update_mask": False})
        elif mask.ndim != x.ndim or any(
            size not in (1, of) for size, of in zip(mask.shape, x.shape, strict=True)
        ):
            raise ValueError(
                f"{self.describe()} got {tuple(x.shape)}, its mask has {tuple(mask.shape)}; ask for a new one "
                'with nn.update_state(st, "update_mask", True)'
            )
        return _core.where(mask != 0.0, x * _core.astype(mask, x.dtype), 0.0), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        return math.prod(x_shape)

    def _new_mask(self, key: random.Key, x: Any) -> Any:
        """0 where an element is dropped, 1 / (1 - p) where it is kept."""
        for axis in self.axes or ():
            if not -x.ndim <= axis < x.ndim:
                raise IndexError(f"{self.describe()} got {tuple(x.shape)}, which has no axis {axis}")
        kept = range(x.ndim) if self.axes is None else {axis % x.ndim for axis in self.axes}
        shape = tuple(size if axis in kept else 1 for axis, size in enumerate(x.shape))
        return _core.dropout(key, _core.ones(shape, dtype=x.dtype, device=x.device), self.p)
