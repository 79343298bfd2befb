"""AG News: its published test file, rebuilt from the real data, and texts as they stand in the files."""

import csv
import gzip
import hashlib
import io
from dataclasses import replace

import pytest

from forgetless.datasets import load_ag_news, news
from forgetless.datasets.download import unpack


def quoted(rows):
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def test_the_published_checksum_is_that_of_the_real_data(data_home):
    with gzip.open(data_home / "csv" / "ag_news_test.csv.gz", "rt", encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    content = quoted(rows)
    assert unpack(content, *news.AG_NEWS.files["test.csv"]) == content


def test_texts_are_kept_and_topics_named(server, tmp_path, monkeypatch):
    contents = {
        "train.csv": quoted([[3, "NA", 'he said "no", twice'], [4, "null", ""], [1, "Ö", "b\\c"]]),
        "test.csv": quoted([[2, "goal", "one"]]),
    }
    for name, content in contents.items():
        (server.root / name).write_bytes(content)
    published = {name: (f"md5:{hashlib.md5(content).hexdigest()}", len(content)) for name, content in contents.items()}
    monkeypatch.setattr(news, "AG_NEWS", replace(news.AG_NEWS, mirrors=(server.url,), files=published))
    data = load_ag_news(tmp_path)
    assert data.y_train.tolist() == ["Business", "Sci/Tech", "World"]
    assert data.y_test.tolist() == ["Sports"]
    assert data.X_train["title"].tolist() == ["NA", "null", "Ö"]
    assert data.X_train["description"].tolist() == ['he said "no", twice', "", "b\\c"]


def test_without_a_network_says_which_files_go_where(tmp_path):
    with pytest.raises(
        OSError, match=r"AG News is incomplete: train.csv is missing. Put train.csv, test.csv from https"
    ):
        load_ag_news(tmp_path, download_if_missing=False)
