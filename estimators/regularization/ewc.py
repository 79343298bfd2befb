"""EWC: elastic weight consolidation."""

from typing import Any

import torch
from skorch import NeuralNet

from ..base import ContinualClassifier, ContinualRegressor
from ..engine.call import Call
from ..engine.penalties import add_quadratic_gradient, combined_mean, step_implicitly
from ..engine.per_sample import sum_over_samples
from ..engine.rows import Rows
from ..parameters import Integral, at_least, between, one_of
from ..strategy import NetworkStrategy


class EWC(NetworkStrategy):
    """L + ½ λ Σₖ Σᵢ Fₖᵢ (θᵢ − θ*ₖᵢ)².

    The quadratics of all past experiences are merged into one: Σₖ Fₖ (θ−θ*ₖ)² = F (θ−c)² + constant, with F = Σₖ Fₖ and
    c the mean of the θ*ₖ weighted by Fₖ. So the cost of a step does not grow with the number of experiences.
    """

    family = "regularization"
    source = "Kirkpatrick et al. 2017; online: Schwarz et al. 2018"
    pure_steps = True
    carries = {"importance_": "anchors", "anchor_": "anchors", "fisher_": "anchors"}
    later_parameters = ("ewc_lambda", "penalty_step", "fisher", "n_fisher_samples", "online", "gamma")
    parameter_constraints = {
        "ewc_lambda": [at_least(0)],
        "penalty_step": [one_of("gradient", "implicit")],
        "fisher": [one_of("exact", "sampled", "empirical")],
        "n_fisher_samples": [None, at_least(1, Integral)],
        "online": ["boolean"],
        "gamma": [between(0, 1)],
    }

    importance_: torch.Tensor
    anchor_: torch.Tensor
    fisher_: torch.Tensor
    n_fisher_rows_: int

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        ewc_lambda: float = 100.0,
        fisher: str = "exact",
        n_fisher_samples: int | None = None,
        online: bool = False,
        gamma: float = 1.0,
        penalty_step: str = "gradient",
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.ewc_lambda = ewc_lambda
        self.fisher = fisher
        self.n_fisher_samples = n_fisher_samples
        self.online = online
        self.gamma = gamma
        self.penalty_step = penalty_step
        self.active_outputs = active_outputs
        self.random_state = random_state

    def consolidate(self) -> None:
        """The Fisher of the experience that is over joins the sum; the anchor moves to the minimum of the sum."""
        theta = self.net_.flatten().clone()
        if not hasattr(self, "importance_"):
            self.importance_, self.anchor_ = self.fisher_, theta
        elif self.online:
            self.importance_, self.anchor_ = self.gamma * self.importance_ + self.fisher_, theta
        else:
            importance = self.importance_ + self.fisher_
            share = torch.where(importance > 0, self.fisher_ / importance, 1.0)
            self.importance_, self.anchor_ = importance, torch.lerp(self.anchor_, theta, share)

    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """Add the gradient of the penalty."""
        if hasattr(self, "importance_") and self.penalty_step == "gradient":
            add_quadratic_gradient(gradient, theta, self.anchor_, self.importance_, self.ewc_lambda)

    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """The penalty's own step, if it has one."""
        if hasattr(self, "importance_") and self.penalty_step == "implicit":
            step_implicitly(theta, self.anchor_, self.importance_, self.ewc_lambda, call.rates())

    def after_training(self, call: Call) -> None:
        """The Fisher of the running experience is a mean over the rows of all its calls."""
        fisher, n_rows = self._fisher_of_rows(call)
        n_before = 0 if call.opens_experience else self.n_fisher_rows_
        self.fisher_ = combined_mean(getattr(self, "fisher_", None), n_before, fisher, n_rows)
        self.n_fisher_rows_ = n_before + n_rows

    def _fisher_of_rows(self, call: Call) -> tuple[torch.Tensor, int]:
        """The diagonal of the Fisher information, a mean of squared per-sample gradients, and the number of rows."""
        x, y = call.rows.x, call.rows.y
        if self.n_fisher_samples is not None and self.n_fisher_samples < len(x):
            chosen = torch.randperm(len(x), generator=call.generator)[: self.n_fisher_samples].to(x.device)
            x, y = x[chosen], y[chosen]
        if self.fisher == "sampled":
            y = call.objective.draw_targets(self.network_outputs(x), call.generator)
        elif self.fisher == "predicted":
            y = call.objective.active_logits(self.network_outputs(x)).argmax(1)

        def terms(outputs: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
            return call.objective.fisher_terms(outputs, y, exact=self.fisher == "exact")

        return sum_over_samples(self.net_, terms, x, y) / len(x), len(x)


class EWCClassifier(EWC, ContinualClassifier):
    r"""Elastic weight consolidation: weights that mattered to old experiences are held by springs.

    :math:`L + \frac{\lambda}{2} \sum_k \sum_i F_{k,i} (\theta_i - \theta^*_{k,i})^2`, where :math:`F_k` is the diagonal
    of the Fisher information after experience k: the *mean over samples of squared per-sample gradients* of the
    log-likelihood at :math:`\theta^*_k`, over the outputs that were active in training. Batch statistics stand still
    while it is computed.

    Programs that have the same formula differ in the mean. Mammoth's online EWC weights the squared gradient of a row's
    true label by the probability p(y) that the network gives it, so that rows it is sure of count most; van de Ven's
    program divides the sum over N rows by N − 1. Neither is a parameter here.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    ewc_lambda : float, default=100.0
        λ, with the ½, the mean over samples, and the sum over experiences of the formula above; values in other
        packages need not mean the same.
    fisher : {"exact", "sampled", "empirical", "predicted"}, default="exact"
        The label in the log-likelihood: all labels, weighted by the model's probabilities; one drawn from them; the
        true one; or the most probable one (as Hsu et al. 2018 do; no Fisher information, and much smaller: a row that
        the network is sure of counts nearly nothing).
    n_fisher_samples : int, default=None
        Rows drawn for the Fisher at each call; None: all.
    online : bool, default=False
        One running Fisher, :math:`\tilde F \leftarrow \gamma \tilde F + F_k`, anchored at the latest weights.
    gamma : float, default=1.0
        Decay of the running Fisher, used with ``online=True``.
    penalty_step : {"gradient", "implicit"}, default="gradient"
        How the penalty acts: by its gradient, added to that of the loss, as published; or by an implicit step after the
        optimiser's, which is stable for any λ, see :func:`step_implicitly`.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    fisher_ : torch.Tensor of shape (n_parameters,)
        Fisher of the last experience, in the order of ``net_.trainable()``.
    importance_, anchor_ : torch.Tensor of shape (n_parameters,)
        The merged quadratic of the experiences before it, F and c.
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Kirkpatrick et al., Overcoming catastrophic forgetting in neural networks, 2017. Schwarz et al., Progress &
    compress, 2018. van de Ven, On the computation of the Fisher information in continual learning, 2025.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import EWCClassifier
    >>> clf = EWCClassifier(ewc_lambda=10.0, random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, scenario="task", class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> clf.fisher_.shape == clf.anchor_.shape, bool((clf.fisher_ >= 0).all())
    (True, True)
    """

    parameter_constraints = {"fisher": [one_of("exact", "sampled", "empirical", "predicted")]}


class EWCRegressor(EWC, ContinualRegressor):
    r"""Elastic weight consolidation: weights that mattered to old experiences are held by springs.

    :math:`L + \frac{\lambda}{2} \sum_k \sum_i F_{k,i} (\theta_i - \theta^*_{k,i})^2` with the squared error (mean over
    rows and outputs) as L. :math:`F_k` is the diagonal of the Fisher information of a Gaussian with unit variance
    around the outputs f; exactly, the *mean over samples* of :math:`\sum_o (\partial f_o / \partial \theta_i)^2`. So to
    second order the penalty is :math:`\frac{\lambda}{2}` times the mean square by which the outputs on old rows move.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    ewc_lambda : float, default=1.0
        λ, with the ½, the mean over samples, and the sum over experiences of the formula above.
    fisher : {"exact", "sampled", "empirical"}, default="exact"
        Targets in the log-likelihood: the expectation over the model's Gaussian; one drawn from it; or the true ones,
        which gives squared residuals as weights.
    n_fisher_samples : int, default=None
        Rows drawn for the Fisher at each call; None: all.
    online : bool, default=False
        One running Fisher, :math:`\tilde F \leftarrow \gamma \tilde F + F_k`, anchored at the latest weights.
    gamma : float, default=1.0
        Decay of the running Fisher, used with ``online=True``.
    penalty_step : {"gradient", "implicit"}, default="gradient"
        How the penalty acts: by its gradient, or by an implicit step that is stable for any λ.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    fisher_ : torch.Tensor of shape (n_parameters,)
        Fisher of the last experience, in the order of ``net_.trainable()``.
    importance_, anchor_ : torch.Tensor of shape (n_parameters,)
        The merged quadratic of the experiences before it.
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Kirkpatrick et al., Overcoming catastrophic forgetting in neural networks, 2017. Schwarz et al., Progress &
    compress, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import EWCRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = EWCRegressor(ewc_lambda=10.0, random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> bool((reg.fisher_ >= 0).all())
    True
    """

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        ewc_lambda: float = 1.0,
        fisher: str = "exact",
        n_fisher_samples: int | None = None,
        online: bool = False,
        gamma: float = 1.0,
        penalty_step: str = "gradient",
        random_state: Any = None,
    ) -> None:
        super().__init__(
            net,
            ewc_lambda=ewc_lambda,
            fisher=fisher,
            n_fisher_samples=n_fisher_samples,
            online=online,
            gamma=gamma,
            penalty_step=penalty_step,
            random_state=random_state,
        )
