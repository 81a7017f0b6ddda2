"""The Rust program that loads, runs, trains and saves what Python trained."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

import luxon as lx
from luxon import losses, nn, optim, training

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed")


def run_app(*arguments: object, weights: pathlib.Path | None = None) -> str:
    flags = os.environ.get("CARGO_FLAGS", "--release").split()
    finished = subprocess.run(
        ["cargo", "run", "--quiet", *flags, "--package", "rust-app", "--", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | ({"DIGITS_WEIGHTS": str(weights)} if weights else {}),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def some_digits(rows: int, seed: int) -> tuple[lx.Tensor, lx.Tensor]:
    """Classes that can be told apart: one bright stripe each."""
    x, y = lx.random.uniform(lx.random.key(seed), (rows, 64)), lx.arange(rows) % 10
    return x + lx.one_hot(y, 64, dtype=lx.float32), y


def test_python_and_rust_pass_a_network_back_and_forth(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("matplotlib")  # The example draws.
    import digits

    model = digits.make_model()
    ts = training.TrainState.create(0, model, optim.Adam(2e-3))
    for seed in range(5):
        _, _, _, ts = training.single_train_step(
            lx.AutoTape(), losses.CrossEntropyLoss(), some_digits(60, seed), ts
        )
    weights, data, output = (tmp_path / name for name in ("digits.safetensors", "data", "output"))
    lx.io.save(weights, ps=ts.parameters, st=ts.states, model=model, metadata={"by": "Python"})
    x, y = some_digits(200, 9)
    lx.io.save(data, ps={"x": x, "y": y})
    expected, _ = model(x, ts.parameters, nn.testmode(ts.states))
    for source in (weights, "embedded"):
        run_app("predict", source, data, output, weights=weights)
        logits = lx.io.load(output).ps.logits
        np.testing.assert_allclose(logits.numpy(), expected.numpy(), rtol=2e-6, atol=2e-6)

    printed = run_app("tune", weights, data, output, weights=weights)
    seen = [float(line.split()[-1]) for line in printed.splitlines()]
    assert len(seen) == 20 and seen[-1] < 0.5 * seen[0]
    tuned = lx.io.load(output, model=model)
    assert tuned.model == repr(model) and tuned.metadata == {"by": "Python"} and tuned.st == ts.states
    logits, _ = model(x, tuned.ps, nn.testmode(tuned.st))
    run_app("predict", output, data, tmp_path / "again", weights=weights)
    again = lx.io.load(tmp_path / "again").ps.logits
    np.testing.assert_allclose(again.numpy(), logits.numpy(), rtol=2e-6, atol=2e-6)
    before, after = (float(losses.cross_entropy(value, y)) for value in (expected, logits))
    assert after < before and digits.accuracy(model, tuned.ps, tuned.st, (x, y)) > 0.9
