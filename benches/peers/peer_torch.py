"""PyTorch: modes `eager`, as people write it; `tuned`, its best settings (fused optimisers, channels last, forward
mode where second derivatives are asked); `compile`, the tuned step through `torch.compile`.
"""

from __future__ import annotations

import operations_torch
import torch
import workloads
from torch import nn
from torch.nn import functional

torch.set_num_threads(2)


def versions() -> dict[str, str]:
    return {"torch": torch.__version__}


def filled(layer: nn.Module, weight, bias=None) -> nn.Module:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(bias.copy()))
    return layer


def dense(weight, bias=None) -> nn.Module:
    return filled(nn.Linear(*weight.shape, bias=bias is not None), weight.T, bias)


def conv(weight, bias=None, **settings) -> nn.Module:
    filters, channels, kernel, _ = weight.shape
    return filled(nn.Conv2d(channels, filters, kernel, bias=bias is not None, **settings), weight, bias)


def mlp(s, p) -> nn.Module:
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[s["act"]]
    count = sum(name.startswith("W") for name in p)
    layers = []
    for i in range(count):
        layers += [dense(p[f"W{i}"], p[f"b{i}"]), activation()]
    return nn.Sequential(*layers[:-1])


def lenet(s, p) -> nn.Module:
    layers: list[nn.Module] = []
    for i in (1, 2):
        layers += [conv(p[f"c{i}"], p[f"c{i}b"]), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), *mlp({"act": "relu"}, p))


class ResNet(nn.Module):
    def __init__(self, s, p) -> None:
        super().__init__()
        self.blocks = s["blocks"]
        self.normed = nn.ModuleDict(
            {
                name: nn.Sequential(
                    conv(p[name], stride=stride, padding=kernel // 2), nn.BatchNorm2d(filters)
                )
                for name, filters, _, kernel, stride in s["convs"]
            }
        )
        self.head = dense(p["W"], p["b"])

    def forward(self, x):
        x = functional.relu(self.normed["stem"](x))
        for first, second, *projection in self.blocks:
            y = self.normed[second](functional.relu(self.normed[first](x)))
            x = functional.relu(y + (self.normed[projection[0]](x) if projection else x))
        return self.head(x.mean((2, 3)))


class LSTM(nn.Module):
    def __init__(self, s, p) -> None:
        super().__init__()
        self.rnn = nn.LSTM(s["inp"], s["hid"], batch_first=True)
        values = {"weight_ih_l0": p["Wx"].T, "weight_hh_l0": p["Wh"].T, "bias_ih_l0": p["bh"]}
        with torch.no_grad():
            for name, value in values.items():
                getattr(self.rnn, name).copy_(torch.from_numpy(value.copy()))
            self.rnn.bias_hh_l0.zero_()
        self.head = dense(p["W"], p["b"])

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Block(nn.Module):
    def __init__(self, s, p, layer: int) -> None:
        super().__init__()
        self.heads = s["heads"]
        self.before, self.between = nn.LayerNorm(s["d"]), nn.LayerNorm(s["d"])
        for name in ("qkv", "out", "fc", "proj"):
            setattr(self, name, dense(p[f"{layer}{name}"], p[f"{layer}{name}_b"]))

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.before(x)).chunk(3, -1)
        )
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.proj(functional.gelu(self.fc(self.between(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, s, p) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.from_numpy(p["wte"].copy()))
        self.positions = nn.Parameter(torch.from_numpy(p["wpe"].copy()))
        self.blocks = nn.Sequential(*(Block(s, p, layer) for layer in range(s["layers"])))
        self.norm, self.head = nn.LayerNorm(s["d"]), dense(p["head"])

    def forward(self, x):
        x = self.blocks(functional.embedding(x, self.tokens) + self.positions)
        return self.head(self.norm(x)).flatten(0, 1)


def residual_by_reverse(net, x):
    """The usual way: gradients of sums, each kept differentiable."""
    x = x.clone().requires_grad_()
    u = net(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    u_x, u_t = du[:, :1], du[:, 1:]
    u_xx = torch.autograd.grad(u_x.sum(), x, create_graph=True)[0][:, :1]
    return ((u_t + u * u_x - 0.01 * u_xx) ** 2).mean()


def residual_by_forward(net, x):
    jvp = torch.func.jvp
    along = [torch.zeros_like(x) for _ in range(2)]
    for axis in (0, 1):
        along[axis][:, axis] = 1
    (u, u_x), (_, u_xx) = jvp(lambda a: jvp(net, (a,), (along[0],)), (x,), (along[0],))
    _, u_t = jvp(net, (x,), (along[1],))
    return ((u_t + u * u_x - 0.01 * u_xx) ** 2).mean()


MODELS = {"mlp": mlp, "pinn": mlp, "lenet": lenet, "resnet": ResNet, "lstm": LSTM, "gpt": GPT}


def optimizer(s, parameters, fused: bool):
    fused = fused or None
    if s["opt"] == "sgd":
        return torch.optim.SGD(parameters, s["lr"], momentum=0.9, fused=fused)
    if s["opt"] == "adamw":
        return torch.optim.AdamW(parameters, s["lr"], weight_decay=0.01, fused=fused)
    return torch.optim.Adam(parameters, s["lr"], fused=fused)


def build(name: str, mode: str):
    kind = workloads.spec(name)["kind"]
    if kind == "op":
        if mode != "eager":
            return None
        op = workloads.spec(name)["op"]
        if op in ("add", "add_tracked", "grad_10"):
            return operations_torch.overhead(op)
        return operations_torch.build(op, workloads.op_inputs(op))
    if mode == "compile":
        torch._dynamo.reset()
    compiled = torch.compile if mode == "compile" else lambda function: function
    s, p, x, y = workloads.init(name)
    torch.set_default_dtype(getattr(torch, s["dtype"]))
    net = MODELS[kind](s, p)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    if mode == "tuned" and kind in ("lenet", "resnet"):
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    if s.get("infer"):
        run = compiled(net.eval())

        def infer():
            with torch.inference_mode():
                return run(x)

        return infer
    if kind == "pinn":
        residual = compiled(residual_by_reverse if mode == "eager" else residual_by_forward)
        parameters = list(net.parameters())

        def differentiate():
            loss = residual(net, x)
            torch.autograd.grad(loss, parameters)
            return loss

        return differentiate
    mse = s.get("loss") == "mse"
    y = y if mse else y.long().flatten()
    rule = optimizer(s, net.parameters(), mode != "eager")
    objective = compiled(
        lambda x, y: functional.mse_loss(net(x), y) if mse else functional.cross_entropy(net(x), y)
    )

    def step():
        rule.zero_grad()
        loss = objective(x, y)
        loss.backward()
        rule.step()
        return loss

    return step
