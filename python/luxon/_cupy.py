"""What a CUDA device is asked to do, one function each: the only place where CuPy is called.

The core decides what runs on which bytes; here are memory, copies, compiled kernels, launches and matrix
products, all by address and all on one non-blocking stream, so that they happen in the order in which they are
asked for. Nothing but `allocate` allocates, and nothing but `download` and `synchronize` waits.

`CuPyTable` is a real device. `EmulatedTable` has the same functions over the host's memory and runs the text of
the kernels through a host compiler: it is how kernels and plans are tested where there is no GPU, and it says
nothing about a GPU's speed.
"""

from __future__ import annotations

import ctypes
from typing import Any, Protocol

import numpy as np

from ._cudnn import Convolutions, Cudnn, Laid, Motion, Run

#: A matrix operand: address, elements between rows, elements between matrices, whether it is transposed.
Matrix = tuple[int, int, int, bool]
#: Rows, columns, inner size and number of products.
Product = tuple[int, int, int, int]
#: Of the product, and of what is there already.
Factors = tuple[float, float]
#: Of a grid or of a block.
Sizes = tuple[int, int, int]


class Table(Protocol):
    """The functions of a device. Addresses and sizes in bytes are ints."""

    #: Whether the core keeps freed blocks for later.
    keeps_blocks: bool

    def allocate(self, size: int) -> tuple[int, object]:
        """The address of new memory, and the object that keeps it."""

    def upload(self, to: int, source: int, size: int) -> None:
        """Copies from the host; the source may change as soon as this returns."""

    def download(self, to: int, source: int, size: int) -> None:
        """Copies to the host, and waits."""

    def function(self, text: str, name: str) -> int:
        """A handle of the kernel that the text defines under that name."""

    def launch(self, function: int, grid: Sizes, block: Sizes, shared: int, parameters: int) -> None:
        """Launches a kernel; `parameters` is the address of a list of its arguments' addresses."""

    def gemm(self, dtype: str, sizes: Product, a: Matrix, b: Matrix, c: Matrix, factors: Factors) -> None:
        """`c = alpha a b + beta c`, row-major; factors are alpha and beta."""

    def convolution(
        self, product: str, dtype: str, x: Laid, w: Laid, y: Laid, motions: tuple[Motion, ...]
    ) -> tuple[Run, int] | None:
        """What runs a product of a convolution by a library, and the bytes it works in; None without one."""

    def zero(self, to: int, size: int) -> None:
        """Sets bytes to 0."""

    def copy(self, to: int, source: int, size: int) -> None:
        """Copies within the device."""

    def write(self, to: int, data: bytes) -> None:
        """Copies a few bytes from the host, in order with everything else."""

    def synchronize(self) -> None:
        """Waits for all of it."""


_opened: dict[tuple[str, int], Table] = {}
_precision = "float32"


def precision() -> str:
    """How float32 products are computed on CUDA devices: `"float32"` or `"tf32"`."""
    return _precision


def set_precision(value: str) -> None:
    """Chooses how float32 products are computed on CUDA devices.

    Args:
        value: `"float32"` keeps every bit of the operands (the default); `"tf32"` rounds them to 11 bits, which
            is several times faster. Half types are always summed in float32.

    Raises:
        ValueError: it is neither.
    """
    global _precision
    if value not in ("float32", "tf32"):
        raise ValueError(f"set_precision: {value!r} is neither 'float32' nor 'tf32'")
    _precision = value


def open(kind: str, index: int) -> Table:
    """The table of a device: `cuda` or `cuda-emulated`, and its number.

    Raises:
        RuntimeError: CuPy, a driver or the device is missing; the message says what to do.
    """
    key = (kind, index)
    if key not in _opened:
        _opened[key] = CuPyTable(index) if kind == "cuda" else EmulatedTable()
    return _opened[key]


def cudnn(index: int = 0) -> Cudnn:
    """Whether cuDNN computes the convolutions of a CUDA device, and what it had no plan for.

    Where it does not, they are products with matrices of patches. It is used where `nvidia-cudnn-frontend` and cuDNN
    itself are installed (`luxon[cudnn13]`, `luxon[cudnn12]`), unless the environment says `LUXON_CUDNN=0`.

    Args:
        index: the device's number.

    Raises:
        RuntimeError: CuPy, a driver or the device is missing.
    """
    table = open("cuda", index)
    assert isinstance(table, CuPyTable)
    return table.convolutions.report()


class CuPyTable:
    """A CUDA device through CuPy's bindings of the driver, the runtime and cuBLAS."""

    keeps_blocks = True

    def __init__(self, index: int) -> None:
        try:
            import cupy
        except ImportError as error:
            raise RuntimeError(
                f"cuda:{index}: CuPy is missing ({error}); install luxon[cuda13] or luxon[cuda12], whichever "
                "CUDA the driver supports"
            ) from error
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise RuntimeError(f"cuda:{index}: no usable NVIDIA driver or GPU was found ({error})") from error
        if index >= count:
            raise RuntimeError(f"cuda:{index}: there are {count} CUDA devices, numbered from 0")
        from cupy_backends.cuda.api import driver, runtime
        from cupy_backends.cuda.libs import cublas

        self._cupy, self._driver, self._runtime, self._cublas = cupy, driver, runtime, cublas
        self.index = index
        self.device = cupy.cuda.Device(index)
        with self.device:
            self.stream = cupy.cuda.Stream(non_blocking=True)
        self._handle: int = self.stream.ptr
        self.convolutions = Convolutions(self._handle, lambda: runtime.setDevice(index))
        #: What keeps the compiled code of the handles that were given out.
        self._modules: dict[str, Any] = {}
        self._functions: list[Any] = []
        types = runtime
        self._types = {
            "float64": (types.CUDA_R_64F, cublas.CUBLAS_COMPUTE_64F, np.float64),
            "float32": (types.CUDA_R_32F, cublas.CUBLAS_COMPUTE_32F, np.float32),
            "float16": (types.CUDA_R_16F, cublas.CUBLAS_COMPUTE_32F, np.float32),
            "bfloat16": (types.CUDA_R_16BF, cublas.CUBLAS_COMPUTE_32F, np.float32),
        }
        #: The factors of products, kept at fixed addresses of the host.
        self._factors: dict[tuple[Any, float], np.ndarray[Any, Any]] = {}

    def allocate(self, size: int) -> tuple[int, object]:
        with self.device, self.stream:
            try:
                memory = self._cupy.cuda.alloc(size)
            except self._cupy.cuda.memory.OutOfMemoryError as error:
                raise MemoryError(str(error)) from error
        return memory.ptr, memory

    def upload(self, to: int, source: int, size: int) -> None:
        # Pageable memory is staged before the call returns: the source is free again.
        self._runtime.setDevice(self.index)
        self._runtime.memcpyAsync(to, source, size, self._runtime.memcpyHostToDevice, self._handle)

    def download(self, to: int, source: int, size: int) -> None:
        self._runtime.setDevice(self.index)
        self._runtime.memcpyAsync(to, source, size, self._runtime.memcpyDeviceToHost, self._handle)
        self._runtime.streamSynchronize(self._handle)

    def function(self, text: str, name: str) -> int:
        with self.device:
            module = self._modules.get(text)
            if module is None:
                module = self._cupy.RawModule(code=text, options=("--std=c++17",)).module
                self._modules[text] = module
            function = module.get_function(name)
        self._functions.append(function)
        handle: int = function.ptr
        return handle

    def launch(self, function: int, grid: Sizes, block: Sizes, shared: int, parameters: int) -> None:
        self._runtime.setDevice(self.index)
        self._driver.launchKernel(function, *grid, *block, shared, self._handle, parameters, 0)

    def _factor(self, kind: Any, value: float) -> int:
        key = (kind, value)
        kept = self._factors.get(key)
        if kept is None:
            kept = self._factors[key] = np.full(1, value, kind)
        return kept.ctypes.data

    def gemm(self, dtype: str, sizes: Product, a: Matrix, b: Matrix, c: Matrix, factors: Factors) -> None:
        rows, columns, inner, batch = sizes
        kind, compute, scale = self._types[dtype]
        if dtype == "float32" and _precision == "tf32":
            compute = self._cublas.CUBLAS_COMPUTE_32F_FAST_TF32
        # cuBLAS counts by columns, so it sees every matrix transposed: c' = b' a'.
        transposed = (int(b[3]), int(a[3]))
        alpha, beta = (self._factor(scale, factor) for factor in factors)
        with self.device, self.stream:
            handle = self._cupy.cuda.device.get_cublas_handle()
            if batch == 1:
                self._cublas.gemmEx(
                    handle, *transposed, columns, rows, inner, alpha,
                    b[0], kind, b[1], a[0], kind, a[1], beta, c[0], kind, c[1], compute, -1,
                )  # fmt: skip
            else:
                self._cublas.gemmStridedBatchedEx(
                    handle, *transposed, columns, rows, inner, alpha,
                    b[0], kind, b[1], b[2], a[0], kind, a[1], a[2], beta, c[0], kind, c[1], c[2],
                    batch, compute, -1,
                )  # fmt: skip

    def convolution(
        self, product: str, dtype: str, x: Laid, w: Laid, y: Laid, motions: tuple[Motion, ...]
    ) -> tuple[Run, int] | None:
        return self.convolutions.find(product, dtype, x, w, y, motions, _precision == "tf32")

    def zero(self, to: int, size: int) -> None:
        self._runtime.setDevice(self.index)
        self._runtime.memsetAsync(to, 0, size, self._handle)

    def copy(self, to: int, source: int, size: int) -> None:
        self._runtime.setDevice(self.index)
        self._runtime.memcpyAsync(to, source, size, self._runtime.memcpyDeviceToDevice, self._handle)

    def write(self, to: int, data: bytes) -> None:
        self.upload(to, ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0, len(data))

    def synchronize(self) -> None:
        self._runtime.streamSynchronize(self._handle)


class EmulatedTable:
    """The same functions over host memory; the kernels' text runs through a host compiler."""

    keeps_blocks = False

    def __init__(self) -> None:
        from ._emulator import Emulator, memory

        if not Emulator.available():
            raise RuntimeError("cuda-emulated: no C++ compiler was found; set CXX, or install g++")
        self._emulator, self._memory = Emulator(), memory

    def allocate(self, size: int) -> tuple[int, object]:
        # Poisoned: what is read before it is written is NaN, or far out of range.
        memory = np.full(size + 256, 0xFF, np.uint8)
        return -(-memory.ctypes.data // 256) * 256, memory

    def upload(self, to: int, source: int, size: int) -> None:
        ctypes.memmove(to, source, size)

    download = upload
    copy = upload

    def function(self, text: str, name: str) -> int:
        return self._emulator.function(text, name)

    def launch(self, function: int, grid: Sizes, block: Sizes, shared: int, parameters: int) -> None:
        self._emulator.launch(function, grid, block, shared, parameters)

    def gemm(self, dtype: str, sizes: Product, a: Matrix, b: Matrix, c: Matrix, factors: Factors) -> None:
        rows, columns, inner, batch = sizes

        def view(matrix: Matrix, rows: int, columns: int) -> np.ndarray[Any, Any]:
            address, stride, batch_stride, transposed = matrix
            if transposed:
                rows, columns = columns, rows
            assert stride >= columns, "rows overlap"
            found: np.ndarray[Any, Any]
            found = self._memory.strided(address, dtype, (batch, rows, columns), (batch_stride, stride, 1))
            return found.swapaxes(1, 2) if transposed else found

        a_view, b_view = view(a, rows, inner), view(b, inner, columns)
        self._memory.multiply(dtype, a_view, b_view, view(c, rows, columns), *factors)

    def convolution(self, *_: object) -> None:
        return None

    def zero(self, to: int, size: int) -> None:
        ctypes.memset(to, 0, size)

    def write(self, to: int, data: bytes) -> None:
        ctypes.memmove(to, data, len(data))

    def synchronize(self) -> None:
        pass
