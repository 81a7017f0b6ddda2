"""Rules of differentiation: sub-gradients, rules of one's own, checkpoints, failures, memory, checking."""

from __future__ import annotations

import functools
import gc
import inspect
import math
import weakref

import numpy as np
import pytest

import luxon as lx
from luxon import Tree
from luxon.testing import check_gradients

F64 = functools.partial(lx.asarray, dtype="float64")
X = np.array([0.3, -1.2, 2.1])


def smooth(x):
    return lx.sum(lx.sin(x) * x + lx.exp(x * 0.3))


def close(a, b, rtol=1e-9):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=1e-10)


class TestSubGradients:
    """PyTorch's, in both modes."""

    @staticmethod
    def both(f, *points):
        points = [F64(point) for point in points]
        reverse = lx.grad(lambda *x: lx.sum(f(*x)), tuple(range(len(points))))(*points)
        for place, point in enumerate(points):
            for index in np.ndindex(point.shape):
                unit = lx.zeros_like(point).at[index].set(1.0) if index else lx.ones_like(point)
                tangents = tuple(unit if other == place else None for other in range(len(points)))
                pushed = lx.jvp(lambda *x: lx.sum(f(*x)), tuple(points), tangents)[1]
                close(pushed, np.asarray(reverse[place])[index])
        return [np.asarray(part).tolist() for part in reverse]

    @pytest.mark.parametrize(
        ("f", "points", "expected"),
        [
            (lx.relu, (0.0,), [0.0]),
            (lx.abs, (0.0,), [0.0]),
            (lx.max, ([1.0, 1.0, 0.0],), [[0.5, 0.5, 0.0]]),
            (lx.min, ([1.0, 1.0, 3.0],), [[0.5, 0.5, 0.0]]),
            (lx.maximum, (1.0, 1.0), [0.5, 0.5]),
            (lx.minimum, (1.0, 1.0), [0.5, 0.5]),
            (lambda x: lx.clip(x, 0.0, 1.0), ([0.0, 1.0, -1.0, 2.0, 0.5],), [[1.0, 1.0, 0.0, 0.0, 1.0]]),
            (lambda x: lx.sort(x) * F64([1.0, 2.0, 3.0]), ([3.0, 1.0, 2.0],), [[3.0, 1.0, 2.0]]),
            (lambda x: lx.top_k(x, 2).values * F64([1.0, 2.0]), ([3.0, 1.0, 2.0],), [[1.0, 0.0, 2.0]]),
        ],
    )
    def test_at_kinks_and_ties(self, f, points, expected):
        assert self.both(f, *points) == expected


def test_nan_goes_through_and_is_sorted_last():
    x = F64([math.nan, 2.0, 1.0])
    for f in (lx.max, lx.min, lambda x: lx.maximum(x, 0.0)[0], lambda x: lx.minimum(x, 0.0)[0]):
        assert math.isnan(float(f(x)))
    assert math.isnan(float(lx.clip(x, 0.0, 1.0)[0])) and math.isnan(float(lx.relu(x)[0]))
    assert lx.sort(x).tolist()[:2] == [1.0, 2.0] and lx.argsort(x).tolist() == [2, 1, 0]
    pooled = lx.functional.max_pool(lx.asarray([[[1.0, math.nan, 3.0, 4.0]]]), 2)
    assert math.isnan(float(pooled[0, 0, 0])) and float(pooled[0, 0, 1]) == 4.0
    for truth in (x[0] < 1, x[0] > 1, x[0] <= 1, x[0] >= 1, x[0] == x[0]):
        assert not bool(truth)


class TestAgainstJax:
    @pytest.fixture
    def jax(self):
        jax = pytest.importorskip("jax")
        jax.config.update("jax_enable_x64", True)
        return jax

    def test_custom_rules(self, jax):
        import jax.numpy as jnp

        def define(m, custom_vjp, custom_jvp):
            @custom_vjp
            def f(x, y):
                return m.sin(x) * y

            f.defvjp(
                lambda x, y: (f(x, y), (x, y)), lambda r, d: (d * m.cos(r[0]) * r[1] * 2.0, d * m.sin(r[0]))
            )

            @custom_jvp
            def g(x):
                return m.exp(x)

            g.defjvp(lambda p, t: (g(p[0]), 3.0 * g(p[0]) * t[0]))
            return lambda x: f(g(x), x) * g(f(x, x))

        ours = define(lx, lx.custom_vjp, lx.custom_jvp)
        theirs = define(jnp, jax.custom_vjp, jax.custom_jvp)
        for _ in range(3):
            ours, theirs = lx.grad(ours), jax.grad(theirs)
            close(ours(F64(0.3)), theirs(0.3))


class TestCustomRules:
    @staticmethod
    def doubled():
        @lx.custom_vjp
        def f(x, scale):
            return lx.sin(x) * scale

        f.defvjp(
            lambda x, scale: (f(x, scale), (x, scale)), lambda r, d: (2.0 * d * lx.cos(r[0]) * r[1], None)
        )
        return f

    def test_the_rule_is_used_in_every_mode(self):
        f = self.doubled()
        x = F64(0.4)
        assert float(f(x, 3.0)) == pytest.approx(3 * math.sin(0.4))
        assert float(lx.grad(f)(x, 3.0)) == pytest.approx(6 * math.cos(0.4))
        assert float(lx.jvp(lambda v: f(v, 3.0), (x,), (1.0,))[1]) == pytest.approx(6 * math.cos(0.4))
        assert float(lx.linearize(lambda v: f(v, 3.0), x)[1](1.0)) == pytest.approx(6 * math.cos(0.4))

    def test_it_is_differentiable_again(self):
        f = lambda x: self.doubled()(x, 3.0)  # noqa: E731
        x = F64(0.4)
        expected = -6 * math.sin(0.4)
        assert float(lx.grad(lx.grad(f))(x)) == pytest.approx(expected)
        assert float(lx.jvp(lx.grad(f), (x,), (1.0,))[1]) == pytest.approx(expected)
        assert float(lx.grad(lambda v: lx.jvp(f, (v,), (F64(1.0),))[1])(x)) == pytest.approx(expected)
        twice = lx.jvp(lambda v: lx.jvp(f, (v,), (F64(1.0),))[1], (x,), (F64(1.0),))[1]
        assert float(twice) == pytest.approx(expected)

    def test_forward_rules_in_every_mode(self):
        @lx.custom_jvp
        def cube(x):
            return x * x * x

        @cube.defjvp
        def rule(primals, tangents):
            return cube(*primals), 5.0 * primals[0] * primals[0] * tangents[0]

        x = F64(2.0)
        assert callable(rule)
        assert float(lx.grad(cube)(x)) == float(lx.jvp(cube, (x,), (1.0,))[1]) == 20.0
        assert float(lx.grad(lx.grad(cube))(x)) == float(lx.hessian(cube)(x)) == 20.0
        assert float(lx.jacobian(lx.jacobian(cube, mode="forward"), mode="reverse")(x)) == 20.0
        assert float(lx.grad(lx.grad(lx.grad(cube)))(x)) == 10.0

    def test_trees_and_other_arguments(self):
        @lx.custom_vjp
        def f(p, mode, data=None):
            assert mode == "train" and data is None
            return {"y": p.a * p.b, "n": lx.asarray(3), "s": "text"}

        seen = []

        def backward(p, d):
            seen.append(d)
            return Tree(a=d["y"] * p.b, b=None, c=None), None, None

        f.defvjp(lambda p, mode, data: (f(p, mode, data), p), backward)
        g = lx.grad(lambda p: f(p, mode="train")["y"] * 1.0)(Tree(a=F64(2.0), b=F64(3.0), c=4.0))
        assert float(g.a) == 3.0 and float(g.b) == 0.0
        assert seen[0]["n"] is None and seen[0]["s"] is None

    def test_zeros_for_results_without_a_cotangent(self):
        @lx.custom_vjp
        def f(x):
            return x * 2.0, x * 3.0

        f.defvjp(lambda x: (f(x), None), lambda _, d: (d[0] * 2.0 + d[1] * 3.0,))
        assert float(lx.grad(lambda x: f(x)[1])(F64(1.0))) == 3.0
        _, dy = lx.jvp(f, (F64(1.0),), (F64(1.0),))
        assert [float(v) for v in dy] == [2.0, 3.0]

    @pytest.mark.parametrize(
        ("backward", "message"),
        [
            (lambda r, d: d, r"tuple with one entry per argument \(1\), got Tensor"),
            (lambda r, d: (d, d), "2 gradients for 1"),
            (lambda r, d: (lx.stack([d, d]),), r"gradient of argument 0 has shape \(2,\)"),
            (lambda r, d: ({"x": d},), "another structure"),
        ],
    )
    def test_wrong_rules(self, backward, message):
        f = lx.custom_vjp(lambda x: x * 1.0)
        f.defvjp(lambda x: (x * 1.0, None), backward)
        with pytest.raises((TypeError, ValueError), match=message):
            lx.grad(f)(F64(1.0))

    def test_wrong_forward_rules(self):
        f = lx.custom_vjp(lambda x: x * 1.0)
        assert float(f(1.0)) == 1.0
        with pytest.raises(ValueError, match="defvjp"):
            lx.grad(f)(F64(1.0))
        f.defvjp(lambda x: x, lambda r, d: (d,))
        with pytest.raises(TypeError, match=r"pair \(result, residuals\)"):
            lx.grad(f)(F64(1.0))
        g = lx.custom_jvp(lambda x: x * 1.0)
        g.defjvp(lambda p, t: p[0])
        with pytest.raises(TypeError, match=r"pair \(result, tangent\)"):
            lx.jvp(g, (F64(1.0),), (1.0,))

    def test_closing_over_what_is_differentiated(self):
        def outer(x):
            f = lx.custom_vjp(lambda y: y * x)
            f.defvjp(lambda y: (y * x, None), lambda r, d: (d,))
            return f(x)

        with pytest.raises(ValueError, match="not one of its arguments"):
            lx.grad(outer)(F64(1.0))

    def test_methods_and_names(self):
        class Thing:
            k = 3.0

            @lx.custom_vjp
            def times(self, x):
                """Times k."""
                return x * self.k

            times.defvjp(lambda self, x: (x * self.k, self.k), lambda k, d: (None, d * k * 10.0))

            slope = lx.grad(lambda self, x: x * x * self.k, argnums=1)

        assert float(Thing().times(2.0)) == 6.0
        assert float(lx.grad(Thing().times)(2.0)) == 30.0
        assert float(Thing().slope(2.0)) == 12.0
        assert Thing.times.__doc__ == "Times k." and Thing.times.__name__ == "times"

        def named(x, y=1):
            "documented"

        for made in (lx.grad(named), lx.jacobian(named), lx.checkpoint(named), lx.custom_jvp(named)):
            assert made.__name__ == "named" and made.__doc__ == "documented" and made.__wrapped__ is named
            assert inspect.signature(made) == inspect.signature(named)


class TestCheckpoint:
    def test_values_and_gradients_are_the_same(self):
        w = F64(X)
        for order in (1, 2, 3):
            plain = once = lambda x: lx.sum(lx.sin(x * w) * lx.exp(x))
            once = lx.checkpoint(once)
            for _ in range(order):
                plain, once = lx.grad(plain), lx.grad(once)
            close(once(F64(0.3)), plain(F64(0.3)))
        f = lambda x: lx.sum(lx.sin(x * w))  # noqa: E731
        close(lx.jvp(lx.checkpoint(f), (F64(0.3),), (1.0,))[1], lx.grad(f)(F64(0.3)))
        close(lx.hessian(lx.checkpoint(smooth))(F64(X)), lx.hessian(smooth)(F64(X)))

    def test_closures_get_gradients(self):
        def f(w):
            part = w * 2.0
            return lx.checkpoint(lambda x: lx.sin(x) * part)(F64(0.5)) + w

        assert float(lx.grad(f)(F64(3.0))) == pytest.approx(2 * math.sin(0.5) + 1)
        assert float(lx.grad(lambda w: f(w) * w)(F64(3.0))) == pytest.approx(2 * 3 * 2 * math.sin(0.5) + 6)

    def test_it_runs_again_and_nests(self):
        runs = []

        def inner(x):
            runs.append(1)
            return lx.exp(x)

        f = lx.checkpoint(lambda x: lx.sin(lx.checkpoint(inner)(x)) * x)
        assert float(lx.grad(f)(F64(0.2))) == pytest.approx(
            math.cos(math.exp(0.2)) * math.exp(0.2) * 0.2 + math.sin(math.exp(0.2))
        )
        assert len(runs) == 3

    def test_trees_keywords_and_other_results(self):
        @lx.checkpoint
        def f(p, *, scale, flag=True):
            return {"y": p.a * scale, "n": 3, "same": flag}

        ps = Tree(a=F64(2.0), k=lx.asarray(1))
        value, g = lx.value_and_grad(lambda a, s: f(ps.replace("a", a), scale=s)["y"], (0, 1))(
            F64(2.0), F64(5.0)
        )
        assert float(value) == 10.0 and [float(v) for v in g] == [5.0, 2.0]
        assert f(ps, scale=1.0)["same"] is True

    def test_intermediates_are_not_kept(self):
        class Residual:
            pass

        kept = []

        def forward(x):
            residual = Residual()
            kept.append(weakref.ref(residual))
            return x * 2.0, residual

        f = lx.custom_vjp(lambda x: x * 2.0)
        f.defvjp(forward, lambda _, d: (d * 2.0,))
        _, plain = lx.vjp(f, F64(1.0))
        _, pullback = lx.vjp(lx.checkpoint(f), F64(1.0))
        gc.collect()
        assert kept[0]() is not None and kept[1]() is None
        assert float(plain(1.0)[0]) == float(pullback(1.0)[0]) == 2.0


class TestStopGradient:
    def test_tensors_and_trees(self):
        assert float(lx.grad(lambda x: x * lx.stop_gradient(x))(F64(3.0))) == 3.0
        assert float(lx.jvp(lambda x: x * lx.stop_gradient(x), (F64(3.0),), (1.0,))[1]) == 3.0
        second = lx.grad(lx.grad(lambda x: lx.stop_gradient(x * x) * x * x))
        assert float(second(F64(3.0))) == 18.0
        g = lx.grad(lambda p: p.a * lx.stop_gradient(p).b)(Tree(a=F64(2.0), b=F64(3.0)))
        assert float(g.a) == 3.0 and float(g.b) == 0.0
        t = Tree(a=F64(1.0), n="x")
        assert lx.stop_gradient(t) is t and lx.stop_gradient(5) == 5


class TestFailure:
    def test_exceptions_pass_through_unchanged(self):
        error = KeyError("mine")

        def fails(*_):
            raise error

        rule = lx.custom_vjp(lambda x: x * 1.0)
        rule.defvjp(lambda x: (x * 1.0, None), fails)
        forward = lx.custom_vjp(lambda x: x * 1.0)
        forward.defvjp(fails, fails)
        pushed = lx.custom_jvp(lambda x: x * 1.0)
        pushed.defjvp(fails)
        x = F64(1.0)
        calls = [
            lambda: lx.grad(fails)(x),
            lambda: lx.grad(lx.grad(fails))(x),
            lambda: lx.jvp(fails, (x,), (x,)),
            lambda: lx.vjp(fails, x),
            lambda: lx.linearize(fails, x),
            lambda: lx.jacobian(fails)(x),
            lambda: lx.jacobian(fails, mode="forward")(x),
            lambda: lx.grad(lx.checkpoint(fails))(x),
            lambda: lx.grad(rule)(x),
            lambda: lx.grad(lx.grad(rule))(x),
            lambda: lx.jvp(rule, (x,), (x,)),
            lambda: lx.vjp(rule, x)[1](1.0),
            lambda: lx.grad(forward)(x),
            lambda: lx.grad(pushed)(x),
            lambda: lx.jvp(pushed, (x,), (x,)),
            lambda: lx.linearize(rule, x)[1](1.0),
        ]
        for call in calls:
            with pytest.raises(KeyError) as caught:
                call()
            assert caught.value is error
            assert float(lx.grad(lambda v: v * v)(x)) == 2.0

    def test_an_error_in_checkpoints_second_run(self):
        runs = []

        def f(x):
            runs.append(1)
            if len(runs) > 1:
                raise RuntimeError("second run")
            return x * 2.0

        with pytest.raises(RuntimeError, match="second run"):
            lx.grad(lx.checkpoint(f))(F64(1.0))

    def test_tensors_that_escape_are_constants(self):
        escaped = []
        lx.grad(lambda x: escaped.append(x * x) or x * x)(F64(3.0))
        assert not escaped[0].is_tracked and float(np.asarray(escaped[0])) == 9.0
        assert float(lx.grad(lambda x: x * escaped[0])(F64(2.0))) == 9.0
        lx.jvp(lambda x: escaped.append(x * x) or x, (F64(3.0),), (1.0,))
        assert not escaped[1].is_tracked and float(escaped[1] + escaped[0]) == 18.0
        with pytest.raises(ZeroDivisionError):
            lx.grad(lambda x: escaped.append(x) or 1 / 0)(F64(1.0))
        assert not escaped[2].is_tracked


class TestMemory:
    def test_memory_is_given_back(self):
        class Watched:
            pass

        box = [Watched()]
        f = lx.custom_vjp(lambda x: x * 1.0)
        f.defvjp(lambda x: (x * 1.0, box[0]), lambda r, d: (d,))
        reference = weakref.ref(box[0])
        _, pullback = lx.vjp(f, F64(1.0))
        box.clear()
        gc.collect()
        assert reference() is not None
        del pullback
        gc.collect()
        assert reference() is None

    def test_a_rule_that_names_its_function_is_collected(self):
        def made():
            f = lx.custom_vjp(lambda x: x * 1.0)
            f.defvjp(lambda x: (f(x), None), lambda r, d: (f(d),))
            g = lx.custom_jvp(lambda x: x * 1.0)
            g.defjvp(lambda p, t: (g(*p), t[0] * 1.0))
            h = lx.grad(lambda x: f(x) * g(x) if h else x)
            h(2.0)
            return [weakref.ref(object) for object in (f, g, h)]

        references = made()
        gc.collect()
        assert [reference() for reference in references] == [None, None, None]


class TestChecking:
    def test_it_passes_what_is_right(self):
        check_gradients(
            lambda p, y, n: {"a": lx.sin(p.w) * y, "b": lx.sum(p.w[n:] ** 3)}, (Tree(w=X), 2.0, 1), order=2
        )
        check_gradients(smooth, (X,), order=3, rtol=1e-4)

    def test_it_names_what_is_wrong(self):
        wrong = lx.custom_vjp(lambda x: x * x)
        wrong.defvjp(lambda x: (x * x, x), lambda x, d: (d * x,))
        with pytest.raises(AssertionError, match=r"argument 1 at a\.w, index \(2,\): reverse mode"):
            check_gradients(
                lambda s, p: p.a.w[:2].sum() + wrong(p.a.w[2]) * s, (1.0, Tree(a=Tree(w=X))), order=1
            )
        half = lx.custom_vjp(lambda x: x * x)
        half.defvjp(lambda x: (x * x, x), lambda x, d: (2.0 * d * lx.stop_gradient(x),))
        check_gradients(half, (3.0,), order=1)
        with pytest.raises(AssertionError, match="derivative of the derivative"):
            check_gradients(half, (3.0,), order=2)
        with pytest.raises(ValueError, match="order"):
            check_gradients(half, (3.0,), order=0)
