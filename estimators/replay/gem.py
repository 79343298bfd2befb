"""GEM: gradient episodic memory."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from skorch import NeuralNet

from ..engine.call import Call
from ..engine.memory import ReplayMemory
from ..engine.objective import with_groups
from ..engine.rows import Rows, stacked
from ..parameters import Integral, at_least
from ..strategy import NetworkClassifier

# Least eigenvalue of the matrix of cosines: more than the rounding of products in single precision, so that the
# solution is unique and bounded also where gradients depend on each other.
_LEAST_EIGENVALUE = 1e-6


def solve_dual(gram: NDArray[np.float64], products: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    r"""Solve GEM's quadratic programme: :math:`\min_v \frac12 v^\top Q v + q^\top v` with all :math:`v_k \ge \gamma`.

    With gradients scaled to length 1, and the eigenvectors and eigenvalues of Q, this is a problem of non-negative
    least squares in v − γ.

    Parameters
    ----------
    gram : ndarray of shape (n, n)
        Q, positive semidefinite: the products of the memory gradients with each other.
    products : ndarray of shape (n,)
        q, their products with the gradient.
    least : float
        γ.

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> solve_dual(np.eye(2), np.array([-3.0, 2.0]), 0.0)
    array([3., 0.])
    """
    lengths = np.sqrt(np.diag(gram))
    lengths[lengths == 0] = 1
    values, vectors = np.linalg.eigh(gram / np.outer(lengths, lengths))
    roots = np.sqrt(np.maximum(values, _LEAST_EIGENVALUE))
    factor = roots[:, None] * vectors.T
    excess: NDArray[np.float64]
    excess, _ = nnls(factor, -(vectors.T @ (products / lengths)) / roots - factor @ (least * lengths))
    return least + excess / lengths


class GEMClassifier(NetworkClassifier):
    r"""Gradient episodic memory: no step may raise the loss on the memory of any past experience, to first order.

    The gradient g of the new batch is replaced by the nearest one, :math:`\min \frac12\|\tilde g - g\|^2`, that has
    :math:`g_k^\top \tilde g \ge 0` for each past experience k, where :math:`g_k` is the gradient of the mean loss of
    *all* its rows in memory. It is :math:`\tilde g = g + G^\top v`, with the :math:`g_k` as rows of G and v the
    solution of the dual quadratic programme :math:`\min_{v \ge \gamma} \frac12 v^\top G G^\top v + (Gg)^\top v`.
    Where no condition is broken, g stays as it is. Rows from memory are not learned.

    The programme is solved exactly, whatever the scale of the gradients. Other implementations add
    :math:`\varepsilon I` with an absolute :math:`\varepsilon` to :math:`G G^\top`: where gradients are small, it
    outweighs the products, and the projected gradient can be off by 98 %.

    The memory is shared equally by the experiences; of each it has a uniform sample (in the paper: the last rows of a
    shuffled stream). A step costs one forward and backward pass over the whole memory; for these gradients dropout is
    off and batch statistics stand still.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    buffer_size : int, default=200
        Rows in memory. With 0 this is :class:`NaiveClassifier`.
    memory_strength : float, default=0.5
        γ, the least value of each :math:`v_k`: more than 0 favours steps that lower the memory's loss. With 0, the
        projection is exact.
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

    See Also
    --------
    AGEMClassifier : The same with one condition for all experiences, which is much faster.

    References
    ----------
    Lopez-Paz & Ranzato, Gradient episodic memory for continual learning, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import GEMClassifier
    >>> clf = GEMClassifier(buffer_size=100, random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, scenario="task", class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> np.unique(clf.memory_.pools, return_counts=True)
    (array([1, 2]), array([50, 50]))
    """

    family = "replay"
    source = "Lopez-Paz & Ranzato 2017"
    keeps = "samples"
    unlearns = "memory only"
    carries = {"memory_": "replay"}
    fixed_parameters = ("buffer_size",)
    later_parameters = ("buffer_size", "memory_strength")
    parameter_constraints = {
        "buffer_size": [at_least(0, Integral)],
        "memory_strength": [at_least(0)],
    }

    memory_: ReplayMemory

    def __init__(
        self,
        net: NeuralNet | None = None,
        *,
        buffer_size: int = 200,
        memory_strength: float = 0.5,
        active_outputs: str = "auto",
        random_state: Any = None,
    ) -> None:
        super().__init__(net, active_outputs=active_outputs, random_state=random_state)
        self.buffer_size = buffer_size
        self.memory_strength = memory_strength

    def before_training(self, call: Call) -> None:
        """Find the rows of each past experience; the experiences are the memory's pools."""
        if not hasattr(self, "memory_"):
            self.memory_ = ReplayMemory(self.buffer_size, "class_balanced")
        stored, experiences = self.memory_.stored(), self.memory_.pools
        of_size: dict[int, list[Rows]] = {}
        for k in np.unique(experiences[experiences != call.experience]):
            rows = stored.take(self.on_device(np.flatnonzero(experiences == k)))
            of_size.setdefault(len(rows), []).append(rows)
        # Experiences with equally many rows, which most are, go through the network as one.
        call.state.past_rows = [stacked(each) for each in of_size.values()]

    def after_backward(self, call: Call, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """The nearest gradient that has no negative product with that of any past experience's memory."""
        if not call.state.past_rows:
            return
        past = torch.cat([self.gradients_on(call, rows) for rows in call.state.past_rows])
        # The programme is solved on the host; for its few numbers the host waits for the device, once a step.
        numbers = (torch.cat([past, gradient[None]]) @ past.T).double().cpu().numpy()
        gram, products = numbers[:-1], numbers[-1]
        if products.min() < 0 and np.isfinite(numbers).all():
            v = torch.from_numpy(solve_dual(gram, products, self.memory_strength))
            gradient.addmv_(past.T, v.to(gradient))

    def after_training(self, call: Call) -> None:
        """The rows of the call go to the memory, where they compete with those of their experience."""
        rows = with_groups(call.objective, call.rows)
        self.memory_.add(call.rng("memory"), rows, pools=np.full(len(rows), call.experience))
