"""The one place that touches private parts of scikit-learn: declarative validation of parameters, state of routing."""

from numbers import Integral, Real

from sklearn.utils._metadata_requests import _routing_enabled as routing_enabled
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints


def at_least(minimum, kind=Real):
    """Constraint: a number of this kind, `minimum` or more."""
    return Interval(kind, minimum, None, closed="left")


def between(low, high, closed="both"):
    """Constraint: a real number between `low` and `high`."""
    return Interval(Real, low, high, closed=closed)


def one_of(*options):
    """Constraint: one of these strings."""
    return StrOptions(set(options))


def check_parameters(estimator):
    """Raise ``InvalidParameterError`` (a ValueError) if a parameter breaks the constraints that its class declares."""
    constraints = {
        name: allowed
        for cls in reversed(type(estimator).__mro__)
        for name, allowed in cls.__dict__.get("_constraints", {}).items()
    }
    values = estimator.get_params(deep=False)
    validate_parameter_constraints(
        {name: constraints[name] for name in values if name in constraints}, values, type(estimator).__name__
    )


__all__ = ["Integral", "Interval", "Real", "at_least", "between", "check_parameters", "one_of", "routing_enabled"]
