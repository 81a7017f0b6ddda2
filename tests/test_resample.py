"""Interpolation against its formulas in NumPy and against JAX; pixels, channels and margins."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import luxon as lx
from luxon import functional, nn
from luxon.testing import check_gradients

MODES = {
    1: ("nearest", "linear"),
    2: ("nearest", "linear", "bilinear", "bicubic"),
    3: ("nearest", "linear", "trilinear"),
}


def weights(n, m, scale, mode, align_corners):
    """The matrix (m, n) of one axis."""
    matrix = np.zeros((m, n))
    for o in range(m):
        if mode == "nearest":
            ratio = np.float32(1 / scale) if scale else np.float32(n) / np.float32(m)
            matrix[o, min(int(np.float32(o) * ratio), n - 1)] = 1
            continue
        ratio = 1 / scale if scale else n / m
        at = (
            o * (n - 1) / (m - 1)
            if align_corners and m > 1
            else 0
            if align_corners
            else ratio * (o + 0.5) - 0.5
        )
        if mode == "bicubic":
            low = int(np.floor(at))
            for tap in range(low - 1, low + 3):
                d = abs(at - tap)
                near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
                matrix[o, min(max(tap, 0), n - 1)] += near if d <= 1 else far
            continue
        at = min(max(at, 0), n - 1)
        low = int(at)
        matrix[o, low] += 1 - (at - low)
        matrix[o, min(low + 1, n - 1)] += at - low
    return matrix


def interpolated(x, sizes, scales, mode, align_corners):
    first = x.ndim - len(sizes)
    for axis, (m, scale) in enumerate(zip(sizes, scales, strict=True)):
        matrix = weights(x.shape[first + axis], m, scale, mode, align_corners)
        x = np.moveaxis(np.moveaxis(x, first + axis, -1) @ matrix.T, -1, first + axis)
    return x


@settings(deadline=None)
@given(some.integers(1, 3), some.data())
def test_upsample(rank, data):
    mode = data.draw(some.sampled_from(MODES[rank]))
    align_corners = mode != "nearest" and data.draw(some.booleans())
    sizes = [data.draw(some.integers(1, 6)) for _ in range(rank)]
    x = np.random.default_rng(data.draw(some.integers(0, 99))).normal(size=(2, 3, *sizes))
    if data.draw(some.booleans()):
        target = [data.draw(some.integers(1, 13)) for _ in range(rank)]
        options, scales = {"size": target}, [None] * rank
    else:
        scales = [data.draw(some.sampled_from([1, 1.5, 2, 2.7, 3])) for _ in range(rank)]
        target = [int(n * scale) for n, scale in zip(sizes, scales, strict=True)]
        options = {"scale": scales}
    expected = interpolated(x, target, scales, mode, align_corners)
    for dtype, bound in (("float64", 1e-12), ("float32", 1e-5), ("bfloat16", 5e-2)):
        y = functional.upsample(lx.asarray(x, dtype=dtype), **options, mode=mode, align_corners=align_corners)
        assert str(y.dtype) == dtype
        np.testing.assert_allclose(np.asarray(lx.astype(y, "float64")), expected, rtol=bound, atol=bound)


def test_jax_agrees_on_linear_enlargement():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 7)).astype("float32")
    expected = jax.image.resize(x, (2, 3, 10, 21), "linear")
    y = functional.upsample(x, scale=(2, 3), mode="bilinear")
    np.testing.assert_allclose(np.asarray(y), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Upsample(1.5),
        nn.Upsample(size=(3, 7), mode="bilinear"),
        nn.Upsample((2, 1.5), mode="bicubic", align_corners=True),
        nn.PixelShuffle(2),
        nn.Pad(((1, 2), (0, 1)), "reflect"),
    ],
    ids=repr,
)
def test_derivatives_to_second_order(layer):
    x = np.random.default_rng(0).normal(size=(1, 4, 3, 4))
    check_gradients(lambda x: layer(lx.square(x), {}, {})[0], (x,))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pixels_and_channels_are_exchanged(rank):
    r, sizes = 2, (2, 3, 4)[:rank]
    x = np.random.default_rng(0).normal(size=(2, 3 * r**rank, *sizes))
    y = np.asarray(functional.pixel_shuffle(x, r))
    assert y.shape == (2, 3, *(size * r for size in sizes))
    for place in np.ndindex(2, 3, *sizes):
        block = x[place[0], place[1] * r**rank : (place[1] + 1) * r**rank]
        block = block[(slice(None), *place[2:])].reshape((r,) * rank)
        pixels = tuple(slice(at * r, (at + 1) * r) for at in place[2:])
        np.testing.assert_array_equal(y[(*place[:2], *pixels)], block)
    np.testing.assert_array_equal(np.asarray(functional.pixel_unshuffle(y, r)), x)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad_leaves_batch_and_channels(mode):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    y, _ = nn.Pad([(1, 2), (0, 3)], mode)(lx.asarray(x), {}, {})
    np.testing.assert_array_equal(np.asarray(y), np.pad(x, [(0, 0), (0, 0), (1, 2), (0, 3)], mode=mode))
    y, _ = nn.Pad(2, mode)(lx.asarray(x), {}, {})
    assert y.shape == (2, 3, 8, 9)


def test_shapes_need_no_data():
    model = nn.Chain(nn.Upsample(2, mode="bilinear"), nn.Pad(1), nn.PixelShuffle(2), nn.Upsample(size=40))
    assert nn.output_shape(model, (8, 16, 10, 11)) == (8, 4, 40, 40)
    assert nn.output_shape(nn.PixelUnshuffle(2), (8, 4, 6, 6)) == (8, 16, 3, 3)


def test_errors_say_what_does_not_fit():
    x = lx.ones((1, 3, 4, 4))
    for call, text in [
        (lambda: functional.upsample(x), "either scale or size"),
        (lambda: functional.upsample(x, 2, 8), "either scale or size"),
        (lambda: nn.Upsample(), "either scale or size"),
        (lambda: functional.upsample(x, -1), "scale must be positive"),
        (lambda: functional.upsample(x, float("nan")), "scale must be positive"),
        (lambda: functional.upsample(x, 0.1), "0 elements of axis 2"),
        (lambda: functional.upsample(x, 2, mode="cubic"), "mode must be"),
        (lambda: functional.upsample(x, 2, mode="trilinear"), "3 spatial axes, got 2"),
        (lambda: functional.upsample(x, 2, align_corners=True), "align_corners has no meaning"),
        (lambda: functional.pixel_shuffle(x, 2), r"3 channels of shape \(1, 3, 4, 4\)"),
        (lambda: functional.pixel_unshuffle(x, 3), "no multiples of 3"),
        (lambda: functional.pixel_shuffle(x, 0), "at least 1"),
        (lambda: functional.pixel_shuffle(lx.ones((4, 4)), 2), "batch, channels"),
        (lambda: nn.Pad([(1, 2)])(x, {}, {}), "each of its 2 spatial axes"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match="floating"):
        functional.upsample(lx.ones((1, 1, 4), dtype=lx.int32), 2)
    with pytest.raises((OverflowError, MemoryError)):
        functional.upsample(x, size=2**62)


def test_bits_do_not_depend_on_threads():
    x = np.random.default_rng(0).normal(size=(16, 8, 33, 30)).astype("float32")
    before = lx.threads()
    results = []
    for threads in (1, 2, 3):
        lx.set_threads(threads)
        gradient = lx.grad(lambda x: lx.sum(functional.upsample(x, 1.7, mode="bicubic") ** 3))
        results.append(np.asarray(gradient(lx.asarray(x))))
    lx.set_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)
