"""Layers written as one function."""

import numpy as np
import pytest

import luxon as lx
from luxon import nn


def test_children_parameters_and_states():
    @nn.compact(dense=nn.Dense(2, 3), scale=nn.param(lx.init.ones, 3), shift=np.zeros(3, np.float32), calls=0)
    def model(m, x):
        m.calls = m.calls + 1
        return m.dense(x) * m.scale + m.shift

    ps, st = nn.setup(0, model)
    assert ps.paths() == ["dense.weight", "dense.bias", "scale", "shift"]
    assert st.calls == 0
    data = lx.ones((4, 2))
    y, after = model(data, ps, st)
    assert np.array_equal(np.asarray(y), np.asarray(nn.Dense(2, 3)(data, ps.dense, {})[0]))
    assert after.calls == 1 and st.calls == 0
    assert repr(model).splitlines()[0] == "model(  # 6 parameters of its own"


def test_state_of_children_is_threaded():
    norm = nn.BatchNorm(3)
    model = nn.compact(lambda m, x: m.norm(m.norm(x)), norm=norm)
    ps, st = nn.setup(0, model)
    data = lx.random.normal(lx.random.key(0), (8, 3))
    y, s = norm(data, ps.norm, st.norm)
    y, s = norm(y, ps.norm, s)
    z, after = model(data, ps, st)
    assert np.array_equal(np.asarray(y), np.asarray(z)) and after.norm == s


def test_nests_of_children():
    def body(m, x):
        for block in m.blocks:
            x = block(x)
        return m.heads["a"](x) + m.heads["b"](x)

    model = nn.compact(
        body, blocks=[nn.Dense(2, 3), nn.BatchNorm(3)], heads={"a": nn.Dense(3, 1), "b": nn.Dense(3, 1)}
    )
    ps, st = nn.setup(0, model)
    assert "blocks.0.weight" in ps and "heads.b.bias" in ps
    y, after = model(lx.ones((4, 2)), ps, st)
    assert y.shape == (4, 1) and after.paths() == st.paths() and after is not st
    assert nn.output_shape(model, (4, 2)) == (4, 1)


def test_mistakes():
    def assign(name):
        def body(m, x):
            setattr(m, name, x)
            return x

        return nn.compact(body, dense=nn.Dense(2, 2), w=nn.param(lx.init.ones, (2,)), s=0)

    for name, message in (
        ("w", "is a parameter"),
        ("dense", "is a layer"),
        ("other", "has no state 'other'"),
    ):
        model = assign(name)
        ps, st = nn.setup(0, model)
        with pytest.raises(AttributeError, match=message):
            model(lx.ones((1, 2)), ps, st)
    model = nn.compact(lambda m, x: m.nothing, s=0)
    with pytest.raises(AttributeError, match="has no field 'nothing'; it has: s"):
        model(1, *nn.setup(0, model))


def test_array_states_and_values():
    model = nn.compact(lambda m, x: x + m.offset, offset=nn.state(np.ones(2, np.float32)))
    ps, st = nn.setup(0, model)
    assert ps.paths() == [] and st.paths() == ["offset"]
    one = nn.Dense(2, 2)

    def f(m, x):
        return m.d(x)

    assert nn.compact(f, d=one) == nn.compact(f, d=one) and hash(nn.compact(f, d=one)) == hash(
        nn.compact(f, d=one)
    )
    assert nn.compact(f, d=one) != nn.compact(f, d=nn.Dense(2, 3))


def test_gradients_and_nesting():
    inner = nn.compact(lambda m, x: m.d(x), d=nn.Dense(2, 2))
    model = nn.Chain(inner, nn.Dense(2, 1))
    ps, st = nn.setup(0, model)
    grads = lx.grad(lambda ps: model(lx.ones((3, 2)), ps, st)[0].sum())(ps)
    assert (
        grads.paths()
        == ps.paths()
        == ["layer_1.d.weight", "layer_1.d.bias", "layer_2.weight", "layer_2.bias"]
    )
    with pytest.raises(ValueError, match=r"layer_1\.d: Dense\(2 => 2\) got \(3, 5\)"):
        model(lx.ones((3, 5)), ps, st)
