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
from ._conv import Conv, ConvTranspose
from ._debug import DebugLayer, NonFiniteError, debug_mode
from ._dense import Bilinear, Dense, Scale
from ._display import Summary, SummaryRow, output_shape, summary
from ._dropout import AlphaDropout, Dropout, VariationalHiddenDropout
from ._embedding import Embedding, PeriodicEmbedding, RotaryPositionalEmbedding, SinusoidalPositionalEmbedding
from ._freeze import FrozenLayer, freeze, unfreeze
from ._layer import Container, Layer, Wrapper
from ._layer_map import layer_map
from ._normalise import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from ._pool import (
    AdaptiveLPPool,
    AdaptiveMaxPool,
    AdaptiveMeanPool,
    GlobalLPPool,
    GlobalMaxPool,
    GlobalMeanPool,
    LPPool,
    MaxPool,
    MeanPool,
)
from ._recurrent import (
    BidirectionalRNN,
    GRUCell,
    LSTMCell,
    Recurrence,
    RNNCell,
    StatefulRecurrentCell,
    reset_carry,
)
from ._resample import Pad, PixelShuffle, PixelUnshuffle, Upsample
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
from ._weight_norm import WeightNorm

__all__ = [
    "AdaptiveLPPool",
    "AdaptiveMaxPool",
    "AdaptiveMeanPool",
    "AlphaDropout",
    "AlternatePrecision",
    "BatchNorm",
    "BidirectionalRNN",
    "Bilinear",
    "BranchLayer",
    "Chain",
    "Container",
    "Conv",
    "ConvTranspose",
    "DebugLayer",
    "Dense",
    "Dropout",
    "Embedding",
    "FlattenLayer",
    "FrozenLayer",
    "GRUCell",
    "GlobalLPPool",
    "GlobalMaxPool",
    "GlobalMeanPool",
    "GroupNorm",
    "InstanceNorm",
    "LPPool",
    "LSTMCell",
    "Layer",
    "LayerNorm",
    "MaxPool",
    "Maxout",
    "MeanPool",
    "MultiHeadAttention",
    "NoOpLayer",
    "NonFiniteError",
    "Pad",
    "PairwiseFusion",
    "Parallel",
    "PeriodicEmbedding",
    "PixelShuffle",
    "PixelUnshuffle",
    "RMSNorm",
    "RNNCell",
    "Recurrence",
    "RepeatedLayer",
    "ReshapeLayer",
    "ReverseSequence",
    "RotaryPositionalEmbedding",
    "Scale",
    "SelectDim",
    "SinusoidalPositionalEmbedding",
    "SkipConnection",
    "StatefulLayer",
    "StatefulRecurrentCell",
    "Summary",
    "SummaryRow",
    "Upsample",
    "VariationalHiddenDropout",
    "WeightNorm",
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
