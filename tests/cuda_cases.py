"""What is run on a device and on the CPU to compare the two: calls by name, with their inputs.

The same cases serve three tests: they are recorded to collect the text of every kernel, which then is compiled
for CUDA architectures and for the emulator, and they are run emulated.
"""

# A case is a name and a function: a line each.
# ruff: noqa: E731

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import luxon as lx
from luxon import _cupy, losses, special
from luxon import functional as F


@dataclass(frozen=True)
class Case:
    """A function of tensors, and the tensors. `bound` is relative and absolute; 0 asks for equal bits."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[lx.Tensor, ...]
    bound: float


class Recorder(_cupy.EmulatedTable):
    """A device on which nothing runs: it keeps the texts of the kernels that would, with their names."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, set[str]] = {}

    def function(self, text: str, name: str) -> int:
        self.texts.setdefault(text, set()).add(name)
        return 1

    def launch(self, *_: int) -> None:
        pass

    def gemm(self, *_: Any) -> None:
        pass


BOUNDS = {"float32": 4e-6, "float64": 1e-12, "float16": 1.1e-3, "bfloat16": 8.5e-3}
FLOATS = tuple(BOUNDS)
INTEGERS = ("uint8", "int32", "int64")
EDGES = [
    np.nan,
    np.inf,
    -np.inf,
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.0,
    1e30,
    -1e30,
    1e-30,
    -1e-30,
    3.0,
    88.0,
    -104.0,
    7.0,
]


def tensor(values: Any, dtype: str) -> lx.Tensor:
    """Values as a tensor of a dtype, which NumPy need not know."""
    return lx.asarray(np.asarray(values)).astype(getattr(lx, dtype))


def numbers(
    shape: tuple[int, ...], seed: int, low: float = -2.0, high: float = 2.0, dtype: str = "float32"
) -> lx.Tensor:
    """Numbers in a range; integers are five times as large."""
    values = np.random.default_rng(seed).uniform(low, high, shape)
    if dtype == "bool":
        return lx.asarray(values > (low + high) / 2)
    if dtype in INTEGERS:
        values = np.rint(values * 5)
        return lx.asarray((np.abs(values) if dtype == "uint8" else values).astype(dtype))
    return tensor(values, dtype)


def line(seed: int, dtype: str, low: float = -4.0, high: float = 4.0) -> lx.Tensor:
    """An odd number of numbers with special ones among them."""
    values = np.random.default_rng(seed).uniform(low, high, 1031)
    if dtype in ("bool", *INTEGERS):
        return numbers((1031,), seed, low, high, dtype)
    values[5 : 5 + len(EDGES)] = np.random.default_rng(seed + 1).permutation(EDGES)
    return tensor(values, dtype)


def slope(function: Callable[..., lx.Tensor], *arguments: int) -> Callable[..., Any]:
    """The gradients of a weighted sum of the function."""

    def of(*inputs: lx.Tensor) -> Any:
        def total(*chosen: lx.Tensor) -> lx.Tensor:
            values = list(inputs)
            for argument, value in zip(arguments or range(len(inputs)), chosen, strict=True):
                values[argument] = value
            result = function(*values)
            return lx.sum(result * lx.sin(3.0 * lx.stop_gradient(result) + 1.0)) if result.ndim else result

        chosen = [inputs[argument] for argument in arguments or range(len(inputs))]
        return lx.grad(total, argnums=tuple(range(len(chosen))))(*chosen)

    return of


UNARY = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "isfinite",
    "isinf",
    "isnan",
    "log",
    "log10",
    "log1p",
    "log2",
    "negative",
    "reciprocal",
    "round",
    "rsqrt",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
    "relu",
    "relu6",
    "selu",
    "silu",
    "hard_swish",
    "mish",
    "sigmoid",
    "hard_sigmoid",
    "log_sigmoid",
    "tanh_shrink",
    "softsign",
    "log_cosh",
    "lisht",
    "leaky_relu",
    "elu",
    "celu",
    "hard_shrink",
    "soft_shrink",
    "threshold_relu",
    "hard_tanh",
    "softplus",
    "gelu",
]
SPECIAL = ["digamma", "entr", "erf", "erfc", "erfinv", "gammaln", "i0e", "i1e", "log_ndtr", "logit", "sinc"]
BINARY = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "floor_divide",
    "remainder",
    "fmod",
    "minimum",
    "maximum",
    "pow",
    "atan2",
    "hypot",
    "logaddexp",
    "copysign",
    "nextafter",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
]
WHOLE = [
    "add",
    "subtract",
    "multiply",
    "floor_divide",
    "remainder",
    "fmod",
    "minimum",
    "maximum",
    "pow",
    "equal",
    "less",
    "greater_equal",
]
BITS = ["bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"]
# Rows that only gradients reach.
SLOPES = ["tanh", "abs", "relu", "gelu", "silu", "sigmoid", "log_sigmoid", "selu", "mish"]


def elementwise() -> Iterator[Case]:
    """Every row of the table in float32 and in one other dtype, and every way of walking memory."""
    wide = {"gelu": 2e-5, "i0e": 2e-6, "log_ndtr": 1e-5}
    for number, name in enumerate([*UNARY, *SPECIAL]):
        function = getattr(lx, name, None) or getattr(special, name)
        for dtype in ("float32", ("float64", "bfloat16", "float16")[number % 3]):
            bound = max(BOUNDS[dtype], wide.get(name, 0.0) if dtype == "float32" else 0.0)
            yield Case(f"{name} {dtype}", function, (line(number, dtype),), bound)
    yield Case("gelu tanh", lambda x: lx.gelu(x, "tanh"), (line(3, "float32"),), 1e-5)
    for number, name in enumerate([*BINARY, "xlogy", "xlog1py"]):
        function = getattr(lx, name, None) or getattr(special, name)
        for dtype in ("float32", ("float64", "bfloat16", "float16")[number % 3]):
            exact = name in ("copysign", "nextafter", "minimum", "maximum")
            inputs = line(number, dtype), line(number + 100, dtype)
            yield Case(f"{name} {dtype}", function, inputs, 0.0 if exact else BOUNDS[dtype] * 5)
    for name in WHOLE:
        for dtype in INTEGERS:
            inputs = line(1, dtype), lx.abs(line(2, dtype)) if name == "pow" else line(2, dtype)
            yield Case(f"{name} {dtype}", getattr(lx, name), inputs, 0.0)
    for name in BITS:
        for dtype in ("bool", *INTEGERS):
            yield Case(f"{name} {dtype}", getattr(lx, name), (line(1, dtype), line(2, dtype)), 0.0)
    for dtype in ("bool", *INTEGERS):
        yield Case(f"invert {dtype}", lx.bitwise_invert, (line(1, dtype),), 0.0)
    for name in ("add", "multiply", "minimum", "maximum", "less", "not_equal"):
        yield Case(f"{name} bool", getattr(lx, name), (line(1, "bool"), line(2, "bool")), 0.0)
    yield Case("not", lx.logical_not, (line(1, "bool"),), 0.0)
    for name in ("abs", "sign", "negative", "square", "relu", "relu6", "round"):
        for dtype in ("int32", "int64"):
            yield Case(f"{name} {dtype}", getattr(lx, name), (line(4, dtype),), 0.0)
    for dtype in ("bool", "uint8", "int64", *FLOATS):
        inputs = numbers((1031,), 5, dtype="bool"), line(6, dtype), line(7, dtype)
        yield Case(f"where {dtype}", lx.where, inputs, 0.0)
        if dtype != "bool":
            yield Case(f"clip {dtype}", lambda x: lx.clip(x, 0, 1), (line(6, dtype),), 0.0)
    yield Case(
        "where of numbers",
        lambda c: lx.where(c, 2.0, lx.zeros(()).to_device(c.device)),
        (line(5, "bool"),),
        0.0,
    )
    for name in SLOPES:
        x = numbers((77,), 8, -3.0, 3.0)
        yield Case(f"slope of {name}", slope(getattr(lx, name)), (x,), 2e-5)
    for name in ("digamma", "log_ndtr", "i0e", "erf", "erfinv", "gammaln"):
        x = numbers((77,), 9, 0.1, 0.9)
        yield Case(f"slope of {name}", slope(getattr(special, name)), (x,), 1e-4)
        yield Case(f"slope of {name} float64", slope(getattr(special, name)), (x.astype(lx.float64),), 1e-10)
    for name in ("maximum", "minimum", "pow", "atan2", "hypot", "logaddexp"):
        inputs = numbers((77,), 10, 0.2, 3.0), numbers((77,), 11, 0.2, 3.0)
        yield Case(f"slopes of {name}", slope(getattr(lx, name)), inputs, 5e-5)
    # How memory is walked: broadcasts along every axis, gaps, reversed and permuted axes, numbers, offsets.
    x, row, column = numbers((7, 5, 12), 12), numbers((12,), 13), numbers((5, 1), 14)
    for dtype in ("float32", "float64", "bfloat16"):
        a, b, c = (
            x.astype(getattr(lx, dtype)),
            row.astype(getattr(lx, dtype)),
            column.astype(getattr(lx, dtype)),
        )
        yield Case(f"row {dtype}", lambda a, b: a * b, (a, b), 0.0)
        yield Case(f"column {dtype}", lambda a, b: a - b, (a, c), 0.0)
        yield Case(f"outer {dtype}", lambda a, b: a + b, (b, c), 0.0)
        yield Case(f"permuted {dtype}", lambda a, b: lx.permute_dims(a, (2, 0, 1)) * b[:5], (a, b), 0.0)
        yield Case(f"reversed {dtype}", lambda a: lx.flip(a, axis=(0, 2)) + a, (a,), 0.0)
        yield Case(f"offset {dtype}", lambda a: a[1:, 1:, 1:] * a[:-1, :-1, :-1], (a,), 0.0)
        yield Case(f"even offset {dtype}", lambda a: a[1:] * a[:-1], (a,), 0.0)
        yield Case(f"every other {dtype}", lambda b: lx.exp(b[::2]) * 2.0, (b,), BOUNDS[dtype])
        yield Case(f"numbers {dtype}", lambda a: 1.5 - a / 3.0, (a,), 0.0 if dtype != "float32" else 1e-7)
    eight = numbers((2, 3, 2, 1, 3, 2, 1, 2), 15)
    swapped = (7, 5, 3, 1, 0, 2, 4, 6)
    yield Case(
        "eight axes",
        lambda x, y: lx.permute_dims(x, swapped) * lx.permute_dims(y, swapped)[..., :1, :1],
        (eight, eight),
        0.0,
    )
    yield Case("mixed", lambda x, y: x + y, (numbers((40, 3), 16, dtype="int32"), numbers((3,), 17)), 0.0)
    yield Case("nothing", lambda x: x + 1.0, (numbers((0, 3), 1),), 0.0)
    zeros = lx.asarray(np.array([0.0, -0.0, 1.0, -2.0, np.nan], "float32"))
    for dtype in FLOATS:
        yield Case(f"sign of zeros {dtype}", lambda x: lx.signbit(lx.sign(x)), (zeros.astype(dtype),), 0.0)
    yield Case("one", lambda x: x * x, (numbers((), 1),), 0.0)


SHAPES = [
    ((5,), None),
    ((1031,), None),
    ((40, 33), 0),
    ((40, 33), 1),
    ((6, 7, 20), (0, 2)),
    ((6, 7, 20), 1),
    ((3, 1, 4), 1),
    ((2, 50000), 1),
    ((50000, 3), 0),
    ((2100, 3), 1),
]
REDUCTIONS = ["sum", "mean", "prod", "max", "min", "any", "all", "count_nonzero", "var", "argmax", "argmin"]


def reductions() -> Iterator[Case]:
    """Every kind and dtype, rows and columns, short and long, in one pass and in chunks."""
    for index, name in enumerate(REDUCTIONS):
        function = getattr(lx, name)
        for shape, axis in SHAPES:
            if (name.startswith("arg") and isinstance(axis, tuple)) or (name == "prod" and 50000 in shape):
                continue
            x = numbers(shape, index, -1.0, 3.0)
            yield Case(f"{name} {shape} {axis}", lambda x, f=function, axis=axis: f(x, axis=axis), (x,), 2e-5)
        for dtype in ("bool", *INTEGERS, "float64", "bfloat16", "float16"):
            if name in ("mean", "var") and dtype in ("bool", *INTEGERS):
                continue
            if name in ("argmax", "argmin") and dtype == "bool":
                continue
            x = numbers((9, 130), index, -0.6, 1.4, dtype)
            bound = 4 * BOUNDS.get(dtype, 0.0)
            yield Case(f"{name} {dtype}", lambda x, f=function: f(x, axis=1), (x,), bound)
            if dtype in ("int32", "bfloat16"):
                yield Case(f"{name} {dtype} columns", lambda x, f=function: f(x, axis=0), (x,), bound)
    special = np.random.default_rng(1).uniform(-1, 1, (6, 70)).astype("f")
    special[1, 60] = special[2, 3] = special[2, 50] = np.nan
    special[3, 8] = np.inf
    special[4, 9] = -np.inf
    special[5] = 2.0
    for name in ("max", "min", "argmax", "argmin", "sum", "any", "all"):
        for axis in (0, 1):
            f = getattr(lx, name)
            yield Case(
                f"{name} of special numbers {axis}",
                lambda x, f=f, axis=axis: f(x, axis=axis),
                (lx.asarray(special),),
                1e-5,
            )
    x = numbers((12, 40), 3)
    yield Case("permuted argmax", lambda x: lx.argmax(lx.permute_dims(x, (1, 0))), (x,), 0.0)
    yield Case("reversed sum", lambda x: lx.sum(lx.flip(x, axis=(0, 1)), axis=1), (x,), 1e-5)
    yield Case("sample variance", lambda x: lx.var(x, axis=0, correction=1), (x,), 1e-5)
    yield Case(
        "no elements",
        lambda x: (lx.sum(x, axis=0), lx.prod(x, axis=0), lx.mean(x, axis=0), lx.any(x, axis=0)),
        (numbers((0, 3), 1),),
        0.0,
    )


def rows() -> Iterator[Case]:
    """Softmax and its relatives with their gradients: warps, blocks, held and read again, along other axes."""
    functions = {"softmax": lx.softmax, "log_softmax": lx.log_softmax, "logsumexp": lx.logsumexp}
    for name, function in functions.items():
        for shape, axis in [
            ((5, 7), 1),
            ((9, 64), 1),
            ((3, 1000), 1),
            ((2, 5000), 1),
            ((2, 40001), 1),
            ((3, 5, 6), 1),
            ((300, 4), 0),
            ((4, 1), 1),
        ]:
            x = numbers(shape, 1, -5.0, 5.0)
            f = lambda x, f=function, axis=axis: f(x, axis=axis)
            yield Case(f"{name} {shape} {axis}", f, (x,), 5e-6)
            if shape[-1] in (7, 1000, 40001, 6, 5000):
                yield Case(f"slope of {name} {shape} {axis}", slope(f), (x,), 2e-5)
        f = lambda x, f=function: f(x, axis=1)
        yield Case(f"{name} float64", f, (numbers((3, 130), 2, dtype="float64"),), 1e-12)
        yield Case(f"slope of {name} float64", slope(f), (numbers((3, 130), 2, dtype="float64"),), 1e-12)
        for size in (6, 20000):
            values = np.random.default_rng(1).uniform(-1, 1, (7, size)).astype("f")
            values[1, 2], values[2, 2], values[3, 2] = np.nan, np.inf, -np.inf
            values[4], values[5], values[6, :4] = -np.inf, 1e30, -np.inf
            yield Case(f"{name} of special numbers {size}", f, (lx.asarray(values),), 5e-6)
            yield Case(
                f"{name} of special numbers across {size}",
                lambda x, f=function: f(x, axis=0),
                (lx.asarray(values.T.copy()),),
                5e-6,
            )


def norms() -> Iterator[Case]:
    """Every normalisation forwards and backwards."""
    for dtype, bound in (("float32", 5e-5), ("float64", 1e-11)):
        n = lambda shape, seed, dtype=dtype: numbers(shape, seed, -1.0, 2.0, dtype)
        for shape in (
            [(5, 7), (4, 64), (3, 1030), (2, 17000), (2, 17002)]
            if dtype == "float32"
            else [(5, 7), (3, 1030)]
        ):
            w, b = n(shape[1:], 2), n(shape[1:], 3)
            layer = lambda x, w, b: F.layer_norm(x, w, b)
            rms = lambda x, w: F.rms_norm(x, w)
            for name, f, inputs in (("layer", layer, (n(shape, 1), w, b)), ("rms", rms, (n(shape, 1), w))):
                yield Case(f"{name}_norm {shape} {dtype}", f, inputs, bound)
                yield Case(f"slopes of {name}_norm {shape} {dtype}", slope(f), inputs, 4 * bound)
        yield Case(f"layer_norm without weights {dtype}", lambda x: F.layer_norm(x), (n((6, 33), 1),), bound)
        for shape in [(6, 3), (300, 40), (2, 3, 5, 8), (4, 6, 50), (3, 40, 7), (2, 2, 3000)]:
            x, w, b = n(shape, 1), n(shape[1:2], 2), n(shape[1:2], 3)
            batch = lambda x, w, b: F.batch_norm(x, w, b)
            mean, variance = n(shape[1:2], 4), lx.abs(n(shape[1:2], 5)) + 0.5
            given = lambda x, m, v, w, b: F.batch_norm(x, w, b, m, v)
            yield Case(f"batch_norm {shape} {dtype}", batch, (x, w, b), bound)
            yield Case(f"slopes of batch_norm {shape} {dtype}", slope(batch), (x, w, b), 4 * bound)
            yield Case(f"given batch_norm {shape} {dtype}", given, (x, mean, variance, w, b), bound)
            yield Case(
                f"slopes of given batch_norm {shape} {dtype}",
                slope(given, 0, 3, 4),
                (x, mean, variance, w, b),
                4 * bound,
            )
            if shape[1] % 2 == 0 and len(shape) > 2:
                group = lambda x, w, b: F.group_norm(x, 2, w, b)
                yield Case(f"group_norm {shape} {dtype}", group, (x, w, b), bound)
                yield Case(f"slopes of group_norm {shape} {dtype}", slope(group), (x, w, b), 4 * bound)


def loss_cases() -> Iterator[Case]:
    """Cross entropy in all its forms, and what else has a kernel of its own."""
    classes = np.random.default_rng(3)
    for dtype, bound in (("float32", 5e-6), ("float64", 1e-12)):
        for shape in [(9, 7), (3, 4, 12), (5, 1000), (3, 20001)] if dtype == "float32" else [(9, 7)]:
            x = numbers(shape, 1, -4.0, 4.0, dtype)
            given = lx.asarray(classes.integers(0, shape[-1], shape[:-1]))
            spread = lx.softmax(numbers(shape, 2, dtype=dtype), axis=-1)
            weight = lx.abs(numbers(shape[-1:], 3, dtype=dtype))
            for name, target, options in (
                ("classes", given, {}),
                ("smoothed classes", given, {"label_smoothing": 0.1, "weight": weight}),
                (
                    "weighted classes",
                    given,
                    {"weight": weight, "ignore_index": int(np.asarray(given).ravel()[0])},
                ),
                ("distributions", spread, {"label_smoothing": 0.2}),
                ("weighted distributions", spread, {"weight": weight}),
            ):
                for reduction in ("none", "mean"):
                    tensors = [x, target, *([options["weight"]] if "weight" in options else [])]

                    def f(
                        x: lx.Tensor,
                        t: lx.Tensor,
                        *w: lx.Tensor,
                        options: Any = options,
                        reduction: str = reduction,
                    ) -> lx.Tensor:
                        chosen = {**options, **({"weight": w[0]} if w else {})}
                        return losses.cross_entropy(x, t, reduction=reduction, **chosen)

                    title = f"cross_entropy of {name} {shape} {dtype} {reduction}"
                    yield Case(title, f, tuple(tensors), bound * 4)
                    yield Case(f"slope of {title}", slope(f, 0), tuple(tensors), bound * 4)
        x, t = numbers((13, 37), 4, -5.0, 5.0, dtype), numbers((13, 37), 5, 0.0, 1.0, dtype)
        positive = lx.abs(numbers((37,), 6, dtype=dtype))
        for reduction in ("none", "mean"):
            f = lambda x, t, *p, r=reduction: losses.binary_cross_entropy(
                x, t, reduction=r, **({"pos_weight": p[0]} if p else {})
            )
            for inputs in ((x, t), (x, t, positive)):
                yield Case(f"binary_cross_entropy {len(inputs)} {dtype} {reduction}", f, inputs, bound)
                yield Case(
                    f"slope of binary_cross_entropy {len(inputs)} {dtype} {reduction}",
                    slope(f, 0),
                    inputs,
                    bound * 4,
                )
        for shape in [(3,), (70, 900)]:
            inputs = numbers(shape, 7, dtype=dtype), numbers(shape, 8, dtype=dtype)
            yield Case(f"mse {shape} {dtype}", losses.mse, inputs, bound * 10)
            yield Case(f"slopes of mse {shape} {dtype}", slope(losses.mse), inputs, bound * 10)
    x = numbers((2, 5), 1)
    yield Case(
        "no classes there",
        lambda x: lx.isnan(losses.cross_entropy(x, lx.astype(x[:, 0] * 0 + 2, lx.int64), reduction="none")),
        (x,),
        0.0,
    )


def random_cases() -> Iterator[Case]:
    """The same bits as on the CPU, and the same numbers as far as the mathematics agrees."""
    key, r = lx.random.key(7), lx.random
    here = lx.zeros((1,))
    for dtype in FLOATS:
        kind = getattr(lx, dtype)
        bound = {"float32": 3e-6, "float64": 1e-13}.get(dtype, BOUNDS[dtype])
        on = lambda draw, *a, kind=kind, **k: lambda x: draw(key, *a, dtype=kind, device=x.device, **k)
        yield Case(f"uniform {dtype}", on(r.uniform, (1031,)), (here,), 0.0)
        yield Case(f"uniform in a range {dtype}", on(r.uniform, (1031,), -0.3, 2.7), (here,), 0.0)
        yield Case(f"normal {dtype}", on(r.normal, (1031,)), (here,), bound)
        yield Case(f"exponential {dtype}", on(r.exponential, (1031,)), (here,), bound)
        yield Case(f"gumbel {dtype}", on(r.gumbel, (1031,)), (here,), bound)
        yield Case(
            f"truncated_normal {dtype}", on(r.truncated_normal, -1.0, 0.5, (1031,)), (here,), bound * 2
        )
        logits = numbers((50, 7), 3, dtype=dtype)
        yield Case(f"categorical {dtype}", lambda x: r.categorical(key, x), (logits,), 0.0)
        for p in (0.0, 0.4, 1.0):
            yield Case(f"dropout {p} {dtype}", lambda x, p=p: F.dropout(key, x, p), (line(1, dtype),), 0.0)
        yield Case(
            f"slope of dropout {dtype}",
            slope(lambda x: F.dropout(key, x, 0.3)),
            (numbers((40,), 1, dtype=dtype),),
            bound * 4,
        )
        yield Case(
            f"dropout along an axis {dtype}",
            lambda x: F.dropout(key, x, 0.5, (0,)),
            (numbers((33, 5), 1, dtype=dtype),),
            0.0,
        )
    for dtype in INTEGERS:
        kind = getattr(lx, dtype)
        yield Case(
            f"bits {dtype}",
            lambda x, kind=kind: r.bits(key, (1031,), dtype=kind, device=x.device),
            (here,),
            0.0,
        )
        yield Case(
            f"randint {dtype}",
            lambda x, kind=kind: r.randint(key, (1031,), 3, 90, dtype=kind, device=x.device),
            (here,),
            0.0,
        )
    yield Case(
        "randint of all",
        lambda x: r.randint(key, (99,), -(2**31), 2**31, dtype=lx.int32, device=x.device),
        (here,),
        0.0,
    )
    yield Case(
        "randint of most",
        lambda x: r.randint(key, (99,), -(2**62), 2**62 + 5, dtype=lx.int64, device=x.device),
        (here,),
        0.0,
    )
    yield Case("bernoulli", lambda x: r.bernoulli(key, 0.3, (1031,), device=x.device), (here,), 0.0)
    yield Case("permutation of rows", lambda x: r.permutation(key, x), (numbers((12, 3), 1),), 0.0)


def pools() -> Iterator[Case]:
    """Largest elements and means of windows of every kind, and the gradients."""
    for dtype, bound in (("float32", 2e-6), ("float64", 1e-13)):
        n = lambda shape, dtype=dtype: numbers(shape, 1, dtype=dtype)
        for name, shape, options in (
            ("line", (2, 3, 17), {"window": 3}),
            ("plane", (2, 3, 9, 11), {"window": (3, 2), "stride": 2, "padding": 1}),
            ("volume", (1, 2, 5, 6, 7), {"window": 2, "stride": (1, 2, 3)}),
            ("overlapping", (2, 2, 12, 12), {"window": 3, "stride": 1, "padding": "same"}),
            ("ceil", (2, 2, 10), {"window": 3, "stride": 2, "ceil_mode": True}),
            ("far apart", (2, 2, 40), {"window": 2, "stride": 7}),
        ):
            x = n(shape)
            largest = lambda x, o=options: F.max_pool(x, **o)
            mean = lambda x, o=options: F.mean_pool(x, **o)
            inner = lambda x, o=options: F.mean_pool(x, count_include_pad=False, **o)
            for kind, f in (("max_pool", largest), ("mean_pool", mean), ("mean_pool without padding", inner)):
                yield Case(f"{kind} {name} {dtype}", f, (x,), 0.0 if f is largest else bound)
                yield Case(f"slope of {kind} {name} {dtype}", slope(f), (x,), bound * 4)
        yield Case(f"dilated max_pool {dtype}", lambda x: F.max_pool(x, 3, 2, 1, 2), (n((2, 3, 20)),), 0.0)
        yield Case(
            f"slope of dilated max_pool {dtype}",
            slope(lambda x: F.max_pool(x, 3, 2, 1, 2)),
            (n((2, 3, 20)),),
            bound,
        )
        for size in (4, 5):
            yield Case(
                f"adaptive_max_pool {size} {dtype}",
                lambda x, s=size: F.adaptive_max_pool(x, s),
                (n((2, 3, 12)),),
                0.0,
            )
            yield Case(
                f"slope of adaptive_max_pool {size} {dtype}",
                slope(lambda x, s=size: F.adaptive_max_pool(x, s)),
                (n((2, 3, 12)),),
                bound,
            )
            yield Case(
                f"adaptive_mean_pool {size} {dtype}",
                lambda x, s=size: F.adaptive_mean_pool(x, s),
                (n((2, 3, 12)),),
                bound,
            )
        special = np.random.default_rng(1).uniform(-1, 1, (2, 2, 12))
        special[0, 0, 4], special[1, 1, 7], special[0, 1] = np.nan, -np.inf, 3.0
        yield Case(
            f"max_pool of special numbers {dtype}",
            lambda x: F.max_pool(x, 3, 1),
            (tensor(special, dtype),),
            0.0,
        )
        tangent = lambda x: lx.jvp(lambda x: F.max_pool(x, 3, 2), (x,), (lx.cos(x),))
        yield Case(f"tangent of max_pool {dtype}", tangent, (n((2, 3, 12)),), bound)


def halves() -> Iterator[Case]:
    """Kernels that take half types and compute in float32, and their gradients for given cotangents."""
    for dtype in ("bfloat16", "float16"):
        n = lambda shape, seed, dtype=dtype: numbers(shape, seed, -1.0, 2.0, dtype)
        calls: dict[str, tuple[Callable[..., Any], tuple[lx.Tensor, ...]]] = {}
        for shape in [(5, 7), (4, 64), (3, 1030), (2, 17000)]:
            w, b = n(shape[1:], 2), n(shape[1:], 3)
            calls[f"softmax {shape}"] = lx.softmax, (n(shape, 1),)
            calls[f"layer_norm {shape}"] = lambda x, w, b: F.layer_norm(x, w, b), (n(shape, 1), w, b)
            calls[f"rms_norm {shape}"] = lambda x, w: F.rms_norm(x, w), (n(shape, 1), w)
            classes = lx.asarray(np.arange(shape[0]) * 5 % shape[1])
            entropy = lambda x, t=classes: losses.cross_entropy(
                x, lx.to_device(t, x.device), reduction="none", label_smoothing=0.1
            )
            calls[f"cross_entropy {shape}"] = entropy, (n(shape, 1),)
        calls["softmax of columns"] = lambda x: lx.softmax(x, axis=0), (n((9, 14), 1),)
        calls["cross_entropy of distributions"] = (
            lambda x, t: losses.cross_entropy(x, lx.stop_gradient(t)),
            (n((6, 10), 1), lx.softmax(n((6, 10), 2))),
        )
        for shape in [(300, 40), (2, 4, 5, 8), (2, 2, 3000)]:
            w, b = n(shape[1:2], 2), n(shape[1:2], 3)
            inputs = n(shape, 1), w, b
            calls[f"batch_norm {shape}"] = lambda x, w, b: F.batch_norm(x, w, b), inputs
            calls[f"group_norm {shape}"] = lambda x, w, b: F.group_norm(x, 2, w, b), inputs
        images = n((2, 3, 9, 11), 1)
        calls["max_pool"] = lambda x: F.max_pool(x, 3, 2, 1), (images,)
        calls["mean_pool"] = lambda x: F.mean_pool(x, 3, 2, 1), (images,)
        calls["adaptive_mean_pool"] = lambda x: F.adaptive_mean_pool(x, (4, 5)), (images,)

        def derivatives(f: Callable[..., Any], *inputs: lx.Tensor) -> list[lx.Tensor]:
            y, pull = lx.vjp(f, *inputs)
            cotangent = lx.reshape(lx.sin(lx.arange(y.size, dtype="float32")), y.shape).astype(y.dtype)
            gradients = pull(lx.to_device(cotangent, y.device))
            return [y, *(gradients if isinstance(gradients, (tuple, list)) else [gradients])]

        for name, (f, inputs) in calls.items():
            run = lambda *inputs, f=f: derivatives(f, *inputs)
            yield Case(f"{name} {dtype}", run, inputs, 2.5 * BOUNDS[dtype])


def all_cases() -> list[Case]:
    """Every case; names are unique."""
    families = elementwise, reductions, rows, norms, loss_cases, random_cases, pools, halves
    return [case for family in families for case in family()]
