"""Random models for property tests."""

import dataclasses
import typing

from hypothesis import strategies as some

import luxon as lx
from luxon import nn

WIDTH = 3


class Pair(typing.NamedTuple):
    left: nn.Layer
    right: nn.Layer


@dataclasses.dataclass(frozen=True)
class Custom(nn.Container):
    """A user's container with a NamedTuple and a dict of layers."""

    pair: Pair
    by_name: dict

    def __call__(self, x, ps, st):
        x, left = self.pair.left(x, ps["pair"]["left"], st["pair"]["left"])
        x, right = self.pair.right(x, ps["pair"]["right"], st["pair"]["right"])
        x, only = self.by_name["only"](x, ps["by_name"]["only"], st["by_name"]["only"])
        return x, lx.Tree({"pair": {"left": left, "right": right}, "by_name": {"only": only}})


@dataclasses.dataclass(frozen=True)
class Unrolled(nn.Container):
    """A user's recurrence: a cell along three steps, its output and its states going round."""

    cell: nn.Layer
    steps: int = 3

    def __call__(self, x, ps, st):
        h, inner = lx.zeros_like(x), st["cell"]
        for _ in range(self.steps):
            h, inner = self.cell(lx.tanh(x + h), ps["cell"], inner)
        return h, (st if inner is st["cell"] else {**st, "cell": inner})


def _compact(inner):
    return nn.compact(lambda m, x: m.inner(x) * m.scale, inner=inner, scale=nn.param(lx.init.ones, (WIDTH,)))


leaves = some.sampled_from(
    [
        nn.Dense(WIDTH, WIDTH),
        nn.Dense(WIDTH, WIDTH, lx.tanh),
        nn.Dense(WIDTH, WIDTH, lx.sigmoid, use_bias=False),
        nn.Scale(WIDTH),
        nn.LayerNorm(WIDTH),
        nn.RMSNorm(WIDTH),
        nn.BatchNorm(WIDTH),
        nn.GroupNorm(WIDTH, 1),
        nn.WeightNorm(nn.Dense(WIDTH, WIDTH), "weight"),
        nn.Dropout(0.3),
        nn.AlphaDropout(0.3),
        nn.VariationalHiddenDropout(0.3),
        nn.WrappedFunction(lx.tanh),
        nn.NoOpLayer(),
        nn.StatefulRecurrentCell(nn.GRUCell(WIDTH, WIDTH)),
        nn.Chain(
            nn.WrappedFunction(lambda x: lx.expand_dims(x, axis=1)),
            nn.Recurrence(nn.LSTMCell(WIDTH, WIDTH), return_sequence=True),
            nn.MultiHeadAttention(WIDTH, 1),
            nn.SelectDim(1, 0),
        ),
    ]
)


def _containers(inner):
    several = some.lists(inner, min_size=1, max_size=3)
    return some.one_of(
        several.map(lambda layers: nn.Chain(*layers)),
        several.map(lambda layers: nn.Maxout(*layers)),
        several.map(lambda layers: nn.Parallel(lambda *parts: sum(parts[1:], parts[0]), *layers)),
        several.map(lambda layers: nn.BranchLayer(*layers, fusion=lambda *parts: sum(parts[1:], parts[0]))),
        several.map(lambda layers: nn.PairwiseFusion(lx.add, *layers)),
        inner.map(lambda layer: nn.SkipConnection(layer, lx.add)),
        # Bounded, or a few of them around each other overflow.
        inner.map(lambda layer: nn.SkipConnection(layer, nn.Bilinear((WIDTH, WIDTH), WIDTH, lx.tanh))),
        inner.map(lambda layer: nn.RepeatedLayer(layer, 2)),
        some.tuples(inner, inner).map(lambda two: Custom(Pair(*two), {"only": nn.Dense(WIDTH, WIDTH)})),
        inner.map(_compact),
        inner.map(Unrolled),
        inner.map(lambda layer: nn.freeze(layer)),
    )


models = some.recursive(leaves, _containers, max_leaves=6)
"""Models from (batch, WIDTH) to the same."""


def inputs(seed=0, dtype="float32", batch=5):
    return lx.random.normal(lx.random.key(seed), (batch, WIDTH), dtype=dtype)
