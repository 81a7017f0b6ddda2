"""Recurrent cells, the layers along sequences, and every tool on models with them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import luxon as lx
from luxon import losses, nn, optim, training
from luxon.testing import check_gradients

jax = pytest.importorskip("jax")

CELLS = [
    nn.RNNCell(3, 4),
    nn.RNNCell(3, 4, lx.relu, use_bias=False),
    nn.LSTMCell(3, 4),
    nn.LSTMCell(3, 4, use_bias=False, train_state=True, train_memory=True),
    nn.LSTMCell(3, 4, train_memory=True),
    nn.GRUCell(3, 4, train_state=True),
    nn.GRUCell(3, 4, use_bias=False),
]


@dataclasses.dataclass(frozen=True)
class Stepwise(nn.Wrapper):
    """Hides a cell, so that a recurrence has to call it step by step."""

    layer: nn.Layer

    def __call__(self, x, ps, st):
        return self.layer(x, ps, st)


def data(*shape, seed=0, dtype="float64"):
    return lx.random.normal(lx.random.key(seed), shape, dtype=dtype)


def perturbed(ps):
    """Parameters without zeros, so that trained states count."""
    return lx.tree.map(lambda leaf: leaf + 0.1 * data(*leaf.shape, seed=leaf.size, dtype=leaf.dtype), ps)


def assert_close(a, b, rtol=1e-12):
    for left, right in zip(lx.tree.leaves(a), lx.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(left), np.asarray(right), rtol=rtol, atol=rtol)


@settings(max_examples=40, deadline=None)
@given(
    cell=some.sampled_from(CELLS),
    batch=some.integers(1, 20),
    steps=some.integers(1, 6),
    hidden=some.sampled_from([1, 4, 17]),
    time_major=some.booleans(),
    sequence=some.booleans(),
    seed=some.integers(0, 99),
)
def test_the_fused_sequence_is_the_loop_over_steps(cell, batch, steps, hidden, time_major, sequence, seed):
    cell = dataclasses.replace(cell, out_features=hidden)
    fused, stepwise = (
        nn.Recurrence(inner, return_sequence=sequence, time_major=time_major, return_carry=True)
        for inner in (cell, Stepwise(cell))
    )
    ps, st = nn.setup(seed, fused, dtype="float64")
    ps = perturbed(ps)
    x = data(*((steps, batch) if time_major else (batch, steps)), 3, seed=seed)

    def total(layer):
        def of(ps, x):
            (y, carry), _ = layer(x, ps, st)
            return lx.sum(lx.sin(y)) + sum(lx.sum(part**2) for part in lx.tree.leaves(carry))

        return lx.value_and_grad(of, argnums=(0, 1))(ps, x)

    assert_close(fused(x, ps, st)[0], stepwise(x, ps, st)[0])
    assert_close(total(fused), total(stepwise), 1e-11)


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_derivatives(cell):
    if cell is CELLS[1]:
        cell = dataclasses.replace(cell, activation=lx.tanh)  # A kink has no second difference.
    layer = nn.Recurrence(dataclasses.replace(cell, out_features=2), return_sequence=True, return_carry=True)
    ps, st = nn.setup(0, layer, dtype="float64")
    carry = lx.tree.map(lambda part: part * 0.3, layer(data(2, 3, 3), ps, st)[0][1])
    check_gradients(lambda x, ps, carry: layer((x, carry), ps, st)[0], (data(2, 3, 3), perturbed(ps), carry))


def test_lstm_and_gru_against_jax():
    jnp = jax.numpy

    def lstm(w, x):
        def step(carry, x):
            h, c = carry
            z = x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
            i, f, g, o = jnp.split(z, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[1], w["weight_hh"].shape[1]))
        return jax.lax.scan(step, (zeros, zeros), x)[1]

    def gru(w, x):
        def step(h, x):
            a, b = x @ w["weight_ih"].T + w["bias_ih"], h @ w["weight_hh"].T + w["bias_hh"]
            (ar, az, an), (br, bz, bn) = jnp.split(a, 3, -1), jnp.split(b, 3, -1)
            r, z = jax.nn.sigmoid(ar + br), jax.nn.sigmoid(az + bz)
            h = (1 - z) * jnp.tanh(an + r * bn) + z * h
            return h, h

        return jax.lax.scan(step, jnp.zeros((x.shape[1], w["weight_hh"].shape[1])), x)[1]

    for reference, cell in ((lstm, nn.LSTMCell(5, 20)), (gru, nn.GRUCell(5, 20))):
        layer = nn.Recurrence(cell, return_sequence=True, time_major=True)
        ps, st = nn.setup(1, layer)
        x = data(9, 6, 5, dtype="float32")
        weights = {name: jnp.asarray(np.asarray(leaf)) for name, leaf in ps.items()}
        value, slopes = jax.value_and_grad(lambda w, x: jnp.sum(reference(w, x) ** 2), (0, 1))(  # noqa: B023
            weights, jnp.asarray(np.asarray(x))
        )
        ours, (dps, dx) = lx.value_and_grad(lambda ps, x: lx.sum(layer(x, ps, st)[0] ** 2), (0, 1))(ps, x)  # noqa: B023
        np.testing.assert_allclose(float(ours), float(value), rtol=1e-5)
        for name, leaf in dps.items():
            np.testing.assert_allclose(np.asarray(leaf), slopes[0][name], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(np.asarray(dx), slopes[1], rtol=1e-4, atol=1e-5)


def test_half_precision_is_computed_in_single():
    layer = nn.Recurrence(nn.GRUCell(4, 8), return_sequence=True)
    ps, st = nn.setup(0, layer)
    half = nn.cast(ps, "float16")
    x = data(3, 10, 4, dtype="float16")
    y = layer(x, half, st)[0]
    assert y.dtype == np.float16
    wide = layer(lx.astype(x, "float32"), nn.cast(half, "float32"), st)[0]
    np.testing.assert_allclose(np.asarray(lx.astype(y, "float32")), np.asarray(wide), atol=1e-3)


def test_a_users_cell_and_its_state_go_through_the_steps():
    @dataclasses.dataclass(frozen=True)
    class Counting(nn.Layer):
        def initial_states(self, key):
            return lx.Tree({"calls": 0})

        def __call__(self, x, ps, st):
            x, carry = x if isinstance(x, tuple) else (x, lx.zeros_like(x))
            return (carry + x, carry + x), lx.Tree({"calls": st["calls"] + 1})

    layer = nn.Recurrence(Counting(), return_sequence=True)
    ps, st = nn.setup(0, layer)
    x = data(2, 5, 3)
    y, st = layer(x, ps, st)
    assert_close(y, np.cumsum(np.asarray(x), axis=1))
    assert st.calls == 5
    cell = nn.RNNCell(3, 4, lx.sigmoid)
    ps, st = nn.setup(0, cell)
    x = data(2, 3, dtype="float32")
    (y, _carry), _ = cell((x, lx.ones((2, 4))), ps, st)
    expected = np.asarray(x) @ np.asarray(ps.weight_ih).T + np.asarray(ps.bias_ih) + np.asarray(ps.bias_hh)
    expected = expected + np.asarray(ps.weight_hh).sum(1)
    assert_close(y, 1 / (1 + np.exp(-expected)), 1e-5)


def test_a_carry_continues_a_sequence():
    for cell in (nn.LSTMCell(3, 4), nn.GRUCell(3, 4)):
        layer = nn.Recurrence(cell, return_sequence=True, return_carry=True)
        ps, st = nn.setup(0, layer, dtype="float64")
        x = data(2, 7, 3)
        (whole, last), _ = layer(x, ps, st)
        (head, carry), _ = layer(x[:, :3], ps, st)
        (tail, end), _ = layer((x[:, 3:], carry), ps, st)
        assert_close(lx.concat([head, tail], axis=1), whole)
        assert_close(end, last)
        stateful = nn.StatefulRecurrentCell(cell)
        ps, st = nn.setup(0, stateful, dtype="float64")
        for step in range(7):
            y, st = stateful(x[:, step], ps, st)
            assert_close(y, whole[:, step])
        assert_close(st.carry, last)
        assert list(nn.reset_carry(st).carry) == []
        assert_close(stateful(x[:, 0], ps, nn.reset_carry(st))[0], whole[:, 0])
    with pytest.raises(KeyError, match="carry"):
        nn.reset_carry(nn.setup(0, nn.Dense(2, 2))[1])


def test_bidirectional():
    forward, backward = nn.GRUCell(3, 4), nn.LSTMCell(3, 4)
    x = data(2, 5, 3)
    model = nn.BidirectionalRNN(forward, backward, merge=None)
    ps, st = nn.setup(0, model, dtype="float64")
    ahead, back = model(x, ps, st)[0]
    assert_close(ahead, nn.Recurrence(forward, return_sequence=True)(x, ps.forward, {})[0])
    flipped = nn.Recurrence(backward, return_sequence=True)(lx.flip(x, axis=1), ps.backward, {})[0]
    assert_close(back, lx.flip(flipped, axis=1))
    for merge, expected in (
        ("concat", lx.concat([ahead, back], axis=-1)),
        ("sum", ahead + back),
        ("mean", (ahead + back) / 2),
    ):
        merged = nn.BidirectionalRNN(forward, backward, merge)
        assert_close(merged(x, ps, st)[0], expected)
        turned = nn.BidirectionalRNN(forward, Stepwise(backward), merge, time_major=True)
        assert_close(turned(lx.swapaxes(x, 0, 1), ps, st)[0], lx.swapaxes(expected, 0, 1))
    same = nn.BidirectionalRNN(forward)
    ps, _ = nn.setup(0, same)
    assert not bool(lx.all(ps.forward.weight_ih == ps.backward.weight_ih))


def test_what_does_not_fit_is_refused():
    layer = nn.Recurrence(nn.LSTMCell(3, 4), return_carry=True)
    ps, st = nn.setup(0, layer)
    x = lx.ones((2, 5, 3))
    zeros = lx.zeros((2, 4))
    for wrong, kind, text in (
        (lx.ones((2, 5, 7)), ValueError, r"LSTMCell\(3 => 4\) got \(2, 5, 7\), expected \(..., 3\)"),
        (lx.ones((2, 3)), ValueError, r"got \(2, 3\), expected \(batch, time, ...\)"),
        (lx.ones((2, 0, 3)), ValueError, "a sequence of no steps"),
        (lx.ones((2, 5, 3), dtype="int32"), TypeError, "int32"),
        ((x, zeros), TypeError, "the carry is the pair"),
        ((x, (zeros, lx.zeros((3, 4)))), ValueError, r"a carry of shape \(3, 4\) for input \(2, 5, 3\)"),
    ):
        with pytest.raises(kind, match=text):
            layer(wrong, ps, st)
    with pytest.raises(TypeError, match="the hidden state, a tensor"):
        nn.GRUCell(3, 4)((x[:, 0], (zeros, zeros)), nn.setup(0, nn.GRUCell(3, 4))[0], {})
    with pytest.raises(ValueError, match=r"nn\.Recurrence takes a cell"):
        nn.GRUCell(3, 4)(x, nn.setup(0, nn.GRUCell(3, 4))[0], {})
    with pytest.raises(KeyError, match="has no parameter 'bias_ih'"):
        layer(x, ps.without("bias_ih") if hasattr(ps, "without") else _without(ps, "bias_ih"), st)
    with pytest.raises(ValueError, match="merge"):
        nn.BidirectionalRNN(nn.GRUCell(3, 4), merge="max")
    with pytest.raises(TypeError, match="needs cells"):
        nn.BidirectionalRNN(nn.Recurrence(nn.GRUCell(3, 4)))
    with pytest.raises(ValueError, match="out_features"):
        nn.GRUCell(3, 0)
    with pytest.raises(TypeError, match="is no cell"):
        nn.Recurrence(nn.Dense(3, 4))(x, *nn.setup(0, nn.Dense(3, 4)))
    with pytest.raises(ValueError, match="weight_hh"):
        lx._core.recurrent("gru", x, lx.ones((12, 3)), lx.ones((12, 5)))
    with pytest.warns(UserWarning, match="cast"):
        assert layer(lx.astype(x, "float64"), ps, st)[0][0].dtype == np.float32


def _without(ps, name):
    return {key: leaf for key, leaf in ps.items() if key != name}


def model():
    return nn.Chain(
        rnn=nn.Recurrence(nn.LSTMCell(3, 4), return_sequence=True),
        both=nn.BidirectionalRNN(nn.GRUCell(4, 2)),
        last=nn.SelectDim(1, -1),
        head=nn.Dense(4, 1),
    )


def test_printing_summary_and_shapes():
    text = repr(model())
    assert "rnn: Recurrence(return_sequence=True) of LSTMCell(3 => 4),  # 144 parameters" in text
    assert "forward: GRUCell(4 => 2)" in text
    table = nn.summary(model(), (5, 7, 3))
    assert [row.path for row in table.rows] == ["rnn", "both.forward", "both.backward", "last", "head"]
    assert table.rows[0].flops == 7 * 5 * 2 * 16 * (3 + 4)
    assert nn.output_shape(model(), (5, 7, 3)) == (5, 1)
    stateful = nn.StatefulRecurrentCell(nn.RNNCell(3, 4))
    assert nn.output_shape(stateful, (5, 3)) == (5, 4)
    assert repr(nn.GRUCell(3, 4, use_bias=False)) == "GRUCell(3 => 4, use_bias=False)"
    assert repr(nn.RNNCell(3, 4, lx.relu)) == "RNNCell(3 => 4, relu)"
    open_size = nn.Chain(nn.Recurrence(nn.GRUCell(None, 4)), nn.Dense(4, 2))
    ps, _ = nn.setup(0, open_size, x_spec=(2, 5, 3))
    assert ps.layer_1.weight_ih.shape == (12, 3)


def test_layer_map_and_freezing_inside_recurrences():
    net = nn.Chain(net=model(), cell=nn.NoOpLayer())
    ps, st = nn.setup(0, net)
    seen = []

    def note(layer, ps, st, path):
        seen.append((path, type(layer).__name__))
        return (*nn.freeze(layer, ps, st),) if "GRU" in type(layer).__name__ else (layer, ps, st)

    frozen, fps, fst = nn.layer_map(note, net, ps, st)
    assert seen[:3] == [
        ("model.net.rnn", "LSTMCell"),
        ("model.net.both.forward", "GRUCell"),
        ("model.net.both.backward", "GRUCell"),
    ]
    x = data(2, 5, 3, dtype="float32")
    # A frozen cell takes the same path, to the bit.
    assert bool(lx.all(frozen(x, fps, fst)[0] == net(x, ps, st)[0]))
    assert list(fps.net.both.paths()) == []
    stateful = nn.StatefulRecurrentCell(nn.LSTMCell(3, 4))
    ps, st = nn.setup(0, stateful)
    frozen, fps, fst = nn.layer_map(lambda *four: nn.freeze(*four[:3]), stateful, ps, st)
    y, fst = frozen(x[:, 0], fps, fst)
    y, fst = frozen(x[:, 1], fps, fst)
    _z, st = stateful(x[:, 0], ps, st)
    assert bool(lx.all(y == stateful(x[:, 1], ps, st)[0]))
    assert list(nn.reset_carry(fst).carry) == []


def test_debug_mode_finds_the_cell():
    net = model()
    ps, st = nn.setup(0, net)
    debug = nn.debug_mode(net)
    x = data(2, 5, 3, dtype="float32")
    assert_close(debug(x, ps, st)[0], net(x, ps, st)[0], 1e-5)
    bad = x.at[1, 3, 0].set(float("nan"))
    with pytest.raises(nn.NonFiniteError) as caught:
        debug(bad, ps, st)
    assert (caught.value.location, caught.value.place, caught.value.index) == ("model.rnn", "input", (1, 0))
    ps = ps.replace({"both.backward.weight_hh": ps.both.backward.weight_hh.at[0, 0].set(float("nan"))})
    with pytest.raises(nn.NonFiniteError) as caught:
        debug(x, ps, st)
    assert (caught.value.location, caught.value.place) == ("model.both.backward", "parameters")
    stateful = nn.debug_mode(nn.StatefulRecurrentCell(nn.GRUCell(3, 4)))
    ps, st = nn.setup(0, stateful)
    with pytest.raises(nn.NonFiniteError):
        stateful(bad[:, 3], ps, st)


def test_errors_in_a_cell_say_where():
    ps, st = nn.setup(0, model())
    with pytest.raises(ValueError, match=r"rnn: LSTMCell\(3 => 4\) got"):
        model()(lx.ones((2, 5, 9)), ps, st)


def test_sharing_and_training():
    net = nn.Chain(rnn=nn.BidirectionalRNN(nn.GRUCell(2, 8), merge="sum"), head=nn.Dense(8, 1))
    ps, st = nn.setup(0, net)
    ps = nn.share_parameters(ps, [["rnn.forward", "rnn.backward"]])
    x = data(16, 6, 2, dtype="float32")
    y = lx.sum(x, axis=-1, keepdims=True)
    ts = training.TrainState(net, ps, st, optim.Adam(1e-2))
    first = None
    for _ in range(60):
        _, loss, _, ts = training.single_train_step(lx.AutoTape(), losses.MSELoss(), (x, y), ts)
        first = float(loss) if first is None else first
    assert float(loss) < 0.1 * first
    assert ts.parameters.rnn.forward.weight_ih is ts.parameters.rnn.backward.weight_ih


def test_a_step_computes_the_same_under_every_backend():
    net = nn.Chain(nn.Recurrence(nn.LSTMCell(2, 3)), nn.Dense(3, 1))
    ts = training.TrainState.create(0, net, optim.Adam(1e-2))
    batch = data(4, 5, 2, dtype="float32"), data(4, 1, dtype="float32")
    gradients = [
        training.compute_gradients(ad, losses.MSELoss(), batch, ts)[0]
        for ad in (lx.AutoTape(), lx.AutoForward())
    ]
    assert_close(*gradients, rtol=1e-5)
