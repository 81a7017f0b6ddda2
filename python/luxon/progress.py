"""Watching a run: a progress bar over any iterable, and scalars for a logger.

The bar is `tqdm`'s where that is installed, else plain text. A logger is anything with TensorBoard's `add_scalar`:
`torch.utils.tensorboard.SummaryWriter`, `tensorboardX.SummaryWriter`, or a class of your own.

Example:
    >>> from luxon.progress import Record, log
    >>> record = Record()
    >>> for step in range(3):
    ...     log(record, step, {"loss": 1.0 / (step + 1)}, prefix="train")
    >>> record["train/loss"]
    [(0, 1.0), (1, 0.5), (2, 0.3333333333333333)]
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Generic, Protocol, TextIO, TypeVar, runtime_checkable

import numpy as np

from . import tree
from ._core import Tensor

__all__ = ["Logger", "Progress", "Record", "log"]

T = TypeVar("T")


@runtime_checkable
class Logger(Protocol):
    """What takes scalars: TensorBoard's writers and those that look like them."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> Any:
        """Notes one number of one step."""


class Record(dict[str, list[tuple[int | None, float]]]):
    """A logger that keeps everything: pairs of step and value by tag."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Notes one number of one step."""
        self.setdefault(tag, []).append((global_step, scalar_value))


def log(logger: Logger, step: int, values: Any, prefix: str = "") -> None:
    """Gives every number of a tree to a logger, under its path with slashes.

    Args:
        logger: anything with `add_scalar(tag, scalar_value, global_step)`.
        step: the step.
        values: a tree of numbers and tensors of one element; None is left out.
        prefix: goes before each path.

    Raises:
        TypeError: a leaf is no number.
        ValueError: a tensor has more than one element.

    Example:
        >>> import luxon as lx
        >>> from luxon.progress import Record, log
        >>> record = Record()
        >>> log(record, 5, {"loss": lx.asarray(0.5), "norms": {"layer_1": 2}})
        >>> dict(record)
        {'loss': [(5, 0.5)], 'norms/layer_1': [(5, 2.0)]}
    """
    for path, leaf in zip(tree.paths(values, unique=True), tree.leaves(values), strict=True):
        if leaf is None:
            continue
        tag = "/".join(part for part in (prefix, path.replace(".", "/")) if part)
        logger.add_scalar(tag, _number(leaf, tag), step)


def _number(value: Any, name: str) -> float:
    if isinstance(value, Tensor | np.ndarray) and value.size != 1:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, a number is needed; take its mean, for example"
        )
    kind = value.dtype.kind if isinstance(value, np.ndarray | np.generic) else "f"
    if not isinstance(value, Tensor | np.ndarray | np.generic | bool | int | float) or kind in "cmMOSU":
        raise TypeError(f"{name} must be a number, got {getattr(value, 'dtype', type(value).__name__)}")
    return float(value if not isinstance(value, np.ndarray) else value.item())


class Progress(Generic[T]):
    """An iterable with a progress bar.

    `tqdm` draws it where it is installed. Otherwise it is a line of text, rewritten in a terminal, and printed
    once for each tenth of the way elsewhere, so that log files stay short.

    Args:
        iterable: what to go through.
        total: how many items there are; by default its length, where it has one.
        label: stands before the bar.
        file: where to print; standard error by default.
        plain: text even where `tqdm` is installed.

    Example:
        >>> import sys
        >>> from luxon.progress import Progress
        >>> bar = Progress(range(2), label="epoch 1", file=sys.stdout, plain=True)
        >>> for number in bar:
        ...     bar.show(loss=0.5)
        epoch 1: 1/2 loss=0.5
        epoch 1: 2/2 loss=0.5
    """

    def __init__(
        self,
        iterable: Iterable[T],
        total: int | None = None,
        label: str = "",
        file: TextIO | None = None,
        plain: bool = False,
    ) -> None:
        self.iterable = iterable
        self.total = len(iterable) if total is None and isinstance(iterable, Sized) else total
        self.label = label
        self.file = sys.stderr if file is None else file
        self._values: dict[str, str] = {}
        self._bar: Any = None
        self._make = None if plain else _tqdm()

    def __len__(self) -> int:
        if self.total is None:
            raise TypeError("Progress: the iterable has no length, and no total was given")
        return self.total

    def __iter__(self) -> Iterator[T]:
        self._values.clear()
        if self._make is None:
            yield from self._iterate_plain()
            return
        with self._make(
            self.iterable, total=self.total, desc=self.label or None, file=self.file
        ) as self._bar:
            yield from self._bar
        self._bar = None

    def show(self, **values: Any) -> None:
        """Shows numbers beside the bar, until others of the same names take their place."""
        for name, value in values.items():
            self._values[name] = value if isinstance(value, str) else f"{_number(value, name):.4g}"
        if self._bar is not None:
            self._bar.set_postfix_str(self._text(), refresh=False)

    def _text(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self._values.items())

    def _iterate_plain(self) -> Iterator[T]:
        terminal = self.file.isatty()
        shown, last, done = 0.0, -1, 0
        try:
            for item in self.iterable:
                yield item
                done += 1
                tenth = (
                    done * 10 // self.total
                    if self.total
                    else (done.bit_length() if done & (done - 1) == 0 else last)
                )
                now = time.monotonic()
                if (terminal and (now - shown > 0.1 or done == self.total)) or (
                    not terminal and tenth != last
                ):
                    self._print(done, terminal)
                    shown, last = now, tenth
        finally:  # After a break or an exception too: what is printed next has a line of its own.
            if terminal and done:
                self.file.write("\n")

    def _print(self, done: int, terminal: bool) -> None:
        label, bar = f"{self.label}: " if self.label else "", ""
        if terminal and self.total:
            filled = 30 * done // self.total
            bar = f"[{'#' * filled}{'.' * (30 - filled)}] "
        of = f"/{self.total}" if self.total is not None else ""
        line = f"{label}{bar}{done}{of} {self._text()}".rstrip()
        # The rest of a longer line that was there before is wiped out.
        self.file.write(f"\r{line}\x1b[K" if terminal else f"{line}\n")
        self.file.flush()


def _tqdm() -> Any:
    """tqdm's bar for this place, or None."""
    try:
        return importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        return None
