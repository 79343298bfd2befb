"""Columns by name, and columns that appear later."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import get_tags

from forgetless.estimators import (
    MLP,
    ContinualNet,
    IncrementalColumnTransformer,
    IncrementalOneHotEncoder,
    NaiveClassifier,
    NCMClassifier,
    RandomProjectionClassifier,
    SLDAClassifier,
    make_incremental_pipeline,
)

NUMBERS = ["a", "b"]


def chunk(seed, n=60):
    """Rows whose class shows in column c alone."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    X = pd.DataFrame(rng.normal(size=(n, 2)), columns=NUMBERS).assign(kind=rng.choice(["u", "v"], n))
    return X.assign(c=4 * y + rng.normal(size=n)), y


def columns(**params):
    numbers = ("numbers", StandardScaler(), make_column_selector(dtype_include="number"))
    return IncrementalColumnTransformer([numbers, ("kinds", IncrementalOneHotEncoder(), ["kind"])], **params)


def test_first_call_is_scikit_learns_column_transformer():
    X, _ = chunk(0)
    peer = ColumnTransformer([("n", StandardScaler(), [*NUMBERS, "c"]), ("k", OneHotEncoder(), ["kind"])])
    ours = columns(n_spare=0).set_params(kinds__n_spare=0)
    assert np.array_equal(ours.fit_transform(X), peer.fit_transform(X))


def test_chunk_by_chunk_equals_steps_called_by_hand():
    chunks = [chunk(seed) for seed in range(3)]
    pipe = make_incremental_pipeline(columns(), NCMClassifier())
    scaler, encoder, last = StandardScaler(), IncrementalOneHotEncoder(), NCMClassifier()

    def by_hand(X):
        parts = scaler.transform(X[[*NUMBERS, "c"]]), encoder.transform(X[["kind"]]), np.zeros((len(X), 16))
        return np.hstack(parts)

    for X, y in chunks:
        pipe.partial_fit(X[["c", "kind", "b", "a"]] if hasattr(pipe, "classes_") else X[["kind", "a", "b", "c"]], y)
        scaler.partial_fit(X[[*NUMBERS, "c"]])
        encoder.partial_fit(X[["kind"]])
        last.partial_fit(by_hand(X), y)
    X, _ = chunk(9)
    assert np.array_equal(pipe.decision_function(X[X.columns[::-1]]), last.decision_function(by_hand(X)))


@pytest.mark.filterwarnings("ignore:Columns .'c'. are not in the data yet")
@pytest.mark.parametrize("absent", ["left out", "without a value"])
@pytest.mark.parametrize(
    "last",
    [
        NCMClassifier(),
        SLDAClassifier(),
        RandomProjectionClassifier(random_state=0),
        NaiveClassifier(ContinualNet(MLP, lr=0.02), random_state=0),
    ],
    ids=lambda last: type(last).__name__,
)
def test_a_column_that_appears_in_the_third_chunk_is_learned(last, absent):
    pipe = make_incremental_pipeline(columns(), last)
    for seed in range(2):
        X, y = chunk(seed)
        pipe.partial_fit(X.drop(columns="c") if absent == "left out" else X.assign(c=np.nan), y)
    X, y = chunk(8)
    old = X.drop(columns="c")
    before = pipe.predict(old)
    assert 0.2 < pipe.score(old, y) < 0.8
    pipe.partial_fit(*chunk(2)).partial_fit(*chunk(3))
    assert pipe.score(X, y) > 0.9
    assert len(pipe.predict(old)) == len(before)
    assert pipe[0].output_indices_["numbers"] == [0, 1, 12]


def test_no_output_column_is_free():
    transformer = columns(n_spare=0).fit(chunk(0)[0].drop(columns="c"))
    with pytest.warns(UserWarning, match=r"\['c'\] have appeared and need 1 output columns, but 0 are free"):
        transformer.partial_fit(chunk(1)[0])
    assert transformer.transform(chunk(1)[0]).shape == (60, 12)


def test_listed_columns_that_are_not_there_are_named_and_wait():
    transformer = IncrementalColumnTransformer(
        [("n", StandardScaler(), ["a", "c"]), ("t", HashingVectorizer(), "kind")]
    )
    transformer.set_params(t__n_features=4)
    X, _ = chunk(0)
    with pytest.warns(UserWarning, match=r"\['c'\] are not in the data yet"):
        transformer.fit(X.drop(columns="c"))
    assert transformer.partial_fit(X).transform(X)[:, 5].std() == pytest.approx(1)


def test_missing_column_of_the_first_call_is_named():
    transformer = columns().fit(chunk(0)[0])
    for learn_or_transform in (transformer.partial_fit, transformer.transform):
        with pytest.raises(ValueError, match=r"columns are missing: \['b'\]"):
            learn_or_transform(chunk(1)[0].drop(columns="b"))


def test_columns_that_are_of_another_kind_now_are_named():
    X, y = chunk(0)
    transformer = columns().fit(X)
    with pytest.raises(ValueError, match=r"\['a', 'b', 'c'\] are not such as 'numbers' takes: could not convert"):
        transformer.partial_fit(X.assign(b="b"), y)


def test_frames_out_keep_their_names():
    pipe = make_incremental_pipeline(columns(), NCMClassifier()).set_output(transform="pandas")
    X, y = chunk(0)
    pipe.partial_fit(X.drop(columns="c"), y).partial_fit(X, y)
    assert pipe[0].transform(X).columns[:3].tolist() == ["numbers__a", "numbers__b", "kinds__kind_u"]
    assert pipe[-1].n_features_in_ == 28


def test_remainder_takes_columns_that_appear():
    X, _ = chunk(0)
    transformer = IncrementalColumnTransformer([("kinds", "drop", ["kind"])], remainder="passthrough", n_spare=1)
    transformer.fit(X.drop(columns="c")).partial_fit(X)
    assert np.array_equal(transformer.transform(X), X[[*NUMBERS, "c"]])


def test_missing_values_are_the_affair_of_the_transformers():
    assert get_tags(IncrementalColumnTransformer([("n", StandardScaler(), [1])])).input_tags.allow_nan
    X = np.array([[1.0, np.nan], [2.0, 3.0]])
    found = IncrementalColumnTransformer([("n", SimpleImputer(strategy="mean"), [1])], n_spare=0).fit_transform(X)
    assert found.ravel().tolist() == [3.0, 3.0]


def test_arrays_by_number():
    X = chunk(0)[0][NUMBERS].to_numpy()
    transformer = IncrementalColumnTransformer([("n", StandardScaler(), [1])], n_spare=0).fit(X)
    assert np.array_equal(transformer.transform(X), StandardScaler().fit_transform(X[:, [1]]))
    with pytest.raises(ValueError, match="features"):
        transformer.transform(np.ones((2, 3)))


def test_frozen_transformer_stays_as_it_is():
    X, y = chunk(0)
    scaler = FrozenEstimator(StandardScaler().fit(5 * X[NUMBERS]))
    pipe = make_incremental_pipeline(IncrementalColumnTransformer([("n", scaler, NUMBERS)]), NCMClassifier())
    pipe = clone(pipe).partial_fit(X, y).partial_fit(X, y)
    assert pipe[0].named_transformers_["n"] is scaler
    assert np.array_equal(pipe[0].transform(X)[:, :2], scaler.transform(X[NUMBERS]))
