"""CIFAR-10: the format of its archive, downloaded from a server on the loopback."""

import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from forgetless.datasets import cifar, load_cifar10

NAME = "cifar-10-binary.tar.gz"
BATCHES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


@pytest.fixture
def archive(monkeypatch, server):
    """Serve an archive of two images a file, and return the bytes of each file."""
    rng = np.random.default_rng(0)
    batches = {name: np.column_stack([[i, 9], rng.integers(256, size=(2, 3072))]) for i, name in enumerate(BATCHES)}
    with tarfile.open(server.root / NAME, "w:gz") as files:
        for name, rows in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = rows.size
            files.addfile(member, io.BytesIO(rows.astype(np.uint8).tobytes()))
    content = (server.root / NAME).read_bytes()
    published = {NAME: (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))}
    monkeypatch.setattr(cifar, "CIFAR10", replace(cifar.CIFAR10, mirrors=(server.url,), files=published))
    return batches


def test_downloads_once_and_reads_images(archive, server, tmp_path):
    data = load_cifar10(tmp_path)
    assert data.y_train.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert data.y_test.tolist() == [5, 9]
    assert (data.X_train.dtype, data.image_shape) == (np.float32, (3, 32, 32))
    np.testing.assert_array_equal(data.X_test * 255, archive["test_batch.bin"][:, 1:])
    assert load_cifar10(tmp_path).fingerprint == data.fingerprint
    assert server.requests == [f"/{NAME}"]


def test_without_a_network_says_which_file_goes_where(tmp_path):
    with pytest.raises(OSError, match=rf"CIFAR-10 is incomplete: {NAME} is missing. Put {NAME} from https") as caught:
        load_cifar10(tmp_path, download_if_missing=False)
    assert str(tmp_path / "cifar10") in str(caught.value)
