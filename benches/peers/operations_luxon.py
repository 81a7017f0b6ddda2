"""Single operations on luxon, through its public functions."""

from __future__ import annotations

from operations import ELEMENTWISE, GROUPS, NORMALISATIONS, convolution

import luxon as lx
from luxon import functional

NORMS = {
    "layernorm_fb": functional.layer_norm,
    "rmsnorm_fb": functional.rms_norm,
    "batchnorm_fb": functional.batch_norm,
    "groupnorm_fb": lambda x, weight, bias: functional.group_norm(x, GROUPS, weight, bias),
    "instancenorm_fb": functional.instance_norm,
}


def build(op: str, arrays):
    """A function that carries the operation out once on these arrays; `None` for an operation of no known name."""
    if op == "embedding_fb":
        weight, indices, dy = (lx.asarray(array) for array in arrays)
        return both(lambda weight: functional.embedding(weight, indices), [weight], dy)
    tensors = [lx.asarray(array) for array in arrays]
    if op in NORMALISATIONS:
        return both(NORMS[op], tensors[:-1], tensors[-1])
    if op == "attention_fb":
        attend = functional.scaled_dot_product_attention
        return both(lambda q, k, v: attend(q, k, v, causal=True), tensors[:-1], tensors[-1])
    if op.startswith("conv"):
        return convolved(op, *tensors)
    x, y = tensors[0], tensors[-1]
    if op == "ewchain_1e7":
        return lambda: lx.tanh(x * 1.1 + 0.3) * lx.sigmoid(x)
    if op in ELEMENTWISE:
        function = getattr(lx, op.removesuffix("_1e7"))
        return lambda: function(x)
    return {
        "mm_AtB": lambda: x.T @ y,
        "mm_ABt": lambda: x @ y.T,
        "softmax_4096": lambda: lx.softmax(x, axis=-1),
        "sum0_4096": lambda: lx.sum(x, axis=0),
        "sum1_4096": lambda: lx.sum(x, axis=1),
        "transpose_4096": lambda: lx.asarray(x.T, copy=True),
    }.get(op, lambda: x @ y)


def both(function, primals, dy):
    """The function and its gradients."""

    def run():
        y, pullback = lx.vjp(function, *primals)
        return y, *pullback(dy)

    return run


def convolved(op: str, x, weight, dy):
    wanted, padding, groups = (
        ("bwd", 1, 1) if op == "conv_bwd" else ("y", 1, 1) if op == "conv_fwd" else convolution(op)
    )

    def conv(x, weight):
        return functional.conv(x, weight, padding=padding, groups=groups)

    if wanted == "y":
        return lambda: conv(x, weight)
    if wanted == "dx":
        return lambda: functional.conv_transpose(dy, weight, padding=padding, groups=groups)
    # Recorded once and pulled back every time, as the other libraries keep their graph.
    pullback = (
        lx.vjp(conv, x, weight)[1] if wanted == "bwd" else lx.vjp(lambda weight: conv(x, weight), weight)[1]
    )
    return lambda: pullback(dy)


def overhead(case: str):
    """What a small operation costs: a statement with its names, or a function."""
    a, b = lx.ones(4), lx.ones(4)
    if case == "add":
        return "a + b", {"a": a, "b": b}
    if case == "add_tracked":

        def hundred(x):
            for _ in range(100):
                y = x + b
            return lx.sum(y)

        run = lx.value_and_grad(hundred)
    else:

        def ten(x):
            for _ in range(9):
                x = x + b
            return lx.sum(x)

        run = lx.grad(ten)
    return lambda: run(a)
