"""Dense layers, scales and embeddings."""

import luxon as lx
from luxon import nn

from .case import (
    DENSE,
    INDEX,
    NO_TENSOR,
    TYPE,
    VALUE,
    Case,
    affine,
    integers,
)

CASES = [
    Case(
        nn.Dense(3, 2, lx.relu),
        (5, 4, 3),
        (5, 4, 2),
        DENSE,
        "",
        20 * 2 * 7,
        "Dense(3 => 2, relu)",
        (
            ((), VALUE, "got (), expected (..., 3)"),
            ((5, 4), VALUE, "got (5, 4), expected (..., 3)"),
            (integers(5, 3), TYPE, "int32 input of shape (5, 3); it takes float32: convert"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.Bilinear((3, 4), 2),
        ((5, 3), (5, 4)),
        (5, 2),
        {"weight": (2, 3, 4), "bias": (2,)},
        "",
        10 * (2 * 4 * 4 + 1),
        "Bilinear((3, 4) => 2)",
        (
            (((5, 3), (5, 3)), VALUE, "got (5, 3) and (5, 3), expected (..., 3) and (..., 4)"),
            (((5, 3), (6, 4)), VALUE, "got (5, 3) and (6, 4), of which the axes before the last do not"),
            (((5, 3), integers(5, 4)), TYPE, "int32 input of shape (5, 4)"),
            (((5, 3),), TYPE, "got a tuple of 1"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.Scale((3, 1)),
        (2, 3, 4),
        (2, 3, 4),
        affine(3, 1),
        "",
        48,
        "Scale((3, 1))",
        (
            ((2, 4, 4), VALUE, "got (2, 4, 4), expected (..., 3, 1)"),
            (integers(2, 3, 4), TYPE, "int32 input"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.Embedding(10, 4),
        integers(2, 5),
        (2, 5, 4),
        {"weight": (10, 4)},
        "",
        0,
        "Embedding(10 => 4)",
        (((2, 5), TYPE, "got float32 input of shape (2, 5), expected integers"), NO_TENSOR),
    ),
    Case(
        nn.SinusoidalPositionalEmbedding(4),
        (2, 5),
        (2, 5, 4),
        {},
        "sigmas",
        80,
        "SinusoidalPositionalEmbedding(4)",
        (NO_TENSOR,),
    ),
    Case(
        nn.RotaryPositionalEmbedding(4, 16),
        (2, 5, 4),
        (2, 5, 4),
        {},
        "cos_cache sin_cache",
        120,
        "RotaryPositionalEmbedding(4, max_sequence_length=16)",
        (
            ((4,), VALUE, "got (4,), expected (..., time, 4)"),
            ((2, 5, 6), VALUE, "got (2, 5, 6), expected (..., time, 4)"),
            ((2, 17, 4), VALUE, "17 positions, 16 are prepared; raise max_sequence_length"),
            (integers(2, 5, 4), TYPE, "int32 input of shape (2, 5, 4)"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.PeriodicEmbedding((1,), (4.0,)),
        (5, 3),
        (5, 4),
        {},
        "k",
        10,
        "PeriodicEmbedding((1,), (4.0,))",
        (((5, 1), INDEX, "got (5, 1), which lacks some of these features"), NO_TENSOR),
    ),
]
