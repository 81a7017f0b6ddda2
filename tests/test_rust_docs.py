"""Every public item of the Rust crate is documented with an example (which `cargo test` compiles and runs)."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).parent.parent
ITEMS = {"function", "struct", "enum", "union", "trait", "macro"}

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed")


def describe_crate(folder: pathlib.Path) -> dict[str, Any]:
    """What rustdoc knows of the crate, hidden items included: items by number, and the number of the root.

    The format is unstable, hence the variable; only rustdoc sees it, so that nothing is compiled again for it.
    """
    wrapper = folder / "rustdoc"
    wrapper.write_text('#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc "$@"\n')
    wrapper.chmod(0o755)
    flags = os.environ.get("CARGO_FLAGS", "--release").split()
    options = [
        "-D",
        "warnings",
        "-Z",
        "unstable-options",
        "--output-format",
        "json",
        "--document-hidden-items",
    ]
    finished = subprocess.run(
        ["cargo", "rustdoc", *flags, "--package", "luxon", "--lib", "--", *options],
        cwd=ROOT,
        env=os.environ | {"RUSTDOC": str(wrapper)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert finished.returncode == 0, finished.stderr
    about = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    target = json.loads(subprocess.check_output(about, cwd=ROOT))["target_directory"]
    crate: dict[str, Any] = json.loads(pathlib.Path(target, "doc", "luxon.json").read_text())
    return crate


def public_items(crate: dict[str, Any]) -> list[dict[str, Any]]:
    """The items that the documentation shows: what can be reached from the root, past nothing that is hidden.

    Methods of a trait are shown by the example of the trait; those of its implementations are the trait's.
    """
    index, seen, found = crate["index"], set(), []

    def visit(number: object) -> None:
        item = index.get(str(number))
        if (
            item is None
            or item["crate_id"] != 0
            or item["id"] in seen
            or "hidden" in json.dumps(item["attrs"])
        ):
            return
        ((kind, inner),) = item["inner"].items()
        if kind != "impl" and item["visibility"] not in ("public", "default"):
            return
        seen.add(item["id"])
        if kind == "use":
            visit(inner["id"])
        elif kind == "module" or (kind == "impl" and inner["trait"] is None):
            for child in inner["items"]:
                visit(child)
        elif kind in ITEMS:
            found.append(item)
            for child in inner.get("impls", ()) if isinstance(inner, dict) else ():
                visit(child)

    visit(crate["root"])
    return found


def test_every_public_item_has_an_example(tmp_path: pathlib.Path) -> None:
    items = public_items(describe_crate(tmp_path))
    names = {item["name"] for item in items}
    # The walk reaches what it should: reexports, methods of tables, methods beside their families.
    assert {"Tensor", "conv", "exp", "sum", "Adam", "uniform", "Reader", "checkpoint"} <= names and len(
        items
    ) > 400
    bare = [
        f"{item['span']['filename']}:{item['span']['begin'][0]} {item['name']}"
        for item in items
        if "```\n" not in (item["docs"] or "") + "\n"
    ]
    assert not bare, "\n".join(bare)
