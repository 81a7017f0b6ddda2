"""The training steps that libraries are compared on: sizes, parameters and data, the same for every library.

`spec(name)` describes a workload, `init(name)` adds seeded parameters and data. Layouts: dense weights (in, out),
convolutions OIHW, images NCHW; a library that prefers another one converts before the clock starts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from operations import op_inputs  # noqa: F401 - a library asks this module for all its data

Spec = dict[str, Any]


def _mlp(sizes: list[int], activation: str, batch: int, loss: str, **more: Any) -> Spec:
    return dict(kind="mlp", sizes=sizes, act=activation, batch=batch, loss=loss, opt="adam", lr=1e-4, **more)


def _middle(batch: int, **more: Any) -> Spec:
    return _mlp([64, 256, 256, 10], "relu", batch, "ce", **more)


def _deep(layers: int) -> Spec:
    return _mlp([64] * layers + [10], "tanh", 32, "ce")


SPECS: dict[str, Spec] = {
    "mlp_small": _mlp([2, 32, 32, 1], "tanh", 64, "mse"),
    "mlp_b1": _middle(1),
    "mlp_b8": _middle(8),
    "mlp": _middle(128),
    "mlp_b512": _middle(512),
    "mlp_b4096": _middle(4096),
    "mlp_large": _mlp([784, 2048, 2048, 10], "relu", 512, "ce"),
    "lenet": dict(kind="lenet", batch=128, opt="adam", lr=1e-4),
    "resnet": dict(kind="resnet", batch=32, opt="sgd", lr=1e-3),
    "lstm": dict(kind="lstm", batch=32, seq=64, inp=32, hid=128, opt="adam", lr=1e-4),
    "transformer": dict(
        kind="gpt", batch=16, ctx=128, vocab=96, d=128, heads=4, layers=4, opt="adamw", lr=1e-4
    ),
    "pinn_f32": dict(kind="pinn", batch=1024, sizes=[2, 64, 64, 64, 1], act="tanh", dtype="float32"),
    "pinn_f64": dict(kind="pinn", batch=1024, sizes=[2, 64, 64, 64, 1], act="tanh", dtype="float64"),
    "infer_mlp": _middle(1, infer=True),
    "infer_lenet": dict(kind="lenet", batch=1, infer=True),
    "depth_8": _deep(8),
    "depth_32": _deep(32),
}

# Stages of the residual network: filters, channels, stride of the first convolution.
STAGES = [(64, 64, 1), (64, 64, 1), (64, 64, 1), (128, 64, 2), (128, 128, 1)]
# The convolutions of LeNet-5 as (filters, channels, kernel, side of the output), and its dense layers.
LENET_CONVOLUTIONS = [(6, 1, 5, 24), (16, 6, 5, 8)]
LENET_DENSE = [(256, 120), (120, 84), (84, 10)]


def spec(name: str) -> Spec:
    """The description of a workload; a name that is none of them is a single operation's."""
    return {"dtype": "float32", **SPECS[name]} if name in SPECS else {"kind": "op", "op": name}


class _Draw:
    """Seeded arrays of one dtype."""

    def __init__(self, dtype: str) -> None:
        self.random = np.random.default_rng(0)
        self.dtype = dtype

    def normal(self, *shape: int, std: float = 1.0) -> np.ndarray:
        return (self.random.standard_normal(shape) * std).astype(self.dtype)

    def dense(self, inputs: int, outputs: int) -> np.ndarray:
        return self.normal(inputs, outputs, std=(2 / (inputs + outputs)) ** 0.5)

    def conv(self, filters: int, channels: int, kernel: int) -> np.ndarray:
        return self.normal(filters, channels, kernel, kernel, std=(2 / (channels * kernel**2)) ** 0.5)

    def classes(self, count: int, *shape: int) -> np.ndarray:
        return self.random.integers(0, count, shape).astype("i4")


def init(name: str) -> tuple[Spec, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The workload's description, parameters by name, inputs and targets."""
    s = spec(name)
    draw = _Draw(s["dtype"])
    return s, *{
        "mlp": _init_mlp,
        "pinn": _init_mlp,
        "lenet": _init_lenet,
        "resnet": _init_resnet,
        "lstm": _init_lstm,
        "gpt": _init_gpt,
    }[s["kind"]](s, draw)


def _dense_layers(draw: _Draw, pairs: list[tuple[int, int]]) -> dict[str, np.ndarray]:
    p = {}
    for i, (inputs, outputs) in enumerate(pairs):
        p[f"W{i}"], p[f"b{i}"] = draw.dense(inputs, outputs), draw.normal(outputs, std=0.01)
    return p


def _init_mlp(s, draw):
    sizes, batch = s["sizes"], s["batch"]
    p = _dense_layers(draw, list(zip(sizes, sizes[1:], strict=False)))
    x = draw.normal(batch, sizes[0])
    return p, x, draw.classes(sizes[-1], batch) if s.get("loss") == "ce" else draw.normal(batch, sizes[-1])


def _init_lenet(s, draw):
    p = {}
    for i, (filters, channels, kernel, _) in enumerate(LENET_CONVOLUTIONS):
        p[f"c{i + 1}"] = draw.conv(filters, channels, kernel)
        p[f"c{i + 1}b"] = draw.normal(filters, std=0.01)
    p |= _dense_layers(draw, LENET_DENSE)
    return p, draw.normal(s["batch"], 1, 28, 28), draw.classes(10, s["batch"])


def resnet_convolutions() -> tuple[list[tuple[str, int, int, int, int]], list[list[str]]]:
    """All convolutions as (name, filters, channels, kernel, stride), and each block's: two, or three with a projection."""
    convs, blocks = [("stem", 64, 3, 3, 1)], []
    for i, (filters, channels, stride) in enumerate(STAGES):
        block = [(f"r{i}a", filters, channels, 3, stride), (f"r{i}b", filters, filters, 3, 1)]
        if stride != 1:
            block.append((f"r{i}p", filters, channels, 1, stride))
        convs += block
        blocks.append([name for name, *_ in block])
    return convs, blocks


def _init_resnet(s, draw):
    s["convs"], s["blocks"] = resnet_convolutions()
    p = {}
    for name, filters, channels, kernel, _ in s["convs"]:
        p[name] = draw.conv(filters, channels, kernel)
        p[f"{name}_g"], p[f"{name}_b"] = np.ones(filters, s["dtype"]), np.zeros(filters, s["dtype"])
    p["W"], p["b"] = draw.dense(128, 10), np.zeros(10, s["dtype"])
    return p, draw.normal(s["batch"], 3, 32, 32), draw.classes(10, s["batch"])


def _init_lstm(s, draw):
    features, hidden = s["inp"], s["hid"]
    p = {  # gates in the order input, forget, candidate, output
        "Wx": draw.normal(features, 4 * hidden, std=hidden**-0.5),
        "Wh": draw.normal(hidden, 4 * hidden, std=hidden**-0.5),
        "bh": draw.normal(4 * hidden, std=0.01),
        "W": draw.dense(hidden, 10),
        "b": np.zeros(10, s["dtype"]),
    }
    return p, draw.normal(s["batch"], s["seq"], features), draw.classes(10, s["batch"])


def _init_gpt(s, draw):
    d, vocabulary = s["d"], s["vocab"]
    ones = np.ones(d, s["dtype"])
    p = {"wte": draw.normal(vocabulary, d, std=0.02), "wpe": draw.normal(s["ctx"], d, std=0.02)}
    sizes = {"qkv": (d, 3 * d), "out": (d, d), "fc": (d, 4 * d), "proj": (4 * d, d)}
    for layer in range(s["layers"]):
        for name, (inputs, outputs) in sizes.items():
            p[f"{layer}{name}"] = draw.normal(inputs, outputs, std=0.02)
            p[f"{layer}{name}_b"] = np.zeros(outputs, s["dtype"])
        for name in ("ln1", "ln2"):
            p[f"{layer}{name}_g"], p[f"{layer}{name}_b"] = ones, np.zeros(d, s["dtype"])
    p |= {"lnf_g": ones, "lnf_b": np.zeros(d, s["dtype"]), "head": draw.normal(d, vocabulary, std=0.02)}
    tokens = (s["batch"], s["ctx"])
    return p, draw.classes(vocabulary, *tokens), draw.classes(vocabulary, *tokens)


def flops(name: str) -> float:
    """Floating-point operations of the products of one step: two an element, thrice the forward pass in training.

    Nobody differentiates the inputs, so the first layer has two products and not three.
    """
    s = spec(name)
    kind, batch = s["kind"], s["batch"]
    if kind in ("mlp", "pinn"):
        layers = [batch * m * n for m, n in zip(s["sizes"], s["sizes"][1:], strict=False)]
    elif kind == "lenet":
        layers = [batch * f * c * k * k * side * side for f, c, k, side in LENET_CONVOLUTIONS]
        layers += [batch * m * n for m, n in LENET_DENSE]
    elif kind == "resnet":
        convs, _ = resnet_convolutions()
        halved = ("r3", "r4")
        layers = [
            batch * f * c * k * k * (16 if name.startswith(halved) else 32) ** 2 for name, f, c, k, _ in convs
        ]
        layers.append(batch * 1280)
    elif kind == "lstm":
        layers = [batch * s["seq"] * s["inp"] * 4 * s["hid"], batch * s["seq"] * s["hid"] * 4 * s["hid"]]
    else:
        tokens, d = batch * s["ctx"], s["d"]
        # Half of the scores are masked, and need not be computed.
        layers = [0.0] + [tokens * (12 * d * d + s["ctx"] * d)] * s["layers"] + [tokens * d * s["vocab"]]
    if s.get("infer"):
        return 2.0 * sum(layers)
    if kind == "pinn":
        # The values and three tangents go forward, and all four come back.
        return 4 * 2.0 * (3 * sum(layers) - layers[0])
    return 2.0 * (3 * sum(layers) - layers[0])
