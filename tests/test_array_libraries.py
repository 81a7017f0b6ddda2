"""einops, opt_einsum, array-api-compat and array-api-extra on tensors, with derivatives; DLPack with JAX and PyTorch."""

from __future__ import annotations

import gc
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


def test_array_api_extra():
    xpx = pytest.importorskip("array_api_extra")
    check(lambda o, x: xpx.atleast_nd(x, ndim=5), None, None, A)
    check(lambda o, x, y: xpx.kron(x, y), None, None, A[0], B[:2])
    check(lambda o, x: xpx.sinc(x), None, None, A)
    check(lambda o, x: xpx.cov(x), None, None, B)
    check(lambda o, x: xpx.nan_to_num(x), None, None, A)
    assert int(xpx.nunique(lx.asarray([1, 2, 1]))) == 2
    assert xpx.one_hot(lx.asarray([1, 0]), 2).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert xpx.setdiff1d(lx.asarray([1, 2, 3]), lx.asarray([2])).tolist() == [1, 3]
    # What assigns to elements, JAX's arrays excepted, does not go with tensors, which never change.
    for assigning in (
        lambda x: xpx.at(x)[0].set(1.0),
        lambda x: xpx.pad(x, 1),
        lambda x: xpx.apply_where(x > 0, x, lx.log, fill_value=0.0),
    ):
        with pytest.raises(TypeError, match=r"use y = x\.at\[index\]\.set"):
            assigning(lx.asarray(A))


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
