"""NumPy: operations into kept memory, and the steps of perceptrons with their gradients written by hand."""

from __future__ import annotations

import numpy as np
import workloads
from operations import ELEMENTWISE, PRODUCTS


def versions() -> dict[str, str]:
    return {"numpy": np.__version__}


def operation(op: str, arrays):
    if op in PRODUCTS:
        a, b = arrays
        a, b = (a.T if op == "mm_AtB" else a), (b.T if op == "mm_ABt" else b)
        out = np.empty((*a.shape[:-1], b.shape[-1]), a.dtype)
        return lambda: np.matmul(a, b, out=out)
    x = arrays[0]
    out, other = np.empty_like(x), np.empty_like(x)
    if op == "ewchain_1e7":

        def chain():
            np.multiply(x, np.float32(1.1), out=out)
            np.add(out, np.float32(0.3), out=out)
            np.tanh(out, out=out)
            np.negative(x, out=other)
            np.exp(other, out=other)
            np.add(other, np.float32(1), out=other)
            return np.divide(out, other, out=out)

        return chain
    if op in ELEMENTWISE:
        function = getattr(np, op.removesuffix("_1e7"))
        return lambda: function(x, out=out)
    line = np.empty(len(x), x.dtype)
    return {
        "sum0_4096": lambda: np.sum(x, axis=0, out=line),
        "sum1_4096": lambda: np.sum(x, axis=1, out=line),
        "transpose_4096": lambda: np.copyto(out, x.T),
    }.get(op)


class Perceptron:
    """Dense layers, their loss, gradients, and Adam in place."""

    def __init__(self, s, p) -> None:
        self.s = s
        self.depth = len(s["sizes"]) - 1
        self.weights = [p[f"W{i}"] for i in range(self.depth)]
        self.biases = [p[f"b{i}"] for i in range(self.depth)]
        self.moments = [(np.zeros_like(a), np.zeros_like(a)) for a in self.weights + self.biases]
        self.count = 0

    def forward(self, x):
        """The inputs of every layer, and the result last."""
        values = [x]
        for i in range(self.depth):
            z = values[-1] @ self.weights[i]
            z += self.biases[i]
            if i + 1 < self.depth:
                np.tanh(z, out=z) if self.s["act"] == "tanh" else np.maximum(z, 0, out=z)
            values.append(z)
        return values

    def objective(self, z, y):
        """The loss and its gradient by the scores."""
        if self.s["loss"] == "mse":
            difference = z - y
            return np.mean(difference**2), difference * np.float32(2 / z.size)
        rows = np.arange(len(y))
        shares = np.exp(z - z.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        loss = -np.mean(np.log(shares[rows, y]))
        shares[rows, y] -= 1
        return loss, shares / np.float32(len(y))

    def step(self, x, y):
        values = self.forward(x)
        loss, dy = self.objective(values[-1], y)
        weights, biases = [], []
        for i in reversed(range(self.depth)):
            weights.insert(0, values[i].T @ dy)
            biases.insert(0, dy.sum(0))
            if i:
                dy = dy @ self.weights[i].T
                dy *= (1 - values[i] ** 2) if self.s["act"] == "tanh" else values[i] > 0
        self.adam(weights + biases)
        return loss

    def adam(self, gradients):
        self.count += 1
        rate = self.s["lr"] / (1 - 0.9**self.count)
        scale = (1 - 0.999**self.count) ** -0.5
        for value, g, (first, second) in zip(
            self.weights + self.biases, gradients, self.moments, strict=True
        ):
            first *= 0.9
            first += 0.1 * g
            second *= 0.999
            second += 0.001 * (g * g)
            value -= rate * first / (np.sqrt(second) * scale + 1e-8)


def build(name: str, mode: str):
    kind = workloads.spec(name)["kind"]
    if kind == "op":
        op = workloads.spec(name)["op"]
        if op == "add":
            return "a + b", {"a": np.ones(4, "f4"), "b": np.ones(4, "f4")}
        known = op in PRODUCTS or op in ELEMENTWISE or op in ("sum0_4096", "sum1_4096", "transpose_4096")
        return operation(op, workloads.op_inputs(op)) if known else None
    if kind != "mlp":
        return None
    s, p, x, y = workloads.init(name)
    net = Perceptron(s, p)
    return (lambda: net.forward(x)[-1]) if s.get("infer") else (lambda: net.step(x, y))
