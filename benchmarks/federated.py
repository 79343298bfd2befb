"""Sites that learn together, beside sites alone and beside one place that has all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone, is_classifier

from ..datasets.base import Inputs, Targets
from ..datasets.streams import Stream, concatenate
from ..estimators.federated import average_networks


def federate(strategies: Mapping[str, Any], stream: Stream, *, n_rounds: int = 10) -> pd.DataFrame:
    """Let the experiences of a stream be sites that learn together, and compare with all rows in one place.

    Every site has an estimator of its own, which sees the site's rows and no others. Estimators that have ``merge``
    learn once, and their sums are merged. Networks learn for `n_rounds` rounds: in each, every site calls
    ``partial_fit`` with its rows, and all take the mean of the weights, each by its number of rows
    (:func:`~forgetless.estimators.average_networks`). The same strategy is also given all rows in one place, and each
    site's rows alone, in as many calls. All are tested on the test rows of all sites.

    Parameters
    ----------
    strategies : mapping of str to estimator
        Unfitted; give an integer ``random_state``, so that sites start from the same weights.
    stream : Stream
        Its experiences are the sites, such as those of :func:`~forgetless.datasets.site_stream` or
        :func:`~forgetless.datasets.column_stream`. Task ids play no part.
    n_rounds : int, default=10
        Rounds of averaging.

    Returns
    -------
    DataFrame
        A row for each strategy: ``strategy``; ``how``, "merge" or "average"; ``n_sites``; ``n_rounds``; the scores
        ``alone`` (mean of the sites), ``together`` and ``pooled``; and ``sent_bytes``, what a site sends in all.

    Raises
    ------
    ValueError
        If `n_rounds` is less than one, or sites would start from different weights.
    TypeError
        If a strategy can neither be merged nor averaged.

    Examples
    --------
    >>> from forgetless.benchmarks import federate
    >>> from forgetless.datasets import load_digits, site_stream
    >>> from forgetless.estimators import SLDAClassifier
    >>> sites = site_stream(load_digits(), n_experiences=5, concentration=0.3, random_state=0)
    >>> table = federate({"SLDA": SLDAClassifier(shrinkage=0.1)}, sites)
    >>> table[["how", "n_sites", "n_rounds"]].values.tolist()
    [['merge', 5, 1]]
    >>> bool(table["together"][0] == table["pooled"][0] > table["alone"][0])
    True
    """
    if n_rounds < 1:
        raise ValueError(f"n_rounds must be 1 or more, not {n_rounds}.")
    sites = [(site.X_train, site.y_train) for site in stream]
    X_test, y_test = concatenate([(site.X_test, site.y_test) for site in stream])
    found = []
    for name, estimator in strategies.items():
        classes = stream.classes if is_classifier(estimator) else None
        merges = hasattr(estimator, "merge")
        if not merges and getattr(estimator, "random_state", 0) is None:
            raise ValueError(
                f"The network of each site of {name!r} would start from weights of its own, whose mean says nothing; "
                "give an integer random_state."
            )
        rounds = 1 if merges else n_rounds
        together = (_merged if merges else _averaged)(estimator, sites, classes, rounds)
        alone = [_learned(estimator, site, classes, rounds).score(X_test, y_test) for site in sites]
        found.append(
            {
                "strategy": name,
                "how": "merge" if merges else "average",
                "n_sites": len(sites),
                "n_rounds": rounds,
                "alone": float(np.mean(alone)),
                "together": together.score(X_test, y_test),
                "pooled": _learned(estimator, concatenate(sites), classes, rounds).score(X_test, y_test),
                "sent_bytes": rounds * together.memory_usage()["statistics" if merges else "weights"],
            }
        )
    return pd.DataFrame(found)


def _call(model: Any, rows: tuple[Inputs, Targets], classes: Targets | None) -> Any:
    return model.partial_fit(*rows, **({} if classes is None else {"classes": classes}))


def _learned(estimator: Any, rows: tuple[Inputs, Targets], classes: Targets | None, rounds: int) -> Any:
    """What learns these rows in so many calls."""
    model = clone(estimator)
    for _ in range(rounds):
        _call(model, rows, classes)
    return model


def _merged(estimator: Any, sites: Sequence[tuple[Inputs, Targets]], classes: Targets | None, rounds: int) -> Any:
    """The sites' sums in one model."""
    first, *others = (_learned(estimator, rows, classes, rounds) for rows in sites)
    for other in others:
        first.merge(other)
    return first


def _averaged(estimator: Any, sites: Sequence[tuple[Inputs, Targets]], classes: Targets | None, rounds: int) -> Any:
    """The model that all sites have after the last round."""
    models = [clone(estimator) for _ in sites]
    for _ in range(rounds):
        for model, rows in zip(models, sites, strict=True):
            _call(model, rows, classes)
        average_networks(models, weights=[len(y) for _, y in sites])
    return models[0]
