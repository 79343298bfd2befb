"""Hundreds of experiences: memory does not grow with them."""

import subprocess
import sys

import pytest
from helpers.processes import environment

PROGRAM = """
import resource, sys
import numpy as np
from forgetless.benchmarks import run_benchmark
from forgetless.datasets import Dataset, permuted_stream
from forgetless.estimators import MLP, ContinualNet, NaiveClassifier

rng = np.random.default_rng(0)
rows = rng.random((60, 784), dtype=np.float32)  # as many as 60 digits of MNIST have
data = Dataset("digits", rows, np.arange(60) % 10, rows[:10], np.arange(10))
stream = permuted_stream(data, n_experiences=int(sys.argv[1]), random_state=0)
net = ContinualNet(MLP, module__hidden_units=(100,), max_epochs=1)
results = run_benchmark(
    {"Naive": NaiveClassifier(net)}, [stream], seeds=1, n_jobs=1, evaluate="prequential", progress=False
)
assert (results.runs["status"] == "ok").all(), results.runs["error"].tolist()
assert results.runs["n_experiences"].tolist() == [int(sys.argv[1])]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(n_experiences):
    command = [sys.executable, "-c", PROGRAM, str(n_experiences)]
    return int(subprocess.run(command, env=environment(), check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_800_permutations_need_no_more_memory_than_a_few():
    few, many = peak(2), peak(800)
    print(f"peak of 2 permutations: {few / 1024:.0f} MiB, of 800: {many / 1024:.0f} MiB")
    assert many < 1.5 * few
    assert many - few < 800 * 60 * 784 * 4  # what the permuted rows would take if all were held
