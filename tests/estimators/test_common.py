"""The battery that every estimator must pass: scikit-learn's checks, and what they lack."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, accuracy, make_stream
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from forgetless.estimators import MLP, ContinualNet, ContinualRegressionNet, all_estimators

CLASSES = dict(all_estimators())
REGRESSORS = [name for name in CLASSES if name.endswith("Regressor")]


def make_net(name, module, **params):
    """A net of the kind that the estimator trains."""
    return (ContinualRegressionNet if name in REGRESSORS else ContinualNet)(module, **params)


def small(name, **params):
    """An estimator that learns fast: a small network and few epochs."""
    cls = CLASSES[name]
    if "net" in inspect.signature(cls).parameters:
        params = {"net": make_net(name, MLP, module__hidden_units=(16,), lr=0.01, max_epochs=10), **params}
    if "random_state" in inspect.signature(cls).parameters:
        params = {"random_state": 0, **params}
    if "n_features" in inspect.signature(cls).parameters:
        params = {"n_features": 200, **params}
    return cls(**params)


def stream(scenario="class", n_experiences=5):
    return make_stream(scenario, n_experiences, class_order="sorted")


def targets(estimator, labels):
    """What the estimator learns: labels, or for a regressor two numbers made of each."""
    return np.stack([labels / 10, 1 - labels / 5], axis=1) if is_regressor(estimator) else labels


def learned(estimator, experiences):
    for e in experiences:
        estimator.partial_fit(e.X_train[:60], targets(estimator, e.y_train[:60]), task_id=e.task_id)
    return estimator


def bits(estimator):
    """Everything that an estimator answers, to the bit."""
    return (estimator.predict if is_regressor(estimator) else estimator.predict_proba)(DIGITS.X_test)


def parameters(name):
    return inspect.signature(CLASSES[name]).parameters


every = pytest.mark.parametrize("name", CLASSES)
classifiers = pytest.mark.parametrize("name", [name for name in CLASSES if name not in REGRESSORS])
regressors = pytest.mark.parametrize("name", REGRESSORS)
with_net = pytest.mark.parametrize("name", [name for name in CLASSES if "net" in parameters(name)])
# Methods whose network is trained when an answer is asked for, not when rows are given.
LAZY = [name for name, cls in CLASSES.items() if isinstance(inspect.getattr_static(cls, "net_", None), property)]
eager = pytest.mark.parametrize("name", [name for name in CLASSES if "net" in parameters(name) and name not in LAZY])
with_seed = pytest.mark.parametrize("name", [name for name in CLASSES if "random_state" in parameters(name)])


@parametrize_with_checks([cls() for cls in CLASSES.values()])
def test_sklearn_checks(estimator, check):
    check(estimator)


def test_all_estimators_lists_names_and_classes():
    assert all_estimators() == sorted(all_estimators())
    assert all(name == cls.__name__ and inspect.isclass(cls) for name, cls in all_estimators())


@every
def test_strategy_info(name):
    info = small(name).strategy_info()
    assert set(info) == {"family", "source", "needs_task_id", "keeps"}
    assert info["keeps"] in ("nothing", "statistics", "features", "generator", "samples")
    assert isinstance(info["needs_task_id"], bool)


@classifiers
@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
def test_learns_every_scenario(name, scenario):
    first, *others = stream(scenario)
    clf = learned(small(name), [first])
    assert clf.score(first.X_test, first.y_test, task_id=first.task_id) > 0.9
    learned(clf, others)
    assert clf.n_experiences_ == 5
    # Chance is 0.1 among ten classes and 0.5 where the task leaves two.
    assert accuracy(clf, [first, *others]) > {"class": 0.1, "task": 0.7, "domain": 0.55}[scenario]


@regressors
def test_regressor_learns_experience_after_experience(name):
    reg, scores = small(name), []
    first, second = stream("task", n_experiences=2)
    for e in (first, second):
        reg.partial_fit(e.X_train, targets(reg, e.y_train), task_id=e.task_id)
        scores.append([reg.score(t.X_test, targets(reg, t.y_test)) for t in (first, second)])
    assert reg.n_experiences_ == 2
    assert scores[0][0] > 0.5 and scores[1][1] > scores[0][1]
    with pytest.raises(ValueError, match="never learned"):
        reg.predict(DIGITS.X_test, task_id="no such task")


@regressors
def test_predictions_have_the_shape_of_the_targets(name):
    X, y = DIGITS.X_train[:60], DIGITS.y_train[:60] / 10
    flat, column = small(name).fit(X, y).predict(X), small(name).fit(X, y[:, None]).predict(X)
    assert flat.shape == (60,) and column.shape == (60, 1)
    assert np.array_equal(flat, column[:, 0])


@classifiers
def test_classes_may_come_late_and_keep_what_was_learned(name):
    first, second = list(stream(n_experiences=2))
    clf = learned(small(name), [first])
    assert clf.classes_.tolist() == [0, 1, 2, 3, 4]
    learned(clf, [second])
    assert clf.classes_.tolist() == list(range(10))
    proba = clf.predict_proba(DIGITS.X_test)
    assert proba.shape == (len(DIGITS.X_test), 10)
    np.testing.assert_allclose(proba.sum(axis=1), 1)


@classifiers
def test_text_labels_out_of_order(name):
    words = np.array(["nine", "Zero", "four", "a", "zz", "b", "m", "k", "x", "d"])
    clf = small(name).partial_fit(DIGITS.X_train[:500], words[DIGITS.y_train[:500]])
    assert clf.classes_.tolist() == sorted(words)
    assert np.mean(clf.predict(DIGITS.X_test) == words[DIGITS.y_test]) > 0.5
    sorted_words = np.array(sorted(words))
    texts = learned(small(name), stream())
    relabelled = small(name)
    for e in stream():
        relabelled.partial_fit(e.X_train[:60], sorted_words[e.y_train[:60]])
    assert np.array_equal(bits(texts), bits(relabelled))


@classifiers
def test_text_and_numbers_do_not_mix(name):
    clf = small(name).fit(DIGITS.X_train[:50], DIGITS.y_train[:50])
    with pytest.raises(ValueError, match="text or numbers"):
        clf.partial_fit(DIGITS.X_train[:50], DIGITS.y_train[:50].astype(str))


@classifiers
def test_task_ids_restrict_the_answers(name):
    experiences = list(stream("task"))
    clf = learned(small(name), experiences)
    for e in experiences:
        assert set(clf.predict(DIGITS.X_test, task_id=e.task_id)) <= set(e.classes)
        proba = clf.predict_proba(DIGITS.X_test, task_id=e.task_id)
        assert not proba[:, ~np.isin(clf.classes_, e.classes)].any()
        np.testing.assert_allclose(proba.sum(axis=1), 1)
    with pytest.raises(ValueError, match="never learned"):
        clf.predict(DIGITS.X_test, task_id="no such task")


@every
def test_calls_with_one_task_id_are_one_experience(name):
    e = stream()[0]
    clf = small(name)
    X, y = e.X_train[:90], targets(clf, e.y_train[:90])
    clf.partial_fit(X[:50], y[:50], task_id="a")
    clf.partial_fit(X[50:], y[50:], task_id="a")
    assert clf.n_experiences_ == 1
    clf.partial_fit(X[:50], y[:50], task_id="b")
    assert clf.n_experiences_ == 2
    clf.partial_fit(X[:50], y[:50])
    clf.partial_fit(X[:50], y[:50])
    assert clf.n_experiences_ == 4


@classifiers
def test_announced_classes_are_not_answered_before_they_are_seen(name):
    e = stream()[0]
    clf = small(name).partial_fit(e.X_train, e.y_train, classes=np.arange(10))
    assert clf.classes_.tolist() == list(range(10))
    assert set(clf.predict(DIGITS.X_test)) <= {0, 1}


@every
def test_same_seed_same_bits(name):
    assert np.array_equal(bits(learned(small(name), stream())), bits(learned(small(name), stream())))


@with_seed
def test_other_seed_other_bits(name):
    a, b = (learned(small(name, random_state=seed), stream()) for seed in (0, 1))
    assert not np.array_equal(bits(a), bits(b))


@every
def test_global_generators_are_not_touched(name):
    np.random.seed(3)
    torch.manual_seed(3)
    numpy_before, torch_before = np.random.get_state(), torch.get_rng_state()
    learned(small(name), stream("task")).predict(DIGITS.X_test, task_id=1)
    numpy_after = np.random.get_state()
    assert np.array_equal(numpy_before[1], numpy_after[1]) and numpy_before[2:] == numpy_after[2:]
    assert torch.equal(torch_before, torch.get_rng_state())


@every
@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_copies_continue_as_the_original_would(name, copied):
    experiences = list(stream("task"))
    clf = learned(small(name), experiences[:3])
    twin = copied(clf)
    assert np.array_equal(bits(clf), bits(twin))
    assert np.array_equal(bits(learned(clf, experiences[3:])), bits(learned(twin, experiences[3:])))


@with_net
def test_prototype_stays_unfitted(name):
    net = make_net(name, MLP, module__hidden_units=(16,), max_epochs=1)
    clf = small(name, net=net)
    learned(clf, stream(n_experiences=2))
    assert not net.initialized_ and not hasattr(net, "module_")
    assert clf.net is net


@with_net
def test_set_params_reaches_the_net(name):
    clf = small(name).set_params(net__lr=0.5, net__module__hidden_units=(7,))
    assert clone(clf).get_params()["net__lr"] == 0.5
    assert clf.net.lr == 0.5


@every
def test_grid_search_and_cross_validation(name):
    clf = small(name)
    first, value = next(iter(clf.get_params(deep=False).items()))
    grid = {"net__lr": [0.001, 0.01]} if first == "net" else {first: [value]}
    X, y = DIGITS.X_train[:60], targets(clf, DIGITS.y_train[:60])
    search = GridSearchCV(clf, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_.keys() == grid.keys()
    assert len(cross_val_score(clf, X, y, cv=2, n_jobs=2, error_score="raise")) == 2


BAD_INPUT = {
    "NaN": (lambda X, y: (np.where(X == X.max(), np.nan, X), y), "NaN"),
    "infinity": (lambda X, y: (np.where(X == X.max(), np.inf, X), y), "infinity"),
    "empty": (lambda X, y: (X[:0], y[:0]), "0 sample"),
    "one dimension": (lambda X, y: (X[0], y), "Expected 2D array"),
    "another number of features": (lambda X, y: (X[:, :-1], y), "features"),
    "text that is no number": (lambda X, y: (np.full(X.shape, "abc"), y), "could not convert|dtype='numeric'"),
    "lengths that differ": (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
}
BAD_LABELS = {
    "labels that are continuous": (lambda X, y: (X, y + 0.5), "continuous|Unknown label type"),
}
BAD_TARGETS = {
    "targets that are NaN": (lambda X, y: (X, y * np.nan), "y contains NaN"),
    "targets of another shape": (lambda X, y: (X, y[:, 0]), "y has shape"),
    "targets that are text": (lambda X, y: (X, np.full(len(y), "abc")), "could not convert"),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in CLASSES for kind in BAD_INPUT | (BAD_TARGETS if name in REGRESSORS else BAD_LABELS)],
)
def test_bad_input_changes_nothing(name, kind):
    first, second = list(stream(n_experiences=2))
    clf = learned(small(name), [first])
    twin = copy.deepcopy(clf)
    spoil, message = {**BAD_INPUT, **BAD_LABELS, **BAD_TARGETS}[kind]
    with pytest.raises(ValueError, match=message):
        clf.partial_fit(*spoil(second.X_train[:60], targets(clf, second.y_train[:60])))
    assert_unchanged(clf, twin, second)


def assert_unchanged(clf, twin, experience):
    assert np.array_equal(getattr(clf, "classes_", None), getattr(twin, "classes_", None))
    assert clf.n_experiences_ == twin.n_experiences_
    assert clf.memory_usage() == twin.memory_usage()
    assert np.array_equal(bits(clf), bits(twin))
    assert np.array_equal(bits(learned(clf, [experience])), bits(learned(twin, [experience])))


class Interrupting(torch.nn.Module):
    """A network in whose third batch of the second experience the user presses Ctrl-C."""

    countdown = 10**9

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.head = torch.nn.Linear(n_inputs, n_outputs)

    def forward(self, x):
        if self.training:
            Interrupting.countdown -= 1
            if Interrupting.countdown == 0:
                raise KeyboardInterrupt
        return self.head(x)


@with_net
def test_interrupt_in_training_changes_nothing(name):
    first, second = list(stream(n_experiences=2))
    clf = learned(small(name, net=make_net(name, Interrupting, max_epochs=4)), [first])
    train, rows = clf.partial_fit, (second.X_train, targets(clf, second.y_train))
    if name in LAZY:
        clf.partial_fit(*rows)
        train, rows = clf.predict, rows[:1]
    twin = copy.deepcopy(clf)
    Interrupting.countdown = 3
    with pytest.raises(KeyboardInterrupt):
        train(*rows)
    Interrupting.countdown = 10**9
    assert_unchanged(clf, twin, second)


@eager
def test_divergence_is_an_error_and_changes_nothing(name):
    first, second = list(stream(n_experiences=2))
    clf = learned(small(name), [first])
    twin = copy.deepcopy(clf)
    with pytest.raises(FloatingPointError, match="net__lr"):
        clf.partial_fit(second.X_train * 1e38, targets(clf, second.y_train))
    assert_unchanged(clf, twin, second)


@eager
def test_failed_first_call_leaves_an_unfitted_estimator(name):
    clf = small(name)
    with pytest.raises(FloatingPointError):
        clf.partial_fit(DIGITS.X_train * 1e38, targets(clf, DIGITS.y_train))
    with pytest.raises(NotFittedError):
        clf.predict(DIGITS.X_test)


@every
def test_wrong_parameters_are_named(name):
    numeric = [
        p for p, v in small(name).get_params(deep=False).items() if isinstance(v, int | float) and p != "random_state"
    ]
    for parameter in numeric:
        wrong = small(name, **{parameter: "nonsense"})
        with pytest.raises(ValueError, match=parameter):
            wrong.fit(DIGITS.X_train[:50], targets(wrong, DIGITS.y_train[:50]))


@every
def test_memory_usage_counts_bytes(name):
    clf = small(name)
    with pytest.raises(NotFittedError):
        clf.memory_usage()
    usage = learned(clf, stream()).memory_usage()
    assert usage and all(isinstance(n, int) and n > 0 for n in usage.values())
    kept = "samples" in clf.strategy_info()["keeps"]
    assert ("replay" in usage) == kept


@every
def test_what_keeps_nothing_has_no_sample_in_its_pickle(name):
    clf = small(name)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 64)).astype(np.float32)
    y = targets(clf, np.arange(80) % 4)
    clf.partial_fit(X[:40], y[:40]).partial_fit(X[40:], y[40:])
    pickled = pickle.dumps(clf)
    # Eight features in a row are as good as a fingerprint of the sample.
    found = any(row[:8].tobytes() in pickled or row[:8].astype(np.float64).tobytes() in pickled for row in X)
    assert found == (clf.strategy_info()["keeps"] == "samples")


@every
def test_fit_forgets_everything(name):
    first, second = list(stream(n_experiences=2))
    used = learned(small(name), [first])
    X, y = second.X_train[:60], targets(used, second.y_train[:60])
    used.fit(X, y)
    fresh = small(name).fit(X, y)
    assert is_regressor(used) or used.classes_.tolist() == [5, 6, 7, 8, 9]
    assert np.array_equal(bits(used), bits(fresh))


@with_net
def test_untrained_network_can_answer(name):
    clf = small(name)
    if not hasattr(clf, "initialize"):
        pytest.skip("builds its networks when their tasks come")
    clf.initialize(DIGITS.X_train, targets(clf, np.arange(len(DIGITS.X_train)) % 10))
    assert clf.score(DIGITS.X_test, targets(clf, DIGITS.y_test)) < 0.5
    assert learned(clf, stream()).n_experiences_ == 5
