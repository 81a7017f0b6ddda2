"""Trees of tensors and the devices on which they live."""

from __future__ import annotations

from typing import Any

from . import _core
from ._core import Device, Tensor
from ._typing import DeviceLike


def to_device(tree: Any, device: DeviceLike) -> Any:
    """The tree with every tensor on `device`; dtypes and ties stay, and so does whatever is no tensor.

    Args:
        tree: a tensor, a `luxon.Tree`, a `TrainState`, or any nest of dict, list and tuple.
        device: a device or its name.

    Raises:
        RuntimeError: there is no such device.

    Example:
        >>> import luxon as lx
        >>> lx.to_device({"x": lx.ones(2), "training": True}, "cpu")["x"].device
        cpu
    """
    if hasattr(type(tree), "_on_device"):
        return tree._on_device(device)
    return _core.tree_map(lambda leaf: leaf.to_device(device) if isinstance(leaf, Tensor) else leaf, tree)


def device_of(tree: Any) -> Device:
    """The device of the tree's tensors; the CPU for a tree without any.

    Raises:
        ValueError: they are on several devices; one path for each is named.

    Example:
        >>> import luxon as lx
        >>> lx.device_of({"x": lx.ones(2)})
        cpu
    """
    found: dict[Device, str] = {}
    leaves, paths = _core.tree_leaves(tree), _core.tree_paths(tree, True)
    for leaf, path in zip(leaves, paths, strict=True):
        if isinstance(leaf, Tensor):
            found.setdefault(leaf.device, path)
    if len(found) > 1:
        places = ", ".join(f"{path!r} on {device}" for device, path in found.items())
        raise ValueError(f"device_of: the tensors are on several devices: {places}; move them with to_device")
    return next(iter(found), _core.cpu())


def cuda(i: int = 0) -> Device:
    """The i-th CUDA device, opened through CuPy at its first use.

    Raises:
        RuntimeError: CuPy, a driver or the device is missing; the message says what to do.
    """
    return resolve(f"cuda:{i}")


def resolve(device: DeviceLike) -> Device:
    """The device of that name.

    Raises:
        RuntimeError: there is none.
    """
    return _core.zeros(()).to_device(device).device
