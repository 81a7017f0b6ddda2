"""Losses: functions of prediction and target, and objects that also serve as objectives.

A function is `name(prediction, target, ..., reduction="mean"|"sum"|"none"|callable)`. The object of the
same name holds the settings; called with (prediction, target) it is the function, called with
(model, ps, st, (x, y)) it is an objective for `luxon.training`. Mismatched shapes are an error, never a
silent broadcast.

Example:
    >>> import luxon as lx
    >>> from luxon import losses
    >>> losses.mse(lx.asarray([1.0, 2.0]), lx.asarray([1.0, 4.0])).item()
    2.0
    >>> losses.HuberLoss(delta=0.5)(lx.asarray([1.0, 2.0]), lx.asarray([1.0, 4.0])).item()
    0.4375
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

from . import _core
from ._core import Tensor

Reduction = str | Callable[[Tensor], Tensor]


def _reduce(values: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "mean":
        return _core.mean(values)
    if reduction == "sum":
        return _core.sum(values)
    if reduction == "none":
        return values
    if callable(reduction):
        return reduction(values)
    raise ValueError(f"reduction must be 'mean', 'sum', 'none' or a function, got {reduction!r}")


def _same_shape(name: str, prediction: Any, target: Any) -> tuple[Tensor, Tensor]:
    prediction, target = _core.asarray(prediction), _core.asarray(target)
    if prediction.shape != target.shape:
        raise ValueError(
            f"{name}: prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ"
        )
    return prediction, target


def mse(prediction: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """The squared error (prediction - target)^2.

    Args:
        prediction, target: tensors of one shape.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ.
    """
    if callable(reduction):
        return reduction(_core.mse(prediction, target, "none"))
    return _core.mse(prediction, target, reduction)


def mae(prediction: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """The absolute error |prediction - target|.

    Args:
        prediction, target: tensors of one shape.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ.
    """
    if callable(reduction):
        return reduction(_core.mae(prediction, target, "none"))
    return _core.mae(prediction, target, reduction)


def huber(prediction: Tensor, target: Tensor, delta: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = prediction - target (Huber 1964).

    Args:
        prediction, target: tensors of one shape.
        delta: where the square turns into a line, positive.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ, or delta is not positive.
    """
    if callable(reduction):
        return reduction(_core.huber(prediction, target, delta, "none"))
    return _core.huber(prediction, target, delta, reduction)


def cross_entropy(
    prediction: Tensor,
    target: Tensor,
    axis: int = -1,
    from_logits: bool = True,
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """-log of the target class's probability, or -sum(target * log probability) for probability targets.

    Args:
        prediction: logits (or probabilities with `from_logits=False`), classes along `axis`.
        target: class numbers of the prediction's shape without `axis`, or probabilities of its shape.
        axis: the classes' axis.
        from_logits: whether the prediction still needs a softmax; probabilities are normalised.
        label_smoothing: mixes the target with the uniform distribution, in [0, 1].
        weight: one factor per class; the mean is then weighted, as in PyTorch.
        ignore_index: a class number that counts nothing.
        reduction: how values are joined.

    Raises:
        ValueError: shapes that do not fit, label_smoothing outside [0, 1].
        IndexError: a class number outside the classes.
    """
    prediction, target = _core.asarray(prediction), _core.asarray(target)
    if not from_logits:
        prediction = _log_probability(prediction, axis)
    if callable(reduction):
        values = _core.cross_entropy(prediction, target, axis, label_smoothing, weight, ignore_index, "none")
        return reduction(values)
    return _core.cross_entropy(prediction, target, axis, label_smoothing, weight, ignore_index, reduction)


def _log_probability(probability: Tensor, axis: int) -> Tensor:
    """The logarithm of probabilities that sum to one, so that a softmax of it gives them back."""
    return _core.log(probability / _core.sum(probability, axis=axis, keepdims=True))


def binary_cross_entropy(
    prediction: Tensor,
    target: Tensor,
    from_logits: bool = True,
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
    pos_weight: Tensor | float | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)) with p = sigmoid(prediction), computed without overflow.

    Args:
        prediction: logits (or probabilities with `from_logits=False`).
        target: probabilities of the same shape.
        from_logits: whether the prediction still needs a sigmoid.
        label_smoothing: moves targets towards 1/2, in [0, 1].
        weight: a factor per element.
        pos_weight: a factor of the positive part.
        reduction: how values are joined.

    Raises:
        ValueError: shapes differ, label_smoothing outside [0, 1].
    """
    if from_logits:
        if callable(reduction):
            values = _core.binary_cross_entropy(
                prediction, target, label_smoothing, weight, pos_weight, "none"
            )
            return reduction(values)
        return _core.binary_cross_entropy(prediction, target, label_smoothing, weight, pos_weight, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"binary_cross_entropy: label_smoothing must lie in [0, 1], got {label_smoothing}")
    prediction, target = _same_shape("binary_cross_entropy", prediction, target)
    target = _core.astype(target, prediction.dtype)
    if label_smoothing:
        target = target * (1.0 - label_smoothing) + 0.5 * label_smoothing
    # PyTorch bounds the logarithms at -100, so that a certain and wrong prediction stays finite.
    positive = _core.maximum(_core.log(prediction), -100.0)
    negative = _core.maximum(_core.log1p(-prediction), -100.0)
    if pos_weight is not None:
        positive = positive * pos_weight
    values = -(target * positive + (1.0 - target) * negative)
    return _reduce(values if weight is None else values * weight, reduction)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss with its settings: call it with (prediction, target), or use it as an objective.

    As an objective, `loss(model, ps, st, (x, y))` gives (loss of the model's output against y, st, {}).
    """

    reduction: Reduction = "mean"
    _function: ClassVar[Callable[..., Tensor]]

    def __call__(self, *arguments: Any) -> Any:
        if len(arguments) == 4 and callable(arguments[0]):
            model, ps, st, data = arguments
            x, target = data
            prediction, st = model(x, ps, st)
            return self._value(prediction, target), st, {}
        return self._value(*arguments)

    def _value(self, *arguments: Any) -> Tensor:
        return type(self)._function(*arguments, **self._settings)

    @functools.cached_property
    def _settings(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MSELoss(Loss):
    """`mse` with its settings."""

    _function = staticmethod(mse)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAELoss(Loss):
    """`mae` with its settings."""

    _function = staticmethod(mae)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HuberLoss(Loss):
    """`huber` with its settings."""

    delta: float = 1.0
    _function = staticmethod(huber)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CrossEntropyLoss(Loss):
    """`cross_entropy` with its settings."""

    axis: int = -1
    from_logits: bool = True
    label_smoothing: float = 0.0
    weight: Tensor | None = None
    ignore_index: int | None = None
    _function = staticmethod(cross_entropy)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BinaryCrossEntropyLoss(Loss):
    """`binary_cross_entropy` with its settings."""

    from_logits: bool = True
    label_smoothing: float = 0.0
    weight: Tensor | None = None
    pos_weight: Tensor | float | None = None
    _function = staticmethod(binary_cross_entropy)
