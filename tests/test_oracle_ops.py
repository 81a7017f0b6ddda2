"""Operators against stored answers of PyTorch: values, gradients, and calls that must raise.

The stored cases lie beside the checkout, not in it. In float64 an answer is right within 1e-9 of its largest
value, in float32 within four times the error of PyTorch's own float32 run plus 1e-5.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import luxon as lx
import oracle
from oracle.cases import WHY_ABSENT, Cases, cases, distance

FILES = ("opinfo", "opinfo_reference")

# Cases that cannot hold, by operator: why, and which (of either file).
NAN_LANES = "PyTorch's vector loop gives 0 at NaN and its scalar loop the cotangent, within one array"
EXCEPTIONS: dict[str, tuple[str, set[str]]] = {
    "nn.functional.batch_norm": (
        "luxon's input has a channel axis",
        {"nn.functional.batch_norm/3", "nn.functional.batch_norm/4"},
    ),
    "nn.functional.celu": (
        "PyTorch takes alpha in single precision",
        {f"nn.functional.celu/{case}" for case in (10, 18, 24, 28, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39)},
    ),
    "nn.functional.ctc_loss": (
        "PyTorch's gradient is that of logits, right only behind a log-softmax",
        {f"nn.functional.ctc_loss/{case}" for case in range(2, 12)},
    ),
    "nn.functional.hardsigmoid": (
        "PyTorch takes 1/6 in single precision",
        {
            f"nn.functional.hardsigmoid/{case}"
            for case in (0, 10, 14, 18, 24, 28, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39)
        },
    ),
    "nn.functional.hardtanh": (NAN_LANES, {"nn.functional.hardtanh/14"}),
    "nn.functional.mish": (
        "the limit at minus infinity is 0, PyTorch gives NaN",
        {"nn.functional.mish/12", "nn.functional.mish/26"},
    ),
    "nn.functional.relu6": (NAN_LANES, {"nn.functional.relu6/12", "nn.functional.relu6/26"}),
    "nn.functional.silu": (
        "the limit at minus infinity is 0, PyTorch gives NaN",
        {"nn.functional.silu/12", "nn.functional.silu/26"},
    ),
    "nn.functional.softshrink": (NAN_LANES, {"nn.functional.softshrink/30"}),
    "nn.functional.softsign": (
        "the slope at infinity is 0, PyTorch gives NaN",
        {"nn.functional.softsign/12", "nn.functional.softsign/26"},
    ),
    "sgn": ("the array API keeps NaN, PyTorch makes it 0", {"sgn/22"}),
    "sign": ("the array API keeps NaN, PyTorch makes it 0", {"sign/10", "sign/22"}),
    "special.log_ndtr": (
        "PyTorch's slope loses digits far out (1e-8 of the true one at -13437) and is NaN from -1e20 on",
        {"special.log_ndtr/11", "special.log_ndtr/25", "special.log_ndtr/26"},
    ),
    "tensordot": (
        "PyTorch broadcasts contracted axes of size 1, the array API refuses them",
        {"tensordot/2"},
    ),
}

# Operators with bad calls that mean something here, and what.
ACCEPTED = {
    "arange": "a range against its step is empty, as in the array API",
    "clamp_min": "a number is clipped as a 0-d tensor",
    "index_add": "updates broadcast",
    "isclose": "numbers are compared as 0-d tensors",
    "ldexp": "of numbers, the power of two is a tensor",
    "linalg.cross": "tensors of different numbers of axes broadcast",
    "masked_fill": "the value broadcasts",
    "mean": "the mean of integers is a float32",
    "narrow": "luxon takes indices, of which there may be none",
    "nn.functional.adaptive_avg_pool2d": "no axis before the spatial ones is needed",
    "nn.functional.adaptive_avg_pool3d": "no axis before the spatial ones is needed",
    "nn.functional.max_pool1d": "no channels are pooled to no channels",
    "nn.functional.max_pool3d": "no channels are pooled to no channels",
    "trace": "a stack of matrices has a trace each",
}


def entries() -> list[Any]:
    found = []
    for name in FILES:
        stored = cases(name)
        if stored is not None:
            found += [
                pytest.param(stored, entry, id=f"{name}-{entry['op']}")
                for entry in stored.index["ops"]
                if entry["op"] in oracle.ops
            ]
    return found or [pytest.param(None, None, marks=pytest.mark.skip(reason=WHY_ABSENT))]


class Call:
    """A stored call: its function of the differentiated tensors, and those."""

    def __init__(self, stored: Cases, entry: dict[str, Any], call: dict[str, Any], dtype: str) -> None:
        self.leaves: list[lx.Tensor] = []
        self.operator = oracle.ops[entry["op"]]

        def tensor(array: np.ndarray, differentiated: bool) -> Any:
            value = oracle.tensor(array.astype(dtype) if array.dtype.kind == "f" else array)
            if not differentiated:
                return value
            self.leaves.append(value)
            return Place(len(self.leaves) - 1)

        self.args, self.kwargs = (
            self.dtyped(stored.decode(call[key], tensor), dtype) for key in ("args", "kwargs")
        )

    def dtyped(self, value: Any, dtype: str) -> Any:
        if isinstance(value, np.dtype):
            return np.dtype(dtype) if value == np.float64 else value
        if isinstance(value, dict):
            return {key: self.dtyped(part, dtype) for key, part in value.items()}
        return (
            type(value)(self.dtyped(part, dtype) for part in value)
            if isinstance(value, (list, tuple))
            else value
        )

    def __call__(self, *leaves: lx.Tensor) -> list[Any]:
        return flat(self.operator(*fill(self.args, leaves), **fill(self.kwargs, leaves)))


class Place:
    """Where a differentiated tensor goes."""

    def __init__(self, index: int) -> None:
        self.index = index


def fill(value: Any, leaves: tuple[lx.Tensor, ...]) -> Any:
    if isinstance(value, Place):
        return leaves[value.index]
    if isinstance(value, dict):
        return {key: fill(part, leaves) for key, part in value.items()}
    return type(value)(fill(part, leaves) for part in value) if isinstance(value, (list, tuple)) else value


def flat(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in flat(part)] if isinstance(value, (list, tuple)) else [value]


def wrong(stored: Cases, entry: dict[str, Any], case: dict[str, Any], dtype: str) -> str | None:
    """What is wrong with luxon's answer; none where it is right, or where luxon has no such setting."""
    call = Call(stored, entry, case, dtype)

    def bound(error: str) -> float:
        return 1e-9 if dtype == "float64" else 1e-5 + 4 * stored.decode(case[error])

    gradients: list[Any] = []
    try:
        if "grads" in case:
            cotangents = [oracle.tensor(stored.decode(c).astype(dtype)) for c in case["cot"]]
            outputs, gradients = oracle.vjp(call, call.leaves, cotangents)
        else:
            outputs = call(*call.leaves)
    except NotImplementedError:
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    expected = [stored.decode(node) for node in case["out"]]
    if len(outputs) != len(expected):
        return f"{len(outputs)} results, not {len(expected)}"
    for got, want in zip(outputs, expected, strict=True):
        if (error := distance(oracle.array(got), want)) > bound("err32"):
            return f"value: error {error:.2g}"
    for index, (got, node) in enumerate(zip(gradients, case.get("grads", []), strict=True)):
        if node is not None:
            error = distance(oracle.array(got), stored.decode(node))
            if error > bound("gerr32"):
                return f"gradient {index}: error {error:.2g}"
    return None


@pytest.mark.parametrize(("stored", "entry"), entries())
def test_answers(stored, entry):
    """Every stored case of an operator, in both precisions."""
    _, excepted = EXCEPTIONS.get(entry["op"], ("", frozenset()))
    failures = {}
    for case in entry["cases"]:
        for dtype in ("float64", "float32"):
            if case["key"] not in excepted and (what := wrong(stored, entry, case, dtype)):
                failures[case["key"], dtype] = what
    assert not failures


def mixed(arguments: list[Any]) -> bool:
    """Whether one of the two operands is a number: the array API allows it, PyTorch often does not."""
    return sum(isinstance(argument, (int, float)) for argument in arguments) == 1 and len(arguments) == 2


# Conversions of an argument, before there is an operation.
NOT_AN_OPERATION = re.compile(r"cannot make a tensor of|only a tensor of one element converts")


@pytest.mark.parametrize(("stored", "entry"), entries())
def test_bad_calls(stored, entry):
    """Calls that must raise an error that names the operation and what is wrong: never a panic, never a result."""
    taken = []
    for number, bad in enumerate(entry["errors"]):
        call = Call(stored, entry, bad, "float64")
        try:
            call(*call.leaves)
        except (ValueError, TypeError, IndexError) as error:
            text = str(error)
            said = re.match(r"[\w.]+: .*(\d|\(\)|dtype|number|at least one|must)", text)
            assert said or NOT_AN_OPERATION.match(text), f"bad call {number}: {error!r}"
        else:
            if entry["op"] not in ACCEPTED and not mixed(call.args):
                taken.append(
                    (number, [getattr(argument, "shape", argument) for argument in call.args], call.kwargs)
                )
    assert not taken
