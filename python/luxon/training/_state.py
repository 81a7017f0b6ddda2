"""A training run as a value: model, parameters, states, optimiser and its state, and the step."""

from __future__ import annotations

import dataclasses
from typing import Any

from .. import optim
from .._core import Tree
from ..nn import Layer, setup
from ..nn._setup import as_tree, parameter_length, state_length


class DonatedError(RuntimeError):
    """A training state was used after its buffers had been given to the next one (`donate=True`)."""


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class TrainState:
    """Everything that a training run carries from one step to the next; immutable.

    Args:
        model: the layer.
        parameters, states: its trees.
        optimizer: a rule of `luxon.optim`; its state starts fresh and covers `parameters` only.

    Attributes:
        model, parameters, states, optimizer, optimizer_state: the parts.
        step: the number of parameter updates so far.

    Example:
        >>> from luxon import nn, optim, training
        >>> model = nn.Dense(2, 1)
        >>> ts = training.TrainState(model, *nn.setup(0, model), optim.Adam(1e-3))
        >>> ts.step
        0
    """

    model: Layer
    parameters: Tree
    states: Tree
    optimizer: optim.Rule
    optimizer_state: Tree
    step: int

    def __init__(self, model: Layer, parameters: Any, states: Any, optimizer: optim.Rule) -> None:
        if not isinstance(model, Layer):
            raise TypeError(f"TrainState needs a layer as its model, got {type(model).__name__}")
        if not isinstance(optimizer, optim.Rule):
            raise TypeError(f"TrainState needs a rule of luxon.optim, got {type(optimizer).__name__}")
        parameters = as_tree(parameters)
        state = optim.setup(optimizer, parameters)
        self._fill(model, parameters, as_tree(states), optimizer, state, 0)

    def _fill(self, *parts: Any) -> None:
        for name, part in zip(_PARTS, parts, strict=True):
            object.__setattr__(self, name, part)

    @classmethod
    def create(cls, rng: Any, model: Layer, optimizer: optim.Rule, device: Any = None) -> TrainState:
        """A state with freshly initialised trees, moved to `device` where one is given."""
        ps, st = setup(rng, model)
        if device is not None:
            from .. import to_device

            ps, st = to_device(ps, device), to_device(st, device)
        return cls(model, ps, st, optimizer)

    def _with(self, **changes: Any) -> TrainState:
        new = object.__new__(TrainState)
        parts = {name: getattr(self, name) for name in _PARTS}
        parts.update(changes)
        new._fill(*parts.values())
        return new

    def _donate(self) -> None:
        """Makes every further use of this state an error: its buffers belong to its successor."""
        for name in _PARTS:
            object.__delattr__(self, name)

    def __getattr__(self, name: str) -> Any:
        if name in _PARTS:
            raise DonatedError(
                f"this TrainState was donated to the next step, so its {name} no longer exists; use the state "
                "that the step returned, or call with donate=False"
            )
        raise AttributeError(f"TrainState has no attribute {name!r}")

    @property
    def learning_rate(self) -> float:
        """The rate in force at this step."""
        return optim.learning_rate(self.optimizer, self.step)

    def __repr__(self) -> str:
        trainable, other = parameter_length(self.parameters), state_length(self.states)
        plus = f", plus {other:,} non-trainable" if other else ""
        name = self.model.describe()
        return f"TrainState({name}: {trainable:,} parameters{plus}; {self.optimizer!r}; step {self.step})"


_PARTS = ("model", "parameters", "states", "optimizer", "optimizer_state", "step")
