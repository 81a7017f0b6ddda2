"""What the array API asks a namespace to say of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._core import Device, cpu, isdtype

_DTYPES = ("bool", "uint8", "int32", "int64", "float32", "float64")


class NamespaceInfo:
    """Capabilities, devices and dtypes of luxon as an array API namespace."""

    def capabilities(self) -> dict[str, Any]:
        """Whether shapes may depend on data, and the largest number of axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 8}

    def default_device(self) -> Device:
        """The device of tensors that name none."""
        return cpu()

    def devices(self) -> tuple[Device, ...]:
        """The devices of this process."""
        return (cpu(),)

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype[Any]]:
        """The dtypes of results that nothing else decides."""
        return {
            "real floating": np.dtype("float32"),
            "integral": np.dtype("int64"),
            "indexing": np.dtype("int64"),
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype[Any]]:
        """The dtypes of the standard that tensors can have, of one kind if it is given."""
        found = {name: np.dtype(name) for name in _DTYPES}
        return (
            found if kind is None else {name: dtype for name, dtype in found.items() if isdtype(dtype, kind)}
        )


def __array_namespace_info__() -> NamespaceInfo:
    """What this namespace can do."""
    return NamespaceInfo()
