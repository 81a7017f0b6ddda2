"""Initialisers."""

import numpy as np
import pytest

import luxon as lx
from luxon import init

KEY = lx.random.key(0)
SHAPE = (200, 150)


def numbers(initializer, shape=SHAPE, dtype="float32"):
    return np.asarray(initializer(KEY, shape, dtype))


def test_constants():
    assert (numbers(init.zeros) == 0).all() and (numbers(init.ones) == 1).all()
    assert (numbers(init.constant(value=3.0)) == 3).all()
    assert np.array_equal(numbers(init.identity(gain=2.0), (3, 4)), 2 * np.eye(3, 4))


@pytest.mark.parametrize(
    ("initializer", "std", "bound"),
    [
        (init.uniform(low=-2.0, high=2.0), 4 / 12**0.5, 2.0),
        (init.normal(std=0.3), 0.3, None),
        (init.glorot_uniform, (2 / 350) ** 0.5, (6 / 350) ** 0.5),
        (init.glorot_normal(gain=2.0), 2 * (2 / 350) ** 0.5, None),
        (init.kaiming_uniform, (2 / 150) ** 0.5, (6 / 150) ** 0.5),
        (init.kaiming_normal, (2 / 150) ** 0.5, None),
        (init.lecun_uniform, (1 / 150) ** 0.5, (3 / 150) ** 0.5),
        (init.lecun_normal, (1 / 150) ** 0.5, None),
        (init.torch_default, (1 / 450) ** 0.5, (1 / 150) ** 0.5),
    ],
)
def test_moments(initializer, std, bound):
    values = numbers(initializer)
    assert abs(values.mean()) < 5 * std / values.size**0.5
    assert values.std() == pytest.approx(std, rel=0.03)
    if bound is not None:
        assert np.abs(values).max() <= bound and np.abs(values).max() > 0.99 * bound


def test_truncated_normal():
    values = numbers(init.truncated_normal(std=0.5, low=-0.6, high=1.0))
    assert values.min() >= -0.6 and values.max() <= 1.0


@pytest.mark.parametrize("shape", [(5, 5), (4, 7), (7, 4), (6, 2, 3)])
def test_orthogonal(shape):
    q = numbers(init.orthogonal, shape, "float64").reshape(shape[0], -1)
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    assert np.allclose(product, np.eye(len(product)), atol=1e-12)


def test_sparse():
    values = numbers(init.sparse(sparsity=0.3), (10, 6))
    assert ((values == 0).sum(axis=0) == 3).all()


def test_fans_and_dtypes():
    assert init.fans((8, 3, 5, 5)) == (75, 200) and init.fans((4,)) == (4, 4) and init.fans(()) == (1, 1)
    for name in ("zeros", "normal", "glorot_uniform", "orthogonal", "sparse", "torch_default"):
        assert numbers(getattr(init, name), (4, 4), "float64").dtype == np.float64
    for name in ("orthogonal", "identity", "sparse"):
        with pytest.raises(ValueError, match="shape"):
            getattr(init, name)(KEY, (3,))


def test_same_key_same_numbers():
    assert numbers(init.normal).tobytes() == numbers(init.normal).tobytes()
    other = np.asarray(init.normal(lx.random.key(1), SHAPE))
    assert other.tobytes() != numbers(init.normal).tobytes()
