"""Batches of arrays, in an order that a key fixes and from any place on.

Example:
    >>> import numpy as np
    >>> import luxon as lx
    >>> x, y = np.arange(6.0, dtype="float32"), np.arange(6)
    >>> loader = lx.data.DataLoader((x, y), batch_size=4, key=lx.random.key(0))
    >>> [xb.shape for xb, yb in loader]
    [(4,), (2,)]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from . import _core, random
from ._core import Tensor, Tree
from ._device import resolve, to_device
from ._typing import DeviceLike

__all__ = ["DataLoader", "DeviceLoader"]


class _Loader(Protocol):
    """What gives batches and can be resumed."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def state(self) -> Tree: ...
    def from_state(self, state: Any) -> Any: ...


class DataLoader:
    """Batches of one array, or of a tree of arrays with equally many rows, as tensors.

    Every `for` over the loader is an epoch. With a key, epoch e goes through the rows in an order that depends
    on the key and on e alone; without one, in their own order. NumPy arrays (memory-mapped ones too) are read
    batch by batch, and keep their dtypes.

    Where it has come to is a small Tree: `state()` at any time, also within a loop, and a loader of the same
    arrays goes on from there with `from_state`, first to the end of the epoch that was under way.

    Args:
        arrays: an array (NumPy or tensor), or a tuple, dict or other nest of them.
        batch_size: the rows of a batch.
        key: a key (or seed) to shuffle by; None keeps the order.
        drop_last: whether a last batch of fewer rows is left out.

    Raises:
        ValueError: the arrays differ in their numbers of rows, there are none, or batch_size is not positive.
        TypeError: a leaf is no array.

    Example:
        >>> import luxon as lx
        >>> loader = lx.data.DataLoader(lx.arange(6), 2, key=0)
        >>> for batch in loader:
        ...     state = loader.state()
        ...     break
        >>> rest = [batch.tolist() for batch in loader.from_state(state)]
        >>> len(rest)
        2
    """

    def __init__(
        self, arrays: Any, batch_size: int, key: random.Key | int | None = None, drop_last: bool = False
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be a positive integer, got {batch_size!r}")
        self.arrays = arrays
        self.batch_size = int(batch_size)
        self.key = key if key is None or isinstance(key, random.Key) else random.key(key)
        self.drop_last = drop_last
        self.rows = _rows(arrays)
        self._epoch = 0
        self._position = 0
        self._under_way = False

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        full, rest = divmod(self.rows, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        if not self._under_way and self._position:
            self._epoch, self._position = self._epoch + 1, 0
        self._under_way = False
        epoch, first = self._epoch, self._position
        order = None
        if self.key is not None:
            order = np.asarray(random.permutation(self.key.fold_in(epoch), self.rows))
        for number in range(first, len(self)):
            start = number * self.batch_size
            chosen: Any = slice(start, min(start + self.batch_size, self.rows))
            if order is not None:
                chosen = order[chosen]
            batch = _core.tree_map(lambda leaf, chosen=chosen: _pick(leaf, chosen), self.arrays)
            self._epoch, self._position = epoch, number + 1
            yield batch

    def state(self) -> Tree:
        """Where the loader has come to: so many batches (`position`) of epoch `epoch` have been given."""
        return Tree(
            {
                "epoch": self._epoch,
                "position": self._position,
                "key": self.key,
                "rows": self.rows,
                "batch_size": self.batch_size,
            }
        )

    def from_state(self, state: Any) -> DataLoader:
        """A loader of the same arrays that goes on after the batches that `state` says have been given.

        Raises:
            ValueError: the state is of a loader with other rows or another batch size.
        """
        for name, mine in (("rows", self.rows), ("batch_size", self.batch_size)):
            if state[name] != mine:
                raise ValueError(f"DataLoader: the state has {name} {state[name]}, this loader {mine}")
        new = DataLoader(self.arrays, self.batch_size, state["key"], self.drop_last)
        new._epoch, new._position = state["epoch"], state["position"]
        new._under_way = new._position < len(new)
        return new

    def __repr__(self) -> str:
        order = "in order" if self.key is None else "shuffled"
        return f"DataLoader({self.rows} rows, {len(self)} batches of {self.batch_size}, {order})"


class DeviceLoader:
    """Another loader's batches, each moved to a device.

    Args:
        loader: a `DataLoader`, or anything that iterates.
        device: a device or its name.

    Raises:
        RuntimeError: there is no such device.

    Example:
        >>> import luxon as lx
        >>> loader = lx.data.DeviceLoader(lx.data.DataLoader(lx.arange(6), 4), lx.cpu())
        >>> [batch.device for batch in loader]
        [cpu, cpu]
    """

    def __init__(self, loader: _Loader, device: DeviceLike) -> None:
        self.loader = loader
        self.device = resolve(device)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            yield to_device(batch, self.device)

    def state(self) -> Tree:
        """The inner loader's state."""
        return self.loader.state()

    def from_state(self, state: Any) -> DeviceLoader:
        """A loader that goes on from a state of the inner loader."""
        return DeviceLoader(self.loader.from_state(state), self.device)


def _rows(arrays: Any) -> int:
    """The number of rows that all arrays have."""
    leaves, paths = _core.tree_leaves(arrays), _core.tree_paths(arrays, True)
    sizes = {}
    for leaf, path in zip(leaves, paths, strict=True):
        if not isinstance(leaf, Tensor | np.ndarray):
            place = f" at {path!r}" if path else ""
            raise TypeError(f"DataLoader: expected arrays, got {type(leaf).__name__}{place}")
        if leaf.ndim == 0:
            raise ValueError(f"DataLoader: the array at {path!r} has no axis of rows")
        sizes[path] = leaf.shape[0]
    if not sizes:
        raise ValueError("DataLoader: there are no arrays")
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size} at {path!r}" for path, size in sizes.items())
        raise ValueError(f"DataLoader: the arrays differ in their first axes: {listed}")
    return int(next(iter(sizes.values())))


def _pick(leaf: Any, chosen: Any) -> Tensor:
    if isinstance(leaf, np.ndarray) or isinstance(chosen, slice):
        return _core.asarray(leaf[chosen])
    return _core.take(leaf, _core.asarray(chosen), axis=0)
