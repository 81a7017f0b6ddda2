"""Parameters and states from PyTorch's state dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _core, random, tree
from ._core import Tensor, Tree

if TYPE_CHECKING:
    from .nn import Layer

_DROPPED = frozenset({"num_batches_tracked"})


class _Theirs(NamedTuple):
    """A value of the state dict, or a part of one, and where it stood."""

    name: str
    value: Tensor


def from_torch(
    state_dict: Mapping[str, Any], model: Layer, *, report: Callable[[str], object] | None = None
) -> tuple[Tree, Tree]:
    """The parameters and states of a model with the values of a PyTorch module's state dict.

    Layers go by name where all names agree, else by order (`0`, `2` of a `Sequential` and `layer_1`,
    `layer_2` of a `Chain`). The one layer of an RNN goes to a `Recurrence` or `BidirectionalRNN`, the fused
    projections of an attention to those of a `MultiHeadAttention`. Layouts are the same, so values are taken
    as they are. What PyTorch does not save (flags and keys) is as `nn.setup(0, model)` makes it.

    Args:
        state_dict: names to PyTorch tensors or NumPy arrays.
        model: the same model of luxon.
        report: called with a line for each leaf (`print`, for example): its path, and the name it came from; then with
            the names that were not needed.

    Raises:
        ValueError: layers that do not correspond, a value that is missing, left over, or of another shape;
            the path is named.

    Example:
        >>> import numpy as np
        >>> import luxon as lx
        >>> from luxon import nn
        >>> state = {"0.weight": np.ones((3, 2), np.float32), "0.bias": np.zeros(3, np.float32)}
        >>> ps, st = lx.io.from_torch(state, nn.Chain(nn.Dense(2, 3), lx.relu), report=print)
        layer_1.weight: float32 (3, 2) from 0.weight
        layer_1.bias: float32 (3,) from 0.bias
    """
    from .nn._layer import abstract_parameters

    nest: dict[str, Any] = {}
    dropped = []
    for path, value in state_dict.items():
        *parents, name = path.split(".")
        if name in _DROPPED:
            dropped.append(path)
            continue
        place = nest
        for parent in parents:
            place = place.setdefault(parent, {})
            if isinstance(place, _Theirs):
                raise ValueError(f"from_torch: {path} lies within {place.name}, which is a value itself")
        if name in place:
            raise ValueError(f"from_torch: {path} is a value, and others lie within it")
        place[name] = _Theirs(path, _array(value))
    ps, st, sources = _filled(abstract_parameters(model), model.initial_states(random.key(0)), nest, "")
    if report is not None:
        for path, source in sources.items():
            leaf = ps[path] if path in ps else st[path]
            report(f"{path}: {leaf.dtype} {tuple(leaf.shape)} from {source}")
        for path in dropped:
            report(f"not needed: {path}")
    return ps, st


def _array(value: Any) -> Tensor:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            return _core.astype(_core.asarray(value.float().numpy()), "bfloat16")
        value = value.numpy()
    return _core.asarray(np.array(value))


def _has_tensors(part: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in tree.leaves(part))


def _filled(ps: Tree, st: Tree, nest: dict[str, Any], path: str) -> tuple[Tree, Tree, dict[str, str]]:
    """The two trees with the values of `nest`, and where each value came from."""
    if set(ps) == {"normalized", "unnormalized"}:
        return _weight_norm(ps, st, nest, path)
    nest = _translated(nest, ps)
    where = path or "the model"
    inner = [name for name in dict.fromkeys((*ps, *st)) if _is_layer(ps, st, name)]
    theirs = [name for name, value in nest.items() if isinstance(value, dict)]
    if set(inner) == set(theirs):
        theirs = inner
    elif len(inner) != len(theirs):
        raise ValueError(
            f"from_torch: {where} has the layers {', '.join(inner) or 'none'}, the state dict "
            f"{', '.join(theirs) or 'none'}"
        )
    new_ps, new_st = dict(ps.items()), dict(st.items())
    sources: dict[str, str] = {}
    for name, other in zip(inner, theirs, strict=True):
        parts = ps.get(name, Tree({})), st.get(name, Tree({}))
        found_ps, found_st, found = _filled(*parts, nest[other], f"{path}.{name}" if path else name)
        sources |= found
        new_ps.update({name: found_ps} if name in ps else {})
        new_st.update({name: found_st} if name in st else {})
    used = set(theirs)
    for new in (new_ps, new_st):
        for name, leaf in new.items():
            if isinstance(leaf, Tensor):
                used.add(name)
                place = f"{path}.{name}" if path else name
                sources[place], new[name] = _fitting(leaf, nest.get(name), place)
    left = [name for name in nest if name not in used]
    if left:
        raise ValueError(f"from_torch: {where} has no {', '.join(left)}, which the state dict has")
    return Tree(new_ps), Tree(new_st), sources


def _weight_norm(ps: Tree, st: Tree, nest: dict[str, Any], path: str) -> tuple[Tree, Tree, dict[str, str]]:
    """The trees of a WeightNorm: PyTorch has lengths and directions beside the other values."""
    merged = tree.merge(ps["normalized"], ps["unnormalized"])
    filled, states, found = _filled(merged, st, _without_parametrizations(nest), path)
    own = tree.paths(ps["normalized"])
    chosen, rest = tree.partition(filled, own)
    start = f"{path}." if path else ""
    sources = {}
    for place, source in found.items():
        name = place.removeprefix(start)
        part = "" if name not in filled else "normalized." if name in own else "unnormalized."
        sources[f"{start}{part}{name}"] = source
    return Tree({"normalized": chosen, "unnormalized": rest}), states, sources


def _without_parametrizations(nest: dict[str, Any]) -> dict[str, Any]:
    """`w_g` and `w_v`, the names of older versions, for `parametrizations.w.original0` and `original1`."""
    plain = {
        name: _without_parametrizations(value) if isinstance(value, dict) else value
        for name, value in nest.items()
        if name != "parametrizations"
    }
    for name, parts in nest.get("parametrizations", {}).items():
        if isinstance(parts, dict) and set(parts) == {"original0", "original1"}:
            plain |= {f"{name}_g": parts["original0"], f"{name}_v": parts["original1"]}
    return plain


def _translated(nest: dict[str, Any], ps: Tree) -> dict[str, Any]:
    """A module's values by luxon's names: the parts of an attention's `in_proj_weight`, an RNN's one layer."""
    new = dict(nest)
    if "q_proj" in ps:
        for kind in ("weight", "bias"):
            whole = new.pop(f"in_proj_{kind}", None)
            for index, name in enumerate(("q_proj", "k_proj", "v_proj")):
                part = new.pop(f"{name}_{kind}", None)
                if whole is not None:
                    size, left = divmod(whole.value.shape[0] if whole.value.ndim else 1, 3)
                    if left:
                        raise ValueError(
                            f"from_torch: {whole.name} has shape {tuple(whole.value.shape)}, which three projections "
                            "do not share evenly"
                        )
                    part = whole._replace(value=whole.value[index * size : (index + 1) * size])
                if part is not None:
                    new[name] = {**new.get(name, {}), kind: part}
    elif any(name.endswith("_l0") for name in nest):
        new = {}
        for name, value in nest.items():
            if "forward" in ps and name.endswith(("_l0", "_l0_reverse")):
                child = "backward" if name.endswith("_reverse") else "forward"
                new.setdefault(child, {})[name.split("_l0")[0]] = value
            else:
                new[name.removesuffix("_l0")] = value
    return new


def _is_layer(ps: Tree, st: Tree, name: str) -> bool:
    parts = [part[name] for part in (ps, st) if name in part]
    return any(isinstance(part, Tree) and _has_tensors(part) for part in parts)


def _fitting(leaf: Tensor, theirs: Any, path: str) -> _Theirs:
    if not isinstance(theirs, _Theirs):
        raise ValueError(f"from_torch: the state dict has no value for {path}")
    if theirs.value.shape != leaf.shape:
        raise ValueError(
            f"from_torch: {path} has shape {tuple(leaf.shape)}, the state dict's {theirs.name} "
            f"{tuple(theirs.value.shape)}"
        )
    return theirs
