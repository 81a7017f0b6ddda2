"""A small transformer that learns to write, one character at a time.

Run it with `python examples/char_lm.py`; `--small` takes ten seconds. The text ships with Python: the language
reference that `help()` shows, the Zen, and the licence. The model is a causal transformer before whose parts is
normalised; the question is how many bits it needs for a character of text that it has not seen, against what
counting characters (unigram) and pairs of characters (bigram) in the training text needs.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import importlib
import importlib.util
import io
import math
import pathlib
import time

import numpy as np
import show

import luxon as lx
from luxon import losses, nn, optim, training


def load_text() -> str:
    """Text that ships with Python, in printable ASCII."""
    from pydoc_data.topics import topics

    with contextlib.redirect_stdout(io.StringIO()):
        zen = codecs.decode(importlib.import_module("this").s, "rot13")
    library = pathlib.Path(contextlib.__file__).parent
    licences = [path.read_text(errors="replace") for path in library.glob("LICENSE*")]
    text = "\n".join([zen, *licences, *(topics[name] for name in sorted(topics))])
    return "".join(character for character in text if character == "\n" or " " <= character <= "~")


def counted_bits(train: np.ndarray, test: np.ndarray, size: int) -> tuple[float, float]:
    """Bits a character that counts of characters, and of pairs, give for the test text (one added to each)."""
    singles = np.bincount(train, minlength=size) + 1.0
    pairs = np.ones((size, size))
    np.add.at(pairs, (train[:-1], train[1:]), 1.0)
    unigram = -np.log2(singles / singles.sum())[test[1:]].mean()
    bigram = -np.log2(pairs / pairs.sum(1, keepdims=True))[test[:-1], test[1:]].mean()
    return float(unigram), float(bigram)


def make_model(size: int, dim: int, heads: int, layers: int, context: int) -> nn.Chain:
    """Characters (batch, time) to logits of the next ones (batch, time, size)."""

    def residual(*parts: nn.Layer) -> nn.Layer:
        return nn.SkipConnection(nn.Chain(nn.LayerNorm(dim), *parts), lx.add)

    @nn.compact(table=nn.param(lx.init.normal(std=0.02), (context, dim)))
    def positions(m, x):
        return x + m.table[: x.shape[1]]

    blocks = [
        nn.Chain(
            attention=residual(nn.MultiHeadAttention(dim, heads, causal=True)),
            perceptron=residual(nn.Dense(dim, 4 * dim, lx.gelu), nn.Dense(4 * dim, dim)),
        )
        for _ in range(layers)
    ]
    return nn.Chain(
        nn.Embedding(size, dim, init_weight=lx.init.normal(std=0.02)),
        positions,
        blocks,
        nn.LayerNorm(dim),
        nn.Dense(dim, size, use_bias=False),
        name="char_lm",
    )


def batches(text: np.ndarray, first: np.ndarray, context: int) -> tuple[lx.Tensor, lx.Tensor]:
    """Pieces of the text from the given places, and the same one character on."""
    pieces = text[first[:, None] + np.arange(context + 1)]
    return lx.asarray(pieces[:, :-1]), lx.asarray(pieces[:, 1:])


def bits(model, ps, st, text: np.ndarray, context: int) -> float:
    """Mean bits a character of a text cut into pieces."""
    total, seen = 0.0, 0
    for start in range(0, len(text) - context - 1, 64 * context):
        first = np.arange(start, min(start + 64 * context, len(text) - context - 1), context)
        x, y = batches(text, first, context)
        total += float(losses.cross_entropy(model(x, ps, st)[0], y)) * len(first)
        seen += len(first)
    return total / seen / math.log(2.0)


def write(model, ps, st, start: list[int], length: int, context: int) -> list[int]:
    """The start continued by characters drawn from the model, somewhat cooler than it is."""
    generator = np.random.default_rng(0)
    text = list(start)
    for _ in range(length):
        logits, _ = model(lx.asarray([text[-context:]]), ps, st)
        weights = lx.softmax(logits[0, -1] / 0.7).numpy().astype(np.float64)
        text.append(int(generator.choice(len(weights), p=weights / weights.sum())))
    return text


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a model and a training of ten seconds")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output"))
    arguments = parser.parse_args()
    dim, heads, layers, context, batch, steps = (
        (48, 4, 2, 32, 16, 600) if arguments.small else (128, 4, 4, 128, 16, 1500)
    )
    steps = arguments.steps or steps

    text = load_text()
    characters = sorted(set(text))
    numbers = np.asarray([characters.index(character) for character in text])
    train, test = numbers[: len(numbers) * 9 // 10], numbers[len(numbers) * 9 // 10 :][:20_000]
    unigram, bigram = counted_bits(train, test, len(characters))
    print(f"{len(text):,} characters, {len(characters)} different ones")

    model = make_model(len(characters), dim, heads, layers, context)
    print(model, "\n")
    ts = training.TrainState.create(0, model, optim.AdamW(3e-3 if arguments.small else 1e-3))
    generator = np.random.default_rng(0)
    curve = []
    start = time.perf_counter()
    for step in range(1, steps + 1):
        data = batches(train, generator.integers(0, len(train) - context - 1, batch), context)
        _, loss, _, ts = training.single_train_step(lx.AutoTape(), losses.CrossEntropyLoss(), data, ts)
        curve.append(float(loss) / math.log(2.0))
        if step % 25 == 0 or step == steps:
            text_now = f"{np.mean(curve[-25:]):.3f} bits a character"
            show.progress(step, steps, text_now, every=100)
    seconds = time.perf_counter() - start

    print(f"\nbits  {show.sparkline(curve)}\n")
    if importlib.util.find_spec("matplotlib"):
        with show.figure(arguments.output / "char_lm.png") as axes:
            axes.plot(curve, linewidth=0.7, label="training")
            axes.axhline(unigram, color="gray", linestyle=":", label="counts of characters")
            axes.axhline(bigram, color="gray", linestyle="--", label="counts of pairs")
            axes.set(xlabel="step", ylabel="bits a character")
            axes.legend()
    prompt = [characters.index(character) for character in "The "]
    sample = write(model, ts.parameters, ts.states, prompt, 300, context)
    print("".join(characters[number] for number in sample))
    result = bits(model, ts.parameters, ts.states, test, context)
    print(f"\n{steps} steps in {seconds:.1f} s, {seconds / steps * 1e3:.1f} ms each")
    print(f"baselines on the test text: characters {unigram:.3f}, pairs {bigram:.3f} bits a character")
    print(f"test {result:.3f} bits a character")
    return result


if __name__ == "__main__":
    main()
