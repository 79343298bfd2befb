"""Generative replay: a variational autoencoder makes up old rows, and the old network labels them."""

import math
import warnings
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from .._compat import Integral, Interval, Real, at_least, between, one_of
from ..distillation.lwf import distillation_loss
from ..modules import frozen_copy, tensor_bytes
from ..net import ContinualRegressionNet, PlainLearning
from ..network import NetworkClassifier, NetworkStrategy, network_bytes
from .base import forward_together

# Least variance of a feature given its code, in units of the variance of the feature in the first call.
_LEAST_VARIANCE = 1e-3


class VAE(nn.Module):
    """Variational autoencoder of rows: fully connected, standard normal codes.

    Parameters
    ----------
    n_inputs : int
    hidden_units : sequence of int
        Widths of the encoder's hidden layers; the decoder has them in reverse order.
    latent_size : int
        Size of a code z.
    bernoulli : bool
        p(x | z): independent Bernoulli for inputs from 0 to 1, whose probabilities are decoded; or else Gaussian, with
        a decoded mean and one learned variance for each feature, of inputs brought to the scale of the first call.

    References
    ----------
    Kingma & Welling, Auto-encoding variational Bayes, 2014.

    Examples
    --------
    >>> vae = VAE(4, hidden_units=(8,), latent_size=2, bernoulli=True)
    >>> vae.sample(3, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 4])
    """

    def __init__(self, n_inputs, hidden_units, latent_size, bernoulli):
        super().__init__()
        self.latent_size, self.bernoulli = latent_size, bernoulli
        self.encoder = _hidden([n_inputs, *hidden_units])
        width = hidden_units[-1] if len(hidden_units) else n_inputs
        self.to_code = nn.Linear(width, 2 * latent_size)
        self.decoder = _hidden([latent_size, *reversed(hidden_units)])
        self.head = nn.Linear(hidden_units[0] if len(hidden_units) else latent_size, n_inputs)
        if not bernoulli:
            self.log_variance = nn.Parameter(torch.zeros(n_inputs))
            self.register_buffer("loc", torch.zeros(n_inputs))
            self.register_buffer("scale", torch.ones(n_inputs))

    def note_scale(self, x):
        """Take mean and standard deviation of the rows as location and scale of the inputs."""
        if not self.bernoulli:
            self.loc, deviation = x.mean(0), x.std(0, correction=0)
            self.scale = torch.where(deviation > 0, deviation, 1.0)

    def encode(self, x):
        """Mean and logarithm of the variance of q(z | x)."""
        return self.to_code(self.encoder(x if self.bernoulli else (x - self.loc) / self.scale)).chunk(2, dim=1)

    def log_likelihood(self, x, z):
        """Log p(x | z) of each row; a Gaussian density is that of the scaled inputs."""
        decoded = self.head(self.decoder(z))
        if self.bernoulli:
            return -F.binary_cross_entropy_with_logits(decoded, x, reduction="none").sum(1)
        log_variance = self._log_variance()
        distance = ((x - self.loc) / self.scale - decoded).square() / log_variance.exp()
        return -0.5 * (distance + log_variance + math.log(2 * math.pi)).sum(1)

    def evidence_bound(self, x, noise):
        """A lower bound of log p(x) of each row: E log p(x | z) − KL(q(z | x) ‖ p(z)), by one code a row.

        Parameters
        ----------
        x : torch.Tensor of shape (n_rows, n_inputs)
        noise : torch.Tensor of shape (n_rows, latent_size)
            Standard normal.

        Returns
        -------
        torch.Tensor of shape (n_rows,)
        """
        mean, log_variance = self.encode(x)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return self.log_likelihood(x, mean + (log_variance / 2).exp() * noise) - divergence

    @torch.no_grad()
    def sample(self, n_rows, generator):
        """Rows drawn from the model: of a Bernoulli the probabilities, as grey values.

        Parameters
        ----------
        n_rows : int
        generator : torch.Generator

        Returns
        -------
        torch.Tensor of shape (n_rows, n_inputs)
        """
        z = torch.randn(n_rows, self.latent_size, generator=generator).to(self.head.weight)
        decoded = self.head(self.decoder(z))
        if self.bernoulli:
            return decoded.sigmoid()
        noise = torch.randn(decoded.shape, generator=generator).to(decoded)
        return self.loc + self.scale * (decoded + (self._log_variance() / 2).exp() * noise)

    def _log_variance(self):
        return self.log_variance.clamp(min=math.log(_LEAST_VARIANCE))


def _hidden(widths):
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers)


def _from_0_to_1(x):
    return bool(((x >= 0) & (x <= 1)).all())


class _GeneratorLearning(PlainLearning):
    """−(1−w) bound(batch) − w bound(made-up rows), a mean over rows and features."""

    _pure_steps = True

    def __init__(self, net, old, weight, generator):
        super().__init__(net)
        self.old, self.weight, self.generator = old, weight, generator

    def _mix(self, batch):
        """The rows, and as many made-up ones if there is an old generator; with the noise of their codes."""
        made_up = () if self.old is None else self._with_noise(self.old.sample(len(batch[0]), self.generator))
        return *self._with_noise(batch[0]), *made_up

    def _with_noise(self, x):
        return x, torch.randn(len(x), self.net.module_.latent_size, generator=self.generator).to(x)

    def _loss(self, forward, batch):
        x, noise, *made_up = batch
        loss = self._bound_loss(x, noise)
        return (1 - self.weight) * loss + self.weight * self._bound_loss(*made_up) if made_up else loss

    def _bound_loss(self, x, noise):
        return -self.net.module_.evidence_bound(x, noise).mean() / x.shape[1]


class GenerativeReplay(NetworkStrategy):
    """(1−w) L(batch) + w L(x̃, ỹ); x̃ are rows of the old generator, ỹ what the old network says of them."""

    _family = "replay"
    _source = "Shin et al. 2017; van de Ven et al. 2020"
    _keeps = "generator"
    _pure_steps = True
    _loss_state = (*NetworkStrategy._loss_state, "_old_groups_", "_old_columns_", "_w_")
    _constraints = {
        "targets": [one_of("hard", "soft")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "replay_batch_size": [None, at_least(1, Integral)],
        "replay_weight": [between(0, 1), one_of("balanced")],
        "hidden_units": ["array-like"],
        "latent_size": [at_least(1, Integral)],
        "likelihood": [one_of("auto", "bernoulli", "gaussian")],
        "generator_lr": [Interval(Real, 0, None, closed="neither")],
        "generator_epochs": [None, at_least(1, Integral)],
    }

    def __init__(
        self,
        net=None,
        *,
        targets="soft",
        temperature=2.0,
        replay_batch_size=None,
        replay_weight="balanced",
        hidden_units=(400, 400),
        latent_size=100,
        likelihood="auto",
        generator_lr=0.001,
        generator_epochs=None,
        active_outputs="auto",
        random_state=None,
    ):
        self.net = net
        self.targets = targets
        self.temperature = temperature
        self.replay_batch_size = replay_batch_size
        self.replay_weight = replay_weight
        self.hidden_units = hidden_units
        self.latent_size = latent_size
        self.likelihood = likelihood
        self.generator_lr = generator_lr
        self.generator_epochs = generator_epochs
        self.active_outputs = active_outputs
        self.random_state = random_state

    # --- the classifier ------------------------------------------------------------------------------------------

    def _new_experience(self):
        self.teacher_ = frozen_copy(self.net_.module_)
        self.old_generator_ = frozen_copy(self.generator_.module_)
        self._old_groups_, self._old_columns_ = self._learned_

    def _begin(self, X, y):
        k = self.n_experiences_
        self._w_ = (k - 1) / k if self.replay_weight == "balanced" else self.replay_weight
        if not hasattr(self, "generator_"):
            self.generator_ = self._new_generator(X)
        elif self._opens_experience_:
            self.generator_.start_experience()
        return ()

    def _mix(self, batch):
        if not (self._w_ and hasattr(self, "old_generator_")):
            return batch
        x = self.old_generator_.sample(self.replay_batch_size or len(batch[0]), self._generator_)
        return *batch, x, self._labels(x)

    @torch.no_grad()
    def _labels(self, x):
        """What the old network says: logits, or, for each old group of outputs, the most probable one."""
        logits = self._logits(self.teacher_(x))
        if self.targets == "soft":
            return logits
        return torch.stack([columns[logits[:, columns].argmax(1)] for columns in self._old_columns_], dim=1)

    def _loss(self, forward, batch):
        if len(batch) == 2:  # nothing to replay
            return super()._loss(forward, batch)
        x, y, x_old, targets = batch
        new, old = forward_together(forward, x, x_old)
        losses = [self._replay_loss(old, targets, k) for k in range(len(self._old_groups_))]
        return (1 - self._w_) * self._task_loss(new, y) + self._w_ * sum(losses) / len(losses)

    def _replay_loss(self, outputs, targets, k):
        """Loss of made-up rows over the outputs of the k-th old group."""
        group, columns = self._old_groups_[k], self._old_columns_[k]
        if self.targets == "hard":
            return self._task_loss(outputs, targets[..., k], group)
        student, teacher = self._active_logits(outputs, group), targets[..., columns]
        return self.temperature**2 * distillation_loss(student, teacher, self.temperature, columns)

    def _learned_groups(self):
        """The groups of outputs so far, and the columns of each."""
        raise NotImplementedError

    # --- the generator -------------------------------------------------------------------------------------------

    def _new_generator(self, X):
        bernoulli = self.likelihood == "bernoulli" or (self.likelihood == "auto" and _from_0_to_1(X))
        schedule = {name: getattr(self.net_, name) for name in ("max_epochs", "max_steps", "batch_size", "device")}
        if self.generator_epochs is not None:
            schedule |= {"max_epochs": self.generator_epochs, "max_steps": None}
        net = ContinualRegressionNet(
            VAE,
            module__hidden_units=tuple(self.hidden_units),
            module__latent_size=self.latent_size,
            module__bernoulli=bernoulli,
            lr=self.generator_lr,
            **schedule,
        ).build(X.shape[1], X.shape[1])
        net.module_.note_scale(X)
        return net

    def _end(self, X, y):
        """The generator learns the new rows, and rows of the old generator."""
        if self.generator_.module_.bernoulli and not _from_0_to_1(X):
            warnings.warn(
                "X has values outside [0, 1], and the generator, with a Bernoulli likelihood, learns them clipped; "
                "scale the inputs, or use likelihood='gaussian'.",
                stacklevel=2,
            )
            X = X.clamp(0, 1)
        old = getattr(self, "old_generator_", None)
        learning = _GeneratorLearning(self.generator_, old, self._w_, self._generator_)
        self.generator_.learn((X, y), learning, self._torch_generator("generator"))
        self._learned_ = self._learned_groups()

    def _memory(self):
        generator = sum(network_bytes(self.generator_).values()) if hasattr(self, "generator_") else 0
        frozen = {
            name: tensor_bytes(*module.parameters(), *module.buffers())
            for name, module in vars(self).items()
            if name in ("teacher_", "old_generator_")
        }
        return super()._memory() | {
            "generator": generator + frozen.get("old_generator_", 0),
            "teacher": frozen.get("teacher_", 0),
        }


class GenerativeReplayClassifier(GenerativeReplay, NetworkClassifier):
    r"""Generative replay: rows that a generator makes up stand for the old data, of which nothing is kept.

    :math:`(1-w)\,L(\text{batch}) + w\,L(\tilde x, \tilde y)`, with :math:`\tilde x` drawn afresh at each step from the
    generator as it was after the last experience, and :math:`\tilde y` what the network as it was then says of them:
    its most probable class ("hard"), or its softened probabilities, with 0 for classes that it did not know ("soft",
    with the loss :math:`T^2\,\mathrm{KL}`). With task ids, over the classes of each old task by itself, all on the same
    rows, averaged over old tasks.

    The generator is a variational autoencoder. After the network has learned a call, it learns the same rows, with rows
    of the old generator in the same proportion, by the evidence bound :math:`\mathrm{E}_{q(z|x)} \log p(x|z) -
    \mathrm{KL}(q(z|x)\,\|\,\mathcal N(0, I))`. In the original program both learn in turns, batch by batch, from the
    same made-up rows.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    targets : {"hard", "soft"}, default="soft"
        Labels of the rows made up: "hard" as Shin et al., "soft" as van de Ven et al., which forgives a generator that
        is not good yet.
    temperature : float, default=2.0
        T of soft targets.
    replay_batch_size : int, default=None
        Rows made up at each step; None: as many as the batch has.
    replay_weight : float or "balanced", default="balanced"
        w; "balanced": 1 − 1/k in experience k, so that each experience weighs the same. With 0 this is
        :class:`NaiveClassifier`.
    hidden_units : sequence of int, default=(400, 400)
        Widths of the encoder's hidden layers; the decoder has them in reverse order.
    latent_size : int, default=100
        Size of the code z.
    likelihood : {"auto", "bernoulli", "gaussian"}, default="auto"
        p(x | z): Bernoulli, that is binary cross-entropy, for inputs from 0 to 1; or Gaussian with a learned variance
        for each feature, of inputs that are standardised by the first call. "auto": Bernoulli if the inputs of the
        first call are from 0 to 1; values outside that come later are clipped for it, with a warning. Made-up rows are
        the probabilities, or draws from the Gaussian.
    generator_lr : float, default=0.001
        Learning rate of the generator, with Adam.
    generator_epochs : int, default=None
        Passes of the generator over the data of each call; None: as the net's, its ``max_steps`` included. Batches
        have the net's size.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    generator_ : ContinualRegressionNet
        The net of the variational autoencoder; its history has −1 times the bound, for each feature, as ``train_loss``.
    old_generator_, teacher_ : torch.nn.Module
        Generator and network after the last experience, from the second experience on.
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Shin, Lee, Kim & Kim, Continual learning with deep generative replay, 2017. van de Ven, Siegelmann & Tolias,
    Brain-inspired replay for continual learning with artificial neural networks, 2020.

    Examples
    --------
    >>> from forgetless.datasets import load_wine, split_stream
    >>> from forgetless.estimators import GenerativeReplayClassifier
    >>> clf = GenerativeReplayClassifier(hidden_units=(50,), latent_size=5, random_state=0)
    >>> for e in split_stream(load_wine(), n_experiences=3, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.strategy_info()["keeps"], clf.generator_.module_.bernoulli
    ('generator', False)
    """

    def _learned_groups(self):
        columns = [self._seen_columns_ if c is None else c for c in self._groups_.values()]
        return list(range(len(columns))), [torch.from_numpy(c).to(self.net_.device) for c in columns]
