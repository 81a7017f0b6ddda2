"""Optimiser rules against formulas in NumPy (and PyTorch where it is installed)."""

import numpy as np
import pytest

import luxon as lx
from luxon import optim, tree
from luxon.optim._update import merge, split


def gradients(count, seed=0, dtype="float32"):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(3, 4)).astype(dtype) for _ in range(count)]


def run(rule, steps=7, dtype="float32"):
    ps = lx.Tree({"w": lx.asarray(gradients(1, seed=9, dtype=dtype)[0])})
    state = optim.setup(rule, ps)
    for gradient in gradients(steps, dtype=dtype):
        ps, state = optim.update(rule, state, ps, lx.Tree({"w": lx.asarray(gradient)}))
    return np.asarray(ps.w), state


def reference_sgd(p, grads, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    buffer = None
    for g in grads:
        g = g + weight_decay * p
        if momentum:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        p = p - lr * g
    return p


def reference_adam(
    p, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, decoupled=False
):
    m, v, largest = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        largest = np.maximum(largest, v)
        root = np.sqrt((largest if amsgrad else v) / (1 - betas[1] ** t))
        p = p - lr * m / (1 - betas[0] ** t) / (root + eps)
    return p


SGDS = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.3},
    {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
]
ADAMS = [{}, {"weight_decay": 0.1}, {"amsgrad": True}, {"betas": (0.8, 0.9), "eps": 1e-3}]


@pytest.mark.parametrize("settings", SGDS)
def test_sgd(settings):
    expected = reference_sgd(
        gradients(1, seed=9, dtype="float64")[0], gradients(7, dtype="float64"), 0.1, **settings
    )
    assert np.allclose(run(optim.SGD(0.1, **settings), dtype="float64")[0], expected, rtol=1e-12)
    assert np.allclose(run(optim.SGD(0.1, **settings))[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("settings", ADAMS)
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam(settings, decoupled):
    rule = optim.AdamW if decoupled else optim.Adam
    settings = {"weight_decay": 0.0, **settings}
    start = gradients(1, seed=9, dtype="float64")[0]
    expected = reference_adam(start, gradients(7, dtype="float64"), 0.01, decoupled=decoupled, **settings)
    assert np.allclose(run(rule(0.01, **settings), dtype="float64")[0], expected, rtol=1e-11)
    assert np.allclose(run(rule(0.01, **settings))[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("settings", SGDS + ADAMS)
def test_against_torch(settings):
    torch = pytest.importorskip("torch")
    adam = not {"momentum"} & set(settings) and settings not in SGDS
    for name in ("Adam", "AdamW") if adam else ("SGD",):
        p = torch.nn.Parameter(torch.tensor(gradients(1, seed=9)[0]))
        peer = getattr(torch.optim, name)([p], lr=0.01, **settings)
        for gradient in gradients(7):
            p.grad = torch.tensor(gradient)
            peer.step()
        mine = run(getattr(optim, name)(0.01, **settings))[0]
        assert np.allclose(mine, p.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_defaults_are_torchs():
    assert (optim.Adam().lr, optim.Adam().betas, optim.Adam().eps) == (1e-3, (0.9, 0.999), 1e-8)
    assert optim.AdamW().weight_decay == 1e-2 and optim.Adam().weight_decay == 0


def test_state_is_a_tree():
    ps = lx.Tree({"a": {"w": lx.ones(2)}, "n": lx.arange(3)})
    state = optim.setup(optim.Adam(), ps)
    assert state.paths()[:2] == ["step.a.w", "step.n"] and state.exp_avg.n is None
    state = optim.setup(optim.SGD(0.1), ps)
    assert list(state) == ["step"]
    new, state = optim.update(optim.SGD(0.1), state, ps, lx.Tree({"a": {"w": lx.ones(2)}, "n": None}))
    assert new.n is ps.n and state.step.a.w == 1 and state.step.n == 0
    with pytest.raises(ValueError, match="n: int64 leaves are not trained"):
        optim.update(optim.SGD(0.1), state, ps, ps)


def test_half_types_and_views():
    for dtype in ("float16", "bfloat16"):
        ps = lx.Tree({"w": lx.ones((2, 3), dtype=dtype)})
        new, state = optim.update(optim.Adam(0.1), optim.setup(optim.Adam(0.1), ps), ps, ps)
        assert new.w.dtype == ps.w.dtype and state.exp_avg.w.dtype == ps.w.dtype
    w = lx.reshape(lx.arange(6, dtype="float32"), (2, 3))
    ps, grads = lx.Tree({"w": w.T}), lx.Tree({"w": lx.flip(w, axis=0).T})
    new, _ = optim.update(optim.SGD(1.0), optim.setup(optim.SGD(1.0), ps), ps, grads)
    assert np.array_equal(np.asarray(new.w), np.asarray(ps.w) - np.asarray(grads.w))


def test_plain_nests_and_other_states():
    rule = optim.Adam(0.1)
    ps = {"w": lx.ones(2)}
    new, _state = optim.update(rule, optim.setup(rule, ps), ps, {"w": np.ones(2, np.float32)})
    assert isinstance(new, dict) and new["w"].shape == (2,)
    with pytest.raises(ValueError, match="exp_avg"):
        optim.update(rule, optim.setup(optim.SGD(0.1), ps), ps, ps)
    with pytest.raises(ValueError, match="does not fit"):
        optim.update(rule, optim.setup(rule, {"v": lx.ones(2)}), ps, ps)


def test_updates_are_not_differentiable():
    rule = optim.SGD(0.1)

    def outer(w):
        ps = {"w": w}
        return lx.sum(optim.update(rule, optim.setup(rule, ps), ps, {"w": w})[0]["w"])

    with pytest.raises(TypeError, match="not differentiable"):
        lx.grad(outer)(lx.ones(2))


def test_settings_are_checked():
    for bad in (
        lambda: optim.SGD(-1.0),
        lambda: optim.SGD(0.1, nesterov=True),
        lambda: optim.Adam(betas=(1.0, 0.9)),
        lambda: optim.Adam(eps=-1.0),
    ):
        with pytest.raises(ValueError):
            bad()
    with pytest.raises(TypeError, match="needs a rule"):
        optim.setup("adam", {})


def test_large_leaves_are_the_same_with_any_number_of_threads():
    ps = lx.Tree({"w": lx.random.normal(lx.random.key(0), (300_001,))})
    rule = optim.Adam(0.1)
    results = []
    before = lx.threads()
    for count in (1, 2):
        lx.set_threads(count)
        new, _ = optim.update(rule, optim.setup(rule, ps), ps, ps)
        results.append(np.asarray(new.w).tobytes())
    lx.set_threads(before)
    assert results[0] == results[1]


def test_parts_of_a_state():
    ps = lx.Tree({"a": lx.ones(2), "b": lx.ones(3)})
    state = optim.setup(optim.Adam(), ps)
    taken, left = split(state, "a")
    assert left.exp_avg.paths() == ["b"] and merge(left, taken, ps) == state
    assert merge(left, taken, ps).exp_avg.paths() == ["a", "b"]
    assert tree.count(left) == 3
