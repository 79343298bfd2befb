"""Methods that an estimator has only if it is of some kind, or if what it passes them on to has them."""

from collections.abc import Callable
from typing import Any, TypeVar

from sklearn.utils.metaestimators import available_if

Method = TypeVar("Method", bound=Callable[..., Any])


def available_if_has(name: str, inner: Callable[[Any], Any]) -> Callable[[Method], Method]:
    """Decorate a method that is there only if another object has a method of that name.

    Parameters
    ----------
    name : str
    inner : callable
        Returns the other object, of the estimator.

    Returns
    -------
    callable
    """

    def check(self: Any) -> bool:
        getattr(inner(self), name)
        return True

    return available_where(check)


def available_where(check: Callable[[Any], bool]) -> Callable[[Method], Method]:
    """Decorate a method that only some estimators have.

    Parameters
    ----------
    check : callable
        Says of an estimator whether it has the method.

    Returns
    -------
    callable
    """
    decorator: Callable[[Method], Method] = available_if(check)
    return decorator
