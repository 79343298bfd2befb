"""Pipelines that learn incrementally: scikit-learn's ``Pipeline`` has no ``partial_fit``; this one has."""

import copy
from collections.abc import Callable
from typing import Any, Self

from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.metadata_routing import MetadataRouter, process_routing
from sklearn.utils.validation import check_is_fitted

from .delegation import Method, available_if_has
from .parameters import check_parameters
from .steps import UPDATES, keeps_meaning, learned


def _if_last_step_has(name: str) -> Callable[[Method], Method]:
    return available_if_has(name, lambda pipeline: pipeline.steps[-1][1])


class IncrementalPipeline(Pipeline):
    """A scikit-learn pipeline with ``partial_fit``: each step learns from what comes, then passes it on.

    At the first call every step learns, any transformer by its ``fit``. What comes later moves only what is safe to
    move: scalers and encoders go on learning, since their outputs mean the same as before; a projection such as
    ``IncrementalPCA`` stays as it is, for the last step and its memory would not know its outputs again. Transformers
    without ``partial_fit`` stay as they are, too, and so do those that are fitted before and wrapped in
    ``sklearn.frozen.FrozenEstimator``, in copies as well. The call is all-or-nothing: if a step fails, every step is as
    it was before the call.

    Metadata such as ``task_id`` goes straight to the last step; with scikit-learn's metadata routing enabled, it goes
    where it was requested, with ``EWCClassifier().set_partial_fit_request(task_id=True)`` and its like.

    Parameters
    ----------
    steps : list of (str, estimator)
        The last has ``partial_fit``.
    update : {"auto", "first", "always"}, default="auto"
        Which fitted steps before the last learn from later calls: those whose outputs keep their meaning, none, or all
        that have ``partial_fit``.
    transform_input, memory, verbose
        As for ``sklearn.pipeline.Pipeline``; the first two concern ``fit`` only.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from forgetless.datasets import load_digits, split_stream
    >>> from forgetless.estimators import SLDAClassifier, make_incremental_pipeline
    >>> pipe = make_incremental_pipeline(StandardScaler(), SLDAClassifier(shrinkage=0.1))
    >>> for e in split_stream(load_digits(), n_experiences=5, class_order="sorted"):
    ...     pipe = pipe.partial_fit(e.X_train, e.y_train)
    >>> pipe.classes_.tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    steps: list[tuple[str, Any]]
    parameter_constraints = {"update": UPDATES}

    def __init__(
        self,
        steps: list[tuple[str, Any]],
        *,
        update: str = "auto",
        transform_input: list[str] | None = None,
        memory: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(steps, transform_input=transform_input, memory=memory, verbose=verbose)
        self.update = update

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Not supported: scikit-learn's callbacks would be told of ``fit`` and of no ``partial_fit``.

        Parameters
        ----------
        *callbacks : callback instances

        Raises
        ------
        NotImplementedError
        """
        raise NotImplementedError(
            "scikit-learn's callbacks would be told of fit, but of no partial_fit, by which an IncrementalPipeline "
            "learns; give skorch's callbacks to the network (net__callbacks), or measure between the calls."
        )

    @property
    def output_keeps_meaning(self) -> bool:
        """Whether "auto" may move this pipeline where it is a step itself: if it may move the last one of its own."""
        return keeps_meaning(self.steps[-1][1])

    @_if_last_step_has("partial_fit")
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike | None = None, classes: ArrayLike | None = None, **params: Any
    ) -> Self:
        """Learn one experience with every step.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
        classes : array-like, default=None
            For the last step, as in its own ``partial_fit``.
        **params : dict
            Metadata, such as ``task_id``.

        Returns
        -------
        self
        """
        check_parameters(self)
        self._validate_steps()
        if classes is not None:
            params["classes"] = classes
        last_name, last = self.steps[-1]
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "partial_fit", **params)
        else:
            routed = {last_name: {"partial_fit": params}}

        steps = []
        for name, step in self.steps[:-1]:
            if step is not None and step != "passthrough":
                step_params = routed.get(name, {})
                step = learned(step, X, y, self.update, **step_params)
                X = step.transform(X, **step_params.get("transform", {}))
            steps.append((name, step))
        # Our own estimators undo a failed call themselves; any other might be left half-changed.
        if not hasattr(last, "strategy_info"):
            last = copy.deepcopy(last)
        last.partial_fit(X, y, **routed.get(last_name, {}).get("partial_fit", {}))
        self.steps = [*steps, (last_name, last)]
        return self

    @_if_last_step_has("score")
    def score(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None, **params: Any
    ) -> float:
        """Transform `X` and score it with the last step.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
        sample_weight : array-like of shape (n_samples,), default=None
        **params : dict
            Metadata, such as ``task_id``.

        Returns
        -------
        float
        """
        if get_config()["enable_metadata_routing"] or not params:
            return float(super().score(X, y, sample_weight, **params))
        check_is_fitted(self)
        if sample_weight is not None:
            params["sample_weight"] = sample_weight
        return float(self.steps[-1][1].score(self[:-1].transform(X), y, **params))

    @_if_last_step_has("strategy_info")
    def strategy_info(self) -> dict[str, Any]:
        """What kind of method the last step is; a pipeline unlearns nothing, since its other steps would not.

        See :meth:`ContinualClassifier.strategy_info`.
        """
        info: dict[str, Any] = self.steps[-1][1].strategy_info()
        return info | {"unlearns": "no"}

    @_if_last_step_has("memory_usage")
    def memory_usage(self) -> dict[str, int]:
        """Bytes that the last step carries from call to call; see :meth:`ContinualClassifier.memory_usage`."""
        usage: dict[str, int] = self.steps[-1][1].memory_usage()
        return usage

    def get_metadata_routing(self) -> MetadataRouter:
        """Metadata routing of scikit-learn's pipeline, and ``partial_fit``.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRouter
        """
        router = super().get_metadata_routing()
        for name, pair in router:
            if name in self.named_steps:
                pair.mapping.add(caller="partial_fit", callee="partial_fit")
                if name != self.steps[-1][0]:
                    pair.mapping.add(caller="partial_fit", callee="fit")
                    pair.mapping.add(caller="partial_fit", callee="transform")
        return router


def make_incremental_pipeline(
    *steps: BaseEstimator, update: str = "auto", verbose: bool = False
) -> IncrementalPipeline:
    """Build an :class:`IncrementalPipeline` whose steps are named after their classes.

    Parameters
    ----------
    *steps : estimators
    update : {"auto", "first", "always"}, default="auto"
        Which steps before the last learn from later calls, see :class:`IncrementalPipeline`.
    verbose : bool, default=False

    Returns
    -------
    IncrementalPipeline

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from forgetless.estimators import EWCClassifier, make_incremental_pipeline
    >>> list(make_incremental_pipeline(StandardScaler(), EWCClassifier()).named_steps)
    ['standardscaler', 'ewcclassifier']
    """
    return IncrementalPipeline(make_pipeline(*steps).steps, update=update, verbose=verbose)
