"""Runs in processes of their own that share a store."""

import multiprocessing

from forgetless.benchmarks import Store
from forgetless.benchmarks.runs import runner, sharing

from . import guests
from .benchmarks import iris, run
from .store import facts

# A fork of this process would take the locks along that threads of other tests hold, and wait for them for ever; the
# server's have imported already what takes seconds.
METHODS = multiprocessing.get_all_start_methods()
CONTEXT = multiprocessing.get_context("forkserver" if "forkserver" in METHODS else "spawn")
CONTEXT.set_forkserver_preload(["forgetless.benchmarks.runs.runner", "skorch", "sqlalchemy"])


def sleepers(began, seconds=0.02):
    return {"sleeps": guests.Sleeps(seconds, path=str(began))}


def share(store, began, seconds, answers, lease, pause):
    sharing.LEASE, runner.PAUSE = lease, pause
    results = run(sleepers(began, seconds), [iris()], seeds=10, store=store)
    answers.put((len(results.runs), len(results.scores)))


def at_once(store, began, seconds=0.02, n=2):
    answers = CONTEXT.SimpleQueue()
    given = (store, began, seconds, answers, sharing.LEASE, runner.PAUSE)
    runs = [CONTEXT.Process(target=share, args=given) for _ in range(n)]
    for each in runs:
        each.start()
    return runs, answers


def write_many(url, prefix, start):
    start.wait()
    with Store(url) as store:
        for number in range(3):
            store.write(facts(f"{prefix}{number}", seed=number, strategy=prefix))
            store.write(facts(f"shared{number}", status="failed", seed=number, strategy="shared"))
            store.write(facts(f"shared{number}", seed=number, strategy="shared"))
