"""A run to be killed; as a script it takes the names of strategies and of the store."""

import sys

from sklearn.preprocessing import StandardScaler

from forgetless.benchmarks import StreamSpec, run_benchmark
from forgetless.benchmarks.runs import checkpoints
from forgetless.estimators import make_incremental_pipeline
from helpers import guests


def strategies(names):
    """Return guests, or networks that remember."""
    if names == "guests":
        return {
            "slow": guests.Slow(),
            "averaged": guests.Slow(average=True),
            "pipeline": make_incremental_pipeline(StandardScaler(), guests.Slow()),
        }
    from forgetless.estimators import MLP, ContinualNet, DERClassifier, EWCClassifier, ReplayClassifier

    net = ContinualNet(MLP, module__hidden_units=(50,), max_epochs=30)
    return {"EWC": EWCClassifier(net=net), "Replay": ReplayClassifier(net=net), "DER": DERClassifier(net=net)}


def run(names, store, n_jobs):
    """Run three strategies with four seeds."""
    dataset = "iris" if names == "guests" else "digits"
    streams = {"split": StreamSpec(dataset, "split", {"n_experiences": 3})}
    # After a kill a stack may have fewer seeds, whose scores are others in the last bit.
    options = {"n_jobs": n_jobs, "stack_seeds": False, "progress": False}
    return run_benchmark(strategies(names), streams, seeds=4, store=store, **options)


if __name__ == "__main__":
    checkpoints.AFTER = 0.0
    run(sys.argv[1], sys.argv[2], n_jobs=2)
