"""The operations that a device is held to: each a function of tensors, and how to draw its inputs.

A case is compared with the CPU's answer in float64, forward and, where it is differentiable, backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import luxon as lx
from luxon import functional, losses

Draw = Callable[[np.random.Generator], list[np.ndarray[Any, Any]]]


@dataclass(frozen=True)
class Case:
    """An operation: its name, the function, its inputs, and whether its gradients are compared as well."""

    name: str
    function: Callable[..., Any]
    draw: Draw
    differentiable: bool = True


def normal(*shapes: tuple[int, ...], low: float | None = None, high: float = 1.0) -> Draw:
    """Standard normal numbers, or uniform ones from `low` to `high`; one array a shape."""

    def draw(rng: np.random.Generator) -> list[np.ndarray[Any, Any]]:
        if low is None:
            return [rng.standard_normal(shape) for shape in shapes]
        return [rng.uniform(low, high, shape) for shape in shapes]

    return draw


def apart(*shape: int) -> Draw:
    """Numbers of which no two are close, so that order is the same in every precision."""

    def draw(rng: np.random.Generator) -> list[np.ndarray[Any, Any]]:
        count = int(np.prod(shape))
        return [(rng.permutation(count).reshape(shape) - count / 2) * 0.37]

    return draw


def integers(low: int, high: int, *shape: int, before: Draw | None = None) -> Draw:
    """Whole numbers, after the arrays of another draw."""

    def draw(rng: np.random.Generator) -> list[np.ndarray[Any, Any]]:
        return [*(before(rng) if before else []), rng.integers(low, high, shape)]

    return draw


S = (37, 65)  # not a multiple of a warp, a block, or a vector
WIDE = normal(S)

# Domains of functions of one argument: everywhere, positive, between -1 and 1, above 1; kinks are met by chance 0.
EVERYWHERE = (
    "abs asinh atan cos cosh exp exp2 expm1 negative positive sin sinh square tan tanh relu relu6 leaky_relu elu "
    "celu selu gelu silu swish hard_swish mish sigmoid hard_sigmoid log_sigmoid hard_tanh tanh_shrink soft_shrink "
    "hard_shrink softplus softsign log_cosh lisht threshold_relu identity"
)
POSITIVE = "log log2 log10 log1p sqrt rsqrt reciprocal"
INSIDE = "acos asin atanh"
STEPS = "ceil floor trunc round sign signbit isfinite isinf isnan logical_not"
SPECIAL = "digamma entr erf erfc erfinv gammaln i0e log_ndtr logit ndtr sinc"
BINARY = "add subtract multiply maximum minimum logaddexp hypot atan2 copysign"
COMPARISONS = "equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor"


def elementwise() -> Iterator[Case]:
    for name in EVERYWHERE.split():
        yield Case(name, getattr(lx, name), WIDE)
    for name in POSITIVE.split():
        yield Case(name, getattr(lx, name), normal(S, low=0.1, high=9.0))
    for name in INSIDE.split():
        yield Case(name, getattr(lx, name), normal(S, low=-0.95, high=0.95))
    yield Case("acosh", lx.acosh, normal(S, low=1.1, high=9.0))
    for name in STEPS.split():
        yield Case(name, getattr(lx, name), WIDE, differentiable=False)
    for name in SPECIAL.split():
        if hasattr(lx.special, name):
            yield Case(name, getattr(lx.special, name), normal(S, low=0.05, high=0.95))
    for name in BINARY.split():
        yield Case(name, getattr(lx, name), normal(S, (65,)))
    for name in COMPARISONS.split():
        yield Case(name, getattr(lx, name), apart_pair, differentiable=False)
    yield Case("divide", lx.divide, normal(S, S, low=0.5, high=2.0))
    yield Case("pow", lx.pow, normal(S, S, low=0.5, high=2.0))
    yield Case("fmod", lx.fmod, normal(S, S, low=0.5, high=2.0), differentiable=False)
    yield Case("gelu tanh", lambda x: lx.gelu(x, approximate="tanh"), WIDE)
    yield Case("clip", lambda x: lx.clip(x, -0.5, 0.7), WIDE)
    yield Case("where", lambda x, y: lx.where(x > 0.0, x, y), normal(S, (37, 1)))
    yield Case("scalars", lambda x: 2.0 * x**2 - 1.0 / (3.0 + x * x), WIDE)
    yield Case("glu", lambda x: lx.glu(x, axis=0), normal((6, 7)))


def apart_pair(rng: np.random.Generator) -> list[np.ndarray[Any, Any]]:
    return [rng.integers(-3, 4, S).astype("f8"), rng.integers(-3, 4, (65,)).astype("f8")]


def movement() -> Iterator[Case]:
    x, cube = WIDE, normal((4, 5, 6))
    yield Case("transpose", lambda x: lx.permute_dims(x, (2, 0, 1)) * 1.0, cube)
    yield Case("reshape", lambda x: lx.reshape(lx.permute_dims(x, (1, 0, 2)), (10, 12)), cube)
    yield Case("broadcast_to", lambda x: lx.broadcast_to(x, (3, *S)) * 1.0, x)
    yield Case("flip", lambda x: lx.flip(x, axis=1), x)
    yield Case("roll", lambda x: lx.roll(x, 3, axis=0), x)
    yield Case("pad", lambda x: lx.pad(x, ((1, 2), (0, 3))), x)
    yield Case("concat", lambda x, y: lx.concat([x, y], axis=0), normal(S, (5, 65)))
    yield Case("stack", lambda x, y: lx.stack([x, y], axis=1), normal(S, S))
    yield Case("repeat", lambda x: lx.repeat(x, 3, axis=1), x)
    yield Case("tile", lambda x: lx.tile(x, (2, 1)), x)
    yield Case("diff", lambda x: lx.diff(x, axis=0), x)
    yield Case("tril", lx.tril, x)
    yield Case("triu", lambda x: lx.triu(x, k=2), x)
    yield Case("diagonal", lx.diagonal, x)
    yield Case("slice", lambda x: x[3:30:2, ::-1], x)
    yield Case("take", lambda x, i: lx.take(x, i, axis=0), integers(0, 37, 9, before=x))
    yield Case("index", lambda x, i: x[i, 3], integers(0, 37, 9, before=x))
    yield Case(
        "take_along_axis", lambda x, i: lx.take_along_axis(x, i, axis=1), integers(0, 65, 37, 4, before=x)
    )
    yield Case("embedding", functional.embedding, integers(0, 37, 5, 6, before=x))
    yield Case("cast", lambda x: lx.astype(lx.astype(x, "float32"), x.dtype), x)
    yield Case("one_hot", lambda i: lx.one_hot(i, 11), integers(0, 11, 30), differentiable=False)


def reductions() -> Iterator[Case]:
    for name in ("sum", "mean", "max", "min", "std", "var"):
        function = getattr(lx, name)
        # Of all elements, positive and negative ones would cancel, and an error seem large beside what is left.
        yield Case(name, function, normal(S, low=-0.2, high=1.0) if name in ("sum", "mean") else apart(*S))
        for axis in (0, 1):
            yield Case(f"{name} axis {axis}", lambda x, f=function, a=axis: f(x, axis=a), apart(*S))
    for over in (None, 0, 1):
        yield Case(f"logsumexp axis {over}", lambda x, a=over: lx.logsumexp(x, axis=a), WIDE)
    yield Case("sum of a large matrix", lambda x: lx.sum(x, axis=0), normal((3000, 70)))
    yield Case("sum of a long row", lambda x: lx.sum(x, axis=1), normal((3, 70001)))
    yield Case("prod", lambda x: lx.prod(x, axis=1), normal((9, 12), low=0.5, high=1.5))
    for function in (lx.argmax, lx.argmin):
        yield Case(function.__name__, lambda x, f=function: f(x, axis=1), apart(*S), differentiable=False)
    yield Case("any", lambda x: lx.any(x > 5.0, axis=1), apart(*S), differentiable=False)
    yield Case("all", lambda x: lx.all(x > -400.0, axis=0), apart(*S), differentiable=False)
    yield Case("cumulative_sum", lambda x: lx.cumulative_sum(x, axis=1), WIDE)
    yield Case("cumulative_prod", lambda x: lx.cumulative_prod(x, axis=1), normal((9, 12), low=0.5, high=1.5))
    yield Case("sort", lambda x: lx.sort(x, axis=1), apart(*S))
    yield Case("argsort", lambda x: lx.argsort(x, axis=0), apart(*S), differentiable=False)
    yield Case("top_k", lambda x: lx.top_k(x, 4)[0], apart(*S))
    yield Case("median", lambda x: lx.median(x, axis=1), apart(*S))


def products() -> Iterator[Case]:
    yield Case("matmul", lx.matmul, normal((33, 70), (70, 65)))
    yield Case("matmul transposed", lambda a, b: a.T @ b.T, normal((70, 33), (65, 70)))
    yield Case("matmul batched", lx.matmul, normal((5, 33, 17), (5, 17, 21)))
    yield Case("matmul broadcast", lx.matmul, normal((5, 33, 17), (17, 21)))
    yield Case("matmul vector", lx.matmul, normal((33, 17), (17,)))
    yield Case("einsum", lambda a, b: lx.einsum("bij,bkj->bik", a, b), normal((3, 5, 7), (3, 6, 7)))
    yield Case("tensordot", lambda a, b: lx.tensordot(a, b, axes=2), normal((4, 5, 6), (5, 6, 3)))
    yield Case("outer", lx.outer, normal((33,), (21,)))
    yield Case("linear", functional.linear, normal((9, 33), (21, 33), (21,)))


def networks() -> Iterator[Case]:
    image = normal((2, 4, 9, 8), (6, 4, 3, 3))
    yield Case("conv", lambda x, w: functional.conv(x, w, padding=1), image)
    yield Case("conv strided", lambda x, w: functional.conv(x, w, stride=2, padding=1), image)
    yield Case(
        "conv grouped",
        lambda x, w: functional.conv(x, w, dilation=2, padding=2, groups=2),
        normal((2, 4, 9, 8), (6, 2, 3, 3)),
    )
    yield Case("conv 1-D", functional.conv, normal((2, 3, 20), (5, 3, 4)))
    yield Case(
        "conv_transpose",
        lambda x, w: functional.conv_transpose(x, w, stride=2),
        normal((2, 6, 5, 4), (6, 4, 3, 3)),
    )
    planes = apart(2, 3, 9, 8)
    yield Case("max_pool", lambda x: functional.max_pool(x, 2), planes)
    yield Case("mean_pool", lambda x: functional.mean_pool(x, 3, stride=2, padding=1), planes)
    yield Case("adaptive_mean_pool", lambda x: functional.adaptive_mean_pool(x, (4, 3)), planes)
    yield Case("adaptive_max_pool", lambda x: functional.adaptive_max_pool(x, (4, 3)), planes)
    yield Case("upsample", lambda x: functional.upsample(x, 2), planes)
    yield Case("pixel_shuffle", lambda x: functional.pixel_shuffle(x, 2), normal((2, 8, 3, 4)))
    yield Case("softmax", lx.softmax, WIDE)
    yield Case("softmax axis 0", lambda x: lx.softmax(x, axis=0), WIDE)
    yield Case("log_softmax", lx.log_softmax, normal((9, 1500)))
    yield Case("layer_norm", functional.layer_norm, normal(S, (65,), (65,)))
    yield Case("rms_norm", functional.rms_norm, normal((9, 1500), (1500,)))
    norm = normal((5, 4, 6, 7), (4,), (4,))
    yield Case("batch_norm", functional.batch_norm, norm)
    yield Case("group_norm", lambda x, w, b: functional.group_norm(x, 2, w, b), norm)
    yield Case("instance_norm", functional.instance_norm, norm)
    heads = normal((2, 3, 10, 8), (2, 3, 10, 8), (2, 3, 10, 8))
    attend = functional.scaled_dot_product_attention
    yield Case("attention", attend, heads)
    yield Case("attention causal", lambda q, k, v: attend(q, k, v, causal=True), heads)


def objectives() -> Iterator[Case]:
    pair, shares = normal(S, S), normal(S, S, low=0.1, high=0.9)
    for name in ("mse", "mae", "huber", "smooth_l1", "log_cosh"):
        yield Case(name, getattr(losses, name), pair)
    for name in ("msle", "focal", "binary_focal", "kl_divergence", "poisson_nll", "dice"):
        yield Case(name, getattr(losses, name), shares)
    yield Case("cross_entropy", losses.cross_entropy, integers(0, 65, 37, before=WIDE))
    yield Case(
        "cross_entropy smoothed",
        lambda x, y: losses.cross_entropy(x, y, label_smoothing=0.1),
        integers(0, 65, 37, before=WIDE),
    )
    yield Case("binary_cross_entropy", lambda x, y: losses.binary_cross_entropy(x, lx.sigmoid(y)), pair)
    yield Case("triplet_margin", losses.triplet_margin, normal(S, S, S))
    yield Case("gaussian_nll", losses.gaussian_nll, normal(S, S, S, low=0.2, high=1.0))


FAMILIES: dict[str, Callable[[], Iterator[Case]]] = {
    "elementwise": elementwise,
    "movement": movement,
    "reductions": reductions,
    "products": products,
    "networks": networks,
    "objectives": objectives,
}
