"""Keys and random numbers."""

import pickle

import numpy as np
import pytest

import luxon as lx
from luxon import random

KEY = random.key(42)


def test_keys_are_values():
    assert random.key(42) == KEY and hash(random.key(42)) == hash(KEY) and random.key(43) != KEY
    assert pickle.loads(pickle.dumps(KEY)) == KEY
    one, two, three = random.split(KEY, 3)
    assert len({one, two, three, KEY}) == 4 and KEY.split(3) == [one, two, three]
    assert random.fold_in(KEY, 7) == KEY.fold_in(7) != KEY.fold_in(8)
    assert random.fold_in(KEY, "layer") != random.fold_in(KEY, "layer_1")
    assert random.key(-1) == random.key(2**64 - 1)
    for bad in (2**64, -(2**63) - 1, "1", 1.5):
        with pytest.raises((TypeError, OverflowError)):
            random.key(bad)
    with pytest.raises(TypeError):
        KEY.fold_in(-1)


def test_shapes_dtypes_and_ranges():
    assert random.uniform(KEY).shape == ()
    x = np.asarray(random.uniform(KEY, (1000,), 2.0, 3.0))
    assert x.dtype == np.float32 and x.min() >= 2 and x.max() < 3
    assert random.normal(KEY, (2, 3), dtype="float64").dtype == np.float64
    n = np.asarray(random.randint(KEY, (1000,), -3, 4))
    assert set(n) == set(range(-3, 4)) and n.dtype == np.int64
    assert set(np.asarray(random.bernoulli(KEY, 0.5, (100,)))) == {True, False}
    assert sorted(np.asarray(random.permutation(KEY, 50))) == list(range(50))
    rows = np.asarray(random.permutation(KEY, lx.reshape(lx.arange(12), (6, 2))))
    assert sorted(rows[:, 0]) == [0, 2, 4, 6, 8, 10] and (rows[:, 1] - rows[:, 0] == 1).all()
    t = np.asarray(random.truncated_normal(KEY, -1.0, 0.5, (1000,)))
    assert t.min() >= -1 and t.max() <= 0.5
    counts = np.bincount(np.asarray(random.categorical(KEY, lx.log(lx.asarray([[0.7, 0.3]] * 2000)))))
    assert counts[0] / 2000 == pytest.approx(0.7, abs=0.05)
    with pytest.raises(ValueError, match="the count must not be negative, got -1"):
        random.permutation(KEY, -1)
    with pytest.raises(TypeError, match="expected a luxon key"):
        random.uniform(0, (2,))


def test_moments():
    n = 100_000
    assert np.asarray(random.normal(KEY, (n,))).std() == pytest.approx(1, rel=0.02)
    assert np.asarray(random.exponential(KEY, (n,))).mean() == pytest.approx(1, rel=0.02)
    assert np.asarray(random.gumbel(KEY, (n,))).mean() == pytest.approx(0.5772, rel=0.03)


def test_the_same_as_jax():
    jax = pytest.importorskip("jax")
    for seed in (0, 1, 2**31):
        mine, theirs = random.key(seed), jax.random.key(seed)
        assert tuple(np.asarray(jax.random.key_data(theirs))) == mine.words
        sub = jax.random.split(theirs, 3)
        assert [key.words for key in random.split(mine, 3)] == [
            tuple(k) for k in np.asarray(jax.random.key_data(sub))
        ]
        folded = jax.random.key_data(jax.random.fold_in(theirs, 9))
        assert tuple(np.asarray(folded)) == random.fold_in(mine, 9).words
        uniform = np.asarray(jax.random.uniform(theirs, (37,), "float32"))
        assert np.array_equal(np.asarray(random.uniform(mine, (37,))), uniform)
        normal = np.asarray(jax.random.normal(theirs, (37,), "float32"))
        assert np.allclose(np.asarray(random.normal(mine, (37,))), normal, atol=2e-5)


def test_bits_do_not_depend_on_threads():
    before = lx.threads()
    results = []
    for count in (1, 2):
        lx.set_threads(count)
        results.append(np.asarray(random.normal(KEY, (200_001,))).tobytes())
    lx.set_threads(before)
    assert results[0] == results[1]
