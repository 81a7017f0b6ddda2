"""What a library weighs: seconds that its import takes, and bytes that its installation has.

    python benches/footprint.py
    python benches/footprint.py --peer-python ~/env/bin/python

Imports run in fresh processes, the libraries taking turns; the time of an empty interpreter is subtracted. A size
is that of the installed files of a distribution and of all that it requires, optional requirements left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time

LIBRARIES = {"luxon": ["numpy", "luxon"], "jax": ["jax", "jax.numpy", "optax"], "torch": ["torch"]}
DISTRIBUTIONS = {"luxon": "luxon", "jax": "jax", "torch": "torch"}


def required(name: str, seen: set[str]) -> set[str]:
    """The distribution and everything that it requires, by normal name."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    if name in seen:
        return seen
    try:
        needs = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return seen
    seen.add(name)
    for need in needs:
        # Requirements of extras do not count; other markers (platforms) are settled by what is installed.
        if "extra ==" not in need.partition(";")[2]:
            required(re.split(r"[\s;<>=!~\[(]", need, maxsplit=1)[0], seen)
    return seen


def installed_bytes(distribution: str) -> dict[str, int]:
    """Bytes by distribution."""
    sizes = {}
    for name in sorted(required(distribution, set())):
        files = importlib.metadata.files(name) or []
        paths = [pathlib.Path(file.locate()) for file in files]
        sizes[name] = sum(path.stat().st_size for path in paths if path.is_file())
    if distribution == "luxon":
        # An installation for development lists no files of its own.
        import luxon

        folder = pathlib.Path(luxon.__file__).parent
        kept = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        sizes["luxon"] = sum(path.stat().st_size for path in kept)
        numpy = importlib.metadata.files("numpy") or []
        paths = [pathlib.Path(file.locate()) for file in numpy]
        sizes["numpy"] = sum(path.stat().st_size for path in paths if path.is_file())
    return sizes


def import_seconds(python: str, modules: list[str]) -> float:
    start = time.perf_counter()
    code = "; ".join(f"import {module}" for module in modules)
    done = subprocess.run([python, "-c", code], capture_output=True, check=False)
    return time.perf_counter() - start if done.returncode == 0 else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.size_of:
        print(json.dumps(installed_bytes(arguments.size_of)))
        return
    python = {name: sys.executable if name == "luxon" else arguments.peer_python for name in LIBRARIES}
    times: dict[str, list[float]] = {name: [] for name in LIBRARIES}
    for turn in range(arguments.rounds + 1):
        for name, modules in LIBRARIES.items():
            empty = import_seconds(python[name], ["sys"])
            seconds = import_seconds(python[name], modules) - empty
            if turn:  # the first turn reads the files from the disk
                times[name].append(seconds)
    for name, distribution in DISTRIBUTIONS.items():
        command = [python[name], __file__, "--size-of", distribution]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        sizes = json.loads(done.stdout) if done.returncode == 0 else {}
        if not sizes:
            print(f"{name:8s}not there")
            continue
        parts = sorted(sizes.items(), key=lambda entry: -entry[1])[:4]
        largest = ", ".join(f"{part} {size / 1e6:.0f}" for part, size in parts)
        print(
            f"{name:8s}import {statistics.median(times[name]) * 1e3:7.1f} ms    "
            f"installed {sum(sizes.values()) / 1e6:7.1f} MB ({largest})"
        )


if __name__ == "__main__":
    main()
