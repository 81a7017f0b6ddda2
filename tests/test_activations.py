"""Activations against their formulas in NumPy: ordinary arguments, extremes, parameters.

PyTorch's answers are in test_oracle_layers.py, derivatives in test_layer_gradients.py.
"""

import inspect

import numpy as np
import pytest

import luxon as lx

INF, NAN = np.inf, np.nan


def sigmoid(x):
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def log_cosh(x):
    return np.abs(x) + np.log1p(np.exp(-2 * np.abs(x))) - np.log(2)


def phi(x):
    special = pytest.importorskip("scipy.special")
    return special.ndtr(x)


SELU = 1.0507009873554805, 1.6732632423543772
CUBIC = np.sqrt(2 / np.pi), 0.044715
# name, formula, value at -inf, value at +inf; PyTorch's formulas of the last two lines give NaN at an infinity.
TABLE = [
    ("relu", lambda x: np.maximum(x, 0), 0, INF),
    ("relu6", lambda x: np.clip(x, 0, 6), 0, 6),
    ("leaky_relu", lambda x: np.where(x > 0, x, 0.01 * x), -INF, INF),
    ("elu", lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), -1, INF),
    ("celu", lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), -1, INF),
    (
        "selu",
        lambda x: SELU[0] * np.where(x > 0, x, SELU[1] * np.expm1(np.minimum(x, 0))),
        -SELU[0] * SELU[1],
        INF,
    ),
    ("gelu", lambda x: x * phi(x), 0, INF),
    ("silu", lambda x: x * sigmoid(x), 0, INF),
    ("swish", lambda x: x * sigmoid(x), 0, INF),
    ("mish", lambda x: x * np.tanh(softplus(x)), 0, INF),
    ("sigmoid", sigmoid, 0, 1),
    ("hard_sigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1), 0, 1),
    ("log_sigmoid", lambda x: -softplus(-x), -INF, 0),
    ("tanh", np.tanh, -1, 1),
    ("hard_tanh", lambda x: np.clip(x, -1, 1), -1, 1),
    ("tanh_shrink", lambda x: x - np.tanh(x), -INF, INF),
    ("soft_shrink", lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), -INF, INF),
    ("hard_shrink", lambda x: np.where(np.abs(x) > 0.5, x, 0), -INF, INF),
    ("softplus", softplus, 0, INF),
    ("log_cosh", log_cosh, INF, INF),
    ("lisht", lambda x: x * np.tanh(x), INF, INF),
    ("threshold_relu", lambda x: np.where(x > 1, x, 0), 0, INF),
    ("identity", lambda x: x, -INF, INF),
    ("hard_swish", lambda x: x * np.clip(x + 3, 0, 6) / 6, NAN, INF),
    ("softsign", lambda x: x / (1 + np.abs(x)), NAN, NAN),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "formula", "low", "high"), TABLE, ids=[row[0] for row in TABLE])
def test_values(name, formula, low, high, dtype):
    function = getattr(lx, name)
    x = np.concatenate(
        [np.linspace(-12, 12, 481), [-700, -88, 88, 700, -1e-9, 1e-9, -1e30, 1e30, 0.0]]
    ).astype(dtype)
    y = np.asarray(function(lx.asarray(x)))
    assert y.dtype == np.dtype(dtype)
    tolerance = 1e-13 if dtype == "float64" else 4e-6
    # Differences that cancel in NumPy's formula near 0 are let pass absolutely.
    assert np.allclose(
        y, formula(x.astype(np.float64)), rtol=tolerance, atol=1e-15 if dtype == "float64" else 1e-7
    )
    ends = np.asarray(function(lx.asarray(np.array([-INF, INF, NAN], dtype))))
    assert np.allclose(ends[:2], [low, high], rtol=1e-6, equal_nan=True) and np.isnan(ends[2])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [row[0] for row in TABLE])
def test_slopes_at_large_arguments(name, dtype):
    """First and second derivatives are finite far out, and those of saturated functions 0."""
    function = getattr(lx, name)
    x = lx.asarray([-1e4, -800.0, -100.0, -40.0, 40.0, 100.0, 800.0, 1e4], dtype=dtype)

    def slope(x):
        return lx.grad(lambda x: lx.sum(function(x) * 1.0))(x)

    first = np.asarray(slope(x))
    second = np.asarray(lx.grad(lambda x: lx.sum(slope(x) * lx.ones_like(x)))(x))
    assert np.isfinite(first).all() and np.isfinite(second).all()
    y = np.asarray(function(x), dtype=np.float64)
    reached = (y[0] - y[1]) / (1e4 - 800), (y[-1] - y[-2]) / (1e4 - 800)
    assert np.allclose(first[[0, -1]], [-reached[0], reached[1]], atol=2e-4)
    assert np.allclose(second[[0, 1, -2, -1]], 0, atol=1e-5)
    # At infinities and near the largest numbers they are what they tend to.
    x = lx.asarray([-INF, -1e30, 1e30, INF], dtype=dtype)
    limits = first[[0, 0, -1, -1]]
    assert np.allclose(np.asarray(slope(x)), limits, atol=2e-4)
    if name != "softsign":
        assert not np.asarray(lx.grad(lambda x: lx.sum(slope(x) * lx.ones_like(x)))(x)).any()


def test_parameters():
    x = lx.asarray(np.linspace(-3, 3, 13))
    v = np.asarray(x)

    def close(mine, expected):
        assert np.allclose(np.asarray(mine), expected, rtol=1e-13, atol=1e-15)

    close(lx.leaky_relu(x, 0.3), np.where(v > 0, v, 0.3 * v))
    close(lx.elu(x, alpha=0.5), np.where(v > 0, v, 0.5 * np.expm1(v)))
    close(lx.celu(x, alpha=0.5), np.where(v > 0, v, 0.5 * np.expm1(v / 0.5)))
    inner = CUBIC[0] * (v + CUBIC[1] * v**3)
    close(lx.gelu(x, approximate="tanh"), 0.5 * v * (1 + np.tanh(inner)))
    close(lx.hard_tanh(x, min=-2, max=0.5), np.clip(v, -2, 0.5))
    close(lx.soft_shrink(x, 1.0), np.sign(v) * np.maximum(np.abs(v) - 1, 0))
    close(lx.hard_shrink(x, 1.0), np.where(np.abs(v) > 1, v, 0))
    close(lx.threshold_relu(x, 2.0), np.where(v > 2, v, 0))
    close(lx.softplus(x, beta=2.0, threshold=3.0), np.where(2 * v > 3, v, softplus(2 * v) / 2))
    with pytest.raises(ValueError, match="approximate"):
        lx.gelu(x, approximate="sigmoid")
    pairs = lx.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    first, second = np.asarray(pairs)[:, :2], np.asarray(pairs)[:, 2:]
    close(lx.glu(pairs), first * sigmoid(second))
    close(lx.glu(pairs.T, axis=0), (first * sigmoid(second)).T)
    with pytest.raises(ValueError, match="no halves"):
        lx.glu(pairs, axis=0)


def test_rrelu():
    x = lx.random.normal(lx.random.key(1), (20_000,), dtype="float64")
    y = np.asarray(lx.rrelu(lx.random.key(0), x))
    v = np.asarray(x)
    slopes = (y / v)[v < 0]
    assert np.array_equal(y[v > 0], v[v > 0])
    assert slopes.min() >= 1 / 8 - 1e-12 and slopes.max() < 1 / 3 and abs(slopes.mean() - 11 / 48) < 0.003
    assert np.array_equal(y, lx.rrelu(lx.random.key(0), x)) and not np.array_equal(
        y, lx.rrelu(lx.random.key(1), x)
    )
    fixed = np.asarray(lx.rrelu(lx.random.key(0), x, lower=0.25, upper=0.25))
    assert np.allclose(fixed, np.where(v > 0, v, v / 4))
    assert np.asarray(lx.rrelu(lx.random.key(0), lx.asarray([INF, -INF]))).tolist() == [INF, -INF]


def test_signatures():
    """Arguments and defaults are those of the catalogue."""
    wanted = {
        "rrelu": "(key, x, lower=0.125, upper=0.3333333333333333)",
        "leaky_relu": "(x, slope=0.01)",
        "elu": "(x, alpha=1.0)",
        "celu": "(x, alpha=1.0)",
        "gelu": "(x, approximate='none')",
        "hard_tanh": "(x, min=-1.0, max=1.0)",
        "soft_shrink": "(x, threshold=0.5)",
        "hard_shrink": "(x, threshold=0.5)",
        "softplus": "(x, beta=1.0, threshold=20.0)",
        "threshold_relu": "(x, threshold=1.0)",
        "glu": "(x, axis=-1)",
        "softmax": "(x, axis=-1)",
        "log_softmax": "(x, axis=-1)",
        "logsumexp": "(x, axis=None, keepdims=False)",
    }
    for name, text in wanted.items():
        signature = inspect.signature(getattr(lx, name))
        plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        assert str(inspect.Signature(plain)) == text
