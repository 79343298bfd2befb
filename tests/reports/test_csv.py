"""CSV: nothing in it acts on a terminal or a spreadsheet, and numbers stay numbers."""

import io
import math

import pandas as pd
import pytest
from helpers.results import make_results, rename

from forgetless.reports import leaderboard, to_csv


def cell(text):
    [row] = pd.read_csv(io.StringIO(to_csv(pd.DataFrame({"name": [text]}))), dtype=str, keep_default_na=False)["name"]
    return row


STARTS = ["", " ", "\t", "\r", "\n", "\r\n", "\x0b", "\x00", "\ufeff", "\u200b", "\xa0"]


@pytest.mark.parametrize(
    "formula",
    ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", "＝1+1", "＋1", "－1", "＠x", "-inf", "-nan"],
)
def test_formulas_are_texts(formula):
    texts = {start: cell(start + formula) for start in STARTS}
    assert {start for start, text in texts.items() if text[0] in "=+-@＝＋－＠\t\r\n"} == set()
    assert {start for start, text in texts.items() if formula not in text} == set()


@pytest.mark.parametrize("text", ["Naive", "a=b", "2-layer", "a@b", "it's", 'a "b", c', "größer 模型", "a'=b"])
def test_other_texts_stay_as_they_are(text):
    assert cell(text) == text


@pytest.mark.parametrize("text", ["-1.5", "+2", "-1e-3", "7", "-0"])
def test_numbers_that_are_texts_stay_numbers(text):
    assert cell(text) == text


def test_control_characters_are_not_sent():
    for character in map(chr, [*range(32), 127, *range(0x80, 0xA0), 0x202E, 0x2066, 0x2028]):
        written = to_csv(pd.DataFrame({"name": [f"a{character}b", "c"], f"x{character}y": [1, 2]}))
        assert all(c.isprintable() or c == "\n" for c in written), ascii(character)
        assert written.count("\n") == 3, ascii(character)


def test_numbers_are_written_in_full():
    values = [-0.1, 1 / 3, -1e-300, math.inf, -math.inf, math.nan]
    frame = pd.DataFrame({"a": values, "b": pd.array([-1, None, 2, 3, 4, 5], "Int64"), "c": [True, False] * 3})
    frame["d"] = pd.Series([-0.5, None, "x", "=y", -3, True], dtype=object)
    back = pd.read_csv(io.StringIO(to_csv(frame)))
    assert back["a"].tolist()[:5] == values[:5]
    assert back["b"].dropna().tolist() == [-1, 2, 3, 4, 5]
    assert back["c"].tolist() == [True, False] * 3
    assert back["d"].tolist()[2:] == ["x", "'=y", "-3", "True"]


def test_an_empty_table_has_a_header():
    assert to_csv(pd.DataFrame({"a": [], "=b": []})) == "a,'=b\n"


def test_a_leaderboard():
    board = leaderboard(rename(make_results(), "EWC", '=HYPERLINK("http://x")\x1b[31m'))
    written = to_csv(board)
    assert "\x1b" not in written
    names = pd.read_csv(io.StringIO(written))["strategy"]
    assert '\'=HYPERLINK("http://x")\\x1b[31m' in set(names)
