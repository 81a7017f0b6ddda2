"""Single operations on PyTorch, with results written into kept memory where that can be."""

from __future__ import annotations

import torch
from operations import ELEMENTWISE, GROUPS, NORMALISATIONS, PRODUCTS, convolution
from torch.nn import functional

NORMS = {
    "layernorm_fb": lambda x, weight, bias: functional.layer_norm(x, weight.shape, weight, bias),
    "rmsnorm_fb": lambda x, weight: functional.rms_norm(x, weight.shape, weight, 1e-5),
    "batchnorm_fb": lambda x, weight, bias: functional.batch_norm(x, None, None, weight, bias, True),
    "groupnorm_fb": lambda x, weight, bias: functional.group_norm(x, GROUPS, weight, bias),
    "instancenorm_fb": lambda x, weight, bias: functional.instance_norm(x, weight=weight, bias=bias),
}


def build(op: str, arrays):
    tensors = [torch.from_numpy(array) for array in arrays]
    if op in NORMALISATIONS:
        return both(NORMS[op], tensors[:-1], tensors[-1])
    if op == "embedding_fb":
        weight, indices, dy = tensors
        return both(lambda weight: functional.embedding(indices, weight), [weight], dy)
    if op == "attention_fb":
        attend = functional.scaled_dot_product_attention
        return both(lambda q, k, v: attend(q, k, v, is_causal=True), tensors[:-1], tensors[-1])
    if op.startswith("conv"):
        return convolved(op, *tensors)
    if op in PRODUCTS:
        a, b = tensors
        a, b = (a.T if op == "mm_AtB" else a), (b.T if op == "mm_ABt" else b)
        out = torch.empty((*a.shape[:-1], b.shape[-1]), dtype=a.dtype)
        return lambda: torch.matmul(a, b, out=out)
    (x,) = tensors
    out, other = torch.empty_like(x), torch.empty_like(x)
    if op == "ewchain_1e7":
        return lambda: torch.mul(
            torch.mul(x, 1.1, out=out).add_(0.3).tanh_(), torch.sigmoid(x, out=other), out=out
        )
    if op in ELEMENTWISE:
        function = getattr(torch, op.removesuffix("_1e7"))
        return lambda: function(x, out=out)
    line = torch.empty(len(x))
    return {
        "softmax_4096": lambda: torch.softmax(x, -1, out=out),
        "sum0_4096": lambda: torch.sum(x, 0, out=line),
        "sum1_4096": lambda: torch.sum(x, 1, out=line),
        "transpose_4096": lambda: out.copy_(x.T),
    }[op]


def both(function, primals, dy):
    """The function and its gradients."""
    for tensor in primals:
        tensor.requires_grad_(True)

    def run():
        y = function(*primals)
        return y, *torch.autograd.grad(y, primals, dy)

    return run


def convolved(op: str, x, weight, dy):
    wanted, padding, groups = convolution(op)
    if wanted == "y":
        return lambda: functional.conv2d(x, weight, padding=padding, groups=groups)
    mask = [wanted == "dx", wanted == "dw", False]
    backward = torch.ops.aten.convolution_backward
    return lambda: backward(dy, x, weight, None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], groups, mask)


def overhead(case: str):
    b = torch.ones(4)
    if case == "add":
        return "a + b", {"a": torch.ones(4), "b": b}
    count = 100 if case == "add_tracked" else 9

    def run():
        x = torch.ones(4, requires_grad=True)
        y = x
        for _ in range(count):
            y = (x if count == 100 else y) + b
        return torch.autograd.grad(y.sum(), x)

    return run
