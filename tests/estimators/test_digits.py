"""What strategies reach on split digits."""

import copy

import pytest
from helpers.estimators import DIGITS, accuracy, learned, make_net, make_stream
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from forgetless.estimators import (
    DERClassifier,
    ERACEClassifier,
    GDumbClassifier,
    ICaRLClassifier,
    JointClassifier,
    NaiveClassifier,
    ReplayClassifier,
    SLDAClassifier,
)


@pytest.fixture(scope="module")
def digits_scores():
    """Average accuracy on split digits, class-incremental, 5 experiences."""
    net = make_net(module__hidden_units=(100,), max_epochs=20)
    strategies = {
        "naive": NaiveClassifier(net, random_state=0),
        "joint": JointClassifier(net, random_state=0),
        "replay": ReplayClassifier(net, buffer_size=200, random_state=0),
        "slda": SLDAClassifier(),
    }
    stream = make_stream()
    return {name: accuracy(learned(clf, stream), stream) for name, clf in strategies.items()}


def test_sanity_on_split_digits(digits_scores):
    assert digits_scores["naive"] < 0.30
    assert digits_scores["joint"] > 0.93
    assert digits_scores["replay"] > 0.80
    lda = LinearDiscriminantAnalysis().fit(DIGITS.X_train, DIGITS.y_train)
    assert abs(digits_scores["slda"] - lda.score(DIGITS.X_test, DIGITS.y_test)) < 0.01


SANE = {
    "class_balanced": ReplayClassifier(policy="class_balanced"),
    "ring": ReplayClassifier(policy="ring"),
    "herding": ReplayClassifier(policy="herding"),
    "mir": ReplayClassifier(retrieval="mir"),
    "er-ace": ERACEClassifier(),
    "der++": DERClassifier(),
    "gdumb": GDumbClassifier(),
    "icarl": ICaRLClassifier(),
}


@pytest.mark.parametrize("name", SANE)
def test_replay_on_split_digits(name):
    net = make_net(module__hidden_units=(100,), lr=1e-2, max_epochs=10)
    clf = copy.deepcopy(SANE[name]).set_params(net=net, random_state=0)
    stream = make_stream(class_order="sorted")
    assert accuracy(learned(clf, stream), stream) > 0.8
