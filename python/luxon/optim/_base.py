"""What rules, transforms and their compositions have in common."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from .. import _core

LearningRate = float | Callable[[int], float]
"""A number, or a schedule: a function of the step, counted from 0."""


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """How parameters follow their gradients: an immutable, hashable value.

    What it does is in the core; the fields are its settings.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        self.__dict__["core"] = self._build()

    def _build(self) -> _core.Optimizer:
        raise TypeError(f"{type(self).__name__} does not say how it updates a leaf")

    @functools.cached_property
    def core(self) -> _core.Optimizer:
        """The core's value."""
        return self._build()

    def slots(self) -> tuple[str, ...]:
        """The names of what may be kept of a leaf between steps."""
        return tuple(self.core.names())

    def rate(self, step: int) -> Any:
        """The learning rate of a step, counted from 0; by pattern where there are several."""
        raise TypeError(f"{type(self).__name__} has no learning rate; chain it with a rule")

    def settings(self) -> list[str]:
        """The names of all settings, those of its parts included."""
        return [field.name for field in dataclasses.fields(self) if field.init]

    def adjusted(self, hyperparameters: dict[str, Any]) -> Optimizer:
        """The same with those of these settings that it has."""
        own = {name: value for name, value in hyperparameters.items() if name in self.settings()}
        return dataclasses.replace(self, **own) if own else self

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__["core"] = self._build()


@dataclasses.dataclass(frozen=True)
class Rule(Optimizer):
    """A rule: settings, of which the first is the learning rate."""

    lr: LearningRate

    def _build(self) -> _core.Optimizer:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["lr"] = getattr(self.lr, "core", self.lr)
        return _core.Optimizer.rule(type(self).__name__, fields)

    def rate(self, step: int) -> float:
        return float(self.lr(step)) if callable(self.lr) else float(self.lr)
