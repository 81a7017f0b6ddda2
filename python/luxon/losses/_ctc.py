"""The loss of a sequence of labels against probabilities per time step."""

from __future__ import annotations

import dataclasses
from typing import Any

from .. import _core
from .._core import Tensor
from ._base import Loss, Reduction, by_core


def ctc(
    log_probabilities: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    zero_infinity: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """-log of the probability that the labels come out, over all alignments with time (Graves et al. 2006).

    Args:
        log_probabilities: (time, batch, classes), the logarithms of probabilities, as `log_softmax` gives them.
        targets: labels (batch, most labels), or those of all samples one after the other.
        input_lengths: the time steps of each sample (batch,).
        target_lengths: the labels of each sample (batch,).
        blank: the class of no label.
        zero_infinity: samples that are too short for their labels count 0 instead of infinity.
        reduction: how samples are joined; "mean" divides each loss by its number of labels first, as PyTorch.

    The gradient is that of `log_probabilities` as given; PyTorch's assumes that they come from `log_softmax`,
    behind which both are the same.

    Raises:
        ValueError: shapes or lengths that do not fit, the blank among the labels.
        IndexError: a label that is no class.
        TypeError: labels or lengths that are not integers.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses
        >>> even = lx.log(lx.full((3, 1, 2), 0.5))
        >>> loss = losses.ctc(even, lx.asarray([[1]]), lx.asarray([3]), lx.asarray([1]))
        >>> round(lx.exp(-loss).item() * 8, 3)  # of the 8 paths, 6 read as the one label
        6.0
    """
    lengths = (input_lengths, target_lengths)
    return by_core(_core.ctc, reduction, log_probabilities, targets, *lengths, blank, zero_infinity)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CTCLoss(Loss):
    """`ctc` with its settings; as an objective y is (targets, input_lengths, target_lengths)."""

    blank: int = 0
    zero_infinity: bool = False
    _function = staticmethod(ctc)

    def _of_model(self, prediction: Any, target: Any) -> Tensor:
        targets, input_lengths, target_lengths = target
        return self._value(prediction, targets, input_lengths, target_lengths)
