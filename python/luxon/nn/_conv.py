"""Convolution layers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

from .. import _core, init, random
from .._core import Tensor, Tree
from ..functional._conv import Padding, PerAxis
from ._dense import check_input, check_size, identity, missing_parameter
from ._layer import Layer, Params, States, describe_value

PaddingMode = Literal["zeros", "reflect", "edge", "wrap"]


def _frozen(value: Any) -> Any:
    """Lists as tuples, at any depth, so that the layer can be hashed."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


@dataclasses.dataclass(frozen=True, repr=False)
class _Convolution(Layer):
    """What both kinds of convolution share."""

    kernel: tuple[int, ...]
    in_channels: int | None
    out_channels: int
    activation: Callable[[Any], Any] = identity
    stride: PerAxis = 1
    padding: Padding = 0
    dilation: PerAxis = 1
    groups: int = 1
    padding_mode: PaddingMode = "zeros"
    use_bias: bool = True
    flip_kernel: bool = False

    # What subclasses with further fields, which come last, set.
    init_weight: init.Initializer | None = dataclasses.field(default=None, kw_only=True)
    init_bias: init.Initializer | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not isinstance(self.kernel, tuple | list) or not 1 <= len(self.kernel) <= 3:
            raise ValueError(f"{name}: kernel must be a tuple of one to three sizes, got {self.kernel!r}")
        for field in ("kernel", "stride", "padding", "dilation"):
            object.__setattr__(self, field, _frozen(getattr(self, field)))
        for size in self.kernel:
            check_size(self, "a kernel's size", size)
        check_size(self, "in_channels", self.in_channels, optional=True)
        for field in ("out_channels", "groups"):
            check_size(self, field, getattr(self, field))
        for field in ("stride", "dilation"):
            for size in self._per_axis(field):
                check_size(self, field, size)
        for field in ("in_channels", "out_channels"):
            if (getattr(self, field) or 0) % self.groups:
                raise ValueError(
                    f"{name}: {field} {getattr(self, field)} is no multiple of {self.groups} groups"
                )
        if self.padding_mode not in ("zeros", "reflect", "edge", "wrap"):
            raise ValueError(
                f'{name}: padding_mode must be "zeros", "reflect", "edge" or "wrap", got {self.padding_mode!r}'
            )
        self._pads()

    def _per_axis(self, field: str) -> tuple[int, ...]:
        value = getattr(self, field)
        if not isinstance(value, tuple):
            return (value,) * len(self.kernel)
        if len(value) != len(self.kernel):
            raise ValueError(
                f"{type(self).__name__}: {field} {value} has {len(value)} entries for {len(self.kernel)} spatial axes"
            )
        return value

    def _pads(self) -> tuple[tuple[int, int], ...]:
        """(before, after) for each spatial axis."""
        name, padding = type(self).__name__, self.padding
        if padding == "valid":
            return ((0, 0),) * len(self.kernel)
        if padding == "same":
            if any(stride != 1 for stride in self._per_axis("stride")):
                raise ValueError(f'{name}: padding "same" needs stride 1, got {self.stride}')
            spans = (
                (size - 1) * step for size, step in zip(self.kernel, self._per_axis("dilation"), strict=True)
            )
            return tuple((span // 2, span - span // 2) for span in spans)
        pairs = tuple(item if isinstance(item, tuple) else (item, item) for item in self._per_axis("padding"))
        for pair in pairs:
            if len(pair) != 2 or any(not isinstance(size, int) or size < 0 for size in pair):
                raise ValueError(
                    f'{name}: padding must be "same", "valid", or sizes or pairs (before, after) that are not '
                    f"negative, got {padding!r}"
                )
        return pairs

    def with_input(self, shape: tuple[int, ...]) -> _Convolution:
        """The layer with its number of input channels taken from an input's shape."""
        if self.in_channels is not None or len(shape) < 2:
            return self
        return dataclasses.replace(self, in_channels=shape[1])

    def _weight_shape(self, in_channels: int) -> tuple[int, ...]:
        raise NotImplementedError

    def _convolve(self, x: Any, weight: Any, bias: Any) -> Any:
        raise NotImplementedError

    def initial_parameters(self, key: random.Key) -> Tree:
        if self.in_channels is None:
            raise ValueError(f"{self.describe()}: in_channels is None; give setup an x_spec to infer it from")
        shape = self._weight_shape(self.in_channels)
        weight = (self.init_weight or init.torch_default)(key.fold_in("weight"), shape)
        if not self.use_bias:
            return Tree({"weight": weight})
        sizes = (self.out_channels,)
        if self.init_bias is not None:
            bias = self.init_bias(key.fold_in("bias"), sizes)
        else:
            bias = init.torch_default(key.fold_in("bias"), sizes, fan_in=init.fans(shape)[0])
        return Tree({"weight": weight, "bias": bias})

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        try:
            weight = ps["weight"]
            bias = ps["bias"] if self.use_bias else None
            if x.dtype == weight.dtype:
                return self._convolve(x, weight, bias), st
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            x = self._explain(x, ps, error)
        else:
            x = self._explain(x, ps, None)
        return self._convolve(x, weight, bias), st

    def _explain(self, x: Any, ps: Params, error: Exception | None) -> Any:
        """Casts an input of another float type, or raises what is wrong with the input."""
        for name in ("weight", "bias") if self.use_bias else ("weight",):
            if name not in ps:
                raise missing_parameter(self, ps, name) from None
        channels = "channels" if self.in_channels is None else self.in_channels
        expected = f"(batch, {channels}, {', '.join(['size'] * len(self.kernel))})"
        converted = check_input(self, x, ps["weight"], expected)
        if x.ndim != len(self.kernel) + 2 or x.shape[1] != (self.in_channels or x.shape[1]):
            raise ValueError(f"{self.describe()} got {tuple(x.shape)}, expected {expected}") from None
        if error is not None:
            raise error
        return converted

    def describe(self) -> str:
        shown = [describe_value(self.kernel), f"{self.in_channels} => {self.out_channels}"]
        if self.activation is not identity:
            shown.append(describe_value(self.activation))
        for field in dataclasses.fields(self):
            if field.name in (
                "kernel",
                "in_channels",
                "out_channels",
                "activation",
                "init_weight",
                "init_bias",
            ):
                continue
            value = getattr(self, field.name)
            if value != field.default:
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclasses.dataclass(frozen=True, repr=False)
class Conv(_Convolution):
    """The convolution of images by learnt kernels, with one to three spatial axes.

    y[n, f, t] = activation(bias[f] + sum over c, k of weight[f, c, k] x[n, c, t * stride + k * dilation - padding]).

    Args:
        kernel: its sizes, one for each spatial axis.
        in_channels: size of the input's axis 1; None is inferred by `setup(rng, model, x_spec=...)`.
        out_channels: size of the output's axis 1.
        activation: an elementwise function.
        stride, dilation: an int, or one for each spatial axis.
        padding: an int, one for each spatial axis, a pair (before, after) for each, "valid" (none) or "same"
            (as many outputs as inputs; stride 1 only).
        groups: divides the channels in groups that do not see one another.
        padding_mode: what stands outside the image: "zeros", "reflect", "edge" or "wrap".
        use_bias: whether there is a bias.
        flip_kernel: whether the kernel is reversed along its spatial axes, as in the mathematical convolution.
        init_weight, init_bias: `init(key, shape, dtype)`; by default uniform in +-1/sqrt(fan_in).

    Shapes: (batch, in_channels, spatial...) to (batch, out_channels, spatial...), with sizes
    floor((size + before + after - dilation * (kernel - 1) - 1) / stride) + 1. FLOPs: 2 * in_channels / groups *
    kernel for each output, plus the bias.

    Parameters: weight (out_channels, in_channels / groups, kernel...), bias (out_channels,). States: none.

    Raises:
        ValueError: another number of axes or channels, or a kernel larger than the padded image.
        TypeError: an integer input.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.Conv((3, 3), 1, 6, lx.relu, stride=2, padding=1)
        >>> ps, st = nn.setup(0, layer)
        >>> ps.weight.shape, ps.bias.shape
        ((6, 1, 3, 3), (6,))
        >>> layer(lx.ones((4, 1, 28, 28)), ps, st)[0].shape
        (4, 6, 14, 14)
    """

    def _weight_shape(self, in_channels: int) -> tuple[int, ...]:
        if in_channels % self.groups:
            raise ValueError(
                f"{self.describe()}: {in_channels} channels are no multiple of {self.groups} groups"
            )
        return (self.out_channels, in_channels // self.groups, *self.kernel)

    def _convolve(self, x: Any, weight: Any, bias: Any) -> Any:
        if self.flip_kernel:
            weight = _core.flip(weight, axis=tuple(range(2, weight.ndim)))
        padding = self.padding
        if self.padding_mode != "zeros" and x.ndim == len(self.kernel) + 2:
            x = _core.pad(x, ((0, 0), (0, 0), *self._pads()), self.padding_mode)
            padding = 0
        return _core.conv(x, weight, bias, self.stride, padding, self.dilation, self.groups, self.activation)

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        per_output = 2 * (x_shape[1] // self.groups) * math.prod(self.kernel) + int(self.use_bias)
        return math.prod(y_shape) * per_output


@dataclasses.dataclass(frozen=True, repr=False)
class ConvTranspose(_Convolution):
    """The transpose of a convolution: every input adds its kernel, scaled, to the output.

    Args:
        kernel: its sizes, one for each spatial axis.
        in_channels: size of the input's axis 1; None is inferred by `setup(rng, model, x_spec=...)`.
        out_channels: size of the output's axis 1.
        activation: an elementwise function.
        stride, dilation: an int, or one for each spatial axis: those of the convolution that is transposed.
        padding: how much of the whole result is left out; an int, one for each spatial axis, a pair (before,
            after) for each, or "valid" (nothing).
        groups: divides the channels in groups that do not see one another.
        padding_mode: "zeros"; there is no other.
        use_bias: whether there is a bias.
        flip_kernel: whether the kernel is reversed along its spatial axes.
        output_padding: how much longer the result is at its end, less than stride or dilation.
        init_weight, init_bias: `init(key, shape, dtype)`; by default uniform in +-1/sqrt(fan_in), with PyTorch's
            fan_in, out_channels / groups times the kernel's size.

    Shapes: (batch, in_channels, spatial...) to (batch, out_channels, spatial...), with sizes (size - 1) * stride -
    before - after + dilation * (kernel - 1) + 1 + output_padding. FLOPs: 2 * out_channels / groups * kernel for each
    input, plus the bias.

    Parameters: weight (in_channels, out_channels / groups, kernel...), bias (out_channels,). States: none.

    Raises:
        ValueError: another number of axes or channels, or nothing is left of an axis.
        TypeError: an integer input.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.ConvTranspose((2, 2), 8, 3, stride=2)
        >>> ps, st = nn.setup(0, layer)
        >>> ps.weight.shape
        (8, 3, 2, 2)
        >>> layer(lx.ones((4, 8, 7, 7)), ps, st)[0].shape
        (4, 3, 14, 14)
    """

    output_padding: PerAxis = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "output_padding", _frozen(self.output_padding))
        if self.padding_mode != "zeros":
            raise ValueError(f'ConvTranspose: padding_mode must be "zeros", got {self.padding_mode!r}')
        if self.padding == "same":
            raise ValueError('ConvTranspose: padding "same" is not defined; give sizes')
        self._per_axis("output_padding")

    def _weight_shape(self, in_channels: int) -> tuple[int, ...]:
        if in_channels % self.groups:
            raise ValueError(
                f"{self.describe()}: {in_channels} channels are no multiple of {self.groups} groups"
            )
        return (in_channels, self.out_channels // self.groups, *self.kernel)

    def _convolve(self, x: Any, weight: Any, bias: Any) -> Tensor:
        if self.flip_kernel:
            weight = _core.flip(weight, axis=tuple(range(2, weight.ndim)))
        return _core.conv_transpose(
            x,
            weight,
            bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.dilation,
            self.groups,
            self.activation,
        )

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int:
        per_input = 2 * (self.out_channels // self.groups) * math.prod(self.kernel)
        return math.prod(x_shape) * per_input + int(self.use_bias) * math.prod(y_shape)
