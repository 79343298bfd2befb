"""Streams over files: the same rows as in the file, whatever the format, and never more than a batch in memory."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers.processes import environment

from forgetless.datasets import file_stream

FRAME = pd.DataFrame(
    {
        "number": [*range(20), *np.arange(20, 23.5, 0.5)],  # whole in the first batches
        "text": ['a "quoted",\nlong text', "NA "] * 13 + ["x"],
        "code": [*range(26), "none"],  # a number in all batches but the last
        "hole": [np.nan] * 10 + ["filled"] * 17,
        "label": [0, 1, 2] * 9,
    }
)


def write_csv(frame, folder):
    path = folder / "rows.csv"
    frame.to_csv(path, index=False)
    return path


def write_parquet(frame, folder):
    pytest.importorskip("pyarrow", reason='needs pip install "forgetless[data]"')
    path = folder / "rows.parquet"
    frame.astype({"code": str, "text": "category"}).to_parquet(path, row_group_size=7)
    return path


@pytest.fixture(params=[write_csv, write_parquet])
def write(request):
    return request.param


def test_experiences_are_the_rows_in_their_order(write, tmp_path):
    stream = file_stream(write(FRAME, tmp_path), "label", batch_rows=10, test_size=0, allow_nan=True)
    experiences = list(stream)
    assert [len(experience.y_train) for experience in experiences] == [10, 10, 7]
    X = pd.concat([experience.X_train for experience in experiences], ignore_index=True)
    np.testing.assert_array_equal(X["number"], FRAME["number"])
    assert X["text"].tolist() == FRAME["text"].tolist()
    assert X["code"].tolist() == FRAME["code"].astype(str).tolist()
    assert X["hole"].isna().sum() == 10
    np.testing.assert_array_equal(np.concatenate([each.y_train for each in experiences]), FRAME["label"])
    assert stream.classes.tolist() == [0, 1, 2]
    assert len({tuple(experience.X_train.dtypes.drop("hole")) for experience in experiences}) == 1


def test_an_experience_is_the_same_alone(write, tmp_path):
    stream = file_stream(write(FRAME, tmp_path), "label", batch_rows=8, allow_nan=True, drop=["code"])
    for experience in stream:
        alone = stream[experience.index]
        pd.testing.assert_frame_equal(alone.X_train, experience.X_train)
        pd.testing.assert_frame_equal(stream.test_set(experience.index)[0], experience.X_test)
        np.testing.assert_array_equal(alone.y_test, experience.y_test)
    assert stream.n_features == experience.X_train.shape[1] == 3


def test_the_last_rows_of_an_experience_are_for_testing(tmp_path):
    stream = file_stream(write_csv(FRAME, tmp_path), "number", batch_rows=10, drop="hole")
    assert [(len(each.y_train), len(each.y_test)) for each in stream] == [(8, 2), (8, 2), (5, 2)]
    assert stream[1].y_test.tolist() == [18, 19]
    assert stream.classes.size == 0  # fractions in the last batch: regression, from the first one on


def test_definition_follows_the_bytes_of_the_file(tmp_path):
    path = write_csv(FRAME, tmp_path)
    stream = file_stream(path, "label", allow_nan=True)
    assert stream.definition == file_stream(path, "label", allow_nan=True).definition
    write_csv(FRAME.assign(number=0), tmp_path)
    assert stream.definition != file_stream(path, "label", allow_nan=True).definition


def test_a_file_that_changed_is_refused(write, tmp_path):
    path = write(FRAME, tmp_path)
    stream = file_stream(path, "label", allow_nan=True)
    write(FRAME[::-1], tmp_path)
    os.utime(path, ns=(0, 0))
    with pytest.raises(ValueError, match="has changed since the stream was made"):
        next(iter(stream))


@pytest.mark.parametrize(
    ("labels", "read"),
    [
        (["01", "02", "a1", "a2"], ["01", "02", "a1", "a2"]),
        (["True", "False", "1", "0"], ["True", "False", "1", "0"]),
        (["a", "b", "1", "2"], ["a", "b", "1", "2"]),
        (["1", "2", "1.0", "3.0"], [1, 2, 1, 3]),
    ],
)
def test_labels_are_of_one_type_in_all_batches(tmp_path, labels, read):
    path = tmp_path / "rows.csv"
    path.write_text("x,y\n" + "".join(f"0,{label}\n" for label in labels))
    stream = file_stream(path, "y", batch_rows=2, test_size=0)
    assert [label for e in stream for label in e.y_train.tolist()] == read
    assert stream.classes.tolist() == sorted(set(read))


def test_empty_lines_are_no_rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("\n\nx,y\n" + "1,0\n\n  \n\n2,1\n" * 3 + "\n\n")
    stream = file_stream(path, "y", batch_rows=4, test_size=0)
    assert [e.X_train["x"].tolist() for e in stream] == [[1, 2, 1, 2], [1, 2]]
    assert stream[1].y_train.tolist() == [0, 1]


def test_missing_values_change_no_type(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason='needs pip install "forgetless[data]"')
    nothing = [None] * 5
    columns = {"whole": [1] * 20, "small": [1] * 20, "true": [True] * 20, "coded": [7] * 20, "full": [1] * 25}
    table = pyarrow.table({name: values + nothing * (len(values) == 20) for name, values in columns.items()})
    table = table.set_column(1, "small", table["small"].cast("int8")).append_column("y", [[0, 1] * 12 + [1]])
    table = table.set_column(3, "coded", table["coded"].dictionary_encode())
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=8)
    stream = file_stream(path, "y", batch_rows=10, test_size=0, allow_nan=True)
    types = {"whole": "float64", "small": "float64", "true": "object", "coded": "float64", "full": "int64"}
    assert [e.X_train.dtypes.astype(str).to_dict() for e in (*stream, stream[0])] == [types] * 4
    assert stream[0].X_train["true"].tolist() == [True] * 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("x,y\n", "has no rows"),
        ("x,z\n1,2\n", "no column 'y'"),
        ("x,y\n1,2\n3,\n", "target 'y' is missing in 1 of 1 rows"),
        ("x,y\n1,2.5\n1,two\n", "For regression, y_train and y_test must hold finite numbers"),
        ("x,y\n1,two\n1,2.5\n", "For regression, y_train and y_test must hold finite numbers"),
        ("x,y\n1,2\n1,2,3\n", "from row 2 on, has rows with more values than names"),
        ('x,y\n1,"2\n' + f"{'1' * 1_000_000},2\n" * 20, "is a quotation mark never closed"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, content, message):
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        file_stream(path, "y", batch_rows=1)


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"rows\.csv\.gz is neither a \.csv nor a \.parquet file"):
        file_stream(tmp_path / "rows.csv.gz", "y")


LEARN = """
import resource, sys
from forgetless.datasets import file_stream
from forgetless.estimators import SLDAClassifier
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
learner = SLDAClassifier()
for experience in file_stream(sys.argv[1], "label"):
    learner.partial_fit(experience.X_train, experience.y_train)
print(before * 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_five_gigabytes_take_less_than_one(tmp_path):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(20_000, 20))).assign(label=rng.integers(3, size=20_000))
    header, content = rows.to_csv(index=False).split("\n", 1)
    with (tmp_path / "rows.csv").open("w") as file:
        file.write(f"{header}\n")
        while file.tell() < 5e9:
            file.write(content)
    run = [sys.executable, "-c", LEARN, str(tmp_path / "rows.csv")]
    out = subprocess.run(run, env=environment(), check=True, capture_output=True, text=True).stdout
    before, peak = map(int, out.split())
    (tmp_path / "rows.csv").unlink()
    assert peak - before < 1e9
