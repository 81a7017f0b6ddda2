"""Transforms: what happens to gradients on their way to a rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from .. import _core
from ._base import Optimizer

Mask = str | Sequence[str] | None
"""Patterns of paths; None for every leaf."""


@dataclasses.dataclass(frozen=True)
class Transform(Optimizer):
    """A transform of gradients; `chain` puts it before a rule (or after one: then it works on the rule's step)."""

    def _build(self) -> _core.Optimizer:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return _core.Optimizer.transform(type(self).__name__, fields)


@dataclasses.dataclass(frozen=True)
class clip_value(Transform):
    """Cuts every element of the gradients to [-c, c].

    Args:
        c: the largest magnitude.

    Raises:
        ValueError: c is not positive.
    """

    c: float


@dataclasses.dataclass(frozen=True)
class clip_norm(Transform):
    """Shortens each leaf's gradient to the length c: g = g * min(1, c / (norm(g) + 1e-6)).

    Args:
        c: the largest norm.

    Raises:
        ValueError: c is not positive; in an update, a norm that is NaN or infinite (nothing has changed then).
    """

    c: float


@dataclasses.dataclass(frozen=True)
class clip_global_norm(Transform):
    """Shortens all gradients, as one vector, to the length c: g = g * min(1, c / (norm + 1e-6)) (PyTorch).

    Within `partition` it concerns the leaves of its part.

    Args:
        c: the largest norm.
        p: the order of the norm; `float("inf")` for the largest magnitude.

    Raises:
        ValueError: c or p is not positive; in an update, a norm that is NaN or infinite (nothing has changed
            then).
    """

    c: float
    p: float = 2.0


@dataclasses.dataclass(frozen=True)
class weight_decay(Transform):
    """Adds d times the parameter to its gradient.

    Args:
        d: the factor.
        mask: patterns of the parameters that decay; None is all.

    Raises:
        ValueError: in `setup`, a pattern that covers no parameter.
    """

    d: float
    mask: Mask = None


@dataclasses.dataclass(frozen=True)
class sign_decay(Transform):
    """Adds d times the sign of the parameter to its gradient: the gradient of d * sum(abs(p)).

    Args:
        d: the factor.
        mask: patterns of the parameters that decay; None is all.

    Raises:
        ValueError: in `setup`, a pattern that covers no parameter.
    """

    d: float
    mask: Mask = None


@dataclasses.dataclass(frozen=True)
class accumulate(Transform):
    """Holds back until a leaf has seen n gradients, then passes their mean on.

    What follows in the chain, the steps of schedules and `TrainState.step` count the means, not the gradients.
    Half types are summed in float32.

    Args:
        n: gradients to one update.

    Raises:
        ValueError: n is not a positive integer.
    """

    n: int


@dataclasses.dataclass(frozen=True)
class ema(Transform):
    """The exponential moving average of the gradients: m = decay m + (1 - decay) g (Optax).

    Args:
        decay: what is kept of the average.
        debias: divide by 1 - decay^t, since the average starts at 0.

    Raises:
        ValueError: decay is not in [0, 1).
    """

    decay: float
    debias: bool = True
