"""What a new user's mistakes say: the path, the operation, the shapes, the likely fix; and nothing has changed."""

import dataclasses

import numpy as np
import pytest

import luxon as lx
from luxon import losses, nn, optim, training, tree

MODEL = nn.Chain(body=nn.Chain(nn.Dense(2, 3), nn.BatchNorm(3)), drop=nn.Dropout(0.2), head=nn.Dense(3, 1))
OTHER = nn.Chain(nn.Dense(2, 3), nn.Dense(3, 1))
TS = training.TrainState.create(0, MODEL, optim.Adam(1e-2))
PS, ST = TS.parameters, TS.states
X, Y = lx.ones((4, 2)), lx.zeros((4, 1))
GRADS = tree.map(lx.ones_like, PS)
AD, MSE = lx.AutoTape(), losses.MSELoss()


def step(ad=AD, objective=MSE, data=(X, Y), ts=TS):
    return training.single_train_step(ad, objective, data, ts)


def objective(result):
    return lambda model, ps, st, data: result(lx.mean(model(data[0], ps, st)[0]), st)


def identity(layer, ps, st, path):
    return layer, ps, st


MISTAKES = {
    # Calling a model.
    "input of another size": (
        lambda: MODEL(lx.ones((4, 5)), PS, ST),
        ValueError,
        r"body\.layer_1: Dense\(2 => 3\) got \(4, 5\), expected \(\.\.\., 2\)",
    ),
    "integers into a Dense": (
        lambda: MODEL(lx.ones((4, 2), dtype="int64"), PS, ST),
        TypeError,
        r"body\.layer_1: Dense\(2 => 3\) got int64 input of shape \(4, 2\).*astype",
    ),
    "a number as input": (
        lambda: MODEL(3.0, PS, ST),
        TypeError,
        r"body\.layer_1.*expected a tensor of shape",
    ),
    "ps and st swapped": (
        lambda: nn.apply(MODEL, X, ST, PS),
        ValueError,
        r"missing body\.layer_1\.weight.*extra body\.layer_2\.running_mean.*the order is ps, st",
    ),
    "ps and st swapped, called": (
        lambda: nn.Chain(nn.Dense(2, 3))(X, {"layer_1": {}}, {"layer_1": {}}),
        KeyError,
        r"layer_1: Dense\(2 => 3\) has no parameter 'weight'.*layer\(x, ps, st\)",
    ),
    "st forgotten": (lambda: MODEL(X, PS), TypeError, "missing 1 required positional argument: 'st'"),
    "x and ps swapped": (
        lambda: MODEL(PS, X, ST),
        TypeError,
        r"parameters must be a tree, got Tensor.*x, ps, st",
    ),
    "ps of another model": (
        lambda: MODEL(X, nn.setup(0, OTHER)[0], ST),
        ValueError,
        r"do not fit Chain: missing body\.layer_1\.weight.*; extra layer_1\.weight",
    ),
    "st of another model": (
        lambda: MODEL(X, PS, nn.setup(0, OTHER)[1]),
        ValueError,
        r"the states do not fit Chain: missing body\.layer_2\.running_mean.*extra layer_1, layer_2",
    ),
    "ps of a wider model": (
        lambda: nn.apply(nn.Chain(nn.Dense(2, 5)), X, nn.setup(0, nn.Chain(nn.Dense(2, 3)))[0], {}),
        ValueError,
        r"layer_1\.weight has shape \(3, 2\), expected \(5, 2\)",
    ),
    "ps of a wider layer": (
        lambda: nn.Dense(2, 5)(X, nn.setup(0, nn.Dense(7, 5))[0], {}),
        ValueError,
        r"Dense\(2 => 5\) has a weight of shape \(5, 7\), expected \(5, 2\)",
    ),
    "a part of the parameters": (
        lambda: nn.apply(MODEL, X, {"body": {}}, ST),
        ValueError,
        r"missing .*head\.bias",
    ),
    "one sample in training": (
        lambda: MODEL(lx.ones((1, 2)), PS, ST),
        ValueError,
        r"body\.layer_2: BatchNorm\(3\) got \(1, 3\).*testmode",
    ),
    "a frozen layer with ordinary states": (
        lambda: nn.freeze(MODEL, "body")(X, PS, ST),
        ValueError,
        "frozen_params and states, these have: body, drop, head",
    ),
    "states where there are to be none": (
        lambda: nn.stateless_apply(MODEL, X, PS),
        ValueError,
        r"has states \(body\.layer_2\.running_mean.*use nn\.apply",
    ),
    # Building one.
    "a class as a layer": (lambda: nn.Chain(nn.Dense), TypeError, "got the class Dense; make one"),
    "None as a layer": (lambda: nn.Chain(None), TypeError, "expected a layer or a function, got NoneType"),
    "a negative size": (
        lambda: nn.Dense(2, -1),
        ValueError,
        "out_features must be a positive integer, got -1",
    ),
    "setup's arguments swapped": (lambda: nn.setup(MODEL, 0), TypeError, "setup needs a layer, got int"),
    "an integer dtype": (
        lambda: nn.setup(0, MODEL, "int32"),
        TypeError,
        "must be a floating type, got int32",
    ),
    "an open size": (lambda: nn.setup(0, nn.Dense(None, 2)), ValueError, "in_features is None.*x_spec"),
    "a layer given to compact": (lambda: nn.compact(nn.Dense(2, 2)), TypeError, r"takes a function \(m, x\)"),
    "a state that is nowhere": (
        lambda: nn.update_state(ST, "momentum", 1),
        KeyError,
        "no state is called 'momentum'; there are: key, running_mean",
    ),
    # Freezing, mapping, sharing, debugging.
    "a misspelt name": (
        lambda: training.freeze(TS, "bdy"),
        ValueError,
        '"bdy" matches nothing.*nearest: body',
    ),
    "freeze without st": (lambda: nn.freeze(MODEL, PS), TypeError, r"freeze\(layer, ps, st, which\)"),
    "freeze with swapped trees": (
        lambda: nn.freeze(MODEL, ST, PS, "body"),
        ValueError,
        "the order is ps, st",
    ),
    "a position as a name": (lambda: nn.freeze(MODEL, 1), TypeError, "which must be a name"),
    "unfreezing what is not frozen": (
        lambda: training.unfreeze(TS),
        TypeError,
        "needs a frozen layer, got Chain",
    ),
    "layer_map's arguments swapped": (
        lambda: nn.layer_map(MODEL, identity, PS, ST),
        TypeError,
        "layer_map needs a layer, got function",
    ),
    "layer_map forgets the states": (
        lambda: nn.layer_map(lambda layer, ps, st, path: (layer, ps, {}), MODEL, PS, ST),
        ValueError,
        r"states returned for model\.body\.layer_2 do not fit BatchNorm\(3\): missing running_mean",
    ),
    "a function of three arguments": (
        lambda: nn.layer_map(lambda layer, ps, st: (layer, ps, st), MODEL, PS, ST),
        TypeError,
        "takes 3 positional arguments but 4 were given",
    ),
    "sharing leaves of different shapes": (
        lambda: nn.share_parameters(PS, [["body.layer_1.weight", "head.weight"]]),
        ValueError,
        r"body\.layer_1\.weight and head\.weight differ: float32 \(3, 2\) and float32 \(1, 3\)",
    ),
    "sharing a list of paths": (
        lambda: nn.share_parameters(PS, ["body.layer_1", "head"]),
        TypeError,
        "list of lists of paths",
    ),
    "sharing a misspelt path": (
        lambda: nn.share_parameters(PS, [["body.layer_3.bias", "head.bias"]]),
        KeyError,
        r"nearest: body\.layer_",
    ),
    "debugging parameters": (lambda: nn.debug_mode(PS), TypeError, "debug_mode needs a layer, got Tree"),
    # Training.
    "ps of another model in a TrainState": (
        lambda: training.TrainState(MODEL, nn.setup(0, OTHER)[0], ST, optim.Adam()),
        ValueError,
        r"TrainState: the parameters do not fit the model: missing body\.layer_1\.weight",
    ),
    "NumPy parameters": (
        lambda: training.TrainState(
            nn.Scale(2), {"weight": np.ones(2), "bias": lx.zeros(2)}, {}, optim.Adam()
        ),
        TypeError,
        r"parameter weight is of ndarray.*luxon\.asarray",
    ),
    "an optimiser's class": (lambda: training.TrainState(MODEL, PS, ST, optim.Adam), TypeError, "optim"),
    "a rate that is no number": (lambda: optim.Adam(float("nan")), ValueError, "lr"),
    "an unknown setting": (
        lambda: training.adjust(TS, learning_rate=1.0),
        TypeError,
        "learning_rate.*lr, betas",
    ),
    "a backend's class": (
        lambda: step(lx.AutoTape),
        TypeError,
        r"the class AutoTape; make one: AutoTape\(\)",
    ),
    "a backend by name": (lambda: step("tape"), TypeError, r"ad must be AutoTape\(\)"),
    "data and state swapped": (
        lambda: training.compute_gradients(AD, MSE, TS, (X, Y)),
        TypeError,
        r"must be a TrainState, got tuple.*compute_gradients\(ad, objective, data, ts\)",
    ),
    "gradients and state swapped": (
        lambda: training.apply_gradients(GRADS, TS),
        TypeError,
        r"must be a TrainState, got Tree.*apply_gradients\(ts, grads\)",
    ),
    "a loss's class": (
        lambda: step(objective=losses.MSELoss),
        TypeError,
        r"objective must be a function.*MSELoss",
    ),
    "stats before states": (
        lambda: step(objective=objective(lambda loss, st: (loss, {"loss": 1}, st))),
        ValueError,
        r"\(loss, st, stats\) with the new states second; they have the entries loss",
    ),
    "no states": (
        lambda: step(objective=objective(lambda loss, st: (loss, None, {}))),
        TypeError,
        "the new states second, got NoneType",
    ),
    "a loss that left the graph": (
        lambda: step(objective=objective(lambda loss, st: (float(loss), st, {}))),
        ValueError,
        "scalar tensor.*got float; compute it",
    ),
    "NumPy within the objective": (
        lambda: step(objective=objective(lambda loss, st: (lx.asarray(np.asarray(loss)), st, {}))),
        TypeError,
        "stop_gradient",
    ),
    "targets of another shape": (
        lambda: step(data=(X, lx.zeros((4, 2)))),
        ValueError,
        r"prediction \(4, 1\) and target \(4, 2\)",
    ),
    "a gradient is missing": (
        lambda: training.apply_gradients(TS, {**GRADS, "head": {"weight": GRADS.head.weight}}),
        ValueError,
        r"missing head\.bias",
    ),
    "a gradient of another shape": (
        lambda: training.apply_gradients(TS, GRADS.replace("head.bias", lx.ones(4))),
        ValueError,
        r"head\.bias: the gradient has shape \(4,\).*the parameter \(1,\)",
    ),
    "the gradient of an integer": (
        lambda: lx.grad(lambda x: x * 1.0)(3),
        TypeError,
        "int64.*cannot be differentiated",
    ),
    "differences of an integer": (
        lambda: lx.vector_jacobian_product(lambda x: x * 1.0, lx.AutoFiniteDiff(), lx.asarray(3), 1.0),
        TypeError,
        "int64 cannot be differentiated",
    ),
}


def bits():
    leaves = tree.leaves((TS.parameters, TS.states, TS.optimizer_state))
    return [np.asarray(leaf).tobytes() if isinstance(leaf, lx.Tensor) else leaf for leaf in leaves]


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_helps_and_nothing_changes(name):
    call, kind, message = MISTAKES[name]
    before = bits()
    with pytest.raises(kind, match=message):
        call()
    assert bits() == before and TS.step == 0


def test_a_donated_state_is_named():
    ts = training.TrainState.create(0, OTHER, optim.SGD(0.1))
    step(ts=ts)
    training.single_train_step(AD, MSE, (X, Y), ts, donate=True)
    for use in (
        lambda: step(ts=ts),
        lambda: training.freeze(ts),
        lambda: training.adjust(ts, 0.1),
        lambda: ts.step,
    ):
        with pytest.raises(lx.DonatedError, match=r"took its memory.*the state that the step returned"):
            use()


@dataclasses.dataclass(frozen=True)
class Twice(nn.Container):
    """A user's container: one layer in two places, a list, and no thought of errors."""

    first: nn.Layer
    second: nn.Layer
    rest: list

    def __call__(self, x, ps, st):
        for layer, name in ((self.first, "first"), (self.second, "second")):
            x, _ = layer(x, ps[name], st[name])
        return self._rest(x, ps, st), st

    def _rest(self, x, ps, st):
        for position, layer in enumerate(self.rest):
            x, _ = layer(x, ps["rest"][str(position)], st["rest"][str(position)])
        return x


def test_errors_in_a_users_container_have_the_whole_path():
    dense, wide = nn.Dense(2, 2), nn.Dense(9, 2)
    for model, path in (
        (Twice(wide, dense, []), "first"),
        (Twice(dense, nn.Chain(a=dense, b=wide), []), "second.b"),
        (Twice(dense, dense, [dense, nn.SkipConnection(wide, lx.add)]), "rest.1"),
        (Twice(Twice(dense, dense, [wide]), dense, []), "first.rest.0"),
    ):
        for outer, root in ((model, ""), (nn.Chain(net=model), "net.")):
            ps, st = nn.setup(0, outer)
            with pytest.raises(ValueError) as caught:
                outer(X, ps, st)
            assert str(caught.value).startswith(f"{root}{path}: Dense(9 => 2) got (4, 2)")
    # One layer in two places: the parameters tell which place it was.
    model = Twice(dense, dense, [])
    ps, st = nn.setup(0, model)
    with pytest.raises(ValueError, match=r"^second: Dense"):
        model(X, ps.replace("second.weight", lx.ones((2, 7))), st)
    # What the container does itself is not a child's fault.
    with pytest.raises(KeyError) as own:
        model(X, {"first": ps.first}, st)
    assert not getattr(own.value, "__notes__", [])


def test_exceptions_of_a_mapped_function_say_where():
    def fail(layer, ps, st, path):
        return layer, ps, (st if path != "model.head" else 1 / 0)

    with pytest.raises(ZeroDivisionError) as caught:
        nn.layer_map(fail, MODEL, PS, ST)
    assert caught.value.__notes__ == ["layer_map: at model.head, Dense(3 => 1)"]
