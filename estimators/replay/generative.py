"""Generative replay: a variational autoencoder makes up old rows, and the old network labels them."""

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from skorch import NeuralNet
from torch import nn
from torch.nn import functional as F

from ..engine.call import Call
from ..engine.loop import PlainLearning, train
from ..engine.modules import frozen_copy
from ..engine.net import ContinualRegressionNet, FastLoop, settings_of
from ..engine.passes import Passes, forward_together
from ..engine.penalties import distillation_loss
from ..engine.rows import Rows
from ..parameters import Integral, above, at_least, between, one_of
from ..strategy import NetworkClassifier

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

    loc: torch.Tensor
    scale: torch.Tensor

    def __init__(self, n_inputs: int, hidden_units: Sequence[int], latent_size: int, bernoulli: bool) -> None:
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

    def set_scale(self, x: torch.Tensor) -> None:
        """Take mean and standard deviation of the rows as location and scale of the inputs."""
        if not self.bernoulli:
            self.loc, deviation = x.mean(0), x.std(0, correction=0)
            self.scale = torch.where(deviation > 0, deviation, 1.0)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and logarithm of the variance of q(z | x)."""
        code: torch.Tensor = self.to_code(self.encoder(x if self.bernoulli else (x - self.loc) / self.scale))
        mean, log_variance = code.chunk(2, dim=1)
        return mean, log_variance

    def log_likelihood(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Log p(x | z) of each row; a Gaussian density is that of the scaled inputs."""
        decoded: torch.Tensor = self.head(self.decoder(z))
        if self.bernoulli:
            return -F.binary_cross_entropy_with_logits(decoded, x, reduction="none").sum(1)
        log_variance = self._log_variance()
        distance = ((x - self.loc) / self.scale - decoded).square() / log_variance.exp()
        return -0.5 * (distance + log_variance + math.log(2 * math.pi)).sum(1)

    def evidence_bound(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
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
    def sample(self, n_rows: int, generator: torch.Generator) -> torch.Tensor:
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
        decoded: torch.Tensor = self.head(self.decoder(z))
        if self.bernoulli:
            return decoded.sigmoid()
        noise = torch.randn(decoded.shape, generator=generator).to(decoded)
        return self.loc + self.scale * (decoded + (self._log_variance() / 2).exp() * noise)

    def _log_variance(self) -> torch.Tensor:
        return self.log_variance.clamp(min=math.log(_LEAST_VARIANCE))


def _hidden(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers)


def _from_0_to_1(x: torch.Tensor) -> bool:
    return bool(((x >= 0) & (x <= 1)).all())


class GeneratorLearning(PlainLearning):
    """The hooks of a generator: −(1−w) bound(batch) − w bound(made-up rows), a mean over rows and features.

    Parameters
    ----------
    net : FastLoop
        Of a :class:`VAE`.
    old : VAE or None
        The generator after the last experience, which makes up rows.
    weight : float
        w.
    generator : torch.Generator
    """

    pure_steps = True

    def __init__(self, net: FastLoop, old: VAE | None, weight: float, generator: torch.Generator) -> None:
        super().__init__(net)
        self.old, self.weight, self.generator = old, weight, generator

    def before_step(self, call: Call, batch: Rows) -> None:
        """As many made-up rows as the batch has, if there is an old generator; and the noise of all codes."""
        if self.old is not None:
            x = self.old.sample(len(batch), self.generator)
            batch.memory = Rows(x=x, noise=self._noise(x))
        batch.noise = self._noise(batch.x)

    def _noise(self, x: torch.Tensor) -> torch.Tensor:
        return torch.randn(len(x), self.net.module_.latent_size, generator=self.generator).to(x)

    def loss(self, call: Call, forward: Passes, batch: Rows) -> torch.Tensor:
        """−(1−w) bound(batch) − w bound(made-up rows)."""
        loss = self._bound_loss(batch)
        if batch.memory is None:
            return loss
        return (1 - self.weight) * loss + self.weight * self._bound_loss(batch.memory)

    def _bound_loss(self, rows: Rows) -> torch.Tensor:
        vae: VAE = self.net.module_
        return -vae.evidence_bound(rows.x, rows.noise).mean() / int(rows.x.shape[1])


class GenerativeReplayClassifier(NetworkClassifier):
    r"""Generative replay: rows that a generator makes up stand for the old data, of which nothing is kept.

    :math:`(1-w)\,L(\text{batch}) + w\,L(\tilde x, \tilde y)`, with :math:`\tilde x` drawn afresh at each step from the
    generator as it was after the last experience, and :math:`\tilde y` what the network as it was then says of them:
    its most probable class ("hard"), or its softened probabilities, with 0 for classes that it did not know ("soft",
    with the loss :math:`T^2\,\mathrm{KL}`). Where the active outputs are those of tasks, over the classes of each old
    task by itself, all on the same rows, averaged over old tasks.

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

    family = "replay"
    source = "Shin et al. 2017; van de Ven et al. 2020"
    keeps = "generator"
    pure_steps = True
    carries = {"generator_": "generator", "old_generator_": "generator", "teacher_": "teacher"}
    fixed_parameters = ("hidden_units", "latent_size", "likelihood")
    # The network does not learn from the generator before the second experience.
    later_parameters = (
        "targets",
        "temperature",
        "replay_batch_size",
        "replay_weight",
        "hidden_units",
        "latent_size",
        "likelihood",
        "generator_lr",
        "generator_epochs",
    )
    parameter_constraints = {
        "targets": [one_of("hard", "soft")],
        "temperature": [above(0)],
        "replay_batch_size": [None, at_least(1, Integral)],
        "replay_weight": [between(0, 1), one_of("balanced")],
        "hidden_units": ["array-like"],
        "latent_size": [at_least(1, Integral)],
        "likelihood": [one_of("auto", "bernoulli", "gaussian")],
        "generator_lr": [above(0)],
        "generator_epochs": [None, at_least(1, Integral)],
    }

    generator_: FastLoop
    old_generator_: VAE
    teacher_: nn.Module

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        targets: str = "soft",
        temperature: float = 2.0,
        replay_batch_size: int | None = None,
        replay_weight: float | str = "balanced",
        hidden_units: Sequence[int] = (400, 400),
        latent_size: int = 100,
        likelihood: str = "auto",
        generator_lr: float = 0.001,
        generator_epochs: int | None = None,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        super().__init__(net, active_outputs=active_outputs, random_state=random_state)
        self.targets = targets
        self.temperature = temperature
        self.replay_batch_size = replay_batch_size
        self.replay_weight = replay_weight
        self.hidden_units = hidden_units
        self.latent_size = latent_size
        self.likelihood = likelihood
        self.generator_lr = generator_lr
        self.generator_epochs = generator_epochs

    # --- the classifier ------------------------------------------------------------------------------------------

    def consolidate(self) -> None:
        """Network and generator as they are stand for the old data."""
        self.teacher_ = frozen_copy(self.net_.module_)
        self.old_generator_ = cast(VAE, frozen_copy(self.generator_.module_))
        self._old_outputs_ = self._learned_outputs_

    def before_training(self, call: Call) -> None:
        """The weight of what is replayed, and the groups of outputs over which."""
        if getattr(self.net_.module_, "reads_tokens", False):
            raise ValueError(
                "GenerativeReplayClassifier makes rows of real numbers up, but the network reads numbers of tokens; "
                "replay features (FrozenFeatures before an MLP), or use ReplayClassifier."
            )
        k, state = call.experience, call.state
        state.w = (k - 1) / k if self.replay_weight == "balanced" else self.replay_weight
        if hasattr(self, "old_generator_"):
            state.old_outputs = [self.on_device(outputs) for outputs in self._old_outputs_]
        if not hasattr(self, "generator_"):
            with call.seeded("begin"):
                self.generator_ = self._new_generator(call.rows.x)
        else:
            # The device stays what it was given as, also where the estimator was loaded on another machine.
            device = self.generator_.given_["device"]
            self.generator_.follow(self._generator_prototype(self.generator_.module_.bernoulli, device))
            self.generator_.start_call()
            if call.opens_experience:
                self.generator_.start_experience()

    def before_step(self, call: Call, batch: Rows) -> None:
        """Make up rows, and ask the old network for their labels."""
        if call.state.w and hasattr(self, "old_generator_"):
            x = self.old_generator_.sample(self.replay_batch_size or len(batch), call.generator)
            batch.memory = Rows(x=x, targets=self._labels(call, x))

    @torch.no_grad()
    def _labels(self, call: Call, x: torch.Tensor) -> torch.Tensor:
        """What the old network says: logits, or, for each old group of outputs, the most probable one."""
        logits = call.objective.logits(self.teacher_(x))
        if self.targets == "soft":
            return logits
        return torch.stack([outputs[logits[:, outputs].argmax(1)] for outputs in call.state.old_outputs], dim=1)

    def loss(self, call: Call, forward: Passes, batch: Rows) -> torch.Tensor:
        """(1−w) L(batch) + w L(made-up rows), the latter a mean over the old groups of outputs."""
        if batch.memory is None:  # nothing to replay
            return super().loss(call, forward, batch)
        new, old = forward_together(forward, batch.x, batch.memory.x)
        w, targets = call.state.w, batch.memory.targets
        losses = [self._replay_loss(call, old, targets, group) for group in range(len(call.state.old_outputs))]
        loss: torch.Tensor = (1 - w) * call.objective.loss(new, batch.y) + w * sum(losses[1:], losses[0]) / len(losses)
        return loss

    def _replay_loss(self, call: Call, outputs: torch.Tensor, targets: torch.Tensor, group: int) -> torch.Tensor:
        """Loss of made-up rows over the outputs of an old group."""
        if self.targets == "hard":
            return call.objective.loss(outputs, targets[..., group], group)
        old = call.state.old_outputs[group]
        student, teacher = call.objective.active_logits(outputs, group), targets[..., old]
        return self.temperature**2 * distillation_loss(student, teacher, self.temperature, old)

    # --- the generator -------------------------------------------------------------------------------------------

    def _generator_prototype(self, bernoulli: bool, device: str) -> FastLoop:
        schedule = {name: getattr(self.net_, name) for name in ("max_epochs", "max_steps", "batch_size")}
        if self.generator_epochs is not None:
            schedule |= {"max_epochs": self.generator_epochs, "max_steps": None}
        return ContinualRegressionNet(
            VAE,
            module__hidden_units=tuple(self.hidden_units),
            module__latent_size=self.latent_size,
            module__bernoulli=bernoulli,
            lr=self.generator_lr,
            device=device,
            **schedule,
        )

    def _new_generator(self, x: torch.Tensor) -> FastLoop:
        bernoulli = self.likelihood == "bernoulli" or (self.likelihood == "auto" and _from_0_to_1(x))
        net = self._generator_prototype(bernoulli, self.net_.device).build(x.shape[1], x.shape[1])
        net.given_ = settings_of(self._generator_prototype(bernoulli, self.net_.device))
        net.module_.set_scale(x)
        return net

    def after_training(self, call: Call) -> None:
        """The generator learns the new rows, and rows of the old generator."""
        x = call.rows.x
        if self.generator_.module_.bernoulli and not _from_0_to_1(x):
            warnings.warn(
                "X has values outside [0, 1], and the generator, with a Bernoulli likelihood, learns them clipped; "
                "scale the inputs, or use likelihood='gaussian'.",
                stacklevel=2,
            )
            x = x.clamp(0, 1)
        old = getattr(self, "old_generator_", None)
        learning = GeneratorLearning(self.generator_, old, call.state.w, call.generator)
        rows = Rows(x=x, y=call.rows.y)
        train(self.generator_, learning, Call(rows=rows), call.torch_generator("generator"))
        self._learned_outputs_ = [self.seen_outputs_ if c is None else c for c in self.output_groups_.values()]
