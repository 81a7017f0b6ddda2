"""Progress bars and loggers."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

import luxon as lx
from luxon import nn
from luxon.progress import Logger, Progress, Record, log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_log_files_get_a_line_for_each_tenth() -> None:
    file = io.StringIO()
    bar = Progress(range(1000), label="run", file=file, plain=True)
    for number in bar:
        bar.show(loss=lx.asarray(1.0 / (number + 1)), phase="warm")
    lines = file.getvalue().splitlines()
    assert len(lines) == 11 and lines[0] == "run: 1/1000 loss=1 phase=warm" and "1000/1000" in lines[-1]
    assert len(bar) == 1000 and list(Progress(range(3), file=file, plain=True)) == [0, 1, 2]


def test_a_terminal_has_one_line() -> None:
    file = Terminal()
    list(Progress(range(50), file=file, plain=True))
    assert file.getvalue().count("\n") == 1 and file.getvalue().endswith("50/50\x1b[K\n")


def test_a_loop_that_is_left_ends_its_line() -> None:
    file = Terminal()
    for number in Progress(range(50), file=file, plain=True):
        if number == 2:
            break
    assert file.getvalue().endswith("\n")
    file = Terminal()
    with pytest.raises(ZeroDivisionError):
        for number in Progress(range(3), file=file, plain=True):
            1 / (1 - number)
    assert file.getvalue().endswith("\n")


def test_iterables_without_length() -> None:
    file = io.StringIO()
    bar = Progress((number for number in range(100)), file=file, plain=True)
    assert sum(1 for _ in bar) == 100 and file.getvalue().split() == [str(2**power) for power in range(7)]
    with pytest.raises(TypeError, match="no length"):
        len(bar)


def test_tqdm_draws_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    file = io.StringIO()
    bar = Progress(range(3), label="here", file=file)
    for _ in bar:
        bar.show(loss=0.25)
    assert "here: 100%" in file.getvalue() and "loss=0.25" in file.getvalue()
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    file = io.StringIO()
    list(Progress(range(3), file=file))
    assert file.getvalue().splitlines()[-1] == "3/3"


def test_loggers_get_numbers_under_paths() -> None:
    record = Record()
    assert isinstance(record, Logger)
    values = {
        "loss": lx.asarray(0.5),
        "rates": (1, np.float32(2.0)),
        "on": True,
        "none": None,
        "one": np.ones(1),
    }
    log(record, 3, values, prefix="train")
    tags = {"loss": 0.5, "rates/0": 1.0, "rates/1": 2.0, "on": 1.0, "one": 1.0}
    assert record == {f"train/{tag}": [(3, value)] for tag, value in tags.items()}
    assert all(type(value) is float for pairs in record.values() for _, value in pairs)
    with pytest.raises(ValueError, match=r"g has shape \(2,\)"):
        log(record, 0, {"g": lx.ones(2)})
    for wrong, kind in (("x", "str"), (np.complex64(1), "complex64"), (np.asarray("x"), "<U1")):
        with pytest.raises(TypeError, match=f"g must be a number, got {kind}"):
            log(record, 0, {"g": wrong})


class Writer:
    """As strict as TensorBoard's: numbers and texts of the right kinds, and its further arguments."""

    def __init__(self) -> None:
        self.events: list[tuple[str, float, int]] = []

    def add_scalar(
        self,
        tag: str,
        scalar_value: float,
        global_step: int | None = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        assert type(tag) is str and type(scalar_value) is float and type(global_step) is int
        self.events.append((tag, scalar_value, global_step))


def test_writers_of_tensorboard_are_loggers() -> None:
    writer = Writer()
    assert isinstance(writer, Logger) and not isinstance(object(), Logger)
    ps, _ = nn.setup(0, nn.Dense(2, 1))
    log(writer, 4, lx.tree.map(lambda leaf: lx.sum(leaf * 0), ps), prefix="grads")
    assert writer.events == [("grads/weight", 0.0, 4), ("grads/bias", 0.0, 4)]


def test_html_of_models_trees_and_summaries() -> None:
    model = nn.Chain(a=nn.Chain(nn.Dense(2, 3), nn.BatchNorm(3)), b=nn.Dense(3, 1), name="<net>")
    shown = model._repr_html_()
    assert shown.count("<details") == shown.count("</details>") == 2
    assert shown.count("<div") == shown.count("</div>") and "Dense(3 =&gt; 1)" in shown
    assert "<net>" not in shown and "Dense" in nn.Dense(2, 3)._repr_html_()
    ps, _ = nn.setup(0, model)
    parts = ps._repr_html_()
    assert (
        parts.count("<details") == parts.count("</details>") == 5
        and "<div>weight: float32 (3, 2)</div>" in parts
    )
    assert parts.count("<div") == parts.count("</div>") and lx.Tree()._repr_html_()
    assert lx.Tree(a="<b>")._repr_html_().count("&lt;b&gt;") == 1
    table = nn.summary(model, (4, 2)).to_html()
    assert table.count("<tr>") == table.count("</tr>") == 5 and "<td>Dense(2 =&gt; 3)</td>" in table
    assert "non-trainable" in table
