"""Freezing within a training run: the optimiser's state follows the parameters."""

from __future__ import annotations

from typing import Any

from .. import nn
from ..nn._freeze import FROZEN_PARAMETERS, FrozenLayer, Which
from ..optim._update import merge, split, start
from ._state import TrainState


def freeze(ts: TrainState, which: Which = None) -> TrainState:
    """The training state with parameters frozen at their current values.

    The optimiser keeps what it knows of the parameters that stay, and drops the rest.

    Args:
        ts: the training state, which stays as it is.
        which: names or patterns of parameters; None is everything. An empty one changes nothing, with a
            warning.

    Raises:
        ValueError: a name or pattern that matches nothing, listing the nearest that exist.

    Example:
        >>> from luxon import nn, optim, training
        >>> model = nn.Chain(body=nn.Dense(2, 3), head=nn.Dense(3, 1))
        >>> ts = training.TrainState.create(0, model, optim.Adam(1e-3))
        >>> list(training.freeze(ts, "body").optimizer_state.exp_avg.paths())
        ['head.weight', 'head.bias']
    """
    model, ps, st = nn.freeze(ts.model, ts.parameters, ts.states, which)
    if not isinstance(model, FrozenLayer) or model is ts.model:
        return ts
    chosen: Any = (lambda path, leaf: True) if model.which is None else model.which
    state = split(ts.optimizer_state, chosen)[1]
    return ts._with(model=model, parameters=ps, states=st, optimizer_state=state)


def unfreeze(ts: TrainState) -> TrainState:
    """The training state with the latest `freeze` undone; the optimiser starts fresh on what thaws.

    Raises:
        TypeError: the model is not frozen as a whole; frozen layers inside are reached by `nn.layer_map`.

    Example:
        >>> from luxon import nn, optim, training
        >>> model = nn.Chain(body=nn.Dense(2, 3), head=nn.Dense(3, 1))
        >>> ts = training.TrainState.create(0, model, optim.Adam(1e-3))
        >>> training.unfreeze(training.freeze(ts, "body")).model is model
        True
    """
    model, ps, st = nn.unfreeze(ts.model, ts.parameters, ts.states)
    fresh = start(ts.optimizer, ts.states[FROZEN_PARAMETERS], strict=False)
    state = merge(ts.optimizer_state, fresh, ps)
    return ts._with(model=model, parameters=ps, states=st, optimizer_state=state)
