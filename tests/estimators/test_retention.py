"""A model in use: what it still knows, what an update would cost, and how one is undone."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import StandardScaler

from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import (
    MLP,
    ContinualNet,
    NaiveClassifier,
    RandomProjectionRegressor,
    ReplayClassifier,
    ScaledTargetRegressor,
    make_incremental_pipeline,
    retention,
    snapshot,
    would_forget,
)

NET = ContinualNet(MLP, module__hidden_units=(8,), lr=0.05, max_epochs=2)
X, y = load_digits().X_train, load_digits().y_train


def stream(scenario="class"):
    return split_stream(load_digits(), n_experiences=5, scenario=scenario, class_order="sorted")


def model(kind, seed=0):
    return {
        "naive": lambda: NaiveClassifier(NET, random_state=seed),
        "replay": lambda: ReplayClassifier(NET, buffer_size=20, random_state=seed),
        "pipeline": lambda: make_incremental_pipeline(StandardScaler(), ReplayClassifier(NET, random_state=seed)),
        "sklearn": lambda: SGDClassifier(random_state=seed),
    }[kind]()


def learn(estimator, experience):
    told = {"classes": np.arange(10)} if isinstance(estimator, SGDClassifier) else {}
    if experience.task_id is not None:
        told["task_id"] = experience.task_id
    return estimator.partial_fit(experience.X_train, experience.y_train, **told)


@pytest.mark.parametrize("scenario", ["class", "task"])
def test_retention_is_the_score_on_each_past_experience(scenario):
    experiences = list(stream(scenario))
    estimator = learn(learn(model("naive"), experiences[0]), experiences[1])
    told = [{} if e.task_id is None else {"task_id": e.task_id} for e in experiences]
    expected = [accuracy_score(e.y_test, estimator.predict(e.X_test, **told[e.index])) for e in experiences[:2]]
    for scoring in (None, "accuracy"):
        found = retention(estimator, stream(scenario), scoring=scoring)
        assert found["score"].to_list() == expected
        assert found["n_rows"].to_list() == [len(e.y_test) for e in experiences[:2]]
    assert len(retention(estimator, stream(scenario), n_experiences=1)) == 1


def test_retention_looks_behind_a_pipeline_and_scaled_targets():
    rows = [SimpleNamespace(X_test=X[k::3], y_test=X[k::3].sum(axis=1), task_id=None) for k in range(3)]
    learner = ScaledTargetRegressor(RandomProjectionRegressor(n_features=10))
    estimator = make_incremental_pipeline(StandardScaler(), learner)
    for each in rows[:2]:
        estimator.partial_fit(each.X_test, each.y_test)
    assert retention(estimator, rows).index.tolist() == [0, 1]


def test_retention_without_test_rows_is_unknown_and_of_an_unfitted_model_an_error():
    nothing = SimpleNamespace(task_id=None, X_test=X[:0], y_test=y[:0])
    estimator = learn(model("sklearn"), stream()[0])
    assert math.isnan(retention(estimator, [nothing])["score"][0])
    for kind in ("naive", "sklearn"):
        with pytest.raises(NotFittedError):
            retention(model(kind), stream())


@pytest.mark.parametrize("kind", ["replay", "pipeline", "sklearn"])
def test_an_update_is_tried_on_a_copy(kind):
    first, second, *_ = stream()
    estimator, twin = learn(model(kind), first), learn(model(kind), first)
    update = would_forget(estimator, second.X_train, second.y_train, [first])
    answer = "decision_function" if kind == "sklearn" else "predict_proba"
    np.testing.assert_array_equal(getattr(estimator, answer)(X), getattr(twin, answer)(X))
    learn(twin, second)
    np.testing.assert_array_equal(getattr(update.updated, answer)(X), getattr(twin, answer)(X))
    row = update.scores.loc[0]
    assert row["before"] == estimator.score(first.X_test, first.y_test)
    assert row["after"] == twin.score(first.X_test, first.y_test)
    assert update.worst_change == row["after"] - row["before"]


def test_an_update_that_opens_a_task_is_judged_on_the_tasks_before():
    first, second, *_ = stream("task")
    estimator = learn(model("naive"), first)
    update = would_forget(estimator, second.X_train, second.y_train, stream("task"), task_id=second.task_id)
    assert list(update.scores.index) == [0]
    assert update.updated.n_experiences_ == 2
    assert estimator.n_experiences_ == 1


@pytest.mark.parametrize("kind", ["replay", "pipeline", "sklearn"])
def test_what_was_learned_since_is_undone_as_often_as_asked(kind):
    first, second, third, *_ = stream()
    estimator, twin = learn(model(kind), first), learn(model(kind), first)
    undo = snapshot(estimator)
    for experience in (second, third):
        learn(estimator, experience)
        undo()
    learn(estimator, second)  # goes on as if nothing had been between
    learn(twin, second)
    answer = "decision_function" if kind == "sklearn" else "predict_proba"
    np.testing.assert_array_equal(getattr(estimator, answer)(X), getattr(twin, answer)(X))
