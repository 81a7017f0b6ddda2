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
        (init.kaiming_uniform(gain=1.0, mode="fan_out"), (1 / 200) ** 0.5, (3 / 200) ** 0.5),
        (init.kaiming_normal(mode="fan_out"), (2 / 200) ** 0.5, None),
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


def test_distributions():
    """The whole distribution, not only its moments, by the Kolmogorov-Smirnov distance."""
    stats = pytest.importorskip("scipy.stats")
    fan = 30 * 9
    cases = [
        (init.uniform(low=-1.0, high=3.0), stats.uniform(-1, 4)),
        (init.normal(mean=1.0, std=0.5), stats.norm(1, 0.5)),
        (init.truncated_normal(mean=0.1, std=0.5, low=-0.6, high=1.0), stats.truncnorm(-1.4, 1.8, 0.1, 0.5)),
        (
            init.glorot_uniform(gain=2.0),
            stats.uniform(-2 * (6 / (50 * 9 + fan)) ** 0.5, 4 * (6 / (50 * 9 + fan)) ** 0.5),
        ),
        (init.glorot_normal, stats.norm(0, (2 / (50 * 9 + fan)) ** 0.5)),
        (init.kaiming_uniform, stats.uniform(-((6 / fan) ** 0.5), 2 * (6 / fan) ** 0.5)),
        (init.kaiming_normal, stats.norm(0, (2 / fan) ** 0.5)),
        (init.lecun_uniform, stats.uniform(-((3 / fan) ** 0.5), 2 * (3 / fan) ** 0.5)),
        (init.lecun_normal, stats.norm(0, (1 / fan) ** 0.5)),
        (init.torch_default, stats.uniform(-((1 / fan) ** 0.5), 2 * (1 / fan) ** 0.5)),
        (init.torch_default(fan_in=4), stats.uniform(-0.5, 1.0)),
    ]
    for initializer, distribution in cases:
        values = numbers(initializer, (50, 30, 3, 3), "float64").ravel()
        assert stats.kstest(values, distribution.cdf).statistic < 2.2 / values.size**0.5
    values = numbers(init.truncated_normal(std=0.5, low=-0.6, high=1.0))
    assert values.min() >= -0.6 and values.max() <= 1.0


def test_settings_that_make_no_sense():
    for bad in (
        init.truncated_normal(std=0.0),
        init.truncated_normal(low=1.0, high=0.0),
        init.sparse(sparsity=2),
    ):
        with pytest.raises(ValueError, match=r"std > 0|sparsity"):
            bad(KEY, (3, 3))
    with pytest.raises(ValueError, match="mode"):
        init.kaiming_normal(KEY, (3, 3), mode="fan_avg")


@pytest.mark.parametrize("shape", [(5, 5), (4, 7), (7, 4), (6, 2, 3)])
def test_orthogonal(shape):
    q = numbers(init.orthogonal, shape, "float64").reshape(shape[0], -1)
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    assert np.allclose(product, np.eye(len(product)), atol=1e-12)
    assert np.allclose(numbers(init.orthogonal(gain=3.0), shape, "float64").reshape(q.shape), 3 * q)


def test_orthogonal_is_uniform():
    """The distribution is that of Haar: an entry of a 3 x 3 rotation has variance 1 / 3 and no preferred sign."""
    entries = np.array([np.asarray(init.orthogonal(KEY.fold_in(i), (3, 3)))[0, 0] for i in range(2000)])
    assert abs(entries.mean()) < 0.05 and entries.var() == pytest.approx(1 / 3, rel=0.08)


def test_sparse():
    values = numbers(init.sparse(sparsity=0.3), (10, 6))
    assert ((values == 0).sum(axis=0) == 3).all()
    values = numbers(init.sparse(sparsity=0.25, std=2.0), (1001, 50), "float64")
    assert ((values == 0).sum(axis=0) == 251).all()  # a fraction of a row counts as a row, as in PyTorch
    assert values[values != 0].std() == pytest.approx(2.0, rel=0.03)
    # The zeros lie elsewhere in every column.
    assert len({tuple(np.flatnonzero(column == 0)[:5]) for column in values.T}) > 45


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
