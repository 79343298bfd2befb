"""Figures as inline SVG, drawn by matplotlib without pyplot.

Their colours are CSS variables of the page, so that a figure fits both the light and the dark scheme.
"""

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.dom import minidom

import numpy as np
import pandas as pd

from . import formats
from .metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_COLORS = 8
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # seven, coprime to eight colours: 56 combinations
# Placeholders that matplotlib accepts as colours; `_svg` replaces them by the variables of the page.
_VARIABLES = {"#000001": "--ink", "#000002": "--muted", "#000003": "--line", "#000004": "--surface"}
_INK, _MUTED, _LINE, _SURFACE = _VARIABLES
_VARIABLES |= {f"#0000a{k}": f"--series-{k}" for k in range(N_COLORS)}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: selectable, in the page's font, small
    "svg.hashsalt": "forgetless",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 11,
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "grid.color": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "lines.solid_capstyle": "round",
}
_WIDTH = 780
_LABEL_CHARACTERS = 30
_CHARACTER_WIDTH = 6.1  # of the 11 px font, on average


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    # Independent of the user's settings of matplotlib, which are restored afterwards.
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def color(series: int) -> str:
    """Return the CSS variable with the colour of a series.

    Parameters
    ----------
    series : int
        Number of the strategy on this page.

    Returns
    -------
    str
        Colours repeat after eight; markers and labels distinguish those that are alike.

    Examples
    --------
    >>> color(9)
    '--series-1'
    """
    return f"--series-{series % N_COLORS}"


def look(series: int) -> tuple[str, str]:
    """Return colour and marker of a series.

    Parameters
    ----------
    series : int
        Number of the strategy on this page.

    Returns
    -------
    color, marker : str
        For matplotlib; the colour is a placeholder for a CSS variable. The combinations repeat after 56.

    Examples
    --------
    >>> look(1)
    ('#0000a1', 's')
    """
    return f"#0000a{series % N_COLORS}", _MARKERS[series % len(_MARKERS)]


def _short(name: str) -> str:
    name = formats.plain(name)
    return name if len(name) <= _LABEL_CHARACTERS else name[: _LABEL_CHARACTERS - 1] + "…"


def _axes(width: float, height: float, right: float) -> "tuple[Figure, Axes]":
    """Make axes with a margin at the right; sizes in pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    left, top, bottom = 46, 14, 44
    axes = figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.grid(axis="y", linewidth=0.8)
    return figure, axes


def _score_axis(axes: "Axes", lowest: float, highest: float, scorer: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low, high = lowest, highest
    if formats.in_percent(scorer):
        low, high = math.floor(lowest * 10 - 0.1) / 10, math.ceil(highest * 10 + 0.1) / 10
        low, high = max(low, 0.0), min(high, 1.0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    pad = 0.02 * (high - low) or 0.5
    axes.set_ylim(low - pad, high + pad)
    axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))  # whole percents, which the labels can say


def _svg(figure: "Figure", prefix: str, label: str) -> str:
    """Render an `<svg>` element for HTML; ids get the prefix, elements of a series get `data-series`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    document = minidom.parseString(buffer.getvalue().encode())
    root: Any = document.documentElement
    for name in ("metadata", "style"):
        for element in list(root.getElementsByTagName(name)):
            element.parentNode.removeChild(element)
    for element in [root, *root.getElementsByTagName("*")]:
        for name, value in list(element.attributes.items()):
            element.setAttribute(name, _attribute(name, value, prefix))
        kind, _, series = element.getAttribute("id").removeprefix(f"{prefix}-").partition(":")
        if series:
            element.setAttribute("class", kind)
            element.setAttribute("data-series", series)
            element.removeAttribute("id")
    for name in ("width", "height"):
        root.removeAttribute(name)
    root.setAttribute("role", "img")
    root.setAttribute("aria-label", label)
    return str(root.toxml())


def _attribute(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name == "xlink:href":
        return value.replace("#", f"#{prefix}-", 1)
    if name == "clip-path":
        return value.replace("url(#", f"url(#{prefix}-")
    if name == "style":
        for stand_in, variable in _VARIABLES.items():
            value = value.replace(stand_in, f"var({variable})")
    return value


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move values apart, as little as possible and without changing their order.

    Parameters
    ----------
    values : sequence of float
        Positions of labels.
    gap : float
        Smallest distance between two values; less if they would not fit between the limits.
    low, high : float
        Limits of the moved values.

    Returns
    -------
    list of float
        The moved values, in the order of `values`; their sum of squared moves is the smallest possible.

    Examples
    --------
    >>> spread([0.5, 0.5, 0.9], gap=0.25, low=0.0, high=1.0)
    [0.375, 0.625, 0.9]
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(values, kind="stable")
    gap = min(gap, (high - low) / max(len(values) - 1, 1))
    # Without the gaps, the values only have to keep their order.
    offsets = gap * np.arange(len(values))
    kept = isotonic_regression(np.asarray(values, dtype=float)[order] - offsets).x
    result = np.empty(len(values))
    result[order] = np.clip(kept, low, max(high - gap * (len(values) - 1), low)) + offsets
    return [float(value) for value in result]


def curves(frame: pd.DataFrame, series: Mapping[str, int], prefix: str, scorer: str = "accuracy") -> str:
    """Draw a score over the experiences, a labelled line with its interval for each strategy.

    Parameters
    ----------
    frame : DataFrame
        Rows of one stream from `accuracy_curves`.
    series : mapping
        Number of each strategy on this page, which determines its colour and marker.
    prefix : str
        Prefix of ids, which makes them unique on the page.
    scorer : str
        Name of the score, one of scikit-learn's.

    Returns
    -------
    str
        An ``<svg>`` element.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> from forgetless.reports.tables import accuracy_curves
    >>> curves(accuracy_curves(example_results()), {"Naive": 0, "Replay": 1, "Joint": 2}, "f")[:4]
    '<svg'
    """
    from matplotlib.ticker import MaxNLocator

    lines = {str(strategy): rows for strategy, rows in frame.dropna(subset=["mean"]).groupby("strategy", sort=False)}
    labels = [_short(strategy) for strategy in lines]
    label = "Accuracy" if scorer == "accuracy" else scorer
    right = 34 + _CHARACTER_WIDTH * max(map(len, labels), default=0)
    height = max(330, 16 * len(lines) + 80)
    first, last = min(1.0, frame["experience"].min()), math.ceil(frame["experience"].max())
    with _style():
        figure, axes = _axes(_WIDTH, height, right)
        axes.set_xlim(first if last > 1 else 0.5, max(last, 1.5))
        _score_axis(axes, frame[["mean", "ci_low"]].min().min(), frame[["mean", "ci_high"]].max().max(), scorer)
        axes.set_xlabel("experiences learned")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for strategy, rows in lines.items():
            _line(axes, rows, series[strategy])
        _end_labels(axes, labels, lines, series)
        return _svg(figure, prefix, f"{label} over the experiences; table below")


def _line(axes: "Axes", rows: pd.DataFrame, series: int) -> None:
    tint, marker = look(series)
    x = rows["experience"].to_numpy()
    band = axes.fill_between(x, rows["ci_low"], rows["ci_high"], color=tint, alpha=0.13, linewidth=0)
    band.set_gid(f"band:{series}")
    every = max(1, len(x) // 12)
    (line,) = axes.plot(x, rows["mean"], color=tint, marker=marker, markevery=every, clip_on=False)
    line.set(linewidth=1.9, markersize=5, markeredgecolor=_SURFACE, markeredgewidth=0.7, gid=f"line:{series}")


def _end_labels(axes: "Axes", labels: list[str], lines: Mapping[str, pd.DataFrame], series: Mapping[str, int]) -> None:
    box = axes.get_position()
    width, height = axes.figure.bbox.size
    (x_low, x_high), (y_low, y_high) = axes.get_xlim(), axes.get_ylim()
    pixel_x, pixel_y = (x_high - x_low) / (box.width * width), (y_high - y_low) / (box.height * height)
    ends = [float(rows["mean"].iloc[-1]) for rows in lines.values()]
    places = spread(ends, 14.5 * pixel_y, y_low, y_high)
    for label, (strategy, rows), end, place in zip(labels, lines.items(), ends, places, strict=True):
        number = series[strategy]
        tint, _ = look(number)
        start = float(rows["experience"].iloc[-1])
        steps = [start, x_high + 8 * pixel_x, x_high + 18 * pixel_x]
        (leader,) = axes.plot(steps, [end, place, place], color=tint, linewidth=0.9, alpha=0.6, clip_on=False)
        leader.set_gid(f"leader:{number}")
        axes.text(x_high + 23 * pixel_x, place, label, color=_INK, va="center", gid=f"label:{number}")


def pareto(frame: pd.DataFrame) -> list[str]:
    """Find the Pareto front of score and fit time: no other strategy is both faster and better.

    Parameters
    ----------
    frame : DataFrame
        Rows of one stream from `leaderboard`.

    Returns
    -------
    list of str
        From the fastest to the most accurate.

    Examples
    --------
    >>> pareto(pd.DataFrame({"strategy": ["a", "b", "c"], "fit_seconds": [1.0, 2.0, 3.0],
    ...                      "score": [0.5, 0.4, 0.9]}))
    ['a', 'c']
    """
    front, best = [], -math.inf
    known = frame.dropna(subset=["fit_seconds", "score"])
    ranked = known.sort_values(["fit_seconds", "score"], ascending=[True, False], kind="stable")
    for strategy, accuracy in zip(ranked["strategy"], ranked["score"], strict=True):
        if accuracy > best:
            best = accuracy
            front.append(str(strategy))
    return front


def tradeoff(frame: pd.DataFrame, series: Mapping[str, int], prefix: str) -> str:
    """Draw the score against the fit time, with the Pareto front.

    Parameters
    ----------
    frame : DataFrame
        Rows of one stream from `leaderboard`.
    series : mapping
        Number of each strategy on this page, which determines its colour and marker.
    prefix : str
        Prefix of ids, which makes them unique on the page.

    Returns
    -------
    str
        An ``<svg>`` element.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> tradeoff(leaderboard(example_results()), {"Naive": 0, "Replay": 1, "Joint": 2}, "f")[:4]
    '<svg'
    """
    frame = frame.dropna(subset=["fit_seconds", "score"])
    # A coarse clock measures 0 for short fits, which a logarithmic axis cannot show.
    frame = frame.assign(fit_seconds=frame["fit_seconds"].clip(lower=1e-4))
    front = pareto(frame)
    label = METRICS[frame["headline"].iloc[0]].label_for(frame["scorer"].iloc[0])
    with _style():
        figure, axes = _axes(_WIDTH, max(380, 13 * len(frame) + 160), 20)
        _seconds_axis(axes, frame["fit_seconds"])
        interval, scorer = frame[["score", "score_ci_low", "score_ci_high"]], str(frame["scorer"].iloc[0])
        _score_axis(axes, interval.min().min(), interval.max().max(), scorer)
        _front(axes, frame, front)
        for row in frame.itertuples(index=False):
            _point(axes, row, series[str(row.strategy)], str(row.strategy) in front)
        _point_labels(axes, frame, series, front)
        return _svg(figure, prefix, f"{label} against seconds of fitting; table below")


def _seconds_axis(axes: "Axes", seconds: pd.Series) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = seconds.min() / 1.5, seconds.max() * 1.5
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    few = high / low < 30
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: re.sub(r"\.0+ ", " ", formats.seconds(value))))
    axes.set_xlabel("time to fit the whole stream (logarithmic)")


def _front(axes: "Axes", frame: pd.DataFrame, front: list[str]) -> None:
    best = frame.set_index("strategy").loc[front]
    x = [*best["fit_seconds"], axes.get_xlim()[1]]
    y = [*best["score"], best["score"].iloc[-1]]
    axes.plot(x, y, drawstyle="steps-post", color=_MUTED, linewidth=1.1, dashes=(4, 3), alpha=0.8)


def _point(axes: "Axes", row: Any, number: int, best: bool) -> None:
    tint, marker = look(number)
    interval = [row.score_ci_low, row.score_ci_high]
    (bar,) = axes.plot([row.fit_seconds] * 2, interval, color=tint, linewidth=1.4, alpha=0.45)
    (point,) = axes.plot([row.fit_seconds], [row.score], marker=marker, markersize=8, color=tint)
    point.set(markerfacecolor=tint if best else _SURFACE, markeredgecolor=tint, markeredgewidth=1.6, clip_on=False)
    for artist in (bar, point):
        artist.set_gid(f"point:{number}")


def _point_labels(axes: "Axes", frame: pd.DataFrame, series: Mapping[str, int], front: list[str]) -> None:
    """Place each name where it overlaps no point and no other name, with a thin line to its point if that is far."""
    points = axes.transData.transform(frame[["fit_seconds", "score"]].to_numpy(dtype=float))
    area = axes.get_window_extent()
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in points]
    to_data = axes.transData.inverted()
    for (x, y), strategy in zip(points, frame["strategy"], strict=True):
        label, number = _short(strategy), series[strategy]
        size = _CHARACTER_WIDTH * len(label) + 4, 13.0
        box = _free_box(float(x), float(y), size, taken, (area.x0, area.y0, area.x1, area.y1))
        taken.append(box)
        before = box[2] <= x
        anchor, middle = to_data.transform((box[2] - 2 if before else box[0] + 2, (box[1] + box[3]) / 2))
        tint = _INK if strategy in front else _MUTED
        text = axes.text(anchor, middle, label, color=tint, va="center", gid=f"label:{number}")
        text.set_horizontalalignment("right" if before else "left")
        text.set_fontweight("bold" if strategy in front else "normal")
        nearest = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
        if math.dist((x, y), nearest) > 14:
            ends = to_data.transform([(x, y), nearest])
            (leader,) = axes.plot(ends[:, 0], ends[:, 1], color=_MUTED, linewidth=0.7, alpha=0.7, zorder=1)
            leader.set_gid(f"leader:{number}")


_Box = tuple[float, float, float, float]


def _free_box(x: float, y: float, size: tuple[float, float], taken: list[_Box], area: _Box) -> _Box:
    width, height = size
    beside: list[_Box] = []
    for distance in (8, 16, 26, 38, 52, 68):
        # Above first: the line of the front runs beside its points.
        for dx, dy in ((0.8, 0.6), (1, 0), (-1, 0), (0, 1), (0.8, -0.6), (0, -1), (-0.8, 0.6), (-0.8, -0.6)):
            left = x + dx * distance - (width / 2 if dx == 0 else width if dx < 0 else 0)
            bottom = y + dy * distance - (height / 2 if dy == 0 else height if dy < 0 else 0)
            box = (left, bottom, left + width, bottom + height)
            if box[0] >= area[0] and box[1] >= area[1] and box[2] <= area[2] and box[3] <= area[3]:
                beside.append(box)
    return min(
        beside, key=lambda box: sum(_overlap(box, other) for other in taken), default=(x, y, x + width, y + height)
    )


def _overlap(a: _Box, b: _Box) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
