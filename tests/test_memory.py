"""The cache of tensors' memory: a training loop that goes on as it began takes nothing more from the system."""

from __future__ import annotations

import pytest

import luxon as lx
from luxon import losses, nn, optim, training


def small_mlp():
    model = nn.Chain(nn.Dense(2, 32, lx.tanh), nn.Dense(32, 32, lx.tanh), nn.Dense(32, 1))
    return model, losses.MSELoss(), (lx.ones((64, 2)), lx.ones((64, 1)))


def lenet():
    model = nn.Chain(
        nn.Conv((5, 5), 1, 6, lx.relu),
        nn.MaxPool((2, 2)),
        nn.Conv((5, 5), 6, 16, lx.relu),
        nn.MaxPool((2, 2)),
        nn.FlattenLayer(),
        nn.Dense(256, 120, lx.relu),
        nn.Dense(120, 10),
    )
    return model, losses.CrossEntropyLoss(), (lx.ones((16, 1, 28, 28)), lx.zeros(16, dtype="int32"))


def lstm():
    model = nn.Chain(nn.Recurrence(nn.LSTMCell(8, 32)), nn.Dense(32, 4))
    return model, losses.CrossEntropyLoss(), (lx.ones((8, 20, 8)), lx.zeros(8, dtype="int32"))


@pytest.fixture
def one_thread():
    """Each thread has a cache of its own, and which one does which part of a step is left to chance."""
    before = lx.threads()
    lx.set_threads(1)
    yield
    lx.set_threads(before)


@pytest.mark.parametrize("donate", [True, False])
@pytest.mark.parametrize("make", [small_mlp, lenet, lstm])
def test_steps_after_the_second_take_no_memory_from_the_system(make, donate, one_thread):
    model, objective, data = make()
    ts = training.TrainState(model, *nn.setup(0, model), optim.Adam(1e-3))
    taken = []
    for _ in range(8):
        _, _, _, ts = training.single_train_step(lx.AutoTape(), objective, data, ts, donate=donate)
        taken.append(lx.memory_statistics()["system_allocations"])
    assert taken[2:] == taken[1:2] * 6


def test_held_bytes_count_what_tensors_and_cache_have():
    before = lx.memory_statistics()
    large = lx.ones(9_000_000)
    now = lx.memory_statistics()
    # From the cache, or a new block of its size class.
    assert now["held_bytes"] - before["held_bytes"] in (0, 40 << 20)
    assert now["peak_bytes"] >= now["held_bytes"] >= large.nbytes
