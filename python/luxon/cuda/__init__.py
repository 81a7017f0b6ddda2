"""CUDA devices: `luxon.cuda(i)` is the i-th, and `python -m luxon.cuda.check` tries one out.

`set_precision` chooses how float32 products are computed, `cudnn` says whether cuDNN computes convolutions, and
`HOST_SYNCHRONISING` names the functions that wait for a device.

The package can be called, so that the short name gives a device whether or not the check was imported.
"""

from __future__ import annotations

import sys
import types

from .._core import Device
from .._cudnn import Cudnn
from .._cupy import cudnn, precision, set_precision
from .._device import cuda as _cuda

__all__ = ["HOST_SYNCHRONISING", "Cudnn", "cudnn", "precision", "set_precision"]

#: The functions whose host part needs elements, for the size of a result or for an answer, and waits until a device has
#: computed them: they cannot be part of a CUDA graph. `repeat` waits where the counts are a tensor, `matrix_norm` for the
#: norms made of singular values. Indexing by a boolean mask waits as well, and whatever hands elements out (`item`, printing,
#: NumPy, saving).
HOST_SYNCHRONISING = frozenset(
    {
        "allclose",
        "linalg.matrix_norm",
        "linalg.matrix_rank",
        "linalg.svdvals",
        "nonzero",
        "repeat",
        "unique_all",
        "unique_counts",
        "unique_inverse",
        "unique_values",
    }
)


class _Callable(types.ModuleType):
    def __call__(self, i: int = 0) -> Device:
        return _cuda(i)


sys.modules[__name__].__class__ = _Callable
