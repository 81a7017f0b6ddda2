"""The rows of the comparison: what is timed, what is aimed at, and how far the machine's limit is.

A row's floor is the time that its arithmetic or its memory traffic needs at the rates that the fastest library
reached in the same run: floating-point operations of a large product, bytes of a sum over a large matrix.
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from statistics import median

Medians = dict[str, float]


@dataclass(frozen=True)
class Row:
    """A line of the table: its title, the case that is timed, the ratio aimed at, and how many layers it is per.

    With `less`, a case that is subtracted, the row is the cost of one of `share` layers more.
    """

    title: str
    case: str
    goal: float | None = None
    less: str | None = None
    share: int = 1


STEPS = [
    Row("MLP 2-32-32-1 tanh, batch 64, Adam", "mlp_small", 0.35),
    Row("MLP 64-256-256-10, batch 1, Adam", "mlp_b1", 0.25),
    Row("MLP 64-256-256-10, batch 8, Adam", "mlp_b8", 0.35),
    Row("MLP 64-256-256-10, batch 128, Adam", "mlp", 0.6),
    Row("MLP 64-256-256-10, batch 512, Adam", "mlp_b512", 0.85),
    Row("MLP 64-256-256-10, batch 4096, Adam", "mlp_b4096", 0.95),
    Row("MLP 784-2048-2048-10, batch 512, Adam", "mlp_large", 0.92),
    Row("LeNet-5, batch 128, Adam", "lenet", 0.4),
    Row("small ResNet 32x32, batch 32, SGD", "resnet", 0.95),
    Row("LSTM 32-128, 64 steps, batch 32, Adam", "lstm", 0.75),
    Row("transformer 4 x 128, context 128, batch 16, AdamW", "transformer", 0.75),
    Row("PINN with u_xx, batch 1024, f32", "pinn_f32", 0.6),
    Row("PINN with u_xx, batch 1024, f64", "pinn_f64", 0.75),
    Row("inference of one sample, MLP 64-256-256-10", "infer_mlp", 0.5),
    Row("inference of one sample, LeNet-5", "infer_lenet", 0.4),
    Row("one more layer of 64, batch 32, Adam", "depth_32", 0.4, less="depth_8", share=24),
]
OPERATIONS = [
    Row("product f32 64", "mm_f32_64", 1.0),
    Row("product f32 256", "mm_f32_256", 1.0),
    Row("product f32 1024", "mm_f32_1024", 1.0),
    Row("product f32 2048", "mm_f32_2048", 1.0),
    Row("product f64 1024", "mm_f64_1024", 1.0),
    Row("products f32, 64 of 128", "bmm_64x128", 1.0),
    Row("exp, 1e7", "exp_1e7", 1.0),
    Row("softmax 4096x4096", "softmax_4096", 1.0),
    Row("layer norm 4096x1024, forward and backward", "layernorm_fb", 1.0),
    Row("sum over axis 0, 4096x4096", "sum0_4096", 1.0),
    Row("sum over axis 1, 4096x4096", "sum1_4096", 1.0),
    Row("transpose copy 4096x4096", "transpose_4096", 0.4),
    Row("tanh(x a + b) sigmoid(x), 1e7", "ewchain_1e7", 1.0),
    Row("conv 32x64x32x32 k3: y", "conv_y_64", 1.05),
    Row("conv 32x64x32x32 k3: dx", "conv_dx_64", 1.05),
    Row("conv 32x64x32x32 k3: dw", "conv_dw_64", 1.05),
]
OVERHEAD = [
    Row("a + b of 4 numbers", "add"),
    Row("value_and_grad of 100 sums of 4", "add_tracked"),
    Row("grad of 10 operations on 4 numbers", "grad_10"),
]
MORE = [
    Row("product A'B 512x784x2048", "mm_AtB"),
    Row("product AB' 512x784x2048", "mm_ABt"),
    Row("tanh, 1e7", "tanh_1e7"),
    Row("log, 1e7", "log_1e7"),
    Row("RMS norm 4096x1024, forward and backward", "rmsnorm_fb"),
    Row("batch norm 32x64x56x56, forward and backward", "batchnorm_fb"),
    Row("group norm 32x64x56x56, forward and backward", "groupnorm_fb"),
    Row("instance norm 32x64x56x56, forward and backward", "instancenorm_fb"),
    Row("embedding 50000x256 of 8192, forward and backward", "embedding_fb"),
    Row("causal attention 4x4096x64, forward and backward", "attention_fb"),
    Row("conv 32x64x32x32 k3 depthwise: y", "conv_y_depthwise"),
    Row("conv 32x64x32x32 k3 depthwise: dw", "conv_dw_depthwise"),
    Row("conv 128x1x28x28 k5 6: y", "conv_y_lenet1"),
    Row("conv 128x6x14x14 k5 16: y", "conv_y_lenet2"),
    Row("conv 128x6x14x14 k5 16: dx", "conv_dx_lenet2"),
    Row("conv 128x6x14x14 k5 16: dw", "conv_dw_lenet2"),
]
ROWS = STEPS + OPERATIONS + OVERHEAD
# The cases that the machine's rates are measured by.
RATES = {"flops f4": "mm_f32_2048", "flops f8": "mm_f64_1024", "bytes": "sum1_4096"}


def medians(rounds: dict[str, dict[str, list[float]]], row: Row) -> Medians:
    """Seconds by library."""

    def of(case: str) -> Medians:
        return {name: median(times) for name, times in rounds.get(case, {}).items() if times}

    times = of(row.case)
    if row.less is None:
        return times
    less = of(row.less)
    return {name: (times[name] - less[name]) / row.share for name in times if name in less}


def ratio(times: Medians) -> float | None:
    """luxon's time to the fastest other library's."""
    others = [seconds for name, seconds in times.items() if not name.startswith("luxon")]
    return times["luxon"] / min(others) if "luxon" in times and others else None


def rates(rounds) -> dict[str, float]:
    """What this run reached at best: floating-point operations and bytes a second."""
    import operations

    reached = {}
    for name, case in RATES.items():
        times = [min(values) for values in rounds.get(case, {}).values() if values]
        if times:
            flops, size, _ = operations.work(case)
            reached[name] = (flops or size) / min(times)
    return reached


def floor(row: Row, reached: dict[str, float]) -> float | None:
    """Seconds that the arithmetic and the traffic of a row need at those rates."""
    import operations
    import workloads

    def seconds(case: str) -> float | None:
        if case in operations.OVERHEAD:
            return None
        if case in workloads.SPECS:
            dtype = "f8" if workloads.spec(case)["dtype"] == "float64" else "f4"
            flops, size = workloads.flops(case), 0.0
        else:
            flops, size, dtype = operations.work(case)
        need = max(
            flops / reached.get(f"flops {dtype}", float("inf")), size / reached.get("bytes", float("inf"))
        )
        return need or None

    whole = seconds(row.case)
    if row.less is None or whole is None:
        return whole
    return (whole - (seconds(row.less) or 0.0)) / row.share


def show(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, scale in (("ns", 1e9), ("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 999.5:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds:.3g} s"


def plot(lines: list[dict], path: pathlib.Path, title: str) -> None:
    """Ratios to the fastest other library as bars, with what was aimed at."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = [line for line in lines if line["ratio"] is not None][::-1]
    figure, axes = pyplot.subplots(figsize=(9, 0.28 * len(drawn) + 1.2), layout="constrained")
    places = range(len(drawn))
    met = [line["goal"] is None or line["ratio"] <= line["goal"] for line in drawn]
    axes.barh(places, [line["ratio"] for line in drawn], color=["#4c8c6b" if m else "#c0703c" for m in met])
    for place, line in zip(places, drawn, strict=True):
        if line["goal"] is not None:
            axes.plot([line["goal"]] * 2, [place - 0.4, place + 0.4], color="black", linewidth=1.5)
    axes.axvline(1.0, color="gray", linewidth=0.8)
    axes.set_yticks(list(places), [line["title"] for line in drawn], fontsize=8)
    axes.set_xlabel("time of luxon / time of the fastest other library (bar: aim)")
    axes.set_title(title, fontsize=9)
    figure.savefig(path, dpi=140)
