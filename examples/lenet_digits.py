"""Handwritten digits with convolutions: LeNet's plan (LeCun et al. 1998) on images of 8 x 8 pixels.

Run it with `python examples/lenet_digits.py`; `--epochs 6` takes a few seconds. It trains on four fifths of
scikit-learn's digits (1,797 images), moved about by up to a pixel, and judges the network on the rest against a
support vector machine and nearest neighbours on the same split. The learning curve, the digits that it gets wrong and
the parameters are saved under output/.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import digits
import numpy as np
import show

import luxon as lx
from luxon import losses, nn, optim, training


def load_images() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Training and test images (n, 1, 8, 8), scaled to [0, 1], with their labels (n,)."""
    train, test = ((x.numpy().reshape(-1, 1, 8, 8), y.numpy()) for x, y in digits.load_data())
    return train, test


def baselines(train, test) -> dict[str, float]:
    """The fraction that scikit-learn's classifiers get right on the same split."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    (x, y), (seen, truth) = ((images.reshape(len(images), -1), labels) for images, labels in (train, test))
    kinds = {
        "support vectors": SVC(gamma=0.02, C=10.0),
        "nearest neighbours": KNeighborsClassifier(n_neighbors=3),
    }
    return {name: float(np.mean(kind.fit(x, y).predict(seen) == truth)) for name, kind in kinds.items()}


def make_model() -> nn.Chain:
    """Images (batch, 1, 8, 8) to logits of 10 classes: two stages of convolution and pooling, then dense layers."""
    return nn.Chain(
        features=nn.Chain(
            nn.Conv((3, 3), 1, 16, padding="same", use_bias=False),
            nn.BatchNorm(16, lx.relu),
            nn.Conv((3, 3), 16, 32, padding="same", use_bias=False),
            nn.BatchNorm(32, lx.relu),
            nn.MaxPool(2),
            nn.Conv((3, 3), 32, 64, padding="same", use_bias=False),
            nn.BatchNorm(64, lx.relu),
            nn.MaxPool(2),
        ),
        flatten=nn.FlattenLayer(),
        classifier=nn.Chain(
            nn.Dense(256, 96, lx.relu),
            nn.Dropout(0.4),
            nn.Dense(96, 64, lx.relu),
            nn.Dense(64, digits.CLASSES),
        ),
        name="lenet",
    )


def shifted(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every image moved by up to a pixel on each axis, with zeros where nothing comes from."""
    n, _, rows, columns = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    down, right = generator.integers(0, 3, (2, n, 1))
    down, right = down + np.arange(rows), right + np.arange(columns)
    return padded[np.arange(n)[:, None, None], 0, down[:, :, None], right[:, None, :]][:, None]


def accuracy(logits: lx.Tensor, y: np.ndarray) -> float:
    """The fraction of right answers."""
    return float(np.mean(lx.argmax(logits, axis=1).numpy() == y))


def save_figure(
    path: pathlib.Path, curve: list[float], accuracies: list[float], baseline: float, wrong
) -> None:
    """The learning curve, and test images that were taken for something else."""
    with show.figure(path, panels=2, size=(10.0, 4.0)) as (left, right):
        left.plot(curve, color="tab:blue")
        left.set(xlabel="epoch", ylabel="training loss", yscale="log")
        left.yaxis.label.set_color("tab:blue")
        errors = left.twinx()
        errors.plot(np.maximum(1 - np.asarray(accuracies), 1e-3), color="tab:orange")
        errors.axhline(1 - baseline, color="gray", linestyle="--", label="support vectors")
        errors.set_yscale("log")
        errors.set_ylabel("test error", color="tab:orange")
        errors.legend()
        images, labels, answers = (part[:6] for part in wrong)
        right.axis("off")
        if len(images):
            right.imshow(np.concatenate(list(images[:, 0]), axis=1), cmap="gray_r")
        taken = ", ".join(f"{label} for {answer}" for label, answer in zip(labels, answers, strict=True))
        right.set_title(f"taken {taken}" if taken else "all are right")


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    (x, y), (test_x, test_y) = load_images()
    reached = baselines((x, y), (test_x, test_y))
    model = make_model()
    print(nn.summary(model, (arguments.batch, 1, 8, 8)), "\n")

    per_epoch = len(x) // arguments.batch
    steps = arguments.epochs * per_epoch
    rate = optim.schedules.one_cycle(3e-3, steps + 1)
    ts = training.TrainState.create(0, model, optim.AdamW(rate, weight_decay=0.02))
    objective = losses.CrossEntropyLoss(label_smoothing=0.1)
    generator = np.random.default_rng(0)
    test = lx.asarray(test_x)
    curve, accuracies = [], []
    start = time.perf_counter()
    for epoch in range(1, arguments.epochs + 1):
        moved, order, total = shifted(x, generator), generator.permutation(len(x)), 0.0
        for index in np.split(order[: per_epoch * arguments.batch], per_epoch):
            batch = lx.asarray(moved[index]), lx.asarray(y[index])
            _, loss, _, ts = training.single_train_step(lx.AutoTape(), objective, batch, ts)
            total += float(loss)
        curve.append(total / per_epoch)
        logits, _ = model(test, ts.parameters, nn.testmode(ts.states))
        accuracies.append(accuracy(logits, test_y))
        show.progress(epoch, arguments.epochs, f"loss {curve[-1]:.4f}  test {accuracies[-1]:.1%}", every=5)
    seconds = time.perf_counter() - start

    print(f"\nloss      {show.sparkline(np.log(curve).tolist())}")
    print(f"accuracy  {show.sparkline(accuracies)}\n")
    answers = lx.argmax(logits, axis=1).numpy()
    missed = answers != test_y
    wrong = test_x[missed], test_y[missed], answers[missed]
    save_figure(arguments.output / "lenet_digits.png", curve, accuracies, reached["support vectors"], wrong)

    path = arguments.output / "lenet_digits.safetensors"
    lx.io.save(path, ps=ts.parameters, st=ts.states, model=model)
    saved = lx.io.load(path)
    again = accuracy(model(test, saved.ps, nn.testmode(saved.st))[0], test_y)
    print(f"parameters saved to {path}; loaded again they give {again:.2%}")
    if again != accuracies[-1]:
        raise SystemExit(f"the loaded parameters give {again:.2%}, not {accuracies[-1]:.2%}")
    print(f"{steps} steps in {seconds:.1f} s, {seconds / steps * 1e3:.2f} ms each")
    print(
        "baselines on the same split: " + ", ".join(f"{name} {value:.2%}" for name, value in reached.items())
    )
    print(f"test accuracy {accuracies[-1]:.2%}")
    return accuracies[-1]


if __name__ == "__main__":
    main()
