"""Pooling against windows written out in NumPy, and against JAX's reduce_window."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import luxon as lx
from luxon import functional, nn
from luxon.testing import check_gradients

jax.config.update("jax_enable_x64", True)


def windows_of(size, window, stride, pads, dilation, ceil_mode):
    """The positions of every window of an axis, and how many of its taps lie within the padded axis."""
    before, after = pads
    reach = dilation * (window - 1) + 1
    found, start = [], -before
    while start + reach <= size + after or (
        ceil_mode and start < size and start + reach < size + after + stride
    ):
        taps = [start + k * dilation for k in range(window)]
        inside = [tap for tap in taps if 0 <= tap < size]
        found.append((inside, sum(tap < size + after for tap in taps)))
        start += stride
    return found


def reduced(x, axes, take):
    """`take(values, padded count)` of every window of the last axes."""
    lead = x.shape[: x.ndim - len(axes)]
    y = np.empty((*lead, *map(len, axes)), x.dtype)
    for place in itertools.product(*(range(len(axis)) for axis in axes)):
        chosen = [axis[at] for axis, at in zip(axes, place, strict=True)]
        block = x[(..., *np.ix_(*(inside for inside, _ in chosen)))]
        count = np.prod([padded for _, padded in chosen])
        y[(..., *place)] = take(block.reshape(*lead, -1), count)
    return y


@some.composite
def problems(draw, dilated=True):
    rank = draw(some.integers(1, 3))
    axes_settings = []
    for _ in range(rank):
        window = draw(some.integers(1, 4))
        dilation = draw(some.integers(1, 3)) if dilated else 1
        reach = dilation * (window - 1) + 1
        pads = (draw(some.integers(0, reach // 2)), draw(some.integers(0, reach // 2)))
        size = draw(some.integers(max(reach - sum(pads), 1), reach + 8))
        axes_settings.append((size, window, draw(some.integers(1, 4)), pads, dilation))
    x = np.random.default_rng(draw(some.integers(0, 99))).normal(
        size=(2, 3, *(size for size, *_ in axes_settings))
    )
    # Few values, so that there are ties.
    x = np.round(x * 2) / 2
    return x, axes_settings, draw(some.booleans())


def arguments(axes_settings):
    _, window, stride, pads, dilation = (list(part) for part in zip(*axes_settings, strict=True))
    return {"window": window, "stride": stride, "padding": pads, "dilation": dilation}


def has_empty(axes):
    return any(not inside for axis in axes for inside, _ in axis)


@settings(deadline=None)
@given(problems())
def test_max_pool(problem):
    x, axes_settings, ceil_mode = problem
    axes = [windows_of(*setting, ceil_mode) for setting in axes_settings]
    if has_empty(axes):
        with pytest.raises(ValueError, match="padding alone"):
            functional.max_pool(x, **arguments(axes_settings), ceil_mode=ceil_mode)
        return
    expected = reduced(x, axes, lambda values, _: values.max(-1))
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        y = functional.max_pool(lx.asarray(x, dtype=dtype), **arguments(axes_settings), ceil_mode=ceil_mode)
        assert str(y.dtype) == dtype
        np.testing.assert_array_equal(np.asarray(lx.astype(y, "float64")), expected)


@settings(deadline=None)
@given(problems(dilated=False), some.booleans())
def test_mean_pool(problem, count_include_pad):
    x, axes_settings, ceil_mode = problem
    axes = [windows_of(*setting, ceil_mode) for setting in axes_settings]
    take = lambda values, count: values.sum(-1) / (count if count_include_pad else values.shape[-1])  # noqa: E731
    options = {key: value for key, value in arguments(axes_settings).items() if key != "dilation"}
    options |= {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    expected = reduced(x, axes, take)
    for dtype, bound in (("float64", 1e-14), ("float32", 1e-6), ("bfloat16", 2e-2)):
        y = functional.mean_pool(lx.asarray(x, dtype=dtype), **options)
        np.testing.assert_allclose(np.asarray(lx.astype(y, "float64")), expected, rtol=bound, atol=bound)


@settings(deadline=None)
@given(some.integers(1, 3), some.integers(0, 99), some.data())
def test_adaptive_pools(rank, seed, data):
    sizes = [data.draw(some.integers(1, 12)) for _ in range(rank)]
    output = [data.draw(some.integers(1, 14)) for _ in range(rank)]
    x = np.random.default_rng(seed).normal(size=(2, 2, *sizes))
    axes = [
        [(list(range(o * n // m, -(-(o + 1) * n // m))), 0) for o in range(m)]
        for n, m in zip(sizes, output, strict=True)
    ]
    close = lambda y, expected: np.testing.assert_allclose(np.asarray(y), expected, rtol=1e-10, atol=1e-13)  # noqa: E731
    close(functional.adaptive_max_pool(x, output), reduced(x, axes, lambda v, _: v.max(-1)))
    close(functional.adaptive_mean_pool(x, output), reduced(x, axes, lambda v, _: v.mean(-1)))
    close(functional.adaptive_lp_pool(x, output, 2), reduced(x, axes, lambda v, _: (v**2).sum(-1) ** 0.5))


@settings(max_examples=15, deadline=None)
@given(problems(dilated=False))
def test_gradients_go_where_jax_sends_them(problem):
    x, axes_settings, _ = problem
    if has_empty([windows_of(*setting, False) for setting in axes_settings]):
        return
    ones = (1, 1)
    shape = {
        "window_dimensions": (*ones, *(window for _, window, *_ in axes_settings)),
        "window_strides": (*ones, *(stride for _, _, stride, *_ in axes_settings)),
        "padding": ((0, 0), (0, 0), *(pads for *_, pads, _ in axes_settings)),
    }
    # JAX has no second derivative of a maximum; without ties all agree on the first.
    x = x + np.random.default_rng(1).uniform(0, 0.1, x.shape)
    y, pull = jax.vjp(lambda x: jax.lax.reduce_window(x, -np.inf, jax.lax.max, **shape), x)
    dy = np.random.default_rng(0).normal(size=y.shape)
    z, back = lx.vjp(lambda x: functional.max_pool(x, **arguments(axes_settings)), lx.asarray(x))
    np.testing.assert_array_equal(np.asarray(z), y)
    np.testing.assert_allclose(np.asarray(back(lx.asarray(dy))[0]), pull(dy)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool(2),
        nn.MaxPool((3, 2), stride=(2, 1), padding=((1, 1), (0, 1)), ceil_mode=True),
        nn.MaxPool(2, stride=1, padding="same", dilation=2),
        nn.MeanPool(3, stride=2, padding=1),
        nn.MeanPool(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        nn.MeanPool((3, 1), stride=(9, 1), padding=((1, 0), (0, 0))),
        nn.LPPool(2, p=3),
        nn.GlobalMeanPool(),
        nn.GlobalLPPool(),
        nn.AdaptiveMaxPool(3),
        nn.AdaptiveMeanPool((2, 3)),
        nn.AdaptiveLPPool((2, 3), p=4),
    ],
    ids=repr,
)
def test_derivatives_to_second_order(layer):
    x = np.random.default_rng(0).permutation(40).reshape(1, 2, 5, 4) / 17 + 0.3
    check_gradients(lambda x: layer(lx.square(x), {}, {})[0], (x,))


def test_ties_go_to_the_first_and_global_ones_are_shared():
    x = lx.ones((1, 1, 2, 2))
    gradient = lambda layer: lx.grad(lambda x: lx.sum(layer(x, {}, {})[0]))(x).tolist()[0][0]  # noqa: E731
    assert gradient(nn.MaxPool(2)) == [[1, 0], [0, 0]]
    assert gradient(nn.AdaptiveMaxPool(1)) == [[1, 0], [0, 0]]
    assert gradient(nn.GlobalMaxPool()) == [[0.25, 0.25], [0.25, 0.25]]


def test_nan_wins_and_minus_infinity_is_a_value():
    x = lx.asarray([[[1.0, np.nan, 2.0, 3.0, -np.inf, -np.inf]]])
    np.testing.assert_array_equal(np.asarray(functional.max_pool(x, 2)), [[[np.nan, 3, -np.inf]]])
    padded = functional.max_pool(x[..., 4:], 2, padding=1)
    np.testing.assert_array_equal(np.asarray(padded), [[[-np.inf, -np.inf]]])


def test_a_window_of_zeros_has_p_norm_and_gradient_zero():
    for layer in (
        nn.LPPool(2),
        nn.LPPool(2, p=3),
        nn.AdaptiveLPPool(2),
        nn.GlobalLPPool(),
        nn.LPPool(2, p=1),
    ):
        y, pull = lx.vjp(lambda x, layer=layer: layer(x, {}, {})[0], lx.zeros((1, 1, 4)))
        assert not np.any(np.asarray(y))
        assert not np.any(np.asarray(pull(lx.ones(y.shape))[0]))


def test_same_keeps_one_output_per_stride():
    for size, window, stride in itertools.product((5, 8), (2, 3, 4), (1, 2, 3)):
        y = functional.max_pool(lx.ones((1, 1, size)), window, stride, "same")
        assert y.shape == (1, 1, -(-size // stride))


def test_shapes_need_no_data():
    model = nn.Chain(
        nn.MaxPool(3, 2, 1), nn.MeanPool(2), nn.LPPool(2, ceil_mode=True), nn.AdaptiveMeanPool((3, 5))
    )
    assert nn.output_shape(model, (8, 4, 100, 101)) == (8, 4, 3, 5)
    assert nn.output_shape(nn.GlobalMaxPool(), (8, 4, 10, 10, 10)) == (8, 4, 1, 1, 1)
    assert nn.output_shape(nn.AdaptiveMaxPool(4), (8, 4, 9)) == (8, 4, 4)
    assert nn.summary(nn.MaxPool(3, 2, 1), (1, 2, 8, 8)).rows[0].flops == 9 * 2 * 16


def test_leading_axes_are_free_where_windows_name_theirs():
    x = np.random.default_rng(0).normal(size=(4, 6))
    expected = x.reshape(2, 2, 3, 2).max((1, 3))
    np.testing.assert_array_equal(np.asarray(functional.max_pool(x, (2, 2))), expected)
    stacked = np.broadcast_to(x, (2, 1, 3, 4, 6))
    np.testing.assert_array_equal(np.asarray(functional.max_pool(stacked, (2, 2)))[1, 0, 2], expected)


def test_errors_say_what_does_not_fit():
    x = lx.ones((2, 3, 6, 6))
    for call, text in [
        (lambda: functional.max_pool(x, 7), r"7 elements do not fit axis 2 of shape \(2, 3, 6, 6\)"),
        (lambda: functional.max_pool(x, 2, padding=2), "more than half of a window"),
        (lambda: functional.max_pool(x, 2, padding="wide"), "same"),
        (lambda: functional.max_pool(x, 0), "at least 1"),
        (lambda: functional.max_pool(x, -2), "must not be negative"),
        (lambda: functional.max_pool(x, (2, 2), stride=(1, 1, 1)), "stride has 3 entries for 2 axes"),
        (lambda: functional.max_pool(x, (2, 2), padding=((1, 1),)), "padding has 1 entries for 2 axes"),
        (lambda: functional.max_pool(lx.ones((2, 3)), 2), "batch, channels"),
        (lambda: functional.lp_pool(x, 2, 0), "p must be finite and not 0"),
        (lambda: functional.adaptive_mean_pool(x, 0), "into 0 windows"),
        (lambda: nn.MaxPool(2)(lx.ones((3, 4)), {}, {}), r"MaxPool.* got \(3, 4\)"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match="floating"):
        functional.max_pool(lx.ones((1, 1, 4), dtype=lx.int32), 2)
    with pytest.raises(TypeError, match="window must be an int"):
        functional.max_pool(x, 2.5)


def test_more_windows_than_memory_has_room_for_are_an_error():
    for pool in (functional.adaptive_mean_pool, functional.adaptive_lp_pool, functional.adaptive_max_pool):
        with pytest.raises(MemoryError):
            pool(lx.ones((1, 1, 4)), 2**45)


def test_bits_do_not_depend_on_threads():
    x = np.random.default_rng(0).normal(size=(64, 8, 33, 30)).astype("float32")

    def compute():
        pools = (lambda x: functional.max_pool(x, 3, 2, 1), lambda x: functional.mean_pool(x, 3, 2, 1))
        pools += (lambda x: functional.adaptive_mean_pool(x, 7), lambda x: functional.adaptive_max_pool(x, 7))
        return [
            np.asarray(lx.grad(lambda x, pool=pool: lx.sum(pool(x) ** 3))(lx.asarray(x))) for pool in pools
        ]

    before = lx.threads()
    results = []
    for threads in (1, 2, 3):
        lx.set_threads(threads)
        results.append(compute())
    lx.set_threads(before)
    for other in results[1:]:
        for mine, theirs in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
