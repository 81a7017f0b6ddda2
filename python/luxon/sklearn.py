"""Models as scikit-learn estimators: `Classifier` and `Regressor`.

They go wherever scikit-learn takes an estimator: pipelines, cross validation, grid search. scikit-learn is needed
for this module alone.

Example:
    >>> import numpy as np
    >>> from luxon.sklearn import Classifier
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * 8)
    >>> y = np.where(X[:, 0] != X[:, 1], "odd", "even")
    >>> Classifier(epochs=100, random_state=0).fit(X, y).score(X, y)
    1.0
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise ImportError("luxon.sklearn needs scikit-learn (1.6 or later): pip install scikit-learn") from error

from . import _core, losses, nn, optim, training, tree
from ._transforms import AutoTape

__all__ = ["Classifier", "Regressor"]


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What both have in common: settings as scikit-learn wants them, and the training loop."""

    _loss: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        model: Any = None,
        *,
        loss: Any = None,
        optimizer: Any = None,
        hidden: tuple[int, ...] = (64,),
        epochs: int = 50,
        batch_size: int = 32,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state

    def _model(self, inputs: int, outputs: int) -> nn.Layer:
        if isinstance(self.model, nn.Layer):
            return self.model
        if self.model is not None:
            made = self.model(inputs, outputs)
            if not isinstance(made, nn.Layer):
                raise TypeError(f"model(n_features, n_outputs) must give a layer, got {type(made).__name__}")
            return made
        sizes = [inputs, *self.hidden]
        layers = [nn.Dense(a, b, _core.relu) for a, b in zip(sizes, sizes[1:], strict=False)]
        return nn.Chain(*layers, nn.Dense(sizes[-1], outputs))

    def _train(self, X: np.ndarray, target: np.ndarray, outputs: int) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError("epochs and batch_size must be positive")
        random = check_random_state(self.random_state)
        model = self._model(X.shape[1], outputs)
        rule = optim.Adam(1e-2) if self.optimizer is None else self.optimizer
        objective = self._loss() if self.loss is None else self.loss
        ts = training.TrainState.create(int(random.randint(2**31 - 1)), model, rule)
        inputs = np.ascontiguousarray(X, dtype=np.float32)
        self.loss_curve_: list[float] = []
        for _ in range(self.epochs):
            order = random.permutation(len(inputs))
            total = 0.0
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                batch = (_core.asarray(inputs[rows]), _core.asarray(target[rows]))
                _, loss, _, ts = training.single_train_step(AutoTape(), objective, batch, ts, donate=True)
                total += float(loss) * len(rows)
            self.loss_curve_.append(total / len(order))
        self.train_state_ = ts

    def _outputs(self, X: Any) -> np.ndarray:
        """The model's output in test mode and double precision, so that it is the same in any batch."""
        check_is_fitted(self, "train_state_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        ts = self.train_state_
        ps, st = (tree.cast(part, "float64") for part in (ts.parameters, ts.states))
        y, _ = ts.model(_core.asarray(X), ps, nn.testmode(st))
        return np.asarray(y)


class Classifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A classifier: softmax over the model's outputs, one per class.

    Args:
        model: a layer, or a function `(n_features, n_classes) -> layer`; None for a multilayer perceptron.
        loss: an objective, called with integer classes as targets; cross entropy by default.
        optimizer: of `luxon.optim`; `Adam(1e-2)` by default.
        hidden: the widths of the perceptron's hidden layers.
        epochs: passes over the data.
        batch_size: rows to a step.
        random_state: a seed or a NumPy RandomState; with a seed every fit has the same bits.

    Attributes:
        classes_: the classes.
        train_state_: the training state after the last step.
        loss_curve_: the mean loss of each epoch.

    Raises:
        ValueError: in `fit`, data that scikit-learn refuses.
    """

    _loss = losses.CrossEntropyLoss

    def fit(self, X: Any, y: Any) -> Classifier:
        """Trains on rows `X` (n_samples, n_features) and classes `y` (n_samples,)."""
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, target = np.unique(y, return_inverse=True)
        self._train(X, target.astype(np.int64), len(self.classes_))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (n_samples, n_classes)."""
        return np.asarray(_core.softmax(_core.asarray(self._outputs(X)), axis=-1))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row."""
        outputs = self._outputs(X)
        predicted: np.ndarray = self.classes_[np.argmax(outputs, axis=1)]
        return predicted


class Regressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A regressor: the model's outputs, one per target.

    Args:
        model: a layer, or a function `(n_features, n_targets) -> layer`; None for a multilayer perceptron.
        loss: an objective; the mean squared error by default.
        optimizer: of `luxon.optim`; `Adam(1e-2)` by default.
        hidden: the widths of the perceptron's hidden layers.
        epochs: passes over the data.
        batch_size: rows to a step.
        random_state: a seed or a NumPy RandomState; with a seed every fit has the same bits.

    Attributes:
        train_state_: the training state after the last step.
        loss_curve_: the mean loss of each epoch.

    Raises:
        ValueError: in `fit`, data that scikit-learn refuses.
    """

    _loss = losses.MSELoss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Regressor:
        """Trains on rows `X` (n_samples, n_features) and targets `y` (n_samples,) or (n_samples, n_targets)."""
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._flat = y.ndim == 1
        target = np.ascontiguousarray(y.reshape(len(y), -1), dtype=np.float32)
        self._train(X, target, target.shape[1])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The targets of each row, in the shape that `fit` was given."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._flat else outputs
