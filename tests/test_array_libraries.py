"""einops, opt_einsum, array-api-compat and array-api-extra on tensors, with derivatives; DLPack with JAX and PyTorch."""

from __future__ import annotations

import gc
import importlib
import warnings

import numpy as np
import pytest

import luxon as lx

A = np.random.default_rng(0).normal(size=(2, 3, 4))
B = np.random.default_rng(1).normal(size=(4, 5))


def check(function, ours, theirs, *arrays):
    """The same values from both libraries, and derivatives that equal differences."""
    tensors = [lx.asarray(a) for a in arrays]
    got = function(ours, *tensors)
    assert isinstance(got, lx.Tensor)
    np.testing.assert_allclose(np.asarray(got), function(theirs, *arrays), rtol=1e-12, atol=1e-12)
    lx.testing.check_gradients(lambda *xs: function(ours, *xs), tensors)


EINOPS = [
    lambda e, x: e.rearrange(x, "a b (c d) -> (b c) a d", c=2),
    lambda e, x: e.rearrange([x, x], "n a b c -> a n c b"),
    lambda e, x: e.rearrange(x, "a b c -> a b c 1"),
    lambda e, x: e.reduce(x, "a b (c d) -> a d", "mean", c=2),
    lambda e, x: e.reduce(x, "a b c -> b", "sum"),
    lambda e, x: e.reduce(x, "a b c -> a 1 c", "max"),
    lambda e, x: e.reduce(x, "a b c -> c", "prod"),
    lambda e, x: e.repeat(x, "a b c -> a n (b r) c", n=2, r=3),
    lambda e, x: e.einsum(x, x, "a b c, a d c -> b d"),
    lambda e, x: e.pack([x, x[:, 0]], "a * c")[0],
    lambda e, x: e.unpack(x, [[1], [2]], "a * c")[1],
]


@pytest.mark.parametrize("number", range(len(EINOPS)))
def test_einops(number):
    einops = pytest.importorskip("einops")
    gc.collect()  # einops asks a class for its subclasses, which holds them weakly.
    check(EINOPS[number], einops, einops, A)


def test_einops_by_the_array_api():
    pytest.importorskip("einops")
    from einops import array_api

    check(lambda e, x: array_api.rearrange(x, "a b c -> c (a b)"), None, None, A)
    check(lambda e, x: array_api.reduce(x, "a b c -> b", "mean"), None, None, A)


def test_einops_says_what_does_not_fit():
    einops = pytest.importorskip("einops")
    with pytest.raises(einops.EinopsError):
        einops.rearrange(lx.ones((2, 3)), "a b c -> a")
    assert einops.asnumpy(lx.ones(2)).tolist() == [1.0, 1.0]
    assert einops.parse_shape(lx.ones((2, 3)), "a b") == {"a": 2, "b": 3}


@pytest.mark.parametrize(
    "equation", ["abc,cd,abe->de", "abc,cd->adb", "abc->cab", "abc,abc->", "abc,cd,dc->ab"]
)
def test_opt_einsum(equation):
    opt_einsum = pytest.importorskip("opt_einsum")
    operands = {"abc": A, "cd": B, "abe": A[:, :, :2], "dc": B.T}
    arrays = [operands[term] for term in equation.split("->")[0].split(",")]
    check(lambda o, *xs: o.contract(equation, *xs), opt_einsum, opt_einsum, *arrays)
    compiled = opt_einsum.contract_expression(equation, *(a.shape for a in arrays))
    check(lambda o, *xs: compiled(*xs), None, None, *arrays)


def test_array_api_compat():
    compat = pytest.importorskip("array_api_compat")
    x = lx.asarray(A)
    assert compat.array_namespace(x, lx.ones(2)) is lx and compat.is_array_api_obj(x)
    assert compat.device(x) == lx.cpu() and compat.size(x) == 24 and not compat.is_lazy_array(x)
    assert compat.to_device(x, lx.cpu()).tolist() == x.tolist()
    with pytest.raises(TypeError, match="Multiple namespaces"):
        compat.array_namespace(x, A)


V = np.array([0.3, -1.2, 2.5, 0.7, -0.4])

EXTRA = {
    "angle": (lambda e, x: e.angle(x), V),
    "apply_where": (lambda e, x: e.apply_where(x > 0, x, lambda x: x**0.5, fill_value=-1.0), A),
    "apply_where of two": (lambda e, x: e.apply_where(x > 0, x, lambda x: x**0.5, lambda x: x * x), A),
    "apply_where of several": (
        lambda e, x, y: e.apply_where(x > y, (x, y), lambda x, y: (x - y) ** 0.5, fill_value=0.0),
        A[0],
        A[1],
    ),
    "partition": (lambda e, x: e.partition(x, 3, axis=-1)[..., 3], A),
    "atleast_nd": (lambda e, x: e.atleast_nd(x, ndim=5), A),
    "cov": (lambda e, x: e.cov(x), B),
    "cov, weighted": (lambda e, x, w: e.cov(x, aweights=w * w), B, V),
    "create_diagonal": (lambda e, x: e.create_diagonal(x), V),
    "create_diagonal, above": (lambda e, x: e.create_diagonal(x, offset=2), B),
    "create_diagonal, below": (lambda e, x: e.create_diagonal(x, offset=-1), B),
    "deg2rad": (lambda e, x: e.deg2rad(x), A),
    "kron": (lambda e, x, y: e.kron(x, y), A[0], B[:2]),
    "nan_to_num": (lambda e, x: e.nan_to_num(x), A),
    "nanmax": (lambda e, x: e.nanmax(x, axis=1), A),
    "nanmean": (lambda e, x: e.nanmean(x, axis=0), A),
    "nanmin": (lambda e, x: e.nanmin(x), A),
    "nansum": (lambda e, x: e.nansum(x, axis=(0, 2)), A),
    "pad": (lambda e, x: e.pad(x, 2), A),
    "pad, uneven": (lambda e, x: e.pad(x, [(0, 1), (2, 0), (1, 3)], constant_values=4.0), A),
    "rad2deg": (lambda e, x: e.rad2deg(x), A),
    "sinc": (lambda e, x: e.sinc(x), A),
    "at set": (lambda e, x, y: e.at(x)[1:3, ::-2].set(y), B, A[0, :2, :3]),
    "at set a number": (lambda e, x: e.at(x, 0).set(2.0), B),
    "at set by a mask": (lambda e, x, y: e.at(x)[x > 0].set(y[: int((B > 0).sum())]), B, np.arange(20.0)),
    "at add": (lambda e, x, y: e.at(x)[..., 1].add(y), B, V[:4]),
    "at subtract": (lambda e, x, y: e.at(x)[1].subtract(y), B, V),
    "at multiply": (lambda e, x, y: e.at(x)[:, 2].multiply(y), B, V[:4]),
    "at divide": (lambda e, x, y: e.at(x)[1].divide(y), B, V),
    "at power": (lambda e, x: e.at(x)[1].power(2.0), B),
    "at min": (lambda e, x, y: e.at(x)[1].min(y), B, V),
    "at max": (lambda e, x, y: e.at(x)[1].max(y), B, V),
    "at, a copy asked for": (lambda e, x: e.at(x, (0, 1)).set(0.5, copy=True), B),
}


@pytest.mark.parametrize("name", EXTRA)
def test_array_api_extra(name):
    xpx = pytest.importorskip("array_api_extra")
    function, *arrays = EXTRA[name]
    # The original is used for nothing else: for NumPy's arrays `at` writes into it.
    check(lambda kind, *xs: function(xpx, *(x.copy() if kind is np else x for x in xs)), lx, np, *arrays)


def test_array_api_extra_of_indices_and_sets():
    xpx = pytest.importorskip("array_api_extra")
    np.testing.assert_array_equal(
        np.sort(xpx.argpartition(lx.asarray(V), 2)[:3].numpy()), np.sort(np.argpartition(V, 2)[:3])
    )
    a, b = np.array([[1, 2, 1], [5, 3, 2]]), np.array([2, 4, 1])
    x, y = lx.asarray(a), lx.asarray(b)
    for ours, theirs in (
        (xpx.isin(x, y), np.isin(a, b)),
        (xpx.isin(x, y, invert=True), np.isin(a, b, invert=True)),
        (xpx.setdiff1d(x, y), np.setdiff1d(a, b)),
        (xpx.union1d(x, y), np.union1d(a, b)),
        (xpx.nunique(x), 4),
        (xpx.one_hot(y, 6), np.eye(6)[b]),
        (xpx.isclose(lx.asarray(V), lx.asarray(V + 1e-9)), np.isclose(V, V + 1e-9)),
        (xpx.isclose(x, 2), a == 2),
        (xpx.searchsorted(lx.asarray(np.sort(V)), lx.asarray(V)), np.searchsorted(np.sort(V), V)),
        (xpx.at(x)[:, 1].add(7), a + [0, 7, 0]),
        (xpx.lazy_apply(np.cumsum, lx.asarray(V), as_numpy=True), np.cumsum(V)),
    ):
        assert isinstance(ours, lx.Tensor)
        np.testing.assert_allclose(np.asarray(ours), theirs)
    for ours, theirs in (
        (xpx.diag_indices(3, xp=lx), np.diag_indices(3)),
        (xpx.tril_indices(4, xp=lx), np.tril_indices(4)),
        (xpx.triu_indices(4, m=5, offset=1, xp=lx), np.triu_indices(4, m=5, k=1)),
        (xpx.unravel_index(lx.asarray([5, 7]), (2, 3, 2)), np.unravel_index([5, 7], (2, 3, 2))),
    ):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(np.asarray(one), other)
    assert xpx.default_dtype(lx) == lx.float32


def test_array_api_extra_says_what_a_tensor_cannot():
    xpx = pytest.importorskip("array_api_extra")
    x = lx.ones(3)
    with pytest.raises(ValueError, match="never changes"):
        xpx.at(x)[0].set(2.0, copy=False)
    with pytest.raises(ValueError, match="Index has not been set"):
        xpx.at(x).set(2.0)
    with pytest.raises(ValueError, match="Index has already been set"):
        xpx.at(x)[0][1]
    with pytest.raises(TypeError, match="float"):
        xpx.at(lx.asarray([1, 2]))[0].divide(4.0)
    assert isinstance(xpx.at(x), xpx.at) and type(xpx.at(np.ones(3))) is xpx.at
    a = np.ones(3)
    assert xpx.at(a)[0].set(5.0) is a and a[0] == 5.0
    assert x.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["scipy._lib.array_api_extra", "sklearn.externals.array_api_extra"])
def test_array_api_extra_as_others_carry_it(name):
    try:
        module = importlib.import_module(name)
    except ImportError:
        pytest.skip(f"this version has no {name}")
    assert module.at(lx.zeros(3))[1].set(2.0).tolist() == [0.0, 2.0, 0.0]
    assert module.pad(lx.ones(2), 1).tolist() == [0.0, 1.0, 1.0, 0.0]


NAMES = ["bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (0, 3), (20,), (3, 4, 5)])
def test_dlpack_with_jax(name, shape):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        x = lx.astype(lx.reshape(lx.arange(int(np.prod(shape, dtype=int))), shape), name)
        there = jax.dlpack.from_dlpack(x)
        assert there.dtype == x.dtype and there.shape == x.shape and there.tolist() == x.tolist()
        back = lx.from_dlpack(there)
        assert back.dtype == x.dtype and back.tolist() == x.tolist()
        assert lx.from_dlpack(there, copy=True).tolist() == x.tolist()
        assert lx.asarray(there).tolist() == x.tolist() and lx.asarray(there).dtype == x.dtype
        assert jax.numpy.asarray(np.asarray(x)).tolist() == x.tolist()


def test_memory_shared_with_jax_outlives_its_owner():
    jax = pytest.importorskip("jax")
    # JAX asks for version 0, which cannot say that memory is read-only, so that it gets a copy.
    x = lx.arange(1000, dtype="float32")
    there = jax.dlpack.from_dlpack(x)
    del x
    gc.collect()
    assert float(there.sum()) == 499500.0
    back = lx.from_dlpack(there)
    assert np.asarray(back).ctypes.data == there.unsafe_buffer_pointer()
    del there
    gc.collect()
    assert float(lx.sum(back)) == 499500.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (0, 3), (20,), (3, 4, 5)])
def test_dlpack_with_torch(name, shape):
    torch = pytest.importorskip("torch")
    x = lx.astype(lx.reshape(lx.arange(int(np.prod(shape, dtype=int))), shape), name)
    there = torch.from_dlpack(x)
    assert str(there.dtype) == f"torch.{name}" and tuple(there.shape) == x.shape
    assert there.tolist() == x.tolist()
    for back in (lx.from_dlpack(there), lx.from_dlpack(there, copy=True), lx.asarray(there)):
        assert back.dtype == x.dtype and back.tolist() == x.tolist()
    turned = there.movedim(0, -1) if there.ndim else there
    assert lx.from_dlpack(turned).tolist() == turned.tolist()


def test_dlpack_with_torch_shares_memory_and_never_lets_it_change():
    torch = pytest.importorskip("torch")
    t = torch.arange(1000.0)
    x = lx.from_dlpack(t)
    assert np.asarray(x).ctypes.data == t.data_ptr()
    copied = lx.from_dlpack(t, copy=True)
    t[0] = 5.0
    assert copied[0].item() == 0.0
    del t
    gc.collect()
    assert x[999].item() == 999.0
    y = lx.arange(1000.0)
    with warnings.catch_warnings():  # PyTorch has no read-only tensors, and may say so.
        warnings.simplefilter("ignore", UserWarning)
        there = torch.from_dlpack(y)
    del y
    gc.collect()
    assert float(there.sum()) == 499500.0
    with pytest.raises(BufferError, match="require gradient"):
        lx.from_dlpack(torch.ones(2, requires_grad=True))


def test_a_tensor_under_differentiation_is_not_handed_out():
    def leak(x):
        with pytest.raises(TypeError, match="stop_gradient"):
            x.numpy()
        with pytest.raises((TypeError, BufferError), match="stop_gradient"):
            np.from_dlpack(x)
        with pytest.raises((TypeError, BufferError), match="stop_gradient"):
            memoryview(x)
        return lx.sum(x)

    lx.grad(leak)(lx.ones(2))
