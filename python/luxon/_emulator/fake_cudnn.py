"""A stand-in for cuDNN's frontend on the host, beside the one for CuPy: graphs of one convolution, in NumPy.

It takes the calls and the keywords that the frontend takes, in the order in which it wants them, and keeps its rules:
uids for tensors, sizes that fit, addresses at multiples of 16 bytes, a workspace of the size that the graph asked
for (which is overwritten), work on the stream of the handle and only when that is waited for, no handle made while
a stream is captured. What passes here has been emulated, not run by cuDNN.
"""

from __future__ import annotations

import ctypes
import enum
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from . import fake_cupy, memory

#: Bytes that every graph asks for to work in.
WORKSPACE = 4000
#: Given by tests: why a convolution (its name and its image's sizes) has no plan; None where it has one.
refuse: Callable[[str, tuple[int, ...]], str | None] = lambda name, sizes: None  # noqa: E731
#: What was built, for tests: name and operands' (sizes, strides, type) by uid.
built: list[Graph] = []

_handles: dict[int, int] = {}


class cudnnGraphNotSupportedError(Exception):
    """What the frontend raises where no engine computes a graph."""


class data_type(enum.Enum):
    NOT_SET = "not set"
    DOUBLE = "float64"
    FLOAT = "float32"
    HALF = "float16"
    BFLOAT16 = "bfloat16"


heur_mode = enum.Enum("heur_mode", ["A", "B", "FALLBACK"])
numerical_note = enum.Enum(
    "numerical_note",
    [
        "TENSOR_CORE",
        "DOWN_CONVERT_INPUTS",
        "REDUCED_PRECISION_REDUCTION",
        "FFT",
        "NONDETERMINISTIC",
        "WINOGRAD",
        "WINOGRAD_TILE_4x4",
        "WINOGRAD_TILE_6x6",
        "WINOGRAD_TILE_13x13",
        "STRICT_NAN_PROP",
    ],
)


def backend_version_string() -> str:
    return "emulated"


def create_handle() -> int:
    if fake_cupy.anything_captured():
        raise RuntimeError("cudnnHandle Create failed: allocating while a stream is captured")
    handle = 0x2000 + len(_handles)
    _handles[handle] = 0
    return handle


def set_stream(handle: int, stream: int) -> None:
    if stream not in fake_cupy._streams:
        raise RuntimeError(f"cudnnSetStream failed: no stream {stream:#x}")
    _handles[handle] = stream


class Tensor:
    """A tensor of a graph; its setters give it back."""

    def __init__(self, uid: int, dim: list[int], stride: list[int], kind: data_type) -> None:
        self.uid, self.dim, self.stride, self.kind, self.output = uid, dim, stride, kind, False

    def set_output(self, value: bool) -> Tensor:
        self.output = value
        return self

    def set_uid(self, uid: int) -> Tensor:
        self.uid = uid
        return self

    def set_dim(self, dim: list[int]) -> Tensor:
        self.dim = dim
        return self

    def set_stride(self, stride: list[int]) -> Tensor:
        self.stride = stride
        return self

    def set_data_type(self, kind: data_type) -> Tensor:
        self.kind = kind
        return self

    def view(self, address: int) -> memory.Array:
        return memory.strided(address, self.kind.value, tuple(self.dim), tuple(self.stride))


class Graph:
    """A graph of one convolution."""

    STEPS = ("validate", "build_operation_graph", "create_execution_plans", "check_support", "build_plans")

    def __init__(
        self,
        name: str = "",
        io_data_type: data_type = data_type.NOT_SET,
        intermediate_data_type: data_type = data_type.NOT_SET,
        compute_data_type: data_type = data_type.NOT_SET,
        handle: int | None = None,
    ) -> None:
        self.compute, self.handle, self.done = compute_data_type, handle, 0
        self.name = ""
        self.inputs: tuple[Tensor, ...] = ()
        self.ways: list[list[int]] = []
        self.notes: set[Any] = set()

    def tensor(self, dim: list[int], stride: list[int], data_type: data_type, uid: int = -1) -> Tensor:
        return Tensor(uid, dim, stride, data_type)

    def _convolution(self, name: str, *inputs: Tensor, **ways: list[int]) -> Tensor:
        self.name, self.inputs = name, inputs
        self.ways = [ways[key] for key in ("pre_padding", "post_padding", "stride", "dilation")]
        self.result = Tensor(-1, [], [], data_type.NOT_SET)
        return self.result

    def conv_fprop(self, image: Tensor, weight: Tensor, **ways: list[int]) -> Tensor:
        return self._convolution("conv_fprop", image, weight, **ways)

    def conv_dgrad(self, loss: Tensor, filter: Tensor, **ways: list[int]) -> Tensor:
        return self._convolution("conv_dgrad", loss, filter, **ways)

    def conv_wgrad(self, image: Tensor, loss: Tensor, **ways: list[int]) -> Tensor:
        return self._convolution("conv_wgrad", image, loss, **ways)

    def operands(self) -> tuple[Tensor, Tensor, Tensor]:
        """x, w and y."""
        first, second = self.inputs
        if self.name == "conv_fprop":
            return first, second, self.result
        return (self.result, second, first) if self.name == "conv_dgrad" else (first, self.result, second)

    def _step(self, name: str) -> None:
        if self.STEPS.index(name) != self.done:
            raise RuntimeError(f"{name} follows {self.STEPS[self.done - 1]}")
        self.done += 1

    def validate(self) -> None:
        self._step("validate")

    def build_operation_graph(self) -> None:
        self._step("build_operation_graph")
        x, w, y = self.operands()
        spatial = range(len(x.dim) - 2)
        fits = len(x.dim) in (4, 5) and x.dim[0] == y.dim[0] and w.dim[0] == y.dim[1] and self.result.output
        fits = fits and x.dim[1] % w.dim[1] == 0 and y.dim[1] % (x.dim[1] // w.dim[1]) == 0
        for axis, before, after, stride, dilation in zip(spatial, *self.ways, strict=True):
            reach = (w.dim[axis + 2] - 1) * dilation + 1
            fits = fits and (x.dim[axis + 2] + before + after - reach) // stride + 1 == y.dim[axis + 2]
            fits = fits and min(before, after) >= 0
        for tensor in (x, w, y):
            fits = fits and len(tensor.stride) == len(tensor.dim) and min(tensor.stride) > 0
        if not fits:
            raise RuntimeError("detail::finalize failed, and code: CUDNN_STATUS_BAD_PARAM")

    def create_execution_plans(self, modes: list[Any]) -> None:
        self._step("create_execution_plans")

    def deselect_numeric_notes(self, notes: list[Any]) -> None:
        self.notes.update(notes)

    def deselect_workspace_greater_than(self, most: int) -> None:
        pass

    def check_support(self) -> None:
        self._step("check_support")
        why = refuse(self.name, tuple(self.operands()[0].dim))
        if why is not None:
            raise cudnnGraphNotSupportedError(why)

    def build_plans(self) -> None:
        self._step("build_plans")
        built.append(self)

    def get_workspace_size(self) -> int:
        return WORKSPACE

    def execute(self, pointers: dict[int, int], workspace: int, handle: int | None = None) -> None:
        if self.done != len(self.STEPS) or handle is None:
            raise RuntimeError("an execution before its plans, or without a handle")
        tensors = self.operands()
        if {tensor.uid for tensor in tensors} != pointers.keys() or any(at % 16 for at in pointers.values()):
            raise RuntimeError("CUDNN_STATUS_BAD_PARAM: uids or alignment")
        x, w, y = (tensor.view(pointers[tensor.uid]) for tensor in tensors)

        def work() -> None:
            ctypes.memset(workspace, fake_cupy.POISON, WORKSPACE)
            self._compute(x, w, y)

        fake_cupy._streams[_handles[handle]].add(work)

    def _compute(self, x: memory.Array, w: memory.Array, y: memory.Array) -> None:
        before, after, strides, dilations = self.ways
        dtype = self.result.kind.value
        working = np.dtype(self.compute.value)
        groups, filters = x.shape[1] // w.shape[1], w.shape[0] * w.shape[1] // x.shape[1]
        sizes = (x.shape[0], groups, w.shape[1])
        margins = [(0, 0)] * 3 + list(zip(before, after, strict=True))
        shapes = [(a, b) for a, b in zip(self.operands()[0].dim[2:], before, strict=True)]
        weights = memory.wide(w, dtype).reshape(groups, filters, *w.shape[1:])
        outputs = memory.wide(y, dtype).reshape(y.shape[0], groups, filters, *y.shape[2:])
        images = memory.wide(x, dtype).reshape(*sizes, *x.shape[2:])
        if self.name == "conv_fprop":
            outputs = np.zeros(outputs.shape, working)
        if self.name == "conv_wgrad":
            weights = np.zeros(weights.shape, working)
        zeros = self.name == "conv_dgrad"
        padded = np.pad(np.zeros(images.shape, working) if zeros else images, margins)
        with np.errstate(all="ignore"):
            for tap in np.ndindex(*w.shape[2:]):
                seen = (slice(None),) * 3 + tuple(
                    slice(t * d, t * d + (out - 1) * s + 1, s)
                    for t, d, s, out in zip(tap, dilations, strides, y.shape[2:], strict=True)
                )
                at = (slice(None),) * 3 + tap
                if self.name == "conv_fprop":
                    outputs += np.einsum("bgc...,gfc->bgf...", padded[seen], weights[at])
                elif self.name == "conv_dgrad":
                    padded[seen] += np.einsum("bgf...,gfc->bgc...", outputs, weights[at])
                else:
                    flat = padded[seen].reshape(*sizes, -1)
                    weights[at] = np.einsum("bgfp,bgcp->gfc", outputs.reshape(*outputs.shape[:3], -1), flat)
        if self.name == "conv_fprop":
            memory.store(y, outputs.reshape(y.shape), dtype)
        elif self.name == "conv_dgrad":
            inside = (slice(None),) * 3 + tuple(slice(at, at + size) for size, at in shapes)
            memory.store(x, padded[inside].reshape(x.shape), dtype)
        else:
            memory.store(w, weights.reshape(w.shape), dtype)


def install() -> None:
    """Puts the stand-in where `import cudnn` finds it, behind the one for CuPy."""
    fake_cupy.install()
    module = types.ModuleType("cudnn")
    names: dict[str, Any] = dict(
        __version__="emulated",
        backend_version_string=backend_version_string,
        create_handle=create_handle,
        set_stream=set_stream,
        data_type=data_type,
        heur_mode=heur_mode,
        numerical_note=numerical_note,
        cudnnGraphNotSupportedError=cudnnGraphNotSupportedError,
        pygraph=Graph,
    )
    module.__dict__.update(names)
    sys.modules["cudnn"] = module
