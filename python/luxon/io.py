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
import errno
import json
import operator
import os
from collections.abc import Iterable, Iterator, Mapping
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
_PARTS = ("ps", "st", "optimizer_state", "loader")


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a file held.

    Attributes:
        ps, st, optimizer_state: the trees, None where they were not saved.
        loader: the state of a data loader, for its `from_state`.
        step: the step, None where it was not saved.
        model: the printed model, for people.
        metadata: the caller's own text.
    """

    ps: Tree | None
    st: Tree | None
    optimizer_state: Tree | None
    loader: Tree | None
    step: int | None
    model: str | None
    metadata: dict[str, str]


@dataclasses.dataclass(frozen=True)
class _Stored:
    """Stands for a tensor that has not been read yet."""

    name: str


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
    loader: Any = None,
    step: int | None = None,
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes trees into one safetensors file, in place of the one that may be there.

    Killed at any instant, the old file or the new one is there, whole. A namedtuple is kept as a tuple.

    Args:
        path: the file.
        ps, st, optimizer_state: trees (or nests); what is None is left out.
        model: kept as its printed form.
        loader: a data loader, or its `state()`.
        step: the number of updates so far.
        metadata: text of your own.

    Raises:
        TypeError: a leaf that a file cannot hold, or a step that is no int.
        OSError: the file system refuses; the old file is untouched.
    """
    tensors: dict[str, Tensor] = {}
    layout: dict[str, Any] = {}
    # A Tree is a state already, and has whatever attributes its names are.
    if not isinstance(loader, Tree) and hasattr(loader, "state"):
        loader = loader.state()
    for part, value in zip(_PARTS, (ps, st, optimizer_state, loader), strict=True):
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
        header["step"] = str(operator.index(step))
    if model is not None:
        header["model"] = repr(model)
    header.update({f"user.{name}": text for name, text in (metadata or {}).items()})
    _core.write_safetensors(os.fspath(path), list(tensors.items()), header)


def _assemble(part: str, layout: dict[str, Any], names: set[str]) -> Tree:
    """The tree of a part, with `_Stored` in place of its tensors."""
    static, outline = layout["static"], layout["outline"]

    def build(outline: Any) -> Any:
        if isinstance(outline, dict):
            return {name: build(item) for name, item in outline.items()}
        if isinstance(outline, list):
            return tuple(build(item) for item in outline)
        if outline in static:
            return _restore(static[outline])
        if f"{part}.{outline}" not in names:
            raise ValueError(f"it lacks the tensor {part}.{outline}")
        return _Stored(f"{part}.{outline}")

    groups: dict[str, list[str]] = {}
    for path, source in _places(outline):
        groups.setdefault(source, []).append(path)
    ties = [group for group in groups.values() if len(group) > 1]
    built = Tree(build(outline))
    return tree.tie(built, ties) if ties else built


def _open(path: str | os.PathLike[str]) -> tuple[_core.SafetensorsFile, dict[str, Tree], dict[str, str]]:
    """The file, its trees without the tensors, and its other text."""
    name = os.fspath(path)
    if not os.path.exists(name):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    file = _core.SafetensorsFile(name)
    header = file.metadata
    if header.get("format") != _FORMAT:
        try:
            return file, {"ps": tree.from_paths({name: _Stored(name) for name in file.names})}, header
        except ValueError as error:
            raise ValueError(f"load: {name}: the names make no tree: {error}") from error
    try:
        layout, names = dict(json.loads(header["layout"]).items()), set(file.names)
        trees = {part: _assemble(part, layout[part], names) for part in _PARTS if part in layout}
        if "step" in header:
            int(header["step"])
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError, ValueError) as error:
        raise ValueError(f"load: {name}: the metadata is malformed: {error}") from error
    return file, trees, header


def _choose(trees: dict[str, Tree], patterns: str | Iterable[str]) -> dict[str, Tree]:
    """The parts of the trees that the patterns cover."""
    chosen = set(tree.match(trees, patterns))

    def prune(value: Any, path: str) -> Any:
        """What is chosen below `path`; None where that is nothing."""
        if not isinstance(value, Mapping | tuple):
            return value if path in chosen else None
        if isinstance(value, tuple):
            hits = [f"{path}.{name}" in chosen for name in tree.paths(value)]
            if any(hits) and not all(hits):
                raise ValueError(f"load: the patterns take a part of {path}, a sequence, which loads whole")
            return value if any(hits) else None
        found = {name: prune(item, f"{path}.{name}") for name, item in value.items()}
        taken = {name for name in value if found[name] is not None or f"{path}.{name}" in chosen}
        # Entries without leaves, such as those of a Dropout, go along with their neighbours.
        empty = {name for name, item in value.items() if isinstance(item, Mapping | tuple) and not len(item)}
        return (
            {name: found.get(name) or value[name] for name in value if name in taken | empty}
            if taken
            else None
        )

    pruned = {}
    for part, whole in trees.items():
        found = prune(tree.untie(whole), part)
        if found is None:
            continue
        groups = ([path for path in group if f"{part}.{path}" in chosen] for group in tree.ties(whole))
        ties = [group for group in groups if len(group) > 1]
        pruned[part] = tree.tie(Tree(found), ties) if ties else Tree(found)
    return pruned


def load(
    path: str | os.PathLike[str],
    patterns: str | Iterable[str] | None = None,
    *,
    model: Layer | None = None,
) -> Saved:
    """Reads what `save` wrote.

    Files of other programs load too: their tensors become `ps`, nested by the dots in their names.

    Args:
        path: the file.
        patterns: load only what these cover, for example `"ps.encoder"` or `"**.weight"` (see `luxon.tree`);
            nothing else is read.
        model: a layer that the parameters and states are to fit; those of other programs are put in its order.

    Raises:
        FileNotFoundError, OSError: the file cannot be read.
        ValueError: the file is malformed; a pattern covers nothing; the trees do not fit the model, naming
            missing, extra and differing paths.
    """
    file, trees, header = _open(path)
    if patterns is not None:
        trees = _choose(trees, patterns)
    leaves = [leaf for part in trees.values() for leaf in tree.leaves(part) if isinstance(leaf, _Stored)]
    names = list(dict.fromkeys(leaf.name for leaf in leaves))
    tensors = dict(zip(names, file.read(names), strict=True))

    def fetch(leaf: Any) -> Any:
        return tensors[leaf.name] if isinstance(leaf, _Stored) else leaf

    parts = {part: tree.map(fetch, whole) for part, whole in trees.items()}
    own = header.get("format") == _FORMAT
    if model is not None and not own:
        parts = {part: _arranged(whole, model) for part, whole in parts.items()}
    step = header.get("step") if own else None
    users = {name.removeprefix("user."): text for name, text in header.items() if name.startswith("user.")}
    saved = Saved(
        ps=parts.get("ps"),
        st=parts.get("st"),
        optimizer_state=parts.get("optimizer_state"),
        loader=parts.get("loader"),
        step=None if step is None else int(step),
        model=header.get("model") if own else None,
        metadata=users if own else dict(header),
    )
    if model is not None:
        _check_fit(os.fspath(path), saved, model)
    return saved


def _arranged(ps: Tree, model: Layer) -> Tree:
    """Parameters of another program's file in the model's order, with the entries of layers that have none."""
    from .nn._layer import parameter_structure

    wanted = parameter_structure(model)
    if wanted is None or sorted(wanted.paths()) != sorted(ps.paths()):
        return ps  # What differs is said by the check that follows.
    filled: Tree = tree.unflatten(wanted, [ps[path] for path in wanted.paths()])
    return filled


def _check_fit(path: str, saved: Saved, model: Layer) -> None:
    from .nn._fit import check_parameters, check_states

    if saved.ps is None:
        raise ValueError(f"load: {path} holds no parameters")
    check_parameters(model, saved.ps, f"load: {path}: the parameters do not fit the model")
    if saved.st is not None:
        check_states(model, saved.st, f"load: {path}: the states do not fit the model")


def save_train_state(
    path: str | os.PathLike[str],
    ts: TrainState,
    metadata: dict[str, str] | None = None,
    *,
    loader: Any = None,
) -> None:
    """Writes a training state: parameters, states, the optimiser's state and the step.

    With `loader`, a data loader or its state, the file says also how far the epoch has come:
    `loader.from_state(lx.io.load(path, "loader").loader)` goes on from there.

    Raises:
        TypeError, OSError: as `save`.
    """
    save(
        path,
        ps=ts.parameters,
        st=ts.states,
        model=ts.model,
        optimizer_state=ts.optimizer_state,
        loader=loader,
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
    from .nn._fit import path_difference
    from .training import TrainState

    saved = load(path)
    if saved.ps is None or saved.st is None or saved.optimizer_state is None or saved.step is None:
        raise ValueError(f"load_train_state: {os.fspath(path)} holds no training state")
    _check_fit(os.fspath(path), saved, model)
    wanted = set(optimizer.slots()) | {"step"}
    if set(saved.optimizer_state) != wanted:
        raise ValueError(
            f"load_train_state: the file has the optimiser state {', '.join(saved.optimizer_state)}; "
            f"{type(optimizer).__name__} keeps {', '.join(sorted(wanted))}"
        )
    for name, entry in saved.optimizer_state.items():
        if differs := path_difference(saved.ps, entry):
            raise ValueError(
                f"load_train_state: the optimiser's {name} does not fit the parameters: {differs}"
            )
    parts = {"model": model, "parameters": saved.ps, "states": saved.st, "optimizer": optimizer}
    return TrainState._of(parts | {"optimizer_state": saved.optimizer_state, "step": saved.step})
