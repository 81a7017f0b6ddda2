"""Layers as immutable descriptions, with explicit parameters and states.

`ps, st = nn.setup(rng, model)`, then `y, st = model(x, ps, st)`.
"""

from ._basic import (
    AlternatePrecision,
    FlattenLayer,
    NoOpLayer,
    ReshapeLayer,
    ReverseSequence,
    SelectDim,
    WrappedFunction,
)
from ._containers import (
    BranchLayer,
    Chain,
    Maxout,
    PairwiseFusion,
    Parallel,
    RepeatedLayer,
    SkipConnection,
)
from ._dense import Bilinear, Dense, Embedding, Scale
from ._display import Summary, SummaryRow, output_shape, summary
from ._dropout import Dropout
from ._layer import Container, Layer, Wrapper
from ._normalise import BatchNorm, LayerNorm, RMSNorm
from ._setup import (
    apply,
    cast,
    parameter_length,
    setup,
    state_length,
    stateless_apply,
    testmode,
    trainmode,
    update_state,
)
from ._stateful import StatefulLayer

__all__ = [
    "AlternatePrecision",
    "BatchNorm",
    "Bilinear",
    "BranchLayer",
    "Chain",
    "Container",
    "Dense",
    "Dropout",
    "Embedding",
    "FlattenLayer",
    "Layer",
    "LayerNorm",
    "Maxout",
    "NoOpLayer",
    "PairwiseFusion",
    "Parallel",
    "RMSNorm",
    "RepeatedLayer",
    "ReshapeLayer",
    "ReverseSequence",
    "Scale",
    "SelectDim",
    "SkipConnection",
    "StatefulLayer",
    "Summary",
    "SummaryRow",
    "WrappedFunction",
    "Wrapper",
    "apply",
    "cast",
    "output_shape",
    "parameter_length",
    "setup",
    "state_length",
    "stateless_apply",
    "summary",
    "testmode",
    "trainmode",
    "update_state",
]
