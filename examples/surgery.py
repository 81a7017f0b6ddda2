"""Model surgery on handwritten digits: freeze, replace, tie, find a NaN, fix it and go on.

A network first learns to tell even from odd digits. Its body is then frozen, its head replaced for the ten
digits, two of its layers tied, and it is fine-tuned. On the way a bad batch plants a NaN; the training loop
notices, locates it, repairs the data and resumes from the last good state.

Run it with `python examples/surgery.py`.
"""

from __future__ import annotations

import argparse

import numpy as np
from digits import load_data

import luxon as lx
from luxon import losses, nn, optim, training


def make_model(classes: int) -> nn.Chain:
    """64 pixels to some classes, through a body with two layers of one size."""
    return nn.Chain(
        body=nn.Chain(
            nn.Dense(64, 64, lx.relu),
            nn.SkipConnection(nn.Dense(64, 64, lx.relu), lx.add),
            nn.SkipConnection(nn.Dense(64, 64, lx.relu), lx.add),
            nn.BatchNorm(64),
        ),
        head=nn.Dense(64, classes),
    )


def accuracy(ts: training.TrainState, data: tuple[lx.Tensor, lx.Tensor]) -> float:
    """The fraction of right answers in testing mode."""
    x, y = data
    logits, _ = ts.model(x, ts.parameters, nn.testmode(ts.states))
    return float(lx.mean(lx.astype(lx.argmax(logits, axis=1) == y, lx.float32)))


def batches(data: tuple[lx.Tensor, lx.Tensor], size: int, seed: int):
    """The data in random order, in batches."""
    x, y = data
    order = lx.random.permutation(lx.random.key(seed), x.shape[0])
    for first in range(0, x.shape[0] - size + 1, size):
        index = order[first : first + size]
        yield lx.take(x, index, axis=0), lx.take(y, index, axis=0)


objective = losses.CrossEntropyLoss()


def train(ts: training.TrainState, data, epochs: int) -> training.TrainState:
    """Some epochs; stops with the error that says where a NaN is."""
    for epoch in range(epochs):
        for batch in batches(data, 64, epoch):
            _, loss, _, after = training.single_train_step(lx.AutoTape(), objective, batch, ts)
            if not np.isfinite(float(loss)):
                error = training.locate_nonfinite(lx.AutoTape(), objective, batch, ts)
                raise error if error is not None else FloatingPointError(f"the loss is {float(loss)}")
            ts = after
    return ts


def title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    epochs = parser.parse_args().epochs
    train_data, test_data = load_data()

    def even_or_odd(data):
        return data[0], data[1] % 2

    title("1. Learn even and odd")
    ts = training.TrainState.create(0, make_model(2), optim.Adam(2e-3))
    print(ts.model)
    ts = train(ts, even_or_odd(train_data), epochs)
    print(f"test accuracy {accuracy(ts, even_or_odd(test_data)):.1%} after {ts.step} steps")

    title("2. Replace the head")

    def new_head(layer, ps, st, path):
        if path != "model.head":
            return layer, ps, st
        layer = nn.Dense(64, 10)
        return layer, *nn.setup(1, layer)

    model, ps, st = nn.layer_map(new_head, ts.model, ts.parameters, ts.states)
    print(f"head: {ts.model.head!r} is now {model.head!r}")

    title("3. Tie two layers")
    before = nn.parameter_length(ps)
    ps = nn.share_parameters(ps, [["body.layer_2", "body.layer_3"]])
    print(f"{before:,} parameters are now {nn.parameter_length(ps):,}: {lx.tree.ties(ps)}")

    title("4. Freeze the body")
    ts = training.freeze(training.TrainState(model, ps, st, optim.Adam(5e-3)), "body.**")
    print(ts)
    print(f"the optimiser keeps moments of {', '.join(ts.optimizer_state.exp_avg.paths())}")
    ts = train(ts, train_data, epochs)
    print(f"test accuracy {accuracy(ts, test_data):.1%} with only the head trained")

    title("5. Thaw and fine-tune, with a broken pixel in the data")
    ts = training.adjust(training.unfreeze(ts), 1e-3)
    x, y = train_data
    broken = x.at[100, 20].set(lx.nan), y
    try:
        train(ts, broken, epochs)
        raise SystemExit("the NaN went unnoticed")
    except nn.NonFiniteError as error:
        print(f"found: {error}")
        print(f"       location {error.location}, place {error.place}, index {error.index}")

    title("6. Repair and resume")
    repaired = lx.nan_to_num(broken[0]), y
    ts = train(ts, repaired, epochs)
    first, second = ts.parameters.body.layer_2.weight, ts.parameters.body.layer_3.weight
    print(f"the two layers are still one: {first is second}")
    result = accuracy(ts, test_data)
    print(f"test accuracy {result:.1%} after {ts.step} steps")
    return result


if __name__ == "__main__":
    main()
