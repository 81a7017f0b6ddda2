"""Memory shared with CuPy, and with PyTorch where it sees the device: tried both ways, while streams are busy."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import luxon as lx

DTYPES = ("bool", "uint8", "int32", "int64", "float16", "float32", "float64")


def _host(x: lx.Tensor) -> Any:
    return np.asarray(lx.to_device(x, "cpu"))


def _numbers(dtype: str, side: int) -> Any:
    return (np.arange(side * side).reshape(side, side) % 251).astype(dtype)


def _comes_in(cupy: Any, device: lx.Device, dtype: str, side: int) -> bool:
    """Views of any strides come in without a copy, after the work that makes them."""
    expected, ok = _numbers(dtype, side), True
    for index in (np.s_[:], np.s_[:, 1:], np.s_[::-1, ::-3], np.s_[5:, 3]):
        x = lx.from_dlpack(cupy.array(expected)[index])
        ok &= x.device == device and np.array_equal(_host(x), expected[index])
        ok &= np.array_equal(_host(lx.astype(x, "float64") + 1.0), expected[index].astype("f8") + 1.0)
    return ok


def _goes_out(cupy: Any, device: lx.Device, dtype: str, side: int) -> bool:
    """So they go out, by DLPack and by the older protocol."""
    expected, ok = _numbers(dtype, side), True
    x = lx.to_device(lx.asarray(expected), device)
    for index in (np.s_[:], np.s_[1:, ::-2], np.s_[3]):
        part = x[index]
        for there in (cupy.from_dlpack(part), cupy.asarray(part), cupy.from_dlpack(part, copy=True)):
            ok &= np.array_equal(there.get(), expected[index])
    return ok


def _waits(cupy: Any, device: lx.Device, dtype: str, side: int) -> bool:
    """Streams that work at the same time, and memory that is used again at once."""
    expected, ok = _numbers(dtype, side), True
    x = lx.to_device(lx.asarray(expected), device)
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(3)]
    for turn in range(30):
        with streams[turn % 3]:
            there = cupy.from_dlpack(x + float(turn)) + 1
            back = lx.from_dlpack(there)
            del there
            ok &= np.array_equal(_host(back - 1.0), expected + turn)
            del back
    return ok


def _torch(torch: Any, device: lx.Device, dtype: str, side: int) -> bool:
    """PyTorch's tensors, from a side stream as well."""
    expected, ok = _numbers(dtype, side), True
    x = lx.to_device(lx.asarray(expected), device)
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        with torch.cuda.stream(stream):
            there = torch.from_dlpack(x)
            ok &= np.array_equal(there.cpu().numpy(), expected)
            back = lx.from_dlpack(torch.flip(there, (0,)).T)
            ok &= back.device == device and np.array_equal(_host(back), expected[::-1].T)
    return ok


def trials(device: lx.Device, fake: bool) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Names, and functions that say whether everything was as it should be."""
    import cupy

    side = 40 if fake else 1000
    for dtype in DTYPES:
        yield f"from CuPy, {dtype}", functools.partial(_comes_in, cupy, device, dtype, side)
        yield f"to CuPy, {dtype}", functools.partial(_goes_out, cupy, device, dtype, side)
    for dtype in ("float32", "float64"):
        yield f"streams, {dtype}", functools.partial(_waits, cupy, device, dtype, side)
    if fake or importlib.util.find_spec("torch") is None:
        return
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        for dtype in DTYPES:
            yield f"PyTorch, {dtype}", functools.partial(_torch, torch, device, dtype, side)
