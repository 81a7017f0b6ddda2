"""Training: a run as a value, its gradients, and its steps."""

from ._freeze import freeze, unfreeze
from ._locate import locate_nonfinite
from ._state import DonatedError, TrainState
from ._step import Backend, adjust, apply_gradients, compute_gradients, single_train_step

__all__ = [
    "Backend",
    "DonatedError",
    "TrainState",
    "adjust",
    "apply_gradients",
    "compute_gradients",
    "freeze",
    "locate_nonfinite",
    "single_train_step",
    "unfreeze",
]
