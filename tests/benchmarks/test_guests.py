"""Guests in a cell: their answers are checked, their data protected, and what they raise is an error of the cell."""

import pytest
from helpers import guests
from helpers.benchmarks import iris, run
from pandas.testing import assert_series_equal
from sklearn.naive_bayes import GaussianNB


def beside_a_good_one(guest, **options):
    """Run a guest and a strategy that is in order; returns the guest's row, and both strategies' scores."""
    results = run({"guest": guest, "good": GaussianNB()}, [iris()], **options)
    runs = results.runs.set_index("strategy")
    assert runs.loc["good", "status"] == "ok"
    scores = {name: rows.reset_index(drop=True) for name, rows in results.scores.groupby("strategy")["score"]}
    return runs.loc["guest"], scores


@pytest.mark.parametrize("kind", [guests.Columns, guests.Lists, guests.Objects])
def test_answers_in_another_form_count_as_they_are(kind):
    guest, scores = beside_a_good_one(kind())
    assert guest["error"] is None
    assert_series_equal(scores["guest"], scores["good"], check_exact=True)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (guests.OneAnswer, "ValueError: Found input variables with inconsistent numbers of samples"),
        (guests.TooManyAnswers, "ValueError: Found input variables with inconsistent numbers of samples"),
        (guests.Scalars, "ValueError: y should be a 1d array"),
        (guests.Texts, "ValueError: Mix of label input types (string and number)"),
        (guests.Masked, "ValueError: Some predictions are masked"),
        (guests.Holes, "ValueError: Input y_pred contains NaN"),
        (guests.Nothing, "y should be a 1d array"),
        (guests.Probabilities, "ValueError: y should be a 1d array"),
        (guests.Numbers, "ValueError: Classification metrics can't handle a mix of"),
        (guests.ChangesData, "ValueError: output array is read-only"),
        (guests.ChangesLabels, "ValueError: assignment destination is read-only"),
        (guests.CountsWrongly, "ValueError: invalid literal for int"),
        (guests.Exits, "SystemExit: I leave"),
        (guests.StopsItself, "KeyboardInterrupt"),
        (guests.RaisesBase, "BaseException: of no kind"),
        (guests.RaisesUnspeakable, "Unspeakable: (its message cannot be read)"),
        (guests.RaisesSurrogate, r"ValueError: half \ud800 and \x00 and \x1b[2J and more"),
    ],
)
def test_what_a_guest_does_wrong_is_its_own_error(kind, words, tmp_path):
    guest, scores = beside_a_good_one(kind(), store=tmp_path / "a.db")
    assert guest["status"] == "failed"
    assert words in guest["error"]
    assert guest["error"].isprintable()
    assert set(scores) == {"good"}


def test_long_messages_are_cut():
    guest, _ = beside_a_good_one(guests.RaisesNovel())
    assert guest["error"].startswith("ValueError: word word")
    assert guest["error"].endswith("...")
    assert len(guest["error"]) < 1100
