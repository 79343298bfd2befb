"""Incremental pipelines."""

import copy
import pickle

import numpy as np
import pytest
import sklearn
from helpers.estimators import DIGITS, make_stream
from sklearn.base import clone
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from forgetless.estimators import (
    MLP,
    ContinualNet,
    EWCClassifier,
    IncrementalPipeline,
    NCMClassifier,
    SLDAClassifier,
    make_incremental_pipeline,
)

NET = ContinualNet(MLP, module__hidden_units=(16,), lr=0.01, max_epochs=5)


def ewc():
    return EWCClassifier(NET, random_state=0)


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def learned(pipe, scenario="task"):
    for e in make_stream(scenario, class_order="sorted"):
        task = {} if e.task_id is None else {"task_id": e.task_id}
        pipe.partial_fit(e.X_train, e.y_train, **task)
    return pipe


def test_steps_learn_one_after_another_as_by_hand():
    pipe = learned(make_incremental_pipeline(StandardScaler(), ewc()))
    scaler, clf = StandardScaler(), ewc()
    for e in make_stream("task", class_order="sorted"):
        clf.partial_fit(scaler.partial_fit(e.X_train).transform(e.X_train), e.y_train, task_id=e.task_id)
    X = scaler.transform(DIGITS.X_test)
    assert np.array_equal(pipe.predict_proba(DIGITS.X_test, task_id=3), clf.predict_proba(X, task_id=3))
    assert pipe.score(DIGITS.X_test, DIGITS.y_test, task_id=3) == clf.score(X, DIGITS.y_test, task_id=3)
    assert pipe.strategy_info() == clf.strategy_info() and pipe.memory_usage() == clf.memory_usage()


def test_update_first_fits_the_scaler_once():
    pipe = learned(make_incremental_pipeline(StandardScaler(), ewc(), update="first"))
    first = make_stream(class_order="sorted")[0]
    assert np.array_equal(pipe[0].mean_, StandardScaler().partial_fit(first.X_train).mean_)


def test_task_ids_with_routing(routing):
    last = ewc().set_partial_fit_request(task_id=True).set_predict_request(task_id=True).set_score_request(task_id=True)
    pipe = learned(make_incremental_pipeline(StandardScaler(), last))
    answers = pipe.predict(DIGITS.X_test, task_id=0)
    assert set(answers) <= {0, 1}
    assert 0 < pipe.score(DIGITS.X_test, DIGITS.y_test, task_id=0) < 0.5
    with sklearn.config_context(enable_metadata_routing=False):
        assert np.array_equal(learned(clone(pipe)).predict(DIGITS.X_test, task_id=0), answers)


def test_task_id_that_nobody_requested_is_an_error_with_routing(routing):
    with pytest.raises(UnsetMetadataPassedError, match="task_id"):
        learned(make_incremental_pipeline(StandardScaler(), ewc()))


def test_stateless_frozen_and_passthrough_steps():
    pca = PCA(10, random_state=0).fit(DIGITS.X_train)
    components = pca.components_.copy()
    steps = [("abs", FunctionTransformer(np.abs)), ("none", "passthrough"), ("pca", pca), ("slda", SLDAClassifier())]
    pipe = learned(IncrementalPipeline(steps), "class")
    assert pipe.score(DIGITS.X_test, DIGITS.y_test) > 0.85
    assert np.array_equal(pipe["pca"].components_, components)


@pytest.mark.parametrize(("update", "scaler", "projection"), [("auto", 2, 1), ("first", 1, 1), ("always", 2, 2)])
def test_update_says_which_steps_learn_from_later_calls(update, scaler, projection):
    halves = np.array_split(DIGITS.X_train, 2)
    pipe = make_incremental_pipeline(StandardScaler(), IncrementalPCA(4), SLDAClassifier(), update=update)
    for X, y in zip(halves, np.array_split(DIGITS.y_train, 2), strict=True):
        pipe.partial_fit(X, y)
    assert pipe[0].n_samples_seen_ == sum(map(len, halves[:scaler]))
    assert pipe[1].n_samples_seen_ == sum(map(len, halves[:projection]))


def test_steps_without_partial_fit_are_fitted_at_the_first_call():
    X, y = DIGITS.X_train, DIGITS.y_train
    pipe = make_incremental_pipeline(RBFSampler(gamma=0.001, random_state=0), PCA(20, random_state=0), SLDAClassifier())
    pipe.partial_fit(X[:500], y[:500])
    pca = PCA(20, random_state=0).fit(RBFSampler(gamma=0.001, random_state=0).fit_transform(X[:500]))
    assert np.array_equal(pipe.partial_fit(X[500:], y[500:])[1].components_, pca.components_)


@pytest.mark.parametrize("update", ["auto", "always"])
def test_frozen_step_stays_as_it_is_in_copies_too(update):
    X, y = DIGITS.X_train[:100], DIGITS.y_train[:100]
    scaler = FrozenEstimator(StandardScaler().fit(3 * X))
    pipe = clone(make_incremental_pipeline(scaler, SLDAClassifier(), update=update)).partial_fit(X, y).partial_fit(X, y)
    assert pipe[0] is scaler and scaler.n_samples_seen_ == 100


def test_nested_pipeline_moves_where_its_last_step_does():
    X, y = DIGITS.X_train[:100], DIGITS.y_train[:100]
    inner = [make_incremental_pipeline(SimpleImputer(), last) for last in (StandardScaler(), IncrementalPCA(4))]
    pipe = make_incremental_pipeline(*inner, SLDAClassifier())
    pipe.partial_fit(X, y).partial_fit(X, y)
    assert pipe[0][1].n_samples_seen_ == 200 and pipe[1][1].n_samples_seen_ == 100


def test_last_step_without_partial_fit():
    from sklearn.tree import DecisionTreeClassifier

    assert not hasattr(make_incremental_pipeline(StandardScaler(), DecisionTreeClassifier()), "partial_fit")


@pytest.mark.parametrize("last", [ewc(), SGDClassifier(random_state=0)], ids=["ours", "guest"])
def test_failed_call_changes_no_step(last):
    pipe = make_incremental_pipeline(MinMaxScaler(), last)
    pipe.partial_fit(DIGITS.X_train[:500], DIGITS.y_train[:500], classes=np.arange(10))
    twin = copy.deepcopy(pipe)
    bad = DIGITS.y_train[500:] + 0.5
    with pytest.raises(ValueError, match=r"continuous|Unknown label type|valid labels"):
        pipe.partial_fit(DIGITS.X_train[500:] * 3, bad)
    assert np.array_equal(pipe[0].data_max_, twin[0].data_max_)
    answers = [p.partial_fit(DIGITS.X_train, DIGITS.y_train).predict(DIGITS.X_test) for p in (pipe, twin)]
    assert np.array_equal(*answers)


def test_pickle_continues():
    pipe = learned(make_incremental_pipeline(StandardScaler(), ewc()), "class")
    twin = pickle.loads(pickle.dumps(pipe))
    X, y = DIGITS.X_train[:300], DIGITS.y_train[:300]
    answers = [p.partial_fit(X, y).predict_proba(DIGITS.X_test) for p in (pipe, twin)]
    assert np.array_equal(*answers)


def test_clone_and_grid_search():
    pipe = make_incremental_pipeline(StandardScaler(), ewc(), update="first")
    assert clone(pipe).update == "first"
    grid = {"ewcclassifier__ewc_lambda": [1.0, 10.0], "ewcclassifier__net__lr": [0.01], "update": ["always", "first"]}
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(DIGITS.X_train[:300], DIGITS.y_train[:300])
    assert search.best_score_ > 0.5


def test_wrong_update_is_named():
    with pytest.raises(ValueError, match="update"):
        make_incremental_pipeline(StandardScaler(), ewc(), update="never").partial_fit(DIGITS.X_train, DIGITS.y_train)


def test_callbacks_that_would_see_no_call_are_refused():
    with pytest.raises(NotImplementedError, match="no partial_fit"):
        make_incremental_pipeline(StandardScaler(), ewc()).set_callbacks()


def test_sparse_rows_become_dense_where_the_last_step_needs_it():
    texts, y = ["good day", "bad night"] * 5, ["+", "-"] * 5
    for last in (NCMClassifier(), SGDClassifier(random_state=0)):
        pipe = make_incremental_pipeline(HashingVectorizer(n_features=32), last).partial_fit(
            texts, y, classes=["+", "-"]
        )
        assert pipe.score(texts, y) == 1
