"""Attention as a function and as a layer."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import luxon as lx
from luxon import nn
from luxon.functional import scaled_dot_product_attention
from luxon.testing import check_gradients

jax = pytest.importorskip("jax")


def data(*shape, seed=0, dtype="float64"):
    return lx.random.normal(lx.random.key(seed), shape, dtype=dtype)


def reference(q, k, v, mask=None, bias=None, causal=False, scale=None):
    """In NumPy, float64."""
    q, k, v = (np.asarray(part, np.float64) for part in (q, k, v))
    if q.shape[-3] != k.shape[-3]:
        k, v = (np.repeat(part, q.shape[-3] // k.shape[-3], axis=-3) for part in (k, v))
    scores = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + np.asarray(bias)
    met = np.ones(scores.shape, bool)
    if mask is not None:
        met &= np.asarray(mask)
    if causal:
        met &= np.tril(np.ones(scores.shape[-2:], bool))
    powers = np.where(met, np.exp(scores - scores.max(-1, keepdims=True)), 0.0)
    total = powers.sum(-1, keepdims=True)
    return powers / np.where(total == 0, 1, total) @ v


@settings(max_examples=50, deadline=None)
@given(
    lead=some.sampled_from([(), (2,), (2, 3)]),
    kv_heads=some.integers(1, 3),
    group=some.integers(1, 3),
    queries=some.sampled_from([1, 5, 31, 33, 70]),
    keys=some.sampled_from([1, 6, 64, 127, 130]),
    dim=some.sampled_from([1, 8, 20]),
    causal=some.booleans(),
    masked=some.sampled_from([None, "all", "keys", "heads"]),
    biased=some.booleans(),
)
def test_against_the_formula(lead, kv_heads, group, queries, keys, dim, causal, masked, biased):
    heads = kv_heads * group
    q = data(*lead, heads, queries, dim, seed=1)
    k, v = data(*lead, kv_heads, keys, dim, seed=2), data(*lead, kv_heads, keys, dim + 1, seed=3)
    shape = {"all": (*lead, heads, queries, keys), "keys": (keys,), "heads": (heads, 1, keys)}.get(masked)
    mask = None if shape is None else data(*shape, seed=4) > 0
    bias = data(heads, 1, keys, seed=5) if biased else None
    expected = reference(q, k, v, mask, bias, causal)
    np.testing.assert_allclose(
        np.asarray(scaled_dot_product_attention(q, k, v, mask, bias, causal)),
        expected,
        rtol=1e-11,
        atol=1e-12,
    )
    single = [lx.astype(part, "float32") for part in (q, k, v)]
    y = scaled_dot_product_attention(
        *single, mask, None if bias is None else lx.astype(bias, "float32"), causal
    )
    np.testing.assert_allclose(np.asarray(y), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_derivatives(causal):
    q, k, v = data(2, 2, 3, 2), data(2, 1, 3, 2, seed=1), data(2, 1, 3, 2, seed=2)
    mask = lx.asarray([[True, False, True], [False, False, False], [True, True, True]])
    check_gradients(lambda q, k, v: scaled_dot_product_attention(q, k, v, causal=causal), (q, k, v))
    bias = data(3, 3, seed=3)

    def masked(q, k, v, bias):
        return scaled_dot_product_attention(q, k, v, mask, bias, causal, 0.3)

    check_gradients(masked, (q[:1], k[:1], v[:1], bias))


def test_against_jax():
    q, k, v = (data(2, 40, heads, 16, seed=heads, dtype="float32") for heads in (4, 2, 2))

    def ours(q, k, v):
        y = lx._core.scaled_dot_product_attention(q, k, v, None, None, True, None, True)
        return lx.sum(y**2)

    def theirs(q, k, v):
        return (jax.nn.dot_product_attention(q, k, v, is_causal=True) ** 2).sum()

    value, slopes = lx.value_and_grad(ours, (0, 1, 2))(q, k, v)
    expected, gradients = jax.value_and_grad(theirs, (0, 1, 2))(*(np.asarray(part) for part in (q, k, v)))
    np.testing.assert_allclose(float(value), float(expected), rtol=1e-5)
    for slope, gradient in zip(slopes, gradients, strict=True):
        np.testing.assert_allclose(np.asarray(slope), gradient, rtol=1e-4, atol=1e-5)


def test_a_query_without_keys_gets_zeros_and_no_gradient():
    q, k, v = data(1, 2, 4), data(1, 3, 4, seed=1), data(1, 3, 4, seed=2)
    mask = lx.asarray([[False, False, False], [True, False, True]])
    y, pull = lx.vjp(lambda *three: scaled_dot_product_attention(*three, mask), q, k, v)
    assert np.all(np.asarray(y)[0, 0] == 0)
    gradients = [np.asarray(part) for part in pull(lx.ones_like(y))]
    assert all(np.isfinite(part).all() for part in gradients)
    assert np.all(gradients[0][0, 0] == 0)


def test_exceptional_values():
    q = data(1, 40, 4, dtype="float32")
    y = np.asarray(scaled_dot_product_attention(q.at[0, 3, 1].set(float("nan")), q, q))
    assert np.isnan(y[0, 3]).all() and np.isfinite(np.delete(y[0], 3, axis=0)).all()
    large = np.asarray(scaled_dot_product_attention(q * 1e4, q * 1e4, q))
    assert np.isfinite(large).all()
    assert scaled_dot_product_attention(lx.ones((2, 0, 4)), lx.ones((2, 3, 4)), lx.ones((2, 3, 4))).shape == (
        2,
        0,
        4,
    )
    none = scaled_dot_product_attention(lx.ones((2, 3, 4)), lx.ones((2, 0, 4)), lx.ones((2, 0, 4)))
    assert np.all(np.asarray(none) == 0)


def test_leading_axes_broadcast():
    q, k = data(3, 5, 4), data(2, 3, 6, 4, seed=1)
    v = data(1, 3, 6, 4, seed=2)
    y, pull = lx.vjp(scaled_dot_product_attention, q, k, v)
    np.testing.assert_allclose(np.asarray(y), reference(q, k, v), atol=1e-12)
    assert [part.shape for part in pull(y)] == [q.shape, k.shape, v.shape]


def test_half_precision_is_computed_in_single():
    q = data(2, 3, 50, 8, dtype="float16")
    y = scaled_dot_product_attention(q, q, q)
    assert y.dtype == np.float16
    np.testing.assert_allclose(np.asarray(y, np.float64), reference(q, q, q), atol=2e-3)


def test_long_sequences_need_no_square_of_memory():
    """Forward and backward at 8192 steps hold far less than the 256 MiB of the scores."""
    code = """
import luxon as lx
from luxon.functional import scaled_dot_product_attention
q = lx.random.normal(lx.random.key(0), (1, 1, 8192, 16))
def f(q):
    return lx.sum(scaled_dot_product_attention(q, q, q, causal=True) ** 2)
value, slope = lx.value_and_grad(f)(q)
import resource
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(float(value), before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    value, kilobytes = run.stdout.split()
    idle = subprocess.run(
        [
            sys.executable,
            "-c",
            "import luxon, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert np.isfinite(float(value))
    assert int(kilobytes) - int(idle.stdout) < 64 * 1024


def test_refusals_name_every_shape():
    q, k = lx.ones((2, 4, 5, 8)), lx.ones((2, 3, 6, 8))
    for arguments, kind, text in (
        (
            (q, k, k),
            ValueError,
            r"q \(2, 4, 5, 8\), k \(2, 3, 6, 8\), v \(2, 3, 6, 8\) do not fit: the heads of q",
        ),
        ((q, q[..., :7], q), ValueError, "different sizes"),
        ((q, q, q[:, :, :4]), ValueError, "one value for each key"),
        ((q, lx.ones((3, 4, 5, 8)), q), ValueError, "the axes before the heads do not broadcast"),
        ((q[0, 0], q[0, 0], q[0, 0]), ValueError, "expected .* heads, time, dim"),
        ((q, q, q, lx.ones((5, 5))), TypeError, "the mask is of float32, expected bool"),
        ((q, q, q, lx.ones((3, 5), dtype="bool")), ValueError, r"broadcast to the scores, \(2, 4, 5, 5\)"),
        ((q, q, q, None, lx.ones((2, 1, 4, 5, 5))), ValueError, "broadcast to the scores"),
    ):
        with pytest.raises(kind, match=text):
            scaled_dot_product_attention(*arguments)


LAYER = nn.MultiHeadAttention(8, 4, kv_heads=2, use_bias=True)


def by_hand(layer, ps, q, k, v, mask=None):
    def heads(part, weights):
        part = np.asarray(part) @ np.asarray(weights["weight"]).T
        part = part + (np.asarray(weights["bias"]) if layer.use_bias else 0)
        return np.swapaxes(part.reshape(*part.shape[:2], -1, layer.dim // layer.heads), 1, 2)

    y = reference(
        heads(q, ps["q_proj"]), heads(k, ps["k_proj"]), heads(v, ps["v_proj"]), mask, None, layer.causal
    )
    y = np.swapaxes(y, 1, 2).reshape(*q.shape[:2], layer.dim)
    return y @ np.asarray(ps["out_proj"]["weight"]).T + (
        np.asarray(ps["out_proj"]["bias"]) if layer.use_bias else 0
    )


@pytest.mark.parametrize("causal", [False, True])
def test_the_layer_by_hand(causal):
    layer = nn.MultiHeadAttention(8, 4, kv_heads=2, use_bias=True, causal=causal)
    ps, st = nn.setup(0, layer, dtype="float64")
    assert ps.k_proj.weight.shape == (4, 8)
    x, y, z = data(2, 5, 8), data(2, 6, 8, seed=1), data(2, 6, 8, seed=2)
    mask = data(2, 1, 5, 6, seed=3) > -1
    for given_, parts in (
        (x, (x, x, x)),
        ((x, y), (x, y, y)),
        ((x, y, z), (x, y, z)),
        ((x, y, z, mask),) * 2,
    ):
        np.testing.assert_allclose(
            np.asarray(layer(given_, ps, st)[0]), by_hand(layer, ps, *parts), atol=1e-12
        )
    weighing = nn.MultiHeadAttention(8, 4, kv_heads=2, use_bias=True, causal=causal, return_weights=True)
    mask = mask.at[0, 0, 2].set(False)
    (out, weights), _ = weighing((x, y, z, mask), ps, st)
    assert weights.shape == (2, 4, 5, 6)
    np.testing.assert_allclose(np.asarray(out), np.asarray(layer((x, y, z, mask), ps, st)[0]), atol=1e-12)
    sums = np.asarray(lx.sum(weights, axis=-1))
    np.testing.assert_allclose(
        sums, np.where(np.arange(5) == 2, np.array([0.0, 1.0])[:, None], 1)[:, None] + 0 * sums
    )


def test_dropout_of_weights():
    layer = nn.MultiHeadAttention(8, 2, dropout=0.5, return_weights=True)
    ps, st = nn.setup(0, layer)
    x = data(3, 6, 8, dtype="float32")
    (y, weights), after = layer(x, ps, st)
    (again, _same), _ = layer(x, ps, st)
    assert bool(lx.all(y == again)) and bool(lx.any(weights == 0))
    assert not bool(lx.all(layer(x, ps, after)[0][0] == y))
    plain = nn.MultiHeadAttention(8, 2)
    tested, _unchanged = nn.MultiHeadAttention(8, 2, dropout=0.5)(x, ps, nn.testmode(st))
    assert bool(
        lx.all(
            tested == plain(x, {name: ps[name] for name in ps if "proj" in name}, nn.setup(0, plain)[1])[0]
        )
    )
    np.testing.assert_allclose(np.asarray(tested), np.asarray(layer(x, ps, nn.testmode(st))[0][0]), atol=1e-6)
    assert list(nn.setup(0, plain)[1]) == ["q_proj", "k_proj", "v_proj", "out_proj"]


def test_tools_reach_the_projections():
    model = nn.Chain(nn.Dense(3, 8), LAYER)
    ps, st = nn.setup(0, model)
    x = data(2, 5, 3, dtype="float32")
    y = model(x, ps, st)[0]
    paths = []
    nn.layer_map(lambda layer, ps, st, path: (paths.append(path), (layer, ps, st))[1], model, ps, st)
    assert paths == ["model.layer_1", *(f"model.layer_2.{name}_proj" for name in ("q", "k", "v", "out"))]
    assert nn.output_shape(model, (2, 5, 3)) == (2, 5, 8)
    assert [row.path for row in nn.summary(model, (2, 5, 3)).rows][1] == "layer_2.q_proj"
    assert "MultiHeadAttention(8, heads=4, use_bias=True, kv_heads=2)(" in repr(model)
    assert "v_proj: Dense(8 => 4)" in repr(model)
    frozen, fps, fst = nn.freeze(model, ps, st, "layer_2.k_proj")
    assert bool(lx.all(frozen(x, fps, fst)[0] == y))
    assert bool(lx.all(nn.debug_mode(model)(x, ps, st)[0] == y))
    bad = ps.replace({"layer_2.v_proj.weight": ps.layer_2.v_proj.weight.at[0, 0].set(float("nan"))})
    with pytest.raises(nn.NonFiniteError) as caught:
        nn.debug_mode(model)(x, bad, st)
    assert caught.value.location == "model.layer_2.v_proj"
    shared = nn.share_parameters(ps, [["layer_2.k_proj", "layer_2.v_proj"]])
    assert shared.layer_2.k_proj.weight is shared.layer_2.v_proj.weight
    with pytest.raises(ValueError, match=r"layer_2.q_proj: Dense\(8 => 8\) got \(2, 5, 7\)"):
        nn.Chain(nn.NoOpLayer(), LAYER)(lx.ones((2, 5, 7)), ps, st)


def test_sizes_that_do_not_divide_are_refused():
    for arguments, options in (
        ((8, 3), {}),
        ((8, 4), {"kv_heads": 3}),
        ((0, 1), {}),
        ((8, 2), {"dropout": 1.5}),
    ):
        with pytest.raises(ValueError):
            nn.MultiHeadAttention(*arguments, **options)
    ps, st = nn.setup(0, LAYER)
    with pytest.raises(ValueError, match=r"expected \(batch, time, 8\)"):
        LAYER(lx.ones((2, 8)), ps, st)
    with pytest.raises(ValueError, match="got 5"):
        LAYER((lx.ones((2, 3, 8)),) * 5, ps, st)
