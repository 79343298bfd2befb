"""Plots: what they show is what the tables say."""

import math
import re
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers.results import cell, make_results, rename, together
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from forgetless.reports import (
    example_results,
    figures,
    leaderboard,
    plot_comparisons,
    plot_cost,
    plot_curves,
    plot_forgetting,
    plot_matrix,
    plot_profiles,
    plot_stability_gap,
    plot_stability_plasticity,
    plots,
)
from forgetless.reports.statistics import comparison_matrix, gap_closed, performance_profiles
from forgetless.reports.tables import accuracy_curves, accuracy_matrices, run_scores

HOSTILE = "<b>&$x^2$\\frac\x1b[31m\x00\u202e_%#{}" + "x" * 300


@pytest.fixture
def ax():
    return Figure().add_subplot()


def naive(results):
    """EWC stands for plain training, with low scores."""
    results.runs.loc[results.runs["strategy"] == "EWC", "estimator"] = "NaiveClassifier"
    results.scores.loc[results.scores["strategy"] == "EWC", "score"] *= 0.1
    return results


def everything(results, strategy="DER++"):
    """Draw all plots."""
    draws = [
        plot_curves,
        plot_cost,
        plot_forgetting,
        plot_stability_plasticity,
        plot_profiles,
        plot_comparisons,
        lambda results, ax: plot_matrix(results, strategy, ax=ax),
    ]
    return [draw(results, ax=Figure().add_subplot()) for draw in draws]


def parts(ax, kind):
    """The artists of a kind, by the number of their strategy."""
    known = [artist for artist in (*ax.lines, *ax.texts, *ax.patches) if str(artist.get_gid()).startswith(f"{kind}:")]
    return {int(artist.get_gid().split(":")[1]): artist for artist in known}


def test_curves_are_those_of_the_table(ax):
    results = make_results()
    assert plot_curves(results, highlight=["EWC"], ax=ax) is ax
    lines, frame = parts(ax, "line"), accuracy_curves(results)
    for number, strategy in enumerate(results.runs["strategy"].unique()):
        rows = frame[frame["strategy"] == strategy]
        assert np.allclose(lines[number].get_xydata(), rows[["experience", "mean"]])
        assert to_hex(lines[number].get_color()) == ("#2872af" if strategy == "EWC" else figures.FAINT)
    [band] = [each for each in ax.collections if each.get_gid() == "band:1:regularization:on"]
    assert band.get_paths()[0].get_extents().ymax == pytest.approx(
        frame.loc[frame["strategy"] == "EWC", "ci_high"].max()
    )
    assert {text.get_text() for text in ax.texts} == {"Joint", "EWC", "DER++"}


@pytest.mark.parametrize("cost", ["seconds", "fit_seconds", "predict_seconds"])
def test_costs_and_their_front(ax, cost):
    results = make_results(strategies=["Joint", "EWC", "DER++", "a", "b"])
    plot_cost(results, cost=cost, ax=ax)
    board = plots.costs(leaderboard(results)).set_index("strategy")
    points = parts(ax, "point") | parts(ax, "hollow")
    for number, strategy in enumerate(results.runs["strategy"].unique()):
        assert points[number].get_xydata()[0] == pytest.approx(board.loc[strategy, [cost, "score"]].to_list())
    candidates = board.drop(index="Joint")
    front = {
        name
        for name, row in candidates.iterrows()
        if not any(
            other[cost] <= row[cost]
            and other["score"] >= row["score"]
            and (other[cost] < row[cost] or other["score"] > row["score"])
            for _, other in candidates.iterrows()
        )
    }
    filled = {results.runs["strategy"].unique()[number] for number in parts(ax, "point")}
    assert filled == front == set(plots.pareto(candidates.reset_index(), cost))


def test_front_keeps_ties_and_leaves_out_the_unknown():
    frame = pd.DataFrame(
        {"strategy": list("abcdef"), "seconds": [2, 1, 3, 1, math.nan, 1], "score": [0.5, 0.6, 0.9, 0.4, 1, 0.6]}
    )
    assert plots.pareto(frame) == ["b", "f", "c"]


def test_forgetting_stands_in_order(ax):
    results = make_results()
    plot_forgetting(results, highlight=[], ax=ax)
    board = leaderboard(results).sort_values("forgetting")
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(board["forgetting"].to_list())
    assert [text.get_text() for text in ax.texts] == board["strategy"].to_list()
    assert {to_hex(bar.get_facecolor()) for bar in ax.patches} == {figures.FAINT}


def test_stability_and_plasticity(ax):
    results = make_results()
    plot_stability_plasticity(results, ax=ax)
    board = leaderboard(results).set_index("strategy")
    for number, point in parts(ax, "point").items():
        expected = board.loc[results.runs["strategy"].unique()[number], ["learning_accuracy", "forgetting"]]
        assert point.get_xydata()[0] == pytest.approx(expected.to_list())
    low, high = ax.get_ylim()
    assert low > high  # less forgetting is higher


def test_matrix(ax):
    results = make_results()
    plot_matrix(results, "EWC", ax=ax)
    matrix = accuracy_matrices(results)["digits", "EWC"].mean(axis=0)
    assert [int(text.get_text()) for text in ax.texts] == np.round(100 * matrix).astype(int).ravel().tolist()
    place = {text.get_text(): text.get_position() for text in ax.texts}
    assert place[str(round(100 * matrix[2, 0]))] == (0.5, 2.5)
    area = sum(len(patch.get_path().to_polygons()) for patch in ax.patches)
    assert area == matrix.size
    # The darkest cells keep numbers legible.
    assert max(patch.get_alpha() for patch in ax.patches) <= 0.7


def test_large_matrices_have_no_numbers_and_stay_small(ax):
    matrix = np.random.default_rng(0).random((100, 100))
    plots.draw_matrix(matrix, ax=ax)
    assert not ax.texts
    assert len(ax.patches) <= 25
    assert len(figures.svg(lambda: plots.draw_matrix(matrix), "m", "")) < 100 * matrix.size


def test_profiles(ax):
    results = naive(make_results(seeds=range(6)))
    plot_profiles(results, highlight=["DER++"], ax=ax)
    rows = performance_profiles(gap_closed(run_scores(results)).table)
    rows = rows[rows["strategy"] == "DER++"]
    line = next(line for line in ax.lines if line.get_gid() == "line:2:replay:on")
    assert np.allclose(line.get_xydata(), rows[["threshold", "share"]])


def test_comparisons(ax):
    results = naive(make_results(seeds=range(8)))
    plot_comparisons(results, ax=ax)
    pairs = comparison_matrix(gap_closed(run_scores(results)).table)
    names = [label.get_text() for label in ax.get_yticklabels()]
    texts = {text.get_position(): text for text in ax.texts}
    assert len(texts) == 2 * len(pairs)
    for row in pairs.itertuples():
        i, j = names.index(row.strategy), names.index(row.other)
        for place, difference, share in (
            ((j + 0.5, i + 0.5), row.difference, row.probability),
            ((i + 0.5, j + 0.5), -row.difference, 1 - row.probability),
        ):
            number, said = texts[place].get_text().split("\n")
            assert float(number.replace("−", "-")) == pytest.approx(100 * difference, abs=0.0501)
            assert float(said.removeprefix("P ")) == pytest.approx(share, abs=0.00501)
            assert (texts[place].get_fontweight() == "bold") == (row.p_holm < 0.05)


def test_the_stability_gap_is_where_evaluations_were(ax):
    """On experience 1: 1.0 when it is learned, 0.2 in the middle of the second one, 0.8 at its end."""
    nan = math.nan
    results = cell([[nan, nan], [1.0, nan], [0.8, 1.0]], [(0, 5, 0, 8, 0.5), (1, 5, 0, 8, 0.2), (1, 5, 1, 8, 0.9)])
    plot_stability_gap(results, highlight=["EWC"], ax=ax)
    [line] = parts(ax, "line").values()
    assert line.get_xydata().tolist() == [[1.0, 1.0], [1.5, 0.2], [2.0, 0.8]]


def test_the_stability_gap_is_the_mean_of_seeds_at_common_times():
    nan = math.nan
    seeds = [
        cell([[nan, nan], [1.0, nan], [score, 1.0]], [(1, rows, 0, 8, score)], cell=str(seed), seed=seed)
        for seed, rows, score in ((0, 5, 0.2), (1, 2, 0.6))
    ]
    frame = plots.recovery(together(*seeds))
    assert frame["experience"].to_list() == [1.0, 1.2, 1.5, 2.0]
    assert frame["mean"].to_list() == pytest.approx([1.0, (1 - 0.8 * 0.4 + 0.6) / 2, 0.4, 0.4])


def test_no_stability_gap_without_evaluations():
    with pytest.raises(ValueError, match=r"within later experiences.*eval_every"):
        plot_stability_gap(make_results())


def test_what_is_named_has_to_be_there():
    results = make_results(streams=("digits", "wine"))
    with pytest.raises(ValueError, match="2 streams; name one with stream=: digits, wine"):
        plot_curves(results)
    with pytest.raises(ValueError, match="no stream 'mnist' in these results; there are: digits, wine"):
        plot_cost(results, "mnist")
    with pytest.raises(ValueError, match="no strategy 'SI' in these results; there are: DER"):
        plot_curves(results, "wine", highlight=["SI"])
    with pytest.raises(TypeError, match=r"list of names.*Write \['SI'\]"):
        plot_curves(results, "wine", highlight="SI")
    with pytest.raises(ValueError, match="Unknown cost 'bytes'; choose from seconds, fit_seconds"):
        plot_cost(results, "wine", cost="bytes")
    with pytest.raises(ValueError, match="No run of 'SI' finished on 'wine'"):
        plot_matrix(results, "SI", "wine")
    with pytest.raises(ValueError, match=r"No stream has a gap .*digits: no run of plain training finished"):
        plot_profiles(results)


def test_hostile_names_are_labels_and_nothing_else():
    results = naive(rename(make_results(seeds=range(3)), "DER++", HOSTILE))
    for axes in everything(results, HOSTILE):
        figure = axes.figure
        text = figures.svg(lambda axes=axes: axes, "f", "x")
        root = ElementTree.fromstring(text)
        assert {each.tag for each in root.iter()} <= {
            "svg",
            "g",
            "path",
            "use",
            "text",
            "tspan",
            "defs",
            "clipPath",
            "rect",
        }
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert max((len(each.text or "") for each in root.iter("text")), default=0) < 100
        figure.canvas.draw()  # as pixels: no formula is tried


def test_settings_of_the_user_change_nothing_and_stay():
    def drawn():
        return [figures.svg(lambda axes=axes: axes, "f", "x") for axes in everything(naive(make_results()))]

    expected = drawn()
    with mpl.rc_context({"font.size": 40, "lines.linewidth": 9, "text.usetex": True, "axes.grid": True}):
        before = dict(mpl.rcParams)
        # Axes that are given are the user's; their size is, too.
        ax = plot_curves(make_results(), highlight=[], ax=Figure().add_subplot())
        assert not any(text.get_usetex() for text in ax.texts)
        assert figures.svg(lambda: plot_curves(make_results()), "f", "x") == figures.svg(
            lambda: plot_curves(make_results()), "f", "x"
        )
        assert dict(mpl.rcParams) == before
    assert drawn() == expected


def test_new_axes_are_those_of_pyplot():
    """In a notebook they show themselves."""
    ax = plot_curves(example_results())
    assert plt.gcf() is ax.figure
    plt.close(ax.figure)


@pytest.mark.parametrize(("low", "high"), [(0.91, 0.99), (0.8, 0.99), (0.62, 0.88), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)])
def test_ticks_of_accuracy_are_even(low, high):
    frame = pd.DataFrame({"strategy": "a", "experience": [1, 2], "mean": [low, high], "ci_low": low, "ci_high": high})
    looks = figures.looks(pd.DataFrame({"strategy": ["a"], "family": ["replay"]}))
    root = ElementTree.fromstring(figures.svg(lambda: plots.draw_curves(frame, looks, ["a"]), "f", "x"))
    labels = [int(found[1]) for each in root.iter("text") if (found := re.fullmatch(r"(\d+) %", each.text or ""))]
    assert len(labels) >= 4
    assert len(set(np.diff(labels))) == 1
    assert labels[0] <= 100 * low + 2.5 and labels[-1] >= 100 * high - 20


def test_scores_without_bounds_have_plain_ticks():
    frame = pd.DataFrame({"strategy": "a", "experience": [0.5, 1, 2], "mean": [-50.0, -20, -10], "ci_low": -60.0})
    looks = figures.looks(pd.DataFrame({"strategy": ["a"], "family": ["replay"]}))
    ax = Figure().add_subplot()
    plots.draw_curves(frame.assign(ci_high=-5.0), looks, [], "neg_mean_squared_error", ax)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert "−40" in labels and not any("%" in label for label in labels)
    assert ax.get_ylabel() == "neg_mean_squared_error"


def test_example_results_have_all_plots():
    everything(example_results(), "Replay")
    plot_stability_gap(example_results(), ax=Figure().add_subplot())
