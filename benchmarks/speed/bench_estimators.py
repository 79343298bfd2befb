"""Speed of the estimators as ratios: ``tox run -e bench``.

Rounds of what is compared are interleaved, and ratios are those of medians, so that a busy machine disturbs both sides
alike. A complete run rewrites the tables in ``docs/performance.md``; a part of it (``-k``) only prints.
``--benchmark-min-rounds`` is the number of rounds.
"""

import copy
import resource
import statistics
import subprocess
import sys
import time
from functools import cache

import pytest
import torch
from bare_loops import PAIRS, PerTask
from performance import (
    SETTINGS,
    Section,
    digits_task,
    machine,
    medians,
    milliseconds,
    mnist_task,
    seconds,
    use,
    verdict,
)
from scipy.linalg.blas import ssyrk
from sklearn.base import clone, is_classifier
from sklearn.naive_bayes import GaussianNB
from threadpoolctl import threadpool_limits

from forgetless.datasets import load_digits, load_mnist, permuted_stream
from forgetless.estimators import (
    MLP,
    ContinualNet,
    RandomProjectionClassifier,
    all_estimators,
    partial_fit_together,
)
from forgetless.estimators.engine.objective import Classification

TARGETS = {name: {"MNIST": 0.9, "digits": 0.9} for name in ("EWC", "SI", "LwF", "Replay", "DER++", "A-GEM")}
TARGETS["Naive"] = {"MNIST": 0.85, "digits": 0.8}
LARGEST = 1.1
STACKED = ["Naive", "Anchored L2", "EWC", "SI", "MAS", "Replay", "DER++", "LwF"]
# Estimators whose definition demands more time, the more experiences there were.
GROWING = {
    "JointClassifier": "trains on all rows so far",
    "CumulativeClassifier": "trains on all rows so far",
    "ProgressiveClassifier": "each column reads all earlier ones",
    "GEMClassifier": "a gradient for each past experience at each step",
}


@pytest.fixture(scope="session")
def section(request):
    result = Section("bench")
    yield result
    intro = f"Measured by `tox run -e bench` on: {machine()}"
    if not torch.cuda.is_available():
        intro += " A GPU was not measured."
    text = result.text(intro)
    print(f"\n\n{text}")
    if not request.config.option.keyword and not request.session.testsfailed:
        result.write(intro)


@pytest.fixture(scope="session")
def task_of(request):
    @cache
    def make(name):
        return digits_task() if name == "digits" else mnist_task(request.getfixturevalue("data_home"))

    return make


@pytest.fixture
def rounds(request):
    return request.config.option.benchmark_min_rounds


@pytest.fixture(autouse=True)
def threads_as_before():
    n = torch.get_num_threads()
    yield
    torch.set_num_threads(n)


def prepared(name, task, device, seed=0):
    """Estimator and bare loop after the first experience."""
    estimator, bare = PAIRS[name]
    torch.manual_seed(seed)
    estimator, bare = clone(estimator), bare(task.sizes, lr=task.lr, batch_size=task.batch_size, epochs=task.epochs)
    is_per_task = isinstance(bare, PerTask)
    estimator.set_params(net=task.net(device=device, reset_optimizer=is_per_task), random_state=seed)
    if "active_outputs" in estimator.get_params():
        estimator.set_params(active_outputs="all")
    X, y = task.experiences[0]
    estimator.partial_fit(X, y, **({} if is_per_task else {"classes": range(task.sizes[-1])}))
    bare.model.to(device)
    bare.learn(torch.from_numpy(X).to(device), torch.from_numpy(y).to(device))
    return estimator, bare


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("data", ["digits", "MNIST"])
@pytest.mark.parametrize("name", PAIRS)
def test_partial_fit_against_a_bare_loop(benchmark, section, rounds, task_of, name, data, setting):
    task, device = task_of(data), use(setting)
    estimator, bare = prepared(name, task, device)
    X, y = task.experiences[1]
    around = []

    def bare_round():
        learner = copy.deepcopy(bare)

        def learn():  # from arrays, as the estimator does
            rows = torch.from_numpy(X).to(device), torch.from_numpy(y).to(device)
            start = time.perf_counter()
            learner.before(*rows)
            begun = time.perf_counter()
            learner.train(*rows)
            done = time.perf_counter()
            learner.after(*rows)
            around.append(begun - start + time.perf_counter() - done)

        return learn

    def our_round():
        learner = copy.deepcopy(estimator)
        return lambda: learner.partial_fit(X, y)

    time_of = medians(benchmark, rounds, our_round, bare=bare_round)
    section.row(
        "The estimators against bare loops",
        "`partial_fit` on the second experience, in which penalty, memory or teacher is active, against a plain torch "
        "loop of the same mathematics (`benchmarks/speed/bare_loops.py`) with `torch.optim.Adam`; consolidation is "
        "part of both, and the column says what it takes in the bare loop (Fisher and sensitivity by "
        "`torch.func.vmap`). MNIST: 784-400-400-10, batches of 128, 6400 rows, 2 epochs; digits: 64-100-10, batches of "
        "32, 10 epochs.",
        **{
            "strategy": name,
            "network": data,
            "on": setting,
            "bare loop": milliseconds(time_of["bare"]),
            "of which consolidation": milliseconds(statistics.median(around[1:])),
            "estimator": milliseconds(time_of["ours"]),
        },
        **verdict(time_of["ours"] / time_of["bare"], TARGETS.get(name, {}).get(data, LARGEST)),
    )


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", STACKED)
def test_ten_stacked_seeds_against_one(benchmark, section, rounds, task_of, name, setting):
    task, device = task_of("digits"), use(setting)
    estimators = [prepared(name, task, device, seed)[0] for seed in range(10)]
    X, y = task.experiences[1]

    def stacked():
        seeds = copy.deepcopy(estimators)
        return lambda: partial_fit_together(seeds, [{"X": X, "y": y}] * 10)

    def one():
        learner = copy.deepcopy(estimators[0])
        return lambda: learner.partial_fit(X, y)

    time_of = medians(benchmark, rounds, stacked, one=one)
    section.row(
        "Ten seeds stacked against one",
        "`partial_fit_together` of ten seeds against `partial_fit` of one: second experience of digits, as above.",
        strategy=name,
        on=setting,
        **{"one seed": milliseconds(time_of["one"]), "ten seeds": milliseconds(time_of["ours"])},
        **verdict(time_of["ours"] / time_of["one"], 3.5),
    )


def parts_of_a_step(n_nets, sizes, batch_size):
    """What a step of plain training does, each kind of work as a function; several networks as a stack."""
    n_inputs, n_hidden, n_outputs = sizes
    stack = () if n_nets == 1 else (n_nets,)
    x, hidden, outputs = (torch.randn(*stack, batch_size, n) for n in sizes)
    delta = torch.randn_like(hidden)
    first, last = torch.randn(*stack, n_hidden, n_inputs), torch.randn(*stack, n_outputs, n_hidden)
    biases = [torch.randn(*stack, *([1] if stack else []), n) for n in (n_hidden, n_outputs)]
    y = torch.randint(n_outputs, (*stack, batch_size))
    product, with_bias = (torch.bmm, torch.baddbmm) if stack else (torch.mm, torch.addmm)
    theta, gradient, mean, square = torch.rand(4, sum(map(torch.numel, (first, last, *biases)))).unbind()
    count, objective = torch.tensor(1.0), Classification(torch.nn.CrossEntropyLoss())

    def products():
        with_bias(biases[0], x, first.mT)
        with_bias(biases[1], hidden, last.mT)
        product(outputs.mT, hidden)
        product(outputs, last)
        product(delta.mT, x)

    def loss_and_gradient():
        objective.loss_and_gradient(outputs, y)

    def elementwise():
        torch.relu_(hidden)
        torch.ops.aten.threshold_backward.grad_input(delta, hidden, 0, grad_input=delta)
        outputs.sum(-2)
        delta.sum(-2)

    def optimiser():
        moments = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "eps": 1e-8}
        flags = {"amsgrad": False, "maximize": False}
        torch._fused_adam_([theta], [gradient], [mean], [square], [], [count], **moments, **flags)

    return {
        "products": products,
        "loss and its gradient": loss_and_gradient,
        "elementwise, sums": elementwise,
        "optimiser": optimiser,
    }


@pytest.mark.parametrize("n_nets", [1, 10])
def test_where_a_step_goes(benchmark, section, rounds, task_of, n_nets):
    torch.set_num_threads(1)
    task = task_of("digits")
    estimators = [prepared("Naive", task, "cpu", seed)[0] for seed in range(n_nets)]
    X, y = task.experiences[1]
    n_steps = task.epochs * -(-len(X) // task.batch_size)

    def whole():
        learners = copy.deepcopy(estimators)
        if n_nets == 1:
            return lambda: learners[0].partial_fit(X, y)
        return lambda: partial_fit_together(learners, [{"X": X, "y": y}] * n_nets)

    parts = parts_of_a_step(n_nets, task.sizes, task.batch_size)
    often = {name: lambda part=part: lambda: [part() for _ in range(n_steps)] for name, part in parts.items()}
    time_of = {name: 1e6 * each / n_steps for name, each in medians(benchmark, rounds, whole, **often).items()}
    step = time_of.pop("ours")
    section.row(
        "Where a step goes",
        "A step of plain training on digits in microseconds, on one thread: as a part of `partial_fit`, and its "
        "kernels, each kind by itself. What is left is Python between them, batches, and the start of the call.",
        networks=str(n_nets),
        **{name: f"{each:.0f}" for name, each in time_of.items()},
        **{"the rest": f"{step - sum(time_of.values()):.0f}", "whole step": f"{step:.0f}"},
        **{"whole / products": f"{step / time_of['products']:.1f}"},
    )


@pytest.mark.parametrize("n_threads", [1, 2])
def test_random_projection_against_its_matrix_products(benchmark, section, rounds, data_home, n_threads):
    torch.set_num_threads(n_threads)
    mnist, width = load_mnist(data_home), 5000
    X, y = torch.from_numpy(mnist.X_train), torch.from_numpy(mnist.y_train)
    R = torch.randn(X.shape[1], width)
    member = torch.nn.functional.one_hot(y).float()

    def products():
        for x, m in zip(X.split(6000), member.split(6000), strict=True):
            features = x @ R
            m.T @ features
            ssyrk(1.0, features.numpy().T, lower=1)

    def ours():
        clf = RandomProjectionClassifier(n_features=width, random_state=0)
        return lambda: clf.partial_fit(mnist.X_train, mnist.y_train)

    with threadpool_limits(n_threads, user_api="blas"):
        time_of = medians(benchmark, max(1, rounds // 3), ours, products=lambda: products)
    section.row(
        "Closed forms against their matrix products",
        "`RandomProjectionClassifier(n_features=5000)` learns all 60,000 rows of MNIST, against the products of inputs "
        "and projection, of classes and features, and of features with themselves (one triangle), and nothing else.",
        on=f"{n_threads} thread{'s' * (n_threads > 1)}",
        **{"products alone": milliseconds(time_of["products"]), "partial_fit": milliseconds(time_of["ours"])},
        **verdict(time_of["ours"] / time_of["products"], 1.3),
    )


@pytest.fixture(scope="session")
def hundred_experiences():
    return [(e.X_train, e.y_train) for e in permuted_stream(load_digits(), n_experiences=100, random_state=0)]


@pytest.mark.parametrize("name", [n for n, c in all_estimators() if is_classifier(c()) and n not in GROWING])
def test_time_per_experience_does_not_grow(benchmark, section, rounds, hundred_experiences, name):
    torch.set_num_threads(1)
    fresh = dict(all_estimators())[name]()
    params = {
        "net": ContinualNet(MLP, module__hidden_units=(100,), max_epochs=1, batch_size=32),
        "estimator": GaussianNB(),
        "n_features": 500,
        "random_state": 0,
    }
    fresh.set_params(**{key: value for key, value in params.items() if key in fresh.get_params()})
    experienced = clone(fresh)
    for X, y in hundred_experiences[:90]:
        experienced.partial_fit(X, y)

    def turns():
        """The first ten experiences and the last ten, in turns, as often as there are rounds for."""
        for _ in range(max(1, rounds // 3)):
            young, old = clone(fresh), copy.deepcopy(experienced)
            for first, last in zip(hundred_experiences[:10], hundred_experiences[90:], strict=True):
                yield lambda young=young, rows=first: young.partial_fit(*rows)
                yield lambda old=old, rows=last: old.partial_fit(*rows)

    steps, first_ten = turns(), []

    def setup():
        first_ten.append(seconds(next(steps)))
        return (next(steps),), {}

    benchmark.pedantic(lambda step: step(), setup=setup, rounds=10 * max(1, rounds // 3))
    first, last = statistics.median(first_ten), benchmark.stats.stats.median
    benchmark.extra_info["ratio to the first ten"] = round(last / first, 3)
    reasons = "; ".join(f"{grows.removesuffix('Classifier')}: {why}" for grows, why in GROWING.items())
    section.row(
        "Time per experience",
        "Median of the last ten experiences against that of the first ten, on 100 permutations of digits, one epoch "
        f"each. Left out is what must grow by its definition ({reasons}).",
        strategy=name.removesuffix("Classifier"),
        **{"first ten": milliseconds(first), "last ten": milliseconds(last)},
        **verdict(last / first, 1.15),
    )


FIRST_NETWORK = """
from forgetless.estimators import EWCClassifier
EWCClassifier().partial_fit([[number / 8] for number in range(8)], [0, 1] * 4)
"""


@pytest.mark.parametrize(
    ("what", "arguments", "target"),
    [
        ("`import forgetless`", ["-c", "import forgetless"], 0.5),
        ("`forgetless --help`", ["-m", "forgetless", "--help"], 0.5),
        ("`forgetless list`", ["-m", "forgetless", "list"], 0.5),
        ("`import torch`, for comparison", ["-c", "import torch"], None),
        ("a first network has learned eight rows", ["-c", FIRST_NETWORK], None),
        ("`import torch, skorch`, for comparison", ["-c", "import torch, skorch"], None),
    ],
)
def test_start(benchmark, section, rounds, what, arguments, target):
    cpu = []

    def start():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)

    benchmark.pedantic(start, rounds=rounds, warmup_rounds=1)
    used = statistics.median(cpu[1:])
    benchmark.extra_info["seconds of CPU"] = round(used, 3)
    cells = verdict(used, target)
    section.row(
        "Start",
        "A fresh process; CPU time is that of user and system together.",
        **{
            "what": what,
            "elapsed": f"{benchmark.stats.stats.median:.2f} s",
            "CPU time": f"{used:.2f} s",
            "target": cells["target"] and f"{cells['target']} s",
            "reached": cells["reached"],
        },
    )
