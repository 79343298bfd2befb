"""Figures: looks, labels, the Pareto front."""

import math

import numpy as np
import pandas as pd

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
        {"strategy": list("abcde"), "fit_seconds": [2, 1, 3, 1, math.nan], "average_accuracy": [0.5, 0.6, 0.9, 0.4, 1]}
    )
    assert figures.pareto(frame) == ["b", "c"]
