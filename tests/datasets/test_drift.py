"""Drift: which concept rules where, and what the way from one to the next is."""

import numpy as np
import pandas as pd
import pytest

from forgetless.datasets import Dataset, drift_stream, load_iris


def line(n_rows=400, **more):
    x = np.linspace(-1, 1, n_rows)
    return Dataset("line", np.column_stack([x, -x]), (x > 0).astype(int), **more)


def ruled(stream):
    return np.concatenate([np.r_[stream.concepts(k), stream.concepts(k, "test")] for k in range(len(stream))])


def test_recurring_concepts_come_again():
    rules = ruled(drift_stream(line(), 2, drift="recurring", n_cycles=2))
    np.testing.assert_array_equal(rules[::50], [0, 0, 1, 2, 0, 0, 1, 2])


def test_a_gradual_change_mixes_within_its_width_only():
    rules = ruled(drift_stream(line(), 1, drift="gradual", width=0.5, random_state=0))
    assert not rules[:100].any()
    assert rules[300:].all()
    shares = rules[100:300].reshape(4, 50).mean(axis=1)
    assert (np.diff(shares) > 0).all()


def test_an_incremental_change_interpolates():
    stream = drift_stream(line(), 1, 4, "incremental", width=0.5, random_state=3)
    way = ruled(stream)
    np.testing.assert_allclose(way, np.clip((np.arange(400) + 0.5) / 200 - 0.5, 0, 1))
    X = np.concatenate([X for e in stream for X in (e.X_train, e.X_test)])
    np.testing.assert_allclose(X, line().X_train * (1 - 2 * way[:, None]))  # the permutation is the change of signs
    numbers = Dataset("numbers", line().X_train, np.full(400, 0.5))
    towards = drift_stream(numbers, [lambda X: np.full(len(X), 1.5)], 4, "incremental")
    np.testing.assert_allclose(towards[2].y_train, 0.5 + towards.concepts(2))


def test_the_same_drift_runs_through_a_test_part():
    data = Dataset("both", line().X_train, line().y_train, line(40).X_train, line(40).y_train)
    stream = drift_stream(data, [Dataset("other", data.X_train + 9, data.y_train, data.X_test + 9, data.y_test)], 4)
    assert [sorted(set((e.X_test[:, 0] > 4).tolist())) for e in stream] == [[False], [False], [True], [True]]
    assert sum(len(e.y_test) for e in stream) == 40
    assert stream.definition["concepts"]


def test_definition_knows_the_concepts():
    builds = [lambda X: 1 - (X[:, 0] > 0), lambda X: 1 - (X[:, 0] > 0.5)]
    one, other, again = (drift_stream(line(), [f], random_state=0).definition for f in (*builds, builds[0]))
    assert one == again != other


def test_a_concept_may_be_tested_on_classes_of_another():
    X = np.zeros((4, 1))
    stream = drift_stream(Dataset("a", X, [0] * 4, X, [1] * 4), [Dataset("b", X, [1] * 4, X, [0] * 4)], 2)
    assert [e.y_test.tolist() for e in stream] == [[1, 1], [0, 0]]


def test_categories_stay_categories_where_concepts_meet():
    a, b = (
        Dataset("a", pd.DataFrame({"town": pd.Categorical([*towns, None])}), [0] * 3, allow_nan=True)
        for towns in (["Rome", "Bern"], ["Bern", "Oslo"])
    )
    X = drift_stream(a, [b], 1, test_size=0)[0].X_train
    assert X["town"].cat.categories.tolist() == ["Bern", "Rome", "Oslo"]
    assert X["town"].tolist()[:2] == ["Rome", "Oslo"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"drift": "sudden"}, "drift must be 'abrupt', .* got 'sudden'"),
        ({"concepts": 0}, "concepts"),
        ({"concepts": []}, "one or more concepts beside the data set"),
        ({"concepts": 3, "drift": "gradual", "width": 0.3}, "width must be at most 0.25, .* one of 4 concepts"),
        ({"concepts": [load_iris()]}, "The concepts differ in their features: 2 and 4"),
        ({"concepts": [lambda X: ["a"] * len(X)]}, "The concepts differ in their type of labels: numbers and text"),
        ({"concepts": [lambda X: [0]]}, "y_train has 1 targets"),
        ({"concepts": [lambda X: X[:, 0] < 0], "drift": "incremental"}, "each row must have the same label"),
    ],
)
def test_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        drift_stream(line(), **arguments)
