"""The check of a CUDA device, and capture, on the stand-in for CuPy: emulated, in processes of their own."""

import json

import pytest

from cuda_process import program, run
from luxon._emulator import Emulator

pytestmark = pytest.mark.skipif(not Emulator.available(), reason="emulating kernels takes a C++ compiler")


def test_the_check_finds_nothing_wrong(tmp_path):
    done = run("-m", "luxon.cuda.check", "--fake", "--out", str(tmp_path), "--seconds", "800")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads((tmp_path / "check.json").read_text())
    assert report["emulated"] is True
    assert len(report["operations"]) > 190 and all(entry["ok"] for entry in report["operations"])
    assert report["versions"][0]["cudnn"] == "emulated, frontend emulated"
    assert len(report["training"]) == 4 and all(entry["ok"] for entry in report["training"])
    assert "nothing here was run on a GPU" in (tmp_path / "check.md").read_text()


def test_the_check_says_what_is_missing(tmp_path):
    done = run("-m", "luxon.cuda.check", "--out", str(tmp_path))
    assert done.returncode != 0
    assert "CuPy is missing" in done.stderr or "no usable NVIDIA driver" in done.stderr


GRADIENT = """
import numpy as np
import luxon as lx
from luxon import _cupy
device = lx.cuda()
stream = _cupy.open("cuda", 0).stream
rng = np.random.default_rng(0)
x, w = (lx.to_device(lx.asarray(rng.standard_normal(s).astype("f4")), device) for s in ((33, 20), (7, 20)))
gradient = lx.grad(lambda w: lx.sum(lx.square(lx.softmax(lx.tanh(x @ w.T)))))
expected = np.asarray(lx.to_device(gradient(w), "cpu"))
"""


def test_a_gradient_is_captured_and_replayed():
    program(
        GRADIENT
        + """
gradient(2 * w)  # from here on all blocks come from the cache, with other numbers in them
stream.begin_capture()
y = gradient(w)
graph = stream.end_capture()
assert graph.work
before = np.asarray(lx.to_device(y, "cpu"))
assert not np.allclose(before, expected)  # nothing of it has run
for _ in range(2):
    graph.launch(stream)
    assert np.array_equal(np.asarray(lx.to_device(y, "cpu")), expected)
"""
    )


@pytest.mark.parametrize(
    "statement", ["float(lx.sum(w))", "lx.to_device(lx.ones(3), device)", "lx.nonzero(w)"]
)
def test_capture_refuses_what_waits_or_reads_the_host(statement):
    program(
        GRADIENT
        + f"""
lx.sum(w)
stream.begin_capture()
try:
    {statement}
except Exception as error:
    assert "captur" in str(error), error
else:
    raise SystemExit("not refused")
stream.end_capture()
assert np.array_equal(np.asarray(lx.to_device(gradient(w), "cpu")), expected)
"""
    )


def test_an_interpolation_is_captured_and_replayed():
    program(
        """
import numpy as np
import luxon as lx
from luxon import _cupy, functional as F
device = lx.cuda()
stream = _cupy.open("cuda", 0).stream
x = lx.asarray(np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype("f4"))
y, z = lx.to_device([x, 2 * x], device)
enlarge = lx.grad(lambda x: lx.sum(lx.square(F.upsample(x, (11, 9), mode="bilinear"))))
expected = np.asarray(enlarge(x))
enlarge(z)
stream.begin_capture()
y = enlarge(y)  # the tables of the interpolation are on the device already
graph = stream.end_capture()
graph.launch(stream)
assert np.allclose(np.asarray(lx.to_device(y, "cpu")), expected, rtol=1e-5, atol=1e-5)
"""
    )


def test_work_happens_when_it_is_waited_for():
    program(
        GRADIENT
        + """
y = x + x
assert stream.pending
assert np.array_equal(np.asarray(lx.to_device(y, "cpu")), 2 * np.asarray(lx.to_device(x, "cpu")))
assert not stream.pending
"""
    )
