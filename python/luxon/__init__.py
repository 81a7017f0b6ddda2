"""luxon: neural networks with explicit parameters, on a small and fast core.

The module itself holds the tensor, the array functions under their names in the Python array API, the
activation functions and the transformations (`grad`, `vjp`, `jvp`, ...). Layers are in `luxon.nn`, losses in
`luxon.losses`, optimisers in `luxon.optim`, training steps in `luxon.training`; those and the others
are imported when they are first used.

Example:
    >>> import luxon as lx
    >>> lx.grad(lambda x: lx.sum(x**2))(lx.asarray([1.0, 2.0, 3.0]))
    Tensor([2., 4., 6.], dtype=float32)
"""

from __future__ import annotations

import importlib
import math as _math
from typing import TYPE_CHECKING, Any

import numpy as _numpy

from ._core import (
    Device,
    ShapeDtype,
    Tensor,
    Tree,
    abs,
    acos,
    acosh,
    add,
    all,
    allclose,
    any,
    arange,
    argmax,
    argmin,
    argsort,
    asarray,
    asin,
    asinh,
    astype,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    broadcast_arrays,
    broadcast_shapes,
    broadcast_to,
    can_cast,
    ceil,
    celu,
    checkpoint,
    clip,
    concat,
    conj,
    copysign,
    cos,
    cosh,
    count_nonzero,
    cpu,
    cross,
    cumulative_logsumexp,
    cumulative_max,
    cumulative_min,
    cumulative_prod,
    cumulative_sum,
    custom_jvp,
    custom_vjp,
    diag,
    diagonal,
    diff,
    divide,
    einsum,
    elu,
    empty,
    empty_like,
    equal,
    exp,
    exp2,
    expand_dims,
    expm1,
    eye,
    finfo,
    flip,
    floor,
    floor_divide,
    fmod,
    from_dlpack,
    full,
    full_like,
    gelu,
    glu,
    grad,
    greater,
    greater_equal,
    hard_shrink,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    hypot,
    identity,
    iinfo,
    isclose,
    isdtype,
    isfinite,
    isin,
    isinf,
    isnan,
    jacobian,
    jet,
    jvp,
    leaky_relu,
    less,
    less_equal,
    linearize,
    linspace,
    lisht,
    log,
    log1p,
    log2,
    log10,
    log_cosh,
    log_sigmoid,
    log_softmax,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    logsumexp,
    matmul,
    matrix_norm,
    matrix_transpose,
    max,
    maximum,
    mean,
    median,
    memory_statistics,
    meshgrid,
    min,
    minimum,
    mish,
    moveaxis,
    multiply,
    nan_to_num,
    negative,
    nextafter,
    nonzero,
    not_equal,
    one_hot,
    ones,
    ones_like,
    outer,
    pad,
    permute_dims,
    positive,
    pow,
    prod,
    quantile,
    ravel,
    real,
    reciprocal,
    relu,
    relu6,
    remainder,
    repeat,
    reshape,
    result_type,
    roll,
    rot90,
    round,
    rsqrt,
    scatter_add,
    searchsorted,
    selu,
    set_threads,
    sigmoid,
    sign,
    signbit,
    silu,
    sin,
    sinh,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    sort,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    stop_gradient,
    subtract,
    sum,
    swapaxes,
    swish,
    take,
    take_along_axis,
    tan,
    tanh,
    tanh_shrink,
    tensordot,
    threads,
    threshold_relu,
    tile,
    top_k,
    trace,
    tril,
    triu,
    trunc,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
    unstack,
    value_and_grad,
    var,
    vecdot,
    vector_norm,
    vjp,
    where,
    zeros,
    zeros_like,
)
from ._core import (
    __version__ as __version__,
)
from ._neighbours import watch as _watch

if TYPE_CHECKING:
    from . import (
        data as data,
    )
    from . import (
        functional as functional,
    )
    from . import (
        init as init,
    )
    from . import (
        io as io,
    )
    from . import (
        linalg as linalg,
    )
    from . import (
        losses as losses,
    )
    from . import (
        nn as nn,
    )
    from . import (
        optim as optim,
    )
    from . import (
        progress as progress,
    )
    from . import (
        random as random,
    )
    from . import (
        special as special,
    )
    from . import (
        testing as testing,
    )
    from . import (
        training as training,
    )
    from . import (
        tree as tree,
    )
    from ._activations import rrelu
    from ._device import cuda, device_of, to_device
    from ._namespace import __array_namespace_info__ as __array_namespace_info__
    from ._transforms import (
        AutoFiniteDiff,
        AutoForward,
        AutoTape,
        batched_jacobian,
        hessian,
        hvp,
        jacobian_vector_product,
        vector_jacobian_product,
    )
    from .nn import NonFiniteError
    from .training import DonatedError

    bfloat16: _numpy.dtype[Any]

bool = _numpy.dtype("bool")
uint8 = _numpy.dtype("uint8")
int32 = _numpy.dtype("int32")
int64 = _numpy.dtype("int64")
float16 = _numpy.dtype("float16")
float32 = _numpy.dtype("float32")
float64 = _numpy.dtype("float64")

__array_api_version__ = "2025.12"

e = _math.e
inf = _math.inf
nan = _math.nan
newaxis = None
pi = _math.pi

# Where the names live that are imported when they are first used.
_SUBMODULES = frozenset(
    {
        "cuda",  # A package that can be called; see there.
        "data",
        "functional",
        "init",
        "io",
        "linalg",
        "losses",
        "nn",
        "optim",
        "progress",
        "random",
        "special",
        "testing",
        "training",
        "tree",
    }
)
_LAZY = {
    "AutoFiniteDiff": "_transforms",
    "AutoForward": "_transforms",
    "AutoTape": "_transforms",
    "DonatedError": "training",
    "NonFiniteError": "nn",
    "__array_namespace_info__": "_namespace",
    "batched_jacobian": "_transforms",
    "device_of": "_device",
    "hessian": "_transforms",
    "hvp": "_transforms",
    "jacobian_vector_product": "_transforms",
    "rrelu": "_activations",
    "to_device": "_device",
    "vector_jacobian_product": "_transforms",
}


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _LAZY:
        value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    elif name == "bfloat16":
        value = zeros((), dtype=name).dtype
    else:
        raise AttributeError(f"module 'luxon' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES, *_LAZY, "bfloat16"})


# fmt: off
__all__ = [
    "AutoFiniteDiff", "AutoForward", "AutoTape", "Device", "DonatedError", "NonFiniteError",
    "ShapeDtype", "Tensor", "Tree", "abs", "acos", "acosh", "add", "all", "allclose", "any", "arange",
    "argmax", "argmin", "argsort", "asarray", "asin", "asinh", "astype", "atan", "atan2", "atanh",
    "batched_jacobian", "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "bool", "broadcast_arrays", "broadcast_shapes",
    "broadcast_to", "can_cast", "ceil", "celu", "checkpoint", "clip", "concat", "conj", "copysign",
    "cos", "cosh", "count_nonzero", "cpu", "cross", "cuda", "cumulative_logsumexp", "cumulative_max",
    "cumulative_min", "cumulative_prod", "cumulative_sum", "custom_jvp", "custom_vjp", "device_of",
    "diag", "diagonal", "diff", "divide", "e", "einsum", "elu", "empty", "empty_like", "equal", "exp",
    "exp2", "expand_dims", "expm1", "eye", "finfo", "flip", "float16", "float32", "float64", "floor",
    "floor_divide", "fmod", "from_dlpack", "full", "full_like", "gelu", "glu", "grad", "greater",
    "greater_equal", "hard_shrink", "hard_sigmoid", "hard_swish", "hard_tanh", "hessian", "hvp",
    "hypot", "identity", "iinfo", "inf", "int32", "int64", "isclose", "isdtype", "isfinite", "isin",
    "isinf", "isnan", "jacobian", "jacobian_vector_product", "jet", "jvp", "leaky_relu", "less", "less_equal",
    "linearize", "linspace", "lisht", "log", "log10", "log1p", "log2", "log_cosh", "log_sigmoid",
    "log_softmax", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "logsumexp",
    "matmul", "matrix_norm", "matrix_transpose", "max", "maximum", "mean", "median",
    "memory_statistics", "meshgrid", "min",
    "minimum", "mish", "moveaxis", "multiply", "nan", "nan_to_num", "negative", "newaxis", "nextafter",
    "nonzero", "not_equal", "one_hot", "ones", "ones_like", "outer", "pad", "permute_dims", "pi",
    "positive", "pow", "prod", "quantile", "ravel", "real", "reciprocal", "relu", "relu6", "remainder",
    "repeat", "reshape", "result_type", "roll", "rot90", "round", "rrelu", "rsqrt", "scatter_add",
    "searchsorted", "selu", "set_threads", "sigmoid", "sign", "signbit", "silu", "sin", "sinh",
    "soft_shrink", "softmax", "softplus", "softsign", "sort", "split", "sqrt", "square", "squeeze",
    "stack", "std", "stop_gradient", "subtract", "sum", "swapaxes", "swish", "take", "take_along_axis",
    "tan", "tanh", "tanh_shrink", "tensordot", "threads", "threshold_relu", "tile", "to_device",
    "top_k", "trace", "tril", "triu", "trunc", "uint8", "unique_all", "unique_counts", "unique_inverse",
    "unique_values", "unstack", "value_and_grad", "var", "vecdot", "vector_jacobian_product",
    "vector_norm", "vjp", "where", "zeros", "zeros_like",
]
# fmt: on

_watch()
