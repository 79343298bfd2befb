"""Strategies by name and parameters."""

from forgetless.benchmarks import StrategySpec


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
