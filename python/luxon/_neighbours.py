"""Makes trees and tensors known to libraries that keep a registry, without importing any of them.

JAX, optree and PyTorch take a class that is not in their registry of trees for a leaf; einops refuses a tensor that
it does not know; treescope asks only methods written in Python; array-api-extra knows by name whose arrays never
change. So each is told as soon as it is there: now, where it was imported before luxon, else right after its import.
For that a finder stands first among `sys.meta_path`; it knows the names below, lets the other finders find them, and
goes when nothing is left to wait for.

To the registries of trees a Tree is one node whose children are its leaves, a tied one once, as `tree.leaves` gives them: what a
function makes of a tied leaf is at all its places again, and nothing sums a gradient twice.
"""

from __future__ import annotations

import contextlib
import operator
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from . import _core
from ._core import Structure, Tensor, Tree


def _paths(tree: Tree) -> list[str]:
    return _core.tree_paths(tree, True)


def _jax(module: ModuleType) -> None:
    def with_keys(tree: Tree) -> tuple[list[tuple[Any, Any]], Structure]:
        leaves, structure = _core.tree_flatten(tree)
        keys = (module.DictKey(path) for path in _paths(tree))
        return list(zip(keys, leaves, strict=True)), structure

    module.register_pytree_with_keys(Tree, with_keys, _core.tree_unflatten, _core.tree_flatten)


def _optree(module: ModuleType) -> None:
    def flatten(tree: Tree) -> tuple[list[Any], Structure, list[str]]:
        leaves, structure = _core.tree_flatten(tree)
        return leaves, structure, _paths(tree)

    module.register_pytree_node(
        Tree,
        flatten,
        _core.tree_unflatten,
        path_entry_type=module.MappingEntry,
        namespace=module.registry.__GLOBAL_NAMESPACE,
    )


def _torch(module: ModuleType) -> None:
    def with_keys(tree: Tree) -> tuple[list[tuple[Any, Any]], Structure]:
        leaves, structure = _core.tree_flatten(tree)
        keys = (module.MappingKey(path) for path in _paths(tree))
        return list(zip(keys, leaves, strict=True)), structure

    module.register_pytree_node(
        Tree,
        _core.tree_flatten,
        lambda leaves, structure: _core.tree_unflatten(structure, leaves),
        serialized_type_name="luxon.Tree",
        flatten_with_keys_fn=with_keys,
    )


def _einops(module: ModuleType) -> None:
    class Backend(module.AbstractBackend):  # type: ignore[name-defined, misc]
        """einops finds it among the subclasses of its own backends."""

        framework_name = "luxon"

        def is_appropriate_type(self, tensor: Any) -> bool:
            return isinstance(tensor, Tensor)

        def from_numpy(self, x: Any) -> Tensor:
            return _core.asarray(x)

        def to_numpy(self, x: Tensor) -> Any:
            return x.numpy()

        def arange(self, start: int, stop: int) -> Tensor:
            return _core.arange(start, stop)

        def stack_on_zeroth_dimension(self, tensors: Sequence[Tensor]) -> Tensor:
            return _core.stack(tensors)

        def add_axis(self, x: Tensor, new_position: int) -> Tensor:
            return _core.expand_dims(x, axis=new_position)

        def tile(self, x: Tensor, repeats: Sequence[int]) -> Tensor:
            return _core.tile(x, tuple(repeats))

        def concat(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
            return _core.concat(tensors, axis=axis)

        def is_float_type(self, x: Tensor) -> bool:
            return _core.isdtype(x.dtype, "real floating")

        def einsum(self, pattern: str, *x: Tensor) -> Tensor:
            return _core.einsum(pattern, *x)

    # A class knows its subclasses weakly: one that nobody holds is gone after the next collection of garbage.
    _KEPT.append(Backend)


def _array_api_extra(module: ModuleType) -> None:
    """`array_api_extra.at` of a tensor makes new tensors, as it does for JAX's arrays, which never change either."""
    at: Any = module.at

    class TensorAt(at):  # type: ignore[misc]
        def __init__(self, x: Tensor, /, *index: Any) -> None:
            super().__init__(x, *index)
            self._tensor, self._index = x, index

        def __getitem__(self, index: Any, /) -> Any:
            if self._index:
                raise ValueError("Index has already been set")
            return TensorAt(self._tensor, index)

    def update(method: str, new: Callable[[Any, Any], Any] | None) -> Callable[..., Tensor]:
        def apply(self: Any, y: Any, /, copy: bool | None = None, xp: Any = None) -> Tensor:
            if not self._index:
                raise ValueError("Index has not been set: at(x, index) or at(x)[index]")
            if copy is False:
                raise ValueError("a tensor never changes: copy must not be False")
            place = self._tensor.at[self._index[0]]
            result: Tensor = getattr(place, method)(y) if new is None else place.set(new(place.get(), y))
            return result

        return apply

    for method in ("set", "add", "multiply", "min", "max"):
        setattr(TensorAt, method, update(method, None))
    for method, new in (("subtract", operator.sub), ("divide", operator.truediv), ("power", operator.pow)):
        setattr(TensorAt, method, update(method, new))

    def make(kind: type, x: Any = None, /, *_: Any) -> Any:
        return object.__new__(TensorAt if kind is at and isinstance(x, Tensor) else kind)

    at.__new__ = make
    _KEPT.append(TensorAt)


def _treescope(module: ModuleType) -> None:
    from ._show import treescope_tensor, treescope_tree

    module.TREESCOPE_HANDLER_REGISTRY.update({Tensor: treescope_tensor, Tree: treescope_tree})


_KEPT: list[type] = []

_WAITING: dict[str, Callable[[ModuleType], None]] = {
    "array_api_extra": _array_api_extra,
    "scipy._lib.array_api_extra": _array_api_extra,
    "sklearn.externals.array_api_extra": _array_api_extra,
    "einops._backends": _einops,
    "jax.tree_util": _jax,
    "optree": _optree,
    "torch.utils._pytree": _torch,
    "treescope.type_registries": _treescope,
}


class _Finder:
    """Finds nothing itself: has a module that is waited for introduced to luxon at the end of its import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _WAITING:
            return None
        for finder in sys.meta_path[:]:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    _introduce_after(spec)
                    return spec
        return None


def _introduce_after(spec: ModuleSpec) -> None:
    loader: Any = spec.loader
    execute = getattr(loader, "exec_module", None)
    if execute is None:
        return

    def exec_module(module: ModuleType) -> None:
        if module.__name__ == spec.name:  # A loader may serve other modules meanwhile.
            del loader.exec_module  # Its own method is back.
        execute(module)
        if module.__name__ == spec.name:
            _introduce(spec.name, module)

    with contextlib.suppress(AttributeError):  # One that takes no attribute is left alone.
        loader.exec_module = exec_module


def _introduce(name: str, module: ModuleType) -> None:
    register = _WAITING.pop(name, None)
    try:
        if register is not None:
            register(module)
    except Exception as error:  # Another version of theirs must not break their import, nor ours.
        warnings.warn(f"luxon: {name} does not take luxon's types: {error!r}", RuntimeWarning, stacklevel=2)
    if not _WAITING and _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)


_FINDER: Any = _Finder()


def watch() -> None:
    """Introduces luxon to those that are here, and to the others when they come."""
    for name in list(_WAITING):
        module = sys.modules.get(name)
        # One that is being imported at this moment is not complete yet.
        spec = getattr(module, "__spec__", None)  # What stands in for a module may lack it.
        if module is not None and not getattr(spec, "_initializing", False):
            _introduce(name, module)
    if _WAITING and _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
