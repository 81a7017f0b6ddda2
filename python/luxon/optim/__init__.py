"""Optimisers: rules as immutable values, their state as a tree.

`state = setup(rule, ps)`, then `ps, state = update(rule, state, ps, grads)`. A leaf whose gradient is None is
skipped completely. The arithmetic runs in the Rust core, one pass per leaf.

Example:
    >>> import luxon as lx
    >>> from luxon import optim
    >>> ps = lx.Tree({"w": lx.ones(2)})
    >>> rule = optim.SGD(0.5)
    >>> ps, state = optim.update(rule, optim.setup(rule, ps), ps, lx.Tree({"w": lx.ones(2)}))
    >>> ps.w.tolist()
    [0.5, 0.5]
"""

from ._rules import SGD, Adam, AdamW, Rule
from ._update import adjust, learning_rate, merge, partition, setup, update

__all__ = ["SGD", "Adam", "AdamW", "Rule", "adjust", "learning_rate", "merge", "partition", "setup", "update"]
