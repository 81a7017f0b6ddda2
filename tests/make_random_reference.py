"""Write the reference numbers that the Rust kernels of `cpu/random` are tested against.

Run with JAX installed (made with 0.10.2): `python tests/make_random_reference.py rust/luxon/tests/data/random_jax.txt`.

Each line is a case: what, dtype, key (two words), parameters separated by commas (`-` for none), number of elements,
and the elements. Words and keys are hexadecimal; floats are the hexadecimal bits of their type. A number of elements
above `LISTED` is followed by one checksum: the sum of bits times 2 index + 1, modulo 2^64.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jax.extend.random import threefry2x32_p

LISTED = 400
SEEDS = (0, 1, 42, 0xFFFFFFFF, (7 << 32) + 5, 2**63 - 1)
SIZES = (0, 1, 2, 7, 63, 64, 65, 129)
LARGE = 70_003


def hexadecimal(values: Any) -> list[int]:
    """The bits of each element as unsigned integers."""
    array = np.asarray(values).reshape(-1)
    unsigned = np.dtype(f"u{array.dtype.itemsize}")
    return [int(bits) for bits in array.view(unsigned)]


def line(what: str, key: Any, parameters: str, values: Any) -> str:
    """One case of the file."""
    array = np.asarray(values)
    words = hexadecimal(array)
    if len(words) > LISTED:
        bits = np.asarray(words, dtype=np.uint64)
        words_or_sum = [int((bits * (2 * np.arange(len(words), dtype=np.uint64) + 1)).sum(dtype=np.uint64))]
    else:
        words_or_sum = words
    first, second = hexadecimal(random.key_data(key))
    head = f"{what} {array.dtype} {first:x},{second:x} {parameters or '-'} {len(words)}"
    return " ".join([head, *(f"{word:x}" for word in words_or_sum)])


def hash_words(words: Any, high: Any, low: Any) -> Any:
    """Threefry of arrays of counters under the key `words`: a pair of arrays."""
    return threefry2x32_p.bind(words[0], words[1], high, low)  # type: ignore[no-untyped-call]


def hashed(words: Any, high: int, low: int) -> Any:
    """Threefry of one counter under the key `words`: the next key."""
    return jnp.concatenate(hash_words(words, jnp.asarray([high], jnp.uint32), jnp.asarray([low], jnp.uint32)))


def folded_string(key: Any, name: str) -> Any:
    """The rule of `Key::fold_in_str`, which is luxon's own, on JAX's hash."""
    data = name.encode()
    inverted = 2**64 - 1 - len(data)
    words = hashed(random.key_data(key), inverted >> 32, inverted & 0xFFFFFFFF)
    for start in range(0, len(data), 8):
        group = int.from_bytes(data[start : start + 8].ljust(8, b"\0"), "little")
        words = hashed(words, group >> 32, group & 0xFFFFFFFF)
    return words


def cases() -> list[str]:
    """Every case of the file."""
    lines: list[str] = []
    for seed in SEEDS:
        lines.append(line("key", random.key(seed), f"{seed:x}", random.key_data(random.key(seed))))
    for seed in (0, (7 << 32) + 5):
        key = random.key(seed)
        for count in (1, 2, 5, 70):
            lines.append(line("split", key, "", random.key_data(random.split(key, count))))
        for data in (0, 1, 77, 2**32 - 1):
            folded = random.fold_in(key, np.uint32(data))
            lines.append(line("fold_in", key, f"{data}", random.key_data(folded)))
        for name in (
            "",
            "a",
            "layer_1.weight",
            "layer_1",
            "encoder.layers.0.attention.query.weight",
            "größe",
        ):
            lines.append(line("fold_in_str", key, f"[{name}]", folded_string(key, name)))
        # Counters that no array of a test reaches, around the carry of the lower word.
        counters = np.array([2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1, 5 * 2**32 + 3, 2**64 - 1], np.uint64)
        words = random.key_data(key)
        top, bottom = (counters >> np.uint64(32)).astype(np.uint32), counters.astype(np.uint32)
        pair = hash_words(words, jnp.asarray(top), jnp.asarray(bottom))
        listed = ",".join(f"{int(counter):x}" for counter in counters)
        lines.append(line("words", key, listed, np.stack([np.asarray(part) for part in pair], 1)))

    generators = [(random.key(seed), SIZES[place % len(SIZES)] or 5) for place, seed in enumerate(SEEDS)]
    sweep = [(random.key(9), size) for size in SIZES] + [(random.key(2**40 + 1), LARGE)]
    for key, size in generators + sweep:
        for dtype in ("uint8", "uint16", "uint32", "uint64"):
            lines.append(line("bits", key, "", random.bits(key, (size,), dtype)))
    for key, size in generators + [sweep[0], sweep[-1]]:
        for dtype in ("float32", "float64", "float16", "bfloat16"):
            for low, high in ((0.0, 1.0), (-0.3, 1.37), (-1e3, 3e-5)):
                values = random.uniform(key, (size,), dtype, low, high)
                lines.append(line("uniform", key, f"{low},{high}", values))
            for probability in (0.0, 0.1, 0.5, 0.9, 1.0):
                values = random.bernoulli(key, jnp.asarray(probability, dtype), (size,)).astype(np.uint8)
                lines.append(line(f"bernoulli_{dtype}", key, f"{probability}", values))
        for dtype, low, high in (
            ("int32", 0, 10),
            ("int32", -7, 1_000_003),
            ("int32", 5, 5),
            ("int32", 9, -9),
            ("int32", 0, 1),
            ("int32", -(2**31), 2**31),
            ("int32", -(2**31), 2**31 - 1),
            ("int32", 0, 2**31),
            ("int32", 0, 65_536),
            ("int64", 0, 10),
            ("int64", -(2**40), 2**50 + 12_345),
            ("int64", -(2**63), 2**63 - 1),
            ("int64", 3, 3),
            ("uint8", 0, 256),
            ("uint8", 3, 200),
            ("uint8", -50, 1000),
        ):
            lines.append(
                line("randint", key, f"{low},{high}", random.randint(key, (size,), low, high, dtype))
            )
    for seed, size in ((0, 0), (0, 1), (3, 2), (2**35, 10), (1, 255), (1, 300), (5, 1700), (6, LARGE)):
        key = random.key(seed)
        lines.append(line("permutation", key, "", random.permutation(key, size)))

    for key, size in ((random.key(0), 65), (random.key((7 << 32) + 5), 130), (random.key(4), 0)):
        for dtype in ("float32", "float64"):
            lines.append(line("normal", key, "", random.normal(key, (size,), dtype)))
            lines.append(line("exponential", key, "", random.exponential(key, (size,), dtype)))
            lines.append(line("gumbel", key, "", random.gumbel(key, (size,), dtype)))
            for lower, upper in ((-2.0, 2.0), (-0.5, 3.0), (1.0, 1.5), (-np.inf, 0.7), (-np.inf, np.inf)):
                values = random.truncated_normal(key, lower, upper, (size,), dtype)
                lines.append(line("truncated_normal", key, f"{lower},{upper}", values))
    for seed, classes, rows, repeats in ((0, 10, 30, 1), (2**33 + 1, 3, 5, 20), (5, 100, 7, 3), (6, 1, 4, 1)):
        key = random.key(seed)
        for dtype in ("float32", "float64"):
            # Logits that the test can make again exactly: (class * 7 + row * 3) % 11 / 4.
            logits = ((np.arange(classes) * 7 + np.arange(rows)[:, None] * 3) % 11 / 4).astype(dtype)
            drawn = random.categorical(key, jnp.asarray(logits), shape=(repeats, rows))
            lines.append(line(f"categorical_{dtype}", key, f"{classes},{rows}", drawn.astype(np.int64)))
    return lines


def main() -> None:
    """Write the file named on the command line."""
    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    if not jax.config.jax_threefry_partitionable:  # type: ignore[attr-defined]
        raise SystemExit("the reference needs jax_threefry_partitionable=True, JAX's default")
    Path(sys.argv[1]).write_text("\n".join(cases()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
