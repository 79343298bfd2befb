"""Avalanche's strategies as guests of forgetless: it learns and predicts here, in an environment of its own.

``docs/guests.md`` has the commands. Needs numpy, torch and avalanche-lib, and nothing of forgetless.
"""

import argparse
import contextlib
import importlib.metadata
import itertools
import json
import sys
import time

import numpy as np
import torch

# torchvision's compiled operators do not load beside a torch for the CPU; Avalanche needs none of them, but torchvision
# wants them declared when it is imported.
operators = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    with contextlib.suppress(RuntimeError):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from avalanche.benchmarks import tensors_benchmark
from avalanche.training import supervised
from avalanche.training.plugins import EvaluationPlugin

SETTINGS = {
    "Naive": {},
    "Replay": {"mem_size": 200},
    "DER": {"mem_size": 200},
    "EWC": {"ewc_lambda": 100.0},
    "LwF": {"alpha": 1.0, "temperature": 2.0},
}


class Learner:
    """One of Avalanche's strategies, with the network and the optimiser that all strategies of the suite have."""

    def __init__(self, strategy, seed, settings):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        self.cls, self.own, self.settings = getattr(supervised, strategy), SETTINGS[strategy], settings
        self.strategy = None

    def learn(self, X, y, classes):
        """Learn an experience; labels are positions in `classes`."""
        self.classes = classes
        if self.strategy is None:
            sizes = [X.shape[1], *self.settings["hidden_units"], len(classes)]
            layers = [part for a, b in itertools.pairwise(sizes) for part in (torch.nn.Linear(a, b), torch.nn.ReLU())]
            self.model = torch.nn.Sequential(*layers[:-1])
            self.strategy = self.cls(
                model=self.model,
                optimizer=torch.optim.Adam(self.model.parameters(), lr=self.settings["lr"]),
                criterion=torch.nn.CrossEntropyLoss(),
                train_mb_size=self.settings["batch_size"],
                train_epochs=self.settings["max_epochs"],
                evaluator=EvaluationPlugin(),
                **self.own,
            )
        rows = torch.as_tensor(X, dtype=torch.float32), torch.as_tensor(np.searchsorted(classes, y))
        benchmark = tensors_benchmark(train_tensors=[rows], test_tensors=[rows], task_labels=[0])
        self.strategy.train(benchmark.train_stream[0])

    def predict(self, X):
        """Predict labels."""
        self.model.eval()
        with torch.inference_mode():
            return self.classes[self.model(torch.as_tensor(X, dtype=torch.float32)).argmax(1).numpy()]

    def memory(self):
        """Count the bytes that are kept until the next call, by kind."""
        weights = [parameter.detach() for parameter in self.model.parameters()]
        moments = [value for state in self.strategy.optimizer.state.values() for value in state.values()]
        kept = {"weights": weights, "optimizer": [value for value in moments if torch.is_tensor(value)]}
        found = {kind: sum(value.nbytes for value in values) for kind, values in kept.items()}
        for plugin in self.strategy.plugins:
            if hasattr(plugin, "storage_policy"):
                rows = plugin.storage_policy.buffer
                found["replay"] = sum(torch.as_tensor(value).nbytes for row in rows for value in row)
        return found


def main():
    """Answer requests until there are none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("strategy", choices=SETTINGS)
    strategy = parser.parse_args().strategy
    replies, sys.stdout = sys.stdout, sys.stderr  # Avalanche prints, and answers must stand alone
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            learner = Learner(strategy, request["seed"], request["settings"])
            versions = [f"{name} {importlib.metadata.version(name)}" for name in ("avalanche-lib", "torch")]
            keeps = {"Replay": "samples", "DER": "samples", "EWC": "statistics"}
            answer = {"source": ", ".join(versions), "keeps": keeps.get(strategy, "nothing")}
        else:
            with np.load(request["arrays"], allow_pickle=False) as arrays:
                arrays = dict(arrays)
            clock = time.perf_counter()
            if request["do"] == "learn":
                learner.learn(**arrays)
            else:
                found = learner.predict(**arrays)
            answer = {"seconds": time.perf_counter() - clock}
            if request["do"] == "learn":
                answer["memory"] = learner.memory()
            else:
                np.savez(request["answers"], predict=found)
        print(json.dumps(answer), file=replies, flush=True)


if __name__ == "__main__":
    main()
