"""Optimisers, schedules and clipping against trajectories that PyTorch and Optax computed.

Each trajectory holds the gradients of its steps, so the rule is tested alone. The reference values are no part
of the repository: they are read where `../shared/oracles` stands beside the checkout, or where LUXON_ORACLES says.
"""

import json
import math
import os
import pathlib

import numpy as np
import pytest

import luxon as lx
from luxon import optim
from luxon.optim import schedules

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = pathlib.Path(os.environ.get("LUXON_ORACLES") or ROOT.parent / "shared" / "oracles") / "data"
HERE = (FOLDER / "optim.json").is_file() and (FOLDER / "optim.npz").is_file()


class Oracle:
    """The index, and the arrays that its nodes `{"$t": [dtype, offset, shape]}` stand for."""

    def __init__(self):
        self.index = json.loads((FOLDER / "optim.json").read_text())
        with np.load(FOLDER / "optim.npz") as arrays:
            self.flat = dict(arrays)

    def array(self, node):
        dtype, offset, shape = node["$t"]
        return self.flat[dtype][offset : offset + math.prod(shape)].reshape(shape)


ORACLE = Oracle() if HERE else None


def cases(kind):
    if ORACLE is None:
        reason = pytest.mark.skip(reason=f"no reference values in {FOLDER}")
        return [pytest.param(None, marks=reason, id="absent")]
    return ORACLE.index[kind]


def name_of(case):
    if case is None:
        return "absent"
    kind = case.get("optimizer") or case.get("schedule") or f"norm-{case['norm']}-{case['max_norm']}"
    settings = ",".join(f"{name}={value}" for name, value in case.get("settings", {}).items())
    return "-".join(filter(None, [case.get("library"), kind, settings, case.get("problem")]))


def betas(settings, first=0.9, second=0.999):
    return {"betas": (settings.pop("b1", first), settings.pop("b2", second))}


def optax_rule(name, settings):
    """Optax's optimiser in this library's words."""
    settings = dict(settings)
    lr = settings.pop("learning_rate")
    match name:
        case "sgd":
            return optim.SGD(lr, **settings)
        case "adam" | "nadam":
            return optim.Adam(lr, **betas(settings), **{"nesterov": name == "nadam", **settings})
        case "adamw" | "nadamw":
            moments = betas(settings)
            return optim.AdamW(
                lr, **moments, **{"weight_decay": 1e-4, "nesterov": name == "nadamw", **settings}
            )
        case "adamax":
            return optim.AdaMax(lr, **betas(settings), **settings)
        case "lion":
            return optim.Lion(lr, **betas(settings, 0.9, 0.99), **settings)
        case "lamb":
            return optim.Lamb(lr, **betas(settings), **settings)
        case "lars":
            return optim.Lars(lr, **settings)
        case "yogi":
            return optim.Yogi(lr, **betas(settings), **settings)
        case "amsgrad":
            return optim.AMSGrad(lr, **betas(settings), **settings)
        case "radam":
            return optim.RAdam(lr, **betas(settings), corrected_eps=True, **settings)
        case "adabelief":
            return optim.AdaBelief(lr, **betas(settings), **settings)
        case "novograd":
            return optim.NovoGrad(lr, **betas(settings, 0.9, 0.25), **settings)
        case "rmsprop":
            given = {"alpha": settings.pop("decay", 0.9), "eps_in_sqrt": True, **settings}
            return optim.RMSProp(lr, **given)
        case "adagrad":
            given = {"initial_accumulator_value": 0.1, "eps": 1e-7, **settings}
            return optim.AdaGrad(lr, eps_in_sqrt=True, **given)
        case "adadelta":
            return optim.AdaDelta(lr, **settings)
        case "sm3":
            return optim.SM3(lr, **settings)
        case "fromage":
            return optim.Fromage(lr, **settings)
        case "optimistic_adam" | "optimistic_adam_v2":
            return optim.OAdam(lr, **betas(settings), **settings)
    raise KeyError(name)


TORCH = {"Adamax": "AdaMax", "RMSprop": "RMSProp", "Adagrad": "AdaGrad", "Adadelta": "AdaDelta"}


def rule_of(case):
    if case["library"] == "optax":
        return optax_rule(case["optimizer"], case["settings"])
    return getattr(optim, TORCH.get(case["optimizer"], case["optimizer"]))(**case["settings"])


def trajectory(case, dtype):
    """The largest distance from the reference, over its largest value."""
    rule = rule_of(case)
    expected = [ORACLE.array(node) for node in case["params"]]
    grads = [ORACLE.array(node) for node in case["grads"]]

    def tree(arrays, at):
        return lx.Tree({f"p{i}": lx.asarray(a[at].astype(dtype)) for i, a in enumerate(arrays)})

    ps = tree(expected, 0)
    state = optim.setup(rule, ps)
    worst = 0.0
    for step in range(len(grads[0])):
        ps, state = optim.update(rule, state, ps, tree(grads, step))
        for index, array in enumerate(expected):
            want = array[step + 1]
            gap = np.abs(np.asarray(ps[f"p{index}"], np.float64) - want).max()
            worst = max(worst, gap / max(np.abs(want).max(), 0.01))
            assert np.isfinite(gap), (step, index)
    return worst


@pytest.mark.parametrize("case", cases("runs"), ids=name_of)
def test_trajectory(case):
    assert trajectory(case, np.float64) < 1e-12


# Where a sign or a step decided by a sign is lost to rounding, single precision goes another way.
SIGNS = {"Rprop", "lion"}


@pytest.mark.parametrize("case", cases("runs"), ids=name_of)
def test_trajectory_in_single_precision(case):
    assert trajectory(case, np.float32) < (5e-2 if case["optimizer"] in SIGNS else 2e-4)


def schedule_of(case):
    """PyTorch's scheduler in this library's words."""
    s, lr = dict(case["settings"]), case["base_lr"]
    match case["schedule"]:
        case "StepLR":
            return schedules.step(lr, **s)
        case "MultiStepLR":
            return schedules.multi_step(lr, **s)
        case "ExponentialLR":
            return schedules.exponential(lr, **s)
        case "ConstantLR":
            return schedules.piecewise([s.get("total_iters", 5)], [lr * s.get("factor", 1 / 3), lr])
        case "LinearLR":
            start, end = lr * s.get("start_factor", 1 / 3), lr * s.get("end_factor", 1.0)
            return schedules.linear(start, end, s.get("total_iters", 5))
        case "PolynomialLR":
            return schedules.polynomial(lr, s.get("total_iters", 5), power=s.get("power", 1.0))
        case "CosineAnnealingLR":
            return schedules.cosine(lr, s["T_max"], end=s.get("eta_min", 0.0))
        case "CosineAnnealingWarmRestarts":
            return schedules.cosine_restarts(lr, s["T_0"], s.get("T_mult", 1), s.get("eta_min", 0.0))
        case "CyclicLR":
            return schedules.triangular(
                s["base_lr"],
                s["max_lr"],
                s.get("step_size_up", 2000),
                s.get("step_size_down"),
                mode=s.get("mode", "triangular"),
                gamma=s.get("gamma", 1.0),
            )
        case "OneCycleLR":
            names = {"cycle_momentum", "base_momentum", "max_momentum", "epochs", "steps_per_epoch"}
            total = s.get("total_steps") or s["epochs"] * s["steps_per_epoch"]
            return schedules.one_cycle(
                **{k: v for k, v in s.items() if k not in names} | {"total_steps": total}
            )
    raise KeyError(case["schedule"])


@pytest.mark.parametrize("case", cases("schedules"), ids=name_of)
def test_schedule(case):
    rate, expected = schedule_of(case), ORACLE.array(case["lr"])
    got = [rate(step) for step in range(len(expected))]
    assert np.abs(got - expected).max() < 1e-14 * max(1.0, expected.max())


@pytest.mark.parametrize("case", cases("clipping"), ids=name_of)
def test_clipping(case):
    # The step of plain descent at the rate 1 is the gradient as it was clipped.
    rule = optim.chain(optim.clip_global_norm(case["max_norm"], float(case["norm"])), optim.SGD(1.0))
    grads = {f"g{i}": lx.asarray(ORACLE.array(node)) for i, node in enumerate(case["grads"])}
    ps = {name: lx.zeros_like(gradient) for name, gradient in grads.items()}
    moved, _ = optim.update(rule, optim.setup(rule, ps), ps, grads)
    for index, node in enumerate(case["clipped"]):
        np.testing.assert_allclose(
            -np.asarray(moved[f"g{index}"]), ORACLE.array(node), rtol=1e-13, atol=1e-300
        )
