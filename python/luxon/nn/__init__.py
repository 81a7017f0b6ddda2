"""Layers as immutable descriptions, with explicit parameters and states.

`ps, st = nn.setup(rng, model)`, then `y, st = model(x, ps, st)`.
"""

from ._attention import MultiHeadAttention
from ._basic import (
    AlternatePrecision,
    FlattenLayer,
    NoOpLayer,
    ReshapeLayer,
    ReverseSequence,
    SelectDim,
    WrappedFunction,
)
from ._compact import compact, param, state
from ._containers import (
    BranchLayer,
    Chain,
    Maxout,
    PairwiseFusion,
    Parallel,
    RepeatedLayer,
    SkipConnection,
)
from ._debug import DebugLayer, NonFiniteError, debug_mode
from ._dense import Bilinear, Dense, Embedding, Scale
from ._display import Summary, SummaryRow, output_shape, summary
from ._dropout import Dropout
from ._freeze import FrozenLayer, freeze, unfreeze
from ._layer import Container, Layer, Wrapper
from ._layer_map import layer_map
from ._normalise import BatchNorm, LayerNorm, RMSNorm
from ._recurrent import (
    BidirectionalRNN,
    GRUCell,
    LSTMCell,
    Recurrence,
    RNNCell,
    StatefulRecurrentCell,
    reset_carry,
)
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
from ._share import share_parameters, unshare_parameters
from ._stateful import StatefulLayer

__all__ = [
    "AlternatePrecision",
    "BatchNorm",
    "BidirectionalRNN",
    "Bilinear",
    "BranchLayer",
    "Chain",
    "Container",
    "DebugLayer",
    "Dense",
    "Dropout",
    "Embedding",
    "FlattenLayer",
    "FrozenLayer",
    "GRUCell",
    "LSTMCell",
    "Layer",
    "LayerNorm",
    "Maxout",
    "MultiHeadAttention",
    "NoOpLayer",
    "NonFiniteError",
    "PairwiseFusion",
    "Parallel",
    "RMSNorm",
    "RNNCell",
    "Recurrence",
    "RepeatedLayer",
    "ReshapeLayer",
    "ReverseSequence",
    "Scale",
    "SelectDim",
    "SkipConnection",
    "StatefulLayer",
    "StatefulRecurrentCell",
    "Summary",
    "SummaryRow",
    "WrappedFunction",
    "Wrapper",
    "apply",
    "cast",
    "compact",
    "debug_mode",
    "freeze",
    "layer_map",
    "output_shape",
    "param",
    "parameter_length",
    "reset_carry",
    "setup",
    "share_parameters",
    "state",
    "state_length",
    "stateless_apply",
    "summary",
    "testmode",
    "trainmode",
    "unfreeze",
    "unshare_parameters",
    "update_state",
]
