"""The estimators keep scikit-learn's contract, and learn."""

import pickle

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_iris, make_regression  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

import luxon as lx  # noqa: E402
from luxon import nn, optim  # noqa: E402
from luxon.sklearn import Classifier, Regressor  # noqa: E402


@parametrize_with_checks([Classifier(), Regressor()])
def test_contract(estimator, check):
    check(estimator)


def test_in_a_pipeline_and_a_grid():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), Classifier(epochs=30, random_state=0))
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.9
    rules = [optim.SGD(1e-6), optim.AdamW(1e-2)]
    search = GridSearchCV(pipeline, {"classifier__optimizer": rules}, cv=2).fit(X, y)
    assert search.best_params_["classifier__optimizer"] == rules[1]


def make(inputs, outputs):
    return nn.Chain(nn.Dense(inputs, 16, lx.tanh), nn.Dropout(0.1), nn.Dense(16, outputs))


def test_models_of_ones_own():
    X, y = make_regression(100, 3, n_targets=2, random_state=0)
    X, y = X.astype(np.float32), y / y.std()

    for model in (make, make(3, 2)):
        regressor = Regressor(model, epochs=100, random_state=1).fit(X, y)
        assert regressor.score(X, y) > 0.9 and regressor.predict(X).shape == (100, 2)
        again = pickle.loads(pickle.dumps(regressor))
        assert np.array_equal(again.predict(X), regressor.predict(X))
        twin = clone(regressor).fit(X, y)
        assert np.array_equal(twin.predict(X), regressor.predict(X))
    with pytest.raises(TypeError, match="must give a layer"):
        Regressor(lambda inputs, outputs: None).fit(X, y)
