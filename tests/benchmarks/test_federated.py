"""Sites together beside sites alone and all rows in one place."""

import numpy as np
import pytest

from forgetless.benchmarks import federate
from forgetless.datasets import load_digits, site_stream
from forgetless.estimators import MLP, ContinualNet, GDumbClassifier, NaiveClassifier, SLDAClassifier


def test_the_table_says_what_sites_gain_and_what_they_send():
    sites = site_stream(load_digits(), n_experiences=4, concentration=0.3, random_state=1)
    net = ContinualNet(MLP, module__hidden_units=(20,), lr=0.01, max_epochs=1)
    strategies = {"SLDA": SLDAClassifier(0.1), "network": NaiveClassifier(net, random_state=0)}
    table = federate(strategies, sites, n_rounds=3).set_index("strategy")
    assert table["how"].tolist() == ["merge", "average"] and table["n_rounds"].tolist() == [1, 3]
    assert (table["n_sites"] == 4).all()
    assert table.loc["SLDA", "together"] == table.loc["SLDA", "pooled"] > table.loc["SLDA", "alone"]
    n_weights = 64 * 20 + 20 + 20 * 10 + 10
    assert table.loc["network", "sent_bytes"] == 3 * 4 * n_weights
    alone = [
        SLDAClassifier(0.1).partial_fit(s.X_train, s.y_train, np.arange(10)).score(*test)
        for test in [(load_digits().X_test, load_digits().y_test)]
        for s in sites
    ]
    assert table.loc["SLDA", "alone"] == pytest.approx(np.mean(alone))
    again = federate(strategies, sites, n_rounds=3).set_index("strategy")
    assert again.equals(table)


def test_what_cannot_learn_together_is_refused():
    sites = site_stream(load_digits(), n_experiences=2, random_state=0)
    with pytest.raises(TypeError, match="do not come from one network"):
        federate({"GDumb": GDumbClassifier(random_state=0)}, sites, n_rounds=1)
    with pytest.raises(
        ValueError, match=r"site of 'network' would start from weights of its own.*integer random_state"
    ):
        federate({"network": NaiveClassifier()}, sites, n_rounds=1)
    with pytest.raises(ValueError, match="n_rounds"):
        federate({"SLDA": SLDAClassifier()}, sites, n_rounds=0)
