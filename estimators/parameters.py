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


def check_parameters(estimator: BaseEstimator) -> None:
    """Raise ``InvalidParameterError`` (a ValueError) if a parameter breaks the constraints that its class declares.

    Parameters
    ----------
    estimator : estimator
        Its class and their bases have ``parameter_constraints``: for a parameter's name a list of what it may be, as
        :func:`at_least`, :func:`between` and :func:`one_of` make them, or types, None, "boolean", "random_state".
    """
    constraints: dict[str, list[Any]] = {}
    for own in declared(type(estimator), "parameter_constraints"):
        constraints |= own
    values = estimator.get_params(deep=False)
    validate_parameter_constraints(
        {name: constraints[name] for name in values if name in constraints}, values, type(estimator).__name__
    )


__all__ = ["Integral", "Real", "above", "at_least", "between", "check_parameters", "declared", "one_of"]
