"""Embeddings against their formulas in NumPy."""

import numpy as np
import pytest

import luxon as lx
from luxon import nn
from luxon.testing import check_gradients


def test_the_padding_row_is_zero_and_stays():
    layer = nn.Embedding(5, 3, padding_index=-2)
    ps, st = nn.setup(0, layer)
    assert not np.any(np.asarray(ps.weight)[3]) and np.all(
        np.any(np.asarray(ps.weight)[[0, 1, 2, 4]], axis=1)
    )
    indices = lx.asarray([[3, 1], [1, 3]])
    gradient = lx.grad(lambda ps: lx.sum(layer(indices, ps, st)[0]))(ps).weight
    np.testing.assert_array_equal(np.asarray(gradient), [[0] * 3, [2] * 3, [0] * 3, [0] * 3, [0] * 3])
    with pytest.raises(ValueError, match="padding_index 5"):
        nn.Embedding(5, 3, padding_index=5)


@pytest.mark.parametrize("full_turns", [False, True])
def test_sinusoidal(full_turns):
    layer = nn.SinusoidalPositionalEmbedding(6, min_freq=0.01, max_freq=2.0, full_turns=full_turns)
    ps, st = nn.setup(0, layer)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    frequencies = np.array([2.0, np.sqrt(0.01 * 2.0), 0.01]) * (2 * np.pi if full_turns else 1)
    angles = x[..., None] * frequencies
    expected = np.sqrt(2 / 6) * np.concatenate([np.sin(angles), np.cos(angles)], -1)
    np.testing.assert_allclose(np.asarray(layer(lx.asarray(x), ps, st)[0]), expected, rtol=1e-5, atol=1e-5)
    scaled = nn.SinusoidalPositionalEmbedding(2, scale=3.0)
    assert scaled(lx.asarray([0, 1]), *nn.setup(0, scaled))[0].tolist()[0] == [0.0, 3.0]
    assert nn.output_shape(layer, (4, 7)) == (4, 7, 6)


def test_rotary():
    layer = nn.RotaryPositionalEmbedding(6, max_sequence_length=9, base=100)
    ps, st = nn.setup(0, layer)
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6)).astype("float32")
    angles = np.outer(np.arange(9), 100.0 ** (-np.arange(0, 6, 2) / 6))
    pairs = x[..., :3] + 1j * x[..., 3:]

    def turned(positions):
        z = pairs * np.exp(1j * angles[positions])
        return np.concatenate([z.real, z.imag], -1)

    y, _ = layer(lx.asarray(x), ps, st)
    np.testing.assert_allclose(np.asarray(y), turned(np.arange(5)), rtol=1e-5, atol=1e-5)
    positions = np.array([8, 0, 3, 3, 1])
    y, _ = layer((lx.asarray(x), lx.asarray(positions)), ps, st)
    np.testing.assert_allclose(np.asarray(y), turned(positions), rtol=1e-5, atol=1e-5)
    assert layer(lx.asarray(x, dtype="float16"), ps, st)[0].dtype == lx.float16
    for wrong, text in [
        (np.ones((2, 10, 6)), "10 positions, 9 are prepared"),
        (np.ones((2, 4)), r"\(\.\.\., time, 6\)"),
    ]:
        with pytest.raises(ValueError, match=text):
            layer(lx.asarray(wrong), ps, st)
    with pytest.raises(IndexError):
        layer((lx.asarray(x), lx.asarray(positions + 1)), ps, st)


def test_periodic():
    layer = nn.PeriodicEmbedding((2, -4), (4.0, 0.5))
    ps, st = nn.setup(0, layer)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    angles = 2 * np.pi * x[:, [2, 0]] / np.array([4.0, 0.5])
    expected = np.concatenate([x[:, [1, 3]], np.sin(angles), np.cos(angles)], -1)
    np.testing.assert_allclose(np.asarray(layer(lx.asarray(x), ps, st)[0]), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(IndexError, match="lacks some"):
        layer(lx.ones((3, 2)), ps, st)
    with pytest.raises(ValueError, match="named twice"):
        nn.PeriodicEmbedding((0, -1), (1.0, 1.0))(
            lx.ones((1,)), *nn.setup(0, nn.PeriodicEmbedding((0, -1), (1, 1)))
        )
    with pytest.raises(ValueError, match="1 periods for 2 indices"):
        nn.PeriodicEmbedding((0, 1), (1.0,))


def test_derivatives_to_second_order():
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    for layer in (
        nn.SinusoidalPositionalEmbedding(4),
        nn.RotaryPositionalEmbedding(4),
        nn.PeriodicEmbedding((1, 3), (2.0, 5.0)),
    ):
        ps, st = nn.setup(0, layer, dtype="float64")
        check_gradients(lambda x, layer=layer, ps=ps, st=st: layer(lx.square(x), ps, st)[0], (x,))


@pytest.mark.parametrize("make", [nn.SinusoidalPositionalEmbedding, nn.RotaryPositionalEmbedding])
def test_sizes_are_checked(make):
    for dim, text in [(3, "even"), (0, "positive"), (2.0, "positive integer")]:
        with pytest.raises(ValueError, match=text):
            make(dim)


def test_indices_outside_the_table_are_refused():
    model = nn.Chain(words=nn.Embedding(3, 2))
    ps, st = nn.setup(0, model)
    for bad in (3, -1):
        with pytest.raises(IndexError, match=f"index {bad} is out of bounds") as caught:
            model(lx.asarray([[0, bad], [1, 2]]), ps, st)
        assert caught.value.__notes__ == ["in layer words: Embedding(3 => 2)"]
    assert model(lx.zeros((0, 2), dtype="int64"), ps, st)[0].shape == (0, 2, 2)
    assert nn.output_shape(model, lx.ShapeDtype((4, 5), "int64")) == (4, 5, 2)
