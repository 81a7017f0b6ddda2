"""luxon beside NumPy, JAX and PyTorch, on the same work, in the same run.

Each library runs in a process of its own with two threads; the cases go round the libraries, several rounds, so
that a noisy machine is noisy for all. A row shows medians over the rounds, the ratio to the fastest other library,
what is aimed at, and luxon's time to the floor: the arithmetic or the traffic at the rates reached in this run.

    python benches/compare.py                         # the table; every library that can be imported
    python benches/compare.py lenet mm_ --rounds 7    # cases by a part of their name
    python benches/compare.py --all                   # further operations
    python benches/compare.py --peer-python ~/env/bin/python --libraries luxon,jax,torch-compile
    python benches/compare.py --memory                # peak memory of the large steps

Results go to output/bench.json and output/bench.png. `--peer-python` names the Python that has JAX and PyTorch,
where it is not this one.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time
import timeit

HERE = pathlib.Path(__file__).resolve().parent
OUTPUT = HERE.parent / "output"
# Name: module, mode, environment. The same two threads for everybody; luxon with one thread besides.
CONTESTANTS = {
    "luxon": ("peer_luxon", "eager", {"LUXON_NUM_THREADS": "2"}),
    "luxon-1": ("peer_luxon", "eager", {"LUXON_NUM_THREADS": "1"}),
    "numpy": ("peer_numpy", "hand", {}),
    "jax": ("peer_jax", "jit", {}),
    "torch": ("peer_torch", "eager", {}),
    "torch-tuned": ("peer_torch", "tuned", {}),
    "torch-compile": ("peer_torch", "compile", {}),
}
BY_DEFAULT = [name for name in CONTESTANTS if name != "torch-compile"]
LARGE = ["mlp_large", "resnet", "transformer"]
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


def loss_of(value) -> float:
    """What a step returned as one number: equal for all libraries in the first step."""
    import numpy

    if isinstance(value, tuple | list):
        return sum(loss_of(part) for part in value)
    value = value.detach() if hasattr(value, "detach") else value
    return float(numpy.asarray(value, dtype=numpy.float64).sum())


def work(module: str, mode: str) -> None:
    """A contestant: answers requests on standard input, a JSON line each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path.insert(0, str(HERE / "peers"))
    peer = __import__(module)
    print(json.dumps({"versions": peer.versions()}), file=answers, flush=True)
    case, step = None, None
    for line in sys.stdin:
        request = json.loads(line)
        answer = {}
        if request["case"] != case:
            step, case = None, request["case"]
            start = time.perf_counter()
            step = peer.build(case, mode)
            if step is not None and not isinstance(step, tuple):
                answer["loss"] = loss_of(step())
                answer["first"] = time.perf_counter() - start
        if step is not None:
            answer["time"] = measure(step, request["seconds"])
        answer["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(answer), file=answers, flush=True)


class Contestant:
    """A library in a process of its own."""

    def __init__(self, name: str, python: str) -> None:
        module, mode, environment = CONTESTANTS[name]
        self.name = name
        self.process = subprocess.Popen(
            [python, str(HERE / "compare.py"), "--work", module, mode],
            env={**os.environ, **THREADS, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        line = self.process.stdout.readline()
        self.versions = json.loads(line)["versions"] if line else None

    def ask(self, case: str, seconds: float) -> dict:
        """The answer of the library, empty where it has none or has died."""
        if self.versions is None:
            return {}
        print(json.dumps({"case": case, "seconds": seconds}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            self.versions = None
            return {}
        # Thread pools of other libraries spin for a while after a call, and would slow the next contestant.
        time.sleep(0.05)
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def started(arguments) -> list[Contestant]:
    names = arguments.libraries.split(",")
    ours = {name: name.startswith("luxon") for name in names}
    contestants = [Contestant(n, sys.executable if ours[n] else arguments.peer_python) for n in names]
    for contestant in contestants:
        if contestant.versions is None:
            print(f"{contestant.name}: not there")
    return [contestant for contestant in contestants if contestant.versions is not None]


def run(case: str, contestants: list[Contestant], rounds: int, seconds: float) -> dict[str, list[dict]]:
    """The answers of every library, the libraries taking turns at being first."""
    answers: dict[str, list[dict]] = {contestant.name: [] for contestant in contestants}
    for turn in range(rounds):
        for contestant in contestants[turn % len(contestants) :] + contestants[: turn % len(contestants)]:
            answer = contestant.ask(case, seconds)
            if "time" in answer:
                answers[contestant.name].append(answer)
    losses = {name: given[0]["loss"] for name, given in answers.items() if given and "loss" in given[0]}
    if losses and case in STEP_CASES:
        middle = statistics.median(losses.values())
        for name, loss in losses.items():
            if abs(loss - middle) > 1e-4 * abs(middle):
                print(f"{case}: the first loss of {name} is {loss:.6g}, of others {middle:.6g}")
    return answers


def compare(arguments) -> None:
    rows = table.ROWS + (table.MORE if arguments.all else [])
    if arguments.cases:
        rows = [row for row in table.ROWS + table.MORE if any(part in row.case for part in arguments.cases)]
    contestants = started(arguments)
    columns = [contestant.name for contestant in contestants]
    print("  ".join(f"{c.name} {'/'.join(c.versions.values())}" for c in contestants))
    rounds: dict[str, dict[str, list[float]]] = {}
    first: dict[str, dict[str, float]] = {}

    def time_case(case: str) -> None:
        if case in rounds:
            return
        answers = run(case, contestants, arguments.rounds, arguments.seconds)
        rounds[case] = {name: [answer["time"][0] for answer in given] for name, given in answers.items()}
        first[case] = {
            name: given[0]["first"] for name, given in answers.items() if given and "first" in given[0]
        }

    for case in table.RATES.values():
        time_case(case)
    reached = table.rates(rounds)
    print("reached at best: " + ", ".join(f"{name} {rate / 1e9:.0f} G/s" for name, rate in reached.items()))
    heads = [*columns, "ratio", "aim", "to floor"]
    print(f"{'':52s}" + "".join(f"{head:>14s}" for head in heads))
    lines = []
    for row in rows:
        for case in (row.less, row.case):
            if case is not None:
                time_case(case)
        times = table.medians(rounds, row)
        ratio, limit = table.ratio(times), table.floor(row, reached)
        to_floor = times["luxon"] / limit if limit and "luxon" in times else None
        lines.append(
            dict(title=row.title, case=row.case, seconds=times, ratio=ratio, goal=row.goal, to_floor=to_floor)
        )
        shown = [table.show(times.get(name)) for name in columns]
        shown += ["-" if value is None else f"{value:.2f}" for value in (ratio, row.goal, to_floor)]
        print(f"{row.title:52s}" + "".join(f"{text:>14s}" for text in shown), flush=True)
    versions = {contestant.name: contestant.versions for contestant in contestants}
    for contestant in contestants:
        contestant.close()
    OUTPUT.mkdir(exist_ok=True)
    path = arguments.output or OUTPUT / "bench.json"
    path.write_text(
        json.dumps(
            {"versions": versions, "reached": reached, "rows": lines, "first_call": first, "rounds": rounds},
            indent=1,
        )
    )
    try:
        table.plot(lines, path.with_suffix(".png"), ", ".join(columns))
    except ImportError:
        print("no picture: matplotlib is not there")


def memory(arguments) -> None:
    """Peak memory of the large steps, a fresh process each, in MB above what the import takes."""
    print(f"{'':16s}" + "".join(f"{name:>24s}" for name in arguments.libraries.split(",")))
    for case in LARGE:
        shown = []
        for contestant in started(arguments):
            before = contestant.ask("add", 0.0).get("memory")
            after = contestant.ask(case, 2.0)
            shown.append(f"{after['memory'] / 2**20:.0f} MB" if "time" in after else "-")
            if before and "time" in after:
                shown[-1] += f" ({(after['memory'] - before) / 2**20:.0f})"
            contestant.close()
        print(f"{case:16s}" + "".join(f"{text:>24s}" for text in shown), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help="parts of names; the whole table by default")
    parser.add_argument("--all", action="store_true", help="further operations besides the table")
    parser.add_argument("--memory", action="store_true", help="peak memory of the large steps instead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="per case, library and round")
    parser.add_argument("--libraries", default=",".join(BY_DEFAULT))
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    memory(arguments) if arguments.memory else compare(arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:4])
    else:
        sys.path[:0] = [str(HERE), str(HERE / "peers")]
        import workloads

        import table

        STEP_CASES = set(workloads.SPECS)
        main()
