"""Model surgery."""

import numpy as np
import pytest
from hypothesis import given, settings

import luxon as lx
from luxon import nn, tree
from model_strategies import Custom, Pair, inputs, models


def identity(layer, ps, st, path):
    return layer, ps, st


def visited(model):
    paths = []

    def visit(layer, ps, st, path):
        paths.append(path)
        return layer, ps, st

    nn.layer_map(visit, model, *nn.setup(0, model))
    return paths


@settings(max_examples=80, deadline=None)
@given(models)
def test_identity_is_the_identity(model):
    ps, st = nn.setup(0, model)
    new, new_ps, new_st = nn.layer_map(identity, model, ps, st)
    assert new == model and new_ps == ps and new_st == st
    assert new_ps.paths() == ps.paths() and new_st.paths() == st.paths()
    rebuilt = nn.layer_map(lambda layer, ps, st, path: (layer, lx.Tree(ps), lx.Tree(st)), model, ps, st)
    x = inputs()
    assert np.asarray(rebuilt[0](x, *rebuilt[1:])[0]).tobytes() == np.asarray(model(x, ps, st)[0]).tobytes()


def test_paths_and_order():
    dense = nn.Dense(3, 3)
    assert visited(nn.Chain(chain=nn.Chain(dense_1=dense, f=lx.relu), head=dense)) == [
        "model.chain.dense_1",
        "model.chain.f",
        "model.head",
    ]
    assert visited(nn.SkipConnection(dense, lx.add)) == ["model"]
    assert visited(nn.SkipConnection(dense, nn.Bilinear((3, 3), 3))) == ["model.layer", "model.connection"]
    assert visited(nn.RepeatedLayer(nn.Chain(dense), 2)) == ["model.layer_1"]
    assert visited(nn.Parallel(nn.Bilinear((3, 3), 3), dense, dense)) == [
        "model.layer_1",
        "model.layer_2",
        "model.connection",
    ]
    assert visited(nn.BranchLayer(dense, dense, fusion=nn.Bilinear((3, 3), 3)))[-1] == "model.fusion"
    assert visited(Custom(Pair(dense, nn.Chain(dense)), {"only": dense})) == [
        "model.pair.left",
        "model.pair.right.layer_1",
        "model.by_name.only",
    ]
    assert visited(nn.compact(lambda m, x: m.a(x), a=nn.Chain(dense), s=1)) == ["model.a.layer_1"]
    assert visited(nn.Chain(nn.freeze(nn.Chain(dense, dense)))) == ["model.layer_1"]
    assert visited(nn.debug_mode(nn.Chain(nn.Chain(dense)))) == ["model.layer_1.layer_1"]
    assert visited(nn.AlternatePrecision("float64", dense)) == ["model"]


def test_the_same_object_in_two_places_is_mapped_twice():
    dense = nn.Dense(3, 3)
    model = nn.Chain(dense, dense)
    seen = []

    def widen(layer, ps, st, path):
        seen.append(path)
        return layer, lx.tree.map(lambda w: w + len(seen), ps), st

    ps, st = nn.setup(0, model)
    _, new, _ = nn.layer_map(widen, model, ps, st, name="net")
    assert seen == ["net.layer_1", "net.layer_2"]
    assert np.allclose(np.asarray(new.layer_2.bias - ps.layer_2.bias), 2)


def test_replacing_and_freezing():
    model = nn.Chain(body=nn.Chain(nn.Dense(3, 4, lx.relu), nn.BatchNorm(4)), head=nn.Dense(4, 10))
    ps, st = nn.setup(0, model)
    before = (bits(ps), bits(st))

    def surgery(layer, ps, st, path):
        if path == "model.head":
            layer = nn.Dense(4, 2)
            return (layer, *nn.setup(1, layer))
        if isinstance(layer, nn.Dense):
            return nn.freeze(layer, ps, st)
        return layer, ps, st

    new, new_ps, new_st = nn.layer_map(surgery, model, ps, st)
    assert (bits(ps), bits(st)) == before
    assert new.head == nn.Dense(4, 2) and isinstance(new.body[0], nn.FrozenLayer)
    assert new_ps.paths() == ["body.layer_2.weight", "body.layer_2.bias", "head.weight", "head.bias"]
    assert new(lx.ones((5, 3)), new_ps, new_st)[0].shape == (5, 2)


def bits(value):
    return [
        np.asarray(leaf).tobytes() if isinstance(leaf, lx.Tensor) else leaf for leaf in tree.leaves(value)
    ]


def test_errors():
    model = nn.Chain(a=nn.Dense(3, 3), b=nn.Chain(nn.Dense(3, 3)))
    ps, st = nn.setup(0, model)
    with pytest.raises(ValueError, match=r"missing b\.layer_1\.weight"):
        nn.layer_map(identity, model, lx.Tree(a=ps.a, b={}), st)
    with pytest.raises(ValueError, match=r"the states do not fit the model: missing b\.layer_1"):
        nn.layer_map(identity, model, ps, lx.Tree(a={}, b={}))

    def wrong(result):
        return lambda layer, ps, st, path: (
            result(layer, ps, st) if path.endswith("layer_1") else (layer, ps, st)
        )

    with pytest.raises(ValueError, match=r"model\.b\.layer_1 do not fit Dense\(3 => 3\): missing bias"):
        nn.layer_map(wrong(lambda layer, ps, st: (layer, lx.Tree(weight=ps.weight), st)), model, ps, st)
    with pytest.raises(ValueError, match=r"weight has shape \(3, 3\), expected \(4, 3\)"):
        nn.layer_map(wrong(lambda layer, ps, st: (nn.Dense(3, 4), ps, st)), model, ps, st)
    with pytest.raises(TypeError, match=r"model\.b\.layer_1 it returned a tuple of 2"):
        nn.layer_map(wrong(lambda layer, ps, st: (layer, ps)), model, ps, st)


def test_lists_of_trees_and_open_sizes():
    model = nn.compact(
        lambda m, x: m.blocks[1](m.blocks[0](x)), blocks=[nn.Dense(None, 3), nn.Dense(None, 3)]
    )
    ps, st = nn.setup(0, model, x_spec=(5, 3))
    assert nn.layer_map(identity, model, ps, st)[1] is ps
    listed = {"blocks": list(ps.blocks.values())}, {"blocks": [{}, {}]}

    def double_second(layer, ps, st, path):
        return layer, (lx.tree.map(lambda w: w * 2, ps) if path == "model.blocks.1" else ps), st

    new, new_ps, new_st = nn.layer_map(double_second, model, *listed)
    expected = nn.layer_map(double_second, model, ps, st)
    assert bits(new(inputs(), new_ps, new_st)[0]) == bits(model(inputs(), *expected[1:])[0])
    with pytest.raises(ValueError, match=r"missing blocks\.1\.bias"):
        nn.layer_map(identity, model, {"blocks": [ps.blocks["0"], {"weight": lx.ones((3, 3))}]}, st)


def test_states_that_do_not_fit():
    model = nn.Chain(a=nn.Dense(3, 3), b=nn.BatchNorm(3))
    ps, st = nn.setup(0, model)
    with pytest.raises(ValueError, match=r"the states do not fit the model: extra c\.n"):
        nn.layer_map(identity, model, ps, st | {"c": {"n": 1}})
    with pytest.raises(ValueError, match=r"a\.weight has shape \(9, 9\), expected \(3, 3\)"):
        nn.layer_map(identity, model, ps.replace("a.weight", lx.ones((9, 9))), st)

    def replace(layer, ps, st, path):
        new = nn.Dense(3, 3)
        return (new, nn.setup(0, new)[0], st) if path == "model.b" else (layer, ps, st)

    with pytest.raises(
        ValueError, match=r"returned for model\.b do not fit Dense\(3 => 3\): extra running_mean"
    ):
        nn.layer_map(replace, model, ps, st)


def test_ties_follow():
    model = nn.Chain(nn.Dense(3, 3), nn.Dense(3, 3), nn.Dense(3, 3))
    ps, st = nn.setup(0, model)
    tied = nn.share_parameters(ps, [["layer_1", "layer_3"]])
    assert nn.layer_map(identity, model, tied, st)[1] is tied

    def zero_first(layer, ps, st, path):
        return layer, (lx.tree.map(lx.zeros_like, ps) if path == "model.layer_1" else ps), st

    new = nn.layer_map(zero_first, model, tied, st)[1]
    assert tree.ties(new) == tree.ties(tied) and not np.asarray(new.layer_3.weight).any()
