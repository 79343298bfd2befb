"""DER and DER++: dark experience replay, of rows with the logits that the network once gave them."""

import torch

from .._compat import at_least
from ..network import NetworkClassifier, NetworkRegressor
from .base import Rehearsing, forward_together

# Position of the stored logits among what the memory is given.
_LOGITS = 3


class DER(Rehearsing):
    """L + α ‖f(x′) − z′‖² + β L(x″, y″), with (x′, z′) and (x″, y″) drawn from memory independently."""

    _pure_steps = True
    _source = "Buzzega et al. 2020"
    _constraints = {"alpha": [at_least(0)], "beta": [at_least(0)]}

    def __init__(
        self,
        net=None,
        *,
        buffer_size=200,
        alpha=0.1,
        beta=0.5,
        replay_batch_size=None,
        active_outputs="auto",
        random_state=None,
    ):
        self.net = net
        self.buffer_size = buffer_size
        self.alpha = alpha
        self.beta = beta
        self.replay_batch_size = replay_batch_size
        self.active_outputs = active_outputs
        self.random_state = random_state

    def _answers(self, outputs):
        """What is stored of a row's outputs, and compared later."""
        return outputs

    def _begin(self, X, y):
        super()._begin(X, y)
        self.memory_.widen(_LOGITS, self._n_outputs())
        self._offer_rng_ = self._rng("memory")
        return ()

    def _n_drawn(self, batch):
        # One draw is cheaper than two: first come the rows whose logits are matched, then those with labels.
        return super()._n_drawn(batch) * (bool(self.alpha) + bool(self.beta))

    def _loss(self, forward, batch):
        if len(batch) == 2:  # nothing to replay yet
            return super()._loss(forward, batch)
        x, y, x_memory, y_memory, groups, z = batch
        new, old = forward_together(forward, x, x_memory)
        loss = self._task_loss(new, y)
        n_rows, row = groups.shape[-1], groups.ndim - 1
        n_matched = n_rows // 2 if self.alpha and self.beta else n_rows * bool(self.alpha)
        n_labelled = n_rows - n_matched
        matched, labelled = old.split([n_matched, n_labelled], dim=row)
        if self.alpha:
            answers, z = self._answers(matched), z.narrow(row, 0, n_matched)
            # Columns that came later than the row were not stored; they are NaN, and count as equal.
            distance = (answers - torch.where(z.isnan(), answers.detach(), z)).square().sum(-1)
            loss = loss + self.alpha * distance.mean(-1)
        if self.beta:
            y_memory, groups = (t.narrow(row, n_matched, n_labelled) for t in (y_memory, groups))
            loss = loss + self.beta * self._task_loss(labelled, y_memory, groups)
        return loss

    def _observe(self, batch, outputs):
        self.memory_.add(self._offer_rng_, *self._offered(batch, outputs))

    def _offered(self, batch, outputs):
        """The rows with the logits that they had before the update."""
        x, y = batch
        return x, y, self._row_groups(y), self._answers(outputs[..., : x.shape[-2], :])

    def _end(self, X, y):
        del self._offer_rng_


class DERClassifier(DER, NetworkClassifier):
    r"""Dark experience replay: rows in memory keep the logits that the network gave them, and must go on getting them.

    :math:`L(\text{batch}) + \alpha\,\|f(x') - z'\|^2 + \beta\,L(x'', y'')`, where :math:`(x', z')` and
    :math:`(x'', y'')` are two memory batches that are drawn independently. The squared distance is a *sum over logits*
    and a mean over rows; the authors' program takes the mean over logits, so that their α is ours times the number of
    classes. β = 0 is DER, β > 0 DER++.

    Every batch is offered to the memory, a reservoir, when it is learned, and stored with its logits from before the
    update. As in the paper this happens in every epoch: the memory is a uniform sample of all (row, epoch) pairs, in
    which a row may occur with its logits of several times; so it knows the rows of the running experience, too.

    Logits are compared only in the columns that existed when they were stored. What DER (without β) knows of old
    against new classes are the logits of new classes on old rows; it needs all classes announced at the first call,
    ``partial_fit(X, y, classes=...)``, where classes arrive over time and no task ids are given. DER++ does not.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    buffer_size : int, default=200
        Rows in memory. With 0 this is :class:`NaiveClassifier`.
    alpha : float, default=0.1
        Weight of the distance of logits. With ``alpha=0, beta=0`` this is :class:`NaiveClassifier`.
    beta : float, default=0.5
        Weight of the loss of rows from memory.
    replay_batch_size : int, default=None
        Rows in each of the memory batches, drawn with replacement; None: as many as the batch has.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax of L, as for :class:`NaiveClassifier`; a row from memory has the active outputs
        of its own task.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    memory_ : ReplayMemory
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Buzzega et al., Dark experience for general continual learning: a strong, simple baseline, 2020.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import DERClassifier
    >>> digits, clf = load_digits(), DERClassifier(random_state=0)
    >>> for e in split_stream(digits, n_experiences=5, class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train)
    >>> clf.score(digits.X_test, digits.y_test) > 0.8
    True
    """

    def _answers(self, outputs):
        return self._logits(outputs)


class DERRegressor(DER, NetworkRegressor):
    r"""Dark experience replay: rows in memory keep the outputs that the network gave them, and must go on getting them.

    :math:`L(\text{batch}) + \alpha\,\|f(x') - z'\|^2 + \beta\,L(x'', y'')`, as :class:`DERClassifier`, with outputs in
    the place of logits. The squared distance is a sum over outputs and a mean over rows; L, the squared error, is a
    mean over both. Stored outputs are those before the update, so those of early rows are poor answers.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    buffer_size : int, default=200
        Rows in memory. With 0 this is :class:`NaiveRegressor`.
    alpha : float, default=0.1
        Weight of the distance of outputs. With ``alpha=0, beta=0`` this is :class:`NaiveRegressor`.
    beta : float, default=0.5
        Weight of the loss of rows from memory.
    replay_batch_size : int, default=None
        Rows in each of the memory batches, drawn with replacement; None: as many as the batch has.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    memory_ : ReplayMemory
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Buzzega et al., Dark experience for general continual learning: a strong, simple baseline, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import DERRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = DERRegressor(random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> reg.score(x, np.sin(2 * x[:, 0])) > 0.9
    True
    """

    def __init__(self, net=None, *, buffer_size=200, alpha=0.1, beta=0.5, replay_batch_size=None, random_state=None):
        super().__init__(
            net,
            buffer_size=buffer_size,
            alpha=alpha,
            beta=beta,
            replay_batch_size=replay_batch_size,
            random_state=random_state,
        )
