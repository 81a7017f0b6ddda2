"""Optimisers made of optimisers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .. import _core
from ._base import Optimizer


def _check(what: str, part: Any) -> None:
    if not isinstance(part, Optimizer):
        raise TypeError(f"{what} takes rules and transforms of luxon.optim, got {type(part).__name__}")


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class chain(Optimizer):
    """One after the other: each member turns gradients into what the next takes for gradients.

    The last rule makes the step. A transform after it works on the step that it would make. Chains in chains are
    opened up, so `chain(a, chain(b, c)) == chain(a, b, c)`.

    Args:
        members: transforms and rules, at least one rule.

    Raises:
        TypeError: a member that is neither.
        ValueError: no member; in `setup`, no rule.

    Example:
        >>> from luxon import optim
        >>> optim.chain(optim.clip_global_norm(1.0), optim.Adam(1e-3)).slots()
        ('exp_avg', 'exp_avg_sq')
    """

    members: tuple[Optimizer, ...]

    def __init__(self, *members: Optimizer) -> None:
        for member in members:
            _check("chain", member)
        flat = (
            part
            for member in members
            for part in (member.members if isinstance(member, chain) else (member,))
        )
        object.__setattr__(self, "members", tuple(flat))
        self.__post_init__()

    def _build(self) -> _core.Optimizer:
        return _core.Optimizer.chain([member.core for member in self.members])

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.members))})"

    def rate(self, step: int) -> Any:
        moving = [member for member in self.members if member.core.moves()]
        return moving[-1].rate(step) if moving else super().rate(step)

    def settings(self) -> list[str]:
        return [name for member in self.members for name in member.settings()]

    def adjusted(self, hyperparameters: dict[str, Any]) -> Optimizer:
        return chain(*(member.adjusted(hyperparameters) for member in self.members))


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class partition(Optimizer):
    """Each parameter to the rule of the first pattern that covers it.

    Args:
        rules: optimisers by pattern; `"**"` as the last one covers the rest.

    Raises:
        TypeError: a value that is no optimiser.
        ValueError: in `setup`, a pattern that covers no parameter, or a parameter that no pattern covers.

    Example:
        >>> from luxon import optim
        >>> rule = optim.partition({"**.bias": optim.SGD(0.1), "**": optim.Adam(1e-3)})
        >>> rule.rate(0)
        {'**.bias': 0.1, '**': 0.001}
    """

    rules: tuple[tuple[str, Optimizer], ...]

    def __init__(self, rules: Mapping[str, Optimizer]) -> None:
        for rule in rules.values():
            _check("partition", rule)
        object.__setattr__(self, "rules", tuple(rules.items()))
        self.__post_init__()

    def _build(self) -> _core.Optimizer:
        return _core.Optimizer.partition([(pattern, rule.core) for pattern, rule in self.rules])

    def __repr__(self) -> str:
        return f"partition({dict(self.rules)!r})"

    def rate(self, step: int) -> dict[str, Any]:
        return {pattern: rule.rate(step) for pattern, rule in self.rules}

    def settings(self) -> list[str]:
        return [name for _, rule in self.rules for name in rule.settings()]

    def adjusted(self, hyperparameters: dict[str, Any]) -> Optimizer:
        return partition({pattern: rule.adjusted(hyperparameters) for pattern, rule in self.rules})


@dataclasses.dataclass(frozen=True)
class _Around(Optimizer):
    """An optimiser around another."""

    rule: Optimizer

    def __post_init__(self) -> None:
        _check(type(self).__name__, self.rule)
        super().__post_init__()

    def rate(self, step: int) -> Any:
        return self.rule.rate(step)

    def settings(self) -> list[str]:
        return [*(name for name in super().settings() if name != "rule"), *self.rule.settings()]

    def adjusted(self, hyperparameters: dict[str, Any]) -> Optimizer:
        names = {field.name for field in dataclasses.fields(self)}
        own = {name: value for name, value in hyperparameters.items() if name in names}
        return dataclasses.replace(self, **{**own, "rule": self.rule.adjusted(hyperparameters)})


@dataclasses.dataclass(frozen=True)
class lookahead(_Around):
    """Every `sync_period` updates the parameters go back towards where the last ones began (Zhang et al. 2019).

    slow = slow + slow_step_size (p - slow); p = slow.

    Args:
        rule: what moves the parameters in between.
        sync_period: updates in between.
        slow_step_size: the share of the way that is kept.
        reset_state: the rule starts afresh each time.

    Raises:
        ValueError: a setting out of range.
    """

    sync_period: int = 5
    slow_step_size: float = 0.5
    reset_state: bool = False

    def _build(self) -> _core.Optimizer:
        return _core.Optimizer.lookahead(
            self.rule.core, self.sync_period, self.slow_step_size, self.reset_state
        )


@dataclasses.dataclass(frozen=True)
class mixed_precision(_Around):
    """Keeps a copy of the parameters in a wider type, and the rule's state too; `ps` are its rounding.

    Small steps add up in the copy that float16 or bfloat16 parameters would lose. Parameters that have the type
    already need no copy. The copy leads: whoever changes `ps` by hand sets up a new state.

    Args:
        rule: what moves the parameters.
        dtype: the type of the copy.

    Raises:
        ValueError: not a floating type.
    """

    dtype: str = "float32"

    def _build(self) -> _core.Optimizer:
        return _core.Optimizer.mixed_precision(self.rule.core, self.dtype)
