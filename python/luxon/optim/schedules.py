"""Learning rates as functions of the step, counted from 0.

A schedule is an immutable value that is called with a step; wherever a rule takes `lr`, it takes a schedule too.
Formulas are those of PyTorch's schedulers where it has one; the core computes them, for Rust programs as well.

Example:
    >>> from luxon.optim import schedules
    >>> rate = schedules.warmup(schedules.cosine(0.1, total_steps=100), steps=10)
    >>> rate(0), rate(5), rate(10)
    (0.0, 0.05, 0.1)
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from .. import _core

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "cosine_restarts",
    "exponential",
    "inverse_sqrt",
    "join",
    "linear",
    "multi_step",
    "one_cycle",
    "piecewise",
    "polynomial",
    "step",
    "triangular",
    "warmup",
]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A function of the step, with its settings as fields."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        self.__dict__["core"] = self._build()

    def _build(self) -> _core.Schedule:
        fields = {field.name: _of_core(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return _core.Schedule(type(self).__name__, fields)

    @functools.cached_property
    def core(self) -> _core.Schedule:
        """The core's value."""
        return self._build()

    def __call__(self, step: int) -> float:
        return self.core.at(step)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__["core"] = self._build()


def _of_core(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_of_core(item) for item in value]
    return getattr(value, "core", value)


AnyRate = float | Callable[[int], float]
"""A number, a schedule or any other function of the step."""


@dataclasses.dataclass(frozen=True)
class constant(Schedule):
    """Always `lr`.

    Example:
        >>> from luxon.optim import schedules
        >>> schedules.constant(0.1)(1000)
        0.1
    """

    lr: float


@dataclasses.dataclass(frozen=True)
class step(Schedule):
    """`lr * gamma ** (step // step_size)`.

    Args:
        lr: the first rate.
        step_size: steps at one rate.
        gamma: the factor from one rate to the next.

    Raises:
        ValueError: no positive step_size.

    Example:
        >>> from luxon.optim import schedules
        >>> [schedules.step(1.0, 2, gamma=0.5)(t) for t in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    lr: float
    step_size: int
    gamma: float = 0.1


@dataclasses.dataclass(frozen=True)
class multi_step(Schedule):
    """`lr * gamma ** k` after `k` milestones; a milestone is the first step at its rate.

    Args:
        lr: the first rate.
        milestones: steps, ascending.
        gamma: the factor from one rate to the next.

    Raises:
        ValueError: milestones that do not ascend.

    Example:
        >>> from luxon.optim import schedules
        >>> [schedules.multi_step(1.0, [1, 3], gamma=0.5)(t) for t in range(4)]
        [1.0, 0.5, 0.5, 0.25]
    """

    lr: float
    milestones: Sequence[int]
    gamma: float = 0.1


@dataclasses.dataclass(frozen=True)
class exponential(Schedule):
    """`lr * gamma ** step`.

    Example:
        >>> from luxon.optim import schedules
        >>> schedules.exponential(1.0, 0.5)(3)
        0.125
    """

    lr: float
    gamma: float


@dataclasses.dataclass(frozen=True)
class polynomial(Schedule):
    """`end + (lr - end) * (1 - step / total_steps) ** power`, then `end`.

    Raises:
        ValueError: no positive total_steps, or a negative power.

    Example:
        >>> from luxon.optim import schedules
        >>> [schedules.polynomial(1.0, 2, power=2)(t) for t in range(4)]
        [1.0, 0.25, 0.0, 0.0]
    """

    lr: float
    total_steps: int
    power: float = 1.0
    end: float = 0.0


@dataclasses.dataclass(frozen=True)
class linear(Schedule):
    """A straight line from `start` to `end` in `total_steps`, then `end`.

    Raises:
        ValueError: no positive total_steps.

    Example:
        >>> from luxon.optim import schedules
        >>> [schedules.linear(0.0, 1.0, 2)(t) for t in range(4)]
        [0.0, 0.5, 1.0, 1.0]
    """

    start: float
    end: float
    total_steps: int


@dataclasses.dataclass(frozen=True)
class cosine(Schedule):
    """`end + (lr - end) * (1 + cos(pi * step / total_steps)) / 2`.

    As in PyTorch the rate rises again after `total_steps`; `join` with a constant holds it.

    Raises:
        ValueError: no positive total_steps.

    Example:
        >>> from luxon.optim import schedules
        >>> schedules.cosine(1.0, 10)(0), schedules.cosine(1.0, 10)(10)
        (1.0, 0.0)
    """

    lr: float
    total_steps: int
    end: float = 0.0


@dataclasses.dataclass(frozen=True)
class cosine_restarts(Schedule):
    """Half periods of the cosine from `lr` to `end`, each `multiplier` times as long as the one before.

    Raises:
        ValueError: a period or multiplier that is not positive.

    Example:
        >>> from luxon.optim import schedules
        >>> [schedules.cosine_restarts(1.0, 4, multiplier=2)(t) for t in (0, 4, 12)]
        [1.0, 1.0, 1.0]
    """

    lr: float
    period: int
    multiplier: int = 1
    end: float = 0.0


@dataclasses.dataclass(frozen=True)
class one_cycle(Schedule):
    """Up to `max_lr` and down to almost nothing (Smith and Topin 2018); held after `total_steps`.

    Args:
        max_lr: the highest rate.
        total_steps: steps in all.
        pct_start: the share of the rise.
        anneal_strategy: "cos" or "linear".
        div_factor: `max_lr` over the first rate.
        final_div_factor: the first rate over the last.
        three_phase: fall back to the first rate as fast as it rose, then to the last.

    Raises:
        ValueError: a setting out of range.

    Example:
        >>> from luxon.optim import schedules
        >>> schedules.one_cycle(1.0, 10, pct_start=0.5)(4)
        1.0
    """

    max_lr: float
    total_steps: int
    pct_start: float = 0.3
    anneal_strategy: str = "cos"
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False


@dataclasses.dataclass(frozen=True)
class warmup(Schedule):
    """A straight line from `start` to `schedule(0)` in `steps`, then `schedule`, whose steps count from there.

    Args:
        schedule: what follows; a number or any function of the step.
        steps: steps of the line.
        start: the first rate.

    Example:
        >>> from luxon.optim import schedules
        >>> [schedules.warmup(0.5, 2)(t) for t in range(4)]
        [0.0, 0.25, 0.5, 0.5]
    """

    schedule: AnyRate
    steps: int
    start: float = 0.0


@dataclasses.dataclass(frozen=True)
class join(Schedule):
    """One schedule after the other; each counts its steps from 0.

    Args:
        schedules: the parts; numbers and any functions of the step will do.
        boundaries: the first step of each part but the first, ascending.

    Raises:
        ValueError: not one schedule more than boundaries, or boundaries that do not ascend.

    Example:
        >>> from luxon.optim import schedules
        >>> rate = schedules.join([1.0, schedules.linear(1.0, 0.0, 2)], [3])
        >>> [rate(t) for t in range(6)]
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    """

    schedules: Sequence[AnyRate]
    boundaries: Sequence[int]


@dataclasses.dataclass(frozen=True)
class triangular(Schedule):
    """Up from `low` to `high` in `half_period` steps and down again, over and over (Smith 2017).

    Args:
        low, high: the rates.
        half_period: steps upwards.
        half_period_down: steps downwards; as many by default.
        mode: "triangular"; "triangular2", which halves the height with each cycle; "exp_range", which
            multiplies it by `gamma` with each step.
        gamma: see mode.

    Raises:
        ValueError: a half period that is not positive, or an unknown mode.

    Example:
        >>> from luxon.optim import schedules
        >>> [schedules.triangular(0.0, 1.0, 2)(t) for t in range(5)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    low: float
    high: float
    half_period: int
    half_period_down: int | None = None
    mode: str = "triangular"
    gamma: float = 1.0


@dataclasses.dataclass(frozen=True)
class inverse_sqrt(Schedule):
    """`lr * min(step / warmup_steps, sqrt(warmup_steps / step))` (Vaswani et al. 2017).

    Example:
        >>> from luxon.optim import schedules
        >>> [schedules.inverse_sqrt(1.0, 4)(t) for t in (0, 2, 4, 16)]
        [0.0, 0.5, 1.0, 0.5]
    """

    lr: float
    warmup_steps: int


@dataclasses.dataclass(frozen=True)
class piecewise(Schedule):
    """`values[k]` after `k` boundaries; a boundary is the first step at its value.

    Raises:
        ValueError: not one value more than boundaries, or boundaries that do not ascend.

    Example:
        >>> from luxon.optim import schedules
        >>> [schedules.piecewise([2], [1.0, 0.1])(t) for t in range(4)]
        [1.0, 1.0, 0.1, 0.1]
    """

    boundaries: Sequence[int]
    values: Sequence[float]
