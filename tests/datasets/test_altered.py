"""Streams made of other streams: their identity, and what they refuse."""

import numpy as np
import pytest
from helpers.streams import make_dataset

from forgetless.datasets import (
    Dataset,
    chunked_stream,
    split_stream,
    with_imbalance,
    with_label_delay,
    with_label_noise,
)


def test_definitions_tell_what_was_altered_in_what():
    stream = split_stream(make_dataset(), 3, random_state=0)
    altered = with_label_delay(with_imbalance(with_label_noise(stream, 0.5, 1), 0.5, 2), 1)
    definition = altered.definition
    assert definition["stream"]["stream"]["stream"] == stream.definition
    assert altered.name == "split-made-3-class-noise-0.5-imbalance-0.5-delay-1"
    assert [e.classes.tolist() for e in altered] == [
        sorted([*a.classes, *b.classes]) for a, b in zip(stream, list(stream)[1:], strict=False)
    ]


def test_noise_exchanges_numbers():
    stream = chunked_stream(Dataset("numbers", np.eye(20), np.arange(20) / 3), 1, test_size=0)
    noisy = with_label_noise(stream, 0.3, random_state=0)
    assert (noisy[0].y_train != stream[0].y_train).sum() == 6
    assert sorted(noisy[0].y_train) == sorted(stream[0].y_train)
    with pytest.raises(ValueError, match="only classes can be out of balance"):
        with_imbalance(stream)


def noisy(stream):
    return with_label_noise(stream, 0.4, random_state=1)


def late(stream):
    return with_label_delay(stream, 1)


@pytest.mark.parametrize("alterations", [[noisy], [late], [noisy, late], [late, noisy, late]])
def test_imbalance_leaves_out_the_same_rows_when_they_arrive_and_when_they_are_learned(alterations):
    stream = split_stream(make_dataset(12), 6, random_state=0)
    for alter in alterations:
        stream = alter(stream)
    rare = with_imbalance(stream, 0.2, random_state=2)
    delay = alterations.count(late)
    for learned in range(delay, len(rare)):
        X, y = rare.arriving_set(learned - delay)
        np.testing.assert_array_equal(X, rare[learned].X_train)
        assert sorted(np.unique(y, return_counts=True)[1]) == [2, 8]


def test_says_what_is_wrong():
    stream = split_stream(make_dataset(), 6, "task", random_state=0)
    with pytest.raises(ValueError, match=r"Experience 2 of .* has one class, so no label can be wrong"):
        with_label_noise(stream, 0.5)[2]
    with pytest.raises(ValueError, match="cannot have a label delay"):
        with_label_delay(stream, 1)
    for alter, value in ((with_label_noise, 1.1), (with_imbalance, 0), (with_label_delay, 0)):
        with pytest.raises(ValueError, match="=="):
            alter(stream, value)
