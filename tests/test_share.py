"""Tied parameters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import luxon as lx
from luxon import nn, optim, training, tree
from model_strategies import inputs, models


def model():
    return nn.Chain(nn.Dense(3, 3, lx.tanh), nn.Dense(3, 3, lx.tanh), nn.Dense(3, 3))


def objective(model, ps, st, x):
    y, st = model(x, ps, st)
    return lx.mean(lx.square(y)), st, {}


def data(seed=0):
    return lx.random.normal(lx.random.key(seed), (5, 3))


def test_values_and_structure():
    ps, _ = nn.setup(0, model())
    tied = nn.share_parameters(ps, [["layer_1", "layer_3"], ["layer_2.weight"]])
    assert tied.paths() == ps.paths() and tree.count(tied) == 4
    assert tied.layer_3.weight is tied.layer_1.weight and tied.layer_1.weight is ps.layer_1.weight
    assert tree.ties(ps) == []
    assert "= layer_1.weight" in repr(tied)
    new = lx.zeros((3, 3))
    other = nn.share_parameters(ps, [["layer_1.weight", "layer_2.weight"]], [new])
    assert other.layer_2.weight is new and other.layer_1.weight is new


def test_the_value_is_the_one_before_the_call():
    ps, _ = nn.setup(0, model())
    tied = nn.share_parameters(ps, [["layer_1.weight", "layer_2.weight"], ["layer_2.bias", "layer_1.bias"]])
    assert tied.layer_2.weight is ps.layer_1.weight and tied.layer_1.bias is ps.layer_2.bias


def test_errors():
    ps, _ = nn.setup(0, model())
    share = nn.share_parameters
    for sharing in ([["layer_1", "layer_2"], ["layer_2", "layer_3"]], [["layer_1", "layer_1.weight"]]):
        with pytest.raises(ValueError):
            share(ps, sharing)
    with pytest.raises(KeyError, match=r"layer_1\.weight"):
        share(ps, [["layer_1.wieght", "layer_2.weight"]])
    with pytest.raises(ValueError, match="2 values for 1"):
        share(ps, [["layer_1", "layer_2"]], [lx.zeros(1), lx.zeros(1)])
    with pytest.raises(ValueError, match=r"float32 \(3, 3\) and float32 \(3,\)"):
        share(ps, [["layer_1.weight", "layer_2.bias"]])
    with pytest.raises(ValueError, match="structure"):
        share(ps, [["layer_1", "layer_2.bias"]])
    with pytest.raises(ValueError, match="float64"):
        share(ps, [["layer_1.bias", "layer_2.bias"]], [lx.zeros(3, dtype="float64")])


def test_gradients_are_sums_and_the_optimiser_reads_them_once():
    net = model()
    ps, st = nn.setup(0, net)
    x = data()
    tied = nn.share_parameters(ps, [["layer_1", "layer_3"]])

    def loss(ps):
        return objective(net, ps, st, x)[0]

    apart = lx.grad(loss)(nn.unshare_parameters(tied))
    together = lx.grad(loss)(tied)
    assert together.layer_1.weight is together.layer_3.weight
    expected = np.asarray(apart.layer_1.weight) + np.asarray(apart.layer_3.weight)
    assert np.allclose(np.asarray(together.layer_1.weight), expected, atol=1e-6)
    rule = optim.SGD(1.0)
    new, _ = optim.update(rule, optim.setup(rule, tied), tied, together)
    assert np.array_equal(
        np.asarray(new.layer_3.weight), np.asarray(tied.layer_1.weight - together.layer_1.weight)
    )


def test_by_hand_is_no_tie():
    ps, _ = nn.setup(0, model())
    same = ps.replace("layer_2.weight", ps.layer_1.weight)
    assert same.layer_2.weight is same.layer_1.weight and tree.ties(same) == []


@settings(max_examples=30, deadline=None)
@given(
    some.lists(some.sampled_from(["weight", "bias"]), min_size=1, max_size=2, unique=True), some.booleans()
)
def test_training_keeps_ties(names, donate):
    ts = training.TrainState.create(0, model(), optim.AdamW(1e-2))
    sharing = [[f"layer_1.{name}", f"layer_3.{name}"] for name in names]
    ps = nn.share_parameters(ts.parameters, sharing)
    ts = training.TrainState(ts.model, ps, ts.states, optim.AdamW(1e-2))
    assert tree.count(ts.optimizer_state.exp_avg) == tree.count(ps)
    for step in range(3):
        *_, ts = training.single_train_step(lx.AutoTape(), objective, data(step), ts, donate=donate)
    assert tree.ties(ts.parameters) == tree.ties(ps)
    for name in names:
        assert ts.parameters.layer_1[name] is ts.parameters.layer_3[name]
    for moved in (nn.cast(ts.parameters, lx.float64), lx.to_device(ts.parameters, "cpu")):
        assert tree.ties(moved) == tree.ties(ps)


@settings(max_examples=40, deadline=None)
@given(models, some.data())
def test_ties_in_random_models_are_kept(net, data):
    ps, st = nn.setup(0, net)
    alike = {}
    for path, leaf in zip(ps.paths(), tree.leaves(ps), strict=True):
        alike.setdefault(leaf.shape, []).append(path)
    groups = [paths for paths in alike.values() if len(paths) > 1]
    if not groups:
        return
    chosen = data.draw(some.sampled_from(groups))
    places = data.draw(some.lists(some.sampled_from(chosen), min_size=2, unique=True))
    # A value of its own kind at each place, so that the one that stays is known.
    tied = nn.share_parameters(ps, [places])
    assert all(tied[path] is ps[places[0]] for path in places) and len(tree.ties(tied)) == 1
    assert nn.parameter_length(tied) == nn.parameter_length(ps) - (len(places) - 1) * ps[places[0]].size
    x = inputs()

    def loss(ps):
        return lx.sum(lx.square(net(x, ps, st)[0]))

    apart, together = (lx.grad(loss)(trees) for trees in (nn.unshare_parameters(tied), tied))
    total = sum(np.asarray(apart[path], np.float64) for path in places)
    assert np.allclose(
        np.asarray(together[places[0]]), total, rtol=1e-3, atol=1e-3 * (1 + np.abs(total).max())
    )
    ts = training.TrainState(net, tied, st, optim.AdamW(1e-2))
    for step in range(3):
        *_, ts = training.single_train_step(lx.AutoTape(), objective, inputs(step), ts, donate=step > 0)
    kept = tree.structure(tied)
    assert tree.structure(ts.parameters) == kept == tree.structure(ts.optimizer_state.exp_avg)
    assert all(ts.parameters[path] is ts.parameters[places[0]] for path in places)
    mapped = nn.layer_map(lambda layer, ps, st, path: (layer, ps, st), net, ts.parameters, ts.states)[1]
    assert tree.structure(mapped) == kept
    frozen, fps, fst = nn.freeze(net, ts.parameters, ts.states)
    assert tree.structure(nn.unfreeze(frozen, fps, fst)[1]) == kept


def test_files_keep_ties(tmp_path):
    ps, _ = nn.setup(0, model())
    tied = nn.share_parameters(ps, [["layer_1", "layer_3"]])
    lx.io.save(tmp_path / "m", ps=tied)
    loaded = lx.io.load(tmp_path / "m").ps
    assert loaded == tied and tree.ties(loaded) == tree.ties(tied)


def test_unshare():
    ps, _ = nn.setup(0, model())
    tied = nn.share_parameters(ps, [["layer_1", "layer_3"]])
    apart = nn.unshare_parameters(tied)
    assert tree.ties(apart) == [] and apart == tied
