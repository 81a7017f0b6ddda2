"""Differentiation: every transformation, nested, over trees, against closed forms and JAX."""

from __future__ import annotations

import doctest
import functools
import gc
import inspect
import math
import types
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luxon as lx
from luxon import Tree, tree
from luxon.testing import check_gradients

F64 = functools.partial(lx.asarray, dtype="float64")
X = np.array([0.3, -1.2, 2.1])
BACKENDS = [lx.AutoTape(), lx.AutoForward(), lx.AutoFiniteDiff()]


def smooth(x):
    return lx.sum(lx.sin(x) * x + lx.exp(x * 0.3))


def close(a, b, rtol=1e-9):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=1e-10)


class TestGradients:
    def test_closed_form(self):
        close(lx.grad(smooth)(F64(X)), np.cos(X) * X + np.sin(X) + 0.3 * np.exp(0.3 * X))
        value, slope = lx.value_and_grad(smooth)(F64(X))
        close(value, smooth(F64(X)))
        close(slope, lx.grad(smooth)(F64(X)))

    def test_argnums(self):
        f = lambda x, y, *, k=1.0: x * y * y * k  # noqa: E731
        x, y = F64(2.0), F64(3.0)
        assert float(lx.grad(f)(x, y)) == 9.0 and float(lx.grad(f, 1)(x, y)) == 12.0
        assert float(lx.grad(f, -1)(x, y, k=2.0)) == 24.0
        both = lx.grad(f, (1, 0))(x, y)
        assert isinstance(both, tuple) and [float(g) for g in both] == [12.0, 9.0]
        assert isinstance(lx.grad(f, (0,))(x, y), tuple)
        for argnums, error in (
            (2, TypeError),
            (-3, TypeError),
            ((0, -2), ValueError),
            ((), ValueError),
            ("x", TypeError),
        ):
            with pytest.raises(error):
                lx.grad(f, argnums)(x, y)

    def test_trees_and_nests(self):
        ps = Tree(layer=Tree(w=F64(2.0), b=F64(3.0)), extra=(F64(1.0), None))
        g = lx.grad(lambda p: p.layer.w * p.layer.w * p.extra[0] + p.layer.b)(ps)
        assert isinstance(g, Tree) and g == {
            "layer": {"w": F64(4.0), "b": F64(1.0)},
            "extra": (F64(4.0), None),
        }
        g = lx.grad(lambda p: p["a"][0] * p["b"])({"a": [F64(2.0)], "b": F64(3.0)})
        assert type(g) is dict and type(g["a"]) is list and float(g["a"][0]) == 3.0

    def test_numbers_and_arrays_are_converted(self):
        assert lx.grad(lambda x: x * x)(3.0).dtype == lx.float32
        g = lx.grad(lambda x: (x * x).sum())(np.ones(3))
        assert isinstance(g, lx.Tensor) and g.dtype == lx.float64

    def test_aux(self):
        f = lambda x: (x * x, {"twice": x * 2, "note": "n"})  # noqa: E731
        g, aux = lx.grad(f, has_aux=True)(F64(3.0))
        (value, aux2), g2 = lx.value_and_grad(f, has_aux=True)(F64(3.0))
        assert float(g) == float(g2) == 6.0 and float(value) == 9.0 and aux["note"] == "n"
        assert not aux["twice"].is_tracked and aux == aux2
        np.asarray(aux["twice"])
        keep = Tree(a=F64(1.0))
        assert lx.grad(lambda x: (x, keep), has_aux=True)(1.0)[1] is keep
        with pytest.raises(TypeError, match=r"pair \(result, aux\)"):
            lx.grad(lambda x: x, has_aux=True)(1.0)

    def test_unused(self):
        ps = Tree(used=F64(2.0), spare=F64([1.0, 2.0]))
        f = lambda p: p.used * 2.0  # noqa: E731
        close(lx.grad(f)(ps).spare, [0.0, 0.0])
        assert lx.grad(f, unused="none")(ps).spare is None
        assert float(lx.grad(lambda x: 3.0)(F64(1.0))) == 0.0
        with pytest.raises(ValueError, match="zeros"):
            lx.grad(f, unused="maybe")

    def test_what_cannot_be_differentiated(self):
        with pytest.raises(TypeError, match="argument 0 is of dtype int64"):
            lx.grad(lambda x: x)(3)
        with pytest.raises(TypeError, match=r"at layer\.count is of dtype int32"):
            lx.grad(lambda p: p.x)(Tree(x=1.0, layer=Tree(count=lx.asarray(1, dtype="int32"))))
        with pytest.raises(TypeError, match="at name is of str"):
            lx.grad(lambda p: p.x)(Tree(x=1.0, name="n"))
        with pytest.raises(TypeError, match=r"argument 1.*bool"):
            lx.jvp(lambda x, m: x, (1.0, True), (1.0, None))
        with pytest.raises(ValueError, match="0-d"):
            lx.grad(lambda x: x)(F64(X))
        with pytest.raises(TypeError, match="0-d tensor, got tuple"):
            lx.grad(lambda x: (x, x))(1.0)
        with pytest.raises(TypeError, match="int64"):
            lx.grad(lambda x: lx.asarray(1))(1.0)

    def test_control_flow_and_values(self):
        def f(x):
            y = x
            while float(y) < 100.0:
                y = y * y
            return y if y > 0 else -y

        assert float(lx.grad(f)(F64(2.0))) == 8 * 2.0**7
        with pytest.raises(TypeError, match="stop_gradient"):
            lx.grad(lambda x: np.asarray(x).sum())(F64(X))

    def test_higher_orders(self):
        g = lx.sin
        for expected in (math.cos, lambda v: -math.sin(v), lambda v: -math.cos(v), math.sin):
            g = lx.grad(g)
            assert float(g(F64(0.7))) == pytest.approx(expected(0.7), rel=1e-12)

    def test_no_perturbation_confusion(self):
        assert float(lx.grad(lambda x: x * lx.grad(lambda y: x + y)(F64(1.0)))(F64(2.0))) == 1.0
        inner = lambda x: lx.jvp(lambda y: x * y, (F64(1.0),), (F64(1.0),))[1]  # noqa: E731
        assert float(lx.jvp(lambda x: x * inner(x), (F64(3.0),), (F64(1.0),))[1]) == 6.0
        outer = lx.grad(lambda x: x * lx.vjp(lambda y: x * y * y, F64(2.0))[1](1.0)[0])
        assert float(outer(F64(3.0))) == 2 * 3.0 * 4.0

    def test_sub_gradients(self):
        zero = F64(0.0)
        assert float(lx.grad(lx.relu)(zero)) == 0.0 and float(lx.grad(lx.abs)(zero)) == 0.0
        close(lx.grad(lambda x: lx.max(x))(F64([1.0, 1.0, 0.0])), [0.5, 0.5, 0.0])
        close(lx.grad(lambda x: lx.maximum(x, 1.0))(F64(1.0)), 0.5)


class TestProducts:
    def test_pullback(self):
        y, pullback = lx.vjp(lambda a, b: {"m": a * b, "s": a + 1.0}, F64(2.0), F64(3.0))
        assert float(y["m"]) == 6.0 and not y["m"].is_tracked
        assert [float(g) for g in pullback({"m": 1.0, "s": 10.0})] == [13.0, 2.0]
        assert [float(g) for g in pullback({"m": None, "s": F64(1.0)})] == [1.0, 0.0]
        assert [float(g) for g in pullback(None)] == [0.0, 0.0]
        with pytest.raises(ValueError, match="missing s"):
            pullback({"m": 1.0})
        with pytest.raises(ValueError, match=r"cotangent at m has shape \(2,\)"):
            pullback({"m": F64([1.0, 2.0]), "s": None})
        with pytest.raises(ValueError, match="float32"):
            pullback({"m": lx.asarray(1.0), "s": None})

    def test_aux_and_unused(self):
        _, pullback, aux = lx.vjp(lambda a, b: (a, b * 2), F64(1.0), F64(2.0), has_aux=True, unused="none")
        assert pullback(1.0)[1] is None and float(aux) == 4.0 and not aux.is_tracked
        _, dy, aux = lx.jvp(lambda a: (a * 2, "aux"), (F64(1.0),), (1.0,), has_aux=True)
        assert float(dy) == 2.0 and aux == "aux"
        assert lx.jvp(lambda a: F64(1.0), (F64(1.0),), (1.0,), unused="none")[1] is None

    def test_pushing(self):
        _, dy = lx.jvp(lambda a, b: (a * b, [a], 3, lx.asarray(1)), (F64(2.0), F64(3.0)), (F64(1.0), None))
        assert float(dy[0]) == 3.0 and float(dy[1][0]) == 1.0 and dy[2] is None and dy[3] is None
        assert float(lx.jvp(lx.sin, F64(0.0), F64(2.0))[1]) == 2.0
        ps = Tree(a=F64(2.0), b=F64(3.0))
        assert float(lx.jvp(lambda p: p.a * p.b, ps, {"a": 1.0, "b": 0.5})[1]) == 4.0
        with pytest.raises(ValueError, match="1 tangents for 2"):
            lx.jvp(lambda a, b: a, (1.0, 2.0), (1.0,))
        with pytest.raises(ValueError, match="tangent of argument 0 has shape"):
            lx.jvp(lambda a: a, (F64(X),), (F64(1.0),))

    def test_linearize_runs_once(self):
        runs = []

        def f(x, y):
            runs.append(1)
            return {"p": lx.sin(x) * y, "i": lx.asarray(1)}

        x, y = F64(X), F64(2.0)
        _, push = lx.linearize(f, x, y)
        for dx, dy in ((F64(X), F64(1.0)), (F64([1.0, 0.0, 0.0]), None), (None, 2.0)):
            expected = lx.jvp(f, (x, y), (dx, dy))[1]
            close(push(dx, dy)["p"], expected["p"])
            assert push(dx, dy)["i"] is None
        assert len(runs) == 4
        close(lx.grad(lambda t: lx.sum(push(t, None)["p"]))(F64(X)), np.cos(X) * 2.0)

    def test_a_pullback_is_differentiable(self):
        x = F64(X)
        _, pullback = lx.vjp(lambda v: lx.sin(v) * v, x)
        slope = np.cos(X) * X + np.sin(X)
        close(lx.grad(lambda u: lx.sum(pullback(u)[0]))(F64(X)), slope)
        close(lx.jvp(lambda u: pullback(u)[0], (F64(X),), (F64(X),))[1], slope * X)
        g = lx.grad(lambda v: lx.sum(lx.vjp(lx.sin, v)[1](v)[0]))(x)
        close(g, np.cos(X) - X * np.sin(X))

    @pytest.mark.parametrize("ad", BACKENDS, ids=lambda ad: type(ad).__name__)
    def test_by_backend(self, ad):
        assert isinstance(ad, lx._transforms.Backend)
        f = lambda p: lx.sin(p["x"]) * p["y"]  # noqa: E731
        p = {"x": F64(X), "y": F64(2.0)}
        u = F64([1.0, -2.0, 0.5])
        back = lx.vector_jacobian_product(f, ad, p, u)
        close(back["x"], np.cos(X) * 2.0 * np.asarray(u), rtol=1e-6)
        close(back["y"], np.sum(np.sin(X) * np.asarray(u)), rtol=1e-6)
        pushed = lx.jacobian_vector_product(f, ad, p, {"x": u, "y": F64(1.0)})
        close(pushed, np.cos(X) * 2.0 * np.asarray(u) + np.sin(X), rtol=1e-6)
        x = F64(np.stack([X, 2 * X]))
        rows = lx.batched_jacobian(
            lambda x: lx.stack([lx.sum(x * x, axis=1), lx.sum(x, axis=1)], axis=1), ad, x
        )
        assert rows.shape == (2, 2, 3)
        close(rows[1, 0], 4 * X, rtol=1e-6)
        close(rows[0, 1], np.ones(3), rtol=1e-6)
        (value, aux), g = ad.value_and_grad(lambda q: (lx.sum(q["x"] ** 2), "aux"), p)
        assert aux == "aux" and float(value) == pytest.approx(np.sum(X**2))
        close(g["x"], 2 * X, rtol=1e-6)
        assert float(g["y"]) == 0.0 if isinstance(ad, lx.AutoFiniteDiff) else g["y"] is None
        with pytest.raises(ValueError, match="batch"):
            lx.batched_jacobian(lambda x: x[0], ad, F64(np.ones((2, 3))))


class TestSecondOrder:
    MATRIX = np.array([[2.0, 0.5, 0.1], [0.3, 1.0, -0.2], [0.0, 0.4, 3.0]])

    def quadratic(self, x):
        return lx.sum(x * (F64(self.MATRIX) @ x)) + lx.sum(x * x * x)

    def expected(self):
        return self.MATRIX + self.MATRIX.T + np.diag(6 * X)

    def test_jacobian_modes_agree(self):
        f = lambda x: lx.stack([x[0] * x[1], lx.sin(x[2]), lx.sum(x * x), x[0]])  # noqa: E731
        reverse, forward, auto = (
            lx.jacobian(f, mode=mode)(F64(X)) for mode in ("reverse", "forward", "auto")
        )
        expected = [[X[1], X[0], 0], [0, 0, math.cos(X[2])], 2 * X, [1, 0, 0]]
        for j in (reverse, forward, auto):
            assert j.shape == (4, 3)
            close(j, expected)
        with pytest.raises(ValueError, match="mode"):
            lx.jacobian(f, mode="sideways")

    def test_jacobian_of_trees(self):
        f = lambda p, q: {"s": p.a * q, "t": lx.sum(p.b)}  # noqa: E731
        p, q = Tree(a=F64(2.0), b=F64(np.ones((2, 2)))), F64([1.0, 2.0, 3.0])
        for mode in ("reverse", "forward", "auto"):
            j = lx.jacobian(f, (0, 1), mode)(p, q)
            assert type(j["s"]) is tuple and isinstance(j["s"][0], Tree)
            close(j["s"][0].a, q)
            close(j["s"][1], 2 * np.eye(3))
            assert j["s"][0].b.shape == (3, 2, 2) and j["t"][1].shape == (3,)
            close(j["t"][0].b, np.ones((2, 2)))
        assert lx.jacobian(lambda x: x * 2.0)(lx.zeros((0,))).shape == (0, 0)

    def test_hessians(self):
        close(lx.hessian(self.quadratic)(F64(X)), self.expected())
        for outer in ("reverse", "forward"):
            for inner in ("reverse", "forward"):
                both = lx.jacobian(lx.jacobian(self.quadratic, mode=inner), mode=outer)
                close(both(F64(X)), self.expected())
        h = lx.hessian(lambda p: p.a * p.a * p.b)(Tree(a=F64(2.0), b=F64(3.0)))
        assert float(h.a.a) == 6.0 and float(h.a.b) == float(h.b.a) == 4.0 and float(h.b.b) == 0.0

    def test_hessian_vector_products(self):
        v = F64([1.0, -1.0, 0.5])
        expected = self.expected() @ np.asarray(v)
        close(lx.hvp(self.quadratic, F64(X), v), expected)
        assert isinstance(lx.hvp(self.quadratic, (F64(X),), (v,)), tuple)
        close(lx.grad(lambda x: lx.sum(lx.grad(self.quadratic)(x) * v))(F64(X)), expected)
        close(lx.grad(lambda x: lx.jvp(self.quadratic, (x,), (v,))[1])(F64(X)), expected)
        tangent = lambda x: lx.jvp(self.quadratic, (x,), (F64(np.eye(3)[0]),))[1]  # noqa: E731
        close(lx.jvp(tangent, (F64(X),), (v,))[1], expected[0])

    @given(st.permutations(["grad", "jvp", "vjp", "linearize"]))
    @settings(max_examples=24, deadline=None)
    def test_any_mix_in_any_order(self, order):
        def derivative(kind, f):
            one = F64(1.0)
            return {
                "grad": lx.grad(f),
                "jvp": lambda x: lx.jvp(f, (x,), (one,))[1],
                "vjp": lambda x: lx.vjp(f, x)[1](one)[0],
                "linearize": lambda x: lx.linearize(f, x)[1](one),
            }[kind]

        f = lambda x: lx.sin(x) * lx.exp(x * 0.5)  # noqa: E731
        for kind in order[:3]:
            f = derivative(kind, f)
        z = complex(0.5, 1.0)
        expected = (z**3 * np.exp(z * 0.7)).imag
        assert float(f(F64(0.7))) == pytest.approx(expected, rel=1e-10)


FUNCTIONS = {
    "smooth": lambda m, x: m.sum(m.tanh(x) * m.exp(x * x * 0.1) + m.log(x * x + 1.0)),
    "ratio": lambda m, x: m.sum(x[:2] / (1.0 + x[1:] ** 2)) * m.sqrt(m.sum(x * x)),
    "matrix": lambda m, x: m.sum(m.matmul(x[:, None] * x[None, :], m.sin(x)) ** 2),
    "reduce": lambda m, x: m.max(x) * m.prod(x) + m.mean(m.where(x > 0, x, x * x)),
}


class TestAgainstJax:
    @pytest.fixture
    def jax(self):
        jax = pytest.importorskip("jax")
        jax.config.update("jax_enable_x64", True)
        return jax

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_derivatives(self, jax, name):
        import jax.numpy as jnp

        f = FUNCTIONS[name]
        ours, theirs = (lambda x: f(lx, x)), (lambda x: f(jnp, x))
        v = np.array([1.0, -0.5, 0.25])
        close(lx.grad(ours)(F64(X)), jax.grad(theirs)(X))
        close(lx.hessian(ours)(F64(X)), jax.hessian(theirs)(X), rtol=1e-8)
        close(lx.jvp(ours, (F64(X),), (F64(v),))[1], jax.jvp(theirs, (X,), (v,))[1])
        third = lx.jvp(lambda x: lx.hvp(ours, x, F64(v)), (F64(X),), (F64(v),))[1]
        hvp = lambda x: jax.jvp(jax.grad(theirs), (x,), (v,))[1]  # noqa: E731
        close(third, jax.jvp(hvp, (X,), (v,))[1], rtol=1e-7)

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


class TestScale:
    def test_a_million_operations(self):
        def f(x):
            for _ in range(1_000_000):
                x = x + 1.0
            return x

        assert float(lx.grad(f)(F64(0.0))) == 1.0
        y, pullback = lx.vjp(f, F64(0.0))
        assert float(y) == 1e6
        del pullback
        kept = []
        with pytest.raises(ZeroDivisionError):
            lx.grad(lambda x: kept.append(f(x)) or 1 / 0)(F64(0.0))
        kept.clear()

    def test_a_deep_stack_of_levels(self):
        f = lx.exp
        for _ in range(6):
            f = lx.grad(f)
        assert float(f(F64(0.5))) == pytest.approx(math.exp(0.5))

    def test_endless_recursion_is_an_exception(self):
        def f(x):
            return lx.grad(f)(x) * x

        g = lx.custom_jvp(lambda x: x * 1.0)
        g.defjvp(lambda p, t: (g(*p), g(*t)))
        for endless in (f, g, lambda x: lx.grad(lx.checkpoint(f))(x), lambda x: lx.vjp(f, x)[0]):
            with pytest.raises(RecursionError):
                lx.grad(endless)(F64(1.0))

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


def test_examples():
    names = ["grad", "value_and_grad", "vjp", "jvp", "linearize", "jacobian", "stop_gradient", "checkpoint"]
    runner = doctest.DocTestRunner()
    for name in [*names, "custom_vjp", "custom_jvp"]:
        text = getattr(lx, name).__doc__
        example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
        assert example.examples, name
        runner.run(example)
    assert runner.failures == 0
    for module in ("_transforms", "testing"):
        assert doctest.testmod(getattr(lx, module)).failed == 0


def test_the_transformations_are_functions_of_functions():
    assert isinstance(lx.grad, types.BuiltinFunctionType) and callable(lx.grad(lx.sin))
    assert tree.structure(lx.grad(lambda p: p["x"] * 1.0)({"x": 1.0})) == tree.structure({"x": 0})
