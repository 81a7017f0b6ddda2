"""Printing models, and working out shapes without computing.

Shapes are found by calling the model on abstract tensors, of which only dtype and shape are known: the same
code as in a real call, so that nothing has to be said twice.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from .. import _core, random, tree
from .._core import ShapeDtype, Tree
from ._layer import Children, Layer
from ._setup import _count, rebuild


def as_abstract(spec: Any) -> Any:
    """Abstract tensors for a shape, a `ShapeDtype`, or a nest of those."""
    if isinstance(spec, ShapeDtype):
        return _core.abstract(spec.shape, spec.dtype)
    if isinstance(spec, tuple | list) and all(isinstance(size, int) and not isinstance(size, bool) for size in spec):
        return _core.abstract(tuple(spec), _core.float32)
    if isinstance(spec, Mapping):
        return {name: as_abstract(item) for name, item in spec.items()}
    if isinstance(spec, tuple | list):
        return type(spec)(as_abstract(item) for item in spec)
    if hasattr(spec, "shape") and hasattr(spec, "dtype"):
        return _core.abstract(tuple(spec.shape), spec.dtype)
    raise TypeError(f"x_spec must be a shape, a luxon.ShapeDtype or a nest of those, got {type(spec).__name__}")


def _abstract_leaves(value: Any) -> Any:
    def one(leaf: Any) -> Any:
        return _core.abstract(leaf.shape, leaf.dtype) if isinstance(leaf, _core.Tensor) else leaf

    return tree.map(one, value)


def abstract_parameters(model: Layer) -> Any:
    """The model's parameter tree with abstract leaves."""
    return _abstract_leaves(model.initial_parameters(random.key(0)))


@dataclasses.dataclass
class _Call:
    """What a leaf layer got and gave in an abstract call."""

    path: str
    layer: Layer
    inputs: Any
    outputs: Any


class _Probe(Layer):
    """Stands in for a leaf layer in an abstract call: settles open sizes and notes the shapes."""

    def __init__(self, layer: Layer, path: str, calls: list[_Call]) -> None:
        self.layer, self.path, self.calls = layer, path, calls

    def describe(self) -> str:
        return self.layer.describe()

    def initial_parameters(self, key: random.Key) -> Tree:
        return Tree({})

    def initial_states(self, key: random.Key) -> Tree:
        return Tree({})

    def __call__(self, x: Any, ps: Any, st: Any) -> tuple[Any, Any]:
        layer = self.layer
        settle = getattr(layer, "with_input", None)
        if settle is not None and hasattr(x, "shape"):
            layer = self.layer = settle(tuple(x.shape))
        states = _abstract_leaves(layer.initial_states(random.key(0)))
        y, _ = layer(x, abstract_parameters(layer), states)
        self.calls.append(_Call(self.path, layer, x, y))
        return y, st


def abstract_call(model: Layer, x_spec: Any) -> tuple[Any, list[_Call], Layer]:
    """Output, calls of leaf layers, and the model with open sizes settled."""
    calls: list[_Call] = []
    probes: dict[str, _Probe] = {}

    def probe(layer: Layer, path: str) -> Layer:
        probes[path] = _Probe(layer, path, calls)
        return probes[path]

    probed = rebuild(model, probe)
    key = random.key(0)
    y, _ = probed(as_abstract(x_spec), probed.initial_parameters(key), probed.initial_states(key))
    settled = rebuild(model, lambda layer, path: probes[path].layer)
    return y, calls, settled


def resolve_sizes(model: Layer, x_spec: Any, key: random.Key) -> Layer:
    """The model with every size that was None taken from what an input of `x_spec` gives."""
    del key
    return abstract_call(model, x_spec)[2]


def _shapes(value: Any) -> Any:
    if isinstance(value, _core.Tensor):
        return tuple(value.shape)
    if isinstance(value, Mapping):
        return {name: _shapes(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_shapes(item) for item in value)
    return None


def output_shape(model: Layer, x_spec: Any) -> Any:
    """The shape of the model's output (or a nest of shapes); no data is computed.

    Args:
        x_spec: the input's shape with its batch axis, a `luxon.ShapeDtype`, or a nest of those.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> nn.output_shape(nn.Chain(nn.Dense(2, 8, lx.relu), nn.Dense(8, 3)), (5, 2))
        (5, 3)
    """
    return _shapes(abstract_call(model, x_spec)[0])


def _plural(count: int) -> str:
    return f"{count:,} parameter{'' if count == 1 else 's'}"


def _counts(layer: Layer) -> tuple[int, int] | None:
    """Trainable and non-trainable numbers; None where sizes are still open."""
    try:
        trainable = _count(layer.initial_parameters(random.key(0)))
        return trainable, _count(layer.initial_states(random.key(0)))
    except ValueError:
        return None


def _lines(name: str, layer: Layer, depth: int) -> Iterator[str]:
    indent = "    " * depth
    label = f"{name}: " if name else ""
    inner = layer.inner()
    while isinstance(inner, Layer):
        # A wrapper is shown with what it wraps.
        label += f"{layer.describe()} of "
        layer, inner = inner, inner.inner()
    if inner is None:
        counts = _counts(layer)
        note = ""
        if counts is not None and any(counts):
            trainable, other = counts
            note = f"  # {_plural(trainable)}" if trainable or not other else "  #"
            note += f"{', plus' if trainable else ''} {other:,} non-trainable" if other else ""
        yield f"{indent}{label}{layer.describe()},{note}"
        return
    yield f"{indent}{label}{layer.describe()}("
    yield from _child_lines(inner, depth + 1)
    yield f"{indent}),"


def _child_lines(children: Children, depth: int) -> Iterator[str]:
    for (_, group) in itertools.groupby(children.items(), key=lambda item: item[1] if isinstance(item[1], Layer) else id(item[1])):
        members = list(group)
        name, child = members[0]
        if len(members) > 2:
            name = f"{name} to {members[-1][0]}"
        shown = members[:1] if len(members) > 2 else members
        for position, (child_name, child) in enumerate(shown):
            label = name if position == 0 else child_name
            if isinstance(child, Layer):
                yield from _lines(label, child, depth)
            else:
                indent = "    " * depth
                yield f"{indent}{label}: ("
                yield from _child_lines(child, depth + 1)
                yield f"{indent}),"


def model_text(model: Layer) -> str:
    """The tree of layers with counts per leaf and in total; runs of identical children collapse."""
    if model.inner() is None:
        return model.describe()
    lines = list(_lines("", model, 0))
    lines[-1] = lines[-1].rstrip(",")
    counts = _counts(model)
    if counts is not None:
        trainable, other = counts
        plus = f", plus {other:,} non-trainable" if other else ""
        lines[-1] += f"  # {_plural(trainable)}{plus}"
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class SummaryRow:
    """One leaf layer of a summary."""

    path: str
    layer: str
    output_shape: Any
    parameters: int
    bytes: int
    flops: int | None


@dataclasses.dataclass(frozen=True)
class Summary:
    """A table of a model's leaf layers, as `nn.summary` makes it; prints as text."""

    rows: tuple[SummaryRow, ...]
    trainable: int
    non_trainable: int

    def __str__(self) -> str:
        header = ("path", "layer", "output", "parameters", "bytes", "FLOPs")
        body = [
            (
                row.path or "(model)",
                row.layer,
                str(row.output_shape),
                f"{row.parameters:,}",
                f"{row.bytes:,}",
                "-" if row.flops is None else f"{row.flops:,}",
            )
            for row in self.rows
        ]
        flops = sum(row.flops or 0 for row in self.rows)
        total = ("total", "", "", f"{self.trainable:,}", f"{sum(row.bytes for row in self.rows):,}", f"{flops:,}")
        widths = [max(len(line[column]) for line in (header, *body, total)) for column in range(6)]

        def text(line: tuple[str, ...]) -> str:
            cells = [cell.ljust(width) if column < 3 else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths, strict=True))]
            return "  ".join(cells).rstrip()

        rule = "-" * len(text(tuple("x" * width for width in widths)))
        plus = f"plus {self.non_trainable:,} non-trainable" if self.non_trainable else ""
        lines = [text(header), rule, *(text(line) for line in body), rule, text(total)]
        return "\n".join([*lines, plus] if plus else lines)

    __repr__ = __str__


def _flops(call: _Call) -> int | None:
    rule = getattr(call.layer, "flops", None)
    if rule is not None and hasattr(call.inputs, "shape"):
        return int(rule(tuple(call.inputs.shape), tuple(call.outputs.shape)))
    return None


def summary(model: Layer, x_spec: Any) -> Summary:
    """A table of the model: path, layer, output shape, parameters, bytes and FLOPs of every leaf layer.

    Args:
        x_spec: the input's shape with its batch axis, a `luxon.ShapeDtype`, or a nest of those.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> print(nn.summary(nn.Chain(nn.Dense(2, 8, lx.relu), nn.Dense(8, 3)), (5, 2)))
        path     layer               output  parameters  bytes  FLOPs
        -------------------------------------------------------------
        layer_1  Dense(2 => 8, relu)  (5, 8)          24     96    200
        layer_2  Dense(8 => 3)        (5, 3)          27    108    255
        -------------------------------------------------------------
        total                                         51    204    455
    """
    _, calls, settled = abstract_call(model, x_spec)
    rows, seen = [], set()
    for call in calls:
        ps = abstract_parameters(call.layer)
        repeated = call.path in seen
        seen.add(call.path)
        numbers = 0 if repeated else _count(ps)
        size = 0 if repeated else sum(leaf.nbytes for leaf in tree.leaves(ps) if isinstance(leaf, _core.Tensor))
        rows.append(SummaryRow(call.path, call.layer.describe(), _shapes(call.outputs), numbers, size, _flops(call)))
    trainable, other = _counts(settled) or (0, 0)
    return Summary(tuple(rows), trainable, other)


