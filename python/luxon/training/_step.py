"""One step of training, in two halves that are also offered apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from .. import _core, optim
from .._core import Tree
from ..nn._setup import as_tree
from ._state import TrainState

Objective = Callable[[Any, Any, Any, Any], tuple[Any, Any, Any]]
"""`objective(model, ps, st, data) -> (loss, st, stats)`."""


@runtime_checkable
class Backend(Protocol):
    """How gradients are found: what a user's own backend offers."""

    def value_and_gradient(self, function: Callable[[Any], tuple[Any, Any]], ps: Tree) -> tuple[Any, Any, Any]:
        """`(loss, aux, grads)` of `function(ps) -> (loss, aux)`; None for leaves it does not depend on."""
        ...


class _Traced:
    """The function of the parameters that a backend differentiates, checking what the objective returns."""

    __slots__ = ("data", "model", "objective", "states")

    def __init__(self, objective: Objective, model: Any, states: Any, data: Any) -> None:
        self.objective, self.model, self.states, self.data = objective, model, states, data

    def __call__(self, ps: Any) -> tuple[Any, Any]:
        result = self.objective(self.model, ps, self.states, self.data)
        if type(result) is not tuple or len(result) != 3:
            got = f"{len(result)} results" if isinstance(result, tuple) else type(result).__name__
            raise TypeError(f"the objective must return (loss, st, stats), exactly three; got {got}")
        loss, st, stats = result
        if not isinstance(loss, _core.Tensor) or loss.ndim != 0:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, _core.Tensor) else type(loss).__name__
            raise ValueError(f"the loss must be a scalar tensor (shape ()), got {got}; reduce it with mean or sum")
        return loss, (st, stats)


def compute_gradients(ad: Any, objective: Objective, data: Any, ts: TrainState) -> tuple[Any, Any, Any, TrainState]:
    """The gradients of the objective's loss with respect to the parameters.

    Args:
        ad: `AutoTape()`, `AutoForward()`, `AutoFiniteDiff()`, or a backend of your own (see `Backend`).
        objective: `objective(model, ps, st, data) -> (loss, st, stats)`; only the loss is differentiated.
        data: passed through to the objective.
        ts: the training state, which stays as it is.

    Returns:
        grads, loss, stats, ts: gradients in the structure of the parameters, None at a leaf on which the loss
        does not depend; the loss before any update; the objective's stats; the state with the new states.

    Raises:
        TypeError: the objective does not return three things, or `ad` is no backend.
        ValueError: the loss is not a scalar.
    """
    backend = getattr(ad, "value_and_gradient", None)
    if backend is None:
        raise TypeError(
            f"ad must be AutoTape(), AutoForward(), AutoFiniteDiff() or a backend with value_and_gradient, got {ad!r}"
        )
    function = _Traced(objective, ts.model, ts.states, data)
    loss, (st, stats), grads = backend(function, ts.parameters)
    return grads, loss, stats, ts._with(states=as_tree(st))


def apply_gradients(ts: TrainState, grads: Any, donate: bool = False) -> TrainState:
    """The training state after one update of the optimiser.

    Args:
        ts: the state, which stays as it is (unless donated).
        grads: gradients in the structure of the parameters; a leaf whose gradient is None is skipped
            completely, a zero gradient is not.
        donate: reuse the given state's buffers; any later use of it raises `DonatedError`.

    Raises:
        ValueError: gradients of another structure or shape; nothing has changed then.
    """
    ps, state = optim.update(ts.optimizer, ts.optimizer_state, ts.parameters, grads, donate=donate)
    new = ts._with(parameters=ps, optimizer_state=state, step=ts.step + 1)
    if donate:
        ts._donate()
    return new


def single_train_step(
    ad: Any, objective: Objective, data: Any, ts: TrainState, donate: bool = False
) -> tuple[Any, Any, Any, TrainState]:
    """`compute_gradients` and `apply_gradients` in a row.

    Example:
        >>> import luxon as lx
        >>> from luxon import losses, nn, optim, training
        >>> model = nn.Dense(2, 1)
        >>> ts = training.TrainState(model, *nn.setup(0, model), optim.SGD(0.1))
        >>> batch = (lx.ones((4, 2)), lx.ones((4, 1)))
        >>> grads, loss, stats, ts = training.single_train_step(lx.AutoTape(), losses.MSELoss(), batch, ts)
        >>> ts.step
        1
    """
    grads, loss, stats, new = compute_gradients(ad, objective, data, ts)
    new = apply_gradients(new, grads, donate)
    if donate:
        ts._donate()
    return grads, loss, stats, new


def adjust(ts: TrainState, lr: Any = None, **hyperparameters: Any) -> TrainState:
    """The training state with other settings of its optimiser; moments and step stay.

    Args:
        lr: the new learning rate (a number or a schedule).
        hyperparameters: any other fields of the optimiser.

    Raises:
        TypeError: a name that the optimiser does not have, listing those that it has.

    Example:
        >>> from luxon import nn, optim, training
        >>> model = nn.Dense(2, 1)
        >>> ts = training.TrainState(model, *nn.setup(0, model), optim.Adam(1e-3))
        >>> training.adjust(ts, 1e-4).learning_rate
        0.0001
    """
    if lr is not None:
        hyperparameters["lr"] = lr
    return ts._with(optimizer=optim.adjust(ts.optimizer, **hyperparameters))
