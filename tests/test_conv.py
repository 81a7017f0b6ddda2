"""Convolution against JAX, its derivatives, its layers and its refusals."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some

import luxon as lx
from luxon import functional, nn
from luxon.testing import check_gradients

jax = pytest.importorskip("jax", reason="the oracle of these tests; see tests/requirements.txt")


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def expected(x, weight, stride, padding, dilation, groups):
    """JAX's convolution in float64."""
    with jax.enable_x64(True):
        y = jax.lax.conv_general_dilated(
            x, weight, stride, padding, rhs_dilation=dilation, feature_group_count=groups
        )
        return np.asarray(y)


@some.composite
def problems(draw):
    axes = draw(some.integers(1, 3))
    each = lambda low, high: tuple(draw(some.integers(low, high)) for _ in range(axes))  # noqa: E731
    size, kernel, stride, dilation = each(1, 9), each(1, 4), each(1, 3), each(1, 3)
    padding = tuple(zip(each(0, 4), each(0, 4), strict=True))
    for axis in range(axes):
        assume(size[axis] + sum(padding[axis]) > (kernel[axis] - 1) * dilation[axis])
    groups = draw(some.integers(1, 3))
    channels, filters = draw(some.integers(1, 4)), draw(some.integers(1, 5))
    batch = draw(some.integers(0, 9))
    x = numbers(1, batch, groups * channels, *size)
    weight = numbers(2, groups * filters, channels, *kernel)
    return x, weight, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


@settings(deadline=None, max_examples=40)
@given(problems())
def test_conv_and_its_gradients_equal_those_of_jax(problem):
    x, weight, options = problem
    bias = numbers(3, weight.shape[0])

    def reference(x, weight):
        return jax.lax.conv_general_dilated(
            x,
            weight,
            options["stride"],
            options["padding"],
            rhs_dilation=options["dilation"],
            feature_group_count=options["groups"],
        )

    with jax.enable_x64(True):
        wanted, pull = jax.vjp(reference, x, weight)
        cotangent = numbers(4, *wanted.shape)
        wanted_x, wanted_weight = (np.asarray(part) for part in pull(cotangent))
        wanted = np.asarray(wanted)

    def function(x, weight, bias):
        return functional.conv(x, weight, bias, **options)

    y, pullback = lx.vjp(function, *(lx.asarray(a) for a in (x, weight, bias)))
    dx, dweight, dbias = pullback(lx.asarray(cotangent))
    spread = bias.reshape((-1,) + (1,) * (x.ndim - 2))
    np.testing.assert_allclose(y, wanted + spread, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(dx, wanted_x, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(dweight, wanted_weight, rtol=1e-11, atol=1e-11)
    axes = (0, *range(2, x.ndim))
    np.testing.assert_allclose(dbias, cotangent.sum(axis=axes), rtol=1e-11, atol=1e-11)


@settings(deadline=None, max_examples=40)
@given(problems(), some.data())
def test_conv_transpose_is_the_transpose(problem, data):
    image, weight, options = problem
    with jax.enable_x64(True):
        y_shape = jax.eval_shape(
            lambda x, w: jax.lax.conv_general_dilated(
                x,
                w,
                options["stride"],
                options["padding"],
                rhs_dilation=options["dilation"],
                feature_group_count=options["groups"],
            ),
            image,
            weight,
        ).shape
    x = numbers(5, *y_shape)
    # What the convolution's rounding down leaves out is the output padding of its transpose.
    whole = [
        (y_shape[axis + 2] - 1) * stride - sum(padding) + dilation * (kernel - 1) + 1
        for axis, (stride, padding, dilation, kernel) in enumerate(
            zip(options["stride"], options["padding"], options["dilation"], weight.shape[2:], strict=True)
        )
    ]
    more = tuple(size - least for size, least in zip(image.shape[2:], whole, strict=True))
    assume(min(whole) > 0)
    got = functional.conv_transpose(lx.asarray(x), lx.asarray(weight), output_padding=more, **options)
    assert got.shape == image.shape
    # <conv(image), x> = <image, transpose(x)>
    forward = functional.conv(lx.asarray(image), lx.asarray(weight), **options)
    left, right = float(lx.sum(forward * x)), float(lx.sum(got * image))
    assert left == pytest.approx(right, rel=1e-9, abs=1e-9)


def test_same_padding_and_padding_modes():
    x, weight = numbers(1, 2, 3, 7), numbers(2, 4, 3, 4)
    got = functional.conv(lx.asarray(x), lx.asarray(weight), padding="same", dilation=2)
    np.testing.assert_allclose(got, expected(x, weight, (1,), ((3, 3),), (2,), 1), rtol=1e-11)
    for mode in ("reflect", "edge", "wrap"):
        layer = nn.Conv((4,), 3, 4, padding="same", padding_mode=mode)
        ps = lx.Tree({"weight": lx.asarray(weight), "bias": lx.zeros(4, dtype="float64")})
        padded = np.pad(x, ((0, 0), (0, 0), (1, 2)), mode=mode)
        y = layer(lx.asarray(x), ps, lx.Tree({}))[0]
        np.testing.assert_allclose(y, expected(padded, weight, (1,), ((0, 0),), (1,), 1), rtol=1e-11)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "groups": 2}])
def test_derivatives_of_both_orders(options):
    groups = options.get("groups", 1)
    x, weight, bias = numbers(1, 1, 2, 4, 5), numbers(2, 2, 2 // groups, 2, 2), numbers(3, 2)
    check_gradients(lambda x, w, b: functional.conv(x, w, b, **options), (x, weight, bias))
    check_gradients(lambda x, w, b: functional.conv_transpose(x, w, b, **options), (x, weight, bias))


def test_third_order():
    x, weight = numbers(1, 1, 1, 4), numbers(2, 2, 1, 2)
    check_gradients(lambda x, w: lx.tanh(functional.conv(x, w, padding=1)), (x, weight), order=3)


def test_half_types_are_computed_in_float32():
    x, weight = numbers(1, 2, 16, 9, 9), numbers(2, 8, 16, 3, 3)
    narrow = [lx.asarray(a).astype("float16") for a in (x, weight)]
    y = functional.conv(*narrow)
    assert y.dtype == lx.float16
    wide = functional.conv(*(a.astype("float32") for a in narrow))
    np.testing.assert_array_equal(y, wide.astype("float16"))


PROGRAM = """
import luxon as lx
from luxon import functional
for shape, filters, options in [
    ((16, 8, 20, 20), (20, 8, 3, 3), dict(padding=1)),
    ((2, 8, 33, 33), (20, 8, 3, 3), dict(padding=1, stride=2)),
    ((9, 32, 12, 12), (32, 1, 3, 3), dict(groups=32)),
]:
    x = lx.random.normal(lx.random.key(0), shape)
    w = lx.random.normal(lx.random.key(1), filters)
    y, pull = lx.vjp(lambda x, w: functional.conv(x, w, **options), x, w)
    for part in (y, *pull(y)):
        print(hash(bytes(memoryview(part.numpy()))) if hasattr(part, "numpy") else part.tolist())
"""


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    outputs = set()
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("LUXON_NUM_THREADS", threads)
        monkeypatch.setenv("PYTHONHASHSEED", "0")
        outputs.add(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True).stdout)
    assert len(outputs) == 1


def test_layers_infer_print_and_count():
    model = nn.Chain(
        nn.Conv((5, 5), None, 6, lx.relu, padding=2),
        nn.Conv((3, 3), None, 16, stride=2, groups=2, use_bias=False),
        nn.ConvTranspose((2, 2), None, 3, stride=2),
    )
    ps, _ = nn.setup(0, model, x_spec=(4, 1, 28, 28))
    assert ps.layer_1.weight.shape == (6, 1, 5, 5)
    assert ps.layer_2.weight.shape == (16, 3, 3, 3) and "bias" not in ps.layer_2
    assert ps.layer_3.weight.shape == (16, 3, 2, 2)
    assert nn.output_shape(model, (4, 1, 28, 28)) == (4, 3, 26, 26)
    flops = [row.flops for row in nn.summary(model, (4, 1, 28, 28)).rows]
    assert flops == [
        4 * 6 * 28 * 28 * (2 * 25 + 1),
        4 * 16 * 13 * 13 * 2 * 3 * 9,
        4 * 16 * 13 * 13 * 2 * 3 * 4 + 4 * 3 * 26 * 26,
    ]
    layer = nn.Conv((3, 3), 6, 16, lx.relu, stride=2, padding="valid", groups=2)
    assert repr(layer) == "Conv((3, 3), 6 => 16, relu, stride=2, padding='valid', groups=2)"
    assert repr(nn.ConvTranspose((3,), 6, 4, output_padding=1, stride=2)) == (
        "ConvTranspose((3,), 6 => 4, stride=2, output_padding=1)"
    )
    assert hash(nn.Conv([3], 1, 1, padding=[(1, 0)])) == hash(nn.Conv((3,), 1, 1, padding=((1, 0),)))


def test_initial_values_are_within_the_fans():
    ps, _ = nn.setup(0, nn.Conv((3, 3), 8, 32, groups=2))
    assert float(lx.max(lx.abs(ps.weight))) <= (4 * 9) ** -0.5
    assert float(lx.max(lx.abs(ps.weight))) > 0.9 * (4 * 9) ** -0.5
    assert float(lx.max(lx.abs(ps.bias))) <= (4 * 9) ** -0.5
    ps, _ = nn.setup(0, nn.ConvTranspose((3, 3), 8, 32, groups=2))
    assert 0.9 * (16 * 9) ** -0.5 < float(lx.max(lx.abs(ps.weight))) <= (16 * 9) ** -0.5


def test_a_flipped_kernel_is_the_mathematical_convolution():
    layer = nn.Conv((3,), 1, 1, padding=2, flip_kernel=True, use_bias=False)
    x, kernel = numbers(1, 6), numbers(2, 3)
    ps = lx.Tree({"weight": lx.asarray(kernel.reshape(1, 1, 3))})
    y = layer(lx.asarray(x.reshape(1, 1, 6)), ps, lx.Tree({}))[0]
    np.testing.assert_allclose(y[0, 0], np.convolve(x, kernel), rtol=1e-12)


def test_any_activation_is_applied():
    x = lx.asarray(numbers(1, 2, 3, 6))
    plain, ps = nn.Conv((3,), 3, 4), nn.setup(0, nn.Conv((3,), 3, 4), "float64")[0]
    y = plain(x, ps, lx.Tree({}))[0]
    for function in (lx.relu, lx.gelu, lambda z: z * z):
        layer = nn.Conv((3,), 3, 4, function)
        np.testing.assert_allclose(layer(x, ps, lx.Tree({}))[0], function(y), rtol=1e-12, atol=1e-15)
        check_gradients(lambda x, ps, layer=layer: layer(x, ps, lx.Tree({}))[0], (x, ps), order=1)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"stride": 0}, "stride and dilation must be positive"),
        ({"stride": -1}, "stride must not be negative"),
        ({"dilation": 0}, "stride and dilation must be positive"),
        ({"padding": -1}, "padding must not be negative"),
        ({"padding": "full"}, 'padding must be "same", "valid"'),
        ({"padding": "same", "stride": 2}, 'padding "same" needs stride 1'),
        ({"padding": (1, 2, 3)}, "padding has 3 entries for 2 spatial axes"),
        ({"groups": 0}, "groups must be positive"),
        ({"groups": 2}, "3 output channels in 2 groups"),
        ({"dilation": 2**61}, "a kernel that spans|too large"),
        ({"dilation": 4}, "a kernel that spans 9 on a padded axis of 8"),
    ],
)
def test_refusals(options, message):
    x, weight = lx.ones((1, 4, 8, 8)), lx.ones((3, 4, 3, 3))
    with pytest.raises((ValueError, OverflowError), match=message):
        functional.conv(x, weight, **options)


def test_layers_explain_their_refusals():
    layer = nn.Conv((3, 3), 4, 8)
    ps, st = nn.setup(0, layer)
    with pytest.raises(
        ValueError, match=r"Conv\(\(3, 3\), 4 => 8\) got \(1, 3, 8, 8\), expected \(batch, 4, size"
    ):
        layer(lx.ones((1, 3, 8, 8)), ps, st)
    with pytest.raises(ValueError, match="a kernel that spans 3 on a padded axis of 2"):
        layer(lx.ones((1, 4, 2, 8)), ps, st)
    with pytest.raises(TypeError, match="int64 input"):
        layer(lx.ones((1, 4, 8, 8), dtype="int64"), ps, st)
    with pytest.raises(KeyError, match="no parameter 'weight'"):
        layer(lx.ones((1, 4, 8, 8)), lx.Tree({}), st)
    with pytest.warns(UserWarning, match="float64 input is cast"):
        layer(lx.ones((1, 4, 8, 8), dtype="float64"), ps, st)
    for settings_ in (
        {"kernel": 3},
        {"kernel": ()},
        {"kernel": (3, 0)},
        {"groups": 3},
        {"padding": "same", "stride": 2},
        {"padding": -1},
        {"padding_mode": "constant"},
        {"stride": (1, 1, 1)},
    ):
        with pytest.raises(ValueError, match="Conv: "):
            nn.Conv(**{"kernel": (3, 3), "in_channels": 4, "out_channels": 8, **settings_})
    with pytest.raises(ValueError, match="output_padding 2 must be smaller"):
        functional.conv_transpose(lx.ones((1, 1, 4)), lx.ones((1, 1, 2)), output_padding=2, stride=2)
    with pytest.raises(ValueError, match="leaves nothing of axis 2"):
        functional.conv_transpose(lx.ones((1, 1, 1)), lx.ones((1, 1, 2)), padding=1)
