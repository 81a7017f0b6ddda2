"""PyTorch, eager, with results written into kept memory where it can be."""

from __future__ import annotations

import torch

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

torch.set_num_threads(2)
VERSION = torch.__version__


def build(case: str):
    if case == "add 4":
        a, b = torch.ones(4), torch.ones(4)
        return "a + b", {"a": a, "b": b}
    if case.startswith(("add", "grad")):
        b, count = torch.ones(4), 100 if case.startswith("add") else 9

        def run():
            x = torch.ones(4, requires_grad=True)
            y = x
            for _ in range(count):
                y = (x if count == 100 else y) + b
            return torch.autograd.grad(y.sum(), x)

        return run
    with torch.no_grad():
        if case.startswith(("lstm", "transformer", "attention")):
            return _sequence_model(case)
        return _arrays(case) if not case.startswith("step") and " fb " not in case else _differentiated(case)


def _arrays(case: str):
    if case.startswith("conv"):
        wanted, *arrays, padding, groups = convolution(case)
        x, weight, dy = (torch.from_numpy(array) for array in arrays)
        if wanted == "y":
            return lambda: torch.nn.functional.conv2d(x, weight, padding=padding, groups=groups)
        mask = [wanted == "dx", wanted == "dw", False]
        backward = torch.ops.aten.convolution_backward
        return lambda: backward(
            dy, x, weight, None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], groups, mask
        )
    if case.startswith("matmul"):
        a, b = (torch.from_numpy(array) for array in matrices(case))
        a = a.T if "AtB" in case else a
        b = b.T if "ABt" in case else b
        out = torch.empty((a.shape[0], b.shape[1]), dtype=a.dtype)
        return lambda: torch.matmul(a, b, out=out)
    if case.endswith("1e7"):
        x = torch.from_numpy(generator().uniform(0.1, 3.0, 10**7).astype("f4"))
        out, other = torch.empty_like(x), torch.empty_like(x)
        name = case.split()[0]
        if name == "chain":
            return lambda: torch.mul(
                torch.mul(x, 1.1, out=out).add_(0.3).tanh_(), torch.sigmoid(x, out=other), out=out
            )
        function = getattr(torch, name)
        return lambda: function(x, out=out)
    x = torch.from_numpy(generator().standard_normal((4096, 4096)).astype("f4"))
    out, line = torch.empty_like(x), torch.empty(4096)
    return {
        "softmax": lambda: torch.softmax(x, -1, out=out),
        "sum axis 0": lambda: torch.sum(x, 0, out=line),
        "sum axis 1": lambda: torch.sum(x, 1, out=line),
        "transpose copy": lambda: out.copy_(x.T),
    }[case.rsplit(" ", 1)[0]]


def _differentiated(case: str):
    if " fb " in case:
        return _forward_backward(case)
    sizes, parameters, x, y, activation, loss = network(case)
    layers: list[torch.nn.Module] = []
    for index, (inputs, outputs) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layer = torch.nn.Linear(inputs, outputs)
        layer.weight.copy_(torch.from_numpy(parameters[2 * index].T.copy()))
        layer.bias.copy_(torch.from_numpy(parameters[2 * index + 1]))
        layers.append(layer)
        if index < len(sizes) - 2:
            layers.append(torch.nn.Tanh() if activation == "tanh" else torch.nn.ReLU())
    model = torch.nn.Sequential(*layers)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    value = torch.nn.functional.mse_loss if loss == "mse" else torch.nn.functional.cross_entropy
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def step():
        with torch.enable_grad():
            optimizer.zero_grad()
            result = value(model(x), y)
            result.backward()
        optimizer.step()
        return result

    return step


def _forward_backward(case: str):
    functional = torch.nn.functional
    if case.startswith("embedding"):
        weight, indices, dy = (torch.from_numpy(array) for array in table(case))
        function, primals = (lambda weight: functional.embedding(indices, weight)), [weight]
    else:
        kind, arrays = normalisation(case)
        *primals, dy = (torch.from_numpy(array) for array in arrays)
        function = {
            "layernorm": lambda x, weight, bias: functional.layer_norm(x, weight.shape, weight, bias),
            "rmsnorm": lambda x, weight: functional.rms_norm(x, weight.shape, weight, 1e-5),
            "batchnorm": lambda x, weight, bias: functional.batch_norm(x, None, None, weight, bias, True),
            "groupnorm": lambda x, weight, bias: functional.group_norm(x, GROUPS, weight, bias),
            "instancenorm": lambda x, weight, bias: functional.instance_norm(x, weight=weight, bias=bias),
        }[kind]
    for tensor in primals:
        tensor.requires_grad_(True)

    def run():
        with torch.enable_grad():
            y = function(*primals)
        return torch.autograd.grad(y, primals, dy)

    return run


class _LSTM(torch.nn.Module):
    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.lstm, self.head = torch.nn.LSTM(features, hidden, batch_first=True), torch.nn.Linear(hidden, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class _Attention(torch.nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        for name in ("q", "k", "v", "out"):
            setattr(self, name, torch.nn.Linear(dim, dim, bias=False))

    def forward(self, x):
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).flatten(2))


class _Block(torch.nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention, self.before = _Attention(dim, heads), torch.nn.LayerNorm(dim)
        self.up, self.down = torch.nn.Linear(dim, 4 * dim), torch.nn.Linear(4 * dim, dim)
        self.between = torch.nn.LayerNorm(dim)

    def forward(self, x):
        x = x + self.attention(self.before(x))
        return x + self.down(torch.nn.functional.gelu(self.up(self.between(x))))


class _Transformer(torch.nn.Module):
    def __init__(self, task: Transformer) -> None:
        super().__init__()
        weights = {name: torch.from_numpy(array) for name, array in task.weights().items()}
        self.tokens = torch.nn.Parameter(weights["tokens"])
        self.positions = torch.nn.Parameter(weights["positions"])
        self.blocks = torch.nn.Sequential(*(_Block(task.dim, task.heads) for _ in range(task.layers)))
        self.norm, self.head = torch.nn.LayerNorm(task.dim), torch.nn.Parameter(weights["head"])
        for layer, block in enumerate(self.blocks):
            for name in ("q", "k", "v", "out"):
                getattr(block.attention, name).weight.copy_(weights[f"{layer}.{name}"])
            block.up.weight.copy_(weights[f"{layer}.up"])
            block.down.weight.copy_(weights[f"{layer}.down"])
            block.up.bias.zero_()
            block.down.bias.zero_()

    def forward(self, x):
        y = self.blocks(torch.nn.functional.embedding(x, self.tokens) + self.positions)
        return (self.norm(y) @ self.head.T).flatten(0, 1)


def _sequence_model(case: str):
    functional = torch.nn.functional
    if case.startswith("attention"):
        q, k, v, dy = (torch.from_numpy(array) for array in attention(case))
        for tensor in (q, k, v):
            tensor.requires_grad_(True)

        def run():
            with torch.enable_grad():
                y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return torch.autograd.grad(y, (q, k, v), dy)

        return run
    if case.startswith("lstm"):
        features, hidden, x, y = sequences(case)
        model, value = _LSTM(features, hidden), functional.mse_loss
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        x, y = torch.from_numpy(x), torch.from_numpy(y)
    else:
        task = Transformer(case)
        model, value = _Transformer(task), functional.cross_entropy
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        x, y = torch.from_numpy(task.x), torch.from_numpy(task.y).flatten()

    def step():
        with torch.enable_grad():
            optimizer.zero_grad()
            result = value(model(x), y)
            result.backward()
        optimizer.step()
        return result

    return step
