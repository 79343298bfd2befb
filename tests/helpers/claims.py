"""Files of claims about irises, which run in a second."""

CLAIMS = """
title = "Flowers"
reference = "Nobody 2020."
settings = "Irises as they are."
tolerance = 3.0
[net]
hidden_units = [8]
lr = 0.01
[[streams]]
name = "class"
dataset = "iris"
n_experiences = 3
[[streams]]
name = "task"
dataset = "iris"
n_experiences = 3
scenario = "task"
class_order = "sorted"
announce_classes = true
[[methods]]
name = "bayes"
estimator = "sklearn.naive_bayes.GaussianNB"
params = { var_smoothing = 1e-9 }
derivation = "Theirs has no smoothing."
numbers = [
  { stream = "class", published = 96.0, seconds = 1 },
  { stream = "task", published = 50.0, spread = 4.0, seconds = 1, note = "Their Bayes knew no tasks." },
]
[[methods]]
name = "net-1"
estimator = "ReplayClassifier"
params = { buffer_size = 10 }
net = { max_epochs = 1, batch_size = 16 }
preprocess = ["sklearn.preprocessing.StandardScaler"]
numbers = [{ stream = "task", at_least = 30.0, params = { replay_weight = 0.25 }, seconds = 2.4 }]
"""

# Two numbers of one run: rows are predicted before they are learned.
ONLINE = """
title = "Flowers online"
reference = "Nobody 2021."
settings = "Irises whose features are permuted."
[[streams]]
name = "permuted"
dataset = "iris"
builder = "permuted"
n_experiences = 4
eval_every = 20
[[methods]]
name = "bayes"
estimator = "sklearn.naive_bayes.GaussianNB"
numbers = [
  { stream = "permuted", experiences = [0, 0], at_least = 50.0, seconds = 1 },
  { stream = "permuted", experiences = [2, 3], since = [0, 1], at_most = -5.0, seconds = 1 },
]
"""
