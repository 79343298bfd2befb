"""Strategies by name and parameters."""

import pytest
from sklearn.ensemble import RandomForestClassifier

from forgetless.benchmarks import StrategySpec
from forgetless.estimators import DriftBoundaries


def test_strategy_spec_builds_net_params_and_pipeline():
    spec = StrategySpec(
        "Replay",
        {"buffer_size": 10, "net__lr": 0.5},
        net={"hidden_units": [8, 4], "max_epochs": 2},
        preprocess=("sklearn.preprocessing.StandardScaler",),
    )
    learner = spec.build().steps[-1][1]
    assert learner.buffer_size == 10
    assert learner.net.get_params()["module__hidden_units"] == (8, 4)
    assert (learner.net.lr, learner.net.max_epochs) == (0.5, 2)


def test_an_estimator_within_a_strategy_has_a_name_too():
    forest = {"estimator": "sklearn.ensemble.RandomForestClassifier", "estimator__n_estimators": 3}
    built = StrategySpec("RefittedClassifier", {"buffer_size": 10, **forest}).build()
    assert isinstance(built.estimator, RandomForestClassifier)
    assert (built.buffer_size, built.estimator.n_estimators) == (10, 3)
    with pytest.raises(ValueError, match="nor in scikit-learn"):
        StrategySpec("RefittedClassifier", {"estimator": "os.path.join"}).build()


def test_a_strategy_whose_borders_a_detector_finds():
    params = {"estimator": "EWC", "estimator__ewc_lambda": 3.0, "signal": "inputs"}
    built = StrategySpec("DriftBoundaries", params, net={"hidden_units": [7]}).build()
    assert isinstance(built, DriftBoundaries)
    assert (built.signal, built.estimator.ewc_lambda) == ("inputs", 3.0)
    assert built.estimator.net.get_params()["module__hidden_units"] == (7,)
    with pytest.raises(ValueError, match="cannot be made without arguments"):
        StrategySpec("DriftBoundaries").build()
