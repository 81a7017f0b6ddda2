"""Trees in the registries of optree, JAX and PyTorch, whichever is imported first."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import luxon as lx
from luxon import nn, tree

TIED = tree.tie(lx.Tree(a=lx.Tree(w=1.0, b=2.0), c=lx.Tree(w=1.0), z=(3.0, 4.0)), [["a.w", "c.w"]])


def doubled(x):
    return 2 * x


def functions(name):
    """map, leaves, paths and a flatten-unflatten round trip of a library."""
    if name == "optree":
        optree = pytest.importorskip("optree")

        def paths(value):
            return [path[0] for path in optree.tree_paths(value)]

        def around(value):
            leaves, spec = optree.tree_flatten(value)
            return optree.tree_unflatten(spec, leaves), spec == optree.tree_structure(value)

        return optree.tree_map, optree.tree_leaves, paths, around
    if name == "jax":
        jax = pytest.importorskip("jax")

        def paths(value):
            return [path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(value)]

        def around(value):
            leaves, spec = jax.tree.flatten(value)
            return jax.tree.unflatten(spec, leaves), hash(spec) == hash(jax.tree.structure(value))

        return jax.tree.map, jax.tree.leaves, paths, around
    pytest.importorskip("torch")
    from torch.utils import _pytree as pytree

    def paths(value):
        return [path[0].key for path, _ in pytree.tree_leaves_with_path(value)]

    def around(value):
        leaves, spec = pytree.tree_flatten(value)
        return pytree.tree_unflatten(leaves, spec), spec == pytree.tree_structure(value)

    return pytree.tree_map, pytree.tree_leaves, paths, around


@pytest.mark.parametrize("name", ["optree", "jax", "torch"])
def test_trees_are_nodes(name):
    map_, leaves, paths, around = functions(name)
    ps, _ = nn.setup(0, nn.Chain(nn.Dense(2, 3), lx.tanh, nn.Dense(3, 1)))
    assert paths(ps) == ps.paths() and len(leaves([ps, {"n": 1}])) == 5
    twice = map_(doubled, ps)
    assert isinstance(twice, lx.Tree) and twice == tree.map(doubled, ps)
    assert map_(lambda x, y: x + y, ps, ps) == twice
    assert around(ps) == (ps, True) and around(lx.Tree()) == (lx.Tree(), True)
    with pytest.raises((ValueError, TypeError)):
        map_(lambda x, y: x, ps, lx.Tree(other=1))


@pytest.mark.parametrize("name", ["optree", "jax", "torch"])
def test_a_tied_leaf_is_one_leaf(name):
    map_, leaves, paths, around = functions(name)
    assert leaves(TIED) == [1.0, 2.0, 3.0, 4.0] and paths(TIED) == tree.paths(TIED, unique=True)
    mapped = map_(doubled, TIED)
    assert mapped.a.w == mapped.c.w == 2.0 and tree.ties(mapped) == tree.ties(TIED)
    assert around(TIED)[0] == TIED and isinstance(mapped.z, tuple)


def test_jax_differentiates_and_compiles_functions_of_trees():
    jax = pytest.importorskip("jax")
    model = nn.Chain(nn.Dense(2, 3), lx.tanh, nn.Dense(3, 1))
    ps, st = nn.setup(0, model)
    x = np.asarray([[0.5, -1.0], [2.0, 0.1]], "float32")

    def theirs(ps, x):
        hidden = jax.numpy.tanh(x @ ps.layer_1.weight.T + ps.layer_1.bias)
        return (hidden @ ps.layer_3.weight.T + ps.layer_3.bias).sum()

    there = jax.tree.map(jax.numpy.asarray, ps)
    value, slopes = jax.jit(jax.value_and_grad(theirs))(there, x)
    ours, gradients = lx.value_and_grad(lambda ps: lx.sum(model(lx.asarray(x), ps, st)[0]))(ps)
    assert abs(float(value) - float(ours)) < 1e-5
    assert tree.all_close(tree.map(lx.asarray, slopes), gradients, rtol=1e-5)
    assert jax.vmap(lambda ps: ps.layer_1.bias.sum())(jax.tree.map(lambda a: a[None], there)).shape == (1,)


def test_the_gradient_of_a_tied_leaf_is_that_of_both_places():
    jax = pytest.importorskip("jax")
    slopes = jax.grad(lambda t: t.a.w * t.c.w * t.a.b)(TIED)
    assert float(slopes.a.w) == float(slopes.c.w) == 4.0 and tree.count(slopes) == 4


IMPORTS = """
import sys
{first}
{second}
import luxon as lx
from luxon import _neighbours
t = lx.Tree(a=1, b=(2, 3))
assert {leaves} == [1, 2, 3], {leaves}
assert "{module}" not in _neighbours._WAITING
others = [name for name in _neighbours._WAITING if name in sys.modules and name != "{module}"]
assert not others, others
"""


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize(
    ("module", "statement", "leaves"),
    [
        ("optree", "import optree", "optree.tree_leaves(t)"),
        ("jax.tree_util", "import jax", "jax.tree.leaves(t)"),
        ("torch.utils._pytree", "from torch.utils import _pytree", "_pytree.tree_leaves(t)"),
    ],
)
def test_whichever_is_imported_first(module, statement, leaves, order):
    pytest.importorskip(module.partition(".")[0])
    first, second = ("import luxon", statement) if order == "before" else (statement, "import luxon")
    code = IMPORTS.format(first=first, second=second, leaves=leaves, module=module)
    finished = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code], capture_output=True
    )
    assert finished.returncode == 0, finished.stderr.decode()


WATCHED = """
import importlib.util, sys, types, warnings
import luxon
from luxon import _neighbours
assert not {"jax", "optree", "torch", "einops"} & set(sys.modules)
finder = _neighbours._FINDER
assert sys.meta_path[0] is finder and finder.find_spec("json") is None
sys.path.insert(0, sys.argv[1])
assert importlib.util.find_spec("optree") is not None and "optree" in _neighbours._WAITING
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import optree
assert optree.imported and "optree does not take luxon's types" in str(seen[0].message)
assert type(optree.__spec__.loader).__name__ == "SourceFileLoader"
assert "exec_module" not in vars(optree.__spec__.loader)
_neighbours._WAITING.clear()
_neighbours._introduce("optree", optree)
assert finder not in sys.meta_path
"""


def test_waiting_for_an_import_leaves_it_as_it_is(tmp_path):
    """A library that has changed is imported nevertheless; who waits for nothing more goes."""
    (tmp_path / "optree.py").write_text("imported = True\n")
    finished = subprocess.run([sys.executable, "-c", WATCHED, str(tmp_path)], capture_output=True)
    assert finished.returncode == 0, finished.stderr.decode()


ODD = """
import importlib.machinery, sys, types, warnings
sys.modules["jax.tree_util"] = types.SimpleNamespace()

class Loader:
    __slots__ = ()
    def create_module(self, spec): return None
    def exec_module(self, module): module.imported = True

class Finder:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, Loader()) if name == "optree" else None

sys.meta_path.insert(0, Finder())
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import luxon
assert "jax.tree_util does not take luxon's types" in str(seen[0].message)
import optree
assert optree.imported and type(optree.__spec__.loader) is Loader
"""


def test_loaders_and_modules_of_another_make_are_left_alone():
    """Neither a loader that takes no attribute nor something that stands in for a module stops an import."""
    finished = subprocess.run([sys.executable, "-c", ODD], capture_output=True)
    assert finished.returncode == 0, finished.stderr.decode()
