"""luxon as a peer: whole training steps, inference and raw operations, all through public functions.

A runner imports this module beside `workloads` (sizes, parameters and data that every library gets), and calls
`build(workload, mode)`; the function that it returns runs one full step and returns the loss. Models are
`luxon.nn` models and steps are `training.single_train_step`, as a user writes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import operations_luxon
import workloads

import luxon as lx
from luxon import losses, nn, optim, training

AD = lx.AutoTape()


def versions() -> dict[str, str]:
    return {"luxon": lx.__version__}


def dense(p: dict[str, Any], i: Any) -> dict[str, Any]:
    """The parameters of a Dense from a weight (in, out) and a bias."""
    return {"weight": p[f"W{i}"].T, "bias": p[f"b{i}"]}


def mlp(s, p):
    activation = getattr(lx, s.get("act", "tanh"))
    pairs = list(zip(s["sizes"], s["sizes"][1:], strict=False))
    last = len(pairs) - 1
    layers = [nn.Dense(m, n, activation if i < last else lx.identity) for i, (m, n) in enumerate(pairs)]
    return nn.Chain(*layers), {f"layer_{i + 1}": dense(p, i) for i in range(len(pairs))}


def lenet(s, p):
    model = nn.Chain(
        c1=nn.Conv((5, 5), 1, 6, lx.relu),
        p1=nn.MaxPool((2, 2)),
        c2=nn.Conv((5, 5), 6, 16, lx.relu),
        p2=nn.MaxPool((2, 2)),
        flat=nn.FlattenLayer(),
        d0=nn.Dense(256, 120, lx.relu),
        d1=nn.Dense(120, 84, lx.relu),
        d2=nn.Dense(84, 10),
    )
    ps = {f"c{i}": {"weight": p[f"c{i}"], "bias": p[f"c{i}b"]} for i in (1, 2)}
    return model, ps | {f"d{i}": dense(p, i) for i in range(3)}


def join(y, x):
    return lx.relu(y + x)


def resnet(s, p):
    sizes = {name: rest for name, *rest in s["convs"]}
    ps: dict[str, Any] = {}

    def normed(name, activation=lx.identity):
        filters, channels, kernel, stride = sizes[name]
        conv = nn.Conv(
            (kernel, kernel), channels, filters, stride=stride, padding=kernel // 2, use_bias=False
        )
        values = {"conv": {"weight": p[name]}, "norm": {"weight": p[f"{name}_g"], "bias": p[f"{name}_b"]}}
        return nn.Chain(conv=conv, norm=nn.BatchNorm(filters, activation)), values

    layers: dict[str, nn.Layer] = {}
    layers["stem"], ps["stem"] = normed("stem", lx.relu)
    for i, (a, b, *projection) in enumerate(s["blocks"]):
        (first, ps_a), (second, ps_b) = normed(a, lx.relu), normed(b)
        main, values = nn.Chain(a=first, b=second), {"a": ps_a, "b": ps_b}
        name = f"block_{i}"
        if projection:
            short, ps_short = normed(projection[0])
            layers[name] = nn.Parallel(join, main=main, short=short)
            ps[name] = {"main": values, "short": ps_short}
        else:
            layers[name], ps[name] = nn.SkipConnection(main, join), values
    layers |= {"pool": nn.GlobalMeanPool(), "flat": nn.FlattenLayer(), "head": nn.Dense(128, 10)}
    return nn.Chain(**layers), ps | {"head": {"weight": p["W"].T, "bias": p["b"]}}


def lstm(s, p):
    model = nn.Chain(rnn=nn.Recurrence(nn.LSTMCell(s["inp"], s["hid"])), head=nn.Dense(s["hid"], 10))
    cell = {"weight_ih": p["Wx"].T, "weight_hh": p["Wh"].T, "bias_ih": p["bh"], "bias_hh": p["bh"] * 0}
    return model, {"rnn": cell, "head": {"weight": p["W"].T, "bias": p["b"]}}


def gelu_tanh(x):
    return lx.gelu(x, approximate="tanh")


def add(y, x):
    return y + x


def gpt(s, p):
    d, heads = s["d"], s["heads"]
    layers: dict[str, nn.Layer] = {
        "embed": nn.Embedding(s["vocab"], d),
        "positions": Positions(s["ctx"], d),
    }
    ps: dict[str, Any] = {"embed": {"weight": p["wte"]}, "positions": {"table": p["wpe"]}}
    for i in range(s["layers"]):
        w = {n: p[f"{i}{n}"] for n in ("qkv", "out", "fc", "proj", "ln1_g", "ln1_b", "ln2_g", "ln2_b")}
        b = {n: p[f"{i}{n}_b"] for n in ("qkv", "out", "fc", "proj")}
        layers[f"attend_{i}"] = nn.SkipConnection(
            nn.Chain(
                norm=nn.LayerNorm(d), attention=nn.MultiHeadAttention(d, heads, causal=True, use_bias=True)
            ),
            add,
        )
        layers[f"mlp_{i}"] = nn.SkipConnection(
            nn.Chain(norm=nn.LayerNorm(d), fc=nn.Dense(d, 4 * d, gelu_tanh), proj=nn.Dense(4 * d, d)), add
        )
        parts = {
            f"{name}_proj": {
                "weight": w["qkv"][:, j * d : (j + 1) * d].T,
                "bias": b["qkv"][j * d : (j + 1) * d],
            }
            for j, name in enumerate("qkv")
        }
        ps[f"attend_{i}"] = {
            "norm": {"weight": w["ln1_g"], "bias": w["ln1_b"]},
            "attention": parts | {"out_proj": {"weight": w["out"].T, "bias": b["out"]}},
        }
        ps[f"mlp_{i}"] = {
            "norm": {"weight": w["ln2_g"], "bias": w["ln2_b"]},
            "fc": {"weight": w["fc"].T, "bias": b["fc"]},
            "proj": {"weight": w["proj"].T, "bias": b["proj"]},
        }
    layers |= {"norm": nn.LayerNorm(d), "head": nn.Dense(d, s["vocab"], use_bias=False)}
    ps |= {"norm": {"weight": p["lnf_g"], "bias": p["lnf_b"]}, "head": {"weight": p["head"].T}}
    return nn.Chain(**layers), ps


class Positions(nn.Layer):
    """Adds a learned vector to every place."""

    def __init__(self, length: int, dim: int) -> None:
        self.shape = length, dim

    def initial_parameters(self, key):
        return {"table": lx.zeros(self.shape)}

    def __call__(self, x, ps, st):
        return x + ps.table, st


def residual(net: Callable[[Any], Any], x):
    """The mean square of u_t + u u_x - 0.01 u_xx; x is (n, 2): place and time."""
    along_x = lx.broadcast_to(lx.asarray([1.0, 0.0], dtype=x.dtype), x.shape)
    along_t = lx.broadcast_to(lx.asarray([0.0, 1.0], dtype=x.dtype), x.shape)
    u, ((u_x, u_xx), (u_t,)) = lx.jet(net, x, [along_x, along_t], [2, 1])
    return lx.mean((u_t + u * u_x - 0.01 * u_xx) ** 2)


MODELS = {"mlp": mlp, "pinn": mlp, "lenet": lenet, "resnet": resnet, "lstm": lstm, "gpt": gpt}


def optimizer(s):
    return {
        "adam": lambda lr: optim.Adam(lr),
        "adamw": lambda lr: optim.AdamW(lr, weight_decay=0.01),
        "sgd": lambda lr: optim.SGD(lr, momentum=0.9),
    }[s["opt"]](s["lr"])


def filled(initial: lx.Tree, given: dict[str, Any]) -> dict[str, Any]:
    """The initial parameters with the given values: arrays, in the layout that every library is given."""
    values = {}
    for name, value in initial.items():
        if isinstance(value, lx.Tree):
            values[name] = filled(value, given.get(name, {}))
        else:
            values[name] = lx.asarray(given[name].copy())
    return values


def build(name: str, mode: str):
    kind = workloads.spec(name)["kind"]
    if kind == "chain":
        return chain(workloads.CHAINS[name], name)
    if kind == "op":
        op = workloads.spec(name)["op"]
        overhead = op in ("add", "add_tracked", "grad_10")
        return (
            operations_luxon.overhead(op) if overhead else operations_luxon.build(op, workloads.op_inputs(op))
        )
    s, p, x, y = workloads.init(name)
    model, ps = MODELS[kind](s, p)
    initial, st = nn.setup(0, model, dtype=s["dtype"])
    ps = lx.Tree(filled(initial, ps))
    x, y = lx.asarray(x), lx.asarray(y)
    if kind == "pinn":
        run = lx.value_and_grad(lambda ps: residual(lambda x: model(x, ps, st)[0], x))
        return lambda: run(ps)[0]
    if s.get("infer"):
        st = nn.testmode(st)
        return lambda: model(x, ps, st)[0]
    objective = losses.MSELoss() if s.get("loss") == "mse" else losses.CrossEntropyLoss()
    ts = training.TrainState(model, ps, st, optimizer(s))

    def step():
        nonlocal ts
        _, loss, _, ts = training.single_train_step(AD, objective, (x, y), ts, donate=True)
        return loss

    return step


def chain(count: int, name: str):
    a, b = lx.ones(4), lx.ones(4)

    def plain(x):
        for _ in range(count):
            x = x + b
        return x

    if name == "ov_grad":
        run = lx.grad(lambda x: lx.sum(plain(x)))
        return lambda: run(a)
    return lambda: plain(a)
