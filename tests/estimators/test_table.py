"""What columns of strangers' tables are taken for, and the pipeline from a table to an estimator."""

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from forgetless.estimators import (
    NCMClassifier,
    ScaledTargetRegressor,
    TableEncoder,
    find_columns,
    leave_out,
    make_incremental_pipeline,
)

N = 40


def table(**columns):
    rng = np.random.default_rng(0)
    return pd.DataFrame({"size": rng.normal(size=N), **columns})


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([True, False] * 20, "categories"),
        (["1.5", "2", "7", "0"] * 10, "numbers"),
        (["1.5"] * 39 + ["unknown"], "left_out"),
        (["1.5", "2.5"] * 19 + ["unknown", "3"], "numbers"),
        ([1, "a"] * 20, "categories"),
        (pd.Categorical(["x", "y"] * 20), "categories"),
        (pd.array([1, None] * 20, dtype="Int64"), "left_out"),
        (pd.date_range("2024-01-01", periods=N), "dates"),
        (["2024-01-01 10:00", "2023-05-02"] * 20, "dates"),
        (["the quick brown fox", "jumped over a lazy dog"] * 20, "text"),
        (["über", "naïve"] * 20, "categories"),
        (range(N), "left_out"),
        ([f"row {n}" for n in range(N)], "left_out"),
        ([None] * N, "left_out"),
        (["same"] * N, "left_out"),
        (pd.to_timedelta(np.arange(N)[::-1], unit="h"), "numbers"),
        ([[1, 2], [3]] * 20, "categories"),
    ],
)
def test_what_a_column_is_taken_for(values, found):
    frame = table(column=values)
    columns = leave_out(find_columns(frame), frame)
    assert "column" in getattr(columns, found)
    assert "size" in columns.numbers


def test_a_column_is_text_if_that_is_said():
    assert find_columns(table(word=["a", "b"] * 20), text=["word"]).text == ["word"]


@pytest.mark.parametrize("option", ["text", "drop"])
def test_columns_that_are_not_there_are_named(option):
    encoder = TableEncoder(**{option: ["wrod"]})
    with pytest.raises(ValueError, match=r"no column .wrod. to take for text or to drop; .* are .size., .word."):
        encoder.fit(table(word=["a", "b"] * 20))


def test_columns_of_one_name_are_named():
    frame = table(word=["a", "b"] * 20)
    encoder = TableEncoder().fit(frame)
    for call in (encoder.transform, encoder.partial_fit, TableEncoder().fit):
        with pytest.raises(ValueError, match=r"columns of the same name: \['word'\]"):
            call(pd.concat([frame, frame[["word"]]], axis=1))


def test_odd_values_and_categories_seen_later_are_predicted():
    first = table(
        price=["1", "2.5"] * 19 + ["unknown", "3"],
        shop=["a", "b"] * 20,
        when=["2024-01-01"] * 20 + ["2024-06-01"] * 20,
        said=["good thing to have", "bad thing to have"] * 20,
    )
    columns = find_columns(first)
    assert columns.remarks == ["1 values of 'price' are no numbers ('unknown') and count as missing."]
    labels = np.where(first["shop"] == "a", "yes", "no")
    model = make_incremental_pipeline(TableEncoder(), NCMClassifier()).partial_fit(first, labels)
    assert (model.predict(first) == labels).mean() > 0.9
    later = first[::-1].assign(price=np.inf, shop="c", when=None, said=None, extra=1)
    model.partial_fit(later, labels[::-1])
    assert len(model.predict(later[["extra", "said", "when", "shop", "price", "size"]])) == N


def test_a_table_without_numbers():
    frame = table(word=["a", "b"] * 20).drop(columns="size")
    assert leave_out(find_columns(frame), frame).categories == ["word"]


def test_missing_columns_are_named():
    model = make_incremental_pipeline(TableEncoder(), NCMClassifier()).partial_fit(table(), [0, 1] * 20)
    with pytest.raises(ValueError, match=r"lacks columns that were learned: \['size'\]"):
        model.predict(pd.DataFrame({"other": [1.0]}))


def test_targets_are_learned_in_units_of_the_first_call():
    class Recorder:
        def get_params(self, deep=True):
            return {}

        def partial_fit(self, X, y):
            self.seen = y
            return self

        def predict(self, X):
            return np.ones(len(X))

    equal = ScaledTargetRegressor(Recorder()).partial_fit([[0.0]] * 3, [0.1] * 3)  # whose mean is no .1
    assert (equal.mean_, equal.scale_, equal.regressor_.seen.tolist()) == (0.1, 1.0, [0.0] * 3)
    model = ScaledTargetRegressor(Recorder()).partial_fit([[0.0]] * 2, [10, 30])
    assert model.regressor_.seen.tolist() == [-1, 1]
    model.partial_fit([[0.0]], [50])
    assert model.regressor_.seen.tolist() == [3]
    assert model.predict([[0.0]]).tolist() == [30]


@parametrize_with_checks([TableEncoder()])
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)
