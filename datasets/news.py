"""AG News, read from its original files, which are downloaded once."""

import io
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .base import Dataset
from .download import Source

if TYPE_CHECKING:
    import pandas as pd

# The checksums are those that many give for the two files (torchtext's MD5 and size are of the same ones); that of
# test.csv was confirmed on the data themselves.
AG_NEWS = Source(
    "AG News",
    "ag_news",
    ("https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/",),
    {
        "train.csv": ("sha256:76a0a2d2f92b286371fe4d4044640910a04a803fdd2538e0f3f29a5c6f6b672e", 29_470_338),
        "test.csv": ("sha256:521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699", 1_857_427),
    },
)

# The smaller one alone: enough for a first look, and for a CPU.
SMALL = replace(AG_NEWS, files={"test.csv": AG_NEWS.files["test.csv"]})

_COLUMNS = ["label", "title", "description"]
_TOPICS = np.array(["World", "Sports", "Business", "Sci/Tech"])


def load_ag_news(data_home: str | os.PathLike[str] | None = None, download_if_missing: bool = True) -> Dataset:
    """Load AG News: the topics of 127,600 news items, with the original split and order.

    The files ``train.csv`` and ``test.csv`` are read from the folder ``ag_news`` in `data_home`. Missing files are
    downloaded into it, 31 MB in all. They are verified against their published checksums each time they are read.

    Parameters
    ----------
    data_home, download_if_missing
        As for :func:`load_mnist`.

    Returns
    -------
    Dataset
        120,000 training and 7,600 test rows, DataFrames of the columns ``title`` and ``description``, which are text.
        Labels are "World", "Sports", "Business" and "Sci/Tech".

    Raises
    ------
    OSError
        If a file is missing and cannot be downloaded, or is damaged.

    References
    ----------
    Zhang, X., Zhao, J., LeCun, Y. (2015). Character-level convolutional networks for text classification.

    Examples
    --------
    >>> from forgetless.datasets import load_ag_news
    >>> load_ag_news()  # doctest: +SKIP
    Dataset('ag_news': 120000 training rows, 7600 test rows, 2 features, 4 classes)
    """
    train, test = map(_read, AG_NEWS.read(data_home, download_if_missing))
    return Dataset(
        "ag_news",
        train[_COLUMNS[1:]],
        _TOPICS[train["label"] - 1],
        test[_COLUMNS[1:]],
        _TOPICS[test["label"] - 1],
        description="News items of four topics, as text; Zhang, Zhao, LeCun 2015.",
    )


def load_ag_news_small(
    data_home: str | os.PathLike[str] | None = None, download_if_missing: bool = True, name: str = "ag_news_small"
) -> Dataset:
    """Load the smaller file of AG News alone: 7,600 news items of four topics, in its order.

    The file ``test.csv`` is read from the folder ``ag_news`` in `data_home`, and downloaded into it if it is missing,
    2 MB. It is verified against its published checksum.

    Parameters
    ----------
    data_home, download_if_missing
        As for :func:`load_mnist`.
    name : {"ag_news_small", "ag_news_in_order"}, default="ag_news_small"
        The first has every fifth row as its test part, the second has none, for streams in order of time.

    Returns
    -------
    Dataset
        6,080 training and 1,520 test rows, or 7,600 training rows; otherwise as of :func:`load_ag_news`.

    Raises
    ------
    OSError
        If the file is missing and cannot be downloaded, or is damaged.

    Examples
    --------
    >>> from forgetless.datasets import load_ag_news_small
    >>> load_ag_news_small()  # doctest: +SKIP
    Dataset('ag_news_small': 6080 training rows, 1520 test rows, 2 features, 4 classes)
    """
    (content,) = SMALL.read(data_home, download_if_missing)
    rows = _read(content)
    X, y = rows[_COLUMNS[1:]], _TOPICS[rows["label"] - 1]
    description = "News items of four topics, as text: the test file of AG News; Zhang, Zhao, LeCun 2015."
    if name == "ag_news_in_order":
        return Dataset(name, X, y, description=description)
    is_test = np.arange(len(X)) % 5 == 4
    return Dataset(name, X[~is_test], y[~is_test], X[is_test], y[is_test], description=description)


def _read(content: bytes) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_csv(io.BytesIO(content), header=None, names=_COLUMNS, keep_default_na=False)
