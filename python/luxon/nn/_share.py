"""Tied parameters: one value in several places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .. import tree
from .._core import Tree
from ._layer import Params


def share_parameters(
    ps: Params, sharing: Iterable[Sequence[str]], new_parameters: Sequence[Any] | None = None
) -> Tree:
    """The parameters with the places of each list tied: one value, trained as one.

    A tie is part of the tree's structure. Differentiation sums over the places, the optimiser holds one slot
    and reads that sum once, and mapping, moving, freezing, saving and loading keep it. The same tensor put
    into two places by hand is no tie.

    Args:
        ps: the parameters, which stay as they are.
        sharing: lists of paths, of leaves or of subtrees.
        new_parameters: one value per list; by default each list gets its first place's value as it was.

    Raises:
        KeyError: a path that is nowhere, with the nearest that exist.
        ValueError: a path that is in two lists or within another; parts that differ in structure, shape or
            dtype; another number of new values than lists.

    Example:
        >>> import luxon as lx
        >>> from luxon import nn
        >>> model = nn.Chain(nn.Dense(3, 3), nn.Dense(3, 3), nn.Dense(3, 3))
        >>> ps, st = nn.setup(0, model)
        >>> tied = nn.share_parameters(ps, [["layer_1", "layer_3"]])
        >>> tied.layer_1.weight is tied.layer_3.weight
        True
        >>> nn.parameter_length(ps), nn.parameter_length(tied)
        (36, 24)
    """
    return tree.tie(ps, sharing, new_parameters)


def unshare_parameters(ps: Params) -> Tree:
    """The parameters without ties: every place has its own value from now on.

    Example:
        >>> from luxon import nn
        >>> ps, st = nn.setup(0, nn.Chain(nn.Dense(3, 3), nn.Dense(3, 3)))
        >>> tied = nn.share_parameters(ps, [["layer_1.weight", "layer_2.weight"]])
        >>> nn.parameter_length(nn.unshare_parameters(tied))
        24
    """
    untied: Tree = tree.untie(ps)
    return untied
