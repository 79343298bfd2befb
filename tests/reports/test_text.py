"""The leaderboard as CSV, as Markdown and in the terminal."""

import io
import math
import re

import pandas as pd
import pytest
from helpers.results import cell, make_results, rename, together
from rich.cells import cell_len

from forgetless.reports import leaderboard, to_csv, to_markdown, to_terminal, write_html
from forgetless.reports.tables import LEADERBOARD_COLUMNS


def test_csv_has_the_columns_and_full_precision():
    board = leaderboard(make_results())
    back = pd.read_csv(io.StringIO(to_csv(board)))
    assert list(back.columns) == LEADERBOARD_COLUMNS
    pd.testing.assert_frame_equal(back, board, check_dtype=False)


def test_markdown_escapes_names():
    board = leaderboard(rename(make_results(), "EWC", "a|b\\c\n<img src=x>*[x](y)`"))
    text = to_markdown(board)
    assert r"a\|b\\c &lt;img src=x&gt;\*\[x\](y)\`" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert len(rows) == 5


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_terminal_is_plain_in_a_file_and_coloured_in_a_terminal(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    board, file, terminal = leaderboard(make_results()), io.StringIO(), Terminal()
    to_terminal(board, file=file)
    assert "\x1b" not in file.getvalue()
    assert all(name in file.getvalue() for name in ("Joint", "EWC", "DER++", "digits", "samples", "±", "━"))
    to_terminal(board, file=terminal, width=120)
    assert "\x1b[" in terminal.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_terminal_fits_the_width(width):
    file, results = io.StringIO(), make_results(failed=[("EWC", 0)])
    to_terminal(leaderboard(results), results.runs, file=file, width=width)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("accura" in line for line in lines)
    assert ("learned" in file.getvalue()) == (width >= 120)


def test_columns_stand_below_each_other_whatever_the_width_of_characters():
    file = io.StringIO()
    to_terminal(leaderboard(rename(make_results(), "EWC", "増分学習")), file=file, width=160)
    _, *table = file.getvalue().strip().splitlines()
    assert len({cell_len(line[: line.rindex(line.split()[-1])]) for line in table}) == 1
    assert all(line == line.rstrip() for line in table)


def test_in_a_narrow_terminal_names_are_cut_before_scores():
    file, name = io.StringIO(), "a name that is longer than the terminal"
    to_terminal(leaderboard(rename(make_results(), "EWC", name)), file=file, width=30)
    [row] = [line for line in file.getvalue().splitlines() if "a name" in line]
    assert re.fullmatch(r"\d  a name.*…  .*\d.*[\d\]]", row)


def test_terminal_neutralises_names_and_shows_failures_on_a_line():
    results = rename(make_results(failed=[("EWC", 1)]), "EWC", "[red]evil\x1b]0;owned\x07\x9b31m\nname")
    results.runs.loc[results.runs["status"] == "failed", "error"] = "first\r\nsecond \x1b[2J [/red]"
    file = io.StringIO()
    to_terminal(leaderboard(results), results.runs, file=file, width=200)
    text = file.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert r"[red]evil\x1b]0;owned\x07\x9b31m name on digits, seed 1: first second \x1b[2J [/red]" in text
    assert "1 failed" in text


def test_terminal_of_another_encoding_gets_ascii():
    results, raw = rename(make_results(), "EWC", "größer"), io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    to_terminal(leaderboard(results), results.runs, file=file, width=120)
    file.flush()
    text = raw.getvalue().decode("ascii")
    assert "+/-" in text
    assert "###" in text
    assert r"gr\xf6\xdfer" in text


def test_an_interval_that_was_clipped_is_not_printed_as_symmetric(tmp_path):
    """Accuracies of 0.98 and 1: their mean is 0.99 and the half-width of Student's interval 12.706 x 0.01."""
    results = make_results(strategies=["EWC"], seeds=(0, 1), n=1)
    results.scores["score"] = results.scores["seed"].map({0: 0.98, 1: 1.0})
    results.scores["n_tested"] = math.nan  # as older versions stored it: seeds alone make the interval
    board, file = leaderboard(results), io.StringIO()
    assert board.loc[0, ["score_ci_low", "score_ci_high"]].tolist() == pytest.approx([0.8629380, 1.0])
    to_terminal(board, file=file)
    write_html(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for text in (file.getvalue(), to_markdown(board).replace("\\", ""), page):
        assert "99.0 [86.3, 100.0]" in text
        assert "99.0 ±" not in text


def test_every_stream_is_shown_in_its_own_score(tmp_path):
    """Accuracy in percent, R2 and errors as numbers with their names; each by what its protocol measures."""
    nothing = [math.nan] * 2
    results = together(
        cell([nothing, [1.0, math.nan], [0.5, 0.75]], evaluate="seen", stream="digits", cell="a"),
        cell(
            [[math.nan] * 2, [math.nan, -0.375], nothing],
            [(1, 0, 1, 10, -0.375)],
            evaluate="prequential",
            scorer="r2",
            stream="flights",
            cell="b",
        ),
        cell(
            [nothing, [-1.5, math.nan], [math.nan, -3.0]],
            [],
            "current",
            "neg_mean_absolute_error",
            stream="x",
            cell="c",
        ),
    )
    board, file = leaderboard(results), io.StringIO()
    assert board["score"].tolist() == [0.625, -0.375, -2.25]
    to_terminal(board, results.runs, file=file)
    write_html(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    heads = [("accuracy, %", "62.5"), ("prequential R2", "−0.375"), ("learning neg_mean_absolute_error", "−2.25")]
    for text in (file.getvalue(), to_markdown(board).replace("\\", ""), page):
        for head, value in heads:
            assert head in text
            assert value in text
        assert "−37.5" not in text
        assert "−225" not in text
    assert "on the next rows, before they are learned" in page
