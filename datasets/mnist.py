"""MNIST, read from its original files, which are downloaded once."""

import os
from pathlib import Path

import numpy as np

from .base import Dataset
from .download import fetch, unpack

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)

# Checksum and size of the unpacked files: what was published, however a mirror has compressed it.
FILES = {
    "train-images-idx3-ubyte": ("md5:6bbc9ace898e44ae57da46a324031adb", 47_040_016),
    "train-labels-idx1-ubyte": ("md5:a25bea736e30d166cdddb491f175f624", 60_008),
    "t10k-images-idx3-ubyte": ("md5:2646ac647ad5339dbf082846283269ea", 7_840_016),
    "t10k-labels-idx1-ubyte": ("md5:27ae3e4e09519cfbb04c329615203637", 10_008),
}

_MEAN_32, _STD_32 = np.float32(0.1000), np.float32(0.2752)


def load_mnist(data_home: str | os.PathLike[str] | None = None, download_if_missing: bool = True) -> Dataset:
    """Load MNIST: 70,000 handwritten digits of 28 x 28 pixels, with the original split and order.

    The files are read from the folder ``mnist`` in `data_home`, compressed (``.gz``) or not. Missing files are
    downloaded into it, 11 MB in all. Every file is verified against its published checksum each time it is read.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The parent of the folder ``mnist``; by default scikit-learn's data folder, see
        :func:`sklearn.datasets.get_data_home`.
    download_if_missing : bool, default=True
        If False, missing files are an error, and no connection is made.

    Returns
    -------
    Dataset
        60,000 training and 10,000 test rows of 784 pixels in [0, 1].

    Raises
    ------
    OSError
        If a file is missing and cannot be downloaded, or is damaged.

    References
    ----------
    LeCun, Y., Cortes, C., Burges, C. J. C. (1998). The MNIST database of handwritten digits. Licence CC BY-SA 3.0.

    Examples
    --------
    >>> from forgetless.datasets import load_mnist
    >>> load_mnist()  # doctest: +SKIP
    Dataset('mnist': 60000 training rows, 10000 test rows, 784 features, 10 classes)
    >>> load_mnist("no/such/folder", download_if_missing=False)
    Traceback (most recent call last):
    ...
    OSError: MNIST is incomplete: train-images-idx3-ubyte.gz is missing. Put ... into ...
    """
    if data_home is None:
        from sklearn.datasets import get_data_home

        data_home = get_data_home()
    folder = Path(data_home).expanduser() / "mnist"
    X_train, y_train, X_test, y_test = (parse_idx(_content(folder, name, download_if_missing), name) for name in FILES)
    return Dataset(
        "mnist",
        _pixels(X_train),
        y_train.astype(np.int64),
        _pixels(X_test),
        y_test.astype(np.int64),
        image_shape=(1, 28, 28),
        description="Handwritten digits, 28 x 28 pixels in [0, 1]; LeCun, Cortes, Burges 1998, CC BY-SA 3.0.",
    )


def load_mnist32(data_home: str | os.PathLike[str] | None = None, download_if_missing: bool = True) -> Dataset:
    """Load MNIST as it is prepared for LeNet and in Hsu et al. 2018: 32 x 32 pixels, standardised.

    Images are padded with two black pixels on each side and standardised with the mean 0.1000 and the standard
    deviation 0.2752 of all pixels of the padded training images.

    Parameters
    ----------
    data_home, download_if_missing
        As for :func:`load_mnist`; the files are the same.

    Returns
    -------
    Dataset
        60,000 training and 10,000 test rows of 1,024 pixels.

    Raises
    ------
    OSError
        If a file is missing and cannot be downloaded, or is damaged.

    References
    ----------
    Hsu, Y.-C., Liu, Y.-C., Ramasamy, A., Kira, Z. (2018). Re-evaluating continual learning scenarios.

    Examples
    --------
    >>> from forgetless.datasets import load_mnist32
    >>> load_mnist32()  # doctest: +SKIP
    Dataset('mnist32': 60000 training rows, 10000 test rows, 1024 features, 10 classes)
    """
    mnist = load_mnist(data_home, download_if_missing)
    X_train, X_test = (
        (np.pad(X.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2))).reshape(len(X), -1) - _MEAN_32) / _STD_32
        for X in (mnist.X_train, mnist.X_test)
    )
    description = mnist.description.replace("28 x 28 pixels in [0, 1]", "32 x 32 pixels with border, standardised")
    return Dataset("mnist32", X_train, mnist.y_train, X_test, mnist.y_test, (1, 32, 32), description=description)


def _pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / np.float32(255)


def _content(folder: Path, name: str, download_if_missing: bool) -> bytes:
    """Return the verified, unpacked content of one file, from the folder or from a mirror."""
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            try:
                return unpack(path.read_bytes(), *FILES[name])
            except ValueError as error:
                raise OSError(f"{path} is damaged: {error}. Delete it, so that it is downloaded again.") from error
    if not download_if_missing:
        raise OSError(f"MNIST is incomplete: {name}.gz is missing. {_by_hand(folder)}")
    try:
        return fetch((f"{mirror}{name}.gz" for mirror in MIRRORS), folder / f"{name}.gz", *FILES[name])
    except OSError as error:
        raise OSError(f"{error} {_by_hand(folder)}") from error


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """Read an IDX file of unsigned bytes.

    The format: two zeros, the type 8, the number of dimensions, their sizes as big-endian integers, the values.

    Parameters
    ----------
    content : bytes
        Unpacked content of the file.
    name : str
        Name of the file, for error messages.

    Returns
    -------
    ndarray of uint8
        Read-only, of the shape in the header.

    Raises
    ------
    OSError
        If the content is not of this format or not complete.

    Examples
    --------
    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]), "three-bytes")
    array([7, 8, 9], dtype=uint8)
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise OSError(f"{name} is not an IDX file of unsigned bytes: it begins with {content[:4]!r}.")
    offset = 4 + 4 * content[3]
    if len(content) < offset:
        raise OSError(f"{name} is cut off within its IDX header, after {len(content)} bytes.")
    shape = tuple(int(size) for size in np.frombuffer(content[4:offset], dtype=">u4"))
    values = np.frombuffer(content, dtype=np.uint8, offset=offset)
    if values.size != np.prod(shape):
        raise OSError(f"{name} holds {values.size} values, but its IDX header announces the shape {shape}.")
    return values.reshape(shape)


def _by_hand(folder: Path) -> str:
    return f"Put {', '.join(f'{name}.gz' for name in FILES)} (or the unpacked files) into {folder.absolute()}."
