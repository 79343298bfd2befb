"""Ctrl-C at any moment: what is kept are cells as an undisturbed run has them."""

import random
import signal

import pytest
from helpers.benchmarks import NET, iris, run
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.linear_model import SGDClassifier
from skorch.callbacks import EarlyStopping

from forgetless.benchmarks import Interrupted, Store
from forgetless.estimators import EWCClassifier, ReplayClassifier

STOPPING = clone(NET).set_params(max_epochs=3, callbacks=[EarlyStopping("train_loss", patience=2)])
STRATEGIES = {"Replay": ReplayClassifier(net=STOPPING), "EWC": EWCClassifier(net=STOPPING), "SGD": SGDClassifier()}


@pytest.mark.parametrize("n_signals", [pytest.param(8, id="few"), pytest.param(500, id="many", marks=pytest.mark.slow)])
def test_ctrl_c_leaves_no_wrong_cell(tmp_path, n_signals):
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
        except Interrupted:
            n_heard += 1
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
        with Store(name) as store:
            kept = store.results().scores
        wanted = expected.scores[expected.scores["cell"].isin(kept["cell"])]
        columns = ["strategy", "trained_on", "tested_on"]
        assert_frame_equal(*(each.sort_values(columns, ignore_index=True) for each in (kept, wanted)), check_exact=True)
        name.unlink()
