"""
How strong? Stability against plasticity
========================================

Every penalty has a strength, and no default fits all data. ``ContinualSearchCV`` lets each setting learn the first
experiences, scores it on rows held out of them, and lets the best learn on.
"""

import matplotlib.pyplot as plt

from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import MLP, ContinualNet, ContinualSearchCV, EWCClassifier

stream = split_stream(load_digits(), scenario="domain", random_state=1)
net = ContinualNet(MLP, module__hidden_units=(100,), lr=0.005, max_epochs=5)
strengths = [0, 1, 10, 100, 1000, 10000]

search = ContinualSearchCV(EWCClassifier(net, random_state=0), {"ewc_lambda": strengths}, n_experiences=3)
for experience in stream:
    search.partial_fit(experience.X_train, experience.y_train)
print(search.best_params_)

# %%
# What the choice was made on, and what each strength gives on the whole stream's test rows, which chose nothing.


def scores(strength):
    """Mean accuracy on all experiences in the end, and on each when it was new."""
    clf = EWCClassifier(net, ewc_lambda=strength, random_state=0)
    new = []
    for experience in stream:
        clf.partial_fit(experience.X_train, experience.y_train)
        new.append(clf.score(experience.X_test, experience.y_test))
    final = [clf.score(*stream.test_set(j)) for j in range(len(stream))]
    return sum(final) / len(final), sum(new) / len(new)


final, new = zip(*map(scores, strengths), strict=True)
x = range(len(strengths))
figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(x, search.cv_results_["mean_test_score"], "o:", label="held out of the first three experiences")
ax.plot(x, final, "o-", label="in the end, on all (average accuracy)")
ax.plot(x, new, "o-", label="when it was new (learning accuracy)")
ax.axvline(strengths.index(search.best_params_["ewc_lambda"]), color="grey", linestyle=":")
ax.set(xlabel="ewc_lambda", ylabel="accuracy", xticks=x)
ax.set_xticklabels(strengths)
ax.legend(frameon=False, fontsize=9)
plt.show()
