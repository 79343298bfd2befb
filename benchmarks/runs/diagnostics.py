"""The state of a network after each experience: has it lost units, rank, or calibration; how far did it move?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...datasets.streams import Experience, take

MOST_ROWS = 1000
N_BINS = 15


def _net(learner: Any) -> Any:
    """The net that a learner has, None if it has none; GDumb trains one when asked, as part of predicting."""
    return getattr(learner, "__dict__", {}).get("net_")


def _steps_by_epoch(learner: Any) -> list[int]:
    """The batches of each epoch of the last call."""
    history = getattr(_net(learner), "history", [])
    return [epoch["train_batch_count"] for epoch in history if "train_batch_count" in epoch]


def gradient_steps(learner: Any) -> float:
    """Return how many batches a network was trained on in the last call.

    Parameters
    ----------
    learner : estimator

    Returns
    -------
    float
        NaN without a network.
    """
    return float(sum(_steps_by_epoch(learner))) if _net(learner) else math.nan


class Diagnostics:
    r"""What is measured of an estimator while it learns, cheaply: on at most 1,000 rows, after each experience.

    ``dead_units``: share of the ReLU units that are 0 on every row. ``effective_rank`` of the features that enter the
    last layer, :math:`\exp(-\sum_i p_i \log p_i)` of their singular values :math:`p_i` divided by the sum of these
    (Roy & Vetterli 2007). ``weight_norm``: Euclidean norm of all weights, and ``distance``: how far they moved in the
    experience. ``gradient_steps`` and ``samples_seen``: those of the experience, a row counted as often as it was seen.
    ``calibration_error``: expected calibration error in 15 bins (Guo et al. 2017). What an estimator does not have is
    not measured: those without a network have a calibration error at most.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Any] = {}
        self.gradient_steps = 0
        self.samples_seen = 0

    def called(self, learner: Any, n_rows: int) -> None:
        """Count the steps of a call.

        Parameters
        ----------
        learner : estimator
            It has just learned.
        n_rows : int
            From so many rows.
        """
        steps = _steps_by_epoch(learner)
        self.gradient_steps += sum(steps)
        self.samples_seen += n_rows * len(steps)

    def after(self, estimator: Any, learner: Any, experience: Experience) -> dict[str, float]:
        """Measure.

        Parameters
        ----------
        estimator : estimator
            It has just learned the experience.
        learner : estimator
            What learns in it: its last step, if it is a pipeline.
        experience : Experience
            Its test rows are looked at; its training rows if there are none.

        Returns
        -------
        dict of str to float
        """
        X, y = experience.X_test, experience.y_test
        if not len(y):
            X, y = experience.X_train, experience.y_train
        X, y = take(X, y, np.arange(min(len(y), MOST_ROWS)))
        task = {} if experience.task_id is None else {"task_id": experience.task_id}
        found: dict[str, float] = {}
        if hasattr(learner, "net_"):
            rows = estimator[:-1].transform(X) if learner is not estimator and len(estimator.steps) > 1 else X
            found |= self._of_network(learner.net_, rows)
            found |= {"gradient_steps": self.gradient_steps, "samples_seen": self.samples_seen}
        if hasattr(estimator, "predict_proba") and len(experience.classes):
            known = task if hasattr(learner, "strategy_info") else {}
            found["calibration_error"] = calibration_error(estimator.predict_proba(X, **known), estimator.classes_, y)
        self.gradient_steps, self.samples_seen = 0, 0
        return found

    def _of_network(self, net: Any, X: Any) -> dict[str, float]:
        import torch
        from torch import nn

        from ...estimators.engine.modules import features_and_outputs

        module = net.module_
        active: list[torch.Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda _, __, outputs: active.append((outputs > 0).flatten(1).any(0)))
            for layer in module.modules()
            if isinstance(layer, nn.ReLU)
        ]
        try:
            with torch.no_grad():
                rows = torch.as_tensor(np.asarray(X, dtype=np.float32), device=net.device)
                features, _ = features_and_outputs(module, rows)
        finally:
            for hook in hooks:
                hook.remove()
        found = {"effective_rank": effective_rank(features.cpu().numpy())}
        if active:
            found["dead_units"] = float(1.0 - torch.cat(active).double().mean())
        weights = {name: p.detach().cpu().double() for name, p in module.named_parameters()}
        found["weight_norm"] = math.sqrt(sum(float(p.square().sum()) for p in weights.values()))
        if self.weights:
            moved = 0.0
            for name, p in weights.items():
                if name in self.weights:
                    old = self.weights[name]
                    common = tuple(slice(0, min(sizes)) for sizes in zip(p.shape, old.shape, strict=True))
                    moved += float((p[common] - old[common]).square().sum())  # layers may have grown
            found["distance"] = math.sqrt(moved)
        self.weights = weights
        return found


def effective_rank(features: np.ndarray) -> float:
    """Compute the effective rank of features.

    Parameters
    ----------
    features : ndarray of shape (n_rows, n_features)

    Returns
    -------
    float
        From 1 to the rank; 0 if all features are 0.

    Examples
    --------
    >>> round(effective_rank(np.eye(3)), 6), round(effective_rank(np.ones((5, 3))), 6)
    (3.0, 1.0)
    """
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    if not values.sum():
        return 0.0
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def calibration_error(probabilities: np.ndarray, classes: np.ndarray, y: np.ndarray) -> float:
    """Compute the expected calibration error: how far confidence is from accuracy, in bins of equal width.

    Parameters
    ----------
    probabilities : ndarray of shape (n_rows, n_classes)
    classes : ndarray
        The columns.
    y : ndarray
        True labels.

    Returns
    -------
    float
        From 0 to 1.

    Examples
    --------
    >>> certain = np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> calibration_error(certain, np.array(["a", "b"]), np.array(["a", "b"]))
    0.5
    """
    confidence = probabilities.max(axis=1)
    right = classes[probabilities.argmax(axis=1)] == y
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=N_BINS)
    return float(np.abs(gaps).sum() / len(y))
