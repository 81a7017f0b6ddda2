"""Frozen layers, on models and on training states."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import luxon as lx
from luxon import nn, optim, training, tree
from model_strategies import inputs, models


def bits(value):
    return [
        np.asarray(leaf).tobytes() if isinstance(leaf, lx.Tensor) else leaf for leaf in tree.leaves(value)
    ]


def chain():
    return nn.Chain(body=nn.Chain(nn.Dense(3, 4), nn.BatchNorm(4)), head=nn.Dense(4, 2))


def objective(model, ps, st, x):
    y, st = model(x, ps, st)
    return lx.mean(lx.square(y)), st, {}


def test_split_of_the_trees():
    model = chain()
    ps, st = nn.setup(0, model)
    frozen, fps, fst = nn.freeze(model, ps, st, "body.layer_1")
    assert fps.paths() == ["body.layer_2.weight", "body.layer_2.bias", "head.weight", "head.bias"]
    assert list(fst) == ["frozen_params", "states"] and fst.states == st
    assert fst.frozen_params.paths() == ["body.layer_1.weight", "body.layer_1.bias"]
    assert len(fps.body.layer_1) == 0 and len(fst.frozen_params.head) == 0
    # The same from setup, with the values that the layer would have had.
    assert (bits(nn.setup(0, frozen)[0]), nn.setup(0, frozen)[1].paths()) == (bits(fps), fst.paths())
    assert bits(nn.setup(0, frozen)[1].frozen_params) == bits(fst.frozen_params)


def test_everything_and_nothing():
    model = chain()
    ps, st = nn.setup(0, model)
    frozen, fps, _fst = nn.freeze(model, ps, st)
    assert tree.count(fps) == 0 and list(fps) == ["body", "head"]
    assert nn.parameter_length(frozen) == 0 and nn.state_length(frozen) == nn.parameter_length(model) + 8
    with pytest.warns(UserWarning, match="nothing was frozen"):
        same = nn.freeze(model, ps, st, ())
    assert same[0] is model and same[1] is ps and same[2] is st
    with pytest.warns(UserWarning, match="nothing was frozen"):
        assert nn.freeze(model, []) is model
    with pytest.raises(ValueError, match="nothing to freeze"):
        nn.FrozenLayer(model, ())
    assert nn.freeze(nn.NoOpLayer())(1, {}, nn.setup(0, nn.freeze(nn.NoOpLayer()))[1])[0] == 1


def test_forms_of_the_call():
    model = nn.Dense(2, 3)
    ps, st = nn.setup(0, model)
    assert nn.freeze(model, "bias") == nn.freeze(model, which=["bias"]) == nn.FrozenLayer(model, ("bias",))
    assert nn.freeze(model, ps, st, "bias")[1] == nn.freeze(model, ps, st, which="bias")[1]
    assert nn.freeze(model, ps=ps, st=st)[1].paths() == []
    for arguments in ((ps, st, None, 1), ("bias", st)):
        with pytest.raises(TypeError):
            nn.freeze(model, *arguments)
    with pytest.raises(TypeError, match="no argument 'names'"):
        nn.freeze(model, names="bias")
    with pytest.raises(TypeError, match="both ps and st"):
        nn.freeze(model, ps=ps)


def test_unknown_names_list_what_exists():
    model = chain()
    for call in (
        lambda: nn.freeze(model, "boddy"),
        lambda: nn.freeze(model, *nn.setup(0, model), ["head", "boddy"]),
    ):
        with pytest.raises(ValueError, match=r"boddy.* matches nothing.*body"):
            call()
    ts = training.TrainState.create(0, model, optim.SGD(0.1))
    with pytest.raises(ValueError, match=r"head\.wieght.*head\.weight"):
        training.freeze(ts, "head.wieght")


def test_open_sizes():
    model = nn.Chain(nn.Dense(None, 3), nn.freeze(nn.BatchNorm(None), "bias"))
    ps, st = nn.setup(0, model, x_spec=(5, 3))
    frozen, fps, fst = nn.freeze(model, ps, st, "layer_1.weight")
    assert bits(frozen(inputs(), fps, fst)[0]) == bits(model(inputs(), ps, st)[0])
    assert nn.unfreeze(frozen, fps, fst)[1].paths() == ps.paths()
    with pytest.raises(ValueError, match=r"layer_1\.bis"):
        nn.freeze(model, "layer_1.bis")
    assert training.TrainState(model, ps, st, optim.Adam()).parameters is ps
    assert nn.apply(model, inputs(), ps, st)[0].shape == (5, 3)


def test_trees_of_another_model():
    model = chain()
    ps, st = nn.setup(0, model)
    for trees in ((st, ps), (lx.Tree(body=ps.body), st), (ps, lx.Tree(body=st.body))):
        with pytest.raises(ValueError, match=r"freeze: the \w+ do not fit the model"):
            nn.freeze(model, *trees, "body")
    frozen = nn.freeze(model, "body")
    with pytest.raises(ValueError, match="entries frozen_params and states, these have: body, head"):
        nn.unfreeze(frozen, ps, st)


def test_patterns():
    ps, st = nn.setup(0, chain())
    left = nn.freeze(chain(), ps, st, "**.bias")[1]
    assert left.paths() == ["body.layer_1.weight", "body.layer_2.weight", "head.weight"]
    left = nn.freeze(chain(), ps, st, ["body.layer_[1-1]", "{head}"])[1]
    assert left.paths() == ["body.layer_2.weight", "body.layer_2.bias"]


def test_nesting_and_peeling():
    model = chain()
    ps, st = nn.setup(0, model)
    once, ps1, st1 = nn.freeze(model, ps, st, "body")
    twice, ps2, st2 = nn.freeze(once, ps1, st1, "head.bias")
    assert ps2.paths() == ["head.weight"]
    y = inputs()
    assert bits(twice(y, ps2, st2)[0]) == bits(model(y, ps, st)[0])
    back, ps3, st3 = nn.unfreeze(twice, ps2, st2)
    assert back is once and ps3 == ps1 and st3 == st1
    assert nn.unfreeze(back) is model
    with pytest.raises(TypeError, match="needs a frozen layer"):
        nn.unfreeze(model)


def test_frozen_parameters_called_training_are_left_alone():
    @nn.compact(training=nn.param(lx.init.ones, (2,)), drop=nn.Dropout(0.5))
    def model(m, x):
        return m.drop(x) * m.training

    frozen, _, st = nn.freeze(model, *nn.setup(0, model))
    st = nn.testmode(st)
    assert st.frozen_params.training.shape == (2,) and st.states.drop.training is False
    assert frozen(lx.ones(2), {"drop": {}}, st)[0].tolist() == [1.0, 1.0]


def test_casts_and_files_follow(tmp_path):
    _frozen, ps, st = nn.freeze(chain(), *nn.setup(0, chain()), "body")
    assert nn.cast(st, lx.float64).frozen_params.body.layer_1.weight.dtype == np.float64
    lx.io.save(tmp_path / "m", ps=ps, st=st)
    saved = lx.io.load(tmp_path / "m")
    assert saved.ps == ps and saved.st == st


@settings(max_examples=60, deadline=None)
@given(models, some.data())
def test_any_subset_changes_no_output_bit(model, data):
    ps, st = nn.setup(3, model)
    paths = tree.paths(ps)
    which = data.draw(
        some.none() if not paths else some.none() | some.lists(some.sampled_from(paths), min_size=1)
    )
    x = inputs()
    frozen, fps, fst = nn.freeze(model, ps, st, which)
    y, after = model(x, ps, st)
    z, frozen_after = frozen(x, fps, fst)
    assert bits(y) == bits(z) and frozen_after.states == after

    # The gradient of what is left, and of the input, are those of the whole.
    def loss(ps, x):
        return lx.sum(lx.square(model(x, ps, st)[0]))

    def frozen_loss(fps, x):
        return lx.sum(lx.square(frozen(x, fps, fst)[0]))

    whole, dx = lx.grad(loss, (0, 1))(ps, x)
    part, frozen_dx = lx.grad(frozen_loss, (0, 1))(fps, x)
    assert bits(dx) == bits(frozen_dx)
    assert all(bits(whole[path]) == bits(part[path]) for path in part.paths())
    # There and back again.
    back, bps, bst = nn.unfreeze(frozen, fps, fst)
    assert back is model and bps == ps and bps.paths() == ps.paths() and bst == st


@settings(max_examples=25, deadline=None)
@given(models, some.data())
def test_frozen_leaves_stay_bitwise_under_weight_decay(model, data):
    ts = training.TrainState.create(1, model, optim.AdamW(1e-2, weight_decay=0.1))
    paths = ts.parameters.paths()
    if not paths:
        return
    which = data.draw(some.lists(some.sampled_from(paths), min_size=1))
    frozen = training.freeze(ts, which)
    before = bits(frozen.states.frozen_params)
    for step in range(3):
        _, _, _, frozen = training.single_train_step(lx.AutoTape(), objective, inputs(step), frozen)
    assert bits(frozen.states.frozen_params) == before
    thawed = training.unfreeze(frozen)
    assert thawed.step == 3 and thawed.parameters.paths() == paths
    for path in which:
        assert bits(thawed.parameters[path]) == bits(ts.parameters[path])


def test_moments_are_carried():
    ts = training.TrainState.create(0, chain(), optim.Adam(1e-2))
    for step in range(3):
        *_, ts = training.single_train_step(lx.AutoTape(), objective, inputs(step), ts)
    frozen = training.freeze(ts, "body")
    assert frozen.optimizer_state.paths() == [
        f"{slot}.head.{name}" for slot in ("step", "exp_avg", "exp_avg_sq") for name in ("weight", "bias")
    ]
    assert frozen.optimizer_state.exp_avg.head == ts.optimizer_state.exp_avg.head and frozen.step == 3
    *_, frozen = training.single_train_step(lx.AutoTape(), objective, inputs(9), frozen)
    thawed = training.unfreeze(frozen)
    assert (
        thawed.optimizer_state.step.head.weight == 4 and thawed.optimizer_state.step.body.layer_1.weight == 0
    )
    assert not np.asarray(thawed.optimizer_state.exp_avg.body.layer_1.weight).any()
    assert thawed.optimizer_state.exp_avg.paths() == ts.optimizer_state.exp_avg.paths()
    *_, thawed = training.single_train_step(lx.AutoTape(), objective, inputs(9), thawed)
    with pytest.raises(TypeError, match="needs a frozen layer"):
        training.unfreeze(ts)
    with pytest.warns(UserWarning) as caught:
        assert training.freeze(ts, []) is ts
    assert caught[0].filename == __file__


def test_no_gradient_and_no_slot():
    ts = training.freeze(training.TrainState.create(0, chain(), optim.Adam(1e-2)), "body")
    grads, *_ = training.compute_gradients(lx.AutoTape(), objective, inputs(), ts)
    assert grads.paths() == ["head.weight", "head.bias"]
    assert "plus 32 non-trainable" in repr(ts)


def test_no_work_in_the_backward_pass():
    walked = []
    watched = lx.custom_vjp(lambda w: w * 1.0)
    watched.defvjp(lambda w: (w * 1.0, None), lambda residuals, dy: (walked.append(1), (dy,))[1])
    model = nn.Chain(*[nn.compact(lambda m, x: x * watched(m.w), w=nn.param(lx.init.ones, 3))] * 2)
    ps, st = nn.setup(0, model)
    for which, count in ((["layer_1"], 1), (None, 0)):
        frozen, fps, fst = nn.freeze(model, ps, st, which)
        dx = lx.grad(lambda x, frozen=frozen, fps=fps, fst=fst: lx.sum(frozen(x, fps, fst)[0]))(inputs())
        assert bits(dx) == bits(lx.ones((5, 3))) and walked == []
        lx.grad(lambda fps, frozen=frozen, fst=fst: lx.sum(frozen(inputs(), fps, fst)[0]))(fps)
        assert len(walked) == count
        walked.clear()


def test_frozen_ties_stay_tied():
    model = nn.Chain(nn.Dense(3, 3), nn.Dense(3, 3), nn.Dense(3, 3))
    ps, st = nn.setup(0, model)
    ps = nn.share_parameters(ps, [["layer_1", "layer_3"]])
    frozen, fps, fst = nn.freeze(model, ps, st, ["layer_1", "layer_3"])
    assert nn.state_length(fst) == 12
    assert tree.ties(nn.unfreeze(frozen, fps, fst)[1]) == tree.ties(ps)
    with pytest.raises(ValueError, match="tied"):
        nn.freeze(model, ps, st, "layer_1")
