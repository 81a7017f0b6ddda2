"""CUDA's run-time compiler without CUDA: what becomes of the kernels on each architecture.

The library comes from the wheel `nvidia-cuda-nvrtc` and needs no driver. `python tests/cuda_nvrtc.py` writes
`docs/cuda_kernels.json`, the table of registers that `test_cuda_nvrtc.py` reads: for each hand-written kernel, and
for the printed ones together (`map`), the most registers of a thread; hardly anything may spill.
"""

from __future__ import annotations

import ctypes
import functools
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).parents[1] / "docs" / "cuda_kernels.json"
ARCHITECTURES = (80, 90)

_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(')
_USAGE = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r".*?Used (\d+) registers",
    re.DOTALL,
)


@dataclass(frozen=True)
class Usage:
    """What a kernel takes of a thread: registers, and bytes of local memory."""

    registers: int
    stack: int
    spilled: int


class CompileError(RuntimeError):
    """The compiler refused a text."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiler; none where the wheel is not installed."""
    try:
        import nvidia
    except ImportError:
        return None
    found = [path for folder in nvidia.__path__ for path in Path(folder).rglob("libnvrtc.so*")]
    return ctypes.CDLL(str(found[0])) if found else None


def compile_text(text: str, architecture: int) -> dict[str, Usage]:
    """The kernels of a text and what they take.

    Raises:
        CompileError: with the compiler's words.
    """
    nvrtc = library()
    assert nvrtc is not None
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None) == 0
    options = [
        f"--gpu-architecture=sm_{architecture}",
        "--std=c++17",
        "--ptxas-options=-v",
        "--diag-suppress=186",
    ]
    array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    words = log.value.decode()
    if failed:
        raise CompileError(words[:4000])
    return {
        name: Usage(int(registers), int(stack), int(stores) + int(loads))
        for name, stack, stores, loads, registers in _USAGE.findall(words)
    }


def table(texts: Iterable[str], architecture: int) -> tuple[dict[str, Usage], int]:
    """The most that each kernel takes in any of its variants, and how many kernels were compiled."""
    most: dict[str, Usage] = {}
    count = 0
    for text in sorted(texts):
        usages = compile_text(text, architecture)
        assert sorted(usages) == sorted(_KERNEL.findall(text)), "kernels without figures"
        count += len(usages)
        for name, usage in usages.items():
            known = most.get(name, Usage(0, 0, 0))
            most[name] = Usage(
                max(known.registers, usage.registers),
                max(known.stack, usage.stack),
                max(known.spilled, usage.spilled),
            )
    return most, count


def main() -> None:
    """Writes the table."""
    import test_cuda_emulated

    texts = test_cuda_emulated.record().texts
    result = {}
    for architecture in ARCHITECTURES:
        most, count = table(texts, architecture)
        kernels = {
            name: [usage.registers, usage.stack, usage.spilled] for name, usage in sorted(most.items())
        }
        result[f"sm_{architecture}"] = {"compiled": count, "registers, stack bytes, spilled bytes": kernels}
    TABLE.write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(f"{TABLE}\n")


if __name__ == "__main__":
    main()
