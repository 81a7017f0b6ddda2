"""What the functions of luxon take, as types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union

import numpy as np

if TYPE_CHECKING:
    from ._core import Device, Tensor

#: A weakly typed number.
Number: TypeAlias = bool | int | float | np.generic
#: Whatever `luxon.asarray` takes.
ArrayLike: TypeAlias = Union["Tensor", np.ndarray[Any, Any], Number, Sequence[Any]]
#: One axis or several.
Axis: TypeAlias = int | Sequence[int]
#: Sizes of axes; one int for one axis.
Shape: TypeAlias = int | Sequence[int]
#: A dtype, its name, or a Python or NumPy type.
DTypeLike: TypeAlias = str | type[Any] | np.dtype[Any]
#: A device or its name.
DeviceLike: TypeAlias = Union["Device", str]
#: What stands for the gradient of an input on which nothing depends.
Unused: TypeAlias = Literal["zeros", "none"]
#: Padding of spatial axes: on both sides of all, on both sides of each, pairs (before, after), or a rule.
Padding: TypeAlias = int | Sequence[int] | Sequence[tuple[int, int]] | Literal["same", "valid"]
