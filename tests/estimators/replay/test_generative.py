"""Generative replay: the evidence bound against torch.distributions and integration, the loss against its formula."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from helpers.estimators import DIGITS, X, Y, accuracy, learned, make_net, make_stream
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn import functional as F

from forgetless.estimators import GenerativeReplayClassifier, NaiveClassifier, Rows
from forgetless.estimators.replay.generative import VAE

make_net = partial(make_net, lr=1e-2)


def make(**params):
    return GenerativeReplayClassifier(
        **{"net": make_net(), "hidden_units": (50,), "latent_size": 5, "random_state": 0, **params}
    )


# --- the autoencoder ---------------------------------------------------------------------------------------------


def autoencoder(bernoulli, n_inputs=6, latent_size=3):
    """An autoencoder with random weights, and rows for it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = VAE(n_inputs, (8,), latent_size, bernoulli)
        x = torch.rand(40, n_inputs).round() if bernoulli else 5 + 2 * torch.randn(40, n_inputs)
        noise = torch.randn(40, latent_size)
    vae.set_scale(x)
    if not bernoulli:
        vae.log_variance.data += torch.linspace(-1, 1, n_inputs)
    return vae, x, noise


@pytest.mark.parametrize("bernoulli", [True, False])
def test_evidence_bound_is_that_of_torch_distributions(bernoulli):
    vae, x, noise = autoencoder(bernoulli)
    scaled = x if bernoulli else (x - x.mean(0)) / x.std(0, correction=0)
    mean, log_variance = vae.to_code(vae.encoder(scaled)).chunk(2, dim=1)
    posterior = Normal(mean, log_variance.exp().sqrt())
    decoded = vae.head(vae.decoder(posterior.mean + posterior.stddev * noise))
    p = Bernoulli(logits=decoded) if bernoulli else Normal(decoded, vae.log_variance.exp().sqrt())
    expected = p.log_prob(scaled).sum(1) - kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(vae.evidence_bound(x, noise), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bernoulli", [True, False])
def test_evidence_bound_is_below_the_evidence(bernoulli):
    """log p(x), integrated numerically over a code of one number."""
    vae, x, _ = autoencoder(bernoulli, latent_size=1)
    z = torch.linspace(-6, 6, 2001)[:, None]
    with torch.no_grad():
        joint = torch.stack([vae.log_likelihood(row.expand(len(z), -1), z) for row in x]) + Normal(0.0, 1.0).log_prob(
            z.T
        )
        evidence = joint.logsumexp(1) + np.log(12 / 2000)
        draws = torch.randn(2000, len(x), 1, generator=torch.Generator().manual_seed(1))
        bound = torch.stack([vae.evidence_bound(x, noise) for noise in draws]).mean(0)
    assert (bound < evidence).all()
    assert (evidence - bound).mean() < 5


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_evidence_bound_improves_in_training(likelihood):
    X_new = torch.from_numpy(DIGITS.X_test)
    noise = torch.randn(len(X_new), 5, generator=torch.Generator().manual_seed(0))
    bounds = []
    for epochs in (1, 10):
        clf = make(likelihood=likelihood, generator_epochs=epochs).fit(X, Y)
        losses = clf.generator_.history[:, "train_loss"]
        assert len(losses) == epochs and (epochs == 1 or losses[-1] < losses[0])
        with torch.no_grad():
            bounds.append(float(clf.generator_.module_.evidence_bound(X_new, noise).mean()))
    assert bounds == sorted(bounds) and bounds[-1] > bounds[0] + 1


def test_generator_learns_the_distribution():
    rng = np.random.default_rng(0)
    rows = 50 + rng.normal(size=(800, 2)) @ np.array([[3.0, 1.0], [0.0, 0.5]]) * 4
    clf = make(generator_epochs=50, latent_size=2, generator_lr=5e-3).fit(rows, np.arange(800) % 2)
    assert not clf.generator_.module_.bernoulli
    made_up = clf.generator_.module_.sample(4000, torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(made_up.mean(axis=0), rows.mean(axis=0), atol=1.0)
    np.testing.assert_allclose(np.cov(made_up.T), np.cov(rows.T), rtol=0.2)


def test_likelihood_follows_the_first_call():
    x, y = X[:100], Y[:100]
    clf = make().partial_fit(x, y)
    assert clf.generator_.module_.bernoulli
    assert not make().fit(x - 0.5, y).generator_.module_.bernoulli
    assert not make(likelihood="gaussian").fit(x, y).generator_.module_.bernoulli
    with pytest.warns(UserWarning, match="clipped"):
        clf.partial_fit(2 * x, y)


# --- replay ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", ["hard", "soft"])
@pytest.mark.parametrize("weight", [0.3, "balanced"])
def test_loss_equals_the_formula(targets, weight):
    clf = make(targets=targets, replay_weight=weight, temperature=3.0)
    clf.partial_fit(X[Y < 6], Y[Y < 6])
    teacher = copy.deepcopy(clf.net_.module_)
    call = clf.open_call(X[Y >= 6], Y[Y >= 6])
    clf.learn(call)
    x, y = torch.from_numpy(X[Y >= 6][:20]), torch.from_numpy(Y[Y >= 6][:20])
    batch = Rows(x=x, y=y)
    clf.before_step(call, batch)
    x_old, module = batch.memory.x, clf.net_.module_
    assert x_old.shape == x.shape
    with torch.no_grad():
        z = teacher(x_old)
        assert z.shape == (20, 6)
        if targets == "hard":
            replay = F.cross_entropy(module(x_old), z.argmax(1))
        else:  # the teacher knows six of the ten classes
            p, log_q = (z / 3).softmax(1), (module(x_old) / 3).log_softmax(1)[:, :6]
            replay = 9 * (p * (p.log() - log_q)).sum(1).mean()
        w = 0.5 if weight == "balanced" else 0.3
        expected = (1 - w) * F.cross_entropy(module(x), y) + w * replay
    torch.testing.assert_close(clf.loss(call, module, batch).detach(), expected)


@pytest.mark.parametrize("targets", ["hard", "soft"])
def test_each_old_task_is_replayed_over_its_own_classes(targets):
    *experiences, last = make_stream("task")
    clf = learned(make(targets=targets, temperature=1.0), experiences)
    call = clf.open_call(last.X_train, last.y_train, task_id=last.task_id)
    clf.learn(call)
    old = [clf.tasks_[task] for task in range(4)]
    x, y = torch.from_numpy(X[:30]), torch.from_numpy(np.full(30, clf.tasks_[4][0]))
    batch = Rows(x=x, y=y)
    clf.before_step(call, batch)
    module = clf.net_.module_
    with torch.no_grad():
        new, student, teacher = module(x), module(batch.memory.x), clf.teacher_(batch.memory.x)
        losses = []
        for own in old:
            if targets == "hard":
                losses.append(F.cross_entropy(student[:, own], teacher[:, own].argmax(1)))
            else:
                p = teacher[:, own].softmax(1)
                losses.append((p * (p.log() - student[:, own].log_softmax(1))).sum(1).mean())
        expected = 0.2 * F.cross_entropy(new[:, clf.tasks_[4]], torch.zeros(30, dtype=torch.int64))
        expected = expected + 0.8 * sum(losses) / 4
    torch.testing.assert_close(clf.loss(call, module, batch).detach(), expected, rtol=1e-4, atol=1e-5)


def test_old_generator_and_teacher_stand_still_within_an_experience():
    clf = make().partial_fit(X[Y < 5], Y[Y < 5], task_id="a")
    assert not hasattr(clf, "old_generator_")
    trained = copy.deepcopy(clf.generator_.module_.state_dict())
    answers = clf.net_.module_(torch.from_numpy(X))
    for rows in np.array_split(np.flatnonzero(Y >= 5), 3):
        clf.partial_fit(X[rows], Y[rows], task_id="b")
        for name, value in clf.old_generator_.state_dict().items():
            assert torch.equal(value, trained[name])
        assert torch.equal(clf.teacher_(torch.from_numpy(X)), answers)
    assert not torch.equal(clf.generator_.module_.head.weight, trained["head.weight"])


def test_generator_learns_old_rows_too():
    """After the second experience it still makes up rows of the first, as a classifier of everything sees them."""
    judge = NaiveClassifier(make_net(max_epochs=10), random_state=0).fit(X, Y)
    shares = {}
    for weight in (0.0, "balanced"):
        clf = make(replay_weight=weight, generator_epochs=25)
        clf.partial_fit(X[Y < 5], Y[Y < 5]).partial_fit(X[Y >= 5], Y[Y >= 5])
        made_up = clf.generator_.module_.sample(1000, torch.Generator().manual_seed(0)).numpy()
        shares[weight] = np.mean(judge.predict(made_up) < 5)
    assert shares[0.0] < 0.25 < 0.35 < shares["balanced"] < 0.7


def test_memory_and_information():
    clf = learned(make(generator_epochs=1), make_stream(n_experiences=2))
    usage = clf.memory_usage()
    n_parameters = sum(p.numel() for p in clf.generator_.module_.parameters())
    assert usage["generator"] >= 4 * n_parameters * (2 + 2)  # two generators, and Adam's two moments
    assert usage["teacher"] == sum(p.numel() * 4 for p in clf.teacher_.parameters())
    assert clf.strategy_info()["keeps"] == "generator"


def test_against_forgetting():
    net = make_net(module__hidden_units=(100,), max_epochs=10)
    stream = make_stream()
    naive = learned(NaiveClassifier(net, random_state=0), stream)
    clf = learned(make(net=net, generator_epochs=15, hidden_units=(100,), latent_size=10), stream)
    assert accuracy(naive, stream) < 0.3
    assert accuracy(clf, stream) > 0.7
