"""The networks that a device is checked and timed on: a perceptron, LeNet-5, an LSTM and a small transformer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import luxon as lx
from luxon import losses, nn, optim, training

Batch = tuple[Any, Any]


@dataclass(frozen=True)
class Task:
    """A model with its optimiser and a batch; `small` ones are for trying the check itself out."""

    name: str
    model: nn.Layer
    optimizer: optim.Rule
    batch: Callable[[np.random.Generator], Batch]


def mlp(small: bool) -> Task:
    inputs, width, count = (20, 16, 8) if small else (784, 512, 128)
    layers = [nn.Dense(inputs, width, lx.relu), nn.Dropout(0.1), nn.Dense(width, width, lx.relu)]
    model = nn.Chain(*layers, nn.Dense(width, 10))
    return Task("MLP 784-512-512-10, batch 128", model, optim.Adam(1e-3), images((inputs,), count))


def lenet(small: bool) -> Task:
    side, count = (16, 2) if small else (28, 128)
    flat = 16 * ((side - 4) // 2 - 4) // 2 * (((side - 4) // 2 - 4) // 2)
    model = nn.Chain(
        nn.Conv((5, 5), 1, 6, lx.relu),
        nn.MaxPool((2, 2)),
        nn.Conv((5, 5), 6, 16, lx.relu),
        nn.MaxPool((2, 2)),
        nn.FlattenLayer(),
        nn.Dense(flat, 120, lx.relu),
        nn.Dropout(0.1),
        nn.Dense(120, 84, lx.relu),
        nn.Dense(84, 10),
    )
    return Task("LeNet-5, batch 128", model, optim.Adam(1e-3), images((1, side, side), count))


def lstm(small: bool) -> Task:
    features, hidden, steps, count = (3, 4, 5, 2) if small else (32, 128, 64, 32)
    model = nn.Chain(nn.Recurrence(nn.LSTMCell(features, hidden)), nn.Dropout(0.1), nn.Dense(hidden, 10))
    return Task("LSTM 32-128, 64 steps, batch 32", model, optim.Adam(1e-3), images((steps, features), count))


def transformer(small: bool) -> Task:
    d, heads, depth, context, count, words = (8, 2, 1, 6, 2, 11) if small else (128, 4, 4, 128, 16, 96)

    def residual(*layers: nn.Layer) -> nn.Layer:
        return nn.SkipConnection(nn.Chain(nn.LayerNorm((d,)), *layers), lx.add)

    blocks = [
        nn.Chain(
            residual(nn.MultiHeadAttention(d, heads, causal=True), nn.Dropout(0.1)),
            residual(nn.Dense(d, 4 * d, lx.gelu), nn.Dense(4 * d, d), nn.Dropout(0.1)),
        )
        for _ in range(depth)
    ]
    model = nn.Chain(nn.Embedding(words, d), *blocks, nn.LayerNorm((d,)), nn.Dense(d, words, use_bias=False))

    def batch(rng: np.random.Generator) -> Batch:
        tokens = rng.integers(0, words, (count, context + 1)).astype("i4")
        return lx.asarray(tokens[:, :-1]), lx.asarray(tokens[:, 1:])

    name = "transformer 4 x 128, context 128, batch 16"
    return Task(name, model, optim.AdamW(1e-3, weight_decay=0.01), batch)


def images(shape: tuple[int, ...], count: int) -> Callable[[np.random.Generator], Batch]:
    """Random inputs of that shape and one of ten classes each."""

    def batch(rng: np.random.Generator) -> Batch:
        x = rng.standard_normal((count, *shape)).astype("f4")
        return lx.asarray(x), lx.asarray(rng.integers(0, 10, count).astype("i4"))

    return batch


TASKS: list[Callable[[bool], Task]] = [mlp, lenet, lstm, transformer]


class Trainer:
    """Training of a task on a device, a step a call."""

    def __init__(self, task: Task, device: lx.Device, seed: int = 0) -> None:
        ps, st = lx.to_device(nn.setup(seed, task.model), device)
        self.state = training.TrainState(task.model, ps, st, task.optimizer)
        self.batch = lx.to_device(task.batch(np.random.default_rng(seed)), device)
        self.objective, self.ad = losses.CrossEntropyLoss(), lx.AutoTape()

    def step(self) -> Any:
        """One step; its loss, still on the device."""
        _, loss, _, self.state = training.single_train_step(
            self.ad, self.objective, self.batch, self.state, donate=True
        )
        return loss
