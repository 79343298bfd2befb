"""Encoders of categories that may appear at any time, and of dates."""

from datetime import date, datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from forgetless.estimators import (
    DateParts,
    IncrementalColumnTransformer,
    IncrementalOneHotEncoder,
    IncrementalOrdinalEncoder,
)

X = pd.DataFrame({"size": [3, 1, 2, 1], "colour": ["red", "blue", "red", "green"]})


def test_one_call_is_scikit_learns_encoder():
    assert np.array_equal(IncrementalOrdinalEncoder().fit_transform(X), OrdinalEncoder().fit_transform(X))
    one_hot = IncrementalOneHotEncoder(n_spare=0)
    peer = OneHotEncoder(sparse_output=False).fit(X)
    assert np.array_equal(one_hot.fit_transform(X), peer.transform(X))
    assert one_hot.get_feature_names_out().tolist() == peer.get_feature_names_out().tolist()


@pytest.mark.parametrize("encoder", [IncrementalOrdinalEncoder(), IncrementalOneHotEncoder()])
def test_later_categories_move_nothing(encoder):
    before = encoder.fit(X).transform(X)
    names = encoder.get_feature_names_out().tolist()
    later = pd.DataFrame({"size": [0.5, 9.0], "colour": ["amber", None]})
    after = encoder.partial_fit(later).transform(X)
    assert np.array_equal(before, after)
    assert encoder.get_feature_names_out().tolist() == names
    assert encoder.categories_[1].tolist()[:4] == ["blue", "green", "red", "amber"]
    assert len(np.unique(encoder.transform(pd.concat([X, later])), axis=0)) == 6


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA, pd.NaT])
def test_missing_values_are_one_category(missing):
    encoder = IncrementalOrdinalEncoder().fit(pd.DataFrame({"k": ["a", missing, "b"]}))
    assert encoder.transform(pd.DataFrame({"k": ["b", None, np.nan, "c"]})).ravel().tolist() == [1, 2, 2, -1]


def test_types_may_be_mixed_and_change():
    encoder = IncrementalOrdinalEncoder().fit(pd.DataFrame({"k": [2, "x", 1, True]}))
    assert encoder.categories_[0].tolist() == [1, 2, "x"]
    assert encoder.transform(pd.DataFrame({"k": [1.0, 2.0]})).ravel().tolist() == [0, 1]


def test_memory_is_bounded_and_the_most_frequent_are_kept():
    encoder = IncrementalOneHotEncoder(max_categories=2)
    with pytest.warns(UserWarning, match="Column 'colour' has more categories than the 2 that .* has room for"):
        encoder.fit(pd.DataFrame({"colour": ["c", "a", "b", "c"]}))
    assert encoder.categories_[0].tolist() == ["a", "c"]
    assert encoder.transform(pd.DataFrame({"colour": ["b", "c"]})).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    "dates",
    [
        ["2024-06-30T18:00", "2023-01-01"],
        pd.to_datetime(["2024-06-30 18:00", "2023-01-01 00:00"]),
        pd.to_datetime(["2024-06-30 18:00", "2023-01-01 00:00"]).tz_localize("Asia/Tokyo"),
        [datetime(2024, 6, 30, 18), date(2023, 1, 1)],
        [1719770400, 1672531200],
    ],
    ids=["text", "dates", "zone", "objects", "seconds"],
)
def test_parts_of_dates_in_any_form(dates):
    parts = DateParts().fit_transform(pd.DataFrame({"when": dates}))
    year, week, day = (181.75 / 366, 0), (6.75 / 7, 6 / 7), (0.75, 0)
    turns = 2 * np.pi * np.array([year, week, day])
    np.testing.assert_allclose(parts[:, 0], [2.4 + 0.1 * year[0], 2.3])
    np.testing.assert_allclose(parts[:, 1::2], np.sin(turns).T, atol=1e-9)
    np.testing.assert_allclose(parts[:, 2::2], np.cos(turns).T, atol=1e-9)


def test_dates_in_another_format_need_it_said():
    dates = pd.DataFrame({"when": ["31.12.2024", None]})
    with pytest.raises(ValueError, match="format"):
        DateParts().fit_transform(dates)
    assert DateParts(format="%d.%m.%Y").fit_transform(dates)[1].tolist() == [0] * 7


@parametrize_with_checks(
    [
        DateParts(),
        IncrementalOrdinalEncoder(),
        IncrementalOneHotEncoder(),
        IncrementalColumnTransformer([("n", StandardScaler(), [0])], remainder=IncrementalOrdinalEncoder()),
    ]
)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)
