"""Saving and loading trees as safetensors files.

A file holds every tensor once under its dotted path; ties, flags, numbers, keys and None stand in the
metadata, so that what is loaded is what was saved. Writing is atomic, and nothing is ever unpickled.

Example:
    >>> import pathlib, tempfile
    >>> import luxon as lx
    >>> from luxon import nn
    >>> model = nn.Dense(2, 3)
    >>> ps, st = nn.setup(0, model)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> lx.io.save(path, ps=ps, st=st, model=model)
    >>> lx.io.load(path).ps.weight.shape
    (3, 2)
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, tree
from ._core import Tensor, Tree
from ._torch import from_torch
from .random import Key

if TYPE_CHECKING:
    from .nn import Layer
    from .optim import Optimizer
    from .training import TrainState

__all__ = ["Saved", "from_torch", "load", "load_train_state", "save", "save_train_state"]

_FORMAT = "luxon-1"


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a file held.

    Attributes:
        ps, st, optimizer_state: the trees, None where they were not saved.
        step: the step, None where it was not saved.
        model: the printed model, for people.
        metadata: the caller's own text.
    """

    ps: Tree | None
    st: Tree | None
    optimizer_state: Tree | None
    step: int | None
    model: str | None
    metadata: dict[str, str]


def _describe(leaf: Any, where: str) -> Any:
    """A leaf that is no tensor, as JSON."""
    if leaf is None or isinstance(leaf, bool | int | float | str):
        return leaf
    if isinstance(leaf, np.generic):
        return leaf.item()
    if isinstance(leaf, Key):
        return {"key": list(leaf.words)}
    raise TypeError(f"save: {where} holds a {type(leaf).__name__}, which a file cannot hold")


def _restore(value: Any) -> Any:
    return Key(*value["key"]) if isinstance(value, dict) else value


def _outline(value: Any, path: str, first: dict[str, str]) -> Any:
    """The nesting as JSON; a leaf is the path at which its value stands, a tie the same path twice."""
    if isinstance(value, Mapping):
        return {
            name: _outline(item, f"{path}.{name}" if path else name, first) for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        names = getattr(value, "_fields", None) or [str(position) for position in range(len(value))]
        parts = zip(names, value, strict=True)
        return [_outline(item, f"{path}.{name}" if path else name, first) for name, item in parts]
    return first[path]


def _places(outline: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf's path with the path at which its value stands."""
    if isinstance(outline, str):
        yield path, outline
        return
    items = (
        outline.items() if isinstance(outline, dict) else ((str(at), item) for at, item in enumerate(outline))
    )
    for name, item in items:
        yield from _places(item, f"{path}.{name}" if path else name)


def save(
    path: str | os.PathLike[str],
    *,
    ps: Any = None,
    st: Any = None,
    model: Any = None,
    optimizer_state: Any = None,
    step: int | None = None,
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes trees into one safetensors file, in place of the one that may be there.

    Args:
        path: the file.
        ps, st, optimizer_state: trees (or nests); what is None is left out.
        model: kept as its printed form.
        step: the number of updates so far.
        metadata: text of your own.

    Raises:
        TypeError: a leaf that a file cannot hold.
        OSError: the file system refuses; the old file is untouched.
    """
    tensors: dict[str, Tensor] = {}
    layout: dict[str, Any] = {}
    for part, value in (("ps", ps), ("st", st), ("optimizer_state", optimizer_state)):
        if value is None:
            continue
        value = value if isinstance(value, Tree) else Tree(value)
        first = {path: path for path in value.paths()}
        for group in tree.ties(value):
            first.update(dict.fromkeys(group, group[0]))
        static: dict[str, Any] = {}
        for place, leaf in zip(tree.paths(value, unique=True), tree.leaves(value), strict=True):
            if isinstance(leaf, Tensor | np.ndarray):
                tensors[f"{part}.{place}"] = _core.asarray(leaf)
            else:
                static[place] = _describe(leaf, f"{part}.{place}")
        layout[part] = {"outline": _outline(value, "", first), "static": static}
    header = {"format": _FORMAT, "layout": json.dumps(layout)}
    if step is not None:
        header["step"] = str(step)
    if model is not None:
        header["model"] = repr(model)
    header.update({f"user.{name}": text for name, text in (metadata or {}).items()})
    _core.write_safetensors(os.fspath(path), list(tensors.items()), header)


def _assemble(part: str, layout: dict[str, Any], tensors: dict[str, Tensor]) -> Tree:
    static, outline = layout["static"], layout["outline"]

    def build(outline: Any) -> Any:
        if isinstance(outline, dict):
            return {name: build(item) for name, item in outline.items()}
        if isinstance(outline, list):
            return tuple(build(item) for item in outline)
        if outline in static:
            return _restore(static[outline])
        if f"{part}.{outline}" not in tensors:
            raise ValueError(f"load: the file lacks the tensor {part}.{outline}")
        return tensors[f"{part}.{outline}"]

    groups: dict[str, list[str]] = {}
    for path, source in _places(outline):
        groups.setdefault(source, []).append(path)
    ties = [group for group in groups.values() if len(group) > 1]
    loaded = Tree(build(outline))
    return tree.tie(loaded, ties) if ties else loaded


def load(path: str | os.PathLike[str]) -> Saved:
    """Reads what `save` wrote.

    Files of other programs load too: their tensors become `ps`, nested by the dots in their names.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is malformed.
    """
    items, header = _core.read_safetensors(os.fspath(path))
    tensors = dict(items)
    if header.get("format") != _FORMAT:
        return Saved(tree.from_paths(tensors), None, None, None, None, dict(header))
    try:
        layout = json.loads(header["layout"])
        parts = {part: _assemble(part, layout[part], tensors) for part in layout}
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"load: {os.fspath(path)}: the metadata is malformed: {error!r}") from error
    step = header.get("step")
    own = {name.removeprefix("user."): text for name, text in header.items() if name.startswith("user.")}
    return Saved(
        parts.get("ps"),
        parts.get("st"),
        parts.get("optimizer_state"),
        None if step is None else int(step),
        header.get("model"),
        own,
    )


def save_train_state(
    path: str | os.PathLike[str], ts: TrainState, metadata: dict[str, str] | None = None
) -> None:
    """Writes a training state: parameters, states, the optimiser's state and the step.

    Raises:
        TypeError, OSError: as `save`.
    """
    save(
        path,
        ps=ts.parameters,
        st=ts.states,
        model=ts.model,
        optimizer_state=ts.optimizer_state,
        step=ts.step,
        metadata=metadata,
    )


def load_train_state(path: str | os.PathLike[str], model: Layer, optimizer: Optimizer) -> TrainState:
    """The training state that `save_train_state` wrote; it goes on with the same bits.

    Args:
        path: the file.
        model, optimizer: what the state was made of; files hold no code.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is malformed, no training state, or another model's or optimiser's.

    Example:
        >>> import pathlib, tempfile
        >>> import luxon as lx
        >>> from luxon import nn, optim, training
        >>> model, optimizer = nn.Dense(2, 1), optim.Adam(1e-3)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.safetensors"
        >>> lx.io.save_train_state(path, training.TrainState.create(0, model, optimizer))
        >>> lx.io.load_train_state(path, model, optimizer).step
        0
    """
    from .nn._fit import check_parameters
    from .training import TrainState

    saved = load(path)
    if saved.ps is None or saved.st is None or saved.optimizer_state is None or saved.step is None:
        raise ValueError(f"load_train_state: {os.fspath(path)} holds no training state")
    check_parameters(model, saved.ps)
    wanted = set(optimizer.slots()) | {"step"}
    if set(saved.optimizer_state) != wanted:
        raise ValueError(
            f"load_train_state: the file has the optimiser state {', '.join(saved.optimizer_state)}; "
            f"{type(optimizer).__name__} keeps {', '.join(sorted(wanted))}"
        )
    return TrainState._of(model, saved.ps, saved.st, optimizer, saved.optimizer_state, saved.step)
