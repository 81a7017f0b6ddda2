"""PyTorch's elementwise operators."""

from __future__ import annotations

import math

import luxon as lx
from luxon import special

from .registry import op, ops

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
