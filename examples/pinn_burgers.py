"""A physics-informed network: Burgers' equation without data, by derivatives of derivatives.

    u_t + u u_x = nu u_xx  on  -1 < x < 1, 0 < t < 1;   u(x, 0) = -sin(pi x),  u(-1, t) = u(1, t) = 0

with nu = 0.04 / pi, where a front forms at x = 0 (the problem of Raissi, Perdikaris and Karniadakis 2019, with
four times their viscosity, so that a minute on a CPU is enough).
The network sees the equation only: u_x, u_t and u_xx come from forward mode inside the loss, and the gradient
of the loss in the parameters from reverse mode around them. The result is compared with the exact solution by
the transformation of Cole and Hopf, and with the best that a finite-difference scheme of as many numbers as the
network has parameters can do.

Adam on fresh random points first, then L-BFGS with a line search on points that stay: the usual recipe for
such losses, here one `TrainState` after the other.

Run it with `python examples/pinn_burgers.py`; `--steps 300 --refine 5` for a quick look.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import numpy as np
import show

import luxon as lx
from luxon import nn, optim, training

NU = 0.04 / np.pi


def exact(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The solution, by Gauss-Hermite quadrature of the Cole-Hopf integrals; any shapes that broadcast."""
    nodes, weights = np.polynomial.hermite.hermgauss(160)
    x, t = np.broadcast_arrays(np.asarray(x, float), np.asarray(t, float))
    y = x[..., None] - np.sqrt(4 * NU * np.maximum(t, 1e-12))[..., None] * nodes
    exponent = -np.cos(np.pi * y) / (2 * np.pi * NU)
    kernel = weights * np.exp(exponent - exponent.max(axis=-1, keepdims=True))
    u = -(np.sin(np.pi * y) * kernel).sum(-1) / kernel.sum(-1)
    return np.where(t <= 0, -np.sin(np.pi * x), u)


def finite_differences(points: int) -> np.ndarray:
    """u(x, 1) on `points` points by upwind differences in space and Euler's method in time."""
    x = np.linspace(-1, 1, points)
    h = x[1] - x[0]
    steps = int(2.5 * NU / h**2 + 2 / h)  # stable for diffusion and transport
    k = 1 / steps
    u = -np.sin(np.pi * x)
    for _ in range(steps):
        backward, forward = np.diff(u, prepend=u[0]) / h, np.diff(u, append=u[-1]) / h
        curvature = np.zeros_like(u)
        curvature[1:-1] = (u[2:] - 2 * u[1:-1] + u[:-2]) / h**2
        u = u + k * (NU * curvature - np.where(u > 0, u * backward, u * forward))
        u[0] = u[-1] = 0
    return u


def solution(model, ps, st, x: lx.Tensor, t: lx.Tensor) -> lx.Tensor:
    """The network's u (n, 1), which has the right values at t = 0 and x = -1, 1 by its form."""
    network, _ = model(lx.concat([x, t], axis=1), ps, st)
    return t * (1 - x * x) * network - lx.sin(np.pi * x)


def residual(model, ps, st, x: lx.Tensor, t: lx.Tensor) -> lx.Tensor:
    """u_t + u u_x - nu u_xx at the points (n, 1)."""
    one = lx.ones_like(x)

    def u(x, t):
        return solution(model, ps, st, x, t)

    # One pass gives u and its derivatives: two along x, one along t.
    value, ((u_x, u_xx), (u_t,)) = lx.jet(u, (x, t), [(one, None), (None, one)], [2, 1])
    return u_t + value * u_x - NU * u_xx


def objective(model, ps, st, batch):
    """The mean square of the residual."""
    return lx.mean(residual(model, ps, st, *batch) ** 2), st, {}


def points(generator: np.random.Generator, count: int) -> tuple[lx.Tensor, lx.Tensor]:
    """Places in space and time, a third of them near the shock."""
    near = count // 3
    x = np.concatenate([generator.uniform(-1, 1, count - near), generator.normal(0, 0.05, near).clip(-1, 1)])
    t = generator.uniform(0, 1, count)
    return lx.asarray(x[:, None]), lx.asarray(t[:, None])


def train(ts: training.TrainState, batches, steps: int, name: str, curve: list[float]) -> training.TrainState:
    """Some steps, each on what `batches` gives; the losses are added to the curve."""
    for step in range(1, steps + 1):
        _, loss, _, ts = training.single_train_step(lx.AutoTape(), objective, batches(), ts)
        curve.append(float(loss))
        if step % 10 == 0 or step == steps:
            show.progress(
                step, steps, f"{name}: residual {np.mean(curve[-10:]) ** 0.5:.2e}", every=steps // 4
            )
    return ts


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="of Adam")
    parser.add_argument(
        "--refine", type=int, default=100, help="steps of L-BFGS, up to 20 evaluations or so each"
    )
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output"))
    arguments = parser.parse_args()

    model = nn.Chain(
        nn.Dense(2, 32, lx.tanh),
        nn.Dense(32, 32, lx.tanh),
        nn.Dense(32, 32, lx.tanh),
        nn.Dense(32, 1),
        name="u",
    )
    print(model)
    generator = np.random.default_rng(0)
    curve: list[float] = []
    start = time.perf_counter()
    ps, st = nn.setup(0, model, dtype=lx.float64)
    ts = training.TrainState(model, ps, st, optim.Adam(optim.schedules.cosine(5e-3, arguments.steps)))
    ts = train(ts, lambda: points(generator, arguments.points), arguments.steps, "Adam", curve)
    fixed = points(generator, 4 * arguments.points)
    rule = optim.LBFGS(history_size=50, line_search_fn="strong_wolfe")
    ts = training.TrainState(model, ts.parameters, ts.states, rule)
    ts = train(ts, lambda: fixed, arguments.refine, "L-BFGS", curve)
    seconds = time.perf_counter() - start

    x, t = np.linspace(-1, 1, 201), np.linspace(0, 1, 101)
    grid = [lx.asarray(part.reshape(-1, 1)) for part in np.meshgrid(x, t)]
    u = solution(model, ts.parameters, ts.states, *grid).numpy().reshape(101, 201)
    reference = exact(x, t[:, None])
    error = float(np.linalg.norm(u - reference) / np.linalg.norm(reference))

    # The baseline keeps one number per point: as many points as the network has parameters, at t = 1.
    count = nn.parameter_length(model)
    scheme = finite_differences(count)
    last = exact(np.linspace(-1, 1, count), np.array(1.0))
    baseline = float(np.linalg.norm(scheme - last) / np.linalg.norm(last))
    ours = float(np.linalg.norm(u[-1] - reference[-1]) / np.linalg.norm(reference[-1]))

    print(f"\nresidual  {show.sparkline(np.log(curve).tolist())}\n")
    with show.figure(arguments.output / "pinn_burgers.png", panels=2, size=(11, 4)) as (left, right):
        left.imshow(u, extent=(-1, 1, 0, 1), origin="lower", aspect="auto", cmap="RdBu")
        left.set(xlabel="x", ylabel="t", title="u(x, t)")
        for row, colour in ((25, "tab:blue"), (50, "tab:orange"), (100, "tab:green")):
            right.plot(x, reference[row], color="black", linewidth=1)
            right.plot(x, u[row], "--", color=colour, label=f"t = {t[row]:.2f}")
        right.set(xlabel="x", ylabel="u", title="network (dashed), exact (black)")
        right.legend()
    print(f"trained in {seconds:.1f} s")
    print(f"at t = 1: error {ours:.2e}; upwind differences of {count} points {baseline:.2e}")
    print(f"relative error {error:.2e} over the whole domain")
    return error


if __name__ == "__main__":
    main()
