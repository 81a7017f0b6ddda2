"""Special functions, under SciPy's names.

All are elementwise, broadcast and are differentiable; integers are taken as float32.

Example:
    >>> import luxon as lx
    >>> lx.special.erf(lx.asarray([0.0, 1.0]))
    Tensor([0.       , 0.8427008], dtype=float32)
"""

from ._core import log_softmax, logsumexp, softmax
from ._core.special import (
    digamma,
    entr,
    erf,
    erfc,
    erfinv,
    expit,
    gammaln,
    i0e,
    i1e,
    log_ndtr,
    logit,
    sinc,
    xlog1py,
    xlogy,
)

__all__ = [
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfinv",
    "expit",
    "gammaln",
    "i0e",
    "i1e",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "sinc",
    "softmax",
    "xlog1py",
    "xlogy",
]
