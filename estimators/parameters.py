"""Checks of parameters, declared by each class as ``parameter_constraints``.

The one place that touches private parts of scikit-learn, whose declarative validation this is.
"""

from numbers import Integral, Real
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints


def at_least(minimum: float, kind: type = Real) -> Interval:
    """Constraint: a number of this kind, `minimum` or more."""
    return Interval(kind, minimum, None, closed="left")


def above(minimum: float, kind: type = Real) -> Interval:
    """Constraint: a number of this kind, more than `minimum`."""
    return Interval(kind, minimum, None, closed="neither")


def between(low: float, high: float, closed: str = "both") -> Interval:
    """Constraint: a real number between `low` and `high`."""
    return Interval(Real, low, high, closed=closed)


def one_of(*options: str) -> StrOptions:
    """Constraint: one of these strings."""
    return StrOptions(set(options))


def declared(cls: type, name: str) -> list[Any]:
    """What a class and its bases declare under a name, bases first; each adds to what its bases say."""
    return [vars(base)[name] for base in reversed(cls.__mro__) if name in vars(base)]


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


__all__ = [
    "Integral",
    "Real",
    "above",
    "at_least",
    "between",
    "check_parameters",
    "declared",
    "one_of",
    "wrong_parameters",
]
