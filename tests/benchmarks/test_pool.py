"""Workers that begin early are those that run cells, and are ready; imports are not searched for garbage."""

import functools
import gc
import multiprocessing
import os
import signal
import sys

import pytest
from joblib import Parallel, delayed

from forgetless.benchmarks.runs.pool import begin_workers, import_cells, import_figures, importing
from forgetless.benchmarks.runs.specs import StrategySpec


def begin_and_wait(get_ready):
    thread = begin_workers(2, get_ready, n_tasks=9)
    thread.join(timeout=120)
    return {process.pid for process in multiprocessing.active_children()}


def test_early_workers_run_what_comes_and_are_ready():
    wrong = StrategySpec("NoSuchClassifier")
    early = begin_and_wait(functools.partial(import_cells, [wrong, StrategySpec("EWCClassifier")]))
    assert begin_and_wait(import_figures) == early

    def state():  # in here, it travels as code: workers cannot import tests
        cells = {"forgetless.benchmarks.runs.cell", "forgetless.estimators.regularization.ewc"}
        figures = {"forgetless.reports.plots", "matplotlib.backends.backend_svg"}
        is_ready = cells | figures <= {*sys.modules} and gc.isenabled() and gc.get_freeze_count() > 0
        return os.getpid(), is_ready, signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    found = Parallel(2)(delayed(state)() for _ in range(4))
    assert {pid for pid, _, _ in found} <= early
    assert all(is_ready and is_deaf for _, is_ready, is_deaf in found)


@pytest.mark.parametrize("n_jobs", [1, None])
def test_one_job_needs_no_workers(n_jobs):
    assert begin_workers(n_jobs, import_figures, n_tasks=9) is None


def test_imports_are_not_searched_for_garbage_and_what_comes_later_is():
    frozen, seen = gc.get_freeze_count(), []

    def fail():
        seen.append(gc.isenabled())
        raise ImportError

    with pytest.raises(ImportError), importing():
        fail()
    assert seen == [False]
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen
    garbage = []
    garbage.append(garbage)
    del garbage
    assert gc.collect() > 0
