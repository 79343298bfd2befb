"""MER: meta-experience replay, Reptile over sequences of new and old rows."""

from typing import Any

import torch
from skorch import NeuralNet

from ..engine.call import Call
from ..engine.loop import Descend
from ..engine.memory import ReplayMemory
from ..engine.objective import with_groups
from ..engine.rows import Rows
from ..parameters import Integral, at_least, between
from ..strategy import NetworkClassifier


class MERClassifier(NetworkClassifier):
    r"""Meta-experience replay: learn from short sequences of new and old rows, and go only a part of the way.

    For each batch of new rows, from :math:`\theta_A` on, s sequences of k steps of the net's optimiser: one step on the
    new rows, then k − 1 on rows from memory, drawn afresh for each. After each sequence, which started at
    :math:`\theta_W`, the weights are pulled back, :math:`\theta \leftarrow \theta_W + \beta (\theta_k - \theta_W)`
    (Reptile within batches), and after the last one once more, :math:`\theta \leftarrow \theta_A + \gamma (\theta -
    \theta_A)` (across batches). To first order this prefers steps whose gradients on new and old rows agree. Then, in
    the first pass over a call's rows, the batch goes to the memory, a reservoir.

    With ``batch_size=1`` in the net, ``replay_batch_size=1`` and plain SGD this is algorithm 1 of the paper, example by
    example, in the order of the authors' code; here a batch stands where the paper has an example. A step on new rows
    costs s·k steps.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    buffer_size : int, default=200
        Rows in memory.
    n_sequences : int, default=1
        s.
    sequence_length : int, default=5
        k, with the step on new rows.
    beta : float, default=0.3
        β. With β = γ = 1 this is plain replay, by turns.
    gamma : float, default=1.0
        γ. With s = 1 only the product β·γ matters.
    replay_batch_size : int, default=None
        Rows of a step on memory, drawn with replacement; None: as many as the batch has.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`; a row from memory has the active
        outputs of its own task.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    memory_ : ReplayMemory
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Riemer et al., Learning to learn without forgetting by maximizing transfer and minimizing interference, 2019.
    Nichol, Achiam & Schulman, On first-order meta-learning algorithms, 2018.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import ContinualNet, MERClassifier, MLP
    >>> clf = MERClassifier(ContinualNet(MLP, lr=0.01, max_epochs=2), buffer_size=50, random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> len(clf.memory_), len(clf.memory_.stored().y.unique())
    (50, 10)
    """

    family = "meta"
    source = "Riemer et al. 2019; Reptile: Nichol et al. 2018"
    keeps = "samples"
    pure_steps = True
    unlearns = "memory only"
    carries = {"memory_": "replay"}
    fixed_parameters = ("buffer_size",)
    parameter_constraints = {
        "buffer_size": [at_least(0, Integral)],
        "n_sequences": [at_least(1, Integral)],
        "sequence_length": [at_least(1, Integral)],
        "beta": [between(0, 1)],
        "gamma": [between(0, 1)],
        "replay_batch_size": [None, at_least(1, Integral)],
    }

    memory_: ReplayMemory

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        buffer_size: int = 200,
        n_sequences: int = 1,
        sequence_length: int = 5,
        beta: float = 0.3,
        gamma: float = 1.0,
        replay_batch_size: int | None = None,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        super().__init__(net, active_outputs=active_outputs, random_state=random_state)
        self.buffer_size = buffer_size
        self.n_sequences = n_sequences
        self.sequence_length = sequence_length
        self.beta = beta
        self.gamma = gamma
        self.replay_batch_size = replay_batch_size

    def before_training(self, call: Call) -> None:
        """There is a memory from the first call on."""
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size)

    def learn_batch(self, call: Call, theta: torch.Tensor, batch: Rows, descend: Descend) -> torch.Tensor:
        """θ ← θ_A + γ (θ_s − θ_A) after s sequences; in each, θ ← θ_W + β (θ_k − θ_W) after k steps."""
        across = theta.clone()
        for _ in range(self.n_sequences):
            within = theta.clone()
            loss = descend(batch)
            for _ in range(self.sequence_length - 1 if len(self.memory_) else 0):
                descend(self.memory_.sample(self.replay_batch_size or len(batch), call.generator))
            torch.lerp(within, theta, self.beta, out=theta)
        torch.lerp(across, theta, self.gamma, out=theta)
        if call.epoch == 0:
            self.memory_.add(call.rng("memory"), with_groups(call.objective, batch))
        return loss
