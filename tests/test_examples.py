"""The examples run at small size and reach what they promise."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


def run_example(name: str, folder: pathlib.Path, *arguments: str) -> str:
    finished = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_digits(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    printed = run_example("digits.py", tmp_path, "--epochs", "40")
    accuracy = float(re.findall(r"test accuracy ([\d.]+)%", printed)[-1])
    assert accuracy >= 97.0
    assert (tmp_path / "output" / "digits.png").stat().st_size > 1000
    assert (tmp_path / "output" / "digits.safetensors").stat().st_size > 10_000
    assert "loaded again they give" in printed
    assert "▁" in printed


def test_lenet_digits(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    printed = run_example("lenet_digits.py", tmp_path, "--epochs", "8")
    assert number(r"test accuracy ([\d.]+)%", printed) >= 96.0
    assert number(r"support vectors ([\d.]+)%", printed) >= 98.0
    assert (tmp_path / "output" / "lenet_digits.png").stat().st_size > 1000
    assert (tmp_path / "output" / "lenet_digits.safetensors").stat().st_size > 100_000
    assert "loaded again they give" in printed and "▁" in printed


def test_surgery(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("sklearn")
    printed = run_example("surgery.py", tmp_path, "--epochs", "8")
    assert float(re.findall(r"test accuracy ([\d.]+)%", printed)[-1]) >= 95.0
    assert "location model.body.layer_1, place input, index (6, 20)" in printed
    assert "the two layers are still one: True" in printed


def number(pattern: str, printed: str) -> float:
    return float(re.findall(pattern, printed)[-1])


def test_neural_ode(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("scipy")
    pytest.importorskip("matplotlib")
    printed = run_example("neural_ode.py", tmp_path, "--steps", "400")
    baseline = number(r"in the future: mean ([\d.]+)", printed)
    assert number(r"error in the future ([\d.]+)", printed) < 0.5 * baseline
    assert number(r"solver differ by ([\d.e-]+)", printed) < 1e-3
    assert (tmp_path / "output" / "neural_ode.png").stat().st_size > 1000


def test_pinn_burgers(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("matplotlib")
    printed = run_example("pinn_burgers.py", tmp_path, "--steps", "300", "--refine", "15")
    assert number(r"relative error ([\d.e+-]+)", printed) < 0.1
    assert (tmp_path / "output" / "pinn_burgers.png").stat().st_size > 1000


def test_char_lm(tmp_path: pathlib.Path) -> None:
    printed = run_example("char_lm.py", tmp_path, "--small")
    assert number(r"test ([\d.]+) bits", printed) < number(r"pairs ([\d.]+) bits", printed) - 0.1
    assert "▁" in printed and "\nThe " in printed


def test_lstm_sunspots(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("statsmodels")
    printed = run_example("lstm_sunspots.py", tmp_path, "--small")
    persistence = number(r"persistence ([\d.]+)", printed)
    assert number(r"error since \d+: ([\d.]+)", printed) < 0.7 * persistence
