"""Layers as functions of their arrays: what the layers of `luxon.nn` call.

Example:
    >>> import luxon as lx
    >>> from luxon import functional
    >>> functional.linear(lx.ones((2, 3)), lx.ones((4, 3))).shape
    (2, 4)
"""

from ._attention import scaled_dot_product_attention
from ._dense import embedding, linear
from ._dropout import dropout
from ._normalise import batch_norm, group_norm, instance_norm, layer_norm, rms_norm

__all__ = [
    "batch_norm",
    "dropout",
    "embedding",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "linear",
    "rms_norm",
    "scaled_dot_product_attention",
]
