"""Data of one's own: tables, files, images, and OpenML from scikit-learn's cache."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
from PIL import Image

from forgetless.datasets import (
    file_stream,
    load_csv,
    load_dataset,
    load_frame,
    load_image_folder,
    load_images,
    load_openml,
    load_parquet,
)

FRAME = pd.DataFrame(
    {"id": [7, 8, 9, 10], "price": [1.5, 2.5, np.nan, 0.5], "shop": ["a", "b", "a", "b"], "sold": ["no", "yes"] * 2}
)


class TestTables:
    def test_columns_become_inputs_and_target(self):
        data = load_frame(FRAME, "sold", drop=["id"], allow_nan=True, name="sales", description="what was sold")
        pd.testing.assert_frame_equal(data.X_train, FRAME[["price", "shop"]])
        assert data.y_train.tolist() == ["no", "yes", "no", "yes"]
        assert (data.name, data.kind, data.description, len(data.y_test)) == (
            "sales",
            "classification",
            "what was sold",
            0,
        )

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [
            ({}, {"target": "sale"}, "no column 'sale'; its columns are .*'sold'"),
            ({}, {"target": "sold", "drop": ["ID"]}, "no column 'ID'"),
            ({}, {"target": "price"}, "target 'price' is missing in 1 of 4 rows"),
            ({}, {"target": "sold"}, "missing values in price"),
            ({"id": "shop"}, {"target": "sold"}, r"columns of the same name: \['shop'\]"),
        ],
    )
    def test_what_cannot_be_is_said(self, change, options, message):
        with pytest.raises(ValueError, match=message):
            load_frame(FRAME.rename(columns=change), **options)

    def test_csv_holds_the_same(self, tmp_path):
        FRAME.to_csv(tmp_path / "sales.2024.csv.gz", sep=";", index=False)
        data = load_csv(tmp_path / "sales.2024.csv.gz", "sold", drop=["price"], sep=";")
        assert data.name == "sales"
        assert data.fingerprint == load_frame(FRAME, "sold", drop=["price"]).fingerprint

    def test_parquet_holds_the_same(self, tmp_path):
        pytest.importorskip("pyarrow", reason='needs pip install "forgetless[data]"')
        FRAME.to_parquet(tmp_path / "sales.parquet")
        data = load_parquet(tmp_path / "sales.parquet", "sold", drop=["price"])
        assert data.fingerprint == load_frame(FRAME, "sold", drop=["price"]).fingerprint

    def test_a_column_to_leave_out_may_come_alone(self):
        frame = FRAME.rename(columns={"price": "i", "shop": "d"})
        assert load_frame(frame, "sold", drop="id", allow_nan=True).feature_names == ["i", "d"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is empty"),
            (b"a,y\n1,0,5\n2,1,3\n", "has rows with more values than names"),
            (b"a,y\n0,0,5\n1,1,3\n", "has rows with more values than names"),
            (b"a,y\n1,0\n2,1,3\n", "is not CSV that can be read: .* line 3"),
            ("a,y\né,0\n".encode("latin-1"), "is not CSV that can be read: 'utf-8'"),
            ("a,y\n1,0\n".encode("utf-16"), "is not CSV that can be read: 'utf-8'"),
        ],
    )
    @pytest.mark.parametrize("read", [load_csv, file_stream])
    def test_csv_that_cannot_be_read_is_named(self, tmp_path, read, content, message):
        (tmp_path / "rows.csv").write_bytes(content)
        with pytest.raises(ValueError, match=rf"rows\.csv.* {message}"):
            read(tmp_path / "rows.csv", "y")

    @pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip"])
    @pytest.mark.parametrize("damage", ["cut", "plain"])
    def test_packed_csv_that_is_damaged_is_named(self, tmp_path, kind, damage):
        path = tmp_path / f"rows.csv.{kind}"
        pd.DataFrame({"a": range(1000), "y": 0}).to_csv(path, index=False)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"a,y\n1,0\n")
        with pytest.raises(ValueError, match=rf"rows\.csv\.{kind} cannot be unpacked \(.*it is damaged, or not"):
            load_csv(path, "y")

    def test_commas_at_the_ends_of_rows_are_no_values(self, tmp_path):
        (tmp_path / "rows.csv").write_text("a,y\n1,0,\n2,1,\n")
        data = load_csv(tmp_path / "rows.csv", "y")
        assert (data.X_train["a"].tolist(), data.y_train.tolist()) == ([1, 2], [0, 1])

    @pytest.mark.parametrize("read", [load_parquet, file_stream])
    def test_what_is_no_parquet_is_named(self, tmp_path, read):
        pytest.importorskip("pyarrow", reason='needs pip install "forgetless[data]"')
        (tmp_path / "rows.parquet").write_text("nonsense")
        with pytest.raises(OSError, match=r"rows\.parquet is not a Parquet file"):
            read(tmp_path / "rows.parquet", "y")

    def test_real_files(self, data_home):
        data = load_csv(data_home / "csv" / "electricity.csv.gz", "class")
        assert data.X_train.shape == (45_312, 6)
        assert data.classes.tolist() == [0, 1]
        assert load_csv(data_home / "csv" / "wall_robot_navigation.csv", "OUTPUT").classes.size == 4


# Where scikit-learn keeps what OpenML answered about the data set 61, which is iris.
ANSWERS = {
    "api-v1-jd-61.json.gz": "api/v1/json/data/61.gz",
    "api-v1-jdf-61.json.gz": "api/v1/json/data/features/61.gz",
    "api-v1-jdq-61.json.gz": "api/v1/json/data/qualities/61.gz",
    "data-v1-dl-61.arff.gz": "data/v1/download/61/iris.arff.gz",
}


class TestOpenML:
    def test_reads_what_scikit_learn_has_stored(self, tmp_path):
        answers = Path(sklearn.__file__).parent / "datasets" / "tests" / "data" / "openml" / "id_61"
        if not answers.is_dir():
            pytest.skip("this scikit-learn was installed without its tests")
        for name, place in ANSWERS.items():
            path = tmp_path / "openml" / "openml.org" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(answers / name, path)
        data = load_openml(61, data_home=tmp_path)
        assert (data.name, data.X_train.shape) == ("iris", (150, 4))
        assert data.classes.tolist() == ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]
        petals = load_openml(61, target="petalwidth", drop=["class"], data_home=tmp_path)
        assert (petals.kind, petals.y_train[:2].tolist()) == ("regression", [0.2, 0.2])

    def test_without_a_network_says_what_goes_where(self, tmp_path, monkeypatch):
        def refuse(*args, **kwargs):
            raise OSError("no network")

        monkeypatch.setattr("socket.getaddrinfo", refuse)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        message = rf"OpenML cannot be reached .*no network.* does not have 61 yet.* into {re.escape(str(tmp_path))}"
        with pytest.warns(UserWarning, match="Retrying"), pytest.raises(OSError, match=message):
            load_openml(61, data_home=tmp_path)


def draw(path, value, mode="RGB", size=(3, 2)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


class TestImages:
    def test_folders_are_classes(self, tmp_path):
        draw(tmp_path / "leaves" / "oak" / "b.png", (255, 0, 51))
        draw(tmp_path / "leaves" / "oak" / "a.PNG", (0, 255, 0))
        draw(tmp_path / "leaves" / "elm" / "a.png", 102, mode="L")
        (tmp_path / "leaves" / "elm" / "notes.txt").write_text("no image")
        (tmp_path / "leaves" / ".thumbnails").mkdir()
        data = load_images(tmp_path / "leaves")
        assert (data.name, data.image_shape, data.X_train.dtype) == ("leaves", (3, 2, 3), np.float32)
        assert data.y_train.tolist() == ["elm", "oak", "oak"]
        means = data.X_train.reshape(3, 3, 6).mean(axis=2)
        np.testing.assert_allclose(means, [[0.4, 0.4, 0.4], [0, 1, 0], [1, 0, 0.2]], rtol=1e-6)

    def test_train_and_test_scaled_and_grey(self, tmp_path):
        draw(tmp_path / "train" / "oak" / "a.png", (51, 51, 51), size=(6, 8))
        draw(tmp_path / "train" / "elm" / "a.png", (255, 255, 255), size=(5, 5))
        draw(tmp_path / "test" / "elm" / "a.png", (255, 255, 255))
        data = load_images(tmp_path, size=(4, 3), grey=True, name="leaves")
        assert data.image_shape == (1, 4, 3)
        np.testing.assert_allclose(data.X_train, np.array([[1.0], [0.2]]).repeat(12, axis=1), rtol=1e-6)
        assert data.y_test.tolist() == ["elm"]

    def test_a_folder_of_ones_own_is_a_data_set_by_name(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"There is no folder .*images; put a folder for each class"):
            load_image_folder(tmp_path)
        for k in range(6):
            draw(tmp_path / "images" / "oak" / f"{k}.png", (51 * k, 0, 0))
            draw(tmp_path / "images" / "elm" / f"{k}.png", (0, 51 * k, 0))
        data = load_dataset("image_folder", data_home=tmp_path)
        assert (data.name, data.image_shape) == ("images", (3, 32, 32))
        assert (data.y_train.tolist(), data.y_test.tolist()) == (["elm"] * 5 + ["oak"] * 5, ["elm", "oak"])
        reds = data.X_train[data.y_train == "oak"].reshape(5, 3, -1)[:, 0].mean(axis=1)
        np.testing.assert_allclose(reds, [0, 0.2, 0.4, 0.6, 1], rtol=1e-6)

    @pytest.mark.parametrize("grey", [True, False])
    @pytest.mark.parametrize("size", [None, (2, 2)])
    def test_sixteen_bits_are_kept(self, tmp_path, grey, size):
        path = tmp_path / "xray" / "a.png"
        path.parent.mkdir()
        Image.fromarray(np.array([[0, 10], [4095, 65535]], np.uint16)).save(path)
        pixels = load_images(tmp_path, size, grey=grey).X_train.reshape(-1, 2, 2)
        np.testing.assert_allclose(pixels, [np.array([[0, 10], [4095, 65535]]) / 65535] * (1 if grey else 3), rtol=1e-6)

    @pytest.mark.parametrize(
        ("mode", "clear", "ink"),
        [("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)), ("LA", (0, 0), (0, 255)), ("P", 0, 1)],
    )
    def test_transparent_ground_is_white(self, tmp_path, mode, clear, ink):
        image = Image.new(mode, (2, 1), clear)
        image.putpixel((1, 0), ink)
        (tmp_path / "a").mkdir()
        image.save(tmp_path / "a" / "a.png", **({"transparency": 0} if mode == "P" else {}))
        pixels = load_images(tmp_path).X_train.reshape(3, 2)
        assert (pixels[:, 0] == 1).all()
        assert mode == "P" or (pixels[:, 1] == 0).all()

    def test_images_stand_upright(self, tmp_path):
        upside_down = Image.Exif()
        upside_down[0x0112] = 3
        (tmp_path / "a").mkdir()
        Image.fromarray(np.array([[0], [255]], np.uint8)).save(tmp_path / "a" / "a.png", exif=upside_down)
        assert load_images(tmp_path, grey=True).X_train.tolist() == [[1, 0]]

    @pytest.mark.parametrize("dtype", [np.int32, np.float32])
    def test_pixels_of_unknown_range_are_refused(self, tmp_path, dtype):
        (tmp_path / "a").mkdir()
        Image.fromarray(np.ones((2, 2), dtype)).save(tmp_path / "a" / "a.tif")
        with pytest.raises(ValueError, match=r"a\.tif has pixels of 32 bits, .* save it with 8 or 16 bits"):
            load_images(tmp_path)

    def test_what_cannot_be_is_said(self, tmp_path):
        with pytest.raises(ValueError, match="no folders with images; give each class a folder"):
            load_images(tmp_path)
        draw(tmp_path / "elm" / "a.png", 0, mode="L")
        draw(tmp_path / "elm" / "b.png", 0, mode="L", size=(9, 9))
        with pytest.raises(ValueError, match=r"b\.png has 9 x 9 pixels.*size=\(height, width\)"):
            load_images(tmp_path)
        (tmp_path / "elm" / "b.png").write_bytes(b"nonsense")
        with pytest.raises(OSError, match=r"b\.png is not an image"):
            load_images(tmp_path)
