"""The page: it stands alone, is safe, and has everything; also when results are incomplete."""

import base64
import hashlib
import io
import math
import os
import re
import tomllib
import warnings
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.pages import check_markup
from helpers.results import cell, incomplete, made, make_results, rename, together

from forgetless.reports import (
    METRICS,
    cell_metrics,
    figures,
    leaderboard,
    to_csv,
    to_markdown,
    to_terminal,
    write_html,
)

HOSTILE = "<script>alert(1)</script></svg></style>\"'&|$x^2$\x1b[31m\x00\u202e{{ 7*7 }}"


def html(results, tmp_path, **options):
    path = tmp_path / "report.html"
    write_html(results, path, **options)
    return path.read_text(encoding="utf-8")


def nothing():
    """Results of nothing, whose page is written soon."""
    return SimpleNamespace(**{name: frame[:0] for name, frame in vars(make_results()).items()})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of results that stand for any."""
    return html(make_results(), tmp_path_factory.mktemp("page"))


def test_the_page_stands_alone_and_shows_everything(tmp_path):
    results = make_results(streams=("digits", "wine"), failed=[("EWC", 1)])
    page = html(results, tmp_path, title="A title & more")
    text = " ".join(" ".join(check_markup(page).text).split())
    assert "<title>A title &amp; more</title>" in page
    for expected in ("digits", "wine", "Joint", "EWC", "DER++", "a machine", "python 3.11", "2020-02-03", "0, 1, 2"):
        assert expected in text
    for metric in METRICS.values():
        assert metric.name in text
        assert metric.formula in text
        assert metric.source in text
    assert "ValueError: the loss is nan" in text
    assert "upper bound" in text
    assert "prefers-color-scheme: dark" in page
    labels = re.findall(r'<svg [^>]*aria-label="([^"]*)"', page)
    for stream in ("digits", "wine"):
        mine = page[page.index(f">{stream}</h2>") :].partition("</section>")[0]
        assert mine.count("<svg") == 8  # score by cost (two), by experience, forgetting, plasticity, three matrices
    assert any(label.startswith("Accuracy against time to fit and predict") for label in labels)
    assert "Differences of each strategy from each other one" in labels


def test_colours_of_figures_follow_the_page(page):
    svgs = " ".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "var(--ink)" in svgs
    assert not re.search("#[0-9a-f]{6}", svgs)
    style = page[page.index("<style>") : page.index("</style>")]
    for variable in set(re.findall(r"var\((--[a-z0-9-]+)[,)]", page)) - {"--v", "--c", "--p"}:
        assert style.count(f"{variable}:") in (1, 2), variable
    for name, family in figures.FAMILIES.items():
        assert f"--family-{name}: {family.light};" in style
        assert f"--family-{name}: {family.dark};" in style
        assert f".of-{name} {{" in style


def test_what_a_filter_asks_for_is_there(page):
    rows = re.findall(r'<tr data-series="(\d)" data-family="([a-z]*)" data-keeps="([a-z]*)">', page)
    assert sorted(rows) == [
        ("0", "baselines", "samples"),
        ("1", "regularization", "nothing"),
        ("2", "replay", "samples"),
    ]


def test_the_answer_stands_first_and_says_what_is_not_known(tmp_path):
    page = html(make_results(), tmp_path, command="forgetless run 'my suite'")
    text = " ".join(" ".join(check_markup(page).text).split())
    first, last = text.index("The answer"), text.index("Leaderboard Gap closed")
    for said in (
        "No verdict: 3 seeds of one data set decide nothing. Ahead so far is",
        "What cannot be concluded",
        "no exact paired test of fewer than 6 seeds can reach 5 %",
        "Whether anything is gained: plain training was not run",
        "Whether other parameters change the order",
    ):
        assert first < text.index(said) < last
    assert text.index("forgetless run 'my suite'") > text.index("Where and with what")


def test_nothing_dominated_is_recommended_or_ahead(tmp_path):
    """The dear one scores the highest by less than the noise; the cheap one dominates the third."""
    rng = np.random.default_rng(0)
    means = np.array([0.5, 0.9, 0.9, 0.85])
    scores = np.clip(rng.normal(means, 0.01, size=(1, 8, 1, 4)), 0, 1)
    results = made(["Naive", "cheap", "dear", "dominated"], scores, np.array([[1.0, 2.0, 50.0, 40.0]]))
    results.runs = results.runs.assign(
        family="own", source="", params="{}", machine="a", device="cpu", versions="{}", started="2020-01-01", error=None
    )
    page = html(results, tmp_path)
    assert "Use cheap: it is the cheapest of those shown to be better than Naive (8 seeds)." in page
    assert not re.search(r'<p class="answer"><span class="name"><i[^>]*></i>dominated', page)
    assert "dominated" not in page[page.index('id="answer"') : page.index("What cannot be concluded")]
    front = re.search(
        r">dominated</span>.*?<td>(yes|no)</td></tr>", page[page.index("Pareto front") :], flags=re.DOTALL
    )
    assert front[1] == "no"


def test_ties_are_marked_and_nothing_is_bold(page):
    board = leaderboard(make_results())
    brief = re.search(r'<table class="brief">(?:(?!</table>).)*Pareto front.*?</table>', page, flags=re.DOTALL)[0]
    for row in board.itertuples():
        cells = re.search(rf">{re.escape(row.strategy)}</span>.*?</tr>", brief, flags=re.DOTALL)[0]
        assert ("≈" in cells) == bool(row.best)
    assert board["best"].sum() == 2  # of three, one is the upper bound
    assert not re.search(r"<(b|strong)>", page)


def test_failed_runs_are_marked_where_their_strategy_stands(tmp_path):
    page = html(make_results(failed=[("EWC", 0), ("EWC", 2)]), tmp_path)
    assert page.count('<span class="tag bad">2 runs failed</span>') >= 3
    everything = make_results(failed=[(s, k) for s in ("Joint", "EWC", "DER++") for k in range(3)])
    assert "Every run failed: there is no answer." in html(everything, tmp_path)
    alone = html(make_results(["EWC"], seeds=[0]), tmp_path)
    assert "No verdict: 1 seed of one data set decides nothing. There is nothing to compare EWC with." in alone
    assert "1 seed gives no verdict, 6 may.</p>" in alone
    assert "No results yet" in html(nothing(), tmp_path)


def test_streams_of_different_scores_have_no_common_answer(tmp_path):
    nan = math.nan
    results = together(
        cell([[nan, nan], [1.0, nan], [0.5, 0.75]], stream="digits", cell="a"),
        cell([[nan, nan], [-1.0, nan], [-2.0, 0.5]], scorer="r2", stream="flights", cell="b"),
    )
    page = html(results, tmp_path)
    assert "The streams have different scores (accuracy, r2), which have no mean: see each stream." in page


def test_the_rows_behind_a_score_are_told(tmp_path):
    results = make_results(["EWC"])
    results.scores["n_tested"] = 1200
    assert '<td class="n">3,600</td>' in html(results, tmp_path)  # of three experiences
    results.scores["n_tested"] = math.nan
    assert "3,600" not in html(results, tmp_path)


def test_hostile_text_stays_text(tmp_path):
    results = rename(make_results(failed=[("EWC", 0)]), "EWC", HOSTILE)
    results = rename(results, "digits", HOSTILE + "stream")
    results.runs["error"] = results.runs["error"].where(results.runs["status"] == "ok", HOSTILE)
    for column in ("estimator", "family", "source", "params", "machine", "device", "versions", "keeps"):
        results.runs.loc[results.runs["strategy"] == HOSTILE, column] = HOSTILE
    page = html(results, tmp_path, title=HOSTILE)
    text = "".join(check_markup(page).text)
    assert "<script>alert(1)</script></svg></style>" in text
    assert "$x^2$" in text
    assert "{{ 7*7 }}" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)


def test_no_column_can_add_markup(tmp_path):
    """Whatever text a store has, in whatever column, the elements of the page are the same."""
    results = make_results(failed=[("EWC", 0)])
    tags = check_markup(html(results, tmp_path)).tags
    # What these say decides what the page shows.
    deciding = ["cell", "status", "protocol", "family", "needs_task_id", "estimator", "strategy", "stream", "scenario"]
    columns = results.runs.select_dtypes(exclude="number").columns.difference(deciding)
    assert len(columns) > 5
    for column in columns:
        results.runs[column] = HOSTILE
    found = check_markup(html(results, tmp_path)).tags
    assert sorted(found) == sorted(tags)


def test_the_policy_of_the_page_allows_its_script_and_no_other(page):
    script = re.search(r"<script>(.*)</script>", page, flags=re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


def test_dollars_in_names_are_no_formula(tmp_path):
    page = html(rename(make_results(), "EWC", "cost $5$ or \\frac"), tmp_path)
    assert page.count("cost $5$ or \\frac") > 5


def test_the_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_html(nothing(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_the_file_has_usual_permissions(tmp_path):
    write_html(nothing(), tmp_path / "report.html")
    (tmp_path / "plain").touch()
    assert (tmp_path / "report.html").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"The folder .*nowhere does not exist"):
        write_html(nothing(), tmp_path / "nowhere" / "report.html")


def test_low_class_incremental_accuracies_are_explained_only_where_they_occur(page, tmp_path):
    heading = "Why regularisation methods score so low"
    assert heading in page
    assert "1/T = 33.3 %" in page
    assert heading not in html(make_results(scenario="task"), tmp_path)
    assert heading not in html(make_results(strategies=["Joint", "DER++"]), tmp_path)


@pytest.mark.parametrize("results", [pytest.param(results, id=name) for name, results in incomplete()])
def test_incomplete_results_are_reported_silently(results, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        board = leaderboard(results)
        assert len(cell_metrics(results)) == len(results.runs)
        assert len(board) == len(results.runs.groupby(["stream", "strategy"]))
        to_csv(board)
        to_markdown(board)
        to_terminal(board, results.runs, file=io.StringIO())
        check_markup(html(results, tmp_path))


def test_tuned_strategies_are_said_to_be(page, tmp_path):
    results = make_results()
    said = "parameters were chosen on rows held out"
    assert said not in page
    results.runs.loc[results.runs["strategy"] == "EWC", "estimator"] = "ContinualSearchCV"
    assert said in html(results, tmp_path)


def test_the_table_of_a_curve_has_a_place_for_who_answers_untrained(tmp_path):
    chunks = [(0, 0, 0, 10, 0.1), (0, 10, 0, 10, 0.2), (1, 0, 1, 20, 0.3)]
    matrix = [[0.15, math.nan], [math.nan, 0.3], [math.nan, math.nan]]
    results = together(
        cell(matrix, chunks[1:], "prequential", cell="a", strategy="late"),
        cell(matrix, chunks, "prequential", cell="b", strategy="early"),
    )
    page = html(results, tmp_path)
    rows = re.findall(r'<tr><th scope="row"><span class="name">(?:late|early)</span></th><td.*?</tr>', page)[:2]
    assert [re.findall(r'<td class="n">([^<]*)</td>', row) for row in rows] == [
        ["–", "20.0", "30.0"],
        ["10.0", "20.0", "30.0"],
    ]


def test_templates_are_package_data():
    names = {entry.name for entry in (files("forgetless.reports") / "templates").iterdir()}
    assert {"page.html", "page.css", "page.js"} <= names
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert "templates/*" in project["tool"]["setuptools"]["package-data"]["forgetless.reports"]
