"""Running optimisers over parameter trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import _core, tree
from .._core import Tree
from ._base import Optimizer


def setup(rule: Optimizer, ps: Any) -> Tree:
    """The optimiser's state before the first step.

    Returns:
        A tree with the entry `step` (the updates of each leaf so far) and one entry for each thing that is kept,
        each in the structure of the parameters. A leaf of which nothing is kept, integer leaves among them,
        has None.

    Raises:
        TypeError: `rule` is no optimiser.
        ValueError: transforms without a rule; patterns that cover no parameter.

    Example:
        >>> import luxon as lx
        >>> from luxon import optim
        >>> list(optim.setup(optim.Adam(), lx.Tree({"w": lx.ones(2)})).paths())
        ['step.w', 'exp_avg.w', 'exp_avg_sq.w']
    """
    return start(rule, ps, strict=True)


def start(rule: Optimizer, ps: Any, strict: bool) -> Tree:
    """As `setup`; where not `strict`, `ps` may be a part of the parameters that some patterns do not cover."""
    if not isinstance(rule, Optimizer):
        raise TypeError(f"optim.setup needs a rule of luxon.optim, got {type(rule).__name__}")
    ps = ps if isinstance(ps, Tree) else Tree(ps)
    state: dict[str, Any] = {"step": tree.map(lambda leaf: 0, ps)}
    structure = tree.structure(ps)
    for name, values in rule.core.start(ps, strict):
        state[name] = tree.unflatten(structure, values)
    return Tree(state)


def learning_rate(rule: Optimizer, step: int) -> Any:
    """The rate at a step, counted from 0; of a partition a dict of rates by pattern."""
    return rule.rate(step)


def update(rule: Optimizer, state: Any, ps: Any, grads: Any) -> tuple[Tree, Tree]:
    """The parameters and the optimiser's state after one step.

    Schedules go by the number of updates that the state has seen.

    Args:
        rule, state: the optimiser and its state.
        ps: the parameters.
        grads: gradients in their structure; None skips a leaf completely, and a zero gradient does not.

    Raises:
        ValueError: gradients or state that do not fit the parameters, naming the first path; a norm that is
            not finite. Nothing has changed then.
        TypeError: parameters or gradients under differentiation.
    """
    return _core.optim_update(rule.core, ps, grads, state)[:2]


def minimize(
    rule: Optimizer, state: Any, ps: Any, evaluate: Callable[[Any], tuple[Any, Any]]
) -> tuple[Tree, Tree, float]:
    """One step of a rule that evaluates the objective as often as it needs: `LBFGS`.

    `training.single_train_step` does this for a TrainState.

    Args:
        rule, state: the rule and its state.
        ps: the parameters.
        evaluate: gives `(value, grads)` for parameters; it must always give the same for the same ones.

    Returns:
        The parameters and the state after the step, and the value before it.

    Raises:
        ValueError: a rule that takes gradients; a gradient with a NaN. Nothing has changed then.

    Example:
        >>> import luxon as lx
        >>> from luxon import optim
        >>> rule = optim.LBFGS(line_search_fn="strong_wolfe")
        >>> ps = lx.Tree({"x": lx.asarray([3.0, -2.0])})
        >>> f = lx.value_and_grad(lambda ps: lx.sum((ps.x - 1) ** 4))
        >>> ps, state, value = optim.minimize(rule, optim.setup(rule, ps), ps, f)
        >>> value, bool(lx.all(lx.abs(ps.x - 1) < 0.05))
        (97.0, True)
    """
    return _core.optim_minimize(rule.core, lambda ps: _number(*evaluate(ps)), ps, state)


def _number(value: Any, grads: Any) -> tuple[float, Any]:
    return float(value), grads


def split(state: Tree, which: Any) -> tuple[Tree, Tree]:
    """The parts of a state that belong to the parameters which `which` names, and those of the others."""
    parts = {name: tree.partition(entry, which) for name, entry in state.items()}
    return Tree({name: part[0] for name, part in parts.items()}), Tree(
        {name: part[1] for name, part in parts.items()}
    )


def merge(state: Tree, other: Tree, ps: Tree) -> Tree:
    """The states of two parts of the parameters `ps` in one."""
    return Tree({name: tree.merge(entry, other[name], like=ps) for name, entry in state.items()})


def adjust(rule: Optimizer, **hyperparameters: Any) -> Optimizer:
    """The optimiser with other settings; in a composition, of every part that has a setting of the name.

    Raises:
        TypeError: a name that no part has, listing those that there are.

    Example:
        >>> from luxon import optim
        >>> optim.adjust(optim.SGD(0.1), momentum=0.9)
        SGD(lr=0.1, momentum=0.9, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False)
    """
    names = list(dict.fromkeys(rule.settings()))
    for name in hyperparameters:
        if name not in names:
            raise TypeError(f"{type(rule).__name__} has no setting {name!r}; it has: {', '.join(names)}")
    return rule.adjusted(hyperparameters)


def fitted(rule: Optimizer, state: Tree, ps: Tree) -> Tree:
    """The state with the entries that `rule` keeps: the known ones as they are, the others fresh."""
    wanted = ["step", *rule.slots()]
    if list(state) == wanted:
        return state
    fresh = start(rule, ps, strict=False)
    return Tree({name: state[name] if name in state else fresh[name] for name in wanted})
