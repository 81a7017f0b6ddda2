"""PyTorch's operators of layers.

PyTorch takes most of these without a batch axis too; here the axis is added and taken away again. What luxon has
no setting for (indices of maxima, a divisor of one's own) is `NotImplementedError`.
"""

from __future__ import annotations

import functools
import math

import luxon as lx

from .registry import axes_of, op, ops

F = lx.functional


def batched(axes, function):
    """The function with a batch axis added where the input has `axes` spatial axes and channels only."""

    @functools.wraps(function)
    def apply(input, *args, **kwargs):
        if input.ndim != axes + 1:
            return function(input, *args, **kwargs)
        return lx.squeeze(function(lx.expand_dims(input, 0), *args, **kwargs), 0)

    return apply


def per_axis(value, axes):
    """One number for all axes, which PyTorch may wrap, as a number."""
    one = isinstance(value, (list, tuple)) and len(value) == 1 and axes > 1
    return value[0] if one else tuple(value) if isinstance(value, (list, tuple)) else value


def conv(axes):
    def apply(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        settings = [per_axis(value, axes) for value in (stride, padding, dilation)]
        return F.conv(input, weight, bias, *settings, groups)

    return batched(axes, apply)


def conv_transpose(axes):
    def apply(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        settings = [per_axis(value, axes) for value in (stride, padding, output_padding, dilation)]
        return F.conv_transpose(input, weight, bias, *settings, groups)

    return batched(axes, apply)


def mean_pool(axes):
    def apply(
        input,
        kernel_size,
        stride=None,
        padding=0,
        ceil_mode=False,
        count_include_pad=True,
        divisor_override=None,
    ):
        if divisor_override == 0:
            raise ValueError("mean_pool: a divisor of 0")
        if divisor_override is not None:
            raise NotImplementedError("a divisor of one's own")
        settings = [
            None if value is None else per_axis(value, axes)
            for value in (kernel_size, stride or None, padding)
        ]
        return F.mean_pool(input, *settings, ceil_mode, count_include_pad)

    return batched(axes, apply)


def max_pool(axes):
    def apply(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        settings = [
            None if value is None else per_axis(value, axes)
            for value in (kernel_size, stride, padding, dilation)
        ]
        pooled = F.max_pool(input, *settings, ceil_mode)
        if return_indices:
            raise NotImplementedError("indices of maxima")
        return pooled

    return batched(axes, apply)


def adaptive(axes, function):
    def apply(input, output_size, return_indices=False):
        sizes = output_size if isinstance(output_size, (list, tuple)) else (output_size,) * axes
        spatial = input.shape[-axes:]
        sizes = [size if want is None else want for want, size in zip(sizes, spatial, strict=False)]
        pooled = function(input, tuple(sizes))
        if return_indices:
            raise NotImplementedError("indices of maxima")
        return pooled

    return batched(axes, apply)


for axes in (1, 2, 3):
    ops[f"nn.functional.conv{axes}d"] = conv(axes)
    ops[f"nn.functional.conv_transpose{axes}d"] = conv_transpose(axes)
    ops[f"nn.functional.avg_pool{axes}d"] = mean_pool(axes)
    ops[f"nn.functional.max_pool{axes}d"] = max_pool(axes)
    ops[f"nn.functional.adaptive_avg_pool{axes}d"] = adaptive(axes, F.adaptive_mean_pool)
    ops[f"nn.functional.adaptive_max_pool{axes}d"] = adaptive(axes, F.adaptive_max_pool)


def interpolate(
    input, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None
):
    size, scale = (tuple(v) if isinstance(v, (list, tuple)) else v for v in (size, scale_factor))
    if recompute_scale_factor and size is None:
        scales = scale if isinstance(scale, tuple) else (scale,) * (input.ndim - 2)
        size, scale = (
            tuple(math.floor(n * factor) for n, factor in zip(input.shape[2:], scales, strict=True)),
            None,
        )
    return F.upsample(input, scale, size, mode, bool(align_corners))


for mode in ("nearest", "linear", "bilinear", "bicubic", "trilinear"):
    ops[f"nn.functional.interpolate.{mode}"] = interpolate


def pixels(function):
    def apply(input, factor=None, **named):
        (factor,) = named.values() if factor is None else (factor,)
        stack = input.shape[:-3]
        shuffled = function(lx.reshape(input, (math.prod(stack), *input.shape[-3:])), factor)
        return lx.reshape(shuffled, (*stack, *shuffled.shape[1:]))

    return apply


ops["nn.functional.pixel_shuffle"] = pixels(F.pixel_shuffle)
ops["nn.functional.pixel_unshuffle"] = pixels(F.pixel_unshuffle)


def attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    boolean = attn_mask is not None and attn_mask.dtype == lx.bool
    mask, bias = (attn_mask, None) if boolean else (None, attn_mask)
    return F.scaled_dot_product_attention(query, key, value, mask, bias, is_causal, scale)


ops["nn.functional.scaled_dot_product_attention"] = attention


def softened(function, sign=1):
    def soften(input, dim=None, dtype=None):
        x = input if dtype is None else lx.astype(input, dtype)
        x = x if sign == 1 else -x
        return lx.reshape(function(lx.reshape(x, (1,)), 0), ()) if x.ndim == 0 else function(x, dim)

    return soften


ops["softmax"] = ops["softmax.with_dtype"] = softened(lx.softmax)
ops["log_softmax"] = ops["log_softmax.with_dtype"] = softened(lx.log_softmax)
ops["nn.functional.softmin"] = ops["nn.functional.softmin.with_dtype"] = softened(lx.softmax, -1)


@op("nn.functional.one_hot")
def one_hot(input, num_classes=-1):
    return lx.one_hot(input, int(lx.max(input)) + 1 if num_classes == -1 else num_classes, lx.int64)


@op("nn.functional.linear")
def linear(input, weight, bias=None):
    return lx.functional.linear(input, weight, bias)


@op("nn.functional.embedding")
def embedding(weight, indices, padding_idx=None, **_):
    return lx.functional.embedding(weight, indices)


@op("nn.functional.normalize")
def normalize(input, p=2.0, dim=1, eps=1e-12):
    length = lx.linalg.vector_norm(input, axis=axes_of(input, dim), keepdims=True, ord=p)
    return input / lx.maximum(length, eps)


@op("nn.functional.cosine_similarity")
def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    x1, x2 = lx.broadcast_arrays(x1, x2)
    dim = axes_of(x1, dim)
    length = lambda x: lx.maximum(lx.linalg.vector_norm(x, axis=dim, keepdims=True), eps)  # noqa: E731
    return lx.sum((x1 / length(x1)) * (x2 / length(x2)), dim)


@op("nn.functional.pairwise_distance")
def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    return lx.linalg.vector_norm(x1 - x2 + eps, axis=-1, keepdims=keepdim, ord=p)


@op("nn.functional.pdist")
def pdist(input, p=2.0):
    rows, columns = lx.nonzero(lx.triu(lx.ones((len(input), len(input))), k=1))
    return lx.linalg.vector_norm(input[rows] - input[columns], axis=-1, ord=p)


@op("nn.functional.bilinear")
def bilinear(input1, input2, weight, bias=None):
    y = lx.einsum("...i,oij,...j->...o", input1, weight, input2)
    return y if bias is None else y + bias


@op("nn.functional.layer_norm")
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    return lx.functional.layer_norm(input, weight, bias, len(normalized_shape), eps)


@op("nn.functional.rms_norm")
def rms_norm(input, normalized_shape, weight=None, eps=None):
    if tuple(normalized_shape) != input.shape[input.ndim - len(normalized_shape) :]:
        raise ValueError(f"rms_norm: {normalized_shape} are not the last axes of {input.shape}")
    eps = float(lx.finfo(input.dtype).eps) if eps is None else eps
    return lx.functional.rms_norm(input, weight, len(normalized_shape), eps)


@op("nn.functional.group_norm")
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    return lx.functional.group_norm(input, num_groups, weight, bias, eps)


@op("nn.functional.batch_norm")
def batch_norm(input, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    statistics = (None, None) if training else (mean, var)
    return lx.functional.batch_norm(input, weight, bias, *statistics, eps)


@op("nn.functional.instance_norm")
def instance_norm(
    input,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
):
    if use_input_stats:
        return lx.functional.instance_norm(input, weight, bias, eps)
    return lx.functional.batch_norm(input, weight, bias, running_mean, running_var, eps)


@op("nn.functional.channel_shuffle")
def channel_shuffle(input, groups):
    split = lx.reshape(input, (input.shape[0], groups, -1, *input.shape[2:]))
    return lx.reshape(lx.swapaxes(split, 1, 2), input.shape)
