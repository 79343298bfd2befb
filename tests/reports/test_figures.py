"""Figures: looks, labels, the Pareto front."""

import math
import re
from xml.dom import minidom

import numpy as np
import pandas as pd
import pytest

from forgetless.reports import figures


def test_many_strategies_stay_apart():
    looks = {figures.look(series) for series in range(56)}
    assert len(looks) == 56


def test_labels_keep_their_distance_and_order():
    rng = np.random.default_rng(0)
    for n in (1, 2, 25):
        values = np.round(rng.random(n), 1)
        places = np.array(figures.spread(values, 0.03, 0.0, 1.0))
        assert np.diff(np.sort(places)).min(initial=1) > 0.03 - 1e-6
        assert places.min() > -1e-9
        assert places.max() < 1 + 1e-9
        assert (np.diff(places[np.argsort(values, kind="stable")]) >= -1e-9).all()


def test_pareto_front():
    frame = pd.DataFrame(
        {"strategy": list("abcde"), "fit_seconds": [2, 1, 3, 1, math.nan], "score": [0.5, 0.6, 0.9, 0.4, 1]}
    )
    assert figures.pareto(frame) == ["b", "c"]


@pytest.mark.parametrize(("low", "high"), [(0.91, 0.99), (0.8, 0.99), (0.62, 0.88), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)])
def test_ticks_of_accuracy_are_even(low, high):
    frame = pd.DataFrame({"strategy": "a", "experience": [1, 2], "mean": [low, high], "ci_low": low, "ci_high": high})
    svg = minidom.parseString(figures.curves(frame, {"a": 0}, "f"))
    texts = [node.firstChild.data for node in svg.getElementsByTagName("text") if node.firstChild]
    labels = [int(found[1]) for text in texts if (found := re.fullmatch(r"(\d+) %", text))]
    assert len(labels) >= 4
    assert len(set(np.diff(labels))) == 1
    assert labels[0] <= 100 * low + 2.5 and labels[-1] >= 100 * high - 20


def test_scores_without_bounds_have_plain_ticks():
    frame = pd.DataFrame({"strategy": "a", "experience": [0.5, 1, 2], "mean": [-50.0, -20, -10], "ci_low": -60.0})
    svg = figures.curves(frame.assign(ci_high=-5.0), {"a": 0}, "f", "neg_mean_squared_error")
    assert "%" not in re.sub(r"<path[^>]*>", "", svg)
    assert "−40" in svg
    assert 'aria-label="neg_mean_squared_error over the experiences' in svg
