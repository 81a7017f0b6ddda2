"""PyTorch's operators of layers and losses in terms of luxon's functions; a part of `oracle_adaptor`.

PyTorch takes most of these without a batch axis too; here the axis is added and taken away again. What luxon has
no setting for (indices of maxima, a divisor of one's own, elementwise divergences) is `NotImplementedError`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import luxon as lx
from luxon import losses

F = lx.functional
ops: dict[str, Callable[..., Any]] = {}


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


# ---------------------------------------------------------------- losses


def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    axis = min(1, input.ndim - 1)
    ignored = ignore_index if lx.isdtype(target.dtype, "integral") else None
    return losses.cross_entropy(input, target, axis, True, label_smoothing, weight, ignored, reduction)


def binary_cross_entropy(from_logits):
    def apply(input, target, weight=None, reduction="mean", pos_weight=None):
        return losses.binary_cross_entropy(input, target, from_logits, 0.0, weight, pos_weight, reduction)

    return apply


def kl_div(input, target, reduction="mean", log_target=False):
    if reduction == "none" or input.ndim == 0:
        raise NotImplementedError("divergences of single elements")
    total = losses.kl_divergence(input, target, -1, True, log_target, reduction="sum")
    return total / {"sum": 1, "batchmean": input.shape[0], "mean": input.size}[reduction]


def poisson_nll(input, target, log_input=True, full=False, eps=1e-8, reduction="mean"):
    return losses.poisson_nll(input, target, log_input, full, reduction, eps=eps)


def gaussian_nll(input, target, var, full=False, eps=1e-6, reduction="mean"):
    if var.ndim == input.ndim - 1 and var.shape == input.shape[:-1]:
        var = lx.expand_dims(var, -1)
    input, target, var = lx.broadcast_arrays(input, target, var)
    return losses.gaussian_nll(input, target, var, full, reduction, eps=eps)


def triplet_margin(anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, reduction="mean"):
    return losses.triplet_margin(anchor, positive, negative, margin, p, swap, reduction, eps=eps)


def ctc(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    lengths = [lx.asarray(lengths) for lengths in (input_lengths, target_lengths)]
    return losses.ctc(log_probs, targets, *lengths, blank, zero_infinity, reduction)


ops.update(
    {
        "nn.functional.l1_loss": lambda input, target, reduction="mean": losses.mae(input, target, reduction),
        "nn.functional.mse_loss": lambda input, target, reduction="mean": losses.mse(
            input, target, reduction
        ),
        "nn.functional.huber_loss": lambda input, target, reduction="mean", delta=1.0: losses.huber(
            input, target, delta, reduction
        ),
        "nn.functional.smooth_l1_loss": lambda input, target, reduction="mean", beta=1.0: losses.smooth_l1(
            input, target, beta, reduction
        ),
        "nn.functional.cross_entropy": cross_entropy,
        "nn.functional.binary_cross_entropy": binary_cross_entropy(False),
        "nn.functional.binary_cross_entropy_with_logits": binary_cross_entropy(True),
        "nn.functional.kl_div": kl_div,
        "nn.functional.poisson_nll_loss": poisson_nll,
        "nn.functional.gaussian_nll_loss": gaussian_nll,
        "nn.functional.margin_ranking_loss": losses.margin_ranking,
        "nn.functional.cosine_embedding_loss": losses.cosine_embedding,
        "nn.functional.triplet_margin_loss": triplet_margin,
        "nn.functional.ctc_loss": ctc,
    }
)
