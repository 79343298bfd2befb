"""Checks of parameters, declared by each class as ``parameter_constraints``.

The one place that touches private parts of scikit-learn, whose declarative validation this is.
"""

from inspect import currentframe
from itertools import islice
from numbers import Integral, Real
from traceback import walk_stack
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, Options, validate_parameter_constraints

# Between a search and the estimator stand a few frames for each estimator around it, such as a pipeline.
_MOST_FRAMES = 40


class _WholeNumbers(Interval):
    """An interval of whole numbers, which True and False are not."""

    def is_satisfied_by(self, val: Any) -> bool:
        return not isinstance(val, bool) and super().is_satisfied_by(val)


def _from(kind: type, minimum: float, closed: str) -> Interval:
    return (_WholeNumbers if kind is Integral else Interval)(kind, minimum, None, closed=closed)


def at_least(minimum: float, kind: type = Real) -> Interval:
    """Constraint: a number of this kind, `minimum` or more.

    Parameters
    ----------
    minimum : float
        The lowest that is allowed.
    kind : type, default=numbers.Real
        ``numbers.Integral`` for whole numbers.

    Returns
    -------
    Interval
        For ``parameter_constraints``.

    Examples
    --------
    >>> print(at_least(0))
    a float in the range [0.0, inf)
    """
    return _from(kind, minimum, "left")


def above(minimum: float, kind: type = Real) -> Interval:
    """Constraint: a number of this kind, more than `minimum`.

    Parameters
    ----------
    minimum : float
        Itself not allowed.
    kind : type, default=numbers.Real
        ``numbers.Integral`` for whole numbers.

    Returns
    -------
    Interval
        For ``parameter_constraints``.

    Examples
    --------
    >>> print(above(0))
    a float in the range (0.0, inf)
    """
    return _from(kind, minimum, "neither")


def between(low: float, high: float, closed: str = "both") -> Interval:
    """Constraint: a real number between `low` and `high`.

    Parameters
    ----------
    low, high : float
        The ends of the interval.
    closed : {"both", "left", "right", "neither"}, default="both"
        Which of them are allowed.

    Returns
    -------
    Interval
        For ``parameter_constraints``.

    Examples
    --------
    >>> print(between(0, 1))
    a float in the range [0.0, 1.0]
    """
    return Interval(Real, low, high, closed=closed)


def one_of(*options: str | int) -> Options:
    """Constraint: one of these strings, or one of these whole numbers.

    Parameters
    ----------
    *options : str or int
        What is allowed.

    Returns
    -------
    Options
        For ``parameter_constraints``.

    Examples
    --------
    >>> one_of("mean", "sum").is_satisfied_by("sum")
    True
    """
    return Options(str if isinstance(options[0], str) else Integral, set(options))


def declared(cls: type, name: str) -> list[Any]:
    """What a class and its bases declare under a name, bases first; each adds to what its bases say."""
    return [vars(base)[name] for base in reversed(cls.__mro__) if name in vars(base)]


def names_declared(cls: type, name: str) -> set[str]:
    """All names that a class and its bases declare under a name."""
    return set().union(*declared(cls, name))


def _constraints(cls: type) -> dict[str, Any]:
    constraints: dict[str, Any] = {}
    for own in declared(cls, "parameter_constraints"):
        constraints |= own
    return constraints


def check_parameters(estimator: BaseEstimator) -> None:
    """Raise ``InvalidParameterError`` (a ValueError) if a parameter breaks the constraints that its class declares.

    Parameters
    ----------
    estimator : estimator
        Its class and their bases have ``parameter_constraints``: for a parameter's name a list of what it may be, as
        :func:`at_least`, :func:`between` and :func:`one_of` make them, or types, None, "boolean", "random_state".
    """
    constraints, values = _constraints(type(estimator)), estimator.get_params(deep=False)
    validate_parameter_constraints(
        {name: constraints[name] for name in values if name in constraints}, values, type(estimator).__name__
    )


def wrong_parameters(estimator: Any) -> list[str]:
    """Say what is wrong with the parameters of an estimator and of those within it, ours or scikit-learn's.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    list of str
        A sentence for each parameter that breaks the constraints of its class.

    Examples
    --------
    >>> from sklearn.linear_model import SGDClassifier
    >>> wrong_parameters(SGDClassifier(alpha=-1))
    ["The 'alpha' parameter of SGDClassifier must be a float in the range [0.0, inf). Got -1 instead."]
    """
    found = []
    for each in [estimator, *estimator.get_params(deep=True).values()]:
        if isinstance(each, type) or not hasattr(each, "get_params"):
            continue
        constraints = getattr(each, "_parameter_constraints", {}) | _constraints(type(each))
        for name, value in each.get_params(deep=False).items():
            if name in constraints:
                try:
                    validate_parameter_constraints({name: constraints[name]}, {name: value}, type(each).__name__)
                except ValueError as error:
                    found.append(str(error))
    return found


def searched_parameters() -> list[tuple[Any, str]]:
    """What a search of scikit-learn is trying, if it is one that calls: estimators and names of their parameters."""
    # A search tells nobody what it tries, it sets parameters as any user does: only its frame, up the stack, knows.
    for frame, _ in islice(walk_stack(currentframe()), _MOST_FRAMES):
        if frame.f_code.co_name == "_fit_and_score" and {"estimator", "parameters"} <= frame.f_locals.keys():
            estimator, tried = frame.f_locals["estimator"], frame.f_locals["parameters"] or {}
            within = {"": estimator, **estimator.get_params()}
            return [(within.get(owner), name) for owner, _, name in (each.rpartition("__") for each in tried)]
    return []


__all__ = [
    "Integral",
    "Real",
    "above",
    "at_least",
    "between",
    "check_parameters",
    "declared",
    "names_declared",
    "one_of",
    "searched_parameters",
    "wrong_parameters",
]
