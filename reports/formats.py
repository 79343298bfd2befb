"""Numbers and names formatted for tables; a missing number is a dash."""

import math

import pandas as pd

DASH = "–"


def scenario(name: str) -> str:
    """Name a scenario in full.

    Parameters
    ----------
    name : str
        ``"class"``, ``"task"`` or ``"domain"``.

    Returns
    -------
    str
        Any other name unchanged.

    Examples
    --------
    >>> scenario("class")
    'class-incremental'
    """
    return f"{name}-incremental" if name in ("class", "task", "domain") else name


def percent(value: float) -> str:
    """Format an accuracy from 0 to 1, or a difference of accuracies, in percent.

    Parameters
    ----------
    value : float
        May be NaN.

    Returns
    -------
    str
        With one decimal and a typographic minus sign.

    Examples
    --------
    >>> percent(0.987), percent(-0.02), percent(float("nan"))
    ('98.7', '−2.0', '–')
    """
    if pd.isna(value):
        return DASH
    text = f"{100 * value:.1f}"
    return text.replace("-", "−") if text != "-0.0" else "0.0"


def accuracy(mean: float, low: float, high: float) -> str:
    """Format an accuracy in percent with its interval.

    Parameters
    ----------
    mean, low, high : float
        The mean and the limits of its interval; NaN if unknown.

    Returns
    -------
    str
        With the half-width of the interval, or with both its limits if they were clipped to the bounds of the metric
        and so are not equally far away; without either if the interval is unknown.

    Examples
    --------
    >>> accuracy(0.5, 0.48, 0.52), accuracy(0.995, 0.975, 1.0), accuracy(0.5, float("nan"), float("nan"))
    ('50.0 ± 2.0', '99.5 [97.5, 100.0]', '50.0')
    """
    if pd.isna(low):
        return percent(mean)
    if math.isclose(mean - low, high - mean, abs_tol=5e-4):  # half of what one decimal shows
        return f"{percent(mean)} ± {percent(high - mean)}"
    return f"{percent(mean)} [{percent(low)}, {percent(high)}]"


def seconds(value: float) -> str:
    """Format a duration.

    Parameters
    ----------
    value : float
        Seconds; may be NaN.

    Returns
    -------
    str
        In the unit that suits the size of the value.

    Examples
    --------
    >>> seconds(0.01234), seconds(1.234), seconds(75), seconds(7260)
    ('12 ms', '1.23 s', '1 min 15 s', '2 h 01 min')
    """
    if pd.isna(value):
        return DASH
    if value < 0.9995:
        return f"{1000 * value:.0f} ms" if value >= 0.0095 or value == 0 else f"{1000 * value:.1f} ms"
    if value < 59.95:
        return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s"
    if round(value) < 3600:
        return f"{round(value) // 60} min {round(value) % 60:02d} s"
    minutes = round(value / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(value: float) -> str:
    """Format a number of bytes, in decimal units.

    Parameters
    ----------
    value : float
        Bytes; may be NaN.

    Returns
    -------
    str
        In the unit that suits the size of the value.

    Examples
    --------
    >>> size(0), size(999), size(1500), size(23_456_789)
    ('0 B', '999 B', '1.5 kB', '23.5 MB')
    """
    if pd.isna(value):
        return DASH
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def plain(value: object) -> str:
    r"""Make a name or an error message safe to print on one line of a terminal.

    Parameters
    ----------
    value : object
        Converted to a string; None and NaN give an empty one.

    Returns
    -------
    str
        White space is collapsed to single spaces; control characters, terminal escapes and marks that change the
        direction of writing are escaped.

    Examples
    --------
    >>> print(plain("red\x1b[31m alert\nsecond  line"))
    red\x1b[31m alert second line
    """
    text = "" if value is None or value is pd.NA or value != value else " ".join(str(value).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
