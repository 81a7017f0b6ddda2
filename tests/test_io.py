"""Files."""

import numpy as np
import pytest

import luxon as lx
from luxon import losses, nn, optim, training, tree


def trees():
    model = nn.Chain(nn.Dense(3, 4), nn.BatchNorm(4), nn.Dropout(0.5), lx.relu, nn.Dense(4, 3))
    return model, *nn.setup(0, model)


def test_round_trip(tmp_path):
    model, ps, st = trees()
    lx.io.save(tmp_path / "m", ps=ps, st=st, model=model, step=7, metadata={"who": "me"})
    saved = lx.io.load(tmp_path / "m")
    assert saved.ps == ps and saved.st == st and saved.step == 7 and saved.metadata == {"who": "me"}
    assert saved.ps.paths() == ps.paths() and list(saved.ps) == list(ps) and len(saved.ps.layer_4) == 0
    assert saved.model == repr(model) and saved.optimizer_state is None
    assert saved.st.layer_3.key == st.layer_3.key and saved.st.layer_2.training is True


def test_all_kinds_of_leaves(tmp_path):
    value = lx.Tree(
        {
            "half": lx.ones(2, dtype="float16"),
            "brain": lx.ones(2, dtype="bfloat16"),
            "flags": lx.asarray([True, False]),
            "ints": lx.arange(3),
            "scalar": lx.asarray(2.5),
            "empty": lx.zeros((0, 3)),
            "view": lx.reshape(lx.arange(6, dtype="float32"), (2, 3)).T,
            "array": np.ones(2),
            "carry": (lx.ones(2), lx.zeros(2)),
            "none": None,
            "number": 3,
            "real": float("inf"),
            "text": "a",
            "flag": True,
            "key": lx.random.key(3),
            "nothing": {},
        }
    )
    lx.io.save(tmp_path / "v", st=value)
    loaded = lx.io.load(tmp_path / "v").st
    assert list(loaded) == list(value) and loaded == value.replace("array", lx.ones(2, dtype="float64"))
    assert loaded.brain.dtype == value.brain.dtype and isinstance(loaded.carry, tuple) and loaded.flag is True
    with pytest.raises(TypeError, match=r"st\.f holds a function|st\.f holds a"):
        lx.io.save(tmp_path / "w", st=lx.Tree(f=lambda: 0))


def test_resumes_to_the_same_bits(tmp_path):
    model, _, _ = trees()
    optimizer = optim.AdamW(1e-2)
    x, y = lx.random.normal(lx.random.key(1), (8, 3)), lx.zeros((8, 3))

    def run(ts, steps):
        for _ in range(steps):
            *_, ts = training.single_train_step(lx.AutoTape(), losses.MSELoss(), (x, y), ts)
        return ts

    ts = run(training.TrainState.create(0, model, optimizer), 3)
    lx.io.save_train_state(tmp_path / "run", ts)
    resumed = run(lx.io.load_train_state(tmp_path / "run", model, optimizer), 3)
    straight = run(ts, 3)
    assert (
        resumed.step == 6 and resumed.parameters == straight.parameters and resumed.states == straight.states
    )
    assert resumed.optimizer_state == straight.optimizer_state
    with pytest.raises(ValueError, match="SGD keeps"):
        lx.io.load_train_state(tmp_path / "run", model, optim.SGD(0.1))
    with pytest.raises(ValueError, match="do not fit the model"):
        lx.io.load_train_state(tmp_path / "run", nn.Dense(2, 3), optimizer)
    lx.io.save(tmp_path / "ps", ps=ts.parameters)
    with pytest.raises(ValueError, match="no training state"):
        lx.io.load_train_state(tmp_path / "ps", model, optimizer)


def test_ties_are_aliases(tmp_path):
    _, ps, _ = trees()
    ps = nn.share_parameters(lx.Tree(a=ps.layer_1, b=ps.layer_1), [["a", "b"]])
    lx.io.save(tmp_path / "t", ps=ps)
    loaded = lx.io.load(tmp_path / "t").ps
    assert tree.ties(loaded) == tree.ties(ps) and loaded.a.weight is loaded.b.weight


def test_files_of_others(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file(
        {"layer.weight": np.ones((2, 3), np.float32), "layer.bias": np.zeros(2)}, tmp_path / "s"
    )
    saved = lx.io.load(tmp_path / "s")
    assert saved.ps.layer.weight.shape == (2, 3) and saved.st is None
    _model, ps, _st = trees()
    lx.io.save(tmp_path / "m", ps=ps)
    theirs = safetensors.load_file(tmp_path / "m")
    assert np.array_equal(theirs["ps.layer_1.weight"], np.asarray(ps.layer_1.weight))


def test_bad_files(tmp_path):
    with pytest.raises(OSError):
        lx.io.load(tmp_path / "nothing")
    (tmp_path / "short").write_bytes(b"\x00" * 4)
    (tmp_path / "junk").write_bytes(b"\xff" * 100)
    for name in ("short", "junk"):
        with pytest.raises((OSError, ValueError)):
            lx.io.load(tmp_path / name)
    with pytest.raises(OSError):
        lx.io.save(tmp_path / "no" / "such" / "folder", ps={})


def test_from_torch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 4),
        torch.nn.BatchNorm1d(4),
        torch.nn.ReLU(),
        torch.nn.Linear(4, 2),
        torch.nn.LayerNorm(2),
    )
    theirs(torch.randn(16, 3))
    theirs.eval()
    model = nn.Chain(
        nn.Dense(3, 4), nn.BatchNorm(4, lx.relu), nn.Dropout(0.5), nn.Dense(4, 2), nn.LayerNorm(2)
    )
    ps, st = lx.io.from_torch(theirs.state_dict(), model)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    y, _ = model(lx.asarray(x), ps, nn.testmode(st))
    assert np.allclose(np.asarray(y), theirs(torch.tensor(x)).detach().numpy(), atol=1e-6)
    with pytest.raises(ValueError, match="has the layers layer_1, the state dict 0, 1, 3, 4"):
        lx.io.from_torch(theirs.state_dict(), nn.Chain(nn.Dense(3, 4)))


def test_from_state_dicts():
    state = {"a.weight": np.ones((2, 3), np.float32), "b.weight": np.ones((1, 2)), "a.bias": np.zeros(2)}
    model = nn.Chain(b=nn.Dense(2, 1, use_bias=False), a=nn.Dense(3, 2))
    ps, _ = lx.io.from_torch(state, model)
    assert ps.a.weight.shape == (2, 3) and ps.b.weight.dtype == np.float64
    for change, message in (
        ({"a.extra": np.ones(1)}, "a has no extra"),
        ({"a.bias": np.ones(3)}, r"a\.bias has shape \(2,\), the state dict's \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            lx.io.from_torch({**state, **change}, model)
    with pytest.raises(ValueError, match=r"no value for a\.bias"):
        lx.io.from_torch({name: value for name, value in state.items() if name != "a.bias"}, model)


def test_from_torch_names_recurrent_layers_and_projections():
    model = nn.Chain(
        rnn=nn.Recurrence(nn.LSTMCell(3, 8), return_sequence=True),
        both=nn.BidirectionalRNN(nn.GRUCell(8, 4)),
        attention=nn.MultiHeadAttention(8, 2, use_bias=True),
    )
    ps, _ = nn.setup(0, model)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    state = {f"rnn.{name}_l0": ps.rnn[name].numpy() for name in names}
    state |= {f"both.{name}_l0": ps.both.forward[name].numpy() for name in names}
    state |= {f"both.{name}_l0_reverse": ps.both.backward[name].numpy() for name in names}
    for kind in ("weight", "bias"):
        parts = [ps.attention[name][kind].numpy() for name in ("q_proj", "k_proj", "v_proj")]
        state[f"attention.in_proj_{kind}"] = np.concatenate(parts)
        state[f"attention.out_proj.{kind}"] = ps.attention.out_proj[kind].numpy()
    loaded, _ = lx.io.from_torch(state, model)
    for path in ps.paths():
        assert bool(lx.all(loaded[path] == ps[path])), path
    with pytest.raises(ValueError, match="weight_ih_l1"):
        lx.io.from_torch({**state, "rnn.weight_ih_l1": state["rnn.weight_ih_l0"]}, model)
