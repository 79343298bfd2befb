"""Data sets and streams whose values tell where they come from."""

import numpy as np

from forgetless.datasets import Dataset, label_permuted_stream, permuted_stream, split_stream


def make_dataset(n_classes=6, rows=8, labels=None):
    """Return a data set in which each value is unique, so that a row tells where it comes from."""
    labels = np.arange(n_classes) if labels is None else np.asarray(labels)
    X = np.arange(2 * n_classes * rows * 3).reshape(2, -1, 3)
    y = np.tile(labels, rows)
    return Dataset("made", X[0], y, X[1], y)


def make_streams(dataset):
    """Return a stream of every kind: class-, task- and domain-incremental, permuted features and labels."""
    return [
        split_stream(dataset, 3, "class", random_state=1),
        split_stream(dataset, 3, "task", random_state=1),
        split_stream(dataset, 3, "domain", random_state=1),
        permuted_stream(dataset, 3, random_state=1),
        label_permuted_stream(dataset, 3, random_state=1),
    ]


def assert_same_experience(a, b):
    assert (a.index, a.task_id) == (b.index, b.task_id)
    for field in ("classes", "X_train", "y_train", "X_test", "y_test"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
