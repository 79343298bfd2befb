"""MNIST: the format of its files, what they hold, and downloads that fail."""

import gzip
import hashlib
import socket
from dataclasses import replace

import numpy as np
import pytest

from forgetless.datasets import load_dataset, load_fashion_mnist, load_kmnist, load_mnist, mnist


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
        for name in mnist.MNIST.files
    }
    published = {name: (f"md5:{hashlib.md5(content).hexdigest()}", len(content)) for name, content in contents.items()}
    monkeypatch.setattr(mnist, "MNIST", replace(mnist.MNIST, files=published))
    return {name: gzip.compress(content) for name, content in contents.items()}


def ask(monkeypatch, *mirrors):
    monkeypatch.setattr(mnist, "MNIST", replace(mnist.MNIST, mirrors=mirrors))


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def listing(folder):
    return sorted(path.name for path in folder.rglob("*"))


class TestDownload:
    def test_downloads_once_with_progress(self, tiny, server, tmp_path, monkeypatch, capsys):
        write(server.root, tiny)
        ask(monkeypatch, server.url)
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
        ask(monkeypatch, server.url)
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
        ask(monkeypatch, server.url + "gone/", server.url + "good/")
        load_mnist(tmp_path)
        assert listing(tmp_path / "mnist") == sorted(tiny)

    @pytest.mark.parametrize("damage", ["other content", "cut off", "not packed", "cut while packed"])
    def test_damaged_download_leaves_nothing_behind(self, tiny, server, tmp_path, monkeypatch, damage):
        first = next(iter(tiny))
        content = gzip.decompress(tiny[first])
        damaged = {
            "other content": gzip.compress(content[:-1] + bytes([content[-1] ^ 1])),
            "cut off": gzip.compress(content[:-1]),
            "not packed": b"<html>Too many requests</html>",
            "cut while packed": tiny[first][:-100],
        }[damage]
        write(server.root, {**tiny, first: damaged})
        ask(monkeypatch, server.url)
        expected = f"md5 .* expected {hashlib.md5(content).hexdigest()}"
        reason = "cannot be unpacked" if damage == "cut while packed" else expected
        with pytest.raises(OSError, match=f"Could not download {first} .*{reason}"):
            load_mnist(tmp_path / "home")
        assert listing(tmp_path / "home") == ["mnist"]

    def test_damaged_mirror_is_passed_over(self, tiny, server, tmp_path, monkeypatch):
        write(server.root / "bad", dict.fromkeys(tiny, b"nonsense"))
        write(server.root / "good", tiny)
        ask(monkeypatch, server.url + "bad/", server.url + "good/")
        load_mnist(tmp_path)
        assert {name: (tmp_path / "mnist" / name).read_bytes() for name in tiny} == tiny

    def test_without_a_server_says_which_files_go_where(self, tiny, tmp_path, monkeypatch):
        monkeypatch.setenv("no_proxy", "*")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
            url = f"http://127.0.0.1:{free.getsockname()[1]}/"
            ask(monkeypatch, url)
            with pytest.raises(OSError, match="Could not download") as caught:
                load_mnist(tmp_path)
        message = str(caught.value)
        assert url in message
        assert all(name in message for name in tiny)
        assert str(tmp_path / "mnist") in message
        assert listing(tmp_path) == ["mnist"]

    def test_download_can_be_forbidden(self, tiny, server, tmp_path, monkeypatch):
        write(server.root, tiny)
        ask(monkeypatch, server.url)
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

    @pytest.mark.parametrize("load", [load_fashion_mnist, load_kmnist])
    def test_sets_in_the_same_format_are_verified_packed(self, tiny, server, tmp_path, monkeypatch, load):
        write(server.root, tiny)
        name = load.__name__.removeprefix("load_")
        packed = {
            name: (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)) for name, content in tiny.items()
        }
        source = getattr(mnist, name.upper())
        monkeypatch.setattr(mnist, name.upper(), replace(source, mirrors=(server.url,), files=packed))
        data = load(tmp_path)
        assert data.name == name
        assert listing(tmp_path / name) == sorted(tiny)
        ask(monkeypatch, server.url)
        np.testing.assert_array_equal(data.X_train, load_mnist(tmp_path).X_train)

    @pytest.mark.parametrize("source", [mnist.MNIST, mnist.FASHION_MNIST, mnist.KMNIST])
    def test_published_addresses_and_checksums(self, source):
        assert all(url.startswith("http") and url.endswith("/") for url in source.mirrors)
        assert list(source.files) == [
            f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
        ]
