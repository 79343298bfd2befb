"""MAS: memory aware synapses."""

from .._compat import at_least
from ..network import NetworkClassifier, NetworkRegressor
from ..per_sample import sum_over_samples
from .quadratic import Quadratic


class MAS(Quadratic):
    """L + λ Σₖ Σᵢ Ωₖᵢ (θᵢ − θ*ᵢ)²; Ωₖ is the mean over the rows of experience k of |∂‖f(x)‖² / ∂θ|."""

    _pure_steps = True
    _source = "Aljundi et al. 2018"
    _vectors = ("importance_", "anchor_", "sensitivity_")
    _constraints = {"mas_lambda": [at_least(0)]}

    def __init__(self, net=None, *, mas_lambda=1.0, active_outputs="auto", random_state=None):
        self.net = net
        self.mas_lambda = mas_lambda
        self.active_outputs = active_outputs
        self.random_state = random_state

    def _stiffness(self):
        return 2 * self.mas_lambda  # the formula has no ½

    def _end(self, X, y):
        sensitivity = sum_over_samples(self.net_, lambda outputs: [self._squared_norm(outputs)], X, power=1) / len(X)
        self._note_mean("sensitivity_", sensitivity, len(X))

    def _new_experience(self):
        self.importance_ = getattr(self, "importance_", 0.0) + self.sensitivity_
        self.anchor_ = self.net_.flatten().clone()


class MASClassifier(MAS, NetworkClassifier):
    r"""Memory aware synapses: weights to which the outputs are sensitive are held by springs.

    :math:`L + \lambda \sum_k \sum_i \Omega_{k,i} (\theta_i - \theta^*_i)^2`, without a ½, where θ* are the weights
    after the previous experience. After experience k, :math:`\Omega_{k,i}` is the *mean over samples of the absolute
    per-sample gradient* :math:`|\partial \|f(x)\|_2^2 / \partial \theta_i|`; f are the logits that were active in
    training. Labels play no part in it. Batch statistics stand still while it is computed.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveClassifier`.
    mas_lambda : float, default=1.0
        λ, without the ½, with the mean over samples and the sum over experiences of the formula above. The importance
        grows with the square of the logits, so a good λ is smaller for longer training.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training, as for :class:`NaiveClassifier`.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    sensitivity_ : torch.Tensor of shape (n_parameters,)
        Ωₖ of the last experience, in the order of ``net_.trainable()``.
    importance_, anchor_ : torch.Tensor of shape (n_parameters,)
        The sum over the experiences before it and θ*, from the second experience on.
    net_ : ContinualNet
    classes_ : ndarray of shape (n_classes,)
    n_experiences_, n_features_in_ : int

    References
    ----------
    Aljundi et al., Memory aware synapses: learning what (not) to forget, 2018.

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import MASClassifier
    >>> clf = MASClassifier(mas_lambda=1.0, random_state=0)
    >>> for e in split_stream(load_digits(), n_experiences=2, scenario="task", class_order="sorted"):
    ...     clf = clf.partial_fit(e.X_train, e.y_train, task_id=e.task_id)
    >>> clf.importance_.shape == clf.anchor_.shape, bool((clf.importance_ >= 0).all())
    (True, True)
    """

    def _squared_norm(self, outputs):
        logits = self._active_logits(outputs)
        return logits.masked_fill(logits == -float("inf"), 0.0).square().sum(1)


class MASRegressor(MAS, NetworkRegressor):
    r"""Memory aware synapses: weights to which the outputs are sensitive are held by springs.

    As :class:`MASClassifier`, :math:`L + \lambda \sum_k \sum_i \Omega_{k,i} (\theta_i - \theta^*_i)^2` with the *mean
    over samples* of :math:`|\partial \|f(x)\|_2^2 / \partial \theta_i|` as Ω, and the squared error (mean over rows and
    outputs) as L. Outputs near zero count little, so the zero of the targets' scale matters: centre the targets.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, as for :class:`NaiveRegressor`.
    mas_lambda : float, default=1.0
        λ, without the ½, with the mean over samples and the sum over experiences of the formula above.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    sensitivity_ : torch.Tensor of shape (n_parameters,)
        Ωₖ of the last experience, in the order of ``net_.trainable()``.
    importance_, anchor_ : torch.Tensor of shape (n_parameters,)
        The sum over the experiences before it and θ*, from the second experience on.
    net_ : ContinualRegressionNet
    n_experiences_, n_features_in_, n_outputs_ : int

    References
    ----------
    Aljundi et al., Memory aware synapses: learning what (not) to forget, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import MASRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = MASRegressor(mas_lambda=0.1, random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> bool((reg.importance_ > 0).any())
    True
    """

    def __init__(self, net=None, *, mas_lambda=1.0, random_state=None):
        super().__init__(net, mas_lambda=mas_lambda, random_state=random_state)

    def _squared_norm(self, outputs):
        return outputs.square().sum(1)
