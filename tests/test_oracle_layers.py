"""Layers and losses against PyTorch's answers: outputs, gradients, running statistics, bounds of dropout."""

import numpy as np
import pytest

import luxon as lx
from luxon import nn
from oracle import layers as oracle
from oracle.cases import WHY_ABSENT, cases, distance

FILE = cases("layers")
if FILE is None:
    pytest.skip(WHY_ABSENT, allow_module_level=True)

CASES = FILE.index["cases"]
NAMES = [f"{number}-{case['layer']}" for number, case in enumerate(CASES)]
PLAIN = [number for number, case in enumerate(CASES) if "steps" not in case]
STATEFUL = [number for number, case in enumerate(CASES) if "steps" in case]
EXACT = 1e-9
# PyTorch's gradient of hardsigmoid in float64 multiplies by the float32 nearest to 1/6, which is 3e-8 off.
FLAWED = {"Hardsigmoid": 1e-7}


def check(got, want, bound, what):
    found = distance(got, want)
    assert found <= bound, f"{what}: error {found:.3g} where {bound:.3g} is let pass"


def check_call(function, ps, inputs, want, bounds):
    """A function's outputs and the gradients of its parameters and of its first inputs."""
    kept = inputs[len(want["input_grads"]) :]

    def several(ps, *first):
        y = function(ps, *first, *kept)
        return y if isinstance(y, tuple) else (y,)

    outputs, pullback = lx.vjp(several, ps, *inputs[: len(want["input_grads"])])
    assert len(outputs) == len(want["out"])
    for index, (got, expected) in enumerate(zip(outputs, want["out"], strict=True)):
        check(got, expected, bounds[0], f"output {index}")
    dtype = outputs[0].dtype
    grads = pullback(tuple(oracle.convert(cotangent, dtype) for cotangent in want["cot"]))
    for name, expected in want["param_grads"].items():
        check(grads[0][name], expected, bounds[1], f"gradient of {name}")
    for index, expected in enumerate(want["input_grads"]):
        check(grads[index + 1], expected, bounds[1], f"gradient of input {index}")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("number", PLAIN, ids=[NAMES[number] for number in PLAIN])
def test_layer(number, dtype):
    case = FILE.decode(CASES[number])
    ps = {name: oracle.convert(value, dtype) for name, value in case["params"].items()}
    inputs = [oracle.convert(value, dtype) for value in case["inputs"]]
    want = {
        "out": case["out"],
        "cot": case["cot"],
        "param_grads": case["grads"]["params"],
        "input_grads": case["grads"]["inputs"],
    }
    bounds = (EXACT, FLAWED.get(case["layer"], EXACT))
    if dtype == "float32":
        bounds = (4 * case["err32"] + 1e-5, 4 * case["gerr32"] + 1e-5)
    check_call(oracle.build(case), ps, inputs, want, bounds)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("number", STATEFUL, ids=[NAMES[number] for number in STATEFUL])
def test_running_statistics(number, dtype):
    case = FILE.decode(CASES[number])
    ps = {name: oracle.convert(value, dtype) for name, value in case["params"].items()}
    bound = EXACT if dtype == "float64" else 1e-5
    st = nn.setup(0, oracle.norm_with_state(case, 0), dtype)[1]
    for position, step in enumerate(case["steps"]):
        layer = oracle.norm_with_state(case, position)
        st = nn.trainmode(st) if step["train"] else nn.testmode(st)
        inputs = [oracle.convert(value, dtype) for value in step["inputs"]]
        want = {
            "out": step["out"],
            "cot": step["cot"],
            "param_grads": dict(zip(ps, step["grads"]["params"], strict=True)),
            "input_grads": step["grads"]["inputs"],
        }
        given = st
        check_call(lambda ps, x: layer(x, ps, given)[0], ps, inputs, want, (bound, bound))  # noqa: B023
        _, st = layer(inputs[0], ps, given)
        assert st is given or step["train"]
        for name in ("running_mean", "running_var"):
            if name in step["buffers_after"]:
                check(st[name], step["buffers_after"][name], bound, f"{name} after step {position}")


DROPOUTS = FILE.index["dropout"]


@pytest.mark.parametrize("case", DROPOUTS, ids=[f"{case['layer']}-{case['p']}" for case in DROPOUTS])
def test_dropout(case):
    layer = getattr(nn, case["layer"])(case["p"])
    x = lx.random.normal(lx.random.key(1), (case["n"],), dtype="float64") + 3.0
    y = np.asarray(layer(x, {}, nn.setup(0, layer)[1])[0])
    x = np.asarray(x)
    if case["layer"] == "Dropout":
        dropped = y == 0.0
        low, high = case["zeros"]
        assert low <= dropped.sum() <= high
        assert np.allclose(y[~dropped], x[~dropped] * case["kept_scale"], rtol=1e-12)
    else:
        kept = np.isclose(y, case["a"] * x + case["b"], rtol=1e-9)
        assert np.allclose(y[~kept], case["dropped_value"], rtol=1e-9)
        assert abs((~kept).mean() - case["p"]) < 4 * (case["p"] * (1 - case["p"]) / case["n"]) ** 0.5
