"""What the benchmarks share: the clock, the data, and the tables in ``docs/performance.md``."""

import gc
import os
import platform
import re
import statistics
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from forgetless.datasets import load_digits, load_mnist, split_stream
from forgetless.estimators import MLP, ContinualNet

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
SETTINGS = ["1 thread", "2 threads"] + ["GPU"] * torch.cuda.is_available()


def use(setting):
    """Set the number of threads; returns the device."""
    torch.set_num_threads(2 if setting == "2 threads" else 1)
    return "cuda" if setting == "GPU" else "cpu"


@dataclass(frozen=True)
class Task:
    """A network, its data in two experiences, and how it learns them."""

    name: str
    sizes: tuple
    batch_size: int
    epochs: int
    experiences: tuple = field(repr=False)
    lr: float = 1e-3

    def net(self, **params):
        return ContinualNet(
            MLP,
            module__hidden_units=self.sizes[1:-1],
            lr=self.lr,
            batch_size=self.batch_size,
            max_epochs=self.epochs,
            **params,
        )


def digits_task():
    """Digits, half of the classes after the other: an MLP with 100 hidden units, batches of 32."""
    stream = split_stream(load_digits(), n_experiences=2, class_order="sorted")
    return Task("digits", (64, 100, 10), 32, 10, tuple((e.X_train, e.y_train) for e in stream))


def mnist_task(data_home, n_rows=6400):
    """Some rows of MNIST, half of the classes after the other: an MLP 400-400, batches of 128."""
    stream = split_stream(load_mnist(data_home), n_experiences=2, class_order="sorted")
    experiences = tuple((e.X_train[:n_rows], e.y_train[:n_rows]) for e in stream)
    return Task("MNIST", (784, 400, 400, 10), 128, 2, experiences)


def seconds(run):
    """Seconds that a function takes, until the device has done its work."""
    gc.collect()
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def medians(benchmark, rounds, ours, **others):
    """Median seconds of `ours` and of `others`, measured in turns; and their ratios, in the benchmark's extra info.

    Each is a function that prepares a round, outside of the clock, and returns what is to be timed.
    """
    times = {name: [] for name in others}

    def setup():
        for name, prepare in others.items():
            times[name].append(seconds(prepare()))
        run = ours()
        gc.collect()
        wait()
        return (run,), {}

    def timed(run):
        run()
        wait()

    benchmark.pedantic(timed, setup=setup, rounds=rounds, warmup_rounds=1)
    result = {name: statistics.median(values[1:]) for name, values in times.items()}
    mine = benchmark.stats.stats.median
    benchmark.extra_info.update({f"ratio to {name}": round(mine / value, 3) for name, value in result.items()})
    return {"ours": mine, **result}


# --- the document ------------------------------------------------------------------------------------------------


def machine(*packages):
    """The machine in a sentence."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scikit-learn", "skorch", *packages))
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_cpu()}, {cores} cores{gpu}; {platform.system()}, Python {platform.python_version()}, {versions}."


def _cpu():
    """The processor's name; where that is generic, its family and model tell it apart."""
    try:
        facts = dict(re.findall(r"^(.+?)\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    except OSError:
        return platform.processor() or platform.machine()
    numbers = f"family {facts.get('cpu family')}, model {facts.get('model')}"
    return f"{facts.get('model name', platform.machine())} ({numbers})"


class Section:
    """A part of the document between two markers, rewritten by each run; the rest of the document stays as it is."""

    def __init__(self, name):
        self.name = name
        self.tables = {}

    def row(self, title, explanation, **cells):
        """Add a row to the table of this title."""
        self.tables.setdefault((title, explanation), []).append(cells)

    def text(self, intro):
        parts = [intro]
        for (title, explanation), rows in self.tables.items():
            columns = list(rows[0])
            lines = [columns, ["---"] * len(columns), *([row[c] for c in columns] for row in rows)]
            table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
            parts.append(f"### {title}\n\n{explanation}\n\n{table}")
        return "\n\n".join(parts)

    def write(self, intro):
        begin, end = f"<!-- {self.name}: begin -->", f"<!-- {self.name}: end -->"
        before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{DOCUMENT} lacks the lines {begin} and {end}, between which the tables belong.")
        DOCUMENT.write_text(f"{before}{begin}\n\n{self.text(intro)}\n\n{end}{after}", encoding="utf-8")


def milliseconds(value):
    return f"{1000 * value:.0f} ms" if value >= 0.0995 else f"{1000 * value:.1f} ms"


def verdict(value, target, larger_is_better=False):
    """The cells of a measured ratio and its target."""
    if target is None:
        return {"ratio": f"{value:.2f}", "target": "", "reached": ""}
    reached = round(value, 2) >= target if larger_is_better else round(value, 2) <= target
    sign = "≥" if larger_is_better else "≤"
    return {"ratio": f"{value:.2f}", "target": f"{sign} {target:g}", "reached": "yes" if reached else "**no**"}
