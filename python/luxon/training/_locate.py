"""Finding the NaN of a step after the fact."""

from __future__ import annotations

from typing import Any

from ..nn._debug import NonFiniteError, debug_mode, find_nonfinite
from ._state import TrainState
from ._step import Objective, compute_gradients


def locate_nonfinite(ad: Any, objective: Objective, data: Any, ts: TrainState) -> NonFiniteError | None:
    """Where the first NaN of a step arises: the step is replayed in debug mode, without an update.

    For a training loop that met a NaN loss and pays for no checks otherwise. Where no NaN is found,
    infinities are looked for.

    Args:
        ad, objective, data, ts: what the step was called with; nothing is changed.

    Returns:
        The error that a model in debug mode raises, or None where all is finite. A bad loss or gradient that
        no layer shows has the location "objective".

    Example:
        >>> import luxon as lx
        >>> from luxon import losses, nn, optim, training
        >>> ts = training.TrainState.create(0, nn.Dense(2, 1), optim.SGD(0.1))
        >>> batch = lx.asarray([[1.0, float("nan")]]), lx.ones((1, 1))
        >>> training.locate_nonfinite(lx.AutoTape(), losses.MSELoss(), batch, ts).place
        'input'
    """
    for inf_check in (False, True):
        model = debug_mode(ts.model, error_check=False, inf_check=inf_check)
        try:
            grads, loss, _, _ = compute_gradients(ad, objective, data, ts._with(model=model))
        except NonFiniteError as error:
            return error
        for value, place in ((loss, "output"), (grads, "outgoing cotangent")):
            found = find_nonfinite(value, inf_check)
            if found is not None:
                return NonFiniteError("objective", place, *found)
    return None
