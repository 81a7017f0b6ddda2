"""Every rule and what is made of rules: transforms, chains, partitions, schedules, and their state."""

import copy
import pickle

import numpy as np
import pytest

import luxon as lx
from luxon import losses, nn, optim, training
from luxon.optim import schedules

RULES = {
    "SGD": optim.SGD(0.1, momentum=0.9, dampening=0.1),
    "Rprop": optim.Rprop(),
    "RMSProp": optim.RMSProp(momentum=0.5, centered=True),
    "RMSProp plain": optim.RMSProp(),
    "Adam": optim.Adam(),
    "Adam amsgrad": optim.Adam(amsgrad=True, nesterov=True),
    "AdamW": optim.AdamW(),
    "NAdam": optim.NAdam(),
    "RAdam": optim.RAdam(0.1),
    "AdaMax": optim.AdaMax(),
    "AMSGrad": optim.AMSGrad(),
    "AdaGrad": optim.AdaGrad(lr_decay=0.1),
    "AdaDelta": optim.AdaDelta(),
    "ASGD": optim.ASGD(t0=1.0),
    "AdaBelief": optim.AdaBelief(),
    "OAdam": optim.OAdam(),
    "Yogi": optim.Yogi(),
    "Lion": optim.Lion(),
    "Lamb": optim.Lamb(),
    "Lars": optim.Lars(1.0, weight_decay=0.1),
    "NovoGrad": optim.NovoGrad(),
    "Adafactor": optim.Adafactor(),
    "Muon": optim.partition({"**.weight": optim.Muon(), "**": optim.SGD(0.1)}),
    "LBFGS": optim.LBFGS(0.1, history_size=3),
    "SM3": optim.SM3(),
    "Fromage": optim.Fromage(),
    "lookahead": optim.lookahead(optim.Adam(), sync_period=2),
    "lookahead reset": optim.lookahead(optim.Adam(), sync_period=2, reset_state=True),
    "mixed precision": optim.mixed_precision(optim.Adam(), "float64"),
    "chain": optim.chain(
        optim.clip_global_norm(1.0), optim.accumulate(2), optim.ema(0.5), optim.ema(0.9), optim.Adam()
    ),
    "after": optim.chain(optim.SGD(0.1), optim.ema(0.5), optim.weight_decay(0.01, mask="**.weight")),
    "partition": optim.partition(
        {"layer_1": optim.Adam(), "**": optim.chain(optim.clip_norm(1.0), optim.SGD(0.1))}
    ),
    "schedule": optim.Adam(schedules.warmup(schedules.cosine(0.1, 20), 5)),
}
MODEL = nn.Chain(nn.Dense(3, 4, lx.tanh), nn.Dense(4, 2))
DATA = (lx.random.normal(lx.random.key(1), (8, 3)), lx.random.normal(lx.random.key(2), (8, 2)))


def step(ts, donate=False):
    # The half that all rules have; LBFGS would evaluate the objective again in a whole step.
    grads, _, _, ts = training.compute_gradients(lx.AutoTape(), losses.MSELoss(), DATA, ts)
    return training.apply_gradients(ts, grads, donate)


def bits(tree):
    return [
        leaf if not isinstance(leaf, lx.Tensor) else np.asarray(leaf).tobytes()
        for leaf in lx.tree.leaves(tree)
    ]


def both(ts):
    return bits(ts.parameters), bits(ts.optimizer_state), ts.step


def trained(rule, steps, donate=False):
    ts = training.TrainState.create(0, MODEL, rule)
    for _ in range(steps):
        ts = step(ts, donate)
    return ts


every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())


@every_rule
def test_a_resumed_run_has_the_same_bits(rule, tmp_path):
    ts = trained(rule, 3)
    lx.io.save_train_state(tmp_path / "run", ts)
    resumed = lx.io.load_train_state(tmp_path / "run", MODEL, rule)
    assert both(resumed) == both(ts)
    for _ in range(3):
        ts, resumed = step(ts), step(resumed)
    assert both(resumed) == both(ts)


@every_rule
def test_donated_states_give_the_same_bits(rule):
    assert both(trained(rule, 5, donate=True)) == both(trained(rule, 5))


@every_rule
def test_parameters_move_and_the_given_state_does_not(rule):
    ts = trained(rule, 2)
    before = both(ts)
    assert bits(step(step(ts)).parameters) != before[0] and both(ts) == before


@every_rule
def test_leaves_without_a_gradient_are_skipped_completely(rule):
    ts = trained(rule, 2)
    grads, _, _, ts = training.compute_gradients(lx.AutoTape(), losses.MSELoss(), DATA, ts)
    grads = grads.replace("layer_1", lx.tree.map(lambda leaf: None, grads.layer_1))
    new = training.apply_gradients(ts, grads)
    assert bits(new.parameters.layer_1) == bits(ts.parameters.layer_1)
    for name, entry in new.optimizer_state.items():
        assert bits(entry.layer_1) == bits(ts.optimizer_state[name].layer_1), name


@every_rule
def test_values(rule):
    assert pickle.loads(pickle.dumps(rule)) == rule == copy.deepcopy(rule)
    assert hash(rule) == hash(copy.copy(rule))
    namespace = {**vars(optim), **vars(schedules)}
    assert eval(repr(rule), namespace) == rule


@every_rule
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floating_types(rule, dtype):
    ps = lx.tree.cast(nn.setup(0, MODEL)[0], dtype)
    state = optim.setup(rule, ps)
    for _ in range(2):
        ps, state = optim.update(rule, state, ps, lx.tree.map(lambda leaf: leaf * 0.1, ps))
    for leaf in lx.tree.leaves(ps):
        assert leaf.dtype == getattr(lx, dtype)
        assert bool(lx.all(lx.isfinite(leaf)))


def descend(rule, gradients, start=None):
    ps = lx.Tree({"w": lx.asarray(gradients[0] * 0 if start is None else start)})
    state = optim.setup(rule, ps)
    for gradient in gradients:
        ps, state = optim.update(rule, state, ps, lx.Tree({"w": lx.asarray(gradient)}))
    return np.asarray(ps.w)


GRADIENTS = list(np.random.default_rng(0).normal(size=(6, 4, 3)))


def test_accumulated_gradients_are_their_mean():
    means = [sum(GRADIENTS[:3]) / 3, sum(GRADIENTS[3:]) / 3]
    got = descend(optim.chain(optim.accumulate(3), optim.Adam(0.1)), GRADIENTS)
    np.testing.assert_allclose(got, descend(optim.Adam(0.1), means), rtol=1e-14)


def test_steps_count_updates_when_gradients_are_held_back():
    rule = optim.chain(optim.accumulate(2), optim.SGD(schedules.piecewise([1], [1.0, 0.5])))
    ts = training.TrainState.create(0, nn.Scale(1), rule)
    seen = []
    for _ in range(4):
        ts = step_scale(ts)
        seen.append((ts.step, ts.learning_rate))
    assert seen == [(0, 1.0), (1, 0.5), (1, 0.5), (2, 0.5)]


def step_scale(ts):
    return training.apply_gradients(ts, lx.tree.map(lx.ones_like, ts.parameters))


def test_chains_are_associative():
    a, b, c = optim.clip_value(0.5), optim.ema(0.9), optim.Adam(0.1)
    left, right = optim.chain(optim.chain(a, b), c), optim.chain(a, optim.chain(b, c))
    assert left == right == optim.chain(a, b, c)
    assert np.array_equal(descend(left, GRADIENTS), descend(right, GRADIENTS))


def test_chains_of_transforms():
    clipped = [np.clip(g, -0.5, 0.5) for g in GRADIENTS]
    got = descend(optim.chain(optim.clip_value(0.5), optim.SGD(0.1)), GRADIENTS)
    np.testing.assert_allclose(got, descend(optim.SGD(0.1), clipped), rtol=1e-14)
    decayed = descend(optim.chain(optim.weight_decay(0.1), optim.SGD(0.1)), GRADIENTS, GRADIENTS[0])
    np.testing.assert_allclose(
        decayed, descend(optim.SGD(0.1, weight_decay=0.1), GRADIENTS, GRADIENTS[0]), rtol=1e-14
    )
    signs = descend(optim.chain(optim.sign_decay(0.1), optim.SGD(0.1)), GRADIENTS[:1], GRADIENTS[1])
    expected = GRADIENTS[1] - 0.1 * (GRADIENTS[0] + 0.1 * np.sign(GRADIENTS[1]))
    np.testing.assert_allclose(signs, expected, rtol=1e-14)
    # After a rule, a transform works on the step that the rule would make.
    got = descend(optim.chain(optim.Adam(0.1), optim.weight_decay(0.01)), GRADIENTS, GRADIENTS[0])
    np.testing.assert_allclose(
        got, descend(optim.AdamW(0.1, weight_decay=0.1), GRADIENTS, GRADIENTS[0]), rtol=1e-12
    )


def test_averages_of_gradients():
    average, expected = np.zeros((4, 3)), np.zeros((4, 3))
    for t, g in enumerate(GRADIENTS, 1):
        average = 0.8 * average + 0.2 * g
        expected = expected - average / (1 - 0.8**t)
    np.testing.assert_allclose(
        descend(optim.chain(optim.ema(0.8), optim.SGD(1.0)), GRADIENTS), expected, rtol=1e-13
    )


def test_clipping_by_norms():
    norm = np.sqrt(sum((g**2).sum() for g in GRADIENTS))
    ps = lx.Tree({str(i): lx.asarray(g * 0) for i, g in enumerate(GRADIENTS)})
    grads = lx.Tree({str(i): lx.asarray(g) for i, g in enumerate(GRADIENTS)})
    rule = optim.chain(optim.clip_global_norm(1.0), optim.SGD(1.0))
    together, _ = optim.update(rule, optim.setup(rule, ps), ps, grads)
    rule = optim.chain(optim.clip_norm(1.0), optim.SGD(1.0))
    apart, _ = optim.update(rule, optim.setup(rule, ps), ps, grads)
    for i, g in enumerate(GRADIENTS):
        np.testing.assert_allclose(-np.asarray(together[str(i)]), g / (norm + 1e-6), rtol=1e-13)
        np.testing.assert_allclose(-np.asarray(apart[str(i)]), g / (np.linalg.norm(g) + 1e-6), rtol=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize(
    "clip", [optim.clip_global_norm(1.0), optim.clip_norm(1.0), optim.clip_global_norm(1.0, 3)]
)
def test_a_norm_that_is_no_number_is_refused(bad, donate, clip):
    ts = trained(optim.chain(optim.accumulate(1), clip, optim.Adam()), 2)
    before = both(ts)
    grads = lx.tree.map(lambda leaf: leaf * bad, ts.parameters)
    with pytest.raises(ValueError, match=r"norm of the gradient.* nothing was updated"):
        training.apply_gradients(ts, grads, donate)
    assert both(ts) == before


def test_partitions():
    rule = optim.partition({"layer_1.bias": optim.SGD(1.0), "layer_1": optim.SGD(2.0), "**": optim.Adam(0.1)})
    ps, _ = nn.setup(0, MODEL)
    new, state = optim.update(rule, optim.setup(rule, ps), ps, lx.tree.map(lx.ones_like, ps))
    moved = {
        path: float(lx.max(a - b))
        for path, a, b in zip(ps.paths(), lx.tree.leaves(ps), lx.tree.leaves(new), strict=True)
    }
    assert moved == pytest.approx(
        {"layer_1.weight": 2, "layer_1.bias": 1, "layer_2.weight": 0.1, "layer_2.bias": 0.1}, rel=1e-5
    )
    assert state.exp_avg.layer_1.weight is None and state.exp_avg.layer_2.weight is not None
    with pytest.raises(ValueError, match=r'"layer_3" covers no parameter'):
        optim.setup(optim.partition({"layer_3": optim.SGD(1.0), "**": optim.SGD(1.0)}), ps)
    with pytest.raises(ValueError, match=r"no pattern covers layer_2\.weight"):
        optim.setup(optim.partition({"layer_1": optim.SGD(1.0)}), ps)
    with pytest.raises(ValueError, match="covers no parameter"):
        optim.setup(optim.chain(optim.weight_decay(0.1, mask="nothing"), optim.SGD(1.0)), ps)


def test_decay_of_some_parameters():
    rule = optim.chain(optim.weight_decay(1.0, mask=["**.weight"]), optim.SGD(1.0))
    ps = lx.Tree({"weight": lx.ones(2), "bias": lx.ones(2)})
    new, _ = optim.update(rule, optim.setup(rule, ps), ps, lx.tree.map(lx.zeros_like, ps))
    assert new.weight.tolist() == [0, 0] and new.bias.tolist() == [1, 1]


def test_freezing_keeps_compositions():
    rule = optim.partition({"**.bias": optim.SGD(0.1, momentum=0.9), "**": optim.Adam()})
    ts = trained(rule, 2)
    frozen = step(training.freeze(ts, "layer_1"))
    thawed = step(training.unfreeze(frozen))
    assert bits(frozen.states.frozen_params.layer_1) == bits(ts.parameters.layer_1)
    assert thawed.optimizer_state.step.layer_2.weight == 4 and thawed.optimizer_state.step.layer_1.weight == 1


def test_lookahead():
    fast = slow = np.zeros((4, 3))
    for t, g in enumerate(GRADIENTS, 1):
        fast = fast - 0.1 * g
        if t % 2 == 0:
            slow = fast = slow + 0.5 * (fast - slow)
    rule = optim.lookahead(optim.SGD(0.1), sync_period=2, slow_step_size=0.5)
    np.testing.assert_allclose(descend(rule, GRADIENTS), fast, rtol=1e-13)


def test_mixed_precision_keeps_what_rounding_loses():
    ps = lx.Tree({"w": lx.ones(4, dtype="bfloat16")})
    rule = optim.mixed_precision(optim.SGD(1e-3))
    state, grads = optim.setup(rule, ps), lx.Tree({"w": lx.ones(4, dtype="bfloat16")})
    lost, plain = ps, optim.setup(optim.SGD(1e-3), ps)
    for _ in range(100):
        ps, state = optim.update(rule, state, ps, grads)
        lost, plain = optim.update(optim.SGD(1e-3), plain, lost, grads)
    assert state.master.w.dtype == lx.float32 and float(state.master.w[0]) == pytest.approx(0.9, abs=1e-5)
    assert float(ps.w[0]) == pytest.approx(0.9, abs=4e-3) and float(lost.w[0]) == 1.0


def test_schedules_in_rules():
    rate = schedules.linear(0.4, 0.0, 4)
    expected = -sum(lr * g for lr, g in zip([0.4, 0.3, 0.2, 0.1], GRADIENTS[:4], strict=True))
    for lr in (rate, lambda step: 0.4 - 0.1 * step):
        np.testing.assert_allclose(descend(optim.SGD(lr), GRADIENTS[:4]), expected, rtol=1e-12)
    ts = trained(optim.Adam(schedules.exponential(1e-3, 0.5)), 2)
    assert ts.learning_rate == 2.5e-4
    assert training.adjust(ts, schedules.constant(0.3)).learning_rate == 0.3


def test_a_schedule_that_fails_changes_nothing():
    def rate(step):
        if step == 2:
            raise RuntimeError("no more")
        return 0.1

    ts = trained(optim.Adam(rate), 2)
    before = both(ts)
    for donate in (False, True):
        with pytest.raises(RuntimeError, match="no more"):
            step(ts, donate)
        assert both(ts) == before


def test_adjusting_compositions():
    rule = optim.partition(
        {"**.bias": optim.SGD(0.1), "**": optim.chain(optim.clip_norm(1.0), optim.Adam(1e-3))}
    )
    ts = training.TrainState.create(0, MODEL, rule)
    assert training.adjust(ts, 0.5).learning_rate == {"**.bias": 0.5, "**": 0.5}
    assert training.adjust(ts, c=2.0).optimizer.rules[1][1].members[0].c == 2.0
    with pytest.raises(TypeError, match="no setting 'mu'"):
        training.adjust(ts, mu=1.0)
    ts = step(trained(optim.SGD(0.1), 2))
    ts = step(training.adjust(ts, momentum=0.9))
    assert "momentum_buffer" in ts.optimizer_state and ts.step == 4
    around = optim.lookahead(optim.Adam(), sync_period=3)
    assert optim.adjust(around, lr=0.2, sync_period=4) == optim.lookahead(optim.Adam(0.2), sync_period=4)


def test_lbfgs_minimises_through_a_train_state():
    def objective(model, ps, st, data):
        x, y = ps.weight[0], ps.weight[1]
        return (1 - x) ** 2 + 100 * (y - x * x) ** 2, st, {}

    model = nn.Scale(2)
    ps, st = nn.setup(0, model, dtype="float64")
    ps = ps.replace("weight", lx.asarray([-1.2, 1.0], dtype="float64"))
    rule = optim.LBFGS(line_search_fn="strong_wolfe", max_iter=60)
    ts = training.TrainState(model, ps, st, rule)
    grads, loss, _, new = training.single_train_step(lx.AutoTape(), objective, None, ts)
    assert float(loss) == pytest.approx(24.2) and new.step == 1 and ts.step == 0
    np.testing.assert_allclose(np.asarray(new.parameters.weight), [1.0, 1.0], atol=1e-4)
    np.testing.assert_allclose(np.asarray(grads.weight), [-215.6, -88.0], rtol=1e-12)
    with pytest.raises(ValueError, match="line search evaluates the objective again"):
        training.apply_gradients(ts, grads)
    with pytest.raises(ValueError, match="only LBFGS"):
        optim.minimize(optim.SGD(1.0), optim.setup(optim.SGD(1.0), ps), ps, lambda ps: (0.0, ps))


def test_lbfgs_solves_a_quadratic_in_as_many_steps_as_it_has_dimensions():
    matrix = np.diag([1.0, 4.0, 9.0])

    def evaluate(ps):
        return (
            0.5 * lx.sum(ps.x * (lx.asarray(matrix) @ ps.x)),
            lx.Tree({"x": lx.asarray(matrix) @ ps.x}),
        )

    ps = lx.Tree({"x": lx.asarray([1.0, -2.0, 3.0], dtype="float64")})
    rule = optim.LBFGS(line_search_fn="strong_wolfe", max_iter=25, tolerance_change=1e-15)
    ps, _, value = optim.minimize(rule, optim.setup(rule, ps), ps, evaluate)
    assert value == pytest.approx(49.0) and np.abs(np.asarray(ps.x)).max() < 1e-6


def test_integer_leaves_are_not_trained():
    ps = lx.Tree({"w": lx.ones(2), "n": lx.arange(2)})
    rule = optim.lookahead(optim.Adafactor())
    new, state = optim.update(rule, optim.setup(rule, ps), ps, lx.Tree({"w": lx.ones(2), "n": None}))
    assert new.n is ps.n and state.slow.n is None


def test_muon_makes_orthogonal_steps():
    gradient = np.random.default_rng(3).normal(size=(6, 4))
    moved = descend(optim.Muon(1.0, weight_decay=0.0, ns_steps=12), [gradient])
    values = np.linalg.svd(moved / np.sqrt(6 / 4), compute_uv=False)
    assert values.min() > 0.6 and values.max() < 1.3
    with pytest.raises(ValueError, match=r"matrices only.*partition"):
        descend(optim.Muon(), [gradient[0]])


@pytest.mark.parametrize(
    "bad",
    [
        lambda: optim.chain(),
        lambda: optim.partition({}),
        lambda: optim.accumulate(0),
        lambda: optim.accumulate(1.5),
        lambda: optim.ema(1.0),
        lambda: optim.clip_norm(0.0),
        lambda: optim.lookahead(optim.SGD(), sync_period=0),
        lambda: optim.mixed_precision(optim.SGD(), "int32"),
        lambda: optim.Rprop(etas=(1.5, 1.2)),
        lambda: optim.AdaDelta(rho=1.5),
        lambda: optim.Muon(adjust_lr_fn="other"),
        lambda: optim.LBFGS(line_search_fn="other"),
        lambda: optim.Adam(lr=float("nan")),
        lambda: optim.setup(optim.clip_norm(1.0), {"w": lx.ones(2)}),
        lambda: schedules.step(0.1, 0),
        lambda: schedules.join([0.1], [3]),
        lambda: schedules.multi_step(0.1, [3, 2]),
        lambda: schedules.one_cycle(0.1, 10, anneal_strategy="other"),
        lambda: schedules.triangular(0.0, 1.0, 3, mode="other"),
    ],
)
def test_settings_out_of_range(bad):
    with pytest.raises(ValueError):
        bad()


def test_what_is_no_optimiser():
    for bad in (
        lambda: optim.chain(optim.SGD(), lambda g: g),
        lambda: optim.partition({"**": 0.1}),
        lambda: optim.Adam(betas=0.9),
    ):
        with pytest.raises(TypeError):
            bad()


OPTAX = {
    "adabelief": (lambda o: o.adabelief(0.05), optim.AdaBelief(0.05)),
    "oadam": (lambda o: o.optimistic_adam_v2(0.05), optim.OAdam(0.05)),
    "oadam plain": (
        lambda o: o.optimistic_adam_v2(0.05, alpha=0.7, beta=0.2, nesterov=False),
        optim.OAdam(0.05, alpha=0.7, beta=0.2, nesterov=False),
    ),
    "lars": (lambda o: o.lars(0.5, 0.1, nesterov=True), optim.Lars(0.5, weight_decay=0.1, nesterov=True)),
    "novograd": (lambda o: o.novograd(0.05, weight_decay=0.1), optim.NovoGrad(0.05, weight_decay=0.1)),
    "radam": (lambda o: o.radam(0.05, nesterov=True), optim.RAdam(0.05, nesterov=True, corrected_eps=True)),
    "amsgrad": (
        lambda o: o.amsgrad(0.05, bias_correction_mu=False, bias_correction_nu=False),
        optim.AMSGrad(0.05, bias_correction_mu=False, bias_correction_nu=False),
    ),
    "lamb": (
        lambda o: o.lamb(0.05, weight_decay=0.1, eps_root=1e-4),
        optim.Lamb(0.05, weight_decay=0.1, eps_root=1e-4),
    ),
    "chain": (
        lambda o: o.chain(o.clip_by_global_norm(0.5), o.ema(0.8), o.scale(-0.1)),
        optim.chain(optim.clip_global_norm(0.5), optim.ema(0.8), optim.SGD(0.1)),
    ),
}


@pytest.mark.parametrize("name", OPTAX)
def test_against_optax(name):
    jax = pytest.importorskip("jax")
    optax = pytest.importorskip("optax")
    make, rule = OPTAX[name]
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        peer = make(optax)
        ps = jax.numpy.asarray(GRADIENTS[0])
        state = peer.init(ps)
        for gradient in GRADIENTS:
            change, state = peer.update(jax.numpy.asarray(gradient), state, ps)
            ps = optax.apply_updates(ps, change)
        expected = np.asarray(ps)
    # Optax does not add PyTorch's 1e-6 to a norm that clips.
    tolerance = 1e-5 if name == "chain" else 1e-11
    np.testing.assert_allclose(descend(rule, GRADIENTS, GRADIENTS[0]), expected, rtol=tolerance)
