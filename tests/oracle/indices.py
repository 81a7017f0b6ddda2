"""PyTorch's operators that read or write at indices, sort and search."""

from __future__ import annotations

import functools
import math

import luxon as lx

from .reductions import bincount
from .registry import lift, op, ops
from .shapes import at_least


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
