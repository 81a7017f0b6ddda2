"""Losses against formulas in NumPy, SciPy and Optax, and the examples of Lux's documentation.

PyTorch's answers are in test_oracle_layers.py, derivatives in test_layer_gradients.py.
"""

import dataclasses
import inspect

import numpy as np
import pytest

import luxon as lx
from luxon import losses, nn

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


PAIRS = [
    "mse",
    "mae",
    "huber",
    "smooth_l1",
    "msle",
    "log_cosh",
    "binary_cross_entropy",
    "focal",
    "binary_focal",
]
PAIRS += ["kl_divergence", "hinge", "squared_hinge", "poisson_nll", "dice", "siamese_contrastive"]


@pytest.mark.parametrize("name", PAIRS)
def test_what_all_pairs_share(name):
    loss = getattr(losses, name)
    p = np.random.default_rng(3).uniform(0.1, 0.9, (4, 5)).astype(np.float32)
    t = np.random.default_rng(4).uniform(0.1, 0.9, (4, 5)).astype(np.float32)
    values = np.asarray(loss(p, t, reduction="none"))
    close(loss(p, t), values.mean())
    close(loss(p, t, reduction="sum"), values.sum())
    close(loss(p, t, reduction=lx.max), values.max())
    assert loss(p.astype(np.float64), t).dtype == lx.float64
    half = loss(lx.asarray(p, dtype=lx.float16), lx.asarray(t, dtype=lx.float16))
    assert half.dtype == lx.float16 and np.isclose(float(half), values.mean(), rtol=3e-3, atol=1e-3)
    for other in (t[:1], t[0], t[:, :1], t[..., None], t[0, 0]):
        with pytest.raises(ValueError, match=r"differ|do not fit"):
            loss(p, other)
    with pytest.raises(ValueError, match="reduction must be"):
        loss(p, t, reduction="median")
    with pytest.raises(TypeError, match="float"):
        loss(np.ones((2, 2), int), np.ones((2, 2), int))


def test_objects_have_the_arguments_of_their_functions():
    kinds = [kind for kind in losses.Loss.__subclasses__() if kind.__module__.startswith("luxon.losses")]
    assert len(kinds) == 21
    for kind in kinds:
        arguments = inspect.signature(kind._function).parameters
        defaults = {name: a.default for name, a in arguments.items() if a.default is not a.empty}
        assert dataclasses.asdict(kind()) == defaults, kind
        assert kind.__name__ in losses.__all__ and kind._function.__name__ in losses.__all__


def test_examples_of_lux():
    """The numbers of the docstrings of Lux.jl, whose arrays have the batch last."""
    y = np.array([1.1, 2.2, 3.3], np.float32)
    close(losses.msle(y, np.arange(1, 4)), 0.009084041)
    close(losses.msle(np.array([0.9, 1.8, 2.7], np.float32), np.arange(1, 4)), 0.011100831)
    close(losses.dice(np.array([1.1, 2.1, 3.1]), np.arange(1, 4)), 0.000992391663909964)
    close(losses.dice(np.array([[1.1, 2.1, 3.1]]), np.arange(1, 4)[None]), 0.000992391663909964)
    close(losses.hinge(np.array([0.1, 0.3, 1, 1.5]), np.array([1, -1, 1, 1])), 0.55)
    close(losses.squared_hinge(np.array([0.1, 0.3, 1, 1.5]), np.array([1, -1, 1, 1])), 0.625)
    distances = np.array([0.5, 1.5, 2.5])
    close(losses.siamese_contrastive(distances, np.arange(1, 4)), -4.833333333333333)
    close(losses.siamese_contrastive(distances, np.arange(1, 4), margin=2), -4.0)
    y = np.array([[0, 1], [1, 0], [0, 1]])
    p = np.array([[0.268941, 0.731059], [0.5, 0.5], [0.268941, 0.731059]])
    close(losses.binary_focal(p, y), 0.0728675615927385)
    close(losses.binary_focal(p, y, gamma=0), losses.binary_cross_entropy(p, y, from_logits=False))
    y = np.eye(3)[[0, 1, 2, 1, 0]]
    p = np.exp(log_softmax(np.arange(-7.0, 8.0).reshape(5, 3)))
    close(losses.focal(p, y), 1.1277556)
    close(losses.focal(p.T, y.T, axis=0), 1.1277556)
    close(losses.focal(p, y, gamma=0), losses.cross_entropy(p, y, from_logits=False))
    close(losses.kl_divergence(np.full((2, 2), 0.5), np.eye(2)), np.log(2))
    close(losses.kl_divergence(np.full((2, 2), 0.5), np.eye(2), reduction="sum"), 2 * np.log(2))


def test_divergence():
    special = pytest.importorskip("scipy.special")
    p, t = np.exp(log_softmax(P)), np.exp(log_softmax(T))
    t[:, 0] = 0
    expected = (special.xlogy(t, t) - special.xlogy(t, p)).sum(-1)
    close(losses.kl_divergence(p, t, reduction="none"), expected)
    close(losses.kl_divergence(np.log(p), t, log_prediction=True, reduction="none"), expected)
    with np.errstate(divide="ignore"):
        logs = np.log(t)
    both = {"log_prediction": True, "log_target": True, "reduction": "none"}
    close(losses.kl_divergence(np.log(p), logs, **both), expected)
    close(losses.kl_divergence(p.T, t.T, axis=0, reduction="none"), expected)
    assert losses.kl_divergence(np.array([0.0, 1.0]), np.array([0.5, 0.5])).item() == np.inf


def test_distances():
    rng = np.random.default_rng(5)
    a, b, c = rng.normal(size=(3, 7, 4))

    def far(x, y, p=2.0):
        return (np.abs(x - y + 1e-6) ** p).sum(-1) ** (1 / p)

    expected = np.maximum(1 + far(a, b) - far(a, c), 0)
    close(losses.triplet_margin(a, b, c, reduction="none"), expected)
    nearest = np.minimum(far(a, c, 3.0), far(b, c, 3.0))
    expected = np.maximum(0.5 + far(a, b, 3.0) - nearest, 0)
    close(losses.triplet_margin(a, b, c, margin=0.5, p=3.0, swap=True, reduction="none"), expected)
    t = np.array([1, -1, 1, -1, 1, -1, 1])
    cosine = (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    expected = np.where(t == 1, 1 - cosine, np.maximum(cosine - 0.1, 0))
    close(losses.cosine_embedding(a, b, t, margin=0.1, reduction="none"), expected)
    close(losses.cosine_embedding(a[0], b[0], t[0], margin=0.1), expected[0])
    assert np.isfinite(losses.cosine_embedding(np.zeros((2, 3)), np.zeros((2, 3)), np.array([1, -1])).item())
    with pytest.raises(ValueError, match="without the last axis"):
        losses.cosine_embedding(a, b, t[:3])
    close(
        losses.margin_ranking(a, b, np.sign(c), margin=0.2), np.maximum(0.2 - np.sign(c) * (a - b), 0).mean()
    )


def test_likelihoods():
    rng = np.random.default_rng(6)
    mean, variance, target = rng.normal(size=(5, 3)), rng.uniform(0.1, 2, (5, 3)), rng.normal(size=(5, 3))
    stats = pytest.importorskip("scipy.stats")
    expected = -stats.norm.logpdf(target, mean, np.sqrt(variance))
    close(losses.gaussian_nll(mean, target, variance, full=True, reduction="none"), expected)
    close(losses.gaussian_nll(mean, target, variance), (expected - 0.5 * np.log(2 * np.pi)).mean())
    slope = lx.grad(lambda v: losses.gaussian_nll(lx.ones(1), lx.zeros(1), v))(lx.zeros(1))
    assert np.isfinite(float(slope[0])) and float(slope[0]) < 0
    with pytest.raises(ValueError, match="negative"):
        losses.gaussian_nll(mean, target, -variance)
    counts = rng.poisson(3.0, (5, 3))
    rate = rng.uniform(0.5, 5, (5, 3))
    exact = -stats.poisson.logpmf(counts, rate)
    assert (
        np.abs(np.asarray(losses.poisson_nll(rate, counts, full=True, reduction="none")) - exact).max() < 0.09
    )
    close(losses.poisson_nll(np.log(rate), counts, log_prediction=True), losses.poisson_nll(rate, counts))


ENDS = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "loss",
    [
        lambda p, t: losses.focal(p, t),
        lambda p, t: losses.focal(p, t, gamma=1.5),
        lambda p, t: losses.binary_focal(p, t),
        lambda p, t: losses.binary_focal(p, t, gamma=3),
        lambda p, t: losses.cross_entropy(p, t, from_logits=False),
        lambda p, t: losses.binary_cross_entropy(p, t, from_logits=False),
        lambda p, t: losses.msle(p, t),
        lambda p, t: losses.poisson_nll(p, t, full=True),
        lambda p, t: losses.kl_divergence(p + 1e-3, t),
        lambda p, t: losses.log_cosh(p * 1e6, t),
    ],
)
def test_certain_predictions_stay_finite(loss, dtype):
    """Probabilities of exactly 0 and 1, right and wrong: values, slopes and slopes of slopes."""
    for wrong in (False, True):
        p, t = lx.asarray(ENDS, dtype=dtype), lx.asarray(ENDS[:, ::-1] if wrong else ENDS, dtype=dtype)
        value, slope = lx.value_and_grad(loss)(p, t)
        curve = lx.grad(lambda p, t=t: lx.sum(lx.grad(loss)(p, t) * 0.5))(p)
        for tensor in (value, slope, curve):
            assert np.isfinite(np.asarray(tensor)).all()


def test_ctc_against_optax():
    optax = pytest.importorskip("optax")
    rng = np.random.default_rng(7)
    logits = rng.normal(size=(4, 9, 6)).astype(np.float32)  # (batch, time, classes)
    targets = rng.integers(1, 6, (4, 3))
    inputs, lengths = np.array([9, 8, 7, 9]), np.array([3, 2, 1, 0])
    expected = optax.ctc_loss(
        logits,
        (np.arange(9) >= inputs[:, None]).astype(np.float32),
        targets,
        (np.arange(3) >= lengths[:, None]).astype(np.float32),
    )
    lines = lx.log_softmax(lx.asarray(logits.transpose(1, 0, 2)), axis=-1)
    values = losses.ctc(lines, targets, inputs, lengths, reduction="none")
    assert np.allclose(np.asarray(values), expected, rtol=1e-5)
    close(losses.ctc(lines, targets, inputs, lengths), (np.asarray(expected) / np.maximum(lengths, 1)).mean())
    flat = np.concatenate([row[:length] for row, length in zip(targets, lengths, strict=True)])
    close(losses.ctc(lines, flat, inputs, lengths, reduction="sum"), np.sum(expected))
    moved = lx.concat([lines[:, :, 1:], lines[:, :, :1]], axis=2)
    close(losses.ctc(moved, targets - 1, inputs, lengths, blank=5, reduction="none"), np.asarray(values))
    with pytest.raises(ValueError, match="hold the blank"):
        losses.ctc(lines, targets * 0, inputs, lengths)
    with pytest.raises(IndexError, match="not one of 6 classes"):
        losses.ctc(lines, targets + 6, inputs, lengths)


def test_ctc_too_short_for_its_labels():
    lines = lx.log_softmax(lx.asarray(P[:3, None, :]), axis=-1)  # three steps; 1, 1, 2 needs four
    settings = (np.array([[1, 1, 2]]), np.array([3]), np.array([3]))
    assert losses.ctc(lines, *settings).item() == np.inf
    assert np.isnan(np.asarray(lx.grad(lambda x: losses.ctc(x, *settings))(lines))).all()
    value, slope = lx.value_and_grad(lambda x: losses.ctc(x, *settings, zero_infinity=True))(lines)
    assert value.item() == 0 and not np.asarray(slope).any()


def test_objectives_of_several_outputs():
    x = lx.asarray(P)
    two, three = (
        nn.BranchLayer(nn.Dense(5, 2), nn.Dense(5, 2, lx.softplus)),
        nn.BranchLayer(*[nn.Dense(5, 2)] * 3),
    )
    target, sign = lx.asarray(T[:, :2]), lx.sign(lx.asarray(T[:, 0]))
    for loss, model, y in [
        (losses.GaussianNLLLoss(), two, target),
        (losses.CosineEmbeddingLoss(margin=0.1), two, sign),
        (losses.MarginRankingLoss(), two, lx.sign(target)),
        (losses.TripletMarginLoss(), three, None),
    ]:
        ps, st = nn.setup(0, model)
        value, after, stats = loss(model, ps, st, (x, y))
        assert value.shape == () and after is st and stats == {}
        with pytest.raises(TypeError, match="the model must give"):
            loss(nn.Dense(5, 2), *nn.setup(0, nn.Dense(5, 2)), (x, y))
    model = nn.Chain(nn.Dense(5, 4), lx.log_softmax)
    ps, st = nn.setup(0, model)
    y = (np.array([[1, 2]]), np.array([6]), np.array([2]))
    assert losses.CTCLoss()(model, ps, st, (x[:, None], y))[0].item() > 0
