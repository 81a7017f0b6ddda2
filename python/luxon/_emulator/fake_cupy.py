"""A stand-in for CuPy on the host, under which luxon's CUDA table runs as it is.

It keeps the rules that a GPU keeps and a quick test on a CPU would not notice:

- what is launched or copied on a stream happens when the stream is waited for, in order, and not before;
- memory starts poisoned, and is poisoned again when it is freed;
- while a stream is captured nothing may allocate, wait, or read and write host memory; what was captured can be
  replayed, with the arguments of its launches as they were, and the memory as it is then.

Kernels run through the emulator, products through NumPy. What passes here has been emulated, not run on a GPU.
"""

from __future__ import annotations

import collections
import ctypes
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from . import Emulator, memory

POISON = 0xFF
Work = Callable[[], object]

_emulator: Emulator | None = None
_streams: dict[int, Stream] = {}
#: Freed blocks, poisoned, kept from the host's allocator for a while so that a late write finds only them.
_freed: collections.deque[np.ndarray[Any, Any]] = collections.deque(maxlen=256)
_current: list[Stream] = []
_blocks: weakref.WeakSet[Memory] = weakref.WeakSet()


class CUDARuntimeError(RuntimeError):
    """What the runtime answers where a call is not allowed."""


class OutOfMemoryError(MemoryError):
    """Device memory is used up."""


def emulator() -> Emulator:
    global _emulator
    if _emulator is None:
        _emulator = Emulator()
    return _emulator


class Graph:
    """What a capture recorded."""

    def __init__(self, work: list[Work]) -> None:
        self.work = work

    def launch(self, stream: Stream) -> None:
        for each in self.work:
            stream.add(each)


class Stream:
    """Work in the order in which it was asked for, done when somebody waits."""

    def __init__(self, non_blocking: bool = False) -> None:
        self.ptr = 0x1000 + len(_streams)
        self.non_blocking = non_blocking
        self.pending: collections.deque[Work] = collections.deque()
        self.captured: list[Work] | None = None
        _streams[self.ptr] = self

    def __enter__(self) -> Stream:
        _current.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.pop()

    def add(self, work: Work) -> None:
        (self.pending if self.captured is None else self.captured).append(work)

    def refuse(self, what: str) -> None:
        """Raises while the stream is captured."""
        if self.captured is not None:
            raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} while a stream is captured")

    def synchronize(self) -> None:
        self.refuse("waiting")
        while self.pending:
            self.pending.popleft()()

    def begin_capture(self) -> None:
        self.refuse("another capture")
        self.captured = []

    def end_capture(self) -> Graph:
        if self.captured is None:
            raise CUDARuntimeError("cudaErrorIllegalState: nothing is captured")
        graph, self.captured = Graph(self.captured), None
        return graph


def current_stream() -> Stream:
    """The stream of the innermost `with`, else the default one."""
    return _current[-1] if _current else _streams[0]


def anything_captured() -> bool:
    return any(stream.captured is not None for stream in _streams.values())


class Memory:
    """A block of the device, poisoned at both ends of its life."""

    def __init__(self, size: int) -> None:
        if anything_captured():
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: allocating while a stream is captured")
        self._block = np.full(size + 256, POISON, np.uint8)
        self.ptr = -(-self._block.ctypes.data // 256) * 256
        self.size = size
        self._stream = current_stream()
        _blocks.add(self)

    def __del__(self) -> None:
        block, stream = self._block, self._stream
        _freed.append(block)
        # In order with the work of the stream for which it was allocated, and of no other.
        if stream.pending:
            stream.pending.append(lambda: block.fill(POISON))
        else:
            block.fill(POISON)


class Device:
    def __init__(self, index: int = 0) -> None:
        self.id = index

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Function:
    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


class Module:
    """Kernels of one text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_function(self, name: str) -> Function:
        return Function(emulator().function(self.text, name))


class RawModule:
    def __init__(self, code: str, options: tuple[str, ...] = (), **_: object) -> None:
        self.module = Module(code)


# The runtime.

HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3


def memcpy_async(to: int, source: int, size: int, kind: int, stream: int) -> None:
    found = _streams[stream]
    if kind == HOST_TO_DEVICE:
        found.refuse("a copy from pageable host memory")
        staged = ctypes.string_at(source, size)
        found.add(lambda: ctypes.memmove(to, staged, size))
        return
    if kind == DEVICE_TO_HOST:
        found.refuse("a copy to pageable host memory")
    found.add(lambda: ctypes.memmove(to, source, size))


def memset_async(to: int, value: int, size: int, stream: int) -> None:
    _streams[stream].add(lambda: ctypes.memset(to, value, size))


def device_synchronize() -> None:
    for stream in list(_streams.values()):
        stream.synchronize()


def launch_kernel(function: int, *numbers: int) -> None:
    """Takes grid, block, shared bytes, stream, parameters and extra, as the driver does."""
    gx, gy, gz, bx, by, bz, shared, stream, parameters, _ = numbers
    if not (0 < bx * by * bz <= 1024 and bz <= 64 and 0 < gx < 2**31 and 0 < gy < 2**16 and 0 < gz < 2**16):
        raise CUDARuntimeError(f"CUDA_ERROR_INVALID_VALUE: grid ({gx}, {gy}, {gz}), block ({bx}, {by}, {bz})")
    if shared > 48 * 1024:
        raise CUDARuntimeError(f"CUDA_ERROR_INVALID_VALUE: {shared} bytes of shared memory")
    sizes = emulator().parameter_sizes(function)
    places = (ctypes.c_void_p * len(sizes)).from_address(parameters)
    # The arguments are taken by value now, as the driver does.
    kept = [
        ctypes.create_string_buffer(ctypes.string_at(p, n), n) for p, n in zip(places, sizes, strict=True)
    ]
    addresses = (ctypes.c_void_p * max(len(kept), 1))(*[ctypes.addressof(argument) for argument in kept])

    def run(kept: object = kept) -> None:
        emulator().launch(function, (gx, gy, gz), (bx, by, bz), shared, ctypes.addressof(addresses))

    _streams[stream].add(run)


# cuBLAS: column-major products.

TYPES = {0: "float32", 1: "float64", 2: "float16", 14: "bfloat16"}


def gemm_strided_batched_ex(
    handle: int,
    trans_a: int,
    trans_b: int,
    m: int,
    n: int,
    k: int,
    alpha: int,
    a: int,
    a_type: int,
    lda: int,
    stride_a: int,
    b: int,
    b_type: int,
    ldb: int,
    stride_b: int,
    beta: int,
    c: int,
    c_type: int,
    ldc: int,
    stride_c: int,
    batch: int,
    compute: int,
    algorithm: int,
) -> None:
    if not _current:
        raise CUDARuntimeError("a product outside the table's stream")
    dtype = TYPES[c_type]
    factor = np.dtype("f8" if dtype == "float64" else "f4")
    # Factors are read when the call is made: the pointer mode is that of the host.
    scale = [
        float(np.frombuffer(ctypes.string_at(place, factor.itemsize), factor)[0]) for place in (alpha, beta)
    ]

    def matrices(first: int, kind: int, lead: int, stride: int, rows: int, columns: int) -> memory.Array:
        if lead < max(rows, 1):
            raise CUDARuntimeError(f"CUBLAS_STATUS_INVALID_VALUE: leading dimension {lead} of {rows} rows")
        return memory.strided(first, TYPES[kind], (batch, rows, columns), (stride, 1, lead))

    left = matrices(a, a_type, lda, stride_a, *((k, m) if trans_a else (m, k)))
    right = matrices(b, b_type, ldb, stride_b, *((n, k) if trans_b else (k, n)))
    out = matrices(c, c_type, ldc, stride_c, m, n)
    left = left.swapaxes(1, 2) if trans_a else left
    right = right.swapaxes(1, 2) if trans_b else right
    _current[-1].add(lambda: memory.multiply(dtype, left, right, out, scale[0], scale[1]))


def gemm_ex(*given: int) -> None:
    """One product: as many, a stride of 0 apart."""
    all_given: list[int] = [*given[:10], 0, *given[10:13], 0, *given[13:17], 0, 1, *given[17:]]
    gemm_strided_batched_ex(*all_given)


def _module(name: str, **names: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(names)
    sys.modules[name] = module
    return module


def install() -> None:
    """Puts the stand-in where `import cupy` finds it.

    Raises:
        RuntimeError: if CuPy itself is imported already, or if there is no C++ compiler.
    """
    known = sys.modules.get("cupy")
    if known is not None:
        if getattr(known, "is_fake", False):
            return
        raise RuntimeError("fake_cupy: CuPy itself is imported already")
    if not Emulator.available():
        raise RuntimeError("fake_cupy: no C++ compiler was found; set CXX, or install g++")
    runtime = _module(
        "cupy_backends.cuda.api.runtime",
        CUDARuntimeError=CUDARuntimeError,
        memcpyHostToDevice=HOST_TO_DEVICE,
        memcpyDeviceToHost=DEVICE_TO_HOST,
        memcpyDeviceToDevice=DEVICE_TO_DEVICE,
        CUDA_R_32F=0,
        CUDA_R_64F=1,
        CUDA_R_16F=2,
        CUDA_R_16BF=14,
        memcpyAsync=memcpy_async,
        memsetAsync=memset_async,
        streamSynchronize=lambda stream: _streams[stream].synchronize(),
        deviceSynchronize=device_synchronize,
        setDevice=lambda index: None,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda index: {"name": b"emulated"},
        runtimeGetVersion=lambda: 0,
        driverGetVersion=lambda: 0,
    )
    driver = _module("cupy_backends.cuda.api.driver", launchKernel=launch_kernel)
    cublas = _module(
        "cupy_backends.cuda.libs.cublas",
        CUBLAS_COMPUTE_32F=68,
        CUBLAS_COMPUTE_64F=70,
        CUBLAS_COMPUTE_32F_FAST_TF32=77,
        gemmEx=gemm_ex,
        gemmStridedBatchedEx=gemm_strided_batched_ex,
    )
    api = _module("cupy_backends.cuda.api", driver=driver, runtime=runtime)
    libraries = _module("cupy_backends.cuda.libs", cublas=cublas)
    backends = _module("cupy_backends.cuda", api=api, libs=libraries)
    _module("cupy_backends", cuda=backends)
    cuda = _module(
        "cupy.cuda",
        runtime=runtime,
        Device=Device,
        Stream=Stream,
        alloc=Memory,
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        device=types.SimpleNamespace(get_cublas_handle=lambda: 1),
    )
    from . import fake_arrays

    fake_arrays.install(_module("cupy", __version__="emulated", is_fake=True, cuda=cuda, RawModule=RawModule))
