"""What is taken away was never there, what is merged has seen both: in any order and any chunks, by any route."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from forgetless.estimators import (
    MLP,
    ContinualNet,
    DERClassifier,
    GDumbClassifier,
    GEMClassifier,
    ICaRLClassifier,
    JointClassifier,
    MajorityClassifier,
    MeanRegressor,
    NCMClassifier,
    RandomProjectionClassifier,
    RandomProjectionRegressor,
    RefittedClassifier,
    RefittedRegressor,
    ReplayClassifier,
    SLDAClassifier,
)

few = settings(derandomize=True, max_examples=25, deadline=None, database=None)
RNG = np.random.default_rng(0)
N = 60
Y = RNG.integers(0, 4, N)
X = RNG.normal(size=(N, 3)) * [1.0, 10.0, 0.1] + RNG.normal(size=(4, 3))[Y] + 5
TEST = RNG.normal(size=(50, 3)) * [1.0, 10.0, 0.1] + 5
ADDITIVE = {
    "ncm": NCMClassifier(),
    "slda": SLDAClassifier(shrinkage=0.1),
    "random projection": RandomProjectionClassifier(20, ridge=1.0, random_state=0),
    "majority": MajorityClassifier(),
    "random projection regressor": RandomProjectionRegressor(20, ridge=1.0, random_state=0),
    "mean": MeanRegressor(),
}
each = pytest.mark.parametrize("name", ADDITIVE)


def learned(name, parts):
    model = copy.deepcopy(ADDITIVE[name])
    for rows in parts:
        model.partial_fit(X[rows], Y[rows])
    return model


def scores(model):
    if hasattr(model, "n_outputs_"):
        return model.predict(TEST)
    return model.output_scores(TEST)[:, model.class_outputs_][:, np.isin(model.class_outputs_, model.seen_outputs_)]


def assert_same(model, expected):
    found, wanted = scores(model), scores(expected)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


@st.composite
def orders_and_chunks(draw):
    """Rows in some order, of which some go; and where to cut what is learned and what goes."""
    order = draw(st.permutations(range(N)))
    n_gone = draw(st.integers(1, N - 5))
    edges = st.lists(st.integers(1, N - 1), max_size=4, unique=True).map(sorted)
    return np.array(order), n_gone, draw(edges), draw(edges)


def cut(rows, edges):
    return [part for part in np.split(rows, edges) if len(part)]


@each
@few
@given(case=orders_and_chunks())
def test_what_is_unlearned_was_never_seen(name, case):
    order, n_gone, edges, other_edges = case
    model = learned(name, cut(order, edges))
    gone, kept = order[:n_gone][::-1], order[n_gone:]
    for rows in cut(gone, other_edges):
        model.unlearn(X[rows], Y[rows])
    assert_same(model, learned(name, [np.sort(kept)]))
    assert_same(model.partial_fit(X[gone], Y[gone]), learned(name, [np.arange(N)]))


@each
@few
@given(case=orders_and_chunks())
def test_what_is_merged_has_seen_both(name, case):
    order, n_there, edges, other_edges = case
    here, there = learned(name, cut(order[n_there:], edges)), learned(name, cut(order[:n_there], other_edges))
    before = scores(there)
    assert_same(here.merge(there), learned(name, [np.arange(N)]))
    assert np.array_equal(scores(there), before)
    there.merge(learned(name, [order[n_there:]]))
    assert_same(there, here)


@each
def test_a_class_that_is_gone_stays_in_classes_and_comes_back(name):
    if name in ("mean", "random projection regressor"):
        return
    model = learned(name, [np.arange(N)])
    model.unlearn(X[Y == 2], Y[Y == 2])
    assert model.classes_.tolist() == [0, 1, 2, 3] and 2 not in model.predict(TEST)
    if name != "majority":
        assert_same(model, learned(name, [Y != 2]))
    assert not model.predict_proba(TEST)[:, 2].any()
    assert_same(model.partial_fit(X[Y == 2], Y[Y == 2]), learned(name, [np.arange(N)]))


def test_a_column_that_no_longer_varies_does_not_vary_by_rounding():
    rows = X[:, [0, 1, 2, 2]].copy()
    rows[20:, 3] = 0.1
    never = SLDAClassifier().fit(rows[20:], Y[20:])
    clf = SLDAClassifier().fit(rows, Y)
    for k in range(20):
        clf.unlearn(rows[k : k + 1], Y[k : k + 1])
    test = np.column_stack([TEST, TEST[:, 2]])  # where it would be asked
    np.testing.assert_allclose(clf.output_scores(test), never.output_scores(test), rtol=1e-6)


@pytest.mark.parametrize("name", ["slda", "random projection", "random projection regressor"])
def test_rows_that_vary_more_than_all_that_were_learned_are_refused(name):
    model = learned(name, [np.arange(N)])
    before = scores(model)
    with pytest.raises(ValueError, match="not learned: they vary more"):
        model.unlearn(X[:5] + np.array([0, 0, 50]) * (1 if name == "slda" else 20), Y[:5])
    assert np.array_equal(scores(model), before)


# --- samples that are kept --------------------------------------------------------------------------------------------

NET = ContinualNet(MLP, module__hidden_units=(8,), lr=0.01, max_epochs=2)
GONE = np.arange(0, N, 4)
# What is fitted on the memory alone is exact while the memory holds all rows.
FITTED_ON_MEMORY = {
    "refitted": RefittedClassifier(KNeighborsClassifier(3), random_state=0),
    "refitted regressor": RefittedRegressor(KNeighborsRegressor(3), random_state=0),
    "gdumb": GDumbClassifier(NET, max_epochs=3, random_state=0),
}


@pytest.mark.parametrize("name", FITTED_ON_MEMORY)
def test_what_is_fitted_on_the_memory_never_saw_what_left_it(name):
    halves = np.arange(30), np.arange(30, 60)
    model, twin = (copy.deepcopy(FITTED_ON_MEMORY[name]) for _ in range(2))
    for rows in halves:
        model.partial_fit(X[rows], Y[rows])
        twin.partial_fit(X[np.setdiff1d(rows, GONE)], Y[np.setdiff1d(rows, GONE)])
    if name == "gdumb":
        model.predict(TEST)  # trained, on what will have to go
    seen = model.predict(X)
    model.forget_samples(X[GONE])
    assert np.array_equal(model.predict(TEST), twin.predict(TEST))
    assert len(model.memory_) == N - len(GONE)
    if name != "gdumb":
        assert not np.array_equal(model.predict(X), seen)


def test_joint_training_has_no_trace_from_the_next_call_on():
    model, twin = (JointClassifier(NET, random_state=0) for _ in range(2))
    model.partial_fit(X[:30], Y[:30]).forget_samples(X[GONE])
    kept = np.setdiff1d(np.arange(30), GONE)
    twin.partial_fit(X[kept], Y[kept])
    assert not np.array_equal(model.predict_proba(TEST), twin.predict_proba(TEST))  # the weights have traces
    for each_model in (model, twin):
        each_model.partial_fit(X[30:], Y[30:])
    assert np.array_equal(model.predict_proba(TEST), twin.predict_proba(TEST))


@pytest.mark.parametrize("cls", [ReplayClassifier, DERClassifier, GEMClassifier])
def test_weights_stay_and_equal_rows_all_go(cls):
    clf = cls(NET, buffer_size=2 * N, random_state=0).partial_fit(np.tile(X, (2, 1)), np.tile(Y, 2))
    before, order = clf.predict_proba(TEST), clf.memory_.stored().x.clone()
    n_gone = int(clf.memory_.stored().equals_one_of(X[GONE].astype(np.float32)).sum())
    assert n_gone >= 2
    clf.forget_samples(X[GONE])
    assert np.array_equal(clf.predict_proba(TEST), before)
    stored = clf.memory_.stored().x
    assert len(clf.memory_) == len(clf.memory_.keys) == len(clf.memory_.pools) == len(order) - n_gone
    gone = {row.tobytes() for row in X[GONE].astype(np.float32)}
    assert [row.tobytes() for row in stored.numpy()] == [
        row.tobytes() for row in order.numpy() if row.tobytes() not in gone
    ]
    assert not clf.memory_.rows.x[len(stored) :].any()
    clf.forget_samples(X)  # all of them
    assert len(clf.memory_) == len(clf.forget_samples(X).memory_) == 0
    assert len(clf.partial_fit(X[:10], Y[:10]).memory_) > 0


def test_without_places_there_is_nothing_to_forget():
    clf = ReplayClassifier(NET, buffer_size=0, random_state=0).partial_fit(X, Y)
    before = clf.predict_proba(TEST)
    assert np.array_equal(clf.forget_samples(X).predict_proba(TEST), before)


def test_exemplars_that_stay_make_the_means():
    clf = ICaRLClassifier(NET, buffer_size=40, random_state=0).partial_fit(X, Y)
    rows = clf.memory_.stored()
    gone = rows.x[rows.y == rows.y[0]].numpy()
    label = clf.labels_of_outputs()[int(rows.y[0])]
    clf.forget_samples(gone)
    assert not clf.means_[int(rows.y[0])].any() and label not in clf.predict(TEST)


@pytest.mark.parametrize(
    "clf",
    [
        RefittedClassifier(KNeighborsClassifier(1)),
        GDumbClassifier(NET),
        ICaRLClassifier(NET),
        JointClassifier(NET),
    ],
    ids=lambda clf: type(clf).__name__,
)
def test_nothing_left_to_answer_from_is_refused(clf):
    clf = copy.deepcopy(clf).set_params(random_state=0).partial_fit(X[:9], Y[:9])
    before = clf.predict_proba(TEST)
    with pytest.raises(ValueError, match="would leave no"):
        clf.forget_samples(X)
    assert np.array_equal(clf.predict_proba(TEST), before)
    clf.partial_fit(X[:9], Y[:9])


def test_both_zeros_are_one_number():
    clf = RefittedClassifier(KNeighborsClassifier(1)).partial_fit([[0.0, 1.0], [2.0, 3.0]], [0, 1])
    assert clf.forget_samples([[-0.0, 1.0]]).predict([[0.0, 1.0]]) == [1]
