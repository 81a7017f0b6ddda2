"""The rules: frozen descriptions whose arithmetic is in the Rust core."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

LearningRate = float | Callable[[int], float]
"""A number, or a schedule: a function of the step, counted from 0."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """What all rules have in common: a learning rate, and the name of the core's update.

    Attributes:
        slots: the names of what the rule keeps per leaf.
    """

    lr: LearningRate

    def slots(self) -> tuple[str, ...]:
        """The names of the tensors that the rule keeps for every leaf."""
        return ()

    def settings(self, lr: float) -> tuple[Any, ...]:
        """The core's description of one step at the rate `lr`."""
        raise TypeError(f"{type(self).__name__} does not say how it updates a leaf")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(type(self).__name__, field.name, getattr(self, field.name))


_BOUNDED: dict[str, Callable[[Any], bool]] = {
    "lr": lambda value: callable(value) or value >= 0,
    "momentum": lambda value: value >= 0,
    "weight_decay": lambda value: value >= 0,
    "eps": lambda value: value >= 0,
    "betas": lambda value: len(value) == 2 and all(0 <= beta < 1 for beta in value),
}


def _check(rule: str, name: str, value: Any) -> None:
    holds = _BOUNDED.get(name)
    if holds is not None and not holds(value):
        raise ValueError(f"{rule}: {name} is out of range: {value!r}")


@dataclasses.dataclass(frozen=True)
class SGD(Rule):
    """Stochastic gradient descent: b = momentum b + (1 - dampening) g; p = p - lr b (PyTorch's formula).

    Args:
        lr: the learning rate.
        momentum: what is kept of the buffer b; 0 keeps none. The first b is g itself.
        dampening: what of the gradient does not enter the buffer.
        weight_decay: adds weight_decay * p to the gradient.
        nesterov: steps along g + momentum b.

    Raises:
        ValueError: a setting out of range; nesterov without momentum or with dampening.
    """

    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError("SGD: nesterov needs a momentum and no dampening")

    def slots(self) -> tuple[str, ...]:
        return ("momentum_buffer",) if self.momentum else ()

    def settings(self, lr: float) -> tuple[Any, ...]:
        return ("sgd", lr, self.momentum, self.dampening, self.weight_decay, self.nesterov)


@dataclasses.dataclass(frozen=True)
class Adam(Rule):
    """Adam (Kingma and Ba 2015), PyTorch's formula.

    m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p = p - lr m' / (sqrt(v') + eps) with m' = m / (1 - b1^t)
    and v' = v / (1 - b2^t). The step t is counted per leaf.

    Args:
        lr: the learning rate.
        betas: the decay rates (b1, b2).
        eps: added to the root.
        weight_decay: adds weight_decay * p to the gradient.
        amsgrad: divide by the largest v so far (Reddi et al. 2018).

    Raises:
        ValueError: a setting out of range.
    """

    lr: LearningRate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    _decoupled: ClassVar[bool] = False

    def slots(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if self.amsgrad else ("exp_avg", "exp_avg_sq")

    def settings(self, lr: float) -> tuple[Any, ...]:
        return ("adam", lr, *self.betas, self.eps, self.weight_decay, self._decoupled, self.amsgrad)


@dataclasses.dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled decay: p is first shrunk by 1 - lr * weight_decay (Loshchilov and Hutter 2019).

    Args:
        lr, betas, eps, amsgrad: as for `Adam`.
        weight_decay: the decay, 0.01 by default.

    Raises:
        ValueError: a setting out of range.
    """

    weight_decay: float = 1e-2
    _decoupled: ClassVar[bool] = True
