"""What is known of a layer, and what several layers have in common."""

from typing import Any, NamedTuple

import luxon as lx
from luxon import nn


class Case(NamedTuple):
    """A layer; the shape it takes (or a nest of shapes) and gives; its trees; its FLOPs; inputs it refuses."""

    layer: nn.Layer
    x: Any
    y: Any
    parameters: dict[str, tuple[int, ...]]
    states: str
    flops: int | None
    printed: str
    bad: tuple[tuple[Any, type[Exception], str], ...] = ()


def integers(*shape):
    return lx.ShapeDtype(shape, "int32")


NO_TENSOR = (None, TypeError, "got NoneType")
VALUE, TYPE, INDEX = ValueError, TypeError, IndexError
DENSE = {"weight": (2, 3), "bias": (2,)}
NORM = "running_mean running_var training"


def affine(*shape):
    return {"weight": shape, "bias": shape}


def pooled(text):
    """Bad inputs of a pooling along two axes."""
    return ((2, 3, 8), VALUE, f"{text} got (2, 3, 8), expected (batch, channels, size, size)"), NO_TENSOR


def cell(rows, **more):
    return {"weight_ih": (rows, 3), "weight_hh": (rows, 4), "bias_ih": (rows,), "bias_hh": (rows,)} | more


def cells(text):
    return (
        ((3,), VALUE, f"{text} got (3,), expected (batch, 3)"),
        ((2, 5), VALUE, f"{text} got (2, 5), expected (..., 3)"),
        (
            ((2, 3), (2, 5)),
            (VALUE, TYPE),
            "the carry is the pair" if "LSTM" in text else "carry of shape (2, 5)",
        ),
        (integers(2, 3), TYPE, "got int32 input of shape (2, 3)"),
        NO_TENSOR,
    )


def sequences(text):
    return (
        ((2, 3), VALUE, f"{text} got (2, 3), expected (batch, time, ...)"),
        ((2, 5, 4), VALUE, f"{text} got (2, 5, 4), expected (..., 3)"),
        (integers(2, 5, 3), TYPE, "got int32 input of shape (2, 5, 3)"),
        NO_TENSOR,
    )


def named(prefix, shapes):
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}
