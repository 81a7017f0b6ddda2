"""What every loss shares: checks, reductions, and the objects that hold a loss's settings."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

from .. import _core
from .._core import Tensor

Reduction = str | Callable[[Tensor], Tensor]
"""How values are joined: "mean", "sum", "none", or a function of them."""


def reduce(name: str, values: Tensor, reduction: Reduction, like: Any = None) -> Tensor:
    """The values of a loss joined; in the dtype `like` where that is given."""
    if callable(reduction):
        result = reduction(values)
    elif reduction == "mean":
        result = _core.mean(values)
    elif reduction == "sum":
        result = _core.sum(values)
    elif reduction == "none":
        result = values
    else:
        raise ValueError(f"{name}: reduction must be 'mean', 'sum', 'none' or a function, got {reduction!r}")
    return result if like is None or result.dtype == like else _core.astype(result, like)


def by_core(function: Callable[..., Tensor], reduction: Reduction, *arguments: Any) -> Tensor:
    """A loss of the core, which knows the named reductions itself: its last argument."""
    if callable(reduction):
        return reduction(function(*arguments, "none"))
    return function(*arguments, reduction)


def tensors(name: str, *arguments: Any, names: tuple[str, ...] = ("prediction", "target")) -> list[Tensor]:
    """Arguments of one shape and one floating dtype, half types widened to float32.

    Integers and truth values take the dtype of the floating arguments.

    Raises:
        ValueError: shapes differ.
        TypeError: the first argument is not floating.
    """
    given = [_core.asarray(argument) for argument in arguments]
    if any(tensor.shape != given[0].shape for tensor in given):
        shapes = [f"{what} {tuple(tensor.shape)}" for what, tensor in zip(names, given, strict=True)]
        raise ValueError(f"{name}: {', '.join(shapes[:-1])} and {shapes[-1]} differ")
    if not _core.isdtype(given[0].dtype, "real floating"):
        raise TypeError(f"{name}: {names[0]} has dtype {given[0].dtype}; losses take floating types")
    floats = [tensor.dtype for tensor in given if _core.isdtype(tensor.dtype, "real floating")]
    dtype = widened(_core.result_type(*floats))
    return [tensor if tensor.dtype == dtype else _core.astype(tensor, dtype) for tensor in given]


def widened(dtype: Any) -> Any:
    """The dtype that a loss is computed in."""
    return dtype if dtype.itemsize >= 4 else "float32"


def result_dtype(*arguments: Any) -> Any:
    """The dtype of a loss: that of its floating arguments."""
    dtypes = [_core.asarray(argument).dtype for argument in arguments]
    return _core.result_type(*(dtype for dtype in dtypes if _core.isdtype(dtype, "real floating")))


def machine_epsilon(x: Tensor) -> float:
    """The distance from 1 to the next number of a tensor's dtype."""
    return float(_core.finfo(x.dtype).eps)


def check_not_negative(name: str, **numbers: float) -> None:
    """Refuses negative numbers.

    Raises:
        ValueError: naming the first.
    """
    for what, number in numbers.items():
        if not number >= 0:
            raise ValueError(f"{name}: {what} must not be negative, got {number}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss with its settings: call it as the function of the same name, or use it as an objective.

    As an objective, `loss(model, ps, st, (x, y))` gives (loss of the model's output against y, st, {}).
    """

    reduction: Reduction = "mean"
    _function: ClassVar[Callable[..., Tensor]]

    def __call__(self, *arguments: Any) -> Any:
        if len(arguments) == 4 and callable(arguments[0]):
            model, ps, st, data = arguments
            x, target = data
            prediction, st = model(x, ps, st)
            return self._of_model(prediction, target), st, {}
        return self._value(*arguments)

    def _of_model(self, prediction: Any, target: Any) -> Tensor:
        """The loss of a model's output; overridden where that is more than one tensor."""
        return self._value(prediction, target)

    def _in_core(self, reduction: str) -> Callable[[Any, Any], Tensor] | None:
        """What computes the same in one call of the core; None where nothing does."""
        del reduction
        return None

    @functools.cached_property
    def _value(self) -> Callable[..., Tensor]:
        """The function with these settings."""
        in_core = None if callable(self.reduction) else self._in_core(self.reduction)
        if in_core is not None:
            return in_core
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return functools.partial(type(self)._function, **settings)

    def __getstate__(self) -> dict[str, Any]:
        # A copy makes what is cached itself.
        return {name: value for name, value in self.__dict__.items() if name != "_value"}


def outputs(loss: Loss, prediction: Any, *names: str) -> tuple[Any, ...]:
    """The outputs of a model that gives several.

    Raises:
        TypeError: the model gives something else.
    """
    if isinstance(prediction, tuple | list) and len(prediction) == len(names):
        return tuple(prediction)
    got = f"{len(prediction)} outputs" if isinstance(prediction, tuple | list) else type(prediction).__name__
    raise TypeError(f"{type(loss).__name__}: the model must give ({', '.join(names)}), got {got}")
