"""Packages that only pretrained models need: the extra ``forgetless[large]``."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def from_extra(module: str, install: str = "forgetless[large]") -> Any:
    """Import a module of the extra.

    Parameters
    ----------
    module : str
        Its full name.
    install : str, default="forgetless[large]"
        What is to be installed where it is missing.

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
        raise _missing((error.name or module).partition(".")[0], install) from error


def package_folder(module: str, package: str) -> Path:
    """Where a package of the extra is that has weights; it is not imported.

    Parameters
    ----------
    module, package : str
        What it is called where it is imported, and where it is installed from.

    Returns
    -------
    Path

    Raises
    ------
    ImportError
        If it is not installed; the message says how to install it.
    """
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise _missing(package)
    return Path(spec.origin).parent


def _missing(package: str, install: str = "forgetless[large]") -> ImportError:
    return ImportError(f'This model needs the package {package}: run pip install "{install}".', name=package)
