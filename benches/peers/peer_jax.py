"""JAX: one compiled step with donated buffers; Optax's optimisers."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import operations_jax
import optax
import workloads

jax.config.update("jax_enable_x64", True)  # float64 inputs stay; everything else is float32


def versions() -> dict[str, str]:
    return {"jax": jax.__version__}


def dense_layers(s, p, x):
    activation = {"relu": jax.nn.relu, "tanh": jnp.tanh}[s["act"]]
    count = sum(name.startswith("W") for name in p)
    for i in range(count):
        x = x @ p[f"W{i}"] + p[f"b{i}"]
        x = activation(x) if i + 1 < count else x
    return x


def conv(x, weight, stride: int = 1, padding: int = 0):
    return jax.lax.conv_general_dilated(
        x, weight, (stride, stride), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def lenet(s, p, x):
    for i in (1, 2):
        x = jax.nn.relu(conv(x, p[f"c{i}"]) + p[f"c{i}b"])
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return dense_layers({"act": "relu"}, p, x.reshape(len(x), -1))


def resnet(s, p, running, x):
    stride = {name: step for name, *_, step in s["convs"]}
    updated = {}

    def normed(name, x):
        y = conv(x, p[name], stride[name], p[name].shape[0] // 2)
        mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
        old = running[name]
        updated[name] = (0.9 * old[0] + 0.1 * mean, 0.9 * old[1] + 0.1 * variance)
        return (y - mean) * (jax.lax.rsqrt(variance + 1e-5) * p[f"{name}_g"]) + p[f"{name}_b"]

    x = jax.nn.relu(normed("stem", x))
    for first, second, *projection in s["blocks"]:
        y = normed(second, jax.nn.relu(normed(first, x)))
        x = jax.nn.relu(y + (normed(projection[0], x) if projection else x))
    return x.mean((1, 2)) @ p["W"] + p["b"], updated


def lstm(s, p, x):
    zeros = jnp.zeros((len(x), s["hid"]), x.dtype)

    def cell(carry, z):
        h, c = carry
        i, f, g, o = jnp.split(z + h @ p["Wh"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    (h, _), _ = jax.lax.scan(cell, (zeros, zeros), jnp.swapaxes(x @ p["Wx"] + p["bh"], 0, 1))
    return h @ p["W"] + p["b"]


def layer_norm(x, weight, bias):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * weight + bias


def gpt(s, p, x):
    h = p["wte"][x] + p["wpe"]
    for layer in range(s["layers"]):

        def dense(name, x, layer=layer):
            return x @ p[f"{layer}{name}"] + p[f"{layer}{name}_b"]

        z = layer_norm(h, p[f"{layer}ln1_g"], p[f"{layer}ln1_b"])
        q, k, v = (part.reshape(*x.shape, s["heads"], -1) for part in jnp.split(dense("qkv", z), 3, -1))
        h = h + dense("out", jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(h.shape))
        z = layer_norm(h, p[f"{layer}ln2_g"], p[f"{layer}ln2_b"])
        h = h + dense("proj", jax.nn.gelu(dense("fc", z)))
    return layer_norm(h, p["lnf_g"], p["lnf_b"]) @ p["head"]


def residual(s, p, x):
    """The mean square of u_t + u u_x - 0.01 u_xx, by derivatives in forward mode."""
    net = partial(dense_layers, s, p)
    along = [jnp.zeros_like(x).at[:, axis].set(1) for axis in (0, 1)]
    (u, u_x), (_, u_xx) = jax.jvp(lambda a: jax.jvp(net, (a,), (along[0],)), (x,), (along[0],))
    _, u_t = jax.jvp(net, (x,), (along[1],))
    return jnp.mean((u_t + u * u_x - 0.01 * u_xx) ** 2)


MODELS = {"mlp": dense_layers, "lenet": lenet, "lstm": lstm, "gpt": gpt}


def optimizer(s):
    return {
        "adam": optax.adam,
        "adamw": partial(optax.adamw, weight_decay=0.01),
        "sgd": partial(optax.sgd, momentum=0.9),
    }[s["opt"]](s["lr"])


def build(name: str, mode: str):
    kind = workloads.spec(name)["kind"]
    if kind == "op":
        op = workloads.spec(name)["op"]
        overhead = op in ("add", "add_tracked", "grad_10")
        return operations_jax.overhead(op) if overhead else operations_jax.build(op, workloads.op_inputs(op))
    s, p, x, y = workloads.init(name)
    if kind in ("lenet", "resnet"):
        x = x.transpose(0, 2, 3, 1)
        p = {name: value.transpose(2, 3, 1, 0) if value.ndim == 4 else value for name, value in p.items()}
    if kind == "lenet":
        # The rows of the first dense layer, which count channels first, in the order that channels last flatten to.
        rows = p["W0"].reshape(16, 4, 4, -1).transpose(1, 2, 0, 3)
        p["W0"] = rows.reshape(p["W0"].shape)
    p, x, y = jax.tree.map(jnp.asarray, (p, x, y))
    if kind == "pinn":
        run = jax.jit(jax.value_and_grad(partial(residual, s)))
        return lambda: jax.block_until_ready(run(p, x))[0]
    if s.get("infer"):
        run = jax.jit(partial(MODELS[kind], s))
        return lambda: jax.block_until_ready(run(p, x))
    rule = optimizer(s)
    running = {name: (jnp.zeros(n), jnp.ones(n)) for name, n, *_ in s.get("convs", [])}

    def objective(p, running, x, y):
        z, running = resnet(s, p, running, x) if kind == "resnet" else (MODELS[kind](s, p, x), running)
        if s.get("loss") == "mse":
            return jnp.mean((z - y) ** 2), running
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean(), running

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def train(p, running, state, x, y):
        (loss, running), grads = jax.value_and_grad(objective, has_aux=True)(p, running, x, y)
        updates, state = rule.update(grads, state, p)
        return optax.apply_updates(p, updates), running, state, loss

    kept = [p, running, rule.init(p)]

    def step():
        *kept[:], loss = jax.block_until_ready(train(*kept, x, y))
        return loss

    return step
