"""MNIST and two harder sets in its format, read from their original files, which are downloaded once."""

import gzip
import os

import numpy as np

from .base import Dataset
from .download import Source

MNIST = Source(
    "MNIST",
    "mnist",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    # Of the unpacked files: what was published, however a mirror has compressed it.
    {
        "train-images-idx3-ubyte.gz": ("md5:6bbc9ace898e44ae57da46a324031adb", 47_040_016),
        "train-labels-idx1-ubyte.gz": ("md5:a25bea736e30d166cdddb491f175f624", 60_008),
        "t10k-images-idx3-ubyte.gz": ("md5:2646ac647ad5339dbf082846283269ea", 7_840_016),
        "t10k-labels-idx1-ubyte.gz": ("md5:27ae3e4e09519cfbb04c329615203637", 10_008),
    },
)

# Checksums and sizes of the two are those of the packed files in TensorFlow Datasets (url_checksums).
FASHION_MNIST = Source(
    "Fashion-MNIST",
    "fashion_mnist",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    {
        "train-images-idx3-ubyte.gz": (
            "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            26_421_880,
        ),
        "train-labels-idx1-ubyte.gz": (
            "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            29_515,
        ),
        "t10k-images-idx3-ubyte.gz": (
            "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            4_422_102,
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            5_148,
        ),
    },
)

KMNIST = Source(
    "KMNIST",
    "kmnist",
    ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    {
        "train-images-idx3-ubyte.gz": (
            "sha256:51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            18_165_135,
        ),
        "train-labels-idx1-ubyte.gz": (
            "sha256:e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            29_497,
        ),
        "t10k-images-idx3-ubyte.gz": (
            "sha256:edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            3_041_136,
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "sha256:20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            5_120,
        ),
    },
)

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
    OSError: MNIST is incomplete: train-images-idx3-ubyte.gz is missing. Put ... from ... into ...
    """
    description = "Handwritten digits, 28 x 28 pixels in [0, 1]; LeCun, Cortes, Burges 1998, CC BY-SA 3.0."
    return _load(MNIST, description, data_home, download_if_missing)


def load_fashion_mnist(data_home: str | os.PathLike[str] | None = None, download_if_missing: bool = True) -> Dataset:
    """Load Fashion-MNIST: 70,000 pictures of clothes of 28 x 28 pixels, with the original split and order.

    The files are read from the folder ``fashion_mnist`` in `data_home`, and downloaded and verified as for
    :func:`load_mnist`, 31 MB in all.

    Parameters
    ----------
    data_home, download_if_missing
        As for :func:`load_mnist`.

    Returns
    -------
    Dataset
        60,000 training and 10,000 test rows of 784 pixels in [0, 1]. Labels are 0 (T-shirt or top), 1 (trouser),
        2 (pullover), 3 (dress), 4 (coat), 5 (sandal), 6 (shirt), 7 (sneaker), 8 (bag) and 9 (ankle boot).

    Raises
    ------
    OSError
        If a file is missing and cannot be downloaded, or is damaged.

    References
    ----------
    Xiao, H., Rasul, K., Vollgraf, R. (2017). Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms. Licence MIT.

    Examples
    --------
    >>> from forgetless.datasets import load_fashion_mnist
    >>> load_fashion_mnist()  # doctest: +SKIP
    Dataset('fashion_mnist': 60000 training rows, 10000 test rows, 784 features, 10 classes)
    """
    description = "Clothes, 28 x 28 pixels in [0, 1]; Xiao, Rasul, Vollgraf 2017, MIT licence."
    return _load(FASHION_MNIST, description, data_home, download_if_missing)


def load_kmnist(data_home: str | os.PathLike[str] | None = None, download_if_missing: bool = True) -> Dataset:
    """Load Kuzushiji-MNIST: 70,000 cursive Japanese characters of 28 x 28 pixels, with the original split and order.

    The files are read from the folder ``kmnist`` in `data_home`, and downloaded and verified as for
    :func:`load_mnist`, 21 MB in all.

    Parameters
    ----------
    data_home, download_if_missing
        As for :func:`load_mnist`.

    Returns
    -------
    Dataset
        60,000 training and 10,000 test rows of 784 pixels in [0, 1]. Labels are 0 (o), 1 (ki), 2 (su), 3 (tsu),
        4 (na), 5 (ha), 6 (ma), 7 (ya), 8 (re) and 9 (wo).

    Raises
    ------
    OSError
        If a file is missing and cannot be downloaded, or is damaged.

    References
    ----------
    Clanuwat, T., Bober-Irizar, M., Kitamoto, A., Lamb, A., Yamamoto, K., Ha, D. (2018). Deep learning for classical
    Japanese literature. Licence CC BY-SA 4.0.

    Examples
    --------
    >>> from forgetless.datasets import load_kmnist
    >>> load_kmnist()  # doctest: +SKIP
    Dataset('kmnist': 60000 training rows, 10000 test rows, 784 features, 10 classes)
    """
    description = "Cursive Japanese characters, 28 x 28 pixels in [0, 1]; Clanuwat et al. 2018, CC BY-SA 4.0."
    return _load(KMNIST, description, data_home, download_if_missing)


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


def _load(
    source: Source, description: str, data_home: str | os.PathLike[str] | None, download_if_missing: bool
) -> Dataset:
    """Load the four files of a set in MNIST's format."""

    def array(name: str, content: bytes) -> np.ndarray:
        # An IDX file begins with zeros; what does not was published as it was packed.
        return parse_idx(gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content, name)

    contents = source.read(data_home, download_if_missing)
    X_train, y_train, X_test, y_test = map(array, source.files, contents)
    return Dataset(
        source.folder,
        _pixels(X_train),
        y_train.astype(np.int64),
        _pixels(X_test),
        y_test.astype(np.int64),
        image_shape=(1, 28, 28),
        description=description,
    )


def _pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / np.float32(255)


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
