"""Array functions against NumPy and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import luxon as lx
import luxon.testing

RNG = np.random.default_rng(0)
SOME = RNG.normal(size=(3, 4))
NONE = None


def close(result, expected, rtol=1e-6, atol=1e-12):
    assert isinstance(result, lx.Tensor)
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result.numpy(), expected, rtol=rtol, atol=atol)


UNARY = {
    "abs": (np.abs, -2, 2),
    "acos": (np.arccos, -0.9, 0.9),
    "acosh": (np.arccosh, 1.1, 4),
    "asin": (np.arcsin, -0.9, 0.9),
    "asinh": (np.arcsinh, -3, 3),
    "atan": (np.arctan, -3, 3),
    "atanh": (np.arctanh, -0.9, 0.9),
    "ceil": (np.ceil, -3, 3),
    "cos": (np.cos, -9, 9),
    "cosh": (np.cosh, -3, 3),
    "exp": (np.exp, -5, 5),
    "exp2": (np.exp2, -5, 5),
    "expm1": (np.expm1, -1, 1),
    "floor": (np.floor, -3, 3),
    "isfinite": (np.isfinite, -3, 3),
    "isinf": (np.isinf, -3, 3),
    "isnan": (np.isnan, -3, 3),
    "log": (np.log, 0.1, 9),
    "log10": (np.log10, 0.1, 9),
    "log1p": (np.log1p, -0.9, 9),
    "log2": (np.log2, 0.1, 9),
    "logical_not": (np.logical_not, -1, 1),
    "negative": (np.negative, -1, 1),
    "positive": (np.positive, -1, 1),
    "reciprocal": (np.reciprocal, 0.1, 4),
    "round": (np.round, -3, 3),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 0.1, 4),
    "sign": (np.sign, -3, 3),
    "signbit": (np.signbit, -3, 3),
    "sin": (np.sin, -9, 9),
    "sinh": (np.sinh, -3, 3),
    "sqrt": (np.sqrt, 0, 4),
    "square": (np.square, -3, 3),
    "tan": (np.tan, -1.5, 1.5),
    "tanh": (np.tanh, -3, 3),
    "trunc": (np.trunc, -3, 3),
    # Activations, by their formulas.
    "celu": (lambda x: np.where(x > 0, x, np.expm1(x)), -3, 3),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(x)), -3, 3),
    "gelu": (lambda x: x * scipy.special.ndtr(x), -3, 3),
    "hard_shrink": (lambda x: np.where(abs(x) > 0.5, x, 0), -3, 3),
    "hard_sigmoid": (lambda x: np.clip(x + 3, 0, 6) / 6, -5, 5),
    "hard_swish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, -5, 5),
    "hard_tanh": (lambda x: np.clip(x, -1, 1), -3, 3),
    "identity": (lambda x: x, -3, 3),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.01 * x), -3, 3),
    "lisht": (lambda x: x * np.tanh(x), -3, 3),
    "log_cosh": (lambda x: np.log(np.cosh(x)), -3, 3),
    "log_sigmoid": (lambda x: -np.log1p(np.exp(-x)), -3, 3),
    "mish": (lambda x: x * np.tanh(np.log1p(np.exp(x))), -3, 3),
    "relu": (lambda x: np.maximum(x, 0), -3, 3),
    "relu6": (lambda x: np.clip(x, 0, 6), -3, 9),
    "selu": (lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)), -3, 3),
    "sigmoid": (scipy.special.expit, -5, 5),
    "silu": (lambda x: x * scipy.special.expit(x), -5, 5),
    "soft_shrink": (lambda x: np.sign(x) * np.maximum(abs(x) - 0.5, 0), -3, 3),
    "softplus": (lambda x: np.where(x > 20, x, np.log1p(np.exp(x))), -30, 30),
    "softsign": (lambda x: x / (1 + abs(x)), -3, 3),
    "swish": (lambda x: x * scipy.special.expit(x), -5, 5),
    "tanh_shrink": (lambda x: x - np.tanh(x), -3, 3),
    "threshold_relu": (lambda x: np.where(x > 1, x, 0), -3, 3),
}


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_unary(name, dtype):
    reference, low, high = UNARY[name]
    values = RNG.uniform(low, high, size=(5, 7)).astype(dtype)
    function, tolerance = getattr(lx, name), 3e-6 if dtype == "float32" else 1e-9
    wide = values.astype("float64")
    close(function(lx.asarray(values)), reference(wide), tolerance, tolerance)
    close(function(lx.asarray(values).T[::-2]), reference(wide.T[::-2]), tolerance, tolerance)
    assert function(lx.zeros((0, 3), dtype=dtype) + low).shape == (0, 3)
    if name != "identity":
        close(function(values.tolist()), reference(wide), 3e-6, 3e-6)
        assert function(low).shape == ()


BINARY = {
    "add": np.add,
    "atan2": np.arctan2,
    "copysign": np.copysign,
    "divide": np.divide,
    "equal": np.equal,
    "floor_divide": np.floor_divide,
    "fmod": np.fmod,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "hypot": np.hypot,
    "less": np.less,
    "less_equal": np.less_equal,
    "logaddexp": np.logaddexp,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "multiply": np.multiply,
    "nextafter": np.nextafter,
    "not_equal": np.not_equal,
    "pow": lambda a, b: np.power(np.abs(a), b),
    "remainder": np.remainder,
    "subtract": np.subtract,
}


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    a, b = RNG.normal(size=(3, 1, 4)), RNG.normal(size=(2, 1))
    a = np.abs(a) if name == "pow" else a
    function, reference = getattr(lx, name), BINARY[name]
    close(function(lx.asarray(a), lx.asarray(b)), reference(a, b))
    close(function(lx.asarray(a), 0.5), reference(a, 0.5))
    close(function(0.5, b), reference(0.5, b))
    with pytest.raises(TypeError, match=f"{name}: both arguments are numbers"):
        function(2, 1)
    with pytest.raises(ValueError, match=rf"{name}: shapes \(2,\) and \(3,\) do not broadcast"):
        function(lx.ones(2), lx.ones(3))


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor"])
def test_bitwise(name):
    a, b = np.array([1, 6, 255], "uint8"), np.array([3, 3, 3], "uint8")
    close(getattr(lx, name)(a, b), getattr(np, name)(a, b))
    close(lx.bitwise_left_shift(a, 1), np.left_shift(a, np.uint8(1)))
    close(lx.bitwise_right_shift(a, 1), np.right_shift(a, np.uint8(1)))
    close(lx.bitwise_invert(a), ~a)


SPECIAL = [
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfinv",
    "expit",
    "gammaln",
    "i0e",
    "i1e",
    "log_ndtr",
    "logit",
    "sinc",
]


@pytest.mark.parametrize("name", SPECIAL)
def test_special(name):
    values = RNG.uniform(0.05, 0.95, size=(4, 5))
    reference = np.sinc if name == "sinc" else getattr(scipy.special, name)
    close(getattr(lx.special, name)(lx.asarray(values)), reference(values), 1e-7)
    close(lx.special.xlogy(values, 2.0), scipy.special.xlogy(values, 2.0))
    close(lx.special.xlog1py(0.0, values), values * 0)


def test_activation_parameters():
    x = np.linspace(-3, 3, 13)
    t = lx.asarray(x)
    close(lx.leaky_relu(t, 0.2), np.where(x > 0, x, 0.2 * x))
    close(lx.elu(t, alpha=2.0), np.where(x > 0, x, 2 * np.expm1(x)))
    close(lx.celu(t, 2.0), np.where(x > 0, x, 2 * np.expm1(x / 2)))
    close(lx.hard_tanh(t, -2.0, 0.5), np.clip(x, -2, 0.5))
    close(lx.softplus(t, beta=2.0, threshold=1.0), np.where(2 * x > 1, x, np.log1p(np.exp(2 * x)) / 2))
    close(lx.threshold_relu(t, threshold=0.5), np.where(x > 0.5, x, 0))
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    close(lx.gelu(t, "tanh"), 0.5 * x * (1 + np.tanh(inner)))
    close(lx.glu(SOME, axis=1), SOME[:, :2] * scipy.special.expit(SOME[:, 2:]))
    close(lx.softmax(SOME), scipy.special.softmax(SOME, axis=-1))
    close(lx.log_softmax(SOME, axis=0), scipy.special.log_softmax(SOME, axis=0))
    close(lx.logsumexp(SOME, axis=(0, 1)), scipy.special.logsumexp(SOME))
    drawn = lx.rrelu(lx.random.key(0), lx.full((1000,), -1.0)).numpy()
    assert -1 / 3 <= drawn.min() < -0.3 and -0.15 < drawn.max() <= -1 / 8
    for wrong in (lambda: lx.gelu(t, "exact"), lambda: lx.glu(lx.ones(3))):
        with pytest.raises(ValueError):
            wrong()


AXES = [None, 0, -1, (0, 1), (1, -3), ()]


@pytest.mark.parametrize(
    "name", ["sum", "mean", "max", "min", "prod", "any", "all", "count_nonzero", "median"]
)
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(name, axis, keepdims):
    if name in ("median", "count_nonzero") and axis == ():
        return
    values = RNG.normal(size=(2, 3, 4))
    expected = getattr(np, name)(values, axis=axis, keepdims=keepdims)
    close(getattr(lx, name)(lx.asarray(values), axis=axis, keepdims=keepdims), expected)
    close(getattr(lx, name)(values, axis, keepdims=keepdims), expected)
    if hasattr(lx.Tensor, name):
        close(getattr(lx.asarray(values), name)(axis, keepdims=keepdims), expected)


def test_statistics():
    for correction in (0, 1, 1.5):
        close(lx.var(SOME, axis=0, correction=correction), np.var(SOME, axis=0, ddof=correction))
        close(lx.asarray(SOME).std(correction=correction), np.std(SOME, ddof=correction))
    close(lx.quantile(SOME, 0.3, 1), np.quantile(SOME, 0.3, axis=1))
    close(
        lx.quantile(SOME, [0.0, 0.5, 1.0], 0, keepdims=True),
        np.quantile(SOME, [0, 0.5, 1], axis=0, keepdims=True),
    )
    close(lx.argmax(SOME), np.argmax(SOME))
    close(lx.argmin(SOME, 1, keepdims=True), np.argmin(SOME, 1, keepdims=True))
    assert lx.sum(lx.asarray([True, True])).dtype == lx.int64
    assert lx.sum(lx.ones(3, dtype="uint8"), dtype="float64").dtype == lx.float64
    assert lx.prod([1, 2, 3], dtype=lx.int32).item() == 6
    assert lx.mean([1, 2]).dtype == lx.float32
    for wrong in (lambda: lx.max(lx.ones(0)), lambda: lx.sum(SOME, axis=(0, 0))):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises(IndexError, match="axis 2"):
        lx.sum(SOME, axis=2)
    with pytest.raises(TypeError):
        lx.sum(SOME, axis=1.0)
    with pytest.raises(TypeError):
        lx.sum(SOME, axis=True)


def test_running_totals():
    close(lx.cumulative_sum(SOME, axis=1), np.cumsum(SOME, 1))
    close(lx.cumulative_sum([1, 2, 3], include_initial=True), [0, 1, 3, 6])
    close(lx.cumulative_sum([1, 2, 3], reverse=True), [6, 5, 3])
    close(lx.cumulative_prod(SOME, axis=0), np.cumprod(SOME, 0))
    close(lx.cumulative_prod([2, 3], include_initial=True, dtype="float64"), [1, 2, 6])
    close(lx.cumulative_max(SOME, axis=0), np.maximum.accumulate(SOME, 0))
    close(lx.cumulative_min(SOME, axis=1), np.minimum.accumulate(SOME, 1))
    close(lx.cumulative_logsumexp([0.0, 1.0]), np.logaddexp.accumulate([0.0, 1.0]))
    close(lx.diff(SOME, axis=0, n=2), np.diff(SOME, axis=0, n=2))
    close(lx.diff([1, 4, 9], prepend=[0], append=[16]), [1, 3, 5, 7])
    with pytest.raises(ValueError, match="axis must be given"):
        lx.cumulative_sum(SOME)


def test_creation():
    close(lx.zeros((2, 3)), np.zeros((2, 3)))
    close(lx.ones(3, dtype="int32"), np.ones(3))
    assert lx.empty((2, 0)).shape == (2, 0)
    close(lx.full((2, 2), 7), np.full((2, 2), 7))
    assert lx.full(2, True).dtype == lx.bool and lx.full(2, 1.0).dtype == lx.float32
    close(lx.full((2, 3), lx.asarray([1.0, 2.0, 3.0])), np.full((2, 3), [1.0, 2.0, 3.0]))
    x = lx.zeros((2, 3), dtype="int32")
    for name, value in [("zeros_like", 0), ("ones_like", 1), ("empty_like", 0)]:
        result = getattr(lx, name)(x)
        assert result.dtype == x.dtype and result.tolist() == [[value] * 3] * 2
        assert getattr(lx, name)(x, dtype="float64").dtype == lx.float64
    assert lx.full_like(x, 5).tolist() == [[5] * 3] * 2
    close(lx.arange(5), np.arange(5))
    close(lx.arange(1, 8, 3), np.arange(1, 8, 3))
    close(lx.arange(1.0, 2.0, 0.25), np.arange(1.0, 2.0, 0.25))
    close(lx.arange(5, 0, -2, dtype="float64"), np.arange(5, 0, -2.0))
    close(lx.linspace(0, 1, 5), np.linspace(0, 1, 5))
    close(lx.linspace(0, 1, num=5, endpoint=False), np.linspace(0, 1, 5, endpoint=False))
    close(lx.eye(3), np.eye(3))
    close(lx.eye(2, 4, k=1, dtype="int64"), np.eye(2, 4, k=1))
    close(lx.tril(SOME, k=-1), np.tril(SOME, -1))
    close(lx.triu(SOME, k=1), np.triu(SOME, 1))
    close(lx.diag([1.0, 2.0], 1), np.diag([1.0, 2.0], 1))
    close(lx.diag(SOME), np.diag(SOME))
    for indexing in ("xy", "ij"):
        for ours, theirs in zip(
            lx.meshgrid([1, 2], [3, 4, 5], indexing=indexing),
            np.meshgrid([1, 2], [3, 4, 5], indexing=indexing),
            strict=True,
        ):
            close(ours, theirs)
    close(lx.one_hot([2, 0], 3), [[0, 0, 1], [1, 0, 0]])
    assert lx.one_hot([0], 2, dtype="int32").dtype == lx.int32
    for wrong in (lambda: lx.zeros(-1), lambda: lx.arange(0, 1, 0), lambda: lx.meshgrid([1], indexing="zz")):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises((OverflowError, MemoryError)):
        lx.zeros((2**40, 2**40))
    with pytest.raises(MemoryError):
        lx.zeros(2**55, dtype="uint8")
    with pytest.raises(IndexError):
        lx.one_hot([3], 3)


def test_manipulation():
    a = np.arange(24).reshape(2, 3, 4)
    x = lx.asarray(a)
    close(lx.reshape(x, (4, -1)), a.reshape(4, -1))
    close(x.reshape(6, 4), a.reshape(6, 4))
    close(x.T if False else x.permute_dims(2, 0, 1), a.transpose(2, 0, 1))
    close(lx.permute_dims(x, (-1, 0, 1)), a.transpose(2, 0, 1))
    close(lx.swapaxes(x, 0, -1), a.swapaxes(0, -1))
    close(lx.moveaxis(x, 0, -1), np.moveaxis(a, 0, -1))
    close(lx.moveaxis(x, (0, 1), (-1, -2)), np.moveaxis(a, (0, 1), (-1, -2)))
    close(lx.expand_dims(x, axis=(0, -1)), np.expand_dims(a, (0, -1)))
    close(lx.expand_dims(x), a[None])
    close(lx.squeeze(x[:1, :, :1], (0, 2)), a[0, :, 0])
    close(x[:1, :, :1].squeeze(), a[0, :, 0])
    close(lx.broadcast_to(x[0], (5, 3, 4)), np.broadcast_to(a[0], (5, 3, 4)))
    for ours, theirs in zip(
        lx.broadcast_arrays(a[0], a[:, :1]), np.broadcast_arrays(a[0], a[:, :1]), strict=True
    ):
        close(ours, theirs)
    assert lx.broadcast_shapes((2, 1), (3,), 1) == (2, 3)
    close(lx.concat([x, x], axis=1), np.concatenate([a, a], 1))
    close(lx.concat((a, a[0]), axis=None), np.concatenate([a, a[0]], None))
    assert lx.concat([lx.ones(1, dtype="int32"), lx.ones(1, dtype="float32")]).dtype == lx.float32
    close(lx.stack([x, x], axis=-1), np.stack([a, a], -1))
    for ours, theirs in zip(lx.unstack(x, axis=1), np.unstack(a, axis=1), strict=True):
        close(ours, theirs)
    for sections in (3, [1, 2], [0, 5], [-1]):
        for ours, theirs in zip(lx.split(x, sections, axis=1), np.split(a, sections, axis=1), strict=True):
            close(ours, theirs)
    close(lx.flip(x), np.flip(a))
    close(lx.flip(x, axis=(0, 2)), np.flip(a, (0, 2)))
    close(lx.roll(x, 1), np.roll(a, 1))
    close(lx.roll(x, (1, -2), axis=(0, 2)), np.roll(a, (1, -2), (0, 2)))
    close(lx.roll(x, 1, axis=(0, 1)), np.roll(a, 1, (0, 1)))
    close(lx.repeat(x, 2), np.repeat(a, 2))
    close(lx.repeat(x, [1, 0, 2], axis=1), np.repeat(a, [1, 0, 2], axis=1))
    close(lx.tile(x, (2, 1, 2, 1)), np.tile(a, (2, 1, 2, 1)))
    close(lx.ravel(x.T if x.ndim == 2 else x), a.ravel())
    close(lx.rot90(x[0], 3), np.rot90(a[0], 3))
    close(lx.clip(x, 3, 9), np.clip(a, 3, 9))
    close(x.clip(max=9), np.minimum(a, 9))
    close(lx.clip(x, lx.asarray(3)), np.maximum(a, 3))
    close(lx.where(x > 5, x, -x), np.where(a > 5, a, -a))
    close(lx.where(x > 5, 1.0, 0), np.where(a > 5, 1.0, 0))
    close(lx.nan_to_num([math.nan, math.inf, -math.inf], 1.0, 2.0, 3.0), [1, 2, 3])
    assert lx.isclose([1.0, math.nan], [1.0, math.nan]).tolist() == [True, False]
    assert lx.allclose([1.0], [1.0 + 1e-7]) is True
    assert lx.astype(x, "float32").dtype == x.astype(lx.float32).dtype == lx.float32
    close(lx.round(lx.asarray([1.25, 3.35], dtype="float64"), 1), [1.2, 3.4], 0.05)
    for wrong in (
        lambda: x.reshape(5, 5),
        lambda: x.reshape(-1, -1),
        lambda: lx.permute_dims(x, (0, 1)),
        lambda: lx.concat([]),
        lambda: lx.concat([x, x[0]]),
        lambda: lx.squeeze(x, 0),
        lambda: lx.split(x, 2, axis=1),
        lambda: lx.broadcast_to(x, (2, 2)),
    ):
        with pytest.raises(ValueError):
            wrong()


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("width", [1, (1, 2), ((1, 2), (0, 3)), ((2, 1),)])
def test_pad(mode, width):
    close(lx.pad(SOME, width, mode), np.pad(SOME, width, mode))


def test_pad_values():
    close(lx.pad(SOME, 1, constant_values=7.0), np.pad(SOME, 1, constant_values=7.0))
    for wrong in (
        lambda: lx.pad(SOME, -1),
        lambda: lx.pad(SOME, 1, "middle"),
        lambda: lx.pad(SOME, ((1, 2, 3),)),
    ):
        with pytest.raises(ValueError):
            wrong()


def test_products():
    a, b = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(4, 3))
    close(lx.matmul(a, b), a @ b)
    close(lx.vecdot(a, b[:, 0]), np.vecdot(a, b[:, 0]))
    close(lx.outer(b[0], b[1]), np.outer(b[0], b[1]))
    close(lx.cross(b, b[:1]), np.cross(b, b[:1]))
    close(lx.tensordot(a, b, axes=1), np.tensordot(a, b, 1))
    close(lx.tensordot(a, b, axes=((1, 2), (1, 0))), np.tensordot(a, b, ((1, 2), (1, 0))))
    close(lx.tensordot(a, a[0], axes=2), np.tensordot(a, a[0], 2))
    close(lx.einsum("bij,jk->bik", a, b), a @ b)
    close(lx.einsum("...ij,ji", a, b), np.einsum("...ij,ji", a, b))
    close(lx.matrix_transpose(a), a.swapaxes(-1, -2))
    close(lx.diagonal(a, offset=1), np.diagonal(a, 1, -2, -1))
    close(lx.trace(a), np.trace(a, axis1=-2, axis2=-1))
    close(lx.trace(np.ones((2, 2), "uint8"), dtype="float32"), 2)
    for order in (2, 1, 0, 3.5, math.inf, -math.inf):
        close(lx.linalg.vector_norm(a, axis=-1, ord=order), np.linalg.vector_norm(a, axis=-1, ord=order))
    close(lx.vector_norm(a, keepdims=True), np.linalg.vector_norm(a, keepdims=True))
    for order in ("fro", 1, -1, math.inf, -math.inf):
        close(lx.linalg.matrix_norm(a, ord=order), np.linalg.matrix_norm(a, ord=order))
    for wrong in (
        lambda: lx.matrix_norm(a, ord=3),
        lambda: lx.tensordot(a, b, axes=9),
        lambda: lx.einsum("ij", a),
    ):
        with pytest.raises(ValueError):
            wrong()


def test_powers_and_ranks_of_matrices():
    a = RNG.normal(size=(2, 3, 3))
    for n in (0, 1, 2, 7):
        close(lx.linalg.matrix_power(a, n), np.linalg.matrix_power(a, n))
    a[0] = np.outer(a[0, 0], a[0, 1])
    close(lx.linalg.matrix_rank(a), np.linalg.matrix_rank(a))
    for rtol in (0.5, np.asarray([0.5, 1e-9])):
        close(lx.linalg.matrix_rank(a, rtol=rtol), np.linalg.matrix_rank(a, rtol=rtol))
    for wrong in (
        lambda: lx.linalg.matrix_power(a, -1),
        lambda: lx.linalg.matrix_power(a[0, :2], 2),
        lambda: lx.linalg.matrix_rank(a[0, 0]),
    ):
        with pytest.raises(ValueError, match="matrix_"):
            wrong()


def test_real_numbers_are_their_own_conjugates():
    x = lx.asarray([1.0, -2.0])
    for function in (lx.conj, lx.real):
        assert lx.grad(lambda x, f=function: lx.sum(f(x) ** 2))(x).tolist() == [2.0, -4.0]
        assert function(lx.asarray([1, 2])).dtype == lx.int64
        with pytest.raises(TypeError):
            function(lx.asarray([True]))


def test_the_sign_of_zeros_is_zero():
    for dtype in ("float32", "float64"):
        assert not lx.any(lx.signbit(lx.sign(lx.asarray([-0.0, 0.0] * 9, dtype=dtype))))


def test_order():
    a = RNG.integers(0, 5, size=(3, 6))
    close(lx.sort(a), np.sort(a))
    close(lx.sort(a, axis=0, descending=True), -np.sort(-a, axis=0))
    close(lx.argsort(a), np.argsort(a, kind="stable"))
    values, indices = lx.top_k(a, 2)
    close(values, -np.sort(-a)[:, :2])
    close(lx.take_along_axis(a, indices), values.numpy())
    assert lx.top_k(a, 1, largest=False).values.tolist() == np.min(a, 1, keepdims=True).tolist()
    ordered = np.sort(a.ravel())
    for side in ("left", "right"):
        close(lx.searchsorted(ordered, [0, 2, 9], side=side), np.searchsorted(ordered, [0, 2, 9], side))
    for ours, theirs in zip(lx.nonzero(a > 2), np.nonzero(a > 2), strict=True):
        close(ours, theirs)
    for ours, theirs in zip(lx.unique_all(a), np.unique_all(a), strict=True):
        close(ours, theirs)
    assert lx.unique_counts(a).counts.tolist() == np.unique_counts(a).counts.tolist()
    assert lx.unique_inverse(a).inverse_indices.tolist() == np.unique_inverse(a).inverse_indices.tolist()
    close(lx.unique_values(a), np.unique(a))
    close(lx.isin(a, [1, 3]), np.isin(a, [1, 3]))
    close(lx.isin(a, [1, 3], invert=True), np.isin(a, [1, 3], invert=True))
    close(lx.take(a, [[2, 0]], axis=0), a[[[2, 0]]])
    close(lx.take([5, 6, 7], -1), 7)
    close(lx.scatter_add(lx.zeros((3, 2)), [0, 0, 2], lx.ones((3, 2))), [[2, 2], [0, 0], [1, 1]])
    for wrong in (lambda: lx.take(a, 0), lambda: lx.top_k(a, 9), lambda: lx.searchsorted([1], 1, side="up")):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises(IndexError):
        lx.take(a, [7], axis=0)


def test_dtypes():
    assert lx.result_type(lx.ones(1), "float64") == lx.float64
    assert lx.result_type("int64", lx.float16) == lx.float16
    assert lx.result_type(lx.ones(1, dtype="int32"), 2.0) == lx.float32
    assert lx.result_type(1, 2.0) == lx.float32
    assert lx.can_cast("int32", "int64") and not lx.can_cast(lx.ones(1), "int32")
    assert lx.isdtype(lx.float32, "real floating") and lx.isdtype("int32", ("bool", "integral"))
    assert lx.isdtype(lx.uint8, "unsigned integer") and not lx.isdtype(lx.bool, "numeric")
    assert lx.finfo(lx.float32).bits == 32 and lx.iinfo("uint8").max == 255
    assert lx.asarray([1], dtype=np.float32).dtype == lx.float32
    assert lx.asarray([1], dtype=float).dtype == lx.float32 and lx.asarray([1.0], dtype=int).dtype == lx.int64
    for wrong in ("complex64", "nonsense", np.dtype("int8"), object):
        with pytest.raises(TypeError):
            lx.ones(1, dtype=wrong)
    with pytest.raises(TypeError):
        lx.finfo("int32")
    with pytest.raises(ValueError):
        lx.result_type()


def test_constants():
    assert (lx.pi, lx.e, lx.inf, lx.newaxis) == (math.pi, math.e, math.inf, None)
    assert math.isnan(lx.nan)
    assert lx.__version__.count(".") == 2


def test_unknown_names():
    with pytest.raises(AttributeError, match="no_such_thing"):
        lx.no_such_thing  # noqa: B018
    assert "nn" in dir(lx) and "sum" in dir(lx)


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["float64", "int64", "bool"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        elements={"min_value": -5, "max_value": 5},
    ),
    st.data(),
)
def test_sums_over_any_axes(values, data):
    axes = data.draw(st.lists(st.integers(0, max(values.ndim - 1, 0)), unique=True, max_size=values.ndim))
    close(lx.sum(values, axis=tuple(axes)), np.sum(values, axis=tuple(axes)), 1e-9, 1e-9)


@settings(max_examples=200, deadline=None)
@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=3))
def test_broadcasting(case):
    a, b, c = (RNG.normal(size=shape) for shape in case.input_shapes)
    close(lx.where(a > 0, b, c), np.where(a > 0, b, c))
    close(lx.asarray(b) * c, b * c)


@pytest.mark.parametrize("name", ["softmax", "sort", "cumulative_sum", "sum", "exp", "reshape"])
def test_half_types_stay_half(name):
    x = lx.asarray([[0.5, 1.5], [2.5, -1.0]], dtype="bfloat16")
    keywords = {"axis": 0} if name == "cumulative_sum" else {"shape": (4,)} if name == "reshape" else {}
    result = getattr(lx, name)(x, **keywords)
    assert str(result.dtype) == "bfloat16"
    wide = getattr(lx, name)(x.astype("float32"), **keywords)
    np.testing.assert_allclose(result.astype("float32").numpy(), wide.numpy(), rtol=1e-2)


@pytest.mark.parametrize("method", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantile_methods(method):
    x, q = RNG.normal(size=(3, 5, 2)), [0.0, 0.3, 0.5, 1.0]
    for axis in (None, 1, (0, -1)):
        got = lx.quantile(lx.asarray(x), q, axis, keepdims=True, method=method)
        close(got, np.quantile(x, q, axis=axis, keepdims=True, method=method))
    with pytest.raises(ValueError, match="method must be"):
        lx.quantile(x, 0.5, method="median")


def test_quantiles_at_infinities_and_in_their_level():
    inf = np.inf
    for pair, middle in (([-inf, 1.0], -inf), ([1.0, inf], inf), ([inf, inf], inf), ([-inf, inf], np.nan)):
        np.testing.assert_equal(lx.median(lx.asarray(pair)).numpy(), np.float32(middle))
    slope = lx.grad(lambda q: lx.quantile(lx.asarray([1.0, 3.0, 7.0]), q))(lx.asarray(0.75))
    assert slope.item() == 8.0
    # A level is no float32, whatever the data are.
    x = lx.asarray(np.arange(11.0))
    assert lx.quantile(x, 0.3).item() == pytest.approx(3.0, abs=1e-14)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 2), (2, 0, 3), (4, 0), (0, 2, 2)])
def test_norms_by_singular_values(shape):
    a = RNG.normal(size=shape)
    values = lx.linalg.svdvals(lx.asarray(a))
    close(values, np.linalg.svd(a, compute_uv=False))
    close(lx.linalg.matrix_norm(lx.asarray(a), ord="nuc"), np.linalg.svd(a, compute_uv=False).sum(-1))
    if min(shape[-2:]):
        for ord in (2, -2):
            got = lx.linalg.matrix_norm(lx.asarray(a), ord=ord, keepdims=True)
            close(got, np.linalg.norm(a, ord, axis=(-2, -1), keepdims=True))
    else:
        with pytest.raises(ValueError, match="no elements"):
            lx.linalg.matrix_norm(lx.asarray(a), ord=2)


@pytest.mark.parametrize("ord", [0.5, 0.9, -1, -2.5, 3, 6])
def test_slopes_of_norms(ord):
    norm = lambda x: lx.linalg.vector_norm(x, ord=ord)  # noqa: E731
    x = lx.asarray(RNG.normal(size=5) + 2)
    luxon.testing.check_gradients(norm, (x,))
    assert lx.grad(norm)(lx.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    assert np.isfinite(lx.grad(norm)(lx.asarray([0.0, 1.0, 2.0])).numpy()).all()


def test_slopes_with_scalar_arguments_are_as_exact_as_the_tensor():
    x = lx.asarray(RNG.uniform(0.5, 2, size=7))
    for f, slope in (
        (lambda x: lx.pow(x, 3.7), 3.7 * x.numpy() ** 2.7),
        (lambda x: lx.pow(2.1, x), 2.1 ** x.numpy() * np.log(2.1)),
        (lambda x: lx.special.xlogy(x, 0.3), np.full(7, np.log(0.3))),
        (lambda x: lx.special.xlog1py(x, 1.3), np.full(7, np.log1p(1.3))),
        (lambda x: lx.atan2(x, 0.1), 0.1 / (x.numpy() ** 2 + 0.01)),
    ):
        got = lx.grad(lambda x, f=f: lx.sum(f(x)))(x)
        np.testing.assert_allclose(got.numpy(), slope, rtol=1e-14)


def test_slopes_at_special_points():
    inf, nan = np.inf, np.nan
    for f, at, slopes in (
        (lx.abs, [(nan,)], (0,)),
        (lx.atan2, [(0.0,), (-0.0,)], (0, 0)),
        (lx.special.xlogy, [(0.0,), (2.0,)], (math.log(2), 0)),
        (lx.special.xlogy, [(0.0,), (0.0,)], (0, nan)),
        (lx.logaddexp, [(1e20,), (1e20,)], (0.5, 0.5)),
        (lx.special.logit, [(2.0,)], (nan,)),
        (lx.elu, [(nan,)], (1,)),
        (lx.relu6, [(nan,)], (1,)),
        (lx.special.log_ndtr, [(-1e4,)], (1e4,)),
        (lx.special.log_ndtr, [(-inf,)], (inf,)),
    ):
        arguments = [lx.asarray(np.array(value)) for value in at]
        got = lx.grad(lambda *x, f=f: lx.sum(f(*x)), argnums=tuple(range(len(at))))(*arguments)
        np.testing.assert_allclose([slope.item() for slope in got], slopes, rtol=1e-7)


@pytest.mark.parametrize(
    "call",
    [
        lambda: lx.eye(-1),
        lambda: lx.linspace(0, 1, -2),
        lambda: lx.one_hot(lx.asarray([0]), -1),
        lambda: lx.diff(lx.ones(3), n=-1),
        lambda: lx.top_k(lx.ones(3), -1),
        lambda: lx.isclose(lx.ones(1), lx.ones(1), rtol=-1),
        lambda: lx.soft_shrink(lx.ones(1), -1),
    ],
)
def test_negative_settings_are_refused(call):
    with pytest.raises(ValueError, match=r"\w+: .*must not be negative, got"):
        call()


def test_einsum_sums_an_ellipsis_that_the_output_leaves_out():
    a, b = RNG.normal(size=(2, 3, 4)), RNG.normal(size=4)
    close(lx.einsum("...ij,j->i", a, b), np.einsum("kij,j->i", a, b))
    close(lx.einsum("...->", a), a.sum())
