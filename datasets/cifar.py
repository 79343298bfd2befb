"""CIFAR-10, read from its original archive, which is downloaded once."""

import io
import os
import tarfile

import numpy as np

from .base import Dataset
from .download import Source

# The binary version: the other one holds pickles, which run what is in them. The checksum is that of TensorFlow
# Datasets (url_checksums).
CIFAR10 = Source(
    "CIFAR-10",
    "cifar10",
    ("https://www.cs.toronto.edu/~kriz/",),
    {
        "cifar-10-binary.tar.gz": (
            "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            170_052_171,
        )
    },
)

_SHAPE = (3, 32, 32)


def load_cifar10(data_home: str | os.PathLike[str] | None = None, download_if_missing: bool = True) -> Dataset:
    """Load CIFAR-10: 60,000 colour photographs of 32 x 32 pixels, with the original split and order.

    The archive is read from the folder ``cifar10`` in `data_home`. If it is missing, it is downloaded into it, 170 MB.
    It is verified against its published checksum each time it is read.

    Parameters
    ----------
    data_home, download_if_missing
        As for :func:`load_mnist`.

    Returns
    -------
    Dataset
        50,000 training and 10,000 test rows of 3,072 pixels in [0, 1]. Labels are 0 (airplane), 1 (automobile),
        2 (bird), 3 (cat), 4 (deer), 5 (dog), 6 (frog), 7 (horse), 8 (ship) and 9 (truck).

    Raises
    ------
    OSError
        If the archive is missing and cannot be downloaded, or is damaged.

    References
    ----------
    Krizhevsky, A. (2009). Learning multiple layers of features from tiny images.

    Examples
    --------
    >>> from forgetless.datasets import load_cifar10
    >>> load_cifar10()  # doctest: +SKIP
    Dataset('cifar10': 50000 training rows, 10000 test rows, 3072 features, 10 classes)
    """
    (archive,) = CIFAR10.read(data_home, download_if_missing)
    train, test = [f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"]
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        (X_train, y_train), (X_test, y_test) = (
            _labelled_images(b"".join(_member(files, f"cifar-10-batches-bin/{name}") for name in names))
            for names in (train, test)
        )
    description = "Photographs of ten kinds of things, 3 x 32 x 32 pixels in [0, 1]; Krizhevsky 2009."
    return Dataset("cifar10", X_train, y_train, X_test, y_test, image_shape=_SHAPE, description=description)


def _member(files: tarfile.TarFile, name: str) -> bytes:
    """Return the content of a file of the archive, which is verified and has it; nothing is written to the disk."""
    file = files.extractfile(name)
    assert file is not None
    return file.read()


def _labelled_images(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Read images of one byte per pixel, by channel, row and column, each after a byte that is its label."""
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, 1 + np.prod(_SHAPE))
    return rows[:, 1:] / np.float32(255), rows[:, 0].astype(np.int64)
