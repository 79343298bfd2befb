"""GDumb: its memory, and training when an answer is asked for."""

import copy
import pickle

import numpy as np
import pytest
from helpers.estimators import DIGITS, learned
from helpers.replay import make_net, make_stream

from forgetless.estimators import MLP, ContinualNet, GDumbClassifier


def paper_counts(labels, capacity):
    """Rows of each class after algorithm 1 of the paper, row by row."""
    counts = {}
    for label in labels:
        quota = capacity / max(len(counts), 1)
        if label not in counts or counts[label] < quota:
            if sum(counts.values()) >= capacity:
                counts[max(counts, key=counts.get)] -= 1
            counts[label] = counts.get(label, 0) + 1
    return counts


@pytest.mark.parametrize("capacity", [20, 60, 100])
def test_gdumb_balances_as_the_paper_does(capacity):
    labels = np.repeat(np.arange(10), 120)
    X = np.arange(1200, dtype=np.float32)[:, None] / 1200
    clf = GDumbClassifier(buffer_size=capacity, random_state=0)
    for part in np.split(np.arange(1200), 5):
        clf.partial_fit(X[part], labels[part])
    kept = np.bincount(clf.memory_.stored().y)
    assert kept.tolist() == [paper_counts(labels, capacity)[label] for label in range(10)]


def test_gdumb_answers_depend_on_the_memory_only():
    clf = GDumbClassifier(make_net(), buffer_size=50, max_epochs=20, random_state=0)
    asked = copy.deepcopy(clf)
    for e in make_stream(n_experiences=3):
        clf.partial_fit(e.X_train, e.y_train)
        asked.partial_fit(e.X_train, e.y_train).predict(e.X_test)
    stored = pickle.loads(pickle.dumps(clf))
    usage = clf.memory_usage()
    answers = clf.predict_proba(DIGITS.X_test)
    assert np.array_equal(answers, asked.predict_proba(DIGITS.X_test))
    assert np.array_equal(answers, stored.predict_proba(DIGITS.X_test))
    assert np.array_equal(answers, pickle.loads(pickle.dumps(clf)).predict_proba(DIGITS.X_test))
    assert clf.memory_usage() == usage
    assert usage["weights"] == 4 * sum(p.numel() for p in clf.net_.module_.parameters())


def test_gdumb_trains_once_and_from_scratch():
    class Counting(MLP):
        n_built = 0

        def __init__(self, n_inputs, n_outputs):
            Counting.n_built += 1
            super().__init__(n_inputs, n_outputs)

    clf = GDumbClassifier(ContinualNet(Counting, lr=0.01), buffer_size=50, random_state=0)
    learned(clf, make_stream())
    assert Counting.n_built == 0
    clf.predict(DIGITS.X_test)
    clf.predict_proba(DIGITS.X_test)
    assert Counting.n_built == 1
    stored = clf.memory_.stored()
    assert clf.score(stored.x.numpy(), clf.classes_[stored.y]) == 1.0  # digits come in order, so outputs are digits


def test_gdumb_passes_over_the_memory_as_often_as_it_says():
    """Whatever the net's own schedule is."""
    clf = GDumbClassifier(make_net(max_steps=3), max_epochs=7, random_state=0).fit(DIGITS.X_train, DIGITS.y_train)
    assert len(clf.net_.history) == 7


def test_gdumb_that_diverges_says_so_when_asked():
    clf = GDumbClassifier(make_net(lr=1e38), random_state=0).fit(DIGITS.X_train, DIGITS.y_train)
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="net__lr"):
            clf.predict(DIGITS.X_test)
