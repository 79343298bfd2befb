"""Encoders of categories that may appear at any time."""

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from forgetless.estimators import IncrementalOneHotEncoder, IncrementalOrdinalEncoder

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
