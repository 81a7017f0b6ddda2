"""The cases, and the data that every library gets."""

from __future__ import annotations

import numpy as np

CASES = [
    "add 4",
    "add 4, tracked x100",
    "grad of 10 ops",
    "matmul f32 64",
    "matmul f32 256",
    "matmul f32 1024",
    "matmul f32 2048",
    "matmul f64 1024",
    "matmul AtB 512x784x2048",
    "matmul ABt 512x784x2048",
    "exp 1e7",
    "tanh 1e7",
    "log 1e7",
    "chain 1e7",
    "softmax 4096x4096",
    "layernorm fb 4096x1024",
    "rmsnorm fb 4096x1024",
    "batchnorm fb 32x64x56x56",
    "groupnorm fb 32x64x56x56",
    "instancenorm fb 32x64x56x56",
    "embedding fb 50000x256, 8192",
    "sum axis 0 4096x4096",
    "sum axis 1 4096x4096",
    "transpose copy 4096x4096",
    "conv y 32x64x32x32 k3 64",
    "conv dx 32x64x32x32 k3 64",
    "conv dw 32x64x32x32 k3 64",
    "conv y 32x64x32x32 k3 depthwise",
    "conv dw 32x64x32x32 k3 depthwise",
    "conv y 128x1x28x28 k5 6",
    "conv y 128x6x14x14 k5 16",
    "conv dx 128x6x14x14 k5 16",
    "conv dw 128x6x14x14 k5 16",
    "step 2-32-32-1",
    "step 64-256-256-10",
    "lstm step 32-128 64x32",
    "transformer step 128x4",
    "attention 4096",
]


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def matrices(case: str) -> tuple[np.ndarray, np.ndarray]:
    """The operands of a matrix product, as they are stored."""
    random = generator()
    kind, size = case.split()[1:]
    if kind in ("f32", "f64"):
        n = int(size)
        shapes, dtype = ((n, n), (n, n)), np.float32 if kind == "f32" else np.float64
    else:
        batch, inputs, outputs = (int(part) for part in size.split("x"))
        # (batch, in)^T (batch, out), and (batch, out) (in, out)^T: the products of a backward pass.
        shapes = (
            ((batch, inputs), (batch, outputs)) if kind == "AtB" else ((batch, outputs), (inputs, outputs))
        )
        dtype = np.float32
    return tuple(random.standard_normal(shape).astype(dtype) for shape in shapes)


GROUPS = 8


def normalisation(case: str) -> tuple[str, list[np.ndarray]]:
    """The kind of norm, and x, weight, bias (none for rmsnorm) and the cotangent of the result."""
    random = generator()
    kind, _, sizes = case.split()
    shape = tuple(int(size) for size in sizes.split("x"))
    affine = shape[1:2]
    shapes = (shape, affine, shape) if kind == "rmsnorm" else (shape, affine, affine, shape)
    return kind, [random.standard_normal(shape).astype("f4") for shape in shapes]


def table(case: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weight of an embedding, indices, and the cotangent of the rows."""
    random = generator()
    sizes, count = case.removeprefix("embedding fb ").split(", ")
    n, dim = (int(size) for size in sizes.split("x"))
    rows = random.standard_normal((int(count), dim)).astype("f4")
    return random.standard_normal((n, dim)).astype("f4"), random.integers(0, n, int(count)), rows


def convolution(case: str) -> tuple[str, np.ndarray, np.ndarray, np.ndarray, int, int]:
    """What is wanted, images, weights, the output's cotangent, padding (that keeps the size, but k5 of 14) and groups."""
    random = generator()
    _, wanted, images, kernel, filters = case.split()
    batch, channels, *size = (int(part) for part in images.split("x"))
    k = int(kernel[1:])
    groups = channels if filters == "depthwise" else 1
    filters = channels if filters == "depthwise" else int(filters)
    padding = 0 if size == [14, 14] else k // 2
    shapes = (
        (batch, channels, *size),
        (filters, channels // groups, k, k),
        (batch, filters, *(side + 2 * padding - k + 1 for side in size)),
    )
    return wanted, *(random.standard_normal(shape).astype("f4") for shape in shapes), padding, groups


def network(case: str) -> tuple[list[int], list[np.ndarray], np.ndarray, np.ndarray, str, str]:
    """Sizes, parameters (weights (in, out) and biases in turn), inputs, targets, activation and loss."""
    random = generator()
    sizes = [int(size) for size in case.split()[1].split("-")]
    small = sizes[-1] == 1
    batch = 64 if small else 128
    parameters = []
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        parameters.append(
            (random.standard_normal((inputs, outputs)) * (2 / (inputs + outputs)) ** 0.5).astype("f4")
        )
        parameters.append((random.standard_normal(outputs) * 0.01).astype("f4"))
    x = random.standard_normal((batch, sizes[0])).astype("f4")
    y = random.standard_normal((batch, 1)).astype("f4") if small else random.integers(0, sizes[-1], batch)
    return sizes, parameters, x, y, "tanh" if small else "relu", "mse" if small else "cross entropy"


def sequences(case: str) -> tuple[int, int, np.ndarray, np.ndarray]:
    """Features, hidden size, inputs (batch, time, features) and targets (batch, 1)."""
    random = generator()
    features, hidden = (int(size) for size in case.split()[2].split("-"))
    steps, batch = (int(size) for size in case.split()[3].split("x"))
    x = random.standard_normal((batch, steps, features)).astype("f4")
    return features, hidden, x, random.standard_normal((batch, 1)).astype("f4")


class Transformer:
    """A causal language model: embeddings, layers of attention and perceptron before which is normalised."""

    vocabulary, context, batch, heads = 64, 128, 16, 4

    def __init__(self, case: str) -> None:
        self.dim, self.layers = (int(size) for size in case.split()[2].split("x"))
        random = generator()
        tokens = random.integers(0, self.vocabulary, (self.batch, self.context + 1))
        self.x, self.y = tokens[:, :-1], tokens[:, 1:]

    def weights(self) -> dict[str, np.ndarray]:
        """Weights (out, in) by name; norms and biases start as ones and zeros."""
        random, dim = generator(), self.dim
        shapes = {
            "tokens": (self.vocabulary, dim),
            "positions": (self.context, dim),
            "head": (self.vocabulary, dim),
        }
        for layer in range(self.layers):
            for name in ("q", "k", "v", "out"):
                shapes[f"{layer}.{name}"] = (dim, dim)
            shapes[f"{layer}.up"], shapes[f"{layer}.down"] = (4 * dim, dim), (dim, 4 * dim)
        return {name: (random.standard_normal(shape) * 0.02).astype("f4") for name, shape in shapes.items()}


def attention(case: str) -> list[np.ndarray]:
    """q, k, v and the cotangent, (batch, heads, time, dim)."""
    random = generator()
    return [random.standard_normal((1, 4, int(case.split()[-1]), 64)).astype("f4") for _ in range(4)]
