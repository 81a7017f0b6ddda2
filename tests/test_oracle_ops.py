"""Operators against stored answers of PyTorch: values, gradients, and calls that must raise.

The stored cases lie beside the checkout, not in it. In float64 an answer is right within 1e-9 of its largest
value, in float32 within four times the error of PyTorch's own float32 run plus 1e-5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle_adaptor
import pytest
from oracle_cases import WHY_ABSENT, Cases, cases, distance

import luxon as lx

FILES = ("opinfo", "opinfo_reference")

# Cases that cannot hold, by operator: why, and the cases (of either file) in the dtypes that it concerns.
EXCEPTIONS: dict[str, dict[str, set[str]]] = {}

# Bad calls that luxon means something by, by operator: why, and which.
ACCEPTED: dict[str, str] = {}


def entries() -> list[Any]:
    found = []
    for name in FILES:
        stored = cases(name)
        if stored is not None:
            found += [
                pytest.param(stored, entry, id=f"{name}-{entry['op']}")
                for entry in stored.index["ops"]
                if entry["op"] in oracle_adaptor.ops
            ]
    return found or [pytest.param(None, None, marks=pytest.mark.skip(reason=WHY_ABSENT))]


class Call:
    """A stored call: its function of the differentiated tensors, and those."""

    def __init__(self, stored: Cases, entry: dict[str, Any], call: dict[str, Any], dtype: str) -> None:
        self.leaves: list[lx.Tensor] = []
        self.operator = oracle_adaptor.ops[entry["op"]]

        def tensor(array: np.ndarray, differentiated: bool) -> Any:
            value = oracle_adaptor.tensor(array.astype(dtype) if array.dtype.kind == "f" else array)
            if not differentiated:
                return value
            self.leaves.append(value)
            return Place(len(self.leaves) - 1)

        self.args, self.kwargs = (self.dtyped(stored.decode(call[key], tensor), dtype) for key in ("args", "kwargs"))

    def dtyped(self, value: Any, dtype: str) -> Any:
        if isinstance(value, np.dtype):
            return np.dtype(dtype) if value == np.float64 else value
        if isinstance(value, dict):
            return {key: self.dtyped(part, dtype) for key, part in value.items()}
        return type(value)(self.dtyped(part, dtype) for part in value) if isinstance(value, (list, tuple)) else value

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
    """What is wrong with luxon's answer; none where it is right, or where the adaptor has no answer."""
    call = Call(stored, entry, case, dtype)

    def bound(error: str) -> float:
        return 1e-9 if dtype == "float64" else 1e-5 + 4 * stored.decode(case[error])

    gradients: list[Any] = []
    try:
        if "grads" in case:
            cotangents = [oracle_adaptor.tensor(stored.decode(c).astype(dtype)) for c in case["cot"]]
            outputs, gradients = oracle_adaptor.vjp(call, call.leaves, cotangents)
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
        if (error := distance(oracle_adaptor.array(got), want)) > bound("err32"):
            return f"value: error {error:.2g}"
    for index, (got, node) in enumerate(zip(gradients, case.get("grads", []), strict=True)):
        if node is not None:
            error = distance(oracle_adaptor.array(got), stored.decode(node))
            if error > bound("gerr32"):
                return f"gradient {index}: error {error:.2g}"
    return None


@pytest.mark.parametrize(("stored", "entry"), entries())
def test_operator(stored, entry):
    """Every stored case of an operator, in both precisions."""
    failures = {}
    excepted = set().union(*EXCEPTIONS.get(entry["op"], {}).values())
    for case in entry["cases"]:
        for dtype in ("float64", "float32"):
            if case["key"] not in excepted and (what := wrong(stored, entry, case, dtype)):
                failures[case["key"], dtype] = what
    assert not failures
    for number, bad in enumerate(entry["errors"]):
        call = Call(stored, entry, bad, "float64")
        arguments = [fill(call.args, tuple(call.leaves)), fill(call.kwargs, tuple(call.leaves))]
        try:
            call.operator(*arguments[0], **arguments[1])
        except (ValueError, TypeError, IndexError) as error:
            assert str(error), f"bad call {number} says nothing"
        else:
            assert accepted(entry["op"], arguments), f"bad call {number} was accepted: {arguments}"


def accepted(operator: str, arguments: list[Any]) -> bool:
    args = arguments[0]
    mixed = [isinstance(arg, (int, float)) for arg in args] in ([True, False], [False, True])
    return operator in ACCEPTED or mixed
