"""JAX: compiled functions; eager calls for the overhead cases."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from .cases import GROUPS, convolution, generator, matrices, network, normalisation, table

jax.config.update("jax_enable_x64", True)  # float64 inputs stay; everything else is float32
VERSION = jax.__version__


def build(case: str):
    block = jax.block_until_ready
    if case == "add 4":
        a, b = jnp.ones(4, "f4"), jnp.ones(4, "f4")
        return "a + b", {"a": a, "b": b}
    if case.startswith(("add", "grad")):
        b, count = jnp.ones(4, "f4"), 100 if case.startswith("add") else 9

        def f(x):
            y = x
            for _ in range(count):
                y = (x if count == 100 else y) + b
            return y.sum()

        run, a = (jax.value_and_grad if count == 100 else jax.grad)(f), jnp.ones(4, "f4")
        return lambda: block(run(a))
    if case.startswith("matmul"):
        a, b = (jnp.asarray(array) for array in matrices(case))
        product = (
            (lambda a, b: a.T @ b)
            if "AtB" in case
            else (lambda a, b: a @ b.T)
            if "ABt" in case
            else jnp.matmul
        )
        run = jax.jit(product)
        return lambda: block(run(a, b))
    if case.endswith("1e7"):
        x = jnp.asarray(generator().uniform(0.1, 3.0, 10**7).astype("f4"))
        name = case.split()[0]
        function = (
            (lambda x: jnp.tanh(x * 1.1 + 0.3) * jax.nn.sigmoid(x)) if name == "chain" else getattr(jnp, name)
        )
        run = jax.jit(function)
        return lambda: block(run(x))
    if " fb " in case:
        return _forward_backward(case)
    if "4096x4096" in case:
        x = jnp.asarray(generator().standard_normal((4096, 4096)).astype("f4"))
        run = jax.jit(
            {
                "softmax": partial(jax.nn.softmax, axis=-1),
                "sum axis 0": lambda x: x.sum(0),
                "sum axis 1": lambda x: x.sum(1),
                "transpose copy": lambda x: x.T.copy(),
            }[case.rsplit(" ", 1)[0]]
        )
        return lambda: block(run(x))
    if case.startswith("conv"):
        wanted, *arrays, padding, groups = convolution(case)
        x, weight, dy = (jnp.asarray(array) for array in arrays)

        def conv(x, weight):
            return jax.lax.conv_general_dilated(
                x, weight, (1, 1), [(padding, padding)] * 2, feature_group_count=groups
            )

        if wanted == "y":
            run, operands = jax.jit(conv), (x, weight)
        elif wanted == "dx":
            run, operands = jax.jit(lambda w, dy: jax.vjp(lambda x: conv(x, w), x)[1](dy)), (weight, dy)
        else:
            run, operands = jax.jit(lambda x, dy: jax.vjp(lambda w: conv(x, w), weight)[1](dy)), (x, dy)
        return lambda: block(run(*operands))
    if case.startswith("step"):
        return _step(case)
    return None


def _forward_backward(case: str):
    if case.startswith("embedding"):
        weight, indices, dy = (jnp.asarray(array) for array in table(case))
        function, primals = (lambda weight: weight[indices]), (weight,)
    else:
        kind, arrays = normalisation(case)
        *primals, dy = (jnp.asarray(array) for array in arrays)
        axes = {
            "layernorm": -1,
            "rmsnorm": -1,
            "batchnorm": (0, 2, 3),
            "groupnorm": (2, 3, 4),
            "instancenorm": (2, 3),
        }

        def function(x, weight, bias=0.0):
            shape = x.shape
            if kind == "groupnorm":
                x = x.reshape(shape[0], GROUPS, -1, *shape[2:])
            if kind != "rmsnorm":
                x = x - x.mean(axes[kind], keepdims=True)
            x = x * jax.lax.rsqrt((x * x).mean(axes[kind], keepdims=True) + 1e-5)
            if len(shape) > 2:
                weight, bias = weight[:, None, None], bias[:, None, None]
            return x.reshape(shape) * weight + bias

    @jax.jit
    def both(primals, dy):
        y, pullback = jax.vjp(function, *primals)
        return y, pullback(dy)

    return lambda: jax.block_until_ready(both(primals, dy))


def _step(case: str):
    sizes, parameters, x, y, activation, loss = network(case)
    act = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]
    x, y = jnp.asarray(x), jnp.asarray(y)
    ps = [jnp.asarray(parameter) for parameter in parameters]

    def value(ps, x, y):
        for index in range(len(sizes) - 1):
            x = x @ ps[2 * index] + ps[2 * index + 1]
            x = act(x) if index < len(sizes) - 2 else x
        if loss == "mse":
            return jnp.mean((x - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1))

    @partial(jax.jit, donate_argnums=(0, 1, 2, 3))
    def train(ps, first, second, count, x, y):
        result, grads = jax.value_and_grad(value)(ps, x, y)
        count = count + 1
        first = [0.9 * m + 0.1 * g for m, g in zip(first, grads, strict=True)]
        second = [0.999 * v + 0.001 * g * g for v, g in zip(second, grads, strict=True)]
        scale = [1 - 0.9**count, 1 - 0.999**count]
        ps = [
            (p - 1e-4 * (m / scale[0]) / (jnp.sqrt(v / scale[1]) + 1e-8)).astype(p.dtype)
            for p, m, v in zip(ps, first, second, strict=True)
        ]
        return ps, first, second, count, result

    state = [ps, [jnp.zeros_like(p) for p in ps], [jnp.zeros_like(p) for p in ps], jnp.zeros((), "f4")]

    def step():
        *state[:], result = jax.block_until_ready(train(*state, x, y))
        return result

    return step
