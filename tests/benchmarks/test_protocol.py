"""Protocols: what is tested when, and that scores are scikit-learn's."""

import json

import numpy as np
import pytest
from helpers.benchmarks import NET, Spy, iris, run
from sklearn import metrics
from sklearn.base import clone
from sklearn.linear_model import Perceptron, SGDClassifier, SGDRegressor
from sklearn.naive_bayes import GaussianNB

from forgetless.benchmarks.runs.diagnostics import calibration_error, effective_rank
from forgetless.datasets import Dataset, chunked_stream, load_digits, load_iris, permuted_stream, with_label_delay
from forgetless.estimators import NaiveClassifier, NaiveRegressor, ReplayClassifier


def numbers(n_rows=120, n_experiences=4):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3))
    return chunked_stream(Dataset("sum", X, X.sum(axis=1) + rng.normal(size=n_rows)), n_experiences)


def moving(n_rows=200, **options):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n_rows) % 3)
    X = np.eye(3)[(y + np.arange(n_rows) // 50) % 3] + 0.5 * rng.normal(size=(n_rows, 3))
    return chunked_stream(Dataset("moving", X, y), 4, test_size=0.0, **options)


# --- what is tested when -----------------------------------------------------------------------------------------

EVERY = [(i, j) for i in range(-1, 3) for j in range(3)]


@pytest.mark.parametrize(
    ("evaluate", "pairs"),
    [
        ("all", EVERY),
        ("seen", [(i, j) for i, j in EVERY if 0 <= j <= i]),
        ("current", [(i, j) for i, j in EVERY if i == j]),
        ("future", [(i, j) for i, j in EVERY if j > i]),
        ("prequential", [(-1, 0), (0, 1), (1, 2)]),
    ],
)
def test_pairs_of_each_protocol_have_the_scores_of_the_whole_matrix(evaluate, pairs):
    stream = permuted_stream(load_iris(), 3, random_state=0)
    whole = run({"Bayes": GaussianNB()}, [stream]).scores.set_index(["trained_on", "tested_on"])["score"]
    found = run({"Bayes": GaussianNB()}, [stream], evaluate=evaluate).scores.set_index(["trained_on", "tested_on"])
    assert list(found.index) == pairs
    if evaluate != "prequential":  # which has other rows
        assert found["score"].equals(whole.loc[pairs])


def test_the_work_of_linear_protocols_is_linear(log):
    for evaluate in ("current", "prequential"):
        log.clear()
        run({"Spy": Spy()}, [permuted_stream(load_iris(), 20, random_state=0)], evaluate=evaluate)
        assert len([call for call in log if call[0] == "predict"]) in (19, 20)  # one waits for a model


@pytest.mark.parametrize("estimator", [GaussianNB(), SGDClassifier(random_state=0)])
@pytest.mark.parametrize("every", [None, 7])
def test_prequential_scores_equal_a_plain_loop(estimator, every):
    stream = moving()
    results = run({"x": estimator}, [stream], evaluate="prequential", eval_every=every)
    model, right = clone(estimator), []
    for experience in stream:
        X, y = experience.X_train, experience.y_train
        for start in range(0, len(y), every or len(y)):
            part = slice(start, start + (every or len(y)))
            if hasattr(model, "classes_"):
                right += (model.predict(X[part]) == y[part]).tolist()
            model.partial_fit(X[part], y[part], classes=stream.classes)
    parts = results.evaluations
    assert len(right) == parts["n_tested"].sum() == 200 - (every or 50)
    assert (parts["score"] * parts["n_tested"]).sum() == pytest.approx(sum(right))
    of_experiences = np.split(np.array(right), [50 - (every or 50), *range(100 - (every or 50), len(right), 50)])
    expected = [np.mean(each) if len(each) else np.nan for each in of_experiences]
    np.testing.assert_allclose(results.scores["score"], expected)


def test_an_untrained_network_answers_the_first_rows_of_all():
    results = run({"Naive": NaiveClassifier(NET)}, [moving()], evaluate="prequential", eval_every=20)
    assert results.evaluations["n_tested"].sum() == 200
    assert results.scores["score"].notna().all()


def test_late_labels_are_learned_late_and_tested_in_time():
    on_time = run({"Bayes": GaussianNB()}, [moving()], evaluate="prequential").scores["score"]
    late = run({"Bayes": GaussianNB()}, [with_label_delay(moving(), 1)], evaluate="prequential").scores["score"]
    assert len(late) == 3
    # After one experience of 50 rows, tested on the third: one concept further away than the second.
    assert late[1] != on_time[2]


def test_experiences_in_parts_are_tested_in_between():
    stream = iris("task")
    results = run({"Naive": NaiveClassifier(NET)}, [stream], evaluate="seen", eval_every=25)
    assert results.evaluations[["experience", "n_rows", "tested_on"]].to_numpy().tolist() == [
        *([0, 25, 0],),
        *([1, 25, j] for j in range(2)),
        *([2, 25, j] for j in range(3)),
    ]
    assert results.experiences["n_train"].tolist() == [40, 40, 40]
    model = NaiveClassifier(clone(NET), random_state=0)
    for k, experience in enumerate(stream):
        for part in (slice(0, 25), slice(25, 40)):
            model.partial_fit(experience.X_train[part], experience.y_train[part], task_id=k)
    assert model.n_experiences_ == 3
    last = results.scores[results.scores["trained_on"] == 2]["score"].tolist()
    assert last == [model.score(*stream.test_set(j), task_id=j) for j in range(3)]


# --- scores ------------------------------------------------------------------------------------------------------


def test_several_scores_are_scikit_learns():
    stream = permuted_stream(load_digits(), 2, random_state=0)
    names = ["accuracy", "balanced_accuracy", "f1_macro", "neg_log_loss", "roc_auc_ovr", "roc_auc_ovo"]
    results = run({"Bayes": GaussianNB(var_smoothing=0.1)}, [stream], scoring=names)
    assert json.loads(results.runs["protocol"][0])["scoring"] == names
    model = GaussianNB(var_smoothing=0.1)
    for experience in stream:
        model.partial_fit(experience.X_train, experience.y_train, classes=stream.classes)
    X, y = stream.test_set(1)
    found = results.scores.query("trained_on == 1 and tested_on == 1").set_index("metric")["score"].to_dict()
    assert found == {name: pytest.approx(metrics.get_scorer(name)(model, X, y), rel=1e-12) for name in names}


def test_scores_know_the_classes_that_a_test_set_or_a_model_lacks():
    stream = iris()  # one class in each experience
    results = run({"Naive": NaiveClassifier(NET)}, [stream], scoring=["neg_log_loss", "roc_auc_ovr"])
    scores = results.scores.set_index(["metric", "trained_on", "tested_on"])["score"]
    assert scores["roc_auc_ovr"].isna().all()  # not defined for one class
    model = NaiveClassifier(clone(NET), random_state=0).partial_fit(stream[0].X_train, stream[0].y_train)
    model.partial_fit(stream[1].X_train, stream[1].y_train)
    X, y = stream.test_set(0)
    probabilities = np.pad(model.predict_proba(X), ((0, 0), (0, 1)))
    expected = -metrics.log_loss(y, probabilities, labels=[0, 1, 2])
    assert scores["neg_log_loss", 1, 0] == pytest.approx(expected, rel=1e-12)


def test_regression_scores_equal_scikit_learns():
    stream = numbers()
    names = ["r2", "neg_mean_absolute_error"]
    results = run({"SGD": SGDRegressor(), "Naive": NaiveRegressor()}, [stream], scoring=names)
    assert results.runs["error"].tolist() == [None, None]
    model = SGDRegressor(random_state=0)
    for experience in stream:
        model.partial_fit(experience.X_train, experience.y_train)
    scores = results.scores.query("strategy == 'SGD' and trained_on == 3").set_index(["metric", "tested_on"])["score"]
    for j in range(4):
        X, y = stream.test_set(j)
        assert scores["r2", j] == pytest.approx(metrics.r2_score(y, model.predict(X)))
        assert scores["neg_mean_absolute_error", j] == pytest.approx(-metrics.mean_absolute_error(y, model.predict(X)))
    default = run({"SGD": SGDRegressor()}, [stream], scoring=None).scores
    assert set(default["metric"]) == {"r2"}


def test_each_strategy_learns_the_streams_that_fit_it():
    results = run({"Bayes": GaussianNB(), "SGD": SGDRegressor()}, [iris(), numbers()], scoring=["r2", "accuracy"])
    assert results.runs[["strategy", "stream"]].to_numpy().tolist() == [
        ["Bayes", iris().name],
        ["SGD", numbers().name],
    ]
    assert results.scores.groupby("strategy")["metric"].unique().map(list).to_dict() == {
        "Bayes": ["accuracy"],
        "SGD": ["r2"],
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategies": {"x": SGDRegressor()}}, "These strategies are regressors.*labels: x"),
        ({"streams": [numbers()]}, "These strategies are classifiers.*numbers: Bayes"),
        ({"streams": [numbers(), iris()]}, "No strategy here can learn the targets of these streams: chunked-sum-4"),
        ({"scoring": "acuracy"}, r"no scorer 'acuracy' in scikit-learn \(did you mean 'accuracy'\?\)"),
        ({"scoring": ["r2"]}, "scoring 'r2' does not fit the stream .*it is a score of numbers"),
        ({"scoring": ["roc_auc"]}, "scoring 'roc_auc' does not fit the stream"),
        ({"scoring": ["accuracy", "accuracy"]}, "names a scorer twice"),
        ({"scoring": ["neg_log_loss"], "strategies": {"x": Spy()}}, "needs probabilities, which the strategy 'x'"),
        *(
            ({"scoring": [scorer], "strategies": {"x": Perceptron()}}, f"'{scorer}' needs probabilities, which .* 'x'")
            for scorer in ("neg_log_loss", "roc_auc_ovr")
        ),
        ({"evaluate": "sen"}, r"evaluate is 'sen' \(did you mean 'seen'\?\)"),
        ({"eval_every": 0}, "eval_every is 0"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(options, words):
    with pytest.raises(ValueError, match=words):
        run(**{"strategies": {"Bayes": GaussianNB()}, "streams": [iris()], **options})


def test_what_fits_no_stream_is_left_out_aloud():
    with pytest.warns(UserWarning, match=r"regressors, but the streams' targets are labels: SGD\. They do not run"):
        results = run({"Bayes": GaussianNB(), "SGD": SGDRegressor()}, [iris()])
    assert results.runs["strategy"].tolist() == ["Bayes"]
    with pytest.warns(UserWarning, match="fit the targets of no stream: r2"):
        run({"Bayes": GaussianNB()}, [iris()], scoring=["accuracy", "r2"])


def test_what_has_no_score_is_told_before_it_runs():
    with pytest.warns(UserWarning, match="'future', but no model knows the classes to come of the stream '.*iris"):
        run({"Bayes": GaussianNB()}, [iris()], evaluate="future")


def test_a_decision_function_is_enough_where_scikit_learn_takes_one():
    two = Dataset("two", [[0.0], [1.0]] * 20, [0, 1] * 20)
    results = run({"Perceptron": Perceptron()}, [chunked_stream(two, 2)], scoring=["roc_auc"])
    assert results.scores["score"].tolist()[2:] == [1.0] * 4


# --- diagnostics -------------------------------------------------------------------------------------------------


def test_diagnostics_of_a_network():
    replay = ReplayClassifier(clone(NET).set_params(max_epochs=3, batch_size=16))
    results = run({"Replay": replay, "Bayes": GaussianNB()}, [iris()], diagnostics=True)
    found = {name: list(map(json.loads, rows)) for name, rows in results.experiences.groupby("strategy")["diagnostics"]}
    assert [set(each) for each in found["Bayes"]] == [{"calibration_error"}] * 3
    for k, each in enumerate(found["Replay"]):
        assert set(each) - {"distance"} == {
            *("effective_rank", "dead_units", "weight_norm"),
            *("gradient_steps", "samples_seen", "calibration_error"),
        }
        assert ("distance" in each) == (k > 0)
        assert each["gradient_steps"] == 3 * 3
        assert each["samples_seen"] == 3 * 40
        assert 0 <= each["dead_units"] <= 1
        assert 0 <= each["effective_rank"] <= 8
    without = run({"Replay": replay}, [iris()])
    assert without.experiences["diagnostics"].tolist() == ["{}"] * 3
    both = results.scores[results.scores["strategy"] == "Replay"]["score"].to_numpy()
    np.testing.assert_array_equal(both, without.scores["score"])  # looking changes nothing


def test_effective_rank_and_calibration_error_by_hand():
    assert effective_rank(np.diag([3.0, 1.0])) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))
    assert effective_rank(np.zeros((3, 2))) == 0
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    # Two rows of confidence 0.9, one right; one of 0.6, right.
    expected = 2 / 3 * abs(0.9 - 0.5) + 1 / 3 * abs(0.6 - 1)
    assert calibration_error(probabilities, np.array([0, 1]), np.array([0, 1, 1])) == pytest.approx(expected)
