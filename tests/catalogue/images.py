"""Convolutions, pooling and resampling."""

from luxon import nn

from .case import NO_TENSOR, TYPE, VALUE, Case, integers, pooled

CASES = [
    Case(
        nn.Conv((3, 3), 4, 6, stride=2, padding=1, groups=2),
        (2, 4, 8, 8),
        (2, 6, 4, 4),
        {"weight": (6, 2, 3, 3), "bias": (6,)},
        "",
        192 * 37,
        "Conv((3, 3), 4 => 6, stride=2, padding=1, groups=2)",
        (
            ((4, 8, 8), VALUE, "got (4, 8, 8), expected (batch, 4, size, size)"),
            ((2, 3, 8, 8), VALUE, "got (2, 3, 8, 8), expected (batch, 4, size, size)"),
            ((2, 4, 8, 0), VALUE, "x (2, 4, 8, 0), weight (6, 2, 3, 3), bias (6,) do not fit"),
            (integers(2, 4, 8, 8), TYPE, "int32 input"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.ConvTranspose((2,), 4, 6, stride=2),
        (2, 4, 5),
        (2, 6, 10),
        {"weight": (4, 6, 2), "bias": (6,)},
        "",
        40 * 24 + 120,
        "ConvTranspose((2,), 4 => 6, stride=2)",
        (
            ((4, 5), VALUE, "got (4, 5), expected (batch, 4, size)"),
            ((2, 3, 5), VALUE, "got (2, 3, 5), expected (batch, 4, size)"),
            (integers(2, 4, 5), TYPE, "int32 input"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.MaxPool((3, 2), 2),
        (2, 3, 9, 8),
        (2, 3, 4, 4),
        {},
        "",
        96 * 6,
        "MaxPool((3, 2), stride=2)",
        (
            *pooled("MaxPool((3, 2), stride=2)"),
            ((2, 3, 1, 8), VALUE, "windows of 3 elements do not fit axis 2 of shape (2, 3, 1, 8)"),
            (integers(2, 3, 9, 8), TYPE, "dtype int32 is not supported"),
        ),
    ),
    Case(
        nn.MeanPool((2, 2)),
        (2, 3, 8, 8),
        (2, 3, 4, 4),
        {},
        "",
        96 * 4,
        "MeanPool((2, 2))",
        (
            *pooled("MeanPool((2, 2))"),
            ((2, 3, 1, 8), VALUE, "windows of 2 elements do not fit axis 2 of shape (2, 3, 1, 8)"),
            (integers(2, 3, 8, 8), TYPE, "dtype int32 is not supported"),
        ),
    ),
    Case(
        nn.LPPool((2, 2), 3),
        (2, 3, 8, 8),
        (2, 3, 4, 4),
        {},
        "",
        96 * 8,
        "LPPool((2, 2), p=3)",
        pooled("LPPool((2, 2), p=3)"),
    ),
    *(
        Case(
            layer,
            (2, 3, 4, 5),
            (2, 3, 1, 1),
            {},
            "",
            flops,
            text,
            (((2, 3), VALUE, f"{text} got (2, 3), expected (batch, channels, spatial...)"), NO_TENSOR),
        )
        for layer, flops, text in (
            (nn.GlobalMaxPool(), 120, "GlobalMaxPool()"),
            (nn.GlobalMeanPool(), 120, "GlobalMeanPool()"),
            (nn.GlobalLPPool(3), 240, "GlobalLPPool(p=3)"),
        )
    ),
    *(
        Case(layer, (2, 3, 5, 4), (2, 3, 2, 2), {}, "", flops, text, pooled(text))
        for layer, flops, text in (
            (nn.AdaptiveMaxPool((2, 2)), 144, "AdaptiveMaxPool((2, 2))"),
            (nn.AdaptiveMeanPool((2, 2)), 144, "AdaptiveMeanPool((2, 2))"),
            (nn.AdaptiveLPPool((2, 2)), 288, "AdaptiveLPPool((2, 2))"),
        )
    ),
    Case(
        nn.Upsample(2, mode="bilinear"),
        (2, 3, 4, 5),
        (2, 3, 8, 10),
        {},
        "",
        4 * 6 * (8 * 5 + 8 * 10),
        "Upsample(scale=2, mode='bilinear')",
        (
            ((2, 3), VALUE, "got (2, 3), expected (batch, channels, spatial...)"),
            ((2, 3, 4), VALUE, 'mode "bilinear" is for 2 spatial axes, got 1'),
            (integers(2, 3, 4, 5), TYPE, "dtype int32 is not supported"),
            NO_TENSOR,
        ),
    ),
    Case(
        nn.Upsample(size=(3,)),
        (2, 3, 4),
        (2, 3, 3),
        {},
        "",
        0,
        "Upsample(size=(3,))",
        (((2, 3, 4, 5), VALUE, "got (2, 3, 4, 5), expected (batch, channels, size)"),),
    ),
    Case(
        nn.PixelShuffle(2),
        (2, 8, 3, 3),
        (2, 2, 6, 6),
        {},
        "",
        0,
        "PixelShuffle(2)",
        (
            ((2, 8), VALUE, "pixel_shuffle: got shape (2, 8), expected (batch, channels"),
            ((2, 6, 3, 3), VALUE, "6 channels of shape (2, 6, 3, 3) are no multiple of 2^2"),
            (None, TYPE, "NoneType"),
        ),
    ),
    Case(
        nn.PixelUnshuffle(2),
        (2, 2, 6, 6),
        (2, 8, 3, 3),
        {},
        "",
        0,
        "PixelUnshuffle(2)",
        (
            ((2, 8), VALUE, "pixel_unshuffle: got shape (2, 8), expected (batch, channels"),
            ((2, 2, 5, 6), VALUE, "axes of shape (2, 2, 5, 6) are no multiples of 2"),
            (None, TYPE, "NoneType"),
        ),
    ),
    Case(
        nn.Pad([(1, 2)], "edge"),
        (2, 3, 4),
        (2, 3, 7),
        {},
        "",
        0,
        "Pad(((1, 2),), mode='edge')",
        (
            ((2, 3, 4, 5), VALUE, "got (2, 3, 4, 5), expected a pair (before, after) for each of its 2"),
            NO_TENSOR,
        ),
    ),
]
