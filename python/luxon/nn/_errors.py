"""Errors that say where in the model they arose.

An exception that leaves a layer keeps its type and identity; it gains one note with the layer's path, which
every container on the way out extends at the front.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

_MARK = "in layer "


def add_path(error: BaseException, name: str, layer: Any = None) -> None:
    """Puts `name` in front of the path that `error` carries; `layer` is described where the path starts.

    A layer's own message, which begins with its description, gets the path in front as well.
    """
    notes: list[str] = getattr(error, "__notes__", [])
    for position, note in enumerate(notes):
        if note.startswith(_MARK):
            known = note.removeprefix(_MARK)
            notes[position] = f"{_MARK}{name}.{known}"
            _put_in_front(error, known.split(":")[0], f"{name}.")
            return
    error.add_note(f"{_MARK}{name}: {layer.describe()}" if layer is not None else f"{_MARK}{name}")
    # A wrapper adds no name, so the message may be that of the layer inside it.
    while hasattr(layer, "describe"):
        if _put_in_front(error, layer.describe(), f"{name}: "):
            return
        layer = layer.inner()


def _put_in_front(error: BaseException, start: str, text: str) -> bool:
    """Puts `text` in front of the message if that is a lone text with this start."""
    if len(error.args) != 1 or not isinstance(error.args[0], str) or not error.args[0].startswith(start):
        return False
    error.args = (text + error.args[0],)
    return True


def located(call: Callable[..., Any]) -> Callable[..., Any]:
    """A container's `__call__` that puts the child's name in front of the path of whatever a child raises.

    Which child it was is read off the traceback, so that a container of a user's own calls its children as
    it likes and registers nothing.
    """

    @functools.wraps(call)
    def wrapped(self: Any, x: Any, ps: Any, st: Any) -> Any:
        try:
            return call(self, x, ps, st)
        except Exception as error:
            found = _failed_child(self, error, ps)
            if found is not None:
                add_path(error, *found)
            raise

    return wrapped


def _failed_child(container: Any, error: Exception, ps: Any) -> tuple[str, Any] | None:
    """Name and layer of the child in whose call an error arose; None where it was the container's own."""
    children = list(_named_children(container.children(), "", ps))
    step = error.__traceback__.tb_next if error.__traceback__ is not None else None
    while step is not None:
        caller = step.tb_frame.f_locals
        candidates = [found for found in children if found[1] is caller.get("self")]
        if candidates:
            # One layer in several places is told apart by the parameters that it was given.
            given = caller.get("ps")
            same = [found for found in candidates if found[2] is not None and found[2] is given]
            name, layer, _ = (same or candidates)[0]
            return name, layer
        step = step.tb_next
    return None


def _named_children(children: Any, path: str, ps: Any) -> Any:
    """Name, layer and parameters of every child, nests of children included."""
    for name, child in children.items():
        try:
            own = ps[int(name) if isinstance(ps, list | tuple) else name]
        except (KeyError, IndexError, TypeError, ValueError):
            own = None
        if hasattr(child, "inner"):
            yield path + name, child, own
        else:
            yield from _named_children(child, f"{path}{name}.", own)


def path_of(error: BaseException) -> str | None:
    """The path of the layer that `error` left, outermost name first; None where it left no layer."""
    for note in getattr(error, "__notes__", []):
        if note.startswith(_MARK):
            return str(note).removeprefix(_MARK).split(":")[0]
    return None


def stack_level() -> int:
    """How far up the first frame outside the package is, so that a warning shows once per call site."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("luxon"):
        frame, level = frame.f_back, level + 1
    return level
