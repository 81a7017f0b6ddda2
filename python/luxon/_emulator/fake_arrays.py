"""The arrays of the stand-in for CuPy, with its events and default stream: what DLPack between it and luxon takes.

An array is a NumPy array over a block of the stand-in's memory. Whatever reads or writes its elements happens on the
stream that is current, when somebody waits for it: a stream that should have waited for another reads poison. A block
is freed in the order of the stream on which it was made, whatever other streams have yet to do with it. Capsules are
NumPy's, with another device in them.
"""

from __future__ import annotations

import ctypes
import types
from typing import Any

import numpy as np

from . import fake_cupy

CPU, CUDA = 1, 2
LEGACY = 1
PER_THREAD = 2
_events: dict[int, Event] = {}


class Mark:
    """A place in a stream's work."""

    def __init__(self, stream: fake_cupy.Stream) -> None:
        self.stream = stream
        self.reached = not stream.pending
        if not self.reached:
            stream.add(self._reach)

    def _reach(self) -> None:
        self.reached = True

    def wait(self) -> None:
        while not self.reached:
            self.stream.pending.popleft()()


class Event:
    """What the streams that it was recorded on had been asked for."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.ptr = 0x9000 + len(_events)
        self.marks: list[Mark] = []
        _events[self.ptr] = self

    @property
    def done(self) -> bool:
        return all(mark.reached for mark in self.marks)


def event_record(event: int, stream: int) -> None:
    if stream in (0, LEGACY, PER_THREAD):
        # The legacy stream comes after all that do not run beside it.
        streams = [each for each in set(fake_cupy._streams.values()) if not each.non_blocking]
    else:
        streams = [fake_cupy._streams[stream]]
    _events[event].marks = [Mark(each) for each in streams]


def stream_wait_event(stream: int, event: int, flags: int = 0) -> None:
    marks = list(_events[event].marks)

    def wait() -> None:
        for mark in marks:
            mark.wait()

    fake_cupy._streams[stream].add(wait)


def pointer_get_attributes(address: int) -> types.SimpleNamespace:
    within = any(block.ptr <= address < block.ptr + block.size for block in fake_cupy._blocks)
    return types.SimpleNamespace(type=2 if within else 0, device=0 if within else -2)


def _current() -> fake_cupy.Stream:
    return fake_cupy.current_stream()


def _order(before: fake_cupy.Stream, stream: int) -> None:
    """Makes a stream wait for another."""
    event = Event()
    event.marks = [Mark(before)]
    stream_wait_event(stream, event.ptr)


class _Bytes:
    """A block, as NumPy takes it for the owner of an array."""

    def __init__(self, size: int) -> None:
        self.block = fake_cupy.Memory(max(size, 1))
        self.__array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (self.block.ptr, False),
            "version": 3,
        }


class _Foreign:
    """Memory that an object describes by `__cuda_array_interface__`, which NumPy keeps with the array."""

    def __init__(self, owner: object, interface: dict[str, Any]) -> None:
        self.owner = owner
        entries = ("shape", "typestr", "data", "strides")
        self.__array_interface__ = {"version": 3} | {key: interface.get(key) for key in entries}


def _bare(host: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same elements for work that is yet to be done, which keeps no memory alive."""
    return np.asarray(types.SimpleNamespace(__array_interface__=host.__array_interface__))


class ndarray:
    """An array of the device."""

    def __init__(self, host: np.ndarray[Any, Any]) -> None:
        #: The elements as the stream finds them when it comes to them: not for looking at before.
        self._host = host
        self.shape, self.dtype, self.strides = host.shape, host.dtype, host.strides
        self.data = types.SimpleNamespace(ptr=host.ctypes.data)

    def get(self) -> np.ndarray[Any, Any]:
        """The elements, after what the current stream was asked for."""
        _current().synchronize()
        return self._host.copy()

    def __getitem__(self, index: Any) -> ndarray:
        return ndarray(self._host[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        target, source = _bare(self._host), _bare(value._host) if isinstance(value, ndarray) else value
        _current().add(lambda: target.__setitem__(index, source))

    def __add__(self, other: float) -> ndarray:
        result = empty(self.shape, self.dtype)
        source, target = _bare(self._host), _bare(result._host)
        _current().add(lambda: np.add(source, other, out=target))
        return result

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self._host.__array_interface__ | {"version": 3, "stream": _current().ptr or LEGACY}

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, 0

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if dl_device not in (None, (CUDA, 0)):
            raise BufferError("fake_cupy: an array stays on its device")
        array = self
        if copy:
            array = empty(self.shape, self.dtype)
            array[...] = self
        if stream != -1:
            _order(_current(), LEGACY if stream is None else stream)
        capsule = array._host.__dlpack__(max_version=max_version)
        return _on(capsule, CUDA)


def _on(capsule: Any, kind: int) -> Any:
    """The capsule with another device in it."""
    valid = ctypes.pythonapi.PyCapsule_IsValid
    valid.argtypes = [ctypes.py_object, ctypes.c_char_p]
    find = ctypes.pythonapi.PyCapsule_GetPointer
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    # Before the tensor's description lie version, context, deleter and flags; the device comes after the address.
    name, before = (b"dltensor_versioned", 32) if valid(capsule, b"dltensor_versioned") else (b"dltensor", 0)
    ctypes.c_int.from_address(find(capsule, name) + before + 8).value = kind
    return capsule


class _OnHost:
    """A capsule of the device's memory, as NumPy takes it."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU, 0

    def __dlpack__(self, **_: object) -> Any:
        return self._capsule


def empty(shape: tuple[int, ...], dtype: Any = "f4") -> ndarray:
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=int)) * kind.itemsize
    return ndarray(np.asarray(_Bytes(size)).view(kind).reshape(shape))


def array(values: Any, dtype: Any = None) -> ndarray:
    """A copy of a host array, made when the current stream comes to it."""
    staged = np.array(values, dtype)
    result = empty(staged.shape, staged.dtype)
    result[...] = staged
    return result


def asarray(values: Any) -> ndarray:
    """An array over the memory that an object describes, or a copy of a host array."""
    if isinstance(values, ndarray):
        return values
    interface = getattr(values, "__cuda_array_interface__", None)
    if interface is None:
        return array(values)
    if interface.get("stream") is not None:
        _order(fake_cupy._streams[interface["stream"]], _current().ptr or LEGACY)
    return ndarray(np.asarray(_Foreign(values, interface)))


def from_dlpack(values: Any, *, copy: bool | None = None) -> ndarray:
    """An array over a producer's memory, with the calls that CuPy 14 makes."""
    kind, _ = values.__dlpack_device__()
    if kind != CUDA:
        raise TypeError("CPU arrays cannot be directly imported")
    capsule = values.__dlpack__(stream=_current().ptr or LEGACY, max_version=(1, 0), copy=copy)
    return ndarray(np.from_dlpack(_OnHost(_on(capsule, CPU))))


def install(cupy: Any) -> None:
    """Adds arrays to the stand-in."""
    legacy = fake_cupy.Stream()
    del fake_cupy._streams[legacy.ptr]
    legacy.ptr = 0
    for handle in (0, LEGACY, PER_THREAD):
        fake_cupy._streams[handle] = legacy
    runtime = cupy.cuda.runtime
    runtime.memoryTypeUnregistered, runtime.memoryTypeHost = 0, 1
    runtime.memoryTypeDevice, runtime.memoryTypeManaged = 2, 3
    runtime.eventRecord, runtime.streamWaitEvent = event_record, stream_wait_event
    runtime.pointerGetAttributes = pointer_get_attributes
    cupy.cuda.Event = Event
    for each in (array, asarray, empty, from_dlpack, ndarray):
        setattr(cupy, each.__name__, each)
