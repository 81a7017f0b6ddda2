"""Reads the stored oracle cases: one flat array for each dtype in an .npz, the calls in a .json beside it.

A node of the .json is a JSON value, or stands for something else: `{"$t": [dtype, offset, shape]}` a piece of
a flat array, `$tuple`, `$slice`, `$ellipsis`, `$num` (a float that JSON has no word for) and `$dtype`.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("LUXON_ORACLES") or ROOT.parent / "shared" / "oracles") / "data"
WHY_ABSENT = f"no oracles in {FOLDER} (LUXON_ORACLES names another folder)"


class Cases:
    """One pair of files."""

    def __init__(self, name: str) -> None:
        self.index: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
        with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
            self.arrays = dict(arrays)

    def decode(self, node: Any, leaf: Callable[[np.ndarray, bool], Any] | None = None) -> Any:
        """The value of a node; `leaf(array, differentiated)` turns arrays into something else."""
        if isinstance(node, list):
            return [self.decode(part, leaf) for part in node]
        if not isinstance(node, dict):
            return node
        match node:
            case {"$t": [dtype, offset, shape]}:
                array = self.arrays[dtype][offset : offset + math.prod(shape)].reshape(shape)
                return array if leaf is None else leaf(array, node.get("grad", False))
            case {"$tuple": parts}:
                return tuple(self.decode(part, leaf) for part in parts)
            case {"$slice": bounds}:
                return slice(*bounds)
            case {"$ellipsis": _}:
                return Ellipsis
            case {"$num": text}:
                return float(text)
            case {"$dtype": name}:
                return np.dtype(name)
        return {key: self.decode(value, leaf) for key, value in node.items()}


@functools.cache
def cases(name: str) -> Cases | None:
    """The cases of that name, none where the folder is absent."""
    return Cases(name) if (FOLDER / f"{name}.json").exists() else None


def distance(got: Any, want: Any) -> float:
    """The largest difference over the largest finite |want| (or 0.01 where that is less); infinite where
    shapes, or the places of NaN and infinities, differ."""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return math.inf
    if want.dtype.kind in "biu":
        return 0.0 if np.array_equal(got, want) else math.inf
    got, want = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return math.inf
    if not finite.any():
        return 0.0
    return float(np.abs(got[finite] - want[finite]).max() / max(np.abs(want[finite]).max(), 0.01))
