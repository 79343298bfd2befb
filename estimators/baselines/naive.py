"""Naive: go on training, do nothing against forgetting."""

from ..strategy import NetworkClassifier, NetworkRegressor

_SOURCE = "lower bound: plain fine-tuning"


class NaiveClassifier(NetworkClassifier):
    """Train on each experience as it comes: the lower bound that every strategy must beat.

    The loss is the net's own, L. Nothing is carried over but the weights and the state of the optimiser.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, cloned before use. None: an MLP with 100 hidden units, Adam at 0.01, 20 epochs of batches
        of 32 rows for each call.
    active_outputs : {"auto", "all", "seen", "task"}, default="auto"
        Outputs that enter the softmax in training: of all announced classes, of those seen so far, or of the row's own
        task. "auto": "task" where calls have task ids, else "seen".
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order and dropout.

    Attributes
    ----------
    net_ : ContinualNet
        The trained net; ``net_.module_`` is the torch module.
    classes_ : ndarray of shape (n_classes,)
        Classes seen or announced so far, sorted.
    n_experiences_ : int
        Experiences learned.
    n_features_in_ : int

    Examples
    --------
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import NaiveClassifier
    >>> clf = NaiveClassifier(random_state=0)
    >>> for experience in split_stream(load_digits(), n_experiences=5, class_order="sorted"):
    ...     clf = clf.partial_fit(experience.X_train, experience.y_train)
    >>> clf.n_experiences_, clf.classes_.tolist()
    (5, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """

    family = "baselines"
    source = _SOURCE
    pure_steps = True


class NaiveRegressor(NetworkRegressor):
    """Train on each experience as it comes: the lower bound that every strategy must beat.

    The loss is the net's own, by default the squared error, a mean over rows and outputs. Targets are taken as they
    are; bring them to the order of 1, since gradient descent is slow on large numbers.

    Parameters
    ----------
    net : skorch net, default=None
        Unfitted prototype, a :class:`ContinualRegressionNet` or ``skorch.NeuralNetRegressor``, cloned before use.
        None: an MLP with 100 hidden units, Adam at 0.01, 20 epochs of batches of 32 rows for each call.
    random_state : int, RandomState instance or None, default=None
        Seed of weights, order and dropout.

    Attributes
    ----------
    net_ : ContinualRegressionNet
        The trained net; ``net_.module_`` is the torch module.
    n_experiences_ : int
        Experiences learned.
    n_features_in_, n_outputs_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from forgetless.estimators import NaiveRegressor
    >>> x = np.linspace(-2, 2, 400).reshape(-1, 1)
    >>> reg = NaiveRegressor(random_state=0)
    >>> for part in np.array_split(x, 2):
    ...     reg = reg.partial_fit(part, np.sin(2 * part[:, 0]))
    >>> new, old = reg.score(x[200:], np.sin(2 * x[200:, 0])), reg.score(x[:200], np.sin(2 * x[:200, 0]))
    >>> new > 0.9 > old
    True
    """

    family = "baselines"
    source = _SOURCE
    pure_steps = True
