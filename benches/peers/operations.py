"""Single operations that libraries are compared on: the arrays that go in, and how much work they are."""

from __future__ import annotations

import numpy as np

GROUPS = 8

# Matrix products: the operands as they are stored, and their dtype. AtB and ABt are the products of a backward pass.
PRODUCTS = {
    "mm_f32_64": ((64, 64), (64, 64), "f4"),
    "mm_f32_256": ((256, 256), (256, 256), "f4"),
    "mm_f32_1024": ((1024, 1024), (1024, 1024), "f4"),
    "mm_f32_2048": ((2048, 2048), (2048, 2048), "f4"),
    "mm_f64_1024": ((1024, 1024), (1024, 1024), "f8"),
    "bmm_64x128": ((64, 128, 128), (64, 128, 128), "f4"),
    "mm_AtB": ((512, 784), (512, 2048), "f4"),
    "mm_ABt": ((512, 2048), (784, 2048), "f4"),
}
# One read and one write of ten million numbers.
ELEMENTWISE = ["exp_1e7", "tanh_1e7", "log_1e7", "ewchain_1e7"]
# Over a matrix of 4096 x 4096: how many of its sizes are read and written.
MATRIX = {"softmax_4096": 2, "sum0_4096": 1, "sum1_4096": 1, "transpose_4096": 2}
# Normalisations forward and backward: the shape of x. Read are x, x again and dy; written y and dx.
NORMALISATIONS = {
    "layernorm_fb": (4096, 1024),
    "rmsnorm_fb": (4096, 1024),
    "batchnorm_fb": (32, 64, 56, 56),
    "groupnorm_fb": (32, 64, 56, 56),
    "instancenorm_fb": (32, 64, 56, 56),
}
# Convolutions: images, filters, kernel, padding and groups. Asked are y, or the gradients dx and dw.
CONVOLUTIONS = {
    "64": ((32, 64, 32, 32), 64, 3, 1, 1),
    "depthwise": ((32, 64, 32, 32), 64, 3, 1, 64),
    "lenet1": ((128, 1, 28, 28), 6, 5, 2, 1),
    "lenet2": ((128, 6, 14, 14), 16, 5, 0, 1),
}
CONVOLUTION_CASES = [
    f"conv_{wanted}_{which}"
    for which, all_wanted in (
        ("64", ("y", "dx", "dw")),
        ("depthwise", ("y", "dw")),
        ("lenet1", ("y",)),
        ("lenet2", ("y", "dx", "dw")),
    )
    for wanted in all_wanted
]
OVERHEAD = ["add", "add_tracked", "grad_10"]
OPERATIONS = [
    *PRODUCTS,
    *ELEMENTWISE,
    *MATRIX,
    *NORMALISATIONS,
    "embedding_fb",
    "attention_fb",
    *CONVOLUTION_CASES,
]


def convolution(op: str) -> tuple[str, int, int]:
    """Of a convolution case: what is asked, the padding and the groups."""
    _, wanted, which = op.split("_")
    *_, padding, groups = CONVOLUTIONS[which]
    return wanted, padding, groups


def _convolution_shapes(op: str) -> list[tuple[int, ...]]:
    (batch, channels, *size), filters, kernel, padding, groups = CONVOLUTIONS[op.split("_")[2]]
    return [
        (batch, channels, *size),
        (filters, channels // groups, kernel, kernel),
        (batch, filters, *(side + 2 * padding - kernel + 1 for side in size)),
    ]


def op_inputs(op: str) -> list[np.ndarray]:
    """The arrays of an operation; where gradients are asked, the last is the result's cotangent."""
    random = np.random.default_rng(0)

    def normal(*shape: int, dtype: str = "f4") -> np.ndarray:
        return random.standard_normal(shape).astype(dtype)

    if op in PRODUCTS:
        a, b, dtype = PRODUCTS[op]
        return [normal(*a, dtype=dtype), normal(*b, dtype=dtype)]
    if op in ELEMENTWISE:
        x = normal(10**7)
        return [np.abs(x) + np.float32(0.1) if op == "log_1e7" else x]
    if op in MATRIX:
        return [normal(4096, 4096)]
    if op in NORMALISATIONS:
        shape = NORMALISATIONS[op]
        affine = [normal(shape[1]) for _ in range(1 if op == "rmsnorm_fb" else 2)]
        return [normal(*shape), *affine, normal(*shape)]
    if op == "embedding_fb":
        return [normal(50000, 256), random.integers(0, 50000, 8192), normal(8192, 256)]
    if op == "attention_fb":
        return [normal(1, 4, 4096, 64) for _ in range(4)]
    return [normal(*shape) for shape in _convolution_shapes(op)]


def work(op: str) -> tuple[float, float, str]:
    """Floating-point operations of the products, bytes that must move, and the dtype that the operations are in."""
    if op in PRODUCTS:
        (*batch, m, k), (*_, n), dtype = PRODUCTS[op]
        if op == "mm_AtB":
            m, k = k, m
        if op == "mm_ABt":
            n = PRODUCTS[op][1][0]
        return 2.0 * m * n * k * (batch[0] if batch else 1), 0.0, dtype
    if op in ELEMENTWISE:
        return 0.0, 8e7, "f4"
    if op in MATRIX:
        return 0.0, MATRIX[op] * 4.0 * 4096**2, "f4"
    if op in NORMALISATIONS:
        return 0.0, 5 * 4.0 * np.prod(NORMALISATIONS[op]), "f4"
    if op == "embedding_fb":
        return 0.0, 4.0 * 256 * (4 * 8192 + 50000), "f4"
    if op == "attention_fb":
        # Two products forward, five backward, over the half of the scores that is not masked.
        return 7 * 2 * 4 * 4096**2 * 64 / 2, 0.0, "f4"
    _, kernel, y = _convolution_shapes(op)
    return 2.0 * np.prod(y) * np.prod(kernel[1:]), 4.0 * sum(map(np.prod, _convolution_shapes(op))), "f4"
