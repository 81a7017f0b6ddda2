"""What a layer is: an immutable description whose parameters and states are given at every call.

Three kinds share one contract. A `Layer` is a leaf with its own arrays. A `Container` holds further
layers by name, and its trees have one entry per child. A `Wrapper` changes how one inner layer is called;
its trees are the inner layer's, so it adds no component to any path.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from .. import _core, random, tree
from .._core import Structure, Tree
from ._errors import located

Params: TypeAlias = Any
"""A `luxon.Tree`, or any nest of dicts, lists and tuples with the same names."""
States: TypeAlias = Any
"""As `Params`."""

EMPTY = Tree({})
"""The tree without entries: the parameters of a layer that has none."""

Children: TypeAlias = "Mapping[str, Layer | Children]"
"""Layers by name; a nest of layers is a mapping within the mapping."""


class Layer:
    """A leaf layer: subclass it as a frozen dataclass of sizes, functions and flags, never arrays.

    Override `initial_parameters` and `initial_states` where the layer has any, and `__call__`, which must be
    pure: the same inputs give the same outputs, and what changes is returned as the new state. Where nothing
    changes, return the given `st` itself.

    Example:
        >>> import dataclasses
        >>> import luxon as lx
        >>> from luxon import nn
        >>> @dataclasses.dataclass(frozen=True)
        ... class Affine(nn.Layer):
        ...     features: int
        ...     def initial_parameters(self, key):
        ...         return lx.Tree({"scale": lx.ones(self.features), "shift": lx.zeros(self.features)})
        ...     def __call__(self, x, ps, st):
        ...         return x * ps.scale + ps.shift, st
        >>> model = Affine(3)
        >>> ps, st = nn.setup(0, model)
        >>> y, st = model(lx.ones((2, 3)), ps, st)
        >>> y.shape
        (2, 3)
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        # `dataclass` would print the fields; a class that has its own __repr__ keeps it.
        if "__repr__" not in vars(cls):
            cls.__repr__ = cls.__repr__  # type: ignore[method-assign]

    def inner(self) -> Layer | Children | None:
        """What the layer is made of: nothing (a leaf), one layer with the same trees, or children by name."""
        return None

    def with_inner(self, inner: Any) -> Layer:
        """The same layer made of other layers, given as `inner` gives them."""
        del inner
        return self

    def inner_states(self, st: States) -> States:
        """The states of the one inner layer, where `inner` gives one: all of `st`, unless the layer adds some."""
        return st

    def with_inner_states(self, st: States, new: States) -> States:
        """`st` with other states of the inner layer."""
        del st
        return new

    def initial_parameters(self, key: random.Key) -> Tree:
        """The layer's trainable leaves, none by default in a leaf layer; `key` belongs to its path."""
        return _initial(self.inner(), key, "initial_parameters")

    def initial_states(self, key: random.Key) -> Tree:
        """Everything else that changes between calls; a leaf layer has none by default."""
        return _initial(self.inner(), key, "initial_states")

    def __call__(self, x: Any, ps: Params, st: States) -> tuple[Any, States]:
        """The output for input `x`, and the new states."""
        raise TypeError(f"{type(self).__name__} does not define __call__(x, ps, st)")

    def _in_core(self) -> Any:
        """What computes `__call__` in the core where the states stay as they are, for containers to run without a
        frame of Python; None, as by default, where there is no such thing."""
        return None

    def flops(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int | None:
        """Floating-point operations of one call, a multiply-add being two; None where nobody counted them.

        A container that overrides this says what it does beside its children.

        Args:
            x_shape, y_shape: shapes of input and output, of their first tensors where there are several.
        """
        del x_shape, y_shape
        return None

    def flops_of_call(self, x: Any, y: Any) -> int | None:
        """`flops` of the call that took x and gave y, tensors or nests of them; None where one has none.

        To override where the first tensors' shapes do not tell all.
        """
        # A recurrent cell is called with its carry beside the input, and gives it beside the output.
        shapes = [tuple(first.shape) for first in _first_tensor(x) + _first_tensor(y)]
        return self.flops(*shapes) if len(shapes) == 2 else None

    def describe(self) -> str:
        """The one-line form that printing a model shows."""
        return describe_fields(self)

    def __repr__(self) -> str:
        from ._display import model_text

        return model_text(self)

    def _repr_html_(self) -> str:
        from .._html import folded

        return folded(repr(self))

    def __rich_repr__(self) -> Iterator[Any]:
        from .._show import rich_layer

        return rich_layer(self)

    def __treescope_repr__(self, path: str | None, subtree_renderer: Any) -> Any:
        from .._show import treescope_layer

        return treescope_layer(self, path, subtree_renderer)


class Container(Layer):
    """A layer made of further layers, which are its dataclass fields (or nests of layers within them).

    A user's container is a frozen dataclass with a `__call__`; nothing needs to be registered. Its parameter
    and state trees have one entry per child, named after the field.

    Example:
        >>> import dataclasses
        >>> import luxon as lx
        >>> from luxon import nn
        >>> @dataclasses.dataclass(frozen=True)
        ... class Residual(nn.Container):
        ...     body: nn.Layer
        ...     def __call__(self, x, ps, st):
        ...         y, body = self.body(x, ps.body, st.body)
        ...         return x + y, st.replace({"body": body})
        >>> model = Residual(nn.Dense(4, 4))
        >>> ps, st = nn.setup(0, model)
        >>> list(ps.paths())
        ['body.weight', 'body.bias']
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        # The library's own containers name their children themselves.
        if "__call__" in vars(cls) and not cls.__module__.startswith("luxon."):
            cls.__call__ = located(cls.__call__)  # type: ignore[method-assign]

    def children(self) -> Children:
        """The child layers by name, in declaration order."""
        return fields_with_layers(self)

    def inner(self) -> Layer | Children | None:
        return self.children()

    def with_inner(self, inner: Any) -> Layer:
        changes = {name: rebuild_nest(getattr(self, name), inner[name]) for name in fields_with_layers(self)}
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def describe(self) -> str:
        return type(self).__name__


class Wrapper(Layer):
    """A layer around one inner layer, its field `layer`, with the inner layer's own trees.

    Example:
        >>> import dataclasses
        >>> import luxon as lx
        >>> from luxon import nn
        >>> @dataclasses.dataclass(frozen=True)
        ... class Twice(nn.Wrapper):
        ...     layer: nn.Layer
        ...     def __call__(self, x, ps, st):
        ...         y, st = self.layer(x, ps, st)
        ...         return 2 * y, st
        >>> ps, st = nn.setup(0, Twice(nn.Dense(2, 3)))
        >>> list(ps.paths())
        ['weight', 'bias']
    """

    layer: Layer

    def inner(self) -> Layer | Children | None:
        return self.layer

    def with_inner(self, inner: Any) -> Layer:
        return dataclasses.replace(self, layer=inner)  # type: ignore[type-var]

    def describe(self) -> str:
        return type(self).__name__


def _first_tensor(value: Any) -> list[Any]:
    return [leaf for leaf in tree.leaves((value,))[:1] if hasattr(leaf, "shape")]


def _initial(inner: Layer | Children | None, key: random.Key, method: str) -> Tree:
    if inner is None:
        return EMPTY
    if isinstance(inner, Layer):
        return getattr(inner, method)(key)  # type: ignore[no-any-return]
    return Tree(initial_trees(inner, key, method))


def initial_trees(children: Children, key: random.Key, method: str) -> dict[str, Any]:
    """The initial trees of children; each child's key is its parent's folded with its name."""
    trees: dict[str, Any] = {}
    for name, child in children.items():
        child_key = key.fold_in(name)
        if isinstance(child, Layer):
            trees[name] = getattr(child, method)(child_key)
        else:
            trees[name] = initial_trees(child, child_key, method)
    return trees


def as_tree(value: Any) -> Tree:
    """A Tree as it is, a nest as a Tree."""
    return value if isinstance(value, Tree) else Tree(value)


def abstract_leaves(value: Any) -> Any:
    """The tree with tensors of which only shape and dtype are known."""
    return tree.map(
        lambda leaf: _core.abstract(leaf.shape, leaf.dtype) if isinstance(leaf, _core.Tensor) else leaf, value
    )


def abstract_parameters(layer: Layer) -> Tree:
    """The layer's parameter tree with abstract leaves, worked out once per layer; no value is computed.

    Raises:
        ValueError: a size is still open.
    """
    return _abstract_trees(layer, "initial_parameters")


def abstract_states(layer: Layer) -> Tree:
    """As `abstract_parameters`, for the states."""
    return _abstract_trees(layer, "initial_states")


def _abstract_trees(layer: Layer, method: str) -> Tree:
    try:
        return _made_abstract(layer, method)
    except TypeError:  # A container whose field is a list of layers has no hash.
        return _made_abstract.__wrapped__(layer, method)


@functools.lru_cache(maxsize=1024)
def _made_abstract(layer: Layer, method: str) -> Tree:
    make = getattr(layer, method)
    try:
        made = _core.abstractly(make, random.key(0))
    except Exception:
        # An initialiser that looks at its numbers needs some; an error of its own comes again.
        made = make(random.key(0))
    return as_tree(abstract_leaves(made))


def parameter_structure(layer: Layer) -> Structure | None:
    """Names and order of the layer's parameters, open sizes or not; None where not even those are known."""
    try:
        return tree.structure(abstract_parameters(layer))
    except ValueError:
        pass
    try:
        return tree.structure(abstract_parameters(settled(layer)))
    except ValueError:
        return None


def settled(layer: Layer) -> Layer:
    """The model with any size for those that are open."""

    def one(leaf: Layer, path: str) -> Layer:
        settle = getattr(leaf, "with_input", None)
        return leaf if settle is None else settle((1,) * 8)

    return rebuild_leaves(layer, one)


def rebuild_leaves(
    layer: Layer,
    change: Callable[[Layer, str], Layer],
    path: str = "",
    around: Callable[[Layer, str], Layer] | None = None,
) -> Layer:
    """The model with every leaf layer replaced by `change(leaf, path)`, every container by `around` of it."""
    inner = layer.inner()
    if inner is None:
        return change(layer, path)
    if isinstance(inner, Layer):
        return layer.with_inner(rebuild_leaves(inner, change, path, around))

    def several(children: Children, path: str) -> dict[str, Any]:
        new: dict[str, Any] = {}
        for name, child in children.items():
            where = f"{path}.{name}" if path else name
            new[name] = (
                rebuild_leaves(child, change, where, around)
                if isinstance(child, Layer)
                else several(child, where)
            )
        return new

    new = layer.with_inner(several(inner, path))
    return new if around is None else around(new, path)


def is_nest(value: Any) -> bool:
    """Whether a field's value is a list, tuple or mapping that holds a layer at some depth."""
    if isinstance(value, Mapping):
        return any(isinstance(item, Layer) or is_nest(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(isinstance(item, Layer) or is_nest(item) for item in value)
    return False


def nest_items(value: Any) -> Iterator[tuple[str, Any]]:
    """The entries of a nest by name: keys, NamedTuple fields, or positions."""
    if isinstance(value, Mapping):
        yield from ((str(name), item) for name, item in value.items())
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from zip(value._fields, value, strict=True)
    else:
        yield from ((str(position), item) for position, item in enumerate(value))


def nest_children(value: Any) -> Layer | Children:
    """A field's layers: the layer itself, or a mapping of a nest's layers."""
    if isinstance(value, Layer):
        return value
    return {
        name: nest_children(item)
        for name, item in nest_items(value)
        if isinstance(item, Layer) or is_nest(item)
    }


def rebuild_nest(value: Any, children: Any) -> Any:
    """`value` with its layers replaced by those of `children`."""
    if isinstance(value, Layer):
        return children
    items = {
        name: rebuild_nest(item, children[name]) if name in children else item
        for name, item in nest_items(value)
    }
    if isinstance(value, Mapping):
        return type(value)(zip(value.keys(), items.values(), strict=True))  # type: ignore[call-arg]
    if hasattr(value, "_fields"):
        return type(value)(**items)
    return type(value)(items.values())


def fields_with_layers(layer: Layer) -> dict[str, Layer | Children]:
    """The dataclass fields of `layer` that are layers or nests of layers."""
    if not dataclasses.is_dataclass(layer):
        raise TypeError(
            f"{type(layer).__name__} is a container but no dataclass; decorate it with "
            "@dataclasses.dataclass(frozen=True), or define children() and with_inner()"
        )
    found: dict[str, Layer | Children] = {}
    for field in dataclasses.fields(layer):
        value = getattr(layer, field.name)
        if isinstance(value, Layer) or is_nest(value):
            found[field.name] = nest_children(value)
    return found


def describe_value(value: Any) -> str:
    """A field's value as printing shows it: functions and layers by name."""
    if isinstance(value, Layer):
        return value.describe()
    if isinstance(value, tuple):
        inner = ", ".join(describe_value(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    name = getattr(value, "__name__", None)
    return name if isinstance(value, Callable) and name else repr(value)  # type: ignore[arg-type]


def describe_fields(layer: Layer) -> str:
    """`Name(field, field, option=value)`: fields without a default, then options that differ from theirs."""
    name = type(layer).__name__
    if not dataclasses.is_dataclass(layer):
        return name + "()"
    shown: list[str] = []
    for field in dataclasses.fields(layer):
        if not field.repr:
            continue
        value = getattr(layer, field.name)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            shown.append(describe_value(value))
        elif value != field.default:
            shown.append(f"{field.name}={describe_value(value)}")
    return f"{name}({', '.join(shown)})"
