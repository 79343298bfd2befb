"""Workers that begin early are those that run cells, and are ready."""

import multiprocessing
import os
import signal
import sys

import pytest
from joblib import Parallel, delayed

from forgetless.benchmarks.runs.pool import begin_workers
from forgetless.benchmarks.runs.specs import StrategySpec


def test_early_workers_run_what_comes_and_are_ready():
    wrong = StrategySpec("NoSuchClassifier")
    thread = begin_workers(2, [wrong, StrategySpec("EWCClassifier")], n_cells=9)
    thread.join(timeout=120)

    def state():  # in here, it travels as code: workers cannot import tests
        modules = {"forgetless.benchmarks.runs.cell", "forgetless.estimators.regularization.ewc"}
        return os.getpid(), modules <= {*sys.modules}, signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    early = {process.pid for process in multiprocessing.active_children()}
    found = Parallel(2)(delayed(state)() for _ in range(4))
    assert {pid for pid, _, _ in found} <= early
    assert all(is_ready and is_deaf for _, is_ready, is_deaf in found)


@pytest.mark.parametrize("n_jobs", [1, None])
def test_one_job_needs_no_workers(n_jobs):
    assert begin_workers(n_jobs, [StrategySpec("EWCClassifier")], n_cells=9) is None
