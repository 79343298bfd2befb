"""
The scenarios in pictures
=========================

Which data come when, and what is asked for: by class, by task, by domain, in time. The numbers are real: the pictures
are drawn from the streams themselves.
"""

import matplotlib.pyplot as plt
import numpy as np

from forgetless.datasets import drift_stream, load_digits, permuted_stream, split_stream
from forgetless.estimators import MLP, ContinualNet, NaiveClassifier

digits = load_digits()

# %%
# What comes when
# ---------------
#
# A row for each experience, a column for each class: how many rows of it are there to learn. In the class and the task
# scenario the same rows come; the difference is what is asked for.

streams = {
    "class: among all seen so far": split_stream(digits, scenario="class", class_order="sorted"),
    "task: among those of the task": split_stream(digits, scenario="task", class_order="sorted"),
    "domain: first or second of the pair?": split_stream(digits, scenario="domain", class_order="sorted"),
    "domain: pixels in other places": permuted_stream(digits, n_experiences=5, random_state=0),
}
figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
for ax, (title, stream) in zip(axes, streams.items(), strict=True):
    counts = np.array([[np.sum(each.y_train == label) for label in stream.classes] for each in stream])
    ax.imshow(counts, cmap="Blues", aspect="auto", vmin=0, vmax=counts.max() * 1.3)
    ax.set(title=title, xlabel="class", xticks=range(len(stream.classes)), yticks=range(5))
    ax.set_xticklabels(stream.classes)
    ax.title.set_fontsize(10)
    if stream.scenario == "task":
        for i in range(5):
            ax.text(9.7, i, f"id {i}", va="center", fontsize=9)
axes[0].set_ylabel("experience")

# %%
# In time
# -------
#
# Which of two concepts the rows of each experience come from, in the four kinds of drift.

kinds = ("abrupt", "gradual", "incremental", "recurring")
figure, axes = plt.subplots(1, 4, figsize=(13, 2.8), layout="constrained", sharey=True)
reference = digits.X_train.mean(axis=0)
for ax, kind in zip(axes, kinds, strict=True):
    stream = drift_stream(digits, drift=kind, random_state=0)
    means = [each.X_train.mean(axis=0) for each in stream]
    distance = [np.linalg.norm(mean - means[0]) for mean in means]
    ax.plot(np.array(distance) / max(distance), marker="o")
    ax.set(title=kind, xlabel="experience")
axes[0].set_ylabel("distance from the first")

# %%
# What is measured
# ----------------
#
# After each experience, the model is tested on all of them: R[i, j] is the accuracy on experience j after learning i.
# The last row is what counts in the end (average accuracy), the diagonal what was learned when it was new (learning
# accuracy), and the fall from the best of a column to its last entry is forgetting.

stream = split_stream(digits, scenario="domain", class_order="sorted")
clf = NaiveClassifier(ContinualNet(MLP, module__hidden_units=(100,), lr=0.003, max_epochs=3), random_state=0)
R = []
for experience in stream:
    clf.partial_fit(experience.X_train, experience.y_train)
    R.append([clf.score(*stream.test_set(j)) for j in range(5)])

figure, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
ax.imshow(R, cmap="Blues", vmin=0.2, vmax=1.3)
for i, row in enumerate(R):
    for j, score in enumerate(row):
        ax.text(j, i, f"{100 * score:.0f}", ha="center", va="center", weight="bold" if i == j else "normal")
ax.add_patch(plt.Rectangle((-0.47, 3.53), 4.94, 0.94, fill=False, edgecolor="tab:orange", linewidth=2))
ax.text(4.6, 4, "average accuracy:\nmean of the last row", color="tab:orange", va="center")
ax.text(4.6, 2, "learning accuracy:\nmean of the diagonal,\nin bold", va="center")
ax.text(4.6, 0, "forgetting:\nbest of a column\nminus its last", va="center")
ax.set(xlabel="tested on experience", ylabel="after learning experience", xlim=(-0.5, 4.5))
plt.show()
