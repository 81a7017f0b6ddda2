"""PyTorch's products of vectors and matrices."""

from __future__ import annotations

import functools

import luxon as lx

from .registry import op, ops


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
    return lx.linalg.matrix_power(A, n)


@op("cdist")
def cdist(x1, x2, p=2.0, compute_mode=None):
    return lx.linalg.vector_norm(lx.expand_dims(x1, -2) - lx.expand_dims(x2, -3), axis=-1, ord=p)


@op("linalg.svdvals")
def svdvals(A):
    return lx.linalg.svdvals(A)
