"""Indexing: NumPy decides what is right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import luxon as lx


def base(shape):
    return np.arange(np.prod(shape), dtype="int64").reshape(shape)


def same(array, index):
    """Both refuse the index, or both give the same elements."""
    x = lx.asarray(array)
    try:
        expected = array[index]
    except IndexError:
        with pytest.raises(IndexError):
            x[index]
        return
    result = x[index]
    assert result.shape == np.shape(expected)
    np.testing.assert_array_equal(result.numpy(), expected)


SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@settings(max_examples=300, deadline=None)
@given(SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), hnp.basic_indices(shape, allow_newaxis=True))))
def test_basic(case):
    shape, index = case
    same(base(shape), index)


@st.composite
def mixed(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    common = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=3))
    index, axis = [], 0
    while axis < len(shape):
        size = shape[axis]
        kind = draw(st.sampled_from(["array", "slice", "int", "new", "mask", "stop"]))
        if kind == "stop":
            break
        if kind == "array":
            index.append(draw(hnp.arrays("int64", common, elements=st.integers(-size, size - 1))))
        elif kind == "slice":
            index.append(draw(st.slices(size)))
        elif kind == "int":
            index.append(draw(st.integers(-size, size - 1)))
        elif kind == "new":
            index.append(None)
            continue
        else:
            index.append(draw(hnp.arrays("bool", (size,))))
        axis += 1
    if draw(st.booleans()):
        index.insert(draw(st.integers(0, len(index))), Ellipsis)
    return shape, tuple(index)


@settings(max_examples=400, deadline=None)
@given(mixed())
def test_mixed(case):
    shape, index = case
    if sum(part is None for part in index) + len(shape) > 6:
        return
    same(base(shape), index)


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        5,
        (0, 1, 2, 3),
        slice(None, None, -1),
        slice(10**30, -(10**30), -1),
        (Ellipsis, 0),
        (None, Ellipsis, None),
        [0, 1],
        ([0, 1], [1, 2]),
        (slice(None), [2, 0]),
        ([[0], [1]], [0, 2]),
        (0, slice(None), [1, 1]),
        [True, False],
        (Ellipsis, [True, False, True, True]),
        [],
        (),
        True,
        False,
        (True, 0),
        np.array([[True, False, True], [False, True, False]]),
        np.int32(1),
        np.array(1),
        np.array([1], "uint8"),
        [7],
        ([0], [9]),
    ],
)
def test_examples(index):
    same(base((2, 3, 4)), index)


def test_tensors_are_indices():
    a = base((3, 4))
    x = lx.asarray(a)
    np.testing.assert_array_equal(x[lx.asarray([2, 0])].numpy(), a[[2, 0]])
    np.testing.assert_array_equal(x[lx.asarray(1)].numpy(), a[1])
    np.testing.assert_array_equal(x[x > 5].numpy(), a[a > 5])
    np.testing.assert_array_equal(x[:, lx.asarray([True, False, False, True])].numpy(), a[:, [0, 3]])


def test_views_share_memory():
    x = lx.asarray(np.arange(100.0).reshape(10, 10))
    start = x.numpy().__array_interface__["data"][0]
    for view in (x[3], x[2:5], x[:, 4], x[::-2, None]):
        inside = view.numpy().__array_interface__["data"][0]
        assert start <= inside < start + x.nbytes


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (3, "index 3 is out of bounds for axis 0 with size 3"),
        (-4, "index -4 is out of bounds for axis 0 with size 3"),
        ((0, 9), "index 9 is out of bounds for axis 1 with size 4"),
        ((slice(None), [0, 4]), "index 4 is out of bounds for axis 1 with size 4"),
        ((0, 0, 0), "3 axes are indexed"),
        ((Ellipsis, Ellipsis), "one ellipsis"),
        (np.ones((2, 4), bool), "mask of shape"),
        ([0.5], "dtype float32|not list"),
        ("name", "not str"),
        (1.0, "not float"),
        (lx.asarray(1.0), "dtype float32"),
        (2**70, "64 bits"),
    ],
)
def test_errors_say_what_is_wrong(index, message):
    with pytest.raises(IndexError, match=message):
        lx.zeros((3, 4))[index]


def test_a_slice_has_a_step():
    with pytest.raises(ValueError):
        lx.zeros(3)[::0]
    with pytest.raises(ValueError):
        lx.zeros((3, 3))[:, ::0]
    with pytest.raises(TypeError):
        lx.zeros(3)[0.5:]


def test_empty_axes():
    x = lx.zeros((0, 3))
    assert x[:, 1].shape == (0,)
    assert x[::-1].shape == (0, 3)
    with pytest.raises(IndexError):
        x[0]


@settings(max_examples=100, deadline=None)
@given(mixed(), st.sampled_from(["set", "add", "multiply", "min", "max"]))
def test_updates(case, update):
    shape, index = case
    array = base(shape).astype("float64")
    x = lx.asarray(array)
    expected = array.copy()
    try:
        if update == "set":
            expected[index] = 3.0
        else:
            ufunc = {"add": np.add, "multiply": np.multiply, "min": np.minimum, "max": np.maximum}[update]
            ufunc.at(expected, index, 3.0)
    except IndexError:
        with pytest.raises(IndexError):
            getattr(x.at[index], update)(3.0)
        return
    np.testing.assert_allclose(getattr(x.at[index], update)(3.0).numpy(), expected)


def test_indexing_is_differentiated():
    a = np.arange(12.0).reshape(3, 4)
    x = lx.asarray(a)
    weights = lx.asarray(np.arange(1.0, 7.0).reshape(3, 2))
    rows, columns = np.array([0, 2, 0]), np.array([[1], [3], [3]])

    def f(t):
        return lx.sum(t[rows[:, None], columns] * weights[:, :1]) + lx.sum(t[::-1, 1:3] * weights)

    expected = np.zeros_like(a)
    np.add.at(expected, (rows[:, None], columns), weights.numpy()[:, :1])
    expected[::-1, 1:3] += weights.numpy()
    np.testing.assert_allclose(lx.grad(f)(x).numpy(), expected)
    gradient = lx.grad(lambda t, v: lx.sum(t.at[[0, 0, 1]].set(v) * x), argnums=(0, 1))(x, lx.ones((3, 4)))
    assert gradient[0].numpy()[:2].tolist() == [[0.0] * 4] * 2
    assert gradient[1].numpy()[0].tolist() == [0.0] * 4
