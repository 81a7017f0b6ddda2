"""Loaders: orders, epochs, resuming; trees and devices."""

import numpy as np
import pytest

import luxon as lx
from luxon import nn

X = np.arange(20, dtype="float32").reshape(10, 2)
Y = np.arange(10)


def test_batches_cover_the_rows_in_order():
    batches = list(lx.data.DataLoader((X, Y), 4))
    assert [y.tolist() for _, y in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert all(isinstance(batch, tuple) and batch[0].dtype == lx.float32 for batch in batches)
    np.testing.assert_array_equal(np.concatenate([np.asarray(x) for x, _ in batches]), X)
    whole = lx.data.DataLoader((X, Y), 4, drop_last=True)
    assert len(whole) == len(list(whole)) == 2


@pytest.mark.parametrize(
    "arrays", [Y, lx.asarray(Y), {"a": Y, "b": [lx.asarray(X)]}], ids=["numpy", "tensor", "nest"]
)
def test_any_tree_of_arrays_keeps_its_form(arrays):
    batch = next(iter(lx.data.DataLoader(arrays, 3, key=1)))
    if isinstance(arrays, dict):
        assert set(batch) == {"a", "b"}
        np.testing.assert_array_equal(np.asarray(batch["b"][0])[:, 0], 2 * np.asarray(batch["a"]))
        batch = batch["a"]
    assert batch.shape == (3,) and batch.dtype == lx.int64


def test_the_key_fixes_the_order_of_each_epoch():
    def epochs(key):
        loader = lx.data.DataLoader(Y, 4, key=key)
        return [np.concatenate([np.asarray(batch) for batch in loader]).tolist() for _ in range(3)]

    first = epochs(lx.random.key(0))
    assert first == epochs(0) != epochs(1)
    assert all(sorted(epoch) == Y.tolist() for epoch in first)
    assert first[0] != first[1] != first[2]


def test_a_loader_goes_on_where_its_state_was_taken(tmp_path):
    def loader():
        return lx.data.DataLoader((X, Y), 3, key=5)

    def run(loader, epochs):
        return [y.tolist() for _ in range(epochs) for _, y in loader]

    everything = run(loader(), 3)
    states, running = [loader().state()], loader()
    for _ in range(3):
        for _ in running:
            states.append(running.state())
    for given, state in enumerate(states):
        lx.io.save(tmp_path / "state.safetensors", st=state)
        state = lx.io.load(tmp_path / "state.safetensors").st
        resumed = loader().from_state(state)
        left = len(everything) - given
        assert run(resumed, -(-left // 4)) == everything[given:]
    assert loader().from_state(states[2]).state().position == 2
    with pytest.raises(ValueError, match="batch_size 3, this loader 4"):
        lx.data.DataLoader((X, Y), 4).from_state(states[0])


def test_a_loop_that_was_left_does_not_continue():
    loader = lx.data.DataLoader(Y, 4)
    for _ in loader:
        break
    assert [y.tolist()[0] for y in loader] == [0, 4, 8]
    assert loader.state().epoch == 1


def test_rows_appear_without_reading_everything(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    (first, *_) = lx.data.DataLoader(mapped, 4, key=0)
    assert first.shape == (4, 2)
    # A batch is a copy: the array may change after it was given.
    array = Y.copy()
    (batch,) = lx.data.DataLoader(array, 10)
    array[:] = -1
    assert batch.tolist() == Y.tolist()


def test_arrays_that_do_not_fit_are_refused():
    for arrays, text in [((X, Y[:3]), "10 at '0', 3 at '1'"), ((), "no arrays"), (np.array(1.0), "no axis")]:
        with pytest.raises(ValueError, match=text):
            lx.data.DataLoader(arrays, 2)
    with pytest.raises(TypeError, match="got str at 'b'"):
        lx.data.DataLoader({"a": X, "b": "text"}, 2)
    for size in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="batch_size"):
            lx.data.DataLoader(X, size)


def test_device_loader_moves_and_resumes():
    loader = lx.data.DeviceLoader(lx.data.DataLoader((X, Y), 4, key=0), lx.cpu())
    batches = [y.tolist() for _, y in loader]
    assert batches == [y.tolist() for _, y in lx.data.DataLoader((X, Y), 4, key=0)] and len(loader) == 3
    for _ in loader:
        break
    rest = [y.tolist() for _, y in loader.from_state(loader.state())]
    assert len(rest) == 2
    with pytest.raises(RuntimeError, match="no device"):
        lx.data.DeviceLoader(lx.data.DataLoader(X, 4), "tpu:0")


def test_trees_move_with_their_ties_and_flags():
    ps, st = nn.setup(0, nn.Chain(nn.Dense(2, 2), nn.Dense(2, 2), nn.BatchNorm(2)))
    tied = nn.share_parameters(ps, [["layer_1", "layer_2"]])
    moved = lx.to_device(tied, lx.cpu())
    assert lx.tree.ties(moved) == lx.tree.ties(tied)
    assert lx.to_device(st, "cpu").layer_3.training is True
    assert lx.device_of(tied) == lx.cpu() == lx.device_of({})
    nest = lx.to_device({"a": (lx.ones(2, dtype=lx.float16), None)}, "cpu")
    assert nest["a"][0].dtype == lx.float16 and nest["a"][1] is None


def test_a_missing_device_is_named():
    with pytest.raises(RuntimeError, match="cuda:3"):
        lx.cuda(3)
