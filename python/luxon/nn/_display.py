"""Printing models, and working out shapes without computing.

Shapes are found by calling the model on abstract tensors, of which only dtype and shape are known: the same
code as in a real call, so that nothing has to be said twice.
"""

from __future__ import annotations

import dataclasses
import html
import itertools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from .. import _core, random, tree
from .._core import ShapeDtype, Tree
from ._freeze import FrozenLayer
from ._layer import EMPTY, Children, Layer, Wrapper, abstract_parameters, abstract_states
from ._setup import _count, rebuild

_Line = tuple[str, ...]


def as_abstract(spec: Any) -> Any:
    """Abstract tensors for a shape, a `ShapeDtype`, or a nest of those."""
    if isinstance(spec, ShapeDtype):
        return _core.abstract(spec.shape, spec.dtype)
    if isinstance(spec, tuple | list) and all(
        isinstance(size, int) and not isinstance(size, bool) for size in spec
    ):
        return _core.abstract(tuple(spec), "float32")
    if isinstance(spec, Mapping):
        return {name: as_abstract(item) for name, item in spec.items()}
    if isinstance(spec, tuple | list):
        return type(spec)(as_abstract(item) for item in spec)
    if hasattr(spec, "shape") and hasattr(spec, "dtype"):
        return _core.abstract(tuple(spec.shape), spec.dtype)
    raise TypeError(
        f"x_spec must be a shape, a luxon.ShapeDtype or a nest of those, got {type(spec).__name__}"
    )


@dataclasses.dataclass
class _Call:
    """What a leaf layer, or a container that computes something itself, got and gave in an abstract call."""

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
        return EMPTY

    def initial_states(self, key: random.Key) -> Tree:
        return EMPTY

    def __call__(self, x: Any, ps: Any, st: Any) -> tuple[Any, Any]:
        layer = self.layer
        settle = getattr(layer, "with_input", None)
        if settle is not None and hasattr(x, "shape"):
            layer = self.layer = settle(tuple(x.shape))
        states = abstract_states(layer)
        y, _ = layer(x, abstract_parameters(layer), states)
        self.calls.append(_Call(self.path, layer, x, y))
        return y, st


class _Tally(Wrapper):
    """Stands around a container that computes something itself, and notes the shapes of its calls."""

    def __init__(self, layer: Layer, path: str, calls: list[_Call]) -> None:
        self.layer, self.path, self.calls = layer, path, calls

    def describe(self) -> str:
        return self.layer.describe()

    def __call__(self, x: Any, ps: Any, st: Any) -> tuple[Any, Any]:
        y, st = self.layer(x, ps, st)
        self.calls.append(_Call(self.path, self.layer, x, y))
        return y, st


def abstract_call(model: Layer, x_spec: Any) -> tuple[Any, list[_Call], Layer]:
    """Output, calls of the layers that compute, and the model with open sizes settled."""
    calls: list[_Call] = []
    probes: dict[str, _Probe] = {}

    def probe(layer: Layer, path: str) -> Layer:
        probes[path] = _Probe(layer, path, calls)
        return probes[path]

    def tally(layer: Layer, path: str) -> Layer:
        return layer if type(layer).flops is Layer.flops else _Tally(layer, path, calls)

    # What is frozen has the same shapes, so frozen layers are looked through.
    probed = rebuild(model, probe, thawed=lambda frozen, inner: inner, around=tally)
    key = random.key(0)
    with warnings.catch_warnings():
        # Parameters are float32 here, whatever precision a layer is called in.
        warnings.simplefilter("ignore")
        y, _ = probed(as_abstract(x_spec), probed.initial_parameters(key), probed.initial_states(key))
    settled = rebuild(model, lambda layer, path: probes[path].layer, thawed=FrozenLayer.with_layer)
    return y, calls, settled


def resolve_sizes(model: Layer, x_spec: Any) -> Layer:
    """The model with every size that was None taken from what an input of `x_spec` gives."""
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


def _counted(trainable: int, other: int) -> str:
    """`2 parameters, plus 4 non-trainable`."""
    text = f"{trainable:,} parameter{'' if trainable == 1 else 's'}"
    return f"{text}, plus {other:,} non-trainable" if other else text


class _Counter:
    """Counts the numbers of a model's layers; what freezing has moved to the states is non-trainable."""

    def __init__(self, model: Layer) -> None:
        try:
            self.trained: Tree | None = abstract_parameters(model)
        except ValueError:
            self.trained = None  # A size is still open.

    def part(self, path: str) -> Any:
        """The trained parameters below a path; None where sizes are still open."""
        if self.trained is None:
            return None
        return self.trained if not path else self.trained.get(path, EMPTY)

    def leaf(self, layer: Layer, path: str) -> tuple[int, int] | None:
        """Trainable and non-trainable numbers of a leaf layer; None where its sizes are still open."""
        try:
            everything = _count(abstract_parameters(layer))
            states = _count(abstract_states(layer))
        except ValueError:
            return None
        part = self.part(path)
        trainable = everything if part is None else _count(part)
        return trainable, everything - trainable + states

    def own(self, children: Children, path: str) -> int:
        """The trained numbers at a path that belong to no child."""
        part = self.part(path)
        if part is None:
            return 0
        return sum(_count(entry) for name, entry in part.items() if name not in children)


def _lines(name: str, layer: Layer, path: str, depth: int, counter: _Counter) -> Iterator[str]:
    indent = "    " * depth
    label = f"{name}: " if name else ""
    while True:
        # A wrapper, and a frozen layer, is shown with what it is around.
        if isinstance(layer, FrozenLayer):
            label += (
                "FrozenLayer of " if layer.which is None else f"FrozenLayer({', '.join(layer.which)}) of "
            )
            layer = layer.layer
        elif isinstance(inner := layer.inner(), Layer):
            label += f"{layer.describe()} of "
            layer = inner
        else:
            break
    if inner is None:
        counts = counter.leaf(layer, path)
        note = f"  # {_counted(*counts)}" if counts is not None and any(counts) else ""
        yield f"{indent}{label}{layer.describe()},{note}"
        return
    own = counter.own(inner, path)
    yield f"{indent}{label}{layer.describe()}(" + (f"  # {_counted(own, 0)} of its own" if own else "")
    yield from _child_lines(inner, path, depth + 1, counter)
    yield f"{indent}),"


def _child_lines(children: Children, path: str, depth: int, counter: _Counter) -> Iterator[str]:
    def kind(item: tuple[str, Any]) -> Any:
        name, child = item
        where = f"{path}.{name}" if path else name
        # Equal layers of which not the same parts are frozen print differently.
        return (child, tree.structure(counter.part(where))) if isinstance(child, Layer) else id(child)

    for _, group in itertools.groupby(children.items(), key=kind):
        members = list(group)
        shown = members[:1] if len(members) > 2 else members
        for name, child in shown:
            label = f"{name} to {members[-1][0]}" if len(members) > 2 else name
            where = f"{path}.{name}" if path else name
            if isinstance(child, Layer):
                yield from _lines(label, child, where, depth, counter)
            else:
                indent = "    " * depth
                yield f"{indent}{label}: ("
                yield from _child_lines(child, where, depth + 1, counter)
                yield f"{indent}),"


def model_text(model: Layer) -> str:
    """The tree of layers with counts per leaf and in total; runs of identical children collapse."""
    if model.inner() is None and not isinstance(model, FrozenLayer):
        return model.describe()
    counter = _Counter(model)
    lines = list(_lines("", model, "", 0, counter))
    if len(lines) == 1:
        return lines[0].replace(",  #", "  #").rstrip(",")
    lines[-1] = lines[-1].rstrip(",")
    if counter.trained is not None:
        lines[-1] += f"  # {_counted(_count(counter.trained), _count(abstract_states(model)))}"
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class SummaryRow:
    """One layer of a summary; parameters and bytes are those that are trained."""

    path: str
    layer: str
    output_shape: Any
    parameters: int
    bytes: int
    flops: int | None


@dataclasses.dataclass(frozen=True)
class Summary:
    """A table of the layers of a model that compute, as `nn.summary` makes it; prints as text, and as a table in
    notebooks."""

    rows: tuple[SummaryRow, ...]
    trainable: int
    non_trainable: int

    def _table(self) -> tuple[_Line, list[_Line], _Line]:
        """Header, one line per layer, and the total."""
        header: _Line = ("path", "layer", "output", "parameters", "bytes", "FLOPs")
        body: list[_Line] = [
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
        total = (
            "total",
            "",
            "",
            f"{self.trainable:,}",
            f"{sum(row.bytes for row in self.rows):,}",
            f"{flops:,}",
        )
        return header, body, total

    def _plus(self) -> str:
        return f"plus {self.non_trainable:,} non-trainable" if self.non_trainable else ""

    def __str__(self) -> str:
        header, body, total = self._table()
        widths = [max(len(line[column]) for line in (header, *body, total)) for column in range(6)]

        def text(line: _Line) -> str:
            cells = [
                cell.ljust(width) if column < 3 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            return "  ".join(cells).rstrip()

        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        plus = self._plus()
        lines = [text(header), rule, *(text(line) for line in body), rule, text(total)]
        return "\n".join([*lines, plus] if plus else lines)

    __repr__ = __str__

    def to_html(self) -> str:
        """The table as HTML.

        Example:
            >>> from luxon import nn
            >>> "<td>Dense(2 =&gt; 8)</td>" in nn.summary(nn.Dense(2, 8), (5, 2)).to_html()
            True
        """
        header, body, total = self._table()

        def row(line: _Line, cell: str = "td") -> str:
            return "<tr>" + "".join(f"<{cell}>{html.escape(text)}</{cell}>" for text in line) + "</tr>"

        lines = "".join(map(row, body))
        plus = f"<caption style='caption-side: bottom'>{self._plus()}</caption>" if self._plus() else ""
        foot = f"<tfoot>{row(total, 'th')}</tfoot>"
        return f"<table>{plus}<thead>{row(header, 'th')}</thead><tbody>{lines}</tbody>{foot}</table>"

    _repr_html_ = to_html


def summary(model: Layer, x_spec: Any) -> Summary:
    """A table of the model: path, layer, output shape, parameters, bytes and FLOPs of every leaf layer.

    A container that computes something beside its children, attention for one, has a row after theirs.
    A layer that is called several times, a recurrent cell for one, has one row with the FLOPs of all its calls.

    Args:
        x_spec: the input's shape with its batch axis, a `luxon.ShapeDtype`, or a nest of those.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> print(nn.summary(nn.Chain(nn.Dense(2, 8, lx.relu), nn.Dense(8, 3)), (5, 2)))
        path     layer                output  parameters  bytes  FLOPs
        --------------------------------------------------------------
        layer_1  Dense(2 => 8, relu)  (5, 8)          24     96    200
        layer_2  Dense(8 => 3)        (5, 3)          27    108    255
        --------------------------------------------------------------
        total                                         51    204    455
    """
    _, calls, settled = abstract_call(model, x_spec)
    counter = _Counter(settled)
    rows: dict[str, SummaryRow] = {}
    for call in calls:
        flops, known = call.layer.flops_of_call(call.inputs, call.outputs), rows.get(call.path)
        if known is not None:
            # A layer that is called several times has one row: its parameters once, its FLOPs every time.
            flops = None if flops is None or known.flops is None else known.flops + flops
            rows[call.path] = dataclasses.replace(known, output_shape=_shapes(call.outputs), flops=flops)
            continue
        ps = counter.part(call.path)
        if isinstance(inner := call.layer.inner(), Mapping):
            ps = Tree({name: entry for name, entry in ps.items() if name not in inner})
        size = sum(leaf.nbytes for leaf in tree.leaves(ps) if isinstance(leaf, _core.Tensor))
        shape = _shapes(call.outputs)
        rows[call.path] = SummaryRow(call.path, call.layer.describe(), shape, _count(ps), size, flops)
    trained = _count(counter.trained)
    return Summary(tuple(rows.values()), trained, _count(abstract_states(settled)))
