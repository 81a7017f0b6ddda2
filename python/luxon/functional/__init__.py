"""Layers as functions of their arrays: what the layers of `luxon.nn` call.

Example:
    >>> import luxon as lx
    >>> from luxon import functional
    >>> functional.linear(lx.ones((2, 3)), lx.ones((4, 3))).shape
    (2, 4)
"""

from ._attention import scaled_dot_product_attention
from ._conv import conv, conv_transpose
from ._dense import embedding, linear
from ._dropout import alpha_dropout, dropout
from ._normalise import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from ._pool import (
    adaptive_lp_pool,
    adaptive_max_pool,
    adaptive_mean_pool,
    lp_pool,
    max_pool,
    mean_pool,
)
from ._resample import pixel_shuffle, pixel_unshuffle, upsample

__all__ = [
    "adaptive_lp_pool",
    "adaptive_max_pool",
    "adaptive_mean_pool",
    "alpha_dropout",
    "batch_norm",
    "conv",
    "conv_transpose",
    "dropout",
    "embedding",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "linear",
    "lp_pool",
    "max_pool",
    "mean_pool",
    "pixel_shuffle",
    "pixel_unshuffle",
    "rms_norm",
    "scaled_dot_product_attention",
    "upsample",
]
