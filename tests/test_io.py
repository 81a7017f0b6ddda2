"""Files."""

import json
import os
import re
import subprocess
import sys

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


def optimizers():
    rules = [rule for rule in vars(optim).values() if isinstance(rule, type) and issubclass(rule, optim.Rule)]
    every = {rule.__name__: rule() for rule in rules if rule is not optim.Rule}
    every["Muon"] = optim.partition({"layer_{1,5}.weight": optim.Muon(), "**": optim.Adam()})
    small = optim.schedules.one_cycle(1e-2, total_steps=20)
    every["chain"] = optim.chain(optim.clip_global_norm(1.0), optim.ema(0.9), optim.Adam(small))
    every["accumulate"] = optim.chain(optim.accumulate(3), optim.SGD(0.1, momentum=0.9))
    every["partition"] = optim.partition({"layer_1": optim.Adam(), "**": optim.SGD(0.1, momentum=0.9)})
    every["mixed_precision"] = optim.mixed_precision(optim.Adam())
    every["lookahead"] = optim.lookahead(optim.Adam(), 4)
    return every


@pytest.mark.parametrize("name", optimizers())
def test_resuming_gives_the_bits_of_never_stopping(name, tmp_path):
    model, _, _ = trees()
    optimizer = optimizers()[name]
    x = np.asarray(lx.random.normal(lx.random.key(1), (20, 3)))
    loader = lx.data.DataLoader((x, 2 * x), 4, key=3)
    path, half = tmp_path / "run", 7  # In the middle of an epoch.

    def run(ts, loader, steps, losses_seen):
        while True:
            for batch in loader:
                _, loss, _, ts = training.single_train_step(lx.AutoTape(), losses.MSELoss(), batch, ts)
                losses_seen.append(float(loss))
                steps -= 1
                if steps == half:
                    lx.io.save_train_state(path, ts, loader=loader)
                if steps == 0:
                    return ts

    straight, resumed = [], []
    end = run(training.TrainState.create(0, model, optimizer), loader, 2 * half, straight)
    ts = lx.io.load_train_state(path, model, optimizer)
    again = run(ts, loader.from_state(lx.io.load(path, "loader").loader), half, resumed)
    assert resumed == straight[half:] and again.step == end.step
    assert again.parameters == end.parameters and again.states == end.states
    assert again.optimizer_state == end.optimizer_state


def test_training_states_that_do_not_fit(tmp_path):
    model, _, _ = trees()
    ts = training.TrainState.create(0, model, optim.AdamW(1e-2))
    lx.io.save_train_state(tmp_path / "run", ts)
    with pytest.raises(ValueError, match="SGD keeps"):
        lx.io.load_train_state(tmp_path / "run", model, optim.SGD(0.1))
    with pytest.raises(ValueError, match="the parameters do not fit the model: missing weight, bias; extra"):
        lx.io.load_train_state(tmp_path / "run", nn.Dense(2, 3), ts.optimizer)
    lx.io.save(tmp_path / "ps", ps=ts.parameters)
    with pytest.raises(ValueError, match="no training state"):
        lx.io.load_train_state(tmp_path / "ps", model, ts.optimizer)
    state = ts.optimizer_state.replace("exp_avg", lx.Tree(layer_1=ts.optimizer_state.exp_avg.layer_1))
    lx.io.save(tmp_path / "os", ps=ts.parameters, st=ts.states, optimizer_state=state, step=0)
    with pytest.raises(ValueError, match=r"exp_avg does not fit the parameters: missing layer_2"):
        lx.io.load_train_state(tmp_path / "os", model, ts.optimizer)


def test_a_model_says_what_does_not_fit(tmp_path):
    model, ps, st = trees()
    lx.io.save(tmp_path / "m", ps=ps, st=st)
    assert lx.io.load(tmp_path / "m", model=model).ps == ps
    other = nn.Chain(nn.Dense(4, 4), nn.BatchNorm(4), nn.Dropout(0.5), lx.relu, nn.Dense(4, 2))
    with pytest.raises(ValueError) as caught:
        lx.io.load(tmp_path / "m", model=other)
    for text in (
        "layer_1.weight has shape (4, 3), expected (4, 4)",
        "layer_5.bias has shape (3,), expected (2,)",
    ):
        assert text in str(caught.value)
    lx.io.save(tmp_path / "m", ps=ps, st=lx.Tree({**st, "layer_2": {}}))
    with pytest.raises(ValueError, match=r"states do not fit the model: missing layer_2\.running_mean"):
        lx.io.load(tmp_path / "m", model=model)
    lx.io.save(tmp_path / "m", st=st)
    with pytest.raises(ValueError, match="holds no parameters"):
        lx.io.load(tmp_path / "m", model=model)


def test_patterns_load_parts(tmp_path):
    _, ps, st = trees()
    lx.io.save(tmp_path / "m", ps=ps, st=st, step=3)
    part = lx.io.load(tmp_path / "m", ["ps.layer_1", "**.running_mean"])
    assert part.ps.paths() == ["layer_1.weight", "layer_1.bias"] and part.ps.layer_1 == ps.layer_1
    assert part.st.paths() == ["layer_2.running_mean"] and part.step == 3
    assert lx.io.load(tmp_path / "m", "ps").ps == ps and lx.io.load(tmp_path / "m", "ps").st is None
    assert lx.io.load(tmp_path / "m", "st").st == st
    with pytest.raises(ValueError, match=r"matches nothing in the tree; nearest: ps\.layer_1"):
        lx.io.load(tmp_path / "m", "ps.layr_1")


def test_patterns_keep_ties_and_whole_sequences(tmp_path):
    x = lx.ones(3)
    value = tree.tie(lx.Tree(a=x, b=x, c=x, carry=(x, x), none=None, off=False), [["a", "b", "c"]])
    lx.io.save(tmp_path / "t", ps=value)
    both = lx.io.load(tmp_path / "t", ["ps.b", "ps.c", "ps.none", "ps.off"]).ps
    assert tree.ties(both) == [["b", "c"]] and both.none is None and both.off is False and len(both) == 4
    assert lx.io.load(tmp_path / "t", "ps.c").ps.paths() == ["c"]
    assert isinstance(lx.io.load(tmp_path / "t", "ps.carry").ps.carry, tuple)
    with pytest.raises(ValueError, match=r"ps\.carry, a sequence, which loads whole"):
        lx.io.load(tmp_path / "t", "ps.carry.0")


def test_ties_are_aliases(tmp_path):
    _, ps, _ = trees()
    ps = nn.share_parameters(lx.Tree(a=ps.layer_1, b=ps.layer_1), [["a", "b"]])
    lx.io.save(tmp_path / "t", ps=ps)
    loaded = lx.io.load(tmp_path / "t").ps
    assert tree.ties(loaded) == tree.ties(ps) and loaded.a.weight is loaded.b.weight


def test_files_of_others(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    dtypes = ("bool", "uint8", "int32", "int64", "float16", "float32", "float64")
    theirs = {f"layer.{dtype}": np.arange(6).reshape(2, 3).astype(dtype) for dtype in dtypes}
    theirs |= {"scalar": np.ones((), np.float32), "empty": np.zeros((0, 3))}
    safetensors.save_file(theirs, tmp_path / "s", metadata={"by": "them"})
    saved = lx.io.load(tmp_path / "s")
    assert saved.st is None and saved.metadata == {"by": "them"}
    for name, array in theirs.items():
        assert saved.ps[name].dtype == array.dtype and np.array_equal(np.asarray(saved.ps[name]), array)
    assert lx.io.load(tmp_path / "s", "ps.layer.bool").ps.paths() == ["layer.bool"]
    lx.io.save(tmp_path / "m", ps=saved.ps)
    back = safetensors.load_file(tmp_path / "m")
    assert set(back) == {f"ps.{name}" for name in theirs}
    for name, array in theirs.items():
        assert back[f"ps.{name}"].dtype == array.dtype and np.array_equal(back[f"ps.{name}"], array)


def test_other_dtypes_are_named_and_hurt_nobody_else(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"a": np.ones(2, np.uint32), "b": np.ones(3)}, tmp_path / "s")
    with pytest.raises(ValueError, match='"a" has dtype U32, which luxon does not have'):
        lx.io.load(tmp_path / "s")
    assert lx.io.load(tmp_path / "s", "ps.b").ps.b.shape == (3,)


def test_bfloat16_is_read_by_others(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    lx.io.save(tmp_path / "b", ps=lx.Tree(x=lx.asarray([1.0, -2.0], dtype="bfloat16")))
    with safetensors.safe_open(tmp_path / "b", framework="numpy") as file:
        assert file.get_slice("ps.x").get_dtype() == "BF16" and file.metadata()["format"] == "luxon-1"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_that_others_may_not_read_stays_so(tmp_path):
    path = tmp_path / "private.safetensors"
    lx.io.save(path, ps={"x": lx.ones(2)})
    path.chmod(0o600)
    lx.io.save(path, ps={"x": lx.ones(3)})
    assert path.stat().st_mode & 0o777 == 0o600 and lx.io.load(path).ps["x"].shape == (3,)


def test_equal_trees_give_equal_files(tmp_path):
    for name in "ab":
        model, ps, st = trees()
        lx.io.save(tmp_path / name, ps=ps, st=st, model=model, metadata={"x": "1", "y": "2"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        lx.io.load(tmp_path / "nothing")
    (tmp_path / "short").write_bytes(b"\x00" * 4)
    (tmp_path / "junk").write_bytes(b"\xff" * 100)
    for name in ("short", "junk"):
        with pytest.raises(ValueError, match=name):
            lx.io.load(tmp_path / name)
    with pytest.raises(OSError, match="no regular file"):
        lx.io.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        lx.io.load(tmp_path / "pipe")
    with pytest.raises(OSError):
        lx.io.save(tmp_path / "no" / "such" / "folder", ps={})


def test_names_that_are_no_paths(tmp_path):
    for names in (["a", "a.b"], ["a..b"], [""], ["a." * 300 + "a"], ["a." * 100_000 + "a"]):
        lx._core.write_safetensors(tmp_path / "m", [(name, lx.ones(1)) for name in names], {})
        with pytest.raises(ValueError, match=f"load: {tmp_path / 'm'}: the names make no tree"):
            lx.io.load(tmp_path / "m")


def test_what_was_saved_can_be_loaded(tmp_path):
    """A loader's state may have any names, one of its methods' too; a step that is no int makes no file."""
    lx.io.save(tmp_path / "m", loader=lx.Tree(state=3), step=np.int64(2))
    saved = lx.io.load(tmp_path / "m")
    assert saved.loader == lx.Tree(state=3) and saved.step == 2
    for step in (1.5, "1"):
        with pytest.raises(TypeError):
            lx.io.save(tmp_path / "m", step=step)
    assert lx.io.load(tmp_path / "m").step == 2


def test_bad_metadata(tmp_path):
    x = lx.ones(1)
    layouts = [
        "[",
        "[]",
        "3",
        "[" * 100_000,
        json.dumps({"ps": 3}),
        json.dumps({"ps": {"outline": {"a": "a"}, "static": {}}}),
        json.dumps({"ps": {"outline": {"a": 1.5}, "static": {}}}),
        json.dumps({"ps": {"outline": {"a.b": "x"}, "static": {}}}),
        json.dumps({"ps": {"outline": "x", "static": {}}}),
        json.dumps({"ps": {"outline": {"a": "k"}, "static": {"k": {"key": [2**70, 0]}}}}),
        json.dumps({"ps": {"outline": {"a": "k"}, "static": {"k": {"lock": 1}}}}),
    ]
    for layout in layouts:
        lx._core.write_safetensors(tmp_path / "m", [("ps.x", x)], {"format": "luxon-1", "layout": layout})
        with pytest.raises(ValueError, match="metadata is malformed"):
            lx.io.load(tmp_path / "m")


def test_mutated_files_load_or_raise(tmp_path):
    model, ps, st = trees()
    lx.io.save(tmp_path / "m", ps=ps, st=st, model=model, step=1)
    original = (tmp_path / "m").read_bytes()
    header = 8 + int.from_bytes(original[:8], "little")
    generator = np.random.default_rng(0)
    loaded = 0
    for _ in range(2000):
        changed = bytearray(original)
        for at in generator.integers(0, header, size=generator.integers(1, 4)):
            changed[at] = generator.integers(32, 127)
        (tmp_path / "m").write_bytes(changed)
        try:
            lx.io.load(tmp_path / "m")
            loaded += 1
        except ValueError:
            pass
    assert 0 < loaded < 1900


KILLED = """
import os, pathlib, random, signal, sys, time
import luxon as lx
path = pathlib.Path(sys.argv[1]) / "m.safetensors"
def trees(number):
    sizes = [3, 1000 + number % 7 * 500, 20]
    return lx.Tree({f"w{at}": lx.full((size,), float(number)) for at, size in enumerate(sizes)})
def load():
    saved = lx.io.load(path)
    assert saved.ps == trees(saved.step), saved
    return saved.step
start = time.perf_counter()
for _ in range(5):
    lx.io.save(path, ps=trees(0), step=0)
pause = 2 * (time.perf_counter() - start) / 5  # Disks differ a hundredfold in what a sync takes.
random.seed(0)
before = rounds = 0
for _ in range(200):
    child = os.fork()
    if child == 0:
        number = before
        while True:
            number += 1
            lx.io.save(path, ps=trees(number), step=number)
    time.sleep(random.uniform(0.0, 0.01 + pause))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    after = load()
    assert after >= before
    rounds += after > before
    before = after
left = [name for name in os.listdir(path.parent) if name != path.name]
assert all(name.startswith(".m.safetensors.") and name.endswith(".partial") for name in left), left
lx.io.save(path, ps=trees(9), step=9)
assert load() == 9
print(rounds, len(left))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked to be killed")
def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path):
    finished = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    replaced, _ = map(int, finished.stdout.split())
    assert replaced > 20  # The writers were at work when they were killed.


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
        ({"a.bias": np.ones(3)}, r"a\.bias has shape \(2,\), the state dict's a\.bias \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            lx.io.from_torch({**state, **change}, model)
    with pytest.raises(ValueError, match=r"no value for a\.bias"):
        lx.io.from_torch({name: value for name, value in state.items() if name != "a.bias"}, model)


def test_state_dicts_of_no_module():
    """Every row and every value goes somewhere."""
    for state in ({"a": np.ones(2), "a.b": np.ones(1)}, {"a.b": np.ones(1), "a": np.ones(2)}):
        with pytest.raises(ValueError, match=r"a\.b lies within a|a is a value, and others"):
            lx.io.from_torch(state, nn.Dense(3, 2))
    for shape in ((13, 4), ()):
        state = {"in_proj_weight": np.ones(shape), "out_proj.weight": np.ones((4, 4))}
        with pytest.raises(ValueError, match=r"in_proj_weight has shape .* do not share evenly"):
            lx.io.from_torch(state, nn.MultiHeadAttention(4, 2))


def test_from_torch_reports_where_everything_came_from():
    model = nn.Chain(
        nn.WeightNorm(nn.Dense(2, 3), "weight"), nn.BatchNorm(3), lx.relu, nn.MultiHeadAttention(4, 2)
    )
    state = {
        "0.parametrizations.weight.original0": np.ones((3, 1)),
        "0.parametrizations.weight.original1": np.ones((3, 2)),
        "0.bias": np.ones(3),
        **{f"1.{name}": np.ones(3) for name in ("weight", "bias", "running_mean", "running_var")},
        "1.num_batches_tracked": np.ones((), "int64"),
        "3.in_proj_weight": np.ones((12, 4)),
        "3.out_proj.weight": np.ones((4, 4)),
    }
    lines = []
    ps, st = lx.io.from_torch(state, model, report=lines.append)
    assert lines[-1] == "not needed: 1.num_batches_tracked"
    sources = dict(re.fullmatch(r"(\S+): float64 \(.*\) from (\S+)", line).groups() for line in lines[:-1])
    assert set(sources) == {*ps.paths(), "layer_2.running_mean", "layer_2.running_var"}
    assert sources["layer_1.normalized.weight_v"] == "0.parametrizations.weight.original1"
    assert sources["layer_1.unnormalized.bias"] == "0.bias"
    assert sources["layer_4.v_proj.weight"] == "3.in_proj_weight"
    assert st.layer_2.running_var.dtype == np.float64


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
