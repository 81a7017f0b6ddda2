"""Handwritten digits: a small network trained from scratch, start to finish.

Run it with `make digits`, or `python examples/digits.py --epochs 60`. It trains on four fifths of
scikit-learn's digits (1,797 images of 8 x 8 pixels), reports the accuracy on the rest, saves the learning
curve and the parameters under output/, and shows that the saved parameters give the same accuracy.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import numpy as np
import show

import luxon as lx
from luxon import losses, nn, optim, training

CLASSES = 10


def load_data() -> tuple[tuple[lx.Tensor, lx.Tensor], tuple[lx.Tensor, lx.Tensor]]:
    """Training and test images (n, 64), scaled to [0, 1], with their labels (n,)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = (images[order] / 16).astype(np.float32), labels[order].astype(np.int64)
    held_out = len(images) // 5
    test = lx.asarray(images[:held_out]), lx.asarray(labels[:held_out])
    train = lx.asarray(images[held_out:]), lx.asarray(labels[held_out:])
    return train, test


def make_model() -> nn.Chain:
    """64 pixels to 10 classes."""
    return nn.Chain(
        nn.Dense(64, 128),
        nn.BatchNorm(128, lx.relu),
        nn.Dropout(0.2),
        nn.Dense(128, 64),
        nn.BatchNorm(64, lx.relu),
        nn.Dropout(0.2),
        nn.Dense(64, CLASSES),
        name="digits",
    )


def objective(model, ps, st, batch):
    """Cross entropy, and how many of the batch were right."""
    x, y = batch
    logits, st = model(x, ps, st)
    right = lx.sum(lx.argmax(lx.stop_gradient(logits), axis=1) == y)
    return losses.cross_entropy(logits, y), st, {"right": right}


def accuracy(model, ps, st, data) -> float:
    """The fraction of right answers in testing mode."""
    x, y = data
    logits, _ = model(x, ps, nn.testmode(st))
    return float(lx.mean(lx.astype(lx.argmax(logits, axis=1) == y, lx.float32)))


def save_curve(path: pathlib.Path, losses_seen: list[float], accuracies: list[float]) -> None:
    """The learning curve as a PNG."""
    with show.figure(path) as left:
        left.plot(losses_seen, color="tab:blue")
        left.set(xlabel="epoch", ylabel="training loss", yscale="log")
        left.yaxis.label.set_color("tab:blue")
        right = left.twinx()
        right.plot(accuracies, color="tab:orange")
        right.set_ylabel("test accuracy", color="tab:orange")


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    (x, y), test = load_data()
    model = make_model()
    print(model)
    print()
    print(nn.summary(model, (arguments.batch, 64)))
    print()

    ts = training.TrainState.create(0, model, optim.Adam(2e-3))
    key = lx.random.key(1)
    curve, accuracies = [], []
    start = time.perf_counter()
    for epoch in range(1, arguments.epochs + 1):
        order = lx.random.permutation(lx.random.fold_in(key, epoch), len(x))
        total, right, seen = 0.0, 0, 0
        for first in range(0, len(x) - arguments.batch + 1, arguments.batch):
            index = order[first : first + arguments.batch]
            batch = lx.take(x, index, axis=0), lx.take(y, index, axis=0)
            _, loss, stats, ts = training.single_train_step(lx.AutoTape(), objective, batch, ts)
            total, right, seen = total + float(loss), right + int(stats["right"]), seen + 1
        curve.append(total / seen)
        accuracies.append(accuracy(model, ts.parameters, ts.states, test))
        fractions = f"train {right / (seen * arguments.batch):.1%}  test {accuracies[-1]:.1%}"
        show.progress(epoch, arguments.epochs, f"loss {curve[-1]:.4f}  {fractions}")
    seconds = time.perf_counter() - start

    print(f"\nloss      {show.sparkline(curve)}")
    print(f"accuracy  {show.sparkline(accuracies)}\n")
    save_curve(arguments.output / "digits.png", curve, accuracies)

    path = arguments.output / "digits.safetensors"
    lx.io.save(path, ps=ts.parameters, st=ts.states, model=model)
    saved = lx.io.load(path)
    again = accuracy(model, saved.ps, saved.st, test)
    print(f"parameters saved to {path}; loaded again they give {again:.2%}")
    if again != accuracies[-1]:
        raise SystemExit(f"the loaded parameters give {again:.2%}, not {accuracies[-1]:.2%}")
    print(f"test accuracy {accuracies[-1]:.2%} after {ts.step} steps in {seconds:.1f} s")
    return accuracies[-1]


if __name__ == "__main__":
    main()
