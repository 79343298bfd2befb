"""Packages that only some data need: the extra ``forgetless[data]``."""

from importlib import import_module
from typing import Any


def from_extra(module: str) -> Any:
    """Import a module of the extra.

    Parameters
    ----------
    module : str
        Its full name.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it, or what it needs, is not installed; the message says how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or module).partition(".")[0]
        raise ImportError(
            f'These data need the package {package}: run pip install "forgetless[data]".', name=package
        ) from error
