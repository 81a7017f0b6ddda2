"""A physics-informed network: Burgers' equation without data, by derivatives of derivatives.

    u_t + u u_x = nu u_xx  on  -1 < x < 1, 0 < t < 1;   u(x, 0) = -sin(pi x),  u(-1, t) = u(1, t) = 0

with nu = 0.01 / pi, where a shock forms at x = 0 (the problem of Raissi, Perdikaris and Karniadakis 2019).
The network sees the equation only: u_x, u_t and u_xx come from forward mode inside the loss, and the gradient
of the loss in the parameters from reverse mode around them. The result is compared with the exact solution by
the transformation of Cole and Hopf, and with the best that a finite-difference scheme of as many numbers as the
network has parameters can do.

Run it with `python examples/pinn_burgers.py`; `--steps 300` for a quick look.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import numpy as np
import show

import luxon as lx
from luxon import nn, optim, training

NU = 0.01 / np.pi


def exact(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The solution, by Gauss-Hermite quadrature of the Cole-Hopf integrals; any shapes that broadcast."""
    nodes, weights = np.polynomial.hermite.hermgauss(160)
    x, t = np.broadcast_arrays(np.asarray(x, float), np.asarray(t, float))
    y = x[..., None] - np.sqrt(4 * NU * np.maximum(t, 1e-12))[..., None] * nodes
    exponent = -np.cos(np.pi * y) / (2 * np.pi * NU)
    kernel = weights * np.exp(exponent - exponent.max(axis=-1, keepdims=True))
    u = -(np.sin(np.pi * y) * kernel).sum(-1) / kernel.sum(-1)
    return np.where(t <= 0, -np.sin(np.pi * x), u)


def finite_differences(points: int, steps: int) -> np.ndarray:
    """u(x, 1) on `points` points by upwind differences in space and Euler's method in time."""
    x = np.linspace(-1, 1, points)
    h, k = x[1] - x[0], 1 / steps
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
    one, zero = lx.ones_like(x), lx.zeros_like(x)

    def u(x, t):
        return solution(model, ps, st, x, t)

    def slope(x):
        return lx.jvp(lambda x: u(x, t), (x,), (one,))

    # One pass gives u, u_x, and the derivatives of both in x.
    (value, u_x), (_, u_xx) = lx.jvp(slope, (x,), (one,))
    _, u_t = lx.jvp(u, (x, t), (zero, one))
    return u_t + value * u_x - NU * u_xx


def objective(model, ps, st, batch):
    """The mean square of the residual."""
    return lx.mean(residual(model, ps, st, *batch) ** 2), st, {}


def points(generator: np.random.Generator, count: int) -> tuple[lx.Tensor, lx.Tensor]:
    """Places in space and time, a third of them near the shock."""
    near = count // 3
    x = np.concatenate([generator.uniform(-1, 1, count - near), generator.normal(0, 0.05, near).clip(-1, 1)])
    t = generator.uniform(0, 1, count)
    return lx.asarray(x.astype(np.float32)[:, None]), lx.asarray(t.astype(np.float32)[:, None])


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6000)
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
    rate = 4e-3
    ts = training.TrainState.create(0, model, optim.Adam(rate))
    generator = np.random.default_rng(0)
    curve = []
    start = time.perf_counter()
    for step in range(1, arguments.steps + 1):
        batch = points(generator, arguments.points)
        _, loss, _, ts = training.single_train_step(lx.AutoTape(), objective, batch, ts)
        curve.append(float(loss))
        if step % 50 == 0:
            show.progress(step, arguments.steps, f"residual {np.mean(curve[-50:]) ** 0.5:.2e}", every=1000)
    seconds = time.perf_counter() - start

    x, t = np.linspace(-1, 1, 201), np.linspace(0, 1, 101)
    grid = [lx.asarray(part.astype(np.float32).reshape(-1, 1)) for part in np.meshgrid(x, t)]
    u = solution(model, ts.parameters, ts.states, *grid).numpy().reshape(101, 201)
    reference = exact(x, t[:, None])
    error = float(np.linalg.norm(u - reference) / np.linalg.norm(reference))

    # The baseline keeps one number per point: as many points as the network has parameters, at t = 1.
    count = nn.parameter_length(model)
    scheme = finite_differences(count, 4 * count)
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
    print(f"{len(curve)} steps in {seconds:.1f} s, {seconds / len(curve) * 1e3:.2f} ms each")
    print(f"at t = 1: error {ours:.2e}; upwind differences of {count} points {baseline:.2e}")
    print(f"relative error {error:.2e} over the whole domain")
    return error


if __name__ == "__main__":
    main()
