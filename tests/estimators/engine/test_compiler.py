"""Nobody waits for torch's compiler who does not use it, and torch keeps it away from what it has to."""

import subprocess
import sys

from helpers.processes import environment

LEARN = """
import pickle, sys
from forgetless.datasets import load_digits
from forgetless.estimators import EWCClassifier, ReplayClassifier, partial_fit_together
from forgetless.estimators.engine.work import counted

digits = load_digits()
rows = {"X": digits.X_train[:40], "y": digits.y_train[:40]}
with counted() as work:
    clf = ReplayClassifier(random_state=0).partial_fit(**rows)
assert work.flops() > 0
pickle.loads(pickle.dumps(clf)).partial_fit(**rows).predict(digits.X_test)
assert partial_fit_together([EWCClassifier(random_state=seed) for seed in range(2)], [rows, rows])
print("torch._dynamo" in sys.modules)
"""

IMPORT = """
import torch
from forgetless.estimators import NaiveClassifier
from torch.optim import SGD, Optimizer

NaiveClassifier(random_state=0).partial_fit([[0.0], [1.0]], [0, 1])
import torch._dynamo

SGD([torch.zeros(1)], lr=0.1)
print(vars(Optimizer.add_param_group.__wrapped__)["__dynamo_disable"]._torchdynamo_disable)
"""


def run(program):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment(), timeout=240
    )
    return done.stdout.strip()


def test_the_compiler_is_not_imported_to_learn():
    assert run(LEARN) == "False"


def test_once_it_is_imported_torch_keeps_it_away_itself():
    assert run(IMPORT) == "True"
