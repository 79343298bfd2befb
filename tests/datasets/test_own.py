"""Streams of one's own data."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from forgetless.datasets import stream_from


def test_tables_become_streams():
    table = pd.DataFrame({"site": ["b", "a"] * 10, "day": range(20, 0, -1), "size": range(20), "kept": [0, 1] * 10})
    assert [len(e.y_train) + len(e.y_test) for e in stream_from(table, "kept", chunk_size=7)] == [7, 13]
    assert stream_from(table, "kept", time="day", period=5)[0].X_test["size"].tolist() == [15]
    stream = stream_from(table, "size", by="site", scenario="task", kind="regression")
    assert (stream[0].task_id, stream[0].y_train.tolist()) == (0, [1, 3, 5, 7, 9, 11, 13, 15])
    before = stream.definition
    table.loc[0, "size"] = 100
    assert stream_from(table, "size", by="site", scenario="task", kind="regression").definition != before


def test_experiences_may_bring_test_rows_and_new_classes():
    stream = stream_from([([[0.0], [1.0]], ["a", "b"], [[2.0]], ["b"]), ([[3.0], [4.0]], ["c", "c"])], scenario="class")
    assert [e.classes.tolist() for e in stream] == [["a", "b"], ["c"]]
    tested = stream_from([([[0], [1]], [0, 1], [[2]], [7]), ([[0], [1]], [2, 2])], scenario="class")
    assert (tested.classes.tolist(), tested[0].classes.tolist()) == ([0, 1, 2, 7], [0, 1, 7])
    assert [(e.X_train.tolist(), e.X_test.tolist()) for e in stream] == [([[0], [1]], [[2]]), ([[3]], [[4]])]


def test_targets_are_numbers_everywhere_if_they_are_anywhere():
    stream = stream_from([([[0], [1]], [1.0, 2.0]), ([[0], [1]], [1.5, 2.0])])
    assert (stream.kind, stream[0].classes.tolist()) == ("regression", [])


def test_definition_sees_changes_in_place():
    X = np.zeros((4, 2))
    stream = stream_from([(X, [0, 1, 0, 1])])
    before = stream.definition
    X[0, 0] = 1
    assert stream.definition != before


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        ([], {}, "There is no experience"),
        (3, {}, "A int makes no stream"),
        ([([[0]], [1], [2])], {}, "Experience 0 has 3 parts"),
        ([([[0], [1]], [1, 2]), ([[0], [1]], [1])], {}, "Experience 1: X_train has 2 rows but y_train has 1 targets"),
        (
            [([[0], [1]], [1, 2]), ([[0, 1]] * 2, [1, 2])],
            {},
            "Experience 1 has other features than the first: 2, not 1",
        ),
        ([([[0]], ["a"]), ([[0]], [1])], {}, "Experience 1 has other labels.*: numbers, not text"),
        ([([[0]], [1]), (sparse.eye_array(1), [1])], {}, "other inputs than the first: a sparse matrix, not an array"),
        ([{"x": 1, "y": 0}, {"x": 2, "y": 1}], {}, r"A dict is no experience; .* pandas\.DataFrame\(data\)"),
        *(
            ([([[0], [1]], [0, 1])], {argument: 1}, f"Without a table, {argument} has no meaning")
            for argument in ("target", "by", "time", "n_experiences", "chunk_size", "period")
        ),
        ([([[0]], [1])], {}, "Experience 0 has 1 row, of which none can be held out"),
        ([([[0], [1]], [0, 1])], {"scenario": "online"}, "scenario must be"),
        (pd.DataFrame({"a": [1, 2]}), {}, "target must name the column to predict"),
        (pd.DataFrame({"a": [1, 2], "b": [1, 2]}), {"target": "a", "scenario": "task"}, "name a column with by"),
        (
            pd.DataFrame({"a": [1, 2], "b": [1, 2], "c": 0}),
            {"target": "a", "by": "b", "chunk_size": 1},
            "With by, chunk_size has no meaning",
        ),
    ],
)
def test_says_what_is_wrong(data, arguments, message):
    with pytest.raises(ValueError, match=message):
        stream_from(data, **arguments)
