"""CUDA devices: `luxon.cuda(i)` is the i-th, and `python -m luxon.cuda.check` tries one out.

`set_precision` chooses how float32 products are computed, `cudnn` says whether cuDNN computes convolutions.

The package can be called, so that the short name gives a device whether or not the check was imported.
"""

from __future__ import annotations

import sys
import types

from .._core import Device
from .._cudnn import Cudnn
from .._cupy import cudnn, precision, set_precision
from .._device import cuda as _cuda

__all__ = ["Cudnn", "cudnn", "precision", "set_precision"]


class _Callable(types.ModuleType):
    def __call__(self, i: int = 0) -> Device:
        return _cuda(i)


sys.modules[__name__].__class__ = _Callable
