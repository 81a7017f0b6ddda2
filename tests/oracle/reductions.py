"""PyTorch's reductions: sums, moments, order statistics, running results, norms, differences."""

from __future__ import annotations

import luxon as lx

from .registry import axes_of, lift, op, ops, reduction

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


@op("histc")
def histc(input, bins=100, min=0, max=0):
    low, high = (lx.min(input), lx.max(input)) if min == max and input.size else (min, max)
    low, high = float(low), float(high)
    low, high = (low - 1, high + 1) if low == high else (low, high)
    inside = input[(input >= low) & (input <= high)]
    place = lx.clip(lx.astype((inside - low) * (bins / (high - low)), lx.int64), None, bins - 1)
    return lx.astype(bincount(place, minlength=bins), input.dtype)
