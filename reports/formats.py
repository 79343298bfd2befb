"""Numbers as people read them; an unknown number is a dash."""

import math

import pandas as pd

DASH = "–"
SCENARIOS = {"class": "class-incremental", "task": "task-incremental", "domain": "domain-incremental"}


def percent(value: float) -> str:
    """Format an accuracy from 0 to 1, or a difference of two, as a number of percent.

    Parameters
    ----------
    value : float
        May be NaN.

    Returns
    -------
    str
        With one digit and a true minus sign.

    Examples
    --------
    >>> percent(0.987), percent(-0.02), percent(float("nan"))
    ('98.7', '−2.0', '–')
    """
    if pd.isna(value):
        return DASH
    text = f"{100 * value:.1f}"
    return text.replace("-", "−") if text != "-0.0" else "0.0"


def half_width(mean: float, low: float, high: float) -> float:
    """Half-width of an interval, as it was before it was clipped to the bounds.

    Parameters
    ----------
    mean, low, high : float
        The mean and the ends of its interval; NaN where unknown.

    Returns
    -------
    float
        The longer side.

    Examples
    --------
    >>> half_width(0.75, 0.25, 1.0)
    0.5
    """
    return math.nan if pd.isna(low) else max(mean - low, high - mean)


def accuracy(mean: float, low: float, high: float) -> str:
    """Format an accuracy in percent with the half-width of its interval.

    Parameters
    ----------
    mean, low, high : float
        The mean and the ends of its interval; NaN where unknown.

    Returns
    -------
    str
        The interval is left out where it is unknown.

    Examples
    --------
    >>> accuracy(0.5, 0.48, 0.52), accuracy(0.5, float("nan"), float("nan"))
    ('50.0 ± 2.0', '50.0')
    """
    half = half_width(mean, low, high)
    return percent(mean) if math.isnan(half) else f"{percent(mean)} ± {percent(half)}"


def seconds(value: float) -> str:
    """Format a duration.

    Parameters
    ----------
    value : float
        Seconds; may be NaN.

    Returns
    -------
    str
        With the unit that suits its size.

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
        With the unit that suits its size.

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
    r"""Make a name or an error safe to show on one line of a terminal.

    Parameters
    ----------
    value : object
        Shown as its text; None and NaN as nothing.

    Returns
    -------
    str
        White space is single spaces; control characters, terminal escapes and marks that reverse the direction of
        writing are written out.

    Examples
    --------
    >>> print(plain("red\x1b[31m alert\nsecond  line"))
    red\x1b[31m alert second line
    """
    text = "" if value is None or value is pd.NA or value != value else " ".join(str(value).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
