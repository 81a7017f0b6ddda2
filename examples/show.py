"""What the examples show with: a progress line, a curve of block characters, a figure."""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """A curve of block characters, of at most `width` of them."""
    blocks = "▁▂▃▄▅▆▇█"
    stride = max(1, -(-len(values) // width))
    shown = [
        sum(part) / len(part) for part in (values[i : i + stride] for i in range(0, len(values), stride))
    ]
    low, high = min(shown), max(shown)
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((value - low) * scale)] for value in shown)


def progress(done: int, total: int, text: str, every: int = 10) -> None:
    """One line that is rewritten in a terminal, and printed at every so many steps elsewhere."""
    filled = round(30 * done / total)
    line = f"{'█' * filled}{'░' * (30 - filled)} {done:5d}/{total}  {text}"
    if sys.stdout.isatty():
        print(f"\r{line}", end="\n" if done == total else "", flush=True)
    elif done == 1 or done % every == 0 or done == total:
        print(line, flush=True)


@contextlib.contextmanager
def figure(path: pathlib.Path, panels: int = 1, size: tuple[float, float] = (7.0, 4.0)) -> Iterator[Any]:
    """The axes of a figure (one, or a row of several), saved to `path` as a PNG at the end."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    drawn, axes = pyplot.subplots(1, panels, figsize=size)
    yield axes
    drawn.tight_layout()
    drawn.savefig(path, dpi=120)
    pyplot.close(drawn)
    print(f"figure saved to {path}")
