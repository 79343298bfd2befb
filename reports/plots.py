"""Plots of results, for notebooks, papers and the page; each function draws on given axes or on new ones.

Colours are those of the families (`forgetless.reports.figures`). Of many strategies a few are in colour, those that an
answer is about; the others are grey, but labelled.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from . import formats
from .choice import dominance
from .figures import (
    CHARACTER_WIDTH,
    FAINT,
    HEAT,
    INK,
    LESS,
    LINE,
    MUTED,
    SURFACE,
    Box,
    Look,
    canvas,
    free_box,
    label_width,
    looks,
    points_per_unit,
    score_axis,
    short,
    spread,
)
from .findings import answer, notable, only_stream
from .metrics import METRICS, Array, score_bounds
from .statistics import comparison_matrix, gap_closed, performance_profiles
from .tables import (
    CURVE_COLUMNS,
    ResultTables,
    accuracy_curves,
    accuracy_matrices,
    leaderboard,
    protocol,
    protocols,
    reference_roles,
    run_scores,
    student_interval,
    summarize,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COSTS = {
    "seconds": "time to fit and predict the whole stream",
    "fit_seconds": "time to fit the whole stream",
    "predict_seconds": "time to predict the whole stream",
    "bytes_added": "bytes that each further experience adds",
}
"""What scores can be drawn against: columns of `costs`, with their names."""
# A coarse clock measures 0 for short fits, and some strategies add nothing, which a logarithmic axis cannot show.
_LEAST = {"bytes_added": 1.0}
_HEAT_LEVELS = 24
_MOST_BANDS = 3


def _one_stream(results: ResultTables, stream: str | None) -> tuple[ResultTables, str]:
    """Return the results of one stream, and its name."""
    names = [str(name) for name in results.runs["stream"].unique()]
    if stream is None and len(names) != 1:
        known = ", ".join(map(formats.plain, names)) or "none"
        raise ValueError(f"The results have {len(names)} streams; name one with stream=: {known}.")
    name = names[0] if stream is None else stream
    if name not in names:
        known = ", ".join(map(formats.plain, names))
        raise ValueError(f"There is no stream {name!r} in these results; there are: {known}.")
    return only_stream(results, name), name


def _highlighted(highlight: Sequence[str] | None, results: ResultTables, stream: str) -> list[str]:
    if highlight is None:
        return notable(results, leaderboard(results), stream)
    return _known(highlight, results)


def _known(names: Sequence[str], results: ResultTables) -> list[str]:
    if isinstance(names, str):
        raise TypeError(f"Strategies must be a list of names; got the text {names!r}. Write [{names!r}].")
    known = {str(name) for name in results.runs["strategy"]}
    unknown = [name for name in names if name not in known]
    if unknown:
        there = ", ".join(map(formats.plain, sorted(known)))
        raise ValueError(f"There is no strategy {unknown[0]!r} in these results; there are: {there}.")
    return list(names)


def _in_order(names: Sequence[str], highlight: Sequence[str]) -> list[str]:
    """Put those in colour last, so that they are drawn over the others."""
    return sorted(names, key=lambda name: name in highlight)


def _label(score: str) -> str:
    return "accuracy" if score == "accuracy" else score


# --- score over the experiences ------------------------------------------------------------------------------------


def plot_curves(
    results: ResultTables,
    stream: str | None = None,
    *,
    highlight: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot the score over the experiences, with its interval over seeds.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    stream : str, default=None
        Name of the stream; ``None``: the only one.
    highlight : sequence of str, default=None
        Strategies in colour; ``None``: those that the answer is about, see `notable`.
    ax : Axes, default=None
        Axes of matplotlib to draw on; ``None``: new ones.

    Returns
    -------
    Axes
        The mean of the score that the protocol knows at each time (`accuracy_curves`), with 95 % intervals.

    Raises
    ------
    ValueError
        If the stream is not named and there are several, or something named is not in the results.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> ax = plot_curves(example_results(), highlight=["Replay"])
    >>> ax.get_xlabel()
    'experiences learned'
    """
    results, stream = _one_stream(results, stream)
    scorer = protocols(results)[stream][1]
    highlight = _highlighted(highlight, results, stream)
    return draw_curves(accuracy_curves(results), looks(results.runs), highlight, scorer, ax)


def draw_curves(
    frame: pd.DataFrame,
    styles: Mapping[str, Look],
    highlight: Sequence[str],
    scorer: str = "accuracy",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw rows of one stream from `accuracy_curves`; see `plot_curves`.

    Parameters
    ----------
    frame : DataFrame
        Rows of one stream from `accuracy_curves`.
    styles : mapping of str to Look
        Looks of the strategies.
    highlight : sequence of str
        Strategies in colour.
    scorer : str
        Name of the score, one of scikit-learn's.
    ax : Axes, default=None
        Axes to draw on; ``None``: new ones.

    Returns
    -------
    Axes
    """
    from matplotlib.ticker import MaxNLocator

    frame = frame.dropna(subset=["mean"])
    lines = {str(strategy): rows for strategy, rows in frame.groupby("strategy", sort=False)}
    height = max(330, 14 * len(lines) + 80)
    with canvas(ax, height=height, right=34 + label_width(list(lines))) as ax:
        if lines:
            first, last = min(1.0, frame["experience"].min()), math.ceil(frame["experience"].max())
            ax.set_xlim(first if last > 1 else 0.5, max(last, 1.5))
            score_axis(ax, frame[["mean", "ci_low"]].min().min(), frame[["mean", "ci_high"]].max().max(), scorer)
        ax.set_xlabel("experiences learned")
        ax.set_ylabel("" if formats.in_percent(scorer) else _label(scorer))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        for strategy in _in_order(list(lines), highlight):
            _curve(ax, lines[strategy], styles[strategy], strategy in highlight)
        ends = {strategy: float(rows["mean"].iloc[-1]) for strategy, rows in lines.items()}
        starts = {strategy: float(rows["experience"].iloc[-1]) for strategy, rows in lines.items()}
        _end_labels(ax, starts, ends, styles, highlight)
    return ax


def _curve(ax: "Axes", rows: pd.DataFrame, look: Look, on: bool) -> None:
    x = rows["experience"].to_numpy(dtype=float)
    if rows["ci_low"].notna().any():
        low, high = (rows[name].to_numpy(dtype=float) for name in ("ci_low", "ci_high"))
        band = ax.fill_between(x, low, high, color=look.color, alpha=0.13 if on else 0.0, linewidth=0)
        band.set(gid=look.gid("band", on), clip_on=False)
    tint, order = (look.color, 3.0) if on else (FAINT, 1.5)
    (line,) = ax.plot(x, rows["mean"], color=tint, marker=look.marker, markevery=max(1, len(x) // 12), clip_on=False)
    line.set(linewidth=2.0 if on else 1.0, markersize=5.5 if on else 2.5, zorder=order, linestyle=look.dashes)
    line.set(markeredgecolor=SURFACE, markeredgewidth=0.6, gid=look.gid("line", on))


def _end_labels(
    ax: "Axes",
    starts: Mapping[str, float],
    ends: Mapping[str, float],
    styles: Mapping[str, Look],
    highlight: Sequence[str],
) -> None:
    """Write names at the right, with thin lines to where the curves end."""
    if not ends:
        return
    (_, x_high), (y_low, y_high) = ax.get_xlim(), ax.get_ylim()
    points_x, points_y = points_per_unit(ax)
    places = dict(zip(ends, spread(list(ends.values()), 13.0 / points_y, y_low, y_high), strict=True))
    for strategy in _in_order(list(ends), highlight):
        look, on, place = styles[strategy], strategy in highlight, places[strategy]
        steps = [starts[strategy], x_high + 8 / points_x, x_high + 18 / points_x]
        (leader,) = ax.plot(steps, [ends[strategy], place, place], color=look.color if on else FAINT, clip_on=False)
        leader.set(linewidth=0.8, gid=look.gid("leader", on))
        _name(ax, x_high + 23 / points_x, place, strategy, look, on)
    ax.set_xlim(right=x_high)


def _name(ax: "Axes", x: float, y: float, strategy: str, look: Look, on: bool, **options: Any) -> Any:
    tint, weight, size = (INK, "bold", 11) if on else (MUTED, "normal", 10)
    text = ax.text(x, y, short(strategy), color=tint, va="center", fontweight=weight, fontsize=size, **options)
    text.set_gid(look.gid("label", on))
    return text


# --- cost, stability, plasticity -----------------------------------------------------------------------------------


def costs(board: pd.DataFrame) -> pd.DataFrame:
    """Add the seconds of fit and predict together to a leaderboard.

    Parameters
    ----------
    board : DataFrame
        From `leaderboard`.

    Returns
    -------
    DataFrame
        With one more column, ``seconds``; NaN where one of both is not known.

    Examples
    --------
    >>> from forgetless.reports import example_results, leaderboard
    >>> costs(leaderboard(example_results()))[["strategy", "seconds"]].head(1)
      strategy  seconds
    0    Joint     1.25
    """
    return board.assign(seconds=board["fit_seconds"] + board["predict_seconds"])


def pareto(frame: pd.DataFrame, cost: str = "seconds") -> list[str]:
    """Find the Pareto front of score and cost: what no other strategy dominates.

    One dominates another if it scores no less, costs no more, and is better in one of both.

    Parameters
    ----------
    frame : DataFrame
        Rows of one stream from `costs`, without upper bounds.
    cost : str, default="seconds"
        One of `COSTS`.

    Returns
    -------
    list of str
        From the cheapest to the one with the highest score.

    Examples
    --------
    >>> pareto(pd.DataFrame({"strategy": ["a", "b", "c"], "seconds": [1.0, 2.0, 3.0], "score": [0.5, 0.4, 0.9]}))
    ['a', 'c']
    """
    known = frame.dropna(subset=[cost, "score"]).sort_values([cost, "score"], kind="stable")
    score, seconds = (known[name].to_numpy(dtype=float) for name in ("score", cost))
    front = np.flatnonzero(~dominance(score, seconds).any(axis=0))
    return [str(name) for name in known["strategy"].iloc[front]]


def plot_cost(
    results: ResultTables,
    stream: str | None = None,
    *,
    cost: str = "seconds",
    highlight: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot the score against what it costs, with the Pareto front.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    stream : str, default=None
        Name of the stream; ``None``: the only one.
    cost : {"seconds", "fit_seconds", "predict_seconds", "bytes_added"}, default="seconds"
        Time of fit and predict together, or one of both; or bytes that each experience after the first adds.
    highlight : sequence of str, default=None
        Strategies in colour; ``None``: those that the answer is about, see `notable`.
    ax : Axes, default=None
        Axes of matplotlib to draw on; ``None``: new ones.

    Returns
    -------
    Axes
        Upper bounds are hollow and on no front: what sees all data again is no candidate.

    Raises
    ------
    ValueError
        If the cost is unknown, the stream is not named and there are several, or something named is not in the
        results.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> plot_cost(example_results()).get_xlabel()
    'time to fit and predict the whole stream (logarithmic)'
    """
    results, stream = _one_stream(results, stream)
    if cost not in COSTS:
        raise ValueError(f"Unknown cost {cost!r}; choose from {', '.join(COSTS)}.")
    highlight = _highlighted(highlight, results, stream)
    roles = reference_roles(results, stream)
    return draw_cost(costs(leaderboard(results)), looks(results.runs), highlight, roles, cost, ax)


def draw_cost(
    frame: pd.DataFrame,
    styles: Mapping[str, Look],
    highlight: Sequence[str],
    roles: Mapping[str, str],
    cost: str = "seconds",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw rows of one stream from `costs`; see `plot_cost`.

    Parameters
    ----------
    frame : DataFrame
        Rows of one stream from `costs`.
    styles : mapping of str to Look
        Looks of the strategies.
    highlight : sequence of str
        Strategies in colour.
    roles : mapping of str to str
        From `reference_roles`.
    cost : str, default="seconds"
        One of `COSTS`.
    ax : Axes, default=None
        Axes to draw on; ``None``: new ones.

    Returns
    -------
    Axes
    """
    frame = frame.dropna(subset=[cost, "score"])
    frame = frame.assign(**{cost: frame[cost].clip(lower=_LEAST.get(cost, 1e-4))})
    candidates = frame[frame["strategy"].map(roles) != "upper bound"]
    front = pareto(candidates, cost)
    scorer = str(frame["scorer"].iloc[0]) if len(frame) else "accuracy"
    with canvas(ax, height=max(380, 11 * len(frame) + 160), right=24) as ax:
        ax.set_xlabel(f"{COSTS[cost]} (logarithmic)")
        if len(frame):
            _cost_axis(ax, frame[cost], formats.size if cost in _LEAST else formats.seconds)
            interval = frame[["score", "score_ci_low", "score_ci_high"]]
            score_axis(ax, interval.min().min(), interval.max().max(), scorer)
            best = candidates.set_index("strategy").loc[front]
            x, y = [*best[cost], ax.get_xlim()[1]], [*best["score"], best["score"].iloc[-1] if len(best) else math.nan]
            ax.plot(x, y, drawstyle="steps-post", color=MUTED, linewidth=1.1, dashes=(4, 3), gid="front")
        if not formats.in_percent(scorer):
            ax.set_ylabel(_label(scorer))
        places, limits = _pairs(frame, cost, "score"), _pairs(frame, "score_ci_low", "score_ci_high")
        _points(ax, places, limits, styles, highlight, filled=front)
    return ax


def plot_stability_plasticity(
    results: ResultTables,
    stream: str | None = None,
    *,
    highlight: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot stability against plasticity: how little is forgotten against how well new experiences are learned.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    stream : str, default=None
        Name of the stream; ``None``: the only one.
    highlight : sequence of str, default=None
        Strategies in colour; ``None``: those that the answer is about, see `notable`.
    ax : Axes, default=None
        Axes of matplotlib to draw on; ``None``: new ones.

    Returns
    -------
    Axes
        Learning accuracy from left to right, forgetting from top to bottom: the best place is at the top right.

    Raises
    ------
    ValueError
        If the stream is not named and there are several, or something named is not in the results.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> plot_stability_plasticity(example_results()).get_ylabel()
    'forgetting (less is higher)'
    """
    results, stream = _one_stream(results, stream)
    highlight = _highlighted(highlight, results, stream)
    return draw_stability_plasticity(leaderboard(results), looks(results.runs), highlight, ax)


def draw_stability_plasticity(
    frame: pd.DataFrame, styles: Mapping[str, Look], highlight: Sequence[str], ax: "Axes | None" = None
) -> "Axes":
    """Draw rows of one stream from `leaderboard`; see `plot_stability_plasticity`.

    Parameters
    ----------
    frame : DataFrame
        Rows of one stream from `leaderboard`.
    styles : mapping of str to Look
        Looks of the strategies.
    highlight : sequence of str
        Strategies in colour.
    ax : Axes, default=None
        Axes to draw on; ``None``: new ones.

    Returns
    -------
    Axes
    """
    frame = frame.dropna(subset=["learning_accuracy", "forgetting"])
    scorer = str(frame["scorer"].iloc[0]) if len(frame) else "accuracy"
    with canvas(ax, height=max(380, 11 * len(frame) + 160), left=62, right=24) as ax:
        ax.grid(axis="both", linewidth=0.8, color=LINE)
        if len(frame):
            score_axis(ax, frame["learning_accuracy"].min(), frame["learning_accuracy"].max(), scorer, "x")
            score_axis(ax, frame["forgetting"].min(), frame["forgetting"].max(), scorer)
            ax.invert_yaxis()
        label = METRICS["learning_accuracy"].label_for(scorer).lower()
        ax.set_xlabel(f"{label}, of each experience right after it was learned")
        ax.set_ylabel("forgetting (less is higher)")
        places = _pairs(frame, "learning_accuracy", "forgetting")
        _points(ax, places, {}, styles, highlight, filled=list(places))
    return ax


def _pairs(frame: pd.DataFrame, first: str, second: str) -> dict[str, tuple[float, float]]:
    """Return two numbers of each strategy by its name."""
    numbers = (frame[name].to_numpy(dtype=float).tolist() for name in (first, second))
    return dict(zip(map(str, frame["strategy"]), zip(*numbers, strict=True), strict=True))


def _cost_axis(ax: "Axes", costs: pd.Series, written: Callable[[float], str]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = costs.min() / 1.5, costs.max() * 1.5
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    few = high / low < 30
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: re.sub(r"\.0+ ", " ", written(value))))


def _points(
    ax: "Axes",
    places: Mapping[str, tuple[float, float]],
    limits: Mapping[str, tuple[float, float]],
    styles: Mapping[str, Look],
    highlight: Sequence[str],
    filled: Sequence[str],
) -> None:
    """Draw labelled points; names stand where they overlap no point and, if possible, no other name."""
    if not places:
        return
    for strategy in _in_order(list(places), highlight):
        look, on, (x, y) = styles[strategy], strategy in highlight, places[strategy]
        tint, order = (look.color, 3.0) if on else (FAINT, 1.5)
        if strategy in limits and not math.isnan(limits[strategy][0]):
            (bar,) = ax.plot(
                [x, x], limits[strategy], color=tint, linewidth=1.4, alpha=0.55, zorder=order, clip_on=False
            )
            bar.set_gid(look.gid("whisker", on))
        (point,) = ax.plot([x], [y], marker=look.marker, markersize=8 if on else 5, color=tint, zorder=order + 1)
        point.set(markerfacecolor=tint if strategy in filled else SURFACE, markeredgecolor=tint, markeredgewidth=1.5)
        point.set(clip_on=False, gid=look.gid("point" if strategy in filled else "hollow", on))
    scale = 72 / ax.figure.dpi
    at = dict(zip(places, ax.transData.transform(np.array(list(places.values()), dtype=float)) * scale, strict=True))
    window, to_data = ax.get_window_extent(), ax.transData.inverted()
    area = (window.x0 * scale, window.y0 * scale, window.x1 * scale + 16, window.y1 * scale + 8)
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in at.values()]
    for strategy in reversed(_in_order(list(places), highlight)):  # those in colour choose their places first
        look, on, (x, y) = styles[strategy], strategy in highlight, at[strategy]
        width = (1.1 if on else 0.95) * CHARACTER_WIDTH * len(short(strategy)) + 4
        box = free_box(float(x), float(y), (width, 13.0), taken, area)
        taken.append(box)
        before = box[2] <= x
        anchor, middle = to_data.transform(
            ((box[2] - 2 if before else box[0] + 2) / scale, (box[1] + box[3]) / 2 / scale)
        )
        _name(ax, anchor, middle, strategy, look, on, ha="right" if before else "left")
        nearest = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
        if math.dist((x, y), nearest) > 14:
            ends = to_data.transform(np.array([(x, y), nearest]) / scale)
            (leader,) = ax.plot(ends[:, 0], ends[:, 1], color=look.color if on else FAINT, linewidth=0.7, zorder=1)
            leader.set_gid(look.gid("leader", on))


# --- forgetting ----------------------------------------------------------------------------------------------------


def plot_forgetting(
    results: ResultTables,
    stream: str | None = None,
    *,
    highlight: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot how much each strategy forgets, with its interval over seeds; the least stands first.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    stream : str, default=None
        Name of the stream; ``None``: the only one.
    highlight : sequence of str, default=None
        Strategies in colour; ``None``: those that the answer is about, see `notable`.
    ax : Axes, default=None
        Axes of matplotlib to draw on; ``None``: new ones.

    Returns
    -------
    Axes
        One bar per strategy, none where the protocol does not tell.

    Raises
    ------
    ValueError
        If the stream is not named and there are several, or something named is not in the results.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> [float(bar.get_width()) for bar in plot_forgetting(example_results()).patches]
    [0.0625, 0.3125, 0.8125]
    """
    results, stream = _one_stream(results, stream)
    highlight = _highlighted(highlight, results, stream)
    return draw_forgetting(summarize(results, ["forgetting"]), looks(results.runs), highlight, ax)


def draw_forgetting(
    summary: pd.DataFrame, styles: Mapping[str, Look], highlight: Sequence[str], ax: "Axes | None" = None
) -> "Axes":
    """Draw rows of one stream from `summarize`; see `plot_forgetting`.

    Parameters
    ----------
    summary : DataFrame
        Rows of one stream from `summarize`; those of other metrics than forgetting are left out.
    styles : mapping of str to Look
        Looks of the strategies.
    highlight : sequence of str
        Strategies in colour.
    ax : Axes, default=None
        Axes to draw on; ``None``: new ones.

    Returns
    -------
    Axes
    """
    rows = summary[summary["metric"] == "forgetting"].dropna(subset=["mean"]).sort_values("mean", kind="stable")
    names = [str(name) for name in rows["strategy"]]
    scorer = str(rows["scorer"].iloc[0]) if len(rows) else "accuracy"
    with canvas(ax, height=17 * len(rows) + 64, left=16 + label_width(names), right=30) as ax:
        ax.grid(visible=False, axis="y")
        ax.grid(axis="x", linewidth=0.8, color=LINE)
        if names:
            ends = rows[["mean", "ci_low", "ci_high"]]
            score_axis(ax, min(ends.min().min(), 0.0), max(ends.max().max(), 0.0), scorer, "x")
            ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_yticks([])
        ax.axvline(0, color=MUTED, linewidth=0.8)
        ax.set_xlabel("forgetting (less is better)")
        means, lows, highs = (rows[name].to_numpy(dtype=float).tolist() for name in ("mean", "ci_low", "ci_high"))
        for place, (mean, low, high) in enumerate(zip(means, lows, highs, strict=True)):
            look, on = styles[names[place]], names[place] in highlight
            (bar,) = ax.barh([place], [mean], height=0.62, color=look.color if on else FAINT)
            bar.set_gid(look.gid("bar", on))
            if not math.isnan(low):
                ax.plot([low, high], [place, place], color=INK, linewidth=1.1, alpha=0.6)
            text = _name(ax, 0, place, names[place], look, on, ha="right", transform=ax.get_yaxis_transform())
            text.set_x(-8 / (ax.get_window_extent().width * 72 / ax.figure.dpi))
    return ax


# --- matrices ------------------------------------------------------------------------------------------------------


def plot_matrix(results: ResultTables, strategy: str, stream: str | None = None, *, ax: "Axes | None" = None) -> "Axes":
    """Plot the accuracy matrix of a strategy, the mean over seeds: a row per experience learned.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    strategy : str
        Its name.
    stream : str, default=None
        Name of the stream; ``None``: the only one.
    ax : Axes, default=None
        Axes of matplotlib to draw on; ``None``: new ones.

    Returns
    -------
    Axes
        Row i, column j: the score on experience j after learning experience i. Forgetting is a column that pales
        downwards.

    Raises
    ------
    ValueError
        If the stream is not named and there are several, or no run of the strategy finished on it.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> ax = plot_matrix(example_results(), "Replay")
    >>> [text.get_text() for text in ax.texts]
    ['100', '0', '69', '94']
    """
    results, stream = _one_stream(results, stream)
    matrices = accuracy_matrices(results)
    if (stream, strategy) not in matrices:
        raise ValueError(f"No run of {strategy!r} finished on {stream!r}.")
    return draw_matrix(matrices[stream, strategy].mean(axis=0), protocols(results)[stream][1], ax)


def draw_matrix(matrix: Array, scorer: str = "accuracy", ax: "Axes | None" = None) -> "Axes":
    """Draw an accuracy matrix; see `plot_matrix`.

    Parameters
    ----------
    matrix : ndarray of shape (T, T)
        May have NaN.
    scorer : str
        Name of the score, one of scikit-learn's.
    ax : Axes, default=None
        Axes to draw on; ``None``: new ones.

    Returns
    -------
    Axes
    """
    size = len(matrix)
    side = min(max(27.0 * size, 60.0), 380.0)
    with canvas(ax, width=side + 40, height=side + 58, left=34, right=6) as ax:
        ax.grid(visible=False)
        ax.set_xlim(0, size)
        ax.set_ylim(size, 0)
        ax.spines["bottom"].set_visible(False)
        ax.set_xlabel("tested on experience")
        ax.set_ylabel("after learning")
        every = max(1, math.ceil(size / 12))
        places = np.arange(0, size, every)
        ax.set_xticks(places + 0.5, [str(place + 1) for place in places])
        ax.set_yticks(places + 0.5, [str(place + 1) for place in places])
        known = matrix[np.isfinite(matrix)]
        low, high = (0.0, 1.0) if formats.in_percent(scorer) else (known.min(initial=0.0), known.max(initial=0.0))
        shares = np.round((matrix - low) / ((high - low) or 1.0) * _HEAT_LEVELS) / _HEAT_LEVELS
        _cells(ax, shares)
        if size <= 12:
            _numbers(ax, matrix, scorer)
    return ax


def _cells(ax: "Axes", shares: Array) -> None:
    """Fill cells, in one path per shade, however many there are."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    for share in np.unique(shares[np.isfinite(shares)]):
        path: list[Path] = []
        for i, j in np.argwhere(shares == share):
            path.append(Path(np.array([(j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1), (j, i)], float), closed=True))
        # Never so dark that the numbers would be hard to read.
        alpha = 0.03 + 0.67 * float(share) ** 2
        ax.add_patch(PathPatch(Path.make_compound_path(*path), facecolor=HEAT, edgecolor="none", alpha=alpha))


def _numbers(ax: "Axes", matrix: Array, scorer: str) -> None:
    percent = formats.in_percent(scorer)
    for i, j in np.argwhere(np.isfinite(matrix)):
        text = f"{100 * matrix[i, j]:.0f}" if percent else formats.score(float(matrix[i, j]), scorer)
        ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=9, color=INK)


# --- the stability gap ---------------------------------------------------------------------------------------------


def plot_stability_gap(
    results: ResultTables,
    stream: str | None = None,
    *,
    tested_on: int = 0,
    highlight: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot the score on one experience while later ones are learned, where it falls before it recovers.

    This is the stability gap of De Lange et al. (2023). It shows only where a protocol evaluates within experiences.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    stream : str, default=None
        Name of the stream; ``None``: the only one.
    tested_on : int, default=0
        The experience whose test rows are asked for; the first is 0.
    highlight : sequence of str, default=None
        Strategies in colour; ``None``: those that the answer is about, see `notable`.
    ax : Axes, default=None
        Axes of matplotlib to draw on; ``None``: new ones.

    Returns
    -------
    Axes
        Means over seeds with 95 % intervals.

    Raises
    ------
    ValueError
        If nothing was evaluated within later experiences, the stream is not named and there are several, or
        something named is not in the results.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> plot_stability_gap(example_results()).get_ylabel()
    'on experience 1'
    """
    results, stream = _one_stream(results, stream)
    frame = recovery(results, tested_on)
    if frame.empty:
        raise ValueError(
            f"Nothing was evaluated on experience {tested_on} within later experiences of {stream!r}: run the "
            "benchmark with eval_every."
        )
    highlight = _highlighted(highlight, results, stream)
    ax = draw_curves(frame, looks(results.runs), highlight, protocols(results)[stream][1], ax)
    ax.set_ylabel(f"on experience {tested_on + 1}")
    return ax


def recovery(results: ResultTables, tested_on: int = 0) -> pd.DataFrame:
    """Average over seeds the score on one experience over time, once it has been learned.

    Parameters
    ----------
    results : ResultTables
        Results of one stream.
    tested_on : int, default=0
        The experience; the first is 0.

    Returns
    -------
    DataFrame
        Columns as those of `accuracy_curves`; empty if nothing was evaluated within later experiences. Where seeds
        were evaluated at different times, values between are interpolated.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> recovery(example_results())[["strategy", "experience", "mean"]].head(3)
      strategy  experience    mean
    0    Naive         1.0  1.0000
    1    Naive         1.5  0.1250
    2    Naive         2.0  0.1875
    """
    finished = results.runs.loc[results.runs["status"] == "ok", ["cell", "strategy", "stream", "protocol"]]
    runs = finished.assign(metric=[protocol(str(text))[1] for text in finished["protocol"]])
    runs = runs.drop(columns="protocol")

    def of_experience(frame: pd.DataFrame) -> pd.DataFrame:
        known = frame.loc[frame["tested_on"] == tested_on].drop(columns=["strategy", "stream"])
        return known.merge(runs, on=["cell", "metric"])

    ends = of_experience(results.scores)
    within = of_experience(results.evaluations)
    within = within[within["experience"] > tested_on]
    if within.empty:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    rows = results.experiences[["cell", "experience", "n_train"]].drop_duplicates(["cell", "experience"])
    within = within.merge(rows, on=["cell", "experience"])
    share = (within["n_rows"] / within["n_train"].where(within["n_train"] > 0)).clip(0, 1)
    columns = ["cell", "strategy", "stream", "t", "score"]
    ends = ends[ends["trained_on"] >= tested_on].assign(t=lambda known: known["trained_on"] + 1.0)
    course = pd.concat([ends[columns], within.assign(t=within["experience"] + share)[columns]]).dropna()
    course = course.sort_values("t", kind="stable").drop_duplicates(["cell", "t"], keep="last")
    frames = []
    for (stream, strategy), of_strategy in course.groupby(["stream", "strategy"], sort=False):
        cells = [rows for _, rows in of_strategy.groupby("cell", sort=False)]
        start, end = max(rows["t"].iloc[0] for rows in cells), min(rows["t"].iloc[-1] for rows in cells)
        times = np.unique(of_strategy["t"])
        times = times[(times >= start) & (times <= end)]
        stack = np.stack([np.interp(times, rows["t"], rows["score"]) for rows in cells])
        scorer = protocols(results)[str(stream)][1]
        mean, _, low, high = student_interval(stack, bounds=score_bounds(scorer))
        values = {"experience": times, "mean": mean, "ci_low": low, "ci_high": high}
        frames.append(pd.DataFrame({"stream": stream, "strategy": strategy, **values}))
    order = {name: place for place, name in enumerate(results.runs["strategy"].unique())}
    found = pd.concat(frames, ignore_index=True)
    return found.sort_values("strategy", key=lambda names: names.map(order), kind="stable").reset_index(drop=True)


# --- comparisons over all streams ----------------------------------------------------------------------------------


def plot_profiles(results: ResultTables, *, highlight: Sequence[str] | None = None, ax: "Axes | None" = None) -> "Axes":
    """Plot performance profiles: the share of runs that close at least a given part of the gap.

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    highlight : sequence of str, default=None
        Strategies in colour; ``None``: those that the answer is about, see `answer`, and the references.
    ax : Axes, default=None
        Axes of matplotlib to draw on; ``None``: new ones.

    Returns
    -------
    Axes
        One line per strategy (`performance_profiles`), a line above another one is better; with 95 % intervals where
        three or fewer are in colour, as more would hide each other.

    Raises
    ------
    ValueError
        If no stream has a gap between plain and joint training, or something named is not in the results.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> plot_profiles(example_results()).get_xlabel()
    'part of the gap closed, from plain to joint training'
    """
    gaps = gap_closed(run_scores(results))
    if gaps.table.empty:
        reasons = "; ".join(f"{formats.plain(stream)}: {why}" for stream, why in gaps.left_out.items())
        raise ValueError(f"No stream has a gap between plain and joint training ({reasons or 'there is no stream'}).")
    if highlight is None:
        bounds = gaps.table.loc[gaps.table["role"] != "", "strategy"].unique()
        highlight = list(dict.fromkeys((*answer(results).named, *map(str, bounds))))
    highlight = _known(highlight, results)
    return draw_profiles(performance_profiles(gaps.table), looks(results.runs), highlight, ax)


def draw_profiles(
    profiles: pd.DataFrame, styles: Mapping[str, Look], highlight: Sequence[str], ax: "Axes | None" = None
) -> "Axes":
    """Draw a table from `performance_profiles`; see `plot_profiles`.

    Parameters
    ----------
    profiles : DataFrame
        From `performance_profiles`.
    styles : mapping of str to Look
        Looks of the strategies.
    highlight : sequence of str
        Strategies in colour.
    ax : Axes, default=None
        Axes to draw on; ``None``: new ones.

    Returns
    -------
    Axes
    """
    from matplotlib.ticker import PercentFormatter

    lines = {str(strategy): rows for strategy, rows in profiles.groupby("strategy", sort=False)}
    height, right = max(330, 14 * len(lines) + 80), 46 + label_width(list(lines))
    with canvas(ax, height=height, left=62, right=right) as ax:
        ax.set_xlim(profiles["threshold"].min(), profiles["threshold"].max())
        ax.set_ylim(-0.02, 1.02)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        ax.set_xlabel("part of the gap closed, from plain to joint training")
        ax.set_ylabel("share of runs that close as much")
        for strategy in _in_order(list(lines), highlight):
            rows, look, on = lines[strategy], styles[strategy], strategy in highlight
            if len(highlight) <= _MOST_BANDS:
                band = ax.fill_between(rows["threshold"], rows["low"], rows["high"], color=look.color, linewidth=0)
                band.set(alpha=0.13 if on else 0.0, gid=look.gid("band", on))
            (line,) = ax.plot(rows["threshold"], rows["share"], color=look.color if on else FAINT)
            line.set(linewidth=2.0 if on else 1.0, linestyle=look.dashes, zorder=3.0 if on else 1.5)
            line.set_gid(look.gid("line", on))
        _legend(ax, {name: float(rows["share"].mean()) for name, rows in lines.items()}, styles, highlight)
    return ax


def _legend(ax: "Axes", heights: Mapping[str, float], styles: Mapping[str, Look], highlight: Sequence[str]) -> None:
    """Write names at the right with a sample of their lines, the highest first."""
    _, x_high = ax.get_xlim()
    (y_low, y_high), (points_x, points_y) = ax.get_ylim(), points_per_unit(ax)
    gap = min(13.0 / points_y, (y_high - y_low) / max(len(heights), 1))
    for place, strategy in enumerate(sorted(heights, key=lambda name: -heights[name])):
        look, on, y = styles[strategy], strategy in highlight, y_high - gap * (place + 0.5)
        sample = [x_high + 10 / points_x, x_high + 32 / points_x]
        (line,) = ax.plot(sample, [y, y], color=look.color if on else FAINT, clip_on=False, linestyle=look.dashes)
        line.set(linewidth=2.0 if on else 1.0, gid=look.gid("line", on))
        _name(ax, x_high + 37 / points_x, y, strategy, look, on)
    ax.set_xlim(right=x_high)


def plot_comparisons(
    results: ResultTables, *, strategies: Sequence[str] | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Plot a matrix of comparisons: how far each strategy is above each other one (Ismail-Fawaz et al. 2023).

    Parameters
    ----------
    results : ResultTables
        Has the DataFrames ``runs``, ``experiences``, ``scores`` and ``evaluations``.
    strategies : sequence of str, default=None
        Those that are compared; Holm's correction is for these. ``None``: all.
    ax : Axes, default=None
        Axes of matplotlib to draw on; ``None``: new ones.

    Returns
    -------
    Axes
        In each cell the mean difference of the row's from the column's strategy, paired over the same data sets or
        seeds, and the probability of improvement. It is of gaps closed where there are gaps, else of scores. Bold:
        shown by the test of `comparison_matrix`, at 5 % for all pairs together.

    Raises
    ------
    ValueError
        If streams have different scores and no gaps, nothing finished, or something named is not in the results.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> ax = plot_comparisons(example_results(), strategies=["Replay", "Naive"])
    >>> [text.get_text().split()[0] for text in ax.texts]
    ['+66.7', '−66.7']
    """
    scores = run_scores(results)
    gaps = gap_closed(scores).table
    judged = gaps if len(gaps) else scores
    if strategies is not None:
        judged = judged[judged["strategy"].isin(_known(strategies, results))]
    if not judged["score"].notna().any():
        raise ValueError("No run finished, so there is nothing to compare.")
    return draw_comparisons(comparison_matrix(judged), str(judged["scorer"].iloc[0]), ax)


def draw_comparisons(pairs: pd.DataFrame, scorer: str, ax: "Axes | None" = None) -> "Axes":
    """Draw a table from `comparison_matrix`; see `plot_comparisons`.

    Parameters
    ----------
    pairs : DataFrame
        From `comparison_matrix`.
    scorer : str
        Of what the differences are: ``"gap closed"`` or the name of one of scikit-learn's scorers.
    ax : Axes, default=None
        Axes to draw on; ``None``: new ones.

    Returns
    -------
    Axes
    """
    names = list(dict.fromkeys([*map(str, pairs["strategy"]), *map(str, pairs["other"])]))
    percent = scorer == "gap closed" or formats.in_percent(scorer)
    size, left = len(names), 14 + label_width(names)
    with canvas(ax, width=left + 74.0 * size + 10, height=40.0 * size + 70, left=left, right=10) as ax:
        ax.grid(visible=False)
        ax.set_xlim(0, max(size, 1))
        ax.set_ylim(max(size, 1), 0)
        ax.spines["bottom"].set_visible(False)
        ax.set_xticks(np.arange(size) + 0.5, [short(name, 12) for name in names], fontsize=9)
        ax.set_yticks(np.arange(size) + 0.5, [short(name) for name in names], fontsize=10)
        ax.set_xlabel(f"{scorer}: row minus column{', points' if percent else ''}; P: probability of improvement")
        places = [[names.index(str(name)) for name in pairs[column]] for column in ("strategy", "other")]
        numbers = [pairs[column].to_numpy(dtype=float) for column in ("difference", "probability", "p_holm")]
        widest = float(np.nanmax(np.abs(numbers[0]), initial=0.0))
        for i, j, difference, probability, p in zip(*places, *map(np.ndarray.tolist, numbers), strict=True):
            _compared(ax, i, j, difference, probability, p < 0.05, widest, percent)
            _compared(ax, j, i, -difference, 1 - probability, p < 0.05, widest, percent)
    return ax


def _compared(
    ax: "Axes", i: int, j: int, difference: float, probability: float, shown: bool, widest: float, percent: bool
) -> None:
    from matplotlib.patches import Rectangle

    if math.isnan(difference):
        ax.text(j + 0.5, i + 0.5, formats.DASH, ha="center", va="center", fontsize=9, color=MUTED)
        return
    tint = HEAT if difference > 0 else LESS
    alpha = 0.4 * abs(difference) / (widest or 1.0)
    ax.add_patch(Rectangle((j, i), 1, 1, facecolor=tint, edgecolor=SURFACE, linewidth=1.5, alpha=alpha))
    number = formats.percent(difference) if percent else formats.score(difference, "r2")
    sign = "+" if difference > 0 else ""
    text = f"{sign}{number}\nP {probability:.2f}"
    ax.text(
        j + 0.5,
        i + 0.5,
        text,
        ha="center",
        va="center",
        fontsize=9,
        color=INK,
        fontweight="bold" if shown else "normal",
    )
