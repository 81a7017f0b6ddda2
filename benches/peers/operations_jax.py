"""Single operations on JAX: compiled functions; eager calls for what small operations cost."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from operations import ELEMENTWISE, GROUPS, NORMALISATIONS, convolution

MATRIX = {
    "softmax_4096": lambda x: jax.nn.softmax(x, -1),
    "sum0_4096": lambda x: x.sum(0),
    "sum1_4096": lambda x: x.sum(1),
    "transpose_4096": lambda x: x.T.copy(),
    "ewchain_1e7": lambda x: jnp.tanh(x * 1.1 + 0.3) * jax.nn.sigmoid(x),
}
PRODUCTS = {"mm_AtB": lambda a, b: a.T @ b, "mm_ABt": lambda a, b: a @ b.T}


def build(op: str, arrays):
    arrays = [jnp.asarray(array) for array in arrays]
    if op in NORMALISATIONS:
        return both(lambda *primals: norm(op, *primals), arrays[:-1], arrays[-1])
    if op == "embedding_fb":
        weight, indices, dy = arrays
        return both(lambda weight: weight[indices], [weight], dy)
    if op == "attention_fb":
        return both(attend, arrays[:-1], arrays[-1])
    if op.startswith("conv"):
        return convolved(op, *arrays)
    elementwise = getattr(jnp, op.removesuffix("_1e7")) if op in ELEMENTWISE and op not in MATRIX else None
    run = jax.jit(elementwise or MATRIX.get(op) or PRODUCTS.get(op, jnp.matmul))
    return lambda: jax.block_until_ready(run(*arrays))


def both(function, primals, dy):
    """The function and its gradients, compiled."""

    @jax.jit
    def run(primals, dy):
        y, pullback = jax.vjp(function, *primals)
        return y, *pullback(dy)

    return lambda: jax.block_until_ready(run(primals, dy))


def norm(op: str, x, weight, bias=0.0):
    shape = x.shape
    axes = {"batchnorm_fb": (0, 2, 3), "groupnorm_fb": (2, 3, 4), "instancenorm_fb": (2, 3)}.get(op, -1)
    if op == "groupnorm_fb":
        x = x.reshape(shape[0], GROUPS, -1, *shape[2:])
    if op != "rmsnorm_fb":
        x = x - x.mean(axes, keepdims=True)
    x = x * jax.lax.rsqrt((x * x).mean(axes, keepdims=True) + 1e-5)
    if len(shape) > 2:
        weight, bias = weight[:, None, None], bias[:, None, None]
    return x.reshape(shape) * weight + bias


def attend(q, k, v):
    """Causal attention over (batch, heads, time, dim)."""
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5
    met = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(jnp.where(met, scores, -jnp.inf)), v)


def convolved(op: str, x, weight, dy):
    wanted, padding, groups = convolution(op)

    def conv(x, weight):
        return jax.lax.conv_general_dilated(
            x, weight, (1, 1), [(padding, padding)] * 2, feature_group_count=groups
        )

    run, operands = {
        "y": (conv, (x, weight)),
        "dx": (lambda weight, dy: jax.vjp(lambda x: conv(x, weight), x)[1](dy), (weight, dy)),
        "dw": (lambda x, dy: jax.vjp(lambda weight: conv(x, weight), weight)[1](dy), (x, dy)),
    }[wanted]
    run = jax.jit(run)
    return lambda: jax.block_until_ready(run(*operands))


def overhead(case: str):
    a, b = jnp.ones(4, "f4"), jnp.ones(4, "f4")
    if case == "add":
        return "a + b", {"a": a, "b": b}
    count = 100 if case == "add_tracked" else 9

    def f(x):
        y = x
        for _ in range(count):
            y = (x if count == 100 else y) + b
        return y.sum()

    run = (jax.value_and_grad if count == 100 else jax.grad)(f)
    return lambda: jax.block_until_ready(run(a))
