"""Differentiation: every mode, nested, over trees, against closed forms and JAX."""

from __future__ import annotations

import doctest
import functools
import math
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luxon as lx
from luxon import Tree, tree

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

    def test_jets(self):
        runs = []

        def f(x, p):
            runs.append(1)
            return {"p": lx.sin(x) * p["y"], "i": lx.asarray(1), "c": F64(1.0)}

        x, p = F64(X), {"y": F64(2.0)}
        directions = [(F64(X), {"y": 1.0}), (None, {"y": 1.0})]
        value, (first, second) = lx.jet(f, (x, p), directions, [2, 1])
        assert len(runs) == 1 and len(first) == 2 and len(second) == 1
        close(value["p"], np.sin(X) * 2)
        close(first[0]["p"], np.cos(X) * X * 2 + np.sin(X))
        close(first[1]["p"], -np.sin(X) * X**2 * 2 + 2 * np.cos(X) * X)
        close(second[0]["p"], np.sin(X))
        assert first[0]["i"] is None and first[1]["c"].tolist() == 0.0
        assert lx.jet(f, (x, p), directions, 1, unused="none")[1][1][0]["c"] is None

        def strength(x):
            _, ((_, bend),) = lx.jet(lx.tanh, x, [F64(X)])
            return lx.sum(bend**2)

        nested = lambda x: lx.sum(  # noqa: E731
            lx.jvp(lambda x: lx.jvp(lx.tanh, x, F64(X))[1], x, F64(X))[1] ** 2
        )
        close(lx.grad(strength)(x), lx.grad(nested)(x))
        close(lx.jvp(strength, (x,), (F64(X),))[1], lx.jvp(nested, (x,), (F64(X),))[1])
        with pytest.raises(ValueError, match="1 orders for 2 directions"):
            lx.jet(f, (x, p), directions, [1])
        # More would not be found out by running out of memory, or of stack.
        for order in (0, 65, 10**18):
            with pytest.raises(ValueError, match=f"order of direction 0 is {order}; orders go from 1 to 64"):
                lx.jet(lx.sin, x, [x], order)
        with pytest.raises(ValueError, match="orders must be positive, got -1"):
            lx.jet(lx.sin, x, [x], -1)
        for orders in ("2", 1.5, True, [1.5]):
            with pytest.raises(TypeError, match="jet: orders must be an int"):
                lx.jet(lx.sin, x, [x], orders)
        with pytest.raises(ValueError, match="tangent of argument 0 has shape"):
            lx.jet(lx.sin, x, [F64(1.0)])

    def test_jets_go_through_rules_of_ones_own(self):
        cube = lx.custom_vjp(lambda x: x**3)
        cube.defvjp(lambda x: (x**3, x), lambda x, dy: (dy * 3 * x**2,))
        same = lx.custom_jvp(lambda x: x**3)
        same.defjvp(lambda p, t: (p[0] ** 3, t[0] * 3 * p[0] ** 2))
        for f in (cube, same, lx.checkpoint(lambda x: x**3)):
            value, (derivatives, _) = lx.jet(f, F64(X), [F64(np.ones(3)), F64(X)], 3)
            for got, expected in zip((value, *derivatives), (X**3, 3 * X**2, 6 * X, 6 + 0 * X), strict=True):
                close(got, expected)

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

    def test_backends_nest(self):
        kinds = {
            "tape": lambda f: lambda x: lx.vector_jacobian_product(f, lx.AutoTape(), x, F64(1.0)),
            "forward": lambda f: lambda x: lx.jacobian_vector_product(f, lx.AutoForward(), x, F64(1.0)),
            "differences": lambda f: (
                lambda x: lx.vector_jacobian_product(f, lx.AutoFiniteDiff(), x, F64(1.0))
            ),
            "grad": lx.grad,
        }
        for outer in kinds.values():
            for inner in kinds.values():
                twice = outer(inner(lambda x: x**3))
                assert float(twice(F64(2.0))) == pytest.approx(12.0, rel=1e-3)


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


def test_examples():
    names = [
        "grad",
        "value_and_grad",
        "vjp",
        "jvp",
        "jet",
        "linearize",
        "jacobian",
        "stop_gradient",
        "checkpoint",
    ]
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
