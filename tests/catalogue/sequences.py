"""Recurrent cells and attention."""

import luxon as lx
from luxon import nn

from .case import (
    NO_TENSOR,
    TYPE,
    VALUE,
    Case,
    cell,
    cells,
    integers,
    named,
    sequences,
)

GRU = nn.GRUCell(3, 4)
CASES = [
    Case(
        nn.RNNCell(3, 4),
        (2, 3),
        ((2, 4), (2, 4)),
        cell(4),
        "",
        2 * 2 * 4 * 7,
        "RNNCell(3 => 4)",
        cells("RNNCell(3 => 4)"),
    ),
    Case(
        nn.RNNCell(3, 4, lx.sigmoid),
        ((2, 3), (2, 4)),
        ((2, 4), (2, 4)),
        cell(4),
        "",
        2 * 2 * 4 * 7,
        "RNNCell(3 => 4, sigmoid)",
        cells("RNNCell(3 => 4, sigmoid)"),
    ),
    Case(
        nn.LSTMCell(3, 4, train_state=True, train_memory=True),
        (2, 3),
        ((2, 4), ((2, 4), (2, 4))),
        cell(16, hidden_state=(4,), memory=(4,)),
        "",
        2 * 2 * 16 * 7,
        "LSTMCell(3 => 4, train_state=True, train_memory=True)",
        cells("LSTMCell(3 => 4, train_state=True, train_memory=True)"),
    ),
    Case(
        nn.GRUCell(3, 4, use_bias=False),
        (2, 3),
        ((2, 4), (2, 4)),
        {"weight_ih": (12, 3), "weight_hh": (12, 4)},
        "",
        2 * 2 * 12 * 7,
        "GRUCell(3 => 4, use_bias=False)",
        cells("GRUCell(3 => 4, use_bias=False)"),
    ),
    Case(
        nn.Recurrence(GRU),
        (2, 5, 3),
        (2, 4),
        cell(12),
        "",
        5 * 2 * 2 * 12 * 7,
        "Recurrence of GRUCell(3 => 4)",
        sequences("GRUCell(3 => 4)"),
    ),
    Case(
        nn.StatefulRecurrentCell(GRU),
        (2, 3),
        (2, 4),
        cell(12),
        "cell carry",
        2 * 2 * 12 * 7,
        "StatefulRecurrentCell of GRUCell(3 => 4)",
        (
            ((2, 5), VALUE, "GRUCell(3 => 4) got (2, 5), expected (..., 3)"),
            ((2, 5, 3), VALUE, "nn.Recurrence takes a cell along a sequence"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.BidirectionalRNN(GRU),
        (2, 5, 3),
        (2, 5, 8),
        named("forward", cell(12)) | named("backward", cell(12)),
        "forward backward",
        2 * 5 * 2 * 2 * 12 * 7,
        "BidirectionalRNN(",
        sequences("GRUCell(3 => 4)"),
    ),
    Case(
        nn.MultiHeadAttention(8, 4, causal=True, kv_heads=2),
        (2, 5, 8),
        (2, 5, 8),
        {f"{name}_proj.weight": (4 if name in "kv" else 8, 8) for name in ("q", "k", "v", "out")},
        "q_proj k_proj v_proj out_proj",
        10 * 2 * 8 * (8 + 4 + 4 + 8) + 4 * 8 * 2 * 5 * 5,
        "MultiHeadAttention(8, heads=4, causal=True, kv_heads=2)(",
        (
            ((5, 8), VALUE, "got (5, 8), expected (batch, time, 8)"),
            ((2, 5, 6), VALUE, "q_proj: Dense(8 => 8, use_bias=False) got (2, 5, 6), expected (..., 8)"),
            (((2, 5, 8), (3, 5, 8)), VALUE, "q (2, 5, 4, 2), k (3, 5, 2, 2)"),
            (
                ((2, 5, 8),) * 3 + ((5, 5),),
                TYPE,
                "expected bool (true = attend); give numbers to add as bias",
            ),
            (integers(2, 5, 8), TYPE, "int32 input"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.MultiHeadAttention(8, 2, 0.1, use_bias=True, return_weights=True),
        ((2, 5, 8), (2, 7, 8)),
        ((2, 5, 8), (2, 2, 5, 7)),
        {
            f"{name}_proj.{leaf}": shape
            for name in ("q", "k", "v", "out")
            for leaf, shape in (("weight", (8, 8)), ("bias", (8,)))
        },
        "q_proj k_proj v_proj out_proj attention_dropout",
        (10 + 14 + 14 + 10) * 8 * 17 + 4 * 8 * 2 * 5 * 7 + 2 * 2 * 5 * 7,
        "MultiHeadAttention(8, heads=2, dropout=0.1, use_bias=True, return_weights=True)(",
    ),
]
