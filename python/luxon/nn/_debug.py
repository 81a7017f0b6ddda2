"""Finding NaN: layers that check what goes in and out, forward and backward."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _core, tree
from ._freeze import FrozenLayer
from ._layer import Layer, Params, States, Wrapper, abstract_parameters, abstract_states
from ._setup import rebuild

logger = logging.getLogger("luxon.debug")
logger.addHandler(logging.NullHandler())

NAN_CHECKS = ("both", "forward", "backward", "none")


class NonFiniteError(FloatingPointError):
    """A NaN (or, where that is checked, an infinity) with the place where it first appeared.

    Attributes:
        location: the layer's path, such as `model.head.layer_1`.
        place: "input", "parameters", "states", "output", "incoming cotangent", "outgoing cotangent",
            "incoming tangent" or "outgoing tangent".
        path: the dotted path within what was checked; empty for a lone tensor.
        index: the index of the first bad value.
        count: how many values are bad.
        size: of how many.
    """

    def __init__(
        self,
        location: str,
        place: str,
        path: str,
        index: tuple[int, ...],
        count: int,
        size: int,
        layer: str = "",
    ) -> None:
        self.location, self.place, self.path = location, place, path
        self.index, self.count, self.size, self.layer = index, count, size, layer
        where = f"{place} at {path}" if path else place
        what = f" ({layer})" if layer else ""
        super().__init__(
            f"{location}{what}: {where}: {count} of {size} values not finite, the first at {index}"
        )

    def __reduce__(self) -> Any:
        parts = (self.location, self.place, self.path, self.index, self.count, self.size, self.layer)
        return (NonFiniteError, parts)


def find_nonfinite(value: Any, inf_check: bool) -> tuple[str, tuple[int, ...], int, int] | None:
    """Path, first index, count and size of the first leaf with a bad value; None where all are good."""
    for position, leaf in enumerate(tree.leaves(value)):
        bad = _bad(leaf, inf_check)
        if bad is not None:
            path = tree.paths(value, unique=True)[position]
            index = tuple(int(axis) for axis in np.argwhere(bad)[0])
            return path, index, int(bad.sum()), bad.size
    return None


def _bad(leaf: Any, inf_check: bool) -> np.ndarray | None:
    """Where a leaf is bad; None where it is good or holds no floating numbers."""
    if isinstance(leaf, _core.Tensor):
        if leaf.dtype.kind in "biu" or leaf.is_abstract:
            return None
        leaf = _core.stop_gradient(leaf)
        if bool(_core.all(_core.isfinite(leaf))):
            return None
        leaf = np.asarray(_core.astype(leaf, "float64"))
    elif isinstance(leaf, np.ndarray):
        if leaf.dtype.kind != "f":
            return None
    elif not isinstance(leaf, float):
        return None
    bad = np.asarray(~np.isfinite(leaf) if inf_check else np.isnan(leaf))
    return bad if bad.any() else None


@dataclasses.dataclass(frozen=True, repr=False)
class DebugLayer(Wrapper):
    """A layer that stops at the first NaN and says where it is.

    Forward, its input, its parameters and its states are checked before the call, its output and new states
    after it. Backward, the incoming cotangent and every outgoing one are checked; in forward mode, the
    tangents. Outputs and gradients are the layer's own, bit for bit.

    Args:
        layer: the layer, whose trees are this one's.
        nan_check: "both", "forward", "backward" or "none".
        error_check: whether an exception inside gains a note with the location and all shapes.
        inf_check: whether infinities count as well.
        location: the layer's path, for messages.

    Raises:
        ValueError: another `nan_check`.
        NonFiniteError: in a call or its differentiation, at the first bad value.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> layer = nn.DebugLayer(nn.WrappedFunction(lx.log), location="model.log")
        >>> try:
        ...     layer(lx.asarray([1.0, -1.0]), {}, {})
        ... except nn.NonFiniteError as error:
        ...     print(error)
        model.log (WrappedFunction(log)): output: 1 of 2 values not finite, the first at (1,)
    """

    layer: Layer
    nan_check: str = "both"
    error_check: bool = True
    inf_check: bool = False
    location: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.layer, Layer):
            raise TypeError(f"DebugLayer needs a layer, got {type(self.layer).__name__}")
        if self.nan_check not in NAN_CHECKS:
            raise ValueError(f"nan_check must be one of {', '.join(NAN_CHECKS)}, got {self.nan_check!r}")

    def with_inner(self, inner: Any) -> Layer:
        """The same checks of another layer; one that checks itself already is left alone."""
        return inner if isinstance(inner, DebugLayer) else dataclasses.replace(self, layer=inner)

    def check(self, value: Any, place: str, path: str = "") -> None:
        """Raises where `value` holds a bad number."""
        if place in ("parameters", "states"):
            value = self._own(value)
        found = find_nonfinite(value, self.inf_check)
        if found is not None:
            where = ".".join(part for part in (path, found[0]) if part)
            error = NonFiniteError(self.location, place, where, *found[1:], self.layer.describe())
            logger.error("%s", error)
            raise error

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        forward = self.nan_check in ("both", "forward")
        backward = self.nan_check in ("both", "backward")
        logger.debug("%s: %s", self.location, self.layer.describe())
        if forward:
            self.check(x, "input")
            self.check(ps, "parameters")
            self.check(st, "states")
        watched_x, watched_ps = x, ps
        if backward:
            watched_x = self._watch(x, "outgoing cotangent", "incoming tangent", "input")
            watched_ps = self._watch(ps, "outgoing cotangent", "incoming tangent", "parameters")
        try:
            y, after = self.layer(watched_x, watched_ps, st)
        except Exception as error:
            if self.error_check and not isinstance(error, NonFiniteError):
                error.add_note(self._note(x, ps))
                logger.error("%s: %s", self.location, error)
            raise
        if forward:
            self.check(y, "output")
            if after is not st:
                self.check(after, "states")
        if backward:
            y = self._watch(y, "incoming cotangent", "outgoing tangent", "")
        return y, after

    def _own(self, trees: Any) -> Any:
        """What of the layer's trees is checked here."""
        return trees

    def _owns(self, path: str) -> bool:
        return True

    def _note(self, x: Any, ps: Params) -> str:
        layer = f"{self.location}: {self.layer.describe()}" if self.location else self.layer.describe()
        return f"debug: {layer}; input {_shapes(x)}; parameters {_shapes(ps)}"

    def _watch(self, value: Any, cotangents: str, tangents: str, path: str) -> Any:
        """`value` as it is, whose derivatives are checked on their way."""

        def one(where: str, leaf: Any) -> Any:
            if not isinstance(leaf, _core.Tensor) or not leaf.is_tracked or leaf.dtype.kind in "biu":
                return leaf
            if path == "parameters" and not self._owns(where):
                return leaf
            full = ".".join(part for part in (path, where) if part)
            return _core.watch(
                leaf,
                lambda derivative: self.check(derivative, cotangents, full),
                lambda derivative: self.check(derivative, tangents, full),
            )

        if isinstance(value, _core.Tensor):
            return one("", value)
        return tree.map_with_path(one, value)


class _DebugContainer(DebugLayer):
    """Around a container with parameters or states of its own: the children check theirs themselves."""

    def _own(self, trees: Any) -> Any:
        return {name: entry for name, entry in trees.items() if self._owns(name)}

    def _owns(self, path: str) -> bool:
        children = self.layer.inner()
        return not isinstance(children, Mapping) or path.split(".")[0] not in children


def _has_own(layer: Layer) -> bool:
    """Whether a container has parameters or states that belong to no child."""
    children = layer.inner()
    assert isinstance(children, Mapping)
    try:
        names = {*abstract_parameters(layer), *abstract_states(layer)}
    except ValueError:
        return True  # A size is still open.
    return not names <= children.keys()


def _shapes(value: Any) -> str:
    """dtype and shape of every leaf, for messages."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {tuple(value.shape)}"
    parts = [
        f"{path} {_shapes(leaf)}" if hasattr(leaf, "shape") else f"{path} {type(leaf).__name__}"
        for path, leaf in zip(tree.paths(value, unique=True), tree.leaves(value), strict=True)
    ]
    return ", ".join(parts) or "none"


def debug_mode(
    model: Layer,
    nan_check: str = "both",
    error_check: bool = True,
    inf_check: bool = False,
    name: str = "model",
) -> Layer:
    """The model with every leaf layer in a `DebugLayer`; its parameters and states fit unchanged.

    The inside of frozen layers is checked too, and what a container has of its own, such as a `compact`
    layer's parameters.

    Args:
        model: the model.
        nan_check, error_check, inf_check: as for `DebugLayer`.
        name: the root of the locations, such as `model.head.layer_1`.

    Raises:
        TypeError: `model` is no layer.
        ValueError: a `nan_check` that does not exist.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.Chain(nn.Dense(2, 2), lx.log)
        >>> ps, st = nn.setup(0, model)
        >>> try:
        ...     y, st = nn.debug_mode(model)(lx.asarray([[1.0, float("nan")]]), ps, st)
        ... except nn.NonFiniteError as error:
        ...     print(error.location, error.place, error.index)
        model.layer_1 input (0, 1)
    """

    if not isinstance(model, Layer):
        raise TypeError(f"debug_mode needs a layer, got {type(model).__name__}")

    def wrap(layer: Layer, path: str, kind: type[DebugLayer] = DebugLayer) -> Layer:
        return kind(layer, nan_check, error_check, inf_check, f"{name}.{path}" if path else name)

    def around(layer: Layer, path: str) -> Layer:
        return wrap(layer, path, _DebugContainer) if _has_own(layer) else layer

    return rebuild(model, wrap, thawed=FrozenLayer.with_layer, around=around)
