"""Rows in their order: how they are cut, what is held out, what becomes of the column that says how."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from forgetless.datasets import Dataset, chunked_stream, column_stream, load_iris


def visits(**changes):
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2024-01-15", periods=12, freq="10D", tz="Europe/Rome"),
            "site": pd.Categorical(["low", "high", "mid"] * 4, categories=["low", "mid", "high"]),
            "note": [f"visit {row}" for row in range(12)],
            "age": pd.array([30, None, *range(10)], dtype="Int64"),
            "wait": [*range(11), np.inf],
        }
    )
    return Dataset("visits", frame.assign(**changes), [0, 1] * 6, allow_nan=True)


class TestChunked:
    @pytest.mark.parametrize(
        ("cut", "sizes"),
        [
            ({}, "cannot fill 10"),
            ({"n_experiences": 5}, [3, 3, 2, 2, 2]),
            ({"chunk_size": 5}, [5, 7]),
            ({"period": "month", "time": "when"}, [2, 3, 3, 3, 1]),
            ({"period": "quarter", "time": "when"}, [8, 4]),
            ({"period": "25D", "time": "when"}, [3, 2, 3, 3, 1]),  # summer time makes a day an hour shorter
        ],
    )
    def test_ways_to_cut(self, cut, sizes):
        if not cut:
            assert len(chunked_stream(visits(), test_size=0)) == 10
            return
        stream = chunked_stream(visits(), test_size=0, **cut)
        assert [len(e.y_train) for e in stream] == sizes
        assert all(len(e.y_test) == 0 and e.X_test.shape[1] == stream.n_features for e in stream)

    def test_periods_of_numbers_and_of_text(self):
        seconds = Dataset("s", [[0.0, 1], [86_399, 2], [86_400, 3], [999_999, 4]], [0, 1, 0, 1])
        assert [len(e.y_train) for e in chunked_stream(seconds, period=86_400, time=0, test_size=0)] == [2, 1, 1]
        text = visits(when=[f"2024-{month:02d}-01" for month in range(12, 0, -1)])
        stream = chunked_stream(text, period="quarter", time="when", test_size=0.3)
        assert stream[0].X_train["note"].tolist() == ["visit 11", "visit 10"]
        assert stream[0].X_test["note"].tolist() == ["visit 9"]

    @pytest.mark.parametrize(
        ("times", "period", "sizes"),
        [
            (np.arange(-120, 121, 60, np.int8), 100, [2, 2, 1]),
            (np.arange(4, dtype=np.uint8), 300, [4]),
            (np.array([-(2**63), 2**63 - 1]), 2**63, [1, 1]),
            (np.array([False, False, True]), 1, [2, 1]),
            (np.arange(30) / 10, 0.1, [1] * 30),
            (1.7e9 + np.arange(30) / 10, 0.3, [3] * 10),
            (np.arange(30, dtype=np.float32) / np.float32(10), 0.3, [3] * 10),
            (np.arange(21), 0.7, [1] * 21),
        ],
    )
    def test_periods_begin_where_exact_numbers_do(self, times, period, sizes):
        data = Dataset("t", pd.DataFrame({"t": times, "x": 0}), [0] * len(times))
        stream = chunked_stream(data, period=period, time="t", test_size=0)
        assert [len(e.y_train) for e in stream] == sizes

    def test_frames_keep_their_types_and_are_copies(self):
        data = visits()
        first = chunked_stream(data, 3, time="when")[0].X_train
        assert first.dtypes.to_dict() == data.X_train.drop(columns="when").dtypes.to_dict()
        first["note"] = "changed"
        assert data.X_train["note"][0] == "visit 0"

    def test_sparse_rows_and_numbers_as_targets(self):
        data = Dataset("s", sparse.csr_array(np.eye(10)), np.arange(10) / 3)
        stream = chunked_stream(data, 2)
        assert (stream.kind, len(stream.classes)) == ("regression", 0)
        np.testing.assert_array_equal(stream[1].X_train.toarray(), np.eye(10)[5:9])
        np.testing.assert_array_equal(stream[1].y_test, [3])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n_experiences": 2, "chunk_size": 3}, "Give one of .* not n_experiences and chunk_size"),
            ({"chunk_size": 13}, "chunk_size is 13, but 'visits' has 12 rows"),
            ({"n_experiences": 7}, "Experience 5 has 1 row, of which none can be held out"),
            ({"period": "month"}, "period needs the column"),
            ({"period": "month", "time": "wann"}, "no column 'wann'; its columns are 'when', 'site'"),
            ({"period": "month", "time": "note"}, "The column 'note' tells no time"),
            ({"period": "1M", "time": "when"}, "period must be one of hour, .* got '1M'"),
            ({"period": 30, "time": "when"}, "period must be one of hour, .* got 30"),
            ({"period": "-1D", "time": "when"}, "period must be one of hour"),
            ({"period": 1, "time": "wait"}, "The time is infinite in some rows"),
            ({"n_experiences": 2, "time": "age"}, r"The time is missing in 1 rows \(column 'age'\)"),
            ({"test_size": 1}, "test_size"),
        ],
    )
    def test_says_what_is_wrong(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            chunked_stream(visits(), **arguments)

    def test_a_share_is_rounded_up_from_what_it_says(self):
        data = Dataset("r", np.zeros((100, 1)), [0] * 100)
        assert [len(chunked_stream(data, 1, test_size=share)[0].y_test) for share in (0.07, 0.071, 1e-9)] == [7, 8, 1]

    def test_a_drawn_test_part_has_no_place_in_time(self):
        with pytest.raises(ValueError, match="'iris' has a test part of its own, whose place in time is not known"):
            chunked_stream(load_iris())


class TestColumn:
    def test_categories_come_in_their_order_and_tasks_have_ids(self):
        stream = column_stream(visits(), "site", "task")
        assert [(e.task_id, e.X_train["note"].tolist(), e.X_test["note"].tolist()) for e in stream] == [
            (0, ["visit 0", "visit 3", "visit 6"], ["visit 9"]),
            (1, ["visit 2", "visit 5", "visit 8"], ["visit 11"]),
            (2, ["visit 1", "visit 4", "visit 7"], ["visit 10"]),
        ]
        assert "site" not in stream[0].X_train

    def test_a_test_part_is_divided_alike(self):
        X = np.column_stack([np.arange(8), np.arange(8) % 2]).astype(float)
        data = Dataset("named", X[:6], [0] * 6, X[6:], [0, 0], feature_names=["n", "side"])
        stream = column_stream(data, "side", order=[1, 0])
        assert [(e.X_train.ravel().tolist(), e.X_test.ravel().tolist()) for e in stream] == [
            ([1, 3, 5], [7]),
            ([0, 2, 4], [6]),
        ]
        with pytest.raises(ValueError, match=r"has values that the training part lacks: \{9.0\}"):
            column_stream(Dataset("new", X, [0] * 8, [[0, 9.0]], [0]), 1)
        with pytest.raises(ValueError, match=r"The value 1.0 of the column 1 has no test rows"):
            column_stream(Dataset("few", X, [0] * 8, [[0, 0.0]], [0]), 1)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"column": "sight"}, "'visits' has no column 'sight'"),
            ({"column": "age"}, "In 1 rows the value of the column 'age' .* is missing"),
            ({"column": "note"}, "Experience 0 has 1 row"),
            ({"column": "site", "order": "random"}, "order must be 'sorted', 'appearance', None or a sequence"),
            ({"column": "site", "order": ["low", "mid"]}, "order must name each value of .* once: low, high, mid"),
            ({"column": "site", "scenario": "class"}, "scenario must be 'domain' or 'task'"),
        ],
    )
    def test_says_what_is_wrong(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            column_stream(visits(), **arguments)
