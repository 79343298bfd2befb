"""Choosing parameters on a stream."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import is_classifier
from sklearn.feature_selection import SelectFpr, VarianceThreshold
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import (
    MLP,
    ContinualNet,
    ContinualSearchCV,
    ContinualSplit,
    EWCClassifier,
    LwFClassifier,
    SLDAClassifier,
)

NET = ContinualNet(MLP, module__hidden_units=(8,), lr=0.05, max_epochs=10, batch_size=64)
STRENGTHS = {"ewc_lambda": [0.0, 100.0]}


def digits(scenario="task", n_experiences=5):
    return split_stream(load_digits(), n_experiences=n_experiences, scenario=scenario, random_state=0)


def after(estimator, stream, n=None):
    for experience in list(stream)[:n]:
        estimator.partial_fit(experience.X_train, experience.y_train, task_id=experience.task_id)
    return estimator


def final(estimator, stream):
    return np.mean([estimator.score(each.X_test, each.y_test, task_id=each.task_id) for each in stream])


class Fails(SGDClassifier):
    """Fails for a given alpha, after the first call or at once; where it is stopped, it was stopped by the user."""

    stopped = False

    def partial_fit(self, X, y, classes=None):
        if self.alpha == 2.0 or (self.alpha == 1.0 and hasattr(self, "coef_")):
            raise FloatingPointError("it diverged")
        super().partial_fit(X, y, classes)
        if self.stopped and self.alpha == 1e-3:
            raise KeyboardInterrupt
        return self


def test_a_split_trains_on_one_experience_and_tests_on_all_so_far():
    y = np.array(list("bbbbbbaaaaabbbb"))
    parts = list(ContinualSplit().split(y[:, None], y, groups=y))
    assert [len(train) for train, _ in parts] == [8, 4]
    assert [test.tolist() for _, test in parts] == [[13, 14], [13, 14, 10]]
    assert [len(train) for train, _ in ContinualSplit(3, test_size=0.5).split(y)] == [2, 2, 2]
    train, test = next(ContinualSplit(1, shuffle=True, random_state=0).split(y))
    assert sorted([*train, *test]) == list(range(15))
    assert test.tolist() != [12, 13, 14]
    assert ContinualSplit(3).get_n_splits() == 3
    for problem, split, groups in (
        ("give groups", ContinualSplit(), None),
        ("1 rows cannot be split", ContinualSplit(), [0] * 14 + [1]),
        ("test_size is 0", ContinualSplit(2, test_size=0), None),
    ):
        with pytest.raises(ValueError, match=problem.capitalize() if problem[0] == "g" else problem):
            list(split.split(y, groups=groups))


def test_a_strength_is_found_that_grid_search_cannot_see():
    stream = digits()
    first = stream[0]
    grid = GridSearchCV(EWCClassifier(NET, random_state=0), STRENGTHS, cv=2)
    with pytest.warns(UserWarning, match="ewc_lambda cannot matter in fit.*ContinualSearchCV"):
        grid.fit(first.X_train, first.y_train)
    assert len(set(grid.cv_results_["mean_test_score"])) == 1
    search = after(ContinualSearchCV(EWCClassifier(NET, random_state=0), STRENGTHS), stream)
    assert search.best_params_ == {"ewc_lambda": 100.0}
    without = after(EWCClassifier(NET, ewc_lambda=0.0, random_state=0), stream)
    assert final(search, stream) > final(without, stream) + 0.05


@pytest.mark.parametrize(
    ("grid", "in_vain"),
    [
        ({"lwfclassifier__alpha": [0.1, 0.9], "lwfclassifier__temperature": [1.0]}, "alpha, temperature"),
        ({"lwfclassifier__net__lr": [0.1, 0.01]}, ""),
        ({"lwfclassifier__alpha": [0.1, 0.9], "lwfclassifier__net__lr": [0.1]}, ""),
        ({"selectfpr__alpha": [0.5, 1.0]}, ""),  # of another step
    ],
)
def test_a_search_is_warned_of_that_tries_only_what_cannot_matter_in_fit(grid, in_vain, recwarn):
    X, y = load_digits().X_train[:40], load_digits().y_train[:40] % 2
    pipe = make_pipeline(VarianceThreshold(), SelectFpr(), LwFClassifier(NET, random_state=0))
    pipe.fit(X, y)
    assert not recwarn
    GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(X, y)
    messages = {str(each.message) for each in recwarn}
    assert len(messages) == bool(in_vain)
    assert all(message.startswith(f"{in_vain} cannot matter in fit") for message in messages)


def test_a_setting_is_scored_as_by_hand_and_the_best_learns_again():
    stream = digits(n_experiences=3)
    search = after(ContinualSearchCV(EWCClassifier(NET, random_state=0), STRENGTHS, scoring="accuracy"), stream, 2)
    by_hand = EWCClassifier(NET, ewc_lambda=100.0, random_state=0)
    tests = []
    for each in list(stream)[:2]:
        [(train, test)] = ContinualSplit(1).split(each.X_train)
        by_hand.partial_fit(each.X_train[train], each.y_train[train], task_id=each.task_id)
        tests.append((each.X_train[test], each.y_train[test], each.task_id))
    scores = [by_hand.score(X, y, task_id=task_id) for X, y, task_id in tests]
    results = search.cv_results_
    assert [results["split0_test_score"][1], results["split1_test_score"][1]] == scores
    assert search.best_score_ == results["mean_test_score"].max() == results["mean_test_score"][search.best_index_]
    assert search.memory_usage()["replay"] >= sum(each.X_train.nbytes for each in list(stream)[:2])
    restored = pickle.loads(pickle.dumps(search))
    for each in (search, restored):
        after(each, [stream[2]])
        alone = after(EWCClassifier(NET, **search.best_params_, random_state=0), stream)
        np.testing.assert_array_equal(each.predict_proba(stream[0].X_test, 0), alone.predict_proba(stream[0].X_test, 0))
        assert each.memory_usage() == alone.memory_usage()
        assert each.n_experiences_ == 3
    assert search.search_seconds_ > 0 < search.refit_time_


def test_fit_learns_experiences_in_order_and_calls_of_a_task_are_one():
    stream = digits("class", n_experiences=3)
    X, y, groups = (
        np.concatenate(parts)
        for parts in zip(*[(e.X_train, e.y_train, [e.index] * len(e.y_train)) for e in stream], strict=True)
    )
    grid = {"shrinkage": [1e-4, 0.9]}
    fitted = ContinualSearchCV(SLDAClassifier(), grid).fit(X, y, groups)
    fed = after(ContinualSearchCV(SLDAClassifier(), grid), stream)
    np.testing.assert_allclose(fitted.predict_proba(X[:9]), fed.predict_proba(X[:9]))
    assert is_classifier(fitted)
    assert fitted.classes_.tolist() == list(range(10))
    parts = ContinualSearchCV(SLDAClassifier(), grid)
    for each in stream:
        for rows in (slice(None, 99), slice(99, None)):
            parts.partial_fit(each.X_train[rows], each.y_train[rows], task_id=each.index)
    assert parts.n_experiences_ == 3
    assert len([key for key in parts.cv_results_ if key.startswith("split")]) == 4  # calls of the first two
    with pytest.raises(ValueError, match="nothing can be forgotten"):
        ContinualSearchCV(SLDAClassifier(), grid).fit(X, y, np.zeros(len(y)))


def test_settings_may_fail_and_an_interrupt_changes_nothing(monkeypatch):
    X, y = load_digits().X_train, load_digits().y_train
    groups = np.arange(len(y)) % 3
    search = ContinualSearchCV(Fails(random_state=0), {"alpha": [1.0, 2.0, 1e-4]}).fit(X, y, groups)
    assert search.best_params_ == {"alpha": 1e-4}
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [True, True, False]
    with pytest.raises(ValueError, match="All 1 settings fail, the first with FloatingPointError: it diverged"):
        ContinualSearchCV(Fails(), {"alpha": [2.0]}).fit(X, y, groups)
    search = ContinualSearchCV(Fails(random_state=0), {"alpha": [1e-4, 1e-3]})
    search.partial_fit(X[groups == 0], y[groups == 0], np.unique(y))
    uninterrupted = copy.deepcopy(search).partial_fit(X[groups == 1], y[groups == 1])
    monkeypatch.setattr(Fails, "stopped", True)
    with pytest.raises(KeyboardInterrupt):
        search.partial_fit(X[groups == 1], y[groups == 1])
    monkeypatch.undo()
    search.partial_fit(X[groups == 1], y[groups == 1])
    np.testing.assert_array_equal(search.decision_function(X), uninterrupted.decision_function(X))
    assert search.n_experiences_ == 2


def test_the_budget_is_kept():
    X, y = load_digits().X_train, load_digits().y_train
    grid = {"alpha": [1e-4, 1e-3, 1e-2], "penalty": ["l1", "l2"]}
    search = ContinualSearchCV(SGDClassifier(), grid, n_candidates=3, random_state=0).fit(X, y, np.arange(len(y)) % 2)
    assert len(search.cv_results_["params"]) == 3
    with pytest.raises(ValueError, match="n_experiences"):
        ContinualSearchCV(SGDClassifier(), grid, n_experiences=1).partial_fit(X, y)
