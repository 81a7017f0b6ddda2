"""Printed models and trees as HTML, for notebooks."""

from __future__ import annotations

import html


def folded(text: str) -> str:
    """Text whose nesting is its indentation, with parts that fold."""
    lines = text.splitlines()
    parts: list[str] = []
    open_depths: list[int] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        depth, shown = _depth(line), html.escape(line.strip())
        while open_depths and depth <= open_depths[-1]:
            open_depths.pop()
            parts.append("</div></details>")
        if _depth(following) > depth:
            open_depths.append(depth)
            parts.append(
                f"<details open><summary>{shown.rstrip('(:')}</summary><div style='margin-left: 1.5em'>"
            )
        elif shown := shown.removeprefix(")").lstrip(", "):
            parts.append(f"<div>{shown}</div>")
    parts.extend("</div></details>" for _ in open_depths)
    return f"<div style='font-family: monospace'>{''.join(parts)}</div>"


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
