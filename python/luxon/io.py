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
from typing import Any

import numpy as np

from . import _core, tree
from ._core import Tensor, Tree
from .random import Key

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
    if isinstance(leaf, Key):
        return {"key": list(leaf.words)}
    raise TypeError(f"save: {where} holds a {type(leaf).__name__}, which a file cannot hold")


def _restore(value: Any) -> Any:
    if isinstance(value, dict):
        return Key(*value["key"])
    return value


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
        static: dict[str, Any] = {}
        slots: dict[int, str] = {}
        aliases: dict[str, str] = {}
        order: list[str] = []
        for place, slot, leaf in value.places():
            order.append(place)
            if slot in slots:
                aliases[place] = slots[slot]
                continue
            slots[slot] = place
            if isinstance(leaf, np.ndarray):
                leaf = _core.asarray(leaf)
            if isinstance(leaf, Tensor):
                tensors[f"{part}.{place}"] = leaf
            else:
                static[place] = _describe(leaf, f"{part}.{place}")
        layout[part] = {"order": order, "static": static, "aliases": aliases, "empty": list(value.empty_paths())}
    header = {"format": _FORMAT, "layout": json.dumps(layout)}
    if step is not None:
        header["step"] = str(step)
    if model is not None:
        header["model"] = repr(model)
    header.update({f"user.{name}": text for name, text in (metadata or {}).items()})
    _core.write_safetensors(os.fspath(path), list(tensors.items()), header)


def _assemble(part: str, layout: dict[str, Any], tensors: dict[str, Tensor]) -> Tree:
    nest: dict[str, Any] = {}

    def put(path: str, leaf: Any) -> None:
        *parents, name = path.split(".")
        place = nest
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = leaf

    for path in layout["order"]:
        source = layout["aliases"].get(path, path)
        if source in layout["static"]:
            put(path, _restore(layout["static"][source]))
        elif f"{part}.{source}" in tensors:
            put(path, tensors[f"{part}.{source}"])
        else:
            raise ValueError(f"load: the file lacks the tensor {part}.{source}")
    for path in layout["empty"]:
        if path:
            put(path, {})
    loaded = Tree(nest)
    groups: dict[str, list[str]] = {}
    for path, source in layout["aliases"].items():
        groups.setdefault(source, [source]).append(path)
    for group in groups.values():
        loaded = tree.tie(loaded, group)
    return loaded


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
        foreign = {"order": list(tensors), "static": {}, "aliases": {}, "empty": []}
        ps = _assemble("ps", foreign, {f"ps.{name}": tensor for name, tensor in tensors.items()})
        return Saved(ps, None, None, None, None, dict(header))
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
