"""RWalk: Riemannian walk."""

from typing import Any

import torch
from skorch import NeuralNet

from ..engine.call import Call
from ..engine.penalties import add_quadratic_gradient, step_implicitly
from ..engine.per_sample import sum_over_samples
from ..engine.rows import Rows
from ..parameters import Integral, above, at_least, between, one_of
from ..strategy import NetworkClassifier
from .path import note_gradient, note_step, start_path


class RWalkClassifier(NetworkClassifier):
    r"""Riemannian walk: EWC's Fisher, kept up during training, and SI's path score, measured in the Fisher's distance.

    :math:`L + \lambda \sum_i (\hat F_i + \hat s_i) (\theta_i - \theta^*_i)^2`, without a ½, where θ* are the weights
    after the previous experience. In detail, with :math:`\alpha` = `fisher_decay`, :math:`\Delta t` = `update_after`,
    :math:`\varepsilon` = `damping`:

    - F, the running Fisher: every Δt steps :math:`F \leftarrow \alpha F_{batch} + (1-\alpha) F`, starting from the
      first :math:`F_{batch}`, and going on across experiences. :math:`F_{batch}` is the mean over the rows of the
      current batch of squared *per-sample* gradients of :math:`\log p(y)` at the true labels (the authors' code squares
      the gradient of the batch's mean). Batch statistics stand still while it is computed.
    - s, the path score: for each Δt steps, from θ(t) to θ(t+Δt), a parameter gets
      :math:`\max(0, \omega / (\frac12 F \Delta^2 + \varepsilon))`, where :math:`\Delta = \theta(t+\Delta t) -
      \theta(t)`, F is that of time t, and :math:`\omega = -\sum g\,(\theta_{\tau+1} - \theta_\tau)` over the steps
      between, with g the gradient of the plain loss. The last segment of a call may be shorter. An experience's
      segments are summed; after it, the sum is averaged with what was there:
      :math:`s \leftarrow \frac12 (s + s_{new})`, after the first experience :math:`s = s_{new}`.
    - :math:`\hat F` and :math:`\hat s` are F and s at the end of the previous experience, shifted and scaled to [0, 1]
      over all parameters (their minimum becomes 0, their maximum 1). So λ is in units of the loss.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    rwalk_lambda : float, default=1.0
        λ, without the ½.
    fisher_decay : float, default=0.9
        α, the weight of the new Fisher in the running one.
    update_after : int, default=10
        Δt, in steps.
    damping : float, default=1e-3
        ε.
    penalty_step : {"gradient", "implicit"}, default="gradient"
        How the penalty acts: by its gradient, added to that of the loss, as published; or by an implicit step after the
        optimiser's, which is stable for any λ, see :func:`step_implicitly`.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    fisher_, path_score_ : torch.Tensor of shape (n_parameters,)
        F, and the sum s_new of the last experience, in the order of ``net_.trainable()``.
    score_, importance_, anchor_ : torch.Tensor of shape (n_parameters,)
        s, :math:`\hat F + \hat s` and θ* of the experiences before it, from the second experience on.
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Chaudhry, Dokania, Ajanthan & Torr, Riemannian walk for incremental learning, 2018.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import RWalkClassifier
    >>> clf = RWalkClassifier(rwalk_lambda=1.0, random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, scenario="task", class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> bool((clf.importance_ >= 0).all()), float(clf.importance_.max()) <= 2.0
    (True, True)
    """

    family = "regularization"
    source = "Chaudhry et al. 2018"
    pure_steps = True
    carries = dict.fromkeys(("importance_", "anchor_", "fisher_", "path_score_", "score_"), "anchors")
    later_parameters = ("rwalk_lambda", "penalty_step", "fisher_decay", "update_after", "damping")
    parameter_constraints = {
        "rwalk_lambda": [at_least(0)],
        "penalty_step": [one_of("gradient", "implicit")],
        "fisher_decay": [between(0, 1, closed="right")],
        "update_after": [at_least(1, Integral)],
        "damping": [above(0)],
    }

    importance_: torch.Tensor
    anchor_: torch.Tensor
    fisher_: torch.Tensor
    path_score_: torch.Tensor
    score_: torch.Tensor

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        rwalk_lambda: float = 1.0,
        fisher_decay: float = 0.9,
        update_after: int = 10,
        damping: float = 1e-3,
        penalty_step: str = "gradient",
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        super().__init__(net, active_outputs=active_outputs, random_state=random_state)
        self.rwalk_lambda = rwalk_lambda
        self.fisher_decay = fisher_decay
        self.update_after = update_after
        self.damping = damping
        self.penalty_step = penalty_step

    def consolidate(self) -> None:
        """Average the path scores, and bring Fisher and scores to [0, 1]; the weights as they are become the anchor."""
        self.score_ = (self.score_ + self.path_score_) / 2 if hasattr(self, "score_") else self.path_score_
        self.importance_ = _to_unit(self.fisher_) + _to_unit(self.score_)
        self.anchor_ = self.net_.flatten().clone()

    def before_training(self, call: Call) -> None:
        """The path begins; the sum of its scores, where an experience opens, and in the first call the Fisher."""
        start_path(call.state, self.net_.flatten())
        call.state.is_first = not hasattr(self, "fisher_")
        if call.state.is_first:
            self.fisher_ = torch.zeros_like(call.state.path)
        if call.opens_experience:
            self.path_score_ = torch.zeros_like(call.state.path)

    def before_step(self, call: Call, batch: Rows) -> None:
        """A segment opens with F ← α F_batch + (1−α) F."""
        if call.step % self.update_after:
            return

        def terms(outputs: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
            return call.objective.fisher_terms(outputs, y, exact=False)

        fisher = sum_over_samples(self.net_, terms, batch.x, batch.y) / len(batch)
        starts = call.state.is_first and call.step == 0
        self.fisher_ = fisher if starts else torch.lerp(self.fisher_, fisher, self.fisher_decay)

    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """Note the plain gradient, then add that of the penalty, whose formula has no ½."""
        note_gradient(call, theta, gradient)
        if hasattr(self, "importance_") and self.penalty_step == "gradient":
            add_quadratic_gradient(gradient, theta, self.anchor_, self.importance_, 2 * self.rwalk_lambda)

    def after_step(self, call: Call, theta: torch.Tensor, batch: Rows) -> None:
        """The penalty's own step, if it has one; the path goes on; every Δt steps a segment closes."""
        if hasattr(self, "importance_") and self.penalty_step == "implicit":
            step_implicitly(theta, self.anchor_, self.importance_, 2 * self.rwalk_lambda, call.rates())
        note_step(call.state, theta)
        if call.step % self.update_after == 0:
            self._close_segment(call, theta)

    def after_training(self, call: Call) -> None:
        """The last segment of a call may be shorter."""
        if call.step % self.update_after:
            self._close_segment(call, self.net_.flatten())

    def _close_segment(self, call: Call, theta: torch.Tensor) -> None:
        """At its end, s ← s + max(0, ω / (½ F Δ² + ε)); the next segment starts here."""
        state = call.state
        distance = self.fisher_ * (theta - state.start).square() / 2
        self.path_score_ = self.path_score_ + (state.path / (distance + self.damping)).clamp(min=0)
        state.path.zero_()
        state.start.copy_(theta)


def _to_unit(v: torch.Tensor) -> torch.Tensor:
    """Shift and scale to [0, 1]; a constant becomes zero."""
    low, high = v.aminmax()
    return (v - low) / (high - low).clamp(min=torch.finfo(v.dtype).tiny)
