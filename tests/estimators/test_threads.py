"""Estimators that learn and answer in several threads at once: each as if it were alone."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers.battery import DIGITS, Subject, stream
from torch import nn

from forgetless.estimators import (
    MLP,
    AdapterClassifier,
    ContinualNet,
    FirstSessionClassifier,
    LwFClassifier,
    NaiveClassifier,
    all_estimators,
)
from forgetless.estimators.engine.randomness import own_draws

CLASSES = dict(all_estimators())
every = pytest.mark.parametrize("name", CLASSES)


def states():
    return np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()


def module_with_dropout(subject):
    """A net in which everything draws: weights, dropout, and a layer of an unknown kind."""
    return (
        {"net": subject.net(module__hidden_units=(12,), module__dropout=0.3, max_epochs=2)} if subject.has_net else {}
    )


def networks(estimator):
    """The networks that an estimator has."""
    if hasattr(estimator, "learners_"):
        return [learner.net_ for learner in estimator.learners_.values()]
    return [estimator.net_] if hasattr(estimator, "net_") else []


def learn(subject, seed):
    estimator = subject.small(**module_with_dropout(subject), **({"random_state": seed} if subject.is_seeded else {}))
    before = states()
    subject.learned(estimator, stream("task")[:2], n_rows=40)
    answers = subject.bits(estimator)
    assert states() == before
    return answers


@every
@pytest.mark.parametrize("n_threads", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 8))])
def test_threads_learn_as_one(name, n_threads):
    subject = Subject(CLASSES[name])
    alone = [learn(subject, seed) for seed in range(n_threads)]
    with ThreadPoolExecutor(n_threads) as pool:
        together = list(pool.map(lambda seed: learn(subject, seed), range(n_threads)))
    assert all(map(np.array_equal, alone, together))


@every
def test_threads_ask_at_once(name):
    subject = Subject(CLASSES[name])
    estimator = subject.small(**module_with_dropout(subject))
    estimator = subject.learned(estimator, stream("task")[:3])
    expected = subject.bits(copy.deepcopy(estimator))
    before = [(t, t.clone()) for net in networks(estimator) for t in net.module_.state_dict().values()]
    barrier = threading.Barrier(4)

    def ask(_):
        barrier.wait()
        return [subject.bits(estimator) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        answers = [answer for each in pool.map(ask, range(4)) for answer in each]
    assert all(np.array_equal(answer, expected) for answer in answers)
    assert all(torch.equal(t, value) for t, value in before)


@every
def test_a_fitted_network_is_in_evaluation_mode(name):
    subject = Subject(CLASSES[name])
    estimator = subject.taught("task", n_learned=2)
    assert not any(layer.training for net in networks(estimator) for layer in net.module_.modules())


DRAWS = {
    "linear": lambda x: nn.Linear(5, 7).weight.detach(),
    "convolution": lambda x: nn.Conv2d(3, 4, 3).weight.detach(),
    "embedding": lambda x: nn.Embedding(5, 3).weight.detach(),
    "orthogonal": lambda x: nn.init.orthogonal_(torch.empty(4, 4)),
    "truncated": lambda x: nn.init.trunc_normal_(torch.empty(4, 4)),
    "dropout": lambda x: nn.Dropout(0.3)(x),
    "dropout in place": lambda x: nn.Dropout(0.3, inplace=True)(x.clone()),
    "dropout of all": lambda x: nn.Dropout(1.0)(x) + torch.rand(1),
    "dropout 1d": lambda x: nn.Dropout1d(0.3)(x),
    "dropout 2d": lambda x: nn.Dropout2d(0.3)(x[None]),
    "dropout 3d": lambda x: nn.Dropout3d(0.3)(x[None, None]),
    "alpha dropout": lambda x: nn.AlphaDropout(0.3)(x),
    "feature alpha dropout": lambda x: nn.FeatureAlphaDropout(0.3)(x),
    "like": lambda x: torch.rand_like(x) + torch.randn_like(x) + torch.randint_like(x, 3, 9),
    "permutation": lambda x: torch.randperm(9),
    "multinomial": lambda x: torch.multinomial(x[0].abs(), 3),
    "normal": lambda x: torch.normal(x, x.abs()),
    "poisson": lambda x: torch.poisson(x.abs()),
    "gamma": lambda x: torch.distributions.Gamma(x.abs() + 1, 1.0).sample(),
    "gumbel": lambda x: nn.functional.gumbel_softmax(x),
    "leaky": lambda x: nn.RReLU()(x),
    "pool": lambda x: nn.FractionalMaxPool2d(2, output_size=2)(x[None]),
    "lstm": lambda x: nn.LSTM(4, 3, 2, dropout=0.5)(x)[0].detach(),
    "attention": lambda x: nn.MultiheadAttention(4, 2, dropout=0.5)(x, x, x)[0].detach(),
    "transformer": lambda x: nn.TransformerEncoderLayer(4, 2, 8)(x).detach(),
}


@pytest.mark.parametrize("in_loop", [False, True])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_own_draws_are_those_of_the_global_generator(draw, in_loop):
    x = torch.linspace(-2, 2, 120).view(5, 6, 4)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        expected = [draw(x), draw(x)]
    before = torch.get_rng_state()
    with own_draws(7, in_loop):
        drawn = [draw(x), draw(x)]
    assert all(map(torch.equal, drawn, expected))
    assert torch.equal(torch.get_rng_state(), before)


class Noisy(nn.Module):
    """A user's own module, which draws in its forward pass."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.head = nn.Linear(n_inputs, n_outputs)

    def forward(self, x):
        return self.head(x + 0.1 * torch.randn_like(x)) if self.training else self.head(x)


class MonteCarlo(nn.Module):
    """Dropout that is never off."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.hidden, self.head = nn.Linear(n_inputs, 16), nn.Linear(16, n_outputs)

    def forward(self, x):
        return self.head(nn.functional.dropout(self.hidden(x).relu(), 0.5))


@pytest.mark.parametrize("cls", [NaiveClassifier, LwFClassifier, AdapterClassifier, FirstSessionClassifier])
def test_answers_that_are_drawn_are_drawn_from_the_seed(cls):
    X, y = DIGITS.X_train[:100], DIGITS.y_train[:100]

    def answers(seed):
        before = states()
        clf = cls(ContinualNet(MonteCarlo, max_epochs=2), random_state=seed)
        clf.partial_fit(X[y < 5], y[y < 5]).partial_fit(X, y)
        p = clf.predict_proba(X)
        assert np.array_equal(p, clf.predict_proba(X))
        assert states() == before
        return p

    with torch.random.fork_rng():
        torch.manual_seed(1)
        p = answers(0)
        torch.manual_seed(2)
        assert np.array_equal(p, answers(0))
    assert not np.array_equal(p, answers(1))


@pytest.mark.parametrize("module", [Noisy, MLP])
def test_own_modules_draw_from_the_seed(module):
    def answers(seed):
        clf = NaiveClassifier(ContinualNet(module, max_epochs=2), random_state=seed)
        return clf.fit(DIGITS.X_train[:200], DIGITS.y_train[:200]).predict_proba(DIGITS.X_test)

    before = states()
    assert np.array_equal(answers(0), answers(0))
    assert not np.array_equal(answers(0), answers(1))
    assert states() == before
