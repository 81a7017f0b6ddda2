"""Normalisation layers against NumPy: options, states, errors, and the tools that work on models.

PyTorch's answers are in test_oracle_layers.py, derivatives in test_layer_gradients.py.
"""

import numpy as np
import pytest

import luxon as lx
from luxon import functional, nn, tree

X = np.random.default_rng(0).normal(1.0, 2.0, (4, 6, 5, 3)).astype(np.float32)


def normalised(x, axes, eps=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def close(mine, expected, tolerance=1e-5):
    assert np.allclose(np.asarray(mine), expected, rtol=tolerance, atol=tolerance)


def call(layer, x=X):
    ps, st = nn.setup(0, layer)
    return layer(lx.asarray(x), ps, st)


@pytest.mark.parametrize("affine", [True, False])
def test_definitions(affine):
    grouped = normalised(X.reshape(4, 3, 2, 5, 3), (2, 3, 4)).reshape(X.shape)
    close(call(nn.GroupNorm(6, 3, affine=affine))[0], grouped)
    close(call(nn.GroupNorm(6, 1, affine=affine))[0], normalised(X, (1, 2, 3)))
    close(call(nn.InstanceNorm(6, affine=affine))[0], normalised(X, (2, 3)))
    close(call(nn.BatchNorm(6, affine=affine))[0], normalised(X, (0, 2, 3)))
    close(call(nn.LayerNorm((5, 3), affine=affine))[0], normalised(X, (2, 3)))
    root = np.sqrt((X**2).mean(-1, keepdims=True) + 1e-5)
    close(call(nn.RMSNorm(3, affine=affine))[0], X / root)
    names = ["weight", "bias"] if affine else []
    channels = [
        nn.GroupNorm(6, 3, affine=affine),
        *(kind(6, affine=affine) for kind in (nn.InstanceNorm, nn.BatchNorm)),
    ]
    for layer in (*channels, nn.LayerNorm(3, affine=affine)):
        assert nn.setup(0, layer)[0].paths() == names
    assert nn.setup(0, nn.RMSNorm(3, affine=affine))[0].paths() == names[:1]


def test_weights_and_activations():
    weight, bias = np.arange(1.0, 7.0, dtype=np.float32), np.arange(6.0, dtype=np.float32)
    ps = {"weight": lx.asarray(weight), "bias": lx.asarray(bias)}
    column = (slice(None), None, None)
    for layer, axes in [
        (nn.BatchNorm(6, lx.relu), (0, 2, 3)),
        (nn.InstanceNorm(6, affine=True, activation=lx.relu), (2, 3)),
        (nn.GroupNorm(6, 1, activation=lx.relu), (1, 2, 3)),
    ]:
        expected = np.maximum(normalised(X, axes) * weight[column] + bias[column], 0)
        close(layer(lx.asarray(X), ps, nn.setup(0, layer)[1])[0], expected, 1e-4)
    layer = nn.LayerNorm(3, use_bias=False)
    ps, st = nn.setup(0, layer)
    assert ps.paths() == ["weight"]
    close(layer(lx.asarray(X), ps.replace({"weight": ps.weight * 2}), st)[0], 2 * normalised(X, 3))


@pytest.mark.parametrize("kind", [nn.BatchNorm, nn.InstanceNorm])
def test_running_statistics(kind):
    layer = kind(6, track_stats=True, momentum=0.3)
    ps, st = nn.setup(0, layer)
    assert st.paths() == ["running_mean", "running_var", "training"]
    x = lx.asarray(X)
    _, after = layer(x, ps, st)
    if kind is nn.BatchNorm:
        mean, var = X.mean((0, 2, 3)), X.var((0, 2, 3), ddof=1)
    else:
        mean, var = X.mean((0, 2, 3)), X.var((2, 3), ddof=1).mean(0)
    close(after.running_mean, 0.3 * mean)
    close(after.running_var, 0.7 + 0.3 * var)
    test = nn.testmode(after)
    y, same = layer(x, ps, test)
    assert same is test
    column = (slice(None), None, None)
    seen = np.asarray(after.running_mean)[column], np.asarray(after.running_var)[column]
    close(y, (X - seen[0]) / np.sqrt(seen[1] + 1e-5))
    # Not part of any gradient, and in the dtype that they have.
    slope = lx.grad(lambda x: lx.sum(layer(x, ps, st)[1]["running_var"]))(x)
    assert not np.asarray(slope).any()
    assert (
        layer(lx.asarray(X, dtype=lx.float64), {} if not ps else nn.cast(ps, lx.float64), st)[
            1
        ].running_mean.dtype
        == lx.float32
    )


def test_without_running_statistics():
    layer = nn.BatchNorm(6, track_stats=False)
    ps, st = nn.setup(0, layer)
    assert st.paths() == ["training"]
    y, same = layer(lx.asarray(X), ps, nn.testmode(st))
    close(y, normalised(X, (0, 2, 3)))
    assert nn.setup(0, nn.InstanceNorm(6))[1].paths() == []
    assert same.training is False


def test_errors():
    for layer in (nn.BatchNorm(5), nn.GroupNorm(5, 5), nn.InstanceNorm(5)):
        with pytest.raises(ValueError, match=r"got \(4, 6, 5, 3\), expected \(batch, 5, ...\)"):
            call(layer)
    with pytest.raises(ValueError, match=r"expected \(..., 5\)"):
        call(nn.LayerNorm(5))
    with pytest.raises(ValueError, match="do not divide"):
        nn.GroupNorm(6, 4)
    with pytest.raises(ValueError, match="positive integer"):
        nn.GroupNorm(6, 0)
    with pytest.raises(ValueError, match="channels must be"):
        nn.InstanceNorm(0)
    with pytest.raises(ValueError, match="momentum"):
        nn.BatchNorm(3, momentum=1.5)
    with pytest.raises(ValueError, match="one value per example and channel"):
        call(nn.InstanceNorm(6), X[:, :, :1, :1])
    with pytest.raises(ValueError, match="one value per channel"):
        call(nn.BatchNorm(6), X[:1, :, 0, 0])
    with pytest.raises(TypeError, match="int"):
        call(nn.GroupNorm(6, 2), X.astype(int))


def test_open_sizes_shapes_and_printing():
    model = nn.Chain(nn.GroupNorm(None, 2), nn.InstanceNorm(None, affine=True), nn.BatchNorm(None))
    ps, _ = nn.setup(0, model, x_spec=(4, 6, 5))
    assert ps.layer_1.weight.shape == ps.layer_2.weight.shape == ps.layer_3.weight.shape == (6,)
    assert nn.output_shape(model, (4, 6, 5)) == (4, 6, 5)
    with pytest.raises(ValueError, match="x_spec"):
        nn.setup(0, nn.GroupNorm(None, 2))
    assert repr(nn.GroupNorm(6, 2)).startswith("GroupNorm(6, 2)")
    assert repr(nn.InstanceNorm(6, affine=True)).startswith("InstanceNorm(6, affine=True)")
    row = nn.summary(nn.Chain(nn.GroupNorm(6, 2)), (4, 6, 5)).rows[0]
    assert row.flops == 8 * 4 * 6 * 5
    assert nn.summary(nn.Chain(nn.WeightNorm(nn.Dense(3, 4), "weight")), (5, 3)).rows[0].flops > 5 * 4 * 6


@pytest.mark.parametrize("shape", [(0, 6, 5), (4, 6, 0)])
def test_empty_inputs(shape):
    for layer in (nn.GroupNorm(6, 2), nn.InstanceNorm(6), nn.InstanceNorm(6, track_stats=True)):
        assert call(layer, np.zeros(shape, np.float32))[0].shape == shape


def test_weight_norm():
    inner = nn.Dense(3, 4, lx.tanh)
    layer = nn.WeightNorm(inner, "weight")
    ps, st = nn.setup(0, nn.Chain(layer))[0].layer_1, nn.setup(0, layer)[1]
    plain = nn.setup(0, nn.Chain(inner))[0].layer_1
    assert ps.paths() == ["normalized.weight_g", "normalized.weight_v", "unnormalized.bias"]
    x = lx.asarray(X[0, :, 0, :])
    close(layer(x, ps, st)[0], np.asarray(inner(x, plain, st)[0]), 1e-6)
    v = np.asarray(plain.weight)
    close(ps.normalized.weight_g, np.linalg.norm(v, axis=1, keepdims=True), 1e-6)
    # The length of v is of no account.
    longer = tree.map_with_path(lambda path, leaf: leaf * 7 if path.endswith("_v") else leaf, ps)
    close(layer(x, longer, st)[0], np.asarray(layer(x, ps, st)[0]), 1e-5)
    assert nn.parameter_length(layer) == 4 + 12 + 4
    assert nn.setup(0, nn.WeightNorm(inner, "weight", axis=1))[0].normalized.weight_g.shape == (1, 3)
    assert nn.setup(0, nn.WeightNorm(inner, "weight", axis=None))[0].normalized.weight_g.shape == (1, 1)
    both = nn.setup(0, nn.WeightNorm(inner, ["weight", "bias"]))[0]
    assert both.paths() == [f"normalized.{name}_{part}" for name in ("weight", "bias") for part in "gv"]


def test_weight_norm_of_a_container():
    inner = nn.Chain(nn.Dense(3, 4), nn.BatchNorm(4), nn.Dense(4, 2))
    layer = nn.WeightNorm(inner, "*.weight")
    ps, st = nn.setup(0, layer)
    assert "normalized.layer_1.weight_g" in ps.paths() and "unnormalized.layer_3.bias" in ps.paths()
    y, after = layer(lx.asarray(X[:, :, 0, 0][:, :3]), ps, st)
    expected, _ = inner(lx.asarray(X[:, :, 0, 0][:, :3]), nn.setup(0, inner)[0], st)
    close(y, np.asarray(expected))
    assert after.paths() == st.paths() and after is not st


@pytest.mark.parametrize("names", [("weight_g", "weight_v"), ("original0", "original1")])
def test_weight_norm_from_a_state_dict(names):
    model = nn.Chain(nn.WeightNorm(nn.Dense(3, 4), "weight"), lx.tanh, nn.Dense(4, 2))
    prefix = "0.parametrizations.weight." if names[0] == "original0" else "0."
    g, v = np.arange(1.0, 5.0, dtype=np.float32)[:, None], np.ones((4, 3), np.float32)
    state = {"0.bias": np.zeros(4, np.float32), prefix + names[0]: g, prefix + names[1]: v}
    state |= {"2.weight": np.ones((2, 4), np.float32), "2.bias": np.zeros(2, np.float32)}
    ps, st = lx.io.from_torch(state, model)
    assert ps.paths() == nn.setup(0, model)[0].paths()
    assert np.array_equal(ps.layer_1.normalized.weight_g, g)
    hidden = np.tanh(np.ones((1, 3)) @ (g * v / 3**0.5).T)
    close(model(lx.ones((1, 3)), ps, st)[0], hidden @ np.ones((4, 2)))


def test_weight_norm_errors_and_tools():
    with pytest.raises(ValueError, match="length 0"):
        nn.setup(0, nn.WeightNorm(nn.Dense(3, 4, init_weight=lx.init.zeros), "weight"))
    with pytest.raises(ValueError, match="weigth"):
        nn.WeightNorm(nn.Dense(3, 4), "weigth")
    with pytest.raises(ValueError, match="no axis 2"):
        nn.WeightNorm(nn.Dense(3, 4), "weight", axis=2)
    with pytest.raises(ValueError, match="empty"):
        nn.WeightNorm(nn.Dense(3, 4), ())
    with pytest.raises(TypeError, match="needs a layer"):
        nn.WeightNorm(lx.tanh, "weight")
    open_size = nn.Chain(nn.WeightNorm(nn.Dense(None, 4), "weight"))
    assert nn.setup(0, open_size, x_spec=(2, 3))[0].layer_1.normalized.weight_v.shape == (4, 3)
    layer = nn.WeightNorm(nn.Dense(3, 4), "weight")
    assert layer == nn.WeightNorm(nn.Dense(3, 4), ["weight"]) and hash(layer) == hash(layer)
    assert repr(layer).startswith("WeightNorm(Dense(3 => 4), weight)")
    frozen, ps, st = nn.freeze(layer, *nn.setup(0, layer), "normalized.weight_g")
    x = lx.asarray(X[0, :, 0, :])
    assert np.array_equal(frozen(x, ps, st)[0], layer(x, *nn.setup(0, layer))[0])
    seen = []
    nn.layer_map(lambda layer, ps, st, path: seen.append(path) or (layer, ps, st), layer, *nn.setup(0, layer))
    assert seen == ["model"]


def test_functions():
    x = lx.asarray(X)
    close(functional.group_norm(x, 3), np.asarray(call(nn.GroupNorm(6, 3))[0]))
    close(functional.instance_norm(x), np.asarray(call(nn.InstanceNorm(6))[0]))
