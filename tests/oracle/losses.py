"""PyTorch's losses. Divergences of single elements, which luxon does not give, are `NotImplementedError`."""

from __future__ import annotations

import luxon as lx
from luxon import losses

from .registry import ops


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
