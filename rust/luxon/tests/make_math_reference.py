"""Writes the reference values that the unit tests of `src/cpu/math` compare with, one file per source file.

Usage: `python make_math_reference.py [points per function] [folder]` (needs mpmath). A line is the name of a function,
its arguments and its value as the bits of an f64 in hexadecimal, and the distance from that value to the true one
in thousandths of an ULP, so that errors are measured to better than the half ULP that rounding the reference
costs. Points: what is exact or infinite, the edges of domains and of the intervals that the code distinguishes,
then random ones, half of them evenly and half of them logarithmically spread over the ranges below.
"""

from __future__ import annotations

import math
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from mpmath import mp, mpf

mp.prec = 200
INFINITY = math.inf
HUGE = sys.float_info.max
TINY = 5e-324


def bits(value: float) -> int:
    """The bit pattern of an f64."""
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def ulp(value: float) -> mpf:
    """The spacing of f64 numbers at `value`."""
    exponent = max(math.frexp(value)[1] - 53, -1074)
    return mpf(2) ** exponent


def erfinv(x: mpf) -> mpf:
    """Inverse error function by Newton steps on `erfc`, which keeps the tail."""
    if abs(x) < mpf(10) ** -40:
        return x * mp.sqrt(mp.pi) / 2
    sign, c = (1, 1 - x) if x > 0 else (-1, 1 + x)
    a = 1 - c
    root = mp.sqrt(mp.pi) / 2
    start = mp.log(1 / (c * (2 - c)))
    y = a * root if a < 0.6 else mp.sqrt(start - mp.log(start + 1) / 2)
    for _ in range(100):
        f = (mp.erfc(y) - c) if a > 0.5 else (a - mp.erf(y))
        step = f * root * mp.exp(y * y)
        step = step / (1 + abs(y * step))
        y += step
        if abs(step) < abs(y) * mpf(2) ** -170:
            break
    return sign * y


def ndtr(x: mpf) -> mpf:
    """Normal distribution function."""
    return mp.erfc(-x / mp.sqrt(2)) / 2


def softplus(x: mpf) -> mpf:
    """`ln(1 + exp(x))`."""
    return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))


def gelu_tanh(x: mpf) -> mpf:
    """The approximation with `tanh`."""
    return x / (1 + mp.exp(-2 * mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3)))


def log_cosh(x: mpf) -> mpf:
    """`ln(cosh(x))`."""
    return (
        mp.log1p(2 * mp.sinh(x / 2) ** 2)
        if abs(x) < 1
        else abs(x) + mp.log1p(mp.exp(-2 * abs(x))) - mp.log(2)
    )


def log_ndtr(x: mpf) -> mpf:
    """Logarithm of the normal distribution function."""
    return mp.log(ndtr(x)) if x < 0 else mp.log1p(-ndtr(-x))


def sinc(x: mpf) -> mpf:
    """`sin(pi x) / (pi x)`."""
    return mp.sinpi(x) / (mp.pi * x) if x else mpf(1)


def logaddexp(x: mpf, y: mpf) -> mpf:
    """`ln(exp(x) + exp(y))`."""
    return max(x, y) + mp.log1p(mp.exp(-abs(x - y)))


def power(x: mpf, y: mpf) -> mpf:
    """`x ** y` for positive `x`, and for negative ones with integer `y`."""
    if x > 0:
        return mp.exp(y * mp.log(x))
    return mp.exp(y * mp.log(-x)) * (1 if int(y) % 2 == 0 else -1)


def log_gamma(x: mpf) -> mpf:
    """Logarithm of the absolute value of the gamma function."""
    if x > 0:
        return mp.loggamma(x)
    return mp.log(mp.pi / abs(mp.sinpi(x))) - mp.loggamma(1 - x)


# Per source file and function: the function, fixed points, ranges (from, to) of the random ones.
Entry = tuple[Callable[..., mpf], list[float], list[tuple[float, float]]]
UNARY: dict[str, dict[str, Entry]] = {
    "exp": {
        "exp": (
            mp.exp,
            [0.0, 709.78, -708.5, -745.1, -745.14, 1e-300],
            [(-745, 709.7), (-3, 3), (-1e-20, 1)],
        ),
        "exp2": (lambda x: mpf(2) ** x, [0.0, 1023.99, -1074.0, 0.5], [(-1074, 1023.9), (-3, 3)]),
        "expm1": (mp.expm1, [-0.0, TINY, 1e-300, 709.78, -37.5], [(-40, 709.7), (-2, 2), (-1e-20, 1)]),
    },
    "log": {
        "ln": (mp.log, [1.0, TINY, HUGE, 2.0, 0.5], [(1e-320, 1e308), (0.5, 2), (0.99, 1.01)]),
        "log2": (lambda x: mp.log(x, 2), [1.0, TINY, HUGE, 8.0], [(1e-320, 1e308), (0.5, 2), (0.99, 1.01)]),
        "log10": (mp.log10, [1.0, TINY, HUGE, 1000.0], [(1e-320, 1e308), (0.5, 2), (0.99, 1.01)]),
        "ln_1p": (
            mp.log1p,
            [-0.0, TINY, HUGE, 1e-300],
            [(-0.9999999, 2), (1e-320, 1e308), (-0.7, -1e-20), (0.3, 0.5)],
        ),
    },
    "trig": {
        "sin": (
            mp.sin,
            [-0.0, TINY, HUGE, math.pi, 1e22, 6381956970095103.0 * 2.0**797],
            [(-10, 10), (1e-300, 1e308), (-1e6, 1e6), (1e10, 1e16)],
        ),
        "cos": (
            mp.cos,
            [0.0, TINY, HUGE, math.pi / 2, 1e22, 6381956970095103.0 * 2.0**797],
            [(-10, 10), (1e-300, 1e308), (-1e6, 1e6), (1e10, 1e16)],
        ),
        "tan": (
            mp.tan,
            [-0.0, TINY, HUGE, math.pi, math.pi / 2, 1e22],
            [(-10, 10), (1e-300, 1e308), (-1e6, 1e6), (1e10, 1e16)],
        ),
        "sinc": (sinc, [0.0, TINY, 1.0, 0.5, 2.5], [(-3, 3), (-1e4, 1e4), (1e-10, 1e10)]),
    },
    "inverse_trig": {
        "asin": (mp.asin, [-0.0, TINY, 1.0, -1.0, 0.5], [(-1, 1), (1e-300, 1), (0.999, 1), (0.49, 0.51)]),
        "acos": (
            mp.acos,
            [0.0, TINY, 1.0, -1.0, 0.5, -0.5],
            [(-1, 1), (1e-300, 1), (0.999, 1), (-1, -0.999), (-0.51, -0.49)],
        ),
        "atan": (
            mp.atan,
            [-0.0, TINY, HUGE, 1.0, INFINITY, -INFINITY],
            [(-5, 5), (1e-300, 1e300), (0.4, 0.43), (2.3, 2.5)],
        ),
    },
    "hyperbolic": {
        "sinh": (mp.sinh, [-0.0, TINY, 710.4, 1.0], [(-710, 710), (-3, 3), (1e-300, 1)]),
        "cosh": (mp.cosh, [0.0, TINY, 710.4], [(-710, 710), (-3, 3)]),
        "tanh": (mp.tanh, [-0.0, TINY, 19.1, INFINITY, -INFINITY], [(-20, 20), (-1, 1), (1e-300, 1)]),
        "log_cosh": (log_cosh, [0.0, 1.0, HUGE], [(-20, 20), (-1.5, 1.5), (1e-150, 1)]),
    },
    "inverse_hyperbolic": {
        "asinh": (mp.asinh, [-0.0, TINY, HUGE, 0.5], [(-5, 5), (1e-300, 1e300), (0.3, 0.8)]),
        "acosh": (mp.acosh, [1.0, HUGE, 2.0], [(1, 3), (1, 1e300), (1, 1.001)]),
        "atanh": (mp.atanh, [-0.0, TINY, 0.5, -0.5], [(-1, 1), (1e-300, 1), (0.999, 1), (0.45, 0.55)]),
    },
    "error_function": {
        "erf": (mp.erf, [-0.0, TINY, 1.0, INFINITY, -INFINITY, 5.9], [(-6, 6), (0.8, 1.3), (1e-300, 1)]),
    },
    "error_inverse": {
        "erfinv": (
            erfinv,
            [-0.0, TINY, 0.5, 1 - 2.0**-53],
            [(-1, 1), (1e-300, 1), (0.9, 1), (0.998, 0.9985)],
        ),
    },
    "normal": {
        "erfc": (mp.erfc, [0.0, 26.5, 27.2, -6.0, INFINITY, -INFINITY], [(-6, 27), (-1, 2), (1e-20, 27)]),
        "ndtr": (ndtr, [0.0, -37.5, -38.4, INFINITY, -INFINITY], [(-38, 8), (-2, 2)]),
        "log_ndtr": (log_ndtr, [0.0, -38.7, -38.8, 38.0, -1e150], [(-60, 38), (-3, 3), (-1e100, -1)]),
    },
    "activation": {
        "sigmoid": (lambda x: 1 / (1 + mp.exp(-x)), [0.0, INFINITY, -745.0], [(-745, 40), (-5, 5)]),
        "silu": (
            lambda x: x / (1 + mp.exp(-x)),
            [-0.0, TINY, -745.0, HUGE],
            [(-750, 40), (-5, 5), (1e-300, 1)],
        ),
        "softplus": (softplus, [0.0, -745.0, HUGE], [(-745, 40), (-5, 5)]),
        "log_sigmoid": (lambda x: -softplus(-x), [0.0, 745.0, -HUGE], [(-40, 745), (-5, 5)]),
        "mish": (
            lambda x: x * mp.tanh(softplus(x)),
            [-0.0, TINY, -745.0, HUGE],
            [(-750, 40), (-5, 5), (1e-300, 1)],
        ),
        "logit": (
            lambda x: mp.log(x) - mp.log1p(-x),
            [0.5, TINY, 1 - 2.0**-53],
            [(0, 1), (1e-300, 1), (0.45, 0.55)],
        ),
    },
    "gelu": {
        "gelu": (lambda x: x * ndtr(x), [-0.0, TINY, -37.5, HUGE], [(-38, 10), (-2, 2), (1e-300, 1)]),
        "gelu_tanh": (gelu_tanh, [-0.0, TINY, HUGE], [(-21, 5), (-3, 3), (1e-300, 1)]),
    },
    "information": {
        "entr": (lambda x: -x * mp.log(x), [1.0, TINY, HUGE / 1000], [(0, 3), (1e-300, 1e300), (0.99, 1.01)]),
    },
    "gamma": {
        "gammaln": (
            log_gamma,
            [1.0, 2.0, 0.5, TINY, 1e300, 3.0, -0.5],
            [(0, 10), (1e-300, 1e300), (0.9, 2.1), (-0.95, -0.05)],
        ),
        "digamma": (
            mp.digamma,
            [1.0, 2.0, 0.5, 1e300],
            [(1e-3, 10), (1e-300, 1e300), (1.47, 1.6), (-0.3, -0.05)],
        ),
        "i0e": (
            lambda x: mp.besseli(0, x) * mp.exp(-abs(x)),
            [0.0, TINY, 8.0, 1e15],
            [(-20, 20), (0, 1000), (1e-300, 1e10)],
        ),
    },
    "arithmetic": {
        "rsqrt": (lambda x: 1 / mp.sqrt(x), [1.0, 4.0, TINY, HUGE], [(0.5, 4), (1e-320, 1e308)]),
    },
}
PAIR_RANGES = [((-10, 10), (-10, 10)), ((1e-5, 1e5), (-1e3, 1e3))]
BINARY: dict[
    str,
    dict[str, tuple[Callable[..., mpf], list[tuple[float, float]], list[tuple[tuple[float, float], ...]]]],
] = {
    "power": {
        "pow": (
            power,
            [(2.0, 0.5), (1.0, 1e300), (-2.0, 3.0), (10.0, -308.0), (1 + 2.0**-52, 1e18), (0.5, 1074.0)],
            [
                ((0, 10), (-300, 300)),
                ((0.5, 2), (-1000, 1000)),
                ((1e-300, 1e300), (-1.02, 1.02)),
                ((0.999, 1.001), (-5e5, 5e5)),
            ],
        ),
    },
    "inverse_trig": {
        "atan2": (mp.atan2, [(1.0, -1.0), (-1.0, 1e-300), (TINY, 1.0), (1e-300, -1e300)], PAIR_RANGES),
    },
    "arithmetic": {
        "hypot": (
            mp.hypot,
            [(3.0, 4.0), (1e300, 1e300), (TINY, TINY), (1e-200, 1e-200)],
            [*PAIR_RANGES, ((1e-300, 1e300), (1e-300, 1e300))],
        ),
    },
    "information": {
        "logaddexp": (
            logaddexp,
            [(0.0, 0.0), (1000.0, 1000.0), (-1000.0, -1001.0)],
            [((0, 10), (0, 10)), ((-800, -1), (-800, -1)), ((1, 800), (-800, 800))],
        ),
        "xlogy": (
            lambda x, y: x * mp.log(y),
            [(2.0, 1.0), (2.0, 0.5)],
            [((-10, 10), (0, 10)), ((1e-100, 1e100), (1e-100, 1e100))],
        ),
        "xlog1py": (
            lambda x, y: x * mp.log1p(y),
            [(2.0, 1.0), (2.0, -0.5)],
            [((-10, 10), (-0.99, 10)), ((1e-100, 1e100), (1e-100, 1e100))],
        ),
    },
}


def draw(generator: random.Random, low: float, high: float, logarithmic: bool) -> float:
    """A random number between two bounds; for the logarithmic kind, of either sign if the bounds are."""
    if not logarithmic:
        return generator.uniform(low, high)
    sign = 1.0
    if low < 0:
        if high <= 0 or generator.random() < 0.5:
            sign, low, high = -1.0, (-high if high < 0 else min(-low, 1.0) * 1e-9), -low
        else:
            low = min(high, 1.0) * 1e-9
    low = max(low, high * 1e-9) if low == 0 else low
    value = math.exp(generator.uniform(math.log(low), math.log(high)))
    return sign * min(max(value, low), high)


def line(name: str, arguments: tuple[float, ...], value: mpf) -> str:
    """One line of a data file."""
    nearest = float(value)
    residual = 0 if math.isinf(nearest) else round(float((value - mpf(nearest)) / ulp(nearest)) * 1000)
    return " ".join([name, *(f"{bits(a):016x}" for a in arguments), f"{bits(nearest):016x}", str(residual)])


def main() -> None:
    """Writes every file."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "data"
    only = sys.argv[3].split(",") if len(sys.argv) > 3 else []
    for group in sorted(UNARY.keys() | BINARY.keys()):
        lines = []
        for name, (function, fixed, ranges) in UNARY.get(group, {}).items():
            if only and name not in only:
                continue
            generator = random.Random(name)
            points = list(fixed)
            for low, high in ranges:
                points += [
                    draw(generator, low, high, i % 2 == 1) for i in range(max(count // len(ranges), 2))
                ]
            for x in points:
                value = function(mpf(x)) if x != 0.0 or math.copysign(1.0, x) > 0 else mpf(0)
                text = line(name, (x,), value)
                if x == 0.0 and math.copysign(1.0, x) < 0:
                    text = f"{name} {bits(x):016x} {bits(x):016x} 0"
                lines.append(text)
        for name, (function, pairs, ranges) in BINARY.get(group, {}).items():
            if only and name not in only:
                continue
            generator = random.Random(name)
            couples = list(pairs)
            for first, second in ranges:
                couples += [
                    (draw(generator, *first, i % 2 == 1), draw(generator, *second, i % 4 == 3))
                    for i in range(max(count // len(ranges), 2))
                ]
            lines += [line(name, c, function(mpf(c[0]), mpf(c[1]))) for c in couples]
        if lines:
            (folder / f"math_{group}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
