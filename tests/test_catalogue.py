"""Every layer by one table: arguments, trees, shapes, printing, FLOPs and what it says to a bad input.

What the layers compute is in the tests of their families, their derivatives in test_layer_gradients.py; here is what
files, freezing and users' code rely on, and a layer that is not in the table (in `catalogue`) fails.
"""

import inspect
import itertools
import re
from typing import Any

import numpy as np
import pytest

import luxon as lx
from catalogue import CASES, SIGNATURES
from luxon import functional, init, losses, nn, optim


def signature_text(of: Any) -> str:
    """A signature without annotations, with functions and dtypes by name."""
    parameters = []
    for parameter in inspect.signature(of).parameters.values():
        default = parameter.default
        if callable(default) and default is not parameter.empty:
            text = f"{parameter.name}={default.__name__}"
        elif isinstance(default, np.dtype):
            text = f"{parameter.name}={default.name}"
        else:
            text = str(parameter.replace(annotation=parameter.empty))
        parameters.append((parameter.kind, text))
    shown, seen_star = [], False
    for position, (kind, text) in enumerate(parameters):
        if kind is inspect.Parameter.KEYWORD_ONLY and not seen_star:
            seen_star = True
            if all(before is not inspect.Parameter.VAR_POSITIONAL for before, _ in parameters[:position]):
                shown.append("*")
        shown.append(text)
        following = parameters[position + 1 :]
        if kind is inspect.Parameter.POSITIONAL_ONLY and (not following or following[0][0] is not kind):
            shown.append("/")
    return f"({', '.join(shown)})"


@pytest.mark.parametrize("line", re.sub(r"\n  ", " ", SIGNATURES.strip()).split("\n"))
def test_arguments(line):
    name, arguments = re.fullmatch(r"([\w.]+)(\(.*\))", line).groups()
    module, _, member = name.rpartition(".")
    modules = {
        "nn": nn,
        "functional": functional,
        "losses": losses,
        "init": init,
        "optim": optim,
        "optim.schedules": optim.schedules,
        "special": lx.special,
        "io": lx.io,
        "data": lx.data,
        "lx": lx,
    }
    assert signature_text(getattr(modules[module], member)) == arguments


IDS = [case.printed.rstrip("(") for case in CASES]
# What the user's own layers are made of, and what is put around layers rather than written into models.
TOOLS = {"Container", "DebugLayer", "FrozenLayer", "Layer", "Wrapper"}
# Their FLOPs are their children's.
JOINING = {"AlternatePrecision", "BranchLayer", "Chain", "Maxout", "PairwiseFusion", "Parallel"} | {
    "RepeatedLayer",
    "SkipConnection",
}


def filled(spec):
    """Ones for a shape, a spec, or a nest of those; None is itself."""
    if isinstance(spec, lx.ShapeDtype):
        return lx.ones(spec.shape, dtype=spec.dtype)
    if spec is None or all(isinstance(size, int) for size in spec):
        return None if spec is None else lx.ones(spec)
    return tuple(filled(part) for part in spec)


def shapes(value):
    return tuple(shapes(part) for part in value) if isinstance(value, tuple) else tuple(value.shape)


def leaf_shapes(ps):
    return {path: tuple(ps[path].shape) for path in ps.paths()}


def test_every_layer_is_here_and_documented():
    layers = {
        name
        for name in nn.__all__
        if inspect.isclass(kind := getattr(nn, name)) and issubclass(kind, nn.Layer)
    }
    assert {type(case.layer).__name__ for case in CASES} == layers - TOOLS
    assert set(re.findall(r"^nn\.([A-Z]\w+)", SIGNATURES, re.MULTILINE)) == layers - TOOLS
    for name in layers - TOOLS:
        text = inspect.getdoc(getattr(nn, name))
        assert "Example:" in text, name
        assert "FLOPs" in text or name in JOINING, name


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_trees_and_shapes(case):
    ps, st = nn.setup(0, case.layer)
    assert leaf_shapes(ps) == case.parameters
    assert list(st) == case.states.split()
    if case.y is None:
        return
    assert nn.output_shape(case.layer, case.x) == case.y
    assert shapes(case.layer(filled(case.x), ps, st)[0]) == case.y


def test_functions_are_wrapped_and_children_named():
    two = {"first": nn.Dense(3, 3), "second": lx.tanh}
    for model in (
        nn.Chain(**two),
        nn.Parallel(lx.add, **two),
        nn.BranchLayer(fusion=lx.add, **two),
        nn.PairwiseFusion(lx.add, **two),
        nn.SkipConnection(layer=lx.tanh, connection=lx.add),
        nn.RepeatedLayer(layer=lx.tanh, repeats=2),
        nn.Maxout(**two),
        nn.AlternatePrecision(dtype="float64", layer=lx.tanh),
    ):
        ps, st = nn.setup(0, model)
        assert list(ps) in ([], list(two))
        assert model(lx.ones((2, 3)), ps, st)[0].shape == (2, 3)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_printing_and_flops(case):
    assert repr(case.layer).startswith(case.printed)
    count = sum(np.prod(shape, dtype=int) for shape in case.parameters.values())
    chain = repr(nn.Chain(first=case.layer))
    assert f"first: {case.printed.split(' of ')[0]}" in chain
    assert not count or f"{count:,} parameter" in chain
    assert "object at" not in chain and "<" not in chain
    if case.y is None:
        return
    table = nn.summary(nn.Chain(first=case.layer), case.x)
    assert table.trainable == count
    flops = [row.flops for row in table.rows if "WrappedFunction" not in row.layer]
    assert (sum(flops) if None not in flops and flops else None) == case.flops


BAD = [(case, *bad) for case in CASES for bad in case.bad]


@pytest.mark.parametrize(
    ("case", "x", "kind", "text"), BAD, ids=[f"{case.printed.rstrip('(')} of {x}" for case, x, *_ in BAD]
)
def test_bad_inputs(case, x, kind, text):
    model = nn.Chain(first=case.layer)
    ps, st = nn.setup(0, model)
    with pytest.raises(kind) as caught:
        model(filled(x), ps, st)
    assert text in str(caught.value)
    assert any(note.startswith("in layer first") for note in caught.value.__notes__)


OPEN = [
    (nn.Dense(None, 2), nn.Dense(3, 2), (5, 3)),
    (nn.Conv((3, 3), None, 4), nn.Conv((3, 3), 3, 4), (2, 3, 8, 8)),
    (nn.ConvTranspose((3,), None, 4), nn.ConvTranspose((3,), 3, 4), (2, 3, 8)),
    (nn.BatchNorm(None), nn.BatchNorm(3), (2, 3)),
    (nn.GroupNorm(None, 2), nn.GroupNorm(4, 2), (2, 4, 5)),
    (nn.InstanceNorm(None, True, True), nn.InstanceNorm(3, True, True), (2, 3, 5)),
    (nn.RNNCell(None, 4), nn.RNNCell(3, 4), (2, 3)),
    (nn.LSTMCell(None, 4), nn.LSTMCell(3, 4), (2, 3)),
    (nn.GRUCell(None, 4), nn.GRUCell(3, 4), (2, 3)),
    (nn.Recurrence(nn.LSTMCell(None, 4)), nn.Recurrence(nn.LSTMCell(3, 4)), (2, 5, 3)),
    (nn.BidirectionalRNN(nn.GRUCell(None, 4)), nn.BidirectionalRNN(nn.GRUCell(3, 4)), (2, 5, 3)),
    (nn.WeightNorm(nn.Dense(None, 2), "weight"), nn.WeightNorm(nn.Dense(3, 2), "weight"), (5, 3)),
]


@pytest.mark.parametrize(
    ("layer", "settled", "x"), OPEN, ids=[repr(layer).split("(\n")[0] for layer, *_ in OPEN]
)
def test_sizes_that_are_inferred(layer, settled, x):
    with pytest.raises(ValueError, match="give setup an x_spec to infer it from"):
        nn.setup(0, layer)
    inferred, expected = (trees for trees in (nn.setup(0, layer, x_spec=x), nn.setup(0, settled)))
    for got, want in zip(
        itertools.chain(*map(lx.tree.leaves, inferred)),
        itertools.chain(*map(lx.tree.leaves, expected)),
        strict=True,
    ):
        assert np.array_equal(np.asarray(got), np.asarray(want))
    y, _ = layer(lx.ones(x), *inferred)
    assert lx.tree.map(lambda leaf: leaf.shape, (y,)) == lx.tree.map(
        lambda leaf: leaf.shape, (settled(lx.ones(x), *expected)[0],)
    )
