"""Convolutions by cuDNN, emulated: its frontend and CuPy are stand-ins that compute with NumPy."""

import pytest

from cuda_process import program
from luxon._emulator import Emulator

pytestmark = pytest.mark.skipif(not Emulator.available(), reason="emulating kernels takes a C++ compiler")

START = """
import numpy as np
import luxon as lx
import luxon.cuda
from luxon import _cupy, functional as F
rng = np.random.default_rng(0)
device = lx.cuda()
stream = _cupy.open("cuda", 0).stream

def normal(*shape, dtype="float32"):
    return lx.asarray(rng.standard_normal(shape)).astype(dtype)

def host(tensor):
    return np.asarray(lx.to_device(tensor, "cpu").astype("float64"))

def compare(found, expected, bound, what):
    for found, expected in zip(found, expected, strict=True):
        found, expected = host(found), host(expected)
        assert found.shape == expected.shape, what
        assert np.abs(found - expected).max() <= bound * max(np.abs(expected).max(), 1e-3), what

def derivatives(function, inputs, cotangent):
    y, pull = lx.vjp(function, *inputs)
    return [y, *pull(cotangent)]

BOUNDS = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
"""

# x, weight, keywords: images of one to three axes.
CASES = """
CASES = [
    ((2, 3, 11), (4, 3, 3), dict(padding=1)),
    ((2, 4, 11), (6, 2, 2), dict(stride=3, groups=2)),
    ((1, 3, 8), (2, 3, 3), dict(dilation=2, padding=((2, 1),))),
    ((2, 3, 7, 6), (4, 3, 3, 3), dict(padding="same")),
    ((3, 4, 9, 8), (8, 4, 3, 2), dict(stride=(2, 1), padding=((1, 0), (0, 2)))),
    ((2, 4, 8, 8), (8, 1, 3, 3), dict(groups=4, dilation=(1, 2))),
    ((2, 5, 6, 6), (5, 1, 3, 3), dict(groups=5, padding=2, stride=2)),
    ((4, 6, 5, 5), (3, 6, 1, 1), dict(stride=2)),
    ((1, 1, 4, 4), (1, 1, 4, 4), dict(stride=3)),
    ((2, 2, 5, 4, 6), (4, 2, 2, 3, 2), dict(padding=(1, 0, 1), stride=(1, 1, 2))),
    ((1, 4, 3, 3, 3), (4, 2, 2, 2, 2), dict(groups=2)),
]
TRANSPOSED = [
    ((2, 4, 5), (4, 3, 3), dict(stride=2, padding=1)),
    ((2, 4, 5, 4), (4, 2, 3, 3), dict(stride=2, padding=1, output_padding=1)),
    ((2, 4, 5, 4), (4, 1, 2, 3), dict(groups=2, dilation=2)),
    ((1, 2, 3, 2, 2), (2, 3, 2, 2, 2), dict(stride=2)),
]
"""


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_results_and_gradients_are_those_of_the_cpu(dtype):
    program(
        START
        + CASES
        + f"""
dtype = "{dtype}"
for function, cases in ((F.conv, CASES), (F.conv_transpose, TRANSPOSED)):
    for x, w, options in cases:
        filters = w[0] if function is F.conv else w[1] * options.get("groups", 1)
        inputs = [normal(*x, dtype=dtype), normal(*w, dtype=dtype), normal(filters, dtype=dtype)]
        call = lambda x, w, b: function(x, w, b, **options)
        cotangent = normal(*call(*inputs).shape, dtype=dtype)
        expected = derivatives(call, inputs, cotangent)
        moved, there = lx.to_device(inputs, device), lx.to_device(cotangent, device)
        before = len(fake_cudnn.built)
        for _ in range(2):
            compare(derivatives(call, moved, there), expected, BOUNDS[dtype], (function, x, w, options))
        # One graph for each product, built once. An axis that a stride leaves unread has none for its gradients.
        assert 1 <= len(fake_cudnn.built) - before <= 3
state = lx.cuda.cudnn()
assert state.version and state.reason is None and state.graphs == len(fake_cudnn.built), state
assert not state.refused, state
""",
        "fake_cudnn",
    )


def test_second_derivatives_are_those_of_the_cpu():
    program(
        START
        + """
def second(x, w):
    inner = lambda x, w: lx.sum(lx.tanh(F.conv(x, w, stride=2, padding=1)))
    return lx.grad(lambda x, w: lx.sum(lx.square(lx.grad(inner)(x, w))), argnums=(0, 1))(x, w)

inputs = normal(2, 3, 6, 5, dtype="float64"), normal(4, 3, 3, 3, dtype="float64")
compare(second(*lx.to_device(inputs, device)), second(*inputs), 1e-12, "second")
assert len(fake_cudnn.built) >= 3
""",
        "fake_cudnn",
    )


def test_operands_are_read_as_they_lie():
    program(
        START
        + """
x, w = normal(2, 8, 5, 6), normal(4, 8, 3, 3)
expected = F.conv(x, w)
dense, weight = lx.to_device([x, w], device)
last = lx.permute_dims(lx.to_device(lx.permute_dims(x, (0, 2, 3, 1)), device) + 0, (0, 3, 1, 2))
gaps = lx.to_device(lx.concat([x, x], axis=3), device)[:, :, :, 6:]
shifted = lx.reshape(lx.concat([lx.to_device(lx.ones(1), device), lx.reshape(dense, (-1,))])[1:], x.shape)
# Those with gaps, and those not at a multiple of 16 bytes, are copied: no graph of their own.
for image, graphs in ((dense, 1), (last, 2), (gaps, 2), (shifted, 2)):
    compare([F.conv(image, weight)], [expected], 2e-6, graphs)
    assert len(fake_cudnn.built) == graphs
strides = [graph.inputs[0].stride for graph in fake_cudnn.built]
assert strides == [[240, 30, 6, 1], [240, 1, 48, 8]], strides
""",
        "fake_cudnn",
    )


def test_what_has_no_plan_is_computed_otherwise_and_asked_for_once():
    program(
        START
        + """
asked = []
def refuse(name, sizes):
    asked.append(name)
    return "no engine" if name == "conv_wgrad" else None
fake_cudnn.refuse = refuse
inputs = [normal(2, 3, 6, 5), normal(4, 3, 3, 3)]
cotangent = normal(2, 4, 4, 3)
expected = derivatives(F.conv, inputs, cotangent)
moved, there = lx.to_device(inputs, device), lx.to_device(cotangent, device)
for _ in range(3):
    compare(derivatives(F.conv, moved, there), expected, 2e-6, "refused")
assert sorted(asked) == ["conv_dgrad", "conv_fprop", "conv_wgrad"], asked
state = lx.cuda.cudnn()
assert state.graphs == 2, state
[(signature, why)] = state.refused.items()
assert signature.startswith("weight float32: x (2, 3, 6, 5)") and "no engine" in why, state
""",
        "fake_cudnn",
    )


def test_precision_and_bounds():
    program(
        START
        + """
from luxon import _cudnn
x, w = lx.to_device([normal(1, 2, 4, 4), normal(2, 2, 3, 3)], device)
F.conv(x, w)
strict = fake_cudnn.built[-1].notes
lx.cuda.set_precision("tf32")
F.conv(x, w)
F.conv(x, w)
assert len(fake_cudnn.built) == 2
tensor_core = fake_cudnn.numerical_note.TENSOR_CORE
assert tensor_core in strict and tensor_core not in fake_cudnn.built[-1].notes
assert fake_cudnn.numerical_note.NONDETERMINISTIC in fake_cudnn.built[-1].notes
lx.cuda.set_precision("float32")
_cudnn.MOST_GRAPHS = 3
for size in range(5, 12):
    F.conv(lx.to_device(normal(1, 2, size, 4), device), w)
assert lx.cuda.cudnn().graphs == 3
""",
        "fake_cudnn",
    )


def test_a_training_step_is_captured_and_allocates_nothing():
    program(
        START
        + """
x, w, b = lx.to_device([normal(2, 3, 9, 8), normal(4, 3, 3, 3), normal(4)], device)
gradient = lx.grad(lambda w, b: lx.sum(lx.square(F.conv(x, w, b, padding=1))), argnums=(0, 1))
expected = [host(each) for each in gradient(w, b)]
gradient(2 * w, b)
stream.begin_capture()  # what allocates from here on is refused
found = gradient(w, b)
graph = stream.end_capture()
for _ in range(2):
    graph.launch(stream)
    for found_one, expected_one in zip(found, expected, strict=True):
        assert np.array_equal(host(found_one), expected_one)
""",
        "fake_cudnn",
    )


ABSENT = """
state = lx.cuda.cudnn()
assert state.version is None and {words!r} in state.reason, state
inputs = [normal(2, 3, 6, 5), normal(4, 3, 3, 3)]
compare([F.conv(*lx.to_device(inputs, device), padding=1)], [F.conv(*inputs, padding=1)], 2e-6, "absent")
"""


def test_without_the_frontend_it_says_so_and_computes():
    absent = START.replace("import numpy", "import sys; sys.modules['cudnn'] = None\nimport numpy", 1)
    program(absent + ABSENT.format(words="nvidia-cudnn-frontend is missing"))


def test_the_environment_turns_it_off():
    off = START.replace("import numpy", "import os; os.environ['LUXON_CUDNN'] = '0'\nimport numpy", 1)
    program(off + ABSENT.format(words="LUXON_CUDNN is 0") + "assert not fake_cudnn.built\n", "fake_cudnn")


def test_a_cudnn_that_does_not_start_is_told():
    broken = "def broken(): raise RuntimeError('no libcudnn')\nsys.modules['cudnn'].create_handle = broken\n"
    program("import sys\n" + broken + START + ABSENT.format(words="no libcudnn"), "fake_cudnn")
