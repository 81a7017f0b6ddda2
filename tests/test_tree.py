"""Trees: the class, the functions of luxon.tree, ties, patterns."""

from __future__ import annotations

import collections.abc
import copy
import doctest
import gc
import pickle
import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import luxon as lx
from luxon import Tree, tree


class Pair(typing.NamedTuple):
    mean: object
    deviation: object


def model():
    return Tree(
        {
            "layer_1": {"weight": lx.ones((2, 3)), "bias": lx.zeros(3)},
            "layer_2": {"weight": lx.full((2, 3), 2.0), "bias": lx.ones(3)},
            "training": True,
        }
    )


def tied():
    return tree.tie(model(), [["layer_1", "layer_2"]])


names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=4)
values = st.one_of(st.integers(), st.none(), st.booleans(), st.text(max_size=3))
nests = st.recursive(
    values,
    lambda inner: st.one_of(
        st.dictionaries(names, inner, max_size=4),
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.tuples(inner, inner).map(lambda pair: Pair(*pair)),
        st.dictionaries(names, inner, max_size=4).map(Tree),
    ),
    max_leaves=12,
)


class TestTheClass:
    def test_children_are_attributes_items_and_paths(self):
        t = model()
        assert t.layer_1.weight is t["layer_1"]["weight"] is t["layer_1.weight"] is t.get("layer_1.weight")
        assert t.layer_1 is t.layer_1 is t["layer_1"]
        assert t.training is True

    def test_it_is_a_mapping(self):
        t = model()
        assert isinstance(t, collections.abc.Mapping)
        assert list(t) == list(t.keys()) == ["layer_1", "layer_2", "training"]
        assert list(reversed(t)) == ["training", "layer_2", "layer_1"]
        assert len(t) == 3 and dict(t)["training"] is True
        assert [name for name, _ in t.items()] == list(t)
        assert list(t.values())[2] is True
        assert "layer_1" in t and "layer_1.bias" in t and "bias" not in t and 3 not in t and "" not in t
        assert t.get("nowhere") is None and t.get("nowhere", 3) == 3
        assert {**t}.keys() == t.keys()
        match t:
            case {"training": flag}:
                assert flag is True

    def test_what_is_not_there_is_an_error_with_near_names(self):
        t = model()
        with pytest.raises(KeyError, match=r"layer_1\.weight"):
            t["layer_1.wieght"]
        with pytest.raises(AttributeError, match="layer_1"):
            _ = t.layer1
        with pytest.raises(TypeError, match="int"):
            t[0]
        assert not hasattr(t, "other") and getattr(t, "other", 5) == 5

    def test_it_never_changes(self):
        t = model()
        for change in (
            lambda: setattr(t, "x", 1),
            lambda: t.__setitem__("x", 1),
            lambda: delattr(t, "training"),
        ):
            with pytest.raises((AttributeError, TypeError)):
                change()

    def test_methods_win_over_children_of_their_name(self):
        methods = [name for name in dir(Tree) if not name.startswith("_")]
        t = Tree(dict.fromkeys(methods, 1))
        for name in methods:
            assert callable(getattr(t, name)) and t[name] == 1

    def test_many_children_are_found_by_name(self):
        t = Tree({f"layer_{i}": i for i in range(300)})
        assert [t[f"layer_{i}"] for i in range(300)] == list(range(300))
        assert t.layer_299 == 299 and "layer_300" not in t

    def test_containers_inside_are_immutable(self):
        t = Tree(a={"b": [1, {"c": 2}]}, p=Pair(1, (2, 3)))
        assert isinstance(t.a, Tree) and isinstance(t.a.b, tuple) and isinstance(t.a.b[1], Tree)
        assert type(t.p) is Pair and t["p.mean"] == 1 and t["p.deviation.1"] == 3
        assert t.paths() == ["a.b.0", "a.b.1.c", "p.mean", "p.deviation.0", "p.deviation.1"]

    def test_construction(self):
        assert Tree() == Tree({}) == Tree(()) == {} and len(Tree()) == 0
        assert Tree({"a": 1}, b=2) == Tree(a=1, b=2)
        assert Tree(Tree(a=1), a=2).a == 2
        for bad in ({"a.b": 1}, {"": 1}):
            with pytest.raises(ValueError, match="cannot be a name"):
                Tree(bad)
        for bad in ({1: 2}, 5, (1, 2), "text"):
            with pytest.raises(TypeError):
                Tree(bad)
        deep = {}
        for _ in range(500):
            deep = {"x": deep}
        with pytest.raises(ValueError, match="levels deep"):
            Tree(deep)

    def test_replace(self):
        t = model()
        other = t.replace("layer_1.bias", None)
        assert other.layer_1.bias is None and t.layer_1.bias is not None
        assert other.layer_2.weight is t.layer_2.weight
        assert t.replace({"training": False, "layer_1.weight": 1})["layer_1.weight"] == 1
        assert t.replace(training=False).training is False
        assert t.replace("layer_1", {"scale": 2}).layer_1 == {"scale": 2}
        with pytest.raises(KeyError, match="training"):
            t.replace(trainin=False)
        with pytest.raises(TypeError):
            t.replace(1, 2, 3)

    def test_with_values(self):
        t = model()
        assert t.with_values([t.layer_1, t.layer_2, t.training]) is t
        other = t.with_values((t.layer_1, t.layer_1, 4))
        assert list(other) == list(t) and other.training == 4 and other.layer_2 == t.layer_1
        assert tree.structure(other) == tree.structure(t)
        assert t.with_values([1, {"x": 2}, 3]) == {"layer_1": 1, "layer_2": {"x": 2}, "training": 3}
        with pytest.raises(ValueError, match="2 values for 3"):
            t.with_values([1, 2])

    def test_joining(self):
        assert Tree(a=1, b=2) | Tree(b=3, c=4) == {"a": 1, "b": 3, "c": 4}
        assert isinstance({"a": 1} | Tree(b=2), Tree)
        with pytest.raises(TypeError):
            Tree() | 3

    def test_equality(self):
        assert model() == model() and model() != model().replace("training", False)
        assert Tree(a=1, b=2) == Tree(b=2, a=1) == {"a": 1, "b": 2}
        assert Tree(a=1) != Tree(a=1, b=2) and Tree(a=1) != 5
        assert Tree(a=lx.ones(2)) != Tree(a=lx.ones(2, dtype="float64"))
        assert Tree(a=np.ones(2)) == Tree(a=np.ones(2)) and Tree(a=np.ones(2)) != Tree(a=np.ones(3))
        assert Tree(a=lx.asarray(float("nan"))) != Tree(a=lx.asarray(float("nan")))
        assert tied() == tree.untie(tied())
        t = model()
        assert len({t, t, model()}) == 2

    def test_printing(self):
        assert repr(Tree()) == "Tree()"
        text = repr(tied().replace("training", "x" * 100))
        assert text.startswith("Tree(\n  layer_1:\n    weight: float32 (2, 3)\n    bias: float32 (3,)\n")
        assert "  layer_2:\n    weight: = layer_1.weight\n" in text
        assert "..." in text.splitlines()[-2]
        assert "ndarray float64 (2,)" in repr(Tree(a=np.ones(2))) and "e: Tree()" in repr(Tree(e={}))

    def test_copies_and_pickles(self):
        t = tied().replace("training", [1])
        assert copy.copy(t) is t
        deep = copy.deepcopy(t)
        assert deep == t and tree.structure(deep) == tree.structure(t)
        again = pickle.loads(pickle.dumps(t))
        assert again == t and tree.ties(again) == tree.ties(t)
        nested = Tree(p=Pair(1, {"x": (2,)}), e={})
        assert (
            pickle.loads(pickle.dumps(nested)) == nested
            and type(pickle.loads(pickle.dumps(nested)).p) is Pair
        )
        structure = tree.structure({"a": [1, Pair(2, 3)]})
        assert pickle.loads(pickle.dumps(structure)) == structure

    def test_dir(self):
        assert {"layer_1", "replace"} <= set(dir(model()))

    def test_a_subtree_outlives_its_parent(self):
        part = model().layer_1
        gc.collect()
        assert part.weight.shape == (2, 3)


class TestFunctions:
    @given(nests)
    def test_taking_apart_and_putting_together(self, nest):
        leaves, structure = tree.flatten(nest)
        assert tree.unflatten(structure, leaves) == nest
        assert tree.map(lambda leaf: leaf, nest) == nest
        assert tree.leaves(nest) == leaves and len(structure) == tree.count(nest) == len(leaves)
        assert tree.structure(nest) == structure and hash(tree.structure(nest)) == hash(structure)
        assert structure.paths() == tree.paths(nest)
        assert len(tree.paths(nest, unique=True)) == len(leaves)

    @given(st.dictionaries(names, nests, max_size=4))
    def test_every_path_leads_to_its_leaf(self, nest):
        t = Tree(nest)
        for path, leaf in zip(tree.paths(t, unique=True), tree.leaves(t), strict=True):
            assert t[path] is leaf
        assert pickle.loads(pickle.dumps(t)) == t
        assert t == nest
        paths = dict(zip(tree.paths(t, unique=True), tree.leaves(t), strict=True))
        assert t.replace(paths) == t

    @given(st.dictionaries(names, nests, max_size=4))
    def test_composition(self, nest):
        t = Tree(nest)
        assert tree.map(len, tree.map(repr, t)) == tree.map(lambda leaf: len(repr(leaf)), t)
        assert tree.paths(tree.map(lambda _: 0, t)) == tree.paths(t)
        assert tree.map(lambda leaf: leaf, t) is t

    def test_several_trees(self):
        assert tree.map(
            lambda a, b, c: a + b + c, Tree(x=1, y=2), {"y": 20, "x": 10}, Tree(x=100, y=200)
        ) == {"x": 111, "y": 222}
        assert tree.map(lambda a, b: (a, b), [1, 2], (3, 4)) == [(1, 3), (2, 4)]
        assert tree.map(lambda a, b: b, {"x": None}, {"x": 5}) == {"x": 5}

    def test_structures_that_differ_are_named(self):
        with pytest.raises(ValueError, match=r"missing b; extra c; differing a \(a leaf and a tree\)"):
            tree.map(lambda *x: x, {"a": 1, "b": 2}, {"a": {"x": 1}, "c": 2})
        with pytest.raises(ValueError, match=r"missing w\.0, w\.1, .* and 14 more"):
            tree.map(lambda *x: x, {"w": {str(i): 1 for i in range(20)}}, {"w": {}})
        with pytest.raises(ValueError, match="sequence of 2 and a sequence of 3"):
            tree.map(lambda *x: x, [1, 2], [1, 2, 3])

    def test_with_paths(self):
        assert tree.map_with_path(lambda p, x: p, Tree(a={"b": (1, 2)})) == {"a": {"b": ("a.b.0", "a.b.1")}}

    def test_exceptions_pass_through(self):
        error = RuntimeError("mine")

        def fails(_):
            raise error

        with pytest.raises(RuntimeError) as caught:
            tree.map(fails, [1])
        assert caught.value is error

    def test_unflatten_counts(self):
        with pytest.raises(ValueError, match="1 leaves for a structure of 2"):
            tree.unflatten(tree.structure([1, 2]), [1])

    def test_sizes(self):
        assert tree.count(model()) == 5 and tree.size(model()) == 18
        assert tree.count(tied()) == 3 and tree.size(tied()) == 9

    def test_cast(self):
        t = Tree(a=lx.ones(2), i=lx.arange(2), n=np.ones(2), f=1.5, s="x", none=None)
        c = tree.cast(t, "float16")
        assert (
            c.a.dtype == lx.float16 and c.n.dtype == lx.float16 and c.i is t.i and c.f == 1.5 and c.s == "x"
        )
        assert tree.cast(Tree(a=t.a, i=t.i), lx.float32) == Tree(a=t.a, i=t.i)
        assert len(tree.ties(tree.cast(tied(), "float64"))) == 2

    def test_closeness(self):
        t = model()
        assert tree.all_close(t, tree.map(lambda x: x, t))
        assert tree.all_close({"x": lx.ones(2)}, {"x": np.ones(2) + 1e-7}) and not tree.all_close(
            [1.0], [1.1]
        )
        assert not tree.all_close([float("nan")], [float("nan")]) and tree.all_close(
            [float("inf")], [float("inf")]
        )
        assert not tree.all_close([1.0], [float("inf")]) and not tree.all_close([float("inf")], [1.0])
        assert not tree.all_close([lx.ones(2)], [lx.ones(3)]) and tree.all_close(["a", None], ["a", None])
        assert tree.all_close([1.0], [1.1], rtol=0.2) and tree.all_close([1.0], [1.1], atol=0.2)
        with pytest.raises(ValueError, match="differ"):
            tree.all_close([1], [1, 2])

    def test_from_paths(self):
        t = tree.from_paths({"a.w": 1, "b": 2, "a.b.c": {"d": 3}})
        assert t == {"a": {"w": 1, "b": {"c": {"d": 3}}}, "b": 2}
        for bad in ({"a": 1, "a.b": 2}, {"a.b": 1, "a": 2}, {"a..b": 1}):
            with pytest.raises(ValueError):
                tree.from_paths(bad)

    def test_examples(self):
        assert doctest.testmod(tree).failed == 0


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("layer_1", ["layer_1.weight", "layer_1.bias"]),
            ("*.bias", ["layer_1.bias", "layer_2.bias"]),
            ("layer_[2-9]", ["layer_2.weight", "layer_2.bias"]),
            ("{layer_1,layer_2}.w*", ["layer_1.weight", "layer_2.weight"]),
            ("**", ["layer_1.weight", "layer_1.bias", "layer_2.weight", "layer_2.bias", "training"]),
            (["training", "**.bias"], ["layer_1.bias", "layer_2.bias", "training"]),
        ],
    )
    def test_what_they_cover(self, pattern, expected):
        assert tree.match(model(), pattern) == expected

    def test_nothing_is_an_error(self):
        with pytest.raises(ValueError, match=r"matches nothing.*layer_1"):
            tree.match(model(), "layer_3")
        with pytest.raises(ValueError, match="brace"):
            tree.match(model(), "{a")

    def test_parting_and_merging(self):
        t = model()
        for which in ("*.bias", ["layer_1", "training"], "**", lambda path, leaf: "weight" in path):
            chosen, rest = tree.partition(t, which)
            assert tree.count(chosen) + tree.count(rest) == tree.count(t)
            merged = tree.merge(chosen, rest, like=t)
            assert tree.structure(merged) == tree.structure(t) and merged == t
            assert tree.merge(rest, chosen, like=tree.structure(t)) == t
        chosen, rest = tree.partition(t, "layer_1")
        assert rest.layer_1 == {} and chosen.layer_2 == {} and "training" not in chosen

    def test_parting_keeps_ties_whole(self):
        t = tied()
        chosen, rest = tree.partition(t, "**.bias")
        assert tree.count(chosen) == 1 and tree.ties(chosen) == [["layer_1.bias", "layer_2.bias"]]
        assert tree.structure(tree.merge(chosen, rest, like=t)) == tree.structure(t)
        with pytest.raises(ValueError, match=r"layer_1\.bias and layer_2\.bias are tied"):
            tree.partition(t, "layer_1.bias")

    def test_sequences_stay_whole(self):
        t = Tree(carry=(1, 2), x=3)
        chosen, rest = tree.partition(t, "carry")
        assert chosen == {"carry": (1, 2)} and tree.merge(chosen, rest, like=t) == t
        with pytest.raises(ValueError, match="sequence"):
            tree.partition(t, "carry.0")

    def test_merging_what_clashes(self):
        with pytest.raises(ValueError, match="cannot merge: at x"):
            tree.merge({"x": 1}, {"x": 2})
        with pytest.raises(ValueError, match="cannot merge: at x"):
            tree.merge({"x": {"y": 1}}, {"x": 2})


class TestTies:
    def test_places_share_one_leaf(self):
        t = tied()
        assert t.layer_1.weight is t.layer_2.weight
        assert tree.ties(t) == [["layer_1.weight", "layer_2.weight"], ["layer_1.bias", "layer_2.bias"]]
        assert not tree.ties(t.layer_1) and tree.ties(Tree(m=t))[0] == [
            "m.layer_1.weight",
            "m.layer_2.weight",
        ]

    def test_the_same_object_is_no_tie(self):
        x = lx.ones(2)
        assert tree.ties(Tree(a=x, b=x)) == [] and tree.count(Tree(a=x, b=x)) == 2

    def test_map_sees_it_once(self):
        seen = []
        t = tree.map(lambda x: seen.append(x) or len(seen), tied())
        assert (
            len(seen) == 3 and t.layer_1.weight == t.layer_2.weight == 1 and tree.ties(t) == tree.ties(tied())
        )
        assert tree.map(lambda a, b: b, tied(), tree.untie(tied())) == tied()
        assert tree.ties(tree.map(lambda a, b: b, tree.untie(tied()), tied())) == []

    def test_replacing_one_place_replaces_all(self):
        t = tied().replace("layer_2.bias", 5)
        assert t.layer_1.bias == 5 and tree.ties(t) == tree.ties(tied())
        t = tied().replace("layer_2", {"weight": 1, "bias": 2})
        assert t.layer_1 == {"weight": 1, "bias": 2}
        t = tied().replace("layer_2", 7)
        assert t.layer_1.bias.shape == (3,) and tree.ties(t) == []
        t = tied()
        t = t.with_values([t.layer_1, {"weight": 1, "bias": 2}, False])
        assert t.layer_1.weight == 1 and tree.ties(t) == tree.ties(tied())

    def test_values(self):
        new = {"bias": lx.full(3, 9.0), "weight": lx.full((2, 3), 8.0)}
        t = tree.tie(model(), [["layer_1", "layer_2"]], [new])
        assert t.layer_2.weight is new["weight"] and t.layer_1.bias is new["bias"]
        before = model()
        swapped = tree.tie(before, [["layer_2.bias", "layer_1.bias"]])
        assert swapped.layer_1.bias is before.layer_2.bias and list(swapped) == list(before)

    def test_partners_come_along(self):
        t = tree.tie(Tree(a=1, b=2, c=3), [["a", "b"]])
        t = tree.tie(t, [["c", "b"]])
        assert t == {"a": 3, "b": 3, "c": 3} and tree.count(t) == 1

    @pytest.mark.parametrize(
        ("sharing", "values", "error", "message"),
        [
            ([["layer_1", "layer_3"]], None, KeyError, "layer_3"),
            ([["layer_1", "layer_2"], ["layer_1.bias", "training"]], None, ValueError, "lies inside"),
            ([["layer_1.bias", "layer_1.bias"]], None, ValueError, "twice"),
            ([["layer_1.bias", "layer_1.weight"]], None, ValueError, r"\(3,\).*\(2, 3\)"),
            ([["layer_1", "training"]], None, ValueError, "structures differ"),
            ([["layer_1", "layer_2"]], [], ValueError, "0 values for 1"),
            ([["layer_1.bias", "layer_2.bias"]], [np.ones(4, np.float32)], ValueError, r"\(4,\)"),
            (["layer_1", "layer_2"], None, TypeError, "list of lists"),
        ],
    )
    def test_errors(self, sharing, values, error, message):
        with pytest.raises(error, match=message):
            tree.tie(model(), sharing, values)

    def test_differentiation_sums_over_the_places(self):
        t = tree.cast(tree.tie(Tree(a=lx.asarray(2.0), b=lx.asarray(5.0)), [["a", "b"]]), "float64")
        g = lx.grad(lambda p: p.a * 3.0 + p.b * p.b)(t)
        assert float(g.a) == float(g.b) == 3.0 + 2 * 2.0 and g.a is g.b and tree.ties(g) == [["a", "b"]]
        _, pushed = lx.jvp(lambda p: p.a * 3.0 + p.b * p.b, (t,), (tree.map(lambda _: 1.0, t),))
        assert float(pushed) == 7.0
