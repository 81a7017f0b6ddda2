"""Containers, wrappers and the layer contract."""

import copy
import dataclasses
import pickle
import typing
import warnings

import numpy as np
import pytest
from hypothesis import given, settings

import luxon as lx
from luxon import nn, tree
from model_strategies import models


def setup(model, seed=0, **keywords):
    return nn.setup(seed, model, **keywords)


def x(*shape):
    return lx.random.normal(lx.random.key(7), shape)


def bits(value):
    return np.asarray(value).tobytes()


def test_chain_names_indexing_and_slices():
    model = nn.Chain(nn.Dense(2, 3), [lx.relu, [nn.Dense(3, 4)]], name="net")
    assert list(model.inner()) == ["layer_1", "layer_2", "layer_3"]
    assert model[0] == nn.Dense(2, 3)
    assert model.layer_3 is model[-1] is model["layer_3"]
    part = model[1:]
    assert list(part.inner()) == ["layer_2", "layer_3"]
    ps, st = setup(model)
    y, _ = part(x(5, 3), ps, st)
    assert y.shape == (5, 4)
    assert len(model) == 3 and [type(layer).__name__ for layer in model] == [
        "Dense",
        "WrappedFunction",
        "Dense",
    ]
    with pytest.raises(AttributeError, match="no attribute or child"):
        model.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="immutable"):
        model.name = "other"


class Doubled(nn.Dense):
    """A dense layer with a call of its own."""

    def __call__(self, x, ps, st):
        y, st = super().__call__(x, ps, st)
        return 2 * y, st


def test_a_chain_calls_dense_layers_as_they_are():
    plain, double = (kind(3, 4, lx.tanh) for kind in (nn.Dense, Doubled))
    ps, st = setup(plain)
    for layer, weight in ((plain, ps.weight), (double, ps.weight), (plain, np.asarray(ps.weight))):
        model, own = nn.Chain(inner=layer), ps.replace(weight=weight)
        for trees in (lx.Tree(inner=own), {"inner": {"weight": weight, "bias": ps.bias}}):
            y, new = model(x(2, 3), trees, lx.Tree(inner=st))
            assert bits(y) == bits(layer(x(2, 3), own, st)[0]) and new == lx.Tree(inner=st)
    # The parameters are found in a tree of several layers, tied ones and a part of a larger tree among them.
    model = nn.Chain(plain, nn.Dense(4, 4, lambda x: x / 2), nn.Dense(4, 4), nn.Dense(4, 4, use_bias=False))
    ps, st = setup(model)
    tied = nn.share_parameters(ps, [["layer_4.weight", "layer_2.weight"], ["layer_3.bias", "layer_1.bias"]])
    for own in (ps, tied, lx.Tree(first=setup(double)[0], second=tied).second):
        y = x(2, 3)
        for name, layer in model.children().items():
            y, _ = layer(y, own[name], st[name])
        assert bits(model(x(2, 3), own, st)[0]) == bits(y)
    ps, st = setup(plain)
    for copied in (pickle.loads(pickle.dumps(nn.Chain(double))), copy.deepcopy(nn.Chain(double))):
        assert bits(copied(x(2, 3), {"layer_1": ps}, {"layer_1": st})[0]) == bits(double(x(2, 3), ps, st)[0])


def test_empty_chain_is_the_identity():
    data = x(2, 3)
    y, st = nn.Chain()(data, {}, {})
    assert y is data and st == {}


def test_named_children():
    model = nn.Chain(body=nn.Dense(2, 3), head=lx.relu)
    ps, _st = setup(model)
    assert ps.paths() == ["body.weight", "body.bias"]
    assert ps == setup(nn.Chain({"body": nn.Dense(2, 3), "head": lx.relu}))[0]
    with pytest.raises(TypeError, match="position or by keyword"):
        nn.Chain(nn.Dense(2, 2), head=nn.Dense(2, 2))
    with pytest.raises(TypeError, match="layer or a function"):
        nn.Chain(3)


def test_unchanged_state_is_the_given_tree():
    model = nn.Chain(nn.Dense(2, 3), nn.Parallel(None, lx.relu, nn.Dense(3, 3)), nn.NoOpLayer())
    ps, st = setup(model)
    assert model(x(4, 2), ps, st)[1] is st
    norm = nn.Chain(nn.Dense(2, 3), nn.BatchNorm(3))
    ps, st = setup(norm)
    after = norm(x(4, 2), ps, st)[1]
    assert after is not st and after.paths() == st.paths()
    st = nn.testmode(st)
    assert norm(x(4, 2), ps, st)[1] is st


def test_initial_values_depend_on_the_path_alone():
    one = setup(nn.Chain(a=nn.Dense(2, 3), b=nn.Dense(3, 1)))[0]
    more = setup(nn.Chain(a=nn.Dense(2, 3), extra=nn.Dense(3, 3), b=nn.Dense(3, 1)))[0]
    assert bits(one.a.weight) == bits(more.a.weight) and bits(one.b.weight) == bits(more.b.weight)
    double = setup(nn.Chain(a=nn.Dense(2, 3), b=nn.Dense(3, 1)), dtype=lx.float64)[0]
    assert np.allclose(np.asarray(double.a.weight), np.asarray(one.a.weight))
    assert double.a.weight.dtype == np.float64


def test_rng_kinds():
    key = setup(nn.Dense(2, 3), lx.random.key(5))[0]
    seed = setup(nn.Dense(2, 3), 5)[0]
    assert bits(key.weight) == bits(seed.weight)
    generator = np.random.default_rng(0)
    first, second = setup(nn.Dense(2, 3), generator)[0], setup(nn.Dense(2, 3), generator)[0]
    assert bits(first.weight) != bits(second.weight)
    # One draw each, whatever the model's size.
    other = np.random.default_rng(0)
    other.integers(0, 2**63, size=2)
    assert generator.bit_generator.state == other.bit_generator.state
    for bad in (1.5, True, None):
        with pytest.raises(TypeError, match="rng must be"):
            setup(nn.Dense(2, 3), bad)


def test_dicts_do_as_trees():
    model = nn.Chain(nn.Dense(2, 3), nn.BatchNorm(3), nn.Dropout(0.5))
    ps, st = setup(model)

    def plain(tree):
        return {k: plain(v) if isinstance(v, lx.Tree) else v for k, v in tree.items()}

    y, after = model(x(4, 2), ps, st)
    z, plain_after = model(x(4, 2), plain(ps), plain(st))
    assert bits(y) == bits(z)
    assert isinstance(plain_after, dict) and lx.Tree(plain_after) == after


def test_parallel():
    model = nn.Parallel(lx.add, nn.Dense(2, 3), nn.Dense(4, 3))
    ps, st = setup(model)
    a, b = x(5, 2), x(5, 4)
    y, _ = model((a, b), ps, st)
    expected = nn.Dense(2, 3)(a, ps.layer_1, {})[0] + nn.Dense(4, 3)(b, ps.layer_2, {})[0]
    assert bits(y) == bits(expected)
    with pytest.raises(ValueError, match="tuple of 3 inputs for 2 layers"):
        model((a, b, a), ps, st)
    both = nn.Parallel(None, lx.relu, lx.tanh)(a, *setup(nn.Parallel(None, lx.relu, lx.tanh)))[0]
    assert len(both) == 2


def test_layers_as_connection_and_fusion():
    bilinear = nn.Bilinear((3, 3), 2)
    model = nn.Parallel(bilinear, nn.Dense(2, 3), nn.Dense(2, 3))
    ps, st = setup(model)
    assert list(ps) == ["layer_1", "layer_2", "connection"]
    assert model(x(5, 2), ps, st)[0].shape == (5, 2)
    branch = nn.BranchLayer(nn.Dense(2, 3), nn.Dense(2, 3), fusion=bilinear)
    ps, st = setup(branch)
    assert list(ps) == ["layer_1", "layer_2", "fusion"]
    assert branch(x(5, 2), ps, st)[0].shape == (5, 2)
    skip = nn.SkipConnection(nn.Dense(3, 3), bilinear)
    ps, st = setup(skip)
    assert list(ps) == ["layer", "connection"]
    assert skip(x(5, 3), ps, st)[0].shape == (5, 2)
    with pytest.raises(ValueError, match="cannot be called 'connection'"):
        nn.Parallel(lx.add, connection=nn.Dense(2, 3))


def test_pairwise_fusion():
    model = nn.PairwiseFusion(lx.add, nn.Dense(2, 2), nn.Dense(2, 2))
    ps, st = setup(model)
    a, b, c = x(5, 2), x(5, 2) * 2, x(5, 2) * 3
    y = nn.Dense(2, 2)(a, ps.layer_1, {})[0] + b
    y = nn.Dense(2, 2)(y, ps.layer_2, {})[0] + c
    assert bits(model((a, b, c), ps, st)[0]) == bits(y)
    same = model((a, a, a), ps, st)[0]
    assert bits(model(a, ps, st)[0]) == bits(same)
    with pytest.raises(ValueError, match="needs 3 inputs"):
        model((a, b), ps, st)


def test_skip_repeat_maxout():
    skip = nn.SkipConnection(nn.Dense(3, 3), lx.add)
    ps, st = setup(skip)
    assert ps.paths() == ["weight", "bias"]
    data = x(5, 3)
    inner = nn.Dense(3, 3)(data, ps, st)[0]
    assert bits(skip(data, ps, st)[0]) == bits(inner + data)

    repeated = nn.RepeatedLayer(nn.Dense(3, 3, lx.tanh), repeats=3)
    ps, st = setup(repeated)
    y = data
    for _ in range(3):
        y = nn.Dense(3, 3, lx.tanh)(y, ps, st)[0]
    assert bits(repeated(data, ps, st)[0]) == bits(y)
    assert nn.RepeatedLayer(nn.Dense(3, 3), 0)(data, ps, st)[0] is data
    injected = nn.RepeatedLayer(nn.Parallel(lx.add, nn.Dense(3, 3), nn.NoOpLayer()), 2, input_injection=True)
    ps, st = setup(injected)
    y = nn.Dense(3, 3)(data, ps.layer_1, {})[0] + data
    y = nn.Dense(3, 3)(y, ps.layer_1, {})[0] + data
    assert bits(injected(data, ps, st)[0]) == bits(y)

    maxout = nn.Maxout(lambda: nn.Dense(3, 2), 3)
    ps, st = setup(maxout)
    each = [np.asarray(nn.Dense(3, 2)(data, ps[f"layer_{i}"], {})[0]) for i in (1, 2, 3)]
    assert np.array_equal(np.asarray(maxout(data, ps, st)[0]), np.max(each, axis=0))


def test_repeated_layer_threads_its_state():
    model = nn.RepeatedLayer(nn.BatchNorm(3), 2)
    ps, st = setup(model)
    once = nn.BatchNorm(3)
    y, s = once(x(5, 3), ps, st)
    y, s = once(y, ps, s)
    z, after = model(x(5, 3), ps, st)
    assert bits(y) == bits(z) and s == after


def test_wrapper_precision():
    model = nn.AlternatePrecision(lx.float64, nn.Dense(2, 2))
    ps, st = setup(model)
    y, _ = model(x(3, 2), ps, st)
    assert y.dtype == np.float32 and ps.paths() == ["weight", "bias"]


class Pair(typing.NamedTuple):
    left: nn.Layer
    right: nn.Layer


@dataclasses.dataclass(frozen=True)
class Custom(nn.Container):
    """Children as a field, a NamedTuple, a dict and a list."""

    first: nn.Layer
    pair: Pair
    by_name: dict
    listed: list
    scale: float = 2.0

    def __call__(self, x, ps, st):
        x, _ = self.first(x, ps.first, st.first)
        a, _ = self.pair.left(x, ps.pair.left, st.pair.left)
        b, _ = self.pair.right(x, ps.pair.right, st.pair.right)
        c, _ = self.by_name["only"](a + b, ps.by_name.only, st.by_name.only)
        for position, layer in enumerate(self.listed):
            c, _ = layer(c, ps.listed[str(position)], st.listed[str(position)])
        return c * self.scale, st


def custom():
    dense = nn.Dense(3, 3)
    return Custom(dense, Pair(dense, nn.Dense(3, 3, lx.tanh)), {"only": dense}, [dense, nn.Dense(3, 2)])


def test_custom_container_needs_no_registration():
    model = custom()
    ps, st = setup(model)
    assert list(ps) == ["first", "pair", "by_name", "listed"]
    assert "pair.left.weight" in ps and "listed.1.bias" in ps
    assert model(x(4, 3), ps, st)[0].shape == (4, 2)
    with pytest.raises(TypeError, match="no dataclass"):

        class Bare(nn.Container):
            pass

        Bare().inner()


def test_models_are_values():
    model = nn.Chain(
        nn.Dense(2, 3, lx.relu), nn.SkipConnection(nn.Dense(3, 3), lx.add), nn.Maxout(nn.Dense(3, 2))
    )
    again = nn.Chain(
        nn.Dense(2, 3, lx.relu), nn.SkipConnection(nn.Dense(3, 3), lx.add), nn.Maxout(nn.Dense(3, 2))
    )
    assert model == again and hash(model) == hash(again)
    assert model != nn.Chain(nn.Dense(2, 3))
    assert pickle.loads(pickle.dumps(model)) == model
    branch = nn.BranchLayer(nn.Dense(2, 3), fusion=lx.add)
    assert pickle.loads(pickle.dumps(branch)) == branch


def test_calls_are_pure():
    model = nn.Chain(nn.Dense(2, 8), nn.BatchNorm(8), nn.Dropout(0.5))
    ps, st = setup(model)
    data = x(16, 2)
    first, second = model(data, ps, st), model(data, ps, st)
    assert bits(first[0]) == bits(second[0]) and first[1] == second[1]
    assert first[1].layer_3.key != st.layer_3.key


@settings(max_examples=40, deadline=None)
@given(models)
def test_random_models_are_pure(model):
    ps, st = setup(model)
    before = tree.flatten((ps, st))
    (y, after), (z, again) = model(x(5, 3), ps, st), model(x(5, 3), ps, st)
    assert bits(y) == bits(z) and after == again and list(after) == list(st)
    assert all(new is old for new, old in zip(tree.leaves((ps, st)), before[0], strict=True))


def test_states_switch():
    model = nn.Chain(nn.Dense(2, 8), nn.BatchNorm(8), nn.Chain(nn.Dropout(0.5)))
    _, st = setup(model)
    off = nn.testmode(st)
    assert off.layer_2.training is False and off.layer_3.layer_1.training is False
    assert nn.trainmode(off) == st
    assert nn.testmode(off) is off or nn.testmode(off) == off
    assert nn.update_state(st, "running_mean", 3.0).layer_2.running_mean == 3.0
    # Any nest does, and a sequence within one is gone through.
    nest = {"blocks": [{"training": True}, ({"training": True}, 1.0)], "mean": lx.ones(2)}
    off = nn.testmode(nest)
    assert off["blocks"] == [{"training": False}, ({"training": False}, 1.0)] and off["mean"] is nest["mean"]
    assert nest["blocks"][0]["training"] is True
    with pytest.raises(KeyError, match="no state is called 'momentum'"):
        nn.update_state(st, "momentum", 1)


def test_apply_checks_the_parameters():
    model = nn.Chain(nn.Dense(2, 3), nn.Dense(3, 1))
    other = nn.Chain(nn.Dense(2, 3), nn.Dense(3, 1, use_bias=False), nn.Scale(1))
    ps, st = setup(other)
    with pytest.raises(ValueError, match=r"missing layer_2.bias; extra layer_3.weight, layer_3.bias"):
        nn.apply(model, x(4, 2), ps, st)
    ps, st = setup(model)
    # The order of names is free, and so are ties.
    turned = {name: dict(reversed(list(ps[name].items()))) for name in reversed(list(ps))}
    assert bits(nn.apply(model, x(4, 2), turned, st)[0]) == bits(model(x(4, 2), ps, st)[0])
    with pytest.raises(ValueError, match=r"layer_2\.weight has shape \(7, 3\), expected \(1, 3\)"):
        nn.apply(model, x(4, 2), {**turned, "layer_2": {"weight": lx.ones((7, 3)), "bias": lx.ones(1)}}, st)
    assert bits(nn.apply(model, x(4, 2), ps, st)[0]) == bits(nn.stateless_apply(model, x(4, 2), ps))
    with pytest.raises(ValueError, match="has states"):
        nn.stateless_apply(nn.BatchNorm(3), x(4, 3), {})


def test_errors_say_where():
    model = nn.Chain(body=nn.Chain(nn.Dense(2, 3)), head=nn.Chain(nn.Dense(16, 4)))
    ps, st = setup(model)
    with pytest.raises(ValueError) as caught:
        model(x(32, 2), ps, st)
    assert str(caught.value) == "head.layer_1: Dense(16 => 4) got (32, 3), expected (..., 16)"
    assert caught.value.__notes__ == ["in layer head.layer_1: Dense(16 => 4)"]
    with pytest.raises(TypeError, match=r"body\.layer_1: Dense\(2 => 3\) got int64"):
        model(lx.ones((3, 2), dtype=lx.int64), ps, st)
    with pytest.raises(KeyError, match="no parameter 'weight'"):
        nn.Dense(2, 3)(x(1, 2), {"scale": 1}, {})


def test_a_layer_that_forgets_the_states_is_named():
    class Forgetful(nn.Layer):
        def __call__(self, x, ps, st):
            return x

    model = nn.Chain(lx.relu, nn.Chain(own=Forgetful()))
    with pytest.raises(TypeError) as caught:
        model(x(2), *setup(model))
    assert str(caught.value) == (
        "layer_2.own: Forgetful() returned a Tensor; a layer returns (y, st), its result and its states"
    )


@pytest.mark.parametrize(
    "layer",
    [
        nn.Dense(2, 2),
        nn.Bilinear((2, 2), 2),
        nn.Scale(2),
        nn.BatchNorm(2),
        nn.LayerNorm(2),
        nn.RMSNorm(2),
        nn.GroupNorm(2, 1),
        nn.InstanceNorm(2, affine=True),
        nn.Conv((1,), 2, 2),
        nn.ConvTranspose((1,), 2, 2),
        nn.WeightNorm(nn.Dense(2, 2), "weight"),
        nn.Recurrence(nn.LSTMCell(2, 2)),
        nn.MultiHeadAttention(2, 1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_other_float_inputs_are_cast_with_a_warning(layer):
    ps, st = setup(layer)
    shape = (4, 2, 2)
    with pytest.warns(UserWarning, match="float64 input is cast") as caught:
        y, _ = layer(lx.ones(shape, dtype=lx.float64), ps, st)
    assert tree.leaves(y)[0].dtype == np.float32 and caught[0].filename == __file__
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            layer(lx.ones(shape, dtype=lx.float64), ps, st)
    assert len({(warning.lineno, str(warning.message)) for warning in caught}) == len(caught)
    with pytest.raises(TypeError, match=r"got int64 input of shape \(4, 2, 2\)"):
        layer(lx.ones(shape, dtype=lx.int64), ps, st)


def test_lengths():
    assert nn.parameter_length(nn.Dense(2, 3)) == 9
    assert nn.state_length(nn.BatchNorm(3)) == 6
    assert nn.parameter_length(nn.Chain(nn.Dense(2, 3), nn.Dropout(0.5))) == 9
    ps, _st = setup(nn.Chain(nn.Dense(3, 3), nn.Dense(3, 3)))
    assert nn.parameter_length(nn.share_parameters(ps, [["layer_1", "layer_2"]])) == 12


def test_output_shape_and_open_sizes():
    model = nn.Chain(nn.Dense(None, 8), nn.BatchNorm(None), nn.Dense(None, 3))
    assert nn.output_shape(model, (5, 2)) == (5, 3)
    ps, st = setup(model, x_spec=(5, 2))
    assert ps.layer_3.weight.shape == (3, 8) and st.layer_2.running_mean.shape == (8,)
    assert model(x(5, 2), ps, st)[0].shape == (5, 3)
    with pytest.raises(ValueError, match="in_features is None"):
        setup(model)
    assert nn.output_shape(nn.Parallel(None, nn.Dense(2, 3), nn.Dense(4, 5)), ((6, 2), (6, 4))) == (
        (6, 3),
        (6, 5),
    )
    assert nn.output_shape(nn.Embedding(10, 4), lx.ShapeDtype((2, 7), lx.int64)) == (2, 7, 4)
    assert nn.output_shape(custom(), (4, 3)) == (4, 2)


def test_shapes_of_a_model_that_no_memory_holds():
    wide = 10**6
    model = nn.Chain(nn.Dense(wide, wide), nn.BatchNorm(wide), nn.freeze(nn.Dense(wide, 3), "bias"))
    assert nn.output_shape(model, (1000, wide)) == (1000, 3)
    assert nn.parameter_length(model) == wide * wide + wide + 2 * wide + 3 * wide
    assert nn.state_length(model) == 2 * wide + 3
    assert "1,000,006,000,000 parameters, plus 2,000,003 non-trainable" in repr(model)
    assert nn.summary(model, (1000, wide)).non_trainable == 2 * wide + 3
    # An initialiser that looks at its numbers still works, at their cost.
    picky = nn.Dense(2, 3, init_weight=lambda key, shape, dtype=None: lx.ones(shape) * float(lx.ones(())))
    assert nn.parameter_length(picky) == 9 and nn.output_shape(picky, (4, 2)) == (4, 3)


def test_a_users_dataclass_prints_as_a_model():
    assert repr(custom()).splitlines()[:3] == [
        "Custom(",
        "    first: Dense(3 => 3),  # 12 parameters",
        "    pair: (",
    ]

    @dataclasses.dataclass(frozen=True)
    class Named(nn.Layer):
        def __repr__(self):
            return "my own"

    @dataclasses.dataclass(frozen=True)
    class Heir(Named):
        size: int = 3

    assert repr(Named()) == repr(Heir()) == "my own"


def test_printing():
    model = nn.Chain(
        nn.Dense(2, 8, lx.relu), nn.BatchNorm(8), *[nn.Dense(8, 8)] * 3, nn.Dense(8, 1), name="net"
    )
    assert repr(model).splitlines() == [
        "Chain net(",
        "    layer_1: Dense(2 => 8, relu),  # 24 parameters",
        "    layer_2: BatchNorm(8),  # 16 parameters, plus 16 non-trainable",
        "    layer_3 to layer_5: Dense(8 => 8),  # 72 parameters",
        "    layer_6: Dense(8 => 1),  # 9 parameters",
        ")  # 265 parameters, plus 16 non-trainable",
    ]
    assert repr(nn.Dense(2, 3)) == "Dense(2 => 3)"
    frozen = nn.freeze(nn.Chain(nn.Dense(2, 3), nn.Dense(3, 1)), "layer_1.bias")
    assert repr(frozen).splitlines() == [
        "FrozenLayer(layer_1.bias) of Chain(",
        "    layer_1: Dense(2 => 3),  # 6 parameters, plus 3 non-trainable",
        "    layer_2: Dense(3 => 1),  # 4 parameters",
        ")  # 10 parameters, plus 3 non-trainable",
    ]
    assert "RepeatedLayer(repeats=3) of Dense(2 => 2)" in repr(nn.Chain(nn.RepeatedLayer(nn.Dense(2, 2), 3)))


def test_summary():
    table = nn.summary(nn.Chain(nn.Dense(2, 8, lx.relu), nn.RepeatedLayer(nn.Dense(8, 8), 2)), (5, 2))
    assert [row.path for row in table.rows] == ["layer_1", "layer_2"]
    assert [row.parameters for row in table.rows] == [24, 72]
    assert [row.flops for row in table.rows] == [5 * 8 * 5, 2 * 5 * 8 * 17]
    assert table.trainable == 96
    frozen = nn.freeze(nn.Chain(nn.Dense(2, 8), nn.Dense(8, 1)), "layer_1")
    table = nn.summary(frozen, (5, 2))
    assert [row.parameters for row in table.rows] == [0, 9] and (table.trainable, table.non_trainable) == (
        9,
        24,
    )


def test_stateful_layer():
    model = nn.Chain(nn.Dense(2, 3), nn.BatchNorm(3))
    ps, st = setup(model)
    m = nn.StatefulLayer(model, ps, st)
    y, after = model(x(4, 2), ps, st)
    assert bits(m(x(4, 2))) == bits(y) and m.st == after
    zeros = lx.tree.map(lx.zeros_like, ps)
    assert not np.asarray(m(x(4, 2), zeros)).any()


def test_shape_layers():
    data = x(5, 2, 3)
    assert nn.ReshapeLayer((3, -1))(data, {}, {})[0].shape == (5, 3, 2)
    assert nn.FlattenLayer()(data, {}, {})[0].shape == (5, 6)
    assert nn.FlattenLayer(2)(data, {}, {})[0].shape == (5, 2, 3)
    assert bits(nn.SelectDim(1, -1)(data, {}, {})[0]) == bits(data[:, -1])
    assert bits(nn.ReverseSequence()(data, {}, {})[0]) == bits(lx.flip(data, axis=1))
    with pytest.raises(IndexError):
        nn.SelectDim(3, 0)(data, {}, {})
