"""luxon, through its public functions."""

from __future__ import annotations

import luxon as lx
from luxon import losses, nn, optim, training

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

VERSION = lx.__version__


def build(case: str):
    if case == "add 4":
        a, b = lx.ones(4), lx.ones(4)
        return "a + b", {"a": a, "b": b}
    if case.startswith("add 4, tracked"):
        b = lx.ones(4)

        def hundred(x):
            for _ in range(100):
                y = x + b
            return lx.sum(y)

        run = lx.value_and_grad(hundred)
        a = lx.ones(4)
        return lambda: run(a)
    if case.startswith("grad"):
        b = lx.ones(4)

        def ten(x):
            for _ in range(9):
                x = x + b
            return lx.sum(x)

        run, a = lx.grad(ten), lx.ones(4)
        return lambda: run(a)
    if case.startswith("matmul"):
        a, b = (lx.asarray(array) for array in matrices(case))
        if "AtB" in case:
            return lambda: a.T @ b
        if "ABt" in case:
            return lambda: a @ b.T
        return lambda: a @ b
    if case.endswith("1e7"):
        x = lx.asarray(generator().uniform(0.1, 3.0, 10**7).astype("f4"))
        name = case.split()[0]
        if name == "chain":
            return lambda: lx.tanh(x * 1.1 + 0.3) * lx.sigmoid(x)
        function = getattr(lx, name)
        return lambda: function(x)
    if " fb " in case:
        return _forward_backward(case)
    if "4096x4096" in case:
        x = lx.asarray(generator().standard_normal((4096, 4096)).astype("f4"))
        return {
            "softmax": lambda: lx.softmax(x, axis=-1),
            "sum axis 0": lambda: lx.sum(x, axis=0),
            "sum axis 1": lambda: lx.sum(x, axis=1),
            "transpose copy": lambda: lx.asarray(x.T, copy=True),
        }[case.rsplit(" ", 1)[0]]
    if case.startswith("conv"):
        wanted, *arrays, padding, groups = convolution(case)
        x, weight, dy = (lx.asarray(array) for array in arrays)

        def conv(x, weight):
            return lx.functional.conv(x, weight, padding=padding, groups=groups)

        if wanted == "y":
            return lambda: conv(x, weight)
        if wanted == "dx":
            return lambda: lx.functional.conv_transpose(dy, weight, padding=padding, groups=groups)
        _, pullback = lx.vjp(lambda weight: conv(x, weight), weight)
        return lambda: pullback(dy)
    if case.startswith("step"):
        sizes, parameters, x, y, activation, loss = network(case)
        layers = [
            nn.Dense(inputs, outputs, getattr(lx, activation) if outputs != sizes[-1] else lx.identity)
            for inputs, outputs in zip(sizes, sizes[1:], strict=False)
        ]
        model = nn.Chain(*layers)
        ps = {
            f"layer_{index + 1}": {
                "weight": lx.asarray(parameters[2 * index].T.copy()),
                "bias": lx.asarray(parameters[2 * index + 1]),
            }
            for index in range(len(layers))
        }
        _, st = nn.setup(0, model)
        objective = losses.MSELoss() if loss == "mse" else losses.CrossEntropyLoss()
        ad, data = lx.AutoTape(), (lx.asarray(x), lx.asarray(y))
        ts = training.TrainState(model, ps, st, optim.Adam(1e-4))

        def step():
            nonlocal ts
            _, value, _, ts = training.single_train_step(ad, objective, data, ts)
            return value

        return step
    if case.startswith("lstm"):
        features, hidden, x, y = sequences(case)
        model = nn.Chain(nn.Recurrence(nn.LSTMCell(features, hidden)), nn.Dense(hidden, 1))
        ts = training.TrainState.create(0, model, optim.Adam(1e-3))
        return _step(ts, losses.MSELoss(), (lx.asarray(x), lx.asarray(y)))
    if case.startswith("transformer"):
        return _transformer(Transformer(case))
    if case.startswith("attention"):
        q, k, v, dy = (lx.asarray(array) for array in attention(case))

        def both():
            attend = lx.functional.scaled_dot_product_attention
            y, pullback = lx.vjp(lambda q, k, v: attend(q, k, v, causal=True), q, k, v)
            return y, pullback(dy)

        return both
    return None


def _forward_backward(case: str):
    functional = lx.functional
    if case.startswith("embedding"):
        weight, indices, dy = (lx.asarray(array) for array in table(case))
        function, primals = (lambda weight: functional.embedding(weight, indices)), (weight,)
    else:
        kind, arrays = normalisation(case)
        *primals, dy = (lx.asarray(array) for array in arrays)
        function = {
            "layernorm": functional.layer_norm,
            "rmsnorm": functional.rms_norm,
            "batchnorm": functional.batch_norm,
            "groupnorm": lambda x, weight, bias: functional.group_norm(x, GROUPS, weight, bias),
            "instancenorm": functional.instance_norm,
        }[kind]

    def run():
        y, pullback = lx.vjp(function, *primals)
        return y, pullback(dy)

    return run


def _step(ts, objective, data):
    ad = lx.AutoTape()

    def step():
        nonlocal ts
        _, value, _, ts = training.single_train_step(ad, objective, data, ts)
        return value

    return step


def _transformer(task):
    dim = task.dim

    def residual(*layers):
        return nn.SkipConnection(nn.Chain(nn.LayerNorm(dim), *layers), lx.add)

    blocks = [
        nn.Chain(
            residual(nn.MultiHeadAttention(dim, task.heads, causal=True)),
            residual(nn.Dense(dim, 4 * dim, lx.gelu), nn.Dense(4 * dim, dim)),
        )
        for _ in range(task.layers)
    ]
    positions = nn.compact(
        lambda m, x: x + m.weight, weight=nn.param(lx.init.normal(std=0.02), (task.context, dim))
    )
    head = nn.Dense(dim, task.vocabulary, use_bias=False)
    model = nn.Chain(nn.Embedding(task.vocabulary, dim), positions, blocks, nn.LayerNorm(dim), head)
    ps, st = nn.setup(0, model)
    weights = {name: lx.asarray(array) for name, array in task.weights().items()}
    new = {"layer_1.weight": weights["tokens"], "layer_2.weight": weights["positions"]}
    new[f"layer_{task.layers + 4}.weight"] = weights["head"]
    for layer in range(task.layers):
        at = f"layer_{layer + 3}"
        for name in ("q", "k", "v", "out"):
            new[f"{at}.layer_1.layer_2.{name}_proj.weight"] = weights[f"{layer}.{name}"]
        new[f"{at}.layer_2.layer_2.weight"] = weights[f"{layer}.up"]
        new[f"{at}.layer_2.layer_3.weight"] = weights[f"{layer}.down"]
        for name, size in (("layer_2", 4 * dim), ("layer_3", dim)):
            new[f"{at}.layer_2.{name}.bias"] = lx.zeros(size)
    ts = training.TrainState(model, ps.replace(new), st, optim.AdamW(1e-4))
    return _step(ts, losses.CrossEntropyLoss(), (lx.asarray(task.x), lx.asarray(task.y)))
