"""Strategies against forgetting, each an estimator with ``partial_fit``.

The registry below is all there is to adding a method: its file, and its line here.
"""

from importlib import import_module

# Estimators: class name -> module.
_ESTIMATORS = {
    "NaiveClassifier": ".baselines.naive",
    "NaiveRegressor": ".baselines.naive",
    "JointClassifier": ".baselines.joint",
    "JointRegressor": ".baselines.joint",
    "CumulativeClassifier": ".baselines.cumulative",
    "FrozenClassifier": ".baselines.frozen",
    "AnchoredClassifier": ".regularization.anchored",
    "AnchoredRegressor": ".regularization.anchored",
    "EWCClassifier": ".regularization.ewc",
    "EWCRegressor": ".regularization.ewc",
    "SIClassifier": ".regularization.si",
    "SIRegressor": ".regularization.si",
    "MASClassifier": ".regularization.mas",
    "MASRegressor": ".regularization.mas",
    "RWalkClassifier": ".regularization.rwalk",
    "ReplayClassifier": ".replay.replay",
    "ReplayRegressor": ".replay.replay",
    "ERACEClassifier": ".replay.er_ace",
    "DERClassifier": ".replay.der",
    "DERRegressor": ".replay.der",
    "GEMClassifier": ".replay.gem",
    "AGEMClassifier": ".replay.agem",
    "AGEMRegressor": ".replay.agem",
    "GDumbClassifier": ".replay.gdumb",
    "ICaRLClassifier": ".replay.icarl",
    "GenerativeReplayClassifier": ".replay.generative",
    "LwFClassifier": ".distillation.lwf",
    "LwFRegressor": ".distillation.lwf",
    "FeatureDistillationClassifier": ".distillation.features",
    "RelationDistillationClassifier": ".distillation.relations",
    "IndependentClassifier": ".isolation.independent",
    "IndependentRegressor": ".isolation.independent",
    "ProgressiveClassifier": ".isolation.progressive",
    "PackNetClassifier": ".isolation.packnet",
    "HATClassifier": ".isolation.hat",
    "NCMClassifier": ".analytic.ncm",
    "SLDAClassifier": ".analytic.slda",
    "RandomProjectionClassifier": ".analytic.random_projection",
    "RandomProjectionRegressor": ".analytic.random_projection",
    "LaMAMLClassifier": ".meta.la_maml",
    "MERClassifier": ".meta.mer",
}

_PARTS = {
    "IncrementalPipeline": ".pipeline",
    "make_incremental_pipeline": ".pipeline",
    "partial_fit_together": ".stacked",
    "ContinualClassifier": ".base",
    "ContinualRegressor": ".base",
    "NetworkClassifier": ".network",
    "NetworkRegressor": ".network",
    "ContinualNet": ".net",
    "ContinualRegressionNet": ".net",
    "MLP": ".modules",
    "ConvNet": ".modules",
}

__all__ = ["all_estimators", *_ESTIMATORS, *_PARTS]


def __getattr__(name):
    module = {**_ESTIMATORS, **_PARTS}.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module, __name__), name)


def __dir__():
    return sorted(__all__)


def all_estimators():
    """Name and class of every estimator, as ``sklearn.utils.all_estimators`` lists scikit-learn's.

    Returns
    -------
    list of (str, type)
        Sorted by name.

    Examples
    --------
    >>> "NaiveClassifier" in dict(all_estimators())
    True
    """
    return [(name, __getattr__(name)) for name in sorted(_ESTIMATORS)]
