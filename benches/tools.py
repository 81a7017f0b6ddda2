"""What the tools around a model cost: per call, per layer, per import.

    python benches/tools.py                  # everything
    python benches/tools.py freeze import    # rows by a part of their name

Each row is timed in chunks of a few milliseconds, alternating with what it is compared with, and shows
medians and minima. Models are of a size where the arithmetic does not hide the overhead, except for the
frozen one, where the arithmetic is the point.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import timeit
from collections.abc import Callable

import luxon as lx
from luxon import losses, nn, optim, training

ROUNDS = 41


def interleaved(*calls: Callable[[], object]) -> list[tuple[float, float]]:
    """Median and least seconds of each call, the calls taking turns."""
    timers = [timeit.Timer(call) for call in calls]
    counts = []
    for timer in timers:
        timer.timeit(2)
        counts.append(max(1, int(3e-3 / max(timer.timeit(3) / 3, 1e-8))))
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for timer, count, kept in zip(timers, counts, times, strict=True):
            kept.append(timer.timeit(count) / count)
    return [(statistics.median(kept), min(kept)) for kept in times]


def microseconds(row: tuple[float, float]) -> str:
    return f"{row[0] * 1e6:10.2f} us {row[1] * 1e6:10.2f} us"


def deep(depth: int, width: int) -> nn.Layer:
    return nn.Chain(*[nn.Dense(width, width, lx.tanh) for _ in range(depth)])


def setup_row() -> None:
    model = deep(100, 8)
    row, mapped = interleaved(
        lambda: nn.setup(0, model), lambda: nn.layer_map(keep, model, *nn.setup(0, model))
    )
    print(f"{'setup, 100 layers of Dense(8, 8)':48s}{microseconds(row)}")
    print(f"{'layer_map over it':48s}{microseconds((mapped[0] - row[0], mapped[1] - row[1]))}")


def keep(layer, ps, st, path):
    return layer, ps, st


def gradients_row() -> None:
    model = nn.Dense(2, 1)
    ps, st = nn.setup(0, model)
    x, y = lx.ones((4, 2)), lx.zeros((4, 1))
    objective = losses.MSELoss()
    ts = training.TrainState(model, ps, st, optim.SGD(0.1))
    ad = lx.AutoTape()

    def loss(ps):
        value, new_st, stats = objective(model, ps, st, (x, y))
        return value, (new_st, stats)

    bare = lx.value_and_grad(loss, has_aux=True)
    through, alone = interleaved(
        lambda: training.compute_gradients(ad, objective, (x, y), ts), lambda: bare(ps)
    )
    print(f"{'compute_gradients, Dense(2, 1)':48s}{microseconds(through)}")
    print(f"{'  bare value_and_grad':48s}{microseconds(alone)}")
    print(f"{'  the difference':48s}{microseconds((through[0] - alone[0], through[1] - alone[1]))}")


def chain_row() -> None:
    """What a Chain adds to the calls of its layers, for parameters that it has seen and for a tree new in each call."""
    depth = 100
    layers = [nn.Scale((4,)) for _ in range(depth)]
    model = nn.Chain(*layers)
    ps, st = nn.setup(0, model)
    x = lx.ones(4)
    pairs = [(layer, ps[f"layer_{i + 1}"], st[f"layer_{i + 1}"]) for i, layer in enumerate(layers)]

    def by_hand():
        y = x
        for layer, layer_ps, layer_st in pairs:
            y, _ = layer(y, layer_ps, layer_st)
        return y

    def fresh():
        return lx.tree.map(lambda leaf: leaf, ps)

    through, anew, making, alone = interleaved(
        lambda: model(x, ps, st), lambda: model(x, fresh(), st), fresh, by_hand
    )
    for title, whole, rest in (
        ("Chain, added per layer", through, alone),
        ("  with a new tree of parameters", anew, [a + m for a, m in zip(alone, making, strict=True)]),
    ):
        each = tuple((a - b) / depth for a, b in zip(whole, rest, strict=True))
        print(f"{title:48s}{each[0] * 1e9:10.0f} ns {each[1] * 1e9:10.0f} ns")


def debug_row() -> None:
    model = deep(8, 32)
    ps, st = nn.setup(0, model)
    x = lx.ones((32, 32))
    checked = nn.debug_mode(model)
    plain, watched = interleaved(lambda: model(x, ps, st), lambda: checked(x, ps, st))
    print(f"{'forward, 8 of Dense(32, 32), batch 32':48s}{microseconds(plain)}")
    print(f"{'  under debug_mode':48s}{microseconds(watched)}")


def freeze_row() -> None:
    depth, width, batch = 8, 256, 256
    model = deep(depth, width)
    ps, st = nn.setup(0, model)
    x, y = lx.ones((batch, width)), lx.zeros((batch, width))
    objective, ad = losses.MSELoss(), lx.AutoTape()
    half = depth // 2

    def stepper(which: Callable[[int], bool]) -> Callable[[], object]:
        frozen, frozen_ps, frozen_st = model, ps, st
        names = [f"layer_{i + 1}" for i in range(depth) if which(i)]
        if names:
            frozen, frozen_ps, frozen_st = nn.freeze(model, ps, st, names)
        state = [training.TrainState(frozen, frozen_ps, frozen_st, optim.SGD(1e-3))]

        def step():
            _, loss, _, state[0] = training.single_train_step(ad, objective, (x, y), state[0])
            return loss

        return step

    whole, lower, upper = interleaved(
        stepper(lambda i: False), stepper(lambda i: i < half), stepper(lambda i: i >= half)
    )
    # Per layer a forward product, and backward one for the inputs and one for the weights; the first layer
    # needs no gradient of its input. Below the last trainable layer nothing is walked at all.
    products = 3 * depth - 1
    expected_lower = (depth + 2 * half - 1) / products
    expected_upper = (products - half) / products
    print(f"{f'step, {depth} of Dense({width}, {width}), batch {batch}':48s}{microseconds(whole)}")
    print(
        f"{'  lower half frozen':48s}{microseconds(lower)}   {lower[0] / whole[0]:.2f} of it, products alone {expected_lower:.2f}"
    )
    print(
        f"{'  upper half frozen':48s}{microseconds(upper)}   {upper[0] / whole[0]:.2f} of it, products alone {expected_upper:.2f}"
    )


def import_row() -> None:
    code = "import time, numpy; t = time.perf_counter(); import luxon; print(time.perf_counter() - t)"
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(11)
    ]
    print(f"{'import luxon, after numpy':48s}{microseconds((statistics.median(times), min(times)))}")


ROWS = {
    "setup": setup_row,
    "compute_gradients": gradients_row,
    "chain": chain_row,
    "debug": debug_row,
    "freeze": freeze_row,
    "import": import_row,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", help="parts of names; all by default")
    wanted = parser.parse_args().rows
    print(f"{'':48s}{'median':>13s}{'least':>14s}")
    for name, row in ROWS.items():
        if not wanted or any(part in name for part in wanted):
            row()


if __name__ == "__main__":
    main()
