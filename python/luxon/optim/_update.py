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
        A tree with the entry `step` (the updates of each leaf so far) and one entry per slot of the rule, each
        in the structure of the parameters.

    Raises:
        TypeError: `rule` is no rule.
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
    return float(rule.lr(step)) if callable(rule.lr) else float(rule.lr)


def update(rule: Rule, state: Tree, ps: Any, grads: Any, *, donate: bool = False) -> tuple[Tree, Tree]:
    """The parameters and the rule's state after one step.

    Args:
        rule, state: the rule and its state.
        ps: the parameters.
        grads: gradients in their structure; None skips a leaf completely.
        donate: the given parameters' and state's buffers may be overwritten.

    Raises:
        ValueError: gradients or state that do not fit the parameters, naming the first path.
    """
    lr = rule.lr
    rate = float(lr(_current_step(state))) if callable(lr) else lr
    return _core.optim_update(rule.settings(rate), ps, grads, state, donate)


def _current_step(state: Tree) -> int:
    return max((int(step) for step in tree.leaves(state["step"])), default=0)


def adjust(rule: Rule, **hyperparameters: Any) -> Rule:
    """The rule with other settings.

    Raises:
        TypeError: a name that the rule does not have, listing those that it has.
    """
    names = [field.name for field in dataclasses.fields(rule) if field.init]
    for name in hyperparameters:
        if name not in names:
            raise TypeError(f"{type(rule).__name__} has no setting {name!r}; it has: {', '.join(names)}")
    return dataclasses.replace(rule, **hyperparameters)
