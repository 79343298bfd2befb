"""Speed of the estimators beside that of other libraries: ``tox run -e bench-peers``.

Avalanche, scikit-learn's ``MLPClassifier`` and skorch learn the same rows with the same network, optimiser, batches
and epochs, in turns with the estimators. A complete run rewrites the tables in ``docs/performance.md``; a part of it
(``-k``) only prints. ``--benchmark-min-rounds`` is the number of rounds.
"""

import contextlib
import dataclasses
import gzip
import io
import shutil
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from bare_loops import BUFFER, PAIRS, mlp
from performance import Section, digits_task, machine, medians, milliseconds, mnist_task, verdict
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from threadpoolctl import threadpool_limits

from forgetless.estimators import MLP

# torchvision's compiled operators do not load beside a torch for the CPU; Avalanche needs none of them, but torchvision
# wants them declared when it is imported.
_operators = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    with contextlib.suppress(RuntimeError):
        _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
avalanche = pytest.importorskip("avalanche", reason="Avalanche is installed by `tox run -e bench-peers` only")

from avalanche.benchmarks import SplitMNIST, tensors_benchmark  # noqa: E402
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics, loss_metrics  # noqa: E402
from avalanche.logging import InteractiveLogger  # noqa: E402
from avalanche.training import supervised  # noqa: E402
from avalanche.training.plugins import EvaluationPlugin  # noqa: E402

# Avalanche's name of each strategy, and the settings that make it do the same work.
AVALANCHE = {
    "Naive": ("Naive", {}),
    "Replay": ("Replay", {"mem_size": BUFFER}),
    "DER++": ("DER", {"mem_size": BUFFER, "alpha": 0.1, "beta": 0.5}),
    "EWC": ("EWC", {"ewc_lambda": 100.0}),
    "LwF": ("LwF", {"alpha": 1.0, "temperature": 2.0}),
    "A-GEM": ("AGEM", {"patterns_per_exp": BUFFER, "sample_size": 128}),
}
# Rows that go through the network in a step, in batches: new ones, and those from memory.
BATCHES = {"Naive": 1, "Replay": 2, "DER++": 3, "EWC": 1, "LwF": 1, "A-GEM": 2}
SLOW = {"EWC", "LwF", "A-GEM"}  # the target is lower: their mathematics costs Avalanche and us alike
ALONE = (
    "`NaiveClassifier.partial_fit` on the second experience against `MLPClassifier.partial_fit`, called once an epoch, "
    "and against skorch's `NeuralNetClassifier.partial_fit` with its defaults but for the optimiser (Adam), "
    "`train_split=None` and `verbose=0`; the ratio says how many times as long the other takes, *products alone* and "
    "*at most* are as above."
)
TARGETS = {name: {"MNIST": 1.8 if name in SLOW else 2.0, "digits": 2.5 if name in SLOW else 3.5} for name in AVALANCHE}


@pytest.fixture(scope="session")
def section(request):
    result = Section("bench-peers")
    yield result
    intro = f"Measured by `tox run -e bench-peers` on: {machine('avalanche-lib', 'torchvision')}"
    text = result.text(intro)
    print(f"\n\n{text}")
    if not request.config.option.keyword and not request.session.testsfailed:
        result.write(intro)


@pytest.fixture(scope="session")
def tasks(data_home):
    return {"digits": digits_task(), "MNIST": mnist_task(data_home)}


@pytest.fixture
def rounds(request):
    return request.config.option.benchmark_min_rounds


@pytest.fixture(autouse=True, params=[1, 2], ids=["1 thread", "2 threads"])
def n_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    with warnings.catch_warnings(action="ignore"), threadpool_limits(request.param, user_api="blas"):
        yield f"{request.param} thread{'s' * (request.param > 1)}"
    torch.set_num_threads(before)


def ours(name, task):
    """Prepare a round of the estimator: its second experience, on which penalty, memory or teacher is active."""
    (X, y), second = task.experiences
    fresh = clone(PAIRS[name][0]).set_params(net=task.net(), random_state=0, active_outputs="all")

    def prepare():
        learner = clone(fresh).partial_fit(X, y, classes=range(task.sizes[-1]))
        return lambda: learner.partial_fit(*second)

    return prepare


def theirs(name, task, experiences, evaluator):
    """Prepare a round of Avalanche's strategy, in the same way."""
    cls, settings = AVALANCHE[name]

    def prepare():
        model = torch.nn.Sequential(torch.nn.Flatten(), mlp(task.sizes))
        strategy = getattr(supervised, cls)(
            model=model,
            optimizer=torch.optim.Adam(model.parameters(), lr=task.lr),
            criterion=torch.nn.CrossEntropyLoss(),
            train_mb_size=task.batch_size,
            train_epochs=task.epochs,
            evaluator=evaluator(),
            **settings,
        )
        with contextlib.redirect_stdout(io.StringIO()):
            strategy.train(experiences[0])

        def learn():
            with contextlib.redirect_stdout(io.StringIO()):
                strategy.train(experiences[1])

        return learn

    return prepare


def products(task, n_batches=1):
    """Prepare the matrix products of the same number of steps, and nothing else: no library can do without them."""
    n_rows, n_steps = n_batches * task.batch_size, task.epochs * -(-len(task.experiences[1][0]) // task.batch_size)
    layers = [
        (torch.randn(n_rows, n_in), torch.randn(n_out, n_in), torch.randn(n_rows, n_out))
        for n_in, n_out in pairwise(task.sizes)
    ]

    def multiply():
        for _ in range(n_steps):
            for k, (x, weight, delta) in enumerate(layers):
                x @ weight.T
                delta.T @ x
                if k:
                    delta @ weight

    return lambda: multiply


def columns(title, time_of):
    """The cells of times: of the other library, under its title, of the products, and of ours."""
    return {
        title: milliseconds(time_of["other"]),
        "products alone": milliseconds(time_of["products"]),
        "estimator": milliseconds(time_of["ours"]),
        "at most": f"{time_of['other'] / time_of['products']:.2f}",
    }


@pytest.mark.parametrize("data", ["digits", "MNIST"])
@pytest.mark.parametrize("name", AVALANCHE)
def test_against_avalanche_on_tensors(benchmark, section, rounds, tasks, name, data, n_threads):
    task = tasks[data]
    rows = [(torch.from_numpy(X), torch.from_numpy(y)) for X, y in task.experiences]
    experiences = tensors_benchmark(train_tensors=rows, test_tensors=rows, task_labels=[0, 0]).train_stream
    time_of = medians(
        benchmark,
        rounds,
        ours(name, task),
        other=theirs(name, task, experiences, EvaluationPlugin),
        products=products(task, BATCHES[name]),
    )
    section.row(
        "Avalanche, on tensors",
        "Training on the second experience with Avalanche's strategy of the same name and settings, on tensors in "
        "memory, without metrics; the ratio says how many times as long Avalanche takes. *Products alone* are the "
        "matrix products of our steps and nothing else, neither loss nor optimiser, and *at most* is the ratio that a "
        "program would have that does nothing but them. Where definitions differ: its DER++ draws one batch from the "
        "memory at each step, ours two, as the paper does; its EWC squares gradients of batches of all rows, ours has "
        "the Fisher of 200 rows.",
        strategy=name,
        network=data,
        on=n_threads,
        **columns("Avalanche", time_of),
        **verdict(time_of["other"] / time_of["ours"], TARGETS[name][data], larger_is_better=True),
    )


@pytest.fixture(scope="session")
def split_mnist(data_home, tmp_path_factory):
    """Avalanche's SplitMNIST, from files as torchvision wants them."""
    raw = tmp_path_factory.mktemp("root") / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (data_home / "mnist").glob("*.gz"):
        with gzip.open(path) as source, open(raw / path.stem, "wb") as target:
            shutil.copyfileobj(source, target)
    return SplitMNIST(n_experiences=5, seed=0, dataset_root=raw.parents[1])


def arrays(experience):
    """The rows of Avalanche's experience, as it sees them."""
    x, y, _ = zip(*experience.dataset, strict=True)
    return torch.stack(x).flatten(1).numpy(), np.array(y)


def metrics():
    """The evaluation of Avalanche's introductory examples."""
    return EvaluationPlugin(
        accuracy_metrics(minibatch=True, epoch=True, experience=True, stream=True),
        loss_metrics(minibatch=True, epoch=True, experience=True, stream=True),
        forgetting_metrics(experience=True, stream=True),
        loggers=[InteractiveLogger()],
    )


@pytest.mark.parametrize("name", ["Naive", "Replay"])
def test_against_avalanche_as_documented(benchmark, section, rounds, tasks, split_mnist, name, n_threads):
    experiences = split_mnist.train_stream[:2]
    task = dataclasses.replace(tasks["MNIST"], epochs=1, experiences=tuple(map(arrays, experiences)))
    time_of = medians(benchmark, rounds, ours(name, task), avalanche=theirs(name, task, experiences, metrics))
    section.row(
        "Avalanche, as documented",
        "The second experience of its `SplitMNIST(n_experiences=5)`, one epoch in batches of 128, with the metrics and "
        "the logger of its introductory examples, against `partial_fit` on the same rows.",
        strategy=name,
        on=n_threads,
        Avalanche=milliseconds(time_of["avalanche"]),
        estimator=milliseconds(time_of["ours"]),
        **verdict(time_of["avalanche"] / time_of["ours"], 4.0, larger_is_better=True),
    )


@pytest.mark.parametrize("data", ["digits", "MNIST"])
def test_against_scikit_learn(benchmark, section, rounds, tasks, data, n_threads):
    task = tasks[data]
    X, y = task.experiences[1]

    def mlp_classifier():
        other = MLPClassifier(task.sizes[1:-1], batch_size=task.batch_size, learning_rate_init=task.lr, random_state=0)
        other.partial_fit(*task.experiences[0], classes=range(task.sizes[-1]))

        def learn():
            with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
                for _ in range(task.epochs):  # a call is an epoch
                    other.partial_fit(X, y)

        return learn

    time_of = medians(benchmark, rounds, ours("Naive", task), other=mlp_classifier, products=products(task))
    section.row(
        "scikit-learn and skorch",
        ALONE,
        other="MLPClassifier",
        network=data,
        on=n_threads,
        **columns("takes", time_of),
        **verdict(time_of["other"] / time_of["ours"], {"MNIST": 2.0, "digits": 1.0}[data], larger_is_better=True),
    )


@pytest.mark.parametrize("data", ["digits", "MNIST"])
def test_against_skorch(benchmark, section, rounds, tasks, data, n_threads):
    task = tasks[data]
    X, y = task.experiences[1]

    def skorch_net():
        other = NeuralNetClassifier(
            MLP,
            module__n_inputs=task.sizes[0],
            module__n_outputs=task.sizes[-1],
            module__hidden_units=task.sizes[1:-1],
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            lr=task.lr,
            batch_size=task.batch_size,
            max_epochs=task.epochs,
            train_split=None,
            verbose=0,
        )
        other.partial_fit(*task.experiences[0])
        return lambda: other.partial_fit(X, y)

    time_of = medians(benchmark, rounds, ours("Naive", task), other=skorch_net, products=products(task))
    section.row(
        "scikit-learn and skorch",
        ALONE,
        other="skorch",
        network=data,
        on=n_threads,
        **columns("takes", time_of),
        **verdict(time_of["other"] / time_of["ours"], None),
    )
