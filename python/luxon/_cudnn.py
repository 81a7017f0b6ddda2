"""Convolutions by cuDNN, where its frontend is installed: graphs that are built once for each signature.

A graph has one convolution (forward, or the gradient for its images or its weights) on tensors with strides.
What cuDNN has no plan for, and everything where the frontend is missing, is computed by luxon's own kernels; why
is kept, and told by `luxon.cuda.cudnn()`. Only plans are taken that give the same bits every time, that sum half types
in float32, and that keep every bit of float32 operands unless `luxon.cuda.set_precision("tf32")` allowed otherwise.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: An operand: its sizes and its strides in elements, by axis.
Laid = tuple[tuple[int, ...], tuple[int, ...]]
#: A spatial axis: zeros before and behind the image, stride and dilation.
Motion = tuple[int, int, int, int]
#: Runs on the addresses of the two operands, the result and the workspace.
Run = Callable[[int, int, int, int], None]

#: How many graphs are kept, and how many refusals: those used last.
MOST_GRAPHS = 512
#: Plans that want more memory to work in are not taken.
MOST_WORKSPACE = 1 << 30

_TYPES = {"float64": "DOUBLE", "float32": "FLOAT", "float16": "HALF", "bfloat16": "BFLOAT16"}
_FIRST, _SECOND, _RESULT = 1, 2, 3


@dataclass(frozen=True)
class Cudnn:
    """What a device does with cuDNN.

    Example:
        >>> from luxon.cuda import Cudnn
        >>> Cudnn(version=None, reason="nvidia-cudnn-frontend is missing").version is None
        True
    """

    #: The versions of cuDNN and of its frontend; None where it is not in use.
    version: str | None
    #: Why it is not in use.
    reason: str | None = None
    #: How many graphs are built and kept.
    graphs: int = 0
    #: What it had no plan for, and why.
    refused: dict[str, str] = field(default_factory=dict)


class Convolutions:
    """The graphs of one device, which `enter` makes the current one; work goes to one stream."""

    def __init__(self, stream: int, enter: Callable[[], None]) -> None:
        self._stream, self._enter = stream, enter
        self._library: Any = None
        self._handle: int = 0
        self._version: str | None = None
        self._reason: str | None = None
        self._graphs: OrderedDict[tuple[Any, ...], tuple[Run, int] | str] = OrderedDict()

    def _open(self) -> bool:
        """Whether there is a cuDNN; looked for once."""
        if self._library is not None or self._reason is not None:
            return self._reason is None
        if os.environ.get("LUXON_CUDNN") == "0":
            self._reason = "LUXON_CUDNN is 0"
            return False
        try:
            import cudnn
        except ImportError as error:
            self._reason = (
                f"nvidia-cudnn-frontend is missing ({error}); install luxon[cudnn13] or luxon[cudnn12], "
                "whichever CUDA the driver supports"
            )
            return False
        self._enter()
        try:
            self._handle = cudnn.create_handle()
            cudnn.set_stream(self._handle, self._stream)
            self._version = f"{cudnn.backend_version_string()}, frontend {cudnn.__version__}"
        except Exception as error:  # the frontend is there and the library is not, or does not fit the driver
            self._reason = f"cuDNN does not start: {error}"
            return False
        self._library = cudnn
        return True

    def report(self) -> Cudnn:
        self._open()
        refused = {_signature(key): text for key, text in self._graphs.items() if isinstance(text, str)}
        return Cudnn(self._version, self._reason, len(self._graphs) - len(refused), refused)

    def find(
        self, product: str, dtype: str, x: Laid, w: Laid, y: Laid, motions: tuple[Motion, ...], tf32: bool
    ) -> tuple[Run, int] | None:
        """What runs a convolution, with the bytes of its workspace; None where cuDNN does not."""
        key = (product, dtype, x, w, y, motions, tf32 and dtype == "float32")
        known = self._graphs.get(key)
        if known is None:
            if not self._open():
                return None
            self._enter()
            try:
                known = self._build(*key)
            except (
                Exception
            ) as error:  # of several kinds: for what is not supported, and for what does not fit
                known = f"{type(error).__name__}: {error}"
            self._graphs[key] = known
            if len(self._graphs) > MOST_GRAPHS:
                self._graphs.popitem(last=False)
        else:
            self._graphs.move_to_end(key)
        return None if isinstance(known, str) else known

    def _build(
        self, product: str, dtype: str, x: Laid, w: Laid, y: Laid, motions: tuple[Motion, ...], tf32: bool
    ) -> tuple[Run, int]:
        cudnn, handle, enter = self._library, self._handle, self._enter
        kind = getattr(cudnn.data_type, _TYPES[dtype])
        working = cudnn.data_type.DOUBLE if dtype == "float64" else cudnn.data_type.FLOAT
        graph = cudnn.pygraph(
            io_data_type=kind, intermediate_data_type=working, compute_data_type=working, handle=handle
        )

        def tensor(laid: Laid, uid: int) -> Any:
            return graph.tensor(dim=list(laid[0]), stride=list(laid[1]), data_type=kind, uid=uid)

        before, after, stride, dilation = (list(each) for each in zip(*motions, strict=True))
        ways = {"pre_padding": before, "post_padding": after, "stride": stride, "dilation": dilation}
        if product == "forward":
            result = graph.conv_fprop(image=tensor(x, _FIRST), weight=tensor(w, _SECOND), **ways)
        elif product == "data":
            result = graph.conv_dgrad(loss=tensor(y, _FIRST), filter=tensor(w, _SECOND), **ways)
        else:
            result = graph.conv_wgrad(image=tensor(x, _FIRST), loss=tensor(y, _SECOND), **ways)
        shape, strides = {"forward": y, "data": x, "weight": w}[product]
        result.set_output(True).set_uid(_RESULT).set_dim(list(shape)).set_stride(list(strides))
        result.set_data_type(kind)
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        note = cudnn.numerical_note
        unwanted = [note.NONDETERMINISTIC, note.REDUCED_PRECISION_REDUCTION]
        if dtype == "float32" and not tf32:
            unwanted += [note.TENSOR_CORE, note.DOWN_CONVERT_INPUTS]
            unwanted += [note.WINOGRAD_TILE_6x6, note.WINOGRAD_TILE_13x13]
        graph.deselect_numeric_notes(unwanted)
        graph.deselect_workspace_greater_than(MOST_WORKSPACE)
        graph.check_support()
        graph.build_plans()

        def run(first: int, second: int, out: int, workspace: int) -> None:
            enter()
            graph.execute({_FIRST: first, _SECOND: second, _RESULT: out}, workspace, handle=handle)

        return run, graph.get_workspace_size()


def _signature(key: tuple[Any, ...]) -> str:
    product, dtype, (x, _), (w, _), (y, _), motions, tf32 = key
    axes = ", ".join(f"{a}+{b} by {s} dilated {d}" for a, b, s, d in motions)
    return f"{product} {'tf32' if tf32 else dtype}: x {x}, weight {w}, y {y}, axes {axes}"
