"""A training run as a value: model, parameters, states, optimiser and its state, and the step."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import optim, tree
from .._core import Tree
from .._device import to_device
from .._typing import DeviceLike
from ..nn import Layer, setup
from ..nn._fit import check_parameters, check_states
from ..nn._layer import as_tree
from ..nn._setup import parameter_length, state_length


class DonatedError(RuntimeError):
    """A training state was used after its buffers had been given to the next one (`donate=True`)."""


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class TrainState:
    """Everything that a training run carries from one step to the next; immutable.

    Args:
        model: the layer.
        parameters, states: its trees.
        optimizer: an optimiser of `luxon.optim`; its state starts fresh and covers `parameters` only.

    Attributes:
        model, parameters, states, optimizer, optimizer_state: the parts.
        step: the number of parameter updates so far; `optim.accumulate` holds gradients back without one.

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
    optimizer: optim.Optimizer
    optimizer_state: Tree
    step: int

    def __init__(self, model: Layer, parameters: Any, states: Any, optimizer: optim.Optimizer) -> None:
        if not isinstance(model, Layer):
            raise TypeError(f"TrainState needs a layer as its model, got {type(model).__name__}")
        if not isinstance(optimizer, optim.Optimizer):
            raise TypeError(f"TrainState needs a rule of luxon.optim, got {type(optimizer).__name__}")
        check_parameters(model, parameters, "TrainState: the parameters do not fit the model")
        check_states(model, states, "TrainState: the states do not fit the model")
        parameters = as_tree(parameters)
        _check_leaves(parameters)
        state = optim.setup(optimizer, parameters)
        parts = (model, parameters, as_tree(states), optimizer, state, 0)
        self.__dict__.update(zip(_PARTS, parts, strict=True))

    @classmethod
    def _of(cls, parts: dict[str, Any]) -> TrainState:
        """A state of all parts; nothing is checked."""
        new = object.__new__(cls)
        new.__dict__.update(parts)
        return new

    @classmethod
    def create(cls, rng: Any, model: Layer, optimizer: optim.Optimizer, device: Any = None) -> TrainState:
        """A state with freshly initialised trees, moved to `device` where one is given."""
        ps, st = setup(rng, model)
        if device is not None:
            ps, st = to_device(ps, device), to_device(st, device)
        return cls(model, ps, st, optimizer)

    def _with(self, **changes: Any) -> TrainState:
        if not self.__dict__:
            raise _donated("model")
        return self._of({**self.__dict__, **changes})

    def _on_device(self, device: DeviceLike) -> TrainState:
        """The state with all of its trees on a device, for `luxon.to_device`."""
        parts = ("parameters", "states", "optimizer_state")
        return self._with(**{name: to_device(getattr(self, name), device) for name in parts})

    @property
    def learning_rate(self) -> Any:
        """The rate in force at this step; of a partition a dict of rates by pattern."""
        return optim.learning_rate(self.optimizer, self.step)

    def __repr__(self) -> str:
        if not self.__dict__:
            return "TrainState(donated to the next step)"
        trainable, other = parameter_length(self.parameters), state_length(self.states)
        plus = f", plus {other:,} non-trainable" if other else ""
        name = self.model.describe()
        return f"TrainState({name}: {trainable:,} parameters{plus}; {self.optimizer!r}; step {self.step})"


class _GivenAway:
    """What the class has in the place of a part, for states whose own part is gone."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, state: TrainState | None, kind: type) -> Any:
        if state is None:
            raise AttributeError(f"{self.name!r} is part of a training state, not of the class")
        raise _donated(self.name)


def _donated(name: str) -> DonatedError:
    return DonatedError(
        f"this TrainState was donated to the next step, which took its memory: {name} can no longer be read; "
        "go on with the state that the step returned, or call with donate=False"
    )


def _check_leaves(parameters: Tree) -> None:
    """Refuses numbers and NumPy arrays, which look like parameters and would not be trained."""
    for path, leaf in zip(tree.paths(parameters, unique=True), tree.leaves(parameters), strict=True):
        if isinstance(leaf, float | np.ndarray):
            raise TypeError(
                f"TrainState: the parameter {path} is of {type(leaf).__name__}, not a tensor; make one with "
                "luxon.asarray"
            )


_PARTS = ("model", "parameters", "states", "optimizer", "optimizer_state", "step")
for _part in _PARTS:
    setattr(TrainState, _part, _GivenAway(_part))
