"""PyTorch's operators that make, move, join, cut and pad tensors."""

from __future__ import annotations

import math

import numpy as np

import luxon as lx

from .registry import op, ops


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
