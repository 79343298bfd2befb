"""The electricity market of New South Wales, a stream with drift."""

import os
from pathlib import Path

from .base import Dataset
from .files import load_csv, load_openml

_FEATURES = ["period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"]


def load_electricity(data_home: str | os.PathLike[str] | None = None) -> Dataset:
    """Load Elec2: whether the price of electricity goes up, every half hour from 1996 to 1998.

    A file ``electricity.csv.gz`` or ``electricity.csv`` in `data_home`, with the columns of the features and ``class``,
    is read; else OpenML's data set 151 is downloaded into it once.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of downloaded files; by default scikit-learn's data folder.

    Returns
    -------
    Dataset
        45,312 rows in order of time: the time of day, prices and demands here and in Victoria, the transfer between
        them, all from 0 to 1. The label is 1 where the price is above that of the last 24 hours. There is no test part.

    Raises
    ------
    OSError
        If it is neither in the folder nor can be downloaded.

    References
    ----------
    Harries, M. (1999). Splice-2 comparative evaluation: electricity pricing. University of New South Wales. Normalised
    by Bifet; the date, which grows with time, is no input.

    Examples
    --------
    >>> from forgetless.datasets import load_electricity
    >>> load_electricity()  # doctest: +SKIP
    Dataset('electricity': 45312 training rows, no test rows, 6 features, 2 classes)
    """
    from sklearn.datasets import get_data_home

    for name in ("electricity.csv.gz", "electricity.csv"):
        path = Path(get_data_home(data_home), name)
        if path.is_file():
            loaded = load_csv(path, "class")
            break
    else:
        loaded = load_openml(151, data_home=data_home)
    labels = (loaded.y_train == loaded.classes[-1]).astype(int)  # OpenML's are DOWN and UP
    return Dataset("electricity", loaded.X_train[_FEATURES].astype(float), labels, description="Elec2, Harries 1999.")
