"""What holds for the process: the same bits for any thread count, instruction sets that agree, forks that work."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest

import luxon as lx
from luxon import losses, nn, optim, training

# Every kernel family on sizes that are split into tasks, and a few training steps; prints a digest of the bits.
PROGRAM = """
import hashlib
import numpy as np
import luxon as lx
from luxon import losses, nn, optim, training

random = np.random.default_rng(0)
digest = hashlib.sha256()

def note(*tensors):
    for tensor in tensors:
        digest.update(np.ascontiguousarray(np.asarray(tensor)).tobytes())

x = lx.asarray(random.standard_normal((700, 900)).astype("f4"))
y = lx.asarray(random.standard_normal((900, 800)).astype("f4"))
d = lx.astype(x, lx.float64)
note(x @ y, x.T @ x, d @ d.T, lx.exp(x), lx.tanh(x * 1.5 + 0.1), lx.softmax(x, axis=-1), lx.softmax(x, axis=0))
note(lx.sum(x), lx.sum(x, axis=0), lx.sum(x, axis=1), lx.var(x, axis=0), lx.max(x, axis=1), lx.mean(d))
note(lx.sort(x, axis=0), lx.cumulative_sum(x, axis=1), lx.asarray(x.T, copy=True), lx.astype(x, lx.float16))
note(lx.functional.layer_norm(x), *lx.vjp(lx.functional.layer_norm, x)[1](x * x))
note(lx.random.normal(lx.random.key(3), (1000, 1000)), lx.functional.dropout(lx.random.key(4), x, 0.3))
model = nn.Chain(nn.Dense(900, 300, lx.relu), nn.BatchNorm(300), nn.Dropout(0.2), nn.Dense(300, 10))
ts = training.TrainState.create(0, model, optim.Adam(1e-3))
batch = x, lx.asarray(random.integers(0, 10, 700))
for _ in range(3):
    grads, loss, stats, ts = training.single_train_step(lx.AutoTape(), losses.CrossEntropyLoss(), batch, ts)
    note(loss, *lx.tree.leaves(grads))
note(*lx.tree.leaves(ts.parameters))
print(digest.hexdigest())
"""


def run_program(**environment: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return finished.stdout.strip()


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    digests = {count: run_program(LUXON_NUM_THREADS=count) for count in ("1", "2", "3", "8")}
    assert len(set(digests.values())) == 1, digests


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_instruction_sets_agree(isa: str) -> None:
    program = (
        "import numpy as np, luxon as lx\n"
        "x = np.linspace(-4, 4, 3000, dtype='f4').reshape(30, 100)\n"
        "t = lx.asarray(x)\n"
        "assert np.allclose(np.asarray(t @ t.T), x.astype('f8') @ x.T.astype('f8'), rtol=1e-4, atol=1e-4)\n"
        "assert np.allclose(np.asarray(lx.exp(t)), np.exp(x), rtol=1e-6)\n"
        "assert np.allclose(np.asarray(lx.sum(t * t, axis=0)), (x * x).sum(0), rtol=1e-5)\n"
        "e = np.exp(x - x.max(1, keepdims=True))\n"
        "assert np.allclose(np.asarray(lx.softmax(t, axis=1)), e / e.sum(1, keepdims=True), rtol=1e-5)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "LUXON_ISA": isa}, check=True, timeout=120
    )


def _work(seed: int) -> str:
    x = lx.random.normal(lx.random.key(seed), (600, 600))
    return hashlib.sha256(np.asarray(x @ x + lx.tanh(x)).tobytes()).hexdigest()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_runs_its_kernels() -> None:
    expected = [_work(seed) for seed in range(4)]  # the parent's threads are running now
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        assert pool.map_async(_work, range(4)).get(timeout=120) == expected
    assert _work(0) == expected[0]


def test_importing_starts_no_thread() -> None:
    program = "import numpy, os; before = len(os.listdir('/proc/self/task')); import luxon; print(len(os.listdir('/proc/self/task')) - before)"
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("threads are counted through /proc")
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "0"


def test_training_in_threads_gives_the_same_bits() -> None:
    import threading

    model = nn.Chain(nn.Dense(20, 50, lx.tanh), nn.Dense(50, 3))
    batch = lx.ones((200, 20)), lx.zeros((200, 3))

    def train(results: list[bytes]) -> None:
        ts = training.TrainState.create(0, model, optim.SGD(0.1, momentum=0.9))
        for _ in range(20):
            ts = training.single_train_step(lx.AutoTape(), losses.MSELoss(), batch, ts)[3]
        results.append(b"".join(np.asarray(leaf).tobytes() for leaf in lx.tree.leaves(ts.parameters)))

    results: list[bytes] = []
    threads = [threading.Thread(target=train, args=(results,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(results) == 4
    assert len(set(results)) == 1
