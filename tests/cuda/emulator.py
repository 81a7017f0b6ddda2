"""Runs CUDA kernels on a CPU: the text that NVRTC would compile, compiled by g++ behind `shim.h`.

This tests what kernels compute, in any order of threads and with poisoned memory; it is emulation, and says
nothing about a GPU. Objects are cached by the hash of everything that went into them, and many texts can be
compiled as one object, which is several times faster than one by one.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

SHIM = Path(__file__).with_name("shim.h")
FLAGS = ["-std=c++17", "-O1", "-march=x86-64-v3", "-ffp-contract=off", "-fno-strict-aliasing", "-fwrapv", "-w"]
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(')
# What makes a thread wait for others.
GATHERS = re.compile(r"__sync|__shfl|__ballot|__any_sync|__all_sync")


class EmulationError(RuntimeError):
    """A kernel does not compile, or does what no kernel may."""


def cache_folder() -> Path:
    """Where compiled objects are kept."""
    folder = os.environ.get("LUXON_EMULATOR_CACHE") or os.path.join(tempfile.gettempdir(), f"luxon-emulator-{os.getuid()}")
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return path


class Kernel:
    """A compiled kernel; call it with grid, block, arguments and bytes of dynamic shared memory."""

    def __init__(self, library: ctypes.CDLL, number: int, name: str, waits: bool) -> None:
        self._library = library
        self._number = number
        self.name = name
        # Whether the text has barriers at all; those of a library function may not be reached, which costs time only.
        self._waits = waits
        count = library.luxon_arguments(number)
        sizes = (ctypes.c_uint * max(count, 1))()
        library.luxon_sizes(number, sizes)
        self.sizes = list(sizes)[:count]

    def __call__(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[bytes],
        shared: int = 0,
        reverse: bool = False,
    ) -> None:
        """Launches it; each argument is the bytes of its value (of an address: eight of them)."""
        got = [len(argument) for argument in arguments]
        if got != self.sizes:
            raise EmulationError(f"{self.name}: arguments of {got} bytes for parameters of {self.sizes}")
        if shared > 227 * 1024:
            raise EmulationError(f"{self.name}: {shared} bytes of shared memory are more than a block has")
        # Copies with room behind them, aligned for any type.
        slots = [ctypes.create_string_buffer(argument, max(len(argument), 1) + 16) for argument in arguments]
        pointers = (ctypes.c_void_p * max(len(slots), 1))(*[ctypes.addressof(slot) for slot in slots])
        sides = [(ctypes.c_uint * 3)(*[*side, 1, 1][:3]) for side in (grid, block)]
        problem = self._library.luxon_launch(self._number, pointers, *sides, self._waits, reverse)
        if problem:
            raise EmulationError(f"{self.name}: {problem.decode()}")


def split(text: str, prelude: str) -> str:
    """The text behind the prelude that all texts share."""
    return text.removeprefix(prelude)


def build(texts: Iterable[str], prelude: str = "") -> list[dict[str, Kernel]]:
    """Compiles texts into one object; for each its kernels by name.

    Args:
        texts: CUDA C++ as NVRTC takes it.
        prelude: what all texts begin with; it is compiled once.
    """
    bodies = [split(text, prelude) for text in texts]
    parts = [f'#include "{SHIM}"\n', prelude]
    entries: list[tuple[int, str, bool]] = []
    for number, body in enumerate(bodies):
        names = KERNEL.findall(body)
        macros = re.findall(r"^\s*#\s*define\s+(\w+)", body, re.MULTILINE)
        plain = re.sub(r'extern\s+"C"\s+__global__', "__global__", body)
        parts.append(f"namespace text{number} {{\n{plain}\n}}\n")
        parts.extend(f"#undef {macro}\n" for macro in dict.fromkeys(macros))
        waits = bool(GATHERS.search(body))
        entries.extend((number, name, waits) for name in names)
    calls = "".join(f"    X(text{number}::{name})\n" for number, name, _ in entries)
    parts.append(
        "#define X(k) {emulated::Call<decltype(&k), &k>::run, emulated::Call<decltype(&k), &k>::sizes,"
        " emulated::Call<decltype(&k), &k>::arguments},\n"
        "static const struct { void (*run)(void **); void (*sizes)(unsigned *); unsigned count; } kernels[] = {\n"
        f"{calls}    {{nullptr, nullptr, 0}}}};\n"
        'extern "C" unsigned luxon_arguments(int k) { return kernels[k].count; }\n'
        'extern "C" void luxon_sizes(int k, unsigned *out) { kernels[k].sizes(out); }\n'
        'extern "C" const char *luxon_launch(int k, void **arguments, const unsigned *grid, const unsigned *block,'
        " bool fibers, bool reverse) {\n"
        "    return emulated::launch(kernels[k].run, arguments, grid, block, fibers, reverse);\n}\n"
    )
    library = _compile("".join(parts))
    found: list[dict[str, Kernel]] = [{} for _ in bodies]
    for index, (number, name, waits) in enumerate(entries):
        found[number][name] = Kernel(library, index, name, waits)
    return found


def _compile(text: str) -> ctypes.CDLL:
    key = hashlib.sha256("\0".join([text, SHIM.read_text(), *FLAGS]).encode()).hexdigest()[:24]
    path = cache_folder() / f"{key}.so"
    if not path.exists():
        source = path.with_suffix(".cc")
        source.write_text(text)
        fresh = path.with_suffix(f".{os.getpid()}")
        command = ["g++", *FLAGS, "-shared", "-fPIC", "-o", str(fresh), str(source), "-lm"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise EmulationError(f"{source}:\n{result.stderr[:4000]}")
        fresh.rename(path)
    library = ctypes.CDLL(str(path))
    library.luxon_launch.restype = ctypes.c_char_p
    library.luxon_launch.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_bool,
        ctypes.c_bool,
    ]
    library.luxon_arguments.restype = ctypes.c_uint
    return library
