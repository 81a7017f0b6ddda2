"""DLPack of CUDA tensors, both ways, on the stand-in for CuPy: emulated, in processes of their own.

The stand-in does nothing before somebody waits, runs streams in no order but that of events, and poisons what is freed:
a stream that does not wait, or an owner let go too early, shows as wrong elements.
"""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import luxon as lx
from luxon._emulator import Emulator

pytestmark = pytest.mark.skipif(not Emulator.available(), reason="emulating kernels takes a C++ compiler")

START = """
import gc
import numpy as np
from luxon._emulator import fake_arrays, fake_cupy
fake_cupy.install()
import cupy
import luxon as lx
from luxon import _cupy

device = lx.cuda()
ours = _cupy.open("cuda", 0).stream
host = lambda x: np.asarray(lx.to_device(x, "cpu"))

def refused(kinds, match, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except kinds as error:
        assert match in str(error), error
    else:
        raise AssertionError("not refused")
"""


def program(text):
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_arrays_come_in_without_a_copy():
    program(
        """
for kind in ("bool", "u1", "i4", "i8", "f2", "f4", "f8"):
    for shape in ((), (0, 3), (20,), (3, 4, 5)):
        a = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(kind)
        x = lx.from_dlpack(cupy.array(a))
        assert x.device == device and x.dtype == a.dtype and x.shape == a.shape
        assert np.array_equal(host(x), a)
        assert np.array_equal(host(lx.from_dlpack(cupy.array(a), copy=True)), a)
        assert np.array_equal(host(lx.asarray(cupy.array(a))), a)

theirs = cupy.array(np.arange(24.0, dtype="f4").reshape(4, 6))
x = lx.from_dlpack(theirs)
assert x.__cuda_array_interface__["data"] == (theirs.data.ptr, True)
assert lx.from_dlpack(theirs, copy=True).__cuda_array_interface__["data"][0] != theirs.data.ptr
assert lx.asarray(theirs, copy=False).__cuda_array_interface__["data"][0] == theirs.data.ptr
assert lx.asarray(theirs).__cuda_array_interface__["data"][0] != theirs.data.ptr

# Functions take them.
assert np.array_equal(host(lx.add(x, theirs)), 2 * host(x))

# Strides of any sign, and a start at which no kernel may read four elements at once.
a = np.arange(1000.0, dtype="f4").reshape(10, 100)
whole = cupy.array(a)
for index in np.s_[:, 1:], np.s_[::-1], np.s_[3:, ::-7], np.s_[5], np.s_[1:9:2, 3:99:4]:
    part = lx.from_dlpack(whole[index])
    assert np.array_equal(host(part), a[index])
    assert np.allclose(host(lx.softmax(part * 0.01)), np.asarray(lx.softmax(lx.asarray(a[index].copy()) * 0.01)), 1e-6)
    assert np.array_equal(host(part + 1), a[index] + 1)
    assert np.array_equal(host(lx.sum(part)), a[index].sum())
slope = lx.grad(lambda x: lx.sum(x * x))(lx.from_dlpack(whole[:, 1:]))
assert np.array_equal(host(slope), 2 * a[:, 1:])

refused(ValueError, "bool", lx.from_dlpack, cupy.array([True]), copy=False)
"""
    )


def test_the_trials_of_the_check_pass():
    program(
        """
from luxon.cuda._sharing import trials
names = [name for name, trial in trials(device, True) if trial()]
assert len(names) == 16, names
"""
    )


def test_devices_and_copies():
    program(
        """
a = np.arange(20.0, dtype="f4")
theirs = cupy.array(a)
assert lx.from_dlpack(theirs, device="cpu").device == "cpu"
assert np.asarray(lx.from_dlpack(theirs, device="cpu")).tolist() == a.tolist()
assert lx.from_dlpack(theirs, device=device, copy=False).device == device
assert lx.from_dlpack(a, device=device).device == device
refused(ValueError, "copy", lx.from_dlpack, theirs, device="cpu", copy=False)
refused(ValueError, "copy", lx.from_dlpack, a, device=device, copy=False)
copied = lx.from_dlpack(theirs, device=device, copy=True)
x = lx.from_dlpack(theirs)
again, apart = lx.from_dlpack(x), lx.from_dlpack(x, copy=True)
address = lambda x: x.__cuda_array_interface__["data"][0]
assert address(again) == address(x) != address(apart) != address(copied)
# A copy is made before the producer goes on.
theirs[...] = -1.0
copy = lx.asarray(theirs)
theirs[...] = 7.0
fake_cupy._streams[0].synchronize()
assert host(copy).tolist() == [-1.0] * 20 and host(copied).tolist() == host(apart).tolist() == a.tolist()

x = lx.to_device(lx.asarray(a), device)
assert x.__dlpack_device__() == (2, 0)
here = np.from_dlpack(x, device="cpu", copy=None)
assert here.tolist() == a.tolist() and here.flags.owndata is False
refused(BufferError, "copy", x.__dlpack__, max_version=(1, 0), dl_device=(1, 0), copy=False)
for other in (2, 1), (10, 0), (1, 3):
    refused(BufferError, "device", x.__dlpack__, max_version=(1, 0), dl_device=other)
refused(BufferError, "read-only", x.__dlpack__, copy=False)
for stream in 0, -2, -(2**40):
    refused(ValueError, "stream", x.__dlpack__, stream=stream)
refused(TypeError, "stream", x.__dlpack__, stream="main")
refused(BufferError, "stop_gradient", lx.grad(lambda x: lx.sum(lx.from_dlpack(cupy.from_dlpack(x)))), x)
refused(TypeError, "stop_gradient", lx.grad(lambda x: x.__cuda_array_interface__ and lx.sum(x)), x)
"""
    )


def test_tensors_go_out():
    program(
        """
for name in ("bool", "uint8", "int32", "int64", "float16", "float32", "float64"):
    for shape in ((), (0, 3), (20,), (3, 4, 5)):
        x = lx.astype(lx.reshape(lx.arange(int(np.prod(shape, dtype=int))), shape), name)
        there = cupy.from_dlpack(lx.to_device(x, device))
        assert there.dtype == x.dtype and there.get().tolist() == x.tolist()

x = lx.to_device(lx.reshape(lx.arange(24.0), (4, 6)), device)
there = cupy.from_dlpack(x)
assert there.data.ptr == x.__cuda_array_interface__["data"][0]
assert cupy.from_dlpack(x, copy=True).data.ptr != there.data.ptr
turned = lx.matrix_transpose(x[:, ::-2])
assert cupy.from_dlpack(turned).strides == (-8, 24)
assert cupy.from_dlpack(turned).get().tolist() == host(turned).tolist()
assert lx.from_dlpack(cupy.from_dlpack(x)).__cuda_array_interface__["data"] == x.__cuda_array_interface__["data"]

# What cannot be called read-only is a copy.
assert "dltensor_versioned" in repr(x.__dlpack__(max_version=(1, 0)))
old = x.__dlpack__(stream=1)
assert '"dltensor"' in repr(old)

described = x[1:, ::2].__cuda_array_interface__
assert described["shape"] == (3, 3) and described["strides"] == (24, 8) and described["typestr"] == "<f4"
assert described["version"] == 3 and described["stream"] == ours.ptr and described["data"][1]
assert cupy.asarray(x[1:, ::2]).get().tolist() == host(x[1:, ::2]).tolist()
assert not hasattr(lx.ones(2), "__cuda_array_interface__")
assert not hasattr(lx.astype(x, "bfloat16"), "__cuda_array_interface__")
assert x.__cuda_array_interface__["strides"] is None


class Described:
    "Numba's arrays and their like have no `__dlpack__`."

    def __init__(self, array):
        self.__cuda_array_interface__ = array.__cuda_array_interface__
        self.array = array


theirs = Described(cupy.array(np.arange(5.0)))
assert host(lx.asarray(theirs)).tolist() == [0, 1, 2, 3, 4]
shared = lx.asarray(theirs, copy=False)
assert shared.device == device and shared.__cuda_array_interface__["data"][0] == theirs.array.data.ptr
"""
    )


def test_streams_wait_for_each_other():
    program(
        """
a = np.arange(1000.0, dtype="f4")
other = cupy.cuda.Stream(non_blocking=True)

# The producer's work comes before luxon's, whichever stream it is on.
for stream in None, other:
    if stream is None:
        theirs = cupy.array(a) + 1.0
        x = lx.from_dlpack(theirs) * 2
    else:
        with stream:
            theirs = cupy.array(a) + 1.0
            x = lx.from_dlpack(theirs) * 2
    assert np.array_equal(host(x), (a + 1) * 2)

# luxon's work comes before the consumer's, whichever stream it names.
x = lx.to_device(lx.asarray(a), device)
with other:
    there = cupy.from_dlpack(x * 3)
    assert np.array_equal(there.get(), a * 3)
assert np.array_equal(cupy.from_dlpack(x * 4).get(), a * 4)
for stream in None, 1, 2, other.ptr:
    y = x * 5
    capsule = y.__dlpack__(stream=stream, max_version=(1, 0))
    fake_cupy._streams[1 if stream is None else stream].synchronize()
    assert not ours.pending
    del capsule
# Minus one means that nobody waits, and neither does luxon for itself.
for stream in -1, ours.ptr:
    pending = len(ours.pending)
    y = x * 6
    capsule = y.__dlpack__(stream=stream, max_version=(1, 0))
    fake_cupy._streams[0].synchronize()
    assert len(ours.pending) == pending + 1
    del capsule

# Before luxon uses memory again, it waits for the consumer who gave it back.
for stream in fake_cupy._streams[0], other:
    with stream:
        y = x * 7
        there = cupy.from_dlpack(y)
        kept = cupy.empty(there.shape)
        kept[...] = there
        del there, y
        gc.collect()
    z = [x * float(number) for number in range(8, 12)]
    ours.synchronize()
    stream.synchronize()
    assert np.array_equal(kept._host, a * 7)
"""
    )


def test_lifetimes():
    program(
        """
import weakref
a = np.arange(1000.0, dtype="f4")

# A producer's memory is let go when what luxon does with it is done, and not before.
theirs = cupy.array(a)
alive = weakref.ref(theirs._host)
x = lx.from_dlpack(theirs)
del theirs
gc.collect()
assert alive() is not None
y = x[::2] * 2
del x
gc.collect()
assert alive() is not None and ours.pending
assert np.array_equal(host(y), a[::2] * 2)
gc.collect()
assert alive() is None

# A view keeps it, and waiting for the device lets it go too.
theirs = cupy.array(a)
alive = weakref.ref(theirs._host)
row = lx.from_dlpack(theirs)[5:10]
del theirs
z = row * 2
del row
lx._core.synchronize(device)
assert alive() is None

# A consumer keeps luxon's.
x = lx.to_device(lx.asarray(a), device)
there = cupy.from_dlpack(x)
del x
gc.collect()
fresh = [lx.ones(1000, device=device) for _ in range(4)]
assert np.array_equal(there.get(), a)

# Capsules that nobody takes are freed with what they hold.
x = lx.to_device(lx.asarray(a), device)
address = x.__cuda_array_interface__["data"][0]
for version in None, (1, 0):
    for _ in range(50):
        x.__dlpack__(max_version=version)
del x
assert lx.empty(1000, device=device).__cuda_array_interface__["data"][0] == address
"""
    )


def test_hostile_capsules_are_refused():
    program(
        """
import ctypes

class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("kind", ctypes.c_int), ("id", ctypes.c_int), ("ndim", ctypes.c_int),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64), ("context", ctypes.c_void_p), ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    ]

sizes = lambda *values: (ctypes.c_int64 * 9)(*values)
new = ctypes.pythonapi.PyCapsule_New
new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
block = cupy.array(np.arange(16.0, dtype="f4"))
fake_cupy._streams[0].synchronize()
outside = np.zeros(16, "f4")

class Producer:
    def __init__(self, where=(2, 0), **changes):
        self.where, self.freed = where, []
        self.deleter = Tensor._fields_[-1][1](self.freed.append)
        self.shape, self.strides = sizes(4, 4), sizes(4, 1)
        self.managed = Tensor(block.data.ptr, 2, 0, 2, 2, 32, 1, self.shape, self.strides, 0, None, self.deleter)
        for name, value in changes.items():
            setattr(self.managed, name, value)
    def __dlpack__(self, *, stream=None):
        assert stream == ours.ptr
        return new(ctypes.addressof(self.managed), b"dltensor", None)
    def __dlpack_device__(self):
        return self.where

good = Producer()
x = lx.from_dlpack(good)
assert host(x).tolist() == np.arange(16.0).reshape(4, 4).tolist() and not good.freed
del x
host(lx.ones(2, device=device))
assert len(good.freed) == 1
for changes in (
    {"ndim": -1}, {"ndim": 9}, {"shape": None}, {"shape": sizes(-1, 4)}, {"shape": sizes(2**62, 2**62)},
    {"strides": sizes(2**62, 1)}, {"strides": sizes(-(2**63), 1)}, {"data": None}, {"code": 5}, {"bits": 12},
    {"lanes": 4}, {"kind": 1}, {"kind": 4}, {"id": 1}, {"offset": 1}, {"offset": 2**63},
    # Memory that is not the device's: at its start, and at its end or below it by its strides.
    {"data": outside.ctypes.data}, {"data": 4096}, {"strides": sizes(2**30, 1)}, {"strides": sizes(-(2**30), 1)},
):
    producer = Producer(**changes)
    refused((BufferError, ValueError, OverflowError), "", lx.from_dlpack, producer)
    gc.collect()
    host(lx.ones(2, device=device))
    assert len(producer.freed) == 1, changes
for where in (2, 7), (2, -1), (4, 0), (10, 0), (2**31 - 1, 0):
    producer = Producer(where)
    refused(BufferError, "from_dlpack", lx.from_dlpack, producer)
    assert not producer.freed
empty = Producer(shape=sizes(0, 4), data=3)
assert lx.from_dlpack(empty).shape == (0, 4) and len(empty.freed) == 1
managed = Producer((13, 0), kind=13)
assert host(lx.from_dlpack(managed)).shape == (4, 4)
pinned = Producer((3, 0), kind=3, data=outside.ctypes.data)
pinned.__class__.__dlpack__ = lambda self: new(ctypes.addressof(self.managed), b"dltensor", None)
assert lx.from_dlpack(pinned).device == "cpu"
"""
    )


def test_an_emulated_device_hands_out_host_memory():
    a = np.arange(24.0, dtype="f4").reshape(4, 6)
    x = lx.to_device(lx.asarray(a), "cuda-emulated")
    assert x.__dlpack_device__() == (1, 0)
    for part in (x, x[1:, ::-2], lx.matrix_transpose(x)):
        there = np.from_dlpack(part)
        assert not there.flags.writeable and there.tolist() == lx.to_device(part, "cpu").tolist()
    assert np.from_dlpack(x).ctypes.data == np.from_dlpack(x).ctypes.data
    with pytest.raises(TypeError, match="stream"):
        x.__dlpack__(stream=1)
    assert not hasattr(x, "__cuda_array_interface__")
    y = np.from_dlpack(x * 2)
    assert y.tolist() == (a * 2).tolist()
    assert lx.from_dlpack(a, device="cuda-emulated").device == x.device
    with pytest.raises(ValueError, match="copy"):
        lx.from_dlpack(a, device="cuda-emulated", copy=False)
    assert lx.from_dlpack(x, copy=True).device == x.device
    assert np.from_dlpack(x.copy()).ctypes.data != np.from_dlpack(x).ctypes.data


def test_without_cupy_the_error_says_what_is_missing():
    class Producer:
        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, **_):
            raise AssertionError("asked for memory that nobody can use")

    with pytest.raises(BufferError, match=r"CUDA device.*cuda:0"):
        lx.from_dlpack(Producer())


def test_an_optimiser_overwrites_nothing_of_theirs():
    program(
        """
from luxon import nn, optim, training

model = nn.Dense(4, 3, use_bias=False)
theirs = cupy.array(np.arange(12.0, dtype="f4").reshape(3, 4))
ps, st = nn.setup(0, model)
given = lx.Tree(weight=lx.from_dlpack(theirs))
ts = training.TrainState(model, given, lx.to_device(st, device), optim.Adam(0.1))
ours_before = lx.to_device(ps, device)
shown = cupy.from_dlpack(ours_before.weight)
other = training.TrainState(model, ours_before, lx.to_device(st, device), optim.Adam(0.1))
before = host(ours_before.weight).copy()
del given, ours_before
x = lx.to_device(lx.ones((2, 4)), device)
loss = lambda model, ps, st, x: (lx.sum(model(x, ps, st)[0] ** 2), st, {})
for state in ts, other:
    for _ in range(3):
        *_, state = training.single_train_step(lx.AutoTape(), loss, x, state, donate=True)
    assert not np.array_equal(host(state.parameters.weight), before)
cupy.cuda.runtime.deviceSynchronize() if hasattr(cupy.cuda, "runtime") else None
assert np.array_equal(theirs.get(), np.arange(12.0, dtype="f4").reshape(3, 4))
assert np.array_equal(host(lx.from_dlpack(shown)), before)
"""
    )
