"""Kills at random moments, of a run or of its workers: in the end the store is that of an undisturbed run."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import chaos
from helpers.processes import environment
from helpers.store import timeless

from forgetless.benchmarks import Store


def workers_of(process):
    """Return the processes that run cells for another one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = re.search(r"PPid:\s*(\d+)", (folder / "status").read_text())[1]
            if int(parent) == process.pid and b"popen_loky" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


def facts_of(names, store):
    """Complete a store, where a cell whose worker was killed twice has failed, and return what it holds."""
    chaos.run(names, store, n_jobs=1)
    with Store(store, read_only=True) as kept:
        return {facts.run["cell"]: timeless(facts) for facts in kept.cells()}


def start(names, store):
    """Start a run, and wait until one of its cells has learned something."""
    began = time.time()
    folder = store.with_name(f"{store.name}-checkpoints")
    process = subprocess.Popen([sys.executable, chaos.__file__, names, store], env=environment())
    while process.poll() is None and not (folder.exists() and folder.stat().st_mtime > began):
        time.sleep(0.01)
    return process


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to find workers")
@pytest.mark.parametrize(
    ("names", "n_kills"),
    [pytest.param("guests", 2, id="few"), pytest.param("networks", 20, marks=pytest.mark.slow, id="many")],
)
def test_kills_at_random_moments_change_nothing(tmp_path, monkeypatch, names, n_kills):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    expected = facts_of(names, tmp_path / "undisturbed.db")
    with Store(tmp_path / "undisturbed.db") as kept:
        seconds = kept.results().runs["seconds"].sum() / 2
    when = random.Random(0)
    whom = ["run", "worker"] * n_kills
    stores, process, n_kept = [tmp_path / "0.db"], None, 0
    for victim in whom[:n_kills]:
        while True:
            process = process or start(names, stores[-1])
            time.sleep(when.uniform(0, seconds))
            workers = workers_of(process)
            if process.poll() is not None:  # too late; once more from the start
                assert facts_of(names, stores[-1]) == expected
                stores.append(tmp_path / f"{len(stores)}.db")
                process = None
            elif victim == "run" or workers:
                break
        if victim == "worker":
            os.kill(when.choice(workers), signal.SIGKILL)
        else:
            process.kill()
            process.wait()
            process = None
            with Store(stores[-1]) as kept:
                n_kept += len(kept.results().runs)
    process = process or start(names, stores[-1])
    assert process.wait() == 0
    assert facts_of(names, stores[-1]) == expected
    assert len(expected) == 12
    print(f"{n_kills} kills, {len(stores)} stores, {n_kept} finished cells were there after kills of the run")
