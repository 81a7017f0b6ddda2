"""First and second derivatives of losses, activations and layers against central differences.

Those of pooling, resampling, positional embeddings, sequences and attention beyond what is here are in the tests of
these families, of convolution with all its settings as well.
"""

import numpy as np
import pytest

import luxon as lx
from luxon import functional, losses, nn
from luxon.testing import check_gradients

RNG = np.random.default_rng(0)
P, T = RNG.uniform(0.1, 0.9, (2, 3, 4))
A, B, C = RNG.normal(size=(3, 3, 4))
SIGNS = np.where(RNG.normal(size=(3, 4)) > 0, 1.0, -1.0)
CLASSES = np.array([2, 0, 3])
KEY = lx.random.key(0)
CTC = (np.array([[1, 1], [2, 3]]), np.array([5, 4]), np.array([2, 2]))
PATHS = RNG.normal(size=(5, 2, 4))

LOSSES = {
    "mse": (losses.mse, A, B),
    "mae": (losses.mae, A, B),
    "huber": (lambda p, t: losses.huber(p, t, delta=0.7), A, B),
    "smooth_l1": (lambda p, t: losses.smooth_l1(p, t, beta=0.7), A, B),
    "msle": (losses.msle, P, T),
    "log_cosh": (losses.log_cosh, 3 * A, B),
    "cross_entropy": (lambda p: losses.cross_entropy(p, CLASSES, label_smoothing=0.1), A),
    "cross_entropy of probabilities": (
        lambda p, t: losses.cross_entropy(p, t, from_logits=False, axis=0),
        P,
        T,
    ),
    "binary_cross_entropy": (lambda p, t: losses.binary_cross_entropy(p, t, pos_weight=2.0), A, T),
    "binary_cross_entropy of probabilities": (
        lambda p, t: losses.binary_cross_entropy(p, t, from_logits=False, label_smoothing=0.1),
        P,
        T,
    ),
    "focal": (losses.focal, P, T),
    "focal 1.5": (lambda p, t: losses.focal(p, t, gamma=1.5, axis=0), P, T),
    "binary_focal": (losses.binary_focal, P, T),
    "kl_divergence": (losses.kl_divergence, P, T),
    "kl_divergence of logarithms": (
        lambda p, t: losses.kl_divergence(p, t, axis=0, log_prediction=True, log_target=True),
        A,
        B,
    ),
    "hinge": (lambda p: losses.hinge(p, SIGNS), A),
    "squared_hinge": (lambda p: losses.squared_hinge(p, SIGNS), A),
    "poisson_nll": (lambda p, t: losses.poisson_nll(p, t, full=True), P, 3 * T),
    "poisson_nll of logarithms": (lambda p, t: losses.poisson_nll(p, t, log_prediction=True), A, T),
    "gaussian_nll": (lambda m, t, v: losses.gaussian_nll(m, t, v, full=True), A, B, P),
    "dice": (losses.dice, P, T),
    "siamese_contrastive": (losses.siamese_contrastive, P, T),
    "cosine_embedding": (lambda a, b: losses.cosine_embedding(a, b, SIGNS[:, 0], margin=-0.9), A, B),
    "margin_ranking": (lambda a, b: losses.margin_ranking(a, b, SIGNS, margin=0.3), A, B),
    "triplet_margin": (lambda a, b, c: losses.triplet_margin(a, b, c, margin=3.0, swap=True), A, B, C),
    "triplet_margin 3": (lambda a, b, c: losses.triplet_margin(a, b, c, margin=3.0, p=3.0), A, B, C),
    "ctc": (lambda x: losses.ctc(x, *CTC), PATHS),
    "ctc of logits": (lambda x: losses.ctc(lx.log_softmax(x), *CTC, reduction="sum"), PATHS),
}

# Away from kinks, whose sides a central difference mixes.
POINTS = np.array([-4.3, -2.2, -0.7, -0.2, 0.3, 0.8, 1.7, 4.1])
ACTIVATIONS = {
    name: (getattr(lx, name), POINTS)
    for name in [
        "relu",
        "relu6",
        "leaky_relu",
        "elu",
        "celu",
        "selu",
        "gelu",
        "silu",
        "swish",
        "hard_swish",
        "mish",
        "sigmoid",
        "hard_sigmoid",
        "log_sigmoid",
        "tanh",
        "hard_tanh",
        "tanh_shrink",
        "soft_shrink",
        "hard_shrink",
        "softplus",
        "softsign",
        "log_cosh",
        "lisht",
        "threshold_relu",
    ]
}
ACTIVATIONS |= {
    "rrelu": (lambda x: lx.rrelu(KEY, x), POINTS),
    "gelu tanh": (lambda x: lx.gelu(x, approximate="tanh"), POINTS),
    "celu 0.5": (lambda x: lx.celu(x, 0.5), POINTS),
    "elu 0.5": (lambda x: lx.elu(x, 0.5), POINTS),
    "softplus 2 3": (lambda x: lx.softplus(x, 2.0, 3.0), POINTS),
    "glu": (lambda x: lx.glu(x, axis=0), A[:2]),
    "softmax": (lambda x: lx.softmax(x, axis=0), A),
    "log_softmax": (lx.log_softmax, A),
    "logsumexp": (lambda x: lx.logsumexp(x, axis=1, keepdims=True), A),
}


def layer(layer, *shape, st=None):
    """A layer in training as a function of its parameters and input."""
    ps, states = nn.setup(1, layer, "float64")
    states = states if st is None else st(states)
    ps = lx.tree.map(lambda leaf: leaf + 0.1 * lx.random.normal(KEY, leaf.shape, dtype="float64"), ps)
    return lambda ps, x: layer(x, ps, states)[0], ps, RNG.normal(size=shape)


def squared(layer, *shape):
    """A linear layer without parameters after squaring."""
    return lambda x: layer(lx.square(x), {}, {})[0], RNG.normal(size=shape)


def pairs(kind, *shapes):
    """A layer of a pair as a function of its parameters and both inputs."""
    function, ps, _ = layer(kind)
    return lambda ps, *x: function(ps, x), ps, *(RNG.normal(size=shape) for shape in shapes)


def carried(cell, *carry):
    """A cell as a function of its parameters, its input and its carry's parts."""
    function, ps, x = layer(cell, 2, 3)
    joined = {0: lambda x: x, 1: lambda x, h: (x, h), 2: lambda x, *parts: (x, parts)}[len(carry)]
    return lambda ps, *x: function(ps, joined(*x)), ps, x, *(RNG.normal(size=shape) for shape in carry)


LAYERS = {
    "BatchNorm": layer(nn.BatchNorm(2, lx.tanh), 3, 2, 2),
    "BatchNorm of vectors": layer(nn.BatchNorm(3, affine=False), 4, 3),
    "BatchNorm in testing": layer(nn.BatchNorm(3), 2, 3, st=nn.testmode),
    "GroupNorm": layer(nn.GroupNorm(4, 2), 2, 4, 3),
    "GroupNorm without weights": layer(nn.GroupNorm(2, 1, affine=False, activation=lx.silu), 2, 2, 2),
    "InstanceNorm": layer(nn.InstanceNorm(2, affine=True), 2, 2, 3),
    "InstanceNorm tracked": layer(nn.InstanceNorm(2, track_stats=True), 2, 2, 3),
    "InstanceNorm in testing": layer(nn.InstanceNorm(2, True, True), 2, 2, 3, st=nn.testmode),
    "LayerNorm": layer(nn.LayerNorm((2, 3)), 2, 2, 3),
    "LayerNorm without bias": layer(nn.LayerNorm(4, use_bias=False), 2, 4),
    "RMSNorm": layer(nn.RMSNorm(4), 2, 4),
    "WeightNorm": layer(nn.WeightNorm(nn.Dense(3, 2, lx.tanh), "weight"), 2, 3),
    "WeightNorm 1": layer(nn.WeightNorm(nn.Dense(3, 2), ["weight"], axis=1), 2, 3),
    "Dropout": layer(nn.Dropout(0.4), 3, 4),
    "AlphaDropout": layer(nn.AlphaDropout(0.4), 3, 4),
    "VariationalHiddenDropout": layer(nn.VariationalHiddenDropout(0.4), 3, 4),
    "Dense": layer(nn.Dense(3, 2, lx.gelu), 2, 3),
    "Bilinear": pairs(nn.Bilinear((3, 2), 2, lx.tanh), (2, 3), (2, 2)),
    "Scale": layer(nn.Scale((2, 1), lx.silu), 3, 2, 2),
    "Embedding": (
        lambda ps, x: nn.Embedding(4, 3, 1)(CLASSES, ps, {})[0] * x,
        {"weight": A[0].reshape(4, 1) * C[0, :3]},
        A[:, :3],
    ),
    "Conv": layer(nn.Conv((2, 2), 2, 2, lx.tanh, padding=1, stride=2), 1, 2, 3, 3),
    "Conv edge": layer(
        nn.Conv((3,), 2, 4, padding=2, padding_mode="edge", groups=2, flip_kernel=True), 1, 2, 4
    ),
    "Conv of volumes": layer(nn.Conv((2, 1, 2), 1, 2, use_bias=False), 1, 1, 3, 2, 2),
    "ConvTranspose": layer(nn.ConvTranspose((3, 2), 2, 2, lx.tanh, stride=2, output_padding=1), 1, 2, 2, 2),
    "GlobalMaxPool": layer(nn.GlobalMaxPool(), 1, 2, 2, 3),
    "PixelUnshuffle": squared(nn.PixelUnshuffle(2), 1, 2, 2, 4),
    "RNNCell": carried(nn.RNNCell(3, 2, train_state=True)),
    "RNNCell of another function": carried(nn.RNNCell(3, 2, lx.softplus), (2, 2)),
    "LSTMCell": carried(nn.LSTMCell(3, 2), (2, 2), (2, 2)),
    "LSTMCell from trained states": carried(nn.LSTMCell(3, 2, train_state=True, train_memory=True)),
    "GRUCell": carried(nn.GRUCell(3, 2), (2, 2)),
    "StatefulRecurrentCell": layer(nn.StatefulRecurrentCell(nn.GRUCell(3, 2)), 2, 3),
    "BidirectionalRNN": layer(nn.BidirectionalRNN(nn.GRUCell(3, 2), nn.LSTMCell(3, 2)), 2, 3, 3),
    "MultiHeadAttention": layer(nn.MultiHeadAttention(4, 2, causal=True, use_bias=True, kv_heads=1), 1, 3, 4),
    "MultiHeadAttention with dropout": layer(nn.MultiHeadAttention(4, 2, dropout=0.3), 1, 3, 4),
    "FlattenLayer": squared(nn.FlattenLayer(), 2, 2, 2),
    "ReshapeLayer": squared(nn.ReshapeLayer((2, -1)), 2, 4),
    "SelectDim": squared(nn.SelectDim(1, -1), 2, 3),
    "ReverseSequence": squared(nn.ReverseSequence(), 2, 3),
    "NoOpLayer": squared(nn.NoOpLayer(), 2),
    "WrappedFunction": layer(nn.WrappedFunction(lx.sin), 3),
    "AlternatePrecision": layer(nn.AlternatePrecision("float64", nn.Dense(3, 2, lx.tanh)), 2, 3),
    "Chain": layer(nn.Chain(nn.Dense(3, 4, lx.tanh), nn.LayerNorm(4), nn.Dense(4, 2)), 2, 3),
    "Parallel": layer(nn.Parallel(lx.multiply, nn.Dense(3, 2), nn.Dense(3, 2, lx.tanh)), 2, 3),
    "BranchLayer": layer(nn.BranchLayer(nn.Dense(3, 2), nn.Dense(3, 2), fusion=nn.Bilinear((2, 2), 1)), 2, 3),
    "PairwiseFusion": layer(nn.PairwiseFusion(lx.multiply, nn.Dense(3, 3, lx.tanh), nn.Dense(3, 3)), 2, 3),
    "SkipConnection": layer(nn.SkipConnection(nn.Dense(3, 3, lx.tanh), lx.multiply), 2, 3),
    "RepeatedLayer": layer(nn.RepeatedLayer(nn.Dense(3, 3, lx.tanh), 3), 2, 3),
    "Maxout": layer(nn.Maxout(lambda: nn.Dense(3, 2), 3), 2, 3),
    "FrozenLayer": layer(nn.FrozenLayer(nn.Dense(3, 2, lx.tanh), "bias"), 2, 3),
    "DebugLayer": layer(nn.DebugLayer(nn.Dense(3, 2, lx.tanh)), 2, 3),
    "embedding": (lambda w: functional.embedding(w, CLASSES), A.repeat(2, 0)),
}

CASES = {**LOSSES, **ACTIVATIONS, **LAYERS}


@pytest.mark.parametrize("name", CASES)
def test_gradients(name):
    function, *arguments = CASES[name]
    check_gradients(function, arguments, rtol=2e-5, atol=2e-6)
