"""Leaderboards as Markdown, LaTeX, HTML, Parquet: the numbers are right, and nothing foreign acts on anything."""

import functools
import html.parser
import io
import math
import re

import numpy as np
import pandas as pd
import pytest
from helpers.results import make_results, rename

from forgetless.reports import (
    METRICS,
    Metric,
    leaderboard,
    overall,
    pivot,
    select,
    summarize,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
    to_parquet,
    to_terminal,
)
from forgetless.reports.contents import contents, render
from forgetless.reports.sheets import sheets

HOSTILE = {
    "html": "<script>alert(1)</script>&amp;\"'><img src=x onerror=alert(1)>",
    "latex": r"\input{/etc/passwd} $x$ % & # _ ^ ~ {a} [b]* \\ \end{tabular}",
    "markdown": "[a](javascript:b) | `c` **d** ![e](https://f.org) www.g.org <b> $h$ i@j.org",
    "formula": '=HYPERLINK("http://x")',
    "bidi": "a\u202eb\u2066c\u200f",
    "control": "a\x1b[31mb\x00c\rd\x9be",
    "space": "a\n\n| b |\n# c",
}
WRITERS = {
    "markdown": to_markdown,
    "latex": to_latex,
    "html": to_html,
    "csv": lambda *boards: "\n".join(to_csv(each if isinstance(each, pd.DataFrame) else each.table) for each in boards),
}


def results(name=None):
    found = make_results(strategies=("Naive", "EWC", "DER++", "Joint"), streams=("digits", "mnist"))
    found.runs.loc[found.runs["strategy"] == "Naive", "estimator"] = "NaiveClassifier"
    if name is not None:
        found = rename(rename(found, "EWC", name), "mnist", f"{name} stream")
        found.runs["keeps"] = found.runs["keeps"].replace("nothing", name)
    return found


@functools.cache
def boards(name):
    found = results(name)
    return [overall(found), leaderboard(found)]


# --- foreign text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_control_or_direction_character_is_sent(writer, kind):
    text = WRITERS[writer](*boards(HOSTILE[kind]))
    assert all(character.isprintable() or character == "\n" for character in text)
    assert text == WRITERS[writer](*boards(HOSTILE[kind]))
    plain = WRITERS[writer](*boards("innocent"))
    assert text.count("\n") == plain.count("\n")


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, sorted(name for name, _ in attrs)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("kind", HOSTILE)
def test_html_has_no_other_elements_whatever_the_names(kind):
    found, plain = Tags(to_html(*boards(HOSTILE[kind]), title=HOSTILE[kind])), Tags(to_html(*boards("innocent")))
    assert found.tags == plain.tags
    if kind == "html":
        assert HOSTILE[kind] in found.text


def tokens(latex):
    """Commands and characters with a meaning, without those that stand for characters."""
    found = re.findall(r"\\[a-zA-Z]+|\\.|[{}$&#%_^~]", latex)
    named = r"\\(text(backslash|ascii\w+|less|greater|bar|quotedbl|quotesingle|periodcentered)|[{}$&#%_])"
    return [each for each in found if not re.fullmatch(named, each)]


@pytest.mark.parametrize("kind", HOSTILE)
def test_latex_has_no_other_commands_whatever_the_names(kind):
    text, plain = to_latex(*boards(HOSTILE[kind])), to_latex(*boards("innocent"))
    others = [[each for each in tokens(each) if each not in "{}"] for each in (text, plain)]
    assert others[0] == others[1]
    bare = re.sub(r"\\[{}\\]", "", text)
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"\\\\\n[\[*]", text)


@pytest.mark.parametrize("kind", HOSTILE)
def test_markdown_tables_keep_their_shape(kind):
    text = to_markdown(*boards(HOSTILE[kind]))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in rows]
    plain = [line for line in to_markdown(*boards("innocent")).splitlines() if line.startswith("|")]
    assert bars == [line.count("|") for line in plain]
    assert "<" not in text
    assert not re.search(r"(?<!\\)[`\[\]]|https?:|www\.|@", text)


# --- what is written ---------------------------------------------------------------------------------------------


def test_the_best_are_bold_and_so_is_what_is_not_shown_to_be_worse():
    found = results()
    found.scores["score"] = found.scores["strategy"].map({"Naive": 0.2, "EWC": 0.5, "DER++": 0.8, "Joint": 0.9})
    found.scores["score"] += found.scores["seed"] / 1000
    board = leaderboard(found)
    assert board.loc[board["best"], "strategy"].tolist() == ["DER++"] * 2
    assert to_markdown(board).count("**") == 2 * 2 * 2
    assert to_latex(board).count(r"\textbf") == 4
    assert to_html(board).count('best"') == 4
    found.scores["n_tested"] = 5
    board = leaderboard(found)
    assert set(board.loc[board["best"], "strategy"]) == {"EWC", "DER++"}
    assert to_latex(board, pivot=True).count(r"\textbf") == 4


def test_latex_is_a_booktabs_table():
    text = to_latex(leaderboard(results()), pivot=True)
    assert [text.count(each) for each in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 5
    assert {line.count(" & ") for line in rows} == {2}
    assert r"\begin{tabular}{lrr}" in text


def test_parquet_has_all_numbers_and_types(tmp_path):
    board = leaderboard(results(HOSTILE["bidi"]))
    to_parquet(board, tmp_path / "a.parquet")
    to_parquet(board, tmp_path / "b.parquet")
    back = pd.read_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(back, board, check_dtype=False)
    assert back["best"].dtype == bool
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    found = overall(results()).table
    to_parquet(found, tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), found, check_dtype=False)


def test_csv_has_columns_of_one_name():
    frame = pd.DataFrame([["a", 1.5, "=x"]], columns=["strategy", "s", "s"])
    assert to_csv(frame) == "strategy,s,s\na,1.5,'=x\n"


def test_costs_are_shown_and_times_of_runs_beside_others_are_marked():
    found = make_results(strategies=("Naive", "EWC"))
    found.experiences = found.experiences.assign(gradient_steps=10, samples_seen=2000, flops=5e6, pickled_bytes=3e3)
    found.runs["n_parallel"] = np.where(found.runs["strategy"] == "EWC", 2, 1)
    board = leaderboard(found)
    assert board.set_index("strategy")["n_beside"].to_dict() == {"Naive": 0, "EWC": 3}
    text = to_markdown(board)
    of = {line.split("|")[1].strip(" *"): line for line in text.splitlines() if line.startswith("|")}
    for shown in ("30", "6 k", "15 M", "3 kB"):  # three experiences; a pickle is that at the end
        assert f" {shown} " in of["Naive"]
    assert "s\\*" in of["EWC"] and "s\\*" not in of["Naive"] and "no measurement" in text
    assert "no measurement" not in to_markdown(leaderboard(found, strategy="Naive"))
    html = render("page.html", title="", given=(), assumptions=(), code="", command="", **contents(found))
    assert " s*<" in html or " ms*<" in html
    assert all(f">{shown}<" in html for shown in ("30", "6 k", "15 M", "3 kB"))


def test_streams_side_by_side():
    board = leaderboard(results())
    wide = pivot(board, "fit_seconds")
    assert list(wide) == ["strategy", "digits", "mnist"]
    for row in board.itertuples():
        assert wide.set_index("strategy").loc[row.strategy, row.stream] == row.fit_seconds
    board["stream"] = board["stream"].replace("mnist", "strategy")
    assert list(pivot(board)) == ["strategy", "digits", "strategy"]
    with pytest.raises(ValueError, match="no column 'speed'"):
        pivot(board, "speed")
    [sheet] = sheets(leaderboard(results()), pivot=True)
    assert [column.title for column in sheet.columns] == ["strategy", "digits, %", "mnist, %"]


def test_all_streams_together_stand_first_in_the_terminal():
    found, file = results(), io.StringIO()
    to_terminal(leaderboard(found), found.runs, overall=overall(found), file=file, width=120)
    text = file.getvalue()
    assert text.index("All streams together") < text.index("digits ·")
    assert "2 data sets decide nothing" in text
    assert "Joint (upper bound)" in text
    for width in (20, 60, 200):
        file = io.StringIO()
        to_terminal(leaderboard(found), found.runs, overall=overall(found), file=file, width=width)
        assert max(map(len, file.getvalue().splitlines())) <= width


# --- metrics and filters -----------------------------------------------------------------------------------------


def test_metrics_of_ones_own():
    worst = Metric("worst", "Worst", lambda R: float(np.min(R[-1])), ("R",), "min_j R[T−1, j]", "me", "score", True)
    found = results()
    board = leaderboard(found, ["forgetting", worst])
    assert list(board)[-3:] == ["forgetting", "worst", "keeps"]
    by_hand = found.scores[found.scores["trained_on"] == 2].groupby(["stream", "strategy", "seed"])["score"].min()
    for row in board.itertuples():
        assert row.worst == pytest.approx(by_hand[row.stream, row.strategy].mean())
    assert "worst" in to_markdown(board)
    assert summarize(found, [worst])["metric"].unique().tolist() == ["worst"]
    assert list(leaderboard(found, "intransigence"))[-2:] == ["intransigence", "keeps"]
    for name in ("score", "average_accuracy"):
        with pytest.raises(ValueError, match="is taken"):
            leaderboard(found, [Metric(name, "x", max, ("R",), "", "", "score", True)])
    with pytest.raises(ValueError, match="Unknown metric 'nope'; choose from average_accuracy"):
        leaderboard(found, ["nope"])


def test_what_is_not_shown_still_counts_as_a_reference():
    found = results()
    whole = leaderboard(found, ["intransigence"])
    part = leaderboard(found, ["intransigence"], family="regularization", stream="mnist")
    [row] = part.to_dict("records")
    same = whole[(whole["strategy"] == "EWC") & (whole["stream"] == "mnist")].iloc[0]
    assert row["strategy"] == "EWC"
    assert row["intransigence"] == same["intransigence"]
    assert row["best"]
    together = overall(found, strategy=["EWC", "DER++"])
    everything = overall(found).table.set_index("strategy")
    columns = ["gap", "gap_low", "gap_high", "probability", "n_seeds", "seconds"]
    pd.testing.assert_frame_equal(
        together.table.set_index("strategy")[columns], everything.loc[together.table["strategy"], columns]
    )


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"family": "magic"}, "no family 'magic' in these results; there are: external, regularization, replay"),
        ({"stream": ["digits", "cifar"]}, "no stream 'cifar' in these results; there are: digits, mnist"),
        ({"family": "replay", "keeps": "nothing"}, "No run has family 'replay' and keeps 'nothing'.*keeps: samples"),
        ({"colour": "red"}, "filtered by 'colour'; choose from stream"),
    ],
)
def test_filters_that_match_nothing_say_what_there_is(wanted, words):
    with pytest.raises(ValueError, match=words):
        leaderboard(results(), **wanted)


def test_filters_select_cells_and_what_belongs_to_them():
    found = results()
    part = select(found, strategy=["EWC", "Joint"], scenario="class", stream=None)
    assert set(part.runs["strategy"]) == {"EWC", "Joint"}
    assert set(part.scores["cell"]) == set(part.runs["cell"]) == set(part.experiences["cell"])
    assert len(select(found).runs) == len(found.runs)


def test_leaderboards_of_nothing_and_of_failures_stand():
    found = make_results(strategies=("Naive", "EWC"), seeds=(0,), n=1, failed=[("EWC", 0)])
    for text in (
        to_markdown(overall(found), leaderboard(found)),
        to_latex(leaderboard(found)),
        to_html(overall(found)),
    ):
        assert "EWC" in text
    assert to_markdown(leaderboard(found)[:0]) == ""
    assert "<table>" not in to_html(leaderboard(found)[:0])
    found.runs["status"] = "failed"
    assert overall(found).table["n_failed"].tolist() == [1, 1]
    assert "Nothing can be compared" in overall(found).notes[0]
    assert math.isnan(overall(found).table["gap"][0])
    assert "forgetting" in METRICS
