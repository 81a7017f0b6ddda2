"""One step of training, in two halves that are also offered apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from .. import _core, optim, tree
from .._core import Tree
from .._transforms import AutoTape
from ..nn._layer import as_tree
from ..optim._update import fitted
from ._state import TrainState

Objective = Callable[[Any, Any, Any, Any], tuple[Any, Any, Any]]
"""`objective(model, ps, st, data) -> (loss, st, stats)`."""


@runtime_checkable
class Backend(Protocol):
    """How gradients are found: what a backend of your own offers to training."""

    def value_and_grad(
        self, function: Callable[[Any], tuple[Any, Any]], argument: Any
    ) -> tuple[tuple[Any, Any], Any]:
        """`((loss, aux), grads)` of `function(argument) -> (loss, aux)`; None at leaves it does not use."""
        ...


def _checked(result: Any, states: Any) -> tuple[Any, Any, Any]:
    """What an objective returned: a scalar loss, states of the entries that it was given, and anything."""
    if type(result) is not tuple or len(result) != 3:
        got = f"{len(result)} results" if isinstance(result, tuple) else type(result).__name__
        raise TypeError(f"the objective must return (loss, st, stats), exactly three; got {got}")
    loss, st, stats = result
    if not isinstance(loss, _core.Tensor) or loss.ndim != 0:
        if isinstance(loss, _core.Tensor):
            got = f"shape {tuple(loss.shape)}; reduce it with mean or sum"
        else:
            got = f"{type(loss).__name__}; compute it from the model's output with luxon's functions"
        raise ValueError(f"the loss must be a scalar tensor (shape ()), got {got}")
    if st is not states:
        _check_states(st, states)
    return loss, st, stats


def _traced(objective: Objective, model: Any, states: Any, data: Any) -> Callable[[Any], tuple[Any, Any]]:
    """The function of the parameters that a backend differentiates."""

    def function(ps: Any) -> tuple[Any, Any]:
        loss, st, stats = _checked(objective(model, ps, states, data), states)
        return loss, (st, stats)

    return function


def _check_states(st: Any, before: Tree) -> None:
    """Refuses states with other entries than those that the objective was given."""
    if not isinstance(st, Mapping):
        raise TypeError(
            f"the objective must return (loss, st, stats) with the new states second, got {type(st).__name__}"
        )
    if st.keys() != before.keys():
        have, had = (", ".join(map(str, trees)) or "nothing" for trees in (st, before))
        raise ValueError(
            "the objective must return (loss, st, stats) with the new states second; they have the entries "
            f"{have}, those given have {had}"
        )


def compute_gradients(
    ad: Any, objective: Objective, data: Any, ts: TrainState
) -> tuple[Any, Any, Any, TrainState]:
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
        ValueError: the loss is not a scalar, or the new states have other entries than the given ones.
    """
    grads, loss, stats, states = _differentiate(ad, objective, data, ts)
    return grads, loss, stats, ts._with(states=states)


def _differentiate(ad: Any, objective: Objective, data: Any, ts: TrainState) -> tuple[Any, Any, Any, Tree]:
    backend = getattr(ad, "value_and_grad", None)
    if backend is None or isinstance(ad, type) or not isinstance(ts, TrainState):
        raise _wrong_call(ad, ts)
    model, ps, states = ts.model, ts.parameters, ts.states
    try:
        if type(ad) is AutoTape:  # What follows for any backend, in one call of the core.
            grads, loss, st, stats = _core.differentiate_objective(
                objective, model, ps, states, data, _checked
            )
        else:
            (loss, (st, stats)), grads = backend(_traced(objective, model, states, data), ps)
    except TypeError:
        if isinstance(objective, type) or not callable(objective):
            name = getattr(objective, "__name__", repr(objective))
            raise TypeError(
                f"the objective must be a function (model, ps, st, data) or a loss, got {name}"
            ) from None
        if all(_is_trained("", leaf) for leaf in tree.leaves(ps)):
            raise
        function = _traced(objective, model, states, data)
        (loss, (st, stats)), grads = _differentiate_trained(backend, function, ps)
    return grads, loss, stats, states if st is states else as_tree(st)


def _wrong_call(ad: Any, ts: Any) -> TypeError:
    if not isinstance(ts, TrainState):
        return TypeError(
            f"the training state must be a TrainState, got {type(ts).__name__}; the call is "
            "compute_gradients(ad, objective, data, ts)"
        )
    what = f"the class {ad.__name__}; make one: {ad.__name__}()" if isinstance(ad, type) else repr(ad)
    return TypeError(
        f"ad must be AutoTape(), AutoForward(), AutoFiniteDiff() or a backend with value_and_grad, got {what}"
    )


def _is_trained(path: str, leaf: Any) -> bool:
    return isinstance(leaf, _core.Tensor) and bool(_core.isdtype(leaf.dtype, "real floating"))


def _differentiate_trained(backend: Any, function: Callable[[Any], Any], ps: Tree) -> tuple[Any, Any]:
    """As the backend, for parameters with integer leaves, which have no gradient."""
    trained, others = tree.partition(ps, _is_trained)
    found, grads = backend(lambda trained: function(tree.merge(trained, others, like=ps)), trained)
    return found, tree.merge(grads, tree.map(lambda leaf: None, others), like=ps)


def apply_gradients(ts: TrainState, grads: Any, donate: bool = False) -> TrainState:
    """The training state after one update of the optimiser.

    Args:
        ts: the state, which stays as it is (unless donated).
        grads: gradients in the structure of the parameters; a leaf whose gradient is None is skipped
            completely, a zero gradient is not.
        donate: the given state's buffers may be reused; any later use of it raises `DonatedError`.

    Raises:
        ValueError: gradients of another structure or shape; nothing has changed then.
    """
    if not isinstance(ts, TrainState):
        raise TypeError(
            f"the training state must be a TrainState, got {type(ts).__name__}; the call is "
            "apply_gradients(ts, grads)"
        )
    return _update_donated(ts, ts.states, grads) if donate else _update(ts, ts.states, grads)


def _update(ts: TrainState, states: Tree, grads: Any) -> TrainState:
    rule, step = ts.optimizer, ts.step
    ps, state, moved = _core.optim_update(rule.core, ts.parameters, grads, ts.optimizer_state, step)
    return ts._with(parameters=ps, states=states, optimizer_state=state, step=step + moved)


def _update_donated(ts: TrainState, states: Tree, grads: Any) -> TrainState:
    parts = ts.__dict__.copy()
    ts.__dict__.clear()
    # The list is to hold the only references, so that the core may see what nobody else can reach; it takes them.
    given = [parts.pop("parameters"), parts.pop("optimizer_state")]
    try:
        ps, state, moved = _core.optim_update_donated(parts["optimizer"].core, given, grads, parts["step"])
    except BaseException:
        if given[0] is not None:
            ts.__dict__.update(parts, parameters=given[0], optimizer_state=given[1])
        raise
    parts["step"] += moved
    parts["parameters"], parts["states"], parts["optimizer_state"] = ps, states, state
    return TrainState._of(parts)


def single_train_step(
    ad: Any, objective: Objective, data: Any, ts: TrainState, donate: bool = False
) -> tuple[Any, Any, Any, TrainState]:
    """`compute_gradients` and `apply_gradients` in a row.

    With `optim.LBFGS` the objective is evaluated as often as the step needs it, always with the given states;
    gradients, loss, stats and new states are those of the first evaluation.

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
    if isinstance(ts.optimizer, optim.LBFGS):
        return _minimize(ad, objective, data, ts)
    grads, loss, stats, states = _differentiate(ad, objective, data, ts)
    return grads, loss, stats, (_update_donated if donate else _update)(ts, states, grads)


def _minimize(ad: Any, objective: Objective, data: Any, ts: TrainState) -> tuple[Any, Any, Any, TrainState]:
    """A step of a rule that evaluates the objective itself, always with the states of `ts`."""
    first: list[tuple[Any, Any, Any, Tree]] = []

    def evaluate(ps: Any) -> tuple[float, Any]:
        found = _differentiate(ad, objective, data, ts._with(parameters=ps))
        if not first:
            first.append(found)
        return float(found[1]), found[0]

    rule = ts.optimizer
    ps, state, _ = _core.optim_minimize(rule.core, evaluate, ts.parameters, ts.optimizer_state, ts.step)
    grads, loss, stats, states = first[0]
    return grads, loss, stats, ts._with(parameters=ps, states=states, optimizer_state=state, step=ts.step + 1)


def adjust(ts: TrainState, lr: Any = None, **hyperparameters: Any) -> TrainState:
    """The training state with other settings of its optimiser; moments and step stay.

    In a composition every part that has a setting of the name gets it. What the optimiser keeps newly starts
    fresh.

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
    rule = optim.adjust(ts.optimizer, **hyperparameters)
    return ts._with(optimizer=rule, optimizer_state=fitted(rule, ts.optimizer_state, ts.parameters))
