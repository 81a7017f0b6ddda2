"""An LSTM that foretells sunspots a year ahead.

Run it with `python examples/lstm_sunspots.py` where statsmodels is installed, which carries the yearly numbers of
sunspots from 1700 on; `--small` takes a few seconds. The model reads the last years and says the next one. It is
trained on the years before 1940 and judged on those since, against persistence (next year is like this one)
and against a linear rule of the last two years, which is what sunspots were first described with (Yule 1927).
"""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import time

import numpy as np
import show

import luxon as lx
from luxon import losses, nn, optim, training

SPLIT = 1940


def load_series() -> tuple[np.ndarray, np.ndarray]:
    """Years, and their numbers of sunspots."""
    try:
        from statsmodels.datasets import sunspots
    except ImportError:
        raise SystemExit("the series comes with statsmodels: pip install statsmodels") from None
    table = sunspots.load_pandas().data
    return table["YEAR"].to_numpy().astype(int), table["SUNACTIVITY"].to_numpy(dtype=np.float64)


def windows(series: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Every stretch of so many years (n, length, 1), and the year after each (n, 1)."""
    pieces = np.lib.stride_tricks.sliding_window_view(series, length + 1)
    return pieces[:, :-1, None], pieces[:, -1:]


def make_model(hidden: int) -> nn.Chain:
    """Years (batch, time, 1) to the next one (batch, 1), as a change of the last."""

    def last_year_and(change, x):
        return x[:, -1] + change

    change = nn.Chain(nn.Recurrence(nn.LSTMCell(1, hidden)), nn.Dense(hidden, 1))
    return nn.Chain(nn.SkipConnection(change, last_year_and), name="sunspots")


def error(prediction: np.ndarray, truth: np.ndarray) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean((prediction - truth) ** 2)))


def linear_rule(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The best linear prediction from the last two years, fitted to (x, y)."""

    def features(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x[:, -2:, 0], np.ones((len(x), 1))], axis=1)

    return features(at) @ np.linalg.lstsq(features(x), y, rcond=None)[0]


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a training of a few seconds")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output"))
    arguments = parser.parse_args()
    steps = arguments.steps or (150 if arguments.small else 400)
    length, hidden, batch = 22, 24, 32

    years, series = load_series()
    # Square roots are about as uncertain in strong years as in weak ones.
    x, y = windows(np.sqrt(series), length)
    known = np.searchsorted(years[length:], SPLIT)
    scale, middle = x[:known].std(), x[:known].mean()
    x, y = (x - middle) / scale, (y - middle) / scale
    model = make_model(hidden)
    print(model, "\n")
    ts = training.TrainState.create(0, model, optim.AdamW(5e-3, weight_decay=0.05))
    generator = np.random.default_rng(0)
    curve = []
    start = time.perf_counter()
    for step in range(1, steps + 1):
        chosen = generator.integers(0, known, batch)
        # A little noise on what is read keeps the model from learning two centuries by heart.
        read = x[chosen] + 0.1 * generator.standard_normal((batch, length, 1))
        data = lx.asarray(read.astype(np.float32)), lx.asarray(y[chosen].astype(np.float32))
        _, loss, _, ts = training.single_train_step(lx.AutoTape(), losses.MSELoss(), data, ts)
        curve.append(float(loss))
        if step % 25 == 0 or step == steps:
            show.progress(step, steps, f"error {np.mean(curve[-25:]) ** 0.5:.4f}", every=50)
    seconds = time.perf_counter() - start

    later = slice(known, None)
    truth = series[length:][later]
    answer = model(lx.asarray(x[later].astype(np.float32)), ts.parameters, ts.states)[0].numpy()

    def numbers(scaled: np.ndarray) -> np.ndarray:
        return np.maximum(scaled[:, 0] * scale + middle, 0.0) ** 2

    predicted = numbers(answer)
    persistence = error(series[length - 1 : -1][later], truth)
    linear = error(numbers(linear_rule(x[:known], y[:known], x[later])), truth)
    print(f"\nloss       {show.sparkline(np.log(curve).tolist())}")
    print(f"sunspots   {show.sparkline(truth.tolist(), 70)}")
    print(f"predicted  {show.sparkline(predicted.tolist(), 70)}\n")
    if importlib.util.find_spec("matplotlib"):
        with show.figure(arguments.output / "lstm_sunspots.png", size=(9.0, 4.0)) as axes:
            axes.plot(years, series, color="gray", linewidth=0.8, label="sunspots")
            axes.plot(years[length:][later], predicted, color="tab:orange", label="predicted a year ahead")
            axes.axvline(SPLIT, color="black", linewidth=0.5)
            axes.set(xlabel="year", ylabel="sunspots")
            axes.legend()
    print(f"{steps} steps in {seconds:.1f} s, {seconds / steps * 1e3:.2f} ms each")
    print(f"baselines since {SPLIT}: persistence {persistence:.1f}, linear in two years {linear:.1f}")
    result = error(predicted, truth)
    print(f"error since {SPLIT}: {result:.1f} sunspots")
    return result


if __name__ == "__main__":
    main()
