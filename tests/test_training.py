"""Training states and steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import luxon as lx
from luxon import losses, nn, optim, training, tree
from model_strategies import inputs, models

BACKENDS = [lx.AutoTape(), lx.AutoForward(), lx.AutoFiniteDiff()]


def bits(value):
    return [
        np.asarray(leaf).tobytes() if isinstance(leaf, lx.Tensor) else leaf for leaf in tree.leaves(value)
    ]


def objective(model, ps, st, x):
    y, st = model(x, ps, st)
    return lx.mean(lx.square(y)), st, {"mean": lx.stop_gradient(lx.mean(y))}


def state(optimizer=None, model=None, dtype=None):
    model = model or nn.Chain(nn.Dense(3, 8, lx.tanh), nn.BatchNorm(8), nn.Dropout(0.2), nn.Dense(8, 2))
    ps, st = nn.setup(0, model, dtype)
    return training.TrainState(model, ps, st, optimizer or optim.Adam(1e-2))


def test_construction():
    ts = state()
    assert ts.step == 0 and ts.learning_rate == 1e-2
    assert "Chain" in repr(ts) and "Adam" in repr(ts) and "step 0" in repr(ts)
    made = training.TrainState.create(0, ts.model, optim.Adam(1e-2))
    assert made.parameters == ts.parameters and made.states == ts.states
    for bad in ((1, {}, {}, optim.Adam()), (nn.NoOpLayer(), {}, {}, "adam")):
        with pytest.raises(TypeError):
            training.TrainState(*bad)
    with pytest.raises(AttributeError):
        ts.step = 3
    with pytest.raises(AttributeError, match="no attribute 'params'"):
        ts.params  # noqa: B018


@pytest.mark.parametrize("ad", BACKENDS)
def test_compute_gradients(ad):
    ts = state(dtype="float64")
    x = inputs(dtype="float64")
    grads, loss, stats, after = training.compute_gradients(ad, objective, x, ts)
    expected, st, _ = objective(ts.model, ts.parameters, ts.states, x)
    assert float(loss) == float(expected) and after.states == st and after.states != ts.states
    assert (
        after.parameters is ts.parameters and after.optimizer_state is ts.optimizer_state and after.step == 0
    )
    reference = lx.grad(lambda ps: objective(ts.model, ps, ts.states, x)[0])(ts.parameters)
    assert grads.paths() == ts.parameters.paths()
    assert tree.all_close(grads, reference, rtol=1e-6, atol=1e-9)
    assert not loss.is_tracked and not stats["mean"].is_tracked


@settings(max_examples=25, deadline=None)
@given(models)
def test_backends_agree(model):
    ts = state(model=model, dtype="float64")
    x = inputs(dtype="float64", batch=3)
    tape, forward, finite = (training.compute_gradients(ad, objective, x, ts)[0] for ad in BACKENDS)
    for path in ts.parameters.paths():
        one, two = tape[path], forward[path]
        assert (one is None) == (two is None)
        if one is not None:
            assert np.allclose(np.asarray(one), np.asarray(two), rtol=1e-10, atol=1e-12)
            # A difference may straddle a kink of a maximum.
            smooth = "Maxout" not in repr(model)
            assert not smooth or np.allclose(np.asarray(one), np.asarray(finite[path]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("donate", [False, True])
def test_step_is_the_two_halves(donate):
    ts = state()
    x = inputs()
    grads, loss, _stats, mid = training.compute_gradients(lx.AutoTape(), objective, x, ts)
    both = training.apply_gradients(mid, grads)
    again = state()
    grads2, loss2, _, once = training.single_train_step(lx.AutoTape(), objective, x, again, donate=donate)
    assert bits(once.parameters) == bits(both.parameters) and once.step == both.step == 1
    assert bits(once.optimizer_state) == bits(both.optimizer_state) and once.states == both.states
    assert bits(grads) == bits(grads2) and float(loss) == float(loss2)


def test_donation():
    ts = state()
    kept = ts.parameters.layer_1.weight
    held_tree = ts.parameters
    before = bits(held_tree)
    *_, _after = training.single_train_step(lx.AutoTape(), objective, inputs(), ts, donate=True)
    for use in (lambda: ts.parameters, lambda: ts.step, lambda: training.apply_gradients(ts, {})):
        with pytest.raises(lx.DonatedError, match="donated to the next step"):
            use()
    assert "donated" in repr(ts)
    # What the caller still holds is never overwritten.
    assert bits(held_tree) == before and kept is held_tree.layer_1.weight
    reference, donated = state(), state()
    for step in range(5):
        *_, reference = training.single_train_step(lx.AutoTape(), objective, inputs(step), reference)
        *_, donated = training.single_train_step(lx.AutoTape(), objective, inputs(step), donated, donate=True)
    assert bits(reference.parameters) == bits(donated.parameters)
    assert bits(reference.optimizer_state) == bits(donated.optimizer_state)


def test_donation_reuses_memory():
    model = nn.Dense(64, 64)
    ts = state(optim.Adam(), model)
    grads = tree.map(lx.ones_like, ts.parameters)
    ts = training.apply_gradients(ts, grads, donate=True)
    address = np.asarray(ts.parameters.weight).ctypes.data
    ts = training.apply_gradients(ts, grads, donate=True)
    assert np.asarray(ts.parameters.weight).ctypes.data == address


def test_leaves_are_the_same_objects_each_time():
    before = state()
    grads, _, _, after = training.single_train_step(lx.AutoTape(), objective, inputs(), before)
    for ps in (grads, after.parameters, after.optimizer_state):
        leaves = tree.leaves(ps)
        assert all(a is b for a, b in zip(leaves, tree.leaves(ps), strict=True))
        assert all(a is b for a, b in zip(leaves, tree.leaves(lx.Tree(ps)), strict=True))
    bias = after.parameters.replace("layer_1.weight", 0.0).layer_1.bias
    assert bias is after.parameters.layer_1.bias is after.parameters["layer_1.bias"]
    some = grads.replace("layer_1.bias", None)
    skipped = training.apply_gradients(after, some)
    assert skipped.parameters.layer_1.bias is after.parameters.layer_1.bias
    # What was looked at stays what it was when a later step is given the state.
    weight, values = after.parameters.layer_1.weight, bits(after.parameters)
    kept = after.parameters
    training.single_train_step(lx.AutoTape(), objective, inputs(), after, donate=True)
    assert bits(kept) == values and kept.layer_1.weight is weight


def test_none_is_skipped_and_zero_is_not():
    ts = state(optim.AdamW(1e-2, weight_decay=0.1), nn.Chain(nn.Dense(3, 3), nn.Dense(3, 3)))
    zeros = tree.map(lx.zeros_like, ts.parameters)
    grads = zeros.replace("layer_1.weight", None)
    after = training.apply_gradients(ts, grads)
    assert after.parameters.layer_1.weight is ts.parameters.layer_1.weight
    assert after.optimizer_state.step.layer_1.weight == 0 and after.optimizer_state.step.layer_2.weight == 1
    assert bits(after.parameters.layer_2.weight) != bits(ts.parameters.layer_2.weight)
    assert after.step == 1


def test_unused_parameters_are_none():
    model = nn.Chain(nn.Dense(3, 3), nn.Dense(3, 2))
    ts = state(model=model)

    def first_only(model, ps, st, x):
        return lx.sum(model[0](x, ps.layer_1, {})[0]), st, None

    grads, *_ = training.compute_gradients(lx.AutoTape(), first_only, inputs(), ts)
    assert grads.layer_2.weight is None and grads.layer_1.weight is not None
    forward, *_ = training.compute_gradients(lx.AutoForward(), first_only, inputs(), ts)
    assert forward.layer_2.weight is None
    finite, *_ = training.compute_gradients(lx.AutoFiniteDiff(), first_only, inputs(), ts)
    assert not np.asarray(finite.layer_2.weight).any()


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (lambda y, st: (lx.mean(y), st), TypeError, "exactly three; got 2 results"),
        (lambda y, st: lx.mean(y), TypeError, "exactly three; got Tensor"),
        (lambda y, st: (y, st, {}), ValueError, r"scalar tensor \(shape \(\)\), got shape \(5, 2\)"),
        (lambda y, st: (0.5, st, {}), ValueError, "got float"),
    ],
)
def test_wrong_objectives(result, error, message):
    ts = state()

    def wrong(model, ps, st, x):
        y, st = model(x, ps, st)
        return result(y, st)

    before = bits((ts.parameters, ts.states, ts.optimizer_state))
    with pytest.raises(error, match=message):
        training.single_train_step(lx.AutoTape(), wrong, inputs(), ts, donate=True)
    assert bits((ts.parameters, ts.states, ts.optimizer_state)) == before


def test_unknown_backend_and_own_backend():
    ts = state()
    with pytest.raises(TypeError, match="ad must be AutoTape"):
        training.compute_gradients("tape", objective, inputs(), ts)

    class Zeros:
        def value_and_grad(self, function, argument):
            return function(argument), tree.map(lx.zeros_like, argument)

    assert isinstance(Zeros(), training.Backend)
    grads, _loss, *_ = training.compute_gradients(Zeros(), objective, inputs(), ts)
    assert not np.asarray(grads.layer_1.weight).any()


@pytest.mark.parametrize("donate", [False, True])
def test_wrong_gradients_change_nothing(donate):
    ts = state()
    good = tree.map(lx.zeros_like, ts.parameters)
    before = bits((ts.parameters, ts.optimizer_state))
    for bad, message in (
        (good.replace("layer_4.bias", lx.zeros(3)), r"layer_4\.bias: the gradient has shape \(3,?\)"),
        (good.replace("layer_4.bias", lx.zeros(2, dtype="float64")), r"layer_4\.bias.*float64"),
        (lx.Tree(layer_1=good.layer_1), "missing layer_2"),
        ({**good, "other": 1}, "extra other"),
    ):
        with pytest.raises(ValueError, match=message):
            training.apply_gradients(ts, bad, donate=donate)
        assert bits((ts.parameters, ts.optimizer_state)) == before and ts.step == 0


def test_gradients_are_not_overwritten():
    ts = state()
    grads, *_, ts = training.single_train_step(lx.AutoTape(), objective, inputs(), ts, donate=True)
    before = bits(grads)
    for step in range(3):
        *_, ts = training.single_train_step(lx.AutoTape(), objective, inputs(step), ts, donate=True)
    assert bits(grads) == before


def test_integer_leaves_are_not_trained():
    model = nn.compact(lambda m, x: x * m.scale, scale=lx.ones(3), table=lx.arange(4))
    ts = state(model=model)
    for ad in BACKENDS:
        grads, _, _, after = training.single_train_step(ad, objective, inputs(), ts)
        assert grads.table is None and grads.scale is not None
        assert after.parameters.table is ts.parameters.table


def test_adjust():
    ts = state(optim.Adam(1e-2))
    *_, ts = training.single_train_step(lx.AutoTape(), objective, inputs(), ts)
    lower = training.adjust(ts, 1e-4)
    assert lower.learning_rate == 1e-4 and lower.step == 1 and lower.optimizer_state is ts.optimizer_state
    assert training.adjust(ts, betas=(0.8, 0.9)).optimizer.betas == (0.8, 0.9)
    with pytest.raises(TypeError, match="no setting 'momentum'; it has: lr, betas"):
        training.adjust(ts, momentum=0.9)


def test_schedules_count_from_zero():
    seen = []

    def schedule(step):
        seen.append(step)
        return 0.1 / (step + 1)

    ts = state(optim.SGD(schedule), nn.Dense(3, 2))
    for _step in range(3):
        *_, ts = training.single_train_step(lx.AutoTape(), objective, inputs(), ts)
    assert seen == [0, 1, 2] and ts.learning_rate == pytest.approx(0.1 / 4)


def test_losses_are_objectives():
    ts = state(model=nn.Dense(3, 2))
    batch = inputs(), lx.zeros((5, 2))
    _, _loss, stats, ts = training.single_train_step(lx.AutoTape(), losses.MSELoss(), batch, ts)
    assert stats == {} and ts.step == 1


def test_training_learns():
    x = lx.random.uniform(lx.random.key(0), (64, 2), -1.0, 1.0)
    y = lx.expand_dims(x[:, 0] * x[:, 1], axis=1)
    ts = training.TrainState.create(0, nn.Chain(nn.Dense(2, 32, lx.tanh), nn.Dense(32, 1)), optim.Adam(1e-2))
    for _ in range(300):
        _, loss, _, ts = training.single_train_step(lx.AutoTape(), losses.MSELoss(), (x, y), ts)
    assert float(loss) < 1e-2


@settings(max_examples=10, deadline=None)
@given(models, some.integers(0, 3))
def test_an_exception_leaves_everything(model, fail_at):
    ts = state(model=model)
    before = bits((ts.parameters, ts.states, ts.optimizer_state))

    def failing(model, ps, st, x):
        loss, st, stats = objective(model, ps, st, x)
        if fail_at >= 0:
            raise RuntimeError("in the objective")
        return loss, st, stats

    with pytest.raises(RuntimeError, match="in the objective"):
        training.single_train_step(lx.AutoTape(), failing, inputs(), ts, donate=True)
    assert bits((ts.parameters, ts.states, ts.optimizer_state)) == before


def test_create_moves_to_a_device():
    model = nn.Chain(nn.Dense(2, 3), nn.BatchNorm(3), nn.Dropout(0.5))
    here = training.TrainState.create(0, model, optim.SGD(0.1))
    moved = training.TrainState.create(0, model, optim.SGD(0.1), device=lx.cpu())
    assert tree.all_close(moved.parameters, here.parameters, rtol=0, atol=0)
    assert moved.states.layer_2.training is True
