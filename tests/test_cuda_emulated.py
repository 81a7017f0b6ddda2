"""The kernels of CUDA devices, run emulated on the CPU, against the CPU's own: no test of a GPU.

Every kernel is compiled from the text that a device would get. Freed and fresh memory is poisoned, and everything
is run twice, the second time with the threads and blocks in the opposite order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import cuda_cases as cases
import luxon as lx
from luxon import _cupy
from luxon._emulator import Emulator

pytestmark = pytest.mark.skipif(not Emulator.available(), reason="no C++ compiler")

CASES = {case.name: case for case in cases.all_cases()}
RECORDING, EMULATED = "cuda-emulated:91", "cuda-emulated:0"


def run(case: cases.Case, device: str) -> list[Any]:
    result = case.function(*lx.to_device(list(case.inputs), device))
    return list(result) if isinstance(result, (tuple, list)) else [result]


def record() -> cases.Recorder:
    """The texts of all cases."""
    key = ("cuda-emulated", 91)
    recorder = _cupy._opened.get(key)
    if not isinstance(recorder, cases.Recorder):
        recorder = _cupy._opened[key] = cases.Recorder()
        for case in CASES.values():
            run(case, RECORDING)
    return recorder


@pytest.fixture(scope="session", autouse=True)
def prepared() -> None:
    """Compiles what the cases need, many kernels at a time."""
    Emulator().prepare(record().texts)


@pytest.fixture(params=["forwards", "backwards"])
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("LUXON_EMULATOR_REVERSE", "1" if request.param == "backwards" else "0")
    yield request.param


def as_numpy(value: Any) -> np.ndarray[Any, Any]:
    value = lx.to_device(value, "cpu")
    return np.asarray(value.astype(lx.float64) if value.dtype in (lx.bfloat16, lx.float16) else value)


@pytest.mark.parametrize("name", CASES)
def test_equals_the_cpu(name: str, order: str) -> None:
    case = CASES[name]
    expected = run(case, "cpu")
    got = run(case, EMULATED)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert str(a.device).startswith("cuda-emulated")
        a, b = as_numpy(a), as_numpy(b)
        if case.bound == 0.0 or b.dtype.kind not in "f":
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=case.bound, atol=case.bound)


def test_no_code_is_loaded_from_a_folder_of_others(tmp_path, monkeypatch):
    monkeypatch.delenv("LUXON_EMULATOR_CACHE", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / f"luxon-emulator-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match="LUXON_EMULATOR_CACHE"):
        Emulator().prepare([""])
    folder.chmod(0o700)
