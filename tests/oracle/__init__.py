"""Stored answers, and PyTorch's operators in terms of luxon's functions for replaying them.

`cases` reads the stored files. `ops` has the operators by name; each file here registers those of one subject.
Nothing computes by itself what luxon has a function for: a wrong answer is to be mended in the library.
"""

from . import elementwise, indices, losses, networks, products, reductions, shapes
from .registry import array, ops, tensor, vjp

__all__ = [
    "array",
    "elementwise",
    "indices",
    "losses",
    "networks",
    "ops",
    "products",
    "reductions",
    "shapes",
    "tensor",
    "vjp",
]
