"""Tries a CUDA device out: `python -m luxon.cuda.check --out DIR`.

Writes what it finds as it goes, so that a run that is cut short leaves what it had: `DIR/check.json` for programs and
`DIR/check.md` for people. It says which versions are there and what the device reaches; compares every operation
with float64 on the CPU; shares memory with CuPy and PyTorch; trains networks on both and compares the losses; runs
the kernels under compute-sanitizer where that is installed; and times operations and training steps, beside PyTorch
and JAX where they are.

With `--fake` everything runs on emulated kernels under stand-ins for CuPy and cuDNN, at small sizes: that tries this program
and luxon's plans out, and says nothing of a GPU.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import luxon as lx
from luxon import functional, losses

from . import _rivals, cudnn
from ._cases import FAMILIES, Case
from ._sharing import trials
from ._training import TASKS, Trainer

# Largest errors, in parts of the largest element of the answer.
BOUNDS = {"float32": 1e-5, "tf32": 1e-3, "bfloat16": 1e-2, "float16": 1e-2}
# Losses of 50 steps: differences of rounding grow along a training.
TRAINING_BOUND = 1e-3


class Report:
    """What was found so far, on the disk after every entry."""

    def __init__(self, folder: pathlib.Path, fake: bool, budget: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.fake = folder, fake
        self.sections: dict[str, list[dict[str, Any]]] = {}
        self.end = time.monotonic() + budget

    def add(self, section: str, **entry: Any) -> None:
        self.sections.setdefault(section, []).append(entry)
        self.write()
        words = "  ".join(f"{key} {value}" for key, value in entry.items())
        print(f"{section}: {words}", flush=True)

    def out_of_time(self, section: str) -> bool:
        """Whether the time is up; says so in the report."""
        if time.monotonic() < self.end:
            return False
        self.add(section, skipped="the time was up")
        return True

    def write(self) -> None:
        path = self.folder / "check.json"
        fresh = path.with_suffix(".tmp")
        fresh.write_text(json.dumps({"emulated": self.fake, **self.sections}, indent=1))
        fresh.replace(path)
        title = "Emulated on a CPU: nothing here was run on a GPU" if self.fake else "Run on a GPU"
        lines = [f"# CUDA check, {time.strftime('%Y-%m-%d %H:%M')}", "", title + "."]
        for section, entries in self.sections.items():
            keys = list(dict.fromkeys(key for entry in entries for key in entry))
            lines += ["", f"## {section}", "", "| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
            lines += ["| " + " | ".join(str(entry.get(key, "")) for key in keys) + " |" for entry in entries]
        (self.folder / "check.md").write_text("\n".join(lines) + "\n")

    def failures(self) -> int:
        return sum(entry.get("ok") is False for entries in self.sections.values() for entry in entries)


def versions(report: Report, device: lx.Device) -> None:
    import cupy

    state = cudnn()
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    name = properties["name"]
    report.add(
        "versions",
        luxon=lx.__version__,
        cupy=cupy.__version__,
        runtime=cupy.cuda.runtime.runtimeGetVersion(),
        driver=cupy.cuda.runtime.driverGetVersion(),
        cudnn=state.version or f"not in use: {state.reason}",
        device=name.decode() if isinstance(name, bytes) else str(name),
        numpy=np.__version__,
        python=sys.version.split()[0],
    )


def seconds(step: Callable[[], Any], wait: Callable[[], None], budget: float) -> float:
    """Median seconds of a call, over chunks of calls that are waited for."""
    step()
    wait()
    start = time.perf_counter()
    step()
    wait()
    inner = max(1, min(200, int(5e-3 / max(time.perf_counter() - start, 1e-7))))
    times: list[float] = []
    end = time.perf_counter() + budget
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(inner):
            step()
        wait()
        times.append((time.perf_counter() - start) / inner)
    return statistics.median(times)


def ceilings(report: Report, device: lx.Device, wait: Callable[[], None]) -> None:
    """Bytes that a copy moves and operations that products reach."""
    side = 64 if report.fake else 8192
    x = lx.to_device(lx.ones((side, side)), device)
    spent = seconds(lambda: -x, wait, 0.01 if report.fake else 0.5)
    report.add(
        "ceilings", what="reading and writing float32", reached=f"{2 * 4 * side**2 / spent / 1e9:.0f} GB/s"
    )
    for dtype, precision in (
        ("float32", "float32"),
        ("float32", "tf32"),
        ("bfloat16", "float32"),
        ("float64", "float32"),
    ):
        a = lx.astype(x, dtype)
        with precision_of_products(precision):
            spent = seconds(functools.partial(lx.matmul, a, a), wait, 0.01 if report.fake else 0.5)
        name = "tf32" if precision == "tf32" else dtype
        report.add("ceilings", what=f"product of {name}", reached=f"{2 * side**3 / spent / 1e12:.1f} TFLOP/s")


class precision_of_products:
    """The precision of float32 products within a block."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        from luxon import _cupy

        self.before = _cupy.precision()
        _cupy.set_precision(self.name)

    def __exit__(self, *_: object) -> None:
        from luxon import _cupy

        _cupy.set_precision(self.before)


def parts(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]


def answers(case: Case, inputs: list[Any], cotangents: list[np.ndarray[Any, Any]] | None) -> list[Any]:
    """The case's results and, where it is differentiable, the gradients of its floating inputs."""
    if not case.differentiable:
        return parts(case.function(*inputs))
    floating = [i for i, x in enumerate(inputs) if lx.isdtype(x.dtype, "real floating")]

    def function(*given: Any) -> Any:
        filled = list(inputs)
        for i, x in zip(floating, given, strict=True):
            filled[i] = x
        return case.function(*filled)

    y, pullback = lx.vjp(function, *(inputs[i] for i in floating))
    if cotangents is None:
        return [y]
    dy = lx.astype(lx.to_device(lx.asarray(cotangents[0]), y.device), y.dtype)
    return [y, *pullback(dy)]


def error(actual: Any, expected: Any) -> float:
    """The largest difference in parts of the largest element expected; infinite where NaN meets a number."""
    a = np.asarray(lx.astype(lx.to_device(actual, "cpu"), "float64"))
    b = np.asarray(lx.astype(expected, "float64"))
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    scale = max(float(np.max(np.abs(b), initial=0.0)), 1e-30)
    return float(np.max(np.abs(np.nan_to_num(a - b)), initial=0.0)) / scale


def compare(case: Case, device: lx.Device, dtype: str, seed: int) -> float:
    """The largest error of the case's answers on the device, against float64 on the CPU from the same inputs."""
    rng = np.random.default_rng(seed)
    arrays = case.draw(rng)
    rounded = [lx.astype(lx.asarray(x), dtype) if x.dtype.kind == "f" else lx.asarray(x) for x in arrays]
    exact = [lx.astype(x, "float64") if lx.isdtype(x.dtype, "real floating") else x for x in rounded]
    cotangents = None
    if case.differentiable:
        y = case.function(*exact)
        cotangents = [
            np.asarray(lx.astype(lx.asarray(rng.standard_normal(y.shape)), dtype).astype("float64"))
        ]
    expected = answers(case, exact, cotangents)
    found = answers(case, [lx.to_device(x, device) for x in rounded], cotangents)
    return max(error(a, b) for a, b in zip(found, expected, strict=True))


def operations(report: Report, device: lx.Device, seed: int) -> None:
    """Every operation against the CPU in float64."""
    for family, cases in FAMILIES.items():
        for case in cases():
            if report.out_of_time("operations"):
                return
            settings = [("float32", "float32")]
            if family == "products":
                settings += [("float32", "tf32"), ("bfloat16", "float32")]
            if family == "elementwise" and not report.fake:
                settings.append(("bfloat16", "float32"))
            for dtype, precision in settings:
                kind = "tf32" if precision == "tf32" else dtype
                if report.fake and kind == "tf32":
                    continue
                try:
                    with precision_of_products(precision):
                        found = compare(case, device, dtype, seed)
                    entry = {"error": f"{found:.1e}", "ok": found <= BOUNDS[kind]}
                except Exception as problem:
                    entry = {"error": f"{type(problem).__name__}: {problem}"[:300], "ok": False}
                report.add("operations", family=family, operation=case.name, dtype=kind, **entry)


def training(report: Report, device: lx.Device, seed: int) -> None:
    """Networks trained on both devices from the same start, dropout included."""
    steps = 3 if report.fake else 50
    for make in TASKS:
        if report.out_of_time("training"):
            return
        task = make(report.fake)
        try:
            here, there = Trainer(task, lx.cpu(), seed), Trainer(task, device, seed)
            curves = np.array([[float(here.step()), float(there.step())] for _ in range(steps)])
            found = float(np.max(np.abs(curves[:, 0] - curves[:, 1]) / np.abs(curves[:, 0])))
            entry: dict[str, Any] = {"error": f"{found:.1e}", "ok": bool(found <= TRAINING_BOUND)}
            entry |= {"first loss": f"{curves[0, 1]:.5f}", "last loss": f"{curves[-1, 1]:.5f}"}
        except Exception as problem:
            entry = {"error": f"{type(problem).__name__}: {problem}"[:300], "ok": False}
        report.add("training", network=task.name, steps=steps, **entry)


def sharing(report: Report, device: lx.Device) -> None:
    """Memory that is shared with other libraries."""
    for name, trial in trials(device, report.fake):
        if report.out_of_time("sharing"):
            return
        try:
            report.add("sharing", what=name, ok=trial())
        except Exception as problem:
            report.add("sharing", what=name, ok=False, problem=repr(problem)[:300])


def sanitizer(report: Report) -> None:
    """The kernels under compute-sanitizer, in a process of their own."""
    tool = shutil.which("compute-sanitizer")
    if tool is None or report.fake:
        report.add("sanitizer", skipped="compute-sanitizer is not there" if tool is None else "emulated")
        return
    for check in ("memcheck", "racecheck", "initcheck"):
        left = report.end - time.monotonic()
        if report.out_of_time("sanitizer"):
            return
        command = [tool, "--tool", check, "--error-exitcode", "7", sys.executable, "-m", "luxon.cuda.check"]
        command += ["--only-operations", "--out", str(report.folder / check), "--seconds", str(int(left / 3))]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=left, check=False)
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            report.add("sanitizer", tool=check, ok=done.returncode != 7, said=" ".join(last)[:200])
        except subprocess.TimeoutExpired:
            report.add("sanitizer", tool=check, skipped="the time was up")


def rates(report: Report, device: lx.Device, wait: Callable[[], None]) -> None:
    """Microseconds of operations, small (the cost of a call) and large (the rate of memory)."""
    rows, columns = (8, 32) if report.fake else (16384, 2048)
    budget = 0.01 if report.fake else 0.2
    rng = np.random.default_rng(0)
    small = lx.to_device(lx.ones(16), device)
    x = lx.to_device(lx.asarray(rng.standard_normal((rows, columns)).astype("f4")), device)
    weight, bias = (lx.to_device(lx.ones(columns), device) for _ in range(2))
    classes = lx.to_device(lx.asarray(rng.integers(0, columns, rows).astype("i4")), device)
    whole = 4.0 * rows * columns

    def gradient(function: Callable[..., Any], *inputs: Any) -> Callable[[], Any]:
        y, pullback = lx.vjp(function, *inputs)
        dy = lx.ones_like(y)
        return lambda: pullback(dy)

    table: list[tuple[str, Callable[[], Any], float]] = [
        ("add of 16 numbers", lambda: small + small, 0.0),
        ("add", lambda: x + x, 3 * whole),
        ("gelu", lambda: lx.gelu(x), 2 * whole),
        ("sum", lambda: lx.sum(x), whole),
        ("sum axis 0", lambda: lx.sum(x, axis=0), whole),
        ("softmax", lambda: lx.softmax(x), 2 * whole),
        ("softmax gradient", gradient(lx.softmax, x), 3 * whole),
        ("layer_norm", lambda: functional.layer_norm(x, weight, bias), 2 * whole),
        ("layer_norm gradient", gradient(functional.layer_norm, x, weight, bias), 3 * whole),
        ("rms_norm", lambda: functional.rms_norm(x, weight), 2 * whole),
        ("cross_entropy", lambda: losses.cross_entropy(x, classes), whole),
        (
            "cross_entropy gradient",
            gradient(lambda x: losses.cross_entropy(x, classes), x),
            2 * whole,
        ),
        ("negative transpose", lambda: -x.T, 2 * whole),
    ]
    for name, step, moved in table:
        if report.out_of_time("rates"):
            return
        try:
            spent = seconds(step, wait, budget)
            rate = f"{moved / spent / 1e12:.2f} TB/s" if moved else ""
            report.add("rates", operation=name, microseconds=f"{spent * 1e6:.1f}", rate=rate)
        except Exception as problem:
            report.add("rates", operation=name, error=f"{type(problem).__name__}: {problem}"[:300], ok=False)


def times(report: Report, device: lx.Device, wait: Callable[[], None]) -> None:
    """Microseconds of whole training steps, beside other libraries."""
    budget = 0.01 if report.fake else 1.0
    for make in TASKS:
        if report.out_of_time("steps"):
            return
        task = make(report.fake)
        try:
            spent = seconds(Trainer(task, device).step, wait, budget)
            report.add("steps", network=task.name, library="luxon", microseconds=f"{spent * 1e6:.0f}")
        except Exception as problem:
            said = f"{type(problem).__name__}: {problem}"[:300]
            report.add("steps", network=task.name, library="luxon", error=said, ok=False)
    if report.fake:
        return
    problems: list[str] = []
    for name, library, step in _rivals.steps(problems):
        if report.out_of_time("steps"):
            return
        spent = seconds(step, wait_for_everything, budget)
        report.add("steps", network=name, library=library, microseconds=f"{spent * 1e6:.0f}")
    for said in problems:
        report.add("steps", library=said)


def wait_for_everything() -> None:
    import cupy

    cupy.cuda.runtime.deviceSynchronize()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m luxon.cuda.check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the report")
    parser.add_argument("--fake", action="store_true", help="emulate: no GPU is touched")
    parser.add_argument("--seconds", type=float, default=560.0, help="time for everything")
    parser.add_argument("--seed", type=int, default=None, help="of the random inputs; drawn by default")
    parser.add_argument("--only-operations", action="store_true")
    given = parser.parse_args(arguments)
    if given.fake:
        from .._emulator import fake_cudnn

        fake_cudnn.install()
    report = Report(given.out, given.fake, given.seconds)
    seed = int(time.time()) if given.seed is None else given.seed
    device = lx.cuda(0)
    report.add("settings", seed=seed, seconds=given.seconds)
    if not given.only_operations:
        versions(report, device)
        ceilings(report, device, wait_for_everything)
    operations(report, device, seed)
    if not given.only_operations:
        sharing(report, device)
        training(report, device, seed)
        rates(report, device, wait_for_everything)
        times(report, device, wait_for_everything)
        sanitizer(report)
    failures = report.failures()
    print(f"{failures} of the checks failed; the report is in {given.out}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
