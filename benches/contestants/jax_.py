"""JAX: compiled functions; eager calls for the overhead cases."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from .cases import (
    GROUPS,
    Transformer,
    attention,
    convolution,
    generator,
    matrices,
    network,
    normalisation,
    sequences,
    table,
)

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
    if case.startswith("lstm"):
        return _lstm(case)
    if case.startswith("transformer"):
        return _transformer(Transformer(case))
    if case.startswith("attention"):
        q, k, v, dy = (jnp.asarray(array) for array in attention(case))

        @jax.jit
        def both(q, k, v, dy):
            y, pullback = jax.vjp(_attend, q, k, v)
            return y, pullback(dy)

        return lambda: block(both(q, k, v, dy))
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


def _attend(q, k, v):
    """Causal attention over (batch, heads, time, dim)."""
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) * q.shape[-1] ** -0.5
    met = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(jnp.where(met, scores, -jnp.inf)), v)


def _lstm(case: str):
    features, hidden, x, y = sequences(case)
    random = generator()
    shapes = {
        "wx": (features, 4 * hidden),
        "wh": (hidden, 4 * hidden),
        "b": (4 * hidden,),
        "head": (hidden, 1),
    }
    ps = {name: jnp.asarray((random.standard_normal(s) * 0.08).astype("f4")) for name, s in shapes.items()}

    def value(ps, x, y):
        zeros = jnp.zeros((x.shape[0], hidden), "f4")

        def step(carry, z):
            h, c = carry
            i, f, g, o = jnp.split(z + h @ ps["wh"], 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

        z = jnp.swapaxes(x @ ps["wx"] + ps["b"], 0, 1)
        (h, _), _ = jax.lax.scan(step, (zeros, zeros), z)
        return jnp.mean((h @ ps["head"] - y) ** 2)

    return _trained(value, ps, jnp.asarray(x), jnp.asarray(y), 0.0)


def _transformer(task: Transformer):
    ps = {name: jnp.asarray(array) for name, array in task.weights().items()}
    for layer in range(task.layers):
        for name in ("before", "between"):
            ps[f"{layer}.{name}"] = jnp.stack([jnp.ones(task.dim), jnp.zeros(task.dim)]).astype("f4")
        ps[f"{layer}.up bias"] = jnp.zeros(4 * task.dim, "f4")
        ps[f"{layer}.down bias"] = jnp.zeros(task.dim, "f4")
    ps["norm"] = jnp.stack([jnp.ones(task.dim), jnp.zeros(task.dim)]).astype("f4")

    def norm(x, affine):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * affine[0] + affine[1]

    def value(ps, x, y):
        h = ps["tokens"][x] + ps["positions"]
        for layer in range(task.layers):
            z = norm(h, ps[f"{layer}.before"])
            q, k, v = (
                jnp.swapaxes((z @ ps[f"{layer}.{name}"].T).reshape(*z.shape[:2], task.heads, -1), 1, 2)
                for name in "qkv"
            )
            h = h + jnp.swapaxes(_attend(q, k, v), 1, 2).reshape(h.shape) @ ps[f"{layer}.out"].T
            z = norm(h, ps[f"{layer}.between"]) @ ps[f"{layer}.up"].T + ps[f"{layer}.up bias"]
            h = h + jax.nn.gelu(z, approximate=False) @ ps[f"{layer}.down"].T + ps[f"{layer}.down bias"]
        scores = jax.nn.log_softmax(norm(h, ps["norm"]) @ ps["head"].T)
        return -jnp.mean(jnp.take_along_axis(scores, y[..., None], -1))

    return _trained(value, ps, jnp.asarray(task.x), jnp.asarray(task.y), 1e-2)


def _trained(value, ps, x, y, decay: float):
    """A step of Adam with decoupled weight decay on a tree of parameters."""

    @partial(jax.jit, donate_argnums=(0, 1, 2, 3))
    def train(ps, first, second, count, x, y):
        result, grads = jax.value_and_grad(value)(ps, x, y)
        count = count + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)

        def move(p, m, v):
            change = (m / (1 - 0.9**count)) / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8)
            return (p * (1 - 1e-4 * decay) - 1e-4 * change).astype(p.dtype)

        return jax.tree.map(move, ps, first, second), first, second, count, result

    zeros = jax.tree.map(jnp.zeros_like, ps)
    state = [ps, zeros, jax.tree.map(jnp.zeros_like, ps), jnp.zeros((), "f4")]

    def step():
        *state[:], result = jax.block_until_ready(train(*state, x, y))
        return result

    return step


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
