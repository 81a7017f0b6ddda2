"""A neural ordinary differential equation: learn a vector field from one noisy trajectory.

The data is a damped, driven pendulum (angle and angular velocity), integrated by SciPy and seen with noise at
200 times. The model is dy/dt = f(y, t) with a small network f, integrated by a fourth-order Runge-Kutta method
written here in plain Python: differentiation goes through the loop. Training fits short pieces of the
trajectory. Afterwards the learned field is integrated from the first point by SciPy's adaptive solver as well,
which shows that the field was learned and not the method's errors.

Run it with `python examples/neural_ode.py`; `--steps 100` for a quick look.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import numpy as np
import show

import luxon as lx
from luxon import nn, optim, training

DAMPING, DRIVE, FREQUENCY = 0.3, 0.6, 0.8
NOISE = 0.02
STEP = 0.05  # seconds between observations, and the method's step


def pendulum(t: float, y: np.ndarray) -> np.ndarray:
    """The true field: y is (angle, angular velocity)."""
    return np.array([y[1], -np.sin(y[0]) - DAMPING * y[1] + DRIVE * np.cos(FREQUENCY * t)])


def observe(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times (count,), the true states (count, 2), and what is seen of them."""
    from scipy.integrate import solve_ivp

    times = np.arange(count) * STEP
    answer = solve_ivp(pendulum, (0, times[-1]), [1.0, 0.0], t_eval=times, rtol=1e-10, atol=1e-10)
    states = answer.y.T
    return times, states, states + np.random.default_rng(0).normal(0, NOISE, states.shape)


def field(model, ps, st, t: lx.Tensor, y: lx.Tensor) -> lx.Tensor:
    """dy/dt for states y (n, 2) at times t (n, 1); the angle and the drive enter by sine and cosine."""
    phase = FREQUENCY * t
    features = [lx.sin(y[:, :1]), lx.cos(y[:, :1]), y[:, 1:], lx.sin(phase), lx.cos(phase)]
    slope, _ = model(lx.concat(features, axis=1), ps, st)
    return slope


def rk4(f, t: lx.Tensor, y: lx.Tensor, step: float) -> lx.Tensor:
    """One step of the classical method."""
    k1 = f(t, y)
    k2 = f(t + step / 2, y + step / 2 * k1)
    k3 = f(t + step / 2, y + step / 2 * k2)
    k4 = f(t + step, y + step * k3)
    return y + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def integrate(f, t: lx.Tensor, y: lx.Tensor, steps: int) -> lx.Tensor:
    """States (steps + 1, n, 2) from y (n, 2)."""
    states = [y]
    for _ in range(steps):
        y = rk4(f, t, y, STEP)
        t = t + STEP
        states.append(y)
    return lx.stack(states)


def objective(model, ps, st, batch):
    """The mean squared distance of integrated pieces from the observed ones."""
    t, pieces = batch
    states = integrate(lambda t, y: field(model, ps, st, t, y), t, pieces[0], pieces.shape[0] - 1)
    return lx.mean((states - pieces) ** 2), st, {}


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--length", type=int, default=10, help="steps of a piece")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output"))
    arguments = parser.parse_args()

    from scipy.integrate import solve_ivp

    times, states, seen = observe(800)
    known = 600  # what follows is for the test
    model = nn.Chain(nn.Dense(5, 32, lx.tanh), nn.Dense(32, 32, lx.tanh), nn.Dense(32, 2), name="field")
    print(model)
    ps, st = nn.setup(0, model, dtype=lx.float64)
    ts = training.TrainState(model, ps, st, optim.Adam(3e-3))
    generator = np.random.default_rng(1)
    curve = []
    start = time.perf_counter()
    for step in range(1, arguments.steps + 1):
        first = generator.integers(0, known - arguments.length, arguments.batch)
        pieces = seen[first[None, :] + np.arange(arguments.length + 1)[:, None]]
        batch = lx.asarray(times[first][:, None]), lx.asarray(pieces)
        _, loss, _, ts = training.single_train_step(lx.AutoTape(), objective, batch, ts)
        curve.append(float(loss))
        if step % 25 == 0:
            show.progress(step, arguments.steps, f"error {np.mean(curve[-25:]) ** 0.5:.4f}", every=500)
    seconds = time.perf_counter() - start

    def learned(t, y):
        slope = field(
            ts.model, ts.parameters, ts.states, lx.asarray([[t]], dtype=lx.float64), lx.asarray(y[None])
        )
        return slope.numpy()[0]

    answer = solve_ivp(learned, (0, times[-1]), states[0], t_eval=times, rtol=1e-6, atol=1e-6)
    predicted = answer.y.T
    own = integrate(
        lambda t, y: field(ts.model, ts.parameters, ts.states, t, y),
        lx.zeros((1, 1), dtype=lx.float64),
        lx.asarray(states[:1]),
        len(times) - 1,
    ).numpy()[:, 0]

    def error(prediction, part):
        return float(np.sqrt(np.mean((prediction[part] - states[part]) ** 2)))

    past, future = slice(0, known), slice(known, None)
    # Without a model: the damped pendulum without its drive, and the mean of what was seen.
    mean = np.broadcast_to(seen[past].mean(axis=0), states.shape)
    undriven = solve_ivp(
        lambda t, y: pendulum(t, y) - [0, DRIVE * np.cos(FREQUENCY * t)],
        (0, times[-1]),
        states[0],
        t_eval=times,
    ).y.T
    print(f"\nloss  {show.sparkline(np.log(curve).tolist())}\n")
    with show.figure(arguments.output / "neural_ode.png", panels=2, size=(11, 4)) as axes:
        for axis, column, name in zip(axes, (0, 1), ("angle", "angular velocity"), strict=True):
            axis.plot(times[past], seen[past, column], ".", markersize=2, color="gray", label="seen")
            axis.plot(times, states[:, column], color="black", linewidth=1, label="true")
            axis.plot(times, predicted[:, column], "--", color="tab:orange", label="learned field, SciPy")
            axis.axvline(times[known], color="gray", linewidth=0.5)
            axis.set(xlabel="t", ylabel=name)
        axes[0].legend()
    print(f"{len(curve)} steps in {seconds:.1f} s, {seconds / len(curve) * 1e3:.2f} ms each")
    print(f"own Runge-Kutta and SciPy's solver differ by {np.abs(own - predicted).max():.1e}")
    print(f"error where seen {error(predicted, past):.4f} (noise {NOISE})")
    print(
        f"baselines in the future: mean {error(mean, future):.3f}, without the drive {error(undriven, future):.3f}"
    )
    print(f"error in the future {error(predicted, future):.4f}")
    return error(predicted, future)


if __name__ == "__main__":
    main()
