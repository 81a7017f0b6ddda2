"""PyTorch's operators in terms of luxon's functions, for replaying stored answers.

`ops` maps an operator's name to a function with PyTorch's arguments over luxon tensors; `tensor`, `array` and
`vjp` go between NumPy and luxon. Nothing here computes by itself what luxon has a function for: a wrong answer
is to be mended in the library. Where PyTorch takes an axis of a 0-d tensor, the tensor is seen as one of shape
(1,), and an empty tuple of axes means all of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import luxon as lx
import oracle_networks
from luxon import special

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


# ---------------------------------------------------------------- elementwise

ops.update(
    {
        "abs": lx.abs,
        "acos": lx.acos,
        "acosh": lx.acosh,
        "asin": lx.asin,
        "asinh": lx.asinh,
        "atan": lx.atan,
        "atan2": lx.atan2,
        "atanh": lx.atanh,
        "bitwise_and": lx.bitwise_and,
        "bitwise_left_shift": lx.bitwise_left_shift,
        "bitwise_not": lx.bitwise_invert,
        "bitwise_or": lx.bitwise_or,
        "bitwise_right_shift": lx.bitwise_right_shift,
        "bitwise_xor": lx.bitwise_xor,
        "ceil": lx.ceil,
        "copysign": lx.copysign,
        "cos": lx.cos,
        "cosh": lx.cosh,
        "digamma": special.digamma,
        "eq": lx.equal,
        "erf": special.erf,
        "erfc": special.erfc,
        "erfinv": special.erfinv,
        "exp": lx.exp,
        "exp2": lx.exp2,
        "expm1": lx.expm1,
        "float_power": lx.pow,
        "floor": lx.floor,
        "floor_divide": lambda input, other: lx.floor_divide(lx.asarray(input), other),
        "fmod": lx.fmod,
        "ge": lx.greater_equal,
        "gt": lx.greater,
        "hypot": lx.hypot,
        "isfinite": lx.isfinite,
        "isinf": lx.isinf,
        "isnan": lx.isnan,
        "le": lx.less_equal,
        "lgamma": special.gammaln,
        "log": lx.log,
        "log10": lx.log10,
        "log1p": lx.log1p,
        "log2": lx.log2,
        "logaddexp": lx.logaddexp,
        "logical_and": lx.logical_and,
        "logical_not": lx.logical_not,
        "logical_or": lx.logical_or,
        "logical_xor": lx.logical_xor,
        "lt": lx.less,
        "max.binary": lx.maximum,
        "maximum": lx.maximum,
        "min.binary": lx.minimum,
        "minimum": lx.minimum,
        "mul": lambda input, other: lx.multiply(lx.asarray(input), other),
        "nan_to_num": lx.nan_to_num,
        "ne": lx.not_equal,
        "neg": lx.negative,
        "positive": lx.positive,
        "pow": lx.pow,
        "reciprocal": lx.reciprocal,
        "remainder": lx.remainder,
        "round": lx.round,
        "round.decimals_0": lx.round,
        "round.decimals_3": lx.round,
        "round.decimals_neg_3": lx.round,
        "rsqrt": lx.rsqrt,
        "sgn": lx.sign,
        "sigmoid": lx.sigmoid,
        "sign": lx.sign,
        "signbit": lx.signbit,
        "sin": lx.sin,
        "sinc": special.sinc,
        "sinh": lx.sinh,
        "special.entr": special.entr,
        "special.log_ndtr": special.log_ndtr,
        "special.xlog1py": special.xlog1py,
        "sqrt": lx.sqrt,
        "square": lx.square,
        "tan": lx.tan,
        "tanh": lx.tanh,
        "true_divide": lambda input, other: lx.divide(lx.asarray(input), other),
        "trunc": lx.trunc,
        "xlogy": special.xlogy,
        "nn.functional.celu": lx.celu,
        "nn.functional.elu": lx.elu,
        "nn.functional.gelu": lx.gelu,
        "nn.functional.hardsigmoid": lx.hard_sigmoid,
        "nn.functional.hardswish": lx.hard_swish,
        "nn.functional.leaky_relu": lambda input, negative_slope=0.01: lx.leaky_relu(input, negative_slope),
        "nn.functional.logsigmoid": lx.log_sigmoid,
        "nn.functional.mish": lx.mish,
        "nn.functional.relu": lx.relu,
        "nn.functional.relu6": lx.relu6,
        "nn.functional.selu": lx.selu,
        "nn.functional.silu": lx.silu,
        "nn.functional.softplus": lx.softplus,
        "nn.functional.softsign": lx.softsign,
        "nn.functional.tanhshrink": lx.tanh_shrink,
        "nn.functional.hardtanh": lambda input, min_val=-1.0, max_val=1.0: lx.hard_tanh(
            input, min_val, max_val
        ),
        "nn.functional.softshrink": lambda input, lambd=0.5: lx.soft_shrink(input, lambd),
        "nn.functional.hardshrink": lambda input, lambd=0.5: lx.hard_shrink(input, lambd),
        "deg2rad": lambda input: input * (math.pi / 180),
        "rad2deg": lambda input: input * (180 / math.pi),
        "frac": lambda input: input - lx.trunc(input),
        "isposinf": lambda input: lx.isinf(input) & ~lx.signbit(input),
        "isneginf": lambda input: lx.isinf(input) & lx.signbit(input),
        "special.ndtr": lambda input: 0.5 * special.erfc(input * -math.sqrt(0.5)),
        "__radd__": lambda input, other: lx.add(other, input),
        "__rmatmul__": lambda input, other: lx.matmul(other, input),
        "__rmul__": lambda input, other: lx.multiply(other, input),
        "__rpow__": lambda input, other: lx.pow(other, input),
        "__rsub__": lambda input, other: lx.subtract(other, input),
        "__rdiv__": lambda input, other: lx.divide(other, input),
        "__rmod__": lambda input, other: lx.remainder(other, input),
        "ldexp": lambda input, other: lx.multiply(
            input, lx.pow(2.0, lx.astype(other, lx.asarray(input).dtype))
        ),
        "logaddexp2": lambda input, other: (
            lx.logaddexp(lx.multiply(input, math.log(2)), lx.multiply(other, math.log(2))) / math.log(2)
        ),
        "lerp": lambda input, end, weight: input + weight * (end - input),
        "addcmul": lambda input, tensor1, tensor2, value=1: input + value * tensor1 * tensor2,
        "addcdiv": lambda input, tensor1, tensor2, value=1: input + value * tensor1 / tensor2,
        "clamp": lambda input, min=None, max=None: lx.clip(input, min, max),
        "clamp_min": lambda input, min: lx.clip(input, min, None),
        "clamp_max": lambda input, max: lx.clip(input, None, max),
        "where": lambda input, condition, other: lx.where(condition, input, other),
    }
)


@op("add")
def add(input, other, alpha=1):
    return lx.add(input, other if alpha == 1 else alpha * other)


@op("sub")
def sub(input, other, alpha=1):
    return lx.subtract(input, other if alpha == 1 else alpha * other)


@op("rsub")
def rsub(input, other, alpha=1):
    return lx.subtract(other, input if alpha == 1 else alpha * input)


@op("div.no_rounding_mode", "div.trunc_rounding", "div.floor_rounding")
def div(input, other, rounding_mode=None):
    if rounding_mode == "floor":
        return lx.floor_divide(lx.asarray(input), other)
    quotient = lx.divide(lx.asarray(input), other)
    return lx.trunc(quotient) if rounding_mode == "trunc" else quotient


@op("logit")
def logit(input, eps=None):
    return special.logit(input if eps is None else lx.clip(input, eps, 1 - eps))


@op("isclose")
def isclose(input, other, rtol=1e-5, atol=1e-8, equal_nan=False):
    return lx.isclose(input, other, rtol, atol, equal_nan)


@op("fmax")
def fmax(input, other):
    larger = lx.where(lx.greater_equal(input, other), input, other)
    return lx.where(lx.isnan(other), input, larger)


@op("fmin")
def fmin(input, other):
    smaller = lx.where(lx.less_equal(input, other), input, other)
    return lx.where(lx.isnan(other), input, smaller)


@op("heaviside")
def heaviside(input, values):
    step = lx.astype(lx.greater(input, 0), lx.result_type(input, values))
    return lx.where(lx.isnan(input), input, lx.where(lx.equal(input, 0), values, step))


@op("nn.functional.threshold")
def threshold(input, threshold, value):
    return lx.where(input <= threshold, value, input)


@op("nn.functional.prelu")
def prelu(input, weight):
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.size not in (1, channels):
        raise ValueError(f"prelu: weights of shape {weight.shape} for an input of shape {input.shape}")
    weight = lx.reshape(weight, (-1,) + (1,) * (input.ndim - 2) if input.ndim > 1 else (1,) * input.ndim)
    return lx.where(input > 0, input, weight * input)


@op("nn.functional.glu")
def glu(input, dim=-1):
    return lx.glu(input, axis=dim)


# ---------------------------------------------------------------- reductions


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


ops.update(
    {
        "sum": reduction(lx.sum),
        "prod": reduction(lx.prod),
        "mean": reduction(lx.mean),
        "amax": reduction(lx.max),
        "amin": reduction(lx.min),
        "max.reduction_no_dim": lx.max,
        "min.reduction_no_dim": lx.min,
        "argmax": reduction(lx.argmax),
        "argmin": reduction(lx.argmin),
        "all": reduction(lx.all),
        "any": reduction(lx.any),
        "count_nonzero": reduction(lx.count_nonzero),
        "logsumexp": lambda input, dim, keepdim=False: lx.logsumexp(input, axes_of(input, dim), keepdim),
    }
)


@op("aminmax")
def aminmax(input, dim=None, keepdim=False):
    axes = axes_of(input, dim)
    return lx.min(input, axes, keepdims=keepdim), lx.max(input, axes, keepdims=keepdim)


def selected(which):
    @lift
    def select(input, dim, keepdim=False):
        index = which(input, dim, keepdims=True)
        value = lx.take_along_axis(input, index, dim)
        return (value, index) if keepdim else (lx.squeeze(value, dim), lx.squeeze(index, dim))

    return select


ops["max.reduction_with_dim"] = selected(lx.argmax)
ops["min.reduction_with_dim"] = selected(lx.argmin)


def moment(function):
    def compute(input, dim=None, unbiased=True, correction=NotImplemented, keepdim=False):
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        if correction is NotImplemented or correction is None:
            correction = 1 if unbiased else 0
        return function(input, axes_of(input, dim), correction=correction, keepdims=keepdim)

    return compute


ops["var"] = ops["var.unbiased"] = moment(lx.var)
ops["std"] = ops["std.unbiased"] = moment(lx.std)


def with_mean(function):
    def compute(input, dim=None, unbiased=True, correction=NotImplemented, keepdim=False):
        first = moment(function)(input, dim, unbiased, correction, keepdim)
        axes = None if isinstance(dim, bool) else axes_of(input, dim)
        return first, lx.mean(input, axes, keepdims=keepdim)

    return compute


ops["var_mean"] = ops["var_mean.unbiased"] = with_mean(lx.var)
ops["std_mean"] = ops["std_mean.unbiased"] = with_mean(lx.std)


@op("nansum")
def nansum(input, dim=None, keepdim=False):
    return lx.sum(lx.where(lx.isnan(input), 0, input), axes_of(input, dim), keepdims=keepdim)


@op("nanmean")
def nanmean(input, dim=None, keepdim=False):
    count = lx.sum(lx.astype(~lx.isnan(input), input.dtype), axes_of(input, dim), keepdims=keepdim)
    return nansum(input, dim, keepdim) / count


@op("kthvalue")
@lift
def kthvalue(input, k, dim=-1, keepdim=False):
    index = lx.take(lx.argsort(input, axis=dim), lx.asarray([k - 1]), axis=dim)
    value = lx.take_along_axis(input, index, dim)
    return (value, index) if keepdim else (lx.squeeze(value, dim), lx.squeeze(index, dim))


def lower_median(counted):
    """PyTorch's medians: the lower of the two middle elements, of those that `counted` counts."""

    def compute(input, dim=None, keepdim=False):
        if dim is None:
            return compute(lx.reshape(input, (-1,)), 0)[0]
        line = lx.reshape(input, (1,)) if input.ndim == 0 else input
        order = lx.argsort(line, axis=dim)
        middle = lx.maximum(counted(line, dim) - 1, 0) // 2
        index = lx.take_along_axis(order, middle, dim)
        value = lx.take_along_axis(line, index, dim)
        if input.ndim == 0:
            return lx.reshape(value, ()), lx.reshape(index, ())
        return (value, index) if keepdim else (lx.squeeze(value, dim), lx.squeeze(index, dim))

    return compute


def all_or_nan(line, dim):
    """How many elements; twice as many where one is NaN, so that the middle is the last, a NaN."""
    size = line.shape[dim]
    return lx.where(lx.any(lx.isnan(line), dim, keepdims=True), 2 * size, size)


ops["median"] = lower_median(all_or_nan)
ops["nanmedian"] = lower_median(lambda line, dim: lx.sum(~lx.isnan(line), dim, keepdims=True))


@op("quantile")
def quantile(input, q, dim=None, keepdim=False, interpolation="linear"):
    return lx.quantile(input, q, axes_of(input, dim), keepdims=keepdim, method=interpolation)


@op("cumsum")
@lift
def cumsum(input, dim, dtype=None):
    return lx.cumulative_sum(input, axis=dim, dtype=dtype)


@op("cumprod")
@lift
def cumprod(input, dim, dtype=None):
    return lx.cumulative_prod(input, axis=dim, dtype=dtype)


@op("logcumsumexp")
@lift
def logcumsumexp(input, dim):
    return lx.cumulative_logsumexp(input, axis=dim)


def running(function):
    @lift
    def compute(input, dim):
        values = function(input, axis=dim)
        shape = [1] * input.ndim
        shape[dim] = -1
        places = lx.reshape(lx.arange(input.shape[dim]), shape)
        here = lx.equal(input, values) | lx.isnan(input)
        return values, lx.cumulative_max(lx.where(here, places, 0), axis=dim)

    return compute


ops["cummax"] = running(lx.cumulative_max)
ops["cummin"] = running(lx.cumulative_min)


@op("linalg.vector_norm")
def vector_norm(x, ord=2, dim=None, keepdim=False, dtype=None):
    return lx.linalg.vector_norm(x, axis=axes_of(x, dim), keepdims=keepdim, ord=ord)


@op("linalg.matrix_norm")
def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, dtype=None):
    if A.ndim < 2:
        raise ValueError(f"matrix_norm: needs two axes, shape is {A.shape}")
    norm = lx.linalg.matrix_norm(lx.moveaxis(A, tuple(dim), (-2, -1)), ord=ord, keepdims=keepdim)
    return lx.moveaxis(norm, (-2, -1), tuple(dim)) if keepdim else norm


@op("linalg.norm", "linalg.norm.subgradients_at_zero")
def linalg_norm(A, ord=None, dim=None, keepdim=False, dtype=None):
    if ord is None:
        return vector_norm(A, 2, dim, keepdim)
    if (dim is None and A.ndim == 2) or (isinstance(dim, (list, tuple)) and len(dim) == 2):
        return matrix_norm(A, ord, dim or (-2, -1), keepdim)
    return vector_norm(A, ord, dim, keepdim)


@op("norm", "norm.nuc", "norm.fro", "norm.inf")
def norm(input, p="fro", dim=None, keepdim=False, dtype=None):
    if p == "nuc":
        return matrix_norm(input, p, dim or (-2, -1), keepdim)
    return vector_norm(input, 2 if p == "fro" else p, dim, keepdim)


@op("diff")
@lift
def diff(input, n=1, dim=-1, prepend=None, append=None):
    return lx.diff(input, n=n, axis=dim, prepend=prepend, append=append)


def steps(y, x, dx, dim):
    """The widths between neighbours along an axis."""
    if x is None:
        return dx
    width = lx.diff(x, axis=dim if x.ndim > 1 else 0)
    return width if x.ndim > 1 else lx.moveaxis(lx.reshape(width, (-1,) + (1,) * (y.ndim - 1)), 0, dim)


def trapezoids(y, x, dx, dim):
    size = y.shape[dim]
    sides = lx.take(y, lx.arange(1, size), axis=dim) + lx.take(y, lx.arange(size - 1), axis=dim)
    return sides * steps(y, x, dx, dim) / 2


@op("trapezoid")
def trapezoid(y, x=None, dx=1, dim=-1):
    return lx.sum(trapezoids(y, x, dx, dim), dim)


@op("cumulative_trapezoid")
def cumulative_trapezoid(y, x=None, dx=1, dim=-1):
    return lx.cumulative_sum(trapezoids(y, x, dx, dim), axis=dim)


@op("dist")
def dist(input, other, p=2):
    return lx.linalg.vector_norm(lx.subtract(input, other), ord=p)


@op("trace")
def trace(input):
    return lx.linalg.trace(input)


@op("bincount")
def bincount(input, weights=None, minlength=0):
    size = max(minlength, int(lx.max(input)) + 1 if input.size else 0)
    weights = lx.ones(input.shape, dtype=lx.int64) if weights is None else weights
    return lx.scatter_add(lx.zeros((size,), dtype=weights.dtype), input, weights)


# ---------------------------------------------------------------- shapes


def numbers(given):
    """A shape or axes given as one sequence or one by one."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], (list, tuple)) else tuple(given)


ops.update(
    {
        "reshape": lambda input, *shape: lx.reshape(input, numbers(shape)),
        "view": lambda input, *shape: lx.reshape(input, numbers(shape)),
        "reshape_as": lambda input, other: lx.reshape(input, other.shape),
        "ravel": lx.ravel,
        "unsqueeze": lambda input, dim: lx.expand_dims(input, dim),
        "T": lambda input: lx.permute_dims(input, tuple(range(input.ndim))[::-1]),
        "mT": lx.matrix_transpose,
        "expand": lambda input, *shape: expand(input, numbers(shape)),
        "expand_as": lambda input, other: lx.broadcast_to(input, other.shape),
        "broadcast_to": lambda input, shape: lx.broadcast_to(input, shape),
        "broadcast_tensors": lambda *inputs: lx.broadcast_arrays(*inputs),
        "repeat": lambda input, *sizes: lx.tile(input, numbers(sizes)),
        "tile": lambda input, dims: lx.tile(input, dims),
        "unbind": lambda input, dim=0: lx.unstack(input, dim),
        "tril": lambda input, diagonal=0: lx.tril(input, k=diagonal),
        "triu": lambda input, diagonal=0: lx.triu(input, k=diagonal),
        "diag": lambda input, diagonal=0: lx.diag(input, diagonal),
        "diagflat": lambda input, offset=0: lx.diag(lx.ravel(input), offset),
        "rot90": lambda input, k=1, dims=(0, 1): lx.rot90(input, k, dims),
        "contiguous": lambda input: input.copy(),
        "clone": lambda input: input.copy(),
        "movedim": lambda input, source, destination: lx.moveaxis(input, source, destination),
    }
)


def expand(input, shape):
    kept = (1,) * (len(shape) - input.ndim) + input.shape
    return lx.broadcast_to(input, [old if new == -1 else new for new, old in zip(shape, kept, strict=True)])


@op("flatten")
def flatten(input, start_dim=0, end_dim=-1):
    if input.ndim == 0:
        return lx.reshape(input, (1,))
    start, end = start_dim % input.ndim, end_dim % input.ndim
    size = math.prod(input.shape[start : end + 1])
    return lx.reshape(input, (*input.shape[:start], size, *input.shape[end + 1 :]))


@op("unflatten")
def unflatten(input, dim, sizes):
    dim %= input.ndim
    return lx.reshape(input, (*input.shape[:dim], *sizes, *input.shape[dim + 1 :]))


@op("squeeze", "squeeze.multiple")
def squeeze(input, dim=None):
    if input.ndim == 0:
        return input
    given = range(input.ndim) if dim is None else dim if isinstance(dim, (list, tuple)) else (dim,)
    return lx.squeeze(input, tuple(axis for axis in given if input.shape[axis] == 1))


@op("transpose")
def transpose(input, dim0, dim1):
    return lx.swapaxes(input, dim0, dim1) if input.ndim else input


@op("permute")
def permute(input, dims):
    return lx.permute_dims(input, dims)


@op("t")
def t(input):
    if input.ndim > 2:
        raise ValueError(f"t: at most two axes, not {input.shape}")
    return lx.permute_dims(input, tuple(range(input.ndim))[::-1])


@op("cat")
def cat(tensors, dim=0):
    kept = [x for x in tensors if not isinstance(x, lx.Tensor) or x.shape != (0,)]
    return lx.concat(kept or tensors, axis=dim)


@op("stack")
def stack(tensors, dim=0):
    return lx.stack(tensors, axis=dim)


def at_least(n, input):
    missing = n - input.ndim
    if missing <= 0:
        return input
    after = 1 if n == 3 and input.ndim else 0
    return lx.reshape(input, (1,) * (missing - after) + input.shape + (1,) * after)


def at_least_each(n):
    def apply(*tensors):
        if len(tensors) == 1 and isinstance(tensors[0], lx.Tensor):
            return at_least(n, tensors[0])
        return tuple(at_least(n, x) for x in numbers(tensors))

    return apply


ops["atleast_1d"], ops["atleast_2d"], ops["atleast_3d"] = at_least_each(1), at_least_each(2), at_least_each(3)


@op("hstack")
def hstack(tensors):
    tensors = [at_least(1, x) for x in tensors]
    return lx.concat(tensors, axis=0 if tensors and tensors[0].ndim == 1 else 1)


@op("vstack")
def vstack(tensors):
    return lx.concat([at_least(2, x) for x in tensors], axis=0)


@op("dstack")
def dstack(tensors):
    return lx.concat([at_least(3, x) for x in tensors], axis=2)


@op("column_stack")
def column_stack(tensors):
    return lx.concat([x if x.ndim > 1 else lx.reshape(x, (-1, 1)) for x in tensors], axis=1)


@op("split")
def split_by_size(input, split_size, dim=0):
    return lx.split(input, list(range(split_size, input.shape[dim], split_size)), axis=dim)


@op("split.list_args", "split_with_sizes")
def split_with_sizes(input, split_sizes, dim=0):
    return lx.split(input, np.cumsum(split_sizes)[:-1].tolist(), axis=dim)


@op("chunk")
def chunk(input, chunks, dim=0):
    return split_by_size(input, max(1, -(-input.shape[dim] // chunks)), dim)


@op("tensor_split")
def tensor_split(input, indices, dim=0):
    if isinstance(indices, lx.Tensor):
        indices = indices.tolist()
    if not isinstance(indices, int):
        return lx.split(input, list(indices), axis=dim)
    size = input.shape[dim]
    sizes = [size // indices + (i < size % indices) for i in range(indices)]
    return lx.split(input, np.cumsum(sizes)[:-1].tolist(), axis=dim)


def split_along(axis, least):
    def split(input, indices):
        if input.ndim < least:
            raise ValueError(f"split: {least} axes needed, shape is {input.shape}")
        return lx.split(input, indices, axis=0 if input.ndim == 1 else axis)

    return split


ops["hsplit"], ops["vsplit"], ops["dsplit"] = split_along(1, 1), split_along(0, 2), split_along(2, 3)


@op("flip")
def flip(input, dims):
    return lx.flip(input, tuple(dims))


@op("fliplr")
def fliplr(input):
    return lx.flip(input, 1)


@op("flipud")
def flipud(input):
    return lx.flip(input, 0)


@op("roll")
def roll(input, shifts, dims=None):
    return lx.roll(input, shifts, axis=dims)


@op("diagonal")
def diagonal(input, offset=0, dim1=0, dim2=1):
    return lx.linalg.diagonal(input, offset=offset, axis1=dim1, axis2=dim2)


@op("diag_embed")
def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    size, before, after = input.shape[-1], max(offset, 0), max(-offset, 0)
    rows = lx.arange(size)
    full = lx.zeros((*input.shape[:-1], size + abs(offset), size + abs(offset)), dtype=input.dtype)
    return lx.moveaxis(full.at[..., rows + after, rows + before].set(input), (-2, -1), (dim1, dim2))


@op("meshgrid.variadic_tensors")
def meshgrid(*tensors, indexing="ij"):
    return lx.meshgrid(*(at_least(1, x) for x in tensors), indexing=indexing)


@op("repeat_interleave")
def repeat_interleave(input, repeats, dim=None, output_size=None):
    return lx.repeat(at_least(1, input), repeats, axis=dim)


@op("unfold")
def unfold(input, dim, size, step):
    line = at_least(1, input)
    starts = lx.arange(0, line.shape[dim] - size + 1, step)
    windows = lx.take(line, lx.ravel(lx.expand_dims(starts, 1) + lx.arange(size)), axis=dim)
    axis = dim % line.ndim
    shape = (*line.shape[:axis], starts.size, size, *line.shape[axis + 1 :])
    windows = lx.moveaxis(lx.reshape(windows, shape), axis + 1, -1)
    return windows if input.ndim else lx.reshape(windows, windows.shape[1:])


@op("block_diag")
def block_diag(*tensors):
    blocks = [at_least(2, x) for x in tensors]
    columns, before, rows = sum(x.shape[1] for x in blocks), 0, []
    for block in blocks:
        rows.append(lx.pad(block, ((0, 0), (before, columns - before - block.shape[1]))))
        before += block.shape[1]
    return lx.concat(rows, axis=0)


@op("sum_to_size")
def sum_to_size(input, *size):
    size = numbers(size)
    extra = input.ndim - len(size)
    axes = (*range(extra), *(extra + i for i, n in enumerate(size) if n == 1))
    return lx.reshape(lx.sum(input, axes, keepdims=True) if axes else input, size)


def pad_pairs(input, pad):
    pairs = [tuple(pad[i : i + 2]) for i in range(0, len(pad), 2)]
    return [(0, 0)] * (input.ndim - len(pairs)) + pairs[::-1]


def pad(input, pad, mode, value=0):
    """Cuts by what is negative, then pads by what is positive."""
    pairs = pad_pairs(input, pad)
    cut = (slice(max(-a, 0), size - max(-b, 0)) for (a, b), size in zip(pairs, input.shape, strict=True))
    return lx.pad(
        input[tuple(cut)], [(max(a, 0), max(b, 0)) for a, b in pairs], mode=mode, constant_values=value
    )


@op("constant_pad_nd", "nn.functional.pad.constant")
def pad_constant(input, widths, *rest, value=0):
    value = next((given for given in rest if given is not None and not isinstance(given, str)), value)
    return pad(input, widths, "constant", value or 0)


def padding(mode):
    return lambda input, widths, *_, **__: pad(input, widths, mode, None)


ops["nn.functional.pad.reflect"] = padding("reflect")
ops["nn.functional.pad.replicate"] = padding("edge")
ops["nn.functional.pad.circular"] = padding("wrap")


# ---------------------------------------------------------------- indices


def along(input, dim, index):
    """Indices of every axis that pick `index` along one and the same place along the others."""
    places = [
        lx.reshape(lx.arange(size), (-1,) + (1,) * (index.ndim - 1 - axis))
        for axis, size in enumerate(index.shape)
    ]
    places[dim] = index
    return tuple(places)


def corner(input, shape, skip=None):
    """The first elements of each axis but one, as many as `shape` says."""
    skip = None if skip is None else skip % max(input.ndim, 1)
    return input[tuple(slice(None) if axis == skip else slice(size) for axis, size in enumerate(shape))]


@op("__getitem__")
def getitem(input, index):
    return input[index]


@op("index_put")
def index_put(input, indices, values, accumulate=False):
    place = input.at[tuple(indices)]
    return place.add(values) if accumulate else place.set(values)


@op("gather")
def gather(input, dim, index, sparse_grad=False):
    lines, places = at_least(1, input), at_least(1, index)
    if places.ndim != lines.ndim:
        raise ValueError(f"gather: {input.shape} and {index.shape} differ in their number of axes")
    return lx.reshape(lx.take_along_axis(corner(lines, places.shape, dim), places, dim), index.shape)


def lift_index(function):
    """For index updates: a 0-d tensor, its index and its source are taken as of one element."""

    @functools.wraps(function)
    def lifted(input, dim, index, *args, **kwargs):
        if input.ndim:
            return function(input, dim, index, *args, **kwargs)
        args = [at_least(1, a) if isinstance(a, lx.Tensor) else a for a in args]
        return lx.reshape(function(lx.reshape(input, (1,)), dim, at_least(1, index), *args, **kwargs), ())

    return lifted


def source(src, index):
    if not isinstance(src, lx.Tensor) or src.ndim == 0:
        return src
    if src.ndim != index.ndim or any(a < b for a, b in zip(src.shape, index.shape, strict=True)):
        raise ValueError(f"scatter: index {index.shape} does not lie in source {src.shape}")
    return corner(src, index.shape)


@op("scatter")
@lift_index
def scatter(input, dim, index, src=None, value=None, reduce=None):
    at = input.at[along(input, dim, index)]
    src = source(value if src is None else src, index)
    return {None: at.set, "add": at.add, "multiply": at.multiply}[reduce](src)


@op("scatter_add")
@lift_index
def scatter_add(input, dim, index, src):
    return input.at[along(input, dim, index)].add(source(src, index))


def scatter_reduce(input, dim, index, src, reduce, include_self=True):
    key = along(input, dim, index)
    src = source(src, index)
    if reduce == "mean":
        one = lx.asarray(1, dtype=input.dtype)
        count = lx.full(input.shape, 1 if include_self else 0, dtype=input.dtype).at[key].add(one)
        total = scatter_reduce(input, dim, index, src, "sum", include_self)
        return total / lx.maximum(count, 1)
    start = {"sum": 0, "prod": 1, "amax": -math.inf, "amin": math.inf}[reduce]
    if not include_self:
        input = input.at[key].set(start)
    at = input.at[key]
    return {"sum": at.add, "prod": at.multiply, "amax": at.max, "amin": at.min}[reduce](src)


for kind in ("sum", "prod", "mean", "amax", "amin"):
    ops[f"scatter_reduce.{kind}"] = lift_index(scatter_reduce)


@op("index_select")
@lift
def index_select(input, dim, index):
    return lx.take(input, at_least(1, index), axis=dim)


@op("index_add")
@lift_index
def index_add(input, dim, index, source, alpha=1):
    return lx.scatter_add(input, index, alpha * source, dim)


def on_axis(input, dim, index):
    return (slice(None),) * (dim % input.ndim) + (index,)


@op("index_copy")
@lift_index
def index_copy(input, dim, index, source):
    return input.at[on_axis(input, dim, index)].set(source)


@op("index_fill")
@lift_index
def index_fill(input, dim, index, value):
    return input.at[on_axis(input, dim, index)].set(
        lx.reshape(value, ()) if isinstance(value, lx.Tensor) else value
    )


@op("narrow")
def narrow(input, dim, start, length):
    return lx.take(input, lx.arange(int(start), int(start) + length), axis=dim)


@op("select")
def select(input, dim, index):
    return input[on_axis(input, dim, index)]


@op("slice")
def slice_of(input, dim=0, start=None, end=None, step=1):
    return input[on_axis(input, dim, slice(start, end, step))]


@op("select_scatter")
def select_scatter(input, src, dim, index):
    return input.at[on_axis(input, dim, index)].set(src)


@op("slice_scatter")
def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    return input.at[on_axis(input, dim, slice(start, end, step))].set(src)


@op("take")
def take(input, index):
    return lx.take(lx.ravel(input), index, axis=0)


@op("take_along_dim")
def take_along_dim(input, indices, dim=None):
    if dim is None:
        return lx.take_along_axis(lx.ravel(input), lx.ravel(indices), 0)
    return lx.take_along_axis(input, indices, dim)


@op("put")
def put(input, index, source, accumulate=False):
    at = lx.ravel(input).at[lx.ravel(index)]
    source = lx.ravel(source)
    return lx.reshape(at.add(source) if accumulate else at.set(source), input.shape)


@op("masked_fill")
def masked_fill(input, mask, value):
    return lx.where(mask, value, input)


@op("masked_select")
def masked_select(input, mask):
    input, mask = lx.broadcast_arrays(input, mask)
    return input[mask]


@op("masked_scatter")
def masked_scatter(input, mask, source):
    input, mask = lx.broadcast_arrays(input, mask)
    return input.at[mask].set(lx.ravel(source)[: int(lx.count_nonzero(mask))])


@op("nonzero")
def nonzero(input, as_tuple=False):
    places = lx.nonzero(at_least(1, input))
    if as_tuple:
        return places
    return lx.stack(places, axis=1)[:, : input.ndim]


ops["argwhere"] = nonzero


@op("sort")
@lift
def sort(input, dim=-1, descending=False, stable=False):
    return (
        lx.sort(input, axis=dim, descending=descending),
        lx.argsort(input, axis=dim, descending=descending),
    )


@op("argsort")
@lift
def argsort(input, dim=-1, descending=False, stable=False):
    return lx.argsort(input, axis=dim, descending=descending)


@op("msort")
def msort(input):
    return lx.sort(input, axis=0)


@op("topk")
@lift
def topk(input, k, dim=-1, largest=True, sorted=True):
    return tuple(lx.top_k(input, k, dim, largest=largest))


@op("searchsorted")
def searchsorted(sorted_sequence, values, out_int32=False, right=False, side=None, sorter=None):
    values = values if isinstance(values, lx.Tensor) else lx.asarray(values, dtype=sorted_sequence.dtype)
    side = side or ("right" if right else "left")
    if sorted_sequence.ndim == 1:
        return lx.searchsorted(sorted_sequence, values, side=side, sorter=sorter)
    lines = math.prod(sorted_sequence.shape[:-1])

    def rows(x):
        return lx.unstack(lx.reshape(x, (lines, x.shape[-1])))

    sorters = [None] * lines if sorter is None else rows(sorter)
    found = [
        lx.searchsorted(line, value, side=side, sorter=order)
        for line, value, order in zip(rows(sorted_sequence), rows(values), sorters, strict=True)
    ]
    return lx.reshape(lx.stack(found), values.shape) if found else lx.zeros(values.shape, dtype=lx.int64)


@op("bucketize")
def bucketize(input, boundaries, out_int32=False, right=False):
    return lx.searchsorted(boundaries, input, side="right" if right else "left")


@op("unique")
def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    if dim is not None:
        raise NotImplementedError("the array API's unique has no axis")
    values, _, inverse, counts = lx.unique_all(input)
    extra = ((inverse,) if return_inverse else ()) + ((counts,) if return_counts else ())
    return (values, *extra) if extra else values


@op("isin")
def isin(elements, test_elements, assume_unique=False, invert=False):
    return lx.isin(elements, test_elements, invert=invert)


# ---------------------------------------------------------------- creation


def creation(function):
    return lambda *args, dtype=None, requires_grad=False, **kwargs: function(*args, **kwargs, dtype=dtype)


@op("arange")
def arange(start, end=None, step=1, dtype=None):
    return lx.arange(start, end, step, dtype=dtype)


@op("linspace", "linspace.tensor_overload")
def linspace(start, end, steps, dtype=None):
    return lx.linspace(start, end, steps, dtype=dtype)


@op("logspace", "logspace.tensor_overload")
def logspace(start, end, steps, base=10.0, dtype=None):
    return lx.pow(float(base), lx.linspace(start, end, steps, dtype=dtype))


ops.update(
    {
        "eye": creation(lx.eye),
        "zeros": creation(lx.zeros),
        "ones": creation(lx.ones),
        "full": creation(lx.full),
        "zeros_like": creation(lx.zeros_like),
        "ones_like": creation(lx.ones_like),
        "full_like": creation(lx.full_like),
        "tril_indices": lambda rows, columns, offset=0, dtype=None: lx.stack(
            lx.nonzero(lx.tril(lx.ones((rows, columns)), k=offset))
        ),
        "triu_indices": lambda rows, columns, offset=0, dtype=None: lx.stack(
            lx.nonzero(lx.triu(lx.ones((rows, columns)), k=offset))
        ),
    }
)


# ---------------------------------------------------------------- products


def ranks(name, a, b, *expected):
    if (a.ndim, b.ndim) != expected:
        raise ValueError(f"{name}: operands of {expected} axes, not {a.shape} and {b.shape}")


def product(name, *expected):
    def multiply(input, other):
        ranks(name, input, other, *expected)
        return lx.matmul(input, other)

    return multiply


ops.update(
    {
        "matmul": lx.matmul,
        "mm": product("mm", 2, 2),
        "bmm.triton_optimized": product("bmm", 3, 3),
        "mv": product("mv", 2, 1),
        "dot": product("dot", 1, 1),
        "vdot": product("vdot", 1, 1),
        "outer": lx.linalg.outer,
        "einsum": lambda operands, equation: lx.einsum(equation, *operands),
        "tensordot": lambda a, b, dims=2: lx.linalg.tensordot(
            a, b, axes=dims if isinstance(dims, int) else tuple(dims)
        ),
        "linalg.multi_dot": lambda tensors: functools.reduce(lx.matmul, tensors),
        "linalg.cross": lambda input, other, dim=-1: lx.linalg.cross(input, other, axis=dim),
        "linalg.vecdot": lambda x, y, dim=-1: lx.linalg.vecdot(x, y, axis=dim),
        "addmm": lambda input, a, b, beta=1, alpha=1: beta * input + alpha * lx.matmul(a, b),
        "addbmm": lambda input, a, b, beta=1, alpha=1: beta * input + alpha * lx.sum(lx.matmul(a, b), 0),
        "addr": lambda input, a, b, beta=1, alpha=1: beta * input + alpha * lx.linalg.outer(a, b),
    }
)
ops["addmm.decomposed"] = ops["addmv"] = ops["baddbmm"] = ops["addmm"]


@op("cross")
def cross(input, other, dim=None):
    return lx.linalg.cross(input, other, axis=input.shape.index(3) if dim is None else dim)


@op("kron")
def kron(input, other):
    rank = max(input.ndim, other.ndim)
    a, b = at_least_front(input, rank), at_least_front(other, rank)
    spread = lx.reshape(a, [n for size in a.shape for n in (size, 1)]) * lx.reshape(
        b, [n for size in b.shape for n in (1, size)]
    )
    return lx.reshape(spread, [m * n for m, n in zip(a.shape, b.shape, strict=True)])


def at_least_front(input, rank):
    return lx.reshape(input, (1,) * (rank - input.ndim) + input.shape)


@op("linalg.matrix_power")
def matrix_power(A, n):
    if n < 0:
        raise NotImplementedError("luxon has no inverse")
    eye = lx.broadcast_to(lx.eye(A.shape[-1], dtype=A.dtype), A.shape)
    return functools.reduce(lx.matmul, [A] * n) if n else eye


@op("cdist")
def cdist(x1, x2, p=2.0, compute_mode=None):
    return lx.linalg.vector_norm(lx.expand_dims(x1, -2) - lx.expand_dims(x2, -3), axis=-1, ord=p)


# ---------------------------------------------------------------- networks


def softened(function, sign=1):
    def soften(input, dim=None, dtype=None):
        x = input if dtype is None else lx.astype(input, dtype)
        x = x if sign == 1 else -x
        return lx.reshape(function(lx.reshape(x, (1,)), 0), ()) if x.ndim == 0 else function(x, dim)

    return soften


ops["softmax"] = ops["softmax.with_dtype"] = softened(lx.softmax)
ops["log_softmax"] = ops["log_softmax.with_dtype"] = softened(lx.log_softmax)
ops["nn.functional.softmin"] = ops["nn.functional.softmin.with_dtype"] = softened(lx.softmax, -1)


@op("nn.functional.one_hot")
def one_hot(input, num_classes=-1):
    return lx.one_hot(input, int(lx.max(input)) + 1 if num_classes == -1 else num_classes, lx.int64)


@op("nn.functional.linear")
def linear(input, weight, bias=None):
    return lx.functional.linear(input, weight, bias)


def batched(axes, function):
    """The function of images without a batch axis as well."""

    def run(input, *args, **kwargs):
        if input.ndim != axes + 1:
            return function(input, *args, **kwargs)
        return lx.squeeze(function(lx.expand_dims(input, 0), *args, **kwargs), 0)

    return run


def conv_transpose(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    return lx.functional.conv_transpose(
        input, weight, bias, stride, padding, output_padding, dilation, groups
    )


for axes in (1, 2, 3):
    ops[f"nn.functional.conv{axes}d"] = batched(axes, lx.functional.conv)
    ops[f"nn.functional.conv_transpose{axes}d"] = batched(axes, conv_transpose)


@op("nn.functional.embedding")
def embedding(weight, indices, padding_idx=None, **_):
    return lx.functional.embedding(weight, indices)


@op("nn.functional.normalize")
def normalize(input, p=2.0, dim=1, eps=1e-12):
    length = lx.linalg.vector_norm(input, axis=axes_of(input, dim), keepdims=True, ord=p)
    return input / lx.maximum(length, eps)


@op("nn.functional.cosine_similarity")
def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    x1, x2 = lx.broadcast_arrays(x1, x2)
    dim = axes_of(x1, dim)
    length = lambda x: lx.maximum(lx.linalg.vector_norm(x, axis=dim, keepdims=True), eps)  # noqa: E731
    return lx.sum((x1 / length(x1)) * (x2 / length(x2)), dim)


@op("nn.functional.pairwise_distance")
def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    return lx.linalg.vector_norm(x1 - x2 + eps, axis=-1, keepdims=keepdim, ord=p)


@op("nn.functional.pdist")
def pdist(input, p=2.0):
    rows, columns = lx.nonzero(lx.triu(lx.ones((len(input), len(input))), k=1))
    return lx.linalg.vector_norm(input[rows] - input[columns], axis=-1, ord=p)


@op("nn.functional.bilinear")
def bilinear(input1, input2, weight, bias=None):
    y = lx.einsum("...i,oij,...j->...o", input1, weight, input2)
    return y if bias is None else y + bias


@op("nn.functional.layer_norm")
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    return lx.functional.layer_norm(input, weight, bias, len(normalized_shape), eps)


@op("nn.functional.rms_norm")
def rms_norm(input, normalized_shape, weight=None, eps=None):
    if tuple(normalized_shape) != input.shape[input.ndim - len(normalized_shape) :]:
        raise ValueError(f"rms_norm: {normalized_shape} are not the last axes of {input.shape}")
    eps = float(lx.finfo(input.dtype).eps) if eps is None else eps
    return lx.functional.rms_norm(input, weight, len(normalized_shape), eps)


@op("nn.functional.group_norm")
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    return lx.functional.group_norm(input, num_groups, weight, bias, eps)


@op("nn.functional.batch_norm")
def batch_norm(input, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    statistics = (None, None) if training else (mean, var)
    return lx.functional.batch_norm(input, weight, bias, *statistics, eps)


@op("nn.functional.instance_norm")
def instance_norm(
    input,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
):
    if use_input_stats:
        return lx.functional.instance_norm(input, weight, bias, eps)
    return lx.functional.batch_norm(input, weight, bias, running_mean, running_var, eps)


@op("nn.functional.channel_shuffle")
def channel_shuffle(input, groups):
    split = lx.reshape(input, (input.shape[0], groups, -1, *input.shape[2:]))
    return lx.reshape(lx.swapaxes(split, 1, 2), input.shape)


@op("linalg.svdvals")
def svdvals(A):
    return lx.linalg.svdvals(A)


@op("histc")
def histc(input, bins=100, min=0, max=0):
    low, high = (lx.min(input), lx.max(input)) if min == max and input.size else (min, max)
    low, high = float(low), float(high)
    low, high = (low - 1, high + 1) if low == high else (low, high)
    inside = input[(input >= low) & (input <= high)]
    place = lx.clip(lx.astype((inside - low) * (bins / (high - low)), lx.int64), None, bins - 1)
    return lx.astype(bincount(place, minlength=bins), input.dtype)


@op("unique_consecutive")
def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    if dim is not None:
        raise NotImplementedError("runs are found in the flattened tensor only")
    flat = lx.ravel(input)
    fresh = lx.concat([lx.ones((min(flat.size, 1),), dtype=lx.bool), flat[1:] != flat[:-1]])
    run = lx.cumulative_sum(lx.astype(fresh, lx.int64)) - 1
    values = flat[fresh]
    extra = (lx.reshape(run, input.shape),) if return_inverse else ()
    extra += (bincount(run, minlength=values.size),) if return_counts else ()
    return (values, *extra) if extra else values


ops.update(oracle_networks.ops)
