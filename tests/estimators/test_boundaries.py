"""Borders that a detector finds: how late, how often by mistake, and what they do to the strategy."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from forgetless.datasets import Dataset, drift_stream
from forgetless.estimators import (
    MLP,
    ContinualNet,
    ContinualRegressionNet,
    DriftBoundaries,
    EWCClassifier,
    IndependentClassifier,
    NaiveRegressor,
    NCMClassifier,
    RandomProjectionRegressor,
    SLDAClassifier,
    make_incremental_pipeline,
)

N = 4000
NET = ContinualNet(MLP, module__hidden_units=(8,), lr=0.03, max_epochs=3)


class Every:
    """A detector that fires at every n-th number."""

    def __init__(self, n):
        self.n, self.seen, self.drift_detected = n, 0, False

    def update(self, number):
        assert 0 <= number <= 1
        self.seen += 1
        self.drift_detected = self.seen % self.n == 0


def flipped(X):
    return (X[:, 0] < 0).astype(int)


def made(seed, drift, signal="errors", regression=False):
    """Rows with a made drift."""
    rng = np.random.default_rng(seed)
    X, noise = rng.normal(size=(N, 4)), 0.3 * rng.normal(size=N)
    y = 2 * X[:, 0] + noise if regression else (X[:, 0] + noise > 0).astype(int)
    data = Dataset("made", X, y)
    if drift is None:
        return X, y
    shifted = rng.normal(size=(N, 4)) + 1
    concept = {
        "errors": (lambda rows: -2 * rows[:, 0]) if regression else flipped,
        "inputs": Dataset("shifted", shifted, (shifted[:, 0] > 1).astype(int)),
    }[signal]
    stream = drift_stream(data, [concept], 10, drift=drift, test_size=0, random_state=seed)
    X, y = zip(*((e.X_train, e.y_train) for e in stream), strict=True)
    return np.concatenate(X), np.concatenate(y)


def borders(X, y, model, batch=40):
    """The rows at which borders were found."""
    found = []
    for start in range(0, len(y), batch):
        before = getattr(model, "n_borders_", 0)
        model.partial_fit(X[start : start + batch], y[start : start + batch])
        found += [model.last_border_] * (model.n_borders_ - before)
    return found


# --- measured on made drifts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "estimator"),
    [("errors", NCMClassifier()), ("errors", RandomProjectionRegressor(20, ridge=1.0)), ("inputs", NCMClassifier())],
    ids=["labels", "numbers", "inputs"],
)
def test_no_false_alarms_where_nothing_drifts(signal, estimator):
    regression = isinstance(estimator, RandomProjectionRegressor)
    found = [borders(*made(s, None, signal, regression), DriftBoundaries(estimator, signal=signal)) for s in range(4)]
    assert sum(map(len, found)) <= 1  # of 16,000 rows


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("signal", "estimator", "latest"),
    [
        ("errors", NCMClassifier(), 100),
        ("errors", RandomProjectionRegressor(20, ridge=1.0), 100),
        ("inputs", NCMClassifier(), 200),
    ],
    ids=["labels", "numbers", "inputs"],
)
def test_abrupt_drift_is_found_soon(seed, signal, estimator, latest):
    X, y = made(seed, "abrupt", signal, isinstance(estimator, RandomProjectionRegressor))
    first, *_ = borders(X, y, DriftBoundaries(estimator, signal=signal))
    assert N // 2 < first < N // 2 + latest


@pytest.mark.parametrize("seed", range(3))
def test_gradual_and_recurring_drifts_are_found(seed):
    gradual = borders(*made(seed, "gradual"), DriftBoundaries(NCMClassifier()))
    assert 0.4 * N < gradual[0] < 0.62 * N  # rows are mixed from 0.4 to 0.6
    recurring = borders(*made(seed, "recurring"), DriftBoundaries(NCMClassifier()))
    assert N // 4 < recurring[0] < N // 4 + 100


def test_drift_of_labels_alone_is_not_in_the_inputs():
    X, y = made(0, "abrupt")
    assert not borders(X, y, DriftBoundaries(NCMClassifier(), signal="inputs"))


def test_a_column_that_does_not_vary_tells_nothing():
    class Notes(Every):
        told = []

        def update(self, number):
            Notes.told.append(number)

    X, y = made(0, "abrupt", "inputs")
    for columns in (X, np.column_stack([X, np.full(N, 0.1)])):
        borders(columns, y, DriftBoundaries(NCMClassifier(), detector=Notes(1), signal="inputs"))
    np.testing.assert_array_equal(*np.split(np.array(Notes.told), 2))


def test_errors_that_fall_are_no_border():
    """At first all is wrong; then it is learned."""
    model = DriftBoundaries(NCMClassifier(), detector=Every(5))
    X, y = np.array([[-1.0], [1.0]] * 20), np.array([0, 1] * 20)
    model.partial_fit(X[:2], 1 - y[:2])
    model.partial_fit(X, y)  # errors only, then none
    assert model.predict(X[:2]).tolist() == [0, 1] and model.n_borders_ == 0
    for _ in range(5):
        model.partial_fit(X, y)
    assert model.detector_.seen < 5 and model.n_borders_ == 0  # it fired again and again, at errors of 0


# --- what a border does -----------------------------------------------------------------------------------------------


def test_a_border_opens_an_experience_of_the_strategy():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 3)), np.arange(120) % 2
    model = DriftBoundaries(EWCClassifier(NET, random_state=0), detector=Every(25), signal="inputs")
    plain = EWCClassifier(NET, active_outputs="seen", random_state=0)
    found = borders(X, y, model, batch=10)
    # From row 30 on rows are looked at, and the 25th of them is row 54. Rows 50 to 79 are the first of the experience
    # that it opens, and the 25th after them is row 104.
    assert found == [54, 104]
    task = 0
    for start in range(0, 120, 10):
        task += any(start <= row < start + 10 for row in found)
        plain.partial_fit(X[start : start + 10], y[start : start + 10], task_id=task)
    assert model.n_experiences_ == model.estimator_.n_experiences_ == plain.n_experiences_ == len(found) + 1
    assert np.array_equal(model.predict_proba(X), plain.predict_proba(X))
    assert model.n_rows_ == 120


def test_what_is_carried_does_not_grow_with_borders():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(10, 3)), np.arange(10) % 2
    model = DriftBoundaries(SLDAClassifier(0.1), detector=Every(10), signal="inputs")
    sizes = []
    for _ in range(400):
        model.partial_fit(X, y)
        sizes.append(len(pickle.dumps(model)))
    assert model.n_borders_ > 50
    assert max(sizes[200:]) - max(sizes[100:200]) < 20  # numbers with more digits
    assert set(model.estimator_.tasks_) == {"even", "odd"}
    assert model.memory_usage()["statistics"] > model.estimator_.memory_usage()["statistics"]


def test_it_works_with_pipelines_and_announced_classes():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), np.arange(40) % 2
    pipe = make_incremental_pipeline(StandardScaler(), EWCClassifier(NET, random_state=0))
    model = DriftBoundaries(pipe, detector=Every(7)).partial_fit(X, y, classes=[0, 1, 2])
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.estimator_.steps[-1][1].active_outputs == "seen" and pipe.steps[-1][1].active_outputs == "auto"
    assert model.strategy_info()["keeps"] == "statistics" and model.strategy_info()["unlearns"] == "no"


# --- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        DriftBoundaries(EWCClassifier(NET, random_state=0)),
        DriftBoundaries(SLDAClassifier(shrinkage=0.1), signal="inputs"),
        DriftBoundaries(
            NaiveRegressor(ContinualRegressionNet(MLP, lr=0.03, max_epochs=3), random_state=0), detector=Every(9)
        ),
    ],
    ids=["errors", "inputs", "regressor"],
)
def test_scikit_learn_checks_it(model):
    results = check_estimator(model, on_skip=None, on_fail=None)
    assert not [r["exception"] for r in results if r["status"] == "failed"]


@pytest.mark.parametrize("signal", ["errors", "inputs"])
def test_a_call_that_fails_changes_nothing_and_copies_go_on(signal):
    X, y = made(0, "abrupt")
    model = DriftBoundaries(NCMClassifier(), signal=signal)
    borders(X[:1000], y[:1000], model)
    twin = copy.deepcopy(model)
    for rows, targets in ((X[:5] * np.nan, y[:5]), (X[:5], y[:4]), (X[:5, :2], y[:5]), (X[:5], np.full(5, "a"))):
        with pytest.raises(ValueError):  # noqa: PT011
            model.partial_fit(rows, targets)
    again = pickle.loads(pickle.dumps(model))
    found = [borders(X[1000:], y[1000:], each) for each in (model, twin, again)]
    assert found[0] == found[1] == found[2] and (found[0] or signal == "inputs")
    assert np.array_equal(model.predict(X), twin.predict(X))


def test_what_cannot_be_told_of_borders_is_refused():
    X, y = np.zeros((4, 2)), [0, 1, 0, 1]
    for estimator, detector, error, message in (
        (SGDClassifier(), None, TypeError, "knows no experiences"),
        (IndependentClassifier(NET), None, ValueError, "one network"),
        (NCMClassifier(), "adwin", TypeError, "drift_detected"),
    ):
        model = DriftBoundaries(estimator, detector=detector)
        with pytest.raises(error, match=message):
            model.partial_fit(X, y)
        assert not hasattr(model, "estimator_")
    with pytest.raises(ValueError, match="signal"):
        DriftBoundaries(NCMClassifier(), signal="weather").fit(X, y)


def test_without_river_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "river", None)
    with pytest.raises(ImportError, match="install river"):
        DriftBoundaries(NCMClassifier()).fit(np.zeros((2, 2)), [0, 1])
