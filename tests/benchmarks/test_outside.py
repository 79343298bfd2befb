"""Prequential scores checked from outside: by a plain loop on electricity, and by river on its own stream."""

import itertools

import numpy as np
import pandas as pd
import pytest
from helpers.benchmarks import run
from helpers.data import data_home  # noqa: F401
from sklearn.base import clone
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB

from forgetless.datasets import chunked_stream, load_electricity, stream_from


@pytest.mark.parametrize("model", [SGDClassifier(random_state=0), GaussianNB()])
def test_electricity_equals_a_loop_of_ten_lines(model, data_home):  # noqa: F811
    table = pd.read_csv(data_home / "csv" / "electricity.csv.gz")
    stream = chunked_stream(load_electricity(data_home / "csv"), 10, test_size=0)
    results = run({"x": model}, [stream], evaluate="prequential", eval_every=1000)
    X, y = table.drop(columns="class"), table["class"].to_numpy()
    model, right = clone(model), []
    edges = np.cumsum([0, *(len(experience.y_train) for experience in stream)])
    for first, last in itertools.pairwise(edges):
        for start in range(first, last, 1000):
            part = slice(start, min(start + 1000, last))
            if start:
                right += (model.predict(X.iloc[part]) == y[part]).tolist()
            model.partial_fit(X.iloc[part], y[part], classes=np.unique(y))
    parts = results.evaluations
    assert parts["n_tested"].sum() == len(right) == len(table) - 1000
    assert np.average(parts["score"], weights=parts["n_tested"]) == pytest.approx(np.mean(right), abs=1e-12)


def test_river_agrees_on_its_image_segments():
    river = pytest.importorskip("river", reason="needs the extra forgetless[data]")
    from river import compat, evaluate, metrics, stream  # noqa: F401

    rows = list(river.datasets.ImageSegments().take(150))
    labels = sorted({label for _, label in rows})
    model = SGDClassifier(random_state=0)
    theirs, right = compat.convert_sklearn_to_river(clone(model), classes=labels), []
    for row, label in rows:
        right.append(theirs.predict_one(row) == label)
        theirs.learn_one(row, label)
    table = pd.DataFrame([row for row, _ in rows])
    own = stream_from([(table, np.array([label for _, label in rows]))], test_size=0)
    ours = run({"x": model}, [own], evaluate="prequential", eval_every=1).evaluations
    assert ours["score"].tolist() == right[1:]  # nothing can be predicted before the first row
