"""GEM: gradient episodic memory."""

import numpy as np
import torch
from scipy.optimize import nnls

from .._compat import at_least
from ..network import NetworkClassifier
from .base import Remembering

# Least eigenvalue of the matrix of cosines: more than the rounding of products in single precision, so that the
# solution is unique and bounded also where gradients depend on each other.
_LEAST_EIGENVALUE = 1e-6


def solve_dual(gram, products, least):
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
    excess, _ = nnls(factor, -(vectors.T @ (products / lengths)) / roots - factor @ (least * lengths))
    return least + excess / lengths


class GEM(Remembering):
    """The nearest gradient to g that has no negative product with the gradient of any past experience's memory."""

    _source = "Lopez-Paz & Ranzato 2017"
    _constraints = {"memory_strength": [at_least(0)]}
    policy = "class_balanced"  # where the memory's classes are the experiences

    def __init__(self, net=None, *, buffer_size=200, memory_strength=0.5, active_outputs="auto", random_state=None):
        self.net = net
        self.buffer_size = buffer_size
        self.memory_strength = memory_strength
        self.active_outputs = active_outputs
        self.random_state = random_state

    def _begin(self, X, y):
        super()._begin(X, y)
        experiences = self.memory_.pools
        self._past_rows_ = [
            tuple(t[torch.from_numpy(experiences == k).to(t.device)] for t in self.memory_.stored())
            for k in np.unique(experiences[experiences != self.n_experiences_])
        ]
        return ()

    def _change_gradient(self, theta, gradient):
        if not self._past_rows_:
            return
        past = torch.stack([self._gradient_on(*rows).clone() for rows in self._past_rows_])
        # The programme is solved on the host; for its few numbers the host waits for the device, once a step.
        numbers = (torch.cat([past, gradient[None]]) @ past.T).double().cpu().numpy()
        gram, products = numbers[:-1], numbers[-1]
        if products.min() < 0 and np.isfinite(numbers).all():
            v = torch.from_numpy(solve_dual(gram, products, self.memory_strength))
            gradient.addmv_(past.T, v.to(gradient))

    def _end(self, X, y):
        del self._past_rows_
        self._remember(X, y, pools=np.full(len(y), self.n_experiences_))


class GEMClassifier(GEM, NetworkClassifier):
    r"""Gradient episodic memory: no step may raise the loss on the memory of any past experience, to first order.

    The gradient g of the new batch is replaced by the nearest one, :math:`\min \frac12\|\tilde g - g\|^2`, that has
    :math:`g_k^\top \tilde g \ge 0` for each past experience k, where :math:`g_k` is the gradient of the mean loss of
    *all* its rows in memory. It is :math:`\tilde g = g + G^\top v`, with the :math:`g_k` as rows of G and v the
    solution of the dual quadratic programme :math:`\min_{v \ge \gamma} \frac12 v^\top G G^\top v + (Gg)^\top v`.
    Where no condition is broken, g stays as it is. Rows from memory are not learned.

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
