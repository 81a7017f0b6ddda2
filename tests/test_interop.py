"""Memory that luxon shares with NumPy, DLPack and the buffer protocol."""

from __future__ import annotations

import array
import ctypes
import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import luxon as lx

NATIVE = ["bool", "uint8", "int32", "int64", "float16", "float32", "float64"]


def address(x):
    return np.asarray(x).__array_interface__["data"][0]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(NATIVE).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    ),
    st.data(),
)
def test_numpy_in_and_out(values, data):
    view = values[data.draw(hnp.basic_indices(values.shape, allow_ellipsis=True))]
    view = np.asarray(view)
    for copy in (None, True):
        x = lx.asarray(view, copy=copy)
        assert x.dtype == view.dtype and x.shape == view.shape
        np.testing.assert_array_equal(x.numpy(), view)
    np.testing.assert_array_equal(
        np.asarray(lx.asarray(values).T if values.ndim == 2 else values),
        values.T if values.ndim == 2 else values,
    )


def test_writable_arrays_are_copied():
    a = np.arange(100.0)
    x = lx.asarray(a)
    a[0] = 7.0
    assert x[0].item() == 0.0


def test_copy_false_shares():
    a = np.arange(100.0)[::-2]
    x = lx.asarray(a, copy=False)
    assert address(x) == a.__array_interface__["data"][0]
    assert x.tolist() == a.tolist()
    for cannot in (np.array([True]), np.zeros(3, ">f4"), np.zeros(3, "int8"), [1.0], 1.0, (1, 2)):
        with pytest.raises(ValueError, match=r"shared|share"):
            lx.asarray(cannot, copy=False)
    with pytest.raises(ValueError):
        lx.asarray(a, dtype="float32", copy=False)
    with pytest.raises(ValueError):
        lx.asarray(x, dtype="float32", copy=False)


def test_constant_memory_is_shared():
    a = np.arange(100.0)
    a.flags.writeable = False
    assert address(lx.asarray(a)) == address(a)
    assert address(lx.asarray(a, copy=True)) != address(a)
    # A read-only view of memory that its owner can write to is no promise.
    b = np.arange(100.0)
    view = b[:]
    view.flags.writeable = False
    assert address(lx.asarray(view)) != address(b)
    text = np.frombuffer(bytes(800), "float64")
    assert address(lx.asarray(text)) == address(text)
    x = lx.asarray(np.arange(100.0))
    assert address(lx.asarray(x.numpy())) == address(x)


def test_mapped_files_are_shared(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(1000.0))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    x = lx.asarray(mapped)
    assert address(x) == address(mapped)
    del mapped
    gc.collect()
    assert float(lx.sum(x)) == 499500.0
    writable = np.load(tmp_path / "a.npy", mmap_mode="r+")
    assert address(lx.asarray(writable)) != address(writable)


def test_arrays_live_as_long_as_tensors():
    a = np.arange(1000.0)
    a.flags.writeable = False
    reference = weakref.ref(a)
    x = lx.asarray(a)[10:20]
    del a
    gc.collect()
    assert reference() is not None and x.tolist() == list(range(10, 20))
    del x
    gc.collect()
    assert reference() is None


def test_tensors_live_as_long_as_arrays():
    a = lx.asarray(np.arange(1000.0)).numpy()
    gc.collect()
    assert a.sum() == 499500.0


def test_memory_handed_out_is_read_only():
    x = lx.ones((30, 4))
    for out in (x.numpy(), np.asarray(x), np.from_dlpack(x)):
        assert address(x) == out.__array_interface__["data"][0]
        assert not out.flags.writeable
        with pytest.raises(ValueError):
            out[0] = 1.0
        with pytest.raises(ValueError):
            out.flags.writeable = True
    copied = np.array(x)
    copied[0] = 5.0
    assert x[0, 0].item() == 1.0
    assert np.asarray(x, dtype="float64").dtype == "float64"
    assert np.asarray(x, copy=True).flags.writeable
    assert x.__array__("float16").dtype == "float16"
    with pytest.raises(ValueError):
        x.__array__("float16", copy=False)
    assert x.__array__(copy=True).flags.writeable


@pytest.mark.parametrize("dtype", NATIVE)
def test_other_byte_order_and_alignment(dtype):
    a = np.arange(10).astype(dtype)
    swapped = a.astype(a.dtype.newbyteorder(">"))
    assert lx.asarray(swapped).tolist() == a.tolist()
    raw = np.zeros(a.nbytes + 1, "uint8")[1:].view(dtype)
    raw[:] = a
    assert lx.asarray(raw).tolist() == a.tolist()
    packed = np.zeros(10, [("byte", "u1"), ("value", dtype)])
    packed["value"] = a
    assert lx.asarray(packed["value"]).tolist() == a.tolist()


def test_true_has_many_bytes():
    odd = np.array([0, 1, 2, 255], "uint8").view(bool)
    x = lx.asarray(odd)
    assert x.tolist() == [False, True, True, True]
    assert lx.from_dlpack(odd).astype("int64").tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("given", "expected"), [("int8", "int32"), ("int16", "int32"), ("uint16", "int32"), ("uint32", "int64")]
)
def test_integers_that_fit_are_converted(given, expected):
    x = lx.asarray(np.array([np.iinfo(given).min, np.iinfo(given).max], given))
    assert x.dtype == expected and x.tolist() == [np.iinfo(given).min, np.iinfo(given).max]


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2, "complex64"),
        np.zeros(2, "uint64"),
        np.zeros(2, "datetime64[s]"),
        np.array(["a"]),
        np.array([None]),
        np.zeros(2, [("a", "f4")]),
        "text",
        None,
        {"a": 1},
        {1, 2},
        object(),
        int,
        [["a"]],
        [None],
        np.complex64(1),
    ],
)
def test_what_no_tensor_can_hold(value):
    with pytest.raises(TypeError):
        lx.asarray(value)


def test_numbers_and_lists():
    assert lx.asarray(True).dtype == lx.bool
    assert lx.asarray(1).dtype == lx.int64
    assert lx.asarray(1.0).dtype == lx.float32
    assert lx.asarray(np.float64(1)).dtype == lx.float32
    assert lx.asarray([1, 2.0]).dtype == lx.float32
    assert lx.asarray([True, 2]).dtype == lx.int64
    assert lx.asarray([]).dtype == lx.float32 and lx.asarray([]).shape == (0,)
    assert lx.asarray([[], []]).shape == (2, 0)
    assert lx.asarray(((1, 2), [3, 4])).tolist() == [[1, 2], [3, 4]]
    assert lx.asarray([1, 2], dtype="uint8").dtype == lx.uint8
    assert lx.asarray(3, dtype=lx.float16).dtype == lx.float16
    assert lx.asarray([np.ones(2), np.zeros(2)]).tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert lx.asarray([np.ones(2)]).dtype == lx.float64
    assert lx.asarray([lx.asarray(1.0, dtype="float16"), 2]).dtype == lx.float16
    assert lx.asarray(range(4)).tolist() == [0, 1, 2, 3]
    assert lx.asarray(array.array("d", [1.0, 2.0])).dtype == lx.float64
    assert lx.asarray(memoryview(b"ab")).tolist() == [97, 98]
    with pytest.raises(ValueError, match="ragged"):
        lx.asarray([[1, 2], [3]])
    with pytest.raises(ValueError, match="ragged"):
        lx.asarray([1, [2]])
    with pytest.raises(ValueError, match="ragged"):
        lx.asarray([[1], 2])
    assert lx.asarray([0.1], dtype="float64").item() == 0.1
    with pytest.raises(OverflowError):
        lx.asarray([300], dtype="uint8")
    endless = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested"):
        lx.asarray(endless)


def test_lists_of_tensors_are_differentiated():
    gradient = lx.grad(
        lambda a, b: lx.sum(lx.asarray([[a, b], [b, 1.0]]) * lx.asarray([[1.0, 2.0], [3.0, 4.0]])),
        argnums=(0, 1),
    )
    da, db = gradient(lx.asarray(5.0), lx.asarray(6.0))
    assert (float(da), float(db)) == (1.0, 5.0)


def test_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    a = np.array([1.5, -2.0, 3.0], ml_dtypes.bfloat16)
    x = lx.asarray(a)
    assert x.dtype == lx.bfloat16 and x.tolist() == [1.5, -2.0, 3.0]
    assert x.numpy().dtype == a.dtype and x.numpy().tolist() == a.tolist()
    assert np.asarray(x).dtype == a.dtype
    assert lx.finfo("bfloat16").bits == 16
    assert (x * ml_dtypes.bfloat16(2)).dtype == lx.bfloat16
    assert lx.from_dlpack(x).tolist() == x.tolist()
    with pytest.raises(BufferError, match="bfloat16"):
        memoryview(x)


def test_buffer_protocol():
    x = lx.asarray(np.arange(24, dtype="int32").reshape(2, 3, 4))
    view = memoryview(x)
    assert (view.format, view.shape, view.strides, view.readonly) == ("i", (2, 3, 4), (48, 16, 4), True)
    assert view.tobytes() == np.asarray(x).tobytes() == bytes(x)
    assert memoryview(x[:, ::-1, 1]).tolist() == x[:, ::-1, 1].tolist()
    assert bytes(lx.ones(0)) == b""
    with pytest.raises((BufferError, TypeError)):
        (ctypes.c_int * 24).from_buffer(x)
    assert np.frombuffer(x, "int32").sum() == 276
    with pytest.raises((BufferError, ValueError)):
        np.frombuffer(x[:, ::2])


@pytest.mark.parametrize("dtype", NATIVE)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4, 2)])
def test_dlpack_round_trip(dtype, shape):
    a = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    assert lx.from_dlpack(a).tolist() == a.tolist()
    x = lx.asarray(a)
    assert lx.from_dlpack(x).tolist() == lx.from_dlpack(x, copy=True).tolist() == a.tolist()
    np.testing.assert_array_equal(np.from_dlpack(x), a)
    assert x.__dlpack_device__() == (1, 0)


def test_dlpack_shares_and_copies():
    a = np.arange(100.0)
    assert address(lx.from_dlpack(a)) == address(a)
    assert address(lx.from_dlpack(a[::-1])) == a[::-1].__array_interface__["data"][0]
    assert lx.from_dlpack(a[::-3]).tolist() == a[::-3].tolist()
    assert address(lx.from_dlpack(a, copy=True)) != address(a)
    x = lx.asarray(a)
    assert np.from_dlpack(x, copy=True).flags.writeable
    reference = weakref.ref(a)
    y = lx.from_dlpack(a)
    del a
    gc.collect()
    assert reference() is not None and y.tolist()[:2] == [0.0, 1.0]
    del y
    gc.collect()
    assert reference() is None


def test_dlpack_arguments():
    x = lx.ones(20)
    assert "dltensor_versioned" in repr(x.__dlpack__(max_version=(1, 0)))
    assert '"dltensor"' in repr(x.__dlpack__())
    assert '"dltensor"' in repr(x.__dlpack__(max_version=(0, 8)))
    with pytest.raises(BufferError):
        x.__dlpack__(copy=False)
    with pytest.raises(BufferError):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(TypeError):
        x.__dlpack__(stream=1)
    # Capsules that nobody takes are freed with what they hold.
    for version in (None, (1, 0)):
        for _ in range(100):
            x.__dlpack__(max_version=version)


class Producer:
    """Something with `__dlpack__` that does not know the newer arguments."""

    def __init__(self, capsule, device=(1, 0)):
        self.capsule, self.device = capsule, device

    def __dlpack__(self):
        return self.capsule

    def __dlpack_device__(self):
        return self.device


def test_a_capsule_is_used_once():
    capsule = lx.arange(20).__dlpack__()
    assert lx.from_dlpack(Producer(capsule)).tolist() == list(range(20))
    with pytest.raises(TypeError, match="unused"):
        lx.from_dlpack(Producer(capsule))
    for wrong in (None, 5, object()):
        with pytest.raises(TypeError, match="capsule"):
            lx.from_dlpack(Producer(wrong))
    with pytest.raises(BufferError, match="device type 4"):
        lx.from_dlpack(Producer(lx.arange(3).__dlpack__(), (4, 0)))
    with pytest.raises((TypeError, AttributeError)):
        lx.from_dlpack(object())


class DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int),
        ("device_id", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    ]


def hostile(**changes):
    """A hand-made unversioned capsule; what keeps it alive comes with it."""
    memory = (ctypes.c_float * 16)(*range(16))
    shape, strides = (ctypes.c_int64 * 9)(4, 4), (ctypes.c_int64 * 9)(4, 1)
    freed = []
    deleter = DLTensor._fields_[-1][1](freed.append)
    managed = DLTensor(ctypes.addressof(memory), 1, 0, 2, 2, 32, 1, shape, strides, 0, None, deleter)
    for name, value in changes.items():
        setattr(managed, name, value)
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return (
        Producer(make(ctypes.addressof(managed), b"dltensor", None)),
        freed,
        (memory, shape, strides, deleter, managed),
    )


class Versioned(ctypes.Structure):
    """What lies before the tensor in version 1; the rest is as in DLTensor."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("flags", ctypes.c_uint64),
        ("tensor", DLTensor),
    ]


def versioned(major, flags, name=b"dltensor_versioned"):
    _, freed, kept = hostile()
    managed = Versioned(major, 0, None, kept[3], flags, kept[4])
    make = ctypes.pythonapi.PyCapsule_New
    return Producer(make(ctypes.addressof(managed), name, None)), freed, (kept, managed)


@pytest.mark.parametrize("flags", [0, 1, 2, 3, 1 << 40])
def test_version_1(flags):
    producer, freed, kept = versioned(1, flags)
    x = lx.from_dlpack(producer)
    assert x.tolist()[1] == [4.0, 5.0, 6.0, 7.0] and address(x) == ctypes.addressof(kept[0][0])
    with pytest.raises(TypeError, match="unused"):
        lx.from_dlpack(producer)
    del x
    gc.collect()
    assert len(freed) == 1


@pytest.mark.parametrize("major", [0, 2, 2**32 - 1])
def test_another_version_is_left_to_its_producer(major):
    producer, freed, _kept = versioned(major, 0)
    with pytest.raises(BufferError, match=f"version {major}"):
        lx.from_dlpack(producer)
    assert not freed


@pytest.mark.parametrize("name", [b"used_dltensor", b"used_dltensor_versioned", b"tensor", b"", None])
def test_a_capsule_of_another_name_is_not_touched(name):
    producer, freed, _kept = versioned(1, 0, name)
    with pytest.raises(TypeError, match="capsule"):
        lx.from_dlpack(producer)
    assert not freed


def test_read_only_arrays_come_in_and_go_out():
    a = np.arange(100.0)
    a.flags.writeable = False  # NumPy hands it out in version 1 only.
    x = lx.from_dlpack(a)
    assert address(x) == address(a)
    out = np.from_dlpack(x[::-2])
    assert not out.flags.writeable and out.tolist() == a[::-2].tolist() and out.strides == (-16,)


def sizes(*values):
    return (ctypes.c_int64 * 9)(*values)


def test_the_deleter_runs_once():
    producer, freed, _kept = hostile()
    x = lx.from_dlpack(producer)
    assert x.tolist()[1] == [4.0, 5.0, 6.0, 7.0]
    row = x[1]
    del x
    gc.collect()
    assert not freed
    del row
    gc.collect()
    assert len(freed) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"ndim": -1},
        {"ndim": 9},
        {"ndim": 2**31 - 1},
        {"shape": None},
        {"shape": sizes(-1, 4)},
        {"shape": sizes(2**62, 2**62)},
        {"strides": sizes(2**62, 1)},
        {"strides": sizes(-(2**63), 1)},
        {"data": None},
        {"code": 5},
        {"bits": 12},
        {"lanes": 4},
        {"device_type": 2},
        {"byte_offset": 1},
        {"byte_offset": 2**63},
    ],
)
def test_hostile_capsules_are_refused(changes):
    producer, freed, _kept = hostile(**changes)
    with pytest.raises((BufferError, ValueError, OverflowError)):
        lx.from_dlpack(producer)
    gc.collect()
    # The capsule was taken over, so it is given back.
    assert len(freed) == 1


def test_missing_strides_mean_row_major():
    producer, _freed, _kept = hostile(strides=None, byte_offset=4, shape=sizes(3, 5))
    assert lx.from_dlpack(producer).tolist()[2] == [11.0, 12.0, 13.0, 14.0, 15.0]


@pytest.mark.parametrize("changes", [{"data": None}, {"byte_offset": 1}, {"data": 3}])
def test_no_elements_may_lie_anywhere(changes):
    producer, freed, _kept = hostile(shape=sizes(0, 4), **changes)
    x = lx.from_dlpack(producer)
    assert x.shape == (0, 4) and x.tolist() == []
    del x
    gc.collect()
    assert len(freed) == 1


def test_the_pair_of_devices_and_copies():
    x = lx.ones(20)
    for version in ((1, 0), (1, 9), (2, 0)):
        assert "dltensor_versioned" in repr(x.__dlpack__(max_version=version, copy=False))
    for x in (lx.ones(20), np.ones(20)):
        assert lx.from_dlpack(x, device="cpu").tolist() == lx.from_dlpack(x, device=lx.cpu()).tolist()
        with pytest.raises((BufferError, ValueError, RuntimeError)):
            lx.from_dlpack(x, device="abacus")


def test_array_namespace():
    x = lx.ones(2)
    assert x.__array_namespace__() is lx and x.__array_namespace__(api_version="2025.12") is lx
    with pytest.raises(ValueError):
        x.__array_namespace__(api_version="1999.01")
    info = lx.__array_namespace_info__()
    assert info.default_device() == lx.cpu() and info.dtypes(kind="bool") == {"bool": lx.bool}
    assert info.default_dtypes()["indexing"] == lx.int64 and info.capabilities()["max dimensions"] == 8


def test_devices():
    assert lx.asarray([1.0], device="cpu").device == lx.cpu()
    assert lx.ones(2, device=lx.cpu()).to_device("cpu").device == "cpu"
    with pytest.raises(RuntimeError, match="no device"):
        lx.ones(2, device="abacus")


def test_numpy_leaves_operators_to_tensors():
    x = lx.asarray([1.0, 2.0])
    for array_like in (np.ones(2, "float32"), np.float32(1), np.ones((), "float32")):
        for result in (
            array_like + x,
            array_like * x,
            array_like < x,
            array_like @ x if np.ndim(array_like) else array_like - x,
        ):
            assert isinstance(result, lx.Tensor)
    with pytest.raises(TypeError):
        np.exp(x)


def test_torch():
    torch = pytest.importorskip("torch")
    t = torch.arange(12.0).reshape(3, 4)
    x = lx.asarray(t)
    t[0, 0] = 9.0
    assert x[0, 0].item() == 0.0
    assert lx.from_dlpack(t)[0, 0].item() == 9.0
    assert torch.from_dlpack(x).tolist() == x.tolist()
