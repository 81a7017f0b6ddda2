"""A layer whose weights are given by direction and length."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from .. import _core, random, tree
from .._core import Tree
from ._layer import Layer, Params, States, abstract_parameters


@dataclasses.dataclass(frozen=True, repr=False)
class WeightNorm(Layer):
    """A layer with w = g v / |v| in place of some of its weights w (Salimans and Kingma 2016).

    Args:
        layer: the layer.
        which: names (or patterns) of the weights, relative to the layer.
        axis: the axis that |v| is not taken over, which gives a length per entry of it; None gives one length.

    Shapes: the layer's. FLOPs: the layer's, and about four per element of the weights.

    Parameters: `normalized`, which has w_g (the lengths, with the other axes of size 1) and w_v (the shape of
    w) for each weight w, and `unnormalized`, the layer's other parameters. States: the layer's own. The initial
    w is what the layer alone would start with. To tools that walk a model it is a leaf.

    Raises:
        ValueError: a name that matches nothing, no such axis, or a weight with a length of 0 at setup.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.WeightNorm(nn.Dense(2, 3), "weight")
        >>> ps, st = nn.setup(0, layer)
        >>> list(ps.paths())
        ['normalized.weight_g', 'normalized.weight_v', 'unnormalized.bias']
        >>> ps.normalized.weight_g.shape
        (3, 1)
        >>> layer(lx.ones((4, 2)), ps, st)[0].shape
        (4, 3)
    """

    layer: Layer
    which: tuple[str, ...]
    axis: int | None = 0

    def __init__(self, layer: Layer, which: str | Iterable[str], axis: int | None = 0) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"WeightNorm needs a layer, got {type(layer).__name__}")
        object.__setattr__(self, "layer", layer)
        object.__setattr__(self, "which", (which,) if isinstance(which, str) else tuple(which))
        object.__setattr__(self, "axis", axis)
        if not self.which:
            raise ValueError("WeightNorm: which is empty, so there is nothing to normalise")
        try:
            ps = abstract_parameters(layer)
        except ValueError:
            return  # A size is still open: the names are checked by setup.
        for path, weight in self._chosen(ps):
            if axis is not None and not -weight.ndim <= axis < weight.ndim:
                raise ValueError(f"WeightNorm: {path} of shape {tuple(weight.shape)} has no axis {axis}")

    def _chosen(self, ps: Any) -> list[tuple[str, Any]]:
        chosen = tree.partition(ps, self.which)[0]
        return list(zip(tree.paths(chosen), tree.leaves(chosen), strict=True))

    @functools.cached_property
    def _order(self) -> Any:
        """The structure of the layer's own parameters; None where a size is still open."""
        try:
            return tree.structure(abstract_parameters(self.layer))
        except ValueError:
            return None

    def with_input(self, shape: tuple[int, ...]) -> WeightNorm:
        """The layer with its inner layer's open size taken from an input's shape."""
        settle = getattr(self.layer, "with_input", None)
        return self if settle is None else WeightNorm(settle(shape), self.which, self.axis)

    def initial_parameters(self, key: random.Key) -> Tree:
        ps = self.layer.initial_parameters(key)
        chosen, rest = tree.partition(ps, self.which)
        return Tree({"normalized": self._parts(chosen, ""), "unnormalized": rest})

    def _parts(self, weights: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Length and direction in place of every weight."""
        parts: dict[str, Any] = {}
        for name, weight in weights.items():
            if isinstance(weight, Mapping):
                parts[name] = self._parts(weight, f"{path}{name}.")
                continue
            lengths = self._lengths(weight)
            if bool(_core.any(lengths == 0.0)):
                raise ValueError(
                    f"{self.describe()}: {path}{name} of shape {tuple(weight.shape)} has a part of length 0, "
                    "which has no direction; start it with something else than zeros"
                )
            parts[f"{name}_g"], parts[f"{name}_v"] = lengths, weight
        return parts

    def _lengths(self, v: Any) -> Any:
        kept = None if self.axis is None else self.axis % v.ndim
        axes = tuple(axis for axis in range(v.ndim) if axis != kept)
        return _core.sqrt(_core.sum(v * v, axis=axes, keepdims=True))

    def _weights(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """The weights that lengths and directions stand for."""
        weights: dict[str, Any] = {}
        for name, part in parts.items():
            if isinstance(part, Mapping):
                weights[name] = self._weights(part)
            elif name.endswith("_v"):
                weight = name.removesuffix("_v")
                weights[weight] = part * (parts[f"{weight}_g"] / self._lengths(part))
        return weights

    def initial_states(self, key: random.Key) -> Tree:
        return self.layer.initial_states(key)

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        merged = tree.merge(Tree(self._weights(ps["normalized"])), ps["unnormalized"], like=self._order)
        return self.layer(x, merged, st)

    def describe(self) -> str:
        axis = "" if self.axis == 0 else f", axis={self.axis}"
        return f"WeightNorm({self.layer.describe()}, {', '.join(self.which)}{axis})"

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int | None:
        """Floating-point operations of one call: the layer's, and about 4 per element of a weight."""
        inner = self.layer.flops(x_shape, y_shape)
        if inner is None:
            return None
        weights = sum(int(weight.size) for _, weight in self._chosen(abstract_parameters(self.layer)))
        return 4 * weights + inner
