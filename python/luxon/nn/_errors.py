"""Errors that say where in the model they arose.

An exception that leaves a layer keeps its type and identity; it gains one note with the layer's path, which
every container on the way out extends at the front.
"""

from __future__ import annotations

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


def path_of(error: BaseException) -> str | None:
    """The path of the layer that `error` left, outermost name first; None where it left no layer."""
    for note in getattr(error, "__notes__", []):
        if note.startswith(_MARK):
            return str(note).removeprefix(_MARK).split(":")[0]
    return None
