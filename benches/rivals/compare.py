"""One network in luxon, candle and burn: latency of a sample and size of the program.

    make bench-rivals

Builds each program by itself with `cargo build --release` (and with `--small` again with `--profile small`: optimised for
size, linked as a whole, no unwinding), gives all of them the file that `examples/digits.py` saved, refuses programs whose
logits differ, and runs them in turns, so that a busy machine hurts all alike. Printed are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
from typing import Any

HERE = pathlib.Path(__file__).parent
# A program is a binary and the features that it is built with.
PROGRAMS = {
    "luxon": ("luxon", "avx512"),
    "luxon, no avx512": ("luxon", "luxon"),
    "candle": ("candle", "candle"),
    "burn, flex": ("burn", "flex"),
    "burn, ndarray": ("burn", "ndarray"),
}
FIGURES = ("median_us", "least_us", "load_and_first_us")


def build(name: str, profile: str) -> pathlib.Path:
    """The program, built where those of other features do not overwrite it."""
    binary, feature = PROGRAMS[name]
    base = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target"))
    subprocess.run(
        ["cargo", "build", "--profile", profile, "--features", feature, "--bin", binary],
        cwd=HERE,
        env=os.environ | {"CARGO_TARGET_DIR": str(base)},
        check=True,
    )
    kept = base / profile / f"{binary}-{feature}"
    (base / profile / binary).replace(kept)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=pathlib.Path, help="what `make digits` saved")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--milliseconds", type=int, default=300)
    parser.add_argument("--small", action="store_true", help="build for size too")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output/rivals.json"))
    arguments = parser.parse_args()

    profiles = ("release", "small") if arguments.small else ("release",)
    programs = {
        name if profile == "release" else f"{name}, {profile}": build(name, profile)
        for profile in profiles
        for name in PROGRAMS
    }
    found: dict[str, dict[str, float]] = {
        name: {"bytes": path.stat().st_size} for name, path in programs.items()
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
    for number in range(arguments.rounds):
        order = list(programs)[number % len(programs) :] + list(programs)[: number % len(programs)]
        for name in order:
            command = [programs[name], arguments.weights, str(arguments.milliseconds)]
            runs[name].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    expected = runs["luxon"][0]["logits"]
    for name, outcomes in runs.items():
        for outcome in outcomes:
            far = max(abs(a - b) for a, b in zip(outcome["logits"], expected, strict=True))
            if far > 1e-4 * max(map(abs, expected)):
                raise SystemExit(f"{name} predicts {outcome['logits']}, luxon {expected}")
        for figure in FIGURES:
            found[name][figure] = statistics.median(outcome[figure] for outcome in outcomes)

    print(f"{'':24}{'us a sample':>12}{'least':>8}{'load + first':>14}{'size, KiB':>12}")
    for name, row in found.items():
        times = f"{row['median_us']:12.2f}{row['least_us']:8.2f}{row['load_and_first_us']:14.0f}"
        print(f"{name:24}{times}{row['bytes'] / 1024:12.0f}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
