"""Losses: functions of prediction and target, and objects that also serve as objectives.

A function is `name(prediction, target, ..., reduction="mean"|"sum"|"none"|callable)`. The object of the
same name holds the settings; called with (prediction, target) it is the function, called with
(model, ps, st, (x, y)) it is an objective for `luxon.training`. Mismatched shapes are an error, never a
silent broadcast.

Example:
    >>> import luxon as lx
    >>> from luxon import losses
    >>> losses.mse(lx.asarray([1.0, 2.0]), lx.asarray([1.0, 4.0])).item()
    2.0
    >>> losses.HuberLoss(delta=0.5)(lx.asarray([1.0, 2.0]), lx.asarray([1.0, 4.0])).item()
    0.4375
"""

from ._base import Loss
from ._classification import (
    BinaryCrossEntropyLoss,
    BinaryFocalLoss,
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    HingeLoss,
    KLDivergenceLoss,
    SquaredHingeLoss,
    binary_cross_entropy,
    binary_focal,
    cross_entropy,
    dice,
    focal,
    hinge,
    kl_divergence,
    squared_hinge,
)
from ._ctc import CTCLoss, ctc
from ._metric import (
    CosineEmbeddingLoss,
    MarginRankingLoss,
    SiameseContrastiveLoss,
    TripletMarginLoss,
    cosine_embedding,
    margin_ranking,
    siamese_contrastive,
    triplet_margin,
)
from ._regression import (
    GaussianNLLLoss,
    HuberLoss,
    LogCoshLoss,
    MAELoss,
    MSELoss,
    MSLELoss,
    PoissonNLLLoss,
    SmoothL1Loss,
    gaussian_nll,
    huber,
    log_cosh,
    mae,
    mse,
    msle,
    poisson_nll,
    smooth_l1,
)

__all__ = [
    "BinaryCrossEntropyLoss",
    "BinaryFocalLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "DiceLoss",
    "FocalLoss",
    "GaussianNLLLoss",
    "HingeLoss",
    "HuberLoss",
    "KLDivergenceLoss",
    "LogCoshLoss",
    "Loss",
    "MAELoss",
    "MSELoss",
    "MSLELoss",
    "MarginRankingLoss",
    "PoissonNLLLoss",
    "SiameseContrastiveLoss",
    "SmoothL1Loss",
    "SquaredHingeLoss",
    "TripletMarginLoss",
    "binary_cross_entropy",
    "binary_focal",
    "cosine_embedding",
    "cross_entropy",
    "ctc",
    "dice",
    "focal",
    "gaussian_nll",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mae",
    "margin_ranking",
    "mse",
    "msle",
    "poisson_nll",
    "siamese_contrastive",
    "smooth_l1",
    "squared_hinge",
    "triplet_margin",
]
