"""Dropout layers: moments, keys, kept masks, extremes."""

import numpy as np
import pytest

import luxon as lx
from luxon import nn

LAYERS = [nn.Dropout, nn.AlphaDropout, nn.VariationalHiddenDropout]


@pytest.mark.parametrize("kind", LAYERS)
def test_what_all_share(kind):
    layer = kind(0.4)
    x = lx.random.normal(lx.random.key(1), (3, 500))
    ps, st = nn.setup(0, layer)
    assert ps.paths() == [] and st.training is True
    y, after = layer(x, ps, st)
    again, after_again = layer(x, ps, st)
    assert np.array_equal(y, again) and after == after_again and list(after) == list(st)
    assert after.key != st.key
    test = nn.testmode(st)
    assert layer(x, ps, test) == (x, test)
    assert kind(0.0)(x, ps, st) == (x, st)
    assert y.dtype == lx.float32
    wide = layer(lx.astype(x, lx.float16), ps, st)[0]
    assert wide.dtype == lx.float16
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="p must lie in"):
            kind(p)
    assert nn.output_shape(nn.Chain(layer), (2, 3)) == (2, 3)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_probability_of_one_gives_zeros(kind):
    layer = kind(1.0)
    ps, st = nn.setup(0, layer)
    x = lx.asarray([1.0, np.inf, np.nan, -np.inf])
    value, slope = lx.value_and_grad(lambda x: lx.sum(layer(x, ps, st)[0]))(x)
    assert value.item() == 0 and not np.asarray(slope).any()
    assert not np.asarray(layer(x, ps, st)[0]).any()


def test_alpha_dropout_keeps_the_moments():
    x = lx.random.normal(lx.random.key(2), (400_000,), dtype="float64")
    for p in (0.1, 0.5, 0.9):
        layer = nn.AlphaDropout(p)
        y = np.asarray(layer(x, *nn.setup(3, layer))[0])
        assert abs(y.mean()) < 0.01 and abs(y.var() - 1) < 0.02


def test_a_kept_mask():
    layer = nn.VariationalHiddenDropout(0.5)
    ps, st = nn.setup(0, layer)
    assert list(st) == ["key", "training", "mask", "update_mask"] and st.mask is None
    x = lx.ones((4, 6))
    y, kept = layer(x, ps, st)
    assert set(np.asarray(y).ravel()) == {0.0, 2.0} and np.array_equal(kept.mask, y)
    same, after = layer(3 * x, ps, kept)
    assert np.array_equal(same, 3 * y) and after is kept
    other, renewed = layer(x, ps, nn.update_state(kept, "update_mask", True))
    assert not np.array_equal(other, y) and renewed.update_mask is False and renewed.key != kept.key
    with pytest.raises(ValueError, match="update_mask"):
        layer(lx.ones((5, 6)), ps, kept)
    # What is dropped stays 0 whatever the input holds.
    bad = lx.full((4, 6), np.inf)
    assert not np.isnan(np.asarray(layer(bad, ps, kept)[0])).any()


def test_axes_share_the_mask():
    for layer in (nn.Dropout(0.5, axes=(0,)), nn.VariationalHiddenDropout(0.5, axes=(0,))):
        y = np.asarray(layer(lx.ones((50, 7)), *nn.setup(0, layer))[0])
        assert (y == y[:, :1]).all() and 5 < (y[:, 0] == 0).sum() < 45
