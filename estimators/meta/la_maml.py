"""La-MAML: look-ahead meta-learning, with a step size for each weight that is learned, too."""

from typing import Any

import torch
from skorch import NeuralNet

from ..engine.call import Call
from ..engine.loop import Descend
from ..engine.memory import ReplayMemory
from ..engine.modules import batch_norm_layers
from ..engine.objective import with_groups
from ..engine.passes import function_of
from ..engine.rows import Rows
from ..parameters import Integral, above, at_least
from ..strategy import NetworkClassifier


class LaMAMLClassifier(NetworkClassifier):
    r"""Look-ahead MAML: step sizes of single weights grow where steps on new rows help old rows too, and shrink else.

    For each batch of new rows, its parts :math:`b_k` are learned one after another by fast weights that start at θ:
    :math:`\theta_{k+1} = \theta_k - \alpha \odot \nabla L(\theta_k; b_k)`. With M the mean over these steps of
    :math:`L(\theta_{k+1}; b \cup b_M)`, the loss on the batch and on rows from memory together, the step sizes learn
    first, and the weights then, with the new step sizes (the paper's asynchronous update):

    :math:`\alpha \leftarrow \alpha - \eta\, \partial M / \partial \alpha`, then
    :math:`\theta \leftarrow \theta - \max(0, \alpha) \odot \partial M / \partial \theta`.

    Both gradients go through the inner steps, and each is cut to the length ``clip_norm``, as in the authors' code.
    The inner step uses α as it is, as the paper writes it, so that a negative step size climbs; in the authors' code
    it is max(0, α) there, too.
    In the first pass over a call's rows, a batch goes to the memory, a reservoir, after it was learned.

    The net's optimiser and ``lr`` play no part: step sizes are learned.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    buffer_size : int, default=200
        Rows in memory.
    alpha_init : float, default=0.1
        First value of every α, also for the weights of classes that come later.
    alpha_lr : float, default=0.1
        η. With 0 this is C-MAML, where α is a constant.
    n_inner_steps : int, default=5
        Parts of about equal size into which a batch is split; a batch of fewer rows has a part for each row, as the
        paper always has.
    first_order : bool, default=False
        Whether gradients of inner steps are held constant, which takes less time: then
        :math:`\partial\theta_{k+1} / \partial\theta = 1` and :math:`\partial\theta_{k+1} / \partial\alpha =
        -\sum_{j \le k} \nabla L(\theta_j; b_j)`.
    clip_norm : float, default=2.0
        Longest Euclidean norm of each of the two gradients, over all weights.
    replay_batch_size : int, default=None
        Rows drawn from memory for each batch, with replacement; None: as many as the batch has.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`; a row from memory has the active
        outputs of its own task.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    alpha_ : torch.Tensor of shape (n_parameters,)
        α, in the order of ``net_.trainable()``.
    memory_ : ReplayMemory
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Gupta, Yadav & Paull, Look-ahead meta learning for continual learning, 2020.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import ContinualNet, LaMAMLClassifier, MLP
    >>> clf = LaMAMLClassifier(ContinualNet(MLP, max_epochs=1), random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> bool(clf.alpha_.min() < 0.1 < clf.alpha_.max())
    True
    """

    family = "meta"
    source = "Gupta et al. 2020"
    keeps = "samples"
    unlearns = "memory only"
    carries = {"memory_": "replay", "alpha_change_": "optimizer"}
    fixed_parameters = ("buffer_size",)
    parameter_constraints = {
        "buffer_size": [at_least(0, Integral)],
        "alpha_init": [at_least(0)],
        "alpha_lr": [at_least(0)],
        "n_inner_steps": [at_least(1, Integral)],
        "first_order": ["boolean"],
        "clip_norm": [above(0)],
        "replay_batch_size": [None, at_least(1, Integral)],
    }

    memory_: ReplayMemory
    alpha_change_: torch.Tensor

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        buffer_size: int = 200,
        alpha_init: float = 0.1,
        alpha_lr: float = 0.1,
        n_inner_steps: int = 5,
        first_order: bool = False,
        clip_norm: float = 2.0,
        replay_batch_size: int | None = None,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        super().__init__(net, active_outputs=active_outputs, random_state=random_state)
        self.buffer_size = buffer_size
        self.alpha_init = alpha_init
        self.alpha_lr = alpha_lr
        self.n_inner_steps = n_inner_steps
        self.first_order = first_order
        self.clip_norm = clip_norm
        self.replay_batch_size = replay_batch_size

    @property
    def alpha_(self) -> torch.Tensor:
        """The step size of each weight."""
        # Kept as a difference, so that the weights of new classes, which come with zeros, start at alpha_init.
        return self.alpha_init + self.alpha_change_

    def before_training(self, call: Call) -> None:
        """There are a memory and step sizes from the first call on."""
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size)
            self.alpha_change_ = torch.zeros_like(self.net_.flatten())

    def learn_batch(self, call: Call, theta: torch.Tensor, batch: Rows, descend: Descend) -> torch.Tensor:
        """α ← α − η ∂M/∂α, then θ ← θ − max(0, α) ∂M/∂θ, with M the loss on new and old rows after steps on the new."""
        rows = new = with_groups(call.objective, batch)
        if len(self.memory_):
            rows = new.joined(self.memory_.sample(self.replay_batch_size or len(batch), call.generator))
        loss, by_theta, by_alpha = self.meta_gradients(call, theta, self.alpha_, new, rows)
        self.alpha_change_ = self.alpha_change_ - self.alpha_lr * self._clipped(by_alpha)
        theta.sub_(self.alpha_.clamp(min=0) * self._clipped(by_theta))
        if call.epoch == 0:
            self.memory_.add(call.rng("memory"), new)
        return loss

    def meta_gradients(
        self, call: Call, theta: torch.Tensor, alpha: torch.Tensor, new: Rows, rows: Rows
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """M, the mean over inner steps on parts of `new` of the loss on `rows` after the step, and its gradients.

        Parameters
        ----------
        call : Call
        theta, alpha : torch.Tensor of shape (n_parameters,)
        new, rows : Rows

        Returns
        -------
        M, by_theta, by_alpha : torch.Tensor
        """
        network = function_of(self.net_)

        def loss(theta: torch.Tensor, rows: Rows) -> torch.Tensor:
            return call.objective.loss(network(theta, rows.x), rows.y, rows.groups)

        theta, alpha = theta.detach().requires_grad_(), alpha.detach().requires_grad_()
        fast, losses = theta, []
        for part in new.split(self._sizes_of_parts(new)):
            # Not torch.func.grad: it cannot run modules that change buffers, as batch normalisation does.
            (gradient,) = torch.autograd.grad(loss(fast, part), fast, create_graph=not self.first_order)
            fast = fast - alpha * gradient
            losses.append(loss(fast, rows))
        mean = torch.stack(losses).mean()
        by_theta, by_alpha = torch.autograd.grad(mean, (theta, alpha))
        return mean, by_theta, by_alpha

    def _sizes_of_parts(self, new: Rows) -> list[int]:
        """The batch in parts, of one row at least, or two, without which batch normalisation cannot learn."""
        least = 2 if batch_norm_layers(self.net_.module_) else 1
        n_parts = max(1, min(self.n_inner_steps, len(new) // least))
        return [len(part) for part in new.y.tensor_split(n_parts)]

    def _clipped(self, gradient: torch.Tensor) -> torch.Tensor:
        length: torch.Tensor = torch.linalg.vector_norm(gradient)
        return gradient * (self.clip_norm / length.clamp(min=self.clip_norm))
