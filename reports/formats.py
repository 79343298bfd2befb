"""Numbers and names formatted for tables; a missing number is a dash."""

import math
import re

import numpy as np
import pandas as pd

from .metrics import Metric, score_bounds

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


def in_percent(scorer: str) -> bool:
    """Tell whether a score is shown in percent: if it lies between 0 and 1.

    Parameters
    ----------
    scorer : str
        Name of one of scikit-learn's scorers.

    Returns
    -------
    bool

    Examples
    --------
    >>> in_percent("roc_auc_ovr"), in_percent("r2")
    (True, False)
    """
    return score_bounds(scorer) == (0.0, 1.0)


def score(value: float, scorer: str = "accuracy") -> str:
    """Format a score or a difference of scores.

    Parameters
    ----------
    value : float
        May be NaN.
    scorer : str
        Name of one of scikit-learn's scorers.

    Returns
    -------
    str
        In percent if the score lies between 0 and 1, else as a number with three digits or all before the point.

    Examples
    --------
    >>> score(0.987), score(0.987, "r2"), score(-1234.5, "neg_mean_absolute_error"), score(999.9, "r2")
    ('98.7', '0.987', '−1234', '1000')
    """
    if in_percent(scorer) or pd.isna(value):
        return percent(value)
    large = 999.5 <= abs(value) < 1e7
    return (f"{value:.0f}" if large else f"{value + 0.0:.3g}").replace("-", "−")


def interval(mean: float, low: float, high: float, scorer: str = "accuracy") -> str:
    """Format a score with its interval.

    Parameters
    ----------
    mean, low, high : float
        The mean and the limits of its interval; NaN if unknown.
    scorer : str
        Name of one of scikit-learn's scorers.

    Returns
    -------
    str
        With the half-width of the interval, or with both its limits if they were clipped to the bounds of the metric
        and so are not equally far away; without either if the interval is unknown.

    Examples
    --------
    >>> interval(0.5, 0.48, 0.52), interval(0.995, 0.975, 1.0), interval(0.5, float("nan"), float("nan"))
    ('50.0 ± 2.0', '99.5 [97.5, 100.0]', '50.0')
    >>> interval(-2.5, -3.0, -2.0, "neg_mean_absolute_error")
    '−2.5 ± 0.5'
    """
    if pd.isna(low):
        return score(mean, scorer)
    # They may differ by half of what is shown: one decimal of a percentage, or three digits.
    tolerance = {"abs_tol": 5e-4} if in_percent(scorer) else {"rel_tol": 5e-3}
    rounding = 1e-9 * abs(mean)
    below, above = (0.0 if each <= rounding else each for each in (mean - low, high - mean))
    if math.isclose(below, above, **tolerance):
        return f"{score(mean, scorer)} ± {score(above, scorer)}"
    return f"{score(mean, scorer)} [{score(low, scorer)}, {score(high, scorer)}]"


def heading(metric: Metric, scorer: str) -> str:
    """Name a metric at the head of a column.

    Parameters
    ----------
    metric : Metric
    scorer : str
        Name of one of scikit-learn's scorers.

    Returns
    -------
    str

    Examples
    --------
    >>> from forgetless.reports import METRICS
    >>> heading(METRICS["average_accuracy"], "accuracy"), heading(METRICS["prequential_score"], "r2")
    ('average accuracy, %', 'prequential R2')
    """
    label = metric.label_for(scorer)
    return label[0].lower() + label[1:] + ", %" * in_percent(scorer)


def beside(runs: pd.DataFrame) -> "pd.Series[bool]":
    """Tell which runs went on beside others or shared a stack, so that their seconds are no measurement.

    Parameters
    ----------
    runs : DataFrame
        ``results.runs``.

    Returns
    -------
    Series of bool
        False where nothing is known.

    Examples
    --------
    >>> beside(pd.DataFrame({"n_parallel": [1.0, 2.0, None]})).tolist()
    [False, True, False]
    """
    known = [runs[name] for name in ("n_parallel", "n_stacked") if name in runs]
    shared = [pd.to_numeric(numbers, errors="coerce").to_numpy() > 1 for numbers in known]
    return pd.Series(np.logical_or.reduce(shared) if shared else False, index=runs.index)


def unmeasured(runs: pd.DataFrame) -> str:
    """Say that seconds are no measurement, where runs went on beside others or shared a stack.

    Parameters
    ----------
    runs : DataFrame
        ``results.runs``.

    Returns
    -------
    str
        Empty if all ran alone, or nothing is known.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> unmeasured(example_results().runs.assign(n_parallel=1.0))
    ''
    """
    n_beside = int(beside(runs).sum())
    if not n_beside:
        return ""
    return (
        f"{n_beside} of {len(runs)} runs went on beside others or as one with other seeds: their seconds are no "
        "measurement (`forgetless run --timing` measures)."
    )


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
    >>> size(0), size(999), size(-1500), size(23_456_789)
    ('0 B', '999 B', '−1.5 kB', '23.5 MB')
    """
    if pd.isna(value):
        return DASH
    if value < 0:
        return f"−{size(-value)}"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def count(value: float) -> str:
    """Format a number of steps, samples or operations.

    Parameters
    ----------
    value : float
        May be NaN.

    Returns
    -------
    str
        With a prefix that suits its size.

    Examples
    --------
    >>> count(866), count(-12_345), count(27_365_600), count(3.2e15)
    ('866', '−12.3 k', '27.4 M', '3.2 P')
    """
    if pd.isna(value):
        return DASH
    if value < 0:
        return f"−{count(-value)}"
    for prefix in ("", " k", " M", " G", " T", " P"):
        if value < 999.5:
            return f"{value:.3g}{prefix}"
        value /= 1000
    return f"{value:.3g} E"


def cost(value: float, unit: str) -> str:
    """Format what was measured.

    Parameters
    ----------
    value : float
        May be NaN.
    unit : str
        One of `COST_UNITS`.

    Returns
    -------
    str

    Examples
    --------
    >>> cost(1.5, "seconds"), cost(1500, "bytes"), cost(1500, "samples"), cost(1500, "joules")
    ('1.50 s', '1.5 kB', '1.5 k', '1.5 kJ')
    """
    if unit in ("seconds", "bytes"):
        return seconds(value) if unit == "seconds" else size(value)
    if unit != "joules" or pd.isna(value):
        return count(value)
    return f"{count(value)}J" if value >= 999.5 else f"{count(value)} J"


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


def markdown(value: object) -> str:
    r"""Make a name or an error message text in Markdown, whatever it contains.

    Parameters
    ----------
    value : object

    Returns
    -------
    str
        On one line, as by `plain`; what has a meaning in Markdown or HTML is escaped, addresses make no links.

    Examples
    --------
    >>> print(markdown("a|b <i>_c_</i>"))
    a\|b &lt;i&gt;\_c\_&lt;/i&gt;
    """
    safe = plain(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    safe = re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", safe)
    # Some make links of addresses that stand alone.
    return re.sub(r"(?i)\b(https?|ftp|mailto|www)(?=[:.])", r"\1&#8203;", safe).replace("@", "&#64;")
