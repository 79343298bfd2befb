"""Five hospitals, one model, no shared rows: closed forms are merged, networks are averaged.

The digits that scikit-learn ships are dealt out to five sites, each of which sees mostly some of the ten classes. Sites
that learn alone know little of the others' classes. Together they send sums (closed forms) or weights (networks), and
no row; the merged closed forms are those of all rows in one place, and averaged networks come near them.

Run it: ``python examples/five_sites.py``; it takes some seconds and needs no network.
"""

from forgetless.benchmarks import federate
from forgetless.datasets import load_digits, site_stream
from forgetless.estimators import (
    MLP,
    ContinualNet,
    NaiveClassifier,
    NCMClassifier,
    RandomProjectionClassifier,
    SLDAClassifier,
)


def main():
    """Print how the sites do alone, together, and with all rows in one place."""
    sites = site_stream(load_digits(), n_experiences=5, concentration=0.3, random_state=0)
    for site in sites:
        print(site)
    net = ContinualNet(MLP, module__hidden_units=(100,), lr=0.003, max_epochs=2)
    strategies = {
        "nearest mean": NCMClassifier(),
        "SLDA": SLDAClassifier(shrinkage=0.1),
        "random projection": RandomProjectionClassifier(500, random_state=0),
        "network, averaged": NaiveClassifier(net, active_outputs="all", random_state=0),
    }
    print(federate(strategies, sites, n_rounds=15).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
