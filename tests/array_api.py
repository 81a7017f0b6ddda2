"""Runs the array API's own test suite against luxon: `python tests/array_api.py CHECKOUT`.

CHECKOUT is a clone of data-apis/array-api-tests with its submodule, or the folder that ARRAY_API_TESTS names, by
default `../array-api-tests` beside this repository; what stands in its requirements.txt has to be installed. Further
arguments go to pytest (`-n 2`, a file, `-k name`).

`array_api_expected.txt` lists the tests that cannot pass, under their reasons, with `?` before those that pass where
no such case is drawn. They are run: another one that passes is a failure, and so is an entry that names no test, so
that the list stays true. This file is also the plugin of pytest that reads the list.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "array_api_expected.txt"
BESIDE = HERE.parents[1] / "array-api-tests"


def expected() -> Iterator[tuple[re.Pattern[str], str, bool]]:
    """Patterns of test names (`*` for anything), the reason above each, and whether it fails whatever is drawn."""
    reason = ""
    for line in EXPECTED.read_text().splitlines():
        if line.startswith("#"):
            reason = line[1:].strip()
        elif line:
            name = line.removeprefix("? ")
            yield re.compile(".*".join(map(re.escape, name.split("*")))), reason, name == line


def pytest_load_initial_conftests() -> None:
    """Loads the suite's dtypes before its conftest does: it takes the largest complex one, and there is none."""

    def largest(*values: Any, **options: Any) -> Any:
        options = {"default": (None, 0), **options} if len(values) == 1 else options
        return builtins.max(*values, **options)

    spec = importlib.util.find_spec("array_api_tests.dtype_helpers")
    if spec is None or spec.loader is None:
        raise pytest.UsageError("no array_api_tests here")
    module = importlib.util.module_from_spec(spec)
    module.max = largest  # type: ignore[attr-defined]
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what cannot pass."""
    unused = []
    for pattern, reason, always in expected():
        found = [item for item in items if pattern.fullmatch(item.nodeid.removeprefix("array_api_tests/"))]
        for item in found:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=always))
        if not found:
            unused.append(pattern.pattern)
    if unused and config.args == ["array_api_tests"]:
        raise pytest.UsageError(f"{EXPECTED.name}: no test of the suite is called {', '.join(unused)}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many tests cannot pass, by reason."""
    reports = [*terminalreporter.getreports("xfailed"), *terminalreporter.getreports("xpassed")]
    reasons = Counter(report.wasxfail for report in reports)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5} cannot pass: {reason}")


def main(arguments: list[str]) -> int:
    """Runs the suite; the status is pytest's."""
    given = arguments and Path(arguments[0]).is_dir() and not arguments[0].startswith("array_api_tests")
    checkout = Path(arguments.pop(0) if given else os.environ.get("ARRAY_API_TESTS", BESIDE))
    if not (checkout / "array-api" / "src").is_dir():
        print(
            f"{checkout} is no clone of https://github.com/data-apis/array-api-tests with its submodule",
            file=sys.stderr,
        )
        return 2
    # The suite runs in its own folder, where relative paths would mean something else.
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    folders = [str(HERE), *map(os.path.abspath, paths)]
    environment = os.environ | {
        "ARRAY_API_TESTS_MODULE": "luxon",
        "ARRAY_API_TESTS_SKIP_DTYPES": "complex64,complex128",
        "PYTHONPATH": os.pathsep.join(folders),
    }
    options = ["-q", "-p", "array_api", "--disable-deadline", "--derandomize", "--max-examples=20"]
    if not any("::" in argument or argument.startswith("array_api_tests") for argument in arguments):
        arguments.insert(0, "array_api_tests")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments], cwd=checkout, env=environment
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
