"""Files and weights that go to NumPy, PyTorch, JAX and Flax and come back, with equal outputs on both sides."""

from __future__ import annotations

import numpy as np
import pytest

import luxon as lx
from luxon import nn, tree

MODEL = nn.Chain(
    conv=nn.Conv((3, 3), 3, 4, lx.relu, padding=1),
    flat=nn.FlattenLayer(),
    head=nn.Dense(64, 5),
)
X = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype("float32")
DTYPES = ("bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64")


@pytest.fixture(scope="module")
def trained():
    ps, st = nn.setup(0, MODEL)
    return ps, st, np.asarray(MODEL(lx.asarray(X), ps, st)[0])


def same(saved, ps, st):
    """The loaded parameters are the given ones, in their order, with equal outputs."""
    assert saved == ps and saved.paths() == ps.paths()
    return MODEL(lx.asarray(X), saved, st)[0]


def test_numpy(tmp_path, trained):
    safetensors = pytest.importorskip("safetensors.numpy")
    ps, st, y = trained
    lx.io.save(tmp_path / "ours", ps=ps)
    arrays = safetensors.load_file(tmp_path / "ours")
    assert sorted(arrays) == sorted(f"ps.{path}" for path in ps.paths())
    safetensors.save_file({name.removeprefix("ps."): a for name, a in arrays.items()}, tmp_path / "theirs")
    assert np.array_equal(same(lx.io.load(tmp_path / "theirs", model=MODEL).ps, ps, st), y)


def test_torch(tmp_path, trained):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    ps, _st, y = trained
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 5)
    )
    lx.io.save(tmp_path / "ours", ps=ps)
    names = {"ps.conv": "0", "ps.head": "3"}
    state = {
        ".".join([names[name.rpartition(".")[0]], name.rpartition(".")[2]]): value
        for name, value in load_file(tmp_path / "ours").items()
    }
    theirs.load_state_dict(state)
    assert np.allclose(theirs(torch.from_numpy(X)).detach().numpy(), y, atol=1e-5)
    save_file(theirs.state_dict(), tmp_path / "theirs")
    plain = lx.io.load(tmp_path / "theirs").ps
    loaded, states = lx.io.from_torch({path: plain[path] for path in plain.paths()}, MODEL)
    assert np.array_equal(same(loaded, ps, states), y)


def test_every_dtype_in_torch(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    ours = lx.Tree({name: lx.asarray([0, 1, 1], dtype=name) for name in DTYPES})
    lx.io.save(tmp_path / "ours", ps=ours)
    theirs = load_file(tmp_path / "ours")
    for name in DTYPES:
        assert theirs[f"ps.{name}"].dtype == getattr(torch, name) and theirs[f"ps.{name}"].tolist() == [
            0,
            1,
            1,
        ]
    save_file({name: theirs[f"ps.{name}"] for name in DTYPES}, tmp_path / "theirs")
    assert lx.io.load(tmp_path / "theirs").ps == ours


def test_jax(tmp_path, trained):
    jax = pytest.importorskip("jax")
    safetensors = pytest.importorskip("safetensors.flax")  # It needs JAX alone.
    ps, st, y = trained
    lx.io.save(tmp_path / "ours", ps=ps)
    there = tree.from_paths(safetensors.load_file(tmp_path / "ours")).ps

    def theirs(ps, x):
        x = jax.lax.conv_general_dilated(
            x, ps.conv.weight, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
        )
        x = jax.nn.relu(x + ps.conv.bias[:, None, None]).reshape(len(x), -1)
        return x @ ps.head.weight.T + ps.head.bias

    assert np.allclose(jax.jit(theirs)(there, X), y, atol=1e-5)
    safetensors.save_file({path: there[path] for path in there.paths()}, tmp_path / "theirs")
    assert np.array_equal(same(lx.io.load(tmp_path / "theirs", model=MODEL).ps, ps, st), y)
    assert tree.map(lx.asarray, there) == lx.Tree(conv=ps.conv, head=ps.head)


def test_every_dtype_in_jax(tmp_path):
    jax = pytest.importorskip("jax")
    safetensors = pytest.importorskip("safetensors.flax")
    ours = lx.Tree({name: lx.asarray([0, 1, 1], dtype=name) for name in DTYPES})
    lx.io.save(tmp_path / "ours", ps=ours)
    with jax.enable_x64(True):
        theirs = safetensors.load_file(tmp_path / "ours")
        assert all(theirs[f"ps.{name}"].dtype == ours[name].dtype for name in DTYPES)
        safetensors.save_file({name: theirs[f"ps.{name}"] for name in DTYPES}, tmp_path / "theirs")
    assert lx.io.load(tmp_path / "theirs").ps == ours


def to_flax(ps):
    """Flax has kernels with the outputs last, and images with the channels last."""
    head = np.asarray(ps.head.weight).reshape(5, 4, 4, 4).transpose(2, 3, 1, 0).reshape(64, 5)
    return {
        "Conv_0": {
            "kernel": np.asarray(ps.conv.weight).transpose(2, 3, 1, 0),
            "bias": np.asarray(ps.conv.bias),
        },
        "Dense_0": {"kernel": head, "bias": np.asarray(ps.head.bias)},
    }


def from_flax(state):
    conv, head = state["Conv_0"], state["Dense_0"]
    weight = np.asarray(head["kernel"]).reshape(4, 4, 4, 5).transpose(3, 2, 0, 1).reshape(5, 64)
    return tree.map(
        lambda a: lx.asarray(np.asarray(a)),
        lx.Tree(
            conv={"weight": np.asarray(conv["kernel"]).transpose(3, 2, 0, 1), "bias": conv["bias"]},
            flat={},
            head={"weight": weight, "bias": head["bias"]},
        ),
    )


def test_flax_linen(trained):
    linen = pytest.importorskip("flax.linen")
    serialization = pytest.importorskip("flax.serialization")
    ps, st, y = trained

    class Theirs(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.relu(linen.Conv(4, (3, 3), padding=1)(x))
            return linen.Dense(5)(x.reshape(len(x), -1))

    images = X.transpose(0, 2, 3, 1)
    assert np.allclose(Theirs().apply({"params": to_flax(ps)}, images), y, atol=1e-5)
    packed = serialization.msgpack_serialize(to_flax(ps))
    assert np.array_equal(same(from_flax(serialization.msgpack_restore(packed)), ps, st), y)


def test_flax_nnx(trained):
    nnx = pytest.importorskip("flax.nnx")
    jax = pytest.importorskip("jax")
    ps, st, y = trained

    class Theirs(nnx.Module):
        def __init__(self, rngs):
            self.Conv_0 = nnx.Conv(3, 4, (3, 3), padding=1, rngs=rngs)
            self.Dense_0 = nnx.Linear(64, 5, rngs=rngs)

        def __call__(self, x):
            x = nnx.relu(self.Conv_0(x))
            return self.Dense_0(x.reshape(len(x), -1))

    theirs = Theirs(nnx.Rngs(0))
    state = nnx.state(theirs)
    nnx.replace_by_pure_dict(state, jax.tree.map(jax.numpy.asarray, to_flax(ps)))
    nnx.update(theirs, state)
    assert np.allclose(theirs(jax.numpy.asarray(X.transpose(0, 2, 3, 1))), y, atol=1e-5)
    assert np.array_equal(same(from_flax(nnx.to_pure_dict(nnx.state(theirs))), ps, st), y)
