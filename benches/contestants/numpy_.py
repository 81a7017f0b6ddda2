"""NumPy with memory reused where it can be, and the small steps written by hand."""

from __future__ import annotations

import numpy as np

from .cases import generator, matrices

VERSION = np.__version__


def build(case: str):
    if case == "add 4":
        a, b = np.ones(4, "f4"), np.ones(4, "f4")
        return "a + b", {"a": a, "b": b}
    if case.startswith("matmul"):
        a, b = matrices(case)
        a = a.T if "AtB" in case else a
        b = b.T if "ABt" in case else b
        out = np.empty((a.shape[0], b.shape[1]), a.dtype)
        return lambda: np.matmul(a, b, out=out)
    if case.endswith("1e7"):
        x = generator().uniform(0.1, 3.0, 10**7).astype("f4")
        out, other = np.empty_like(x), np.empty_like(x)
        name = case.split()[0]
        if name == "chain":

            def chain():
                np.multiply(x, np.float32(1.1), out=out)
                np.add(out, np.float32(0.3), out=out)
                np.tanh(out, out=out)
                np.negative(x, out=other)
                np.exp(other, out=other)
                np.add(other, np.float32(1), out=other)
                return np.divide(out, other, out=out)

            return chain
        function = getattr(np, name)
        return lambda: function(x, out=out)
    if "4096x4096" in case:
        x = generator().standard_normal((4096, 4096)).astype("f4")
        out, line = np.empty_like(x), np.empty(4096, "f4")
        return {
            "sum axis 0": lambda: np.sum(x, axis=0, out=line),
            "sum axis 1": lambda: np.sum(x, axis=1, out=line),
            "transpose copy": lambda: np.copyto(out, x.T),
        }.get(case.rsplit(" ", 1)[0])
    return None
