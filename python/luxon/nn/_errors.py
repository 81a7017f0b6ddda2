"""Errors that say where in the model they arose.

An exception that leaves a layer keeps its type and identity; it gains one note with the layer's path, which
every container on the way out extends at the front.
"""

from __future__ import annotations

from typing import Any

_MARK = "in layer "


def add_path(error: BaseException, name: str, layer: Any = None) -> None:
    """Puts `name` in front of the path that `error` carries; `layer` is described where the path starts."""
    notes: list[str] = getattr(error, "__notes__", [])
    for position, note in enumerate(notes):
        if note.startswith(_MARK):
            notes[position] = f"{_MARK}{name}.{note.removeprefix(_MARK)}"
            return
    described = f": {layer.describe()}" if hasattr(layer, "describe") else ""
    error.add_note(f"{_MARK}{name}{described}")


def path_of(error: BaseException) -> str | None:
    """The path of the layer that `error` left, outermost name first; None where it left no layer."""
    for note in getattr(error, "__notes__", []):
        if note.startswith(_MARK):
            return str(note).removeprefix(_MARK).split(":")[0]
    return None


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as Python prints a tuple."""
    return str(tuple(shape))
