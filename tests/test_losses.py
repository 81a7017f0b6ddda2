"""Losses against formulas in NumPy (and PyTorch where it is installed)."""

import numpy as np
import pytest

import luxon as lx
from luxon import losses, nn
from luxon.testing import check_gradients

LOGITS = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32) * 3
CLASSES = np.array([0, 4, 2, 2, 1, 3])
P = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
T = np.random.default_rng(2).normal(size=(6, 5)).astype(np.float32)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def close(mine, expected):
    assert np.allclose(np.asarray(mine), expected, rtol=1e-5, atol=1e-6)


def test_regression():
    d = P - T
    close(losses.mse(P, T), (d**2).mean())
    close(losses.mse(P, T, reduction="sum"), (d**2).sum())
    close(losses.mse(P, T, reduction="none"), d**2)
    close(losses.mse(P, T, reduction=lambda values: lx.max(values)), (d**2).max())
    close(losses.mae(P, T), np.abs(d).mean())
    size = np.abs(d)
    close(losses.huber(P, T, delta=0.7), np.where(size <= 0.7, d**2 / 2, 0.7 * (size - 0.35)).mean())
    with pytest.raises(ValueError, match="delta must be positive"):
        losses.huber(P, T, delta=0)
    with pytest.raises(ValueError, match="reduction must be"):
        losses.mse(P, T, reduction="median")
    with pytest.raises(ValueError, match=r"\(6, 5\) and target \(6,\) differ"):
        losses.mse(P, T[:, 0])


def test_cross_entropy():
    logp = log_softmax(LOGITS)
    rows = np.arange(6)
    close(losses.cross_entropy(LOGITS, CLASSES), -logp[rows, CLASSES].mean())
    close(losses.cross_entropy(LOGITS, CLASSES, reduction="none"), -logp[rows, CLASSES])
    hot = np.eye(5, dtype=np.float32)[CLASSES]
    close(losses.cross_entropy(LOGITS, hot), -logp[rows, CLASSES].mean())
    smooth = hot * 0.9 + 0.1 / 5
    close(losses.cross_entropy(LOGITS, CLASSES, label_smoothing=0.1), -(smooth * logp).sum(-1).mean())
    weight = np.linspace(0.5, 2, 5).astype(np.float32)
    expected = -(weight[CLASSES] * logp[rows, CLASSES]).sum() / weight[CLASSES].sum()
    close(losses.cross_entropy(LOGITS, CLASSES, weight=weight), expected)
    kept = CLASSES != 2
    close(losses.cross_entropy(LOGITS, CLASSES, ignore_index=2), -logp[rows, CLASSES][kept].mean())
    close(losses.cross_entropy(np.exp(logp), CLASSES, from_logits=False), -logp[rows, CLASSES].mean())
    close(losses.cross_entropy(LOGITS.T, CLASSES, axis=0), -logp[rows, CLASSES].mean())
    with pytest.raises(IndexError):
        losses.cross_entropy(LOGITS, CLASSES + 3)
    with pytest.raises(ValueError):
        losses.cross_entropy(LOGITS, CLASSES[:4])


def test_extreme_logits_stay_finite():
    logits = lx.asarray([[1000.0, -1000.0], [-1000.0, 1000.0]])
    assert losses.cross_entropy(logits, lx.asarray([1, 1])).item() == 1000.0
    value, slope = lx.value_and_grad(lambda x: losses.binary_cross_entropy(x, lx.asarray([0.0, 1.0])))(
        lx.asarray([1000.0, -1000.0])
    )
    assert value.item() == 1000.0 and np.isfinite(np.asarray(slope)).all()


def test_binary_cross_entropy():
    t = (T > 0).astype(np.float32)
    p = 1 / (1 + np.exp(-P))
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    close(losses.binary_cross_entropy(P, t), expected.mean())
    close(losses.binary_cross_entropy(p, t, from_logits=False), expected.mean())
    close(
        losses.binary_cross_entropy(P, t, pos_weight=3.0),
        -(3 * t * np.log(p) + (1 - t) * np.log(1 - p)).mean(),
    )
    smooth = t * 0.8 + 0.1
    expected = -(smooth * np.log(p) + (1 - smooth) * np.log(1 - p))
    close(losses.binary_cross_entropy(P, t, label_smoothing=0.2), expected.mean())
    close(losses.binary_cross_entropy(lx.asarray([0.0]), lx.asarray([1.0]), from_logits=False), 100.0)
    close(losses.binary_cross_entropy(P, (T > 0)), losses.binary_cross_entropy(P, t))
    with pytest.raises(ValueError, match="label_smoothing"):
        losses.binary_cross_entropy(P, t, label_smoothing=1.5)


def test_against_torch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    logits, classes = torch.tensor(LOGITS), torch.tensor(CLASSES)
    weight = np.linspace(0.5, 2, 5).astype(np.float32)
    for settings in (
        {},
        {"label_smoothing": 0.3},
        {"weight": weight},
        {"weight": weight, "label_smoothing": 0.1},
    ):
        for reduction in ("mean", "sum", "none"):
            theirs = {k: torch.tensor(v) if k == "weight" else v for k, v in settings.items()}
            peer = functional.cross_entropy(logits, classes, reduction=reduction, **theirs)
            close(losses.cross_entropy(LOGITS, CLASSES, reduction=reduction, **settings), peer.numpy())
    peer = functional.huber_loss(torch.tensor(P), torch.tensor(T), delta=0.5)
    close(losses.huber(P, T, delta=0.5), peer.numpy())


def test_gradients():
    p, t = P.astype(np.float64), T.astype(np.float64)
    x = LOGITS.astype(np.float64)
    check_gradients(lambda p: losses.mse(p, t), (p,))
    check_gradients(lambda p: losses.huber(p, t, delta=0.7), (p,))
    check_gradients(lambda x: losses.cross_entropy(x, CLASSES, label_smoothing=0.1), (x,))
    check_gradients(lambda x: losses.binary_cross_entropy(x, (t > 0).astype(np.float64)), (x,))


def test_objects():
    close(losses.HuberLoss(delta=0.7)(P, T), np.asarray(losses.huber(P, T, delta=0.7)))
    assert losses.MSELoss() == losses.MSELoss() != losses.MSELoss(reduction="sum")
    model = nn.Dense(5, 5)
    ps, st = nn.setup(0, model)
    loss, after, stats = losses.CrossEntropyLoss(label_smoothing=0.1)(
        model, ps, st, (lx.asarray(LOGITS), CLASSES)
    )
    assert loss.shape == () and after is st and stats == {}
    with pytest.raises(TypeError):
        losses.MSELoss("sum")
