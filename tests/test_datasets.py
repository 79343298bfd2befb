"""Data sets: their form, the embedded ones, MNIST and its download."""

import doctest
import gzip
import hashlib
import importlib
import pickle
import pkgutil
import socket
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from forgetless import datasets
from forgetless.datasets import Dataset, load_dataset, load_mnist, mnist

EMBEDDED = {  # name: rows, features, classes as published
    "breast_cancer": (569, 30, 2),
    "digits": (1797, 64, 10),
    "iris": (150, 4, 3),
    "wine": (178, 13, 3),
}


def small(**changes):
    arrays = {"X_train": [[0, 1], [2, 3], [4, 5]], "y_train": [0, 1, 1], "X_test": [[6, 7]], "y_test": [1]}
    return Dataset("small", **{**arrays, **changes})


class TestPackage:
    def test_importing_is_light(self):
        code = (
            "import sys, forgetless.datasets as d; d.DATASETS, d.Stream, d.load_mnist, d.load_digits;"
            "print(sorted({'sklearn', 'torch', 'pandas', 'scipy', 'tqdm'} & set(sys.modules)))"
        )
        run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == "[]"

    def test_public_names(self):
        assert dir(datasets) == sorted(datasets.__all__)
        assert all(getattr(datasets, name) is not None for name in datasets.__all__)
        with pytest.raises(AttributeError, match="attribute load_nothing"):
            datasets.load_nothing  # noqa: B018

    @pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(datasets.__path__)])
    def test_examples_of_the_docstrings(self, module):
        failed, attempted = doctest.testmod(
            importlib.import_module(f"forgetless.datasets.{module}"), optionflags=doctest.ELLIPSIS
        )
        assert attempted > 0
        assert failed == 0


class TestDataset:
    def test_brings_arrays_to_the_agreed_form(self):
        data = small(X_train=np.asfortranarray([[0, 1], [2, 3], [4, 5]], dtype=np.float64))
        for X in (data.X_train, data.X_test):
            assert X.dtype == np.float32
            assert X.flags.c_contiguous
        np.testing.assert_array_equal(data.X_train, [[0, 1], [2, 3], [4, 5]])

    def test_does_not_copy_what_has_the_form_already(self):
        X, y = np.zeros((3, 2), np.float32), np.array([0, 1, 1])
        data = small(X_train=X, y_train=y)
        assert data.X_train is X
        assert data.y_train is y

    def test_classes_are_sorted_and_come_from_the_training_part(self):
        data = small(y_train=["cat", "ant", "cat"], y_test=["bee"])
        assert data.classes.tolist() == ["ant", "cat"]

    def test_is_frozen_and_pickles(self):
        data = small()
        with pytest.raises(AttributeError):
            data.name = "other"
        assert pickle.loads(pickle.dumps(data)).fingerprint == data.fingerprint

    def test_fingerprint_depends_on_content_only(self):
        fingerprint = small().fingerprint
        assert len(fingerprint) == 64
        assert int(fingerprint, 16) >= 0
        assert Dataset(
            "other", *(getattr(small(), a) for a in ("X_train", "y_train", "X_test", "y_test"))
        ).fingerprint == (fingerprint)

    @pytest.mark.parametrize(
        "changes",
        [
            {"X_train": [[0, 1], [2, 3], [4, 6]]},
            {"y_train": [0, 1, 0]},
            {"y_train": np.array([0, 1, 1], np.int32)},
            {"y_train": np.array([0, 1, 1], np.uint64)},  # the same bytes
            {"X_test": [[7, 7]]},
            {"y_test": [0]},
            {"X_train": [[0], [1], [2]], "X_test": [[3]]},
            # The same bytes, cut elsewhere between training and test.
            {"X_train": [[0, 1], [2, 3]], "y_train": [0, 1], "X_test": [[4, 5], [6, 7]], "y_test": [1, 1]},
        ],
    )
    def test_fingerprint_sees_every_change(self, changes):
        assert small(**changes).fingerprint != small().fingerprint

    def test_text_labels_of_any_container_have_one_fingerprint(self):
        as_list = small(y_train=["a", "b", "b"], y_test=["b"])
        as_objects = small(y_train=np.array(["a", "b", "b"], object), y_test=np.array(["b"], object))
        assert as_objects.y_train.dtype.kind == "U"
        assert as_objects.fingerprint == as_list.fingerprint
        assert small(y_train=["a", "b", "c"], y_test=["b"]).fingerprint != as_list.fingerprint

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"X_train": [0, 1, 2]}, "X_train must have two dimensions"),
            ({"X_train": np.empty((0, 2)), "y_train": []}, "at least one row"),
            ({"X_test": np.empty((0, 2)), "y_test": []}, "at least one row"),
            ({"y_train": [0, 1]}, "X_train has 3 rows but y_train has 2 labels"),
            ({"y_train": [[0], [1], [1]]}, "y_train must have one dimension"),
            ({"y_train": [0.0, 1.0, np.nan]}, "y_train must hold either numbers or strings, none missing"),
            ({"y_train": np.array(["a", "b", None], object)}, "none missing"),
            ({"y_train": np.array([0, "a", "b"], object)}, "either numbers or strings"),
            ({"y_train": np.array([0, 1, None], object)}, "none missing"),
            ({"X_test": [[6, 7, 8]]}, "X_train has 2 features but X_test has 3"),
            ({"image_shape": (1, 2, 2)}, "image_shape"),
            ({"feature_names": ["a"]}, "1 names for 2 features"),
        ],
    )
    def test_says_what_does_not_fit(self, changes, message):
        with pytest.raises(ValueError, match=message):
            small(**changes)


class TestEmbedded:
    @pytest.mark.parametrize("name", EMBEDDED)
    def test_shapes_and_stratification(self, name):
        data = load_dataset(name)
        rows, features, classes = EMBEDDED[name]
        assert data.name == name
        assert data.X_train.shape[1] == features == len(data.feature_names)
        assert len(data.X_train) + len(data.X_test) == rows
        assert len(data.X_test) == int(np.ceil(rows / 5))
        assert data.classes.tolist() == list(range(classes))
        assert data.y_train.dtype == data.y_test.dtype == np.int64
        shares = np.bincount(data.y_train) / len(data.y_train), np.bincount(data.y_test) / len(data.y_test)
        np.testing.assert_allclose(*shares, atol=0.02)
        assert data.description

    @pytest.mark.parametrize("name", EMBEDDED)
    def test_split_is_a_partition_and_values_are_raw(self, name):
        from sklearn import datasets as sklearn_datasets

        data = load_dataset(name)
        original = getattr(sklearn_datasets, f"load_{name}")()
        raw = original.data / 16 if name == "digits" else original.data
        expected = np.column_stack([raw, original.target]).astype(np.float32)
        found = np.column_stack([np.vstack([data.X_train, data.X_test]), np.hstack([data.y_train, data.y_test])])
        np.testing.assert_array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])

    def test_digits_are_images_in_the_unit_interval(self):
        digits = datasets.load_digits()
        assert digits.image_shape == (1, 8, 8)
        assert (digits.X_train.min(), digits.X_train.max()) == (0, 1)

    @pytest.mark.parametrize("name", EMBEDDED)
    def test_random_state_decides_the_split(self, name):
        load = getattr(datasets, f"load_{name}")
        before = np.random.get_state()[1].copy()
        assert load().fingerprint == load(random_state=0).fingerprint == load_dataset(name).fingerprint
        assert load(random_state=1).fingerprint != load().fingerprint
        np.testing.assert_array_equal(np.random.get_state()[1], before)

    def test_registry(self):
        assert {*EMBEDDED, "mnist", "mnist32"} == set(datasets.DATASETS)
        with pytest.raises(ValueError, match=r"no data set 'cifar'; choose one of breast_cancer, digits"):
            load_dataset("cifar")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("network touched")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def idx(values):
    values = np.asarray(values, np.uint8)
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


class TestIdx:
    def test_reads_sizes_and_values(self):
        values = np.arange(24).reshape(2, 3, 4)
        found = mnist.parse_idx(idx(values), "some-file")
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, values)

    def test_sizes_are_big_endian(self):
        assert mnist.parse_idx(bytes([0, 0, 8, 1, 0, 0, 1, 0]) + bytes(256), "some-file").shape == (256,)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "some-file is not an IDX file"),
            (b"\0\0\x08", "some-file is not an IDX file"),
            (b"\x01" + idx([1, 2])[1:], "some-file is not an IDX file"),
            (b"\0\0\x0d\x01" + idx([1, 2])[4:], "not an IDX file of unsigned bytes"),
            (idx(np.zeros((2, 3, 4)))[:15], "some-file is cut off within its IDX header, after 15 bytes"),
            (idx(np.zeros((2, 3, 4)))[:-1], r"some-file holds 23 values, but .* the shape \(2, 3, 4\)"),
            (idx(np.zeros((2, 3, 4))) + b"\0", "some-file holds 25 values"),
        ],
    )
    def test_refuses_damaged_content(self, content, message):
        with pytest.raises(OSError, match=message):
            mnist.parse_idx(content, "some-file")


class TestRealMnist:
    def test_reads_the_published_data_without_a_network(self, data_home, no_network):
        data = load_dataset("mnist", data_home=data_home)
        assert data.X_train.shape == (60_000, 784)
        assert data.X_test.shape == (10_000, 784)
        assert data.X_train.dtype == np.float32
        assert data.y_train.dtype == np.int64
        assert data.image_shape == (1, 28, 28)
        assert (data.X_train.min(), data.X_train.max()) == (0, 1)
        # The best known facts about MNIST: its first labels, its class counts, its mean.
        assert data.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
        assert data.y_test[:5].tolist() == [7, 2, 1, 0, 4]
        assert np.bincount(data.y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert data.X_train.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)

    def test_with_border_and_standardised(self, data_home, no_network):
        plain, data = load_dataset("mnist", data_home=data_home), load_dataset("mnist32", data_home=data_home)
        images = (data.X_test.reshape(-1, 32, 32) * 0.2752 + 0.1).round(4)
        np.testing.assert_array_equal(images[:, 2:30, 2:30].reshape(-1, 784), plain.X_test.round(4))
        assert not images[:, [0, 1, 30, 31]].any()
        assert not images[:, :, [0, 1, 30, 31]].any()
        np.testing.assert_array_equal(data.y_test, plain.y_test)
        # The published constants are the mean and the standard deviation, so standardising gives 0 and 1.
        assert data.X_train.mean(dtype=np.float64) == pytest.approx(0, abs=5e-4)
        assert data.X_train.std(dtype=np.float64) == pytest.approx(1, abs=5e-4)
        assert data.X_train.dtype == np.float32
        assert data.image_shape == (1, 32, 32)


@pytest.fixture
def tiny(monkeypatch):
    """Replace MNIST by files of a few images, and return their packed contents."""
    rng = np.random.default_rng(0)
    sizes = {"train-images": (7, 28, 28), "train-labels": 7, "t10k-images": (3, 28, 28), "t10k-labels": 3}
    contents = {
        name: idx(rng.integers(256 if "images" in name else 10, size=sizes[name.rsplit("-", 2)[0]]))
        for name in mnist.FILES
    }
    checksums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(mnist, "FILES", checksums)
    return {f"{name}.gz": gzip.compress(content) for name, content in contents.items()}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve the folder ``www`` on the loopback; ``requests`` is what it was asked for."""
    requests = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            requests.append(self.path)

    monkeypatch.setenv("no_proxy", "*")
    root = tmp_path / "www"
    root.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=root)) as http:
        http.root, http.requests = root, requests
        http.url = f"http://127.0.0.1:{http.server_port}/"
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http
        http.shutdown()
        thread.join()


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def listing(folder):
    return sorted(path.name for path in folder.rglob("*"))


class TestDownload:
    def test_downloads_once_with_progress(self, tiny, server, tmp_path, monkeypatch, capsys):
        write(server.root, tiny)
        monkeypatch.setattr(mnist, "MIRRORS", (server.url,))
        home = tmp_path / "new" / "home"

        data = load_mnist(home)
        assert data.X_train.shape == (7, 784)
        assert data.X_test.shape == (3, 784)
        assert data.X_train.max() <= 1
        assert listing(home) == ["mnist", *sorted(tiny)]
        assert {name: (home / "mnist" / name).read_bytes() for name in tiny} == tiny
        progress = capsys.readouterr().err
        assert all(name in progress for name in tiny)
        assert "100%" in progress

        asked = len(server.requests)
        assert asked == 4
        assert load_mnist(home).fingerprint == data.fingerprint
        assert len(server.requests) == asked

    def test_downloads_only_what_is_missing(self, tiny, server, tmp_path, monkeypatch):
        write(server.root, tiny)
        monkeypatch.setattr(mnist, "MIRRORS", (server.url,))
        missing, *there = tiny
        write(tmp_path / "mnist", {name: tiny[name] for name in there})
        load_mnist(tmp_path)
        assert server.requests == [f"/{missing}"]

    def test_reads_unpacked_files(self, tiny, tmp_path, no_network):
        write(tmp_path / "packed" / "mnist", tiny)
        write(tmp_path / "plain" / "mnist", {name[:-3]: gzip.decompress(content) for name, content in tiny.items()})
        assert load_mnist(tmp_path / "plain").fingerprint == load_mnist(str(tmp_path / "packed")).fingerprint

    def test_default_folder_is_that_of_scikit_learn(self, tiny, tmp_path, monkeypatch, no_network):
        monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
        write(tmp_path / "mnist", tiny)
        assert len(load_mnist().X_train) == 7

    def test_second_mirror_helps_out(self, tiny, server, tmp_path, monkeypatch):
        write(server.root / "good", tiny)
        monkeypatch.setattr(mnist, "MIRRORS", (server.url + "gone/", server.url + "good/"))
        load_mnist(tmp_path)
        assert listing(tmp_path / "mnist") == sorted(tiny)

    @pytest.mark.parametrize("damage", ["other content", "cut off", "not packed", "cut while packed"])
    def test_damaged_download_leaves_nothing_behind(self, tiny, server, tmp_path, monkeypatch, damage):
        first = next(iter(tiny))
        content = gzip.decompress(tiny[first])
        damaged = {
            "other content": gzip.compress(content[:-1] + b"\0\0"),
            "cut off": gzip.compress(content[:-1]),
            "not packed": b"<html>Too many requests</html>",
            "cut while packed": tiny[first][:-100],
        }[damage]
        write(server.root, {**tiny, first: damaged})
        monkeypatch.setattr(mnist, "MIRRORS", (server.url,))
        reason = "cannot be unpacked" if damage == "cut while packed" else f"md5 .* expected {mnist.FILES[first[:-3]]}"
        with pytest.raises(OSError, match=f"Could not download {first} .*{reason}"):
            load_mnist(tmp_path / "home")
        assert listing(tmp_path / "home") == ["mnist"]

    def test_damaged_mirror_is_passed_over(self, tiny, server, tmp_path, monkeypatch):
        write(server.root / "bad", dict.fromkeys(tiny, b"nonsense"))
        write(server.root / "good", tiny)
        monkeypatch.setattr(mnist, "MIRRORS", (server.url + "bad/", server.url + "good/"))
        load_mnist(tmp_path)
        assert {name: (tmp_path / "mnist" / name).read_bytes() for name in tiny} == tiny

    def test_interrupt_leaves_nothing_behind(self, tiny, server, tmp_path, monkeypatch):
        write(server.root, tiny)
        monkeypatch.setattr(mnist, "MIRRORS", (server.url,))
        home = tmp_path / "home"
        on_disk = []

        def interrupted(packed):
            on_disk.extend(listing(home / "mnist"))
            raise KeyboardInterrupt

        monkeypatch.setattr(gzip, "decompress", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_mnist(home)
        assert len(on_disk) == 2  # a temporary folder and the file in it
        assert listing(home) == ["mnist"]

    def test_without_a_server_says_which_files_go_where(self, tiny, tmp_path, monkeypatch):
        monkeypatch.setenv("no_proxy", "*")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
            url = f"http://127.0.0.1:{free.getsockname()[1]}/"
            monkeypatch.setattr(mnist, "MIRRORS", (url,))
            with pytest.raises(OSError, match="Could not download") as caught:
                load_mnist(tmp_path)
        message = str(caught.value)
        assert url in message
        assert all(name in message for name in tiny)
        assert str(tmp_path / "mnist") in message
        assert listing(tmp_path) == ["mnist"]

    def test_download_can_be_forbidden(self, tiny, server, tmp_path, monkeypatch):
        write(server.root, tiny)
        monkeypatch.setattr(mnist, "MIRRORS", (server.url,))
        with pytest.raises(OSError, match=r"MNIST is incomplete: train-images-idx3-ubyte\.gz is missing"):
            load_mnist(tmp_path / "home", download_if_missing=False)
        assert server.requests == []
        assert not (tmp_path / "home").exists()

    @pytest.mark.parametrize("kind", ["packed", "plain", "gzip"])
    def test_damaged_file_in_the_folder_is_named(self, tiny, tmp_path, no_network, kind):
        name = "t10k-images-idx3-ubyte.gz"
        write(tmp_path / "mnist", tiny)
        path = tmp_path / "mnist" / name
        if kind == "packed":
            path.write_bytes(gzip.compress(gzip.decompress(tiny[name])[:-5]))
        elif kind == "gzip":
            path.write_bytes(tiny[name][:-50])
        else:
            path.unlink()
            path = path.with_suffix("")
            path.write_bytes(b"nonsense")
        with pytest.raises(OSError, match=r"is damaged: .* Delete it") as caught:
            load_mnist(tmp_path)
        assert str(path) in str(caught.value)
        assert path.exists()

    def test_no_network_fixture_bites(self, tiny, tmp_path, no_network):
        with pytest.raises(OSError, match="network touched"):
            load_mnist(tmp_path)

    def test_published_addresses_and_checksums(self):
        assert all(url.startswith("http") and url.endswith("/") for url in mnist.MIRRORS)
        assert list(mnist.FILES) == [
            f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
        ]
