"""Calls luxon for what the reference cases of layers and losses name.

The cases are PyTorch's: settings, weights, inputs, outputs, gradients. Names and arguments are translated here, and
what the catalogue does not have is put together from functions that it has; differentiation is luxon's own
throughout. `cases` reads the files.
"""

import math

import numpy as np

import luxon as lx
from luxon import functional, losses, nn


def convert(value, dtype):
    """Floating arrays as tensors of the dtype, others as tensors of their own."""
    return lx.asarray(value, dtype=dtype if value.dtype.kind == "f" else None)


def of_layer(layer):
    """A function of (parameters, inputs) for a layer in training; several inputs go in as a tuple."""
    st = nn.setup(0, layer)[1]
    return lambda ps, *x: layer(x[0] if len(x) == 1 else x, ps, st)[0]


def of_function(function, *arguments, **settings):
    """The same for a function of tensors."""
    return lambda ps, *x: function(*x, *arguments, **settings)


def axes_of(name):
    """The number of spatial axes that a name such as Conv2d ends with."""
    return int(name[-2])


def repeated(value, count):
    return tuple(value) if isinstance(value, list | tuple) else (value,) * count


# --- dense, normalisation -------------------------------------------------------------------------------------


def linear(name, inputs, outputs, bias=True):
    return of_layer(nn.Dense(inputs, outputs, use_bias=bias))


def bilinear(name, first, second, outputs, bias=True):
    return of_layer(nn.Bilinear((first, second), outputs, use_bias=bias))


def embedding(name, n, dim, padding_idx=None):
    return of_layer(nn.Embedding(n, dim, padding_index=padding_idx))


def embedding_bag(name, n, dim, mode):
    joined = {"mean": lx.mean, "sum": lx.sum}[mode]
    return lambda ps, x: joined(functional.embedding(ps["weight"], x), axis=1)


def layer_norm(name, shape, elementwise_affine=True, bias=True):
    return of_layer(nn.LayerNorm(shape, affine=elementwise_affine, use_bias=bias))


def rms_norm(name, shape, eps, elementwise_affine=True):
    return of_layer(nn.RMSNorm(shape, affine=elementwise_affine, eps=eps))


def group_norm(name, groups, channels, affine=True):
    return of_layer(nn.GroupNorm(channels, groups, affine=affine))


def instance_norm(name, channels, affine=False):
    return of_layer(nn.InstanceNorm(channels, affine=affine))


def local_response_norm(name, size, alpha=1e-4, beta=0.75, k=1.0):
    def run(ps, x):
        channels = x.shape[1]
        around = [(0, 0), (size // 2, (size - 1) // 2)] + [(0, 0)] * (x.ndim - 2)
        squares = lx.pad(x * x, around)
        total = sum(squares[:, first : first + channels] for first in range(size))
        return x / (k + alpha * total / size) ** beta

    return run


def cosine_similarity(name, dim=1, eps=1e-8):
    def run(ps, a, b):
        lengths = lx.sqrt(lx.sum(a * a, axis=dim) * lx.sum(b * b, axis=dim))
        return lx.sum(a * b, axis=dim) / lx.maximum(lengths, eps)

    return run


# --- images ---------------------------------------------------------------------------------------------------

PADDING = {"zeros": "zeros", "circular": "wrap", "replicate": "edge", "reflect": "reflect"}


def upsample(name, scale_factor, mode, align_corners=False):
    return of_layer(nn.Upsample(scale_factor, mode=mode, align_corners=align_corners))


def pad(mode):
    def build(name, widths):
        pairs = [(widths[i], widths[i + 1]) for i in range(0, len(widths), 2)]
        return of_layer(nn.Pad(tuple(pairs[::-1]), mode=mode))

    return build


def fold(name, size, kernel):
    """Overlapping blocks (N, channels * kernel^2, places), added up where they lie."""

    def run(ps, x):
        rows, columns = (length - kernel + 1 for length in size)
        blocks = x.reshape((x.shape[0], -1, kernel, kernel, rows, columns))
        total = 0.0
        for i in range(kernel):
            for j in range(kernel):
                widths = [(0, 0), (0, 0), (i, kernel - 1 - i), (j, kernel - 1 - j)]
                total = total + lx.pad(blocks[:, :, i, j], widths)
        return total

    return run


def convolution(name, inputs, outputs, kernel, bias=True, padding_mode="zeros", **settings):
    kernel = repeated(kernel, axes_of(name))
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    if name.startswith("ConvTranspose"):
        return of_layer(nn.ConvTranspose(kernel, inputs, outputs, use_bias=bias, **settings))
    return of_layer(
        nn.Conv(kernel, inputs, outputs, use_bias=bias, padding_mode=PADDING[padding_mode], **settings)
    )


def pool(kind):
    def build(name, *norm, kernel_size, **settings):
        settings |= {"p": norm[0]} if norm else {}
        return of_layer(kind()(repeated(kernel_size, axes_of(name)), **settings))

    return build


def adaptive(kind):
    return lambda name, output: of_layer(kind()(repeated(output, axes_of(name))))


# --- activations ----------------------------------------------------------------------------------------------


def activation(function):
    return lambda name, *arguments, **settings: of_function(function, *arguments, **settings)


def along(function):
    return lambda name, dim=-1: of_function(function, axis=dim)


def prelu(name, count=1):
    def run(ps, x):
        slope = ps["weight"].reshape((1, -1) + (1,) * (x.ndim - 2))
        return lx.where(x > 0, x, slope * x)

    return run


# --- recurrence and attention ---------------------------------------------------------------------------------

CELLS = {"RNN": "RNNCell", "LSTM": "LSTMCell", "GRU": "GRUCell"}


def cell(name, inputs, hidden, bias=True):
    layer = getattr(nn, name)(inputs, hidden, use_bias=bias)
    st = nn.setup(0, layer)[1]

    def run(ps, x, *carry):
        (_, after), _ = layer((x, carry if len(carry) > 1 else carry[0]), ps, st)
        return after

    return run


def recurrence(name, inputs, hidden, num_layers=1, bidirectional=False, bias=True, batch_first=False):
    directions = ("", "_reverse") if bidirectional else ("",)
    time = 1 if batch_first else 0

    def run(ps, x):
        carries = []
        for level in range(num_layers):
            results = []
            for direction in directions:
                end = f"_l{level}{direction}"
                own = {key.removesuffix(end): value for key, value in ps.items() if key.endswith(end)}
                unit = getattr(nn, CELLS[name])(x.shape[-1], hidden, use_bias=bias)
                layer = nn.Recurrence(unit, return_sequence=True, time_major=time == 0, return_carry=True)
                given = lx.flip(x, axis=time) if direction else x
                (y, carry), _ = layer(given, own, nn.setup(0, layer)[1])
                results.append(lx.flip(y, axis=time) if direction else y)
                carries.append(carry if isinstance(carry, tuple) else (carry,))
            x = lx.concat(results, axis=-1)
        return (x, *(lx.stack(parts) for parts in zip(*carries, strict=True)))

    return run


def attention(name, dim, heads, batch_first=True, bias=True, kdim=None, vdim=None, **further):
    def run(ps, q, k, v):
        biases = lx.split(ps["in_proj_bias"], 3) if bias else (None,) * 3
        if "in_proj_weight" in ps:
            weights = lx.split(ps["in_proj_weight"], 3)
        else:
            weights = [ps[f"{letter}_proj_weight"] for letter in "qkv"]
        if kdim is None and not further:
            layer = nn.MultiHeadAttention(dim, heads, use_bias=bias, return_weights=True)
            projections = [
                *zip(weights, biases, strict=True),
                (ps["out_proj.weight"], ps.get("out_proj.bias")),
            ]
            own = {
                f"{which}_proj": {"weight": weight} | ({"bias": offset} if bias else {})
                for which, (weight, offset) in zip(("q", "k", "v", "out"), projections, strict=True)
            }
            y, shares = layer((q, k, v), own, nn.setup(0, layer)[1])[0]
            return y, lx.mean(shares, axis=1)
        q, k, v = (
            functional.linear(x, weight, offset)
            for x, weight, offset in zip((q, k, v), weights, biases, strict=True)
        )
        batch = q.shape[0]
        if further.get("add_bias_kv"):
            k, v = (
                lx.concat([x, lx.broadcast_to(ps[key], (batch, 1, dim))], axis=1)
                for x, key in ((k, "bias_k"), (v, "bias_v"))
            )
        if further.get("add_zero_attn"):
            k, v = (lx.concat([x, lx.zeros((batch, 1, dim), dtype=x.dtype)], axis=1) for x in (k, v))
        q, k, v = (
            lx.permute_dims(x.reshape((batch, -1, heads, dim // heads)), (0, 2, 1, 3)) for x in (q, k, v)
        )
        shares = lx.softmax(q @ k.mT / math.sqrt(dim // heads), axis=-1)
        y = lx.permute_dims(shares @ v, (0, 2, 1, 3)).reshape((batch, -1, dim))
        return functional.linear(y, ps["out_proj.weight"], ps.get("out_proj.bias")), lx.mean(shares, axis=1)

    return run


# --- losses ---------------------------------------------------------------------------------------------------


def loss(function):
    return lambda name, **settings: of_function(function, **settings)


def tensor_like(values, x):
    return None if values is None else lx.asarray(np.asarray(values), dtype=x.dtype)


def joined(values, reduction):
    return {"mean": lx.mean, "sum": lx.sum, "none": lambda values: values}[reduction](values)


def cross_entropy(x, target, weight=None, **settings):
    return losses.cross_entropy(x, target, axis=1, weight=tensor_like(weight, x), **settings)


def bce_with_logits(x, target, pos_weight=None, **settings):
    return losses.binary_cross_entropy(x, target, pos_weight=tensor_like(pos_weight, x), **settings)


def nll(x, target, weight=None, reduction="mean"):
    factor = lx.take(tensor_like([1.0] * x.shape[1] if weight is None else weight, x), target)
    values = -factor * lx.take_along_axis(x, target[:, None], axis=1)[:, 0]
    return lx.sum(values) / lx.sum(factor) if reduction == "mean" else joined(values, reduction)


def kl_div(x, target, log_target=False, reduction="mean"):
    """Every element by itself, as PyTorch has it."""
    x, target = x[..., None], target[..., None]
    return losses.kl_divergence(x, target, log_prediction=True, log_target=log_target, reduction=reduction)


def multi_margin(x, target, reduction="mean"):
    rows = lx.arange(x.shape[0])
    own = x[rows, target]
    values = lx.relu(1.0 - own[:, None] + x)
    return joined((lx.sum(values, axis=1) - values[rows, target]) / x.shape[1], reduction)


def multi_label(x, target, reduction="mean"):
    values = losses.binary_cross_entropy(x, target, reduction="none")
    return joined(lx.mean(values, axis=1), reduction)


def hinge_embedding(x, target, margin=1.0, reduction="mean"):
    return joined(lx.where(target == 1, x, lx.relu(margin - x)), reduction)


def soft_margin(x, target, reduction="mean"):
    return joined(lx.softplus(-target * x), reduction)


LOSSES = {
    "L1Loss": losses.mae,
    "MSELoss": losses.mse,
    "SmoothL1Loss": losses.smooth_l1,
    "HuberLoss": losses.huber,
    "PoissonNLLLoss": lambda x, target, log_input=True, **settings: losses.poisson_nll(
        x, target, log_prediction=log_input, **settings
    ),
    "GaussianNLLLoss": losses.gaussian_nll,
    "CrossEntropyLoss": cross_entropy,
    "NLLLoss": nll,
    "KLDivLoss": kl_div,
    "BCELoss": lambda x, target, **settings: losses.binary_cross_entropy(
        x, target, from_logits=False, **settings
    ),
    "BCEWithLogitsLoss": bce_with_logits,
    "SoftMarginLoss": soft_margin,
    "MarginRankingLoss": losses.margin_ranking,
    "TripletMarginLoss": losses.triplet_margin,
    "MultiMarginLoss": multi_margin,
    "MultiLabelSoftMarginLoss": multi_label,
    "HingeEmbeddingLoss": hinge_embedding,
    "CosineEmbeddingLoss": losses.cosine_embedding,
}

ACTIVATIONS = {
    "ReLU": lx.relu,
    "ReLU6": lx.relu6,
    "LeakyReLU": lx.leaky_relu,
    "ELU": lx.elu,
    "CELU": lx.celu,
    "SELU": lx.selu,
    "GELU": lx.gelu,
    "SiLU": lx.silu,
    "Mish": lx.mish,
    "Softplus": lx.softplus,
    "Softsign": lx.softsign,
    "Tanhshrink": lx.tanh_shrink,
    "Hardtanh": lx.hard_tanh,
    "Hardsigmoid": lx.hard_sigmoid,
    "Hardswish": lx.hard_swish,
    "LogSigmoid": lx.log_sigmoid,
    "Sigmoid": lx.sigmoid,
    "Tanh": lx.tanh,
    "Softshrink": lx.soft_shrink,
    "Hardshrink": lx.hard_shrink,
}

BUILDERS = {
    "Linear": linear,
    "Bilinear": bilinear,
    "Embedding": embedding,
    "EmbeddingBag": embedding_bag,
    "LayerNorm": layer_norm,
    "RMSNorm": rms_norm,
    "GroupNorm": group_norm,
    "LocalResponseNorm": local_response_norm,
    "CosineSimilarity": cosine_similarity,
    "Upsample": upsample,
    "PixelShuffle": lambda name, factor: of_layer(nn.PixelShuffle(factor)),
    "PixelUnshuffle": lambda name, factor: of_layer(nn.PixelUnshuffle(factor)),
    "ZeroPad2d": pad("constant"),
    "ReflectionPad2d": pad("reflect"),
    "ReplicationPad2d": pad("edge"),
    "CircularPad2d": pad("wrap"),
    "Fold": fold,
    "PReLU": prelu,
    "GLU": along(lx.glu),
    "Softmax": along(lx.softmax),
    "LogSoftmax": along(lx.log_softmax),
    "Softmin": along(lambda x, axis: lx.softmax(-x, axis=axis)),
    "MultiheadAttention": attention,
    **dict.fromkeys(CELLS.values(), cell),
    **dict.fromkeys(CELLS, recurrence),
    **{f"InstanceNorm{n}d": instance_norm for n in (1, 2, 3)},
    **{f"{kind}{n}d": convolution for kind in ("Conv", "ConvTranspose") for n in (1, 2, 3)},
    **{f"MaxPool{n}d": pool(lambda: nn.MaxPool) for n in (1, 2, 3)},
    **{f"AvgPool{n}d": pool(lambda: nn.MeanPool) for n in (1, 2, 3)},
    **{f"LPPool{n}d": pool(lambda: nn.LPPool) for n in (1, 2, 3)},
    **{f"AdaptiveMaxPool{n}d": adaptive(lambda: nn.AdaptiveMaxPool) for n in (1, 2, 3)},
    **{f"AdaptiveAvgPool{n}d": adaptive(lambda: nn.AdaptiveMeanPool) for n in (1, 2, 3)},
    **{name: activation(function) for name, function in ACTIVATIONS.items()},
    **{name: loss(function) for name, function in LOSSES.items()},
}


def build(case):
    """The function of (parameters, inputs) that a case is about."""
    name = case["layer"]
    return BUILDERS[name](name, *case["args"], **case["settings"])


def norm_with_state(case, step):
    """The layer of a case with running statistics, as it is at a step (counted from 0)."""
    settings = dict(case["settings"])
    # Without a momentum the statistics are the means over the steps so far.
    momentum = settings.pop("momentum", 0.1)
    options = {"momentum": 1.0 / (step + 1) if momentum is None else momentum}
    for theirs, ours in (("affine", "affine"), ("track_running_stats", "track_stats"), ("eps", "eps")):
        if theirs in settings:
            options[ours] = settings.pop(theirs)
    assert not settings
    kind = nn.BatchNorm if case["layer"].startswith("Batch") else nn.InstanceNorm
    return kind(*case["args"], **options)
