"""Every kernel compiles for the architectures that are in use, in as many registers as it has, without a GPU."""

from __future__ import annotations

import json

import pytest

import cuda_nvrtc as nvrtc
import test_cuda_emulated

pytestmark = pytest.mark.skipif(
    nvrtc.library() is None, reason="the wheel nvidia-cuda-nvrtc is not installed"
)

# Loops over arrays that a thread indexes at run time live in local memory; these are small and rarely used.
STACK = 1024
# The compiler may put some numbers aside where it prefers more threads to more registers: one softmax does, on sm_90, and
# the gradient of a norm over rows of half types that no block can hold.
SPILLED = 68


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_every_kernel_compiles_in_registers(architecture: int) -> None:
    most, count = nvrtc.table(test_cuda_emulated.record().texts, architecture)
    known = json.loads(nvrtc.TABLE.read_text())[f"sm_{architecture}"]
    assert count == known["compiled"], "kernels were added or dropped: run tests/cuda_nvrtc.py"
    assert {name: usage.spilled for name, usage in most.items() if usage.spilled > SPILLED} == {}
    assert {name: usage.stack for name, usage in most.items() if usage.stack > STACK} == {}
    assert sorted(most) == sorted(known["registers, stack bytes, spilled bytes"])
