"""How many instructions calls take, which a noisy machine cannot disturb: counted by Valgrind's callgrind.

    python benches/instructions.py                        # every case
    python benches/instructions.py add step --json out.json

A case runs in two processes that differ only in how often they call; the difference of their counts over the
difference of the calls is what one call takes, import and warm-up excluded. Everything runs on one thread with a
fixed hash seed and without the cycle collector, so that a count comes out the same again to about one per cent.

Valgrind knows AVX2 and no AVX-512: the kernels that run are those of AVX2, and a core compiled with
`-C target-cpu=native` on a machine with AVX-512 cannot run at all. The calls around the kernels are the same.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable

WARM_UP = 20
Call = Callable[[], object]


def untracked_add() -> Call:
    import luxon as lx

    a, b = lx.ones(4), lx.ones(4)
    return lambda: a + b


def tracked_add() -> Call:
    """A hundred additions of which one reaches the result, so that they are recorded and not walked back."""
    import luxon as lx

    a, b = lx.ones(4), lx.ones(4)

    def adds(x):
        for _ in range(100):
            x + b
        return lx.sum(x)

    run = lx.value_and_grad(adds)
    return lambda: run(a)


def step() -> Call:
    import luxon as lx
    from luxon import losses, nn, optim, training

    model = nn.Chain(nn.Dense(2, 32, lx.tanh), nn.Dense(32, 32, lx.tanh), nn.Dense(32, 1))
    ts = training.TrainState(model, *nn.setup(0, model), optim.Adam(1e-4))
    ad, objective, data = lx.AutoTape(), losses.MSELoss(), (lx.ones((64, 2)), lx.ones((64, 1)))

    def run() -> object:
        nonlocal ts
        _, loss, _, ts = training.single_train_step(ad, objective, data, ts, donate=True)
        return loss

    return run


CASES: dict[str, tuple[str, Callable[[], Call], int, int]] = {
    "add": ("add of 4, untracked", untracked_add, 2000, 1),
    "tracked": ("add of 4, tracked", tracked_add, 40, 100),
    "step": ("step 2-32-32-1, batch 64, Adam", step, 100, 1),
}
"""By name: what is shown, how the call is made, how often the shorter process calls, operations in a call."""


def repeat(case: str, count: int) -> None:
    """The body of a counted process."""
    call = CASES[case][1]()
    gc.disable()
    for _ in range(WARM_UP + count):
        call()


def count_instructions(valgrind: str, case: str, count: int) -> int:
    """The instructions of a process that makes so many calls."""
    environment = os.environ | {"LUXON_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    environment.pop("LUXON_ISA", None)
    with tempfile.TemporaryDirectory() as folder:
        tool = [valgrind, "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        counted = [sys.executable, os.path.abspath(__file__), "--run", case, str(count)]
        done = subprocess.run(tool + counted, env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        lines = done.stderr.strip().splitlines()
        if any("Unrecognised instruction" in line or "unhandled instruction" in line for line in lines):
            raise SystemExit(
                "valgrind met an instruction that it does not know; count a core that was compiled for any "
                "machine (maturin build --release), not with -C target-cpu=native"
            )
        raise SystemExit("the counted process failed:\n" + "\n".join(lines[-20:]))
    return int(found[1])


def per_operation(valgrind: str, case: str) -> float:
    _, _, count, operations = CASES[case]
    few, many = (count_instructions(valgrind, case, calls) for calls in (count, 3 * count))
    return (many - few) / (2 * count * operations)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; by default all")
    parser.add_argument("--json", help="a file for the counts by case")
    parser.add_argument("--run", nargs=2, metavar=("CASE", "COUNT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        repeat(given.run[0], int(given.run[1]))
        return
    unknown = [case for case in given.cases if case not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise SystemExit(
            "instructions are counted by valgrind, which is not installed (apt install valgrind)"
        )
    counts = {}
    for case in given.cases or CASES:
        counts[case] = per_operation(valgrind, case)
        print(f"{CASES[case][0]:32s}{counts[case]:12,.0f} instructions", flush=True)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(counts, file, indent=2)


if __name__ == "__main__":
    main()
