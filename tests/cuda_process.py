"""Programs in processes of their own, where stand-ins take the place of CuPy and cuDNN."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=900, check=False
    )


def program(text: str, stand_in: str = "fake_cupy") -> str:
    """What a program prints that runs without an error behind a stand-in."""
    start = f"from luxon._emulator import {stand_in}; {stand_in}.install()\n"
    done = run("-c", start + textwrap.dedent(text))
    assert done.returncode == 0, done.stderr
    return done.stdout
