"""Tensors, trees and models in `rich` and `treescope`."""

from __future__ import annotations

import io

import pytest

import luxon as lx
from luxon import nn

MODEL = nn.Chain(
    first=nn.Dense(3, 4, lx.relu),
    skip=nn.SkipConnection(nn.Dense(4, 4), lx.add),
    branch=nn.BranchLayer(nn.Dense(4, 2), lx.tanh, fusion=lambda a, b: a),
)


def printed(value):
    console = pytest.importorskip("rich.console").Console(file=io.StringIO(), width=100)
    from rich.pretty import Pretty

    console.print(Pretty(value))
    return console.file.getvalue()


def test_rich_prints_trees():
    ps, st = nn.setup(0, nn.Chain(a=nn.Dense(3, 4), b=nn.BatchNorm(4)))
    text = printed({"ps": ps, "st": st})
    assert "weight=float32 (4, 3)" in text and "bias=Tensor([0., 0., 0., 0.], dtype=float32)" in text
    assert "training=True" in text and text.count("Tree(") == 6
    assert printed(lx.Tree(x=(1, None))) == "Tree(x=(1, None))\n" and printed(lx.Tree()) == "Tree()\n"
    assert printed(lx.asarray([1.0, 2.0])) == "Tensor([1., 2.], dtype=float32)\n"


def test_rich_prints_models():
    text = printed(MODEL)
    for part in (
        "Chain(",
        "first=Dense(3 => 4, relu)",
        "skip=SkipConnection(",
        "layer=Dense(4 => 4)",
        "layer_1=Dense(4 => 2)",
        "WrappedFunction(tanh)",
    ):
        assert part in text, text
    assert printed(nn.Dense(1, 2)) == "Dense(1 => 2)\n" and printed(nn.GlobalMaxPool()) == "GlobalMaxPool()\n"
    assert printed(nn.RepeatedLayer(nn.Dense(3, 3), 4)) == "RepeatedLayer(repeats=4, layer=Dense(3 => 3))\n"


def test_treescope_shows_trees_models_and_tensors():
    treescope = pytest.importorskip("treescope")
    ps, _ = nn.setup(0, MODEL)
    text = treescope.render_to_text(ps, ignore_exceptions=False)
    assert "Tree(" in text and "first=Tree(" in text and "float32(4, 3)" in text and "Tensor " in text
    text = treescope.render_to_text(MODEL, ignore_exceptions=False)
    assert "Chain(" in text and "in_features=3" in text and "WrappedFunction(" in text
    for x in (lx.ones(3), lx.ones(3, dtype="bfloat16"), lx.asarray(2.0), lx.zeros((0, 2))):
        assert "Tensor " in treescope.render_to_text(x, ignore_exceptions=False)
    assert "<details" in treescope.render_to_html(ps) or "treescope" in treescope.render_to_html(ps)

    def inside(x):
        assert "Tensor" in treescope.render_to_text(x, ignore_exceptions=False)
        return lx.sum(x)

    lx.grad(inside)(lx.ones(3))
