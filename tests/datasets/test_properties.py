"""What streams promise, over sizes, classes and experiences; each row of a made stream says where it comes from."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from forgetless.datasets import (
    Dataset,
    blurry_stream,
    chunked_stream,
    column_stream,
    drift_stream,
    permuted_stream,
    site_stream,
    split_stream,
    stream_from,
    with_imbalance,
    with_label_delay,
    with_label_noise,
)

few = settings(derandomize=True, max_examples=10, deadline=None, database=None)
seeds = st.integers(0, 2**32 - 1)


def numbered(n_rows, labels, n_test=0):
    """Return a data set whose only feature that differs is the number of the row."""
    rows = np.arange(n_rows + n_test)
    X = np.column_stack([rows, np.zeros(len(rows))]).astype(float)
    y = np.resize(labels, len(rows))
    return Dataset("numbered", X[:n_rows], y[:n_rows], *((X[n_rows:], y[n_rows:]) if n_test else ()))


def numbers(X):
    return np.asarray(X)[:, 0].astype(int).tolist()


def all_rows(stream):
    return [number for e in stream for number in numbers(e.X_train) + numbers(e.X_test)]


@st.composite
def classes_and_experiences(draw):
    n_classes = draw(st.integers(2, 7))
    return n_classes, draw(st.integers(2, n_classes)), draw(st.integers(1, 9))


@few
@given(st.integers(2, 5), st.integers(2, 5), st.floats(1, 1e6), seeds)
def test_sites_are_partitions_of_training_and_test_rows(n_classes, n_sites, concentration, seed):
    data = numbered(60 * n_classes, np.arange(n_classes), n_test=60 * n_classes)
    stream = site_stream(data, n_sites, concentration, random_state=seed)
    assert sorted(all_rows(stream)) == list(range(120 * n_classes))
    for e in stream:
        assert set(e.y_train) | set(e.y_test) == set(e.classes)
        assert max(numbers(e.X_train)) < 60 * n_classes <= min(numbers(e.X_test))
        if concentration > 1e5:  # all sites have the same
            assert (np.abs(np.bincount(e.y_train, minlength=n_classes) - 60 / n_sites) < 3).all()
    again = site_stream(data, n_sites, concentration, random_state=seed)
    assert all_rows(again) == all_rows(stream)


def test_shares_of_sites_follow_the_dirichlet_distribution():
    data = numbered(20000, [0, 1], n_test=200)
    shares = [
        np.mean(site_stream(data, 2, 0.5, random_state=seed).owners[0][data.y_train == 0] == 0) for seed in range(200)
    ]
    # Of Beta(½, ½): the arcsine law.
    assert kstest(shares, "arcsine").pvalue > 0.01


def test_a_site_without_rows_is_refused():
    with pytest.raises(ValueError, match=r"would have no (training|test) rows"):
        site_stream(numbered(4, [0, 1], n_test=4), 5, random_state=0)
    with pytest.raises(ValueError, match="concentration"):
        site_stream(numbered(4, [0, 1], n_test=4), 2, concentration=0)
    with pytest.raises(ValueError, match="no test part"):
        site_stream(numbered(4, [0, 1]), 2)


@few
@given(classes_and_experiences(), seeds, st.floats(0, 1))
def test_splits_are_partitions(sizes, seed, share):
    n_classes, n_experiences, per_class = sizes
    data = numbered(n_classes * per_class, np.arange(n_classes), n_test=n_classes)
    for build in (
        lambda: split_stream(data, n_experiences, random_state=seed),
        lambda: split_stream(data, n_experiences, "task", random_state=seed),
        lambda: blurry_stream(data, n_experiences, share, random_state=seed),
    ):
        stream = build()
        assert sorted(all_rows(stream)) == list(range(n_classes * per_class + n_classes))
        assert all_rows(stream) == all_rows(build())
        assert stream.definition == build().definition
        for e in stream:
            np.testing.assert_array_equal(e.y_train, data.y_train[numbers(e.X_train)])
            assert set(e.y_train) | set(e.y_test) <= set(e.classes)
            assert numbers(e.X_train) == sorted(numbers(e.X_train))


@few
@given(classes_and_experiences(), seeds, st.floats(0, 1))
def test_a_blurry_stream_deals_out_the_share_of_each_class(sizes, seed, share):
    n_classes, n_experiences, per_class = sizes
    data = numbered(n_classes * per_class, np.arange(n_classes), n_test=n_classes)
    for e in blurry_stream(data, n_experiences, share, random_state=seed):
        own = np.isin(e.y_train, e.y_test)
        assert own.sum() == len(set(e.y_test)) * (per_class - round(share * per_class))


@st.composite
def rows_and_experiences(draw):
    n_rows = draw(st.integers(2, 60))
    return n_rows, draw(st.integers(1, n_rows // 2))


@few
@given(rows_and_experiences(), st.sampled_from([0, 0.2, 0.75]), st.randoms(use_true_random=False))
def test_no_later_row_comes_earlier(sizes, test_size, random):
    n_rows, n_experiences = sizes
    times = [random.randrange(n_rows) for _ in range(n_rows)]  # with ties
    frame = pd.DataFrame({"row": range(n_rows), "when": pd.Timestamp("2024-01-30") + pd.to_timedelta(times, unit="D")})
    data = Dataset("timed", frame, np.resize([0, 1], n_rows))
    cuts = [{"n_experiences": n_experiences}, {"chunk_size": n_rows // n_experiences}]
    if not test_size:
        cuts += [{"period": "month"}, {"period": "3D"}]
    for cut in cuts:
        stream = chunked_stream(data, time="when", test_size=test_size, **cut)
        assert stream.chronological
        assert sorted(all_rows(stream)) == list(range(n_rows))
        parts = [numbers(X) for e in stream for X in (e.X_train, e.X_test) if len(X)]
        moments = [[times[row] for row in part] for part in parts]
        for before, after in itertools.pairwise(moments):
            assert max(before) <= min(after)
        for e in stream:
            assert len(e.X_train)
            assert len(e.X_test) == min(
                np.ceil(test_size * (len(e.X_train) + len(e.X_test))), len(e.X_train) + len(e.X_test) - 1
            )
            np.testing.assert_array_equal(e.y_train, data.y_train[numbers(e.X_train)])
            assert list(e.X_train) == ["row"]
    assert len(chunked_stream(data, n_experiences, time="when", test_size=test_size)) == n_experiences


@few
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=12), seeds)
def test_a_column_divides_the_rows(values, seed):
    values = 2 * values
    frame = pd.DataFrame({"row": range(len(values)), "site": values})
    for order in ("sorted", "appearance", None, sorted(set(values), reverse=True)):
        stream = column_stream(
            Dataset("sites", frame, np.resize([0, 1], len(values))), "site", order=order, random_state=seed
        )
        sites = [{values[row] for row in numbers(e.X_train) + numbers(e.X_test)} for e in stream]
        assert [len(site) for site in sites] == [1] * len(set(values))
        assert sorted(all_rows(stream)) == list(range(len(values)))
        if order == "sorted":
            assert sites == [{site} for site in sorted(set(values))]


@few
@given(rows_and_experiences(), st.sampled_from(["abrupt", "gradual", "recurring"]), seeds, st.integers(2, 3))
def test_a_drift_takes_each_row_once_from_the_concept_that_rules(sizes, drift, seed, n_concepts):
    n_rows, n_experiences = sizes
    data = numbered(n_rows, [0, 1])
    others = [lambda X, label=label: np.full(len(X), label) for label in range(10, 9 + n_concepts)]
    stream = drift_stream(data, others, n_experiences, drift, random_state=seed)
    assert all_rows(stream) == list(range(n_rows))
    rules = []
    for k, e in enumerate(stream):
        for X, y, part in ((e.X_train, e.y_train, "train"), (e.X_test, e.y_test, "test")):
            rule = stream.concepts(k, part)
            rules += rule.tolist()
            np.testing.assert_array_equal(y, np.where(rule == 0, np.array(numbers(X)) % 2, rule + 9))
    if drift == "abrupt":
        assert rules == sorted(rules)


@few
@given(st.integers(2, 8), st.integers(1, 7), st.integers(0, 1))
def test_no_label_comes_early(n_experiences, delay, test_size):
    data = numbered(40, [0, 1])
    stream = chunked_stream(data, n_experiences, test_size=0.2 * test_size)
    if delay >= n_experiences:
        with pytest.raises(ValueError, match="no label would arrive"):
            with_label_delay(stream, delay)
        return
    late = with_label_delay(stream, delay)
    assert len(late) == n_experiences - delay
    for k, e in enumerate(late):
        assert numbers(e.X_train) == numbers(stream[k].X_train)
        assert numbers(e.X_test) == numbers(stream[k + delay].X_test)
        arrived = numbers(late.arriving_set(k)[0])
        assert arrived == numbers(stream[k + delay].X_train)
        assert max(numbers(e.X_train)) < min(arrived)


@few
@given(st.floats(0, 1), st.floats(0.01, 1), seeds)
def test_noise_and_imbalance_change_as_much_as_they_say(share, ratio, seed):
    stream = split_stream(numbered(90, [0, 1, 2], n_test=3), 1, class_order="sorted")
    noisy = with_label_noise(stream, share, random_state=seed)
    assert (noisy[0].y_train != stream[0].y_train).sum() == round(90 * share)
    assert numbers(noisy[0].X_train) == numbers(stream[0].X_train)
    np.testing.assert_array_equal(noisy.arriving_set(0)[1], stream[0].y_train)
    np.testing.assert_array_equal(noisy[0].y_test, stream[0].y_test)
    rare = with_imbalance(stream, ratio, random_state=seed)
    counts = sorted(np.bincount(rare[0].y_train).tolist())
    assert counts == sorted([30, max(round(30 * ratio**0.5), 1), max(round(30 * ratio), 1)])
    np.testing.assert_array_equal(rare[0].X_test, stream[0].X_test)
    assert all_rows(rare) == all_rows(with_imbalance(stream, ratio, random_state=seed))


@few
@given(st.lists(st.integers(2, 9), min_size=1, max_size=6), st.booleans())
def test_own_experiences_are_complete(sizes, generated):
    starts = np.cumsum([0, *sizes])
    made = [(np.arange(a, b)[:, None], np.arange(a, b) % 2) for a, b in itertools.pairwise(starts)]
    stream = stream_from((each for each in made) if generated else made)
    assert all_rows(stream) == list(range(sum(sizes)))
    assert stream.definition == stream_from(made).definition
    made[-1][0][-1] += 1
    assert stream.definition != stream_from(made).definition


@pytest.mark.parametrize("n_experiences", [41, 10**9])
@pytest.mark.parametrize(
    "build",
    [
        chunked_stream,
        lambda data, n: drift_stream(data, n_experiences=n),
        lambda data, n: split_stream(data.split(), n),
        lambda data, n: blurry_stream(data.split(), n),
        lambda data, n: stream_from(pd.DataFrame(data.X_train).assign(y=data.y_train), "y", n_experiences=n),
    ],
)
def test_what_cannot_be_filled_is_refused(build, n_experiences):
    with pytest.raises(ValueError, match=f"cannot fill {n_experiences} experiences; set n_experiences to"):
        build(numbered(40, [0, 1]), n_experiences)


def test_many_permutations_cost_nothing_until_they_are_drawn():
    stream = permuted_stream(numbered(4, [0, 1], n_test=2), 10**5, random_state=0)
    short = permuted_stream(numbered(4, [0, 1], n_test=2), 3, random_state=0)
    assert len(stream) == 10**5
    for k in (2, 0, 1):
        np.testing.assert_array_equal(stream[k].X_train, short[k].X_train)
