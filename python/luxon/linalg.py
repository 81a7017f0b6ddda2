"""Linear algebra: the functions of the array API's extension that luxon has.

Example:
    >>> import luxon as lx
    >>> lx.linalg.vector_norm(lx.asarray([3.0, 4.0]))
    Tensor(5., dtype=float32)
"""

from ._core import (
    cross,
    diagonal,
    matmul,
    matrix_norm,
    matrix_power,
    matrix_rank,
    matrix_transpose,
    outer,
    svdvals,
    tensordot,
    trace,
    vecdot,
    vector_norm,
)

__all__ = [
    "cross",
    "diagonal",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "outer",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]
