"""luxon beside NumPy, JAX and PyTorch, on the same work, in the same run.

Each library runs in a process of its own; the cases go round the libraries, several rounds, so that a noisy
machine is noisy for all. A row shows medians over the rounds and the ratio to the fastest other library.

    python benches/compare.py                          # all cases, every library that can be imported
    python benches/compare.py matmul step --rounds 7   # cases by a part of their name
    python benches/compare.py --peer-python ~/env/bin/python --output results.json

`--peer-python` names the Python that has JAX and PyTorch, where it is not this one.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import timeit

HERE = pathlib.Path(__file__).resolve().parent
# Name, module, environment. The same two threads for everybody; luxon with one thread besides.
CONTESTANTS = {
    "luxon": ("ours", {"LUXON_NUM_THREADS": "2"}),
    "luxon-1": ("ours", {"LUXON_NUM_THREADS": "1"}),
    "numpy": ("numpy_", {}),
    "jax": ("jax_", {}),
    "torch": ("torch_", {}),
}
THREADS = {
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
    "JAX_PLATFORMS": "cpu",
}


def measure(step, seconds: float) -> tuple[float, float]:
    """Median and least seconds of a call, over chunks of calls that fill about `seconds`.

    A step is a function, or a statement with its names: what costs less than a Python call is not hidden in one.
    """
    statement, names = step if isinstance(step, tuple) else ("step()", {"step": step})
    timer = timeit.Timer(statement, globals=names)
    timer.timeit(1)
    inner = max(1, int(2e-3 / max(timer.timeit(1), 1e-8)))
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < deadline:
        times.append(timer.timeit(inner) / inner)
    return statistics.median(times), min(times)


def work(module: str) -> None:
    """A contestant: answers requests on standard input, a JSON line each."""
    sys.path.insert(0, str(HERE))
    contestant = __import__(f"contestants.{module}", fromlist=["build"])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"version": contestant.VERSION}), file=answers, flush=True)
    built: dict[str, object] = {}
    for line in sys.stdin:
        request = json.loads(line)
        name = request["case"]
        if name not in built:
            built.clear()
            built[name] = contestant.build(name)
            if built[name] is not None:
                measure(built[name], 0.0)
        step = built[name]
        answer = None if step is None else measure(step, request["seconds"])
        print(json.dumps({"time": answer}), file=answers, flush=True)


class Contestant:
    """A library in a process of its own."""

    def __init__(self, name: str, python: str) -> None:
        module, environment = CONTESTANTS[name]
        self.name = name
        self.process = subprocess.Popen(
            [python, str(HERE / "compare.py"), "--work", module],
            env={**os.environ, **THREADS, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        line = self.process.stdout.readline()
        self.version = json.loads(line)["version"] if line else None

    def time(self, case: str, seconds: float) -> tuple[float, float] | None:
        if self.version is None:
            return None
        print(json.dumps({"case": case, "seconds": seconds}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            self.version = None
            return None
        # Thread pools of other libraries spin for a while after a call, and would slow the next contestant.
        time.sleep(0.05)
        return json.loads(line)["time"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def show(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, scale in (("ns", 1e9), ("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 1000:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds:.3g} s"


def main() -> None:
    from contestants.cases import CASES

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help="parts of names; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="per case, library and round")
    parser.add_argument("--libraries", default=",".join(CONTESTANTS))
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    wanted = [case for case in CASES if not arguments.cases or any(part in case for part in arguments.cases)]
    names = arguments.libraries.split(",")
    python = {name: sys.executable if name.startswith("luxon") else arguments.peer_python for name in names}
    contestants = [Contestant(name, python[name]) for name in names]
    contestants = [contestant for contestant in contestants if contestant.version is not None]
    print("  ".join(f"{contestant.name} {contestant.version}" for contestant in contestants))
    columns = [contestant.name for contestant in contestants]
    print(f"{'case':28s}" + "".join(f"{name:>12s}" for name in columns) + f"{'ratio':>10s}")
    results: dict[str, dict[str, list[float]]] = {}
    for case in wanted:
        rounds: dict[str, list[float]] = {name: [] for name in columns}
        for turn in range(arguments.rounds):
            order = contestants[turn % len(contestants) :] + contestants[: turn % len(contestants)]
            for contestant in order:
                answer = contestant.time(case, arguments.seconds)
                if answer is not None:
                    rounds[contestant.name].append(answer[0])
        medians = {name: statistics.median(times) if times else None for name, times in rounds.items()}
        others = [
            value for name, value in medians.items() if value is not None and not name.startswith("luxon")
        ]
        ours = medians.get("luxon")
        ratio = f"{ours / min(others):.2f}" if ours is not None and others else "-"
        print(
            f"{case:28s}" + "".join(f"{show(medians[name]):>12s}" for name in columns) + f"{ratio:>10s}",
            flush=True,
        )
        results[case] = rounds
        if arguments.output:
            versions = {contestant.name: contestant.version for contestant in contestants}
            arguments.output.write_text(json.dumps({"versions": versions, "seconds": results}, indent=1))
    for contestant in contestants:
        contestant.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2])
    else:
        sys.path.insert(0, str(HERE))
        main()
