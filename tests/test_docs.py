"""The code in the documentation runs."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    if "```python" in path.read_text()
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page(path):
    text = path.read_text()
    namespace = {"__name__": "page"}
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        # Line numbers in a traceback are those of the page.
        start = text[: match.start(1)].count("\n")
        exec(compile("\n" * start + match[1], str(path), "exec"), namespace)
