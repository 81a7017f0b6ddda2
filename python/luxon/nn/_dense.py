"""Layers that multiply by a weight: dense, bilinear, scale."""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

from .. import _core, init, random
from .._core import Tree
from ._errors import stack_level
from ._layer import Layer, Params, States, describe_value

identity = _core.identity


def check_tensor(layer: Layer, x: Any, expected: str) -> None:
    """Refuses an input that is no array."""
    if not hasattr(x, "dtype"):
        raise TypeError(f"{layer.describe()} got {type(x).__name__}, expected a tensor of shape {expected}")


def check_floating(layer: Layer, x: Any) -> None:
    """Refuses an input that is no array of a floating dtype, where there are no parameters to say which."""
    check_tensor(layer, x, "(...)")
    if x.dtype.kind != "f" and not _core.isdtype(x.dtype, "real floating"):
        raise TypeError(
            f"{layer.describe()} got {x.dtype} input of shape {tuple(x.shape)}; it takes floating types: convert "
            "with astype"
        )


def check_input(layer: Layer, x: Any, weight: Any, expected: str) -> Any:
    """The input in the parameters' dtype: floats are cast, with one warning a place; others are refused."""
    check_tensor(layer, x, expected)
    if x.dtype == weight.dtype:
        return x
    if x.dtype.kind not in "fV" or not _core.isdtype(x.dtype, "real floating"):
        raise TypeError(
            f"{layer.describe()} got {x.dtype} input of shape {x.shape}; it takes {weight.dtype}: convert "
            f"with astype (class numbers go through an Embedding or one_hot)"
        )
    warnings.warn(
        f"{layer.describe()}: {x.dtype} input is cast to the parameters' {weight.dtype}; cast the data once, "
        "before the training loop",
        stacklevel=stack_level(),
    )
    return _core.astype(x, weight.dtype)


def missing_parameter(layer: Layer, ps: Params, name: str) -> KeyError:
    """The error for parameters that were made for another layer."""
    have = ", ".join(str(key) for key in ps) if hasattr(ps, "__iter__") else type(ps).__name__
    return KeyError(
        f"{layer.describe()} has no parameter {name!r}; the given tree has: "
        f"{have or 'nothing'}; a layer is called as layer(x, ps, st), with the parameters made for it"
    )


@dataclasses.dataclass(frozen=True, repr=False)
class Dense(Layer):
    """y = activation(x W^T + b).

    Args:
        in_features: size of the input's last axis; None is inferred by `setup(rng, model, x_spec=...)`.
        out_features: size of the output's last axis.
        activation: an elementwise function.
        use_bias: whether there is a bias.
        init_weight, init_bias: `init(key, shape, dtype)`; by default uniform in +-1/sqrt(in_features).

    Shapes: (..., in_features) to (..., out_features). FLOPs: 2 * in * out per row, plus the bias.

    Parameters: weight (out, in), bias (out,). States: none.

    Raises:
        ValueError: the last axis is not in_features.
        TypeError: an integer input.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.Dense(3, 2, lx.relu)
        >>> ps, st = nn.setup(0, layer)
        >>> ps.weight.shape, ps.bias.shape
        ((2, 3), (2,))
        >>> layer(lx.ones((4, 3)), ps, st)[0].shape
        (4, 2)
    """

    in_features: int | None
    out_features: int
    activation: Callable[[Any], Any] = identity
    use_bias: bool = True
    init_weight: init.Initializer | None = None
    init_bias: init.Initializer | None = None

    def __post_init__(self) -> None:
        check_size(self, "in_features", self.in_features, optional=True)
        check_size(self, "out_features", self.out_features)

    def with_input(self, shape: tuple[int, ...]) -> Dense:
        """The layer with its input size taken from an input's shape."""
        return self if self.in_features is not None else dataclasses.replace(self, in_features=shape[-1])

    def initial_parameters(self, key: random.Key) -> Tree:
        if self.in_features is None:
            raise ValueError(f"{self.describe()}: in_features is None; give setup an x_spec to infer it from")
        shape = (self.out_features, self.in_features)
        weight = (self.init_weight or init.torch_default)(key.fold_in("weight"), shape)
        if not self.use_bias:
            return Tree({"weight": weight})
        if self.init_bias is not None:
            bias = self.init_bias(key.fold_in("bias"), (self.out_features,))
        else:
            bias = init.torch_default(key.fold_in("bias"), (self.out_features,), fan_in=self.in_features)
        return Tree({"weight": weight, "bias": bias})

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        try:
            return self._product.run(x, ps), st
        except (TypeError, ValueError, KeyError) as error:
            x = self._explain(x, ps, error)
        return self._product.run(x, ps), st

    @functools.cached_property
    def _product(self) -> _core.DenseCall:
        return _core.DenseCall(self.activation, self.use_bias)

    def __getstate__(self) -> dict[str, Any]:
        # A copy makes what is cached itself.
        return {name: value for name, value in self.__dict__.items() if name != "_product"}

    def _in_core(self) -> _core.DenseCall | None:
        # A subclass may have a call of its own.
        product: _core.DenseCall = self._product
        return product if type(self).__call__ is Dense.__call__ else None

    def _explain(self, x: Any, ps: Params, error: Exception) -> Any:
        """Casts an input of another float type, or raises what is wrong with the input."""
        for name in ("weight", "bias") if self.use_bias else ("weight",):
            if name not in ps:
                raise missing_parameter(self, ps, name) from None
        weight = ps["weight"]
        expected = f"(..., {weight.shape[-1]})"
        converted = check_input(self, x, weight, expected)
        if self.in_features is not None and weight.shape[-1] != self.in_features:
            raise ValueError(
                f"{self.describe()} has a weight of shape {tuple(weight.shape)}, expected "
                f"{(self.out_features, self.in_features)}: these are another model's parameters"
            ) from None
        if x.ndim == 0 or x.shape[-1] != weight.shape[-1]:
            raise ValueError(f"{self.describe()} got {tuple(x.shape)}, expected {expected}") from None
        if converted is x:
            raise error
        return converted

    def describe(self) -> str:
        arrow = f"{self.in_features} => {self.out_features}"
        activation = "" if self.activation is identity else f", {describe_value(self.activation)}"
        return f"Dense({arrow}{activation}{'' if self.use_bias else ', use_bias=False'})"

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        del y_shape
        return math.prod(x_shape[:-1]) * self.out_features * (2 * x_shape[-1] + int(self.use_bias))


def check_size(layer: Layer, name: str, value: int | None, optional: bool = False) -> None:
    """Refuses a size that is not a positive int."""
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{type(layer).__name__}: {name} must be a positive integer, got {value!r}")


@dataclasses.dataclass(frozen=True, repr=False)
class Bilinear(Layer):
    """y_o = activation(x1 W_o x2 + b_o).

    Args:
        in_features: the sizes of the two inputs' last axes.
        out_features: size of the output's last axis.

    Input: a pair (x1, x2), or one tensor used for both.

    Shapes: (..., in1) and (..., in2) to (..., out). FLOPs: 2 * out * in2 * (in1 + 1) per row, plus the bias.

    Parameters: weight (out, in1, in2), bias (out,). Uniform in +-1/sqrt(in1) by default, as in PyTorch. States:
    none.

    Raises:
        ValueError: the last axes are not in1 and in2, or the others differ.
        TypeError: an integer input, or a tuple that is no pair.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.Bilinear((3, 4), 2)
        >>> ps, st = nn.setup(0, layer)
        >>> layer((lx.ones((5, 3)), lx.ones((5, 4))), ps, st)[0].shape
        (5, 2)
    """

    in_features: tuple[int, int]
    out_features: int
    activation: Callable[[Any], Any] = identity
    use_bias: bool = True
    init_weight: init.Initializer | None = None
    init_bias: init.Initializer | None = None

    def __post_init__(self) -> None:
        pair = (
            (self.in_features, self.in_features)
            if isinstance(self.in_features, int)
            else tuple(self.in_features)
        )
        object.__setattr__(self, "in_features", pair)
        for size in (*pair, self.out_features):
            check_size(self, "a size", size)

    def initial_parameters(self, key: random.Key) -> Tree:
        shape = (self.out_features, *self.in_features)
        bounded = init.uniform(low=-(self.in_features[0] ** -0.5), high=self.in_features[0] ** -0.5)
        weight = (self.init_weight or bounded)(key.fold_in("weight"), shape)
        if not self.use_bias:
            return Tree({"weight": weight})
        return Tree({"weight": weight, "bias": (self.init_bias or bounded)(key.fold_in("bias"), shape[:1])})

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        pair = x if isinstance(x, tuple) else (x, x)
        if len(pair) != 2:
            raise TypeError(f"{self.describe()} got a tuple of {len(pair)}, expected a tensor or a pair")
        expected = " and ".join(f"(..., {size})" for size in self.in_features)
        x1, x2 = (check_input(self, part, ps["weight"], expected) for part in pair)
        if any(
            part.ndim == 0 or part.shape[-1] != size
            for part, size in zip((x1, x2), self.in_features, strict=True)
        ):
            raise ValueError(
                f"{self.describe()} got {tuple(x1.shape)} and {tuple(x2.shape)}, expected {expected}"
            )
        try:
            y = _core.einsum("...i,oij,...j->...o", x1, ps["weight"], x2)
        except ValueError:
            raise ValueError(
                f"{self.describe()} got {tuple(x1.shape)} and {tuple(x2.shape)}, of which the axes before the last "
                "do not broadcast"
            ) from None
        if self.use_bias:
            y = y + ps["bias"]
        return self.activation(y), st

    def describe(self) -> str:
        activation = "" if self.activation is identity else f", {describe_value(self.activation)}"
        return f"Bilinear({self.in_features} => {self.out_features}{activation}{'' if self.use_bias else ', use_bias=False'})"

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        del x_shape
        first, second = self.in_features
        return math.prod(y_shape) * (2 * second * (first + 1) + int(self.use_bias))


@dataclasses.dataclass(frozen=True, repr=False)
class Scale(Layer):
    """y = activation(x * weight + bias), elementwise.

    Args:
        shape: the parameters' shape, which broadcasts against the input's trailing axes.
        activation: an elementwise function.
        use_bias: whether there is a bias.
        init_weight, init_bias: `init(key, shape, dtype)`.

    Shapes: (..., *shape) to the same. FLOPs: two per element, one without the bias.

    Parameters: weight (ones), bias (zeros), both of `shape`. States: none.

    Raises:
        ValueError: an input that does not broadcast with `shape`.
        TypeError: an integer input.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.Scale(3)
        >>> ps, st = nn.setup(0, layer)
        >>> layer(lx.ones((2, 3)), ps, st)[0].tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    shape: tuple[int, ...]
    activation: Callable[[Any], Any] = identity
    use_bias: bool = True
    init_weight: init.Initializer = init.ones
    init_bias: init.Initializer = init.zeros

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (self.shape,) if isinstance(self.shape, int) else tuple(self.shape))

    def initial_parameters(self, key: random.Key) -> Tree:
        weight = self.init_weight(key.fold_in("weight"), self.shape)
        if not self.use_bias:
            return Tree({"weight": weight})
        return Tree({"weight": weight, "bias": self.init_bias(key.fold_in("bias"), self.shape)})

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        weight = ps["weight"]
        x = check_input(self, x, weight, "(..., *shape)")
        try:
            y = x * weight
        except ValueError:
            expected = ", ".join(str(size) for size in self.shape)
            raise ValueError(f"{self.describe()} got {tuple(x.shape)}, expected (..., {expected})") from None
        if self.use_bias:
            y = y + ps["bias"]
        return self.activation(y), st

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        del x_shape
        return math.prod(y_shape) * (1 + int(self.use_bias))
