"""Tensors, trees and models as `rich` and `treescope` print them, which ask each object for its parts."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ._core import Tensor, Tree

if TYPE_CHECKING:
    from .nn import Layer

# A tensor in a tree is printed with its elements where it has no more than these.
_FEW = 4


class _Text:
    """Prints as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def rich_tree(tree: Tree) -> Iterator[tuple[str, Any]]:
    """Names and children; of larger tensors dtype and shape."""
    for name, value in tree.items():
        if isinstance(value, Tensor) and value.size > _FEW:
            value = _Text(f"{value.dtype} {tuple(value.shape)}")
        yield name, value


def rich_layer(layer: Layer) -> Iterator[Any]:
    """What stands in the brackets of the layer's one-line form, then the layers within."""
    settings = _settings(layer)
    if settings:
        yield _Text(settings)
    yield from _within(layer).items()


def _settings(layer: Layer) -> str:
    text, name = layer.describe(), type(layer).__name__
    if text.startswith(f"{name}(") and text.endswith(")"):
        return text[len(name) + 1 : -1]
    return text.removeprefix(name).strip()


def _within(layer: Layer) -> dict[str, Any]:
    inner = layer.inner()
    if inner is None:
        return {}
    return dict(inner) if isinstance(inner, Mapping) else {"layer": inner}


def treescope_tree(tree: Tree, path: str | None, subtree_renderer: Any) -> Any:
    """Names and children that fold."""
    return _constructor(tree, dict(tree.items()), path, subtree_renderer)


def treescope_layer(layer: Layer, path: str | None, subtree_renderer: Any) -> Any:
    """The layers within, which fold; a layer without any is a dataclass as others are."""
    within = _within(layer)
    return _constructor(layer, within, path, subtree_renderer) if within else NotImplemented


def treescope_tensor(tensor: Tensor, path: str | None, subtree_renderer: Any) -> Any:
    """The elements as those of a NumPy array; a tensor that has none, or is under differentiation, as its text."""
    if tensor.is_abstract or tensor.is_tracked:
        return NotImplemented
    parts = importlib.import_module("treescope.rendering_parts")
    return parts.siblings_with_annotations(parts.text("Tensor "), subtree_renderer(tensor.numpy(), path=path))


def _constructor(value: Any, attributes: dict[str, Any], path: str | None, subtree_renderer: Any) -> Any:
    return importlib.import_module("treescope.repr_lib").render_object_constructor(
        object_type=type(value), attributes=attributes, path=path, subtree_renderer=subtree_renderer
    )
