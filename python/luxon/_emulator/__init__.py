"""Runs CUDA kernels on a CPU, for tests: the text that NVRTC would compile, compiled by a C++ compiler.

`shim.hpp` supplies what CUDA C++ has and a host compiler lacks: threads with stacks of their own, barriers,
shuffles, shared memory. What runs here is emulated; it says what a kernel computes, and nothing about a GPU.
Compiled objects are kept in a folder by the hash of all that went into them.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

#: Of a grid or of a block.
Sizes = tuple[int, int, int]

_SHIM = Path(__file__).with_name("shim.hpp")
# Objects have types of the same names: what is static in a template of one must not serve another (gnu-unique).
_FLAGS = [
    "-fno-gnu-unique",
    "-std=c++17",
    "-O1",
    *(["-march=x86-64-v3"] if platform.machine() in ("x86_64", "AMD64") else []),
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fwrapv",
    "-w",
]
_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(')
_SHARED = re.compile(r"extern\s+__shared__\s+\w+\s+dynamic_shared\s*\[\s*\]\s*;")
_MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
# What makes a thread wait for others: kernels without it run as a plain loop over their threads.
_WAITS = re.compile(r"__sync|__shfl|__ballot|__any_sync|__all_sync")
# Texts compiled as one object: a third of the time that one by one would take.
_TOGETHER = 24


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX") or "g++")


def _folder() -> Path:
    given = os.environ.get("LUXON_EMULATOR_CACHE")
    folder = Path(given) if given else Path(tempfile.gettempdir()) / f"luxon-emulator-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = folder.stat()
    if not given and (known.st_uid != os.getuid() or known.st_mode & 0o022):
        # Anybody may have made it, and what lies in it is loaded as code.
        raise PermissionError(
            f"others may write to {folder}; set LUXON_EMULATOR_CACHE to a folder of your own"
        )
    return folder


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _entries(number: int, text: str) -> str:
    """What makes the kernels of a text callable from outside."""
    waits = "true" if _WAITS.search(text) else "false"
    return "".join(
        f'extern "C" const char *luxon_{number}_{name}(unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,'
        f" unsigned bz, unsigned shared, void **arguments) {{\n"
        f"    return emulated::launch(emulated::Call<decltype(&text{number}::{name}), &text{number}::{name}>::run,"
        f" arguments, gx, gy, gz, bx, by, bz, shared, {waits});\n}}\n"
        f'extern "C" const unsigned *luxon_sizes_{number}_{name}() {{\n'
        f"    return emulated::Call<decltype(&text{number}::{name}), &text{number}::{name}>::sizes();\n}}\n"
        for name in dict.fromkeys(_KERNEL.findall(text))
    )


def _shared_start(texts: list[str]) -> str:
    """The lines that all texts begin with: the prelude, compiled once for all."""
    first, last = min(texts), max(texts)
    pairs = enumerate(zip(first, last, strict=False))
    start = first[: next((at for at, (a, b) in pairs if a != b), min(len(first), len(last)))]
    return start[: start.rfind("\n// -- end of library\n") + 1] if "\n// -- end of library\n" in start else ""


class Emulator:
    """Compiles and launches kernels; see the module."""

    def __init__(self) -> None:
        self._functions: dict[tuple[str, str], int] = {}
        self._launchers: dict[int, object] = {}
        self._sizes: dict[int, tuple[int, ...]] = {}
        self._libraries: dict[str, ctypes.CDLL] = {}

    @staticmethod
    def available() -> bool:
        """Whether there is a compiler."""
        return _compiler() is not None

    def function(self, text: str, name: str) -> int:
        """The address of a C function that launches the kernel `name` of a text; compiles the text where it is new.

        Raises:
            RuntimeError: if the text does not compile, with the compiler's words.
        """
        known = self._functions.get((text, name))
        if known is not None:
            return known
        library, number = self._find(text) or self._compile([text])[0]
        try:
            entry = getattr(library, f"luxon_{number}_{name}")
        except AttributeError:
            raise RuntimeError(f"no kernel {name} in the text") from None
        entry.restype = ctypes.c_char_p
        entry.argtypes = [*[ctypes.c_uint] * 7, ctypes.c_void_p]
        address = ctypes.cast(entry, ctypes.c_void_p).value or 0
        self._functions[text, name] = address
        sizes = getattr(library, f"luxon_sizes_{number}_{name}")
        sizes.restype = ctypes.POINTER(ctypes.c_uint)
        found = sizes()
        self._sizes[address] = tuple(found[1 : 1 + found[0]])
        self._launchers[address] = entry
        return address

    def prepare(self, texts: Iterable[str]) -> None:
        """Compiles texts that are about to be used, many at a time."""
        fresh = sorted(text for text in set(texts) if self._find(text) is None)
        for start in range(0, len(fresh), _TOGETHER):
            self._compile(fresh[start : start + _TOGETHER])

    def launch(self, function: int, grid: Sizes, block: Sizes, shared: int, parameters: int) -> None:
        """Launches a kernel; `parameters` is the address of an array of the arguments' addresses.

        Raises:
            RuntimeError: for what no launch may do, such as a barrier that some threads never reach.
        """
        problem = self._launchers[function](*grid, *block, shared, parameters)  # type: ignore[operator]
        if problem is not None:
            raise RuntimeError(problem.decode())

    def parameter_sizes(self, function: int) -> tuple[int, ...]:
        """The sizes in bytes of a kernel's parameters."""
        return self._sizes[function]

    def _find(self, text: str) -> tuple[ctypes.CDLL, int] | None:
        """The object that holds a text, and the text's number in it."""
        try:
            object_name, number = (_folder() / f"{self._key(text)}.in").read_text().split()
        except (OSError, ValueError):
            return None
        return self._load(object_name), int(number)

    def _load(self, object_name: str) -> ctypes.CDLL:
        if object_name not in self._libraries:
            self._libraries[object_name] = ctypes.CDLL(str(_folder() / object_name))
        return self._libraries[object_name]

    @staticmethod
    def _key(text: str) -> str:
        return _hash(text, _SHIM.read_text(), *_FLAGS)

    def _compile(self, texts: list[str]) -> list[tuple[ctypes.CDLL, int]]:
        compiler = _compiler()
        if compiler is None:
            raise RuntimeError("emulating CUDA kernels takes a C++ compiler: none found as $CXX or g++")
        start = _shared_start(texts)
        parts = [f'#include "{_SHIM}"\n', start]
        for number, text in enumerate(texts):
            body = _SHARED.sub("f64 *dynamic_shared = (f64 *)emulated::shared;", text[len(start) :])
            body = re.sub(r'extern\s+"C"\s+__global__', "static __global__", body)
            undefined = "".join(f"#undef {macro}\n" for macro in dict.fromkeys(_MACRO.findall(body)))
            parts.append(f"namespace text{number} {{\n{body}\n}}\n{undefined}{_entries(number, text)}")
        whole = "".join(parts)
        folder, keys = _folder(), [self._key(text) for text in texts]
        object_name = f"{_hash(*keys)}.so"
        with tempfile.TemporaryDirectory(dir=folder) as work:
            source, fresh = Path(work) / "kernels.cc", Path(work) / "kernels.so"
            source.write_text(whole)
            command = [compiler, *_FLAGS, "-shared", "-fPIC", "-o", str(fresh), str(source), "-lm"]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                raise RuntimeError(f"a kernel does not compile:\n{result.stderr[:6000]}")
            fresh.rename(folder / object_name)
            for number, key in enumerate(keys):
                note = Path(work) / f"{key}.in"
                note.write_text(f"{object_name} {number}")
                note.rename(folder / note.name)
        return [(self._load(object_name), number) for number in range(len(texts))]
