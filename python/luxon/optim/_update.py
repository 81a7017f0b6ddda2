"""Running rules over parameter trees."""

from __future__ import annotations

import dataclasses
from typing import Any

from .. import _core, tree
from .._core import Tree
from ._rules import Rule


def setup(rule: Rule, ps: Any) -> Tree:
    """The rule's state before the first step.

    Returns:
        A tree with the entry `step` (the updates of each leaf so far) and one entry per slot of the rule,
        each in the structure of the parameters.

    Raises:
        TypeError: `rule` is no rule.

    Example:
        >>> import luxon as lx
        >>> from luxon import optim
        >>> list(optim.setup(optim.Adam(), lx.Tree({"w": lx.ones(2)})).paths())
        ['step.w', 'exp_avg.w', 'exp_avg_sq.w']
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"optim.setup needs a rule of luxon.optim, got {type(rule).__name__}")
    ps = ps if isinstance(ps, Tree) else Tree(ps)
    state: dict[str, Any] = {"step": tree.map(lambda leaf: 0, ps)}
    for slot in rule.slots():
        state[slot] = tree.map(_zeros, ps)
    return Tree(state)


def _zeros(leaf: Any) -> Any:
    trained = isinstance(leaf, _core.Tensor) and _core.isdtype(leaf.dtype, "real floating")
    return _core.zeros_like(_core.stop_gradient(leaf)) if trained else None


def learning_rate(rule: Rule, step: int) -> float:
    """The rule's rate at a step, counted from 0."""
    lr = rule.lr
    return float(lr(step)) if callable(lr) else float(lr)


def update(rule: Rule, state: Any, ps: Any, grads: Any) -> tuple[Tree, Tree]:
    """The parameters and the rule's state after one step.

    Args:
        rule, state: the rule and its state.
        ps: the parameters.
        grads: gradients in their structure; None skips a leaf completely, and a zero gradient does not.

    Raises:
        ValueError: gradients or state that do not fit the parameters, naming the first path; nothing has
            changed then.
        TypeError: parameters or gradients under differentiation.
    """
    rate = rule.lr if not callable(rule.lr) else learning_rate(rule, _current_step(state))
    return _core.optim_update(rule.settings(rate), ps, grads, state)


def _current_step(state: Any) -> int:
    return max((int(step) for step in tree.leaves(state["step"])), default=0)


def partition(state: Tree, which: Any) -> tuple[Tree, Tree]:
    """The parts of a state that belong to the parameters which `which` names, and those of the others."""
    parts = {name: tree.partition(entry, which) for name, entry in state.items()}
    return Tree({name: part[0] for name, part in parts.items()}), Tree(
        {name: part[1] for name, part in parts.items()}
    )


def merge(state: Tree, other: Tree, ps: Tree) -> Tree:
    """The states of two parts of the parameters `ps` in one."""
    return Tree({name: tree.merge(entry, other[name], like=ps) for name, entry in state.items()})


def adjust(rule: Rule, **hyperparameters: Any) -> Rule:
    """The rule with other settings.

    Raises:
        TypeError: a name that the rule does not have, listing those that it has.

    Example:
        >>> from luxon import optim
        >>> optim.adjust(optim.SGD(0.1), momentum=0.9).momentum
        0.9
    """
    names = [field.name for field in dataclasses.fields(rule) if field.init]
    for name in hyperparameters:
        if name not in names:
            raise TypeError(f"{type(rule).__name__} has no setting {name!r}; it has: {', '.join(names)}")
    return dataclasses.replace(rule, **hyperparameters)
