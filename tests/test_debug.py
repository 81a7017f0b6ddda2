"""Finding NaN."""

import dataclasses
import logging
import pickle

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


def poisoned_backward():
    f = lx.custom_vjp(lambda x: x * 2.0)
    f.defvjp(lambda x: (x * 2.0, None), lambda residuals, dy: (dy * lx.nan,))
    return nn.WrappedFunction(f)


def net(middle):
    return nn.Chain(body=nn.Chain(nn.Dense(3, 3, lx.tanh), middle), head=nn.Dense(3, 2))


def loss_of(model, st):
    return lambda ps, x: lx.sum(lx.square(model(x, ps, st)[0]))


@settings(max_examples=60, deadline=None)
@given(models)
def test_a_healthy_model_keeps_every_bit(model):
    debug = nn.debug_mode(model, inf_check=True)
    ps, st = nn.setup(0, model)
    assert nn.setup(0, debug)[0] == ps and nn.setup(0, debug)[1] == st
    x = inputs()
    y, after = model(x, ps, st)
    z, debug_after = debug(x, ps, st)
    assert bits(y) == bits(z) and after == debug_after
    grads = lx.grad(loss_of(model, st), (0, 1), unused="none")(ps, x)
    debug_grads = lx.grad(loss_of(debug, st), (0, 1), unused="none")(ps, x)
    assert bits(grads) == bits(debug_grads)


@pytest.mark.parametrize("where", ["body.layer_1", "head"])
def test_a_bad_parameter(where):
    model = net(lx.relu)
    ps, st = nn.setup(0, model)
    ps = ps.replace(f"{where}.weight", ps[f"{where}.weight"].at[1, 2].set(lx.nan))
    with pytest.raises(nn.NonFiniteError) as caught:
        nn.debug_mode(model)(inputs(), ps, st)
    error = caught.value
    assert (error.location, error.place, error.path) == (f"model.{where}", "parameters", "weight")
    assert (error.index, error.count) == ((1, 2), 1)
    assert pickle.loads(pickle.dumps(error)).args == error.args and isinstance(error, FloatingPointError)
    assert lx.NonFiniteError is nn.NonFiniteError


def test_a_bad_input_state_and_operation():
    model = net(nn.BatchNorm(3))
    ps, st = nn.setup(0, model)
    debug = nn.debug_mode(model, name="net")
    bad = inputs().at[2, 1].set(lx.nan)
    for x, states, expected in (
        (bad, st, ("net.body.layer_1", "input", "", (2, 1))),
        (
            inputs(),
            nn.update_state(st, "running_var", lx.asarray([1.0, 1.0, lx.nan])),
            ("net.body.layer_2", "states", "running_var", (2,)),
        ),
    ):
        with pytest.raises(nn.NonFiniteError) as caught:
            debug(x, ps, states)
        assert (caught.value.location, caught.value.place, caught.value.path, caught.value.index) == expected
    model = net(nn.WrappedFunction(lambda x: lx.log(x - 10.0)))
    ps, st = nn.setup(0, model)
    with pytest.raises(nn.NonFiniteError) as caught:
        nn.debug_mode(model)(inputs(), ps, st)
    assert (caught.value.location, caught.value.place, caught.value.count) == (
        "model.body.layer_2",
        "output",
        15,
    )


def test_backward_rules():
    model = net(poisoned_backward())
    ps, st = nn.setup(0, model)
    for ad_place in ("both", "backward"):
        debug = nn.debug_mode(model, nan_check=ad_place)
        debug(inputs(), ps, st)
        with pytest.raises(nn.NonFiniteError) as caught:
            lx.grad(loss_of(debug, st))(ps, inputs())
        assert (caught.value.location, caught.value.place) == ("model.body.layer_2", "outgoing cotangent")
    for check in ("forward", "none"):
        grads = lx.grad(loss_of(nn.debug_mode(model, nan_check=check), st))(ps, inputs())
        assert np.isnan(np.asarray(grads.body.layer_1.weight)).all()


def test_incoming_cotangents():
    model = net(lx.relu)
    ps, st = nn.setup(0, model)
    y, pull = lx.vjp(lambda ps: nn.debug_mode(model)(inputs(), ps, st)[0], ps)
    with pytest.raises(nn.NonFiniteError) as caught:
        pull(lx.full(y.shape, lx.nan))
    assert (caught.value.location, caught.value.place) == ("model.head", "incoming cotangent")


def test_forward_mode_checks_tangents():
    f = lx.custom_jvp(lambda x: x * 2.0)
    f.defjvp(lambda primals, tangents: (primals[0] * 2.0, tangents[0] * lx.nan))
    model = net(nn.WrappedFunction(f))
    ps, st = nn.setup(0, model)
    debug = nn.debug_mode(model)
    ones = tree.map(lx.ones_like, ps)
    with pytest.raises(nn.NonFiniteError) as caught:
        lx.jvp(lambda ps: debug(inputs(), ps, st)[0], (ps,), (ones,))
    assert (caught.value.location, caught.value.place) == ("model.body.layer_2", "outgoing tangent")
    bad = ones.replace("body.layer_1.bias", lx.full((3,), lx.nan))
    with pytest.raises(nn.NonFiniteError) as caught:
        lx.jvp(lambda ps: debug(inputs(), ps, st)[0], (ps,), (bad,))
    assert (caught.value.location, caught.value.place) == ("model.body.layer_1", "incoming tangent")
    assert caught.value.path == "parameters.bias"


def test_nested_differentiation():
    model = net(lx.tanh)
    debug = nn.debug_mode(model)
    ps, st = nn.setup(0, model, dtype="float64")
    x = inputs(dtype="float64")
    direction = tree.map(lx.ones_like, ps)

    def hessian_times(model):
        return lx.jvp(lambda ps: lx.grad(loss_of(model, st))(ps, x), (ps,), (direction,))[1]

    def twice(model):
        def slope(ps):
            grads = lx.grad(loss_of(model, st))(ps, x)
            return sum(lx.sum(leaf) for leaf in tree.leaves(grads))

        return lx.grad(slope)(ps)

    for nested in (hessian_times, twice):
        plain, checked = nested(model), nested(debug)
        assert tree.all_close(plain, checked, rtol=1e-12)
    assert tree.all_close(hessian_times(debug), twice(debug), rtol=1e-9)
    broken = nn.debug_mode(net(poisoned_backward()))
    for nested in (hessian_times, twice):
        with pytest.raises(nn.NonFiniteError) as caught:
            nested(broken)
        assert (caught.value.location, caught.value.place) == ("model.body.layer_2", "outgoing cotangent")


def test_unused_parameters_stay_none():
    model = nn.Chain(nn.Dense(3, 3), nn.WrappedFunction(lambda x: lx.ones_like(x)), nn.Dense(3, 1))
    ps, st = nn.setup(0, model)
    grads = lx.grad(loss_of(nn.debug_mode(model), st), unused="none")(ps, inputs())
    assert grads.layer_1.weight is None and grads.layer_3.weight is not None


def test_infinities():
    model = nn.Chain(nn.WrappedFunction(lambda x: x / 0.0))
    nn.debug_mode(model)(lx.ones(2), {"layer_1": {}}, {"layer_1": {}})
    with pytest.raises(nn.NonFiniteError, match="output"):
        nn.debug_mode(model, inf_check=True)(lx.ones(2), {"layer_1": {}}, {"layer_1": {}})


def test_other_leaves_are_ignored():
    model = nn.Chain(nn.WrappedFunction(lambda x: x["a"]))
    x = {
        "a": lx.ones(2),
        "n": lx.arange(3),
        "flag": True,
        "text": "nan",
        "key": lx.random.key(0),
        "none": None,
    }
    y, _ = nn.debug_mode(model)(x, {"layer_1": {}}, {"layer_1": {}})
    assert y is x["a"]


def test_exceptions_gain_a_note():
    class Mine(Exception):
        pass

    error = Mine("as it was")

    def fail(x):
        raise error

    model = nn.Chain(nn.Dense(3, 2), fail)
    ps, st = nn.setup(0, model)
    with pytest.raises(Mine) as caught:
        nn.debug_mode(model)(inputs(), ps, st)
    assert caught.value is error and str(error) == "as it was"
    assert error.__notes__[0].startswith("debug: model.layer_2: WrappedFunction(fail); input float32 (5, 2)")
    del error.__notes__
    with pytest.raises(Mine):
        nn.debug_mode(model, error_check=False)(inputs(), ps, st)
    assert error.__notes__ == ["in layer layer_2: DebugLayer"]


def test_construction_and_logging(caplog):
    with pytest.raises(ValueError, match="both, forward, backward, none"):
        nn.DebugLayer(nn.NoOpLayer(), nan_check="sometimes")
    with pytest.raises(ValueError):
        nn.debug_mode(nn.NoOpLayer(), nan_check="no")
    debug = nn.debug_mode(nn.debug_mode(nn.Chain(nn.Dense(3, 2))), name="again")
    assert repr(debug).count("DebugLayer") == 1 and debug[0].location == "again.layer_1"
    ps, st = nn.setup(0, debug)
    with caplog.at_level(logging.DEBUG, "luxon.debug"):
        debug(inputs(), ps, st)
    assert "again.layer_1" in caplog.text
    assert nn.output_shape(debug, (5, 3)) == (5, 2)


def test_the_inside_of_frozen_layers_is_checked():
    model, ps, st = nn.freeze(net(lx.relu), *nn.setup(0, net(lx.relu)), "body")
    st = st.replace("frozen_params.body.layer_1.bias", lx.full((3,), lx.nan))
    with pytest.raises(nn.NonFiniteError) as caught:
        nn.debug_mode(model)(inputs(), ps, st)
    assert (caught.value.location, caught.value.place) == ("model.body.layer_1", "parameters")


def objective(model, ps, st, x):
    y, st = model(x, ps, st)
    return lx.mean(lx.square(y)), st, {}


@pytest.mark.parametrize("ad", [lx.AutoTape(), lx.AutoForward(), lx.AutoFiniteDiff()])
def test_locate(ad):
    ts = training.TrainState.create(0, net(lx.relu), optim.SGD(0.1))
    assert training.locate_nonfinite(ad, objective, inputs(), ts) is None
    bad = ts._with(parameters=ts.parameters.replace("head.bias", lx.asarray([0.0, lx.nan])))
    error = training.locate_nonfinite(ad, objective, inputs(), bad)
    assert (error.location, error.place, error.path) == ("model.head", "parameters", "bias")


def test_locate_backward_and_objective():
    ts = training.TrainState.create(0, net(poisoned_backward()), optim.SGD(0.1))
    error = training.locate_nonfinite(lx.AutoTape(), objective, inputs(), ts)
    assert (error.location, error.place) == ("model.body.layer_2", "outgoing cotangent")
    ts = training.TrainState.create(0, net(lx.relu), optim.SGD(0.1))

    def bad(model, ps, st, x):
        loss, st, stats = objective(model, ps, st, x)
        return lx.stop_gradient(loss * lx.nan) + loss, st, stats

    error = training.locate_nonfinite(lx.AutoTape(), bad, inputs(), ts)
    assert (error.location, error.place) == ("objective", "output")

    def infinite(model, ps, st, x):
        loss, st, stats = objective(model, ps, st, x * lx.inf)
        return loss, st, stats

    error = training.locate_nonfinite(lx.AutoTape(), infinite, lx.abs(inputs()) + 1.0, ts)
    assert error is not None


@dataclasses.dataclass(frozen=True)
class Broken(nn.Layer):
    """A layer with a defect in its arithmetic: NaN in the output, or in the gradient only."""

    layer: nn.Layer
    forward: bool

    def initial_parameters(self, key):
        return self.layer.initial_parameters(key)

    def initial_states(self, key):
        return self.layer.initial_states(key)

    def __call__(self, x, ps, st):
        y, st = self.layer(x, ps, st)
        # A recurrent cell gives its carry beside the output.
        return ((self.spoiled(y[0]), *y[1:]) if isinstance(y, tuple) else self.spoiled(y)), st

    def spoiled(self, y):
        if self.forward:
            return lx.where(lx.arange(y.shape[-1]) == 1, lx.nan, y)
        f = lx.custom_vjp(lambda y: y * 1.0)
        f.defvjp(lambda y: (y * 1.0, None), lambda residuals, dy: (dy * lx.nan,))
        return f(y)


def located_at(model, x, ps, st):
    """The error of one step in debug mode, differentiated with respect to everything."""
    loss = loss_of(nn.debug_mode(model), st)
    with pytest.raises(nn.NonFiniteError) as caught:
        lx.grad(loss, (0, 1))(ps, x)
    return caught.value


def first_called(model, ps, st):
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.args[0])
    log = logging.getLogger("luxon.debug")
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.DEBUG)
    try:
        nn.debug_mode(model)(inputs(), ps, st)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    return seen[0]


def floats(trees):
    leaves = dict(zip(tree.paths(trees), tree.leaves(tree.untie(trees)), strict=True))
    return [path for path, leaf in leaves.items() if isinstance(leaf, lx.Tensor) and leaf.dtype.kind == "f"]


@settings(max_examples=60, deadline=None)
@given(models, some.data())
def test_a_planted_nan_is_located(model, data):
    ps, st = nn.setup(0, model)
    where = [("parameters", path) for path in floats(ps)] + [("states", path) for path in floats(st)]
    kind = data.draw(some.sampled_from(["input", "forward", "backward"] + ["tree"] * bool(where)))
    if kind == "tree":
        what, path = data.draw(some.sampled_from(where))
        trees = ps if what == "parameters" else st
        bad = lx.astype(lx.full(trees[path].shape, lx.nan), trees[path].dtype)
        ps, st = (ps.replace(path, bad), st) if what == "parameters" else (ps, st.replace(path, bad))
        error = located_at(model, inputs(), ps, st)
        # Frozen parameters are parameters, and freezing adds nothing to a path.
        parts = path.split(".")
        place = "parameters" if "frozen_params" in parts else what
        names = ".".join(name for name in parts if name not in ("frozen_params", "states"))
        assert (error.place, f"{error.location}.{error.path}") == (place, f"model.{names}")
        return
    if kind == "input":
        error = located_at(model, inputs().at[2, 1].set(lx.nan), ps, st)
        assert (error.place, error.index, error.location) == ("input", (2, 1), first_called(model, ps, st))
        return
    places = []
    nn.layer_map(lambda layer, ps, st, path: (places.append(path), (layer, ps, st))[1], model, ps, st)
    chosen = data.draw(some.sampled_from(places))

    def break_it(layer, ps, st, path):
        return (Broken(layer, kind == "forward") if path == chosen else layer), ps, st

    error = located_at(*nn.layer_map(break_it, model, ps, st)[:1], inputs(), ps, st)
    place = "output" if kind == "forward" else "outgoing cotangent"
    assert (error.location, error.place) == (chosen, place)
    assert kind == "backward" or error.index[-1] == 1


def test_what_a_container_has_of_its_own_is_checked():
    model = nn.Chain(nn.compact(lambda m, x: m.inner(x) * m.scale, inner=nn.Dense(3, 3), scale=lx.ones(3)))
    ps, st = nn.setup(0, model)
    bad = ps.replace("layer_1.scale", lx.asarray([1.0, lx.nan, 1.0]))
    error = located_at(model, inputs(), bad, st)
    assert (error.location, error.place, error.path) == ("model.layer_1", "parameters", "scale")
    bad = ps.replace("layer_1.inner.bias", lx.full((3,), lx.nan))
    assert located_at(model, inputs(), bad, st).location == "model.layer_1.inner"
    f = lx.custom_vjp(lambda x: x * 1.0)
    f.defvjp(lambda x: (x * 1.0, None), lambda residuals, dy: (dy * lx.nan,))
    model = nn.compact(lambda m, x: m.inner(x) * f(m.scale), inner=nn.Dense(3, 3), scale=lx.ones(3))
    error = located_at(model, inputs(), *nn.setup(0, model))
    assert (error.location, error.place, error.path) == ("model", "outgoing cotangent", "parameters.scale")
