"""Optimisers: rules, transforms and schedules as immutable values, their state as a tree.

`state = setup(rule, ps)`, then `ps, state = update(rule, state, ps, grads)`. A leaf whose gradient is None is
skipped completely. `chain` puts transforms before a rule, `partition` gives parameters different rules, and a
learning rate may be one of `schedules`. The arithmetic runs in the Rust core, one pass per leaf.

Example:
    >>> import luxon as lx
    >>> from luxon import optim
    >>> ps = lx.Tree({"w": lx.ones(2)})
    >>> rule = optim.chain(optim.clip_value(0.5), optim.SGD(1.0))
    >>> ps, state = optim.update(rule, optim.setup(rule, ps), ps, lx.Tree({"w": lx.ones(2)}))
    >>> ps.w.tolist()
    [0.5, 0.5]
"""

from . import schedules
from ._base import Optimizer, Rule
from ._compose import chain, lookahead, mixed_precision, partition
from ._rules import (
    ASGD,
    LBFGS,
    SGD,
    SM3,
    AdaBelief,
    AdaDelta,
    Adafactor,
    AdaGrad,
    Adam,
    AdaMax,
    AdamW,
    AMSGrad,
    Fromage,
    Lamb,
    Lars,
    Lion,
    Muon,
    NAdam,
    NovoGrad,
    OAdam,
    RAdam,
    RMSProp,
    Rprop,
    Yogi,
)
from ._transforms import (
    Transform,
    accumulate,
    clip_global_norm,
    clip_norm,
    clip_value,
    ema,
    sign_decay,
    weight_decay,
)
from ._update import adjust, learning_rate, minimize, setup, update

__all__ = [
    "AMSGrad",
    "ASGD",
    "AdaBelief",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adafactor",
    "Adam",
    "AdamW",
    "Fromage",
    "LBFGS",
    "Lamb",
    "Lars",
    "Lion",
    "Muon",
    "NAdam",
    "NovoGrad",
    "OAdam",
    "Optimizer",
    "RAdam",
    "RMSProp",
    "Rprop",
    "Rule",
    "SGD",
    "SM3",
    "Transform",
    "Yogi",
    "accumulate",
    "adjust",
    "chain",
    "clip_global_norm",
    "clip_norm",
    "clip_value",
    "ema",
    "learning_rate",
    "lookahead",
    "minimize",
    "mixed_precision",
    "partition",
    "schedules",
    "setup",
    "sign_decay",
    "update",
    "weight_decay",
]
