"""Ctrl-C at any moment: what is kept are cells as an undisturbed run has them."""

import random
import signal

import pytest
from helpers.benchmarks import NET, iris, run
from sklearn.base import clone
from sklearn.linear_model import SGDClassifier
from skorch.callbacks import EarlyStopping

from forgetless.benchmarks import Store
from forgetless.estimators import EWCClassifier, ReplayClassifier

STOPPING = clone(NET).set_params(max_epochs=3, callbacks=[EarlyStopping("train_loss", patience=2)])
STRATEGIES = {"Replay": ReplayClassifier(net=STOPPING), "EWC": EWCClassifier(net=STOPPING), "SGD": SGDClassifier()}


def cells_of(scores):
    """Each score with what it is of, as text: NaN equals NaN then."""
    columns = scores[["cell", "trained_on", "tested_on", "score"]]
    return {tuple(map(str, row)) for row in columns.itertuples(index=False)}


@pytest.mark.parametrize("n_signals", [pytest.param(5, id="few"), pytest.param(500, id="many", marks=pytest.mark.slow)])
def test_ctrl_c_leaves_no_wrong_cell(tmp_path, n_signals):
    run(STRATEGIES, [iris()])  # imports what takes longer than all the rest
    expected = run(STRATEGIES, [iris()], store=tmp_path / "undisturbed.db")
    seconds = expected.runs["seconds"].sum()
    when = random.Random(0)
    n_heard = 0
    while n_heard < n_signals:
        name = tmp_path / f"{n_heard}.db"
        # Timers are heard like Ctrl-C, and at moments that no thread of Python chooses.
        before = signal.signal(signal.SIGVTALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        signal.setitimer(signal.ITIMER_VIRTUAL, when.uniform(1e-3, seconds))
        try:
            run(STRATEGIES, [iris()], store=name)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except KeyboardInterrupt:
            n_heard += 1
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
        with Store(name) as store:
            kept = store.results().scores
        assert cells_of(kept) <= cells_of(expected.scores)
        name.unlink()
