"""The one style of all plots: colours by family, axes without clutter, and SVG for pages.

A family has one colour and one marker everywhere. The colours can be told apart with the common deficiencies of colour
vision, on light and on dark ground. In a page each of them is a CSS variable, so that a figure fits both schemes.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from . import formats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Family:
    """How the strategies of a family look.

    Parameters
    ----------
    light, dark : str
        Colour on light and on dark ground, as ``#rrggbb``.
    marker : str
        One of matplotlib's.

    Examples
    --------
    >>> FAMILIES["replay"].marker
    's'
    """

    light: str
    dark: str
    marker: str


FAMILIES = {
    "baselines": Family("#3d4148", "#d5d7db", "o"),
    "regularization": Family("#2872af", "#4ec1fa", "^"),
    "replay": Family("#f46718", "#fabe7f", "s"),
    "distillation": Family("#1da876", "#1a8056", "D"),
    "isolation": Family("#c61781", "#ee69ab", "P"),
    "analytic": Family("#a94eef", "#9459d1", "v"),
    "meta": Family("#895905", "#aba40b", "X"),
    "other": Family("#840605", "#e4091d", "p"),
}
"""Looks by the name of the family; one that is not here looks like "other"."""

# Colours that are no family's: light, dark.
INKS = {
    "ink": ("#1d1f24", "#e8e8e6"),
    "muted": ("#5f646e", "#a4aab5"),
    "line": ("#e4e2dc", "#31353d"),
    "surface": ("#ffffff", "#1b1e24"),
    "faint": ("#b9bcc2", "#5b616c"),
    "heat": ("#2654a8", "#3468c4"),
    "less": ("#b4530a", "#c9742c"),
}
INK, MUTED, LINE, SURFACE, FAINT, HEAT, LESS = (light for light, _ in INKS.values())
_VARIABLES = {light: f"var(--{name})" for name, (light, _) in INKS.items()}
_VARIABLES |= {family.light: f"var(--family-{name})" for name, family in FAMILIES.items()}
_DASHES: tuple[Any, ...] = ("solid", (0, (6, 2)), (0, (2, 1.4)), (0, (6, 2, 1.5, 2)))
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: selectable, in the page's font, small
    "svg.hashsalt": "forgetless",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 11,
    "font.family": "sans-serif",
    "text.color": INK,
    "lines.solid_capstyle": "round",
}
WIDTH = 780.0
LABEL_CHARACTERS = 30
CHARACTER_WIDTH = 6.1  # points, of the 11 point font, on average


def family_key(family: object) -> str:
    """Return the key of a family's look.

    Parameters
    ----------
    family : object
        Name of a family.

    Returns
    -------
    str
        One of the keys of `FAMILIES`.

    Examples
    --------
    >>> family_key("replay"), family_key("external")
    ('replay', 'other')
    """
    return str(family) if str(family) in FAMILIES else "other"


@dataclass(frozen=True)
class Look:
    """How a strategy looks in every plot.

    Parameters
    ----------
    number : int
        Of the strategy, in the order of the runs.
    family : str
        One of the keys of `FAMILIES`.
    color, marker : str
        The family's, for matplotlib.
    dashes : object
        A line style of matplotlib that sets it apart from others of its family; four take turns.
    """

    number: int
    family: str
    color: str
    marker: str
    dashes: Any

    def gid(self, kind: str, on: bool) -> str:
        """Name a part of a figure, so that a page knows whose it is.

        Parameters
        ----------
        kind : str
            ``"line"``, ``"band"``, ``"point"``, ``"label"``, ``"leader"`` or ``"bar"``.
        on : bool
            Whether the strategy is shown in colour.

        Returns
        -------
        str
        """
        return f"{kind}:{self.number}:{self.family}:{'on' if on else ''}"


def looks(runs: pd.DataFrame) -> dict[str, Look]:
    """Give every strategy its look.

    Parameters
    ----------
    runs : DataFrame
        With the columns ``strategy`` and ``family``.

    Returns
    -------
    dict of str to Look
        By the name of the strategy.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> {name: look.color for name, look in looks(example_results().runs).items()}
    {'Naive': '#3d4148', 'Replay': '#f46718', 'Joint': '#3d4148'}
    """
    found: dict[str, Look] = {}
    of_family: dict[str, int] = {}
    first = runs.drop_duplicates("strategy")
    for number, (strategy, name) in enumerate(zip(first["strategy"], first["family"], strict=True)):
        key = family_key(name)
        place = of_family[key] = of_family.get(key, -1) + 1
        family = FAMILIES[key]
        found[str(strategy)] = Look(number, key, family.light, family.marker, _DASHES[place % len(_DASHES)])
    return found


# --- axes ----------------------------------------------------------------------------------------------------------


def _pyplot_figure(width: float, height: float) -> "Figure":
    import matplotlib.pyplot as plt

    return plt.figure(figsize=(width / 72, height / 72))


def _bare_figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72)


_new_figure: ContextVar[Callable[[float, float], "Figure"]] = ContextVar("_new_figure", default=_pyplot_figure)


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    # Independent of the user's settings of matplotlib, which are restored afterwards.
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


@contextmanager
def canvas(
    ax: "Axes | None", *, width: float = WIDTH, height: float = 330.0, left: float = 46.0, right: float = 20.0
) -> "Iterator[Axes]":
    """Give axes to draw on, in the style of all plots.

    Parameters
    ----------
    ax : Axes or None
        ``None``: new axes on a figure of pyplot, or, within `svg`, on one that pyplot does not know.
    width, height, left, right : float
        Size of a new figure and its margins beside the axes, in points.

    Yields
    ------
    Axes
    """
    with _style():
        if ax is None:
            figure, top, bottom = _new_figure.get()(width, height), 14.0, 44.0
            box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
            ax = figure.add_axes(box)
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)
        ax.spines["bottom"].set_color(LINE)
        ax.set_axisbelow(True)
        ax.grid(axis="y", linewidth=0.8, color=LINE)
        ax.tick_params(which="both", length=0, labelcolor=MUTED)
        ax.xaxis.label.set_color(MUTED)
        ax.yaxis.label.set_color(MUTED)
        yield ax


def short(name: str, characters: int = LABEL_CHARACTERS) -> str:
    """Make a label of a name: escaped, on one line, and cut where it is long.

    Parameters
    ----------
    name : str
    characters : int, default=30
        How many at most.

    Returns
    -------
    str

    Examples
    --------
    >>> short("a name that is longer than thirty characters")
    'a name that is longer than th…'
    """
    name = formats.plain(name)
    return name if len(name) <= characters else name[: characters - 1] + "…"


def label_width(names: Sequence[str]) -> float:
    """Estimate the width of the widest label.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    float
        Points.

    Examples
    --------
    >>> label_width(["Naive", "Replay"])
    36.6
    """
    return round(CHARACTER_WIDTH * max((len(short(name)) for name in names), default=0), 6)


def points_per_unit(ax: "Axes") -> tuple[float, float]:
    """Tell how many points one unit of the data takes on linear axes.

    Parameters
    ----------
    ax : Axes

    Returns
    -------
    tuple of float
        Along x and along y.
    """
    box, scale = ax.get_window_extent(), 72 / ax.figure.dpi
    (x_low, x_high), (y_low, y_high) = ax.get_xlim(), ax.get_ylim()
    return box.width * scale / (x_high - x_low), box.height * scale / abs(y_high - y_low)


def score_axis(ax: "Axes", lowest: float, highest: float, scorer: str, which: str = "y") -> None:
    """Set limits and ticks of an axis that shows a score.

    Parameters
    ----------
    ax : Axes
    lowest, highest : float
        Of what is shown.
    scorer : str
        Name of one of scikit-learn's scorers.
    which : {"y", "x"}
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis = ax.yaxis if which == "y" else ax.xaxis
    low, high = lowest, highest
    if formats.in_percent(scorer):
        low, high = math.floor(lowest * 10 - 0.1) / 10, math.ceil(highest * 10 + 0.1) / 10
        low, high = max(low, 0.0) if lowest >= 0 else low, min(high, 1.0)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %".replace("-", "−")))
    pad = 0.02 * (high - low) or 0.5
    (ax.set_ylim if which == "y" else ax.set_xlim)(low - pad, high + pad)
    axis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))  # whole percents, which the labels can say


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


Box = tuple[float, float, float, float]


def free_box(x: float, y: float, size: tuple[float, float], taken: Sequence[Box], area: Box) -> Box:
    """Find a place for a label beside a point, where it overlaps as little as possible.

    Parameters
    ----------
    x, y : float
        The point.
    size : tuple of float
        Width and height of the label.
    taken : sequence of tuple
        What it should not overlap: left, bottom, right, top.
    area : tuple
        Where it has to be.

    Returns
    -------
    tuple of float
        Left, bottom, right, top.

    Examples
    --------
    >>> free_box(5.0, 5.0, (4.0, 2.0), [], (0.0, 0.0, 30.0, 30.0))
    (11.4, 9.8, 15.4, 11.8)
    """
    width, height = size
    left = np.array([x + dx * far - (width / 2 if dx == 0 else width if dx < 0 else 0) for far, dx, _ in _BESIDE])
    bottom = np.array([y + dy * far - (height / 2 if dy == 0 else height if dy < 0 else 0) for far, _, dy in _BESIDE])
    boxes = np.stack([left, bottom, left + width, bottom + height], axis=1)
    boxes = boxes[(boxes[:, :2] >= area[:2]).all(axis=1) & (boxes[:, 2:] <= area[2:]).all(axis=1)]
    if not len(boxes):
        return x, y, x + width, y + height
    others = np.array(taken, dtype=float).reshape(-1, 4)
    shared = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    overlap = shared.clip(0).prod(axis=2).sum(axis=1)
    best = boxes[np.argmin(overlap)]
    return float(best[0]), float(best[1]), float(best[2]), float(best[3])


# Distances and directions, near ones first; above first: the line of the front runs beside its points.
_BESIDE = [
    (far, dx, dy)
    for far in (8, 16, 26, 38, 52, 68, 90, 120)
    for dx, dy in ((0.8, 0.6), (1, 0), (-1, 0), (0, 1), (0.8, -0.6), (0, -1), (-0.8, 0.6), (-0.8, -0.6))
]


# --- SVG -----------------------------------------------------------------------------------------------------------


def svg(plot: "Callable[[], Axes]", prefix: str, label: str) -> str:
    """Draw a plot as an ``<svg>`` element for a page.

    Parameters
    ----------
    plot : callable
        Draws on new axes, those of `canvas`, and returns them.
    prefix : str
        Prefix of ids, which makes them unique on the page.
    label : str
        What a screen reader says.

    Returns
    -------
    str
        Colours are CSS variables. What belongs to a strategy is in a group with the classes of its kind and its family
        (``of-replay``), ``on`` if it is shown in colour, and its number as ``data-series``; its colours are left to the
        style of the page.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> from forgetless.reports.plots import plot_forgetting
    >>> svg(lambda: plot_forgetting(example_results()), "f", "Forgetting")[:4]
    '<svg'
    """
    token = _new_figure.set(_bare_figure)
    try:
        figure: Any = plot().figure
    finally:
        _new_figure.reset(token)
    for ax in figure.axes:
        ax.patch.set_visible(False)
    figure.patch.set_visible(False)
    buffer = io.StringIO()
    with _style():
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = re.sub(r'\sxmlns="[^"]*"|xlink:(?=href)', "", re.sub(r">\s+<", "><", buffer.getvalue()))
    used = dict.fromkeys(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    ids = {old: f"{prefix}-{number}" for number, old in enumerate(used)}
    root = ElementTree.fromstring(text.encode())
    _clean(root, ids, painted=False)
    for name in ("width", "height"):
        del root.attrib[name]
    root.attrib |= {"role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


@dataclass
class Drawing:
    """A plot on a page, which templates take as they take markup, once it is drawn.

    Parameters
    ----------
    plot, prefix, label : callable, str, str
        As for `svg`; to be drawn in another process, the plot must be one that can be pickled.
    markup : str, default=""
        The ``<svg>`` element.
    """

    plot: "Callable[[], Axes]"
    prefix: str
    label: str
    markup: str = ""

    def __html__(self) -> str:
        """Return the ``<svg>`` element; Jinja and MarkupSafe ask for it."""
        return self.markup


# A process that begins takes as long as so many drawings.
_DRAWINGS_PER_PROCESS = 20


def begin_drawing(drawings: Sequence[Drawing], n_jobs: int = 1) -> Callable[[], None]:
    """Begin to draw, in other processes if there is much to draw.

    Parameters
    ----------
    drawings : sequence of Drawing
    n_jobs : int, default=1
        How many are drawn in parallel, as in joblib.

    Returns
    -------
    callable
        To be called once, when the drawings are needed; it waits for those that are being drawn.

    Examples
    --------
    >>> from forgetless.reports import example_results
    >>> from forgetless.reports.plots import plot_forgetting
    >>> drawing = Drawing(lambda: plot_forgetting(example_results()), "f", "Forgetting")
    >>> begin_drawing([drawing])()
    >>> drawing.markup[:4]
    '<svg'
    """
    from joblib import Parallel, delayed, effective_n_jobs

    n_processes = min(effective_n_jobs(n_jobs), 1 + len(drawings) // _DRAWINGS_PER_PROCESS)
    tasks = [delayed(svg)(each.plot, each.prefix, each.label) for each in drawings]
    drawn = Parallel(n_processes, return_as="generator")(tasks)

    def wait() -> None:
        for drawing, markup in zip(drawings, drawn, strict=True):
            drawing.markup = markup

    return wait


def _clean(element: ElementTree.Element, ids: Mapping[str, str], painted: bool) -> None:
    """Shorten what matplotlib wrote; `painted` says that the page's style gives the colours."""
    kind, _, series = element.get("id", "").partition(":")
    exact = element.get("id") in ids  # a marker, which is small
    for name, value in list(element.items()):
        del element.attrib[name]
        if painted and name == "style":
            value = _PAINT.sub("", value).rstrip("; ")
        if new := _attribute(name, value, ids, exact):
            element.set(name, new)
    if series:
        number, family, on = series.split(":")
        element.attrib |= {"class": f"{kind} of-{family} {on}".strip(), "data-series": number}
    kept: list[ElementTree.Element] = []
    for child in element:
        if child.tag in ("metadata", "style"):
            continue
        _clean(child, ids, painted or bool(series))
        bare = child.tag in ("g", "defs") and not child.attrib and (child.tag == "g" or not len(child))
        kept += list(child) if bare else [child]
    element[:] = kept


# What the page's style says of the parts of a strategy, in colour or grey.
_PAINT = re.compile(
    r"(?<![a-z-])(?:(?:fill|stroke)(?:-opacity)?|stroke-(?:width|linecap)|font-(?:weight|size)): [^;]*(?:; |$)"
)


_DECIMALS = re.compile(r"(\.\d)\d+")


def _attribute(name: str, value: str, ids: Mapping[str, str], exact: bool) -> str:
    match name:
        case "id":
            return ids.get(value, "")
        case "href":
            return f"#{ids[value[1:]]}"
        case "clip-path":
            return f"url(#{ids[value[5:-1]]})"
        case "transform" if value.startswith("rotate(-0 "):
            return ""
        case "d":
            return " ".join((value if exact else _DECIMALS.sub(r"\1", value)).split())
        case "x" | "y":
            return _DECIMALS.sub(r"\1", value)
        case "style":
            value = re.sub(r"font-family:[^;]*; |(?:; )?text-anchor: start", "", value)
            return re.sub(r"#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), value)
    return value
